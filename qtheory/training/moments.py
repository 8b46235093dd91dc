"""Exact moments of one step of an update rule from a grid point."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_choice, check_finite, check_positive, fail
from qtheory.training.noise import GaussianNoise, GradientNoise, check_noise

__all__ = ["StepMoments", "one_step_moments"]

FloatArray = NDArray[np.float64]

# Grid steps that are summed one by one; of heavy tails the rest is taken as an integral.
MAX_STEPS = 2**16


@dataclass(frozen=True)
class StepMoments:
    """Moments of the move of one weight in one step.

    Parameters
    ----------
    mean : float
        Mean of the move.
    second_moment : float
        Mean square of the move, infinite for noise without variance.
    moving_probability : float
        Probability that the weight changes at all.
    """

    mean: float
    second_moment: float
    moving_probability: float


def one_step_moments(
    gradient: float,
    noise: GradientNoise | None = None,
    *,
    learning_rate: float,
    grid_step: float,
    rule: str = "sr",
) -> StepMoments:
    r"""Return the exact moments of one step from a point of an endless grid.

    Parameters
    ----------
    gradient : float
        Mean m of the gradient.
    noise : GradientNoise or None
        Law of the gradient noise :math:`\xi`; None for none.
    learning_rate : float
        Learning rate :math:`\alpha`, above zero.
    grid_step : float
        Grid step :math:`\Delta`, above zero.
    rule : {"sr", "r", "sgd"}
        Stochastic rounding, rounding to nearest, or no rounding; the latent weight of
        BinaryConnect moves as "sgd".

    Returns
    -------
    StepMoments
        Mean, mean square and probability of the move.

    Notes
    -----
    Book: ch08-one-step.

    With :math:`u = \alpha |m + \xi| / \Delta`, stochastic rounding has

    .. math:: \mathbb{E}\,\delta = -\alpha m, \qquad
              \frac{\mathbb{E}\,\delta^2}{\Delta^2}
              = \mathbb{E}\Bigl[u + 2 \sum_{k \ge 1} (u - k)_+\Bigr],
              \qquad P(\delta \ne 0) = \mathbb{E} \min(u, 1),

    and rounding to nearest sums the probabilities of :math:`u \ge k - \tfrac12`; a tie moves.

    Accuracy: 1e-12 for noise that is bounded or normal; 1e-9 for Student's t, of whose steps
    those beyond 65536 grid steps are taken as an integral.

    Limits: no clipping, and at most 65536 grid steps at a time; for Student's t the mean step
    is at most half of that.

    Examples
    --------
    A noise-free step of a tenth of the grid step:

    >>> from qtheory.training import one_step_moments
    >>> moments = one_step_moments(0.5, learning_rate=0.05, grid_step=0.25)
    >>> round(moments.moving_probability, 12), round(moments.second_moment, 12)
    (0.1, 0.00625)
    """
    mean, law = check_finite("gradient", gradient), check_noise(noise)
    rate, step = (
        check_positive("learning_rate", learning_rate),
        check_positive("grid_step", grid_step),
    )
    check_choice("rule", rule, ["sr", "r", "sgd"])
    if rule == "sgd":
        return _exact_step(mean, law, rate)
    sides = _Sides(law, mean, step / rate)
    return _stochastic_step(sides, rate, step) if rule == "sr" else _nearest_step(sides, step)


class _Sides:
    """Tails of the step, counted in grid steps: row 0 of moves down, row 1 of moves up."""

    def __init__(self, law: GradientNoise, mean: float, unit: float) -> None:
        """Keep the law and the size of the gradient that moves a weight by one grid step."""
        self.laws, self.means, self.unit = (law, law._reversed()), (mean, -mean), unit

    def excess(self, k: FloatArray) -> FloatArray:
        """Return E(u - k)_+ on each side, shape (2, n)."""
        rows = [law._excess(k * self.unit - mean) for law, mean in self._rows()]
        return np.array(rows) / self.unit

    def reaching(self, k: FloatArray) -> FloatArray:
        """Return the probability that the step is k or more on each side, shape (2, n)."""
        return np.array([law._reversed()._cdf(mean - k * self.unit) for law, mean in self._rows()])

    def tail_square(self, k: float) -> FloatArray:
        """Return E(u - k)_+^2 on each side, shape (2,)."""
        point = np.array([k * self.unit])
        rows = [law._tail_square(point - mean)[0] for law, mean in self._rows()]
        return np.array(rows) / self.unit**2

    def steps(self) -> tuple[FloatArray, bool]:
        """Return the steps k = 1, 2, ... to sum over, and whether there are more of them."""
        law, mean = self.laws[0], abs(self.means[0])
        far = 40 * law.std if isinstance(law, GaussianNoise) else law.bound
        reach = (mean + far) / self.unit
        sure = reach if math.isfinite(reach) else 2 * mean / self.unit
        if sure > MAX_STEPS:
            raise fail("learning_rate", f"small enough for {MAX_STEPS} grid steps at a time", sure)
        has_more = math.isinf(reach)
        return np.arange(1.0, (MAX_STEPS if has_more else math.ceil(reach) + 1) + 1), has_more

    def _rows(self) -> Iterator[tuple[GradientNoise, float]]:
        return zip(self.laws, self.means, strict=True)


def _stochastic_step(sides: _Sides, rate: float, step: float) -> StepMoments:
    """Return the moments with stochastic rounding."""
    steps, has_more = sides.steps()
    size = sides.excess(np.array([0.0, 1.0])).sum(axis=0)
    square = size[0] + 2 * sides.excess(steps).sum()
    if has_more:  # Euler and Maclaurin from the step after the last
        end = steps[-1:] + 1
        rest = 0.5 * sides.tail_square(end[0]).sum()
        rest += sides.excess(end).sum() / 2 + sides.reaching(end).sum() / 12
        square += 2 * rest
    moving = min(float(size[0] - size[1]), 1.0)
    return StepMoments(-rate * sides.means[0], step**2 * float(square), moving)


def _nearest_step(sides: _Sides, step: float) -> StepMoments:
    """Return the moments with rounding to nearest, a tie moving the weight."""
    steps, has_more = sides.steps()
    chances = sides.reaching(steps - 0.5)
    mean = (chances[1] - chances[0]).sum()
    square = ((2 * steps - 1) * chances).sum()
    if has_more:  # the sums go on as integrals, by the midpoint rule
        down, up = sides.excess(steps[-1:])[:, 0]
        mean += up - down
        square += sides.tail_square(steps[-1]).sum() + 2 * steps[-1] * (up + down)
    moving = min(float(chances[:, 0].sum()), 1.0)
    return StepMoments(step * float(mean), step**2 * float(square), moving)


def _exact_step(mean: float, law: GradientNoise, rate: float) -> StepMoments:
    """Return the moments without rounding."""
    still = law.cdf(-mean) - law.cdf(np.nextafter(-mean, -math.inf))
    return StepMoments(-rate * mean, rate**2 * float(law.mean_square(mean)), 1 - float(still))
