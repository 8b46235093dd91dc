"""Small trained networks: the experiment that the theory of signal propagation has to face.

Fully connected networks with any activation and a derivative of choice, trained by stochastic
gradient descent on cross entropy, in float32, several seeds at once. This module shares no code
with the theory beside it: the activation comes as a function, all variances as numbers.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_generator,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)

__all__ = [
    "Architecture",
    "Descent",
    "Initialization",
    "LabeledData",
    "Network",
    "TrainingActivation",
    "TrainingResult",
    "default_initialization",
    "initialize",
    "loss_and_gradients",
    "predict",
    "straight_through",
    "straight_through_staircase",
    "train",
]

Array = NDArray[np.float32]
IntArray = NDArray[np.intp]
Function = Callable[[Array], Array]
Parameters = tuple[Array, ...]


@dataclass(frozen=True)
class TrainingActivation:
    """An activation with the derivative that training uses in its place.

    Parameters
    ----------
    function : callable
        The activation, elementwise; takes and returns float32 arrays and leaves its argument.
    derivative : callable
        What the backward pass multiplies by, elementwise: the true derivative of a smooth
        activation, a surrogate for a staircase.
    """

    function: Function
    derivative: Function


@dataclass(frozen=True)
class Architecture:
    """Sizes of a fully connected network.

    Parameters
    ----------
    num_inputs, num_classes : int
        Sizes of an input and of the output, at least 1 and 2.
    width : int
        Units in every hidden layer, at least 1.
    depth : int
        Number of hidden layers, each with an activation, at least 1. A linear readout follows.
    quantized_logits : bool
        Whether the activation is applied to the readout too.

    Raises
    ------
    ValueError
        If a size is out of range.
    """

    num_inputs: int
    num_classes: int
    width: int
    depth: int
    quantized_logits: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_integer("num_inputs", self.num_inputs, minimum=1)
        check_integer("num_classes", self.num_classes, minimum=2)
        check_integer("width", self.width, minimum=1)
        check_integer("depth", self.depth, minimum=1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes from the input over the hidden layers to the classes."""
        return (self.num_inputs, *(self.width,) * self.depth, self.num_classes)


@dataclass(frozen=True)
class Initialization:
    """Law of the weights and biases before training.

    Parameters
    ----------
    weight_variance : float
        Variance of a weight times its fan-in, above zero.
    bias_variance : float
        Variance of a bias, not below zero.
    fan_in_bias_variance : float
        A further variance of a bias times its fan-in, not below zero.
    first_variance : float, optional
        Mean square of the first layer's pre-activations on the training inputs, biases apart.
        Left out, the first layer has ``weight_variance`` like the others.
    law : {"normal", "uniform"}
        Distribution of weights and biases, with mean zero.

    Raises
    ------
    ValueError
        If a variance is out of range or ``law`` is unknown.
    """

    weight_variance: float
    bias_variance: float = 0.0
    fan_in_bias_variance: float = 0.0
    first_variance: float | None = None
    law: str = "normal"

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_positive("weight_variance", self.weight_variance)
        check_nonnegative("bias_variance", self.bias_variance)
        check_nonnegative("fan_in_bias_variance", self.fan_in_bias_variance)
        if self.first_variance is not None:
            check_positive("first_variance", self.first_variance)
        check_choice("law", self.law, ("normal", "uniform"))


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent with momentum, on the mean cross entropy of a batch.

    Velocity ``v = momentum * v + gradient``, weight ``w = w - learning_rate * v``. Batches run
    through the training set in a new random order each epoch, and a last short one is left out.

    Parameters
    ----------
    learning_rate : float
        Above zero.
    momentum : float
        From 0 to below 1.
    batch_size : int
        Examples a step, at least 1.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    learning_rate: float
    momentum: float = 0.5
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_positive("learning_rate", self.learning_rate)
        if not check_nonnegative("momentum", self.momentum) < 1:
            raise fail("momentum", "below one", self.momentum)
        check_integer("batch_size", self.batch_size, minimum=1)


