"""Stationary laws by elimination of states, without a subtraction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import fail

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Bands wider than this are eliminated in blocks, most of the work being products of matrices.
NARROW_BAND = 48
BLOCK = 48
# Floats of working memory, and multiplications, at most.
MAX_STORAGE = 200_000_000
MAX_WORK = 2e12
# Exponent of what is zero.
NOTHING = -(2**40)


def stationary_weights(moves: Any) -> FloatArray:
    """Return the stationary law of an irreducible chain, with all digits of every entry.

    The elimination of Grassmann, Taksar and Heyman: a state is taken out by sending what goes to it
    on to where it goes from there. What is left is positive, and only added to and multiplied.

    Parameters
    ----------
    moves : numpy.ndarray or scipy.sparse.csr_array
        Rates or probabilities of moves from the row's state to the column's; zero diagonal.

    Returns
    -------
    numpy.ndarray
        Probabilities with sum one, shape ``(num_states,)``.
    """
    count = moves.shape[0]
    if isinstance(moves, np.ndarray):
        rows, columns = np.nonzero(moves)
        order = np.arange(count)
        data = moves[rows, columns]
    else:
        order = _narrow_order(moves)
        coo = moves[order][:, order].tocoo()
        (rows, columns), data = coo.coords, coo.data
    lower, upper = (max(int(reach.max(initial=0)), 0) for reach in (rows - columns, columns - rows))
    block = BLOCK if min(lower, upper) > NARROW_BAND else 1
    matrix = _band_view(count, lower + block - 1, upper + block - 1)
    matrix[rows, columns] = data
    for last in range(count, 1, -block):
        _eliminate(matrix, max(last - block, 1), last, lower, upper)
    law = np.empty(count)
    law[order] = _back_substitute(matrix, count, upper)
    return law


def _narrow_order(moves: Any) -> IntArray:
    """Return an order of the states in which moves are short: as given, or Cuthill-McKee's."""
    from scipy import sparse

    order = np.asarray(sparse.csgraph.reverse_cuthill_mckee(moves, symmetric_mode=False))
    rows, columns = moves.nonzero()
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    given = np.abs(rows - columns).max(initial=0)
    found = np.abs(place[rows] - place[columns]).max(initial=0)
    return order.astype(np.intp) if found < given else np.arange(len(order))


def _band_view(count: int, lower: int, upper: int) -> FloatArray:
    """Return zeros that are addressed as a full matrix and stored as a band.

    Row i of the band holds columns i - lower to i + upper; entries outside alias others and must
    not be touched.
    """
    lower, upper = min(lower, count - 1), min(upper, count - 1)
    width = lower + upper + 1
    if width * count > MAX_STORAGE or 2.0 * count * lower * upper > MAX_WORK:
        condition = "of few enough states or short enough moves for elimination"
        raise fail("chain", condition, f"{count} states with moves over {max(lower, upper)}")
    if width >= count:
        return np.zeros((count, count))
    # Room for the whole last rows, that lie beyond the band.
    storage = np.zeros((count + 1) * width + count)
    stride = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[lower:], shape=(count, count), strides=((width - 1) * stride, stride)
    )


def _eliminate(matrix: FloatArray, first: int, last: int, lower: int, upper: int) -> None:
    """Take out the states from ``first`` to ``last - 1``, the last first."""
    left, top = max(first - lower, 0), max(first - upper, 0)
    for k in range(last - 1, first - 1, -1):
        out = matrix[k, left:k]
        total = float(out.sum())
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            matrix[top:k, k] /= total
        if not np.isfinite(matrix[top:k, k]).all():
            raise fail("chain", "connected by moves that float64 can hold", f"{total} out of one")
        if k > first:
            matrix[first:k, left:k] += np.outer(matrix[first:k, k], out)
            matrix[top:first, first:k] += np.outer(matrix[top:first, k], matrix[k, first:k])
    matrix[top:first, left:first] += matrix[top:first, first:last] @ matrix[first:last, left:first]


def _back_substitute(matrix: FloatArray, count: int, upper: int) -> FloatArray:
    """Put the states back, each with what flows to it from those before.

    Weights are kept with exponents of their own, since those of far states can differ by more than
    the range of float64.
    """
    value, exponent = np.zeros(count), np.full(count, NOTHING, dtype=np.int64)
    value[0], exponent[0] = 0.5, 1
    for k in range(1, count):
        start = max(k - upper, 0)
        highest = exponent[start:k].max()
        shift = np.maximum(exponent[start:k] - highest, -4000).astype(np.int32)
        total = np.ldexp(value[start:k], shift) @ matrix[start:k, k]
        value[k], power = np.frexp(total)
        exponent[k] = highest + power if total > 0 else NOTHING
    shift = np.maximum(exponent - exponent.max(), -4000).astype(np.int32)
    law = np.ldexp(value, shift)
    return np.asarray(law / law.sum())
