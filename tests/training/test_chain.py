"""Kernels of stochastic rounding, against hand calculation, 40-digit integrals and draws."""

import math
from unittest import mock

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from qtheory.numerics import Estimate
from qtheory.training import (
    DiscreteNoise,
    GaussianNoise,
    NoNoise,
    Quadratic,
    RademacherNoise,
    RoundingChain,
    StudentTNoise,
    ThreeBasins,
    closed_classes,
    limit_chain,
    sr_chain,
)
from qtheory.training import chain as chain_module
from qtheory.training._moves import AxisMoves

TOY_AXIS = np.linspace(-3.0, 8.0, 23)
TOY = ThreeBasins()
SQUARE = np.linspace(-1.5, 1.5, 7)
NOISES = [
    GaussianNoise(1.3),
    RademacherNoise(0.7),
    StudentTNoise(1.5, 0.5),
    StudentTNoise(4.0, 2.0),
    DiscreteNoise([-1.0, 3.0], [0.75, 0.25]),
    NoNoise(),
]
noises = st.sampled_from(NOISES)
rates = st.floats(-5, 0.5).map(lambda e: 10.0**e)


def coupled(w):
    x, y = w[:, 0], w[:, 1]
    return np.stack([x**3 - x + 0.5 * y, y + 0.5 * x - 0.2], axis=-1)


def exact_gaussian_row(mean, std, rate, step, offsets):
    """Probabilities of moves by some numbers of steps, by ramps of the normal law, 40 digits."""
    mp = mpmath.mp
    with mpmath.workdps(40):
        drift, spread, h = -mp.mpf(rate) * mean, mp.mpf(rate) * std, mp.mpf(step)

        def ramp(distance):
            z = distance / spread
            return spread * mp.npdf(z) - distance * mp.ncdf(-z)

        # The ramp that falls away from the center of the law: each differs by a straight line.
        distances = [abs(j * h - drift) for j in offsets]
        values = [ramp(d - h) - 2 * ramp(d) + ramp(d + h) for d in distances]
        return [float(value / h) for value in values]


def exact_student_move(mean, df, rate, step, offset):
    """Probability of a move, the integral of the hat function against the density."""
    mp = mpmath.mp
    with mpmath.workdps(30):
        nu, h = mp.mpf(df), mp.mpf(step) / mp.mpf(rate)
        peak = mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi)
        places = [-mp.mpf(mean) - c * h for c in (offset + 1, offset, offset - 1)]

        def integrand(z):
            hat = 1 - abs((-mp.mpf(mean) - z) / h - offset)
            return peak * (1 + z * z / nu) ** (-(nu + 1) / 2) * hat

        return float(mp.quad(integrand, places))


# --- Unit -------------------------------------------------------------------------------------


def test_kernel_of_three_points_by_hand():
    chain = sr_chain(lambda w: w, [-1, 0, 1], learning_rate=0.1, noise=RademacherNoise())
    assert_allclose(
        chain.kernel, [[0.9, 0.1, 0], [0.05, 0.9, 0.05], [0, 0.1, 0.9]], rtol=1e-15, atol=1e-17
    )
    assert chain.learning_rate == chain.time_step == 0.1
    assert chain.num_states == 3
    assert not chain.is_sparse


def test_a_positive_gradient_moves_down():
    chain = sr_chain(np.full(4, 2.0), np.arange(4.0), learning_rate=0.25, noise=NoNoise())
    assert_allclose(np.diag(chain.kernel, -1), 0.5, rtol=1e-15)
    assert_array_equal(np.diag(chain.kernel, 1), 0.0)
    limit = limit_chain(np.full(4, 2.0), np.arange(4.0), noise=NoNoise())
    assert_allclose(np.diag(limit.generator, -1), 2.0, rtol=1e-15)
    assert limit.generator[0, 0] == 0.0


def test_long_moves_stop_at_the_ends():
    # From each of four points, steps of plus and minus 2.5 grid steps.
    chain = sr_chain(
        np.zeros(4), np.arange(4.0), learning_rate=1.0, noise=RademacherNoise(2.5), sparse=False
    )
    expected = [
        [0.5, 0, 0.25, 0.25],
        [0.5, 0, 0, 0.5],
        [0.5, 0, 0, 0.5],
        [0.25, 0.25, 0, 0.5],
    ]
    assert_allclose(chain.kernel, expected, rtol=1e-15, atol=0)


