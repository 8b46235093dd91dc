"""Where nearby inputs neither merge nor part: the critical line of activations without jumps."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qtheory._checks import as_float_array, check_instance, check_nonnegative, fail
from qtheory.errors import ConvergenceError
from qtheory.meanfield.activations import Activation, FloatOrArray

__all__ = ["CriticalPoint", "critical_line", "critical_point"]

_LARGEST_RATIO = 1e4
"""Fixed-point variance over the larger of one and the bias variance, up to which is searched."""


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """Variances at which the slope of the correlation map at correlation one is one.

    Parameters
    ----------
    variance : float or numpy.ndarray
        Pre-activation variance, a fixed point of the variance map.
    weight_variance : float or numpy.ndarray
        Variance of a weight times the fan-in.
    bias_variance : float or numpy.ndarray
        Variance of a bias, zero or above.
    """

    variance: FloatOrArray
    weight_variance: FloatOrArray
    bias_variance: FloatOrArray


def critical_line(activation: Activation, variance: ArrayLike) -> CriticalPoint:
    r"""Weight and bias variance that make a given pre-activation variance fixed and critical.

    Parameters
    ----------
    activation : Activation
        Activation without jumps and without noise.
    variance : array_like
        Pre-activation variances :math:`q > 0`, the parameter of the line, any shape.

    Returns
    -------
    CriticalPoint
        Floats, or arrays of the shape of ``variance``.

    Raises
    ------
    ValueError
        If ``activation`` jumps or is noisy, a variance is not above zero, or the bias variance
        would be negative there.

    Notes
    -----
    Book: ch04-critical-line.

    .. math::
        \sigma_w^2 = \frac{1}{\mathbb E\,\varphi'(u)^2}, \qquad
        \sigma_b^2 = q - \sigma_w^2\,\mathbb E\,\varphi(u)^2 .

    Assumptions: :math:`\mathbb E\,\varphi'(u)^2` is finite. A staircase has none: its correlation
    map leaves correlation one with infinite slope for every weight variance.

    Accuracy: the weight variance has that of the activation. The bias variance is a difference of
    two numbers of the size of :math:`q`, so its error is about ``1e-15 * variance``.

    Limits: for the hyperbolic tangent the line starts at (1, 0) as :math:`q \to 0`.

    References
    ----------
    [Poole2016]_, [Schoenholz2017]_

    Examples
    --------
    >>> from qtheory.meanfield import Tanh, critical_line
    >>> point = critical_line(Tanh(), 1.0)
    >>> print(round(point.weight_variance, 8), round(point.bias_variance, 8))
    2.15330265 0.15096463
    """
    _check_criticality(activation)
    weight_variance = 1 / activation.derivative_second_moment(variance)
    product = weight_variance * activation.second_moment(variance)
    bias_variance = as_float_array("variance", variance) - product
    # Homogeneous activations have bias zero all along; rounding must not make it negative.
    bias_variance = np.where(np.abs(bias_variance) <= 4e-16 * product, 0.0, bias_variance)
    if (bias_variance < 0).any():
        worst = float(np.asarray(variance)[bias_variance < 0].flat[0])
        raise fail("variance", "where the critical bias variance is not negative", worst)
    if np.ndim(variance) == 0:
        return CriticalPoint(float(np.asarray(variance)), weight_variance, float(bias_variance))
    return CriticalPoint(np.array(variance, dtype=np.float64), weight_variance, bias_variance)


def critical_point(activation: Activation, bias_variance: float) -> CriticalPoint:
    r"""Weight variance at which a network with given biases is critical.

    Parameters
    ----------
    activation : Activation
        Activation without jumps and without noise.
    bias_variance : float
        Bias variance :math:`\sigma_b^2`, zero or above.

    Returns
    -------
    CriticalPoint
        The point of the critical line with that bias variance. For bias variance zero and an
        activation that vanishes at zero it is the limit of variance zero.

    Raises
    ------
    ValueError
        If ``activation`` jumps or is noisy, or ``bias_variance`` is negative.
    ConvergenceError
        If no point of the critical line up to a variance of ``1e4 * max(1, bias_variance)`` has
        that bias variance. Rectifiers have points for bias variance zero only.

    Notes
    -----
    Book: ch04-critical-line.

    The root is sought in the pre-activation variance, which is at least the bias variance, by
    doubling and then by Brent's method. If the line meets the bias variance several times, the
    point of least variance on the doubled grid is returned.

    Accuracy: weight variance 1e-10 relative for bias variances from 1e-6 to 1e2; the fixed-point
    variance of the hyperbolic tangent grows as the cube root of the bias variance, and its error
    with it.

    Examples
    --------
    >>> from qtheory.meanfield import Erf, critical_point
    >>> print(round(critical_point(Erf(), 0.05).weight_variance, 8))
    1.37583901
    """
    bias_variance = check_nonnegative("bias_variance", bias_variance)
    _check_criticality(activation)
    if bias_variance == 0 and activation.second_moment(0.0) == 0:
        weight_variance = 1 / activation.derivative_second_moment(1e-30)
        return CriticalPoint(0.0, weight_variance, 0.0)
    low = max(bias_variance, 1e-12)
    high = 2 * low
    largest = _LARGEST_RATIO * max(1.0, bias_variance)
    while _excess(activation, high, bias_variance) < 0:
        if high > largest:
            raise ConvergenceError(
                "The critical line of this activation does not reach this bias variance.",
                last_iterate=high,
                residual=abs(_excess(activation, high, bias_variance)),
            )
        low, high = high, 2 * high
    return _refined(activation, low, high, bias_variance)


def _refined(
    activation: Activation, low: float, high: float, bias_variance: float
) -> CriticalPoint:
    """Point between two variances whose bias variances lie on either side."""
    # Loading this solver takes longer than most calls of this package.
    from scipy import optimize

    def excess(log_variance: float) -> float:
        return _excess(activation, math.exp(log_variance), bias_variance)

    start, stop = math.log(low), math.log(high)
    root = start if excess(start) >= 0 else optimize.brentq(excess, start, stop, rtol=1e-15)
    variance = math.exp(root)
    weight_variance = 1 / activation.derivative_second_moment(variance)
    return CriticalPoint(variance, weight_variance, bias_variance)


def _excess(activation: Activation, variance: float, bias_variance: float) -> float:
    """Bias variance of the critical line at a variance, above the wanted one."""
    ratio = activation.second_moment(variance) / activation.derivative_second_moment(variance)
    return float(variance - ratio - bias_variance)


def _check_criticality(activation: Activation) -> None:
    """Refuse activations for which correlation one is no fixed point of finite slope."""
    check_instance("activation", activation, Activation)
    if not activation.is_deterministic:
        raise fail(
            "activation",
            "free of noise: noise parts equal inputs, so correlation one is no fixed point and "
            "there is no critical line",
            activation,
        )
    if math.isinf(activation.derivative_second_moment(1.0)):
        raise fail(
            "activation",
            "free of jumps: across a jump the slope at correlation one is infinite for every "
            "weight variance, so there is no critical line",
            activation,
        )
