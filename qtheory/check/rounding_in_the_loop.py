"""Checks of the exercises of the chapter on rounding in the loop of training."""

import math

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, compare
from qtheory.training import (
    RademacherNoise,
    one_step_moments,
    rounding_threshold,
    sr_quadratic_floor,
)

__all__ = [
    "averaged_share",
    "extra_bits",
    "frozen_radius",
    "mean_square_move",
    "sixteen_weight_floor",
    "threshold_excess",
]


def frozen_radius(
    answer: ArrayLike,
    *,
    curvature: float = 2.0,
    learning_rate: float = 0.1,
    grid_step: float = 0.125,
) -> Verdict:
    """Check within which distance of the minimizer rounding to nearest freezes a weight.

    Parameters
    ----------
    answer : float
        Distance of the minimizer.
    curvature, learning_rate, grid_step : float
        The setting, each above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    radius = grid_step / (2 * learning_rate * curvature)
    return compare(
        answer,
        radius,
        right="several grid steps: a smaller learning rate freezes a larger region.",
        hint="the step is learning rate times curvature times distance; when does it round to 0?",
        misconceptions=[
            (2 * radius, "half a grid step is enough to be rounded away, not a whole one."),
            (grid_step / 2, "this is the smallest step that moves; divide by rate and curvature."),
            (
                learning_rate * curvature * grid_step / 2,
                "the step is rate times curvature times distance; solve for the distance.",
            ),
        ],
    )


def mean_square_move(
    answer: ArrayLike,
    *,
    gradient: float = 4.25,
    learning_rate: float = 0.1,
    grid_step: float = 0.25,
) -> Verdict:
    """Check the mean square of the move of stochastic rounding in one step.

    Parameters
    ----------
    answer : float
        Mean square of the move.
    gradient, learning_rate, grid_step : float
        The setting.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    move = one_step_moments(gradient, learning_rate=learning_rate, grid_step=grid_step)
    square, linear = (learning_rate * gradient) ** 2, learning_rate * abs(gradient) * grid_step
    return compare(
        answer,
        move.second_moment,
        right="a step beyond one grid step has both parts, the squared step and the dice.",
        hint="how many whole grid steps is the step, and what fraction is left to the dice?",
        misconceptions=[
            (square, "this is the squared step without rounding; add what the dice do."),
            (linear, "this holds for steps of at most one grid step; this one is longer."),
            (move.second_moment - square, "this is the variance of rounding; add the square."),
            (square + linear, "this is the upper bound; the variance of rounding is smaller."),
            (math.sqrt(move.second_moment), "this is the root of it; the square is asked for."),
        ],
    )


def sixteen_weight_floor(answer: ArrayLike, *, grid_step: float = 0.25) -> Verdict:
    """Check the mean excess of stochastic rounding of sixteen weights with noise of one size.

    Parameters
    ----------
    answer : float
        Mean of the objective less its minimum, summed over the weights.
    grid_step : float
        Step of the grid, one over an integer.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    floor = sr_quadratic_floor([1.0], grid_step=grid_step, noise=RademacherNoise()).excess
    root = 16 * math.sqrt(1 + 2 * floor)
    return compare(
        answer,
        16 * floor,
        right="a quarter of the grid step for each weight, at every small learning rate.",
        hint="the floor is a quarter of the grid step times the mean 1-norm of the gradient.",
        misconceptions=[
            (floor, "this is one weight; there are sixteen."),
            (32 * floor, "this is the mean squared distance; the objective is half of it."),
            (0.5 * grid_step * root, "this is the bound; the exact value is about half of it."),
            (4 * floor, "the 1-norm grows with the number of weights, not with its root."),
            (0.0, "unbiased rounding has a floor: its noise does not vanish."),
        ],
    )


def threshold_excess(
    answer: ArrayLike, *, curvature: float = 4.0, minimizer: float = 0.2, grid_step: float = 0.5
) -> Verdict:
    """Check the excess at which BinaryConnect with rounding to nearest ends on a parabola.

    Parameters
    ----------
    answer : float
        Excess of the latent weight in the limit.
    curvature, minimizer, grid_step : float
        The setting; the minimizer lies on no grid point.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    end = rounding_threshold(
        lambda w: curvature * (w - minimizer),
        grid_step=grid_step,
        lower=minimizer - 2 * grid_step,
        upper=minimizer + 2 * grid_step,
    )
    nearest = grid_step * math.floor(minimizer / grid_step + 0.5)
    share = minimizer / grid_step - math.floor(minimizer / grid_step)
    excess = 0.5 * curvature * (end - minimizer) ** 2
    return compare(
        answer,
        excess,
        right="the latent weight ends at the threshold, wherever between the grid points it aims.",
        hint="where does the gradient that BinaryConnect sees change its sign?",
        misconceptions=[
            (0.0, "this needs unbiased rounding; to nearest is biased."),
            (
                curvature * grid_step**2 / 8,
                "this is the largest excess over all minimizers; compute it for this one.",
            ),
            (
                0.5 * curvature * (nearest - minimizer) ** 2,
                "this is at the nearest grid point; the latent weight stops between two.",
            ),
            (
                0.5 * curvature * grid_step**2 * share * (1 - share),
                "this is the excess of the deployed weight; the latent one is asked for.",
            ),
            (2 * excess, "the objective is half the curvature times the square."),
        ],
    )


def averaged_share(answer: ArrayLike, *, ratio: float = 3.0) -> Verdict:
    """Check the share of the floor that the plain average keeps with the inverse-time schedule.

    Parameters
    ----------
    answer : float
        Excess of the average over that of the iterates.
    ratio : float
        Curvature over the constant of the schedule, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    share = 1 / (1 + ratio)
    return compare(
        answer,
        share,
        right="the weight forgets as fast as the average grows, so the average never gets rid.",
        hint="find the limit of the covariance of the sum and the weight.",
        misconceptions=[
            (1 / ratio, "almost: the average forgets as well, which adds one to the ratio."),
            (1.0, "this is the floor of the iterates; the average is lower."),
            (0.0, "with this schedule the steps become too small for the average to forget."),
            (ratio * share, "this is what the average removes; what it keeps is asked for."),
            (math.sqrt(share), "this is the share of the distance; the objective is its square."),
        ],
    )


def extra_bits(answer: ArrayLike, *, factor: int = 64) -> Verdict:
    """Check how many bits more bit centering needs when there are more weights.

    Parameters
    ----------
    answer : float
        Number of bits to add.
    factor : int
        Factor of the number of weights, a power of four.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    bits = 0.5 * math.log2(factor)
    return compare(
        answer,
        bits,
        right="half a bit for each doubling; the accuracy costs none.",
        hint="how does the number of levels grow with the dimension, and how do the bits with it?",
        misconceptions=[
            (2 * bits, "the levels grow with the root of the dimension, not with itself."),
            (math.sqrt(factor), "this is the factor of the levels; take its binary logarithm."),
            (0.0, "the error of rounding adds up over the weights."),
            (bits * math.log(2), "this is a natural logarithm; bits are binary."),
        ],
    )
