"""Limits for many levels, fitted power laws, and the staircases of the largest slope."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.meanfield.asymptotics import (
    asymptotic_deficit,
    asymptotic_depth,
    asymptotic_spacing,
    effective_exponent,
    fit_power_law,
    infinite_staircase_slope,
    infinite_staircase_slope_approx,
    levels_for_depth,
    local_exponent,
    optimal_staircase,
    support_spacing_approx,
)
from qtheory.meanfield.optimum import optimal_spacing, optimal_spacings, spacing_slope
from qtheory.meanfield.scan import SCANNED_LEVELS

MIDTREAD = [pytest.param(False, id="threshold-at-zero"), pytest.param(True, id="level-at-zero")]


def endless_slope(spacing, midtread):
    """Squared correlation with the endless staircase, summed over thresholds in 40 digits."""
    mp = mpmath.mp
    with mpmath.workdps(40):
        step = mp.mpf(float(spacing))
        offset = mp.mpf(0.5) if midtread else mp.mpf(0)
        points = [(k + offset) * step for k in range(int(14 / spacing) + 2)]
        density = [mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi) for t in points]
        tail = [mp.erfc(t / mp.sqrt(2)) / 2 for t in points]
        center = mp.mpf(0) if midtread else density[0]
        first = 2 * mp.fsum(density) - center
        moment = 4 * mp.fsum(t * p for t, p in zip(points, tail, strict=True)) / step
        second = moment + (mp.mpf(0) if midtread else mp.mpf(1) / 4)
        return float(first**2 / second)


def exact_half_support(num_levels):
    """Half support of Hui and Neuhoff's equation in 40 digits."""
    mp = mpmath.mp
    with mpmath.workdps(40):
        target = 1 / (6 * mp.mpf(num_levels) ** 2)

        def gap(half):
            density = mp.exp(-half * half / 2) / mp.sqrt(2 * mp.pi)
            return mp.log((density - half * mp.erfc(half / mp.sqrt(2)) / 2) / half / target)

        return mp.findroot(gap, 1.7 * math.sqrt(math.log(num_levels)))


# --- Unit -------------------------------------------------------------------------------------


def test_limits_by_hand():
    assert asymptotic_spacing(16) == pytest.approx(math.sqrt(math.log(16)) / 4, rel=1e-15, abs=0)
    assert asymptotic_deficit(2) == pytest.approx(math.log(2) / 3, rel=1e-15, abs=0)
    assert asymptotic_depth(4) == pytest.approx(12 / math.log(4), rel=1e-15, abs=0)
    assert_allclose(asymptotic_depth([2, 2**64]) * asymptotic_deficit([2, 2**64]), 1, rtol=1e-15)


def test_shapes_follow_the_input():
    for function in (asymptotic_spacing, asymptotic_deficit, support_spacing_approx):
        assert function(8).shape == ()
        assert function([[4, 8, 16]]).shape == (1, 3)
    assert infinite_staircase_slope(0.5).shape == ()
    assert infinite_staircase_slope([[0.5], [1.0]]).shape == (2, 1)
    assert infinite_staircase_slope_approx(1.0) == pytest.approx(12 / 13)


def test_large_spacings_leave_a_sign_or_nothing():
    assert infinite_staircase_slope(40.0) == pytest.approx(2 / math.pi, rel=1e-14, abs=0)
    assert infinite_staircase_slope(90.0, midtread=True) == 0.0
    series, thresholds = infinite_staircase_slope([math.pi, math.nextafter(math.pi, 4.0)])
    assert series == pytest.approx(thresholds, rel=1e-13, abs=0)


def test_power_law_by_hand():
    fit = fit_power_law([1.0, 3.0, 7.0], [2.0, 16.0, 128.0], shift=1.0)
    assert fit.exponent == pytest.approx(3.0, rel=1e-14, abs=0)
    assert fit.log_factor == pytest.approx(-2 * math.log(2), rel=1e-13, abs=0)
    assert fit.r_squared == pytest.approx(1.0, rel=1e-14, abs=0)
    assert fit.exponent_std_error < 1e-14
    assert (fit.smallest, fit.largest, fit.num_points, fit.shift) == (1.0, 7.0, 3, 1.0)
    assert_allclose(fit([15.0]), [1024.0], rtol=1e-13)


