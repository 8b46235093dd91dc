"""Bounds of what rounding costs in training: convex, strongly convex and non-convex objectives."""

import math
from dataclasses import dataclass

from qtheory._checks import (
    check_choice,
    check_instance,
    check_integer,
    check_nonnegative,
    check_positive,
    fail,
)

__all__ = [
    "Bound",
    "ProblemConstants",
    "bc_convex_bound",
    "bc_nonconvex_bound",
    "bc_strongly_convex_bound",
    "printed_bound",
    "sr_convex_bound",
    "sr_nonconvex_bound",
    "sr_strongly_convex_bound",
]

PRINTED = ("sr strongly convex", "sr convex", "bc convex", "bc strongly convex")


@dataclass(frozen=True)
class ProblemConstants:
    r"""What is known of an objective and of its stochastic gradients along a run.

    Parameters
    ----------
    dimension : int
        Number of weights d, at least 1.
    gradient_norm : float
        G with :math:`\mathbb{E}\lVert g \rVert^2 \le G^2` at every step, above zero.
    diameter : float
        D with :math:`\lVert w - w^* \rVert \le D` at every step, not below zero.
    strong_convexity : float
        Constant :math:`\mu` of strong convexity, zero if there is none.
    smoothness : float
        Lipschitz constant L of the gradient.
    hessian_lipschitz : float
        Lipschitz constant :math:`L_2` of the Hessian in the spectral norm; zero for a quadratic.

    Raises
    ------
    ValueError
        If a constant is out of range, or the strong convexity is above the smoothness.

    Notes
    -----
    Book: sec-ch08-assumptions.

    Constants left out are infinite: nothing is known. A bound that needs one refuses.

    Examples
    --------
    >>> from qtheory.training import ProblemConstants
    >>> ProblemConstants(dimension=8, gradient_norm=3.0, smoothness=2.0).diameter
    inf
    """

    dimension: int
    gradient_norm: float
    diameter: float = math.inf
    strong_convexity: float = 0.0
    smoothness: float = math.inf
    hessian_lipschitz: float = math.inf

    def __post_init__(self) -> None:
        """Check the constants."""
        check_integer("dimension", self.dimension, minimum=1)
        check_positive("gradient_norm", self.gradient_norm)
        check_nonnegative("strong_convexity", self.strong_convexity)
        for name in ("diameter", "smoothness", "hessian_lipschitz"):
            value = getattr(self, name)
            if value != math.inf:
                check_nonnegative(name, value)
        if self.strong_convexity > self.smoothness:
            raise fail("strong_convexity", "at most `smoothness`", self.strong_convexity)

    def known(self, name: str) -> float:
        """Return a constant, refusing one that is not known.

        Parameters
        ----------
        name : str
            Name of a field.

        Returns
        -------
        float
            Its value, finite.

        Raises
        ------
        ValueError
            If it is infinite, or zero for the strong convexity.
        """
        value = float(getattr(self, name))
        if math.isinf(value) or (name == "strong_convexity" and value == 0):
            raise fail(name, "known for this bound", value)
        return value


@dataclass(frozen=True)
class Bound:
    """A bound in three parts.

    Parameters
    ----------
    initial : float
        What is left of the start; falls with the number of steps.
    noise : float
        What the variance of the gradients adds; falls with the number of steps, or with the
        learning rate.
    floor : float
        What rounding adds; does not fall.

    Notes
    -----
    Book: sec-ch08-theorems.
    """

    initial: float
    noise: float
    floor: float

    @property
    def value(self) -> float:
        """Sum of the three parts."""
        return self.initial + self.noise + self.floor


