"""The interactive figure: its arguments, its prepared frames, its widgets."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

from qtheory import figures, plotting
from qtheory.figures import InteractiveFigure, Slider

ipywidgets = pytest.importorskip("ipywidgets")

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def draw(ax, height, slope):
    """Draw a line between fixed limits."""
    plotting.plot_theory(ax, [0, 1], [height, height + slope], label="line")
    plotting.plot_bound(ax, [0, 1], [2, 2], label="bound")
    ax.set(xlim=(0, 1), ylim=(-1, 4), xlabel="input", ylabel="output $10^{-3}$")
    ax.legend(loc="upper left")


def sliders():
    """Return two sliders with five and three values."""
    return [
        Slider("height", "height", [0, 0.5, 1, 1.5, 2], format="{:.1f} std", initial=2),
        Slider("slope", "slope", np.array([-1, 0, 1]), format=lambda value: f"slope {value}"),
    ]


def make(**changes):
    """Return a small figure with some arguments exchanged."""
    arguments = {
        "draw": draw,
        "sliders": sliders(),
        "readout": "Height {height:.1f} & slope {slope}.",
        "alt": "A line <and> a bound.",
    }
    return InteractiveFigure(**(arguments | changes))


@pytest.fixture(scope="module")
def figure():
    """Return one figure for the tests that only look."""
    return make()


def parse(markup):
    """Return the tree of an element of SVG."""
    return ET.fromstring(markup)


def signature(tree):
    """Return the elements of a tree without their identifiers, whose names depend on the figure."""
    kept = ("id", "href", "clip-path", "data-frame", "aria-label")
    return [
        (node.tag, node.text, sorted(item for item in node.items() if item[0] not in kept))
        for node in tree.iter()
    ]


def stored(figure):
    """Return the data that the script of the page reads."""
    found = re.search(r'class="qt-data">(.*?)</script>', figure.html, re.DOTALL)
    return json.loads(found[1])


# --- Sliders -------------------------------------------------------------------------------


def test_a_slider_says_its_values_in_words():
    height, slope = sliders()
    assert height.text(0.5) == "0.5 std"
    assert slope.text(1) == "slope 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"values": []}, "`values` must be a sequence of at least two", id="none"),
        pytest.param({"values": [1]}, "`values` must be a sequence of at least two", id="one"),
        pytest.param({"values": [1, 2, 1]}, "`values` must be without repetition", id="repeated"),
        pytest.param({"name": "bit width"}, "`name` must be an identifier", id="name"),
        pytest.param({"label": " "}, "`label` must be a text that is not empty", id="label"),
        pytest.param({"initial": 3}, "`initial` must be an integer of at most 2", id="initial"),
        pytest.param({"initial": -1}, "`initial` must be an integer of at least 0", id="before"),
        pytest.param({"format": "bits"}, "`format` must be a text with exactly one", id="format"),
        pytest.param({"format": "{} {}"}, "`format` must be a text with exactly one", id="two"),
        pytest.param({"live_range": (2, 1, 1)}, "`live_range` must be", id="range"),
        pytest.param({"live_range": (1, 2, 0)}, "`live_range` must be", id="step"),
    ],
)
def test_a_slider_refuses(arguments, message):
    good = {"name": "bit_width", "label": "bit width", "values": [1, 2, 3]}
    with pytest.raises(ValueError, match=message):
        Slider(**(good | arguments))


# --- Arguments of the figure -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"sliders": []}, "`sliders` must be a sequence of one to four", id="none"),
        pytest.param(
            {"sliders": sliders()[:1] * 5}, "`sliders` must be a sequence of one to four", id="five"
        ),
        pytest.param(
            {"sliders": sliders()[:1] * 2}, "`sliders` must be sliders with different", id="twice"
        ),
        pytest.param({"alt": ""}, "`alt` must be a sentence that is not empty", id="alt"),
        pytest.param({"play": "bits"}, "`play` must be one of 'height', 'slope'", id="play"),
        pytest.param({"num_panels": 4}, "`num_panels` must be an integer of at most 3", id="rows"),
        pytest.param(
            {"readout": "{heigth} is wrong"},
            r"`readout` must be a text with fields height, slope, got \['heigth'\]",
            id="readout-field",
        ),
        pytest.param(
            {"readout": lambda height: "words"},
            r"`readout` must be a function of \(height, slope\), got .*'slope'",
            id="readout-argument",
        ),
        pytest.param({"readout": lambda **_: ""}, "`readout` must be a sentence at h", id="silent"),
        pytest.param(
            {"draw": lambda ax, height: None},
            r"`draw` must be a function of \(ax, height, slope\), got .*'slope'",
            id="draw",
        ),
    ],
)
def test_a_figure_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_a_grid_of_too_many_frames_is_refused_before_it_is_drawn():
    wide = [Slider("height", "height", range(21)), Slider("slope", "slope", range(20))]
    with pytest.raises(ValueError, match="`sliders` must be a grid of at most 400 frames, got 420"):
        make(sliders=wide)


def test_a_figure_of_too_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(figures, "MAX_HTML_BYTES", 1000)
    with pytest.raises(ValueError, match=r"a grid of at most 1000 bytes of HTML, got '\d+ bytes"):
        make()


@pytest.mark.parametrize("part", ["draw", "readout"])
def test_an_error_names_the_values_of_the_sliders(part):
    def fails(*_, height, slope):
        raise ZeroDivisionError(f"cannot {part}")

    with pytest.raises(ZeroDivisionError, match=f"cannot {part}") as caught:
        make(**{part: fails})
    assert "the frame at height=0, slope=-1" in caught.value.__notes__[0].replace(
        "np.int64(-1)", "-1"
    )


# --- Frames ----------------------------------------------------------------------------------


def test_frames_run_over_the_grid_with_the_last_slider_fastest(figure):
    assert figure.num_frames == 15
    assert figure.readouts[:4] == (
        "Height 0.0 & slope -1.",
        "Height 0.0 & slope 0.",
        "Height 0.0 & slope 1.",
        "Height 0.5 & slope -1.",
    )


@pytest.mark.parametrize("index", [0, 7, 14])
def test_a_stored_frame_is_the_frame_drawn_directly(figure, index):
    height, slope = ([0, 0.5, 1, 1.5, 2][index // 3], [-1, 0, 1][index % 3])
    alone = make(
        sliders=[
            Slider("height", "height", [height, "never drawn"]),
            Slider("slope", "slope", [slope, "never drawn"]),
        ],
        draw=lambda ax, **_: draw(ax, height, slope),
        readout="words",
    )
    assert signature(parse(figure.frame(index))) == signature(parse(alone.frame(0)))


def test_different_values_give_different_pictures(figure):
    pictures = {str(signature(parse(figure.frame(index)))) for index in range(15)}
    assert len(pictures) == 15


def test_the_page_stores_the_frames_that_the_object_writes(figure):
    data = stored(figure)

    def expand(text):
        return re.sub(r"~(\d+)~", lambda found: expand(data["pool"][int(found[1])]), text)

    assert all(expand(data["frames"][k]) in figure.frame(k) for k in range(15))
    assert data["readouts"] == list(figure.readouts)
    assert data["texts"][0] == ["0.0 std", "0.5 std", "1.0 std", "1.5 std", "2.0 std"]


def test_equal_parts_of_sixty_frames_are_stored_once():
    height = Slider("height", "height", [k / 10 for k in range(20)])
    large = make(sliders=[height, sliders()[1]])
    assert large.num_frames == 60
    assert len(large.html.encode()) < 60_000
    assert len(large.html.encode()) < large.num_frames * len(large.frame(0)) / 5


def test_panels_stand_still_while_labels_change():
    def wide_labels(ax, height, slope):
        ax.set(xlim=(0, 1), ylim=(0, 10 ** (2 * height)))

    moving = make(draw=wide_labels)
    spines = [re.findall(r'd="M([\d.]+) [\d.]+L\1 [\d.]+"', moving.frame(k))[-1] for k in (0, 14)]
    assert "1000" not in moving.frame(0)
    assert "10000" in moving.frame(14)
    assert spines[0] == spines[1]


def test_ink_takes_the_text_color_of_the_page(figure):
    assert plotting.INK not in figure.frame(0)
    assert "stroke:currentColor" in figure.frame(0)
    assert "stroke:var(--qt-vermilion,#d55e00)" in figure.frame(0)


def test_a_frame_is_named_by_what_it_shows_and_says(figure):
    picture = parse(figure.frame(4))
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "A line <and> a bound. Height 0.5 & slope 0."


@pytest.mark.parametrize("index", [-1, 15])
def test_a_frame_out_of_the_grid_is_refused(figure, index):
    with pytest.raises(ValueError, match="`index` must be an integer of at"):
        figure.frame(index)


def test_several_panels_stand_below_each_other():
    seen = []
    panels = make(draw=lambda axes, **_: seen.append(axes), num_panels=2, size=(4, 2))
    assert len(seen[0]) == 2
    assert parse(panels.frame(0)).get("viewBox") == "0 0 288 288"


def test_a_color_bar_does_not_disturb_the_layout():
    table = np.arange(4.0).reshape(2, 2)

    def heat(ax, height, slope):
        plotting.plot_heatmap(ax, [0, 1, 2], [0, 1, 2], table + height, label="loss")

    pictures = parse(make(draw=heat).frame(0)).iter("{http://www.w3.org/2000/svg}image")
    heights = [float(picture.get("height")) for picture in pictures]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(heights[1], abs=2)


def test_frames_may_have_different_numbers_of_axes():
    def twice(ax, height, slope):
        plotting.plot_theory(ax, [0, 1], [0, 1])
        [ax.twinx() for _ in range(int(height))]

    assert make(draw=twice).num_frames == 15


# --- The static face -------------------------------------------------------------------------


def test_the_same_arguments_give_the_same_bytes(figure):
    assert make().html == figure.html


def test_the_same_bytes_whatever_the_style_outside(figure):
    with mpl.rc_context({"font.size": 20, "svg.fonttype": "path", "axes.grid": False}):
        assert make().html == figure.html


def test_identifiers_belong_to_one_figure(figure):
    other = make(alt="Another line.")
    names = [set(re.findall(r' id="([^"]+)"', item.html)) for item in (figure, other)]
    assert names[0]
    assert not names[0] & names[1]


def test_nothing_is_asked_of_another_host(figure):
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", figure.html))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_without_script_the_initial_frame_and_readout_are_there(figure):
    visible = re.sub(r"<(script|style).*?</\1>", "", figure.html, flags=re.DOTALL)
    assert 'data-frame="6"' in visible
    assert re.search(r'class="qt-readout" role="status"[^>]*>Height 1.0 &amp; slope -1.<', visible)
    assert '<div class="qt-controls" hidden>' in visible


def test_controls_are_native_and_named(figure):
    assert figure.html.count('<input type="range"') == 2
    assert '<span class="qt-name">height</span><input type="range" min="0" max="4"' in figure.html
    assert 'value="2" aria-valuetext="1.0 std"' in figure.html
    assert '<button type="button" class="qt-play" aria-pressed="false">' in figure.html


def test_the_play_button_may_move_another_slider():
    assert stored(make(play="slope"))["play"] == 1


def test_texts_cannot_leave_their_place():
    hostile = make(readout=lambda **_: "</script><!-- <b>", alt='"><script>')
    assert hostile.html.count("</script>") == 2
    assert "<!--" not in hostile.html
    assert stored(hostile)["readouts"][0] == "</script><!-- <b>"
    assert parse(hostile.frame(0)).get("aria-label") == '"><script> </script><!-- <b>'


def test_a_page_of_its_own_holds_the_figure(figure, tmp_path):
    figure.save_html(tmp_path / "figure.html")
    page = (tmp_path / "figure.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert figure.html in page


# --- The faces in a notebook ------------------------------------------------------------------


def test_the_plain_text_is_one_line_without_an_address(figure):
    assert repr(figure) == "InteractiveFigure(height: 5 values, slope: 3 values; 15 frames)"


def test_without_a_kernel_there_is_the_static_face_alone(figure):
    bundle = figure._repr_mimebundle_()
    assert bundle == {"text/plain": repr(figure), "text/html": figure.html}


@pytest.fixture
def kernel(monkeypatch):
    """Pretend that a notebook kernel runs."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.usefixtures("kernel")
