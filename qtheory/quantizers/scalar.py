"""Scalar quantizers: a sorted list of levels and the thresholds between them."""

from dataclasses import KW_ONLY, dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_finite,
    check_integer,
    check_no_nan,
    check_positive,
    fail,
)
from qtheory.quantizers.rounding import RoundMode, round_to_integer

__all__ = [
    "MAX_CODE",
    "ScalarQuantizer",
    "UniformQuantizer",
    "infinite_grid",
    "sign",
    "ternary",
    "uniform_midrise",
    "uniform_midtread",
]

FloatArray = NDArray[np.float64]

MAX_CODE = 2**53
"""Largest magnitude of a code: beyond it float64 no longer holds every integer."""

MAX_LISTED_LEVELS = 2**24


@dataclass(frozen=True, eq=False)
class ScalarQuantizer:
    r"""A map from real numbers to finitely many levels, constant between thresholds.

    Parameters
    ----------
    levels : array_like
        Output values in increasing order, shape ``(num_levels,)``, finite, at least one.
    thresholds : array_like, optional
        Decision thresholds in increasing order, shape ``(num_levels - 1,)``, finite. By default the
        midpoints of neighboring levels, which makes the quantizer a nearest-level map.

    Raises
    ------
    ValueError
        If levels or thresholds are not finite, not increasing or not of matching lengths.

    Notes
    -----
    Book: ch01-quantizer-definition.

    .. math:: Q(x) = y_i \quad\text{for}\quad t_{i-1} \le x < t_i,
              \qquad t_0 = -\infty,\ t_K = \infty .

    A number on a threshold goes up. Infinities go to the outer levels, NaN stays NaN.

    Examples
    --------
    >>> from qtheory.quantizers import ScalarQuantizer
    >>> quantizer = ScalarQuantizer([-1.0, 0.0, 2.0])
    >>> quantizer([-0.6, 0.9, 1.0])
    array([-1.,  0.,  2.])
    >>> quantizer.thresholds
    array([-0.5,  1. ])
    """

    levels: FloatArray
    thresholds: FloatArray = None  # type: ignore[assignment]  # an array after the checks

    def __post_init__(self) -> None:
        """Check, copy and freeze the arrays."""
        levels = _increasing("levels", self.levels)
        if levels.size == 0:
            raise fail("levels", "an array with at least one element", self.levels)
        if self.thresholds is None:
            # Halves first: the sum of two large levels could overflow.
            thresholds = 0.5 * levels[:-1] + 0.5 * levels[1:]
            thresholds.flags.writeable = False
        else:
            thresholds = _increasing("thresholds", self.thresholds)
        if thresholds.size != levels.size - 1:
            raise fail("thresholds", f"of length {levels.size - 1}", thresholds.size)
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "thresholds", thresholds)

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return self.levels.size

    def encode(self, x: ArrayLike) -> NDArray[np.int64]:
        """Index of the level each number is mapped to.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape, without NaN.

        Returns
        -------
        numpy.ndarray
            Codes from 0 to ``num_levels - 1``, same shape.

        Raises
        ------
        ValueError
            If ``x`` contains NaN, which no code stands for.
        """
        array = as_float_array("x", x)
        check_no_nan("x", array)
        return np.asarray(np.searchsorted(self.thresholds, array, side="right"), dtype=np.int64)

    def decode(self, codes: ArrayLike) -> FloatArray:
        """Level of each code.

        Parameters
        ----------
        codes : array_like
            Integers from 0 to ``num_levels - 1``, any shape.

        Returns
        -------
        numpy.ndarray
            Levels, same shape.

        Raises
        ------
        ValueError
            If a code is not an integer in that range.
        """
        return self.levels[check_codes(codes, 0, self.num_levels - 1)]

    def __call__(self, x: ArrayLike) -> NDArray[np.floating]:
        """Quantize.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape.

        Returns
        -------
        numpy.ndarray
            Levels, same shape; float32 stays float32. NaN stays NaN.
        """
        array = as_float_array("x", x)
        index = np.searchsorted(self.thresholds, array, side="right")
        return np.where(np.isnan(array), array, self.levels[index].astype(array.dtype))


