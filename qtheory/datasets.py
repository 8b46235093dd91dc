"""Real input for the chapters: a small trained network, and a reader's own array.

Nothing is loaded at import and nothing is ever downloaded.
"""

import hashlib
import io
import itertools
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory._checks import as_float_array, check_choice, check_integer, check_nonempty, fail

__all__ = [
    "ArraySummary",
    "BinaryNetworks",
    "DigitsNetwork",
    "ForwardPass",
    "TrainedNetworks",
    "array_from_upload",
    "binary_networks",
    "digits_network",
    "digits_split",
    "load_array",
    "summarize_array",
    "trained_networks",
]

_MAX_PIXEL = 16
_MAX_BYTES = 2**25
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK"


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What a network computes on the way from its inputs to its outputs.

    Parameters
    ----------
    preactivations : tuple of ndarray
        One array a layer, shape ``(num_samples, num_out)``: weights times inputs plus bias.
        The last one holds the scores of the classes.
    activations : tuple of ndarray
        One array a layer, shape ``(num_samples, num_in)``: the *input* of that layer. The first is
        the input of the network, the others are preactivations after ReLU.
    """

    preactivations: tuple[NDArray[np.float64], ...]
    activations: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class DigitsNetwork:
    """A trained ReLU network with images that were held out from its training.

    All arrays are copied and read-only. Made by `digits_network`.

    Parameters
    ----------
    weights : tuple of ndarray
        One matrix a layer, shape ``(num_out, num_in)``, float64. The shipped values are exactly
        representable in float32.
    biases : tuple of ndarray
        One vector a layer, shape ``(num_out,)``, float64.
    images : ndarray
        Held-out images, shape ``(num_images, num_in)``, uint8, pixels from 0 to 16.
    labels : ndarray
        Their classes, shape ``(num_images,)``, uint8.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a weight is not finite, or a pixel or label is out of
        range.
    """

    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Copy the arrays, check that they fit together and set them read-only."""
        weights = tuple(_frozen_floats("weights", matrix) for matrix in self.weights)
        biases = tuple(_frozen_floats("biases", bias) for bias in self.biases)
        _check_layers(weights, biases)
        num_in, num_classes = weights[0].shape[1], weights[-1].shape[0]
        images = _frozen_codes("images", self.images, maximum=_MAX_PIXEL)
        labels = _frozen_codes("labels", self.labels, maximum=num_classes - 1)
        check_nonempty("images", images)
        if images.ndim != 2 or images.shape[1] != num_in:
            raise fail("images", f"of shape (num_images, {num_in})", images.shape)
        if labels.shape != images.shape[:1]:
            raise fail("labels", f"of shape {images.shape[:1]}", labels.shape)
        for name, value in zip(
            ("weights", "biases", "images", "labels"),
            (weights, biases, images, labels),
            strict=True,
        ):
            object.__setattr__(self, name, value)

    @property
    def num_layers(self) -> int:
        """Number of layers with weights."""
        return len(self.weights)

    @property
    def inputs(self) -> NDArray[np.float64]:
        """Images as the network takes them: pixels divided by 16, in [0, 1]."""
        return self.images / float(_MAX_PIXEL)

    def forward(
        self, inputs: ArrayLike, *, weights: Sequence[ArrayLike] | None = None
    ) -> ForwardPass:
        """Run the network in float64.

        Parameters
        ----------
        inputs : array_like
            Shape ``(num_samples, num_in)``, pixels divided by 16 as in ``inputs``.
        weights : sequence of array_like, optional
            Matrices to use in place of the network's own, with the same shapes, for example
            quantized ones. The biases stay.

        Returns
        -------
        ForwardPass
            Preactivations and activations of each layer.

        Raises
        ------
        ValueError
            If ``inputs`` or ``weights`` have another shape or are not real numbers.
        """
        current = as_float_array("inputs", inputs).astype(np.float64)
        num_in = self.weights[0].shape[1]
        if current.ndim != 2 or current.shape[1] != num_in:
            raise fail("inputs", f"of shape (num_samples, {num_in})", current.shape)
        preactivations, activations = [], []
        for matrix, bias in zip(self._replaced(weights), self.biases, strict=True):
            activations.append(current)
            preactivations.append(current @ matrix.T + bias)
            current = np.maximum(preactivations[-1], 0.0)
        return ForwardPass(tuple(preactivations), tuple(activations))

    def activations(self, layer: int) -> NDArray[np.float64]:
        """Return the inputs of one layer on the held-out images.

        Parameters
        ----------
        layer : int
            From 0 (the images themselves) to ``num_layers - 1``.

        Returns
        -------
        ndarray
            Shape ``(num_images, num_in)`` of that layer, nonnegative.

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        index = check_integer("layer", layer, minimum=0, maximum=self.num_layers - 1)
        return self.forward(self.inputs).activations[index]

    def accuracy(self, weights: Sequence[ArrayLike] | None = None) -> float:
        """Return the fraction of held-out images put in their class.

        Parameters
        ----------
        weights : sequence of array_like, optional
            As in `forward`.

        Returns
        -------
        float
            From 0 to 1, in steps of one by the number of images.

        Raises
        ------
        ValueError
            As in `forward`.
        """
        scores = self.forward(self.inputs, weights=weights).preactivations[-1]
        return float(np.mean(np.argmax(scores, axis=1) == self.labels))

    def _replaced(self, weights: Sequence[ArrayLike] | None) -> tuple[NDArray[np.float64], ...]:
        """Return the given weights if their shapes are those of the network, or its own."""
        if weights is None:
            return self.weights
        matrices = tuple(as_float_array("weights", w).astype(np.float64) for w in weights)
        shapes = [matrix.shape for matrix in matrices]
        if shapes != [matrix.shape for matrix in self.weights]:
            expected = [matrix.shape for matrix in self.weights]
            raise fail("weights", f"matrices of shapes {expected}", shapes)
        return matrices


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """Results of one experiment with trained networks, stored with the library.

    Made by `trained_networks`. The arrays are read-only.

    Parameters
    ----------
    points : tuple of mapping
        Settings of each point by name.
    checkpoints : tuple of int
        Numbers of steps after which accuracies were taken.
    train_accuracy : ndarray
        Fraction of training images put in their class, shape
        ``(num_points, num_seeds, num_checkpoints)``; NaN for a network that has diverged.
    test_accuracy : ndarray
        The same for the images put aside.
    losses : ndarray
        Means of the loss over 20 steps each, evenly spaced over the training, shape
        ``(num_points, num_seeds, num_means)``.
    provenance : mapping
        How, from what and with what they were made.
    """

    points: tuple[Mapping[str, Any], ...]
    checkpoints: tuple[int, ...]
    train_accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    losses: NDArray[np.float64]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Set the arrays read-only."""
        for array in (self.train_accuracy, self.test_accuracy, self.losses):
            array.setflags(write=False)

    def column(self, name: str) -> NDArray[Any]:
        """Return one setting of every point.

        Parameters
        ----------
        name : str
            Name of the setting.

        Returns
        -------
        ndarray
            Its values, shape ``(num_points,)``.

        Raises
        ------
        ValueError
            If no setting has this name.
        """
        return np.array(_setting(self.points, name))

    def select(self, **settings: object) -> "TrainedNetworks":
        """Return the points that have given settings.

        Parameters
        ----------
        **settings : object
            Value of each setting by its name.

        Returns
        -------
        TrainedNetworks
            Those points, in their order.

        Raises
        ------
        ValueError
            If there are none, or no setting has such a name.
        """
        chosen = _chosen(self.points, settings)
        return TrainedNetworks(
            tuple(self.points[place] for place in chosen),
            self.checkpoints,
            self.train_accuracy[chosen],
            self.test_accuracy[chosen],
            self.losses[chosen],
            self.provenance,
        )

    def table(self, row: str, column: str, values: ArrayLike) -> NDArray[np.float64]:
        """Arrange one number or array a point by two settings.

        Parameters
        ----------
        row, column : str
            Names of the settings; together they tell all points apart.
        values : array_like
            One entry a point, shape ``(num_points, ...)``.

        Returns
        -------
        ndarray
            Shape ``(num_rows, num_columns, ...)``, both settings increasing; NaN where there is
            no point.

        Raises
        ------
        ValueError
            If two points have both settings in common, or there is not one value a point.
        """
        entries = np.asarray(values, dtype=np.float64)
        if entries.shape[:1] != (len(self.points),):
            raise fail("values", f"of shape ({len(self.points)}, ...)", entries.shape)
        rows, i = np.unique(self.column(row), return_inverse=True)
        columns, j = np.unique(self.column(column), return_inverse=True)
        if len(set(zip(i.tolist(), j.tolist(), strict=True))) < len(self.points):
            raise fail("column", f"a setting that with {row!r} tells all points apart", column)
        table = np.full((len(rows), len(columns), *entries.shape[1:]), np.nan)
        table[i, j] = entries
        return table


