"""Exact floors on quadratics: stochastic rounding at rest, its averages, and rounded weights."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_finite, check_instance, check_positive, fail
from qtheory.training.noise import GradientNoise, NoNoise

__all__ = [
    "GridLaw",
    "QuadraticFloor",
    "averaged_floor",
    "deployed_floor",
    "noise_free_sr_law",
    "sr_quadratic_floor",
    "sr_quadratic_law",
]

FloatArray = NDArray[np.float64]

# Points whose weight is below the largest by this factor's logarithm are left out.
LOG_TAIL = 80.0
FIRST_REACH = 64
MAX_REACH = 2**22


@dataclass(frozen=True, eq=False)
class GridLaw:
    """A probability law on points of a grid.

    Parameters
    ----------
    points : numpy.ndarray
        Points in increasing order, shape ``(n,)``.
    probabilities : numpy.ndarray
        Their probabilities, of sum one, shape ``(n,)``.

    Notes
    -----
    Book: thm-ch08-birth-death.
    """

    points: FloatArray
    probabilities: FloatArray

    def __post_init__(self) -> None:
        """Copy and protect the arrays."""
        for name in ("points", "probabilities"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def mean(self) -> float:
        """Mean of the law."""
        return float(self.probabilities @ self.points)

    @property
    def variance(self) -> float:
        """Variance of the law."""
        return self.mean_square(self.mean)

    def mean_square(self, reference: float = 0.0) -> float:
        """Return the mean square of the distance to a point.

        Parameters
        ----------
        reference : float
            The point.

        Returns
        -------
        float
            Mean square of the distance.
        """
        return float(self.probabilities @ (self.points - reference) ** 2)


@dataclass(frozen=True, eq=False)
class QuadraticFloor:
    r"""Where stochastic rounding comes to rest on a diagonal quadratic, coordinate by coordinate.

    Parameters
    ----------
    variances : numpy.ndarray
        :math:`\mathbb{E}(w_i - w_i^*)^2`, shape ``(d,)``, from the law itself.
    mean_abs_gradients : numpy.ndarray
        :math:`\mathbb{E}\lvert g_i \rvert` under the law, shape ``(d,)``.
    excess : float
        :math:`\mathbb{E} F(w) - F^* = \frac12 \sum_i \lambda_i \mathbb{E}(w_i - w_i^*)^2`.
    identity : float
        The same by the identity :math:`\frac\Delta4 \mathbb{E}\lVert g \rVert_1`.

    Notes
    -----
    Book: thm-ch08-exact-floor.
    """

    variances: FloatArray
    mean_abs_gradients: FloatArray
    excess: float
    identity: float

    def __post_init__(self) -> None:
        """Copy and protect the arrays."""
        for name in ("variances", "mean_abs_gradients"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)


def sr_quadratic_law(
    curvature: float,
    *,
    grid_step: float,
    noise: GradientNoise | None = None,
    minimizer: float = 0.0,
) -> GridLaw:
    r"""Stationary law of one weight under stochastic rounding, small learning rates.

    Parameters
    ----------
    curvature : float
        Curvature :math:`\lambda` of the objective, above zero.
    grid_step : float
        Step :math:`\Delta` of the endless grid :math:`\Delta \mathbb{Z}`, above zero.
    noise : GradientNoise or None
        Law of the gradient noise; None for none.
    minimizer : float
        Minimizer :math:`w^*`, on the grid or off it.

    Returns
    -------
    GridLaw
        The law, without points of weight below exp(-80) of the largest.

    Raises
    ------
    ValueError
        If an argument is out of range, or the law has more than millions of points.

    Notes
    -----
    Book: thm-ch08-birth-death.

    .. math:: \frac{\pi(x + \Delta)}{\pi(x)}
              = \frac{\mathbb{E}\,g(x)_-}{\mathbb{E}\,g(x + \Delta)_+},
              \qquad g(x) = \lambda (x - w^*) + \xi .

    Assumptions: exact for every learning rate with :math:`\alpha \lvert g \rvert \le \Delta`; else
    the limit of small learning rates.

    Accuracy: probabilities to 1e-12 for :math:`\lvert w^* \rvert / \Delta` up to 1e4, to 1e-11 up
    to 1e6: the place of the minimizer on the grid is known no better.

    Examples
    --------
    Noise of plus and minus one, and steps of a quarter: eight urns of Ehrenfest.

    >>> from qtheory.training import RademacherNoise, sr_quadratic_law
    >>> law = sr_quadratic_law(1.0, grid_step=0.25, noise=RademacherNoise(1.0))
    >>> law.points.tolist()
    [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
    >>> (256 * law.probabilities).round(9).tolist()
    [1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0]
    """
    slope = check_positive("curvature", curvature)
    step = check_positive("grid_step", grid_step)
    place = check_finite("minimizer", minimizer) / step
    center = math.floor(place + 0.5)
    law = _law_of(noise)
    # Offsets of grid points from the minimizer are kept apart from the center: no digits are lost.
    shift = center - place
    up = _log_weights(law, slope * step, shift)
    down = _log_weights(law._reversed(), slope * step, -shift)
    logs = np.concatenate([down[::-1], [0.0], up])
    weights = np.exp(logs - logs.max())
    kept = np.flatnonzero(logs - logs.max() > -LOG_TAIL)
    points: FloatArray = (np.arange(-down.size, up.size + 1.0)[kept] + center) * step
    return GridLaw(points, weights[kept] / weights[kept].sum())


def sr_quadratic_floor(
    curvatures: ArrayLike,
    *,
    grid_step: float,
    noise: GradientNoise | None = None,
    minimizer: ArrayLike = 0.0,
) -> QuadraticFloor:
    r"""Exact mean excess at which stochastic rounding comes to rest on a diagonal quadratic.

    Parameters
    ----------
    curvatures : array_like of float
        Curvatures :math:`\lambda_i` above zero, shape ``(d,)`` or a number.
    grid_step : float
        Step :math:`\Delta` of the endless grid, above zero.
    noise : GradientNoise or None
        Law of the noise of each coordinate of the gradient; None for none.
    minimizer : array_like of float
        Minimizer, shape ``(d,)`` or a number for all coordinates.

    Returns
    -------
    QuadraticFloor
        The excess from the stationary laws, and from the identity.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: thm-ch08-exact-floor.

    .. math:: \mathbb{E} F(w) - F^* = \frac{\Delta}{4}\,\mathbb{E}\lVert g \rVert_1

    Assumptions: a learning rate with :math:`\alpha \lVert g \rVert_\infty \le \Delta`, of any such
    size; for unbounded noise the limit of small learning rates.

    Accuracy: excess and identity agree to 1e-12 for :math:`\lvert w^* \rvert / \Delta` up to 1e4,
    to 1e-11 up to 1e6.

    Examples
    --------
    >>> from qtheory.training import GaussianNoise, sr_quadratic_floor
    >>> floor = sr_quadratic_floor([1.0], grid_step=0.5, noise=GaussianNoise(), minimizer=0.15)
    >>> round(floor.excess, 8), round(floor.identity, 8)
    (0.11018315, 0.11018315)
    """
    slopes, places = _coordinates(curvatures, minimizer)
    law = _law_of(noise)
    variances, sizes = np.empty(slopes.size), np.empty(slopes.size)
    for i, (slope, place) in enumerate(zip(slopes, places, strict=True)):
        rest = sr_quadratic_law(slope, grid_step=grid_step, noise=law, minimizer=place)
        variances[i] = rest.mean_square(place)
        sizes[i] = rest.probabilities @ law.mean_abs(slope * (rest.points - place))
    return QuadraticFloor(
        variances,
        sizes,
        excess=float(0.5 * slopes @ variances),
        identity=float(0.25 * grid_step * sizes.sum()),
    )


def noise_free_sr_law(minimizer: float, *, grid_step: float) -> GridLaw:
    r"""Stationary law of one weight under stochastic rounding without gradient noise.

    Parameters
    ----------
    minimizer : float
        Minimizer :math:`w^* = (k + \theta) \Delta` of a quadratic.
    grid_step : float
        Step :math:`\Delta` of the endless grid, above zero.

    Returns
    -------
    GridLaw
        :math:`1 - \theta` on the grid point below and :math:`\theta` on the one above, or the
        whole mass on the minimizer if it lies on the grid.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-noise-free.

    Assumptions: a learning rate with :math:`\alpha \lvert g \rvert \le \Delta` at both points.

    Examples
    --------
    >>> from qtheory.training import noise_free_sr_law
    >>> law = noise_free_sr_law(0.3, grid_step=1.0)
    >>> law.points.tolist(), law.probabilities.round(6).tolist()
    ([0.0, 1.0], [0.7, 0.3])
    """
    step = check_positive("grid_step", grid_step)
    place = check_finite("minimizer", minimizer) / step
    below = math.floor(place)
    share = place - below
    if share == 0:
        return GridLaw(np.array([below * step]), np.ones(1))
    return GridLaw(np.array([below, below + 1]) * step, np.array([1 - share, share]))


def averaged_floor(
    curvatures: ArrayLike,
    *,
    grid_step: float,
    noise: GradientNoise | None = None,
    minimizer: ArrayLike = 0.0,
    strong_convexity: float | None = None,
) -> FloatArray:
    r"""Excess that is left in the average of all iterates of stochastic rounding.

    Parameters
    ----------
    curvatures : array_like of float
        Curvatures :math:`\lambda_i` above zero, shape ``(d,)`` or a number.
    grid_step : float
        Step :math:`\Delta` of the endless grid, above zero.
    noise : GradientNoise or None
        Law of the noise of each coordinate of the gradient; None for none.
    minimizer : array_like of float
        Minimizer, shape ``(d,)`` or a number for all coordinates.
    strong_convexity : float, optional
        Constant :math:`\mu` of the schedule, above zero; the smallest curvature by default.

    Returns
    -------
    numpy.ndarray
        Contribution of each coordinate to the limit of :math:`\mathbb{E} F(\bar w^T) - F^*`, shape
        ``(d,)``.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: thm-ch08-averaged-floor.

    .. math:: \frac{\Delta\,\mathbb{E}\lvert g_i \rvert}{4 (1 + \kappa_i)},
              \qquad \kappa_i = \lambda_i / \mu

    Assumptions: :math:`\alpha_t = 1/(\mu (t + t_0))`, plain average over all steps,
    :math:`T \to \infty`.

    Limits: with a constant learning rate the average has no floor.

    Examples
    --------
    >>> from qtheory.training import RademacherNoise, averaged_floor
    >>> averaged_floor([1.0, 2.0], grid_step=1 / 32, noise=RademacherNoise()).round(6).tolist()
    [0.003906, 0.002604]
    """
    slopes, places = _coordinates(curvatures, minimizer)
    rate = slopes.min() if strong_convexity is None else strong_convexity
    ratios = slopes / check_positive("strong_convexity", rate)
    floor = sr_quadratic_floor(slopes, grid_step=grid_step, noise=noise, minimizer=places)
    return np.asarray(0.5 * slopes * floor.variances / (1 + ratios))


def deployed_floor(
    curvatures: ArrayLike, *, grid_step: float, minimizer: ArrayLike | None = None
) -> float:
    r"""Excess of stochastically rounded weights around the minimizer of a quadratic.

    Parameters
    ----------
    curvatures : array_like of float
        Curvatures :math:`\lambda_i` above zero, shape ``(d,)`` or a number; the diagonal of the
        Hessian if it is not diagonal.
    grid_step : float
        Step :math:`\Delta` of the endless grid, above zero.
    minimizer : array_like of float, optional
        Minimizer, shape ``(d,)`` or a number for all coordinates. Left out, the worst one.

    Returns
    -------
    float
        :math:`\mathbb{E} F(Q_s(w^*)) - F^*`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Book: ch08-deployed.

    .. math:: \frac{\Delta^2}2 \sum_i \lambda_i\,\theta_i (1 - \theta_i)
              \le \frac{\Delta^2}8 \operatorname{tr} H,

    where :math:`\theta_i` is the place of the minimizer between two grid points, from 0 to 1. In
    one dimension both ways of rounding in BinaryConnect, and stochastic rounding without gradient
    noise, spend these shares of the time on the two points.

    Examples
    --------
    >>> from qtheory.training import deployed_floor
    >>> deployed_floor([1.0, 3.0], grid_step=0.5), deployed_floor(1.0, grid_step=1, minimizer=0.5)
    (0.125, 0.125)
    """
    slopes, places = _coordinates(curvatures, 0.0 if minimizer is None else minimizer)
    step = check_positive("grid_step", grid_step)
    shares = places / step - np.floor(places / step)
    spread = np.full(slopes.size, 0.25) if minimizer is None else shares * (1 - shares)
    return float(0.5 * step**2 * slopes @ spread)


def _law_of(noise: GradientNoise | None) -> GradientNoise:
    """Return a law; None stands for no noise."""
    if noise is None:
        return NoNoise()
    check_instance("noise", noise, GradientNoise)
    return noise


def _coordinates(curvatures: ArrayLike, minimizer: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return curvatures and minimizers of equal shape (d,)."""
    slopes = np.atleast_1d(as_float_array("curvatures", curvatures)).astype(np.float64)
    if slopes.ndim != 1 or slopes.size == 0:
        raise fail("curvatures", "a number or of shape (d,)", slopes.shape)
    if not (np.isfinite(slopes).all() and (slopes > 0).all()):
        raise fail("curvatures", "finite and above zero", slopes)
    places = np.asarray(as_float_array("minimizer", minimizer), dtype=np.float64)
    if places.shape not in ((), slopes.shape):
        raise fail("minimizer", f"a number or of shape {slopes.shape}", places.shape)
    if not np.isfinite(places).all():
        raise fail("minimizer", "finite", places)
    return slopes, np.broadcast_to(places, slopes.shape)


def _log_weights(law: GradientNoise, slope: float, shift: float) -> FloatArray:
    """Return log pi at 1, 2, ... steps above the center, less that at the center.

    The center is ``shift`` steps above the minimizer, and ``slope`` is the growth of the gradient
    in one step. The list ends where the weights are negligible or zero.
    """
    reach = FIRST_REACH
    while reach <= MAX_REACH:
        means: FloatArray = slope * (np.arange(reach + 1.0) + shift)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.log(law.negative_part(means[:-1])) - np.log(law.positive_part(means[1:]))
        # Once a weight is zero, so are all beyond it.
        ratios = np.where(np.isnan(ratios), -np.inf, ratios)
        logs = np.cumsum(ratios)
        ends = np.flatnonzero(logs < logs.max(initial=0.0) - LOG_TAIL)
        if ends.size:
            return np.asarray(logs[: ends[0]])
        reach *= 2
    raise fail("grid_step", "large enough for a law of few million points", slope)