@dataclass(frozen=True, eq=False)
class LabeledData:
    """Inputs with their classes, for training and for testing.

    The arrays are copied, as float32 and integers, and read-only.

    Parameters
    ----------
    train_inputs : array_like
        Inputs to train on, shape ``(num_examples, num_inputs)``, finite.
    train_labels : array_like
        Their classes, integers from zero, shape ``(num_examples,)``.
    test_inputs : array_like
        Inputs to test on, as many columns as ``train_inputs``, finite.
    test_labels : array_like
        Their classes.

    Raises
    ------
    ValueError
        If shapes do not fit, an input is not finite or a label is negative or no integer.
    """

    train_inputs: Array
    train_labels: IntArray
    test_inputs: Array
    test_labels: IntArray

    def __post_init__(self) -> None:
        """Copy, check and set read-only."""
        for part in ("train", "test"):
            inputs = _frozen_inputs(f"{part}_inputs", getattr(self, f"{part}_inputs"))
            labels = _frozen_labels(f"{part}_labels", getattr(self, f"{part}_labels"))
            if labels.shape != inputs.shape[:1]:
                raise fail(f"{part}_labels", f"of shape {inputs.shape[:1]}", labels.shape)
            object.__setattr__(self, f"{part}_inputs", inputs)
            object.__setattr__(self, f"{part}_labels", labels)
        if self.train_inputs.shape[1] != self.test_inputs.shape[1]:
            shape = f"of {self.train_inputs.shape[1]} columns like `train_inputs`"
            raise fail("test_inputs", shape, self.test_inputs.shape)


