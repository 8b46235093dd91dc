"""The published search for the best spacing: a grid, a double sum and single precision.

It is kept to show what its digits are worth; :func:`qtheory.meanfield.optimal_spacing` solves the
same problem exactly.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import special

from qtheory._checks import check_choice, check_integer, check_positive, fail
from qtheory.meanfield.optimum import optimal_spacing

__all__ = ["SCANNED_LEVELS", "SpacingScan", "scan_spacings"]

FloatArray = NDArray[np.float64]
Values = NDArray[np.floating]

SCANNED_LEVELS = (*range(3, 64), 125, 128, 255, 256, 512, 515, 1024, 1025)
"""Numbers of levels behind the published power laws."""

MAX_SCANNED_LEVELS = 2**11

LANES = 32
"""Running sums of one vector unit: four registers of eight single-precision numbers."""

MIN_CHUNK = 2**15
"""Terms below which a sum is not split further between threads."""


@dataclass(frozen=True, eq=False)
class SpacingScan:
    r"""What a search on a grid of spacings finds.

    Parameters
    ----------
    num_levels : numpy.ndarray
        Numbers of levels, shape ``(num_entries,)``.
    spacing : numpy.ndarray
        Point of the grid with the largest slope, in pre-activation standard deviations.
    one_minus_chi : numpy.ndarray
        One minus that slope, by subtraction.
    """

    num_levels: NDArray[np.int64]
    spacing: FloatArray
    one_minus_chi: FloatArray


def scan_spacings(
    num_levels: tuple[int, ...] = SCANNED_LEVELS,
    *,
    num_points: int = 2000,
    max_spacing: float = 2.0,
    dtype: DTypeLike = np.float32,
    num_chunks: int = 20,
) -> SpacingScan:
    r"""Best spacing on a grid, with the double sum over pairs of thresholds.

    Parameters
    ----------
    num_levels : sequence of int
        Numbers of levels, from 3 to 2048.
    num_points : int
        Points of the grid from zero to ``max_spacing``, at least 100.
    max_spacing : float
        Largest spacing of the grid, in pre-activation standard deviations, above zero.
    dtype : data type
        ``numpy.float32``, as published, or ``numpy.float64``.
    num_chunks : int
        Parts in which a sum is added up, as threads would, at least one. Each part of 32768 terms
        or more has 32 running sums.

    Returns
    -------
    SpacingScan
        The best point of the grid for each number of levels.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Book: sec-ch06-grid.

    Only points within a tenth, or eight steps of the grid, of the optimum are computed: the slope
    has a single maximum. In single precision the result depends on the order of the additions,
    which is why ``num_chunks`` is an argument.

    Cost: time and memory proportional to the squared number of levels per point.

    Examples
    --------
    >>> scan = scan_spacings((4, 16))
    >>> print(scan.spacing.round(6), scan.one_minus_chi.round(6))
    [0.995498 0.335168] [0.118846 0.011543]
    """
    counts = [
        check_integer("num_levels", n, minimum=3, maximum=MAX_SCANNED_LEVELS) for n in num_levels
    ]
    if not counts:
        raise fail("num_levels", "a sequence of at least one number", num_levels)
    check_choice("dtype", np.dtype(dtype), [np.dtype(np.float32), np.dtype(np.float64)])
    chunks = check_integer("num_chunks", num_chunks, minimum=1)
    points = check_integer("num_points", num_points, minimum=100)
    grid = np.linspace(0.0, check_positive("max_spacing", max_spacing), points)[1:].astype(dtype)
    best = [_best_point(n, grid, chunks) for n in counts]
    spacings, deficits = np.transpose(best)
    return SpacingScan(np.array(counts), spacings, deficits)


def _best_point(num_levels: int, grid: Values, num_chunks: int) -> tuple[float, float]:
    """Return the best of the points near the optimum, and one minus its slope."""
    optimum = optimal_spacing(num_levels).spacing
    reach = max(0.1 * optimum, 8 * float(grid[0]))
    near = grid[np.abs(grid - optimum) <= reach]
    if near.size == 0:
        raise fail("max_spacing", f"above the best spacing {optimum:.4g}", float(grid[-1]))
    slopes = [float(_double_sum_slope(num_levels, spacing, num_chunks)) for spacing in near]
    best = int(np.argmax(slopes))
    return float(near[best]), 1.0 - slopes[best]


def _double_sum_slope(num_levels: int, spacing: np.floating, num_chunks: int) -> np.floating:
    """Return the slope as a ratio of two sums over pairs of thresholds, in the given precision."""
    kind = spacing.dtype.type
    t = spacing * (np.arange(1, num_levels) - 0.5 * num_levels).astype(kind)
    error_function = special.erf((t / kind(math.sqrt(2))).astype(np.float64)).astype(kind)
    below = kind(0.5) * (kind(1) + error_function)
    tails = (kind(1) - np.maximum(below[:, None], below)) * np.minimum(below[:, None], below)
    squares = t * t
    # Rounded from double precision: the single-precision exponential differs between processors.
    exponents = kind(-0.5) * (squares[:, None] + squares)
    densities = np.exp(exponents.astype(np.float64)).astype(kind)
    factor = kind(1 / (2 * math.pi))
    return factor * _sum_in_lanes(densities, num_chunks) / _sum_in_lanes(tails, num_chunks)


def _sum_in_lanes(values: Values, num_chunks: int) -> np.floating:
    """Add up in chunks of 32 running sums each, one after the other, without wider registers."""
    flat = values.ravel()
    rows = flat.size // LANES
    chunks = max(1, min(num_chunks, math.ceil(rows * LANES / MIN_CHUNK)))
    length = max(1, math.ceil(rows / chunks))
    body = flat[: rows * LANES].reshape(rows, LANES)
    parts = [
        _running_sum(np.add.reduce(body[start : start + length], axis=0))
        for start in range(0, rows, length)
    ]
    rest = flat[rows * LANES :]
    return _running_sum(np.concatenate([np.array(parts, dtype=flat.dtype), rest]))


def _running_sum(values: Values) -> np.floating:
    """Add from left to right in the precision of the values."""
    total: np.floating = np.add.accumulate(values)[-1]
    return total
