"""Checks of the exercises on signals: right answers pass, usual mistakes get their hint."""

import math

import pytest

from qtheory.check import signals
from qtheory.meanfield import Erf, LeakyReLU, ReLU, correlation_map, critical_line, critical_point

ANSWERS = {
    "critical_erf_weight_variance": 0.75 * math.pi,
    "correlation_after_relu": (math.sqrt(0.75) + math.pi / 3) / math.pi,
    "critical_leaky_weight_variance": 2 / 1.04,
    "layers_until_forgotten": 44,
    "gradient_norm_growth": 1.05**50,
}
MISTAKES = [
    ("critical_erf_weight_variance", math.pi / 4, "limit of small signals"),
    ("critical_erf_weight_variance", math.sqrt(0.75 * math.pi), "this is the standard deviation"),
    ("critical_erf_weight_variance", 4 / (3 * math.pi), "the product must be one"),
    ("critical_erf_weight_variance", math.pi / 4 * math.sqrt(5), "four times the variance enters"),
    ("critical_erf_weight_variance", 3 * math.sqrt(math.pi / 8), "has the factor 4 / pi."),
    ("correlation_after_relu", (math.sqrt(0.75) + math.pi / 3) / (2 * math.pi), "cross moment; di"),
    ("correlation_after_relu", (math.sqrt(0.75) + math.pi / 6) / math.pi, "the opposite input"),
    (
        "correlation_after_relu",
        (math.sqrt(0.75) + math.pi / 3 - 1) / (math.pi - 1),
        "means were subtracted",
    ),
    ("correlation_after_relu", 2 / 3, "the slope of the map"),
    ("critical_leaky_weight_variance", 2.0, "this is the rectifier"),
    ("critical_leaky_weight_variance", 2 / 1.2, "enters squared"),
    ("critical_leaky_weight_variance", math.sqrt(2 / 1.04), "this is the standard deviation"),
    ("critical_leaky_weight_variance", 4 / 1.44, "squares the mean derivative"),
    ("layers_until_forgotten", 43, "one too few"),
    ("layers_until_forgotten", -math.log(100) / math.log(0.9), "the layers are counted"),
    ("layers_until_forgotten", 19, "take the natural logarithm"),
    ("layers_until_forgotten", 47, "only near slope one"),
    ("layers_until_forgotten", 57, "a rule of thumb"),
    ("gradient_norm_growth", 1.05**100, "this is the squared norm"),
    ("gradient_norm_growth", 1.05**-50, "from the last layer to the first"),
    ("gradient_norm_growth", 6.0, "gains multiply"),
    ("gradient_norm_growth", 3.5, "gains multiply"),
]


@pytest.mark.parametrize("name", ANSWERS)
def test_right_answer_passes(name):
    verdict = getattr(signals, name)(ANSWERS[name])
    assert verdict
    assert repr(verdict).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "hint"), MISTAKES)
def test_usual_mistake_gets_its_hint(name, answer, hint):
    verdict = getattr(signals, name)(answer)
    assert not verdict
    assert hint in verdict.message
    assert hint not in getattr(signals, name)("no number").message


@pytest.mark.parametrize("name", ANSWERS)
def test_other_numbers_get_the_general_hint(name):
    verdict = getattr(signals, name)(12345.6)
    assert not verdict
    assert verdict.message in getattr(signals, name)("no number").message


def test_answers_are_those_of_the_library():
    theory = {
        "critical_erf_weight_variance": critical_line(Erf(), 2.0).weight_variance,
        "correlation_after_relu": correlation_map(ReLU(), 0.5, variance=3.0),
        "critical_leaky_weight_variance": critical_point(LeakyReLU(0.2), 0.0).weight_variance,
    }
    assert {
        name: bool(getattr(signals, name)(value)) for name, value in theory.items()
    } == dict.fromkeys(theory, True)


def test_parameters_of_the_exercises():
    assert signals.critical_erf_weight_variance(math.pi / 4 * 5, variance=6.0)
    assert signals.correlation_after_relu(1 / math.pi, correlation=0.0)
    assert signals.critical_leaky_weight_variance(1.6, negative_slope=0.5)
    assert signals.layers_until_forgotten(7, slope=0.5)
    assert signals.gradient_norm_growth(0.81, slope=0.9, num_layers=4)


def test_assumption():
    assert signals.failed_wide_assumption("width")
    for name, hint in [("mean", "mean zero"), ("growth", "bounded"), ("norm", "equal size")]:
        verdict = signals.failed_wide_assumption(name)
        assert not verdict
        assert hint in verdict.message
    assert "'mean', 'width', 'growth', 'norm'" in signals.failed_wide_assumption(3).message
