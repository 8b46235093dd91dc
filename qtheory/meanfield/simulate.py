r"""Random networks of finite width, forward and backward; they share no code with the theory.

Layer :math:`l = 1, \ldots, L` computes :math:`u^l = W^l \phi(u^{l-1}) + b^l` with independent
weights of second moment ``weight_variance / fan_in``. What is called layer 0 is the start: the
pre-activations :math:`u^0`, drawn so that their second moments are exactly the given ones. Moments
are means over the neurons of a layer and never have a mean subtracted.

Weights are made a block of rows at a time and never kept: the backward pass draws them again from
the remembered state of the generator, so memory does not grow with the square of the width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_finite,
    check_generator,
    check_instance,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)
from qtheory.numerics import Estimate

__all__ = [
    "WEIGHT_LAWS",
    "BackwardMoments",
    "CircleCovariance",
    "ForwardMoments",
    "RandomNetwork",
    "backpropagation",
    "circle_covariance",
    "correlation_slope",
    "propagation",
    "propagation_of_inputs",
]

FloatArray = NDArray[np.float64]
Values: TypeAlias = NDArray[np.floating]  # float32 or float64, as the network says
State: TypeAlias = Mapping[str, Any]  # state of a bit generator

WEIGHT_LAWS = ("gaussian", "binary", "ternary", "sparse")
BLOCK = 1 << 18  # weights made at a time


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    r"""A law of fully connected random networks of finite width.

    Parameters
    ----------
    activation : callable
        Maps an array to an array of the same shape. A noisy one is called as
        ``activation(x, rng=generator)`` and draws noise for each element.
    width : int or sequence of int
        Neurons of every layer, or of each of the layers 0 to ``num_layers``.
    num_layers : int
        Number of weight matrices, at least one.
    weight_variance : float
        Second moment of a weight times the fan-in, above zero.
    bias_variance : float
        Variance of the Gaussian biases.
    weights : str
        Law of the weights: ``"gaussian"``; ``"binary"``, two values of either sign; ``"ternary"``,
        those and zero with probabilities 1/4, 1/2, 1/4; ``"sparse"``, Gaussian in a share
        ``density`` of places and zero elsewhere. Binary or ternary weights on a staircase give
        pre-activations on a lattice of spacing near ``width ** -0.5``, which adds a deviation of
        that order from the limit where its points meet the thresholds.
    positive_share : float
        Probability that a nonzero weight is positive. Away from one half the weights have a mean;
        their second moment stays.
    density : float
        Share of nonzero weights of the sparse law, in (0, 1].
    noisy : bool, optional
        Whether the activation is noisy. If not given, it is when its attribute
        ``is_deterministic`` says so.
    dtype : data type
        ``numpy.float32`` or ``numpy.float64``, for weights and pre-activations. Moments are
        always summed in float64.

    Raises
    ------
    ValueError
        If a number is out of its range, ``width`` a sequence of another length than
        ``num_layers + 1``, ``weights`` unknown or ``activation`` not callable.
    """

    activation: Callable[..., NDArray[Any]]
    width: int | Sequence[int]
    num_layers: int
    weight_variance: float
    bias_variance: float = 0.0
    weights: str = "gaussian"
    positive_share: float = 0.5
    density: float = 0.1
    noisy: bool | None = None
    dtype: DTypeLike = np.float32

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not callable(self.activation):
            raise fail("activation", "callable", self.activation)
        num_layers = check_integer("num_layers", self.num_layers, minimum=1)
        if not (np.ndim(self.width) == 0 or np.shape(self.width) == (num_layers + 1,)):
            raise fail("width", f"an integer or {num_layers + 1} integers", self.width)
        for width in np.ravel(self.width).tolist():
            check_integer("width", width, minimum=1)
        check_positive("weight_variance", self.weight_variance)
        check_nonnegative("bias_variance", self.bias_variance)
        check_choice("weights", self.weights, WEIGHT_LAWS)
        if not 0 <= check_nonnegative("positive_share", self.positive_share) <= 1:
            raise fail("positive_share", "from 0 to 1", self.positive_share)
        if not 0 < check_nonnegative("density", self.density) <= 1:
            raise fail("density", "above 0 and at most 1", self.density)
        check_choice("noisy", self.noisy, [None, False, True])
        if self.dtype not in (np.float32, np.float64):
            raise fail("dtype", "numpy.float32 or numpy.float64", self.dtype)

    @property
    def is_noisy(self) -> bool:
        """Whether the activation takes a generator."""
        stated = not getattr(self.activation, "is_deterministic", True)
        return stated if self.noisy is None else bool(self.noisy)

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons of each layer, from 0 to ``num_layers``."""
        return tuple(int(n) for n in np.broadcast_to(self.width, self.num_layers + 1))


