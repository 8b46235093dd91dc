"""Rounding to floating-point formats and their codes, against three independent oracles."""

import math
import subprocess
import sys
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from quantizers import reference_formats as reference

from qtheory.numerics import Estimate
from qtheory.quantizers import _kernels, float_rounding
from qtheory.quantizers.float_rounding import decode, encode, round_to_format
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
    Overflow,
    PowerOfTwoFormat,
    Specials,
    float_format,
)
from qtheory.quantizers.rounding import RoundMode

DETERMINISTIC = [mode for mode in RoundMode if mode is not RoundMode.STOCHASTIC]
# Formats that ml_dtypes or NumPy has too.
PEERS = [
    pytest.param(FP4_E2M1, ml_dtypes.float4_e2m1fn, id="float4_e2m1fn"),
    pytest.param(FP6_E2M3, ml_dtypes.float6_e2m3fn, id="float6_e2m3fn"),
    pytest.param(FP6_E3M2, ml_dtypes.float6_e3m2fn, id="float6_e3m2fn"),
    pytest.param(FP8_E4M3, ml_dtypes.float8_e4m3fn, id="float8_e4m3fn"),
    pytest.param(FP8_E4M3FNUZ, ml_dtypes.float8_e4m3fnuz, id="float8_e4m3fnuz"),
    pytest.param(FP8_E5M2, ml_dtypes.float8_e5m2, id="float8_e5m2"),
    pytest.param(FP8_E5M2FNUZ, ml_dtypes.float8_e5m2fnuz, id="float8_e5m2fnuz"),
    pytest.param(
        float_format(4, 3, bias=11, specials=Specials.FNUZ),
        ml_dtypes.float8_e4m3b11fnuz,
        id="float8_e4m3b11fnuz",
    ),
    pytest.param(
        float_format(3, 4, specials=Specials.IEEE), ml_dtypes.float8_e3m4, id="float8_e3m4"
    ),
    pytest.param(
        float_format(4, 3, specials=Specials.IEEE), ml_dtypes.float8_e4m3, id="float8_e4m3"
    ),
    pytest.param(BFLOAT16, ml_dtypes.bfloat16, id="bfloat16"),
    pytest.param(FLOAT16, np.float16, id="float16"),
]
# Standard formats, odd ones, and the corners of every branch.
FORMATS = [
    FP4_E2M1,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E4M3.saturating(),
    FP8_E5M2,
    FP8_E5M2.saturating(),
    FP8_E5M2FNUZ,
    FLOAT16,
    BFLOAT16,
    float_format(1, 0),
    float_format(2, 0),
    float_format(3, 0),
    float_format(2, 0, specials=Specials.FN),
    float_format(5, 10, bias=-2),
    float_format(4, 3, bias=-20, name="only multiples of large numbers"),
    float_format(4, 3, bias=139, name="subnormal in float32"),
    float_format(3, 2, bias=127, name="aligned with float32"),
    float_format(3, 2, bias=127, specials=Specials.IEEE),
    float_format(2, 2, bias=127, specials=Specials.FNUZ),
    float_format(3, 0, bias=127, name="aligned without mantissa"),
    float_format(3, 2, has_subnormals=False, name="flushing"),
    float_format(4, 3, specials=Specials.IEEE, overflow=Overflow.NAN),
]
FORMAT_CASES = [pytest.param(fmt, id=f"{i}-{fmt.name}") for i, fmt in enumerate(FORMATS)]
MODE_CASES = [pytest.param(mode, id=mode.value) for mode in DETERMINISTIC]


def neighborhood(points, dtype):
    """Return points with the numbers one unit in the last place to each side, and negatives."""
    with np.errstate(over="ignore", under="ignore"):
        center = np.asarray(points).astype(dtype)
        sides = [np.nextafter(center, dtype(side)) for side in (-np.inf, np.inf)]
    around = np.concatenate([center, *sides])
    return np.concatenate([around, -around])