@dataclass(frozen=True, eq=False)
class UniformQuantizer:
    r"""Equally spaced levels, a finite number of them or the infinite grid.

    Parameters
    ----------
    step_size : float
        Distance :math:`\Delta` of neighboring levels, above zero, in the units of the data.
    offset : float
        Level of code zero.
    code_min, code_max : int or None
        Smallest and largest code, both given or both ``None`` for the infinite grid.
    round_mode : RoundMode
        How the code is rounded; ``STOCHASTIC`` needs ``rng`` at each call.

    Raises
    ------
    ValueError
        If the step is not above zero, a code is too large for exact integers in float64, or only
        one end of the code range is given.

    Notes
    -----
    Book: ch01-uniform-definition.

    .. math:: Q(x) = o + \Delta \operatorname{clip}\Bigl(
              \operatorname{round}\bigl((x - o)/\Delta\bigr), c_{\min}, c_{\max}\Bigr)

    Infinities go to the outer levels of a finite quantizer and stay infinite on the infinite grid;
    NaN stays NaN. On the infinite grid, numbers of 2**53 steps or more stay as they are.
    """

    step_size: float
    _: KW_ONLY
    offset: float = 0.0
    code_min: int | None = None
    code_max: int | None = None
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "step_size", check_positive("step_size", self.step_size))
        object.__setattr__(self, "offset", check_finite("offset", self.offset))
        check_choice("round_mode", self.round_mode, list(RoundMode))
        if (self.code_min is None) != (self.code_max is None):
            raise fail("code_min", "given together with `code_max` or not at all", self.code_min)
        if self.code_min is not None and self.code_max is not None:
            low = check_integer("code_min", self.code_min, minimum=-MAX_CODE, maximum=MAX_CODE)
            high = check_integer("code_max", self.code_max, minimum=low, maximum=MAX_CODE)
            self._check_levels(low, high)

    def _check_levels(self, low: int, high: int) -> None:
        """Outer levels must be finite, and a step must move the offset."""
        ends = [
            self.offset + self.step_size * (code + reach)
            for code in (low, high)
            for reach in (-1, 1)
        ]
        if not np.isfinite(ends).all():
            raise fail("step_size", "small enough for finite levels", self.step_size)
        if self.offset + self.step_size == self.offset:
            raise fail("offset", "small enough to be told from its neighbors", self.offset)

    @property
    def is_finite(self) -> bool:
        """Whether the number of levels is finite."""
        return self.code_min is not None

    @property
    def num_levels(self) -> int:
        """Number of levels of a finite quantizer."""
        low, high = self._code_range()
        return high - low + 1

    @property
    def levels(self) -> FloatArray:
        """Levels in increasing order, shape ``(num_levels,)``."""
        return self.offset + self.step_size * self._codes()

    @property
    def thresholds(self) -> FloatArray:
        """Decision thresholds in increasing order, shape ``(num_levels - 1,)``."""
        codes = self._codes()[:-1]
        if self.round_mode in (RoundMode.TIES_TO_EVEN, RoundMode.TIES_AWAY):
            shift = np.full(codes.shape, 0.5)
        elif self.round_mode is RoundMode.FLOOR:
            shift = np.ones(codes.shape)
        elif self.round_mode is RoundMode.CEIL:
            shift = np.zeros(codes.shape)
        elif self.round_mode is RoundMode.TOWARD_ZERO:
            shift = np.where(codes >= 0, 1.0, 0.0)
        else:
            raise fail("round_mode", "deterministic for thresholds to exist", self.round_mode)
        return np.asarray(self.offset + self.step_size * (codes + shift))

    def encode(self, x: ArrayLike, *, rng: np.random.Generator | None = None) -> NDArray[np.int64]:
        """Integer code of each number.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape, without NaN; on the infinite grid also without infinities.
        rng : numpy.random.Generator, optional
            Needed for stochastic rounding.

        Returns
        -------
        numpy.ndarray
            Codes from ``code_min`` to ``code_max``, same shape.

        Raises
        ------
        ValueError
            If a number has no code: NaN, or on the infinite grid a magnitude of more than
            2**53 steps.
        """
        codes = self._round(as_float_array("x", x), rng)
        check_no_nan("x", codes)
        if codes.size and np.abs(codes).max() > MAX_CODE:
            raise fail("x", "within 2**53 steps of `offset`", float(np.abs(codes).max()))
        return codes.astype(np.int64)

    def decode(self, codes: ArrayLike) -> FloatArray:
        """Level of each code.

        Parameters
        ----------
        codes : array_like
            Integers from ``code_min`` to ``code_max``, any shape.

        Returns
        -------
        numpy.ndarray
            Levels, same shape.

        Raises
        ------
        ValueError
            If a code is not an integer in that range.
        """
        low, high = self._code_range() if self.is_finite else (-MAX_CODE, MAX_CODE)
        return np.asarray(self.offset + self.step_size * check_codes(codes, low, high))

    def __call__(
        self, x: ArrayLike, *, rng: np.random.Generator | None = None
    ) -> NDArray[np.floating]:
        """Quantize.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape.
        rng : numpy.random.Generator, optional
            Needed for stochastic rounding.

        Returns
        -------
        numpy.ndarray
            Levels, same shape; float32 stays float32. NaN stays NaN.
        """
        array = as_float_array("x", x)
        codes = self._round(array, rng)
        with np.errstate(over="ignore"):
            output = self.offset + self.step_size * codes
        # Farther out than float64 resolves the grid, a number is its own neighbor.
        output = np.where(np.abs(codes) >= MAX_CODE, array, output)
        return np.asarray(output, dtype=array.dtype)

    def _round(self, x: NDArray[np.floating], rng: np.random.Generator | None) -> FloatArray:
        """Code of each number as a float; float32 data is divided in float64 to keep ties right."""
        with np.errstate(over="ignore"):  # an infinite code is clipped, or passed by __call__
            codes = (x.astype(np.float64) - self.offset) / self.step_size
        codes = np.asarray(round_to_integer(codes, self.round_mode, rng=rng), dtype=np.float64)
        return np.clip(codes, *self._code_range()) if self.is_finite else codes

    def _code_range(self) -> tuple[int, int]:
        """Both ends of the code range, refusing the infinite grid."""
        if self.code_min is None or self.code_max is None:
            raise fail("code_min", "finite for levels to be listed", self.code_min)
        return self.code_min, self.code_max

    def _codes(self) -> FloatArray:
        """All codes, if there are few enough to list."""
        if self.num_levels > MAX_LISTED_LEVELS:
            raise fail("num_levels", f"at most {MAX_LISTED_LEVELS} to be listed", self.num_levels)
        low, high = self._code_range()
        return np.arange(low, high + 1, dtype=np.float64)