def test_two_levels_of_a_binary_weight():
    chain = sr_chain([0.5, 0.5], [-1.0, 1.0], learning_rate=0.1, noise=RademacherNoise(1.0))
    # Gradients 1.5 and -0.5, equally likely; up by the chance 0.1 * 0.5 / 2 / 2.
    assert_allclose(chain.kernel, [[0.9875, 0.0125], [0.0375, 0.9625]], rtol=1e-15)


def test_limit_generator_has_the_partial_expectations_beside_its_diagonal():
    noise = DiscreteNoise([-1.0, 3.0], [0.75, 0.25])
    chain = limit_chain([0.5, -0.5, 2.0], [0.0, 0.25, 0.5], noise=noise)
    up = [4 * 0.75 * 0.5, 4 * 0.75 * 1.5]
    down = [4 * 0.25 * 2.5, 4 * (0.75 * 1.0 + 0.25 * 5.0)]
    generator = chain.generator
    assert_allclose(np.diag(generator, 1), up, rtol=1e-14)
    assert_allclose(np.diag(generator, -1), down, rtol=1e-14)
    assert_allclose(generator.sum(axis=1), 0.0, rtol=0, atol=1e-14)
    assert chain.time_step == pytest.approx(1 / 8, rel=1e-14, abs=0)
    assert chain.learning_rate is None
    assert_allclose(chain.kernel.min(), 0.0, rtol=0, atol=0)


def test_coordinates_move_independently_given_the_state():
    noise, rate = GaussianNoise(2.0), 0.3
    points = np.stack(np.meshgrid(SQUARE, SQUARE, indexing="ij"), axis=-1).reshape(-1, 2)
    chain = sr_chain(coupled, (SQUARE, SQUARE), learning_rate=rate, noise=noise)
    assert_array_equal(chain.points, points)
    state = 17
    means = coupled(points[state : state + 1])[0]
    rows = [
        sr_chain(np.full(7, mean), SQUARE, learning_rate=rate, noise=noise).kernel[place]
        for mean, place in zip(means, (2, 3), strict=True)
    ]
    assert_allclose(chain.kernel[state], np.outer(*rows).ravel(), rtol=1e-12, atol=1e-300)


def test_three_coordinates_without_coupling_make_a_product():
    axes, noise = (SQUARE[2:5], SQUARE[2:6], SQUARE[3:5]), GaussianNoise(1.0)
    chain = sr_chain(lambda w: w, axes, learning_rate=0.4, noise=noise)
    kernels = [sr_chain(a, a, learning_rate=0.4, noise=noise).kernel for a in axes]
    expected = np.kron(np.kron(kernels[0], kernels[1]), kernels[2])
    assert_allclose(chain.kernel, expected, rtol=1e-12, atol=1e-300)
    generators = [limit_chain(a, a, noise=noise).generator for a in axes]
    expected = np.kron(generators[0], np.eye(8))
    expected += np.kron(np.eye(3), np.kron(generators[1], np.eye(2)))
    expected += np.kron(np.eye(12), generators[2])
    assert_allclose(
        limit_chain(lambda w: w, axes, noise=noise).generator, expected, rtol=1e-13, atol=1e-14
    )


def test_a_tuple_of_one_axis_takes_gradients_of_vectors():
    bowl = Quadratic([2.0], minimizer=0.1)
    options = {"learning_rate": 0.1, "noise": GaussianNoise()}
    chain = sr_chain(bowl.gradient, (SQUARE,), **options)
    plain = sr_chain(2 * (SQUARE - 0.1), SQUARE, **options)
    assert chain.points.shape == (7, 1)
    assert plain.points.shape == (7,)
    assert_allclose(chain.kernel, plain.kernel, rtol=1e-13)


@pytest.mark.parametrize("rate", [1e-4, 0.1, 1.0])
def test_sparse_and_dense_kernels_are_the_same(rate):
    options = {"learning_rate": rate, "noise": GaussianNoise(2.0)}
    for gradient, axes in ((TOY.gradient, TOY_AXIS), (coupled, (SQUARE, SQUARE))):
        dense = sr_chain(gradient, axes, **options)
        thin = sr_chain(gradient, axes, **options, sparse=True)
        assert thin.is_sparse
        # Rare moves are left out, and the diagonal has what is left of one.
        assert_allclose(thin.kernel.toarray(), dense.kernel, rtol=1e-15, atol=1e-15)
        assert_allclose(thin.generator.toarray(), dense.generator, rtol=1e-12, atol=1e-11)


def test_sparse_and_dense_limits_are_the_same():
    dense = limit_chain(coupled, (SQUARE, SQUARE), noise=GaussianNoise())
    thin = limit_chain(coupled, (SQUARE, SQUARE), noise=GaussianNoise(), sparse=True)
    assert thin.is_sparse
    assert thin.time_step == dense.time_step
    assert_allclose(thin.generator.toarray(), dense.generator, rtol=1e-14, atol=1e-14)


def test_large_kernels_are_sparse():
    axis = np.linspace(-1.0, 1.0, chain_module.MAX_DENSE_STATES + 1)
    chain = sr_chain(axis, axis, learning_rate=1e-4, noise=GaussianNoise())
    assert chain.is_sparse
    assert limit_chain(axis, axis, noise=GaussianNoise()).is_sparse
    assert chain.kernel.nnz < 10 * len(axis)


def test_chains_are_values_that_cannot_change():
    kernel = np.array([[0.5, 0.5], [0.25, 0.75]])
    chain = RoundingChain([0.0, 1.0], kernel)
    kernel[0, 0] = 7.0
    assert chain.kernel[0, 0] == 0.5
    assert chain.time_step == 1.0
    with pytest.raises(ValueError, match="read-only"):
        chain.kernel[0, 0] = 1.0
    thin = RoundingChain([0.0, 1.0], sparse.csr_array(chain.kernel))
    with pytest.raises(ValueError, match="read-only"):
        thin.kernel.data[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        chain.points[0] = 1.0


def test_the_diagonal_is_computed_from_the_row():
    chain = RoundingChain([0.0, 1.0], [[1.0, 1e-12], [0.0, 1.0]])
    assert chain.kernel[0, 0] == 1 - 1e-12
    assert_allclose(chain.generator, [[-1e-12, 1e-12], [0, 0]], rtol=1e-15)


def test_closed_classes_of_gradients_without_noise():
    chain = limit_chain(lambda w: w - 0.3, np.arange(-1.0, 3.0), noise=NoNoise())
    assert [states.tolist() for states in closed_classes(chain)] == [[1, 2]]
    wells = limit_chain(TOY.gradient, TOY_AXIS, noise=NoNoise())
    places = [TOY_AXIS[states].tolist() for states in closed_classes(wells)]
    assert places == [[0.0], [2.5], [4.5, 5.0]]


def test_an_irreducible_chain_is_one_class():
    chain = limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0))
    (states,) = closed_classes(chain)
    assert_array_equal(states, np.arange(23))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": [0.0]}, "`axes` must be finite axes of at least two points"),
        ({"axes": ()}, r"`axes` must be an axis or a tuple of axes, got \(\)"),
        ({"axes": [0.0, 1.0, 2.5]}, "`axes` must be increasing and uniform"),
        ({"axes": [2.0, 1.0, 0.0]}, "`axes` must be increasing and uniform"),
        ({"axes": [0.0, 0.0, 0.0]}, "`axes` must be increasing and uniform"),
        ({"axes": [0.0, math.nan, 1.0]}, "`axes` must be finite axes"),
        ({"axes": [[0.0, 1.0], [0.0, 1.0]]}, "`axes` must be finite axes"),
        ({"axes": ([0.0, 1.0], [[0.0, 1.0]])}, "`axes` must be finite axes"),
        ({"axes": "ab"}, "`axes` must be real numbers"),
        ({"gradient": [1.0, 2.0]}, r"`gradient` must be of the shape of the states, \(3,\), got"),
        ({"gradient": lambda w: 1.0}, r"`gradient` must be of the shape of the states, \(3,\)"),
        ({"gradient": [0.0, math.nan, 0.0]}, "`gradient` must be finite in every state, got"),
        ({"gradient": [0.0, math.inf, 0.0]}, "`gradient` must be finite in every state"),
        ({"noise": 1.0}, "`noise` must be GradientNoise, got 1.0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be finite and above zero"),
        ({"learning_rate": math.nan}, "`learning_rate` must be finite and above zero"),
        ({"learning_rate": 1e-320}, "`learning_rate` must be large enough to be told from zero"),
        ({"learning_rate": 2.5}, "`learning_rate` must be small enough for mean steps within"),
        (
            {"noise": GaussianNoise(2e7)},
            "`learning_rate` must be small enough for noise of at most 1e6 grid steps, got 0.1",
        ),
        (
            {"learning_rate": 0.6, "single_steps": True},
            "`learning_rate` must be at most 0.5 for moves of one grid step, got 0.6",
        ),
        (
            {"noise": GaussianNoise(), "single_steps": True},
            "`noise` must be bounded for moves of one grid step, got GaussianNoise",
        ),
    ],
)
def test_bad_arguments_of_chains_are_refused(changes, message):
    arguments = {"gradient": lambda w: w, "axes": [-1.0, 0.0, 1.0], "learning_rate": 0.1}
    arguments |= {"noise": RademacherNoise(), **changes}
    with pytest.raises(ValueError, match=message):
        sr_chain(arguments.pop("gradient"), arguments.pop("axes"), **arguments)


