"""Judging answers: the right one, the usual wrong ones, wrong shapes and wrong kinds."""

import importlib
import inspect

import numpy as np
import pytest

from qtheory import check
from qtheory.check import Verdict, compare

CHAPTERS = (
    "quantizers",
    "formats",
    "rounding",
    "signals",
    "staircases",
    "depth",
    "training_grid",
    "rounding_in_the_loop",
    "annealing",
    "straight_through",
    "binary_digits",
)
MODULES = [importlib.import_module(f"qtheory.check.{name}") for name in CHAPTERS]
HALF = "that is the half step: it is the largest error, not the root mean square."


def judge(answer, **changes):
    """Judge an answer to: the standard deviation of an error uniform on one step."""
    settings = {
        "right": "a step over the square root of twelve.",
        "hint": "integrate the square over one step.",
        "misconceptions": [(0.5, HALF), (1 / 12, "that is the variance.")],
    }
    return compare(answer, 1 / np.sqrt(12), **(settings | changes))


# Unit.


@pytest.mark.parametrize("answer", [1 / np.sqrt(12), 0.2887, np.float32(0.28868), "0.2887"])
def test_right_answer_passes(answer):
    verdict = judge(answer)
    assert verdict
    assert verdict.message == "a step over the square root of twelve."


@pytest.mark.parametrize(("answer", "hint"), [(0.5, HALF), (0.08333, "that is the variance.")])
def test_usual_mistake_gets_its_own_hint(answer, hint):
    assert judge(answer) == Verdict(False, hint)


def test_unknown_mistake_gets_the_general_hint():
    assert judge(7.0) == Verdict(False, "integrate the square over one step.")


def test_sign_counts():
    assert not judge(-1 / np.sqrt(12))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("a third", "a number or an array of numbers is expected", id="word"),
        pytest.param(None, "some entries are not finite", id="none"),
        pytest.param([[1.0], [1.0, 2.0]], "a number or an array of numbers", id="ragged"),
        pytest.param({"a": 1}, "a number or an array of numbers is expected", id="dict"),
        pytest.param([0.2887], "the shape is (1,), expected is one number", id="list"),
        pytest.param(np.nan, "some entries are not finite", id="nan"),
        pytest.param(np.inf, "some entries are not finite", id="infinite"),
    ],
)
def test_wrong_kind_or_shape_is_told_with_the_hint(answer, reason):
    verdict = judge(answer)
    assert not verdict
    assert reason in verdict.message
    assert verdict.message.endswith("integrate the square over one step.")


def test_number_where_an_array_is_expected_is_told():
    verdict = compare(1.0, [1.0, 2.0], right="yes.", hint="both.")
    assert verdict == Verdict(False, "the shape is one number, expected is (2,). both.")


def test_tolerance_is_relative_to_the_largest_entry():
    expected = [1000.0, 0.0]
    assert compare([1000.9, 0.9], expected, right="yes.", hint="no.")
    assert not compare([1000.0, 1.1], expected, right="yes.", hint="no.")


def test_tolerance_is_absolute_where_zero_is_expected():
    assert compare(0.0009, 0.0, right="yes.", hint="no.")
    assert not compare(0.0011, 0.0, right="yes.", hint="no.")


def test_a_thousandth_is_the_limit_unless_another_is_asked_for():
    above = np.nextafter(1e-3, 1.0)
    assert compare(1e-3, 0.0, right="yes.", hint="no.")
    assert not compare(above, 0.0, right="yes.", hint="no.")
    assert compare(3.0, 3.0, right="yes.", hint="no.", rtol=0.0)
    assert compare(3.5, 2.0, right="yes.", hint="no.", rtol=0.75)
    assert not compare(3.5, 2.0, right="yes.", hint="no.", rtol=0.7)


def test_right_answer_wins_over_a_misconception_within_the_tolerance():
    assert compare(1.0, 1.0, right="yes.", hint="no.", misconceptions=[(1.0005, "near.")])


def test_misconception_of_another_shape_is_passed_over():
    verdict = compare(3.0, 1.0, right="yes.", hint="no.", misconceptions=[([3.0, 3.0], "pair.")])
    assert verdict.message == "no."


@pytest.mark.parametrize(
    ("verdict", "text"),
    [(Verdict(True, "good."), "Right: good."), (Verdict(False, "try."), "Not yet: try.")],
)
def test_verdict_shows_itself_in_words(verdict, text):
    assert repr(verdict) == text


# The checks of all chapters can be called from one place.


@pytest.mark.parametrize("module", MODULES, ids=CHAPTERS)
def test_checks_of_a_chapter_are_names_of_the_package(module):
    assert {name: getattr(check, name) for name in module.__all__} == {
        name: getattr(module, name) for name in module.__all__
    }


def test_no_check_is_named_twice():
    names = [name for module in MODULES for name in module.__all__]
    assert sorted(names) == sorted(set(names))
    assert set(check.__all__) == {*names, "Verdict", "compare"}


@pytest.mark.parametrize("module", MODULES, ids=CHAPTERS)
def test_every_check_takes_an_answer_and_gives_a_verdict(module):
    for name in module.__all__:
        function = getattr(module, name)
        assert next(iter(inspect.signature(function).parameters)) == "answer"
        verdict = function("no number at all, and no name of an assumption")
        assert isinstance(verdict, Verdict)
        assert not verdict
        assert len(verdict.message) > 10