def test_standard_errors_of_a_line_by_hand():
    # Through (-1, 0), (0, 1), (1, 0): slope 0, mean 1/3, squared residuals 2/3, one degree left.
    fit = fit_power_law(np.exp([-1.0, 0.0, 1.0]), np.exp([0.0, 1.0, 0.0]))
    assert fit.exponent == pytest.approx(0.0, abs=1e-15)
    assert fit.log_factor == pytest.approx(1 / 3)
    assert fit.exponent_std_error == pytest.approx(math.sqrt((2 / 3) / 2))
    assert fit.log_factor_std_error == pytest.approx(math.sqrt((2 / 3) / 3))
    assert fit.r_squared == pytest.approx(0.0, abs=1e-15)


def test_flat_data_are_explained():
    assert fit_power_law([1, 2, 4], [5, 5, 5]).r_squared == 1.0


def test_two_optimal_levels_are_a_sign():
    best = optimal_staircase(2)
    assert best.chi == pytest.approx(2 / math.pi, rel=1e-14, abs=0)
    assert_allclose(best.staircase.levels, [-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)])
    assert best.weight_variance == pytest.approx(math.pi / 2, rel=1e-14, abs=0)


def test_levels_for_depth_by_hand():
    assert levels_for_depth(100) == 7
    assert levels_for_depth(13) == 2
    assert levels_for_depth(14) == 3
    assert levels_for_depth(100, multiple=4.0) == 8
    assert levels_for_depth(1e-3) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: asymptotic_spacing(1), "`num_levels` must be at least 2, got 1"),
        (lambda: asymptotic_deficit([4, math.nan]), "`num_levels` must be at least 2"),
        (lambda: asymptotic_depth("many"), "`num_levels` must be real numbers"),
        (lambda: support_spacing_approx(1.5), "`num_levels` must be at least 2"),
        (lambda: infinite_staircase_slope(0.0), "`spacing` must be finite and above zero"),
        (lambda: infinite_staircase_slope_approx(-1.0), "`spacing` must be finite and above zero"),
        (lambda: fit_power_law([1, 2], [1, 2]), "`x` must be a list of at least three numbers"),
        (lambda: fit_power_law([1, 2, 3], [1, 2]), r"`y` must be of shape \(3,\) like `x`"),
        (lambda: fit_power_law([1, 2, 3], [1, 0, 2]), "`y` must be finite and above zero"),
        (lambda: fit_power_law([1, 2, 0], [1, 2, 3]), "`x` must be finite and above minus"),
        (lambda: fit_power_law([2, 2, 2], [1, 2, 3]), "`x` must be of at least two different"),
        (lambda: fit_power_law([1, 2, 3], [1, 2, 3], shift=math.inf), "`shift` must be finite"),
        (lambda: effective_exponent([4, 4, 8]), "`num_levels` must be a list of at least three"),
        (lambda: effective_exponent([1, 4, 8]), "`num_levels` must be at least 2"),
        (lambda: local_exponent(1), "`num_levels` must be an integer of at least 2"),
        (lambda: local_exponent(2**64), "`num_levels` must be an integer of at most"),
        (lambda: optimal_staircase(1), "`num_levels` must be an integer of at least 2"),
        (lambda: optimal_staircase(2**15), "`num_levels` must be an integer of at most"),
        (lambda: levels_for_depth(0), "`depth` must be finite and above zero"),
        (lambda: levels_for_depth(9, multiple=-6), "`multiple` must be finite and above zero"),
        (lambda: levels_for_depth(1e40), "`depth` must be within reach of"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(factor=st.floats(1e-3, 1e3), exponent=st.floats(-5, 5), shift=st.floats(0, 2))
def test_fit_finds_an_exact_power_law(factor, exponent, shift):
    x = np.array([1.0, 2.0, 5.0, 30.0])
    fit = fit_power_law(x, factor * (x + shift) ** exponent, shift=shift)
    # Logarithms up to 25 are rounded to 4e-15, and the abscissas spread over more than two.
    assert fit.exponent == pytest.approx(exponent, abs=1e-13)
    assert_allclose(fit(x), factor * (x + shift) ** exponent, rtol=1e-12)


@pytest.mark.property
@given(depth=st.floats(1.0, 1e12), multiple=st.floats(0.5, 20.0))
def test_needed_levels_are_the_fewest(depth, multiple):
    count = levels_for_depth(depth, multiple=multiple)
    assert multiple * optimal_spacing(count).depth_scale >= depth * (1 - 1e-15)
    fewer = multiple * optimal_spacing(max(count - 1, 2)).depth_scale
    assert count == 2 or fewer < depth


@pytest.mark.property
@given(num_levels=st.integers(2, 4096))
def test_maximal_depth_grows_with_the_number_of_levels(num_levels):
    more, fewer = optimal_spacing(num_levels + 1), optimal_spacing(num_levels)
    assert more.depth_scale > fewer.depth_scale


@pytest.mark.property
@given(num_levels=st.integers(3, 300), spacing=st.floats(0.02, 3.0))
def test_the_endless_staircase_is_the_limit_of_long_ones(num_levels, spacing):
    # The thresholds that are missing lie beyond the end; their share is below 10 phi(end) / D.
    end = 0.5 * num_levels * spacing
    endless = infinite_staircase_slope(spacing, midtread=num_levels % 2 == 1)
    missing = 10 * (1 + end**2) * math.exp(-0.5 * end**2) / spacing
    assert abs(spacing_slope(num_levels, spacing) - endless) <= missing + 1e-12


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("midtread", MIDTREAD)
@pytest.mark.parametrize("spacing", [0.01, 0.5, 1.0, 1.5, 2.0, 3.1, 3.2, 5.0, 20.0])
def test_endless_staircase_against_forty_digits(spacing, midtread):
    exact = endless_slope(spacing, midtread)
    found = infinite_staircase_slope(spacing, midtread=midtread)
    assert found == pytest.approx(exact, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("spacing", "error"), [(1.0, 1e-9), (1.5, 1e-4), (2.0, 1e-2)])
def test_noise_model_of_the_endless_staircase_is_as_good_as_stated(spacing, error):
    exact = infinite_staircase_slope(spacing)
    assert infinite_staircase_slope_approx(spacing) == pytest.approx(exact, rel=error, abs=0)


@pytest.mark.theory_vs_sim
def test_a_sixth_in_place_of_a_twelfth_is_seen():
    wrong = 1 / (1 + 0.5**2 / 6)
    assert infinite_staircase_slope(0.5) != pytest.approx(wrong, rel=1e-2, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [4, 256, 2**20, 2**64])
def test_support_equation_against_forty_digits(num_levels):
    exact = float(2 * exact_half_support(num_levels) / num_levels)
    assert support_spacing_approx(num_levels) == pytest.approx(exact, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("num_levels", "error"), [(8, 0.083), (256, 0.0035), (2**20, 9.2e-7)])
def test_support_equation_is_below_the_exact_spacing_as_stated(num_levels, error):
    below = 1 - support_spacing_approx(num_levels) / optimal_spacing(num_levels).spacing
    assert 0.97 * error < below < error


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("num_levels", "spacing", "deficit", "depth"),
    [(2**10, 0.854, 0.794, 1.26), (2**20, 0.907, 0.857, 1.17), (2**64, 0.961, 0.935, 1.07)],
)
def test_ratios_to_the_limits_as_stated(num_levels, spacing, deficit, depth):
    best = optimal_spacing(num_levels)
    assert best.spacing / asymptotic_spacing(num_levels) == pytest.approx(spacing, abs=5e-4)
    assert best.one_minus_chi / asymptotic_deficit(num_levels) == pytest.approx(deficit, abs=5e-4)
    assert best.depth_scale / asymptotic_depth(num_levels) == pytest.approx(depth, abs=5e-3)


