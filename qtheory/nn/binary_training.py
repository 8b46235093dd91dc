"""Small networks with binary weights, trained by the methods that the theory compares.

A fully connected and a convolutional network, both with batch normalization and a readout in
floating point, and one training loop for all methods: floating point, BinaryConnect, stochastic
rounding and rounding to the nearest. The rounding itself is that of ``qtheory.nn.optimizers``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from qtheory._checks import check_choice, check_instance, check_integer, check_positive, fail
from qtheory.meanfield.trainer import LabeledData
from qtheory.nn.optimizers import BinaryConnect, DeterministicRounding, StochasticRounding
from qtheory.quantizers import uniform_midrise

__all__ = [
    "METHODS",
    "BinaryRecipe",
    "BinaryRun",
    "binary_convnet",
    "binary_mlp",
    "binary_parameters",
    "make_optimizer",
    "train_binary",
]

METHODS = ("float", "bc", "sr", "r")
"""Floating point, BinaryConnect, stochastic rounding, rounding to the nearest."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BinaryRecipe:
    """How a network is trained: method, learning rates, batches.

    Parameters
    ----------
    method : {"float", "bc", "sr", "r"}
        Floating point, BinaryConnect, stochastic rounding after each step, rounding to the nearest
        after each step. Rounded are the weights of all layers but the last, to -1 and 1.
    learning_rate : float
        Of the rounded weights at the start, above zero.
    readout_rate : float, optional
        Of all other parameters at the start; left out, the same.
    decay_at : sequence of float
        Fractions of the training after which both rates are divided by ten, in (0, 1).
    batch_size : int
        Images a step, at least 2. Batches run through the training set in a new random order each
        epoch, and a last short one is left out.
    num_steps : int
        At least 1.
    base : {"adam", "sgd"}
        What is wrapped: Adam, or plain gradient descent, with the settings of PyTorch.
    clip : bool
        Whether BinaryConnect clips its latent weights to [-1, 1] after each step.

    Raises
    ------
    ValueError
        If a setting is unknown or out of range.
    """

    method: str
    learning_rate: float = 0.01
    readout_rate: float | None = None
    decay_at: Sequence[float] = (0.5, 0.75)
    batch_size: int = 64
    num_steps: int = 1500
    base: str = "adam"
    clip: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("method", self.method, METHODS)
        check_choice("base", self.base, ("adam", "sgd"))
        check_positive("learning_rate", self.learning_rate)
        if self.readout_rate is not None:
            check_positive("readout_rate", self.readout_rate)
        if not all(0 < part < 1 for part in self.decay_at):
            raise fail("decay_at", "fractions between zero and one", self.decay_at)
        check_integer("batch_size", self.batch_size, minimum=2)
        check_integer("num_steps", self.num_steps, minimum=1)
        if self.clip and self.method != "bc":
            raise fail("clip", "False for a method without latent weights", self.clip)

    def rate_factor(self, step: int) -> float:
        """Return what the learning rates are multiplied by at a step, counted from 0."""
        return float(0.1 ** sum(step >= part * self.num_steps for part in self.decay_at))


@dataclass(frozen=True, eq=False)
class BinaryRun:
    """What happened to one network in training.

    Signs are those of the rounded weights; for a floating-point run those of the same weights
    unrounded. Layers are the rounded ones, first one first. The arrays are read-only.

    Parameters
    ----------
    steps : ndarray of int
        Numbers of steps after which the network was looked at, from 0, shape ``(num_looks,)``.
    train_loss : ndarray
        Mean cross entropy of all training images, natural logarithm, with the normalization
        statistics of the training images, shape ``(num_looks,)``.
    test_accuracy : ndarray
        Fraction of test images put in their class, in [0, 1], with the same statistics.
    changed : ndarray
        Share of the weights of each layer whose sign is not that of the start, in [0, 1], shape
        ``(num_looks, num_layers)``.
    flips : ndarray
        Sign changes a weight and step, mean over the steps since the last look, same shape; zero
        at the start.
    visited : ndarray
        Share of the weights whose sign has changed at least once, in [0, 1], same shape.
    largest_push : float
        Largest gradient of a rounded weight toward the other sign, over all weights and steps:
        gradient times sign.
    optimizer : torch.optim.Optimizer
        The optimizer after the last step; that of BinaryConnect holds the latent weights.
    """

    steps: NDArray[np.int64]
    train_loss: FloatArray
    test_accuracy: FloatArray
    changed: FloatArray
    flips: FloatArray
    visited: FloatArray
    largest_push: float
    optimizer: Optimizer

    def __post_init__(self) -> None:
        """Set the arrays read-only."""
        for name in ("steps", "train_loss", "test_accuracy", "changed", "flips", "visited"):
            getattr(self, name).setflags(write=False)


