"""Probabilities of the moves along one axis that stochastic rounding makes of a random step."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from qtheory.training.noise import GradientNoise

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)
# Lengths of moves that are tried for an estimate of their number.
NUM_LENGTHS = 48


class AxisMoves:
    r"""Law of the move of one coordinate, from each of many states.

    The step is :math:`u = -(m + \xi)/h` grid steps, with h the grid step over the learning rate.
    Rounding spreads it over the two grid points around it, so the probability of j grid steps is
    the expectation of a hat function, a second difference of
    :math:`E(u - c)_+ = E(t_c - \xi)_+/h`, :math:`t_c = -m - ch`. Left of the center of the noise it
    is taken from the shortfall :math:`E(t - \xi)_+`, right of it from the excess
    :math:`E(\xi - t)_+`, which differs by a straight line: neither cancels in its own tail.

    Parameters
    ----------
    mean : numpy.ndarray
        Mean of the gradient in each state, shape ``(num_states,)``.
    ratio : float
        Grid step over learning rate, in units of the gradient.
    noise : GradientNoise
        Law of :math:`\xi`.
    """

    def __init__(self, mean: FloatArray, ratio: float, noise: GradientNoise) -> None:
        self.mean = mean
        self.ratio = ratio
        self.noise = noise
        self._cache: dict[tuple[bool, int], FloatArray] = {}
        self._tails: dict[tuple[bool, int], FloatArray] = {}

    def moves(
        self, index: IntArray, num_points: int, cutoff: float
    ) -> Iterator[tuple[int, FloatArray]]:
        """Yield each move with its probability from each state, nearest first.

        What would lead beyond the ends of the axis goes to the end. Moves at least this long with
        a probability of at most ``cutoff`` from every state are left out, but for single steps.
        """
        yield 0, self._move(0, index, num_points)
        for sign in (1, -1):
            for offset in range(sign, sign * num_points, sign):
                inside = (index + offset >= 0) & (index + offset < num_points)
                beyond = self._at_least(offset) if sign > 0 else self._at_most(offset)
                if not (beyond[inside] > (0.0 if offset == sign else cutoff)).any():
                    break
                yield offset, np.where(inside, self._move(offset, index, num_points), 0.0)
                self._forget(offset - 3 * sign)

    def estimate_count(self, index: IntArray, num_points: int, cutoff: float) -> float:
        """Return about how many moves from all states together are likelier than ``cutoff``.

        A sum over some of the moves, each gap between two of them with the smaller count of both: a
        lower bound for laws whose moves become rarer with their length.
        """
        total = 0.0
        ladder = np.unique(np.geomspace(1, num_points, NUM_LENGTHS).astype(int))
        for sign in (1, -1):
            counts = [
                self._count(sign * int(length), index, num_points, cutoff) for length in ladder
            ]
            total += float(np.diff(ladder) @ np.minimum(counts[:-1], counts[1:]))
            self._cache.clear()
            self._tails.clear()
        return total

    def _count(self, offset: int, index: IntArray, num_points: int, cutoff: float) -> int:
        """Return from how many states a move is likelier than the cutoff."""
        inside = (index + offset >= 0) & (index + offset < num_points)
        return int(np.count_nonzero(self._exactly(offset)[inside] > cutoff))

    def _move(self, offset: int, index: IntArray, num_points: int) -> FloatArray:
        """Return the probability of a move, with all longer ones where it leads to an end."""
        target = index + offset
        probability = self._exactly(offset)
        for is_end, tail in (
            (target == num_points - 1, self._at_least),
            (target == 0, self._at_most),
        ):
            if is_end.any():
                probability = np.where(is_end, tail(offset), probability)
        return probability

    def _exactly(self, offset: int) -> FloatArray:
        """Return the probability of a move by exactly this many steps."""
        return self._sided(offset, self._place(offset) <= 0, self._second_difference)

    def _at_least(self, offset: int) -> FloatArray:
        """Return the expectation of u - (offset - 1), held between 0 and 1."""
        is_low = self._place(offset - 0.5) <= 0
        tail = self._sided(offset - 1, is_low, self._first_difference)
        return np.where(is_low, tail, 1 - tail)

    def _at_most(self, offset: int) -> FloatArray:
        """Return the expectation of (offset + 1) - u, held between 0 and 1."""
        is_low = self._place(offset + 0.5) <= 0
        tail = self._sided(offset, is_low, self._first_difference)
        return np.where(is_low, 1 - tail, tail)

    def _place(self, c: float) -> FloatArray:
        """Return the noise that makes the step c grid steps long."""
        return -self.mean - c * self.ratio

    def _sided(
        self, c: int, is_low: NDArray[np.bool_], difference: Callable[[int, bool], FloatArray]
    ) -> FloatArray:
        """Take a difference from the shortfall where the place is low, else from the excess."""
        if is_low.all():
            return difference(c, True)
        if not is_low.any():
            return difference(c, False)
        return np.where(is_low, difference(c, True), difference(c, False))

    def _second_difference(self, c: int, is_low: bool) -> FloatArray:
        """Return the second difference at c over the ratio, zero where it is rounding error."""
        left, middle, right = (self._partial(k, is_low) for k in (c - 1, c, c + 1))
        size = left + 2 * middle + right
        doubt = self._doubt(c - 1, is_low) + 2 * self._doubt(c, is_low) + self._doubt(c + 1, is_low)
        value = left - 2 * middle + right
        return np.where(value > 8 * EPS * size + doubt, value / self.ratio, 0.0)

    def _first_difference(self, c: int, is_low: bool) -> FloatArray:
        """Return the change from c to c + 1 over the ratio, as a positive number."""
        left, right = self._partial(c, is_low), self._partial(c + 1, is_low)
        value = left - right if is_low else right - left
        doubt = self._doubt(c, is_low) + self._doubt(c + 1, is_low)
        is_clear = value > 8 * EPS * (left + right) + doubt
        return np.where(is_clear, np.minimum(value / self.ratio, 1.0), 0.0)

    def _doubt(self, c: int, is_low: bool) -> FloatArray:
        """Bound what the rounding of the place t_c does to the partial expectation there.

        The place is off by a few eps |c| h, and the slope is the probability of the tail.
        """
        if c == 0:
            return np.zeros_like(self.mean)
        key = (is_low, c)
        if key not in self._tails:
            law = self.noise if is_low else self.noise._reversed()
            place = self._place(c) if is_low else -self._place(c)
            self._tails[key] = 4 * EPS * abs(c) * self.ratio * np.asarray(law.cdf(place))
        return self._tails[key]

    def _partial(self, c: int, is_low: bool) -> FloatArray:
        """Return the shortfall or the excess of the noise at t_c."""
        key = (is_low, c)
        if key not in self._cache:
            partial = self.noise.shortfall if is_low else self.noise.excess
            self._cache[key] = np.asarray(partial(self._place(c)), dtype=np.float64)
        return self._cache[key]

    def _forget(self, c: int) -> None:
        """Drop what no later move needs."""
        for cache in (self._cache, self._tails):
            cache.pop((True, c), None)
            cache.pop((False, c), None)
