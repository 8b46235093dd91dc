"""Stationary laws against rational arithmetic, 50-digit solutions and closed forms."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special

from qtheory.numerics import Estimate
from qtheory.training import (
    DiscreteNoise,
    GaussianNoise,
    NoNoise,
    RademacherNoise,
    RoundingChain,
    StudentTNoise,
    ThreeBasins,
    _elimination,
    limit_chain,
    simulate,
    sr_chain,
    stationary_law,
    total_variation,
)

TOY_AXIS = np.linspace(-3.0, 8.0, 23)
TOY = ThreeBasins()
SQUARE = np.linspace(-1.5, 1.5, 7)
weights = st.integers(1, 1000)


def coupled(w):
    x, y = w[:, 0], w[:, 1]
    return np.stack([x**3 - x + 0.5 * y, y + 0.5 * x - 0.2], axis=-1)


def exact_law(moves):
    """Stationary law of rational moves by Gauss's elimination of its equations."""
    count = len(moves)
    rows = [[moves[i][j] for i in range(count)] for j in range(count)]
    for j in range(count):
        rows[j][j] = -sum(moves[j][k] for k in range(count) if k != j)
    rows[-1] = [Fraction(1)] * count
    right = [Fraction(0)] * (count - 1) + [Fraction(1)]
    for k in range(count):
        pivot = next(i for i in range(k, count) if rows[i][k] != 0)
        rows[k], rows[pivot], right[k], right[pivot] = rows[pivot], rows[k], right[pivot], right[k]
        for i in range(k + 1, count):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
            right[i] -= factor * right[k]
    for k in reversed(range(count)):
        rest = sum(rows[k][j] * right[j] for j in range(k + 1, count))
        right[k] = (right[k] - rest) / rows[k][k]
    return [float(value) for value in right]


def precise_law(kernel):
    """Stationary law of a kernel in mpmath, from the null space of its transpose."""
    count = kernel.rows
    system = kernel.T - mpmath.eye(count)
    right = mpmath.zeros(count, 1)
    for j in range(count):
        system[count - 1, j] = 1
    right[count - 1] = 1
    return np.array([float(value) for value in mpmath.lu_solve(system, right)])


def precise_kernel(means, std, rate, step):
    """Kernel of stochastic rounding with Gaussian noise and clipping, from ramps of its law."""
    count = len(means)
    kernel = mpmath.zeros(count, count)
    for i, mean in enumerate(means):
        drift, spread = -mpmath.mpf(rate) * float(mean), mpmath.mpf(rate) * std

        def ramp(c, drift=drift, spread=spread):
            z = (drift - c) / spread
            return spread * mpmath.npdf(z) + (drift - c) * mpmath.ncdf(z)

        # Chances to end at a point or above it.
        places = [(j - i) * mpmath.mpf(step) for j in range(count)]
        above = [mpmath.mpf(1), *[(ramp(c - step) - ramp(c)) / step for c in places[1:]], 0]
        for j in range(count):
            kernel[i, j] = above[j] - above[j + 1]
    return kernel


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [None, 1e-12, 1e-3, 0.125])
def test_ehrenfests_urn_is_binomial(rate):
    axis = np.linspace(-1.0, 1.0, 9)
    noise = RademacherNoise()
    limit = limit_chain(axis, axis, noise=noise)
    chain = sr_chain(axis, axis, learning_rate=rate, noise=noise) if rate else limit
    law = stationary_law(chain)
    assert_allclose(256 * law, special.comb(8, np.arange(9)), rtol=4e-15)
    assert law @ axis**2 == pytest.approx(0.25 * 1.0 / 2, rel=1e-14, abs=0)


def test_without_noise_two_points_remain():
    chain = limit_chain(lambda w: w - 0.3, np.arange(-2.0, 3.0), noise=NoNoise())
    law = stationary_law(chain, allow_transient=True)
    assert_allclose(law, [0, 0, 0.7, 0.3, 0], rtol=1e-14)


def test_laws_over_more_than_the_range_of_floats():
    # Two wells, between them a valley of 1e-600 of their height.
    down = np.full(201, 1e-6)
    down[1:101], down[101:] = 1e6, 1e-6
    up = 1 / down
    moves = np.diag(np.minimum(up[:-1], 1) * 0.4, 1) + np.diag(np.minimum(down[1:], 1) * 0.4, -1)
    chain = RoundingChain(np.arange(201.0), moves + np.diag(1 - moves.sum(axis=1)))
    law = stationary_law(chain)
    log_ratio = np.cumsum(np.log(np.diag(moves, 1)) - np.log(np.diag(moves, -1)))
    expected = np.exp(np.append(0.0, log_ratio) - np.max(np.append(0.0, log_ratio)))
    assert_allclose(law, expected / expected.sum(), rtol=1e-11, atol=1e-300)
    assert law[0] > 0.3
    assert law[-1] > 0.3
    assert law[100] == 0.0


