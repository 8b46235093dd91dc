"""Interactive figures with two faces: live widgets with a kernel, prepared frames without.

An :class:`InteractiveFigure` draws one picture for every combination of its sliders. On a static
page the pictures are swapped by a short script, with the sliders, the keyboard and the screen
reader of the browser and without any library. Where a notebook kernel runs, the same object
appears as widgets. This module computes nothing: it calls the functions it is given.
"""

import hashlib
import html
import importlib
import importlib.util
import inspect
import io
import itertools
import json
import math
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_integer, check_nonempty, fail
from qtheory._svg import PackedFrames, clean_svg, pack_frames
from qtheory.datasets import array_from_upload
from qtheory.plotting import INK, PALETTE, SINGLE, STYLE

__all__ = ["MAX_FRAMES", "MAX_HTML_BYTES", "ArrayBox", "InteractiveFigure", "Slider"]

MAX_FRAMES = 400
"""Most frames one figure may have: the product of the numbers of values of its sliders."""

MAX_HTML_BYTES = 1_500_000
"""Largest size of the static face of one figure, in bytes."""

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PLAY_INTERVAL_MS = 900
_COLORS = {
    value: "currentColor" if value == INK else f"var(--qt-{name},{value})"
    for name, value in PALETTE.items()
}


@dataclass(frozen=True, eq=False)
class Slider:
    """One control of an interactive figure.

    Parameters
    ----------
    name : str
        Keyword under which the value reaches ``draw`` and ``readout``.
    label : str
        What the reader sees beside the control, such as ``"bit width"``.
    values : sequence
        At least two different values, in the order of the slider.
    format : str or callable
        Turns a value into words: a format string with one field, such as ``"{:.1f} std"``, or a
        function.
    initial : int
        Index of the value shown at first, from 0 to ``len(values) - 1``.
    live_range : tuple of float, optional
        Least value, largest value and step of the widget when a kernel runs. Left out, the
        widget offers ``values``.

    Raises
    ------
    ValueError
        If ``name`` is not an identifier, ``label`` is empty, ``values`` has fewer than two values
        or repeats one, ``initial`` is no index of ``values``, ``format`` does not have exactly
        one field, or ``live_range`` is not increasing with a positive step.

    Examples
    --------
    >>> Slider("bit_width", "bit width", range(2, 9), format="{} bits").text(4)
    '4 bits'
    """

    name: str
    label: str
    values: Sequence[Any]
    format: str | Callable[[Any], str] = "{}"
    initial: int = 0
    live_range: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise fail("name", "an identifier", self.name)
        if not self.label.strip():
            raise fail("label", "a text that is not empty", self.label)
        values = tuple(self.values)
        if len(values) < 2:
            raise fail("values", "a sequence of at least two values", values)
        if len(set(values)) < len(values):
            raise fail("values", "without repetition", values)
        object.__setattr__(self, "values", values)
        check_integer("initial", self.initial, minimum=0, maximum=len(values) - 1)
        if isinstance(self.format, str) and len(_fields(self.format)) != 1:
            raise fail("format", "a text with exactly one field like {}", self.format)
        if self.live_range is not None:
            low, high, step = self.live_range
            if not (low < high and 0 < step < math.inf):
                raise fail("live_range", "(low, high, step), increasing", self.live_range)

    def text(self, value: object) -> str:
        """Put one value into words.

        Parameters
        ----------
        value : object
            A value of the slider.

        Returns
        -------
        str
            The value as ``format`` writes it.
        """
        return self.format.format(value) if isinstance(self.format, str) else self.format(value)


