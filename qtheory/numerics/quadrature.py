"""Gauss rules on the unit scale, computed once."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory._checks import check_finite, check_integer, fail

__all__ = ["composite_legendre", "gauss_jacobi", "gauss_laguerre", "gauss_legendre"]

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


def composite_legendre(num_nodes: int, breaks: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of a Gauss-Legendre rule on each of several panels of [-1, 1].

    Parameters
    ----------
    num_nodes : int
        Nodes per panel, at least one.
    breaks : tuple of float
        Ends of the panels in increasing order, from -1 to 1.

    Returns
    -------
    tuple of numpy.ndarray
        Nodes and weights, shape ``(num_nodes * (len(breaks) - 1),)``, read-only.

    Raises
    ------
    ValueError
        If ``num_nodes`` is below one or ``breaks`` do not increase from -1 to 1.

    Notes
    -----
    Accuracy: a rule of many nodes knows the distance of its outer nodes from the ends to few digits
    in double precision: 120 nodes give the integral of an exponential that falls by 40 powers of e
    to 1e-13. Panels of 24 nodes give it to 1e-15.

    Examples
    --------
    >>> from qtheory.numerics import composite_legendre
    >>> nodes, weights = composite_legendre(2, (-1.0, 0.0, 1.0))
    >>> round(float(weights @ nodes**2), 12)
    0.666666666667
    """
    check_integer("num_nodes", num_nodes, minimum=1)
    ends = tuple(float(end) for end in breaks)
    if len(ends) < 2 or (ends[0], ends[-1]) != (-1.0, 1.0) or sorted(set(ends)) != list(ends):
        raise fail("breaks", "increasing from -1 to 1", breaks)
    return _composite(num_nodes, ends)


def gauss_jacobi(num_nodes: int, power: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss-Jacobi rule for the weight ``(1 - u)**power`` on [0, 1].

    Parameters
    ----------
    num_nodes : int
        Number of nodes, at least one.
    power : float
        Exponent of the weight, above minus one.

    Returns
    -------
    tuple of numpy.ndarray
        Nodes and weights, shape ``(num_nodes,)``, read-only.

    Raises
    ------
    ValueError
        If ``num_nodes`` is below one or ``power`` not above minus one.

    Examples
    --------
    >>> from qtheory.numerics import gauss_jacobi
    >>> nodes, weights = gauss_jacobi(3, -0.5)
    >>> round(float(weights.sum()), 12)
    2.0
    """
    check_integer("num_nodes", num_nodes, minimum=1)
    if check_finite("power", power) <= -1:
        raise fail("power", "above minus one", power)
    return _jacobi(num_nodes, float(power))


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
def _composite(num_nodes: int, breaks: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    nodes, weights = _legendre(num_nodes)
    half = 0.5 * np.diff(breaks)[:, None]
    center = 0.5 * (np.array(breaks[:-1]) + np.array(breaks[1:]))[:, None]
    return _frozen((center + half * nodes).ravel(), (half * weights).ravel())


@lru_cache(maxsize=16)
def _jacobi(num_nodes: int, power: float) -> tuple[FloatArray, FloatArray]:
    nodes, weights = special.roots_jacobi(num_nodes, power, 0.0)
    return _frozen(0.5 * (1.0 + nodes), weights * 2.0 ** -(power + 1.0))


@lru_cache(maxsize=16)
def _laguerre(num_nodes: int) -> tuple[FloatArray, FloatArray]:
    return _frozen(*np.polynomial.laguerre.laggauss(num_nodes))


def _frozen(nodes: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Make the shared arrays read-only."""
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights
