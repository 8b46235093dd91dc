"""Staircase activations: finitely many levels, constant between thresholds."""

import abc
import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from qtheory._checks import (
    as_float_array,
    check_finite,
    check_instance,
    check_integer,
    check_positive,
    fail,
)
from qtheory.meanfield import _pairs
from qtheory.meanfield._lattice_sums import DENSITY, DENSITY_MOMENT, TAIL, Summand, lattice_sum
from qtheory.meanfield._uniform_sums import (
    Lattice,
    pair_density_at,
    pair_density_integrals,
    pair_density_sum,
)
from qtheory.meanfield.activations import Activation, FloatArray
from qtheory.numerics import normal_density
from qtheory.quantizers import RoundMode, ScalarQuantizer, UniformQuantizer

__all__ = ["Staircase", "UniformStaircase", "sign", "uniform_staircase", "unsigned_staircase"]

MAX_LISTED_LEVELS = 2**24
MAX_LEVELS = 2**64
# Levels are squared: their squares and the sums of these are finite.
MAX_MAGNITUDE = 1e150
# Standard deviations that are as good as infinite, and their inverse as good as zero, also for
# 2**64 thresholds in a row. Squares stay far from the limits of float64.
FAR = 1e40


class _Jumping(Activation):
    """What a function that jumps has and a smooth one has not."""

    def near_one_constant(self, variance: float) -> float:
        r"""Constant of the square-root law of the correlation map at correlation one.

        Parameters
        ----------
        variance : float
            Pre-activation variance :math:`q > 0`.

        Returns
        -------
        float
            :math:`K = \sum_i h_i^2 \phi(t_i) / (\sqrt\pi\,\mathbb E\,\varphi^2)` in
            :math:`1 - M(c) \approx K\sqrt{1 - c}` (no bias).

        Raises
        ------
        ValueError
            If the variance is not above zero, or so small that the activation vanishes.

        Notes
        -----
        Book: thm-ch05-near-one.
        """
        variance = check_positive("variance", variance)
        second_moment = self._second_moment(variance)
        if not second_moment > 0:
            raise fail("variance", "one at which the activation does not vanish", variance)
        return self._jump_power(variance) / (math.sqrt(math.pi) * second_moment)

    @abc.abstractmethod
    def _jump_power(self, variance: float) -> float:
        """Return the sum of the squared heights, each times the density at its threshold."""


@dataclass(frozen=True, eq=False)
class Staircase(_Jumping):
    r"""An activation with finitely many output levels, constant between thresholds.

    Parameters
    ----------
    levels : array_like
        Output of each cell from left to right, shape ``(num_levels,)``, finite, at least two, in
        any order.
    thresholds : array_like, optional
        Where the output changes, shape ``(num_levels - 1,)``, strictly increasing. By default the
        midpoints of neighboring levels, which must then increase.

    Raises
    ------
    ValueError
        If there are fewer than two levels, if thresholds are not strictly increasing or not one
        fewer than the levels, or if a number is not finite.

    Notes
    -----
    Book: ch05-staircase, ch05-second-moment, ch05-staircase-cross-moment, ch05-staircase-slope.

    .. math:: \varphi(x) = y_0 + \sum_{i=1}^{N-1} h_i\,[x \ge g_i], \qquad h_i = y_i - y_{i-1} .

    A number on a threshold goes up. All moments are sums over the steps, never quadrature across
    them: the second moment sums normal tails, the slope of the correlation map bivariate densities,
    the cross moment bivariate probabilities (close pairs of thresholds) or one integral of a
    product of conditional means that is smooth (all others), whichever is cheaper.

    Accuracy: moments 1e-14 of the largest squared level at every correlation; slopes 1e-13
    relative.

    Limits: one slope or cross moment takes time proportional to
    :math:`N / \sqrt{1 - |c|}` or to the number of close pairs, if that is less.

    Examples
    --------
    >>> from qtheory.meanfield import Staircase
    >>> ternary = Staircase([-1, 0, 1], [-0.6, 0.6])
    >>> print(round(ternary.second_moment(1.0), 6))
    0.548506
    """

    levels: FloatArray
    thresholds: FloatArray = None  # type: ignore[assignment]  # an array after the checks

    def __post_init__(self) -> None:
        """Check, copy and freeze the arrays."""
        levels = _finite_vector("levels", self.levels)
        if levels.size < 2:
            raise fail("levels", "an array with at least two elements", self.levels)
        if self.thresholds is None:
            if not (np.diff(levels) > 0).all():
                raise fail("levels", "strictly increasing where no thresholds are given", levels)
            thresholds = 0.5 * levels[:-1] + 0.5 * levels[1:]
        else:
            thresholds = _finite_vector("thresholds", self.thresholds)
        if thresholds.size != levels.size - 1:
            raise fail("thresholds", f"of length {levels.size - 1}", thresholds.size)
        if not (np.diff(thresholds) > 0).all():
            raise fail("thresholds", "strictly increasing", thresholds)
        if np.abs(levels).max() > MAX_MAGNITUDE:
            raise fail("levels", f"at most {MAX_MAGNITUDE} in magnitude", levels)
        for name, array in (("levels", levels), ("thresholds", thresholds)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_quantizer(
        cls, quantizer: ScalarQuantizer | UniformQuantizer, *, scale: float = 1.0
    ) -> "Staircase | UniformStaircase":
        r"""Return a quantizer of Part 1 as an activation, stretched by a factor.

        Parameters
        ----------
        quantizer : ScalarQuantizer or UniformQuantizer
            With finitely many levels, at least two, and any deterministic rounding.
        scale : float
            Factor :math:`s > 0` of levels and thresholds, :math:`\varphi(x) = s\,Q(x/s)`.

        Returns
        -------
        Staircase or UniformStaircase
            Equal to the quantizer everywhere but on thresholds: numbers on a threshold go up.

        Raises
        ------
        ValueError
            If the quantizer has an infinite grid, random rounding or a single level.

        Examples
        --------
        >>> from qtheory.meanfield import Staircase
        >>> from qtheory.quantizers import uniform_midrise
        >>> Staircase.from_quantizer(uniform_midrise(num_levels=4, step_size=0.5)).levels
        array([-0.75, -0.25,  0.25,  0.75])
        """
        check_instance("quantizer", quantizer, ScalarQuantizer, UniformQuantizer)
        scale = check_positive("scale", scale)
        if isinstance(quantizer, ScalarQuantizer):
            return cls(scale * quantizer.levels, scale * quantizer.thresholds)
        return _from_uniform(quantizer, scale)

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return self.levels.size

    @property
    def heights(self) -> FloatArray:
        """Heights of the steps, shape ``(num_levels - 1,)``."""
        return np.asarray(np.diff(self.levels))

    @property
    def bound(self) -> float:
        """Largest magnitude of a level."""
        return float(np.abs(self.levels).max())

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Level of the cell that holds each number; NaN stays NaN."""
        return _apply(self.levels, self.thresholds, x)

    def _jump_power(self, variance: float) -> float:
        steps = self._steps(variance)
        return float(steps.heights**2 @ normal_density(steps.thresholds))

    def _steps(self, variance: float) -> _pairs.Steps:
        thresholds = _standardized(self.thresholds, variance)
        return _pairs.Steps(thresholds, self.heights, float(self.levels[0]))

    def _mean(self, variance: float) -> float:
        if variance == 0:
            return float(self(0.0))
        return _pairs.step_mean(self._steps(variance).thresholds, self.levels)

    def _second_moment(self, variance: float) -> float:
        if variance == 0:
            return float(self(0.0)) ** 2
        return _pairs.step_mean(self._steps(variance).thresholds, self.levels**2)

    def _second_moment_slope(self, variance: float) -> float:
        t = self._steps(variance).thresholds
        return float(np.diff(self.levels**2) @ (t * normal_density(t))) / (2 * variance)

    def _derivative_second_moment(self, variance: float) -> float:
        return math.inf if self.heights.any() else 0.0

    def _cross_moment(self, correlation: float, variance: float) -> float:
        return _pairs.cross_moment(self._steps(variance), correlation)

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        if abs(correlation) == 1:
            return _slope_at_limit(self._steps(variance), correlation)
        return _pairs.cross_moment_slope(self._steps(variance), correlation)

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        steps = self._steps(variance)
        return _hermite(steps.thresholds, steps.heights, self._mean(variance), num_terms)


@dataclass(frozen=True, eq=False)
class UniformStaircase(_Jumping):
    r"""A staircase with equal steps at equally spaced thresholds, however many.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**64.
    threshold_step : float
        Distance of neighboring thresholds, above zero.
    level_step : float, optional
        Distance of neighboring levels, not zero; by default that of the thresholds.
    threshold_center, level_center : float
        Middle of the thresholds and of the levels. Zero for a signed quantizer.

    Raises
    ------
    ValueError
        If there are fewer than two levels, or a step is zero, negative or not finite.

    Notes
    -----
    Book: ch05-staircase, ch05-second-moment, ch05-uniform-sum.

    Thresholds :math:`g_i = g + \Delta\,(i - N/2)` for :math:`i = 1 \dots N-1`, levels
    :math:`y_i = y + h\,(i - (N-1)/2)` for :math:`i = 0 \dots N-1`. Even :math:`N` has a threshold
    in the middle (mid-rise), odd :math:`N` a level (mid-tread).

    The double sum over thresholds separates in i + j and i - j, so that the slope at any
    correlation takes time proportional to :math:`N`; above 2**14 thresholds within reach the sums
    turn into integrals with Euler-Maclaurin corrections, and the time no longer depends on
    :math:`N`.

    Accuracy: as `Staircase`.

    Examples
    --------
    >>> from qtheory.meanfield import UniformStaircase
    >>> staircase = UniformStaircase(2**32, 1e-8)
    >>> print(round(staircase.cross_moment(0.5, 1.0), 9))
    0.5
    """

    num_levels: int
    threshold_step: float
    level_step: float = None  # type: ignore[assignment]  # a float after the checks
    _: KW_ONLY
    threshold_center: float = 0.0
    level_center: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        number = check_integer("num_levels", self.num_levels, minimum=2, maximum=MAX_LEVELS)
        object.__setattr__(self, "num_levels", number)
        step = check_positive("threshold_step", self.threshold_step)
        height = step if self.level_step is None else check_finite("level_step", self.level_step)
        if height == 0:
            raise fail("level_step", "different from zero", self.level_step)
        object.__setattr__(self, "threshold_step", step)
        object.__setattr__(self, "level_step", height)
        for name in ("threshold_center", "level_center"):
            object.__setattr__(self, name, check_finite(name, getattr(self, name)))
        if self.bound > MAX_MAGNITUDE:
            condition = f"small enough for levels of at most {MAX_MAGNITUDE}"
            raise fail("level_step", condition, self.level_step)

    @cached_property
    def levels(self) -> FloatArray:
        """Levels in order, shape ``(num_levels,)``; at most 2**24 are listed."""
        n = self._listed()
        places = np.arange(n, dtype=np.float64) - (n - 1) / 2
        levels: FloatArray = self.level_center + self.level_step * places
        levels.flags.writeable = False
        return levels

    @cached_property
    def thresholds(self) -> FloatArray:
        """Thresholds in order, shape ``(num_levels - 1,)``; at most 2**24 are listed."""
        n = self._listed() - 1
        places = np.arange(n, dtype=np.float64) - (n - 1) / 2
        thresholds: FloatArray = self.threshold_center + self.threshold_step * places
        thresholds.flags.writeable = False
        return thresholds

    @property
    def heights(self) -> FloatArray:
        """Heights of the steps, all equal, shape ``(num_levels - 1,)``."""
        return np.full(self._listed() - 1, self.level_step)

    @property
    def bound(self) -> float:
        """Largest magnitude of a level."""
        return abs(self.level_center) + abs(self.level_step) * (self.num_levels - 1) / 2

    def scaled(self, factor: float) -> Self:
        r"""Return the staircase with levels and thresholds stretched by a factor above zero."""
        factor = check_positive("factor", factor)
        return type(self)(
            self.num_levels,
            factor * self.threshold_step,
            factor * self.level_step,
            threshold_center=factor * self.threshold_center,
            level_center=factor * self.level_center,
        )

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Level of the cell that holds each number; NaN stays NaN."""
        if self.num_levels <= MAX_LISTED_LEVELS:
            return _apply(self.levels, self.thresholds, x)
        array = as_float_array("x", x).astype(np.float64)
        last = float(self.num_levels - 1)
        with np.errstate(over="ignore"):
            place = (array - self.threshold_center) / self.threshold_step + 0.5 * (last - 1)
        code = np.clip(np.floor(place) + 1, 0.0, last)
        return np.asarray(self.level_center + self.level_step * (code - 0.5 * last))

    def _jump_power(self, variance: float) -> float:
        return self.level_step**2 * self._sum(DENSITY, variance)

    def _listed(self) -> int:
        if self.num_levels > MAX_LISTED_LEVELS:
            raise fail("num_levels", f"at most {MAX_LISTED_LEVELS} to be listed", self.num_levels)
        return self.num_levels

    def _below(self) -> int:
        """Return the number of thresholds at or below zero."""
        place = min(max(self.threshold_center / self.threshold_step, -FAR), FAR)
        last = (self.num_levels - 2) / 2 - place
        return min(max(math.floor(last) + 1, 0), self.num_levels - 1)

    def _sides(self, variance: float) -> tuple[tuple[float, int], tuple[float, int]]:
        """Return distance of the first threshold and number of them, above and below zero."""
        sigma, below = math.sqrt(variance), self._below()
        offset = below - (self.num_levels - 2) / 2
        above = (self.threshold_center + self.threshold_step * offset) / sigma
        beneath = -(self.threshold_center + self.threshold_step * (offset - 1)) / sigma
        return (above, self.num_levels - 1 - below), (max(beneath, 0.0), below)

    def _spacing(self, variance: float) -> float:
        """Return the distance of the thresholds in standard deviations."""
        return min(max(self.threshold_step / math.sqrt(variance), 1 / FAR), FAR)

    def _level_at_zero(self) -> float:
        return self.level_center + self.level_step * (self._below() - (self.num_levels - 1) / 2)

    def _sum(self, summand: Summand, variance: float) -> float:
        """Return the sum of an even function over all thresholds."""
        spacing = self._spacing(variance)
        return sum(lattice_sum(summand, a, spacing, n) for a, n in self._sides(variance))

    def _square_sum(self, summand: Summand, variance: float) -> float:
        """Return the sum over thresholds of the rise of the squared level, away from zero."""
        spacing = self._spacing(variance)
        level, height = self._level_at_zero(), self.level_step
        total = 0.0
        for (first, count), sign in zip(self._sides(variance), (1.0, -1.0), strict=True):
            constant, linear = height * (2 * sign * level + height), 2 * height**2
            total += lattice_sum(summand, first, spacing, count, constant=constant, linear=linear)
        return total

    def _mean(self, variance: float) -> float:
        if variance == 0:
            return self._level_at_zero()
        spacing = self._spacing(variance)
        up, down = (lattice_sum(TAIL, a, spacing, n) for a, n in self._sides(variance))
        return self._level_at_zero() + self.level_step * (up - down)

    def _second_moment(self, variance: float) -> float:
        base = self._level_at_zero() ** 2
        return base if variance == 0 else base + self._square_sum(TAIL, variance)

    def _second_moment_slope(self, variance: float) -> float:
        return self._square_sum(DENSITY_MOMENT, variance) / (2 * variance)

    def _derivative_second_moment(self, variance: float) -> float:
        return math.inf

    def _lattice(self, variance: float) -> Lattice:
        center = min(max(self.threshold_center / math.sqrt(variance), -FAR), FAR)
        return Lattice(self.num_levels - 1, self._spacing(variance), center)

    def _cross_moment(self, correlation: float, variance: float) -> float:
        return float(self._cross_moments(np.array([correlation]), variance)[0])

    def _cross_moments(self, correlations: FloatArray, variance: float) -> FloatArray:
        lattice, power = self._lattice(variance), self.level_step**2
        angles, base = _angles(correlations), self._mean(variance) ** 2
        moments = np.empty(correlations.size)
        is_high = correlations > 0.5
        lost = pair_density_integrals(lattice, np.zeros(is_high.sum()), angles[is_high])
        moments[is_high] = self._second_moment(variance) - power * lost
        for chosen, sign in ((~is_high & (correlations >= 0), 1), (correlations < 0, -1)):
            start, stop = angles[chosen], np.full(chosen.sum(), math.pi / 2)
            moved = pair_density_integrals(lattice, start, stop, mirrored=sign < 0)
            moments[chosen] = base + sign * power * moved
        return moments

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        if abs(correlation) == 1:
            # At c = -1 the slope is finite only if no two thresholds mirror each other.
            return _slope_at_limit(self._near_steps(variance), correlation)
        angle = 2 * math.asin(math.sqrt(0.5 * (1 - abs(correlation))))
        density = pair_density_at(self._lattice(variance), angle, mirrored=correlation < 0)
        return self.level_step**2 * density / (2 * math.pi * math.sin(angle))

    def _inner_slopes(
        self, correlations: FloatArray, variance: float, mirrored: bool
    ) -> FloatArray:
        """Return the slopes at correlations of one sign, none of them 1 or -1."""
        angles = _angles(correlations)
        sums = pair_density_sum(self._lattice(variance), angles, mirrored=mirrored)
        return np.asarray(self.level_step**2 / (2 * math.pi) * sums / np.sin(angles))

    def _cross_moment_slopes(self, correlations: FloatArray, variance: float) -> FloatArray:
        slopes = np.empty(correlations.size)
        is_end = np.abs(correlations) == 1
        for mirrored in (False, True):
            chosen = ~is_end & ((correlations < 0) == mirrored)
            slopes[chosen] = self._inner_slopes(correlations[chosen], variance, mirrored)
        slopes[is_end] = [self._cross_moment_slope(c, variance) for c in correlations[is_end]]
        return slopes

    def _near_steps(self, variance: float) -> _pairs.Steps:
        """Return the thresholds within reach, to ask whether any mirror each other."""
        sides = self._sides(variance)
        first = np.array([sides[0][0], -sides[1][0]])[[side[1] > 0 for side in sides]]
        return _pairs.Steps(np.sort(first), np.full(first.size, self.level_step), 0.0)

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        thresholds = _standardized(self.thresholds, variance)
        return _hermite(thresholds, self.heights, self._mean(variance), num_terms)


def sign() -> UniformStaircase:
    """Sign function: two levels, -1 and 1, with its threshold at zero.

    Returns
    -------
    UniformStaircase
        The sign function; zero goes to 1.

    Examples
    --------
    >>> from qtheory.meanfield import sign
    >>> print(round(sign().cross_moment(0.5, 1.0), 12))  # (2 / pi) arcsin(1/2)
    0.333333333333
    """
    return UniformStaircase(2, 2.0)


def uniform_staircase(num_levels: int, *, clip: float = 1.0) -> UniformStaircase:
    r"""Tied uniform staircase: equispaced levels on [-clip, clip], thresholds at their midpoints.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**64.
    clip : float
        Largest level, above zero.

    Returns
    -------
    UniformStaircase
        Threshold step and level step are both ``2 * clip / (num_levels - 1)``.

    Raises
    ------
    ValueError
        If there are fewer than two levels or ``clip`` is not above zero.

    Notes
    -----
    Book: ch06-tied.

    Examples
    --------
    >>> from qtheory.meanfield import uniform_staircase
    >>> uniform_staircase(5).levels
    array([-1. , -0.5,  0. ,  0.5,  1. ])
    """
    num_levels = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LEVELS)
    return UniformStaircase(num_levels, 2 * check_positive("clip", clip) / (num_levels - 1))


