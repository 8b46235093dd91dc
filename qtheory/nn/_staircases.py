"""Any quantizer or staircase of the library as the two arrays that a module holds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_integer, check_positive, fail
from qtheory.meanfield import (
    Staircase,
    UniformStaircase,
    balanced_slope,
    optimal_scale,
    optimal_spacing,
    optimal_unsigned,
    staircase_from_affine,
    staircase_from_format,
    uniform_staircase,
)
from qtheory.quantizers import (
    AffineQuantizer,
    BlockFormat,
    FixedPointFormat,
    FloatFormat,
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
)

__all__ = [
    "MAX_LEVELS",
    "StaircaseLike",
    "StaircaseSettings",
    "listed_staircase",
    "settings",
    "theory_staircase",
]

FloatArray = NDArray[np.float64]
StaircaseLike = (
    int
    | Staircase
    | UniformStaircase
    | ScalarQuantizer
    | UniformQuantizer
    | AffineQuantizer
    | FloatFormat
    | FixedPointFormat
    | BlockFormat
)

MAX_LEVELS = 2**16


def listed_staircase(name: str, value: StaircaseLike) -> tuple[FloatArray, FloatArray]:
    """Levels and thresholds with which ``searchsorted`` does exactly what the object does.

    Parameters
    ----------
    name : str
        Name of the argument in messages.
    value : int or staircase or quantizer or format
        The object; an integer stands for equally spaced levels from -1 to 1.

    Returns
    -------
    tuple of numpy.ndarray
        Levels and, one fewer, the least float64 numbers that reach the next level.

    Raises
    ------
    ValueError
        If it is none of these, has one level or more than 65536, or rounds at random.
    """
    source = _source(name, value)
    if source.num_levels > MAX_LEVELS:
        raise fail(name, f"of at most {MAX_LEVELS} levels", source.num_levels)
    if source.num_levels < 2:
        raise fail(name, "of at least two levels", source.num_levels)
    levels = np.array(source.listed.levels, dtype=np.float64)
    thresholds = np.array(source.listed.thresholds, dtype=np.float64)
    if not isinstance(source.function, Staircase | UniformStaircase | ScalarQuantizer):
        thresholds = _first_numbers_up(source.function, levels, thresholds)
    inside = np.concatenate([[-np.inf], thresholds])
    # As computed, not as listed: the two may differ in the last place.
    return np.asarray(source.function(inside), dtype=np.float64), thresholds


def theory_staircase(levels: FloatArray, thresholds: FloatArray) -> Staircase | UniformStaircase:
    """Object of the mean-field theory for listed levels and thresholds.

    Parameters
    ----------
    levels, thresholds : numpy.ndarray
        Lengths ``num_levels`` and ``num_levels - 1``.

    Returns
    -------
    Staircase or UniformStaircase
        The uniform one, whose sums are faster, where all steps are equal to rounding errors.
    """
    if not (levels.size > 2 and _is_uniform(levels) and _is_uniform(thresholds)):
        return Staircase(levels, thresholds)
    return UniformStaircase(
        levels.size,
        float(thresholds[-1] - thresholds[0]) / (thresholds.size - 1),
        float(levels[-1] - levels[0]) / (levels.size - 1),
        threshold_center=0.5 * float(thresholds[0] + thresholds[-1]),
        level_center=0.5 * float(levels[0] + levels[-1]),
    )


@dataclass(frozen=True, eq=False)
class _Source:
    """Function that quantizes, and an object that lists its levels and thresholds."""

    function: Callable[[FloatArray], NDArray[np.floating]]
    num_levels: int
    listed: Staircase | UniformStaircase | ScalarQuantizer | UniformQuantizer


@dataclass(frozen=True, eq=False)
class StaircaseSettings:
    """What a module of a quantized activation holds, and the weights that belong to it.

    Parameters
    ----------
    levels, thresholds : numpy.ndarray
        Lengths ``num_levels`` and ``num_levels - 1``.
    slope, window : float
        Height and half width of the straight-through derivative.
    variance : float
        Pre-activation variance at which the module is used.
    weight_variance : float
        Weight variance times fan-in that keeps ``variance``.
    """

    levels: FloatArray
    thresholds: FloatArray
    slope: float
    window: float
    variance: float
    weight_variance: float


def settings(
    levels: FloatArray,
    thresholds: FloatArray,
    *,
    slope: float | None = None,
    window: float | None = None,
    variance: float | None = None,
    bias_variance: float = 0.0,
) -> StaircaseSettings:
    """Return settings of a staircase; what is not given is where signals travel farthest.

    Parameters
    ----------
    levels, thresholds : numpy.ndarray
        Lengths ``num_levels`` and ``num_levels - 1``.
    slope, window, variance : float, optional
        As for `QuantizedActivation`.
    bias_variance : float
        Variance of the biases, below ``variance``.

    Returns
    -------
    StaircaseSettings
        Complete settings.

    Raises
    ------
    ValueError
        If no level differs from zero, a number is not above zero or the biases are too large.
    """
    if not levels.any():
        raise fail("activation", "of at least one level that is not zero", levels)
    staircase = theory_staircase(levels, thresholds)
    limit = _default_window(levels, thresholds) if window is None else _check_window(window)
    q = _best_variance(staircase) if variance is None else check_positive("variance", variance)
    if not bias_variance < q:
        raise fail("bias_variance", f"below the pre-activation variance {q:.6g}", bias_variance)
    second_moment = float(staircase.second_moment(q))
    if not second_moment > 0:
        raise fail("variance", "so large that not all outputs are zero", q)
    weight_variance = (q - bias_variance) / second_moment
    if slope is None:
        height = float(balanced_slope(q, weight_variance=weight_variance, window=limit))
    else:
        height = check_positive("slope", slope)
    return StaircaseSettings(levels, thresholds, height, limit, q, weight_variance)


def _default_window(levels: FloatArray, thresholds: FloatArray) -> float:
    """Magnitude beyond which a staircase is flat: half a gap beyond the outer threshold.

    With fewer than two thresholds there is no gap, and the largest level takes its place.
    """
    if thresholds.size < 2:
        return float(np.abs(levels).max())
    upper = thresholds[-1] + 0.5 * (thresholds[-1] - thresholds[-2])
    lower = thresholds[0] - 0.5 * (thresholds[1] - thresholds[0])
    return float(max(upper, -lower))


def _check_window(window: float) -> float:
    """Return a window above zero, possibly infinite."""
    return math.inf if window == math.inf else check_positive("window", window)


def _best_variance(staircase: Staircase | UniformStaircase) -> float:
    """Pre-activation variance at which correlations travel farthest without biases."""
    if isinstance(staircase, UniformStaircase):
        count, gap = staircase.num_levels, staircase.threshold_step
        if staircase.threshold_center == 0 and staircase.level_center == 0:
            return float((gap / optimal_spacing(count).spacing) ** 2)
        if _is_unsigned(staircase):
            return float((gap / optimal_unsigned(count).spacing) ** 2)
    return float(optimal_scale(staircase).variance)


def _is_unsigned(staircase: UniformStaircase) -> bool:
    """Whether levels go up from zero in the steps of thresholds midway between them."""
    middle = 0.5 * (staircase.num_levels - 1)
    centers = [staircase.level_center, staircase.level_step * middle]
    centers += [staircase.threshold_center, staircase.threshold_step * middle]
    return bool(np.ptp(centers) <= 1e-12 * middle * staircase.threshold_step)


def _source(name: str, value: StaircaseLike) -> _Source:
    """Object to call, with its levels and thresholds."""
    if isinstance(value, FloatFormat | FixedPointFormat | BlockFormat):
        value = staircase_from_format(value)
    if isinstance(value, AffineQuantizer):
        listed = staircase_from_affine(value)
        return _Source(value, listed.num_levels, listed)
    if isinstance(value, UniformQuantizer):
        if not value.is_finite or value.round_mode is RoundMode.STOCHASTIC:
            raise fail(name, "of finitely many levels and deterministic rounding", value)
        return _Source(value, value.num_levels, value)
    if isinstance(value, Staircase | UniformStaircase | ScalarQuantizer):
        return _Source(value, value.num_levels, value)
    try:
        count = check_integer(name, value, minimum=2, maximum=MAX_LEVELS)
    except ValueError:
        kinds = "a number of levels from 2 to 65536, a staircase, a quantizer or a number format"
        raise fail(name, kinds, value) from None
    return _Source(uniform_staircase(count), count, uniform_staircase(count))


def _first_numbers_up(
    function: Callable[[FloatArray], NDArray[np.floating]],
    levels: FloatArray,
    thresholds: FloatArray,
) -> FloatArray:
    """Least float64 number on the upper side of each threshold, by asking the function.

    A tie may go down, and a quantizer that divides rounds: its steps are then a few units in the
    last place away from where they are listed.
    """
    middles = 0.5 * thresholds[:-1] + 0.5 * thresholds[1:]
    reach = np.maximum(1.0, np.abs(thresholds[[0, -1]]))
    low = _ordered(np.concatenate([[thresholds[0] - reach[0]], middles]))
    high = _ordered(np.concatenate([middles, [thresholds[-1] + reach[1]]]))
    middle_value = 0.5 * levels[:-1] + 0.5 * levels[1:]
    is_rising = levels[1:] > levels[:-1]
    near = _ordered(thresholds)
    for _ in range(65):
        outputs = np.asarray(function(_unordered(near)))
        is_up = (outputs > middle_value) == is_rising
        high = np.where(is_up, near, high)
        low = np.where(is_up, low, near)
        near = (low & high) + ((low ^ high) >> 1)  # their mean without overflow
    is_step = levels[1:] != levels[:-1]
    return np.where(is_step, _unordered(high), thresholds)


def _is_uniform(values: FloatArray) -> bool:
    """Whether values are equally spaced to rounding errors, by a step that is not zero."""
    ideal = np.linspace(values[0], values[-1], values.size)
    limit = 8 * np.finfo(np.float64).eps * np.abs(values).max()
    return bool(values[0] != values[-1] and (np.abs(values - ideal) <= limit).all())


def _ordered(x: FloatArray) -> NDArray[np.int64]:
    """Integers in the order of float64 numbers, neighbors to neighbors."""
    bits = (np.asarray(x) + 0.0).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _unordered(codes: NDArray[np.int64]) -> FloatArray:
    """Float64 numbers of ordered integers."""
    return np.where(codes < 0, np.int64(-(2**63)) - codes, codes).view(np.float64)
