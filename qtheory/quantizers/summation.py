"""Adding many small numbers to a rounded sum: where nearest rounding stops, stochastic goes on."""

import math
import sys
from dataclasses import dataclass

from qtheory._checks import check_integer, check_positive, fail

__all__ = ["SumMoments", "stagnation_value", "stochastic_sum_moments"]


@dataclass(frozen=True)
class SumMoments:
    """Mean and variance of a rounded sum.

    Parameters
    ----------
    mean : float
        Mean, in the units of the terms.
    var : float
        Variance, in squared units of the terms.
    """

    mean: float
    var: float


def stagnation_value(increment: float, precision: int) -> float:
    r"""Value at which a floating-point sum of equal terms stops growing under nearest rounding.

    Parameters
    ----------
    increment : float
        The term :math:`\delta` added again and again, from zero on; above zero, with or without a
        place in the format.
    precision : int
        Significand bits :math:`p` of the sum, the implicit one included, at least two.

    Returns
    -------
    float
        :math:`2^{p + \lceil \log_2 \delta \rceil}`, in the units of the terms.

    Raises
    ------
    ValueError
        If ``increment`` is not above zero, ``precision`` below two, or the value beyond float64.

    Notes
    -----
    Book: ch03-stagnation.

    Assumptions: ties to even; a range of exponents that reaches the value; a term above half of the
    smallest subnormal number, since a smaller one is lost at once.

    In the last binade below the value the spacing is at least the term and below twice the term, so
    each term moves the sum by exactly one spacing, and the sum meets the power of two. From there
    on a term is at most half a spacing and is lost. Below the last binade each term moves the sum
    by at least one spacing, and none is large enough to jump over that binade.

    Examples
    --------
    Counting in bfloat16, which has eight significant bits, ends at 256.

    >>> from qtheory.quantizers import stagnation_value
    >>> stagnation_value(1.0, 8)
    256.0
    """
    check_integer("precision", precision, minimum=2)
    fraction, exponent = math.frexp(check_positive("increment", increment))
    ceiling = exponent - 1 if fraction == 0.5 else exponent
    if precision + ceiling > sys.float_info.max_exp - 1:
        raise fail("increment", f"small enough for a result in float64 at {precision=}", increment)
    return math.ldexp(1.0, precision + ceiling)


def stochastic_sum_moments(increment: float, num_steps: int, step_size: float) -> SumMoments:
    r"""Mean and variance of a sum of equal terms on a fixed grid under stochastic rounding.

    Parameters
    ----------
    increment : float
        The term :math:`\delta`, above zero.
    num_steps : int
        Number of additions :math:`n`, not below zero.
    step_size : float
        Step :math:`\Delta` of the grid that holds the sum, above zero; the sum starts on the grid.

    Returns
    -------
    SumMoments
        Mean :math:`n \delta` and variance :math:`n \Delta^2 f (1 - f)`, with :math:`f` the
        fraction of :math:`\delta / \Delta`. The sum is a shifted and scaled binomial variable.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: ch03-stochastic-sum.

    Assumptions: no overflow; roundings independent of each other.

    Limits: variance zero when the term is a multiple of the step.
    """
    delta = check_positive("increment", increment)
    count = check_integer("num_steps", num_steps, minimum=0)
    step = check_positive("step_size", step_size)
    fraction = math.fmod(delta / step, 1.0)
    return SumMoments(mean=count * delta, var=count * step**2 * fraction * (1 - fraction))
