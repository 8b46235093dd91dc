"""Scalar quantizers: levels, thresholds, codes, constructors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import inputs, scalar_quantizers, step_sizes, uniform_quantizers

from qtheory.quantizers import (
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
    infinite_grid,
    sign,
    ternary,
    uniform_midrise,
    uniform_midtread,
)

NAN, INF = float("nan"), float("inf")

# --- Unit -------------------------------------------------------------------------------------


def test_levels_by_hand():
    assert_array_equal(uniform_midtread(4, step_size=0.5).levels, [-1.0, -0.5, 0.0, 0.5])
    assert_array_equal(uniform_midtread(5, step_size=0.5).levels, [-1.0, -0.5, 0.0, 0.5, 1.0])
    assert_array_equal(
        uniform_midtread(4, step_size=0.5, narrow_range=True).levels, [-0.5, 0.0, 0.5]
    )
    assert_array_equal(uniform_midtread(bit_width=3, clip_max=3.0).levels, np.arange(-4.0, 4.0))
    assert_array_equal(uniform_midrise(2, clip_max=2.0).levels, [-2.0, 2.0])
    assert_array_equal(ternary().levels, [-1.0, 0.0, 1.0])
    assert_array_equal(ternary(2.0).levels, [-2.0, 0.0, 2.0])
    assert_array_equal(ternary(2.0).thresholds, [-1.0, 1.0])
    assert_array_equal(ternary(2.0, threshold=0.7).thresholds, [-0.7, 0.7])
    assert_array_equal(sign(3.0).levels, [-3.0, 3.0])


def test_thresholds_by_hand_for_each_mode():
    def thresholds(mode):
        return uniform_midtread(5, step_size=1.0, round_mode=mode).thresholds

    assert_array_equal(thresholds(RoundMode.TIES_TO_EVEN), [-1.5, -0.5, 0.5, 1.5])
    assert_array_equal(thresholds(RoundMode.TIES_AWAY), [-1.5, -0.5, 0.5, 1.5])
    assert_array_equal(thresholds(RoundMode.FLOOR), [-1.0, 0.0, 1.0, 2.0])
    assert_array_equal(thresholds(RoundMode.CEIL), [-2.0, -1.0, 0.0, 1.0])
    assert_array_equal(thresholds(RoundMode.TOWARD_ZERO), [-2.0, -1.0, 1.0, 2.0])


@pytest.mark.parametrize("mode", [m for m in RoundMode if m is not RoundMode.STOCHASTIC])
def test_thresholds_are_where_the_output_changes(mode):
    quantizer = uniform_midtread(5, step_size=1.0, round_mode=mode)
    below = quantizer(quantizer.thresholds - 1e-9)
    above = quantizer(quantizer.thresholds + 1e-9)
    assert_array_equal(below, quantizer.levels[:-1])
    assert_array_equal(above, quantizer.levels[1:])


def test_ties():
    assert_array_equal(uniform_midtread(9, step_size=1.0)([0.5, 1.5, -0.5]), [0.0, 2.0, 0.0])
    away = uniform_midtread(9, step_size=1.0, round_mode=RoundMode.TIES_AWAY)
    assert_array_equal(away([0.5, 1.5, -0.5]), [1.0, 2.0, -1.0])
    assert_array_equal(ScalarQuantizer([0.0, 1.0, 2.0])([0.5, 1.5]), [1.0, 2.0])
    assert_array_equal(sign()([0.0, -0.0]), [1.0, 1.0])


@pytest.mark.parametrize(
    "quantizer", [uniform_midrise(4, step_size=1.0), ScalarQuantizer([-1.5, -0.5, 0.5, 1.5])]
)
def test_special_values(quantizer):
    assert_array_equal(quantizer([NAN, INF, -INF]), [NAN, 1.5, -1.5])
    with pytest.raises(ValueError, match="`x` must be free of NaN to be encoded, got '1 NaN'"):
        quantizer.encode([0.0, NAN])


def test_special_values_on_the_infinite_grid():
    grid = infinite_grid(0.5)
    assert_array_equal(grid([NAN, INF, -INF, 0.3]), [NAN, INF, -INF, 0.5])
    with pytest.raises(ValueError, match=r"`x` must be within 2\*\*53 steps of `offset`, got inf"):
        grid.encode([INF])
    with pytest.raises(ValueError, match=r"`x` must be within 2\*\*53 steps"):
        grid.encode([0.0, -1e300])


def test_codes_of_the_infinite_grid_have_both_signs():
    grid = infinite_grid(0.5, offset=0.25)
    assert_array_equal(grid.encode([-1.3, 2.2]), [-3, 4])
    assert_array_equal(grid.decode([-3, 4]), [-1.25, 2.25])
    with pytest.raises(ValueError, match="`codes` must be between -9007199254740992 and"):
        grid.decode([2**53 + 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "quantizer",
    [uniform_midrise(4, step_size=0.1), ScalarQuantizer([0.1, 0.2]), infinite_grid(0.1)],
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_shape_and_type_are_kept(dtype, quantizer, shape):
    x = np.full(shape, 0.17, dtype=dtype)
    result = quantizer(x)
    assert result.shape == shape
    assert result.dtype == dtype
    assert quantizer.encode(x).shape == shape
    assert quantizer.encode(x).dtype == np.int64


def test_input_is_not_written_to():
    x = np.linspace(-2, 2, 7)
    uniform_midrise(4, step_size=1.0)(x)
    sign()(x)
    assert_array_equal(x, np.linspace(-2, 2, 7))


def test_arrays_are_copied_and_read_only():
    levels = np.array([0.0, 1.0])
    quantizer = ScalarQuantizer(levels)
    levels[0] = 5.0
    assert quantizer.levels[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        quantizer.levels[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        quantizer.thresholds[0] = 1.0


def test_one_level():
    quantizer = ScalarQuantizer([2.0])
    assert quantizer.thresholds.shape == (0,)
    assert_array_equal(quantizer([-9.0, 9.0]), [2.0, 2.0])


def test_stochastic_quantizer_has_no_thresholds_and_needs_a_generator():
    quantizer = uniform_midtread(3, step_size=1.0, round_mode=RoundMode.STOCHASTIC)
    drawn = quantizer(np.full(1000, 0.5), rng=np.random.default_rng(0))
    assert set(drawn) == {0.0, 1.0}
    assert set(quantizer.encode(np.full(99, 0.5), rng=np.random.default_rng(0))) == {0, 1}
    with pytest.raises(ValueError, match="`round_mode` must be deterministic for thresholds"):
        _ = quantizer.thresholds
    with pytest.raises(ValueError, match=r"`rng` must be a numpy\.random\.Generator, got None"):
        quantizer([0.5])


def test_huge_numbers_are_clipped_or_stay_on_the_infinite_grid():
    huge = np.array([1e308, -1e308, 2.0**60])
    assert_array_equal(infinite_grid(1e-3)(huge), huge)
    assert_array_equal(uniform_midrise(4, step_size=1e-3)(huge), [1.5e-3, -1.5e-3, 1.5e-3])
    assert_array_equal(ScalarQuantizer([-1e308, 1e308])(huge), [1e308, -1e308, 1e308])


def test_float32_is_divided_in_float64():
    # 0.3 in float32 is above 0.3: in units of a step of 0.2 it is no tie and goes up.
    assert infinite_grid(0.2).encode(np.float32(0.3)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "`levels` must be an array with at least one element"),
        (([[1.0]],), "`levels` must be one-dimensional, got 'shape \\(1, 1\\)'"),
        (([0.0, 0.0],), "`levels` must be strictly increasing"),
        (([1.0, 0.0],), "`levels` must be strictly increasing"),
        (([0.0, NAN],), "`levels` must be finite"),
        (([0.0, INF],), "`levels` must be finite"),
        ((["a"],), "`levels` must be real numbers"),
        (([0.0, 1.0], [0.1, 0.2]), "`thresholds` must be of length 1, got 2"),
        (([0.0, 1.0, 2.0], [0.2, 0.1]), "`thresholds` must be strictly increasing"),
        (([0.0, 1.0], [NAN]), "`thresholds` must be finite"),
    ],
)
def test_messages_of_scalar_quantizer(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScalarQuantizer(*arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformQuantizer(0.0), "`step_size` must be finite and above zero, got 0.0"),
        (lambda: UniformQuantizer(-1.0), "`step_size` must be finite and above zero"),
        (lambda: UniformQuantizer(NAN), "`step_size` must be finite and above zero"),
        (lambda: UniformQuantizer("1"), "`step_size` must be a real number, got '1'"),
        (lambda: UniformQuantizer([1.0, 2.0]), "`step_size` must be a real number"),
        (lambda: UniformQuantizer(1.0, offset=INF), "`offset` must be finite"),
        (lambda: UniformQuantizer(1.0, code_min=0), "`code_min` must be given together"),
        (
            lambda: UniformQuantizer(1.0, code_min=2, code_max=1),
            "`code_max` must be an integer of at least 2, got 1",
        ),
        (
            lambda: UniformQuantizer(1.0, code_min=0, code_max=2**53 + 1),
            "`code_max` must be an integer of at most 9007199254740992",
        ),
        (
            lambda: UniformQuantizer(1.0, code_min=0.5, code_max=2),
            "`code_min` must be an integer, got 0.5",
        ),
        (
            lambda: UniformQuantizer(1e308, code_min=-3, code_max=3),
            "`step_size` must be small enough for finite levels",
        ),
        (
            lambda: UniformQuantizer(1.0, offset=1e300, code_min=-3, code_max=3),
            "`offset` must be small enough to be told from its neighbors",
        ),
        (lambda: UniformQuantizer(10**400), "`step_size` must be a real number"),
        (lambda: UniformQuantizer(1.0, round_mode="even"), "`round_mode` must be one of"),
        (lambda: uniform_midtread(step_size=1.0), "`num_levels` must be given, or else"),
        (lambda: uniform_midtread(4, bit_width=2, step_size=1.0), "`num_levels` must be given"),
        (lambda: uniform_midtread(1, step_size=1.0), "`num_levels` must be an integer of at least"),
        (lambda: uniform_midtread(4), "`step_size` must be given, or else `clip_max`"),
        (lambda: uniform_midtread(4, step_size=1.0, clip_max=1.0), "`step_size` must be given"),
        (lambda: uniform_midtread(2, clip_max=1.0), "`clip_max` must be left out when no level"),
        (lambda: uniform_midtread(4, clip_max=0.0), "`clip_max` must be finite and above zero"),
        (lambda: uniform_midrise(3, step_size=1.0), "`num_levels` must be even for a mid-rise"),
        (lambda: uniform_midrise(bit_width=0, step_size=1.0), "`bit_width` must be an integer of"),
        (lambda: uniform_midrise(bit_width=54, step_size=1.0), "`bit_width` must be an integer of"),
        (lambda: ternary(0.0), "`level` must be finite and above zero"),
        (lambda: ternary(1.0, threshold=-1.0), "`threshold` must be finite and above zero"),
        (lambda: sign(NAN), "`level` must be finite and above zero"),
        (lambda: infinite_grid(0.0), "`step_size` must be finite and above zero"),
        (lambda: infinite_grid(1.0).levels, "`code_min` must be finite for levels to be listed"),
        (
            lambda: uniform_midrise(bit_width=30, step_size=1.0).levels,
            "`num_levels` must be at most 16777216 to be listed",
        ),
    ],
)
def test_messages_of_uniform_quantizers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "quantizer", [uniform_midtread(3, step_size=1.0), ScalarQuantizer([0.0, 1.0, 2.0])]
)
def test_messages_of_decode(quantizer):
    with pytest.raises(ValueError, match=r"`codes` must be between -?\d and \d, got 'values"):
        quantizer.decode([0, 3])
    with pytest.raises(ValueError, match=r"got 'values from -2 to 0'"):
        quantizer.decode([0, -2])
    with pytest.raises(ValueError, match="`codes` must be integers, got dtype"):
        quantizer.decode([0.0])
    assert quantizer.decode(np.array([], dtype=int)).shape == (0,)


# --- Property ---------------------------------------------------------------------------------

all_quantizers = st.one_of(scalar_quantizers(), uniform_quantizers())


@pytest.mark.property
@given(quantizer=all_quantizers, x=inputs)
def test_quantizer_is_idempotent(quantizer, x):
    once = quantizer(x)
    assert quantizer(once) == once


@pytest.mark.property
@given(quantizer=all_quantizers, x=inputs, y=inputs)
def test_quantizer_is_monotone(quantizer, x, y):
    low, high = sorted([x, y])
    assert quantizer(low) <= quantizer(high)


@pytest.mark.property
@given(quantizer=all_quantizers, x=inputs)
def test_output_is_a_nearest_level(quantizer, x):
    error = abs(float(quantizer(x)) - x)
    best = np.abs(quantizer.levels - x).min()
    # Levels are sums of two rounded terms: two units in the last place of the larger one.
    assert error <= best + 4e-16 * (abs(x) + np.abs(quantizer.levels).max())


@pytest.mark.property
@given(quantizer=all_quantizers, x=inputs)
def test_encode_then_decode_is_quantize(quantizer, x):
    assert quantizer.decode(quantizer.encode(x)) == quantizer(x)


@pytest.mark.property
@given(quantizer=all_quantizers)
def test_decode_then_encode_is_the_identity(quantizer):
    codes = quantizer.encode(quantizer.levels)
    assert_array_equal(np.diff(codes), 1)
    assert_array_equal(quantizer.decode(codes), quantizer.levels)


@pytest.mark.property
@given(step=step_sizes, x=inputs)
def test_error_is_at_most_half_a_step_on_the_infinite_grid(step, x):
    # The division and the product round once each, relative to the input.
    assert abs(float(infinite_grid(step)(x)) - x) <= 0.5 * step + 4e-16 * abs(x)


@pytest.mark.property
@given(quantizer=uniform_quantizers(), scale=st.sampled_from([0.25, 2.0, 1024.0]), x=inputs)
def test_scaling_by_powers_of_two_commutes(quantizer, scale, x):
    scaled = UniformQuantizer(
        scale * quantizer.step_size,
        offset=scale * quantizer.offset,
        code_min=quantizer.code_min,
        code_max=quantizer.code_max,
    )
    assert scaled(scale * x) == scale * quantizer(x)


# --- Reference --------------------------------------------------------------------------------


def test_scalar_and_uniform_quantizer_agree_off_ties():
    uniform = uniform_midrise(8, step_size=0.3)
    scalar = ScalarQuantizer(uniform.levels, uniform.thresholds)
    x = np.random.default_rng(0).normal(size=10_000)
    assert_allclose(scalar(x), uniform(x), rtol=0)
    assert_array_equal(scalar.encode(x), uniform.encode(x) - uniform.code_min)


def test_the_comparison_notices_one_moved_threshold():
    uniform = uniform_midrise(8, step_size=0.3)
    moved = uniform.thresholds + np.eye(7)[3] * 0.01
    x = np.random.default_rng(0).normal(size=10_000)
    assert (ScalarQuantizer(uniform.levels, moved)(x) != uniform(x)).any()
