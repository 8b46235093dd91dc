"""Sums over the pairs of equally spaced thresholds in linear time, and over endless ones in none.

Standardized thresholds are ``center + spacing * (i - (n - 1) / 2)`` for i = 0 .. n - 1.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory.numerics import gauss_legendre

__all__ = ["Lattice", "pair_density_at", "pair_density_integrals", "pair_density_sum"]

FloatArray = NDArray[np.float64]

# Above this many thresholds the sums turn into integrals with end corrections.
MAX_SUMMED = 2**14
NODES_PER_PANEL = 16
# Terms exp(-x) with x beyond this are dropped: they are below 1e-19 of the largest.
CUTOFF = 44.0
# Entries of a table of angles by thresholds that stays in a fast cache.
BLOCK_ENTRIES = 2**14
# Below this angle, in spacings, all pairs of different thresholds are negligible: exp(-32).
FLAT_ANGLE = 0.125
# Thresholds beyond this many standard deviations have no effect in float64.
REACH = 39.0


class Lattice(NamedTuple):
    """Equally spaced standardized thresholds."""

    num_thresholds: int
    spacing: float
    center: float = 0.0


def pair_density_sum(lattice: Lattice, angles: FloatArray, *, mirrored: bool = False) -> FloatArray:
    r"""Return the sum over all pairs of thresholds of the bivariate exponential.

    .. math:: S(x) = \sum_{ij} \exp\Bigl(-\frac{t_i^2 + t_j^2 - 2 t_i t_j \cos x}{2\sin^2 x}\Bigr)

    With s = i + j and d = i - j the exponent separates, and the sum over s is a prefix sum.
    The angle x = arccos(correlation) lies in (0, pi / 2], which keeps 1 - correlation exact;
    ``mirrored`` turns the sign of t_j, which stands for the correlation of opposite sign.
    """
    lattice = _trimmed(lattice)
    if lattice.num_thresholds == 0 or angles.size == 0:
        return np.zeros(angles.size)
    if lattice.num_thresholds <= MAX_SUMMED:
        return _summed(lattice, angles, mirrored)
    return np.array([_integrated(lattice, float(x), mirrored) for x in angles])


def pair_density_at(lattice: Lattice, angle: float, *, mirrored: bool = False) -> float:
    """Return S(x) at one angle, without the detour over arrays."""
    lattice = _trimmed(lattice)
    if lattice.num_thresholds == 0:
        return 0.0
    if lattice.num_thresholds <= MAX_SUMMED:
        return float(_summed_block(lattice, angle, mirrored))
    return _integrated(lattice, angle, mirrored)


def _trimmed(lattice: Lattice) -> Lattice:
    """Return the thresholds without those so far out that no term of theirs is above 1e-300."""
    n, spacing, center = lattice
    half = 0.5 * (n - 1)
    first = max(0, math.ceil((-REACH - center) / spacing + half))
    last = min(n - 1, math.floor((REACH - center) / spacing + half))
    if last < first:
        return Lattice(0, spacing, 0.0)
    return Lattice(last - first + 1, spacing, center + spacing * (0.5 * (first + last) - half))


def _rates(
    lattice: Lattice, angles: FloatArray | float, mirrored: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the rates of the two Gaussian sums, over differences and over sums of indices."""
    fast = lattice.spacing**2 / (8 * np.sin(0.5 * angles) ** 2)
    slow = lattice.spacing**2 / (8 * np.cos(0.5 * angles) ** 2)
    return (slow, fast) if mirrored else (fast, slow)


def _summed(lattice: Lattice, angles: FloatArray, mirrored: bool) -> FloatArray:
    """Return S(x) at each angle in linear time, a block of angles at once."""
    rows = max(1, BLOCK_ENTRIES // lattice.num_thresholds)
    blocks = [angles[start : start + rows] for start in range(0, angles.size, rows)]
    return np.concatenate([_summed_block(lattice, block, mirrored) for block in blocks])


def _summed_block(lattice: Lattice, angles: FloatArray | float, mirrored: bool) -> Any:
    """Return S(x) at a few angles with a table of angles by thresholds, or at one with a row."""
    n = lattice.num_thresholds
    apart, along = _rates(lattice, angles, mirrored)
    shift = 2 * lattice.center / lattice.spacing
    terms = np.exp(np.multiply.outer(-along, _squares(n, shift)))
    terms += np.exp(np.multiply.outer(-along, _squares(n, -shift))) if shift else terms
    terms[..., 0] *= 0.5
    prefix = np.empty_like(terms)
    for parity in (0, 1):
        terms[..., parity::2].cumsum(axis=-1, out=prefix[..., parity::2])
    num_near = min(n, int(math.sqrt(CUTOFF / np.min(apart))) + 2)
    weights = np.exp(np.multiply.outer(-apart, _squares(n, 0.0)[:num_near]))
    weights[..., 1:] *= 2
    weights *= prefix[..., n - num_near :][..., ::-1]
    return weights.sum(axis=-1)


@lru_cache(maxsize=8)
def _squares(count: int, shift: float) -> FloatArray:
    """Return the squares of shifted indices, kept since slopes are asked for one after another."""
    squares = (np.arange(count, dtype=np.float64) + shift) ** 2
    squares.flags.writeable = False
    return squares


class _Gaussian(NamedTuple):
    """The function exp(-rate (k + shift)^2) of an index."""

    rate: float
    shift: float

    def at(self, k: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-self.rate * (k + self.shift) ** 2))


