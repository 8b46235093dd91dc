"""Objectives: values, gradients and constants against differences and eigenvalues."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qtheory.training import LogisticRegression, Quadratic, ThreeBasins

MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])


def logistic(num_samples=40, dimension=3, penalty=0.1):
    rng = np.random.default_rng(5)
    features = rng.standard_normal((num_samples, dimension))
    labels = np.where(rng.random(num_samples) < 0.6, 1.0, -1.0)
    return LogisticRegression(features, labels, penalty)


PROBLEMS = {
    "diagonal": Quadratic([1.0, 3.0], minimizer=[0.2, -1.0]),
    "full": Quadratic(MATRIX, minimizer=0.5),
    "logistic": logistic(dimension=2),
}


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS)
def problem(request):
    return request.param


def slopes(function, points, h=1e-5):
    steps = h * np.eye(points.shape[-1])
    pairs = [(function(points + step) - function(points - step)) / (2 * h) for step in steps]
    return np.stack(pairs, axis=-1)


# --- Unit -------------------------------------------------------------------------------------


def test_quadratic_by_hand():
    bowl = Quadratic(MATRIX, minimizer=[1.0, 0.0])
    assert bowl.value([2.0, 2.0]) == 4.0
    assert bowl.gradient([2.0, 2.0]).tolist() == [3.0, 2.5]
    assert (bowl.dimension, bowl.minimum, bowl.hessian_lipschitz) == (2, 0.0, 0.0)


def test_replicas_are_leading_axes(problem):
    points = np.random.default_rng(0).standard_normal((4, 3, 2))
    assert problem.value(points).shape == (4, 3)
    assert problem.gradient(points).shape == (4, 3, 2)
    assert_allclose(problem.value(points)[1, 2], problem.value(points[1, 2]), rtol=1e-14)


def test_arrays_are_protected():
    with pytest.raises(ValueError, match="read-only"):
        PROBLEMS["full"].hessian[0, 0] = 9.0
    with pytest.raises(ValueError, match="read-only"):
        PROBLEMS["logistic"].minimizer[0] = 9.0


def test_three_basins_by_hand():
    toy = ThreeBasins()
    points = np.array([-1.0, 0.999, 1.0, 2.5, 3.499, 3.5, 4.75, 5.0])
    assert toy.basin(points).tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert_allclose(toy.gradient(points)[[0, 2, 5]], [-2.0, -3.0, -2.5], rtol=1e-15)
    assert_allclose(toy.value([0.0, 2.5, 4.75]), toy.minima, rtol=1e-15)
    assert toy.value(toy.minimizers).tolist() == list(toy.minima)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quadratic(np.zeros((2, 3))), "`hessian` must be a square matrix"),
        (lambda: Quadratic([[1.0, 2.0], [0.0, 1.0]]), "`hessian` must be symmetric"),
        (lambda: Quadratic([1.0, -1.0]), "`hessian` must be positive semidefinite, got -1.0"),
        (lambda: Quadratic([]), "`hessian` must be an array with at least one element"),
        (lambda: Quadratic([1.0], minimizer=[1.0, 2.0]), r"`minimizer` must be a number or of"),
        (lambda: Quadratic([1.0], minimizer=np.nan), "`minimizer` must be finite"),
        (lambda: Quadratic([1.0, 1.0]).value([1.0]), r"`weights` must be of shape \(..., 2\)"),
        (lambda: Quadratic([1.0]).value(1.0), r"`weights` must be of shape \(..., 1\)"),
        (lambda: LogisticRegression([1.0], [1.0], 0.1), r"`features` must be of shape \(n, d\)"),
        (lambda: LogisticRegression([[1.0]], [0.5], 0.1), "`labels` must be 1 values of"),
        (lambda: LogisticRegression([[1.0]], [1.0], 0.0), "`penalty` must be finite and above"),
        (lambda: logistic().gradient_norm(-1.0), "`radius` must be finite and above zero"),
        (
            lambda: logistic().sample_gradient(np.zeros(3), batch_size=0, rng=None),
            "`batch_size` must be an integer of at least 1",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Theory against reference -----------------------------------------------------------------


def test_gradient_is_the_slope_of_the_value(problem):
    points = np.random.default_rng(1).standard_normal((5, 2))
    assert_allclose(problem.gradient(points), slopes(problem.value, points), rtol=1e-7, atol=1e-8)


def test_gradient_vanishes_at_the_minimizer(problem):
    assert np.abs(problem.gradient(problem.minimizer)).max() < 1e-12
    around = problem.minimizer + 0.1 * np.random.default_rng(2).standard_normal((50, 2))
    assert (problem.value(around) > problem.minimum).all()


def test_curvature_lies_between_the_constants():
    problem = logistic()
    points = np.random.default_rng(3).standard_normal((20, 3)) * 3
    eigenvalues = np.array([np.linalg.eigvalsh(problem.hessian(point)) for point in points])
    assert eigenvalues.min() >= problem.strong_convexity
    assert eigenvalues.max() <= problem.smoothness
    # The bound is not idle: at zero the logistic curvature is a quarter.
    at_zero = np.linalg.eigvalsh(problem.hessian(np.zeros(3)))[-1]
    assert at_zero == pytest.approx(problem.smoothness, rel=1e-13, abs=0)


def test_hessian_changes_no_faster_than_its_constant():
    problem, rng = logistic(), np.random.default_rng(4)
    for first, second in rng.standard_normal((30, 2, 3)):
        change = np.linalg.norm(problem.hessian(first) - problem.hessian(second), 2)
        assert change <= problem.hessian_lipschitz * np.linalg.norm(first - second)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_newton_finds_every_minimizer(scale):
    rng = np.random.default_rng(7)
    for features in scale * rng.standard_normal((40, 200, 8)):
        labels = np.where(rng.random(200) < 0.7, 1.0, -1.0)
        problem = LogisticRegression(features, labels, 1e-3)
        assert np.abs(problem.gradient(problem.minimizer)).max() < 1e-13 * max(1, 5 * scale)


def test_sample_gradients_are_unbiased_and_bounded():
    problem, rng = logistic(), np.random.default_rng(6)
    point = np.array([0.5, -1.0, 0.2])
    draws = problem.sample_gradient(np.tile(point, (40_000, 1)), batch_size=2, rng=rng)
    errors = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - problem.gradient(point)) < 5 * errors).all()
    assert np.linalg.norm(draws, axis=1).max() <= problem.gradient_norm(np.linalg.norm(point))
    # A wrong penalty would be seen, and the bound is that of the longest input and the penalty.
    assert (np.abs(0.1 * point) > 5 * errors).any()
    longest = np.linalg.norm(problem.features, axis=1).max()
    assert problem.gradient_norm(2.0) == pytest.approx(longest + 0.2, rel=1e-15, abs=0)


def test_toy_landscape_is_continuous_but_for_a_small_step():
    toy = ThreeBasins()
    jumps = toy.value([1.0, 3.5]) - toy.value(np.nextafter([1.0, 3.5], 0))
    assert_allclose(jumps, [0.0, 0.0025], rtol=0, atol=1e-12)
