"""The stored results of binary networks are those of the experiments, and can be arranged."""

import json
from importlib import resources

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from qtheory.datasets import binary_networks
from tools import binary_digits

EXPERIMENTS = sorted(binary_digits.EXPERIMENTS)
SMALL = {"num_steps": 30, "num_seeds": 2, "num_looks": 3}


@pytest.fixture(scope="module")
def stored():
    """Return the file as it is."""
    file = resources.files("qtheory") / "data" / "binary_digits.json"
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_experiment_is_stored_with_its_provenance(stored):
    provenance = dict(stored)["provenance"]
    assert sorted(set(stored) - {"provenance"}) == EXPERIMENTS
    assert {"what", "made_by", "function_version", "seeds", "data", "versions"} <= set(provenance)
    assert set(provenance["versions"]) == {"python", "numpy", "torch", "scikit-learn"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_stored_points_are_those_of_the_experiment(stored, name):
    recorded = [record["parameters"] for record in stored[name]]
    assert recorded == json.loads(json.dumps(binary_digits.EXPERIMENTS[name]()))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shares_are_shares_and_arrays_fit_together(name):
    networks = binary_networks(name)
    shape = networks.train_loss.shape
    assert shape[0] == len(networks.points)
    assert networks.steps.shape == (shape[0], shape[2])
    assert networks.test_accuracy.shape == shape
    assert networks.changed.shape[:3] == networks.flips.shape[:3] == shape
    assert (networks.train_loss > 0).all()
    for share in (networks.test_accuracy, networks.changed, networks.flips, networks.visited):
        assert ((share >= 0) & (share <= 1)).all()
    assert (networks.changed[:, :, -1] <= networks.visited + 1e-9).all()
    assert networks.refit_loss.shape == shape[:2]


def test_seeds_are_paired_over_experiments():
    methods, scales = binary_networks("methods"), binary_networks("latent_scales")
    same = methods.select(method="bc", batch_size=64), scales.select(latent_scale=1.0)
    assert_array_equal(*(one.train_loss[..., -1] for one in same))


def test_rounding_to_the_nearest_never_moves_at_the_usual_rate():
    for name in ("methods", "convnet", "fresh_readouts"):
        assert not binary_networks(name).select(method="r").visited.any()


def test_selections_keep_what_belongs_together():
    networks = binary_networks("schedules")
    chosen = networks.select(method="sr", decay_at=[])
    assert chosen.column("learning_rate") == [0.1, 0.01, 0.001, 0.0001]
    assert chosen.train_loss.shape[0] == 4
    assert_array_equal(chosen.changed[0], networks.changed[6])
    assert chosen.provenance == networks.provenance
    with pytest.raises(ValueError, match="read-only"):
        chosen.flips[0] = 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.column("depth"), "`name` must be one of base, batch_size"),
        (lambda n: n.select(depth=1), "`name` must be one of base, batch_size"),
        (lambda n: n.select(method="qat"), "`settings` must be those of at least one point"),
        (lambda n: binary_networks("imagenet"), "`experiment` must be one of 'batches', "),
    ],
)
def test_what_is_not_there_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(binary_networks("methods"))


def test_a_check_reports_what_has_changed(tmp_path, monkeypatch):
    points = [binary_digits.make_point("sr", refit_steps=10, **SMALL)]
    monkeypatch.setattr(binary_digits, "EXPERIMENTS", {"one": lambda: points})
    path = tmp_path / "stored.json"
    experiments = {"one": binary_digits.run("one", num_jobs=1, folder=tmp_path)}
    binary_digits.write(experiments, path, about=binary_digits.provenance())
    assert binary_digits.check(1, path) == []
    wrong = json.loads(path.read_text())
    assert len(wrong["one"][0]["refit_loss"]) == 2
    wrong["one"][0]["test_accuracy"] = [[0.0]]
    path.write_text(json.dumps(wrong))
    assert len(binary_digits.check(1, path)) == 1
    wrong["one"][0]["parameters"]["num_steps"] = 5
    path.write_text(json.dumps(wrong))
    assert binary_digits.check(1, path) == [
        "one: the stored points are not those of the experiment"
    ]


def test_a_fresh_readout_leaves_the_binary_weights():
    data = binary_digits.LabeledData(*binary_digits.datasets.digits_split())
    torch = binary_digits.torch
    model = binary_digits.binary_mlp(generator=torch.Generator().manual_seed(0))
    recipe = binary_digits.BinaryRecipe("sr", num_steps=10)
    binary_digits.train_binary(model, data, recipe, seed=0)
    before = model[0].weight.clone(), model[-1].weight.clone()
    state = torch.get_rng_state()
    loss = binary_digits.refit(model, data, num_steps=10, seed=0)
    assert np.isfinite(loss)
    assert torch.equal(model[0].weight, before[0])
    assert not torch.equal(model[-1].weight, before[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_retraining_a_point_gives_the_stored_result(stored):
    record = stored["methods"][1]
    new = binary_digits.train_point(**record["parameters"] | {"num_seeds": 1})
    # Another processor rounds differently.
    assert_allclose(new["test_accuracy"][0][-1], record["test_accuracy"][0][-1], atol=0.03, rtol=0)
