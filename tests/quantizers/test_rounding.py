"""Rounding to integers in six modes."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import RoundMode, round_to_integer

DETERMINISTIC = [mode for mode in RoundMode if mode is not RoundMode.STOCHASTIC]
TABLE = {
    RoundMode.TIES_TO_EVEN: [-2, -2, -1, 0, 0, 0, 2, 2],
    RoundMode.TIES_AWAY: [-3, -2, -1, -1, 0, 1, 2, 3],
    RoundMode.TOWARD_ZERO: [-2, -1, 0, 0, 0, 0, 1, 2],
    RoundMode.FLOOR: [-3, -2, -1, -1, 0, 0, 1, 2],
    RoundMode.CEIL: [-2, -1, 0, 0, 0, 1, 2, 3],
}
INPUTS = [-2.5, -1.5, -0.7, -0.5, 0.0, 0.5, 1.6, 2.5]

# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", DETERMINISTIC)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_table_of_ties_and_others(mode, dtype):
    result = round_to_integer(np.array(INPUTS, dtype=dtype), mode)
    assert result.dtype == dtype
    assert_array_equal(result, TABLE[mode])


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_special_values_pass(mode):
    result = round_to_integer([np.nan, np.inf, -np.inf], mode)
    assert_array_equal(result, [np.nan, np.inf, -np.inf])


def test_special_values_pass_stochastically():
    result = round_to_integer(
        [np.nan, np.inf, -np.inf, 4.0],
        RoundMode.STOCHASTIC,
        rng=np.random.default_rng(0),
        num_random_bits=3,
    )
    assert_array_equal(result, [np.nan, np.inf, -np.inf, 4.0])


def test_largest_number_below_a_half_does_not_round_away():
    assert round_to_integer(np.nextafter(0.5, 0.0), RoundMode.TIES_AWAY) == 0.0


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_shapes_are_kept(shape):
    x = np.full(shape, 0.25)
    assert round_to_integer(x).shape == shape
    drawn = round_to_integer(x, RoundMode.STOCHASTIC, rng=np.random.default_rng(0))
    assert drawn.shape == shape


def test_integers_become_floats():
    assert round_to_integer([1, 2]).dtype == np.float64


def test_only_the_nearest_modes_call_themselves_so():
    assert [mode for mode in RoundMode if mode.is_nearest] == [
        RoundMode.TIES_TO_EVEN,
        RoundMode.TIES_AWAY,
    ]


def test_messages():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"`mode` must be one of .*, got 'nearest'"):
        round_to_integer(0.5, "nearest")
    with pytest.raises(ValueError, match=r"`rng` must be a numpy.random.Generator, got None"):
        round_to_integer(0.5, RoundMode.STOCHASTIC)
    with pytest.raises(ValueError, match=r"`rng` must be left out for RoundMode\.FLOOR"):
        round_to_integer(0.5, RoundMode.FLOOR, rng=rng)
    with pytest.raises(ValueError, match="`num_random_bits` must be an integer of at least 1"):
        round_to_integer(0.5, RoundMode.STOCHASTIC, rng=rng, num_random_bits=0)
    with pytest.raises(ValueError, match="`num_random_bits` must be an integer of at most 52"):
        round_to_integer(0.5, RoundMode.STOCHASTIC, rng=rng, num_random_bits=53)
    with pytest.raises(ValueError, match="`x` must be real numbers"):
        round_to_integer(np.array([1j]))


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@pytest.mark.parametrize("mode", DETERMINISTIC)
@given(x=st.floats(-1e15, 1e15))
def test_result_is_a_neighboring_integer(mode, x):
    result = float(round_to_integer(x, mode))
    assert result == int(result)
    assert abs(Fraction(result) - Fraction(x)) < 1


@pytest.mark.property
@pytest.mark.parametrize("mode", [RoundMode.TIES_TO_EVEN, RoundMode.TIES_AWAY])
@given(x=st.floats(-1e15, 1e15))
def test_nearest_modes_err_by_at_most_a_half(mode, x):
    assert abs(Fraction(float(round_to_integer(x, mode))) - Fraction(x)) <= Fraction(1, 2)


@pytest.mark.property
@pytest.mark.parametrize("mode", DETERMINISTIC)
@given(x=st.floats(-1e6, 1e6), y=st.floats(-1e6, 1e6))
def test_rounding_is_monotone(mode, x, y):
    low, high = sorted([x, y])
    assert round_to_integer(low, mode) <= round_to_integer(high, mode)


@pytest.mark.property
@given(x=st.floats(-1e6, 1e6))
def test_floor_mirrors_ceil(x):
    floor = round_to_integer(x, RoundMode.FLOOR)
    assert floor == -round_to_integer(-x, RoundMode.CEIL)


# --- Theory against simulation -----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("x", [-3.7, -0.001, 0.3, 12.5])
def test_stochastic_rounding_is_unbiased(x):
    drawn = round_to_integer(
        np.full(400_000, x), RoundMode.STOCHASTIC, rng=np.random.default_rng(1)
    )
    # Shifted by one so that the resolution is relative to a number of the size of the spacing.
    estimate = Estimate.from_samples(drawn - np.floor(x) + 1)
    assert_mc_close(x - np.floor(x) + 1, estimate, rel_resolution=0.005)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("x", "up"),
    [(0.3, 0.25), (0.4, 0.5), (0.13, 0.25), (0.12, 0.0), (-0.3, 0.75), (0.125, 0.25), (0.375, 0.5)],
)
def test_two_random_bits_go_up_with_the_nearest_quarter(x, up):
    drawn = round_to_integer(
        np.full(400_000, x), RoundMode.STOCHASTIC, rng=np.random.default_rng(2), num_random_bits=2
    )
    estimate = Estimate.from_samples(drawn - np.floor(x) + 1)
    assert_mc_close(1 + up, estimate, rel_resolution=0.005)


@pytest.mark.theory_vs_sim
def test_the_check_of_bias_can_fail():
    drawn = round_to_integer(
        np.full(400_000, 0.3), RoundMode.STOCHASTIC, rng=np.random.default_rng(2), num_random_bits=2
    )
    with pytest.raises(AssertionError, match="z = "):
        assert_mc_close(1.3, Estimate.from_samples(drawn + 1), rel_resolution=0.005)
