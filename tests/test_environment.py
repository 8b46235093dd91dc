"""The lists of dependencies agree, the lock is free of CUDA, and Binder builds what we mean."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
LOCK_LINES = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()

# Name on conda-forge -> name on the Python index, where they differ.
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
READER_EXTRAS = ["torch", "fast", "notebooks"]


def conda_specs(environment):
    """Return the packages of a conda environment with their version ranges, by Python names."""
    entries = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    parts = [re.fullmatch(r"([\w.-]+?)(?:=([\d.]+))?", entry).groups() for entry in entries]
    return {
        CONDA_NAMES.get(name, name): SpecifierSet(f"=={version}.*" if version else "")
        for name, version in parts
    }


def reader_requirements():
    """Return what a reader of the chapters needs, as pyproject.toml has it."""
    lines = PROJECT["dependencies"] + [line for extra in READER_EXTRAS for line in EXTRAS[extra]]
    return [Requirement(line) for line in lines]


def locked_versions(name):
    """Return the versions which the lock and the torch pin hold for a package."""
    requirements = [Requirement(line) for line in [*LOCK_LINES, torch_pin()]]
    pins = [req for req in requirements if req.name.lower().replace("_", "-") == name]
    return [Version(str(pin.specifier).removeprefix("==")) for pin in pins]


def torch_pin():
    """Return the line that pins torch."""
    return (ROOT / "requirements" / "torch.txt").read_text(encoding="utf-8").strip()


def cuda_lines(lines):
    """Return the lines of a lock that bring torch itself or a package for CUDA."""
    pattern = re.compile(r"\s*(nvidia|cuda|cudnn|triton|pytorch-triton|torch)\b", re.IGNORECASE)
    return [line for line in lines if pattern.match(line)]


# --- Binder and conda -----------------------------------------------------------------------


@pytest.mark.parametrize("requirement", reader_requirements(), ids=lambda req: req.name)
def test_environment_yml_holds_what_a_reader_needs_in_the_locked_version(requirement):
    specs = conda_specs(CONDA)
    assert requirement.name in specs, f"add {requirement.name} to environment.yml"
    versions = locked_versions(requirement.name)
    assert versions, f"{requirement.name} is not in requirements/"
    assert all(version in specs[requirement.name] for version in versions)
    assert all(version in requirement.specifier for version in versions)


def test_environment_yml_uses_conda_forge_alone():
    assert CONDA["channels"] == ["conda-forge"]


def test_environment_yml_states_a_python_that_the_package_accepts():
    stated = [entry for entry in CONDA["dependencies"] if str(entry).startswith("python=")]
    assert len(stated) == 1
    assert stated[0].removeprefix("python=") in SpecifierSet(PROJECT["requires-python"])


def test_environment_yml_has_no_pip_section():
    assert all(isinstance(entry, str) for entry in CONDA["dependencies"])


def test_no_binder_folder_hides_the_files_of_the_root():
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()


def test_postbuild_is_executable_and_stops_at_the_first_failure():
    script = ROOT / "postBuild"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "set -e" in lines
    assert "python -m pip install --no-deps -e ." in lines


def test_repo2docker_plans_the_image_that_we_mean():
    # Prints the plan of the image without building it, so neither Docker nor a network is needed.
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    plan = done.stdout + done.stderr
    assert done.returncode == 0, plan
    assert "Building conda environment for python=3.12" in plan
    assert "./postBuild" in plan
    # The environment comes before the text, so that a new text does not mean a new environment.
    copied = re.findall(r"^COPY --chown=\d+:\d+ src/(\S*) ", plan, flags=re.MULTILINE)
    assert copied == ["environment.yml", ""]


# --- The lock -------------------------------------------------------------------------------


def test_the_lock_holds_neither_torch_nor_cuda():
    assert cuda_lines(LOCK_LINES) == []


@pytest.mark.parametrize(
    "line", ["nvidia-cublas-cu12==12.6", "triton==3.4", "cuda-bindings==13.0", "torch==2.13.0"]
)
def test_a_cuda_package_in_a_lock_would_be_seen(line):
    assert cuda_lines(["numpy==2.4.6", line]) == [line]


def test_torch_is_pinned_to_one_version():
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", torch_pin())


def test_the_lock_pins_every_line():
    requirements = [Requirement(line) for line in LOCK_LINES]
    assert [str(req) for req in requirements if not str(req.specifier).startswith("==")] == []


def test_the_lock_covers_every_extra():
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra]
    requirements = [Requirement(line) for line in lines]
    missing = [
        req.name
        for req in requirements
        if not any(
            version in req.specifier
            for version in locked_versions(req.name.lower().replace("_", "-"))
        )
    ]
    assert missing == [], "regenerate the lock as requirements/README.md says"


def test_jupyter_book_stays_below_version_two():
    pins = [Requirement(line) for line in EXTRAS["book"] if line.startswith("jupyter-book")]
    assert [Version("2.0") in pin.specifier for pin in pins] == [False]


# --- The installation as it is ----------------------------------------------------------------


def test_no_cuda_package_is_installed():
    command = [sys.executable, "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line for line in cuda_lines(listed.splitlines()) if not line.startswith("torch==")]
    assert found == []


def test_the_version_is_the_same_everywhere():
    from qtheory import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


@pytest.mark.slow
def test_the_wheel_holds_the_library_with_its_data_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(
        [*command, str(ROOT)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "qtheory").rglob("*")
        if path.suffix in {".py", ".npz", ".json", ".typed"}
    }
    assert sources <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"qtheory"}
