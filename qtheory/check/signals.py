"""Checks of the answers to the exercises on signals in wide networks."""

import math

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, choose, compare

__all__ = [
    "correlation_after_relu",
    "critical_erf_weight_variance",
    "critical_leaky_weight_variance",
    "failed_wide_assumption",
    "gradient_norm_growth",
    "layers_until_forgotten",
]


def critical_erf_weight_variance(answer: ArrayLike, *, variance: float = 2.0) -> Verdict:
    """Judge the critical weight variance of the error function at a fixed variance.

    Parameters
    ----------
    answer : array_like
        One number, the weight variance.
    variance : float
        Fixed pre-activation variance, above zero.

    Returns
    -------
    Verdict
        True for a quarter of pi times the root of one plus four times the variance.
    """
    expected = math.pi / 4 * math.sqrt(1 + 4 * variance)
    return compare(
        answer,
        expected,
        right="the wider the pre-activations, the flatter the function, the larger the weights.",
        hint="one over the mean of the squared derivative, 4 / pi * exp(-2 u**2).",
        misconceptions=[
            (math.pi / 4, "this is the limit of small signals; the variance widens the Gaussian."),
            (math.sqrt(expected), "this is the standard deviation; the variance is asked for."),
            (1 / expected, "this is the mean square of the derivative; the product must be one."),
            (
                math.pi / 4 * math.sqrt(1 + 2 * variance),
                "the squared derivative has exp(-2 u**2), so four times the variance enters.",
            ),
            (
                math.sqrt(math.pi / 2) / 2 * math.sqrt(1 + 4 * variance),
                "the squared derivative has the factor 4 / pi.",
            ),
        ],
    )


def correlation_after_relu(answer: ArrayLike, *, correlation: float = 0.5) -> Verdict:
    """Judge the correlation of two inputs after one layer of rectifiers without biases.

    Parameters
    ----------
    answer : array_like
        One number, the correlation in the next layer.
    correlation : float
        Correlation before, in [-1, 1].

    Returns
    -------
    Verdict
        True for the arc-cosine kernel, normalized to one at correlation one.
    """
    c, angle = correlation, math.acos(correlation)
    kernel = math.sqrt(1 - c * c) + (math.pi - angle) * c
    return compare(
        answer,
        kernel / math.pi,
        right="rectifiers make inputs more alike: they share the positive mean.",
        hint="divide the cross moment by its value at correlation one, half of the variance.",
        misconceptions=[
            (kernel / (2 * math.pi), "this is the cross moment; divide by the second moment."),
            (
                (math.sqrt(1 - c * c) + angle * c) / math.pi,
                "the angle to the opposite input enters, pi minus the arccosine.",
            ),
            (
                (kernel - 1) / (math.pi - 1),
                "means were subtracted; weights of mean zero pass on second moments.",
            ),
            (1 - angle / math.pi, "this is the slope of the map, not the map."),
        ],
    )


def critical_leaky_weight_variance(answer: ArrayLike, *, negative_slope: float = 0.2) -> Verdict:
    """Judge the critical weight variance of a leaky rectifier.

    Parameters
    ----------
    answer : array_like
        One number, the weight variance.
    negative_slope : float
        Slope below zero.

    Returns
    -------
    Verdict
        True for two over one plus the squared slope.
    """
    expected = 2 / (1 + negative_slope**2)
    return compare(
        answer,
        expected,
        right="half of the inputs see each of the two slopes.",
        hint="average the squared derivative over positive and negative inputs.",
        misconceptions=[
            (2.0, "this is the rectifier; the leak passes a part of the signal."),
            (2 / (1 + negative_slope), "the slope enters squared."),
            (math.sqrt(expected), "this is the standard deviation; the variance is asked for."),
            (
                4 / (1 + negative_slope) ** 2,
                "this squares the mean derivative; the mean of its square is needed.",
            ),
        ],
    )


def layers_until_forgotten(
    answer: ArrayLike, *, slope: float = 0.9, remainder: float = 0.01
) -> Verdict:
    """Judge the number of layers after which a deviation has shrunk to a given share.

    Parameters
    ----------
    answer : array_like
        One whole number of layers.
    slope : float
        Slope of the correlation map at its fixed point, between zero and one.
    remainder : float
        Share of the deviation that is left, between zero and one.

    Returns
    -------
    Verdict
        True for the first layer at which no more than that share is left.
    """
    scale = -1 / math.log(slope)
    exact = -scale * math.log(remainder)
    expected = math.ceil(exact)
    return compare(
        answer,
        expected,
        right="the depth scale times the natural logarithm of the ratio, rounded up.",
        hint="solve slope ** layers = remainder, and round up.",
        misconceptions=[
            (expected - 1, "one too few: there a little more is left."),
            (exact, "the layers are counted; round up."),
            (
                math.ceil(-scale * math.log10(remainder)),
                "the depth scale belongs to powers of e: take the natural logarithm.",
            ),
            (
                math.ceil(-math.log(remainder) / (1 - slope)),
                "one over one minus the slope approximates the depth scale only near slope one.",
            ),
            (math.ceil(6 * scale), "six depth scales are a rule of thumb for less than a percent."),
        ],
    )


def gradient_norm_growth(
    answer: ArrayLike, *, slope: float = 1.05, num_layers: int = 100
) -> Verdict:
    """Judge the factor by which the norm of a gradient changes over many layers.

    Parameters
    ----------
    answer : array_like
        One number, the norm at the first layer over that at the last.
    slope : float
        Slope of the correlation map at correlation one, above zero.
    num_layers : int
        Number of layers.

    Returns
    -------
    Verdict
        True for the slope to the power of half the number of layers.
    """
    square = slope**num_layers
    return compare(
        answer,
        math.sqrt(square),
        right="the slope is the gain of the square, so half of the layers count for the norm.",
        hint="what does the slope multiply: the norm of the gradient, or its square?",
        misconceptions=[
            (square, "this is the squared norm."),
            (1 / math.sqrt(square), "the gradient goes from the last layer to the first."),
            (1 + (slope - 1) * num_layers, "gains multiply from layer to layer."),
            (1 + (slope - 1) * num_layers / 2, "gains multiply from layer to layer."),
        ],
    )


def failed_wide_assumption(answer: object) -> Verdict:
    """Judge which assumption a network with few weights per neuron violates.

    Parameters
    ----------
    answer : str
        ``"mean"``, ``"width"``, ``"growth"`` or ``"norm"``.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    says = {
        "mean": "the remaining weights are independent and have mean zero, so this one holds.",
        "width": "a sum has as many terms as the fan-in, however wide the layer is.",
        "growth": "a sign is bounded and jumps once, so this one holds.",
        "norm": "both inputs have equal size, so this one holds.",
    }
    return choose(answer, "width", says=says)
