"""One forward and one backward pass through a model that leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qtheory._checks import fail
from qtheory.nn._structure import Kind, module_kind

__all__ = ["Call", "Recording", "record"]


@dataclass(eq=False)
class Call:
    """One call of a module in a forward pass.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    module : torch.nn.Module
        The module.
    kind : Kind
        What it does to the signals.
    output : Tensor or None
        Pre-activations, of a layer with weights only.
    gradient : Tensor or None
        Gradient by the output, if it depends on it.
    """

    name: str
    module: nn.Module
    kind: Kind
    output: Tensor | None = None
    gradient: Tensor | None = None

    def matrix(self, values: Tensor) -> Tensor:
        """Return values of the output's shape as inputs by units by places, in float64."""
        axis = values.ndim - 1 if isinstance(self.module, nn.Linear) else 1
        moved = values.detach().to(torch.float64).movedim(axis, 1)
        return moved.reshape(moved.shape[0], moved.shape[1], -1)


@dataclass(eq=False)
class Recording:
    """All calls of a forward pass in their order.

    Parameters
    ----------
    calls : list of Call
        Calls of modules whose role is known, or that have no modules inside.
    """

    calls: list[Call] = field(default_factory=list)

    def hook(self, name: str, module: nn.Module, output: object) -> Tensor | None:
        """Take down a call; layers hand on a copy, so that nothing can overwrite what is kept."""
        kind = module_kind(module)
        call = Call(name, module, kind)
        self.calls.append(call)
        if kind is not Kind.WEIGHTED or not isinstance(output, Tensor):
            return None
        call.output = output
        return output.clone()


def record(model: nn.Module, batch: Tensor, generator: torch.Generator | None) -> Recording:
    """Run a model forward and backward from a random cotangent, and restore everything.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that takes one tensor.
    batch : Tensor
        Inputs along the first axis.
    generator : torch.Generator or None
        Source of the cotangent.

    Returns
    -------
    Recording
        Calls with outputs and gradients.

    Raises
    ------
    ValueError
        If the model does not return a tensor, or a layer has lost the axis of the batch.
    """
    recording = Recording()
    with _restored(model, batch), torch.inference_mode(False), torch.enable_grad():
        inputs = batch.detach().clone().requires_grad_(True)
        with _hooked(model, recording):
            output = model(inputs)
        if not isinstance(output, Tensor):
            raise fail("model", "one that returns a tensor", type(output).__name__)
        layers = [call for call in recording.calls if call.output is not None]
        _check_batch_axis(layers, len(batch))
        _differentiate(output, layers, generator)
    return recording


def _differentiate(output: Tensor, layers: list[Call], generator: torch.Generator | None) -> None:
    """Set the gradients of a random combination of the outputs."""
    outputs = [call.output for call in layers if call.output is not None]
    reached = [position for position, u in enumerate(outputs) if u.requires_grad]
    if not (output.requires_grad and reached):
        return
    device = output.device if generator is None else generator.device
    cotangent = torch.randn(output.shape, generator=generator, device=device).to(output)
    gradients = torch.autograd.grad(
        output, [outputs[k] for k in reached], cotangent, allow_unused=True
    )
    for position, gradient in zip(reached, gradients, strict=True):
        layers[position].gradient = gradient


def _check_batch_axis(layers: list[Call], num_inputs: int) -> None:
    """Refuse layers whose output does not have the inputs along its first axis."""
    for call in layers:
        shape = () if call.output is None else tuple(call.output.shape)
        if len(shape) < 2 or shape[0] != num_inputs:
            found = f"{tuple(shape)} at '{call.name}'"
            raise fail("model", "one whose layers keep the first axis of `batch`", found)


@contextmanager
def _hooked(model: nn.Module, recording: Recording) -> Iterator[None]:
    """Attach hooks to all modules of known role or without insides, and always remove them."""
    handles = []
    try:
        for name, module in model.named_modules():
            if module_kind(module) is not Kind.UNKNOWN or not list(module.children()):
                handles.append(
                    module.register_forward_hook(
                        lambda module, _, output, name=name: recording.hook(name, module, output)
                    )
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _restored(model: nn.Module, batch: Tensor) -> Iterator[None]:
    """Restore buffers, training flags and random states, whatever happens."""
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({t.get_device() for t in (batch, *model.parameters()) if t.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, flag in flags:
            module.training = flag
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer)
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
