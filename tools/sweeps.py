"""Train the networks whose results the chapters show, and store the results with the library.

``python -m tools.sweeps`` runs every experiment below through :mod:`qtheory.sweeps` and writes
``qtheory/data/training_sweeps.json``. Results are kept in ``build/sweeps`` while it runs, so that
an interrupted run goes on where it stopped. Less than twenty minutes on one core; ``--jobs 8``
takes eight cores, ``--scheduler tcp://host:8786`` a Dask cluster. ``--check N`` trains every
N-th point anew and compares it with what is stored. Needs scikit-learn, joblib and tqdm.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from threadpoolctl import threadpool_limits

from qtheory import datasets
from qtheory.meanfield import optimal_spacing, uniform_staircase, variance_fixed_points
from qtheory.meanfield.backward import balanced_slope
from qtheory.meanfield.trainer import (
    Architecture,
    Descent,
    Initialization,
    LabeledData,
    initialize,
    straight_through_staircase,
    train,
)
from qtheory.sweeps import run_sweep

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "qtheory" / "data" / "training_sweeps.json"
RUNNING = ROOT / "build" / "sweeps"
SEED = 7
VERSION = "1"  # of train_point and what it calls; a new one trains everything anew

NUM_LEVELS = (2, 3, 4, 5, 6, 8, 16)
DEPTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LARGEST_MULTIPLE = 16  # a network deeper than so many depth scales is not trained
FACTORS = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5)

Point = dict[str, Any]


def train_point(*, rng: np.random.Generator, **point: Any) -> dict[str, Any]:
    """Train the networks of one point, all seeds side by side, in one thread."""
    inputs, labels, *test = datasets.digits_split()
    count = point.get("num_train", len(labels))
    data = LabeledData(inputs[:count], labels[:count], *test)
    rngs = rng.spawn(point["num_seeds"])
    sizes = Architecture(
        num_inputs=data.train_inputs.shape[1],
        num_classes=10,
        width=point["width"],
        depth=point["depth"],
        quantized_logits=point["quantized_logits"],
    )
    staircase = straight_through_staircase(point["num_levels"], slope=point["slope"])
    law = Initialization(
        weight_variance=point["weight_variance"],
        fan_in_bias_variance=point["fan_in_bias_variance"],
        first_variance=point["first_variance"],
        law=point["law"],
    )
    descent = Descent(point["learning_rate"], point["momentum"], point["batch_size"])
    with threadpool_limits(1):
        network = initialize(sizes, staircase, law, inputs=data.train_inputs, rngs=rngs)
        result = train(network, data, descent, checkpoints=point["checkpoints"], rngs=rngs)
    losses = result.losses.reshape(len(rngs), -1, 20).mean(axis=2)
    return {
        "train_accuracy": rounded(result.train_accuracy),
        "test_accuracy": rounded(result.test_accuracy),
        "mean_losses": rounded(losses[:, :: max(1, losses.shape[1] // 10)]),
        "diverged_at": result.diverged_at.tolist(),
    }


def rounded(values: np.ndarray) -> list[list[float | None]]:
    """Return numbers to four decimals, and ``None`` where there is none."""
    return [[round(float(x), 4) if np.isfinite(x) else None for x in row] for row in values]


def make_point(num_levels: int, depth: int, **changes: Any) -> Point:
    """Return one point at the optimal initialization, with some settings changed."""
    best = optimal_spacing(num_levels)
    point = {
        "num_levels": num_levels,
        "depth": depth,
        "width": 128,
        "weight_variance": best.weight_variance,
        "fan_in_bias_variance": 0.0,
        "first_variance": best.variance,
        "law": "normal",
        "slope": balanced_slope(best.variance, weight_variance=best.weight_variance),
        "quantized_logits": False,
        "learning_rate": min(0.02, 0.3 / depth),
        "momentum": 0.5,
        "batch_size": 32,
        "checkpoints": [100, 200, 400],
        "num_seeds": 3,
    } | changes
    # Eight digits, so that a point does not depend on the last bit of the theory.
    return {name: shortened(value) for name, value in point.items()}


def shortened(value: Any) -> Any:
    """Return a number to eight significant digits, anything else as it is."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


