"""Keep the list of files that other projects wrote and the site serves.

``book/_static/vendor/VENDOR.json`` names each vendored package with version, license, origin and
the SHA-256 of every file.  `tests/test_vendor.py` compares the folder with the list.

Usage, after unpacking a new version into its folder and editing its version in the list::

    python tools/vendor.py            # recompute the hashes
    python tools/vendor.py --check    # exit 1 when folder and list differ
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static" / "vendor"
LIST = "VENDOR.json"
FIELDS = ("name", "version", "license", "license_file", "origin", "changes")


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by its path relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def find_problems(folder: Path) -> list[str]:
    """Return, in sentences, how a vendor folder differs from its list."""
    listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
    problems = []
    present = {path.name for path in folder.iterdir() if path.name != LIST}
    for name in sorted(present - set(listed)):
        problems.append(f"{name} is not in {LIST}")
    for name, package in sorted(listed.items()):
        problems += _package_problems(name, package, folder / name)
    return problems


def _package_problems(name: str, package: dict[str, Any], folder: Path) -> list[str]:
    problems = [f"{name}: no {field} stated" for field in FIELDS if not package.get(field)]
    found, wanted = file_hashes(folder), package.get("files", {})
    if package.get("license_file") not in found:
        problems.append(f"{name}: its license text is missing")
    for path in sorted(set(found) | set(wanted)):
        if path not in wanted:
            problems.append(f"{name}/{path} is not listed")
        elif path not in found:
            problems.append(f"{name}/{path} is listed and missing")
        elif found[path] != wanted[path]:
            problems.append(f"{name}/{path} was changed")
    return problems


def rewrite(folder: Path) -> None:
    """Recompute the hashes of every listed package."""
    path = folder / LIST
    listed = json.loads(path.read_text(encoding="utf-8"))
    for name, package in listed.items():
        package["files"] = file_hashes(folder / name)
    path.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the list and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    if not parser.parse_args(arguments).check:
        rewrite(FOLDER)
    problems = find_problems(FOLDER)
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
