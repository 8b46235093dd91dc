"""The book calls the library and holds no logic; its labels and the library's docstrings agree."""

import ast
import inspect
import re
import statistics
from pathlib import Path

import pytest

import qtheory.meanfield
import qtheory.nn
import qtheory.quantizers
import qtheory.sweeps
import qtheory.training
from tools import chapters as book
from tools import inventories

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = book.chapters()
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)

MAX_CELL_LINES = 20
MAX_MEDIAN_LINES = 4
MAX_LESSON_LINES = 10
ALLOWED_IMPORTS = ("numpy", "matplotlib.pyplot", "math", "qtheory")
# Chapters that train a network may import torch; none of Part 1 does.
TRAINING_CHAPTERS = frozenset({"07-does-it-predict-training", "11-binary-networks-on-digits"})
# Public functions of the quantizers that no chapter calls, each with its reason.
NOT_CALLED = {"read_records": "reads the file of a sweep; a chapter writes no files"}
# The packages whose functions the chapters introduce.
PACKAGES = (
    qtheory.quantizers,
    qtheory.meanfield,
    qtheory.training,
    qtheory.nn,
    qtheory.sweeps,
)
NUMPY_GENERATORS = ("default_rng", "Generator")
COLOR = re.compile(r"#[0-9a-fA-F]{6}|#[0-9a-fA-F]{3}")
NAMED_COLORS = {
    *("black", "white", "red", "green", "blue", "orange", "purple", "gray", "grey", "cyan"),
    *("magenta", "yellow", "k", "r", "g", "b", "c", "m", "y", "w"),
}
COLOR_KEYWORDS = {"color", "c", "facecolor", "edgecolor", "ecolor", "mfc", "mec", "cmap", "colors"}
FORBIDDEN_WORDS = ("rcParams", "set_title", "suptitle", "!pip", "%pip", "os.system", "subprocess")
CITATION = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)\]_(?!\w)")
BOOK_LINE = re.compile(r"^\s*Book:\s*(.+?)\.?\s*$", re.MULTILINE)


def structure_problems(cell):
    """Return what makes a cell more than calls: classes, long loops, definitions."""
    problems = []
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.ClassDef | ast.While | ast.Try | ast.Global):
            problems.append(f"{type(node).__name__.lower()} at line {node.lineno}")
        if isinstance(node, ast.For) and _has_inner_loop(node):
            problems.append(f"nested loop at line {node.lineno}")
        if isinstance(node, ast.FunctionDef) and "lesson" not in cell.tags:
            problems.append(f"def {node.name} outside a cell tagged lesson")
    if "lesson" in cell.tags and cell.num_lines > MAX_LESSON_LINES:
        problems.append(f"a lesson of {cell.num_lines} lines, limit {MAX_LESSON_LINES}")
    return problems


def _has_inner_loop(loop):
    inner = (node for part in loop.body for node in ast.walk(part))
    return any(isinstance(node, ast.For | ast.While) for node in inner)


def length_problems(cells):
    """Return which cells are too long, and whether most are."""
    lengths = [cell.num_lines for cell in cells]
    problems = [
        f"cell {cell.number} has {cell.num_lines} lines, limit {MAX_CELL_LINES}"
        for cell in cells
        if cell.num_lines > MAX_CELL_LINES
    ]
    if lengths and statistics.median(lengths) > MAX_MEDIAN_LINES:
        median = statistics.median(lengths)
        problems.append(f"the median cell has {median:g} lines, limit {MAX_MEDIAN_LINES}")
    return problems


def import_problems(cell, *, allowed=ALLOWED_IMPORTS):
    """Return imports outside the list and private names of the library."""
    modules = []
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    problems = [f"imports {name}" for name in modules if not _is_allowed(name, allowed)]
    return problems + [f"imports the private {name}" for name in modules if "._" in name]


def _is_allowed(name, allowed):
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


