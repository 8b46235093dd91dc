"""Write the small Sphinx inventories that the book links through.

The build must not ask another host for `objects.inv`, so `book/_inv/<project>.txt` lists the few
outside names that the book and the docstrings refer to, and this tool turns each list into the
inventory format (version 2) beside it.

Usage::

    python tools/inventories.py            # write book/_inv/*.inv
    python tools/inventories.py --check    # exit 1 when one is not what its list says

A line of a list is ``domain:role name uri [display name]``; ``$`` at the end of the uri stands for
the name.  Blank lines and lines that begin with ``#`` are skipped.  The first line names the
project and its version: ``project NAME VERSION``.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_inv"


def inventory_bytes(text: str) -> bytes:
    """Return the inventory that a text list describes.

    Parameters
    ----------
    text : str
        The list, in the format of the module docstring.

    Returns
    -------
    bytes
        The content of an ``objects.inv`` file, the same for the same text.

    Raises
    ------
    ValueError
        If the first line or an entry is malformed.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    head = lines[0].split() if lines else []
    if len(head) != 3 or head[0] != "project":
        raise ValueError("the first line must be 'project NAME VERSION'.")
    entries = [_entry(line) for line in lines[1:]]
    header = (
        "# Sphinx inventory version 2\n"
        f"# Project: {head[1]}\n"
        f"# Version: {head[2]}\n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    body = "".join(sorted(entries)).encode()
    return header.encode() + zlib.compress(body, 9)


def _entry(line: str) -> str:
    parts = line.split(maxsplit=3)
    if len(parts) < 3 or ":" not in parts[0]:
        raise ValueError(f"an entry must be 'domain:role name uri [display]', got {line!r}.")
    role, name, uri = parts[:3]
    display = parts[3] if len(parts) == 4 else "-"
    return f"{name} {role} 1 {uri} {display}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or check every inventory and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args(arguments)
    status = 0
    for source in sorted(FOLDER.glob("*.txt")):
        target = source.with_suffix(".inv")
        wanted = inventory_bytes(source.read_text(encoding="utf-8"))
        if target.exists() and target.read_bytes() == wanted:
            continue
        if options.check:
            print(f"{target.name} is not what {source.name} says: run python tools/inventories.py")
            status = 1
        else:
            target.write_bytes(wanted)
            print(f"wrote {target.name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
