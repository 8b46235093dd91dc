"""Markov chains of stochastic rounding on a grid: their kernels, exact and in the limit."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_instance, check_positive, fail
from qtheory.training._moves import AxisMoves
from qtheory.training.noise import GradientNoise

__all__ = ["RoundingChain", "closed_classes", "limit_chain", "sr_chain"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Gradient = Callable[[FloatArray], ArrayLike] | ArrayLike

# Above this many states kernels are sparse, without moves rarer than this, relative to the most
# that moves at all.
MAX_DENSE_STATES = 2048
CUTOFF = 1e-30
# Largest number of moves, 16 bytes each.
MAX_MOVES = 30_000_000
# How far a row of a given kernel may be from one, and an axis from uniform.
ROW_TOLERANCE = 1e-9
AXIS_TOLERANCE = 1e-9
# Grid steps that noise makes on average, beyond which differences lose half of the digits.
MAX_NOISE_STEPS = 1e6
# What rounding does to learning rate times gradient.
STEP_SLACK = 1e-12


@dataclass(frozen=True, eq=False)
class RoundingChain:
    r"""A Markov chain on grid points: where it may go, and with what probability.

    Parameters
    ----------
    points : array_like of float
        States, shape ``(num_states,)`` or ``(num_states, d)``.
    kernel : array_like or scipy.sparse array
        Probabilities, shape ``(num_states, num_states)``: from the state of the row to that of the
        column, so rows sum to one, within 1e-9. The diagonal is computed again from the rest of
        its row. Kept as a CSR array if sparse.
    learning_rate : float or None
        Learning rate :math:`\alpha > 0` of stochastic rounding; None for the limit chain.
    time_step : float or None
        Time that one step of the kernel stands for, in units of steps times learning rate; the
        learning rate by default, or 1 where there is none.

    Raises
    ------
    ValueError
        If shapes do not fit, or the kernel has a negative entry, NaN, or a row that does not sum
        to one.

    Notes
    -----
    Book: ch09-kernel.
    """

    points: FloatArray
    kernel: Any
    learning_rate: float | None = None
    time_step: float | None = None

    def __post_init__(self) -> None:
        """Check the arguments, and take the diagonal from the rows."""
        points = np.array(as_float_array("points", self.points), dtype=np.float64)
        if points.ndim not in (1, 2) or points.size == 0 or not np.isfinite(points).all():
            raise fail("points", "finite, of shape (num_states,) or (num_states, d)", points.shape)
        points.flags.writeable = False
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "kernel", _checked_kernel(self.kernel, len(points)))
        if self.learning_rate is not None:
            rate = check_positive("learning_rate", self.learning_rate)
            object.__setattr__(self, "learning_rate", rate)
        step = self.time_step if self.time_step is not None else (self.learning_rate or 1.0)
        object.__setattr__(self, "time_step", check_positive("time_step", step))

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.points)

    @property
    def is_sparse(self) -> bool:
        """Whether the kernel is a sparse array."""
        return not isinstance(self.kernel, np.ndarray)

    @property
    def generator(self) -> Any:
        r"""Rates :math:`(P - I)/\tau` per unit of time: U itself for the limit chain."""
        rates = _without_diagonal(self.kernel) / self.time_step
        return _with_diagonal(rates, -_row_sums(rates))


def sr_chain(
    gradient: Gradient,
    axes: ArrayLike | tuple[ArrayLike, ...],
    *,
    learning_rate: float,
    noise: GradientNoise,
    single_steps: bool = False,
    sparse: bool | None = None,
) -> RoundingChain:
    r"""Markov chain of stochastic rounding, with the exact kernel.

    Parameters
    ----------
    gradient : callable or array_like
        Mean of the gradient at the states: a function from an array of states to an array of the
        same shape, or that array.
    axes : array_like or tuple of array_like
        One increasing uniform axis of at least two grid points, for states of shape
        ``(num_states,)``; or a tuple of one axis per coordinate, for states of shape
        ``(num_states, d)`` in row-major order.
    learning_rate : float
        Learning rate :math:`\alpha > 0`.
    noise : GradientNoise
        Law of the noise added to each coordinate of the gradient, independent between them.
    single_steps : bool
        Refuse a learning rate at which some move is longer than one grid step.
    sparse : bool or None
        Whether to keep a sparse kernel; by default above 2048 states. Moves to others than
        neighbors that are less likely than 1e-30 of all moves of the state that moves most are then
        left out.

    Returns
    -------
    RoundingChain
        The chain :math:`w \to Q_s(w - \alpha g(w))`.

    Raises
    ------
    ValueError
        If an axis is not uniform, the gradient has the wrong shape or is not finite, the mean step
        at some state is longer than the whole axis, noise makes more than a million grid steps,
        a sparse kernel has more than 30 million moves, or ``single_steps`` is asked for and noise
        has no bound or :math:`\alpha (|m| + \sup|\xi|)` exceeds the grid step.

    See Also
    --------
    limit_chain : The chain for learning rates that tend to zero.

    Notes
    -----
    Book: ch09-kernel, ch09-second-difference.

    With the mean m of the gradient, the grid step :math:`\Delta` and :math:`h = \Delta/\alpha`,

    .. math:: P(x \to x + j\Delta) = \frac{H(t_{j-1}) - 2H(t_j) + H(t_{j+1})}{h}, \qquad
              t_c = -m - ch, \quad H(t) = \mathbb{E}(t - \xi)_+ .

    Given the state the coordinates move independently. Steps beyond an end of an axis stop at the
    end, as rounding to a finite grid does.

    Accuracy: moves to 4e-13 :math:`(1 + (\alpha\,\mathrm{std}/\Delta)^2)` of their own size for
    Gaussian noise, in both tails; to 2e-11 for Student's up to 100 degrees of freedom. The diagonal
    is one minus the rest. Noise of many grid steps costs digits in proportion, and more than a
    million are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from qtheory.training import RademacherNoise, sr_chain
    >>> chain = sr_chain(lambda w: w, [-1.0, 0.0, 1.0], learning_rate=0.1, noise=RademacherNoise())
    >>> print(chain.kernel)
    [[0.9  0.1  0.  ]
     [0.05 0.9  0.05]
     [0.   0.1  0.9 ]]
    """
    rate = check_positive("learning_rate", learning_rate)
    grid, points, means = _checked_problem(gradient, axes, noise)
    widths = [float(axis[-1] - axis[0]) for axis in grid]
    steps = [width / (len(axis) - 1) for axis, width in zip(grid, widths, strict=True)]
    for mean, width, step in zip(means, widths, steps, strict=True):
        _check_rate(rate, float(np.abs(mean).max()), width, step, noise)
        if single_steps:
            _check_single(rate, float(np.abs(mean).max()), step, noise)
    shape = tuple(len(axis) for axis in grid)
    is_sparse = math.prod(shape) > MAX_DENSE_STATES if sparse is None else sparse
    pace = max(
        rate / step * float(noise.mean_abs(mean).max())
        for mean, step in zip(means, steps, strict=True)
    )
    cutoff = CUTOFF * min(pace, 1.0) if is_sparse else 0.0
    indices = np.unravel_index(np.arange(math.prod(shape)), shape)
    makers = [AxisMoves(mean, step / rate, noise) for mean, step in zip(means, steps, strict=True)]
    if is_sparse:
        _check_size(makers, indices, shape, cutoff)
    laws = [
        maker.moves(index, size, cutoff)
        for maker, index, size in zip(makers, indices, shape, strict=True)
    ]
    return RoundingChain(points, _product_kernel(laws, shape, cutoff, is_sparse), rate)


def limit_chain(
    gradient: Gradient,
    axes: ArrayLike | tuple[ArrayLike, ...],
    *,
    noise: GradientNoise,
    sparse: bool | None = None,
) -> RoundingChain:
    r"""Chain of stochastic rounding in the limit of small learning rates.

    Parameters
    ----------
    gradient : callable or array_like
        Mean of the gradient at the states, as for `sr_chain`.
    axes : array_like or tuple of array_like
        One axis or a tuple of axes, as for `sr_chain`.
    noise : GradientNoise
        Law of the noise added to each coordinate of the gradient.
    sparse : bool or None
        Whether to keep a sparse kernel; by default above 2048 states.

    Returns
    -------
    RoundingChain
        Kernel :math:`\tilde P = I + \alpha_0 U` with ``time_step`` :math:`\alpha_0`, the largest
        at which no entry is negative, and ``generator`` U.

    Raises
    ------
    ValueError
        If an axis is not uniform, the gradient has the wrong shape or is not finite, or no state
        is ever left.

    See Also
    --------
    sr_chain : The chain at a given learning rate.

    Notes
    -----
    Book: ch09-limit-generator, thm-ch09-limit.

    .. math:: U(x, x + \Delta e_k) = \mathbb{E}(g_k)_-/\Delta, \qquad
              U(x, x - \Delta e_k) = \mathbb{E}(g_k)_+/\Delta, \qquad
              \alpha_0 = 1/\max_x \textstyle\sum_{y \ne x} U(x, y),

    without the moves that would leave the grid. With one coordinate and
    :math:`\alpha\sup|g| \le \Delta` the kernel of `sr_chain` is :math:`I + \alpha U` exactly.

    Accuracy: that of the partial expectations of the noise.

    Examples
    --------
    >>> from qtheory.training import RademacherNoise, limit_chain
    >>> chain = limit_chain(lambda w: w, [-1.0, 0.0, 1.0], noise=RademacherNoise())
    >>> print(chain.generator)
    [[-1.   1.   0. ]
     [ 0.5 -1.   0.5]
     [ 0.   1.  -1. ]]
    >>> chain.time_step
    1.0
    """
    grid, points, means = _checked_problem(gradient, axes, noise)
    shape = tuple(len(axis) for axis in grid)
    count = math.prod(shape)
    indices = np.unravel_index(np.arange(count), shape)
    entries = []
    for k, (axis, mean, index) in enumerate(zip(grid, means, indices, strict=True)):
        step = (axis[-1] - axis[0]) / (len(axis) - 1)
        stride = math.prod(shape[k + 1 :])
        up = np.where(index < shape[k] - 1, noise.negative_part(mean) / step, 0.0)
        down = np.where(index > 0, noise.positive_part(mean) / step, 0.0)
        entries += [(stride, up), (-stride, down)]
    largest = float(np.sum([rates for _, rates in entries], axis=0).max())
    if not (math.isfinite(largest) and largest > 0):
        raise fail("gradient", "such that some state is left at a finite rate", largest)
    is_sparse = count > MAX_DENSE_STATES if sparse is None else sparse
    kernel = _assemble([(offset, rates / largest) for offset, rates in entries], count, is_sparse)
    return RoundingChain(points, kernel, None, 1 / largest)


def closed_classes(chain: RoundingChain) -> tuple[IntArray, ...]:
    """Find the sets of states that communicate with each other and are never left.

    Parameters
    ----------
    chain : RoundingChain
        The chain.

    Returns
    -------
    tuple of numpy.ndarray
        Indices of the states of each closed class, increasing; at least one class. The chain is
        irreducible if one class holds all states; states in no class are transient.

    Notes
    -----
    Book: ch09-closed-classes.

    Examples
    --------
    Without noise, weights end between the two grid points around the minimizer:

    >>> from qtheory.training import NoNoise, closed_classes, limit_chain
    >>> chain = limit_chain(lambda w: w - 0.3, [-1.0, 0.0, 1.0, 2.0], noise=NoNoise())
    >>> closed_classes(chain)
    (array([1, 2]),)
    """
    from scipy import sparse

    check_instance("chain", chain, RoundingChain)
    graph = sparse.csr_array(_without_diagonal(chain.kernel))
    count, labels = sparse.csgraph.connected_components(graph, connection="strong")
    rows, columns = graph.nonzero()
    is_left = np.zeros(count, dtype=bool)
    is_left[labels[rows[labels[rows] != labels[columns]]]] = True
    order = np.argsort(labels, kind="stable")
    classes = np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])
    kept = [np.sort(states) for label, states in enumerate(classes) if not is_left[label]]
    return tuple(sorted(kept, key=lambda states: int(states[0])))


def _checked_problem(
    gradient: Gradient, axes: Any, noise: GradientNoise
) -> tuple[list[FloatArray], FloatArray, list[FloatArray]]:
    """Return axes, states and the mean gradient along each axis."""
    check_instance("noise", noise, GradientNoise)
    is_product = isinstance(axes, tuple) and not any(np.ndim(axis) == 0 for axis in axes)
    if isinstance(axes, tuple) and not axes:
        raise fail("axes", "an axis or a tuple of axes", axes)
    grid = [_checked_axis(axis) for axis in axes] if is_product else [_checked_axis(axes)]
    mesh = np.meshgrid(*grid, indexing="ij")
    points = np.stack([coordinate.ravel() for coordinate in mesh], axis=-1)
    points = points if is_product else points[:, 0]
    value = gradient(points.copy()) if callable(gradient) else gradient
    mean = np.asarray(as_float_array("gradient", value), dtype=np.float64)
    if mean.shape != points.shape:
        raise fail("gradient", f"of the shape of the states, {points.shape}", mean.shape)
    if not np.isfinite(mean).all():
        raise fail("gradient", "finite in every state", mean[~np.isfinite(mean)][0])
    return grid, points, list(mean.reshape(len(points), -1).T.copy())


def _checked_axis(axis: Any) -> FloatArray:
    """Return an axis after checking that it is uniform."""
    values = np.asarray(as_float_array("axes", axis), dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise fail("axes", "finite axes of at least two points", axis)
    gaps = np.diff(values)
    step = (values[-1] - values[0]) / (values.size - 1)
    slack = AXIS_TOLERANCE * step + 4 * np.spacing(np.abs(values).max())
    if not (gaps > 0).all() or np.abs(gaps - step).max() > slack:
        raise fail("axes", "increasing and uniform", f"gaps from {gaps.min()} to {gaps.max()}")
    return values


def _check_rate(
    rate: float, largest: float, width: float, step: float, noise: GradientNoise
) -> None:
    """Refuse steps that are too large for the grid."""
    if not math.isfinite(step / rate):
        raise fail("learning_rate", "large enough to be told from zero", rate)
    if rate * largest > width * (1 + STEP_SLACK):
        condition = f"small enough for mean steps within the axis, of width {width}"
        raise fail("learning_rate", condition, f"{rate}, with a step of {rate * largest}")
    if not rate * noise.mean_abs() <= MAX_NOISE_STEPS * step:
        raise fail("learning_rate", "small enough for noise of at most 1e6 grid steps", rate)


def _check_single(rate: float, mean: float, step: float, noise: GradientNoise) -> None:
    """Refuse moves of more than one grid step."""
    largest = mean + noise.bound
    if math.isinf(largest):
        raise fail("noise", "bounded for moves of one grid step", noise)
    if rate * largest > step * (1 + STEP_SLACK):
        raise fail("learning_rate", f"at most {step / largest} for moves of one grid step", rate)


def _check_size(
    makers: Sequence[AxisMoves],
    indices: Sequence[IntArray],
    shape: tuple[int, ...],
    cutoff: float,
) -> None:
    """Refuse kernels of far too many moves before they are computed."""
    count = math.prod(shape)
    total = float(count)
    for maker, index, size in zip(makers, indices, shape, strict=True):
        total *= max(maker.estimate_count(index, size, cutoff) / count, 1.0)
    # Of moves along two axes the corners may be rarer than the cutoff.
    _check_total(total if len(shape) == 1 else 0.5 * total, count)


def _check_total(total: float, count: int) -> None:
    """Refuse too many moves."""
    if total > MAX_MOVES:
        condition = f"small enough for a kernel of at most {MAX_MOVES} moves"
        raise fail("axes", condition, f"{count} states with long moves")


def _counted(
    moves: Iterable[tuple[int, FloatArray]], cutoff: float
) -> Iterator[tuple[int, FloatArray]]:
    """Yield moves as they come, and refuse when they become too many."""
    total = 0
    for offset, probability in moves:
        total += int(np.count_nonzero(probability > cutoff))
        _check_total(total, probability.size)
        yield offset, probability


def _product_kernel(
    laws: Sequence[Any], shape: tuple[int, ...], cutoff: float, is_sparse: bool
) -> FloatArray | Any:
    """Multiply the laws of the moves along each axis."""
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    entries: list[tuple[int, FloatArray]] = []
    total = 0
    for moves in itertools.product(
        *([_counted(law, cutoff) for law in laws] if is_sparse else laws)
    ):
        offset = sum(j * stride for (j, _), stride in zip(moves, strides, strict=True))
        probability = math.prod((p for _, p in moves), start=np.ones(1))
        if is_sparse:
            # Moves to neighbors hold the chain together, however rare they are.
            least = 0.0 if max(abs(j) for j, _ in moves) <= 1 else cutoff
            probability = np.where(probability > least, probability, 0.0)
            total += int(np.count_nonzero(probability))
            _check_total(total, probability.size)
        if any(j for j, _ in moves) and probability.any():
            entries.append((offset, probability))
    return _assemble(entries, math.prod(shape), is_sparse)


def _assemble(entries: list[tuple[int, FloatArray]], count: int, is_sparse: bool) -> Any:
    """Make a kernel of the probabilities of moves to a state of higher or lower index."""
    from scipy import sparse

    rows = [np.flatnonzero(values) for _, values in entries]
    columns = [row + offset for row, (offset, _) in zip(rows, entries, strict=True)]
    values = [values[row] for row, (_, values) in zip(rows, entries, strict=True)]
    where = [np.concatenate([np.zeros(0, dtype=np.intp), *part]) for part in (rows, columns)]
    data = np.concatenate([np.zeros(0), *values])
    # Rows may exceed one by the rounding of many entries.
    data /= np.maximum(np.bincount(where[0], weights=data, minlength=count), 1.0)[where[0]]
    if is_sparse:
        moves = sparse.csr_array((data, (where[0], where[1])), shape=(count, count))
    else:
        moves = np.zeros((count, count))
        moves[where[0], where[1]] = data
    return _with_diagonal(moves, np.maximum(1 - _row_sums(moves), 0.0))


def _checked_kernel(kernel: Any, count: int) -> Any:
    """Return a kernel with its diagonal computed from the rows, as a read-only array."""
    from scipy import sparse

    if sparse.issparse(kernel):
        matrix = sparse.csr_array(kernel, dtype=np.float64, copy=True)
        values = matrix.data
    else:
        matrix = values = np.array(as_float_array("kernel", kernel), dtype=np.float64)
    if matrix.shape != (count, count):
        raise fail("kernel", f"of shape ({count}, {count}), one row a state", matrix.shape)
    if not (values >= 0).all() or not np.isfinite(values).all():
        raise fail("kernel", "finite and not below zero", values[~(values >= 0)][:1])
    sums = _row_sums(matrix)
    if (worst := float(np.abs(sums - 1).max())) > ROW_TOLERANCE:
        raise fail("kernel", "of rows that sum to one", f"a row off by {worst}")
    moves = _without_diagonal(matrix)
    whole = _with_diagonal(moves, np.maximum(1 - _row_sums(moves), 0.0))
    for array in [whole] if isinstance(whole, np.ndarray) else [whole.data]:
        array.flags.writeable = False
    return whole


def _row_sums(matrix: Any) -> FloatArray:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


def _without_diagonal(matrix: Any) -> Any:
    """Return a copy with zeros on the diagonal."""
    if isinstance(matrix, np.ndarray):
        copy = matrix.copy()
        np.fill_diagonal(copy, 0.0)
        return copy
    coo = matrix.tocoo()
    off = (coo.coords[0] != coo.coords[1]) & (coo.data != 0)
    data = (coo.data[off], (coo.coords[0][off], coo.coords[1][off]))
    return type(matrix)(data, shape=matrix.shape)


def _with_diagonal(matrix: Any, diagonal: FloatArray) -> Any:
    """Return a matrix of empty diagonal with one put in."""
    from scipy import sparse

    if isinstance(matrix, np.ndarray):
        matrix = matrix.copy()
        np.fill_diagonal(matrix, diagonal)
        return matrix
    return sparse.csr_array(matrix + sparse.diags_array(diagonal, format="csr"))
