"""Moments of one step against draws of the definition, and against sums over all moves."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st

from qtheory.quantizers import RoundMode, round_to_integer
from qtheory.training import (
    DiscreteNoise,
    GaussianNoise,
    RademacherNoise,
    StudentTNoise,
    one_step_moments,
    simulate,
)

LAWS = {
    "gaussian": GaussianNoise(2.0),
    "rademacher": RademacherNoise(1.5),
    "student": StudentTNoise(6.0),
    "skew": DiscreteNoise([-1.0, 3.0], [0.75, 0.25]),
}
finite = {"min_value": -3, "max_value": 3}


# --- Unit -------------------------------------------------------------------------------------


def test_small_steps_by_hand():
    # One step in ten of 0.25: the second moment is linear in the learning rate.
    moments = one_step_moments(0.5, learning_rate=0.05, grid_step=0.25)
    assert moments.mean == -0.025
    assert moments.second_moment == pytest.approx(0.05 * 0.25 * 0.5, rel=1e-15, abs=0)
    assert moments.moving_probability == pytest.approx(0.1, rel=1e-15, abs=0)


def test_long_noise_free_steps_by_hand():
    # u = 1.7 grid steps: u^2 + q (1 - q) with q = 0.7.
    moments = one_step_moments(-1.7, learning_rate=1.0, grid_step=1.0)
    assert (moments.mean, moments.moving_probability) == (1.7, 1.0)
    assert moments.second_moment == pytest.approx(1.7**2 + 0.21, rel=1e-15, abs=0)


def test_rounding_to_nearest_freezes_below_half_a_step_and_moves_at_it():
    frozen = one_step_moments(0.499, learning_rate=1.0, grid_step=1.0, rule="r")
    moving = one_step_moments(0.5, learning_rate=1.0, grid_step=1.0, rule="r")
    assert (frozen.mean, frozen.second_moment, frozen.moving_probability) == (0.0, 0.0, 0.0)
    assert (moving.mean, moving.second_moment, moving.moving_probability) == (-1.0, 1.0, 1.0)


def test_without_rounding():
    moments = one_step_moments(0.5, GaussianNoise(2.0), learning_rate=0.1, grid_step=1, rule="sgd")
    assert moments.mean == pytest.approx(-0.05, rel=1e-15, abs=0)
    assert moments.second_moment == pytest.approx(0.01 * 4.25, rel=1e-15, abs=0)
    assert moments.moving_probability == 1.0
    still = one_step_moments(1.0, RademacherNoise(), learning_rate=0.1, grid_step=1, rule="sgd")
    assert still.moving_probability == 0.5


def test_noise_without_variance_has_no_second_moment():
    moments = one_step_moments(0.5, StudentTNoise(1.5), learning_rate=0.1, grid_step=0.25)
    assert moments.second_moment == math.inf
    assert 0 < moments.moving_probability < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient": math.nan}, "`gradient` must be finite"),
        ({"noise": 1.0}, "`noise` must be GradientNoise"),
        ({"learning_rate": 0.0}, "`learning_rate` must be finite and above zero"),
        ({"grid_step": -1.0}, "`grid_step` must be finite and above zero"),
        ({"rule": "bc"}, "`rule` must be one of 'sr', 'r', 'sgd'"),
        ({"learning_rate": 1e9}, "`learning_rate` must be small enough for 65536 grid steps"),
        (
            {"learning_rate": 1e5, "noise": StudentTNoise(3.0, 0.05)},
            "`learning_rate` must be small enough for 65536 grid steps",
        ),
    ],
)
def test_bad_input_is_refused(changes, message):
    given_ = {"gradient": 0.5, "noise": None, "learning_rate": 0.1, "grid_step": 0.25} | changes
    with pytest.raises(ValueError, match=message):
        one_step_moments(given_.pop("gradient"), given_.pop("noise"), **given_)


# --- Property ---------------------------------------------------------------------------------


@given(st.sampled_from(list(LAWS.values())), st.floats(**finite), st.floats(0.01, 2))
def test_rounding_only_adds_variance(law, gradient, rate):
    step = {"learning_rate": rate, "grid_step": 0.5}
    rounded = one_step_moments(gradient, law, **step)
    exact = one_step_moments(gradient, law, **step, rule="sgd")
    assert rounded.mean == exact.mean
    added = rounded.second_moment - exact.second_moment
    assert -1e-9 <= added <= 0.5**2 / 4 + 1e-9


@given(st.sampled_from(list(LAWS.values())), st.floats(-1, 1))
def test_small_steps_are_linear_in_the_learning_rate(law, gradient):
    rate = 0.01
    moments = one_step_moments(gradient, law, learning_rate=rate, grid_step=2.0)
    assert moments.second_moment == pytest.approx(
        rate * 2.0 * law.mean_abs(gradient), rel=1e-6, abs=0
    )


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("rule", ["sr", "r"])
@pytest.mark.parametrize("rate", [0.1, 0.9, 7.0])
@pytest.mark.parametrize("name", LAWS)
def test_moments_against_draws(name, rate, rule):
    law, rng = LAWS[name], np.random.default_rng(8)
    settings = {"learning_rate": rate, "grid_step": 0.25, "rule": rule}
    theory = one_step_moments(1.1, law, **settings)
    mean, square, moving = simulate.one_step(
        1.1 + law.sample(150_000, rng=rng), rng=rng, **settings
    )
    for value, estimate in [(theory.mean, mean), (theory.second_moment, square)]:
        assert_mc_close(value, estimate)
    assert abs(theory.moving_probability - moving.mean) <= 5 * moving.std_error + 1e-12


def test_draws_reject_the_moments_of_another_rule():
    law, rng = LAWS["gaussian"], np.random.default_rng(9)
    settings = {"learning_rate": 0.1, "grid_step": 0.25}
    wrong = one_step_moments(1.1, law, **settings, rule="sgd")
    _, square, _ = simulate.one_step(1.1 + law.sample(150_000, rng=rng), rng=rng, **settings)
    with pytest.raises(AssertionError, match="z ="):
        assert_mc_close(wrong.second_moment, square)


@pytest.mark.parametrize("rule", ["sr", "r"])
@pytest.mark.parametrize("df", [2.5, 3.0, 6.0])
def test_heavy_tails_against_a_longer_sum(df, rule, monkeypatch):
    settings = {"learning_rate": 0.7, "grid_step": 0.25, "rule": rule}
    long = one_step_moments(0.4, StudentTNoise(df), **settings)
    monkeypatch.setattr("qtheory.training.moments.MAX_STEPS", 2**11)
    short = one_step_moments(0.4, StudentTNoise(df), **settings)
    assert short.second_moment == pytest.approx(long.second_moment, rel=1e-7, abs=0)
    assert short.mean == pytest.approx(long.mean, rel=1e-7, abs=0)


def test_discrete_noise_against_the_sum_over_its_values():
    law, rate, step = LAWS["skew"], 0.9, 0.25
    gradients = 1.1 + law.values
    moves = -step * round_to_integer(rate * gradients / step, RoundMode.TIES_AWAY)
    theory = one_step_moments(1.1, law, learning_rate=rate, grid_step=step, rule="r")
    assert theory.mean == pytest.approx(moves @ law.probabilities, rel=1e-14, abs=0)
    assert theory.second_moment == pytest.approx(moves**2 @ law.probabilities, rel=1e-14, abs=0)
