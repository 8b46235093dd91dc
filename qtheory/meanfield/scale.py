"""The pre-activation scale that suits a staircase: any levels, number formats, unsigned levels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory._checks import check_instance, check_integer, check_positive, fail
from qtheory.errors import ConvergenceError
from qtheory.meanfield.staircases import Staircase, UniformStaircase, unsigned_staircase
from qtheory.numerics import normal_density
from qtheory.quantizers import (
    AffineQuantizer,
    BlockFormat,
    FixedPointFormat,
    FloatFormat,
    Gaussian,
    RoundMode,
    UniformQuantizer,
)
from qtheory.quantizers.cells import cell_moments

__all__ = [
    "OptimalScale",
    "OptimalUnsigned",
    "optimal_scale",
    "optimal_unsigned",
    "staircase_from_affine",
    "staircase_from_format",
]

FloatArray = NDArray[np.float64]

MAX_SCALED_LEVELS = 2**20
MAX_UNSIGNED_LEVELS = 2**16

REACH = 39.0
"""Thresholds this many standard deviations out are passed by no pre-activation."""

NEGLIGIBLE = 1e-18
"""Thresholds closer to zero than this, in standard deviations, act as one threshold at zero."""

MAX_NEWTON_STEPS = 50
NEWTON_TOLERANCE = 1e-9
"""Last step of Newton's method, after which the next would be below the rounding error."""

POINTS_PER_OCTAVE = 8
MARGIN_OCTAVES = 4
NUM_POLISHED = 6
TIE = 1e-9
"""Scales whose slopes miss one by amounts this close, relatively, are taken as equally good."""


@dataclass(frozen=True, eq=False)
class OptimalScale:
    r"""The scale of the pre-activations at which a staircase passes on correlation best.

    Parameters
    ----------
    num_levels : int
        Number of levels.
    std : float
        Best standard deviation of the pre-activations, in the units of the thresholds. Its inverse
        is the best factor of levels and thresholds for pre-activations of variance one.
    chi : float
        Slope of the correlation map at correlation zero, the largest possible.
    one_minus_chi : float
        One minus it, without cancellation.
    depth_scale : float
        :math:`-1/\ln\chi`, in layers.
    variance : float
        Square of ``std``.
    mean : float
        Mean of the activations. Where it is not zero, correlation zero is not a fixed point.
    second_moment : float
        Mean square of the activations.
    weight_variance : float
        Variance of the weights times the fan-in that holds this scale, without biases.
    """

    num_levels: int
    std: float
    chi: float
    one_minus_chi: float
    depth_scale: float
    variance: float
    mean: float
    second_moment: float
    weight_variance: float


@dataclass(frozen=True, eq=False)
class OptimalUnsigned:
    r"""The spacing at which a network with equally spaced levels from zero up forgets slowest.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`.
    spacing : float
        Distance of the levels over the standard deviation of the pre-activations.
    correlation : float
        Fixed point of the correlation, above zero.
    chi : float
        Slope of the correlation map there.
    one_minus_chi : float
        One minus it.
    depth_scale : float
        :math:`-1/\ln\chi`, in layers.
    variance : float
        Variance of the pre-activations for levels from 0 to 1.
    second_moment : float
        Mean square of the activations for levels from 0 to 1.
    weight_variance : float
        Variance of the weights times the fan-in that holds this spacing, without biases.
    """

    num_levels: int
    spacing: float
    correlation: float
    chi: float
    one_minus_chi: float
    depth_scale: float
    variance: float
    second_moment: float
    weight_variance: float


