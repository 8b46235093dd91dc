"""Interactive figures in a real browser: by keyboard, by play button, alone and side by side."""

import pytest
from e2e.server import AXE, serving
from playwright.sync_api import expect

from qtheory import plotting
from qtheory.figures import InteractiveFigure, Slider

pytestmark = pytest.mark.e2e

PAGE = """<!DOCTYPE html><html lang="en"{theme}><head><meta charset="utf-8"><title>Figures</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color:#1b2025;background:#fff}} main{{max-width:45rem;margin:auto;padding:0 1rem}}
html[data-theme=dark]{{color:#ced6dd;background:#14181e}}
html[data-theme=dark] .bd-content div.cell_output .text_html:not(:has(table.dataframe))
{{background:#ced6dd;color:#222832}}</style></head><body><main class="bd-content"><h1>Figures</h1>
{figures}</main></body></html>"""
CELL = '<div class="cell_output"><div class="output text_html">{}</div></div>'


def make(alt):
    """Return a figure with two sliders."""

    def draw(ax, bit_width, clip_max):
        plotting.plot_theory(ax, [-clip_max, clip_max], [0, bit_width], label="quantizer")
        plotting.plot_estimate(ax, [0], [Point()], label="simulation")
        ax.set(xlim=(-4, 4), ylim=(0, 4), xlabel="input", ylabel="output")
        ax.legend()

    sliders = [
        Slider("bit_width", "bit width", [1, 2, 3], format="{} bits"),
        Slider("clip_max", "clipping limit", [1, 2, 3, 4], format="{} std"),
    ]
    return InteractiveFigure(draw, sliders, "{bit_width} bits up to {clip_max} std.", alt=alt)


