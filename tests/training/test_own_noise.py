"""Laws of noise that a user writes: chains, moments and runs take them as they take the others."""

import itertools
import math

import numpy as np
import pytest
from helpers import assert_mc_close
from numpy.testing import assert_allclose
from scipy import integrate

from qtheory.numerics import Estimate
from qtheory.quantizers import UniformQuantizer
from qtheory.training import (
    GaussianNoise,
    GradientNoise,
    Record,
    StochasticRounding,
    descend,
    limit_chain,
    one_step_moments,
    simulate,
    sr_chain,
    sr_quadratic_floor,
    stationary_law,
    total_variation,
)


class Laplace(GradientNoise):
    """Noise of density exp(-|x|) / 2."""

    std, bound = math.sqrt(2), math.inf

    def _cdf(self, x):
        half = 0.5 * np.exp(-np.abs(x))
        return np.where(x < 0, half, 1 - half)

    def _excess(self, x):
        return np.maximum(-x, 0.0) + 0.5 * np.exp(-np.abs(x))

    def _tail_square(self, x):
        tail = np.exp(-np.abs(x))
        return np.where(x > 0, tail, x * x + 2 - tail)

    def _sample(self, size, rng):
        return rng.laplace(size=size)


class Waiting(GradientNoise):
    """Noise of one long tail: an exponential variable less its mean."""

    std, bound = 1.0, math.inf

    def _cdf(self, x):
        return -np.expm1(-np.maximum(x + 1, 0.0))

    def _excess(self, x):
        return np.where(x < -1, -x, np.exp(-(np.maximum(x, -1) + 1)))

    def _tail_square(self, x):
        return np.where(x < -1, 1 + x * x, 2 * np.exp(-(np.maximum(x, -1) + 1)))

    def _sample(self, size, rng):
        return rng.exponential(size=size) - 1

    def _reversed(self):
        return ReversedWaiting()


class ReversedWaiting(Waiting):
    """Noise whose long tail is below."""

    def _cdf(self, x):
        return np.exp(np.minimum(x - 1, 0.0))

    def _excess(self, x):
        return np.where(x < 1, -x + np.exp(np.minimum(x, 1) - 1), 0.0)

    def _tail_square(self, x):
        return np.where(x < 1, x * x + 1 - 2 * np.exp(np.minimum(x, 1) - 1), 0.0)

    def _sample(self, size, rng):
        return 1 - rng.exponential(size=size)

    def _reversed(self):
        return Waiting()


class Forgetful(Waiting):
    """The law of one long tail, taken for a symmetric one."""

    def _reversed(self):
        return self


AXIS = np.linspace(-3.0, 3.0, 25)
GRID = UniformQuantizer(step_size=0.25, offset=0.0, code_min=-12, code_max=12)
LAWS = [
    pytest.param(Laplace(), lambda z: 0.5 * math.exp(-abs(z)), id="symmetric"),
    pytest.param(Waiting(), lambda z: math.exp(-(z + 1)) * (z > -1), id="tail above"),
    pytest.param(ReversedWaiting(), lambda z: math.exp(z - 1) * (z < 1), id="tail below"),
]
each_density = pytest.mark.parametrize(("noise", "density"), LAWS)
each_law = pytest.mark.parametrize("noise", [Laplace(), Waiting(), ReversedWaiting()])


@each_density
@pytest.mark.parametrize("x", [-2.0, -0.4, 0.0, 0.7, 3.0])
def test_parts_of_the_law(noise, density, x):
    def mean(function):
        kinks = [-60.0, *sorted({-1.0, 0.0, 1.0, x}), 60.0]
        parts = [
            integrate.quad(lambda z: function(z) * density(z), low, high)[0]
            for low, high in itertools.pairwise(kinks)
        ]
        return sum(parts)

    near = {"rel": 0, "abs": 1e-7}
    assert noise.cdf(x) == pytest.approx(mean(lambda z: z <= x), **near)
    assert noise.excess(x) == pytest.approx(mean(lambda z: max(z - x, 0)), **near)
    assert noise.shortfall(x) == pytest.approx(mean(lambda z: max(x - z, 0)), **near)
    assert noise.tail_square(x) == pytest.approx(mean(lambda z: max(z - x, 0) ** 2), **near)
    assert noise.mean_abs(x) == pytest.approx(mean(lambda z: abs(x + z)), **near)
    assert noise.mean_square(x) == pytest.approx(mean(lambda z: (x + z) ** 2), **near)
    assert noise.positive_part(x) - noise.negative_part(x) == pytest.approx(x, **near)


