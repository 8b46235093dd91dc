"""Random sources: the densities whose quantization the theory treats.

Every source is symmetric about its mean and described by its standardized version Z, of mean zero
and variance one. Three tail moments of Z carry all the theory of Part 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import as_float_array, check_finite, check_generator, check_positive, fail
from qtheory.numerics import (
    composite_legendre,
    gauss_jacobi,
    gauss_laguerre,
    gauss_legendre,
    normal_density,
)

__all__ = ["Gaussian", "Laplace", "Source", "StudentT", "Uniform"]

FloatArray = NDArray[np.float64]

MIN_STD, MAX_STD = 1e-140, 1e140
"""Range of standard deviations whose squares are normal float64 numbers."""

TAIL_NODES = 24
"""Nodes per panel of the rule for tails."""

TAIL_BREAKS = (-1.0, -2 / 3, 0.0, 1.0)
"""Panels of the rule for a Gaussian tail, shorter where the density is large."""

BESSEL_END = 1e4
"""Argument from which on exp(-s) times any power in use is zero in float64."""

MAPPED_NODES = 80
"""Nodes of the rule for a t tail, on the unit interval that it is mapped to."""


@dataclass(frozen=True)
class Source(ABC):
    """A random variable with a density that is symmetric about its mean.

    Parameters
    ----------
    mean : float
        Mean, finite.
    std : float
        Standard deviation, from 1e-140 to 1e140.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "mean", check_finite("mean", self.mean))
        object.__setattr__(self, "std", check_positive("std", self.std))
        if not MIN_STD <= self.std <= MAX_STD:
            raise fail("std", f"from {MIN_STD:g} to {MAX_STD:g}, to be squared", self.std)

    @property
    def var(self) -> float:
        """Variance."""
        return self.std**2

    @property
    @abstractmethod
    def differential_entropy_bits(self) -> float:
        """Differential entropy in bits."""

    @property
    @abstractmethod
    def cube_root_norm(self) -> float:
        r"""The integral of the cube root of the density, cubed; unit of the variance.

        It is the constant of the Panter-Dite formula, ``12 * num_levels**2`` times the distortion.
        """

    @property
    def is_log_concave(self) -> bool:
        """Whether the logarithm of the density is concave."""
        return True

    @property
    def support_std(self) -> float:
        """Half width of the support in standard deviations, infinite for most sources."""
        return math.inf

    @property
    def moment_condition(self) -> float:
        """Factor by which the tail moments amplify rounding errors of their terms."""
        return 1.0

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density.

        Parameters
        ----------
        x : array_like
            Points, any shape.

        Returns
        -------
        numpy.ndarray
            Density at the points, in inverse units of ``x``.
        """
        return self.standard_pdf(self.standardize(x)) / self.std

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Probability of a value up to ``x``.

        Parameters
        ----------
        x : array_like
            Points, any shape.

        Returns
        -------
        numpy.ndarray
            Probabilities from 0 to 1; small ones keep their relative accuracy.
        """
        z = self.standardize(x)
        tail = self.tail_moments(np.abs(z))[0]
        return np.where(z < 0, tail, 1.0 - tail)

    def quantile(self, p: ArrayLike) -> FloatArray:
        """Inverse of :meth:`cdf`.

        Parameters
        ----------
        p : array_like
            Probabilities from 0 to 1.

        Returns
        -------
        numpy.ndarray
            Points, infinite at 0 and 1 for an unbounded source.
        """
        return self.mean + self.std * self.standard_quantile(_probabilities(p))

    def companding_quantile(self, p: ArrayLike) -> FloatArray:
        """Quantile of the density proportional to the cube root of this one.

        Parameters
        ----------
        p : array_like
            Probabilities from 0 to 1.

        Returns
        -------
        numpy.ndarray
            Points; this is the expander of the best compander at high resolution.
        """
        return self.mean + self.std * self.standard_companding_quantile(_probabilities(p))

    def sample(self, size: int | tuple[int, ...], *, rng: np.random.Generator) -> FloatArray:
        """Independent draws.

        Parameters
        ----------
        size : int or tuple of int
            Shape of the result.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        numpy.ndarray
            Draws of shape ``size``.
        """
        return self.mean + self.std * self.standard_sample(size, check_generator("rng", rng))

    def standardize(self, x: ArrayLike) -> FloatArray:
        """Distance from the mean in standard deviations.

        Parameters
        ----------
        x : array_like
            Points, any shape.

        Returns
        -------
        numpy.ndarray
            ``(x - mean) / std``.
        """
        return (as_float_array("x", x).astype(np.float64) - self.mean) / self.std

    @abstractmethod
    def standard_pdf(self, z: FloatArray) -> FloatArray:
        """Density of Z."""

    @abstractmethod
    def tail_moments(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Integrals of ``1``, ``u`` and ``u**2`` times the density of Z over ``u > z >= 0``."""

    @abstractmethod
    def tail_nodes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distances beyond ``z`` and weights, density included, for integrals over ``u > z``."""

    @abstractmethod
    def standard_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of Z."""

    @abstractmethod
    def standard_companding_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of the density proportional to the cube root of the density of Z."""

    @abstractmethod
    def characteristic_function(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Characteristic function of Z, which is real, and its derivative, for ``t > 0``."""

    @abstractmethod
    def standard_sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draws of Z."""


@dataclass(frozen=True)
class Gaussian(Source):
    """Normal distribution.

    Parameters
    ----------
    mean : float
        Mean, finite.
    std : float
        Standard deviation, from 1e-140 to 1e140.

    Examples
    --------
    >>> from qtheory.quantizers import Gaussian
    >>> float(Gaussian(std=2.0).cdf(0.0))
    0.5
    """

    @property
    def differential_entropy_bits(self) -> float:
        """Differential entropy in bits."""
        return 0.5 * math.log2(2 * math.pi * math.e * self.var)

    @property
    def cube_root_norm(self) -> float:
        """Constant of the Panter-Dite formula: 6 sqrt(3) pi times the variance."""
        return 6 * math.sqrt(3) * math.pi * self.var

    def standard_pdf(self, z: FloatArray) -> FloatArray:
        """Density of Z."""
        return normal_density(z)

    def tail_moments(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tail moments; ``u**2 f = f - (u f)'`` gives the second."""
        mass, density = special.ndtr(-z), self.standard_pdf(z)
        # At infinity z * density is inf * 0.
        return mass, density, np.where(np.isinf(z), 0.0, z) * density + mass

    def tail_nodes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gauss-Legendre up to where the density has fallen by a factor exp(-46)."""
        nodes, weights = composite_legendre(TAIL_NODES, TAIL_BREAKS)
        length = 92.0 / (z + np.sqrt(z * z + 92.0))
        distances = 0.5 * length[:, None] * (nodes + 1.0)
        density = self.standard_pdf(z[:, None] + distances)
        return distances, 0.5 * length[:, None] * weights * density

    def standard_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of Z."""
        return np.asarray(special.ndtri(p))

    def standard_companding_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of a normal density of three times the variance."""
        return math.sqrt(3) * np.asarray(special.ndtri(p))

    def characteristic_function(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Characteristic function of Z and its derivative."""
        value = np.exp(-0.5 * t * t)
        return value, -t * value

    def standard_sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draws of Z."""
        return rng.standard_normal(size)


@dataclass(frozen=True)
class Laplace(Source):
    """Two-sided exponential distribution.

    Parameters
    ----------
    mean : float
        Mean, finite.
    std : float
        Standard deviation, from 1e-140 to 1e140; the decay rate is ``sqrt(2) / std``.
    """

    @property
    def differential_entropy_bits(self) -> float:
        """Differential entropy in bits."""
        return math.log2(math.e * math.sqrt(2) * self.std)

    @property
    def cube_root_norm(self) -> float:
        """Constant of the Panter-Dite formula: 54 times the variance."""
        return 54 * self.var

    def standard_pdf(self, z: FloatArray) -> FloatArray:
        """Density of Z."""
        return math.sqrt(0.5) * np.exp(-math.sqrt(2) * np.abs(z))

    def tail_moments(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tail moments, by parts."""
        mass, r = 0.5 * np.exp(-math.sqrt(2) * z), math.sqrt(0.5)
        z = np.where(np.isinf(z), 0.0, z)  # there the mass is zero
        return mass, mass * (z + r), mass * ((z + r) ** 2 + r * r)

    def tail_nodes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gauss-Laguerre: exact for polynomials, since the density is an exponential."""
        nodes, weights = gauss_laguerre(8)
        distances = np.broadcast_to(math.sqrt(0.5) * nodes, (z.size, nodes.size))
        return distances, weights * 0.5 * np.exp(-math.sqrt(2) * z)[:, None]

    def standard_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of Z."""
        with np.errstate(divide="ignore"):
            magnitude = -math.sqrt(0.5) * np.log(2 * np.minimum(p, 1 - p))
        return np.asarray(np.copysign(magnitude, p - 0.5))

    def standard_companding_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of a density that decays three times more slowly."""
        return np.asarray(3.0 * self.standard_quantile(p))

    def characteristic_function(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Characteristic function of Z and its derivative."""
        value = 1.0 / (1.0 + 0.5 * t * t)
        return value, -t * value * value

    def standard_sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draws of Z."""
        return rng.laplace(scale=math.sqrt(0.5), size=size)


@dataclass(frozen=True)
class Uniform(Source):
    """Uniform distribution on ``mean - sqrt(3) std .. mean + sqrt(3) std``.

    Parameters
    ----------
    mean : float
        Mean, finite.
    std : float
        Standard deviation, from 1e-140 to 1e140.

    Examples
    --------
    >>> from qtheory.quantizers import Uniform
    >>> round(Uniform.on(-1.0, 1.0).var, 12)
    0.333333333333
    """

    @classmethod
    def on(cls, low: float, high: float) -> "Uniform":
        """Uniform distribution on an interval.

        Parameters
        ----------
        low, high : float
            Ends, ``low < high``.

        Returns
        -------
        Uniform
            The source.

        Raises
        ------
        ValueError
            If the ends are not finite or not in order.
        """
        if not check_finite("low", low) < check_finite("high", high):
            raise fail("high", f"above `low` {low}", high)
        return cls(mean=0.5 * low + 0.5 * high, std=(0.5 * high - 0.5 * low) / math.sqrt(3))

    @property
    def differential_entropy_bits(self) -> float:
        """Differential entropy in bits."""
        return math.log2(2 * math.sqrt(3) * self.std)

    @property
    def cube_root_norm(self) -> float:
        """Constant of the Panter-Dite formula: the squared length of the interval."""
        return 12 * self.var

    @property
    def support_std(self) -> float:
        """Half width of the support in standard deviations: the square root of three."""
        return math.sqrt(3)

    def standard_pdf(self, z: FloatArray) -> FloatArray:
        """Density of Z."""
        return np.where(np.abs(z) <= math.sqrt(3), 0.5 / math.sqrt(3), 0.0)

    def tail_moments(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tail moments of a constant density."""
        end = math.sqrt(3)
        z = np.minimum(z, end)
        left = (end - z) * (0.5 / end)
        return left, left * 0.5 * (end + z), left * (end * end + end * z + z * z) / 3.0

    def tail_nodes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gauss-Legendre up to the end of the support."""
        nodes, weights = gauss_legendre(8)
        half = 0.5 * (math.sqrt(3) - np.minimum(z, math.sqrt(3)))[:, None]
        return half * (1.0 + nodes), half * weights * (0.5 / math.sqrt(3))

    def standard_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of Z."""
        return math.sqrt(3) * (2.0 * p - 1.0)

    def standard_companding_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of the same constant density."""
        return self.standard_quantile(p)

    def characteristic_function(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Characteristic function of Z and its derivative."""
        s = math.sqrt(3) * t
        value = np.sin(s) / s
        return value, (np.cos(s) - value) / t

    def standard_sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draws of Z."""
        return rng.uniform(-math.sqrt(3), math.sqrt(3), size)


@dataclass(frozen=True)
class StudentT(Source):
    r"""Student's t distribution, scaled to a given standard deviation: a heavy-tailed source.

    Parameters
    ----------
    mean : float
        Mean, finite.
    std : float
        Standard deviation, from 1e-140 to 1e140; not the scale parameter of the t density.
    df : float
        Degrees of freedom :math:`\nu`, finite and above two so that the variance exists.
        By keyword, without default.

    Notes
    -----
    With :math:`T` a standard t variable, :math:`Z = T \sqrt{(\nu - 2)/\nu}`. The second moment
    over an interval follows from :math:`(1 + t^2/\nu) f_\nu(t)` being a t density of
    :math:`\nu - 2` degrees of freedom up to scale.

    Examples
    --------
    >>> from qtheory.quantizers import StudentT
    >>> StudentT(df=5.0, std=2.0).var
    4.0
    """

    df: float = field(kw_only=True)

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "df", check_positive("df", self.df))
        if self.df <= 2:
            raise fail("df", "above two for the variance to exist", self.df)

    @property
    def scale(self) -> float:
        """Factor from a standard t variable to Z."""
        return math.sqrt((self.df - 2) / self.df)

    @property
    def differential_entropy_bits(self) -> float:
        """Differential entropy in bits."""
        half = 0.5 * (self.df + 1)
        nats = half * (special.digamma(half) - special.digamma(0.5 * self.df))
        nats += 0.5 * math.log(self.df) + special.betaln(0.5 * self.df, 0.5)
        return float(nats / math.log(2)) + math.log2(self.scale * self.std)

    @property
    def cube_root_norm(self) -> float:
        """Constant of the Panter-Dite formula, through a beta function."""
        integral = math.sqrt(self.df) * float(special.beta(0.5, (self.df - 2) / 6))
        return self._peak() * integral**3 * self.scale**2 * self.var

    @property
    def is_log_concave(self) -> bool:
        """The tails are too heavy for the density to be log-concave."""
        return False

    @property
    def moment_condition(self) -> float:
        """The second tail moment is a difference of terms of the size of ``df``."""
        return self.df

    def standard_pdf(self, z: FloatArray) -> FloatArray:
        """Density of Z."""
        t = z / self.scale
        power = np.exp(-0.5 * (self.df + 1) * np.log1p(t * t / self.df))
        return np.asarray(self._peak() / self.scale * power)

    def tail_moments(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tail moments through t probabilities of ``df`` and ``df - 2`` degrees of freedom."""
        nu, t = self.df, z / self.scale
        mass = special.stdtr(nu, -t)
        inner = special.stdtr(nu - 2, -t * math.sqrt((nu - 2) / nu))
        power = np.exp(-0.5 * (nu - 1) * np.log1p(t * t / nu))
        first = self._peak() * nu / (nu - 1) * power
        second = nu * ((nu - 1) / (nu - 2) * inner - mass)
        return mass, self.scale * first, self.scale**2 * second

    def tail_nodes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gauss-Jacobi after the map ``u / (1 - u)`` of the unit interval to the tail.

        A power law of the tail is a power of ``1 - u`` at the end, which the weight takes in.
        """
        power = self.df - 3.0 - max(math.floor(self.df - 12.0), 0)
        u, unit_weights = gauss_jacobi(MAPPED_NODES, power)
        # A few times the length over which the density falls by e, from z = 0 to the power tail.
        length = 4.0 * (self.df + z * z) / ((self.df + 1.0) * (1.0 + z))
        distances = length[:, None] * u / (1.0 - u)
        weights = length[:, None] * unit_weights * (1.0 - u) ** (-2.0 - power)
        return distances, weights * self.standard_pdf(z[:, None] + distances)

    def standard_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of Z."""
        return self.scale * _t_quantile(self.df, p)

    def standard_companding_quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of a scaled t density of ``(df - 2) / 3`` degrees of freedom."""
        inner = (self.df - 2) / 3
        return math.sqrt(self.df / inner) * self.scale * _t_quantile(inner, p)

    def characteristic_function(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Characteristic function of Z and its derivative, through Bessel functions K."""
        half, s = 0.5 * self.df, np.minimum(t * math.sqrt(self.df - 2), BESSEL_END)
        # exp(-s) is taken out of the Bessel functions so that they do not underflow early.
        front = np.exp(half * np.log(s) - s - special.gammaln(half) - (half - 1) * math.log(2))
        value = front * special.kve(half, s)
        return value, -math.sqrt(self.df - 2) * front * special.kve(half - 1, s)

    def standard_sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draws of Z."""
        return self.scale * rng.standard_t(self.df, size)

    def _peak(self) -> float:
        """Density of a standard t variable at zero."""
        return math.exp(-float(special.betaln(0.5 * self.df, 0.5))) / math.sqrt(self.df)


def _t_quantile(df: float, p: FloatArray) -> FloatArray:
    """Quantile of a standard t variable, infinite at both ends, where scipy gives other values."""
    inside = np.where((p > 0) & (p < 1), special.stdtrit(df, p), np.inf)
    return np.copysign(inside, p - 0.5)


def _probabilities(p: ArrayLike) -> FloatArray:
    """Probabilities as float64, checked."""
    array = as_float_array("p", p).astype(np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise fail("p", "between 0 and 1", p)
    return array
