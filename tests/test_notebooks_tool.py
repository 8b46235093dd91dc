"""The writer of the executed twins: the same bytes twice, and no bad twin passes."""

import nbformat
import pytest

from tools import notebooks

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

"""

CHAPTER = (
    HEADER
    + """```{code-cell} ipython3
import random

import matplotlib.pyplot as plt

print("one", 1 / 3)
print("hash", hash("a") == hash("a"), {"a", "b", "c"})
```

Text between.

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: A line.
    name: fig-ch09-line
  image:
    alt: A rising line.
---
fig, ax = plt.subplots()
_ = ax.plot([0, 1])
plt.show()
```

```{code-cell} ipython3
class Both:
    def _repr_mimebundle_(self, include=None, exclude=None):
        view = {"model_id": str(random.random())}
        kind = "application/vnd.jupyter.widget-view+json"
        return {"text/plain": "Both()", "text/html": "<p>both</p>", kind: view}


Both()
```
"""
)


def chapter(code, *, options=""):
    """Return the text of a chapter with one code cell."""
    block = f"---\n{options}\n---\n" if options else ""
    return f"{HEADER}```{{code-cell}} ipython3\n{block}{code}\n```\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a chapter that was written once."""
    path = tmp_path_factory.mktemp("part")
    (path / "09-line.md").write_text(CHAPTER, encoding="utf-8")
    assert notebooks.write_twin(path / "09-line.md") == "written"
    return path


@pytest.fixture(scope="module")
def written(folder):
    """Return the bytes of the twin."""
    return (folder / "09-line.ipynb").read_bytes()


@pytest.fixture
def twin(written):
    """Return a fresh copy of the twin, to be spoiled."""
    return nbformat.reads(written.decode(), as_version=4)


def problems(notebook, text=CHAPTER):
    """Return what the check says of a twin."""
    return list(notebooks.find_problems(notebook, text))


def spoiled(twin, **changes):
    """Return the twin's problems after its first authored cell was changed."""
    twin.cells[2].update(changes)
    return problems(twin)


def output(**data):
    """Return a displayed output with the given content by MIME type."""
    return nbformat.v4.new_output(
        "display_data", {k.replace("__", "/"): v for k, v in data.items()}
    )


# What is written.


def test_second_run_leaves_the_bytes(folder, written):
    assert notebooks.write_twin(folder / "09-line.md") == "unchanged"
    assert (folder / "09-line.ipynb").read_bytes() == written


def test_written_twin_passes_the_check(folder):
    assert notebooks.check_twin(folder / "09-line.md") == []


def test_twin_is_a_valid_notebook(twin):
    nbformat.validate(twin)


def test_twin_keeps_nothing_that_changes(twin):
    outputs = str([cell.outputs for cell in twin.cells if cell.cell_type == "code"])
    words = ("widget-view", "model_id", "transient")
    assert [word for word in words if word in outputs] == []
    assert set(twin.metadata) == {"kernelspec", "language_info", "qtheory"}
    assert [cell for cell in twin.cells if "execution" in cell.metadata] == []


def test_twin_keeps_the_static_face(twin):
    assert twin.cells[-1].outputs[0].data["text/html"] == "<p>both</p>"


def test_cells_are_numbered_and_named_by_content(twin):
    assert [cell["id"][:4] for cell in twin.cells] == [f"{n:03d}-" for n in range(len(twin.cells))]


def test_consecutive_prints_are_one_output(twin):
    assert len(twin.cells[2].outputs) == 1


def test_first_cell_installs_on_colab_alone(twin):
    assert twin.cells[0].metadata.tags == ["remove-cell"]
    assert twin.cells[0].outputs == []
    assert 'if "google.colab" in sys.modules:' in twin.cells[0].source


def test_no_helper_file_is_left(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["09-line.ipynb", "09-line.md"]


# What is refused.


def test_changed_text_makes_the_twin_stale(twin):
    assert problems(twin, CHAPTER + "\nMore.\n") == [
        "the twin is stale: its text has changed since; run `make notebooks`"
    ]


def test_edited_source_is_refused(twin):
    assert spoiled(twin, source="print(2)")[0].startswith("the twin was edited")


def test_edited_metadata_is_refused(twin):
    assert spoiled(twin, metadata={"tags": ["nbval-skip"]})[0].startswith("the twin was edited")


def test_stripped_twin_is_refused(twin):
    found = spoiled(twin, execution_count=None, outputs=[])
    assert "was not executed" in found[0]


def test_cells_run_out_of_order_are_refused(twin):
    assert "has execution count 7, expected 2" in spoiled(twin, execution_count=7)[0]


def test_error_output_is_refused(twin):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=[])
    assert "raised ValueError: bad" in spoiled(twin, outputs=[error])[0]


def test_warning_on_stderr_is_refused(twin):
    stream = nbformat.v4.new_output("stream", name="stderr", text="UserWarning: x")
    assert "wrote to stderr: 'UserWarning: x'" in spoiled(twin, outputs=[stream])[0]


@pytest.mark.parametrize(
    "markup",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        "<img src='//example.org/x.png' alt='x'>",
        '<a href="http://example.org">x</a>',
        '<div style="background: url(https://example.org/x.png)"></div>',
        '<script>fetch("https://example.org/data")</script>',
        '<style>@import "https://example.org/x.css"</style>',
    ],
)
def test_output_from_outside_is_refused(twin, markup):
    found = spoiled(twin, outputs=[output(text__html=markup)])
    assert "output asks for another host" in found[0]


def test_namespaces_are_no_requests(twin):
    markup = '<div class="a"><svg xmlns="http://www.w3.org/2000/svg"></svg></div>'
    assert spoiled(twin, outputs=[output(text__html=markup)]) == []


def test_memory_address_is_refused(twin):
    found = spoiled(twin, outputs=[output(text__plain="<object at 0x7f0000001234>")])
    assert "shows a memory address" in found[0]


def test_widget_view_is_refused(twin):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    found = spoiled(twin, outputs=[nbformat.v4.new_output("display_data", view)])
    assert "random id of a widget view" in found[0]


def test_too_large_output_is_refused(twin):
    text = "x" * (notebooks.OUTPUT_LIMIT_BYTES + 1)
    assert "limit 1500000" in spoiled(twin, outputs=[output(text__plain=text)])[0]


def test_widget_state_is_refused(twin):
    twin.metadata["widgets"] = {}
    assert problems(twin) == ["the twin stores widget state"]


@pytest.mark.parametrize(
    "ending", ["ax.plot(x);", "ax.plot(x);  # quiet", "f()\nax.plot(x);\n# end"]
)
def test_silencing_semicolon_is_refused(ending):
    text = chapter(ending)
    notebook = notebooks.read_chapter(text)
    notebook.cells[0].execution_count, notebook.cells[2].execution_count = 1, 2
    assert "ends with `;`" in problems(notebook, text)[0]


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ("mystnb: {figure: {name: fig-ch09-a}, image: {alt: A line.}}", "without a caption"),
        ("mystnb: {figure: {caption: A.}, image: {alt: A line.}}", "is not fig-chNN-noun"),
        ("mystnb: {figure: {caption: A., name: a}, image: {alt: A.}}", "is not fig-chNN-noun"),
        ("mystnb: {figure: {caption: A., name: fig-ch09-a}}", "without alt text"),
    ],
)
def test_incomplete_figure_is_refused(options, missing):
    text = chapter("plt.show()", options=options)
    notebook = notebooks.read_chapter(text)
    notebook.cells[0].execution_count, notebook.cells[2].execution_count = 1, 2
    notebook.cells[2].outputs = [output(image__png="AAAA")]
    found = problems(notebook, text)
    assert len(found) == 1
    assert missing in found[0]


def test_interactive_figure_brings_its_own_alternative_text():
    text = chapter("show()", options="mystnb: {figure: {caption: A., name: fig-ch09-a}}")
    notebook = notebooks.read_chapter(text)
    notebook.cells[0].execution_count, notebook.cells[2].execution_count = 1, 2
    notebook.cells[2].outputs = [output(text__html='<div class="qt-figure"></div>')]
    assert problems(notebook, text) == []


def test_missing_twin_is_refused(tmp_path):
    (tmp_path / "09-a.md").write_text(CHAPTER, encoding="utf-8")
    found = notebooks.check_twin(tmp_path / "09-a.md")
    assert found == ["has no executed twin: run `make notebooks`"]


def test_broken_json_is_refused(tmp_path):
    (tmp_path / "09-a.md").write_text(CHAPTER, encoding="utf-8")
    (tmp_path / "09-a.ipynb").write_text("{", encoding="utf-8")
    assert "not a valid notebook" in notebooks.check_twin(tmp_path / "09-a.md")[0]


def test_large_notebook_is_refused():
    found = notebooks._size_problems(b"x" * (notebooks.NOTEBOOK_LIMIT_BYTES + 1))
    assert found == ["the twin has 2000001 bytes, limit 2000000"]


# What a failure leaves behind.


def test_failing_chapter_keeps_the_old_twin(tmp_path):
    source = tmp_path / "09-a.md"
    source.write_text(chapter("1 / 0"), encoding="utf-8")
    source.with_suffix(".ipynb").write_text("old", encoding="utf-8")
    with pytest.raises(notebooks.ChapterError, match="ZeroDivisionError"):
        notebooks.write_twin(source)
    assert source.with_suffix(".ipynb").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_chapter_that_warns_is_not_written(tmp_path):
    source = tmp_path / "09-a.md"
    source.write_text(chapter("import warnings\nwarnings.warn('careful')"), encoding="utf-8")
    with pytest.raises(notebooks.ChapterError, match="wrote to stderr"):
        notebooks.write_twin(source)
    assert not source.with_suffix(".ipynb").exists()


def test_interrupted_write_leaves_no_half_file(tmp_path, monkeypatch):
    target = tmp_path / "a.ipynb"
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(notebooks.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        notebooks.replace_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


# The command.


def test_every_chapter_has_its_twin_in_order(capsys):
    assert notebooks.main(["--check"]) == 0, capsys.readouterr().err


def test_check_of_a_stale_twin_exits_with_one(tmp_path, written, capsys):
    (tmp_path / "09-line.md").write_text(CHAPTER + "\nMore.\n", encoding="utf-8")
    (tmp_path / "09-line.ipynb").write_bytes(written)
    assert notebooks.main(["--check", str(tmp_path / "09-line.md")]) == 1
    assert "the twin is stale" in capsys.readouterr().err


def test_unknown_chapter_is_named():
    with pytest.raises(SystemExit, match=r"no such chapter: .*nowhere\.md"):
        notebooks.main(["nowhere.md"])


def test_write_prints_a_line_for_each_chapter(tmp_path, capsys):
    source = tmp_path / "09-a.md"
    source.write_text(chapter("print(1)"), encoding="utf-8")
    assert notebooks.main([str(source)]) == 0
    assert "09-a.md ... written (" in capsys.readouterr().out
    assert notebooks.main(["--stale", str(source)]) == 0
    assert capsys.readouterr().out == ""
