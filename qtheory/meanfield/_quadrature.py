r"""Gaussian integrals of smooth functions by the trapezoidal rule, from function values alone.

For a function that is analytic in a strip about the real axis the rule with step :math:`h` errs by
:math:`e^{-2\pi a / h}` where :math:`a` is the half width of the strip. So one number serves for all
integrals of a function: the *step*, in units of its argument, at which the rule has converged.
A Gaussian of standard deviation :math:`\sigma` asks for at most half of :math:`\sigma`; steps of
factors of an integrand combine as their frequencies add, ``1 / (1 / step + 2 / sigma)``.

Two correlated inputs :math:`u_{1,2} = \sqrt{|c|}\,\sigma x + \sqrt{1-|c|}\,\sigma y_{1,2}` share
:math:`x` and are independent given it, so the cross moment is :math:`\mathbb E\,g(x) g(\pm x)`
with the conditional mean :math:`g(x) = \mathbb E[\varphi(u_1) \mid x]`. This holds up to
:math:`|c| = 1`, where :math:`g = \varphi`, and loses no digits there.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from qtheory.errors import ConvergenceError
from qtheory.numerics import normal_density

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

REACH = 10.0
"""Standard deviations on either side: beyond them lies 2e-23 of the mass."""

GAUSS_STEP = 0.5
"""Step in standard deviations at which the rule errs by exp(-8 pi^2) = 5e-35 on a Gaussian."""

TOLERANCE = 1e-13
"""Agreement of two successive rules, relative to the root mean square of the function."""

FINEST_STEP = 2e-4
"""Smallest step that is tried, in standard deviations; a kink needs a smaller one."""

NUM_SHIFTS = 8
"""Shifts on each side in a central difference, so that it has order sixteen."""


def convergence_step(variance: float, *functions: Function) -> float:
    """Step in units of the argument at which the rule has converged for each function.

    The grids are off center, so that no symmetry hides an error. Raises ``ConvergenceError`` for a
    function that is not smooth on the scale of the finest step.
    """
    std = math.sqrt(max(variance, 1.0))
    step, previous = GAUSS_STEP, _probe(functions, std, GAUSS_STEP)
    residual = math.inf
    while step > FINEST_STEP:
        current = _probe(functions, std, step / math.sqrt(2))
        if not (np.isfinite(previous).all() and np.isfinite(current).all()):
            break
        residual = float(np.max(np.abs(current - previous)))
        if residual <= TOLERANCE:
            return step * std
        step, previous = step / math.sqrt(2), current
    raise ConvergenceError(
        "The function has values that are not finite, or is too rough for quadrature: give an "
        "activation with closed forms.",
        last_iterate=step * std,
        residual=residual,
    )


def mean(function: Function, variance: float, step: float) -> float:
    """Mean of a function of one Gaussian input."""
    z, weights = _gauss_grid(math.sqrt(variance), step)
    return float(weights @ function(math.sqrt(variance) * z))


def second_moment(function: Function, variance: float, step: float) -> float:
    """Mean square of a function of one Gaussian input."""
    z, weights = _gauss_grid(math.sqrt(variance), step)
    return float(weights @ function(math.sqrt(variance) * z) ** 2)


def second_moment_slope(function: Function, variance: float, step: float) -> float:
    """Differentiate the second moment by the variance.

    Stein's lemma, E f(u)^2 (z^2 - 1) / (2 q), asks for values only. It cancels where the function
    is nearly linear over the Gaussian; there E f'^2 + f f'' stands with differences.
    """
    std = math.sqrt(variance)
    z, weights = _gauss_grid(std, step)
    if std > step:
        return float((weights * (z * z - 1)) @ function(std * z) ** 2) / (2 * variance)
    first, second = derivative(function, step), second_derivative(function, step)
    u = std * z
    return float(weights @ (first(u) ** 2 + function(u) * second(u)))


def cross_moment(function: Function, correlation: float, variance: float, step: float) -> float:
    """Mean product of a function of two correlated Gaussian inputs."""
    weights, smoothed = _conditional_means(function, correlation, variance, step, order=0)
    partner = smoothed if correlation >= 0 else smoothed[::-1]
    return float((weights * smoothed) @ partner)


def cross_moment_slope(
    function: Function,
    correlation: float,
    variance: float,
    step: float,
    slope: Function | None = None,
) -> float:
    """Differentiate the cross moment by the correlation, q E f'(u1) f'(u2).

    With a known derivative it is a cross moment. Else Stein's lemma in y gives E[f'(u1) | x] from
    values of the function; where y hardly varies it cancels, and differences take its place.
    """
    own = math.sqrt((1 - abs(correlation)) * variance)
    if slope is not None or own <= step:
        slope = derivative(function, step) if slope is None else slope
        return variance * cross_moment(slope, correlation, variance, step)
    weights, smoothed = _conditional_means(function, correlation, variance, step, order=1)
    partner = smoothed if correlation >= 0 else smoothed[::-1]
    return float((weights * smoothed) @ partner) / (1 - abs(correlation))


def hermite_coefficients(
    function: Function, num_terms: int, variance: float, step: float
) -> FloatArray:
    """Coefficients E f(u) He_k(z) / sqrt(k!) for k below ``num_terms``.

    Hermite functions oscillate with frequency up to sqrt(k) and live on |z| < 2 sqrt(k).
    """
    std, order = math.sqrt(variance), math.sqrt(num_terms)
    reach = max(REACH + 3.0, 2 * order + 8.0)
    z, weights = _gauss_grid(std, 1 / (1 / step + order / (2 * math.pi * std)), reach=reach)
    half = np.exp(-0.25 * z * z)
    # Polynomials times half of the Gaussian exponent stay of the size of one.
    basis = [half, z * half]
    for k in range(2, num_terms):
        basis.append((z * basis[-1] - math.sqrt(k - 1) * basis[-2]) / math.sqrt(k))
    values = np.where(half > 0, weights / np.where(half > 0, half, 1.0), 0.0) * function(std * z)
    return np.asarray(np.array(basis[:num_terms]) @ values)


def derivative(function: Function, step: float) -> Function:
    """First derivative by central differences of order sixteen on a sixth of the step."""
    gap, weights = step / 6, _difference_weights(power=1)

    def slope(u: FloatArray) -> FloatArray:
        pairs = [function(u + k * gap) - function(u - k * gap) for k in _SHIFTS]
        return np.asarray(np.tensordot(weights, np.array(pairs), 1) / (2 * gap))

    return slope


def second_derivative(function: Function, step: float) -> Function:
    """Second derivative by central differences of order sixteen on a sixth of the step."""
    gap, weights = step / 6, _difference_weights(power=2)

    def curvature(u: FloatArray) -> FloatArray:
        center = 2 * function(u)
        pairs = [function(u + k * gap) - center + function(u - k * gap) for k in _SHIFTS]
        return np.asarray(np.tensordot(weights, np.array(pairs), 1) / gap**2)

    return curvature


_SHIFTS = range(1, NUM_SHIFTS + 1)


def _difference_weights(power: int) -> FloatArray:
    """Weights of the symmetric pairs, 2 (-1)^(k+1) (p!)^2 / (k^power (p-k)! (p+k)!)."""
    p, top = NUM_SHIFTS, math.factorial(NUM_SHIFTS) ** 2
    return np.array(
        [
            2 * (-1) ** (k + 1) * top / (k**power * math.factorial(p - k) * math.factorial(p + k))
            for k in _SHIFTS
        ]
    )


def _gauss_grid(std: float, step: float, reach: float = REACH) -> tuple[FloatArray, FloatArray]:
    """Grid in standard deviations, symmetric about zero, with weights of a Gaussian."""
    gap = 1 / (std / step + 1 / GAUSS_STEP)
    last = math.ceil(reach / gap)
    z = _multiples(gap, last)
    return z, normal_density(z) * gap


def _multiples(gap: float, last: int) -> FloatArray:
    return np.asarray(gap * np.arange(-last, last + 1), dtype=np.float64)


def _conditional_means(
    function: Function, correlation: float, variance: float, step: float, *, order: int
) -> tuple[FloatArray, FloatArray]:
    """Weights of the shared x, and the conditional means E[f(u1) y^order | x].

    On a common grid the mean over y is a convolution, done by FFT. If one of the two Gaussians is
    much narrower than the other, a table of all pairs is smaller than that grid.
    """
    common = math.sqrt(abs(correlation) * variance)
    own = math.sqrt((1 - abs(correlation)) * variance)
    (x, x_weights), (y, y_weights) = _gauss_grid(common, step), _gauss_grid(own, step)
    narrow = min(common, own)
    gap = 1 / (1 / step + 1 / (GAUSS_STEP * narrow)) if narrow > 0 else 0.0
    num_common = 2 * REACH * (common + own) / gap if gap > 0 else math.inf
    if x.size * y.size < 10 * num_common:
        table = function(common * x[:, None] + own * y)
        return x_weights, table @ (y_weights * y**order)
    return _convolved_means(function, common, own, gap, order)


def _convolved_means(
    function: Function, common: float, own: float, gap: float, order: int
) -> tuple[FloatArray, FloatArray]:
    """Conditional means where x and y share a grid of the argument with the given gap."""
    last_x, last_y = math.ceil(REACH * common / gap), math.ceil(REACH * own / gap)
    x, y = _multiples(gap, last_x), _multiples(gap, last_y)
    kernel = normal_density(y / own) * (gap / own) * (-y / own) ** order
    values = function(_multiples(gap, last_x + last_y))
    size = fft.next_fast_len(values.size, real=True)
    product = fft.irfft(fft.rfft(values, size) * fft.rfft(kernel, size), size)
    return normal_density(x / common) * (gap / common), product[2 * last_y : 2 * last_y + x.size]


def _probe(functions: tuple[Function, ...], std: float, step: float) -> FloatArray:
    """Mean and mean square of each function, by a rule off center, relative to its size."""
    last = math.ceil(REACH / step)
    z = _multiples(step, last) + 0.3 * step
    weights = normal_density(z) * step
    with np.errstate(all="ignore"):
        values = [np.asarray(function(std * z), dtype=np.float64) for function in functions]
        squares = [float(weights @ value**2) for value in values]
        sizes = [math.sqrt(square) if square > 0 else 1.0 for square in squares]
        means = [weights @ value / size for value, size in zip(values, sizes, strict=True)]
    # The mean square enters by its logarithm, whose differences are relative errors.
    logs = [math.log(square) if square > 0 else 0.0 for square in squares]
    return np.array([*means, *logs])
