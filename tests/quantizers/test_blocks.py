"""Block formats: scales and elements by the rules of OCP MX and NVFP4, against an exact twin."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from quantizers import reference_formats as reference

from qtheory.quantizers.blocks import (
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT8,
    NVFP4,
    BlockFormat,
    block_clip_error_bound,
    dequantize_blocks,
    quantize_blocks,
)
from qtheory.quantizers.float_rounding import decode
from qtheory.quantizers.formats import E8M0, FP4_E2M1, FP6_E3M2, FP8_E4M3, PowerOfTwoFormat
from qtheory.quantizers.rounding import RoundMode

MX = [MXFP4, MXFP6_E2M3, MXFP6_E3M2, MXFP8_E4M3, MXFP8_E5M2, MXINT8]
MX_CASES = [pytest.param(fmt, id=fmt.name) for fmt in MX]
ALL_CASES = [*MX_CASES, pytest.param(NVFP4, id="NVFP4")]
# A scale with few exponents and one with neither zero nor NaN to spare, for the corners.
NARROW_SCALE = BlockFormat(
    name="narrow scale",
    element_format=FP4_E2M1,
    scale_format=PowerOfTwoFormat(name="E3M0", exponent_bits=3, bias=3),
    block_size=4,
)
FLOAT_SCALE = BlockFormat(
    name="float scale", element_format=FP6_E3M2, scale_format=FP8_E4M3, block_size=4
)


def random_data(seed, shape, dtype=np.float32):
    """Return numbers whose magnitudes spread over many binades, exact in float32."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal(shape) * 2.0 ** rng.integers(-12, 12, size=shape)
    return spread.astype(np.float32).astype(dtype)


def reference_values(x, fmt, tensor_scale):
    """Return values and scales of a vector by the exact twin, block by block."""
    starts = range(0, len(x), fmt.block_size)
    results = [
        reference.quantize_block(x[start : start + fmt.block_size].tolist(), fmt, tensor_scale)
        for start in starts
    ]
    return [v for values, _ in results for v in values], [scale for _, scale in results]


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "bits", "block_size", "max_exponent"),
    [
        pytest.param(MXFP8_E5M2, 8.25, 32, 15, id="MXFP8_E5M2"),
        pytest.param(MXFP8_E4M3, 8.25, 32, 8, id="MXFP8_E4M3"),
        pytest.param(MXFP6_E3M2, 6.25, 32, 4, id="MXFP6_E3M2"),
        pytest.param(MXFP6_E2M3, 6.25, 32, 2, id="MXFP6_E2M3"),
        pytest.param(MXFP4, 4.25, 32, 2, id="MXFP4"),
        pytest.param(MXINT8, 8.25, 32, 0, id="MXINT8"),
        pytest.param(NVFP4, 4.5, 16, 2, id="NVFP4"),
    ],
)
def test_fields_are_those_of_the_standard(fmt, bits, block_size, max_exponent):
    assert fmt.bits_per_element == bits
    assert fmt.block_size == block_size
    assert fmt.element_max_exponent == max_exponent


@pytest.mark.parametrize(
    ("fmt", "x", "scale", "values"),
    [
        # floor(log2 7.9) = 2, so the scale is 2**(2 - 2): 7.9 is beyond 6 and clipped.
        pytest.param(MXFP4, [7.9, 1.2, -0.3], 1.0, [6.0, 1.0, -0.5], id="MXFP4"),
        # One bit more and the scale doubles: 8 / 2 = 4 is exact, 1.2 / 2 = 0.6 goes to 0.5.
        pytest.param(MXFP4, [8.0, 1.2, -0.3], 2.0, [8.0, 1.0, -0.0], id="MXFP4-next-binade"),
        # floor(log2 1000) = 9, scale 2**(9 - 8): 500 is beyond 448.
        pytest.param(MXFP8_E4M3, [1000.0, 3.0], 2.0, [896.0, 3.0], id="MXFP8_E4M3"),
        # floor(log2 0.1) = -4, scale 2**(-4 - 4): 25.6 lies between 24 and 28.
        pytest.param(MXFP6_E3M2, [0.1], 2.0**-8, [24 / 256], id="MXFP6_E3M2"),
        # Scale one; 0.3 is 19.2 sixty-fourths, 1.999 is beyond 127 of them, -2 is left out.
        pytest.param(MXINT8, [0.3, -1.999], 1.0, [19 / 64, -127 / 64], id="MXINT8"),
        pytest.param(MXFP4, [0.0, -0.0], 2.0**-127, [0.0, -0.0], id="zeros"),
        # The scale stops at 2**-127: 2**-134 is 2**-7 of it, 2**-140 is below half of 2**-9.
        pytest.param(MXFP8_E4M3, [2.0**-134, 2.0**-140], 2.0**-127, [2.0**-134, 0.0], id="tiny"),
        pytest.param(MXFP8_E4M3, [2.0**200], 2.0**127, [448 * 2.0**127], id="huge"),
    ],
)
def test_blocks_worked_by_hand(fmt, x, scale, values):
    quantized = quantize_blocks(x, fmt)
    assert_array_equal(quantized.scales, [scale])
    assert_array_equal(quantized.values, values)
    assert_array_equal(np.signbit(quantized.values), np.signbit(values))


