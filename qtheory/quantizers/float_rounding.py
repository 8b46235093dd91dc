"""Rounding to a floating-point format, and its codes."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_generator, check_instance, fail
from qtheory.quantizers._kernels import (
    MODE_NUMBERS,
    RoundingLoop,
    RoundingPlan,
    compile_rounding_loop,
)
from qtheory.quantizers.formats import FloatFormat, Overflow, PowerOfTwoFormat, Specials
from qtheory.quantizers.rounding import RoundMode, round_to_integer

__all__ = ["decode", "encode", "round_to_format"]

Backend = Literal["auto", "numpy", "numba"]
FloatArray = NDArray[np.floating]
BlockRounder = Callable[[FloatArray, FloatArray], None]

BLOCK_SIZE = 16384
"""Elements rounded at a time, so that all temporaries stay in the first two levels of cache."""
NUMBA_MIN_SIZE = 2**20
"""Smallest array for which ``backend="auto"`` takes numba: loading it costs up to two seconds."""
SMALLEST_LIFTED = 2.0**-890
"""Divided by the largest possible quantum, still a normal float64."""


def round_to_format(
    x: ArrayLike,
    fmt: FloatFormat | PowerOfTwoFormat,
    *,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
    backend: Backend = "auto",
    out: FloatArray | None = None,
) -> FloatArray:
    r"""Round each number to a value of a floating-point format.

    The value is rounded once, from the type it comes in. Every backend gives the same bits.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape. float32 and float64 keep their type, all else becomes float64.
    fmt : FloatFormat or PowerOfTwoFormat
        The format.
    round_mode : RoundMode
        Where a number between two values goes.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode, as in :func:`round_to_integer`.
    backend : {"auto", "numpy", "numba"}
        What computes the deterministic modes. "auto" takes numba if it is installed and ``x`` has
        at least :math:`2^{20}` elements, since loading numba costs up to two seconds once. The
        stochastic mode always runs in NumPy.
    out : numpy.ndarray, optional
        Where to write the result: same shape and type as ``x``. ``out=x`` rounds in place.

    Returns
    -------
    numpy.ndarray
        Values of the format (or infinities and NaN, see Notes), shape and type of ``x``.

    Raises
    ------
    ValueError
        If ``rng``, ``num_random_bits`` or ``out`` do not fit, see above.
    ModuleNotFoundError
        If ``backend="numba"`` and numba is not installed.

    See Also
    --------
    encode : The codes of the rounded values.

    Notes
    -----
    Book: ch02-round-to-format.

    With :math:`m` mantissa bits and smallest exponent :math:`e_{\min}`,

    .. math:: q(x) = 2^{\max(\lfloor \log_2 |x| \rfloor,\ e_{\min}) - m}, \qquad
              x \mapsto q(x) \, R(x / q(x))

    where :math:`R` rounds to an integer by ``round_mode``. A format without subnormals has
    :math:`q = 2^{e_{\min}}` below :math:`2^{e_{\min}}`. "Even" is thus an even multiple of
    :math:`q(x)`: without mantissa bits a tie between two powers of two goes away from zero.

    Overflow: rounding is done as if exponents had no upper limit. If the result exceeds the largest
    value, it becomes what ``fmt.overflow`` says. The directed modes never move a finite number past
    the largest value in a direction they do not take: ``TOWARD_ZERO`` gives the largest value,
    ``FLOOR`` does so for positive and ``CEIL`` for negative numbers. An infinity is an overflow in
    each mode, so it stays, saturates, or becomes NaN.

    NaN stays NaN, also where the format has no code for it. The sign of zero is kept, except that
    ``Specials.FNUZ`` has one zero.

    A :class:`PowerOfTwoFormat` has neither zero nor sign: positive numbers below the smallest value
    go to it; zero, negative numbers and overflow become NaN.

    Accuracy: exact. Libraries that convert float64 to such a format by way of float32 round twice
    and differ next to ties.

    Examples
    --------
    >>> from qtheory.quantizers.float_rounding import round_to_format
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> round_to_format([0.24, 0.25, 2.5, 2.6, 5.1, 100.0], FP4_E2M1)
    array([0., 0., 2., 3., 6., 6.])
    """
    check_instance("fmt", fmt, FloatFormat, PowerOfTwoFormat)
    array = as_float_array("x", x)
    check_choice("round_mode", round_mode, list(RoundMode))
    check_choice("backend", backend, ("auto", "numpy", "numba"))
    _check_randomness(round_mode, rng, num_random_bits)
    result = _check_out(out, array)
    if isinstance(fmt, PowerOfTwoFormat):
        result[...] = _round_to_power_of_two(array, fmt, round_mode, rng, num_random_bits)
        return result
    source = np.ascontiguousarray(array).reshape(-1)
    is_direct = result.flags.c_contiguous
    target = result.reshape(-1) if is_direct else np.empty(source.shape, dtype=source.dtype)
    loop = _choose_loop(backend, round_mode, fmt, array)
    if loop is not None:
        loop(source, target)
    elif round_mode is RoundMode.TIES_TO_EVEN:
        rounder = _choose_nearest_rounder(fmt, array)
        _run_in_blocks(rounder, source, target)
    else:
        plan = make_plan(fmt, round_mode, "float64")
        rounder = _any_mode_rounder(plan, round_mode, rng, num_random_bits)
        _run_in_blocks(rounder, source, target)
    if not is_direct:
        result[...] = target.reshape(result.shape)
    return result


def encode(
    x: ArrayLike,
    fmt: FloatFormat | PowerOfTwoFormat,
    *,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> NDArray[np.unsignedinteger]:
    """Codes of numbers, rounded to a format first.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape.
    fmt : FloatFormat or PowerOfTwoFormat
        The format.
    round_mode : RoundMode
        Where a number between two values goes.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode.

    Returns
    -------
    numpy.ndarray
        Codes, same shape, in the narrowest of uint8, uint16 and uint32. The sign is the top bit.
        NaN gets the quiet NaN of IEEE formats with the sign it has, the code with all exponent and
        mantissa bits set of ``FN`` formats, and the code of negative zero of ``FNUZ`` formats.

    Raises
    ------
    ValueError
        If ``x`` contains NaN and the format has no NaN, or as :func:`round_to_format`.

    See Also
    --------
    decode : The values of codes.

    Notes
    -----
    Book: ch02-float-value.

    Examples
    --------
    >>> from qtheory.quantizers.float_rounding import encode
    >>> from qtheory.quantizers.formats import FP8_E4M3
    >>> [hex(code) for code in encode([1.0, -448.0], FP8_E4M3)]
    ['0x38', '0xfe']
    """
    check_instance("fmt", fmt, FloatFormat, PowerOfTwoFormat)
    rounded = round_to_format(
        x, fmt, round_mode=round_mode, rng=rng, num_random_bits=num_random_bits
    ).astype(np.float64)
    is_nan = np.isnan(rounded)
    if isinstance(fmt, PowerOfTwoFormat):
        exponent = np.frexp(np.where(is_nan, 1.0, rounded))[1] - 1
        return _narrow(np.where(is_nan, 2**fmt.bit_width - 1, exponent + fmt.bias), fmt.bit_width)
    if not fmt.has_nan and is_nan.any():
        raise fail("x", f"free of NaN, for which {fmt.name} has no code", f"{is_nan.sum()} NaN")
    code = _finite_codes(np.where(np.isfinite(rounded), np.abs(rounded), 0.0), fmt)
    code = np.where(np.isinf(rounded), fmt.max_finite_code + 1, code)
    code = np.where(is_nan, _nan_code(fmt), code)
    has_sign = np.signbit(rounded) & ~(is_nan & (fmt.specials is Specials.FNUZ))
    return _narrow(code + (has_sign.astype(np.int64) << (fmt.bit_width - 1)), fmt.bit_width)


def decode(
    codes: ArrayLike, fmt: FloatFormat | PowerOfTwoFormat, *, dtype: type[np.floating] = np.float64
) -> FloatArray:
    """Values of codes.

    Parameters
    ----------
    codes : array_like
        Integers from 0 to ``2**fmt.bit_width - 1``, any shape.
    fmt : FloatFormat or PowerOfTwoFormat
        The format.
    dtype : type
        ``numpy.float32`` or ``numpy.float64``; every value is exact in both.

    Returns
    -------
    numpy.ndarray
        Values, same shape, with infinities and NaN where the format has them.

    Raises
    ------
    ValueError
        If a code is not an integer in that range, or ``dtype`` is another type.

    See Also
    --------
    encode : The inverse, except that NaN has several codes in some formats.

    Notes
    -----
    Book: ch02-float-value.

    Examples
    --------
    >>> from qtheory.quantizers.float_rounding import decode
    >>> from qtheory.quantizers.formats import FP8_E4M3
    >>> decode([0x38, 0xFE, 0x7F], FP8_E4M3)
    array([   1., -448.,   nan])
    """
    check_instance("fmt", fmt, FloatFormat, PowerOfTwoFormat)
    check_choice("dtype", dtype, (np.float32, np.float64))
    code = _check_codes(codes, fmt.bit_width)
    if isinstance(fmt, PowerOfTwoFormat):
        value = np.ldexp(1.0, code - fmt.bias)
        return np.asarray(np.where(code == 2**fmt.bit_width - 1, np.nan, value), dtype=dtype)
    size = code & (2 ** (fmt.bit_width - 1) - 1)
    field, mantissa = size >> fmt.mantissa_bits, size & (2**fmt.mantissa_bits - 1)
    significand = np.where(field > 0, mantissa + 2**fmt.mantissa_bits, mantissa)
    if not fmt.has_subnormals:
        significand = np.where(field > 0, significand, 0)
    exponent = np.maximum(field, 1) - fmt.bias - fmt.mantissa_bits
    value = np.ldexp(significand.astype(np.float64), exponent)
    if fmt.has_infinity:
        value = np.where(size == fmt.max_finite_code + 1, np.inf, value)
    is_nan = size > fmt.max_finite_code + int(fmt.has_infinity)
    is_negative = code != size
    if fmt.specials is Specials.FNUZ:
        is_nan = is_negative & (size == 0)
    value = np.where(is_nan, np.nan, value)
    return np.asarray(np.where(is_negative, -value, value), dtype=dtype)


@lru_cache(maxsize=256)
def make_plan(fmt: FloatFormat, mode: RoundMode, loop_name: str) -> RoundingPlan:
    """Constants of rounding to a format in a mode.

    Parameters
    ----------
    fmt : FloatFormat
        The format.
    mode : RoundMode
        The mode, which decides on which sides finite numbers stop at the largest value.
    loop_name : {"float32", "float64", "bits"}
        Name of the loop; only "float64" is for all formats, see :func:`choose_loop_name`.

    Returns
    -------
    RoundingPlan
        The constants; the same object for the same arguments.
    """
    is_single = loop_name != "float64"
    work, digits, work_bias = (np.float32, 23, 127) if is_single else (np.float64, 52, 1023)
    bits = np.uint32 if is_single else np.uint64
    half = 1 << (digits - 1)
    magic_offset = ((digits - fmt.mantissa_bits) << digits) + half
    low_offset = magic_offset if fmt.has_subnormals else (digits << digits) + half
    min_exponent_bits = (fmt.min_exponent + work_bias) << digits
    saturates = fmt.overflow is Overflow.SATURATE
    stops_below = saturates or mode in (RoundMode.TOWARD_ZERO, RoundMode.CEIL)
    stops_above = saturates or mode in (RoundMode.TOWARD_ZERO, RoundMode.FLOOR)
    with np.errstate(over="ignore"):  # infinite is right where it is beyond the working type
        beyond = work(_first_overflow(fmt))
    return RoundingPlan(
        low=-work(fmt.max_value) if stops_below else -beyond,
        high=work(fmt.max_value) if stops_above else beyond,
        exponent_mask=bits((2 * work_bias + 1) << digits),
        sign_mask=bits(1 << (31 if is_single else 63)),
        min_exponent_bits=bits(min_exponent_bits),
        magic_offset=bits(magic_offset),
        low_magic=bits(min_exponent_bits + low_offset),
        quantum_offset=bits((digits << digits) + half),
        num_dropped=bits(digits - fmt.mantissa_bits),
        max_value=work(fmt.max_value),
        spill=work(_spill_value(fmt)),
        keep_sign=fmt.has_negative_zero,
    )


def choose_loop_name(fmt: FloatFormat, dtype: np.dtype[Any]) -> str:
    """Name of the fastest way to round in which no intermediate loses a bit.

    Parameters
    ----------
    fmt : FloatFormat
        The format.
    dtype : numpy.dtype
        Type of the numbers to round.

    Returns
    -------
    str
        "bits" to add to the bits of float32, for formats with its exponents; else "float32" or
        "float64", the type in which magic numbers are added.
    """
    if dtype != np.float32:
        return "float64"
    # Without mantissa bits "even" would be that of the exponent, which is not the rule.
    if fmt.min_exponent == -126 and fmt.has_subnormals and 1 <= fmt.mantissa_bits <= 22:
        return "bits"
    largest_exponent = math.frexp(_first_overflow(fmt))[1] - 1
    fits_single = (
        fmt.mantissa_bits <= 21
        and largest_exponent + 23 - fmt.mantissa_bits <= 127
        and fmt.min_exponent - fmt.mantissa_bits >= -126
    )
    return "float32" if fits_single else "float64"


def _first_overflow(fmt: FloatFormat) -> float:
    """Return the value that would follow the largest one if exponents had no upper limit."""
    return fmt.max_value + math.ldexp(1.0, fmt.max_exponent - fmt.mantissa_bits)


def _spill_value(fmt: FloatFormat) -> float:
    """Return what too large a positive number becomes."""
    return {
        Overflow.INFINITY: math.inf,
        Overflow.SATURATE: fmt.max_value,
        Overflow.NAN: math.nan,
    }[fmt.overflow]


def _check_randomness(
    mode: RoundMode, rng: np.random.Generator | None, num_random_bits: int | None
) -> None:
    """Refuse what rounding to integers refuses, also for an empty array."""
    if mode is RoundMode.STOCHASTIC:
        check_generator("rng", rng)
    elif rng is not None:
        raise fail("rng", f"left out for {mode}", rng)
    elif num_random_bits is not None:
        raise fail("num_random_bits", f"left out for {mode}", num_random_bits)


def _check_out(out: FloatArray | None, x: FloatArray) -> FloatArray:
    """Return the array to write to."""
    if out is None:
        return np.empty(x.shape, dtype=x.dtype)
    if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != x.dtype:
        found = f"{getattr(out, 'dtype', type(out))} of shape {np.shape(out)}"
        raise fail("out", f"an array of {x.dtype} of shape {x.shape}", found)
    return out


def _choose_loop(
    backend: Backend, mode: RoundMode, fmt: FloatFormat, x: FloatArray
) -> BlockRounder | None:
    """Return the compiled loop with its constants, or ``None`` for NumPy."""
    is_small = backend == "auto" and x.size < NUMBA_MIN_SIZE
    if backend == "numpy" or mode is RoundMode.STOCHASTIC or is_small:
        return None
    loop_name = choose_loop_name(fmt, x.dtype)
    loop = compile_rounding_loop(loop_name)
    if loop is None and backend == "numba":
        raise ModuleNotFoundError("`backend` is 'numba', but numba is not installed.")
    if loop is None:
        return None
    return partial(_run_loop, loop, make_plan(fmt, mode, loop_name), mode)


def _run_loop(
    loop: RoundingLoop, plan: RoundingPlan, mode: RoundMode, source: FloatArray, target: FloatArray
) -> None:
    """Round in one pass."""
    loop(source, target, MODE_NUMBERS[mode.value], plan)


def _run_in_blocks(rounder: BlockRounder, source: FloatArray, target: FloatArray) -> None:
    """Round block by block. Floating-point warnings are off: infinities and NaN are meant."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for start in range(0, source.size, BLOCK_SIZE):
            rounder(source[start : start + BLOCK_SIZE], target[start : start + BLOCK_SIZE])