def test_steps_that_are_just_single_are_accepted():
    options = {"noise": RademacherNoise(0.2), "single_steps": True}
    chain = sr_chain(np.full(3, 0.1), np.arange(3.0), learning_rate=1 / 0.3, **options)
    assert_allclose(chain.kernel[1], [0.5, 1 / 3, 1 / 6], rtol=1e-15)
    assert chain.kernel[0, 2] == chain.kernel[2, 0] == 0.0


def test_a_limit_without_any_move_is_refused():
    with pytest.raises(ValueError, match="`gradient` must be such that some state is left"):
        limit_chain(np.zeros(3), np.arange(3.0), noise=NoNoise())


def test_kernels_of_too_many_moves_are_refused(monkeypatch):
    monkeypatch.setattr(chain_module, "MAX_MOVES", 1000)
    axis = np.linspace(-1.0, 1.0, 100)
    with pytest.raises(ValueError, match="`axes` must be small enough for a kernel of at most"):
        sr_chain(axis, axis, learning_rate=1.0, noise=StudentTNoise(2.0), sparse=True)


def test_kernels_of_far_too_many_moves_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(chain_module, "MAX_MOVES", 1_000_000)
    axis = np.linspace(-15.0, 15.0, 3001)
    spied = mock.patch.object(AxisMoves, "_exactly", autospec=True, side_effect=AxisMoves._exactly)
    with spied as spy, pytest.raises(ValueError, match="kernel of at most 1000000 moves"):
        sr_chain(axis, axis, learning_rate=1.0, noise=GaussianNoise(2.0))
    assert spy.call_count < 100


def test_kernels_of_a_few_moves_too_many_are_refused_on_the_way(monkeypatch):
    axis = np.linspace(-1.5, 1.5, 301)
    options = {"learning_rate": 0.2, "noise": GaussianNoise(0.1), "sparse": True}
    whole = sr_chain(axis, axis, **options)
    monkeypatch.setattr(chain_module, "MAX_MOVES", whole.kernel.nnz - 100)
    spied = mock.patch.object(AxisMoves, "_exactly", autospec=True, side_effect=AxisMoves._exactly)
    with spied as spy, pytest.raises(ValueError, match="`axes` must be small enough"):
        sr_chain(axis, axis, **options)
    assert spy.call_count > 100
    monkeypatch.setattr(chain_module, "MAX_MOVES", whole.kernel.nnz + 100)
    assert sr_chain(axis, axis, **options).kernel.nnz == whole.kernel.nnz


def test_estimates_of_the_number_of_moves_are_lower_bounds():
    axis, noise = np.linspace(-1.5, 1.5, 301), GaussianNoise(0.1)
    maker = AxisMoves(axis, 0.01 / 0.2, noise)
    chain = sr_chain(axis, axis, learning_rate=0.2, noise=noise, sparse=True)
    estimate = maker.estimate_count(np.arange(301), 301, 1e-30)
    assert 0.5 * chain.kernel.nnz < estimate < chain.kernel.nnz


def test_rare_moves_to_neighbors_hold_a_sparse_chain_together():
    # Against the steep slopes at the ends a step has a chance of 1e-40.
    axis, noise = np.linspace(-3.0, 8.0, 2201), GaussianNoise(0.5)
    chain = sr_chain(TOY.gradient, axis, learning_rate=1e-4, noise=noise)
    assert chain.is_sparse
    assert 0 < chain.kernel.data.min() < 1e-30
    assert len(closed_classes(chain)) == 1
    limit = limit_chain(TOY.gradient, axis, noise=noise)
    generator = chain.generator
    for beside in (1, -1):
        expected = limit.generator.diagonal(beside)
        assert_allclose(generator.diagonal(beside), expected, rtol=1e-11, atol=0)