@pytest.mark.theory_vs_sim
def test_ratios_to_the_limits_approach_one_from_below():
    counts = [2**k for k in range(7, 65)]
    best = optimal_spacings(counts)
    for ratio in (
        best.spacing / asymptotic_spacing(counts),
        best.one_minus_chi / asymptotic_deficit(counts),
    ):
        assert (np.diff(ratio) > 0).all()
        assert (ratio < 1).all()


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("num_levels", "expected"),
    [(2, 1.8356), (8, 1.7166), (32, 1.7505), (256, 1.8151), (1024, 1.8474), (2**19, 1.9185)],
)
def test_local_exponents(num_levels, expected):
    # Reference: 40-digit solutions of the implicit equation.
    assert local_exponent(num_levels) == pytest.approx(expected, abs=5e-5)


@pytest.mark.theory_vs_sim
def test_local_exponent_tends_to_two_like_one_over_the_logarithm():
    counts = [2**k for k in (30, 40, 50, 60)]
    gaps = [2 - local_exponent(n) for n in counts]
    # The next terms of the expansion are smaller by ln ln N / ln N, a tenth here.
    assert_slope(np.log(np.log(counts)), np.log(gaps), -1.0, tol=0.1)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("num_levels", "shift", "expected"),
    [
        pytest.param(range(3, 65), 0, 1.7313, id="64"),
        pytest.param(range(3, 65), 1, 1.8476, id="64-plus-one"),
        pytest.param(range(3, 257), 0, 1.7586, id="256"),
        pytest.param(range(3, 257), 1, 1.8108, id="256-plus-one"),
        pytest.param(range(3, 1025), 0, 1.7928, id="1024"),
        pytest.param(range(3, 1025), 1, 1.8150, id="1024-plus-one"),
        pytest.param(range(16, 257), 0, 1.7702, id="16-to-256"),
        pytest.param(range(64, 1025), 0, 1.8119, id="64-to-1024"),
        pytest.param(range(256, 2049), 0, 1.8354, id="256-to-2048"),
        pytest.param([2**k for k in range(2, 11)], 0, 1.7655, id="powers"),
        pytest.param([2**k for k in range(2, 11)], 1, 1.8253, id="powers-plus-one"),
    ],
)
def test_effective_exponent_depends_on_range_and_shift(num_levels, shift, expected):
    fit = effective_exponent(list(num_levels), shift=shift)
    assert fit.exponent == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.theory_vs_sim
