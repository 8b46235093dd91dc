"""The verbs of the Makefile, as lists of commands; run with the environment's Python."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import serve

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PYTHON = sys.executable
PYTEST = [PYTHON, "-m", "pytest"]
JUPYTER_BOOK = [PYTHON, str(Path(PYTHON).parent / "jupyter-book"), "build", "."]

# Printed numbers of a chapter must not depend on hashing or on the number of cores.
FIXED = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
COVERAGE = ["--cov=qtheory", "--cov-report=term", "--cov-fail-under=95"]
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]

UNIT = [*PYTEST, "-q", "tests", "qtheory", "--doctest-modules", "--ignore=tests/e2e"]
STEPS = {
    "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
    "lint": [PYTHON, "-m", "ruff", "check", "."],
    "types": [PYTHON, "-m", "mypy"],
    "pairs": [PYTHON, "tools/notebooks.py", "--check"],
    "unit": UNIT,
    "coverage": [*UNIT, *COVERAGE],
    "notebooks": [*PYTEST, "-q", *NBVAL, "book"],
    "book": [*JUPYTER_BOOK, "--all", "-W", "-n", "--keep-going"],
    "preview": JUPYTER_BOOK,
    "site": [*PYTEST, "tests/e2e"],
}
TEST = ["unit", "notebooks"]
# Two lanes at the same time; a browser mostly waits. The site's lane is printed last, so that
# the output of a good check ends with pytest's closing line.
CHECK_LIBRARY = ["format", "lint", "types", "pairs", "coverage", "notebooks"]
CHECK_SITE = ["book", "links", "site"]
BUILT = ["_build", "build", "dist", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"]


def main(verb: str) -> int:
    """Carry out a verb and return the exit status."""
    os.chdir(ROOT)
    os.environ.update(FIXED)
    return {
        "serve": serve_book,
        "book": lambda: run_steps(["book"]),
        "test": lambda: run_steps(TEST),
        "check": check,
        "check-site": lambda: run_steps(CHECK_SITE),
        "bench": lambda: run([PYTHON, "benchmarks/run.py"]),
        "format": format_code,
        "notebooks": lambda: run([PYTHON, "tools/notebooks.py"]),
        "sweeps": train_networks,
        "clean": clean,
    }[verb]()


def run_steps(names: Sequence[str]) -> int:
    """Run steps to the end, whatever fails, and name the failed ones last."""
    failed = [name for name in names if run_step(name) != 0]
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return int(bool(failed))


def run_step(name: str) -> int:
    """Run one step under a heading."""
    print(f"== {name}", flush=True)
    if name == "book":
        shutil.rmtree(ROOT / "_build", ignore_errors=True)  # an old page would hide its warnings
    start = time.monotonic()
    status = check_links() if name == "links" else run(STEPS[name])
    # The last step keeps pytest's closing line at the end of the output.
    if name != CHECK_SITE[-1]:
        print(f"== {name}: {time.monotonic() - start:.0f} s", flush=True)
    return status


def run(command: Sequence[str]) -> int:
    """Run a command and return its exit status."""
    return subprocess.run(command, check=False).returncode


def check() -> int:
    """Check the library and the site side by side, and report one after the other."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        command = [PYTHON, __file__, "check-site"]
        site = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        library_status = run_steps(CHECK_LIBRARY)
        site_status = site.wait()
        log.seek(0)
        print(log.read(), end="", flush=True)
    if library_status:
        print("failed: the library, see above", flush=True)
    return library_status or site_status


def check_links() -> int:
    """Follow every link within the built site."""
    if not (SITE / "index.html").exists():
        print("There is no built site.")
        return 1
    quiet = ["--config=tests/linkchecker.ini", "--no-status", "--no-warnings", "--output=failures"]
    with serve.running(SITE) as address:
        return run([PYTHON, "-m", "linkcheck", *quiet, address])


def serve_book() -> int:
    """Build what changed, warnings or not, and serve the book."""
    if run(STEPS["preview"]) != 0 or not (SITE / "index.html").exists():
        return 1
    serve.serve_forever(SITE)
    return 0


def format_code() -> int:
    """Format the code and apply the safe fixes of the linter."""
    ruff = [PYTHON, "-m", "ruff"]
    return run([*ruff, "format", "."]) or run([*ruff, "check", "--fix", "."])


def train_networks() -> int:
    """Train the networks whose results are stored with the library."""
    train = [PYTHON, "-m"]
    return run([*train, "tools.sweeps"]) or run([*train, "tools.binary_digits"])


def clean() -> int:
    """Remove what was built, but not the environment."""
    for name in BUILT:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for path in ROOT.glob(".coverage*"):
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