def adversarial(fmt, dtype):
    """Return the numbers where rounding goes wrong first: values, halves, limits, specials."""
    grid = np.array([float(value) for value in reference.magnitudes(fmt)])
    grid = grid[:: max(1, grid.size // 500)]
    halves = 0.5 * (grid[:-1] + grid[1:])
    top = fmt.max_value
    spacing = float(reference.magnitudes(fmt)[-1]) - top
    limits = top + spacing * np.array([0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
    small = fmt.min_subnormal * np.array([0.0, 2.0**-30, 0.25, 0.5, 0.75, 1.0])
    tiny = [np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], dtype=dtype)
    return np.concatenate(
        [special, neighborhood(np.concatenate([grid, halves, limits, small, tiny]), dtype)]
    )


def random_floats(seed, size, dtype):
    """Return floats with uniform random bits, so every exponent occurs, and NaN too."""
    bits = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2 ** (8 * bits().itemsize), size=size, dtype=bits).view(dtype)


def around_the_range(fmt, seed, size, dtype):
    """Return random floats whose exponents are those of a format and a few beyond."""
    rng = np.random.default_rng(seed)
    exponent = rng.uniform(
        np.log2(fmt.min_subnormal) - 3, min(np.log2(fmt.max_value) + 2, 127), size
    )
    return (rng.choice([-1.0, 1.0], size) * 2.0**exponent).astype(dtype)


def assert_same_bits(actual, expected):
    """Fail unless two arrays agree in type, value and sign, where NaN agrees with NaN."""
    assert actual.dtype == expected.dtype
    assert_array_equal(actual, expected)
    is_number = ~np.isnan(expected)
    assert_array_equal(np.signbit(actual)[is_number], np.signbit(expected)[is_number])


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        pytest.param(0.25, 0.0, id="tie-to-zero"),
        pytest.param(0.75, 1.0, id="tie-among-subnormals"),
        pytest.param(1.25, 1.0, id="tie-down"),
        pytest.param(1.75, 2.0, id="tie-up-across-a-binade"),
        pytest.param(2.5, 2.0, id="tie-down-wide"),
        pytest.param(5.0, 4.0, id="tie-down-at-the-top"),
        pytest.param(5.000001, 6.0, id="just-above-a-tie"),
        pytest.param(7.9, 6.0, id="saturates"),
        pytest.param(-np.inf, -6.0, id="infinity-saturates"),
    ],
)
def test_numbers_worked_by_hand_for_e2m1(x, expected):
    assert round_to_format(x, FP4_E2M1) == expected


@pytest.mark.parametrize(
    ("x", "mode", "expected"),
    [
        (5.0, RoundMode.TIES_AWAY, 6.0),
        (0.25, RoundMode.TIES_AWAY, 0.5),
        (5.9, RoundMode.TOWARD_ZERO, 4.0),
        (-5.9, RoundMode.FLOOR, -6.0),
        (5.9, RoundMode.FLOOR, 4.0),
        (4.1, RoundMode.CEIL, 6.0),
        (-1e-30, RoundMode.FLOOR, -0.5),
        (1e-30, RoundMode.CEIL, 0.5),
    ],
)
def test_modes_worked_by_hand_for_e2m1(x, mode, expected):
    assert round_to_format(x, FP4_E2M1, round_mode=mode) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (RoundMode.TIES_TO_EVEN, [np.inf, -np.inf, np.inf, 448.0]),
        (RoundMode.TIES_AWAY, [np.inf, -np.inf, np.inf, 480.0]),
        (RoundMode.TOWARD_ZERO, [480.0, -480.0, np.inf, 448.0]),
        (RoundMode.FLOOR, [480.0, -np.inf, np.inf, 448.0]),
        (RoundMode.CEIL, [np.inf, -480.0, np.inf, 480.0]),
    ],
)
def test_overflow_rule_of_the_directed_modes(mode, expected):
    fmt = float_format(4, 3, bias=6, specials=Specials.IEEE)
    assert_array_equal(round_to_format([1e9, -1e9, np.inf, 464.0], fmt, round_mode=mode), expected)


