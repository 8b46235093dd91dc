"""Checks of the exercises on straight-through estimators: right answers, mistakes, hints."""

import math

import pytest
from answers import AnswerTests

from qtheory.check import straight_through as check

ROOT = math.sqrt(2 * math.pi)
NUMERIC = [
    (check.shrinking_speed, 0.25 / ROOT),
    (check.optimum_visits, 0.9242640687),
    (check.reversals_per_step, 0.6),
    (check.least_dampening, 0.3),
    (check.reversals_until_frozen, 11),
]
WRONG = [
    (check.shrinking_speed, 0.0, "this is a rectifier"),
    (check.shrinking_speed, 0.25, "this is the pull"),
    (check.shrinking_speed, 0.5 / ROOT, "only the negative half"),
    (check.shrinking_speed, -0.25 / ROOT, "the sign"),
    (check.optimum_visits, 0.72, "not plus and minus one"),
    (check.optimum_visits, 0.98497, "a fraction above one is one"),
    (check.optimum_visits, 0.0757359, "the optimum is missed"),
    (check.optimum_visits, 0.25, "not equally frequent"),
    (check.reversals_per_step, 0.3, "visits to the rarer level"),
    (check.reversals_per_step, 1.4, "more than one reversal a step"),
    (check.reversals_per_step, 0.7, "fraction of time at the upper level"),
    (check.least_dampening, 0.7, "at the wrong level as well"),
    (check.least_dampening, 0.15, "the strength has no unit"),
    (check.least_dampening, 0.6, "a factor of two"),
    (check.reversals_until_frozen, 10, "older reversals fade"),
    (check.reversals_until_frozen, 23, "not every second one"),
    (check.reversals_until_frozen, 229, "must exceed 0.1"),
    (check.failed_recurrence_assumption, "learning rate", "it drops out"),
    (check.failed_recurrence_assumption, "grid", "binary in both"),
    (check.failed_recurrence_assumption, "saturation", "no fraction is zero or one"),
]


# Unit.


class TestAnswers(AnswerTests):
    numeric = NUMERIC
    wrong = WRONG


def test_the_assumption_that_fails_is_named():
    assert check.failed_recurrence_assumption("independence")


@pytest.mark.parametrize("answer", ["phases", 3, None, ["grid"]])
def test_unknown_assumption_is_told_the_choices(answer):
    verdict = check.failed_recurrence_assumption(answer)
    assert not verdict
    assert "'learning rate', 'grid', 'independence', 'saturation'" in verdict.message