def taste_problems(cell):
    """Return global random state, own styles, literal colors and shell commands."""
    problems = [f"uses {word}" for word in FORBIDDEN_WORDS if word in cell.source]
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random":
            if node.attr not in NUMPY_GENERATORS:
                problems.append(f"uses np.random.{node.attr}")
        elif isinstance(node, ast.Call):
            problems += _call_problems(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            problems += [f"names the color {node.value}"] if COLOR.fullmatch(node.value) else []
    return problems


def _call_problems(call):
    problems = []
    if ast.unparse(call.func).endswith("default_rng") and not (call.args or call.keywords):
        problems.append("makes a generator without a seed")
    for keyword in call.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if keyword.arg == "figsize":
            problems.append("sets figsize")
        if keyword.arg in COLOR_KEYWORDS and isinstance(value, str) and value in NAMED_COLORS:
            problems.append(f"names the color {value}")
    return problems


def figure_problems(cell, *, prefix):
    """Return what a figure cell does not say about its figure."""
    shows = "plt.show()" in cell.source or "InteractiveFigure(" in cell.source
    if not shows or "remove-output" in cell.tags:
        return []
    figure, image = cell.mystnb.get("figure", {}), cell.mystnb.get("image", {})
    problems = []
    if not str(figure.get("caption", "")).strip():
        problems.append("no caption (mystnb.figure.caption)")
    if not re.fullmatch(rf"fig-{prefix}-[a-z0-9-]+", str(figure.get("name", ""))):
        problems.append(f"no name fig-{prefix}-noun (mystnb.figure.name)")
    if "plt.show()" in cell.source and not str(image.get("alt", "")).strip():
        problems.append("no alternative text (mystnb.image.alt)")
    return problems


def label_problems(text, *, prefix):
    """Return labels of equations that do not begin with the chapter's prefix, or come twice."""
    found = book.equation_labels(text)
    problems = [f"equation {label}" for label in found if not label.startswith(f"{prefix}-")]
    return problems + [f"{label} twice" for label in sorted(set(found)) if found.count(label) > 1]


def book_labels(docstring):
    """Return the labels in the ``Book:`` line of a docstring."""
    lines = BOOK_LINE.findall(docstring or "")
    return [part.strip(" `.") for line in lines for part in re.split(r",|\band\b", line)]


def bibliography_keys():
    """Return the keys of the bibliography."""
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    return set(re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE))


def chapter_prefix(path):
    """Return chNN of a chapter file NN-name.md."""
    return f"ch{path.stem[:2]}"


def allowed_imports(path):
    """Return what a chapter may import."""
    return (*ALLOWED_IMPORTS, "torch") if path.stem in TRAINING_CHAPTERS else ALLOWED_IMPORTS


def public_objects(module):
    """Return the public functions and classes of a package by name."""
    named = {name: getattr(module, name) for name in module.__all__}
    return {name: thing for name, thing in named.items() if callable(thing)}


def docstrings(module):
    """Return the docstrings of a package's public objects and of their public methods."""
    found = {}
    for name, thing in public_objects(module).items():
        found[name] = inspect.getdoc(thing)
        if inspect.isclass(thing):
            members = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
            found |= {f"{name}.{key}": inspect.getdoc(value) for key, value in members.items()}
    return found


def all_labels():
    """Return every label that the chapters and the pages of the book define."""
    texts = [path.read_text(encoding="utf-8") for path in CHAPTERS]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").glob("*.md"))]
    return {label for text in texts for label in book.labels(text)}


def cell_of(source, *tags, **mystnb):
    """Return a cell made for a test."""
    return book.Cell(source, frozenset(tags), mystnb, 1)


def named(problems, cell):
    """Return problems with the number of their cell."""
    return [f"cell {cell.number}: {problem}" for problem in problems]


# The chapters as they stand.


def test_there_are_chapters():
    assert len(CHAPTERS) >= 3


@each_chapter
def test_cells_hold_no_logic(path):
    cells = book.code_cells(path.read_text(encoding="utf-8"))
    assert [text for cell in cells for text in named(structure_problems(cell), cell)] == []
    assert sum("lesson" in cell.tags for cell in cells) <= 1


@each_chapter
def test_cells_are_short(path):
    assert length_problems(book.code_cells(path.read_text(encoding="utf-8"))) == []


@each_chapter
def test_imports_are_on_the_list(path):
    cells, allowed = book.code_cells(path.read_text(encoding="utf-8")), allowed_imports(path)
    assert [
        text for cell in cells for text in named(import_problems(cell, allowed=allowed), cell)
    ] == []


@each_chapter
def test_style_and_randomness_come_from_one_place(path):
    cells = book.code_cells(path.read_text(encoding="utf-8"))
    assert [text for cell in cells for text in named(taste_problems(cell), cell)] == []


@each_chapter
def test_figures_say_what_they_are(path):
    cells, prefix = book.code_cells(path.read_text(encoding="utf-8")), chapter_prefix(path)
    assert [
        text for cell in cells for text in named(figure_problems(cell, prefix=prefix), cell)
    ] == []


@each_chapter
def test_equation_labels_carry_the_chapter(path):
    text = path.read_text(encoding="utf-8")
    assert label_problems(text, prefix=chapter_prefix(path)) == []


def test_docstrings_point_at_labels_that_exist():
    known = all_labels()
    pointers = {
        (name, label)
        for module in PACKAGES
        for name, text in docstrings(module).items()
        for label in book_labels(text)
    }
    assert sorted(pair for pair in pointers if pair[1] not in known) == []


def test_every_public_function_is_called_in_a_chapter():
    called = {
        name for path in CHAPTERS for name in book.called_names(path.read_text(encoding="utf-8"))
    }
    public = {
        name
        for module in PACKAGES
        for name, thing in public_objects(module).items()
        if inspect.isfunction(thing)
    }
    assert sorted(public - called - set(NOT_CALLED)) == []


def test_list_of_uncalled_functions_is_true():
    called = {
        name for path in CHAPTERS for name in book.called_names(path.read_text(encoding="utf-8"))
    }
    assert sorted(set(NOT_CALLED) & called) == []
    assert sorted(set(NOT_CALLED) - {name for module in PACKAGES for name in module.__all__}) == []


