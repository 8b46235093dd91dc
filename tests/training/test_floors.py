"""Exact floors on quadratics: laws, the identity, averages, rounded weights."""

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers import assert_mc_close, assert_slope
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.numerics import Estimate
from qtheory.quantizers import infinite_grid, uniform_midtread
from qtheory.training import (
    BinaryConnect,
    DiscreteNoise,
    GaussianNoise,
    GridLaw,
    NoNoise,
    Quadratic,
    RademacherNoise,
    Record,
    StochasticRounding,
    StudentTNoise,
    averaged_floor,
    deployed_floor,
    descend,
    inverse_time,
    noise_free_sr_law,
    sr_quadratic_floor,
    sr_quadratic_law,
)
from qtheory.training import floors as floors_module

LAWS = [
    None,
    GaussianNoise(1.0),
    RademacherNoise(2.0),
    StudentTNoise(3.0, 0.5),
    StudentTNoise(1.5),
    DiscreteNoise([-1.0, 3.0], [0.75, 0.25]),
]


def rademacher_kernel(grid_step, *, learning_rate, minimizer, reach):
    """Return points and transition matrix of a weight with noise +-1, from the rule itself."""
    points = np.arange(-reach, reach + 1) * grid_step
    kernel = np.zeros((points.size, points.size))
    for noise in (-1.0, 1.0):
        moved = (points - learning_rate * (points - minimizer + noise)) / grid_step
        below = np.floor(moved).astype(int)
        share = moved - below
        for i in range(points.size):
            for code, part in ((below[i], 1 - share[i]), (below[i] + 1, share[i])):
                kernel[i, np.clip(code + reach, 0, points.size - 1)] += 0.5 * part
    return points, kernel


# --- Unit -------------------------------------------------------------------------------------


def test_urns_of_ehrenfest():
    law = sr_quadratic_law(1.0, grid_step=0.25, noise=RademacherNoise(1.0))
    binomial = [math.comb(8, k) / 256 for k in range(9)]
    assert law.points.tolist() == [k / 4 - 1 for k in range(9)]
    assert_allclose(law.probabilities, binomial, rtol=1e-14)
    assert law.variance == pytest.approx(0.125, abs=0, rel=1e-14)


def test_laws_are_values_that_cannot_change():
    law = GridLaw(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="read-only"):
        law.points[0] = 2.0
    assert law.mean == 0.5
    assert law.mean_square(1.0) == 0.5


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_without_noise_two_points_remain(share):
    place = (3 + share) * 0.5
    law = sr_quadratic_law(2.0, grid_step=0.5, minimizer=place)
    expected = noise_free_sr_law(place, grid_step=0.5)
    assert law.points.tolist() == expected.points.tolist()
    assert_allclose(law.probabilities, expected.probabilities, rtol=1e-12)
    assert law.mean == pytest.approx(place, abs=0, rel=1e-14)
    floor = sr_quadratic_floor([2.0], grid_step=0.5, minimizer=place)
    assert floor.excess == pytest.approx(0.25 * share * (1 - share), abs=1e-16)


def test_far_minimizers_lose_no_mass():
    near = sr_quadratic_law(1.0, grid_step=0.5, noise=GaussianNoise(), minimizer=0.125)
    far = sr_quadratic_law(1.0, grid_step=0.5, noise=GaussianNoise(), minimizer=1e6 + 0.125)
    assert_allclose(far.points - 1e6, near.points, atol=1e-9, rtol=0)
    assert_allclose(far.probabilities, near.probabilities, rtol=1e-8)


