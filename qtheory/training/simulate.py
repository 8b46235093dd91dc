"""Monte Carlo partner of the theory of training: plain loops over the definitions.

Nothing here knows the theory, or the fast update rules: rounding is that of `qtheory.quantizers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    check_choice,
    check_generator,
    check_instance,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)
from qtheory.numerics import Estimate
from qtheory.quantizers import RoundMode, UniformQuantizer, round_to_integer

__all__ = [
    "TwoLayerGradients",
    "latent_path",
    "one_step",
    "stationary_mean",
    "two_layer_gradients",
    "visit_frequencies",
]

FloatArray = NDArray[np.float64]
Weights = NDArray[np.floating[Any]]
Gradient = Callable[[Any], ArrayLike]
Layers = tuple[ArrayLike, ArrayLike]

BLOCK = 1 << 20  # random numbers made at a time


@dataclass(frozen=True, eq=False)
class TwoLayerGradients:
    """Sample means of loss and gradients of a network of two linear layers.

    Parameters
    ----------
    loss : Estimate
        Half the squared difference to the teacher.
    output, output_error : numpy.ndarray
        Gradient in the second layer and its standard error, shape ``(num_units,)``.
    weights, weights_error : numpy.ndarray
        Coarse gradient in the hidden weights and its standard error, shape ``(dimension,)``.
    """

    loss: Estimate
    output: FloatArray
    output_error: FloatArray
    weights: FloatArray
    weights_error: FloatArray


def one_step(
    gradients: ArrayLike,
    *,
    learning_rate: float,
    grid_step: float,
    rng: np.random.Generator,
    rule: str = "sr",
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate mean, mean square and probability of a move from the grid point zero.

    Parameters
    ----------
    gradients : array_like of float
        Draws of the gradient, shape ``(n,)``, one for each step.
    learning_rate : float
        Learning rate, above zero.
    grid_step : float
        Grid step, above zero.
    rng : numpy.random.Generator
        Source of randomness of the rounding.
    rule : {"sr", "r"}
        Stochastic rounding, or rounding to nearest with ties away from zero.

    Returns
    -------
    tuple of Estimate
        Mean of the move, of its square, and probability that it is not zero.
    """
    check_choice("rule", rule, ["sr", "r"])
    rate, step = (
        check_positive("learning_rate", learning_rate),
        check_positive("grid_step", grid_step),
    )
    mode = RoundMode.STOCHASTIC if rule == "sr" else RoundMode.TIES_AWAY
    source = check_generator("rng", rng) if rule == "sr" else None
    moves = step * round_to_integer(-rate / step * np.asarray(gradients), mode, rng=source)
    moving = (moves != 0).astype(np.float64)
    estimates = [Estimate.from_samples(samples) for samples in (moves, moves**2, moving)]
    return estimates[0], estimates[1], estimates[2]


def visit_frequencies(
    gradient: Gradient,
    levels: ArrayLike,
    *,
    learning_rate: float,
    num_steps: int,
    num_replicas: int,
    num_discarded: int = 0,
    rng: np.random.Generator,
) -> FloatArray:
    """Return how often stochastic rounding visits each level of a line, replica by replica.

    Parameters
    ----------
    gradient : callable
        From weights, shape ``(num_replicas,)``, to stochastic gradients of that shape.
    levels : array_like of float
        Levels at equal distances, increasing, shape ``(n,)``; weights are clipped to them.
    learning_rate : float
        Learning rate, above zero.
    num_steps : int
        Number of steps that count, at least 1.
    num_replicas : int
        Number of independent walks, at least 1; they start on random levels.
    num_discarded : int
        Number of steps before those that count.
    rng : numpy.random.Generator
        Source of randomness of start and rounding.

    Returns
    -------
    numpy.ndarray
        Frequencies, shape ``(num_replicas, n)``, each row of sum one. Rows are independent, so
        their spread gives the standard error.
    """
    points = np.asarray(levels, dtype=np.float64)
    if points.ndim != 1 or points.size < 2:
        raise fail("levels", "at least two levels of a line", points.shape)
    generator, rate = check_generator("rng", rng), check_positive("learning_rate", learning_rate)
    total = check_integer("num_steps", num_steps, minimum=1)
    step = (points[-1] - points[0]) / (points.size - 1)
    rows = np.arange(check_integer("num_replicas", num_replicas, minimum=1))
    codes: Weights = generator.integers(0, points.size, rows.size).astype(np.float64)
    counts = np.zeros((rows.size, points.size))
    for time in range(check_integer("num_discarded", num_discarded, minimum=0) + total):
        if time >= num_discarded:
            counts[rows, codes.astype(np.intp)] += 1
        target = codes - rate / step * np.asarray(gradient(points[0] + step * codes))
        codes = round_to_integer(target, RoundMode.STOCHASTIC, rng=generator)
        codes = np.clip(codes, 0, points.size - 1)
    return np.asarray(counts / total)