def _choose_nearest_rounder(fmt: FloatFormat, x: FloatArray) -> BlockRounder:
    """Return the fastest way to round to nearest, ties to even."""
    loop_name = choose_loop_name(fmt, x.dtype)
    plan = make_plan(fmt, RoundMode.TIES_TO_EVEN, loop_name)
    make = _nearest_bits_rounder if loop_name == "bits" else _nearest_rounder
    return make(plan, x.size)


def _nearest_bits_rounder(plan: RoundingPlan, size: int) -> BlockRounder:
    """Ties to even by a sum with the bits of float32."""
    size = min(size, BLOCK_SIZE)
    high, low = np.full(size, plan.high), np.full(size, plan.low)
    buffers = np.empty((2, size), dtype=np.float32)
    half = np.uint32(1 << (int(plan.num_dropped) - 1))
    kept = np.uint32(2**32 - 2 * int(half))

    def run(source: FloatArray, target: FloatArray) -> None:
        n = source.size
        y, rounded = buffers[:, :n]
        bits = rounded.view(np.uint32)
        np.minimum(source, high[:n], out=y)
        np.maximum(y, low[:n], out=y)
        np.right_shift(y.view(np.uint32), plan.num_dropped, out=bits)
        np.bitwise_and(bits, np.uint32(1), out=bits)  # whether the last kept digit is odd
        np.add(bits, half - np.uint32(1), out=bits)
        np.add(bits, y.view(np.uint32), out=bits)
        np.bitwise_and(bits, kept, out=bits)
        if np.isnan(y.max()):  # a sum may have carried some NaN over to numbers
            np.copyto(rounded, y + y, where=np.isnan(y))  # quiet
        _finish(rounded, target, plan)

    return run


