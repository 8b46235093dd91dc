"""The public names: listed, documented, unchanged unless on purpose; nothing local in any file."""

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from tools.public_names import GOLDEN, public_modules, public_names

ROOT = Path(__file__).resolve().parent.parent
MODULES = public_modules()
# Places that exist on one machine only. Spelled so that this file does not match itself.
LOCAL_PLACE = re.compile(r"(?<![\w.~-])/(?:work|root|home)/\w|\.\./" + r"shared\b")
# Files of others, and lists that tools write.
FOREIGN = ("book/_static/vendor/", "tests/e2e/package-lock.json")


def tracked_texts():
    """Return the text of each file under version control by its path."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\0")
    paths = [ROOT / name for name in listed if name and not name.startswith(FOREIGN)]
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="replace")
        for path in paths
        if path.is_file()
    }


def local_places(texts):
    """Return each mention of a place that exists on one machine only."""
    return [
        f"{name}: {match.group()}"
        for name, text in texts.items()
        for match in LOCAL_PLACE.finditer(text)
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_module_lists_its_names_and_says_what_it_is_for(module):
    assert inspect.getdoc(module)
    assert isinstance(module.__all__, list)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_listed_name_exists_and_is_documented(module):
    objects = {name: getattr(module, name) for name in module.__all__}
    callables = {name: value for name, value in objects.items() if callable(value)}
    assert [name for name, value in callables.items() if not inspect.getdoc(value)] == []


def test_public_names_are_those_of_the_committed_list():
    committed = GOLDEN.read_text(encoding="utf-8").split()
    assert public_names() == committed, (
        "The public names differ from tests/golden/public_names.txt. If that is on purpose, run "
        "`.venv/bin/python tools/public_names.py` and add a line to CHANGELOG.md."
    )


def test_no_file_mentions_a_place_on_somebodys_machine():
    assert local_places(tracked_texts()) == []


@pytest.mark.parametrize(
    "text", ["open('" + "/ro" + "ot/x.npy')", "see .." + "/shared/notes", "cd /wo" + "rk/main"]
)
def test_a_local_place_would_be_seen(text):
    assert len(local_places({"file": text})) == 1


@pytest.mark.parametrize("text", ["https://example.org/work/x", "book/home/x", "~/work/x"])
def test_other_paths_are_not_local_places(text):
    assert local_places({"file": text}) == []
