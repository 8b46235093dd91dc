"""The result of a simulation: a mean with its standard error."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qtheory._checks import check_integer, fail

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate.

    Parameters
    ----------
    mean : float
        Sample mean, in the units of the quantity.
    std_error : float
        Standard error of the mean, same units, not below zero.
    num_samples : int
        Number of independent samples, at least two.

    Raises
    ------
    ValueError
        If ``std_error`` is negative or ``num_samples`` below two.
    """

    mean: float
    std_error: float
    num_samples: int

    def __post_init__(self) -> None:
        """Check the numbers; NaN passes, since data may hold it."""
        if self.std_error < 0:
            raise fail("std_error", "not below zero", self.std_error)
        check_integer("num_samples", self.num_samples, minimum=2)

    @classmethod
    def from_samples(cls, samples: ArrayLike) -> "Estimate":
        """Estimate the mean of independent samples.

        Parameters
        ----------
        samples : array_like
            Independent draws, flattened; at least two.

        Returns
        -------
        Estimate
            Their mean and its standard error.

        Raises
        ------
        ValueError
            If there are fewer than two samples.
        """
        values = np.asarray(samples, dtype=np.float64).ravel()
        if values.size < 2:
            raise fail("samples", "at least two numbers", values.size)
        # Counted from the first sample, equal samples have exactly no spread.
        shifted = values - values[0]
        std_error = float(np.std(shifted, ddof=1)) / math.sqrt(values.size)
        return cls(float(values[0] + np.mean(shifted)), std_error, values.size)

    def z_score(self, theory: float) -> float:
        """Distance of the mean from a predicted value, in standard errors.

        Parameters
        ----------
        theory : float
            Predicted value, in the units of the mean.

        Returns
        -------
        float
            ``(mean - theory) / std_error``; zero if both agree exactly with no spread, infinite if
            they differ with no spread.
        """
        difference = self.mean - theory
        if self.std_error == 0:
            return 0.0 if difference == 0 else math.copysign(math.inf, difference)
        return difference / self.std_error
