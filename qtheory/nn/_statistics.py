"""Second moments, correlations and gains of recorded signals, with standard errors over units."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtheory.nn._measure import Call
from qtheory.numerics import Estimate

__all__ = ["MAX_CORRELATED", "LayerSignals", "layer_signals"]

FloatArray = NDArray[np.float64]

MAX_CORRELATED = 32
"""Inputs between which correlations are measured: 496 pairs."""


@dataclass(frozen=True, eq=False)
class LayerSignals:
    """What is measured of the pre-activations of one layer.

    Parameters
    ----------
    second_moment : Estimate
        Mean square.
    variances : numpy.ndarray
        Mean square for each input of the batch.
    directions : Tensor
        Pre-activations of the first inputs, each of norm one, inputs by units by places.
    correlations : numpy.ndarray
        Matrix of their inner products.
    power : Estimate or None
        Sum of the squared gradient over inputs, units and places.
    powers : numpy.ndarray or None
        The same for each input.
    """

    second_moment: Estimate
    variances: FloatArray
    directions: Tensor
    correlations: FloatArray
    power: Estimate | None
    powers: FloatArray | None

    @property
    def pairs(self) -> FloatArray:
        """Correlations of different inputs, each once."""
        return self.correlations[np.triu_indices(len(self.correlations), 1)]

    def weighted_sum(self, weights: FloatArray) -> Estimate:
        """Return a weighted sum of all correlations, with its standard error over the units.

        The error is that of a ratio of means over units: of the sum, less what the norms of the
        inputs fluctuate with it.
        """
        u, matrix = self.directions, torch.from_numpy(weights)
        own = torch.from_numpy((weights * self.correlations).sum(axis=1))
        products = (u * torch.einsum("bc,cnp->bnp", matrix, u)).sum(dim=(0, 2))
        squares = (u.square() * own[:, None, None]).sum(dim=(0, 2))
        deviations = u.shape[1] * (products - squares).numpy()
        return _estimate(float((weights * self.correlations).sum()), deviations)

    def mean_correlation(self) -> Estimate:
        """Return the mean over all pairs of different inputs."""
        count = len(self.correlations)
        weights = (1 - np.eye(count)) / (count * (count - 1))
        return self.weighted_sum(weights)


def layer_signals(call: Call) -> LayerSignals:
    """Measure a recorded layer.

    Parameters
    ----------
    call : Call
        Call of a layer with weights, with its output.

    Returns
    -------
    LayerSignals
        Numbers in float64.
    """
    if call.output is None:
        raise TypeError(call.name)
    values = call.matrix(call.output).cpu()
    squares = values.square()
    first = values[:MAX_CORRELATED]
    norms = first.square().sum(dim=(1, 2), keepdim=True).sqrt()
    directions = first / norms
    correlations = torch.einsum("bnp,cnp->bc", directions, directions)
    power, powers = _gradient_power(call)
    return LayerSignals(
        second_moment=_over_units(squares.mean(dim=(0, 2))),
        variances=squares.mean(dim=(1, 2)).numpy(),
        directions=directions,
        correlations=correlations.numpy(),
        power=power,
        powers=powers,
    )


def _gradient_power(call: Call) -> tuple[Estimate | None, FloatArray | None]:
    """Squared gradients summed over all, and for each input."""
    if call.gradient is None:
        return None, None
    squares = call.matrix(call.gradient).cpu().square()
    per_unit = squares.sum(dim=(0, 2))
    mean = _over_units(per_unit)
    count = per_unit.numel()
    power = Estimate(count * mean.mean, count * mean.std_error, mean.num_samples)
    return power, squares.sum(dim=(1, 2)).numpy()


def _over_units(samples: Tensor) -> Estimate:
    """Mean over units with the standard error of one step of the theory."""
    values = samples.numpy()
    mean = float(values.mean())
    with np.errstate(invalid="ignore"):  # infinite gradients leave no error to speak of
        return _estimate(mean, values - mean)


def _estimate(mean: float, deviations: FloatArray) -> Estimate:
    """Estimate whose variance counts twice: once for each of the two layers of a step.

    Both the units of a layer and those of the layer before are finitely many.
    """
    count = deviations.size
    if count < 2:
        return Estimate(mean, math.inf, 2)
    spread = float(np.std(deviations, ddof=1))
    return Estimate(mean, math.sqrt(2 / count) * spread, count)
