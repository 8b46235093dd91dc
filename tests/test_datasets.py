"""The shipped network is what it says, and a reader's file is read or refused with a clear word."""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from qtheory import datasets
from qtheory.datasets import (
    DigitsNetwork,
    array_from_upload,
    digits_network,
    load_array,
    summarize_array,
)
from tools import train_digits

EPS = np.finfo(np.float64).eps


@pytest.fixture(scope="module")
def network():
    return digits_network()


@pytest.fixture(scope="module")
def stored_bytes():
    return (resources.files("qtheory") / "data" / "digits_mlp.npz").read_bytes()


@pytest.fixture(scope="module")
def provenance():
    text = (resources.files("qtheory") / "data" / "digits_mlp.json").read_text(encoding="utf-8")
    return json.loads(text)


def small_network(**changes):
    """Return a network 2-2-2 whose values can be followed by hand, with some fields changed."""
    fields = {
        "weights": ([[1.0, -1.0], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]),
        "biases": ([0.0, -0.25], [0.0, 0.0]),
        "images": [[16, 0], [0, 8]],
        "labels": [0, 1],
    }
    return DigitsNetwork(**(fields | changes))


def npy(array):
    """Return the bytes of an ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays):
    """Return the bytes of an ``.npz`` file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def load_bytes(data, **options):
    """Read an array from bytes in memory."""
    return load_array(io.BytesIO(data), **options)


def upload(data, name="mine.npy"):
    """Return the value of a ``FileUpload`` of ipywidgets 8 that holds one file."""
    file = {"name": name, "type": "", "size": len(data), "content": memoryview(data)}
    return (file | {"last_modified": datetime(2024, 1, 1, tzinfo=UTC)},)


def forward_by_scalars(network, pixels):
    """Return the scores of one image, written out in Python floats."""
    current = [int(pixel) / 16 for pixel in pixels]
    for matrix, bias in zip(network.weights, network.biases, strict=True):
        scores = [
            sum(float(w) * x for w, x in zip(row, current, strict=True)) + float(b)
            for row, b in zip(matrix, bias, strict=True)
        ]
        current = [max(score, 0.0) for score in scores]
    return scores


# --- unit: the network ---------------------------------------------------------------------------


def test_shapes_and_types_of_the_shipped_network(network):
    assert [matrix.shape for matrix in network.weights] == [(128, 64), (128, 128), (10, 128)]
    assert [bias.shape for bias in network.biases] == [(128,), (128,), (10,)]
    assert {array.dtype.name for array in network.weights + network.biases} == {"float64"}
    assert (network.images.shape, network.images.dtype.name) == ((360, 64), "uint8")
    assert (network.labels.shape, network.labels.dtype.name) == ((360,), "uint8")
    assert network.num_layers == 3


def test_shipped_weights_are_float32_values(network):
    for array in network.weights + network.biases:
        assert_array_equal(array, array.astype(np.float32))


def test_images_are_sixteenths_and_every_class_occurs(network):
    assert network.images.min() == 0
    assert network.images.max() == 16
    assert_array_equal(np.unique(network.labels), np.arange(10))
    assert_array_equal(network.inputs * 16, network.images)


