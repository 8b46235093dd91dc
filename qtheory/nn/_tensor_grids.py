"""Rounding of tensors to the levels of a quantizer or number format, in PyTorch."""

import dataclasses
import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qtheory._checks import check_instance, fail
from qtheory.nn._staircases import listed_staircase
from qtheory.nn._straight_through import rounded_up
from qtheory.quantizers import (
    AffineQuantizer,
    FixedPointFormat,
    FloatFormat,
    Overflow,
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
)
from qtheory.quantizers.scalar import MAX_CODE

__all__ = ["TensorGrid", "WeightQuantizer", "check_quantizer", "describe", "tensor_grid"]

WeightQuantizer = (
    UniformQuantizer | ScalarQuantizer | AffineQuantizer | FloatFormat | FixedPointFormat
)
EXPONENT_BITS = 0x7FF0000000000000
"""The exponent's place in float64."""
KINDS = (UniformQuantizer, ScalarQuantizer, AffineQuantizer, FloatFormat, FixedPointFormat)


class TensorGrid(ABC):
    """Levels for the numbers of one tensor, each rounded once to the type of that tensor.

    Parameters
    ----------
    dtype : torch.dtype
        Type of the levels.
    """

    is_same_everywhere = True
    """Whether any part of the tensor can be rounded alone, in any shape."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    @abstractmethod
    def nearest(self, x: Tensor) -> Tensor:
        """Round as the quantizer does.

        Parameters
        ----------
        x : Tensor
            Real numbers, shape of the tensor, float32 or float64.

        Returns
        -------
        Tensor
            Levels of type ``dtype``, same shape; NaN stays NaN.
        """

    @abstractmethod
    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Levels below and above.

        Parameters
        ----------
        x : Tensor
            Float64, shape of the tensor.

        Returns
        -------
        tuple of Tensor
            Neighboring levels as they are in ``dtype``, float64; the two outer ones of a finite
            quantizer for numbers outside.
        """

    def stochastic(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Round to one of the neighbors at random, unbiased inside the range.

        Parameters
        ----------
        x : Tensor
            Real numbers, shape of the tensor, float32 or float64.
        generator : torch.Generator
            Source of one float64 number per element.

        Returns
        -------
        Tensor
            Levels of type ``dtype``, same shape; NaN stays NaN.
        """
        wide = x.double()
        lower, upper = self.neighbors(wide)
        # Of float64 numbers: with 24 random bits the smallest probability would be 6e-8, and
        # small updates would be made too often. Neighbors that agree give the lower one.
        random = _random_like(wide, generator)
        levels = torch.where(random.mul_(upper - lower) < wide - lower, upper, lower)
        return self._finish(levels, wide).to(self.dtype)

    def is_rounding(self, x: Tensor, levels: Tensor) -> bool:
        """Tell whether levels may have come from numbers by rounding of either kind."""
        wide = x.double()
        lower, upper = (self._finish(level, wide).to(self.dtype) for level in self.neighbors(wide))
        return bool(((levels == self.nearest(x)) | (levels == lower) | (levels == upper)).all())

    def _finish(self, levels: Tensor, x: Tensor) -> Tensor:
        """Replace what is not in the format."""
        return levels


class _UniformGrid(TensorGrid):
    """Multiples of a step beside an offset; step and limits are numbers, or tensors of float64."""

    def __init__(
        self,
        dtype: torch.dtype,
        step: float | Tensor,
        *,
        offset: float = 0.0,
        limits: tuple[float, float] | tuple[Tensor, Tensor] | None,
        mode: RoundMode,
    ) -> None:
        super().__init__(dtype)
        self.step, self.offset, self.limits = step, offset, limits
        self.is_same_everywhere = not isinstance(step, Tensor)
        self.round = ROUNDERS[mode]

    def nearest(self, x: Tensor) -> Tensor:
        """Round the code by the quantizer's mode."""
        wide = x.double()
        codes = self.round(self._position(wide))
        if self.limits is not None:
            codes = torch.clamp(codes, *self.limits)
        return self._level(codes, wide).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Levels of two neighboring codes."""
        codes = self._position(x).floor_()
        if self.limits is not None:
            low, high = self.limits
            codes = torch.clamp(codes, low, high - 1)  # type: ignore[arg-type]
        lower, upper = (self._level(c, x) for c in (codes, codes + 1))
        return _held(lower, self.dtype), _held(upper, self.dtype)

    def _position(self, x: Tensor) -> Tensor:
        """Return the number of steps from the offset, a new tensor."""
        return (x - self.offset).div_(self.step) if self.offset else x / self.step

    def _level(self, codes: Tensor, x: Tensor) -> Tensor:
        """Level of each code, or the number itself where float64 no longer resolves the grid."""
        levels = codes * self.step
        if self.offset:
            levels += self.offset
        return levels if self.limits is not None else torch.where(codes.abs() < MAX_CODE, levels, x)


class _TwoLevelGrid(TensorGrid):
    """Two levels and the least float64 number that goes to the upper one."""

    def __init__(self, dtype: torch.dtype, levels: Tensor, threshold: float) -> None:
        super().__init__(dtype)
        self.lower, self.upper = levels.to(dtype)
        self.threshold = torch.tensor(threshold, dtype=torch.float64, device=levels.device)

    def nearest(self, x: Tensor) -> Tensor:
        """Compare with the threshold."""
        # By signs, as a comparison and a choice take twice as long.
        above = torch.sign(x - rounded_up(self.threshold, x.dtype)).mul_(2).add_(1).sign_()
        return self._level(above, x)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two levels."""
        lower, upper = self.lower.double(), self.upper.double()
        return lower.expand_as(x), upper.expand_as(x)

    def stochastic(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Take the upper level with a probability linear in the number."""
        lower, upper = self.lower.double(), self.upper.double()
        limit = _random_like(x, generator).mul_(upper - lower).add_(lower)
        return self._level(limit.sub_(x).sign_().mul_(-2).sub_(1).sign_(), x)

    def _level(self, above: Tensor, x: Tensor) -> Tensor:
        """Upper level for one, lower one for minus one, and NaN where it was."""
        weight = above.add_(1).mul_(0.5).add_(x.clamp(-1, 1).mul_(0))
        return torch.lerp(self.lower, self.upper, weight.to(self.dtype))


class _ListedGrid(TensorGrid):
    """A sorted list of levels and the thresholds between them; on a threshold, up."""

    def __init__(self, dtype: torch.dtype, levels: Tensor, thresholds: Tensor) -> None:
        super().__init__(dtype)
        self.levels, self.thresholds = _held(levels, dtype), thresholds

    def nearest(self, x: Tensor) -> Tensor:
        """Level of the cell."""
        wide = x.double().contiguous()
        index = torch.bucketize(wide, self.thresholds, right=True)
        return self._finish(self._level(index), wide).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take neighbors from the list."""
        index = torch.bucketize(x.contiguous(), self.levels, right=True).sub_(1)
        index = index.clamp_(0, self.levels.numel() - 2)
        return self._level(index), self._level(index + 1)

    def _level(self, index: Tensor) -> Tensor:
        """Levels of indices of any shape."""
        return self.levels.index_select(0, index.reshape(-1)).reshape(index.shape)

    def _finish(self, levels: Tensor, x: Tensor) -> Tensor:
        """Keep NaN, which the search puts above all levels."""
        return torch.where(torch.isnan(x), x, levels)


class _FloatGrid(TensorGrid):
    """Values of a floating-point format; ties to even."""

    def __init__(self, dtype: torch.dtype, fmt: FloatFormat) -> None:
        super().__init__(dtype)
        self.format = fmt
        self.spill = math.inf if fmt.overflow is Overflow.INFINITY else math.nan

    def nearest(self, x: Tensor) -> Tensor:
        """Round in units of the spacing at each number."""
        wide = x.double()
        quantum = self._quantum(wide)
        return self._finish((wide / quantum).round_().mul_(quantum), wide).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Multiples of the spacing, as if exponents had no upper limit."""
        quantum = self._quantum(x)
        lower = (x / quantum).floor_().mul_(quantum)
        return lower, quantum.add_(lower)

    def _quantum(self, x: Tensor) -> Tensor:
        """Spacing of the format at each number, at most that at the largest value."""
        fmt = self.format
        least, most = 2.0**fmt.min_exponent, 2.0**fmt.max_exponent
        power = (x.view(torch.int64) & EXPONENT_BITS).view(torch.float64)
        quantum = power.clamp(least, most).mul_(2.0**-fmt.mantissa_bits)
        # Without subnormals there is one step from zero to the smallest normal number.
        return quantum if fmt.has_subnormals else torch.where(power < least, least, quantum)

    def _finish(self, levels: Tensor, x: Tensor) -> Tensor:
        """Spill what is too large, and keep the sign of zero where the format has two."""
        limit = self.format.max_value
        if self.format.overflow is Overflow.SATURATE:
            levels = levels.clamp(-limit, limit)
        else:
            levels = torch.where(levels.abs() > limit, self.spill, levels)
        # The size is that of the level: a number and its rounding have one sign.
        return levels.copysign_(x) if self.format.has_negative_zero else levels.add_(0.0)


def check_quantizer(name: str, quantizer: object, *, random: bool) -> None:
    """Refuse what weights cannot be rounded to.

    Parameters
    ----------
    name : str
        Name in the message.
    quantizer : object
        What was given; ``None`` stands for no rounding.
    random : bool
        Whether rounding is stochastic, so that the quantizer's own mode does not matter.

    Raises
    ------
    ValueError
        If it is no quantizer of at least two levels, or rounds at random where it must not.
    """
    if quantizer is None:
        return
    check_instance(name, quantizer, *KINDS)
    count = _num_levels(quantizer)
    if count is not None and count < 2:
        raise fail(name, "of at least two levels", quantizer)
    if getattr(quantizer, "round_mode", None) is RoundMode.STOCHASTIC and not random:
        raise fail(name, "of deterministic rounding here", quantizer)


def tensor_grid(quantizer: WeightQuantizer, like: Tensor) -> TensorGrid:
    """Bind a quantizer to the shape, type and device of a tensor.

    Parameters
    ----------
    quantizer : UniformQuantizer, ScalarQuantizer, AffineQuantizer or a number format
        The levels, and how numbers are rounded.
    like : Tensor
        Tensor whose numbers are to be rounded.

    Returns
    -------
    TensorGrid
        Levels in the type of the tensor.

    Raises
    ------
    ValueError
        If the tensor's type cannot tell the levels apart, or its shape does not fit the scales.
    """
    if isinstance(quantizer, FloatFormat):
        _check_held(quantizer, like.dtype)
        return _FloatGrid(like.dtype, quantizer)
    if isinstance(quantizer, AffineQuantizer):
        return _affine_grid(quantizer, like)
    if isinstance(quantizer, FixedPointFormat):
        limits = quantizer.code_min, quantizer.code_max
        quantizer = UniformQuantizer(quantizer.step_size, code_min=limits[0], code_max=limits[1])
    if isinstance(quantizer, ScalarQuantizer) or _num_levels(quantizer) == 2:
        return _listed_grid(quantizer, like)
    return _uniform_grid(quantizer, like)


def describe(quantizer: WeightQuantizer | None) -> dict[str, Any] | None:
    """Say in plain numbers and text what a quantizer is, for a state that is saved.

    Parameters
    ----------
    quantizer : UniformQuantizer, ScalarQuantizer, AffineQuantizer, a number format or None
        The quantizer.

    Returns
    -------
    dict or None
        Kind and fields; equal for quantizers that do the same.
    """
    if quantizer is None:
        return None
    fields = {field.name: getattr(quantizer, field.name) for field in dataclasses.fields(quantizer)}
    return {"kind": type(quantizer).__name__, **{key: _plain(v) for key, v in fields.items()}}


def _plain(value: object) -> object:
    """Turn arrays into lists and members of enumerations into their values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.value if isinstance(value, enum.Enum) else value


def _num_levels(quantizer: object) -> int | None:
    """Return the number of levels, or None if it is infinite or those of a format."""
    if isinstance(quantizer, UniformQuantizer) and not quantizer.is_finite:
        return None
    return getattr(quantizer, "num_levels", None)


def _random_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float64 numbers from [0, 1), of 53 random bits."""
    return torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator)


def _held(levels: Tensor, dtype: torch.dtype) -> Tensor:
    """Float64 levels as a type holds them."""
    return levels if dtype == torch.float64 else levels.to(dtype).double()


def _listed_grid(quantizer: ScalarQuantizer | UniformQuantizer, like: Tensor) -> TensorGrid:
    """Grid of levels that are looked up."""
    if isinstance(quantizer, UniformQuantizer) and quantizer.round_mode is RoundMode.STOCHASTIC:
        quantizer = dataclasses.replace(quantizer, round_mode=RoundMode.TIES_TO_EVEN)
    listed = listed_staircase("quantizer", quantizer)
    levels, thresholds = (torch.tensor(values, device=like.device) for values in listed)
    _check_distinct(levels, like.dtype, quantizer)
    if levels.numel() == 2:
        return _TwoLevelGrid(like.dtype, levels, float(thresholds[0]))
    return _ListedGrid(like.dtype, levels, thresholds)


def _uniform_grid(quantizer: UniformQuantizer, like: Tensor) -> TensorGrid:
    """Grid of one step, with or without limits."""
    limits = None
    if quantizer.code_min is not None and quantizer.code_max is not None:
        limits = float(quantizer.code_min), float(quantizer.code_max)
        for code in (limits[0], limits[1] - 1):  # the outer levels are the least resolved
            pair = [quantizer.offset + quantizer.step_size * (code + i) for i in (0, 1)]
            _check_distinct(torch.tensor(pair, dtype=torch.float64), like.dtype, quantizer)
    step, offset, mode = quantizer.step_size, quantizer.offset, quantizer.round_mode
    return _UniformGrid(like.dtype, step, offset=offset, limits=limits, mode=mode)


def _affine_grid(quantizer: AffineQuantizer, like: Tensor) -> TensorGrid:
    """Grid of steps that differ between channels or groups."""
    scale, zero_point = (
        _spread(torch.tensor(value), quantizer, like)
        for value in (quantizer.scale, quantizer.zero_point)
    )
    return _UniformGrid(
        like.dtype,
        scale.double(),
        limits=(quantizer.code_min - zero_point.double(), quantizer.code_max - zero_point.double()),
        mode=quantizer.round_mode,
    )


def _spread(value: Tensor, quantizer: AffineQuantizer, like: Tensor) -> Tensor:
    """Repeat one value per channel or group to broadcast against a tensor."""
    value = value.to(like.device)
    if quantizer.axis is None or value.ndim == 0:
        return value
    if not -like.ndim <= quantizer.axis < like.ndim:
        raise fail("quantizer", f"one of tensors with {like.ndim} axes", quantizer)
    axis = quantizer.axis % like.ndim
    size = quantizer.group_size or 1
    groups = list(like.shape) if quantizer.group_size else [1] * like.ndim
    groups[axis] = -(-like.shape[axis] // size)
    if value.numel() != math.prod(groups):
        raise fail("quantizer", f"one for weights of shape {tuple(like.shape)}", quantizer)
    repeated = value.reshape(groups).repeat_interleave(size, dim=axis)
    return repeated.narrow(axis, 0, like.shape[axis])


def _check_distinct(levels: Tensor, dtype: torch.dtype, quantizer: object) -> None:
    """Refuse levels that become equal in a type."""
    held = levels.to(dtype)
    if bool((held[1:] == held[:-1]).any()) or not bool(torch.isfinite(held).all()):
        raise fail("quantizer", f"one whose levels differ in {dtype}", quantizer)


def _check_held(fmt: FloatFormat, dtype: torch.dtype) -> None:
    """Refuse a format with values that a type does not hold."""
    info = torch.finfo(dtype)
    if not (
        2.0**-fmt.mantissa_bits >= info.eps
        and fmt.max_value <= info.max
        and fmt.min_subnormal >= info.smallest_normal * info.eps
    ):
        raise fail("quantizer", f"a format whose values are exact in {dtype}", fmt)


def _round_ties_away(x: Tensor) -> Tensor:
    """Round half away from zero, without the double rounding of ``floor(x + 0.5)``."""
    whole = torch.trunc(x)
    return torch.copysign(whole.abs() + ((x - whole).abs() >= 0.5), x)


ROUNDERS: dict[RoundMode, Callable[[Tensor], Tensor]] = {
    RoundMode.TIES_TO_EVEN: torch.round,
    RoundMode.TIES_AWAY: _round_ties_away,
    RoundMode.TOWARD_ZERO: torch.trunc,
    RoundMode.FLOOR: torch.floor,
    RoundMode.CEIL: torch.ceil,
    RoundMode.STOCHASTIC: torch.round,  # where a mode of rest is asked for, such as the start
}
