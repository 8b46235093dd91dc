"""Proximal maps of grids, dual averaging, and where lazy and eager rules end."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.quantizers import (
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
    infinite_grid,
    sign,
    ternary,
    uniform_midrise,
    uniform_midtread,
)
from qtheory.training import (
    BinaryConnect,
    BinaryRelaxation,
    DeterministicRounding,
    GaussianNoise,
    GradientDescent,
    ProximalQuantization,
    Quadratic,
    Record,
    descend,
    descend_strengthened,
    dual_averaging_weights,
    proximal_fixed_points,
    proximal_step,
    relax,
    relaxation_threshold,
)

BINARY = uniform_midrise(num_levels=2, step_size=2.0)
UNEVEN = ScalarQuantizer([-2.0, -0.5, 0.0, 3.0])
GRIDS = [
    pytest.param(BINARY, id="binary"),
    pytest.param(UNEVEN, id="uneven"),
    pytest.param(uniform_midtread(bit_width=3, step_size=0.7), id="mid-tread"),
    pytest.param(UniformQuantizer(0.5, offset=0.2, code_min=-3, code_max=2), id="shifted"),
]
MAPS = [pytest.param(proximal_step, id="distance"), pytest.param(relax, id="square")]
PENALTIES = [
    pytest.param(proximal_step, np.abs, id="distance"),
    pytest.param(relax, lambda away: 0.5 * away**2, id="square"),
]


def pull(x):
    """Gradient of the parabola with minimizer 0.2 and curvature one."""
    return x - 0.2


def generator(seed=91):
    return np.random.default_rng(seed)


def run(rule, start, *, num_steps=1000, learning_rate=0.1, gradient=pull, **options):
    """Train on the parabola, one weight a replica."""
    return descend(
        gradient,
        np.reshape(start, (-1, 1)),
        rule=rule,
        learning_rate=learning_rate,
        num_steps=num_steps,
        rng=generator(),
        record=Record(every=1, count_changes=True),
        **options,
    )


# --- Unit -------------------------------------------------------------------------------------


def test_binary_map_of_the_method():
    w = np.array([-1.5, -1.1, -0.3, 0.0, 0.4, 1.0, 2.0])
    # s + sign(w - s) (|w - s| - t)_+ with s = sign(w), and the sign of zero positive.
    s = np.where(w >= 0, 1.0, -1.0)
    by_hand = s + np.sign(w - s) * np.maximum(np.abs(w - s) - 0.25, 0)
    assert_allclose(proximal_step(w, 0.25, BINARY), by_hand, rtol=1e-15)
    assert_array_equal(proximal_step(w, 0.25, sign()), proximal_step(w, 0.25, BINARY))


@pytest.mark.parametrize("shrink", MAPS)
@pytest.mark.parametrize("grid", GRIDS)
def test_limits_of_the_strength(shrink, grid):
    w = np.linspace(-4, 4, 101)
    assert_array_equal(shrink(w, 0.0, grid), w)
    nearest = grid.levels[np.abs(w[:, None] - grid.levels + 1e-12).argmin(axis=1)]
    assert_allclose(shrink(w, math.inf, grid), nearest, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shrink", MAPS)
def test_halves_go_up_whatever_the_grid_says(shrink):
    for mode in RoundMode:
        assert shrink(0.5, math.inf, infinite_grid(1.0, round_mode=mode)) == 1.0
        assert shrink(1.5, math.inf, infinite_grid(1.0, round_mode=mode)) == 2.0
    assert shrink(0.0, math.inf, BINARY) == 1.0
    # Thresholds away from the midpoints do not count either.
    assert shrink(0.6, math.inf, ternary(1.0, threshold=0.9)) == 1.0


@pytest.mark.parametrize("shrink", MAPS)
def test_types_shapes_and_strengths_of_coordinates(shrink):
    w = np.array([[0.2, -0.4], [0.9, 3.0]], dtype=np.float32)
    moved = shrink(w, [0.0, math.inf], BINARY)
    assert moved.dtype == np.float32
    assert_array_equal(moved, np.array([[0.2, -1.0], [0.9, 1.0]], dtype=np.float32))
    assert np.isnan(shrink([np.nan], 1.0, BINARY)).all()


def test_rules_at_the_ends_of_their_strength():
    grid = infinite_grid(0.5)
    latent, gradient = generator().uniform(-2, 2, (2, 50)), generator(92).normal(size=(2, 50))
    descent = GradientDescent().update(latent, gradient, 0.3)
    for rule in (ProximalQuantization(grid, 0.0), BinaryRelaxation(grid, 0.0)):
        assert_allclose(rule.update(latent, gradient, 0.3), descent, rtol=0, atol=1e-15)
        assert_array_equal(rule.weights(latent), latent)
    # Steps of half a gap or more are rounding after each step, ...
    rounding = DeterministicRounding(grid).update(latent, gradient, 0.3)
    for strength in (0.25 / 0.3, math.inf):
        rule = ProximalQuantization(grid, strength)
        assert_allclose(rule.update(latent, gradient, 0.3), rounding, rtol=0, atol=1e-14)
    # ... and infinite relaxation is BinaryConnect.
    hard = BinaryRelaxation(grid, math.inf)
    assert_allclose(hard.weights(latent), BinaryConnect(grid).weights(latent), rtol=0, atol=1e-15)


def test_a_learning_rate_of_zero_moves_nothing():
    latent = np.array([0.3, -0.2])
    for strength in (1.0, math.inf):
        rule = ProximalQuantization(BINARY, strength)
        assert_array_equal(rule.update(latent, np.ones(2), 0.0), latent)


def test_fixed_points_by_hand():
    def points(strength, **changes):
        options = {"curvature": 1.0, "learning_rate": 0.1, "grid": BINARY, **changes}
        return proximal_fixed_points(0.2, strength=strength, **options)

    assert_allclose(points(0.5), [-0.3, 0.7], rtol=1e-14)
    assert_allclose(points(0.8), [-0.6, 1.0], rtol=1e-14)
    assert_allclose(points(1.2), [-1.0, 1.0], rtol=1e-14)
    # A minimizer this near to the threshold, and the left branch is out of reach.
    assert_allclose(points(0.1), [0.3], rtol=1e-14)
    assert_allclose(points(0.5, grid=infinite_grid(1.0)), [0.0, 0.7], rtol=1e-14)
    assert_allclose(points(1.0, curvature=2.0), [-0.3, 0.7], rtol=1e-14)
    # Small learning rates leave no point that only hardly moves.
    assert_allclose(points(0.5, learning_rate=1e-13), [-0.3, 0.7], rtol=1e-14)
    # A minimizer beyond the outer level of a grid.
    assert_allclose(points(0.1, grid=uniform_midtread(num_levels=3, step_size=0.05)), [0.1])
    assert_allclose(points(0.18, grid=uniform_midtread(num_levels=3, step_size=0.05)), [0.05])


def test_a_tie_counts_for_both_levels():
    options = {"curvature": 1.0, "strength": 0.5, "learning_rate": 0.25, "grid": BINARY}
    assert_array_equal(proximal_fixed_points(0.375, **options), [-0.125, 0.875])
    # From below the weights tend to a point from which they would be pulled up.
    rule = ProximalQuantization(BINARY, 0.5)
    near = run(rule, [-0.5], num_steps=80, learning_rate=0.25, gradient=lambda x: x - 0.375)
    assert -0.125 - 1e-9 < near.weights[0, 0] < -0.125
    assert proximal_step(-0.125 - 0.25 * (-0.125 - 0.375), 0.125, BINARY) == 0.125
    # A level that a step leaves for the middle of a gap.
    options.update(strength=5.0, learning_rate=0.5)
    assert_array_equal(proximal_fixed_points(1.0, **options), [-1.0, 1.0])
    assert_array_equal(proximal_fixed_points(1.0 + 1e-9, **options), [1.0])


def test_thresholds_by_hand():
    assert relaxation_threshold(0.5) == 0.0
    assert relaxation_threshold(0.25) == relaxation_threshold(0.75) == 1.0
    assert relaxation_threshold(0.0) == relaxation_threshold(1.0) == math.inf


POINT = {"curvature": 1.0, "strength": 0.5, "learning_rate": 0.1, "grid": BINARY}
PHASES = {"learning_rate": 0.1, "num_steps": 2, "rng": generator()}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proximal_step([0.1], -1.0, BINARY), "`strength` must be not below zero, got -1"),
        (lambda: relax([0.1], [1.0, math.nan], BINARY), "`strength` must be not below zero"),
        (lambda: relax([0.1], 1.0, 2.0), "`grid` must be UniformQuantizer or ScalarQuantizer, got"),
        (lambda: relax(["a"], 1.0, BINARY), "`weights` must be real numbers"),
        (lambda: dual_averaging_weights(0.1, 0.1, None), "`grid` must be UniformQuantizer or Sca"),
        (lambda: ProximalQuantization(3, 1.0), "`grid` must be UniformQuantizer or ScalarQuant"),
        (lambda: ProximalQuantization(BINARY, -1.0), "`strength` must be a number not below zero"),
        (lambda: BinaryRelaxation(BINARY, math.nan), "`strength` must be a number not below zero"),
        (lambda: BinaryRelaxation(BINARY, True), "`strength` must be a number not below zero"),
        (lambda: BinaryRelaxation(BINARY, "1"), "`strength` must be a number not below zero"),
        (lambda: relaxation_threshold(1.5), "`position` must be from 0 to 1, got 1.5"),
        (lambda: relaxation_threshold(math.nan), "`position` must be finite, got nan"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curvature": 0.0}, "`curvature` must be finite and above zero, got 0.0"),
        ({"strength": 0.0}, "`strength` must be finite and above zero, got 0.0"),
        ({"learning_rate": 1.0}, "`learning_rate` must be below 1/curvature = 1, got 1.0"),
        ({"grid": 1}, "`grid` must be UniformQuantizer or ScalarQuantizer, got 1"),
        (
            {"grid": infinite_grid(1e-9)},
            "`strength` must be such that at most 1048576 levels hold",
        ),
    ],
)
def test_bad_parabolas_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        proximal_fixed_points(0.2, **{**POINT, **change})


@pytest.mark.parametrize(
    ("rule", "strengths", "message"),
    [
        (BinaryConnect(BINARY), [1.0], "`rule` must be ProximalQuantization or BinaryRelaxation"),
        (BinaryRelaxation(BINARY, 0.0), [], "`strengths` must be an array with at least one"),
        (BinaryRelaxation(BINARY, 0.0), [2.0, 1.0], "`strengths` must be a sequence that does not"),
        (BinaryRelaxation(BINARY, 0.0), [-1.0], "`strength` must be a number not below zero"),
        (BinaryRelaxation(BINARY, 0.0), 1.0, "`strengths` must be a sequence that does not decrea"),
    ],
)
def test_bad_phases_are_refused(rule, strengths, message):
    with pytest.raises(ValueError, match=message):
        descend_strengthened(pull, np.zeros((1, 1)), rule=rule, strengths=strengths, **PHASES)


def test_phases_follow_each_other():
    start, strengths = np.array([[0.9], [-0.4]]), [0.0, 0.3, 2.0]
    rule = ProximalQuantization(BINARY, 5.0)
    phases = descend_strengthened(pull, start, rule=rule, strengths=strengths, **PHASES)
    latent = start
    for phase, strength in zip(phases, strengths, strict=True):
        single = ProximalQuantization(BINARY, strength)
        for _ in range(2):
            latent = single.update(latent, pull(latent), 0.1)
        assert_array_equal(phase.latent, latent)
    assert len(phases) == 3


# --- Property ---------------------------------------------------------------------------------

weights = st.floats(-5, 5)
strengths = st.floats(0, 10)
grids = st.sampled_from([param.values[0] for param in GRIDS])


@pytest.mark.property
@pytest.mark.parametrize(("shrink", "distance"), PENALTIES)
@given(grid=grids, w=weights, strength=strengths, other=weights)
def test_no_other_point_has_a_lower_proximal_objective(shrink, distance, grid, w, strength, other):
    def objective(x):
        return 0.5 * (x - w) ** 2 + strength * distance(x - grid.levels).min()

    assert objective(float(shrink(w, strength, grid))) <= objective(other) + 1e-12


@pytest.mark.property
@pytest.mark.parametrize("shrink", MAPS)
@given(grid=grids, w=weights, strength=strengths, more=strengths)
def test_moves_stay_between_weight_and_level_and_grow_with_strength(
    shrink, grid, w, strength, more
):
    level = float(shrink(w, math.inf, grid))
    near = abs(float(shrink(w, strength, grid)) - level)
    assert near <= abs(w - level) + 1e-15
    assert abs(float(shrink(w, strength + more, grid)) - level) <= near + 1e-14
    assert shrink(level, strength, grid) == pytest.approx(level, rel=1e-15, abs=1e-15)


@pytest.mark.property
@given(grids, st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.floats(-3, 3))
def test_dual_averaging_is_the_constrained_minimum(grid, gradient_sum, start):
    found = dual_averaging_weights(gradient_sum, start, grid)

    def objective(q):
        return np.dot(gradient_sum, q) + 0.5 * ((np.asarray(q) - start) ** 2).sum()

    best = min(objective(q) for q in itertools.product(grid.levels, repeat=2))
    assert objective(found) == pytest.approx(best, rel=0, abs=1e-12)


@pytest.mark.property
@given(st.floats(-2, 2), st.floats(0.1, 5), st.floats(0.05, 3), st.floats(0.15, 0.9), st.data())
def test_proximal_descent_ends_in_a_listed_fixed_point(center, curvature, strength, product, data):
    grid = data.draw(st.sampled_from([BINARY, UNEVEN, infinite_grid(0.8)]))
    start = data.draw(st.floats(-4, 4))
    rate = product / curvature
    ends = proximal_fixed_points(
        center, curvature=curvature, strength=strength, learning_rate=rate, grid=grid
    )
    x = start
    for _ in range(math.ceil(40 / product)):
        x = float(proximal_step(x - rate * curvature * (x - center), rate * strength, grid))
    assert np.abs(ends - x).min() <= 1e-9 * (1 + abs(x) + strength / curvature)


@pytest.mark.property
@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(0.01, 0.95), st.data())
def test_every_proximal_step_descends_as_stated(start, strength, product, data):
    bowl = Quadratic([1.0, 2.5], minimizer=[0.2, -0.7])
    grid = data.draw(st.sampled_from([sign(), UNEVEN, ScalarQuantizer([0.0, 0.8])]))
    rate, rule = product / 2.5, ProximalQuantization(grid, strength)

    def energy(w):
        return float(bowl.value(w)) + strength * np.abs(w[:, None] - grid.levels).min(axis=1).sum()

    w = np.array([start, 0.5 * start + 0.1])
    for _ in range(5):
        after = rule.update(w, bowl.gradient(w), rate)
        lost = 0.5 * (1 / rate - 2.5) * ((after - w) ** 2).sum()
        assert energy(after) <= energy(w) - lost + 1e-12
        w = after


# --- Theory against a run ---------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("grid", [BINARY, infinite_grid(0.3)], ids=["binary", "infinite"])
def test_binaryconnect_is_dual_averaging_at_every_step(grid):
    bowl = Quadratic([[2.0, 0.5], [0.5, 1.0]], minimizer=[0.3, -0.2])
    rule, rng, noise = BinaryConnect(grid), generator(), GaussianNoise(0.4)
    start = rng.uniform(-1, 1, (20, 2))
    latent, total = start, np.zeros_like(start)
    for step in range(200):
        weights = rule.weights(latent)
        assert_array_equal(weights, dual_averaging_weights(total, start, grid))
        gradient = bowl.gradient(weights) + noise.sample(weights.shape, rng=rng)
        rate = 0.2 / math.sqrt(step + 1)
        latent, total = rule.update(latent, gradient, rate), total + rate * gradient


@pytest.mark.theory_vs_sim
def test_rounding_after_each_step_is_not_dual_averaging():
    # Negative control: an eager rule forgets the steps that it has rounded away.
    rule, latent, total = DeterministicRounding(BINARY), np.array([1.0]), np.zeros(1)
    for _ in range(100):
        gradient = latent + 3
        latent, total = rule.update(latent, gradient, 0.1), total + 0.1 * gradient
    assert latent == 1.0
    assert dual_averaging_weights(total, 1.0, BINARY) == -1.0


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    "rule",
    [
        BinaryConnect(BINARY),
        BinaryConnect(infinite_grid(0.7)),
        BinaryRelaxation(BINARY, 0.1),
        BinaryRelaxation(sign(), 3.0),
    ],
    ids=["binary", "fine", "weakly relaxed", "strongly relaxed"],
)
def test_lazy_weights_average_to_the_minimizer(rule):
    start = np.array([[0.9, -0.3], [-2.0, 0.1]])
    bowl = Quadratic([[2.0, 0.5], [0.5, 1.0]], minimizer=[0.3, -0.2])
    result = descend(
        bowl.gradient, start, rule=rule, learning_rate=0.2, num_steps=5000, rng=generator()
    )
    drift = (start - result.latent) / (0.2 * 5000)
    mean = (result.weight_average - bowl.minimizer) @ bowl.hessian
    assert_allclose(mean, drift, rtol=0, atol=1e-11)
    assert_allclose(result.weight_average - [bowl.minimizer] * 2, 0, rtol=0, atol=0.01)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("learning_rate", [0.3, 0.1, 0.003])
def test_binaryconnect_switches_at_a_rate_without_a_learning_rate(learning_rate):
    # The minimizer 0.2 lies 0.6 of the gap above -1: it switches in 2 * 0.4 of the steps.
    result = run(BinaryConnect(BINARY), [0.0, 0.001], num_steps=5000, learning_rate=learning_rate)
    assert_allclose(result.changes / 5000, 0.8, rtol=0, atol=3 / 5000)
    assert_allclose(result.weight_average, 0.2, rtol=0, atol=2 / 5000)


@pytest.mark.theory_vs_sim
def test_the_demonstration_of_the_notes():
    lazy = run(BinaryConnect(BINARY), [0.0])
    assert 797 <= lazy.changes[0] <= 801
    eager = run(ProximalQuantization(BINARY, 1.0), [0.9, 0.1])
    assert_array_equal(eager.weights, 1.0)
    assert_array_equal(np.diff(eager.weight_record[200:], axis=0), 0.0)
    # Negative control: from the other side it stops where the theorem says, off the grid.
    other = run(ProximalQuantization(BINARY, 1.0), [-0.9])
    assert_allclose(other.weights, -0.8, rtol=1e-12)


@pytest.mark.theory_vs_sim
def test_growing_strength_finds_the_best_level_and_a_large_one_the_nearest():
    starts, rule = np.array([[-0.9], [-0.1], [0.9]]), ProximalQuantization(BINARY, 0.0)
    plan = {"learning_rate": 0.1, "num_steps": 50, "rng": generator()}
    slow = descend_strengthened(pull, starts, rule=rule, strengths=np.linspace(0, 2, 21), **plan)
    assert_array_equal(slow[-1].weights, 1.0)
    # On the way it follows the minimizer plus the strength.
    assert_allclose(slow[4].weights, 0.2 + 0.4, rtol=0.02)
    fast = descend_strengthened(pull, starts, rule=rule, strengths=[2.0], **plan)
    assert_array_equal(fast[-1].weights, [[-1.0], [-1.0], [1.0]])


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("minimizer", [0.2, -0.5, 0.9, 0.01])
@pytest.mark.parametrize("learning_rate", [0.3, 0.05])
def test_relaxation_cycles_exactly_beyond_its_threshold(minimizer, learning_rate):
    threshold = relaxation_threshold((minimizer + 1) / 2)

    def late_spread(strength):
        result = run(
            BinaryRelaxation(BINARY, strength),
            [0.7, -0.9],
            num_steps=4000,
            learning_rate=learning_rate,
            gradient=lambda x: x - minimizer,
        )
        return np.ptp(result.weight_record[-500:], axis=0).max()

    assert late_spread(0.98 * threshold) < 1e-8
    assert late_spread(1.02 * threshold + 1e-3) > 1e-3


@pytest.mark.theory_vs_sim
def test_steps_beyond_the_smoothness_break_the_descent():
    # Negative control: gradient descent converges at this learning rate, ProxQuant does not.
    result = run(ProximalQuantization(BINARY, 0.2), [0.9], learning_rate=1.5)
    assert result.changes[0] == 1000
    assert_allclose(np.unique(result.weight_record[-10:].round(9)), [-0.4, 0.8])
    assert_allclose(run(GradientDescent(), [0.9], learning_rate=1.5).weights, 0.2, rtol=1e-12)


@pytest.mark.theory_vs_sim
def test_noise_breaks_the_descent():
    # Negative control: with noise the same strength lets weights leave the level.
    rule = ProximalQuantization(BINARY, 1.0)
    noisy = run(rule, np.ones(50), noise=GaussianNoise(20.0))
    assert (noisy.weight_record[-1] < 0).any()
    still = run(rule, np.ones(50))
    assert_array_equal(still.weight_record, 1.0)
