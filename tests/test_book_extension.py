"""The local Sphinx extension: repairs of pages, links from docstrings, places in the repository."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("ext", ROOT / "book" / "_ext" / "qtheory_book.py")
extension = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(extension)

CHAPTER = """
$$
D = 1
$$ (ch01-distortion)

```{math}
:label: ch02-value
x
```

````{prf:theorem} A name
:label: thm-ch01-name
```{math}
:label: ch01-inner
y
```
````

```{exercise}
:label: ex-ch01-one
```
"""
ROLES = {
    "ch01-distortion": "eq",
    "ch02-value": "eq",
    "thm-ch01-name": "prf:ref",
    "ch01-inner": "eq",
    "ex-ch01-one": "ref",
}


def test_labels_know_the_role_that_refers_to_them():
    assert extension.label_roles(CHAPTER) == ROLES


@pytest.mark.parametrize(
    ("line", "linked"),
    [
        ("Book: ch01-distortion.", "Book: equation :eq:`ch01-distortion`."),
        ("    Book: thm-ch01-name.", "    Book: :prf:ref:`thm-ch01-name`."),
        (
            "Book: ch02-value, ex-ch01-one.",
            "Book: equation :eq:`ch02-value`, :ref:`ex-ch01-one`.",
        ),
        ("Book: ch09-nowhere.", "Book: ch09-nowhere."),
    ],
)
def test_book_line_links_what_a_chapter_defines(line, linked):
    assert extension.book_line(line, ROLES) == linked


def test_only_book_lines_of_a_docstring_are_changed(monkeypatch):
    monkeypatch.setattr(extension, "_chapter_roles", lambda: ROLES)
    lines = ["See ch01-distortion.", "Book: ch01-distortion."]
    extension.link_derivations(None, "function", "f", None, None, lines)
    assert lines == ["See ch01-distortion.", "Book: equation :eq:`ch01-distortion`."]


def test_citations_lead_to_lower_case_keys():
    lines = ["[Max1960]_, Table II; an array a[i]_x stays."]
    extension.link_citations(None, "function", "f", None, None, lines)
    assert lines == [":cite:t:`max1960`, Table II; an array a[i]_x stays."]


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
        ('<div role="doc-biblioentry">', '<div role="listitem">'),
        (
            '<button class="btn search-button-field x" aria-label="Search">',
            '<button class="btn search-button-field x">',
        ),
        ('<span class="pre">a_b.c</span>', '<span class="pre">a_<wbr>b.<wbr>c</span>'),
    ],
)
def test_pages_are_repaired_once(broken, repaired):
    assert extension.repair_html(broken) == repaired
    assert extension.repair_html(repaired) == repaired


def test_objects_have_a_place_in_the_repository_and_others_none():
    info = {"module": "qtheory.quantizers.rates", "fullname": "entropy_bits"}
    link = extension.source_link("py", info, repository="https://example.org/q")
    assert link.startswith("https://example.org/q/blob/main/qtheory/quantizers/rates.py#L")
    outside = {"module": "math", "fullname": "pi"}
    assert extension.source_link("py", outside, repository="") is None
    assert extension.source_link("c", info, repository="") is None
