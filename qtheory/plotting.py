"""One look for every figure of the book: style, sizes, roles and builders.

The builders take axes and arrays and return artists. They compute nothing, write no file
and draw no random number. What a mark means is fixed before its color is chosen: theory is
a solid line in ink, simulation is markers with two standard errors, a bound is dashed, an
approximation is dotted, a forbidden region is a light fill.

Every color stands out by at least 3 to 1 from the white page and from the dark page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import check_choice, check_integer, check_positive, fail

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "SINGLE",
    "STYLE",
    "VERMILION",
    "WIDE",
    "CategoryStyle",
    "bit_axis",
    "category_style",
    "plot_approximation",
    "plot_bound",
    "plot_category",
    "plot_density",
    "plot_error",
    "plot_estimate",
    "plot_heatmap",
    "plot_histogram",
    "plot_levels",
    "plot_phase_diagram",
    "plot_region",
    "plot_staircase",
    "plot_sweep",
    "plot_theory",
    "plot_z_scores",
    "single",
    "sweep_colors",
    "use_style",
    "wide",
]

SINGLE = (4.8, 3.2)
"""Width and height in inches of a figure with one panel; readable at the width of a phone."""

WIDE = (7.2, 3.2)
"""Width and height in inches of a figure with panels side by side."""

INK = "#1b2025"
"""Text, axes and theory. In interactive figures it becomes the text color of the page."""

BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#b8609a"
ORANGE = "#b87d00"

PALETTE: Mapping[str, str] = MappingProxyType(
    {
        "ink": INK,
        "blue": BLUE,
        "vermilion": VERMILION,
        "green": GREEN,
        "purple": PURPLE,
        "orange": ORANGE,
    }
)
"""Names and values of the colors: Okabe and Ito's, the pale ones darkened."""

_SWEEP = LinearSegmentedColormap.from_list(
    "qtheory_sweep", ["#006eae", "#6f70c0", "#a9639f", "#cf6150", "#d16b00", "#c48300"]
)

STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.labelsize": 11.0,
        "axes.linewidth": 0.8,
        "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, INK]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "errorbar.capsize": 2.5,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120.0,
        "figure.facecolor": "none",
        "figure.figsize": SINGLE,
        "font.family": ["DejaVu Sans"],
        "font.size": 11.0,
        "grid.alpha": 0.15,
        "grid.color": INK,
        "grid.linewidth": 0.8,
        "image.cmap": "cividis",
        "legend.fontsize": 10.0,
        "legend.frameon": False,
        "lines.linewidth": 2.0,
        "lines.markersize": 5.5,
        "mathtext.fontset": "dejavusans",
        "savefig.dpi": 120.0,
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "qtheory",
        "text.color": INK,
        "xtick.color": INK,
        "xtick.labelsize": 10.0,
        "ytick.color": INK,
        "ytick.labelsize": 10.0,
    }
)
"""Matplotlib settings of the book, by name."""


@runtime_checkable
class _Estimate(Protocol):
    """What :func:`plot_estimate` needs of a Monte Carlo result."""

    @property
    def mean(self) -> Any: ...

    @property
    def std_error(self) -> Any: ...


@dataclass(frozen=True)
class CategoryStyle:
    """Look of one number format, the same in every chapter.

    Parameters
    ----------
    color : str
        Hexadecimal color; shared by a family of formats.
    marker : str
        Matplotlib marker; differs within a family.
    linestyle : str or tuple
        Matplotlib line style; differs within a family.
    """

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[float, ...]]


_BORDERS = ("-", "--", ":", "-.")
_LINES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 2, 1, 2, 1, 2)),
    (0, (1, 3)),
    (0, (8, 3)),
    (0, (4, 1)),
)
_FAMILIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (BLUE, "osD^vPXh", ("INT8", "INT4", "INT3", "INT2", "INT5", "INT6", "INT7", "INT16")),
    (
        VERMILION,
        "os^vD",
        ("FP8_E4M3", "FP8_E5M2", "FP8_E4M3FNUZ", "FP8_E5M2FNUZ", "FP8_E3M4"),
    ),
    (ORANGE, "D^v", ("FP4_E2M1", "FP6_E2M3", "FP6_E3M2")),
    (
        GREEN,
        "os^vDPX",
        ("MXFP4", "MXINT8", "MXFP8", "MXFP6", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP8_E5M2"),
    ),
    (PURPLE, "osD", ("NVFP4", "TERNARY", "SIGN")),
    (INK, "os^D", ("BF16", "FP16", "TF32", "FP32")),
)
_CATEGORIES = {
    name: CategoryStyle(color, marker, line)
    for color, markers, names in _FAMILIES
    for name, marker, line in zip(names, markers, _LINES, strict=False)
}
_ALIASES = {
    "BFLOAT16": "BF16",
    "FLOAT16": "FP16",
    "FLOAT32": "FP32",
    "TFLOAT32": "TF32",
    "FP4": "FP4_E2M1",
    "E2M1": "FP4_E2M1",
    "E2M3": "FP6_E2M3",
    "E3M2": "FP6_E3M2",
    "E4M3": "FP8_E4M3",
    "E5M2": "FP8_E5M2",
    "MXFP4_E2M1": "MXFP4",
    "MXFP8_E4M3": "MXFP8",
}


