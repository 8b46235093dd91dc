"""Bit centering and fixed grids with variance-reduced gradients."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import RoundMode, UniformQuantizer, infinite_grid, uniform_midtread
from qtheory.training import (
    LogisticRegression,
    centered_grid,
    halp,
    halp_bit_width,
    halp_contraction,
    low_precision_svrg,
    low_precision_svrg_floor,
)


@dataclass(frozen=True)
class LeastSquares:
    """Half the mean square of ``inputs @ w - targets``, written anew for these tests."""

    inputs: np.ndarray
    targets: np.ndarray

    @property
    def strong_convexity(self):
        """Smallest eigenvalue of the Hessian."""
        return float(np.linalg.eigvalsh(self.inputs.T @ self.inputs / len(self.inputs))[0])

    @property
    def sample_smoothness(self):
        """Largest squared length of an input."""
        return float((self.inputs**2).sum(axis=1).max())

    @property
    def minimizer(self):
        """Least-squares solution."""
        return np.linalg.lstsq(self.inputs, self.targets, rcond=None)[0]

    def gradient(self, weights):
        """Full gradient."""
        return (weights @ self.inputs.T - self.targets) @ self.inputs / len(self.inputs)

    def sample_gradient(self, weights, *, rng):
        """Gradient of one sample for each replica."""
        picks = rng.integers(0, len(self.inputs), weights.shape[:-1])
        rows = self.inputs[picks]
        return ((rows * weights).sum(axis=-1) - self.targets[picks])[..., None] * rows


def least_squares(dimension, seed=81):
    """Noisy regression on orthogonal rows of equal length: condition number of the samples d."""
    rng = np.random.default_rng(seed)
    rows = math.sqrt(dimension) * np.eye(dimension)
    inputs = np.concatenate([rows, -rows, rows])
    return LeastSquares(inputs, inputs.sum(axis=1) + rng.standard_normal(3 * dimension))


def logistic(dimension, penalty=1.0, seed=82):
    """Logistic regression with inputs of length 2: every sample is 1 + penalty smooth."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((100, dimension))
    inputs *= 2 / np.linalg.norm(inputs, axis=1, keepdims=True)
    labels = np.where(rng.random(100) < 1 / (1 + np.exp(-inputs.sum(axis=1))), 1.0, -1.0)
    return LogisticRegression(inputs, labels, penalty)


def distances(problem, result):
    """Return the squared distance of each center from the minimizer."""
    return ((result.centers - problem.minimizer) ** 2).sum(axis=-1)


def plan_of(mu, smoothness, num_inner):
    """Return the learning rate of the theorem, and the number of inner steps."""
    return {"learning_rate": mu / (2 * smoothness * (smoothness + mu)), "num_inner": num_inner}


CONSTANTS = {"strong_convexity": 1.0, "smoothness": 2.0}
PLAN = plan_of(1.0, 2.0, 60)


# --- Unit -------------------------------------------------------------------------------------


def test_centered_grid_surrounds_the_farthest_minimizer():
    grid = centered_grid(0.3, strong_convexity=0.1, bit_width=4)
    assert grid.num_levels == 15
    assert_allclose(grid.levels[[0, 7, -1]], [-3.0, 0.0, 3.0], rtol=1e-14, atol=1e-15)
    assert grid.round_mode is RoundMode.STOCHASTIC


def test_first_epoch_lands_on_the_centered_grid():
    problem = logistic(3)
    start = np.array([0.5, -0.2, 0.0])
    run = halp(problem, start, bit_width=4, num_epochs=1, rng=np.random.default_rng(1), **PLAN)
    norm = float(np.linalg.norm(problem.gradient(start)))
    grid = centered_grid(norm, strong_convexity=1.0, bit_width=4)
    assert run.grid_steps == pytest.approx(grid.step_size, rel=1e-14, abs=0)
    codes = (run.weights - start) / grid.step_size
    assert_allclose(codes, np.round(codes), rtol=0, atol=1e-12)
    assert np.abs(codes).max() <= 7


def test_one_inner_step_is_a_rounded_step_of_the_full_gradient():
    # At the center the samples cancel, whichever were drawn.
    problem, start = logistic(4), np.full(4, 0.3)
    plan = {"learning_rate": 0.2, "num_inner": 1, "num_epochs": 1}
    runs = [
        halp(problem, start, bit_width=40, rng=np.random.default_rng(seed), **plan).weights
        for seed in (1, 2)
    ]
    expected = start - 0.2 * problem.gradient(start)
    assert_allclose(runs, [expected, expected], rtol=0, atol=1e-10)