@dataclass(frozen=True, eq=False)
class Network:
    """Weights and biases of several networks of one architecture, one for each seed.

    Parameters
    ----------
    architecture : Architecture
        Sizes of each network.
    activation : TrainingActivation
        Activation of the hidden layers.
    weights : tuple of ndarray
        One array a layer, float32, shape ``(num_seeds, num_in, num_out)``, ``depth + 1`` in all.
    biases : tuple of ndarray
        One array a layer, float32, shape ``(num_seeds, 1, num_out)``.
    """

    architecture: Architecture
    activation: TrainingActivation
    weights: Parameters
    biases: Parameters

    @property
    def num_seeds(self) -> int:
        """Number of networks."""
        return len(self.weights[0])


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What happened to each of several networks in training.

    Parameters
    ----------
    network : Network
        The networks after the last step.
    losses : ndarray
        Mean cross entropy of each batch before its step, float64, natural logarithm, shape
        ``(num_seeds, num_steps)``. NaN from the step on at which a network diverged.
    checkpoints : tuple of int
        Numbers of steps after which accuracies were taken, increasing.
    train_accuracy, test_accuracy : ndarray
        Fractions of examples put in their class, shape ``(num_seeds, num_checkpoints)``; NaN for
        a network that has diverged.
    diverged_at : ndarray
        First step, from 0, with a loss that is not finite, shape ``(num_seeds,)``; -1 for none.
    """

    network: Network
    losses: NDArray[np.float64]
    checkpoints: tuple[int, ...]
    train_accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    diverged_at: IntArray


def straight_through(
    function: Function, *, slope: float = 1.0, window: float = 1.0
) -> TrainingActivation:
    """Give any activation the derivative of a clipped line: the straight-through estimator.

    Parameters
    ----------
    function : callable
        The activation, elementwise. Its result is rounded to float32.
    slope : float
        Derivative inside the window, above zero.
    window : float
        Inputs of smaller size get ``slope``, all others zero; above zero, may be infinite.

    Returns
    -------
    TrainingActivation
        The pair.

    Raises
    ------
    ValueError
        If ``slope`` or ``window`` is not above zero.
    """
    inside = np.float32(check_positive("slope", slope))
    limit = math.inf if window == math.inf else check_positive("window", window)

    def forward(u: Array) -> Array:
        return np.asarray(function(u), dtype=np.float32)

    def derivative(u: Array) -> Array:
        return np.asarray(inside * (np.abs(u) < limit), dtype=np.float32)

    return TrainingActivation(forward, derivative)


def straight_through_staircase(
    num_levels: int, *, slope: float = 1.0, window: float = 1.0
) -> TrainingActivation:
    """Make the uniform staircase between -1 and 1, with thresholds midway between its levels.

    Computed in float32, in place, without a search for the level: made for speed.

    Parameters
    ----------
    num_levels : int
        At least 2; levels ``linspace(-1, 1, num_levels)``. An input on a threshold goes up.
    slope, window : float
        As in `straight_through`.

    Returns
    -------
    TrainingActivation
        The staircase with its surrogate derivative.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> staircase = straight_through_staircase(3)
    >>> staircase.function(np.array([-0.7, 0.1, 0.5], dtype=np.float32)).tolist()
    [-1.0, 0.0, 1.0]
    """
    top = check_integer("num_levels", num_levels, minimum=2) - 1
    step, half = np.float32(2 / top), np.float32(num_levels / 2)

    def staircase(u: Array) -> Array:
        codes = u / step
        codes += half
        np.floor(codes, out=codes)
        np.clip(codes, np.float32(0), np.float32(top), out=codes)
        codes *= step
        codes -= np.float32(1)
        return codes

    return straight_through(staircase, slope=slope, window=window)


def default_initialization() -> Initialization:
    """Law that common frameworks give a linear layer if nothing is said.

    Weights and biases are uniform between plus and minus one over the root of the fan-in: the
    weight variance is 1/3, far below every optimum of this book.

    Returns
    -------
    Initialization
        The law.
    """
    return Initialization(weight_variance=1 / 3, fan_in_bias_variance=1 / 3, law="uniform")


def initialize(
    architecture: Architecture,
    activation: TrainingActivation,
    initialization: Initialization,
    *,
    inputs: ArrayLike,
    rngs: Sequence[np.random.Generator],
) -> Network:
    """Draw one network for each generator.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    activation : TrainingActivation
        Activation of the hidden layers.
    initialization : Initialization
        Law of the weights and biases.
    inputs : array_like
        Training inputs, shape ``(num_examples, num_inputs)``; their mean square scales the first
        layer if ``first_variance`` is given.
    rngs : sequence of numpy.random.Generator
        One source of randomness a network. A network depends on its own generator alone.

    Returns
    -------
    Network
        Networks of ``len(rngs)`` seeds.

    Raises
    ------
    ValueError
        If ``rngs`` is empty or holds no generators, or ``inputs`` has another shape.
    """
    generators = _generators(rngs)
    data = as_float_array("inputs", inputs)
    if data.ndim != 2 or data.shape[1] != architecture.num_inputs or data.size == 0:
        raise fail("inputs", f"of shape (num_examples, {architecture.num_inputs})", data.shape)
    first = initialization.weight_variance
    if initialization.first_variance is not None:
        first = initialization.first_variance / float(np.mean(np.square(data, dtype=np.float64)))
    variances = [first, *(initialization.weight_variance,) * architecture.depth]
    layers = [
        _draw_layers(architecture.sizes, variances, initialization, rng) for rng in generators
    ]
    weights, biases = (
        tuple(np.stack([layer[part][k] for layer in layers]) for k in range(len(variances)))
        for part in (0, 1)
    )
    return Network(architecture, activation, weights, biases)


def predict(network: Network, inputs: ArrayLike) -> Array:
    """Compute the scores of the classes.

    Parameters
    ----------
    network : Network
        One or more networks.
    inputs : array_like
        Shape ``(num_examples, num_inputs)``.

    Returns
    -------
    ndarray
        Scores, float32, shape ``(num_seeds, num_examples, num_classes)``.

    Raises
    ------
    ValueError
        If ``inputs`` has another shape.
    """
    x = as_float_array("inputs", inputs).astype(np.float32)
    if x.ndim != 2 or x.shape[1] != network.architecture.num_inputs:
        shape = f"of shape (num_examples, {network.architecture.num_inputs})"
        raise fail("inputs", shape, x.shape)
    hidden = x[np.newaxis]
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        hidden = network.activation.function(np.matmul(hidden, weight) + bias)
    scores = np.matmul(hidden, network.weights[-1]) + network.biases[-1]
    return network.activation.function(scores) if network.architecture.quantized_logits else scores


def loss_and_gradients(
    network: Network, inputs: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], Parameters, Parameters]:
    """Compute mean cross entropy and its gradients, with the activation's derivative.

    Parameters
    ----------
    network : Network
        One or more networks.
    inputs : array_like
        Shape ``(num_examples, num_inputs)``, or ``(num_seeds, num_examples, num_inputs)`` with a
        batch of its own for each network.
    labels : array_like
        Classes, shape of ``inputs`` without its last dimension.

    Returns
    -------
    losses : ndarray
        One mean cross entropy a network, natural logarithm, float64, shape ``(num_seeds,)``.
    weight_gradients, bias_gradients : tuple of ndarray
        Shapes of ``network.weights`` and ``network.biases``.
    """
    x, y = np.asarray(inputs, dtype=np.float32), np.asarray(labels, dtype=np.intp)
    shape = (network.num_seeds, *x.shape[-2:])
    x, y = np.broadcast_to(x, shape), np.broadcast_to(y, shape[:-1])
    gradients: list[tuple[Array, Array]] = []

    def keep(_: int, weight_gradient: Array, bias_gradient: Array) -> None:
        gradients.append((weight_gradient, bias_gradient))

    losses = _backpropagate(network, x, y, keep)
    weight_gradients, bias_gradients = zip(*reversed(gradients), strict=True)
    return losses, weight_gradients, bias_gradients


def train(
    network: Network,
    data: LabeledData,
    descent: Descent,
    *,
    checkpoints: Sequence[int],
    rngs: Sequence[np.random.Generator],
) -> TrainingResult:
    """Train several networks side by side, each on batches of its own.

    A network whose loss is no longer finite has diverged: that is recorded, the others go on.

    Parameters
    ----------
    network : Network
        Networks to begin with; left as they are.
    data : LabeledData
        Training examples, and those that are only tested on.
    descent : Descent
        Learning rate, momentum and batch size.
    checkpoints : sequence of int
        Increasing numbers of steps, at least 1, after which accuracies are taken; training ends
        at the last.
    rngs : sequence of numpy.random.Generator
        One a network, for the order of its examples.

    Returns
    -------
    TrainingResult
        Trained networks, losses and accuracies.

    Raises
    ------
    ValueError
        If ``checkpoints`` is empty or does not increase, if the number of generators is not that
        of the networks, if a label has no class, or if a batch is larger than the training set.

    Notes
    -----
    Randomness: ``rngs`` alone; how many networks are trained side by side does not matter to
    any of them. Cost: proportional to seeds, steps, depth and squared width.
    """
    steps = _checkpoints(checkpoints)
    generators = _generators(rngs)
    if len(generators) != network.num_seeds:
        raise fail("rngs", f"{network.num_seeds} generators, one a network", len(generators))
    _check_data(network.architecture, data, descent)
    running = replace(
        network,
        weights=tuple(weight.copy() for weight in network.weights),
        biases=tuple(bias.copy() for bias in network.biases),
    )
    losses = np.full((network.num_seeds, steps[-1]), np.nan)
    accuracies = np.full((2, network.num_seeds, len(steps)), np.nan)
    batches = [_Batches(len(data.train_labels), descent.batch_size, rng) for rng in generators]
    step_function = _descender(running, descent)
    with np.errstate(all="ignore"):
        for step in range(steps[-1]):
            index = np.stack([next(batch) for batch in batches])
            x, y = data.train_inputs[index], data.train_labels[index]
            losses[:, step] = _backpropagate(running, x, y, step_function)
            if step + 1 in steps:
                accuracies[:, :, steps.index(step + 1)] = _accuracies(running, data)
    return _result(running, losses, steps, accuracies)


def _backpropagate(
    network: Network, x: Array, y: IntArray, use: Callable[[int, Array, Array], None]
) -> NDArray[np.float64]:
    """Return the losses and hand over the gradients, from the last layer to the first.

    The weights of a layer are not needed any more when its gradients are handed over, so that
    `use` may change them at once, while they are in the cache.
    """
    activation = network.activation
    inputs, preactivations = [x], []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        u = np.matmul(inputs[-1], weight)
        u += bias
        preactivations.append(u)
        inputs.append(activation.function(u))
    scores = inputs[-1] if network.architecture.quantized_logits else preactivations[-1]
    losses, delta = _cross_entropy(scores, y)
    if network.architecture.quantized_logits:
        delta *= activation.derivative(preactivations[-1])
    for layer in reversed(range(len(network.weights))):
        below = np.matmul(delta, network.weights[layer].swapaxes(1, 2)) if layer else delta
        use(layer, np.matmul(inputs[layer].swapaxes(1, 2), delta), delta.sum(axis=1, keepdims=True))
        if layer:
            below *= activation.derivative(preactivations[layer - 1])
            delta = below
    return losses


def _cross_entropy(scores: Array, y: IntArray) -> tuple[NDArray[np.float64], Array]:
    """Return the mean cross entropy of each network and its gradient by the scores."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, y[..., np.newaxis], axis=-1)
    losses = np.asarray(np.mean(np.log(total) - picked, axis=(1, 2), dtype=np.float64))
    delta = exponentials / total
    np.put_along_axis(
        delta,
        y[..., np.newaxis],
        np.take_along_axis(delta, y[..., np.newaxis], axis=-1) - np.float32(1),
        axis=-1,
    )
    delta /= np.float32(scores.shape[1])
    return losses, delta


