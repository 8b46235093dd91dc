"""Many levels: the limits of the best spacing and of the depth, and power laws fitted on the way.

A limit is a theorem about infinitely many levels, a power law a description of the levels that it
was fitted to. The functions say which of the two they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import as_float_array, check_finite, check_integer, check_positive, fail
from qtheory.meanfield.optimum import optimal_spacing, optimal_spacings
from qtheory.meanfield.staircases import Staircase
from qtheory.numerics import normal_density
from qtheory.quantizers import Gaussian, design_lloyd_max

__all__ = [
    "OptimalStaircase",
    "PowerLawFit",
    "asymptotic_deficit",
    "asymptotic_depth",
    "asymptotic_spacing",
    "effective_exponent",
    "fit_power_law",
    "infinite_staircase_slope",
    "infinite_staircase_slope_approx",
    "levels_for_depth",
    "local_exponent",
    "optimal_staircase",
    "support_spacing_approx",
]

FloatArray = NDArray[np.float64]

MAX_LEVELS = 2**64
MAX_LISTED_LEVELS = 2**14

# Below this spacing the Poisson series needs few terms, above it the sum over thresholds does.
SERIES_SPACING = math.pi


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    r"""A straight line through logarithms, least squares: a description, not a law.

    Parameters
    ----------
    exponent : float
        Slope of :math:`\ln y` against :math:`\ln(x + \text{shift})`.
    log_factor : float
        Natural logarithm of the factor, the intercept.
    exponent_std_error : float
        Standard error of the slope if the residuals were independent and of equal variance.
    log_factor_std_error : float
        Standard error of the intercept under the same assumption.
    r_squared : float
        Share of the variance of :math:`\ln y` that the line explains.
    smallest, largest : float
        Range of ``x`` in the fit.
    num_points : int
        Number of points.
    shift : float
        What was added to ``x``.

    Notes
    -----
    Book: ch06-power-law.
    """

    exponent: float
    log_factor: float
    exponent_std_error: float
    log_factor_std_error: float
    r_squared: float
    smallest: float
    largest: float
    num_points: int
    shift: float

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Value of the fitted line at ``x``, also outside the range of the fit."""
        base = as_float_array("x", x).astype(np.float64) + self.shift
        return np.asarray(np.exp(self.log_factor) * base**self.exponent)


@dataclass(frozen=True, eq=False)
class OptimalStaircase:
    """The staircase of a given number of levels through which signals travel farthest.

    Parameters
    ----------
    staircase : Staircase
        Levels at the centroids, thresholds at the midpoints, for pre-activation variance 1.
    num_levels : int
        Number of levels.
    chi : float
        Slope of the correlation map at correlation zero.
    one_minus_chi : float
        One minus that, without cancellation: the distortion of the best quantizer.
    depth_scale : float
        In layers.
    weight_variance : float
        Weight variance times fan-in for which pre-activation variance 1 is a fixed point.
    """

    staircase: Staircase
    num_levels: int
    chi: float
    one_minus_chi: float
    depth_scale: float
    weight_variance: float


