"""Number formats as data: floating point ExMy in any variant, and powers of two for scales."""

import dataclasses
import math
import re
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_choice, check_integer, fail

__all__ = [
    "BFLOAT16",
    "E8M0",
    "FLOAT16",
    "FP4_E2M1",
    "FP6_E2M3",
    "FP6_E3M2",
    "FP8_E4M3",
    "FP8_E4M3FNUZ",
    "FP8_E5M2",
    "FP8_E5M2FNUZ",
    "TF32",
    "FloatFormat",
    "Overflow",
    "PowerOfTwoFormat",
    "Specials",
    "float_format",
    "parse_float_format",
]

MAX_EXPONENT_BITS = 8
MAX_MANTISSA_BITS = 23
CARRIER_MIN_EXPONENT = -149
"""Exponent of the smallest positive float32; every value of a format is exact in float32."""
CARRIER_MAX_VALUE = math.ldexp(2**24 - 1, 104)
MAX_LISTED_BITS = 24


class Specials(Enum):
    """Which codes of a floating-point format stand for no number.

    ``IEEE``: infinities and NaN fill the top exponent, as in IEEE 754.
    ``FN``: finite; only the code with all exponent and mantissa bits set is NaN, once per sign.
    ``FNUZ``: finite, unsigned zero; the code of negative zero is the only NaN.
    ``NONE``: every code is a number.
    """

    IEEE = "ieee"
    FN = "fn"
    FNUZ = "fnuz"
    NONE = "none"


