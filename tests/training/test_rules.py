"""Update rules by hand, against the quantizers of Part 1, and in their laws."""

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import RoundMode, UniformQuantizer, infinite_grid, uniform_midrise
from qtheory.training import (
    BinaryConnect,
    DeterministicRounding,
    GradientDescent,
    StochasticRounding,
)

GRID = infinite_grid(0.25)
SIGNS = uniform_midrise(num_levels=2, step_size=2.0)
SHIFTED = UniformQuantizer(0.5, offset=0.2, code_min=-3, code_max=2)
LOST = {  # rules and the weights from which a step of 0.1 against a gradient of 1 starts
    "sgd": GradientDescent(),
    "r": DeterministicRounding(GRID),
    "sr": StochasticRounding(GRID),
    "bc": BinaryConnect(GRID),
}


def generator(seed=0):
    return np.random.default_rng(seed)


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", LOST.values(), ids=LOST)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_are_kept_and_types_too(rule, dtype):
    latent, gradient = np.zeros((3, 2), dtype), np.ones((3, 2))
    moved = rule.update(latent, gradient, 0.1, rng=generator())
    assert moved.dtype == dtype
    assert moved is not latent
    assert not latent.any()
    assert (gradient == 1).all()
    weights = rule.weights(moved, rng=generator())
    assert weights.dtype == dtype
    assert moved.shape == weights.shape == (3, 2)


def test_plain_descent_by_hand():
    assert_allclose(GradientDescent().update(np.ones(2), np.array([1, -2]), 0.1), [0.9, 1.2])


def test_rounding_to_nearest_by_hand():
    rule = DeterministicRounding(GRID)
    moved = rule.update(np.zeros(4), np.array([-1.0, -1.3, -4.0, 12.0]), 0.1)
    assert moved.tolist() == [0.0, 0.25, 0.5, -1.25]


def test_latent_weights_remember_what_rounding_forgets():
    rule, latent = BinaryConnect(GRID), np.zeros(1)
    for _ in range(3):
        latent = rule.update(latent, np.array([-1.0]), 0.05)
    assert latent == pytest.approx([0.15], rel=1e-15, abs=0)
    assert rule.weights(latent) == [0.25]
    frozen = DeterministicRounding(GRID)
    assert frozen.update(np.zeros(1), np.array([-1.0]), 0.05) == [0.0]


def test_sign_of_zero_is_plus_one():
    assert BinaryConnect(SIGNS).weights([-0.0, 0.0, -1e-12, 7.0]).tolist() == [1, 1, -1, 1]


def test_halves_go_up_whatever_the_round_mode():
    assert BinaryConnect(GRID).weights([-0.125, 0.125, 0.375]).tolist() == [0.0, 0.25, 0.5]


def test_finite_grids_clip_weights():
    step = {"learning_rate": 1.0, "rng": generator()}
    far = np.array([-9.0, 9.0])
    assert_allclose(StochasticRounding(SHIFTED).update(np.full(2, 0.2), far, **step), [1.2, -1.3])
    assert_allclose(BinaryConnect(SHIFTED).weights([9.0, -9.0]), [1.2, -1.3])
    latent = BinaryConnect(SHIFTED, clip=True).update(np.full(2, 0.2), far, 1.0)
    assert_allclose(latent, [1.2, -1.3])
    assert BinaryConnect(SHIFTED).update(np.full(2, 0.2), far, 1.0).tolist() == [9.2, -8.8]


def test_start_is_copied_and_put_on_the_grid():
    start = np.array([0.25, 0.5 + 1e-12])
    levels = StochasticRounding(GRID).start(start)
    assert levels.tolist() == [0.25, 0.5]
    assert BinaryConnect(GRID).start(start) is not start


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StochasticRounding(0.25), "`grid` must be UniformQuantizer, got 0.25"),
        (lambda: BinaryConnect(GRID, forward="up"), "`forward` must be one of 'nearest'"),
        (lambda: BinaryConnect(GRID, clip=True), "`clip` must be False on an infinite grid"),
        (lambda: BinaryConnect(SIGNS, clip=1), "`clip` must be bool"),
        (
            lambda: DeterministicRounding(UniformQuantizer(1.0, round_mode=RoundMode.STOCHASTIC)),
            "`grid` must be deterministic in its round mode",
        ),
        (lambda: StochasticRounding(GRID).start([0.1]), "`start` must be on the grid"),
        (lambda: StochasticRounding(GRID).start([1e-6]), "`start` must be on the grid"),
        (lambda: DeterministicRounding(SIGNS).start([3.0]), "`start` must be on the grid"),
        (lambda: GradientDescent().start([np.nan]), "`start` must be finite"),
        (
            lambda: StochasticRounding(GRID).update(np.zeros(1), np.zeros(1), 0.1),
            "`rng` must be a numpy.random.Generator",
        ),
        (
            lambda: BinaryConnect(GRID, forward="stochastic").weights([0.1]),
            "`rng` must be a numpy.random.Generator",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Property ---------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.floats(0.01, 3), st.sampled_from([GRID, SIGNS, SHIFTED]))
def test_stochastic_rounding_picks_a_neighbor(seed, rate, grid):
    rng = generator(seed)
    start = grid(rng.standard_normal(20))
    gradient = rng.standard_normal(20)
    moved = StochasticRounding(grid).update(start, gradient, rate, rng=rng)
    assert_allclose(grid(moved), moved, rtol=0, atol=1e-12)
    target = start - rate * gradient
    if grid.is_finite:
        target = np.clip(target, grid.levels[0], grid.levels[-1])
    assert (np.abs(moved - target) < grid.step_size + 1e-12).all()


@given(st.integers(0, 2**32), st.sampled_from([GRID, SIGNS, SHIFTED]))
def test_nearest_rounding_agrees_with_the_quantizer(seed, grid):
    values = 2 * generator(seed).standard_normal(50)
    assert_allclose(BinaryConnect(grid).weights(values), grid(values), rtol=0, atol=1e-12)


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stochastic_rounding_is_unbiased(dtype):
    draws = StochasticRounding(GRID).update(
        np.full(200_000, 0.5, dtype), np.full(200_000, 0.7), 0.1, rng=generator(1)
    )
    assert_mc_close(0.43, Estimate.from_samples(draws))
    assert_mc_close(0.28, Estimate.from_samples(draws != 0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_zero_moves_no_weight_on_a_decimal_grid(dtype):
    grid = infinite_grid(0.1)
    start = StochasticRounding(grid).start((0.1 * np.arange(-500_000, 500_000)).astype(dtype))
    moved = StochasticRounding(grid).update(start, np.zeros(10**6), 1.0, rng=generator(3))
    assert_array_equal(moved, start)


def test_steps_below_the_spacing_of_single_precision_move_with_their_probability():
    # Near 2^23 float32 knows whole numbers only; a quarter of a step still moves one in four.
    start = np.full(200_000, 2.0**23, np.float32)
    rule = StochasticRounding(infinite_grid(1.0))
    moved = rule.update(start, np.full(200_000, -0.25), 1.0, rng=generator(4))
    assert_mc_close(0.25, Estimate.from_samples(moved != start))


def test_rounding_to_nearest_is_not():
    draws = DeterministicRounding(GRID).update(np.full(10, 0.5), np.full(10, 0.7), 0.1)
    assert_array_equal(draws, 0.5)


def test_forward_rounding_is_unbiased():
    rule = BinaryConnect(SHIFTED, forward="stochastic")
    draws = rule.weights(np.full(200_000, 0.35), rng=generator(2))
    assert_mc_close(0.35, Estimate.from_samples(draws))