def test_a_law_without_its_reverse_has_a_mean():
    # Negative control: then the parts of a gradient do not add up to its mean.
    wrong = Forgetful().positive_part(0.5) - Forgetful().negative_part(0.5)
    assert abs(wrong - 0.5) > 0.1


@pytest.mark.theory_vs_sim
@each_law
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_moments_of_a_step_against_draws(noise, rate):
    rng = np.random.default_rng(31)
    gradients = 0.6 + noise.sample(400_000, rng=rng)
    found = simulate.one_step(gradients, learning_rate=rate, grid_step=0.25, rng=rng)
    moments = one_step_moments(0.6, noise, learning_rate=rate, grid_step=0.25)
    assert_mc_close(moments.mean, found[0])
    assert_mc_close(moments.second_moment, found[1])
    assert_mc_close(moments.moving_probability, found[2])
    # Negative control: normal noise of the same variance has other moments.
    other = one_step_moments(0.6, GaussianNoise(noise.std), learning_rate=rate, grid_step=0.25)
    assert abs(found[2].z_score(other.moving_probability)) > 5


@pytest.mark.theory_vs_sim
@each_law
def test_law_of_a_chain_against_a_run(noise):
    chain = sr_chain(AXIS, AXIS, learning_rate=0.4, noise=noise)
    law = stationary_law(chain, allow_transient=True)
    run = descend(
        lambda w: w,
        np.zeros((60_000, 1)),
        rule=StochasticRounding(GRID),
        learning_rate=0.4,
        num_steps=40,
        rng=np.random.default_rng(32),
        noise=noise,
        record=Record(),
    )
    places = run.latent[:, 0]
    assert_mc_close(law @ AXIS**2, Estimate.from_samples(places**2))
    assert_mc_close(law @ (AXIS > 0.3), Estimate.from_samples(places > 0.3))
    assert_mc_close(law @ (AXIS == 0), Estimate.from_samples(places == 0))
    assert law @ AXIS == pytest.approx(0.0, rel=0, abs=2e-3)
    # Negative control: the chain with normal noise of the same variance has another law.
    normal = stationary_law(sr_chain(AXIS, AXIS, learning_rate=0.4, noise=GaussianNoise(noise.std)))
    visits = np.histogram(places, np.linspace(-3.125, 3.125, 26))[0] / places.size
    assert total_variation(visits, law) < 0.01
    assert total_variation(visits, normal) > 0.02


@each_law
def test_floor_and_limit_law_agree(noise):
    floor = sr_quadratic_floor([1.0], grid_step=0.25, noise=noise, minimizer=0.0)
    axis = np.linspace(-8.0, 8.0, 65)
    law = stationary_law(limit_chain(axis, axis, noise=noise), allow_transient=True)
    assert floor.excess == pytest.approx(0.5 * law @ axis**2, rel=1e-6, abs=0)
    assert floor.identity == pytest.approx(floor.excess, rel=1e-10, abs=0)
    assert_allclose(law.sum(), 1.0, rtol=1e-14)


def test_means_of_batches_have_no_law_unless_written():
    with pytest.raises(ValueError, match="`batch_size` must be 1 for Laplace, whose means are of"):
        Laplace().averaged(2)
    assert isinstance(Laplace().averaged(1), Laplace)


def test_an_unfinished_law_is_refused():
    class Unfinished(GradientNoise):
        std, bound = 1.0, 1.0

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()