def use_style() -> None:
    """Give Matplotlib the look of the book; once, at the top of a chapter.

    Figures get a transparent background and dark ink. Interactive figures take the text color
    of the page instead; pictures of fixed color keep the light card that the theme of the book,
    and Jupyter, put behind them in dark mode.
    """
    settings: Any = dict(STYLE)
    mpl.rcParams.update(settings)


def single(*, x_label: str = "", y_label: str = "") -> tuple[Figure, Axes]:
    """Make a figure of the size :data:`SINGLE` with one panel.

    Parameters
    ----------
    x_label, y_label : str
        Labels of the axes: lower case, words before symbols, with unit or normalizer.

    Returns
    -------
    tuple of Figure and Axes
        The figure and its panel.
    """
    fig, ax = plt.subplots(figsize=SINGLE)
    ax.set(xlabel=x_label, ylabel=y_label)
    return fig, ax


def wide(num_columns: int = 2, *, share_y: bool = False) -> tuple[Figure, tuple[Axes, ...]]:
    """Make a figure of the size :data:`WIDE` with panels side by side.

    Parameters
    ----------
    num_columns : int
        Number of panels, at least 1 and at most 4.
    share_y : bool
        Whether the panels have one vertical axis.

    Returns
    -------
    tuple of Figure and tuple of Axes
        The figure and its panels from left to right.

    Raises
    ------
    ValueError
        If ``num_columns`` is not an integer from 1 to 4.
    """
    count = check_integer("num_columns", num_columns, minimum=1, maximum=4)
    fig, axes = plt.subplots(1, count, figsize=WIDE, sharey=share_y, squeeze=False)
    return fig, tuple(axes[0])


def category_style(name: str) -> CategoryStyle:
    """Look up the color, marker and line style of a number format.

    Parameters
    ----------
    name : str
        Name such as ``"INT8"``, ``"FP8_E4M3"``, ``"MXFP4"`` or ``"bfloat16"``; case, hyphens and
        spaces do not matter.

    Returns
    -------
    CategoryStyle
        The fixed look. No two formats share all three parts.

    Raises
    ------
    ValueError
        If the format has no entry.

    Examples
    --------
    >>> category_style("int8").marker
    'o'
    """
    key = str(name).upper().replace("-", "_").replace(" ", "_")
    key = _ALIASES.get(key, key)
    if key not in _CATEGORIES:
        raise fail("name", "one of " + ", ".join(sorted(_CATEGORIES)), name)
    return _CATEGORIES[key]


def sweep_colors(num_colors: int) -> tuple[str, ...]:
    """Colors for a parameter sweep, ordered and safe for color-blind readers.

    Parameters
    ----------
    num_colors : int
        Number of values of the parameter, at least 1.

    Returns
    -------
    tuple of str
        Hexadecimal colors from blue to orange; luminance rises with the position.

    Raises
    ------
    ValueError
        If ``num_colors`` is not an integer of at least 1.
    """
    count = check_integer("num_colors", num_colors, minimum=1)
    return tuple(mpl.colors.to_hex(_SWEEP(place)) for place in np.linspace(0.0, 1.0, count))


def plot_theory(
    ax: Axes, x: ArrayLike, y: ArrayLike, *, label: str | None = None, color: str = INK
) -> Line2D:
    """Draw an exact result: a solid line without markers.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x, y : array_like
        Points of the curve, shape ``(num_points,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib; ink unless several theories meet.

    Returns
    -------
    Line2D
        The line.
    """
    return ax.plot(x, y, color=color, linestyle="-", marker="", label=label)[0]


