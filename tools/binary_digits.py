"""Train the binary networks whose results the chapters show, and store them with the library.

``python -m tools.binary_digits`` trains every network below with :mod:`qtheory.nn.binary_training`
and writes ``qtheory/data/binary_digits.json``. Results are kept in ``build/sweeps`` while it runs,
so that an interrupted run goes on where it stopped. About twelve minutes on one core; ``--jobs 8``
takes eight cores. ``--check N`` trains every N-th point anew and compares it with what is stored.
Needs PyTorch, scikit-learn, joblib and tqdm.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from torch import nn

from qtheory import datasets
from qtheory.meanfield.trainer import LabeledData
from qtheory.nn.binary_training import (
    BinaryRecipe,
    BinaryRun,
    binary_convnet,
    binary_mlp,
    train_binary,
)
from qtheory.sweeps import run_sweep
from tools.sweeps import RUNNING, results, write

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "qtheory" / "data" / "binary_digits.json"
VERSION = "1"  # of train_point and what it calls; a new one trains everything anew

NETWORKS = {"mlp": binary_mlp, "convnet": binary_convnet}
METHODS = ("float", "bc", "sr", "r")
RATES = (0.1, 0.01, 0.001, 0.0001)
DECAY = [0.5, 0.75]

Point = dict[str, Any]


def train_point(
    *,
    network: str,
    latent_scale: float,
    num_seeds: int,
    num_looks: int,
    refit_steps: int = 0,
    **recipe: Any,
) -> dict[str, Any]:
    """Train the networks of one point, one seed after the other, in one thread."""
    data = LabeledData(*datasets.digits_split())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runs, refitted = [], []
    for seed in range(num_seeds):
        generator = torch.Generator().manual_seed(seed)
        model = NETWORKS[network](generator=generator, latent_scale=latent_scale)
        runs.append(
            train_binary(model, data, BinaryRecipe(**recipe), seed=seed, num_looks=num_looks)
        )
        if refit_steps:
            refitted.append(refit(model, data, num_steps=refit_steps, seed=seed))
    torch.set_num_threads(threads)
    extra = {"refit_loss": [float(f"{loss:.4g}") for loss in refitted]} if refit_steps else {}
    return stored_runs(runs) | extra


def refit(model: nn.Sequential, data: LabeledData, *, num_steps: int, seed: int) -> float:
    """Train a fresh readout above the binary weights as they are, and return the training loss.

    Rounding to the nearest at this rate is frozen, whatever the gradients are.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model[-1].reset_parameters()
    recipe = BinaryRecipe("r", learning_rate=0.01, num_steps=num_steps)
    return float(train_binary(model, data, recipe, seed=seed, num_looks=2).train_loss[-1])


def stored_runs(runs: Sequence[BinaryRun]) -> dict[str, Any]:
    """Return what is stored of the runs of a point, to four significant digits."""
    return {
        "steps": runs[0].steps.tolist(),
        "train_loss": [shortened(run.train_loss) for run in runs],
        "test_accuracy": [shortened(run.test_accuracy) for run in runs],
        "changed": [shortened(run.changed) for run in runs],
        "flips": [shortened(run.flips) for run in runs],
        "visited": [shortened(run.visited[-1]) for run in runs],
    }


def shortened(values: np.ndarray) -> list[Any]:
    """Return numbers to four significant digits."""
    return json.loads(json.dumps(values.tolist()), parse_float=lambda x: float(f"{float(x):.4g}"))


def make_point(method: str, **changes: Any) -> Point:
    """Return one point: the fully connected network with decaying rates, some settings changed."""
    point = {
        "method": method,
        "network": "mlp",
        "learning_rate": 0.01,
        "readout_rate": 0.01,
        "decay_at": DECAY,
        "batch_size": 64,
        "num_steps": 1500,
        "base": "adam",
        "latent_scale": 1.0,
        "num_seeds": 5,
        "num_looks": 6,
    }
    return point | changes


def methods() -> list[Point]:
    """Return all methods, and the two that keep gradient noise with eight times the batch."""
    pairs = [*((method, 64) for method in METHODS), ("bc", 512), ("sr", 512)]
    return [make_point(method, batch_size=size, num_looks=16) for method, size in pairs]


def convnet() -> list[Point]:
    """Return all methods on the convolutional network."""
    changes = {"network": "convnet", "num_steps": 1000, "num_seeds": 3, "num_looks": 16}
    pairs = [*((method, 64) for method in METHODS), ("sr", 512)]
    return [make_point(method, batch_size=size, **changes) for method, size in pairs]


def schedules() -> list[Point]:
    """Return constant rates over three decades, and decay from the two largest."""
    pairs = [*((rate, []) for rate in RATES), *((rate, DECAY) for rate in RATES[:2])]
    return [
        make_point(method, learning_rate=rate, decay_at=decay, num_looks=16)
        for method in ("bc", "sr")
        for rate, decay in pairs
    ]


def latent_scales() -> list[Point]:
    """Return BinaryConnect from latent weights of different size."""
    scales = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    return [make_point("bc", latent_scale=scale) for scale in scales]


def rates_of_rounding() -> list[Point]:
    """Return rounding to the nearest, below and above the rate at which it begins to move."""
    pairs = [*((rate, []) for rate in (0.5, 0.9, 1.05, 1.2, 4.0)), (1.05, DECAY), (1.2, DECAY)]
    return [make_point("r", learning_rate=rate, decay_at=decay) for rate, decay in pairs]