def test_arrays_are_read_only(network):
    for array in (*network.weights, *network.biases, network.images, network.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.labels = None


def test_constructor_copies_its_arrays():
    images = np.array([[16, 0], [0, 8]])
    network = small_network(images=images)
    images[0, 0] = 3
    assert network.images[0, 0] == 16


def test_forward_pass_by_hand():
    network = small_network()
    result = network.forward(network.inputs)
    assert_array_equal(result.preactivations[0], [[1.0, 0.25], [-0.5, 0.0]])
    assert_array_equal(result.preactivations[1], [[1.0, 0.25], [0.0, 0.0]])
    assert_array_equal(result.activations[0], [[1.0, 0.0], [0.0, 0.5]])
    assert_array_equal(result.activations[1], [[1.0, 0.25], [0.0, 0.0]])
    assert_array_equal(network.activations(1), result.activations[1])
    assert network.accuracy() == 0.5


def test_replaced_weights_are_used_and_the_biases_stay():
    network = small_network()
    swapped = network.forward([[1.0, 0.0]], weights=[[[0, 0], [1, 0]], [[0, 1], [1, 0]]])
    assert_array_equal(swapped.preactivations[1], [[0.75, 0.0]])
    assert network.accuracy([[[0, 0], [0, 0]], [[0, 0], [0, 0]]]) == 0.5
    assert network.accuracy(network.weights) == network.accuracy()


def test_accuracy_is_the_recorded_one(network, provenance):
    assert network.accuracy() == provenance["accuracy_held_out"]
    assert network.accuracy() >= 0.97


def test_accuracy_falls_to_chance_without_weights(network):
    zeros = [np.zeros_like(matrix) for matrix in network.weights]
    share_of_one_class = np.bincount(network.labels) / 360
    assert network.accuracy(zeros) == pytest.approx(
        share_of_one_class[np.argmax(network.biases[2])]
    )


def test_provenance_names_the_file_its_source_and_license(provenance, stored_bytes):
    assert provenance["sha256"] == hashlib.sha256(stored_bytes).hexdigest()
    assert "scikit-learn" in provenance["source"]["name"]
    assert provenance["source"]["license"] == "CC-BY-4.0"
    assert set(provenance["versions"]) == {"python", "numpy", "scikit-learn"}
    assert len(stored_bytes) <= 150_000


def test_a_changed_byte_is_refused(tmp_path, monkeypatch, stored_bytes, provenance):
    folder = tmp_path / "data"
    folder.mkdir()
    middle = len(stored_bytes) // 2
    changed = bytes([stored_bytes[middle] ^ 1])
    tampered = stored_bytes[:middle] + changed + stored_bytes[middle + 1 :]
    (folder / "digits_mlp.npz").write_bytes(tampered)
    (folder / "digits_mlp.json").write_text(json.dumps(provenance), encoding="utf-8")
    monkeypatch.setattr(datasets.resources, "files", lambda package: tmp_path)
    message = rf"`digits_mlp.npz` must be the shipped file with SHA-256 {provenance['sha256']}, got"
    with pytest.raises(ValueError, match=message):
        digits_network()


def test_importing_loads_no_learning_library():
    code = "import sys, qtheory.datasets as d; d.digits_network(); print('sklearn' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert process.stdout.strip() == b"False"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"weights": ()}, "`weights` must be matrices", id="no layers"),
        pytest.param({"weights": ([1.0], [2.0])}, "`weights` must be matrices", id="vectors"),
        pytest.param({"weights": (np.zeros((0, 2)),)}, "`weights` must be matrices", id="no units"),
        pytest.param(
            {"weights": ([[1.0, 1.0]], [[1.0, 1.0]])},
            r"`weights` must be matrices \(num_out, num_in\), each fed by the one before, got",
            id="sizes do not follow",
        ),
        pytest.param(
            {"weights": ([[np.nan, 1], [1, 1]], np.eye(2))}, "`weights` must be finite", id="NaN"
        ),
        pytest.param({"biases": ([0.0], [0.0])}, "`biases` must be one vector", id="biases"),
        pytest.param(
            {"biases": ([0.0, np.inf], [0, 0])}, "`biases` must be finite", id="infinite bias"
        ),
        pytest.param(
            {"images": [[17, 0], [0, 0]]}, "`images` must be integers from 0 to 16", id="pixel"
        ),
        pytest.param(
            {"images": [[-1, 0], [0, 0]]}, "`images` must be integers from 0 to 16", id="negative"
        ),
        pytest.param(
            {"images": [[0.5, 0], [0, 0]]}, "`images` must be integers from 0", id="fraction"
        ),
        pytest.param(
            {"images": [[1], [2]]}, r"`images` must be of shape \(num_images, 2\)", id="image size"
        ),
        pytest.param(
            {"images": np.zeros((0, 2), np.uint8)}, "`images` must be an array with", id="no image"
        ),
        pytest.param({"labels": [0, 2]}, "`labels` must be integers from 0 to 1", id="class"),
        pytest.param({"labels": [0]}, r"`labels` must be of shape \(2,\)", id="number of labels"),
    ],
)
def test_constructor_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        small_network(**changes)


