"""Checks of the exercises of the chapter on number formats."""

import math

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, compare

__all__ = [
    "crossover_int6_e3m2",
    "first_missing_integer_e5m2",
    "largest_e3m4",
    "mxfp4_scale_and_peak",
    "terms_before_overflow_e5m2",
]


def largest_e3m4(answer: ArrayLike) -> Verdict:
    """Judge the largest value of E3M4, first with IEEE specials, then with one NaN a sign.

    Parameters
    ----------
    answer : array_like
        Two numbers: the largest value of the IEEE variant and of the FN variant.

    Returns
    -------
    Verdict
        Right, or a hint.

    Notes
    -----
    Book: ex-ch02-largest.
    """
    return compare(
        answer,
        [15.5, 30.0],
        right="keeping the top exponent for numbers nearly doubles the range.",
        hint="largest exponent field, minus the bias 3; then the largest significand 1 + M/16.",
        rtol=1e-9,
        misconceptions=[
            ([30.0, 15.5], "these are the two values in the other order: IEEE comes first."),
            ([31.0, 31.0], "some codes are not numbers: which ones have all exponent bits set?"),
            ([15.5, 31.0], "in the FN variant the code with all bits set is NaN."),
            ([31.0, 30.0], "the IEEE variant gives up every code whose exponent bits are all set."),
            ([15.5, 15.5], "the FN variant uses the top exponent field for numbers."),
            ([7.75, 15.0], "half of it: the bias of three exponent bits is 3, not 4."),
            ([15.0, 30.0], "IEEE: the largest mantissa field is 15, so the significand is 31/16."),
        ],
    )


def first_missing_integer_e5m2(answer: ArrayLike) -> Verdict:
    """Judge the smallest positive integer that is no value of FP8 E5M2.

    Parameters
    ----------
    answer : array_like
        One number.

    Returns
    -------
    Verdict
        Right, or a hint.

    Notes
    -----
    Book: ex-ch02-integers.
    """
    return compare(
        answer,
        9,
        right="precision p holds all integers up to 2**p, and the next one is lost.",
        hint="integers up to 2**p have at most p significant bits, or are 2**p itself.",
        rtol=1e-9,
        misconceptions=[
            (5, "the implicit leading bit counts: two mantissa bits make a precision of 3."),
            (8, "8 is a power of two, so it is a value."),
            (7, "7 is 1.75 times 4, so it is a value."),
            (10, "10 is 1.25 times 8, so it is a value; look one below."),
            (17, "that is a precision of four bits, as E4M3 has."),
            (57345, "far below the largest value the spacing already exceeds one."),
        ],
    )


def crossover_int6_e3m2(answer: ArrayLike) -> Verdict:
    """Judge the crest factor at which INT6 and FP6 E3M2 have the same SQNR.

    Parameters
    ----------
    answer : array_like
        One number, a ratio of amplitudes.

    Returns
    -------
    Verdict
        Right, or a hint.

    Notes
    -----
    Book: ex-ch02-crossover.
    """
    constant = math.sqrt(3 / (2 * math.log(2)))
    expected = 31 / 8 * constant
    return compare(
        answer,
        expected,
        right="below it integers win, above it floating point does.",
        hint="largest code 31, precision 3, and the constant sqrt(3 / (2 ln 2)).",
        rtol=2e-3,
        misconceptions=[
            (20 * math.log10(expected), "these are decibels; a ratio of amplitudes is asked for."),
            (31 / 4 * constant, "the precision counts the implicit bit: p = 3, not 2."),
            (32 / 8 * constant, "the largest code of symmetric INT6 is 31."),
            (63 / 8 * constant, "one of the six bits is the sign, so the largest code is 31."),
            (expected**2, "this is the square: a ratio of powers."),
            (31 / 8, "the constant sqrt(3 / (2 ln 2)) is missing; this is the lower end."),
            (31 / 4, "the constant is not 2; this is the upper end of the undecided range."),
        ],
    )


def mxfp4_scale_and_peak(answer: ArrayLike) -> Verdict:
    """Judge scale and quantized peak of an MXFP4 block whose largest magnitude is 13.

    Parameters
    ----------
    answer : array_like
        Two numbers: the scale and the quantized peak.

    Returns
    -------
    Verdict
        Right, or a hint.

    Notes
    -----
    Book: ex-ch02-mx.
    """
    return compare(
        answer,
        [2.0, 12.0],
        right="13 / 2 = 6.5 is beyond 6, so the peak is clipped to 12.",
        hint="scale: power of two at or below the peak, over 4 = 2**e_max; element at most 6.",
        rtol=1e-9,
        misconceptions=[
            ([4.0, 12.0], "the exponent is rounded down, so the scale is 2, although 12 is right."),
            ([4.0, 16.0], "the exponent is rounded down, and 13 / 4 = 3.25 rounds to 3."),
            ([13 / 6, 13.0], "this is the largest magnitude over 6; MX scales are powers of two."),
            ([2.0, 13.0], "13 / 2 = 6.5 is no element: what is the largest one?"),
            ([2.0, 6.0], "6 is the element; its value is the element times the scale."),
            ([8.0, 16.0], "8 is the power of two at the peak; divide it by 2**e_max = 4."),
            ([8.0, 12.0], "8 is the power of two at the peak; divide it by 2**e_max = 4."),
        ],
    )


def terms_before_overflow_e5m2(answer: ArrayLike) -> Verdict:
    """Judge how many terms of 1000 can be added before the sum overflows FP8 E5M2.

    Parameters
    ----------
    answer : array_like
        One number: the largest count whose exact sum rounds to a finite value.

    Returns
    -------
    Verdict
        Right, or a hint.

    Notes
    -----
    Book: ex-ch02-overflow.
    """
    return compare(
        answer,
        61,
        right="rounding is done before overflow is decided, so the limit is half a step above max.",
        hint="the largest value is 57344, the next one would be 65536; where is the midpoint?",
        rtol=1e-9,
        misconceptions=[
            (57, "sums a little above the largest value 57344 still round down to it."),
            (58, "58000 is nearer to 57344 than to 65536, so it does not overflow yet."),
            (62, "that is the first count that overflows; the last finite one is asked for."),
            (
                65,
                "65536 has no code, but sums below it already round up to it.",
            ),
            (64, "64000 rounds up to 65536, which has no code."),
        ],
    )
