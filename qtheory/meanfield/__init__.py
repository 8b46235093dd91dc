"""Part 2: how signals propagate through wide networks with quantized or smooth activations."""

from qtheory.meanfield.activations import Activation
from qtheory.meanfield.staircases import (
    Staircase,
    UniformStaircase,
    sign,
    uniform_staircase,
    unsigned_staircase,
)

__all__ = [
    "Activation",
    "Staircase",
    "UniformStaircase",
    "sign",
    "uniform_staircase",
    "unsigned_staircase",
]