def test_overflow_of_a_finite_format_is_nan_just_above_the_tie():
    assert_array_equal(round_to_format([464.0, 464.1, np.inf], FP8_E4M3), [448.0, np.nan, np.nan])
    assert_array_equal(round_to_format([464.1, -np.inf], FP8_E4M3.saturating()), [448.0, -448.0])


def test_nan_stays_nan_even_where_the_format_has_no_code_for_it():
    assert np.isnan(round_to_format(np.nan, FP4_E2M1))


@pytest.mark.parametrize("mode", MODE_CASES)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("fmt", [FP8_E4M3, BFLOAT16, E8M0])
def test_a_signaling_nan_turns_quiet_without_a_warning(fmt, backend, mode):
    # The last one would be carried over to a number by a sum with its bits.
    signaling = np.array([0x7F800001, 0x7FFFFFFF], dtype=np.uint32).view(np.float32)
    rounded = round_to_format(signaling, fmt, backend=backend, round_mode=mode)
    assert (rounded.view(np.uint32) & 0x7FC00000 == 0x7FC00000).all()
    assert set(encode(signaling, fmt)) <= {0x7F, 0x7FC0, 0xFF}


def test_zero_keeps_its_sign_unless_the_format_has_one_zero():
    x = [-0.0, -1e-9, 1e-9]
    assert_array_equal(np.signbit(round_to_format(x, FP8_E4M3)), [True, True, False])
    assert_array_equal(np.signbit(round_to_format(x, FP8_E4M3FNUZ)), [False, False, False])


@pytest.mark.parametrize("backend", ["auto", "numpy", "numba"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 4)])
def test_shape_and_type_are_kept(shape, dtype, backend):
    rounded = round_to_format(np.ones(shape, dtype=dtype), FP8_E4M3, backend=backend)
    assert (rounded.shape, rounded.dtype) == (shape, dtype)
    assert isinstance(rounded, np.ndarray)


@pytest.mark.parametrize("mode", [RoundMode.TIES_TO_EVEN, RoundMode.FLOOR])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_strides_do_not_matter(backend, mode):
    x = np.random.default_rng(1).standard_normal((6, 7, 8)).astype(np.float32)
    view = x[::2, ::-1, 1::3].swapaxes(0, 2)
    assert_array_equal(
        round_to_format(view, FP6_E2M3, round_mode=mode, backend=backend),
        round_to_format(view.copy(), FP6_E2M3, round_mode=mode, backend=backend),
    )


@pytest.mark.parametrize("x", [[1, 2, 9], np.array([1, 2, 9], dtype=np.int8), [True, False, True]])
def test_integers_become_float64(x):
    assert round_to_format(x, FP4_E2M1).dtype == np.float64


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_input_is_never_written_to(backend):
    x = np.linspace(-3, 3, 50)
    x.flags.writeable = False
    before = x.copy()
    rounded = round_to_format(x, FP4_E2M1, backend=backend)
    assert_array_equal(x, before)
    assert not np.may_share_memory(rounded, x)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("mode", [RoundMode.TIES_TO_EVEN, RoundMode.CEIL])
def test_out_may_be_the_input(backend, mode):
    x = np.linspace(-700, 700, 40_001).astype(np.float32)
    expected = round_to_format(x, FP8_E4M3FNUZ, round_mode=mode)
    result = round_to_format(x, FP8_E4M3FNUZ, round_mode=mode, backend=backend, out=x)
    assert result is x
    assert_array_equal(x, expected)


def test_out_may_be_strided():
    out = np.zeros((4, 6))
    x = np.arange(12.0).reshape(4, 3)
    result = round_to_format(x, FP4_E2M1, out=out[:, ::2])
    assert_array_equal(out[:, ::2], round_to_format(x, FP4_E2M1))
    assert_array_equal(out[:, 1::2], np.zeros((4, 3)))
    assert np.may_share_memory(result, out)