def test_two_level_scales_worked_by_hand():
    # The largest of all numbers is 6 * 448, so the tensor scale is one; 10.2 / 6 = 1.7 lies between
    # the scales 1.625 and 1.75 and is nearer to 1.75. 10.2 / 1.75 = 5.83 goes to 6, 5 / 1.75 to 3.
    x = np.array([2688.0] + 15 * [0.0] + [10.2, 5.0])
    quantized = quantize_blocks(x, NVFP4)
    assert quantized.tensor_scale == 1.0
    assert_array_equal(quantized.scales, [448.0, 1.75])
    assert_array_equal(quantized.values[[0, 16, 17]], [2688.0, 10.5, 5.25])
    assert_array_equal(quantized.codes[[0, 16, 17]], [7, 7, 5])


def test_two_level_scales_of_zeros_are_one_and_zero():
    quantized = quantize_blocks(np.zeros(20, dtype=np.float32), NVFP4)
    assert quantized.tensor_scale == 1.0
    assert_array_equal(quantized.scales, [0.0, 0.0])
    assert_array_equal(quantized.values, np.zeros(20))


def test_a_block_far_below_the_tensor_becomes_zero():
    x = np.array([2688.0] + 15 * [0.0] + [0.001, 0.002])
    quantized = quantize_blocks(x, NVFP4)
    assert_array_equal(quantized.scales, [448.0, 0.0])
    assert_array_equal(quantized.values[16:], [0.0, 0.0])


def test_the_tensor_scale_is_a_normal_float32():
    assert quantize_blocks([1e-44], NVFP4).tensor_scale == 2.0**-126
    assert quantize_blocks([1e300], NVFP4).tensor_scale == np.finfo(np.float32).max
    scale = quantize_blocks([1.0], NVFP4).tensor_scale
    assert scale == float(np.float32(1 / 2688))


@pytest.mark.parametrize("fmt", ALL_CASES)
def test_the_largest_float32_stays_finite(fmt):
    x = np.full(3, np.finfo(np.float32).max)
    values = quantize_blocks(x, fmt).values
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


