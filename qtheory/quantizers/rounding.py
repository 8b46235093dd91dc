"""Rounding to integers, the step every quantizer and every number format is made of."""

from collections.abc import Callable
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_generator, check_integer, fail

__all__ = ["RoundMode", "round_to_integer"]

MAX_RANDOM_BITS = 52


class RoundMode(Enum):
    """Where a number between two neighbors of a grid goes.

    ``TIES_TO_EVEN`` and ``TIES_AWAY`` go to the nearest neighbor and differ on ties only.
    ``TOWARD_ZERO`` (truncation), ``FLOOR`` and ``CEIL`` are directed.
    ``STOCHASTIC`` goes up with a probability equal to the fraction: the distance from the lower
    neighbor over that between the neighbors.
    """

    TIES_TO_EVEN = "ties_to_even"
    TIES_AWAY = "ties_away"
    TOWARD_ZERO = "toward_zero"
    FLOOR = "floor"
    CEIL = "ceil"
    STOCHASTIC = "stochastic"

    @property
    def is_nearest(self) -> bool:
        """Whether the result is always one of the nearest integers."""
        return self in (RoundMode.TIES_TO_EVEN, RoundMode.TIES_AWAY)


def round_to_integer(
    x: ArrayLike,
    mode: RoundMode = RoundMode.TIES_TO_EVEN,
    *,
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> NDArray[np.floating]:
    r"""Round each number to an integer.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape. float32 and float64 keep their type, all else becomes float64.
    mode : RoundMode
        Where a number between two integers goes.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Number of random bits :math:`r` per element, from 1 to 52, for ``RoundMode.STOCHASTIC``.
        Without it 53 bits are drawn.

    Returns
    -------
    numpy.ndarray
        Integers in floating point, same shape as ``x``. NaN and infinities pass through.

    Raises
    ------
    ValueError
        If ``mode`` is no :class:`RoundMode`, if ``rng`` is missing for the stochastic mode or given
        for another, or if ``num_random_bits`` is out of range or given for another mode.

    Notes
    -----
    Book: ch03-stochastic-definition.

    The stochastic mode returns :math:`\lfloor x + u \rfloor`. With unlimited random bits
    :math:`u` is uniform on :math:`[0, 1)` and the result is unbiased (here to
    :math:`2^{-53}`, the resolution of the generator). With :math:`r` bits,
    :math:`u = (k + \tfrac12) 2^{-r}` with :math:`k` uniform on :math:`0, \dots, 2^r - 1`: the
    probability of going up is the fraction of ``x`` rounded to a multiple of :math:`2^{-r}`,
    so the bias is at most :math:`2^{-r-1}` and has no preferred sign.

    Limits: integers are returned unchanged by every mode.

    Examples
    --------
    >>> from qtheory.quantizers import RoundMode, round_to_integer
    >>> round_to_integer([0.5, 1.5, -2.5])
    array([ 0.,  2., -2.])
    >>> round_to_integer([0.5, 1.5, -2.5], RoundMode.TIES_AWAY)
    array([ 1.,  2., -3.])
    """
    array = as_float_array("x", x)
    check_choice("mode", mode, list(RoundMode))
    if mode is RoundMode.STOCHASTIC:
        return _round_stochastic(array, check_generator("rng", rng), num_random_bits)
    if rng is not None or num_random_bits is not None:
        raise fail("rng", f"left out for {mode}, as num_random_bits", rng)
    return np.asarray(_DETERMINISTIC[mode](array))


def _round_ties_away(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Round half away from zero, without the double rounding of ``floor(x + 0.5)``."""
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):  # inf - inf: the comparison below is then false
        up = np.abs(x - whole) >= 0.5
    return np.asarray(np.copysign(np.abs(whole) + up, x), dtype=x.dtype)


def _round_stochastic(
    x: NDArray[np.floating], rng: np.random.Generator, num_random_bits: int | None
) -> NDArray[np.floating]:
    """Round up with probability equal to the fraction."""
    low = np.floor(x)
    with np.errstate(invalid="ignore"):  # inf - inf: the comparison below is then false
        fraction = x - low
    if num_random_bits is None:
        up = rng.random(x.shape) < fraction
    else:
        bits = check_integer("num_random_bits", num_random_bits, minimum=1, maximum=MAX_RANDOM_BITS)
        # Going up when u >= 1 - fraction is the same event as floor(x + u) = low + 1.
        u = (rng.integers(0, 1 << bits, size=x.shape) + 0.5) * 2.0**-bits
        up = u >= 1.0 - fraction.astype(np.float64)
    return np.asarray(low + up, dtype=x.dtype)


_DETERMINISTIC: dict[RoundMode, Callable[[NDArray[np.floating]], NDArray[np.floating]]] = {
    RoundMode.TIES_TO_EVEN: np.rint,
    RoundMode.TIES_AWAY: _round_ties_away,
    RoundMode.TOWARD_ZERO: np.trunc,
    RoundMode.FLOOR: np.floor,
    RoundMode.CEIL: np.ceil,
}
