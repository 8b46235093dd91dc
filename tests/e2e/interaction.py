"""What a reader finds wrong with the interactive figures of a page.

The contract with `qtheory.figures`: the root is ``.qt-figure``; inside are the drawing
``svg.qt-frame``, sliders ``input[type=range]`` with an accessible name, the sentence
``.qt-readout`` with role status, and a button ``button.qt-play`` whose ``aria-pressed`` says
whether it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2e.markup import read_page
from e2e.server import find_pages

WAIT_MS = 5_000

_STATE = """root => {
  const svg = root.querySelector('svg.qt-frame');
  const readout = root.querySelector('.qt-readout');
  return {
    picture: svg ? svg.innerHTML + '|' + (svg.getAttribute('aria-label') || '') : '',
    readout: readout ? readout.textContent.trim() : '',
    values: [...root.querySelectorAll('input[type=range]')].map(i => i.value).join(','),
  };
}"""


def interactive_pages(site: Path) -> list[str]:
    """Return the pages of a site that hold an interactive figure."""
    return [path for path in find_pages(site) if read_page(site / path).select_one(".qt-figure")]


def slider_problems(page: Any) -> list[str]:
    """Move every slider of a page by keyboard and return what does not follow."""
    roots = page.locator(".qt-figure")
    problems = [] if roots.count() else ["no interactive figure on this page"]
    for index in range(roots.count()):
        root = roots.nth(index)
        sliders = root.locator("input[type=range]")
        if sliders.count() == 0:
            problems.append(f"figure {index}: no slider")
        if root.locator(".qt-readout[role=status]").count() != 1:
            problems.append(f"figure {index}: no readout with role status")
        for number in range(sliders.count()):
            for problem in _one_slider(root, sliders.nth(number)):
                problems.append(f"figure {index}, slider {number}: {problem}")
    return problems


def _one_slider(root: Any, slider: Any) -> Iterator[str]:
    if not slider.is_visible():
        yield "not visible"
        return
    if not slider.evaluate(
        "e => (e.getAttribute('aria-label') || '') + (e.labels[0]?.textContent || '')"
    ):
        yield "no accessible name"
    # From the end that the slider does not stand at, so that one step is possible.
    at_start = slider.evaluate("e => e.value === e.min")
    changed = set()
    for key in ["ArrowRight", "End", "Home"] if at_start else ["ArrowLeft", "Home", "End"]:
        before = root.evaluate(_STATE)
        slider.focus()
        slider.press(key)
        _changes(root, before, "readout", 1_000)
        after = root.evaluate(_STATE)
        changed |= {part for part in before if before[part] != after[part]}
        if key.startswith("Arrow") and before["values"] == after["values"]:
            yield f"{key} does not move it"
    # Two neighboring values may look alike; the two ends and a step together may not.
    for part in ("picture", "readout"):
        if part not in changed:
            yield f"it leaves the {part} as it was"


def play_problems(page: Any) -> list[str]:
    """Press play on every interactive figure of a page and return what does not happen."""
    roots = page.locator(".qt-figure")
    problems = [] if roots.count() else ["no interactive figure on this page"]
    for index in range(roots.count()):
        problems += [f"figure {index}: {text}" for text in _play(roots.nth(index))]
    return problems


def _play(root: Any) -> Iterator[str]:
    button = root.locator("button.qt-play")
    if button.count() != 1:
        yield "no play button"
        return
    sliders = root.locator("input[type=range]")
    for number in range(sliders.count()):  # from the start, so that there is room to play
        sliders.nth(number).press("Home")
    before = root.evaluate(_STATE)
    button.focus()
    button.press("Enter")
    if button.get_attribute("aria-pressed") != "true":
        yield "pressing play does not say that it runs"
    if not _changes(root, before, "picture", WAIT_MS):
        yield "play does not move the picture"
    button.press("Enter")
    if button.get_attribute("aria-pressed") != "false":
        yield "pressing play again does not stop it"
    if _changes(root, root.evaluate(_STATE), "picture", 1_500):
        yield "the picture moves on after the stop"


def _changes(root: Any, before: dict[str, str], part: str, wait_ms: int) -> bool:
    for _ in range(wait_ms // 50):
        if root.evaluate(_STATE)[part] != before[part]:
            return True
        root.page.wait_for_timeout(50)
    return False
