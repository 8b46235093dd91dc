"""The plan for a practitioner: feasibility, initialization, and what it says about its limits."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtheory.errors import AssumptionWarning
from qtheory.meanfield.asymptotics import levels_for_depth
from qtheory.meanfield.maps import correlation_map_slope, variance_map
from qtheory.meanfield.plan import plan
from qtheory.meanfield.staircases import uniform_staircase

# --- Unit -------------------------------------------------------------------------------------


def test_sixteen_levels_and_a_hundred_layers():
    answer = plan(levels=16, depth=100)
    # 40-digit reference: depth scale 86.132491056.
    assert answer.depth_scale == pytest.approx(86.132491056, rel=1e-10, abs=0)
    assert answer.trainable_depth == pytest.approx(6 * 86.132491056, rel=1e-10, abs=0)
    assert answer.margin == pytest.approx(5.167949, abs=1e-6)
    assert answer.signal_left == pytest.approx(0.9884571155686**100, rel=1e-9, abs=0)
    assert (answer.feasible, answer.is_uncertain) == (True, False)
    assert (answer.levels_needed, answer.bits_needed) == (7, 3)
    assert answer.threshold_step == answer.level_step == 2 / 15
    assert answer.spacing == pytest.approx(0.3352006122, rel=1e-9, abs=0)
    assert answer.variance == pytest.approx(0.158222363, abs=1e-9)
    assert answer.weight_variance == pytest.approx(1.0058218920**2, rel=1e-9, abs=0)
    assert answer.straight_through_slope == pytest.approx(1.000199, abs=1e-6)
    assert answer.straight_through_window == 1.0
    assert answer.smallest_variance == 0.0


@pytest.mark.parametrize(
    ("levels", "feasible_depth"), [(2, 13), (4, 47), (8, 157), (16, 516), (64, 5765)]
)
def test_trainable_depths_by_hand(levels, feasible_depth):
    # Six times 2.2144, 7.9037, 26.2065, 86.1325 and 960.996.
    assert plan(levels=levels, depth=feasible_depth).feasible
    assert not plan(levels=levels, depth=feasible_depth + 1).feasible


@pytest.mark.parametrize(
    ("levels", "smallest"), [(3, 0.05497110), (5, 0.01744585), (7, 0.00837178), (15, 0.00165528)]
)
def test_odd_numbers_of_levels_warn_of_the_dead_zone(levels, smallest):
    with pytest.warns(AssumptionWarning, match=f"With {levels} levels zero is a level"):
        answer = plan(levels=levels, depth=10)
    # The reference is the second moment of the activations; the weights turn it into a variance.
    expected = answer.weight_variance * smallest
    assert answer.smallest_variance == pytest.approx(expected, abs=7e-9)
    assert "die out" in str(answer)


@pytest.mark.parametrize("levels", [2, 4, 16, 2**20, 2**64])
def test_even_numbers_do_not_warn(levels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "die out" not in str(plan(levels=levels, depth=10))


def test_report_in_words():
    text = str(plan(levels=4, depth=100))
    assert text.startswith("100 layers with 4 levels: not feasible.")
    assert "levels needed      7 (3 bits)" in text
    assert "weight variance    1.13488 / fan_in, biases zero" in text
    assert "12.7 depth scales" in text or "13 depth scales" in text
    assert "100 layers with 16 levels: feasible." in str(plan(levels=16, depth=100))


@pytest.mark.parametrize(
    ("depth", "uncertain", "words"),
    [(31, False, "below 4"), (40, True, "low"), (71, True, "low"), (72, False, "above 9")],
)
def test_certainty_between_four_and_nine_depth_scales(depth, uncertain, words):
    # Four levels: 4 and 9 depth scales are 31.6 and 71.1 layers.
    answer = plan(levels=4, depth=depth)
    assert answer.is_uncertain is uncertain
    assert words in str(answer)


def test_a_plan_does_not_change():
    with pytest.raises(AttributeError):
        plan(levels=4, depth=10).depth = 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 1, "depth": 9}, "`levels` must be an integer of at least 2, got 1"),
        ({"levels": 4.5, "depth": 9}, "`levels` must be an integer, got 4.5"),
        ({"levels": 2**65, "depth": 9}, "`levels` must be an integer of at most"),
        ({"levels": 4, "depth": 0}, "`depth` must be an integer of at least 1, got 0"),
        ({"levels": 4, "depth": 9, "multiple": 0.0}, "`multiple` must be finite and above zero"),
    ],
)
def test_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**arguments)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(half=st.integers(1, 2**20), depth=st.integers(1, 10**9), multiple=st.floats(0.5, 20.0))
def test_feasible_means_enough_levels(half, depth, multiple):
    answer = plan(levels=2 * half, depth=depth, multiple=multiple)
    assert answer.feasible == (answer.levels >= answer.levels_needed)
    assert answer.levels_needed == levels_for_depth(depth, multiple=multiple)
    assert 2**answer.bits_needed >= answer.levels_needed > 2 ** (answer.bits_needed - 1)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("levels", [4, 16, 64])
def test_the_initialization_holds_variance_and_slope(levels):
    answer = plan(levels=levels, depth=10)
    staircase = uniform_staircase(levels)
    after = variance_map(staircase, answer.variance, weight_variance=answer.weight_variance)
    assert after == pytest.approx(answer.variance, rel=1e-12, abs=0)
    options = {"variance": answer.variance, "weight_variance": answer.weight_variance}
    slope = correlation_map_slope(staircase, 0.0, **options)
    assert slope == pytest.approx(answer.chi, rel=1e-12, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("levels", [4, 16, 64])
def test_gradients_keep_their_size(levels):
    answer = plan(levels=levels, depth=10)
    inside = math.erf(answer.straight_through_window / math.sqrt(2 * answer.variance))
    gain = answer.weight_variance * answer.straight_through_slope**2 * inside
    assert gain == pytest.approx(1.0, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("levels", [3, 15, 255, 2**40 + 1])
def test_the_dead_zone_ends_at_an_unstable_fixed_point(levels):
    with pytest.warns(AssumptionWarning, match="zero is a level"):
        answer = plan(levels=levels, depth=10)
    staircase = uniform_staircase(levels)
    start = answer.smallest_variance * np.array([0.99, 1.0, 1.01])
    after = variance_map(staircase, start, weight_variance=answer.weight_variance)
    assert after[1] == pytest.approx(start[1], rel=1e-10, abs=0)
    assert after[0] < start[0]
    assert after[2] > start[2]


@pytest.mark.theory_vs_sim
def test_another_weight_variance_is_worse():
    answer = plan(levels=16, depth=10)
    staircase = uniform_staircase(16)
    slopes = []
    for variance in answer.variance * np.array([0.5, 1.0, 2.0]):
        moment = staircase.second_moment(variance)
        slopes.append(staircase.cross_moment_slope(0.0, variance) / moment)
    assert slopes[0] < slopes[1] > slopes[2]
