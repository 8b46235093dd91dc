"""Bounds of training on grids: they hold, they scale as stated, and smaller ones fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.quantizers import infinite_grid, uniform_midrise, uniform_midtread
from qtheory.training import (
    BinaryConnect,
    Bound,
    DeterministicRounding,
    LogisticRegression,
    ProblemConstants,
    Quadratic,
    RademacherNoise,
    Record,
    StochasticRounding,
    bc_convex_bound,
    bc_limit,
    bc_nonconvex_bound,
    bc_strongly_convex_bound,
    descend,
    inverse_sqrt,
    inverse_time,
    printed_bound,
    sr_convex_bound,
    sr_nonconvex_bound,
    sr_quadratic_floor,
    sr_strongly_convex_bound,
)

ALL = {
    "dimension": 16,
    "gradient_norm": 4.0,
    "diameter": 2.0,
    "strong_convexity": 0.5,
    "smoothness": 2.0,
    "hessian_lipschitz": 0.25,
}
CONSTANTS = ProblemConstants(**ALL)
RUN = {"grid_step": 0.125, "num_steps": 400}
WALK = {**RUN, "learning_rate": 0.1, "initial_gap": 3.0}
# Three dimensions and three octaves of the grid step.
each_dimension = pytest.mark.parametrize("dimension", [2, 8, 32])
each_step = pytest.mark.parametrize("grid_step", [1 / 4, 1 / 8, 1 / 16, 1 / 32])
each_forward = pytest.mark.parametrize("forward", ["nearest", "stochastic"])
NOISE = RademacherNoise(1.0)
NUM_STEPS = 600
OFFSET = 4.0


def bowl(dimension):
    """Return a quadratic with curvatures from one to two and a minimizer off the grid."""
    places = np.random.default_rng(dimension).uniform(-0.5, 0.5, dimension)
    return Quadratic(np.linspace(1.0, 2.0, dimension), minimizer=places)


def run_of(problem, rule, learning_rate, *, start=None, num_steps=NUM_STEPS):
    """Train 16 replicas from the origin, keeping every step."""
    first = np.zeros((16, problem.dimension)) if start is None else start
    return descend(
        problem.gradient,
        first,
        rule=rule,
        learning_rate=learning_rate,
        num_steps=num_steps,
        rng=np.random.default_rng(1),
        noise=NOISE,
        record=Record(every=1, value=problem.value),
    )


def constants_of(problem, run):
    """Return the constants of a run: the largest mean square gradient and distance on its way."""
    squares = (problem.gradient(run.weight_record) ** 2).sum(axis=-1).mean(axis=1)
    distances = np.linalg.norm(run.latent_record - problem.minimizer, axis=-1)
    return ProblemConstants(
        dimension=problem.dimension,
        gradient_norm=math.sqrt(squares.max() + problem.dimension),
        diameter=distances.max(),
        strong_convexity=problem.strong_convexity,
        smoothness=problem.smoothness,
        hessian_lipschitz=problem.hessian_lipschitz,
    )


def logistic():
    """Return a logistic regression in three dimensions."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((60, 3))
    labels = np.where(features @ [1.0, -1.0, 0.5] + rng.standard_normal(60) > 0, 1.0, -1.0)
    return LogisticRegression(features, labels, 0.25)


# --- Unit -------------------------------------------------------------------------------------


def test_parts_of_the_bounds():
    log = 1 + math.log(400)
    root = 20.0
    strong = sr_strongly_convex_bound(CONSTANTS, **RUN)
    assert strong == Bound(0.0, pytest.approx(log * 16 / 400, abs=0, rel=1e-14), 1.0)
    convex = sr_convex_bound(CONSTANTS, **RUN, rate_constant=0.5)
    assert convex == Bound(4 / root, 0.5 * 16 / root, 1.0)
    assert sr_nonconvex_bound(CONSTANTS, **WALK) == Bound(3.0 / 40, pytest.approx(1.6), 2.0)
    assert bc_convex_bound(CONSTANTS, **RUN, rate_constant=0.5) == Bound(4 / root, 8 / root, 1 / 16)
    assert bc_nonconvex_bound(CONSTANTS, **WALK) == Bound(6.0 / 40, pytest.approx(3.2), 0.25)
    assert bc_strongly_convex_bound(CONSTANTS, **RUN, forward="stochastic").floor == 1 / 64
    # To nearest: few steps or a small diameter leave the linear floor, many steps the square.
    few = bc_strongly_convex_bound(CONSTANTS, grid_step=0.125, num_steps=40, forward="nearest")
    assert few.floor == pytest.approx(0.5 * 0.5 * 0.5 * 2.0 + 1.5 / 32, abs=0, rel=1e-14)
    assert few.value == few.initial + few.noise + few.floor
    near = bc_strongly_convex_bound(CONSTANTS, **RUN, forward="nearest")
    assert near.floor == pytest.approx(4.5 / 32, abs=0, rel=1e-14)
    assert near.noise == pytest.approx(1.5 * strong.noise, abs=0, rel=1e-14)