def optimal_scale(staircase: Staircase | UniformStaircase) -> OptimalScale:
    r"""Scale of the pre-activations at which any staircase passes on correlation best.

    Maximizes the slope of the correlation map at correlation zero, which is the fixed point of
    every odd staircase without biases, over all standard deviations of the pre-activations.

    Parameters
    ----------
    staircase : Staircase or UniformStaircase
        Any levels and thresholds, at most 2**20 levels.

    Returns
    -------
    OptimalScale
        The best scale and what holds there. Of scales that are equally good within 1e-9 of
        ``one_minus_chi`` the one nearest to one is returned: the slope of a floating-point format
        repeats with every factor of two as long as the range is not exhausted.

    Raises
    ------
    ValueError
        If there are more than 2**20 levels, or all levels are equal.
    ConvergenceError
        If no scale is best, since the slope still grows where no threshold is near.

    See Also
    --------
    qtheory.meanfield.optimal_spacing : Equally spaced levels, faster and to the last digit.

    Notes
    -----
    Book: thm-ch05-correlation-coefficient, thm-ch05-optimal-scale.

    .. math:: 1 - \chi = \min_g \mathbb{E}\bigl(z - g\,\varphi(\sigma z)\bigr)^2

    The slope may have many maxima. It is tabulated at eight scales per octave over the whole
    range of the thresholds and beyond, and the best maxima are refined by Brent's method on the
    derivative. :math:`1 - \chi` is a sum of one positive term for each cell.

    Accuracy: ``one_minus_chi`` within 1e-12 relative and ``std`` within 1e-9, tested against
    40-digit arithmetic and, for floating-point formats, against an exhaustive search.
    Cost: proportional to the number of levels times the octaves between the smallest and the
    largest threshold; a second for the 65,279 values of bfloat16.

    Examples
    --------
    >>> from qtheory.meanfield.scale import optimal_scale, staircase_from_format
    >>> from qtheory.quantizers import FP4_E2M1
    >>> best = optimal_scale(staircase_from_format(FP4_E2M1))
    >>> round(1 / best.std, 4), round(best.depth_scale, 3)
    (0.4871, 78.333)
    """
    check_instance("staircase", staircase, Staircase, UniformStaircase)
    if staircase.num_levels > MAX_SCALED_LEVELS:
        raise fail("staircase", f"of at most {MAX_SCALED_LEVELS} levels", staircase.num_levels)
    if not np.diff(staircase.levels).any():
        raise fail("staircase", "a function that is not constant", staircase.levels)
    std = _best_std(staircase)
    cells = _cells(staircase, std)
    mean, second = (float(cells.probabilities @ cells.levels**k) for k in (1, 2))
    chi, deficit = _slope(cells), _deficit(cells)
    return OptimalScale(
        num_levels=staircase.num_levels,
        std=std,
        chi=chi,
        one_minus_chi=deficit,
        depth_scale=-1 / math.log1p(-deficit),
        variance=std**2,
        mean=mean,
        second_moment=second,
        weight_variance=std**2 / second,
    )


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells that Gaussian pre-activations reach: standardized thresholds and levels."""

    thresholds: FloatArray
    levels: FloatArray

    @property
    def probabilities(self) -> FloatArray:
        """Probability of each cell, from the tails on its own side of zero."""
        lower, upper = self.edges
        mirrored = lower > 0
        a, b = np.where(mirrored, -upper, lower), np.where(mirrored, -lower, upper)
        return np.asarray(special.ndtr(b) - special.ndtr(a))

    @property
    def edges(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the cells."""
        edges = np.concatenate([[-np.inf], self.thresholds, [np.inf]])
        return edges[:-1], edges[1:]

    @property
    def impulses(self) -> FloatArray:
        """Height of each step times the Gaussian density at it."""
        return np.asarray(np.diff(self.levels) * normal_density(self.thresholds))

    @property
    def gain(self) -> float:
        """Factor of the output that comes nearest to the input."""
        return float(self.impulses.sum() / (self.probabilities @ self.levels**2))


def _cells(staircase: Staircase | UniformStaircase, std: float) -> _Cells:
    """Return the cells at a scale, without thresholds out of reach; those at zero become one."""
    ends = std * np.array([-REACH, -NEGLIGIBLE, NEGLIGIBLE, REACH])
    g, y = staircase.thresholds, staircase.levels
    first, low, high, last = np.searchsorted(g, ends)
    if low == high:
        return _Cells(g[first:last] / std, y[first : last + 1])
    thresholds = np.concatenate([g[first:low], [0.0], g[high:last]]) / std
    return _Cells(thresholds, np.concatenate([y[first : low + 1], y[high : last + 1]]))


def _slope(cells: _Cells) -> float:
    """Return the slope of the correlation map at correlation zero."""
    second = float(cells.probabilities @ cells.levels**2)
    return float(cells.impulses.sum()) ** 2 / second if second > 0 else 0.0


def _deficit(cells: _Cells) -> float:
    """Return one minus the slope, as the mean squared error of the output as an estimate."""
    scaled = cells.gain * cells.levels
    return float(cell_moments(Gaussian(), *cells.edges, scaled)[2].sum())


def _stationarity(cells: _Cells) -> float:
    """Return half the derivative of one minus the slope by the logarithm of the scale."""
    gain, middles = cells.gain, 0.5 * (cells.levels[1:] + cells.levels[:-1])
    distances = cells.thresholds - gain * middles
    return float(-gain * (cells.impulses * cells.thresholds) @ distances)