def infinite_staircase_slope(spacing: ArrayLike, *, midtread: bool = False) -> FloatArray:
    r"""Slope at correlation zero of a uniform staircase that never ends.

    Parameters
    ----------
    spacing : array_like
        Threshold spacing over pre-activation standard deviation, above zero, any shape.
    midtread : bool
        Whether zero is a level (odd numbers of levels) instead of a threshold.

    Returns
    -------
    numpy.ndarray
        Slopes :math:`\chi_\infty(D)`, shape of ``spacing``.

    Raises
    ------
    ValueError
        If a spacing is not finite and above zero.

    See Also
    --------
    infinite_staircase_slope_approx : Without the exponentially small terms.

    Notes
    -----
    Book: thm-ch06-envelope.

    .. math:: \chi_\infty = \frac{\bigl(1 + 2 \sum_m s^m p^{m^2}\bigr)^2}
        {1 + D^2/12 + \sum_m s^m p^{m^2} \bigl(4 + D^2 / (\pi m)^2\bigr)},
        \qquad p = e^{-2 \pi^2 / D^2},

    with :math:`s = 1` for a threshold at zero and :math:`s = -1` for a level there. Large spacings
    are summed over the thresholds instead.

    Accuracy: 1e-13 relative for spacings from 0.01 to 20.
    Limits: ``1 / (1 + spacing**2 / 12)`` for small spacings; for large ones ``2 / pi`` with a
    threshold at zero, and zero with a level there.

    Examples
    --------
    >>> print(f"{infinite_staircase_slope(0.5):.12f} {1 / (1 + 0.5**2 / 12):.12f}")
    0.979591836735 0.979591836735
    """
    spacings = _positive("spacing", spacing)
    slopes = [_infinite_slope(float(d), -1.0 if midtread else 1.0) for d in spacings.flat]
    return np.asarray(np.reshape(slopes, spacings.shape))


def infinite_staircase_slope_approx(spacing: ArrayLike) -> FloatArray:
    r"""Slope of an endless staircase under the additive-noise model, :math:`1 / (1 + D^2/12)`.

    Parameters
    ----------
    spacing : array_like
        Threshold spacing over pre-activation standard deviation, above zero, any shape.

    Returns
    -------
    numpy.ndarray
        Slopes, shape of ``spacing``.

    Raises
    ------
    ValueError
        If a spacing is not finite and above zero.

    Notes
    -----
    Book: ch06-envelope.

    Accuracy: relative error below 1e-9 up to spacing 1, 1e-4 up to 1.5, 1e-2 up to 2; it falls
    like ``exp(-2 * pi**2 / spacing**2)``.
    """
    return np.asarray(1.0 / (1.0 + _positive("spacing", spacing) ** 2 / 12.0))


def asymptotic_spacing(num_levels: ArrayLike) -> FloatArray:
    r"""Limit form of the best spacing for many levels, :math:`4 \sqrt{\ln N} / N`.

    Parameters
    ----------
    num_levels : array_like
        Numbers of levels :math:`N`, at least 2, any shape.

    Returns
    -------
    numpy.ndarray
        Threshold spacing over pre-activation standard deviation, shape of ``num_levels``.

    Raises
    ------
    ValueError
        If a number of levels is below 2 or not finite.

    Notes
    -----
    Book: thm-ch06-asymptotics.

    Accuracy: the ratio of the exact spacing to it tends to one, slowly: 0.854 at 2**10, 0.907 at
    2**20, 0.961 at 2**64.

    References
    ----------
    [HuiNeuhoff2001]_
    """
    levels = _levels(num_levels)
    return np.asarray(4.0 * np.sqrt(np.log(levels)) / levels)


def asymptotic_deficit(num_levels: ArrayLike) -> FloatArray:
    r"""Limit form of :math:`1 - \chi_{\max}` for many levels, :math:`4 \ln N / (3 N^2)`.

    Parameters
    ----------
    num_levels : array_like
        Numbers of levels :math:`N`, at least 2, any shape.

    Returns
    -------
    numpy.ndarray
        One minus the slope, shape of ``num_levels``.

    Raises
    ------
    ValueError
        If a number of levels is below 2 or not finite.

    Notes
    -----
    Book: thm-ch06-asymptotics.

    Accuracy: the ratio of the exact deficit to it tends to one, slowly: 0.768 at 64, where it is
    least, 0.794 at 2**10, 0.935 at 2**64.

    References
    ----------
    [HuiNeuhoff2001]_
    """
    levels = _levels(num_levels)
    return np.asarray(4.0 * np.log(levels) / (3.0 * levels**2))


