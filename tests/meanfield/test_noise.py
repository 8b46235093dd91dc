"""Activations with rounding noise: their moments, and the spacing that suits them best."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.meanfield.noise import (
    NoisySign,
    StochasticStaircase,
    optimal_stochastic_spacing,
    stochastic_staircase,
)
from qtheory.numerics import Estimate

LEVELS = [-1.0, -0.2, 0.3, 2.0]
POSITIVE = [0.5, 1.0, 3.0]
NEGATIVE = [-3.0, -1.0, -0.5]
ACTIVATIONS = [
    pytest.param(StochasticStaircase(LEVELS), id="uneven"),
    pytest.param(StochasticStaircase(POSITIVE), id="positive"),
    pytest.param(StochasticStaircase(NEGATIVE), id="negative"),
    pytest.param(stochastic_staircase(5), id="uniform"),
    pytest.param(NoisySign(0.5), id="noisy sign"),
]
VARIANCE = 1.3


def pairs(correlation, num_samples=400_000, seed=51):
    """Draw pairs of inputs of one correlation."""
    z = np.random.default_rng(seed).standard_normal((2, num_samples))
    second = correlation * z[0] + math.sqrt(1 - correlation**2) * z[1]
    return math.sqrt(VARIANCE) * z[0], math.sqrt(VARIANCE) * second


def density(z):
    """Return the standard normal density in mpmath."""
    return mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)


def exact_slope(num_levels, spacing):
    """Slope of the correlation map at zero, by quadrature cell by cell."""
    mp = mpmath.mp
    step = mp.mpf(spacing)
    levels = [step * (i - mp.mpf(num_levels - 1) / 2) for i in range(num_levels)]
    second = mp.fsum(
        mp.quad(lambda z, a=a, b=b: ((a + b) * z - a * b) * density(z), [a, b])
        for a, b in itertools.pairwise(levels)
    )
    end = levels[-1]
    second += end**2 * mp.erfc(end / mp.sqrt(2))
    return mp.erf(end / mp.sqrt(2)) ** 2 / second


def exact_cross_moment(low, high, c):
    """Mean product of two clipped Gaussians, the inner mean in closed form."""
    mp = mpmath.mp
    spread = mp.sqrt(1 - c * c)

    def ramp(mean, start):
        t = (start - mean) / spread
        return spread * density(t) + (mean - start) * mp.erfc(t / mp.sqrt(2)) / 2

    def product(z):
        inner = low + ramp(c * z, low) - ramp(c * z, high)
        return max(low, min(z, high)) * inner * density(z)

    points = sorted({-12, -4, -2, -1, low, 0, high, 1, 2, 4, 12})
    return mp.quad(product, [p for p in points if -12 <= p <= 12])


# --- Unit -------------------------------------------------------------------------------------


def test_levels_of_the_uniform_kind():
    assert_allclose(stochastic_staircase(4, clip=3.0).levels, [-3.0, -1.0, 1.0, 3.0], rtol=1e-15)
    assert StochasticStaircase(LEVELS).num_levels == 4
    assert not StochasticStaircase(LEVELS).levels.flags.writeable


def test_levels_stay_and_numbers_beyond_are_clipped():
    activation = StochasticStaircase(LEVELS)
    rng = np.random.default_rng(52)
    assert_array_equal(activation([*LEVELS, -9.0, 9.0], rng=rng), [*LEVELS, -1.0, 2.0])
    assert_array_equal(activation([np.nan, np.inf], rng=rng), [np.nan, 2.0])


def test_sign_with_little_noise_is_a_sign():
    output = NoisySign(1e-20)([-1.0, 2.0, np.nan], rng=np.random.default_rng(53))
    assert_array_equal(output, [-1.0, 1.0, np.nan])


def test_outputs_are_neighboring_levels():
    x = np.linspace(-0.19, 0.29, 1000)
    output = StochasticStaircase(LEVELS)(x, rng=np.random.default_rng(54))
    assert set(output.tolist()) == {-0.2, 0.3}
    assert output.shape == x.shape


def test_zero_variance_is_the_input_zero():
    activation = StochasticStaircase(LEVELS)
    assert activation.mean(0.0) == 0.0
    assert activation.second_moment(0.0) == pytest.approx(0.2 * 0.3, rel=1e-15, abs=0)
    assert activation.cross_moment(0.7, 0.0) == 0.0
    for levels, nearest in ((POSITIVE, 0.5), (NEGATIVE, -0.5)):
        outside = StochasticStaircase(levels)
        assert outside.mean(0.0) == nearest
        assert outside.second_moment(0.0) == 0.25
        assert outside.cross_moment(0.7, 0.0) == 0.25


def test_scalars_give_floats_and_arrays_give_arrays():
    for activation in (StochasticStaircase(LEVELS), NoisySign(1.0)):
        assert isinstance(activation.mean(1.0), float)
        assert isinstance(activation.cross_moment(0.5, 1.0), float)
        assert activation.second_moment([[1.0], [2.0]]).shape == (2, 1)
        assert activation.cross_moment_slope([0.1, 1.0, -1.0], 1.0).shape == (3,)
        assert not activation.is_deterministic


def test_results_show_what_they_are():
    assert repr(StochasticStaircase(LEVELS)) == "StochasticStaircase(4 levels from -1 to 2)"
    assert repr(NoisySign(0.5)) == "NoisySign(noise_variance=0.5)"
    assert NoisySign(0.5).noise_variance == 0.5


@pytest.mark.parametrize("levels", [[1.0], [[1.0, 2.0]], []])
def test_too_few_levels_are_refused(levels):
    with pytest.raises(ValueError, match="`levels` must be a list of at least two numbers"):
        StochasticStaircase(levels)


@pytest.mark.parametrize("levels", [[1.0, 1.0], [2.0, 1.0], [0.0, np.inf], [0.0, np.nan]])
def test_unsorted_levels_are_refused(levels):
    with pytest.raises(ValueError, match="`levels` must be finite and strictly increasing"):
        StochasticStaircase(levels)


def test_messages():
    for activation in (StochasticStaircase(LEVELS), NoisySign(1.0)):
        with pytest.raises(ValueError, match=r"`rng` must be a numpy\.random\.Generator, got None"):
            activation([0.1])
        with pytest.raises(ValueError, match="`correlation` must be in"):
            activation.cross_moment(1.1, 1.0)
        with pytest.raises(ValueError, match="`variance` must be finite and not below zero"):
            activation.second_moment(-1.0)
        with pytest.raises(ValueError, match="`variance` must be finite and above zero"):
            activation.second_moment_slope(0.0)
    with pytest.raises(ValueError, match="`noise_variance` must be finite and above zero"):
        NoisySign(0.0)
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at least 2"):
        stochastic_staircase(1)
    with pytest.raises(ValueError, match="`clip` must be finite and above zero"):
        stochastic_staircase(2, clip=0.0)
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at least 3"):
        optimal_stochastic_spacing(2)
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at most 65536"):
        optimal_stochastic_spacing(2**16 + 1)


# --- Property ---------------------------------------------------------------------------------

gaps = st.lists(st.floats(0.01, 3.0), min_size=1, max_size=8)
# Hundredths: numbers like 1e-305 are no levels of anything.
first_levels = st.integers(-400, 200).map(lambda count: count / 100)
variances = st.floats(0.05, 20.0)
correlations = st.floats(-1.0, 1.0)


@pytest.mark.property
@given(first=first_levels, gaps=gaps, variance=variances, c=correlations)
def test_cross_moment_is_the_series_of_its_hermite_coefficients(first, gaps, variance, c):
    activation = StochasticStaircase(first + np.concatenate([[0.0], np.cumsum(gaps)]))
    squares = activation.hermite_coefficients(300, variance) ** 2
    c *= 0.9  # 0.9 ** 300 is below 1e-13
    size = activation.second_moment(variance)
    assert abs(squares @ c ** np.arange(300) - activation.cross_moment(c, variance)) <= 1e-12 * size


@pytest.mark.property
@given(noise=st.floats(0.05, 20.0), variance=variances, c=correlations)
def test_series_of_the_noisy_sign(noise, variance, c):
    activation = NoisySign(noise)
    squares = activation.hermite_coefficients(300, variance) ** 2
    c *= 0.9
    series = squares @ c ** np.arange(300)
    assert abs(series - activation.cross_moment(c, variance)) <= 1e-12


@pytest.mark.property
@given(first=first_levels, gaps=gaps, variance=variances)
def test_same_input_twice_has_less_than_the_second_moment(first, gaps, variance):
    activation = StochasticStaircase(first + np.concatenate([[0.0], np.cumsum(gaps)]))
    size = activation.second_moment(variance)
    assert activation.cross_moment(1.0, variance) <= size * (1 + 1e-12)
    assert activation.mean(variance) ** 2 <= size * (1 + 1e-12)


@pytest.mark.property
@given(first=first_levels, gaps=gaps, variance=variances)
def test_mirrored_levels_mirror_the_moments(first, gaps, variance):
    levels = first + np.concatenate([[0.0], np.cumsum(gaps)])
    one, other = StochasticStaircase(levels), StochasticStaircase(-levels[::-1])
    size = one.second_moment(variance)
    assert other.second_moment(variance) == pytest.approx(size, rel=1e-12, abs=0)
    assert other.mean(variance) == pytest.approx(-one.mean(variance), abs=1e-12 * math.sqrt(size))
    assert other.cross_moment(0.4, variance) == pytest.approx(
        one.cross_moment(0.4, variance), abs=1e-12 * size
    )


@pytest.mark.property
@given(num_levels=st.integers(3, 40), factor=st.floats(0.3, 3.0))
def test_no_other_spacing_is_better(num_levels, factor):
    best = optimal_stochastic_spacing(num_levels)
    activation = stochastic_staircase(num_levels)
    variance = factor * best.variance
    slope = activation.cross_moment_slope(0.0, variance) / activation.second_moment(variance)
    assert slope <= best.chi + 1e-14


# --- Theory against a reference and against simulation ------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_moments_of_one_input_agree_with_simulation(activation):
    rng = np.random.default_rng(55)
    output = activation(pairs(0.0)[0], rng=rng)
    # Shifted, so that a relative resolution exists where the mean is zero.
    assert_mc_close(5 + activation.mean(VARIANCE), Estimate.from_samples(5 + output))
    squares = Estimate.from_samples(1 + output**2)
    assert_mc_close(1 + activation.second_moment(VARIANCE), squares, rel_resolution=0.02)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("correlation", [-0.7, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_cross_moment_agrees_with_simulation(activation, correlation):
    rng = np.random.default_rng(56)
    first, second = pairs(correlation)
    products = activation(first, rng=rng) * activation(second, rng=rng)
    expected = 1 + activation.cross_moment(correlation, VARIANCE)
    assert_mc_close(expected, Estimate.from_samples(1 + products), rel_resolution=0.05)


@pytest.mark.theory_vs_sim
def test_noise_shared_by_both_inputs_would_be_seen():
    activation = StochasticStaircase(LEVELS)
    first = pairs(1.0)[0]
    output = activation(first, rng=np.random.default_rng(57))
    shared = Estimate.from_samples(output * output)
    assert abs(shared.z_score(activation.cross_moment(1.0, VARIANCE))) > 20


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("correlation", [-0.99, -0.3, 0.0, 0.6, 0.99])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_is_the_derivative_of_the_cross_moment(activation, correlation):
    width = 1e-4
    ends = activation.cross_moment([correlation - width, correlation + width], VARIANCE)
    slope = activation.cross_moment_slope(correlation, VARIANCE)
    # Third derivative of the cross moment times width ** 2, which is largest near |c| = 1, and the
    # rounding error of the quotient.
    rounding = 1e-16 / width
    assert (ends[1] - ends[0]) / (2 * width) == pytest.approx(slope, rel=1e-4, abs=rounding)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_at_one_is_the_mean_squared_derivative(activation):
    slope = activation.cross_moment_slope(1.0, VARIANCE)
    assert slope == pytest.approx(
        VARIANCE * activation.derivative_second_moment(VARIANCE), abs=0, rel=1e-12
    )


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_of_the_second_moment_is_its_derivative(activation):
    width = 1e-4
    ends = activation.second_moment([VARIANCE - width, VARIANCE + width])
    slope = activation.second_moment_slope(VARIANCE)
    # Truncation of the order of width ** 2, rounding of 1e-15 / width.
    assert (ends[1] - ends[0]) / (2 * width) == pytest.approx(slope, rel=1e-7, abs=1e-11)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("variance", [1e-2, 1.0, 1e4])
def test_cross_moment_agrees_with_quadrature_of_40_digits(variance):
    activation = StochasticStaircase(LEVELS)
    with mpmath.workdps(30):
        std = mpmath.sqrt(variance)
        low, high = LEVELS[0] / std, LEVELS[-1] / std
        exact = float(std**2 * exact_cross_moment(low, high, mpmath.mpf(0.8)))
    size = activation.second_moment(variance)
    assert abs(activation.cross_moment(0.8, variance) - exact) <= 1e-12 * size


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [3, 4, 16])
def test_best_spacing_is_that_of_40_digits(num_levels):
    best = optimal_stochastic_spacing(num_levels)
    with mpmath.workdps(40):
        spacing = mpmath.findroot(
            lambda d: mpmath.diff(lambda x: exact_slope(num_levels, x), d),
            best.spacing,
            tol=1e-25,
        )
        deficit = 1 - exact_slope(num_levels, spacing)
    assert best.spacing == pytest.approx(float(spacing), rel=1e-9, abs=0)
    assert best.one_minus_chi == pytest.approx(float(deficit), rel=1e-11, abs=0)
    assert best.chi == pytest.approx(1 - float(deficit), rel=1e-14, abs=0)
    assert best.depth_scale == pytest.approx(float(-1 / mpmath.log(1 - deficit)), abs=0, rel=1e-11)


@pytest.mark.theory_vs_sim
def test_deficit_of_many_levels_is_that_of_40_digits():
    best = optimal_stochastic_spacing(256)
    with mpmath.workdps(30):
        deficit = float(1 - exact_slope(256, best.spacing))
    assert best.one_minus_chi == pytest.approx(deficit, rel=1e-11, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [3, 8, 17])
def test_fields_of_the_best_spacing_fit_together(num_levels):
    best = optimal_stochastic_spacing(num_levels)
    activation = stochastic_staircase(num_levels)
    second = activation.second_moment(best.variance)
    assert best.num_levels == num_levels
    assert best.spacing * math.sqrt(best.variance) == pytest.approx(
        2 / (num_levels - 1), rel=1e-14, abs=0
    )
    assert best.second_moment == pytest.approx(second, rel=1e-14, abs=0)
    assert best.weight_variance * second == pytest.approx(best.variance, rel=1e-14, abs=0)
    slope = activation.cross_moment_slope(0.0, best.variance) / second
    assert best.chi == pytest.approx(slope, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
def test_two_levels_approach_the_sign_and_do_not_reach_it():
    activation = stochastic_staircase(2)
    variances = np.array([0.1, 1.0, 10.0, 1000.0])
    slopes = [
        activation.cross_moment_slope(0.0, q) / activation.second_moment(q) for q in variances
    ]
    inside = [math.erf(1 / math.sqrt(2 * q)) for q in variances]
    assert_allclose(slopes, variances * np.square(inside), rtol=1e-11)
    assert (np.diff(slopes) > 0).all()
    assert slopes[1] == pytest.approx(0.466065, abs=5e-7)
    assert 2 / math.pi - 1e-3 < slopes[-1] < 2 / math.pi


@pytest.mark.theory_vs_sim
def test_many_levels_have_half_the_depth_of_rounding_to_nearest():
    # The distortion of a fine grid is a twelfth of the squared step, with noise a sixth; what
    # remains of the overload and of the better spacing shrinks like 1 / ln(N).
    ratios = [
        optimal_stochastic_spacing(count).one_minus_chi / nearest
        for count, nearest in ((16, 0.01154288443), (256, 8.768618578e-5), (1024, 6.997005197e-6))
    ]
    assert (np.diff(ratios) > 0).all()
    assert ratios[0] > 1.7
    assert 1.88 < ratios[-1] < 2


@pytest.mark.theory_vs_sim
def test_noisy_sign_at_zero_has_the_slope_of_the_arcsine():
    activation = NoisySign(1 / 3)
    assert activation.cross_moment_slope(0.0, 1.0) == pytest.approx(
        2 / math.pi * 0.75, rel=1e-15, abs=0
    )
    assert activation.cross_moment(1.0, 1.0) == pytest.approx(
        2 / math.pi * math.asin(0.75), abs=0, rel=1e-15
    )
