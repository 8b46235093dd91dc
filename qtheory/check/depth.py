"""Checks of the exercises of the chapter on depth: how it grows with the number of levels."""

import math

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, compare
from qtheory.meanfield import (
    SCANNED_LEVELS,
    fit_power_law,
    levels_for_depth,
    local_exponent,
    optimal_spacing,
    optimal_spacings,
)

__all__ = [
    "best_weight_std",
    "depth_per_doubling",
    "extrapolated_depth",
    "levels_for_layers",
    "noisy_rounding_limit",
    "three_level_spacing",
]


def three_level_spacing(answer: ArrayLike) -> Verdict:
    """Check the best spacing of three levels, from the implicit equation.

    Parameters
    ----------
    answer : float
        Threshold spacing over pre-activation standard deviation.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    spacing = optimal_spacing(3).spacing
    return compare(
        answer,
        spacing,
        rtol=5e-4,
        right="the two thresholds lie 0.61 standard deviations from zero.",
        hint="with thresholds at plus and minus D/2 the equation is D tail(D/2) = density(D/2).",
        misconceptions=[
            (spacing / 2, "this is the threshold; the spacing is twice as large."),
            (1.5958, "this is the step of two levels, where the depth does not depend on it."),
            (optimal_spacing(4).spacing, "these are four levels; three have no threshold at zero."),
        ],
    )


def best_weight_std(answer: ArrayLike, *, num_levels: int = 4) -> Verdict:
    """Check the best standard deviation of the weights, times the root of the fan-in.

    Parameters
    ----------
    answer : float
        Standard deviation of a weight times the square root of the fan-in.
    num_levels : int
        Number of levels, at least 3.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    chi = optimal_spacing(num_levels).chi
    return compare(
        answer,
        chi**-0.5,
        rtol=5e-4,
        right="the weights give back exactly what rounding takes from the signal.",
        hint="the weight variance is one over the largest slope; then take a root.",
        misconceptions=[
            (1 / chi, "this is the variance; a standard deviation is asked for."),
            (chi**0.5, "the inverse: rounding shrinks the signal, so the weights must be larger."),
            (chi, "this is the slope itself."),
            (1.0, "this loses the share of the signal that rounding takes away in every layer."),
        ],
    )


def levels_for_layers(answer: ArrayLike, *, depth: int = 100, multiple: float = 6.0) -> Verdict:
    """Check the fewest levels that are needed for a depth.

    Parameters
    ----------
    answer : int
        Number of levels of a uniform staircase.
    depth : int
        Number of layers, above zero.
    multiple : float
        Depth scales that a network may be deep, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    expected = levels_for_depth(depth, multiple=multiple)
    alone = levels_for_depth(depth, multiple=1.0)
    return compare(
        answer,
        expected,
        rtol=1e-9,
        right="fewer than three bits carry a signal that far.",
        hint="divide the depth by the multiple, and look for the first number of levels above it.",
        misconceptions=[
            (expected - 1, "one too few: this one just misses the depth."),
            (alone, "this asks for one depth scale of that many layers; several may pass."),
            (math.ceil(math.log2(expected)), "these are bits; the number of levels is asked for."),
            (1 << (expected - 1).bit_length(), "a power of two is not needed."),
        ],
    )


def depth_per_doubling(answer: ArrayLike, *, num_levels: int = 1024) -> Verdict:
    """Check the local exponent between a number of levels and its double.

    Parameters
    ----------
    answer : float
        Binary logarithm of the ratio of the two maximal depths.
    num_levels : int
        Number of levels, at least 2.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    expected = local_exponent(num_levels)
    return compare(
        answer,
        expected,
        rtol=5e-4,
        right="above 1.82 already, and it rises to two from here.",
        hint="compute both depths with optimal_spacing and take log2 of their ratio.",
        misconceptions=[
            (2.0**expected, "this is the ratio of the depths; take its binary logarithm."),
            (math.log(2.0**expected), "this is a natural logarithm; divide by log(2)."),
            (1.82, "this is the fit over all numbers of levels; compute it at this one."),
            (2.0, "this is the limit; at this number of levels it is not reached."),
            (2 - 1 / math.log(num_levels), "this is the leading term only; compute the depths."),
            (
                local_exponent(max(num_levels // 2, 2)),
                "this is from half the number to it.",
            ),
        ],
    )


def noisy_rounding_limit(answer: ArrayLike) -> Verdict:
    """Check the share of the depth that is left with stochastic rounding and many levels.

    Parameters
    ----------
    answer : float
        Limit of the maximal depth with stochastic rounding over that with nearest rounding.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        0.5,
        right="the error power is twice as large, and the depth is one over it.",
        hint="average the noise variance, f * (1 - f) squared steps, over f; compare with 1/12.",
        misconceptions=[
            (2.0, "the inverse: noise makes the network shallower."),
            (1 / 6, "this is the mean noise in squared steps; divide a twelfth by it."),
            (0.25, "the depth goes with the error power, not with its square."),
            (math.sqrt(0.5), "the depth goes with the error power, not with its root."),
            (1.0, "the best range is the same in the limit, but the noise in a cell is not."),
        ],
    )


def extrapolated_depth(answer: ArrayLike, *, num_levels: int = 2**20) -> Verdict:
    """Check how far the published power law is off for many levels.

    Parameters
    ----------
    answer : float
        Depth by the power law fitted to ``1 - chi`` of the published list against the number of
        levels plus one, taken as one over that, divided by the exact maximal depth.
    num_levels : int
        Number of levels far outside the list.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    deficits = optimal_spacings(SCANNED_LEVELS).one_minus_chi
    law = fit_power_law(SCANNED_LEVELS, deficits, shift=1.0)
    exact = optimal_spacing(num_levels).depth_scale
    ratio = 1 / float(law([num_levels])[0]) / exact
    return compare(
        answer,
        ratio,
        rtol=0.02,
        right="a fit knows nothing beyond its range; the missing levels are a factor of this size.",
        hint="fit, evaluate the fit at this number of levels, invert, divide by the exact depth.",
        misconceptions=[
            (1 / ratio, "this is the exact depth over the power law."),
            (ratio * exact, "this is the depth; divide by the exact one."),
            (1 - ratio, "this is the relative shortfall; the ratio is asked for."),
            (1.0, "an R squared near one inside the range says nothing about this far outside."),
        ],
    )
