"""Design of scalar quantizers: which levels and thresholds lose least."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from qtheory._checks import check_integer, check_positive, fail
from qtheory.errors import ConvergenceError
from qtheory.quantizers.cells import cell_moments
from qtheory.quantizers.distortion import cell_edges, distortion
from qtheory.quantizers.rates import entropy_bits
from qtheory.quantizers.scalar import ScalarQuantizer, UniformQuantizer
from qtheory.quantizers.sources import Source

__all__ = [
    "DesignResult",
    "EntropyConstrainedResult",
    "centroid_residual",
    "design_companded",
    "design_entropy_constrained",
    "design_lloyd_max",
    "design_uniform",
    "optimal_clip",
    "panter_dite_distortion",
]

FloatArray = NDArray[np.float64]

MAX_DESIGN_LEVELS = 2**16

BODY = 8.0
"""Standard deviations within which an entropy-constrained design starts from equal steps."""


@dataclass(frozen=True, eq=False)
class DesignResult:
    """A designed quantizer with the evidence that it is one.

    Parameters
    ----------
    quantizer : ScalarQuantizer
        The quantizer found.
    distortion : float
        Its mean squared error, in squared units of the source.
    converged : bool
        Whether ``residual`` met the tolerance.
    num_iter : int
        Iterations used.
    residual : float
        Largest distance of a level from the centroid of its cell, divided by the standard
        deviation plus the distance of the level from the mean.
    is_global : bool
        Whether a stationary point is known to be the global optimum: true for log-concave sources.
        For a heavy-tailed source it is the symmetric stationary point, and an asymmetric quantizer
        may lose less.
    """

    quantizer: ScalarQuantizer
    distortion: float
    converged: bool
    num_iter: int
    residual: float
    is_global: bool


@dataclass(frozen=True, eq=False)
class EntropyConstrainedResult:
    """An entropy-constrained quantizer.

    Parameters
    ----------
    quantizer : ScalarQuantizer
        The quantizer found.
    distortion : float
        Its mean squared error, in squared units of the source.
    rate_bits : float
        Entropy of its levels, in bits per sample.
    converged : bool
        Whether ``residual`` met the tolerance.
    num_iter : int
        Iterations used.
    residual : float
        Largest move of a threshold in the last iteration, divided by the standard deviation plus
        the distance of the threshold from the mean.
    """

    quantizer: ScalarQuantizer
    distortion: float
    rate_bits: float
    converged: bool
    num_iter: int
    residual: float


def design_uniform(
    num_levels: int, source: Source, *, midtread: bool | None = None
) -> UniformQuantizer:
    r"""Uniform quantizer of least mean squared error, by its step size.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`K`, from 2 to 65536.
    source : Source
        Law of the input. The levels are centered at its mean.
    midtread : bool, optional
        Whether the mean is a level. By default it is for an odd number of levels and not for an
        even one, which keeps the quantizer symmetric. With an even number and ``True`` there is one
        more level below the mean than above.

    Returns
    -------
    UniformQuantizer
        The best quantizer of that shape.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range, or ``midtread`` is false for an odd number.
    ConvergenceError
        If no best step is found below ``1e12 / num_levels`` standard deviations.

    Notes
    -----
    Book: ch01-optimal-step.

    The thresholds are midpoints, so moving them changes nothing to first order, and the derivative
    of the distortion with respect to the step vanishes where, with :math:`c_i` the level in steps
    from the mean, :math:`\sum_i c_i \int_{cell_i} (x - \mu - c_i \Delta) f(x) \, dx = 0`. All zeros
    of this function between steps of a logarithmic grid are found by Brent's method, and the one of
    least distortion is returned.

    Accuracy: step size within 1e-12 relative for a Gaussian and up to 1024 levels, tested against
    40-digit arithmetic.

    Limits: for a Gaussian the clipping range grows as ``2 * sqrt(log(num_levels))`` standard
    deviations, so the distortion falls more slowly than ``1 / num_levels**2``.

    References
    ----------
    [Max1960]_, Table II; [HuiNeuhoff2001]_

    Examples
    --------
    >>> from qtheory.quantizers import Gaussian, design_uniform
    >>> round(design_uniform(4, Gaussian()).step_size, 4)
    0.9957
    """
    count = check_integer("num_levels", num_levels, minimum=2, maximum=MAX_DESIGN_LEVELS)
    standard = replace(source, mean=0.0, std=1.0)
    make = _uniform_family(count, count % 2 == 1 if midtread is None else midtread)

    def slope(step_size: float) -> float:
        """Half the negative derivative of the distortion."""
        return _step_slope(make(step_size), standard)

    grid = _bracketing_grid(slope, count)
    values = np.array([slope(step) for step in grid])
    crossings = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    # Loading this solver takes as long as the rest of the package, and few callers need it.
    from scipy import optimize

    steps = [
        optimize.brentq(slope, grid[i], grid[i + 1], xtol=1e-300, rtol=1e-15) for i in crossings
    ]
    if not steps:
        raise ConvergenceError("No best step found.", last_iterate=grid[-1], residual=values[-1])
    best = min((make(step) for step in steps), key=lambda q: distortion(q, standard))
    return replace(
        best,
        step_size=source.std * best.step_size,
        offset=source.mean + source.std * best.offset,
    )


def optimal_clip(bit_width: int, source: Source) -> float:
    """Clipping limit of least mean squared error for a given bit width.

    Parameters
    ----------
    bit_width : int
        Bits per code, from 1 to 16; all ``2**bit_width`` levels of a mid-rise quantizer are used.
    source : Source
        Law of the input, of any mean; the limit is counted from the mean.

    Returns
    -------
    float
        Largest level minus the mean, the ``clip_max`` of
        :func:`qtheory.quantizers.uniform_midrise`.

    Raises
    ------
    ValueError
        If ``bit_width`` is out of range.

    Notes
    -----
    Book: ch01-optimal-step.
    """
    bits = check_integer("bit_width", bit_width, minimum=1, maximum=16)
    quantizer = design_uniform(1 << bits, source)
    return 0.5 * ((1 << bits) - 1) * quantizer.step_size


def design_lloyd_max(
    num_levels: int, source: Source, *, tol: float = 1e-13, max_iter: int = 200
) -> DesignResult:
    r"""Quantizer of least mean squared error, by Newton's method on Lloyd's conditions.

    The two conditions are: each threshold is the midpoint of its levels, each level is the centroid
    of its cell. A solution is a stationary point of the distortion; for a log-concave source it is
    unique and the global optimum.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`K`, from 1 to 65536.
    source : Source
        Law of the input.
    tol : float
        Largest distance of a level from its centroid, divided by the standard deviation plus the
        distance of the level from the mean.
    max_iter : int
        Limit of iterations.

    Returns
    -------
    DesignResult
        Quantizer, distortion and certificate.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the tails are so heavy that the compander to start
        from is not finite. Missing convergence is told in the result.

    Notes
    -----
    Book: ch01-lloyd-max.

    Algorithm, for the levels right of the mean, the others being their mirror image: 1. start
    from the best compander at high resolution; 2. residual = levels minus centroids; 3. its
    Jacobian is tridiagonal, since a centroid depends on two thresholds; solve for the Newton step;
    4. halve the step until the levels stay in order and the residual falls.

    Cost: time and memory O(num_levels) per iteration.

    Invariants: levels stay sorted; the residual never increases.

    Accuracy: for a Gaussian levels within 1e-12 standard deviations for up to 1024 levels, tested
    against 40-digit arithmetic; for other sources the residual is the evidence.

    References
    ----------
    [Lloyd1982]_, [Max1960]_, [Fleischer1964]_, [Trushkin1982]_

    Examples
    --------
    >>> from qtheory.quantizers import Gaussian, design_lloyd_max
    >>> result = design_lloyd_max(4, Gaussian())
    >>> result.quantizer.levels.round(4)
    array([-1.5104, -0.4528,  0.4528,  1.5104])
    """
    count = check_integer("num_levels", num_levels, minimum=1, maximum=MAX_DESIGN_LEVELS)
    limit = check_positive("tol", tol)
    half = _HalfLine(replace(source, mean=0.0, std=1.0), has_center=count % 2 == 1)
    right = design_companded(count, half.source).levels[(count + 1) // 2 :]
    residual = half.residual(right)
    num_iter, last = 0, check_integer("max_iter", max_iter, minimum=1)
    improved = True
    while improved and num_iter < last:
        num_iter += 1
        # Near the end only full steps are tried: they stop when rounding errors are reached.
        tries = 30 if half.size(right, residual) > limit else 1
        right, residual, improved = half.newton(right, residual, tries)
    center = np.zeros(count % 2)
    levels = source.mean + source.std * np.concatenate([-right[::-1], center, right])
    quantizer = ScalarQuantizer(levels)
    return DesignResult(
        quantizer=quantizer,
        distortion=distortion(quantizer, source),
        converged=half.size(right, residual) <= limit,
        num_iter=num_iter,
        residual=half.size(right, residual),
        is_global=source.is_log_concave,
    )


def centroid_residual(quantizer: ScalarQuantizer, source: Source) -> FloatArray:
    """Distance of each level from the centroid of its cell.

    Parameters
    ----------
    quantizer : ScalarQuantizer
        Quantizer of any thresholds.
    source : Source
        Law of the input.

    Returns
    -------
    numpy.ndarray
        Level minus centroid, shape ``(num_levels,)``, in the units of the source; zero for an
        optimal decoder.

    Notes
    -----
    Book: ch01-lloyd-max.
    """
    mass, first, _ = cell_moments(source, *cell_edges(quantizer), quantizer.levels)
    return -first / mass


def design_companded(num_levels: int, source: Source) -> ScalarQuantizer:
    """Quantizer whose level density follows the cube root of the source density.

    Parameters
    ----------
    num_levels : int
        Number of levels, from 1 to 65536.
    source : Source
        Law of the input.

    Returns
    -------
    ScalarQuantizer
        A uniform quantizer between the best compressor and its inverse, with levels at odd and
        thresholds at even multiples of half a step.

    Raises
    ------
    ValueError
        If ``num_levels`` is out of range.

    Notes
    -----
    Book: ch01-companding.

    Limits: its distortion tends to :func:`panter_dite_distortion`, the least possible, as the
    number of levels grows.

    References
    ----------
    [Bennett1948]_, [PanterDite1951]_
    """
    count = check_integer("num_levels", num_levels, minimum=1, maximum=MAX_DESIGN_LEVELS)
    odd = (2 * np.arange(count) + 1) / (2 * count)
    even = np.arange(1, count) / count
    return ScalarQuantizer(source.companding_quantile(odd), source.companding_quantile(even))


def panter_dite_distortion(num_levels: int, source: Source) -> float:
    r"""Least distortion of a scalar quantizer at high resolution.

    Parameters
    ----------
    num_levels : int
        Number of levels :math:`K`, at least one.
    source : Source
        Law of the input.

    Returns
    -------
    float
        :math:`\frac{1}{12 K^2} \bigl(\int f^{1/3}\bigr)^3`, in squared units of the source. An
        asymptotic value, not a bound.

    Raises
    ------
    ValueError
        If ``num_levels`` is below one.

    Notes
    -----
    Book: ch01-panter-dite.

    Limits: ``sqrt(3) pi / 2 * var / num_levels**2`` for a Gaussian, exact for a uniform source.

    References
    ----------
    [PanterDite1951]_
    """
    count = check_integer("num_levels", num_levels, minimum=1)
    return source.cube_root_norm / (12.0 * count**2)


def design_entropy_constrained(
    source: Source, *, lagrange: float, tol: float = 1e-10, max_iter: int = 2000
) -> EntropyConstrainedResult:
    r"""Quantizer of least distortion plus a price per bit of entropy.

    Parameters
    ----------
    source : Source
        Law of the input.
    lagrange : float
        Price :math:`\lambda` of one bit, above zero, in squared units of the source. At high rate
        the best step is ``sqrt(6 * lagrange / log(2))``.
    tol : float
        Largest move of a threshold in the last iteration, divided by the standard deviation plus
        the distance of the threshold from the mean.
    max_iter : int
        Limit of iterations.

    Returns
    -------
    EntropyConstrainedResult
        A stationary point of :math:`D + \lambda H`, symmetric about the mean: the better of one
        with a level and one with a threshold there. For a price so high that one level is best,
        the quantizer has that level, rate zero and the variance as distortion.

    Raises
    ------
    ValueError
        If an argument is not above zero, or the price so low that more than 65536 levels would be
        needed.

    Notes
    -----
    Book: ch01-entropy-constrained.

    Limits: a light tail takes a few Newton steps; a heavy tail at a low price may take thousands of
    alternations and some ten seconds, or stop at ``max_iter``, which the result tells.

    Algorithm: Newton steps on the thresholds where they lower the largest violation, and steps of
    the alternation of Chou, Lookabaugh and Gray elsewhere: 1. code lengths
    :math:`\ell_i = -\log_2 p_i`; 2. thresholds where both
    neighbors cost the same, :math:`t_i = \frac{y_i + y_{i+1}}{2} + \lambda
    \frac{\ell_{i+1} - \ell_i}{2 (y_{i+1} - y_i)}`; levels whose cell is empty are dropped;
    3. levels at the centroids.

    References
    ----------
    [ChouLookabaughGray1989]_
    """
    limit = check_positive("tol", tol)
    price = check_positive("lagrange", lagrange) / source.var
    problem = _EntropyProblem(replace(source, mean=0.0, std=1.0), price, limit)
    last = check_integer("max_iter", max_iter, minimum=1)
    # A level or a threshold at the mean: two families of which neither is always better.
    runs = [problem.solve(problem.start(offset), last) for offset in (0.5, 0.0)]
    thresholds, moved, num_iter = min(runs, key=lambda run: problem.objective(run[0]))
    if problem.objective(thresholds) > 1.0:  # what a single level at the mean costs
        thresholds = np.empty(0)
    levels = source.mean + source.std * problem.centroids(thresholds)[0]
    quantizer = ScalarQuantizer(levels, source.mean + source.std * thresholds)
    return EntropyConstrainedResult(
        quantizer=quantizer,
        distortion=distortion(quantizer, source),
        rate_bits=entropy_bits(quantizer, source),
        converged=moved <= limit,
        num_iter=num_iter,
        residual=moved,
    )


def _uniform_family(count: int, midtread: bool) -> Callable[[float], UniformQuantizer]:
    """Uniform quantizers of a given shape about zero, as a function of the step."""
    if count % 2 and not midtread:
        raise ValueError(f"`midtread` must be true for an odd number of levels, got {midtread!r}.")
    code_min = -(count // 2)
    shift = 0.0 if midtread else 0.5

    def make(step_size: float) -> UniformQuantizer:
        """One member of the family."""
        code_max = code_min + count - 1
        return UniformQuantizer(
            step_size, offset=shift * step_size, code_min=code_min, code_max=code_max
        )

    return make


def _bracketing_grid(slope: Callable[[float], float], count: int) -> FloatArray:
    """Return steps from one that is too small to one that is too large."""
    low, high = 2.0 / count, 8.0 / count
    while slope(low) <= 0 and low > 1e-6 / count:
        low /= 4
    while slope(high) > 0 and high < 1e12 / count:
        high *= 4
    return np.geomspace(low, high, 16 + 8 * math.ceil(math.log2(high / low)))


def _step_slope(quantizer: UniformQuantizer, source: Source) -> float:
    """Sum of level (in steps) times first moment about it, for a standardized source."""
    levels = quantizer.levels
    first = cell_moments(source, *cell_edges(quantizer), levels)[1]
    return float((levels / quantizer.step_size) @ first)


@dataclass(frozen=True)
class _HalfLine:
    """Lloyd's conditions for the levels right of zero, for a standardized source.

    The other half mirrors them. This halves the work, and it removes the shift of all levels
    together, along which the conditions of an even number of levels are degenerate for a Laplace
    source: its density is an exponential, which looks the same after every shift.
    """

    source: Source
    has_center: bool

    def edges(self, levels: FloatArray) -> FloatArray:
        """Return the ends of the cells: the center or its mirror, midpoints, infinity."""
        first = 0.5 * levels[:1] if self.has_center else np.zeros(min(1, levels.size))
        return np.concatenate([first, 0.5 * (levels[:-1] + levels[1:]), [np.inf]])

    def moments(self, levels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mass of each cell and first moment about its level."""
        edges = self.edges(levels)
        mass, first, _ = cell_moments(self.source, edges[:-1], edges[1:], levels)
        return mass, first

    def residual(self, levels: FloatArray) -> FloatArray:
        """Levels minus centroids."""
        mass, first = self.moments(levels)
        return -first / mass

    def size(self, levels: FloatArray, residual: FloatArray) -> float:
        """Largest residual, in standard deviations, or relative where levels are far out."""
        return float(np.max(np.abs(residual) / (1.0 + np.abs(levels)), initial=0.0))

    def newton(
        self, levels: FloatArray, residual: FloatArray, tries: int
    ) -> tuple[FloatArray, FloatArray, bool]:
        """One Newton step, halved until levels are in order and the residual falls."""
        step = self._step(levels, residual) if levels.size else levels
        for _ in range(tries):
            trial = levels - step
            if levels.size and trial[0] > 0 and (np.diff(trial) > 0).all():
                trial_residual = self.residual(trial)
                if self.size(trial, trial_residual) < self.size(levels, residual):
                    return trial, trial_residual, True
            step = 0.5 * step
        return levels, residual, False

    def _step(self, levels: FloatArray, residual: FloatArray) -> FloatArray:
        """Solve the tridiagonal system of the derivative of the residual."""
        edges, centroids = self.edges(levels)[:-1], levels - residual
        mass, _ = self.moments(levels)
        density = self.source.standard_pdf(edges)
        # A midpoint moves by half of what either neighboring level moves.
        from_left = 0.5 * density * (centroids - edges) / mass
        from_right = 0.5 * density[1:] * (edges[1:] - centroids[:-1]) / mass[:-1]
        bands = np.zeros((3, levels.size))
        bands[0, 1:] = -from_right
        bands[1] = 1.0
        bands[1, :-1] -= from_right
        bands[1, 1:] -= from_left[1:]
        bands[1, 0] -= from_left[0] if self.has_center else 0.0
        bands[2, :-1] = -from_left[1:]
        return np.asarray(linalg.solve_banded((1, 1), bands, residual))