@dataclass(frozen=True, eq=False)
class ForwardMoments:
    """Second moments of a signal in simulated networks.

    Entry ``[k, l, a, b]`` is the mean over the neurons of layer ``l`` of network ``k`` of the
    product of their values for the inputs ``a`` and ``b``.

    Parameters
    ----------
    pre_moments : numpy.ndarray
        Of pre-activations, shape ``(num_networks, num_layers + 1, num_inputs, num_inputs)``.
    post_moments : numpy.ndarray
        Of activations, of the same shape.

    Notes
    -----
    The properties speak of the first two inputs. A correlation is estimated as a ratio of means
    over the networks, which mean-field theory speaks of, not as a mean of ratios. The bias of a
    ratio, of the order of one over the number of networks, is removed to leading order by the
    jackknife, which also gives the standard error. What remains is the effect that the simulation
    is there to show: networks of finite width differ from the limit by about
    ``num_layers / width``. At layer 0 the moments are given, so there is nothing to estimate.
    """

    pre_moments: FloatArray
    post_moments: FloatArray

    def __post_init__(self) -> None:
        """Keep the arrays from being changed."""
        _freeze(self, "pre_moments", "post_moments")

    def pair(self, first: int, second: int) -> "ForwardMoments":
        """Moments of two of the inputs, by their positions."""
        rows, columns = [[first], [second]], [first, second]
        return ForwardMoments(
            self.pre_moments[..., rows, columns], self.post_moments[..., rows, columns]
        )

    @property
    def variances(self) -> FloatArray:
        """Pre-activation variance per network and layer, mean over the inputs."""
        return _mean_diagonal(self.pre_moments)

    @property
    def correlations(self) -> FloatArray:
        """Pre-activation correlation per network and layer."""
        return _correlations(self.pre_moments)

    @property
    def post_variances(self) -> FloatArray:
        """Second moment of the activations per network and layer, mean over the inputs."""
        return _mean_diagonal(self.post_moments)

    @property
    def post_correlations(self) -> FloatArray:
        """Correlation of the activations per network and layer."""
        return _correlations(self.post_moments)

    @property
    def variance_estimates(self) -> tuple[Estimate, ...]:
        """Pre-activation variance of each layer."""
        return _means(self.variances)

    @property
    def correlation_estimates(self) -> tuple[Estimate, ...]:
        """Pre-activation correlation of each layer."""
        return _ratios(self.pre_moments[..., 0, 1], _mean_diagonal(self.pre_moments[..., :2, :2]))

    @property
    def post_variance_estimates(self) -> tuple[Estimate, ...]:
        """Second moment of the activations of each layer."""
        return _means(self.post_variances)

    @property
    def post_correlation_estimates(self) -> tuple[Estimate, ...]:
        """Correlation of the activations of each layer."""
        return _ratios(self.post_moments[..., 0, 1], _mean_diagonal(self.post_moments[..., :2, :2]))


