"""Schedules of the learning rate: functions of the step t = 0, 1, 2, ..."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from qtheory._checks import check_integer, check_nonnegative, check_positive, fail

__all__ = ["constant", "geometric", "inverse_sqrt", "inverse_time", "piecewise"]

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """Return the same learning rate at every step.

    Parameters
    ----------
    learning_rate : float
        Learning rate, not below zero.

    Returns
    -------
    callable
        From a step t to a learning rate.
    """
    rate = check_nonnegative("learning_rate", learning_rate)
    return lambda step: rate


def inverse_time(strong_convexity: float, *, offset: float = 1.0) -> Schedule:
    r"""Return :math:`\alpha_t = 1 / (\mu (t + t_0))`, the schedule of strong convexity.

    Parameters
    ----------
    strong_convexity : float
        Constant :math:`\mu`, above zero.
    offset : float
        Offset :math:`t_0`, above zero; at least one in the theorems. One of the condition number
        :math:`L/\mu` keeps the first steps stable.

    Returns
    -------
    callable
        From a step t to a learning rate.

    Notes
    -----
    Book: ch08-schedules.
    """
    mu = check_positive("strong_convexity", strong_convexity)
    start = check_positive("offset", offset)
    return lambda step: 1 / (mu * (step + start))


def inverse_sqrt(rate_constant: float) -> Schedule:
    r"""Return :math:`\alpha_t = c/\sqrt{t + 1}`, the schedule of convex problems.

    Parameters
    ----------
    rate_constant : float
        Constant c, above zero.

    Returns
    -------
    callable
        From a step t to a learning rate.

    Notes
    -----
    Book: ch08-schedules.
    """
    factor = check_positive("rate_constant", rate_constant)
    return lambda step: float(factor / (step + 1) ** 0.5)


def geometric(first: float, last: float, num_steps: int) -> Schedule:
    """Return learning rates in geometric progression, then constant.

    Parameters
    ----------
    first, last : float
        Learning rates of the first and of the last step, above zero.
    num_steps : int
        Number of steps, at least 2.

    Returns
    -------
    callable
        From a step t to a learning rate.

    Examples
    --------
    >>> from qtheory.training import geometric
    >>> rate = geometric(1.0, 0.01, 3)
    >>> [round(rate(t), 12) for t in range(4)]
    [1.0, 0.1, 0.01, 0.01]
    """
    start, end = check_positive("first", first), check_positive("last", last)
    count = check_integer("num_steps", num_steps, minimum=2) - 1
    return lambda step: float(start * (end / start) ** (min(step, count) / count))


def piecewise(learning_rates: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Return learning rates that change at given steps.

    Parameters
    ----------
    learning_rates : sequence of float
        Learning rates, not below zero, one more than there are boundaries.
    boundaries : sequence of int
        Steps, strictly increasing, from which the next learning rate holds.

    Returns
    -------
    callable
        From a step t to a learning rate.

    Examples
    --------
    >>> from qtheory.training import piecewise
    >>> rate = piecewise([0.1, 0.01], [100])
    >>> rate(99), rate(100)
    (0.1, 0.01)
    """
    rates = [check_nonnegative("learning_rates", rate) for rate in learning_rates]
    steps = [check_integer("boundaries", step, minimum=0) for step in boundaries]
    if len(rates) != len(steps) + 1:
        raise fail("learning_rates", "one more than `boundaries`", len(rates))
    if any(first >= second for first, second in pairwise(steps)):
        raise fail("boundaries", "strictly increasing", steps)
    return lambda step: rates[bisect_right(steps, step)]
