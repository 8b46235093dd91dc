"""How variance and correlation change from one layer of a wide network to the next."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_finite,
    check_instance,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)
from qtheory.meanfield.activations import Activation, FloatOrArray

__all__ = [
    "Trajectory",
    "correlation_map",
    "correlation_map_slope",
    "depth_scale",
    "propagate",
    "variance_map",
    "variance_map_slope",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Variance and correlation of two inputs, layer by layer.

    Parameters
    ----------
    variances : numpy.ndarray
        Pre-activation variances, shape ``(num_layers + 1,)``; entry 0 is the start.
    correlations : numpy.ndarray
        Pre-activation correlations, same shape.
    """

    variances: FloatArray
    correlations: FloatArray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("variances", "correlations"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)


def variance_map(
    activation: Activation,
    variance: ArrayLike,
    *,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> FloatOrArray:
    r"""Pre-activation variance of the next layer.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    variance : array_like
        Pre-activation variances :math:`q \ge 0` of this layer, any shape.
    weight_variance : float
        :math:`\sigma_w^2 \ge 0`: the weights have variance :math:`\sigma_w^2 / n` for fan-in n.
    bias_variance : float
        :math:`\sigma_b^2 \ge 0`, variance of the biases.

    Returns
    -------
    float or numpy.ndarray
        :math:`\sigma_w^2\,\mathbb E\,\varphi(\sqrt q z)^2 + \sigma_b^2`, shape of ``variance``.

    Raises
    ------
    ValueError
        If a variance is negative or not finite, or ``activation`` is not an `Activation`.

    Notes
    -----
    Book: ch04-variance-map.

    Assumptions: infinite width; weights independent with mean zero; independent biases.

    Accuracy: that of the activation's second moment.

    Examples
    --------
    >>> from qtheory.meanfield import ReLU, variance_map
    >>> variance_map(ReLU(), 3.0, weight_variance=2.0)
    3.0
    """
    check_instance("activation", activation, Activation)
    sigma_w2 = check_nonnegative("weight_variance", weight_variance)
    sigma_b2 = check_nonnegative("bias_variance", bias_variance)
    return sigma_w2 * activation.second_moment(variance) + sigma_b2


def variance_map_slope(
    activation: Activation, variance: ArrayLike, *, weight_variance: float
) -> FloatOrArray:
    r"""Slope of the variance map.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    variance : array_like
        Pre-activation variances :math:`q > 0`, any shape.
    weight_variance : float
        :math:`\sigma_w^2 \ge 0`.

    Returns
    -------
    float or numpy.ndarray
        :math:`\sigma_w^2\,\mathrm d\,\mathbb E\,\varphi^2/\mathrm d q`, shape of ``variance``.

    Raises
    ------
    ValueError
        If a variance is out of range, or ``activation`` is not an `Activation`.

    Notes
    -----
    Book: ch04-variance-slope.

    Assumptions: infinite width.

    Examples
    --------
    >>> from qtheory.meanfield import Linear, variance_map_slope
    >>> variance_map_slope(Linear(), 1.0, weight_variance=0.25)
    0.25
    """
    check_instance("activation", activation, Activation)
    sigma_w2 = check_nonnegative("weight_variance", weight_variance)
    return sigma_w2 * activation.second_moment_slope(variance)


def correlation_map(
    activation: Activation,
    correlation: ArrayLike,
    *,
    variance: float,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> FloatOrArray:
    r"""Pre-activation correlation of two inputs in the next layer.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    correlation : array_like
        Correlations :math:`c \in [-1, 1]` in this layer, any shape.
    variance : float
        Common pre-activation variance :math:`q \ge 0` of both inputs in this layer.
    weight_variance : float
        :math:`\sigma_w^2 > 0`. Without bias it drops out.
    bias_variance : float
        :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    float or numpy.ndarray
        :math:`M(c)`, shape of ``correlation``.

    Raises
    ------
    ValueError
        If a correlation lies outside [-1, 1], a variance is out of range, or both inputs are
        mapped to zero, where no correlation exists.

    Notes
    -----
    Book: ch04-correlation-map.

    .. math:: M(c) = \frac{\sigma_w^2\,\mathbb E\,\varphi(u_1)\varphi(u_2) + \sigma_b^2}
                          {\sigma_w^2\,\mathbb E\,\varphi(u_1)^2 + \sigma_b^2}

    Second moments, not covariances: weights of mean zero propagate the mean of the activation
    like the rest of it.

    Assumptions: infinite width; equal variances of the two inputs.

    Accuracy: 1e-13 absolute for staircases.

    Examples
    --------
    >>> from qtheory.meanfield import correlation_map, sign
    >>> print(round(correlation_map(sign(), 0.5, variance=1.0), 12))
    0.333333333333
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    variance = check_nonnegative("variance", variance)
    after = _power(activation, variance, sigma_w2, sigma_b2)
    moment = activation.cross_moment(correlation, variance)
    ratio = (sigma_w2 * moment + sigma_b2) / after
    return np.clip(ratio, -1.0, 1.0) if isinstance(ratio, np.ndarray) else _limited(ratio)


def correlation_map_slope(
    activation: Activation,
    correlation: ArrayLike,
    *,
    variance: float,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> FloatOrArray:
    r"""Slope of the correlation map.

    Parameters
    ----------
    activation : Activation
        The nonlinearity.
    correlation : array_like
        Correlations :math:`c \in [-1, 1]`, any shape.
    variance : float
        Common pre-activation variance :math:`q > 0` of both inputs.
    weight_variance : float
        :math:`\sigma_w^2 > 0`. Without bias it drops out.
    bias_variance : float
        :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    float or numpy.ndarray
        :math:`M'(c)`, shape of ``correlation``; infinite at :math:`c = 1` for a staircase.

    Raises
    ------
    ValueError
        If a correlation lies outside [-1, 1], a variance is out of range, or the activation maps
        both inputs to zero.

    Notes
    -----
    Book: ch04-correlation-slope.

    At a fixed point of the variance map this is
    :math:`\sigma_w^2\,\mathbb E\,\varphi'(u_1)\varphi'(u_2)`, the number called :math:`\chi`.

    Assumptions: infinite width; equal variances of the two inputs.

    Accuracy: 1e-13 relative for staircases.

    Examples
    --------
    >>> from qtheory.meanfield import correlation_map_slope, sign
    >>> print(round(correlation_map_slope(sign(), 0.0, variance=1.0), 12))  # 2 / pi
    0.636619772368
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    after = _power(activation, check_positive("variance", variance), sigma_w2, sigma_b2)
    return sigma_w2 * activation.cross_moment_slope(correlation, variance) / after


def propagate(
    activation: Activation,
    *,
    num_layers: int,
    variance: float,
    correlation: float,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> Trajectory:
    r"""Variance and correlation of two inputs through many layers.

    Parameters
    ----------
    activation : Activation
        The nonlinearity, the same in each layer.
    num_layers : int
        Number of layers, zero or more.
    variance : float
        Pre-activation variance of both inputs in the first layer, :math:`q_0 \ge 0`.
    correlation : float
        Their correlation :math:`c_0 \in [-1, 1]`.
    weight_variance, bias_variance : float
        :math:`\sigma_w^2 > 0` and :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    Trajectory
        Variances and correlations, entry 0 the start.

    Raises
    ------
    ValueError
        If an argument is out of range, or the signal becomes zero, where no correlation exists.

    Notes
    -----
    Book: ch04-variance-map, ch04-correlation-map.

    Assumptions: infinite width; both inputs start with the same variance.

    Examples
    --------
    >>> from qtheory.meanfield import propagate, sign
    >>> path = propagate(sign(), num_layers=2, variance=1.0, correlation=0.5, weight_variance=1.0)
    >>> path.correlations.round(4)
    array([0.5   , 0.3333, 0.2163])
    """
    sigma_w2, sigma_b2 = checked_layer(activation, weight_variance, bias_variance)
    num_layers = check_integer("num_layers", num_layers, minimum=0)
    q, c = check_nonnegative("variance", variance), check_finite("correlation", correlation)
    path = [(q, c)]
    for _ in range(num_layers):
        c = correlation_map(
            activation, c, variance=q, weight_variance=sigma_w2, bias_variance=sigma_b2
        )
        q = variance_map(activation, q, weight_variance=sigma_w2, bias_variance=sigma_b2)
        path.append((q, c))
    variances, correlations = np.array(path).T
    return Trajectory(variances, correlations)


def depth_scale(slope: ArrayLike) -> FloatOrArray:
    r"""Depth over which a deviation from a fixed point shrinks by a factor e.

    Parameters
    ----------
    slope : array_like
        Slope :math:`\chi \in [0, 1]` of the map at its fixed point, any shape.

    Returns
    -------
    float or numpy.ndarray
        :math:`\xi = -1/\ln\chi`, shape of ``slope``: zero for slope 0, infinite for slope 1.

    Raises
    ------
    ValueError
        If a slope lies outside [0, 1]: deviations then grow or alternate.

    Notes
    -----
    Book: ch04-depth-scale.

    Accuracy: limited by the spacing of floats near 1; `OptimalSpacing.depth_scale` has all digits.

    Examples
    --------
    >>> from qtheory.meanfield import depth_scale
    >>> print(round(depth_scale(0.9), 3))
    9.491
    """
    slopes = as_float_array("slope", slope).astype(np.float64, copy=False)
    bad = ~((slopes >= 0) & (slopes <= 1))
    if bad.any():
        raise fail("slope", "in [0, 1]", float(slopes[bad].flat[0]))
    with np.errstate(divide="ignore"):
        scales = -1.0 / np.log(slopes)
    scales = np.abs(np.where(slopes == 1, np.inf, scales))
    return float(scales) if slopes.ndim == 0 else scales


def checked_layer(
    activation: Activation, weight_variance: float, bias_variance: float
) -> tuple[float, float]:
    """Check a layer: an activation, a weight variance above zero, a bias variance."""
    check_instance("activation", activation, Activation)
    sigma_w2 = check_positive("weight_variance", weight_variance)
    return sigma_w2, check_nonnegative("bias_variance", bias_variance)


def _power(activation: Activation, variance: float, sigma_w2: float, sigma_b2: float) -> float:
    """Return the variance of the next layer, which must not vanish."""
    after = sigma_w2 * float(activation.second_moment(variance)) + sigma_b2
    if not after > 0:
        raise fail("variance", "one at which the activation does not vanish", variance)
    return after


def _limited(value: float) -> float:
    """Return a correlation that rounding has not pushed past its limits."""
    return math.copysign(min(abs(value), 1.0), value)
