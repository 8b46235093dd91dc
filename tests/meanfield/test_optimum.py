"""The optimal spacing of uniform staircases."""

import math

import exact_staircases as exact
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.meanfield import (
    UniformStaircase,
    correlation_map_slope,
    optimal_spacing,
    optimal_spacings,
    spacing_deficit,
    spacing_slope,
    steady_state,
    uniform_staircase,
    variance_map,
    variance_map_slope,
)
from qtheory.meanfield import optimum as optimum_module
from qtheory.quantizers import Gaussian, design_uniform, distortion

FIELDS = ("spacing", "chi", "one_minus_chi", "depth_scale", "weight_variance", "variance")
REFERENCE = {
    3: (1.22400636192, 0.8098259607521, 0.1901740392, 4.7407763033),
    4: (0.995686685944, 0.8811539496159, 0.1188460504, 7.9037060422),
    8: (0.586019441443, 0.9625603406085, 0.03743965939, 26.206464899),
    16: (0.335200612200, 0.9884571155686, 0.01154288443, 86.132491056),
    64: (0.104063009442, 0.9989599545912, 0.001040045409, 960.99639368),
    256: (0.0307623875823, 0.9999123138142, 8.768618578e-5, 11403.804913),
    1024: (0.00878546458107, 0.9999930029948, 6.997005197e-6, 142917.78744),
}

# --- Unit -------------------------------------------------------------------------------------


def test_two_levels():
    best = optimal_spacing(2)
    assert best.chi == pytest.approx(2 / math.pi, rel=1e-15, abs=0)
    assert best.depth_scale == pytest.approx(1 / math.log(math.pi / 2), rel=1e-15, abs=0)
    assert best.spacing == pytest.approx(2 * math.sqrt(2 / math.pi), rel=1e-15, abs=0)
    assert best.variance_slope == 0.0


def test_tables_are_the_single_answers():
    numbers = [2, 3, 15, 16, 17, 1000, 2**64]
    table = optimal_spacings(numbers)
    for field in FIELDS:
        singles = [getattr(optimal_spacing(n), field) for n in numbers]
        assert_allclose(getattr(table, field), singles, rtol=1e-13)


def test_spacings_may_be_as_small_or_large_as_floats():
    # Thresholds that all coincide are a sign; none but the middle one is reached from afar.
    assert spacing_slope(4, 1e-300) == pytest.approx(2 / math.pi, rel=1e-14, abs=0)
    assert spacing_slope(2**64, 1e-300) == pytest.approx(2 / math.pi, rel=1e-14, abs=0)
    assert spacing_slope(4, 1e300) == pytest.approx(2 / math.pi, rel=1e-14, abs=0)
    assert spacing_slope(5, 1e300) == 0.0
    assert spacing_deficit(2, 1e-300) == pytest.approx(1 - 2 / math.pi, rel=1e-14, abs=0)


@pytest.mark.parametrize(
    ("num_levels", "spacing"), [(100, 2.0), (100, 0.9), (16, 1e-6), (2**40, 1e-15)]
)
def test_deficit_where_the_tails_are_no_small_part(num_levels, spacing):
    expected = 1 - spacing_slope(num_levels, spacing)
    assert spacing_deficit(num_levels, spacing) == pytest.approx(expected, rel=1e-13, abs=0)


def test_deficit_of_endless_thresholds_is_granular_noise():
    granular = 0.3**2 / 12
    expected = granular / (1 + granular)
    assert spacing_deficit(2**64, 0.3) == pytest.approx(expected, rel=1e-14, abs=0)


def test_numbers_of_levels_in_any_integer_type():
    assert spacing_slope(np.int8(100), 1e-100) == spacing_slope(100, 1e-100)
    assert spacing_deficit(np.uint64(2**63), 0.01) == spacing_deficit(2**63, 0.01)


