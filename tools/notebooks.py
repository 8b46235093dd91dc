"""Write the executed twins of the chapters, and refuse twins that are not what they should be.

A chapter is authored as MyST text, ``book/<part>/NN-name.md``.  Its twin ``NN-name.ipynb`` beside
it is written by this tool and by nothing else: the text, executed from top to bottom in a clean
kernel, with everything that changes from run to run left out.  A second run gives the same bytes,
so ``git diff`` shows exactly what a change of the library did to the book.

Usage::

    python tools/notebooks.py [--stale] [PATH ...]   # execute, then replace the twins
    python tools/notebooks.py --check [PATH ...]     # execute nothing, exit 1 on a bad twin

``PATH`` is a chapter's ``.md`` (or its ``.ipynb``); the default is every chapter.  ``--stale``
writes only the twins whose text has changed since.  An existing twin is replaced only when its
chapter ran to the end and passes the checks.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
CHAPTER_GLOB = "book/[0-9]*/[0-9]*.md"
NOTEBOOK_LIMIT_BYTES = 2_000_000
OUTPUT_LIMIT_BYTES = 1_500_000
CELL_TIMEOUT_S = 120
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    # Keeps printed text from depending on the terminal of the caller.
    "COLUMNS": "80",
}
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PREFACE = """\
import sys

if "google.colab" in sys.modules:
    %pip install --quiet "qtheory[notebooks] @ git+https://github.com/qtheory/qtheory\""""
PREFACE_TAGS = ["remove-cell"]

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_OUTSIDE = re.compile(
    r"""(?:\b(?:src|href|action|data|poster|srcset)\s*=\s*["']?\s*|url\(\s*["']?|@import\s+["']?"""
    r"""|\bfetch\(\s*["']|\bimport\(\s*["'])(?:https?:)?//[^\s"')>]+""",
    re.IGNORECASE,
)


class ChapterError(Exception):
    """A chapter could not be turned into a twin; the message says where and why."""


def chapters() -> list[Path]:
    """Return the authored text of every chapter, in reading order."""
    return sorted(ROOT.glob(CHAPTER_GLOB))


def twin_path(source: Path) -> Path:
    """Return the path of a chapter's executed twin."""
    return source.with_suffix(".ipynb")


def source_hash(text: str) -> str:
    """Return the hash by which a twin knows the text it was made from."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_chapter(text: str) -> nbformat.NotebookNode:
    """Return the notebook that a chapter's text stands for, without outputs.

    Parameters
    ----------
    text : str
        The MyST text of a chapter.

    Returns
    -------
    nbformat.NotebookNode
        The notebook with the cell that installs the library on Colab in front, cell ids made from
        position and content, and fixed metadata that carries the hash of the text.
    """
    parsed = jupytext.reads(text, fmt="md:myst")
    preface = nbformat.v4.new_code_cell(PREFACE, metadata={"tags": list(PREFACE_TAGS)})
    notebook = nbformat.v4.new_notebook(cells=[preface, *parsed.cells])
    for index, cell in enumerate(notebook.cells):
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()
        cell["id"] = f"{index:03d}-{digest[:10]}"
        if cell.cell_type == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNELSPEC,
            "language_info": LANGUAGE_INFO,
            "qtheory": {"source_sha256": source_hash(text)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run every cell of a notebook in a fresh kernel, in place.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        What `read_chapter` returned.
    folder : pathlib.Path
        The working folder of the kernel.

    Raises
    ------
    ChapterError
        If a cell raises, times out, or the kernel dies.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    transport = "ipc" if os.name == "posix" else "tcp"
    with tempfile.TemporaryDirectory(prefix="qtheory-kernel-") as scratch:
        os.environ.update(KERNEL_ENVIRONMENT, IPYTHONDIR=scratch)
        settings = {"transport": transport, "connection_file": str(Path(scratch) / "kernel.json")}
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            config=Config(KernelManager=settings),
            timeout=CELL_TIMEOUT_S,
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            client.execute()
        except CellTimeoutError as error:
            raise ChapterError(f"a cell ran longer than {CELL_TIMEOUT_S} s") from error
        except (CellExecutionError, DeadKernelError) as error:
            raise ChapterError(f"a cell failed:\n{error}") from error
        except RuntimeError as error:
            raise ChapterError(f"the kernel did not start: {error}") from error


def normalize(notebook: nbformat.NotebookNode) -> None:
    """Take out of an executed notebook, in place, what differs from run to run."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = nbformat.from_dict(LANGUAGE_INFO)
    notebook.metadata["kernelspec"] = nbformat.from_dict(KERNELSPEC)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            output.pop("transient", None)
            if "data" in output:
                output.data.pop(WIDGET_VIEW, None)
                output.metadata.pop(WIDGET_VIEW, None)
        cell.outputs = _merge_streams(cell.outputs)


