"""Every part of the bounds where it is nearly reached: its size, its order, its dimension.

Floors are compared with exact limits, coordinate by coordinate, so that nothing of the start or
of the noise is left; start and noise with runs of which every step is known by hand.
"""

import math

import numpy as np
import pytest

from qtheory.quantizers import infinite_grid
from qtheory.training import (
    BinaryConnect,
    ProblemConstants,
    RademacherNoise,
    Record,
    StochasticRounding,
    bc_convex_bound,
    bc_limit,
    bc_nonconvex_bound,
    bc_strongly_convex_bound,
    descend,
    inverse_sqrt,
    printed_bound,
    sr_convex_bound,
    sr_nonconvex_bound,
    sr_quadratic_floor,
    sr_strongly_convex_bound,
)

each_dimension = pytest.mark.parametrize("dimension", [2, 8, 32])
STEPS = np.array([1 / 4, 1 / 8, 1 / 16, 1 / 32])
# So many steps that start and noise are nothing beside the floor.
LONG = 10**15


def bent(place, below, above):
    """Return the derivative of a parabola whose curvature changes at its minimizer."""
    return lambda w: np.where(w < place, below, above) * (w - place)


def twisted(step, twist, corner):
    """Return the derivative with curvature 1 + twist (w - corner)_+, zero in the middle of a cell.

    The Hessian is Lipschitz with the constant ``twist``.
    """
    place = 0.5 * step
    rest = np.maximum(place - corner, 0.0) ** 2
    return lambda w: w - place + 0.5 * twist * (np.maximum(w - corner, 0.0) ** 2 - rest)


def end_of(derivative, step, forward):
    """Return where the latent weight of one coordinate ends."""
    limit = bc_limit(derivative, grid_step=step, lower=-8 * step, upper=8 * step, forward=forward)
    return limit.latent


def unbiased_excess(step):
    """Return the excess where curvatures 1 and 5 meet at 0.7 of a cell, stochastic rounding."""
    end = end_of(bent(0.7 * step, 1.0, 5.0), step, "stochastic")
    return 0.5 * (end - 0.7 * step) ** 2


def nearest_excess(step, curvature):
    """Return the excess if the minimizer is next to a grid point, rounding to nearest."""
    place = 1e-7 * step
    end = end_of(bent(place, 1.0, curvature), step, "nearest")
    return 0.5 * curvature * (end - place) ** 2


def strong_floor(dimension, step, forward, **known):
    """Return the floor of BinaryConnect with strong convexity one."""
    constants = ProblemConstants(
        dimension=dimension, gradient_norm=1.0, strong_convexity=1.0, **known
    )
    bound = bc_strongly_convex_bound(constants, grid_step=step, num_steps=LONG, forward=forward)
    return bound.floor


def convex_floor(dimension, step, diameter):
    """Return the floor of BinaryConnect on a convex objective of smoothness one."""
    constants = ProblemConstants(
        dimension=dimension, gradient_norm=1.0, diameter=diameter, smoothness=1.0
    )
    return bc_convex_bound(constants, grid_step=step, num_steps=1, rate_constant=1.0).floor


def assert_orders(values, order):
    """Check that values over octaves of the step fall by the same power of two."""
    assert np.diff(np.log2(values)) == pytest.approx([-order] * 3, rel=0, abs=1e-6)


# --- BinaryConnect: floors of second order, in proportion to the dimension -----------------------