@pytest.mark.parametrize(("far", "atol"), [(1e4, 1e-12), (1e6, 1e-11)])
def test_accuracy_far_away_on_a_decimal_grid(far, atol):
    # A tenth is not exact, so the place of the minimizer between grid points is rounded.
    place = (far + 0.3) * 0.1
    theta = float(Fraction(place) / Fraction(0.1) - int(far))
    near = sr_quadratic_law(1.0, grid_step=0.1, noise=GaussianNoise(), minimizer=0.1 * theta)
    law = sr_quadratic_law(1.0, grid_step=0.1, noise=GaussianNoise(), minimizer=place)
    assert_allclose(law.probabilities, near.probabilities, rtol=0, atol=atol)
    floor = sr_quadratic_floor([1.0], grid_step=0.1, noise=GaussianNoise(), minimizer=place)
    assert floor.excess == pytest.approx(floor.identity, abs=0, rel=atol)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curvature": 0.0}, "`curvature` must be finite and above zero"),
        ({"grid_step": -1.0}, "`grid_step` must be finite and above zero"),
        ({"minimizer": math.inf}, "`minimizer` must be finite"),
        ({"noise": 1.0}, "`noise` must be GradientNoise"),
    ],
)
def test_bad_arguments_of_laws_are_refused(changes, message):
    arguments = {"curvature": 1.0, "grid_step": 0.5, **changes}
    with pytest.raises(ValueError, match=message):
        sr_quadratic_law(arguments.pop("curvature"), **arguments)


def test_laws_of_too_many_points_are_refused(monkeypatch):
    monkeypatch.setattr(floors_module, "MAX_REACH", 256)
    with pytest.raises(ValueError, match="`grid_step` must be large enough"):
        sr_quadratic_law(1.0, grid_step=1e-6, noise=GaussianNoise())


@pytest.mark.parametrize(
    ("curvatures", "minimizer", "message"),
    [
        ([1.0, -1.0], 0.0, "`curvatures` must be finite and above zero"),
        ([[1.0]], 0.0, r"`curvatures` must be a number or of shape \(d,\)"),
        ([], 0.0, "`curvatures` must be a number or of shape"),
        ([1.0], [0.0, 1.0], r"`minimizer` must be a number or of shape \(1,\)"),
        ([1.0], math.nan, "`minimizer` must be finite"),
    ],
)
def test_bad_quadratics_are_refused(curvatures, minimizer, message):
    for function in (sr_quadratic_floor, averaged_floor, deployed_floor):
        with pytest.raises(ValueError, match=message):
            function(curvatures, grid_step=1.0, minimizer=minimizer)


def test_bad_schedules_and_grids_are_refused():
    with pytest.raises(ValueError, match="`strong_convexity` must be finite and above zero"):
        averaged_floor([1.0], grid_step=1.0, strong_convexity=0.0)
    with pytest.raises(ValueError, match="`grid_step` must be finite and above zero"):
        deployed_floor([1.0], grid_step=0.0)
    with pytest.raises(ValueError, match="`grid_step` must be finite and above zero"):
        noise_free_sr_law(0.3, grid_step=0.0)


def test_deployed_floor_is_largest_between_grid_points():
    assert deployed_floor([1.0, 3.0], grid_step=0.5) == 4 * 0.25 / 8
    assert deployed_floor([1.0, 3.0], grid_step=0.5, minimizer=[0.25, 0.75]) == 4 * 0.25 / 8
    assert deployed_floor([1.0, 3.0], grid_step=0.5, minimizer=[0.0, 0.5]) == 0.0
    assert deployed_floor(2.0, grid_step=1.0, minimizer=-0.1) == pytest.approx(0.09, abs=1e-15)


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(
    law=st.sampled_from(LAWS),
    curvatures=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=3),
    grid_step=st.floats(0.01, 2.0),
    minimizer=st.floats(-3.0, 3.0),
)
def test_excess_is_a_quarter_step_of_the_gradient(law, curvatures, grid_step, minimizer):
    floor = sr_quadratic_floor(curvatures, grid_step=grid_step, noise=law, minimizer=minimizer)
    assert floor.identity == pytest.approx(floor.excess, rel=1e-10, abs=1e-13)


@pytest.mark.property
@given(law=st.sampled_from(LAWS), grid_step=st.floats(0.05, 2.0), minimizer=st.floats(-3.0, 3.0))
def test_the_mean_is_the_minimizer(law, grid_step, minimizer):
    rest = sr_quadratic_law(1.5, grid_step=grid_step, noise=law, minimizer=minimizer)
    assert rest.probabilities.sum() == pytest.approx(1.0, abs=1e-13)
    assert rest.mean == pytest.approx(minimizer, abs=1e-10)


