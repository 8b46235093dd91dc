"""Design: best steps, best levels, companding, entropy constraint."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_slope, exact_density
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize
from strategies import sources

from qtheory.errors import ConvergenceError
from qtheory.quantizers import (
    Gaussian,
    Laplace,
    ScalarQuantizer,
    StudentT,
    Uniform,
    centroid_residual,
    design_companded,
    design_entropy_constrained,
    design_lloyd_max,
    design_uniform,
    distortion,
    entropy_bits,
    entropy_coded_distortion_approx,
    optimal_clip,
    panter_dite_distortion,
    shannon_lower_bound,
    uniform_midrise,
)

SOURCES = [
    Gaussian(),
    Laplace(),
    Uniform(),
    StudentT(df=3.0),
    StudentT(df=8.0),
    Gaussian(0.7, 3.0),
    Laplace(-1.3, 0.2),
]
every_source = pytest.mark.parametrize("source", SOURCES, ids=[str(s) for s in SOURCES])


def exact_gaussian_centroid(lower, upper):
    """Centroid of a standard Gaussian on an interval, in mpmath."""
    mp = mpmath.mp
    density = exact_density(Gaussian())
    mass = (mp.erf(upper / mp.sqrt(2)) - mp.erf(lower / mp.sqrt(2))) / 2
    ends = [density(end) if mp.isfinite(end) else mp.mpf(0) for end in (lower, upper)]
    return (ends[0] - ends[1]) / mass


def exact_lloyd_max(levels):
    """Right half of the best even Gaussian quantizer, by 40-digit iteration from a start."""
    half = [mpmath.mpf(float(v)) for v in levels if v > 0]
    size = len(half)

    def residuals(*right):
        """Levels minus centroids."""
        ends = [
            mpmath.mpf(0),
            *((right[i] + right[i + 1]) / 2 for i in range(size - 1)),
            mpmath.inf,
        ]
        return [right[i] - exact_gaussian_centroid(ends[i], ends[i + 1]) for i in range(size)]

    solution = mpmath.findroot(residuals, half, tol=1e-60)
    return [float(v) for v in solution]


# --- Unit -------------------------------------------------------------------------------------


def test_lloyd_max_by_hand():
    assert_array_equal(design_lloyd_max(1, Gaussian(2.0, 3.0)).quantizer.levels, [2.0])
    two = design_lloyd_max(2, Gaussian()).quantizer.levels
    assert_allclose(two, [-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)], rtol=1e-14)
    laplace = design_lloyd_max(2, Laplace())
    assert_allclose(laplace.quantizer.levels, [-math.sqrt(0.5), math.sqrt(0.5)], rtol=1e-14)
    assert laplace.distortion == pytest.approx(0.5, rel=1e-14, abs=0)
    uniform = design_lloyd_max(4, Uniform.on(0.0, 4.0)).quantizer
    assert_allclose(uniform.levels, [0.5, 1.5, 2.5, 3.5], rtol=1e-14)


def test_best_step_of_one_bit():
    step = design_uniform(2, Gaussian()).step_size
    assert step == pytest.approx(2 * math.sqrt(2 / math.pi), rel=1e-13, abs=0)
    assert optimal_clip(1, Gaussian(5.0)) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-13, abs=0)


def test_shapes_of_uniform_designs():
    source = Gaussian(1.0)
    assert design_uniform(5, source).levels[2] == 1.0
    even = design_uniform(4, source)
    assert even.thresholds[1] == pytest.approx(1.0, abs=1e-15)
    midtread = design_uniform(4, source, midtread=True)
    assert midtread.levels[2] == 1.0
    assert distortion(even, source) < distortion(midtread, source)


def test_panter_dite_constants():
    assert panter_dite_distortion(1, Gaussian()) == pytest.approx(math.sqrt(3) * math.pi / 2)
    assert panter_dite_distortion(2, Laplace()) == pytest.approx(4.5 / 4)
    assert panter_dite_distortion(3, Uniform(std=2.0)) == pytest.approx(4 / 9)


def test_companding_a_uniform_source_is_a_uniform_quantizer():
    companded = design_companded(5, Uniform.on(0.0, 5.0))
    assert_allclose(companded.levels, [0.5, 1.5, 2.5, 3.5, 4.5], rtol=1e-14)
    assert_allclose(companded.thresholds, [1.0, 2.0, 3.0, 4.0], rtol=1e-14)


def test_a_high_price_leaves_one_level():
    result = design_entropy_constrained(Gaussian(2.0), lagrange=3.0)
    assert result.quantizer.num_levels == 1
    assert result.quantizer.levels[0] == pytest.approx(2.0, abs=1e-14)
    assert (result.rate_bits, result.distortion) == (0.0, pytest.approx(1.0))


@every_source
@pytest.mark.parametrize("num_levels", [3, 4, 9, 64])
def test_newton_needs_few_iterations(source, num_levels):
    # A start good to a tenth doubles its digits four times; a heavy tail needs some damped steps
    # before. Any slip in the Jacobian makes the convergence linear: 40 iterations and more.
    assert design_lloyd_max(num_levels, source).num_iter <= 15


@pytest.mark.parametrize(("price", "num_levels"), [(0.5, 2), (0.1, 4), (0.3, 2)])
def test_entropy_constrained_uniform_source_is_cut_in_equal_cells(price, num_levels):
    result = design_entropy_constrained(Uniform(), lagrange=price)
    counts = np.arange(1, 9)
    costs = 1 / counts**2 + price * np.log2(counts)
    assert counts[costs.argmin()] == num_levels
    cost = result.distortion + price * result.rate_bits
    assert cost == pytest.approx(costs.min(), rel=1e-9, abs=0)


def test_a_price_of_too_many_levels_is_refused():
    with pytest.raises(ValueError, match="`lagrange` must be large enough for 65536 levels"):
        design_entropy_constrained(Gaussian(), lagrange=1e-12)


def test_few_iterations_are_told():
    assert not design_lloyd_max(64, StudentT(df=3.0), max_iter=1).converged
    assert not design_entropy_constrained(Gaussian(), lagrange=0.1, max_iter=1).converged


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: design_uniform(1, Gaussian()), "`num_levels` must be an integer of at least 2"),
        (lambda: design_uniform(70_000, Gaussian()), "`num_levels` must be an integer of at most"),
        (lambda: design_uniform(3, Gaussian(), midtread=False), "`midtread` must be true for an"),
        (lambda: optimal_clip(0, Gaussian()), "`bit_width` must be an integer of at least 1"),
        (lambda: optimal_clip(17, Gaussian()), "`bit_width` must be an integer of at most 16"),
        (lambda: design_lloyd_max(0, Gaussian()), "`num_levels` must be an integer of at least 1"),
        (lambda: design_lloyd_max(2, Gaussian(), tol=0.0), "`tol` must be finite and above zero"),
        (lambda: design_lloyd_max(2, Gaussian(), max_iter=0), "`max_iter` must be an integer of"),
        (lambda: design_companded(0, Gaussian()), "`num_levels` must be an integer of at least 1"),
        (lambda: panter_dite_distortion(0, Gaussian()), "`num_levels` must be an integer of at"),
        (
            lambda: design_entropy_constrained(Gaussian(), lagrange=0.0),
            "`lagrange` must be finite and above zero",
        ),
        (
            lambda: design_entropy_constrained(Gaussian(), lagrange=0.1, max_iter=0),
            "`max_iter` must be an integer of at least 1",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_convergence_error_carries_its_state():
    error = ConvergenceError("No best step found.", last_iterate=2.0, residual=0.5)
    assert (error.last_iterate, error.residual) == (2.0, 0.5)
    assert str(error) == "No best step found. (residual 0.5)"


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@settings(max_examples=25)
@given(source=sources(), num_levels=st.integers(1, 40))
def test_lloyd_max_meets_both_conditions(source, num_levels):
    result = design_lloyd_max(num_levels, source)
    levels = result.quantizer.levels
    assert result.converged
    assert result.quantizer.num_levels == num_levels
    midpoints = 0.5 * levels[:-1] + 0.5 * levels[1:]
    assert_array_equal(result.quantizer.thresholds, midpoints)
    size = source.std + np.abs(levels - source.mean)
    # The stopping rule, and the rounding of levels far from zero.
    limit = 1e-12 * size + 4e-15 * np.abs(levels)
    assert (np.abs(centroid_residual(result.quantizer, source)) <= limit).all()


@pytest.mark.property
@settings(max_examples=25)
@given(source=sources(), num_levels=st.integers(2, 30), data=st.data())
def test_moving_the_levels_of_the_best_quantizer_loses_more(source, num_levels, data):
    result = design_lloyd_max(num_levels, source)
    moves = data.draw(st.lists(st.floats(-0.3, 0.3), min_size=num_levels, max_size=num_levels))
    gap = np.diff(result.quantizer.levels).min()
    moved = ScalarQuantizer(result.quantizer.levels + gap * np.array(moves))
    assert distortion(moved, source) >= result.distortion * (1 - 1e-12)


@pytest.mark.property
@settings(max_examples=25)
@given(source=sources(), num_levels=st.integers(2, 60), factor=st.floats(0.7, 1.4))
def test_no_other_step_loses_less(source, num_levels, factor):
    best = design_uniform(num_levels, source)
    half = 0.5 * (num_levels - 1)
    levels = source.mean + factor * best.step_size * (np.arange(num_levels) - half)
    assert distortion(ScalarQuantizer(levels), source) >= distortion(best, source) * (1 - 1e-12)


@pytest.mark.property
@settings(max_examples=15)
@given(source=sources(), num_levels=st.integers(1, 30))
def test_more_levels_never_hurt_and_uniform_never_wins(source, num_levels):
    fewer = design_lloyd_max(num_levels, source).distortion
    more = design_lloyd_max(num_levels + 1, source).distortion
    assert more <= fewer * (1 + 1e-12)
    assert more <= distortion(design_uniform(num_levels + 1, source), source) * (1 + 1e-12)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [2, 4, 8, 16])
def test_gaussian_levels_agree_with_40_digits(num_levels):
    levels = design_lloyd_max(num_levels, Gaussian()).quantizer.levels
    with mpmath.workdps(40):
        expected = exact_lloyd_max(levels)
    assert_allclose(levels[num_levels // 2 :], expected, rtol=0, atol=1e-14)


@pytest.mark.theory_vs_sim
def test_a_thousand_gaussian_levels_are_centroids_in_40_digits():
    levels = design_lloyd_max(1024, Gaussian()).quantizer.levels[512:]
    ends = [mpmath.mpf(0), *(mpmath.mpf(levels[i] + levels[i + 1]) / 2 for i in range(511))]
    ends.append(mpmath.inf)
    with mpmath.workdps(40):
        expected = [float(exact_gaussian_centroid(ends[i], ends[i + 1])) for i in range(512)]
    # What rounding leaves of a Newton iteration: some units in the last place of the levels.
    assert_allclose(levels, expected, rtol=1e-14)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("num_levels", [4, 7, 16, 1024])
def test_best_gaussian_step_agrees_with_40_digits(num_levels):
    step = design_uniform(num_levels, Gaussian()).step_size
    with mpmath.workdps(40):
        expected = mpmath.findroot(
            lambda d: exact_step_slope(d, num_levels), (mpmath.mpf(step) * 0.999, step)
        )
    assert step == pytest.approx(float(expected), rel=1e-12, abs=0)


def exact_step_slope(step, num_levels):
    """Differentiate the Gaussian distortion by the step, up to a factor, in mpmath."""
    mp, density, total = mpmath.mp, exact_density(Gaussian()), mpmath.mpf(0)
    first = mp.mpf(num_levels - 1) / 2 - (num_levels - 1) // 2
    for i in range((num_levels + 1) // 2):
        c = first + i
        a = (c - 0.5) * step
        b = (c + 0.5) * step if i < (num_levels + 1) // 2 - 1 else mp.inf
        mass = (mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2
        moment = density(a) - (density(b) if mp.isfinite(b) else 0)
        total += c * (moment - c * step * mass)
    return total


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("df", [2.05, 2.2, 3.0, 5.0])
@pytest.mark.parametrize("num_levels", [2, 255, 1024])
def test_best_step_of_heavy_tails_is_a_minimum(df, num_levels):
    source = StudentT(df=df)
    best = design_uniform(num_levels, source)
    half = 0.5 * (num_levels - 1)
    others = [
        distortion(ScalarQuantizer(f * best.step_size * (np.arange(num_levels) - half)), source)
        for f in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0)
    ]
    assert min(others) >= distortion(best, source)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("num_levels", [4, 9])
def test_best_step_agrees_with_a_general_minimizer(source, num_levels):
    best = design_uniform(num_levels, source)

    def lost(step):
        """Distortion in units of the variance."""
        levels = source.mean + step * (np.arange(num_levels) - 0.5 * (num_levels - 1))
        return distortion(ScalarQuantizer(levels), source) / source.var

    bounds = (0.5 * best.step_size, 2.0 * best.step_size)
    found = optimize.minimize_scalar(lost, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    # A minimizer that compares values resolves the argument to the root of the precision.
    assert best.step_size == pytest.approx(found.x, rel=1e-6, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(), Laplace(), StudentT(df=8.0)])
def test_lloyd_max_tends_to_panter_dite(source):
    ratios = [
        design_lloyd_max(k, source).distortion / panter_dite_distortion(k, source)
        for k in (256, 1024, 4096)
    ]
    assert ratios == sorted(ratios)
    assert_allclose(ratios[-1], 1.0, rtol=0, atol=0.002)
    # The deficit is about inversely proportional to the number of levels.
    deficits = 1 - np.array(ratios)
    assert_slope(np.log([256, 1024, 4096]), np.log(deficits), -1.0, tol=0.15)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(), Laplace()])
def test_companding_tends_to_panter_dite_and_never_beats_lloyd_max(source):
    for num_levels in (8, 128, 1024):
        companded = distortion(design_companded(num_levels, source), source)
        assert companded >= design_lloyd_max(num_levels, source).distortion
    assert companded == pytest.approx(panter_dite_distortion(1024, source), rel=0.01, abs=0)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("relative_price", [0.01, 0.05, 0.4])
def test_entropy_constrained_quantizer_is_stationary(source, relative_price):
    price = relative_price * source.var
    result = design_entropy_constrained(source, lagrange=price)
    assert result.converged
    quantizer = result.quantizer
    assert_allclose(centroid_residual(quantizer, source) / source.std, 0.0, rtol=0, atol=1e-9)
    centered = quantizer.levels - source.mean
    assert_allclose(centered, -centered[::-1], rtol=0, atol=1e-13 * np.abs(quantizer.levels).max())
    best = result.distortion + price * result.rate_bits
    step = 0.02 * np.diff(quantizer.levels, append=quantizer.levels[-1] + source.std)
    for direction in (1.0, -1.0):
        moved = ScalarQuantizer(
            quantizer.levels, quantizer.thresholds + direction * step[: quantizer.num_levels - 1]
        )
        cost = distortion(moved, source) + price * entropy_bits(moved, source)
        assert cost >= best * (1 - 1e-12)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(), Laplace(), Uniform()])
def test_entropy_coding_loses_a_quarter_bit_at_high_rate(source):
    result = design_entropy_constrained(source, lagrange=1e-4)
    bound = shannon_lower_bound(result.rate_bits, source)
    assert result.distortion / bound == pytest.approx(math.pi * math.e / 6, rel=1e-3, abs=0)
    approx = entropy_coded_distortion_approx(result.rate_bits, source)
    assert result.distortion == pytest.approx(approx, rel=1e-3, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("lagrange", [0.01, 0.1, 0.4])
def test_slope_of_distortion_over_rate_is_the_price(lagrange):
    near = [design_entropy_constrained(Gaussian(), lagrange=lagrange * f) for f in (0.999, 1.001)]
    slope = (near[1].distortion - near[0].distortion) / (near[1].rate_bits - near[0].rate_bits)
    # Central difference, error of second order in 1e-3.
    assert slope == pytest.approx(-lagrange, rel=1e-4, abs=0)


@pytest.mark.theory_vs_sim
def test_best_uniform_beats_every_clipping_limit_on_a_grid():
    clip = optimal_clip(4, Laplace())
    best = distortion(uniform_midrise(bit_width=4, clip_max=clip), Laplace())
    others = [
        distortion(uniform_midrise(bit_width=4, clip_max=f * clip), Laplace())
        for f in np.linspace(0.5, 2.0, 31)
    ]
    assert min(others) >= best * (1 - 1e-13)
