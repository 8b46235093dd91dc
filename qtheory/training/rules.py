"""Update rules of quantized training: where the gradient is taken, and what becomes of a step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import (
    as_float_array,
    check_choice,
    check_generator,
    check_instance,
    fail,
)
from qtheory.quantizers import RoundMode, UniformQuantizer

__all__ = [
    "BinaryConnect",
    "DeterministicRounding",
    "GradientDescent",
    "StochasticRounding",
    "UpdateRule",
]

FloatArray = NDArray[np.floating[Any]]

# Distance from the grid, in steps, that rounding of the inputs explains.
ON_GRID = 1e-6


class UpdateRule:
    """A rule that moves latent weights, and says at which weights the gradient is taken.

    By itself it is gradient descent; a rule of your own overrides what it does differently.

    Arrays are float32 or float64 of shape ``(..., d)``; leading axes are replicas.
    """

    def weights(self, latent: ArrayLike, *, rng: np.random.Generator | None = None) -> FloatArray:
        """Return the weights of the network that belong to the latent weights."""
        return as_float_array("latent", latent)

    def update(
        self,
        latent: FloatArray,
        gradient: FloatArray,
        learning_rate: float,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """Return the latent weights after one step; the inputs are left as they are."""
        return _moved(latent, gradient, learning_rate)

    def start(self, latent: ArrayLike) -> FloatArray:
        """Return a checked copy of the weights that training starts from."""
        array = np.array(as_float_array("start", latent))
        if not np.isfinite(array).all():
            raise fail("start", "finite", array)
        return array


@dataclass(frozen=True)
class GradientDescent(UpdateRule):
    r"""Stochastic gradient descent without quantization: :math:`w \leftarrow w - \alpha g(w)`.

    Notes
    -----
    Book: ch08-rules.
    """


@dataclass(frozen=True)
class DeterministicRounding(UpdateRule):
    r"""Rounding to nearest after each step (R): :math:`w \leftarrow Q(w - \alpha g(w))`.

    Parameters
    ----------
    grid : UniformQuantizer
        The grid of the weights; its round mode, not stochastic, settles ties.

    Notes
    -----
    Book: ch08-rules.

    A coordinate whose step is below half a grid step never moves.
    """

    grid: UniformQuantizer

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_grid(self.grid)
        _refuse_stochastic(self.grid)

    def update(
        self,
        latent: FloatArray,
        gradient: FloatArray,
        learning_rate: float,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """Return the weights after one step, on the grid."""
        moved = _moved(latent, gradient, learning_rate)
        return np.asarray(self.grid(moved), dtype=moved.dtype)

    def start(self, latent: ArrayLike) -> FloatArray:
        """Return a checked copy of the weights that training starts from, which lie on the grid."""
        return _on_grid(super().start(latent), self.grid)


@dataclass(frozen=True)
class StochasticRounding(UpdateRule):
    r"""Unbiased rounding after each step (SR): :math:`w \leftarrow Q_s(w - \alpha g(w))`.

    Parameters
    ----------
    grid : UniformQuantizer
        The grid of the weights, finite or not. Beyond its ends, weights are clipped.

    Notes
    -----
    Book: ch08-rules.

    :math:`Q_s(x) = \Delta \lfloor x/\Delta + u \rfloor` with u uniform on [0, 1).

    Accuracy: float32 weights are moved and rounded in float64, so that steps of any size move
    them with the right probability.

    Examples
    --------
    A step of a quarter of the grid moves one weight in four:

    >>> import numpy as np
    >>> from qtheory.quantizers import infinite_grid
    >>> from qtheory.training import StochasticRounding
    >>> rule = StochasticRounding(infinite_grid(1.0))
    >>> moved = rule.update(np.zeros(10_000), np.ones(10_000), 0.25, rng=np.random.default_rng(0))
    >>> float(np.round(-moved.mean(), 2))
    0.25
    """

    grid: UniformQuantizer

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_grid(self.grid)

    def update(
        self,
        latent: FloatArray,
        gradient: FloatArray,
        learning_rate: float,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """Return the weights after one step, on the grid."""
        generator = check_generator("rng", rng)
        # From whole codes, so that a step of zero never moves a weight, whatever its type.
        codes = np.rint(_codes(latent, self.grid))
        codes -= gradient * (learning_rate / self.grid.step_size)
        codes += generator.random(codes.shape)
        return _floored(codes, self.grid).astype(latent.dtype, copy=False)

    def start(self, latent: ArrayLike) -> FloatArray:
        """Return a checked copy of the weights that training starts from, which lie on the grid."""
        return _on_grid(super().start(latent), self.grid)


@dataclass(frozen=True)
class BinaryConnect(UpdateRule):
    r"""Latent weights in full precision (BC): :math:`w \leftarrow w - \alpha g(Q(w))`.

    Parameters
    ----------
    grid : UniformQuantizer
        The grid of the network's weights; {-1, +1} in the method's first form.
    forward : {"nearest", "stochastic"}
        How latent weights are rounded for the gradient. To nearest is deterministic; stochastic
        rounding is unbiased inside the range of the grid.
    clip : bool
        Whether latent weights are kept between the outer levels of a finite grid.

    Notes
    -----
    Book: ch08-rules.

    To nearest, a latent weight halfway between two levels goes up, so that the sign of zero
    is +1, whatever the round mode of the grid.
    """

    grid: UniformQuantizer
    forward: str = "nearest"
    clip: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_grid(self.grid)
        check_choice("forward", self.forward, ["nearest", "stochastic"])
        check_instance("clip", self.clip, bool)
        if self.clip and not self.grid.is_finite:
            raise fail("clip", "False on an infinite grid", self.clip)

    def weights(self, latent: ArrayLike, *, rng: np.random.Generator | None = None) -> FloatArray:
        """Return the rounded weights; ``rng`` is needed for stochastic rounding."""
        array = as_float_array("latent", latent)
        if self.forward == "stochastic":
            return _round_stochastically(array, self.grid, check_generator("rng", rng))
        return _round_half_up(array, self.grid)

    def update(
        self,
        latent: FloatArray,
        gradient: FloatArray,
        learning_rate: float,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """Return the latent weights after one step."""
        moved = _moved(latent, gradient, learning_rate)
        if self.clip:
            low, high = self.grid.levels[[0, -1]]
            np.clip(moved, low, high, out=moved)
        return moved


def _moved(latent: FloatArray, gradient: FloatArray, learning_rate: float) -> FloatArray:
    """Return a new array, a step against the gradient away."""
    moved = np.multiply(gradient, -learning_rate, dtype=latent.dtype)
    moved += latent
    return moved


def _round_stochastically(
    values: FloatArray, grid: UniformQuantizer, rng: np.random.Generator
) -> FloatArray:
    """Round up with the probability of the fractional part, in float64 whatever the type."""
    codes = _codes(values, grid)
    codes += rng.random(codes.shape)
    return _floored(codes, grid).astype(values.dtype, copy=False)


def _round_half_up(values: FloatArray, grid: UniformQuantizer) -> FloatArray:
    """Round to the nearest level, halves up."""
    codes = _codes(values, grid)
    codes += 0.5
    return _floored(codes, grid).astype(values.dtype, copy=False)


def _codes(values: FloatArray, grid: UniformQuantizer) -> NDArray[np.float64]:
    """Return a new array of values in steps of the grid from its offset."""
    if not grid.offset:
        return np.asarray(np.divide(values, grid.step_size, dtype=np.float64))
    codes = np.subtract(values, grid.offset, dtype=np.float64)
    codes /= grid.step_size
    return np.asarray(codes)


def _floored(codes: NDArray[np.float64], grid: UniformQuantizer) -> NDArray[np.float64]:
    """Replace codes by the levels at or below them, in place."""
    np.floor(codes, out=codes)
    if grid.code_min is not None:
        np.clip(codes, grid.code_min, grid.code_max, out=codes)
    codes *= grid.step_size
    if grid.offset:
        codes += grid.offset
    return codes


def _check_grid(grid: object) -> None:
    check_instance("grid", grid, UniformQuantizer)


def _refuse_stochastic(grid: UniformQuantizer) -> None:
    if grid.round_mode is RoundMode.STOCHASTIC:
        raise fail("grid", "deterministic in its round mode", grid.round_mode)


def _on_grid(start: FloatArray, grid: UniformQuantizer) -> FloatArray:
    """Return the levels that the start lies on, refusing weights between them."""
    levels = _round_half_up(start, grid)
    distance = np.abs(levels - start).max(initial=0.0)
    if distance > ON_GRID * grid.step_size:
        raise fail("start", "on the grid (round it first)", f"a distance of {distance:.3g}")
    return levels
