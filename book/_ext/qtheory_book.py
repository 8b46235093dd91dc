"""Small repairs to what the book stack emits.

* `sphinx_thebe` puts its inline script twice into every page, also when the button is off; the
  second copy is a script error.  Its files are removed.
* MathJax is served with the book, so entries of its menu whose files are not served are switched
  off (`mathjax_menu.js`, read before MathJax starts).
* A few roles and labels of the theme do not pass WCAG 2 A/AA; they are rewritten in the built
  pages.  The tests of the built site notice when a new version of the theme needs other repairs.
* The API pages link each object to its lines in the repository.
* Names in code may be broken after an underscore or a dot, so that they fit a phone.
* A docstring cites ``[Max1960]_``; on the API pages this leads to ``max1960`` in the bibliography.
* A docstring names the place of its derivation, ``Book: ch01-distortion.``; on the API pages this
  leads there.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_ROOT = Path(__file__).resolve().parents[2]
_REPOSITORY = "https://github.com/qtheory/qtheory"
_THEBE = ("thebe", "THEBE")
_REPAIRS = [
    # The visible text "Search Ctrl+K" is the name; a shorter label would hide half of it.
    (re.compile(r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"'), r"\1"),
    # Three icons, one shown: their titles are not the name of the button.
    (re.compile(r'(<i class="theme-switch [^>]*?) title="[^"]*"'), r"\1"),
    # The visible text "Show code cell source" is the name.
    (re.compile(r'(<summary) aria-label="Toggle hidden content"'), r"\1"),
    # A list has list items; the role that docutils gives a reference is deprecated.
    (re.compile(r' role="doc-biblioentry"'), ' role="listitem"'),
]


_CODE = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')
_JOINT = re.compile(r"(?<=\w)(_(?=\w)|\.(?=[A-Za-z_]))")
_BOOK_LINE = re.compile(r"^\s*Book: ")
_BOOK_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_DIRECTIVE = re.compile(r"^\s*[`:]{3,}\{([\w:-]+)\}")
_DIRECTIVE_LABEL = re.compile(r"^\s*:label:\s*(\S+)\s*$")
_EQUATION_LABEL = re.compile(r"^\$\$ \(([\w-]+)\)$")
_CITATION = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)\]_(?!\w)")


def _is_thebe(asset: Any) -> bool:
    name = str(getattr(asset, "filename", "") or "")
    body = str(getattr(asset, "attributes", {}).get("body", "") or "")
    return any(word in name or word in body for word in _THEBE)


def drop_thebe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Take the assets of `sphinx_thebe` out of one page."""
    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = [asset for asset in context[key] if not _is_thebe(asset)]


def repair_html(html: str) -> str:
    """Return a page with the roles and labels repaired; a second call changes nothing."""
    for pattern, replacement in _REPAIRS:
        html = pattern.sub(replacement, html)
    return _CODE.sub(lambda found: _JOINT.sub(r"\1<wbr>", found[0]), html)


def repair_pages(app: Sphinx, exception: Exception | None) -> None:
    """Repair every page of a finished build."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text(encoding="utf-8")
        after = repair_html(before)
        if after != before:
            path.write_text(after, encoding="utf-8")


def link_citations(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the citations of a docstring into links to the bibliography, in place."""
    lines[:] = [
        _CITATION.sub(lambda found: f":cite:t:`{found[1].lower()}`", line) for line in lines
    ]


def label_roles(text: str) -> dict[str, str]:
    """Return, for each label of a chapter, the role that refers to it."""
    roles, directive = {}, ""
    for line in text.splitlines():
        if found := _DIRECTIVE.match(line):
            directive = found[1]
        elif found := _EQUATION_LABEL.match(line):
            roles[found[1]] = "eq"
        elif found := _DIRECTIVE_LABEL.match(line):
            kind = directive.partition(":")[0]
            roles[found[1]] = {"math": "eq", "prf": "prf:ref"}.get(kind, "ref")
    return roles


def link_derivations(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the ``Book:`` line of a docstring into links to the chapters, in place."""
    for number, line in enumerate(lines):
        if _BOOK_LINE.match(line):
            lines[number] = book_line(line, _chapter_roles())


def book_line(line: str, roles: dict[str, str]) -> str:
    """Return a ``Book:`` line with a link for each label that a chapter defines."""

    def link(found: re.Match[str]) -> str:
        label = found[0]
        word = "equation " if roles.get(label) == "eq" else ""
        return f"{word}:{roles[label]}:`{label}`" if label in roles else label

    return _BOOK_LABEL.sub(link, line)


@cache
def _chapter_roles() -> dict[str, str]:
    chapters = sorted((_ROOT / "book").glob("[0-9]*/*.md"))
    texts = [path.read_text(encoding="utf-8") for path in chapters]
    return {label: role for text in texts for label, role in label_roles(text).items()}


def source_link(domain: str, info: dict[str, str], *, repository: str) -> str | None:
    """Return the address of an object's lines in the repository, or None for what has none."""
    if domain != "py" or not info["module"]:
        return None
    thing: Any = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        thing = getattr(thing, part, None)
    thing = getattr(thing, "fget", None) or thing
    try:
        file = Path(str(inspect.getsourcefile(inspect.unwrap(thing)))).resolve()
        lines, start = inspect.getsourcelines(thing)
    except (TypeError, OSError):
        return None
    if not file.is_relative_to(_ROOT):
        return None
    place = f"{file.relative_to(_ROOT).as_posix()}#L{start}-L{start + len(lines) - 1}"
    return f"{repository}/blob/main/{place}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the repairs."""
    app.connect(
        "config-inited",
        lambda _, config: setattr(
            config, "linkcode_resolve", partial(source_link, repository=_REPOSITORY)
        ),
    )
    app.add_js_file("mathjax_menu.js", priority=100, defer="defer")
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("autodoc-process-docstring", link_citations, priority=400)
    app.connect("autodoc-process-docstring", link_derivations, priority=400)
    app.connect("build-finished", repair_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