def binary_mlp(
    *,
    generator: torch.Generator,
    latent_scale: float = 1.0,
    num_inputs: int = 64,
    width: int = 128,
    num_classes: int = 10,
) -> nn.Sequential:
    """Fully connected network of three layers whose first two are meant to be binary.

    Linear layers without bias, each followed by batch normalization without scale and shift and a
    rectifier; a linear readout with bias.

    Parameters
    ----------
    generator : torch.Generator
        Source of the weights: uniform between plus and minus ``latent_scale``, those of the
        readout between plus and minus one over the root of their fan-in.
    latent_scale : float
        Above zero. It multiplies the same draws, so signs do not depend on it.
    num_inputs, width, num_classes : int
        Sizes.

    Returns
    -------
    torch.nn.Sequential
        The network, in float32.

    Raises
    ------
    ValueError
        If ``latent_scale`` is not above zero.

    Examples
    --------
    >>> model = binary_mlp(generator=torch.Generator().manual_seed(0))
    >>> [tuple(weight.shape) for weight in binary_parameters(model)]
    [(128, 64), (128, 128)]
    """
    parts = [
        *_block(nn.Linear(num_inputs, width, bias=False), nn.BatchNorm1d, width),
        *_block(nn.Linear(width, width, bias=False), nn.BatchNorm1d, width),
        nn.Linear(width, num_classes),
    ]
    return _drawn(nn.Sequential(*parts), latent_scale, generator)