def _descender(network: Network, descent: Descent) -> Callable[[int, Array, Array], None]:
    """Return a function that takes one step of momentum in one layer, in place."""
    momentum, rate = np.float32(descent.momentum), np.float32(descent.learning_rate)
    pairs = list(zip(network.weights, network.biases, strict=True))
    velocities = [tuple(np.zeros_like(value) for value in pair) for pair in pairs]

    def use(layer: int, weight_gradient: Array, bias_gradient: Array) -> None:
        gradients = (weight_gradient, bias_gradient)
        for value, velocity, gradient in zip(
            pairs[layer], velocities[layer], gradients, strict=True
        ):
            velocity *= momentum
            velocity += gradient
            np.multiply(velocity, rate, out=gradient)
            value -= gradient

    return use


class _Batches:
    """Endless batches of indices, every epoch in a new order."""

    def __init__(self, num_examples: int, batch_size: int, rng: np.random.Generator) -> None:
        self._num_examples, self._size, self._rng = num_examples, batch_size, rng
        self._order, self._place = np.empty(0, dtype=np.intp), 0

    def __next__(self) -> IntArray:
        if self._place + self._size > len(self._order):
            self._order, self._place = self._rng.permutation(self._num_examples), 0
        self._place += self._size
        return self._order[self._place - self._size : self._place]


