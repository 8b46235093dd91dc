"""The compiled loops of rounding to a floating-point format, used when numba is installed.

The loops are written in plain Python on NumPy scalars. Called as they are, they are slow twins the
tests compare with; compiled, each is one pass over memory in vector instructions. numba is imported
on the first use, never with the package.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "MODE_NUMBERS",
    "RoundingLoop",
    "RoundingPlan",
    "compile_rounding_loop",
    "compile_with",
    "make_bits_loop",
    "make_rounding_loop",
]

MODE_NUMBERS = {"ties_to_even": 0, "ties_away": 1, "toward_zero": 2, "floor": 3, "ceil": 4}

RoundingLoop = Callable[..., None]


class RoundingPlan(NamedTuple):
    """Constants of one format and mode, as numbers of the working type and integers of its width.

    A sum with the "magic" number 1.5 * 2**(exponent - mantissa_bits + d), with d stored digits in
    the working type, is rounded by the hardware to a multiple of the quantum, ties to even. Its
    bits are those of the exponent plus ``magic_offset``; below the smallest exponent of the format
    they are ``low_magic``. Taking off ``quantum_offset`` leaves the bits of the quantum. Numbers
    are first limited to ``low`` and ``high``; a result beyond ``max_value`` becomes ``spill``.
    ``num_dropped`` stored digits of the working type are beyond the mantissa of the format.
    """

    low: Any
    high: Any
    exponent_mask: Any
    sign_mask: Any
    min_exponent_bits: Any
    magic_offset: Any
    low_magic: Any
    quantum_offset: Any
    num_dropped: Any
    max_value: Any
    spill: Any
    keep_sign: bool


def make_rounding_loop(work_type: type[np.floating], bits_type: type[Any]) -> RoundingLoop:
    """Build the loop that computes in one type.

    Parameters
    ----------
    work_type : type
        ``numpy.float32`` or ``numpy.float64``; the type sums are rounded in.
    bits_type : type
        The unsigned integer of the same width.

    Returns
    -------
    callable
        ``loop(x, out, mode, plan)``: source and target of shape ``(n,)``, a value of
        ``MODE_NUMBERS``, a :class:`RoundingPlan`. Branch free once ``mode`` is known, so that it
        becomes vector instructions.
    """

    def loop(x, out, mode, plan):  # type: ignore[no-untyped-def]
        zero, infinity = work_type(0.0), work_type(np.inf)
        for i in range(x.size):
            value = work_type(x[i])
            below = value if value < plan.high else plan.high
            y = work_type(below if below > plan.low else plan.low)
            exponent = bits_type(y.view(bits_type) & plan.exponent_mask)
            shifted = bits_type(exponent + plan.magic_offset)
            magic_bits = bits_type(
                shifted if exponent >= plan.min_exponent_bits else plan.low_magic
            )
            magic = magic_bits.view(work_type)
            nearest = work_type(work_type(y + magic) - magic)
            quantum_bits = bits_type(magic_bits - plan.quantum_offset)
            quantum = quantum_bits.view(work_type)
            error = work_type(y - nearest)
            if mode == 0:
                step = zero
            elif mode == 1:
                is_tie_inward = abs(error) + abs(error) == quantum and (error > zero) == (y > zero)
                step = error + error if is_tie_inward else zero
            elif mode == 2:
                step = -np.copysign(quantum, y) if abs(nearest) > abs(y) else zero
            elif mode == 3:
                step = -quantum if error < zero else zero
            else:
                step = quantum if error > zero else zero
            size = abs(nearest + step)
            is_over = size > plan.max_value or abs(value) == infinity
            limited = work_type(plan.spill if is_over else size)
            is_unsigned = limited == zero and not plan.keep_sign
            signed = limited if is_unsigned else np.copysign(limited, value)
            out[i] = value + value if value != value else signed  # a signaling NaN turns quiet

    return loop


def make_bits_loop() -> RoundingLoop:
    """Build the loop for formats whose smallest exponent is that of float32, such as bfloat16.

    There the digits to drop are the lowest bits of float32 in all binades, so an addition to the
    bits rounds. The sum of the other loop would leave the range of float32 for such formats.

    Returns
    -------
    callable
        ``loop(x, out, mode, plan)`` as in :func:`make_rounding_loop`, for float32.
    """

    def loop(x, out, mode, plan):  # type: ignore[no-untyped-def]
        one = np.uint32(1)
        half = np.uint32(one << np.uint32(plan.num_dropped - one))
        dropped = np.uint32(half + np.uint32(half - one))
        infinity = np.float32(np.inf)
        for i in range(x.size):
            value = np.float32(x[i])
            below = value if value < plan.high else plan.high
            y = np.float32(below if below > plan.low else plan.low)
            size_bits = np.uint32(y.view(np.uint32) & np.uint32(~plan.sign_mask))
            if mode == 0:
                is_odd = np.uint32(np.uint32(size_bits >> plan.num_dropped) & one)
                offset = np.uint32(np.uint32(half - one) + is_odd)
            elif mode == 1:
                offset = half
            elif mode == 2:
                offset = np.uint32(0)
            elif mode == 3:
                offset = np.uint32(dropped if y < 0 else np.uint32(0))
            else:
                offset = np.uint32(dropped if y > 0 else np.uint32(0))
            rounded_bits = np.uint32(np.uint32(size_bits + offset) & np.uint32(~dropped))
            size = rounded_bits.view(np.float32)
            is_over = size > plan.max_value or abs(value) == infinity
            limited = np.float32(plan.spill if is_over else size)
            is_unsigned = limited == 0 and not plan.keep_sign
            signed = limited if is_unsigned else np.copysign(limited, value)
            out[i] = value + value if value != value else signed  # a signaling NaN turns quiet

    return loop


def compile_with(numba: Any, loop: RoundingLoop) -> RoundingLoop:
    """Compile a loop, kept on disk where some folder can be written.

    Parameters
    ----------
    numba : module
        The numba module.
    loop : callable
        A loop of :func:`make_rounding_loop`.

    Returns
    -------
    callable
        The compiled loop. It releases the interpreter lock.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: RoundingLoop = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # read-only installation and no home folder: compile in each process
        compiled = numba.njit(**options)(loop)
    return compiled


@cache
def compile_rounding_loop(loop_name: str) -> RoundingLoop | None:
    """Compile a loop, or return ``None`` without numba.

    Parameters
    ----------
    loop_name : {"float32", "float64", "bits"}
        Name of the working type, or "bits" for the loop of :func:`make_bits_loop`.

    Returns
    -------
    callable or None
        The compiled loop; the same object on each call, since compiling takes about a second.
    """
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    if loop_name == "bits":
        return compile_with(numba, make_bits_loop())
    if loop_name == "float32":
        return compile_with(numba, make_rounding_loop(np.float32, np.uint32))
    return compile_with(numba, make_rounding_loop(np.float64, np.uint64))