@pytest.mark.theory_vs_sim
@each_dimension
def test_the_convex_floor_is_reached(dimension):
    excess = [dimension * nearest_excess(step, 1.0) for step in STEPS]
    floors = [convex_floor(dimension, step, math.sqrt(dimension)) for step in STEPS]
    assert np.divide(excess, floors) == pytest.approx([1.0] * 4, rel=0, abs=1e-6)
    assert (np.array(excess) <= floors).all()
    assert_orders(excess, 2)
    # Negative control: the floor of one dimension less does not hold.
    fewer = [convex_floor(dimension - 1, step, math.sqrt(dimension)) for step in STEPS]
    assert (np.array(excess) > fewer).all()


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_minimizers_near_the_threshold_have_the_floor_of_the_diameter(dimension, share):
    # Latent weights end in the middle of the cell, a share of the step from the minimizer.
    end = end_of(bent(0.5 - share, 1.0, 1.0), 1.0, "nearest")
    excess = 0.5 * dimension * (end - (0.5 - share)) ** 2
    floor = convex_floor(dimension, 1.0, share * math.sqrt(dimension))
    assert excess / floor == pytest.approx(share, rel=1e-12, abs=0)
    assert floor < convex_floor(dimension, 1.0, 1e9)


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize("curvature", [1.0, 4.0, 99.0])
def test_floor_of_rounding_to_nearest_with_strong_convexity(dimension, curvature):
    excess = [dimension * nearest_excess(step, curvature) for step in STEPS]
    floors = [
        strong_floor(
            dimension,
            step,
            "nearest",
            smoothness=curvature,
            diameter=0.5 * math.sqrt(dimension) * step,
        )
        for step in STEPS
    ]
    # L / (L + mu): a half for a parabola, and close to all of it for large L.
    reached = curvature / (curvature + 1)
    assert np.divide(excess, floors) == pytest.approx([reached] * 4, rel=0, abs=1e-6)
    assert_orders(excess, 2)
    # Negative control: without the part of mu the floor fails.
    assert (np.array(excess) > 0.9 * (curvature - 1) * dimension * STEPS**2 / 8).all()
    assert (np.array(excess) > np.array(floors) / 3).all()


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize(("curvature", "reached"), [(1.0, 0.25), (16.0, 0.64), (9801.0, 0.9801)])
def test_floor_of_rounding_to_nearest_without_a_diameter(dimension, curvature, reached):
    excess = [dimension * nearest_excess(step, curvature) for step in STEPS]
    floors = [strong_floor(dimension, step, "nearest", smoothness=curvature) for step in STEPS]
    # L / (sqrt(L) + sqrt(mu))^2, which tends to one: the constant is the best.
    assert np.divide(excess, floors) == pytest.approx([reached] * 4, rel=0, abs=1e-6)
    assert_orders(floors, 2)


@pytest.mark.theory_vs_sim
@each_dimension
def test_floor_of_stochastic_rounding_by_the_smoothness(dimension):
    excess = [dimension * unbiased_excess(step) for step in STEPS]
    floors = [strong_floor(dimension, step, "stochastic", smoothness=5.0) for step in STEPS]
    ratios = np.divide(excess, floors)
    # By hand, with the zero z = 0.7/2.2 of the interpolant: (0.7 - z)^2 of the floor.
    assert ratios == pytest.approx([(0.7 - 0.7 / 2.2) ** 2] * 4, rel=1e-9, abs=0)
    assert ((ratios > 0.1) & (ratios < 0.2)).all()
    assert_orders(excess, 2)
    # Negative control: an eighth of the floor does not hold, nor that of a quadratic, which is 0.
    assert (ratios > 1 / 8).all()


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize("step", STEPS)
def test_floor_of_stochastic_rounding_by_the_hessian(dimension, step):
    # Curvature 1 + (w + 1)_+ / 5, and the minimizer in the middle of a cell.
    place, twist = 0.5 * step, 0.2
    away = end_of(twisted(step, twist, -1.0), step, "stochastic") - place
    curvature = 1 + twist * (place + 1)
    excess = dimension * (0.5 * curvature * away**2 + twist * away**3 / 6)
    diameter = math.sqrt(dimension) * abs(away)
    floor = strong_floor(dimension, step, "stochastic", hessian_lipschitz=twist, diameter=diameter)
    # Half of the floor in one dimension; D has the root of the dimension besides.
    assert excess / floor == pytest.approx(0.5 / math.sqrt(dimension), rel=step / 20, abs=0)
    # Negative control: a third of the floor fails where the dimension is one.
    assert math.sqrt(dimension) * excess > floor / 3


