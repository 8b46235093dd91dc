"""How an answer to an exercise is judged: against the right value and the usual wrong ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Verdict", "choose", "compare"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Verdict:
    """The judgment of an answer: text at the end of a cell, true if the answer is right.

    Parameters
    ----------
    passed : bool
        Whether the answer is right.
    message : str
        What is right or wrong about it, and a hint.
    """

    passed: bool
    message: str

    def __bool__(self) -> bool:
        """Whether the answer is right."""
        return self.passed

    def __repr__(self) -> str:
        """Show the judgment in words."""
        return f"{'Right' if self.passed else 'Not yet'}: {self.message}"


def compare(
    answer: ArrayLike,
    expected: ArrayLike,
    *,
    right: str,
    hint: str,
    rtol: float = 1e-3,
    misconceptions: Sequence[tuple[ArrayLike, str]] = (),
) -> Verdict:
    """Judge a number or an array.

    Parameters
    ----------
    answer : array_like
        The answer of the reader.
    expected : array_like
        The right value.
    right : str
        What to say of a right answer: what it shows.
    hint : str
        What to say of an answer that is wrong in no known way.
    rtol : float
        Tolerance relative to the largest magnitude of ``expected``.
    misconceptions : sequence of tuple
        Pairs of a wrong value and the hint for whoever found it.

    Returns
    -------
    Verdict
        True with ``right``, or false with the hint that fits.
    """
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return Verdict(False, f"a number or an array of numbers is expected. {hint}")
    target = np.asarray(expected, dtype=np.float64)
    if values.shape != target.shape:
        shapes = (values.shape, target.shape)
        found, wanted = (f"{shape}" if shape else "one number" for shape in shapes)
        return Verdict(False, f"the shape is {found}, expected is {wanted}. {hint}")
    if not np.isfinite(values).all():
        return Verdict(False, f"some entries are not finite. {hint}")
    if _close(values, target, rtol):
        return Verdict(True, right)
    for wrong, reason in misconceptions:
        if _close(values, np.asarray(wrong, dtype=np.float64), rtol):
            return Verdict(False, reason)
    return Verdict(False, hint)


def choose(answer: object, expected: str, *, says: Mapping[str, str]) -> Verdict:
    """Judge a choice among names.

    Parameters
    ----------
    answer : str
        The choice; anything else is told what there is to choose from.
    expected : str
        The right choice.
    says : mapping of str to str
        Each choice, with what to say of it: what a right one shows, a hint for a wrong one.

    Returns
    -------
    Verdict
        Whether the choice is right, with what is said of it.
    """
    if isinstance(answer, str) and answer in says:
        return Verdict(answer == expected, says[answer])
    return Verdict(False, f"one of {', '.join(map(repr, says))} is expected.")


def _close(values: FloatArray, target: FloatArray, rtol: float) -> bool:
    """Whether all entries agree within the tolerance."""
    if values.shape != target.shape:
        return False
    size = float(np.max(np.abs(target), initial=0.0))
    return bool(np.all(np.abs(values - target) <= rtol * (size or 1.0)))
