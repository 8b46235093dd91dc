"""Rates: entropy of the levels, and what information theory allows."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory._checks import check_nonnegative, check_positive
from qtheory.quantizers.cells import cell_moments
from qtheory.quantizers.distortion import Quantizer, cell_edges
from qtheory.quantizers.sources import Source

__all__ = [
    "entropy_bits",
    "entropy_coded_distortion_approx",
    "gaussian_distortion_rate",
    "gaussian_rate_distortion",
    "level_probabilities",
    "shannon_lower_bound",
]

FloatArray = NDArray[np.float64]


def level_probabilities(quantizer: Quantizer, source: Source) -> FloatArray:
    """Probability of each level.

    Parameters
    ----------
    quantizer : ScalarQuantizer or UniformQuantizer
        Quantizer with finitely many levels and deterministic rounding.
    source : Source
        Law of the input.

    Returns
    -------
    numpy.ndarray
        Probabilities, shape ``(num_levels,)``, adding up to one.

    Notes
    -----
    Book: ch01-rate.

    Accuracy: relative error of each probability below 1e-12.
    """
    lower, upper = cell_edges(quantizer)
    return cell_moments(source, lower, upper, quantizer.levels)[0]


def entropy_bits(quantizer: Quantizer, source: Source) -> float:
    r"""Entropy of the quantizer output, the rate an ideal entropy coder needs.

    Parameters
    ----------
    quantizer : ScalarQuantizer or UniformQuantizer
        Quantizer with finitely many levels and deterministic rounding.
    source : Source
        Law of the input; samples are taken as independent.

    Returns
    -------
    float
        :math:`-\sum_i p_i \log_2 p_i`, in bits per sample, from 0 to ``log2(num_levels)``.

    Notes
    -----
    Book: ch01-rate.

    Limits: differential entropy minus ``log2(step_size)`` for a fine uniform grid.

    Examples
    --------
    >>> from qtheory.quantizers import Gaussian, entropy_bits, sign
    >>> entropy_bits(sign(), Gaussian())
    1.0
    """
    nats = float(special.entr(level_probabilities(quantizer, source)).sum())
    return max(0.0, nats) / math.log(2)  # a probability may round to just above one


def gaussian_distortion_rate(rate_bits: float, var: float = 1.0) -> float:
    r"""Least mean squared error of any code for a memoryless Gaussian at a given rate.

    Parameters
    ----------
    rate_bits : float
        Rate :math:`R`, in bits per sample, not below zero.
    var : float
        Variance, above zero.

    Returns
    -------
    float
        :math:`\sigma^2 2^{-2R}`, in the unit of ``var``.

    Raises
    ------
    ValueError
        If the rate is negative or the variance not above zero.

    Notes
    -----
    Book: ch01-rate-distortion.

    References
    ----------
    [CoverThomas2006]_, Theorem 10.3.2
    """
    return check_positive("var", var) * math.exp2(-2 * check_nonnegative("rate_bits", rate_bits))


def gaussian_rate_distortion(distortion: float, var: float = 1.0) -> float:
    r"""Least rate of any code for a memoryless Gaussian at a given mean squared error.

    Parameters
    ----------
    distortion : float
        Mean squared error, above zero, in the unit of ``var``.
    var : float
        Variance, above zero.

    Returns
    -------
    float
        :math:`\max(0, \tfrac12 \log_2(\sigma^2 / D))`, in bits per sample.

    Raises
    ------
    ValueError
        If an argument is not above zero.

    Notes
    -----
    Book: ch01-rate-distortion.

    References
    ----------
    [CoverThomas2006]_, Theorem 10.3.2
    """
    ratio = check_positive("var", var) / check_positive("distortion", distortion)
    return max(0.0, 0.5 * math.log2(ratio))


def shannon_lower_bound(rate_bits: float, source: Source) -> float:
    r"""Lower bound on the mean squared error of any code at a given rate.

    Parameters
    ----------
    rate_bits : float
        Rate :math:`R`, in bits per sample, not below zero.
    source : Source
        Law of independent samples.

    Returns
    -------
    float
        :math:`2^{2(h - R)} / (2 \pi e)`, in squared units of the source; equal to the
        distortion-rate function for a Gaussian.

    Raises
    ------
    ValueError
        If the rate is negative.

    Notes
    -----
    Book: ch01-rate-distortion.

    References
    ----------
    [CoverThomas2006]_, Problem 10.6
    """
    rate = check_nonnegative("rate_bits", rate_bits)
    return math.exp2(2 * (source.differential_entropy_bits - rate)) / (2 * math.pi * math.e)


def entropy_coded_distortion_approx(rate_bits: float, source: Source) -> float:
    r"""High-resolution distortion of a uniform grid followed by an ideal entropy coder.

    Parameters
    ----------
    rate_bits : float
        Entropy of the levels, in bits per sample, not below zero.
    source : Source
        Law of independent samples.

    Returns
    -------
    float
        :math:`2^{2(h - R)} / 12`, in squared units of the source: :math:`\pi e / 6`, or 1.53 dB,
        above the Shannon lower bound at every rate.

    Raises
    ------
    ValueError
        If the rate is negative.

    Notes
    -----
    Book: ch01-entropy-coded.

    Assumptions: a fine grid. Below about two bits the approximation fails.

    References
    ----------
    [GishPierce1968]_
    """
    rate = check_nonnegative("rate_bits", rate_bits)
    return math.exp2(2 * (source.differential_entropy_bits - rate)) / 12
