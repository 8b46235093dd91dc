"""Checks of the exercises on depth: right answers pass, usual mistakes get their hint."""

import math

import pytest

from qtheory.check import depth
from qtheory.meanfield import local_exponent, optimal_spacing

EXTRAPOLATED = 0.608572
ANSWERS = {
    "three_level_spacing": 1.22400636192,
    "best_weight_std": 1.0653053398,
    "levels_for_layers": 7,
    "depth_per_doubling": 1.8474,
    "noisy_rounding_limit": 0.5,
    "extrapolated_depth": EXTRAPOLATED,
}
MISTAKES = [
    ("three_level_spacing", 0.61200318, "the spacing is twice as large"),
    ("three_level_spacing", 1.596, "this is the step of two levels"),
    ("three_level_spacing", 0.995686686, "these are four levels"),
    ("best_weight_std", 1.13487549, "this is the variance"),
    ("best_weight_std", 0.93869802, "weights must be larger"),
    ("best_weight_std", 0.88115395, "this is the slope itself"),
    ("best_weight_std", 1.0, "takes away in every layer"),
    ("levels_for_layers", 6, "one too few"),
    ("levels_for_layers", 18, "one depth scale of that many layers"),
    ("levels_for_layers", 3, "these are bits"),
    ("levels_for_layers", 8, "a power of two is not needed"),
    ("depth_per_doubling", 3.5984, "this is the ratio of the depths"),
    ("depth_per_doubling", 1.28052, "this is a natural logarithm"),
    ("depth_per_doubling", 1.82, "the fit over all numbers"),
    ("depth_per_doubling", 2.0, "this is the limit"),
    ("depth_per_doubling", 2 - 1 / math.log(1024), "leading term only"),
    ("depth_per_doubling", local_exponent(512), "from half the number"),
    ("noisy_rounding_limit", 2.0, "the inverse"),
    ("noisy_rounding_limit", 1 / 6, "divide a twelfth by it"),
    ("noisy_rounding_limit", 0.25, "not with its square"),
    ("noisy_rounding_limit", 0.70711, "not with its root"),
    ("noisy_rounding_limit", 1.0, "the noise in a cell is not"),
    ("extrapolated_depth", 1 / EXTRAPOLATED, "the exact depth over the power law"),
    (
        "extrapolated_depth",
        EXTRAPOLATED * optimal_spacing(2**20).depth_scale,
        "divide by the exact one",
    ),
    ("extrapolated_depth", 1 - EXTRAPOLATED, "the ratio is asked for"),
    ("extrapolated_depth", 1.0, "says nothing about this far outside"),
]


@pytest.mark.parametrize("name", depth.__all__)
def test_right_answer_passes(name):
    verdict = getattr(depth, name)(ANSWERS[name])
    assert verdict
    assert repr(verdict).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "hint"), MISTAKES)
def test_usual_mistake_gets_its_hint(name, answer, hint):
    verdict = getattr(depth, name)(answer)
    assert not verdict
    assert hint in verdict.message
    assert hint not in getattr(depth, name)("no number").message


@pytest.mark.parametrize("name", depth.__all__)
def test_other_numbers_get_the_general_hint(name):
    verdict = getattr(depth, name)(12345.6)
    assert not verdict
    assert verdict.message == getattr(depth, name)(-777.7).message


@pytest.mark.parametrize("name", depth.__all__)
@pytest.mark.parametrize("answer", [[1.0, 2.0], "text", None, math.nan])
def test_answers_of_another_kind_get_a_hint(name, answer):
    verdict = getattr(depth, name)(answer)
    assert not verdict
    assert verdict.message


def test_other_parameters_have_other_answers():
    assert depth.best_weight_std(1.0058218920, num_levels=16)
    assert depth.levels_for_layers(8, multiple=4.0)
    assert depth.depth_per_doubling(1.7166, num_levels=8)
    assert not depth.extrapolated_depth(EXTRAPOLATED, num_levels=2**30)