def plot_bound(
    ax: Axes, x: ArrayLike, y: ArrayLike, *, label: str | None = None, color: str = VERMILION
) -> Line2D:
    """Draw a bound: a dashed line.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x, y : array_like
        Points of the curve, shape ``(num_points,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    Line2D
        The line.
    """
    return ax.plot(x, y, color=color, linestyle="--", marker="", label=label)[0]


def plot_approximation(
    ax: Axes, x: ArrayLike, y: ArrayLike, *, label: str | None = None, color: str = GREEN
) -> Line2D:
    """Draw an approximation or an asymptote: a dotted line.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x, y : array_like
        Points of the curve, shape ``(num_points,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    Line2D
        The line.
    """
    return ax.plot(x, y, color=color, linestyle=":", marker="", label=label)[0]


def plot_estimate(
    ax: Axes,
    x: ArrayLike,
    estimates: Sequence[_Estimate] | _Estimate,
    *,
    label: str | None = None,
    color: str = BLUE,
    marker: str = "o",
) -> ErrorbarContainer:
    """Draw simulations: markers with two standard errors up and down, no line.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x : array_like
        Abscissas, shape ``(num_points,)``.
    estimates : sequence of Estimate or Estimate
        One result with fields ``mean`` and ``std_error`` for each abscissa, or one result whose
        fields have shape ``(num_points,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.
    marker : str
        Any marker of Matplotlib.

    Returns
    -------
    ErrorbarContainer
        Markers and bars.

    Raises
    ------
    ValueError
        If the numbers of abscissas and of estimates differ.
    """
    if isinstance(estimates, _Estimate):
        mean, error = np.atleast_1d(estimates.mean), np.atleast_1d(estimates.std_error)
    else:
        mean = np.array([estimate.mean for estimate in estimates])
        error = np.array([estimate.std_error for estimate in estimates])
    places = np.atleast_1d(x)
    if places.shape != mean.shape:
        raise fail("estimates", f"of shape {places.shape} like `x`", mean.shape)
    return ax.errorbar(
        places,
        mean,
        yerr=2 * error,
        color=color,
        marker=marker,
        linestyle="none",
        label=label,
        elinewidth=1.5,
    )


