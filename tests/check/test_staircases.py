"""Checks of the exercises on quantized activations: right answers, mistakes, other answers."""

import math

import numpy as np
import pytest
from answers import AnswerTests

from qtheory import check
from qtheory.meanfield import (
    Staircase,
    correlation_fixed_points,
    optimal_spacing,
    sign,
    stochastic_staircase,
    variance_fixed_points,
)

SILENT = 0.754300  # square of 0.8685043, found by a scan of the variance map in 40 digits
DENSITY, TAIL = 0.24197072451914337, 0.15865525393145705  # at one standard deviation

RIGHT = [
    (check.ternary_slope, 2 * DENSITY**2 / TAIL),
    (check.strong_bias_depth, 1.442695),
    (check.silent_weight_variance, SILENT),
    (check.step_function_depth, 1.524685),
    (check.same_input_twice, 0.5160585),
]
NUMERIC = [pytest.param(judge, answer, id=judge.__name__) for judge, answer in RIGHT]

WRONG = [
    (check.ternary_slope, DENSITY**2 / (2 * TAIL), "both add to the sum"),
    (check.ternary_slope, DENSITY / TAIL, "the sum of the impulses is squared"),
    (check.ternary_slope, 4 * DENSITY**2 / TAIL, "both outer cells"),
    (check.ternary_slope, 4 * DENSITY**2, "divide by the mean square of the output"),
    (check.ternary_slope, 4 * DENSITY**2 / math.sqrt(2 * TAIL), "not by the root mean square"),
    (check.strong_bias_depth, 0.5, "the limit of the slope"),
    (check.strong_bias_depth, 1.0, "natural logarithms"),
    (check.strong_bias_depth, 0.0, "not to zero"),
    (check.strong_bias_depth, 2.214434, "this is the sign without biases"),
    (check.silent_weight_variance, 0.868504, "this is a standard deviation"),
    (check.silent_weight_variance, 1.234833, "this is the best weight variance"),
    (check.silent_weight_variance, 1 / SILENT, "take its inverse"),
    (check.silent_weight_variance, 1.0, "still exists"),
    (check.step_function_depth, 0.5189927, "this is the slope; the depth"),
    (check.step_function_depth, 0.7898326, "this is the fixed point"),
    (check.step_function_depth, 2.214434, "subtracting the mean"),
    (check.step_function_depth, 1 / math.log(math.pi), "no fixed point here"),
    (check.step_function_depth, 1.442695, "rests at 0.79"),
    (check.same_input_twice, 1.0, "noise of their own"),
    (check.same_input_twice, 1 - 2 * TAIL, "nothing is clipped"),
    (check.same_input_twice, (1 - 2 * TAIL) ** 2, "slope at correlation zero"),
    (check.same_input_twice, 1 - 2 * TAIL - 2 * DENSITY, "count too"),
    (check.failed_staircase_assumption, "width", "nothing is simulated"),
    (check.failed_staircase_assumption, "weights", "what they are multiplied with"),
    (check.failed_staircase_assumption, "bias", "something else acts like one"),
]


# Unit.


class TestAnswers(AnswerTests):
    numeric = NUMERIC
    wrong = WRONG


def test_the_assumption_that_fails_is_named():
    assert check.failed_staircase_assumption("mean")


@pytest.mark.parametrize("answer", ["depth", 3, None, ["mean"]])
def test_unknown_assumption_is_told_the_choices(answer):
    verdict = check.failed_staircase_assumption(answer)
    assert not verdict
    assert "'width', 'weights', 'bias', 'mean'" in verdict.message


def test_infinite_depth_is_told_that_it_is_not_finite():
    assert "not finite" in check.strong_bias_depth(math.inf).message


def test_other_instances_have_other_answers():
    best = 0.5 * optimal_spacing(3).spacing
    assert check.ternary_slope(optimal_spacing(3).chi, threshold=best)


# Theory: what the checks take for right, found another way.


@pytest.mark.theory_vs_sim
def test_ternary_slope_is_that_of_the_library():
    staircase = Staircase([-1.0, 0.0, 1.0], [-1.0, 1.0])
    assert check.ternary_slope(
        staircase.cross_moment_slope(0.0, 1.0) / staircase.second_moment(1.0)
    )


@pytest.mark.theory_vs_sim
def test_strong_biases_lead_to_the_limit():
    # One part in 300 of slope is missing at this bias.
    options = {"variance": 1.0 + 1e6, "weight_variance": 1.0, "bias_variance": 1e6}
    slope = correlation_fixed_points(sign(), **options)[0].slope
    assert slope == pytest.approx(0.5, rel=2e-3, abs=0)
    assert -1 / math.log(slope) == pytest.approx(1 / math.log(2), rel=3e-3, abs=0)


@pytest.mark.theory_vs_sim
def test_ternary_network_lives_just_above_the_limit_and_not_below():
    staircase = Staircase([-1.0, 0.0, 1.0])
    alive = variance_fixed_points(staircase, weight_variance=1.001 * SILENT)
    silent = variance_fixed_points(staircase, weight_variance=0.999 * SILENT)
    assert len(alive) == 3
    assert [point.value for point in silent] == [0.0]


@pytest.mark.theory_vs_sim
def test_step_function_is_a_sign_with_a_bias():
    options = {"variance": 0.5, "weight_variance": 0.25, "bias_variance": 0.25}
    point = correlation_fixed_points(sign(), **options)[0]
    assert point.value == pytest.approx(0.7898326284, abs=1e-9)
    assert check.step_function_depth(-1 / math.log(point.slope))


@pytest.mark.theory_vs_sim
def test_same_input_twice_is_that_of_the_library():
    activation = stochastic_staircase(2)
    assert check.same_input_twice(activation.cross_moment(1.0, 1.0))
    z = np.random.default_rng(71).standard_normal(10**6)
    assert np.mean(np.clip(z, -1, 1) ** 2) == pytest.approx(0.5160585, abs=2e-3)