@dataclass(frozen=True, eq=False)
class BackwardMoments:
    """Second moments of gradients in simulated networks.

    Entry ``[k, l, a, b]`` of ``moments`` is the sum over the neurons of layer ``l`` of network
    ``k`` of the product of the derivatives of a scalar output with respect to their
    pre-activations, for the inputs ``a`` and ``b``. The output is a random linear function of the
    pre-activations of the last layer, of norm one, so that the moments there are one.

    Parameters
    ----------
    moments : numpy.ndarray
        Shape ``(num_networks, num_layers + 1, num_inputs, num_inputs)``.
    kernels : numpy.ndarray
        Tangent kernel of the output with the surrogate in place of the derivative of the
        activation, shape ``(num_networks, num_inputs, num_inputs)``: the sum over the layers of
        the moments times the kernel of the parameters that feed the layer, which is
        ``weight_variance * (second moment of the activations before) + bias_variance`` and at
        layer 0 the second moment of the start.

    Notes
    -----
    A gain is a ratio of means over the networks, treated as in :class:`ForwardMoments`.
    """

    moments: FloatArray
    kernels: FloatArray

    def __post_init__(self) -> None:
        """Keep the arrays from being changed."""
        _freeze(self, "moments", "kernels")

    def pair(self, first: int, second: int) -> "BackwardMoments":
        """Moments of two of the inputs, by their positions."""
        rows, columns = [[first], [second]], [first, second]
        return BackwardMoments(self.moments[..., rows, columns], self.kernels[..., rows, columns])

    @property
    def gain_estimates(self) -> tuple[Estimate, ...]:
        """Gradient second moment at layer ``l`` over that at ``l + 1``, mean over the inputs."""
        squares = _mean_diagonal(self.moments)
        return _ratios(squares[:, :-1], squares[:, 1:])

    @property
    def two_input_gain_estimates(self) -> tuple[Estimate, ...]:
        """Inner product of the gradients of two inputs at layer ``l`` over that at ``l + 1``."""
        products = self.moments[..., 0, 1]
        return _ratios(products[:, :-1], products[:, 1:])

    @property
    def correlation_estimates(self) -> tuple[Estimate, ...]:
        """Correlation of the gradients of two inputs at each layer, one at the last."""
        return _ratios(self.moments[..., 0, 1], _mean_diagonal(self.moments[..., :2, :2]))

    @property
    def kernel_ratio_estimate(self) -> Estimate:
        """Tangent kernel of two inputs over that of one."""
        diagonal = _mean_diagonal(self.kernels[..., :2, :2])
        return _ratio(self.kernels[..., 0, 1], diagonal)


@dataclass(frozen=True, eq=False)
class CircleCovariance:
    """Second moments of pre-activations against the angle between inputs on a circle.

    Parameters
    ----------
    angles : numpy.ndarray
        Angles between two inputs in radians, increasing from -pi, shape ``(num_inputs,)``.
    covariances : numpy.ndarray
        Mean over the neurons and over the pairs at each angle, shape
        ``(num_networks, num_layers + 1, num_inputs)``.
    """

    angles: FloatArray
    covariances: FloatArray

    def __post_init__(self) -> None:
        """Keep the arrays from being changed."""
        _freeze(self, "angles", "covariances")

    @property
    def mean(self) -> FloatArray:
        """Mean over the networks, shape ``(num_layers + 1, num_inputs)``."""
        return np.asarray(self.covariances.mean(axis=0))


def propagation(
    network: RandomNetwork,
    *,
    variance: float,
    correlation: ArrayLike,
    num_networks: int,
    rng: np.random.Generator,
) -> ForwardMoments:
    """Send two or more inputs through random networks.

    Parameters
    ----------
    network : RandomNetwork
        Law of the networks.
    variance : float
        Second moment of the pre-activations of layer 0, above zero, the same for all inputs.
    correlation : float or array_like
        Their correlation in [-1, 1], or the matrix of correlations of two or more inputs.
    num_networks : int
        Number of independent networks, at least two. Each has a child of the generator, so the
        first networks are the same whatever their number.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ForwardMoments
        Moments of each layer of each network.

    Raises
    ------
    ValueError
        If an argument is out of its range, the matrix no matrix of correlations, or its rank above
        the width of layer 0.

    Notes
    -----
    Book: ch04-check-finite-width.
    """
    factor = _start_factor(network, variance, correlation)
    moments = [
        _forward_moments(network, _start(network, factor, generator), generator)
        for generator in _generators(num_networks, rng)
    ]
    return ForwardMoments(*map(np.array, zip(*moments, strict=True)))