def test_forward_and_layers_refuse_wrong_arguments():
    network = small_network()
    with pytest.raises(ValueError, match=r"`inputs` must be of shape \(num_samples, 2\), got"):
        network.forward([1.0, 2.0])
    with pytest.raises(ValueError, match="`inputs` must be real numbers"):
        network.forward([["a", "b"]])
    with pytest.raises(ValueError, match=r"`weights` must be matrices of shapes \[\(2, 2\)"):
        network.accuracy([np.eye(2)])
    with pytest.raises(ValueError, match="`layer` must be an integer of at most 1, got 2"):
        network.activations(2)
    with pytest.raises(ValueError, match="`layer` must be an integer of at least 0, got -1"):
        network.activations(-1)


# --- unit: a reader's own array ------------------------------------------------------------------

TABLE = np.array([[1.0, -2.5, 3.25], [0.0, 4.0, 1e-3]])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(npy(TABLE), id="npy"),
        pytest.param(npy(np.asfortranarray(TABLE)), id="npy in Fortran order"),
        pytest.param(npy(TABLE.astype(">f8")), id="npy of the other byte order"),
        pytest.param(npz(weights=TABLE), id="npz"),
        pytest.param(b"1,-2.5,3.25\n0,4,1e-3\n", id="commas"),
        pytest.param(b"1; -2.5; 3.25\r\n0; 4; 1e-3\r\n", id="semicolons"),
        pytest.param(b"# a comment\n1 -2.5\t3.25 # more\n\n  0 4 1e-3", id="blanks and comments"),
        pytest.param(b"\xef\xbb\xbf1,-2.5,3.25\n0,4,1e-3\n", id="byte order mark"),
    ],
)
def test_every_format_gives_the_same_array(data):
    array = load_bytes(data)
    assert array.dtype == np.float64
    assert_array_equal(array, TABLE)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv"])
def test_reads_from_a_path_as_text_or_path(tmp_path, name):
    data = {"a.npy": npy(TABLE), "a.npz": npz(x=TABLE), "a.csv": b"1,-2.5,3.25\n0,4,1e-3"}[name]
    (tmp_path / name).write_bytes(data)
    assert_array_equal(load_array(tmp_path / name), TABLE)
    assert_array_equal(load_array(str(tmp_path / name)), TABLE)
    with (tmp_path / name).open("rb") as file:
        assert_array_equal(load_array(file), TABLE)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f4", "float32"), ("f8", "float64"), ("f2", "float64"), ("i1", "float64"), ("?", "float64")],
)
def test_type_of_the_result(dtype, expected):
    assert load_bytes(npy(np.ones(3, dtype))).dtype.name == expected


def test_key_chooses_among_several_arrays():
    data = npz(first=[1.0], second=[2.0])
    assert_array_equal(load_bytes(data, key="second"), [2.0])
    with pytest.raises(ValueError, match="`key` must be one of 'first', 'second', got None"):
        load_bytes(data)
    with pytest.raises(ValueError, match="`key` must be one of 'first', 'second', got 'third'"):
        load_bytes(data, key="third")
    with pytest.raises(ValueError, match=r"`key` must be None for a file that is not \.npz, got"):
        load_bytes(b"1 2", key="first")


def test_special_values_are_kept():
    assert_array_equal(load_bytes(b"nan, inf, -inf, -0"), [np.nan, np.inf, -np.inf, -0.0])
    assert_array_equal(load_bytes(npy([np.nan, 1.0])), [np.nan, 1.0])


def test_a_scalar_is_an_array_of_one_element():
    assert load_bytes(npy(np.float64(2.5))).shape == ()


def damaged_npz():
    """Return an ``.npz`` with a byte of its compressed content changed."""
    data = bytearray(npz(a=np.arange(1000.0)))
    data[200] ^= 0xFF
    return bytes(data)


