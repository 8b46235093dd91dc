"""The stored results of trained networks are those of the experiments, and can be arranged."""

import json
from importlib import resources

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from qtheory import datasets
from qtheory.datasets import TrainedNetworks, digits_split, trained_networks
from tools import sweeps

EXPERIMENTS = sorted(sweeps.EXPERIMENTS)


@pytest.fixture(scope="module")
def stored():
    """Return the file as it is."""
    file = resources.files("qtheory") / "data" / "training_sweeps.json"
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def small():
    """Return four points with two seeds and one checkpoint, made by hand."""
    points = tuple({"depth": d, "num_levels": n} for d, n in [(4, 2), (8, 2), (4, 16), (8, 16)])
    values = np.arange(8.0).reshape(4, 2, 1) / 10
    return TrainedNetworks(points, (100,), values.copy(), values / 2, values.copy(), {"seed": 1})


# --- The file -----------------------------------------------------------------------------------


def test_every_experiment_is_stored_with_its_provenance(stored):
    provenance = stored.pop("provenance")
    assert sorted(stored) == EXPERIMENTS
    assert {"what", "made_by", "function_version", "seed", "data", "versions"} <= set(provenance)
    assert set(provenance["versions"]) == {"python", "numpy", "scikit-learn", "joblib"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_stored_points_are_those_of_the_experiment(stored, name):
    recorded = [record["parameters"] for record in stored[name]]
    assert recorded == json.loads(json.dumps(sweeps.EXPERIMENTS[name]()))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_accuracies_are_fractions_and_nothing_diverged(name):
    networks = trained_networks(name)
    for values in (networks.train_accuracy, networks.test_accuracy):
        assert values.shape[0] == len(networks.points)
        assert values.shape[2] == len(networks.checkpoints)
        assert ((values >= 0) & (values <= 1)).all()
    assert np.isfinite(networks.losses).all()


@pytest.mark.slow
def test_retraining_a_point_gives_the_stored_accuracy(stored):
    record = stored["levels_by_depth"][0]
    done = sweeps.run_sweep(
        sweeps.train_point,
        [record["parameters"]],
        seed=sweeps.SEED,
        version=sweeps.VERSION,
        progress=False,
    )
    # Another processor rounds differently; far from the border that moves a few images.
    assert_allclose(done.results[0]["train_accuracy"], record["train_accuracy"], atol=0.05, rtol=0)


def test_a_check_reports_what_has_changed(tmp_path, monkeypatch):
    point = sweeps.make_point(2, 4, checkpoints=[20], num_seeds=1)
    monkeypatch.setattr(sweeps, "EXPERIMENTS", {"one": lambda: [point]})
    experiments = {"one": sweeps.run("one", num_jobs=1, folder=tmp_path)}
    path = tmp_path / "stored.json"
    sweeps.write(experiments, path)
    assert sweeps.check(1, path) == []
    wrong = json.loads(path.read_text())
    wrong["one"][0]["train_accuracy"] = [[0.99]]
    path.write_text(json.dumps(wrong))
    assert len(sweeps.check(1, path)) == 1
    wrong["one"][0]["parameters"]["depth"] = 5
    path.write_text(json.dumps(wrong))
    assert sweeps.check(1, path) == ["one: the stored points are not those of the experiment"]


# --- Reading it ---------------------------------------------------------------------------------


def test_an_experiment_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"`experiment` must be one of 'initializations', "):
        trained_networks("imagenet")


def test_results_are_read_only(small):
    with pytest.raises(ValueError, match="read-only"):
        small.train_accuracy[0] = 1


def test_columns_and_selections(small):
    assert_array_equal(small.column("depth"), [4, 8, 4, 8])
    chosen = small.select(num_levels=16, depth=8)
    assert_array_equal(chosen.train_accuracy[..., 0], [[0.6, 0.7]])
    assert chosen.provenance == {"seed": 1}


def test_table_is_arranged_by_two_settings(small):
    table = small.table("depth", "num_levels", small.train_accuracy[:, :, 0])
    assert_array_equal(table[:, :, 0], [[0.0, 0.4], [0.2, 0.6]])
    part = TrainedNetworks(
        small.points[:3],
        (100,),
        small.train_accuracy[:3].copy(),
        small.test_accuracy[:3].copy(),
        small.losses[:3].copy(),
        {},
    )
    assert_array_equal(part.table("depth", "num_levels", [1, 2, 3]), [[1, 3], [2, np.nan]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.column("width"), r"`name` must be one of depth, num_levels, got 'width'"),
        (lambda s: s.select(depth=5), r"`settings` must be those of at least one point"),
        (lambda s: s.table("depth", "depth", [1, 2, 3, 4]), r"`column` must be a setting that"),
        (lambda s: s.table("depth", "num_levels", [1]), r"`values` must be of shape \(4, ...\)"),
    ],
)
def test_what_is_not_there_is_refused_with_a_sentence(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(small)


# --- The images ---------------------------------------------------------------------------------


def test_split_is_a_partition_and_standardized():
    train, train_labels, test, test_labels = digits_split()
    assert train.mean() == pytest.approx(0, abs=1e-12)
    assert train.std() == pytest.approx(1, abs=1e-12)
    assert abs(test.mean()) < 0.05
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scale = (images.max() - images.min()) / (max(train.max(), test.max()) - train.min())
    pixels = np.rint((np.concatenate([train, test]) - train.min()) * scale)
    ours = np.column_stack([pixels, np.concatenate([train_labels, test_labels])])
    theirs = np.column_stack([images, labels])
    assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_split_depends_on_the_seed_alone():
    first, again, other = (digits_split(seed=seed)[1] for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_test": 0}, r"`num_test` must be an integer of at least 1"),
        ({"num_test": 1797}, r"`num_test` must be an integer of at most 1796"),
        ({"seed": -1}, r"`seed` must be an integer of at least 0"),
    ],
)
def test_splits_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.digits_split(**options)