def test_out_works_for_scale_formats():
    out = np.zeros(2)
    round_to_format([3.0, 0.3], E8M0, out=out)
    assert_array_equal(out, [4.0, 0.25])


@pytest.mark.parametrize(
    "out", [np.zeros(3), np.zeros(2, dtype=np.float32), [0.0, 0.0]], ids=["shape", "type", "list"]
)
def test_out_of_another_kind_is_refused(out):
    with pytest.raises(ValueError, match=r"`out` must be an array of float64 of shape \(2,\)"):
        round_to_format(np.zeros(2), FP4_E2M1, out=out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"round_mode": "floor"}, "`round_mode` must be one of", id="mode"),
        pytest.param({"backend": "cuda"}, "`backend` must be one of 'auto'", id="backend"),
        pytest.param(
            {"round_mode": RoundMode.STOCHASTIC}, "`rng` must be a numpy.random", id="no-rng"
        ),
        pytest.param({"rng": np.random.default_rng(1)}, "`rng` must be left out for", id="rng"),
        pytest.param({"num_random_bits": 3}, "`num_random_bits` must be left out for", id="bits"),
    ],
)
def test_bad_arguments_are_refused_also_for_empty_arrays(arguments, message):
    with pytest.raises(ValueError, match=message):
        round_to_format([], FP8_E4M3, **arguments)


def test_text_is_refused():
    with pytest.raises(ValueError, match="`x` must be real numbers"):
        round_to_format(["a"], FP8_E4M3)


@pytest.mark.parametrize(
    ("fmt", "dtype"), [(FP4_E2M1, np.uint8), (FLOAT16, np.uint16), (TF32, np.uint32)]
)
def test_codes_take_the_narrowest_type(fmt, dtype):
    assert encode(np.ones((2, 3)), fmt).dtype == dtype


def test_codes_of_special_numbers():
    x = [np.inf, -np.inf, np.nan, -0.0]
    assert_array_equal(encode(x, FP8_E5M2), [0x7C, 0xFC, 0x7E, 0x80])
    assert_array_equal(encode(x, FP8_E4M3), [0x7F, 0xFF, 0x7F, 0x80])
    assert_array_equal(encode(x, FP8_E4M3FNUZ), [0x80, 0x80, 0x80, 0x00])
    assert_array_equal(encode([np.inf, -np.inf, -0.0], FP4_E2M1), [0x7, 0xF, 0x8])


def test_stochastic_codes_are_those_of_stochastic_values():
    x = np.linspace(-7, 7, 101)
    modes = {"round_mode": RoundMode.STOCHASTIC, "num_random_bits": 4}
    codes = encode(x, FP6_E3M2, rng=np.random.default_rng(5), **modes)
    values = round_to_format(x, FP6_E3M2, rng=np.random.default_rng(5), **modes)
    assert_array_equal(decode(codes, FP6_E3M2), values)


def test_encoding_nan_needs_a_code_for_it():
    with pytest.raises(ValueError, match="free of NaN, for which FP4_E2M1 has no code"):
        encode([0.0, np.nan], FP4_E2M1)


@pytest.mark.parametrize("codes", [[-1], [16], [3, 99]])
def test_codes_out_of_range_are_refused(codes):
    with pytest.raises(ValueError, match=r"`codes` must be from 0 to 15, got .codes from"):
        decode(codes, FP4_E2M1)


def test_codes_that_are_no_integers_are_refused():
    with pytest.raises(ValueError, match="`codes` must be integers"):
        decode([1.0], FP4_E2M1)


def test_values_are_decoded_to_single_or_double_only():
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        decode([1], FP4_E2M1, dtype=np.float16)


def test_decoding_keeps_shape_and_takes_a_type():
    decoded = decode(np.array([[1, 2], [3, 0]]), FP4_E2M1, dtype=np.float32)
    assert decoded.dtype == np.float32
    assert_array_equal(decoded, [[0.5, 1.0], [1.5, 0.0]])
    assert decode([], FP4_E2M1).shape == (0,)


