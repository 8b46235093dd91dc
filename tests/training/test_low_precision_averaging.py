"""Averages of stochastic rounding: the floor from both sides, and what an average leaves of it."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import infinite_grid
from qtheory.training import (
    DeterministicRounding,
    DiscreteNoise,
    GaussianNoise,
    GradientDescent,
    LogisticRegression,
    NoNoise,
    Quadratic,
    RademacherNoise,
    Record,
    StochasticRounding,
    StudentTNoise,
    averaged_variance,
    averaging_bias_approx,
    descend,
    low_precision_variance_bounds,
    swalp,
)


def rounding_matrix(points, center, curvature, learning_rate, law):
    """Transition matrix of stochastic rounding on a parabola for a law of finitely many values."""
    step = points[1] - points[0]
    matrix = np.zeros((points.size, points.size))
    for value, probability in law:
        landed = points - learning_rate * (curvature * (points - center) + value)
        place = np.clip((landed - points[0]) / step, 0, points.size - 1)
        low = np.minimum(np.floor(place).astype(int), points.size - 2)
        rows = np.arange(points.size)
        np.add.at(matrix, (rows, low), probability * (1 - (place - low)))
        np.add.at(matrix, (rows, low + 1), probability * (place - low))
    return matrix


def stationary(matrix):
    """Stationary law by least squares on its defining equations."""
    size = matrix.shape[0]
    equations = np.vstack([matrix.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]


def exact_average(matrix, law, offset, num_averaged, cycle):
    """Mean square of the average of a stationary chain, from the powers of its matrix."""
    power = np.linalg.matrix_power(matrix, cycle)
    moved, total = offset.copy(), num_averaged * (law @ offset**2)
    for lag in range(1, num_averaged):
        moved = power @ moved
        total += 2 * (num_averaged - lag) * (law @ (offset * moved))
    return total / num_averaged**2


LAWS = {
    "two values": [(-1.0, 0.5), (1.0, 0.5)],
    "skewed": [(-0.5, 0.8), (2.0, 0.2)],
    "heavy": [(-8.0, 0.05), (0.0, 0.9), (8.0, 0.05)],
}
CHAINS = [
    pytest.param("two values", 0.1, 0.25, id="small steps"),
    pytest.param("two values", 0.6, 0.25, id="steps of several points"),
    pytest.param("skewed", 0.2, 0.5, id="skewed noise"),
    pytest.param("heavy", 0.1, 0.5, id="rare large noise"),
    pytest.param("two values", 0.1, 1.0, id="coarse grid"),
]
OVERSHOOTING = pytest.param("two values", 1.5, 0.25, id="steps beyond the minimizer")


def chain(name, learning_rate, step, curvature=0.9):
    """Return curvature, offsets, matrix and law of a chain too wide for its ends to count."""
    points = step * np.arange(-round(12 / step), round(12 / step) + 1)
    center = 0.3 * step
    matrix = rounding_matrix(points, center, curvature, learning_rate, LAWS[name])
    return curvature, points - center, matrix, stationary(matrix)


def law_noise(name):
    """Return the noise object of a law."""
    values, probabilities = zip(*LAWS[name], strict=True)
    return DiscreteNoise(values, probabilities)


# --- Unit -------------------------------------------------------------------------------------


def test_one_weight_is_its_own_average():
    value = averaged_variance(2.5, curvatures=1.0, learning_rate=0.1, num_averaged=1)
    assert value == pytest.approx(2.5, rel=1e-14, abs=0)


def test_two_weights_by_hand():
    value = averaged_variance(1.0, curvatures=2.0, learning_rate=0.1, num_averaged=2)
    assert value == pytest.approx((1 + 0.8) / 2, rel=1e-14, abs=0)


def test_cycles_contract_as_often_as_there_are_steps():
    apart = averaged_variance(1.0, curvatures=1.0, learning_rate=0.1, num_averaged=7, cycle=3)
    faster = averaged_variance(1.0, curvatures=1 - 0.9**3, learning_rate=1 - 1e-16, num_averaged=7)
    assert apart == pytest.approx(float(faster), rel=1e-13, abs=0)


def test_shapes_of_variances_and_curvatures_broadcast():
    values = averaged_variance(
        np.ones((3, 1)), curvatures=[1.0, 2.0], learning_rate=0.1, num_averaged=5
    )
    assert values.shape == (3, 2)
    low, high = low_precision_variance_bounds(
        grid_step=0.1, noise=GaussianNoise(), curvatures=[1.0, 2.0], learning_rate=0.1
    )
    assert low.shape == high.shape == (2,)


def test_small_steps_leave_the_gaussian_floor():
    low, high = low_precision_variance_bounds(
        grid_step=1e-8, noise=GaussianNoise(3.0), curvatures=0.5, learning_rate=1e-14
    )
    floor = 1e-8 * 3.0 / (math.sqrt(2 * math.pi) * 0.5)
    assert low == pytest.approx(floor, rel=1e-12, abs=0)
    assert high == pytest.approx(floor, rel=1e-3, abs=0)


def test_bounds_without_noise_and_with_too_much():
    low, high = low_precision_variance_bounds(
        grid_step=0.5, noise=NoNoise(), curvatures=2.0, learning_rate=0.1
    )
    assert low == 0.0
    # 2 - 0.2 times s is at most the grid step times the root of s.
    assert high == pytest.approx((0.5 / 1.8) ** 2, rel=1e-13, abs=0)
    low, high = low_precision_variance_bounds(
        grid_step=0.5, noise=StudentTNoise(1.5), curvatures=2.0, learning_rate=0.1
    )
    assert np.isinf(low)
    assert np.isinf(high)


def test_bias_by_hand_and_its_sign():
    bias = averaging_bias_approx(
        grid_step=0.1, mean_abs_gradient=2.0, curvature=0.5, third_derivative=3.0
    )
    assert bias == pytest.approx(-0.6, rel=1e-14, abs=0)


def test_swalp_is_a_run_of_stochastic_rounding():
    bowl = Quadratic([1.0, 2.0], minimizer=0.1)
    options = {"learning_rate": 0.05, "num_steps": 50, "noise": GaussianNoise()}
    grid, record = infinite_grid(0.25), Record(average_from=10, every=5)
    start = np.zeros((4, 2))
    run = swalp(bowl.gradient, start, grid=grid, record=record,
                rng=np.random.default_rng(1), **options)  # fmt: skip
    same = descend(bowl.gradient, start, rule=StochasticRounding(grid), record=record,
                   rng=np.random.default_rng(1), **options)  # fmt: skip
    assert_array_equal(run.latent_average, same.latent_average)
    assert_array_equal(run.weights % 0.25, 0.0)
    assert run.latent_record.shape == (10, 4, 2)


OPTIONS = {"curvatures": 1.0, "learning_rate": 0.1, "num_averaged": 3}
BOUND_OPTIONS = {
    "grid_step": 0.1, "noise": GaussianNoise(), "curvatures": 1.0, "learning_rate": 0.1,
}  # fmt: skip
BIAS = {"grid_step": 0.1, "mean_abs_gradient": 1.0, "curvature": 1.0, "third_derivative": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": -1.0}, "`variance` must be finite and not below zero, got -1.0"),
        ({"variance": math.nan}, "`variance` must be finite and not below zero"),
        ({"curvatures": 0.0}, "`curvatures` must be finite and above zero, got 0.0"),
        ({"curvatures": [1.0, math.inf]}, "`curvatures` must be finite and above zero"),
        ({"curvatures": []}, "`curvatures` must be an array with at least one element"),
        (
            {"curvatures": [0.5, 4.0], "learning_rate": 0.25},
            "`learning_rate` must be below 1 over the largest curvature, 4, got 0.25",
        ),
        ({"learning_rate": 0.0}, "`learning_rate` must be finite and above zero, got 0.0"),
        ({"num_averaged": 0}, "`num_averaged` must be an integer of at least 1, got 0"),
        ({"cycle": 0}, "`cycle` must be an integer of at least 1, got 0"),
    ],
)
def test_bad_averages_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        averaged_variance(**{"variance": 1.0, **OPTIONS, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid_step": 0.0}, "`grid_step` must be finite and above zero, got 0.0"),
        ({"noise": 1.0}, "`noise` must be GradientNoise, got 1.0"),
        ({"curvatures": -1.0}, "`curvatures` must be finite and above zero, got -1.0"),
        (
            {"learning_rate": 2.0},
            "`learning_rate` must be below 2 over the largest curvature, 1, got 2.0",
        ),
    ],
)
def test_bad_bounds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        low_precision_variance_bounds(**{**BOUND_OPTIONS, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid_step": 0.0}, "`grid_step` must be finite and above zero, got 0.0"),
        ({"mean_abs_gradient": -1.0}, "`mean_abs_gradient` must be finite and above zero"),
        ({"curvature": 0.0}, "`curvature` must be finite and above zero, got 0.0"),
        ({"third_derivative": math.inf}, "`third_derivative` must be finite, got inf"),
    ],
)
def test_bad_biases_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        averaging_bias_approx(**{**BIAS, **change})


# --- Property ---------------------------------------------------------------------------------

products = st.floats(1e-9, 0.999)
counts = st.integers(1, 10**6)


@pytest.mark.property
@given(products, counts, st.integers(1, 20))
def test_an_average_is_between_nothing_and_its_limit(product, count, cycle):
    value = averaged_variance(
        1.0, curvatures=1.0, learning_rate=product, num_averaged=count, cycle=cycle
    )
    gap = -math.expm1(cycle * math.log1p(-product))
    assert 1 / count * (1 - 1e-12) <= value <= 1 + 1e-12
    assert value <= 2 / (gap * count) * (1 + 1e-12)


@pytest.mark.property
@given(products, counts, st.integers(1, 20))
def test_longer_averages_and_cycles_are_better(product, count, cycle):
    def value(**changes):
        options = {"num_averaged": count, "cycle": cycle, **changes}
        return averaged_variance(1.0, curvatures=1.0, learning_rate=product, **options)

    assert value(num_averaged=count + 1) <= value() * (1 + 1e-10)
    assert value(cycle=cycle + 1) <= value() * (1 + 1e-10)


@pytest.mark.property
@given(products, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_bounds_are_in_order_and_keep_their_units(product, curvature, step, std):
    def bounds(unit):
        return low_precision_variance_bounds(
            grid_step=unit * step,
            noise=GaussianNoise(unit * std),
            curvatures=curvature,
            learning_rate=product / curvature,
        )

    low, high = bounds(1.0)
    assert 0 < low <= high * (1 + 1e-12)
    assert_allclose(bounds(4.0), (16 * low, 16 * high), rtol=1e-12)


# --- Theory against a reference ---------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("product", [1e-12, 1e-9, 1e-7, 0.99e-6, 1.01e-6, 1e-4, 0.1, 0.9])
@pytest.mark.parametrize("num_averaged", [2, 100, 10_000])
def test_average_against_many_digits(product, num_averaged):
    with mpmath.workdps(60):
        rho = 1 - mpmath.mpf(product)
        n = mpmath.mpf(num_averaged)
        exact = (n * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (1 - rho) ** 2) / n**2
        exact = float(exact)
    value = averaged_variance(1.0, curvatures=1.0, learning_rate=product, num_averaged=num_averaged)
    assert value == pytest.approx(exact, rel=1e-11, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("name", "learning_rate", "step"), CHAINS)
def test_the_mean_is_unbiased_and_the_average_as_stated(name, learning_rate, step):
    curvature, offset, matrix, law = chain(name, learning_rate, step)
    assert_allclose(law @ offset, 0.0, rtol=0, atol=1e-11)
    variance = law @ offset**2
    for num_averaged, cycle in ((1, 1), (40, 1), (25, 4)):
        theory = averaged_variance(
            variance,
            curvatures=curvature,
            learning_rate=learning_rate,
            num_averaged=num_averaged,
            cycle=cycle,
        )
        exact = exact_average(matrix, law, offset, num_averaged, cycle)
        assert theory == pytest.approx(exact, rel=1e-9, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("name", "learning_rate", "step"), [*CHAINS, OVERSHOOTING])
def test_the_exact_variance_is_between_its_bounds(name, learning_rate, step):
    curvature, offset, _, law = chain(name, learning_rate, step)
    low, high = low_precision_variance_bounds(
        grid_step=step, noise=law_noise(name), curvatures=curvature, learning_rate=learning_rate
    )
    assert low * (1 - 1e-10) <= law @ offset**2 <= high


@pytest.mark.theory_vs_sim
def test_the_lower_bound_is_sharp_and_the_identity_exact():
    # |gradient| times the learning rate stays below the grid step: the variance is exact.
    curvature, offset, _, law = chain("two values", 0.02, 0.25)
    mean_abs = 0.5 * law @ (np.abs(curvature * offset - 1) + np.abs(curvature * offset + 1))
    variance = law @ offset**2
    assert variance == pytest.approx(0.25 * mean_abs / (2 * curvature), rel=1e-10, abs=0)
    low, _ = low_precision_variance_bounds(
        grid_step=0.25, noise=RademacherNoise(1.0), curvatures=curvature, learning_rate=0.02
    )
    assert variance == pytest.approx(float(low), rel=0.01, abs=0)
    # Negative control: plain descent with this learning rate has no such floor.
    assert 0.02 / (curvature * (2 - 0.02 * curvature)) < 0.1 * low


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("curvature", [0.25, 0.5, 1.0])
def test_the_exact_floor_is_proportional_to_the_step_over_three_octaves(curvature):
    steps, variances = [1 / 2, 1 / 4, 1 / 8, 1 / 16], []
    for step in steps:
        _, offset, _, law = chain("two values", 0.03, step, curvature)
        low, high = low_precision_variance_bounds(
            grid_step=step, noise=RademacherNoise(1.0), curvatures=curvature, learning_rate=0.03
        )
        variances.append(law @ offset**2)
        assert low * (1 - 1e-10) <= variances[-1] <= high
    assert_slope(np.log(steps), np.log(variances), 1.0, tol=0.02)


@pytest.mark.theory_vs_sim
def test_the_mean_contracts_as_if_there_were_no_grid():
    # Any Hessian, any start: the expected weights are those of exact gradient descent.
    bowl = Quadratic([[2.0, 0.7], [0.7, 1.0]], minimizer=[0.3, -0.1])
    start = np.array([3.0, -2.0])
    options = {"learning_rate": 0.1, "num_steps": 12}
    run = descend(
        bowl.gradient,
        np.tile(start, (20_000, 1)),
        rule=StochasticRounding(infinite_grid(1.0)),
        rng=np.random.default_rng(76),
        noise=DiscreteNoise([-0.5, 2.0], [0.8, 0.2]),
        **options,
    )
    exact = np.linalg.matrix_power(np.eye(2) - 0.1 * bowl.hessian, 12) @ (start - bowl.minimizer)
    for mean, weights in zip(exact + bowl.minimizer, run.weights.T, strict=True):
        assert_mc_close(mean, Estimate.from_samples(weights), rel_resolution=0.1)
    # Negative control: rounded to nearest, weights stop while steps are still below a half.
    nearest = descend(
        bowl.gradient,
        start[None],
        rule=DeterministicRounding(infinite_grid(1.0)),
        rng=np.random.default_rng(76),
        **options,
    )
    assert np.abs(nearest.weights - bowl.minimizer - exact).max() > 1


@pytest.mark.theory_vs_sim
def test_rounding_to_nearest_breaks_the_theorem():
    # Negative control: the mean of nearest rounding stays where it started.
    points = np.round(np.zeros((2000, 1)))
    rng = np.random.default_rng(73)
    for _ in range(200):
        gradient = (points - 0.3) + 0.5 * rng.standard_normal(points.shape)
        points = np.round(points - 0.1 * gradient)
    assert np.abs(points).max() == 0.0


@pytest.mark.theory_vs_sim
def test_swalp_against_the_theorem():
    step, rate, num_averaged = 1 / 32, 0.01, 1500
    bowl = Quadratic([1.0, 2.5, 4.0], minimizer=0.3 * step)
    run = swalp(
        bowl.gradient,
        np.zeros((400, 3)),
        grid=infinite_grid(step),
        learning_rate=rate,
        num_steps=num_averaged + 600,
        rng=np.random.default_rng(74),
        noise=RademacherNoise(1.0),
        record=Record(average_from=600),
    )
    floor = step / (2 * bowl.hessian)
    theory = averaged_variance(
        floor, curvatures=bowl.hessian, learning_rate=rate, num_averaged=num_averaged
    )
    ratio = ((run.latent_average - bowl.minimizer) ** 2 / theory).mean(axis=-1)
    assert_mc_close(1.0, Estimate.from_samples(ratio), rel_resolution=0.25)
    # Negative controls: neither is the average the floor, nor the formula of plain descent.
    assert Estimate.from_samples(ratio * theory[0] / floor[0]).z_score(1.0) < -20
    plain = averaged_variance(
        rate / (bowl.hessian * (2 - rate * bowl.hessian)),
        curvatures=bowl.hessian,
        learning_rate=rate,
        num_averaged=num_averaged,
    )
    wrong = ((run.latent_average - bowl.minimizer) ** 2 / plain).mean(axis=-1)
    assert Estimate.from_samples(wrong).z_score(1.0) > 10


@pytest.mark.theory_vs_sim
def test_the_average_of_plain_descent_obeys_the_same_formula():
    bowl, rate = Quadratic([1.0, 3.0]), 0.1
    run = descend(
        bowl.gradient,
        np.zeros((2000, 2)),
        rule=GradientDescent(),
        learning_rate=rate,
        num_steps=300,
        rng=np.random.default_rng(75),
        noise=GaussianNoise(),
        record=Record(average_from=150),
    )
    variance = rate / (bowl.hessian * (2 - rate * bowl.hessian))
    theory = averaged_variance(
        variance, curvatures=bowl.hessian, learning_rate=rate, num_averaged=150
    )
    ratio = (run.latent_average**2 / theory).mean(axis=-1)
    assert_mc_close(1.0, Estimate.from_samples(ratio), rel_resolution=0.15)


@pytest.mark.theory_vs_sim
def test_without_a_parabola_a_bias_of_the_order_of_the_step_remains():
    problem = LogisticRegression([[1.0]] * 5, [1.0] * 4 + [-1.0], 0.1)
    noise, minimizer = GaussianNoise(0.5), problem.minimizer[0]
    chance = 1 / (1 + math.exp(-minimizer))
    steps, means, approximations = [1 / 8, 1 / 16, 1 / 32, 1 / 64], [], []
    for step in steps:
        points = step * np.arange(round(-12 / step), round(12 / step) + 1)
        slope = problem.gradient(points[:, None])[:, 0]
        ratios = np.log(noise.negative_part(slope[:-1]) / noise.positive_part(slope[1:]))
        weights = np.exp((log := np.append(0.0, np.cumsum(ratios))) - log.max())
        law = weights / weights.sum()
        assert_allclose(law @ slope, 0.0, rtol=0, atol=1e-13)
        means.append(law @ points - minimizer)
        approximations.append(
            averaging_bias_approx(
                grid_step=step,
                mean_abs_gradient=noise.mean_abs(0.0),
                curvature=problem.hessian(problem.minimizer)[0, 0],
                third_derivative=chance * (1 - chance) * (1 - 2 * chance),
            )
        )
    assert_slope(np.log(steps), np.log(means), 1.0, tol=0.02)
    # The error of the approximation is of second order.
    assert_allclose(means, approximations, rtol=0.015)
    assert means[-1] == pytest.approx(approximations[-1], rel=2e-3, abs=0)
