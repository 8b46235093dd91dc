"""Checks of the answers to the exercises on rounding, sums and dither."""

import math

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, compare

__all__ = [
    "additions_for_one_percent",
    "bfloat16_sum_limit",
    "dither_cost_db",
    "random_bits_needed",
    "truncated_sum_limit",
]


def bfloat16_sum_limit(answer: ArrayLike) -> Verdict:
    """Judge the value at which a sum of terms 0.01 stops in bfloat16 under nearest rounding.

    Parameters
    ----------
    answer : array_like
        One number, in the units of the terms.

    Returns
    -------
    Verdict
        True for four.
    """
    return compare(
        answer,
        4.0,
        right="half the spacing above this power of two is the first not below the term.",
        hint="find the first power of two where half the spacing above is at least 0.01.",
        misconceptions=[
            (
                2.0,
                "bfloat16 stores seven bits but has precision eight, and the logarithm of the "
                "term is rounded up, not down.",
            ),
            (1.0, "both slips at once: precision is eight, and the logarithm is rounded up."),
            (8.0, "at four the term is already less than half of the spacing."),
            (2.56, "the limit is a power of two: 256 terms would be right if the term were one."),
            (100.0, "that is the exact sum; the question is where the rounded sum stops."),
        ],
    )


def truncated_sum_limit(answer: ArrayLike) -> Verdict:
    """Judge the value at which a sum of terms three stops at precision eight under truncation.

    Parameters
    ----------
    answer : array_like
        One number, in the units of the terms.

    Returns
    -------
    Verdict
        True for 512.
    """
    return compare(
        answer,
        512.0,
        right="truncation loses every term below a whole spacing, so it stops a binade earlier.",
        hint="under truncation a term is lost when it is below the spacing, not below half of it.",
        misconceptions=[
            (1024.0, "that is the limit of nearest rounding: truncation needs a whole spacing."),
            (256.0, "at 256 the spacing is two, less than the term, so the sum moves on."),
            (768.0, "the sum stops at a power of two, where the spacing doubles."),
        ],
    )


def additions_for_one_percent(answer: ArrayLike) -> Verdict:
    """Judge the number of additions after which a stochastic sum is known to one percent.

    Parameters
    ----------
    answer : array_like
        One number of additions, for terms of a tenth of the step.

    Returns
    -------
    Verdict
        True for 90000.
    """
    return compare(
        answer,
        90_000.0,
        rtol=1e-5,
        right="the relative standard deviation falls with the root of the number of additions.",
        hint="set the standard deviation sqrt(n f (1 - f)) equal to a hundredth of the mean n f.",
        misconceptions=[
            (250_000.0, "the variance is f (1 - f), and a quarter only at half a step."),
            (900.0, "one percent of the mean is squared: the requirement is 1e-4, not 1e-2."),
            (300.0, "that is the root of the answer: the variance grows with n, not with n^2."),
            (
                500_000 / 3,
                "one sixth is the average over all fractions; this fraction is a tenth.",
            ),
            (
                250_000 / 3,
                "one twelfth belongs to nearest rounding of a uniform input; use f (1 - f).",
            ),
            (
                100_000.0,
                "the factor 1 - f is missing: the sum is binomial, not Poisson.",
            ),
        ],
    )


def random_bits_needed(answer: ArrayLike) -> Verdict:
    """Judge the least number of random bits that does not lose a thousandth of a step.

    Parameters
    ----------
    answer : array_like
        One number of bits, for a random number with the half offset.

    Returns
    -------
    Verdict
        True for nine.
    """
    return compare(
        answer,
        9.0,
        right="2^(-10) is below a thousandth, so nine bits and the half offset see the term.",
        hint="the term is lost when its fraction is below 2^(-r - 1).",
        misconceptions=[
            (10.0, "that is the answer for plain truncation; the half offset saves one bit."),
            (8.0, "2^(-9) is above a thousandth, so with eight bits the term is lost."),
            (math.log2(1000) - 1, "right in real numbers; bits are whole, so round up."),
            (math.log2(1000), "bits are whole, and the half offset saves one of them."),
        ],
    )


def dither_cost_db(answer: ArrayLike) -> Verdict:
    """Judge the loss of triangular dither that is not subtracted, in decibels.

    Parameters
    ----------
    answer : array_like
        One number in decibels, positive for a loss.

    Returns
    -------
    Verdict
        True for ten times the decimal logarithm of three.
    """
    cost = 10 * math.log10(3)
    return compare(
        answer,
        cost,
        right="a quarter against a twelfth: three times the power.",
        hint="compare error powers in squared steps: a quarter and one twelfth.",
        misconceptions=[
            (2 * cost, "the factor three is a ratio of powers: ten times the logarithm, not 20."),
            (-cost, "right in size; a loss is asked for as a positive number."),
            (
                10 * math.log10(2),
                "that is uniform dither, on average a sixth; here it is a quarter.",
            ),
            (math.log(3), "decibels need the decimal logarithm, times ten."),
            (3.0, "right as a ratio of powers; now turn it into decibels."),
        ],
    )