def test_shapes_of_replicas():
    run = halp(
        logistic(3), np.zeros((4, 5, 3)), bit_width=5, num_epochs=2,
        rng=np.random.default_rng(3), **PLAN,
    )  # fmt: skip
    assert run.centers.shape == (3, 4, 5, 3)
    assert run.grid_steps.shape == (2, 4, 5)
    assert run.weights.shape == (4, 5, 3)
    assert not run.centers.flags.writeable


def test_a_center_on_the_minimizer_stays():
    problem = LeastSquares(np.eye(2), np.zeros(2))
    run = halp(
        problem, np.zeros(2), bit_width=3, num_epochs=2, rng=np.random.default_rng(4), **PLAN
    )
    assert_array_equal(run.centers, 0.0)
    assert_array_equal(run.grid_steps, 0.0)


def test_the_start_is_left_as_it_is_and_runs_are_reproducible():
    start = np.zeros((2, 3))
    first, second = (
        halp(logistic(3), start, bit_width=4, num_epochs=2, rng=np.random.default_rng(5), **PLAN)
        for _ in range(2)
    )
    assert_array_equal(first.centers, second.centers)
    assert_array_equal(start, 0.0)


def test_fixed_grid_keeps_to_its_levels_whatever_its_own_mode():
    grid = uniform_midtread(bit_width=4, clip_max=2.0)
    run = low_precision_svrg(
        logistic(3), np.full(3, 0.11), grid=grid, num_epochs=3, rng=np.random.default_rng(6), **PLAN
    )
    codes = run.centers[1:] / grid.step_size
    assert_allclose(codes, np.round(codes), rtol=0, atol=1e-12)
    assert_array_equal(run.grid_steps, grid.step_size)


def test_contraction_without_rounding_is_that_of_variance_reduction():
    rate, mu, smooth = 0.05, 1.0, 4.0
    r = 2 * rate * mu * (1 - rate * smooth)
    last = (1 - r) ** 30
    plain = last + (1 - last) / r * 2 * (rate * smooth) ** 2
    value = halp_contraction(
        50, learning_rate=rate, num_inner=30, strong_convexity=mu, smoothness=smooth, dimension=7
    )
    assert value == pytest.approx(plain, rel=1e-12, abs=0)


def test_bits_by_hand():
    # Condition number one: 2^(b-1) - 1 must exceed the root of the dimension.
    assert halp_bit_width(strong_convexity=1.0, smoothness=1.0, dimension=1) == 3
    assert halp_bit_width(strong_convexity=1.0, smoothness=1.0, dimension=48) == 4
    assert halp_bit_width(strong_convexity=1.0, smoothness=1.0, dimension=49) == 5


def test_many_replicas_and_epochs_stay_finite_at_the_end_of_float64():
    run = halp(
        least_squares(2), np.zeros((10, 2)), bit_width=8, num_epochs=60,
        rng=np.random.default_rng(7), **plan_of(1.0, 2.0, 40),
    )  # fmt: skip
    assert distances(least_squares(2), run)[-1].max() < 1e-30


HALP = {"bit_width": 4, "learning_rate": 0.1, "num_inner": 5, "num_epochs": 2}
BOUND = {
    "learning_rate": 0.1, "num_inner": 5, "strong_convexity": 1.0, "smoothness": 2.0,
    "dimension": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bit_width": 1}, "`bit_width` must be an integer of at least 2, got 1"),
        ({"bit_width": 51}, "`bit_width` must be an integer of at most 50, got 51"),
        ({"learning_rate": 0.0}, "`learning_rate` must be finite and above zero, got 0.0"),
        ({"num_inner": 0}, "`num_inner` must be an integer of at least 1, got 0"),
        ({"num_epochs": 0}, "`num_epochs` must be an integer of at least 1, got 0"),
        ({"rng": 3}, r"`rng` must be a numpy\.random\.Generator, got 3"),
        ({"round_mode": RoundMode.FLOOR}, "`round_mode` must be one of"),
        ({"start": 0.0}, r"`start` must be finite, of shape \(\.\.\., d\), got 0.0"),
        ({"start": [np.nan] * 3}, r"`start` must be finite, of shape \(\.\.\., d\)"),
        ({"start": []}, "`start` must be an array with at least one element"),
    ],
)
def test_bad_runs_are_refused(change, message):
    arguments = {"start": np.zeros(3), "rng": np.random.default_rng(8), **HALP, **change}
    with pytest.raises(ValueError, match=message):
        halp(logistic(3), **arguments)


