"""Laws of gradient noise: the partial expectations that rounding makes of them, in closed form."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import (
    as_float_array,
    check_generator,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.numerics import normal_density

__all__ = [
    "DiscreteNoise",
    "GaussianNoise",
    "GradientNoise",
    "NoNoise",
    "RademacherNoise",
    "StudentTNoise",
]

FloatArray = NDArray[np.float64]

# Beyond this point the tail of the normal law is taken from a continued fraction.
FAR = 1.5
NUM_FRACTIONS = 256
MAX_SUPPORT = 2**16
BLOCK_ENTRIES = 2**20
# Roots of the batch to both sides of the middle, beyond which sums of signs are rarer than e^-800.
REACH = 20
# Probabilities below this, relative to the largest, are left out.
SMALLEST_WEIGHT = 1e-290
# Sums of draws closer than this, relative to the largest, are one value.
SAME_VALUE = 1e-12
PROBABILITY_TOLERANCE = 1e-9


class GradientNoise(ABC):
    r"""The law of :math:`\xi` in a stochastic gradient :math:`g = \nabla F(w) + \xi`, of mean zero.

    Methods take arrays of any shape and return float64 arrays of that shape, or a float for a
    number.

    A law of your own is a subclass with the properties ``std`` and ``bound`` and four methods of
    float64 arrays: ``_cdf(x)``, the probability of :math:`\xi \le x`; ``_excess(x)``, which is
    :math:`\mathbb{E}(\xi - x)_+`; ``_tail_square(x)``, which is :math:`\mathbb{E}(\xi - x)_+^2`;
    and ``_sample(size, rng)``. Its mean must be zero. One that is not symmetric also needs
    ``_reversed()``, the law of :math:`-\xi`, as the methods of the lower tail are made of it; and
    ``_averaged(batch_size)`` is needed if it is to be averaged over batches.

    Examples
    --------
    Uniform noise between -1 and 1:

    >>> import numpy as np
    >>> from qtheory.training import GradientNoise, limit_chain, stationary_law
    >>> class UniformNoise(GradientNoise):
    ...     std, bound = 3**-0.5, 1.0
    ...     def _cdf(self, x):
    ...         return np.clip((x + 1) / 2, 0, 1)
    ...     def _excess(self, x):
    ...         return np.clip(1 - x, 0, 2) ** 2 / 4 + np.maximum(-1 - x, 0)
    ...     def _tail_square(self, x):
    ...         return np.clip(1 - x, 0, 2) ** 3 / 6 + np.maximum(-1 - x, 0) * (1 - x)
    ...     def _sample(self, size, rng):
    ...         return rng.uniform(-1, 1, size)
    >>> axis = np.linspace(-0.5, 0.5, 3)
    >>> print(stationary_law(limit_chain(lambda w: w, axis, noise=UniformNoise())).round(4))
    [0.2353 0.5294 0.2353]
    """

    @property
    @abstractmethod
    def std(self) -> float:
        """Standard deviation, infinite for laws without variance."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """Largest absolute value, infinite for laws with tails."""

    @abstractmethod
    def _cdf(self, x: FloatArray) -> FloatArray: ...

    @abstractmethod
    def _excess(self, x: FloatArray) -> FloatArray: ...

    @abstractmethod
    def _tail_square(self, x: FloatArray) -> FloatArray: ...

    @abstractmethod
    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray: ...

    def _reversed(self) -> "GradientNoise":
        """Return the law of the negative noise."""
        return self

    def cdf(self, x: ArrayLike) -> Any:
        r"""Return the probability of :math:`\xi \le x`."""
        return _apply(self._cdf, x)

    def excess(self, x: ArrayLike) -> Any:
        r"""Return :math:`\mathbb{E}(\xi - x)_+`, accurate in the upper tail."""
        return _apply(self._excess, x)

    def shortfall(self, x: ArrayLike) -> Any:
        r"""Return :math:`\mathbb{E}(x - \xi)_+`, accurate in the lower tail."""
        return _apply(lambda values: self._reversed()._excess(-values), x)

    def tail_square(self, x: ArrayLike) -> Any:
        r"""Return :math:`\mathbb{E}(\xi - x)_+^2`, infinite for laws without variance."""
        return _apply(self._tail_square, x)

    def positive_part(self, mean: ArrayLike = 0.0) -> Any:
        r"""Return :math:`\mathbb{E}(m + \xi)_+` for the mean m of a gradient."""
        return _apply(lambda values: self._excess(-values), mean)

    def negative_part(self, mean: ArrayLike = 0.0) -> Any:
        r"""Return :math:`\mathbb{E}(m + \xi)_-`, not below zero, for the mean m of a gradient."""
        return _apply(lambda values: self._reversed()._excess(values), mean)

    def mean_abs(self, mean: ArrayLike = 0.0) -> Any:
        r"""Return :math:`\mathbb{E}|m + \xi|` for the mean m of a gradient."""
        return _apply(lambda m: self._excess(-m) + self._reversed()._excess(m), mean)

    def mean_square(self, mean: ArrayLike = 0.0) -> Any:
        r"""Return :math:`\mathbb{E}(m + \xi)^2` for the mean m of a gradient."""
        return _apply(lambda m: m * m + self.std**2, mean)

    def sample(self, size: int | tuple[int, ...], *, rng: np.random.Generator) -> FloatArray:
        """Return independent draws of the given shape."""
        return self._sample(size, check_generator("rng", rng))

    def averaged(self, batch_size: int) -> "GradientNoise":
        """Return the law of the mean of ``batch_size`` independent draws.

        Raises
        ------
        ValueError
            If the batch is empty, or the law of the mean has no closed form here.
        """
        size = check_integer("batch_size", batch_size, minimum=1)
        return self if size == 1 else self._averaged(size)

    def _averaged(self, batch_size: int) -> "GradientNoise":
        raise fail(
            "batch_size", f"1 for {type(self).__name__}, whose means are of another law", batch_size
        )


@dataclass(frozen=True)
class GaussianNoise(GradientNoise):
    """Normal noise.

    Parameters
    ----------
    std : float
        Standard deviation, above zero.

    Notes
    -----
    Book: ch09-noise-laws.

    Accuracy: partial expectations at z standard deviations to 3e-15 (1 + z^2) of their
    own size, in both tails.

    Examples
    --------
    >>> from qtheory.training import GaussianNoise
    >>> noise = GaussianNoise(2.0)
    >>> round(noise.mean_abs(0.0), 6)  # 2 sqrt(2 / pi)
    1.595769
    >>> noise.averaged(16).std
    0.5
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "std", check_positive("std", self.std))

    @property
    def bound(self) -> float:
        """No bound."""
        return math.inf

    def _cdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(special.ndtr(x / self.std))

    def _excess(self, x: FloatArray) -> FloatArray:
        return self.std * _normal_tail(x / self.std)[0]

    def _tail_square(self, x: FloatArray) -> FloatArray:
        return self.std**2 * _normal_tail(x / self.std)[1]

    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        draws = rng.standard_normal(size)
        draws *= self.std
        return draws

    def _averaged(self, batch_size: int) -> GradientNoise:
        return GaussianNoise(self.std / math.sqrt(batch_size))