def sr_strongly_convex_bound(
    constants: ProblemConstants, *, grid_step: float, num_steps: int, offset: float = 1.0
) -> Bound:
    r"""Bound of the mean excess of stochastic rounding, strongly convex objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm`` and ``strong_convexity``; ``diameter`` (at the start only) if the
        offset is above one.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    offset : float
        Offset :math:`t_0 \ge 1` of the schedule.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E} F(w^t) - F^*`, and so of
        :math:`\mathbb{E} F(\bar w) - F^*`.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: thm-ch08-sr-strong.

    .. math:: \frac{\mu (t_0 - 1) D^2}{2T}
              + \Bigl(\frac1{t_0} + \ln\frac{T + t_0 - 1}{t_0}\Bigr) \frac{G^2}{2 \mu T}
              + \frac12 \sqrt d\,\Delta G

    Assumptions: F is :math:`\mu`-strongly convex, gradients are unbiased with
    :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, :math:`\alpha_t = 1/(\mu(t + t_0))`, an
    endless grid or a clipped one whose box holds the minimizer.

    Limits: says nothing of rounding to nearest.

    Examples
    --------
    >>> from qtheory.training import ProblemConstants, sr_strongly_convex_bound
    >>> constants = ProblemConstants(dimension=16, gradient_norm=4.0, strong_convexity=1.0)
    >>> sr_strongly_convex_bound(constants, grid_step=0.125, num_steps=1000).floor
    1.0
    """
    count, step = _run(num_steps, grid_step, constants)
    start = check_positive("offset", offset)
    if start < 1:
        raise fail("offset", "at least one", offset)
    mu = constants.known("strong_convexity")
    initial = (
        0.5 * mu * (start - 1) * constants.known("diameter") ** 2 / count if start > 1 else 0.0
    )
    return Bound(initial, _log_noise(constants, count, start), _sr_floor(constants, step))


def sr_convex_bound(
    constants: ProblemConstants, *, grid_step: float, num_steps: int, rate_constant: float
) -> Bound:
    r"""Bound of the mean excess of stochastic rounding, convex objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm`` and ``diameter``.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    rate_constant : float
        Constant c of the schedule :math:`\alpha_t = c/\sqrt{t + 1}`, above zero.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E} F(w^t) - F^*`, and so of
        :math:`\mathbb{E} F(\bar w) - F^*`.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: thm-ch08-sr-convex.

    .. math:: \frac{D^2}{2 c \sqrt T} + \frac{c\,G^2}{\sqrt T} + \frac12 \sqrt d\,\Delta G

    Assumptions: F is convex, gradients are unbiased with
    :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, all iterates within D of a minimizer.

    Limits: says nothing of rounding to nearest.
    """
    count, step = _run(num_steps, grid_step, constants)
    initial, noise = _root_rates(constants, count, rate_constant)
    return Bound(initial, noise, _sr_floor(constants, step))


def sr_nonconvex_bound(
    constants: ProblemConstants,
    *,
    grid_step: float,
    num_steps: int,
    learning_rate: float,
    initial_gap: float,
    largest_gradient: float = math.inf,
) -> Bound:
    r"""Bound of the mean squared gradient of stochastic rounding, smooth objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm`` and ``smoothness``.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    learning_rate : float
        Constant learning rate :math:`\alpha`, above zero.
    initial_gap : float
        Value at the start less the least value, not below zero.
    largest_gradient : float
        Bound of every entry of every gradient; if :math:`\alpha` times it is at most
        :math:`\Delta`, the term of the noise is not there.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E}\lVert \nabla F(w^t) \rVert^2`.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: thm-ch08-sr-nonconvex.

    .. math:: \frac{F(w^0) - F^*}{\alpha T} + \frac12 L \alpha G^2 + \frac12 L \sqrt d\,\Delta G

    Assumptions: F has an L-Lipschitz gradient, gradients are unbiased with
    :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, an endless grid.

    Limits: no learning rate makes the last term small.
    """
    count, step = _run(num_steps, grid_step, constants)
    alpha = check_positive("learning_rate", learning_rate)
    smoothness = constants.known("smoothness")
    is_single = alpha * _largest(largest_gradient) <= step
    noise = 0.0 if is_single else 0.5 * smoothness * alpha * constants.gradient_norm**2
    gap = check_nonnegative("initial_gap", initial_gap)
    return Bound(gap / (alpha * count), noise, smoothness * _sr_floor(constants, step))