@pytest.mark.theory_vs_sim
@each_dimension
def test_floor_of_fourth_order_without_diameter_and_smoothness(dimension):
    # Curvature 1 + (w + h)_+ / 5 and the minimizer in the middle of a cell, as above.
    excess, floors = [], []
    for step in STEPS:
        away = end_of(twisted(step, 0.2, -step), step, "stochastic") - 0.5 * step
        curvature = 1 + 0.2 * 1.5 * step
        excess.append(dimension * (0.5 * curvature * away**2 + 0.2 * away**3 / 6))
        floors.append(strong_floor(dimension, step, "stochastic", hessian_lipschitz=0.2))
    # A quarter of the floor in one dimension, which grows with the square of the dimension.
    expected = 0.25 / dimension / (1 + 0.3 * STEPS)
    assert np.divide(excess, floors) == pytest.approx(expected, rel=0.01, abs=0)
    assert_orders(floors, 4)
    # Negative control: a fifth of it fails in one dimension.
    assert (dimension * np.array(excess) > np.array(floors) / 5).all()


@pytest.mark.theory_vs_sim
@each_dimension
def test_gradients_reach_their_floor(dimension):
    # The minimizer is in the middle of a cell: the latent gradient is zero, the deployed is not.
    floors, squares = [], []
    for step in STEPS:
        latent = end_of(bent(0.5 * step, 2.0, 2.0), step, "stochastic")
        squares.append(4 * dimension * ((latent - 0.5 * step) ** 2 + 0.25 * step**2))
        constants = ProblemConstants(dimension=dimension, gradient_norm=1.0, smoothness=2.0)
        bound = bc_nonconvex_bound(
            constants, grid_step=step, num_steps=1, learning_rate=1.0, initial_gap=0.0
        )
        floors.append(bound.floor)
    assert squares == pytest.approx(floors, rel=1e-12, abs=0)
    assert_orders(squares, 2)


@pytest.mark.theory_vs_sim
@each_dimension
def test_floors_of_stochastic_rounding_are_of_first_order(dimension):
    # Negative control of the order two above: half of the floor is reached, of order one.
    excess, floors = [], []
    for step in STEPS / 16:
        exact = sr_quadratic_floor(
            np.ones(dimension), grid_step=step, noise=RademacherNoise(), minimizer=0.3 * step
        )
        excess.append(exact.excess)
        constants = ProblemConstants(
            dimension=dimension,
            gradient_norm=math.sqrt(dimension + exact.variances.sum()),
            diameter=1.0,
        )
        bound = sr_convex_bound(constants, grid_step=step, num_steps=1, rate_constant=1.0)
        floors.append(bound.floor)
    ratios = np.divide(excess, floors)
    assert ((ratios > 0.49) & (ratios < 0.5)).all()
    assert np.diff(np.log2(excess)) == pytest.approx([-1.0] * 3, rel=0, abs=0.01)


# --- Start and noise ----------------------------------------------------------------------------


def parabola(dimension, **known):
    """Return constants of half the squared norm with a start at distance sqrt(d), no noise."""
    root = math.sqrt(dimension)
    return ProblemConstants(
        dimension=dimension, gradient_norm=root, diameter=root, smoothness=1.0, **known
    )


@each_dimension
def test_one_step_of_a_parabola_reaches_the_bounds(dimension):
    # The excess at the start is d/2, its squared gradient d; rate one, and a grid without gaps.
    one, strong = {"grid_step": 0.0, "num_steps": 1}, parabola(dimension, strong_convexity=1.0)
    walk = {**one, "learning_rate": 1.0, "initial_gap": 0.5 * dimension}
    half, near = 0.5 * dimension, {"rel": 1e-12, "abs": 0}
    assert sr_strongly_convex_bound(strong, **one).value == pytest.approx(half, **near)
    latent = bc_strongly_convex_bound(strong, **one, forward="stochastic")
    assert latent.value == pytest.approx(half, **near)
    assert sr_nonconvex_bound(strong, **walk).value == pytest.approx(dimension, **near)
    assert bc_nonconvex_bound(strong, **walk).value == pytest.approx(2 * dimension, **near)