def plot_category(
    ax: Axes, x: ArrayLike, y: ArrayLike, *, name: str, label: str | None = None
) -> Line2D:
    """Draw a curve of one number format in its fixed look.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x, y : array_like
        Points of the curve, shape ``(num_points,)``.
    name : str
        Number format, see :func:`category_style`.
    label : str, optional
        Entry in the legend; the name of the format if left out.

    Returns
    -------
    Line2D
        The line with its markers, about ten of them.

    Raises
    ------
    ValueError
        If the format has no entry.
    """
    style = category_style(name)
    every = max(1, np.size(x) // 10)
    return ax.plot(
        x,
        y,
        color=style.color,
        marker=style.marker,
        linestyle=style.linestyle,
        markevery=every,
        label=name if label is None else label,
    )[0]


def plot_sweep(
    ax: Axes, x: ArrayLike, curves: ArrayLike, *, labels: Sequence[str]
) -> tuple[Line2D, ...]:
    """Draw a family of exact curves, one for each value of a parameter, in order.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x : array_like
        Abscissas, shape ``(num_points,)``.
    curves : array_like
        Ordinates, shape ``(num_curves, num_points)``.
    labels : sequence of str
        Entry in the legend for each curve.

    Returns
    -------
    tuple of Line2D
        The lines, in the order of ``curves``.

    Raises
    ------
    ValueError
        If the numbers of curves and labels differ.
    """
    rows = np.atleast_2d(curves)
    if len(labels) != len(rows):
        raise fail("labels", f"a sequence of {len(rows)} entries, one per curve", len(labels))
    colors = sweep_colors(len(rows))
    triples = zip(rows, labels, colors, strict=True)
    return tuple(plot_theory(ax, x, row, label=text, color=color) for row, text, color in triples)


def plot_staircase(
    ax: Axes,
    thresholds: ArrayLike,
    levels: ArrayLike,
    *,
    x_range: tuple[float, float],
    label: str | None = None,
    color: str = INK,
) -> tuple[Line2D, Line2D]:
    """Draw the graph of a scalar quantizer: treads, and thin risers where it jumps.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    thresholds : array_like
        Sorted decision thresholds, shape ``(num_levels - 1,)``.
    levels : array_like
        Sorted levels, shape ``(num_levels,)``.
    x_range : tuple of float
        Least and largest input drawn; thresholds outside are left out.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    tuple of Line2D
        The treads and the risers.

    Raises
    ------
    ValueError
        If the shapes do not fit, or if ``x_range`` is not increasing.
    """
    edges, values = _cells(thresholds, levels, x_range)
    treads_x, treads_y = _segments(edges[:-1], edges[1:], values, values)
    risers_x, risers_y = _segments(edges[1:-1], edges[1:-1], values[:-1], values[1:])
    treads = ax.plot(treads_x, treads_y, color=color, label=label, solid_capstyle="butt")[0]
    risers = ax.plot(risers_x, risers_y, color=color, linewidth=0.8, alpha=0.6)[0]
    return treads, risers


def plot_error(
    ax: Axes,
    thresholds: ArrayLike,
    levels: ArrayLike,
    *,
    x_range: tuple[float, float],
    label: str | None = None,
    color: str = VERMILION,
) -> Line2D:
    """Draw the error of a scalar quantizer, level minus input: a sawtooth.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    thresholds : array_like
        Sorted decision thresholds, shape ``(num_levels - 1,)``.
    levels : array_like
        Sorted levels, shape ``(num_levels,)``.
    x_range : tuple of float
        Least and largest input drawn.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    Line2D
        The teeth, not joined where the error jumps.

    Raises
    ------
    ValueError
        If the shapes do not fit, or if ``x_range`` is not increasing.
    """
    edges, values = _cells(thresholds, levels, x_range)
    x, y = _segments(edges[:-1], edges[1:], values - edges[:-1], values - edges[1:])
    return ax.plot(x, y, color=color, label=label)[0]


def plot_histogram(
    ax: Axes,
    heights: ArrayLike,
    edges: ArrayLike,
    *,
    label: str | None = None,
    color: str = BLUE,
) -> StepPatch:
    """Draw a histogram that was counted elsewhere.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    heights : array_like
        Counts or densities, shape ``(num_bins,)``.
    edges : array_like
        Sorted edges of the bins, shape ``(num_bins + 1,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    StepPatch
        The filled outline.

    Raises
    ------
    ValueError
        If there is not one edge more than heights.
    """
    tops, sides = np.asarray(heights, dtype=float), np.asarray(edges, dtype=float)
    if tops.ndim != 1 or sides.shape != (tops.size + 1,):
        raise fail("edges", f"of shape ({tops.size + 1},), one more than heights", sides.shape)
    face = mpl.colors.to_rgba(color, 0.3)
    return ax.stairs(
        tops, sides, fill=True, facecolor=face, edgecolor=color, linewidth=1.0, label=label
    )


def plot_density(
    ax: Axes, x: ArrayLike, density: ArrayLike, *, label: str | None = None, color: str = BLUE
) -> tuple[Line2D, Artist]:
    """Draw a probability density: a solid line over a light fill.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x, density : array_like
        Points of the curve, shape ``(num_points,)``.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    tuple of Line2D and Artist
        The line and the fill.
    """
    line = plot_theory(ax, x, density, label=label, color=color)
    fill = ax.fill_between(
        np.asarray(x, dtype=float),
        np.asarray(density, dtype=float),
        color=color,
        alpha=0.12,
        linewidth=0,
    )
    return line, fill


def plot_region(
    ax: Axes,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    label: str | None = None,
    color: str = VERMILION,
) -> Artist:
    """Fill a forbidden or invalid band of the panel lightly.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x_range, y_range : tuple of float, optional
        Lower and upper limit of the band; exactly one of the two is given.
    label : str, optional
        Entry in the legend.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    Artist
        The band.

    Raises
    ------
    ValueError
        If both ranges or none are given.
    """
    if x_range is not None and y_range is None:
        return ax.axvspan(*x_range, color=color, alpha=0.12, linewidth=0, label=label)
    if y_range is not None and x_range is None:
        return ax.axhspan(*y_range, color=color, alpha=0.12, linewidth=0, label=label)
    raise fail("x_range", "given if and only if `y_range` is not", x_range)


def plot_levels(
    ax: Axes, levels: Mapping[str, ArrayLike], *, x_scale: str = "linear"
) -> tuple[LineCollection, ...]:
    """Draw the levels of several number formats, one row of ticks for each.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    levels : mapping of str to array_like
        Levels of each format, shape ``(num_levels,)``, in the order of the rows from the top.
        A name known to :func:`category_style` gets its color, any other is drawn in ink.
    x_scale : {"linear", "log"}
        Scale of the axis; a logarithmic axis shows the positive levels only.

    Returns
    -------
    tuple of LineCollection
        One row of ticks for each format.

    Raises
    ------
    ValueError
        If ``levels`` is empty or ``x_scale`` is unknown.
    """
    check_choice("x_scale", x_scale, ("linear", "log"))
    if not levels:
        raise fail("levels", "a mapping with at least one format", levels)
    ax.set_xscale(x_scale)
    rows = []
    for row, (name, values) in enumerate(levels.items()):
        shown = np.asarray(values, dtype=float)
        shown = shown[np.isfinite(shown) & ((shown > 0) | (x_scale == "linear"))]
        rows.append(
            ax.vlines(shown, row - 0.36, row + 0.36, color=_category_color(name), linewidth=1.2)
        )
    ax.set_yticks(range(len(levels)), list(levels))
    ax.set_ylim(len(levels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    return tuple(rows)


def plot_z_scores(
    ax: Axes, x: ArrayLike, z_scores: ArrayLike, *, limit: float = 5.0, color: str = BLUE
) -> Line2D:
    """Draw z-scores of simulations against theory, with the limits of acceptance.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x : array_like
        Abscissas, shape ``(num_points,)``.
    z_scores : array_like
        Estimate minus theory in standard errors, shape ``(num_points,)``.
    limit : float
        Largest accepted size of a score, above zero.
    color : str
        Any color of Matplotlib.

    Returns
    -------
    Line2D
        The markers.

    Raises
    ------
    ValueError
        If ``limit`` is not finite and above zero.
    """
    bound = check_positive("limit", limit)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    for height in (-bound, bound):
        ax.axhline(height, color=VERMILION, linestyle="--")
    ax.set_ylim(-1.2 * bound, 1.2 * bound)
    return ax.plot(x, z_scores, color=color, marker="o", linestyle="none")[0]


def plot_heatmap(
    ax: Axes,
    x_edges: ArrayLike,
    y_edges: ArrayLike,
    values: ArrayLike,
    *,
    label: str,
    log_scale: bool = False,
) -> tuple[QuadMesh, Colorbar]:
    """Draw a table of numbers as colored cells with a color bar.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    x_edges, y_edges : array_like
        Sorted edges of the cells, shapes ``(num_columns + 1,)`` and ``(num_rows + 1,)``.
    values : array_like
        Numbers, shape ``(num_rows, num_columns)``.
    label : str
        What the colors mean, with unit or normalizer.
    log_scale : bool
        Whether the colors follow the logarithm of positive values.

    Returns
    -------
    tuple of QuadMesh and Colorbar
        The cells and the color bar.

    Raises
    ------
    ValueError
        If the shape of ``values`` does not fit the edges.
    """
    table = np.asarray(values, dtype=float)
    shape = (np.size(y_edges) - 1, np.size(x_edges) - 1)
    if table.shape != shape:
        raise fail("values", f"of shape {shape} between the edges", table.shape)
    norm: Normalize = LogNorm() if log_scale else Normalize()
    ax.grid(visible=False)
    mesh = ax.pcolormesh(x_edges, y_edges, table, norm=norm, cmap="cividis", rasterized=True)
    bar = ax.figure.colorbar(mesh, ax=ax, label=label)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)
    return mesh, bar


def plot_phase_diagram(
    ax: Axes,
    columns: Sequence[object],
    depths: ArrayLike,
    accuracy: ArrayLike,
    *,
    lines: Mapping[str, ArrayLike] = MappingProxyType({}),
) -> tuple[QuadMesh, tuple[Line2D, ...]]:
    """Draw accuracies over a setting and the depth, in percent, with predicted borders.

    Parameters
    ----------
    ax : Axes
        Panel to draw in.
    columns : sequence
        Values of the setting, evenly spaced whatever they are, shape ``(num_columns,)``.
    depths : array_like
        Increasing depths, above zero, shape ``(num_depths,)``, at least two; the axis is
        logarithmic.
    accuracy : array_like
        Fractions from 0 to 1, shape ``(num_depths, num_columns)``; a cell with NaN stays empty.
    lines : mapping of str to array_like
        Depth of each border in each column by its label, shape ``(num_columns,)``. The parts
        outside of the panel are not drawn.

    Returns
    -------
    tuple of QuadMesh and tuple of Line2D
        The cells and the borders, in the order of ``lines``.

    Raises
    ------
    ValueError
        If the shape of ``accuracy`` or of a border does not fit.
    """
    heights, table = np.asarray(depths, dtype=float), np.asarray(accuracy, dtype=float)
    if table.shape != (heights.size, len(columns)):
        raise fail("accuracy", f"of shape {(heights.size, len(columns))}", table.shape)
    middles = np.sqrt(heights[1:] * heights[:-1])
    ends = (heights[0] ** 2 / middles[0], heights[-1] ** 2 / middles[-1])
    edges = np.concatenate(([ends[0]], middles, [ends[1]]))
    ax.grid(visible=False)
    places = np.arange(len(columns))
    mesh = ax.pcolormesh(
        np.arange(len(columns) + 1) - 0.5, edges, table, vmin=0, vmax=1, cmap="cividis"
    )
    for row, column in np.argwhere(np.isfinite(table)):
        share = table[row, column]
        color = "#ffffff" if share < 0.55 else "#101010"
        # A patch of the color of the cell keeps a border from crossing the number.
        patch = {"boxstyle": "round,pad=0.1", "facecolor": mesh.cmap(share), "edgecolor": "none"}
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": patch}
        ax.text(column, heights[row], f"{100 * share:.0f}", color=color, zorder=4, **style)
    ax.set(yscale="log", xlim=(-0.5, len(columns) - 0.5), ylim=ends)
    ax.set_xticks(places, [str(column) for column in columns])
    ax.set_yticks(heights, [f"{height:g}" for height in heights])
    ax.minorticks_off()
    return mesh, tuple(
        _border(ax, values, label, style)
        for (label, values), style in zip(lines.items(), _BORDERS * len(lines), strict=False)
    )


def _border(ax: Axes, depths: ArrayLike, label: str, style: str) -> Line2D:
    """Draw a border over cells: a dark line on a light one, legible on any color, with its name."""
    heights = np.asarray(depths, dtype=float)
    count = len(ax.get_xticks())
    if heights.shape != (count,):
        raise fail("lines", f"arrays of shape ({count},)", heights.shape)
    ax.plot(np.arange(count), heights, color="#fdfdfd", linewidth=3.6, alpha=0.9)
    line = ax.plot(np.arange(count), heights, color="#101010", linestyle=style, linewidth=1.6)[0]
    line.set_label(label)
    low, high = ax.get_ylim()
    inside = np.flatnonzero((heights > low) & (heights < high))
    if inside.size:
        first = int(inside[0])
        style_of_text: dict[str, Any] = {"fontsize": 8, "ha": "left", "va": "center"}
        box = {"boxstyle": "round,pad=0.15", "facecolor": "#fdfdfd", "edgecolor": "none"}
        place = (first - 0.46, heights[first])
        ax.text(*place, label, color="#101010", bbox=box, zorder=5, **style_of_text)
    return line


def bit_axis(ax: Axes, *, axis: str = "x", label: str | None = "bit width") -> None:
    """Put integer ticks on an axis of bit widths, and its label.

    Parameters
    ----------
    ax : Axes
        Panel to change.
    axis : {"x", "y"}
        Which axis.
    label : str, optional
        Label of the axis; ``None`` leaves it as it is.

    Raises
    ------
    ValueError
        If ``axis`` is neither ``"x"`` nor ``"y"``.
    """
    check_choice("axis", axis, ("x", "y"))
    chosen = ax.xaxis if axis == "x" else ax.yaxis
    chosen.set_major_locator(MaxNLocator(integer=True))
    if label is not None:
        chosen.set_label_text(label)


def _category_color(name: str) -> str:
    """Color of a known format, ink for any other."""
    try:
        return category_style(name).color
    except ValueError:
        return INK


def _cells(
    thresholds: ArrayLike, levels: ArrayLike, x_range: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges and levels of the cells that meet ``x_range``, the outer edges cut to it."""
    cuts = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    values = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    if values.ndim != 1 or cuts.shape != (values.size - 1,):
        raise fail("thresholds", f"of shape ({values.size - 1},), one less than levels", cuts.shape)
    low, high = x_range
    if not low < high:
        raise fail("x_range", "a pair of increasing limits", x_range)
    first, last = np.searchsorted(cuts, [low, high], side="right")
    inside = cuts[first:last]
    return np.concatenate(([low], inside, [high])), values[first : last + 1]


def _segments(
    x_start: NDArray[np.float64],
    x_end: NDArray[np.float64],
    y_start: NDArray[np.float64],
    y_end: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join separate segments to one line with gaps."""
    gap = np.full_like(x_start, np.nan)
    x = np.stack((x_start, x_end, gap), axis=-1).ravel()
    y = np.stack((y_start, y_end, gap), axis=-1).ravel()
    return x, y
