"""Slow twins of the number formats: one number at a time, in exact fractions, from the definition.

Nothing here knows bit patterns of floating-point hardware, quanta or blocks of arrays: a format is
the list of its nonnegative values, and rounding is a choice between two neighbors in that list.
"""

import bisect
import math
from fractions import Fraction
from functools import cache

from qtheory.quantizers.fixed_point import FixedPointFormat
from qtheory.quantizers.formats import Overflow, PowerOfTwoFormat, Specials
from qtheory.quantizers.rounding import RoundMode


def two_to(exponent):
    """Return a power of two as a fraction."""
    return Fraction(2) ** exponent


def magnitude_of_code(code, fmt):
    """Return the value of a code without its sign bit, as if no code were special."""
    field, mantissa = divmod(code, 2**fmt.mantissa_bits)
    fraction = Fraction(mantissa, 2**fmt.mantissa_bits)
    if field > 0:
        return (1 + fraction) * two_to(field - fmt.bias)
    return fraction * two_to(1 - fmt.bias) if fmt.has_subnormals else Fraction(0)


def top_code(fmt):
    """Return the largest code without sign that is a finite number."""
    codes = 2 ** (fmt.exponent_bits + fmt.mantissa_bits)
    special = {
        Specials.IEEE: 2**fmt.mantissa_bits,
        Specials.FN: 1,
        Specials.FNUZ: 0,
        Specials.NONE: 0,
    }
    return codes - special[fmt.specials] - 1


@cache
def magnitudes(fmt):
    """Return all nonnegative values and the one that would follow, in increasing order."""
    # The next code may be special or need one more exponent bit; the formula goes on regardless.
    return sorted({magnitude_of_code(code, fmt) for code in range(top_code(fmt) + 2)})


def decode_float(code, fmt):
    """Return the value of a code as a float."""
    sign, size = divmod(code, 2 ** (fmt.exponent_bits + fmt.mantissa_bits))
    top = top_code(fmt)
    if fmt.specials is Specials.FNUZ and sign and not size:
        return math.nan
    if size > top:
        is_infinity = fmt.specials is Specials.IEEE and size == top + 1
        value = math.inf if is_infinity else math.nan
    else:
        value = float(magnitude_of_code(size, fmt))
    return math.copysign(value, -1.0 if sign else 1.0)


def goes_outward(low, high, size, *, is_negative, mode):
    """Tell whether a magnitude between two neighbors goes to the larger one."""
    if mode is RoundMode.TOWARD_ZERO:
        return False
    if mode is RoundMode.FLOOR:
        return is_negative
    if mode is RoundMode.CEIL:
        return not is_negative
    if size - low != high - size:
        return size - low > high - size
    if mode is RoundMode.TIES_AWAY:
        return True
    # Even multiples of the distance between the two. Without mantissa bits the lower of two powers
    # of two is once the distance, hence odd.
    return (low / (high - low)) % 2 == 1


def overflow_value(fmt):
    """Return what too large a positive number becomes."""
    return {
        Overflow.INFINITY: math.inf,
        Overflow.SATURATE: float(magnitudes(fmt)[-2]),
        Overflow.NAN: math.nan,
    }[fmt.overflow]


def round_float(x, fmt, mode=RoundMode.TIES_TO_EVEN):
    """Round one float to a value of a format, as a float."""
    if math.isnan(x):
        return x
    sign = math.copysign(1.0, x)
    if math.isinf(x):
        return math.copysign(overflow_value(fmt), sign)
    size = round_magnitude(abs(Fraction(x)), fmt, is_negative=sign < 0, mode=mode)
    if size == 0 and fmt.specials is Specials.FNUZ:
        return 0.0
    return math.copysign(size, sign)


def round_magnitude(size, fmt, *, is_negative, mode):
    """Round a magnitude, as if exponents had no limit, then apply the overflow rule."""
    grid = magnitudes(fmt)
    largest, beyond = grid[-2], grid[-1]
    if size >= beyond:
        is_outward = goes_outward(beyond, beyond + 1, beyond, is_negative=is_negative, mode=mode)
        is_directed = mode in (RoundMode.TOWARD_ZERO, RoundMode.FLOOR, RoundMode.CEIL)
        return float(largest) if is_directed and not is_outward else overflow_value(fmt)
    index = bisect.bisect_right(grid, size) - 1
    low, high = grid[index], grid[index + 1]
    is_outward = low != size and goes_outward(low, high, size, is_negative=is_negative, mode=mode)
    result = high if is_outward else low
    return overflow_value(fmt) if result == beyond else float(result)


def probability_outward(x, fmt):
    """Return the probability that stochastic rounding takes the neighbor away from zero."""
    grid = magnitudes(fmt)
    size = abs(Fraction(x))
    index = bisect.bisect_right(grid, size) - 1
    return (size - grid[index]) / (grid[index + 1] - grid[index])


def round_fixed(x, fmt, mode=RoundMode.TIES_TO_EVEN, *, overflow="saturate"):
    """Round one float to a value of a fixed-point format, as a float."""
    scaled = Fraction(x) * two_to(fmt.fraction_bits)
    low = math.floor(abs(scaled))
    is_outward = abs(scaled) != low and goes_outward(
        Fraction(low), Fraction(low + 1), abs(scaled), is_negative=x < 0, mode=mode
    )
    code = (low + is_outward) * (-1 if x < 0 else 1)
    if overflow == "saturate":
        code = min(max(code, fmt.code_min), fmt.code_max)
    else:
        code = (code - fmt.code_min) % 2**fmt.bit_width + fmt.code_min
    return float(code / two_to(fmt.fraction_bits))


def floor_log2(x):
    """Return the exponent of a positive fraction."""
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return exponent if two_to(exponent) <= x else exponent - 1


def round_element(x, fmt):
    """Round a fraction to the nearest element, saturating, ties to even."""
    if isinstance(fmt, FixedPointFormat):
        return Fraction(round_fixed(x, fmt))
    fmt = fmt.saturating()
    size = round_magnitude(abs(x), fmt, is_negative=x < 0, mode=RoundMode.TIES_TO_EVEN)
    return Fraction(size) * (-1 if x < 0 else 1)


def quantize_block(block, fmt, tensor_scale=1.0):
    """Quantize the floats of one block; return its values as floats and its scale."""
    if not all(math.isfinite(x) for x in block):
        return [math.nan] * len(block), math.nan
    peak = max(abs(Fraction(x)) for x in block)
    scale = block_scale(peak, fmt, Fraction(tensor_scale))
    factor = scale * Fraction(tensor_scale)
    if factor == 0:
        return [0.0] * len(block), 0.0
    values = [round_element(Fraction(x) / factor, fmt.element_format) * factor for x in block]
    return [float(value) for value in values], float(scale)


def block_scale(peak, fmt, tensor_scale):
    """Return the scale of a block by the rule of its format."""
    largest = Fraction(fmt.element_format.max_value)
    if not isinstance(fmt.scale_format, PowerOfTwoFormat):
        return round_element(peak / (largest * tensor_scale), fmt.scale_format)
    lowest, highest = -fmt.scale_format.bias, 2**fmt.scale_format.bit_width - 2
    if peak == 0:
        return two_to(lowest)
    exponent = floor_log2(peak) - floor_log2(largest)
    return two_to(min(max(exponent, lowest), highest + lowest))
