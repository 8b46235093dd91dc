"""The spacing of thresholds at which a uniform staircase carries signals deepest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import check_integer, check_positive, fail
from qtheory.errors import ConvergenceError
from qtheory.meanfield.activations import FloatOrArray
from qtheory.meanfield.staircases import MAX_LEVELS, UniformStaircase
from qtheory.numerics import normal_density

__all__ = [
    "OptimalSpacing",
    "optimal_spacing",
    "optimal_spacings",
    "spacing_deficit",
    "spacing_slope",
]

FloatArray = NDArray[np.float64]

# From here on 1 - chi comes from the tails beyond the outer threshold; the terms left out there,
# exp(-2 pi^2 / D^2), are below 1e-70.
FIRST_TAIL_FORM = 16
MAX_TAIL_SPACING = 0.5
NUM_CORRECTIONS = 9
MAX_NEWTON_STEPS = 40
# Standard deviations beyond which a tail is zero in float64; powers of the reach stay finite.
REACH = 40.0
# Relative size of a last Newton step, after which the next would be below the rounding error.
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class OptimalSpacing:
    r"""The optimum of a uniform staircase with a given number of levels.

    Parameters
    ----------
    num_levels : int or numpy.ndarray
        Number of levels :math:`N`.
    spacing : float or numpy.ndarray
        Distance :math:`D` of neighboring thresholds in pre-activation standard deviations.
    chi : float or numpy.ndarray
        Largest slope of the correlation map at its fixed point.
    one_minus_chi : float or numpy.ndarray
        :math:`1 - \chi`, with all its digits.
    depth_scale : float or numpy.ndarray
        Largest depth scale :math:`\xi = -1/\ln\chi`, in layers.
    weight_variance : float or numpy.ndarray
        :math:`\sigma_w^2 = 1/\chi`, which holds the tied staircase at this spacing.
    variance : float or numpy.ndarray
        Pre-activation variance :math:`q^*` there, for levels from -1 to 1.
    second_moment : float or numpy.ndarray
        Mean square of the activation there, for levels from -1 to 1.
    variance_slope : float or numpy.ndarray
        Slope of the variance map there, below one: the fixed point is stable.
    """

    num_levels: int | NDArray[np.float64]
    spacing: FloatOrArray
    chi: FloatOrArray
    one_minus_chi: FloatOrArray
    depth_scale: FloatOrArray
    weight_variance: FloatOrArray
    variance: FloatOrArray
    second_moment: FloatOrArray
    variance_slope: FloatOrArray


def optimal_spacing(num_levels: int) -> OptimalSpacing:
    r"""Spacing of thresholds that carries the correlation of two inputs deepest.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**64.

    Returns
    -------
    OptimalSpacing
        Spacing, slope, depth scale and the weight variance that goes with them. For two levels
        the spacing is immaterial; the one returned is that of the best two-level quantizer.

    Raises
    ------
    ValueError
        If ``num_levels`` is not an integer in that range.

    Notes
    -----
    Book: thm-ch05-optimal-spacing, thm-ch06-weight-variance and ch06-tail-form.

    With thresholds :math:`jD`, :math:`j \in K = \{k - N/2 : 1 \le k \le N-1\}`,

    .. math:: D\,q(D) = a(D), \qquad \chi = D\,a(D), \qquad
              a = \sum_{j \in K} \phi(jD), \quad
              q = \sum_{i,j \in K} \Phi(\min(i,j)D)\,\bar\Phi(\max(i,j)D) .

    Assumptions: infinite width, no bias, zero-mean weights, equal steps.

    Accuracy: 1e-13 relative in every field, ``one_minus_chi`` included, for all :math:`N`.

    Limits: time does not depend on :math:`N`.

    Examples
    --------
    >>> from qtheory.meanfield import optimal_spacing
    >>> best = optimal_spacing(16)
    >>> print(round(best.spacing, 6), round(best.chi, 6), round(best.depth_scale, 3))
    0.335201 0.988457 86.132
    """
    num_levels = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LEVELS)
    table = _optima(np.array([float(num_levels)]))
    values: dict[str, Any] = {name: float(array[0]) for name, array in vars(table).items()}
    return OptimalSpacing(**{**values, "num_levels": num_levels})


def optimal_spacings(num_levels: ArrayLike) -> OptimalSpacing:
    r"""Optima for many numbers of levels at once.

    Parameters
    ----------
    num_levels : array_like
        Numbers of levels, integers from 2 to 2**64, shape ``(num_entries,)``.

    Returns
    -------
    OptimalSpacing
        Each field an array, shape ``(num_entries,)``.

    Raises
    ------
    ValueError
        If an entry is not an integer in that range.

    Notes
    -----
    Book: ch06-implicit-equation, ch06-depth.

    Examples
    --------
    >>> from qtheory.meanfield import optimal_spacings
    >>> optimal_spacings([2, 4, 16]).depth_scale.round(2)
    array([ 2.21,  7.9 , 86.13])
    """
    entries = np.asarray(num_levels, dtype=object)
    if entries.ndim != 1 or entries.size == 0:
        raise fail("num_levels", "a list of at least one number", f"shape {entries.shape}")
    checked = [check_integer("num_levels", n, minimum=2, maximum=MAX_LEVELS) for n in entries]
    return _optima(np.array(checked, dtype=np.float64))


def spacing_slope(num_levels: int, spacing: float) -> float:
    r"""Slope of the correlation map of a uniform staircase at correlation zero.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**64.
    spacing : float
        Distance :math:`D > 0` of thresholds in pre-activation standard deviations.

    Returns
    -------
    float
        :math:`\chi(N, D) = a(D)^2 / q(D)`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch06-implicit-equation.

    Examples
    --------
    >>> from qtheory.meanfield import spacing_slope
    >>> print(round(spacing_slope(4, 1.0), 6))
    0.88115
    """
    # The slope does not depend on the height of the steps.
    staircase = UniformStaircase(num_levels, check_positive("spacing", spacing), 1.0)
    moment = staircase.second_moment(1.0)
    if moment == 0:
        return 0.0
    return float(staircase.cross_moment_slope(0.0, 1.0) / moment)


def spacing_deficit(num_levels: int, spacing: float) -> float:
    r"""Deficit of the slope of a uniform staircase to one, without cancellation.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**64.
    spacing : float
        Distance :math:`D > 0` of thresholds in pre-activation standard deviations.

    Returns
    -------
    float
        :math:`1 - \chi(N, D)`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch06-tail-form.

    Accuracy: 1e-12 relative.

    Examples
    --------
    >>> from qtheory.meanfield import spacing_deficit
    >>> print(f"{spacing_deficit(2**32, 1e-8):.6e}")
    8.333333e-18
    """
    num_levels = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LEVELS)
    spacing = check_positive("spacing", spacing)
    reach = 0.5 * num_levels * spacing
    if num_levels < FIRST_TAIL_FORM or spacing > MAX_TAIL_SPACING or reach < 1:
        return 1 - spacing_slope(num_levels, spacing)
    place = np.array([spacing])
    tail_a, tail_q, _ = _tails(np.array([float(num_levels)]), place)
    return float(_deficit(place, tail_a, tail_q)[0])


def _optima(num_levels: FloatArray) -> OptimalSpacing:
    """Solve for each number of levels, by sums for few and by tails for many."""
    spacing, deficit, ratio = (np.empty_like(num_levels) for _ in range(3))
    is_small = num_levels < FIRST_TAIL_FORM
    for index in np.flatnonzero(is_small):
        spacing[index], deficit[index], ratio[index] = _solve_sums(int(num_levels[index]))
    spacing[~is_small], deficit[~is_small], ratio[~is_small] = _solve_tails(num_levels[~is_small])
    chi = 1 - deficit
    variance = (2 / ((num_levels - 1) * spacing)) ** 2
    return OptimalSpacing(
        num_levels=num_levels,
        spacing=spacing,
        chi=chi,
        one_minus_chi=deficit,
        depth_scale=-1 / np.log1p(-deficit),
        weight_variance=1 / chi,
        variance=variance,
        second_moment=chi * variance,
        variance_slope=ratio,
    )


def _solve_sums(num_levels: int) -> tuple[float, float, float]:
    """Return spacing, 1 - chi and slope of the variance map from the sums themselves."""
    spacing = 2.0
    for _ in range(MAX_NEWTON_STEPS):
        a, a_slope, q = _sums(num_levels, spacing)
        # d/dD of D q - a is q + a', since q' = 2 a' / D.
        step = (spacing * q - a) / (q + a_slope)
        spacing -= step
        if abs(step) <= TOLERANCE * spacing:
            break
    else:
        raise ConvergenceError(
            f"The optimal spacing of {num_levels} levels was not found.",
            last_iterate=spacing,
            residual=abs(step),
        )
    a, a_slope, _ = _sums(num_levels, spacing)
    return spacing, 1 - spacing * a, -spacing * a_slope / a


def _sums(num_levels: int, spacing: float) -> tuple[float, float, float]:
    """Return a(D), its derivative and q(D)."""
    j = np.arange(1, num_levels) - num_levels / 2
    density = normal_density(j * spacing)
    tails = special.ndtr(-np.abs(j) * spacing)
    middle = 0.25 if num_levels % 2 == 0 else 0.0
    moment = middle + 2 * float(np.abs(j) @ tails)
    return float(density.sum()), -spacing * float(j**2 @ density), moment


def _solve_tails(num_levels: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return spacings, 1 - chi and slopes of the variance map from the tails.

    Newton's method on ln(D^2 / 12) = ln(T_q - T_a), nearly a straight line in D.
    """
    spacing = 4 * np.sqrt(np.log(num_levels)) / num_levels
    for _ in range(MAX_NEWTON_STEPS):
        tail_a, tail_q, tail_2 = _tails(num_levels, spacing)
        mismatch = np.log(spacing**2 / 12) - np.log(tail_q - tail_a)
        slope = 2 - (2 * tail_q - tail_a - tail_2) / (tail_q - tail_a)
        step = mismatch / slope
        spacing = spacing * np.exp(-step)
        if (np.abs(step) <= TOLERANCE).all():
            break
    else:
        raise ConvergenceError(
            "The optimal spacing was not found for every number of levels.",
            last_iterate=spacing,
            residual=float(np.abs(step).max()),
        )
    tail_a, tail_q, tail_2 = _tails(num_levels, spacing)
    # T_a is 1 - chi as well, but steep in D; this form is flat at the optimum and keeps its digits.
    return spacing, _deficit(spacing, tail_a, tail_q), (1 - tail_2) / (1 - tail_a)


