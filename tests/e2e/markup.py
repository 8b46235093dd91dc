"""What is wrong with the HTML files of a site, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from e2e.server import PREFIX

_PATH_LIKE = re.compile(r"\.(png|svg|jpe?g|gif|webp)$|^\S*/\S*$|^_images|^fig\w*$", re.IGNORECASE)


@cache
def read_page(file: Path) -> BeautifulSoup:
    """Return the parsed page."""
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(file: Path) -> frozenset[str]:
    """Return every name on a page that a link can point at."""
    page = read_page(file)
    named = [tag["id"] for tag in page.find_all(id=True)]
    named += [tag["name"] for tag in page.find_all("a", attrs={"name": True})]
    return frozenset(named)


def link_problems(site: Path, path: str) -> Iterator[str]:
    """Yield each inner link, image or script of a page that leads nowhere.

    Parameters
    ----------
    site : pathlib.Path
        The folder of the built site.
    path : str
        The page, relative to it.
    """
    page = read_page(site / path)
    for tag in page.find_all(["a", "link", "img", "script", "source", "form"]):
        for name in ("href", "src", "action"):
            target = tag.get(name)
            if target is not None and (problem := _link_problem(site, path, target)):
                yield problem


def _link_problem(site: Path, path: str, target: str) -> str | None:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    file = _resolve(site, path, unquote(parts.path))
    if file is None or not file.is_file():
        return f"{target}: no such file"
    fragment = unquote(parts.fragment)
    if fragment and file.suffix == ".html" and fragment not in anchors(file):
        return f"{target}: no such place on that page"
    return None


def _resolve(site: Path, path: str, link: str) -> Path | None:
    if not link:
        return site / path
    if link.startswith("/"):
        if not link.startswith(PREFIX + "/"):
            return None
        file = site / link.removeprefix(PREFIX + "/")
    else:
        file = (site / path).parent / link
    return file / "index.html" if file.is_dir() else file


def figure_problems(site: Path, path: str) -> Iterator[str]:
    """Yield what a page's figures and pictures lack: caption, number, alternative text.

    Parameters
    ----------
    site : pathlib.Path
        The folder of the built site.
    path : str
        The page, relative to it.
    """
    main = read_page(site / path).find("main") or read_page(site / path)
    for figure in main.find_all("figure"):
        name = figure.get("id") or "a figure"
        caption = figure.find("figcaption")
        number = caption.select_one(".caption-number") if caption else None
        if caption is None or not caption.get_text(strip=True):
            yield f"{name}: no caption"
        elif number is None or not re.search(r"\d", number.get_text()):
            yield f"{name}: no number"
    for image in main.find_all("img"):
        yield from _image_problems(image)
    for drawing in main.select(".cell_output svg, .qt-figure svg"):
        yield from _drawing_problems(drawing)
    for widget in main.select(".qt-figure"):
        if widget.find_parent("figure") is None:
            yield "an interactive figure is not in a <figure> with a caption"


def _image_problems(image: Tag) -> Iterator[str]:
    source = str(image.get("src", ""))[:60]
    alt = str(image.get("alt", "")).strip()
    if not alt:
        yield f"{source}: no alternative text"
    elif _PATH_LIKE.search(alt):
        yield f"{source}: the alternative text is a path: {alt}"
    if image.find_parent(class_="cell_output") and image.find_parent("figure") is None:
        yield f"{source}: a picture that is not in a figure"


def _drawing_problems(drawing: Tag) -> Iterator[str]:
    if drawing.find_parent("svg") or drawing.find_parent(attrs={"aria-hidden": "true"}):
        return
    if drawing.get("aria-hidden") == "true":
        return
    holder = drawing if drawing.get("role") == "img" else drawing.find_parent(attrs={"role": "img"})
    if holder is None:
        yield "a drawing without role=img"
    elif not (holder.get("aria-label") or holder.get("aria-labelledby") or holder.find("title")):
        yield "a drawing without alternative text"
