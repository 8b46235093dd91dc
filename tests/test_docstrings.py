"""Every public docstring keeps to numpydoc, with the checks that pyproject.toml names."""

import enum
import inspect
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import ERROR_MSGS, validate

from tools.public_names import public_modules

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# numpydoc's own reading of the list: with "all", the codes name what is left out.
CHECKS = set(ERROR_MSGS) - set(SETTINGS["tool"]["numpydoc_validation"]["checks"])
# A method or property needs a docstring with a proper summary; the class says the rest.
MEMBER_CHECKS = {code for code in CHECKS if code.startswith(("GL", "SS"))}
# An enumeration or a protocol has no constructor of its own.
ABSTRACT_CHECKS = {code for code in CHECKS if not code.startswith("PR")}


def public_objects():
    """Return each function and class in an ``__all__`` by the dotted name of its definition."""
    values = [
        getattr(module, name)
        for module in public_modules()
        for name in getattr(module, "__all__", [])
    ]
    return {
        f"{value.__module__}.{value.__qualname__}": value
        for value in values
        if inspect.isfunction(value) or inspect.isclass(value)
    }


def public_members(value):
    """Return the names of the public methods and properties that a class itself defines."""
    kinds = property | classmethod | staticmethod
    return [
        name
        for name, member in vars(value).items()
        if not name.startswith("_") and (isinstance(member, kinds) or inspect.isfunction(member))
    ]


def is_abstract(value):
    """Tell whether something is an enumeration or a protocol."""
    is_enum = inspect.isclass(value) and issubclass(value, enum.Enum)
    return is_enum or getattr(value, "_is_protocol", False)


def cases():
    """Return each public thing with the checks that apply to it."""
    objects = public_objects()
    classes = {dotted: value for dotted, value in objects.items() if inspect.isclass(value)}
    own = [
        (name, ABSTRACT_CHECKS if is_abstract(value) else CHECKS) for name, value in objects.items()
    ]
    members = [
        (f"{dotted}.{member}", MEMBER_CHECKS)
        for dotted, value in classes.items()
        for member in public_members(value)
    ]
    return [pytest.param(*case, id=case[0]) for case in sorted(own + members, key=lambda c: c[0])]


def faults(dotted, checks):
    """Return what numpydoc finds wrong with a docstring."""
    return [f"{code}: {text}" for code, text in validate(dotted)["errors"] if code in checks]


@pytest.mark.parametrize(("dotted", "checks"), cases())
def test_docstring_keeps_to_numpydoc(dotted, checks):
    assert faults(dotted, checks) == []


@pytest.mark.parametrize(("name", "code"), [("json.dumps", "PR01"), ("math.hypot", "SS03")])
def test_a_poor_docstring_is_caught(name, code):
    assert any(fault.startswith(code) for fault in faults(name, CHECKS))