def asymptotic_depth(num_levels: ArrayLike) -> FloatArray:
    r"""Limit form of the maximal depth for many levels, :math:`3 N^2 / (4 \ln N)` layers.

    Parameters
    ----------
    num_levels : array_like
        Numbers of levels :math:`N`, at least 2, any shape.

    Returns
    -------
    numpy.ndarray
        Depth scales in layers, shape of ``num_levels``.

    Raises
    ------
    ValueError
        If a number of levels is below 2 or not finite.

    Notes
    -----
    Book: thm-ch06-asymptotics.

    Accuracy: the ratio of the exact depth to it tends to one, slowly: 1.26 at 2**10, 1.07 at 2**64.

    References
    ----------
    [HuiNeuhoff2001]_
    """
    return np.asarray(1.0 / asymptotic_deficit(num_levels))


def support_spacing_approx(num_levels: ArrayLike) -> FloatArray:
    r"""Best spacing from the equation of Hui and Neuhoff for the support of many levels.

    Parameters
    ----------
    num_levels : array_like
        Numbers of levels :math:`N`, at least 2, any shape.

    Returns
    -------
    numpy.ndarray
        Threshold spacing over pre-activation standard deviation, shape of ``num_levels``.

    Raises
    ------
    ValueError
        If a number of levels is below 2 or not finite.

    Notes
    -----
    Book: ch06-support.

    With the half support :math:`L = N D / 2` it solves
    :math:`(\varphi(L) - L\,\bar\Phi(L)) / L = 1 / (6 N^2)`.

    Accuracy: below the exact spacing by 8.2% at 8 levels, 0.34% at 256, 9.1e-7 at 2**20.

    References
    ----------
    [HuiNeuhoff2001]_
    """
    levels = _levels(num_levels)
    spacings = [2.0 * _half_support(math.log(6.0) + 2.0 * math.log(n)) / n for n in levels.flat]
    return np.asarray(np.reshape(spacings, levels.shape))


def fit_power_law(x: ArrayLike, y: ArrayLike, *, shift: float = 0.0) -> PowerLawFit:
    r"""Least-squares line through :math:`(\ln(x + \text{shift}), \ln y)`.

    Parameters
    ----------
    x : array_like
        Abscissas, shape ``(num_points,)``, at least three; ``x + shift`` above zero and not all
        equal.
    y : array_like
        Ordinates above zero, shape ``(num_points,)``.
    shift : float
        Added to ``x`` before the logarithm.

    Returns
    -------
    PowerLawFit
        Exponent and factor, with what the fit was made from.

    Raises
    ------
    ValueError
        If the shapes differ, the points are fewer than three or have one abscissa, or a logarithm
        does not exist.

    Notes
    -----
    Book: ch06-power-law.

    Examples
    --------
    >>> fit = fit_power_law([1, 2, 4, 8], [3, 12, 48, 192])
    >>> print(f"{fit.exponent:.6f} {fit([16.0])[0]:.4f}")
    2.000000 768.0000
    """
    added = check_finite("shift", shift)
    abscissas, ordinates = (as_float_array(n, v).astype(float) for n, v in (("x", x), ("y", y)))
    if abscissas.ndim != 1 or abscissas.size < 3:
        raise fail("x", "a list of at least three numbers", x)
    if ordinates.shape != abscissas.shape:
        raise fail("y", f"of shape {abscissas.shape} like `x`", ordinates.shape)
    if not (np.isfinite(abscissas) & (abscissas + added > 0)).all():
        raise fail("x", "finite and above minus `shift`", x)
    if np.ptp(abscissas) == 0:
        raise fail("x", "of at least two different numbers", x)
    log_y = np.log(_positive("y", ordinates))
    return _fit_line(abscissas, np.log(abscissas + added), log_y, added)


