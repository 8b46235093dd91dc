"""Speed of training runs against the bare random numbers and gradients that they cannot do without.

The problem has 64 weights and 256 replicas. A run is timed over a few hundred steps; a million
steps cost the same each, since a run keeps nothing but sums.
"""

import numpy as np
from run import Ratio, interleave

from qtheory.quantizers import infinite_grid
from qtheory.training import (
    BinaryConnect,
    GaussianNoise,
    Quadratic,
    StochasticRounding,
    UpdateRule,
    descend,
)

SHAPE = (256, 64)
NUM_STEPS = 300
NUM_ROUNDS = 9
GRID = infinite_grid(0.25)
RULES: dict[str, tuple[UpdateRule, bool]] = {
    "SR": (StochasticRounding(GRID), True),
    "BC, nearest": (BinaryConnect(GRID), False),
    "BC, stochastic": (BinaryConnect(GRID, forward="stochastic"), True),
}


def ratios() -> list[Ratio]:
    """Measure the cost of steps with a diagonal and with a full Hessian."""
    curvatures = np.linspace(1, 4, SHAPE[1])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((SHAPE[1], SHAPE[1])))[0]
    full = (turn * curvatures) @ turn.T
    problems = {
        "diagonal": Quadratic(curvatures, minimizer=0.3),
        "full": Quadratic((full + full.T) / 2, minimizer=0.3),
    }
    return [
        rule_ratio(f"{name}, {kind} Hessian", rule, draws, problem)
        for kind, problem in problems.items()
        for name, (rule, draws) in RULES.items()
    ]


def rule_ratio(name: str, rule: UpdateRule, draws: bool, problem: Quadratic) -> Ratio:
    """Time a run against its gradients and random numbers alone."""
    rng, start = np.random.default_rng(0), np.zeros(SHAPE)

    def bare() -> None:
        for _ in range(NUM_STEPS):
            problem.gradient(start)
            rng.standard_normal(SHAPE)
            if draws:
                rng.random(SHAPE)

    def run() -> None:
        descend(
            problem.gradient,
            start,
            rule=rule,
            learning_rate=0.01,
            num_steps=NUM_STEPS,
            rng=rng,
            noise=GaussianNoise(),
        )

    seconds = interleave({"bare": bare, "run": run}, num_rounds=NUM_ROUNDS)
    return Ratio(
        f"256 x 64 steps of {name}", "numbers and gradients", seconds["bare"] / seconds["run"], 0.5
    )
