"""Formats on real data: how peaked it is, which scale to take, and a format as a list of levels."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_instance,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.quantizers.fixed_point import FixedPointFormat, round_to_fixed
from qtheory.quantizers.float_rounding import round_to_format
from qtheory.quantizers.formats import FloatFormat
from qtheory.quantizers.rounding import RoundMode
from qtheory.quantizers.scalar import ScalarQuantizer

__all__ = ["crest_factor", "format_quantizer", "max_scale", "mse_scale", "round_with_scale"]

ElementFormat = FloatFormat | FixedPointFormat


def crest_factor(x: ArrayLike, *, axis: int | tuple[int, ...] | None = None) -> NDArray[np.float64]:
    r"""Largest magnitude over root mean square.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape, finite, at least one of them not zero along ``axis``.
    axis : int or tuple of int, optional
        Axes to reduce; by default all.

    Returns
    -------
    numpy.ndarray
        :math:`\max |x| / \sqrt{\overline{x^2}}`, shape of ``x`` without ``axis``, at least 1.
        A ratio of amplitudes; 20 times its decimal logarithm is in decibels.

    Raises
    ------
    ValueError
        If ``x`` is empty or not finite, or zero everywhere along ``axis``.

    Notes
    -----
    Book: ch02-crest-factor.

    Accuracy: a few units in the last place of float64; numbers are divided by the largest first,
    so squares neither overflow nor vanish.
    Limits: 1 for constant magnitude, square root of the number of elements for a single nonzero.

    Examples
    --------
    >>> from qtheory.quantizers.format_scales import crest_factor
    >>> float(crest_factor([1.0, -1.0, 1.0])), float(crest_factor([0.0, 0.0, 0.0, 3.0]))
    (1.0, 2.0)
    """
    array = _check_data(x)
    peak = np.max(np.abs(array), axis=axis, keepdims=True)
    if not (peak > 0).all():
        raise fail("x", "nonzero somewhere along `axis`", "zeros")
    return np.asarray(1.0 / np.sqrt(np.mean((array / peak) ** 2, axis=axis)))


def format_quantizer(fmt: ElementFormat, *, scale: float = 1.0) -> ScalarQuantizer:
    """Return the scalar quantizer whose levels are the values of a format, times a scale.

    Distortion theory then applies to the format: thresholds are midpoints of neighboring values,
    and numbers out of range saturate whatever the format does with them.

    Parameters
    ----------
    fmt : FloatFormat or FixedPointFormat
        The format, at most 24 bits wide.
    scale : float
        Factor of all levels, finite and above zero, in the units of the data.

    Returns
    -------
    ScalarQuantizer
        Equal to ``scale * round_to_format(x / scale, fmt.saturating())`` except on thresholds,
        where the quantizer goes up and rounding goes to even.

    Raises
    ------
    ValueError
        If ``scale`` is not finite and above zero or the format is too wide to list its values.

    Notes
    -----
    Book: ch02-round-to-format.

    Examples
    --------
    >>> from qtheory.quantizers.format_scales import format_quantizer
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> format_quantizer(FP4_E2M1, scale=2.0)([0.4, 5.1, 99.0])
    array([ 0.,  6., 12.])
    """
    check_instance("fmt", fmt, FloatFormat, FixedPointFormat)
    return ScalarQuantizer(fmt.values() * check_positive("scale", scale))


def round_with_scale(
    x: ArrayLike,
    fmt: ElementFormat,
    scale: float | NDArray[np.floating],
    *,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> NDArray[np.float64]:
    r"""Round to the values of a format times a scale; too large numbers saturate.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape.
    fmt : FloatFormat or FixedPointFormat
        The format.
    scale : float or numpy.ndarray
        Scale above zero, in the units of ``x``, any shape that broadcasts to that of ``x``.
    round_mode : RoundMode
        Where a number between two values goes.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode.

    Returns
    -------
    numpy.ndarray
        :math:`s \, R(x / s)` in float64, same shape as ``x``. NaN stays NaN.

    Raises
    ------
    ValueError
        If a scale is not above zero, or as :func:`round_to_format`.

    Notes
    -----
    Book: ch02-scaled-format.

    Accuracy: exact for scales that are powers of two; else the quotient and the product are rounded
    to float64.

    Examples
    --------
    >>> from qtheory.quantizers.format_scales import round_with_scale
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> round_with_scale([0.3, 0.7, 10.0], FP4_E2M1, 0.25)
    array([0.25, 0.75, 1.5 ])
    """
    check_instance("fmt", fmt, FloatFormat, FixedPointFormat)
    array = as_float_array("x", x).astype(np.float64)
    factor = np.asarray(scale, dtype=np.float64)
    if not (np.isfinite(factor) & (factor > 0)).all():
        raise fail("scale", "finite and above zero", scale)
    element = round_elements(
        array / factor, fmt, round_mode=round_mode, rng=rng, num_random_bits=num_random_bits
    )
    return np.asarray(element * factor)


def round_elements(
    x: NDArray[np.float64],
    fmt: ElementFormat,
    *,
    round_mode: RoundMode,
    rng: np.random.Generator | None,
    num_random_bits: int | None,
) -> NDArray[np.floating]:
    """Round to a format of either kind, saturating.

    Parameters
    ----------
    x : numpy.ndarray
        Numbers, any shape.
    fmt : FloatFormat or FixedPointFormat
        The format.
    round_mode : RoundMode
        The mode.
    rng : numpy.random.Generator or None
        Source of randomness of the stochastic mode.
    num_random_bits : int or None
        Random bits per element of the stochastic mode.

    Returns
    -------
    numpy.ndarray
        Values, same shape.
    """
    if isinstance(fmt, FixedPointFormat):
        return round_to_fixed(
            x, fmt, round_mode=round_mode, rng=rng, num_random_bits=num_random_bits
        )
    return round_to_format(
        x, fmt.saturating(), round_mode=round_mode, rng=rng, num_random_bits=num_random_bits
    )


def max_scale(x: ArrayLike, fmt: ElementFormat) -> float:
    r"""Smallest scale at which no number is clipped.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape, finite, not all zero.
    fmt : FloatFormat or FixedPointFormat
        The format.

    Returns
    -------
    float
        :math:`\max |x|` over the largest value of the format, in the units of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is empty, not finite or zero everywhere.

    Notes
    -----
    Book: ch02-scaled-format.

    Examples
    --------
    >>> from qtheory.quantizers.format_scales import max_scale
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> max_scale([0.1, -3.0], FP4_E2M1)
    0.5
    """
    check_instance("fmt", fmt, FloatFormat, FixedPointFormat)
    peak = float(np.max(np.abs(_check_data(x))))
    if peak == 0.0:
        raise fail("x", "nonzero somewhere", "zeros")
    if peak / fmt.max_value == 0.0:
        raise fail("x", "large enough for a scale above zero", peak)
    return peak / fmt.max_value


def mse_scale(
    x: ArrayLike,
    fmt: ElementFormat,
    *,
    power_of_two: bool = False,
    candidates_per_octave: int = 32,
) -> float:
    r"""Scale of least mean squared error among candidates.

    Tries scales between two limits: the largest value of the format at a quarter of the root mean
    square of ``x``, and at twice its largest magnitude.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape, finite, not all zero.
    fmt : FloatFormat or FixedPointFormat
        The format.
    power_of_two : bool
        Whether the candidates are the powers of two between the limits, else ``max_scale`` times
        powers of :math:`2^{1/n}`.
    candidates_per_octave : int
        The number :math:`n` of candidates per factor of two, at least one.

    Returns
    -------
    float
        The best candidate, in the units of ``x``; the larger of two that are equally good.

    Raises
    ------
    ValueError
        If ``x`` is empty, not finite or zero everywhere.

    Notes
    -----
    Book: ch02-scaled-format.

    Algorithm: exhaustive over the candidates, since the error as a function of the scale has many
    local minima.
    Accuracy: never worse than ``max_scale`` (or, among powers of two, than the next one above it);
    the minimum over all real scales may lie between two candidates.
    Cost: one rounding of ``x`` per candidate.

    Examples
    --------
    >>> from qtheory.quantizers.format_scales import mse_scale
    >>> from qtheory.quantizers.formats import FP4_E2M1
    >>> mse_scale([0.25, 0.5, 1.5], FP4_E2M1, power_of_two=True)
    0.5
    """
    array = _check_data(x)
    max_scale(array, fmt)  # refuses data without a scale
    # A power of two changes no rounding; with it no square overflows or vanishes.
    exponent = math.frexp(float(np.abs(array).max()))[1]
    array = np.ldexp(array, -exponent)
    largest = max_scale(array, fmt)
    count = check_integer("candidates_per_octave", candidates_per_octave, minimum=1)
    octaves = math.log2(4.0 * float(crest_factor(array)))
    if power_of_two:
        top = math.floor(math.log2(largest)) + 1
        steps = range(top, top - math.ceil(octaves) - 2, -1)
        candidates = [math.ldexp(1.0, step) for step in steps]
    else:
        # Step zero is `max_scale` itself.
        steps = range(count, -math.ceil(octaves * count) - 1, -1)
        candidates = [largest * 2.0 ** (step / count) for step in steps]
    errors = [float(np.mean((round_with_scale(array, fmt, s) - array) ** 2)) for s in candidates]
    return math.ldexp(candidates[int(np.argmin(errors))], exponent)


def _check_data(x: ArrayLike) -> NDArray[np.float64]:
    """Return finite data in float64, refusing an empty array."""
    array = as_float_array("x", x).astype(np.float64)
    check_nonempty("x", array)
    if not np.isfinite(array).all():
        raise fail("x", "finite", f"{int((~np.isfinite(array)).sum())} NaN or infinities")
    return array