def test_a_number_of_levels_stays_an_integer():
    assert optimal_spacing(2**64).num_levels == 2**64
    assert isinstance(optimal_spacing(np.int64(5)).num_levels, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimal_spacing(1), "`num_levels` must be an integer of at least 2, got 1"),
        (lambda: optimal_spacing(2.5), "`num_levels` must be an integer, got 2.5"),
        (lambda: optimal_spacing(2**65), "`num_levels` must be an integer of at most"),
        (lambda: optimal_spacings([]), "`num_levels` must be a list of at least one number"),
        (lambda: optimal_spacings(4), "`num_levels` must be a list of at least one number"),
        (lambda: optimal_spacings([4, 1]), "`num_levels` must be an integer of at least 2"),
        (lambda: spacing_slope(1, 1.0), "`num_levels` must be an integer of at least 2"),
        (lambda: spacing_slope(4, 0.0), "`spacing` must be finite and above zero, got 0.0"),
        (lambda: spacing_deficit(4, -1.0), "`spacing` must be finite and above zero, got -1.0"),
        (lambda: spacing_deficit(0, 1.0), "`num_levels` must be an integer of at least 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(st.integers(3, 2000), st.floats(0.5, 2))
def test_no_other_spacing_is_better(num_levels, factor):
    best = optimal_spacing(num_levels)
    other = spacing_deficit(num_levels, factor * best.spacing)
    assert other >= best.one_minus_chi * (1 - 1e-12)


@given(st.integers(3, 2000))
def test_nearby_spacings_are_worse(num_levels):
    best = optimal_spacing(num_levels)
    for factor in (0.99, 1.01):
        assert spacing_deficit(num_levels, factor * best.spacing) > best.one_minus_chi


@given(st.integers(2, 10**6))
def test_more_levels_go_deeper(num_levels):
    table = optimal_spacings([num_levels, num_levels + 1])
    assert table.depth_scale[0] < table.depth_scale[1]
    assert table.spacing[0] > table.spacing[1]


@given(st.integers(2, 3000), st.floats(1e-3, 3))
def test_the_deficit_is_what_the_slope_lacks(num_levels, spacing):
    difference = 1 - spacing_slope(num_levels, spacing)
    assert_allclose(spacing_deficit(num_levels, spacing), difference, rtol=0, atol=3e-14)


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 64, 100, 255, 512, 1024])
def test_optimum_against_forty_digits(num_levels):
    best = optimal_spacing(num_levels)
    spacing, deficit = exact.uniform_optimum(num_levels, best.spacing)
    assert abs(best.spacing / spacing - 1) < 1e-13
    assert abs(best.one_minus_chi / deficit - 1) < 1e-13
    assert abs(best.chi / (1 - deficit) - 1) < 1e-15
    with mpmath.workdps(40):
        assert abs(best.depth_scale * -mpmath.log(1 - deficit) - 1) < 1e-13


def test_control_a_wrong_root_is_noticed():
    spacing, deficit = exact.uniform_optimum(16, 0.3352)
    assert abs(0.3352 / spacing - 1) > 1e-7
    assert abs(spacing_deficit(16, 0.3352) / deficit - 1) > 1e-13


def tail_sums(num_levels, spacing):
    """Tails in high precision, by brute force over the lattice beyond the last threshold."""
    half = mpmath.mpf(num_levels) / 2
    reach = [half + k for k in range(int(14 / spacing))]
    ts = [j * spacing for j in reach]
    a = 2 * spacing * mpmath.fsum(mpmath.npdf(t) for t in ts)
    q = 4 * spacing * mpmath.fsum(t * exact.tail(t) for t in ts)
    return a, q


@pytest.mark.parametrize("num_levels", [2048, 4096])
def test_beyond_a_thousand_levels(num_levels):
    best = optimal_spacing(num_levels)
    with mpmath.workdps(30):
        a, q = tail_sums(num_levels, mpmath.mpf(best.spacing))
        # At the optimum D^2 / 12 = T_q - T_a and 1 - chi = T_a.
        assert abs((q - a) * 12 / mpmath.mpf(best.spacing) ** 2 - 1) < 1e-11
        assert abs(best.one_minus_chi / a - 1) < 1e-11


@pytest.mark.parametrize("num_levels", [2**20, 2**32, 2**64])
def test_a_great_many_levels(num_levels):
    best = optimal_spacing(num_levels)
    with mpmath.workdps(40):
        spacing = mpmath.mpf(best.spacing)
        end = num_levels * spacing / 2
        # The tail sums as integrals with their first two corrections; the rest is below 1e-20.
        density, tail = mpmath.npdf(end), exact.tail(end)
        a = 2 * (tail + spacing * density / 2 + spacing**2 * end * density / 12)
        q = 2 * ((1 - end**2) * tail + end * density) + 2 * spacing * end * tail
        q -= spacing**2 * (tail - end * density) / 3
        assert abs((q - a) * 12 / spacing**2 - 1) < 1e-9
        assert abs(best.one_minus_chi / a - 1) < 1e-9