def test_rounding_to_nearest_needs_no_diameter():
    unknown = replace(CONSTANTS, diameter=math.inf)
    settings = {"grid_step": 0.125, "num_steps": 40, "forward": "nearest"}
    assert bc_strongly_convex_bound(unknown, **settings).floor == pytest.approx(4.5 / 32)
    with pytest.raises(ValueError, match="`diameter` must be known"):
        bc_strongly_convex_bound(unknown, **settings, offset=2.0)


def test_printed_parts():
    assert printed_bound("sr strongly convex", CONSTANTS, **RUN).floor == 1.0
    assert printed_bound("sr convex", CONSTANTS, **RUN, rate_constant=0.5).initial == 0.4
    printed = printed_bound("bc convex", CONSTANTS, **RUN, rate_constant=0.5)
    assert printed.initial == 0.2
    assert printed.noise == pytest.approx(math.sqrt(401) / 800 * 8, abs=0, rel=1e-14)
    assert printed.floor == 4 * 0.125 * 2.0 * 2.0
    assert printed_bound("bc strongly convex", CONSTANTS, **RUN).floor == 0.125


def test_offset_weights_the_start():
    bound = sr_strongly_convex_bound(CONSTANTS, **RUN, offset=5.0)
    assert bound.initial == 0.5 * 0.5 * 4 * 4 / 400
    rates = sum(1 / (0.5 * (t + 5)) for t in range(400))
    assert rates * 16 / 800 <= bound.noise <= 1.05 * rates * 16 / 800


def test_single_moves_have_no_term_of_noise():
    assert sr_nonconvex_bound(CONSTANTS, **WALK, largest_gradient=1.25).noise == 0.0
    assert sr_nonconvex_bound(CONSTANTS, **WALK, largest_gradient=1.26).noise > 0


def test_quadratics_have_no_floor_even_without_a_diameter():
    unknown = replace(CONSTANTS, hessian_lipschitz=0.0, diameter=math.inf)
    assert bc_strongly_convex_bound(unknown, **RUN, forward="stochastic").floor == 0.0


def test_zeros_beside_unknown_constants_are_no_nan():
    still = replace(CONSTANTS, hessian_lipschitz=math.inf, diameter=0.0)
    assert bc_strongly_convex_bound(still, **RUN, forward="stochastic").floor == 0.0
    bare = ProblemConstants(dimension=1, gradient_norm=1.0, strong_convexity=1.0)
    with pytest.raises(ValueError, match="`smoothness` must be known"):
        bc_strongly_convex_bound(bare, grid_step=0.0, num_steps=9, forward="stochastic")
    smooth = replace(bare, smoothness=2.0)
    run = {"grid_step": 0.0, "num_steps": 9}
    assert bc_strongly_convex_bound(smooth, **run, forward="stochastic").floor == 0.0
    assert bc_strongly_convex_bound(smooth, **run, forward="nearest").floor == 0.0


def test_far_grids_are_bounded_by_the_diameter():
    near = replace(CONSTANTS, diameter=0.01)
    bound = bc_convex_bound(near, **RUN, rate_constant=1.0)
    assert bound.floor == pytest.approx(0.5 * 4 * 0.125 * 2.0 * 0.01, abs=0, rel=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimension": 0}, "`dimension` must be an integer of at least 1"),
        ({"gradient_norm": 0.0}, "`gradient_norm` must be finite and above zero"),
        ({"diameter": -1.0}, "`diameter` must be finite and not below zero"),
        ({"strong_convexity": 3.0}, "`strong_convexity` must be at most `smoothness`"),
        ({"hessian_lipschitz": math.nan}, "`hessian_lipschitz` must be finite"),
    ],
)
def test_bad_constants_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ProblemConstants(**{**ALL, **changes})


def test_unknown_constants_are_refused():
    bare = ProblemConstants(dimension=1, gradient_norm=1.0)
    with pytest.raises(ValueError, match="`strong_convexity` must be known for this bound"):
        sr_strongly_convex_bound(bare, **RUN)
    with pytest.raises(ValueError, match="`diameter` must be known"):
        sr_convex_bound(bare, **RUN, rate_constant=1.0)
    with pytest.raises(ValueError, match="`smoothness` must be known"):
        sr_nonconvex_bound(bare, **WALK)
    strong = replace(bare, strong_convexity=1.0)
    with pytest.raises(ValueError, match="`smoothness` must be known"):
        bc_strongly_convex_bound(strong, **RUN, forward="stochastic")
    with pytest.raises(ValueError, match="`smoothness` must be known"):
        bc_strongly_convex_bound(strong, **RUN, forward="nearest")
    with pytest.raises(ValueError, match="`hessian_lipschitz` must be known"):
        printed_bound("bc strongly convex", strong, **RUN)
    with pytest.raises(ValueError, match="`diameter` must be known"):
        printed_bound("bc strongly convex", replace(strong, hessian_lipschitz=1.0), **RUN)
    assert (
        printed_bound("bc strongly convex", replace(strong, hessian_lipschitz=0), **RUN).floor == 0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid_step": -1.0}, "`grid_step` must be finite and not below zero"),
        ({"num_steps": 0}, "`num_steps` must be an integer of at least 1"),
        ({"offset": 0.5}, "`offset` must be at least one"),
        ({"forward": "up"}, "`forward` must be one of 'nearest', 'stochastic'"),
    ],
)
def test_bad_runs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        bc_strongly_convex_bound(CONSTANTS, **{**RUN, "forward": "nearest", **changes})


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`constants` must be ProblemConstants"):
        sr_convex_bound(ALL, **RUN, rate_constant=1.0)
    with pytest.raises(ValueError, match="`rate_constant` must be finite"):
        sr_convex_bound(CONSTANTS, **RUN, rate_constant=0.0)
    with pytest.raises(ValueError, match="`rate_constant` must be finite"):
        printed_bound("sr convex", CONSTANTS, **RUN)
    with pytest.raises(ValueError, match="`theorem` must be one of"):
        printed_bound("sr", CONSTANTS, **RUN)
    with pytest.raises(ValueError, match="`initial_gap` must be finite and not below zero"):
        bc_nonconvex_bound(CONSTANTS, **{**WALK, "initial_gap": -1.0})
    with pytest.raises(ValueError, match="`largest_gradient` must be finite"):
        sr_nonconvex_bound(CONSTANTS, **WALK, largest_gradient=-1.0)


# --- Property ---------------------------------------------------------------------------------


def in_units(scale):
    """Return constants and step when the unit of the weights is divided by a scale."""
    constants = ProblemConstants(
        dimension=16,
        gradient_norm=4.0 / scale,
        diameter=2.0 * scale,
        strong_convexity=0.5 / scale**2,
        smoothness=2.0 / scale**2,
        hessian_lipschitz=0.25 / scale**3,
    )
    return constants, {"grid_step": 0.125 * scale, "num_steps": 400}


@pytest.mark.property
@given(scale=st.floats(1e-3, 1e3), forward=st.sampled_from(["nearest", "stochastic"]))
def test_bounds_do_not_depend_on_the_unit_of_the_weights(scale, forward):
    (constants, run), near = in_units(scale), {"abs": 0, "rel": 1e-9}
    rate = {"rate_constant": 0.5 * scale**2}
    walk = {**run, "learning_rate": 0.1 * scale**2, "initial_gap": 3.0}
    values = [
        sr_strongly_convex_bound(constants, **run, offset=3.0).value,
        sr_convex_bound(constants, **run, **rate).value,
        bc_convex_bound(constants, **run, **rate).value,
        bc_strongly_convex_bound(constants, **run, forward=forward).value,
        sr_nonconvex_bound(constants, **walk).value * scale**2,
        bc_nonconvex_bound(constants, **walk).value * scale**2,
    ]
    expected = [
        sr_strongly_convex_bound(CONSTANTS, **RUN, offset=3.0).value,
        sr_convex_bound(CONSTANTS, **RUN, rate_constant=0.5).value,
        bc_convex_bound(CONSTANTS, **RUN, rate_constant=0.5).value,
        bc_strongly_convex_bound(CONSTANTS, **RUN, forward=forward).value,
        sr_nonconvex_bound(CONSTANTS, **WALK).value,
        bc_nonconvex_bound(CONSTANTS, **WALK).value,
    ]
    assert values == pytest.approx(expected, **near)