def test_citations_of_docstrings_are_in_the_bibliography():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "qtheory").rglob("*.py")]
    cited = {key.lower() for text in sources for key in CITATION.findall(text)}
    assert cited != set()
    assert sorted(cited - bibliography_keys()) == []


def test_inventories_are_what_their_lists_say():
    assert inventories.main(["--check"]) == 0


# Cells made to be bad: each rule must say so.


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class A:\n    pass", "classdef at line 1"),
        ("while False:\n    pass", "while at line 1"),
        ("try:\n    f()\nexcept ValueError:\n    pass", "try at line 1"),
        ("for i in a:\n    for j in b:\n        f(i, j)", "nested loop at line 1"),
        ("def f(x):\n    return x", "def f outside a cell tagged lesson"),
    ],
)
def test_logic_in_a_cell_is_reported(source, problem):
    assert structure_problems(cell_of(source)) == [problem]


def test_lesson_may_define_but_not_ramble():
    assert structure_problems(cell_of("def f(x):\n    return x", "lesson")) == []
    ramble = "def f(x):\n" + "    x += 1\n" * 10
    assert structure_problems(cell_of(ramble, "lesson")) == ["a lesson of 11 lines, limit 10"]


def test_long_cells_are_reported():
    cells = [cell_of("x = 1\n" * 21)]
    assert length_problems(cells) == [
        "cell 1 has 21 lines, limit 20",
        "the median cell has 21 lines, limit 4",
    ]


def test_comments_and_blank_lines_do_not_count():
    assert length_problems([cell_of("# why\n\n" * 30 + "x = 1")]) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import scipy.stats", "imports scipy.stats"),
        ("import torch", "imports torch"),
        ("from matplotlib import cm", "imports matplotlib.cm"),
        ("import numpyro", "imports numpyro"),
        ("from qtheory._checks import fail", "imports the private qtheory._checks.fail"),
    ],
)
def test_import_outside_the_list_is_reported(source, problem):
    assert import_problems(cell_of(source)) == [problem]


def test_imports_on_the_list_pass():
    source = (
        "import math\nimport matplotlib.pyplot as plt\nimport numpy as np\n"
        "from qtheory.quantizers import sign"
    )
    assert import_problems(cell_of(source)) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("np.random.normal(size=3)", "uses np.random.normal"),
        ("np.random.seed(0)", "uses np.random.seed"),
        ("rng = np.random.default_rng()", "makes a generator without a seed"),
        ("plt.rcParams['a'] = 1", "uses rcParams"),
        ("plt.subplots(figsize=(3, 2))", "sets figsize"),
        ("ax.set_title('t')", "uses set_title"),
        ("ax.plot(x, color='red')", "names the color red"),
        ("ax.plot(x, color='#ff0000')", "names the color #ff0000"),
    ],
)
def test_own_style_or_randomness_is_reported(source, problem):
    assert taste_problems(cell_of(source)) == [problem]


def test_seeded_generator_passes():
    assert taste_problems(cell_of("rng = np.random.default_rng(1)")) == []


def test_bare_figure_is_reported():
    assert figure_problems(cell_of("plt.show()"), prefix="ch01") == [
        "no caption (mystnb.figure.caption)",
        "no name fig-ch01-noun (mystnb.figure.name)",
        "no alternative text (mystnb.image.alt)",
    ]


def test_figure_of_another_chapter_is_reported():
    figure = {"caption": "A.", "name": "fig-ch02-a"}
    cell = cell_of("InteractiveFigure(f)", figure=figure)
    assert figure_problems(cell, prefix="ch01") == ["no name fig-ch01-noun (mystnb.figure.name)"]


def test_complete_figure_passes():
    figure = {"caption": "A.", "name": "fig-ch01-a"}
    cell = cell_of("plt.show()", figure=figure, image={"alt": "A line."})
    assert figure_problems(cell, prefix="ch01") == []


def test_foreign_and_double_equation_labels_are_reported():
    text = "```{math}\n:label: ch02-a\nx\n```\n\n$$\ny\n$$ (ch01-b)\n\n$$\nz\n$$ (ch01-b)\n"
    assert label_problems(text, prefix="ch01") == ["equation ch02-a", "ch01-b twice"]


def test_labels_of_all_kinds_are_found():
    text = (
        "(sec-ch01-a)=\n## A\n\n```{prf:theorem} T\n:label: thm-ch01-b\nx\n```\n\n"
        "```{math}\n:label: ch01-c\nx\n```\n\n$$\ny\n$$ (ch01-d)\n"
    )
    assert book.labels(text) == {"sec-ch01-a", "thm-ch01-b", "ch01-c", "ch01-d"}


def test_book_lines_of_docstrings_are_read():
    text = "Sum.\n\nNotes\n-----\nBook: ch01-a, thm-ch01-b and `ch01-c`.\nLimits: none."
    assert book_labels(text) == ["ch01-a", "thm-ch01-b", "ch01-c"]
