"""Create or update ``.venv``: the pinned CPU build of torch, the locked packages, the library.

Run as ``python3 tools/environment.py``; every verb of the Makefile does so first. It needs the
standard library of Python 3.11 or later, and takes no time while the environment is current.
"""

from __future__ import annotations  # so that a Python that is too old gets as far as saying so

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "qtheory-stamp.txt"
TORCH = ROOT / "requirements" / "torch.txt"
LOCK = ROOT / "requirements" / "lock.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST_PYTHON = (3, 11)


class InstallError(Exception):
    """A step that failed, with one sentence for the user."""


def main() -> int:
    """Bring the environment up to date and return the exit status."""
    try:
        check_python(sys.version_info[:2])
        if not is_current():
            build()
    except InstallError as failure:
        print(f"environment: {failure}", file=sys.stderr)
        return 1
    return 0


def check_python(version: tuple[int, int]) -> None:
    """Refuse a Python that is too old or that cannot make virtual environments."""
    if version < OLDEST_PYTHON:
        found, needed = (".".join(map(str, v)) for v in (version, OLDEST_PYTHON))
        raise InstallError(
            f"Python {needed} or later is needed, but this is {found}; "
            "name another one with `make PYTHON=python3.12 ...`."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise InstallError(
            "this Python has no venv module; on Debian and Ubuntu, install python3-venv."
        ) from None


def fingerprint(root: Path = ROOT) -> str:
    """Return a hash of all that decides what is installed."""
    import tomllib  # not before check_python: it is new in Python 3.11

    digest = hashlib.sha256()
    for path in sorted((root / "requirements").glob("*.txt")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    # Settings of ruff, mypy or pytest install nothing: only packaging counts.
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    tools = pyproject.get("tool", {})
    packaging = [pyproject.get("build-system"), pyproject.get("project"), tools.get("setuptools")]
    digest.update(json.dumps(packaging, sort_keys=True).encode())
    digest.update(f"{root}\0{platform.python_version()}".encode())
    return digest.hexdigest()


def is_current() -> bool:
    """Tell whether the environment is complete and made from the present files."""
    try:
        return STAMP.read_text(encoding="utf-8") == fingerprint() and runs("pass")
    except OSError:
        return False


def build() -> None:
    """Create the environment if need be and install everything; leave a stamp on success only."""
    STAMP.unlink(missing_ok=True)
    version = ".".join(map(str, sys.version_info[:2]))
    if not runs(f"import sys, pip; assert sys.version.startswith('{version}.')"):
        say(f"creating .venv with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    install_torch()
    install_lock()
    check_torch()
    say("installing qtheory from this folder")
    # The lock holds the build backend, so nothing more is downloaded.
    run([*pip_install(), "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    STAMP.write_text(fingerprint(), encoding="utf-8")
    say("ready")


def install_torch() -> None:
    """Install the pinned torch, on Linux as the CPU build if its index can be reached."""
    command = [*pip_install(), "--no-deps", "-r", str(TORCH)]
    if sys.platform == "linux":
        if is_reachable(f"{TORCH_CPU_INDEX}/torch/"):
            say("installing torch (CPU build)")
            command += ["--index-url", TORCH_CPU_INDEX]
        else:
            say("PyTorch's CPU index cannot be reached: taking torch from the configured index")
    else:
        say("installing torch")
    run(command)


def check_torch() -> None:
    """Install what torch needs beyond the lock if, and only if, it does not import without."""
    if runs("import torch"):
        return
    say("this build of torch needs further packages: installing them")
    run([*pip_install(), "-r", str(TORCH)])
    if not runs("import torch"):
        raise InstallError("torch is installed but cannot be imported.")


def install_lock() -> None:
    """Install the locked packages, with uv if it is there."""
    uv = shutil.which("uv")
    if uv:
        say("installing the locked packages with uv")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(PYTHON)]
        if subprocess.run([*command, "-r", str(LOCK)], cwd=ROOT, check=False).returncode == 0:
            return
        say("uv failed: trying pip")
    say("installing the locked packages with pip (a few minutes)")
    run([*pip_install(), "--no-deps", "-r", str(LOCK)])


def pip_install() -> list[str]:
    """Return the beginning of an install command."""
    quiet = ["-qq", "--no-input", "--disable-pip-version-check"]
    return [str(PYTHON), "-m", "pip", "install", *quiet]


def is_reachable(url: str) -> bool:
    """Tell whether a web address answers within a few seconds."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def runs(code: str) -> bool:
    """Tell whether the environment's Python runs a piece of code."""
    try:
        done = subprocess.run([str(PYTHON), "-c", code], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def run(command: Sequence[str]) -> None:
    """Run a command and turn its failure into one sentence."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise InstallError(f"failed: {' '.join(command)}")


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"environment: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
