"""Floors and lemmas with their negative controls: what is smaller or perturbed fails."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st

from qtheory.numerics import Estimate
from qtheory.quantizers import ScalarQuantizer, infinite_grid, sign, uniform_midtread
from qtheory.training import (
    BinaryConnect,
    LogisticRegression,
    Quadratic,
    RademacherNoise,
    StochasticRounding,
    averaged_floor,
    deployed_floor,
    descend,
    inverse_time,
    low_precision_svrg,
    low_precision_svrg_floor,
    noise_free_sr_law,
    proximal_step,
    relax,
    sr_quadratic_law,
)

STEPS = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 16])
each_dimension = pytest.mark.parametrize("dimension", [2, 8, 32])
NOISE = RademacherNoise(1.0)


# --- The average of all iterates ----------------------------------------------------------------


def averaged_square(spread, ratio, offset, count):
    """Return E (average - w*)^2 after so many steps from the stationary law of variance s.

    The variance stays as it is at every rate; c_t is the mean of the sum times the weight.
    """
    cross, square = 0.0, 0.0
    for t in range(count):
        square += 2 * cross + spread
        cross = (1 - ratio / (t + offset)) * (cross + spread)
    return square / count**2


def offset_of(step, ratio):
    """Return an offset for which no step is longer than the grid's: gradients are at most 2."""
    return 2 * ratio / step


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("step", STEPS)
def test_floor_of_the_average_is_the_limit_of_its_moments(step, ratio):
    spread = sr_quadratic_law(1.0, grid_step=step, noise=NOISE).variance
    late = averaged_square(spread, ratio, offset_of(step, ratio), 40_000)
    floor = averaged_floor([1.0], grid_step=step, noise=NOISE, strong_convexity=1 / ratio)[0]
    assert 0.5 * late == pytest.approx(floor, rel=0.01, abs=0)
    # Negative controls: the floor of the iterates, and that of the other ratio.
    assert 0.5 * late < 0.7 * 0.5 * spread
    other = averaged_floor([1.0], grid_step=step, noise=NOISE, strong_convexity=ratio / 0.7)[0]
    assert abs(0.5 * late / other - 1) > 0.05


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize("step", STEPS[:3])
def test_floor_of_the_average_against_training(step, ratio):
    rng, count, offset = np.random.default_rng(41), 300, offset_of(step, ratio)
    law = sr_quadratic_law(1.0, grid_step=step, noise=NOISE)
    run = descend(
        lambda w: w,
        rng.choice(law.points, p=law.probabilities, size=(20_000, 1)),
        rule=StochasticRounding(infinite_grid(step)),
        learning_rate=inverse_time(1 / ratio, offset=offset),
        num_steps=count,
        rng=rng,
        noise=NOISE,
    )
    average = Estimate.from_samples(run.latent_average[:, 0] ** 2)
    assert_mc_close(
        averaged_square(law.variance, ratio, offset, count), average, rel_resolution=0.06
    )
    # Negative control: the average keeps less than the iterates, whose floor is the ratio zero's.
    assert average.z_score(law.variance) < -5


@pytest.mark.theory_vs_sim
def test_floors_of_averages_are_of_the_order_of_the_step():
    floors = [
        averaged_floor([1.0, 3.0], grid_step=step, noise=NOISE, strong_convexity=1.0)
        for step in STEPS[1:]
    ]
    # Noise of one size: a quarter of the step over one and the ratio of curvatures.
    expected = STEPS[1:, None] / 4 / np.array([2.0, 4.0])
    assert np.array(floors) == pytest.approx(expected, rel=0.03, abs=0)
    # Negative control: without the ratio in it.
    assert (np.array(floors) < 0.6 * STEPS[1:, None] / 4).all()


# --- A gradient from the wrong place ------------------------------------------------------------