def _best_std(staircase: Staircase | UniformStaircase) -> float:
    """Return the scale of the largest slope, among equals the one nearest to one."""
    sizes = np.abs(staircase.thresholds[np.diff(staircase.levels) != 0])
    sizes = sizes[sizes > 0]
    if sizes.size == 0:
        return 1.0  # a sign, which has no scale
    octaves = math.floor(math.log2(sizes.min())), math.ceil(math.log2(sizes.max()))
    steps = np.arange(
        POINTS_PER_OCTAVE * (octaves[0] - MARGIN_OCTAVES),
        POINTS_PER_OCTAVE * (octaves[1] + MARGIN_OCTAVES) + 1,
    )
    grid = 2.0 ** (steps / POINTS_PER_OCTAVE)
    slopes = np.array([_slope(_cells(staircase, std)) for std in grid])
    peaks = np.flatnonzero((slopes[1:-1] >= slopes[:-2]) & (slopes[1:-1] >= slopes[2:])) + 1
    if peaks.size == 0 or slopes[peaks].max() < max(slopes[0], slopes[-1]):
        residual = float(slopes.max() - slopes[peaks].max(initial=0.0))
        raise ConvergenceError("No best scale found.", last_iterate=grid[-1], residual=residual)
    polished = [
        _polished(staircase, grid[k - 1], grid[k + 1]) for k in _candidates(grid, slopes, peaks)
    ]
    deficits = np.array([_deficit(_cells(staircase, std)) for std in polished])
    equal = np.flatnonzero(deficits <= deficits.min() * (1 + TIE))
    return min((polished[k] for k in equal), key=lambda std: abs(math.log(std)))


def _candidates(grid: FloatArray, slopes: FloatArray, peaks: NDArray[np.intp]) -> list[int]:
    """Return the best peaks of the table; of many that look the same, those nearest to one."""
    digits = -math.log10(TIE) - 3
    looks = np.round(slopes[peaks] / (1 - slopes[peaks].max()), int(digits))
    order = np.lexsort((np.abs(np.log(grid[peaks])), -looks))
    return [int(k) for k in peaks[order[:NUM_POLISHED]]]


def _polished(staircase: Staircase | UniformStaircase, low: float, high: float) -> float:
    """Return the stationary scale between two scales around a peak."""
    ends = [_stationarity(_cells(staircase, std)) for std in (low, high)]
    if not ends[0] < 0 < ends[1]:
        return math.sqrt(low * high)  # flat to rounding: every scale in between is as good
    from scipy import optimize  # loading it takes as long as the rest of the package

    return float(
        optimize.brentq(
            lambda std: _stationarity(_cells(staircase, std)), low, high, xtol=1e-300, rtol=1e-14
        )
    )


def staircase_from_format(
    fmt: FloatFormat | FixedPointFormat | BlockFormat, *, scale: float = 1.0
) -> Staircase | UniformStaircase:
    """Return the rounding to a number format as an activation.

    Parameters
    ----------
    fmt : FloatFormat, FixedPointFormat or BlockFormat
        The format. Of a block format the elements are taken, with one scale for all blocks; a
        floating-point format is at most 24 bits wide.
    scale : float
        Factor of all values, above zero.

    Returns
    -------
    Staircase or UniformStaircase
        Levels are the finite values of the format times ``scale``, thresholds their midpoints.
        Numbers beyond the largest value saturate, whatever the format does with them. A number on
        a threshold goes up, where rounding to the format goes to the even neighbor; Gaussian
        pre-activations are never on a threshold.

    Raises
    ------
    ValueError
        If ``fmt`` is no such format or too wide, or ``scale`` not above zero.

    Notes
    -----
    Book: ch05-staircase.

    Examples
    --------
    >>> from qtheory.meanfield.scale import staircase_from_format
    >>> from qtheory.quantizers import FP4_E2M1
    >>> staircase_from_format(FP4_E2M1).levels[7:]
    array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ])
    """
    check_instance("fmt", fmt, FloatFormat, FixedPointFormat, BlockFormat)
    factor = check_positive("scale", scale)
    if isinstance(fmt, BlockFormat):
        return staircase_from_format(fmt.element_format, scale=factor)
    if isinstance(fmt, FloatFormat):
        return Staircase(factor * fmt.values())
    center = 0.5 * (fmt.min_value + fmt.max_value) * factor
    return UniformStaircase(
        fmt.num_values, factor * fmt.step_size, threshold_center=center, level_center=center
    )


