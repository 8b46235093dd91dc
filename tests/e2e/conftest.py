"""One server, one browser, and one look at each page for all tests of the built site."""

from __future__ import annotations

import pytest
from e2e.inspection import inspect
from e2e.server import AXE, FLAGS, SITE, find_browser, serving


@pytest.fixture(scope="session")
def site():
    """Return the folder of the built site."""
    if not (SITE / "index.html").is_file():
        pytest.fail("_build/html holds no site: run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def browser():
    """Return a running headless Chromium."""
    path = find_browser()
    if path is None:
        pytest.fail("no Chromium found: install chromium, or name one in the variable CHROMIUM")
    if not AXE.is_file():
        pytest.fail("axe-core is missing: run `npm ci` in tests/e2e")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def address(site):
    """Return where the built site is served."""
    with serving(site) as where:
        yield where


@pytest.fixture(scope="session")
def inspection(browser, address):
    """Return a function that looks at a page once and remembers what it found."""
    seen = {}

    def look(path):
        if path not in seen:
            seen[path] = inspect(browser, address, path)
        return seen[path]

    return look


@pytest.fixture
def open_page(browser, address):
    """Return a function that opens a page of the site at a given size."""
    contexts = []

    def go(path, **settings):
        context = browser.new_context(**({"reduced_motion": "no-preference"} | settings))
        contexts.append(context)
        page = context.new_page()
        page.goto(address + path)
        page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
        return page

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def synthetic(browser, tmp_path):
    """Return a function that writes one page, looks at it and returns what is found."""

    def look(body, *, head=""):
        html = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>control</title>'
            '<meta name="viewport" content="width=device-width">'
            f'<link rel="icon" href="data:,">{head}</head><body><main>{body}</main></body></html>'
        )
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        with serving(tmp_path) as where:
            return inspect(browser, where, "page.html")

    return look
