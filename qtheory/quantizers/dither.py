"""Dither: noise added before rounding, and the error laws it buys."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_generator,
    check_instance,
    check_integer,
    check_positive,
    fail,
)
from qtheory.quantizers.rounding import MAX_RANDOM_BITS, RoundMode, round_to_integer
from qtheory.quantizers.scalar import UniformQuantizer

__all__ = [
    "Dither",
    "ErrorMoments",
    "dither_error_moments",
    "dithered_quantize",
    "rounding_error_moments",
]

FloatArray = NDArray[np.float64]


class Dither(Enum):
    """Law of the noise added before rounding.

    ``UNIFORM`` is uniform on one step; ``TRIANGULAR`` is the sum of two such, on two steps.
    """

    UNIFORM = "uniform"
    TRIANGULAR = "triangular"


@dataclass(frozen=True, eq=False)
class ErrorMoments:
    """Mean and variance of a rounding error, given the input.

    Parameters
    ----------
    mean : numpy.ndarray
        Mean of output minus input, in the units of the input.
    var : numpy.ndarray
        Variance of output minus input, in squared units of the input.
    """

    mean: FloatArray
    var: FloatArray

    @property
    def mean_square(self) -> FloatArray:
        """Mean squared error, given the input."""
        return self.var + self.mean**2


def dithered_quantize(
    x: ArrayLike,
    quantizer: UniformQuantizer,
    *,
    rng: np.random.Generator,
    dither: Dither = Dither.UNIFORM,
    subtractive: bool = False,
) -> NDArray[np.floating]:
    """Quantize after adding noise, and optionally subtract the noise again.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape.
    quantizer : UniformQuantizer
        Quantizer; its step sets the size of the noise.
    rng : numpy.random.Generator
        Source of the noise.
    dither : Dither
        Law of the noise.
    subtractive : bool
        Whether the receiver knows the noise and subtracts it.

    Returns
    -------
    numpy.ndarray
        Output of the shape of ``x``: levels without subtraction, arbitrary numbers with it.
        float32 stays float32, NaN stays NaN.

    Raises
    ------
    ValueError
        If ``dither`` is no :class:`Dither`, ``rng`` no generator, or ``quantizer`` no
        :class:`UniformQuantizer` of deterministic rounding.

    Notes
    -----
    Book: ch03-dither.
    """
    array = as_float_array("x", x)
    check_choice("dither", dither, list(Dither))
    check_instance("quantizer", quantizer, UniformQuantizer)
    if quantizer.round_mode is RoundMode.STOCHASTIC:
        raise fail("quantizer", "of deterministic rounding when dithered", quantizer.round_mode)
    generator = check_generator("rng", rng)
    noise = generator.random(array.shape) - 0.5
    if dither is Dither.TRIANGULAR:
        noise = noise + (generator.random(array.shape) - 0.5)
    noise = quantizer.step_size * noise
    output = quantizer(array.astype(np.float64) + noise)
    return np.asarray(output - noise if subtractive else output, dtype=array.dtype)


def dither_error_moments(
    x: ArrayLike, step_size: float, *, dither: Dither, subtractive: bool
) -> ErrorMoments:
    r"""Mean and variance of the error of dithered rounding on the infinite grid, given the input.

    Parameters
    ----------
    x : array_like
        Inputs, any shape, finite.
    step_size : float
        Step :math:`\Delta` of a grid that contains zero.
    dither : Dither
        Law of the noise.
    subtractive : bool
        Whether the noise is subtracted after rounding.

    Returns
    -------
    ErrorMoments
        Arrays of the shape of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not finite or beyond 2**52 steps, ``step_size`` not above zero or ``dither`` no
        :class:`Dither`.

    Notes
    -----
    Book: ch03-dither-theorem.

    With :math:`f` the distance of :math:`x` from the level below, in steps:

    - subtractive, either noise: mean 0, variance :math:`\Delta^2/12`; the error is uniform on one
      step and independent of the input, since both noises are uniform modulo one step;
    - not subtractive, uniform: mean 0, variance :math:`\Delta^2 f (1 - f)`, as stochastic rounding;
    - not subtractive, triangular: mean 0, variance :math:`\Delta^2/4`, the same for every input.

    References
    ----------
    [Schuchman1964]_, [LipshitzWannamakerVanderkooy1992]_
    """
    step = check_positive("step_size", step_size)
    check_choice("dither", dither, list(Dither))
    position = _position(x, step)
    fraction = position - np.floor(position)
    if subtractive:
        var = np.full_like(position, 1 / 12)
    elif dither is Dither.UNIFORM:
        var = fraction * (1 - fraction)
    else:
        var = np.full_like(position, 1 / 4)
    nothing = 0.0 * position  # NaN where the input is
    return ErrorMoments(mean=nothing, var=step**2 * var + nothing)


def rounding_error_moments(
    x: ArrayLike,
    step_size: float,
    mode: RoundMode = RoundMode.TIES_TO_EVEN,
    *,
    num_random_bits: int | None = None,
) -> ErrorMoments:
    r"""Mean and variance of the rounding error on the infinite grid, given the input.

    Parameters
    ----------
    x : array_like
        Inputs, any shape, finite.
    step_size : float
        Step :math:`\Delta` of a grid that contains zero.
    mode : RoundMode
        How inputs are rounded. Deterministic modes have variance zero.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode, from 1 to 52; without limit by default.

    Returns
    -------
    ErrorMoments
        Arrays of the shape of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not finite or beyond 2**52 steps, ``step_size`` not above zero, ``mode`` no
        :class:`RoundMode`, or ``num_random_bits`` out of range or given for a deterministic mode.

    Notes
    -----
    Book: ch03-stochastic-moments.

    Stochastic rounding goes up with probability :math:`p`, the fraction :math:`f` of the input or,
    with :math:`r` random bits, the multiple of :math:`2^{-r}` nearest to it (ties up). Then the
    mean is :math:`\Delta (p - f)` and the variance :math:`\Delta^2 p (1 - p)`.

    Limits: bias at most ``step_size * 2**(-num_random_bits - 1)``.
    """
    step = check_positive("step_size", step_size)
    check_choice("mode", mode, list(RoundMode))
    position = _position(x, step)
    if mode is not RoundMode.STOCHASTIC:
        if num_random_bits is not None:
            raise fail("num_random_bits", f"left out for {mode}", num_random_bits)
        error = round_to_integer(position, mode) - position
        return ErrorMoments(mean=step * error, var=np.zeros_like(position))
    fraction = position - np.floor(position)
    up = fraction
    if num_random_bits is not None:
        bits = check_integer("num_random_bits", num_random_bits, minimum=1, maximum=MAX_RANDOM_BITS)
        up = np.floor(fraction * 2.0**bits + 0.5) * 2.0**-bits
    return ErrorMoments(mean=step * (up - fraction), var=step**2 * up * (1 - up))


def _position(x: ArrayLike, step: float) -> FloatArray:
    """Return inputs in steps, which must be small enough to have a fraction."""
    array = as_float_array("x", x).astype(np.float64)
    if not (np.abs(array[~np.isnan(array)]) < step * 2.0**52).all():
        raise fail("x", "finite and within 2**52 steps of zero", x)
    return np.asarray(array / step)