def _integrated(lattice: Lattice, angle: float, mirrored: bool) -> float:
    """Return S(x) for very many thresholds, with Euler-Maclaurin sums.

    The sum over all indices |s| + |d| <= n - 1 of equal parity is the same with s and d exchanged,
    so the faster decaying Gaussian is the outer one.
    """
    m = float(lattice.num_thresholds - 1)
    apart, along = (float(rate[0]) for rate in _rates(lattice, np.array([angle]), mirrored))
    differences = _Gaussian(apart, 0.0)
    sums = _Gaussian(along, 2 * lattice.center / lattice.spacing)
    outer, inner = (differences, sums) if apart >= along else (sums, differences)
    reach = math.sqrt(CUTOFF / outer.rate) + 2
    first = max(-m, float(math.floor(-outer.shift - reach)))
    last = min(m, float(math.ceil(-outer.shift + reach)))
    if last < first:
        return 0.0
    if last - first <= 2 * MAX_SUMMED:
        k = np.arange(first, last + 1, dtype=np.float64)
        return float(outer.at(k) @ _inner_sum(inner, m - np.abs(k)))
    return _outer_integral(outer, inner, (first, last), m)


def _outer_integral(
    outer: _Gaussian, inner: _Gaussian, window: tuple[float, float], m: float
) -> float:
    """Return the sum over the outer index as an integral, with its end corrections."""
    first, last = window
    nodes, weights = gauss_legendre(NODES_PER_PANEL)
    edges = np.unique([*np.linspace(first, last, 33), min(max(0, first), last)])
    half = 0.5 * np.diff(edges)
    k = (0.5 * (edges[1:] + edges[:-1]))[:, None] + half[:, None] * nodes
    values = outer.at(k) * _inner_sum(inner, m - np.abs(k))
    total = float(np.sum(half[:, None] * weights * values))
    ends = np.array([first, last], dtype=np.float64)
    room = m - np.abs(ends)
    total += 0.5 * float(outer.at(ends) @ _inner_sum(inner, room))
    # Slope at the ends, where the inner sum shrinks by its slope as |k| grows.
    total -= float(outer.at(ends) @ _inner_slope(inner, room)) / 12
    if first < 0 < last:
        zero = np.zeros(1)
        total += float(outer.at(zero)[0] * _inner_slope(inner, m + zero)[0]) / 6
    return total


def _inner_sum(inner: _Gaussian, m: FloatArray) -> FloatArray:
    """Return the sum over k = -m, -m + 2, .. m of a slowly varying Gaussian."""
    upper, lower = m + inner.shift, -m + inner.shift
    root = math.sqrt(inner.rate)
    integral = 0.5 * math.sqrt(math.pi) / root * _erf_difference(root * upper, root * lower)
    ends = np.exp(-inner.rate * upper**2), np.exp(-inner.rate * lower**2)
    slope = -2 * inner.rate * (upper * ends[0] - lower * ends[1])
    third = _third(inner.rate, upper) * ends[0] - _third(inner.rate, lower) * ends[1]
    return np.asarray(0.5 * integral + 0.5 * (ends[0] + ends[1]) + slope / 6 - third / 90)


def _third(rate: float, u: FloatArray) -> FloatArray:
    """Return the factor of the third derivative of exp(-rate u^2)."""
    return 12 * rate**2 * u - 8 * rate**3 * u**3


def _inner_slope(inner: _Gaussian, m: FloatArray) -> FloatArray:
    """Return the derivative of the inner sum by m, to leading order."""
    return 0.5 * (inner.at(m) + inner.at(-m))


def _erf_difference(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Return erf(upper) - erf(lower) with the digits of the tails kept."""
    tails = special.erfc(np.maximum(lower, 0)) - special.erfc(np.maximum(upper, 0))
    mirrored = special.erfc(np.maximum(-upper, 0)) - special.erfc(np.maximum(-lower, 0))
    middle = special.erf(upper) - special.erf(lower)
    return np.asarray(np.where(lower > 0.5, tails, np.where(upper < -0.5, mirrored, middle)))


def pair_density_integrals(
    lattice: Lattice, starts: FloatArray, stops: FloatArray, *, mirrored: bool = False
) -> FloatArray:
    """Return the integrals of S(x) / (2 pi) between angles in [0, pi / 2], all at once."""
    if starts.size == 0:
        return np.empty(0)
    flat = FLAT_ANGLE * lattice.spacing
    rules = [_panels(float(a), float(b), flat) for a, b in zip(starts, stops, strict=True)]
    nodes = np.concatenate([points for points, _ in rules])
    values = pair_density_sum(lattice, nodes, mirrored=mirrored)
    ends = np.cumsum([points.size for points, _ in rules])[:-1]
    parts = zip(rules, np.split(values, ends), strict=True)
    return np.array([rule[1] @ part for rule, part in parts]) / (2 * math.pi)


def _panels(start: float, stop: float, flat: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes on panels that double in length away from zero, down to a flat first one."""
    num_doublings = max(0, math.ceil(math.log2(stop / flat))) if stop > 0 else 0
    edges = [start, *(stop * 2.0**-k for k in range(num_doublings + 1) if stop * 2.0**-k > start)]
    kept = np.unique(edges)
    half = 0.5 * np.diff(kept)
    nodes, weights = gauss_legendre(NODES_PER_PANEL)
    points = (0.5 * (kept[1:] + kept[:-1]))[:, None] + half[:, None] * nodes
    return points.ravel(), (half[:, None] * weights).ravel()
