"""Training of binary networks: what each method does to the signs, and that it is counted right."""

import numpy as np
import pytest
from helpers import assert_mc_close
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.datasets import digits_split
from qtheory.meanfield.trainer import LabeledData
from qtheory.numerics import Estimate

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from torch import nn  # noqa: E402

from qtheory.nn.binary_training import (  # noqa: E402
    METHODS,
    BinaryRecipe,
    binary_convnet,
    binary_mlp,
    binary_parameters,
    make_optimizer,
    train_binary,
)

ROUNDING = ("bc", "sr", "r")
QUICK = {"num_steps": 40, "batch_size": 32}


@pytest.fixture(scope="module")
def data():
    """Return the first 256 images to train and 100 to test on."""
    inputs, labels, test_inputs, test_labels = digits_split()
    return LabeledData(inputs[:256], labels[:256], test_inputs[:100], test_labels[:100])


def network(build=binary_mlp, *, seed=0, **options):
    """Return a network drawn from a seed."""
    return build(generator=torch.Generator().manual_seed(seed), **options)


def trained(data, recipe, *, seed=0, num_looks=5, **options):
    """Return a run and the network that it has trained."""
    model = network(**options)
    return train_binary(model, data, recipe, seed=seed, num_looks=num_looks), model


# Unit.


def test_networks_have_the_stated_layers():
    assert [tuple(w.shape) for w in binary_parameters(network())] == [(128, 64), (128, 128)]
    convolutions = binary_parameters(network(binary_convnet))
    assert [tuple(w.shape) for w in convolutions] == [(16, 1, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3)]
    assert network(binary_convnet)(torch.zeros(2, 64)).shape == (2, 10)


def test_latent_scale_multiplies_the_same_draws():
    small, large = (binary_parameters(network(latent_scale=scale)) for scale in (1.0, 4.0))
    for a, b in zip(small, large, strict=True):
        assert a.abs().max() <= 1
        assert torch.equal(4 * a, b)


def test_rates_fall_by_ten_at_the_stated_steps():
    recipe = BinaryRecipe("bc", num_steps=100, decay_at=(0.5, 0.75))
    factors = [recipe.rate_factor(step) for step in (0, 49, 50, 74, 75, 99)]
    assert_allclose(factors, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-15)


def test_float_layers_have_their_own_rate_and_no_quantizer():
    recipe = BinaryRecipe("sr", learning_rate=0.3, readout_rate=0.02)
    optimizer = make_optimizer(network(), recipe, generator=torch.Generator())
    binary, others = optimizer.param_groups
    assert (binary["lr"], others["lr"], others["quantizer"]) == (0.3, 0.02, None)
    assert [tuple(w.shape) for w in others["params"]] == [(10, 128), (10,)]


@pytest.mark.parametrize("method", ROUNDING)
def test_rounded_weights_are_signs_and_the_readout_is_not(data, method):
    _, model = trained(data, BinaryRecipe(method, **QUICK))
    for weight in binary_parameters(model):
        assert set(weight.unique().tolist()) == {-1.0, 1.0}
    assert len(model[-1].weight.unique()) > 1000


def test_looks_are_evenly_spaced_and_read_only(data):
    run, _ = trained(data, BinaryRecipe("bc", **QUICK))
    assert run.steps.tolist() == [0, 10, 20, 30, 40]
    assert run.changed.shape == run.flips.shape == run.visited.shape == (5, 2)
    assert not run.changed[0].any()
    with pytest.raises(ValueError, match="read-only"):
        run.train_loss[0] = 0


def test_loss_and_accuracy_are_those_of_the_network_with_statistics_of_the_training_set(data):
    run, model = trained(data, BinaryRecipe("bc", **QUICK))
    x, test = (torch.tensor(part) for part in (data.train_inputs, data.test_inputs))
    labels = torch.tensor(data.train_labels)
    model.train()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(x).double(), labels)
        model.eval()
        accuracy = (model(test).argmax(1).numpy() == data.test_labels).mean()
    assert_allclose(run.train_loss[-1], float(loss), rtol=1e-5)
    assert run.test_accuracy[-1] == accuracy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "qat"}, "`method` must be one of 'float', 'bc', 'sr', 'r', got 'qat'"),
        ({"base": "lion"}, "`base` must be one of 'adam', 'sgd'"),
        ({"learning_rate": 0}, "`learning_rate` must be finite and above zero"),
        ({"readout_rate": -1}, "`readout_rate` must be finite and above zero"),
        ({"decay_at": (1.5,)}, "`decay_at` must be fractions between zero and one"),
        ({"batch_size": 1}, "`batch_size` must be an integer of at least 2"),
        ({"num_steps": 0}, "`num_steps` must be an integer of at least 1"),
        ({"method": "sr", "clip": True}, "`clip` must be False for a method without latent"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BinaryRecipe(**({"method": "bc"} | changes))


def test_arguments_out_of_range_are_refused(data):
    with pytest.raises(ValueError, match="`batch_size` must be at most the 256 training images"):
        trained(data, BinaryRecipe("bc", batch_size=257))
    with pytest.raises(ValueError, match="`num_looks` must be an integer of at least 2"):
        trained(data, BinaryRecipe("bc"), num_looks=1)
    with pytest.raises(ValueError, match="`seed` must be an integer of at least 0"):
        trained(data, BinaryRecipe("bc"), seed=-1)
    with pytest.raises(ValueError, match="`data` must be LabeledData"):
        trained(digits_split(), BinaryRecipe("bc"))
    with pytest.raises(ValueError, match="`model` must be one with at least two layers"):
        binary_parameters(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="`side` must be divisible by four"):
        network(binary_convnet, side=6)
    with pytest.raises(ValueError, match="`latent_scale` must be finite and above zero"):
        network(latent_scale=0.0)


# Properties.


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_the_same_run_again_and_another_seed_another(data, method):
    recipe = BinaryRecipe(method, **QUICK)
    first, again, other = (trained(data, recipe, seed=seed)[0] for seed in (0, 0, 1))
    for name in ("train_loss", "test_accuracy", "changed", "flips", "visited"):
        assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.train_loss, other.train_loss)


@pytest.mark.parametrize("method", METHODS)
def test_changed_is_at_most_visited_is_at_most_all_flips(data, method):
    run, _ = trained(data, BinaryRecipe(method, **QUICK))
    total = np.cumsum(run.flips * np.diff(run.steps, prepend=0)[:, None], axis=0)
    assert (run.changed <= run.visited).all()
    assert (run.visited <= total + 1e-12).all()
    assert (np.diff(run.visited, axis=0) >= 0).all()


@pytest.mark.parametrize("base", ["adam", "sgd"])
def test_scaling_start_and_rate_leaves_every_sign_of_binaryconnect_unchanged(data, base):
    # A power of two is exact in floating point.
    runs = [
        trained(
            data,
            BinaryRecipe("bc", learning_rate=0.05 * c, readout_rate=0.01, base=base, **QUICK),
            latent_scale=float(c),
        )
        for c in (1, 4)
    ]
    (run, model), (scaled, scaled_model) = runs
    assert run.changed[-1].min() > 0
    assert_array_equal(run.flips, scaled.flips)
    assert_array_equal(run.train_loss, scaled.train_loss)
    for a, b in zip(binary_parameters(model), binary_parameters(scaled_model), strict=True):
        assert torch.equal(4 * run.optimizer.latent(a), scaled.optimizer.latent(b))


def test_clipping_and_a_scaled_readout_break_the_invariance(data):
    settings = [{"clip": True, "readout_rate": 0.01}, {"readout_rate": None}]
    for options in settings:
        run, scaled = (
            trained(
                data,
                BinaryRecipe("bc", learning_rate=0.05 * c, **options, **QUICK),
                latent_scale=float(c),
            )[0]
            for c in (1, 4)
        )
        assert not np.array_equal(run.flips, scaled.flips)


# Theory against what happens.


def test_rounding_to_the_nearest_is_frozen_exactly_below_half_a_step(data):
    settings = {"method": "r", "readout_rate": 0.1, "decay_at": (), "base": "sgd"} | QUICK
    frozen, _ = trained(data, BinaryRecipe(learning_rate=1e-3, **settings))
    rate = 1 / frozen.largest_push  # half the step is one
    below, _ = trained(data, BinaryRecipe(learning_rate=rate * (1 - 1e-6), **settings))
    above, _ = trained(data, BinaryRecipe(learning_rate=rate * (1 + 1e-6), **settings))
    assert not below.visited.any()
    assert_array_equal(below.train_loss, frozen.train_loss)
    assert above.visited[-1].sum() > 0


def plain_binary_connect(model, data, recipe, order):
    """Train by hand, with latent weights beside the model, and return them."""
    weights = binary_parameters(model)
    latents = [weight.detach().clone().requires_grad_() for weight in weights]
    optimizer = torch.optim.Adam(
        [{"params": latents}, {"params": model[-1].parameters()}], lr=recipe.learning_rate
    )
    inputs, labels = torch.tensor(data.train_inputs), torch.tensor(data.train_labels)
    for chosen in order:
        for weight, latent in zip(weights, latents, strict=True):
            weight.data = torch.where(latent >= 0, 1.0, -1.0)
        model.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        for weight, latent in zip(weights, latents, strict=True):
            latent.grad = weight.grad
        optimizer.step()
    return latents


def test_binaryconnect_is_that_of_a_loop_written_by_hand(data):
    recipe = BinaryRecipe("bc", learning_rate=0.05, decay_at=(), num_steps=16, batch_size=32)
    run, model = trained(data, recipe)
    order = torch.Generator().manual_seed(1)
    batches = [
        part for _ in range(2) for part in torch.randperm(256, generator=order).reshape(8, 32)
    ]
    reference = plain_binary_connect(network(), data, recipe, batches)
    start = binary_parameters(network())
    for place, (weight, latent) in enumerate(zip(binary_parameters(model), reference, strict=True)):
        assert torch.equal(run.optimizer.latent(weight), latent)
        changed = ((latent >= 0) != (start[place] >= 0)).double().mean()
        assert run.changed[-1, place] == float(changed)


def test_stochastic_rounding_moves_as_often_as_its_updates_say(data):
    # One step of plain descent: a sign changes with probability rate * |gradient| / 2 if the
    # gradient pushes it inward, and never if it pushes outward.
    rate = 40.0
    recipe = BinaryRecipe(
        "sr", learning_rate=rate, base="sgd", num_steps=1, batch_size=256, decay_at=()
    )
    start = [torch.where(w.detach() >= 0, 1.0, -1.0) for w in binary_parameters(network())]
    runs = [trained(data, recipe, seed=seed, num_looks=2) for seed in range(40)]
    gradients = [weight.grad for weight in binary_parameters(runs[0][1])]
    for place, (sign, gradient) in enumerate(zip(start, gradients, strict=True)):
        theory = float(torch.relu(rate * gradient * sign / 2).clamp(max=1).double().mean())
        shares = np.array([run.changed[-1, place] for run, _ in runs])
        error = shares.std(ddof=1) / len(runs) ** 0.5
        estimate = Estimate(float(shares.mean()), float(error), len(runs))
        assert_mc_close(theory, estimate, rel_resolution=0.2)
        with pytest.raises(AssertionError):  # the neighboring formula, without the half
            assert_mc_close(2 * theory, estimate, rel_resolution=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_convolutional_network_learns_by_every_method(data, method):
    recipe = BinaryRecipe(method, num_steps=80, batch_size=32)
    run, _ = trained(data, recipe, build=binary_convnet)
    assert run.train_loss[-1] < 0.5 * run.train_loss[0]
    assert run.test_accuracy[-1] > 0.7
