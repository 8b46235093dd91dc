"""Monte Carlo partner of the theory of training: plain loops over the definitions.

Nothing here knows the theory, or the fast update rules: rounding is that of `qtheory.quantizers`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import check_choice, check_generator, check_integer, check_positive, fail
from qtheory.numerics import Estimate
from qtheory.quantizers import RoundMode, round_to_integer

__all__ = ["one_step", "stationary_mean", "visit_frequencies"]

FloatArray = NDArray[np.float64]
Gradient = Callable[[FloatArray], ArrayLike]


def one_step(
    gradients: ArrayLike,
    *,
    learning_rate: float,
    grid_step: float,
    rng: np.random.Generator,
    rule: str = "sr",
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate mean, mean square and probability of a move from the grid point zero.

    Parameters
    ----------
    gradients : array_like of float
        Draws of the gradient, shape ``(n,)``, one for each step.
    learning_rate : float
        Learning rate, above zero.
    grid_step : float
        Grid step, above zero.
    rng : numpy.random.Generator
        Source of randomness of the rounding.
    rule : {"sr", "r"}
        Stochastic rounding, or rounding to nearest with ties away from zero.

    Returns
    -------
    tuple of Estimate
        Mean of the move, of its square, and probability that it is not zero.
    """
    check_choice("rule", rule, ["sr", "r"])
    rate, step = (
        check_positive("learning_rate", learning_rate),
        check_positive("grid_step", grid_step),
    )
    mode = RoundMode.STOCHASTIC if rule == "sr" else RoundMode.TIES_AWAY
    source = check_generator("rng", rng) if rule == "sr" else None
    moves = step * round_to_integer(-rate / step * np.asarray(gradients), mode, rng=source)
    moving = (moves != 0).astype(np.float64)
    estimates = [Estimate.from_samples(samples) for samples in (moves, moves**2, moving)]
    return estimates[0], estimates[1], estimates[2]


def visit_frequencies(
    gradient: Gradient,
    levels: ArrayLike,
    *,
    learning_rate: float,
    num_steps: int,
    num_replicas: int,
    num_discarded: int = 0,
    rng: np.random.Generator,
) -> FloatArray:
    """Return how often stochastic rounding visits each level of a line, replica by replica.

    Parameters
    ----------
    gradient : callable
        From weights, shape ``(num_replicas,)``, to stochastic gradients of that shape.
    levels : array_like of float
        Levels at equal distances, increasing, shape ``(n,)``; weights are clipped to them.
    learning_rate : float
        Learning rate, above zero.
    num_steps : int
        Number of steps that count, at least 1.
    num_replicas : int
        Number of independent walks, at least 1; they start on random levels.
    num_discarded : int
        Number of steps before those that count.
    rng : numpy.random.Generator
        Source of randomness of start and rounding.

    Returns
    -------
    numpy.ndarray
        Frequencies, shape ``(num_replicas, n)``, each row of sum one. Rows are independent, so
        their spread gives the standard error.
    """
    points = np.asarray(levels, dtype=np.float64)
    if points.ndim != 1 or points.size < 2:
        raise fail("levels", "at least two levels of a line", points.shape)
    generator, rate = check_generator("rng", rng), check_positive("learning_rate", learning_rate)
    total = check_integer("num_steps", num_steps, minimum=1)
    step = (points[-1] - points[0]) / (points.size - 1)
    rows = np.arange(check_integer("num_replicas", num_replicas, minimum=1))
    codes = generator.integers(0, points.size, rows.size).astype(np.float64)
    counts = np.zeros((rows.size, points.size))
    for time in range(check_integer("num_discarded", num_discarded, minimum=0) + total):
        if time >= num_discarded:
            counts[rows, codes.astype(np.intp)] += 1
        target = codes - rate / step * np.asarray(gradient(points[0] + step * codes))
        codes = round_to_integer(target, RoundMode.STOCHASTIC, rng=generator)
        codes = np.clip(codes, 0, points.size - 1)
    return np.asarray(counts / total)


def stationary_mean(
    function: Callable[[FloatArray], ArrayLike],
    gradient: Gradient,
    start: ArrayLike,
    *,
    grid_step: float,
    learning_rate: float,
    num_steps: int,
    num_discarded: int,
    rng: np.random.Generator,
) -> Estimate:
    """Estimate the mean of a function of the weights under stochastic rounding.

    Parameters
    ----------
    function : callable
        From weights of shape ``(r, d)`` to values of shape ``(r,)``.
    gradient : callable
        From weights of shape ``(r, d)`` to stochastic gradients of that shape.
    start : array_like of float
        First weights, shape ``(r, d)``; rows are independent replicas, at least two.
    grid_step : float
        Step of the endless grid that weights are rounded to, above zero.
    learning_rate : float
        Learning rate, above zero.
    num_steps, num_discarded : int
        Number of steps that count, and before them.
    rng : numpy.random.Generator
        Source of randomness of the rounding.

    Returns
    -------
    Estimate
        Mean over time and replicas, with the standard error over replicas.
    """
    rate, step = (
        check_positive("learning_rate", learning_rate),
        check_positive("grid_step", grid_step),
    )
    generator = check_generator("rng", rng)
    weights = np.asarray(start, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[0] < 2:
        raise fail("start", "of shape (replicas, d) with two replicas or more", weights.shape)
    total = np.zeros(weights.shape[0])
    for time in range(num_discarded + check_integer("num_steps", num_steps, minimum=1)):
        if time >= num_discarded:
            total += np.asarray(function(weights))
        target = (weights - rate * np.asarray(gradient(weights))) / step
        weights = step * round_to_integer(target, RoundMode.STOCHASTIC, rng=generator)
    return Estimate.from_samples(total / num_steps)