@each_dimension
@pytest.mark.parametrize("offset", [2.0, 5.0])
def test_the_start_weighs_as_much_as_the_offset_says(dimension, offset):
    # The excess d/2 over the bound d/2 (t_0 - 1 + 1/t_0).
    bound = sr_strongly_convex_bound(
        parabola(dimension, strong_convexity=1.0), grid_step=0.0, num_steps=1, offset=offset
    )
    expected = 0.5 * dimension * (offset - 1 + 1 / offset)
    assert bound.value == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("forward", "factor", "floor"), [("nearest", 1.5, 4.5), ("stochastic", 2.0, 0.125)]
)
def test_the_second_bounds_weigh_start_and_noise_alike(forward, factor, floor):
    # A step of one, and a diameter that makes the first bounds large.
    constants = ProblemConstants(
        dimension=4,
        gradient_norm=3.0,
        diameter=1000.0,
        strong_convexity=1.0,
        smoothness=4.0,
        hessian_lipschitz=0.5,
    )
    settings = {"grid_step": 1.0, "num_steps": 10**8, "offset": 5.0}
    bound = bc_strongly_convex_bound(constants, **settings, forward=forward)
    rest = sr_strongly_convex_bound(constants, **settings)
    assert rest.initial == pytest.approx(0.02, rel=1e-12, abs=0)
    parts = (bound.initial, bound.noise, bound.floor)
    expected = (factor * rest.initial, factor * rest.noise, floor)
    assert parts == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.theory_vs_sim
@each_dimension
@pytest.mark.parametrize("rule_of", [StochasticRounding, BinaryConnect])
def test_a_slope_uses_three_eighths_of_the_term_of_the_start(dimension, rule_of):
    # Huber's function from so far that its slope is one in all steps: w = D - 2 c sqrt(t), and
    # D = (8/3) c sqrt(T) makes the mean excess largest, as a share of D^2 / (2 c sqrt T).
    step, count, far = 2.0**-16, 2500, 8 / 3 * 0.5 * 50
    start = np.full((1, dimension), step * round(far / step))
    run = descend(
        lambda w: np.clip(w, -1.0, 1.0),
        start,
        rule=rule_of(infinite_grid(step)),
        learning_rate=inverse_sqrt(0.5),
        num_steps=count,
        rng=np.random.default_rng(11),
        record=Record(value=lambda w: (np.abs(w) - 0.5).sum(axis=-1)),
    )
    assert run.latent.min() > 1.0
    constants = ProblemConstants(
        dimension=dimension,
        gradient_norm=math.sqrt(dimension),
        diameter=math.sqrt(dimension) * start.max(),
        smoothness=1.0,
    )
    bound_of = {StochasticRounding: sr_convex_bound, BinaryConnect: bc_convex_bound}[rule_of]
    bound = bound_of(constants, grid_step=step, num_steps=count, rate_constant=0.5)
    ratio = run.mean_latent_value.mean() / bound.value
    assert ratio == pytest.approx(3 / 8, rel=0, abs=0.005)


@each_dimension
@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_one_step_of_the_convex_bounds(dimension, rate):
    # D^2 / (2 c) + c G^2 with D^2 = G^2 = d.
    one = {"grid_step": 0.0, "num_steps": 1, "rate_constant": rate}
    expected = pytest.approx(dimension * (0.5 / rate + rate), rel=1e-12, abs=0)
    assert sr_convex_bound(parabola(dimension), **one).value == expected
    assert bc_convex_bound(parabola(dimension), **one).value == expected


# --- Recalled forms, by hand ------------------------------------------------------------------

# G = 3, so that its square, which is in the noise, is neither itself nor its cube.
RECALLED = ProblemConstants(
    dimension=4,
    gradient_norm=3.0,
    diameter=2.0,
    strong_convexity=0.5,
    smoothness=2.0,
    hessian_lipschitz=0.25,
)
ROOT_NOISE = math.sqrt(401) / 800 * 0.5 * 9
LOG_NOISE = (1 + math.log(401)) * 9 / 400


@pytest.mark.parametrize(
    ("theorem", "options", "parts"),
    [
        ("sr convex", {"rate_constant": 0.5}, (0.4, ROOT_NOISE, 0.375)),
        ("bc convex", {"rate_constant": 0.5}, (0.2, ROOT_NOISE, 1.0)),
        ("sr strongly convex", {}, (0.0, LOG_NOISE, 0.375)),
        ("bc strongly convex", {}, (0.0, LOG_NOISE, 0.0625)),
    ],
)
def test_recalled_parts(theorem, options, parts):
    bound = printed_bound(theorem, RECALLED, grid_step=0.125, num_steps=400, **options)
    found = (bound.initial, bound.noise, bound.floor)
    assert found == pytest.approx(parts, rel=1e-14, abs=0)
