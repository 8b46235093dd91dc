"""Numerical tools that know nothing of networks: estimates with errors, quadrature rules."""

from qtheory.numerics.bivariate import bivariate_normal_cdf
from qtheory.numerics.estimate import Estimate
from qtheory.numerics.normal import normal_density
from qtheory.numerics.quadrature import (
    composite_legendre,
    gauss_jacobi,
    gauss_laguerre,
    gauss_legendre,
)

__all__ = [
    "Estimate",
    "bivariate_normal_cdf",
    "composite_legendre",
    "gauss_jacobi",
    "gauss_laguerre",
    "gauss_legendre",
    "normal_density",
]
