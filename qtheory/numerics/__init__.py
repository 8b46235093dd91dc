"""Numerical tools that know nothing of networks: estimates with errors, integration."""

from qtheory.numerics.estimate import Estimate
from qtheory.numerics.quadrature import integrate_intervals

__all__ = ["Estimate", "integrate_intervals"]
