"""Statements that fail, each with an objective, the number it allows and the number reached."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qtheory._checks import check_finite, check_integer, check_positive, fail
from qtheory.training.bounds import (
    ProblemConstants,
    bc_convex_bound,
    bc_strongly_convex_bound,
    printed_bound,
    sr_convex_bound,
    sr_strongly_convex_bound,
)
from qtheory.training.limits import bc_limit

__all__ = [
    "Counterexample",
    "frozen_counterexample",
    "nearest_counterexample",
    "schedule_counterexample",
    "unit_counterexample",
]

FloatArray = NDArray[np.float64]

# Largest third derivative of log(1 + exp(w)).
LOGISTIC_THIRD = 1 / (6 * math.sqrt(3))
# Range of the latent weight in the example of units, before it is scaled.
REACH = 10.0


@dataclass(frozen=True)
class Counterexample:
    """A statement, what it allows, and what happens.

    Parameters
    ----------
    statement : str
        The statement that fails.
    objective : str
        The objective on which it fails.
    allowed : float
        Largest value that the statement allows.
    reached : float
        Value that is reached.
    proved : float
        Largest value that the theorem of the book allows in its place, infinite if there is none.

    Notes
    -----
    Book: sec-ch08-counterexamples.
    """

    statement: str
    objective: str
    allowed: float
    reached: float
    proved: float

    @property
    def fails(self) -> bool:
        """Whether more is reached than the statement allows."""
        return self.reached > self.allowed


def frozen_counterexample(
    *, grid_step: float = 0.125, start_code: int = 8, offset: float = 20.0, num_steps: int = 10_000
) -> Counterexample:
    r"""Hold rounding to nearest after each step against the bound of stochastic rounding.

    Parameters
    ----------
    grid_step : float
        Step :math:`\Delta` of the grid, above zero.
    start_code : int
        Start in grid steps, at least 1 and below half the offset, so that no step moves the weight.
    offset : float
        Offset :math:`t_0` of the schedule :math:`1/(t + t_0)`.
    num_steps : int
        Number of steps, at least 1.

    Returns
    -------
    Counterexample
        The excess at the start, where the weight stays.

    Raises
    ------
    ValueError
        If an argument is out of range, or the weight would move.

    Notes
    -----
    Book: ch08-frozen.

    Examples
    --------
    >>> from qtheory.training import frozen_counterexample
    >>> example = frozen_counterexample()
    >>> example.reached, example.fails
    (0.5, True)
    """
    step, shift = check_positive("grid_step", grid_step), check_positive("offset", offset)
    code = check_integer("start_code", start_code, minimum=1)
    if code >= shift / 2:
        raise fail("start_code", "below half of `offset`", start_code)
    place = code * step
    constants = ProblemConstants(
        dimension=1, gradient_norm=place, diameter=place, strong_convexity=1.0, smoothness=1.0
    )
    bound = sr_strongly_convex_bound(
        constants, grid_step=step, num_steps=num_steps, offset=shift
    ).value
    return Counterexample(
        "The theorem of stochastic rounding holds for rounding to nearest.",
        "w^2 / 2, noise-free",
        allowed=bound,
        reached=0.5 * place**2,
        proved=math.inf,
    )


def schedule_counterexample(*, num_steps: int = 100, rate_constant: float = 2.0) -> Counterexample:
    r"""Mean excess of subgradient descent, held against the recalled convex theorem.

    Parameters
    ----------
    num_steps : int
        Number T of steps, at least 1.
    rate_constant : float
        Constant c of the schedule :math:`c/\sqrt{t + 1}`, above zero.

    Returns
    -------
    Counterexample
        Mean of :math:`F(w^t)` over :math:`t < T`, start at one, on :math:`\lvert w \rvert`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-printed-schedule.

    Limits: the average of the iterates stays below the recalled bound; what fails is the bound of
    the mean excess, from which the theorem would follow.

    Examples
    --------
    >>> from qtheory.training import schedule_counterexample
    >>> example = schedule_counterexample()
    >>> round(example.reached, 5), round(example.allowed, 5), round(example.proved, 5)
    (0.19145, 0.1505, 0.225)
    """
    count = check_integer("num_steps", num_steps, minimum=1)
    factor = check_positive("rate_constant", rate_constant)
    place, total, reach = 1.0, 0.0, 1.0
    for t in range(count):
        total += abs(place)
        place -= factor / math.sqrt(t + 1) * math.copysign(1.0, place)
        reach = max(reach, abs(place) if t + 1 < count else 0.0)
    constants = ProblemConstants(dimension=1, gradient_norm=1.0, diameter=reach)
    settings = {"grid_step": 0.0, "num_steps": count, "rate_constant": factor}
    return Counterexample(
        "The mean excess is below D^2/(c sqrt T) + c G^2 sqrt(T + 1)/(2 T).",
        "|w|, noise-free, without rounding",
        allowed=printed_bound("sr convex", constants, **settings).value,  # type: ignore[arg-type]
        reached=total / count,
        proved=sr_convex_bound(constants, **settings).value,  # type: ignore[arg-type]
    )


def nearest_counterexample(
    *, minimizer: float = 0.3, grid_step: float = 1.0, num_steps: int = 10**12
) -> Counterexample:
    r"""BinaryConnect with rounding to nearest on a quadratic, held against the corollary.

    Parameters
    ----------
    minimizer : float
        Minimizer of the quadratic, neither on the grid nor on a threshold, where there is nothing
        to reach or the limit is not one point.
    grid_step : float
        Step :math:`\Delta` of the grid, above zero.
    num_steps : int
        Number of steps, for what is left of the start and of the noise in the bounds.

    Returns
    -------
    Counterexample
        Excess at the threshold, where the latent weight ends.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-threshold-floor.

    Examples
    --------
    >>> from qtheory.training import nearest_counterexample
    >>> example = nearest_counterexample()
    >>> round(example.reached, 6), round(example.proved, 3)
    (0.02, 0.125)
    """
    step = check_positive("grid_step", grid_step)
    place = 2 * check_finite("minimizer", minimizer) / step
    if math.isclose(place, round(place), rel_tol=1e-12, abs_tol=1e-9):
        raise fail("minimizer", "neither on the grid nor on a threshold", minimizer)
    limit = bc_limit(
        lambda w: w - minimizer,
        grid_step=step,
        lower=minimizer - 2 * step,
        upper=minimizer + 2 * step,
    )
    constants = ProblemConstants(
        dimension=1,
        gradient_norm=step,
        diameter=step,
        strong_convexity=1.0,
        smoothness=1.0,
        hessian_lipschitz=0.0,
    )
    printed = printed_bound("bc strongly convex", constants, grid_step=step, num_steps=num_steps)
    proved = bc_convex_bound(constants, grid_step=step, num_steps=num_steps, rate_constant=1.0)
    return Counterexample(
        "On a quadratic BinaryConnect has no floor, whatever the rounding.",
        f"(w - {minimizer:g})^2 / 2, grid step {step:g}, rounding to nearest",
        allowed=printed.value,
        reached=0.5 * (limit.latent - minimizer) ** 2,
        proved=proved.value,
    )


def unit_counterexample(*, scale: float = 400.0, grid_step: float = 2.0) -> Counterexample:
    r"""BinaryConnect with stochastic rounding, in units in which the recalled floor is too small.

    Parameters
    ----------
    scale : float
        Factor c of the unit of the weights, above zero: the objective is :math:`F(w/c)`, the grid
        step :math:`c \Delta`.
    grid_step : float
        Step :math:`\Delta` of the grid before scaling, above zero.

    Returns
    -------
    Counterexample
        Excess at the limit of the latent weight; the floors are those of many steps.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-units.

    Examples
    --------
    >>> from qtheory.training import unit_counterexample
    >>> for scale in (1.0, 400.0):
    ...     example = unit_counterexample(scale=scale)
    ...     print(round(example.allowed, 5), round(example.reached, 5), round(example.proved, 5))
    1.04855 0.0028 0.125
    0.00262 0.0028 0.125
    """
    unit, step = check_positive("scale", scale), check_positive("grid_step", grid_step)
    best = _softened_minimizer()
    limit = bc_limit(
        lambda w: _softened_slope(w / unit) / unit,
        grid_step=unit * step,
        lower=-REACH * unit,
        upper=REACH * unit,
        forward="stochastic",
    )
    constants = ProblemConstants(
        dimension=1,
        gradient_norm=1.0,
        diameter=(REACH + abs(best)) * unit,
        strong_convexity=0.1 / unit**2,
        smoothness=0.35 / unit**2,
        hessian_lipschitz=LOGISTIC_THIRD / unit**3,
    )
    settings = {"grid_step": unit * step, "num_steps": 1}
    printed = printed_bound("bc strongly convex", constants, **settings)  # type: ignore[arg-type]
    proved = bc_strongly_convex_bound(constants, forward="stochastic", **settings)  # type: ignore[arg-type]
    return Counterexample(
        "The floor of BinaryConnect is D L_2 sqrt(d) Delta / 2.",
        f"log(1 + exp(w)) - 0.2 w + 0.05 w^2 at w / {unit:g}, grid step {unit * step:g}",
        allowed=printed.floor,
        reached=_softened(limit.latent / unit) - _softened(best),
        proved=proved.floor,
    )


def _softened(place: float) -> float:
    """Return log(1 + e^w) - 0.2 w + 0.05 w^2."""
    return float(np.logaddexp(0.0, place)) - 0.2 * place + 0.05 * place**2


def _softened_slope(places: FloatArray) -> FloatArray:
    """Return the derivative of the softened hinge."""
    return np.asarray(special.expit(places) - 0.2 + 0.1 * places)


def _softened_minimizer() -> float:
    """Return its minimizer, by Newton's method, which converges from zero."""
    place = 0.0
    for _ in range(50):
        chance = float(special.expit(place))
        place -= (chance - 0.2 + 0.1 * place) / (chance * (1 - chance) + 0.1)
    return place