def _nearest_rounder(plan: RoundingPlan, size: int) -> BlockRounder:
    """Ties to even by the magic sum, in as few passes as possible.

    Limits are arrays, not numbers: with them the minimum and maximum of NumPy are several times
    faster.
    """
    size = min(size, BLOCK_SIZE)
    high, low = np.full(size, plan.high), np.full(size, plan.low)
    min_bits = np.full(size, plan.min_exponent_bits)
    buffers = np.empty((3, size), dtype=plan.high.dtype)
    bits_type = plan.exponent_mask.dtype

    def run(source: FloatArray, target: FloatArray) -> None:
        n = source.size
        y, magic, rounded = buffers[:, :n]
        bits = magic.view(bits_type)
        np.minimum(source, high[:n], out=y)
        np.maximum(y, low[:n], out=y)
        np.bitwise_and(y.view(bits_type), plan.exponent_mask, out=bits)
        _exponent_to_magic(bits, min_bits[:n], plan)
        np.add(y, magic, out=rounded)
        np.subtract(rounded, magic, out=rounded)
        if plan.keep_sign:
            np.bitwise_and(y.view(bits_type), plan.sign_mask, out=bits)
            np.bitwise_or(rounded.view(bits_type), bits, out=rounded.view(bits_type))
        _finish(rounded, target, plan)

    return run