def regression():
    """Return a logistic regression in three dimensions."""
    rng = np.random.default_rng(42)
    features = rng.standard_normal((40, 3))
    labels = np.where(features @ [1.0, -1.0, 0.5] + rng.standard_normal(40) > 0, 1.0, -1.0)
    return LogisticRegression(features, labels, 0.2)


PROBLEMS = {
    "logistic": regression(),
    "quadratic": Quadratic(np.diag([0.5, 1.0, 4.0]), minimizer=[0.3, -1.0, 0.0]),
    "rotated": Quadratic([[2.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.7]], minimizer=0.1),
}
places = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


def slack(problem, latent, deployed, *, share=0.5):
    """Return what is left of the lemma's inequality with a share of the smoothness."""
    product = problem.gradient(deployed) @ (latent - problem.minimizer)
    excess = problem.value(latent) - problem.minimum
    error = share * problem.smoothness * ((deployed - latent) ** 2).sum()
    bend = 0.5 * problem.strong_convexity * ((deployed - problem.minimizer) ** 2).sum()
    return float(product - excess + error - bend)


@pytest.mark.property
@pytest.mark.parametrize("name", PROBLEMS)
@given(latent=places, deployed=places)
def test_gradients_from_the_wrong_place_cost_the_square_of_the_error(name, latent, deployed):
    assert slack(PROBLEMS[name], latent, deployed) >= -1e-9


@pytest.mark.parametrize("share", [0.0, 0.25, 0.45])
def test_less_than_half_of_the_smoothness_is_too_little(share):
    # Negative control: the deployed weight is at the minimizer, where the gradient is zero.
    problem = PROBLEMS["quadratic"]
    latent = problem.minimizer + np.array([0.0, 0.0, 1.0])
    assert slack(problem, latent, problem.minimizer, share=share) < -0.1
    assert slack(problem, latent, problem.minimizer) == pytest.approx(0.0, rel=0, abs=1e-12)


# --- The fixed grid of variance reduction -------------------------------------------------------


@dataclass(frozen=True)
class Bowl:
    """Half the squared distance from a point, of which every sample has the same gradient."""

    minimizer: np.ndarray
    strong_convexity: float = 1.0

    def gradient(self, weights):
        """Return the full gradient."""
        return weights - self.minimizer

    def sample_gradient(self, weights, *, rng):
        """Return that of a sample."""
        return self.gradient(weights)


@pytest.mark.theory_vs_sim
@each_dimension
def test_a_quarter_of_the_floor_of_a_fixed_grid_is_reached(dimension):
    # Minimizers in the middle of a cell: both neighbors are half a step away in each coordinate.
    plan = {"learning_rate": 0.25, "num_inner": 60}
    reached, floors = [], []
    for step in STEPS:
        run = low_precision_svrg(
            Bowl(np.full(dimension, 0.5 * step)),
            np.zeros((3, dimension)),
            grid=infinite_grid(step),
            num_epochs=3,
            rng=np.random.default_rng(43),
            **plan,
        )
        reached.append(((run.weights - 0.5 * step) ** 2).sum(axis=-1))
        constants = {"strong_convexity": 1.0, "smoothness": 1.0, "dimension": dimension}
        floors.append(low_precision_svrg_floor(step, **plan, **constants))
    assert np.array(reached) == pytest.approx(0.25 * np.array(floors)[:, None] * np.ones(3))
    assert np.array(floors) == pytest.approx(dimension * STEPS**2, rel=1e-9, abs=0)
    # Negative control: a fifth of the floor fails.
    assert (0.2 * np.array(floors) < np.array(reached).T).all()


