"""Rounded sums: where nearest stops, and the law of stochastic sums."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats

from qtheory.numerics import Estimate
from qtheory.quantizers import (
    BFLOAT16,
    FLOAT16,
    RoundMode,
    float_format,
    infinite_grid,
    round_to_format,
    simulate,
    stagnation_value,
    stochastic_sum_moments,
)

# --- Unit -------------------------------------------------------------------------------------


def test_counting_by_hand():
    assert stagnation_value(1.0, BFLOAT16.precision) == 256.0
    assert stagnation_value(1.0, FLOAT16.precision) == 2048.0
    assert stagnation_value(3.0, 4) == 64.0
    assert stagnation_value(0.75, 4) == 16.0


def test_the_largest_power_of_two_is_still_reached():
    assert stagnation_value(2.0**970, 53) == 2.0**1023
    with pytest.raises(ValueError, match="`increment` must be small enough for a result in"):
        stagnation_value(2.0**971, 53)


def test_moments_by_hand():
    moments = stochastic_sum_moments(0.3, 10, 0.4)
    assert moments.mean == pytest.approx(3.0)
    assert moments.var == pytest.approx(10 * 0.16 * 3 / 16)
    assert stochastic_sum_moments(0.8, 10, 0.4).var == 0.0
    assert stochastic_sum_moments(0.3, 0, 0.4).mean == 0.0


def test_running_sum_by_hand():
    sums = simulate.running_sum([0.6, 0.6, 0.6], infinite_grid(1.0), num_runs=2)
    assert_array_equal(sums, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert simulate.running_sum([], infinite_grid(1.0)).shape == (0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stagnation_value(0.0, 8), "`increment` must be finite and above zero, got 0.0"),
        (lambda: stagnation_value(1.0, 1), "`precision` must be an integer of at least 2, got 1"),
        (lambda: stagnation_value(1e308, 53), "`increment` must be small enough for a result in"),
        (lambda: stochastic_sum_moments(0.0, 1, 1.0), "`increment` must be finite and above zero"),
        (lambda: stochastic_sum_moments(1.0, -1, 1.0), "`num_steps` must be an integer of at lea"),
        (lambda: stochastic_sum_moments(1.0, 1, 0.0), "`step_size` must be finite and above zero"),
        (lambda: simulate.running_sum([1.0], infinite_grid(1.0), num_runs=0), "`num_runs` must"),
        (
            lambda: simulate.distortion(abs, None, num_samples=1, rng=np.random.default_rng(0)),
            "`num_samples` must be an integer of at least 2, got 1",
        ),
        (
            lambda: simulate.distortion(abs, None, num_samples=9, rng=0),
            r"`rng` must be a numpy\.random\.Generator, got 0",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(precision=st.integers(2, 6), code=st.integers(1, 63), exponent=st.integers(-2, 2))
def test_sum_under_nearest_rounding_stops_where_stated(precision, code, exponent):
    fmt = float_format(6, precision - 1)
    increment = float(round_to_format(math.ldexp(code, exponent - precision), fmt))
    total, steps = 0.0, 0
    while True:
        following = float(round_to_format(total + increment, fmt))
        steps += 1
        if following == total:
            break
        total = following
    assert total == stagnation_value(increment, precision)
    # Every step moves by more than half the increment.
    assert steps <= 2 * total / increment + 1


# --- Theory against simulation -----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("increment", [0.3, 1.7, 0.05])
def test_stochastic_sum_agrees_with_simulation(increment):
    rng = np.random.default_rng(41)
    grid = infinite_grid(1.0, round_mode=RoundMode.STOCHASTIC)
    sums = simulate.running_sum(
        np.full(50, increment), lambda total: grid(total, rng=rng), num_runs=40_000
    )[-1]
    moments = stochastic_sum_moments(increment, 50, 1.0)
    assert_mc_close(moments.mean, Estimate.from_samples(sums))
    spread = Estimate.from_samples((sums - moments.mean) ** 2)
    assert_mc_close(moments.var, spread)
    with pytest.raises(AssertionError, match="z = "):  # standard deviation for variance
        assert_mc_close(math.sqrt(moments.var), spread, rel_resolution=1.0)


@pytest.mark.theory_vs_sim
def test_stochastic_sum_is_binomial():
    rng = np.random.default_rng(42)
    grid = infinite_grid(1.0, round_mode=RoundMode.STOCHASTIC)
    sums = simulate.running_sum(
        np.full(12, 0.3), lambda total: grid(total, rng=rng), num_runs=50_000
    )[-1]
    counts = np.bincount(sums.astype(int), minlength=13)[:9]
    expected = stats.binom(12, 0.3).pmf(np.arange(9))
    result = stats.chisquare(counts, counts.sum() * expected / expected.sum())
    assert result.pvalue > 1e-6
    wrong = stats.binom(12, 0.31).pmf(np.arange(9))
    assert stats.chisquare(counts, counts.sum() * wrong / wrong.sum()).pvalue < 1e-6


@pytest.mark.theory_vs_sim
def test_errors_grow_like_n_for_truncation_and_its_root_for_stochastic_rounding():
    rng = np.random.default_rng(43)
    steps = np.array([100, 1000, 10_000])
    terms = np.full(10_000, 0.3)
    grid = infinite_grid(1.0, round_mode=RoundMode.STOCHASTIC)
    runs = simulate.running_sum(terms, lambda total: grid(total, rng=rng), num_runs=2000)
    spread = np.sqrt(np.mean((runs[steps - 1] - 0.3 * steps[:, None]) ** 2, axis=1))
    # The root mean square of 2000 runs is known to 1.6 %, the slope over two decades to 0.01.
    assert_slope(np.log(steps), np.log(spread), 0.5, tol=0.03)
    floor = infinite_grid(1.0, round_mode=RoundMode.FLOOR)
    lost = 0.3 * steps - simulate.running_sum(terms, floor)[steps - 1, 0]
    assert_slope(np.log(steps), np.log(lost), 1.0, tol=1e-9)
