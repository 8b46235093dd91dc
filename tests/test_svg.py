"""Drawings are cleaned without loss, and packed frames give back every frame."""

import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtheory._svg import clean_svg, element_to_string, pack_frames

DOCUMENT = """<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"
 viewBox="0 0 10 10" width="10pt"><metadata><x/></metadata>
 <defs><style type="text/css">*{{stroke-linecap: butt}}</style></defs>
 <g id="outer"><!-- said -->{body}</g>
 <defs><clipPath id="p1"><rect x="1.04" y="2.06" width="3" height="4.0"/></clipPath></defs></svg>"""


def cleaned(body, prefix="q", **colors):
    """Return the markup of a small document after cleaning."""
    document = DOCUMENT.format(body=body)
    _, contents = clean_svg(document, prefix=prefix, colors={"#112233": "currentColor"} | colors)
    return "".join(element_to_string(element) for element in contents)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            '<path d="M 0.06 0.04 \nL 12.345 -0.04 \nz\n" style="fill: #112233"/>',
            '<path style="fill:currentColor" d="M0.1 0L12.3 0z"/>',
            id="path",
        ),
        pytest.param('<path d="M 0 0" style="fill: none"/>', "", id="invisible"),
        pytest.param('<path d="M 0 0" style="fill: red; opacity: 0"/>', "", id="transparent"),
        pytest.param('<g id="a"><g transform="scale(0.015)"/></g>', "", id="empty-groups"),
        pytest.param(
            '<g transform="translate(1.26 2) scale(0.015)"><rect x="1"/></g>',
            '<g transform="translate(1.3 2)scale(0.015)"><rect x="1"/></g>',
            id="transform",
        ),
        pytest.param(
            "<text style=\"font-size: 9px; font-family: 'A', 'B'\""
            ' transform="rotate(-0 1 2)">a &lt; ~b</text>',
            '<text style="font-size:9px">a &lt; &#126;b</text>',
            id="text",
        ),
        pytest.param(
            '<text> <tspan x="6.3 9" y="-1" style="font-size: 9px">0 </tspan>'
            ' <tspan x="0" y="-1" style="font-size: 9px">1</tspan>'
            ' <tspan x="15" y="-5" style="font-size: 6px">2</tspan></text>',
            '<text><tspan style="font-size:9px" dy="-1">10 </tspan>'
            '<tspan style="font-size:6px" dy="-4">2</tspan></text>',
            id="formula",
        ),
        pytest.param(
            '<image id="i" xlink:href="data:image/png;base64,\nQU \n" width="2"/>',
            '<image href="data:image/png;base64,QU" width="2"/>',
            id="picture",
        ),
    ],
)
def test_cleaning_keeps_what_is_seen(body, expected):
    assert cleaned(body) == expected


def test_identifiers_are_named_after_their_contents_and_the_prefix():
    first = cleaned('<g clip-path="url(#p1)"><use xlink:href="#m"/></g><path id="m" d="M1 1"/>')
    again = cleaned('<g clip-path="url(#p1)"><use xlink:href="#n"/></g><path id="n" d="M1 1"/>')
    other = cleaned('<rect clip-path="url(#p1)"/>', prefix="r")
    assert first == again
    assert "url(#q-" in first
    assert 'href="#q-' in first
    assert other.count("r-") == 2


def test_identifiers_nobody_refers_to_are_dropped_with_what_they_define():
    assert cleaned('<rect id="axes_1" x="1"/>') == '<rect x="1"/>'


def element(name, *children, text=None, **attributes):
    """Return an element with its contents."""
    made = ET.Element(name, attributes)
    made.text = text
    made.extend(children)
    return made


def markup(frame):
    """Return the markup of a frame."""
    return "".join(element_to_string(part) for part in frame)


def test_equal_parts_are_stored_once():
    tick = element("path", d="M 0 0 L 1 1 L 2 2", style="stroke:currentColor")
    frames = [[tick, element("rect", x=str(place))] for place in range(50)]
    packed = pack_frames(frames)
    assert sum("M 0 0 L 1 1" in text for text in [*packed.pool, *packed.frames]) == 1
    assert [packed.unpack(k) for k in range(50)] == [markup(frame) for frame in frames]


def test_a_style_is_shared_by_different_paths():
    style = "stroke:#112233;stroke-width:2;fill:none"
    frames = [[element("path", d=f"M{place}", style=style)] for place in range(5)]
    packed = pack_frames(frames)
    assert sum(style in text for text in [*packed.pool, *packed.frames]) == 1
    assert [packed.unpack(k) for k in range(5)] == [markup(frame) for frame in frames]


def test_a_text_that_looks_like_a_reference_stays_a_text():
    frames = [[element("text", text="~0~"), element("text", text="~0~", x="~1~")]] * 3
    packed = pack_frames(frames)
    assert packed.unpack(2) == markup(frames[2])
    assert ET.fromstring(f"<g>{packed.unpack(2)}</g>")[0].text == "~0~"


@pytest.mark.property
@given(seed=st.integers(0, 10**6))
def test_every_frame_is_given_back(seed):
    source = random.Random(seed)

    def tree(depth):
        size = source.randrange(4) * (depth > 0)
        text = source.choice([None, "~1~", "a & b", '"<'])
        place = str(source.randrange(3))
        below = [tree(depth - 1) for _ in range(size)]
        return element(source.choice("gp"), *below, text=text, d=place, style="stroke:red" * 2)

    frames = [[tree(3) for _ in range(2)] for _ in range(6)]
    packed = pack_frames(frames)
    assert [packed.unpack(k) for k in range(6)] == [markup(frame) for frame in frames]
