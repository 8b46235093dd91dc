"""Checks of the chapter on number formats: right answers, known misconceptions, wrong kinds."""

import math

import numpy as np
import pytest

from qtheory.check import formats
from qtheory.quantizers import (
    FP4_E2M1,
    FP8_E5M2,
    MXFP4,
    Specials,
    float_format,
    quantize_blocks,
    round_to_format,
)

CONSTANT = math.sqrt(3 / (2 * math.log(2)))
PAIRS = ["largest_e3m4", "mxfp4_scale_and_peak"]
NUMBERS = ["first_missing_integer_e5m2", "crossover_int6_e3m2", "terms_before_overflow_e5m2"]

# Unit: right answers, from the library or from the book's formula.


def test_largest_e3m4_accepts_the_values_of_the_formats():
    variants = [float_format(3, 4, specials=kind) for kind in (Specials.IEEE, Specials.FN)]
    assert formats.largest_e3m4([variant.max_value for variant in variants])


def test_first_missing_integer_accepts_the_one_that_rounding_changes():
    integers = np.arange(1.0, 100.0)
    is_kept = round_to_format(integers, FP8_E5M2) == integers
    assert formats.first_missing_integer_e5m2(integers[np.argmin(is_kept)])


def test_crossover_accepts_the_ratio_at_which_both_noises_agree():
    crest_factor = 31 / 8 * CONSTANT
    assert math.isclose(crest_factor**2 / (12 * 31**2), 4.0**-3 / (8 * math.log(2)))
    assert formats.crossover_int6_e3m2(crest_factor)
    assert formats.crossover_int6_e3m2(round(crest_factor, 2))


def test_mx_scale_and_peak_accepts_what_the_library_does():
    quantized = quantize_blocks([1.0, -13.0, 5.0], MXFP4)
    assert FP4_E2M1.max_value == 6.0
    assert formats.mxfp4_scale_and_peak([quantized.scales[0], -quantized.values[1]])


def test_terms_before_overflow_accepts_the_last_finite_sum():
    counts = np.arange(1, 100)
    is_finite = np.isfinite(round_to_format(1000.0 * counts, FP8_E5M2))
    assert formats.terms_before_overflow_e5m2(counts[is_finite].max())


# Each misconception gets its own hint.


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        pytest.param("largest_e3m4", [30, 15.5], "other order", id="largest-order"),
        pytest.param("largest_e3m4", [31, 31], "not numbers", id="largest-no-specials"),
        pytest.param("largest_e3m4", [15.5, 31], "all bits set is NaN", id="largest-no-nan"),
        pytest.param("largest_e3m4", [31, 30], "gives up every code", id="largest-no-infinity"),
        pytest.param("largest_e3m4", [15.5, 15.5], "top exponent field", id="largest-same"),
        pytest.param("largest_e3m4", [7.75, 15], "half of it", id="largest-bias"),
        pytest.param("largest_e3m4", [15, 30], "31/16", id="largest-mantissa"),
        pytest.param("first_missing_integer_e5m2", 5, "implicit", id="integer-implicit"),
        pytest.param("first_missing_integer_e5m2", 8, "power of two", id="integer-eight"),
        pytest.param("first_missing_integer_e5m2", 7, "1.75", id="integer-seven"),
        pytest.param("first_missing_integer_e5m2", 10, "one below", id="integer-ten"),
        pytest.param("first_missing_integer_e5m2", 17, "E4M3", id="integer-other-format"),
        pytest.param("first_missing_integer_e5m2", 57345, "spacing", id="integer-range"),
        pytest.param(
            "crossover_int6_e3m2",
            20 * math.log10(31 / 8 * CONSTANT),
            "decibels",
            id="crossover-db",
        ),
        pytest.param("crossover_int6_e3m2", 31 / 4 * CONSTANT, "implicit", id="crossover-p"),
        pytest.param(
            "crossover_int6_e3m2",
            4 * CONSTANT,
            "the largest code of symmetric INT6",
            id="crossover-code",
        ),
        pytest.param("crossover_int6_e3m2", 63 / 8 * CONSTANT, "sign", id="crossover-sign"),
        pytest.param("crossover_int6_e3m2", (31 / 8 * CONSTANT) ** 2, "square", id="crossover-sq"),
        pytest.param("crossover_int6_e3m2", 31 / 8, "missing", id="crossover-lower"),
        pytest.param("crossover_int6_e3m2", 31 / 4, "upper end", id="crossover-upper"),
        pytest.param("mxfp4_scale_and_peak", [4, 12], "although 12 is right", id="mx-ceil"),
        pytest.param("mxfp4_scale_and_peak", [4, 16], "3.25", id="mx-ceil-sixteen"),
        pytest.param("mxfp4_scale_and_peak", [13 / 6, 13], "powers of two", id="mx-max"),
        pytest.param("mxfp4_scale_and_peak", [2, 13], "no element", id="mx-no-clip"),
        pytest.param("mxfp4_scale_and_peak", [2, 6], "times the scale", id="mx-element"),
        pytest.param("mxfp4_scale_and_peak", [8, 16], "divide it", id="mx-no-emax"),
        pytest.param("mxfp4_scale_and_peak", [8, 12], "divide it", id="mx-no-emax-peak"),
        pytest.param("terms_before_overflow_e5m2", 57, "still round down to it", id="terms-max"),
        pytest.param("terms_before_overflow_e5m2", 58, "nearer", id="terms-next"),
        pytest.param("terms_before_overflow_e5m2", 62, "last finite", id="terms-one-more"),
        pytest.param("terms_before_overflow_e5m2", 65, "already round up", id="terms-power"),
        pytest.param("terms_before_overflow_e5m2", 64, "64000", id="terms-sixty-four"),
    ],
)
def test_misconception_gets_its_hint(check, answer, hint):
    verdict = getattr(formats, check)(answer)
    assert not verdict
    assert hint in verdict.message
    assert hint not in getattr(formats, check)("no number").message


@pytest.mark.parametrize("name", formats.__all__)
def test_wrong_kind_gets_a_hint(name):
    verdict = getattr(formats, name)("a word")
    assert not verdict
    assert "number" in verdict.message


@pytest.mark.parametrize("name", PAIRS)
def test_one_number_for_a_pair_gets_a_hint(name):
    verdict = getattr(formats, name)(3.0)
    assert not verdict
    assert "the shape is one number" in verdict.message


@pytest.mark.parametrize("name", NUMBERS)
def test_a_pair_for_one_number_gets_a_hint(name):
    verdict = getattr(formats, name)([1.0, 2.0])
    assert not verdict
    assert "expected is one number" in verdict.message


@pytest.mark.parametrize("name", NUMBERS)
def test_unknown_wrong_number_gets_the_general_hint(name):
    verdict = getattr(formats, name)(-123.0)
    assert not verdict
    assert verdict.message


@pytest.mark.parametrize("name", PAIRS)
def test_unknown_wrong_pair_gets_the_general_hint(name):
    verdict = getattr(formats, name)([-1.0, -2.0])
    assert not verdict
    assert verdict.message


def test_lists_of_checks_are_complete():
    assert sorted(PAIRS + NUMBERS) == sorted(formats.__all__)