class Overflow(Enum):
    """What a number too large for a format becomes: an infinity, the largest value, or NaN."""

    INFINITY = "infinity"
    SATURATE = "saturate"
    NAN = "nan"


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    r"""A binary floating-point format: one sign bit, exponent bits, mantissa bits.

    Formats compare equal field by field and can be dictionary keys.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    exponent_bits : int
        Width of the exponent field, from 1 to 8.
    mantissa_bits : int
        Width of the mantissa field, from 0 to 23, without the implicit bit.
    bias : int
        Exponent bias: field :math:`E > 0` stands for :math:`2^{E - \mathrm{bias}}`.
    has_subnormals : bool
        Whether exponent field zero counts up from zero in steps. Without subnormals all codes with
        that field are zeros.
    specials : Specials
        Which codes are infinities or NaN.
    overflow : Overflow
        What too large a number becomes.

    Raises
    ------
    ValueError
        If a field is out of range, if ``specials`` or ``overflow`` ask for codes that the format
        does not have, or if some value of the format would not be exact in float32.

    Notes
    -----
    Book: ch02-float-value.

    With exponent field :math:`E`, mantissa field :math:`M` and :math:`m` mantissa bits,

    .. math:: v = (-1)^s \, 2^{\max(E, 1) - \mathrm{bias} - m} \, ([E > 0] \, 2^m + M) .

    Limits: every value must be exact in float32, so mantissas have at most 23 bits, the smallest
    spacing is at least :math:`2^{-149}` and the largest value at most
    :math:`(2 - 2^{-23}) \, 2^{127}`.

    References
    ----------
    [OCP-FP8]_, [OCP-MX]_, [IEEE754]_.

    Examples
    --------
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> FP4_E2M1.max_value, FP4_E2M1.bit_width
    (6.0, 4)
    >>> FP4_E2M1.values()[7:]
    array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ])
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    bias: int
    has_subnormals: bool = True
    specials: Specials = Specials.NONE
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        """Check every field and that every value is exact in float32."""
        check_integer("exponent_bits", self.exponent_bits, minimum=1, maximum=MAX_EXPONENT_BITS)
        check_integer("mantissa_bits", self.mantissa_bits, minimum=0, maximum=MAX_MANTISSA_BITS)
        check_integer("bias", self.bias)
        check_choice("has_subnormals", self.has_subnormals, (False, True))
        check_choice("specials", self.specials, list(Specials))
        check_choice("overflow", self.overflow, list(Overflow))
        self._check_specials()
        # Exponents first: `max_value` as a float could overflow before it is compared.
        if self.max_exponent > 127 or self.max_value > CARRIER_MAX_VALUE:
            raise fail("bias", "large enough for every value to be exact in float32", self.bias)
        if self._min_positive_exponent < CARRIER_MIN_EXPONENT:
            raise fail("bias", "small enough for every value to be exact in float32", self.bias)

    def _check_specials(self) -> None:
        """Refuse infinities and NaN in formats that have no codes for them."""
        fields = f"E{self.exponent_bits}M{self.mantissa_bits}"
        if self.specials is Specials.IEEE and (self.exponent_bits < 2 or self.mantissa_bits < 1):
            raise fail("specials", f"FN, FNUZ or NONE for {fields}", self.specials)
        if self.max_finite_code < self._first_value_code:
            raise fail("specials", f"FNUZ or NONE for {fields}, which has one value", self.specials)
        if self.overflow is Overflow.INFINITY and not self.has_infinity:
            raise fail("overflow", "SATURATE or NAN for a format without infinities", self.overflow)
        if self.overflow is Overflow.NAN and not self.has_nan:
            raise fail("overflow", "SATURATE for a format without NaN", self.overflow)

    @property
    def has_infinity(self) -> bool:
        """Whether some codes are infinities."""
        return self.specials is Specials.IEEE

    @property
    def has_nan(self) -> bool:
        """Whether some code is NaN."""
        return self.specials is not Specials.NONE

    @property
    def has_negative_zero(self) -> bool:
        """Whether zero has two codes."""
        return self.specials is not Specials.FNUZ

    @property
    def bit_width(self) -> int:
        """Bits of a code, the sign included."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def precision(self) -> int:
        """Significand bits, the implicit one included."""
        return self.mantissa_bits + 1

    @property
    def unit_roundoff(self) -> float:
        r"""Bound of the relative error of nearest rounding among normal numbers, :math:`2^{-p}`."""
        return 2.0**-self.precision

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal number."""
        return 1 - self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest value."""
        return max(self.max_finite_code >> self.mantissa_bits, 1) - self.bias

    @property
    def max_finite_code(self) -> int:
        """Code of the largest value, as an integer without sign."""
        all_ones = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        if self.specials is Specials.IEEE:
            return all_ones - (1 << self.mantissa_bits)
        return all_ones - 1 if self.specials is Specials.FN else all_ones

    @property
    def max_value(self) -> float:
        """Largest value."""
        code, scale = self.max_finite_code, 2**self.mantissa_bits
        significand = code if code < scale else scale + code % scale
        return math.ldexp(significand, self.max_exponent - self.mantissa_bits)

    @property
    def min_normal(self) -> float:
        """Smallest positive normal number."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def min_subnormal(self) -> float:
        """Smallest positive value; the smallest normal number where there are no subnormals."""
        return math.ldexp(1.0, self._min_positive_exponent)

    @property
    def num_values(self) -> int:
        """Number of distinct finite values, zero counted once."""
        return 2 * (self.max_finite_code - self._first_value_code + 1) + 1

    @property
    def dynamic_range_binades(self) -> float:
        """Binary logarithm of the largest over the smallest positive value."""
        return math.log2(self.max_value) - self._min_positive_exponent

    @property
    def dynamic_range_db(self) -> float:
        """Dynamic range in decibels of amplitude, 6.02 per binade."""
        return 20.0 * math.log10(2.0) * self.dynamic_range_binades

    def values(self) -> NDArray[np.float64]:
        """All finite values in increasing order, zero once.

        Returns
        -------
        numpy.ndarray
            Values, shape ``(num_values,)``.

        Raises
        ------
        ValueError
            If the format is wider than 24 bits, which would list too many.

        Examples
        --------
        >>> from qtheory.quantizers.formats import float_format
        >>> float_format(2, 0).values()
        array([-4., -2., -1.,  0.,  1.,  2.,  4.])
        """
        if self.bit_width > MAX_LISTED_BITS:
            raise fail("bit_width", f"at most {MAX_LISTED_BITS} to list values", self.bit_width)
        codes = np.arange(self._first_value_code, self.max_finite_code + 1)
        field = codes >> self.mantissa_bits
        significand = codes % 2**self.mantissa_bits + np.where(field > 0, 2**self.mantissa_bits, 0)
        exponent = np.maximum(field, 1) - self.bias - self.mantissa_bits
        positive = np.ldexp(significand.astype(np.float64), exponent)
        return np.concatenate([-positive[::-1], [0.0], positive])

    def replace(self, **changes: object) -> "FloatFormat":
        """Return a copy with some fields changed.

        Parameters
        ----------
        **changes
            Fields and their new values.

        Returns
        -------
        FloatFormat
            The changed format, checked again.

        Raises
        ------
        ValueError
            If the fields no longer fit together.
        """
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def saturating(self) -> "FloatFormat":
        """Return a copy in which too large a number becomes the largest value."""
        return self.replace(overflow=Overflow.SATURATE)

    @property
    def _first_value_code(self) -> int:
        """Code of the smallest positive value."""
        return 1 if self.has_subnormals else 1 << self.mantissa_bits

    @property
    def _min_positive_exponent(self) -> int:
        """Exponent of the smallest positive value."""
        # Without mantissa bits the first code is already the smallest normal number.
        return self.min_exponent - (self.mantissa_bits if self.has_subnormals else 0)


@dataclass(frozen=True, kw_only=True)
class PowerOfTwoFormat:
    r"""Unsigned powers of two, the format of shared scales: no sign, no zero, one NaN.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    exponent_bits : int
        Bits of a code, from 1 to 8. The largest code is NaN.
    bias : int
        Code :math:`c` stands for :math:`2^{c - \mathrm{bias}}`.

    Raises
    ------
    ValueError
        If a field is out of range or some value would not be exact in float32.

    References
    ----------
    [OCP-MX]_, section 5.4.1.

    Examples
    --------
    >>> from qtheory.quantizers.formats import E8M0
    >>> E8M0.min_exponent, E8M0.max_exponent
    (-127, 127)
    """

    name: str
    exponent_bits: int
    bias: int

    def __post_init__(self) -> None:
        """Check the fields and that every value is exact in float32."""
        check_integer("exponent_bits", self.exponent_bits, minimum=1, maximum=MAX_EXPONENT_BITS)
        check_integer("bias", self.bias)
        if self.max_exponent > 127:
            raise fail("bias", "large enough for every value to be exact in float32", self.bias)
        if self.min_exponent < CARRIER_MIN_EXPONENT:
            raise fail("bias", "small enough for every value to be exact in float32", self.bias)

    @property
    def bit_width(self) -> int:
        """Bits of a code."""
        return self.exponent_bits

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest value."""
        return -self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest value."""
        return (1 << self.exponent_bits) - 2 - self.bias

    @property
    def min_value(self) -> float:
        """Smallest value."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def max_value(self) -> float:
        """Largest value."""
        return math.ldexp(1.0, self.max_exponent)

    def values(self) -> NDArray[np.float64]:
        """All values in increasing order."""
        exponents = np.arange(self.min_exponent, self.max_exponent + 1)
        return np.ldexp(np.ones(exponents.size), exponents)