@pytest.mark.property
@given(shift=st.integers(-50, 50), share=st.floats(0.0, 1.0), unit=st.floats(0.1, 10.0))
def test_laws_move_and_scale_with_the_grid(shift, share, unit):
    noise = DiscreteNoise([-1.0, 3.0], [0.75, 0.25])
    law = sr_quadratic_law(1.0, grid_step=0.5, noise=noise, minimizer=0.5 * share)
    moved = sr_quadratic_law(
        1 / unit, grid_step=0.5 * unit, noise=noise, minimizer=0.5 * unit * (share + shift)
    )
    assert moved.variance == pytest.approx(unit**2 * law.variance, abs=0, rel=1e-9)


# --- Theory against references --------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [0.05, 0.01, 0.0005])
@pytest.mark.parametrize("minimizer", [0.0, 0.07])
def test_law_is_that_of_the_rule_at_every_small_learning_rate(learning_rate, minimizer):
    points, kernel = rademacher_kernel(
        0.25, learning_rate=learning_rate, minimizer=minimizer, reach=6
    )
    law = sr_quadratic_law(1.0, grid_step=0.25, noise=RademacherNoise(1.0), minimizer=minimizer)
    places = np.rint(law.points / 0.25).astype(int) + 6
    full = np.zeros(points.size)
    full[places] = law.probabilities
    assert_allclose(full @ kernel, full, atol=1e-15, rtol=0)


def test_large_learning_rates_have_another_law():
    # A negative control: beyond one grid step a move the law is no longer this one.
    points, kernel = rademacher_kernel(0.25, learning_rate=0.5, minimizer=0.07, reach=20)
    law = sr_quadratic_law(1.0, grid_step=0.25, noise=RademacherNoise(1.0), minimizer=0.07)
    full = np.zeros(points.size)
    full[np.rint(law.points / 0.25).astype(int) + 20] = law.probabilities
    assert np.abs(full @ kernel - full).max() > 0.01


@pytest.mark.parametrize(
    ("noise", "leading"),
    [(RademacherNoise(2.0), 0.5), (GaussianNoise(2.0), 2 * 0.19947114)],
)
def test_leading_term_is_linear_in_step_and_noise(noise, leading):
    steps = np.array([2.0**-k for k in range(4, 10)])
    values = [sr_quadratic_floor([1.0], grid_step=h, noise=noise).excess for h in steps]
    assert_allclose(values / steps, leading, rtol=0.03)
    assert values[-1] / steps[-1] == pytest.approx(leading, abs=0, rel=1e-3)
    assert_slope(np.log(steps), np.log(values), 1.0, tol=0.02)


def test_golden_values():
    for grid_step, value in ((0.5, 0.11018315), (0.125, 0.02556336)):
        floor = sr_quadratic_floor(
            [1.0], grid_step=grid_step, noise=GaussianNoise(), minimizer=0.3 * grid_step
        )
        assert floor.excess == pytest.approx(value, abs=1e-8)
        assert floor.identity == pytest.approx(floor.excess, abs=1e-12)


def test_average_against_the_recursion_of_its_moments():
    # Law, covariance of sum and weight, and mean square of the sum, step by step.
    points, _ = rademacher_kernel(0.25, learning_rate=0.01, minimizer=0.0, reach=4)
    kernels = [
        rademacher_kernel(0.25, learning_rate=rate, minimizer=0.0, reach=4)[1]
        for rate in (0.0, 0.01)
    ]
    generator = (kernels[1] - kernels[0]) / 0.01
    mu, offset, num_steps = 0.5, 20.0, 20_000
    law, cross, square = np.eye(9)[8], 0.0, 0.0
    for t in range(num_steps):
        rate, spread = 1 / (mu * (t + offset)), law @ points**2
        square += 2 * cross + spread
        cross = (1 - rate) * (cross + spread)
        law = law + rate * (law @ generator)
    expected = averaged_floor(
        [1.0], grid_step=0.25, noise=RademacherNoise(1.0), strong_convexity=mu
    )
    assert 0.5 * square / num_steps**2 == pytest.approx(expected[0], abs=0, rel=5e-3)


