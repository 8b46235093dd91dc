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
KINDS = (UniformQuantizer, ScalarQuantizer, AffineQuantizer, FloatFormat, FixedPointFormat)


class TensorGrid(ABC):
    """Levels for the numbers of one tensor, each rounded once to the type of that tensor.

    Parameters
    ----------
    dtype : torch.dtype
        Type of the levels.
    """

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
        return self._finish(_choose(wide, lower, upper, generator), wide).to(self.dtype)

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
        self.round = ROUNDERS[mode]

    def nearest(self, x: Tensor) -> Tensor:
        """Round the code by the quantizer's mode."""
        wide = x.double()
        codes = self._clip(self.round((wide - self.offset) / self.step))
        return self._level(codes, wide).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Levels of two neighboring codes."""
        codes = ((x - self.offset) / self.step).floor_()
        if self.limits is not None:
            low, high = self.limits
            codes = torch.clamp(codes, low, high - 1)  # type: ignore[arg-type]
        lower, upper = (self._level(c, x).to(self.dtype).double() for c in (codes, codes + 1))
        return lower, upper

    def _clip(self, codes: Tensor) -> Tensor:
        """Keep codes inside the range."""
        return codes if self.limits is None else torch.clamp(codes, *self.limits)

    def _level(self, codes: Tensor, x: Tensor) -> Tensor:
        """Level of each code, or the number itself where float64 no longer resolves the grid."""
        levels = codes * self.step + self.offset
        return levels if self.limits is not None else torch.where(codes.abs() < MAX_CODE, levels, x)


class _ListedGrid(TensorGrid):
    """A sorted list of levels and the thresholds between them; on a threshold, up."""

    def __init__(
        self, dtype: torch.dtype, quantizer: ScalarQuantizer, device: torch.device
    ) -> None:
        super().__init__(dtype)
        self.thresholds = torch.tensor(quantizer.thresholds, dtype=torch.float64, device=device)
        self.levels = torch.tensor(quantizer.levels, dtype=torch.float64, device=device)
        self.levels = self.levels.to(dtype).double()

    def nearest(self, x: Tensor) -> Tensor:
        """Level of the cell."""
        wide = x.double().contiguous()
        levels = self._level(torch.bucketize(wide, self.thresholds, right=True))
        return torch.where(torch.isnan(wide), wide, levels).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take neighbors from the list."""
        index = torch.bucketize(x.contiguous(), self.levels, right=True) - 1
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
        self.spill = {Overflow.INFINITY: math.inf, Overflow.NAN: math.nan}.get(
            fmt.overflow, fmt.max_value
        )

    def nearest(self, x: Tensor) -> Tensor:
        """Round in units of the spacing at each number."""
        wide = x.double()
        quantum = self._quantum(wide)
        return self._finish(torch.round(wide / quantum) * quantum, wide).to(self.dtype)

    def neighbors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Multiples of the spacing, as if exponents had no upper limit."""
        quantum = self._quantum(x)
        lower = torch.floor(x / quantum) * quantum
        return lower, lower + quantum

    def _quantum(self, x: Tensor) -> Tensor:
        """Spacing of the format at each number."""
        least = self.format.min_exponent
        digits = self.format.mantissa_bits
        exponent = torch.frexp(x).exponent - 1
        quantum = exponent.clamp(min=least) - digits
        if not self.format.has_subnormals:
            quantum = torch.where(exponent < least, least, quantum)
        return torch.ldexp(torch.ones_like(x), quantum)

    def _finish(self, levels: Tensor, x: Tensor) -> Tensor:
        """Spill what is too large, and keep the sign of zero where the format has two."""
        is_over = (levels.abs() > self.format.max_value) | torch.isinf(x)
        output = torch.where(is_over, torch.copysign(torch.full_like(x, self.spill), x), levels)
        if self.format.has_negative_zero:
            return torch.copysign(output, x)
        return output + 0.0


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
    is_infinite = isinstance(quantizer, UniformQuantizer) and not quantizer.is_finite
    count = None if is_infinite else getattr(quantizer, "num_levels", None)
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
    if isinstance(quantizer, ScalarQuantizer):
        _check_distinct(torch.tensor(quantizer.levels), like.dtype, quantizer)
        return _ListedGrid(like.dtype, quantizer, like.device)
    if isinstance(quantizer, FloatFormat):
        _check_held(quantizer, like.dtype)
        return _FloatGrid(like.dtype, quantizer)
    if isinstance(quantizer, AffineQuantizer):
        return _affine_grid(quantizer, like)
    if isinstance(quantizer, FixedPointFormat):
        quantizer = UniformQuantizer(
            quantizer.step_size, code_min=quantizer.code_min, code_max=quantizer.code_max
        )
    limits = None
    if quantizer.code_min is not None and quantizer.code_max is not None:
        limits = float(quantizer.code_min), float(quantizer.code_max)
        for code in (limits[0], limits[1] - 1):  # the outer levels are the least resolved
            pair = [quantizer.offset + quantizer.step_size * (code + i) for i in (0, 1)]
            _check_distinct(torch.tensor(pair, dtype=torch.float64), like.dtype, quantizer)
    return _UniformGrid(
        like.dtype,
        quantizer.step_size,
        offset=quantizer.offset,
        limits=limits,
        mode=quantizer.round_mode,
    )


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


def _choose(x: Tensor, lower: Tensor, upper: Tensor, generator: torch.Generator) -> Tensor:
    """Take the upper level with the probability that keeps the mean; the lower one if they agree.

    The comparison is of float64 numbers: with 24 random bits the smallest probability would be
    6e-8, and a small update would be made too often.
    """
    random = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator)
    return torch.where(random * (upper - lower) < x - lower, upper, lower)


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
