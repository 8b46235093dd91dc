"""Cost of rounding weights after each update, against the bare optimizer and a training step.

The first rows time updates alone, of two matrices of a million weights each: the worst case, since
nothing is computed but the update. The last rows time steps of training, forward and backward
passes included, of a small network on batches of 256, where the share of the optimizer is small.
Torch works with one thread; without torch there are no rows.
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from run import Ratio, interleave

from qtheory.quantizers import BFLOAT16, sign, uniform_midtread

SIDE = 1024
NUM_ROUNDS = 9
FEW_LEVELS = uniform_midtread(bit_width=4, step_size=0.25)


def ratios() -> list[Ratio]:
    """Measure updates alone and whole steps of training."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*update_ratios(), *training_ratios()]
    finally:
        torch.set_num_threads(num_threads)


def wrappers() -> dict[str, tuple[Callable[[Any], Any], float, float]]:
    """Return each way to wrap, with targets for an update alone and for a step of training."""
    import torch

    from qtheory.nn import BinaryConnect, DeterministicRounding, StochasticRounding

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    return {
        "BC, two levels": (lambda base: BinaryConnect(base, sign(), clip=1.0), 0.15, 0.4),
        "BC, sixteen levels": (lambda base: BinaryConnect(base, FEW_LEVELS), 0.15, 0.4),
        "R, sixteen levels": (lambda base: DeterministicRounding(base, FEW_LEVELS), 0.15, 0.4),
        "SR, two levels": (
            lambda base: StochasticRounding(base, sign(), generator=seeded()),
            0.08,
            0.3,
        ),
        "SR, sixteen levels": (
            lambda base: StochasticRounding(base, FEW_LEVELS, generator=seeded()),
            0.06,
            0.3,
        ),
        "SR, bfloat16": (
            lambda base: StochasticRounding(base, BFLOAT16, generator=seeded()),
            0.06,
            0.3,
        ),
    }


def update_ratios() -> list[Ratio]:
    """Measure updates of two large matrices by Adam."""
    import torch

    def updates(wrap: Callable[[Any], Any]) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(SIDE, SIDE, generator=generator) for _ in range(2)]
        parameters = [torch.nn.Parameter(values) for values in weights]
        for parameter in parameters:
            parameter.grad = torch.randn(SIDE, SIDE, generator=generator)
        step: Callable[[], object] = wrap(torch.optim.Adam(parameters, lr=1e-3)).step
        return step

    actions = {name: updates(wrap) for name, (wrap, *_) in wrappers().items()}
    seconds = interleave({"bare": updates(lambda base: base), **actions}, num_rounds=NUM_ROUNDS)
    targets = {name: target for name, (_, target, _) in wrappers().items()}
    return compared(seconds, targets, what="update", against="Adam alone")


def training_ratios() -> list[Ratio]:
    """Measure steps of training of a network with two hidden layers of 256."""
    import torch
    from torch import nn

    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(2))
    y = torch.randint(0, 10, (256,), generator=torch.Generator().manual_seed(3))

    def training(wrap: Callable[[Any], Any]) -> Callable[[], object]:
        sizes = [(64, 256), (256, 256)]
        layers = [part for n, m in sizes for part in (nn.Linear(n, m), nn.ReLU())]
        model = nn.Sequential(*layers, nn.Linear(256, 10))
        optimizer = wrap(torch.optim.Adam(model.parameters(), lr=1e-3))

        def step() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        return step

    actions = {name: training(wrap) for name, (wrap, *_) in wrappers().items()}
    seconds = interleave({"bare": training(lambda base: base), **actions}, num_rounds=25)
    targets = {name: target for name, (*_, target) in wrappers().items()}
    return compared(seconds, targets, what="training step", against="the same with Adam")


def compared(
    seconds: Mapping[str, float], targets: Mapping[str, float], *, what: str, against: str
) -> list[Ratio]:
    """Return the speed of each action over that of the bare one."""
    return [
        Ratio(f"{what}, {name}", against, seconds["bare"] / seconds[name], target)
        for name, target in targets.items()
    ]
