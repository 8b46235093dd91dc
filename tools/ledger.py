"""Write the book's ledger: what papers report and what this library gives for it.

``book/ledger.toml`` holds the rows, this tool evaluates each and writes ``book/ledger.md``.

Usage::

    python tools/ledger.py            # write book/ledger.md
    python tools/ledger.py --check    # exit 1 when the page or a verdict is not what it should be
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import qtheory.meanfield as meanfield
import qtheory.quantizers as quantizers
import qtheory.training as training
from qtheory import datasets

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "book" / "ledger.toml"
PAGE = ROOT / "book" / "ledger.md"
# What each verdict says of the comparison of the two numbers.
VERDICTS = {"agrees": True, "differs": False, "outside its range": False, "undecided": False}
FIELDS = {"claim", "printed", "expression", "conditions", "verdict"}
OPTIONAL = {"tolerance", "finding"}

INTRODUCTION = """\
<!-- Written by tools/ledger.py from ledger.toml; edit that file. -->

# Ledger

Each figure or number that a paper reports and this book reproduces has a row here.
The measured column is computed by the library when this page is written, and again by a test.
"Agrees" means within half a unit of the last printed digit, unless the row states a tolerance.
"Differs" means that claim and measurement contradict each other where the claim should hold.
That is a finding, and printed as such.
"Outside its range" shows how far a claim is off where it does not claim to hold.
"Undecided" stands for a limit that the measurement approaches and does not reach.
"""


@dataclass(frozen=True)
class Row:
    """One claim of a paper.

    Parameters
    ----------
    claim, conditions, expression, printed, verdict : str
        The fields of ``ledger.toml``.
    tolerance : float or None
        Largest difference that agrees; None for half a unit of the last printed digit.
    finding : str
        What the disagreement means, or an empty string.
    """

    claim: str
    printed: str
    expression: str
    conditions: str
    verdict: str
    tolerance: float | None = None
    finding: str = ""

    @property
    def allowed(self) -> float:
        """Largest difference that agrees."""
        return last_digit(self.printed) / 2 if self.tolerance is None else self.tolerance

    def measure(self) -> float:
        """Return what the library gives."""
        names = {name: getattr(quantizers, name) for name in quantizers.__all__}
        names |= {"math": math, "np": np, "meanfield": meanfield}
        names |= {"training": training, "datasets": datasets}
        return float(eval(self.expression, {"__builtins__": {}}, names))  # our own data file

    def judge(self) -> str:
        """Return the verdict that the measured value supports, the stated one if it can stand."""
        # A margin of 1e-12 for what binary fractions do to a printed decimal.
        close = abs(self.measure() - float(self.printed)) <= self.allowed + 1e-12
        if VERDICTS[self.verdict] == close:
            return self.verdict
        return "agrees" if close else "differs"


@dataclass(frozen=True)
class Paper:
    """A paper of the bibliography with its claims, and a note on where the numbers come from."""

    key: str
    title: str
    rows: tuple[Row, ...]
    note: str = ""


def last_digit(printed: str) -> float:
    """Return one unit of the last digit of a printed decimal number."""
    _, _, decimals = printed.partition(".")
    return 10.0 ** -len(decimals)


def read_ledger(text: str) -> list[Paper]:
    """Return the papers of a ledger's text.

    Raises
    ------
    ValueError
        If a row lacks a field, has an unknown one, or differs without a finding.
    """
    papers = []
    for entry in tomllib.loads(text).get("paper", []):
        rows = tuple(_read_row(row) for row in entry.get("row", []))
        if not rows:
            raise ValueError(f"{entry.get('key')}: a paper without rows.")
        papers.append(Paper(entry["key"], entry["title"], rows, entry.get("note", "")))
    return papers


def _read_row(row: dict[str, Any]) -> Row:
    name = row.get("claim", "a row")
    if missing := FIELDS - set(row):
        raise ValueError(f"{name}: {', '.join(sorted(missing))} missing.")
    if unknown := set(row) - FIELDS - OPTIONAL:
        raise ValueError(f"{name}: unknown field {', '.join(sorted(unknown))}.")
    if row["verdict"] not in VERDICTS:
        known = ", ".join(VERDICTS)
        raise ValueError(f"{name}: the verdict must be one of {known}, got {row['verdict']}.")
    if not VERDICTS[row["verdict"]] and not row.get("finding"):
        raise ValueError(f"{name}: a disagreement needs a finding.")
    return Row(**row)


def find_problems(papers: Sequence[Paper]) -> list[str]:
    """Return, in sentences, each verdict that its row does not support."""
    rows = [(paper.key, row) for paper in papers for row in paper.rows]
    return [
        f"{key}: {row.claim}: printed {row.printed}, measured {row.measure():.8g}, "
        f"so it {row.judge()}; the ledger says {row.verdict}"
        for key, row in rows
        if row.judge() != row.verdict
    ]


def render(papers: Sequence[Paper]) -> str:
    """Return the page of a ledger."""
    parts = [INTRODUCTION]
    for paper in papers:
        note = f"\n{paper.note}" if paper.note else ""
        parts.append(f"## {paper.title}\n\nSource: {{cite:t}}`{paper.key}`.{note}\n")
        parts.append(_table(paper.rows))
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    head = "| claim | stated | measured | conditions | verdict |\n|---|---:|---:|---|---|\n"
    return head + "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    verdict = f"**{row.verdict}.** {row.finding}" if row.finding else row.verdict
    if row.tolerance is not None:
        verdict += f" (tolerance {row.tolerance:g})"
    claim = f"{row.claim}<br>`{row.expression}`"
    return f"| {claim} | {row.printed} | {show(row)} | {row.conditions} | {verdict} |\n"


def show(row: Row) -> str:
    """Return the measured value with two digits more than what it is compared with."""
    digits = max(2, math.ceil(-math.log10(2 * row.allowed)) + 2)
    return f"{row.measure():.{min(digits, 12)}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    papers = read_ledger(DATA.read_text(encoding="utf-8"))
    problems = find_problems(papers)
    page = render(papers)
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if check and page != current:
        problems.append(f"{PAGE.name} is not what the tool writes: run python tools/ledger.py")
    elif page != current:
        PAGE.write_text(page, encoding="utf-8")
        print(f"wrote {PAGE.name}")
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
