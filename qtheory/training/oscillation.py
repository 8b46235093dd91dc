r"""Weights that oscillate between two levels: how fast, how wide, and what stops them."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)

__all__ = [
    "OscillationTracker",
    "dampening_threshold",
    "freezing_steps_approx",
    "oscillation_amplitude",
    "reversal_rate",
    "trapping_threshold",
]

FloatArray = NDArray[np.float64]


def reversal_rate(position: ArrayLike, *, dampening: float = 0.0) -> FloatArray:
    r"""Reversals of a rounded weight per step, whatever the learning rate.

    A reversal is a change of the rounded weight in the direction opposite to its last change.
    With dampening this is the limit of small learning rates.

    Parameters
    ----------
    position : array_like
        Distance :math:`\theta` of the minimizer to the level below it over the grid step, in
        [0, 1], any shape.
    dampening : float
        Strength :math:`\lambda` of a penalty of :math:`\lambda` times the squared distance of
        latent and rounded weight, not negative.

    Returns
    -------
    numpy.ndarray
        Reversals per step, in [0, 1]; zero where the penalty stops the oscillation.

    Raises
    ------
    ValueError
        If ``position`` is not in [0, 1] or ``dampening`` is negative.

    See Also
    --------
    qtheory.training.simulate.latent_path : The weights themselves.

    Notes
    -----
    Book: thm-ch10-reversals, thm-ch10-dampened.

    .. math:: 2 \frac{\min(\theta, 1 - \theta) - \lambda}{1 - 2\lambda}
              \quad\text{for } \lambda < \min(\theta, 1 - \theta) .

    Assumptions: quadratic loss with curvature one, learning rate times ``1 + 2 * dampening`` at
    most one.

    Accuracy: exact without dampening, up to ``3 / T`` over T steps once the latent weight is near
    the threshold between the levels; with dampening, of the order of the learning rate besides.

    Limits: independent of the grid step, and without dampening of the learning rate.

    Examples
    --------
    >>> from qtheory.training import reversal_rate
    >>> reversal_rate([0.1, 0.3, 0.5, 0.9])
    array([0.2, 0.6, 1. , 0.2])
    """
    nearest = dampening_threshold(position)
    strength = check_nonnegative("dampening", dampening)
    active = nearest > strength
    slack = np.where(active, 1 - 2 * strength, 1.0)
    return np.asarray(np.where(active, 2 * (nearest - strength) / slack, 0.0))


def oscillation_amplitude(
    *, learning_rate: float, grid_step: float = 1.0, period: int | None = None
) -> float:
    r"""Range of an oscillating latent weight, from its least to its greatest value.

    Parameters
    ----------
    learning_rate : float
        Learning rate :math:`\alpha` times the curvature, above zero.
    grid_step : float
        Grid step :math:`\Delta`, above zero.
    period : int, optional
        Denominator :math:`q` of the position :math:`\theta = p/q` in lowest terms, at least one.
        Left out, the position is irrational.

    Returns
    -------
    float
        :math:`\alpha\Delta(1 - 1/q)`, and :math:`\alpha\Delta` for irrational positions, where it
        is approached and not reached.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch10-amplitude.

    Assumptions: quadratic loss, learning rate times curvature at most one.

    Examples
    --------
    >>> from qtheory.training import oscillation_amplitude
    >>> print(round(oscillation_amplitude(learning_rate=0.1, period=10), 12))
    0.09
    """
    width = check_positive("learning_rate", learning_rate) * check_positive("grid_step", grid_step)
    if period is None:
        return width
    return width * (1 - 1 / check_integer("period", period, minimum=1))


def dampening_threshold(position: ArrayLike) -> FloatArray:
    r"""Dampening above which an oscillation stops.

    Parameters
    ----------
    position : array_like
        Distance :math:`\theta` of the minimizer to the level below it over the grid step, in
        [0, 1], any shape.

    Returns
    -------
    numpy.ndarray
        :math:`\min(\theta, 1 - \theta)`.

    Raises
    ------
    ValueError
        If ``position`` is not in [0, 1].

    Notes
    -----
    Book: thm-ch10-dampening.

    Assumptions: quadratic loss with curvature one, learning rate times ``1 + 2 * dampening`` at
    most one.

    Limits: up to :func:`trapping_threshold` the weight stops at the level nearest to the minimizer
    from every start, beyond it also at the farther neighbor if it comes from there.

    Examples
    --------
    >>> from qtheory.training import dampening_threshold
    >>> print(dampening_threshold(0.75))
    0.25
    """
    values = _positions(position)
    return np.asarray(np.minimum(values, 1 - values))


def trapping_threshold(position: ArrayLike) -> FloatArray:
    r"""Dampening above which a weight that comes from the farther level stays there.

    Parameters
    ----------
    position : array_like
        As in :func:`dampening_threshold`.

    Returns
    -------
    numpy.ndarray
        :math:`\max(\theta, 1 - \theta)`.

    Raises
    ------
    ValueError
        If ``position`` is not in [0, 1].

    Notes
    -----
    Book: thm-ch10-dampening.

    Assumptions: as in :func:`dampening_threshold`.

    Examples
    --------
    >>> from qtheory.training import trapping_threshold
    >>> print(trapping_threshold(0.75))
    0.75
    """
    values = _positions(position)
    return np.asarray(np.maximum(values, 1 - values))


def freezing_steps_approx(rate: float, *, momentum: float, threshold: float) -> float:
    r"""Estimate after how many steps the running mean of reversals exceeds a threshold.

    Parameters
    ----------
    rate : float
        Reversals per step, in [0, 1].
    momentum : float
        Weight :math:`m` of the newest step in the running mean, in (0, 1).
    threshold : float
        Frequency above which a weight is frozen, above zero.

    Returns
    -------
    float
        Least whole :math:`k` with :math:`r (1 - (1 - m)^k) > f`, infinite for a rate at or below
        the threshold.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch10-freezing-time.

    Accuracy: exact up to rounding for a reversal in every step; else reversals are replaced by
    their mean, and a visit with its two reversals lifts the running mean by up to twice the
    momentum above it.

    Examples
    --------
    >>> from qtheory.training import freezing_steps_approx
    >>> freezing_steps_approx(1.0, momentum=0.01, threshold=0.1)
    11.0
    """
    shares = _positions(rate, name="rate")
    if shares.ndim > 0:
        raise fail("rate", "a single number", rate)
    share = float(shares)
    weight = _momentum(momentum)
    limit = check_positive("threshold", threshold)
    if share <= limit:
        return math.inf
    return math.floor(math.log1p(-limit / share) / math.log1p(-weight)) + 1.0


class OscillationTracker:
    r"""Counts the reversals of integer codes and freezes the weights that oscillate too often.

    Parameters
    ----------
    codes : array_like of int
        Integer codes of the weights at the start, any shape.
    momentum : float
        Weight of the newest step in the running means, in (0, 1).
    threshold : float, optional
        Frequency of reversals above which a weight is frozen, above zero. Left out, none is.

    Raises
    ------
    ValueError
        If ``codes`` are not integers, or a number is out of range.

    Notes
    -----
    Book: sec-ch10-freezing.

    Algorithm, in each step, for each weight that is not frozen:

    1. A change of the code against the direction of its last change is a reversal.
    2. The running mean of reversals is ``f = momentum * reversal + (1 - momentum) * f``.
    3. If ``f > threshold`` the weight is frozen to the rounded running mean of its codes.
    4. The running mean of codes takes in the new code.

    A single reversal lifts the frequency to ``momentum``, and a visit to another level brings two,
    so a threshold has to be some times as large.

    References
    ----------
    [Nagel2022]_, and the program published with it.

    Examples
    --------
    >>> from qtheory.training import OscillationTracker
    >>> tracker = OscillationTracker([0, 0], momentum=0.5, threshold=0.6)
    >>> for codes in ([1, 1], [0, 1], [1, 1]):
    ...     print(tracker.update(codes))
    [False False]
    [ True False]
    [ True False]
    >>> tracker.is_frozen, tracker.apply([1, 7])
    (array([ True, False]), array([0, 7]))
    """

    def __init__(
        self, codes: ArrayLike, *, momentum: float = 0.01, threshold: float | None = None
    ) -> None:
        self._codes = _integers("codes", codes)
        self._momentum = _momentum(momentum)
        self._threshold = None if threshold is None else check_positive("threshold", threshold)
        self._directions = np.zeros(self._codes.shape, dtype=np.int64)
        self._frequency = np.zeros(self._codes.shape)
        self._mean_codes = self._codes.astype(np.float64)
        self._is_frozen = np.zeros(self._codes.shape, dtype=np.bool_)
        self._frozen_codes = self._codes.copy()
        self._num_reversals = np.zeros(self._codes.shape, dtype=np.int64)
        self._num_updates = 0

    @property
    def frequency(self) -> FloatArray:
        """Running mean of the reversals of each weight, in [0, 1]."""
        return self._frequency.copy()

    @property
    def mean_codes(self) -> FloatArray:
        """Running mean of the codes of each weight."""
        return self._mean_codes.copy()

    @property
    def is_frozen(self) -> NDArray[np.bool_]:
        """Which weights are frozen."""
        return self._is_frozen.copy()

    @property
    def num_reversals(self) -> NDArray[np.int64]:
        """Number of reversals of each weight so far."""
        return self._num_reversals.copy()

    @property
    def num_updates(self) -> int:
        """Number of updates so far."""
        return self._num_updates

    def update(self, codes: ArrayLike, *, threshold: float | None = None) -> NDArray[np.bool_]:
        """Take in the codes after a step of training.

        Parameters
        ----------
        codes : array_like of int
            New integer codes, same shape as at the start. Those of frozen weights are replaced.
        threshold : float, optional
            New threshold from this step on, above zero, for thresholds that fall in training.

        Returns
        -------
        numpy.ndarray
            Whether each weight reversed its direction in this step, booleans.

        Raises
        ------
        ValueError
            If ``codes`` are not integers of the same shape, or ``threshold`` is out of range.
        """
        new = self.apply(codes)
        if threshold is not None:
            self._threshold = check_positive("threshold", threshold)
        directions = np.sign(new - self._codes)
        reversals = np.asarray(directions * self._directions == -1)
        self._frequency += self._momentum * (reversals - self._frequency)
        self._directions = np.where(directions != 0, directions, self._directions)
        self._freeze()
        self._mean_codes += self._momentum * (new - self._mean_codes)
        self._codes = new
        self._num_reversals += reversals
        self._num_updates += 1
        return reversals

    def apply(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Put the frozen codes in their places.

        Parameters
        ----------
        codes : array_like of int
            Integer codes, same shape as at the start.

        Returns
        -------
        numpy.ndarray
            The codes with those of frozen weights replaced, a new array.

        Raises
        ------
        ValueError
            If ``codes`` are not integers of the same shape.
        """
        new = _integers("codes", codes)
        if new.shape != self._codes.shape:
            raise fail("codes", f"an array of shape {self._codes.shape}", f"shape {new.shape}")
        return np.where(self._is_frozen, self._frozen_codes, new)

    def _freeze(self) -> None:
        """Freeze what oscillates more often than the threshold, and was not frozen before."""
        if self._threshold is None:
            return
        fresh = (self._frequency > self._threshold) & ~self._is_frozen
        self._frozen_codes[fresh] = np.rint(self._mean_codes[fresh]).astype(np.int64)
        self._is_frozen |= fresh


def _positions(value: ArrayLike, *, name: str = "position") -> FloatArray:
    array = np.asarray(as_float_array(name, value), dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise fail(name, "in [0, 1]", value)
    return array


def _momentum(value: float) -> float:
    number = check_positive("momentum", value)
    if number >= 1:
        raise fail("momentum", "above zero and below one", value)
    return number


def _integers(name: str, value: ArrayLike) -> NDArray[np.int64]:
    """Return a copy of an array of integers."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.size == 0:
        raise fail(name, "an array of integers", f"{array.dtype} of shape {array.shape}")
    return array.astype(np.int64)
