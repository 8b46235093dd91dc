"""Maps of variance and correlation from layer to layer."""

import math

import exact_staircases as exact
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.meanfield import (
    Linear,
    ReLU,
    Staircase,
    Trajectory,
    UniformStaircase,
    correlation_map,
    correlation_map_slope,
    depth_scale,
    propagate,
    sign,
    uniform_staircase,
    unsigned_staircase,
    variance_map,
    variance_map_slope,
)

UNSIGNED = unsigned_staircase(4, step=0.5)
SILENT = Staircase([-1.0, 0.0, 1.0], [-0.5, 0.5])

# --- Unit -------------------------------------------------------------------------------------


def test_variance_map_by_hand():
    assert variance_map(Linear(), 3.0, weight_variance=0.5, bias_variance=0.25) == 1.75
    assert variance_map(sign(), [0.1, 9.0], weight_variance=2.0).tolist() == [2.0, 2.0]
    assert variance_map(sign(), 1.0, weight_variance=0.0, bias_variance=0.5) == 0.5


def test_correlation_map_of_the_sign_is_an_arcsine():
    c = np.array([-1.0, -0.3, 0.0, 0.5, 1.0])
    expected = 2 / math.pi * np.arcsin(c)
    assert_allclose(correlation_map(sign(), c, variance=2.0), expected, rtol=0, atol=1e-15)


def test_bias_pulls_correlations_up():
    c = correlation_map(sign(), 0.0, variance=1.0, weight_variance=3.0, bias_variance=1.0)
    assert c == pytest.approx(0.25, rel=1e-14, abs=0)


def test_weight_variance_drops_out_without_bias():
    plain = correlation_map(UNSIGNED, 0.4, variance=1.0)
    scaled = correlation_map(UNSIGNED, 0.4, variance=1.0, weight_variance=7.0)
    assert plain == pytest.approx(scaled, rel=1e-14, abs=0)


def test_propagation_is_the_maps_one_after_another():
    options = {"weight_variance": 1.3, "bias_variance": 0.1}
    path = propagate(UNSIGNED, num_layers=2, variance=0.8, correlation=0.2, **options)
    q1 = variance_map(UNSIGNED, 0.8, **options)
    c1 = correlation_map(UNSIGNED, 0.2, variance=0.8, **options)
    c2 = correlation_map(UNSIGNED, c1, variance=q1, **options)
    assert path.variances.tolist() == [0.8, q1, variance_map(UNSIGNED, q1, **options)]
    assert path.correlations.tolist() == [0.2, c1, c2]


def test_propagation_through_no_layer():
    path = propagate(sign(), num_layers=0, variance=1.0, correlation=0.2, weight_variance=1.0)
    assert isinstance(path, Trajectory)
    assert path.correlations.tolist() == [0.2]
    with pytest.raises(ValueError, match="read-only"):
        path.correlations[0] = 1.0