def uniform_midtread(
    num_levels: int | None = None,
    *,
    bit_width: int | None = None,
    step_size: float | None = None,
    clip_max: float | None = None,
    narrow_range: bool = False,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
) -> UniformQuantizer:
    """Uniform quantizer with a level at zero.

    Parameters
    ----------
    num_levels : int, optional
        Number of levels, at least two. An even number leaves one more level below zero than above,
        as two's complement does.
    bit_width : int, optional
        Bits per code, from 1 to 53, instead of ``num_levels``: ``2**bit_width`` levels.
    step_size : float, optional
        Distance of the levels, above zero.
    clip_max : float, optional
        Largest level, above zero, instead of ``step_size``.
    narrow_range : bool
        Drop the lowest level of an even number, so that the levels are symmetric about zero.
    round_mode : RoundMode
        How codes are rounded.

    Returns
    -------
    UniformQuantizer
        Level zero has code zero.

    Raises
    ------
    ValueError
        If not exactly one of ``num_levels`` and ``bit_width``, or not exactly one of ``step_size``
        and ``clip_max`` is given, or if ``clip_max`` is asked for and no level is above zero.

    Notes
    -----
    Book: ch01-uniform-definition.

    Examples
    --------
    >>> from qtheory.quantizers import uniform_midtread
    >>> uniform_midtread(bit_width=2, step_size=1.0).levels
    array([-2., -1.,  0.,  1.])
    >>> uniform_midtread(bit_width=2, clip_max=1.0, narrow_range=True).levels
    array([-1.,  0.,  1.])
    """
    count = _num_levels(num_levels, bit_width)
    code_max = (count - 1) // 2
    code_min = -code_max if narrow_range else code_max - count + 1
    return UniformQuantizer(
        _step_size(step_size, clip_max, steps_to_clip=code_max),
        code_min=code_min,
        code_max=code_max,
        round_mode=round_mode,
    )