class InteractiveFigure:
    """A picture with one to four sliders, a play button and a sentence that reads the values.

    All frames are drawn when the object is made, so an error in ``draw`` fails at once. As the
    last expression of a notebook cell the object shows itself.

    Parameters
    ----------
    draw : callable
        Called as ``draw(ax, **values)`` with one value for each slider; draws one frame with the
        builders of :mod:`qtheory.plotting`. With several panels ``ax`` is a tuple of them, from
        top to bottom. Set the limits of the axes, so that they stand still.
    sliders : sequence of Slider
        One to four sliders with different names.
    readout : callable or str
        Called as ``readout(**values)``, gives one sentence with the numbers of the frame. A text
        is taken as a format string whose fields are names of sliders.
    alt : str
        One sentence: what the picture shows. Screen readers get it with the readout.
    play : str, optional
        Name of the slider that the play button moves; the first one if left out.
    num_panels : int
        Number of panels, one above the other, from 1 to 3.
    size : tuple of float
        Width and height in inches; the height is that of one panel.

    Raises
    ------
    ValueError
        If there are no sliders or more than four, if two have one name, if ``draw`` or
        ``readout`` cannot take the names of the sliders, if ``alt`` or a readout is empty, if
        ``play`` names no slider, or if the figure has more than :data:`MAX_FRAMES` frames or
        more than :data:`MAX_HTML_BYTES` bytes.

    Notes
    -----
    An exception raised by ``draw`` or ``readout`` is passed on with a note that names the values.
    Equal inputs give equal bytes. Colors of :data:`qtheory.plotting.PALETTE` follow the light or
    dark page, ink becomes its text color; every other color stays as it is.

    Examples
    --------
    >>> from qtheory.plotting import plot_theory
    >>> figure = InteractiveFigure(
    ...     lambda ax, slope, shift: plot_theory(ax, [0, 1], [shift, shift + slope]),
    ...     [Slider("slope", "slope", [1, 2]), Slider("shift", "shift", [0, 1])],
    ...     "Slope {slope}, shift {shift}.",
    ...     alt="A straight line.",
    ... )
    >>> figure
    InteractiveFigure(slope: 2 values, shift: 2 values; 4 frames)
    """

    def __init__(
        self,
        draw: Callable[..., object],
        sliders: Sequence[Slider],
        readout: Callable[..., str] | str,
        *,
        alt: str,
        play: str | None = None,
        num_panels: int = 1,
        size: tuple[float, float] = SINGLE,
    ) -> None:
        self._sliders = tuple(sliders)
        self._draw, self._readout, self._alt = draw, readout, alt
        self._size, self._num_panels = size, num_panels
        self._play = play if play is not None or not sliders else self._sliders[0].name
        self._validate()
        grid = [self._values(place) for place in np.ndindex(*self._shape)]
        self._readouts = tuple(self._sentence(values) for values in grid)
        self._layout = self._common_layout()
        documents = [self._document(values) for values in grid]
        self._prefix = self._identify(documents)
        self._packed, self._view_box = self._pack(documents)
        self._html = _static_face(self)
        if len(self._html.encode()) > MAX_HTML_BYTES:
            size_found = f"{len(self._html.encode())} bytes in {len(grid)} frames"
            raise fail("sliders", f"a grid of at most {MAX_HTML_BYTES} bytes of HTML", size_found)

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """The sliders, first one first."""
        return self._sliders

    @property
    def num_frames(self) -> int:
        """Number of frames: the product of the numbers of values."""
        return len(self._readouts)

    @property
    def readouts(self) -> tuple[str, ...]:
        """The sentence of each frame; the last slider moves fastest."""
        return self._readouts

    @property
    def html(self) -> str:
        """The static face: a fragment of HTML that needs nothing from outside."""
        return self._html

    def __repr__(self) -> str:
        parts = ", ".join(f"{item.name}: {len(item.values)} values" for item in self._sliders)
        return f"InteractiveFigure({parts}; {self.num_frames} frames)"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        """Offer the static face always, the live face where a kernel and ipywidgets are there."""
        bundle: dict[str, object] = {"text/plain": repr(self), "text/html": self._html}
        if _kernel_is_running() and importlib.util.find_spec("ipywidgets") is not None:
            bundle[_WIDGET_VIEW] = self.widget()._repr_mimebundle_()[_WIDGET_VIEW]
        return bundle

    def frame(self, index: int) -> str:
        """Write out the SVG of one frame.

        Parameters
        ----------
        index : int
            Number of the frame, from 0 to ``num_frames - 1``; the last slider moves fastest.

        Returns
        -------
        str
            The picture as an ``svg`` element, named by ``alt`` and the readout.

        Raises
        ------
        ValueError
            If ``index`` is out of range.
        """
        check_integer("index", index, minimum=0, maximum=self.num_frames - 1)
        return self._svg(self._packed.unpack(index), self._readouts[index], index=index)

    def widget(self) -> Any:
        """Build the live face.

        Returns
        -------
        ipywidgets.VBox
            Picture, sliders, play button and readout. A change of a slider draws anew.

        Raises
        ------
        ModuleNotFoundError
            If ipywidgets is not installed.
        """
        return _live_face(self)

    def save_html(self, path: str | Path) -> None:
        """Write a page of its own with this figure, for looking at it outside the book.

        Parameters
        ----------
        path : str or Path
            File to write.
        """
        page = _PAGE.format(title=html.escape(self._alt), body=self._html)
        Path(path).write_text(page, encoding="utf-8")

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(item.values) for item in self._sliders)

    def _validate(self) -> None:
        """Check what does not need a drawing."""
        names = [item.name for item in self._sliders]
        if not 1 <= len(names) <= 4:
            raise fail("sliders", "a sequence of one to four sliders", names)
        if len(set(names)) < len(names):
            raise fail("sliders", "sliders with different names", names)
        if math.prod(self._shape) > MAX_FRAMES:
            raise fail("sliders", f"a grid of at most {MAX_FRAMES} frames", math.prod(self._shape))
        if not self._alt.strip():
            raise fail("alt", "a sentence that is not empty", self._alt)
        check_choice("play", self._play, names)
        check_integer("num_panels", self._num_panels, minimum=1, maximum=3)
        _check_callable("draw", self._draw, 1, names)
        if isinstance(self._readout, str):
            unknown = [field for field in _fields(self._readout) if field not in names]
            if unknown:
                raise fail("readout", "a text with fields " + ", ".join(names), unknown)
        else:
            _check_callable("readout", self._readout, 0, names)

    def _values(self, place: Sequence[int]) -> dict[str, Any]:
        """Values of the sliders at a place of the grid."""
        pairs = zip(self._sliders, place, strict=True)
        return {item.name: item.values[index] for item, index in pairs}

    def _sentence(self, values: Mapping[str, Any]) -> str:
        """Readout of one frame."""
        readout = self._readout
        with _named("reading out", values):
            text = readout.format(**values) if isinstance(readout, str) else readout(**values)
        if not (isinstance(text, str) and text.strip()):
            raise fail("readout", f"a sentence at {_assignments(values)}", text)
        return text

    def _figure(self, values: Mapping[str, Any]) -> Figure:
        """Draw one frame; the caller sets the style."""
        width, height = self._size
        figure = Figure(figsize=(width, height * self._num_panels), layout="constrained")
        panels = tuple(figure.subplots(self._num_panels, squeeze=False)[:, 0])
        with _named("drawing", values):
            self._draw(panels[0] if self._num_panels == 1 else panels, **values)
        return figure

    def _common_layout(self) -> tuple[Bbox, ...]:
        """Panels that leave room for the labels of all outermost frames, so that none jumps."""
        ends = itertools.product(*((0, size - 1) for size in self._shape))
        layouts = []
        with _style():
            for place in ends:
                figure = self._figure(self._values(place))
                figure.draw_without_rendering()
                layouts.append([ax.get_position(original=True) for ax in figure.axes])
        if len({len(boxes) for boxes in layouts}) > 1:
            return ()
        corners = np.array([[box.extents for box in boxes] for boxes in layouts])
        inner = np.concatenate((corners[..., :2].max(axis=0), corners[..., 2:].min(axis=0)), -1)
        return tuple(Bbox.from_extents(*box) for box in inner)

    def _document(self, values: Mapping[str, Any]) -> str:
        """SVG document of one frame, as Matplotlib writes it."""
        stream = io.StringIO()
        with _style():
            figure = self._figure(values)
            canvas: Any = FigureCanvasSVG(figure)
            if len(figure.axes) == len(self._layout):
                figure.set_layout_engine("none")
                for ax, box in zip(figure.axes, self._layout, strict=True):
                    ax.set_position(box)
            canvas.print_svg(stream, metadata={"Date": None, "Creator": None})
        return stream.getvalue()

    def _identify(self, documents: Sequence[str]) -> str:
        """Prefix for identifiers, from the contents of the figure."""
        words = [self._alt, *self._readouts, *(item.label for item in self._sliders), *documents]
        return "qt" + hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]

    def _pack(self, documents: Sequence[str]) -> tuple[PackedFrames, str]:
        """Clean the documents and store their equal parts once."""
        cleaned = [clean_svg(text, prefix=self._prefix, colors=_COLORS) for text in documents]
        return pack_frames([contents for _, contents in cleaned]), cleaned[0][0]

    def _svg(self, contents: str, readout: str, *, index: int | None) -> str:
        """Put the contents of a frame into an ``svg`` element."""
        label = html.escape(f"{self._alt} {readout}")
        frame = "" if index is None else f' data-frame="{index}"'
        width = round(self._size[0] * 120)
        return (
            f'<svg class="qt-frame" xmlns="http://www.w3.org/2000/svg"'
            f' viewBox="{self._view_box}" role="img" aria-label="{label}"{frame}'
            f' style="width:100%;max-width:{width}px;height:auto" stroke-linejoin="round">'
            f"{contents}</svg>"
        )

    def _live_svg(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """Picture and readout of any values; prepared frames are taken where they fit."""
        grid = [self._values(place) for place in np.ndindex(*self._shape)]
        readout = self._sentence(values)
        if values in grid:
            return self.frame(grid.index(dict(values))), readout
        document = self._document(values)
        _, contents = clean_svg(document, prefix=self._prefix + "x", colors=_COLORS)
        packed = pack_frames([contents])
        return self._svg(packed.unpack(0), readout, index=None), readout


class ArrayBox:
    """A box into which a reader drops an array of their own, where a kernel runs.

    On a static page the box says what it would do, and :attr:`array` is the default.

    Parameters
    ----------
    default : array_like
        Real numbers that stand in until a file is chosen, at least one.

    Raises
    ------
    ValueError
        If ``default`` is empty or does not hold real numbers.

    Notes
    -----
    Files are read by :func:`qtheory.datasets.array_from_upload`: NumPy files and tables of numbers,
    never pickles. A file that cannot be read leaves the array as it was, and the box says why.

    Examples
    --------
    >>> box = ArrayBox([1.0, 2.0])
    >>> box.array
    array([1., 2.])
    >>> box
    ArrayBox(the default array of shape (2,))
    """

    def __init__(self, default: ArrayLike) -> None:
        self._array = np.array(as_float_array("default", default))
        check_nonempty("default", self._array)
        self._source = "the default array"

    @property
    def array(self) -> NDArray[np.floating]:
        """The array of the last file that could be read, or the default."""
        return self._array

    def __repr__(self) -> str:
        return f"ArrayBox({self._source} of shape {self._array.shape})"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        """Offer a note always, the box itself where a kernel and ipywidgets are there."""
        bundle: dict[str, object] = {"text/plain": repr(self), "text/html": _BOX_NOTE}
        if _kernel_is_running() and importlib.util.find_spec("ipywidgets") is not None:
            bundle[_WIDGET_VIEW] = self.widget()._repr_mimebundle_()[_WIDGET_VIEW]
        return bundle

    def widget(self) -> Any:
        """Build the live box.

        Returns
        -------
        ipywidgets.VBox
            A file chooser and a line that says what was read, or why not.

        Raises
        ------
        ModuleNotFoundError
            If ipywidgets is not installed.
        """
        widgets = importlib.import_module("ipywidgets")
        chooser = widgets.FileUpload(
            accept=".npy,.npz,.csv,.txt",
            description="Your array",
            tooltip="Choose a NumPy file or a table of numbers",
        )
        status = widgets.HTML(f'<div role="status">{html.escape(repr(self))}</div>')

        def read(change: Any) -> None:
            status.value = f'<div role="status">{html.escape(self._read(change["new"]))}</div>'

        chooser.observe(read, names="value")
        return widgets.VBox([chooser, status])

    def _read(self, value: Sequence[Mapping[str, object]]) -> str:
        """Take the chosen file and say so, or say why it cannot be taken."""
        try:
            self._array = array_from_upload(value)
        except ValueError as error:
            return f"{error} The array stays as it was."
        self._source = f"{value[0]['name']}"
        return f"{self!r}: run the cells below again."


class _named:  # noqa: N801
    """Context that adds the values of the sliders to an exception that passes."""

    def __init__(self, action: str, values: Mapping[str, Any]) -> None:
        self._note = f"while {action} the frame at {_assignments(values)}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(self._note)


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _fields(text: str) -> list[str]:
    """Names of the fields of a format string, without attributes and indices."""
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    return [name.partition(".")[0].partition("[")[0] for name in names]


def _check_callable(
    name: str, function: Callable[..., object], num_positional: int, names: Sequence[str]
) -> None:
    """Refuse a function that cannot be called with the names of the sliders."""
    try:
        inspect.signature(function).bind(*[None] * num_positional, **dict.fromkeys(names))
    except TypeError as error:
        wanted = ", ".join(["ax"] * num_positional + list(names))
        raise fail(name, f"a function of ({wanted})", str(error)) from None


def _style() -> Any:
    settings: Any = dict(STYLE)
    return mpl.rc_context(settings)


def _kernel_is_running() -> bool:
    """Whether the code runs in a notebook kernel, which can talk to widgets."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _static_face(figure: InteractiveFigure) -> str:
    """Write the fragment of HTML with the prepared frames."""
    shape, start = figure._shape, tuple(item.initial for item in figure.sliders)
    first = int(np.ravel_multi_index(start, shape))
    data = {
        "alt": figure._alt,
        "play": [item.name for item in figure.sliders].index(figure._play or ""),
        "texts": [[item.text(value) for value in item.values] for item in figure.sliders],
        "readouts": figure.readouts,
        "pool": figure._packed.pool,
        "frames": figure._packed.frames,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return _FRAGMENT.format(
        css=_CSS,
        group=html.escape("Interactive figure. " + figure._alt),
        frame=figure.frame(first),
        controls="".join(_control(item) for item in figure.sliders),
        readout=html.escape(figure.readouts[first]),
        data=text.replace("</", "<\\/").replace("<!--", "\\u003c!--"),
        script=_SCRIPT.replace("INTERVAL", str(_PLAY_INTERVAL_MS)),
    )


def _control(slider: Slider) -> str:
    """Write the markup of one slider."""
    text = html.escape(slider.text(slider.values[slider.initial]))
    return (
        f'<label class="qt-slider"><span class="qt-name">{html.escape(slider.label)}</span>'
        f'<input type="range" min="0" max="{len(slider.values) - 1}" step="1"'
        f' value="{slider.initial}" aria-valuetext="{text}" autocomplete="off"'
        f' data-name="{slider.name}"><span class="qt-value" aria-hidden="true">{text}</span>'
        "</label>"
    )


def _live_face(figure: InteractiveFigure) -> Any:
    """Build the widgets and connect them."""
    widgets = importlib.import_module("ipywidgets")
    controls = {item.name: _live_control(widgets, item) for item in figure.sliders}
    picture, readout = widgets.HTML(), widgets.HTML()
    readout.add_class("qt-readout")

    def update(_: object = None) -> None:
        values = {name: control.value for name, control in controls.items()}
        svg, sentence = figure._live_svg(values)
        picture.value = f'<div class="qt-figure"><style>{_CSS}</style>{svg}</div>'
        readout.value = f'<div role="status">{html.escape(sentence)}</div>'

    for control in controls.values():
        control.observe(update, names="value")
    update()
    moved = next(item for item in figure.sliders if item.name == figure._play)
    play = _live_play(widgets, moved, controls[moved.name])
    return widgets.VBox([picture, *controls.values(), play, readout])


def _live_control(widgets: Any, slider: Slider) -> Any:
    """Build the widget of one slider."""
    looks = {
        "description": slider.label,
        "tooltip": slider.label,
        "style": {"description_width": "initial"},
        "layout": widgets.Layout(width="min(32rem, 98%)"),
    }
    value = slider.values[slider.initial]
    if slider.live_range is None:
        options = [(slider.text(item), item) for item in slider.values]
        return widgets.SelectionSlider(options=options, value=value, **looks)
    low, high, step = slider.live_range
    whole = all(isinstance(number, int) for number in slider.live_range)
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, continuous_update=False, **looks)


def _live_play(widgets: Any, slider: Slider, control: Any) -> Any:
    """Build the play button, which steps through the prepared values of one slider."""
    play = widgets.Play(
        min=0,
        max=len(slider.values) - 1,
        value=slider.initial,
        interval=_PLAY_INTERVAL_MS,
        description=f"play {slider.label}",
    )

    def move(change: Any) -> None:
        control.value = slider.values[change["new"]]

    play.observe(move, names="value")
    return play


_BOX_NOTE = (
    "<p>Where this page runs live, on Binder, on Colab or on a computer of yours, a button stands "
    "here. It takes a NumPy file or a table of numbers, which the cells below then use.</p>"
)

_DARK_COLORS = (
    "--qt-blue:#56b4e9;--qt-vermilion:#f0783c;--qt-green:#2dbd92;"
    "--qt-purple:#d98bbd;--qt-orange:#e69f00;--qt-accent:#56b4e9"
)

_CSS = (
    ".qt-figure{--qt-accent:#0072b2;box-sizing:border-box;max-width:100%;margin:.5rem 0;"
    "color:inherit;font-size:1rem;line-height:1.4}"
    "html[data-theme=dark] .qt-figure,html[theme=dark] .qt-figure,"
    "body[data-jp-theme-light=false] .qt-figure{" + _DARK_COLORS + "}"
    "html[data-theme=dark] .bd-content div.cell_output .text_html:has(.qt-figure.qt-figure)"
    "{background:none;color:inherit;padding:0}"
    ".qt-figure .qt-frame{display:block;margin:0 auto;overflow:visible}"
    ".qt-figure .qt-frame text{fill:currentColor;font-family:inherit}"
    ".qt-figure .qt-frame image{image-rendering:pixelated}"
    ".qt-figure .qt-controls{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;align-items:center;"
    "max-width:36rem;margin:.25rem auto 0}"
    ".qt-figure .qt-controls[hidden]{display:none}"
    ".qt-figure .qt-slider{display:grid;grid-template-columns:8.5rem minmax(5rem,1fr) 5.5rem;"
    "gap:.75rem;align-items:center;flex:1 1 100%;margin:0;min-height:44px}"
    ".qt-figure .qt-slider input{width:100%;min-width:0;height:44px;margin:0;padding:0;"
    "accent-color:var(--qt-accent);cursor:pointer}"
    ".qt-figure .qt-value{font-variant-numeric:tabular-nums}"
    ".qt-figure .qt-play{min-width:6rem;min-height:44px;padding:.25rem 1rem;cursor:pointer;"
    "font:inherit;color:inherit;background:transparent;border:1px solid currentColor;"
    "border-radius:.4rem}"
    ".qt-figure .qt-play::before{content:'';display:inline-block;width:.7em;height:.8em;"
    "margin-right:.5em;background:currentColor;clip-path:polygon(0 0,100% 50%,0 100%)}"
    ".qt-figure .qt-play[aria-pressed=true]::before{"
    "clip-path:polygon(0 0,35% 0,35% 100%,65% 100%,65% 0,100% 0,100% 100%,0 100%)}"
    ".qt-figure .qt-play[aria-pressed=true]{box-shadow:inset 0 0 0 2px currentColor}"
    ".qt-figure :focus-visible{outline:3px solid var(--qt-accent);outline-offset:2px}"
    ".qt-figure .qt-readout{display:block;max-width:36rem;margin:.5rem auto 0;min-height:2.8em}"
    "@media(max-width:480px){.qt-figure .qt-slider{"
    "grid-template-columns:1fr auto;gap:0 .75rem;padding-top:.25rem}"
    ".qt-figure .qt-slider input{grid-row:2;grid-column:1/3}}"
    "@media print{.qt-figure .qt-controls{display:none}}"
)

_SCRIPT = """
(function () {
  document.querySelectorAll(".qt-figure:not([data-ready])").forEach(function (root) {
    var store = root.querySelector("script.qt-data");
    if (!store) return;
    root.setAttribute("data-ready", "");
    var data = JSON.parse(store.textContent);
    var svg = root.querySelector(".qt-frame"), readout = root.querySelector(".qt-readout");
    var play = root.querySelector(".qt-play"), controls = root.querySelector(".qt-controls");
    var inputs = Array.from(root.querySelectorAll("input[type=range]"));
    var moved = inputs[data.play], timer = null;
    var still = window.matchMedia("(prefers-reduced-motion: reduce)");
    function picture(text) {
      return text.replace(/~(\\d+)~/g, function (_, k) { return picture(data.pool[k]); });
    }
    function show() {
      var index = 0;
      inputs.forEach(function (input, k) {
        var text = data.texts[k][+input.value];
        index = index * data.texts[k].length + +input.value;
        input.setAttribute("aria-valuetext", text);
        input.parentNode.querySelector(".qt-value").textContent = text;
      });
      if (svg.getAttribute("data-frame") === String(index)) return;
      svg.innerHTML = picture(data.frames[index]);
      svg.setAttribute("data-frame", index);
      svg.setAttribute("aria-label", data.alt + " " + data.readouts[index]);
      readout.textContent = data.readouts[index];
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      play.setAttribute("aria-pressed", "false");
      readout.setAttribute("aria-live", "polite");
    }
    function advance() {
      if (+moved.value < +moved.max) moved.value = +moved.value + 1;
      if (+moved.value === +moved.max) stop();
      show();
    }
    inputs.forEach(function (input) {
      input.addEventListener("input", function () { stop(); show(); });
      input.addEventListener("pointerdown", stop);
      input.addEventListener("keydown", stop);
    });
    play.addEventListener("click", function () {
      if (timer !== null) return stop();
      if (+moved.value === +moved.max) { moved.value = 0; show(); if (still.matches) return; }
      else if (still.matches) return advance();
      play.setAttribute("aria-pressed", "true");
      readout.setAttribute("aria-live", "off");
      timer = setInterval(advance, INTERVAL);
    });
    controls.hidden = false;
    show();
  });
})();
"""

_FRAGMENT = """<div class="qt-figure mathjax_ignore tex2jax_ignore" role="group" \
aria-label="{group}">
<style>{css}</style>
{frame}
<div class="qt-controls" hidden>{controls}\
<button type="button" class="qt-play" aria-pressed="false">Play</button></div>
<output class="qt-readout" role="status" aria-live="polite">{readout}</output>
<script type="application/json" class="qt-data">{data}</script>
<script>{script}</script>
</div>"""

_PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>{title}</title>\n<style>:root{{color-scheme:light dark}}"
    "body{{font-family:system-ui,sans-serif;max-width:48rem;margin:1rem auto;padding:0 1rem;"
    "background:#fff;color:#1b2025}}"
    "@media(prefers-color-scheme:dark){{body{{background:#14181e;color:#ced6dd}}"
    ".qt-figure{{" + _DARK_COLORS + "!important}}}}"
    "</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
)
