"""Recurrence of the best quantized weights: the rotation, its frequencies, and when they fail."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.quantizers import (
    RoundMode,
    UniformQuantizer,
    infinite_grid,
    uniform_midrise,
    uniform_midtread,
)
from qtheory.training import (
    longest_absence,
    optimum_frequency,
    optimum_frequency_range,
    recurrence_frequencies,
    rotation_codes,
    rotation_phase,
    simulate,
    tied_optimum_frequency,
    visited_levels,
)

BINARY = uniform_midrise(num_levels=2, step_size=2.0)
TERNARY = uniform_midtread(num_levels=3, step_size=1.0, narrow_range=True)
ODD = infinite_grid(0.7, offset=0.1)
targets = st.floats(-0.99, 0.99)
rates = st.floats(1e-3, 1.0)
grids = st.sampled_from([BINARY, TERNARY, ODD])

# --- Unit -------------------------------------------------------------------------------------


def test_binary_frequencies():
    assert_allclose(recurrence_frequencies([0.6, 0.8]), [(1 + 0.6 * 2**0.5) / 2, 1], rtol=1e-15)
    assert_allclose(recurrence_frequencies([0.0, -3.0]), [0.5, 0.0], rtol=1e-15)
    assert_allclose(optimum_frequency([0.6, 1.0, 0.1]), 0.54, rtol=1e-15)
    for size in (1e-200, 1e200):
        long = recurrence_frequencies([0.6 * size, 0.8 * size])
        assert_allclose(long, recurrence_frequencies([0.6, 0.8]), rtol=1e-15)


def test_visited_levels_of_three_grids():
    levels = visited_levels([-2.0, 0.25, 1.0, 5.0], grid=BINARY)
    assert_array_equal(levels.lower, -1.0)
    assert_array_equal(levels.upper, 1.0)
    assert_allclose(levels.upper_fraction, [0, 0.625, 1, 1], rtol=1e-15)
    levels = visited_levels([-0.25, 0.75], grid=TERNARY)
    assert_array_equal(levels.lower, [-1, 0])
    assert_allclose(levels.upper_fraction, [0.75, 0.75], rtol=1e-15)
    levels = visited_levels(0.45, grid=ODD)
    assert_allclose([levels.lower, levels.upper_fraction], [0.1, 0.5], rtol=1e-15)


def test_range_of_the_optimum():
    low, high = optimum_frequency_range([[0.75, 0.75], [0.6, 0.9], [0.5, 0.5]])
    assert_allclose(low, [0.5, 0.5, 0.0], rtol=1e-14, atol=1e-15)
    assert_allclose(high, [0.75, 0.6, 0.5], rtol=1e-14)


def test_three_equal_coordinates_may_never_meet():
    assert tied_optimum_frequency(0.6, [0, 1 / 3, 2 / 3]) == pytest.approx(0, rel=0, abs=1e-15)
    assert tied_optimum_frequency(0.6, [0.2, 0.2]) == pytest.approx(0.6, rel=1e-14, abs=0)
    assert tied_optimum_frequency(0.3, [0.0, 0.5]) == pytest.approx(0.4, rel=1e-14, abs=0)
    assert tied_optimum_frequency(1.0, [0.0, 0.5]) == 1.0


def test_longest_absence():
    visits = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    assert_array_equal(longest_absence(visits), [0, 1, 3, 2])
    assert longest_absence(np.zeros(0, dtype=bool)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recurrence_frequencies([0.0, 0.0]), "`teacher` must be not zero"),
        (lambda: recurrence_frequencies(1.0), "`teacher` must be an array with at least one axis"),
        (lambda: recurrence_frequencies([math.nan, 1]), "`teacher` must be finite"),
        (lambda: optimum_frequency([1.2]), r"`frequencies` must be in \[0, 1\]"),
        (lambda: optimum_frequency(0.5), "`frequencies` must be an array with at least one axis"),
        (lambda: optimum_frequency_range([-0.1]), r"`frequencies` must be in \[0, 1\]"),
        (lambda: tied_optimum_frequency(2.0, [0.1]), r"`fraction` must be in \[0, 1\]"),
        (lambda: tied_optimum_frequency(0.5, 0.1), "`phases` must be a vector"),
        (lambda: visited_levels(0.1, grid=3), "`grid` must be UniformQuantizer"),
        (
            lambda: visited_levels(0.1, grid=infinite_grid(1.0, round_mode=RoundMode.FLOOR)),
            "`grid` must be one that rounds to nearest",
        ),
        (
            lambda: visited_levels(0.1, grid=UniformQuantizer(1.0, code_min=0, code_max=0)),
            "`grid` must be one with at least two levels",
        ),
        (
            lambda: rotation_phase(0.1, 0.1, grid=BINARY, learning_rate=0.0),
            "`learning_rate` must be finite and above zero",
        ),
        (
            lambda: rotation_phase(math.inf, 0.1, grid=BINARY, learning_rate=0.1),
            "`latent` must be finite",
        ),
        (lambda: rotation_codes(0.1, 1.1, num_steps=3), r"`fraction` must be in \[0, 1\]"),
        (lambda: rotation_codes(0.1, 0.1, num_steps=-1), "`num_steps` must be an integer of at"),
        (lambda: longest_absence([0, 1]), "`visits` must be an array of booleans"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(targets, rates, grids, st.floats(-1.5, 1.5))
def test_the_mean_of_the_visited_levels_is_the_target(target, rate, grid, start):
    latents, codes = simulate.latent_path(
        start, target, grid=grid, learning_rate=rate, num_steps=400
    )
    levels = visited_levels(target, grid=grid)
    phase = rotation_phase(latents, target, grid=grid, learning_rate=rate)
    inside = (phase >= -1e-9) & (phase < 1 + 1e-9)
    assume(inside.any())
    first = np.argmax(inside)
    assert inside[first:].all()
    upper = grid.decode(codes[first:]) > (levels.lower + levels.upper) / 2
    times = np.arange(1, upper.size + 1)
    gap = np.cumsum(upper) - times * levels.upper_fraction
    assert np.abs(gap).max() <= 1 + 1e-6


@given(st.floats(0, 1), st.floats(0, 1))
def test_windows_of_the_word_differ_by_less_than_one(phase, fraction):
    word = rotation_codes(phase, fraction, num_steps=200)
    assert set(word.tolist()) <= {0, 1}
    for length in (1, 7, 50):
        counts = np.convolve(word, np.ones(length), mode="valid")
        assert np.abs(counts - length * fraction).max() < 1 + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_the_product_lies_in_the_range(frequencies):
    low, high = optimum_frequency_range(frequencies)
    assert low - 1e-12 <= optimum_frequency(frequencies) <= high + 1e-12


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_tied_coordinates_lie_in_the_range(fraction, phases):
    low, high = optimum_frequency_range([fraction] * len(phases))
    assert low - 1e-12 <= tied_optimum_frequency(fraction, phases) <= high + 1e-12


# --- Theory against simulation ----------------------------------------------------------------


@pytest.mark.parametrize("grid", [BINARY, TERNARY, ODD], ids=["binary", "ternary", "odd"])
@pytest.mark.parametrize("rate", [0.003, 0.2, 1.0])
def test_the_word_is_what_training_does(grid, rate):
    target = np.array([0.31830989, -0.57721566, 0.1234567])
    levels = visited_levels(target, grid=grid)
    start = (levels.lower + levels.upper) / 2
    latents, codes = simulate.latent_path(
        start, target, grid=grid, learning_rate=rate, num_steps=2000
    )
    phase = rotation_phase(start, target, grid=grid, learning_rate=rate)
    word = rotation_codes(phase + 1e-12, levels.upper_fraction, num_steps=2000)
    assert_array_equal(grid.decode(codes) > start[:, None], word == 1)
    assert np.ptp(latents, axis=-1).max() <= rate * grid.step_size
    # Control: another fraction is another word.
    wrong = rotation_codes(phase, levels.upper_fraction + 0.01, num_steps=2000)
    assert (wrong != word).any(axis=-1).all()


def test_two_levels_rotate_at_any_learning_rate_and_more_do_not():
    options = {"learning_rate": 1.7, "num_steps": 3000}
    _, codes = simulate.latent_path(0.0, 0.3, grid=BINARY, **options)
    assert abs(np.mean(codes == codes.max()) - 0.65) <= 1 / 3000
    # Control: above one, a weight on a longer grid leaves the two levels beside its target.
    _, codes = simulate.latent_path(0.0, 0.3, grid=infinite_grid(1.0), **options)
    assert np.unique(codes).size > 2


@pytest.mark.parametrize("num_weights", [4, 8])
def test_frequency_of_the_optimum(num_weights):
    teacher = np.random.default_rng(num_weights).normal(size=num_weights)
    teacher /= np.linalg.norm(teacher)
    grid = uniform_midrise(num_levels=2, step_size=2 / math.sqrt(num_weights))
    start = 0.01 * np.random.default_rng(0).normal(size=num_weights)
    _, codes = simulate.latent_path(start, teacher, grid=grid, learning_rate=0.01, num_steps=50_000)
    positive = grid.decode(codes) > 0
    expected = recurrence_frequencies(teacher)
    # Before the circle is reached and at its end, at most a few steps per coordinate are lost.
    assert_allclose(positive.mean(axis=-1), expected, rtol=0, atol=5 / 50_000)
    visits = (positive == (teacher > 0)[:, None]).all(axis=0)
    # Discrepancy of a rotation of the torus: far below the spread of independent visits.
    assert visits.mean() == pytest.approx(float(optimum_frequency(expected)), rel=0, abs=2e-3)
    assert visits[25_000:].any()
    # Control: the least frequency of a coordinate alone is no law for all of them.
    assert abs(visits.mean() - optimum_frequency_range(expected)[1]) > 0.05


@pytest.mark.parametrize(
    ("phases", "expected"), [((0.1, 0.1 + 1 / 3, 0.1 + 2 / 3), 0.0), ((0.1, 0.1, 0.1), 0.6)]
)
def test_equal_teacher_weights_keep_step(phases, expected):
    # Three equal coordinates: the product law says 0.216, whatever the start.
    fraction = 0.6 + 1e-4 * math.sqrt(2)
    target, rate = 2 * fraction - 1, 0.01
    start = 2 * rate * (np.array(phases) - 1 + fraction)
    assert_allclose(rotation_phase(start, target, grid=BINARY, learning_rate=rate), phases)
    _, codes = simulate.latent_path(
        start, target, grid=BINARY, learning_rate=rate, num_steps=20_000
    )
    visits = (codes == codes.max()).all(axis=0).mean()
    assert visits == pytest.approx(tied_optimum_frequency(fraction, phases), rel=0, abs=2e-3)
    assert visits == pytest.approx(expected, rel=0, abs=2e-3)
    assert abs(visits - optimum_frequency([fraction] * 3)) > 0.2


def test_saturated_weights_lock():
    grid = uniform_midrise(num_levels=2, step_size=2 / math.sqrt(2))
    latents, codes = simulate.latent_path(
        [-0.5, -0.5], [0.6, 0.8], grid=grid, learning_rate=0.1, num_steps=200
    )
    assert (codes[1, 50:] == codes.max()).all()
    assert latents[1, -1] > 1.0
    assert np.unique(codes[0, 50:]).size == 2


def test_whole_turns_of_a_phase_do_not_matter():
    phases = np.array([0.1, 0.35, 0.8])
    turned = tied_optimum_frequency(0.7, np.add(phases, [0.0, 1.0, -2.0]))
    assert turned == pytest.approx(tied_optimum_frequency(0.7, phases), rel=1e-12, abs=0)
