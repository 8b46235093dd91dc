"""Activations that round with noise: stochastic rounding, and a sign behind Gaussian noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from qtheory._checks import as_float_array, check_generator, check_integer, check_positive, fail
from qtheory.meanfield.activations import Activation, FloatArray
from qtheory.numerics import bivariate_normal_cdf, gauss_legendre, normal_density

__all__ = [
    "NoisySign",
    "OptimalStochasticSpacing",
    "StochasticStaircase",
    "optimal_stochastic_spacing",
    "stochastic_staircase",
]

MAX_STOCHASTIC_LEVELS = 2**16


class StochasticStaircase(Activation):
    r"""Stochastic rounding to a list of levels, with noise of its own for every input.

    A number between two levels goes to either of them, with probabilities that make the mean of
    the output equal to the number; numbers beyond the outer levels go to these.

    Parameters
    ----------
    levels : array_like
        Levels in increasing order, shape ``(num_levels,)``, finite, at least two.

    Raises
    ------
    ValueError
        If the levels are fewer than two, not finite or not increasing.

    See Also
    --------
    stochastic_staircase : Equally spaced levels.
    qtheory.meanfield.Staircase : Nearest rounding.

    Notes
    -----
    Book: ch05-stochastic-moments.

    Assumptions: the noise is independent between inputs, neurons and layers. Two inputs therefore
    share only the mean of the output given the input, which is the input clipped to the range of
    the levels; the same input twice does not give the same output.

    .. math:: \mathbb{E}[\varphi(u) \mid u] = \operatorname{clip}(u, y_1, y_N), \qquad
              \mathbb{E}[\varphi(u)^2 \mid u] = (l + r)\,u - l\,r \quad\text{between levels } l, r .

    Accuracy: moments within 1e-13 of the second moment, the cross moment within 1e-12 of it, as
    long as the range of the levels is a hundredth of a standard deviation or more.
    Limits: the slope of the cross moment is finite at correlation one, unlike that of a staircase
    without noise.

    Examples
    --------
    >>> import numpy as np
    >>> from qtheory.meanfield.noise import StochasticStaircase
    >>> activation = StochasticStaircase([-1.0, 0.0, 1.0])
    >>> bool(abs(activation(np.full(10**5, 0.3), rng=np.random.default_rng(0)).mean() - 0.3) < 0.01)
    True
    >>> round(activation.cross_moment(1.0, 0.25) / activation.second_moment(0.25), 4)
    0.5894
    """

    is_deterministic = False

    def __init__(self, levels: ArrayLike) -> None:
        array = np.array(as_float_array("levels", levels), dtype=np.float64)
        if array.ndim != 1 or array.size < 2:
            raise fail("levels", "a list of at least two numbers", levels)
        if not np.isfinite(array).all() or (np.diff(array) <= 0).any():
            raise fail("levels", "finite and strictly increasing", levels)
        array.flags.writeable = False
        self._levels = array

    def __repr__(self) -> str:
        """Show the number of levels and the range."""
        low, high = self._levels[0], self._levels[-1]
        return f"StochasticStaircase({self.num_levels} levels from {low:g} to {high:g})"

    @property
    def levels(self) -> FloatArray:
        """Levels in increasing order, shape ``(num_levels,)``."""
        return self._levels

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return int(self._levels.size)

    def __call__(self, x: ArrayLike, *, rng: np.random.Generator | None = None) -> FloatArray:
        """Round stochastically.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape.
        rng : numpy.random.Generator
            Source of the noise; required.

        Returns
        -------
        numpy.ndarray
            Levels in float64, same shape. NaN stays NaN.

        Raises
        ------
        ValueError
            If ``rng`` is no generator.
        """
        array = np.asarray(as_float_array("x", x), dtype=np.float64)
        generator = check_generator("rng", rng)
        inside = np.clip(array, self._levels[0], self._levels[-1])
        index = np.searchsorted(self._levels[1:-1], inside, side="right")
        low, high = self._levels[index], self._levels[index + 1]
        goes_up = generator.random(array.shape) * (high - low) < inside - low
        return np.where(np.isnan(array), array, np.where(goes_up, high, low))

    def _mean(self, variance: float) -> float:
        low, high = self._levels[0], self._levels[-1]
        std = math.sqrt(variance)
        return float(_ramp(-low, std) - _ramp(high, std))

    def _second_moment(self, variance: float) -> float:
        std = math.sqrt(variance)
        bends, split, base = self._bends()
        left = bends[:split] @ _ramp(-self._levels[:split], std)
        right = bends[split:] @ _ramp(self._levels[split:], std)
        return float(base + left + right)

    def _second_moment_slope(self, variance: float) -> float:
        std = math.sqrt(variance)
        return float(0.5 * self._bends()[0] @ normal_density(self._levels / std) / std)

    def _cross_moment(self, correlation: float, variance: float) -> float:
        low, high = self._range(variance)
        # clip(z) = z + (low - z)_+ - (z - high)_+, so that nothing is large beside the result.
        product = correlation * (1 - 2 * special.ndtr(low) - 2 * special.ndtr(-high))
        product += _ramp_product(-low, -low, correlation) + _ramp_product(high, high, correlation)
        return float(variance * (product - 2 * _ramp_product(-low, high, -correlation)))

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        low, high = self._range(variance)
        corners = bivariate_normal_cdf([high, low, low], [high, low, high], correlation)
        return variance * max(float(corners[0] + corners[1] - 2 * corners[2]), 0.0)

    def _derivative_second_moment(self, variance: float) -> float:
        return _mass(*self._range(variance))

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        std, (low, high) = math.sqrt(variance), self._range(variance)
        result = np.empty(num_terms)
        result[0] = self._mean(variance)
        result[1:2] = std * _mass(low, high)
        orders = np.arange(2, num_terms)
        ends = _hermite_functions(low, num_terms) - _hermite_functions(high, num_terms)
        result[2:] = std * ends[: orders.size] / np.sqrt(orders * (orders - 1.0))
        return result

    def _range(self, variance: float) -> tuple[float, float]:
        """Return the outer levels in standard deviations of the input."""
        std = math.sqrt(variance)
        return float(self._levels[0]) / std, float(self._levels[-1]) / std

    def _bends(self) -> tuple[FloatArray, int, float]:
        """Return the changes of slope of the mean square given the input, at the levels.

        Also the number of levels below the piece that holds zero, and that piece's value at zero.
        """
        y = self._levels
        slopes = np.concatenate([[0.0], y[1:] + y[:-1], [0.0]])
        split = int(np.searchsorted(y, 0.0, side="right"))
        inside = 0 < split < y.size
        base = -y[split - 1] * y[split] if inside else y[min(split, y.size - 1)] ** 2
        return np.diff(slopes), split, float(base)


class NoisySign(Activation):
    r"""Sign of the input plus Gaussian noise of its own for every input.

    Parameters
    ----------
    noise_variance : float
        Variance of the noise, above zero, in squared units of the input.

    Raises
    ------
    ValueError
        If ``noise_variance`` is not above zero.

    Notes
    -----
    Book: ch05-noisy-sign.

    Assumptions: the noise is independent between inputs, neurons and layers.

    .. math:: \mathbb{E}[\varphi(u_1) \varphi(u_2)] = \frac{2}{\pi} \arcsin(r c), \qquad
              r = \frac{q}{q + \sigma_n^2} .

    Limits: the sign without noise as the variance of the input grows.

    Examples
    --------
    >>> from qtheory.meanfield.noise import NoisySign
    >>> round(NoisySign(1.0).cross_moment(1.0, 1.0), 4)
    0.3333
    """

    is_deterministic = False

    def __init__(self, noise_variance: float) -> None:
        self._noise_variance = check_positive("noise_variance", noise_variance)

    def __repr__(self) -> str:
        """Show the variance of the noise."""
        return f"NoisySign(noise_variance={self._noise_variance:g})"

    @property
    def noise_variance(self) -> float:
        """Variance of the noise, in squared units of the input."""
        return self._noise_variance

    def __call__(self, x: ArrayLike, *, rng: np.random.Generator | None = None) -> FloatArray:
        """Add noise and take the sign.

        Parameters
        ----------
        x : array_like
            Real numbers, any shape.
        rng : numpy.random.Generator
            Source of the noise; required.

        Returns
        -------
        numpy.ndarray
            -1 or 1 in float64, same shape. NaN stays NaN.

        Raises
        ------
        ValueError
            If ``rng`` is no generator.
        """
        array = np.asarray(as_float_array("x", x), dtype=np.float64)
        noise = check_generator("rng", rng).standard_normal(array.shape)
        noisy = array + math.sqrt(self._noise_variance) * noise
        return np.where(np.isnan(array), array, np.where(noisy >= 0, 1.0, -1.0))

    def _mean(self, variance: float) -> float:
        return 0.0

    def _second_moment(self, variance: float) -> float:
        return 1.0

    def _second_moment_slope(self, variance: float) -> float:
        return 0.0

    def _cross_moment(self, correlation: float, variance: float) -> float:
        return 2 / math.pi * math.asin(self._signal_fraction(variance) * correlation)

    def _cross_moment_slope(self, correlation: float, variance: float) -> float:
        fraction, c = self._signal_fraction(variance), abs(correlation)
        # One minus the squared argument as a product, its small factor from the noise itself.
        rest = self._noise_variance / (variance + self._noise_variance)
        gap = rest + fraction * (1 - c)
        return 2 / math.pi * fraction / math.sqrt(gap * (1 + fraction * c))

    def _derivative_second_moment(self, variance: float) -> float:
        noise = self._noise_variance
        return 2 / math.pi / math.sqrt(noise * (noise + 2 * variance))

    def _hermite_coefficients(self, num_terms: int, variance: float) -> FloatArray:
        orders = np.arange(1, num_terms)
        result = np.zeros(num_terms)
        at_zero = _hermite_functions(0.0, num_terms)[: num_terms - 1]
        result[1:] = 2 * at_zero / np.sqrt(orders) * self._signal_fraction(variance) ** (orders / 2)
        return result

    def _signal_fraction(self, variance: float) -> float:
        """Return the variance of the input over that of input plus noise."""
        return variance / (variance + self._noise_variance)


def stochastic_staircase(num_levels: int, *, clip: float = 1.0) -> StochasticStaircase:
    """Stochastic rounding to equally spaced levels.

    Parameters
    ----------
    num_levels : int
        Number of levels, from 2 to 65536.
    clip : float
        Largest level, above zero; the smallest is its negative.

    Returns
    -------
    StochasticStaircase
        Levels ``linspace(-clip, clip, num_levels)``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: ch05-stochastic-moments.

    Examples
    --------
    >>> from qtheory.meanfield.noise import stochastic_staircase
    >>> stochastic_staircase(3).levels
    array([-1.,  0.,  1.])
    """
    count = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_STOCHASTIC_LEVELS)
    limit = check_positive("clip", clip)
    return StochasticStaircase(limit * (np.arange(1 - count, count, 2) / (count - 1)))


@dataclass(frozen=True, eq=False)
class OptimalStochasticSpacing:
    r"""The spacing at which a network with stochastic rounding forgets slowest.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`N`.
    spacing : float
        Distance of the levels over the standard deviation of the pre-activations.
    chi : float
        Slope of the correlation map at its fixed point, the largest possible.
    one_minus_chi : float
        One minus it, without cancellation.
    depth_scale : float
        :math:`-1/\ln\chi`, in layers.
    weight_variance : float
        Variance of the weights times the fan-in that holds this spacing, without biases.
    variance : float
        Variance of the pre-activations for levels from -1 to 1.
    second_moment : float
        Mean square of the activations for levels from -1 to 1.
    """

    num_levels: int
    spacing: float
    chi: float
    one_minus_chi: float
    depth_scale: float
    weight_variance: float
    variance: float
    second_moment: float


def optimal_stochastic_spacing(num_levels: int) -> OptimalStochasticSpacing:
    r"""Spacing of the levels at which stochastic rounding propagates correlation farthest.

    Parameters
    ----------
    num_levels : int
        Number of equally spaced levels, from 3 to 65536. With two levels the slope only approaches
        its least upper bound :math:`2/\pi`, as the spacing tends to zero.

    Returns
    -------
    OptimalStochasticSpacing
        Spacing, slope and depth scale.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range.

    See Also
    --------
    qtheory.meanfield.optimal_spacing : Rounding without noise.

    Notes
    -----
    Book: ch05-stochastic-slope.

    Assumptions: independent noise for every input, no biases, the infinite width.

    .. math:: \chi = \frac{\Pr(|z| < L)^2}{\mathbb{E}\varphi^2}, \qquad L = (N - 1) D / 2 .

    The stationarity condition is solved by Brent's method around the best point of a grid;
    :math:`1 - \chi` is a sum of positive terms, the noise of each cell and the overload.

    Accuracy: ``one_minus_chi`` within 1e-11 relative and ``spacing`` within 1e-9 up to 1024 levels,
    tested against 40-digit arithmetic.
    Limits: for many levels the depth scale is half of that without noise, since the noise variance
    is a sixth of the squared spacing instead of a twelfth.

    Examples
    --------
    >>> from qtheory.meanfield.noise import optimal_stochastic_spacing
    >>> round(optimal_stochastic_spacing(16).depth_scale, 3)
    49.641
    """
    count = check_integer("num_levels", num_levels, minimum=3, maximum=MAX_STOCHASTIC_LEVELS)
    activation = stochastic_staircase(count)
    # In units of the asymptote of the range, 2 sqrt(ln N): the best range lies well inside.
    ranges = 2 * math.sqrt(math.log(count)) * np.geomspace(0.2, 2.0, 25)
    best = int(np.argmin([_stochastic_deficit(count, end) for end in ranges]))
    from scipy import optimize  # loading it takes as long as the rest of the package

    end = optimize.brentq(
        lambda end: _stochastic_stationarity(activation, end),
        ranges[max(best - 1, 0)],
        ranges[min(best + 1, ranges.size - 1)],
        xtol=1e-300,
        rtol=1e-14,
    )
    deficit = _stochastic_deficit(count, end)
    variance = 1 / end**2
    second = float(activation.second_moment(variance))
    return OptimalStochasticSpacing(
        num_levels=count,
        spacing=2 * end / (count - 1),
        chi=1 - deficit,
        one_minus_chi=deficit,
        depth_scale=-1 / math.log1p(-deficit),
        weight_variance=variance / second,
        variance=variance,
        second_moment=second,
    )


def _stochastic_deficit(num_levels: int, end: float) -> float:
    """Return one minus the slope, for levels from -end to end standard deviations."""
    step = 2 * end / (num_levels - 1)
    right = step * (np.arange(num_levels // 2) + 0.5 * (num_levels % 2 + 1))
    nodes, weights = gauss_legendre(20)
    offset = 0.5 * step * nodes
    z = (right - 0.5 * step)[:, None] + offset
    cells = (np.exp(-0.5 * z * z) * ((0.5 * step) ** 2 - offset**2) * weights).sum(axis=1)
    cells *= 0.5 * step * float(normal_density(0.0))
    # The cells right of zero count twice; an even number of levels has one cell about zero.
    noise = 2 * cells.sum() - (cells[0] if num_levels % 2 == 0 else 0.0)
    density = float(normal_density(end))
    tail = 0.5 * math.erfc(end / math.sqrt(2))
    mills = math.sqrt(math.pi / 2) * float(special.erfcx(end / math.sqrt(2)))
    overload = 2 * density * (mills * (1 - 2 * tail + end * end) - end)
    return float((noise + overload) / (noise + overload + (1 - 2 * tail) ** 2))


def _stochastic_stationarity(activation: StochasticStaircase, end: float) -> float:
    """Return the derivative of ln(slope) by ln(variance), for levels from -1 to 1."""
    variance = 1 / end**2
    inside = math.erf(end / math.sqrt(2))
    density = float(normal_density(end))
    second = float(activation.second_moment(variance))
    growth = variance * float(activation.second_moment_slope(variance)) / second
    return 1 - 2 * end * density / inside - growth


def _ramp(start: FloatArray | float, std: float) -> FloatArray:
    """Return the mean of max(u - start, 0) for a centered Gaussian u, also of variance zero."""
    start = np.asarray(start, dtype=np.float64)
    if std == 0:
        return np.maximum(-start, 0.0)
    t = start / std
    return np.asarray(std * normal_density(t) - start * special.ndtr(-t))


def _ramp_product(h: float, k: float, c: float) -> float:
    """Return the mean of max(z1 - h, 0) max(z2 - k, 0) for standard Gaussians of correlation c."""
    s = math.sqrt((1 - c) * (1 + c))
    to_k, to_h = (_reach(k - c * h, s), _reach(h - c * k, s))
    density_h, density_k = map(float, normal_density([h, k]))
    both = (c + h * k) * float(bivariate_normal_cdf(-h, -k, c))
    edges = k * density_h * special.ndtr(-to_k) + h * density_k * special.ndtr(-to_h)
    corner = s * density_h * float(normal_density(to_k))
    return float(both - edges + corner)


def _reach(gap: float, spread: float) -> float:
    """Return a distance in conditional standard deviations; zero over zero has the limit zero."""
    if spread > 0:
        return gap / spread
    return math.copysign(math.inf, gap) if gap else 0.0


def _mass(low: float, high: float) -> float:
    """Return the Gaussian probability of an interval, from the tails on its own side."""
    if low > 0:
        low, high = -high, -low
    return float(special.ndtr(high) - special.ndtr(low))


def _hermite_functions(t: float, count: int) -> FloatArray:
    """Gaussian density times the normalized Hermite polynomials of orders 0 to count - 1."""
    result = np.zeros(count)
    result[0] = float(normal_density(t))
    if count > 1:
        result[1] = t * result[0]
    for n in range(2, count):
        result[n] = (t * result[n - 1] - math.sqrt(n - 1) * result[n - 2]) / math.sqrt(n)
    return result