def bc_convex_bound(
    constants: ProblemConstants, *, grid_step: float, num_steps: int, rate_constant: float
) -> Bound:
    r"""Bound of the mean excess of BinaryConnect's latent weights, convex smooth objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm``, ``diameter`` and ``smoothness``.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    rate_constant : float
        Constant c of the schedule :math:`\alpha_t = c/\sqrt{t + 1}`, above zero.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E} F(w_r^t) - F^*`, and so of
        :math:`\mathbb{E} F(\bar w_r) - F^*`.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: thm-ch08-bc-convex.

    .. math:: \frac{D^2}{2 c \sqrt T} + \frac{c\,G^2}{\sqrt T}
              + \min\Bigl(\frac18 L d \Delta^2,\ \frac12 \sqrt d\,\Delta L D\Bigr)

    Assumptions: F is convex with an L-Lipschitz gradient, gradients are taken at the rounded
    weights and unbiased there with :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, latent weights stay
    within the grid and within D of a minimizer. Rounding to nearest or stochastic.

    Accuracy: the constant of :math:`\Delta^2` cannot be improved for rounding to nearest.

    Limits: the deployed weights are the rounded ones, see :func:`deployed_floor`.
    """
    count, step = _run(num_steps, grid_step, constants)
    initial, noise = _root_rates(constants, count, rate_constant)
    smoothness, diameter = constants.known("smoothness"), constants.known("diameter")
    return Bound(initial, noise, smoothness * _shift(constants, step, diameter))


def bc_strongly_convex_bound(
    constants: ProblemConstants,
    *,
    grid_step: float,
    num_steps: int,
    forward: str,
    offset: float = 1.0,
) -> Bound:
    r"""Bound of the mean excess of BinaryConnect's latent weights, strongly convex objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm``, ``strong_convexity``, and ``smoothness`` or (for stochastic
        rounding) ``hessian_lipschitz``. A known ``diameter`` may give a smaller bound.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    forward : {"nearest", "stochastic"}
        How the weights are rounded before the gradient is taken.
    offset : float
        Offset :math:`t_0 \ge 1` of the schedule.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E} F(w_r^t) - F^*`, and so of
        :math:`\mathbb{E} F(\bar w_r) - F^*`.

    Raises
    ------
    ValueError
        If an argument is out of range, or the constants that are known give no bound.

    Notes
    -----
    Book: thm-ch08-bc-strong, thm-ch08-bc-nearest-square, thm-ch08-bc-fourth-order.

    The first two parts are those of :func:`sr_strongly_convex_bound`. The floor is

    .. math:: \frac18 d \Delta^2 \min(L_2 D,\ L - \mu)
              \quad\text{(stochastic)}, \qquad
              \frac12 \mu \sqrt d\,\Delta D
              + (L - \mu) \min\Bigl(\frac18 d \Delta^2, \frac12 \sqrt d\,\Delta D\Bigr)
              \quad\text{(nearest)} .

    For rounding to nearest the first two parts times :math:`1 + \sqrt{\mu/L}` with the floor
    :math:`\frac18 d \Delta^2 (\sqrt L + \sqrt\mu)^2` are a bound as well, and for stochastic
    rounding twice the first two parts with the floor :math:`L_2^2 d^2 \Delta^4/(32\mu)`. The
    smaller sum is returned.

    Assumptions: F is :math:`\mu`-strongly convex with an L-Lipschitz gradient or an
    :math:`L_2`-Lipschitz Hessian, gradients are taken at the rounded weights and unbiased there
    with :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, :math:`\alpha_t = 1/(\mu(t + t_0))`, latent
    weights stay within the grid.

    Limits: a quadratic has no floor with stochastic rounding, and has one with rounding to nearest.
    """
    check_choice("forward", forward, ("nearest", "stochastic"))
    # What the start and the variance leave is the same for both methods.
    rest = sr_strongly_convex_bound(
        constants, grid_step=grid_step, num_steps=num_steps, offset=offset
    )
    find = _nearest_bounds if forward == "nearest" else _stochastic_bounds
    return min(find(constants, rest, float(grid_step)), key=lambda bound: bound.value)


