"""Statements that fail: each does, by the number stated, and its replacement holds."""

import math

import numpy as np
import pytest

from qtheory.quantizers import infinite_grid
from qtheory.training import (
    BinaryConnect,
    DeterministicRounding,
    Quadratic,
    descend,
    frozen_counterexample,
    inverse_time,
    nearest_counterexample,
    schedule_counterexample,
    unit_counterexample,
)

EXAMPLES = [
    frozen_counterexample,
    nearest_counterexample,
    schedule_counterexample,
    unit_counterexample,
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_statements_fail_and_their_replacements_hold(example):
    found = example()
    assert found.fails
    assert found.allowed < found.reached <= found.proved
    assert found.statement.endswith(".")
    assert found.objective


def test_where_the_statements_do_not_fail():
    # Negative controls: each example depends on its setting.
    assert not unit_counterexample(scale=1.0).fails
    assert not schedule_counterexample(rate_constant=0.1).fails
    assert not frozen_counterexample(start_code=1, num_steps=10).fails
    assert not nearest_counterexample(num_steps=10).fails


@pytest.mark.golden
def test_numbers():
    assert schedule_counterexample().reached == pytest.approx(0.19145, abs=5e-6)
    assert schedule_counterexample().allowed == pytest.approx(0.15050, abs=5e-6)
    assert nearest_counterexample().reached == pytest.approx(0.02, abs=1e-15)
    example = unit_counterexample()
    assert example.reached == pytest.approx(0.0027977531, abs=5e-11)
    assert example.allowed == pytest.approx(0.00262138, abs=1e-8)
    assert frozen_counterexample().proved == math.inf


def test_frozen_weight_stays_in_training():
    run = descend(
        Quadratic([1.0]).gradient,
        np.ones((1, 1)),
        rule=DeterministicRounding(infinite_grid(0.125)),
        learning_rate=inverse_time(1.0, offset=20.0),
        num_steps=100,
        rng=np.random.default_rng(0),
    )
    assert 0.5 * run.weights.item() ** 2 == frozen_counterexample().reached


def test_threshold_is_reached_in_training():
    run = descend(
        Quadratic([1.0], minimizer=0.3).gradient,
        np.zeros((1, 1)),
        rule=BinaryConnect(infinite_grid(1.0)),
        learning_rate=inverse_time(1.0),
        num_steps=5000,
        rng=np.random.default_rng(0),
    )
    excess = 0.5 * (run.latent_average.item() - 0.3) ** 2
    assert excess == pytest.approx(nearest_counterexample().reached, abs=0, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frozen_counterexample(start_code=10), "`start_code` must be below half"),
        (lambda: frozen_counterexample(grid_step=0.0), "`grid_step` must be finite"),
        (lambda: schedule_counterexample(num_steps=0), "`num_steps` must be an integer"),
        (lambda: nearest_counterexample(grid_step=-1.0), "`grid_step` must be finite"),
        (lambda: nearest_counterexample(minimizer=2.0), "`minimizer` must be neither on the grid"),
        (lambda: nearest_counterexample(minimizer=-0.5), "`minimizer` must be neither on the grid"),
        (lambda: nearest_counterexample(minimizer=math.nan), "`minimizer` must be finite"),
        (lambda: unit_counterexample(scale=0.0), "`scale` must be finite"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