@pytest.mark.parametrize("shift", [0, 1, 500])
def test_any_order_of_the_states_gives_the_same_law(shift):
    axis = np.linspace(-2.0, 2.0, 1201)
    chain = sr_chain(axis, axis, learning_rate=0.003, noise=GaussianNoise())
    order = np.random.default_rng(0).permutation(1201) if shift else np.roll(np.arange(1201), shift)
    shuffled = RoundingChain(axis[order], sparse.csr_array(chain.kernel[np.ix_(order, order)]))
    assert_allclose(stationary_law(shuffled), stationary_law(chain)[order], rtol=2e-13)


def test_one_state_has_it_all():
    assert_array_equal(stationary_law(RoundingChain([0.0], [[1.0]])), [1.0])


def test_several_classes_are_refused_by_name():
    chain = limit_chain(TOY.gradient, TOY_AXIS, noise=NoNoise())
    message = (
        r"`chain` must be of one closed class of states, got '3: of the one state 0.0; "
        r"of the one state 2.5; of 2 states from 4.5 to 5.0'"
    )
    with pytest.raises(ValueError, match=message):
        stationary_law(chain)
    with pytest.raises(ValueError, match="of one closed class"):
        stationary_law(chain, allow_transient=True)


def test_transient_states_are_refused_unless_asked_for():
    chain = limit_chain(lambda w: w, np.linspace(-2.0, 2.0, 9), noise=RademacherNoise())
    message = r"`chain` must be irreducible, or `allow_transient` true, got .*5 states from -1.0 to"
    with pytest.raises(ValueError, match=message):
        stationary_law(chain)
    law = stationary_law(chain, allow_transient=True)
    assert_allclose(16 * law, [0, 0, 1, 4, 6, 4, 1, 0, 0], rtol=1e-14)


def test_chains_too_large_for_elimination_are_refused(monkeypatch):
    monkeypatch.setattr(_elimination, "MAX_WORK", 1e3)
    chain = limit_chain(coupled, (SQUARE, SQUARE), noise=GaussianNoise())
    with pytest.raises(ValueError, match="`chain` must be of few enough states or short enough"):
        stationary_law(chain)


def test_moves_that_are_rare_beyond_float64_are_refused():
    kernel = np.array([[0.5, 0.5, 0.0], [5e-324, 1.0, 5e-324], [0.0, 0.5, 0.5]])
    chain = RoundingChain(np.arange(3.0), kernel)
    with pytest.raises(ValueError, match="`chain` must be connected by moves that float64 can"):
        stationary_law(chain)


def test_rare_moves_are_not_lost():
    places = np.arange(5)
    cycle = np.eye(5)
    cycle[places, (places + 3) % 5] = cycle[places, (places + 4) % 5] = 1e-200
    assert_allclose(stationary_law(RoundingChain(places, cycle)), 0.2, rtol=1e-14)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0.5, 0.5], [1.0], "`second` must be of 2 states, as `first`"),
        (
            np.full((2, 2), 0.5),
            np.full((3, 2), 0.5),
            r"`second` must be of a shape that fits that of `first`, \(2, 2\), got \(3, 2\)",
        ),
        ([0.5, 0.6], [0.5, 0.5], "`first` must be of probabilities with sum one"),
        ([0.5, 0.5], [1.5, -0.5], "`second` must be an array of probabilities, none below zero"),
        ([math.nan, 1.0], [0.5, 0.5], "`first` must be an array of probabilities"),
        ([], [], "`first` must be an array of probabilities"),
        (1.0, [1.0], "`first` must be an array of probabilities"),
    ],
)
def test_what_is_not_a_law_is_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        total_variation(first, second)


def test_only_chains_have_a_law():
    with pytest.raises(ValueError, match="`chain` must be RoundingChain"):
        stationary_law(np.eye(2))


# --- Property ---------------------------------------------------------------------------------