def test_published_list_with_exact_values():
    best = optimal_spacings(SCANNED_LEVELS)
    slope = fit_power_law(SCANNED_LEVELS, best.one_minus_chi, shift=1.0)
    assert slope.exponent == pytest.approx(-1.8158, abs=5e-5)
    assert slope.log_factor == pytest.approx(0.7053, abs=5e-5)
    spacing = fit_power_law(SCANNED_LEVELS, best.spacing, shift=1.0)
    assert spacing.exponent == pytest.approx(-0.8835, abs=5e-5)
    assert spacing.log_factor == pytest.approx(1.4173, abs=5e-5)
    assert effective_exponent(SCANNED_LEVELS).exponent == pytest.approx(1.7609, abs=5e-5)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("num_levels", "deficit", "depth"),
    [(4, 0.11748185, 8.0015), (16, 0.00950101, 104.7512), (64, 0.00064424, 1551.72)],
)
def test_lloyd_max_staircases(num_levels, deficit, depth):
    best = optimal_staircase(num_levels)
    assert best.one_minus_chi == pytest.approx(deficit, abs=5e-9)
    assert best.depth_scale == pytest.approx(depth, rel=1e-5, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [3, 4, 16])
def test_slope_and_fixed_point_of_a_lloyd_max_staircase(num_levels):
    best = optimal_staircase(num_levels)
    second = best.staircase.second_moment(1.0)
    assert best.staircase.cross_moment_slope(0.0, 1.0) / second == pytest.approx(
        best.chi, rel=1e-12, abs=0
    )
    assert best.weight_variance * second == pytest.approx(1.0, rel=1e-12, abs=0)


@pytest.mark.theory_vs_sim
def test_free_levels_reach_the_constant_of_panter_and_dite():
    best = optimal_staircase(1024)
    limit = math.sqrt(3) * math.pi / 2
    # The next term of the expansion is of relative order ln N / N.
    assert best.one_minus_chi * 1024**2 == pytest.approx(limit, rel=0.007, abs=0)
    assert best.one_minus_chi < optimal_spacing(1024).one_minus_chi
