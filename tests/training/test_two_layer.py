"""Straight-through estimators on two linear layers: losses, coarse gradients, stationary points."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, special

from qtheory.numerics import Estimate
from qtheory.training import (
    SURROGATES,
    TwoLayerTeacher,
    coarse_descent,
    coarse_gradient,
    descent_learning_rate,
    gradient_cosine,
    population_gradient,
    population_loss,
    saddle_point,
    simulate,
    spurious_point,
)

TEACHER = TwoLayerTeacher([0.6, -0.3, 0.8, 0.2], [1.0, -2.0, 0.5])
OUTPUT, WEIGHTS = np.array([0.5, 0.9, -0.2, 0.4]), np.array([0.7, 0.3, -0.4])
KINDS = [*SURROGATES, (-0.5, 2.0), (0.3, 0.9), (-2.0, -1.0)]
seeds = st.integers(0, 2**32 - 1)
windows = st.tuples(st.floats(-3, 3), st.floats(0.05, 4)).map(lambda p: (p[0], p[0] + p[1]))


def drawn(seed, *, num_units=None):
    """Draw a teacher and a student of random size."""
    rng = np.random.default_rng(seed)
    m, n = num_units or rng.integers(1, 6), rng.integers(2, 6)
    teacher = TwoLayerTeacher(rng.normal(size=m), rng.normal(size=n))
    return teacher, 2 * rng.normal(size=m), rng.normal(size=n) * 10 ** rng.uniform(-1, 1)


def normal_mean(function, lower, upper):
    """Mean of a function of a standard normal number on an interval, by quadrature."""
    value, _ = integrate.quad(
        lambda s: function(s) * math.exp(-s * s / 2) / math.sqrt(2 * math.pi),
        max(lower, -40.0),
        min(upper, 40.0),
        points=[p for p in (-6.0, -2.0, 0.0, 2.0, 6.0) if lower < p < upper],
        epsabs=1e-14,
        limit=200,
    )
    return value


# --- Unit -------------------------------------------------------------------------------------


def test_no_loss_and_no_gradient_at_the_teacher():
    assert population_loss(TEACHER, TEACHER.output, 3 * TEACHER.weights) < 1e-16
    for kind in KINDS:
        coarse = coarse_gradient(TEACHER, TEACHER.output, 3 * TEACHER.weights, kind=kind)
        assert_allclose(coarse, 0, rtol=0, atol=1e-15)


def test_one_unit_by_hand():
    # The labels differ on half of the inputs when the weights are at a right angle.
    teacher = TwoLayerTeacher([2.0], [0.0, 5.0])
    assert population_loss(teacher, [2.0], [1.0, 0.0]) == pytest.approx(1.0, rel=1e-15, abs=0)
    assert population_loss(teacher, [2.0], [0.0, -1.0]) == pytest.approx(2.0, rel=1e-15, abs=0)
    inner, outer = population_gradient(teacher, [2.0], [4.0, 0.0])
    assert_allclose(inner, [0.5], rtol=1e-14)
    assert_allclose(outer, [0.0, -1 / (2 * math.pi)], rtol=1e-14)
    root = math.sqrt(2 * math.pi)
    identity = coarse_gradient(teacher, [2.0], [4.0, 0.0], kind="identity")
    assert_allclose(identity, [4 / root, -4 / root], rtol=1e-14)


def test_leading_axes_are_replicas():
    rng = np.random.default_rng(0)
    outputs, weights = rng.normal(size=(5, 1, 4)), rng.normal(size=(3, 3))
    for function in (population_loss, coarse_gradient, gradient_cosine, descent_learning_rate):
        table = function(TEACHER, outputs, weights)
        assert table.shape[:2] == (5, 3)
        assert_allclose(table[2, 1], function(TEACHER, outputs[2, 0], weights[1]), rtol=1e-12)
    path = coarse_descent(TEACHER, outputs[:3, 0], weights, learning_rate=0.1, num_steps=7)
    assert path.losses.shape == path.angles.shape == path.norms.shape == (8, 3)


def test_the_loss_has_no_length_and_the_teacher_none_either():
    other = TwoLayerTeacher(TEACHER.output, 9 * TEACHER.weights)
    assert_allclose(other.weights, TEACHER.weights, rtol=1e-15)
    values = [population_loss(TEACHER, OUTPUT, c * WEIGHTS) for c in (1e-8, 1.0, 1e8)]
    assert_allclose(values, values[1], rtol=1e-14)
    assert not TEACHER.output.flags.writeable


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e307])
def test_lengths_of_any_size(size):
    # 3 and 4 times a size that float64 has few bits for are not exactly in that proportion.
    accuracy = 1e-3 if size < 1e-300 else 1e-14
    assert_allclose(TwoLayerTeacher([1.0], [3 * size, 4 * size]).weights, [0.6, 0.8], accuracy)
    teacher = TwoLayerTeacher([1.0, 0.5], [1.0, 0.0])
    loss = population_loss(teacher, [1.0, 0.2], [0.6, 0.8])
    large = [0.6 * size, 0.8 * size]
    assert_allclose(population_loss(teacher, [1.0, 0.2], large), loss, rtol=accuracy)
    coarse = coarse_gradient(teacher, [1.0, 0.2], large, kind="identity")
    expected = coarse_gradient(teacher, [1.0, 0.2], [0.6, 0.8], kind="identity")
    assert_allclose(coarse, expected, rtol=accuracy)
    path = coarse_descent(teacher, [1.0, 0.2], large, learning_rate=0.1, num_steps=0)
    assert_allclose(path.norms, size, rtol=accuracy)


def test_cosines_where_probabilities_have_lost_their_digits():
    teacher, output, unit = (
        TwoLayerTeacher([1.0, 0.5], [1.0, 0.0]),
        [1.0, 0.2],
        np.array([0.6, 0.8]),
    )
    cosine = gradient_cosine(teacher, output, 0.1 * unit, kind=(1.0, 2.0))
    # The part across the weights is tiny; the product of the gradients was negative by rounding.
    far = coarse_gradient(teacher, output, 0.1 * unit, kind=(1.0, 2.0))
    assert 0 < cosine == pytest.approx(-far @ [0.8, -0.6] / np.linalg.norm(far), rel=0, abs=1e-15)
    assert np.isnan(gradient_cosine(teacher, output, 0.01 * unit, kind=(2.44, 3.33)))
    assert np.isnan(gradient_cosine(teacher, [0.5, -1.0], unit))


def test_one_unit_has_no_spurious_minimum_whatever_the_rounding():
    for output in (2.969102280595523, 0.1, 1 / 3, 7.7):
        teacher = TwoLayerTeacher([output], [1.0, 0.0])
        assert spurious_point(teacher).overlap == 0
        assert not spurious_point(teacher).is_local_minimum
        assert saddle_point(teacher) is None
    # Control: with two units there is one just beyond the boundary, none just before it.
    for second, is_minimum in ((2 - 3**0.5 - 1e-9, True), (2 - 3**0.5 + 1e-9, False)):
        teacher = TwoLayerTeacher([1.0, second], [1.0, 0.0])
        assert spurious_point(teacher).is_local_minimum == is_minimum
    # One sign alone does not help.
    assert spurious_point(TwoLayerTeacher([1.0, 0.1, 0.1, 0.1], [1.0, 0.0])).is_local_minimum


def test_normalized_descent_keeps_the_length():
    path = coarse_descent(
        TEACHER, OUTPUT, WEIGHTS, kind="identity", learning_rate=0.1, num_steps=9, normalize=True
    )
    assert_allclose(path.norms[1:], 1.0, rtol=1e-15)
    assert_allclose(np.linalg.norm(path.weights), 1.0, rtol=1e-15)


def test_descent_from_a_good_start_finds_the_teacher():
    start = TEACHER.weights + 0.5 * WEIGHTS
    for kind in SURROGATES:
        path = coarse_descent(
            TEACHER, TEACHER.output, start, kind=kind, learning_rate=0.3, num_steps=500
        )
        assert path.losses[-1] < 1e-6
        assert (np.diff(path.losses) < 1e-15).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoLayerTeacher([], [1, 0]), "`output` must be a vector of at least 1 numbers"),
        (lambda: TwoLayerTeacher([1], [1]), "`weights` must be a vector of at least 2 numbers"),
        (lambda: TwoLayerTeacher([0], [1, 0]), "`output` must be finite and not zero"),
        (lambda: TwoLayerTeacher([1], [math.nan, 1]), "`weights` must be finite and not zero"),
        (lambda: population_loss(1, [1], [1, 0]), "`teacher` must be TwoLayerTeacher"),
        (lambda: population_loss(TEACHER, [1], WEIGHTS), "`output` must be an array whose last"),
        (lambda: population_loss(TEACHER, OUTPUT, 1.0), "`weights` must be an array whose last"),
        (lambda: population_loss(TEACHER, OUTPUT, 0 * WEIGHTS), "`weights` must be not zero"),
        (lambda: population_loss(TEACHER, OUTPUT * np.inf, WEIGHTS), "`output` must be finite"),
        (
            lambda: population_gradient(TEACHER, OUTPUT, -2 * TEACHER.weights),
            "`weights` must be not parallel to the teacher's",
        ),
        (lambda: coarse_gradient(TEACHER, OUTPUT, WEIGHTS, kind="tanh"), "`kind` must be one of"),
        (lambda: coarse_gradient(TEACHER, OUTPUT, WEIGHTS, kind=(1, 1)), "`kind` must be one of"),
        (lambda: coarse_gradient(TEACHER, OUTPUT, WEIGHTS, kind=(0, "a")), "`kind` must be one of"),
        (
            lambda: gradient_cosine(TEACHER, OUTPUT, 2 * TEACHER.weights),
            "`weights` must be not parallel to the teacher's",
        ),
        (
            lambda: population_loss(TEACHER, OUTPUT, [1.7e308, 1.7e308, 0.0]),
            "`weights` must be of finite length",
        ),
        (
            lambda: coarse_descent(TEACHER, OUTPUT, WEIGHTS, learning_rate=1e300, num_steps=3),
            r"`learning_rate` must be such that the path stays finite, got 1e\+300",
        ),
        (
            lambda: coarse_descent(TEACHER, OUTPUT, WEIGHTS, learning_rate=0.0, num_steps=1),
            "`learning_rate` must be finite and above zero",
        ),
        (
            lambda: coarse_descent(TEACHER, OUTPUT, WEIGHTS, learning_rate=0.1, num_steps=-1),
            "`num_steps` must be an integer of at least 0",
        ),
        (lambda: spurious_point(3), "`teacher` must be TwoLayerTeacher"),
        (lambda: saddle_point(3), "`teacher` must be TwoLayerTeacher"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Property ---------------------------------------------------------------------------------


@given(seeds, windows)
def test_no_estimator_points_uphill(seed, window):
    teacher, output, weights = drawn(seed)
    coarse = coarse_gradient(teacher, output, weights, kind=window)
    true = population_gradient(teacher, output, weights)[1]
    # The part along the weights is orthogonal to the true gradient up to rounding.
    assert coarse @ true >= -1e-13 * np.linalg.norm(coarse) * np.linalg.norm(true)
    cosine = gradient_cosine(teacher, output, weights, kind=window)
    assert np.isnan(cosine) or 0 < cosine <= 1


@given(seeds)
def test_the_correlation_is_the_turning_factor(seed):
    teacher, output, weights = drawn(seed)
    true = population_gradient(teacher, output, weights)[1]
    overlap, length = output @ teacher.output, np.linalg.norm(weights)
    sine = np.linalg.norm(np.linalg.norm(true)) * 2 * np.pi * length / abs(overlap)
    assert_allclose(sine, 1, rtol=1e-9)
    cosine = teacher.weights @ weights / length
    expected = math.sqrt(1 - cosine**2) * overlap**2 / ((2 * math.pi) ** 1.5 * length)
    identity = coarse_gradient(teacher, output, weights, kind="identity") @ true
    rectified = coarse_gradient(teacher, output, weights, kind="relu") @ true
    assert_allclose(identity, expected, rtol=1e-7)
    assert_allclose(rectified, expected / 2, rtol=1e-7)


def descends(teacher, output, weights, kind, learning_rate):
    """Whether a step lowers the loss by at least what the theorem says."""
    path = coarse_descent(
        teacher, output, weights, kind=kind, learning_rate=learning_rate, num_steps=1
    )
    slope = population_gradient(teacher, output, weights)[0]
    turn = abs(path.angles[1] - path.angles[0])
    fall = learning_rate / 4 * slope @ slope + turn * abs(output @ teacher.output) / (4 * np.pi)
    return path.losses[1] - path.losses[0] <= -fall + 1e-13


@given(seeds, st.sampled_from(KINDS), st.floats(0.01, 1.0))
def test_every_estimator_descends_below_the_learning_rate_of_the_theorem(seed, kind, share):
    teacher, output, weights = drawn(seed)
    limit = float(descent_learning_rate(teacher, output, weights, kind=kind))
    assert descends(teacher, output, weights, kind, share * limit)


def test_control_far_above_that_learning_rate_some_steps_ascend():
    falls = []
    for seed in range(100):
        teacher, output, weights = drawn(seed)
        limit = float(descent_learning_rate(teacher, output, weights, kind="identity"))
        falls.append(descends(teacher, output, weights, "identity", 12 * limit))
    assert 10 < np.sum(falls) < 90


@given(seeds)
def test_stationary_points_are_stationary(seed):
    teacher, _, _ = drawn(seed)
    point, saddle = spurious_point(teacher), saddle_point(teacher)
    for angle, output in [(math.pi, point.output)] + (
        [(saddle.angle, saddle.output)] if saddle else []
    ):
        inner = np.eye(teacher.output.size) + 1
        slope = inner @ (output - teacher.output) / 4 + angle / (2 * np.pi) * teacher.output
        assert_allclose(slope, 0, rtol=0, atol=1e-13)
    assert point.is_local_minimum == (saddle is not None)
    assert_allclose(point.overlap, point.output @ teacher.output, rtol=1e-9, atol=1e-12)
    assert_allclose(point.pull, point.output @ point.output + point.overlap, rtol=0, atol=1e-12)
    assert_allclose(point.loss, population_loss(teacher, point.output, point.weights), rtol=1e-12)


# --- Theory against reference -----------------------------------------------------------------


def test_gradients_are_differences_of_the_loss():
    inner, outer = population_gradient(TEACHER, OUTPUT, WEIGHTS)
    step = 1e-6
    for gradient, place in ((inner, 0), (outer, 1)):
        student = [OUTPUT, WEIGHTS]
        for k in range(gradient.size):
            moved = np.zeros(gradient.size)
            moved[k] = step
            up, down = list(student), list(student)
            up[place], down[place] = student[place] + moved, student[place] - moved
            slope = population_loss(TEACHER, *up) - population_loss(TEACHER, *down)
            # Central differences: step^2 of truncation and 1e-16 / step of rounding.
            assert slope / (2 * step) == pytest.approx(gradient[k], rel=0, abs=1e-9)


def by_quadrature(teacher, output, weights, window):
    """Integrate the coarse gradient over one pre-activation."""
    length = np.linalg.norm(weights)
    unit = weights / length
    cosine = unit @ teacher.weights
    across = teacher.weights - cosine * unit
    sine = np.linalg.norm(across)
    lower, upper = (end / length for end in window)
    positive = normal_mean(lambda s: s, max(lower, 0), upper) if upper > 0 else 0.0
    both = normal_mean(lambda s: s, lower, upper)
    along = normal_mean(lambda s: s * special.ndtr(s * cosine / sine), lower, upper)
    turned = normal_mean(
        lambda s: math.exp(-((s * cosine / sine) ** 2) / 2) / math.sqrt(2 * math.pi), lower, upper
    )
    v, v_star = output, teacher.output
    first = positive * v @ v + both / 2 * (v.sum() ** 2 - v @ v)
    second = both / 2 * (v.sum() * v_star.sum() - v @ v_star)
    radial = first - second - along * v @ v_star
    return radial * unit - turned * (v @ v_star) * across / sine


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("length", [0.05, 1.0, 20.0])
def test_closed_form_against_quadrature(kind, length):
    window = SURROGATES.get(kind, kind)
    weights = length * WEIGHTS
    exact = by_quadrature(TEACHER, OUTPUT, weights, window)
    coarse = coarse_gradient(TEACHER, OUTPUT, weights, kind=kind)
    assert_allclose(coarse, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", SURROGATES)
def test_sampled_gradients_agree_and_those_of_another_estimator_do_not(kind):
    sampled = simulate.two_layer_gradients(
        (TEACHER.output, TEACHER.weights),
        (OUTPUT, WEIGHTS),
        window=SURROGATES[kind],
        num_samples=100_000,
        rng=np.random.default_rng(10),
    )
    assert_mc_close(float(population_loss(TEACHER, OUTPUT, WEIGHTS)), sampled.loss)
    inner = population_gradient(TEACHER, OUTPUT, WEIGHTS)[0]
    assert (np.abs(sampled.output - inner) < 5 * sampled.output_error).all()
    scores = {
        name: np.abs(coarse_gradient(TEACHER, OUTPUT, WEIGHTS, kind=name) - sampled.weights)
        / sampled.weights_error
        for name in SURROGATES
    }
    assert scores.pop(kind).max() < 5
    assert min(score.max() for score in scores.values()) > 8


def test_a_surrogate_that_falls_points_uphill():
    # Slope one, but minus five in the middle: what a positive derivative is needed for.
    coarse = coarse_gradient(TEACHER, OUTPUT, WEIGHTS, kind="identity") - 6 * coarse_gradient(
        TEACHER, OUTPUT, WEIGHTS, kind=(-0.5, 0.5)
    )
    assert coarse @ population_gradient(TEACHER, OUTPUT, WEIGHTS)[1] < -1e-4


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("length", [0.5, 2.0])
def test_at_the_spurious_point_only_negative_inputs_pull(kind, length):
    point = spurious_point(TEACHER)
    coarse = coarse_gradient(TEACHER, point.output, length * point.weights, kind=kind)
    lower, upper = (min(end / length, 0.0) for end in SURROGATES.get(kind, kind))
    negative = normal_mean(abs, lower, upper) if lower < upper else 0.0
    assert_allclose(coarse, point.pull * negative * point.weights, rtol=0, atol=1e-14)
    # Control: one-sided windows feel nothing, two-sided ones do.
    assert (np.abs(coarse).max() > 1e-3) == (lower < upper)


def test_the_spurious_point_is_a_minimum_only_where_it_says_so():
    trapped = TwoLayerTeacher([1.0, -1.0, 1.0], [1.0, 0.0])
    free = TwoLayerTeacher([1.0, 1.0, 1.0], [1.0, 0.0])
    for teacher, is_minimum in ((trapped, True), (free, False)):
        point = spurious_point(teacher)
        assert point.is_local_minimum == is_minimum
        turned = np.array([-1.0, 0.01])
        change = population_loss(teacher, point.output, turned) - point.loss
        assert (change > 0) == is_minimum
    assert saddle_point(free) is None
    saddle = saddle_point(trapped)
    assert abs(saddle.output @ trapped.output) < 1e-14
    assert saddle.loss > spurious_point(trapped).loss


@pytest.mark.parametrize("kind", SURROGATES)
def test_only_estimators_without_negative_inputs_rest_at_the_spurious_point(kind):
    teacher = TwoLayerTeacher([1.0, -0.5, 0.8, -0.1], [1.0, 0.0])
    point = spurious_point(teacher)
    start, options = np.array([-1.0, 0.05]), {"learning_rate": 0.1, "num_steps": 600}
    path = coarse_descent(teacher, point.output, start, kind=kind, **options)
    rests = kind in ("relu", "clipped_relu")
    assert (abs(path.losses[-1] - point.loss) < 1e-6) == rests
    # The others shrink until the weights pass through zero, and the loss jumps.
    assert (path.norms.min() < 0.1) == (not rests)
    assert (path.losses[100:].max() > 2 * point.loss) == (not rests)
    # What drives them is the length alone: with the length kept they rest as well.
    kept = coarse_descent(teacher, point.output, start, kind=kind, normalize=True, **options)
    assert kept.losses[-1] == pytest.approx(point.loss, rel=1e-6, abs=0)


def test_estimates_of_the_simulation_are_estimates():
    sampled = simulate.two_layer_gradients(
        (TEACHER.output, TEACHER.weights),
        (OUTPUT, WEIGHTS),
        window=(0.0, 1.0),
        num_samples=4,
        rng=np.random.default_rng(0),
    )
    assert isinstance(sampled.loss, Estimate)
    assert sampled.weights.shape == sampled.weights_error.shape == (3,)
    assert sampled.output.shape == sampled.output_error.shape == (4,)


@given(seeds, st.sampled_from(KINDS))
def test_cosine_is_that_of_the_two_gradients(seed, kind):
    teacher, output, weights = drawn(seed)
    coarse = coarse_gradient(teacher, output, weights, kind=kind)
    true = population_gradient(teacher, output, weights)[1]
    lengths = np.linalg.norm(coarse) * np.linalg.norm(true)
    # Where both gradients are next to nothing, the cosine is NaN and their product zero.
    cosine = np.nan_to_num(gradient_cosine(teacher, output, weights, kind=kind))
    assert cosine * lengths == pytest.approx(coarse @ true, rel=1e-9, abs=1e-12 * (1 + lengths))


def test_each_condition_of_a_sure_step_by_hand():
    # One unit, right angle: kappa = 1 / sqrt(2 pi) and the radial part v^2 / sqrt(2 pi).
    teacher, length = TwoLayerTeacher([1.0], [1.0, 0.0]), 0.02
    root = math.sqrt(2 * math.pi)
    for output in (0.3, 3.0):
        limit = descent_learning_rate(teacher, [output], [0.0, length], kind="identity")
        conditions = [
            2.0,
            length / (2 * output**2 / root),
            length / (2 * output / root),
            math.sqrt(math.pi * length * root / 2),
        ]
        assert limit == pytest.approx(min(conditions), rel=1e-12, abs=0)
