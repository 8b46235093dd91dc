"""Temperatures and Gibbs laws against the chains that they describe."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.numerics import Estimate
from qtheory.training import (
    DiscreteNoise,
    GaussianNoise,
    RademacherNoise,
    ThreeBasins,
    crossover_learning_rate,
    gibbs_law,
    limit_chain,
    sgd_temperature,
    sr_chain,
    sr_temperature,
    stationary_law,
    total_variation,
    trapezoid_potential,
)

TOY_AXIS = np.linspace(-3.0, 8.0, 23)
TOY = ThreeBasins()
positive = st.floats(1e-3, 1e3)


# --- Unit -------------------------------------------------------------------------------------


def test_temperatures_by_hand():
    assert sr_temperature(0.5, 3.0) == 0.75
    assert sgd_temperature(0.5, 3.0) == 0.75
    assert crossover_learning_rate(0.5, 3.0, 10.0) == 0.15
    assert crossover_learning_rate(0.5, 2.0**-600, 2.0**-1000) == 2.0**399
    assert sr_temperature(0.5, 0.0) == sgd_temperature(0.5, 0.0) == 0.0


def test_gibbs_law_by_hand():
    law = gibbs_law([0.0, math.log(2.0), math.inf], 1.0)
    assert_allclose(law, [2 / 3, 1 / 3, 0.0], rtol=1e-15)
    assert_allclose(gibbs_law([1e308, -1e308], 1e-3), [0.0, 1.0], rtol=0)
    assert_allclose(gibbs_law([[1e6, 1e6 + 1], [1e6, 2e6]], 1e3).sum(), 1.0, rtol=1e-15)


def test_trapezoid_potential_by_hand():
    potential = trapezoid_potential([2.0, 0.0, -1.0, 3.0], [0.0, 0.5, 1.0, 1.5])
    assert_allclose(potential, [0.75, 1.25, 1.0, 1.5] - np.float64(0.75), rtol=0, atol=1e-15)
    assert_allclose(trapezoid_potential([2.0, -2.0, 2.0], [0, 1, 3]), [0, 0, 0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sr_temperature(0.0, 1.0), "`grid_step` must be finite and above zero"),
        (lambda: sr_temperature(1.0, -1.0), "`mean_abs_gradient` must be finite and not below"),
        (lambda: sgd_temperature(0.0, 1.0), "`learning_rate` must be finite and above zero"),
        (lambda: sgd_temperature(1.0, math.inf), "`variance` must be finite and not below zero"),
        (lambda: crossover_learning_rate(-1.0, 1.0, 1.0), "`grid_step` must be finite and above"),
        (lambda: crossover_learning_rate(1.0, 0.0, 1.0), "`mean_abs` must be finite and above"),
        (lambda: crossover_learning_rate(1.0, 1e200, 1.0), "`mean_square` must be at least the sq"),
        (lambda: crossover_learning_rate(1.0, 1.0, math.inf), "`mean_square` must be finite and"),
        (
            lambda: crossover_learning_rate(1.0, 2.0, 3.0),
            "`mean_square` must be at least the square of `mean_abs`, which is 2.0, got 3.0",
        ),
        (lambda: gibbs_law([0.0, 1.0], 0.0), "`temperature` must be finite and above zero"),
        (lambda: gibbs_law([0.0, math.nan], 1.0), "`potential` must be nonempty, without NaN"),
        (lambda: gibbs_law([0.0, -math.inf], 1.0), "`potential` must be nonempty, without NaN"),
        (lambda: gibbs_law([], 1.0), "`potential` must be nonempty"),
        (lambda: gibbs_law([math.inf], 1.0), "`potential` must be finite at one state at least"),
        (lambda: trapezoid_potential([1.0], [1.0]), "`points` must be finite, at least two"),
        (lambda: trapezoid_potential([1.0, 1.0], [1.0, math.nan]), "`points` must be finite, at"),
        (lambda: trapezoid_potential([1.0, 1.0], [1.0, 0.0]), "`points` must be increasing"),
        (
            lambda: trapezoid_potential([1.0], [1.0, 2.0]),
            r"`gradient` must be of the shape of `points`, \(2,\), got \(1,\)",
        ),
        (
            lambda: trapezoid_potential([1.0, math.inf], [1.0, 2.0]),
            "`gradient` must be finite at every point",
        ),
        (
            lambda: trapezoid_potential([1e308, 1e308], [0.0, 1e9]),
            "`gradient` must be small enough for a finite potential",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(positive, positive)
def test_temperatures_meet_at_the_crossover(step, std):
    noise = GaussianNoise(std)
    rate = crossover_learning_rate(step, noise.mean_abs(), noise.mean_square())
    assert rate == pytest.approx(math.sqrt(2 / math.pi) * step / std, rel=1e-12, abs=0)
    cold = sr_temperature(step, noise.mean_abs())
    assert sgd_temperature(rate, noise.mean_square()) == pytest.approx(cold, rel=1e-12, abs=0)
    assert cold == pytest.approx(step * std / math.sqrt(2 * math.pi), rel=1e-12, abs=0)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), positive, st.floats(-1e3, 1e3))
def test_gibbs_laws_do_not_see_a_constant(potential, temperature, constant):
    law = gibbs_law(potential, temperature)
    assert law.sum() == pytest.approx(1, rel=1e-14, abs=0)
    shifted = gibbs_law(np.add(potential, constant), temperature)
    # The sum keeps the potential to the last digit of a thousand.
    assert_allclose(shifted, law, rtol=1e-12 * (1 + 1 / temperature), atol=1e-300)
    assert total_variation(shifted, law) <= 1e-12 * (1 + 1 / temperature)


@given(st.integers(2, 30), st.floats(-3, 3), st.floats(-3, 3), positive)
def test_the_trapezoid_is_exact_for_parabolas(count, curvature, slope, step):
    points = step * np.arange(count)
    potential = trapezoid_potential(lambda w: curvature * w + slope, points)
    exact = 0.5 * curvature * points**2 + slope * points
    scale = np.abs(exact).max() + 1e-300
    assert_allclose(potential, exact - exact.min(), rtol=0, atol=1e-13 * count * scale + 1e-13)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
def test_the_limit_law_of_the_toy_is_nearly_that_of_the_trapezoid():
    noise = GaussianNoise(2.0)
    law = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=noise))
    temperature = sr_temperature(0.5, noise.mean_abs())
    assert temperature == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-14, abs=0)
    seen = gibbs_law(trapezoid_potential(TOY.gradient, TOY_AXIS), temperature)
    assert total_variation(seen, law) == pytest.approx(0.0277, rel=0, abs=5e-5)
    # Stochastic rounding does not see what the objective does between grid points.
    true = gibbs_law(TOY.value(TOY_AXIS), temperature)
    assert total_variation(true, law) == pytest.approx(0.186, rel=0, abs=5e-4)
    # Half the temperature is far off.
    cold = gibbs_law(trapezoid_potential(TOY.gradient, TOY_AXIS), 0.5 * temperature)
    assert total_variation(cold, law) > 0.1


@pytest.mark.theory_vs_sim
def test_strong_noise_makes_the_law_one_of_gibbs_to_second_order_in_the_slope():
    sizes, distances = np.array([20.0, 40.0, 80.0]), []
    for size in sizes:
        # The temperature stays, as the slope grows with the noise, over a finer grid.
        step = 4 / size
        axis = step * np.arange(-int(size), int(size) + 1)
        noise = RademacherNoise(size)
        law = stationary_law(limit_chain(axis**3 - axis, axis, noise=noise), allow_transient=True)
        heat = sr_temperature(step, noise.mean_abs())
        near = np.abs(axis) <= 3
        seen = gibbs_law(trapezoid_potential(axis**3 - axis, axis)[near], heat)
        distances.append(total_variation(law[near] / law[near].sum(), seen))
    assert_slope(np.log(sizes), np.log(distances), -2.0, tol=0.1)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("batch_size", "mean"), [(2, 0.50786), (4, 0.41565), (8, 0.35322)])
def test_batches_cool_stochastic_rounding_by_their_square_root(batch_size, mean):
    noise = GaussianNoise(4.0).averaged(batch_size)
    law = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=noise))
    assert law @ TOY.value(TOY_AXIS) == pytest.approx(mean, rel=0, abs=5e-6)
    single = sr_temperature(0.5, GaussianNoise(4.0).mean_abs())
    heat = sr_temperature(0.5, noise.mean_abs())
    assert heat == pytest.approx(single / math.sqrt(batch_size), rel=1e-13, abs=0)
    cool = sgd_temperature(0.1, noise.mean_square())
    assert cool == pytest.approx(sgd_temperature(0.1, 16.0) / batch_size, rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
def test_energy_on_a_parabola_is_half_the_temperature_of_the_hotter_noise():
    axis, noise, step = np.linspace(-12.0, 12.0, 193), GaussianNoise(2.0), 0.125
    star = crossover_learning_rate(step, noise.mean_abs(), noise.mean_square())
    slow = stationary_law(sr_chain(axis, axis, learning_rate=star / 100, noise=noise))
    fast = stationary_law(sr_chain(axis, axis, learning_rate=10 * star, noise=noise))
    # E w^2 / T of stochastic rounding; its gradient has mean size 1.02 times that of the noise.
    assert slow @ axis**2 == pytest.approx(sr_temperature(step, noise.mean_abs()), rel=0.03, abs=0)
    rate = 10 * star
    exact = 2 * sgd_temperature(rate, 4.0) / (2 - rate)
    assert fast @ axis**2 == pytest.approx(exact, rel=0.01, abs=0)


@pytest.mark.theory_vs_sim
def test_gradient_descent_has_its_temperature():
    rng = np.random.default_rng(3)
    noise, rate = DiscreteNoise([-1.0, 3.0], [0.75, 0.25]), 0.05
    w = np.zeros(100_000)
    for _ in range(200):
        w -= rate * (w + noise.sample(w.shape, rng=rng))
    theory = sgd_temperature(rate, noise.std**2) / (1 - rate / 2)
    assert_mc_close(theory, Estimate.from_samples(w**2))
    assert abs(Estimate.from_samples(w**2).z_score(2 * theory)) > 5
