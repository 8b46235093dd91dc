"""The published search on a grid, and what single precision does to its digits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.meanfield.asymptotics import fit_power_law
from qtheory.meanfield.optimum import optimal_spacings, spacing_deficit
from qtheory.meanfield.scan import SCANNED_LEVELS, scan_spacings

# Printed by the authors' notebook, six decimals: levels, one minus slope, spacing.
PRINTED = np.array(
    [
        [4, 0.118846, 0.995498],
        [8, 0.037440, 0.586293],
        [10, 0.025687, 0.490245],
        [14, 0.014501, 0.374187],
        [16, 0.011543, 0.335168],
        [18, 0.009434, 0.304152],
        [20, 0.007873, 0.279140],
        [26, 0.005008, 0.224112],
        [28, 0.004406, 0.210105],
        [32, 0.003495, 0.188094],
        [40, 0.002371, 0.155078],
        [48, 0.001724, 0.133067],
        [62, 0.001100, 0.107054],
        [128, 0.000304, 0.057029],
        [256, 0.000088, 0.031016],
        [512, 0.000025, 0.017009],
        [1024, 0.000007, 0.009005],
    ]
)


# --- Unit -------------------------------------------------------------------------------------


def test_the_list_of_levels():
    assert len(SCANNED_LEVELS) == 69
    assert (SCANNED_LEVELS[0], SCANNED_LEVELS[60], SCANNED_LEVELS[-1]) == (3, 63, 1025)


def test_results_are_points_of_the_grid():
    scan = scan_spacings((5, 9), num_points=101, dtype=np.float64)
    assert_array_equal(scan.num_levels, [5, 9])
    assert_allclose(scan.spacing / 0.02, np.rint(scan.spacing / 0.02), rtol=1e-12)
    assert scan.one_minus_chi.shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_levels": (2,)}, "`num_levels` must be an integer of at least 3"),
        ({"num_levels": (4096,)}, "`num_levels` must be an integer of at most 2048"),
        ({"num_levels": ()}, "`num_levels` must be a sequence of at least one number"),
        ({"num_levels": (4,), "num_points": 9}, "`num_points` must be an integer of at least 100"),
        ({"num_levels": (4,), "max_spacing": 0.0}, "`max_spacing` must be finite and above zero"),
        ({"num_levels": (4,), "max_spacing": 0.5}, "`max_spacing` must be above the best spacing"),
        ({"num_levels": (4,), "dtype": np.float16}, "`dtype` must be one of"),
        ({"num_levels": (4,), "num_chunks": 0}, "`num_chunks` must be an integer of at least 1"),
    ],
)
def test_messages(options, message):
    with pytest.raises(ValueError, match=message):
        scan_spacings(**options)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
def test_double_sum_in_double_precision_is_the_exact_slope():
    scan = scan_spacings((3, 16, 255), dtype=np.float64)
    pairs = zip((3, 16, 255), scan.spacing, strict=True)
    exact = [spacing_deficit(n, spacing) for n, spacing in pairs]
    # A slope near one is rounded to 1e-16, a sum of 255**2 terms to a hundred times that.
    assert_allclose(scan.one_minus_chi, exact, rtol=0, atol=1e-13)


@pytest.mark.theory_vs_sim
def test_the_best_point_is_next_to_the_optimum():
    scan = scan_spacings((3, 16, 64), dtype=np.float64)
    step = 2.0 / 1999
    best = optimal_spacings((3, 16, 64)).spacing
    # The peak is nearly a parabola, so the nearest point of the grid, give or take one, is best.
    assert (np.abs(scan.spacing - best) < 1.5 * step).all()


# --- Golden -----------------------------------------------------------------------------------


@pytest.mark.golden
def test_notebook_values_come_out():
    scan = scan_spacings(tuple(PRINTED[:, 0].astype(int)))
    # Points of the grid are 0.0010005 apart, and neighbors are equally good to single precision.
    assert_allclose(scan.spacing, PRINTED[:, 2], rtol=0, atol=0.00101)
    assert np.mean(np.abs(scan.spacing - PRINTED[:, 2]) < 1e-6) > 0.8
    assert_allclose(scan.one_minus_chi, PRINTED[:, 1], rtol=0, atol=1.1e-6)


@pytest.mark.golden
def test_figure_2_law_of_the_slope_comes_out():
    scan = scan_spacings()
    fit = fit_power_law(scan.num_levels, scan.one_minus_chi, shift=1.0)
    assert f"{fit.exponent:.2f} {fit.log_factor:.2f} {fit.r_squared:.4f}" == "-1.82 0.71 0.9998"
    # The notebook has four decimals, -1.8172 and 0.7100, with a standard error of 0.0030.
    assert fit.exponent == pytest.approx(-1.8172, abs=5e-4)
    assert fit.log_factor == pytest.approx(0.7100, abs=2e-3)
    assert fit.exponent_std_error == pytest.approx(0.0030, abs=1e-4)


@pytest.mark.golden
def test_figure_2_law_of_the_spacing_comes_out_with_one_tie_broken_the_other_way():
    scan = scan_spacings()
    spacing = np.where(scan.num_levels == 515, 0.017008504, scan.spacing)
    fit = fit_power_law(scan.num_levels, spacing, shift=1.0)
    assert f"{fit.exponent:.2f} {fit.log_factor:.2f} {fit.r_squared:.5f}" == "-0.88 1.40 0.99996"
    assert fit.exponent == pytest.approx(-0.8790, abs=2e-4)
    assert fit.log_factor == pytest.approx(1.4025, abs=5e-4)
    # The two points differ by three units of single precision, 6e-8 near one.
    tie = spacing_deficit(515, 0.017008504) - spacing_deficit(515, 0.016008005)
    assert abs(tie) < 3 * 2.0**-24


@pytest.mark.golden
def test_the_third_decimal_depends_on_the_order_of_the_additions():
    exponents = [
        fit_power_law(scan.num_levels, scan.one_minus_chi, shift=1.0).exponent
        for scan in (scan_spacings(num_chunks=4), scan_spacings(num_chunks=20))
    ]
    assert exponents[0] < exponents[1] - 0.01