def _accuracies(network: Network, data: LabeledData) -> NDArray[np.float64]:
    """Return training and test accuracy of each network, NaN without finite scores."""
    pairs = ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels))
    found = []
    for inputs, labels in pairs:
        scores = predict(network, inputs)
        right = np.mean(scores.argmax(axis=-1) == labels, axis=-1)
        found.append(np.where(np.isfinite(scores).all(axis=(1, 2)), right, np.nan))
    return np.array(found)


def _result(
    network: Network,
    losses: NDArray[np.float64],
    steps: tuple[int, ...],
    accuracies: NDArray[np.float64],
) -> TrainingResult:
    """Find where networks diverged, and blank what came after."""
    bad = ~np.isfinite(losses)
    diverged = np.where(bad.any(axis=1), bad.argmax(axis=1), -1)
    losses[np.logical_or.accumulate(bad, axis=1)] = np.nan
    late = (diverged[:, np.newaxis] >= 0) & (diverged[:, np.newaxis] < np.array(steps))
    train_accuracy, test_accuracy = np.where(late, np.nan, accuracies)
    return TrainingResult(network, losses, steps, train_accuracy, test_accuracy, diverged)


def _draw_layers(
    sizes: Sequence[int],
    variances: Sequence[float],
    law: Initialization,
    rng: np.random.Generator,
) -> tuple[list[Array], list[Array]]:
    """Draw the weights and biases of one network, layer by layer."""
    weights, biases = [], []
    for num_in, num_out, variance in zip(sizes[:-1], sizes[1:], variances, strict=True):
        bias_variance = law.bias_variance + law.fan_in_bias_variance / num_in
        weights.append(_draw(law.law, variance / num_in, (num_in, num_out), rng))
        biases.append(_draw(law.law, bias_variance, (1, num_out), rng))
    return weights, biases


