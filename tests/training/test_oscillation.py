"""Oscillating weights: rate, width, dampening, tracking and freezing."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.quantizers import infinite_grid, uniform_midtread
from qtheory.training import (
    OscillationTracker,
    dampening_threshold,
    freezing_steps_approx,
    oscillation_amplitude,
    reversal_rate,
    simulate,
    trapping_threshold,
)

GRID = infinite_grid(1.0)
positions = st.floats(0, 1)
code_lists = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=30)


def reversals_of(codes):
    """Count reversals by the definition, one weight at a time."""
    counts = []
    for row in np.atleast_2d(codes):
        moves = [np.sign(b - a) for a, b in itertools.pairwise(row) if b != a]
        counts.append(sum(a == -b for a, b in itertools.pairwise(moves)))
    return np.array(counts)


# --- Unit -------------------------------------------------------------------------------------


def test_rates_and_thresholds():
    assert_allclose(reversal_rate([0, 0.3, 0.5, 1]), [0, 0.6, 1, 0], rtol=1e-15)
    assert_allclose(reversal_rate(0.3, dampening=0.2), 1 / 3, rtol=1e-14)
    assert_array_equal(reversal_rate([0.3, 0.5], dampening=0.5), 0)
    assert_allclose(dampening_threshold([0.3, 0.8]), [0.3, 0.2], rtol=1e-15)
    assert_allclose(trapping_threshold([0.3, 0.8]), [0.7, 0.8], rtol=1e-15)
    assert oscillation_amplitude(learning_rate=0.1, grid_step=2.0) == 0.2
    assert oscillation_amplitude(learning_rate=0.1, period=1) == 0.0


def test_a_reversal_is_a_change_against_the_last_change():
    tracker = OscillationTracker([0])
    seen = [bool(tracker.update([c])[0]) for c in (1, 1, 2, 1, 1, 0, 0, 2)]
    assert seen == [False, False, False, True, False, False, False, True]
    assert tracker.num_reversals == 2
    assert tracker.num_updates == 8


def test_one_reversal_lifts_the_frequency_to_the_momentum():
    tracker = OscillationTracker([0], momentum=0.1)
    tracker.update([1])
    tracker.update([0])
    assert_allclose(tracker.frequency, [0.1], rtol=1e-15)
    tracker.update([0])
    assert_allclose(tracker.frequency, [0.09], rtol=1e-15)


def test_frozen_weights_stay_and_others_do_not():
    tracker = OscillationTracker([0, 0], momentum=0.2, threshold=0.3)
    for step in range(1, 6):
        tracker.update([step % 2, step])
    assert_array_equal(tracker.is_frozen, [True, False])
    assert_array_equal(tracker.apply([5, 5]), [0, 5])
    before = tracker.num_reversals
    for step in range(6, 20):
        tracker.update([step % 2, step])
    assert_array_equal(tracker.num_reversals, before)
    assert tracker.frequency[0] < 0.05


def test_no_threshold_freezes_nothing_and_a_new_one_counts():
    tracker = OscillationTracker(np.zeros((2, 3), dtype=np.int8), momentum=0.5)
    for step in range(20):
        tracker.update(np.full((2, 3), step % 2))
    assert not tracker.is_frozen.any()
    tracker.update(np.zeros((2, 3), dtype=int), threshold=0.1)
    assert tracker.is_frozen.all()


def test_what_a_tracker_shows_is_a_copy():
    tracker = OscillationTracker([0, 1])
    for name in ("frequency", "mean_codes", "is_frozen", "num_reversals"):
        getattr(tracker, name)[:] = 1
        assert not np.array_equal(getattr(tracker, name), [1, 1])
    codes = np.array([3, 4])
    tracker.update(codes)
    codes[:] = 9
    tracker.update([4, 3])
    assert_array_equal(tracker.num_reversals, [0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reversal_rate(1.5), r"`position` must be in \[0, 1\]"),
        (lambda: reversal_rate(math.nan), r"`position` must be in \[0, 1\]"),
        (lambda: reversal_rate(0.5, dampening=-1.0), "`dampening` must be finite and not below"),
        (lambda: dampening_threshold(-0.1), r"`position` must be in \[0, 1\]"),
        (lambda: trapping_threshold(2), r"`position` must be in \[0, 1\]"),
        (lambda: oscillation_amplitude(learning_rate=0.0), "`learning_rate` must be finite and"),
        (
            lambda: oscillation_amplitude(learning_rate=0.1, grid_step=-1.0),
            "`grid_step` must be finite and above zero",
        ),
        (
            lambda: oscillation_amplitude(learning_rate=0.1, period=0),
            "`period` must be an integer of at least 1",
        ),
        (
            lambda: freezing_steps_approx(1.5, momentum=0.1, threshold=0.1),
            r"`rate` must be in \[0, 1\]",
        ),
        (
            lambda: freezing_steps_approx([0.5, 0.2], momentum=0.1, threshold=0.1),
            "`rate` must be a single number",
        ),
        (
            lambda: freezing_steps_approx(0.5, momentum=1.0, threshold=0.1),
            "`momentum` must be above zero and below one",
        ),
        (
            lambda: freezing_steps_approx(0.5, momentum=0.1, threshold=0.0),
            "`threshold` must be finite and above zero",
        ),
        (lambda: OscillationTracker([0.5]), "`codes` must be an array of integers"),
        (lambda: OscillationTracker([True]), "`codes` must be an array of integers"),
        (lambda: OscillationTracker([]), "`codes` must be an array of integers"),
        (lambda: OscillationTracker([0], momentum=0.0), "`momentum` must be finite and above"),
        (lambda: OscillationTracker([0], threshold=0.0), "`threshold` must be finite and above"),
        (
            lambda: OscillationTracker([0]).update([0, 1]),
            r"`codes` must be an array of shape \(1,\), got 'shape \(2,\)'",
        ),
        (lambda: OscillationTracker([0]).update([1.0]), "`codes` must be an array of integers"),
        (
            lambda: OscillationTracker([0]).update([1], threshold=-1.0),
            "`threshold` must be finite and above zero",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(code_lists)
def test_the_tracker_counts_reversals(rows):
    codes = np.array(rows)
    tracker = OscillationTracker(codes[0])
    for row in codes[1:]:
        tracker.update(row)
    assert_array_equal(tracker.num_reversals, reversals_of(codes.T))
    assert ((tracker.frequency >= 0) & (tracker.frequency <= 1)).all()


@given(positions, st.floats(0, 2))
def test_dampening_never_speeds_up(position, dampening):
    rate = reversal_rate(position, dampening=dampening)
    assert 0 <= rate <= reversal_rate(position)
    assert (rate == 0) == (dampening >= dampening_threshold(position))


@given(st.floats(0.01, 1), st.floats(0.001, 0.5), st.floats(0.001, 0.9))
def test_freezing_time_is_the_first_step_above_the_threshold(rate, momentum, threshold):
    steps = freezing_steps_approx(rate, momentum=momentum, threshold=threshold)
    path = rate * (1 - (1 - momentum) ** np.arange(20_000))
    above = np.flatnonzero(path > threshold * (1 + 1e-12))
    reached = above[0] if above.size else math.inf
    assert steps == reached or abs(steps - reached) <= 1 or steps > 19_000


# --- Theory against simulation ----------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 0.05, 0.005])
def test_the_rate_of_reversals_does_not_depend_on_the_learning_rate(rate):
    position = np.linspace(0.03, 0.97, 11)
    _, codes = simulate.latent_path(
        np.full(11, 0.5), position, grid=GRID, learning_rate=rate, num_steps=4000
    )
    measured = reversals_of(codes) / 4000
    # Changes are right to two, and the first of them is no reversal.
    assert_allclose(measured, reversal_rate(position), rtol=0, atol=3 / 4000)
    # Control: one reversal a visit instead of two is refused.
    assert np.abs(measured - reversal_rate(position) / 2).max() > 0.1


@pytest.mark.parametrize(
    ("position", "period"), [(0.3, 10), (0.5, 2), (0.25, 4), (1 / 3, 3), (math.sqrt(0.5), None)]
)
def test_width_of_the_oscillation(position, period):
    step, rate = 0.5, 0.02
    latents, _ = simulate.latent_path(
        0.5 * step + 1e-3, position * step, grid=infinite_grid(step), learning_rate=rate,
        num_steps=4000,
    )  # fmt: skip
    width = np.ptp(latents[2000:])
    expected = oscillation_amplitude(learning_rate=rate, grid_step=step, period=period)
    # An irrational rotation fills its circle up to gaps of the order of one over the steps.
    assert width == pytest.approx(expected, rel=2e-3, abs=0)


@pytest.mark.parametrize("strength", [0.05, 0.1, 0.2, 0.25])
def test_rate_with_dampening(strength):
    rates, errors = (0.02, 0.002), []
    for rate in rates:
        _, codes = simulate.latent_path(
            [0.5, 0.5], [0.3, 0.62], grid=GRID, learning_rate=rate, num_steps=20_000,
            dampening=strength,
        )  # fmt: skip
        measured = reversals_of(codes[:, 4000:]) / 16_000
        errors.append(np.abs(measured - reversal_rate([0.3, 0.62], dampening=strength)).max())
        # Control: the rate without the penalty is another.
        assert np.abs(measured - reversal_rate([0.3, 0.62])).min() > 0.01
    # The error is proportional to the learning rate, with a constant of order one.
    assert errors[0] < rates[0]
    assert errors[1] < rates[1]


@pytest.mark.parametrize(
    ("factor", "start", "code"),
    [(0.97, 0.9, None), (1.03, 0.9, 0), (1.03, 0.1, 0)],
    ids=["too weak", "from the far side", "from the near side"],
)
def test_dampening_stops_just_above_its_threshold(factor, start, code):
    strength = factor * float(dampening_threshold(0.3))
    latents, codes = simulate.latent_path(
        start, 0.3, grid=GRID, learning_rate=0.05, num_steps=4000, dampening=strength
    )
    if_moving = reversals_of(codes[2000:])[0] > 0
    assert if_moving == (code is None)
    assert code is None or (codes[-1] == code)
    assert code is None or latents[-1] == pytest.approx(0.3 / (2 * strength), rel=1e-9, abs=0)


@pytest.mark.parametrize(("factor", "code"), [(0.97, 0), (1.03, 1)])
def test_too_much_dampening_traps_in_the_wrong_cell(factor, code):
    strength = factor * float(trapping_threshold(0.3))
    _, codes = simulate.latent_path(
        0.9, 0.3, grid=GRID, learning_rate=0.05, num_steps=4000, dampening=strength
    )
    assert codes[-1] == code


def test_freezing_takes_the_level_nearest_to_the_minimizer():
    target = np.array([0.3, -1.2, 0.8, 2.6, 0.0])
    grid = uniform_midtread(num_levels=9, step_size=1.0)
    _, codes = simulate.latent_path(
        np.full(5, 0.4), target, grid=grid, learning_rate=0.05, num_steps=3000
    )
    late, early = (OscillationTracker(codes[:, 0], momentum=0.02) for _ in range(2))
    for time, column in enumerate(codes.T[1:]):
        late.update(column, threshold=0.1 if time > 1000 else 2.0)
        early.update(column, threshold=0.1)
    assert_array_equal(late.is_frozen, [True, True, True, True, False])
    assert_array_equal(late.apply(codes[:, -1]), np.rint(target))
    # Control: frozen at once, the running mean of the codes still remembers where they came from.
    assert_array_equal(early.is_frozen, late.is_frozen)
    assert (early.apply(codes[:, -1]) != np.rint(target)).sum() == 2


def test_a_reversal_in_every_step_freezes_when_it_should():
    tracker = OscillationTracker([0], momentum=0.01, threshold=0.1)
    tracker.update([1])
    frozen_after = [bool(tracker.update([k % 2])) and bool(tracker.is_frozen) for k in range(12)]
    assert frozen_after.index(True) + 1 == freezing_steps_approx(1.0, momentum=0.01, threshold=0.1)
    assert freezing_steps_approx(0.05, momentum=0.01, threshold=0.1) == math.inf
