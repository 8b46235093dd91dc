r"""Averages of low-precision descent (SWALP): what an average in high precision can remove."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_finite,
    check_instance,
    check_integer,
    check_positive,
    fail,
)
from qtheory.quantizers import UniformQuantizer
from qtheory.training.descent import Descent, Record, descend
from qtheory.training.noise import GradientNoise
from qtheory.training.rules import StochasticRounding
from qtheory.training.schedules import Schedule

__all__ = [
    "averaged_variance",
    "averaging_bias_approx",
    "low_precision_variance_bounds",
    "swalp",
]

FloatArray = NDArray[np.float64]

# Up to this number of correlation times the variance of an average is taken from its series.
SHORT_RUN = 1e-4


def swalp(
    gradient: Callable[[NDArray[np.floating[Any]]], ArrayLike],
    start: ArrayLike,
    *,
    grid: UniformQuantizer,
    learning_rate: float | Schedule,
    num_steps: int,
    rng: np.random.Generator,
    noise: GradientNoise | None = None,
    record: Record | None = None,
) -> Descent:
    r"""Average the weights of stochastic rounding in full precision.

    Parameters
    ----------
    gradient : callable
        From weights of shape ``(..., d)`` to gradients of that shape, exact or stochastic.
    start : array_like of float
        Points of the grid, shape ``(..., d)``; leading axes are replicas.
    grid : UniformQuantizer
        Grid of the weights.
    learning_rate : float or callable
        Learning rate, or a schedule of it; the theory is that of a constant one.
    num_steps : int
        Number of steps, at least 1.
    rng : numpy.random.Generator
        Source of noise and of rounding.
    noise : GradientNoise or None
        Law of the noise added to each coordinate of each gradient.
    record : Record or None
        From which step on to average, by default from the first; and what to store. With
        ``every=c`` the mean of ``latent_record`` is the average over cycles of c steps.

    Returns
    -------
    Descent
        The average is ``latent_average``, in float64 and off the grid; ``weights`` is the last
        iterate, on the grid.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-swalp.

    References
    ----------
    [Yang2019]_
    """
    return descend(
        gradient,
        start,
        rule=StochasticRounding(grid),
        learning_rate=learning_rate,
        num_steps=num_steps,
        rng=rng,
        noise=noise,
        record=record,
    )


def averaged_variance(
    variance: ArrayLike,
    *,
    curvatures: ArrayLike,
    learning_rate: float,
    num_averaged: int,
    cycle: int = 1,
) -> FloatArray:
    r"""Variance of the average of stationary weights on a quadratic, along its eigenvectors.

    Exact at every number of steps, for stochastic rounding and for plain stochastic descent alike,
    since both have weights whose conditional mean contracts linearly.

    Parameters
    ----------
    variance : array_like of float
        Stationary variance of one iterate along each eigenvector, not below zero.
    curvatures : array_like of float
        Eigenvalues :math:`\lambda_i`, above zero; broadcast with ``variance``.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero and below :math:`1/\lambda_i`.
    num_averaged : int
        Number n of iterates in the average, at least 1.
    cycle : int
        Steps c from one averaged iterate to the next, at least 1.

    Returns
    -------
    numpy.ndarray
        Variance of the average along each eigenvector.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: thm-ch08-averaging.

    .. math:: \operatorname{Var} \bar w = \frac{\operatorname{Var} w}{n^2}
              \Bigl( n\,\frac{1 + \rho}{1 - \rho}
              - \frac{2 \rho (1 - \rho^n)}{(1 - \rho)^2} \Bigr),
              \qquad \rho = (1 - \alpha\lambda)^c

    Assumptions: quadratic objective, infinite grid, noise that is independent from step to step.

    Accuracy: 1e-11 relative.

    Limits: :math:`\operatorname{Var} w \cdot 2/(\alpha\lambda n)` for many small steps.

    Examples
    --------
    >>> from qtheory.training import averaged_variance
    >>> averaged_variance(1.0, curvatures=[1.0, 4.0], learning_rate=0.1, num_averaged=100).round(4)
    array([0.172 , 0.0392])
    """
    spread = as_float_array("variance", variance)
    if not (np.isfinite(spread) & (spread >= 0)).all():
        raise fail("variance", "finite and not below zero", variance)
    contraction = _products(curvatures, learning_rate, limit=1)
    count = check_integer("num_averaged", num_averaged, minimum=1)
    cycle = check_integer("cycle", cycle, minimum=1)
    gap = -np.expm1(cycle * np.log1p(-contraction))
    decay = 1 - gap
    lost = -np.expm1(count * np.log1p(-np.minimum(gap, 1 - 1e-16)))
    ratio = ((1 + decay) / gap - 2 * decay * lost / (count * gap**2)) / count
    # Few steps cancel in the closed form; so they are counted from one.
    far = count - 1 / count
    series = 1 - gap * far / 3 + gap**2 * far * (count - 2) / 12
    return np.asarray(spread * np.where(count * gap < SHORT_RUN, series, ratio))


def low_precision_variance_bounds(
    *, grid_step: float, noise: GradientNoise, curvatures: ArrayLike, learning_rate: float
) -> tuple[FloatArray, FloatArray]:
    r"""Bounds of the stationary variance of stochastic rounding on a quadratic, from both sides.

    Unlike the exact floor they hold for every stable learning rate and every law of the noise,
    whether steps stay below the grid step or not.

    Parameters
    ----------
    grid_step : float
        Step :math:`\Delta` of the infinite grid, above zero.
    noise : GradientNoise
        Law of the noise :math:`\xi` of each coordinate of the gradient.
    curvatures : array_like of float
        Eigenvalues :math:`\lambda_i` of a diagonal Hessian, above zero.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero and below :math:`2/\lambda_i`.

    Returns
    -------
    lower : numpy.ndarray
        Lower bound of :math:`\mathbb{E}(w_i - w_i^*)^2`.
    upper : numpy.ndarray
        Upper bound of it; both are infinite for noise without a variance.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: thm-ch08-two-sided-floor.

    .. math:: s \ge \max\Bigl( \frac{\Delta\,\mathbb{E}|\xi|}{2\lambda},
              \frac{\alpha\sigma^2}{\lambda(2 - \alpha\lambda)} \Bigr), \qquad
              (2 - \alpha\lambda) \lambda s \le \Delta(\mathbb{E}|\xi| + \lambda \sqrt s)
              + \alpha\sigma^2

    Assumptions: quadratic objective with a diagonal Hessian, stationary law with finite variance.

    Limits: both tend to :math:`\Delta\,\mathbb{E}|\xi|/(2\lambda)` as :math:`\alpha \to 0` and
    :math:`\Delta\lambda/\mathbb{E}|\xi| \to 0`; for Gaussian noise that is
    :math:`\Delta\sigma/(\sqrt{2\pi}\,\lambda)`.

    Examples
    --------
    >>> from qtheory.training import GaussianNoise, low_precision_variance_bounds
    >>> low, high = low_precision_variance_bounds(
    ...     grid_step=1 / 64, noise=GaussianNoise(), curvatures=1.0, learning_rate=1e-4)
    >>> print(f"{low:.6f} {high:.6f}")
    0.006233 0.006934
    """
    step = check_positive("grid_step", grid_step)
    check_instance("noise", noise, GradientNoise)
    product = _products(curvatures, learning_rate, limit=2)
    lam = as_float_array("curvatures", curvatures)
    rate_square = learning_rate * noise.std**2
    stiff = lam * (2 - product)
    mean_abs = step * float(noise.mean_abs(0.0))
    lower = np.maximum(0.5 * mean_abs / lam, rate_square / stiff)
    root = step * lam + np.sqrt((step * lam) ** 2 + 4 * stiff * (mean_abs + rate_square))
    return np.asarray(lower), np.asarray((0.5 * root / stiff) ** 2)


def averaging_bias_approx(
    *, grid_step: float, mean_abs_gradient: float, curvature: float, third_derivative: float
) -> float:
    r"""Distance from the minimizer that averaging leaves where the objective is not quadratic.

    Parameters
    ----------
    grid_step : float
        Step :math:`\Delta` of the grid, above zero.
    mean_abs_gradient : float
        Mean absolute stochastic gradient :math:`\mathbb{E}|g|` near the minimizer, above zero.
    curvature : float
        Second derivative at the minimizer, above zero.
    third_derivative : float
        Third derivative there.

    Returns
    -------
    float
        First-order approximation of :math:`\mathbb{E}\,w - w^*`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-averaging-bias.

    .. math:: \mathbb{E}\,w - w^* \approx -\frac{F'''(w^*)\,\Delta\,\mathbb{E}|g|}{4 F''(w^*)^2}

    Assumptions: one dimension, three continuous derivatives, learning rate to zero first.

    Accuracy: to first order in :math:`\Delta`.
    """
    step = check_positive("grid_step", grid_step)
    size = check_positive("mean_abs_gradient", mean_abs_gradient)
    second = check_positive("curvature", curvature)
    third = check_finite("third_derivative", third_derivative)
    return -third * step * size / (4 * second**2)


def _products(curvatures: ArrayLike, learning_rate: float, *, limit: int) -> FloatArray:
    """Return the products of learning rate and curvatures, all between zero and a limit."""
    lam = np.asarray(as_float_array("curvatures", curvatures), dtype=np.float64)
    if not (np.isfinite(lam) & (lam > 0)).all():
        raise fail("curvatures", "finite and above zero", curvatures)
    product = check_positive("learning_rate", learning_rate) * lam
    if not product.size:
        raise fail("curvatures", "an array with at least one element", curvatures)
    if product.max() >= limit:
        largest = f"below {limit} over the largest curvature, {lam.max():g}"
        raise fail("learning_rate", largest, learning_rate)
    return np.asarray(product)