def _merge_streams(outputs: Sequence[Any]) -> list[Any]:
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        elif output.output_type not in ("display_data", "execute_result") or output.data:
            merged.append(output)
    return merged


def to_bytes(notebook: nbformat.NotebookNode) -> bytes:
    """Return the file content of a notebook: fixed order of keys, one newline at the end."""
    return (nbformat.writes(notebook, version=4, indent=1, sort_keys=True).rstrip() + "\n").encode()


def write_twin(source: Path) -> str:
    """Execute one chapter and replace its twin.

    Parameters
    ----------
    source : pathlib.Path
        The authored ``.md`` file.

    Returns
    -------
    str
        ``"unchanged"`` or ``"written"``.

    Raises
    ------
    ChapterError
        If the chapter does not run or its outputs break a rule; the old twin is left as it was.
    """
    text = source.read_text(encoding="utf-8")
    notebook = read_chapter(text)
    execute(notebook, source.parent)
    normalize(notebook)
    problems = list(find_problems(notebook, text))
    content = to_bytes(notebook)
    problems += _size_problems(content)
    if problems:
        raise ChapterError("\n".join(problems))
    target = twin_path(source)
    if target.exists() and target.read_bytes() == content:
        return "unchanged"
    replace_file(target, content)
    return "written"


def replace_file(target: Path, content: bytes) -> None:
    """Put `content` at `target` in one step, so that no reader meets half a file."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_twin(source: Path) -> list[str]:
    """Return what is wrong with a chapter's twin, in sentences; empty when all is well.

    Parameters
    ----------
    source : pathlib.Path
        The authored ``.md`` file.
    """
    target = twin_path(source)
    if not target.exists():
        return ["has no executed twin: run `make notebooks`"]
    content = target.read_bytes()
    try:
        notebook = nbformat.reads(content.decode(), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises many kinds; each means the same here
        return [f"the twin is not a valid notebook: {error}"]
    text = source.read_text(encoding="utf-8")
    return [*find_problems(notebook, text), *_size_problems(content)]


def find_problems(notebook: nbformat.NotebookNode, text: str) -> Iterator[str]:
    """Yield, in sentences, each rule that an executed twin of `text` breaks.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        The twin.
    text : str
        The chapter's text.
    """
    recorded = notebook.metadata.get("qtheory", {}).get("source_sha256")
    wanted = read_chapter(text)
    if recorded != source_hash(text):
        yield "the twin is stale: its text has changed since; run `make notebooks`"
        return
    if [_identity(cell) for cell in notebook.cells] != [_identity(cell) for cell in wanted.cells]:
        yield "the twin was edited: its cells are not those of the text; run `make notebooks`"
        return
    if "widgets" in notebook.metadata:
        yield "the twin stores widget state"
    count = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            count += 1
            for problem in _cell_problems(cell, count):
                yield f"cell {index} ({_first_line(cell)!r}): {problem}"


def _identity(cell: Any) -> tuple[str, str, str, Any]:
    return cell["id"], cell.cell_type, cell.source, dict(cell.metadata)


def _first_line(cell: Any) -> str:
    return cell.source.strip().splitlines()[0][:60] if cell.source.strip() else ""


def _cell_problems(cell: Any, count: int) -> Iterator[str]:
    if cell.execution_count is None:
        yield "was not executed (a stripped twin is not compared by the validation)"
    elif cell.execution_count != count:
        yield f"has execution count {cell.execution_count}, expected {count}"
    if _ends_with_semicolon(cell.source):
        yield "ends with `;`, which validation does not heed; assign to `_` or call plt.show()"
    for output in cell.outputs:
        yield from _output_problems(output)
    if any(_is_figure(output) for output in cell.outputs):
        yield from _figure_problems(cell)


def _ends_with_semicolon(source: str) -> bool:
    lines = [line.split("#")[0].rstrip() for line in source.splitlines()]
    lines = [line for line in lines if line]
    return bool(lines) and lines[-1].endswith(";")


def _output_problems(output: Any) -> Iterator[str]:
    if output.output_type == "error":
        yield f"raised {output.ename}: {output.evalue}"
        return
    if output.output_type == "stream":
        if output.name == "stderr":
            yield f"wrote to stderr: {output.text.strip()[:200]!r}"
        parts = {"text/plain": output.text}
    else:
        parts = {kind: _as_text(value) for kind, value in output.data.items()}
    if WIDGET_VIEW in parts:
        yield "stores the random id of a widget view"
    for kind, value in parts.items():
        if len(value) > OUTPUT_LIMIT_BYTES:
            yield f"has a {kind} output of {len(value)} bytes, limit {OUTPUT_LIMIT_BYTES}"
        if kind.startswith("image/") and kind != "image/svg+xml":
            continue
        if found := _OUTSIDE.search(value):
            yield f"output asks for another host: {found.group()[:120]!r}"
        if found := _ADDRESS.search(value):
            yield f"output shows a memory address: {found.group()!r}"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _is_figure(output: Any) -> bool:
    data = output.get("data", {})
    return any(kind.startswith("image/") for kind in data) or _is_interactive(output)


def _is_interactive(output: Any) -> bool:
    return "qt-figure" in _as_text(output.get("data", {}).get("text/html", ""))


def _figure_problems(cell: Any) -> Iterator[str]:
    if "remove-output" in cell.metadata.get("tags", ()):
        return
    options = cell.metadata.get("mystnb", {})
    figure = options.get("figure", {})
    if not str(figure.get("caption", "")).strip():
        yield "shows a figure without a caption (cell metadata mystnb.figure.caption)"
    if not re.fullmatch(r"fig-ch\d\d-[a-z0-9-]+", str(figure.get("name", ""))):
        yield "shows a figure whose mystnb.figure.name is not fig-chNN-noun"
    images = [out for out in cell.outputs if _is_figure(out) and not _is_interactive(out)]
    if images and not str(options.get("image", {}).get("alt", "")).strip():
        yield "shows a figure without alt text (cell metadata mystnb.image.alt)"
    if sum(map(_is_figure, cell.outputs)) > 1:
        yield "shows more than one figure; one cell, one figure"


def _size_problems(content: bytes) -> list[str]:
    if len(content) <= NOTEBOOK_LIMIT_BYTES:
        return []
    return [f"the twin has {len(content)} bytes, limit {NOTEBOOK_LIMIT_BYTES}"]


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _label(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _report(label: str, problems: Sequence[str]) -> None:
    for problem in problems:
        print(f"{label}: {problem}", file=sys.stderr)


def run_write(sources: Sequence[Path]) -> int:
    """Write the twins of `sources`, one progress line each, and return the exit status."""
    status = 0
    for number, source in enumerate(sources, 1):
        label = f"[{number}/{len(sources)}] {_label(source)}"
        print(f"{label} ...", end=" ", flush=True)
        start = time.perf_counter()
        try:
            outcome = write_twin(source)
        except ChapterError as error:
            print("FAILED", flush=True)
            _report(_label(source), str(error).splitlines())
            status = 1
        else:
            seconds = time.perf_counter() - start
            print(f"{outcome} ({seconds:.1f} s, largest kernel {_peak_memory_mib():.0f} MiB)")
    return status


def run_check(sources: Sequence[Path]) -> int:
    """Check the twins of `sources` and return the exit status."""
    bad = 0
    for source in sources:
        problems = check_twin(source)
        _report(_label(source), problems)
        bad += bool(problems)
    orphans = [] if sources != chapters() else find_orphans()
    for orphan in orphans:
        print(f"{_label(orphan)}: has no authored .md beside it", file=sys.stderr)
    print(f"{len(sources) - bad} of {len(sources)} chapter twins are in order")
    return int(bool(bad or orphans))


def find_orphans() -> list[Path]:
    """Return the notebooks in the chapter folders that no text stands behind."""
    twins = ROOT.glob(CHAPTER_GLOB.replace(".md", ".ipynb"))
    return sorted(twin for twin in twins if not twin.with_suffix(".md").exists())


def _is_stale(source: Path) -> bool:
    target = twin_path(source)
    if not target.exists():
        return True
    try:
        notebook = nbformat.reads(target.read_text(encoding="utf-8"), as_version=4)
    except Exception:  # unreadable is stale
        return True
    recorded = notebook.metadata.get("qtheory", {}).get("source_sha256")
    return bool(recorded != source_hash(source.read_text(encoding="utf-8")))


def _resolve(names: Sequence[str]) -> list[Path]:
    if not names:
        return chapters()
    paths = [Path(name).resolve().with_suffix(".md") for name in names]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise SystemExit(f"no such chapter: {', '.join(missing)}")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, do what it says and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="chapters (default: all)")
    parser.add_argument("--check", action="store_true", help="execute nothing, look at the twins")
    parser.add_argument("--stale", action="store_true", help="write only twins of changed texts")
    options = parser.parse_args(arguments)
    sources = _resolve(options.paths)
    if options.check:
        return run_check(sources)
    return run_write([path for path in sources if not options.stale or _is_stale(path)])


if __name__ == "__main__":
    sys.exit(main())