def test_averaged_floor_of_equal_curvatures_is_half_the_floor():
    settings = {"grid_step": 0.1, "noise": GaussianNoise(), "minimizer": [0.03, 0.0]}
    floor = sr_quadratic_floor([2.0, 2.0], **settings)
    assert averaged_floor([2.0, 2.0], **settings).sum() == pytest.approx(
        floor.excess / 2, abs=0, rel=1e-13
    )


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("noise", [RademacherNoise(1.0), GaussianNoise(1.0)])
def test_floor_against_training(noise):
    problem = Quadratic([1.0, 2.0, 4.0], minimizer=[0.05, 0.0, -0.11])
    run = descend(
        problem.gradient,
        np.zeros((800, 3)),
        rule=StochasticRounding(infinite_grid(0.25)),
        learning_rate=0.03,
        num_steps=2000,
        rng=np.random.default_rng(5),
        noise=noise,
        record=Record(average_from=500, value=problem.value),
    )
    floor = sr_quadratic_floor(
        problem.hessian, grid_step=0.25, noise=noise, minimizer=problem.minimizer
    )
    assert_mc_close(floor.excess, Estimate.from_samples(run.mean_value), rel_resolution=0.03)


@pytest.mark.theory_vs_sim
def test_identity_holds_for_rotated_quadratics():
    rng = np.random.default_rng(6)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    problem = Quadratic(basis @ np.diag([0.5, 1.0, 2.0, 4.0]) @ basis.T, minimizer=0.1)
    run = descend(
        problem.gradient,
        np.zeros((400, 4)),
        rule=StochasticRounding(infinite_grid(0.25)),
        learning_rate=0.02,
        num_steps=4000,
        rng=rng,
        noise=RademacherNoise(2.0),
        record=Record(average_from=2000, every=5),
    )
    weights = run.latent_record[400:]
    sizes = RademacherNoise(2.0).mean_abs(problem.gradient(weights)).sum(axis=-1)
    difference = (problem.value(weights) - 0.25 / 4 * sizes).mean(axis=0)
    mean = problem.value(weights).mean()
    assert abs(Estimate.from_samples(difference).z_score(0.0)) < 5
    assert 5 * difference.std() / 20 < 0.05 * mean


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("forward", ["nearest", "stochastic"])
def test_deployed_weights_of_binaryconnect_reach_their_floor(forward):
    problem = Quadratic([1.0, 3.0], minimizer=[0.3, -0.1])
    run = descend(
        problem.gradient,
        np.zeros((200, 2)),
        rule=BinaryConnect(infinite_grid(0.5), forward=forward),
        learning_rate=inverse_time(1.0, offset=5.0),
        num_steps=4000,
        rng=np.random.default_rng(7),
        record=Record(average_from=2000, value=problem.value),
    )
    floor = deployed_floor([1.0, 3.0], grid_step=0.5, minimizer=[0.3, -0.1])
    assert run.mean_value.mean() == pytest.approx(floor, abs=0, rel=0.03)


@pytest.mark.theory_vs_sim
def test_clipping_below_the_spread_of_the_law_breaks_the_floor():
    problem = Quadratic([1.0])
    run = descend(
        problem.gradient,
        np.zeros((400, 1)),
        rule=StochasticRounding(uniform_midtread(3, step_size=0.25)),
        learning_rate=0.05,
        num_steps=1000,
        rng=np.random.default_rng(8),
        noise=RademacherNoise(1.0),
        record=Record(average_from=200, value=problem.value),
    )
    floor = sr_quadratic_floor([1.0], grid_step=0.25, noise=RademacherNoise(1.0))
    assert run.mean_value.mean() < 0.5 * floor.excess


def test_no_noise_and_none_are_one_law():
    first = sr_quadratic_floor([1.0], grid_step=1.0, noise=NoNoise(), minimizer=0.3)
    assert first.excess == sr_quadratic_floor([1.0], grid_step=1.0, minimizer=0.3).excess


def test_minimizer_is_a_grid_point_unless_said():
    noise = RademacherNoise(1.0)
    settings = {"grid_step": 0.25, "noise": noise}
    here = sr_quadratic_floor([1.0, 2.0], minimizer=0.0, **settings)
    assert sr_quadratic_floor([1.0, 2.0], **settings).excess == here.excess
    average = averaged_floor([1.0, 2.0], minimizer=[0.0, 0.0], **settings)
    assert averaged_floor([1.0, 2.0], **settings).tolist() == average.tolist()
    assert sr_quadratic_floor([1.0], grid_step=0.25).excess == 0.0
