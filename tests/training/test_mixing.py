"""Gaps and mixing times against closed forms, plain powers of kernels and each other."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, sparse

from qtheory.numerics import Estimate
from qtheory.training import (
    GaussianNoise,
    NoNoise,
    RademacherNoise,
    RoundingChain,
    ThreeBasins,
    limit_chain,
    mixing,
    mixing_time,
    spectral_gap,
    sr_chain,
    stationary_law,
)

TOY_AXIS = np.linspace(-3.0, 8.0, 23)
TOY = ThreeBasins()
SQUARE = np.linspace(-1.5, 1.5, 7)
TINY = {"tolerance": 1e-18}
chances = st.floats(1e-3, 0.999)


def coupled(w):
    x, y = w[:, 0], w[:, 1]
    return np.stack([x**3 - x + 0.5 * y, y + 0.5 * x - 0.2], axis=-1)


def toy_chain(rate):
    """Chain of the toy at a learning rate."""
    return sr_chain(TOY.gradient, TOY_AXIS, learning_rate=rate, noise=GaussianNoise(2.0))


def two_states(up, down, **options):
    """Chain of two states with given chances to leave them."""
    return RoundingChain([0.0, 1.0], [[1 - up, up], [down, 1 - down]], **options)


def ladder(up, down, **options):
    """Chain that moves to neighbors with given chances."""
    kernel = np.diag(up, 1) + np.diag(down, -1)
    np.fill_diagonal(kernel, 1 - kernel.sum(axis=1))
    return RoundingChain(np.arange(len(up) + 1.0), kernel, **options)


def exact_ladder_gap(chain):
    """Gap of a chain of single steps, per step, from 120 digits of a symmetric matrix."""
    up, down = (chain.kernel.diagonal(k).tolist() for k in (1, -1))
    with mpmath.workdps(120):
        matrix = mpmath.diag([mpmath.mpf(u) + d for u, d in zip(up, down, strict=True)])
        for k, (u, d) in enumerate(zip(up[1:], down[:-1], strict=True)):
            matrix[k, k + 1] = matrix[k + 1, k] = -mpmath.sqrt(mpmath.mpf(u) * d)
        return float(min(mpmath.eigsy(matrix, eigvals_only=True)))


def counted_steps(chain, tolerance):
    """Mixing time by one multiplication a step."""
    law = stationary_law(chain)
    rows, steps = np.eye(chain.num_states), 0
    while 0.5 * np.abs(rows - law).sum(axis=1).max() > tolerance:
        rows, steps = rows @ chain.kernel, steps + 1
    return steps


# --- Unit -------------------------------------------------------------------------------------


def test_gap_of_ehrenfests_urn():
    axis, noise = np.linspace(-1.0, 1.0, 9), RademacherNoise()
    assert spectral_gap(limit_chain(axis, axis, noise=noise)) == pytest.approx(1, rel=1e-13, abs=0)
    for rate in (1e-12, 1e-3, 0.05):
        chain = sr_chain(axis, axis, learning_rate=rate, noise=noise)
        assert spectral_gap(chain) == pytest.approx(rate, rel=1e-11, abs=0)


def test_a_cycle_has_complex_eigenvalues():
    kernel = 0.75 * np.eye(3) + 0.25 * np.roll(np.eye(3), 1, axis=1)
    chain = RoundingChain(np.arange(3.0), kernel, 0.1)
    turn = np.exp(2j * math.pi / 3)
    assert spectral_gap(chain) == pytest.approx(1 - abs(0.75 + 0.25 * turn), rel=1e-12, abs=0)
    limit = RoundingChain(np.arange(3.0), kernel, time_step=0.5)
    assert spectral_gap(limit) == pytest.approx(0.25 * 1.5 / 0.5, rel=1e-12, abs=0)


def test_a_chain_that_alternates_never_mixes():
    axis = np.linspace(-1.0, 1.0, 9)
    limit = limit_chain(axis, axis, noise=RademacherNoise())
    chain = RoundingChain(axis, np.eye(9) + 0.25 * limit.generator, 0.25)
    assert np.diag(chain.kernel).max() == 0
    assert spectral_gap(chain) == pytest.approx(0.0, rel=0, abs=1e-14)
    message = r"`chain` must be one that mixes within 2\*\*60 steps, got 'a distance of 0.5"
    with pytest.raises(ValueError, match=message):
        mixing_time(chain, tolerance=0.25)
    # Half the distance is between even and odd, which never meet.
    assert mixing_time(chain, tolerance=0.6) > 1
    assert mixing_time(limit, tolerance=0.25) < 3


def test_a_wide_tolerance_takes_no_step():
    assert mixing_time(two_states(0.1, 0.3, learning_rate=1.0), tolerance=0.75) == 0
    assert mixing_time(two_states(0.1, 0.3), tolerance=0.76) == 0
    assert mixing_time(two_states(0.1, 0.3, learning_rate=1.0), tolerance=0.74) == 1
    assert mixing_time(RoundingChain([0.0], [[1.0]], 1.0), tolerance=0.1) == 0
    assert mixing_time(RoundingChain([0.0], [[1.0]]), tolerance=0.1) == 0


def test_gaps_that_are_too_small_for_a_float_are_zero():
    limit = limit_chain(TOY.gradient, np.linspace(-3.0, 8.0, 10001), noise=GaussianNoise(2.0))
    assert spectral_gap(limit) == 0.0
    # Relabeled, the eigenvalues are found to rounding errors of either sign.
    chain = ladder([0.5, 1e-20, 0.25], [0.25, 1e-20, 0.5])
    order = [0, 2, 1, 3]
    mixed = RoundingChain(chain.points[order], chain.kernel[np.ix_(order, order)])
    assert 0 <= spectral_gap(mixed) < 1e-15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixing_time(two_states(0.1, 0.1), tolerance=0.0), "`tolerance` must be between"),
        (lambda: mixing_time(two_states(0.1, 0.1), tolerance=1.0), "`tolerance` must be between"),
        (lambda: mixing_time(two_states(0.1, 0.1), tolerance=math.nan), "`tolerance` must be fin"),
        (
            lambda: mixing_time(limit_chain([0, 0, 0], [0, 1, 2], noise=GaussianNoise()), **TINY),
            "`tolerance` must be above the rounding of powers, .*, got 1e-18",
        ),
        (lambda: mixing_time(two_states(0.1, 0.0), tolerance=0.1), "`chain` must be irreducible"),
        (lambda: mixing_time(1, tolerance=0.1), "`chain` must be RoundingChain, got 1"),
        (lambda: spectral_gap(two_states(0.1, 0.0)), "`chain` must be irreducible"),
        (lambda: spectral_gap(two_states(0.0, 0.0)), "`chain` must be of one closed class"),
        (lambda: spectral_gap(None), "`chain` must be RoundingChain, got None"),
        (
            lambda: spectral_gap(RoundingChain([0.0], [[1.0]])),
            "`chain` must be of at least two states, got 1",
        ),
        (
            lambda: spectral_gap(limit_chain(TOY.gradient, TOY_AXIS, noise=NoNoise())),
            "`chain` must be of one closed class of states, got '3: of the one state 0.0;",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_chains_too_large_to_be_squared_are_refused():
    axis = np.linspace(-1.0, 1.0, 1025)
    chain = limit_chain(axis, axis, noise=GaussianNoise())
    with pytest.raises(
        ValueError, match="`chain` must be of at most 1024 states, whose kernel can"
    ):
        mixing_time(chain, tolerance=0.1)


# --- Property ---------------------------------------------------------------------------------


@given(chances, chances)
def test_two_states_have_a_gap_in_closed_form(up, down):
    chain = two_states(up, down, learning_rate=0.1)
    assert spectral_gap(chain) == pytest.approx(min(up + down, 2 - up - down), rel=1e-12, abs=1e-15)
    limit = two_states(up, down, time_step=0.01)
    assert spectral_gap(limit) == pytest.approx(100 * (up + down), rel=1e-13, abs=0)


@given(chances, chances, st.floats(1e-6, 0.4))
def test_two_states_mix_like_a_power(up, down, tolerance):
    far, rest = max(up, down) / (up + down), abs(1 - up - down)
    steps = mixing_time(two_states(up, down, learning_rate=1.0), tolerance=tolerance)
    assert far * rest**steps <= tolerance * (1 + 1e-9)
    assert far * rest ** (steps - 1) >= tolerance * (1 - 1e-9)
    time = mixing_time(two_states(up, down, time_step=0.5), tolerance=tolerance)
    exact = 0.5 * math.log(far / tolerance) / (up + down)
    assert time == pytest.approx(exact, rel=1e-8, abs=1e-6)


@settings(max_examples=50)
@given(st.integers(3, 12), st.floats(0.1, 0.5), st.floats(0.05, 0.5))
def test_mixing_time_counts_steps(count, rate, tolerance):
    axis = 0.5 * np.arange(count)
    chain = sr_chain(0.3 * np.sin(axis), axis, learning_rate=rate, noise=GaussianNoise())
    assert mixing_time(chain, tolerance=tolerance) == counted_steps(chain, tolerance)


@given(st.integers(3, 30), st.floats(0.01, 0.3))
def test_gaps_do_not_depend_on_how_they_are_found(count, rate):
    axis = 0.25 * np.arange(count)
    noise = RademacherNoise(0.5)
    chain = sr_chain(0.3 * np.cos(axis), axis, learning_rate=rate, noise=noise)
    eigenvalues = np.sort(np.abs(np.linalg.eigvals(chain.kernel)))
    assert spectral_gap(chain) == pytest.approx(1 - eigenvalues[-2], rel=1e-8, abs=1e-13)
    # Relabeled, the chain no longer moves to neighbors.
    order = np.random.default_rng(0).permutation(count)
    shuffled = RoundingChain(axis[order], chain.kernel[np.ix_(order, order)], rate)
    assert spectral_gap(shuffled) == pytest.approx(spectral_gap(chain), rel=1e-8, abs=1e-13)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
def test_mixing_times_of_the_toy_grow_like_one_over_the_rate():
    limit = limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0))
    time = mixing_time(limit, tolerance=0.1)
    assert time == pytest.approx(25.9126, rel=0, abs=5e-5)
    steps = [mixing_time(toy_chain(rate), tolerance=0.1) for rate in (0.1, 0.01, 1e-3, 1e-6)]
    assert steps[:2] == [252, 2590]
    assert 1e-3 * steps[2] == pytest.approx(time, rel=0, abs=1e-3)
    assert 1e-6 * steps[3] == pytest.approx(time, rel=0, abs=1e-5)
    # The wrong scaling, one over the square of the rate, is far away.
    assert steps[1] / steps[0] < 11


@pytest.mark.theory_vs_sim
def test_gaps_of_the_toy_tend_to_that_of_the_generator():
    gap = spectral_gap(limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0)))
    assert gap == pytest.approx(0.156871, rel=0, abs=5e-7)
    assert spectral_gap(toy_chain(0.1)) / 0.1 == pytest.approx(0.16019, rel=0, abs=5e-6)
    for rate in (0.02, 1e-3, 1e-9):
        assert spectral_gap(toy_chain(rate)) / rate == pytest.approx(gap, rel=1e-11, abs=0)


@pytest.mark.theory_vs_sim
def test_time_of_the_limit_chain_is_that_of_the_matrix_exponential():
    chain = limit_chain(coupled, (SQUARE, SQUARE), noise=RademacherNoise(2.0))
    law, time = stationary_law(chain), mixing_time(chain, tolerance=0.2)
    rows = linalg.expm(time * chain.generator)
    distance = 0.5 * np.abs(rows - law).sum(axis=1).max()
    assert distance == pytest.approx(0.2, rel=1e-7, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("std", [1.0, 0.2, 0.1702])
def test_gaps_of_slow_chains_keep_their_digits(std, monkeypatch):
    limit = limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(std))
    exact = exact_ladder_gap(limit)
    assert spectral_gap(limit) * limit.time_step == pytest.approx(exact, rel=1e-12, abs=0)
    chain = RoundingChain(TOY_AXIS, limit.kernel, 1.0)
    assert spectral_gap(chain) == pytest.approx(exact, rel=1e-12, abs=0)
    monkeypatch.setattr(mixing, "SMALL_LADDER", 2)
    assert spectral_gap(chain) == pytest.approx(exact, rel=1e-12, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("depth", [10, 40, 160])
def test_gap_of_two_deep_wells(depth):
    # Wells at both ends, two steps of a chance of 0.4 * 10^(-depth / 4) away from the middle.
    chances = 0.4 * np.power(10.0, [-depth / 4, -depth / 4, 0, 0])
    chain = ladder(chances, chances[::-1], learning_rate=1.0)
    assert spectral_gap(chain) == pytest.approx(exact_ladder_gap(chain), rel=1e-13, abs=0)
    assert spectral_gap(chain) < 10 ** (1 - depth / 2)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [None, 0.001, 0.1])
def test_sparse_gaps_are_the_dense_ones(rate, monkeypatch):
    noise = RademacherNoise(2.0)
    limit = limit_chain(coupled, (SQUARE, SQUARE), noise=noise, sparse=True)
    options = {"learning_rate": rate, "noise": noise, "sparse": True}
    chain = sr_chain(coupled, (SQUARE, SQUARE), **options) if rate else limit
    dense = spectral_gap(chain)
    monkeypatch.setattr(mixing, "MAX_EIGEN_STATES", 10)
    assert spectral_gap(chain) == pytest.approx(dense, rel=1e-9, abs=0)


def test_sparse_gaps_see_eigenvalues_next_to_minus_one(monkeypatch):
    # Nearly always from an even state to an odd one, and back.
    count = 80
    kernel = np.empty((count, count))
    kernel[::2] = 0.01 * np.eye(count)[::2] + 0.99 / 40 * (np.arange(count) % 2)
    kernel[1::2] = 0.01 * np.eye(count)[1::2] + 0.99 / 40 * (np.arange(count) % 2 == 0)
    chain = RoundingChain(np.arange(count), sparse.csr_array(kernel), 1.0)
    dense = spectral_gap(chain)
    assert dense == pytest.approx(0.02, rel=1e-10, abs=0)
    monkeypatch.setattr(mixing, "MAX_EIGEN_STATES", 5)
    assert spectral_gap(chain) == pytest.approx(dense, rel=1e-8, abs=0)
    monkeypatch.setattr(mixing, "FAST", 1.0)
    assert spectral_gap(chain) == pytest.approx(dense, rel=1e-8, abs=0)


@pytest.mark.parametrize(
    ("count", "gap"),
    [
        pytest.param(2001, 1 - math.cos(math.pi / 2001), id="odd"),
        pytest.param(2000, 0.0, id="even-and-odd-alternate"),
    ],
)
def test_gap_of_a_walk_around_a_long_cycle(count, gap):
    places = np.arange(count)
    rows, columns = np.tile(places, 2), np.concatenate([places + 1, places - 1]) % count
    kernel = sparse.csr_array((np.full(2 * count, 0.5), (rows, columns)), shape=(count, count))
    assert spectral_gap(RoundingChain(places, kernel, 1.0)) == pytest.approx(
        gap, rel=1e-7, abs=1e-13
    )
    near = 1 - math.cos(2 * math.pi / count)
    limit = RoundingChain(places, kernel)
    assert spectral_gap(limit) == pytest.approx(near, rel=1e-7, abs=0)


@pytest.mark.theory_vs_sim
def test_correlations_decay_by_the_gap():
    # On a parabola w is an eigenvector: its mean shrinks by 1 - gap a step.
    axis, noise = np.linspace(-1.0, 1.0, 9), RademacherNoise()
    gap = spectral_gap(sr_chain(axis, axis, learning_rate=0.05, noise=noise))
    rng = np.random.default_rng(2)
    w = np.full(200_000, 1.0)
    for _ in range(10):
        target = (w - 0.05 * (w + noise.sample(w.shape, rng=rng))) / 0.25
        below = np.floor(target)
        w = 0.25 * np.clip(below + (rng.random(w.size) < target - below), -4, 4)
    estimate = Estimate.from_samples(w)
    assert_mc_close((1 - gap) ** 10, estimate)
    assert abs(estimate.z_score((1 - 2 * gap) ** 10)) > 5