@dataclass(frozen=True)
class _EntropyProblem:
    """Conditions of an entropy-constrained quantizer, for a standardized source."""

    source: Source
    price: float
    limit: float

    def start(self, offset: float) -> FloatArray:
        """Thresholds of the best uniform grid at high rate, over the range that has probability.

        The first threshold right of the mean is ``offset`` steps away; for zero it is at the mean.
        """
        step = math.sqrt(6 * self.price / math.log(2))
        reach = float(self.source.quantile(1 - 1e-9))
        num_steps = math.ceil(max(min(reach, BODY) / step, 1.0))
        if num_steps > MAX_DESIGN_LEVELS // 2:
            raise fail("lagrange", f"large enough for {MAX_DESIGN_LEVELS} levels", self.price)
        right = step * (np.arange(num_steps) + offset + (offset == 0.0))
        # In a heavy tail the best cells grow with the distance; equal ones would be far off.
        ratio = 1.0 + max(step / BODY, 0.2)
        count = math.ceil(max(math.log(reach / right[-1]) / math.log(ratio), 0.0))
        right = np.concatenate([right, right[-1] * ratio ** np.arange(1, count + 1)])
        right = right[right < self.source.support_std * (1 - 1e-9)]  # no cell without probability
        center = np.zeros(1 if offset == 0.0 else 0)
        return np.concatenate([-right[::-1], center, right])

    def solve(self, thresholds: FloatArray, last: int) -> tuple[FloatArray, float, int]:
        """Iterate from a start; return thresholds, size of the last move, iterations."""
        moved, num_iter = math.inf, 0
        while moved > self.limit and num_iter < last:
            num_iter += 1
            new = self.newton(thresholds)
            if new is None:
                new = self.alternate(thresholds)
            # A shift of all thresholds changes the cost so little that rounding errors would drift.
            new = 0.5 * (new - new[::-1])
            moved = self.move(thresholds, new)
            thresholds = new
        return thresholds, moved, num_iter

    def move(self, old: FloatArray, new: FloatArray) -> float:
        """Largest move of a threshold, relative to one plus its size; infinite if one vanished."""
        if old.size != new.size:
            return math.inf
        return float(np.max(np.abs(new - old) / (1.0 + np.abs(old)), initial=0.0))

    def centroids(self, thresholds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Centroid and probability of each cell."""
        inner = 0.5 * (thresholds[:-1] + thresholds[1:])
        ends = thresholds if thresholds.size else np.zeros(1)
        reference = np.concatenate([ends[:1], inner, ends[-1:]])[: thresholds.size + 1]
        edges = np.concatenate([[-np.inf], thresholds, [np.inf]])
        mass, first, _ = cell_moments(self.source, edges[:-1], edges[1:], reference)
        shift = np.divide(first, mass, out=np.zeros_like(first), where=mass > 0)
        return reference + shift, mass

    def objective(self, thresholds: FloatArray) -> float:
        """Distortion plus price times entropy, with levels at the centroids."""
        quantizer = ScalarQuantizer(self.centroids(thresholds)[0], thresholds)
        rate = entropy_bits(quantizer, self.source)
        return distortion(quantizer, self.source) + self.price * rate

    def newton(self, thresholds: FloatArray) -> FloatArray | None:
        """One Newton step on equal costs at every threshold; None if it leads astray."""
        if thresholds.size == 0:
            return thresholds
        levels, mass = self.centroids(thresholds)
        gap = self._cost_gap(thresholds, levels, mass)
        bands = self._jacobian(thresholds, levels, mass)
        step = np.asarray(linalg.solve_banded((1, 1), bands, gap))
        size = np.abs(gap / np.diff(levels) ** 2).max()
        ceiling = self.objective(thresholds) * (1 + 1e-13)
        for fraction in (1.0, 0.5, 0.25, 0.1):
            trial = np.asarray(thresholds - fraction * step)
            if self._violation(trial) < size and self.objective(trial) <= ceiling:
                return trial
            if fraction == 1.0 and self.move(thresholds, trial) <= self.limit:
                return trial
        return None

    def alternate(self, thresholds: FloatArray) -> FloatArray:
        """One step of the alternation: levels, code lengths, thresholds; empty cells vanish."""
        levels, mass = self.centroids(thresholds)
        with np.errstate(divide="ignore"):  # a cell without probability has infinite length
            lengths = -np.log2(mass)
        levels, lengths = levels[mass > 0], lengths[mass > 0]
        while levels.size > 1:
            gaps = np.diff(levels)
            new = levels[:-1] + 0.5 * gaps + 0.5 * self.price * np.diff(lengths) / gaps
            edges = np.concatenate([[-np.inf], new, [np.inf]])
            kept = np.diff(edges) > 0
            kept &= self.source.cdf(edges[1:]) > 1e-14
            kept &= self.source.cdf(-edges[:-1]) > 1e-14
            if kept.all():
                return new
            levels, lengths = levels[kept], lengths[kept]
        return np.empty(0)

    def _violation(self, thresholds: FloatArray) -> float:
        """Largest cost gap in squared cell widths; infinite where the quantizer degenerates."""
        if not (np.isfinite(thresholds).all() and (np.diff(thresholds) > 0).all()):
            return math.inf
        levels, mass = self.centroids(thresholds)
        if not ((mass > 0).all() and (np.diff(levels) > 0).all()):
            return math.inf
        gap = self._cost_gap(thresholds, levels, mass) / np.diff(levels) ** 2
        return float(np.abs(gap).max())

    def _cost_gap(self, t: FloatArray, levels: FloatArray, mass: FloatArray) -> FloatArray:
        """Cost of the left minus cost of the right neighbor, at each threshold."""
        lengths = -np.log2(mass)
        squares = (levels[1:] - levels[:-1]) * (2 * t - levels[:-1] - levels[1:])
        return np.asarray(squares - self.price * np.diff(lengths))

    def _jacobian(self, t: FloatArray, levels: FloatArray, mass: FloatArray) -> FloatArray:
        """Differentiate the cost gaps; row i depends on thresholds i - 1, i and i + 1."""
        density, bit = self.source.pdf(t), self.price / math.log(2)
        to_left, to_right = t - levels[:-1], levels[1:] - t
        # Cell i ends at t_i: how its level and its length follow that end, and its other end.
        left_up = density * (-2 * to_left * to_left - bit) / mass[:-1]
        right_up = density * (-2 * to_right * to_right - bit) / mass[1:]
        bands = np.zeros((3, t.size))
        bands[1] = 2 * np.diff(levels) + left_up + right_up
        bands[0, 1:] = density[1:] * (bit - 2 * to_right[:-1] * to_left[1:]) / mass[1:-1]
        bands[2, :-1] = density[:-1] * (bit - 2 * to_left[1:] * to_right[:-1]) / mass[1:-1]
        return bands
