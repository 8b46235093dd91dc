r"""Lazy and eager projection: BinaryConnect as dual averaging, BinaryRelax and ProxQuant."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_finite,
    check_instance,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.quantizers import ScalarQuantizer, UniformQuantizer
from qtheory.training.descent import Descent, descend
from qtheory.training.noise import GradientNoise
from qtheory.training.rules import UpdateRule
from qtheory.training.schedules import Schedule

__all__ = [
    "BinaryRelaxation",
    "ProximalQuantization",
    "descend_strengthened",
    "dual_averaging_weights",
    "proximal_fixed_points",
    "proximal_step",
    "relax",
    "relaxation_threshold",
]

FloatArray = NDArray[np.floating[Any]]
Levels: TypeAlias = UniformQuantizer | ScalarQuantizer

MAX_CANDIDATES = 2**20
# Distance from a fixed point, relative to the numbers involved, that rounding explains.
FIXED = 1e-12


def proximal_step(weights: ArrayLike, strength: ArrayLike, grid: Levels) -> FloatArray:
    r"""Move each weight a given distance toward its nearest level, and no farther than the level.

    This is the proximal map of :math:`\lambda R`, where R is the sum of the distances of the
    coordinates from their nearest levels.

    Parameters
    ----------
    weights : array_like of float
        Weights w, any shape.
    strength : array_like of float
        Distance :math:`\lambda`, not below zero, possibly infinite; broadcast with the weights.
    grid : UniformQuantizer or ScalarQuantizer
        Its levels count, not its rounding: a weight halfway between two levels goes up.

    Returns
    -------
    numpy.ndarray
        Moved weights, of the type of ``weights``.

    Raises
    ------
    ValueError
        If the strength is negative, or the grid is of another type.

    Notes
    -----
    Book: thm-ch10-proximal-maps.

    .. math:: \operatorname{prox}(w) = q + \operatorname{sign}(w - q)\,(|w - q| - \lambda)_+,
              \qquad q \text{ the level nearest to } w

    Limits: the weights for :math:`\lambda = 0`; the nearest levels, for weights between levels,
    from half a gap on.

    References
    ----------
    [Bai2019]_

    Examples
    --------
    >>> from qtheory.quantizers import sign
    >>> from qtheory.training import proximal_step
    >>> proximal_step([-1.5, -0.1, 0.2, 0.9], 0.25, sign())
    array([-1.25, -0.35,  0.45,  1.  ])
    """
    array, nearest, amount = _split(weights, strength, grid)
    away = array - nearest
    moved = nearest + np.sign(away) * np.maximum(np.abs(away) - amount, 0)
    # Exactly the weights where nothing is moved: the sum above rounds.
    return np.where(amount == 0, array, moved).astype(array.dtype)


def relax(weights: ArrayLike, strength: ArrayLike, grid: Levels) -> FloatArray:
    r"""Move each weight a given share of the way to its nearest level.

    This is the proximal map of :math:`\tfrac{\lambda}{2}` times the squared distance from the
    nearest levels.

    Parameters
    ----------
    weights : array_like of float
        Weights w, any shape.
    strength : array_like of float
        Strength :math:`\lambda`, not below zero, possibly infinite; broadcast with the weights.
    grid : UniformQuantizer or ScalarQuantizer
        Its levels count, not its rounding: a weight halfway between two levels goes up.

    Returns
    -------
    numpy.ndarray
        Relaxed weights, of the type of ``weights``.

    Raises
    ------
    ValueError
        If the strength is negative, or the grid is of another type.

    Notes
    -----
    Book: thm-ch10-proximal-maps.

    .. math:: \operatorname{relax}(w) = \frac{w + \lambda\,q}{1 + \lambda},
              \qquad q \text{ the level nearest to } w

    Limits: the weights for :math:`\lambda = 0`, the nearest levels for :math:`\lambda = \infty`.

    References
    ----------
    [Yin2018]_

    Examples
    --------
    >>> from qtheory.quantizers import sign
    >>> from qtheory.training import relax
    >>> relax([-2.0, -0.5, 0.5], 1.0, sign())
    array([-1.5 , -0.75,  0.75])
    """
    array, nearest, amount = _split(weights, strength, grid)
    moved = nearest + (array - nearest) / (1 + amount)
    return np.where(amount == 0, array, moved).astype(array.dtype)


def dual_averaging_weights(gradient_sum: ArrayLike, start: ArrayLike, grid: Levels) -> FloatArray:
    r"""Weights on the grid that dual averaging takes after a sum of gradients.

    Parameters
    ----------
    gradient_sum : array_like of float
        Sum :math:`G = \sum_t \alpha_t g_t` of the gradients so far, times their learning rates.
    start : array_like of float
        Start :math:`w_0`, broadcast with the sum.
    grid : UniformQuantizer or ScalarQuantizer
        The constraint: every weight is one of its levels.

    Returns
    -------
    numpy.ndarray
        The minimizer of :math:`\langle G, q \rangle + \tfrac12 \lVert q - w_0 \rVert^2` over
        weights q on the grid, the larger one of two.

    Raises
    ------
    ValueError
        If the grid is of another type.

    Notes
    -----
    Book: thm-ch10-dual-averaging.

    Examples
    --------
    >>> from qtheory.quantizers import sign
    >>> from qtheory.training import dual_averaging_weights
    >>> dual_averaging_weights([0.3, -0.3, 0.1], 0.1, sign())
    array([-1.,  1.,  1.])
    """
    total = as_float_array("gradient_sum", gradient_sum)
    return _nearest(as_float_array("start", start) - total, grid)


@dataclass(frozen=True)
class ProximalQuantization(UpdateRule):
    r"""ProxQuant: a gradient step, then a move toward the nearest levels.

    .. math:: w \leftarrow \operatorname{prox}_{\alpha\lambda R}(w - \alpha g(w))

    Parameters
    ----------
    grid : UniformQuantizer or ScalarQuantizer
        Levels of the weights.
    strength : float
        Strength :math:`\lambda` of the penalty, not below zero, possibly infinite.

    Notes
    -----
    Book: ch10-proximal-rules.

    Strength zero is gradient descent, infinite strength is rounding after each step.

    References
    ----------
    [Bai2019]_
    """

    grid: Levels
    strength: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_rule(self.grid, self.strength)

    def update(
        self,
        latent: FloatArray,
        gradient: FloatArray,
        learning_rate: float,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """Return the weights after one step."""
        moved = super().update(latent, gradient, learning_rate)
        amount = learning_rate * self.strength if learning_rate else 0.0
        return proximal_step(moved, amount, self.grid)


@dataclass(frozen=True)
class BinaryRelaxation(UpdateRule):
    r"""BinaryRelax: latent weights, and gradients at weights relaxed toward the levels.

    .. math:: y \leftarrow y - \alpha\,g(x), \qquad x = \frac{y + \lambda\,Q(y)}{1 + \lambda}

    Parameters
    ----------
    grid : UniformQuantizer or ScalarQuantizer
        Levels of the weights.
    strength : float
        Strength :math:`\lambda` of the penalty, not below zero, possibly infinite.

    Notes
    -----
    Book: ch10-proximal-rules.

    Strength zero is gradient descent, infinite strength is BinaryConnect.

    References
    ----------
    [Yin2018]_
    """

    grid: Levels
    strength: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_rule(self.grid, self.strength)

    def weights(self, latent: ArrayLike, *, rng: np.random.Generator | None = None) -> FloatArray:
        """Return the relaxed weights."""
        return relax(latent, self.strength, self.grid)


def descend_strengthened(
    gradient: Callable[[FloatArray], ArrayLike],
    start: ArrayLike,
    *,
    rule: ProximalQuantization | BinaryRelaxation,
    strengths: Sequence[float] | NDArray[np.floating[Any]],
    learning_rate: float | Schedule,
    num_steps: int,
    rng: np.random.Generator,
    noise: GradientNoise | None = None,
) -> tuple[Descent, ...]:
    r"""Train in phases of growing strength, each from the latent weights of the one before.

    Parameters
    ----------
    gradient : callable
        From weights of shape ``(..., d)`` to gradients of that shape, exact or stochastic.
    start : array_like of float
        Latent weights of the first phase, shape ``(..., d)``.
    rule : ProximalQuantization or BinaryRelaxation
        The rule; its own strength is replaced.
    strengths : sequence of float
        Strength of each phase, not below zero and not decreasing. In equal steps for ProxQuant, in
        equal ratios for BinaryRelax, whose last phase is infinite.
    learning_rate : float or callable
        Learning rate, or a schedule of it that starts again in each phase.
    num_steps : int
        Steps of each phase, at least 1.
    rng : numpy.random.Generator
        Source of noise.
    noise : GradientNoise or None
        Law of the noise added to each coordinate of each gradient.

    Returns
    -------
    tuple of Descent
        The run of each phase.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch10-strengths.
    """
    check_instance("rule", rule, ProximalQuantization, BinaryRelaxation)
    values = np.asarray(as_float_array("strengths", strengths), dtype=np.float64)
    check_nonempty("strengths", values)
    if values.ndim != 1 or not (values[1:] >= values[:-1]).all():
        raise fail("strengths", "a sequence that does not decrease", strengths)
    runs: list[Descent] = []
    for strength in values.tolist():
        phase = descend(
            gradient,
            runs[-1].latent if runs else start,
            rule=replace(rule, strength=strength),
            learning_rate=learning_rate,
            num_steps=num_steps,
            rng=rng,
            noise=noise,
        )
        runs.append(phase)
    return tuple(runs)


def proximal_fixed_points(
    minimizer: float,
    *,
    curvature: float,
    strength: float,
    learning_rate: float,
    grid: Levels,
) -> NDArray[np.float64]:
    r"""All points at which ProxQuant stays on a parabola.

    Parameters
    ----------
    minimizer : float
        Minimizer c of :math:`\tfrac{h}{2}(x - c)^2`.
    curvature : float
        Curvature h, above zero.
    strength : float
        Strength :math:`\lambda` of the penalty, above zero.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero and below 1/h.
    grid : UniformQuantizer or ScalarQuantizer
        Levels of the weights.

    Returns
    -------
    numpy.ndarray
        Fixed points in increasing order, where halfway between two levels either of them counts
        as the nearest. From every start the weights tend to one of them.

    Raises
    ------
    ValueError
        If an argument is out of range, or more than 2**20 levels would have to be tried.

    Notes
    -----
    Book: thm-ch10-proximal-fixed-points.

    A level q is one if :math:`h|q - c| \le \lambda` and q is a level nearest to
    :math:`q - \alpha h (q - c)`. A point :math:`x = c \pm \lambda/h` off the levels is one if
    :math:`x \mp \alpha\lambda` has a nearest level on the far side of x from c.

    Accuracy: equal up to 1e-12 of the numbers involved counts as equal, so a point may be listed
    that only almost is one.

    Examples
    --------
    >>> from qtheory.quantizers import sign
    >>> from qtheory.training import proximal_fixed_points
    >>> for strength in (0.5, 1.0, 1.5):
    ...     points = proximal_fixed_points(0.2, curvature=1.0, strength=strength,
    ...                                    learning_rate=0.1, grid=sign())
    ...     print(strength, points)
    0.5 [-0.3  0.7]
    1.0 [-0.8  1. ]
    1.5 [-1.  1.]
    """
    center = check_finite("minimizer", minimizer)
    h = check_positive("curvature", curvature)
    width = check_positive("strength", strength) / h
    rate = check_positive("learning_rate", learning_rate)
    if not rate * h < 1:
        raise fail("learning_rate", f"below 1/curvature = {1 / h:.6g}", learning_rate)
    levels = _levels_between(center - width, center + width, grid)
    points = [_held_levels(levels, center, width, rate * h)]
    if _rests_below(levels, center, width, rate * h):
        points.append(np.array([center - width]))
    if _rests_below(-levels[::-1], -center, width, rate * h):
        points.append(np.array([center + width]))
    return np.sort(np.concatenate(points))


def relaxation_threshold(position: float) -> float:
    r"""Strength from which on BinaryRelax cycles instead of resting at the minimizer.

    Parameters
    ----------
    position : float
        Distance :math:`\theta` of the minimizer from the level below it over the gap to the next
        level, from 0 to 1.

    Returns
    -------
    float
        The strength :math:`\lambda_c`, infinite for a minimizer on a level.

    Raises
    ------
    ValueError
        If the position is not from 0 to 1.

    Notes
    -----
    Book: thm-ch10-relaxation-threshold.

    .. math:: \lambda_c = \frac{1}{2 \min(\theta, 1 - \theta)} - 1

    Assumptions: a parabola in one dimension, between two levels.

    Limits: zero for a minimizer halfway between two levels.

    Examples
    --------
    >>> from qtheory.training import relaxation_threshold
    >>> print(relaxation_threshold(0.6))
    0.25
    """
    theta = check_finite("position", position)
    if not 0 <= theta <= 1:
        raise fail("position", "from 0 to 1", position)
    distance = min(theta, 1 - theta)
    return math.inf if distance == 0 else 0.5 / distance - 1


def _nearest(values: FloatArray, grid: Levels) -> FloatArray:
    """Return the nearest level of each element, the upper one of two."""
    check_instance("grid", grid, UniformQuantizer, ScalarQuantizer)
    if isinstance(grid, ScalarQuantizer):
        return np.asarray(ScalarQuantizer(grid.levels)(values))
    code = np.floor((values - grid.offset) / grid.step_size + 0.5)
    if grid.is_finite:
        code = np.clip(code, grid.code_min, grid.code_max)
    return np.asarray(grid.offset + grid.step_size * code, dtype=values.dtype)


def _split(
    weights: ArrayLike, strength: ArrayLike, grid: Levels
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return checked weights, their nearest levels and strengths."""
    array = as_float_array("weights", weights)
    amount = as_float_array("strength", strength)
    if not (amount >= 0).all():
        raise fail("strength", "not below zero", strength)
    return array, _nearest(array, grid), amount