@dataclass(frozen=True, eq=False)
class BinaryNetworks:
    """How binary networks of one experiment have learned, stored with the library.

    Made by `binary_networks`. The arrays are read-only. Seeds are paired: a seed stands for the
    same signs at the start and the same batches in every point of a network.

    Parameters
    ----------
    points : tuple of mapping
        Settings of each point by name, those of `qtheory.nn.binary_training.BinaryRecipe` and of
        the network.
    steps : ndarray of int
        Numbers of steps after which the networks were looked at, shape ``(num_points,
        num_looks)``.
    train_loss : ndarray
        Mean cross entropy of the training images, natural logarithm, shape ``(num_points,
        num_seeds, num_looks)``.
    test_accuracy : ndarray
        Fraction of the test images put in their class, in [0, 1], same shape.
    changed : ndarray
        Share of the weights whose sign is not that of the start, in [0, 1], shape ``(num_points,
        num_seeds, num_looks, num_layers)``.
    flips : ndarray
        Sign changes a weight and step, mean since the last look, same shape as ``changed``.
    visited : ndarray
        Share of the weights whose sign has changed at least once, shape ``(num_points, num_seeds,
        num_layers)``.
    refit_loss : ndarray
        Training loss of a fresh readout, trained above the binary weights of the end, shape
        ``(num_points, num_seeds)``; NaN where that was not done.
    provenance : mapping
        How, from what and with what they were made.
    """

    points: tuple[Mapping[str, Any], ...]
    steps: NDArray[np.int64]
    train_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    changed: NDArray[np.float64]
    flips: NDArray[np.float64]
    visited: NDArray[np.float64]
    refit_loss: NDArray[np.float64]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Set the arrays read-only."""
        for name in _BINARY_ARRAYS:
            getattr(self, name).setflags(write=False)

    def column(self, name: str) -> list[Any]:
        """Return one setting of every point.

        Parameters
        ----------
        name : str
            Name of the setting.

        Returns
        -------
        list
            Its values, one a point.

        Raises
        ------
        ValueError
            If no setting has this name.
        """
        return _setting(self.points, name)

    def select(self, **settings: object) -> "BinaryNetworks":
        """Return the points that have given settings.

        Parameters
        ----------
        **settings : object
            Value of each setting by its name.

        Returns
        -------
        BinaryNetworks
            Those points, in their order.

        Raises
        ------
        ValueError
            If there are none, or no setting has such a name.
        """
        chosen = _chosen(self.points, settings)
        points = tuple(self.points[place] for place in chosen)
        arrays = {name: getattr(self, name)[chosen] for name in _BINARY_ARRAYS}
        return BinaryNetworks(points, provenance=self.provenance, **arrays)


_BINARY_CURVES = ("steps", "train_loss", "test_accuracy", "changed", "flips", "visited")
_BINARY_ARRAYS = (*_BINARY_CURVES, "refit_loss")


def _setting(points: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Return one setting of every point."""
    if name not in points[0]:
        raise fail("name", "one of " + ", ".join(sorted(points[0])), name)
    return [point[name] for point in points]