def staircase_from_affine(quantizer: AffineQuantizer) -> Staircase | UniformStaircase:
    """Return an affine quantizer with one scale for the whole tensor as an activation.

    Parameters
    ----------
    quantizer : AffineQuantizer
        With a single scale and zero point and a deterministic rounding mode.

    Returns
    -------
    Staircase or UniformStaircase
        Equal to the quantizer everywhere but on thresholds: numbers on a threshold go up.

    Raises
    ------
    ValueError
        If the quantizer has scales for channels or groups, or rounds stochastically.

    See Also
    --------
    qtheory.meanfield.StochasticStaircase : Stochastic rounding.

    Notes
    -----
    Book: ch05-staircase.

    Examples
    --------
    >>> from qtheory.meanfield.scale import staircase_from_affine
    >>> from qtheory.quantizers import AffineQuantizer
    >>> staircase_from_affine(AffineQuantizer(0.5, 1, code_min=0, code_max=3)).levels
    array([-0.5,  0. ,  0.5,  1. ])
    """
    check_instance("quantizer", quantizer, AffineQuantizer)
    if quantizer.scale.ndim:
        raise fail("quantizer", "one with a single scale", f"scales {quantizer.scale.shape}")
    if quantizer.round_mode is RoundMode.STOCHASTIC:
        raise fail("quantizer", "of deterministic rounding", quantizer.round_mode)
    zero_point = int(quantizer.zero_point)
    uniform = UniformQuantizer(
        float(quantizer.scale),
        code_min=quantizer.code_min - zero_point,
        code_max=quantizer.code_max - zero_point,
        round_mode=quantizer.round_mode,
    )
    return Staircase.from_quantizer(uniform)


def optimal_unsigned(num_levels: int) -> OptimalUnsigned:
    r"""Spacing at which equally spaced levels from zero up pass on correlation best.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 3 to 65536: 0, 1, ... in steps, thresholds in the middle.

    Returns
    -------
    OptimalUnsigned
        Spacing, fixed point and slope.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range.

    Notes
    -----
    Book: ch05-unsigned.

    Assumptions: weights of mean zero, so that second moments propagate and the mean of the
    activations acts like a bias; no biases; the infinite width.

    The slope at the stable fixed point is maximized over the spacing by bounded search around the
    best of a grid.

    Accuracy: ``chi`` within 1e-11; ``spacing`` within 1e-6, since the slope is flat at its maximum.
    Limits: the depth scale grows only about like the two-thirds power of the number of levels.

    Examples
    --------
    >>> from qtheory.meanfield.scale import optimal_unsigned
    >>> round(optimal_unsigned(4).depth_scale, 3)
    3.692
    """
    count = check_integer("num_levels", num_levels, minimum=3, maximum=MAX_UNSIGNED_LEVELS)
    staircase = unsigned_staircase(count)
    # The range ends at one to a few standard deviations, whatever the number of levels.
    grid = np.geomspace(0.7, 8.0, 9) / (count - 1)
    slopes = [_unsigned_slope(staircase, spacing)[1] for spacing in grid]
    best = min(max(int(np.argmax(slopes)), 1), grid.size - 2)
    from scipy import optimize  # loading it takes as long as the rest of the package

    search = optimize.minimize_scalar(
        lambda log: -_unsigned_slope(staircase, math.exp(log))[1],
        bounds=(math.log(grid[best - 1]), math.log(grid[best + 1])),
        method="bounded",
        options={"xatol": 1e-8},
    )
    spacing = math.exp(search.x)
    correlation, chi = _unsigned_slope(staircase, spacing)
    step = 1 / (count - 1)
    variance = (step / spacing) ** 2
    second = step**2 * float(staircase.second_moment(spacing**-2))
    return OptimalUnsigned(
        num_levels=count,
        spacing=spacing,
        correlation=correlation,
        chi=chi,
        one_minus_chi=1 - chi,
        depth_scale=-1 / math.log(chi),
        variance=variance,
        second_moment=second,
        weight_variance=variance / second,
    )


def _unsigned_slope(staircase: UniformStaircase, spacing: float) -> tuple[float, float]:
    """Return fixed point and slope of unit steps at a spacing."""
    variance = spacing**-2
    second, c = float(staircase.second_moment(variance)), 0.5
    # The map is convex and starts above the diagonal: Newton's method falls on the fixed point.
    for _ in range(MAX_NEWTON_STEPS):
        slope = float(staircase.cross_moment_slope(c, variance)) / second
        step = (float(staircase.cross_moment(c, variance)) / second - c) / (1 - slope)
        c += step
        if abs(step) < NEWTON_TOLERANCE:
            return c, float(staircase.cross_moment_slope(c, variance)) / second
    raise ConvergenceError("No fixed point found.", last_iterate=c, residual=abs(step))
