"""How fast a Markov chain of stochastic rounding forgets its start."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_finite, fail
from qtheory.training.chain import RoundingChain, _row_sums, _without_diagonal
from qtheory.training.stationary import _only_class, stationary_law

__all__ = ["mixing_time", "spectral_gap"]

FloatArray = NDArray[np.float64]

# Above this many states the powers of a kernel take too long and too much memory.
MAX_MIXING_STATES = 1024
# Eigenvalues of all kinds are found up to this many states, only those that matter above.
MAX_EIGEN_STATES = 1000
# Up to this many rungs the inverse of a ladder is a full matrix.
SMALL_LADDER = 64
# Slower than one over this, relative to the fastest, counts as never.
LONGEST = 1e280
# Shift of the inverse iteration, relative to the largest exit rate, and its first tolerance.
SHIFT = 1e-6
COARSE = 1e-2
# Gap from which on the largest eigenvalues are found without an inverse.
FAST = 1e-7
# Number of squarings after which a chain counts as one that does not mix.
MAX_SQUARINGS = 60
# Distances below this are what rounding leaves, not the chain.
ROUNDING = 1e-10
# The limit chain is looked at in time steps of alpha_0 over this.
TIME_RESOLUTION = 2**20


def spectral_gap(chain: RoundingChain) -> float:
    r"""Distance of the other eigenvalues of a chain from that of its stationary law.

    Parameters
    ----------
    chain : RoundingChain
        An irreducible chain of at least two states.

    Returns
    -------
    float
        :math:`1 - \max|\lambda|` over the eigenvalues of the kernel but the one at 1, per step, for
        a chain with a learning rate; zero if the chain is periodic. For the limit chain
        :math:`\min(-\mathrm{Re}\,\lambda)` over the eigenvalues of U but the one at 0, per unit of
        steps times learning rate. Zero also if it is below the accuracy.

    Raises
    ------
    ValueError
        If the chain is not irreducible.

    Notes
    -----
    Book: ch09-spectral-gap.

    Accuracy: 1e-12 of its own size, down to 1e-280, for chains that move along one axis by single
    steps and whose gap is that next to 1; else 1e-14 of the largest rate of leaving a state,
    absolute, over the angle between left and right eigenvectors.

    Limits: above 1000 states, for gaps below 1e-7 and for the limit chain, only the eigenvalues
    next to 1 and next to -1 are looked for.

    Examples
    --------
    Ehrenfest's urn: the eigenvalues of its generator are 0, -1, -2, and so on.

    >>> import numpy as np
    >>> from qtheory.training import RademacherNoise, limit_chain, spectral_gap
    >>> chain = limit_chain(lambda w: w, np.linspace(-1.0, 1.0, 9), noise=RademacherNoise())
    >>> print(round(spectral_gap(chain), 12))
    1.0
    """
    _only_class(chain, allow_transient=False)
    if chain.num_states < 2:
        raise fail("chain", "of at least two states", chain.num_states)
    moves = _without_diagonal(chain.kernel)
    is_limit = chain.learning_rate is None
    eigenvalues = _departures(moves, is_limit)
    if is_limit:
        return max(float(-eigenvalues.real.max() / (chain.time_step or 1.0)), 0.0)
    real, imaginary = eigenvalues.real, eigenvalues.imag
    # 1 - |1 + z| without cancellation for small z.
    excess = np.maximum(2 * real + real**2 + imaginary**2, -1.0)
    with np.errstate(divide="ignore"):
        return max(float((-np.expm1(0.5 * np.log1p(excess))).min()), 0.0)


def mixing_time(chain: RoundingChain, *, tolerance: float) -> float:
    r"""Time after which a chain is close to its stationary law, from every start.

    Parameters
    ----------
    chain : RoundingChain
        An irreducible chain of at most 1024 states.
    tolerance : float
        Total-variation distance :math:`\varepsilon` to come down to, between 0 and 1.

    Returns
    -------
    float
        Smallest t with :math:`\max_x \mathrm{TV}(P^t(x, \cdot), \pi) \le \varepsilon`: a number of
        steps, as a whole float; for the limit chain, with :math:`e^{tU}` in place of the power, a
        time in units of steps times learning rate.

    Raises
    ------
    ValueError
        If the chain is not irreducible or has too many states; if it does not mix within
        :math:`2^{60}` steps, of its own or of :math:`2^{-20}\alpha_0`, since it is slow or
        periodic; or if the tolerance is out of range or below the accuracy of powers, about 1e-15.

    Notes
    -----
    Book: ch09-mixing-time.

    Algorithm: the kernel is squared until the distance is small enough, then the number of steps is
    put together from the highest binary digit on. Each power gets its diagonal from its rows.

    Accuracy: the number of steps to 1e-12 of its size, and exact below 1e9 as a rule; times to 1e-6
    of :math:`\alpha_0` and 1e-9 of their size.

    Examples
    --------
    >>> from qtheory.training import RademacherNoise, mixing_time, sr_chain
    >>> options = {"learning_rate": 0.01, "noise": RademacherNoise()}
    >>> mixing_time(sr_chain(lambda w: w, [-1.0, 0.0, 1.0], **options), tolerance=0.1)
    169.0
    """
    epsilon = check_finite("tolerance", tolerance)
    if not 0 < epsilon < 1:
        raise fail("tolerance", "between 0 and 1", tolerance)
    law = stationary_law(chain)
    if chain.num_states > MAX_MIXING_STATES:
        condition = f"of at most {MAX_MIXING_STATES} states, whose kernel can be squared"
        raise fail("chain", condition, f"{chain.num_states} states")
    if chain.num_states == 1:
        return 0.0
    kernel = chain.kernel.toarray() if chain.is_sparse else chain.kernel
    if chain.learning_rate is not None:
        return float(_steps_to_mix(kernel, law, epsilon))
    moves = _without_diagonal(kernel)
    steps = _steps_to_mix(_short_exponential(moves / TIME_RESOLUTION), law, epsilon)
    return steps * (chain.time_step or 1.0) / TIME_RESOLUTION


def _departures(moves: Any, is_limit: bool) -> NDArray[np.complex128]:
    """Return the eigenvalues of P - I that matter, without the zero."""
    count = moves.shape[0]
    if (ladder := _ladder(moves)) is not None:
        return -np.array(_ladder_ends(*ladder), dtype=np.complex128)
    if count <= MAX_EIGEN_STATES:
        dense = moves if isinstance(moves, np.ndarray) else moves.toarray()
        np.fill_diagonal(dense, -dense.sum(axis=1))
        eigenvalues = np.linalg.eigvals(dense)
        return np.delete(eigenvalues, np.abs(eigenvalues).argmin()).astype(np.complex128)
    return _outer_departures(moves, is_limit)


def _ladder(moves: Any) -> tuple[FloatArray, FloatArray] | None:
    """Return the probabilities of moves up and down if states have no more than neighbors."""
    rows, columns = np.nonzero(moves) if isinstance(moves, np.ndarray) else moves.nonzero()
    if np.abs(rows - columns).max(initial=0) > 1:
        return None
    up, down = (np.asarray(moves.diagonal(k), dtype=np.float64) for k in (1, -1))
    return up, down


def _ladder_ends(up: FloatArray, down: FloatArray) -> tuple[float, float]:
    """Return the least eigenvalue of I - P but zero, with all its digits, and the largest.

    All but zero are those of the product C C' of the bidiagonal matrix C with the roots of up and,
    with a minus, of down. Its factors L D L' are found without a subtraction, and its inverse has
    positive entries only.
    """
    from scipy import linalg
    from scipy.sparse import linalg as sparse_linalg

    beside = -np.sqrt(down[:-1]) * np.sqrt(up[1:])
    if (size := len(up)) == 1:
        return float(up[0] + down[0]), float(up[0] + down[0])
    largest = linalg.eigvalsh_tridiagonal(
        up + down, beside, select="i", select_range=(size - 1, size - 1)
    )[0]
    scale = float(largest)
    pivots = np.array(_pivots((up / scale).tolist(), (down / scale).tolist()))
    factors = beside / scale / pivots[:-1]

    def solve(vector: FloatArray) -> FloatArray:
        return np.asarray(linalg.lapack.dpttrs(pivots, factors, vector)[0])

    if not solve(np.ones(size)).max() < LONGEST:  # the largest row sum of the inverse
        return 0.0, scale
    if size <= SMALL_LADDER:
        slowest = np.linalg.eigvalsh(solve(np.eye(size)))[-1]
    else:
        inverse = sparse_linalg.LinearOperator((size, size), matvec=solve, dtype=np.float64)
        options = {"k": 1, "which": "LA", "v0": np.ones(size), "return_eigenvectors": False}
        slowest = sparse_linalg.eigsh(inverse, **options)[0]
    return scale / float(slowest), scale


def _pivots(up: list[float], down: list[float]) -> list[float]:
    """Return the pivots of the elimination, each the rate down and what is left of that up."""
    pivots, rest = [], up[0]
    for rise, fall in zip([*up[1:], 0.0], down, strict=True):
        pivots.append(fall + rest)
        rest = rise * (rest / pivots[-1])
    return pivots


def _outer_departures(moves: Any, is_limit: bool) -> NDArray[np.complex128]:
    """Return the eigenvalues of P - I next to 0 and, where they may matter, next to -2."""
    from scipy import sparse

    exits = _row_sums(moves)
    shifted = sparse.csc_array(moves - sparse.diags_array(exits))
    largest = float(exits.max())
    # Eigenvalues lie in discs around -exits of that radius.
    is_near = is_limit or largest <= 0.5
    if not is_near and (outer := _largest(shifted + sparse.eye_array(moves.shape[0]))) is not None:
        return outer
    near = _nearest(shifted, SHIFT * largest, 6, 0.0)
    near = np.delete(near, np.abs(near).argmin())
    if is_near:
        return near
    far = _nearest(shifted, -2.0 - SHIFT, 1, COARSE)
    if np.abs(1 + far).max() > np.abs(1 + near).max() - 2 * COARSE:
        far = _nearest(shifted, -2.0 - SHIFT, 1, 0.0)
    return np.concatenate([near, far])


def _largest(kernel: Any) -> NDArray[np.complex128] | None:
    """Return the largest eigenvalues less one, or None if they are too close to it for this."""
    from scipy.sparse import linalg

    start = np.sin(1.0 + np.arange(kernel.shape[0]))
    options = {"k": 3, "which": "LM", "ncv": 60, "maxiter": 50, "v0": start}
    try:
        found = linalg.eigs(kernel.tocsr(), return_eigenvectors=False, **options)
    except linalg.ArpackNoConvergence:
        return None
    others = np.delete(found, np.abs(found - 1).argmin())
    return np.asarray(others - 1) if np.abs(others).max() < 1 - FAST else None


def _nearest(matrix: Any, place: float, count: int, tolerance: float) -> NDArray[np.complex128]:
    """Return the eigenvalues nearest to a place."""
    from scipy.sparse import linalg

    start = np.sin(1.0 + np.arange(matrix.shape[0]))
    options = {"k": count, "tol": tolerance, "v0": start, "return_eigenvectors": False}
    return np.asarray(linalg.eigs(matrix, sigma=place, **options), dtype=np.complex128)


def _steps_to_mix(kernel: FloatArray, law: FloatArray, epsilon: float) -> int:
    """Return the least power whose rows are all within a distance of the law."""
    if 1 - law.min() <= epsilon:
        return 0
    powers = [kernel]
    while _distance(powers[-1], law) > epsilon:
        if len(powers) > MAX_SQUARINGS:
            _refuse_to_mix(_distance(powers[-1], law), epsilon)
        powers.append(_product(powers[-1], powers[-1]))
    if len(powers) == 1:
        return 1
    reached, steps = powers[-2], 1 << (len(powers) - 2)
    for level in reversed(range(len(powers) - 2)):
        further = _product(reached, powers[level])
        if _distance(further, law) > epsilon:
            reached, steps = further, steps + (1 << level)
    return steps + 1


def _refuse_to_mix(distance: float, epsilon: float) -> None:
    """Say why a distance is not reached: rounding, or the chain itself."""
    if distance < ROUNDING:
        raise fail("tolerance", f"above the rounding of powers, {distance}", epsilon)
    condition = f"one that mixes within 2**{MAX_SQUARINGS} steps"
    raise fail("chain", condition, f"a distance of {distance} then")


def _product(first: FloatArray, second: FloatArray) -> FloatArray:
    """Multiply two kernels, and take the diagonal from the rows."""
    product = first @ second
    np.fill_diagonal(product, 0.0)
    sums = product.sum(axis=1)
    np.fill_diagonal(product, np.maximum(1 - sums, 0.0))
    return np.asarray(product / np.maximum(sums, 1.0)[:, None])


def _distance(kernel: FloatArray, law: FloatArray) -> float:
    """Return the largest total-variation distance of a row from the law."""
    return float(0.5 * np.abs(kernel - law).sum(axis=1).max())


def _short_exponential(moves: FloatArray) -> FloatArray:
    """Return exp(Q) for a generator Q of tiny rates, by its series around the largest exit rate."""
    exits = moves.sum(axis=1)
    largest = float(exits.max())
    jump = moves.copy()
    np.fill_diagonal(jump, largest - exits)
    jump /= largest
    term = np.eye(len(moves))
    result = math.exp(-largest) * term
    for order in range(1, 4):
        term = term @ jump
        result = result + math.exp(-largest) * largest**order / math.factorial(order) * term
    np.fill_diagonal(result, 0.0)
    np.fill_diagonal(result, 1 - result.sum(axis=1))
    return result