def test_depth_scale_by_hand():
    assert depth_scale(math.exp(-0.1)) == pytest.approx(10.0, rel=1e-12, abs=0)
    assert depth_scale([0.0, 1.0]).tolist() == [0.0, math.inf]
    assert math.copysign(1, depth_scale(0.0)) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: variance_map(np.tanh, 1.0, weight_variance=1.0),
            "`activation` must be Activation",
        ),
        (
            lambda: variance_map(sign(), -1.0, weight_variance=1.0),
            "`variance` must be finite and not below zero, got -1.0",
        ),
        (
            lambda: variance_map(sign(), 1.0, weight_variance=-1.0),
            "`weight_variance` must be finite and not below zero, got -1.0",
        ),
        (
            lambda: variance_map(sign(), 1.0, weight_variance=1.0, bias_variance=-2.0),
            "`bias_variance` must be finite and not below zero, got -2.0",
        ),
        (
            lambda: variance_map_slope(sign(), 0.0, weight_variance=1.0),
            "`variance` must be finite and above zero, got 0.0",
        ),
        (
            lambda: correlation_map(sign(), -1.1, variance=1.0),
            r"`correlation` must be in \[-1, 1\], got -1.1",
        ),
        (
            lambda: correlation_map(sign(), 0.1, variance=1.0, weight_variance=0.0),
            "`weight_variance` must be finite and above zero, got 0.0",
        ),
        (
            lambda: correlation_map(SILENT, 0.1, variance=0.0),
            "`variance` must be one at which the activation does not vanish, got 0.0",
        ),
        (
            lambda: correlation_map_slope(SILENT, 0.1, variance=1e-9),
            "`variance` must be one at which the activation does not vanish, got 1e-09",
        ),
        (
            lambda: correlation_map_slope(sign(), 0.1, variance=0.0),
            "`variance` must be finite and above zero, got 0.0",
        ),
        (
            lambda: propagate(
                sign(), num_layers=-1, variance=1.0, correlation=0.1, weight_variance=1.0
            ),
            "`num_layers` must be an integer of at least 0, got -1",
        ),
        (
            lambda: propagate(
                SILENT, num_layers=50, variance=1.0, correlation=0.1, weight_variance=0.1
            ),
            "`variance` must be one at which the activation does not vanish",
        ),
        (lambda: depth_scale("1"), "`slope` must be real numbers"),
        (lambda: depth_scale(1j), "`slope` must be real numbers"),
        (
            lambda: correlation_map(sign(), 0.1, variance=[1.0, 2.0]),
            r"`variance` must be a real number, got \[1.0, 2.0\]",
        ),
        (
            lambda: variance_map_slope(np.tanh, 1.0, weight_variance=1.0),
            "`activation` must be Activation",
        ),
        (
            lambda: variance_map_slope(sign(), 1.0, weight_variance=-1.0),
            "`weight_variance` must be finite and not below zero, got -1.0",
        ),
        (lambda: depth_scale(1.1), r"`slope` must be in \[0, 1\], got 1.1"),
        (lambda: depth_scale(math.nan), r"`slope` must be in \[0, 1\], got nan"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(st.integers(2, 20), st.floats(0.1, 3), st.floats(-1, 1), st.floats(0, 2))
def test_correlations_stay_correlations(num_levels, spacing, correlation, bias_variance):
    staircase = UniformStaircase(num_levels, spacing)
    after = correlation_map(staircase, correlation, variance=1.0, bias_variance=bias_variance)
    assert -1 <= after <= 1


@given(st.integers(2, 20), st.floats(0.2, 1.5), st.floats(0.05, 0.9))
def test_the_map_is_increasing_and_convex_on_positive_correlations(num_levels, spacing, c):
    staircase, h = UniformStaircase(num_levels, spacing), 0.04
    low, middle, high = correlation_map(staircase, [c - h, c, c + h], variance=1.0)
    assert low < middle < high
    assert low + high >= 2 * middle - 1e-14


@given(st.integers(2, 12), st.floats(0.2, 1.5), st.floats(0, 0.95), st.floats(0, 1))
def test_the_slope_is_the_derivative(num_levels, spacing, c, bias_variance):
    staircase, h = UniformStaircase(num_levels, spacing), 1e-4
    low, high = correlation_map(
        staircase, [c - h, c + h], variance=1.0, bias_variance=bias_variance
    )
    slope = correlation_map_slope(staircase, c, variance=1.0, bias_variance=bias_variance)
    # Central difference: third derivative times h^2 / 6, which grows like (1 - c)^(-5/2).
    assert_allclose((high - low) / (2 * h), slope, rtol=0, atol=1e-8 / (1 - c) ** 2.5 + 1e-11)


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.7, 0.2, 0.9])
def test_maps_against_high_precision(correlation):
    second = exact.moment(UNSIGNED, 1.2, 2)
    cross = exact.cross_moment(UNSIGNED, correlation, 1.2)
    options = {"variance": 1.2, "weight_variance": 1.7, "bias_variance": 0.3}
    assert_allclose(
        variance_map(UNSIGNED, 1.2, weight_variance=1.7, bias_variance=0.3),
        float(1.7 * second + 0.3),
        rtol=1e-14,
    )
    assert_allclose(
        correlation_map(UNSIGNED, correlation, **options),
        float((1.7 * cross + 0.3) / (1.7 * second + 0.3)),
        rtol=0,
        atol=1e-14,
    )
    slope = exact.slope(UNSIGNED, correlation, 1.2)
    assert_allclose(
        correlation_map_slope(UNSIGNED, correlation, **options),
        float(1.7 * slope / (1.7 * second + 0.3)),
        rtol=1e-13,
    )


def test_four_layers_of_an_unsigned_staircase():
    staircase, q, c = unsigned_staircase(4, step=0.5), 1.2, 0.3
    path = propagate(
        staircase, num_layers=4, variance=q, correlation=c, weight_variance=1.7, bias_variance=0.3
    )
    for _ in range(4):
        after = 1.7 * float(exact.moment(staircase, q, 2)) + 0.3
        c = (1.7 * float(exact.cross_moment(staircase, c, q)) + 0.3) / after
        q = after
    assert_allclose((path.variances[-1], path.correlations[-1]), (q, c), rtol=1e-13)


def test_control_covariances_instead_of_second_moments_are_noticed():
    mean = exact.moment(UNSIGNED, 1.2, 1) ** 2
    second = exact.moment(UNSIGNED, 1.2, 2) - mean
    wrong = float((exact.cross_moment(UNSIGNED, 0.2, 1.2) - mean) / second)
    assert abs(wrong - correlation_map(UNSIGNED, 0.2, variance=1.2)) > 0.25


def test_relu_approaches_correlation_one_algebraically():
    path = propagate(ReLU(), num_layers=2000, variance=1.0, correlation=0.0, weight_variance=2.0)
    layers = np.array([500, 1000, 2000])
    # 1 - c ~ 9 pi^2 / (2 l^2), with corrections of relative order ln(l) / l, here about 0.05.
    ratio = (1 - path.correlations[layers]) * 2 * layers**2 / (9 * math.pi**2)
    assert_allclose(ratio, 1.0, rtol=0, atol=0.06)
    assert abs(ratio[2] - 1) < abs(ratio[0] - 1)


# --- Golden -----------------------------------------------------------------------------------


def test_decay_of_sixteen_levels():
    staircase = uniform_staircase(16)
    path = propagate(
        staircase,
        num_layers=100,
        variance=0.158222363,
        correlation=0.9,
        weight_variance=1 / 0.9884571155686,
    )
    expected = [0.812151, 0.524872, 0.296999]
    assert_allclose(path.correlations[[10, 50, 100]], expected, rtol=0, atol=2e-6)
