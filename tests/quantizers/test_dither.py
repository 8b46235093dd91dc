"""Dither and the laws of rounding errors given the input."""

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from qtheory.numerics import Estimate
from qtheory.quantizers import (
    Dither,
    RoundMode,
    dither_error_moments,
    dithered_quantize,
    infinite_grid,
    rounding_error_moments,
    sign,
    uniform_midtread,
)

STEP = 0.5
POINTS = [0.0, 0.03, 0.2, 0.25, -0.1, 1.37]
SCHEMES = [
    (Dither.UNIFORM, True),
    (Dither.UNIFORM, False),
    (Dither.TRIANGULAR, True),
    (Dither.TRIANGULAR, False),
]


def draw_errors(x, dither, subtractive, num_samples=400_000):
    """Draw errors of dithered rounding at one input."""
    output = dithered_quantize(
        np.full(num_samples, x),
        infinite_grid(STEP),
        rng=np.random.default_rng(31),
        dither=dither,
        subtractive=subtractive,
    )
    return output - x


# --- Unit -------------------------------------------------------------------------------------


def test_moments_by_hand():
    quarter = dither_error_moments(0.125, STEP, dither=Dither.UNIFORM, subtractive=False)
    assert quarter.mean == 0.0
    assert quarter.var == pytest.approx(STEP**2 * 3 / 16)
    assert dither_error_moments(9.0, 1.0, dither=Dither.TRIANGULAR, subtractive=False).var == 0.25
    for dither in Dither:
        result = dither_error_moments([0.1, 0.4], 1.0, dither=dither, subtractive=True)
        assert_allclose(result.var, [1 / 12, 1 / 12], rtol=1e-15)


def test_rounding_moments_by_hand():
    floor = rounding_error_moments([0.3, -0.2], STEP, RoundMode.FLOOR)
    assert_allclose(floor.mean, [-0.3, -0.3], rtol=1e-14)
    assert_array_equal(floor.var, [0.0, 0.0])
    assert_allclose(floor.mean_square, [0.09, 0.09], rtol=1e-14)
    stochastic = rounding_error_moments([0.125, 0.25], STEP, RoundMode.STOCHASTIC)
    assert_array_equal(stochastic.mean, [0.0, 0.0])
    assert_allclose(stochastic.var, [STEP**2 * 3 / 16, STEP**2 / 4], rtol=1e-15)


@pytest.mark.parametrize(("dither", "draws"), [(Dither.UNIFORM, 1), (Dither.TRIANGULAR, 2)])
def test_noise_is_a_sum_of_centered_draws_of_one_step(dither, draws):
    x = np.linspace(-2.0, 2.0, 1000)
    rng = np.random.default_rng(32)
    noise = STEP * sum(rng.random(1000) - 0.5 for _ in range(draws))
    options = {"rng": np.random.default_rng(32), "dither": dither}
    output = dithered_quantize(x, infinite_grid(STEP), **options)
    assert_array_equal(output, STEP * np.rint((x + noise) / STEP))
    options["rng"] = np.random.default_rng(32)
    difference = output - dithered_quantize(x, infinite_grid(STEP), subtractive=True, **options)
    # The output is at most 2.5: the difference holds the noise to one unit in its last place.
    assert_allclose(difference, noise, rtol=0, atol=2.0**-51)


