"""Activations without jumps: closed forms where they exist, quadrature for the rest."""

import abc
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from qtheory._checks import as_float_array, check_finite, check_positive, fail
from qtheory.meanfield import _quadrature as quadrature
from qtheory.meanfield._quadrature import Function
from qtheory.meanfield.activations import FAR, MAX_BOUND, Activation, FloatArray

__all__ = ["Erf", "HardTanh", "LeakyReLU", "Linear", "ReLU", "SmoothActivation", "Tanh"]

_ROOT_TWO = math.sqrt(2)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


class _ByQuadrature(Activation):
    """An activation whose moments are integrals of its values."""

    @abc.abstractmethod
    def _values(self, u: FloatArray) -> FloatArray:
        """Apply the function to float64 numbers."""

    @abc.abstractmethod
    def _step(self, variance: float) -> float:
        """Step of the trapezoidal rule, in units of the argument."""

    @property
    def _slope(self) -> Function | None:
        """The derivative, if it is known."""
        return None

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""
        return np.asarray(self._values(_as_float64(x)), dtype=np.float64)

    def _mean(self, variance: float) -> float:
        return quadrature.mean(self._values, variance, self._step(variance))

    def _second_moment(self, variance: float) -> float:
        return quadrature.second_moment(self._values, variance, self._step(variance))

    def _second_moment_slope(self, variance: float) -> float:
        return quadrature.second_moment_slope(self._values, variance, self._step(variance))

    def _derivative_second_moment(self, variance: float) -> float:
        step = self._step(variance)
        slope = self._slope or quadrature.derivative(self._values, step)
        return quadrature.second_moment(slope, variance, step)

    def _cross_moment(self, correlation: float, variance: float) -> float:
        step = self._step(variance)
        return quadrature.cross_moment(self._values, correlation, variance, step)

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        step = self._step(variance)
        return quadrature.cross_moment_slope(
            self._values, correlation, variance, step, slope=self._slope
        )

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        step = self._step(variance)
        return quadrature.hermite_coefficients(self._values, num_terms, variance, step)


