"""Checks of the exercises on trained networks: right answers pass, mistakes get their hint."""

import math

import numpy as np
import pytest

from qtheory.check import training_grid
from qtheory.meanfield import optimal_spacing, steady_state, uniform_staircase
from qtheory.meanfield.border import border_depth

SCALE = optimal_spacing(4).depth_scale
STAIRCASE = uniform_staircase(16)


def default_depth(**variances):
    """Return six depth scales of sixteen levels."""
    return 6 * steady_state(STAIRCASE, **({"weight_variance": 1 / 3} | variances)).depth_scale


ANSWERS = {
    "border_in_depth_scales": float(border_depth([32, 64], [0.8, 0.2])) / SCALE,
    "default_trainable_depth": default_depth(bias_variance=1 / 3 / 128),
    "depth_of_a_diagonal_kernel": math.log(1000),
    "rate_of_equal_learning_time": 0.02 * (1 - 0.9) / (1 - 0.5),
}
MISTAKES = [
    ("border_in_depth_scales", 48 / SCALE, "halfway in its logarithm"),
    ("border_in_depth_scales", 32 * math.sqrt(2), "in layers"),
    ("border_in_depth_scales", 32 * math.sqrt(2) / 6, "not by six"),
    ("border_in_depth_scales", 45.2548 / optimal_spacing(16).depth_scale, "not four bits"),
    ("border_in_depth_scales", 45.2548 * optimal_spacing(4).one_minus_chi, "-1 / ln chi"),
    ("default_trainable_depth", default_depth(), "biases are missing"),
    ("default_trainable_depth", default_depth(bias_variance=1 / 3), "over the whole fan-in"),
    (
        "default_trainable_depth",
        default_depth(weight_variance=1 / 384, bias_variance=1 / 384),
        "over the whole fan-in",
    ),
    ("default_trainable_depth", default_depth(bias_variance=1 / 384) / 6, "six are asked for"),
    ("default_trainable_depth", 6 * optimal_spacing(16).depth_scale, "best initialization"),
    ("depth_of_a_diagonal_kernel", 3.0, "natural logarithm"),
    ("depth_of_a_diagonal_kernel", math.log2(1000), "natural logarithm"),
    ("depth_of_a_diagonal_kernel", math.log(1000) / 2, "not its root"),
    ("depth_of_a_diagonal_kernel", 1.0, "a third is left"),
    ("depth_of_a_diagonal_kernel", 6.0, "below one"),
    ("rate_of_equal_learning_time", 0.1, "upside down"),
    ("rate_of_equal_learning_time", 0.02, "size of the steps"),
    ("rate_of_equal_learning_time", 0.036, "not to the momentum"),
    ("rate_of_equal_learning_time", 0.02 * 0.5 / 0.9, "not to 1 / momentum"),
]


@pytest.mark.parametrize("name", ANSWERS)
def test_right_answer_passes(name):
    verdict = getattr(training_grid, name)(ANSWERS[name])
    assert verdict
    assert repr(verdict).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "hint"), MISTAKES)
def test_usual_mistake_gets_its_hint(name, answer, hint):
    verdict = getattr(training_grid, name)(answer)
    assert not verdict
    assert hint in verdict.message


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("answer", ["six", [1.0, 2.0], np.nan, -7.5])
def test_other_answers_are_wrong_and_get_a_hint(name, answer):
    verdict = getattr(training_grid, name)(answer)
    assert not verdict
    assert verdict.message


@pytest.mark.parametrize(
    ("answers", "hint"),
    [
        (("signal", "signal"), "1.5 depth scales"),
        (("learning rate", "learning rate"), "does not help six levels"),
        (("width", "signal"), "compare the two columns"),
        (("weather", "signal"), "two of 'signal', 'learning rate'"),
    ],
)
def test_limits_that_are_not_those(answers, hint):
    verdict = training_grid.what_limits(answers)
    assert not verdict
    assert hint in verdict.message


def test_limits_that_are():
    assert training_grid.what_limits(("learning rate", "signal"))
