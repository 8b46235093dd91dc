"""What a reader does with the site: search, skip, play with figures, open the menu of a formula."""

import fnmatch

import pytest
from e2e.inspection import Inspection, watch
from e2e.interaction import interactive_pages, play_problems, slider_problems
from e2e.server import SITE, find_pages

pytestmark = pytest.mark.e2e

INTERACTIVE = interactive_pages(SITE)
CHAPTERS = fnmatch.filter(find_pages(), "book/[0-9]*-*/[0-9][0-9]-*.html")
each_interactive = pytest.mark.parametrize("path", INTERACTIVE)


@pytest.mark.parametrize("word", ["quantizer", "rounding"])
def test_search_finds_a_word(open_page, word):
    page = open_page(f"search.html?q={word}")
    page.wait_for_selector("#search-results ul.search li a")
    assert page.locator("#search-results ul.search li").count() > 0


def test_search_of_a_made_up_word_finds_nothing(open_page):
    page = open_page("search.html?q=xyzzyplugh")
    page.wait_for_selector("#search-results .search-summary")
    assert page.locator("#search-results ul.search li").count() == 0


def test_keyboard_opens_the_search_field(open_page):
    page = open_page("book/intro.html")
    page.keyboard.press("Control+k")
    field = page.locator("dialog input[type=search], .search-button__search-container input")
    field.first.wait_for(state="visible")
    assert page.evaluate("document.activeElement.type") == "search"


def test_first_stop_of_the_keyboard_skips_to_the_text(open_page):
    page = open_page("book/intro.html")
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"


def test_focus_is_visible(open_page):
    page = open_page("book/intro.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


def test_colors_follow_the_system_and_the_switch(open_page):
    page = open_page("book/intro.html", color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator(".theme-switch-button").first.click()
    assert page.evaluate("document.documentElement.dataset.mode") in ("light", "dark")


def test_solutions_are_closed_and_open_by_keyboard(open_page):
    page = open_page(CHAPTERS[0])
    solution = page.locator(".solution.dropdown").first
    inner = solution.locator("section, .section, p").nth(1)
    button = solution.locator("button.toggle-button")
    assert not inner.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    inner.wait_for(state="visible")


def test_menu_of_a_formula_stays_on_this_host(browser, address):
    found = Inspection()
    context = browser.new_context()
    page = context.new_page()
    watch(page, address, found)
    page.goto(address + CHAPTERS[0], wait_until="networkidle")
    page.wait_for_selector("html[data-mathjax-menu=restricted]")
    disabled = page.evaluate(
        """() => [['Settings', 'Renderer'], ['Accessibility', 'Speech', 'A11yLanguage']].map(
            path => MathJax.startup.document.menu.menu.findID(...path).disabled)"""
    )
    page.evaluate("MathJax.startup.document.menu.menu.pool.lookup('explorer').setValue(true)")
    page.wait_for_function("Boolean(window.MathJax._.a11y && window.MathJax._.a11y.explorer)")
    page.wait_for_load_state("networkidle")
    page.wait_for_selector("mjx-container[aria-label]", state="attached")
    names = page.locator("mjx-container").evaluate_all("all => all.map(e => e.ariaLabel)")
    context.close()
    assert disabled == [True, True]
    assert names != []
    assert None not in names
    assert found.outside_requests + found.failed_requests + found.console_errors == []


def test_every_chapter_has_an_interactive_figure():
    assert CHAPTERS != []
    assert sorted(set(CHAPTERS) - set(INTERACTIVE)) == []


@each_interactive
def test_sliders_change_picture_and_readout(open_page, path):
    assert slider_problems(open_page(path)) == []


@each_interactive
def test_sliders_work_on_a_phone_in_dark_mode(open_page, path):
    viewport = {"width": 390, "height": 844}
    page = open_page(path, viewport=viewport, color_scheme="dark", has_touch=True)
    assert slider_problems(page) == []


@each_interactive
def test_play_moves_the_picture_and_stops(open_page, path):
    assert play_problems(open_page(path)) == []
