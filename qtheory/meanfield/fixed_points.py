"""Where variance and correlation come to rest, and how fast."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_positive, fail
from qtheory.meanfield._uniform_sums import pair_density_integrals, pair_density_sum
from qtheory.meanfield.activations import Activation
from qtheory.meanfield.maps import (
    checked_layer,
    correlation_map,
    correlation_map_slope,
    depth_scale,
    variance_map,
    variance_map_slope,
)
from qtheory.meanfield.optimum import spacing_deficit
from qtheory.meanfield.staircases import UniformStaircase

__all__ = [
    "FixedPoint",
    "SteadyState",
    "correlation_fixed_points",
    "steady_state",
    "variance_fixed_points",
]

FloatArray = NDArray[np.float64]
Function = Callable[[float], float]

# Variances are searched on a logarithmic grid, from this fraction of the largest possible one.
SMALLEST_RATIO = 1e-14
POINTS_PER_DECADE = 16
# Below this variance squares of levels of its size lose digits.
SMALLEST_VARIANCE = 1e-300
# Largest variance looked at for an activation without a bound, in units of max(1, bias variance).
UNBOUNDED_REACH = 1e4
# Correlations are searched up to 1 - 10**-14.
NEAREST_TO_ONE = 15
# Angles between inputs where a correlation near one is searched that cannot be told from one.
FINEST_ANGLE, WIDEST_ANGLE = 1e-100, 0.1
ROUNDING = 1e-15


@dataclass(frozen=True)
class FixedPoint:
    """A value that a map of variance or correlation leaves as it is.

    Parameters
    ----------
    value : float
        The fixed variance or correlation.
    slope : float
        Slope of the map there; one-sided at the end of its range, and possibly infinite.
    """

    value: float
    slope: float

    @property
    def is_stable(self) -> bool:
        """Whether small deviations shrink: the slope is below one in magnitude."""
        return abs(self.slope) < 1


@dataclass(frozen=True)
class SteadyState:
    r"""What a deep network settles to: variance, correlation, and how fast.

    Parameters
    ----------
    variance : float
        Fixed pre-activation variance :math:`q^*`.
    second_moment : float
        Mean square of the activation there.
    variance_slope : float
        Slope of the variance map at :math:`q^*`.
    correlation : float
        Correlation :math:`c^*` to which two different inputs converge.
    chi : float
        Slope :math:`\chi` of the correlation map at :math:`c^*`.
    chi_at_one : float
        Slope at correlation one, :math:`\chi_1`: below one in the ordered phase, above one in the
        chaotic phase, infinite for every staircase.
    depth_scale : float
        :math:`\xi = -1/\ln\chi`, in layers.
    variance_depth_scale : float
        :math:`\xi_q = -1/\ln` of the slope of the variance map, in layers.
    """

    variance: float
    second_moment: float
    variance_slope: float
    correlation: float
    chi: float
    chi_at_one: float
    depth_scale: float
    variance_depth_scale: float


def variance_fixed_points(
    activation: Activation, *, weight_variance: float, bias_variance: float = 0.0
) -> tuple[FixedPoint, ...]:
    r"""All variances that a layer leaves unchanged, with their stability.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    weight_variance : float
        :math:`\sigma_w^2 > 0`.
    bias_variance : float
        :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    tuple of FixedPoint
        Fixed points in increasing order, zero among them if a network may fall silent. Empty if
        the variance grows without end.

    Raises
    ------
    ValueError
        If an argument is out of range, or every variance is fixed (a ReLU with weight variance 2).

    Notes
    -----
    Book: ch04-fixed-points.

    A staircase with a level at zero (odd :math:`N`) has up to three: silence, stable; an unstable
    one that separates the basins; the live one.

    Assumptions: infinite width.

    Accuracy: roots 1e-14 relative.

    Limits: an activation without bound is searched up to a variance of
    ``1e4 * max(1, bias_variance)``. Two roots closer than 0.1 % may be taken for none. Where the
    map is the identity up to rounding, one variance stands for all of that range.

    Examples
    --------
    >>> from qtheory.meanfield import uniform_staircase, variance_fixed_points
    >>> points = variance_fixed_points(uniform_staircase(3), weight_variance=1.2348)
    >>> [(round(point.value, 3), point.is_stable) for point in points]
    [(0.0, True), (0.068, False), (0.667, True)]
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    ratio = _homogeneous_ratio(activation)
    if ratio is not None:
        return _linear_fixed_points(sigma_w2 * ratio, sigma_b2, weight_variance)

    def log_growth(log_q: float) -> float:
        q = math.exp(log_q)
        after = sigma_w2 * float(activation.second_moment(q)) + sigma_b2
        return math.log(after) - log_q if after > 0 else -math.inf

    low, high = _search_range(activation, sigma_w2, sigma_b2)
    count = 2 + math.ceil(POINTS_PER_DECADE * math.log10(high / low))
    grid = np.linspace(math.log(low), math.log(high), count)
    roots = [math.exp(root) for root in _roots(log_growth, grid)]
    points = [_variance_point(activation, root, sigma_w2) for root in roots]
    silent = _silent_point(activation, low, sigma_w2, sigma_b2)
    return (*silent, *points)