def propagation_of_inputs(
    network: RandomNetwork, inputs: ArrayLike, *, num_networks: int, rng: np.random.Generator
) -> ForwardMoments:
    """Send given inputs through random networks with one more layer in front.

    Parameters
    ----------
    network : RandomNetwork
        Law of the networks; the weights of the layer in front follow it too.
    inputs : array_like
        Inputs, shape ``(num_inputs, fan_in)``, at least two.
    num_networks : int
        Number of independent networks, at least two.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ForwardMoments
        Moments of each layer of each network; layer 0 is what the layer in front computes.

    Raises
    ------
    ValueError
        If ``inputs`` has another shape, ``num_networks`` is below two or ``rng`` no generator.

    Notes
    -----
    Book: ch04-check-finite-width.
    """
    check_instance("network", network, RandomNetwork)
    array = as_float_array("inputs", inputs)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise fail("inputs", "at least two rows of numbers", f"shape {array.shape}")
    x = np.ascontiguousarray(array.T, dtype=network.dtype)
    moments = [
        _forward_moments(network, _layer(network, x, network.widths[0], generator), generator)
        for generator in _generators(num_networks, rng)
    ]
    return ForwardMoments(*map(np.array, zip(*moments, strict=True)))


def correlation_slope(
    network: RandomNetwork,
    *,
    variance: float,
    correlation: float,
    gap: float,
    num_networks: int,
    rng: np.random.Generator,
) -> tuple[Estimate, ...]:
    """Slope of the correlation after each layer against the correlation of the start.

    Parameters
    ----------
    network : RandomNetwork
        Law of the networks.
    variance : float
        Second moment of the pre-activations of layer 0, above zero.
    correlation : float
        Correlation of the start around which the slope is taken.
    gap : float
        Difference of the two correlations that are compared, above zero; both within [-1, 1].
    num_networks : int
        Number of independent networks, at least two.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    tuple of Estimate
        Central difference quotient of the pre-activation correlation, one for each layer, from
        three inputs in the same networks: one, and two that are correlated with it by
        ``correlation -+ gap / 2``. It differs from the slope by the third derivative times
        ``gap**2 / 24``; for a staircase its noise grows as ``gap ** -0.5``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: ch04-check-finite-width.
    """
    step = check_positive("gap", gap)
    low, high = _check_correlation(correlation) + np.array([-step, step]) / 2
    if not -1 <= low < high <= 1:
        raise fail("gap", "so small that both correlations are within [-1, 1]", gap)
    between = low * high + np.sqrt((1 - low**2) * (1 - high**2))
    moments = propagation(
        network,
        variance=variance,
        correlation=[[1, low, high], [low, 1, between], [high, between, 1]],
        num_networks=num_networks,
        rng=rng,
    ).pre_moments
    return _ratios((moments[..., 0, 2] - moments[..., 0, 1]) / step, _mean_diagonal(moments))


