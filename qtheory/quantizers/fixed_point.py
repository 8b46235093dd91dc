"""Fixed-point formats: integers that count fractions of a power of two."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_instance, check_integer, fail
from qtheory.quantizers.rounding import RoundMode, round_to_integer

__all__ = ["FixedPointFormat", "decode_fixed", "encode_fixed", "round_to_fixed"]

MAX_BIT_WIDTH = 53
"""Widest format whose values are all exact in float64."""
MAX_LISTED_BITS = 24


@dataclass(frozen=True, kw_only=True)
class FixedPointFormat:
    r"""A fixed-point format: codes are integers in two's complement, values are steps of them.

    The number of integer bits does not include the sign, so a signed format with :math:`i` integer
    and :math:`f` fraction bits has :math:`1 + i + f` bits. Either count may be negative, as long as
    some bit besides the sign remains. Formats compare equal field by field.

    Parameters
    ----------
    integer_bits : int
        Bits left of the binary point, without the sign.
    fraction_bits : int
        Bits right of the binary point, from -100 to 100.
    signed : bool
        Whether negative numbers have codes.
    narrow_range : bool
        Whether the most negative code is left out, which makes the range symmetric.
    name : str
        Name in tables and figures; by default "Qi.f", or "UQi.f" without sign.

    Raises
    ------
    ValueError
        If the format has no bit besides the sign or more than 53 bits, or a narrow range is asked
        for without a sign.

    Notes
    -----
    Book: ch02-fixed-point-value.

    .. math:: v = 2^{-f} c, \qquad c \in \{-2^{i+f}, \dots, 2^{i+f} - 1\} .

    Examples
    --------
    >>> from qtheory.quantizers.fixed_point import FixedPointFormat
    >>> fmt = FixedPointFormat(integer_bits=1, fraction_bits=2)
    >>> fmt.bit_width, fmt.step_size, fmt.min_value, fmt.max_value
    (4, 0.25, -2.0, 1.75)
    """

    integer_bits: int
    fraction_bits: int
    signed: bool = True
    narrow_range: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Check the fields and fill in the name."""
        integer_bits = check_integer("integer_bits", self.integer_bits)
        fraction_bits = check_integer(
            "fraction_bits", self.fraction_bits, minimum=-100, maximum=100
        )
        check_choice("signed", self.signed, (False, True))
        check_choice("narrow_range", self.narrow_range, (False, True))
        if not 1 <= integer_bits + fraction_bits <= MAX_BIT_WIDTH - int(self.signed):
            found = f"{integer_bits} + {fraction_bits}"
            raise fail("integer_bits", "such that 1 to 53 bits make the format", found)
        if self.narrow_range and not self.signed:
            raise fail("narrow_range", "false for an unsigned format", self.narrow_range)
        prefix = "Q" if self.signed else "UQ"
        object.__setattr__(self, "name", self.name or f"{prefix}{integer_bits}.{fraction_bits}")

    @property
    def bit_width(self) -> int:
        """Bits of a code, the sign included."""
        return int(self.signed) + self.integer_bits + self.fraction_bits

    @property
    def step_size(self) -> float:
        """Distance between neighboring values."""
        return 2.0**-self.fraction_bits

    @property
    def code_min(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(1 << (self.integer_bits + self.fraction_bits)) + int(self.narrow_range)

    @property
    def code_max(self) -> int:
        """Largest code."""
        return (1 << (self.integer_bits + self.fraction_bits)) - 1

    @property
    def min_value(self) -> float:
        """Smallest value."""
        return self.code_min * self.step_size

    @property
    def max_value(self) -> float:
        """Largest value."""
        return self.code_max * self.step_size

    @property
    def num_values(self) -> int:
        """Number of values."""
        return self.code_max - self.code_min + 1

    def values(self) -> NDArray[np.float64]:
        """All values in increasing order.

        Returns
        -------
        numpy.ndarray
            Values, shape ``(num_values,)``.

        Raises
        ------
        ValueError
            If the format is wider than 24 bits, which would list too many.
        """
        if self.bit_width > MAX_LISTED_BITS:
            raise fail("bit_width", f"at most {MAX_LISTED_BITS} to list values", self.bit_width)
        return np.asarray(np.arange(self.code_min, self.code_max + 1) * self.step_size)


def round_to_fixed(
    x: ArrayLike,
    fmt: FixedPointFormat,
    *,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    overflow: Literal["saturate", "wrap"] = "saturate",
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> NDArray[np.floating]:
    r"""Round each number to a value of a fixed-point format.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape. float32 and float64 keep their type, all else becomes float64.
    fmt : FixedPointFormat
        The format.
    round_mode : RoundMode
        Where a number between two values goes.
    overflow : {"saturate", "wrap"}
        Whether numbers out of range become the nearest end of it or keep their lowest bits, as
        integer hardware does.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode, as in :func:`round_to_integer`.

    Returns
    -------
    numpy.ndarray
        Values, shape and type of ``x``. NaN stays NaN. Infinities saturate; wrapped they are NaN.
        Zero has no sign.

    Raises
    ------
    ValueError
        If ``overflow`` is another word, a format wider than 24 bits meets float32 data, wrapping
        meets a narrow range, or as :func:`round_to_integer`.

    Notes
    -----
    Book: ch02-fixed-point-value.

    Accuracy: exact, one rounding. In float32 only values of at most 24 bits are sure to be exact,
    hence the limit.

    Examples
    --------
    >>> from qtheory.quantizers.fixed_point import FixedPointFormat, round_to_fixed
    >>> fmt = FixedPointFormat(integer_bits=1, fraction_bits=2)
    >>> round_to_fixed([0.3, 1.9, -5.0], fmt)
    array([ 0.25,  1.75, -2.  ])
    >>> round_to_fixed([0.3, 2.0, -2.25], fmt, overflow="wrap")
    array([ 0.25, -2.  ,  1.75])
    """
    check_instance("fmt", fmt, FixedPointFormat)
    array = as_float_array("x", x)
    check_choice("overflow", overflow, ("saturate", "wrap"))
    if array.dtype == np.float32 and fmt.bit_width > 24:
        raise fail("x", f"float64 for {fmt.bit_width} bits", array.dtype)
    if overflow == "wrap" and fmt.narrow_range:
        raise fail("overflow", "'saturate' for a narrow range", overflow)
    value = array.astype(np.float64)
    if overflow == "wrap":  # first, exactly, so that dividing by the step cannot overflow
        with np.errstate(invalid="ignore"):  # an infinity has no lowest bits: NaN
            value = np.fmod(value, (1 << fmt.bit_width) * fmt.step_size)
    scaled = _to_steps(value, fmt)
    code = round_to_integer(scaled, round_mode, rng=rng, num_random_bits=num_random_bits)
    is_wrapped = overflow == "wrap"
    code = _wrap(code, fmt) if is_wrapped else np.clip(code, fmt.code_min, fmt.code_max)
    return np.asarray(code * fmt.step_size + 0.0, dtype=array.dtype)


def encode_fixed(
    x: ArrayLike,
    fmt: FixedPointFormat,
    *,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    overflow: Literal["saturate", "wrap"] = "saturate",
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> NDArray[np.int64]:
    """Codes of numbers, rounded to a fixed-point format first.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape, without NaN.
    fmt : FixedPointFormat
        The format.
    round_mode : RoundMode
        Where a number between two values goes.
    overflow : {"saturate", "wrap"}
        What becomes of numbers out of range.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode.

    Returns
    -------
    numpy.ndarray
        Integers from ``fmt.code_min`` to ``fmt.code_max``, same shape.

    Raises
    ------
    ValueError
        If ``x`` contains NaN, or an infinity that is to be wrapped, or as :func:`round_to_fixed`.

    Notes
    -----
    Book: ch02-fixed-point-value.

    Examples
    --------
    >>> from qtheory.quantizers.fixed_point import FixedPointFormat, encode_fixed
    >>> encode_fixed([0.3, 1.9, -5.0], FixedPointFormat(integer_bits=1, fraction_bits=2))
    array([ 1,  7, -8])
    """
    check_instance("fmt", fmt, FixedPointFormat)
    array = as_float_array("x", x).astype(np.float64)
    rounded = round_to_fixed(
        array,
        fmt,
        round_mode=round_mode,
        overflow=overflow,
        rng=rng,
        num_random_bits=num_random_bits,
    )
    num_nan = int(np.isnan(rounded).sum())
    if num_nan:
        raise fail("x", "free of NaN and of infinities to wrap", f"{num_nan} of them")
    return np.asarray(rounded / fmt.step_size, dtype=np.int64)


def decode_fixed(codes: ArrayLike, fmt: FixedPointFormat) -> NDArray[np.float64]:
    """Values of codes.

    Parameters
    ----------
    codes : array_like
        Integers from ``fmt.code_min`` to ``fmt.code_max``, any shape.
    fmt : FixedPointFormat
        The format.

    Returns
    -------
    numpy.ndarray
        Values, same shape.

    Raises
    ------
    ValueError
        If a code is not an integer in that range.

    Notes
    -----
    Book: ch02-fixed-point-value.

    Examples
    --------
    >>> from qtheory.quantizers.fixed_point import FixedPointFormat, decode_fixed
    >>> decode_fixed([1, -8], FixedPointFormat(integer_bits=1, fraction_bits=2))
    array([ 0.25, -2.  ])
    """
    check_instance("fmt", fmt, FixedPointFormat)
    array = np.asarray(codes)
    if array.dtype.kind not in "iu" and array.size:
        raise fail("codes", "integers", array.dtype)
    if array.size and not (array.min() >= fmt.code_min and array.max() <= fmt.code_max):
        found = f"codes from {array.min()} to {array.max()}"
        raise fail("codes", f"from {fmt.code_min} to {fmt.code_max}", found)
    return np.asarray(array * fmt.step_size, dtype=np.float64)


def _to_steps(x: NDArray[np.float64], fmt: FixedPointFormat) -> NDArray[np.float64]:
    """Divide by the step; huge numbers may become infinite and tiny ones must not become zero."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = x / fmt.step_size
    is_lost = (scaled == 0.0) & (x != 0.0)
    return np.where(is_lost, np.copysign(np.finfo(np.float64).tiny, x), scaled)


def _wrap(code: NDArray[np.floating], fmt: FixedPointFormat) -> NDArray[np.floating]:
    """Bring integers below the modulus, a power of two, into the range: exact."""
    modulus = float(1 << fmt.bit_width)
    remainder = np.mod(code, modulus)
    return np.asarray(np.where(remainder > fmt.code_max, remainder - modulus, remainder))
