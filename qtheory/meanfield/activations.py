"""What an activation is to the mean-field theory: Gaussian moments of one and of two inputs."""

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)

__all__ = ["Activation"]

FloatArray = NDArray[np.float64]
FloatOrArray = Any
"""A float for scalar input, an array of the input's shape otherwise."""

# Inputs at which a bounded activation has saturated, and outputs that only unbounded ones reach.
FAR = 1e15
MAX_BOUND = 1e12


class Activation(abc.ABC):
    r"""A function of one real number with the Gaussian moments that signal propagation needs.

    Notes
    -----
    Book: ch04-variance-map, ch04-cross-moment, ch04-correlation-slope.

    All moments are taken under pre-activations :math:`u \sim N(0, q)`; pairs have equal variances
    :math:`q` and correlation :math:`c`.
    They are moments about zero: weights of mean zero propagate second moments, not covariances.

    A new activation defines the methods that begin with ``_``; the public ones check the
    arguments and take care of shapes.
    """

    # Two draws of the activation for one input are equal. Rounding noise makes this false.
    is_deterministic: bool = True

    @property
    def bound(self) -> float:
        """Largest magnitude of the output, infinite if there is none.

        The default looks far out on both sides, where most activations are largest.
        """
        far = float(np.abs(self(np.array([-FAR, FAR]))).max())
        return far if far < MAX_BOUND else np.inf

    @abc.abstractmethod
    def __call__(self, x: ArrayLike) -> FloatArray:
        """Apply the activation elementwise."""

    def mean(self, variance: ArrayLike) -> FloatOrArray:
        r"""Mean output :math:`\mathbb E\,\varphi(u)`.

        Parameters
        ----------
        variance : array_like
            Pre-activation variances :math:`q \ge 0`, any shape; zero stands for :math:`u = 0`.

        Returns
        -------
        float or numpy.ndarray
            Means, shape of ``variance``.

        Raises
        ------
        ValueError
            If a variance is negative or not finite.
        """
        return _over_variances(self._mean, variance)

    def second_moment(self, variance: ArrayLike) -> FloatOrArray:
        r"""Mean square of the output, :math:`\mathbb E\,\varphi(u)^2`.

        Parameters
        ----------
        variance : array_like
            Pre-activation variances :math:`q \ge 0`, any shape; zero stands for :math:`u = 0`.

        Returns
        -------
        float or numpy.ndarray
            Second moments, shape of ``variance``.

        Raises
        ------
        ValueError
            If a variance is negative or not finite.
        """
        return _over_variances(self._second_moment, variance)

    def second_moment_slope(self, variance: ArrayLike) -> FloatOrArray:
        r"""Slope of the second moment as a function of the variance.

        Parameters
        ----------
        variance : array_like
            Pre-activation variances :math:`q > 0`, any shape.

        Returns
        -------
        float or numpy.ndarray
            :math:`\mathrm d\,\mathbb E\,\varphi(u)^2 / \mathrm d q`, shape of ``variance``.

        Raises
        ------
        ValueError
            If a variance is not above zero or not finite.
        """
        _refuse_zero("variance", variance)
        return _over_variances(self._second_moment_slope, variance)

    def derivative_second_moment(self, variance: ArrayLike) -> FloatOrArray:
        r"""Mean square of the derivative, :math:`\mathbb E\,\varphi'(u)^2`.

        Parameters
        ----------
        variance : array_like
            Pre-activation variances :math:`q > 0`, any shape.

        Returns
        -------
        float or numpy.ndarray
            Mean squares, shape of ``variance``; infinite for a function that jumps.

        Raises
        ------
        ValueError
            If a variance is not above zero or not finite.
        """
        _refuse_zero("variance", variance)
        return _over_variances(self._derivative_second_moment, variance)

    def cross_moment(self, correlation: ArrayLike, variance: float) -> FloatOrArray:
        r"""Mean product of the outputs for two correlated inputs.

        Parameters
        ----------
        correlation : array_like
            Correlations :math:`c \in [-1, 1]` of the two pre-activations, any shape.
        variance : float
            Their common variance :math:`q \ge 0`.

        Returns
        -------
        float or numpy.ndarray
            :math:`\mathbb E\,\varphi(u_1)\varphi(u_2)`, shape of ``correlation``.

        Raises
        ------
        ValueError
            If a correlation lies outside [-1, 1] or the variance is negative or not finite.

        Notes
        -----
        Book: ch04-cross-moment.

        At :math:`c = 1` this is the second moment, unless the activation is noisy: two independent
        draws for the same input differ.
        """
        variance = check_nonnegative("variance", variance)
        if variance == 0:
            constant = self._degenerate_cross_moment()
            return _over_correlations(
                lambda _: constant, lambda c: np.full(c.shape, constant), correlation
            )
        return _over_correlations(
            lambda c: self._cross_moment(c, variance),
            lambda c: self._cross_moments(c, variance),
            correlation,
        )

    def cross_moment_slope(self, correlation: ArrayLike, variance: float) -> FloatOrArray:
        r"""Slope of the cross moment as a function of the correlation.

        Parameters
        ----------
        correlation : array_like
            Correlations :math:`c \in [-1, 1]`, any shape.
        variance : float
            Common variance :math:`q > 0` of the pre-activations.

        Returns
        -------
        float or numpy.ndarray
            :math:`q\,\mathbb E\,\varphi'(u_1)\varphi'(u_2)` (Price's theorem), shape of
            ``correlation``. Infinite at :math:`|c| = 1` for a function that jumps.

        Raises
        ------
        ValueError
            If a correlation lies outside [-1, 1] or the variance is not above zero.

        Notes
        -----
        Book: ch04-correlation-slope.
        """
        variance = check_positive("variance", variance)
        return _over_correlations(
            lambda c: self._cross_moment_slope(c, variance),
            lambda c: self._cross_moment_slopes(c, variance),
            correlation,
        )

    def hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        r"""Coefficients of the activation in normalized Hermite polynomials.

        Parameters
        ----------
        num_terms : int
            Number of coefficients, at least 1.
        variance : float
            Pre-activation variance :math:`q > 0`.

        Returns
        -------
        numpy.ndarray
            :math:`a_k = \mathbb E\,\varphi(\sqrt q z)\,\mathrm{He}_k(z)/\sqrt{k!}` for
            :math:`k = 0, \dots,` ``num_terms - 1``, so that the cross moment is
            :math:`\sum_k a_k^2 c^k`.

        Raises
        ------
        ValueError
            If ``num_terms`` is below 1 or the variance is not above zero.
        """
        num_terms = check_integer("num_terms", num_terms, minimum=1)
        return self._hermite_coefficients(num_terms, check_positive("variance", variance))

    # What an activation defines: scalars in, floats out, arguments checked.

    @abc.abstractmethod
    def _mean(self, variance: float) -> float: ...

    @abc.abstractmethod
    def _second_moment(self, variance: float) -> float: ...

    @abc.abstractmethod
    def _second_moment_slope(self, variance: float) -> float: ...

    @abc.abstractmethod
    def _derivative_second_moment(self, variance: float) -> float: ...

    @abc.abstractmethod
    def _cross_moment(self, correlation: float, variance: float) -> float: ...

    @abc.abstractmethod
    def _cross_moment_slope(self, correlation: float, variance: float) -> float: ...

    @abc.abstractmethod
    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray: ...

    # Many correlations at once, for an activation that can do better than one after another.

    def _cross_moments(self, correlations: FloatArray, variance: float) -> FloatArray:
        return np.array([self._cross_moment(c, variance) for c in correlations.tolist()])

    def _cross_moment_slopes(self, correlations: FloatArray, variance: float) -> FloatArray:
        return np.array([self._cross_moment_slope(c, variance) for c in correlations.tolist()])

    def _degenerate_cross_moment(self) -> float:
        """Cross moment when both inputs are zero."""
        return self._mean(0.0) ** 2


