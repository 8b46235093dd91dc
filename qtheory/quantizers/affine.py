"""Affine quantization of arrays: integer codes with scales and zero points."""

from dataclasses import KW_ONLY, dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_integer,
    check_no_nan,
    check_nonempty,
    fail,
)
from qtheory.quantizers.rounding import RoundMode, round_to_integer
from qtheory.quantizers.scalar import MAX_CODE, check_codes

__all__ = ["AffineQuantizer", "design_minmax"]

FloatArray = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class AffineQuantizer:
    r"""Integer codes with an affine meaning: value = scale * (code - zero_point).

    Parameters
    ----------
    scale : array_like
        Scale :math:`s`, finite and above zero, in the units of the data. A scalar for the whole
        array, shape ``(num_channels,)`` with ``axis``, or the shape of the data with the entry at
        ``axis`` replaced by the number of groups with ``axis`` and ``group_size``.
    zero_point : array_like
        Code :math:`z` of the value zero, integers from ``code_min`` to ``code_max``; a scalar or
        the shape of ``scale``.
    code_min, code_max : int
        Smallest and largest code, ``code_min < code_max``.
    axis : int, optional
        Axis of the channels, or the axis that is cut into groups.
    group_size : int, optional
        Number of neighbors along ``axis`` that share a scale, at least one. The last group may be
        shorter.
    round_mode : RoundMode
        How codes are rounded; ``STOCHASTIC`` needs ``rng`` at each call.

    Raises
    ------
    ValueError
        If an argument is out of its range, or if the shape of the data does not fit ``scale``.

    Notes
    -----
    Book: ch01-affine-definition.

    .. math:: \operatorname{code}(x) = \operatorname{clip}\bigl(
              \operatorname{round}(x / s) + z, c_{\min}, c_{\max}\bigr)

    Zero is represented exactly. Infinities saturate; NaN stays NaN in a call and is refused by
    :meth:`encode`.

    Examples
    --------
    >>> from qtheory.quantizers import AffineQuantizer
    >>> quantizer = AffineQuantizer([0.5, 2.0], code_min=-8, code_max=7, axis=0)
    >>> quantizer.encode([[1.0, 1.1], [1.0, 9.0]])
    array([[2, 2],
           [0, 4]])
    """

    scale: FloatArray
    zero_point: NDArray[np.int64] = 0  # type: ignore[assignment]  # an array after the checks
    _: KW_ONLY
    code_min: int
    code_max: int
    axis: int | None = None
    group_size: int | None = None
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN

    def __post_init__(self) -> None:
        """Check, copy and freeze the arrays."""
        low = check_integer("code_min", self.code_min, minimum=-MAX_CODE, maximum=MAX_CODE)
        high = check_integer("code_max", self.code_max, minimum=low + 1, maximum=MAX_CODE)
        check_choice("round_mode", self.round_mode, list(RoundMode))
        scale = np.array(as_float_array("scale", self.scale), dtype=np.float64)
        check_nonempty("scale", scale)
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise fail("scale", "finite and above zero", self.scale)
        _check_layout(scale, self.axis, self.group_size)
        zero_point = np.array(check_codes_of_zero(self.zero_point, low, high))
        if zero_point.ndim and zero_point.shape != scale.shape:
            raise fail("zero_point", f"a scalar or of shape {scale.shape}", zero_point.shape)
        scale.flags.writeable = zero_point.flags.writeable = False
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    @property
    def num_levels(self) -> int:
        """Number of codes."""
        return self.code_max - self.code_min + 1

    def encode(self, x: ArrayLike, *, rng: np.random.Generator | None = None) -> NDArray[np.int64]:
        """Integer code of each number.

        Parameters
        ----------
        x : array_like
            Real numbers without NaN, of a shape that fits ``scale``.
        rng : numpy.random.Generator, optional
            Needed for stochastic rounding.

        Returns
        -------
        numpy.ndarray
            Codes from ``code_min`` to ``code_max``, same shape.

        Raises
        ------
        ValueError
            If ``x`` contains NaN or has a shape that does not fit.
        """
        array = as_float_array("x", x)
        check_no_nan("x", array)
        return self._codes(array, rng).astype(np.int64)

    def decode(self, codes: ArrayLike) -> FloatArray:
        """Value of each code.

        Parameters
        ----------
        codes : array_like
            Integers from ``code_min`` to ``code_max``, of a shape that fits ``scale``.

        Returns
        -------
        numpy.ndarray
            Values in float64, same shape.

        Raises
        ------
        ValueError
            If a code is not an integer in that range or the shape does not fit.
        """
        array = check_codes(codes, self.code_min, self.code_max)
        scale, zero_point = self._spread(array.shape)
        return cast(FloatArray, scale * (array - zero_point))

    def __call__(
        self, x: ArrayLike, *, rng: np.random.Generator | None = None
    ) -> NDArray[np.floating]:
        """Quantize.

        Parameters
        ----------
        x : array_like
            Real numbers of a shape that fits ``scale``.
        rng : numpy.random.Generator, optional
            Needed for stochastic rounding.

        Returns
        -------
        numpy.ndarray
            Values on the grid, same shape; float32 stays float32. NaN stays NaN.
        """
        array = as_float_array("x", x)
        scale, zero_point = self._spread(array.shape)
        return np.asarray(scale * (self._codes(array, rng) - zero_point), dtype=array.dtype)

    def _codes(self, x: NDArray[np.floating], rng: np.random.Generator | None) -> FloatArray:
        """Codes as float64, so that NaN passes."""
        scale, zero_point = self._spread(x.shape)
        with np.errstate(over="ignore"):  # an infinite code is clipped
            ratio = x.astype(np.float64) / scale
        codes = round_to_integer(ratio, self.round_mode, rng=rng)
        return np.asarray(np.clip(codes + zero_point, self.code_min, self.code_max))

    def _spread(self, shape: tuple[int, ...]) -> tuple[FloatArray, NDArray[np.int64]]:
        """Scale and zero point in a shape that broadcasts against data of ``shape``."""
        scale = _spread_to(self.scale, shape, self.axis, self.group_size)
        if self.zero_point.ndim == 0:
            return scale, self.zero_point
        return scale, _spread_to(self.zero_point, shape, self.axis, self.group_size)