@dataclass(frozen=True)
class StudentTNoise(GradientNoise):
    r"""Student's t noise: heavy tails, without a variance up to two degrees of freedom.

    Parameters
    ----------
    df : float
        Degrees of freedom :math:`\nu`, finite and above one so that the mean exists.
    scale : float
        Factor of a standard t variable, above zero; not its standard deviation.

    Notes
    -----
    Book: ch09-noise-laws.

    Accuracy: partial expectations at t scales to about
    :math:`10^{-15}\,\nu\,(1 + \nu\log(1 + t^2/\nu))` of their own size.
    """

    df: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "df", check_positive("df", self.df))
        object.__setattr__(self, "scale", check_positive("scale", self.scale))
        if self.df <= 1:
            raise fail("df", "above one for the mean to exist", self.df)

    @property
    def std(self) -> float:
        """Standard deviation, infinite up to two degrees of freedom."""
        return self.scale * math.sqrt(self.df / (self.df - 2)) if self.df > 2 else math.inf

    @property
    def bound(self) -> float:
        """No bound."""
        return math.inf

    def _cdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(special.stdtr(self.df, x / self.scale))

    def _first(self, t: FloatArray) -> FloatArray:
        """Return E T 1{T > t} of a standard variable."""
        log_peak = -special.betaln(0.5 * self.df, 0.5) - 0.5 * math.log(self.df)
        power = np.exp(log_peak - 0.5 * (self.df - 1) * np.log1p(t * t / self.df))
        return np.asarray(self.df / (self.df - 1) * power)

    def _excess(self, x: FloatArray) -> FloatArray:
        t = x / self.scale
        return np.asarray(self.scale * (self._first(t) - t * special.stdtr(self.df, -t)))

    def _tail_square(self, x: FloatArray) -> FloatArray:
        if self.df <= 2:
            return np.full_like(x, np.inf)
        nu, t = self.df, x / self.scale
        mass = special.stdtr(nu, -t)
        inner = special.stdtr(nu - 2, -t * math.sqrt((nu - 2) / nu))
        second = nu * ((nu - 1) / (nu - 2) * inner - mass)
        return np.asarray(self.scale**2 * (second - 2 * t * self._first(t) + t * t * mass))

    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return self.scale * rng.standard_t(self.df, size)


