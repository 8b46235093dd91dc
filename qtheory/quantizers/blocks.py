"""Block formats: elements of a narrow format that share a scale, as in OCP MX and NVFP4."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_instance, check_integer, fail
from qtheory.quantizers.fixed_point import FixedPointFormat, decode_fixed, encode_fixed
from qtheory.quantizers.float_rounding import decode, encode, round_to_format
from qtheory.quantizers.format_scales import ElementFormat, round_elements
from qtheory.quantizers.formats import (
    E8M0,
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    FloatFormat,
    PowerOfTwoFormat,
)
from qtheory.quantizers.rounding import RoundMode

__all__ = [
    "MXFP4",
    "MXFP6_E2M3",
    "MXFP6_E3M2",
    "MXFP8_E4M3",
    "MXFP8_E5M2",
    "MXINT8",
    "NVFP4",
    "BlockFormat",
    "QuantizedBlocks",
    "block_clip_error_bound",
    "dequantize_blocks",
    "quantize_blocks",
]

SINGLE_TINY = 2.0**-126
"""Smallest normal float32, the least scale of a tensor."""


@dataclass(frozen=True, kw_only=True)
class BlockFormat:
    r"""A block format: ``block_size`` neighbors share one scale.

    Formats compare equal field by field.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    element_format : FloatFormat or FixedPointFormat
        Format of the elements. Elements saturate, whatever the format says about overflow.
    scale_format : PowerOfTwoFormat or FloatFormat
        Format of the shared scale. A power of two is chosen by the OCP MX rule, a floating-point
        scale is the largest magnitude over the largest element, rounded to nearest.
    block_size : int
        Number of neighbors that share a scale, at least one.
    has_tensor_scale : bool
        Whether a float32 scale of the whole array multiplies the block scales; only with a
        floating-point ``scale_format``.

    Raises
    ------
    ValueError
        If a format is of the wrong kind, ``block_size`` below one, or a tensor scale is asked for
        with powers of two.

    Notes
    -----
    Book: ch02-block-value.

    With element :math:`e_i`, block scale :math:`s_b` and tensor scale :math:`t` (or one),
    the value is :math:`t \, s_b \, e_i`.

    References
    ----------
    [OCP-MX]_, section 6.3.

    Examples
    --------
    >>> from qtheory.quantizers.blocks import MXFP4, NVFP4
    >>> MXFP4.bits_per_element, NVFP4.bits_per_element
    (4.25, 4.5)
    """

    name: str
    element_format: ElementFormat
    scale_format: PowerOfTwoFormat | FloatFormat
    block_size: int
    has_tensor_scale: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_instance("element_format", self.element_format, FloatFormat, FixedPointFormat)
        check_instance("scale_format", self.scale_format, PowerOfTwoFormat, FloatFormat)
        check_integer("block_size", self.block_size, minimum=1)
        check_choice("has_tensor_scale", self.has_tensor_scale, (False, True))
        if self.has_tensor_scale and isinstance(self.scale_format, PowerOfTwoFormat):
            raise fail("has_tensor_scale", "false where scales are powers of two", True)

    @property
    def bits_per_element(self) -> float:
        """Bits of an element and its share of the block scale; the tensor scale is not counted."""
        return self.element_format.bit_width + self.scale_format.bit_width / self.block_size

    @property
    def element_max_exponent(self) -> int:
        r"""Exponent of the largest element, :math:`\lfloor \log_2 \max e \rfloor`."""
        return math.frexp(self.element_format.max_value)[1] - 1


MXFP8_E4M3 = BlockFormat(
    name="MXFP8_E4M3", element_format=FP8_E4M3, scale_format=E8M0, block_size=32
)
MXFP8_E5M2 = BlockFormat(
    name="MXFP8_E5M2", element_format=FP8_E5M2, scale_format=E8M0, block_size=32
)
MXFP6_E2M3 = BlockFormat(
    name="MXFP6_E2M3", element_format=FP6_E2M3, scale_format=E8M0, block_size=32
)
MXFP6_E3M2 = BlockFormat(
    name="MXFP6_E3M2", element_format=FP6_E3M2, scale_format=E8M0, block_size=32
)
MXFP4 = BlockFormat(name="MXFP4", element_format=FP4_E2M1, scale_format=E8M0, block_size=32)
MXINT8 = BlockFormat(
    name="MXINT8",
    # Integers over 64; -2 is left unused, as the standard allows, so that the range is symmetric.
    element_format=FixedPointFormat(integer_bits=1, fraction_bits=6, narrow_range=True),
    scale_format=E8M0,
    block_size=32,
)
NVFP4 = BlockFormat(
    name="NVFP4",
    element_format=FP4_E2M1,
    scale_format=FP8_E4M3,
    block_size=16,
    has_tensor_scale=True,
)


@dataclass(frozen=True, eq=False)
class QuantizedBlocks:
    """Result of :func:`quantize_blocks`; arrays are read-only.

    Parameters
    ----------
    fmt : BlockFormat
        The format.
    axis : int
        Axis that is cut into blocks, not negative.
    values : numpy.ndarray
        Quantized numbers, shape and type of the data.
    codes : numpy.ndarray
        Codes of the elements, shape of the data. Zero in blocks that are NaN.
    scales : numpy.ndarray
        Scale of each block, float64, shape of the data with the entry at ``axis`` replaced by the
        number of blocks. NaN for a block that is NaN.
    tensor_scale : float
        Scale of the whole array, one for formats without it.
    """

    fmt: BlockFormat
    axis: int
    values: NDArray[np.floating]
    codes: NDArray[np.integer]
    scales: NDArray[np.float64]
    tensor_scale: float

    def __post_init__(self) -> None:
        """Copy the arrays and make them read-only."""
        for name in ("values", "codes", "scales"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def scale_codes(self) -> NDArray[np.unsignedinteger]:
        """Codes of the block scales, shape of ``scales``."""
        return encode(self.scales, self.fmt.scale_format)


def quantize_blocks(
    x: ArrayLike,
    fmt: BlockFormat,
    *,
    axis: int = -1,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
    rng: np.random.Generator | None = None,
    num_random_bits: int | None = None,
) -> QuantizedBlocks:
    r"""Quantize an array in blocks along an axis.

    Parameters
    ----------
    x : array_like
        Real numbers, at least one axis; that axis may be empty. float32 and float64 keep their
        type, all else becomes float64.
    fmt : BlockFormat
        The format.
    axis : int
        Axis to cut into blocks. The last block may be shorter, which is the same as filling it with
        zeros.
    round_mode : RoundMode
        How elements are rounded. Scales follow their own rule.
    rng : numpy.random.Generator, optional
        Source of randomness; needed for ``RoundMode.STOCHASTIC`` and refused otherwise.
    num_random_bits : int, optional
        Random bits per element of the stochastic mode.

    Returns
    -------
    QuantizedBlocks
        Values, codes and scales.

    Raises
    ------
    ValueError
        If ``x`` has no axis or not this one, or as :func:`round_to_format`.

    See Also
    --------
    dequantize_blocks : The values again, from codes and scales.
    block_clip_error_bound : How much the largest element of a block can lose.

    Notes
    -----
    Book: ch02-block-scale.

    With powers of two as scales, the OCP MX rule

    .. math:: s_b = 2^{\lfloor \log_2 \max_i |x_i| \rfloor - e_{\max}}

    where :math:`e_{\max}` is the exponent of the largest element value; :math:`s_b` is limited to
    the range of the scale format. This rule clips: MXFP4 with a largest magnitude of 7.9 has scale
    one and returns 6.

    With floating-point scales, :math:`s_b` is :math:`\max_i |x_i| / (t \max e)` rounded to nearest,
    saturating. The tensor scale :math:`t` is the float32 nearest to
    :math:`\max |x| / (\max e \max s)`, at least :math:`2^{-126}`, and one for an array of zeros. A
    block whose scale rounds to zero is zero.

    A block of zeros has the smallest power of two, or zero, as its scale. A block with NaN or an
    infinity is NaN as a whole (the standard leaves infinities open); it does not count for the
    tensor scale.

    Accuracy: exact with powers of two as scales. With other scales quotients are rounded to
    float64, which changes no result for float32 data, and values are rounded to the type of ``x``.

    References
    ----------
    [OCP-MX]_, section 6.3.

    Examples
    --------
    >>> from qtheory.quantizers.blocks import MXFP4, quantize_blocks
    >>> quantized = quantize_blocks([7.9, 1.2, -0.3], MXFP4)
    >>> quantized.values, quantized.scales
    (array([ 6. ,  1. , -0.5]), array([1.]))
    """
    check_instance("fmt", fmt, BlockFormat)
    array = as_float_array("x", x)
    axis = _check_axis(array, axis)
    blocks = _cut(array, fmt.block_size, axis)
    is_bad = np.asarray(~np.isfinite(blocks).all(axis=-1))
    blocks = np.where(is_bad[..., np.newaxis], 0.0, blocks)
    peaks = np.max(np.abs(blocks), axis=-1)
    tensor_scale = _tensor_scale(peaks, fmt)
    scales = _block_scales(peaks, tensor_scale, fmt)
    factors = (scales * tensor_scale)[..., np.newaxis]
    elements = round_elements(
        np.divide(blocks, factors, out=np.zeros_like(blocks), where=factors > 0),
        fmt.element_format,
        round_mode=round_mode,
        rng=rng,
        num_random_bits=num_random_bits,
    )
    elements = _uncut(elements, array.shape, axis)
    scales = np.moveaxis(np.where(is_bad, np.nan, scales), -1, axis)
    return QuantizedBlocks(
        fmt=fmt,
        axis=axis,
        values=_cast(_multiply(elements, scales, tensor_scale, fmt, axis), array.dtype),
        codes=_encode_elements(elements, fmt.element_format),
        scales=scales,
        tensor_scale=tensor_scale,
    )


def dequantize_blocks(quantized: QuantizedBlocks) -> NDArray[np.floating]:
    """Values from codes and scales.

    Parameters
    ----------
    quantized : QuantizedBlocks
        Codes and scales; ``values`` is not read, except for its type.

    Returns
    -------
    numpy.ndarray
        Equal to ``quantized.values``.

    Notes
    -----
    Book: ch02-block-value.

    Examples
    --------
    >>> from qtheory.quantizers.blocks import MXFP4, dequantize_blocks, quantize_blocks
    >>> dequantize_blocks(quantize_blocks([7.9, 1.2, -0.3], MXFP4))
    array([ 6. ,  1. , -0.5])
    """
    check_instance("quantized", quantized, QuantizedBlocks)
    fmt = quantized.fmt
    if isinstance(fmt.element_format, FixedPointFormat):
        elements = decode_fixed(quantized.codes, fmt.element_format)
    else:
        elements = decode(quantized.codes, fmt.element_format).astype(np.float64)
    scales = decode(quantized.scale_codes, fmt.scale_format).astype(np.float64)
    values = _multiply(elements, scales, quantized.tensor_scale, fmt, quantized.axis)
    return _cast(values, quantized.values.dtype)


def block_clip_error_bound(fmt: BlockFormat) -> float:
    r"""Bound of the relative error by clipping under the OCP MX rule.

    Parameters
    ----------
    fmt : BlockFormat
        A format whose scales are powers of two.

    Returns
    -------
    float
        :math:`1 - \max e / 2^{e_{\max} + 1}`: no number in a block loses more than this part by
        clipping, as long as the scale is within its range. A supremum, approached by largest
        magnitudes just below a power of two.

    Raises
    ------
    ValueError
        If the scales are not powers of two.

    Notes
    -----
    Book: ch02-block-clipping.

    Assumptions: largest magnitude of the block within the range of the scale.

    Examples
    --------
    >>> from qtheory.quantizers.blocks import MXFP4, MXFP8_E4M3, block_clip_error_bound
    >>> block_clip_error_bound(MXFP4), block_clip_error_bound(MXFP8_E4M3)
    (0.25, 0.125)
    """
    if not isinstance(fmt.scale_format, PowerOfTwoFormat):
        raise fail("fmt", "a format whose scales are powers of two", fmt.name)
    return 1.0 - math.ldexp(fmt.element_format.max_value, -(fmt.element_max_exponent + 1))


def _check_axis(x: NDArray[np.floating], axis: int) -> int:
    """Return an axis counted from the front."""
    if x.ndim == 0:
        raise fail("x", "an array with at least one axis", "a scalar")
    return check_integer("axis", axis, minimum=-x.ndim, maximum=x.ndim - 1) % x.ndim


def _cut(x: NDArray[np.floating], block_size: int, axis: int) -> NDArray[np.float64]:
    """Move the axis to the end, fill up with zeros, split: shape ``(..., num_blocks, size)``."""
    moved = np.moveaxis(x, axis, -1).astype(np.float64)
    num_blocks = -(-moved.shape[-1] // block_size)
    missing = num_blocks * block_size - moved.shape[-1]
    padded = np.pad(moved, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return padded.reshape(*moved.shape[:-1], num_blocks, block_size)


def _uncut(blocks: NDArray[np.floating], shape: tuple[int, ...], axis: int) -> NDArray[np.floating]:
    """Undo :func:`_cut`."""
    joined = blocks.reshape(*blocks.shape[:-2], blocks.shape[-2] * blocks.shape[-1])
    return np.moveaxis(joined[..., : shape[axis]], -1, axis)


def _tensor_scale(peaks: NDArray[np.float64], fmt: BlockFormat) -> float:
    """Scale of the whole array, a float32."""
    peak = float(np.max(peaks, initial=0.0))
    if not fmt.has_tensor_scale or peak == 0.0:
        return 1.0
    exact = peak / (fmt.element_format.max_value * fmt.scale_format.max_value)
    largest = float(np.finfo(np.float32).max)
    return float(np.float32(min(max(exact, SINGLE_TINY), largest)))


def _block_scales(
    peaks: NDArray[np.float64], tensor_scale: float, fmt: BlockFormat
) -> NDArray[np.float64]:
    """Scale of each block from its largest magnitude, within the range of the scale format."""
    scale_format = fmt.scale_format
    if isinstance(scale_format, FloatFormat):
        ratio = peaks / (fmt.element_format.max_value * tensor_scale)
        return round_to_format(ratio, scale_format.saturating()).astype(np.float64)
    exponent = np.frexp(peaks)[1] - 1 - fmt.element_max_exponent
    limited = np.clip(exponent, scale_format.min_exponent, scale_format.max_exponent)
    return np.ldexp(1.0, np.where(peaks > 0, limited, scale_format.min_exponent))


def _multiply(
    elements: NDArray[np.floating],
    scales: NDArray[np.float64],
    tensor_scale: float,
    fmt: BlockFormat,
    axis: int,
) -> NDArray[np.float64]:
    """Multiply elements by the scales of their blocks."""
    each = np.repeat(scales, fmt.block_size, axis=axis)
    each = np.take(each, np.arange(elements.shape[axis]), axis=axis)
    return np.asarray(elements * (each * tensor_scale))


def _cast(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    """Round to the type of the data; a product just above its range is its largest number."""
    largest = np.finfo(dtype).max
    return np.asarray(np.clip(values, -largest, largest), dtype=dtype)


def _encode_elements(elements: NDArray[np.floating], fmt: ElementFormat) -> NDArray[np.integer]:
    """Codes of values of a format."""
    if isinstance(fmt, FixedPointFormat):
        return encode_fixed(elements, fmt)
    return encode(elements, fmt)
