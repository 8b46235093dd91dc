"""Checks of the exercises of the chapter on quantized activations."""

import math

from numpy.typing import ArrayLike
from scipy import optimize, special

from qtheory.check.base import Verdict, choose, compare
from qtheory.meanfield import UniformStaircase, optimal_spacing, steady_state
from qtheory.numerics import normal_density

__all__ = [
    "failed_staircase_assumption",
    "same_input_twice",
    "silent_weight_variance",
    "step_function_depth",
    "strong_bias_depth",
    "ternary_slope",
]


def ternary_slope(answer: ArrayLike, *, threshold: float = 1.0) -> Verdict:
    """Check the slope of the correlation map of a ternary activation at correlation zero.

    Parameters
    ----------
    answer : float
        Slope without biases, for levels -1, 0, 1.
    threshold : float
        Distance of both thresholds from zero, in standard deviations, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    density, tail = float(normal_density(threshold)), _tail(threshold)
    return compare(
        answer,
        2 * density**2 / tail,
        right="two impulses, squared, over the mean square, which is the probability of not zero.",
        hint="the slope is the squared sum of the impulses over the mean square of the output.",
        misconceptions=[
            (density**2 / (2 * tail), "there are two thresholds, and both add to the sum."),
            (2 * density / (2 * tail), "the sum of the impulses is squared."),
            (4 * density**2 / tail, "both outer cells add to the mean square."),
            (4 * density**2, "divide by the mean square of the output."),
            (
                4 * density**2 / math.sqrt(2 * tail),
                "divide by the mean square, not by the root mean square.",
            ),
        ],
    )


def strong_bias_depth(answer: ArrayLike) -> Verdict:
    """Check the depth scale of any staircase under very strong biases.

    Parameters
    ----------
    answer : float
        Limit of the depth scale, in layers.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        1 / math.log(2),
        right="the square-root law near one has slope one half at every scale, for any levels.",
        hint="put the near-one law into (1 - c) M'(c) / (1 - M(c)) and let c tend to one.",
        misconceptions=[
            (0.5, "this is the limit of the slope; the depth scale is asked for."),
            (1.0, "natural logarithms: the depth scale is one over ln 2."),
            (0.0, "the slope tends to one half, not to zero."),
            (1 / math.log(math.pi / 2), "this is the sign without biases."),
        ],
    )


def silent_weight_variance(answer: ArrayLike) -> Verdict:
    """Check the weight variance below which a ternary network falls silent.

    Parameters
    ----------
    answer : float
        Variance of the weights times the fan-in, for levels -1, 0, 1, thresholds at one half and
        no biases.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    limit = _silent_limit()
    return compare(
        answer,
        limit,
        right="below it every start shrinks into the dead zone about zero.",
        hint="a fixed point needs weight variance q / E f^2; find the least value of that ratio.",
        misconceptions=[
            (math.sqrt(limit), "this is a standard deviation; a variance is asked for."),
            (optimal_spacing(3).weight_variance, "this is the best weight variance."),
            (1 / limit, "this is the largest mean square over variance; take its inverse."),
            (1.0, "at one the live fixed point still exists."),
        ],
    )


def step_function_depth(answer: ArrayLike) -> Verdict:
    """Check the depth scale of a step function with outputs zero and one.

    Parameters
    ----------
    answer : float
        Depth scale without biases, in layers.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    # One half plus half a sign: the constant acts like a bias of the variance of the weights.
    state = steady_state(UniformStaircase(2, 1.0, level_center=0.5), weight_variance=1.0)
    return compare(
        answer,
        state.depth_scale,
        right="the mean of the outputs acts like a bias, and costs a third of the depth.",
        hint="write the step as one half plus half a sign, and find where the correlation rests.",
        misconceptions=[
            (state.chi, "this is the slope; the depth scale is asked for."),
            (state.correlation, "this is the fixed point; the depth scale is asked for."),
            (
                1 / math.log(math.pi / 2),
                "this is the sign; subtracting the mean is not what weights of mean zero do.",
            ),
            (
                -1 / math.log(1 / math.pi),
                "this is the slope at correlation zero, which is no fixed point here.",
            ),
            (1 / math.log(2), "the correlation rests at 0.79, not at one."),
        ],
    )


def same_input_twice(answer: ArrayLike) -> Verdict:
    """Check the correlation after one layer of an input that is stochastically rounded twice.

    Parameters
    ----------
    answer : float
        Correlation after one layer, two levels at -1 and 1, pre-activations of variance one.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    density, tail = float(normal_density(1.0)), _tail(1.0)
    clipped = 1 - 2 * tail - 2 * density + 2 * tail
    return compare(
        answer,
        clipped,
        right="only the clipped input is shared; its mean square over that of the output is left.",
        hint="given the input, the two outputs are independent with the clipped input as mean.",
        misconceptions=[
            (1.0, "the two copies are rounded with noise of their own."),
            (1 - 2 * tail, "this is the probability that nothing is clipped."),
            ((1 - 2 * tail) ** 2, "this is the slope at correlation zero."),
            (
                1 - 2 * tail - 2 * density,
                "inputs beyond the levels are rounded to them and count too.",
            ),
        ],
    )


def failed_staircase_assumption(answer: object) -> Verdict:
    """Check why unsigned levels do not have the depth of their correlation coefficient.

    Parameters
    ----------
    answer : str
        ``"width"``, ``"weights"``, ``"bias"`` or ``"mean"``.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    says = {
        "width": "nothing is simulated here; both numbers are for infinitely wide layers.",
        "weights": "the weights have mean zero in both; look at what they are multiplied with.",
        "bias": "there are no biases; something else acts like one.",
        "mean": "outputs of positive mean make correlation zero no fixed point.",
    }
    return choose(answer, "mean", says=says)


def _silent_limit() -> float:
    """Return the least variance over mean square of the ternary staircase."""
    search = optimize.minimize_scalar(
        lambda t: 0.125 / (t * t * _tail(t)), bounds=(0.3, 4.0), method="bounded"
    )
    return float(search.fun)


def _tail(t: float) -> float:
    """Return the standard normal probability above a limit."""
    return float(special.ndtr(-t))