@given(st.integers(2, 7).flatmap(lambda n: st.lists(weights, min_size=n * n, max_size=n * n)))
def test_rational_chains_keep_all_digits(entries):
    count = math.isqrt(len(entries))
    table = np.reshape(entries, (count, count)).astype(np.int64)
    table = table**4  # over twelve orders of magnitude
    total = int(table.sum(axis=1).max()) * 2
    moves = [[Fraction(int(value), total) for value in row] for row in table]
    kernel = np.array([[float(value) for value in row] for row in moves])
    np.fill_diagonal(kernel, 0.0)
    np.fill_diagonal(kernel, 1 - kernel.sum(axis=1))
    law = stationary_law(RoundingChain(np.arange(float(count)), kernel))
    # Each step of the elimination adds a few units in the last place.
    assert_allclose(law, exact_law(moves), rtol=20 * count * np.finfo(float).eps)


@settings(max_examples=50)
@given(st.integers(4, 60), st.floats(0.01, 1.0), st.integers(1, 5))
def test_bands_blocks_and_full_matrices_give_one_law(count, rate, block):
    axis = 0.2 * (np.arange(count) - 0.3 * count)
    gradient = np.sin(axis) + 0.1 * axis
    chain = sr_chain(gradient, axis, learning_rate=rate, noise=GaussianNoise(0.5))
    moves = chain_moves(chain)
    full = _elimination.stationary_weights(moves)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_elimination, "NARROW_BAND", 0)
        patch.setattr(_elimination, "BLOCK", block)
        blocked = _elimination.stationary_weights(sparse.csr_array(moves))
    assert_allclose(blocked, full, rtol=1e-13, atol=1e-300)
    assert_allclose(full @ chain.kernel, full, rtol=1e-13, atol=1e-16)


def chain_moves(chain):
    """Return the moves of a chain, zero on the diagonal."""
    return chain.kernel - np.diag(np.diag(chain.kernel))


laws = st.lists(st.integers(1, 50), min_size=6, max_size=6).map(lambda w: np.array(w) / sum(w))


@given(laws, laws, laws)
def test_total_variation_is_a_distance(p, q, r):
    assert total_variation(p, p) == 0
    assert total_variation(p, q) == total_variation(q, p)
    assert total_variation(p, r) <= total_variation(p, q) + total_variation(q, r) + 1e-15
    # The largest difference of the probabilities of an event, that where p is above q.
    largest = (p - q)[p > q].sum()
    assert total_variation(p, q) == pytest.approx(largest, rel=1e-13, abs=1e-16)
    assert_allclose(total_variation([p, q], r), [total_variation(p, r), total_variation(q, r)])


@given(st.floats(0.3, 3), st.floats(0.05, 0.9), st.floats(-1.0, 1.0))
def test_a_quadratic_has_a_quarter_step_times_gradient_above_its_minimum(curvature, step, place):
    count = math.ceil(12 / (step * math.sqrt(curvature)) * max(1.0, math.sqrt(step))) + 6
    axis = step * np.arange(-count, count + 1)
    noise = DiscreteNoise([-1.0, 0.5], [1 / 3, 2 / 3])
    chain = limit_chain(curvature * (axis - place), axis, noise=noise)
    law = stationary_law(chain, allow_transient=True)
    excess = law @ (0.5 * curvature * (axis - place) ** 2)
    gradient = law @ noise.mean_abs(curvature * (axis - place))
    assert excess == pytest.approx(0.25 * step * gradient, rel=1e-10, abs=0)
    assert law @ axis == pytest.approx(place, rel=0, abs=1e-11)


# --- Theory against reference ------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("rate", [1.0, 0.1, 0.01])
def test_laws_of_gaussian_kernels_keep_all_digits(rate):
    with mpmath.workdps(50):
        expected = precise_law(precise_kernel(TOY.gradient(TOY_AXIS), 2, rate, 0.5))
    chain = sr_chain(TOY.gradient, TOY_AXIS, learning_rate=rate, noise=GaussianNoise(2.0))
    assert_allclose(stationary_law(chain), expected, rtol=1e-12)
    thin = sr_chain(
        TOY.gradient, TOY_AXIS, learning_rate=rate, noise=GaussianNoise(2.0), sparse=True
    )
    assert_allclose(stationary_law(thin), expected, rtol=1e-12)