def _finish(rounded: FloatArray, target: FloatArray, plan: RoundingPlan) -> None:
    """Apply the overflow rule and write to the target."""
    # Negated, so that a block with NaN, whose extremes are NaN, is looked at closely too.
    if not (rounded.max() <= plan.max_value and rounded.min() >= -plan.max_value):
        _spill(rounded, np.abs(rounded) > plan.max_value, plan)
    if plan.keep_sign:
        target[...] = rounded
    else:
        np.add(rounded, 0.0, out=target)


def _exponent_to_magic(bits: NDArray[Any], min_bits: NDArray[Any], plan: RoundingPlan) -> None:
    """Turn bits of exponents into bits of magic numbers, in place."""
    low_magic = plan.min_exponent_bits + plan.magic_offset
    if plan.low_magic == low_magic:
        np.maximum(bits, min_bits, out=bits)
        np.add(bits, plan.magic_offset, out=bits)
        return
    is_low = bits < min_bits
    np.add(bits, plan.magic_offset, out=bits)
    np.copyto(bits, plan.low_magic, where=is_low)


def _spill(rounded: FloatArray, is_over: NDArray[np.bool_], plan: RoundingPlan) -> None:
    """Write what too large a number becomes, in place."""
    np.copyto(rounded, np.copysign(plan.spill, rounded), where=is_over)