def float_format(
    exponent_bits: int,
    mantissa_bits: int,
    *,
    bias: int | None = None,
    specials: Specials = Specials.NONE,
    overflow: Overflow | None = None,
    has_subnormals: bool = True,
    name: str | None = None,
) -> FloatFormat:
    r"""Floating-point format ExMy from its two widths.

    Parameters
    ----------
    exponent_bits : int
        Width of the exponent field, from 1 to 8.
    mantissa_bits : int
        Width of the mantissa field, from 0 to 23.
    bias : int, optional
        Exponent bias; by default :math:`2^{e-1} - 1` for :math:`e` exponent bits, one more for
        ``Specials.FNUZ``.
    specials : Specials
        Which codes are infinities or NaN; by default none.
    overflow : Overflow, optional
        What too large a number becomes; by default an infinity if there is one, else NaN if there
        is one, else the largest value.
    has_subnormals : bool
        Whether exponent field zero counts up from zero in steps.
    name : str, optional
        By default "ExMy" followed by the name of ``specials`` unless that is ``NONE``.

    Returns
    -------
    FloatFormat
        The format.

    Raises
    ------
    ValueError
        As :class:`FloatFormat`.

    Examples
    --------
    >>> from qtheory.quantizers.formats import Specials, float_format
    >>> float_format(3, 4, specials=Specials.IEEE).max_value
    15.5
    """
    exponent_bits = check_integer(
        "exponent_bits", exponent_bits, minimum=1, maximum=MAX_EXPONENT_BITS
    )
    check_choice("specials", specials, list(Specials))
    if bias is None:
        bias = 2 ** (exponent_bits - 1) - (0 if specials is Specials.FNUZ else 1)
    suffix = "" if specials is Specials.NONE else specials.name
    return FloatFormat(
        name=f"E{exponent_bits}M{mantissa_bits}{suffix}" if name is None else name,
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        bias=bias,
        has_subnormals=has_subnormals,
        specials=specials,
        overflow=_DEFAULT_OVERFLOW[specials] if overflow is None else overflow,
    )


