r"""How often training with straight-through gradients visits the best quantized weights.

On a quadratic loss a latent weight that is moved by the gradient at its rounded value rotates a
circle: the rounded weight switches between the two levels beside the target for ever, and its mean
is the target.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_instance,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.quantizers import RoundMode, UniformQuantizer

__all__ = [
    "VisitedLevels",
    "longest_absence",
    "optimum_frequency",
    "optimum_frequency_range",
    "recurrence_frequencies",
    "rotation_codes",
    "rotation_phase",
    "tied_optimum_frequency",
    "visited_levels",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VisitedLevels:
    """The two levels between which a rounded weight switches for ever.

    Parameters
    ----------
    lower, upper : numpy.ndarray
        Neighboring levels, shape of the target.
    upper_fraction : numpy.ndarray
        Fraction of the steps spent at ``upper``, in [0, 1]; 0 or 1 if the weight does not switch.
    """

    lower: FloatArray
    upper: FloatArray
    upper_fraction: FloatArray


def visited_levels(target: ArrayLike, *, grid: UniformQuantizer) -> VisitedLevels:
    r"""Levels that a rounded weight visits, and how often.

    Parameters
    ----------
    target : array_like
        Minimizer :math:`w^*` of a quadratic loss, any shape.
    grid : UniformQuantizer
        Grid with at least two levels that rounds to nearest.

    Returns
    -------
    VisitedLevels
        The neighbors of the target and the fraction of time at the upper one. A target beyond an
        outer level belongs to that level.

    Raises
    ------
    ValueError
        If ``target`` is not finite, or ``grid`` has one level or does not round to nearest.

    Notes
    -----
    Book: thm-ch10-rotation, ch10-fraction.

    Assumptions: loss with curvature one, learning rate at most one, or any for two levels.

    Accuracy: exact: after T steps the measured fraction differs by at most ``1 / T`` once the
    latent weight has reached the threshold between the two levels.

    Examples
    --------
    >>> from qtheory.quantizers import infinite_grid
    >>> from qtheory.training import visited_levels
    >>> levels = visited_levels(0.6, grid=infinite_grid(0.5))
    >>> print(levels.lower, levels.upper, levels.upper_fraction.round(12))
    0.5 1.0 0.2
    """
    _check_grid(grid)
    values = _finite("target", target)
    position = (values - grid.offset) / grid.step_size
    low = np.floor(position)
    if grid.code_min is not None and grid.code_max is not None:
        position = np.clip(position, grid.code_min, grid.code_max)
        low = np.clip(low, grid.code_min, grid.code_max - 1)
    lower = grid.offset + grid.step_size * low
    return VisitedLevels(lower, lower + grid.step_size, np.asarray(position - low))


def recurrence_frequencies(teacher: ArrayLike) -> FloatArray:
    r"""Fraction of time that each binary weight is positive.

    Parameters
    ----------
    teacher : array_like
        Weights of the teacher, shape ``(..., n)``, not zero; they are scaled to length one.

    Returns
    -------
    numpy.ndarray
        :math:`p_i = \operatorname{clip}\bigl((1 + \sqrt n\,w^*_i)/2, 0, 1\bigr)` for weights
        :math:`\pm 1/\sqrt n`, shape of ``teacher``.

    Raises
    ------
    ValueError
        If ``teacher`` is not finite, or zero.

    Notes
    -----
    Book: ch10-binary-fraction.

    Assumptions: second layer as the teacher's, any straight-through estimator for which the
    expected coarse gradient is a multiple of the rounded weights minus the teacher's.

    References
    ----------
    Cf. [Long2020]_.

    Examples
    --------
    >>> from qtheory.training import recurrence_frequencies
    >>> recurrence_frequencies([0.6, 0.8]).round(4)
    array([0.9243, 1.    ])
    """
    values = _finite("teacher", teacher)
    if values.ndim == 0:
        raise fail("teacher", "an array with at least one axis", teacher)
    largest = np.abs(values).max(axis=-1, keepdims=True)
    if not largest.all():
        raise fail("teacher", "not zero", teacher)
    # With the largest entry one, squares neither overflow nor vanish.
    values = values / largest
    scaled = math.sqrt(values.shape[-1]) * values / np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(np.clip((1 + scaled) / 2, 0.0, 1.0))


def optimum_frequency(frequencies: ArrayLike) -> FloatArray:
    r"""Fraction of time at the best quantized weights, if the coordinates keep no step together.

    Parameters
    ----------
    frequencies : array_like
        Fraction of time :math:`p_i` of each coordinate at its upper level, shape ``(..., n)``,
        in [0, 1].

    Returns
    -------
    numpy.ndarray
        :math:`\prod_i \max(p_i, 1 - p_i)`, shape ``(...)``.

    Raises
    ------
    ValueError
        If a number is not in [0, 1] or there is no axis.

    Notes
    -----
    Book: thm-ch10-product.

    Assumptions: the frequencies other than 0 and 1, together with the number one, are linearly
    independent over the rationals. Else see :func:`optimum_frequency_range`.

    Limits: falls exponentially with the number of coordinates that switch.

    Examples
    --------
    >>> from qtheory.training import optimum_frequency
    >>> print(optimum_frequency([0.25, 0.75, 1.0]))
    0.5625
    """
    values = _rows("frequencies", frequencies)
    return np.asarray(np.prod(np.maximum(values, 1 - values), axis=-1))


def optimum_frequency_range(frequencies: ArrayLike) -> tuple[FloatArray, FloatArray]:
    r"""Fraction of time at the best quantized weights that is sure, and that cannot be exceeded.

    Parameters
    ----------
    frequencies : array_like
        As in :func:`optimum_frequency`.

    Returns
    -------
    tuple of numpy.ndarray
        Least and greatest possible fraction, shape ``(...)`` each.

    Raises
    ------
    ValueError
        If a number is not in [0, 1] or there is no axis.

    Notes
    -----
    Book: ch10-range.

    Assumptions: none on how the coordinates keep step.

    Limits: both ends are reached, by coordinates with equal frequencies.

    Examples
    --------
    >>> from qtheory.training import optimum_frequency_range
    >>> low, high = optimum_frequency_range([0.75, 0.75])
    >>> print(low, high)
    0.5 0.75
    """
    values = _rows("frequencies", frequencies)
    rare = np.minimum(values, 1 - values)
    return np.maximum(1 - rare.sum(axis=-1), 0.0), np.asarray(1 - rare.max(axis=-1, initial=0.0))


def tied_optimum_frequency(fraction: float, phases: ArrayLike) -> float:
    r"""Fraction of time that coordinates with one common frequency are best all at once.

    Parameters
    ----------
    fraction : float
        Fraction of time of every coordinate at its upper level, in [0, 1].
    phases : array_like
        Where on the circle of circumference one each coordinate starts, shape ``(n,)``.

    Returns
    -------
    float
        Share of the circle on which every coordinate is at its more frequent level. Zero means
        that the optimum is never visited.

    Raises
    ------
    ValueError
        If ``fraction`` is not in [0, 1] or ``phases`` is not a vector of finite numbers.

    Notes
    -----
    Book: ch10-tied.

    Assumptions: ``fraction`` irrational; for a rational one the orbit sees only some points of the
    circle.

    Examples
    --------
    >>> from qtheory.training import tied_optimum_frequency
    >>> print(round(tied_optimum_frequency(0.6, [0.0, 1 / 3, 2 / 3]), 12))
    0.0
    """
    rare = float(_fractions("fraction", [fraction])[0])
    rare = min(rare, 1 - rare)
    starts = _finite("phases", phases)
    if starts.ndim != 1:
        raise fail("phases", "a vector", f"shape {starts.shape}")
    if rare == 0:
        return 1.0
    # Each coordinate is away on one arc of the length of its rarer level; what no arc covers is
    # what the gaps between successive arcs leave.
    ordered = np.sort(np.mod(starts, 1.0))
    gaps = np.diff(ordered, append=ordered[0] + 1)
    return float(np.maximum(gaps - rare, 0.0).sum())


def rotation_phase(
    latent: ArrayLike, target: ArrayLike, *, grid: UniformQuantizer, learning_rate: float
) -> FloatArray:
    r"""Place of a latent weight on the circle that it rotates.

    Parameters
    ----------
    latent : array_like
        Latent weight :math:`x`, any shape.
    target : array_like
        Minimizer :math:`w^*`, shape that broadcasts with ``latent``.
    grid : UniformQuantizer
        Grid that rounds to nearest.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero.

    Returns
    -------
    numpy.ndarray
        :math:`u = (x - t)/(\alpha\Delta) + 1 - \theta` with the threshold :math:`t` between the
        visited levels. The weight is on its circle if this is in [0, 1).

    Raises
    ------
    ValueError
        If a number is not finite, ``learning_rate`` is not above zero, or ``grid`` has one level
        or does not round to nearest.

    Notes
    -----
    Book: ch10-circle.
    """
    levels = visited_levels(target, grid=grid)
    step = check_positive("learning_rate", learning_rate) * grid.step_size
    threshold = 0.5 * (levels.lower + levels.upper)
    return np.asarray((_finite("latent", latent) - threshold) / step + 1 - levels.upper_fraction)


def rotation_codes(phase: ArrayLike, fraction: ArrayLike, *, num_steps: int) -> NDArray[np.int64]:
    r"""At which of its two levels a weight is in each step, from the rotation alone.

    Parameters
    ----------
    phase : array_like
        Start :math:`u_0` on the circle, any shape.
    fraction : array_like
        Fraction of time :math:`\theta` at the upper level, in [0, 1], shape that broadcasts.
    num_steps : int
        Number of steps, not negative.

    Returns
    -------
    numpy.ndarray
        :math:`\lfloor u_0 + (t+1)\theta \rfloor - \lfloor u_0 + t\theta \rfloor`, zeros and ones,
        with the steps as the last axis.

    Raises
    ------
    ValueError
        If ``phase`` is not finite, ``fraction`` not in [0, 1] or ``num_steps`` negative.

    Notes
    -----
    Book: ch10-word.

    Limits: the number of ones in any window differs from ``fraction`` times its length by less
    than one.

    Examples
    --------
    >>> from qtheory.training import rotation_codes
    >>> rotation_codes(0.0, 0.3, num_steps=10)
    array([0, 0, 0, 1, 0, 0, 1, 0, 0, 1])
    """
    start, share = np.broadcast_arrays(_finite("phase", phase), _fractions("fraction", fraction))
    num_steps = check_integer("num_steps", num_steps, minimum=0)
    times = np.arange(num_steps + 1)
    passed = np.floor(start[..., None] + times * share[..., None]).astype(np.int64)
    return np.asarray(np.diff(passed, axis=-1))


def longest_absence(visits: ArrayLike) -> NDArray[np.int64]:
    """Longest run of steps without a visit.

    Parameters
    ----------
    visits : array_like
        Whether the optimum was visited in each step, booleans, shape ``(..., num_steps)``.

    Returns
    -------
    numpy.ndarray
        Number of steps of the longest run of ``False``, shape ``(...)``.

    Raises
    ------
    ValueError
        If ``visits`` is not an array of booleans with at least one axis.

    Notes
    -----
    Book: sec-ch10-recurrence.

    Examples
    --------
    >>> from qtheory.training import longest_absence
    >>> print(longest_absence([True, False, False, True, False]))
    2
    """
    flags = np.asarray(visits)
    if flags.dtype != np.bool_ or flags.ndim == 0:
        raise fail("visits", "an array of booleans with at least one axis", flags.dtype)
    steps = np.arange(1, flags.shape[-1] + 1)
    last = np.maximum.accumulate(np.where(flags, steps, 0), axis=-1)
    return np.asarray(np.max(steps - last, axis=-1, initial=0))


def _check_grid(grid: UniformQuantizer) -> None:
    check_instance("grid", grid, UniformQuantizer)
    if grid.round_mode not in (RoundMode.TIES_TO_EVEN, RoundMode.TIES_AWAY):
        raise fail("grid", "one that rounds to nearest", grid.round_mode)
    if grid.is_finite and grid.num_levels < 2:
        raise fail("grid", "one with at least two levels", grid.num_levels)


def _finite(name: str, value: ArrayLike) -> FloatArray:
    array = np.asarray(as_float_array(name, value), dtype=np.float64)
    check_nonempty(name, array)
    if not np.isfinite(array).all():
        raise fail(name, "finite", value)
    return array


def _fractions(name: str, value: ArrayLike) -> FloatArray:
    array = _finite(name, value)
    if (array < 0).any() or (array > 1).any():
        raise fail(name, "in [0, 1]", value)
    return array


def _rows(name: str, value: ArrayLike) -> FloatArray:
    array = _fractions(name, value)
    if array.ndim == 0:
        raise fail(name, "an array with at least one axis", value)
    return array