def zip_of(compression=zipfile.ZIP_STORED, **members):
    """Return a zip file with the given contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


NO_OBJECTS = "must be a readable .npy array without objects, got"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(npy(np.array([{}], dtype=object)), NO_OBJECTS, id="objects"),
        pytest.param(npz(a=np.array([{}], dtype=object)), NO_OBJECTS, id="objects in npz"),
        pytest.param(b"\x80\x04\x95\xff.", r"must be a \.npy, \.npz, \.csv or \.txt", id="pickle"),
        pytest.param(npy(np.zeros((0, 3))), "must be an array with at least one", id="empty npy"),
        pytest.param(b"", "must be a file with at least one number", id="empty file"),
        pytest.param(b"# only\n", "must be a file with at least one number", id="only comments"),
        pytest.param(npy(["a"]), "must be an array of real numbers, got 'dtype <U1'", id="text"),
        pytest.param(
            npy([1j]), "must be an array of real numbers, got 'dtype complex128'", id="complex"
        ),
        pytest.param(npy(np.zeros(1, "M8[s]")), "must be an array of real numbers", id="dates"),
        pytest.param(npy(np.zeros(1, "f4,i4")), "must be an array of real numbers", id="records"),
        pytest.param(b"a,b\n1,2\n", "must be rows of numbers, got .*'a'", id="header"),
        pytest.param(b"1+2j", "must be rows of numbers, got .*1[+]2j", id="complex text"),
        pytest.param(b"1,,2", "must be rows of numbers", id="empty cell"),
        pytest.param(b"1 2\n3", "must be rows of numbers", id="ragged"),
        pytest.param(npy(TABLE)[:-1], NO_OBJECTS, id="npy cut short"),
        pytest.param(b"\x93NUMPY\x09\x00", NO_OBJECTS, id="npy of an unknown version"),
        pytest.param(npy(TABLE).replace(b"(2, 3)", b"(2, 3("), NO_OBJECTS, id="npy header"),
        pytest.param(b"PK\x03\x04 no archive", r"must be a readable \.npz file", id="no zip"),
        pytest.param(damaged_npz(), r"must be a readable \.npz file", id="npz damaged"),
        pytest.param(zip_of(), "must be an .npz file with at least one array", id="empty npz"),
        pytest.param(zip_of(a=b"1 2"), "must be a readable .npy array, got", id="text in npz"),
        pytest.param(
            zip_of(zipfile.ZIP_BZIP2, a=b"1"), "must be an .npz file as NumPy writes", id="bzip2"
        ),
    ],
)
def test_refuses_what_is_no_array_of_real_numbers(data, message):
    with pytest.raises(ValueError, match=f"^`path_or_buffer` {message}"):
        load_bytes(data)


def test_refuses_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"`path_or_buffer` must be an existing file, got .*no\.npy"
    ):
        load_array(tmp_path / "no.npy")
    with pytest.raises(ValueError, match="`path_or_buffer` must be an existing file"):
        load_array(tmp_path)


@pytest.mark.parametrize("value", [None, 3, io.StringIO("1 2"), np.ones(2)])
def test_refuses_what_is_no_file(value):
    with pytest.raises(ValueError, match="`path_or_buffer` must be a path or a binary file, got"):
        load_array(value)


def test_size_is_limited_to_the_byte(tmp_path):
    data = npy(np.zeros(100))
    (tmp_path / "a.npy").write_bytes(data)
    limit = len(data)
    assert load_array(tmp_path / "a.npy", max_bytes=limit).size == 100
    assert load_bytes(data, max_bytes=limit).size == 100
    with pytest.raises(ValueError, match=f"`a.npy` must be at most {limit - 1} bytes .* {limit}"):
        load_array(tmp_path / "a.npy", max_bytes=limit - 1)
    with pytest.raises(ValueError, match=f"`path_or_buffer` must be at most {limit - 1} bytes"):
        load_bytes(data, max_bytes=limit - 1)


def test_a_small_archive_that_unpacks_to_much_is_refused():
    data = npz(a=np.zeros(100_000))
    assert len(data) < 10_000
    with pytest.raises(ValueError, match="`path_or_buffer` must be at most 10000 bytes"):
        load_bytes(data, max_bytes=10_000)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, True])
def test_limit_must_be_a_positive_integer(max_bytes):
    with pytest.raises(ValueError, match="`max_bytes` must be an integer"):
        load_bytes(b"1", max_bytes=max_bytes)
    with pytest.raises(ValueError, match="`max_bytes` must be an integer"):
        array_from_upload((), max_bytes=max_bytes)


def test_upload_of_one_file():
    assert_array_equal(array_from_upload(upload(npy(TABLE))), TABLE)
    assert_array_equal(array_from_upload(list(upload(b"1 2", "a.txt"))), [1.0, 2.0])


def test_upload_as_the_widget_gives_it():
    widgets = pytest.importorskip("ipywidgets")
    box = widgets.FileUpload()
    box.value = upload(npy(TABLE))
    assert_array_equal(array_from_upload(box.value), TABLE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            {}, "`value` must be a tuple of uploaded files, got 'dict'", id="ipywidgets 7"
        ),
        pytest.param((), "`value` must be exactly one uploaded file, got '0 files'", id="none"),
        pytest.param(upload(b"1") * 2, "exactly one uploaded file, got '2 files'", id="two"),
        pytest.param((b"1",), "`value` must be files with a name and a content", id="bytes"),
        pytest.param(({"name": "a"},), "files with a name and a content", id="no content"),
        pytest.param(
            ({"name": "a", "content": "1"},), "`a` must be uploaded as bytes, got 'str'", id="str"
        ),
        pytest.param(upload(b"x", "my.csv"), "`my.csv` must be rows of numbers", id="no numbers"),
    ],
)
def test_upload_refuses(value, message):
    with pytest.raises(ValueError, match=message):
        array_from_upload(value)


def test_upload_refuses_a_large_file():
    with pytest.raises(ValueError, match=r"`mine.npy` must be at most 10 bytes .* got 1\d\d"):
        array_from_upload(upload(npy([1.0])), max_bytes=10)


# --- unit: the summary ---------------------------------------------------------------------------


def test_summary_by_hand():
    values = np.array([[1.0, -1.0, 3.0], [np.nan, np.inf, -np.inf]], dtype=np.float32)
    summary = summarize_array(values)
    assert (summary.shape, summary.dtype, summary.count) == ((2, 3), "float32", 6)
    assert (summary.num_nan, summary.num_inf) == (1, 2)
    # Finite part 1, -1, 3: variance 8/3, fourth moment 32/3, mean square 11/3. Ten roundings each.
    assert summary.mean == pytest.approx(1.0, rel=10 * EPS, abs=0)
    assert summary.std == pytest.approx(np.sqrt(8 / 3), rel=10 * EPS, abs=0)
    assert summary.max_abs == 3.0
    assert summary.crest_factor == pytest.approx(3 / np.sqrt(11 / 3), rel=10 * EPS, abs=0)
    assert summary.kurtosis == pytest.approx(1.5, rel=10 * EPS, abs=0)


def test_summary_of_extreme_sizes_does_not_overflow():
    summary = summarize_array([1e308, -1e308])
    assert (summary.std, summary.crest_factor, summary.kurtosis) == (1e308, 1.0, 1.0)
    assert summarize_array([5e-324, -5e-324]).crest_factor == 1.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0.0, 0], (0.0, 0.0, 0.0, np.nan, np.nan), id="zeros"),
        pytest.param([-0.1] * 3, (-0.1, 0.0, 0.1, 1.0, np.nan), id="all equal"),
        pytest.param([np.nan, np.inf], (np.nan,) * 5, id="nothing finite"),
    ],
)
def test_summary_in_the_limits(values, expected):
    s = summarize_array(values)
    assert_array_equal((s.mean, s.std, s.max_abs, s.crest_factor, s.kurtosis), expected)


def test_summary_refuses_what_is_no_data():
    with pytest.raises(ValueError, match="`array` must be an array with at least one element"):
        summarize_array([])
    with pytest.raises(ValueError, match="`array` must be real numbers"):
        summarize_array(["a"])


# --- property ------------------------------------------------------------------------------------


@pytest.mark.property
@given(
    st.sampled_from([npy(TABLE), npz(a=TABLE), b"1,-2.5\n3,4\n"]),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=3),
    st.integers(0, 600),
)
def test_any_damage_gives_an_array_or_a_value_error(data, changes, num_kept):
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    assert num_elements_or_refused(bytes(damaged[:num_kept])) != 0


def num_elements_or_refused(data):
    """Return the size of the array, or -1 after a ``ValueError``; nothing else may be raised."""
    try:
        return load_bytes(data).size
    except ValueError:
        return -1


@pytest.mark.property
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30).filter(
        lambda values: np.ptp(values) > 1e-3
    ),
    st.integers(-20, 20),
)
def test_crest_factor_and_kurtosis_do_not_depend_on_the_scale(values, exponent):
    one, other = (summarize_array(np.array(values) * scale) for scale in (1.0, 2.0**exponent))
    # A power of two changes no rounding.
    assert (one.crest_factor, one.kurtosis) == (other.crest_factor, other.kurtosis)
    assert other.std == one.std * 2.0**exponent
    assert one.kurtosis >= 1 - 100 * EPS
    assert one.crest_factor >= 1 - 100 * EPS


# --- theory versus reference ---------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("index", [0, 17, 359])
def test_forward_pass_is_the_scalar_one(network, index):
    scores = network.forward(network.inputs[index : index + 1]).preactivations[-1][0]
    # Each score sums 3 layers of at most 129 terms whose magnitudes add up to less than 1e3.
    assert_allclose(
        scores, forward_by_scalars(network, network.images[index]), rtol=0, atol=3 * 129 * EPS * 1e3
    )


@pytest.mark.theory_vs_sim
def test_summary_agrees_with_scipy(network):
    summary = summarize_array(network.weights[0])
    # Sums of 8192 terms of one sign, in any order.
    expected = stats.kurtosis(network.weights[0], axis=None, fisher=False)
    assert summary.kurtosis == pytest.approx(expected, rel=8192 * EPS, abs=0)
    assert summary.std == pytest.approx(np.std(network.weights[0]), rel=8192 * EPS, abs=0)


@pytest.fixture(scope="module")
def split():
    return train_digits.split_digits()


@pytest.fixture(scope="module")
def retrained(split):
    return train_digits.train(split[0], split[2], seed=train_digits.SEED)


@pytest.fixture(scope="module")
def stored_arrays(stored_bytes):
    with np.load(io.BytesIO(stored_bytes)) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.slow
def test_retraining_gives_the_shipped_network(network, split, retrained, stored_arrays):
    trained = train_digits.arrays_of(retrained, split[1], split[3])
    assert train_digits.differences(trained, stored_arrays) == []
    predicted = np.argmax(retrained.predict_proba(network.inputs), axis=1)
    scores = network.forward(network.inputs).preactivations[-1]
    assert_array_equal(np.argmax(scores, axis=1), predicted)
    assert network.accuracy() == retrained.score(network.inputs, network.labels)


@pytest.mark.slow
def test_retraining_with_another_seed_does_not(split, stored_arrays):
    other = train_digits.train(split[0], split[2], seed=train_digits.SEED + 1)
    trained = train_digits.arrays_of(other, split[1], split[3])
    problems = train_digits.differences(trained, stored_arrays)
    assert [problem.split(":")[0] for problem in problems] == list(stored_arrays)[:6]


@pytest.mark.slow
def test_training_damps_a_change_in_the_last_place(split, retrained):
    nudged = train_digits.train(split[0] * (1 + EPS), split[2], seed=train_digits.SEED)
    largest = max(
        np.abs(new - old).max() for new, old in zip(nudged.coefs_, retrained.coefs_, strict=True)
    )
    assert 0 < largest < train_digits.DRIFT / 100


def test_comparison_names_every_kind_of_difference(stored_arrays):
    trained = {name: array.copy() for name, array in stored_arrays.items()}
    assert train_digits.differences(trained, stored_arrays) == []
    trained["bias_0"] = trained["bias_0"] * (1 + 2.0**-20)
    trained["labels"][0] += 1
    trained["images"] = trained["images"][:5]
    problems = train_digits.differences(trained, stored_arrays)
    assert [problem.split(":")[0] for problem in problems] == ["bias_0", "images", "labels"]
    assert train_digits.differences({}, stored_arrays)[0].startswith("names: []")


def test_writing_gives_the_shipped_bytes(stored_arrays, stored_bytes):
    assert train_digits.to_bytes(stored_arrays) == stored_bytes


@pytest.mark.slow
def test_command_checks_writes_and_reports(tmp_path, monkeypatch, capsys, stored_bytes):
    assert train_digits.main(["--check"]) == 0
    monkeypatch.setattr(train_digits, "DATA", tmp_path / "data")
    assert train_digits.main([]) == 0
    assert (tmp_path / "data" / "digits_mlp.npz").stat().st_size == len(stored_bytes)
    (tmp_path / "data" / "digits_mlp.npz").write_bytes(stored_bytes[:-1] + b"x")
    (tmp_path / "data" / "digits_mlp.json").write_text('{"sha256": ""}', encoding="utf-8")
    assert train_digits.main(["--check"]) == 1
    assert "its SHA-256 is not the one" in capsys.readouterr().out
