"""Training runs against a plain loop, their averages, records and limits."""

import numpy as np
import pytest
from helpers import assert_mc_close
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import infinite_grid, uniform_midrise
from qtheory.training import (
    BinaryConnect,
    DeterministicRounding,
    GaussianNoise,
    GradientDescent,
    Quadratic,
    RademacherNoise,
    Record,
    StochasticRounding,
    descend,
    inverse_sqrt,
    inverse_time,
    simulate,
)

GRID = infinite_grid(0.25)
BOWL = Quadratic([1.0, 2.0], minimizer=[0.3, -0.4])
RULES = {
    "sgd": GradientDescent(),
    "r": DeterministicRounding(GRID),
    "sr": StochasticRounding(GRID),
    "bc": BinaryConnect(GRID),
    "bc-stochastic": BinaryConnect(GRID, forward="stochastic"),
}


def run(rule=RULES["sr"], **changes):
    settings = {
        "rule": rule,
        "learning_rate": 0.05,
        "num_steps": 7,
        "rng": np.random.default_rng(0),
    }
    start = changes.pop("start", np.zeros((3, 2)))
    return descend(changes.pop("gradient", BOWL.gradient), start, **(settings | changes))


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_run_is_the_plain_loop(rule):
    result = run(rule, learning_rate=inverse_sqrt(0.3), record=Record(every=1))
    rng, latent, seen, used = np.random.default_rng(0), np.zeros((3, 2)), [], []
    for step in range(7):
        weights = rule.weights(latent, rng=rng)
        seen.append(latent)
        used.append(weights)
        latent = rule.update(latent, BOWL.gradient(weights), 0.3 / (step + 1) ** 0.5, rng=rng)
    assert_array_equal(result.latent, latent)
    assert_array_equal(result.latent_record, seen)
    assert_array_equal(result.weight_record, used)
    assert_allclose(result.latent_average, np.mean(seen, axis=0), rtol=1e-14, atol=1e-16)
    assert_allclose(result.weight_average, np.mean(used, axis=0), rtol=1e-14, atol=1e-16)


def test_averages_start_where_they_are_asked_to():
    record = Record(average_from=4, every=3, value=BOWL.value, count_changes=True)
    result, every = run(record=record), run(record=Record(every=1))
    tail = every.weight_record[4:]
    assert_allclose(result.weight_average, tail.mean(axis=0), rtol=1e-14, atol=1e-16)
    assert_allclose(result.mean_value, BOWL.value(tail).mean(axis=0), rtol=1e-14)
    assert result.times.tolist() == [0, 3, 6]
    assert_array_equal(result.weight_record, every.weight_record[::3])
    path = np.concatenate([every.weight_record, result.weights[None]])
    assert_array_equal(result.changes, (np.diff(path, axis=0) != 0).sum(axis=(0, 2)))


def test_values_at_latent_and_at_network_weights():
    settings = {"num_steps": 3, "learning_rate": 0.0, "record": Record(value=BOWL.value)}
    result = run(RULES["bc"], start=[0.1, 0.1], **settings)
    assert result.mean_latent_value == pytest.approx(float(BOWL.value([0.1, 0.1])))
    assert result.mean_value == pytest.approx(float(BOWL.value([0.0, 0.0])))
    assert run().mean_value is run().weight_record is run().changes is None


def test_changes_are_counted_for_each_replica_of_any_shape():
    rule, record = RULES["r"], Record(count_changes=True)
    start = np.zeros((2, 3, 2))
    start[1] = 5.0
    result = run(rule, start=start, num_steps=2, learning_rate=0.1, record=record)
    assert result.changes.shape == (2, 3)
    assert result.changes.tolist() == [[0, 0, 0], [4, 4, 4]]


def test_single_precision_stays_single():
    assert run(start=np.zeros(2, np.float32)).latent.dtype == np.float32


def test_results_are_protected():
    with pytest.raises(ValueError, match="read-only"):
        run().latent[0] = 1.0


def test_progress_wraps_the_steps():
    seen = []
    run(record=Record(progress=lambda steps: (seen.append(step) or step for step in steps)))
    assert seen == list(range(7))