def bc_nonconvex_bound(
    constants: ProblemConstants,
    *,
    grid_step: float,
    num_steps: int,
    learning_rate: float,
    initial_gap: float,
) -> Bound:
    r"""Bound of the mean squared gradients of BinaryConnect, smooth objective.

    Parameters
    ----------
    constants : ProblemConstants
        Needs ``gradient_norm`` and ``smoothness``.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    learning_rate : float
        Constant learning rate :math:`\alpha`, above zero.
    initial_gap : float
        Value at the start less the least value, not below zero.

    Returns
    -------
    Bound
        Bound of :math:`\frac1T \sum_{t<T} \mathbb{E} \bigl[\lVert \nabla F(w_r^t) \rVert^2
        + \lVert \nabla F(Q(w_r^t)) \rVert^2\bigr]`: of latent and of deployed weights together.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: thm-ch08-bc-nonconvex.

    .. math:: \frac{2 (F(w^0) - F^*)}{\alpha T} + L \alpha G^2 + \frac14 L^2 d \Delta^2

    Assumptions: F has an L-Lipschitz gradient, gradients are taken at the rounded weights and
    unbiased there with :math:`\mathbb{E}\lVert g \rVert^2 \le G^2`, latent weights stay within the
    grid. Rounding to nearest or stochastic.
    """
    count, step = _run(num_steps, grid_step, constants)
    alpha = check_positive("learning_rate", learning_rate)
    gap = check_nonnegative("initial_gap", initial_gap)
    smoothness = constants.known("smoothness")
    noise = smoothness * alpha * constants.gradient_norm**2
    floor = 0.25 * smoothness**2 * constants.dimension * step**2
    return Bound(2 * gap / (alpha * count), noise, floor)


def printed_bound(
    theorem: str,
    constants: ProblemConstants,
    *,
    grid_step: float,
    num_steps: int,
    rate_constant: float = math.inf,
) -> Bound:
    r"""Bound as it is remembered of the paper, for comparison with the one that is proved.

    Parameters
    ----------
    theorem : {"sr strongly convex", "sr convex", "bc convex", "bc strongly convex"}
        Which theorem.
    constants : ProblemConstants
        Constants of the objective.
    grid_step : float
        Step :math:`\Delta` of the grid, not below zero.
    num_steps : int
        Number T of steps, at least 1.
    rate_constant : float
        Constant c of the schedule :math:`c/\sqrt t`, for the convex theorems.

    Returns
    -------
    Bound
        The recalled form.

    Raises
    ------
    ValueError
        If an argument is out of range, or a constant is not known.

    Notes
    -----
    Book: ch08-printed.

    Not verified against the text of [Li2017]_: cf. its Theorems 1 to 4. The form for BinaryConnect
    and strong convexity fails in two ways; of the convex forms the proof fails, as the mean excess
    can be larger. See ``qtheory.training.counterexamples``.
    """
    check_choice("theorem", theorem, PRINTED)
    count, step = _run(num_steps, grid_step, constants)
    root, norm = math.sqrt(constants.dimension), constants.gradient_norm
    if theorem.endswith("strongly convex"):
        initial = 0.0
        mu = constants.known("strong_convexity")
        noise = (1 + math.log(count + 1)) * norm**2 / (2 * mu * count)
    else:
        factor = check_positive("rate_constant", rate_constant)
        share = 1.0 if theorem == "sr convex" else 0.5
        initial = share * constants.known("diameter") ** 2 / (factor * math.sqrt(count))
        noise = math.sqrt(count + 1) / (2 * count) * factor * norm**2
    if theorem.startswith("sr"):
        return Bound(initial, noise, _sr_floor(constants, step))
    if theorem == "bc convex":
        lipschitz = constants.known("smoothness")
        return Bound(initial, noise, root * step * lipschitz * constants.known("diameter"))
    twist = constants.known("hessian_lipschitz")
    if twist > 0:
        twist *= constants.known("diameter")
    return Bound(initial, noise, 0.5 * root * step * twist)