def test_one_random_bit():
    moments = rounding_error_moments(
        [0.2, 0.25, 0.6, 0.75], 1.0, RoundMode.STOCHASTIC, num_random_bits=1
    )
    assert_allclose(moments.mean, [-0.2, 0.25, -0.1, 0.25], rtol=0, atol=1e-15)
    assert_allclose(moments.var, [0.0, 0.25, 0.25, 0.0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
@pytest.mark.parametrize(("dither", "subtractive"), SCHEMES)
def test_shapes_and_types(dtype, shape, dither, subtractive):
    x = np.full(shape, 0.3, dtype=dtype)
    result = dithered_quantize(
        x,
        uniform_midtread(5, step_size=STEP),
        rng=np.random.default_rng(0),
        dither=dither,
        subtractive=subtractive,
    )
    assert (result.shape, result.dtype) == (shape, dtype)


def test_nan_stays_and_the_finite_range_holds():
    quantizer = uniform_midtread(5, step_size=STEP)
    result = dithered_quantize([np.nan, 99.0], quantizer, rng=np.random.default_rng(0))
    assert_array_equal(result, [np.nan, 1.0])


def test_messages():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="`dither` must be one of"):
        dithered_quantize([0.1], infinite_grid(1.0), rng=rng, dither="uniform")
    with pytest.raises(ValueError, match=r"`rng` must be a numpy\.random\.Generator, got 3"):
        dithered_quantize([0.1], infinite_grid(1.0), rng=3)
    with pytest.raises(ValueError, match="`quantizer` must be UniformQuantizer"):
        dithered_quantize([0.1], sign(), rng=rng)
    stochastic = infinite_grid(1.0, round_mode=RoundMode.STOCHASTIC)
    with pytest.raises(ValueError, match="`quantizer` must be of deterministic rounding"):
        dithered_quantize([0.1], stochastic, rng=rng)
    with pytest.raises(ValueError, match="`dither` must be one of"):
        dither_error_moments(0.1, 1.0, dither=None, subtractive=True)
    with pytest.raises(ValueError, match="`step_size` must be finite and above zero"):
        dither_error_moments(0.1, 0.0, dither=Dither.UNIFORM, subtractive=True)
    with pytest.raises(ValueError, match="`step_size` must be finite and above zero"):
        rounding_error_moments(0.1, -1.0)
    with pytest.raises(ValueError, match="`mode` must be one of"):
        rounding_error_moments(0.1, 1.0, "nearest")
    with pytest.raises(
        ValueError, match=r"`num_random_bits` must be left out for RoundMode\.FLOOR"
    ):
        rounding_error_moments(0.1, 1.0, RoundMode.FLOOR, num_random_bits=2)
    with pytest.raises(ValueError, match="`num_random_bits` must be an integer of at least 1"):
        rounding_error_moments(0.1, 1.0, RoundMode.STOCHASTIC, num_random_bits=0)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
def test_inputs_without_a_fraction_are_refused(bad):
    with pytest.raises(ValueError, match=r"`x` must be finite and within 2\*\*52 steps of zero"):
        rounding_error_moments([0.5, bad], 1.0)
    with pytest.raises(ValueError, match=r"`x` must be finite and within 2\*\*52 steps of zero"):
        dither_error_moments([bad], 1.0, dither=Dither.UNIFORM, subtractive=True)


def test_nan_has_no_moments():
    assert_array_equal(rounding_error_moments([np.nan], 1.0).mean, [np.nan])


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(x=st.floats(-1e3, 1e3), step=st.floats(1e-2, 1e2), bits=st.integers(1, 30))
def test_bias_of_few_random_bits_is_bounded(x, step, bits):
    moments = rounding_error_moments(x, step, RoundMode.STOCHASTIC, num_random_bits=bits)
    assert abs(float(moments.mean)) <= step * 2.0 ** (-bits - 1) * (1 + 1e-9)


@pytest.mark.property
@given(x=st.floats(-1e3, 1e3), step=st.sampled_from([0.25, 1.0, 32.0]))
def test_stochastic_rounding_has_the_moments_of_uniform_dither(x, step):
    dithered = dither_error_moments(x, step, dither=Dither.UNIFORM, subtractive=False)
    stochastic = rounding_error_moments(x, step, RoundMode.STOCHASTIC)
    assert dithered.var == stochastic.var


@pytest.mark.property
@given(code=st.integers(-(10**6), 10**6), step=st.sampled_from([0.25, 1.0, 32.0]))
def test_nearest_has_the_least_mean_square(code, step):
    x = code / 1024
    nearest = rounding_error_moments(x, step).mean_square
    for mode in (RoundMode.STOCHASTIC, RoundMode.FLOOR, RoundMode.CEIL, RoundMode.TOWARD_ZERO):
        other = rounding_error_moments(x, step, mode).mean_square
        assert nearest <= other


# --- Theory against simulation -----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize(("dither", "subtractive"), SCHEMES)
def test_moments_of_dither_agree_with_simulation(x, dither, subtractive):
    errors = draw_errors(x, dither, subtractive)
    moments = dither_error_moments(x, STEP, dither=dither, subtractive=subtractive)
    # Shifted by one step so that a resolution relative to the theory exists where it is zero.
    assert_mc_close(STEP + float(moments.mean), Estimate.from_samples(STEP + errors))
    squares = Estimate.from_samples(STEP**2 + errors**2)
    assert_mc_close(STEP**2 + float(moments.mean_square), squares, rel_resolution=0.01)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize("dither", list(Dither))
def test_subtractive_error_is_uniform_whatever_the_input(x, dither):
    errors = draw_errors(x, dither, subtractive=True, num_samples=100_000)
    result = stats.kstest(errors, stats.uniform(-STEP / 2, STEP).cdf)
    # One seed in a million would fail a right law.
    assert result.pvalue > 1e-6


@pytest.mark.theory_vs_sim
def test_the_test_of_uniformity_rejects_the_other_scheme():
    errors = draw_errors(0.2, Dither.UNIFORM, subtractive=False, num_samples=100_000)
    assert stats.kstest(errors, stats.uniform(-STEP / 2, STEP).cdf).pvalue < 1e-6


@pytest.mark.theory_vs_sim
def test_triangular_noise_fails_the_variance_of_the_uniform_one():
    errors = draw_errors(0.2, Dither.TRIANGULAR, subtractive=False)
    wrong = dither_error_moments(0.2, STEP, dither=Dither.UNIFORM, subtractive=False)
    with pytest.raises(AssertionError, match="z = "):
        assert_mc_close(float(wrong.var), Estimate.from_samples(errors**2))
