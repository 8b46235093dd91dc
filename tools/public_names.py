"""List the public names of the library, or write the list that the tests compare with.

``python tools/public_names.py`` writes ``tests/golden/public_names.txt``. Do so when a name is
added, renamed or removed on purpose, and say it in the changelog.
"""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "public_names.txt"


def public_modules() -> list[ModuleType]:
    """Import and return every module of the library whose path has no private part."""
    import qtheory

    found = pkgutil.walk_packages(qtheory.__path__, prefix="qtheory.")
    names = [name for _, name, _ in found if not any(p.startswith("_") for p in name.split("."))]
    return [qtheory, *map(importlib.import_module, sorted(names))]


def public_names() -> list[str]:
    """Return the dotted name of everything in an ``__all__``, sorted."""
    return sorted(
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in getattr(module, "__all__", [])
    )


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(public_names()) + "\n", encoding="utf-8")