@dataclass(frozen=True, eq=False)
class SmoothActivation(_ByQuadrature):
    r"""Any smooth function as an activation, its moments by quadrature of its values.

    Parameters
    ----------
    function : callable
        Maps a float64 array to an array of its shape; analytic near the real axis and of at most
        polynomial growth, as softplus, the sigmoid, GELU, the sine or a polynomial.
    derivative : callable, optional
        Its derivative, of the same kind. Left out, differences of order sixteen take its place
        where it is needed.

    Raises
    ------
    ValueError
        If ``function`` or ``derivative`` is not callable or does not map an array to an array of
        its shape.
    ConvergenceError
        By a moment, if the function bends on a scale finer than 2e-4 standard deviations, as every
        function with a kink or a jump does, or has values that are not finite.

    Notes
    -----
    Book: ch04-trapezoid.

    Accuracy: moments within 1e-12 relative to the second moment of the function or of its
    derivative, for variances up to 1e3 and every correlation, tested on functions that vary on the
    scale of one. Hermite coefficients within 1e-12 for up to 200 terms.

    Examples
    --------
    >>> import numpy as np
    >>> from qtheory.meanfield import SmoothActivation
    >>> sine = SmoothActivation(np.sin)
    >>> print(round(sine.second_moment(1.0), 12), round((1 - np.exp(-2.0)) / 2, 12))
    0.432332358382 0.432332358382
    """

    function: Function
    derivative: Function | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called."""
        if not callable(self.function):
            raise fail("function", "callable", self.function)
        if not (self.derivative is None or callable(self.derivative)):
            raise fail("derivative", "callable", self.derivative)
        _check_elementwise("function", self.function)
        if self.derivative is not None:
            _check_elementwise("derivative", self.derivative)

    @property
    def bound(self) -> float:
        """Largest magnitude of the output between 1e-3 and 1e15, 111 places a decade."""
        places = np.geomspace(1e-3, FAR, 2000)
        with np.errstate(all="ignore"):
            values = self.function(np.concatenate([-places, [0.0], places]))
            largest = float(np.max(np.abs(values)))
        return largest if largest < MAX_BOUND else math.inf

    def _values(self, u: FloatArray) -> FloatArray:
        return self.function(u)

    @property
    def _slope(self) -> Function | None:
        return self.derivative

    def _step(self, variance: float) -> float:
        known = [self.function] if self.derivative is None else [self.function, self.derivative]
        # Derivatives have poles of higher order, which a fifth of the step pays for.
        return 0.8 * quadrature.convergence_step(variance, *known)


def _check_elementwise(name: str, function: Function) -> None:
    """Refuse a function of single numbers, or one that returns a constant as one number."""
    try:
        shape = np.shape(function(np.array([0.25, 0.5, 0.75])))
    except TypeError as error:
        raise fail(name, "a map of arrays to arrays of their shape", function) from error
    if shape != (3,):
        raise fail(name, "a map of arrays to arrays of their shape", f"shape {shape} for (3,)")


@dataclass(frozen=True)
class Tanh(_ByQuadrature):
    r"""The hyperbolic tangent, :math:`\varphi(u) = \tanh u`.

    Notes
    -----
    Book: ch04-trapezoid.

    No closed form is known. The nearest poles lie at :math:`\pm i\pi/2`, which fixes the step of
    the trapezoidal rule for all variances.

    Accuracy: moments within 1e-13 relative for variances up to 1e3 and every correlation.

    Examples
    --------
    >>> from qtheory.meanfield import Tanh
    >>> print(round(Tanh().second_moment(1.0), 10))
    0.3942944904
    """

    def _values(self, u: FloatArray) -> FloatArray:
        return np.tanh(u)

    @property
    def _slope(self) -> Function:
        return _sech_squared

    def _step(self, variance: float) -> float:
        return 0.22  # exp(-2 pi (pi / 2) / 0.22) = 3e-20, enough for poles of fourth order

    def _mean(self, variance: float) -> float:
        return 0.0

    def _second_moment_slope(self, variance: float) -> float:
        # E phi phi' u / q by the chain rule: no term is negative, so nothing cancels.
        def integrand(u: FloatArray) -> FloatArray:
            return np.asarray(np.tanh(u) * _sech_squared(u) * u / variance)

        return quadrature.mean(integrand, variance, self._step(variance))


@dataclass(frozen=True)
class Erf(Activation):
    r"""The error function, :math:`\varphi(u) = \operatorname{erf} u`.

    Notes
    -----
    Book: ch04-erf.

    The cross moment is :math:`\tfrac2\pi \arcsin\frac{2qc}{1+2q}`.

    Accuracy: 1e-14 relative, for every variance and correlation.

    References
    ----------
    [Williams1998]_

    Examples
    --------
    >>> import math
    >>> from qtheory.meanfield import Erf
    >>> print(round(Erf().cross_moment(0.5, 1.0), 12), round(2 / math.pi * math.asin(1 / 3), 12))
    0.216346895939 0.216346895939
    """

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""
        return np.asarray(special.erf(_as_float64(x)))

    def _mean(self, variance: float) -> float:
        return 0.0

    def _second_moment(self, variance: float) -> float:
        return self._cross_moment(1.0, variance)

    def _second_moment_slope(self, variance: float) -> float:
        return 4 / (math.pi * (1 + 2 * variance) * math.sqrt(1 + 4 * variance))

    def _derivative_second_moment(self, variance: float) -> float:
        return 4 / (math.pi * math.sqrt(1 + 4 * variance))

    def _cross_moment(self, correlation: float, variance: float) -> float:
        # The arcsine as an arctangent, which keeps its digits where its argument is near one.
        root = _erf_root(correlation, variance)
        return 2 / math.pi * math.atan2(2 * variance * correlation, root)

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        return 4 * variance / (math.pi * _erf_root(correlation, variance))

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        coefficients = np.zeros(max(num_terms, 2))
        shrink = 2 * variance / (1 + 2 * variance)
        coefficients[1] = math.sqrt(2 * shrink / math.pi)
        for k in range(3, num_terms, 2):
            coefficients[k] = -coefficients[k - 2] * shrink * (k - 2) / math.sqrt(k * (k - 1))
        return coefficients[:num_terms]


@dataclass(frozen=True)
class LeakyReLU(Activation):
    r"""The leaky rectifier: :math:`\varphi(u) = u` above zero and :math:`s u` below.

    Parameters
    ----------
    negative_slope : float
        Slope :math:`s` below zero, any finite number: 0 gives the rectifier, 1 the identity and
        -1 the absolute value.

    Raises
    ------
    ValueError
        If ``negative_slope`` is not finite.

    Notes
    -----
    Book: ch04-relu.

    The cross moment is :math:`q\,[s c + (1-s)^2 \kappa(c) / 2\pi]` with the arc-cosine kernel
    :math:`\kappa(c) = \sqrt{1-c^2} + (\pi - \arccos c)\,c`.

    Accuracy: 1e-14 relative to the second moment, for every variance and correlation; for the
    rectifier 1e-14 relative to the cross moment itself.

    References
    ----------
    [ChoSaul2009]_

    Examples
    --------
    >>> from qtheory.meanfield import LeakyReLU
    >>> print(LeakyReLU(0.5).second_moment(2.0))  # half of the variance times 1 + 1/4
    1.25
    """

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        """Check the slope."""
        object.__setattr__(
            self, "negative_slope", check_finite("negative_slope", self.negative_slope)
        )

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""
        values = _as_float64(x)
        return np.where(values < 0, self.negative_slope * values, values)

    @property
    def _bend(self) -> float:
        """Jump of the derivative at zero."""
        return 1 - self.negative_slope

    def _mean(self, variance: float) -> float:
        return self._bend * math.sqrt(variance) / _ROOT_TWO_PI

    def _second_moment(self, variance: float) -> float:
        return variance * self._mean_square_slope

    def _second_moment_slope(self, variance: float) -> float:
        return self._mean_square_slope

    def _derivative_second_moment(self, variance: float) -> float:
        return self._mean_square_slope

    @property
    def _mean_square_slope(self) -> float:
        return 0.5 * (1 + self.negative_slope**2)

    def _cross_moment(self, correlation: float, variance: float) -> float:
        angle = _angle_to_opposite(correlation)
        # sin a - a cos a, where a cosine near one would cancel.
        kernel = angle**2 * float(special.spherical_jn(1, angle))
        share = self._bend**2 / (2 * math.pi)
        return variance * (self.negative_slope * correlation + share * kernel)

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        share = self._bend**2 / (2 * math.pi)
        return variance * (self.negative_slope + share * _angle_to_opposite(correlation))

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        std = math.sqrt(variance)
        coefficients = np.zeros(max(num_terms, 3))
        coefficients[0] = std * self._bend / _ROOT_TWO_PI
        coefficients[1] = std * 0.5 * (1 + self.negative_slope)
        coefficients[2] = std * self._bend / (_ROOT_TWO_PI * _ROOT_TWO)
        for k in range(4, num_terms, 2):
            coefficients[k] = -coefficients[k - 2] * (k - 3) / math.sqrt(k * (k - 1))
        return coefficients[:num_terms]


@dataclass(frozen=True, init=False)
class ReLU(LeakyReLU):
    r"""The rectifier, :math:`\varphi(u) = \max(u, 0)`.

    Notes
    -----
    Book: ch04-relu.

    References
    ----------
    [ChoSaul2009]_

    Examples
    --------
    >>> import math
    >>> from qtheory.meanfield import ReLU
    >>> print(round(ReLU().cross_moment(0.0, 1.0) * 2 * math.pi, 12))
    1.0
    """

    def __init__(self) -> None:
        super().__init__(0.0)

    def __repr__(self) -> str:
        return "ReLU()"


@dataclass(frozen=True)
class Linear(Activation):
    r"""The identity, :math:`\varphi(u) = u`: a linear network, in which correlations never change.

    Notes
    -----
    Book: ch04-variance-map.

    Examples
    --------
    >>> from qtheory.meanfield import Linear
    >>> Linear().cross_moment(0.3, 2.0)
    0.6
    """

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""
        return _as_float64(x).copy()

    def _mean(self, variance: float) -> float:
        return 0.0

    def _second_moment(self, variance: float) -> float:
        return variance

    def _second_moment_slope(self, variance: float) -> float:
        return 1.0

    def _derivative_second_moment(self, variance: float) -> float:
        return 1.0

    def _cross_moment(self, correlation: float, variance: float) -> float:
        return variance * correlation

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        return variance

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        coefficients = np.zeros(max(num_terms, 2))
        coefficients[1] = math.sqrt(variance)
        return coefficients[:num_terms]


@dataclass(frozen=True)
class HardTanh(Activation):
    r"""The identity, clipped: :math:`\varphi(u) = \min(\max(u, -a), a)`.

    Parameters
    ----------
    clip : float
        Limit :math:`a > 0`.

    Raises
    ------
    ValueError
        If ``clip`` is not finite and above zero.

    Notes
    -----
    Book: ch04-hard-tanh.

    Probabilities of two correlated Gaussians inside a square, in Owen's function [Owen1956]_.

    Accuracy: second moments 1e-14 relative; cross moments and their slopes 1e-12 relative to their
    values at correlation one, for variances up to ``1e3 * clip**2``.

    Limits: the identity for small variances, ``clip`` times the sign for large ones.

    Examples
    --------
    >>> from qtheory.meanfield import HardTanh
    >>> print(round(HardTanh().second_moment(1.0), 10))
    0.516058551
    """

    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the limit."""
        object.__setattr__(self, "clip", check_positive("clip", self.clip))

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""
        return np.clip(_as_float64(x), -self.clip, self.clip)

    def _mean(self, variance: float) -> float:
        return 0.0

    def _second_moment(self, variance: float) -> float:
        if variance == 0:
            return 0.0
        clipped = self.clip**2 * math.erfc(self._limit(variance) / _ROOT_TWO)
        return variance * self._second_moment_slope(variance) + clipped

    def _second_moment_slope(self, variance: float) -> float:
        # P(|z| < t) - 2 t phi(t), which is a distribution function of chi-square.
        return float(special.gammainc(1.5, 0.5 * self._limit(variance) ** 2))

    def _derivative_second_moment(self, variance: float) -> float:
        return math.erf(self._limit(variance) / _ROOT_TWO)

    def _cross_moment(self, correlation: float, variance: float) -> float:
        if abs(correlation) == 1:
            return math.copysign(self._second_moment(variance), correlation)
        t, c = self._limit(variance), correlation
        low, high = math.sqrt((1 - c) / (1 + c)), math.sqrt((1 + c) / (1 - c))
        below, above = special.owens_t(t, low), special.owens_t(t, high)
        tails = special.ndtr(-t * high) - special.ndtr(-t * low)
        densities = math.exp(-0.5 * (t * low) ** 2) - math.exp(-0.5 * (t * high) ** 2)
        density = math.exp(-0.5 * t * t) / _ROOT_TWO_PI
        root = math.sqrt((1 - c) * (1 + c)) / _ROOT_TWO_PI
        inside = c * (1 - 4 * below - 4 * above) - 4 * t * t * (below - above)
        return float(variance * (inside + density * (4 * t * tails + 2 * root * densities)))

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        if abs(correlation) == 1:
            return variance * self._derivative_second_moment(variance)
        t, c = self._limit(variance), correlation
        low, high = math.sqrt((1 - c) / (1 + c)), math.sqrt((1 + c) / (1 - c))
        return float(variance * (1 - 4 * special.owens_t(t, low) - 4 * special.owens_t(t, high)))

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        t, std = self._limit(variance), math.sqrt(variance)
        coefficients = np.zeros(max(num_terms, 2))
        coefficients[1] = std * self._derivative_second_moment(variance)
        density = math.exp(-0.5 * t * t) / _ROOT_TWO_PI
        before, polynomial = 0.0, 1.0  # He_(k-2)(t) / sqrt((k-2)!), starting at k = 2
        for k in range(3, num_terms):
            n = k - 2
            before, polynomial = (
                polynomial,
                (t * polynomial - math.sqrt(n - 1) * before) / math.sqrt(n),
            )
            if k % 2:
                coefficients[k] = -2 * std * density * polynomial / math.sqrt(k * (k - 1))
        return coefficients[:num_terms]

    def _limit(self, variance: float) -> float:
        """Limit in standard deviations."""
        return self.clip / math.sqrt(variance)


def _as_float64(x: ArrayLike) -> FloatArray:
    return as_float_array("x", x).astype(np.float64)


def _sech_squared(u: FloatArray) -> FloatArray:
    value = np.tanh(u)
    return np.asarray((1 - value) * (1 + value))


def _erf_root(correlation: float, variance: float) -> float:
    """Root of (1 + 2q)^2 - (2qc)^2, in factors that do not cancel."""
    low, high = 1 + 2 * variance * (1 - correlation), 1 + 2 * variance * (1 + correlation)
    return math.sqrt(low * high)


def _angle_to_opposite(correlation: float) -> float:
    """Angle pi - arccos c, exact near both ends."""
    return 2 * math.atan2(math.sqrt(1 + correlation), math.sqrt(1 - correlation))
