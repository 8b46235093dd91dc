"""One forward and one backward pass through a model that leave it as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qtheory._checks import fail
from qtheory.nn._structure import Kind, module_kind

__all__ = ["Call", "record", "restored"]


@dataclass(frozen=True, eq=False)
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


def record(model: nn.Module, batch: Tensor, generator: torch.Generator | None) -> list[Call]:
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
    list of Call
        Calls of modules whose role is known, or that have no modules inside, in their order.

    Raises
    ------
    ValueError
        If the model does not return a tensor, or a layer has lost the axis of the batch.
    """
    calls: list[Call] = []
    with restored(model, batch), torch.inference_mode(False), torch.enable_grad():
        inputs = batch.detach().clone().requires_grad_(True)
        with _hooked(model, calls):
            output = model(inputs)
        if not isinstance(output, Tensor):
            raise fail("model", "one that returns a tensor", type(output).__name__)
        _check_batch_axis(calls, len(batch))
        gradients = _gradients(output, [call.output for call in calls], generator)
    return [replace(call, gradient=value) for call, value in zip(calls, gradients, strict=True)]


def _gradients(
    output: Tensor, inner: list[Tensor | None], generator: torch.Generator | None
) -> list[Tensor | None]:
    """Gradients of a random combination of the outputs by what lies inside."""
    reached = {k: u for k, u in enumerate(inner) if u is not None and u.requires_grad}
    gradients: list[Tensor | None] = [None] * len(inner)
    if not (output.requires_grad and reached):
        return gradients
    device = output.device if generator is None else generator.device
    cotangent = torch.randn(output.shape, generator=generator, device=device).to(output)
    found = torch.autograd.grad(output, list(reached.values()), cotangent, allow_unused=True)
    for position, gradient in zip(reached, found, strict=True):
        gradients[position] = gradient
    return gradients


def _check_batch_axis(calls: list[Call], num_inputs: int) -> None:
    """Refuse layers whose output does not have the inputs along its first axis."""
    for call in calls:
        shape = (num_inputs, 1) if call.output is None else tuple(call.output.shape)
        if len(shape) < 2 or shape[0] != num_inputs:
            found = f"{shape} at '{call.name}'"
            raise fail("model", "one whose layers keep the first axis of `batch`", found)


@contextmanager
def _hooked(model: nn.Module, calls: list[Call]) -> Iterator[None]:
    """Attach hooks to all modules of known role or without insides, and always remove them."""
    handles = []
    try:
        for name, module in model.named_modules():
            if module_kind(module) is not Kind.UNKNOWN or not list(module.children()):
                handles.append(module.register_forward_hook(_hook(name, calls)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, calls: list[Call]) -> Callable[[nn.Module, object, object], Tensor | None]:
    """Return a hook that takes down a call."""

    def take_down(module: nn.Module, _: object, output: object) -> Tensor | None:
        kind = module_kind(module)
        if kind is not Kind.WEIGHTED or not isinstance(output, Tensor):
            calls.append(Call(name, module, kind))
            return None
        calls.append(Call(name, module, kind, output))
        return output.clone()  # handed on, so that nothing can overwrite what is kept

    return take_down


@contextmanager
def restored(model: nn.Module, batch: Tensor) -> Iterator[None]:
    """Restore buffers, training flags and random states, whatever happens.

    Parameters
    ----------
    model : torch.nn.Module
        Model that may be called inside.
    batch : Tensor
        Input of it, whose device has a random state too.

    Yields
    ------
    None
        Nothing.
    """
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