def binary_convnet(
    *,
    generator: torch.Generator,
    latent_scale: float = 1.0,
    side: int = 8,
    channels: tuple[int, int, int] = (16, 32, 32),
    num_classes: int = 10,
) -> nn.Sequential:
    """Convolutional network of four layers whose three convolutions are meant to be binary.

    Convolutions three by three without bias, the first one on the full image, the others after
    taking maxima over two by two places; normalization, rectifiers and readout as in `binary_mlp`.

    Parameters
    ----------
    generator : torch.Generator
        As in `binary_mlp`.
    latent_scale : float
        As in `binary_mlp`.
    side : int
        Side of the square images, divisible by four; they come as rows of ``side**2`` pixels.
    channels : tuple of int
        Channels of the three convolutions.
    num_classes : int
        Number of classes.

    Returns
    -------
    torch.nn.Sequential
        The network, in float32.

    Raises
    ------
    ValueError
        If ``latent_scale`` is not above zero or ``side`` is not divisible by four.
    """
    if check_integer("side", side, minimum=4) % 4:
        raise fail("side", "divisible by four", side)
    first, second, third = channels
    parts = [
        nn.Unflatten(1, (1, side, side)),
        *_block(nn.Conv2d(1, first, 3, padding=1, bias=False), nn.BatchNorm2d, first),
        nn.MaxPool2d(2),
        *_block(nn.Conv2d(first, second, 3, padding=1, bias=False), nn.BatchNorm2d, second),
        *_block(nn.Conv2d(second, third, 3, padding=1, bias=False), nn.BatchNorm2d, third),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(third * (side // 4) ** 2, num_classes),
    ]
    return _drawn(nn.Sequential(*parts), latent_scale, generator)


def binary_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Weights of all linear and convolutional layers of a model but the last.

    Parameters
    ----------
    model : torch.nn.Module
        With at least two such layers.

    Returns
    -------
    list of torch.nn.Parameter
        Those weights, in the order of the modules.

    Raises
    ------
    ValueError
        If there are fewer than two such layers.
    """
    layers = [part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if len(layers) < 2:
        raise fail("model", "one with at least two layers of weights", len(layers))
    return [layer.get_parameter("weight") for layer in layers[:-1]]


def make_optimizer(
    model: nn.Module, recipe: BinaryRecipe, *, generator: torch.Generator
) -> Optimizer:
    """Build the optimizer of a recipe: one that rounds the binary weights and no others.

    Parameters
    ----------
    model : torch.nn.Module
        Its weights become -1 or 1 at once for the methods that round them.
    recipe : BinaryRecipe
        Which one.
    generator : torch.Generator
        Source of stochastic rounding.

    Returns
    -------
    torch.optim.Optimizer
        Two groups of parameters: the binary weights, then all others.
    """
    binary = binary_parameters(model)
    chosen = {id(weight) for weight in binary}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    readout_rate = recipe.readout_rate or recipe.learning_rate
    groups = [
        {"params": binary, "lr": recipe.learning_rate},
        {"params": others, "lr": readout_rate, "quantizer": None},
    ]
    base: Optimizer = (torch.optim.Adam if recipe.base == "adam" else torch.optim.SGD)(groups)
    if recipe.method == "float":
        return base
    quantizer = uniform_midrise(num_levels=2, step_size=2.0)
    if recipe.method == "bc":
        return BinaryConnect(base, quantizer, clip=1.0 if recipe.clip else None)
    if recipe.method == "sr":
        return StochasticRounding(base, quantizer, generator=generator)
    return DeterministicRounding(base, quantizer)


def train_binary(
    model: nn.Module,
    data: LabeledData,
    recipe: BinaryRecipe,
    *,
    seed: int,
    num_looks: int = 16,
) -> BinaryRun:
    """Train a network on labeled images and record how its weights move.

    Parameters
    ----------
    model : torch.nn.Module
        Takes rows of inputs, gives scores of classes; for example `binary_mlp`. It is changed.
    data : LabeledData
        Images to train and to test on.
    recipe : BinaryRecipe
        How to train.
    seed : int
        Seed of the batches and of stochastic rounding, not below zero. All methods see the same
        batches.
    num_looks : int
        How often loss, accuracy and signs are recorded, evenly spaced, start and end included;
        at least 2.

    Returns
    -------
    BinaryRun
        What was seen.

    Raises
    ------
    ValueError
        If the batches are larger than the training set or a number is out of range.

    Notes
    -----
    Batch normalization is set to keep the statistics of the last batch, which at each look are
    those of all training images. The statistics thus belong to the weights that are tested.
    """
    check_instance("data", data, LabeledData)
    check_integer("seed", seed, minimum=0)
    check_integer("num_looks", num_looks, minimum=2)
    images = _Images(data)
    if recipe.batch_size > len(images.train_labels):
        condition = f"at most the {len(images.train_labels)} training images"
        raise fail("batch_size", condition, recipe.batch_size)
    _keep_last_statistics(model)
    rounding, batches = (torch.Generator().manual_seed(2 * seed + part) for part in (0, 1))
    optimizer = make_optimizer(model, recipe, generator=rounding)
    rates = [group["lr"] for group in optimizer.param_groups]
    record = _Record(model, images)
    looks = np.unique(np.linspace(0, recipe.num_steps, num_looks).round().astype(np.int64))
    record.look(0)
    for step, chosen in enumerate(images.batches(recipe, batches)):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * recipe.rate_factor(step)
        loss = nn.functional.cross_entropy(
            model(images.train_inputs[chosen]), images.train_labels[chosen]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        record.count()
        if step + 1 in looks:
            record.look(step + 1)
    return record.run(optimizer)


class _Images:
    """The data as tensors."""

    def __init__(self, data: LabeledData) -> None:
        self.train_inputs, self.test_inputs = (
            torch.tensor(part, dtype=torch.float32)
            for part in (data.train_inputs, data.test_inputs)
        )
        self.train_labels, self.test_labels = (
            torch.tensor(part, dtype=torch.int64) for part in (data.train_labels, data.test_labels)
        )

    def batches(self, recipe: BinaryRecipe, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the images of each step: a new order each epoch, the short last batch left out."""
        count, size = len(self.train_labels), recipe.batch_size
        done = 0
        while True:
            order = torch.randperm(count, generator=generator)
            for start in range(0, count - size + 1, size):
                yield order[start : start + size]
                done += 1
                if done == recipe.num_steps:
                    return


class _Record:
    """Counts of flips and the looks that a run is made of."""

    def __init__(self, model: nn.Module, images: _Images) -> None:
        self.model, self.images = model, images
        self.weights = binary_parameters(model)
        self.start = [_signs(weight) for weight in self.weights]
        self.last = [sign.clone() for sign in self.start]
        self.visited = [torch.zeros_like(sign, dtype=torch.bool) for sign in self.start]
        self.flips = [0] * len(self.weights)
        self.steps: list[int] = []
        self.rows: list[tuple[float, float]] = []
        self.shares: list[tuple[list[float], list[float], list[float]]] = []
        self.largest = 0.0

    def count(self) -> None:
        """Count the signs that the last step has changed."""
        for place, (weight, last) in enumerate(zip(self.weights, self.last, strict=True)):
            signs = _signs(weight)
            flipped = signs != last
            self.flips[place] += int(flipped.sum())
            self.visited[place] |= flipped
            self.last[place] = signs
            if weight.grad is not None:
                self.largest = max(self.largest, float((weight.grad * last).max()))

    def look(self, step: int) -> None:
        """Record loss, accuracy and shares after a step."""
        interval = step - self.steps[-1] if self.steps else 1
        changed = [
            float((a != b).double().mean()) for a, b in zip(self.start, self.last, strict=True)
        ]
        flips = [
            count / (interval * sign.numel())
            for count, sign in zip(self.flips, self.start, strict=True)
        ]
        visited = [float(seen.double().mean()) for seen in self.visited]
        self.steps.append(step)
        self.rows.append(self._quality())
        self.shares.append((changed, flips, visited))
        self.flips = [0] * len(self.weights)

    @torch.no_grad()
    def _quality(self) -> tuple[float, float]:
        """Return the training loss and the test accuracy, with statistics of the training set."""
        images = self.images
        self.model.train()
        scores = self.model(images.train_inputs)
        loss = float(nn.functional.cross_entropy(scores.double(), images.train_labels))
        self.model.eval()
        best = self.model(images.test_inputs).argmax(dim=1)
        self.model.train()
        return loss, float((best == images.test_labels).double().mean())

    def run(self, optimizer: Optimizer) -> BinaryRun:
        """Return everything as arrays."""
        rows, shares = np.array(self.rows), np.array(self.shares)
        return BinaryRun(
            steps=np.array(self.steps, dtype=np.int64),
            train_loss=rows[:, 0].copy(),
            test_accuracy=rows[:, 1].copy(),
            changed=shares[:, 0].copy(),
            flips=shares[:, 1].copy(),
            visited=shares[:, 2].copy(),
            largest_push=self.largest,
            optimizer=optimizer,
        )


def _signs(weight: Tensor) -> Tensor:
    """Return the signs of weights, zero going up."""
    return torch.where(weight.detach() >= 0, 1.0, -1.0)


def _block(layer: nn.Module, norm: Callable[..., nn.Module], width: int) -> list[nn.Module]:
    """Return a layer with its normalization and rectifier."""
    return [layer, norm(width, affine=False), nn.ReLU()]


def _drawn(model: nn.Sequential, latent_scale: float, generator: torch.Generator) -> nn.Sequential:
    """Draw all weights of a new network."""
    check_positive("latent_scale", latent_scale)
    readout = [module for module in model if isinstance(module, nn.Linear)][-1]
    bound = readout.in_features**-0.5
    with torch.no_grad():
        for weight in binary_parameters(model):
            weight.uniform_(-1.0, 1.0, generator=generator).mul_(latent_scale)
        readout.weight.uniform_(-bound, bound, generator=generator)
        readout.bias.uniform_(-bound, bound, generator=generator)
    return model


def _keep_last_statistics(model: nn.Module) -> None:
    """Let batch normalization forget all but the last batch."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