def test_scale_formats_have_neither_zero_nor_sign():
    x = [0.0, -1.0, np.nan, np.inf, 1e39, 1e-300, 3.0, 0.7]
    expected = [np.nan, np.nan, np.nan, np.nan, np.nan, 2.0**-127, 4.0, 0.5]
    assert_array_equal(round_to_format(x, E8M0), expected)
    assert_array_equal(encode(x, E8M0), [255, 255, 255, 255, 255, 0, 129, 126])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (RoundMode.FLOOR, [2.0, 0.5, 2.0**127]),
        (RoundMode.CEIL, [4.0, 1.0, np.nan]),
        (RoundMode.TIES_AWAY, [4.0, 0.5, np.nan]),
    ],
)
def test_scale_formats_round_in_any_mode(mode, expected):
    assert_array_equal(round_to_format([3.0, 0.7, 1.9 * 2.0**127], E8M0, round_mode=mode), expected)


def test_small_scale_formats_work_too():
    fmt = PowerOfTwoFormat(name="E2M0", exponent_bits=2, bias=1)
    assert_array_equal(decode([0, 1, 2, 3], fmt), [0.5, 1.0, 2.0, np.nan])
    assert_array_equal(round_to_format([0.1, 1.4, 2.9, 3.0], fmt), [0.5, 1.0, 2.0, np.nan])


def test_float64_is_rounded_once():
    # Just above a tie: by way of float32 it would become the tie, and go to even.
    x = 1 + 2.0**-4 + 2.0**-40
    assert round_to_format(x, FP8_E4M3) == 1.125
    assert round_to_format(np.float32(x), FP8_E4M3) == 1.0


# --- The two backends -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODE_CASES)
@pytest.mark.parametrize("fmt", [*FORMAT_CASES, pytest.param(TF32, id="TF32")])
def test_backends_agree_bit_for_bit(fmt, mode, dtype):
    x = np.concatenate([random_floats(2, 30_000, dtype), around_the_range(fmt, 3, 30_000, dtype)])
    assert_same_bits(
        round_to_format(x, fmt, round_mode=mode, backend="numba"),
        round_to_format(x, fmt, round_mode=mode, backend="numpy"),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODE_CASES)
@pytest.mark.parametrize("fmt", FORMAT_CASES)
def test_the_loop_run_as_plain_python_agrees(fmt, mode, dtype):
    x = adversarial(fmt, dtype)[::7]
    loop_name = float_rounding.choose_loop_name(fmt, np.dtype(dtype))
    loop = {
        "bits": _kernels.make_bits_loop(),
        "float32": _kernels.make_rounding_loop(np.float32, np.uint32),
        "float64": _kernels.make_rounding_loop(np.float64, np.uint64),
    }[loop_name]
    out = np.empty_like(x)
    plan = float_rounding.make_plan(fmt, mode, loop_name)
    with np.errstate(over="ignore"):
        loop(x, out, _kernels.MODE_NUMBERS[mode.value], plan)
    assert_same_bits(out, round_to_format(x, fmt, round_mode=mode, backend="numpy"))


def test_large_arrays_take_numba_by_themselves(monkeypatch):
    monkeypatch.setattr(float_rounding, "NUMBA_MIN_SIZE", 10)
    calls = []
    fake = lambda source, target, mode, plan: calls.append(source.size)  # noqa: E731
    monkeypatch.setattr(float_rounding, "compile_rounding_loop", lambda name: fake)
    round_to_format(np.ones(9), FP8_E4M3)
    round_to_format(np.ones(10), FP8_E4M3)
    round_to_format(np.ones(11), FP8_E4M3, backend="numpy")
    assert calls == [10]


