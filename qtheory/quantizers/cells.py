"""Moments of a source over the cells of a quantizer, in closed form and without cancellation."""

import numpy as np
from numpy.typing import NDArray

from qtheory._checks import check_instance, fail
from qtheory.numerics import composite_legendre
from qtheory.quantizers.sources import Source

__all__ = ["cell_moments"]

FloatArray = NDArray[np.float64]
Moments = tuple[FloatArray, FloatArray, FloatArray]

KEPT_FRACTION = 0.05
"""A closed form is used where its terms cancel to no less than this fraction of their size."""

STEEP_FRACTION = 1e-3
"""A cell is steep if its outer tail holds less than this fraction of its inner tail."""

NARROW_WIDTH = 0.25
"""Below this many standard deviations 12 nodes give full precision, above it two panels of 20."""

MAX_REACH = 1e100
"""Largest distance of a level from the mean, in standard deviations, so that squares are finite."""

CHUNK = 4096


def cell_moments(
    source: Source, lower: FloatArray, upper: FloatArray, reference: FloatArray
) -> Moments:
    r"""Moments of a source over intervals, each about a reference point of its own.

    Parameters
    ----------
    source : Source
        Density :math:`f`.
    lower, upper : numpy.ndarray
        Ends of the intervals, shape ``(num_cells,)``, ``lower <= upper``, may be infinite.
    reference : numpy.ndarray
        Reference points :math:`y`, finite, same shape.

    Returns
    -------
    tuple of numpy.ndarray
        :math:`\int (x - y)^k f(x) \, dx` for :math:`k = 0, 1, 2`, each of shape ``(num_cells,)``,
        in the units of the data to the power :math:`k`.

    Raises
    ------
    ValueError
        If a reference point is 1e100 standard deviations or more from the mean.

    Notes
    -----
    Book: ch01-cell-moments.

    Every interval is split at the mean and mirrored to the right of it. There, differences of
    the tail moments of the source are used where they keep at least one twentieth of their terms.
    Elsewhere, in narrow cells and far tails, a Gauss-Legendre rule inside the cell (Gauss-Laguerre
    for an exponential tail) sums positive terms only.

    Accuracy: relative error of the second moment below 2e-13 for the four sources of this package,
    for cells anywhere up to 30 standard deviations and for Student's t up to 100 degrees of
    freedom; tested against 40-digit arithmetic.
    """
    check_instance("source", source, Source)
    _check_reach(source, reference)
    far = MAX_REACH * source.std  # as good as infinite, and safe to square
    lower, upper = (
        np.where(np.abs(v - source.mean) < far, v, np.copysign(np.inf, v - source.mean))
        for v in (lower, upper)
    )
    a, b, y = (source.standardize(v) for v in (lower, upper, reference))
    # Distances to the reference are formed before scaling: narrow cells keep all their digits.
    da, db = (lower - reference) / source.std, (upper - reference) / source.std
    right = _right_cells(source, a, b, y, da, db)
    left = _right_cells(source, -b, -a, -y, -db, -da)
    return (
        right[0] + left[0],
        source.std * (right[1] - left[1]),
        source.var * (right[2] + left[2]),
    )


def _check_reach(source: Source, reference: FloatArray) -> None:
    """Refuse levels so far out that squared distances overflow."""
    distance = float(np.max(np.abs(reference - source.mean), initial=0.0))
    if not distance < MAX_REACH * source.std:
        raise fail("levels", f"within {MAX_REACH:g} standard deviations of the mean", distance)


def _right_cells(
    source: Source, a: FloatArray, b: FloatArray, y: FloatArray, da: FloatArray, db: FloatArray
) -> FloatArray:
    """Moments of the standardized source over the part right of zero; shape (3, num_cells)."""
    a, da = np.where(a > 0, (a, da), (np.zeros_like(y), -y))
    end = source.support_std
    b, db = np.where(b < end, (b, db), (np.full_like(y, end), end - y))
    filled = a < b
    moments = np.zeros((3, y.size))
    moments[:, filled] = _filled_cells(
        source, a[filled], b[filled], y[filled], da[filled], db[filled]
    )
    return moments


def _filled_cells(
    source: Source, a: FloatArray, b: FloatArray, y: FloatArray, da: FloatArray, db: FloatArray
) -> FloatArray:
    """Moments over cells with ``0 <= a < b``; shape (3, num_cells)."""
    near, far = source.tail_moments(a), source.tail_moments(b)
    moments = np.array(_about(near, y)) - np.array(_about(far, y))
    size = source.moment_condition * (near[2] + 2 * np.abs(y) * near[1] + y * y * near[0])
    poor = moments[2] < KEPT_FRACTION * size
    steep = poor & (far[0] <= STEEP_FRACTION * near[0])
    flat = poor & ~steep
    if steep.any():
        moments[:, steep] = _tails(source, a[steep], da[steep])
        bounded = steep & (far[0] > 0)
        moments[:, bounded] -= _tails(source, b[bounded], db[bounded])
    if flat.any():
        moments[:, flat] = _interiors(source, y[flat], da[flat], db[flat])
    return moments


def _about(raw: Moments, y: FloatArray) -> Moments:
    """Moments about ``y`` from moments about zero."""
    zeroth, first, second = raw
    return zeroth, first - y * zeroth, second - 2 * y * first + y * y * zeroth


def _tails(source: Source, a: FloatArray, da: FloatArray) -> FloatArray:
    """Moments over ``u > a`` about ``a - da``, as sums of few terms; shape (3, num_cells)."""
    distances, weights = source.tail_nodes(a)
    shifted = da[:, None] + distances
    return np.array([(shifted**k * weights).sum(axis=1) for k in range(3)])


def _interiors(source: Source, y: FloatArray, da: FloatArray, db: FloatArray) -> FloatArray:
    """Moments about ``y`` over bounded cells by quadrature; shape (3, num_cells)."""
    result = np.empty((3, y.size))
    narrow = np.abs(db - da) < NARROW_WIDTH
    for cells, num_nodes, breaks in ((narrow, 12, (-1.0, 1.0)), (~narrow, 20, (-1.0, 0.0, 1.0))):
        index = np.flatnonzero(cells)
        nodes, unit_weights = composite_legendre(num_nodes, breaks)
        for start in range(0, index.size, CHUNK):  # bounds the memory of the nodes
            part = index[start : start + CHUNK]
            half = 0.5 * (db[part] - da[part])[:, None]
            distance = 0.5 * (da[part] + db[part])[:, None] + half * nodes
            weights = half * unit_weights * source.standard_pdf(y[part, None] + distance)
            for k in range(3):
                result[k, part] = weights.sum(axis=1)
                weights = weights * distance
    return result
