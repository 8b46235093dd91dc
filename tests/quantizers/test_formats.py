"""Formats as data: fields, derived numbers, lists of values, names."""

import csv
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import qtheory.quantizers.formats as formats
from qtheory.quantizers.float_rounding import decode
from qtheory.quantizers.formats import (
    BFLOAT16,
    E8M0,
    FLOAT16,
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E4M3FNUZ,
    FP8_E5M2,
    FP8_E5M2FNUZ,
    TF32,
    FloatFormat,
    Overflow,
    PowerOfTwoFormat,
    Specials,
    float_format,
    parse_float_format,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "ocp_formats.csv"
STANDARD = [
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    FP8_E4M3FNUZ,
    FP8_E5M2FNUZ,
    BFLOAT16,
    FLOAT16,
    TF32,
]


def by_name(fmt):
    """Return the name pytest shows for a format."""
    return getattr(fmt, "name", str(fmt))


@st.composite
def valid_formats(draw):
    """Draw a format of at most 12 bits of any kind that the constructor accepts."""
    exponent_bits = draw(st.integers(1, 6))
    mantissa_bits = draw(st.integers(0, 5))
    specials = draw(st.sampled_from(Specials))
    assume(specials is not Specials.IEEE or (exponent_bits > 1 and mantissa_bits > 0))
    assume(specials is not Specials.FN or (exponent_bits, mantissa_bits) != (1, 0))
    default = 2 ** (exponent_bits - 1) - 1
    return float_format(
        exponent_bits,
        mantissa_bits,
        bias=draw(st.integers(default - 40, default + 60)),
        specials=specials,
        has_subnormals=draw(st.booleans()),
    )


# --- Unit -------------------------------------------------------------------------------------


def test_values_of_a_small_format_are_those_worked_by_hand():
    half = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    assert_array_equal(FP4_E2M1.values(), [*(-v for v in half[::-1]), 0.0, *half])


def test_values_without_subnormals_start_at_the_smallest_normal_number():
    fmt = float_format(2, 1, has_subnormals=False)
    assert_array_equal(fmt.values()[6:], [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    assert (fmt.num_values, fmt.min_subnormal) == (13, 1.0)


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        pytest.param(float_format(1, 0), [-2.0, 0.0, 2.0], id="E1M0"),
        pytest.param(float_format(2, 0), [-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0], id="E2M0"),
        pytest.param(float_format(1, 1), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0], id="E1M1"),
        pytest.param(float_format(2, 0, specials=Specials.FN), [-2, -1, 0, 1, 2], id="E2M0FN"),
        pytest.param(float_format(1, 0, bias=3), [-0.25, 0.0, 0.25], id="bias"),
    ],
)
def test_values_of_odd_formats(fmt, expected):
    assert_array_equal(fmt.values(), expected)


def test_derived_numbers_of_float16():
    assert (FLOAT16.bit_width, FLOAT16.precision, FLOAT16.unit_roundoff) == (16, 11, 2.0**-11)
    assert (FLOAT16.min_exponent, FLOAT16.max_exponent, FLOAT16.bias) == (-14, 15, 15)
    assert FLOAT16.max_finite_code == 0x7BFF


def test_dynamic_range_counts_binades_and_six_decibels_each():
    fmt = float_format(3, 0)
    assert fmt.dynamic_range_binades == 6.0
    assert fmt.dynamic_range_db == pytest.approx(6 * 20 * math.log10(2), rel=1e-15, abs=0)


def test_what_a_format_has():
    assert [f.name for f in STANDARD if f.has_infinity] == [
        "FP8_E5M2",
        "BFLOAT16",
        "FLOAT16",
        "TF32",
    ]
    assert [f.name for f in STANDARD if not f.has_nan] == ["FP4_E2M1", "FP6_E2M3", "FP6_E3M2"]
    assert [f.name for f in STANDARD if not f.has_negative_zero] == ["FP8_E4M3FNUZ", "FP8_E5M2FNUZ"]


def test_default_bias_and_overflow_follow_the_special_codes():
    assert float_format(4, 3).bias == 7
    assert float_format(4, 3, specials=Specials.FNUZ).bias == 8
    assert [float_format(4, 3, specials=s).overflow for s in Specials] == [
        Overflow.INFINITY,
        Overflow.NAN,
        Overflow.NAN,
        Overflow.SATURATE,
    ]


def test_default_names():
    assert float_format(3, 4, specials=Specials.IEEE).name == "E3M4IEEE"
    assert float_format(3, 4).name == "E3M4"
    assert float_format(3, 4, name="mine").name == "mine"


