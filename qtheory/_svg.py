"""Drawings as small trees: clean the SVG of Matplotlib, store many frames without repetition.

Knows nothing of plots; needs the standard library alone. A frame is a tree of elements. Equal
parts of the frames (ticks, labels, axes, styles) are kept once in a pool of strings, and every
string names the parts it contains as ``~number~``.
"""

import hashlib
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["PackedFrames", "clean_svg", "element_to_string", "pack_frames"]

_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_LOCAL_URL = re.compile(r"url\(#([^)]+)\)")
_REFERENCE = re.compile(r"~(\d+)~")
_GEOMETRY = ("d", "x", "y", "dy", "width", "height", "transform", "id")
_DROPPED_STYLES = ("font-family", "stroke-miterlimit")
_MIN_SHARED_LENGTH = 9

# Markup as it stands, or a piece that may be shared: its full text and what it is made of.
_Part: TypeAlias = "str | tuple[str, list[_Part]]"


@dataclass(frozen=True, eq=False)
class PackedFrames:
    """Frames of a drawing with their equal parts stored once.

    Parameters
    ----------
    pool : tuple of str
        Shared parts. ``~k~`` inside a part stands for part number ``k``.
    frames : tuple of str
        One string for each frame, in the same notation.
    """

    pool: tuple[str, ...]
    frames: tuple[str, ...]

    def unpack(self, index: int) -> str:
        """Write out one frame in full, as the script of the page does."""

        def expand(text: str) -> str:
            return _REFERENCE.sub(lambda match: expand(self.pool[int(match[1])]), text)

        return expand(self.frames[index])


def clean_svg(svg: str, *, prefix: str, colors: Mapping[str, str]) -> tuple[str, list[ET.Element]]:
    """Reduce an SVG document of Matplotlib to what it shows.

    Parameters
    ----------
    svg : str
        The document, written with ``svg.fonttype`` "none".
    prefix : str
        Put before every identifier that is kept.
    colors : mapping of str to str
        Colors to replace, lower-case hexadecimal to any CSS color.

    Returns
    -------
    tuple of str and list of Element
        The ``viewBox`` and the contents of the document, without name spaces, metadata, global
        styles, fonts, invisible paths, empty groups and unused identifiers, and with coordinates
        rounded to one decimal.
    """
    root = ET.fromstring(svg)
    for element in root.iter():
        _localize(element)
    contents = [part for child in root for part in _simplified(child, colors)]
    _rename_identifiers(contents, prefix)
    return root.get("viewBox", ""), [part for part in contents if not _is_unused(part)]


def element_to_string(element: ET.Element) -> str:
    """Write one element as markup, without indentation; ``~`` in texts is escaped."""
    return "".join(part if isinstance(part, str) else part[0] for part in _parts(element))


def pack_frames(frames: Sequence[Sequence[ET.Element]]) -> PackedFrames:
    """Store frames with every part that occurs more than once kept once.

    Parameters
    ----------
    frames : sequence of sequence of Element
        Contents of the frames, as :func:`clean_svg` returns them.

    Returns
    -------
    PackedFrames
        Unpacking frame ``k`` gives exactly the joined markup of ``frames[k]``.
    """
    uses: Counter[str] = Counter()
    children: dict[str, list[_Part]] = {}
    roots = [[(element_to_string(child), _parts(child)) for child in frame] for frame in frames]
    for frame in roots:
        for text, parts in frame:
            _count(text, parts, uses, children)
    pool: list[str] = []
    places: dict[str, int] = {}

    def encode(text: str, parts: list[_Part]) -> str:
        if text in places:
            return f"~{places[text]}~"
        body = "".join(part if isinstance(part, str) else encode(*part) for part in parts)
        if uses[text] < 2 or len(text) < _MIN_SHARED_LENGTH:
            return body
        places[text] = len(pool)
        pool.append(body)
        return f"~{places[text]}~"

    encoded = tuple("".join(encode(text, parts) for text, parts in frame) for frame in roots)
    return PackedFrames(pool=tuple(pool), frames=encoded)


def _count(
    text: str, parts: list[_Part], uses: Counter[str], children: dict[str, list[_Part]]
) -> None:
    """Count in how many distinct places each part stands; parts of a known part count once."""
    uses[text] += 1
    if text in children:
        return
    children[text] = parts
    for part in parts:
        if not isinstance(part, str):
            _count(part[0], part[1], uses, children)


def _parts(element: ET.Element) -> list[_Part]:
    """Split the markup of an element into literal text and parts that may be shared."""
    look = "".join(_attribute(*item) for item in element.items() if item[0] not in _GEOMETRY)
    place = "".join(_attribute(*item) for item in element.items() if item[0] in _GEOMETRY)
    parts: list[_Part] = [f"<{element.tag}"]
    if look:
        parts.append((look, [look]))
    parts.append(place)
    if not len(element) and not element.text:
        return [*parts, "/>"]
    parts.append(">" + _escape(element.text or ""))
    for child in element:
        below = _parts(child)
        text = "".join(part if isinstance(part, str) else part[0] for part in below)
        parts += [(text, below), _escape(child.tail or "")]
    return [*parts, f"</{element.tag}>"]


def _attribute(name: str, value: str) -> str:
    return f' {name}="' + _escape(value).replace('"', "&quot;") + '"'


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("~", "&#126;")


