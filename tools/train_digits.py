"""Train the small digits network of Part 1 and ship it, or check that retraining gives it.

``python tools/train_digits.py`` writes ``qtheory/data/digits_mlp.npz`` and ``digits_mlp.json``;
with ``--check`` it retrains and compares instead. Needs scikit-learn (extra ``notebooks``).
"""

import argparse
import hashlib
import io
import json
import platform
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

DATA = Path(__file__).resolve().parent.parent / "qtheory" / "data"
SEED = 0
NUM_EPOCHS = 60
NUM_HELD_OUT = 360
TRAINING: dict[str, object] = {
    "hidden_layer_sizes": (128, 128),
    "activation": "relu",
    "solver": "sgd",
    "learning_rate_init": 0.1,
    "momentum": 0.9,
    "nesterovs_momentum": True,
    "alpha": 0.05,
    "batch_size": 64,
    "max_iter": NUM_EPOCHS,
    "tol": 0.0,
    "n_iter_no_change": NUM_EPOCHS + 1,
}
DRIFT = 1e-12
"""Allowed change of a float64 weight between machines.

Changing every pixel by one unit in the last place, or taking another matrix kernel of OpenBLAS,
moves no weight by more than 2e-15; the margin is for other BLAS libraries.
"""

Arrays = Mapping[str, NDArray[np.generic]]


def split_digits() -> tuple[NDArray[np.float64], ...]:
    """Return training images, held-out images (0 to 16), and their labels, in this order."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images, labels, test_size=NUM_HELD_OUT, random_state=SEED, stratify=labels
    )
    return tuple(parts)


def train(images: NDArray[np.float64], labels: NDArray[np.int_], *, seed: int) -> MLPClassifier:
    """Fit the 64-128-128-10 network in float64, in one thread, for a fixed number of epochs."""
    model = MLPClassifier(random_state=seed, **TRAINING)
    with threadpool_limits(1), warnings.catch_warnings():
        # The number of epochs is the stopping rule, so using all of them up is no failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(images / 16, labels)
    return model


def arrays_of(
    model: MLPClassifier, images: NDArray[np.float64], labels: NDArray[np.int_]
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the file in its order, weights and biases still in float64."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for layer, (coefficients, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        arrays[f"weights_{layer}"] = np.ascontiguousarray(coefficients.T)
        arrays[f"bias_{layer}"] = bias
    return arrays | {"images": images.astype(np.uint8), "labels": labels.astype(np.uint8)}


def to_bytes(arrays: Arrays) -> bytes:
    """Write an ``.npz`` whose bytes depend on the arrays alone: no times, no compression."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            stored = array.astype(np.float32) if array.dtype.kind == "f" else array
            np.lib.format.write_array(member, stored, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, member.getvalue())
    return stream.getvalue()


def provenance(model: MLPClassifier, arrays: Arrays, data: bytes) -> dict[str, object]:
    """Say what the file is, how it was made, from what, and how well it does."""
    images = np.asarray(arrays["images"], dtype=np.float64)
    return {
        "file": "digits_mlp.npz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "what": "A ReLU network 64-128-128-10 trained on 8x8 images of handwritten digits, "
        "with the images held out from its training.",
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
        "made_by": "python tools/train_digits.py",
        "model": "sklearn.neural_network.MLPClassifier, float64, one thread, inputs pixels / 16",
        "training": TRAINING | {"random_state": SEED},
        "choice": "learning rate, alpha and epochs are one of about a dozen settings looked at, "
        "for stable retraining, accuracy above 97 % and heavy-tailed weights, seed 0 throughout; "
        "an example of trained weights, not a benchmark",
        "split": f"train_test_split(test_size={NUM_HELD_OUT}, random_state={SEED}, "
        "stratify=labels); writers are not separated, so the accuracy is that on known hands",
        "storage": "weights and biases rounded to float32, weights as (num_out, num_in); "
        "images 0..16 and labels as uint8",
        "accuracy_held_out": float(model.score(images / 16, arrays["labels"])),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "source": {
            "name": "Optical Recognition of Handwritten Digits (its test set, 1797 images), "
            "UCI Machine Learning Repository, as shipped in scikit-learn (load_digits)",
            "citation": "E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten "
            "Digits [data set]. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C50P49",
            "license": "CC-BY-4.0",
            "changes": "a random fifth of the images is shipped, as integers",
        },
        "license": "weights: BSD-3-Clause, as the code; images and labels: CC-BY-4.0",
    }


def differences(trained: Arrays, stored: Arrays) -> list[str]:
    """Name every array that retraining does not give, with the size of its worst excess.

    A float weight may differ by its rounding to float32 (half a unit in the last place, at most
    ``2**-24`` of its size) and by ``DRIFT``; integers may not differ.
    """
    if list(trained) != list(stored):
        return [f"names: {list(trained)} against {list(stored)}"]
    problems = []
    for name, array in trained.items():
        if array.shape != stored[name].shape:
            problems.append(f"{name}: shape {array.shape} against {stored[name].shape}")
            continue
        new, old = (np.asarray(a, dtype=np.float64) for a in (array, stored[name]))
        allowed = 2.0**-24 * np.abs(new) + DRIFT if array.dtype.kind == "f" else 0.0
        excess = float(np.max(np.abs(new - old) - allowed))
        if not excess <= 0:
            problems.append(f"{name}: {excess:.3g} beyond the tolerance")
    return problems


def check(arrays: Arrays, details: Mapping[str, object], folder: Path) -> list[str]:
    """Compare a retrained network with the files in ``folder``."""
    data = (folder / "digits_mlp.npz").read_bytes()
    recorded = json.loads((folder / "digits_mlp.json").read_text(encoding="utf-8"))
    with np.load(io.BytesIO(data)) as archive:
        problems = differences(arrays, {name: archive[name] for name in archive.files})
    if hashlib.sha256(data).hexdigest() != recorded["sha256"]:
        problems.append("digits_mlp.npz: its SHA-256 is not the one in digits_mlp.json")
    now = json.loads(json.dumps(details))
    for field in sorted(set(now) | set(recorded)):
        if field not in ("sha256", "versions") and now.get(field) != recorded.get(field):
            problems.append(f"digits_mlp.json: field {field!r} differs")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 if ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="retrain and compare, write nothing")
    only_check = parser.parse_args(arguments).check
    train_images, held_out_images, train_labels, held_out_labels = split_digits()
    model = train(train_images, train_labels, seed=SEED)
    arrays = arrays_of(model, held_out_images, held_out_labels)
    data = to_bytes(arrays)
    details = provenance(model, arrays, data)
    if only_check:
        problems = check(arrays, details, DATA)
        print("\n".join(problems) or "Retraining gives the shipped network.")
        return 1 if problems else 0
    DATA.mkdir(exist_ok=True)
    (DATA / "digits_mlp.npz").write_bytes(data)
    (DATA / "digits_mlp.json").write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")
    print(f"{len(data)} bytes, held-out accuracy {details['accuracy_held_out']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