def test_a_problem_without_curvature_and_a_grid_of_another_kind_are_refused():
    flat = LeastSquares(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match=r"`problem\.strong_convexity` must be finite and above"):
        halp(flat, np.zeros(3), rng=np.random.default_rng(9), **HALP)
    plan = {"learning_rate": 0.1, "num_inner": 5, "num_epochs": 2}
    with pytest.raises(ValueError, match="`grid` must be UniformQuantizer, got 3"):
        low_precision_svrg(logistic(3), np.zeros(3), grid=3, rng=np.random.default_rng(9), **plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.5}, "`learning_rate` must be below 1/smoothness = 0.5, got 0.5"),
        ({"learning_rate": -1.0}, "`learning_rate` must be finite and above zero, got -1.0"),
        ({"num_inner": 0}, "`num_inner` must be an integer of at least 1, got 0"),
        ({"strong_convexity": 0.0}, "`strong_convexity` must be finite and above zero, got 0.0"),
        ({"smoothness": 0.5}, "`smoothness` must be at least `strong_convexity`, got 0.5"),
        ({"dimension": 0}, "`dimension` must be an integer of at least 1, got 0"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda **kwargs: halp_contraction(4, **kwargs), id="contraction"),
        pytest.param(lambda **kwargs: low_precision_svrg_floor(0.1, **kwargs), id="floor"),
    ],
)
def test_bad_constants_are_refused(call, change, message):
    with pytest.raises(ValueError, match=message):
        call(**{**BOUND, **change})


def test_what_no_theorem_covers_is_refused():
    with pytest.raises(ValueError, match="`learning_rate` must be such that an epoch without"):
        low_precision_svrg_floor(0.1, **{**BOUND, "learning_rate": 0.4})
    with pytest.raises(ValueError, match="`grid_step` must be finite and above zero, got 0"):
        low_precision_svrg_floor(0.0, **BOUND)
    with pytest.raises(ValueError, match="`smoothness` must be small enough for 50 bits to do"):
        halp_bit_width(strong_convexity=1.0, smoothness=1e9, dimension=3)
    with pytest.raises(ValueError, match="`gradient_norm` must be finite and above zero, got 0"):
        centered_grid(0.0, strong_convexity=1.0, bit_width=4)
    with pytest.raises(ValueError, match="`bit_width` must be an integer of at least 2, got 1"):
        centered_grid(1.0, strong_convexity=1.0, bit_width=1)


# --- Property ---------------------------------------------------------------------------------

kappas = st.floats(1.0, 1e3)
dimensions = st.integers(1, 10**6)


@pytest.mark.property
@given(kappas, dimensions, st.floats(1e-3, 1e3))
def test_the_stated_number_of_bits_is_the_first_that_contracts(kappa, dimension, mu):
    constants = {"strong_convexity": mu, "smoothness": kappa * mu}
    bits = halp_bit_width(dimension=dimension, **constants)
    assume(bits > 2)
    # Far more inner steps than the slowest direction needs.
    plan = plan_of(mu, kappa * mu, math.ceil(200 * kappa * (kappa + 1)))
    assert halp_contraction(bits, dimension=dimension, **plan, **constants) < 1 + 1e-9
    factors = np.array([1.0, 0.5, 2.0]) * plan["learning_rate"]
    for rate in factors[factors * kappa * mu < 1]:
        plan = {"learning_rate": rate, "num_inner": 10**9}
        assert halp_contraction(bits - 1, dimension=dimension, **plan, **constants) > 1 - 1e-9


@pytest.mark.property
@given(kappas, dimensions, st.floats(0.01, 0.99), st.integers(1, 1000), st.integers(2, 49))
def test_bits_help_and_dimensions_hurt(kappa, dimension, product, num_inner, bits):
    def factor(bit_width=bits, d=dimension):
        return halp_contraction(
            bit_width,
            learning_rate=product / kappa,
            num_inner=num_inner,
            strong_convexity=1.0,
            smoothness=kappa,
            dimension=d,
        )

    assert factor(bits + 1) <= factor()
    assert factor(d=dimension + 1) >= factor()
    assert factor() > 0


@pytest.mark.property
@given(st.floats(1e-3, 1e3), st.integers(1, 100))
def test_floor_scales_with_the_square_of_the_step_and_the_dimension(step, dimension):
    one = low_precision_svrg_floor(1.0, dimension=1, **PLAN, **CONSTANTS)
    value = low_precision_svrg_floor(step, dimension=dimension, **PLAN, **CONSTANTS)
    assert value == pytest.approx(one * step**2 * dimension, rel=1e-12, abs=0)


