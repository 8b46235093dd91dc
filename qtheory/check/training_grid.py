"""Checks of the answers to the exercises on trained networks."""

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, compare
from qtheory.meanfield import optimal_spacing, steady_state, uniform_staircase

__all__ = [
    "border_in_depth_scales",
    "default_trainable_depth",
    "depth_of_a_diagonal_kernel",
    "rate_of_equal_learning_time",
    "what_limits",
]

_LIMITS = ("signal", "learning rate", "width", "number of images")


def border_in_depth_scales(answer: ArrayLike) -> Verdict:
    """Judge the border of networks with four levels, in depth scales.

    Accuracy 0.8 at depth 32 and 0.2 at depth 64, border at one half.

    Parameters
    ----------
    answer : array_like
        One number of depth scales.

    Returns
    -------
    Verdict
        True for the crossing in the logarithm of the depth.
    """
    best = optimal_spacing(4)
    scale = float(best.depth_scale)
    middle = 32 * math.sqrt(2)
    return compare(
        answer,
        middle / scale,
        right="halfway in the logarithm is the geometric mean of the two depths.",
        hint="interpolate between ln 32 and ln 64, then divide by the depth scale of four levels.",
        misconceptions=[
            (48 / scale, "that is halfway in the depth; the border is halfway in its logarithm."),
            (middle, "that is the border in layers; divide by the depth scale."),
            (middle / 6, "divide by the depth scale, not by six."),
            (middle / float(optimal_spacing(16).depth_scale), "four levels, not four bits."),
            (
                middle * float(best.one_minus_chi),
                "the depth scale is -1 / ln chi, not 1/(1 - chi).",
            ),
        ],
    )


def default_trainable_depth(answer: ArrayLike) -> Verdict:
    """Judge six depth scales of the default initialization, 16 levels and width 128, in layers.

    Parameters
    ----------
    answer : array_like
        One number of layers.

    Returns
    -------
    Verdict
        True for weight variance 1/3 and bias variance 1/384.
    """
    staircase = uniform_staircase(16)
    steady = steady_state(staircase, weight_variance=1 / 3, bias_variance=1 / 384)
    no_bias = steady_state(staircase, weight_variance=1 / 3)
    wide_bias = steady_state(staircase, weight_variance=1 / 3, bias_variance=1 / 3)
    return compare(
        answer,
        6 * steady.depth_scale,
        right="small weights leave two levels of sixteen, and the biases make all inputs alike.",
        hint="the variance of a uniform number between -a and a is a^2 / 3.",
        misconceptions=[
            (6 * no_bias.depth_scale, "the biases are missing: their variance is 1 / (3 * 128)."),
            (
                6 * wide_bias.depth_scale,
                "weight variance is 1/3 over the whole fan-in, bias variance 1/384.",
            ),
            (steady.depth_scale, "that is one depth scale; six are asked for."),
            (6 * float(optimal_spacing(16).depth_scale), "that is the best initialization."),
        ],
    )


def depth_of_a_diagonal_kernel(answer: ArrayLike) -> Verdict:
    """Judge how many depth scales make the kernel diagonal for a thousand images.

    Parameters
    ----------
    answer : array_like
        One number of depth scales.

    Returns
    -------
    Verdict
        True for the natural logarithm of a thousand.
    """
    return compare(
        answer,
        math.log(1000),
        right="the depth grows with the logarithm of the training set.",
        hint="set the number of images times exp(-L / depth scale) equal to one.",
        misconceptions=[
            (3.0, "the depth scale belongs to the base e: take the natural logarithm."),
            (math.log2(1000), "the depth scale belongs to the base e: take the natural logarithm."),
            (math.log(1000) / 2, "all images pull in one direction at worst: n, not its root."),
            (1.0, "at one depth scale a third is left, times a thousand images."),
            (6.0, "six leaves 2.5 of a bound that must be below one."),
        ],
    )


def rate_of_equal_learning_time(answer: ArrayLike) -> Verdict:
    """Judge the learning rate that at momentum 0.9 learns as fast as 0.02 at momentum 0.5.

    Parameters
    ----------
    answer : array_like
        One learning rate.

    Returns
    -------
    Verdict
        True for a fifth of the rate.
    """
    return compare(
        answer,
        0.004,
        right="a constant gradient is counted 1 / (1 - momentum) times.",
        hint="sum the velocity of a constant gradient as a geometric series.",
        misconceptions=[
            (0.1, "upside down: more momentum means larger steps, so the rate must fall."),
            (0.02, "momentum changes the size of the steps."),
            (0.036, "the series sums to 1 / (1 - momentum), not to the momentum."),
            (0.02 * 0.5 / 0.9, "the series sums to 1 / (1 - momentum), not to 1 / momentum."),
        ],
    )


def what_limits(answer: Sequence[str]) -> Verdict:
    """Judge what limits two networks that do not learn, by what helps them.

    Parameters
    ----------
    answer : sequence of str
        What limits sixteen and what limits six levels, in this order: ``"signal"``,
        ``"learning rate"``, ``"width"`` or ``"number of images"``.

    Returns
    -------
    Verdict
        True for the learning rate and the signal, in this order.
    """
    pair = tuple(answer) if isinstance(answer, tuple | list) else ()
    if len(pair) != 2 or not all(limit in _LIMITS for limit in pair):
        return Verdict(False, f"two of {', '.join(map(repr, _LIMITS))} are expected.")
    sixteen_levels, six_levels = pair
    if pair == ("learning rate", "signal"):
        return Verdict(True, "what helps shows what limited: a slower rate helps one of the two.")
    if sixteen_levels == "signal":
        return Verdict(False, "128 layers are 1.5 depth scales of sixteen levels: compare rates.")
    if six_levels == "learning rate":
        return Verdict(False, "the slower rate does not help six levels: count depth scales.")
    return Verdict(False, "compare the two columns of the table, then count depth scales.")
