"""Part 2: how signals propagate through wide networks with quantized or smooth activations."""

from qtheory.meanfield.activations import Activation

__all__ = ["Activation"]