def stationary_mean(
    function: Callable[[Any], ArrayLike],
    gradient: Gradient,
    start: ArrayLike,
    *,
    grid_step: float,
    learning_rate: float,
    num_steps: int,
    num_discarded: int,
    rng: np.random.Generator,
) -> Estimate:
    """Estimate the mean of a function of the weights under stochastic rounding.

    Parameters
    ----------
    function : callable
        From weights of shape ``(r, d)`` to values of shape ``(r,)``.
    gradient : callable
        From weights of shape ``(r, d)`` to stochastic gradients of that shape.
    start : array_like of float
        First weights, shape ``(r, d)``; rows are independent replicas, at least two.
    grid_step : float
        Step of the endless grid that weights are rounded to, above zero.
    learning_rate : float
        Learning rate, above zero.
    num_steps, num_discarded : int
        Number of steps that count, and before them.
    rng : numpy.random.Generator
        Source of randomness of the rounding.

    Returns
    -------
    Estimate
        Mean over time and replicas, with the standard error over replicas.
    """
    rate, step = (
        check_positive("learning_rate", learning_rate),
        check_positive("grid_step", grid_step),
    )
    generator = check_generator("rng", rng)
    weights: Weights = np.asarray(start, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[0] < 2:
        raise fail("start", "of shape (replicas, d) with two replicas or more", weights.shape)
    total = np.zeros(weights.shape[0])
    for time in range(num_discarded + check_integer("num_steps", num_steps, minimum=1)):
        if time >= num_discarded:
            total += np.asarray(function(weights))
        target = (weights - rate * np.asarray(gradient(weights))) / step
        weights = step * round_to_integer(target, RoundMode.STOCHASTIC, rng=generator)
    return Estimate.from_samples(total / num_steps)


def two_layer_gradients(
    teacher: Layers,
    student: Layers,
    *,
    window: tuple[float, float],
    num_samples: int,
    rng: np.random.Generator,
) -> TwoLayerGradients:
    """Estimate loss and gradients of a binary-activated network on Gaussian inputs.

    Parameters
    ----------
    teacher, student : tuple of array_like
        Second layer, shape ``(num_units,)``, and hidden weights, shape ``(dimension,)``.
    window : tuple of float
        Pre-activations between these two pass the gradient, others do not.
    num_samples : int
        Number of inputs, each a matrix of ``num_units`` rows, at least two.
    rng : numpy.random.Generator
        Source of randomness of the inputs.

    Returns
    -------
    TwoLayerGradients
        Means over the inputs with their standard errors.
    """
    (v_star, w_star), (v, w) = (
        tuple(np.asarray(layer, dtype=np.float64) for layer in layers)
        for layers in (teacher, student)
    )
    generator = check_generator("rng", rng)
    total = check_integer("num_samples", num_samples, minimum=2)
    size = max(1, BLOCK // (v.size * w.size))
    parts = []
    for first in range(0, total, size):
        inputs = generator.standard_normal((min(size, total - first), v.size, w.size))
        hidden = inputs @ w
        error = (hidden > 0) @ v - (inputs @ w_star > 0) @ v_star
        passed = (hidden > window[0]) & (hidden < window[1])
        weights = np.einsum("kmn,km->kn", inputs, passed * v * error[:, None])
        parts.append(np.column_stack([0.5 * error**2, (hidden > 0) * error[:, None], weights]))
    samples = np.concatenate(parts)
    means, errors = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(total)
    inner, outer = slice(1, 1 + v.size), slice(1 + v.size, None)
    loss = Estimate.from_samples(samples[:, 0])
    return TwoLayerGradients(loss, means[inner], errors[inner], means[outer], errors[outer])


def latent_path(
    start: ArrayLike,
    target: ArrayLike,
    *,
    grid: UniformQuantizer,
    learning_rate: float,
    num_steps: int,
    dampening: float = 0.0,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Follow latent weights that the gradient at the rounded weights moves, on a quadratic loss.

    Parameters
    ----------
    start : array_like of float
        Latent weights at the start, any shape.
    target : array_like of float
        Minimizer of half the squared distance, shape that broadcasts with ``start``.
    grid : UniformQuantizer
        Grid of the rounded weights. Halfway between two levels goes up.
    learning_rate : float
        Learning rate, above zero.
    num_steps : int
        Number of steps, at least 1.
    dampening : float
        Strength of a penalty on the squared distance of latent and rounded weights.

    Returns
    -------
    tuple of numpy.ndarray
        Latent weights and codes before each step, with the steps as the last axis.
    """
    check_instance("grid", grid, UniformQuantizer)
    rate = check_positive("learning_rate", learning_rate)
    strength = check_nonnegative("dampening", dampening)
    latent, goal = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (start, target)))
    steps = check_integer("num_steps", num_steps, minimum=1)
    latents = np.empty((*latent.shape, steps))
    codes = np.empty((*latent.shape, steps), dtype=np.int64)
    for time in range(steps):
        code = np.floor((latent - grid.offset) / grid.step_size + 0.5)
        if grid.is_finite:
            code = np.clip(code, grid.code_min, grid.code_max)
        latents[..., time], codes[..., time] = latent, code
        rounded = grid.offset + grid.step_size * code
        latent = latent - rate * (rounded - goal + 2 * strength * (latent - rounded))
    return latents, codes