def test_recalled_floor_depends_on_the_unit():
    constants, run = in_units(10.0)
    printed = printed_bound("bc strongly convex", constants, **run)
    assert printed.floor == pytest.approx(0.0125, abs=0, rel=1e-12)


@pytest.mark.property
@given(step=st.floats(1e-3, 1.0), factor=st.integers(2, 8))
def test_floors_scale_with_the_step_as_stated(step, factor):
    small, large = ({"grid_step": h, "num_steps": 9} for h in (step, factor * step))
    walk = {"learning_rate": 0.1, "initial_gap": 1.0}
    far = replace(CONSTANTS, diameter=1e6)
    linear = [sr_convex_bound(far, **run, rate_constant=1.0).floor for run in (small, large)] + [
        sr_nonconvex_bound(far, **run, **walk).floor for run in (small, large)
    ]
    square = [bc_convex_bound(far, **run, rate_constant=1.0).floor for run in (small, large)] + [
        bc_nonconvex_bound(far, **run, **walk).floor for run in (small, large)
    ]
    assert linear[1::2] == pytest.approx(factor * np.array(linear[::2]), abs=0, rel=1e-12)
    assert square[1::2] == pytest.approx(factor**2 * np.array(square[::2]), abs=0, rel=1e-12)


# --- Theory against simulation: every theorem over three octaves and three dimensions -------------


@pytest.mark.theory_vs_sim
@each_dimension
@each_step
def test_sr_strongly_convex(dimension, grid_step):
    problem = bowl(dimension)
    rule = StochasticRounding(infinite_grid(grid_step))
    run = run_of(problem, rule, inverse_time(1.0, offset=OFFSET))
    bound = sr_strongly_convex_bound(
        constants_of(problem, run), grid_step=grid_step, num_steps=NUM_STEPS, offset=OFFSET
    )
    mean = run.mean_value.mean()
    assert problem.value(run.latent_average).mean() <= mean <= bound.value
    assert mean >= 0.1 * bound.value


@pytest.mark.theory_vs_sim
@each_dimension
@each_step
def test_sr_convex(dimension, grid_step):
    problem = bowl(dimension)
    rule = StochasticRounding(infinite_grid(grid_step))
    run = run_of(problem, rule, inverse_sqrt(0.4))
    bound = sr_convex_bound(
        constants_of(problem, run), grid_step=grid_step, num_steps=NUM_STEPS, rate_constant=0.4
    )
    mean = run.mean_value.mean()
    assert problem.value(run.latent_average).mean() <= mean <= bound.value
    assert mean >= 0.05 * bound.value


@pytest.mark.theory_vs_sim
@each_forward
@each_dimension
@each_step
def test_bc_convex(dimension, grid_step, forward):
    problem = bowl(dimension)
    rule = BinaryConnect(infinite_grid(grid_step), forward=forward)
    run = run_of(problem, rule, inverse_sqrt(0.4), num_steps=300)
    bound = bc_convex_bound(
        constants_of(problem, run), grid_step=grid_step, num_steps=300, rate_constant=0.4
    )
    mean = run.mean_latent_value.mean()
    assert problem.value(run.latent_average).mean() <= mean <= bound.value
    assert mean >= 0.05 * bound.value


@pytest.mark.theory_vs_sim
@each_forward
@each_dimension
@each_step
def test_bc_strongly_convex(dimension, grid_step, forward):
    problem = bowl(dimension)
    rule = BinaryConnect(infinite_grid(grid_step), forward=forward)
    run = run_of(problem, rule, inverse_time(1.0, offset=OFFSET), num_steps=300)
    bound = bc_strongly_convex_bound(
        constants_of(problem, run),
        grid_step=grid_step,
        num_steps=300,
        offset=OFFSET,
        forward=forward,
    )
    mean = run.mean_latent_value.mean()
    assert problem.value(run.latent_average).mean() <= mean <= bound.value
    assert mean >= 0.02 * bound.value


