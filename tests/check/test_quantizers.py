"""Checks of the exercises on quantizers: right answers, usual mistakes, other kinds of answers."""

import math

import numpy as np
import pytest
from answers import AnswerTests

from qtheory import check
from qtheory.datasets import digits_network
from qtheory.quantizers import (
    Gaussian,
    Laplace,
    design_entropy_constrained,
    design_lloyd_max,
    distortion,
    input_error_covariance,
    integer_sqnr_db_approx,
    optimal_clip,
    panter_dite_distortion,
    sign,
)

STEP_OF_FOUR_BITS = 0.335201  # Max (1960), Table II, 16 levels, with two more digits
ODD_PIXELS = float(np.mean(digits_network().images % 2))
FIXED_TO_CODED = math.sqrt(3) * math.pi / 2 / (math.pi * math.e / 6)

RIGHT = [
    (check.one_bit_laplace, 4.5),
    (check.bits_for_sqnr, 9),
    (check.best_clip_for_std, 7.5 * STEP_OF_FOUR_BITS * 0.06),
    (check.output_variance, 0.9),
    (check.entropy_coding_gain, 0.4674),
    (check.coarse_pixel_error, 3 * ODD_PIXELS),
]
NUMERIC = [pytest.param(judge, answer, id=judge.__name__) for judge, answer in RIGHT]

WRONG = [
    (check.one_bit_laplace, 1.5, "proportional to the standard deviation"),
    (check.one_bit_laplace, 9 * (1 - 2 / math.pi), "this is the Gaussian"),
    (check.one_bit_laplace, 3 / math.sqrt(2), "this is the best level"),
    (check.one_bit_laplace, 18 * (1 - 1 / math.sqrt(2)), "the level is not the standard deviation"),
    (check.one_bit_laplace, 0.5, "variance one"),
    (check.bits_for_sqnr, 8, "one too few"),
    (check.bits_for_sqnr, 11, "the factor 1/12"),
    (check.bits_for_sqnr, 7, "the crest factor is missing"),
    (check.best_clip_for_std, 7.5 * STEP_OF_FOUR_BITS, "standard deviation one"),
    (check.best_clip_for_std, 7.5 * STEP_OF_FOUR_BITS * 0.0036, "not the variance"),
    (check.best_clip_for_std, 8 * STEP_OF_FOUR_BITS * 0.06, "half a step"),
    (check.best_clip_for_std, STEP_OF_FOUR_BITS * 0.06, "this is the step"),
    (check.best_clip_for_std, 2 * math.sqrt(math.log(16)) * 0.06, "asymptotic"),
    (check.output_variance, 1.1, "independent noise"),
    (check.output_variance, 1.0, "varies less"),
    (check.output_variance, math.sqrt(0.9), "standard deviation"),
    (check.entropy_coding_gain, 0.9347, "a factor 4 per bit"),
    (check.entropy_coding_gain, 2.8139, "in decibels"),
    (check.entropy_coding_gain, 0.7220, "of the fixed rate to the Shannon bound"),
    (check.entropy_coding_gain, 0.2546, "of entropy coding to the Shannon bound"),
    (check.entropy_coding_gain, -0.4674, "the sign"),
    (check.coarse_pixel_error, ODD_PIXELS, "this is the error power"),
    (check.coarse_pixel_error, 1 / (3 * ODD_PIXELS), "the formula over the measurement"),
    (check.coarse_pixel_error, ODD_PIXELS / 4, "the factor 1/12"),
    (check.coarse_pixel_error, 1.0, "measure it"),
    (check.failed_assumption, "overload", "beyond the outer levels"),
    (check.failed_assumption, "levels", "in the middle of its cell"),
    (check.failed_assumption, "independence", "does not depend on the other pixels"),
]


# Unit.


class TestAnswers(AnswerTests):
    numeric = NUMERIC
    wrong = WRONG


def test_the_assumption_that_fails_is_named():
    assert check.failed_assumption("density")


@pytest.mark.parametrize("answer", ["smoothness", 3, None, ["density"]])
def test_unknown_assumption_is_told_the_choices(answer):
    verdict = check.failed_assumption(answer)
    assert not verdict
    assert "'density', 'overload', 'levels', 'independence'" in verdict.message


def test_missing_crest_factor_counts_6_02_decibels_per_bit():
    # 37 dB are 6.1 bits.
    assert "the crest factor is missing" in check.bits_for_sqnr(7, target_db=37.0).message


def test_other_instances_have_other_answers():
    assert check.one_bit_laplace(2.0, std=2.0)
    assert check.bits_for_sqnr(8, crest_factor=4.0)
    assert check.best_clip_for_std(optimal_clip(3, Gaussian()), bit_width=3, std=1.0)
    assert check.output_variance(1.5, var=2.0, mean_squared_error=0.5)


# Theory: what the checks take for right, found another way.


@pytest.mark.theory_vs_sim
def test_one_bit_answer_is_the_least_of_a_search():
    losses = [distortion(sign(y), Laplace(std=3.0)) for y in np.linspace(1.5, 3.0, 301)]
    assert check.one_bit_laplace(min(losses))


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("crest_factor", [1.0, 2.0, 5.0, 8.0])
@pytest.mark.parametrize("target_db", [10.0, 25.0, 40.0])
def test_bits_are_the_fewest_of_a_search(crest_factor, target_db):
    widths = [b for b in range(2, 20) if integer_sqnr_db_approx(b, crest_factor) >= target_db]
    assert check.bits_for_sqnr(widths[0], crest_factor=crest_factor, target_db=target_db)


@pytest.mark.theory_vs_sim
def test_clip_answer_is_that_of_the_scaled_source():
    assert check.best_clip_for_std(optimal_clip(4, Gaussian(std=0.06)))


@pytest.mark.theory_vs_sim
def test_output_varies_less_by_the_distortion():
    result = design_lloyd_max(5, Gaussian())
    covariance = input_error_covariance(result.quantizer, Gaussian())
    assert check.output_variance(1 + covariance, mean_squared_error=result.distortion)


@pytest.mark.theory_vs_sim
def test_entropy_coding_saves_what_the_designs_say():
    coded = design_entropy_constrained(Gaussian(), lagrange=1e-5)
    num_levels = math.sqrt(panter_dite_distortion(1, Gaussian()) / coded.distortion)
    assert check.entropy_coding_gain(math.log2(num_levels) - coded.rate_bits)


def test_ratio_of_the_constants_is_that_of_the_hints():
    assert math.log2(FIXED_TO_CODED) == pytest.approx(0.9347, abs=1e-4)
    assert 10 * math.log10(FIXED_TO_CODED) == pytest.approx(2.8139, abs=1e-4)