def _run(num_steps: int, grid_step: float, constants: ProblemConstants) -> tuple[int, float]:
    """Return the checked number of steps and step of the grid."""
    check_instance("constants", constants, ProblemConstants)
    count = check_integer("num_steps", num_steps, minimum=1)
    return count, check_nonnegative("grid_step", grid_step)


def _sr_floor(constants: ProblemConstants, step: float) -> float:
    """Return half of sqrt(d) Delta G."""
    return 0.5 * math.sqrt(constants.dimension) * step * constants.gradient_norm


def _log_noise(constants: ProblemConstants, count: int, start: float) -> float:
    """Return G^2 / (2 T) times the sum of learning rates 1 / (mu (t + t_0)), bounded."""
    total = 1 / start + math.log((count + start - 1) / start)
    return total * constants.gradient_norm**2 / (2 * constants.strong_convexity * count)


def _root_rates(
    constants: ProblemConstants, count: int, rate_constant: float
) -> tuple[float, float]:
    """Return the first two parts for learning rates c / sqrt(t + 1)."""
    factor, root = check_positive("rate_constant", rate_constant), math.sqrt(count)
    initial = constants.known("diameter") ** 2 / (2 * factor * root)
    return initial, factor * constants.gradient_norm**2 / root


def _shift(constants: ProblemConstants, step: float, diameter: float) -> float:
    """Return the smaller bound of what a shift of the gradient's place costs, per unit of L."""
    root = math.sqrt(constants.dimension) * step
    return min(0.125 * root**2, 0.5 * root * diameter)


def _nearest_bounds(constants: ProblemConstants, rest: Bound, step: float) -> list[Bound]:
    """Return the bounds of rounding to nearest: of second order, and by the diameter if known."""
    smoothness, mu = constants.known("smoothness"), constants.strong_convexity
    factor = 1 + math.sqrt(mu / smoothness)
    square = 0.125 * constants.dimension * step**2 * smoothness * factor**2
    bounds = [Bound(factor * rest.initial, factor * rest.noise, square)]
    if math.isfinite(constants.diameter):
        linear = 0.5 * math.sqrt(constants.dimension) * step * constants.diameter
        shift = (smoothness - mu) * _shift(constants, step, constants.diameter)
        bounds.append(Bound(rest.initial, rest.noise, mu * linear + shift))
    return bounds


def _stochastic_bounds(constants: ProblemConstants, rest: Bound, step: float) -> list[Bound]:
    """Return the bounds of stochastic rounding: of second order, and of fourth order."""
    bounds, scale = [], 0.125 * constants.dimension * step**2
    slope = min(_twist(constants), constants.smoothness - constants.strong_convexity)
    if math.isfinite(slope):
        bounds.append(Bound(rest.initial, rest.noise, scale * slope))
    if math.isfinite(constants.hessian_lipschitz):
        bias = scale * constants.hessian_lipschitz
        fourth = 2 * bias**2 / constants.strong_convexity
        bounds.append(Bound(2 * rest.initial, 2 * rest.noise, fourth))
    if not bounds:
        raise fail("smoothness", "known for this bound", constants.smoothness)
    return bounds


def _twist(constants: ProblemConstants) -> float:
    """Return L_2 D, zero if either is zero, else infinite where one is not known."""
    if constants.hessian_lipschitz == 0 or constants.diameter == 0:
        return 0.0
    return constants.hessian_lipschitz * constants.diameter


def _largest(value: float) -> float:
    """Return a bound of the gradient's entries, which may be infinite."""
    return value if value == math.inf else check_nonnegative("largest_gradient", value)
