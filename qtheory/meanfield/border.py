"""Where trained networks stop learning, and how well a predicted depth follows that border."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_finite, fail
from qtheory.numerics import Estimate

__all__ = ["BorderFit", "accuracy_after", "border_depth", "fit_border"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BorderFit:
    """How a measured border compares with a predicted depth that has one free factor.

    Parameters
    ----------
    multiple : float
        The factor: geometric mean of border over prediction.
    misfit : float
        Standard deviation, over the columns, of the natural logarithm of border over prediction:
        zero if the border is a constant multiple of the prediction.
    noise : float
        Standard error of that logarithm for one column, from the spread of its seeds. A misfit
        far above it is none of chance.
    exponent : Estimate
        Slope of the logarithm of the border against that of the prediction, least squares, one
        line a seed: one if the border is proportional to the prediction.
    """

    multiple: float
    misfit: float
    noise: float
    exponent: Estimate


def accuracy_after(
    num_steps: ArrayLike, checkpoints: ArrayLike, accuracies: ArrayLike
) -> FloatArray:
    """Accuracy after numbers of steps between checkpoints.

    Parameters
    ----------
    num_steps : array_like
        One number of steps for each depth, above zero, shape ``(num_depths,)``.
    checkpoints : array_like
        Increasing numbers of steps, shape ``(num_checkpoints,)``.
    accuracies : array_like
        Accuracies there, shape ``(num_depths, ..., num_checkpoints)``.

    Returns
    -------
    ndarray
        Shape ``(num_depths, ...)``, interpolated linearly in the logarithm of the steps; before
        the first and after the last checkpoint the accuracy there.

    Raises
    ------
    ValueError
        If the shapes do not fit or the checkpoints do not increase from above zero.

    Notes
    -----
    Book: ch07-learning-time.

    Examples
    --------
    >>> print(accuracy_after([20, 99], [10, 40], [[0.1, 0.3], [0.5, 0.9]]).round(6))
    [0.2 0.9]
    """
    steps = as_float_array("num_steps", num_steps).astype(np.float64)
    places = as_float_array("checkpoints", checkpoints).astype(np.float64)
    values = as_float_array("accuracies", accuracies).astype(np.float64)
    if places.ndim != 1 or not (np.diff(places, prepend=0.0) > 0).all():
        raise fail("checkpoints", "increasing from above zero", places.tolist())
    if steps.ndim != 1 or not (steps > 0).all():
        raise fail("num_steps", "a row of numbers above zero", steps.tolist())
    if values.ndim < 2 or (values.shape[0], values.shape[-1]) != (steps.size, places.size):
        shape = f"of shape ({steps.size}, ..., {places.size})"
        raise fail("accuracies", shape, values.shape)
    found = [
        np.apply_along_axis(lambda row, at: np.interp(at, np.log(places), row), -1, table, at)
        for table, at in zip(values, np.log(steps), strict=True)
    ]
    return np.array(found)


def border_depth(depths: ArrayLike, accuracies: ArrayLike, *, threshold: float = 0.5) -> FloatArray:
    """Depth at which the accuracy of trained networks falls through a threshold.

    Parameters
    ----------
    depths : array_like
        Increasing depths, above zero, shape ``(num_depths,)``.
    accuracies : array_like
        Accuracies there, shape ``(num_depths, ...)``; NaN counts as zero.
    threshold : float
        Accuracy at the border.

    Returns
    -------
    ndarray
        Shape ``(...)``: the first crossing, interpolated linearly in the logarithm of the depth.
        Infinite if the deepest network is still above, zero if the shallowest is below.

    Raises
    ------
    ValueError
        If the depths do not increase from above zero, or the shapes do not fit.

    Notes
    -----
    Book: ch07-border.

    Limits: a border between two depths is known no better than the grid of depths allows.

    Examples
    --------
    >>> print(border_depth([4, 16], [0.9, 0.1]).round(6))
    8.0
    """
    places = as_float_array("depths", depths).astype(np.float64)
    values = np.nan_to_num(as_float_array("accuracies", accuracies).astype(np.float64), nan=0.0)
    if places.ndim != 1 or places.size < 2 or places[0] <= 0 or (np.diff(places) <= 0).any():
        raise fail("depths", "at least two, increasing from above zero", places.tolist())
    if values.shape[:1] != places.shape:
        raise fail("accuracies", f"of shape ({places.size}, ...)", values.shape)
    limit = check_finite("threshold", threshold)
    below = values < limit
    after = below.argmax(axis=0)
    before = np.maximum(after - 1, 0)
    high = np.take_along_axis(values, before[np.newaxis], axis=0)[0]
    low = np.take_along_axis(values, after[np.newaxis], axis=0)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = (high - limit) / (high - low)
        crossing = places[before] * (places[after] / places[before]) ** fraction
    return np.where(below[0], 0.0, np.where(below.any(axis=0), crossing, np.inf))


def fit_border(predicted: ArrayLike, borders: ArrayLike) -> BorderFit:
    """Compare measured borders with a predicted depth, up to one factor.

    Parameters
    ----------
    predicted : array_like
        Predicted depth of each column, above zero, shape ``(num_columns,)``, at least three.
    borders : array_like
        Measured borders, finite and above zero, shape ``(num_columns, num_seeds)``, at least two
        seeds.

    Returns
    -------
    BorderFit
        The factor, what it leaves, and the slope on logarithmic axes.

    Raises
    ------
    ValueError
        If the shapes do not fit or a number is not finite and above zero.

    Notes
    -----
    Book: ch07-border-law.

    Limits: the standard error of the exponent holds the spread over seeds alone, not what is
    systematic in the columns.

    Examples
    --------
    >>> fit = fit_border([1, 2, 4], [[6, 6], [12, 12], [24, 24]])
    >>> print(round(fit.multiple, 6), round(fit.exponent.mean, 6))
    6.0 1.0
    """
    scales = as_float_array("predicted", predicted).astype(np.float64)
    measured = as_float_array("borders", borders).astype(np.float64)
    if scales.ndim != 1 or scales.size < 3:
        raise fail("predicted", "of shape (num_columns,), at least three", scales.shape)
    if measured.ndim != 2 or measured.shape[0] != scales.size or measured.shape[1] < 2:
        shape = f"of shape ({scales.size}, num_seeds), at least two seeds"
        raise fail("borders", shape, measured.shape)
    for name, values in (("predicted", scales), ("borders", measured)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise fail(name, "finite and above zero", values.tolist())
    logs = np.log(measured)
    ratios = logs - np.log(scales)[:, np.newaxis]
    centered = np.log(scales) - np.log(scales).mean()
    power = float(centered @ centered)
    slopes = centered @ logs / power if power > 0 else np.zeros(logs.shape[1])
    errors = np.std(ratios, axis=1, ddof=1) / np.sqrt(ratios.shape[1])
    return BorderFit(
        multiple=float(np.exp(ratios.mean())),
        misfit=float(np.std(ratios.mean(axis=1), ddof=1)),
        noise=float(np.sqrt(np.mean(errors**2))),
        exponent=Estimate.from_samples(slopes),
    )