def unsigned_staircase(num_levels: int, *, step: float = 1.0) -> UniformStaircase:
    r"""Unsigned uniform staircase: levels 0, step, 2 step, .., thresholds at their midpoints.

    Parameters
    ----------
    num_levels : int
        Number of levels, from 2 to 2**64.
    step : float
        Distance of levels and of thresholds, above zero.

    Returns
    -------
    UniformStaircase
        A quantized ReLU that clips at ``step * (num_levels - 1)``.

    Raises
    ------
    ValueError
        If there are fewer than two levels or ``step`` is not above zero.

    Examples
    --------
    >>> from qtheory.meanfield import unsigned_staircase
    >>> unsigned_staircase(4, step=0.5).thresholds
    array([0.25, 0.75, 1.25])
    """
    num_levels = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LEVELS)
    middle = check_positive("step", step) * (num_levels - 1) / 2
    return UniformStaircase(num_levels, step, threshold_center=middle, level_center=middle)


def _from_uniform(quantizer: UniformQuantizer, scale: float) -> Staircase | UniformStaircase:
    """Return a uniform quantizer as a staircase."""
    if quantizer.round_mode is RoundMode.STOCHASTIC:
        raise fail("quantizer", "deterministic (see StochasticStaircase)", quantizer.round_mode)
    if quantizer.code_min is None or quantizer.code_max is None:
        raise fail("quantizer", "one with finitely many levels", quantizer)
    if quantizer.round_mode is RoundMode.TOWARD_ZERO:
        return Staircase(scale * quantizer.levels, scale * quantizer.thresholds)
    step = scale * quantizer.step_size
    center = step * 0.5 * (quantizer.code_min + quantizer.code_max) + scale * quantizer.offset
    shift = {RoundMode.FLOOR: 0.5, RoundMode.CEIL: -0.5}.get(quantizer.round_mode, 0.0)
    return UniformStaircase(
        quantizer.code_max - quantizer.code_min + 1,
        step,
        threshold_center=center + shift * step,
        level_center=center,
    )