@pytest.mark.parametrize("fmt", ALL_CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_with_nan_or_infinity_is_nan_and_leaves_others_alone(bad, fmt):
    x = random_data(41, 3 * fmt.block_size)
    x[: fmt.block_size] = 1.0
    clean = quantize_blocks(x, fmt)
    x[fmt.block_size + 3] = bad
    x[fmt.block_size + 4] = 1e38  # would change the tensor scale, if it counted
    quantized = quantize_blocks(x, fmt)
    is_bad = np.repeat([False, True, False], fmt.block_size)
    assert_array_equal(np.isnan(quantized.values), is_bad)
    assert_array_equal(np.isnan(quantized.scales), [False, True, False])
    assert_array_equal(quantized.codes[is_bad], np.zeros(fmt.block_size))
    assert_array_equal(dequantize_blocks(quantized), quantized.values)
    kept = quantize_blocks(np.where(is_bad, 0.0, x).astype(np.float32), fmt)
    assert_array_equal(quantized.values[~is_bad], kept.values[~is_bad])
    assert clean.tensor_scale > 0


@pytest.mark.parametrize("fmt", ALL_CASES)
@pytest.mark.parametrize(
    ("shape", "axis", "num_blocks"),
    [
        pytest.param((32,), 0, {32: 1, 16: 2}, id="whole"),
        pytest.param((33,), -1, {32: 2, 16: 3}, id="one-more"),
        pytest.param((2, 70, 3), 1, {32: 3, 16: 5}, id="middle"),
        pytest.param((5, 2), -2, {32: 1, 16: 1}, id="short"),
        pytest.param((0,), 0, {32: 0, 16: 0}, id="empty"),
        pytest.param((0, 4), 1, {32: 1, 16: 1}, id="no-rows"),
    ],
)
def test_shapes(shape, axis, num_blocks, fmt):
    x = random_data(42, shape)
    quantized = quantize_blocks(x, fmt, axis=axis)
    expected = list(shape)
    expected[axis] = num_blocks[fmt.block_size]
    assert quantized.values.shape == quantized.codes.shape == shape
    assert quantized.values.dtype == np.float32
    assert quantized.scales.shape == tuple(expected)
    assert quantized.axis == axis % len(shape)
    assert_array_equal(dequantize_blocks(quantized), quantized.values)


@pytest.mark.parametrize("fmt", ALL_CASES)
def test_an_axis_is_quantized_as_if_it_were_the_last(fmt):
    x = random_data(43, (3, 50, 4))
    moved = np.moveaxis(x, 1, -1)
    expected = np.moveaxis(quantize_blocks(moved, fmt).values, -1, 1)
    assert_array_equal(quantize_blocks(x, fmt, axis=1).values, expected)


@pytest.mark.parametrize("fmt", ALL_CASES)
def test_a_short_block_is_one_filled_with_zeros(fmt):
    x = random_data(44, 40)
    padded = np.concatenate([x, np.zeros(24, dtype=np.float32)])
    assert_array_equal(quantize_blocks(x, fmt).values, quantize_blocks(padded, fmt).values[:40])


def test_codes_are_those_of_the_element_format():
    quantized = quantize_blocks([6.0, -0.5, 1.5], MXFP4)
    assert_array_equal(quantized.codes, [7, 9, 3])
    assert_array_equal(decode(quantized.codes, FP4_E2M1), [6.0, -0.5, 1.5])
    assert_array_equal(quantized.scale_codes, [127])
    assert_array_equal(quantize_blocks([1.0, -0.5], MXINT8).codes, [64, -32])


def test_results_are_read_only_and_the_input_is_left_alone():
    x = random_data(45, 64)
    before = x.copy()
    quantized = quantize_blocks(x, MXFP4)
    assert_array_equal(x, before)
    with pytest.raises(ValueError, match="read-only"):
        quantized.values[0] = 1.0


def test_modes_apply_to_elements():
    x = [4.0, 2.9, -2.9]
    floor = quantize_blocks(x, MXFP4, round_mode=RoundMode.FLOOR)
    assert_array_equal(floor.values, [4.0, 2.0, -3.0])
    rng = np.random.default_rng(46)
    mode = RoundMode.STOCHASTIC
    rounded = quantize_blocks([4.0] + 31 * [2.5], MXFP4, round_mode=mode, rng=rng)
    assert_array_equal(np.unique(rounded.values), [2.0, 3.0, 4.0])
    few = quantize_blocks([4.0, 2.1], MXFP4, round_mode=mode, rng=rng, num_random_bits=1)
    assert_array_equal(few.values, [4.0, 2.0])


def test_scales_outside_a_narrow_format_saturate():
    assert_array_equal(quantize_blocks([1e3], NARROW_SCALE).scales, [8.0])
    assert_array_equal(quantize_blocks([1e3], NARROW_SCALE).values, [48.0])
    assert_array_equal(quantize_blocks([1e-3], NARROW_SCALE).scales, [0.125])


def test_floating_point_scales_need_no_tensor_scale():
    quantized = quantize_blocks([28.0, 1.0], FLOAT_SCALE)
    assert (quantized.tensor_scale, quantized.scales[0]) == (1.0, 1.0)
    assert_array_equal(quantize_blocks([1e9], FLOAT_SCALE).scales, [448.0])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`x` must be an array with at least one axis"):
        quantize_blocks(1.0, MXFP4)
    with pytest.raises(ValueError, match="`axis` must be an integer of at most 1"):
        quantize_blocks(np.ones((2, 2)), MXFP4, axis=2)
    with pytest.raises(ValueError, match="`axis` must be an integer of at least -2"):
        quantize_blocks(np.ones((2, 2)), MXFP4, axis=-3)
    with pytest.raises(ValueError, match="`rng` must be a numpy"):
        quantize_blocks([1.0], MXFP4, round_mode=RoundMode.STOCHASTIC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block_size": 0}, "`block_size` must be an integer of at least 1"),
        ({"has_tensor_scale": "yes"}, "`has_tensor_scale` must be one of"),
        ({"has_tensor_scale": True}, "`has_tensor_scale` must be false where scales are powers"),
    ],
)
def test_bad_fields_are_refused(arguments, message):
    fields = {
        "name": "x",
        "element_format": FP4_E2M1,
        "scale_format": E8M0,
        "block_size": 32,
    }
    with pytest.raises(ValueError, match=message):
        BlockFormat(**(fields | arguments))


