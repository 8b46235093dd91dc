"""Checks of arguments: one sentence each that names argument, condition and value."""

import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "as_float_array",
    "check_choice",
    "check_finite",
    "check_generator",
    "check_instance",
    "check_integer",
    "check_no_nan",
    "check_nonempty",
    "check_nonnegative",
    "check_positive",
    "fail",
]


def fail(name: str, condition: str, value: object) -> ValueError:
    """Build the error: "`name` must be <condition>, got <value>."."""
    return ValueError(f"`{name}` must be {condition}, got {value!r}.")


def check_finite(name: str, value: float) -> float:
    """Return a finite real number as ``float``."""
    number = _real(name, value)
    if not math.isfinite(number):
        raise fail(name, "finite", value)
    return number


def check_positive(name: str, value: float) -> float:
    """Return a finite number above zero as ``float``."""
    number = _real(name, value)
    if not (math.isfinite(number) and number > 0):
        raise fail(name, "finite and above zero", value)
    return number


def check_nonnegative(name: str, value: float) -> float:
    """Return a finite number, zero or above, as ``float``."""
    number = _real(name, value)
    if not (math.isfinite(number) and number >= 0):
        raise fail(name, "finite and not below zero", value)
    return number


def check_integer(
    name: str, value: int, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Return an integer within limits; booleans and floats with a fraction are refused."""
    try:
        number = operator.index(value)
    except TypeError:
        raise fail(name, "an integer", value) from None
    if isinstance(value, bool | np.bool_):
        raise fail(name, "an integer", value)
    if minimum is not None and number < minimum:
        raise fail(name, f"an integer of at least {minimum}", value)
    if maximum is not None and number > maximum:
        raise fail(name, f"an integer of at most {maximum}", value)
    return number


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is not one of ``choices``."""
    if value not in choices:
        raise fail(name, "one of " + ", ".join(repr(choice) for choice in choices), value)


def check_generator(name: str, value: object) -> np.random.Generator:
    """Return a generator; seeds and ``None`` are refused: randomness is the caller's."""
    if not isinstance(value, np.random.Generator):
        raise fail(name, "a numpy.random.Generator", value)
    return value


def check_instance(name: str, value: object, *types: type) -> None:
    """Refuse a value of another type, naming the types that are taken."""
    if not isinstance(value, types):
        raise fail(name, " or ".join(kind.__name__ for kind in types), value)


def as_float_array(name: str, value: ArrayLike) -> NDArray[np.floating]:
    """Return real data as an array, float32 and float64 as they are, all else as float64."""
    try:
        array = np.asarray(value)
    except ValueError:  # nested sequences of unequal lengths
        raise fail(name, "a regular array of real numbers", value) from None
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind not in "iuf" and not (array.dtype.kind == "b" or array.size == 0):
        raise fail(name, "real numbers", array.dtype)
    return array.astype(np.float64)


def check_no_nan(name: str, array: NDArray[np.floating]) -> None:
    """Refuse NaN in data to be encoded, since no code stands for it."""
    if count := int(np.isnan(array).sum()):
        raise fail(name, "free of NaN to be encoded", f"{count} NaN")


def check_nonempty(name: str, array: NDArray[np.generic]) -> None:
    """Refuse an array without elements."""
    if array.size == 0:
        raise fail(name, "an array with at least one element", f"shape {array.shape}")


def _real(name: str, value: float) -> float:
    """Convert to ``float``, refusing text, complex numbers and arrays of several elements."""
    if isinstance(value, str | bytes | bool):
        raise fail(name, "a real number", value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise fail(name, "a real number", value) from None
