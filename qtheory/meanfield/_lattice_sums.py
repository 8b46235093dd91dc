"""Sums of Gaussian tails and densities over equally spaced points, however many there are."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["DENSITY", "DENSITY_MOMENT", "TAIL", "Summand", "lattice_sum"]

FloatArray = NDArray[np.float64]
Function = Callable[[float], float]

# Above this many points the sum is an integral with end corrections; the spacing is then so small
# (REACH / MAX_SUMMED = 0.0024) that the first term left out is below 1e-18.
MAX_SUMMED = 2**14
REACH = 39.0


def _phi(t: float) -> float:
    return math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


def _tail(t: float) -> float:
    return float(special.ndtr(-t))


class Summand(NamedTuple):
    """A function f, with antiderivative, first and third derivative of f and of t f."""

    values: Callable[[FloatArray], FloatArray]
    plain: tuple[Function, Function, Function, Function]
    times_t: tuple[Function, Function, Function, Function]


def _density(t: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi))


# Each line: the function, its antiderivative that vanishes at infinity, first, third derivative.
_PHI = (_phi, lambda t: -_tail(t), lambda t: -t * _phi(t), lambda t: -(t**3 - 3 * t) * _phi(t))
_T_PHI = (
    lambda t: t * _phi(t),
    lambda t: -_phi(t),
    lambda t: (1 - t**2) * _phi(t),
    lambda t: -(t**4 - 6 * t**2 + 3) * _phi(t),
)
_T2_PHI = (
    lambda t: t**2 * _phi(t),
    lambda t: -t * _phi(t) - _tail(t),
    lambda t: -(t**3 - 2 * t) * _phi(t),
    lambda t: -(t**5 - 9 * t**3 + 12 * t) * _phi(t),
)
_TAIL = (
    _tail,
    lambda t: t * _tail(t) - _phi(t),
    lambda t: -_phi(t),
    lambda t: (1 - t**2) * _phi(t),
)
_T_TAIL = (
    lambda t: t * _tail(t),
    lambda t: 0.5 * ((t**2 - 1) * _tail(t) - t * _phi(t)),
    lambda t: _tail(t) - t * _phi(t),
    lambda t: -(t**3 - 4 * t) * _phi(t),
)

DENSITY = Summand(_density, _PHI, _T_PHI)
DENSITY_MOMENT = Summand(lambda t: t * _density(t), _T_PHI, _T2_PHI)
TAIL = Summand(lambda t: np.asarray(special.ndtr(-t)), _TAIL, _T_TAIL)


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
        return float((constant + linear * j) @ summand.values(first + spacing * j))
    last = first + spacing * (count - 1)
    plain = _euler_maclaurin(summand.plain, first, last, spacing)
    if linear == 0:
        return constant * plain
    times_t = _euler_maclaurin(summand.times_t, first, last, spacing)
    return constant * plain + linear * (times_t - first * plain) / spacing


def _euler_maclaurin(
    functions: tuple[Function, Function, Function, Function],
    first: float,
    last: float,
    spacing: float,
) -> float:
    """Return the sum of a smooth function over equally spaced points, both ends included."""
    value, antiderivative, slope, third = functions
    integral = (antiderivative(last) - antiderivative(first)) / spacing
    ends = 0.5 * (value(first) + value(last))
    correction = spacing * (slope(last) - slope(first)) / 12
    return integral + ends + correction - spacing**3 * (third(last) - third(first)) / 720