def _any_mode_rounder(
    plan: RoundingPlan,
    mode: RoundMode,
    rng: np.random.Generator | None,
    num_random_bits: int | None,
) -> BlockRounder:
    """Divide by the quantum, round to an integer, multiply: the definition, in float64."""

    def run(source: FloatArray, target: FloatArray) -> None:
        value = source.astype(np.float64)
        y = np.clip(value, plan.low, plan.high)
        quantum = _quantum(y, plan)
        # A float64 so small that the quotient would underflow to zero rounds like this one.
        is_tiny = (np.abs(y) < SMALLEST_LIFTED) & (quantum > 1.0) & (y != 0.0)
        y = np.where(is_tiny, np.copysign(SMALLEST_LIFTED, y), y)
        integer = round_to_integer(y / quantum, mode, rng=rng, num_random_bits=num_random_bits)
        rounded = np.copysign(integer * quantum, value)
        _spill(rounded, (np.abs(rounded) > plan.max_value) | np.isinf(value), plan)
        target[...] = rounded if plan.keep_sign else rounded + 0.0

    return run


def _quantum(y: FloatArray, plan: RoundingPlan) -> FloatArray:
    """Spacing of the format at each number."""
    bits = y.view(np.uint64) & plan.exponent_mask
    _exponent_to_magic(bits, np.full(y.shape, plan.min_exponent_bits), plan)
    return np.asarray((bits - plan.quantum_offset).view(np.float64))


