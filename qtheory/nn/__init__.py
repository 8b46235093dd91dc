"""Quantized networks in PyTorch: activations, initialization, a report on signals, optimizers.

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
from qtheory.nn.optimizers import (
    BinaryConnect,
    DeterministicRounding,
    StochasticRounding,
    UpdateCounts,
)
from qtheory.nn.propagation import (
    CorrelationDecay,
    LayerPropagation,
    PropagationReport,
    propagation_report,
)

__all__ = [
    "BinaryConnect",
    "CorrelationDecay",
    "DeterministicRounding",
    "InitializationReport",
    "InitializedActivation",
    "InitializedLayer",
    "LayerPropagation",
    "PropagationReport",
    "QuantizedActivation",
    "StochasticRounding",
    "UpdateCounts",
    "initialize_",
    "propagation_report",
]