def test_with_a_kernel_there_are_both_faces(figure, monkeypatch):
    view = SimpleNamespace(_repr_mimebundle_=lambda: {WIDGET_VIEW: {"model_id": "1"}})
    monkeypatch.setattr(InteractiveFigure, "widget", lambda self: view)
    bundle = figure._repr_mimebundle_()
    assert bundle["text/html"] == figure.html
    assert bundle[WIDGET_VIEW] == {"model_id": "1"}


@pytest.mark.usefixtures("kernel")
def test_without_ipywidgets_there_is_the_static_face_alone(figure, monkeypatch):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    assert set(figure._repr_mimebundle_()) == {"text/plain", "text/html"}


def parts(widget):
    """Return picture, sliders, play button and readout of the live face."""
    picture, *controls, play, readout = widget.children
    return picture, controls, play, readout


def test_the_live_face_starts_at_the_initial_values(figure):
    picture, (height, slope), _, readout = parts(figure.widget())
    assert (height.description, height.value, slope.value) == ("height", 1, -1)
    assert figure.frame(6) in picture.value
    assert "Height 1.0 &amp; slope -1." in readout.value


def test_moving_a_live_slider_changes_picture_and_readout(figure):
    picture, (_, slope), _, readout = parts(figure.widget())
    slope.value = 1
    assert figure.frame(8) in picture.value
    assert "Height 1.0 &amp; slope 1." in readout.value


def test_the_live_play_button_moves_its_slider(figure):
    picture, (height, _), play, _ = parts(figure.widget())
    play.value = 4
    assert height.value == 2
    assert figure.frame(12) in picture.value


@pytest.mark.parametrize(
    ("live_range", "value", "kind"),
    [
        pytest.param((0.0, 2.0, 0.25), 0.75, ipywidgets.FloatSlider, id="real"),
        pytest.param((0, 9, 1), 7, ipywidgets.IntSlider, id="whole"),
    ],
)
def test_a_live_range_reaches_values_between_the_frames(live_range, value, kind):
    seen = []
    fine = Slider("height", "height", [0, 1, 2], live_range=live_range)
    figure = make(
        sliders=[fine, sliders()[1]],
        draw=lambda ax, height, slope: seen.append(height),
    )
    picture, (height, _), _, readout = parts(figure.widget())
    height.value = value
    assert isinstance(height, kind)
    assert seen[-1] == value
    assert f"Height {value:.1f} " in readout.value
    assert "data-frame" not in picture.value.rpartition("</style>")[2]
