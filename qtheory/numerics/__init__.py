"""Numerical tools that know nothing of networks: estimates with errors, quadrature rules."""

from qtheory.numerics.estimate import Estimate
from qtheory.numerics.quadrature import gauss_laguerre, gauss_legendre

__all__ = ["Estimate", "gauss_laguerre", "gauss_legendre"]
