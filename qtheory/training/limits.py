"""Where BinaryConnect ends on a line: the zero of an interpolant, or a threshold of rounding."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_finite, check_positive, fail

__all__ = ["BinaryConnectLimit", "bc_limit", "interpolated_gradient", "rounding_threshold"]

FloatArray = NDArray[np.float64]
Derivative = Callable[[FloatArray], ArrayLike]

# Allowed decrease of a derivative from one grid point to the next, relative to its largest value.
MONOTONE_TOLERANCE = 1e-12
# A zero of the derivative this close to a grid point lies on it: in grid steps, and for each step
# between the point and the origin, since grid points are rounded.
ON_GRID, ON_FAR_GRID = 1e-12, 1e-15
MAX_POINTS = 2**24


@dataclass(frozen=True)
class BinaryConnectLimit:
    """Where BinaryConnect ends on a line.

    Parameters
    ----------
    latent : float
        Limit of the latent weight; the middle of the limits if there are several.
    lower, upper : float
        Smallest and largest limit; equal unless the gradient vanishes on the grid.
    below, above : float
        The two neighboring grid points that the deployed weight visits; equal if there is one.
    fraction_above : float
        Share of the time that it spends on the upper one; 1 if there is one point, and nan if the
        gradient vanishes at several grid points, where the share depends on the run.

    Notes
    -----
    Book: thm-ch08-bc-limits.
    """

    latent: float
    lower: float
    upper: float
    below: float
    above: float
    fraction_above: float

    @property
    def mean_deployed(self) -> float:
        """Time average of the deployed weight; nan if it depends on the run."""
        return self.below + self.fraction_above * (self.above - self.below)


def interpolated_gradient(
    derivative: Derivative, weights: ArrayLike, *, grid_step: float
) -> FloatArray:
    r"""Mean gradient that BinaryConnect with stochastic rounding sees at a latent weight.

    Parameters
    ----------
    derivative : callable
        Derivative of the objective, from an array to an array of the same shape.
    weights : array_like of float
        Latent weights, any shape.
    grid_step : float
        Step :math:`\Delta` of the endless grid :math:`\Delta \mathbb{Z}`, above zero.

    Returns
    -------
    numpy.ndarray
        :math:`(1 - p) F'(k \Delta) + p F'((k + 1) \Delta)` at :math:`w = (k + p) \Delta`: the
        piecewise linear interpolant of the derivative, same shape.

    Raises
    ------
    ValueError
        If an argument is out of range, or the derivative returns another shape.

    Notes
    -----
    Book: ch08-interpolant.

    Examples
    --------
    >>> from qtheory.training import interpolated_gradient
    >>> interpolated_gradient(lambda w: w**3, [0.5, 1.5], grid_step=1.0)
    array([0.5, 4.5])
    """
    step = check_positive("grid_step", grid_step)
    places = np.asarray(as_float_array("weights", weights), dtype=np.float64) / step
    below = np.floor(places)
    share = places - below
    low, high = _slopes(derivative, below * step), _slopes(derivative, (below + 1) * step)
    return np.asarray((1 - share) * low + share * high)


def rounding_threshold(
    derivative: Derivative, *, grid_step: float, lower: float, upper: float
) -> float:
    r"""Threshold of rounding to nearest between the grid points where a derivative changes sign.

    Parameters
    ----------
    derivative : callable
        Nondecreasing derivative of a convex objective, from an array to an array of its shape.
    grid_step : float
        Step :math:`\Delta` of the grid :math:`\Delta \mathbb{Z}`, above zero.
    lower, upper : float
        Range of the grid, with at least two of its points.

    Returns
    -------
    float
        Midpoint of the last grid point with negative derivative and its upper neighbor.

    Raises
    ------
    ValueError
        If the derivative decreases, or is nowhere negative or nowhere above zero on the range, or
        vanishes at a grid point: there is no threshold then.

    Notes
    -----
    Book: thm-ch08-bc-limits.

    Accuracy: a zero within 1e-12 grid steps of a grid point counts as on it.

    Examples
    --------
    >>> from qtheory.training import rounding_threshold
    >>> rounding_threshold(lambda w: w - 0.3, grid_step=1.0, lower=-2, upper=2)
    0.5
    """
    points, slopes = _grid_slopes(derivative, grid_step, lower, upper)
    if (slopes == 0).any() or slopes[0] > 0 or slopes[-1] < 0:
        raise fail("derivative", "of both signs on the grid and zero on no point of it", slopes)
    k = int(np.searchsorted(slopes, 0.0))
    return float(0.5 * (points[k - 1] + points[k]))


def bc_limit(
    derivative: Derivative,
    *,
    grid_step: float,
    lower: float,
    upper: float,
    forward: str = "nearest",
) -> BinaryConnectLimit:
    r"""Limit of BinaryConnect on a convex function of one weight.

    Parameters
    ----------
    derivative : callable
        Nondecreasing derivative of a convex objective, from an array to an array of its shape.
    grid_step : float
        Step :math:`\Delta` of the grid :math:`\Delta \mathbb{Z}`, above zero.
    lower, upper : float
        Range of the grid, with at least two of its points. Latent weights are kept between its
        outer points.
    forward : {"nearest", "stochastic"}
        How the latent weight is rounded before the gradient is taken.

    Returns
    -------
    BinaryConnectLimit
        Limit of the latent weight, and where the deployed weight spends its time.

    Raises
    ------
    ValueError
        If an argument is out of range, or the derivative decreases.

    Notes
    -----
    Book: thm-ch08-bc-limits.

    Assumptions: unbiased gradients of finite variance, learning rates whose sum diverges and whose
    squares have a finite sum. Rates that fall to zero are enough for convergence in probability,
    and for rounding to nearest without noise.

    Accuracy: exact up to rounding; the limit is the zero of a linear function. A zero of the
    derivative within 1e-12 grid steps of a grid point counts as on it.

    Limits: where the derivative vanishes at several grid points, the deployed weight may visit any
    of them, and the share is nan.

    Examples
    --------
    >>> from qtheory.training import bc_limit
    >>> slope = lambda w: w - 0.3
    >>> near = bc_limit(slope, grid_step=1.0, lower=-2, upper=2)
    >>> near.latent, round(near.fraction_above, 6)
    (0.5, 0.3)
    >>> even = bc_limit(slope, grid_step=1.0, lower=-2, upper=2, forward="stochastic")
    >>> round(even.latent, 6), round(even.fraction_above, 6)
    (0.3, 0.3)
    """
    check_choice("forward", forward, ("nearest", "stochastic"))
    points, slopes = _grid_slopes(derivative, grid_step, lower, upper)
    first = int(np.searchsorted(slopes, 0.0, side="left"))  # first that is not negative
    last = int(np.searchsorted(slopes, 0.0, side="right"))  # first above zero
    if first < last:
        return _at_rest(points, first, last - 1, grid_step if forward == "nearest" else 0.0)
    if first == 0 or first == slopes.size:
        end = float(points[0] if first == 0 else points[-1])
        return BinaryConnectLimit(end, end, end, end, end, 1.0)
    below, above = float(points[first - 1]), float(points[first])
    share = float(slopes[first - 1] / (slopes[first - 1] - slopes[first]))
    middle = 0.5 * (below + above)
    latent = middle if forward == "nearest" else below + share * (above - below)
    return BinaryConnectLimit(latent, latent, latent, below, above, share)


def _at_rest(points: FloatArray, first: int, last: int, step: float) -> BinaryConnectLimit:
    """Return the limit if the gradient vanishes at the grid points from first to last."""
    below, above = float(points[first]), float(points[last])
    lower = max(below - 0.5 * step, float(points[0]))
    upper = min(above + 0.5 * step, float(points[-1]))
    share = math.nan if last > first else 1.0
    return BinaryConnectLimit(0.5 * (lower + upper), lower, upper, below, above, share)


def _grid_slopes(
    derivative: Derivative, grid_step: float, lower: float, upper: float
) -> tuple[FloatArray, FloatArray]:
    """Return the grid points of a range and the derivative there, which must not decrease.

    The derivative is zero where it is as small as rounding of the points can make it.
    """
    step = check_positive("grid_step", grid_step)
    low, high = check_finite("lower", lower) / step, check_finite("upper", upper) / step
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if not 1 <= last - first < MAX_POINTS:
        raise fail("upper", "above `lower` by at least two and at most 2**24 grid points", upper)
    points: FloatArray = np.arange(first, last + 1, dtype=np.float64) * step
    slopes = _slopes(derivative, points)
    if (np.diff(slopes) < -MONOTONE_TOLERANCE * np.abs(slopes).max()).any():
        raise fail("derivative", "nondecreasing, as that of a convex function", slopes)
    slopes = np.maximum.accumulate(slopes)
    rises = np.diff(slopes)
    rise = np.maximum(np.append(rises, rises[-1]), np.insert(rises, 0, rises[0]))
    small = rise * (ON_GRID + ON_FAR_GRID * np.abs(points / step))
    # The last that is negative and the first above zero; all between are zero.
    start = np.flatnonzero(slopes < -small).max(initial=-1) + 1
    stop = np.flatnonzero(slopes > small).min(initial=slopes.size)
    slopes[start:stop] = 0.0
    return points, slopes


def _slopes(derivative: Derivative, points: FloatArray) -> FloatArray:
    """Return the derivative at points, of their shape and finite."""
    slopes = np.asarray(derivative(points), dtype=np.float64)
    if slopes.shape != points.shape or not np.isfinite(slopes).all():
        raise fail("derivative", f"finite and of shape {points.shape}", slopes)
    return slopes
