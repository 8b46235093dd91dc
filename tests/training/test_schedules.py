"""Schedules of the learning rate by hand."""

import math

import pytest

from qtheory.training import constant, geometric, inverse_sqrt, inverse_time, piecewise


def test_rates_by_hand():
    assert constant(0.1)(0) == constant(0.1)(10**9) == 0.1
    assert [inverse_time(2.0)(t) for t in (0, 1, 4)] == [0.5, 0.25, 0.1]
    assert inverse_time(2.0, offset=5)(0) == 0.1
    assert [inverse_sqrt(3.0)(t) for t in (0, 3, 8)] == [3.0, 1.5, 1.0]


def test_geometric_ends_and_middle():
    rate = geometric(1.0, 1e-4, 101)
    assert rate(0) == 1.0
    assert rate(50) == pytest.approx(1e-2, rel=1e-14, abs=0)
    assert rate(100) == pytest.approx(1e-4, rel=1e-14, abs=0)
    assert rate(5000) == rate(100)


def test_piecewise_changes_at_its_boundaries():
    rate = piecewise([0.1, 0.01, 0.0], [10, 20])
    assert [rate(t) for t in (0, 9, 10, 19, 20, 99)] == [0.1, 0.1, 0.01, 0.01, 0.0, 0.0]
    assert piecewise([0.3], [])(7) == 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(-0.1), "`learning_rate` must be finite and not below zero"),
        (lambda: inverse_time(0.0), "`strong_convexity` must be finite and above zero"),
        (lambda: inverse_time(1.0, offset=0), "`offset` must be finite and above zero"),
        (lambda: inverse_sqrt(math.inf), "`rate_constant` must be finite"),
        (lambda: geometric(0.0, 1.0, 10), "`first` must be finite and above zero"),
        (lambda: geometric(1.0, 1.0, 1), "`num_steps` must be an integer of at least 2"),
        (lambda: piecewise([0.1], [5]), "`learning_rates` must be one more than"),
        (lambda: piecewise([0.1, 0.2, 0.3], [5, 5]), "`boundaries` must be strictly increasing"),
        (lambda: piecewise([0.1, 0.2], [1.5]), "`boundaries` must be an integer"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