def _localize(element: ET.Element) -> None:
    """Remove name spaces from tags and attributes."""
    element.tag = element.tag.rpartition("}")[2]
    for name in [key for key in element.attrib if "}" in key]:
        element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)


def _simplified(element: ET.Element, colors: Mapping[str, str]) -> Iterator[ET.Element]:
    """Yield what is left of an element: nothing, the element, or the contents of a plain group."""
    if element.tag in ("metadata", "style", "title") or _is_invisible(element):
        return
    keeps_text = element.tag in ("text", "tspan")
    _simplify_attributes(element, colors)
    if element.tag == "text" and len(element):
        _join_glyphs(element)
    contents = [part for child in element for part in _simplified(child, colors)]
    element[:] = contents
    if not keeps_text:
        element.text = None
        for part in contents:
            part.tail = None
    if element.tag in ("g", "defs") and not contents:
        return
    if element.tag == "g" and set(element.attrib) <= {"id"}:
        yield from contents
    else:
        yield element


def _is_invisible(element: ET.Element) -> bool:
    style = _style(element)
    painted = style.get("fill") != "none" or "stroke" in style
    return element.tag == "path" and (not painted or style.get("opacity") == "0")


def _style(element: ET.Element) -> dict[str, str]:
    pairs = (item.partition(":") for item in element.get("style", "").split(";") if item.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _simplify_attributes(element: ET.Element, colors: Mapping[str, str]) -> None:
    """Shorten styles, numbers and embedded pictures, and exchange colors."""
    style = {name: value for name, value in _style(element).items() if name not in _DROPPED_STYLES}
    if style:
        pairs = (f"{name}:{colors.get(value, value)}" for name, value in style.items())
        element.set("style", ";".join(pairs))
    else:
        element.attrib.pop("style", None)
    for name in {"d", "x", "y", "width", "height"} & set(element.attrib):
        element.set(name, _shorten(element.attrib[name]))
    if "transform" in element.attrib:
        _simplify_transform(element)
    if element.get("href", "").startswith("data:"):
        element.set("href", "".join(element.attrib["href"].split()))


def _shorten(value: str) -> str:
    """Round the numbers to one decimal and drop white space that is not needed."""
    value = _NUMBER.sub(lambda match: _round(match[0]), value)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", " ".join(value.split()))


def _round(number: str, digits: int = 1) -> str:
    text = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _simplify_transform(element: ET.Element) -> None:
    """Round shifts to one decimal, leave scales alone, drop rotations by nothing."""
    kept = []
    for name, values in re.findall(r"(\w+)\(([^)]*)\)", element.attrib["transform"]):
        numbers = values.replace(",", " ").split()
        if name == "rotate" and float(numbers[0]) == 0:
            continue
        if name in ("translate", "rotate"):
            numbers = [_round(number) for number in numbers]
        kept.append(f"{name}({' '.join(numbers)})")
    element.attrib.pop("transform")
    if kept:
        element.set("transform", "".join(kept))


def _join_glyphs(text: ET.Element) -> None:
    """Join the single letters of a formula on one base line, so the font of the page can be used.

    Matplotlib places each letter by the widths of its own font. Letters that share a base line
    and a style become one run; a change of the base line becomes a relative shift.
    """
    runs: list[ET.Element] = []
    heights: list[float] = []
    for glyph in sorted(text.iter("tspan"), key=lambda item: float(item.get("x", "0").split()[0])):
        height, style = float(glyph.get("y", "0")), glyph.get("style")
        glyph.tail = None
        if runs and height == heights[-1] and style == runs[-1].get("style"):
            runs[-1].text = (runs[-1].text or "") + (glyph.text or "")
            continue
        shift = height - heights[-1] if runs else height
        glyph.attrib = {"dy": _round(str(shift))} | ({"style": style} if style else {})
        runs.append(glyph)
        heights.append(height)
    text[:] = runs
    text.text = None


def _rename_identifiers(contents: Sequence[ET.Element], prefix: str) -> None:
    """Name what is referred to after its contents, and drop every other identifier."""
    used = set(_references(contents))
    names: dict[str, str] = {}
    for element in _all(contents):
        name = element.attrib.pop("id", None)
        if name in used:
            digest = hashlib.sha256(element_to_string(element).encode()).hexdigest()
            names[name] = f"{prefix}-{digest[:6]}"
            element.set("id", names[name])
    for element in _all(contents):
        for key, value in element.attrib.items():
            element.attrib[key] = _renamed(key, value, names.__getitem__)


def _is_unused(element: ET.Element) -> bool:
    """Whether an element only defines what nobody refers to."""
    return element.tag == "defs" and all("id" not in child.attrib for child in element)


def _all(contents: Iterable[ET.Element]) -> Iterator[ET.Element]:
    return (element for root in contents for element in root.iter())


def _references(contents: Iterable[ET.Element]) -> Iterator[str]:
    for element in _all(contents):
        for key, value in element.attrib.items():
            yield from _LOCAL_URL.findall(value)
            if key == "href" and value.startswith("#"):
                yield value[1:]


def _renamed(key: str, value: str, name_of: Callable[[str], str]) -> str:
    if key == "href" and value.startswith("#"):
        return "#" + name_of(value[1:])
    return _LOCAL_URL.sub(lambda match: f"url(#{name_of(match[1])})", value)