@pytest.mark.theory_vs_sim
def test_limit_law_of_the_toy_is_a_product_of_ratios():
    with mpmath.workdps(50):
        # E(m + xi)_+ over E(m + xi)_- at neighbors, from the density and the tail of the noise.
        means = [mpmath.mpf(float(m)) / 2 for m in TOY.gradient(TOY_AXIS)]
        down = [mpmath.npdf(m) + m * mpmath.ncdf(m) for m in means]
        up = [mpmath.npdf(m) - m * mpmath.ncdf(-m) for m in means]
        weight = [mpmath.mpf(1)]
        for i in range(22):
            weight.append(weight[-1] * up[i] / down[i + 1])
        expected = [float(value / sum(weight)) for value in weight]
    law = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0)))
    assert_allclose(law, expected, rtol=1e-12)
    # Values found once by other code.
    assert law @ TOY.value(TOY_AXIS) == pytest.approx(0.4156455273, rel=0, abs=5e-11)
    assert law[15] + law[16] == pytest.approx(0.7274050905, rel=0, abs=5e-11)
    assert law[13:].sum() == pytest.approx(0.987966, rel=0, abs=5e-7)
    assert law.min() == pytest.approx(1.48e-15, rel=0.005, abs=0)
    assert law[15] == pytest.approx(law[16], rel=1e-13, abs=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(
            lambda: limit_chain(-TOY.gradient(TOY_AXIS), TOY_AXIS, noise=GaussianNoise(2.0)),
            id="perturbation-sign",
        ),
        pytest.param(lambda: column_chain(), id="columns-for-rows"),
        pytest.param(lambda: probability_chain(), id="without-the-size-of-the-gradient"),
    ],
)
def test_wrong_generators_have_other_laws(wrong):
    law = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0)))
    assert total_variation(stationary_law(wrong()), law) > 0.1


def column_chain():
    """Transpose of the generator with a diagonal that makes its own rows sum to zero."""
    generator = limit_chain(TOY.gradient, TOY_AXIS, noise=GaussianNoise(2.0)).generator.T.copy()
    np.fill_diagonal(generator, 0.0)
    kernel = generator / generator.sum(axis=1).max()
    return RoundingChain(TOY_AXIS, kernel + np.diag(1 - kernel.sum(axis=1)))


def probability_chain():
    """Return moves with the probability of the sign of the gradient, without the weight |z|."""
    up = special.ndtr(-TOY.gradient(TOY_AXIS) / 2.0)
    kernel = 0.5 * (np.diag(up[:-1], 1) + np.diag(1 - up[1:], -1))
    return RoundingChain(TOY_AXIS, kernel + np.diag(1 - kernel.sum(axis=1)))


@pytest.mark.theory_vs_sim
def test_law_agrees_with_walks():
    rng = np.random.default_rng(1)
    noise, rate = GaussianNoise(2.0), 0.2
    axis = np.linspace(2.5, 7.0, 10)
    shares = simulate.visit_frequencies(
        lambda w: TOY.gradient(w) + noise.sample(w.shape, rng=rng),
        axis,
        learning_rate=rate,
        num_steps=400,
        num_replicas=1000,
        num_discarded=300,
        rng=rng,
    )
    law = stationary_law(sr_chain(TOY.gradient, axis, learning_rate=rate, noise=noise))
    other = stationary_law(sr_chain(TOY.gradient, axis, learning_rate=3 * rate, noise=noise))
    for place in (3, 4, 5, 6):
        estimate = Estimate.from_samples(shares[:, place])
        assert_mc_close(law[place], estimate)
        assert abs(estimate.z_score(other[place])) > 5


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("noise", "largest"),
    [(RademacherNoise(4.0), 10.5), (DiscreteNoise([-4.0, 8.0], [2 / 3, 1 / 3]), 14.5)],
)
def test_bounded_gradients_on_a_line_give_one_law_at_every_rate(noise, largest):
    limit = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=noise), allow_transient=True)
    for rate in 0.5 / largest * np.array([1e-9, 1e-3, 0.5, 1.0]):
        chain = sr_chain(TOY.gradient, TOY_AXIS, learning_rate=rate, noise=noise, single_steps=True)
        assert_allclose(stationary_law(chain, allow_transient=True), limit, rtol=1e-12)
    faster = sr_chain(TOY.gradient, TOY_AXIS, learning_rate=1.2 / largest, noise=noise)
    assert total_variation(stationary_law(faster, allow_transient=True), limit) > 1e-6


