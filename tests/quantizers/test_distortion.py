"""Distortion: exact by cells, split, approximated, and on the infinite grid."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope, exact_cell_moment, exact_distortion
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from strategies import scalar_quantizers, sources, uniform_quantizers

from qtheory.quantizers import (
    AffineQuantizer,
    Gaussian,
    Laplace,
    RoundMode,
    ScalarQuantizer,
    StudentT,
    Uniform,
    UniformQuantizer,
    cell_distortions,
    design_lloyd_max,
    distortion,
    granular_distortion,
    grid_error_power,
    grid_input_error_covariance,
    high_resolution_distortion,
    infinite_grid,
    input_error_covariance,
    integer_sqnr_db_approx,
    overload_distortion,
    sign,
    simulate,
    sqnr_db,
    ternary,
    uniform_midrise,
    uniform_midtread,
)
from qtheory.quantizers.cells import cell_moments

SOURCES = [
    Gaussian(),
    Laplace(),
    Uniform(),
    StudentT(df=2.5),
    StudentT(df=5.0),
    StudentT(df=100.0),
    Gaussian(0.7, 3.0),
    Laplace(-1.3, 0.2),
]
every_source = pytest.mark.parametrize("source", SOURCES, ids=[str(s) for s in SOURCES])
INF = math.inf
# Laws whose squared error has a variance, and so a standard error; a t law needs more than four
# degrees of freedom.
TAME = [s for s in SOURCES if getattr(s, "df", INF) > 4.5]
# Unbounded laws with next to nothing beyond ten standard deviations.
LIGHT_TAILED = [Gaussian(), Laplace(), StudentT(df=100.0), Gaussian(0.7, 3.0), Laplace(-1.3, 0.2)]

# Cells of every kind: narrow, wide, straddling, in the tail, without end.
CELLS = [
    (-0.01, 0.02, 0.004),
    (0.4, 0.4001, 0.40007),
    (4.5, 4.5001, 4.50002),
    (-3.0, -1.0, -1.7),
    (-0.5, 6.0, 1.0),
    (2.9, 7.1, 4.7),
    (5.0, 60.0, 5.2),
    (0.0, INF, 0.8),
    (3.0, INF, 3.3),
    (20.0, INF, 20.0),
    (-INF, -8.0, -8.1),
    (-INF, INF, 0.3),
]

# --- Unit -------------------------------------------------------------------------------------


def test_one_bit_on_a_gaussian():
    quantizer = sign(math.sqrt(2 / math.pi))
    assert distortion(quantizer, Gaussian()) == pytest.approx(1 - 2 / math.pi, rel=1e-14, abs=0)


def test_uniform_source_in_the_middle_of_cells():
    quantizer = uniform_midrise(8, step_size=0.25)
    source = Uniform.on(-1.0, 1.0)
    assert distortion(quantizer, source) == pytest.approx(0.25**2 / 12, rel=1e-14, abs=0)
    # The end of the source, sqrt(3) times a rounded standard deviation, may miss one by an ulp.
    assert overload_distortion(quantizer, source) <= 1e-17
    assert high_resolution_distortion(quantizer, source) == pytest.approx(
        0.25**2 / 12, rel=1e-14, abs=0
    )
    assert sqnr_db(quantizer, source) == pytest.approx(20 * math.log10(8), rel=1e-14, abs=0)


@every_source
def test_one_level_loses_the_variance_and_the_offset(source):
    lost = distortion(ScalarQuantizer([source.mean + 2 * source.std]), source)
    assert lost == pytest.approx(5 * source.var, rel=1e-12, abs=0)


def test_cells_add_up():
    quantizer = uniform_midtread(7, step_size=0.6)
    cells = cell_distortions(quantizer, Laplace())
    assert cells.shape == (7,)
    assert cells.sum() == distortion(quantizer, Laplace())


def test_integer_sqnr_by_hand():
    # Two bits: one step to the outer level, so the error power is amax**2 / 12.
    assert integer_sqnr_db_approx(2, 1.0) == pytest.approx(10 * math.log10(12), rel=1e-15, abs=0)


def test_granular_and_overload_part_by_hand():
    # The outer cells are closed by the mirror images -1.4 and 5 of their thresholds; the density
    # is a twentieth.
    quantizer = ScalarQuantizer([-1.0, 0.0, 3.0], [-0.6, 1.0])
    source = Uniform.on(-10.0, 10.0)
    inside = (2 * 0.4**3 + 0.6**3 + 1 + 2 * 2**3) / 60
    beyond = (9**3 - 0.4**3 + 7**3 - 2**3) / 60
    widths = (9.4 * 0.8**2 + 1.6 * 1.6**2 + 9.0 * 4.0**2) / 20 / 12
    assert granular_distortion(quantizer, source) == pytest.approx(inside, rel=1e-13, abs=0)
    assert overload_distortion(quantizer, source) == pytest.approx(beyond, rel=1e-13, abs=0)
    assert high_resolution_distortion(quantizer, source) == pytest.approx(widths, rel=1e-13, abs=0)


def test_granular_range_of_a_uniform_quantizer_ends_half_a_step_beyond_the_levels():
    # Levels from -1 to 1 and the density a third: five cells of half a unit, then a quarter of
    # a unit on either side.
    quantizer = uniform_midtread(5, step_size=0.5)
    source = Uniform.on(-1.5, 1.5)
    assert granular_distortion(quantizer, source) == pytest.approx(
        5 * 0.5**3 / 36, rel=1e-13, abs=0
    )
    assert overload_distortion(quantizer, source) == pytest.approx(
        2 * (0.5**3 - 0.25**3) / 9, rel=1e-13, abs=0
    )


def test_high_resolution_on_the_infinite_grid_is_a_twelfth_of_the_squared_step():
    grid = infinite_grid(0.5, offset=0.1)
    expected = pytest.approx(1 / 48, rel=1e-15, abs=0)
    assert high_resolution_distortion(grid, StudentT(1.0, 3.0, df=3.0)) == expected


@pytest.mark.parametrize("function", [granular_distortion, overload_distortion])
def test_one_level_has_no_granular_range(function):
    with pytest.raises(ValueError, match="`quantizer` must be of at least two levels"):
        function(ScalarQuantizer([0.0]), Gaussian())


@pytest.mark.parametrize(
    "function",
    [granular_distortion, overload_distortion, cell_distortions],
)
def test_the_infinite_grid_has_no_list_of_cells(function):
    with pytest.raises(ValueError, match="`code_min` must be finite for levels to be listed"):
        function(infinite_grid(1.0), Gaussian())


def test_messages():
    stochastic = uniform_midtread(3, step_size=1.0, round_mode=RoundMode.STOCHASTIC)
    with pytest.raises(ValueError, match="`round_mode` must be deterministic for thresholds"):
        distortion(stochastic, Gaussian())
    floor = infinite_grid(1.0, round_mode=RoundMode.FLOOR)
    with pytest.raises(ValueError, match="`round_mode` must be to nearest on the infinite grid"):
        distortion(floor, Gaussian())
    with pytest.raises(ValueError, match="`source` must be of at most 300 degrees of freedom"):
        grid_error_power(1.0, StudentT(df=301.0))
    with pytest.raises(ValueError, match="`step_size` must be at least the width over 4194304"):
        grid_error_power(1e-9, Uniform())
    with pytest.raises(ValueError, match="`offset` must be finite, got nan"):
        grid_error_power(1.0, Gaussian(), offset=math.nan)
    affine = AffineQuantizer(1.0, code_min=-2, code_max=2)
    with pytest.raises(ValueError, match="`quantizer` must be ScalarQuantizer or UniformQuantizer"):
        distortion(affine, Gaussian())
    with pytest.raises(ValueError, match="`source` must be Source, got None"):
        distortion(sign(), None)
    with pytest.raises(ValueError, match="`step_size` must be finite and above zero"):
        grid_error_power(0.0, Gaussian())
    with pytest.raises(ValueError, match="`bit_width` must be an integer of at least 2, got 1"):
        integer_sqnr_db_approx(1, 3.0)
    with pytest.raises(ValueError, match=r"`bit_width` must be an integer, got 2\.5"):
        integer_sqnr_db_approx(2.5, 3.0)
    with pytest.raises(ValueError, match="`crest_factor` must be at least 1, as a maximum"):
        integer_sqnr_db_approx(8, 0.5)


@pytest.mark.parametrize("function", [distortion, granular_distortion, input_error_covariance])
def test_levels_out_of_reach_are_refused(function):
    with pytest.raises(ValueError, match=r"`levels` must be within 1e\+100 standard deviations"):
        function(ScalarQuantizer([-1e308, 1e308]), Gaussian())


def test_thresholds_out_of_reach_are_as_good_as_infinite():
    far = ScalarQuantizer([-1.0, 0.0, 1.0], [-1e250, 1e250])
    assert distortion(far, Gaussian()) == distortion(ScalarQuantizer([0.0]), Gaussian())


@pytest.mark.parametrize("source", LIGHT_TAILED, ids=str)
def test_coarse_grid_with_a_level_at_the_mean_loses_the_variance(source):
    step = 20 * source.std
    grid = infinite_grid(step, offset=source.mean)
    # Rounding lowers the squared error only in the tails beyond ten standard deviations.
    tails = 2 * exact_cell_moment(source, source.mean + step / 2, INF, source.mean, 2)
    slack = tails + 1e-14 * step**2  # the accuracy of the series
    assert slack < 1e-4 * source.var
    assert distortion(grid, source) == pytest.approx(source.var, abs=slack)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(quantizer=scalar_quantizers(), source=sources(), factor=st.floats(0.01, 100.0))
def test_distortion_scales_with_the_square_of_the_source(quantizer, source, factor):
    scaled_source = type(source)(
        **(source.__dict__ | {"mean": factor * source.mean, "std": factor * source.std})
    )
    scaled = ScalarQuantizer(factor * quantizer.levels, factor * quantizer.thresholds)
    expected = factor**2 * distortion(quantizer, source)
    # Scaling rounds levels and mean to one unit in the last place of the larger of the two.
    slack = 1e-9 * expected
    assert abs(distortion(scaled, scaled_source) - expected) <= slack


@pytest.mark.property
@given(quantizer=scalar_quantizers(), source=sources(), data=st.data())
def test_midpoint_thresholds_lose_least(quantizer, source, data):
    size = quantizer.num_levels - 1
    weights = data.draw(st.lists(st.floats(0.1, 0.9), min_size=size, max_size=size))
    gaps = np.diff(quantizer.levels)
    moved = ScalarQuantizer(quantizer.levels, quantizer.levels[:-1] + np.array(weights) * gaps)
    assert distortion(quantizer, source) <= distortion(moved, source) * (1 + 1e-12)


@pytest.mark.property
@given(quantizer=uniform_quantizers(), source=sources())
def test_parts_add_up(quantizer, source):
    total = granular_distortion(quantizer, source) + overload_distortion(quantizer, source)
    assert total == pytest.approx(distortion(quantizer, source), rel=1e-12, abs=0)


@pytest.mark.property
@given(quantizer=scalar_quantizers(), source=sources())
def test_distortion_is_positive_and_covariance_is_bounded(quantizer, source):
    lost = distortion(quantizer, source)
    assert lost > 0
    # Cauchy and Schwarz.
    assert abs(input_error_covariance(quantizer, source)) <= source.std * math.sqrt(lost) * (
        1 + 1e-9
    )


@pytest.mark.property
@given(quantizer=scalar_quantizers(), source=sources(), data=st.data())
def test_parts_add_up_for_any_thresholds(quantizer, source, data):
    size = quantizer.num_levels - 1
    moves = data.draw(st.lists(st.floats(-1e3, 1e3), min_size=size, max_size=size, unique=True))
    two = ScalarQuantizer(
        np.append(quantizer.levels, quantizer.levels[-1] + 1.0),
        np.sort(np.append(moves, 1e3 + 1.0)),
    )
    total = granular_distortion(two, source) + overload_distortion(two, source)
    assert total == pytest.approx(distortion(two, source), rel=1e-12, abs=0)


@pytest.mark.parametrize("source", [Gaussian(), Laplace(), StudentT(df=5.0)], ids=str)
def test_overload_part_agrees_with_40_digits(source):
    quantizer = uniform_midtread(7, step_size=0.8)
    end = 3.5 * 0.8
    expected = 2 * exact_cell_moment(source, end, INF, 3 * 0.8, 2)
    assert overload_distortion(quantizer, source) == pytest.approx(expected, rel=2e-13, abs=0)


@pytest.mark.parametrize("threshold", [1.5, 3.0])
def test_parts_add_up_when_a_threshold_is_beyond_its_level(threshold):
    quantizer = ternary(1.0, threshold=threshold)
    total = granular_distortion(quantizer, Gaussian()) + overload_distortion(quantizer, Gaussian())
    assert total == pytest.approx(distortion(quantizer, Gaussian()), rel=1e-13, abs=0)


@pytest.mark.parametrize("source", [Gaussian(), Laplace(), StudentT(df=3.0), StudentT(df=300.0)])
@pytest.mark.parametrize("step", [1e-4, 1e-2])
def test_fine_grids_lose_a_twelfth(source, step):
    # The kink of the Laplace density leaves a relative deviation of 0.058 squared steps.
    assert grid_error_power(step, source) == pytest.approx(step**2 / 12, rel=1e-5, abs=0)


@pytest.mark.parametrize("source", [Gaussian(), Laplace(), Uniform()])
def test_very_coarse_grids_lose_the_variance(source):
    assert grid_error_power(1e6, source) == pytest.approx(1.0, rel=1e-12, abs=0)
    assert grid_input_error_covariance(1e6, source) == pytest.approx(-1.0, rel=1e-12, abs=0)


@pytest.mark.parametrize("source", [Gaussian(), Laplace(), StudentT(df=5.0)])
def test_cells_take_over_from_the_series_without_a_jump(source):
    below, above = grid_error_power(20.0, source), grid_error_power(20.0 * (1 + 1e-12), source)
    assert below == pytest.approx(above, abs=1e-9)


def test_uniform_source_on_the_infinite_grid():
    source = Uniform.on(-1.0, 1.0)
    assert grid_error_power(0.5, source, offset=0.25) == pytest.approx(0.25 / 12, rel=1e-13, abs=0)


@pytest.mark.parametrize("mode", [RoundMode.FLOOR, RoundMode.STOCHASTIC])
def test_high_resolution_on_the_grid_is_for_nearest_rounding(mode):
    with pytest.raises(ValueError, match="`round_mode` must be to nearest on the infinite grid"):
        high_resolution_distortion(infinite_grid(1.0, round_mode=mode), Gaussian())


# --- Theory against reference and simulation ---------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.slow
@every_source
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell_moments_agree_with_40_digits(source, cell):
    lower, upper, reference = (source.mean + source.std * v for v in cell)
    moments = cell_moments(source, *(np.array([v]) for v in (lower, upper, reference)))
    for order in (0, 2):
        expected = exact_cell_moment(source, lower, upper, reference, order)
        # The docstring states 2e-13; an end known to one unit in the last place may move a narrow
        # cell at a distance by more, so cells of shifted sources get that on top.
        slack = 4e-16 * abs(reference) / min(upper - lower, source.std)
        slack *= abs(source.mean) > 0
        assert_allclose(moments[order], expected, rtol=2e-13 + 20 * slack, atol=1e-300)


@pytest.mark.theory_vs_sim
@pytest.mark.slow
@every_source
@pytest.mark.parametrize("num_levels", [2, 3, 16])
def test_distortion_agrees_with_40_digits(source, num_levels):
    quantizer = design_lloyd_max(num_levels, source).quantizer
    assert distortion(quantizer, source) == pytest.approx(
        exact_distortion(quantizer, source), rel=2e-13, abs=0
    )


@pytest.mark.theory_vs_sim
@pytest.mark.slow
def test_distortion_of_4096_levels_agrees_with_40_digits_on_a_sample_of_cells():
    quantizer, source = uniform_midrise(4096, step_size=8 / 4096), Gaussian()
    cells = cell_distortions(quantizer, source)
    edges = [-INF, *quantizer.thresholds, INF]
    for i in range(0, 4096, 315):
        expected = exact_cell_moment(source, edges[i], edges[i + 1], quantizer.levels[i], 2)
        assert cells[i] == pytest.approx(expected, rel=2e-13, abs=0)


def test_the_reference_notices_a_wrong_variance():
    quantizer = uniform_midrise(4, step_size=1.0)
    wrong = exact_distortion(quantizer, Gaussian(std=1.001))
    assert distortion(quantizer, Gaussian()) != pytest.approx(wrong, rel=1e-6, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", TAME, ids=str)
@pytest.mark.parametrize(
    "quantizer",
    [uniform_midrise(8, step_size=0.5), uniform_midtread(5, step_size=0.5), ternary(1.2)],
    ids=["midrise", "midtread", "ternary"],
)
def test_distortion_agrees_with_simulation(source, quantizer):
    estimate = simulate.distortion(
        quantizer, source, num_samples=2_000_000, rng=np.random.default_rng(11)
    )
    assert_mc_close(distortion(quantizer, source), estimate, rel_resolution=0.1)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    "mode", [RoundMode.FLOOR, RoundMode.CEIL, RoundMode.TOWARD_ZERO, RoundMode.TIES_AWAY]
)
def test_distortion_of_directed_rounding_agrees_with_simulation(mode):
    quantizer = uniform_midtread(9, step_size=0.5, round_mode=mode)
    estimate = simulate.distortion(
        quantizer, Gaussian(), num_samples=1_000_000, rng=np.random.default_rng(12)
    )
    assert_mc_close(distortion(quantizer, Gaussian()), estimate)


@pytest.mark.theory_vs_sim
def test_simulation_rejects_a_sixth_for_a_twelfth():
    quantizer = uniform_midrise(128, step_size=0.1)
    estimate = simulate.distortion(
        quantizer, Gaussian(), num_samples=200_000, rng=np.random.default_rng(13)
    )
    assert_mc_close(0.1**2 / 12, estimate)
    with pytest.raises(AssertionError, match="z = "):
        assert_mc_close(0.1**2 / 6, estimate)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(), Gaussian(0.3), Laplace(), StudentT(df=5.0)])
@pytest.mark.parametrize("step", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_series_agrees_with_cells_on_a_wide_quantizer(source, step, offset):
    # Wide enough that what overloads is below the accuracy asked for.
    reach = int(4000 / step)
    wide = UniformQuantizer(step, offset=offset, code_min=-reach, code_max=reach)
    power = grid_error_power(step, source, offset=offset)
    covariance = grid_input_error_covariance(step, source, offset=offset)
    grid = infinite_grid(step, offset=offset)
    assert distortion(grid, source) == power
    assert input_error_covariance(grid, source) == covariance
    # A t law of 5 degrees of freedom keeps about 4000**-3 of its variance beyond.
    assert power == pytest.approx(distortion(wide, source), rel=1e-9, abs=1e-10)
    assert covariance == pytest.approx(input_error_covariance(wide, source), abs=1e-9)


@pytest.mark.theory_vs_sim
def test_gaussian_covariance_on_the_grid_is_the_printed_sum():
    k = np.arange(1, 50)
    expected = 2 * ((-1.0) ** k * np.exp(-2 * math.pi**2 * k**2 / 2.0**2)).sum()
    assert grid_input_error_covariance(2.0, Gaussian()) == pytest.approx(expected, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
def test_series_notices_a_missing_sign():
    k = np.arange(1, 50)
    wrong = 2 * np.exp(-2 * math.pi**2 * k**2 / 2.0**2).sum()
    assert grid_input_error_covariance(2.0, Gaussian()) != pytest.approx(wrong, rel=0.1, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(0.4, 1.3), Laplace(), Uniform(), StudentT(df=9.0)])
def test_covariance_of_input_and_error_agrees_with_simulation(source):
    quantizer = uniform_midtread(5, step_size=1.1)
    estimate = simulate.input_error_covariance(
        quantizer, source, num_samples=2_000_000, rng=np.random.default_rng(14)
    )
    assert_mc_close(input_error_covariance(quantizer, source), estimate, rel_resolution=0.12)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("num_levels", [2, 5, 32])
def test_covariance_is_minus_the_distortion_for_centroids(source, num_levels):
    result = design_lloyd_max(num_levels, source)
    covariance = input_error_covariance(result.quantizer, source)
    assert covariance == pytest.approx(-result.distortion, rel=1e-10, abs=0)


@pytest.mark.theory_vs_sim
def test_six_decibels_per_bit_at_fixed_range():
    bits = np.arange(8, 14)
    quantizers = [uniform_midrise(2**b, step_size=8 / 2**b) for b in bits]
    ratios = [-10 * math.log10(granular_distortion(q, Gaussian())) for q in quantizers]
    # The ends of the range contribute a relative correction of the squared step: 1e-6 dB here.
    assert_slope(bits, ratios, 20 * math.log10(2), tol=1e-6)


@pytest.mark.theory_vs_sim
def test_high_resolution_error_vanishes():
    quantizers = [uniform_midrise(n, step_size=64 / n) for n in (256, 1024, 4096)]
    source = Laplace()
    ratios = [high_resolution_distortion(q, source) / distortion(q, source) for q in quantizers]
    errors = np.array(ratios) - 1
    # The next term of the expansion is of second order in the step, the one after of fourth.
    assert_allclose(errors[:-1] / errors[1:], 16.0, rtol=0.01)