def _chosen(points: Sequence[Mapping[str, Any]], settings: Mapping[str, object]) -> list[int]:
    """Return the places of the points that have given settings."""
    for name in settings:
        _setting(points, name)
    chosen = [
        place
        for place, point in enumerate(points)
        if all(point[name] == value for name, value in settings.items())
    ]
    if not chosen:
        raise fail("settings", "those of at least one point", dict(settings))
    return chosen


def digits_network() -> DigitsNetwork:
    """Small network trained on handwritten digits, with 360 images it has not seen.

    Sizes 64-128-128-10, ReLU, trained in float64 by scikit-learn and stored in float32. Loading
    needs neither scikit-learn nor a connection and takes a few milliseconds.

    Returns
    -------
    DigitsNetwork
        Weights, biases, held-out images and labels, all read-only.

    Raises
    ------
    ValueError
        If the shipped file is not the one its provenance names (SHA-256).

    Notes
    -----
    Provenance: ``qtheory/data/digits_mlp.json``, with versions, settings and license. Made by
    ``tools/train_digits.py``; with ``--check`` it retrains and compares.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49 (CC-BY-4.0), as shipped in scikit-learn.

    Examples
    --------
    >>> network = digits_network()
    >>> [matrix.shape for matrix in network.weights]
    [(128, 64), (128, 128), (10, 128)]
    >>> network.accuracy() > 0.97
    True
    """
    folder = resources.files("qtheory") / "data"
    provenance = json.loads((folder / "digits_mlp.json").read_text(encoding="utf-8"))
    return _network_from_bytes((folder / "digits_mlp.npz").read_bytes(), str(provenance["sha256"]))


