"""Where a Markov chain of stochastic rounding spends its time."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_instance, fail
from qtheory.training._elimination import stationary_weights
from qtheory.training.chain import RoundingChain, _without_diagonal, closed_classes

__all__ = ["stationary_law", "total_variation"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# How far probabilities may be from sum one.
SUM_TOLERANCE = 1e-9


def stationary_law(chain: RoundingChain, *, allow_transient: bool = False) -> FloatArray:
    r"""Stationary law of a chain, by elimination of states without a subtraction.

    Parameters
    ----------
    chain : RoundingChain
        The chain; its kernel may be dense or sparse.
    allow_transient : bool
        Accept states that are left for good, and give them probability zero.

    Returns
    -------
    numpy.ndarray
        The law :math:`\pi = \pi P`, with sum one, shape ``(num_states,)``.

    Raises
    ------
    ValueError
        If the chain has several closed classes, so that the law depends on the start; if it has
        transient states and ``allow_transient`` is false; or if there are too many states with
        long moves.

    Notes
    -----
    Book: ch09-stationary, ch09-elimination.

    Accuracy: each entry to about ``num_states`` times 1e-16 of its own size, given the entries of
    the kernel, however small it is. Entries below 1e-308 are zero.

    Limits: time grows with the number of states times the square of the longest move, in states.
    A kernel of 10^4 states takes about a second if moves go to neighbors on a line or in a square.

    Examples
    --------
    Rademacher noise on a parabola is Ehrenfest's urn: the law is binomial.

    >>> import numpy as np
    >>> from qtheory.training import RademacherNoise, limit_chain, stationary_law
    >>> axis = np.linspace(-1.0, 1.0, 5)
    >>> law = stationary_law(limit_chain(lambda w: w, axis, noise=RademacherNoise()))
    >>> print(16 * law)
    [1. 4. 6. 4. 1.]
    """
    states = _only_class(chain, allow_transient)
    moves = _without_diagonal(chain.kernel)
    law = np.zeros(chain.num_states)
    law[states] = stationary_weights(
        moves[np.ix_(states, states)] if not chain.is_sparse else moves[states][:, states]
    )
    return law


def total_variation(first: ArrayLike, second: ArrayLike) -> Any:
    r"""Total-variation distance of two laws on the same states.

    Parameters
    ----------
    first, second : array_like of float
        Probabilities, shape ``(..., num_states)``, which are broadcast against each other.

    Returns
    -------
    float or numpy.ndarray
        :math:`\tfrac12\sum_x |p(x) - q(x)|`, between 0 and 1, shape ``(...)``.

    Raises
    ------
    ValueError
        If the numbers of states differ, or entries are not probabilities with sum one.

    Notes
    -----
    Book: ch09-total-variation.

    Examples
    --------
    >>> from qtheory.training import total_variation
    >>> total_variation([0.5, 0.5, 0.0], [0.25, 0.25, 0.5])
    0.5
    """
    p, q = _checked_law("first", first), _checked_law("second", second)
    if p.shape[-1] != q.shape[-1]:
        raise fail("second", f"of {p.shape[-1]} states, as `first`", q.shape)
    try:
        np.broadcast_shapes(p.shape, q.shape)
    except ValueError:
        raise fail("second", f"of a shape that fits that of `first`, {p.shape}", q.shape) from None
    distance = np.minimum(0.5 * np.abs(p - q).sum(axis=-1), 1.0)
    return float(distance) if distance.ndim == 0 else distance


def _checked_law(name: str, law: ArrayLike) -> FloatArray:
    """Return probabilities after checking that they are."""
    values = np.asarray(as_float_array(name, law), dtype=np.float64)
    if values.ndim == 0 or values.size == 0 or not (values >= 0).all():
        raise fail(name, "an array of probabilities, none below zero", law)
    sums = values.sum(axis=-1)
    if not (np.abs(sums - 1) <= SUM_TOLERANCE).all():
        raise fail(name, "of probabilities with sum one", sums)
    return values


def _only_class(chain: RoundingChain, allow_transient: bool) -> IntArray:
    """Return the states of the closed class after checking that there is but one."""
    check_instance("chain", chain, RoundingChain)
    classes = closed_classes(chain)
    if len(classes) > 1:
        names = "; ".join(_describe(chain, states) for states in classes[:3])
        raise fail("chain", "of one closed class of states", f"{len(classes)}: {names}")
    (states,) = classes
    if len(states) < chain.num_states and not allow_transient:
        condition = "irreducible, or `allow_transient` true"
        raise fail("chain", condition, f"the closed class {_describe(chain, states)}")
    return states


def _describe(chain: RoundingChain, states: IntArray) -> str:
    """Name the states of a class by the first and the last of them."""
    first, last = (chain.points[k].tolist() for k in (states[0], states[-1]))
    if len(states) == 1:
        return f"of the one state {first}"
    return f"of {len(states)} states from {first} to {last}"
