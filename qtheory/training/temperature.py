"""Temperatures of training noise, and the Gibbs laws that go with them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_nonnegative, check_positive, fail

__all__ = [
    "crossover_learning_rate",
    "gibbs_law",
    "sgd_temperature",
    "sr_temperature",
    "trapezoid_potential",
]

FloatArray = NDArray[np.float64]


def sr_temperature(grid_step: float, mean_abs_gradient: float) -> float:
    r"""Temperature at which stochastic rounding samples, whatever the learning rate.

    Parameters
    ----------
    grid_step : float
        Distance :math:`\Delta > 0` of grid points.
    mean_abs_gradient : float
        Mean absolute value of a coordinate of the stochastic gradient, not below zero.

    Returns
    -------
    float
        :math:`T = \tfrac12 \Delta\,\mathbb{E}|g|`, in units of the objective.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch09-temperature.

    Assumptions: small learning rates, and noise much larger than the mean gradient.

    Limits: :math:`\Delta\sigma/\sqrt{2\pi}` for Gaussian noise of standard deviation
    :math:`\sigma` at a critical point.

    Examples
    --------
    >>> from qtheory.training import GaussianNoise, sr_temperature
    >>> round(sr_temperature(0.5, GaussianNoise(2.0).mean_abs()), 6)
    0.398942
    """
    step = check_positive("grid_step", grid_step)
    return 0.5 * step * check_nonnegative("mean_abs_gradient", mean_abs_gradient)


def sgd_temperature(learning_rate: float, variance: float) -> float:
    r"""Temperature at which gradient descent with real weights samples.

    Parameters
    ----------
    learning_rate : float
        Learning rate :math:`\alpha > 0`.
    variance : float
        Variance :math:`\sigma^2 \ge 0` of a coordinate of the stochastic gradient.

    Returns
    -------
    float
        :math:`T = \tfrac12 \alpha\sigma^2`, in units of the objective.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch09-sgd-temperature.

    Assumptions: small learning rates and noise of the same variance everywhere.

    Examples
    --------
    >>> from qtheory.training import sgd_temperature
    >>> sgd_temperature(0.25, 4.0)
    0.5
    """
    rate = check_positive("learning_rate", learning_rate)
    return 0.5 * rate * check_nonnegative("variance", variance)


def crossover_learning_rate(grid_step: float, mean_abs: float, mean_square: float) -> float:
    r"""Learning rate at which rounding and gradient noise are equally hot.

    Parameters
    ----------
    grid_step : float
        Distance :math:`\Delta > 0` of grid points.
    mean_abs : float
        Mean absolute value of a coordinate of the stochastic gradient, above zero.
    mean_square : float
        Mean square of it, at least the square of ``mean_abs``.

    Returns
    -------
    float
        :math:`\alpha^* = \Delta\,\mathbb{E}|g| / \mathbb{E} g^2`. Below it the grid sets the
        temperature, above it the learning rate does.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch09-crossover.

    Limits: :math:`\sqrt{2/\pi}\,\Delta/\sigma` for Gaussian noise without a mean.

    Examples
    --------
    >>> from qtheory.training import GaussianNoise, crossover_learning_rate
    >>> noise = GaussianNoise(2.0)
    >>> round(crossover_learning_rate(0.5, noise.mean_abs(), noise.mean_square()), 6)
    0.199471
    """
    step = check_positive("grid_step", grid_step)
    first = check_positive("mean_abs", mean_abs)
    second = check_positive("mean_square", mean_square)
    ratio = second / first  # whose comparison cannot overflow
    if ratio < first * (1 - 1e-12):
        raise fail("mean_square", f"at least the square of `mean_abs`, which is {first}", second)
    return step / ratio


def gibbs_law(potential: ArrayLike, temperature: float) -> FloatArray:
    r"""Probabilities proportional to :math:`e^{-V/T}`.

    Parameters
    ----------
    potential : array_like of float
        Potential V at each state, any shape, free of NaN; infinity stands for a state that is
        never visited.
    temperature : float
        Temperature T > 0, in units of the potential.

    Returns
    -------
    numpy.ndarray
        Probabilities, of the shape of ``potential``.

    Raises
    ------
    ValueError
        If an argument is out of range, or no state has a finite potential.

    Notes
    -----
    Book: ch09-gibbs.

    Accuracy: 1e-15 (V - min V)/T relative.

    Examples
    --------
    >>> from qtheory.training import gibbs_law
    >>> gibbs_law([0.0, 1.0, 0.0], 0.5).round(4)
    array([0.4683, 0.0634, 0.4683])
    """
    values = np.asarray(as_float_array("potential", potential), dtype=np.float64)
    heat = check_positive("temperature", temperature)
    if values.size == 0 or np.isnan(values).any() or np.isneginf(values).any():
        raise fail("potential", "nonempty, without NaN or minus infinity", potential)
    lowest = float(values.min())
    if lowest == np.inf:
        raise fail("potential", "finite at one state at least", potential)
    with np.errstate(over="ignore"):  # what is infinitely high has the weight zero
        weights = np.exp(-(values - lowest) / heat)
    return np.asarray(weights / weights.sum())


def trapezoid_potential(
    gradient: Callable[[FloatArray], ArrayLike] | ArrayLike, points: ArrayLike
) -> FloatArray:
    r"""Objective as stochastic rounding sees it: from gradients at grid points only.

    Parameters
    ----------
    gradient : callable or array_like
        Mean gradient at the points: a function of the array of points, or its values.
    points : array_like of float
        Increasing points of one axis, at least two, shape ``(num_points,)``.

    Returns
    -------
    numpy.ndarray
        Potential V at the points, zero at its lowest: sums of
        :math:`\tfrac12 (x_{i+1} - x_i)(F'(x_i) + F'(x_{i+1}))`.

    Raises
    ------
    ValueError
        If points are not increasing, the gradient has another shape or is not finite, or the
        potential is not.

    Notes
    -----
    Book: ch09-trapezoid.

    Examples
    --------
    >>> from qtheory.training import trapezoid_potential
    >>> trapezoid_potential(lambda w: 2 * w, [-1.0, 0.0, 1.0, 2.0])
    array([1., 0., 1., 4.])
    """
    places = np.asarray(as_float_array("points", points), dtype=np.float64)
    if places.ndim != 1 or places.size < 2 or not np.isfinite(places).all():
        raise fail("points", "finite, at least two on one axis", points)
    gaps = np.diff(places)
    if not (gaps > 0).all():
        raise fail("points", "increasing", points)
    value = gradient(places.copy()) if callable(gradient) else gradient
    slopes = np.asarray(as_float_array("gradient", value), dtype=np.float64)
    if slopes.shape != places.shape:
        raise fail("gradient", f"of the shape of `points`, {places.shape}", slopes.shape)
    if not np.isfinite(slopes).all():
        raise fail("gradient", "finite at every point", slopes[~np.isfinite(slopes)][0])
    with np.errstate(over="ignore", invalid="ignore"):
        rises = 0.5 * gaps * (slopes[1:] + slopes[:-1])
        potential = np.concatenate([[0.0], np.cumsum(rises)])
    if not np.isfinite(potential).all():
        raise fail("gradient", "small enough for a finite potential", float(np.abs(slopes).max()))
    return np.asarray(potential - potential.min())
