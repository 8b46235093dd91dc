"""A staircase with the backward pass of a clipped straight line, as an autograd function."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["apply_staircase", "is_inside", "rounded_up"]


def apply_staircase(
    u: Tensor, levels: Tensor, thresholds: Tensor, slope: Tensor, window: Tensor
) -> Tensor:
    """Map numbers to levels; backward, pass ``slope`` times the gradient inside the window.

    Parameters
    ----------
    u : Tensor
        Real numbers, any shape, of a floating-point type.
    levels, thresholds : Tensor
        Float64, lengths ``num_levels`` and ``num_levels - 1``.
    slope, window : Tensor
        Float64, one number each.

    Returns
    -------
    Tensor
        Levels in the type of ``u``; NaN stays NaN.
    """
    # The compiler cannot trace a function with forward-mode derivatives of its own.
    function = _StraightThrough if torch.compiler.is_compiling() else _StraightThroughBothModes
    output: Tensor = function.apply(u, levels, thresholds, slope, window)  # type: ignore[no-untyped-call]
    return output


def is_inside(u: Tensor, window: Tensor) -> Tensor:
    """Tell which numbers are smaller in magnitude than a float64 limit, exactly."""
    wide = u.to(_compared_dtype(u))
    return wide.abs() < rounded_up(window, wide.dtype)


def _staircase(u: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    """Level of each number; a number on a threshold goes up."""
    wide = u.to(_compared_dtype(u)).contiguous()
    index = torch.bucketize(wide, rounded_up(thresholds, wide.dtype), right=True)
    output = levels.to(u.dtype).index_select(0, index.reshape(-1)).reshape(u.shape)
    return torch.where(torch.isnan(u), u, output)


def _compared_dtype(u: Tensor) -> torch.dtype:
    """Type in which comparisons are made: it holds every number of the type of ``u``."""
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def rounded_up(limits: Tensor, dtype: torch.dtype) -> Tensor:
    """Least numbers of a type that are not below float64 limits.

    A number of that type is at or above the limit exactly if it is at or above the result.
    """
    if dtype == torch.float64:
        return limits
    nearest = limits.to(dtype)
    above = torch.nextafter(nearest, torch.full_like(nearest, torch.inf))
    return torch.where(nearest.to(torch.float64) < limits, above, nearest)


class _StraightThrough(torch.autograd.Function):
    """Staircase forward, clipped straight line backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        u: Tensor, levels: Tensor, thresholds: Tensor, slope: Tensor, window: Tensor
    ) -> Tensor:
        """Apply the staircase."""
        return _staircase(u, levels, thresholds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what the derivative needs."""
        ctx.save_for_backward(inputs[0], inputs[3], inputs[4])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply by the slope inside the window and by zero outside."""
        return _times_derivative(grad, *ctx.saved_tensors), None, None, None, None


class _StraightThroughBothModes(_StraightThrough):
    """The same with the derivative also in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what the derivative needs, in both modes."""
        ctx.save_for_backward(inputs[0], inputs[3], inputs[4])
        ctx.save_for_forward(inputs[0], inputs[3], inputs[4])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        """Multiply by the slope inside the window and by zero outside."""
        return _times_derivative(tangent, *ctx.saved_tensors)


def _times_derivative(direction: Tensor, u: Tensor, slope: Tensor, window: Tensor) -> Tensor:
    """Product of a gradient or tangent with the derivative of the clipped line."""
    return direction * (slope.to(direction.dtype) * is_inside(u, window).to(direction.dtype))
