"""Quantized networks in PyTorch: activations, initialization, and a report on a model's signals.

The only part of the library that needs PyTorch: ``pip install qtheory[torch]``.
"""

from qtheory.nn.activation import QuantizedActivation
from qtheory.nn.initialization import (
    InitializationReport,
    InitializedActivation,
    InitializedLayer,
    initialize_,
)

__all__ = [
    "InitializationReport",
    "InitializedActivation",
    "InitializedLayer",
    "QuantizedActivation",
    "initialize_",
]
