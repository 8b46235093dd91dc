"""Sums over pairs of thresholds of any staircase, by whichever of two exact forms is cheaper.

A staircase is given here by its standardized thresholds (in units of the pre-activation standard
deviation), the heights of its steps and the level below the first threshold.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory.numerics import bivariate_normal_cdf, normal_density

__all__ = ["Steps", "cross_moment", "cross_moment_slope", "mirrored", "product_mean"]

FloatArray = NDArray[np.float64]

# A pair of thresholds further apart than this many standard deviations of the difference
# z1 - z2 contributes less than exp(-BAND**2 / 2) = 3e-20, wherever the two stand.
BAND = 9.5
# Cost of a pair (two of Owen's functions) against one normal probability, measured.
PAIR_COST = 10.0
# Trapezoidal rule of the common-factor form: half range, and step at unit curvature (see _nodes).
HALF_RANGE = 9.0
STEP = 0.5
MAX_ENTRIES = 2**20


class Steps(NamedTuple):
    """Standardized thresholds in increasing order, step heights, lowest level."""

    thresholds: FloatArray
    heights: FloatArray
    lowest: float


def mirrored(steps: Steps) -> Steps:
    """Return the steps of the function x -> f(-x)."""
    highest = steps.lowest + float(steps.heights.sum())
    return Steps(-steps.thresholds[::-1], -steps.heights[::-1], highest)


def product_mean(first: Steps, second: Steps) -> float:
    """Return E f(z) g(z) for one standard normal variable and two staircases."""
    cuts = np.union1d(first.thresholds, second.thresholds)
    values = _levels(first, cuts) * _levels(second, cuts)
    return step_mean(cuts, values)


def step_mean(cuts: FloatArray, values: FloatArray) -> float:
    """Return the mean of a step function of a standard normal variable.

    Summed from the cell that holds zero outwards, so that nothing large is subtracted.
    """
    split = int(np.searchsorted(cuts, 0.0, side="right"))
    rises = np.diff(values)
    upper = rises[split:] @ special.ndtr(-cuts[split:])
    lower = rises[:split] @ special.ndtr(cuts[:split])
    return float(values[split] + upper - lower)


def _levels(steps: Steps, cuts: FloatArray) -> FloatArray:
    """Return the level of a staircase in each cell between the cuts."""
    levels = steps.lowest + np.concatenate([[0.0], np.cumsum(steps.heights)])
    inner = np.searchsorted(steps.thresholds, cuts, side="right")
    return np.asarray(levels[np.concatenate([[0], inner])])


def cross_moment(steps: Steps, correlation: float) -> float:
    """Return E f(z1) f(z2) for standard normal variables of a correlation in [-1, 1]."""
    second = steps if correlation >= 0 else mirrored(steps)
    if abs(correlation) == 1:
        return product_mean(steps, second)
    band = _band(abs(correlation))
    num_pairs = _count_pairs(steps.thresholds, second.thresholds, band)
    if num_pairs * PAIR_COST <= steps.thresholds.size * _num_nodes(abs(correlation)):
        missing = _pair_deficit(steps, second, abs(correlation), band)
        return product_mean(steps, second) - missing
    return _common_factor_moment(steps, second, abs(correlation))


def cross_moment_slope(steps: Steps, correlation: float) -> float:
    """Return the derivative of the cross moment by the correlation, inside (-1, 1)."""
    second = steps if correlation >= 0 else mirrored(steps)
    sign = 1.0 if correlation >= 0 else -1.0
    rho = abs(correlation)
    band = _band(rho)
    num_pairs = _count_pairs(steps.thresholds, second.thresholds, band)
    if num_pairs <= 2 * steps.thresholds.size * _num_nodes(rho):
        return sign * _pair_slope(steps, second, rho, band)
    return sign * _common_factor_slope(steps, second, rho)


def _band(rho: float) -> float:
    """Return the distance beyond which pairs of thresholds do not matter, for rho in [0, 1)."""
    return BAND * math.sqrt(2 * (1 - rho))


def _count_pairs(first: FloatArray, second: FloatArray, band: float) -> int:
    """Return the number of pairs of thresholds that are closer than the band."""
    lower = np.searchsorted(second, first - band)
    upper = np.searchsorted(second, first + band)
    return int((upper - lower).sum())


def _close_pairs(
    first: FloatArray, second: FloatArray, band: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the pairs of thresholds that are closer than the band."""
    lower = np.searchsorted(second, first - band)
    counts = np.searchsorted(second, first + band) - lower
    rows = np.repeat(np.arange(first.size), counts)
    starts = np.repeat(lower - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return rows, np.arange(rows.size) + starts


def _pair_deficit(first: Steps, second: Steps, rho: float, band: float) -> float:
    """Return what a correlation below one takes from E f(z) g(z), summed over close pairs."""
    i, j = _close_pairs(first.thresholds, second.thresholds, band)
    s, t = first.thresholds[i], second.thresholds[j]
    lost = special.ndtr(-np.maximum(s, t)) - bivariate_normal_cdf(-s, -t, rho)
    return float((first.heights[i] * second.heights[j]) @ lost)


def _pair_slope(first: Steps, second: Steps, rho: float, band: float) -> float:
    """Return the sum of bivariate densities over close pairs of thresholds."""
    i, j = _close_pairs(first.thresholds, second.thresholds, band)
    s, t = first.thresholds[i], second.thresholds[j]
    # (s^2 + t^2 - 2 rho s t) / (1 - rho^2), without cancellation as rho -> 1.
    exponent = (s - t) ** 2 / ((1 - rho) * (1 + rho)) + 2 * s * t / (1 + rho)
    densities = np.exp(-0.5 * exponent)
    scale = 2 * math.pi * math.sqrt((1 - rho) * (1 + rho))
    return float((first.heights[i] * second.heights[j]) @ densities) / scale


# Common factor: z1 = sqrt(rho) x + sqrt(1 - rho) e1 and z2 the same with e2, so that the cross
# moment is the mean of the product of two conditional means, which are smooth in x.


def _curvature(rho: float) -> float:
    """Return the rate c at which the integrand grows as exp(c y^2) off the real axis."""
    return 0.5 + rho / (1 - rho)


def _num_nodes(rho: float) -> float:
    """Return the number of nodes of the common-factor form."""
    return 2 * HALF_RANGE * math.sqrt(_curvature(rho)) / STEP


def _nodes(rho: float) -> tuple[FloatArray, float]:
    """Return nodes and step of the trapezoidal rule.

    The error of step h is about exp(-pi^2 / (h^2 c)) for growth exp(c y^2): below 1e-17 here.
    """
    step = STEP / math.sqrt(_curvature(rho))
    count = math.ceil(HALF_RANGE / step)
    nodes: FloatArray = step * np.arange(-count, count + 1, dtype=np.float64)
    return nodes, step


def _common_factor_moment(first: Steps, second: Steps, rho: float) -> float:
    """Return the cross moment as one smooth integral."""
    x, step = _nodes(rho)
    product = _conditional_mean(first, x, rho) * _conditional_mean(second, x, rho)
    return float(product @ normal_density(x)) * step


def _common_factor_slope(first: Steps, second: Steps, rho: float) -> float:
    """Return the slope of the cross moment as one smooth integral."""
    x, step = _nodes(rho)
    product = _conditional_density(first, x, rho) * _conditional_density(second, x, rho)
    return float(product @ normal_density(x)) * step


def _blocks(num_nodes: int, num_steps: int) -> list[slice]:
    """Return slices of the nodes that keep a table of nodes by steps small."""
    size = max(1, MAX_ENTRIES // max(1, num_steps))
    return [slice(start, start + size) for start in range(0, num_nodes, size)]


def _conditional_mean(steps: Steps, x: FloatArray, rho: float) -> FloatArray:
    """Return E f(sqrt(rho) x + sqrt(1 - rho) e) at each node."""
    result = np.empty_like(x)
    split = int(np.searchsorted(steps.thresholds, 0.0, side="right"))
    base = steps.lowest + float(steps.heights[:split].sum())
    signs = np.where(np.arange(steps.thresholds.size) < split, -1.0, 1.0)
    for block in _blocks(x.size, steps.thresholds.size):
        # Steps below zero are counted by their absence, so that an odd staircase is odd exactly.
        reach = (math.sqrt(rho) * x[block, None] - steps.thresholds) / math.sqrt(1 - rho)
        result[block] = base + special.ndtr(signs * reach) @ (signs * steps.heights)
    return result


def _conditional_density(steps: Steps, x: FloatArray, rho: float) -> FloatArray:
    """Return E f'(sqrt(rho) x + sqrt(1 - rho) e) at each node, f' a sum of impulses."""
    result = np.empty_like(x)
    for block in _blocks(x.size, steps.thresholds.size):
        reach = (math.sqrt(rho) * x[block, None] - steps.thresholds) / math.sqrt(1 - rho)
        result[block] = normal_density(reach) @ steps.heights / math.sqrt(1 - rho)
    return result
