"""Read the chapters' text: code cells, their metadata, the labels that the text defines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

ROOT = Path(__file__).resolve().parent.parent
CHAPTER_GLOB = "book/[0-9]*/[0-9]*.md"

# `:label: x` of math, exercise and proof directives; `$$ ... $$ (x)`; `(x)=` before a heading.
_LABELS = (
    re.compile(r"^:label:\s*(\S+)\s*$", re.MULTILINE),
    re.compile(r"^\s*\$\$\s*\(([^)\s]+)\)\s*$", re.MULTILINE),
    re.compile(r"^\(([^)\s]+)\)=\s*$", re.MULTILINE),
)
_EQUATIONS = (
    re.compile(r"^```\{math\}\s*\n(?::(?!label)\w+:.*\n)*:label:\s*(\S+)", re.MULTILINE),
    re.compile(r"^\s*\$\$\s*\(([^)\s]+)\)\s*$", re.MULTILINE),
)


@dataclass(frozen=True)
class Cell:
    """One code cell of a chapter.

    Parameters
    ----------
    source : str
        Its code.
    tags : frozenset of str
        Its tags.
    mystnb : dict
        What the cell says about its figure.
    number : int
        Its place among the code cells of the chapter, from 1.
    """

    source: str
    tags: frozenset[str]
    mystnb: dict[str, Any]
    number: int

    @property
    def num_lines(self) -> int:
        """Number of lines that hold code."""
        lines = (line.strip() for line in self.source.splitlines())
        return sum(bool(line) and not line.startswith("#") for line in lines)

    @property
    def tree(self) -> ast.Module:
        """The parsed code."""
        return ast.parse(self.source)


def chapters() -> list[Path]:
    """Return the authored text of every chapter, in reading order."""
    return sorted(ROOT.glob(CHAPTER_GLOB))


def code_cells(text: str) -> list[Cell]:
    """Return the code cells of a chapter's text."""
    cells = [cell for cell in jupytext.reads(text, fmt="md:myst").cells if cell.cell_type == "code"]
    return [
        Cell(
            cell.source,
            frozenset(cell.metadata.get("tags", ())),
            dict(cell.metadata.get("mystnb", {})),
            number,
        )
        for number, cell in enumerate(cells, 1)
    ]


def labels(text: str) -> set[str]:
    """Return every label that a text defines, of equations, theorems, sections and figures."""
    found = {label for pattern in _LABELS for label in pattern.findall(text)}
    found |= {str(cell.mystnb.get("figure", {}).get("name", "")) for cell in code_cells(text)}
    return found - {""}


def equation_labels(text: str) -> list[str]:
    """Return the labels of the numbered equations of a text."""
    return [label for pattern in _EQUATIONS for label in pattern.findall(text)]


def called_names(text: str) -> set[str]:
    """Return every name that the code of a text uses, plain or after a dot."""
    return {name for cell in code_cells(text) for name in _used(cell.tree)}


def _used(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
