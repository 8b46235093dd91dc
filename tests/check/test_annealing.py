"""Checks of the exercises on annealing: right answers pass, usual mistakes get their hint."""

import math

import pytest

from qtheory.check import annealing
from tests.answers import AnswerTests


class TestAnswers(AnswerTests):
    """Numbers: the right one, and the usual wrong ones."""

    numeric = (
        (annealing.chance_of_moving_up, 0.375),
        (annealing.share_of_plus_one, 0.4),
        (annealing.largest_exact_learning_rate, 0.5 / 14.5),
        (annealing.steps_to_mix, 64750.0),
        (annealing.batch_factor, 4.0),
    )
    wrong = (
        (annealing.chance_of_moving_up, 0.625, "a positive gradient moves down"),
        (annealing.chance_of_moving_up, 0.5, "the slope is added to it"),
        (annealing.chance_of_moving_up, 0.6, "divide by the sum of both"),
        (annealing.chance_of_moving_up, 0.75, "divide it by the mean absolute value"),
        (annealing.share_of_plus_one, 0.6, "the share of minus one"),
        (annealing.share_of_plus_one, 0.0, "the worse value is visited too"),
        (annealing.share_of_plus_one, 0.5, "one direction more likely"),
        (annealing.share_of_plus_one, 2 / 3, "they must sum to one"),
        (annealing.share_of_plus_one, 1 / (1 + math.exp(0.4)), "only an approximation"),
        (annealing.largest_exact_learning_rate, 0.0625, "leaves out the slopes"),
        (annealing.largest_exact_learning_rate, 0.5 / 6.5, "leaves out the noise"),
        (annealing.largest_exact_learning_rate, 0.5 / 14, "the lower end of the grid"),
        (annealing.largest_exact_learning_rate, 1 / 14.5, "the grid step is missing"),
        (annealing.largest_exact_learning_rate, 0.25 / 14.5, "needed for the gap"),
        (annealing.steps_to_mix, 2590, "takes longer to come to it"),
        (annealing.steps_to_mix, 103.6, "smaller steps take more of them"),
        (annealing.steps_to_mix, 2590 * 625, "only rarer"),
        (annealing.steps_to_mix, 12950, "not its root"),
        (annealing.batch_factor, 2.0, "for gradient descent"),
        (annealing.batch_factor, math.sqrt(2.0), "all that counts"),
        (annealing.batch_factor, 0.5, "makes it hotter"),
    )


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("finite grid", "far from where"),
        ("finite mean", "all moments"),
        ("small learning rate", "without a way up"),
    ],
)
def test_wrong_assumption_gets_its_hint(answer, hint):
    verdict = annealing.failed_chain_assumption(answer)
    assert not verdict
    assert hint in verdict.message


def test_right_assumption_passes():
    assert annealing.failed_chain_assumption("two-sided noise")


@pytest.mark.parametrize("answer", ["noise", 3.0, None])
def test_other_assumptions_are_told_what_there_is(answer):
    assert "'two-sided noise'" in annealing.failed_chain_assumption(answer).message


def test_other_parameters_have_other_answers():
    assert annealing.chance_of_moving_up(0.625, point=4.5)
    assert annealing.share_of_plus_one(0.45, noise_scale=2.0)
    assert annealing.largest_exact_learning_rate(0.25 / 7.25, grid_step=0.25, noise_scale=0.75)
    assert annealing.steps_to_mix(5180, learning_rate=0.005)
    assert annealing.batch_factor(9.0, cooling=3.0)
