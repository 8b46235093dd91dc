"""Formats on real data: crest factor, scales, and formats as scalar quantizers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.quantizers.fixed_point import FixedPointFormat
from qtheory.quantizers.float_rounding import round_to_format
from qtheory.quantizers.format_scales import (
    crest_factor,
    format_quantizer,
    max_scale,
    mse_scale,
    round_with_scale,
)
from qtheory.quantizers.formats import FP4_E2M1, FP6_E3M2, FP8_E4M3, float_format
from qtheory.quantizers.rounding import RoundMode

INT4 = FixedPointFormat(integer_bits=3, fraction_bits=0, narrow_range=True)
FORMATS = [FP4_E2M1, FP6_E3M2, FP8_E4M3, float_format(1, 0), INT4]
DATA = hnp.arrays(
    np.float64, st.integers(1, 30), elements=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
)


def mean_squared_error(x, fmt, scale):
    """Return the mean squared error of rounding with a scale."""
    return np.mean((round_with_scale(x, fmt, scale) - x) ** 2)


# --- Unit -------------------------------------------------------------------------------------


def test_crest_factors_worked_by_hand():
    assert crest_factor([2.0, -2.0]) == 1.0
    assert crest_factor([0.0, 0.0, 0.0, -5.0]) == 2.0
    crest = crest_factor([[1.0, 1.0], [0.0, 3.0]], axis=1)
    assert_allclose(crest, [1.0, math.sqrt(2.0)], rtol=2 * np.finfo(float).eps)
    assert crest_factor(np.ones((2, 3, 4)), axis=(0, 2)).shape == (3,)


def test_crest_factor_survives_extreme_numbers():
    assert crest_factor([1e300, 1e300]) == 1.0
    assert crest_factor([1e-300, 0.0, 0.0, 0.0]) == 2.0


def test_crest_factor_of_a_sine_is_the_root_of_two():
    x = np.sin(2 * np.pi * np.arange(64) / 64)
    # Four units in the last place: the sine, the squares, their mean, the root.
    assert_allclose(crest_factor(x), math.sqrt(2.0), rtol=4 * np.finfo(float).eps)


@pytest.mark.parametrize("function", [crest_factor, lambda x: max_scale(x, FP4_E2M1)])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        pytest.param([], "`x` must be an array with at least one element", id="empty"),
        pytest.param([1.0, np.nan], "`x` must be finite, got .1 NaN or infinities", id="nan"),
        pytest.param([np.inf], "`x` must be finite", id="infinity"),
        pytest.param([0.0, 0.0], "`x` must be nonzero somewhere", id="zeros"),
    ],
)
def test_unusable_data_is_refused(function, x, message):
    with pytest.raises(ValueError, match=message):
        function(x)


def test_a_single_row_of_zeros_is_refused():
    with pytest.raises(ValueError, match="`x` must be nonzero somewhere along `axis`"):
        crest_factor([[1.0, 2.0], [0.0, 0.0]], axis=1)


def test_round_with_scale_worked_by_hand():
    assert_array_equal(round_with_scale([0.3, 0.7, 10.0], FP4_E2M1, 0.25), [0.25, 0.75, 1.5])
    assert_array_equal(round_with_scale([9.0, -9.0], FP8_E4M3, 0.01), [4.48, -4.48])
    assert_array_equal(round_with_scale([2.6, -30.0], INT4, 2.0), [2.0, -14.0])


def test_round_with_scale_broadcasts_scales():
    scale = np.array([[1.0], [0.5]])
    assert_array_equal(
        round_with_scale(np.full((2, 2), 5.5), FP4_E2M1, scale), [[6.0, 6.0], [3.0, 3.0]]
    )


def test_round_with_scale_passes_the_mode_on():
    assert round_with_scale(5.9, FP4_E2M1, 1.0, round_mode=RoundMode.FLOOR) == 4.0
    rng = np.random.default_rng(31)
    rounded = round_with_scale(
        np.full(50, 5.0), FP4_E2M1, 1.0, round_mode=RoundMode.STOCHASTIC, rng=rng
    )
    assert_array_equal(np.unique(rounded), [4.0, 6.0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, np.array([1.0, 0.0])])
def test_bad_scales_are_refused(scale):
    with pytest.raises(ValueError, match="`scale` must be finite and above zero"):
        round_with_scale([1.0, 2.0], FP4_E2M1, scale)


def test_bad_scale_of_a_quantizer_is_refused():
    with pytest.raises(ValueError, match="`scale` must be finite and above zero"):
        format_quantizer(FP4_E2M1, scale=0.0)


def test_bad_number_of_candidates_is_refused():
    with pytest.raises(ValueError, match="`candidates_per_octave` must be an integer of at least"):
        mse_scale([1.0], FP4_E2M1, candidates_per_octave=0)


def test_levels_of_a_format_are_its_scaled_values():
    quantizer = format_quantizer(FP4_E2M1, scale=0.5)
    assert_array_equal(quantizer.levels, 0.5 * FP4_E2M1.values())
    assert quantizer.num_levels == 15
    assert_array_equal(format_quantizer(INT4).levels, np.arange(-7, 8))


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(x=DATA, factor=st.floats(1e-3, 1e3))
def test_crest_factor_is_at_least_one_at_most_the_root_of_the_count_and_ignores_scale(x, factor):
    crest = float(crest_factor(x))
    slack = 4 * np.finfo(float).eps
    assert 1 - slack <= crest <= math.sqrt(x.size) * (1 + slack)
    # One rounding per scaled number, half of it survives in each root, and those of the function.
    assert_allclose(crest_factor(factor * x), crest, rtol=8 * np.finfo(float).eps)


@pytest.mark.property
@given(x=DATA, fmt=st.sampled_from(FORMATS))
def test_max_scale_clips_nothing(x, fmt):
    # Up to one rounding of the scale.
    assert np.abs(x).max() / max_scale(x, fmt) <= fmt.max_value * (1 + np.finfo(float).eps)


@pytest.mark.property
@given(x=DATA, fmt=st.sampled_from(FORMATS))
def test_mse_scale_is_never_worse_than_max_scale(x, fmt):
    best = mse_scale(x, fmt, candidates_per_octave=4)
    assert mean_squared_error(x, fmt, best) <= mean_squared_error(x, fmt, max_scale(x, fmt))


@pytest.mark.property
@given(x=DATA, fmt=st.sampled_from(FORMATS))
def test_power_of_two_scales_are_powers_of_two_no_worse_than_the_one_that_clips_nothing(x, fmt):
    best = mse_scale(x, fmt, power_of_two=True)
    assert math.frexp(best)[0] == 0.5
    safe = 2.0 ** math.ceil(math.log2(max_scale(x, fmt)))
    assert mean_squared_error(x, fmt, best) <= mean_squared_error(x, fmt, safe)


@pytest.mark.property
@given(x=DATA, fmt=st.sampled_from(FORMATS))
def test_candidates_are_32_to_the_octave_from_the_one_that_clips_nothing(x, fmt):
    steps = 32 * math.log2(mse_scale(x, fmt) / max_scale(x, fmt))
    assert abs(steps - round(steps)) <= 1e-9


@pytest.mark.property
@given(x=DATA, exponent=st.integers(-20, 20), fmt=st.sampled_from(FORMATS))
def test_scales_follow_the_data(x, exponent, fmt):
    factor = 2.0**exponent
    assert mse_scale(factor * x, fmt, candidates_per_octave=4) == factor * mse_scale(
        x, fmt, candidates_per_octave=4
    )


# --- Reference --------------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("fmt", FORMATS[:4], ids=lambda fmt: fmt.name)
def test_quantizer_of_a_format_is_rounding_to_it(fmt):
    rng = np.random.default_rng(32)
    # Ties have probability zero among normal deviates of 53 bits.
    x = fmt.max_value * rng.standard_normal(20_000)
    scale = 0.3
    expected = scale * round_to_format(x / scale, fmt.saturating())
    # The levels are values times the scale, as is the expectation: the same products.
    assert_array_equal(format_quantizer(fmt, scale=scale)(x), expected)


@pytest.mark.theory_vs_sim
def test_clipping_helps_a_peaked_source_at_four_bits():
    x = np.random.default_rng(33).laplace(size=20_000)
    best, largest = mse_scale(x, INT4), max_scale(x, INT4)
    assert best < 0.7 * largest
    assert mean_squared_error(x, INT4, best) < 0.5 * mean_squared_error(x, INT4, largest)


@pytest.mark.theory_vs_sim
def test_mse_scale_finds_the_step_of_max_for_a_gaussian():
    # Max (1960), table II, 15 levels. Candidates are 2 % apart and the error is flat at its
    # minimum: two candidates to each side differ from it by less than the sample can tell.
    x = np.random.default_rng(34).standard_normal(200_000)
    assert_allclose(mse_scale(x, INT4), 0.3534, rtol=0.05)


@pytest.mark.parametrize("size", [1e-200, 1e300])
def test_best_scale_follows_very_small_and_very_large_data(size):
    x = np.array([1.0, 1.7, 5.3, 0.2, 3.9])
    expected = size * mse_scale(x, FP4_E2M1)
    # Rounding the data moves the scale of its peak by one unit in the last place or two.
    assert mse_scale(size * x, FP4_E2M1) == pytest.approx(expected, rel=1e-15, abs=0)


def test_data_too_small_for_a_scale_is_refused():
    with pytest.raises(ValueError, match="`x` must be large enough for a scale above zero"):
        max_scale([5e-324], FP8_E4M3)