def circle_covariance(
    network: RandomNetwork,
    *,
    variance: float,
    num_inputs: int,
    num_networks: int,
    rng: np.random.Generator,
) -> CircleCovariance:
    """Send a circle of inputs through random networks.

    Parameters
    ----------
    network : RandomNetwork
        Law of the networks.
    variance : float
        Second moment of the pre-activations of layer 0, above zero, the same all around.
    num_inputs : int
        Number of inputs, equally spaced on the circle, at least two.
    num_networks : int
        Number of independent networks, at least two.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    CircleCovariance
        Second moments against the angle between two inputs; at layer 0 it is the variance times
        the cosine.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: sec-ch05-phenomenon.
    """
    count = check_integer("num_inputs", num_inputs, minimum=2)
    check_instance("network", network, RandomNetwork)
    if network.widths[0] < 2:
        raise fail("width", "at least 2 at layer 0 to hold a circle", network.widths[0])
    angles = 2 * np.pi * np.arange(count) / count
    factor = np.stack([np.cos(angles), np.sin(angles)]) * np.sqrt(
        check_positive("variance", variance)
    )
    turns = (np.arange(count)[:, None] + np.arange(count) - count // 2) % count
    covariances = [
        [
            _moments(pre)[np.arange(count)[:, None], turns].mean(axis=0)
            for pre, _, _ in _forward(network, _start(network, factor, generator), generator)
        ]
        for generator in _generators(num_networks, rng)
    ]
    return CircleCovariance(angles - angles[count // 2], np.array(covariances))


def backpropagation(
    network: RandomNetwork,
    derivative: Callable[[Values], NDArray[Any]],
    *,
    variance: float,
    correlation: ArrayLike,
    num_networks: int,
    rng: np.random.Generator,
    num_readouts: int = 1,
) -> BackwardMoments:
    """Send inputs forward and gradients backward through random networks.

    Parameters
    ----------
    network : RandomNetwork
        Law of the networks.
    derivative : callable
        Maps pre-activations to what the backward pass takes for the derivative of the activation:
        the derivative itself or a surrogate.
    variance : float
        Second moment of the pre-activations of layer 0, above zero, the same for all inputs.
    correlation : float or array_like
        Their correlation in [-1, 1], or the matrix of correlations of two or more inputs.
    num_networks : int
        Number of independent networks, at least two.
    rng : numpy.random.Generator
        Source of randomness.
    num_readouts : int
        Number of independent outputs of each network over which moments are averaged; they cost
        little beside the weights.

    Returns
    -------
    BackwardMoments
        Moments of the gradients at each layer of each network, and tangent kernels.

    Raises
    ------
    ValueError
        If an argument is out of its range or ``derivative`` not callable.

    Notes
    -----
    Book: ch05-check-backward.
    The matrices of the backward pass are those of the forward pass.
    """
    if not callable(derivative):
        raise fail("derivative", "callable", derivative)
    check_integer("num_readouts", num_readouts, minimum=1)
    factor = _start_factor(network, variance, correlation)
    results = []
    for generator in _generators(num_networks, rng):
        layers = list(_forward(network, _start(network, factor, generator), generator))
        moments = _backward_moments(network, derivative, layers, num_readouts, generator)
        results.append((moments, _tangent_kernel(network, layers, moments)))
    return BackwardMoments(*map(np.array, zip(*results, strict=True)))


def _forward(
    network: RandomNetwork, start: Values, generator: np.random.Generator
) -> Iterator[tuple[Values, Values, State]]:
    """Yield pre-activations, activations and the state that makes the weights after them."""
    pre = start
    for fan_out in (*network.widths[1:], 0):
        noise = {"rng": generator} if network.is_noisy else {}
        post = np.asarray(network.activation(pre, **noise), dtype=network.dtype)
        if post.shape != pre.shape:
            raise fail("activation", "a map that keeps the shape", f"shape {post.shape}")
        yield pre, post, generator.bit_generator.state
        if fan_out:
            pre = _layer(network, post, fan_out, generator)


def _layer(
    network: RandomNetwork, x: Values, fan_out: int, generator: np.random.Generator
) -> Values:
    """Pre-activations of a new layer, shape ``(fan_out, num_inputs)``."""
    pre = np.empty((fan_out, x.shape[1]), dtype=network.dtype)
    for rows, block in _weight_blocks(network, fan_out, x.shape[0], generator):
        pre[rows] = block @ x
    if network.bias_variance:
        biases = generator.standard_normal((fan_out, 1)) * np.sqrt(network.bias_variance)
        pre += biases.astype(network.dtype)
    return pre


def _weight_blocks(
    network: RandomNetwork, fan_out: int, fan_in: int, generator: np.random.Generator
) -> Iterator[tuple[slice, Values]]:
    """Yield the weights of a layer, some rows at a time; the state fixes all of them."""
    scale = np.sqrt(network.weight_variance / fan_in)
    size = max(1, BLOCK // fan_in)
    for first in range(0, fan_out, size):
        rows = slice(first, min(first + size, fan_out))
        block = _standard_weights(network, (rows.stop - first, fan_in), generator)
        block *= scale
        yield rows, block


def _standard_weights(
    network: RandomNetwork, shape: tuple[int, int], generator: np.random.Generator
) -> Values:
    """Weights of second moment one."""
    kind = np.float64 if np.dtype(network.dtype) == np.float64 else np.float32
    if network.weights == "binary":
        return _signs(network, shape, generator)
    if network.weights == "ternary":
        block = _signs(network, shape, generator)
        block *= _bits(shape, generator) * kind(np.sqrt(2))
        return block
    block = generator.standard_normal(shape, dtype=kind)
    if network.positive_share != 0.5:
        block = np.abs(block) * _signs(network, shape, generator)
    if network.weights == "sparse":
        block *= (generator.random(shape, dtype=kind) < network.density) * kind(
            1 / np.sqrt(network.density)
        )
    return block


def _signs(
    network: RandomNetwork, shape: tuple[int, int], generator: np.random.Generator
) -> Values:
    """Signs, plus with the probability that the network says."""
    if network.positive_share == 0.5:
        signs = _bits(shape, generator).astype(network.dtype)
    else:
        places = generator.random(shape, dtype=np.float32)
        signs = (places < network.positive_share).astype(network.dtype)
    signs *= 2
    signs -= 1
    return signs


def _bits(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Fair bits, eight from each random byte."""
    size = shape[0] * shape[1]
    random_bytes = np.frombuffer(generator.bytes((size + 7) // 8), dtype=np.uint8)
    return np.unpackbits(random_bytes, count=size).reshape(shape)


def _forward_moments(
    network: RandomNetwork, start: Values, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Moments of pre-activations and of activations, one matrix for each layer."""
    pairs = [
        (_moments(pre), _moments(post)) for pre, post, _ in _forward(network, start, generator)
    ]
    pre_moments, post_moments = zip(*pairs, strict=True)
    return np.array(pre_moments), np.array(post_moments)


def _backward_moments(
    network: RandomNetwork,
    derivative: Callable[[Values], NDArray[Any]],
    layers: Sequence[tuple[Values, Values, State]],
    num_readouts: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Gradient moments, one matrix for each layer."""
    last = layers[-1][0]
    readouts = generator.standard_normal((last.shape[0], 1, num_readouts))
    readouts /= np.linalg.norm(readouts, axis=0)
    gradient = np.repeat(readouts, last.shape[1], axis=1).astype(network.dtype)
    moments = [_gradient_moments(gradient)]
    for pre, _, state in layers[-2::-1]:
        generator.bit_generator.state = state
        back = _transposed_layer(network, gradient, pre.shape[0], generator)
        gradient = back * np.asarray(derivative(pre), dtype=network.dtype)[..., None]
        moments.append(_gradient_moments(gradient))
    return np.array(moments[::-1])


def _transposed_layer(
    network: RandomNetwork, gradient: Values, fan_in: int, generator: np.random.Generator
) -> Values:
    """Gradients times the transposed weights, drawn again, before the derivative."""
    flat = gradient.reshape(gradient.shape[0], -1)
    back = np.zeros((fan_in, flat.shape[1]), dtype=network.dtype)
    for rows, block in _weight_blocks(network, flat.shape[0], fan_in, generator):
        back += block.T @ flat[rows]
    return back.reshape(fan_in, *gradient.shape[1:])


def _tangent_kernel(
    network: RandomNetwork, layers: Sequence[tuple[Values, Values, State]], moments: FloatArray
) -> FloatArray:
    """Sum over the layers of gradient moments times the kernel of the parameters."""
    kernel = moments[0] * _moments(layers[0][0])
    for (_, post, _), gradient in zip(layers[:-1], moments[1:], strict=True):
        parameters = network.weight_variance * _moments(post) + network.bias_variance
        kernel = kernel + gradient * parameters
    return np.asarray(kernel)


def _start(network: RandomNetwork, factor: FloatArray, generator: np.random.Generator) -> Values:
    """Pre-activations of layer 0 whose second moments are exactly ``factor.T @ factor``."""
    rank, width = factor.shape[0], network.widths[0]
    draws = generator.standard_normal((width, rank))
    # Signs as in Gram-Schmidt make the directions uniform.
    directions, triangle = np.linalg.qr(draws)
    directions *= np.where(np.diag(triangle) < 0, -1, 1) * np.sqrt(width)
    return np.asarray(directions @ factor, dtype=network.dtype)


def _start_factor(network: RandomNetwork, variance: float, correlation: ArrayLike) -> FloatArray:
    """Factor of the second moments of the start; equal inputs get equal columns."""
    check_instance("network", network, RandomNetwork)
    check_positive("variance", variance)
    matrix = _correlation_matrix(correlation)
    rest = matrix.copy()
    rows = []
    for index in range(matrix.shape[0]):
        if (pivot := rest[index, index]) > 1e-14:
            rows.append(rest[index] / np.sqrt(pivot))
            rest -= np.outer(rows[-1], rows[-1])
    if np.max(np.abs(rest)) > 1e-6:  # what a pivot left out may leave beside the diagonal
        raise fail("correlation", "a positive semidefinite matrix", correlation)
    if len(rows) > network.widths[0]:
        raise fail("width", f"at least {len(rows)} at layer 0 for these inputs", network.widths[0])
    return np.asarray(np.array(rows) * np.sqrt(variance))


def _correlation_matrix(correlation: ArrayLike) -> FloatArray:
    """Matrix of correlations of a pair, or the given one."""
    if np.ndim(correlation) == 0:
        value = _check_correlation(correlation)
        return np.array([[1.0, value], [value, 1.0]])
    matrix = as_float_array("correlation", correlation).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 2:
        raise fail("correlation", "a number or a square matrix", f"shape {matrix.shape}")
    if not (np.all(np.diag(matrix) == 1) and np.allclose(matrix, matrix.T, rtol=0, atol=1e-12)):
        raise fail("correlation", "symmetric with ones on the diagonal", correlation)
    return np.asarray((matrix + matrix.T) / 2)


def _check_correlation(correlation: Any) -> float:
    """Return a correlation as ``float``."""
    value = check_finite("correlation", correlation)
    if not -1 <= value <= 1:
        raise fail("correlation", "in [-1, 1]", correlation)
    return value


def _generators(num_networks: int, rng: np.random.Generator) -> list[np.random.Generator]:
    """Children of the generator, one for each network."""
    count = check_integer("num_networks", num_networks, minimum=2)
    return check_generator("rng", rng).spawn(count)


def _moments(values: Values) -> FloatArray:
    """Second moments of the inputs, means over the neurons."""
    columns = values.astype(np.float64)
    return np.asarray(columns.T @ columns / columns.shape[0])


def _gradient_moments(gradient: Values) -> FloatArray:
    """Products of gradients, summed over the neurons, mean over the readouts."""
    rows = gradient.astype(np.float64).transpose(1, 0, 2).reshape(gradient.shape[1], -1)
    return np.asarray(rows @ rows.T / gradient.shape[2])


def _mean_diagonal(moments: FloatArray) -> FloatArray:
    """Mean of the second moments of the single inputs."""
    return np.asarray(np.diagonal(moments, axis1=-2, axis2=-1).mean(axis=-1))


def _correlations(moments: FloatArray) -> FloatArray:
    """Correlation of the first two inputs; NaN where a signal has died."""
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.sqrt(moments[..., 0, 0] * moments[..., 1, 1])
        return np.asarray(moments[..., 0, 1] / norms)


def _means(values: FloatArray) -> tuple[Estimate, ...]:
    """Mean over the networks, one for each layer."""
    return tuple(Estimate.from_samples(column) for column in values.T)


def _ratios(numerators: FloatArray, denominators: FloatArray) -> tuple[Estimate, ...]:
    """Ratio of means over the networks, one for each layer."""
    return tuple(map(_ratio, numerators.T, denominators.T))


def _ratio(numerators: FloatArray, denominators: FloatArray) -> Estimate:
    """Ratio of two means with the jackknife's correction of bias and standard error."""
    count = numerators.size
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = numerators.sum() / denominators.sum()
        left_out = (numerators.sum() - numerators) / (denominators.sum() - denominators)
        mean = ratio + (count - 1) * (ratio - left_out.mean())
        spread = np.sqrt((count - 1) * np.mean((left_out - left_out.mean()) ** 2))
    return Estimate(float(mean), float(spread), count)


def _freeze(value: object, *names: str) -> None:
    """Copy arrays of a frozen value and make them read-only."""
    for name in names:
        array = np.array(getattr(value, name), dtype=np.float64)
        array.setflags(write=False)
        object.__setattr__(value, name, array)
