"""Checks of the exercises on rounding: right answers pass, usual mistakes get their hint."""

import math

import numpy as np
import pytest

from qtheory.check import rounding
from qtheory.quantizers import (
    BFLOAT16,
    RoundMode,
    round_to_format,
    stagnation_value,
    stochastic_sum_moments,
)
from qtheory.quantizers.simulate import running_sum

ANSWERS = {
    "bfloat16_sum_limit": 4.0,
    "truncated_sum_limit": 512,
    "additions_for_one_percent": 90_000,
    "random_bits_needed": 9,
    "dither_cost_db": 10 * math.log10(3),
}
MISTAKES = [
    ("bfloat16_sum_limit", 2.0, "precision eight, and the logarithm"),
    ("bfloat16_sum_limit", 1.0, "both slips at once"),
    ("bfloat16_sum_limit", 8.0, "already less than half"),
    ("bfloat16_sum_limit", 2.56, "the limit is a power of two"),
    ("bfloat16_sum_limit", 100.0, "that is the exact sum"),
    ("truncated_sum_limit", 1024, "limit of nearest rounding"),
    ("truncated_sum_limit", 256, "so the sum moves on"),
    ("truncated_sum_limit", 768, "stops at a power of two"),
    ("additions_for_one_percent", 250_000, "a quarter only at half a step"),
    ("additions_for_one_percent", 900, "not 1e-2"),
    ("additions_for_one_percent", 300, "root of the answer"),
    ("additions_for_one_percent", 500_000 / 3, "average over all fractions"),
    ("additions_for_one_percent", 250_000 / 3, "belongs to nearest rounding"),
    ("additions_for_one_percent", 100_000, "factor 1 - f is missing"),
    ("random_bits_needed", 10, "plain truncation"),
    ("random_bits_needed", 8, "with eight bits the term is lost"),
    ("random_bits_needed", math.log2(1000) - 1, "so round up"),
    ("random_bits_needed", math.log2(1000), "bits are whole, and"),
    ("dither_cost_db", 20 * math.log10(3), "ratio of powers: ten times"),
    ("dither_cost_db", -10 * math.log10(3), "as a positive number"),
    ("dither_cost_db", 10 * math.log10(2), "that is uniform dither"),
    ("dither_cost_db", math.log(3), "decimal logarithm"),
    ("dither_cost_db", 3.0, "turn it into decibels"),
]


@pytest.mark.parametrize("name", rounding.__all__)
def test_right_answer_passes(name):
    verdict = getattr(rounding, name)(ANSWERS[name])
    assert verdict
    assert repr(verdict).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "hint"), MISTAKES)
def test_usual_mistake_gets_its_hint(name, answer, hint):
    verdict = getattr(rounding, name)(answer)
    assert not verdict
    assert hint in verdict.message
    assert hint not in getattr(rounding, name)("no number").message


@pytest.mark.parametrize("name", rounding.__all__)
def test_other_numbers_get_the_general_hint(name):
    verdict = getattr(rounding, name)(12345.6)
    assert not verdict
    assert verdict.message == getattr(rounding, name)(0.123).message


@pytest.mark.parametrize("name", rounding.__all__)
@pytest.mark.parametrize(
    ("answer", "problem"),
    [("four", "a number"), ([1.0, 2.0], "the shape is (2,)"), (np.nan, "not finite")],
)
def test_wrong_type_and_shape_are_explained(name, answer, problem):
    verdict = getattr(rounding, name)(answer)
    assert not verdict
    assert problem in verdict.message


def test_limit_of_nearest_is_what_the_library_says():
    assert stagnation_value(0.01, BFLOAT16.precision) == ANSWERS["bfloat16_sum_limit"]


def test_limit_of_truncation_is_what_adding_gives():
    history = running_sum(
        np.full(400, 3.0), lambda x: round_to_format(x, BFLOAT16, round_mode=RoundMode.FLOOR)
    )
    assert history[-1, 0] == history[-2, 0] == ANSWERS["truncated_sum_limit"]


def test_number_of_additions_is_what_the_moments_give():
    moments = stochastic_sum_moments(0.1, ANSWERS["additions_for_one_percent"], 1.0)
    assert math.isclose(math.sqrt(moments.var), 0.01 * moments.mean, rel_tol=1e-12)