def uniform_midrise(
    num_levels: int | None = None,
    *,
    bit_width: int | None = None,
    step_size: float | None = None,
    clip_max: float | None = None,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
) -> UniformQuantizer:
    """Uniform quantizer with a threshold at zero and levels on both sides.

    Parameters
    ----------
    num_levels : int, optional
        Number of levels, even and at least two.
    bit_width : int, optional
        Bits per code, from 1 to 53, instead of ``num_levels``: ``2**bit_width`` levels.
    step_size : float, optional
        Distance of the levels, above zero.
    clip_max : float, optional
        Largest level, above zero, instead of ``step_size``.
    round_mode : RoundMode
        How codes are rounded.

    Returns
    -------
    UniformQuantizer
        Codes from ``-num_levels // 2`` to ``num_levels // 2 - 1``; code zero is half a step above
        zero.

    Raises
    ------
    ValueError
        If ``num_levels`` is odd, or not exactly one of ``num_levels`` and ``bit_width``, or not
        exactly one of ``step_size`` and ``clip_max`` is given.

    Notes
    -----
    Book: ch01-uniform-definition.

    Examples
    --------
    >>> from qtheory.quantizers import uniform_midrise
    >>> uniform_midrise(bit_width=2, step_size=1.0).levels
    array([-1.5, -0.5,  0.5,  1.5])
    """
    count = _num_levels(num_levels, bit_width)
    if count % 2:
        raise fail("num_levels", "even for a mid-rise quantizer", count)
    step = _step_size(step_size, clip_max, steps_to_clip=0.5 * (count - 1))
    return UniformQuantizer(
        step,
        offset=0.5 * step,
        code_min=-(count // 2),
        code_max=count // 2 - 1,
        round_mode=round_mode,
    )


def ternary(level: float = 1.0, *, threshold: float | None = None) -> ScalarQuantizer:
    """Three levels: minus ``level``, zero, ``level``.

    Parameters
    ----------
    level : float
        Outer level, above zero.
    threshold : float, optional
        Magnitude from which on the outer level is taken, above zero; half of ``level`` by default.

    Returns
    -------
    ScalarQuantizer
        Numbers in ``[-threshold, threshold)`` become zero.

    Raises
    ------
    ValueError
        If an argument is not above zero.

    Notes
    -----
    Book: ch01-quantizer-definition.
    """
    outer = check_positive("level", level)
    limit = 0.5 * outer if threshold is None else check_positive("threshold", threshold)
    return ScalarQuantizer(np.array([-outer, 0.0, outer]), np.array([-limit, limit]))


def sign(level: float = 1.0) -> ScalarQuantizer:
    """Two levels of opposite sign; zero becomes the positive one.

    Parameters
    ----------
    level : float
        Positive level, above zero.

    Returns
    -------
    ScalarQuantizer
        The one-bit quantizer.

    Raises
    ------
    ValueError
        If ``level`` is not above zero.

    Notes
    -----
    Book: ch01-quantizer-definition.
    """
    outer = check_positive("level", level)
    return ScalarQuantizer(np.array([-outer, outer]), np.array([0.0]))


def infinite_grid(
    step_size: float, *, offset: float = 0.0, round_mode: RoundMode = RoundMode.TIES_TO_EVEN
) -> UniformQuantizer:
    """Uniform quantizer without limits: every multiple of the step is a level.

    Parameters
    ----------
    step_size : float
        Distance of the levels, above zero.
    offset : float
        One of the levels.
    round_mode : RoundMode
        How codes are rounded.

    Returns
    -------
    UniformQuantizer
        Quantizer that never overloads.

    Raises
    ------
    ValueError
        If ``step_size`` is not above zero or ``offset`` is not finite.

    Notes
    -----
    Book: ch01-uniform-definition.
    """
    return UniformQuantizer(step_size, offset=offset, round_mode=round_mode)


def check_codes(codes: ArrayLike, low: int, high: int) -> NDArray[np.int64]:
    """Return codes as int64 after a check of type and range.

    Parameters
    ----------
    codes : array_like
        Integers, any shape.
    low, high : int
        Smallest and largest code allowed.

    Returns
    -------
    numpy.ndarray
        The same integers as int64.

    Raises
    ------
    ValueError
        If a code is not an integer or out of range.
    """
    array = np.asarray(codes)
    if array.size == 0:
        return np.zeros(array.shape, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise fail("codes", "integers", array.dtype)
    if array.min() < low or array.max() > high:
        found = f"values from {array.min()} to {array.max()}"
        raise fail("codes", f"between {low} and {high}", found)
    return array.astype(np.int64)


def _increasing(name: str, values: ArrayLike) -> FloatArray:
    """Read-only copy of a finite, strictly increasing sequence."""
    array = np.array(as_float_array(name, values), dtype=np.float64)
    if array.ndim != 1:
        raise fail(name, "one-dimensional", f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise fail(name, "finite", values)
    if (array[1:] <= array[:-1]).any():
        raise fail(name, "strictly increasing", values)
    array.flags.writeable = False
    return array


def _num_levels(num_levels: int | None, bit_width: int | None) -> int:
    """Exactly one of the two ways to say how many levels there are."""
    if (num_levels is None) == (bit_width is None):
        raise fail("num_levels", "given, or else `bit_width`, not both", (num_levels, bit_width))
    if bit_width is not None:
        return 1 << check_integer("bit_width", bit_width, minimum=1, maximum=53)
    return check_integer("num_levels", cast(int, num_levels), minimum=2, maximum=MAX_CODE)


def _step_size(step_size: float | None, clip_max: float | None, *, steps_to_clip: float) -> float:
    """Exactly one of the two ways to say how far the levels are apart."""
    if (step_size is None) == (clip_max is None):
        raise fail("step_size", "given, or else `clip_max`, not both", (step_size, clip_max))
    if step_size is not None:
        return check_positive("step_size", step_size)
    if steps_to_clip == 0:
        raise fail("clip_max", "left out when no level is above zero", clip_max)
    return check_positive("clip_max", cast(float, clip_max)) / steps_to_clip