def _check_rule(grid: object, strength: float) -> None:
    check_instance("grid", grid, UniformQuantizer, ScalarQuantizer)
    is_number = isinstance(strength, int | float | np.number) and not isinstance(strength, bool)
    if not is_number or not strength >= 0:
        raise fail("strength", "a number not below zero", strength)


def _levels_between(low: float, high: float, grid: Levels) -> NDArray[np.float64]:
    """Return the levels of a grid in an interval, ends included with a margin of one level."""
    check_instance("grid", grid, UniformQuantizer, ScalarQuantizer)
    if isinstance(grid, ScalarQuantizer):
        return grid.levels
    first = math.floor((low - grid.offset) / grid.step_size)
    last = math.ceil((high - grid.offset) / grid.step_size)
    if grid.code_min is not None and grid.code_max is not None:
        first, last = (min(max(k, grid.code_min), grid.code_max) for k in (first, last))
    if last - first > MAX_CANDIDATES:
        raise fail("strength", f"such that at most {MAX_CANDIDATES} levels hold", last - first)
    return grid.offset + grid.step_size * np.arange(first, last + 1, dtype=np.float64)


def _held_levels(
    levels: NDArray[np.float64], center: float, width: float, share: float
) -> NDArray[np.float64]:
    """Return the levels that ProxQuant does not leave; a step moves by a share of the way."""
    slack = FIXED * (np.abs(levels) + abs(center) + width)
    away, gaps = np.abs(levels - center), np.diff(levels)
    toward = np.where(levels < center, np.append(gaps, np.inf), np.append(np.inf, gaps))
    return levels[(away <= width + slack) & (share * away <= toward / 2 + slack)]


def _rests_below(levels: NDArray[np.float64], center: float, width: float, share: float) -> bool:
    """Return whether a level below holds the point below the minimizer where both pulls agree."""
    point, moved = center - width, center - (1 - share) * width
    slack = FIXED * (np.abs(levels) + abs(center) + width)
    below = int((levels < point - slack).sum())
    if below in (0, levels.size):
        return below > 0
    is_level = levels[below] <= point + slack[below]
    middle = (levels[below - 1] + levels[below]) / 2
    return bool(not is_level and moved <= middle + slack[below - 1] + slack[below])
