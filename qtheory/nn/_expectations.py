"""What the mean-field theory says of one step between two layers of a given model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from qtheory.meanfield import (
    Activation,
    correlation_fixed_points,
    correlation_map,
    straight_through_gain,
    variance_map,
)
from qtheory.nn._targets import smooth_theory
from qtheory.nn.activation import QuantizedActivation

__all__ = ["StepTheory", "has_theory", "step_theory"]

FloatArray = NDArray[np.float64]

MAX_GROUPS = 64
"""Inputs of similar size are taken together, so that a large batch costs no more."""
NUM_ANGLES = 33
"""Angles between inputs at which the correlation map is computed; in between it is a line."""


@dataclass(frozen=True, eq=False)
class StepTheory:
    """The theory of an activation followed by a layer with weights.

    Parameters
    ----------
    activation : Activation
        Object of the mean-field theory.
    slope, window : float or None
        Straight-through derivative; ``None`` for the derivative of the activation itself.
    weight_variance, bias_variance : float
        Measured second moments of the weights, times the fan-in, and of the biases.
    """

    activation: Activation
    slope: float | None
    window: float | None
    weight_variance: float
    bias_variance: float

    def second_moment(self, variances: FloatArray) -> float:
        """Return the mean pre-activation variance of inputs of given variances."""
        values, counts = _grouped(variances, np.ones_like(variances))
        after = variance_map(
            self.activation,
            values,
            weight_variance=self.weight_variance,
            bias_variance=self.bias_variance,
        )
        return float(np.average(after, weights=counts))

    def correlations(self, correlations: FloatArray, variance: float) -> FloatArray:
        """Return the correlations of the next layer."""
        angles = np.arccos(np.clip(correlations, -1, 1))
        nodes = np.linspace(angles.min(), angles.max(), NUM_ANGLES)
        after = correlation_map(
            self.activation,
            np.cos(nodes),
            variance=variance,
            weight_variance=self.weight_variance,
            bias_variance=self.bias_variance,
        )
        return np.asarray(np.interp(angles, nodes, after))

    def limit(self, variance: float) -> float:
        """Return the correlation that does not change any more."""
        odd = self.activation.mean(variance) ** 2 <= 1e-12 * self.activation.second_moment(variance)
        if odd and self.bias_variance == 0:
            return 0.0
        points = correlation_fixed_points(
            self.activation,
            variance=variance,
            weight_variance=self.weight_variance,
            bias_variance=self.bias_variance,
        )
        return min((point.value for point in points if point.value >= 0), default=0.0)

    def gain(self, variances: FloatArray, powers: FloatArray) -> float:
        """Return the gain of gradients whose powers are given for inputs of given variances."""
        values, weights = _grouped(variances, powers)
        if self.slope is None or self.window is None:
            gains = self.weight_variance * self.activation.derivative_second_moment(values)
        else:
            gains = straight_through_gain(
                values,
                weight_variance=self.weight_variance,
                window=self.window,
                slope=self.slope,
            )
        return float(np.average(gains, weights=weights))


def has_theory(module: nn.Module | None) -> bool:
    """Tell whether the theory has an object for a module.

    Parameters
    ----------
    module : torch.nn.Module or None
        Any module.

    Returns
    -------
    bool
        Whether `step_theory` has something to say of it.
    """
    if module is None or isinstance(module, QuantizedActivation):
        return module is not None
    return smooth_theory(module) is not None


def step_theory(
    module: nn.Module, *, weight_variance: float, bias_variance: float
) -> StepTheory | None:
    """Theory of an activation module between two layers, if it is a known one.

    Parameters
    ----------
    module : torch.nn.Module
        What lies between the layers.
    weight_variance, bias_variance : float
        Measured second moments of the next layer.

    Returns
    -------
    StepTheory or None
        ``None`` where the theory does not apply.
    """
    if isinstance(module, QuantizedActivation):
        slope, window = module.slope.item(), module.window.item()
        return StepTheory(module.activation, slope, window, weight_variance, bias_variance)
    smooth = smooth_theory(module)
    if smooth is None:
        return None
    return StepTheory(smooth, None, None, weight_variance, bias_variance)


def _grouped(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean values and total weights of groups of similar values."""
    order = np.argsort(values)
    count = min(MAX_GROUPS, values.size)
    groups = [group for group in np.array_split(order, count) if weights[group].sum() > 0]
    means = [float(np.average(values[group], weights=weights[group])) for group in groups]
    return np.array(means), np.array([float(weights[group].sum()) for group in groups])