def design_minmax(
    x: ArrayLike,
    bit_width: int,
    *,
    symmetric: bool = True,
    axis: int | None = None,
    group_size: int | None = None,
    round_mode: RoundMode = RoundMode.TIES_TO_EVEN,
) -> AffineQuantizer:
    """Affine quantizer whose range just covers the data.

    Parameters
    ----------
    x : array_like
        Finite data, at least one number.
    bit_width : int
        Bits per code, from 2 to 32 if symmetric, from 1 to 32 otherwise.
    symmetric : bool
        If true, zero point zero and the narrow code range ``-(2**(b-1) - 1) .. 2**(b-1) - 1``; if
        false, codes ``0 .. 2**b - 1`` and the range stretched to hold zero.
    axis : int, optional
        Axis of the channels, or the axis that is cut into groups.
    group_size : int, optional
        Number of neighbors along ``axis`` that share a scale.
    round_mode : RoundMode
        How codes are rounded.

    Returns
    -------
    AffineQuantizer
        A range of zeros only gets scale one.

    Raises
    ------
    ValueError
        If the data is empty or not finite, or an argument is out of its range.

    Notes
    -----
    Book: ch01-affine-definition.

    The asymmetric zero point is rounded, so the range can be shifted by up to half a step against
    the data; the outer numbers are then clipped by that much.
    """
    array = as_float_array("x", x).astype(np.float64)
    check_nonempty("x", array)
    if not np.isfinite(array).all():
        raise fail("x", "finite", f"{int((~np.isfinite(array)).sum())} non-finite numbers")
    bits = check_integer("bit_width", bit_width, minimum=2 if symmetric else 1, maximum=32)
    low, high = _group_range(array, axis, group_size)
    if symmetric:
        code_max = 2 ** (bits - 1) - 1
        code_min = -code_max
        scale = np.maximum(np.abs(low), np.abs(high)) / code_max
    else:
        code_min, code_max = 0, 2**bits - 1
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        scale = high / code_max - low / code_max  # the width itself may overflow
    # A range of denormal size underflows to scale zero; it is treated as a range of zeros.
    scale = np.where(scale > 0, scale, 1.0)
    zero_point = np.zeros_like(scale) if symmetric else np.rint(-low / scale)
    return AffineQuantizer(
        scale,
        np.clip(zero_point, code_min, code_max).astype(np.int64),
        code_min=code_min,
        code_max=code_max,
        axis=axis,
        group_size=group_size,
        round_mode=round_mode,
    )