# --- Deployed weights ---------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize("step", STEPS[:3])
def test_weights_rounded_at_the_minimizer_have_the_deployed_floor(dimension, step):
    rng = np.random.default_rng(44)
    basis = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    hessian = basis @ np.diag(np.linspace(0.5, 3.0, dimension)) @ basis.T
    place = step * rng.uniform(-4, 4, dimension)
    problem = Quadratic(hessian, minimizer=place)
    rule = BinaryConnect(infinite_grid(step), forward="stochastic")
    rounded = rule.weights(np.broadcast_to(place, (30_000, dimension)), rng=rng)
    excess = Estimate.from_samples(problem.value(rounded) - problem.minimum)
    floor = deployed_floor(np.diag(hessian), grid_step=step, minimizer=place)
    assert_mc_close(floor, excess, rel_resolution=0.05)
    assert floor <= step**2 / 8 * np.trace(hessian)
    # Negative control: a tenth less.
    assert excess.z_score(0.9 * floor) > 5


@pytest.mark.theory_vs_sim
@each_dimension
def test_the_worst_deployed_floor_is_reached_between_grid_points(dimension):
    curvatures = np.linspace(0.5, 3.0, dimension)
    floors = [deployed_floor(curvatures, grid_step=step) for step in STEPS]
    laws = [noise_free_sr_law(0.5 * step, grid_step=step) for step in STEPS]
    squares = np.array([law.mean_square(0.5 * step) for law, step in zip(laws, STEPS, strict=True)])
    assert 0.5 * curvatures.sum() * squares == pytest.approx(floors, rel=1e-12, abs=0)
    assert np.diff(np.log2(floors)) == pytest.approx([-2.0] * 3, rel=0, abs=1e-12)
    # Negative control: minimizers elsewhere cost less.
    other = deployed_floor(curvatures, grid_step=0.5, minimizer=0.1)
    assert other < 0.7 * floors[0]


# --- Proximal maps ------------------------------------------------------------------------------

GRIDS = [
    pytest.param(sign(), id="binary"),
    pytest.param(ScalarQuantizer([-2.0, -0.5, 0.0, 3.0]), id="uneven"),
    pytest.param(uniform_midtread(bit_width=3, step_size=0.7), id="mid-tread"),
]
MAPS = [
    pytest.param(proximal_step, relax, np.abs, id="distance"),
    pytest.param(relax, proximal_step, lambda away: 0.5 * away**2, id="square"),
]


def objective(x, w, strength, distance, grid):
    """Return the proximal objective, with the nearest of all levels."""
    away = distance(np.subtract.outer(x, grid.levels)).min(axis=-1)
    return 0.5 * (x - w) ** 2 + strength * away


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("shrink", "other", "distance"), MAPS)
@pytest.mark.parametrize("w", [-2.3, -0.8, 0.17, 0.6, 1.9])
def test_perturbed_proximal_maps_lose(shrink, other, distance, grid, w):
    def value(x):
        return float(objective(np.asarray(x), w, 0.08, distance, grid))

    best = value(shrink(w, 0.08, grid))
    mesh = np.linspace(-4.0, 4.0, 80_001)
    least = objective(mesh, w, 0.08, distance, grid)
    # No point is lower, and the lowest of a fine mesh is next to it.
    assert best <= least.min() + 1e-12
    assert mesh[least.argmin()] == pytest.approx(shrink(w, 0.08, grid), rel=0, abs=1e-4)
    # Negative controls: other strengths, the other map, and the opposite direction.
    assert value(shrink(w, 0.06, grid)) > best + 1e-9
    assert value(shrink(w, 0.1, grid)) > best + 1e-9
    assert value(other(w, 0.08, grid)) > best + 1e-9
    assert value(2 * w - shrink(w, 0.08, grid)) > best + 1e-9


@pytest.mark.parametrize(("shrink", "other", "distance"), MAPS)
def test_two_nearest_levels_have_two_minimizers(shrink, other, distance):
    grid = sign()
    up = shrink(0.0, 0.3, grid)
    values = objective(np.array([up, -up, 0.0]), 0.0, 0.3, distance, grid)
    assert values[0] == values[1] < values[2]
    assert up > 0
    assert other(0.0, math.inf, grid) == 1.0
    # Negative control: away from the tie only the nearer level is best.
    near = objective(np.array([up, -up]), 0.05, 0.3, distance, grid)
    assert near[0] < near[1]