def detuned(num_levels: int, depth: int, factor: float, balance: bool) -> Point:
    """Return a point with all weight standard deviations multiplied by a factor."""
    weight_variance = factor**2 * make_point(num_levels, depth)["weight_variance"]
    fixed = variance_fixed_points(uniform_staircase(num_levels), weight_variance=weight_variance)
    variance = max(point.value for point in fixed if point.is_stable)
    slope = balanced_slope(variance, weight_variance=weight_variance) if balance else 1.0
    return make_point(
        num_levels,
        depth,
        weight_variance=weight_variance,
        first_variance=variance,
        slope=slope,
        checkpoints=[100, 200],
    ) | {"factor": factor, "balanced": balance}


def by_default(num_levels: int, depth: int, optimal: bool) -> Point:
    """Return a point with the initialization of frameworks, or the optimal one beside it."""
    law = {
        "weight_variance": 1 / 3,
        "fan_in_bias_variance": 1 / 3,
        "first_variance": None,
        "law": "uniform",
        "slope": 1.0,
    }
    point = make_point(num_levels, depth, num_seeds=5, **({} if optimal else law))
    return point | {"optimal": optimal}


def levels_by_depth() -> list[Point]:
    """Return the grid of levels and depths, down to a multiple of the depth scale."""
    return [
        make_point(num_levels, depth, checkpoints=[100, 200, 400, 800])
        for num_levels in NUM_LEVELS
        for depth in DEPTHS
        if depth <= LARGEST_MULTIPLE * optimal_spacing(num_levels).depth_scale
    ]


def widths() -> list[Point]:
    """Return narrower and wider networks, with few and with many levels."""
    return [
        make_point(num_levels, depth, width=width, num_seeds=2)
        for num_levels, depths in ((4, (16, 32, 48)), (16, (32, 64, 128)))
        for width in (32, 64, 256)
        for depth in depths
    ]


def weight_variances() -> list[Point]:
    """Return networks whose weights are too small or too large, with and without a new slope."""
    return [
        detuned(num_levels, depth, factor, balance)
        for num_levels, depth in ((4, 16), (16, 32))
        for balance in (False, True)
        for factor in FACTORS
    ]


def initializations() -> list[Point]:
    """Return the default initialization beside the optimal one."""
    return [
        by_default(num_levels, depth, optimal)
        for num_levels in (4, 16)
        for optimal in (False, True)
        for depth in (2, 4, 8, 16, 32)
    ]


def learning_rates() -> list[Point]:
    """Return a learning rate that does not shrink with depth; the grid has the one that does."""
    return [
        make_point(16, depth, learning_rate=0.02, checkpoints=[100, 200])
        for depth in (16, 24, 32, 48, 64)
    ]


def slow_learning() -> list[Point]:
    """Return deep networks that learn at three tenths of the rate of the grid."""
    return [
        make_point(num_levels, depth, learning_rate=0.09 / depth, checkpoints=[100, 200, 400, 800])
        for num_levels in (6, 16)
        for depth in (96, 128)
    ]


def logits() -> list[Point]:
    """Return networks whose scores are quantized too, as in the code of the paper."""
    return [make_point(4, depth, quantized_logits=True) for depth in (8, 16, 32, 48)]


def small_training_sets() -> list[Point]:
    """Return networks that have few images to learn and much time, with two and with 16 levels."""
    return [
        make_point(num_levels, depth, checkpoints=[100, 400, 1600]) | {"num_train": 64}
        for num_levels in (2, 16)
        for depth in (4, 8, 12, 16)
    ]


EXPERIMENTS: dict[str, Callable[[], list[Point]]] = {
    "levels_by_depth": levels_by_depth,
    "widths": widths,
    "weight_variances": weight_variances,
    "initializations": initializations,
    "learning_rates": learning_rates,
    "slow_learning": slow_learning,
    "logits": logits,
    "small_training_sets": small_training_sets,
}