# --- Theory against simulation ----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("dimension", [2, 8, 32])
@pytest.mark.parametrize("bit_width", [4, 6, 8, 12])
def test_every_epoch_contracts_at_least_as_stated(dimension, bit_width):
    problem = logistic(dimension)
    run = halp(
        problem,
        np.zeros((40, dimension)),
        bit_width=bit_width,
        num_epochs=4,
        rng=np.random.default_rng(83),
        **PLAN,
    )
    bound = halp_contraction(bit_width, dimension=dimension, **PLAN, **CONSTANTS)
    missed = distances(problem, run).mean(axis=1)
    assert (missed[1:] <= bound * missed[:-1]).all()


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("dimension", [2, 4])
def test_least_squares_converge_linearly_with_the_stated_bits(dimension):
    problem = least_squares(dimension)
    mu, smooth = problem.strong_convexity, problem.sample_smoothness
    constants = {"strong_convexity": mu, "smoothness": smooth, "dimension": dimension}
    bits = halp_bit_width(**constants)
    plan = plan_of(mu, smooth, 80 * dimension)
    start = np.zeros((40, dimension))
    run = halp(problem, start, bit_width=bits, num_epochs=5, rng=np.random.default_rng(84), **plan)
    missed = distances(problem, run).mean(axis=1)
    bound = halp_contraction(bits, **plan, **constants)
    assert bound < 1
    assert (missed[1:] <= bound * missed[:-1]).all()


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("bit_width", [4, 5, 6])
def test_a_fixed_grid_has_a_floor_below_its_bound(bit_width):
    problem, grid = logistic(4), uniform_midtread(bit_width=bit_width, clip_max=4.0)
    run = low_precision_svrg(
        problem, np.zeros((200, 4)), grid=grid, num_epochs=5, rng=np.random.default_rng(85), **PLAN
    )
    bound = low_precision_svrg_floor(grid.step_size, dimension=4, **PLAN, **CONSTANTS)
    missed = Estimate.from_samples(distances(problem, run)[-1])
    assert missed.z_score(bound) < -5
    # It is a floor: a grid point is no nearer than the rounded minimizer.
    nearest = ((grid(problem.minimizer) - problem.minimizer) ** 2).sum()
    assert distances(problem, run)[1:].min() >= nearest * (1 - 1e-12)
    # Centering with as many bits ends far below.
    centered = halp(
        problem, np.zeros((20, 4)), bit_width=bit_width, num_epochs=5,
        rng=np.random.default_rng(86), **PLAN,
    )  # fmt: skip
    assert distances(problem, centered)[-1].mean() < 0.01 * missed.mean


@pytest.mark.theory_vs_sim
def test_two_bits_are_too_few():
    # Negative control: the bound is above one, and the distance grows.
    problem = logistic(8)
    run = halp(
        problem, np.zeros((40, 8)), bit_width=2, num_epochs=5, rng=np.random.default_rng(87), **PLAN
    )
    assert halp_contraction(2, dimension=8, **PLAN, **CONSTANTS) > 1
    missed = distances(problem, run).mean(axis=1)
    assert (missed[1:] > 1.2 * missed[:-1]).all()


@pytest.mark.theory_vs_sim
def test_rounding_to_nearest_never_takes_the_first_step():
    # Negative control: rate * mu * (2^(b-1) - 1) = 0.25 is below a half, so every code is zero.
    problem, start = logistic(8), np.full((5, 8), 0.4)
    options = {"bit_width": 3, "num_epochs": 4, "rng": np.random.default_rng(88), **PLAN}
    run = halp(problem, start, round_mode=RoundMode.TIES_TO_EVEN, **options)
    assert_array_equal(run.centers, np.broadcast_to(start, (5, 5, 8)))
    moved = halp(problem, start, **options)
    assert (moved.weights != start).any()


@pytest.mark.theory_vs_sim
def test_samples_at_both_points_are_the_same():
    # Negative control: with samples drawn twice the noise does not vanish at the minimizer.
    @dataclass(frozen=True)
    class Careless(LeastSquares):
        def sample_gradient(self, weights, *, rng):
            own = np.random.default_rng(int(1e9 * abs(float(weights.sum()) % 1)))
            return super().sample_gradient(weights, rng=own)

    good = least_squares(2)
    bad = Careless(good.inputs, good.targets)
    options = {"bit_width": 12, "num_epochs": 6, **plan_of(1.0, 2.0, 60)}
    start = np.zeros((20, 2))
    ends = [
        distances(problem, halp(problem, start, rng=np.random.default_rng(89), **options))[-1]
        for problem in (good, bad)
    ]
    assert ends[0].max() < 1e-7
    assert ends[1].mean() > 1e3 * ends[0].mean()


@pytest.mark.theory_vs_sim
def test_an_infinite_grid_is_a_fixed_grid_too():
    problem = logistic(2)
    grid = infinite_grid(0.25)
    assert isinstance(grid, UniformQuantizer)
    run = low_precision_svrg(
        problem, np.zeros((200, 2)), grid=grid, num_epochs=4, rng=np.random.default_rng(90), **PLAN
    )
    bound = low_precision_svrg_floor(0.25, dimension=2, **PLAN, **CONSTANTS)
    assert Estimate.from_samples(distances(problem, run)[-1]).z_score(bound) < -5
