"""Sums of Gaussian tails and densities over equally spaced points, however many there are."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory.numerics import gauss_legendre, normal_density

__all__ = ["DENSITY", "DENSITY_MOMENT", "TAIL", "Summand", "lattice_sum"]

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

# Above this many points the sum is an integral with end corrections; the spacing is then so small
# (REACH / MAX_SUMMED = 0.0024) that the first term left out is below 1e-18.
MAX_SUMMED = 2**14
REACH = 39.0
NODES_PER_PANEL = 16


class Summand(NamedTuple):
    """A function with its first three derivatives."""

    value: Function
    first: Function
    second: Function
    third: Function


DENSITY = Summand(
    normal_density,
    lambda t: -t * normal_density(t),
    lambda t: (t**2 - 1) * normal_density(t),
    lambda t: -(t**3 - 3 * t) * normal_density(t),
)
DENSITY_MOMENT = Summand(
    lambda t: t * normal_density(t),
    lambda t: (1 - t**2) * normal_density(t),
    lambda t: (t**3 - 3 * t) * normal_density(t),
    lambda t: -(t**4 - 6 * t**2 + 3) * normal_density(t),
)
TAIL = Summand(
    lambda t: np.asarray(special.ndtr(-t)),
    lambda t: -normal_density(t),
    lambda t: t * normal_density(t),
    lambda t: (1 - t**2) * normal_density(t),
)


def lattice_sum(
    summand: Summand,
    first: float,
    spacing: float,
    count: int,
    *,
    constant: float = 1.0,
    linear: float = 0.0,
) -> float:
    """Return the sum over j < count of (constant + linear j) f(first + spacing j), first >= 0."""
    if count <= 0 or first > REACH:
        return 0.0
    count = min(count, math.floor((REACH - first) / spacing) + 1)
    if count <= MAX_SUMMED:
        j = np.arange(count, dtype=np.float64)
        return float((constant + linear * j) @ summand.value(first + spacing * j))
    return _euler_maclaurin(summand, first, spacing, count, (constant, linear))


def _euler_maclaurin(
    summand: Summand, first: float, spacing: float, count: int, weights: tuple[float, float]
) -> float:
    """Return the sum as an integral over j with corrections at both ends.

    The integral is by Gauss's rule on panels of one standard deviation and not by a difference of
    antiderivatives, which would cancel for a lattice that is short.
    """
    constant, linear = weights
    nodes, rule = gauss_legendre(NODES_PER_PANEL)
    num_panels = math.ceil(spacing * (count - 1)) + 1
    half = 0.5 * (count - 1) / num_panels
    j = half * (2 * np.arange(num_panels)[:, None] + 1 + nodes)
    values = (constant + linear * j) * summand.value(first + spacing * j)
    integral = half * float((values @ rule).sum())
    ends = np.array([0.0, count - 1.0])
    t, weight = first + spacing * ends, constant + linear * ends
    slopes = linear * summand.value(t) + weight * spacing * summand.first(t)
    thirds = spacing**2 * (3 * linear * summand.second(t) + weight * spacing * summand.third(t))
    half_ends = 0.5 * float((weight * summand.value(t)).sum())
    return integral + half_ends + float(np.diff(slopes)[0]) / 12 - float(np.diff(thirds)[0]) / 720