def run(name: str, *, num_jobs: int | None, folder: Path = RUNNING) -> list[dict[str, Any]]:
    """Run one experiment, or what is missing of it, and return parameters with results."""
    path = folder / f"{name}.jsonl"
    settings = {"seed": SEED, "version": VERSION, "num_jobs": num_jobs}
    return results(train_point, EXPERIMENTS[name](), path=path, **settings)


def results(
    function: Callable[..., dict[str, Any]], points: list[Point], *, path: Path, **settings: Any
) -> list[dict[str, Any]]:
    """Run a sweep that goes on where it stopped, and return parameters with results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = run_sweep(function, points, path=path, **settings)
    return [
        {"parameters": point, **result}
        for point, result in zip(done.parameters, done.results, strict=True)
    ]


def cluster(scheduler: str | None) -> Any:
    """Return the context in which sweeps run: a Dask cluster, or this machine."""
    if scheduler is None:
        return nullcontext()
    from distributed import Client

    Client(scheduler)
    return joblib.parallel_config(backend="dask")


def provenance() -> dict[str, Any]:
    """Say how the results were made, and with what."""
    return {
        "what": "Accuracies of fully connected networks with staircase activations, trained on "
        "handwritten digits with a straight-through derivative.",
        "made_by": "python -m tools.sweeps",
        "function": "tools/sweeps.py: train_point",
        "function_version": VERSION,
        "seed": SEED,
        "data": "sklearn.datasets.load_digits, split by qtheory.datasets.digits_split: "
        "1437 images to train, 360 to test, standardized as a whole",
        "training": "float32, stochastic gradient descent with momentum on cross entropy, "
        "all other settings in the parameters of each point",
        "columns": "one row a seed, one column a checkpoint; mean_losses are means of 20 steps, "
        "at most eleven of them, evenly spaced",
        "not_trained": f"networks deeper than {LARGEST_MULTIPLE} depth scales",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "joblib": joblib.__version__,
        },
        "source": {
            "citation": "E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten "
            "Digits [data set]. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C50P49",
            "license": "CC-BY-4.0",
        },
        "license": "BSD-3-Clause, as the code",
    }


def write(
    experiments: dict[str, list[dict[str, Any]]],
    path: Path = STORED,
    *,
    about: dict[str, Any] | None = None,
) -> None:
    """Write the stored results and how they were made: readable, one point a line."""
    lines = [f'"provenance": {json.dumps(about or provenance(), indent=2)}']
    for name, records in experiments.items():
        rows = ",\n".join(json.dumps(record) for record in records)
        lines.append(f'"{name}": [\n{rows}\n]')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    json.loads(text)
    path.write_text(text, encoding="utf-8")


def check(every: int, path: Path = STORED) -> list[str]:
    """Train every so many points of the stored results anew, and say which differ.

    A different processor rounds differently, and training magnifies it: accuracies may differ by
    a tenth on average over seeds and checkpoints.
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
        done = run_sweep(train_point, chosen, seed=SEED, version=VERSION)
        for point, new, old in zip(chosen, done.results, stored[name][::every], strict=True):
            pair = [mean_accuracy(result) for result in (new, old)]
            if abs(pair[0] - pair[1]) > 0.1:
                problems.append(f"{name}: {point}: accuracy {pair[0]:.3f}, stored {pair[1]:.3f}")
    return problems


def mean_accuracy(result: dict[str, Any]) -> float:
    """Return the training accuracy averaged over seeds and checkpoints, zero where diverged."""
    return float(np.mean([x or 0.0 for row in result["train_accuracy"] for x in row]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="number of processes, -1 for all cores")
    parser.add_argument("--scheduler", help="address of the scheduler of a Dask cluster")
    parser.add_argument("--check", type=int, metavar="N", help="only retrain every N-th point")
    options = parser.parse_args(arguments)
    if options.check:
        problems = check(options.check)
        print("\n".join(problems) or "Retraining gives the stored results.")
        return 1 if problems else 0
    start = time.monotonic()
    with cluster(options.scheduler):
        experiments = {name: run(name, num_jobs=options.jobs) for name in EXPERIMENTS}
    write(experiments)
    count = sum(map(len, experiments.values()))
    print(f"{count} points in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
