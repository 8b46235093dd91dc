"""The critical line: values printed elsewhere, its definition, and what has none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from qtheory.errors import ConvergenceError
from qtheory.meanfield.critical import critical_line, critical_point
from qtheory.meanfield.noise import NoisySign
from qtheory.meanfield.smooth import (
    Erf,
    HardTanh,
    LeakyReLU,
    Linear,
    ReLU,
    SmoothActivation,
    Tanh,
)
from qtheory.meanfield.staircases import sign, uniform_staircase

SINE = SmoothActivation(np.sin, np.cos)
ACTIVATIONS = {"tanh": Tanh(), "erf": Erf(), "hard-tanh": HardTanh(), "sine": SINE}

# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variance", "weight_variance", "bias_variance"),
    [(0.1, 1.17756910, 8.3228e-4), (1.0, 2.15330265, 0.15096463)],
)
def test_points_of_tanh(variance, weight_variance, bias_variance):
    point = critical_line(Tanh(), variance)
    assert point.variance == variance
    assert point.weight_variance == pytest.approx(weight_variance, rel=0, abs=5e-9)
    assert point.bias_variance == pytest.approx(bias_variance, rel=0, abs=5e-9)


@pytest.mark.parametrize(
    ("bias_variance", "weight_variance"),
    [(0.01, 1.42420529), (0.05, 1.76095464), (0.3, 2.50512719)],
)
def test_tanh_by_its_biases(bias_variance, weight_variance):
    point = critical_point(Tanh(), bias_variance)
    assert point.weight_variance == pytest.approx(weight_variance, rel=0, abs=5e-9)
    assert point.bias_variance == bias_variance


def test_fixed_variances():
    assert critical_point(Tanh(), 0.05).variance == pytest.approx(0.57004788, rel=0, abs=5e-9)
    point = critical_point(Erf(), 0.05)
    assert point.variance == pytest.approx(0.51717684, rel=0, abs=5e-9)
    assert point.weight_variance == pytest.approx(1.37583901, rel=0, abs=5e-9)


@pytest.mark.parametrize(
    ("activation", "weight_variance"),
    [
        pytest.param(Tanh(), 1.0, id="tanh"),
        pytest.param(Erf(), math.pi / 4, id="erf"),
        pytest.param(HardTanh(0.3), 1.0, id="hard-tanh"),
        pytest.param(ReLU(), 2.0, id="relu"),
        pytest.param(LeakyReLU(0.5), 1.6, id="leaky"),
        pytest.param(Linear(), 1.0, id="linear"),
        pytest.param(SINE, 1.0, id="sine"),
    ],
)
def test_without_biases(activation, weight_variance):
    point = critical_point(activation, 0.0)
    assert (point.variance, point.bias_variance) == (0.0, 0.0)
    assert point.weight_variance == pytest.approx(weight_variance, rel=1e-13, abs=0)


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(0.01), LeakyReLU(-0.7), Linear()])
def test_homogeneous_activations_have_no_other_point(activation):
    line = critical_line(activation, [1e-3, 1.0, 77.0])
    assert_array_equal(line.bias_variance, [0.0, 0.0, 0.0])
    assert_allclose(line.weight_variance, np.full(3, line.weight_variance[0]), rtol=1e-15)
    with pytest.raises(ConvergenceError, match="does not reach this bias variance"):
        critical_point(activation, 0.1)


def test_an_activation_that_does_not_vanish_at_zero_has_a_point_without_biases():
    # A sine with a phase a: mean squares (1 -+ cos(2a) e^{-2q}) / 2, with minus for the values.
    phase = 0.3
    shifted = SmoothActivation(lambda u: np.sin(u + phase), lambda u: np.cos(u + phase))
    variance = critical_point(shifted, 0.0).variance
    ratio = math.cos(2 * phase) * math.exp(-2 * variance)
    assert variance == pytest.approx((1 - ratio) / (1 + ratio), rel=1e-10, abs=0)


def test_messages():
    with pytest.raises(ValueError, match="`activation` must be Activation, got <ufunc 'tanh'>"):
        critical_line(np.tanh, 1.0)
    with pytest.raises(ValueError, match="`variance` must be finite and above zero, got 0"):
        critical_line(Tanh(), 0.0)
    with pytest.raises(ValueError, match="`bias_variance` must be finite and not below zero"):
        critical_point(Tanh(), -0.1)


@pytest.mark.parametrize("staircase", [sign(), uniform_staircase(16)], ids=["sign", "sixteen"])
def test_staircases_are_refused_with_the_reason(staircase):
    with pytest.raises(ValueError, match="the slope at correlation one is infinite"):
        critical_line(staircase, 1.0)
    with pytest.raises(ValueError, match="the slope at correlation one is infinite"):
        critical_point(staircase, 0.05)


def test_noise_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="noise parts equal inputs"):
        critical_point(NoisySign(noise_variance=0.3), 0.0)


def test_negative_bias_variances_are_refused():
    # The sigmoid is so flat and so far from zero that its critical weights are too large.
    with pytest.raises(ValueError, match=r"critical bias variance is not negative, got 0\.5"):
        critical_line(SmoothActivation(special.expit), [0.5, 2.0])


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(1e-2, 3.0))
def test_points_of_the_line_are_fixed_and_critical(name, variance):
    activation = ACTIVATIONS[name]
    point = critical_line(activation, variance)
    after = point.weight_variance * activation.second_moment(variance) + point.bias_variance
    slope = point.weight_variance * activation.cross_moment_slope(1.0, variance) / variance
    assert after == pytest.approx(variance, rel=1e-14, abs=0)
    assert slope == pytest.approx(1.0, rel=1e-12, abs=0)


@pytest.mark.property
@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["tanh", "erf", "hard-tanh"]), st.floats(0.05, 30.0))
def test_line_and_point_are_inverse(name, variance):
    line = critical_line(ACTIVATIONS[name], variance)
    point = critical_point(ACTIVATIONS[name], line.bias_variance)
    # The bias variance of tanh grows as the cube of a small variance: it holds fewer digits.
    assert point.variance == pytest.approx(variance, rel=1e-9, abs=0)
    assert point.weight_variance == pytest.approx(line.weight_variance, rel=1e-10, abs=0)


@pytest.mark.property
@given(st.floats(1e-3, 1e3))
def test_line_of_erf_is_closed(variance):
    line = critical_line(Erf(), variance)
    root = math.sqrt(1 + 4 * variance)
    assert line.weight_variance == pytest.approx(math.pi / 4 * root, rel=1e-14, abs=0)
    bias = variance - 0.5 * root * math.atan2(2 * variance, root)
    assert line.bias_variance == pytest.approx(bias, rel=1e-14, abs=4e-15 * variance)


# --- Theory against a reference -----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_off_the_line_the_slope_tells_the_phase(factor):
    point = critical_point(Tanh(), 0.05)
    weight_variance = factor * point.weight_variance
    variance = 1.0
    for _ in range(200):
        variance = weight_variance * Tanh().second_moment(variance) + 0.05
    slope = weight_variance * Tanh().derivative_second_moment(variance)
    assert math.copysign(1.0, slope - 1) == math.copysign(1.0, factor - 1)
    assert abs(slope - 1) > 0.02
