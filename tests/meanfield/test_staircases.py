"""Staircase activations and their moments."""

import math

import exact_staircases as exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.meanfield import (
    Staircase,
    UniformStaircase,
    sign,
    uniform_staircase,
    unsigned_staircase,
)
from qtheory.meanfield import _lattice_sums as lattice_sums
from qtheory.meanfield import _pairs as pairs
from qtheory.meanfield import _uniform_sums as uniform_sums
from qtheory.meanfield import staircases as staircases_module
from qtheory.quantizers import (
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
    infinite_grid,
    uniform_midrise,
)

UNEVEN = Staircase([-2.0, -0.3, 0.1, 0.0, 1.5], [-1.1, -0.2, 0.4, 0.9])
STAIRCASES = {
    "sign": sign(),
    "ternary": UniformStaircase(3, 1.224),
    "four": UniformStaircase(4, 0.9957),
    "six": UniformStaircase(6, 0.7334),
    "unsigned": unsigned_staircase(5, step=0.4),
    "shifted": UniformStaircase(6, 0.3, -0.7, threshold_center=0.45, level_center=0.2),
    "uneven": UNEVEN,
}
CORRELATIONS = [-1 + 1e-9, -0.95, -0.5, -0.1, 0.0, 1e-6, 0.3, 0.5, 0.7, 0.9, 0.999, 1 - 1e-9]


@pytest.fixture(params=STAIRCASES.values(), ids=STAIRCASES.keys())
def staircase(request):
    return request.param


def as_general(staircase):
    """Return the same staircase without the knowledge that it is uniform."""
    return Staircase(staircase.levels, staircase.thresholds)


@st.composite
def general_staircases(draw):
    """Staircases of up to eight levels in any order."""
    num_levels = draw(st.integers(2, 8))
    levels = draw(st.lists(st.floats(-3, 3), min_size=num_levels, max_size=num_levels))
    gaps = draw(st.lists(st.floats(0.01, 2), min_size=num_levels - 1, max_size=num_levels - 1))
    return Staircase(levels, draw(st.floats(-4, 1)) + np.cumsum(gaps))


# --- Unit -------------------------------------------------------------------------------------


def test_thresholds_are_midpoints_by_default():
    assert Staircase([-1.0, 0.0, 3.0]).thresholds.tolist() == [-0.5, 1.5]


def test_a_number_on_a_threshold_goes_up():
    assert UNEVEN([-1.1, 0.4, 0.9]).tolist() == [-0.3, 0.0, 1.5]
    assert sign()([0.0, -0.0]).tolist() == [1.0, 1.0]


def test_values_outside_and_nan():
    values = uniform_staircase(4)([-math.inf, math.inf, math.nan])
    assert values[:2].tolist() == [-1.0, 1.0]
    assert np.isnan(values[2])