def _draw(law: str, variance: float, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw numbers of mean zero and a given variance, as float32."""
    std = math.sqrt(variance)
    if law == "normal":
        return np.asarray(std * rng.standard_normal(shape), dtype=np.float32)
    bound = math.sqrt(3.0) * std
    return np.asarray(rng.uniform(-bound, bound, shape), dtype=np.float32)


def _generators(rngs: Sequence[np.random.Generator]) -> list[np.random.Generator]:
    """Return generators, at least one."""
    generators = [check_generator("rngs", rng) for rng in _as_list(rngs)]
    if not generators:
        raise fail("rngs", "at least one generator", rngs)
    return generators


def _as_list(rngs: Sequence[np.random.Generator]) -> list[np.random.Generator]:
    """Return a list, also of a single generator given by mistake, so that it can be named."""
    if isinstance(rngs, np.random.Generator):
        raise fail("rngs", "a sequence of generators, one a network", rngs)
    return list(rngs)


def _checkpoints(checkpoints: Sequence[int]) -> tuple[int, ...]:
    """Return numbers of steps that increase."""
    steps = tuple(check_integer("checkpoints", step, minimum=1) for step in checkpoints)
    if not steps or any(a >= b for a, b in itertools.pairwise(steps)):
        raise fail("checkpoints", "increasing and not empty", steps)
    return steps


def _check_data(architecture: Architecture, data: LabeledData, descent: Descent) -> None:
    """Refuse data that does not fit the network or the batch."""
    if data.train_inputs.shape[1] != architecture.num_inputs:
        columns = f"inputs with {architecture.num_inputs} columns"
        raise fail("data", columns, data.train_inputs.shape)
    largest = int(max(data.train_labels.max(), data.test_labels.max()))
    if largest >= architecture.num_classes:
        raise fail("data", f"labels below {architecture.num_classes}", largest)
    if descent.batch_size > len(data.train_labels):
        raise fail("descent", f"a batch of at most {len(data.train_labels)}", descent.batch_size)


def _frozen_inputs(name: str, values: ArrayLike) -> Array:
    """Return a read-only float32 copy of a table of finite numbers."""
    array = np.array(as_float_array(name, values), dtype=np.float32)
    if array.ndim != 2 or array.size == 0:
        raise fail(name, "of shape (num_examples, num_inputs)", array.shape)
    if not np.isfinite(array).all():
        raise fail(name, "finite", f"{np.count_nonzero(~np.isfinite(array))} other numbers")
    array.setflags(write=False)
    return array


def _frozen_labels(name: str, values: ArrayLike) -> IntArray:
    """Return a read-only copy of a row of integers from zero."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise fail(name, "a row of integers", f"{array.dtype} of shape {array.shape}")
    if array.size and array.min() < 0:
        raise fail(name, "not below zero", int(array.min()))
    labels = array.astype(np.intp)
    labels.setflags(write=False)
    return labels