def check_codes_of_zero(zero_point: ArrayLike, low: int, high: int) -> NDArray[np.int64]:
    """Check that each zero point is an integer among the codes.

    Parameters
    ----------
    zero_point : array_like
        Integers.
    low, high : int
        Smallest and largest code.

    Returns
    -------
    numpy.ndarray
        Zero points as int64.

    Raises
    ------
    ValueError
        If one is not an integer from ``low`` to ``high``.
    """
    array = np.asarray(zero_point)
    if array.dtype.kind not in "iu":
        raise fail("zero_point", "an integer", zero_point)
    if array.size and (array.min() < low or array.max() > high):
        raise fail("zero_point", f"between `code_min` {low} and `code_max` {high}", zero_point)
    return array.astype(np.int64)


def _check_layout(scale: FloatArray, axis: int | None, group_size: int | None) -> None:
    """Scale, axis and group size must say the same of the layout."""
    if group_size is not None:
        check_integer("group_size", group_size, minimum=1)
        if axis is None:
            raise fail("axis", "given with `group_size`", axis)
        _check_axis(axis, scale.ndim)
    elif axis is not None:
        check_integer("axis", axis)
        if scale.ndim != 1:
            raise fail("scale", "one-dimensional with `axis`", f"shape {scale.shape}")
    elif scale.ndim != 0:
        raise fail("scale", "a scalar without `axis`", f"shape {scale.shape}")


def _check_axis(axis: int, ndim: int) -> int:
    """Axis counted from the front."""
    if not -ndim <= check_integer("axis", axis) < ndim:
        raise fail("axis", f"an axis of an array with {ndim} dimensions", axis)
    return axis % ndim


def _spread_to(
    parameter: NDArray[T], shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> NDArray[T]:
    """Repeat one value per channel or group to broadcast against data of ``shape``."""
    if axis is None:
        return parameter
    front = _check_axis(axis, len(shape))
    if group_size is None:
        if parameter.size != shape[front]:
            raise fail("x", f"of length {parameter.size} along axis {axis}", f"shape {shape}")
        return parameter.reshape([-1 if i == front else 1 for i in range(len(shape))])
    expected = tuple(-(-n // group_size) if i == front else n for i, n in enumerate(shape))
    if parameter.shape != expected:
        raise fail("x", f"of a shape that has groups {parameter.shape}", f"shape {shape}")
    return np.repeat(parameter, group_size, axis=front).take(range(shape[front]), axis=front)


def _group_range(
    x: FloatArray, axis: int | None, group_size: int | None
) -> tuple[FloatArray, FloatArray]:
    """Minimum and maximum per tensor, channel or group."""
    if axis is None:
        if group_size is not None:
            raise fail("axis", "given with `group_size`", axis)
        return np.asarray(x.min()), np.asarray(x.max())
    front = _check_axis(axis, x.ndim)
    if group_size is None:
        others = tuple(i for i in range(x.ndim) if i != front)
        return np.asarray(x.min(axis=others)), np.asarray(x.max(axis=others))
    starts = np.arange(0, x.shape[front], check_integer("group_size", group_size, minimum=1))
    low = np.minimum.reduceat(x, starts, axis=front)
    return low, np.maximum.reduceat(x, starts, axis=front)
