"""Run the benchmarks and print ratios, each measured in this process: ``python benchmarks/run.py``.

A number of seconds says little on another machine; a ratio to something measured at the same moment
says more. Each benchmark module has a function ``ratios`` that returns rows for the table.
"""

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

BENCHMARKS = (
    "bench_rounding",
    "bench_meanfield",
    "bench_chain",
    "bench_training",
    "bench_optimizers",
)


class Ratio(NamedTuple):
    """One row: what was measured, against what, the ratio of speeds, and what it should be."""

    name: str
    against: str
    value: float
    target: float


def interleave(actions: Mapping[str, Callable[[], object]], *, num_rounds: int) -> dict[str, float]:
    """Time actions in turn, so that a busy moment of the machine hits all of them.

    Parameters
    ----------
    actions : mapping
        What to time, by name. Each is run once beforehand, to load and compile.
    num_rounds : int
        How often each is timed.

    Returns
    -------
    dict
        Median of each, in seconds.
    """
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(num_rounds):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def main() -> int:
    """Print the table; return 1 if a ratio is below its target."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    rows = [row for name in BENCHMARKS for row in importlib.import_module(name).ratios()]
    print(f"{'benchmark':<52}{'against':<22}{'ratio':>10}{'target':>8}")
    for row in rows:
        mark = "" if row.value >= row.target else "  below target"
        print(f"{row.name:<52}{row.against:<22}{row.value:>10.3g}{row.target:>8.3g}{mark}")
    return int(any(row.value < row.target for row in rows))


if __name__ == "__main__":
    sys.exit(main())
