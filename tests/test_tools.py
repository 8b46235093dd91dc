"""The verbs, the environment they stand on, and the server for the site."""

import re
import shutil
import urllib.request
from pathlib import Path

import pytest

from tools import environment, serve

ROOT = Path(__file__).resolve().parent.parent
VERBS = [
    *("help", "serve", "book", "test", "check", "bench", "format", "notebooks", "sweeps"),
    "clean",
]


@pytest.fixture
def project(tmp_path):
    """Return a folder with the files that decide what is installed."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def append(path, text):
    """Add text to the end of a file."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


# --- Makefile -------------------------------------------------------------------------------


def test_makefile_has_the_verbs_and_a_line_of_help_for_each():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^([a-z]+): +## \S.*$", makefile, flags=re.MULTILINE) == VERBS
    assert f".PHONY: {' '.join(VERBS)}\n" in makefile


def test_makefile_has_one_command_for_each_verb():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert len(re.findall(r"^\t", makefile, flags=re.MULTILINE)) == len(VERBS)


# --- Environment ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(3, 10), (2, 7)])
def test_an_old_python_is_refused(version):
    with pytest.raises(environment.InstallError, match=r"Python 3\.11 or later is needed"):
        environment.check_python(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 14)])
def test_a_newer_python_is_accepted(version):
    environment.check_python(version)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements/lock.txt", "six==1.17.0\n"),
        ("requirements/torch.txt", "# other\n"),
        ("pyproject.toml", "\n[project.scripts]\nqtheory = 'qtheory:main'\n"),
    ],
)
def test_the_environment_is_renewed_when_what_to_install_changes(project, name, text):
    before = environment.fingerprint(project)
    append(project / name, text)
    assert environment.fingerprint(project) != before


def test_the_environment_is_kept_when_the_setting_of_a_tool_changes(project):
    before = environment.fingerprint(project)
    append(project / "pyproject.toml", "\n[tool.other]\nsetting = 1\n")
    assert environment.fingerprint(project) == before


def test_a_failed_installation_leaves_no_valid_stamp(project, monkeypatch, capsys):
    stamp = project / "stamp.txt"
    stamp.write_text("an older installation", encoding="utf-8")
    monkeypatch.setattr(environment, "STAMP", stamp)
    monkeypatch.setattr(environment, "runs", lambda code: True)
    monkeypatch.setattr(environment, "is_reachable", lambda url: False)
    monkeypatch.setattr(environment, "pip_install", lambda: ["false"])
    assert environment.main() == 1
    assert not stamp.exists()
    assert "environment: failed: false" in capsys.readouterr().err


# --- Server ---------------------------------------------------------------------------------


def test_the_site_is_served_on_this_machine_alone(tmp_path):
    (tmp_path / "index.html").write_text("a page", encoding="utf-8")
    with serve.running(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.read() == b"a page"


def test_a_port_in_use_is_passed_over(tmp_path):
    first = serve.start(tmp_path, first_port=28000)
    second = serve.start(tmp_path, first_port=first.server_port)
    first.server_close()
    second.server_close()
    assert second.server_port > first.server_port
