r"""Bit centering: a grid around the best point so far, finer as the gradient shrinks (HALP)."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_generator,
    check_instance,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.quantizers import RoundMode, UniformQuantizer, round_to_integer, uniform_midtread

__all__ = [
    "CenteringResult",
    "SampledProblem",
    "centered_grid",
    "halp",
    "halp_bit_width",
    "halp_contraction",
    "low_precision_svrg",
    "low_precision_svrg_floor",
]

FloatArray = NDArray[np.float64]

# The codes of an offset are exact integers in float64, with room for the largest learning rate.
MAX_BIT_WIDTH = 50
ROUND_MODES = (RoundMode.STOCHASTIC, RoundMode.TIES_TO_EVEN, RoundMode.TIES_AWAY)


class SampledProblem(Protocol):
    """What variance reduction asks of a problem: a full gradient and gradients of samples.

    The samples must depend on the generator and on the shape of the weights alone, so that the
    same generator state picks the same samples at two points.
    """

    @property
    def strong_convexity(self) -> float:
        """A lower bound of the curvature, above zero."""

    def gradient(self, weights: ArrayLike, /) -> FloatArray:
        """Full gradient at weights of shape ``(..., d)``."""

    def sample_gradient(self, weights: ArrayLike, /, *, rng: np.random.Generator) -> FloatArray:
        """Unbiased gradient for each replica, shape ``(..., d)``."""


@dataclass(frozen=True, eq=False)
class CenteringResult:
    """What variance-reduced training on a grid went through.

    Parameters
    ----------
    centers : numpy.ndarray
        Points at which full gradients were taken, first and last included, shape
        ``(num_epochs + 1, ..., d)``.
    grid_steps : numpy.ndarray
        Step of the grid in each epoch, shape ``(num_epochs, ...)``.
    """

    centers: FloatArray
    grid_steps: FloatArray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        self.centers.flags.writeable = False
        self.grid_steps.flags.writeable = False

    @property
    def weights(self) -> FloatArray:
        """The last center, shape ``(..., d)``."""
        return np.asarray(self.centers[-1])


def centered_grid(
    gradient_norm: float, *, strong_convexity: float, bit_width: int
) -> UniformQuantizer:
    r"""Grid of offsets from a center that is sure to surround the minimizer.

    Parameters
    ----------
    gradient_norm : float
        Norm :math:`\lVert \nabla F(\tilde w) \rVert` at the center, above zero.
    strong_convexity : float
        Constant :math:`\mu`, above zero.
    bit_width : int
        Bits b of each coordinate of the offset, from 2 to 50.

    Returns
    -------
    UniformQuantizer
        Stochastic rounding to :math:`2^b - 1` levels, symmetric about zero, the outer ones at
        :math:`\lVert \nabla F(\tilde w) \rVert / \mu`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-centered-grid.

    .. math:: \delta = \frac{\lVert \nabla F(\tilde w) \rVert}{\mu\,(2^{b-1} - 1)}

    Assumptions: F is :math:`\mu`-strongly convex, so that
    :math:`\lVert w^* - \tilde w \rVert \le \lVert \nabla F(\tilde w) \rVert / \mu`.

    References
    ----------
    [DeSa2018]_

    Examples
    --------
    >>> from qtheory.training import centered_grid
    >>> centered_grid(0.6, strong_convexity=0.1, bit_width=3).levels.round(6)
    array([-6., -4., -2.,  0.,  2.,  4.,  6.])
    """
    norm = check_positive("gradient_norm", gradient_norm)
    mu = check_positive("strong_convexity", strong_convexity)
    reach = _reach(bit_width)
    return uniform_midtread(
        bit_width=bit_width,
        step_size=norm / (mu * reach),
        narrow_range=True,
        round_mode=RoundMode.STOCHASTIC,
    )


def halp(
    problem: SampledProblem,
    start: ArrayLike,
    *,
    bit_width: int,
    learning_rate: float,
    num_inner: int,
    num_epochs: int,
    rng: np.random.Generator,
    round_mode: RoundMode = RoundMode.STOCHASTIC,
) -> CenteringResult:
    r"""Train an offset of few bits on a grid that is centered and refined in each epoch.

    Parameters
    ----------
    problem : SampledProblem
        Full gradient, gradients of samples and strong convexity, as ``LogisticRegression``.
    start : array_like of float
        First center, shape ``(..., d)``; leading axes are replicas.
    bit_width : int
        Bits of each coordinate of the offset, from 2 to 50.
    learning_rate : float
        Learning rate of the inner steps, above zero.
    num_inner : int
        Inner steps of an epoch, at least 1.
    num_epochs : int
        Number of epochs, at least 1.
    rng : numpy.random.Generator
        Source of samples and of rounding.
    round_mode : RoundMode
        Stochastic as in the theorem, or to nearest to see it fail.

    Returns
    -------
    CenteringResult
        Centers, kept in float64, and grid steps.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-bit-centering.

    Algorithm, with :math:`B = 2^{b-1} - 1`:

    1. :math:`\tilde g = \nabla F(\tilde w)`, :math:`\delta = \lVert \tilde g \rVert / (\mu B)`,
       :math:`z = 0`.
    2. ``num_inner`` times, with a fresh sample i:
       :math:`z \leftarrow Q_\delta\bigl(z - \alpha(\nabla f_i(\tilde w + z)
       - \nabla f_i(\tilde w) + \tilde g)\bigr)`, clipped to codes from :math:`-B` to B.
    3. :math:`\tilde w \leftarrow \tilde w + z`.

    Accuracy: a center moves by float64 arithmetic, so that the distance to the minimizer stops
    falling near 1e-16 times the size of the weights.

    References
    ----------
    Cf. [DeSa2018]_.
    """
    mu = check_positive("problem.strong_convexity", problem.strong_convexity)
    reach, rate, num_inner, num_epochs = _counts(bit_width, learning_rate, num_inner, num_epochs)
    check_choice("round_mode", round_mode, ROUND_MODES)
    check_generator("rng", rng)
    noise = rng if round_mode is RoundMode.STOCHASTIC else None
    centers, steps = [_start(start)], []
    for _ in range(num_epochs):
        center = centers[-1]
        full = problem.gradient(center)
        step = np.linalg.norm(full, axis=-1, keepdims=True) / (mu * reach)
        offset = np.zeros_like(center)
        for _ in range(num_inner):
            moved = offset - rate * _reduced(problem, center, center + offset, full, rng)
            codes = np.divide(moved, step, out=np.zeros_like(moved), where=step > 0)
            codes = round_to_integer(np.clip(codes, -reach, reach), round_mode, rng=noise)
            offset = step * codes
        centers.append(center + offset)
        steps.append(step[..., 0])
    return CenteringResult(np.array(centers), np.array(steps))


def low_precision_svrg(
    problem: SampledProblem,
    start: ArrayLike,
    *,
    grid: UniformQuantizer,
    learning_rate: float,
    num_inner: int,
    num_epochs: int,
    rng: np.random.Generator,
) -> CenteringResult:
    r"""Train weights on one fixed grid with variance-reduced gradients.

    Parameters
    ----------
    problem : SampledProblem
        Full gradient and gradients of samples.
    start : array_like of float
        First center, shape ``(..., d)``; leading axes are replicas.
    grid : UniformQuantizer
        Grid of the weights, which are rounded to it stochastically whatever its own mode.
    learning_rate : float
        Learning rate, above zero.
    num_inner : int
        Steps of an epoch, at least 1.
    num_epochs : int
        Number of epochs, at least 1.
    rng : numpy.random.Generator
        Source of samples and of rounding.

    Returns
    -------
    CenteringResult
        Centers, from the second on points of the grid, and its step.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-fixed-grid.
    """
    check_instance("grid", grid, UniformQuantizer)
    _, rate, num_inner, num_epochs = _counts(2, learning_rate, num_inner, num_epochs)
    check_generator("rng", rng)
    quantize = replace(grid, round_mode=RoundMode.STOCHASTIC)
    centers = [_start(start)]
    for _ in range(num_epochs):
        center = weights = centers[-1]
        full = problem.gradient(center)
        for _ in range(num_inner):
            gradient = _reduced(problem, center, weights, full, rng)
            weights = np.asarray(quantize(weights - rate * gradient, rng=rng), dtype=np.float64)
        centers.append(weights)
    steps = np.full((num_epochs, *centers[0].shape[:-1]), grid.step_size)
    return CenteringResult(np.array(centers), steps)


def halp_contraction(
    bit_width: int,
    *,
    learning_rate: float,
    num_inner: int,
    strong_convexity: float,
    smoothness: float,
    dimension: int,
) -> float:
    r"""Factor by which an epoch of bit centering shrinks the mean squared distance, a bound.

    Parameters
    ----------
    bit_width : int
        Bits b of each coordinate of the offset, from 2 to 50.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero and below :math:`1/L`.
    num_inner : int
        Inner steps T of an epoch, at least 1.
    strong_convexity : float
        Constant :math:`\mu` of the objective, above zero.
    smoothness : float
        Constant L of every sample's gradient, not below :math:`\mu`.
    dimension : int
        Number of weights d.

    Returns
    -------
    float
        The factor q; from one on the theorem promises nothing.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: thm-ch08-bit-centering.

    .. math:: q = (1 - r)^T + \frac{1 - (1 - r)^T}{r}
              \Bigl( 2 \alpha^2 L^2 + \frac{d\,\kappa^2}{4 B^2} \Bigr), \qquad
              r = 2 \alpha \mu (1 - \alpha L), \quad \kappa = L/\mu, \quad B = 2^{b-1} - 1

    Assumptions: every sample's loss is convex and L-smooth, their mean :math:`\mu`-strongly convex;
    rounding is stochastic.

    Limits: without rounding (many bits) the factor of plain variance reduction.

    References
    ----------
    Cf. [DeSa2018]_; constants derived in the book.

    Examples
    --------
    >>> from qtheory.training import halp_contraction
    >>> factor = halp_contraction(8, learning_rate=0.025, num_inner=200, strong_convexity=1.0,
    ...                           smoothness=4.0, dimension=10)
    >>> round(factor, 4)
    0.4996
    """
    variance, rounding, geometric, last = _epoch(
        learning_rate, num_inner, strong_convexity, smoothness, dimension
    )
    kappa = smoothness / strong_convexity
    return last + geometric * (variance + rounding * (kappa / _reach(bit_width)) ** 2)


def halp_bit_width(*, strong_convexity: float, smoothness: float, dimension: int) -> int:
    r"""Smallest number of bits with which bit centering is sure to converge linearly.

    Parameters
    ----------
    strong_convexity : float
        Constant :math:`\mu` of the objective, above zero.
    smoothness : float
        Constant L of every sample's gradient, not below :math:`\mu`.
    dimension : int
        Number of weights d, at least 1.

    Returns
    -------
    int
        Least b for which some learning rate and number of inner steps give a factor below one;
        the learning rate :math:`\mu/(2 L (L + \mu))` does. Sufficient, not necessary.

    Raises
    ------
    ValueError
        If an argument is out of range, or more than 50 bits would be needed.

    Notes
    -----
    Book: ch08-bits-needed.

    .. math:: 2^{b-1} - 1 > \sqrt{\tfrac12\,d\,\kappa^3 (\kappa + 1)}

    Examples
    --------
    >>> from qtheory.training import halp_bit_width
    >>> halp_bit_width(strong_convexity=1.0, smoothness=4.0, dimension=10)
    7
    """
    mu, smooth = _curvatures(strong_convexity, smoothness)
    dimension = check_integer("dimension", dimension, minimum=1)
    kappa = smooth / mu
    least = math.sqrt(0.5 * dimension * kappa**3 * (kappa + 1))
    for bit_width in range(2, MAX_BIT_WIDTH + 1):
        if _reach(bit_width) > least:
            return bit_width
    raise fail("smoothness", f"small enough for {MAX_BIT_WIDTH} bits to do", smoothness)


def low_precision_svrg_floor(
    grid_step: float,
    *,
    learning_rate: float,
    num_inner: int,
    strong_convexity: float,
    smoothness: float,
    dimension: int,
) -> float:
    r"""Mean squared distance at which variance reduction on a fixed grid ends at most.

    Parameters
    ----------
    grid_step : float
        Step :math:`\Delta` of the grid, above zero.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero and below :math:`1/L`.
    num_inner : int
        Steps T of an epoch, at least 1.
    strong_convexity : float
        Constant :math:`\mu` of the objective, above zero.
    smoothness : float
        Constant L of every sample's gradient, not below :math:`\mu`.
    dimension : int
        Number of weights d, at least 1.

    Returns
    -------
    float
        Upper bound of the limit of :math:`\mathbb{E}\lVert \tilde w - w^* \rVert^2` over epochs.

    Raises
    ------
    ValueError
        If an argument is out of range, or the method need not converge even without rounding.

    Notes
    -----
    Book: ch08-fixed-grid-floor.

    .. math:: \frac{S\,d \Delta^2 / 4}{1 - (1 - r)^T - 2 S \alpha^2 L^2}, \qquad
              S = \frac{1 - (1 - r)^T}{r}, \quad r = 2 \alpha \mu (1 - \alpha L)

    Assumptions: as for bit centering, and the range of the grid holds the minimizer.
    """
    step = check_positive("grid_step", grid_step)
    variance, rounding, geometric, last = _epoch(
        learning_rate, num_inner, strong_convexity, smoothness, dimension
    )
    plain = last + geometric * variance
    if plain >= 1:
        raise fail("learning_rate", "such that an epoch without rounding contracts", learning_rate)
    return geometric * rounding * step**2 / (1 - plain)


def _epoch(
    learning_rate: float,
    num_inner: int,
    strong_convexity: float,
    smoothness: float,
    dimension: int,
) -> tuple[float, float, float, float]:
    """Return both noise terms of a step, the geometric sum S and the last power (1 - r)^T.

    The first term counts in squared distances of the center, the second in squared grid steps.
    """
    mu, smooth = _curvatures(strong_convexity, smoothness)
    rate = check_positive("learning_rate", learning_rate)
    if not rate * smooth < 1:
        raise fail("learning_rate", f"below 1/smoothness = {1 / smooth:.6g}", learning_rate)
    count = check_integer("num_inner", num_inner, minimum=1)
    dimension = check_integer("dimension", dimension, minimum=1)
    r = 2 * rate * mu * (1 - rate * smooth)
    shrunk = -math.expm1(count * math.log1p(-r))
    return 2 * (rate * smooth) ** 2, 0.25 * dimension, shrunk / r, 1 - shrunk


def _curvatures(strong_convexity: float, smoothness: float) -> tuple[float, float]:
    """Check both constants of the curvature."""
    mu = check_positive("strong_convexity", strong_convexity)
    smooth = check_positive("smoothness", smoothness)
    if smooth < mu:
        raise fail("smoothness", "at least `strong_convexity`", smoothness)
    return mu, smooth


def _reach(bit_width: int) -> int:
    """Return the largest code of an offset."""
    bits = check_integer("bit_width", bit_width, minimum=2, maximum=MAX_BIT_WIDTH)
    return (1 << (bits - 1)) - 1


def _counts(
    bit_width: int, learning_rate: float, num_inner: int, num_epochs: int
) -> tuple[int, float, int, int]:
    """Check the numbers of a run."""
    return (
        _reach(bit_width),
        check_positive("learning_rate", learning_rate),
        check_integer("num_inner", num_inner, minimum=1),
        check_integer("num_epochs", num_epochs, minimum=1),
    )


def _start(start: ArrayLike) -> FloatArray:
    """Return a float64 copy of the first center."""
    center = np.array(as_float_array("start", start), dtype=np.float64)
    check_nonempty("start", center)
    if center.ndim == 0 or not np.isfinite(center).all():
        raise fail("start", "finite, of shape (..., d)", start)
    return center


def _reduced(
    problem: SampledProblem,
    center: FloatArray,
    weights: FloatArray,
    full: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the gradient at the weights, with the noise that the same samples have at the center.

    Both draws start from the same state of the generator, so they pick the same samples.
    """
    state = rng.bit_generator.state
    there = problem.sample_gradient(center, rng=rng)
    rng.bit_generator.state = state
    return np.asarray(problem.sample_gradient(weights, rng=rng) - there + full)