_DEFAULT_OVERFLOW = {
    Specials.IEEE: Overflow.INFINITY,
    Specials.FN: Overflow.NAN,
    Specials.FNUZ: Overflow.NAN,
    Specials.NONE: Overflow.SATURATE,
}

FP4_E2M1 = float_format(2, 1, name="FP4_E2M1")
FP6_E2M3 = float_format(2, 3, name="FP6_E2M3")
FP6_E3M2 = float_format(3, 2, name="FP6_E3M2")
FP8_E4M3 = float_format(4, 3, specials=Specials.FN, name="FP8_E4M3")
FP8_E5M2 = float_format(5, 2, specials=Specials.IEEE, name="FP8_E5M2")
FP8_E4M3FNUZ = float_format(4, 3, specials=Specials.FNUZ, name="FP8_E4M3FNUZ")
FP8_E5M2FNUZ = float_format(5, 2, specials=Specials.FNUZ, name="FP8_E5M2FNUZ")
BFLOAT16 = float_format(8, 7, specials=Specials.IEEE, name="BFLOAT16")
FLOAT16 = float_format(5, 10, specials=Specials.IEEE, name="FLOAT16")
TF32 = float_format(8, 10, specials=Specials.IEEE, name="TF32")
E8M0 = PowerOfTwoFormat(name="E8M0", exponent_bits=8, bias=127)

_STANDARD = (
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    FP8_E4M3FNUZ,
    FP8_E5M2FNUZ,
    BFLOAT16,
    FLOAT16,
    TF32,
)
_BY_NAME = {fmt.name: fmt for fmt in _STANDARD} | {
    f"E{fmt.exponent_bits}M{fmt.mantissa_bits}": fmt
    for fmt in _STANDARD
    if fmt.specials is not Specials.FNUZ
}
_NAME_PATTERN = re.compile(r"E(\d+)M(\d+)(IEEE|FNUZ|FN|NONE)?")


def parse_float_format(name: str) -> FloatFormat:
    """Floating-point format of a name such as "E4M3", "FP8_E4M3", "E3M4IEEE" or "bfloat16".

    Parameters
    ----------
    name : str
        The name of a standard format, or "ExMy" with an optional suffix IEEE, FN, FNUZ or NONE that
        says which codes are special. Upper and lower case are the same. Without a suffix "ExMy" is
        the standard format with these widths if there is one, else has no special codes.

    Returns
    -------
    FloatFormat
        The format.

    Raises
    ------
    ValueError
        If the name has another form, or as :class:`FloatFormat`.

    Examples
    --------
    >>> from qtheory.quantizers.formats import parse_float_format
    >>> parse_float_format("E4M3").max_value
    448.0
    >>> parse_float_format("e4m3ieee").max_value
    240.0
    """
    key = str(name).upper()
    if key in _BY_NAME:
        return _BY_NAME[key]
    match = _NAME_PATTERN.fullmatch(key)
    if match is None:
        raise fail("name", 'a standard format or of the form "E4M3"', name)
    exponent_bits, mantissa_bits, suffix = match.groups()
    return float_format(int(exponent_bits), int(mantissa_bits), specials=Specials[suffix or "NONE"])
