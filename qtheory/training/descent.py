"""Training runs of any update rule, many replicas side by side, with averages and records."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    check_generator,
    check_instance,
    check_integer,
    check_nonnegative,
    fail,
)
from qtheory.training.noise import GradientNoise
from qtheory.training.rules import UpdateRule
from qtheory.training.schedules import Schedule, constant

__all__ = ["Descent", "Record", "descend"]

FloatArray = NDArray[np.floating[Any]]
Progress = Callable[[range], Iterable[int]]


@dataclass(frozen=True, eq=False)
class Record:
    """What a run keeps besides its last weights.

    Parameters
    ----------
    average_from : int
        First step whose weights enter the averages, at least 0.
    every : int or None
        Distance of the steps whose weights are stored; None stores none.
    value : callable or None
        Objective, from weights of shape ``(..., d)`` to values of shape ``(...)``, whose mean over
        the averaged steps is kept.
    count_changes : bool
        Whether changes of the network's weights are counted.
    progress : callable or None
        Wrapper of the range of steps that draws a progress bar, such as ``tqdm.tqdm``.
    """

    average_from: int = 0
    every: int | None = None
    value: Callable[[FloatArray], FloatArray] | None = None
    count_changes: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_integer("average_from", self.average_from, minimum=0)
        if self.every is not None:
            check_integer("every", self.every, minimum=1)


@dataclass(frozen=True, eq=False)
class Descent:
    """Result of a training run; shapes are those of the start, ``(..., d)``.

    Parameters
    ----------
    latent, weights : numpy.ndarray
        Latent weights after the last step, and the network's weights that belong to them.
    latent_average, weight_average : numpy.ndarray
        Averages of the weights before each step, from step ``average_from`` on.
    mean_latent_value, mean_value : numpy.ndarray or None
        Objective at latent and at network weights, averaged over the same steps, shape ``(...)``.
    times : numpy.ndarray
        Steps before which weights were stored, shape ``(k,)``.
    latent_record, weight_record : numpy.ndarray or None
        Stored weights, shape ``(k, ..., d)``.
    changes : numpy.ndarray or None
        Number of changes of single weights from step to step, shape ``(...)``.
    """

    latent: FloatArray
    weights: FloatArray
    latent_average: FloatArray
    weight_average: FloatArray
    mean_latent_value: FloatArray | None
    mean_value: FloatArray | None
    times: NDArray[np.intp]
    latent_record: FloatArray | None
    weight_record: FloatArray | None
    changes: NDArray[np.intp] | None

    def __post_init__(self) -> None:
        """Protect the arrays."""
        for entry in fields(self):
            array = getattr(self, entry.name)
            if array is not None:
                array.flags.writeable = False


def descend(
    gradient: Callable[[FloatArray], ArrayLike],
    start: ArrayLike,
    *,
    rule: UpdateRule,
    learning_rate: float | Schedule,
    num_steps: int,
    rng: np.random.Generator,
    noise: GradientNoise | None = None,
    record: Record | None = None,
) -> Descent:
    r"""Train all replicas for a number of steps.

    Parameters
    ----------
    gradient : callable
        From weights of shape ``(..., d)`` to gradients of that shape, exact or stochastic.
    start : array_like of float
        Latent weights at step 0, shape ``(..., d)``, float32 or float64; on the grid for rules
        without latent precision.
    rule : UpdateRule
        What is done with a gradient.
    learning_rate : float or callable
        Learning rate, or a schedule of it from the step t = 0, 1, ...
    num_steps : int
        Number of steps T, at least 1.
    rng : numpy.random.Generator
        Source of randomness, of rounding and of noise.
    noise : GradientNoise or None
        Law of the noise added to each coordinate of each gradient; ``noise.averaged(batch_size)``
        is that of a batch.
    record : Record or None
        What to keep; averages over all steps by default.

    Returns
    -------
    Descent
        Last weights, averages and records.

    Raises
    ------
    ValueError
        If the start is empty, not finite or off the grid of the rule, or a gradient has another
        shape than the weights.

    Notes
    -----
    Book: ch08-rules.

    Averages are over the weights before each step, :math:`w^{t_0}, \dots, w^{T-1}`.

    Examples
    --------
    BinaryConnect with unbiased rounding finds a minimizer between the grid points:

    >>> import numpy as np
    >>> from qtheory.quantizers import infinite_grid
    >>> from qtheory.training import BinaryConnect, Quadratic, descend, inverse_time
    >>> bowl = Quadratic([1.0], minimizer=0.3)
    >>> run = descend(
    ...     bowl.gradient,
    ...     np.zeros((100, 1)),
    ...     rule=BinaryConnect(infinite_grid(1.0), forward="stochastic"),
    ...     learning_rate=inverse_time(1.0, offset=10),
    ...     num_steps=2000,
    ...     rng=np.random.default_rng(0),
    ... )
    >>> round(float(run.latent.mean()), 2)
    0.3
    """
    check_instance("rule", rule, UpdateRule)
    count = check_integer("num_steps", num_steps, minimum=1)
    generator = check_generator("rng", rng)
    keep = Record() if record is None else record
    if keep.average_from >= count:
        raise fail("record", f"averaging from before step {count}", keep.average_from)
    if noise is not None:
        check_instance("noise", noise, GradientNoise)
    latent = _replicas(rule.start(start))
    rate = _schedule(learning_rate)
    books = _Books(keep, latent)
    steps = range(count)
    for step in steps if keep.progress is None else keep.progress(steps):
        weights = rule.weights(latent, rng=generator)
        books.enter(step, latent, weights)
        slope = _gradient(gradient, weights, noise, generator)
        latent = rule.update(latent, slope, rate(step), rng=generator)
    return books.close(count, latent, rule.weights(latent, rng=generator))


class _Books:
    """Running sums and records of a run."""

    def __init__(self, record: Record, start: FloatArray) -> None:
        """Set the sums to zero."""
        self.record = record
        self.latent_sum = np.zeros(start.shape)
        self.weight_sum = np.zeros(start.shape)
        self.values = np.zeros((2, *start.shape[:-1]))
        self.changes = np.zeros(start.shape[:-1], dtype=np.intp)
        self.times: list[int] = []
        self.stored: list[tuple[FloatArray, FloatArray]] = []
        self.previous: FloatArray | None = None

    def enter(self, step: int, latent: FloatArray, weights: FloatArray) -> None:
        """Note the weights before a step."""
        if step >= self.record.average_from:
            self.latent_sum += latent
            if weights is not latent:
                self.weight_sum += weights
            self._add_values(latent, weights)
        if self.record.every is not None and step % self.record.every == 0:
            self.times.append(step)
            self.stored.append((latent.copy(), weights.copy()))
        self._count(weights)

    def _add_values(self, latent: FloatArray, weights: FloatArray) -> None:
        if self.record.value is not None:
            at_weights = self.record.value(weights)
            self.values[1] += at_weights
            self.values[0] += at_weights if weights is latent else self.record.value(latent)

    def _count(self, weights: FloatArray) -> None:
        if not self.record.count_changes:
            return
        if self.previous is not None:
            self.changes += (weights != self.previous).sum(axis=-1)
        self.previous = weights

    def close(self, num_steps: int, latent: FloatArray, weights: FloatArray) -> Descent:
        """Return the result."""
        self._count(weights)
        if weights is latent:
            self.weight_sum = self.latent_sum.copy()
        count = num_steps - self.record.average_from
        has_value = self.record.value is not None
        return Descent(
            latent=latent.copy(),
            weights=weights.copy(),
            latent_average=self.latent_sum / count,
            weight_average=self.weight_sum / count,
            mean_latent_value=np.asarray(self.values[0] / count) if has_value else None,
            mean_value=np.asarray(self.values[1] / count) if has_value else None,
            times=np.array(self.times, dtype=np.intp),
            latent_record=np.array([pair[0] for pair in self.stored]) if self.stored else None,
            weight_record=np.array([pair[1] for pair in self.stored]) if self.stored else None,
            changes=np.asarray(self.changes) if self.record.count_changes else None,
        )


def _replicas(start: FloatArray) -> FloatArray:
    if start.ndim == 0 or start.size == 0:
        raise fail("start", "of shape (..., d) with at least one element", start.shape)
    return start


def _schedule(learning_rate: float | Schedule) -> Schedule:
    """Return a schedule that checks what a user's schedule returns."""
    if not callable(learning_rate):
        return constant(learning_rate)
    return lambda step: check_nonnegative("learning_rate", learning_rate(step))


def _gradient(
    gradient: Callable[[FloatArray], ArrayLike],
    weights: FloatArray,
    noise: GradientNoise | None,
    rng: np.random.Generator,
) -> FloatArray:
    """Return a gradient of the shape of the weights, with noise."""
    slope = np.asarray(gradient(weights))
    if slope.shape != weights.shape:
        raise fail("gradient", f"of the weights' shape {weights.shape}", slope.shape)
    if noise is None:
        return slope
    draws = noise._sample(weights.shape, rng)
    draws += slope
    return draws