class Point:
    """An estimate."""

    mean, std_error = 1.0, 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a page in each theme that shows two figures and one of them again."""
    where = tmp_path_factory.mktemp("figures")
    first, second = make("A line."), make("Another line.")
    figures = "<p>Text.</p>".join(CELL.format(item.html) for item in (first, second, first))
    for name, theme in (("light", ""), ("dark", ' data-theme="dark"')):
        page = PAGE.format(theme=theme, figures=figures)
        (where / f"{name}.html").write_text(page, encoding="utf-8")
    return where


@pytest.fixture
def open_figures(browser, folder):
    """Return a function that opens one of the pages; errors and requests are kept with it."""
    contexts = []
    with serving(folder) as address:

        def go(name="light", **settings):
            context = browser.new_context(**({"reduced_motion": "no-preference"} | settings))
            contexts.append(context)
            page = context.new_page()
            page.faults, page.requests = [], []
            page.on("pageerror", lambda error: page.faults.append(str(error)))
            page.on("request", lambda request: page.requests.append(request.url))
            page.goto(f"{address}{name}.html")
            return page

        yield go
        for context in contexts:
            context.close()


def figure_of(page, number):
    """Return the parts of one figure of the page."""
    root = page.locator(".qt-figure").nth(number)
    return (
        root.locator(".qt-frame"),
        root.locator("input[type=range]"),
        root.locator(".qt-play"),
        root.locator(".qt-readout"),
    )


def test_a_slider_moved_by_keyboard_changes_picture_and_readout_of_its_figure(open_figures):
    page = open_figures()
    frame, inputs, _, readout = figure_of(page, 0)
    others = [figure_of(page, number)[0].inner_html() for number in (1, 2)]
    before = frame.inner_html()
    inputs.nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(frame).to_have_attribute("data-frame", "1")
    expect(frame).to_have_attribute("aria-label", "A line. 1 bits up to 2 std.")
    expect(readout).to_have_text("1 bits up to 2 std.")
    expect(inputs.nth(1)).to_have_attribute("aria-valuetext", "2 std")
    assert frame.inner_html() != before
    page.keyboard.press("Home")
    assert frame.inner_html() == before
    assert [figure_of(page, number)[0].inner_html() for number in (1, 2)] == others


def test_every_frame_of_the_page_is_the_frame_of_the_object(open_figures):
    page = open_figures()
    frame, inputs, _, _ = figure_of(page, 0)
    figure = make("A line.")
    normal = "text => new DOMParser().parseFromString(text, 'text/html').body.firstChild.innerHTML"
    for index in range(figure.num_frames):
        inputs.nth(0).fill(str(index // 4))
        inputs.nth(1).fill(str(index % 4))
        assert frame.inner_html() == page.evaluate(normal, figure.frame(index))


def test_two_sliders_reach_every_frame(open_figures):
    page = open_figures()
    frame, inputs, _, readout = figure_of(page, 1)
    for place in range(2):
        inputs.nth(place).focus()
        page.keyboard.press("End")
    expect(frame).to_have_attribute("data-frame", "11")
    expect(readout).to_have_text("3 bits up to 4 std.")


def test_play_runs_to_the_last_value_and_stops(open_figures):
    page = open_figures()
    frame, inputs, play, _ = figure_of(page, 0)
    play.click()
    expect(play).to_have_attribute("aria-pressed", "true")
    expect(frame).to_have_attribute("data-frame", "4")
    expect(frame).to_have_attribute("data-frame", "8")
    expect(play).to_have_attribute("aria-pressed", "false")
    assert inputs.nth(0).input_value() == "2"


def test_play_stops_when_the_reader_takes_over(open_figures):
    page = open_figures()
    frame, inputs, play, _ = figure_of(page, 0)
    play.click()
    inputs.nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(play).to_have_attribute("aria-pressed", "false")
    shown = frame.get_attribute("data-frame")
    page.wait_for_timeout(1200)
    assert frame.get_attribute("data-frame") == shown


def test_play_takes_single_steps_for_who_wants_no_motion(open_figures):
    page = open_figures(reduced_motion="reduce")
    frame, _, play, _ = figure_of(page, 0)
    play.click()
    expect(frame).to_have_attribute("data-frame", "4")
    page.wait_for_timeout(1200)
    expect(frame).to_have_attribute("data-frame", "4")
    play.click()
    play.click()
    expect(frame).to_have_attribute("data-frame", "0")


def test_without_script_a_frame_and_its_readout_are_seen(open_figures):
    page = open_figures(java_script_enabled=False)
    frame, inputs, _, readout = figure_of(page, 0)
    expect(frame).to_be_visible()
    expect(readout).to_have_text("1 bits up to 1 std.")
    expect(inputs.nth(0)).to_be_hidden()


@pytest.mark.parametrize(
    ("theme", "ink"), [("light", "rgb(27, 32, 37)"), ("dark", "rgb(206, 214, 221)")]
)
def test_words_and_lines_have_the_text_color_of_the_page(open_figures, theme, ink):
    page = open_figures(theme)
    frame, _, _, _ = figure_of(page, 0)
    fill = "node => getComputedStyle(node).fill"
    stroke = "nodes => nodes.map(node => getComputedStyle(node).stroke)"
    assert frame.locator("text").first.evaluate(fill) == ink
    assert ink in frame.locator("path").evaluate_all(stroke)
    backing = "node => getComputedStyle(node).backgroundColor"
    assert page.locator(".text_html").first.evaluate(backing) == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_accessible_and_fits_its_window(open_figures, theme, width):
    page = open_figures(theme, viewport={"width": width, "height": 800})
    page.add_script_tag(path=AXE)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)["violations"]
    assert [(item["id"], item["nodes"][0]["html"]) for item in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("input, button").first.bounding_box()["height"] >= 44


@pytest.mark.parametrize("width", [390, 1280])
def test_the_smallest_words_are_readable(open_figures, width):
    page = open_figures(viewport={"width": width, "height": 800})
    heights = page.locator(".qt-frame").first.evaluate(
        "svg => [...svg.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * svg.getScreenCTM().d)"
    )
    assert min(heights) >= 9.5


def test_a_page_makes_no_error_and_no_request(open_figures):
    page = open_figures()
    figure_of(page, 0)[2].click()
    page.wait_for_timeout(300)
    assert page.faults == []
    assert [url for url in page.requests if not url.endswith(("light.html", "favicon.ico"))] == []
