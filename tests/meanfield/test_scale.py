"""The best scale of any staircase, number formats as activations, and unsigned levels."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from qtheory.errors import ConvergenceError
from qtheory.meanfield.fixed_points import correlation_fixed_points
from qtheory.meanfield.scale import (
    optimal_scale,
    optimal_unsigned,
    staircase_from_affine,
    staircase_from_format,
)
from qtheory.meanfield.staircases import (
    Staircase,
    UniformStaircase,
    sign,
    uniform_staircase,
    unsigned_staircase,
)
from qtheory.numerics import Estimate
from qtheory.quantizers import (
    BFLOAT16,
    FLOAT16,
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    MXFP4,
    MXINT8,
    AffineQuantizer,
    FixedPointFormat,
    Gaussian,
    RoundMode,
    design_lloyd_max,
    design_uniform,
    distortion,
    round_to_fixed,
    round_to_format,
    ternary,
    uniform_midrise,
)

INT4 = FixedPointFormat(integer_bits=3, fraction_bits=0, narrow_range=True)
INT8 = FixedPointFormat(integer_bits=7, fraction_bits=0, narrow_range=True)
UNEVEN = Staircase([-2.0, -0.5, 0.7, 1.0, 3.0], [-1.5, -0.1, 0.8, 2.2])


def exact_slope(levels, thresholds, std):
    """Squared first Hermite coefficient over second moment, in mpmath."""
    mp = mpmath.mp
    t = [mp.mpf(float(g)) / std for g in thresholds]
    y = [mp.mpf(float(level)) for level in levels]
    edges = [-mp.inf, *t, mp.inf]
    first = mp.fsum((b - a) * mp.npdf(x) for a, b, x in zip(y[:-1], y[1:], t, strict=True))
    second = mp.fsum(
        level**2 * (mp.ncdf(b) - mp.ncdf(a))
        for level, a, b in zip(y, edges[:-1], edges[1:], strict=True)
    )
    return first**2 / second


def exact_best(staircase, start):
    """Stationary scale near a start and one minus the slope there, in 40 digits."""
    levels, thresholds = staircase.levels, staircase.thresholds
    with mpmath.workdps(40):
        std = mpmath.findroot(
            lambda s: mpmath.diff(lambda v: exact_slope(levels, thresholds, v), s), start, tol=1e-25
        )
        return float(std), float(1 - exact_slope(levels, thresholds, std))


def slopes_of_a_fine_search(staircase, stds):
    """Slopes at many scales, from cell probabilities alone."""
    t = staircase.thresholds / np.asarray(stds)[:, None]
    edges = np.pad(t, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))
    second = np.diff(stats.norm.cdf(edges), axis=1) @ staircase.levels**2
    return (stats.norm.pdf(t) @ np.diff(staircase.levels)) ** 2 / second


# --- Unit -------------------------------------------------------------------------------------


def test_sign_has_no_scale():
    best = optimal_scale(sign())
    assert best.std == 1.0
    assert best.chi == pytest.approx(2 / math.pi, rel=1e-15, abs=0)
    assert best.one_minus_chi == pytest.approx(1 - 2 / math.pi, rel=1e-14, abs=0)
    assert best.depth_scale == pytest.approx(1 / math.log(math.pi / 2), rel=1e-14, abs=0)


def test_formats_list_their_values():
    assert_array_equal(staircase_from_format(FP4_E2M1).levels, FP4_E2M1.values())
    assert_array_equal(staircase_from_format(INT4, scale=0.5).levels, 0.5 * np.arange(-7, 8))
    assert_array_equal(staircase_from_format(MXFP4, scale=2.0).levels, 2 * FP4_E2M1.values())
    unsigned = FixedPointFormat(integer_bits=2, fraction_bits=1, signed=False)
    assert_array_equal(staircase_from_format(unsigned).levels, unsigned.values())
    assert staircase_from_format(MXINT8).num_levels == 255


def test_wide_fixed_point_formats_are_not_listed():
    wide = FixedPointFormat(integer_bits=10, fraction_bits=40, narrow_range=True)
    staircase = staircase_from_format(wide)
    assert isinstance(staircase, UniformStaircase)
    assert staircase.num_levels == 2**51 - 1
    assert staircase.second_moment(1.0) == pytest.approx(1.0, rel=1e-12, abs=0)


def test_rounding_to_a_format_is_its_staircase_off_the_thresholds():
    x = np.random.default_rng(61).normal(scale=4.0, size=1000)
    rounded = round_to_format(x / 0.3, FP4_E2M1.saturating()) * 0.3
    assert_allclose(staircase_from_format(FP4_E2M1, scale=0.3)(x), rounded, rtol=1e-15)
    fixed = FixedPointFormat(integer_bits=1, fraction_bits=2)
    assert_array_equal(staircase_from_format(fixed)(x), round_to_fixed(x, fixed))


@pytest.mark.parametrize("mode", [m for m in RoundMode if m is not RoundMode.STOCHASTIC])
def test_affine_quantizer_is_its_staircase(mode):
    quantizer = AffineQuantizer(0.3, 2, code_min=-1, code_max=6, round_mode=mode)
    x = np.random.default_rng(62).normal(size=1000)
    assert_allclose(staircase_from_affine(quantizer)(x), quantizer(x), rtol=0, atol=1e-15)


def test_ties_go_up():
    # Rounding to the format sends 0.25 to the even neighbor 0.
    assert round_to_format(0.25, FP4_E2M1) == 0.0
    assert staircase_from_format(FP4_E2M1)(0.25) == 0.5


def test_messages():
    with pytest.raises(ValueError, match="`fmt` must be FloatFormat or FixedPointFormat"):
        staircase_from_format("FP4_E2M1")
    with pytest.raises(ValueError, match="`scale` must be finite and above zero"):
        staircase_from_format(FP4_E2M1, scale=0.0)
    with pytest.raises(ValueError, match="`quantizer` must be AffineQuantizer"):
        staircase_from_affine(uniform_midrise(4, step_size=1.0))
    with pytest.raises(ValueError, match="`quantizer` must be one with a single scale"):
        staircase_from_affine(AffineQuantizer([1.0, 2.0], code_min=0, code_max=3, axis=0))
    stochastic = AffineQuantizer(1.0, code_min=0, code_max=3, round_mode=RoundMode.STOCHASTIC)
    with pytest.raises(ValueError, match="`quantizer` must be of deterministic rounding"):
        staircase_from_affine(stochastic)
    with pytest.raises(ValueError, match="`staircase` must be Staircase or UniformStaircase"):
        optimal_scale(uniform_midrise(4, step_size=1.0))
    with pytest.raises(ValueError, match="`staircase` must be of at most 1048576 levels"):
        optimal_scale(uniform_staircase(2**20 + 1))
    with pytest.raises(ValueError, match="`staircase` must be a function that is not constant"):
        optimal_scale(Staircase([1.0, 1.0], [0.0]))
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at least 3"):
        optimal_unsigned(2)
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at most 65536"):
        optimal_unsigned(2**16 + 1)


def test_no_best_scale_is_said_so():
    # One threshold off zero: the larger the scale, the more it looks like a sign.
    with pytest.raises(ConvergenceError, match="No best scale found"):
        optimal_scale(Staircase([-1.0, 1.0], [0.5]))


# --- Property ---------------------------------------------------------------------------------

odd_levels = st.lists(st.floats(0.05, 3.0), min_size=2, max_size=6).map(np.cumsum)


@pytest.mark.property
@given(half=odd_levels, factor=st.floats(1e-3, 1e3))
def test_scaling_a_staircase_scales_its_best_scale(half, factor):
    levels = np.concatenate([-half[::-1], half])
    one, other = optimal_scale(Staircase(levels)), optimal_scale(Staircase(factor * levels))
    # Two maxima may be equally good, so the slope is compared, and the scale by its slope.
    assert other.one_minus_chi == pytest.approx(one.one_minus_chi, rel=1e-8, abs=0)


@pytest.mark.property
@given(half=odd_levels)
def test_weight_variance_of_midpoint_thresholds_is_the_inverse_slope(half):
    best = optimal_scale(Staircase(np.concatenate([-half[::-1], half])))
    assert best.weight_variance == pytest.approx(1 / best.chi, rel=1e-9, abs=0)


@pytest.mark.property
@settings(max_examples=40)
@given(half=odd_levels)
def test_no_scale_of_a_fine_search_is_better(half):
    staircase = Staircase(np.concatenate([-half[::-1], half]))
    slopes = slopes_of_a_fine_search(staircase, np.geomspace(0.02 * half[0], 20 * half[-1], 3000))
    assert optimal_scale(staircase).chi >= slopes.max() - 1e-12


# --- Theory against a reference ---------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    "staircase",
    [
        pytest.param(uniform_staircase(3), id="ternary"),
        pytest.param(uniform_staircase(16), id="16 levels"),
        pytest.param(staircase_from_format(FP4_E2M1), id="FP4"),
        pytest.param(staircase_from_format(FP6_E3M2), id="FP6 E3M2"),
        pytest.param(UNEVEN, id="thresholds off the midpoints"),
    ],
)
def test_best_scale_is_that_of_40_digits(staircase):
    best = optimal_scale(staircase)
    std, deficit = exact_best(staircase, best.std)
    assert best.std == pytest.approx(std, rel=1e-9, abs=0)
    assert best.one_minus_chi == pytest.approx(deficit, rel=1e-12, abs=0)
    assert best.chi == pytest.approx(1 - deficit, rel=1e-14, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    "fmt", [FP4_E2M1, FP6_E2M3, FP6_E3M2, FP8_E4M3, FP8_E5M2], ids=lambda fmt: fmt.name
)
def test_formats_have_no_better_scale_in_an_exhaustive_search(fmt):
    staircase = staircase_from_format(fmt)
    best = optimal_scale(staircase)
    exponents = np.arange(math.log2(fmt.min_subnormal) - 3, math.log2(fmt.max_value) + 3, 1 / 64)
    slopes = slopes_of_a_fine_search(staircase, 2.0**exponents)
    assert slopes.max() <= best.chi + 1e-13
    # A step of 1/64 octave misses the maximum by less than a percent of one minus the slope.
    assert 1 - slopes.max() == pytest.approx(best.one_minus_chi, rel=1e-2, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [3, 4, 16, 255])
def test_uniform_levels_lose_what_the_best_uniform_quantizer_loses(num_levels):
    quantizer = design_uniform(num_levels, Gaussian())
    best = optimal_scale(uniform_staircase(num_levels))
    assert best.one_minus_chi == pytest.approx(distortion(quantizer, Gaussian()), abs=0, rel=1e-11)
    assert 2 / (num_levels - 1) / best.std == pytest.approx(quantizer.step_size, rel=1e-9, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [4, 16, 64])
def test_lloyd_max_levels_are_at_their_best_scale(num_levels):
    design = design_lloyd_max(num_levels, Gaussian())
    best = optimal_scale(Staircase.from_quantizer(design.quantizer))
    assert best.one_minus_chi == pytest.approx(design.distortion, rel=1e-11, abs=0)
    assert best.std == pytest.approx(1.0, rel=1e-9, abs=0)


@pytest.mark.theory_vs_sim
def test_depth_scales_of_formats():
    # Computed once with 40 digits from the closed form, as in `exact_best`.
    expected = {"ternary": 4.740776, "INT4": 77.082134, "FP4": 78.332800, "INT8": 11323.498409}
    staircases = {
        "ternary": Staircase.from_quantizer(ternary(1.0)),
        "INT4": staircase_from_format(INT4),
        "FP4": staircase_from_format(FP4_E2M1),
        "INT8": staircase_from_format(INT8),
    }
    found = {name: optimal_scale(staircase).depth_scale for name, staircase in staircases.items()}
    assert found == pytest.approx(expected, rel=1e-7, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_formats_of_sixteen_bits_follow_high_resolution(fmt):
    best = optimal_scale(staircase_from_format(fmt))
    # Mean squared spacing over twelve, the spacing being 2^(e - m) between 2^e and 2^(e + 1).
    exponents = np.arange(fmt.min_exponent, fmt.max_exponent + 1)
    edges = 2.0 ** np.append(exponents, fmt.max_exponent + 1) / best.std
    masses = 2 * np.diff(stats.norm.cdf(edges))
    spacings = 2.0 ** (exponents - fmt.mantissa_bits) / best.std
    assert best.one_minus_chi == pytest.approx(masses @ spacings**2 / 12, rel=1e-3, abs=0)


@pytest.mark.theory_vs_sim
def test_mean_and_second_moment_are_those_of_the_staircase():
    best = optimal_scale(UNEVEN)
    assert best.mean == pytest.approx(UNEVEN.mean(best.variance), rel=1e-13, abs=0)
    assert best.second_moment == pytest.approx(
        UNEVEN.second_moment(best.variance), rel=1e-13, abs=0
    )
    assert best.weight_variance * best.second_moment == pytest.approx(
        best.variance, rel=1e-14, abs=0
    )
    slope = UNEVEN.cross_moment_slope(0.0, best.variance) / best.second_moment
    assert best.chi == pytest.approx(slope, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
def test_slope_is_the_squared_correlation_of_a_simulation():
    staircase = staircase_from_format(FP4_E2M1)
    best = optimal_scale(staircase)
    z = np.random.default_rng(63).standard_normal(400_000)
    errors = (z - staircase(best.std * z) * best.std / best.second_moment * best.chi) ** 2
    deficit = Estimate.from_samples(errors)
    # The best gain is E z f / E f^2 = chi std / E f^2 at thresholds in the middle.
    assert_mc_close(best.one_minus_chi, deficit, rel_resolution=0.05)
    assert abs(deficit.z_score(2 * best.one_minus_chi)) > 5


# --- Unsigned ---------------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("num_levels", "spacing", "correlation", "chi"),
    [(4, 0.471886, 0.800172, 0.762720), (16, 0.117154, 0.952382, 0.926843)],
)
def test_best_unsigned_spacing_is_that_of_a_double_sum(num_levels, spacing, correlation, chi):
    # Found beforehand by a grid over double sums of bivariate probabilities.
    best = optimal_unsigned(num_levels)
    assert best.spacing == pytest.approx(spacing, abs=2e-6)
    assert best.correlation == pytest.approx(correlation, abs=2e-6)
    assert best.chi == pytest.approx(chi, abs=5e-7)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [3, 8])
def test_unsigned_fixed_point_and_slope_by_bivariate_probabilities(num_levels):
    best = optimal_unsigned(num_levels)
    t = best.spacing * (np.arange(num_levels - 1) + 0.5)
    c = best.correlation
    joint = stats.multivariate_normal(cov=[[1, c], [c, 1]])
    grid = -np.array(np.meshgrid(t, t)).reshape(2, -1).T
    second = stats.norm.sf(t) @ (2 * np.arange(1, num_levels) - 1)
    # The library of the reference integrates to about 1e-8.
    assert joint.cdf(grid).sum() / second == pytest.approx(c, abs=1e-6)
    assert joint.pdf(grid).sum() / second == pytest.approx(best.chi, rel=1e-6, abs=0)


@pytest.mark.property
@settings(max_examples=12)
@given(num_levels=st.integers(3, 16), factor=st.floats(0.5, 2.0))
def test_no_other_unsigned_spacing_is_better(num_levels, factor):
    best = optimal_unsigned(num_levels)
    points = correlation_fixed_points(
        unsigned_staircase(num_levels), variance=(factor * best.spacing) ** -2
    )
    assert min(point.slope for point in points) <= best.chi + 1e-11


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [4, 16])
def test_unsigned_levels_are_much_worse_than_signed_ones(num_levels):
    signed = optimal_scale(uniform_staircase(num_levels)).depth_scale
    best = optimal_unsigned(num_levels)
    assert best.depth_scale < 0.5 * signed
    assert best.one_minus_chi == pytest.approx(1 - best.chi, rel=1e-15, abs=0)
    assert best.depth_scale == pytest.approx(-1 / math.log(best.chi), rel=1e-15, abs=0)
    assert best.weight_variance * best.second_moment == pytest.approx(
        best.variance, rel=1e-14, abs=0
    )