def test_rare_moves_of_two_weights_to_neighbors_are_kept():
    axes, options = (TOY_AXIS, TOY_AXIS[:3]), {"learning_rate": 1e-2, "noise": GaussianNoise(0.4)}
    slopes = np.zeros((69, 2))
    slopes[:, 0] = np.repeat(TOY.gradient(TOY_AXIS), 3)
    chain = sr_chain(slopes, axes, sparse=True, **options)
    assert 0 < chain.kernel.data.min() < 1e-40
    assert len(closed_classes(chain)) == 1


@pytest.mark.parametrize(
    ("points", "kernel", "options", "message"),
    [
        ([0.0, 1.0], [[1.0]], {}, r"`kernel` must be of shape \(2, 2\), one row a state"),
        ([0.0], [[-1.0]], {}, "`kernel` must be finite and not below zero"),
        ([0.0], [[math.nan]], {}, "`kernel` must be finite and not below zero"),
        ([0.0], [[math.inf]], {}, "`kernel` must be finite and not below zero"),
        ([0.0], [[0.9]], {}, "`kernel` must be of rows that sum to one"),
        ([0.0, 1.0], [[0.5, 0.3], [0.5, 0.7]], {}, "`kernel` must be of rows that sum to one"),
        ([], np.zeros((0, 0)), {}, "`points` must be finite, of shape"),
        ([math.nan], [[1.0]], {}, "`points` must be finite, of shape"),
        (0.0, [[1.0]], {}, "`points` must be finite, of shape"),
        ([0.0], [[1.0]], {"learning_rate": 0.0}, "`learning_rate` must be finite and above zero"),
        ([0.0], [[1.0]], {"time_step": -1.0}, "`time_step` must be finite and above zero"),
    ],
)
def test_bad_kernels_are_refused(points, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        RoundingChain(points, kernel, **options)


def test_classes_are_those_of_a_chain():
    with pytest.raises(ValueError, match="`chain` must be RoundingChain, got 1"):
        closed_classes(1)


# --- Property ---------------------------------------------------------------------------------


@settings(max_examples=50)
@given(noises, rates, st.lists(st.floats(-3, 3), min_size=2, max_size=12))
def test_kernels_are_stochastic_and_moves_are_unbiased_inside(noise, rate, means):
    axis = 0.5 * np.arange(len(means) + 40) - 10
    mean = np.concatenate([np.zeros(20), means, np.zeros(20)])
    chain = sr_chain(mean, axis, learning_rate=rate, noise=noise)
    assert (chain.kernel >= 0).all()
    assert_allclose(chain.kernel.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    reach = rate * (3 + noise.bound)
    inside = (axis > axis[0] + reach) & (axis < axis[-1] - reach)
    drift = (chain.kernel @ axis - axis)[inside]
    # Sums of up to 52 terms of at most 16.
    assert_allclose(drift, -rate * mean[inside], rtol=1e-12, atol=1e-12)


@given(st.sampled_from([NOISES[1], NOISES[4], NOISES[5]]), st.integers(2, 12), st.floats(1e-9, 1))
def test_bounded_gradients_make_the_kernel_linear_in_the_learning_rate(noise, count, fraction):
    axis = 0.25 * np.arange(count)
    mean = 0.7 * (axis - axis.mean()) + 0.01
    rate = fraction * 0.25 / (np.abs(mean).max() + noise.bound)
    chain = sr_chain(mean, axis, learning_rate=rate, noise=noise, single_steps=True)
    limit = limit_chain(mean, axis, noise=noise)
    assert_allclose(chain.generator, limit.generator, rtol=1e-14, atol=1e-15 / rate)
    assert_allclose(chain.kernel, np.eye(count) + rate * limit.generator, rtol=0, atol=1e-15)


@settings(max_examples=50)
@given(noises, rates, st.integers(2, 10))
def test_mirror_images_have_mirrored_kernels(noise, rate, count):
    axis = np.arange(float(count))
    mean = np.sin(axis) / (1 + rate)
    options = {"learning_rate": rate}
    chain = sr_chain(mean, axis, noise=noise, **options)
    mirrored = sr_chain(-mean[::-1], -axis[::-1], noise=noise._reversed(), **options)
    assert_allclose(mirrored.kernel[::-1, ::-1], chain.kernel, rtol=1e-12, atol=1e-15)


@settings(max_examples=50)
@given(noises, rates, st.floats(0.1, 10))
def test_the_unit_of_weights_does_not_matter(noise, rate, unit):
    axis = np.linspace(-1.0, 1.0, 9)
    rate = min(rate, 1.0)
    chain = sr_chain(axis, axis, learning_rate=rate, noise=noise)
    scaled = sr_chain(axis, unit * axis, learning_rate=unit * rate, noise=noise)
    assert_allclose(scaled.kernel, chain.kernel, rtol=1e-11, atol=1e-14)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [1.0, 0.1, 0.03])
@pytest.mark.parametrize("mean", [0.0, -6.0, 12.0])
def test_gaussian_moves_keep_their_digits_in_both_tails(rate, mean):
    count = 101
    chain = sr_chain(
        np.full(count, mean), 0.5 * np.arange(count), learning_rate=rate, noise=GaussianNoise(2.0)
    )
    offsets = np.arange(-49, 50)
    exact = np.array(exact_gaussian_row(mean, 2.0, rate, 0.5, [int(j) for j in offsets]))
    row = chain.kernel[50, 50 + offsets]
    apart = (offsets != 0) & (exact > 1e-290)
    # The second difference of the tail loses the square of the noise in grid steps.
    loss = 1 + (rate * 2.0 / 0.5) ** 2
    assert_allclose(row[apart], exact[apart], rtol=4e-13 * loss, atol=0)
    assert_allclose(row[49:50], exact[49:50], rtol=0, atol=1e-14 * loss)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("df", [1.5, 2.0, 3.0])
def test_heavy_tails_move_far(df):
    options = {"learning_rate": 0.01, "noise": StudentTNoise(df)}
    chain = sr_chain(np.full(41, 0.4), np.arange(41.0), **options)
    for offset in (-19, -3, -1, 1, 2, 19):
        exact = exact_student_move(0.4, df, 0.01, 1.0, offset)
        assert chain.kernel[20, 20 + offset] == pytest.approx(exact, rel=2e-11, abs=0)


def drawn_shares(sign, rng):
    """Frequencies of the moves of a weight at 4.5 on the toy, rounded by comparison with draws."""
    draws = 2.0 * rng.standard_normal(1_000_000)
    target = 4.5 + sign * 0.5 * (2 * (4.5 - 4.75) + draws)
    below = 0.5 * np.floor(target / 0.5)
    rounded = below + 0.5 * (rng.random(draws.size) < (target - below) / 0.5)
    return [Estimate.from_samples((rounded == y).astype(float)) for y in (3.5, 4.0, 4.5, 5.0, 6.0)]


@pytest.mark.theory_vs_sim
def test_kernel_agrees_with_draws():
    chain = sr_chain(TOY.gradient, TOY_AXIS, learning_rate=0.5, noise=GaussianNoise(2.0))
    row = chain.kernel[15, [13, 14, 15, 16, 18]]
    for theory, share in zip(row, drawn_shares(-1, np.random.default_rng(0)), strict=True):
        assert_mc_close(theory, share)


@pytest.mark.theory_vs_sim
def test_the_wrong_sign_of_the_gradient_is_seen():
    chain = sr_chain(TOY.gradient, TOY_AXIS, learning_rate=0.5, noise=GaussianNoise(2.0))
    shares = drawn_shares(1, np.random.default_rng(0))
    assert abs(shares[1].z_score(chain.kernel[15, 14])) > 5
    assert abs(shares[3].z_score(chain.kernel[15, 16])) > 5


@pytest.mark.theory_vs_sim
def test_largest_time_step_of_the_toy():
    with mpmath.workdps(30):
        z = mpmath.mpf(13) / 4
        largest = (2 * mpmath.npdf(z) + mpmath.mpf("6.5") * mpmath.ncdf(z)) * 2
    chain = limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0))
    assert chain.time_step == pytest.approx(float(1 / largest), rel=1e-14, abs=0)
    assert chain.time_step == pytest.approx(0.0769194388, rel=1e-9, abs=0)
