"""A quantized activation as a PyTorch module."""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtheory._checks import fail
from qtheory.meanfield import Staircase, UniformStaircase
from qtheory.nn._staircases import (
    StaircaseLike,
    StaircaseSettings,
    listed_staircase,
    settings,
    theory_staircase,
)
from qtheory.nn._straight_through import apply_staircase

__all__ = ["QuantizedActivation"]

BUFFERS = ("levels", "thresholds", "slope", "window", "variance")


class QuantizedActivation(nn.Module):
    r"""A staircase whose backward pass is that of a clipped straight line.

    Forward, each number becomes the level of its cell, exactly as the quantizer of NumPy does it,
    ties included. Backward, the gradient is multiplied by the slope where the input is inside the
    window, and by zero outside: the straight-through estimator.

    Parameters
    ----------
    activation : int or staircase or quantizer or number format
        An integer :math:`N` from 2 to 65536 stands for :math:`N` equally spaced levels from -1 to 1
        with thresholds at the midpoints (:func:`qtheory.meanfield.uniform_staircase`). Also a
        `Staircase` or `UniformStaircase` of the mean-field theory; a `ScalarQuantizer`, or a finite
        `UniformQuantizer` or `AffineQuantizer` of one scale and deterministic rounding; a
        `FloatFormat`, `FixedPointFormat` or `BlockFormat`, of which the finite values are the
        levels, as :func:`qtheory.meanfield.staircase_from_format` makes them.
    slope : float, optional
        Derivative :math:`s` inside the window, above zero. By default the balanced one: gradients
        keep their size from layer to layer at ``variance``.
    window : float, optional
        Magnitude :math:`\tau` from which on the derivative is zero, above zero, may be infinite. By
        default where the staircase becomes flat, half a gap of the thresholds beyond the outer one:
        1 for levels from -1 to 1.
    variance : float, optional
        Pre-activation variance :math:`q` at which the module is to be used, above zero. By default
        the one at which correlations of inputs travel farthest.

    Raises
    ------
    ValueError
        If the staircase is none of these or has no level but zero, or a number is not above zero.

    See Also
    --------
    qtheory.nn.initialize_ : Sets the weights and these modules of a model together.

    Notes
    -----
    Book: sec-ch07-torch.

    .. math:: \varphi(u) = y_i \;\text{ for }\; g_i \le u < g_{i+1}, \qquad
              \frac{\partial \varphi}{\partial u} \to s \, [\,|u| < \tau\,], \qquad
              s = \bigl(\sigma_w^2 P(|u| < \tau)\bigr)^{-1/2}

    where :math:`\sigma_w^2 = q / \mathbb E\,\varphi^2` keeps the variance :math:`q`.

    Assumptions: for the balanced slope those of `initialize_`.

    Accuracy: bit for bit that of the NumPy object, in float64, float32, bfloat16 and float16: the
    type is kept, numbers are compared with the thresholds rounded up to the type, and levels are
    rounded to it. NaN stays NaN and gets no gradient.

    Levels, thresholds, slope, window and variance are float64 buffers: they are
    in the ``state_dict``, move with the module, and keep their type under ``half()`` and ``to()``.
    A device without float64 is not supported.

    The derivative is that of `surrogate`, to first order in both modes of differentiation. Of
    higher order it is what that line says: differentiated again, the result is linear in the
    incoming gradient and constant in the input, so second derivatives by the input are zero.
    ``gradcheck`` of the module itself must fail, since a staircase has no such derivative.

    Limits: as the number of levels grows, forward and backward agree inside the window at slope 1.

    Examples
    --------
    >>> import torch
    >>> from qtheory.nn import QuantizedActivation
    >>> phi = QuantizedActivation(4, slope=1.0)
    >>> u = torch.tensor([-2.0, -0.1, 0.0, 0.8], requires_grad=True)
    >>> phi(u).detach()
    tensor([-1.0000, -0.3333,  0.3333,  1.0000])
    >>> phi(u).sum().backward()
    >>> u.grad
    tensor([0., 1., 1., 1.])
    """

    levels: Tensor
    thresholds: Tensor
    slope: Tensor
    window: Tensor
    variance: Tensor

    def __init__(
        self,
        activation: StaircaseLike,
        *,
        slope: float | None = None,
        window: float | None = None,
        variance: float | None = None,
    ) -> None:
        super().__init__()
        levels, thresholds = listed_staircase("activation", activation)
        self._write(settings(levels, thresholds, slope=slope, window=window, variance=variance))

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return self.levels.numel()

    @property
    def activation(self) -> Staircase | UniformStaircase:
        """The same staircase as an object of `qtheory.meanfield`, made from the buffers."""
        return theory_staircase(*self.listed())

    @property
    def weight_variance(self) -> float:
        """Weight variance times fan-in that keeps ``variance`` from layer to layer, no biases."""
        variance = float(self.variance)
        return variance / float(self.activation.second_moment(variance))

    def listed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return levels and thresholds as arrays, with which ``searchsorted`` does the same."""
        return _to_numpy(self.levels), _to_numpy(self.thresholds)

    def forward(self, u: Tensor) -> Tensor:
        """Quantize.

        Parameters
        ----------
        u : Tensor
            Real numbers, any shape, of a floating-point type.

        Returns
        -------
        Tensor
            Levels, same shape and type.

        Raises
        ------
        ValueError
            If ``u`` is not of a floating-point type.
        """
        return apply_staircase(_floating(u), self.levels, self.thresholds, self.slope, self.window)

    def surrogate(self, u: Tensor) -> Tensor:
        r"""Clipped straight line whose derivative the backward pass uses.

        Parameters
        ----------
        u : Tensor
            Real numbers, any shape, of a floating-point type.

        Returns
        -------
        Tensor
            :math:`s \, \mathrm{clip}(u, -\tau, \tau)`, same shape and type.

        Raises
        ------
        ValueError
            If ``u`` is not of a floating-point type.
        """
        window = self.window.to(_floating(u).dtype)
        return self.slope.to(u.dtype) * torch.clamp(u, -window, window)

    def _write(self, values: StaircaseSettings) -> None:
        """Replace all buffers, keeping their device.

        Parameters
        ----------
        values : StaircaseSettings
            What is written, whatever the number of levels was before.
        """
        device = self.slope.device if "slope" in self._buffers else None
        for name in BUFFERS:
            value = torch.tensor(getattr(values, name), dtype=torch.float64, device=device)
            self.register_buffer(name, value)

    def extra_repr(self) -> str:
        """Say levels, slope and window on the line that PyTorch prints."""
        low, high = self.levels.min().item(), self.levels.max().item()
        return (
            f"num_levels={self.num_levels}, levels from {low:.4g} to {high:.4g}, "
            f"slope={self.slope.item():.4g}, window={self.window.item():.4g}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the buffers, but do not let them lose digits."""
        before = {name: getattr(self, name) for name in BUFFERS}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in before.items():
            moved: Tensor = getattr(self, name)
            if moved.dtype != torch.float64:
                setattr(self, name, value.to(moved.device))
        return self


def _floating(u: Tensor) -> Tensor:
    """Refuse integers, which have no gradient."""
    if not u.is_floating_point():
        raise fail("u", "of a floating-point type", u.dtype)
    return u


def _to_numpy(value: Tensor) -> NDArray[np.float64]:
    """Float64 array of a buffer."""
    return np.array(value.detach().cpu().numpy(), dtype=np.float64)
