"""Checks of the exercises of the chapter on straight-through estimators."""

import math

import numpy as np
from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, choose, compare
from qtheory.training import (
    TwoLayerTeacher,
    dampening_threshold,
    freezing_steps_approx,
    optimum_frequency,
    recurrence_frequencies,
    reversal_rate,
    spurious_point,
    trapping_threshold,
)

__all__ = [
    "failed_recurrence_assumption",
    "least_dampening",
    "optimum_visits",
    "reversals_per_step",
    "reversals_until_frozen",
    "shrinking_speed",
]

TRAPPED = TwoLayerTeacher(np.array([1.0, -1.0, 1.0]), np.array([1.0, 0.0]))


def shrinking_speed(answer: ArrayLike) -> Verdict:
    """Check how fast the identity estimator shortens the weights at the spurious point.

    Parameters
    ----------
    answer : float
        Length lost in a step over the learning rate, for a teacher with second layer (1, -1, 1).

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    pull = spurious_point(TRAPPED).pull
    return compare(
        answer,
        pull / math.sqrt(2 * math.pi),
        right="it does not depend on the length, so the length is used up in finitely many steps.",
        hint="the pull is 2 (m - 1) s^2 / (m + 1)^2; multiply by E[|z|; z < 0].",
        misconceptions=[
            (0.0, "this is a rectifier, which passes no gradient on negative inputs."),
            (pull, "this is the pull; the mean of |z| over negative inputs is missing."),
            (2 * pull / math.sqrt(2 * math.pi), "only the negative half of the inputs counts."),
            (-pull / math.sqrt(2 * math.pi), "the sign: a positive number means shorter weights."),
        ],
    )


def optimum_visits(answer: ArrayLike) -> Verdict:
    """Check how often two binary weights are the best ones.

    Parameters
    ----------
    answer : float
        Fraction of the steps in which the signs are those of the teacher (0.6, 0.8).

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    frequencies = recurrence_frequencies([0.6, 0.8])
    return compare(
        answer,
        float(optimum_frequency(frequencies)),
        right="the second weight is saturated, so the first one decides alone.",
        hint="the levels are plus and minus one over the root of two; clip the second fraction.",
        misconceptions=[
            (0.8 * 0.9, "the levels are not plus and minus one but one over the root of two."),
            (
                float(np.prod((1 + math.sqrt(2) * np.array([0.6, 0.8])) / 2)),
                "a fraction above one is one: that weight never changes its sign.",
            ),
            (1 - float(frequencies[0]), "this is how often the optimum is missed."),
            (0.25, "the four pairs of signs are not equally frequent."),
        ],
    )


def reversals_per_step(answer: ArrayLike) -> Verdict:
    """Check the rate of reversals of a ternary weight.

    Parameters
    ----------
    answer : float
        Reversals per step for levels -0.5, 0, 0.5 and a minimizer at 0.35.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        float(reversal_rate(0.7)),
        right="two changes for each visit to the rarer level, at any learning rate.",
        hint="find the position between the two levels as a fraction of the step first.",
        misconceptions=[
            (0.3, "this counts the visits to the rarer level; each has two reversals."),
            (1.4, "the rarer level counts: more than one reversal a step cannot be."),
            (0.7, "this is the position, or the fraction of time at the upper level."),
        ],
    )


def least_dampening(answer: ArrayLike) -> Verdict:
    """Check the weakest dampening that stops the same ternary weight.

    Parameters
    ----------
    answer : float
        Strength of the penalty above which the oscillation stops.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        float(dampening_threshold(0.7)),
        right="the resting place is then inside the cell of the nearest level.",
        hint="where does the gradient of loss and penalty vanish, and is that inside the cell?",
        misconceptions=[
            (float(trapping_threshold(0.7)), "from here on it stops at the wrong level as well."),
            (0.15, "the strength has no unit: divide the distance by the step."),
            (0.6, "the penalty is a square; its derivative brings a factor of two."),
        ],
    )


def reversals_until_frozen(answer: ArrayLike) -> Verdict:
    """Check after how many reversals in a row a weight is frozen.

    Parameters
    ----------
    answer : int
        Number of steps, with a reversal in each, at momentum 0.01 and threshold 0.1.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        freezing_steps_approx(1.0, momentum=0.01, threshold=0.1),
        right="the running mean after k reversals is one minus 0.99 to the power k.",
        hint="solve 1 - 0.99**k > 0.1 for a whole number.",
        misconceptions=[
            (10, "after ten the running mean is still 0.0956: older reversals fade."),
            (
                freezing_steps_approx(0.5, momentum=0.01, threshold=0.1),
                "here every step is a reversal, not every second one.",
            ),
            (229, "this is 0.99**k < 0.1; the running mean must exceed 0.1."),
        ],
    )


def failed_recurrence_assumption(answer: object) -> Verdict:
    """Check why three equal coordinates never meet at the optimum.

    Parameters
    ----------
    answer : str
        ``"learning rate"``, ``"grid"``, ``"independence"`` or ``"saturation"``.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    says = {
        "learning rate": "it drops out: the codes depend on it through the start alone.",
        "grid": "the grid is binary in both runs.",
        "independence": "equal fractions are dependent over the rationals: they keep distance.",
        "saturation": "no fraction is zero or one here.",
    }
    return choose(answer, "independence", says=says)