def test_formats_compare_by_their_fields_and_can_be_keys():
    assert FP8_E4M3.replace(name="other").replace(name="FP8_E4M3") == FP8_E4M3
    assert len({FP8_E4M3, FP8_E4M3.saturating(), FP8_E4M3.saturating()}) == 2


def test_saturating_changes_the_overflow_only():
    saturating = FP8_E5M2.saturating()
    assert saturating.overflow is Overflow.SATURATE
    assert saturating.replace(overflow=Overflow.INFINITY) == FP8_E5M2


def test_formats_are_frozen():
    with pytest.raises(AttributeError):
        FP8_E4M3.bias = 3


def test_scale_format_runs_over_powers_of_two():
    assert (E8M0.bit_width, E8M0.min_value, E8M0.max_value) == (8, 2.0**-127, 2.0**127)
    assert_array_equal(np.log2(E8M0.values()), np.arange(-127, 128))


@pytest.mark.parametrize("name", ["E4M3", "e4m3", "FP8_E4M3", "fp8_e4m3"])
def test_a_name_without_suffix_is_the_standard_format(name):
    assert parse_float_format(name) is FP8_E4M3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bfloat16", BFLOAT16),
        ("E8M7", BFLOAT16),
        ("E5M10", FLOAT16),
        ("tf32", TF32),
        ("FP8_E5M2FNUZ", FP8_E5M2FNUZ),
        ("E3M4IEEE", float_format(3, 4, specials=Specials.IEEE)),
        ("E3M0", float_format(3, 0)),
        ("E4M3NONE", float_format(4, 3)),
    ],
)
def test_names_are_parsed(name, expected):
    assert parse_float_format(name).replace(name="x") == expected.replace(name="x")


@pytest.mark.parametrize("name", ["", "E4", "M3E4", "E4M3XY", "int8", "E-1M3"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=r"`name` must be a standard format or of the form"):
        parse_float_format(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"exponent_bits": 0}, "`exponent_bits` must be .* at least 1", id="e0"),
        pytest.param({"exponent_bits": 9}, "`exponent_bits` must be .* at most 8", id="e9"),
        pytest.param({"mantissa_bits": -1}, "`mantissa_bits` must be .* at least 0", id="m-1"),
        pytest.param({"mantissa_bits": 24}, "`mantissa_bits` must be .* at most 23", id="m24"),
        pytest.param({"bias": 0.5}, "`bias` must be an integer", id="bias"),
        pytest.param({"bias": -121}, "`bias` must be large enough for every value", id="too-large"),
        pytest.param({"bias": 148}, "`bias` must be small enough for every value", id="too-small"),
        pytest.param({"bias": -(10**6)}, "`bias` must be large enough", id="far-too-large"),
        pytest.param({"bias": 10**6}, "`bias` must be small enough", id="far-too-small"),
        pytest.param({"has_subnormals": None}, "`has_subnormals` must be one of", id="subnormals"),
        pytest.param({"specials": "ieee"}, "`specials` must be one of", id="specials"),
        pytest.param({"overflow": "nan"}, "`overflow` must be one of", id="overflow"),
        pytest.param(
            {"specials": Specials.IEEE, "mantissa_bits": 0},
            "`specials` must be FN, FNUZ or NONE for E4M0",
            id="no-room-for-nan",
        ),
        pytest.param(
            {"specials": Specials.IEEE, "exponent_bits": 1},
            "`specials` must be FN, FNUZ or NONE for E1M3",
            id="no-room-for-numbers",
        ),
        pytest.param(
            {"specials": Specials.FN, "exponent_bits": 1, "mantissa_bits": 0},
            "`specials` must be FNUZ or NONE for E1M0",
            id="one-value",
        ),
        pytest.param(
            {"overflow": Overflow.INFINITY},
            "`overflow` must be SATURATE or NAN for a format without infinities",
            id="no-infinity",
        ),
        pytest.param(
            {"overflow": Overflow.NAN},
            "`overflow` must be SATURATE for a format without NaN",
            id="no-nan",
        ),
    ],
)
def test_bad_fields_are_refused(arguments, message):
    fields = {"name": "x", "exponent_bits": 4, "mantissa_bits": 3, "bias": 7} | arguments
    with pytest.raises(ValueError, match=message):
        FloatFormat(**fields)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exponent_bits": 0}, "`exponent_bits` must be an integer of at least 1"),
        ({"bias": "a"}, "`bias` must be an integer"),
        ({"bias": 126}, "`bias` must be large enough"),
        ({"bias": 150}, "`bias` must be small enough"),
    ],
)
def test_bad_fields_of_scale_formats_are_refused(arguments, message):
    fields = {"name": "x", "exponent_bits": 8, "bias": 127} | arguments
    with pytest.raises(ValueError, match=message):
        PowerOfTwoFormat(**fields)