class Ripples:
    """The sum of 1 - cos(w) over the coordinates: smooth, not convex, curvature at most one."""

    smoothness = 1.0
    strong_convexity = 0.0
    hessian_lipschitz = 1.0
    minimizer = 0.0

    def __init__(self, dimension):
        self.dimension = dimension

    def gradient(self, weights):
        return np.sin(weights)

    def value(self, weights):
        """Return the squared norm of the gradient, whose mean the theorems bound."""
        return (np.sin(weights) ** 2).sum(axis=-1)


@pytest.mark.theory_vs_sim
@each_dimension
@each_step
def test_sr_nonconvex(dimension, grid_step):
    problem = Ripples(dimension)
    start = np.full((16, dimension), 2.0)
    rule = StochasticRounding(infinite_grid(grid_step))
    run = run_of(problem, rule, grid_step / 2, start=start)
    gap = dimension * (1 - math.cos(2.0))
    bound = sr_nonconvex_bound(
        constants_of(problem, run),
        grid_step=grid_step,
        num_steps=NUM_STEPS,
        learning_rate=grid_step / 2,
        initial_gap=gap,
        largest_gradient=2.0,
    )
    assert bound.noise == 0.0
    assert 0.1 * bound.value <= run.mean_value.mean() <= bound.value


@pytest.mark.theory_vs_sim
@each_forward
@each_dimension
@each_step
def test_bc_nonconvex(dimension, grid_step, forward):
    problem = Ripples(dimension)
    rule = BinaryConnect(infinite_grid(grid_step), forward=forward)
    run = run_of(problem, rule, 0.05, start=np.full((16, dimension), 2.0), num_steps=300)
    bound = bc_nonconvex_bound(
        constants_of(problem, run),
        grid_step=grid_step,
        num_steps=300,
        learning_rate=0.05,
        initial_gap=dimension * (1 - math.cos(2.0)),
    )
    both = run.mean_value.mean() + run.mean_latent_value.mean()
    assert 0.1 * bound.value <= both <= bound.value


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("grid_step", [1 / 2, 1 / 8, 1 / 32])
def test_logistic_regression(grid_step):
    problem, grid = logistic(), infinite_grid(grid_step)
    schedule = inverse_time(0.25, offset=OFFSET)
    for rule in (StochasticRounding(grid), BinaryConnect(grid, forward="stochastic")):
        run = run_of(problem, rule, schedule)
        constants = constants_of(problem, run)
        settings = {"grid_step": grid_step, "num_steps": NUM_STEPS, "offset": OFFSET}
        strong = sr_strongly_convex_bound(constants, **settings)
        latent = bc_strongly_convex_bound(constants, **settings, forward="stochastic")
        bound = strong if isinstance(rule, StochasticRounding) else latent
        assert run.mean_latent_value.mean() - problem.minimum <= bound.value


@pytest.mark.theory_vs_sim
@each_dimension
def test_exact_floor_scales_like_the_bound(dimension):
    problem = bowl(dimension)
    ratios = []
    for grid_step in (1 / 8, 1 / 16, 1 / 32, 1 / 64):
        exact = sr_quadratic_floor(
            problem.hessian, grid_step=grid_step, noise=NOISE, minimizer=problem.minimizer
        )
        square = dimension + problem.hessian**2 @ exact.variances
        constants = ProblemConstants(dimension=dimension, gradient_norm=math.sqrt(square))
        floor = sr_nonconvex_bound(
            replace(constants, smoothness=1.0),
            grid_step=grid_step,
            num_steps=1,
            learning_rate=1.0,
            initial_gap=0.0,
        ).floor
        ratios.append(exact.excess / floor)
    # Half of the bound for noise of one size, up to terms of the order of the step.
    assert ratios == pytest.approx([0.5] * 4, abs=0, rel=0.1)
    assert ratios[3] == pytest.approx(0.5, abs=0, rel=0.015)


# --- Negative controls: a violated assumption or a smaller constant fails -----------------------


def test_sr_floors_of_a_third_the_size_fail():
    exact = sr_quadratic_floor([1.0], grid_step=1 / 64, noise=NOISE)
    constants = ProblemConstants(
        dimension=1, gradient_norm=math.sqrt(1 + exact.variances[0]), strong_convexity=1.0
    )
    bound = sr_strongly_convex_bound(constants, grid_step=1 / 64, num_steps=10**9)
    assert bound.value / 3 < exact.excess < bound.value
    convex = sr_convex_bound(
        replace(constants, diameter=1.0), grid_step=1 / 64, num_steps=10**12, rate_constant=1.0
    )
    assert convex.value / 3 < exact.excess < convex.value


