"""Checks of the exercises on binary networks: right answers pass, mistakes get their hint."""

import numpy as np
import pytest
from answers import AnswerTests

from qtheory.check import binary_digits

BOUND = 0.1 / np.sqrt(0.01 * (1 - 0.81 / 0.99))
FLIPS = 0.005 * 0.3 * 6144
RANDOM = 0.5 * (1 - 0.999**1500)


class TestNumbers(AnswerTests):
    """The numbers asked for."""

    numeric = (
        (binary_digits.rate_of_first_flip, 25.0),
        (binary_digits.safe_rate_of_adam, 1 / BOUND),
        (binary_digits.equivalent_rate, 0.001),
        (binary_digits.equivalent_weight_decay, 0.002),
        (binary_digits.flips_of_a_step, FLIPS),
        (binary_digits.share_after_random_changes, RANDOM),
    )
    wrong = (
        (binary_digits.rate_of_first_flip, 50.0, "the whole step"),
        (binary_digits.rate_of_first_flip, 12.5, "half of half a step"),
        (binary_digits.rate_of_first_flip, 0.04, "that is the push"),
        (binary_digits.rate_of_first_flip, 1.0, "moves by 0.04"),
        (binary_digits.safe_rate_of_adam, BOUND, "bound on the direction; the rate"),
        (binary_digits.safe_rate_of_adam, 0.137558, "a second decay of 0.999"),
        (binary_digits.safe_rate_of_adam, 1.0, "in the first step"),
        (binary_digits.safe_rate_of_adam, 2 / BOUND, "one, not two"),
        (binary_digits.safe_rate_of_adam, 0.301511, "the square of the first decay"),
        (binary_digits.equivalent_rate, 0.1, "upside down"),
        (binary_digits.equivalent_rate, 0.01, "change sign sooner"),
        (binary_digits.equivalent_rate, 0.0001, "not with its square"),
        (binary_digits.equivalent_weight_decay, 0.02, "ten times faster"),
        (binary_digits.equivalent_weight_decay, 0.2, "upside down"),
        (binary_digits.equivalent_weight_decay, 0.0, "some decay is needed"),
        (binary_digits.equivalent_weight_decay, 0.0002, "not twice"),
        (binary_digits.flips_of_a_step, 4 * FLIPS, "a quarter of the weights"),
        (binary_digits.flips_of_a_step, 2 * FLIPS, "half the rate times the direction."),
        (binary_digits.flips_of_a_step, 8 * FLIPS, "and only a quarter"),
        (binary_digits.flips_of_a_step, 0.0015, "the chance of one weight"),
        (binary_digits.share_after_random_changes, 0.75, "mean number of changes"),
        (binary_digits.share_after_random_changes, 0.52773, "at least once"),
        (binary_digits.share_after_random_changes, 0.5, "that is the limit"),
        (binary_digits.share_after_random_changes, 2 * RANDOM, "half of that"),
    )


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("rounding is unbiased", "only move inward or stay"),
        ("the gradients are noisy", "P5 shows it"),
        ("directions push both ways", "would ever change back"),
        (7, "is expected"),
    ],
)
def test_assumptions_that_do_not_fail_get_a_hint(answer, hint):
    verdict = binary_digits.failed_cooling_assumption(answer)
    assert not verdict
    assert hint in verdict.message


def test_assumption_that_fails_passes():
    assert binary_digits.failed_cooling_assumption("everything is rounded")
