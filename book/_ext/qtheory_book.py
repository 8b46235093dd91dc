"""Small repairs to what the book stack emits.

* `sphinx_thebe` puts its inline script twice into every page, also when the button is off; the second
  copy is a script error.  Its files are removed.
* MathJax is served with the book, so entries of its menu whose files are not served are switched off
  (`mathjax_menu.js`, read before MathJax starts).
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

_THEBE = ("thebe", "THEBE")


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the repairs."""
    app.add_js_file("mathjax_menu.js", priority=100, defer="defer")
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