def test_sr_nonconvex_constant_is_the_best():
    # A quadratic with noise of one size: the squared gradient is a half of Delta |g|.
    exact = sr_quadratic_floor([1.0], grid_step=2.0**-16, noise=NOISE)
    constants = ProblemConstants(
        dimension=1, gradient_norm=math.sqrt(1 + exact.variances[0]), smoothness=1.0
    )
    floor = sr_nonconvex_bound(
        constants, grid_step=2.0**-16, num_steps=1, learning_rate=1.0, initial_gap=0.0
    ).floor
    assert 0.9999 * floor < exact.variances[0] <= floor


def test_bc_convex_constant_is_the_best():
    limit = bc_limit(lambda w: w - 1e-6, grid_step=1.0, lower=-2, upper=2)
    constants = ProblemConstants(dimension=1, gradient_norm=1.0, diameter=1.0, smoothness=1.0)
    floor = bc_convex_bound(constants, grid_step=1.0, num_steps=1, rate_constant=1.0).floor
    assert 0.9999 * floor < 0.5 * (limit.latent - 1e-6) ** 2 <= floor


def test_floors_of_rounding_to_nearest_of_a_quarter_the_size_fail():
    # A quadratic with its minimizer next to a grid point: a quarter is reached.
    limit = bc_limit(lambda w: w - 1e-6, grid_step=1.0, lower=-2, upper=2)
    excess = 0.5 * (limit.latent - 1e-6) ** 2
    constants = ProblemConstants(
        dimension=1, gradient_norm=1.0, strong_convexity=1.0, smoothness=1.0
    )
    bound = bc_strongly_convex_bound(constants, grid_step=1.0, num_steps=10**9, forward="nearest")
    assert 0.24 * bound.value < excess < bound.value
    # Negative control: the floor of unbiased rounding is none, and exceeded.
    wrong = bc_strongly_convex_bound(
        constants, grid_step=1.0, num_steps=10**9, forward="stochastic"
    )
    assert wrong.value < excess


def test_bc_nonconvex_constant_is_the_best():
    limit = bc_limit(lambda w: w - 0.5, grid_step=1.0, lower=-2, upper=2, forward="stochastic")
    squares = (limit.latent - 0.5) ** 2 + 0.25
    constants = ProblemConstants(dimension=1, gradient_norm=1.0, smoothness=1.0)
    floor = bc_nonconvex_bound(
        constants, grid_step=1.0, num_steps=1, learning_rate=1.0, initial_gap=0.0
    ).floor
    assert squares == pytest.approx(floor, abs=0, rel=1e-12)


@pytest.mark.theory_vs_sim
def test_rounding_to_nearest_breaks_the_bound_of_stochastic_rounding():
    problem = Quadratic(np.ones(8))
    start = np.full((4, 8), 2.0)
    settings = {"learning_rate": inverse_time(1.0, offset=70.0), "num_steps": 5000}
    bounds, means = [], []
    for rule in (DeterministicRounding, StochasticRounding):
        run = descend(
            problem.gradient,
            start,
            rule=rule(infinite_grid(1 / 16)),
            rng=np.random.default_rng(0),
            record=Record(value=problem.value),
            **settings,
        )
        constants = ProblemConstants(
            dimension=8, gradient_norm=math.sqrt(32), diameter=math.sqrt(32), strong_convexity=1.0
        )
        bounds.append(
            sr_strongly_convex_bound(constants, grid_step=1 / 16, num_steps=5000, offset=70.0)
        )
        means.append(run.mean_value.mean())
    assert means[0] == 16.0 > bounds[0].value > means[1]