def test_the_clip_bound_is_for_powers_of_two():
    with pytest.raises(ValueError, match="`fmt` must be a format whose scales are powers of two"):
        block_clip_error_bound(NVFP4)


# --- Property ---------------------------------------------------------------------------------

BLOCKS = hnp.arrays(
    np.float64, st.integers(1, 70), elements=st.floats(-1e6, 1e6, allow_subnormal=False)
)


@pytest.mark.property
@given(x=BLOCKS, fmt=st.sampled_from([*MX, NVFP4, FLOAT_SCALE, NARROW_SCALE]))
def test_codes_and_scales_give_the_values_again(x, fmt):
    quantized = quantize_blocks(x, fmt)
    assert_array_equal(dequantize_blocks(quantized), quantized.values)


@pytest.mark.property
@given(x=BLOCKS, exponent=st.integers(-30, 30), fmt=st.sampled_from(MX))
def test_powers_of_two_pass_through(x, exponent, fmt):
    # As long as no scale is limited; numbers below 1e-20 times the largest are zero either way.
    x = np.where(np.abs(x) < 1e-12, 0.0, x)
    factor = 2.0**exponent
    assert_array_equal(
        quantize_blocks(factor * x, fmt).values, factor * quantize_blocks(x, fmt).values
    )


@pytest.mark.property
@given(x=BLOCKS, fmt=st.sampled_from(MX))
def test_quantizing_twice_is_quantizing_once(x, fmt):
    # The largest magnitude stays in its binade: its lower end is an element, its upper end is none.
    once = quantize_blocks(x, fmt)
    twice = quantize_blocks(once.values, fmt)
    assert_array_equal(twice.values, once.values)


@pytest.mark.property
@given(x=BLOCKS, fmt=st.sampled_from(MX))
def test_no_number_loses_more_than_the_clip_bound_by_clipping(x, fmt):
    x = np.where(np.abs(x) < 1e-12, 0.0, x)
    quantized = quantize_blocks(x, fmt)
    limit = np.repeat(quantized.scales * fmt.element_format.max_value, fmt.block_size)[: x.size]
    excess = np.maximum(np.abs(x) - limit, 0.0)
    assert (excess <= block_clip_error_bound(fmt) * np.abs(x)).all()


# --- Reference --------------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", [*ALL_CASES, FLOAT_SCALE, NARROW_SCALE])
def test_values_agree_with_the_exact_twin(fmt, dtype):
    x = random_data(47, 400, dtype)
    x[70:110] = 0.0
    x[200] = np.nan
    quantized = quantize_blocks(x, fmt)
    values, scales = reference_values(x, fmt, quantized.tensor_scale)
    assert_array_equal(quantized.values, np.array(values, dtype=dtype))
    assert_array_equal(quantized.scales, scales)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("fmt", MX_CASES)
def test_extreme_blocks_agree_with_the_exact_twin(fmt):
    rng = np.random.default_rng(48)
    x = rng.choice([-1.0, 1.0], 960) * 2.0 ** rng.uniform(-149, 128, 960)
    peaks = np.repeat(2.0 ** rng.uniform(-149, 128, 30), 32)
    x = np.where(np.abs(x) > peaks, x % peaks, x).astype(np.float32)
    quantized = quantize_blocks(x, fmt)
    values, scales = reference_values(x, fmt, 1.0)
    assert_array_equal(quantized.values, np.array(values, dtype=np.float32))
    assert_array_equal(quantized.scales, scales)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("fmt", "bound"),
    [
        pytest.param(MXFP4, 1 / 4, id="MXFP4"),
        pytest.param(MXFP6_E2M3, 1 / 16, id="MXFP6_E2M3"),
        pytest.param(MXFP6_E3M2, 1 / 8, id="MXFP6_E3M2"),
        pytest.param(MXFP8_E4M3, 1 / 8, id="MXFP8_E4M3"),
        pytest.param(MXFP8_E5M2, 1 / 8, id="MXFP8_E5M2"),
        pytest.param(MXINT8, 1 / 128, id="MXINT8"),
    ],
)
def test_the_clip_bound_is_attained_just_below_a_power_of_two(fmt, bound):
    peak = np.nextafter(1024.0, 0.0)
    lost = (peak - quantize_blocks([peak], fmt).values[0]) / peak
    assert block_clip_error_bound(fmt) == bound
    assert lost <= bound
    assert math.isclose(lost, bound, rel_tol=2.0**-45)
