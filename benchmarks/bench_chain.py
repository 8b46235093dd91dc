"""Speed of stationary laws of ten thousand states, against other solvers and the machine.

The other solvers are SciPy's sparse LU decomposition of the balance equations, with one of them
replaced by the sum, and steps of the chain itself: as many as the law needs to forget its start,
from the time of a few hundred and the spectral gap.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from run import Ratio, interleave
from scipy import sparse
from scipy.sparse import linalg

from qtheory.training import (
    GaussianNoise,
    RoundingChain,
    spectral_gap,
    sr_chain,
    stationary_law,
)

LINE = np.linspace(-1.0, 1.0, 10_000)
SIDE = np.linspace(-1.0, 1.0, 100)
NOISE = GaussianNoise(0.5)
NUM_STEPS = 200
NUM_ROUNDS = 3
DIGITS = 1e-12


def ratios() -> list[Ratio]:
    """Measure a line, a line with long moves, and a square."""
    line, side = ((axis[1] - axis[0]) / NOISE.std for axis in (LINE, SIDE))
    name = "law of 10^4 states"
    return [
        *law_ratios(f"{name} on a line", chain(LINE, LINE, 0.01 * line), (5, 500)),
        *law_ratios(f"{name} on a line, long moves", chain(LINE, LINE, 4 * line), (5, 10)),
        *law_ratios(f"{name} in a square", chain(coupled, (SIDE, SIDE), 0.01 * side), (0.15, 5)),
    ]


def chain(gradient: Any, axes: Any, rate: float) -> RoundingChain:
    """Return a chain at a learning rate."""
    return sr_chain(gradient, axes, learning_rate=rate, noise=NOISE)


def coupled(w: np.ndarray) -> np.ndarray:
    """Return the gradient of a parabola with a mixed term."""
    return w @ np.array([[1.0, 0.5], [0.5, 1.0]])


def law_ratios(name: str, chain: RoundingChain, targets: tuple[float, float]) -> list[Ratio]:
    """Time the law of a chain against a decomposition and against steps."""
    transposed = sparse.csr_array(chain.kernel.T)
    steps = math.log(1 / DIGITS) / spectral_gap(chain)
    seconds = interleave(
        {
            "law": lambda: stationary_law(chain),
            "decomposition": decomposition(chain),
            "steps": lambda: walk(transposed),
        },
        num_rounds=NUM_ROUNDS,
    )
    return [
        Ratio(name, "sparse LU", seconds["decomposition"] / seconds["law"], targets[0]),
        Ratio(
            name, "steps of it", steps / NUM_STEPS * seconds["steps"] / seconds["law"], targets[1]
        ),
    ]


def decomposition(chain: RoundingChain) -> Callable[[], np.ndarray]:
    """Return a solver of the balance equations of a chain."""
    count = chain.num_states
    balance = sparse.lil_array((chain.kernel - sparse.eye_array(count)).T)
    balance[count - 1] = 1.0
    right = np.zeros(count)
    right[-1] = 1.0
    system = sparse.csc_array(balance)
    return lambda: linalg.splu(system).solve(right)


def walk(transposed: sparse.csr_array) -> np.ndarray:
    """Take a few hundred steps of a law."""
    law = np.full(transposed.shape[0], 1 / transposed.shape[0])
    for _ in range(NUM_STEPS):
        law = transposed @ law
    return law
