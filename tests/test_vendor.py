"""Everything that others wrote and the site serves is listed, hashed and licensed."""

import json
import re
from pathlib import Path

import pytest

from tools import vendor

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def vendored(tmp_path):
    """Return a vendor folder with one package that is in order."""
    package = tmp_path / "thing"
    package.mkdir()
    (package / "thing.js").write_text("let a = 1;\n")
    (package / "LICENSE").write_text("MIT\n")
    entry = dict.fromkeys(vendor.FIELDS, "stated") | {"license_file": "LICENSE"}
    (tmp_path / "VENDOR.json").write_text(json.dumps({"thing": entry}))
    vendor.rewrite(tmp_path)
    return tmp_path


def test_vendor_folder_is_what_its_list_says():
    assert vendor.find_problems(vendor.FOLDER) == []


def test_mathjax_is_the_version_listed():
    listed = json.loads((vendor.FOLDER / "VENDOR.json").read_text())["mathjax"]
    script = (vendor.FOLDER / "mathjax/es5/tex-mml-chtml.js").read_text()
    assert f'VERSION="{listed["version"]}"' in script or f'q="{listed["version"]}"' in script


def test_own_static_files_name_no_other_host():
    own = [*(ROOT / "book/_static").glob("*.css"), *(ROOT / "book/_static").glob("*.js")]
    assert own
    assert [str(path) for path in own if re.search(r"https?://", path.read_text())] == []


def test_a_package_in_order_has_no_problems(vendored):
    assert vendor.find_problems(vendored) == []


def test_changed_file_is_reported(vendored):
    (vendored / "thing/thing.js").write_text("let a = 2;\n")
    assert vendor.find_problems(vendored) == ["thing/thing.js was changed"]


def test_unlisted_file_is_reported(vendored):
    (vendored / "thing/extra.js").write_text("")
    assert vendor.find_problems(vendored) == ["thing/extra.js is not listed"]


def test_missing_file_is_reported(vendored):
    (vendored / "thing/thing.js").unlink()
    assert vendor.find_problems(vendored) == ["thing/thing.js is listed and missing"]


def test_unlisted_package_is_reported(vendored):
    (vendored / "other").mkdir()
    assert vendor.find_problems(vendored) == ["other is not in VENDOR.json"]


def test_missing_license_text_is_reported(vendored):
    (vendored / "thing/LICENSE").unlink()
    assert "thing: its license text is missing" in vendor.find_problems(vendored)


def test_unstated_version_is_reported(vendored):
    path = vendored / "VENDOR.json"
    listed = json.loads(path.read_text())
    listed["thing"]["version"] = ""
    path.write_text(json.dumps(listed))
    assert vendor.find_problems(vendored) == ["thing: no version stated"]
