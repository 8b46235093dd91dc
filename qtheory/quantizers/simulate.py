"""Monte Carlo partners of the theory of Part 1; they share no code with it but the quantizers."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import check_generator, check_integer
from qtheory.numerics import Estimate

__all__ = ["Sampler", "distortion", "entropy_bits", "input_error_covariance", "running_sum"]

FloatArray = NDArray[np.float64]
Quantizer = Callable[[FloatArray], NDArray[np.floating]]

BATCH = 1 << 18


class Sampler(Protocol):
    """Anything that draws samples, as the sources of this package do."""

    @property
    def mean(self) -> float:
        """Mean of the draws."""

    def sample(self, size: int | tuple[int, ...], *, rng: np.random.Generator) -> FloatArray:
        """Draw an array of independent samples."""


def distortion(
    quantizer: Quantizer, source: Sampler, *, num_samples: int, rng: np.random.Generator
) -> Estimate:
    """Mean squared error of a quantizer, by sampling.

    Parameters
    ----------
    quantizer : callable
        Maps an array to an array of the same shape: any quantizer of this package, or a function.
    source : Sampler
        Law of the input.
    num_samples : int
        Number of independent samples, at least two; drawn in batches, so memory does not grow.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Estimate
        Mean squared error with its standard error, in squared units of the source.

    Raises
    ------
    ValueError
        If ``num_samples`` is below two or ``rng`` no generator.

    Notes
    -----
    Book: ch01-check.
    """
    return _mean_of(lambda x: (x - quantizer(x)) ** 2, source, num_samples, rng)


def input_error_covariance(
    quantizer: Quantizer, source: Sampler, *, num_samples: int, rng: np.random.Generator
) -> Estimate:
    """Covariance of input and error, by sampling around the known mean of the source.

    Parameters
    ----------
    quantizer : callable
        Maps an array to an array of the same shape.
    source : Sampler
        Law of the input.
    num_samples : int
        Number of independent samples, at least two.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Estimate
        Covariance with its standard error, in squared units of the source.

    Raises
    ------
    ValueError
        If ``num_samples`` is below two or ``rng`` no generator.

    Notes
    -----
    Book: ch01-additive-noise.
    """
    return _mean_of(lambda x: (x - source.mean) * (quantizer(x) - x), source, num_samples, rng)


def entropy_bits(
    quantizer: Quantizer, source: Sampler, *, num_samples: int, rng: np.random.Generator
) -> Estimate:
    """Entropy of the output of a quantizer, by counting.

    Parameters
    ----------
    quantizer : callable
        Maps an array to levels.
    source : Sampler
        Law of the input.
    num_samples : int
        Number of independent samples, at least two; held in memory at once.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Estimate
        Plug-in entropy in bits with the standard error of its leading term. Its bias, about minus
        ``(number of levels - 1) / (2 * num_samples * log(2))``, is not corrected.

    Raises
    ------
    ValueError
        If ``num_samples`` is below two or ``rng`` no generator.

    Notes
    -----
    Book: ch01-rate.
    """
    count = check_integer("num_samples", num_samples, minimum=2)
    levels = quantizer(source.sample(count, rng=check_generator("rng", rng)))
    _, inverse, counts = np.unique(levels, return_inverse=True, return_counts=True)
    return Estimate.from_samples(-np.log2(counts / count)[inverse])


def running_sum(terms: ArrayLike, rounder: Quantizer, *, num_runs: int = 1) -> FloatArray:
    """Add terms one by one, rounding the sum after each addition.

    Parameters
    ----------
    terms : array_like
        Terms, shape ``(num_steps,)``.
    rounder : callable
        Rounds an array of sums, shape ``(num_runs,)``; a random one makes the runs differ.
    num_runs : int
        Number of sums carried in parallel, at least one.

    Returns
    -------
    numpy.ndarray
        Sums after each step, shape ``(num_steps, num_runs)``.

    Raises
    ------
    ValueError
        If ``num_runs`` is below one.

    Notes
    -----
    Book: ch03-stagnation.
    """
    values = np.asarray(terms, dtype=np.float64).ravel()
    runs = check_integer("num_runs", num_runs, minimum=1)
    history = np.empty((values.size, runs))
    total = np.zeros(runs)
    for step, term in enumerate(values):
        total = np.asarray(rounder(total + term), dtype=np.float64)
        history[step] = total
    return history


def _mean_of(
    function: Callable[[FloatArray], FloatArray],
    source: Sampler,
    num_samples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Mean of a function of the samples with its standard error, merged from batches."""
    check_integer("num_samples", num_samples, minimum=2)
    check_generator("rng", rng)
    count, mean, squares = 0, 0.0, 0.0
    for size in _batches(num_samples):
        values = function(source.sample(size, rng=rng))
        batch_mean = float(np.mean(values))
        gap, total = batch_mean - mean, count + size
        squares += float(np.sum((values - batch_mean) ** 2)) + gap**2 * count * size / total
        mean, count = mean + gap * size / total, total
    return Estimate(mean, float(np.sqrt(squares / (count - 1) / count)), count)


def _batches(num_samples: int) -> Iterator[int]:
    """Batch sizes that add up to the number of samples."""
    for start in range(0, num_samples, BATCH):
        yield min(BATCH, num_samples - start)
