"""Affine quantizers per tensor, channel and group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.quantizers import AffineQuantizer, RoundMode, design_minmax

NAN, INF = float("nan"), float("inf")
arrays = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=7),
    elements=st.floats(-1e3, 1e3),
)

# --- Unit -------------------------------------------------------------------------------------


def test_codes_by_hand():
    quantizer = AffineQuantizer(0.5, 3, code_min=0, code_max=7)
    assert_array_equal(quantizer.encode([-9.0, -1.5, 0.0, 0.3, 9.0]), [0, 0, 3, 4, 7])
    assert_array_equal(quantizer.decode([0, 3, 7]), [-1.5, 0.0, 2.0])
    assert quantizer.num_levels == 8


def test_channels_along_any_axis():
    x = np.arange(12.0).reshape(3, 4)
    rows = AffineQuantizer([1.0, 2.0, 4.0], code_min=-20, code_max=20, axis=0)
    assert_array_equal(rows.encode(x)[:, 3], [3, 4, 3])  # 3 / 1, 7 / 2 and 11 / 4
    columns = AffineQuantizer([1.0, 2.0, 4.0, 8.0], code_min=-20, code_max=20, axis=-1)
    assert_array_equal(columns.encode(x)[2], [8, 4, 2, 1])


def test_groups_with_a_shorter_last_one():
    quantizer = AffineQuantizer(
        [[1.0, 10.0, 100.0]], code_min=-99, code_max=99, axis=1, group_size=2
    )
    assert_array_equal(quantizer.encode([[20.0] * 5]), [[20, 20, 2, 2, 0]])
    assert_array_equal(quantizer.decode([[1] * 5]), [[1.0, 1.0, 10.0, 10.0, 100.0]])


def test_zero_points_per_channel():
    quantizer = AffineQuantizer([1.0, 1.0], [0, 5], code_min=0, code_max=9, axis=0)
    assert_array_equal(quantizer.encode([[0.0, 2.0], [0.0, -2.0]]), [[0, 2], [5, 3]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_and_special_values(dtype):
    quantizer = AffineQuantizer(0.5, code_min=-2, code_max=2)
    result = quantizer(np.array([NAN, INF, -INF, 0.6], dtype=dtype))
    assert result.dtype == dtype
    assert_array_equal(result, [NAN, 1.0, -1.0, 0.5])
    with pytest.raises(ValueError, match="`x` must be free of NaN to be encoded, got '1 NaN'"):
        quantizer.encode([NAN])


def test_empty_data():
    assert AffineQuantizer(0.5, code_min=-2, code_max=2)(np.zeros((0, 3))).shape == (0, 3)


def test_stochastic_codes():
    quantizer = AffineQuantizer(1.0, code_min=0, code_max=3, round_mode=RoundMode.STOCHASTIC)
    codes = quantizer.encode(np.full(200, 0.5), rng=np.random.default_rng(0))
    assert set(codes) == {0, 1}
    assert set(quantizer(np.full(200, 0.5), rng=np.random.default_rng(0))) == {0.0, 1.0}


def test_minmax_by_hand():
    symmetric = design_minmax([-3.5, 1.0], 4)
    assert (symmetric.code_min, symmetric.code_max) == (-7, 7)
    assert symmetric.scale == 0.5
    asymmetric = design_minmax([-1.0, 6.5], 4, symmetric=False)
    assert (asymmetric.scale, asymmetric.zero_point) == (0.5, 2)
    positive = design_minmax([1.0, 3.0], 2, symmetric=False)
    assert (positive.scale, positive.zero_point) == (1.0, 0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_zeros_and_denormal_ranges_get_scale_one(symmetric):
    quantizer = design_minmax([[0.0, 0.0], [5e-324, 0.0]], 8, symmetric=symmetric, axis=0)
    assert_array_equal(quantizer.scale, [1.0, 1.0])
    assert_array_equal(quantizer([[0.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)))


def test_huge_ranges_do_not_overflow():
    quantizer = design_minmax([1e308, -1e308], 8, symmetric=False)
    assert_allclose(quantizer([1e308, -1e308]), [1e308, -1e308], rtol=0.01)
    assert_array_equal(AffineQuantizer(1e-3, code_min=-2, code_max=2)([1e308]), [2e-3])


def test_shapes_of_scales():
    x = np.ones((4, 6))
    assert design_minmax(x, 8).scale.shape == ()
    assert design_minmax(x, 8, axis=1).scale.shape == (6,)
    assert design_minmax(x, 8, axis=1, group_size=4).scale.shape == (4, 2)
    assert design_minmax(x, 8, axis=-2, group_size=9).scale.shape == (1, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "`scale` must be finite and above zero"),
        ({"scale": [1.0, -1.0], "axis": 0}, "`scale` must be finite and above zero"),
        ({"scale": [1.0, NAN], "axis": 0}, "`scale` must be finite and above zero"),
        ({"scale": [], "axis": 0}, "`scale` must be an array with at least one element"),
        ({"scale": [1.0]}, "`scale` must be a scalar without `axis`, got 'shape \\(1,\\)'"),
        ({"scale": 1.0, "axis": 0}, "`scale` must be one-dimensional with `axis`"),
        ({"group_size": 2}, "`axis` must be given with `group_size`, got None"),
        ({"scale": [1.0], "axis": 1, "group_size": 2}, "`axis` must be an axis of an array with 1"),
        ({"scale": [1.0], "axis": 0, "group_size": 0}, "`group_size` must be an integer of at"),
        ({"scale": [1.0], "axis": 0.5}, "`axis` must be an integer, got 0.5"),
        ({"zero_point": 8}, "`zero_point` must be between `code_min` -8 and `code_max` 7, got 8"),
        ({"zero_point": 0.5}, "`zero_point` must be an integer, got 0.5"),
        ({"zero_point": [0, 0, 0], "scale": [1.0, 1.0], "axis": 0}, "`zero_point` must be a scal"),
        ({"code_max": -8}, "`code_max` must be an integer of at least -7, got -8"),
        ({"code_max": 2**60}, "`code_max` must be an integer of at most 9007199254740992"),
        ({"round_mode": None}, "`round_mode` must be one of"),
    ],
)
def test_messages_of_the_constructor(change, message):
    arguments = {"scale": 1.0, "code_min": -8, "code_max": 7} | change
    with pytest.raises(ValueError, match=message):
        AffineQuantizer(**arguments)


def test_messages_of_shapes():
    channels = AffineQuantizer([1.0, 2.0], code_min=0, code_max=1, axis=1)
    with pytest.raises(ValueError, match="`x` must be of length 2 along axis 1, got 'shape \\(3"):
        channels.encode(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="`axis` must be an axis of an array with 1 dimensions"):
        channels.encode(np.zeros(3))
    groups = AffineQuantizer([[1.0]], code_min=0, code_max=1, axis=1, group_size=2)
    with pytest.raises(ValueError, match="`x` must be of a shape that has groups \\(1, 1\\)"):
        groups.encode(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="`codes` must be between 0 and 1"):
        groups.decode([[0, 2]])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], 4), {}, "`x` must be an array with at least one element"),
        (([NAN, 1.0], 4), {}, "`x` must be finite, got '1 non-finite numbers'"),
        (([1.0], 1), {}, "`bit_width` must be an integer of at least 2, got 1"),
        (([1.0], 0), {"symmetric": False}, "`bit_width` must be an integer of at least 1, got 0"),
        (([1.0], 33), {}, "`bit_width` must be an integer of at most 32, got 33"),
        (([1.0], 4), {"axis": 1}, "`axis` must be an axis of an array with 1 dimensions, got 1"),
        (([1.0], 4), {"group_size": 2}, "`axis` must be given with `group_size`, got None"),
        (([1.0], 4), {"axis": 0, "group_size": 0}, "`group_size` must be an integer of at least 1"),
    ],
)
def test_messages_of_minmax(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        design_minmax(*arguments, **options)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(x=arrays, bits=st.integers(2, 8), group_size=st.sampled_from([None, 1, 2, 3]))
def test_minmax_errs_by_at_most_half_a_scale(x, bits, group_size):
    quantizer = design_minmax(x, bits, axis=x.ndim - 1, group_size=group_size)
    step = np.broadcast_to(quantizer.decode(np.ones(x.shape, dtype=int)), x.shape)
    # Dividing and multiplying by the scale rounds once each.
    assert (np.abs(quantizer(x) - x) <= 0.5 * step + 4e-16 * np.abs(x)).all()


@pytest.mark.property
@given(x=arrays, bits=st.integers(1, 8))
def test_asymmetric_minmax_errs_by_at_most_one_scale(x, bits):
    quantizer = design_minmax(x, bits, symmetric=False)
    # Half a step of rounding and half a step by which the zero point shifts the range.
    assert (np.abs(quantizer(x) - x) <= 1.0 * quantizer.scale + 4e-16 * np.abs(x)).all()


@pytest.mark.property
@given(x=arrays, bits=st.integers(2, 8), symmetric=st.booleans())
def test_zero_is_exact_and_quantizing_twice_changes_nothing(x, bits, symmetric):
    quantizer = design_minmax(x, bits, symmetric=symmetric)
    assert_array_equal(quantizer(np.zeros(3)), np.zeros(3))
    assert_array_equal(quantizer(quantizer(x)), quantizer(x))


@pytest.mark.property
@given(x=arrays, bits=st.integers(2, 8))
def test_encode_then_decode_is_quantize(x, bits):
    quantizer = design_minmax(x, bits, axis=0, group_size=2)
    assert_array_equal(quantizer.decode(quantizer.encode(x)), quantizer(x))


# --- Reference --------------------------------------------------------------------------------


def test_groups_agree_with_a_loop_over_groups():
    x = np.random.default_rng(3).normal(size=(3, 10, 2))
    quantizer = design_minmax(x, 4, axis=1, group_size=4)
    expected = np.empty_like(x)
    for row in range(3):
        for column in range(2):
            for start in (0, 4, 8):
                part = x[row, start : start + 4, column]
                scale = np.abs(part).max() / 7
                expected[row, start : start + 4, column] = scale * np.rint(part / scale)
    assert_allclose(quantizer(x), expected, rtol=0)


def test_finer_groups_lose_less_on_rows_of_different_size():
    x = np.random.default_rng(4).normal(size=(16, 64)) * np.geomspace(0.01, 1, 16)[:, None]
    errors = [
        np.mean((design_minmax(x, 4, axis=axis, group_size=group)(x) - x) ** 2)
        for axis, group in [(None, None), (0, None), (1, 8)]
    ]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