def _finite_vector(name: str, value: ArrayLike) -> FloatArray:
    """Return a finite vector as a fresh float64 array."""
    array = as_float_array(name, value).astype(np.float64)
    if array.ndim != 1:
        raise fail(name, "one-dimensional", f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise fail(name, "finite", array)
    return array


def _apply(levels: FloatArray, thresholds: FloatArray, x: ArrayLike) -> FloatArray:
    """Return the level of the cell that holds each number."""
    array = as_float_array("x", x).astype(np.float64)
    result = levels[np.searchsorted(thresholds, array, side="right")]
    return np.asarray(np.where(np.isnan(array), np.nan, result))


def _standardized(thresholds: FloatArray, variance: float) -> FloatArray:
    """Return thresholds in standard deviations, within limits that squares can take."""
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(thresholds / math.sqrt(variance), -FAR, FAR))


def _angles(correlations: FloatArray) -> FloatArray:
    """Return arccos of the magnitudes, exact as they approach one."""
    return np.asarray(2 * np.arcsin(np.sqrt(0.5 * (1 - np.abs(correlations)))))


def _slope_at_limit(steps: _pairs.Steps, correlation: float) -> float:
    """Return the slope at correlation 1 or -1: infinite where thresholds meet, else zero."""
    second = steps if correlation > 0 else _pairs.mirrored(steps)
    _, i, j = np.intersect1d(steps.thresholds, second.thresholds, return_indices=True)
    weight = float(steps.heights[i] @ second.heights[j]) * correlation
    return math.copysign(math.inf, weight) if weight else 0.0


def _hermite(
    thresholds: FloatArray, heights: FloatArray, mean: float, num_terms: int
) -> FloatArray:
    r"""Return :math:`\sum_i h_i \mathrm{He}_{k-1}(t_i) \phi(t_i) / \sqrt{k!}` for each k >= 1."""
    coefficients = np.empty(num_terms)
    coefficients[0] = mean
    # Normalized functions He_k(t) phi(t) / sqrt(k!), by their stable recurrence.
    previous, current = np.zeros_like(thresholds), normal_density(thresholds)
    for k in range(1, num_terms):
        coefficients[k] = float(heights @ current) / math.sqrt(k)
        following = (thresholds * current - math.sqrt(k - 1) * previous) / math.sqrt(k)
        previous, current = current, following
    return coefficients
