"""Checks of the exercises of the chapter on quantizers: what they lose, and why."""

import math

import numpy as np
from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, choose, compare
from qtheory.datasets import digits_network
from qtheory.quantizers import Gaussian, Laplace, design_uniform, distortion, sign

__all__ = [
    "best_clip_for_std",
    "bits_for_sqnr",
    "coarse_pixel_error",
    "entropy_coding_gain",
    "failed_assumption",
    "one_bit_laplace",
    "output_variance",
]


def one_bit_laplace(answer: ArrayLike, *, std: float = 3.0) -> Verdict:
    """Check the least distortion of one bit on a Laplace source.

    Parameters
    ----------
    answer : float
        Distortion of the best one-bit quantizer, in squared units of the source.
    std : float
        Standard deviation of the source, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    var = std * std
    level = std / math.sqrt(2)
    return compare(
        answer,
        0.5 * var,
        right="the best level is the mean magnitude, and half of the variance is left.",
        hint="expand the mean of (|X| - y)**2 and minimize over y; you need the mean of |X|.",
        misconceptions=[
            (0.5 * std, "this is proportional to the standard deviation; distortion is squared."),
            ((1 - 2 / math.pi) * var, "this is the Gaussian; the mean magnitude differs here."),
            (level, "this is the best level; the distortion at that level is asked for."),
            (distortion(sign(std), Laplace(std=std)), "the level is not the standard deviation."),
            (0.5, "this holds for variance one; the source has another."),
        ],
    )


def bits_for_sqnr(
    answer: ArrayLike, *, crest_factor: float = 8.0, target_db: float = 40.0
) -> Verdict:
    """Check the least number of bits of a covering integer grid for a wanted SQNR.

    Parameters
    ----------
    answer : int
        Number of bits per code.
    crest_factor : float
        Largest magnitude over root mean square of the data, at least one.
    target_db : float
        Wanted SQNR, in decibels.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    gap_db = target_db + 20 * math.log10(crest_factor)
    expected = _fewest_bits(gap_db - 10 * math.log10(12))
    return compare(
        answer,
        expected,
        rtol=1e-9,
        right="each doubling of the crest factor costs one bit.",
        hint="solve the formula for the number of positive codes, then round up to whole bits.",
        misconceptions=[
            (expected - 1, "one too few: half of the codes are negative, so 2**(b - 1) - 1 count."),
            (_fewest_bits(gap_db), "the factor 1/12 of the error power is missing."),
            (math.ceil(target_db / (20 * math.log10(2))), "the crest factor is missing."),
        ],
    )


def best_clip_for_std(answer: ArrayLike, *, bit_width: int = 4, std: float = 0.06) -> Verdict:
    """Check the clipping limit of least distortion for Gaussian weights.

    Parameters
    ----------
    answer : float
        Largest level of the mid-rise quantizer, in the units of the weights.
    bit_width : int
        Bits per code, from 1 to 16.
    std : float
        Standard deviation of the weights, above zero.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    count = 1 << bit_width
    step = design_uniform(count, Gaussian()).step_size
    clip = 0.5 * (count - 1) * step
    return compare(
        answer,
        clip * std,
        right="the best limit scales with the standard deviation.",
        hint="take the limit for variance one and ask how it scales with the data.",
        misconceptions=[
            (clip, "this is the limit for standard deviation one."),
            (clip * std * std, "a limit scales with the standard deviation, not the variance."),
            (0.5 * count * step * std, "the largest level is half a step inside that range."),
            (step * std, "this is the step; the largest level is asked for."),
            (2 * math.sqrt(math.log(count)) * std, "the asymptotic formula is far off at 4 bits."),
        ],
    )


def output_variance(
    answer: ArrayLike, *, var: float = 1.0, mean_squared_error: float = 0.1
) -> Verdict:
    """Check the variance of the output of a quantizer with levels at centroids.

    Parameters
    ----------
    answer : float
        Variance of the quantized variable.
    var : float
        Variance of the source, above zero.
    mean_squared_error : float
        Distortion of the quantizer, from zero to ``var``.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    return compare(
        answer,
        var - mean_squared_error,
        right="the error is orthogonal to the output, so variances subtract.",
        hint="write the input as output minus error; which two of the three are uncorrelated?",
        misconceptions=[
            (
                var + mean_squared_error,
                "this adds independent noise; the error is not independent.",
            ),
            (var, "the output varies less than the input: within a cell it does not vary at all."),
            (math.sqrt(var - mean_squared_error), "this is the standard deviation."),
        ],
    )


def entropy_coding_gain(answer: ArrayLike) -> Verdict:
    """Check the rate that entropy coding saves on a Gaussian at high resolution.

    Parameters
    ----------
    answer : float
        Bits per sample by which the best fixed-rate scalar quantizer needs more than the best
        entropy-coded one at the same distortion.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    fixed, coded = math.sqrt(3) * math.pi / 2, math.pi * math.e / 6
    ratio = fixed / coded
    return compare(
        answer,
        0.5 * math.log2(ratio),
        right="about half a bit, and 0.25 bit remain to the Shannon bound.",
        hint="both distortions are a constant times 2**(-2 R); compare the constants.",
        misconceptions=[
            (math.log2(ratio), "distortion falls by a factor 4 per bit, not by 2."),
            (10 * math.log10(ratio), "this is in decibels; one bit is worth 6.02 dB."),
            (0.5 * math.log2(fixed), "this is the gap of the fixed rate to the Shannon bound."),
            (0.5 * math.log2(coded), "this is the gap of entropy coding to the Shannon bound."),
            (-0.5 * math.log2(ratio), "the sign: fixed rate needs more bits."),
        ],
    )


def coarse_pixel_error(answer: ArrayLike) -> Verdict:
    """Check the error power of pixels rounded to even numbers, over the formula's value.

    Parameters
    ----------
    answer : float
        Mean squared error of the pixels rounded with a step of two, divided by a twelfth of the
        squared step.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    odd = float(np.mean(digits_network().images % 2))
    return compare(
        answer,
        3 * odd,
        right="only odd pixels have an error, and it is always one: nothing is uniform here.",
        hint="an integer is at distance zero or one from the even numbers; average the squares.",
        misconceptions=[
            (odd, "this is the error power; divide it by the squared step over twelve."),
            (1 / (3 * odd), "this is the formula over the measurement."),
            (odd / 4, "the factor 1/12 is missing."),
            (1.0, "this is what the formula says; measure it."),
        ],
    )


def failed_assumption(answer: object) -> Verdict:
    """Check which assumption the pixels violate.

    Parameters
    ----------
    answer : str
        ``"density"``, ``"overload"``, ``"levels"`` or ``"independence"``.

    Returns
    -------
    Verdict
        Whether the answer is right, and a hint if it is not.
    """
    says = {
        "density": "pixels are integers; no density exists, so none is smooth in a cell.",
        "overload": "no pixel lies beyond the outer levels; look at how pixels fill a cell.",
        "levels": "every level is in the middle of its cell; look at how pixels fill a cell.",
        "independence": "the error power of one pixel does not depend on the other pixels.",
    }
    return choose(answer, "density", says=says)


def _fewest_bits(gap_db: float) -> int:
    """Fewest bits whose largest code, in decibels, reaches the gap."""
    return math.ceil(math.log2(10 ** (gap_db / 20) + 1)) + 1
