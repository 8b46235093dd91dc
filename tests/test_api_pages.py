"""Every public name of the library is on an API page, once."""

import re
from collections import Counter
from pathlib import Path

import qtheory.quantizers as quantizers

PAGES = sorted((Path(__file__).resolve().parent.parent / "book" / "api").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. auto(?:function|class):: (\w+)", re.MULTILINE)
DATA = re.compile(r"^\.\. py:data:: (\w+(?:\n {13}\w+)*)", re.MULTILINE)
ROW = re.compile(r"^\| \{py:(?:func|class)\}`~qtheory\.quantizers\.(\w+)`", re.MULTILINE)
# A module with a section of its own.
MODULES = {"simulate"}


def documented(text):
    """Return the names that a page documents."""
    data = (name for group in DATA.findall(text) for name in group.split())
    return [*DIRECTIVE.findall(text), *data]


def texts():
    return [path.read_text(encoding="utf-8") for path in PAGES]


def test_every_name_of_the_quantizers_is_documented_once():
    counts = Counter(name for text in texts() for name in documented(text))
    assert set(counts) == set(quantizers.__all__) - MODULES
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_function_and_class_has_a_row_that_asks_its_question():
    rows = Counter(name for text in texts() for name in ROW.findall(text))
    named = {name for text in texts() for name in DIRECTIVE.findall(text)}
    assert set(rows) == named
    assert max(rows.values()) == 1


def test_names_of_a_page_are_found():
    text = ".. autofunction:: sign\n\n.. py:data:: A\n             B\n\n   Text.\n"
    assert documented(text) == ["sign", "A", "B"]
