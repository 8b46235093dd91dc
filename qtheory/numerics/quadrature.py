"""Gauss rules on the unit scale, computed once."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_integer

__all__ = ["gauss_laguerre", "gauss_legendre"]

FloatArray = NDArray[np.float64]


def gauss_legendre(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss-Legendre rule on [-1, 1].

    Parameters
    ----------
    num_nodes : int
        Number of nodes, at least one. The rule is exact for polynomials of degree
        ``2 * num_nodes - 1``.

    Returns
    -------
    tuple of numpy.ndarray
        Nodes and weights, shape ``(num_nodes,)``, read-only.

    Raises
    ------
    ValueError
        If ``num_nodes`` is below one.

    Examples
    --------
    >>> from qtheory.numerics import gauss_legendre
    >>> nodes, weights = gauss_legendre(3)
    >>> round(float(weights @ nodes**4), 12)
    0.4
    """
    return _legendre(check_integer("num_nodes", num_nodes, minimum=1))


def gauss_laguerre(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss-Laguerre rule for the weight ``exp(-x)`` on ``x > 0``.

    Parameters
    ----------
    num_nodes : int
        Number of nodes, from 1 to 100.

    Returns
    -------
    tuple of numpy.ndarray
        Nodes and weights, shape ``(num_nodes,)``, read-only.

    Raises
    ------
    ValueError
        If ``num_nodes`` is out of range.

    Examples
    --------
    >>> from qtheory.numerics import gauss_laguerre
    >>> nodes, weights = gauss_laguerre(3)
    >>> round(float(weights @ nodes**2), 12)
    2.0
    """
    return _laguerre(check_integer("num_nodes", num_nodes, minimum=1, maximum=100))


# The rules are eigenvalue problems of cost O(n^3): without the cache they dominate the time of a
# distortion.
@lru_cache(maxsize=16)
def _legendre(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    return _frozen(*np.polynomial.legendre.leggauss(num_nodes))


@lru_cache(maxsize=16)
def _laguerre(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    return _frozen(*np.polynomial.laguerre.laggauss(num_nodes))


def _frozen(nodes: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Make the shared arrays read-only."""
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights
