"""The box for an array of the reader's own."""

import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qtheory import figures
from qtheory.figures import ArrayBox

pytest.importorskip("ipywidgets")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def box():
    """Return a box with two numbers."""
    return ArrayBox([1.0, 2.0])


def upload(name, content):
    """Return what a file chooser holds after one file."""
    file = {"name": name, "content": memoryview(content), "type": "", "size": len(content)}
    return (file | {"last_modified": datetime(2026, 1, 1, tzinfo=UTC)},)


def saved(array, tmp_path):
    """Return the bytes of an array in NumPy's format."""
    np.save(tmp_path / "a.npy", array)
    return (tmp_path / "a.npy").read_bytes()


def test_default_is_copied_and_shown(box):
    default = np.array([1.0, 2.0])
    copied = ArrayBox(default)
    default[0] = 9.0
    assert_array_equal(copied.array, [1.0, 2.0])
    assert repr(box) == "ArrayBox(the default array of shape (2,))"


@pytest.mark.parametrize(
    ("default", "message"),
    [([], "`default` must be an array with at least one"), (["a"], "`default` must be real num")],
)
def test_bad_defaults_are_refused(default, message):
    with pytest.raises(ValueError, match=message):
        ArrayBox(default)


def test_static_page_has_a_note_alone(box):
    bundle = box._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "runs live" in bundle["text/html"]


def test_kernel_gets_the_box(box, monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    view = SimpleNamespace(_repr_mimebundle_=lambda: {WIDGET_VIEW: {"model_id": "1"}})
    monkeypatch.setattr(ArrayBox, "widget", lambda self: view)
    assert box._repr_mimebundle_()[WIDGET_VIEW] == {"model_id": "1"}
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    assert WIDGET_VIEW not in box._repr_mimebundle_()


def test_chosen_file_replaces_the_array(box, tmp_path):
    chooser, status = box.widget().children
    chooser.value = upload("mine.npy", saved(np.arange(6.0).reshape(2, 3), tmp_path))
    assert_array_equal(box.array, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert "ArrayBox(mine.npy of shape (2, 3)): run the cells below again." in status.value


def test_unreadable_file_leaves_the_array_and_says_why(box, tmp_path):
    chooser, status = box.widget().children
    chooser.value = upload("<b>.npy", b"no array")
    assert_array_equal(box.array, [1.0, 2.0])
    assert "The array stays as it was." in status.value
    assert "<b>" not in status.value
    chooser.value = upload("good.npy", saved(np.ones(4), tmp_path))
    assert box.array.shape == (4,)
