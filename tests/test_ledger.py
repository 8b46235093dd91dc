"""The ledger's page is what its data say, and each number is computed again."""

import re
from pathlib import Path

import pytest

from tools import ledger

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ledger.read_ledger(ledger.DATA.read_text(encoding="utf-8"))
ROWS = [
    pytest.param(row, id=f"{paper.key}-{n}") for paper in PAPERS for n, row in enumerate(paper.rows)
]

GOOD_ROW = {
    "claim": "A quarter",
    "printed": "0.25",
    "expression": "1 / 4",
    "conditions": "none",
    "verdict": "agrees",
}


def text_of(**changes):
    """Return a ledger with one row."""
    row = {key: value for key, value in (GOOD_ROW | changes).items() if value is not None}
    lines = [f"{key} = {value!r}" for key, value in row.items()]
    return "[[paper]]\nkey = 'a'\ntitle = 'A'\n[[paper.row]]\n" + "\n".join(lines)


@pytest.mark.golden
@pytest.mark.parametrize("row", ROWS)
def test_measured_value_supports_the_verdict(row):
    assert row.judge() == row.verdict


def test_page_is_what_the_tool_writes():
    assert ledger.PAGE.read_text(encoding="utf-8") == ledger.render(PAPERS)


def test_first_papers_are_there():
    assert {"bennett1948", "panterdite1951", "max1960"} <= {paper.key for paper in PAPERS}


def test_every_paper_is_in_the_bibliography():
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE))
    assert sorted({paper.key for paper in PAPERS} - known) == []


def test_good_row_has_no_problem():
    assert ledger.find_problems(ledger.read_ledger(text_of())) == []


def test_wrong_agreement_is_reported():
    papers = ledger.read_ledger(text_of(expression="0.256"))
    assert ledger.find_problems(papers) == [
        "a: A quarter: printed 0.25, measured 0.256, so it differs; the ledger says agrees"
    ]


@pytest.mark.parametrize("verdict", ["differs", "outside its range", "undecided"])
def test_wrong_disagreement_is_reported(verdict):
    papers = ledger.read_ledger(text_of(verdict=verdict, finding="It does."))
    assert f"so it agrees; the ledger says {verdict}" in ledger.find_problems(papers)[0]


@pytest.mark.parametrize(("value", "verdict"), [("0.2549", "agrees"), ("0.2551", "differs")])
def test_half_a_unit_of_the_last_digit_is_the_limit(value, verdict):
    paper = ledger.read_ledger(text_of(expression=value))[0]
    assert paper.rows[0].judge() == verdict


def test_stated_tolerance_replaces_the_limit():
    paper = ledger.read_ledger(text_of(expression="0.3", tolerance=0.1))[0]
    assert paper.rows[0].judge() == "agrees"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": None}, "conditions missing"),
        ({"colour": "red"}, "unknown field colour"),
        ({"verdict": "maybe"}, "the verdict must be one of agrees, differs, .*, got maybe"),
        ({"verdict": "differs"}, "a disagreement needs a finding"),
        ({"verdict": "undecided"}, "a disagreement needs a finding"),
    ],
)
def test_malformed_row_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ledger.read_ledger(text_of(**changes))


def test_paper_without_rows_is_refused():
    with pytest.raises(ValueError, match="a paper without rows"):
        ledger.read_ledger("[[paper]]\nkey = 'a'\ntitle = 'A'\n")


def test_expressions_reach_nothing_but_the_library():
    paper = ledger.read_ledger(text_of(expression="open('x')"))[0]
    with pytest.raises(NameError, match="open"):
        paper.rows[0].measure()