def correlation_fixed_points(
    activation: Activation,
    *,
    variance: float,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> tuple[FixedPoint, ...]:
    r"""All correlations that a layer leaves unchanged, with their stability.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    variance : float
        Pre-activation variance :math:`q > 0` of both inputs, as a rule a fixed one.
    weight_variance, bias_variance : float
        :math:`\sigma_w^2 > 0` and :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    tuple of FixedPoint
        Fixed points in increasing order. Correlation one is always among them, unless the
        activation is noisy.

    Raises
    ------
    ValueError
        If an argument is out of range, the activation maps both inputs to zero, or it is linear
        without bias, so that every correlation is fixed.

    Notes
    -----
    Book: ch04-fixed-points, thm-ch05-near-one.

    On [0, 1) there is at most one, since the map is convex there; on (-1, 0) there is none.

    Assumptions: infinite width; equal variances of the two inputs.

    Accuracy: 1e-13 absolute; the slope of the map at the root decides how well it is determined.

    Limits: a root within 1e-14 of one is taken for one. This happens to staircases under a strong
    bias, and to very fine ones under any; `steady_state` has the slope at the true root.

    Examples
    --------
    >>> from qtheory.meanfield import correlation_fixed_points, sign
    >>> [round(point.value, 6) for point in correlation_fixed_points(sign(), variance=1.0)]
    [-1.0, 0.0, 1.0]
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    variance = check_positive("variance", variance)
    options = {"variance": variance, "weight_variance": sigma_w2, "bias_variance": sigma_b2}

    def excess(c: float) -> float:
        return float(correlation_map(activation, c, **options)) - c

    values = _fixed_correlations(excess, math.isfinite(activation.bound))
    slopes = [float(correlation_map_slope(activation, c, **options)) for c in values]
    return tuple(FixedPoint(c, slope) for c, slope in zip(values, slopes, strict=True))


def steady_state(
    activation: Activation,
    *,
    weight_variance: float,
    bias_variance: float = 0.0,
    variance: float | None = None,
) -> SteadyState:
    r"""Steady state of a deep network, with its depth scales.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    weight_variance, bias_variance : float
        :math:`\sigma_w^2 > 0` and :math:`\sigma_b^2 \ge 0`.
    variance : float, optional
        Pre-activation variance at the start, above zero, which chooses the basin where there are
        several. By default the largest stable variance.

    Returns
    -------
    SteadyState
        Variance, correlation, slopes and depth scales.

    Raises
    ------
    ValueError
        If an argument is out of range, the network falls silent (variance zero), or the variance
        grows without end.

    Notes
    -----
    Book: ch04-fixed-points, ch04-depth-scale.

    Assumptions: infinite width. With ``variance`` given, a second moment that grows with the
    variance, so that the variance moves straight to the next fixed point.

    Accuracy: ``depth_scale`` loses the digits that ``chi`` has in common with one, except for
    symmetric uniform staircases without biases. These hang on the last digits of the weight
    variance from about ``2**24`` levels on: `optimal_spacing` has their best depth scale.

    Examples
    --------
    >>> from qtheory.meanfield import steady_state, uniform_staircase
    >>> state = steady_state(uniform_staircase(16), weight_variance=1.0116778)
    >>> print(round(state.depth_scale, 1))
    86.1
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    q = _settled_variance(activation, sigma_w2, sigma_b2, variance)
    options = {"weight_variance": sigma_w2, "bias_variance": sigma_b2}
    points = correlation_fixed_points(activation, variance=q, **options)
    # The attractor of positive correlations: the smallest of at most two fixed points there.
    point = next(point for point in points if point.value >= 0)
    chi, depth = _slope_and_depth(activation, q, sigma_w2, sigma_b2, point)
    slope = float(variance_map_slope(activation, q, weight_variance=sigma_w2))
    return SteadyState(
        variance=q,
        second_moment=float(activation.second_moment(q)),
        variance_slope=slope,
        correlation=point.value,
        chi=chi,
        chi_at_one=float(correlation_map_slope(activation, 1.0, variance=q, **options)),
        depth_scale=depth,
        variance_depth_scale=float(depth_scale(min(abs(slope), 1.0))),
    )


def _roots(function: Function, grid: FloatArray) -> list[float]:
    """Return the roots of a function between the points of a grid, pairs of close ones included."""
    values = np.array([function(float(x)) for x in grid])
    points, heights = _with_turning_points(function, grid, values)
    # Where the function is zero up to rounding its signs are noise: one root for the whole stretch.
    clear = [(x, y) for x, y in zip(points, heights, strict=True) if abs(y) > 8 * ROUNDING]
    return [
        _bracketed_root(function, left, right)
        for (left, low), (right, high) in itertools.pairwise(clear)
        if (low > 0) != (high > 0)
    ]


def _slope_and_depth(
    activation: Activation, variance: float, sigma_w2: float, sigma_b2: float, point: FixedPoint
) -> tuple[float, float]:
    """Return the slope at the fixed correlation and its depth scale."""
    chi = point.slope
    if chi == math.inf:  # a root too close to one to be told from it
        chi = _slope_next_to_one(activation, variance, sigma_w2, sigma_b2)
    elif (
        isinstance(activation, UniformStaircase)
        and activation.threshold_center == activation.level_center == 0
        and sigma_b2 == 0
        and chi > 0.5
    ):
        deficit = spacing_deficit(activation.num_levels, activation._spacing(variance))
        return 1 - deficit, -1 / math.log1p(-deficit)
    return chi, float(depth_scale(min(chi, 1.0)))


def _slope_next_to_one(
    activation: Activation, variance: float, sigma_w2: float, sigma_b2: float
) -> float:
    """Return the slope of the map at a root closer to one than correlations can be told apart.

    As a rule 1 - M = K sqrt(1 - c) there. Pairs of inputs that are farther apart than the steps of
    a very fine staircase are beyond this law, so that its root is looked for by their angle.
    """
    if not isinstance(activation, UniformStaircase):
        return 0.5
    lattice = activation._lattice(variance)
    after = sigma_w2 * float(activation.second_moment(variance)) + sigma_b2
    power = sigma_w2 * activation.level_step**2 / after

    def excess(log_angle: float) -> float:
        angle = math.exp(log_angle)
        lost = pair_density_integrals(lattice, np.zeros(1), np.array([angle]))
        return math.log(power * float(lost[0])) - math.log(2 * math.sin(0.5 * angle) ** 2)

    angle = math.exp(_bracketed_root(excess, math.log(FINEST_ANGLE), math.log(WIDEST_ANGLE)))
    sums = pair_density_sum(lattice, np.array([angle]))
    return float(power * sums[0] / (2 * math.pi * math.sin(angle)))


def _bracketed_root(function: Function, left: float, right: float) -> float:
    """Return a root between two points at which the function differs in sign."""
    from scipy import optimize  # loading it takes as long as the rest of the package

    def finite(x: float) -> float:
        return max(function(x), -1e3)

    return float(optimize.brentq(finite, left, right, xtol=1e-300, rtol=8.9e-16))


def _with_turning_points(
    function: Function, grid: FloatArray, values: FloatArray
) -> tuple[list[float], list[float]]:
    """Add the extrema that come closest to zero without a change of sign on the grid."""
    from scipy import optimize  # loading it takes as long as the rest of the package

    points = dict(zip(grid.tolist(), values.tolist(), strict=True))
    size = np.abs(values)
    for k in range(1, len(grid) - 1):
        same_sign = abs(np.sign(values[k - 1 : k + 2]).sum()) == 3 and np.isfinite(values[k])
        if same_sign and size[k] <= size[k - 1] and size[k] <= size[k + 1]:
            sign = math.copysign(1.0, values[k])
            nearest = optimize.minimize_scalar(
                lambda x, sign=sign: sign * function(x),
                bounds=(grid[k - 1], grid[k + 1]),
                method="bounded",
                options={"xatol": 1e-6 * (grid[k + 1] - grid[k - 1])},
            )
            points[float(nearest.x)] = function(float(nearest.x))
    ordered = sorted(points)
    return ordered, [points[x] for x in ordered]


def _search_range(activation: Activation, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    """Return the limits between which fixed variances other than zero lie."""
    largest = sigma_w2 * activation.bound**2 + sigma_b2
    if not math.isfinite(largest):
        largest = UNBOUNDED_REACH * max(1.0, sigma_b2)
    smallest = SMALLEST_RATIO * largest
    if isinstance(activation, UniformStaircase):
        # Very fine staircases change on the scale of their step.
        smallest = min(smallest, (0.01 * activation.threshold_step) ** 2)
    smallest = max(smallest, SMALLEST_VARIANCE)
    return smallest, max(1.01 * largest, 2 * smallest)


def _variance_point(activation: Activation, value: float, sigma_w2: float) -> FixedPoint:
    slope = float(variance_map_slope(activation, value, weight_variance=sigma_w2))
    return FixedPoint(value, slope)


def _silent_point(
    activation: Activation, low: float, sigma_w2: float, sigma_b2: float
) -> list[FixedPoint]:
    """Return the fixed point at zero, if small signals stay small."""
    near, far = (float(activation.second_moment(q)) for q in (low, 4 * low))
    # A jump at zero keeps the second moment where it is as the variance shrinks.
    if sigma_b2 > 0 or near > 0.5 * far:
        return []
    return [FixedPoint(0.0, sigma_w2 * near / low)]


def _homogeneous_ratio(activation: Activation) -> float | None:
    """Return second moment over variance if it does not depend on the variance."""
    if math.isfinite(activation.bound):
        return None
    ratios = np.array([activation.second_moment(q) / q for q in (0.25, 1.0, 4.0)])
    return float(ratios[1]) if np.ptp(ratios) <= 1e-13 * ratios[1] else None


def _linear_fixed_points(
    slope: float, sigma_b2: float, weight_variance: float
) -> tuple[FixedPoint, ...]:
    """Return the fixed points of q -> slope q + sigma_b2."""
    if abs(slope - 1) <= ROUNDING and sigma_b2 == 0:
        condition = "different from the critical value, at which every variance is fixed"
        raise fail("weight_variance", condition, weight_variance)
    if sigma_b2 == 0:
        return (FixedPoint(0.0, slope),)
    return (FixedPoint(sigma_b2 / (1 - slope), slope),) if slope < 1 else ()


def _settled_variance(
    activation: Activation, sigma_w2: float, sigma_b2: float, start: float | None
) -> float:
    """Return the variance that a network settles to, which must be neither zero nor infinite."""
    options = {"weight_variance": sigma_w2, "bias_variance": sigma_b2}
    if start is not None:
        start = check_positive("variance", start)
        growth = float(variance_map(activation, start, **options)) / start - 1
        if abs(growth) <= 2 * ROUNDING:
            return start
    points = variance_fixed_points(activation, **options)
    stable = [point.value for point in points if point.is_stable]
    if start is not None:
        bounds = [p.value for p in points if (p.value > start if growth > 0 else p.value < start)]
        stable = [min(bounds) if growth > 0 else max(bounds)] if bounds else []
    if not stable:
        raise fail("weight_variance", "small enough for the variance to settle", sigma_w2)
    if stable[-1] == 0:
        raise fail("weight_variance", "large enough to keep the signal from dying out", sigma_w2)
    return stable[-1]


def _fixed_correlations(excess: Function, is_bounded: bool) -> list[float]:
    """Return the roots of M(c) - c, using that M is a power series with terms of one sign.

    Then M is convex on [0, 1]: with M(0) = 0 only the ends are fixed, else there is at most one
    root inside. On (-1, 0) there is none, as M(-x) >= M(0) (1 + x) - x.
    """
    start, end = excess(0.0), excess(1.0)
    ends = [c for c in (-1.0, 1.0) if abs(excess(c)) <= 4 * ROUNDING]
    if abs(start) <= ROUNDING:
        if not is_bounded and len(ends) == 2 and abs(excess(0.5)) <= ROUNDING:
            raise fail("activation", "nonlinear: every correlation is fixed", "a linear one")
        return sorted([0.0, *ends])
    nearest = 1.0 if end < -4 * ROUNDING else _below_one(excess)
    inner = [_bracketed_root(excess, 0.0, nearest)] if nearest else []
    return sorted([*inner, *ends])


def _below_one(excess: Function) -> float:
    """Return a correlation near one that a layer lowers, or zero if there is none."""
    gaps = 10.0 ** -np.arange(1, NEAREST_TO_ONE)
    return next((1 - gap for gap in gaps if excess(1 - gap) < -ROUNDING), 0.0)