def effective_exponent(num_levels: ArrayLike, *, shift: float = 0.0) -> PowerLawFit:
    r"""Power law fitted to the maximal depths of given numbers of levels.

    The exponent depends on the numbers of levels and on the shift; that is its lesson. The limit
    for many levels is two, with a logarithm that no power law has.

    Parameters
    ----------
    num_levels : array_like of int
        Numbers of levels :math:`N`, at least three of them, each at least 2.
    shift : float
        Added to the numbers of levels before the logarithm; the published fit adds one.

    Returns
    -------
    PowerLawFit
        Fit of the depth scale against ``num_levels + shift``.

    Raises
    ------
    ValueError
        If there are fewer than three different numbers of levels or one is below 2.

    Notes
    -----
    Book: ch06-power-law.
    """
    counts = np.unique(_levels(num_levels).astype(np.int64))
    if counts.size < 3:
        raise fail("num_levels", "a list of at least three different numbers", num_levels)
    return fit_power_law(counts, optimal_spacings(counts).depth_scale, shift=shift)


def local_exponent(num_levels: int) -> float:
    r"""Exponent between a number of levels and its double, :math:`\log_2 L(2N) / L(N)`.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`, from 2 to 2**63.

    Returns
    -------
    float
        How fast the maximal depth :math:`L` grows there.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range.

    Notes
    -----
    Book: ch06-local-exponent.

    Limits: 2 for many levels; about ``2 - 1 / log(num_levels)`` on the way.

    Examples
    --------
    >>> print(f"{local_exponent(8):.4f} {local_exponent(1024):.4f}")
    1.7166 1.8474
    """
    count = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LEVELS // 2)
    return math.log2(optimal_spacing(2 * count).depth_scale / optimal_spacing(count).depth_scale)


def optimal_staircase(num_levels: int) -> OptimalStaircase:
    r"""Staircase of the largest slope at correlation zero, levels and thresholds all free.

    Parameters
    ----------
    num_levels : int
        Number of levels, from 2 to 16384.

    Returns
    -------
    OptimalStaircase
        The Lloyd-Max quantizer of a standard Gaussian, as an activation.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range.

    Notes
    -----
    Book: thm-ch06-lloyd-max.

    Accuracy: one minus the slope within 1e-11 relative up to 1024 levels.
    Limits: ``one_minus_chi`` is asymptotically ``sqrt(3) * pi / 2 / num_levels**2``.

    Examples
    --------
    >>> print(f"{optimal_staircase(16).depth_scale:.4f}")
    104.7512
    """
    count = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_LISTED_LEVELS)
    design = design_lloyd_max(count, Gaussian())
    deficit = design.distortion
    return OptimalStaircase(
        staircase=Staircase(design.quantizer.levels, design.quantizer.thresholds),
        num_levels=count,
        chi=1.0 - deficit,
        one_minus_chi=deficit,
        depth_scale=-1.0 / math.log1p(-deficit),
        weight_variance=1.0 / (1.0 - deficit),
    )


