"""Limits of BinaryConnect on a line: interpolant and threshold, against training."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from qtheory.quantizers import infinite_grid
from qtheory.training import (
    BinaryConnect,
    Record,
    bc_limit,
    descend,
    interpolated_gradient,
    inverse_time,
    rounding_threshold,
)

RANGE = {"grid_step": 1.0, "lower": -5.0, "upper": 5.0}
BOTH = ["nearest", "stochastic"]


def softened(w):
    """Return the derivative of log(1 + e^w) - 0.2 w + 0.05 w^2."""
    return special.expit(w) - 0.2 + 0.1 * w


def objective(w):
    return np.logaddexp(0, w) - 0.2 * w + 0.05 * w**2


MINIMUM = objective(-0.8968933436)

# --- Unit -------------------------------------------------------------------------------------


def test_interpolant_meets_the_derivative_on_the_grid():
    places = np.array([-2.0, 0.0, 0.5, 3.0])
    values = interpolated_gradient(softened, places, grid_step=0.5)
    np.testing.assert_allclose(values, softened(places), rtol=1e-14)
    middle = interpolated_gradient(softened, 0.25, grid_step=0.5)
    assert middle == pytest.approx(0.5 * (softened(0.0) + softened(0.5)), abs=0, rel=1e-14)


@pytest.mark.parametrize("forward", BOTH)
def test_a_minimizer_on_the_grid_is_deployed_for_ever(forward):
    limit = bc_limit(lambda w: w - 2.0, **RANGE, forward=forward)
    assert (limit.below, limit.above, limit.mean_deployed) == (2.0, 2.0, 2.0)
    assert limit.fraction_above == 1.0
    assert limit.latent == 2.0
    assert limit.upper - limit.lower == (1.0 if forward == "nearest" else 0.0)


@pytest.mark.parametrize(
    ("forward", "lower", "upper"), [("nearest", -4.5, 1.5), ("stochastic", -4.0, 1.0)]
)
def test_flat_objectives_have_an_interval_of_limits(forward, lower, upper):
    def flat(w):
        return np.where(w > 1.5, 1.0, np.where(w < -4.5, -1.0, 0.0))

    limit = bc_limit(flat, grid_step=1.0, lower=-5, upper=5, forward=forward)
    assert (limit.lower, limit.upper) == (lower, upper)
    assert math.isnan(limit.fraction_above)
    assert math.isnan(limit.mean_deployed)


@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize("minimizer", [0.3, -0.3, 0.6, 0.7])
def test_rounded_grid_points_hold_a_minimizer(forward, minimizer):
    # 3 * 0.1 is not 0.3 in float64, and still the same point.
    settings = {"grid_step": 0.1, "lower": -1.0, "upper": 1.0}
    limit = bc_limit(lambda w: w - minimizer, **settings, forward=forward)
    assert limit.below == limit.above == pytest.approx(minimizer, abs=1e-15)
    assert limit.upper - limit.lower == pytest.approx(
        0.1 if forward == "nearest" else 0.0, abs=1e-15
    )
    with pytest.raises(ValueError, match="`derivative` must be of both signs"):
        rounding_threshold(lambda w: w - minimizer, **settings)
    # Negative control: a little farther away, a threshold is there.
    beside = rounding_threshold(lambda w: w - minimizer - 1e-9, **settings)
    assert beside == pytest.approx(minimizer + 0.05, abs=1e-12)


def test_steep_derivatives_far_away_do_not_blur_the_zero():
    def steep(w):
        return np.expm1(w - 1e-8)

    limit = bc_limit(steep, grid_step=1.0, lower=-5, upper=60, forward="nearest")
    assert (limit.latent, limit.below, limit.above) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize(("minimizer", "end"), [(9.0, 5.0), (-9.0, -5.0)])
def test_minimizers_beyond_the_range_hold_the_weight_at_its_end(forward, minimizer, end):
    limit = bc_limit(lambda w: w - minimizer, **RANGE, forward=forward)
    assert (limit.latent, limit.below, limit.above) == (end, end, end)
    assert limit.fraction_above == 1.0


def test_ends_of_the_range_count_if_they_lie_on_the_grid():
    limit = bc_limit(lambda w: w - 0.95, grid_step=0.1, lower=0.0, upper=1.0)
    assert limit.latent == pytest.approx(0.95, abs=1e-12)


@pytest.mark.parametrize(
    ("derivative", "changes", "message"),
    [
        (lambda w: -w, {}, "`derivative` must be nondecreasing"),
        (lambda w: w[:-1], {}, "`derivative` must be finite and of shape"),
        (lambda w: np.full_like(w, np.nan), {}, "`derivative` must be finite"),
        (softened, {"grid_step": 0.0}, "`grid_step` must be finite and above zero"),
        (softened, {"upper": -4.5}, "`upper` must be above `lower` by at least two"),
        (softened, {"upper": 1e12}, "`upper` must be above `lower` by at least two and at most"),
    ],
)
def test_bad_arguments_are_refused(derivative, changes, message):
    with pytest.raises(ValueError, match=message):
        bc_limit(derivative, **{**RANGE, **changes})
    with pytest.raises(ValueError, match=message):
        rounding_threshold(derivative, **{**RANGE, **changes})


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`forward` must be one of"):
        bc_limit(softened, **RANGE, forward="up")
    with pytest.raises(ValueError, match="`grid_step` must be finite and above zero"):
        interpolated_gradient(softened, 0.0, grid_step=-1.0)


@pytest.mark.parametrize("minimizer", [9.0, -9.0, 2.0])
def test_thresholds_need_a_change_of_sign_between_grid_points(minimizer):
    with pytest.raises(ValueError, match="`derivative` must be of both signs"):
        rounding_threshold(lambda w: w - minimizer, **RANGE)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(minimizer=st.floats(-4.0, 4.0), curvature=st.floats(0.1, 10.0))
def test_quadratics(minimizer, curvature):
    def slope(w):
        return curvature * (w - minimizer)

    even = bc_limit(slope, **RANGE, forward="stochastic")
    assert even.latent == pytest.approx(minimizer, abs=1e-12)
    near = bc_limit(slope, **RANGE)
    assert near.below == even.below
    assert near.mean_deployed == pytest.approx(minimizer, abs=1e-12)


@pytest.mark.property
@given(shift=st.floats(-3.0, 3.0), grid_step=st.floats(0.1, 2.0))
def test_both_ways_of_rounding_deploy_the_same_mean(shift, grid_step):
    def slope(w):
        return softened(w - shift)

    settings = {"grid_step": grid_step, "lower": -10.0, "upper": 10.0}
    even = bc_limit(slope, **settings, forward="stochastic")
    near = bc_limit(slope, **settings)
    assert near.mean_deployed == pytest.approx(even.mean_deployed, abs=1e-9)
    assert even.latent == pytest.approx(even.mean_deployed, abs=1e-9)
    zero = interpolated_gradient(slope, even.latent, grid_step=grid_step)
    assert zero == pytest.approx(0.0, abs=1e-12)
    assert near.below <= near.latent <= near.above


# --- Theory against references --------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize(
    ("grid_step", "forward", "place", "gap"),
    [
        (1.0, "stochastic", -0.90618, 1.3e-5),
        (1.0, "nearest", -0.5, 0.024925),
        (2.0, "stochastic", -1.0330630486, 0.0027977531),
        (2.0, "nearest", -1.0, 0.001609),
    ],
)
def test_softened_hinge(grid_step, forward, place, gap):
    limit = bc_limit(softened, grid_step=grid_step, lower=-10, upper=10, forward=forward)
    assert limit.latent == pytest.approx(place, abs=6e-6)
    assert objective(limit.latent) - MINIMUM == pytest.approx(gap, abs=6e-7)


def test_threshold_is_the_limit_of_rounding_to_nearest():
    settings = {"grid_step": 0.5, "lower": -10, "upper": 10}
    assert (
        rounding_threshold(softened, **settings) == bc_limit(softened, **settings).latent == -0.75
    )


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize("grid_step", [1.0, 2.0])
def test_limits_against_training(grid_step, forward):
    run = descend(
        softened,
        np.zeros((100, 1)),
        rule=BinaryConnect(infinite_grid(grid_step), forward=forward),
        learning_rate=inverse_time(0.1, offset=20.0),
        num_steps=4000,
        rng=np.random.default_rng(2),
        record=Record(average_from=2000),
    )
    limit = bc_limit(softened, grid_step=grid_step, lower=-10, upper=10, forward=forward)
    assert run.latent.mean() == pytest.approx(limit.latent, abs=0.01)
    assert run.weight_average.mean() == pytest.approx(limit.mean_deployed, abs=0.01)


@pytest.mark.theory_vs_sim
def test_a_constant_learning_rate_does_not_converge():
    # A negative control: the latent weight keeps a distance of the order of the learning rate.
    run = descend(
        softened,
        np.zeros((50, 1)),
        rule=BinaryConnect(infinite_grid(2.0), forward="stochastic"),
        learning_rate=1.0,
        num_steps=500,
        rng=np.random.default_rng(2),
    )
    limit = bc_limit(softened, grid_step=2.0, lower=-10, upper=10, forward="stochastic")
    assert np.abs(run.latent - limit.latent).mean() > 0.1