def _round_to_power_of_two(
    x: FloatArray,
    fmt: PowerOfTwoFormat,
    mode: RoundMode,
    rng: np.random.Generator | None,
    num_random_bits: int | None,
) -> FloatArray:
    """Round positive numbers to powers of two; all else is NaN."""
    is_valid = (x > 0) & np.isfinite(x)
    # Four times the largest value overflows in each mode, as all larger numbers do.
    value = np.where(is_valid, x, 1.0).astype(np.float64)
    value = np.clip(value, fmt.min_value, 4.0 * fmt.max_value)
    quantum = np.ldexp(1.0, np.frexp(value)[1] - 1)
    integer = round_to_integer(value / quantum, mode, rng=rng, num_random_bits=num_random_bits)
    rounded = integer * quantum
    return np.asarray(np.where(is_valid & (rounded <= fmt.max_value), rounded, np.nan))


def _finite_codes(size: FloatArray, fmt: FloatFormat) -> NDArray[np.int64]:
    """Codes of nonnegative finite values of a format."""
    bits = size.view(np.int64) >> (52 - fmt.mantissa_bits)
    normal = bits - ((1023 - fmt.bias) << fmt.mantissa_bits)
    subnormal = (np.minimum(size, fmt.min_normal) / fmt.min_subnormal).astype(np.int64)
    return np.where(size >= fmt.min_normal, normal, subnormal)


def _nan_code(fmt: FloatFormat) -> int:
    """Code of NaN without sign: quiet for IEEE, the top code for FN, negative zero for FNUZ."""
    top = 1 << (fmt.exponent_bits + fmt.mantissa_bits)
    if fmt.specials is Specials.IEEE:
        return fmt.max_finite_code + 1 + (1 << (fmt.mantissa_bits - 1))
    return top - 1 if fmt.specials is Specials.FN else top


def _narrow(code: NDArray[Any], bit_width: int) -> NDArray[np.unsignedinteger]:
    """Store codes in the narrowest unsigned type."""
    dtype = np.uint8 if bit_width <= 8 else np.uint16 if bit_width <= 16 else np.uint32
    return np.asarray(code, dtype=dtype)


def _check_codes(codes: ArrayLike, bit_width: int) -> NDArray[np.int64]:
    """Return codes as integers, refusing those out of range."""
    array = np.asarray(codes)
    if array.dtype.kind not in "iu" and array.size:
        raise fail("codes", "integers", array.dtype)
    limit = 2**bit_width - 1
    if array.size and not (int(array.min()) >= 0 and int(array.max()) <= limit):
        found = f"codes from {array.min()} to {array.max()}"
        raise fail("codes", f"from 0 to {limit}", found)
    return array.astype(np.int64)