def test_same_seed_same_run():
    assert_array_equal(run(noise=GaussianNoise()).latent, run(noise=GaussianNoise()).latent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "sr"}, "`rule` must be UpdateRule, got 'sr'"),
        ({"num_steps": 0}, "`num_steps` must be an integer of at least 1"),
        ({"rng": 0}, "`rng` must be a numpy.random.Generator"),
        ({"noise": 1.0}, "`noise` must be GradientNoise"),
        ({"learning_rate": -0.1}, "`learning_rate` must be finite and not below zero"),
        ({"learning_rate": lambda step: np.nan}, "`learning_rate` must be finite"),
        ({"start": np.zeros((0, 2))}, r"`start` must be of shape \(..., d\)"),
        ({"start": 0.0}, r"`start` must be of shape \(..., d\)"),
        ({"start": [0.1, 0.2]}, "`start` must be on the grid"),
        ({"record": Record(average_from=7)}, "`record` must be averaging from before step 7"),
        ({"gradient": lambda w: np.zeros(2)}, r"`gradient` must be of the weights' shape \(3, 2\)"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average_from": -1}, "`average_from` must be an integer of at least 0"),
        ({"every": 0}, "`every` must be an integer of at least 1"),
    ],
)
def test_bad_record_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Record(**settings)


# --- Theory against reference -----------------------------------------------------------------


def noisy(gradient, law, rng):
    return lambda weights: gradient(weights) + law.sample(weights.shape, rng=rng)


@pytest.mark.parametrize("law", [GaussianNoise(1.0), RademacherNoise(1.0)], ids=["gauss", "signs"])
def test_stationary_loss_agrees_with_the_simulation_of_the_definition(law):
    start = np.zeros((400, 2))
    record = Record(average_from=400, value=BOWL.value)
    result = run(start=start, num_steps=700, noise=law, record=record)
    fast = Estimate.from_samples(result.mean_value)
    slow = simulate.stationary_mean(
        BOWL.value,
        noisy(BOWL.gradient, law, np.random.default_rng(1)),
        start,
        grid_step=0.25,
        learning_rate=0.05,
        num_steps=300,
        num_discarded=400,
        rng=np.random.default_rng(2),
    )
    assert_mc_close(fast.mean, slow, num_sigmas=6, rel_resolution=0.15)


def test_unrounded_descent_has_the_variance_of_an_autoregression():
    # w' = (1 - a) w + a xi: variance a / (2 - a).
    bowl, rate = Quadratic([1.0]), 0.2
    result = run(
        GradientDescent(),
        gradient=bowl.gradient,
        start=np.zeros((40_000, 1)),
        learning_rate=rate,
        num_steps=60,
        noise=GaussianNoise(),
    )
    assert_mc_close(rate / (2 - rate), Estimate.from_samples(result.latent[:, 0] ** 2))


def test_binary_connect_with_unbiased_rounding_finds_the_minimizer():
    result = run(
        RULES["bc-stochastic"],
        start=np.zeros((200, 2)),
        learning_rate=inverse_time(1.0, offset=10),
        num_steps=3000,
    )
    assert_allclose(result.latent.mean(axis=0), BOWL.minimizer, rtol=0, atol=3e-3)
    nearest = run(RULES["bc"], learning_rate=inverse_time(1.0, offset=10), num_steps=3000)
    # To nearest, it finds the threshold between two grid points.
    assert_allclose(nearest.latent[0], [0.375, -0.375], rtol=0, atol=3e-3)


def test_frequencies_of_a_fair_walk_are_even():
    frequencies = simulate.visit_frequencies(
        lambda weights: np.zeros_like(weights),
        np.arange(3.0),
        learning_rate=0.5,
        num_steps=1,
        num_replicas=6000,
        rng=np.random.default_rng(3),
    )
    for column in frequencies.T:
        assert_mc_close(1 / 3, Estimate.from_samples(column), rel_resolution=0.15)


def test_walk_between_signs_visits_the_better_one_more_often():
    grid = uniform_midrise(num_levels=2, step_size=2.0)
    frequencies = simulate.visit_frequencies(
        lambda weights: weights - 0.5,
        grid.levels,
        learning_rate=0.5,
        num_steps=300,
        num_discarded=30,
        num_replicas=300,
        rng=np.random.default_rng(4),
    )
    # Up from -1 with chance 0.375, down from +1 with 0.125: three quarters of the time at +1.
    assert_mc_close(0.75, Estimate.from_samples(frequencies[:, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda rng: simulate.visit_frequencies(
                np.zeros_like, [1.0], learning_rate=1, num_steps=1, num_replicas=1, rng=rng
            ),
            "`levels` must be at least two levels of a line",
        ),
        (
            lambda rng: simulate.stationary_mean(
                np.zeros_like,
                np.zeros_like,
                [0.0],
                grid_step=1,
                learning_rate=1,
                num_steps=1,
                num_discarded=0,
                rng=rng,
            ),
            "`start` must be of shape",
        ),
        (
            lambda rng: simulate.one_step([1.0], learning_rate=1, grid_step=1, rng=rng, rule="bc"),
            "`rule` must be one of 'sr', 'r'",
        ),
    ],
)
def test_simulation_refuses_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