@dataclass(frozen=True, eq=False)
class DiscreteNoise(GradientNoise):
    """Noise of finitely many values, as a finite data set gives it.

    Parameters
    ----------
    values : array_like of float
        Values, at least one, finite; their mean must be zero within 1e-9 of the largest.
    probabilities : array_like of float
        Probabilities above zero with sum one within 1e-9; equal ones by default.

    Notes
    -----
    Book: ch09-noise-laws.

    Examples
    --------
    Noise of one side is rare and large, of the other frequent and small:

    >>> from qtheory.training import DiscreteNoise
    >>> noise = DiscreteNoise([-1.0, 3.0], [0.75, 0.25])
    >>> noise.positive_part(0.0), noise.negative_part(0.0)
    (0.75, 0.75)
    """

    values: FloatArray
    probabilities: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        values = np.array(as_float_array("values", self.values), dtype=np.float64)
        check_nonempty("values", values)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise fail("values", "one-dimensional and finite", values)
        weights = _weights(self.probabilities, values.size)
        mean, largest = float(weights @ values), float(np.abs(values).max())
        if abs(mean) > PROBABILITY_TOLERANCE * largest:
            raise fail("values", "of mean zero (move the mean into the gradient)", mean)
        for name, array in (("values", values), ("probabilities", weights)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(float(self._mass() @ self.values**2))

    @property
    def bound(self) -> float:
        """Largest absolute value."""
        return float(np.abs(self.values).max())

    def _mass(self) -> FloatArray:
        """Return the probabilities, which are an array once checked."""
        return np.asarray(self.probabilities)

    def _reversed(self) -> GradientNoise:
        return DiscreteNoise(-self.values, self._mass())

    def _mean(self, function: Callable[[FloatArray], FloatArray], x: FloatArray) -> FloatArray:
        """Return the mean of a function of the differences to x, in blocks that fit in memory."""
        flat = x.reshape(-1)
        size = max(1, BLOCK_ENTRIES // self.values.size)
        starts = range(0, flat.size, size)
        blocks = [function(self.values - flat[i : i + size, None]) @ self._mass() for i in starts]
        return np.concatenate([np.zeros(0), *blocks]).reshape(x.shape)

    def _cdf(self, x: FloatArray) -> FloatArray:
        return self._mean(lambda rest: (rest <= 0).astype(np.float64), x)

    def _excess(self, x: FloatArray) -> FloatArray:
        return self._mean(lambda rest: np.maximum(rest, 0.0), x)

    def _tail_square(self, x: FloatArray) -> FloatArray:
        return self._mean(lambda rest: np.maximum(rest, 0.0) ** 2, x)

    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return np.asarray(rng.choice(self.values, size=size, p=self._mass() / self._mass().sum()))

    def _averaged(self, batch_size: int) -> GradientNoise:
        total: tuple[FloatArray, FloatArray] = (np.zeros(1), np.ones(1))
        power = (self.values, self._mass())
        count = batch_size
        while count:
            if count & 1:
                total = _sum_law(total, power)
            count >>= 1
            if count:
                power = _sum_law(power, power)
        return DiscreteNoise(total[0] / batch_size, total[1] / total[1].sum())


@dataclass(frozen=True)
class RademacherNoise(GradientNoise):
    """Noise of two values, plus and minus the scale, equally likely.

    Parameters
    ----------
    scale : float
        Absolute value of the noise, above zero; also its standard deviation.

    Notes
    -----
    Book: ch09-noise-laws.

    Accuracy: partial expectations to rounding.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "scale", check_positive("scale", self.scale))

    @property
    def std(self) -> float:
        """Standard deviation."""
        return self.scale

    @property
    def bound(self) -> float:
        """Largest absolute value."""
        return self.scale

    def _cdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(0.5 * ((x >= -self.scale) + (x >= self.scale).astype(np.float64)))

    def _excess(self, x: FloatArray) -> FloatArray:
        upper, lower = np.maximum(self.scale - x, 0.0), np.maximum(-self.scale - x, 0.0)
        return np.asarray(0.5 * (upper + lower))

    def _tail_square(self, x: FloatArray) -> FloatArray:
        upper, lower = np.maximum(self.scale - x, 0.0), np.maximum(-self.scale - x, 0.0)
        return np.asarray(0.5 * (upper**2 + lower**2))

    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return np.asarray(self.scale * (2.0 * rng.integers(0, 2, size) - 1.0))

    def _averaged(self, batch_size: int) -> GradientNoise:
        middle = (batch_size + 1) // 2
        reach = min(batch_size - middle, REACH * (1 + math.isqrt(batch_size)))
        if 2 * reach > 16 * MAX_SUPPORT:
            condition = f"small enough for a law of at most {16 * MAX_SUPPORT} values"
            raise fail("batch_size", condition, batch_size)
        heads = np.arange(middle, middle + reach + 1)
        # From the middle outward, each probability is the one before times a ratio below one.
        upper = np.cumprod(np.append(1.0, (batch_size - heads[1:] + 1) / heads[1:]))
        kept = upper > SMALLEST_WEIGHT
        values = self.scale * (2 * heads[kept] - batch_size) / batch_size
        apart = values > 0
        lower = upper[kept][apart][::-1]
        weights = np.concatenate([lower, upper[kept]])
        values = np.concatenate([-values[apart][::-1], values])
        return DiscreteNoise(values, weights / weights.sum())


@dataclass(frozen=True)
class NoNoise(GradientNoise):
    """The absence of noise: every gradient is the true one.

    Notes
    -----
    Book: ch09-noise-laws.
    """

    @property
    def std(self) -> float:
        """Zero."""
        return 0.0

    @property
    def bound(self) -> float:
        """Zero."""
        return 0.0

    def _cdf(self, x: FloatArray) -> FloatArray:
        return (x >= 0).astype(np.float64)

    def _excess(self, x: FloatArray) -> FloatArray:
        return np.maximum(-x, 0.0)

    def _tail_square(self, x: FloatArray) -> FloatArray:
        return np.maximum(-x, 0.0) ** 2

    def _sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return np.zeros(size)

    def _averaged(self, batch_size: int) -> GradientNoise:
        return self


def check_noise(noise: object) -> GradientNoise:
    """Return a law of noise; None stands for no noise."""
    law = NoNoise() if noise is None else noise
    if not isinstance(law, GradientNoise):
        raise fail("noise", "GradientNoise", noise)
    return law


def _apply(function: Callable[[FloatArray], FloatArray], x: ArrayLike) -> Any:
    """Call a function of a float64 array; a number in gives a float out."""
    values: FloatArray = as_float_array("x", x).astype(np.float64)
    result = np.asarray(function(np.atleast_1d(values)), dtype=np.float64)
    return float(result[0]) if values.ndim == 0 else result


def _weights(probabilities: ArrayLike | None, size: int) -> FloatArray:
    """Return checked probabilities with sum one."""
    if probabilities is None:
        return np.full(size, 1.0 / size)
    weights = np.array(as_float_array("probabilities", probabilities), dtype=np.float64)
    if weights.shape != (size,):
        raise fail("probabilities", f"of the shape of `values`, ({size},)", weights.shape)
    if not (weights > 0).all() or abs(weights.sum() - 1) > PROBABILITY_TOLERANCE:
        raise fail("probabilities", "above zero with sum one", weights)
    return weights


def _sum_law(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the law of the sum of two independent discrete variables."""
    if first[0].size * second[0].size > MAX_SUPPORT * 64:
        raise fail("batch_size", "small enough for a law of few values", first[0].size)
    values = np.add.outer(first[0], second[0]).ravel()
    weights = np.multiply.outer(first[1], second[1]).ravel()
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    gap = SAME_VALUE * max(float(np.abs(values).max()), 1e-300)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values) > gap]))
    merged = np.add.reduceat(weights, starts)
    kept = merged > 0
    return values[starts][kept], merged[kept]


def _normal_tail(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return E(Z - z)_+ and E(Z - z)_+^2 of a standard normal variable, without cancellation.

    Far out, Mills' ratio is 1 / (z + C) with the continued fraction C = 1 / (z + 2 / (z + ...)),
    and both moments are products of such fractions.
    """
    density, mass = normal_density(z), special.ndtr(-z)
    first = density - z * mass
    second = (1 + z * z) * mass - z * density
    far = z > FAR
    if far.any():
        one, two = _fractions(z[far])
        first[far] = mass[far] * one
        second[far] = mass[far] * one * two
    return first, second


def _fractions(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the first two tails C_1, C_2 of Mills' continued fraction, C_k = k / (z + C_(k+1))."""
    tail = np.zeros_like(z)
    after = tail
    for k in range(NUM_FRACTIONS, 0, -1):
        after, tail = tail, k / (z + tail)
    return tail, after
