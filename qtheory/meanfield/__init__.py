"""Part 2: how signals propagate through wide networks with quantized or smooth activations."""

from qtheory.meanfield.activations import Activation
from qtheory.meanfield.fixed_points import (
    FixedPoint,
    SteadyState,
    correlation_fixed_points,
    steady_state,
    variance_fixed_points,
)
from qtheory.meanfield.maps import (
    Trajectory,
    correlation_map,
    correlation_map_slope,
    depth_scale,
    propagate,
    variance_map,
    variance_map_slope,
)
from qtheory.meanfield.noise import (
    NoisySign,
    OptimalStochasticSpacing,
    StochasticStaircase,
    optimal_stochastic_spacing,
    stochastic_staircase,
)
from qtheory.meanfield.optimum import (
    OptimalSpacing,
    optimal_spacing,
    optimal_spacings,
    spacing_deficit,
    spacing_slope,
)
from qtheory.meanfield.scale import (
    OptimalScale,
    OptimalUnsigned,
    optimal_scale,
    optimal_unsigned,
    staircase_from_affine,
    staircase_from_format,
)
from qtheory.meanfield.staircases import (
    Staircase,
    UniformStaircase,
    sign,
    uniform_staircase,
    unsigned_staircase,
)

__all__ = [
    "Activation",
    "FixedPoint",
    "NoisySign",
    "OptimalScale",
    "OptimalSpacing",
    "OptimalStochasticSpacing",
    "OptimalUnsigned",
    "Staircase",
    "SteadyState",
    "StochasticStaircase",
    "Trajectory",
    "UniformStaircase",
    "correlation_fixed_points",
    "correlation_map",
    "correlation_map_slope",
    "depth_scale",
    "optimal_scale",
    "optimal_spacing",
    "optimal_spacings",
    "optimal_stochastic_spacing",
    "optimal_unsigned",
    "propagate",
    "sign",
    "spacing_deficit",
    "spacing_slope",
    "staircase_from_affine",
    "staircase_from_format",
    "steady_state",
    "stochastic_staircase",
    "uniform_staircase",
    "unsigned_staircase",
    "variance_fixed_points",
    "variance_map",
    "variance_map_slope",
]