@pytest.mark.theory_vs_sim
def test_bc_strongly_convex_needs_unbiased_rounding():
    problem = Quadratic(np.ones(4), minimizer=0.3)
    constants = ProblemConstants(
        dimension=4,
        gradient_norm=2.0,
        diameter=2.0,
        strong_convexity=1.0,
        smoothness=1.0,
        hessian_lipschitz=0.0,
    )
    settings = {"grid_step": 1.0, "num_steps": 2000}
    bound = bc_strongly_convex_bound(constants, **settings, forward="stochastic")
    rule = BinaryConnect(infinite_grid(1.0), forward="nearest")
    run = descend(
        problem.gradient,
        np.zeros((2, 4)),
        rule=rule,
        learning_rate=inverse_time(1.0),
        num_steps=2000,
        rng=np.random.default_rng(0),
    )
    excess = problem.value(run.latent_average).mean()
    assert excess > 5 * bound.value
    assert excess < bc_strongly_convex_bound(constants, **settings, forward="nearest").value


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("clip", "holds"), [(True, True), (False, False)])
def test_bc_needs_latent_weights_within_the_grid(clip, holds):
    # The minimizer over the range is its upper end; without clipping latent weights run off.
    problem = Quadratic([1.0], minimizer=3.0)
    rule = BinaryConnect(uniform_midrise(2, step_size=2.0), clip=clip)
    run = descend(
        problem.gradient,
        np.zeros((1, 1)),
        rule=rule,
        learning_rate=inverse_sqrt(0.5),
        num_steps=2000,
        rng=np.random.default_rng(0),
        record=Record(value=problem.value),
    )
    constants = ProblemConstants(dimension=1, gradient_norm=4.0, diameter=2.0, smoothness=1.0)
    bound = bc_convex_bound(constants, grid_step=2.0, num_steps=2000, rate_constant=0.5)
    assert (run.mean_latent_value.mean() - 2.0 <= bound.value) is np.bool_(holds)


@pytest.mark.theory_vs_sim
def test_clipping_to_a_box_with_the_minimizer_keeps_the_bound():
    problem = bowl(8)
    rule = StochasticRounding(uniform_midtread(9, step_size=1 / 8))
    run = run_of(problem, rule, inverse_time(1.0, offset=OFFSET))
    bound = sr_strongly_convex_bound(
        constants_of(problem, run), grid_step=1 / 8, num_steps=NUM_STEPS, offset=OFFSET
    )
    assert run.mean_value.mean() <= bound.value


def softened_slope(weights):
    # Second derivative at least 0.1, third at most 1 / (6 sqrt(3)).
    return 1 / (1 + np.exp(-weights)) - 0.2 + 0.1 * weights


def softened_value(weights):
    return np.logaddexp(0, weights) - 0.2 * weights + 0.05 * weights**2


def worst_excess(step):
    """Return the excess of the latent weight's limit at the worst place of the minimizer."""
    limits = [
        bc_limit(
            lambda w, shift=shift: softened_slope(w - shift),
            grid_step=step,
            lower=-4.0,
            upper=4.0,
            forward="stochastic",
        ).latent
        - shift
        for shift in step * np.arange(0.05, 1, 0.1)
    ]
    return softened_value(np.array(limits)).max() - softened_value(-0.8968933436)


def fourth_order_floor(step):
    constants = ProblemConstants(
        dimension=1, gradient_norm=1.0, strong_convexity=0.1, hessian_lipschitz=108**-0.5
    )
    return bc_strongly_convex_bound(
        constants, grid_step=step, num_steps=10**12, forward="stochastic"
    ).floor


def test_stochastic_forward_ends_at_the_fourth_order_of_the_grid_step():
    steps = np.array([1.0, 0.5, 0.25, 0.125])
    excess = np.array([worst_excess(step) for step in steps])
    floors = np.array([fourth_order_floor(step) for step in steps])
    assert_allclose(floors, steps**4 / (108 * 32 * 0.1), rtol=1e-12)
    assert (excess < floors).all()
    assert_slope(np.log(steps), np.log(excess), 4.0, tol=0.05)
    # Control: a twentieth of the floor is exceeded, so the bound is not idle.
    assert (excess > floors / 20).all()


def test_the_smaller_of_two_stochastic_bounds_is_returned():
    constants = ProblemConstants(
        dimension=4,
        gradient_norm=3.0,
        diameter=2.0,
        strong_convexity=1.0,
        hessian_lipschitz=0.5,
    )
    few, many = (
        bc_strongly_convex_bound(constants, grid_step=0.5, num_steps=n, forward="stochastic")
        for n in (10, 10**9)
    )
    assert few.floor == pytest.approx(4 * 0.25 / 8 * 0.5 * 2.0, rel=1e-15, abs=0)
    assert many.floor == pytest.approx(0.25 * 16 * 0.0625 / 32, rel=1e-15, abs=0)