def test_the_smallest_scale_is_the_smallest_float32():
    assert PowerOfTwoFormat(name="x", exponent_bits=8, bias=149).min_value == 2.0**-149


def test_the_widest_format_is_float32_itself():
    fmt = float_format(8, 23, specials=Specials.IEEE)
    limits = np.finfo(np.float32)
    assert (fmt.max_value, fmt.min_normal, fmt.min_subnormal) == (
        limits.max,
        limits.smallest_normal,
        limits.smallest_subnormal,
    )


def test_values_of_a_wide_format_are_not_listed():
    with pytest.raises(ValueError, match="`bit_width` must be at most 24 to list values, got 32"):
        float_format(8, 23, specials=Specials.IEEE).values()


def test_every_public_name_exists():
    assert [name for name in formats.__all__ if not hasattr(formats, name)] == []


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(fmt=valid_formats())
def test_values_are_sorted_symmetric_and_as_many_as_stated(fmt):
    values = fmt.values()
    assert values.size == fmt.num_values
    assert (np.diff(values) > 0).all()
    assert_array_equal(values, -values[::-1])
    assert values[-1] == fmt.max_value
    assert values[values > 0][0] == fmt.min_subnormal


@pytest.mark.property
@given(fmt=valid_formats())
def test_values_are_exact_in_float32(fmt):
    assert_array_equal(fmt.values().astype(np.float32).astype(np.float64), fmt.values())


@pytest.mark.property
@given(fmt=valid_formats())
def test_values_are_the_finite_ones_among_all_codes(fmt):
    decoded = decode(np.arange(2**fmt.bit_width), fmt)
    assert_array_equal(np.unique(decoded[np.isfinite(decoded)]), fmt.values())


@pytest.mark.property
@given(fmt=valid_formats())
def test_neighbors_within_a_binade_are_two_unit_roundoffs_apart(fmt):
    values = fmt.values()
    normal = values[values >= fmt.min_normal]
    gaps = np.diff(normal) / 2.0 ** np.floor(np.log2(normal[:-1]))
    assert_array_equal(gaps, np.full(gaps.size, 2 * fmt.unit_roundoff))


# --- Reference: limits as another library states them -----------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [
        (FP4_E2M1, ml_dtypes.float4_e2m1fn),
        (FP6_E2M3, ml_dtypes.float6_e2m3fn),
        (FP6_E3M2, ml_dtypes.float6_e3m2fn),
        (FP8_E4M3, ml_dtypes.float8_e4m3fn),
        (FP8_E4M3FNUZ, ml_dtypes.float8_e4m3fnuz),
        (FP8_E5M2, ml_dtypes.float8_e5m2),
        (FP8_E5M2FNUZ, ml_dtypes.float8_e5m2fnuz),
        (BFLOAT16, ml_dtypes.bfloat16),
        (FLOAT16, np.float16),
    ],
    ids=by_name,
)
def test_limits_are_those_of_ml_dtypes(fmt, dtype):
    limits = ml_dtypes.finfo(dtype)
    assert fmt.max_value == float(limits.max)
    assert fmt.min_normal == float(limits.smallest_normal)
    assert fmt.min_subnormal == float(limits.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(limits.eps)


# --- Golden -----------------------------------------------------------------------------------


def golden_rows():
    """Return each row of the standard's tables."""
    with GOLDEN.open(encoding="utf-8") as file:
        return [pytest.param(row, id=row["format"]) for row in csv.DictReader(file)]


@pytest.mark.golden
@pytest.mark.parametrize("row", golden_rows())
def test_formats_are_those_of_the_standard(row):
    fmt = getattr(formats, row["format"])
    decoded = decode(np.arange(2**fmt.bit_width), fmt)
    assert fmt.bias == int(row["bias"])
    assert fmt.max_value == float(row["max_value"])
    assert fmt.max_exponent == int(row["max_exponent"])
    assert fmt.min_normal == float(row["min_normal"])
    assert fmt.min_subnormal == float(row["min_subnormal"])
    assert decoded[np.abs(decoded) < fmt.min_normal].max() == float(row["max_subnormal"])
    assert int(np.isnan(decoded).sum()) == int(row["num_nan_codes"])
    assert int(np.isinf(decoded).sum()) == int(row["num_infinity_codes"])