def test_without_numba_large_arrays_take_numpy(monkeypatch):
    monkeypatch.setattr(float_rounding, "NUMBA_MIN_SIZE", 1)
    monkeypatch.setattr(float_rounding, "compile_rounding_loop", lambda name: None)
    assert round_to_format(2.6, FP4_E2M1) == 3.0


def test_asking_for_numba_where_there_is_none_says_so(monkeypatch):
    monkeypatch.setattr(float_rounding, "compile_rounding_loop", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="numba is not installed"):
        round_to_format(2.6, FP4_E2M1, backend="numba")


def test_no_numba_means_no_compiled_loop(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert _kernels.compile_rounding_loop.__wrapped__("float32") is None


def test_a_read_only_installation_compiles_without_a_cache():
    class ReadOnly:
        """Stands for numba where no folder for its cache can be written."""

        def njit(self, *, cache=False, **options):
            """Fail as numba does if a cache is asked for."""
            assert options == {"nogil": True, "error_model": "numpy"}
            return self._refuse if cache else lambda loop: ("compiled", loop)

        def _refuse(self, loop):
            raise RuntimeError("cannot cache function: no locator available")

    assert _kernels.compile_with(ReadOnly(), len) == ("compiled", len)


def test_rounding_a_small_array_does_not_import_numba():
    code = (
        "import sys, numpy\n"
        "from qtheory.quantizers import float_rounding, formats\n"
        "float_rounding.round_to_format(numpy.ones(1000), formats.FP8_E4M3)\n"
        "print('numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- Property ---------------------------------------------------------------------------------

single = st.floats(width=32)
any_format = st.sampled_from(FORMATS)
any_mode = st.sampled_from(DETERMINISTIC)


@pytest.mark.property
@given(x=st.lists(st.floats(), min_size=1), fmt=any_format, mode=any_mode)
def test_rounding_twice_is_rounding_once(x, fmt, mode):
    once = round_to_format(x, fmt, round_mode=mode)
    assert_same_bits(round_to_format(once, fmt, round_mode=mode), once)


@pytest.mark.property
@given(x=st.lists(st.floats(allow_nan=False), min_size=2), fmt=any_format, mode=any_mode)
def test_rounding_is_monotone(x, fmt, mode):
    rounded = round_to_format(np.sort(x), fmt.saturating(), round_mode=mode)
    assert (np.diff(rounded) >= 0).all()


@pytest.mark.property
@given(x=st.lists(st.floats(), min_size=1), fmt=any_format)
def test_rounding_commutes_with_negation(x, fmt):
    negative = round_to_format(-np.array(x), fmt)
    assert_array_equal(negative, -round_to_format(x, fmt))


@pytest.mark.property
@given(x=st.lists(st.floats(allow_nan=False), min_size=1), fmt=any_format)
def test_floor_and_ceil_enclose_the_number(x, fmt):
    fmt = fmt.saturating()
    inside = np.clip(x, -fmt.max_value, fmt.max_value)
    assert (round_to_format(inside, fmt, round_mode=RoundMode.FLOOR) <= inside).all()
    assert (round_to_format(inside, fmt, round_mode=RoundMode.CEIL) >= inside).all()


@pytest.mark.property
@given(x=st.floats(1.0, 2.0), exponent=st.integers(-14, 15))
def test_relative_error_of_normal_numbers_is_at_most_the_unit_roundoff(x, exponent):
    number = math.ldexp(x, exponent)
    rounded = float(round_to_format(number, FLOAT16.saturating()))
    limit = min(number, FLOAT16.max_value)
    assert abs(Fraction(rounded) - Fraction(limit)) <= Fraction(limit) * Fraction(2) ** -11


@pytest.mark.property
@given(x=st.lists(st.floats(allow_nan=False), min_size=1), fmt=any_format, mode=any_mode)
def test_codes_stand_for_the_rounded_values(x, fmt, mode):
    codes = encode(x, fmt.saturating(), round_mode=mode)
    expected = round_to_format(x, fmt.saturating(), round_mode=mode)
    assert_same_bits(decode(codes, fmt), expected)


@pytest.mark.property
@given(x=st.lists(st.floats(), min_size=1), seed=st.integers(0, 9), fmt=any_format)
def test_stochastic_rounding_takes_one_of_two_neighbors(x, seed, fmt):
    rng = np.random.default_rng(seed)
    rounded = round_to_format(x, fmt, round_mode=RoundMode.STOCHASTIC, rng=rng)
    low = round_to_format(x, fmt, round_mode=RoundMode.FLOOR)
    high = round_to_format(x, fmt, round_mode=RoundMode.CEIL)
    assert ((rounded == low) | (rounded == high) | (np.isnan(rounded))).all()
    assert_array_equal(np.isnan(rounded) & ~np.isnan(low) & ~np.isnan(high), False)


# --- Reference: other libraries ---------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("fmt", "dtype"), PEERS)
def test_every_code_stands_for_what_ml_dtypes_says(fmt, dtype):
    codes = np.arange(2**fmt.bit_width, dtype=encode(0.0, fmt).dtype)
    with np.errstate(invalid="ignore"):  # signaling NaN
        expected = codes.view(dtype).astype(np.float64)
    assert_same_bits(decode(codes, fmt), expected)
    is_number = ~np.isnan(expected)
    assert_array_equal(encode(expected[is_number], fmt), codes[is_number])


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("fmt", "dtype"), PEERS)
def test_float32_is_rounded_as_by_ml_dtypes(fmt, dtype, backend):
    x = np.concatenate(
        [
            adversarial(fmt, np.float32),
            random_floats(7, 300_000, np.float32),
            around_the_range(fmt, 8, 300_000, np.float32),
        ]
    )
    x = x[~np.isnan(x)]  # NaN has no code in some of these types; tested above by hand
    with np.errstate(over="ignore", invalid="ignore"):
        peer = x.astype(dtype)
    assert_same_bits(round_to_format(x, fmt, backend=backend), peer.astype(np.float32))
    assert_array_equal(encode(x, fmt), peer.view(encode(0.0, fmt).dtype))


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("fmt", "dtype"), PEERS)
def test_float64_is_rounded_as_by_ml_dtypes_where_that_rounds_once(fmt, dtype):
    # ml_dtypes converts float64 by way of float32. Numbers exact in float32 cannot tell.
    x = np.concatenate([adversarial(fmt, np.float32), random_floats(9, 100_000, np.float32)])
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(dtype).astype(np.float64)
    assert_same_bits(round_to_format(x.astype(np.float64), fmt), expected)


