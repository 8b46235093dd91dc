"""Activations without jumps: closed forms and quadrature against 40 digits, sums and samples."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from qtheory.errors import ConvergenceError
from qtheory.meanfield.smooth import (
    Erf,
    HardTanh,
    LeakyReLU,
    Linear,
    ReLU,
    SmoothActivation,
    Tanh,
)
from qtheory.numerics import Estimate, gauss_legendre

SOFTPLUS = SmoothActivation(lambda u: np.logaddexp(0.0, u))
GELU = SmoothActivation(lambda u: u * special.ndtr(u))
CUBIC = SmoothActivation(lambda u: u**3 - u + 0.5, lambda u: 3 * u**2 - 1)
SIGMOID = SmoothActivation(special.expit)
QUADRATURE_TANH = SmoothActivation(np.tanh)
# Each with points at which the function bends.
CLOSED = {
    "erf": (Erf(), ()),
    "relu": (ReLU(), (0.0,)),
    "leaky": (LeakyReLU(0.2), (0.0,)),
    "absolute": (LeakyReLU(-1.0), (0.0,)),
    "linear": (Linear(), ()),
    "hard-tanh": (HardTanh(1.0), (-1.0, 1.0)),
    "hard-tanh-2": (HardTanh(2.5), (-2.5, 2.5)),
}
SMOOTH = {
    "tanh": Tanh(),
    "tanh-by-values": QUADRATURE_TANH,
    "softplus": SOFTPLUS,
    "gelu": GELU,
    "cubic": CUBIC,
    "sigmoid": SIGMOID,
    "sine": SmoothActivation(np.sin, np.cos),
}
EVERY = {name: activation for name, (activation, _) in CLOSED.items()} | SMOOTH
CORRELATIONS = [-1.0, -0.999999, -0.7, -1e-3, 0.0, 0.3, 0.9, 1 - 1e-5, 1 - 1e-10, 1.0]
VARIANCES = [1e-4, 0.5, 3.0, 70.0, 1000.0]
each = pytest.mark.parametrize("name", EVERY)


def gauss_rule(cuts, num_panels):
    """Legendre panels on ten standard deviations of a Gaussian, cut at some points."""
    inner = np.asarray(cuts) / 10
    ends = {*np.linspace(-1, 1, num_panels + 1).tolist(), *inner[np.abs(inner) < 1].tolist()}
    edges = 10 * np.array(sorted(ends))
    nodes, weights = gauss_legendre(16)
    z = (0.5 * (edges[:-1] + edges[1:]) + 0.5 * np.outer(nodes, np.diff(edges))).ravel()
    weights = 0.5 * np.outer(weights, np.diff(edges)).ravel()
    return z, weights * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def reference_cross_moment(activation, correlation, variance, cuts=()):
    """Second input given the first, by Legendre panels cut where the function bends.

    Another factoring and another rule than those of the library.
    """
    std, rest = math.sqrt(variance), math.sqrt((1 - correlation) * (1 + correlation))
    bends = np.asarray(cuts) / std
    # Panels of a third of the width over which the second input smooths a bend, or of one unit.
    num_panels = 20 + 4 * math.ceil(std) + (60 if cuts else 0)
    x, weights = gauss_rule(bends, num_panels)
    inner = []
    for value in x:
        y, inner_weights = gauss_rule((bends - correlation * value) / rest, num_panels)
        inner.append(inner_weights @ activation(std * (correlation * value + rest * y)))
    return (weights * activation(std * x)) @ np.array(inner)


def exact_mean_square(function, variance, cuts=()):
    """Mean square by 30 digits, split around the origin on the scale of one."""
    mp = mpmath.mp
    with mpmath.workdps(30):
        std = mp.sqrt(variance)
        steps = [mp.mpf(k) / std for k in (0.5, 1, 2, 4, 8, 16, 32)] + [mp.mpf(k) for k in (2, 6)]
        ends = sorted({mp.mpf(0), *(s * p for p in steps for s in (-1, 1) if p < 13)})
        ends = sorted({*ends, *(mp.mpf(cut) / std for cut in cuts), mp.mpf(-13), mp.mpf(13)})
        return float(mp.quad(lambda z: function(std * z) ** 2 * mp.npdf(z), ends))


def sampled_pair(activation, correlation, variance, num_samples=400_000):
    """Draw outputs for correlated Gaussian inputs."""
    x, y = np.random.default_rng(41).standard_normal((2, num_samples))
    first = math.sqrt(variance) * x
    second = math.sqrt(variance) * (correlation * x + math.sqrt(1 - correlation**2) * y)
    return activation(first), activation(second)


# --- Unit -------------------------------------------------------------------------------------


def test_values_by_hand():
    assert_array_equal(ReLU()([-1.0, 0.0, 2.0]), [0.0, 0.0, 2.0])
    assert_array_equal(LeakyReLU(0.5)([-1.0, 0.0, 2.0]), [-0.5, 0.0, 2.0])
    assert_array_equal(HardTanh(0.5)([-1.0, 0.2, 2.0]), [-0.5, 0.2, 0.5])
    assert_array_equal(Linear()([-1.0, 3.0]), [-1.0, 3.0])
    assert_allclose(Tanh()([0.0, 0.5]), [0.0, (math.e - 1) / (math.e + 1)], rtol=1e-15)
    assert_allclose(Erf()(0.5), math.erf(0.5), rtol=1e-15)


@each
def test_output_is_float64_of_the_same_shape(name):
    result = EVERY[name](np.zeros((2, 0, 3), dtype=np.float32))
    assert (result.shape, result.dtype) == ((2, 0, 3), np.float64)
    x = np.linspace(-2.0, 2.0, 5)
    EVERY[name](x)[:] = 99.0
    assert_array_equal(x, np.linspace(-2.0, 2.0, 5))


@each
def test_scalars_and_arrays(name):
    activation = EVERY[name]
    assert isinstance(activation.second_moment(1.0), float)
    assert activation.second_moment([[1.0, 2.0]]).shape == (1, 2)
    assert isinstance(activation.cross_moment(0.5, 1.0), float)
    assert activation.cross_moment([0.5, 0.1], 1.0).shape == (2,)
    assert activation.hermite_coefficients(1, 1.0).shape == (1,)
    assert activation.hermite_coefficients(7, 1.0).shape == (7,)


def test_moments_at_variance_zero():
    assert [EVERY[name].second_moment(0.0) for name in ("erf", "relu", "hard-tanh", "tanh")] == [
        0.0
    ] * 4
    assert SIGMOID.second_moment(0.0) == pytest.approx(0.25, rel=1e-15, abs=0)
    assert SIGMOID.cross_moment(-0.3, 0.0) == pytest.approx(0.25, rel=1e-15, abs=0)
    assert HardTanh().cross_moment(0.3, 0.0) == 0.0


def test_known_values():
    assert ReLU().cross_moment(0.0, 2.0) == pytest.approx(1 / math.pi, rel=1e-15, abs=0)
    assert ReLU().mean(2 * math.pi) == pytest.approx(1.0, rel=1e-15, abs=0)
    assert ReLU().cross_moment(-1.0, 1.0) == 0.0
    assert LeakyReLU(0.5).cross_moment(-1.0, 2.0) == pytest.approx(-1.0, rel=1e-15, abs=0)
    assert LeakyReLU(-1.0).cross_moment(-1.0, 2.0) == pytest.approx(2.0, rel=1e-15, abs=0)
    assert Erf().cross_moment(0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(0.25), abs=0)
    assert LeakyReLU(1.0).cross_moment(0.3, 2.0) == pytest.approx(0.6, rel=1e-15, abs=0)


def test_relu_is_a_leaky_relu_that_does_not_leak():
    assert repr(ReLU()) == "ReLU()"
    assert ReLU().negative_slope == 0.0
    assert ReLU() == ReLU()


def test_a_hard_tanh_is_a_sign_for_large_and_the_identity_for_small_variances():
    large = HardTanh(1.0).cross_moment(0.5, 1e8)
    assert large == pytest.approx(1 / 3, rel=2e-4, abs=0)  # 1 / 3 minus terms of size 1 / std
    assert HardTanh(1.0).cross_moment(0.5, 1e-3) == pytest.approx(5e-4, rel=1e-15, abs=0)


def test_bounds():
    bounds = {name: activation.bound for name, activation in EVERY.items()}
    assert (bounds["tanh"], bounds["erf"], bounds["hard-tanh-2"]) == (1.0, 1.0, 2.5)
    assert [bounds[name] for name in ("relu", "absolute", "linear", "softplus", "cubic")] == [
        math.inf
    ] * 5
    assert bounds["sine"] == pytest.approx(1.0, rel=1e-3, abs=0)
    assert SmoothActivation(lambda u: np.exp(-u * u)).bound == 1.0


def test_messages():
    with pytest.raises(ValueError, match="`negative_slope` must be finite, got nan"):
        LeakyReLU(math.nan)
    with pytest.raises(ValueError, match=r"`clip` must be finite and above zero, got 0\.0"):
        HardTanh(0.0)
    with pytest.raises(ValueError, match="`function` must be callable, got 3"):
        SmoothActivation(3)
    with pytest.raises(ValueError, match="`derivative` must be callable, got 3"):
        SmoothActivation(np.sin, 3)


@pytest.mark.parametrize("function", [lambda u: 1.0, math.sin, np.sum])
def test_functions_of_single_numbers_are_refused(function):
    with pytest.raises(ValueError, match="`function` must be a map of arrays to arrays of their"):
        SmoothActivation(function)
    with pytest.raises(ValueError, match="`derivative` must be a map of arrays to arrays of their"):
        SmoothActivation(np.sin, function)


@each
def test_arguments_are_refused(name):
    activation = EVERY[name]
    with pytest.raises(ValueError, match="`variance` must be finite and not below zero"):
        activation.second_moment(-1.0)
    with pytest.raises(ValueError, match=r"`correlation` must be in \[-1, 1\]"):
        activation.cross_moment(1.001, 1.0)
    with pytest.raises(ValueError, match="`variance` must be finite and above zero"):
        activation.cross_moment_slope(0.5, 0.0)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(np.sign, id="jump"),
        pytest.param(lambda u: np.maximum(u, 0.0), id="kink"),
        pytest.param(lambda u: np.clip(u, -1.0, 1.0), id="two-kinks"),
        pytest.param(lambda u: np.where(u > 1, np.nan, u), id="nan"),
        pytest.param(lambda u: np.where(u > 1, np.inf, u), id="infinite"),
    ],
)
def test_functions_that_are_not_smooth_are_refused_not_integrated(function):
    with pytest.raises(ConvergenceError, match="too rough for quadrature"):
        SmoothActivation(function).cross_moment(0.5, 1.0)


# --- Property ---------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("variance", VARIANCES)
def test_cross_moment_at_one_is_the_second_moment(name, variance):
    activation = EVERY[name]
    expected = activation.second_moment(variance)
    assert activation.cross_moment(1.0, variance) == pytest.approx(expected, rel=1e-12, abs=0)
    slope = variance * activation.derivative_second_moment(variance)
    assert activation.cross_moment_slope(1.0, variance) == pytest.approx(slope, rel=1e-12, abs=0)


@each
@pytest.mark.parametrize("variance", VARIANCES)
def test_cross_moment_at_zero_is_the_squared_mean(name, variance):
    activation = EVERY[name]
    bound = 1e-14 * activation.second_moment(variance)
    mean_square = activation.mean(variance) ** 2
    assert_allclose(activation.cross_moment(0.0, variance), mean_square, rtol=1e-12, atol=bound)


@each
@pytest.mark.parametrize("variance", [0.01, 1.0, 20.0])
def test_hermite_coefficients_sum_up_the_cross_moment_and_its_slope(name, variance):
    activation, c, k = EVERY[name], -0.55, np.arange(200)
    power = activation.hermite_coefficients(200, variance) ** 2
    # The terms left out are below 0.55 ** 200 times the second moment, the sums are rounded.
    scale = 1e-12 * activation.second_moment(variance)
    assert_allclose(activation.cross_moment(c, variance), power @ c**k, rtol=0, atol=scale)
    slope = power[1:] @ (k[1:] * c ** (k[1:] - 1.0))
    scale = 1e-12 * activation.cross_moment_slope(1.0, variance)
    assert_allclose(activation.cross_moment_slope(c, variance), slope, rtol=0, atol=scale)


@pytest.mark.property
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(EVERY)),
    st.floats(-1.0, 1.0),
    st.floats(1e-3, 1e3),
)
def test_cross_moment_is_at_most_the_second_moment(name, correlation, variance):
    activation = EVERY[name]
    bound = activation.second_moment(variance) * (1 + 1e-12)
    assert abs(activation.cross_moment(correlation, variance)) <= bound


@pytest.mark.property
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["relu", "leaky", "absolute", "linear"]),
    st.floats(-1.0, 1.0),
    st.floats(1e-3, 1e3),
)
def test_homogeneous_activations_scale(name, correlation, variance):
    activation = EVERY[name]
    expected = variance * activation.cross_moment(correlation, 1.0)
    assert_allclose(activation.cross_moment(correlation, variance), expected, rtol=1e-14)


@pytest.mark.property
@settings(deadline=None, max_examples=40)
@given(st.floats(-1.0, 1.0), st.floats(1e-3, 1e3))
def test_odd_activations_have_odd_cross_moments(correlation, variance):
    for activation in (Tanh(), Erf(), HardTanh(), QUADRATURE_TANH):
        plus = activation.cross_moment(correlation, variance)
        minus = activation.cross_moment(-correlation, variance)
        bound = 1e-15 * activation.second_moment(variance)
        assert_allclose(minus, -plus, rtol=1e-12, atol=bound)


# --- Theory against references ----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", [0.04, 1.0, 30.0])
@pytest.mark.parametrize("correlation", [-0.95, 0.4, 0.999])
@pytest.mark.parametrize("name", ["relu", "leaky", "absolute", "hard-tanh", "hard-tanh-2"])
def test_closed_forms_against_quadrature_cut_at_the_bends(name, correlation, variance):
    activation, cuts = CLOSED[name]
    expected = reference_cross_moment(activation, correlation, variance, cuts)
    bound = 1e-13 * activation.second_moment(variance)
    assert_allclose(activation.cross_moment(correlation, variance), expected, rtol=0, atol=bound)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", [1e-4, 1.0, 70.0, 1000.0])
@pytest.mark.parametrize("name", ["erf", *SMOOTH])
def test_smooth_cross_moments_against_another_quadrature(name, variance):
    activation = EVERY[name]
    expected = [reference_cross_moment(activation, c, variance) for c in (-0.8, 0.9999)]
    bound = 1e-12 * activation.second_moment(variance)
    results = activation.cross_moment([-0.8, 0.9999], variance)
    assert_allclose(results, expected, rtol=0, atol=bound)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", VARIANCES)
def test_erf_by_quadrature_is_its_closed_form(variance):
    by_values = SmoothActivation(special.erf)
    expected = Erf().cross_moment(CORRELATIONS, variance)
    bound = 1e-13 * Erf().second_moment(variance)
    assert_allclose(by_values.cross_moment(CORRELATIONS, variance), expected, rtol=0, atol=bound)
    slopes = by_values.cross_moment_slope(CORRELATIONS, variance)
    assert_allclose(slopes, Erf().cross_moment_slope(CORRELATIONS, variance), rtol=1e-12)
    slope = Erf().second_moment_slope(variance)
    assert by_values.second_moment_slope(variance) == pytest.approx(slope, rel=1e-12, abs=0)
    coefficients = by_values.hermite_coefficients(200, variance)
    # Exactly zero on one side, so the size of the function bounds the error.
    size = math.sqrt(Erf().second_moment(variance))
    expected = Erf().hermite_coefficients(200, variance)
    assert_allclose(coefficients, expected, rtol=0, atol=1e-12 * size)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", VARIANCES)
def test_polynomial_has_exact_moments(variance):
    # For u^3 - u + 1/2: E = 15 q^3 - 6 q^2 + q + 1/4, and Hermite terms 3 q^(3/2) - q^(1/2).
    q = variance
    second = 15 * q**3 - 6 * q**2 + q + 0.25
    assert CUBIC.second_moment(q) == pytest.approx(second, rel=1e-13, abs=0)
    slope = 45 * q**2 - 12 * q + 1
    assert CUBIC.second_moment_slope(q) == pytest.approx(slope, rel=1e-12, abs=0)
    c = np.array(CORRELATIONS)
    linear, cubic = q * (3 * q - 1) ** 2, 6 * q**3
    bound = 1e-13 * second
    expected = 0.25 + linear * c + cubic * c**3
    assert_allclose(CUBIC.cross_moment(c, q), expected, rtol=0, atol=bound)
    expected = linear + 3 * cubic * c**2
    assert_allclose(CUBIC.cross_moment_slope(c, q), expected, rtol=1e-12)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", VARIANCES)
def test_tanh_moments_against_thirty_digits(variance):
    expected = exact_mean_square(mpmath.tanh, variance)
    assert Tanh().second_moment(variance) == pytest.approx(expected, rel=1e-13, abs=0)
    expected = exact_mean_square(lambda u: mpmath.sech(u) ** 2, variance)
    for activation in (Tanh(), QUADRATURE_TANH):
        result = activation.derivative_second_moment(variance)
        assert result == pytest.approx(expected, rel=1e-13, abs=0)
    # d/dq E tanh^2 = E [sech^4 - 2 tanh^2 sech^2], through E sech^4 and E sech^2.
    mean_sech = exact_mean_square(mpmath.sech, variance)
    slope = 3 * expected - 2 * mean_sech
    # The two terms cancel to about one part in the variance.
    error = 1e-13 * max(1.0, variance)
    assert Tanh().second_moment_slope(variance) == pytest.approx(slope, rel=error, abs=0)
    result = QUADRATURE_TANH.second_moment_slope(variance)
    assert result == pytest.approx(Tanh().second_moment_slope(variance), rel=1e-12, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", VARIANCES)
def test_slopes_of_tanh_with_and_without_its_derivative(variance):
    expected = Tanh().cross_moment_slope(CORRELATIONS, variance)
    results = QUADRATURE_TANH.cross_moment_slope(CORRELATIONS, variance)
    assert_allclose(results, expected, rtol=1e-12)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("clip", [0.3, 1.0, 5.0])
def test_hard_tanh_moments_against_thirty_digits(clip):
    activation = HardTanh(clip)

    def function(u):
        return min(max(u, mpmath.mpf(-clip)), mpmath.mpf(clip))

    expected = exact_mean_square(function, 1.3, cuts=(-clip, clip))
    assert activation.second_moment(1.3) == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", [0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("name", ["hard-tanh", "leaky", "erf", "tanh"])
def test_slope_by_correlation_is_the_derivative_of_the_cross_moment(name, variance):
    activation, middle, gap = EVERY[name], 0.35, 1e-2
    shifts = gap * np.array([-3, -2, -1, 1, 2, 3])
    # Central difference of sixth order: its error is the seventh derivative times gap ** 6 / 140.
    weights = np.array([-1, 9, -45, 45, -9, 1]) / (60 * gap)
    quotient = weights @ activation.cross_moment(middle + shifts, variance)
    slope = activation.cross_moment_slope(middle, variance)
    assert slope == pytest.approx(quotient, rel=1e-9, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", [0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("name", EVERY)
def test_slope_by_variance_is_the_derivative_of_the_second_moment(name, variance):
    activation, gap = EVERY[name], 0.02
    shifts = gap * np.array([-3, -2, -1, 1, 2, 3])
    weights = np.array([-1, 9, -45, 45, -9, 1]) / (60 * gap)
    quotient = weights @ activation.second_moment(variance * (1 + shifts))
    slope = variance * activation.second_moment_slope(variance)
    # Rounding of the quotient is 1e-15 / gap of the second moment, its truncation 1e-9 of itself.
    bound = 1e-13 * activation.second_moment(variance)
    assert_allclose(slope, quotient, rtol=2e-8, atol=bound)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("name", ["tanh", "erf", "relu", "hard-tanh", "gelu", "softplus"])
def test_cross_moments_against_samples(name):
    activation, correlation, variance = EVERY[name], 0.6, 1.7
    first, second = sampled_pair(activation, correlation, variance)
    estimate = Estimate.from_samples(first * second)
    theory = activation.cross_moment(correlation, variance)
    assert_mc_close(theory, estimate, rel_resolution=0.03)
    # A standard deviation for the variance, or a mean that is subtracted, would be seen.
    with pytest.raises(AssertionError, match="z ="):
        assert_mc_close(
            activation.cross_moment(correlation, math.sqrt(variance)), estimate, rel_resolution=0.05
        )


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("name", ["relu", "gelu", "softplus"])
def test_covariance_in_place_of_the_second_moment_would_be_seen(name):
    activation = EVERY[name]
    first, second = sampled_pair(activation, 0.6, 1.7)
    covariance = activation.cross_moment(0.6, 1.7) - activation.mean(1.7) ** 2
    with pytest.raises(AssertionError, match="z ="):
        assert_mc_close(covariance, Estimate.from_samples(first * second), rel_resolution=0.05)
    estimate = Estimate.from_samples(first)
    assert_mc_close(activation.mean(1.7), estimate, rel_resolution=0.05)


@pytest.mark.theory_vs_sim
def test_relative_accuracy_of_the_arc_cosine_near_minus_one():
    mp = mpmath.mp
    for gap in (1e-2, 1e-6, 1e-12):
        with mpmath.workdps(40):
            c = mp.mpf(-1 + gap)
            exact = (mp.sqrt(1 - c * c) + (mp.pi - mp.acos(c)) * c) / (2 * mp.pi)
        result = ReLU().cross_moment(-1 + gap, 1.0)
        assert result == pytest.approx(float(exact), rel=1e-14, abs=0)
