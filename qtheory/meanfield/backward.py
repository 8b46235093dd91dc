r"""Gradients through quantized activations: the straight-through estimator in wide networks.

A staircase has no useful derivative. The straight-through estimator takes a box in its place,
:math:`s \cdot \mathbf 1\{|u| < \tau\}`, with a slope :math:`s` and a window :math:`\tau`. How much
of a gradient passes a layer is then a probability of Gaussian pre-activations.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import as_float_array, check_positive, fail
from qtheory.meanfield.activations import Activation, FloatOrArray
from qtheory.meanfield.maps import propagate

__all__ = [
    "SurrogateKernel",
    "balanced_slope",
    "straight_through_gain",
    "surrogate_kernel",
    "two_input_gain",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurrogateKernel:
    """Tangent kernel of two inputs after each layer, with its ingredients.

    Parameters
    ----------
    variances, correlations : numpy.ndarray
        Pre-activation variance and correlation, shape ``(num_layers + 1,)``.
    diagonal : numpy.ndarray
        Kernel of an input with itself, same shape.
    off_diagonal : numpy.ndarray
        Kernel of the two inputs, same shape.
    """

    variances: FloatArray
    correlations: FloatArray
    diagonal: FloatArray
    off_diagonal: FloatArray

    def __post_init__(self) -> None:
        """Keep the arrays from being changed."""
        for name in ("variances", "correlations", "diagonal", "off_diagonal"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def ratio(self) -> FloatArray:
        """Kernel of the two inputs over that of one; zero if training on one leaves the other."""
        return np.asarray(self.off_diagonal / self.diagonal)


def straight_through_gain(
    variance: ArrayLike, *, weight_variance: float, window: float = 1.0, slope: float = 1.0
) -> FloatOrArray:
    r"""Factor by which the gradient's second moment grows per layer with a straight-through box.

    Parameters
    ----------
    variance : array_like
        Pre-activation variances :math:`q \ge 0`, any shape.
    weight_variance : float
        Variance :math:`\sigma_w^2` of a weight times the fan-in, above zero.
    window : float
        Half width :math:`\tau` of the box, in units of the pre-activation, above zero; may be
        infinite, which is the identity in place of a derivative.
    slope : float
        Height :math:`s` of the box, above zero.

    Returns
    -------
    float or numpy.ndarray
        Gains, shape of ``variance``.

    Raises
    ------
    ValueError
        If a variance is negative or not finite, or another argument not above zero.

    Notes
    -----
    Book: ch05-straight-through-gain.

    .. math:: \chi_b = \sigma_w^2 s^2\, P(|u| < \tau)
              = \sigma_w^2 s^2 \operatorname{erf}\bigl(\tau / \sqrt{2q}\bigr).

    Assumptions: infinite width; weights in the backward pass independent of those in the forward
    pass, which holds to leading order in the width.

    Accuracy: 4e-16 relative.

    Limits: :math:`\sigma_w^2 s^2` as :math:`q \to 0` or :math:`\tau \to \infty`.

    Examples
    --------
    >>> from qtheory.meanfield import straight_through_gain
    >>> print(round(straight_through_gain(0.448303451, weight_variance=1 / 0.88115395), 6))
    0.981329
    """
    gain = check_positive("weight_variance", weight_variance) * check_positive("slope", slope) ** 2
    return _plain(gain * special.erf(_limits(variance, window) / math.sqrt(2)))


def balanced_slope(
    variance: ArrayLike, *, weight_variance: float, window: float = 1.0
) -> FloatOrArray:
    r"""Height of the straight-through box that keeps the size of gradients from layer to layer.

    Parameters
    ----------
    variance : array_like
        Pre-activation variances :math:`q \ge 0`, any shape.
    weight_variance : float
        Variance :math:`\sigma_w^2` of a weight times the fan-in, above zero.
    window : float
        Half width :math:`\tau` of the box, in units of the pre-activation, above zero or infinite.

    Returns
    -------
    float or numpy.ndarray
        Slopes :math:`s` at which :func:`straight_through_gain` is one, shape of ``variance``.

    Raises
    ------
    ValueError
        If a variance is negative or not finite, or another argument not above zero.

    Notes
    -----
    Book: ch05-balanced-slope.

    .. math:: s = \bigl[\sigma_w^2 \operatorname{erf}(\tau / \sqrt{2q})\bigr]^{-1/2}.

    Assumptions: as for :func:`straight_through_gain`.

    Accuracy: 4e-16 relative.

    Examples
    --------
    >>> from qtheory.meanfield import balanced_slope
    >>> print(round(balanced_slope(0.448303451, weight_variance=1 / 0.88115395), 6))
    1.009469
    """
    gain = straight_through_gain(variance, weight_variance=weight_variance, window=window)
    return _plain(1 / np.sqrt(gain))


def two_input_gain(
    correlation: ArrayLike,
    variance: ArrayLike,
    *,
    weight_variance: float,
    window: float = 1.0,
    slope: float = 1.0,
) -> FloatOrArray:
    r"""Factor by which the inner product of the gradients of two inputs grows per layer.

    Parameters
    ----------
    correlation : array_like
        Correlations :math:`c \in [-1, 1]` of the two pre-activations.
    variance : array_like
        Their common variances :math:`q \ge 0`, a shape that broadcasts with ``correlation``.
    weight_variance : float
        Variance :math:`\sigma_w^2` of a weight times the fan-in, above zero.
    window : float
        Half width :math:`\tau` of the box, in units of the pre-activation, above zero or infinite.
    slope : float
        Height :math:`s` of the box, above zero.

    Returns
    -------
    float or numpy.ndarray
        Gains, the broadcast shape.

    Raises
    ------
    ValueError
        If a correlation lies outside [-1, 1], a variance is negative or not finite, or another
        argument not above zero.

    Notes
    -----
    Book: ch05-two-input-gain.

    With :math:`h = \tau/\sqrt q` and Owen's function :math:`T` [Owen1956]_,

    .. math:: \sigma_w^2 s^2\, P(|u_1| < \tau, |u_2| < \tau) = \sigma_w^2 s^2 \Bigl[1
              - 4 T\Bigl(h, \sqrt{\tfrac{1-c}{1+c}}\Bigr)
              - 4 T\Bigl(h, \sqrt{\tfrac{1+c}{1-c}}\Bigr)\Bigr].

    Assumptions: as for :func:`straight_through_gain`.

    Accuracy: 4e-16 times :math:`\sigma_w^2 s^2`, absolute; a window much below the standard
    deviation of the pre-activation leaves fewer relative digits.

    Limits: :func:`straight_through_gain` at :math:`|c| = 1`, where the two pass or stop together,
    and the square of the probability at :math:`c = 0`.

    Examples
    --------
    >>> from qtheory.meanfield import two_input_gain
    >>> print(round(two_input_gain(0.5, 0.448303451, weight_variance=1.0), 8))
    0.76706234
    """
    gain = check_positive("weight_variance", weight_variance) * check_positive("slope", slope) ** 2
    c, limits = np.broadcast_arrays(_correlations(correlation), _limits(variance, window))
    with np.errstate(divide="ignore"):
        ratio = np.sqrt((1 - c) / (1 + c))
        outside = special.owens_t(limits, ratio) + special.owens_t(limits, 1 / ratio)
    return _plain(gain * (1 - 4 * outside))


def surrogate_kernel(
    activation: Activation,
    *,
    num_layers: int,
    correlation: float,
    variance: float,
    weight_variance: float,
    bias_variance: float = 0.0,
    window: float = 1.0,
    slope: float | None = None,
) -> SurrogateKernel:
    r"""Tangent kernel of a wide network whose backward pass is a straight-through box.

    Parameters
    ----------
    activation : Activation
        What the forward pass applies.
    num_layers : int
        Number of layers, zero or more.
    correlation : float
        Correlation in [-1, 1] of the pre-activations of two inputs at the start.
    variance : float
        Their variance at the start, above zero.
    weight_variance : float
        Variance :math:`\sigma_w^2` of a weight times the fan-in, above zero.
    bias_variance : float
        Variance :math:`\sigma_b^2` of a bias.
    window : float
        Half width of the box, above zero or infinite.
    slope : float, optional
        Height of the box, above zero; the balanced one at ``variance`` if not given.

    Returns
    -------
    SurrogateKernel
        Kernels after each layer, from the start to ``num_layers``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: ch05-surrogate-kernel.

    With the pre-activation second moments :math:`K^l` of a pair of inputs and the gain
    :math:`\chi_b` of that pair,

    .. math:: \Theta^0 = K^0, \qquad \Theta^{l+1} = K^{l+1} + \chi_b(K^l)\,\Theta^l.

    Assumptions: infinite width, all parameters trained, weights scaled by
    :math:`\sigma_w/\sqrt{\text{fan-in}}` outside of the trained numbers.

    Limits: a heuristic for training. With the derivative in place of the box it is the tangent
    kernel of gradient flow; with the box the updates are no gradients of the output, which
    need not follow them even to first order.
    """
    trajectory = propagate(
        activation,
        num_layers=num_layers,
        variance=variance,
        correlation=correlation,
        weight_variance=weight_variance,
        bias_variance=bias_variance,
    )
    q, c = trajectory.variances, trajectory.correlations
    if slope is None:
        slope = balanced_slope(variance, weight_variance=weight_variance, window=window)
    box: dict[str, Any] = {"weight_variance": weight_variance, "window": window, "slope": slope}
    return SurrogateKernel(
        variances=q,
        correlations=c,
        diagonal=_recursion(q, straight_through_gain(q, **box)),
        off_diagonal=_recursion(q * c, two_input_gain(c, q, **box)),
    )


def _recursion(terms: FloatArray, gains: FloatArray) -> FloatArray:
    """Add up the terms, each time after a gain."""
    kernels = terms.copy()
    for layer in range(terms.size - 1):
        kernels[layer + 1] += gains[layer] * kernels[layer]
    return kernels


def _limits(variance: ArrayLike, window: float) -> FloatArray:
    """Half width of the box in standard deviations; infinite for a variance of zero."""
    values = as_float_array("variance", variance).astype(np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise fail("variance", "finite and not below zero", float(values[bad][0]))
    if window != math.inf:
        check_positive("window", window)
    with np.errstate(divide="ignore"):
        return np.asarray(window / np.sqrt(values))


def _correlations(correlation: ArrayLike) -> FloatArray:
    """Correlations as an array, refused outside [-1, 1]."""
    values = as_float_array("correlation", correlation).astype(np.float64)
    bad = ~(np.abs(values) <= 1)
    if bad.any():
        raise fail("correlation", "in [-1, 1]", float(values[bad][0]))
    return values


def _plain(values: FloatArray) -> FloatOrArray:
    """Turn an array without axes into a float."""
    return values if np.ndim(values) else float(values)