def batches() -> list[Point]:
    """Return batch sizes at the same number of steps, and at the same number of images."""
    pairs = [*((size, 1500) for size in (64, 256, 1024)), (256, 375), (1024, 94)]
    return [
        make_point(method, batch_size=size, num_steps=steps, num_seeds=3)
        for method in ("bc", "sr")
        for size, steps in pairs
    ]


def slowdown() -> list[Point]:
    """Return constant rates at the same product of rate and number of steps."""
    return [
        make_point(
            method,
            learning_rate=rate,
            readout_rate=None,
            decay_at=[],
            num_steps=round(15 / rate),
            num_seeds=3,
        )
        for method in ("bc", "sr")
        for rate in (0.04, 0.01, 0.0025)
    ]


def plain_descent() -> list[Point]:
    """Return gradient descent without Adam."""
    return [
        make_point(method, base="sgd", learning_rate=rate, readout_rate=0.1, num_seeds=3)
        for method in ("bc", "sr", "r")
        for rate in (1.0, 10.0)
    ]


def fresh_readouts() -> list[Point]:
    """Return networks whose readout is trained anew at the end, above frozen binary weights."""
    pairs = [("bc", 0.01, DECAY), ("sr", 0.01, DECAY)]
    pairs += [(method, rate, []) for method in ("bc", "sr") for rate in RATES[:3]]
    points = [make_point("r")]
    points += [make_point(m, learning_rate=rate, decay_at=decay) for m, rate, decay in pairs]
    return [point | {"refit_steps": 750} for point in points]


EXPERIMENTS: dict[str, Callable[[], list[Point]]] = {
    "methods": methods,
    "convnet": convnet,
    "schedules": schedules,
    "latent_scales": latent_scales,
    "rates_of_rounding": rates_of_rounding,
    "batches": batches,
    "slowdown": slowdown,
    "plain_descent": plain_descent,
    "fresh_readouts": fresh_readouts,
}


def run(name: str, *, num_jobs: int | None, folder: Path = RUNNING) -> list[dict[str, Any]]:
    """Run one experiment, or what is missing of it, and return parameters with results."""
    path = folder / f"binary_{name}.jsonl"
    settings = {"seed": None, "version": VERSION, "num_jobs": num_jobs}
    return results(train_point, EXPERIMENTS[name](), path=path, **settings)


def provenance() -> dict[str, Any]:
    """Say how the results were made, and with what."""
    return {
        "what": "Loss, accuracy and sign changes of small networks with binary weights, trained "
        "on handwritten digits by BinaryConnect, stochastic rounding and rounding to the nearest.",
        "made_by": "python -m tools.binary_digits",
        "function": "tools/binary_digits.py: train_point",
        "function_version": VERSION,
        "seeds": "0 to num_seeds - 1 in each point; the seed gives the initial weights, the "
        "batches and the rounding, so that points are paired by seed",
        "data": "sklearn.datasets.load_digits, split by qtheory.datasets.digits_split: "
        "1437 images to train, 360 to test, standardized as a whole",
        "training": "float32, one thread, settings in the parameters of each point",
        "columns": "first index the seed, then the look, then the layer with rounded weights; "
        "visited is at the end; refit_loss is the training loss of a fresh readout, trained for "
        "refit_steps above the binary weights of the end; four significant digits",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__.split("+")[0],
            "scikit-learn": sklearn.__version__,
        },
        "source": {
            "citation": "E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten "
            "Digits [data set]. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C50P49",
            "license": "CC-BY-4.0",
        },
        "license": "BSD-3-Clause, as the code",
    }


def check(every: int, path: Path = STORED) -> list[str]:
    """Train every so many points of the stored results anew, and say which differ.

    A different processor rounds differently, and training magnifies it: means over seeds of the
    final accuracy may differ by 0.03, those of the share of changed signs by 0.05.
    """
    stored = json.loads(path.read_text(encoding="utf-8"))
    problems = []
    for name, make in EXPERIMENTS.items():
        recorded = [record["parameters"] for record in stored[name]]
        points = json.loads(json.dumps(make()))
        if recorded != points:
            problems.append(f"{name}: the stored points are not those of the experiment")
            continue
        chosen = points[::every]
        done = run_sweep(train_point, chosen, seed=None, version=VERSION, progress=False)
        for point, new, old in zip(chosen, done.results, stored[name][::every], strict=True):
            problems += [f"{name}: {point}: {text}" for text in differences(new, old)]
    return problems


def differences(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """Return which final means of two results of one point differ by more than they may."""
    problems = []
    for quantity, limit in (("test_accuracy", 0.03), ("changed", 0.05)):
        a, b = (float(np.mean(np.array(result[quantity])[:, -1])) for result in (new, old))
        if abs(a - b) > limit:
            problems.append(f"{quantity} {a:.3f}, stored {b:.3f}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="number of processes, -1 for all cores")
    parser.add_argument("--check", type=int, metavar="N", help="only retrain every N-th point")
    options = parser.parse_args(arguments)
    if options.check:
        problems = check(options.check)
        print("\n".join(problems) or "Retraining gives the stored results.")
        return 1 if problems else 0
    start = time.monotonic()
    experiments = {name: run(name, num_jobs=options.jobs) for name in EXPERIMENTS}
    write(experiments, STORED, about=provenance())
    count = sum(map(len, experiments.values()))
    print(f"{count} points in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