def trained_networks(experiment: str) -> TrainedNetworks:
    """Results of trained networks, from a file that is shipped with the library.

    Parameters
    ----------
    experiment : str
        Which one, such as ``"levels_by_depth"``.

    Returns
    -------
    TrainedNetworks
        Settings and accuracies, in the order in which the points were listed.

    Raises
    ------
    ValueError
        If there is no such experiment.

    Notes
    -----
    Provenance: ``qtheory/data/training_sweeps.json``, made by ``python -m tools.sweeps``.

    Examples
    --------
    >>> grid = trained_networks("levels_by_depth")
    >>> sorted(set(grid.column("num_levels").tolist()))
    [2, 3, 4, 5, 6, 8, 16]
    """
    file = resources.files("qtheory") / "data" / "training_sweeps.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    provenance = stored.pop("provenance")
    check_choice("experiment", experiment, sorted(stored))
    records = stored[experiment]
    train, test, losses = (
        np.array([record[name] for record in records], dtype=np.float64)
        for name in ("train_accuracy", "test_accuracy", "mean_losses")
    )
    points = tuple(record["parameters"] for record in records)
    checkpoints = tuple(points[0]["checkpoints"])
    return TrainedNetworks(points, checkpoints, train, test, losses, provenance)


def binary_networks(experiment: str) -> BinaryNetworks:
    """Results of networks with binary weights, from a file that is shipped with the library.

    Parameters
    ----------
    experiment : str
        Which one, such as ``"methods"``.

    Returns
    -------
    BinaryNetworks
        Settings and what was seen of each network, in the order in which the points were listed.

    Raises
    ------
    ValueError
        If there is no such experiment.

    Notes
    -----
    Provenance: ``qtheory/data/binary_digits.json``, made by ``python -m tools.binary_digits``.

    Examples
    --------
    >>> binary_networks("methods").column("method")
    ['float', 'bc', 'sr', 'r', 'bc', 'sr']
    """
    file = resources.files("qtheory") / "data" / "binary_digits.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    provenance = stored.pop("provenance")
    check_choice("experiment", experiment, sorted(stored))
    records = stored[experiment]
    arrays: dict[str, Any] = {
        name: np.array([record[name] for record in records], dtype=np.float64)
        for name in _BINARY_CURVES
    }
    arrays["steps"] = arrays["steps"].astype(np.int64)
    unknown = [float("nan")] * arrays["train_loss"].shape[1]
    arrays["refit_loss"] = np.array([record.get("refit_loss", unknown) for record in records])
    points = tuple(record["parameters"] for record in records)
    return BinaryNetworks(points, provenance=provenance, **arrays)