@pytest.mark.parametrize("num_levels", [3, 4, 16, 255])
def test_it_is_the_best_uniform_quantizer_of_a_gaussian(num_levels):
    best = optimal_spacing(num_levels)
    quantizer = design_uniform(num_levels, Gaussian())
    # A minimum is flat: its place is known to the root of the precision of its value.
    assert_allclose(quantizer.step_size, best.spacing, rtol=1e-6)
    assert_allclose(distortion(quantizer, Gaussian()), best.one_minus_chi, rtol=1e-10)


@pytest.mark.parametrize("num_levels", [3, 4, 5, 16, 255, 1024])
def test_the_tied_network_rests_at_the_optimum(num_levels):
    best, staircase = optimal_spacing(num_levels), uniform_staircase(num_levels)
    kept = variance_map(staircase, best.variance, weight_variance=best.weight_variance)
    assert_allclose(kept, best.variance, rtol=1e-12)
    assert_allclose(staircase.second_moment(best.variance), best.second_moment, rtol=1e-12)
    slope = variance_map_slope(staircase, best.variance, weight_variance=best.weight_variance)
    assert_allclose(slope, best.variance_slope, rtol=1e-12)
    chi = correlation_map_slope(staircase, 0.0, variance=best.variance)
    assert_allclose(chi, best.chi, rtol=1e-12)


@pytest.mark.parametrize("num_levels", [3, 4, 16])
def test_the_steady_state_has_the_largest_depth(num_levels):
    best, staircase = optimal_spacing(num_levels), uniform_staircase(num_levels)
    at_best = steady_state(staircase, weight_variance=best.weight_variance)
    assert_allclose(at_best.depth_scale, best.depth_scale, rtol=1e-12)
    for factor in (0.97, 1.03):
        detuned = steady_state(staircase, weight_variance=factor * best.weight_variance)
        assert detuned.depth_scale < at_best.depth_scale


def test_deficit_of_a_coarse_but_endless_staircase():
    # Granular noise alone: D^2 / 12 relative to 1 + D^2 / 12.
    granular = 0.3**2 / 12
    assert_allclose(spacing_deficit(200, 0.3), granular / (1 + granular), rtol=1e-12)


def test_no_convergence_is_said(monkeypatch):
    monkeypatch.setattr(optimum_module, "MAX_NEWTON_STEPS", 1)
    with pytest.raises(optimum_module.ConvergenceError, match="spacing of 5 levels was not found"):
        optimal_spacing(5)
    with pytest.raises(optimum_module.ConvergenceError, match="not found for every number"):
        optimal_spacing(50)


# --- Golden -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_levels", "expected"), REFERENCE.items())
def test_reference_table(num_levels, expected):
    best = optimal_spacing(num_levels)
    values = (best.spacing, best.chi, best.one_minus_chi, best.depth_scale)
    assert_allclose(values, expected, rtol=3e-10)


def test_reference_table_of_the_variance_map():
    slopes = optimal_spacings([3, 4, 16, 64]).variance_slope
    assert_allclose(slopes, [0.374548, 0.544475, 0.915263, 0.987889], rtol=0, atol=5e-7)
    variances = optimal_spacings([3, 4, 16, 64]).variance
    assert_allclose(variances, [0.667471382, 0.448303451, 0.158222363, 0.093064946], rtol=5e-9)


def test_spacing_slope_at_any_spacing():
    values = [spacing_slope(16, 1.61222), spacing_slope(16, 0.212222)]
    assert_allclose(values, [0.822166, 0.966898], rtol=0, atol=1e-6)
    assert spacing_slope(3, 100.0) == 0.0
    assert UniformStaircase(4, 1e-9).second_moment(1.0) > 0
    assert spacing_slope(4, 1e-9) == pytest.approx(2 / math.pi, rel=1e-8, abs=0)