def test_shapes_are_kept():
    assert UNEVEN(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert isinstance(UNEVEN.second_moment(1.0), float)
    assert isinstance(UNEVEN.cross_moment(0.5, 1.0), float)
    assert UNEVEN.mean(np.ones((2, 3))).shape == (2, 3)
    assert UNEVEN.cross_moment(np.zeros((2, 1)), 1.0).shape == (2, 1)
    assert UNEVEN.cross_moment_slope([], 1.0).shape == (0,)


def test_arrays_are_copied_and_frozen():
    levels = np.array([-1.0, 1.0])
    staircase = Staircase(levels, [0.0])
    levels[0] = 5.0
    assert staircase.levels.tolist() == [-1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        staircase.levels[0] = 2.0


def test_levels_and_thresholds_of_a_uniform_staircase():
    shifted = UniformStaircase(4, 0.5, 2.0, threshold_center=1.0, level_center=-1.0)
    assert shifted.thresholds.tolist() == [0.5, 1.0, 1.5]
    assert shifted.levels.tolist() == [-4.0, -2.0, 0.0, 2.0]
    assert shifted.heights.tolist() == [2.0, 2.0, 2.0]
    assert shifted.scaled(2.0).thresholds.tolist() == [1.0, 2.0, 3.0]
    assert shifted.bound == 4.0


def test_everything_scales():
    shifted = UniformStaircase(4, 0.5, 2.0, threshold_center=1.0, level_center=-1.0).scaled(3.0)
    assert shifted.thresholds.tolist() == [1.5, 3.0, 4.5]
    assert shifted.levels.tolist() == [-12.0, -6.0, 0.0, 6.0]


def test_bound_is_the_largest_magnitude():
    assert Staircase([-3.0, 1.0]).bound == 3.0
    assert UniformStaircase(3, 1.0, -2.0).bound == 2.0
    assert UniformStaircase(3, 1.0, 2.0, level_center=-1.0).bound == 3.0


def test_arrays_of_a_uniform_staircase_are_frozen():
    staircase = uniform_staircase(2**13)
    assert (staircase.levels.size, staircase.thresholds.size) == (8192, 8191)
    with pytest.raises(ValueError, match="read-only"):
        staircase.levels[0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        staircase.thresholds[0] = 2.0


def test_number_of_levels_in_any_integer_type():
    small = UniformStaircase(np.int8(100), 1e-5)
    assert isinstance(small.num_levels, int)
    assert small.second_moment(1.0) == UniformStaircase(100, 1e-5).second_moment(1.0)
    huge = UniformStaircase(np.uint64(2**63), 1e-30)
    assert huge.cross_moment(0.5, 1.0) == UniformStaircase(2**63, 1e-30).cross_moment(0.5, 1.0)


def test_cells_by_arithmetic_are_those_of_the_list(monkeypatch):
    staircase = UniformStaircase(4, 0.5, -2.0, threshold_center=1.0, level_center=0.25)
    x = [-math.inf, -9.0, 0.4, 0.5, 0.7, 1.0, 1.2, 1.5, 9.0, 1e308, math.inf, math.nan]
    listed = staircase(x)
    monkeypatch.setattr(staircases_module, "MAX_LISTED_LEVELS", 3)
    assert_array_equal(staircase(x), listed)
    with pytest.raises(ValueError, match="`num_levels` must be at most 3 to be listed, got 4"):
        UniformStaircase(4, 0.5).thresholds  # noqa: B018
    assert UniformStaircase(3, 0.5).thresholds.tolist() == [-0.25, 0.25]


def test_a_flat_staircase_has_no_slope():
    flat = Staircase([2.0, 2.0], [0.0])
    assert flat.derivative_second_moment(1.0) == 0.0
    assert flat.cross_moment([-1.0, 0.3, 1.0], 1.0).tolist() == [4.0, 4.0, 4.0]
    assert flat.cross_moment_slope([-1.0, 0.3], 1.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("variance", [1e-300, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_extreme_scales_are_limits(scale, variance):
    # Without a warning: next to the thresholds or far beyond all of them.
    for staircase in (
        UniformStaircase(4, scale, 1.0),
        UniformStaircase(2**64, scale * 1e-20, 1.0),
        Staircase([-1.0, 0.0, 2.0], [-scale, 2 * scale]),
    ):
        moment = staircase.second_moment(variance)
        cross = staircase.cross_moment([-1.0, -0.5, 0.0, 0.3, 0.9, 1.0], variance)
        assert np.isfinite(moment)
        assert (np.abs(cross) <= moment * (1 + 1e-12)).all()
        assert not np.isnan(staircase.cross_moment_slope([-1.0, 0.3, 0.9, 1.0], variance)).any()
        assert not math.isnan(staircase.second_moment_slope(variance))


def test_zero_variance_means_the_value_at_zero():
    assert UNEVEN.mean(0.0) == 0.1
    assert UNEVEN.second_moment(0.0) == UNEVEN(0.0) ** 2
    assert unsigned_staircase(4).mean(0.0) == 0.0
    assert uniform_staircase(4).cross_moment(0.3, 0.0) == pytest.approx(1 / 9, rel=1e-14, abs=0)


def test_slopes_at_the_ends():
    assert sign().cross_moment_slope([-1, 1], 1.0).tolist() == [math.inf, math.inf]
    lopsided = UniformStaircase(2, 1.0, threshold_center=0.5)
    assert lopsided.cross_moment_slope([-1, 1], 1.0).tolist() == [0.0, math.inf]
    assert Staircase([1.0, 1.0], [0.0]).cross_moment_slope(1.0, 1.0) == 0.0
    assert UNEVEN.derivative_second_moment(1.0) == math.inf


@pytest.mark.parametrize(
    ("quantizer", "x"),
    [
        (uniform_midrise(num_levels=6, step_size=0.3), [-2, -0.31, 0.2, 0.61]),
        (UniformQuantizer(0.5, offset=0.2, code_min=-3, code_max=4), [-9, -0.3, 0.3, 1.7]),
        (
            UniformQuantizer(0.5, code_min=-3, code_max=4, round_mode=RoundMode.FLOOR),
            [-9, -0.3, 0.3, 1.7],
        ),
        (
            UniformQuantizer(0.5, code_min=-3, code_max=4, round_mode=RoundMode.CEIL),
            [-9, -0.3, 0.3, 1.7],
        ),
        (
            UniformQuantizer(0.5, code_min=-3, code_max=4, round_mode=RoundMode.TOWARD_ZERO),
            [-9, -0.3, 0.3, 1.7],
        ),
        (ScalarQuantizer([-1.0, 0.1, 2.0], [-0.2, 0.3]), [-3, -0.1, 0.31, 9]),
    ],
)
def test_quantizers_become_activations(quantizer, x):
    assert_allclose(Staircase.from_quantizer(quantizer)(x), quantizer(x), rtol=1e-15)
    scaled = Staircase.from_quantizer(quantizer, scale=3.0)
    assert_allclose(scaled(3 * np.array(x)), 3 * quantizer(x), rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Staircase([1.0]), "`levels` must be an array with at least two elements"),
        (lambda: Staircase([[1.0, 2.0]]), "`levels` must be one-dimensional, got 'shape"),
        (lambda: Staircase([1.0, math.nan], [0.0]), "`levels` must be finite"),
        (lambda: Staircase([1.0, 0.0]), "`levels` must be strictly increasing where no"),
        (lambda: Staircase([0.0, 1.0], [0.0, 1.0]), "`thresholds` must be of length 1, got 2"),
        (lambda: Staircase([0.0, 1.0, 2.0], [1.0, 0.0]), "`thresholds` must be strictly incr"),
        (lambda: Staircase([0.0, 1.0, 2.0], [1.0, 1.0]), "`thresholds` must be strictly incr"),
        (lambda: Staircase([0.0, 0.0, 1.0]), "`levels` must be strictly increasing where no"),
        (lambda: Staircase([0.0, 1e160]), "`levels` must be at most 1e\\+150 in magnitude"),
        (lambda: UniformStaircase(3, 1e160), "`level_step` must be small enough for levels of"),
        (lambda: sign().scaled(0.0), "`factor` must be finite and above zero, got 0.0"),
        (
            lambda: Staircase.from_quantizer(ScalarQuantizer([0.0, 1.0]), scale=0.0),
            "`scale` must be finite and above zero, got 0.0",
        ),
        (
            lambda: uniform_staircase(3).near_one_constant(1e-9),
            "`variance` must be one at which the activation does not vanish, got 1e-09",
        ),
        (
            lambda: Staircase([0.0, 1.0], [1.0]).near_one_constant(1e-9),
            "`variance` must be one at which the activation does not vanish, got 1e-09",
        ),
        (lambda: UniformStaircase(1, 1.0), "`num_levels` must be an integer of at least 2, got 1"),
        (lambda: UniformStaircase(4, 0.0), "`threshold_step` must be finite and above zero"),
        (lambda: UniformStaircase(4, 1.0, 0.0), "`level_step` must be different from zero"),
        (lambda: UniformStaircase(2**65, 1.0), "`num_levels` must be an integer of at most"),
        (lambda: UniformStaircase(2**30, 1.0).levels, "`num_levels` must be at most .* listed"),
        (lambda: uniform_staircase(1), "`num_levels` must be an integer of at least 2"),
        (lambda: uniform_staircase(4, clip=-1.0), "`clip` must be finite and above zero"),
        (lambda: unsigned_staircase(4, step=0.0), "`step` must be finite and above zero"),
        (lambda: sign().second_moment(-1.0), "`variance` must be finite and not below zero"),
        (lambda: sign().mean(math.nan), "`variance` must be finite and not below zero"),
        (lambda: sign().cross_moment(1.1, 1.0), r"`correlation` must be in \[-1, 1\], got 1.1"),
        (lambda: sign().cross_moment(0.5, -1.0), "`variance` must be finite and not below zero"),
        (lambda: sign().cross_moment_slope(0.5, 0.0), "`variance` must be finite and above zero"),
        (lambda: sign().hermite_coefficients(0, 1.0), "`num_terms` must be an integer of at lea"),
        (lambda: UNEVEN.near_one_constant(0.0), "`variance` must be finite and above zero"),
        (lambda: Staircase.from_quantizer(infinite_grid(1.0)), "`quantizer` must be one with f"),
        (
            lambda: Staircase.from_quantizer(
                UniformQuantizer(1.0, code_min=0, code_max=3, round_mode=RoundMode.STOCHASTIC)
            ),
            "`quantizer` must be deterministic",
        ),
        (lambda: Staircase.from_quantizer(lambda x: x), "`quantizer` must be ScalarQuantizer or"),
        (
            lambda: Staircase.from_quantizer(ScalarQuantizer([0.0])),
            "`levels` must be an array with at least two elements",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Property ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(general_staircases(), st.floats(-1, 1), st.floats(0.05, 9))
def test_cross_moments_stay_within_cauchy_schwarz(staircase, correlation, variance):
    limit = staircase.second_moment(variance)
    assert abs(staircase.cross_moment(correlation, variance)) <= limit + 1e-14 * staircase.bound**2


@settings(deadline=None)
@given(general_staircases(), st.floats(0.05, 9))
def test_ends_and_middle_of_the_cross_moment(staircase, variance):
    atol = 1e-14 * staircase.bound**2 + 1e-300
    ends = staircase.cross_moment([0.0, 1.0], variance)
    assert_allclose(ends[0], staircase.mean(variance) ** 2, rtol=0, atol=atol)
    assert_allclose(ends[1], staircase.second_moment(variance), rtol=0, atol=atol)


@settings(deadline=None)
@given(general_staircases(), st.floats(0.1, 5), st.floats(0.1, 5))
def test_only_the_ratio_of_scales_matters(staircase, variance, factor):
    stretched = Staircase(factor * staircase.levels, factor * staircase.thresholds)
    assert_allclose(
        stretched.cross_moment(0.4, variance * factor**2),
        factor**2 * staircase.cross_moment(0.4, variance),
        rtol=1e-10,
        # The accuracy that is promised for moments, once for each side.
        atol=2e-14 * (factor * staircase.bound) ** 2,
    )


@settings(deadline=None)
@given(general_staircases(), st.floats(-0.6, 0.6), st.floats(0.1, 5))
def test_hermite_series_gives_the_cross_moment(staircase, correlation, variance):
    coefficients = staircase.hermite_coefficients(80, variance)
    series = np.polynomial.polynomial.polyval(correlation, coefficients**2)
    scale = staircase.bound**2
    # What is left out is at most the second moment times 0.6^80 = 2e-18.
    assert_allclose(
        staircase.cross_moment(correlation, variance), series, rtol=0, atol=2e-14 * scale + 1e-300
    )


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.5, -0.125, -0.01])
@pytest.mark.parametrize("threshold", [3.9, 4.67, 4.9])
def test_thresholds_far_out_on_both_sides(threshold, correlation):
    # One rare level: the cross moment is the probability that both inputs are rare at once.
    rare = Staircase([0.0, 1.0], [threshold])
    expected = float(exact.cross_moment(rare, correlation, 1.0))
    assert 0 < expected < 1e-8
    assert_allclose(rare.cross_moment(correlation, 1.0), expected, rtol=1e-4, atol=1e-18)


@pytest.mark.parametrize("variance", [0.2, 1.0, 6.0])
def test_moments_of_one_input(staircase, variance):
    second = float(exact.moment(staircase, variance, 2))
    assert_allclose(staircase.second_moment(variance), second, rtol=1e-14)
    mean = float(exact.moment(staircase, variance, 1))
    assert_allclose(staircase.mean(variance), mean, rtol=0, atol=1e-15 * math.sqrt(second))


@pytest.mark.parametrize(
    "aside",
    [
        UniformStaircase(4, 0.5, threshold_center=1.7, level_center=0.75),
        UniformStaircase(4, 0.5, threshold_center=-1.7, level_center=-0.75),
        UniformStaircase(3, 0.1, threshold_center=12.0, level_center=0.1),
        Staircase([-1.0, 0.0, 1.0], [-9.0, 9.0]),
    ],
)
def test_thresholds_that_are_rarely_passed(aside):
    second = float(exact.moment(aside, 1.0, 2))
    assert_allclose(aside.second_moment(1.0), second, rtol=1e-13, atol=0)
    mean = float(exact.moment(aside, 1.0, 1))
    assert_allclose(aside.mean(1.0), mean, rtol=1e-13, atol=1e-30)
    # Normal tails take a relative error of the square of the threshold times the rounding error.
    for correlation in (-0.4, 0.3, 0.9):
        slope = float(exact.slope(aside, correlation, 1.0))
        assert_allclose(aside.cross_moment_slope(correlation, 1.0), slope, rtol=1e-12, atol=0)
        general = as_general(aside).cross_moment(correlation, 1.0)
        assert_allclose(
            aside.cross_moment(correlation, 1.0), general, rtol=1e-13, atol=1e-15 * aside.bound
        )


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_cross_moment(staircase, correlation):
    expected = float(exact.cross_moment(staircase, correlation, 1.3))
    scale = staircase.second_moment(1.3)
    assert_allclose(staircase.cross_moment(correlation, 1.3), expected, rtol=0, atol=1e-14 * scale)
    general = as_general(staircase).cross_moment(correlation, 1.3)
    assert_allclose(general, expected, rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_cross_moment_slope(staircase, correlation):
    expected = float(exact.slope(staircase, correlation, 1.3))
    # Exponents grow as 1 / (1 - c^2), and with them their rounding error.
    rtol = max(1e-13, 1e-15 / (1 - abs(correlation)))
    assert_allclose(staircase.cross_moment_slope(correlation, 1.3), expected, rtol=rtol)
    general = as_general(staircase).cross_moment_slope(correlation, 1.3)
    assert_allclose(general, expected, rtol=rtol)


def test_cross_moment_of_sixteen_levels():
    staircase = UniformStaircase(16, 0.3352)
    expected = float(exact.cross_moment(staircase, 0.5, 1.0))
    assert_allclose(staircase.cross_moment(0.5, 1.0), expected, rtol=1e-14)


def test_control_a_millionth_in_a_threshold_is_noticed():
    expected = float(exact.cross_moment(STAIRCASES["four"], 0.5, 1.3))
    wrong = UniformStaircase(4, 0.9957 * (1 + 1e-6), 0.9957)
    assert abs(wrong.cross_moment(0.5, 1.3) - expected) > 1e-8


def test_slope_of_the_second_moment(staircase):
    step = 1e-4
    ahead, behind = (exact.moment(staircase, 1.3 + s, 2) for s in (step, -step))
    # Central difference, whose own error is of order step^2.
    expected = float((ahead - behind) / (2 * step))
    assert_allclose(
        staircase.second_moment_slope(1.3), expected, rtol=0, atol=1e-7 * staircase.bound**2
    )


def test_near_one_constant(staircase):
    second = staircase.second_moment(1.3)
    gap = 1e-13
    lost = 1 - float(exact.cross_moment(staircase, 1 - gap, 1.3)) / second
    assert_allclose(staircase.near_one_constant(1.3) * math.sqrt(gap), lost, rtol=1e-3)


def test_all_forms_of_the_general_sum_agree():
    steps = pairs.Steps(UNEVEN.thresholds, UNEVEN.heights, float(UNEVEN.levels[0]))
    for rho in (0.05, 0.5, 0.95):
        band = pairs.BAND * math.sqrt(1 - rho**2)
        missing = pairs._pair_deficit(steps, steps, rho, band)
        by_pairs = pairs.product_mean(steps, steps) - missing
        by_factor = pairs._common_factor_moment(steps, steps, rho)
        scale = pairs.product_mean(steps, steps)
        assert_allclose(by_pairs, by_factor, rtol=0, atol=1e-14 * scale)
        assert_allclose(
            pairs._pair_slope(steps, steps, rho, band),
            pairs._common_factor_slope(steps, steps, rho),
            rtol=1e-13,
        )


@pytest.mark.parametrize("num_levels", [255, 4096])
@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.4, 0.99, 1 - 1e-7])
def test_general_and_uniform_sums_agree_for_many_levels(num_levels, correlation):
    uniform = UniformStaircase(num_levels, 8 / num_levels)
    general = as_general(uniform)
    assert_allclose(
        uniform.cross_moment(correlation, 1.0),
        general.cross_moment(correlation, 1.0),
        rtol=0,
        atol=1e-13,
    )
    assert_allclose(
        uniform.cross_moment_slope(correlation, 1.0),
        general.cross_moment_slope(correlation, 1.0),
        rtol=1e-12 + 1e-15 / (1 - abs(correlation)),
    )


@pytest.mark.parametrize("center", [0.0, 0.3, 7.0])
@pytest.mark.parametrize("step", [1e-7, 4e-4, 1.1e-3])
def test_integrals_replace_sums_for_very_many_levels(center, step, monkeypatch):
    staircase = UniformStaircase(
        40_001, step, threshold_center=center * 20_000 * step, level_center=center * 20_000 * step
    )
    correlations = [-0.8, 0.0, 0.5, 0.999, 1 - 1e-7]

    def everything():
        return [
            staircase.mean(0.9),
            staircase.second_moment(0.9),
            staircase.second_moment_slope(0.9),
            staircase.near_one_constant(0.9),
            *staircase.cross_moment_slope(correlations, 0.9),
        ]

    by_integrals = everything()
    monkeypatch.setattr(lattice_sums, "MAX_SUMMED", 10**6)
    monkeypatch.setattr(uniform_sums, "MAX_SUMMED", 10**6)
    # The mean of a nearly symmetric staircase is a difference of two halves of its size.
    assert_allclose(by_integrals, everything(), rtol=1e-12, atol=1e-15)


def test_four_billion_levels_are_the_identity():
    staircase = UniformStaircase(2**32, 4e-9)
    correlations = np.array([-0.9, -0.2, 0.0, 0.4, 0.95])
    # What is left is distortion: D^2 / 12 = 1.3e-18 and less in the tails.
    assert_allclose(staircase.second_moment([0.5, 1.0]), [0.5, 1.0], rtol=1e-13)
    assert_allclose(staircase.cross_moment(correlations, 1.0), correlations, rtol=0, atol=1e-13)
    assert_allclose(staircase.cross_moment_slope(correlations, 1.0), 1.0, rtol=1e-12)
    assert_allclose(staircase(0.7), 0.7, rtol=0, atol=2.1e-9)


def test_huge_staircases_round_like_listed_ones():
    small, x = uniform_staircase(2**20), np.linspace(-0.9, 0.9, 997)
    large = UniformStaircase(2**40, small.threshold_step)
    # A number within rounding error of a threshold may fall on either side of it.
    near = np.abs((x / small.threshold_step) % 1) < 1e-6
    assert near.sum() <= 1
    assert_allclose(large(x[~near]), small(x[~near]), rtol=0, atol=1e-12)


# --- Golden -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_levels", "spacing", "moments", "slopes"),
    [
        (2, 1.0, (0.3333333333, 0.7128674137), (0.7351051939, 1.4605059227)),
        (4, 0.995686685944, (0.4444120359, 0.8184149569), (0.9043205536, 1.0194045345)),
    ],
)
def test_correlation_map_values(num_levels, spacing, moments, slopes):
    staircase = UniformStaircase(num_levels, spacing)
    power = staircase.second_moment(1.0)
    assert_allclose(staircase.cross_moment([0.5, 0.9], 1.0) / power, moments, rtol=0, atol=1e-10)
    assert_allclose(
        staircase.cross_moment_slope([0.5, 0.9], 1.0) / power, slopes, rtol=0, atol=1e-10
    )


def test_hermite_powers():
    staircase = UniformStaircase(4, 0.995686685944)
    powers = staircase.hermite_coefficients(6, 1.0) ** 2 / staircase.second_moment(1.0)
    assert_allclose(powers[1::2], [0.88115395, 0.0304736192, 0.0005470048], rtol=1e-7)
    assert_allclose(powers[0::2], 0.0, rtol=0, atol=1e-30)
