"""Fixed-point formats: fields, rounding, saturation and wrapping, codes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from quantizers import reference_formats as reference

from qtheory.quantizers.fixed_point import (
    FixedPointFormat,
    decode_fixed,
    encode_fixed,
    round_to_fixed,
)
from qtheory.quantizers.rounding import RoundMode

Q1_2 = FixedPointFormat(integer_bits=1, fraction_bits=2)
UQ2_1 = FixedPointFormat(integer_bits=2, fraction_bits=1, signed=False)
NARROW = FixedPointFormat(integer_bits=1, fraction_bits=6, narrow_range=True)
HUGE_STEP = FixedPointFormat(integer_bits=40, fraction_bits=-38)
TINY_STEP = FixedPointFormat(integer_bits=-96, fraction_bits=100)
WIDE = FixedPointFormat(integer_bits=20, fraction_bits=32)
FORMATS = [Q1_2, UQ2_1, NARROW, HUGE_STEP, TINY_STEP, WIDE]
DETERMINISTIC = [mode for mode in RoundMode if mode is not RoundMode.STOCHASTIC]


@st.composite
def numbers_near(draw, fmt):
    """Draw a number within four times the range, often a value or halfway between two."""
    halves = draw(st.integers(8 * fmt.code_min - 8, 8 * fmt.code_max + 8))
    return halves * fmt.step_size / 2 * draw(st.sampled_from([1.0, 1.0, 0.9, 1.0 + 2.0**-40]))


# --- Unit -------------------------------------------------------------------------------------


def test_derived_numbers():
    assert (Q1_2.bit_width, Q1_2.step_size, Q1_2.num_values) == (4, 0.25, 16)
    assert (Q1_2.code_min, Q1_2.code_max, Q1_2.min_value, Q1_2.max_value) == (-8, 7, -2.0, 1.75)
    assert (UQ2_1.bit_width, UQ2_1.min_value, UQ2_1.max_value) == (3, 0.0, 3.5)
    assert (NARROW.bit_width, NARROW.min_value, NARROW.max_value) == (8, -127 / 64, 127 / 64)
    assert (HUGE_STEP.step_size, HUGE_STEP.max_value) == (2.0**38, 3 * 2.0**38)


def test_names():
    assert [fmt.name for fmt in (Q1_2, UQ2_1)] == ["Q1.2", "UQ2.1"]
    assert FixedPointFormat(integer_bits=1, fraction_bits=2, name="mine").name == "mine"


def test_values_are_listed():
    assert_array_equal(UQ2_1.values(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
    assert_array_equal(Q1_2.values()[[0, -1]], [-2.0, 1.75])
    assert NARROW.values().size == NARROW.num_values == 255


def test_values_of_a_wide_format_are_not_listed():
    with pytest.raises(ValueError, match="`bit_width` must be at most 24 to list values, got 53"):
        WIDE.values()


@pytest.mark.parametrize(
    ("x", "overflow", "expected"),
    [
        (0.375, "saturate", 0.5),
        (0.625, "saturate", 0.5),
        (9.0, "saturate", 1.75),
        (-np.inf, "saturate", -2.0),
        (1.75, "wrap", 1.75),
        (2.0, "wrap", -2.0),
        (-2.25, "wrap", 1.75),
        (1e300, "wrap", 0.0),
        (np.inf, "wrap", np.nan),
        (np.nan, "saturate", np.nan),
        (np.nan, "wrap", np.nan),
    ],
)
def test_numbers_worked_by_hand(x, overflow, expected):
    assert_array_equal(round_to_fixed(x, Q1_2, overflow=overflow), expected)


def test_unsigned_formats_wrap_negative_numbers_to_the_top():
    assert_array_equal(round_to_fixed([-0.5, 4.0], UQ2_1, overflow="wrap"), [3.5, 0.0])
    assert_array_equal(round_to_fixed([-0.5, 4.0], UQ2_1), [0.0, 3.5])


def test_zero_has_no_sign():
    assert_array_equal(np.signbit(round_to_fixed([-0.0, -0.1], Q1_2)), [False, False])


def test_numbers_far_below_the_step_still_round_up():
    x = np.nextafter(0.0, 1.0)
    assert round_to_fixed(x, HUGE_STEP, round_mode=RoundMode.CEIL) == HUGE_STEP.step_size
    assert round_to_fixed(-x, HUGE_STEP, round_mode=RoundMode.FLOOR) == -HUGE_STEP.step_size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_shape_and_type_are_kept(shape, dtype):
    rounded = round_to_fixed(np.ones(shape, dtype=dtype), Q1_2)
    assert (rounded.shape, rounded.dtype) == (shape, dtype)


def test_the_input_is_never_written_to():
    x = np.linspace(-3.0, 3.0, 9)
    before = x.copy()
    round_to_fixed(x, Q1_2)
    assert_array_equal(x, before)


def test_codes_worked_by_hand():
    assert_array_equal(encode_fixed([0.3, 1.9, -5.0], Q1_2), [1, 7, -8])
    assert_array_equal(encode_fixed([2.0], Q1_2, overflow="wrap"), [-8])
    assert_array_equal(decode_fixed([1, 7, -8], Q1_2), [0.25, 1.75, -2.0])
    assert decode_fixed([], Q1_2).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"integer_bits": 0.5}, "`integer_bits` must be an integer", id="integer"),
        pytest.param({"fraction_bits": 101}, "`fraction_bits` must be .* at most 100", id="small"),
        pytest.param({"fraction_bits": -101}, "`fraction_bits` must be .* least -100", id="large"),
        pytest.param({"integer_bits": -2}, "`integer_bits` must be such that 1 to 53", id="none"),
        pytest.param({"integer_bits": 51}, "`integer_bits` must be such that 1 to 53", id="many"),
        pytest.param({"signed": 2}, "`signed` must be one of", id="signed"),
        pytest.param({"narrow_range": "no"}, "`narrow_range` must be one of", id="narrow"),
        pytest.param(
            {"signed": False, "narrow_range": True},
            "`narrow_range` must be false for an unsigned format",
            id="narrow-unsigned",
        ),
    ],
)
def test_bad_fields_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FixedPointFormat(**({"integer_bits": 1, "fraction_bits": 2} | arguments))


def test_bad_arguments_of_rounding_are_refused():
    with pytest.raises(ValueError, match="`overflow` must be one of 'saturate', 'wrap'"):
        round_to_fixed(1.0, Q1_2, overflow="clip")
    with pytest.raises(ValueError, match="`overflow` must be 'saturate' for a narrow range"):
        round_to_fixed(1.0, NARROW, overflow="wrap")
    with pytest.raises(ValueError, match="`x` must be float64 for 53 bits"):
        round_to_fixed(np.float32(1.0), WIDE)
    with pytest.raises(ValueError, match="`rng` must be"):
        round_to_fixed(1.0, Q1_2, round_mode=RoundMode.STOCHASTIC)


def test_float32_holds_24_bits():
    fmt = FixedPointFormat(integer_bits=23, fraction_bits=0)
    assert round_to_fixed(np.float32(2.0**24), fmt) == fmt.max_value == 2.0**23 - 1
    with pytest.raises(ValueError, match="`x` must be float64 for 25 bits"):
        round_to_fixed(np.float32(1.0), FixedPointFormat(integer_bits=23, fraction_bits=1))


@pytest.mark.parametrize(("x", "overflow"), [(np.nan, "saturate"), (np.inf, "wrap")])
def test_numbers_without_a_code_are_refused(x, overflow):
    with pytest.raises(ValueError, match="`x` must be free of NaN and of infinities to wrap"):
        encode_fixed([0.0, x], Q1_2, overflow=overflow)


def test_bad_codes_are_refused():
    with pytest.raises(ValueError, match="`codes` must be integers"):
        decode_fixed([0.5], Q1_2)
    with pytest.raises(ValueError, match="`codes` must be from -8 to 7"):
        decode_fixed([8], Q1_2)
    with pytest.raises(ValueError, match="`codes` must be from -127 to 127"):
        decode_fixed([-128], NARROW)
    with pytest.raises(ValueError, match="`codes` must be from -8 to 7"):
        decode_fixed([0, -9], Q1_2)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(data=st.data(), fmt=st.sampled_from(FORMATS), mode=st.sampled_from(DETERMINISTIC))
def test_rounding_twice_is_rounding_once(data, fmt, mode):
    once = round_to_fixed(data.draw(numbers_near(fmt)), fmt, round_mode=mode)
    assert_array_equal(round_to_fixed(once, fmt, round_mode=mode), once)


@pytest.mark.property
@given(data=st.data(), fmt=st.sampled_from(FORMATS))
def test_codes_stand_for_the_rounded_values(data, fmt):
    x = data.draw(numbers_near(fmt))
    assert_array_equal(decode_fixed(encode_fixed(x, fmt), fmt), round_to_fixed(x, fmt))


@pytest.mark.property
@given(data=st.data(), fmt=st.sampled_from(FORMATS))
def test_error_is_at_most_half_a_step_inside_the_range(data, fmt):
    x = data.draw(numbers_near(fmt))
    assume(fmt.min_value <= x <= fmt.max_value)
    assert abs(float(round_to_fixed(x, fmt)) - x) <= 0.5 * fmt.step_size


@pytest.mark.property
@given(data=st.data(), fmt=st.sampled_from([Q1_2, UQ2_1]))
def test_wrapping_forgets_multiples_of_the_modulus(data, fmt):
    x = data.draw(numbers_near(fmt))
    modulus = 2**fmt.bit_width * fmt.step_size
    # Exact sums only: the drawn number may have bits that a larger sum would lose.
    assume((x + modulus) - modulus == x)
    assert_array_equal(
        round_to_fixed(x + modulus, fmt, overflow="wrap"), round_to_fixed(x, fmt, overflow="wrap")
    )


# --- Reference: the twin in exact fractions ---------------------------------------------------


@pytest.mark.theory_vs_sim
@given(data=st.data(), fmt=st.sampled_from(FORMATS), mode=st.sampled_from(DETERMINISTIC))
def test_saturating_agrees_with_the_exact_twin(data, fmt, mode):
    x = data.draw(numbers_near(fmt))
    assert float(round_to_fixed(x, fmt, round_mode=mode)) == reference.round_fixed(x, fmt, mode)


@pytest.mark.theory_vs_sim
@given(
    data=st.data(),
    fmt=st.sampled_from([Q1_2, UQ2_1, HUGE_STEP, TINY_STEP, WIDE]),
    mode=st.sampled_from(DETERMINISTIC),
)
def test_wrapping_agrees_with_the_exact_twin(data, fmt, mode):
    x = data.draw(numbers_near(fmt))
    rounded = float(round_to_fixed(x, fmt, round_mode=mode, overflow="wrap"))
    assert rounded == reference.round_fixed(x, fmt, mode, overflow="wrap")


def test_stochastic_rounding_takes_both_neighbors_and_no_other():
    rng = np.random.default_rng(21)
    rounded = round_to_fixed(
        np.full(100, 0.3), Q1_2, round_mode=RoundMode.STOCHASTIC, rng=rng, num_random_bits=8
    )
    assert_array_equal(np.unique(rounded), [0.25, 0.5])
