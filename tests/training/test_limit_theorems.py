"""Theorems of stochastic rounding for small learning rates: they hold, and smaller bounds fail."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from numpy.testing import assert_allclose

from qtheory.numerics import Estimate
from qtheory.quantizers import UniformQuantizer
from qtheory.training import (
    BinaryConnect,
    DiscreteNoise,
    GaussianNoise,
    RademacherNoise,
    StudentTNoise,
    ThreeBasins,
    descend,
    gibbs_law,
    limit_chain,
    sgd_temperature,
    sr_chain,
    stationary_law,
    total_variation,
    trapezoid_potential,
)

TOY = ThreeBasins()
AXIS = np.linspace(-3.0, 8.0, 23)
SLOPES = TOY.gradient(AXIS)
GRID = UniformQuantizer(step_size=0.5, offset=0.0, code_min=-6, code_max=16)
SQUARE = np.linspace(-1.5, 1.5, 7)
LAWS = [GaussianNoise(2.0), StudentTNoise(2.0, 2.0), StudentTNoise(1.5, 2.0), RademacherNoise(8.0)]
each_law = pytest.mark.parametrize("noise", LAWS, ids=str)


def coupled(w):
    x, y = w[:, 0], w[:, 1]
    return np.stack([x**3 - x + 0.5 * y, y + 0.5 * x - 0.2], axis=-1)


def flat(w):
    return np.zeros_like(w)


def norm(matrix):
    """Return the largest sum of absolute values of a row."""
    return np.abs(matrix).sum(axis=1).max()


def remainder(chain, limit):
    """Return what a kernel adds to one step of the limit."""
    return chain.kernel - np.eye(len(chain.points)) - chain.learning_rate * limit.generator


def response(limit):
    """Return the inverse W of the theorem."""
    return np.linalg.inv(stationary_law(limit)[None, :] - limit.generator)


def large_part(noise, slopes, size):
    """Return the largest mean of |g| over |g| > size: (|g| - z)_+ and z wherever it is above."""
    above = noise.excess(size - slopes) + size * (1 - noise.cdf(size - slopes))
    below = noise.shortfall(-size - slopes) + size * noise.cdf(-size - slopes)
    return (above + below).max()


# --- One weight ---------------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@each_law
@pytest.mark.parametrize("rate", [0.3, 0.1, 0.03])
def test_kernels_are_as_near_to_their_limit_as_stated(noise, rate):
    limit = limit_chain(SLOPES, AXIS, noise=noise)
    chain = sr_chain(SLOPES, AXIS, learning_rate=rate, noise=noise)
    rest = remainder(chain, limit)
    tail = large_part(noise, SLOPES, 0.5 / rate)
    assert rest.sum(axis=1) == pytest.approx(np.zeros(23), rel=0, abs=1e-13)
    assert norm(rest) <= 2 * rate / 0.5 * tail + 1e-13
    law = stationary_law(chain, allow_transient=True)
    distance = total_variation(law, stationary_law(limit))
    assert distance <= norm(response(limit)) / 0.5 * tail + 1e-13


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("steps", [2.0, 2.5, 4.0])
def test_long_moves_without_a_slope_reach_the_bound_of_the_remainder(steps):
    noise, rate = RademacherNoise(8.0), steps * 0.5 / 8
    chain = sr_chain(flat(AXIS), AXIS, learning_rate=rate, noise=noise)
    rest = norm(remainder(chain, limit_chain(flat(AXIS), AXIS, noise=noise)))
    assert rest == pytest.approx(2 * rate / 0.5 * 8, rel=1e-13, abs=0)
    # Negative control: without the factor of two the bound fails.
    assert rest > 1.9 * rate / 0.5 * large_part(noise, flat(AXIS), 0.5 / rate)


@pytest.mark.theory_vs_sim
def test_rare_long_moves_need_nearly_half_of_the_bound_of_the_distance():
    # Two points: up by a rare gradient of 200, which is clipped, and down by a slope of 0.05.
    noise = DiscreteNoise([-200.0, 0.0005 / (1 - 2.5e-6)], [2.5e-6, 1 - 2.5e-6])
    slopes, axis = np.array([0.0, 0.05]), np.array([0.0, 1.0])
    limit = limit_chain(slopes, axis, noise=noise)
    chain = sr_chain(slopes, axis, learning_rate=0.1, noise=noise)
    distance = total_variation(stationary_law(chain), stationary_law(limit))
    bound = norm(response(limit)) * large_part(noise, slopes, 10.0)
    assert distance <= bound
    # Negative control: two fifths of the bound fail, and so does the bound with the rate in it.
    assert distance > 0.4 * bound
    assert distance > 0.1 * bound


@pytest.mark.theory_vs_sim
def test_bounded_gradients_have_no_remainder_up_to_one_step_and_one_beyond():
    noise = RademacherNoise(8.0)
    limit, largest = limit_chain(SLOPES, AXIS, noise=noise), np.abs(SLOPES).max() + 8
    still = sr_chain(SLOPES, AXIS, learning_rate=0.5 / largest, noise=noise)
    assert norm(remainder(still, limit)) < 1e-14
    beyond = sr_chain(SLOPES, AXIS, learning_rate=0.6 / largest, noise=noise)
    assert norm(remainder(beyond, limit)) > 0.01


# --- Several weights ----------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [0.05, 0.01, 1e-3])
def test_two_weights_that_jump_together_reach_the_bound(rate):
    noise = RademacherNoise(2.0)
    places = np.stack(np.meshgrid(SQUARE, SQUARE, indexing="ij"), axis=-1).reshape(-1, 2)
    sizes = noise.mean_abs(coupled(places))
    limit = limit_chain(coupled, (SQUARE, SQUARE), noise=noise)
    chain = sr_chain(coupled, (SQUARE, SQUARE), learning_rate=rate, noise=noise)
    rest, bound = norm(remainder(chain, limit)), 4 * rate**2 / 0.25 * sizes.prod(axis=1).max()
    assert rest == pytest.approx(bound, rel=1e-9, abs=0)
    distance = total_variation(stationary_law(chain), stationary_law(limit))
    assert distance <= norm(response(limit)) * bound / (2 * rate)
    # Negative control: one weight has no remainder, and two have one.
    assert rest > 0.99 * bound
    assert norm(remainder(sr_chain(SQUARE, SQUARE, learning_rate=rate, noise=noise),
                          limit_chain(SQUARE, SQUARE, noise=noise))) < 1e-14  # fmt: skip


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("df", "rate", "needed"), [(3.0, 0.1, 0), (3.0, 0.02, 0), (1.5, 1e-3, 1)])
def test_two_weights_with_tails_have_both_parts(df, rate, needed):
    noise = StudentTNoise(df, 1.0)
    places = np.stack(np.meshgrid(SQUARE, SQUARE, indexing="ij"), axis=-1).reshape(-1, 2)
    slopes = coupled(places)
    chain = sr_chain(coupled, (SQUARE, SQUARE), learning_rate=rate, noise=noise)
    rest = norm(remainder(chain, limit_chain(coupled, (SQUARE, SQUARE), noise=noise)))
    tails = [large_part(noise, slopes[:, k], 0.5 / rate) for k in (0, 1)]
    joint = 4 * rate**2 / 0.25 * noise.mean_abs(slopes).prod(axis=1).max()
    assert rest <= 2 * rate / 0.5 * sum(tails) + joint
    # Negative control: one of the parts alone is no bound.
    assert rest > (2 * rate / 0.5 * sum(tails), joint)[needed]


# --- One potential ------------------------------------------------------------------------------


def test_binaryconnect_descends_on_the_trapezoid_potential():
    # The gradient that BinaryConnect sees is constant between thresholds, so a mesh is exact.
    mesh = np.linspace(-3.0, 8.0, 22 * 8 + 1)
    middles = 0.5 * (mesh[1:] + mesh[:-1])
    seen = TOY.gradient(BinaryConnect(GRID).weights(middles))
    descended = np.append(0.0, np.cumsum(seen * np.diff(mesh)))[::8]
    potential = trapezoid_potential(TOY.gradient, AXIS)
    assert_allclose(descended - descended.min(), potential, rtol=0, atol=1e-12)
    # Negative control: the objective itself is another function, even on the grid.
    true = TOY.value(AXIS) - TOY.value(AXIS).min()
    assert np.abs(true - potential).max() > 0.1


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("noise", [*LAWS[:3], DiscreteNoise([-8.0, 16.0], [2 / 3, 1 / 3])], ids=str)
def test_the_limit_law_is_a_gibbs_law_exactly(noise):
    up, down = noise.negative_part(SLOPES), noise.positive_part(SLOPES)
    bend = np.arctanh((down - up) / (down + up))
    height = np.append(0.0, np.cumsum(bend[:-1] + bend[1:])) + 0.5 * np.log(up * down)
    law = stationary_law(limit_chain(SLOPES, AXIS, noise=noise))
    assert_allclose(gibbs_law(height, 1.0), law, rtol=1e-12)
    # Negative control: the first order of the bend.
    ratio = np.tanh(bend)
    linear = np.append(0.0, np.cumsum(ratio[:-1] + ratio[1:])) + 0.5 * np.log(up * down)
    assert total_variation(gibbs_law(linear, 1.0), law) > 1e-3
    # Negative control: the objective itself in place of the potential, at the same temperature.
    heat = 0.25 * noise.mean_abs()
    near = total_variation(gibbs_law(trapezoid_potential(SLOPES, AXIS), heat), law)
    assert total_variation(gibbs_law(TOY.value(AXIS), heat), law) > 2 * near


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("noise", "least"), [(GaussianNoise(2.0), 0.02), (LAWS[2], 0.005)], ids=str
)
def test_the_exact_law_has_a_root_in_front(noise, least):
    # Negative control: without it only noise of Student's law with two degrees is right, for which
    # the product of the rates up and down is the same at every slope.
    def without(one):
        up, down = one.negative_part(SLOPES), one.positive_part(SLOPES)
        bend = np.arctanh((down - up) / (down + up))
        law = stationary_law(limit_chain(SLOPES, AXIS, noise=one))
        return total_variation(gibbs_law(np.append(0.0, np.cumsum(bend[:-1] + bend[1:])), 1.0), law)

    assert without(noise) > least
    assert without(StudentTNoise(2.0, 2.0)) < 1e-12


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [0.2, 0.1])
def test_climbing_a_slope_has_at_most_the_weight_of_its_height(rate):
    # Gradient descent against the slope one, until the height 0.5 or for ever.
    rng, height = np.random.default_rng(21), 0.5
    moves = -rate * (1.0 + GaussianNoise(2.0).sample((20_000, 400), rng=rng))
    climbed = Estimate.from_samples(np.cumsum(moves, axis=1).max(axis=1) >= height)
    bound = math.exp(-height / sgd_temperature(rate, 4.0))
    assert climbed.z_score(bound) < -5
    # Negative control: half of the temperature is too cold.
    assert climbed.z_score(bound**2) > 5


# --- Who leaves a bad basin ---------------------------------------------------------------------


def share_that_left(rate, count):
    """Return how many of 20000 latent weights came from 0 to 0.75 within so many steps."""
    rng = np.random.default_rng(22)
    latent, left = np.zeros(20_000), np.zeros(20_000, dtype=bool)
    for _ in range(count):
        gradient = TOY.gradient(GRID(latent)) + 2 * rng.standard_normal(latent.size)
        latent -= rate * gradient
        left |= latent >= 0.75
    return Estimate.from_samples(left)


def exit_bound(rate, count):
    """Return the bound: slope one from 0.25 to 0.75, noise of standard deviation two."""
    return count * math.exp(2 / 4) * math.exp(-0.5 / sgd_temperature(rate, 4.0))


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("rate", "count"), [(0.05, 30), (0.04, 100), (0.03, 400)])
def test_binaryconnect_leaves_no_oftener_than_stated(rate, count):
    left = share_that_left(rate, count)
    assert left.z_score(exit_bound(rate, count)) < -5
    # Negative controls: half the temperature, and the bound of a single step.
    assert left.z_score(exit_bound(0.5 * rate, count)) > 5
    assert exit_bound(rate, count) < 0.4


@pytest.mark.theory_vs_sim
def test_binaryconnect_leaves_at_a_larger_rate():
    # Negative control: at 0.1 the bound says nothing, and most of the weights leave.
    left = share_that_left(0.1, 400)
    assert left.mean > 0.5
    assert exit_bound(0.1, 400) > 1
    assert left.z_score(exit_bound(0.03, 400)) > 5


def test_the_step_of_the_exit_is_that_of_the_rule():
    run = descend(
        lambda w: TOY.gradient(w),
        np.full((1, 1), 0.3),
        rule=BinaryConnect(GRID),
        learning_rate=0.04,
        num_steps=1,
        rng=np.random.default_rng(0),
    )
    assert run.latent[0, 0] == pytest.approx(0.3 - 0.04 * TOY.gradient(GRID(0.3)), rel=1e-15, abs=0)


# --- Fifty digits -------------------------------------------------------------------------------


def precise_law(kernel):
    """Return the stationary law of a kernel of mpmath by a linear system."""
    count = kernel.rows
    system, right = kernel.T - mpmath.eye(count), mpmath.zeros(count, 1)
    system[count - 1, :] = mpmath.ones(1, count)
    right[count - 1] = 1
    return np.array([float(value) for value in mpmath.lu_solve(system, right)])


def precise_axis(center, slope, rate, step, reach, values):
    """Return where one weight goes on points -reach..reach steps: code to probability."""
    chances = {}
    for value in values:
        place = (center - rate * (slope + value)) / step + reach
        place = max(mpmath.mpf(0), min(mpmath.mpf(2 * reach), place))
        below = int(mpmath.floor(place))
        for code, share in ((below, below + 1 - place), (below + 1, place - below)):
            chances[code] = chances.get(code, 0) + share / len(values)
    return {code: chance for code, chance in chances.items() if chance}


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_law_of_two_coupled_weights_to_all_digits(rate):
    with mpmath.workdps(50):
        axis = [mpmath.mpf(k) / 2 for k in range(-3, 4)]
        kernel, alpha = mpmath.zeros(49, 49), mpmath.mpf(rate)
        for i, x in enumerate(axis):
            for j, y in enumerate(axis):
                slopes = (x**3 - x + y / 2, y + x / 2 - mpmath.mpf(0.2))
                first = precise_axis(x, slopes[0], alpha, 0.5, 3, (-2, 2))
                second = precise_axis(y, slopes[1], alpha, 0.5, 3, (-2, 2))
                for k, p in first.items():
                    for m, q in second.items():
                        kernel[7 * i + j, 7 * k + m] += p * q
        expected = precise_law(kernel)
    noise = RademacherNoise(2.0)
    law = stationary_law(sr_chain(coupled, (SQUARE, SQUARE), learning_rate=rate, noise=noise))
    assert_allclose(law, expected, rtol=1e-12)
    # Negative control: the limit is another law.
    limit = stationary_law(limit_chain(coupled, (SQUARE, SQUARE), noise=noise))
    assert total_variation(limit, expected) > 0.05 * rate


def student_ramp(mean):
    """Return E(m + 2 t)_+ for t of Student's law with three degrees of freedom, in closed form."""
    t = mean / 2
    root = mpmath.sqrt(3)
    below = mpmath.mpf(1) / 2 + (mpmath.atan(t / root) + (t / root) / (1 + t * t / 3)) / mpmath.pi
    density = 2 / (mpmath.pi * root) / (1 + t * t / 3) ** 2
    return (3 + t * t) * density + mean * below


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [1.0, 0.1, 0.01])
def test_law_with_students_noise_to_all_digits(rate):
    with mpmath.workdps(50):
        kernel, alpha, step = mpmath.zeros(23, 23), mpmath.mpf(rate), mpmath.mpf(1) / 2
        for i in range(23):
            drift = -alpha * mpmath.mpf(float(SLOPES[i]))
            # Chances to end at a point or above it, from ramps of the move.
            ramps = [alpha * student_ramp((drift - (j - i) * step) / alpha) for j in range(23)]
            above = [1, *[(ramps[j - 1] - ramps[j]) / step for j in range(1, 23)], 0]
            kernel[i, :] = mpmath.matrix([[above[j] - above[j + 1] for j in range(23)]])
        expected = precise_law(kernel)
    law = stationary_law(sr_chain(SLOPES, AXIS, learning_rate=rate, noise=StudentTNoise(3.0, 2.0)))
    assert_allclose(law, expected, rtol=1e-12)
    assert total_variation(
        stationary_law(sr_chain(SLOPES, AXIS, learning_rate=rate, noise=StudentTNoise(3.1, 2.0))),
        expected,
    ) > 1e-4  # fmt: skip


# --- A temperature to compare with a run --------------------------------------------------------


@pytest.mark.theory_vs_sim
def test_energy_of_gradient_descent_on_a_parabola():
    rng, rate = np.random.default_rng(23), 0.3
    latent = np.zeros(200_000)
    for _ in range(40):
        latent -= rate * (1.5 * latent + 2 * rng.standard_normal(latent.size))
    energy = 0.5 * sgd_temperature(rate, 4.0) / (1 - 0.5 * rate * 1.5)
    measured = Estimate.from_samples(0.75 * latent**2)
    assert_mc_close(energy, measured, rel_resolution=0.03)
    # Negative control: without the correction of the finite rate.
    assert abs(measured.z_score(0.5 * sgd_temperature(rate, 4.0))) > 5