def levels_for_depth(depth: float, *, multiple: float = 6.0) -> int:
    """Fewest levels whose maximal depth, times a multiple, reaches a depth.

    Parameters
    ----------
    depth : float
        Wanted number of layers, above zero.
    multiple : float
        How many depth scales a network may be deep, above zero.

    Returns
    -------
    int
        Number of levels of a uniform staircase at its best spacing, at least 2.

    Raises
    ------
    ValueError
        If an argument is not finite and above zero, or more than 2**64 levels would be needed.

    Notes
    -----
    Book: ch06-levels-needed.

    Assumptions: the maximal depth grows with the number of levels.

    Examples
    --------
    >>> levels_for_depth(100)
    7
    """
    wanted = check_positive("depth", depth) / check_positive("multiple", multiple)
    powers = [2**k for k in range(1, MAX_LEVELS.bit_length())]
    reached = optimal_spacings(powers).depth_scale >= wanted
    if not reached.any():
        raise fail("depth", f"within reach of {MAX_LEVELS} levels", depth)
    high: int = powers[int(np.argmax(reached))]
    low = high // 2
    while high - low > 1:
        inner = sorted({low + (high - low) * k // 32 for k in range(1, 32)} - {low})
        reached = optimal_spacings(inner).depth_scale >= wanted
        first = int(np.argmax(reached)) if reached.any() else len(inner)
        low, high = [low, *inner][first], [*inner, high][first]
    return high


def _positive(name: str, value: ArrayLike) -> FloatArray:
    """Return numbers above zero as float64."""
    array = as_float_array(name, value).astype(np.float64)
    if not (np.isfinite(array) & (array > 0)).all():
        raise fail(name, "finite and above zero", value)
    return array


def _levels(num_levels: ArrayLike) -> FloatArray:
    """Return numbers of levels as float64."""
    array = np.asarray(num_levels)
    if array.dtype.kind == "O":  # integers beyond 64 bits
        array = array.astype(np.float64)
    levels = as_float_array("num_levels", array).astype(np.float64)
    if not (np.isfinite(levels) & (levels >= 2)).all():
        raise fail("num_levels", "at least 2", num_levels)
    return levels


def _infinite_slope(spacing: float, sign: float) -> float:
    """Squared correlation of a standard Gaussian with the endless staircase."""
    if spacing > SERIES_SPACING:
        half = sign > 0
        t = spacing * (np.arange(math.ceil(40.0 / spacing) + 1) + (1.0 if half else 0.5))
        density = normal_density(t)
        first = (float(normal_density(0.0)) if half else 0.0) + 2 * math.fsum(density)
        second = (0.25 if half else 0.0) + 4 * math.fsum(t * special.ndtr(-t)) / spacing
        return first**2 / second if second > 0 else 0.0
    m = np.arange(1, 1 + math.ceil(spacing * math.sqrt(40.0 / (2 * math.pi**2)) + 1))
    terms = sign**m * np.exp(-2 * (math.pi * m / spacing) ** 2)
    first = 1.0 + 2.0 * math.fsum(terms)
    second = 1.0 + spacing**2 / 12 + math.fsum(terms * (4.0 + (spacing / (math.pi * m)) ** 2))
    return first**2 / second


def _half_support(log_target: float) -> float:
    """Solve (density - L * tail) / L = exp(-log_target) for L, in logarithms."""

    def gap(half: float) -> float:
        # tail / density, from the scaled complementary error function, which does not underflow
        mills = math.sqrt(math.pi / 2) * float(special.erfcx(half / math.sqrt(2)))
        log_density = -0.5 * half**2 - 0.5 * math.log(2 * math.pi)
        return log_density + math.log1p(-half * mills) - math.log(half) + log_target

    # Loading this solver takes as long as the rest of the package, and few callers need it.
    from scipy import optimize

    return float(optimize.brentq(gap, 1e-3, 60.0, xtol=1e-15, rtol=1e-14))


def _fit_line(x: FloatArray, log_x: FloatArray, log_y: FloatArray, shift: float) -> PowerLawFit:
    """Fit by the centered normal equations."""
    mean_x, mean_y = log_x.mean(), log_y.mean()
    spread = float(((log_x - mean_x) ** 2).sum())
    slope = float((log_x - mean_x) @ (log_y - mean_y)) / spread
    residuals = log_y - mean_y - slope * (log_x - mean_x)
    lost, total = float(residuals @ residuals), float(((log_y - mean_y) ** 2).sum())
    noise = lost / (x.size - 2)
    return PowerLawFit(
        exponent=slope,
        log_factor=float(mean_y - slope * mean_x),
        exponent_std_error=math.sqrt(noise / spread),
        log_factor_std_error=math.sqrt(noise * (1 / x.size + mean_x**2 / spread)),
        r_squared=1.0 - lost / total if total > 0 else 1.0,
        smallest=float(x.min()),
        largest=float(x.max()),
        num_points=x.size,
        shift=shift,
    )
