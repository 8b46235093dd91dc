"""Pages made to be bad: each check must say so, or its silence elsewhere means nothing."""

import pytest
from e2e.interaction import play_problems, slider_problems
from e2e.markup import figure_problems, link_problems

pytestmark = pytest.mark.e2e

GOOD_FIGURE = (
    '<figure id="f"><img src="a.png" alt="A rising line.">'
    '<figcaption><span class="caption-number">Figure 1</span> A line.</figcaption></figure>'
)
DEAD_WIDGET = """
<div class="qt-figure"><svg class="qt-frame" role="img" aria-label="dot"><circle r="3"/></svg>
<label>bits <input type="range" min="1" max="4" value="1"></label>
<button type="button" class="qt-play" aria-pressed="false">Play</button>
<output class="qt-readout" role="status">one bit</output></div>"""
LIVE_WIDGET = (
    DEAD_WIDGET
    + """
<script>
  const [svg, input, out, play] = ['svg', 'input', 'output', 'button'].map(
    name => document.querySelector('.qt-figure ' + name));
  const show = () => {
    svg.setAttribute('aria-label', input.value);
    out.textContent = input.value;
  };
  let timer = null;
  input.addEventListener('input', show);
  play.addEventListener('click', () => {
    if (timer) { clearInterval(timer); timer = null; }
    else { timer = setInterval(() => { input.value = input.value % 4 + 1; show(); }, 200); }
    play.setAttribute('aria-pressed', timer ? 'true' : 'false');
  });
</script>"""
)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a page and returns the folder it lies in."""

    def write(body):
        (tmp_path / "page.html").write_text(f"<main>{body}</main>", encoding="utf-8")
        (tmp_path / "a.png").write_bytes(b"")
        return tmp_path

    return write


@pytest.fixture
def opened(browser):
    """Return a function that opens a page given as text."""
    context = browser.new_context()

    def show(body):
        page = context.new_page()
        page.set_content(f"<main>{body}</main>")
        return page

    yield show
    context.close()


def test_a_plain_page_passes(synthetic):
    found = synthetic("<h1>Title</h1><p>Text.</p>")
    assert found.outside_requests + found.failed_requests + found.console_errors == []
    assert found.math + found.overflow == []
    assert found.accessibility == {"light": [], "dark": [], "phone, dark": []}


def test_outside_request_is_reported(synthetic):
    found = synthetic('<img src="http://localhost:9/pixel.png" alt="A pixel.">')
    assert found.outside_requests == ["http://localhost:9/pixel.png"]


def test_outside_request_by_script_is_reported(synthetic):
    found = synthetic("<script>fetch('http://localhost:9/data.json').catch(() => 0)</script>")
    assert found.outside_requests == ["http://localhost:9/data.json"]


def test_missing_file_is_reported(synthetic):
    found = synthetic('<img src="missing.png" alt="Nothing.">')
    assert len(found.failed_requests) == 1
    assert found.failed_requests[0].startswith("404 ")


def test_console_error_is_reported(synthetic):
    assert synthetic("<script>console.error('broken')</script>").console_errors == ["broken"]


def test_script_error_is_reported(synthetic):
    found = synthetic("<script>let twice = 1;</script><script>let twice = 2;</script>")
    assert "already been declared" in found.console_errors[0]


def test_overflow_is_reported(synthetic):
    found = synthetic('<div style="width: 600px">wide</div>')
    assert found.overflow[0] == "the page is 608 px wide in 390 px"


def test_scrolling_box_is_no_overflow(synthetic):
    box = '<div style="overflow-x: auto" tabindex="0"><div style="width: 600px">wide</div></div>'
    assert synthetic(box).overflow == []


def test_missing_alternative_text_is_reported(synthetic):
    found = synthetic('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">')
    assert [text.split()[0] for text in found.accessibility["light"]] == ["image-alt"]


def test_weak_contrast_in_dark_mode_alone_is_reported(synthetic):
    style = (
        "<style>@media (prefers-color-scheme: dark) {body {background: #111; color: #333}}</style>"
    )
    found = synthetic("<p>Hard to read at night.</p>", head=style)
    assert found.accessibility["light"] == []
    assert found.accessibility["dark"][0].startswith("color-contrast")


def test_unrendered_mathematics_is_reported(synthetic):
    assert synthetic(r'<span class="math">\(x^2\)</span>').math == ["MathJax did not start"]


def test_good_figure_passes(written):
    assert list(figure_problems(written(GOOD_FIGURE), "page.html")) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('alt="A rising line."', 'alt=""', "a.png: no alternative text"),
        (
            'alt="A rising line."',
            'alt="../_images/3f2a.png"',
            "a.png: the alternative text is a path: ../_images/3f2a.png",
        ),
        ('<span class="caption-number">Figure 1</span>', "", "f: no number"),
        ("<figcaption>", "<figcaption hidden></figcaption><p>", "f: no caption"),
    ],
)
def test_incomplete_figure_is_reported(written, before, after, problem):
    folder = written(GOOD_FIGURE.replace(before, after))
    assert problem in list(figure_problems(folder, "page.html"))


def test_picture_outside_a_figure_is_reported(written):
    folder = written('<div class="cell_output"><img src="a.png" alt="A line."></div>')
    assert list(figure_problems(folder, "page.html")) == [
        "a.png: a picture that is not in a figure"
    ]


def test_interactive_figure_without_caption_is_reported(written):
    problems = list(figure_problems(written(DEAD_WIDGET), "page.html"))
    assert problems == ["an interactive figure is not in a <figure> with a caption"]


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("gone.html", "gone.html: no such file"),
        ("#gone", "#gone: no such place on that page"),
        ("page.html#gone", "page.html#gone: no such place on that page"),
        ("/elsewhere/page.html", "/elsewhere/page.html: no such file"),
    ],
)
def test_broken_link_is_reported(written, link, problem):
    folder = written(f'<a href="{link}">there</a>')
    assert list(link_problems(folder, "page.html")) == [problem]


def test_holding_links_pass(written):
    folder = written('<h2 id="here">Here</h2><a href="#here">x</a><a href="page.html#here">y</a>')
    assert list(link_problems(folder, "page.html")) == []


def test_live_widget_passes(opened):
    page = opened(LIVE_WIDGET)
    assert slider_problems(page) == []
    assert play_problems(page) == []


def test_dead_slider_is_reported(opened):
    problems = slider_problems(opened(DEAD_WIDGET))
    assert "figure 0, slider 0: it leaves the picture as it was" in problems
    assert "figure 0, slider 0: it leaves the readout as it was" in problems


def test_dead_play_button_is_reported(opened):
    problems = play_problems(opened(DEAD_WIDGET))
    assert "figure 0: play does not move the picture" in problems
