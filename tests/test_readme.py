"""The README's code gives the output it shows, and what it points to is there."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import qtheory
from tools import readme_figure

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = r"^```%s\n(.*?)^```$"
BLOCKS = {
    kind: re.findall(FENCE % kind, README, re.DOTALL | re.MULTILINE)
    for kind in ("python", "text", "sh")
}
LINKS = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)
MAX_PICTURE_BYTES = 100_000


def output_of(code):
    """Run code and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    return printed.getvalue()


def test_code_prints_what_the_readme_shows():
    assert len(BLOCKS["python"]) == 2
    assert list(map(output_of, BLOCKS["python"])) == BLOCKS["text"]


def test_the_two_numbers_agree():
    theory, simulated, std_error = map(float, re.findall(r"\d+\.\d+", BLOCKS["text"][0]))
    assert abs(simulated - theory) <= 5 * std_error
    # The run is long enough to see an error of five percent.
    assert 5 * std_error <= 0.05 * theory


def test_code_has_at_most_eight_lines():
    lines = [[line for line in code.splitlines() if line.strip()] for code in BLOCKS["python"]]
    assert max(map(len, lines)) <= 8


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_link_leads_to_a_file(link):
    assert (ROOT / link).is_file()


def test_set_up_names_verbs_of_the_makefile():
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z]+)  ", BLOCKS["sh"][0])) <= verbs
    assert {"serve", "test"} <= verbs


def test_status_names_the_version():
    assert f"Version {qtheory.__version__.rpartition('.')[0]}:" in README


def test_picture_is_there_and_small():
    assert 0 < readme_figure.PICTURE.stat().st_size <= MAX_PICTURE_BYTES


def test_tool_draws_the_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_figure, "NUM_SAMPLES", 100)
    assert readme_figure.main(tmp_path / "readme.png") == 0
    assert 0 < (tmp_path / "readme.png").stat().st_size <= MAX_PICTURE_BYTES
    plt.close("all")
