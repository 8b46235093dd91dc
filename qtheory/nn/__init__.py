"""Quantized networks in PyTorch: activations, initialization, and a report on a model's signals.

The only part of the library that needs PyTorch: ``pip install qtheory[torch]``.
"""

from qtheory.nn import _requirement  # noqa: F401  # first, to say what is missing
from qtheory.nn.activation import QuantizedActivation
from qtheory.nn.initialization import (
    InitializationReport,
    InitializedActivation,
    InitializedLayer,
    initialize_,
)
from qtheory.nn.propagation import (
    CorrelationDecay,
    LayerPropagation,
    PropagationReport,
    propagation_report,
)

__all__ = [
    "CorrelationDecay",
    "InitializationReport",
    "InitializedActivation",
    "InitializedLayer",
    "LayerPropagation",
    "PropagationReport",
    "QuantizedActivation",
    "initialize_",
    "propagation_report",
]