@pytest.mark.theory_vs_sim
def test_two_coordinates_that_jump_together_differ_in_proportion_to_the_rate():
    noise = RademacherNoise(2.0)
    limit_2d = limit_chain(coupled, (SQUARE, SQUARE), noise=noise)
    assert limit_2d.time_step == pytest.approx(0.098522, rel=0, abs=5e-7)
    limit = stationary_law(limit_2d)
    rates = np.array([0.1, 1e-3, 1e-4, 1e-5])
    distances = [
        total_variation(
            stationary_law(sr_chain(coupled, (SQUARE, SQUARE), learning_rate=rate, noise=noise)),
            limit,
        )
        for rate in rates
    ]
    assert distances[0] / 0.1 == pytest.approx(0.0670, rel=0, abs=5e-5)
    assert_slope(np.log(rates[1:]), np.log(distances[1:]), 1.0, tol=1e-3)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("df", [1.5, 2.0, 3.0])
def test_tails_set_the_order_of_the_distance_to_the_limit_below_a_thousandth(df):
    noise = StudentTNoise(df, 2.0)
    limit = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=noise))
    rates = np.array([1e-3, 1e-4, 1e-5])
    distances = [
        total_variation(
            stationary_law(sr_chain(TOY.gradient, TOY_AXIS, learning_rate=rate, noise=noise)), limit
        )
        for rate in rates
    ]
    assert_slope(np.log(rates), np.log(distances), df - 1, tol=0.015)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("rate", "distance"), [(1.0, 0.7132), (0.1, 6.4046e-3), (0.02, 0.0)])
def test_gaussian_tails_reach_the_limit_faster_than_any_power(rate, distance):
    noise = GaussianNoise(2.0)
    law = stationary_law(sr_chain(TOY.gradient, TOY_AXIS, learning_rate=rate, noise=noise))
    limit = stationary_law(limit_chain(TOY.gradient, TOY_AXIS, noise=noise))
    assert total_variation(law, limit) == pytest.approx(distance, rel=1e-4, abs=1e-12)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("step", "excess"), [(0.5, 0.11018315), (0.125, 0.02556336)])
def test_floor_of_a_parabola_with_gaussian_noise(step, excess):
    count = math.floor(6 * max(math.sqrt(step), step) / step) + 4
    axis, place = step * np.arange(-count, count + 1), 0.3 * step
    law = stationary_law(limit_chain(axis - place, axis, noise=GaussianNoise()))
    assert law @ (0.5 * (axis - place) ** 2) == pytest.approx(excess, rel=0, abs=5e-9)


@pytest.mark.theory_vs_sim
def test_ten_thousand_states_on_a_line():
    axis = np.linspace(-4.0, 4.0, 10_001)
    chain = limit_chain(axis, axis, noise=GaussianNoise())
    law = stationary_law(chain)
    # Detailed balance; its product over half the axis spans more than the range of floats.
    up = law[:-1] * GaussianNoise().negative_part(axis[:-1])
    down = law[1:] * GaussianNoise().positive_part(axis[1:])
    assert_allclose(up, down, rtol=1e-12, atol=1e-300)
    assert law.sum() == pytest.approx(1.0, rel=1e-14, abs=0)


@pytest.mark.theory_vs_sim
def test_ten_thousand_states_in_a_square():
    axis = np.linspace(-1.0, 1.0, 100)
    chain = limit_chain(lambda w: w * [1.0, 2.0], (axis, axis), noise=GaussianNoise())
    parts = [
        stationary_law(limit_chain(factor * axis, axis, noise=GaussianNoise()))
        for factor in (1.0, 2.0)
    ]
    assert_allclose(stationary_law(chain), np.outer(*parts).ravel(), rtol=1e-11)


@pytest.mark.theory_vs_sim
def test_law_of_two_coordinates_agrees_with_walks():
    rng = np.random.default_rng(4)
    w = rng.integers(0, 7, (20_000, 2)).astype(float)
    for _ in range(250):
        slopes = coupled(-1.5 + 0.5 * w) + rng.standard_normal(w.shape)
        target = np.clip(w - 0.3 / 0.5 * slopes, 0, 6)
        w = np.floor(target) + (rng.random(w.shape) < target - np.floor(target))
    counts = np.bincount((7 * w[:, 0] + w[:, 1]).astype(int), minlength=49)
    options = {"learning_rate": 0.3, "noise": GaussianNoise()}
    law = stationary_law(sr_chain(coupled, (SQUARE, SQUARE), **options))
    common = law > 1e-3
    for theory, is_right in ((law, True), (law.reshape(7, 7).T.ravel(), False)):
        z = (counts - 20_000 * theory) / np.sqrt(20_000 * law * (1 - law))
        # Mean square of the z of 30 and more states, with a standard deviation below 0.3.
        assert (np.mean(z[common] ** 2) < 2.5) == is_right
