"""Every public name of the library is on an API page, once."""

import inspect
import re
from collections import Counter
from pathlib import Path

import qtheory.meanfield
import qtheory.nn
import qtheory.quantizers
import qtheory.sweeps
import qtheory.training

PAGES = sorted((Path(__file__).resolve().parent.parent / "book" / "api").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. auto(?:function|class):: (\w+)", re.MULTILINE)
DATA = re.compile(r"^\.\. py:data:: (\w+(?:\n {13}\w+)*)", re.MULTILINE)
ROW = re.compile(
    r"^\| \{py:(?:func|class)\}`~qtheory\.(?:quantizers|meanfield|training|nn|sweeps)\.(\w+)`",
    re.MULTILINE,
)
PACKAGES = (
    qtheory.quantizers,
    qtheory.meanfield,
    qtheory.training,
    qtheory.nn,
    qtheory.sweeps,
)


def documented(text):
    """Return the names that a page documents."""
    data = (name for group in DATA.findall(text) for name in group.split())
    return [*DIRECTIVE.findall(text), *data]


def texts():
    return [path.read_text(encoding="utf-8") for path in PAGES]


def names_to_document():
    """Return the public names by package; a module among them has a section of its own."""
    return Counter(
        name
        for package in PACKAGES
        for name in package.__all__
        if not inspect.ismodule(getattr(package, name))
    )


def test_every_name_is_documented_once_for_each_package_that_has_it():
    counts = Counter(name for text in texts() for name in documented(text))
    assert counts == names_to_document()


def test_every_function_and_class_has_a_row_that_asks_its_question():
    rows = Counter(name for text in texts() for name in ROW.findall(text))
    named = Counter(name for text in texts() for name in DIRECTIVE.findall(text))
    assert rows == named


def test_names_of_a_page_are_found():
    text = ".. autofunction:: sign\n\n.. py:data:: A\n             B\n\n   Text.\n"
    assert documented(text) == ["sign", "A", "B"]