def digits_split(
    *, num_test: int = 360, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """All images of handwritten digits, split at random and standardized, to train on.

    Parameters
    ----------
    num_test : int
        Images that are put aside for testing, from 1 to 1796.
    seed : int
        Seed of the split, not below zero.

    Returns
    -------
    train_inputs : ndarray
        Shape ``(1797 - num_test, 64)``, pixels minus their overall mean, over their overall
        standard deviation, both taken from the training images.
    train_labels : ndarray
        Digits from 0 to 9, shape ``(1797 - num_test,)``.
    test_inputs, test_labels : ndarray
        The same for the images put aside, with the mean and deviation of the training images.

    Raises
    ------
    ValueError
        If ``num_test`` or ``seed`` is out of range.
    ImportError
        Without scikit-learn, which ships the images.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49 (CC-BY-4.0), as shipped in scikit-learn.

    Examples
    --------
    >>> [part.shape for part in digits_split()]
    [(1437, 64), (1437,), (360, 64), (360,)]
    """
    from sklearn.datasets import load_digits

    count = check_integer("num_test", num_test, minimum=1, maximum=1796)
    generator = np.random.default_rng(check_integer("seed", seed, minimum=0))
    images, labels = load_digits(return_X_y=True)
    order = generator.permutation(len(labels))
    images, labels = images[order], labels[order].astype(np.int64)
    train, test = images[count:], images[:count]
    mean, std = float(np.mean(train)), float(np.std(train))
    return (train - mean) / std, labels[count:], (test - mean) / std, labels[:count]


def load_array(
    path_or_buffer: str | os.PathLike[str] | BinaryIO,
    *,
    key: str | None = None,
    max_bytes: int = _MAX_BYTES,
) -> NDArray[np.floating]:
    """Read an array of real numbers from a reader's own file.

    The kind of file is found from its content: NumPy ``.npy`` and ``.npz``, else text with numbers
    separated by commas, semicolons or blanks, one row a line, ``#`` for comments, no header.
    Pickles are refused, so that a file cannot run code. NaN and infinities are kept;
    `summarize_array` counts them.

    Parameters
    ----------
    path_or_buffer : str, path or binary file
        What to read. A buffer is read from where it stands.
    key : str, optional
        Name of the array in an ``.npz`` file that holds several.
    max_bytes : int
        Largest size accepted, of the file and of the array unpacked from it, at least 1, in bytes.

    Returns
    -------
    ndarray
        Shape as in the file; float32 if the file holds float32, else float64. Text with one row
        or one column gives one dimension.

    Raises
    ------
    ValueError
        If the file is missing, too large, of another kind, damaged, empty, holds objects, text or
        complex numbers, or if ``key`` does not name one array.

    Examples
    --------
    >>> import io
    >>> load_array(io.BytesIO(b"1, 2.5, -3"))
    array([ 1. ,  2.5, -3. ])
    """
    limit = check_integer("max_bytes", max_bytes, minimum=1)
    name, data = _read_limited(path_or_buffer, limit)
    return _array_from_bytes(name, data, key=key, max_bytes=limit)


def array_from_upload(value: object, *, max_bytes: int = _MAX_BYTES) -> NDArray[np.floating]:
    """Read the array in the value of an ipywidgets ``FileUpload``.

    Parameters
    ----------
    value : sequence of mapping
        The widget's ``value`` (ipywidgets 8): one mapping with the file's ``name`` and
        ``content``.
    max_bytes : int
        As in `load_array`.

    Returns
    -------
    ndarray
        As in `load_array`.

    Raises
    ------
    ValueError
        If not exactly one file is there, or as in `load_array`, naming the uploaded file.

    Examples
    --------
    >>> array_from_upload(({"name": "a.txt", "content": memoryview(b"1 2 3")},))
    array([1., 2., 3.])
    """
    limit = check_integer("max_bytes", max_bytes, minimum=1)
    if not isinstance(value, tuple | list):
        raise fail("value", "a tuple of uploaded files", type(value).__name__)
    if len(value) != 1:
        raise fail("value", "exactly one uploaded file", f"{len(value)} files")
    file = value[0]
    if not (isinstance(file, Mapping) and {"name", "content"} <= set(file)):
        raise fail("value", "files with a name and a content", type(file).__name__)
    name, content = str(file["name"]), file["content"]
    if not isinstance(content, bytes | bytearray | memoryview):
        raise fail(name, "uploaded as bytes", type(content).__name__)
    data = bytes(content)
    _check_size(name, len(data), limit)
    return _array_from_bytes(name, data, key=None, max_bytes=limit)


@dataclass(frozen=True, eq=False)
class ArraySummary:
    """Size and shape of a distribution of numbers, as far as quantizers care.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : str
        Its type of numbers.
    count, num_nan, num_inf : int
        Number of elements, of NaN and of infinities among them.
    mean, std : float
        Mean and population standard deviation of the finite elements.
    max_abs : float
        Largest finite magnitude.
    crest_factor : float
        ``max_abs`` over the root mean square, 1 or more; NaN if all finite elements are zero.
    kurtosis : float
        Fourth central moment over the squared variance, 3 for a Gaussian, 6 for a Laplace law;
        NaN if the finite elements are all equal.
    """

    shape: tuple[int, ...]
    dtype: str
    count: int
    num_nan: int
    num_inf: int
    mean: float
    std: float
    max_abs: float
    crest_factor: float
    kurtosis: float


def summarize_array(array: ArrayLike) -> ArraySummary:
    """Describe an array: counts of special values, and moments of the finite elements.

    Parameters
    ----------
    array : array_like
        Real numbers of any shape, at least one element. NaN and infinities are counted and left
        out of the moments; if nothing finite is left, the moments are NaN.

    Returns
    -------
    ArraySummary
        Computed in float64, without overflow for any finite input.

    Raises
    ------
    ValueError
        If the array is empty or not of real numbers.

    Examples
    --------
    >>> summary = summarize_array([1.0, -1.0, float("nan")])
    >>> summary.num_nan, summary.crest_factor, summary.kurtosis
    (1, 1.0, 1.0)
    """
    values = as_float_array("array", array)
    check_nonempty("array", values)
    finite = values[np.isfinite(values)].astype(np.float64)
    max_abs, mean, std, crest_factor, kurtosis = _moments(finite)
    return ArraySummary(
        shape=values.shape,
        dtype=str(np.asarray(array).dtype),
        count=values.size,
        num_nan=int(np.isnan(values).sum()),
        num_inf=int(np.isinf(values).sum()),
        mean=mean,
        std=std,
        max_abs=max_abs,
        crest_factor=crest_factor,
        kurtosis=kurtosis,
    )


def _moments(finite: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Return largest magnitude, mean, standard deviation, crest factor and kurtosis."""
    if finite.size == 0:
        return (float("nan"),) * 5
    max_abs = float(np.max(np.abs(finite)))
    if max_abs == 0:
        return 0.0, 0.0, 0.0, float("nan"), float("nan")
    scaled = finite / max_abs  # so that no square overflows
    crest_factor = 1.0 / float(np.sqrt(np.mean(scaled**2)))
    if np.all(scaled == scaled[0]):
        return max_abs, float(finite[0]), 0.0, crest_factor, float("nan")
    mean = float(np.mean(scaled))
    centered = scaled - mean
    var = float(np.mean(centered**2))
    kurtosis = float(np.mean((centered / np.sqrt(var)) ** 4))
    return max_abs, mean * max_abs, float(np.sqrt(var)) * max_abs, crest_factor, kurtosis


def _frozen_floats(name: str, array: ArrayLike) -> NDArray[np.float64]:
    """Return a read-only copy of finite numbers in float64."""
    copy = as_float_array(name, array).astype(np.float64, copy=True)
    if not np.all(np.isfinite(copy)):
        raise fail(name, "finite", "NaN or infinity")
    copy.flags.writeable = False
    return copy


def _frozen_codes(name: str, array: ArrayLike, *, maximum: int) -> NDArray[np.uint8]:
    """Return a read-only copy of integers from 0 to ``maximum`` in uint8."""
    values = np.asarray(array)
    if values.dtype.kind not in "iu" or np.any((values < 0) | (values > maximum)):
        raise fail(name, f"integers from 0 to {maximum}", values.dtype.name)
    copy = values.astype(np.uint8, copy=True)
    copy.flags.writeable = False
    return copy


def _check_layers(
    weights: tuple[NDArray[np.float64], ...], biases: tuple[NDArray[np.float64], ...]
) -> None:
    """Refuse layers that do not follow each other."""
    shapes = [matrix.shape for matrix in weights]
    matrices = bool(shapes) and all(len(shape) == 2 and 0 not in shape for shape in shapes)
    if not matrices or any(a[0] != b[1] for a, b in itertools.pairwise(shapes)):
        raise fail("weights", "matrices (num_out, num_in), each fed by the one before", shapes)
    if [bias.shape for bias in biases] != [shape[:1] for shape in shapes]:
        condition = "one vector of num_out numbers a layer"
        raise fail("biases", condition, [bias.shape for bias in biases])


def _network_from_bytes(data: bytes, sha256: str) -> DigitsNetwork:
    """Build the network from the content of its file, after comparing its checksum."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise fail("digits_mlp.npz", f"the shipped file with SHA-256 {sha256}", found)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        layers = range(sum(name.startswith("weights_") for name in archive.files))
        return DigitsNetwork(
            weights=tuple(archive[f"weights_{layer}"] for layer in layers),
            biases=tuple(archive[f"bias_{layer}"] for layer in layers),
            images=archive["images"],
            labels=archive["labels"],
        )


def _check_size(name: str, num_bytes: int, max_bytes: int) -> None:
    """Refuse more than ``max_bytes``."""
    if num_bytes > max_bytes:
        raise fail(name, f"at most {max_bytes} bytes (`max_bytes`)", num_bytes)


def _read_limited(
    path_or_buffer: str | os.PathLike[str] | BinaryIO, max_bytes: int
) -> tuple[str, bytes]:
    """Return a name for messages and the content, never reading far beyond the limit."""
    if isinstance(path_or_buffer, str | os.PathLike):
        path = Path(path_or_buffer)
        if not path.is_file():
            raise fail("path_or_buffer", "an existing file", str(path))
        _check_size(path.name, path.stat().st_size, max_bytes)
        return path.name, path.read_bytes()
    read = getattr(path_or_buffer, "read", None)
    data = read(max_bytes + 1) if callable(read) else None
    if not isinstance(data, bytes):
        raise fail("path_or_buffer", "a path or a binary file", type(path_or_buffer).__name__)
    if len(data) > max_bytes:
        raise fail("path_or_buffer", f"at most {max_bytes} bytes (`max_bytes`)", "more")
    return "path_or_buffer", data


def _array_from_bytes(
    name: str, data: bytes, *, key: str | None, max_bytes: int
) -> NDArray[np.floating]:
    """Parse, then check what came out."""
    if data.startswith(_ZIP_MAGIC):
        array = _parse_npy(name, _npz_member(name, data, key=key, max_bytes=max_bytes))
    elif key is not None:
        raise fail("key", "None for a file that is not .npz", key)
    elif data.startswith(_NPY_MAGIC):
        array = _parse_npy(name, data)
    else:
        array = _parse_text(name, data)
    if array.dtype.kind not in "biuf":
        raise fail(name, "an array of real numbers", f"dtype {array.dtype}")
    check_nonempty(name, array)
    return as_float_array(name, array)


def _npz_member(name: str, data: bytes, *, key: str | None, max_bytes: int) -> bytes:
    """Return the content of one array in an ``.npz``, refusing to unpack more than the limit."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:
        raise fail(name, "a readable .npz file", str(error)) from None
    with archive:
        info = _chosen_member(name, archive.infolist(), key)
        _check_size(name, info.file_size, max_bytes)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise fail(name, "an .npz file as NumPy writes it", "another compression")
        try:
            with archive.open(info) as member:
                return member.read(info.file_size)
        except Exception as error:
            raise fail(name, "a readable .npz file", str(error)) from None


def _chosen_member(name: str, infos: list[zipfile.ZipInfo], key: str | None) -> zipfile.ZipInfo:
    """Return the array called ``key``, or the only one."""
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if not members:
        raise fail(name, "an .npz file with at least one array", "none")
    if key is None and len(members) == 1:
        return infos[0]
    if key is None or key not in members:
        raise fail("key", "one of " + ", ".join(repr(member) for member in members), key)
    return members[key]


def _parse_npy(name: str, data: bytes) -> NDArray[np.generic]:
    """Return the array of an ``.npy``; pickles inside are refused by NumPy and said so.

    A damaged header makes NumPy raise errors of many types, down to those of Python's tokenizer,
    so all of them are caught here and in `_npz_member`.
    """
    if not data.startswith(_NPY_MAGIC):
        raise fail(name, "a readable .npy array", "another kind of content")
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except Exception as error:
        raise fail(name, "a readable .npy array without objects", str(error)) from None


def _parse_text(name: str, data: bytes) -> NDArray[np.generic]:
    """Return the numbers of a text file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise fail(name, "a .npy, .npz, .csv or .txt file", "another kind of content") from None
    rows = [row for line in text.splitlines() if (row := line.split("#")[0].strip())]
    if not rows:
        raise fail(name, "a file with at least one number", "none")
    delimiter = next((mark for mark in ";," if any(mark in row for row in rows)), None)
    try:
        return np.loadtxt(rows, delimiter=delimiter, ndmin=1)
    except ValueError as error:
        raise fail(name, "rows of numbers", str(error)) from None
