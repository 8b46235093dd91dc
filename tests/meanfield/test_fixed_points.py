"""Fixed points of variance and correlation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.meanfield import (
    Erf,
    FixedPoint,
    HardTanh,
    Linear,
    ReLU,
    Staircase,
    Tanh,
    UniformStaircase,
    correlation_fixed_points,
    correlation_map,
    optimal_spacing,
    propagate,
    sign,
    steady_state,
    uniform_staircase,
    unsigned_staircase,
    variance_fixed_points,
    variance_map,
)

# --- Unit -------------------------------------------------------------------------------------


def test_stability_is_a_slope_below_one():
    assert FixedPoint(1.0, 0.5).is_stable
    assert FixedPoint(1.0, -0.5).is_stable
    assert not FixedPoint(1.0, 1.0).is_stable
    assert not FixedPoint(1.0, -1.5).is_stable
    assert not FixedPoint(1.0, math.inf).is_stable


def test_sign_has_one_variance_whatever_comes_in():
    assert variance_fixed_points(sign(), weight_variance=1.7) == (FixedPoint(1.7, 0.0),)
    biased = variance_fixed_points(sign(), weight_variance=1.7, bias_variance=0.3)
    assert_allclose([point.value for point in biased], [2.0])


def test_levels_whose_squares_vanish_are_silent():
    assert variance_fixed_points(uniform_staircase(3, clip=1e-200), weight_variance=1.0) == (
        FixedPoint(0.0, 0.0),
    )


def test_relu_is_a_straight_line():
    assert variance_fixed_points(ReLU(), weight_variance=1.0) == (FixedPoint(0.0, 0.5),)
    (point,) = variance_fixed_points(ReLU(), weight_variance=1.0, bias_variance=0.5)
    assert (point.value, point.slope) == pytest.approx((1.0, 0.5), rel=1e-14, abs=0)
    assert variance_fixed_points(ReLU(), weight_variance=2.5, bias_variance=0.5) == ()
    assert variance_fixed_points(ReLU(), weight_variance=2.0, bias_variance=0.5) == ()
    assert steady_state(ReLU(), weight_variance=2.0, variance=3.0).variance == 3.0


def test_correlations_of_an_odd_activation_without_bias():
    points = correlation_fixed_points(uniform_staircase(5), variance=0.35)
    assert [point.value for point in points] == [-1.0, 0.0, 1.0]
    assert [point.is_stable for point in points] == [False, True, False]


def test_ordered_and_chaotic_phase_of_tanh():
    ordered = steady_state(Tanh(), weight_variance=1.0, bias_variance=0.05)
    assert (ordered.correlation, ordered.chi) == (1.0, ordered.chi_at_one)
    chaotic = steady_state(Tanh(), weight_variance=4.0, bias_variance=0.05)
    assert 0 < chaotic.correlation < 1
    assert chaotic.chi < 1 < chaotic.chi_at_one


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: variance_fixed_points(np.tanh, weight_variance=1.0),
            "`activation` must be Activation",
        ),
        (
            lambda: variance_fixed_points(sign(), weight_variance=0.0),
            "`weight_variance` must be finite and above zero, got 0.0",
        ),
        (
            lambda: variance_fixed_points(sign(), weight_variance=1.0, bias_variance=-0.1),
            "`bias_variance` must be finite and not below zero, got -0.1",
        ),
        (
            lambda: variance_fixed_points(ReLU(), weight_variance=2.0),
            "`weight_variance` must be different from the critical value",
        ),
        (
            lambda: correlation_fixed_points(sign(), variance=0.0),
            "`variance` must be finite and above zero, got 0.0",
        ),
        (
            lambda: correlation_fixed_points(Linear(), variance=1.0),
            "`activation` must be nonlinear: every correlation is fixed",
        ),
        (
            lambda: steady_state(ReLU(), weight_variance=3.0),
            "`weight_variance` must be small enough for the variance to settle, got 3.0",
        ),
        (
            lambda: steady_state(uniform_staircase(3), weight_variance=0.5),
            "`weight_variance` must be large enough to keep the signal from dying out, got 0.5",
        ),
        (
            lambda: steady_state(uniform_staircase(3), weight_variance=1.2348, variance=0.03),
            "`weight_variance` must be large enough to keep the signal from dying out",
        ),
        (
            lambda: steady_state(sign(), weight_variance=1.0, variance=-1.0),
            "`variance` must be finite and above zero, got -1.0",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(st.integers(2, 40), st.floats(0.3, 3), st.floats(0, 0.5))
def test_fixed_points_are_fixed(num_levels, weight_variance, bias_variance):
    staircase = uniform_staircase(num_levels)
    options = {"weight_variance": weight_variance, "bias_variance": bias_variance}
    points = variance_fixed_points(staircase, **options)
    live = [point for point in points if point.value > 0]
    for point in live:
        after = variance_map(staircase, point.value, **options)
        # A slope near one leaves the root that much less determined.
        assert_allclose(after, point.value, rtol=1e-12)
        for inner in correlation_fixed_points(staircase, variance=point.value, **options):
            image = correlation_map(staircase, inner.value, variance=point.value, **options)
            assert_allclose(image, inner.value, rtol=0, atol=1e-13)


@given(st.integers(1, 20), st.floats(0.76, 3))
def test_stable_and_unstable_variances_alternate(half, weight_variance):
    points = variance_fixed_points(uniform_staircase(2 * half + 1), weight_variance=weight_variance)
    assert [point.is_stable for point in points][::2] == [True] * len(points[::2])
    assert [point.is_stable for point in points][1::2] == [False] * len(points[1::2])
    assert len(points) in (1, 3)


@settings(max_examples=15)
@given(st.integers(2, 16), st.floats(0.5, 2), st.floats(0.01, 1))
def test_iteration_arrives_at_the_steady_state(num_levels, factor, bias_variance):
    staircase = uniform_staircase(num_levels)
    options = {
        "weight_variance": factor * optimal_spacing(num_levels).weight_variance,
        "bias_variance": bias_variance,
    }
    state = steady_state(staircase, variance=2.0, **options)
    path = propagate(staircase, num_layers=100, variance=2.0, correlation=0.9, **options)
    gap = max(state.variance_slope, state.chi) ** 100
    assert_allclose(path.variances[-1], state.variance, rtol=1e-10 + 10 * gap)
    assert_allclose(path.correlations[-1], state.correlation, rtol=0, atol=1e-10 + 20 * gap)


# --- Theory against reference -----------------------------------------------------------------


def test_odd_staircases_are_bistable():
    for num_levels, unstable in [(3, 0.06788), (5, 0.019008), (15, 0.00167689)]:
        best = optimal_spacing(num_levels)
        points = variance_fixed_points(
            uniform_staircase(num_levels), weight_variance=best.weight_variance
        )
        assert [point.is_stable for point in points] == [True, False, True]
        assert_allclose(points[1].value, unstable, rtol=1e-3)
        assert_allclose(points[2].value, best.variance, rtol=1e-12)


@pytest.mark.parametrize(
    ("num_levels", "smallest"), [(3, 0.86850431), (5, 0.86630340), (7, 0.86630335)]
)
def test_weight_variance_below_which_odd_staircases_die(num_levels, smallest):
    staircase = uniform_staircase(num_levels)
    below = variance_fixed_points(staircase, weight_variance=(smallest - 1e-5) ** 2)
    above = variance_fixed_points(staircase, weight_variance=(smallest + 1e-5) ** 2)
    assert [point.value for point in below] == [0.0]
    assert len(above) == 3


def test_strong_bias_halves_deviations():
    state = steady_state(uniform_staircase(3), weight_variance=0.1, bias_variance=0.004)
    assert (state.correlation, state.chi) == pytest.approx((1.0, 0.5), rel=1e-14, abs=0)


def test_a_root_close_to_zero_under_a_faint_bias():
    inner, _ = correlation_fixed_points(sign(), variance=1.0, bias_variance=1e-12)
    # M(c) = b + 2 c / pi + O(b c + c^3), known to the rounding error of M: 1e-16 in 3e-12.
    assert inner.value == pytest.approx(1e-12 / (1 - 2 / math.pi), rel=1e-3, abs=0)


def test_a_root_close_to_one_under_a_strong_bias():
    inner, _ = correlation_fixed_points(sign(), variance=1.0, bias_variance=1e5)
    # 1 - M(c) = K sqrt(1 - c) with K = sqrt(8) / pi / (1 + b): the root has 1 - c = K^2 = 8e-11,
    # known to some units of 1e-16.
    expected = 8 / (math.pi * (1 + 1e5)) ** 2
    assert 1 - inner.value == pytest.approx(expected, rel=2e-5, abs=0)
    assert inner.slope == pytest.approx(0.5, rel=1e-5, abs=0)


@pytest.mark.parametrize("num_levels", [2**20, 2**28, 2**32])
def test_very_fine_staircases_with_biases_settle_like_a_clipped_line(num_levels):
    # The root comes closer to one than 1e-14, but its slope is not that of the square-root law.
    options = {"weight_variance": 1.0, "bias_variance": 1e-4}
    line = steady_state(HardTanh(), **options)
    fine = steady_state(uniform_staircase(num_levels), **options)
    assert fine.correlation == pytest.approx(1.0, rel=0, abs=1e-8)
    assert fine.depth_scale == pytest.approx(line.depth_scale, rel=1e-3, abs=0)


def test_very_fine_staircases_are_not_taken_for_linear():
    best = optimal_spacing(2**28)
    state = steady_state(uniform_staircase(2**28), weight_variance=best.weight_variance)
    assert state.correlation == 0.0
    # The weight variance is one but for a unit of its last digit, which fixes the variance.
    assert state.depth_scale == pytest.approx(best.depth_scale, rel=0.01, abs=0)


def test_a_bump_overshoots():
    # The louder the signal, the more of it falls beside the bump: a slope below zero.
    bump = Staircase([0.0, 1.0, 0.0], [-0.5, 0.5])
    state = steady_state(bump, weight_variance=2.0)
    assert -1 < state.variance_slope < 0
    expected = -1 / math.log(-state.variance_slope)
    assert state.variance_depth_scale == pytest.approx(expected, rel=1e-14, abs=0)


def test_slope_at_silence_is_that_of_the_linear_part():
    (silent,) = variance_fixed_points(Tanh(), weight_variance=0.5)
    silent_too, live = variance_fixed_points(Tanh(), weight_variance=2.0)
    slopes = [silent.slope, silent_too.slope]
    # tanh(u)^2 = u^2 - O(u^4) at the smallest variance that is looked at, 1e-14 of the largest.
    assert slopes == pytest.approx([0.5, 2.0], rel=1e-12, abs=0)
    assert (silent.value, silent_too.value) == (0.0, 0.0)
    assert live.is_stable


def test_no_silence_under_a_bias():
    points = variance_fixed_points(uniform_staircase(3), weight_variance=0.5, bias_variance=0.01)
    assert points[0].value >= 0.01


def test_fixed_points_on_the_scale_of_a_very_fine_step():
    # Rounding noise D^2 / 12 is all that keeps a signal up that the weights shrink.
    coarse = variance_fixed_points(UniformStaircase(10_001, 1.0), weight_variance=0.95)
    fine = variance_fixed_points(UniformStaircase(2**31 + 1, 1e-9), weight_variance=0.95)
    assert [point.is_stable for point in fine] == [True, False, True]
    assert_allclose(
        [point.value * 1e18 for point in fine[1:]],
        [point.value for point in coarse[1:]],
        rtol=1e-12,
        atol=0,
    )


def test_an_odd_staircase_forgets_all_correlation():
    assert steady_state(uniform_staircase(5), weight_variance=1.1).correlation == 0.0


def test_start_chooses_the_basin():
    staircase, options = uniform_staircase(3), {"weight_variance": 1.2348}
    assert steady_state(staircase, variance=0.08, **options).variance > 0.6
    assert steady_state(staircase, variance=50.0, **options).variance > 0.6
    assert steady_state(staircase, **options).variance > 0.6


def test_staircases_with_many_scales_keep_all_their_fixed_points():
    # Levels 1 and 100 behind thresholds 0.5 and 200: live at about 1, and at about 10^4.
    staircase = Staircase([-100, -1, 0, 1, 100], [-60, -0.5, 0.5, 60])
    points = variance_fixed_points(staircase, weight_variance=1.3)
    assert [point.is_stable for point in points] == [True, False, True, False, True]
    # A signal moves to the nearest fixed point ahead of it.
    for start in (0.3, 2.0, 100.0):
        settled = steady_state(staircase, weight_variance=1.3, variance=start)
        assert settled.variance == points[2].value
    # The lower pair of roots lies eight decades below the largest possible variance.
    apart = Staircase([-1e4, -1, 0, 1, 1e4], [-6e3, -0.5, 0.5, 6e3])
    points = variance_fixed_points(apart, weight_variance=1.3)
    assert [point.is_stable for point in points] == [True, False, True, False, True]


@pytest.mark.parametrize("num_levels", [2**33, 2**33 + 1, 2**52])
def test_a_map_that_is_the_identity_up_to_rounding_has_one_live_point(num_levels):
    best = optimal_spacing(num_levels)
    points = variance_fixed_points(
        uniform_staircase(num_levels), weight_variance=best.weight_variance
    )
    # Silence and the unstable point before the live one, if zero is a level.
    assert len(points) == (3 if num_levels % 2 else 1)
    live = points[-1].value
    kept = variance_map(uniform_staircase(num_levels), live, weight_variance=best.weight_variance)
    assert_allclose(kept, live, rtol=1e-13)


def test_close_pairs_of_roots_are_found():
    staircase = uniform_staircase(3)
    points = variance_fixed_points(staircase, weight_variance=(0.86850431 + 2e-7) ** 2)
    assert len(points) == 3
    assert 0 < points[2].value / points[1].value - 1 < 0.01


# --- Golden -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "weight_variance", "expected"),
    [
        (Tanh(), 1.0, (0.193593, 0.759032, 1.0, 3.6270, 1.7476)),
        (Tanh(), 2.0, (0.721762, 1.047666, 0.744082, 25.2134, 1.3880)),
    ],
)
def test_tanh_with_bias(activation, weight_variance, expected):
    state = steady_state(activation, weight_variance=weight_variance, bias_variance=0.05)
    values = (
        state.variance,
        state.chi_at_one,
        state.correlation,
        state.depth_scale,
        state.variance_depth_scale,
    )
    assert_allclose(values, expected, rtol=2e-5)


@pytest.mark.parametrize(
    ("num_levels", "bias", "expected"),
    [
        (4, 0.1, (0.405031119, 0.137114765, 0.864632728, 6.875193)),
        (16, 0.01, (0.157450035, 0.050996379, 0.987845775, 81.774900)),
        (16, 0.1, (0.213978117, 0.816513431, 0.956915275, 22.706412)),
    ],
)
def test_biased_networks(num_levels, bias, expected):
    weight_variance = optimal_spacing(num_levels).weight_variance
    state = steady_state(
        uniform_staircase(num_levels), weight_variance=weight_variance, bias_variance=bias**2
    )
    # The published values are post-activation correlations.
    after = (state.correlation * state.variance - bias**2) / (state.variance - bias**2)
    values = (state.second_moment, after, state.chi, state.depth_scale)
    assert_allclose(values, expected, rtol=1e-7)


def test_heaviside():
    step = UniformStaircase(2, 1.0, level_center=0.5)
    state = steady_state(step, weight_variance=2.0)
    assert_allclose(
        (state.correlation, state.chi), (0.7898326284, 0.5189927253), rtol=0, atol=1e-10
    )


def test_unsigned_four_levels():
    staircase = unsigned_staircase(4, step=0.471886)
    weight_variance = 1 / staircase.second_moment(1.0)
    state = steady_state(staircase, weight_variance=weight_variance)
    assert_allclose(state.variance, 1.0, rtol=1e-12)
    assert_allclose(
        (state.chi, state.correlation, state.depth_scale),
        (0.762720, 0.800172, 3.6919),
        rtol=2e-5,
    )


def test_erf_at_its_critical_point():
    state = steady_state(Erf(), weight_variance=1.37583901, bias_variance=0.05)
    assert_allclose(state.variance, 0.51717684, rtol=1e-7)
    assert_allclose(state.chi_at_one, 1.0, rtol=0, atol=1e-7)