def _deficit(spacing: FloatArray, tail_a: FloatArray, tail_q: FloatArray) -> FloatArray:
    """Return 1 - (D a)^2 / (D^2 q) from D a = 1 - T_a and D^2 q = 1 + D^2 / 12 - T_q."""
    granular = spacing**2 / 12
    return (granular + (2 * tail_a - tail_q) - tail_a**2) / (1 + granular - tail_q)


def _tails(
    num_levels: FloatArray, spacing: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Return what the thresholds beyond the outermost would add to three sums.

    With :math:`t = jD` for :math:`j = N/2, N/2 + 1, \dots`:
    :math:`2D\sum\phi(t)`, :math:`4D\sum t\bar\Phi(t)` and :math:`2D\sum t^2\phi(t)`, each as its
    integral from :math:`L = ND/2` with Euler-Maclaurin corrections.
    """
    reach = np.minimum(0.5 * num_levels * spacing, REACH)
    density = normal_density(reach)
    tail = special.ndtr(-reach)
    tail_a = tail + 0.5 * spacing * density
    tail_q = 0.5 * ((1 - reach**2) * tail + reach * density) + 0.5 * spacing * reach * tail
    tail_2 = reach * density + tail + 0.5 * spacing * reach**2 * density
    tail_q -= spacing**2 / 12 * tail
    hermite = _hermite(reach, 2 * NUM_CORRECTIONS + 2)
    for k, weight in enumerate(_bernoulli_weights(), start=1):
        n, factor = 2 * k - 1, weight * spacing ** (2 * k) * density
        tail_a += factor * hermite[n]
        # For k = 1 the derivative of t tail(t) holds the tail itself, taken above.
        inner = n * hermite[n - 2] if n > 1 else 0.0
        tail_q += factor * (reach * hermite[n - 1] - inner)
        tail_2 += factor * (hermite[n + 2] + hermite[n])
    return 2 * tail_a, 4 * tail_q, 2 * tail_2


def _bernoulli_weights() -> FloatArray:
    """Return B_2k / (2k)! for each correction."""
    orders = 2 * np.arange(1, NUM_CORRECTIONS + 1)
    return np.asarray(special.bernoulli(2 * NUM_CORRECTIONS)[orders] / special.factorial(orders))


def _hermite(x: FloatArray, order: int) -> list[FloatArray]:
    """Return the probabilists' Hermite polynomials up to an order."""
    polynomials = [np.ones_like(x), x]
    for n in range(1, order):
        polynomials.append(x * polynomials[n] - n * polynomials[n - 1])
    return polynomials
