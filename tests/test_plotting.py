"""The look of the book: colors that stand out, builders that draw what they are given."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from numpy.testing import assert_allclose, assert_array_equal

from qtheory import plotting

LIGHT_PAGE = "#ffffff"
DARK_PAGE = "#14181e"
THRESHOLDS = [-1.0, 0.0, 1.0]
LEVELS = [-1.5, -0.5, 0.5, 1.5]
BASELINE = Path(__file__).parent / "baseline"


@pytest.fixture
def ax():
    """Return one panel of the book's size in its style."""
    settings = dict(plotting.STYLE)
    with mpl.rc_context(settings):
        yield Figure(figsize=plotting.SINGLE, dpi=60).subplots()


def luminance(color):
    """Return the relative luminance of WCAG 2."""
    values = np.array(to_rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    """Return the contrast ratio of WCAG 2."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def drawn(line):
    """Return the finite points of a line."""
    points = line.get_xydata()
    return points[np.isfinite(points).all(axis=1)]


# --- Style --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "color",
    [color for color in plotting.PALETTE.values() if color != plotting.INK]
    + list(plotting.sweep_colors(7)),
)
@pytest.mark.parametrize("page", [LIGHT_PAGE, DARK_PAGE])
def test_every_color_stands_out_from_both_pages(color, page):
    assert contrast(color, page) >= 3


def test_ink_is_readable_on_the_light_page_as_text():
    assert contrast(plotting.INK, LIGHT_PAGE) >= 7


def test_contrast_of_black_and_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_sweep_colors_are_ordered_by_luminance():
    assert np.all(np.diff([luminance(color) for color in plotting.sweep_colors(9)]) > 0)


def test_a_sweep_of_one_value_has_one_color():
    assert len(plotting.sweep_colors(1)) == 1


def test_use_style_sets_every_setting_of_the_style():
    with mpl.rc_context():
        plotting.use_style()
        sizes = {name: tuple(mpl.rcParams[name]) for name in ("figure.figsize", "font.family")}
        assert sizes == {"figure.figsize": plotting.SINGLE, "font.family": ("DejaVu Sans",)}
        others = {name: value for name, value in plotting.STYLE.items() if name not in sizes}
        assert {name: mpl.rcParams[name] for name in others} == others


def test_single_has_the_size_of_one_panel_and_its_labels():
    fig, ax = plotting.single(x_label="bit width", y_label="distortion / source variance")
    plt.close(fig)
    assert tuple(fig.get_size_inches()) == plotting.SINGLE
    assert ax.get_xlabel() == "bit width"
    assert ax.get_ylabel() == "distortion / source variance"


def test_wide_has_panels_side_by_side_that_share_an_axis_on_demand():
    fig, axes = plotting.wide(3, share_y=True)
    plt.close(fig)
    assert tuple(fig.get_size_inches()) == plotting.WIDE
    assert len(axes) == 3
    assert axes[0].get_shared_y_axes().joined(axes[0], axes[2])


@pytest.mark.parametrize("count", [0, 5])
def test_wide_refuses_a_number_of_panels(count):
    with pytest.raises(ValueError, match="`num_columns` must be an integer of at"):
        plotting.wide(count)


# --- Categories ---------------------------------------------------------------------------------

FORMATS = [
    "INT2", "INT3", "INT4", "INT8", "FP4_E2M1", "FP6_E2M3", "FP6_E3M2", "FP8_E4M3", "FP8_E5M2",
    "FP8_E4M3FNUZ", "MXFP4", "MXFP6", "MXFP8", "MXINT8", "NVFP4", "BF16", "FP16", "TF32",
]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_book_has_a_look(name):
    assert plotting.category_style(name).color in plotting.PALETTE.values()


def test_no_two_formats_look_the_same():
    styles = [plotting.category_style(name) for name in FORMATS]
    looks = {(style.color, style.marker, str(style.linestyle)) for style in styles}
    assert len(looks) == len(FORMATS)


@pytest.mark.parametrize("name", ["fp8-e4m3", "FP8 E4M3", "e4m3"])
def test_spellings_of_a_format_have_one_look(name):
    assert plotting.category_style(name) == plotting.category_style("FP8_E4M3")


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"`name` must be one of BF16, .*, got 'posit8'"):
        plotting.category_style("posit8")


# --- Builders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "linestyle"),
    [
        (plotting.plot_theory, "-"),
        (plotting.plot_bound, "--"),
        (plotting.plot_approximation, ":"),
    ],
)
def test_a_role_has_its_line_style_and_no_markers(ax, build, linestyle):
    line = build(ax, [1, 2, 3], [1, 4, 9], label="curve")
    assert (line.get_linestyle(), line.get_marker()) == (linestyle, "")
    assert_array_equal(line.get_xydata(), [[1, 1], [2, 4], [3, 9]])
    assert line.get_label() == "curve"


def test_an_estimate_has_markers_and_two_standard_errors(ax):
    estimates = [SimpleNamespace(mean=1.0, std_error=0.1), SimpleNamespace(mean=2.0, std_error=0.2)]
    markers, _, (bars,) = plotting.plot_estimate(ax, [3, 4], estimates)
    assert markers.get_linestyle() == "None"
    assert_allclose(markers.get_xydata(), [[3, 1], [4, 2]])
    assert_allclose(bars.get_segments(), [[[3, 0.8], [3, 1.2]], [[4, 1.6], [4, 2.4]]])


def test_an_estimate_may_hold_arrays(ax):
    estimate = SimpleNamespace(mean=np.array([1.0, 2.0]), std_error=np.array([0.1, 0.2]))
    markers, _, _ = plotting.plot_estimate(ax, [3, 4], estimate)
    assert_allclose(markers.get_xydata(), [[3, 1], [4, 2]])


def test_estimates_must_fit_the_abscissas(ax):
    with pytest.raises(ValueError, match=r"`estimates` must be of shape \(2,\) like `x`, got"):
        plotting.plot_estimate(ax, [3, 4], [SimpleNamespace(mean=1.0, std_error=0.1)])


def test_a_category_is_named_after_its_format(ax):
    line = plotting.plot_category(ax, range(30), range(30), name="MXFP4")
    assert (line.get_label(), line.get_marker()) == ("MXFP4", "o")
    assert line.get_markevery() == 3


def test_a_sweep_has_one_line_for_each_value(ax):
    lines = plotting.plot_sweep(ax, [0, 1], [[0, 1], [0, 2], [0, 3]], labels=["1", "2", "3"])
    assert [line.get_color() for line in lines] == list(plotting.sweep_colors(3))


def test_a_sweep_needs_a_label_for_each_curve(ax):
    with pytest.raises(ValueError, match="`labels` must be a sequence of 2 entries"):
        plotting.plot_sweep(ax, [0, 1], [[0, 1], [0, 2]], labels=["1"])


def test_a_staircase_has_one_tread_for_each_level(ax):
    treads, risers = plotting.plot_staircase(ax, THRESHOLDS, LEVELS, x_range=(-2, 2))
    assert_allclose(
        drawn(treads),
        [[-2, -1.5], [-1, -1.5], [-1, -0.5], [0, -0.5], [0, 0.5], [1, 0.5], [1, 1.5], [2, 1.5]],
    )
    assert_allclose(
        drawn(risers), [[-1, -1.5], [-1, -0.5], [0, -0.5], [0, 0.5], [1, 0.5], [1, 1.5]]
    )


def test_a_staircase_is_cut_to_its_range(ax):
    treads, _ = plotting.plot_staircase(ax, THRESHOLDS, LEVELS, x_range=(-0.5, 0.25))
    assert_allclose(drawn(treads), [[-0.5, -0.5], [0, -0.5], [0, 0.5], [0.25, 0.5]])


def test_a_staircase_of_one_level_is_flat(ax):
    treads, risers = plotting.plot_staircase(ax, [], [0.5], x_range=(-1, 1))
    assert_allclose(drawn(treads), [[-1, 0.5], [1, 0.5]])
    assert drawn(risers).size == 0


def test_the_error_is_level_minus_input(ax):
    teeth = plotting.plot_error(ax, [0.0], [-0.5, 0.5], x_range=(-1, 1))
    assert_allclose(drawn(teeth), [[-1, 0.5], [0, -0.5], [0, 0.5], [1, -0.5]])


def test_thresholds_must_fit_the_levels(ax):
    with pytest.raises(ValueError, match=r"`thresholds` must be of shape \(3,\), one less"):
        plotting.plot_staircase(ax, [0.0], LEVELS, x_range=(-2, 2))


@pytest.mark.parametrize("x_range", [(1, 1), (2, -2), (float("nan"), 1)])
def test_the_range_must_increase(ax, x_range):
    with pytest.raises(ValueError, match="`x_range` must be a pair of increasing limits"):
        plotting.plot_error(ax, THRESHOLDS, LEVELS, x_range=x_range)


def test_a_histogram_draws_the_heights_it_is_given(ax):
    patch = plotting.plot_histogram(ax, [1, 3, 2], [0, 1, 2, 3], label="weights")
    assert_array_equal(patch.get_data().values, [1, 3, 2])


def test_a_histogram_needs_one_edge_more_than_heights(ax):
    with pytest.raises(ValueError, match=r"`edges` must be of shape \(4,\), one more"):
        plotting.plot_histogram(ax, [1, 3, 2], [0, 1, 2])


def test_a_density_has_a_line_and_a_fill(ax):
    line, fill = plotting.plot_density(ax, [0, 1, 2], [0, 1, 0])
    assert_array_equal(line.get_ydata(), [0, 1, 0])
    assert fill.get_alpha() < 0.3


@pytest.mark.parametrize("limits", [{"x_range": (1, 2)}, {"y_range": (1, 2)}])
def test_a_region_is_a_light_band(ax, limits):
    assert plotting.plot_region(ax, **limits).get_alpha() < 0.3


@pytest.mark.parametrize("limits", [{}, {"x_range": (1, 2), "y_range": (1, 2)}])
def test_a_region_has_exactly_one_range(ax, limits):
    with pytest.raises(ValueError, match="`x_range` must be given if and only if `y_range` is not"):
        plotting.plot_region(ax, **limits)


def test_levels_have_one_row_for_each_format(ax):
    rows = plotting.plot_levels(ax, {"INT4": range(-8, 8), "FP4_E2M1": [0, 0.5, 1], "own": [1]})
    assert [len(row.get_segments()) for row in rows] == [16, 3, 1]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["INT4", "FP4_E2M1", "own"]


def test_a_logarithmic_axis_shows_positive_finite_levels(ax):
    (row,) = plotting.plot_levels(ax, {"FP8_E5M2": [-1, 0, 0.5, 1, np.inf]}, x_scale="log")
    assert len(row.get_segments()) == 2
    assert ax.get_xscale() == "log"


def test_levels_of_no_format_are_refused(ax):
    with pytest.raises(ValueError, match="`levels` must be a mapping with at least one format"):
        plotting.plot_levels(ax, {})


def test_an_unknown_scale_is_refused(ax):
    with pytest.raises(ValueError, match="`x_scale` must be one of 'linear', 'log'"):
        plotting.plot_levels(ax, {"INT4": [1]}, x_scale="symlog")


def test_z_scores_stand_between_their_limits(ax):
    markers = plotting.plot_z_scores(ax, [1, 2], [0.3, -1.2], limit=4)
    assert_allclose(markers.get_ydata(), [0.3, -1.2])
    assert sorted(line.get_ydata()[0] for line in ax.lines[:3]) == [-4, 0, 4]


def test_the_limit_of_z_scores_is_positive(ax):
    with pytest.raises(ValueError, match="`limit` must be finite and above zero, got 0"):
        plotting.plot_z_scores(ax, [1], [0], limit=0)


@pytest.mark.parametrize("log_scale", [False, True])
def test_a_heatmap_has_cells_and_a_labeled_bar(ax, log_scale):
    values = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    mesh, bar = plotting.plot_heatmap(
        ax, [0, 1, 2], [0, 1, 2, 3], values, label="loss / dB", log_scale=log_scale
    )
    assert_allclose(mesh.get_array(), values)
    assert bar.ax.get_ylabel() == "loss / dB"


def test_cells_of_a_heatmap_fit_between_the_edges(ax):
    with pytest.raises(ValueError, match=r"`values` must be of shape \(3, 2\) between the edges"):
        plotting.plot_heatmap(ax, [0, 1, 2], [0, 1, 2, 3], [[1.0]], label="loss")


def test_a_phase_diagram_has_numbers_in_its_cells_and_named_borders(ax):
    accuracy = [[0.98, 1.0], [0.1, 0.5], [np.nan, 0.124]]
    mesh, lines = plotting.plot_phase_diagram(
        ax, [2, 16], [4, 8, 32], accuracy, lines={"6 depth scales": [5, 20], "none": [99, 99]}
    )
    assert_array_equal(mesh.get_array().filled(np.nan), accuracy)
    shown = {text.get_text() for text in ax.texts}
    assert shown == {"98", "100", "10", "50", "12", "6 depth scales"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["4", "8", "32"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "16"]
    assert ax.get_yscale() == "log"
    assert [line.get_label() for line in lines] == ["6 depth scales", "none"]
    assert_array_equal(lines[0].get_ydata(), [5, 20])


def test_a_phase_diagram_fits_its_columns_and_depths(ax):
    with pytest.raises(ValueError, match=r"`accuracy` must be of shape \(2, 3\), got \(3, 2\)"):
        plotting.plot_phase_diagram(ax, [2, 3, 4], [4, 8], np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"`lines` must be arrays of shape \(3,\), got \(2,\)"):
        plotting.plot_phase_diagram(ax, [2, 3, 4], [4, 8], np.ones((2, 3)), lines={"a": [1.0, 2.0]})


@pytest.mark.parametrize("axis", ["x", "y"])
def test_ticks_at_bit_widths_are_integers(ax, axis):
    ax.set(xlim=(2, 4), ylim=(2, 4))
    plotting.bit_axis(ax, axis=axis)
    chosen = {"x": ax.xaxis, "y": ax.yaxis}[axis]
    ticks = np.asarray(chosen.get_majorticklocs())
    assert_array_equal(ticks, np.round(ticks))
    assert chosen.get_label_text() == "bit width"


def test_a_bit_axis_may_keep_its_label(ax):
    ax.set_xlabel("rate / bits")
    plotting.bit_axis(ax, label=None)
    assert ax.get_xlabel() == "rate / bits"


def test_an_unknown_axis_is_refused(ax):
    with pytest.raises(ValueError, match="`axis` must be one of 'x', 'y', got 'z'"):
        plotting.bit_axis(ax, axis="z")


# --- Pictures -----------------------------------------------------------------------------------
# To renew one on purpose: copy the picture named in the failure over tests/baseline.


def staircase(ax):
    plotting.plot_region(ax, x_range=(1, 2), label="overload")
    plotting.plot_approximation(ax, [-2, 2], [-2, 2], label="input")
    plotting.plot_staircase(ax, THRESHOLDS, LEVELS, x_range=(-2, 2), label="quantizer")
    plotting.plot_error(ax, THRESHOLDS, LEVELS, x_range=(-2, 2), label="error")
    ax.set(xlim=(-2, 2), xlabel="input", ylabel="output")
    ax.legend()


def roles(ax):
    x = np.arange(2, 9)
    plotting.plot_theory(ax, x, 4.0**-x, label="theory")
    plotting.plot_bound(ax, x, 2 * 4.0**-x, label="bound")
    plotting.plot_approximation(ax, x, 0.5 * 4.0**-x, label="approximation")
    estimate = SimpleNamespace(mean=4.0**-x, std_error=0.1 * 4.0**-x)
    plotting.plot_estimate(ax, x, estimate, label="simulation")
    ax.set(yscale="log", ylabel="distortion / source variance")
    plotting.bit_axis(ax)
    ax.legend()


def formats(ax):
    plotting.plot_levels(ax, {"INT4": range(-7, 8), "FP4_E2M1": [-6, -4, -3, 0, 3, 4, 6]})
    ax.set_xlabel("level")


@pytest.mark.golden
@pytest.mark.parametrize("build", [staircase, roles, formats])
def test_picture_is_that_of_the_baseline(ax, tmp_path, build):
    build(ax)
    actual = str(tmp_path / f"{build.__name__}.png")
    ax.figure.set_layout_engine("constrained")
    ax.figure.savefig(actual, dpi=60, facecolor="white", metadata={"Software": None})
    assert compare_images(str(BASELINE / f"{build.__name__}.png"), actual, tol=3) is None


def test_another_picture_is_told_from_the_baseline(ax, tmp_path):
    plotting.plot_staircase(ax, THRESHOLDS, LEVELS, x_range=(-2, 2))
    actual = str(tmp_path / "staircase.png")
    ax.figure.savefig(actual, dpi=60, facecolor="white")
    expected = tmp_path / "expected.png"
    expected.write_bytes((BASELINE / "staircase.png").read_bytes())
    assert compare_images(str(expected), actual, tol=3) is not None