def _over_variances(function: Callable[[float], float], variance: ArrayLike) -> FloatOrArray:
    """Map a function of one variance over an array of them."""
    values = as_float_array("variance", variance).astype(np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise fail("variance", "finite and not below zero", float(values[bad][0]))
    return _mapped(function, values)


def _over_correlations(
    one: Callable[[float], float],
    many: Callable[[FloatArray], FloatArray],
    correlation: ArrayLike,
) -> FloatOrArray:
    """Apply the one function to a scalar, the other to the elements of an array."""
    if type(correlation) is float and abs(correlation) <= 1:
        return float(one(correlation))  # the short way; whatever is odd takes the long one
    values = as_float_array("correlation", correlation).astype(np.float64, copy=False)
    bad = ~(np.abs(values) <= 1)
    if bad.any():
        raise fail("correlation", "in [-1, 1]", float(values[bad][0]))
    if values.ndim == 0:
        return float(one(float(values)))
    return many(values.ravel()).reshape(values.shape)


def _mapped(function: Callable[[float], float], values: FloatArray) -> FloatOrArray:
    """Apply a scalar function to each element; scalars stay scalars."""
    if values.ndim == 0:
        return float(function(float(values)))
    results = np.fromiter(map(function, values.ravel().tolist()), dtype=np.float64)
    return results.reshape(values.shape)


def _refuse_zero(name: str, value: ArrayLike) -> None:
    """Refuse a variance of zero, at which there is nothing to differentiate."""
    values = as_float_array(name, value)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise fail(name, "finite and above zero", float(values[bad][0]))