@pytest.mark.theory_vs_sim
def test_float64_to_float16_is_rounded_as_by_numpy_which_rounds_once():
    x = np.concatenate(
        [
            adversarial(FLOAT16, np.float64),
            random_floats(10, 100_000, np.float64),
            around_the_range(FLOAT16, 11, 300_000, np.float64),
        ]
    )
    with np.errstate(over="ignore", under="ignore"):
        expected = x.astype(np.float16).astype(np.float64)
    assert_same_bits(round_to_format(x, FLOAT16), expected)


@pytest.mark.theory_vs_sim
def test_ml_dtypes_rounds_float64_twice():
    # If this fails, the peer has changed, and the test above can be made stricter.
    x = np.array([1 + 2.0**-4 + 2.0**-40])
    assert x.astype(ml_dtypes.float8_e4m3fn).astype(np.float64) == 1.0


@pytest.mark.theory_vs_sim
def test_scales_are_those_of_ml_dtypes():
    codes = np.arange(256, dtype=np.uint8)
    expected = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    assert_array_equal(decode(codes, E8M0), expected)
    x = np.abs(random_floats(12, 100_000, np.float32))
    x = x[~np.isnan(x)]
    # Between the two smallest values, subnormal in float32, the peer always goes up.
    x = np.concatenate([x[~((x > 2.0**-127) & (x < 2.0**-126))], [0.0, -1.0, np.inf, np.nan]])
    x = x.astype(np.float32)
    assert_array_equal(encode(x, E8M0), x.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8))


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        (FP8_E4M3, "float8_e4m3fn"),
        (FP8_E4M3FNUZ, "float8_e4m3fnuz"),
        (FP8_E5M2, "float8_e5m2"),
        (FP8_E5M2FNUZ, "float8_e5m2fnuz"),
        (BFLOAT16, "bfloat16"),
        (FLOAT16, "float16"),
    ],
)
def test_float32_is_rounded_as_by_torch(fmt, name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([adversarial(fmt, np.float32), random_floats(13, 100_000, np.float32)])
    # torch saturates in some of these types and not in others: compare what is in range.
    x = x[np.abs(x) <= fmt.max_value]
    expected = torch.from_numpy(x).to(getattr(torch, name)).to(torch.float32).numpy()
    assert_same_bits(round_to_format(x, fmt), expected)


# --- Reference: the twin in exact fractions ---------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODE_CASES)
@pytest.mark.parametrize("fmt", FORMAT_CASES)
def test_all_modes_agree_with_the_exact_twin(fmt, mode, dtype):
    x = np.concatenate(
        [
            adversarial(fmt, dtype)[::5],
            random_floats(14, 100, dtype),
            around_the_range(fmt, 15, 200, dtype),
        ]
    )
    expected = np.array([reference.round_float(float(v), fmt, mode) for v in x], dtype=dtype)
    assert_same_bits(round_to_format(x, fmt, round_mode=mode), expected)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("fmt", FORMAT_CASES)
def test_codes_agree_with_the_exact_twin(fmt):
    codes = np.arange(2**fmt.bit_width)[:: max(1, 2**fmt.bit_width // 4096)]
    expected = np.array([reference.decode_float(int(code), fmt) for code in codes])
    assert_same_bits(decode(codes, fmt), expected)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_random_bits", [None, 8])
@pytest.mark.parametrize(
    ("fmt", "x"),
    [
        pytest.param(FP8_E4M3, 0.3, id="normal"),
        pytest.param(FP8_E4M3, 1.25 * 2.0**-9, id="subnormal"),
        pytest.param(FP4_E2M1, -0.125, id="below-the-smallest"),
        pytest.param(float_format(3, 0), 2.5, id="no-mantissa"),
    ],
)
def test_stochastic_rounding_is_unbiased(fmt, x, num_random_bits):
    rounded = round_to_format(
        np.full(100_000, x),
        fmt,
        round_mode=RoundMode.STOCHASTIC,
        rng=np.random.default_rng(16),
        num_random_bits=num_random_bits,
    )
    estimate = Estimate(rounded.mean(), rounded.std() / math.sqrt(rounded.size), rounded.size)
    assert_mc_close(x, estimate)
    with pytest.raises(AssertionError):
        assert_mc_close(1.1 * x, estimate)  # a bias of a tenth would be seen


@pytest.mark.theory_vs_sim
def test_stochastic_rounding_goes_outward_as_often_as_the_twin_says():
    x = 5.3
    probability = float(reference.probability_outward(x, FP4_E2M1))
    rounded = round_to_format(
        np.full(100_000, x, dtype=np.float32),
        FP4_E2M1,
        round_mode=RoundMode.STOCHASTIC,
        rng=np.random.default_rng(17),
    )
    share = float(np.mean(rounded == 6.0))
    error = math.sqrt(probability * (1 - probability) / rounded.size)
    assert_mc_close(probability, Estimate(share, error, rounded.size))


def test_one_random_bit_knows_four_probabilities_at_most():
    # One bit: the fraction is first rounded to a half, so a tenth never goes up.
    rounded = round_to_format(
        np.full(1000, 1.05),
        FP4_E2M1,
        round_mode=RoundMode.STOCHASTIC,
        rng=np.random.default_rng(18),
        num_random_bits=1,
    )
    assert_array_equal(rounded, np.ones(1000))
