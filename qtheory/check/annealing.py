"""Checks of the exercises of the chapter on annealing: the chain of stochastic rounding."""

import math

import numpy as np
from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, choose, compare
from qtheory.training import (
    RademacherNoise,
    ThreeBasins,
    limit_chain,
    stationary_law,
)

__all__ = [
    "batch_factor",
    "chance_of_moving_up",
    "failed_chain_assumption",
    "largest_exact_learning_rate",
    "share_of_plus_one",
    "steps_to_mix",
]


def chance_of_moving_up(
    answer: ArrayLike, *, point: float = 5.0, noise_scale: float = 2.0
) -> Verdict:
    """Check the probability that stochastic rounding moves up, given that it moves.

    Parameters
    ----------
    answer : float
        Probability, from 0 to 1.
    point : float
        Grid point of the landscape of three basins where the weight is.
    noise_scale : float
        Absolute value of the noise, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    slope, noise = float(ThreeBasins().gradient(point)), RademacherNoise(noise_scale)
    up = noise.negative_part(slope) / noise.mean_abs(slope)
    return compare(
        answer,
        up,
        right="the learning rate cancels: the method decides the same, only later.",
        hint="divide the mean of the negative part of the gradient by its mean absolute value.",
        misconceptions=[
            (1 - up, "this is the chance to move down: a positive gradient moves down."),
            (0.5, "the noise is even, but the slope is added to it."),
            (up / (1 - up), "this is the ratio of up to down; divide by the sum of both."),
            (
                noise.negative_part(slope),
                "this is the mean of the negative part; divide it by the mean absolute value.",
            ),
        ],
    )


def share_of_plus_one(
    answer: ArrayLike, *, slope: float = 0.2, noise_scale: float = 1.0
) -> Verdict:
    """Check the share of the time that a binary weight is at plus one.

    Parameters
    ----------
    answer : float
        Share, from 0 to 1.
    slope : float
        Slope of the loss.
    noise_scale : float
        Absolute value of the noise, above the absolute value of the slope.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    chain = limit_chain([slope, slope], [-1.0, 1.0], noise=RademacherNoise(noise_scale))
    share = float(stationary_law(chain)[1])
    temperature = noise_scale  # half of the grid step 2 times the mean absolute gradient
    return compare(
        answer,
        share,
        right="the noise keeps the worse value alive at every learning rate.",
        hint="the rates between the two values must balance: share up times rate down.",
        misconceptions=[
            (1 - share, "this is the share of minus one, which has the lower loss."),
            (0.0, "the noise is larger than the slope, so the worse value is visited too."),
            (0.5, "the slope makes one direction more likely than the other."),
            (share / (1 - share), "this is the ratio of the two shares; they must sum to one."),
            (
                1 / (1 + math.exp(2 * slope / temperature)),
                "this is the Gibbs law, which is only an approximation; take the rates.",
            ),
        ],
    )


def largest_exact_learning_rate(
    answer: ArrayLike,
    *,
    noise_scale: float = 8.0,
    grid_step: float = 0.5,
    low: float = -3.0,
    high: float = 8.0,
) -> Verdict:
    """Check up to which learning rate the stationary law is exactly that of the limit.

    Parameters
    ----------
    answer : float
        Learning rate.
    noise_scale : float
        Absolute value of the noise, above zero.
    grid_step : float
        Distance of the grid points, above zero.
    low, high : float
        Ends of the grid.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    points = np.linspace(low, high, round((high - low) / grid_step) + 1)
    slopes = np.abs(ThreeBasins().gradient(points))
    largest = float(slopes.max()) + noise_scale
    return compare(
        answer,
        grid_step / largest,
        right="up to here no step is longer than the grid step, and the chain is linear in it.",
        hint="no gradient times the learning rate may exceed the grid step.",
        misconceptions=[
            (
                grid_step / noise_scale,
                "this leaves out the slopes; the steepest grid point counts.",
            ),
            (grid_step / (largest - noise_scale), "this leaves out the noise."),
            (
                grid_step / (float(slopes[0]) + noise_scale),
                "this is the lower end of the grid; look for the steepest grid point.",
            ),
            (1 / largest, "the grid step is missing."),
            (0.5 * grid_step / largest, "half of it is needed for the gap, not for the law."),
        ],
    )


def steps_to_mix(
    answer: ArrayLike,
    *,
    learning_rate: float = 4e-4,
    known_steps: int = 2590,
    known_rate: float = 0.01,
) -> Verdict:
    """Check the mixing time at one learning rate from that at another.

    Parameters
    ----------
    answer : float
        Number of steps.
    learning_rate : float
        Learning rate asked for, small.
    known_steps : int
        Mixing time at the known learning rate.
    known_rate : float
        Learning rate at which the mixing time is known, small.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    ratio = known_rate / learning_rate
    return compare(
        answer,
        known_steps * ratio,
        rtol=0.005,
        right="steps times learning rate is what counts.",
        hint="the product of the mixing time and the learning rate tends to a constant.",
        misconceptions=[
            (known_steps, "the law stays the same, but it takes longer to come to it."),
            (known_steps / ratio, "the inverse: smaller steps take more of them."),
            (
                known_steps * ratio**2,
                "a random walk of steps in proportion to the rate would; "
                "here the steps stay as long as the grid step, and are only rarer.",
            ),
            (known_steps * math.sqrt(ratio), "the rate enters itself, not its root."),
        ],
    )


def batch_factor(answer: ArrayLike, *, cooling: float = 2.0) -> Verdict:
    """Check the factor of the batch that cools stochastic rounding.

    Parameters
    ----------
    answer : float
        New batch size over the old one.
    cooling : float
        Old temperature over the new one, above one.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        cooling**2,
        right="the temperature goes with the standard deviation of the noise.",
        hint="the temperature is half the grid step times the mean absolute gradient.",
        misconceptions=[
            (cooling, "this is for gradient descent, whose temperature goes with the variance."),
            (math.sqrt(cooling), "the inverse: a root of the batch is all that counts."),
            (1 / cooling, "a batch that is smaller makes it hotter."),
        ],
    )


def failed_chain_assumption(answer: str) -> Verdict:
    """Check which assumption fails when the noise is smaller than a slope.

    Parameters
    ----------
    answer : str
        Name of an assumption, as the exercise lists them.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return choose(
        answer,
        "two-sided noise",
        says={
            "two-sided noise": "at 3 every gradient is positive, so the weight never passes it.",
            "finite grid": "the grid ends at -3 and 8, far from where the weight is caught.",
            "finite mean": "a noise of two values has all moments.",
            "small learning rate": "it is small; look for a grid point without a way up.",
        },
    )
