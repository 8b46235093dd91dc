"""Which layer of a model gets which variance: the rules, the refusals and the draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from qtheory._checks import fail
from qtheory.meanfield import Linear
from qtheory.nn._structure import SIDE_BY_SIDE_CALLS, WEIGHTED, Kind, Step, model_steps
from qtheory.nn._targets import Target

__all__ = ["LAWS", "LayerPlan", "draw", "fan_in", "plan_layers", "refuse_parameters"]


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """A layer with weights and what it is to be set to.

    Parameters
    ----------
    name : str
        Dotted name in the model.
    module : torch.nn.Module
        The layer.
    role : str
        ``first``, ``hidden`` or ``readout``.
    weight_variance : float
        Variance of a weight times the fan-in.
    bias_variance : float
        Variance of the biases.
    """

    name: str
    module: nn.Module
    role: str
    weight_variance: float
    bias_variance: float


@dataclass(frozen=True)
class _Signal:
    """What is known of the numbers between two steps."""

    place: str  # "input", "preactivation", "activation" or "output"
    second_moment: float


def plan_layers(
    model: nn.Module,
    target: Target,
    *,
    input_second_moment: float,
    output_second_moment: float,
    bias_variance: float,
) -> tuple[tuple[LayerPlan, ...], tuple[str, ...]]:
    """Variances of all layers, after all refusals.

    Parameters
    ----------
    model : torch.nn.Module
        The model, not changed.
    target : Target
        Activation and working point.
    input_second_moment, output_second_moment : float
        Mean squares before the first and after the last layer.
    bias_variance : float
        Variance of the biases of hidden layers.

    Returns
    -------
    plans : tuple of LayerPlan
        One entry a call, in the order of the forward.
    doubts : tuple of str
        What to warn of.

    Raises
    ------
    ValueError
        As `qtheory.nn.initialize_`.
    """
    refuse_parameters(model)
    steps, failure = model_steps(model)
    _refuse_steps(steps, target)
    planner = _Planner(target, input_second_moment, output_second_moment, bias_variance)
    plans = planner.run(steps)
    _refuse_strangers(model, plans)
    _refuse_conflicts(plans)
    return plans, (*target.doubts, *filter(None, [failure]), *planner.doubts)


def fan_in(module: nn.Module) -> int:
    """Return the number of inputs that each output of a layer sums.

    Parameters
    ----------
    module : torch.nn.Module
        A linear layer or convolution.

    Returns
    -------
    int
        Features, or channels over groups times the kernel.
    """
    weight = _parameter(module, "weight")
    return math.prod(weight.shape[1:])


class _Planner:
    """Walk along the steps that keeps account of second moments."""

    def __init__(self, target: Target, incoming: float, outgoing: float, biases: float) -> None:
        self.target = target
        self.incoming, self.outgoing, self.biases = incoming, outgoing, biases
        self.doubts: list[str] = []

    def run(self, steps: Sequence[Step]) -> tuple[LayerPlan, ...]:
        """Plans of the weighted steps."""
        is_hidden = _feeding(steps, self.target)
        signals: list[_Signal] = []
        plans = []
        for step, hidden in zip(steps, is_hidden, strict=True):
            before = _joined([signals[k] for k in step.sources])
            if step.kind is Kind.WEIGHTED:
                plan = self.layer(step, before, hidden)
                plans.append(plan)
                place = "preactivation" if hidden else "output"
                second = self.target.variance if hidden else self.outgoing
                signals.append(_Signal(place, second))
            elif self.target.matches(step):
                signals.append(self.activated(step, before))
            elif step.kind is Kind.INPUT:
                signals.append(_Signal("input", self.incoming))
            else:
                self.doubts += _doubts(step, before, hidden)
                signals.append(before)
        return tuple(plans)

    def layer(self, step: Step, before: _Signal, is_hidden: bool) -> LayerPlan:
        """Plan of one layer."""
        biases = self.biases if is_hidden else 0.0
        wanted = self.target.variance - biases if is_hidden else self.outgoing
        role = "hidden" if is_hidden else "readout"
        role = "first" if is_hidden and before.place == "input" else role
        variance = wanted / before.second_moment
        if is_hidden and before == _Signal("activation", self.target.second_moment):
            # The same, but for smooth activations that keep no variance above zero.
            variance = self.target.weight_variance
        return LayerPlan(step.name, _module(step), role, variance, biases)

    def activated(self, step: Step, before: _Signal) -> _Signal:
        """Signal after an activation."""
        if before.place == "activation":
            raise fail("model", "free of two activations in a row", _described(step))
        if before.place == "input":
            self.doubts.append(f"{_described(step)} acts on the input, taken to be Gaussian.")
            second = float(self.target.activation.second_moment(self.incoming))
            return _Signal("activation", second)
        return _Signal("activation", self.target.second_moment)


def _feeding(steps: Sequence[Step], target: Target) -> list[bool]:
    """Tell of each step whether another layer or activation of the target follows it."""
    feeds = [False] * len(steps)
    for position in reversed(range(len(steps))):
        step = steps[position]
        counts = step.kind is Kind.WEIGHTED or target.matches(step)
        for source in step.sources:
            feeds[source] |= counts or feeds[position]
    return feeds


def _joined(signals: Sequence[_Signal]) -> _Signal:
    """Signal of several sources: that of any, since inputs and outputs alone may be joined."""
    return signals[0] if signals else _Signal("input", 1.0)


def _refuse_steps(steps: Sequence[Step], target: Target) -> None:
    """Refuse what breaks the chain of layers and activations."""
    feeds = _feeding(steps, target)
    inside = _inside(steps)
    for step, is_feeding, is_inside in zip(steps, feeds, inside, strict=True):
        if step.kind is Kind.NORM:
            raise fail("model", "free of normalization layers", _described(step))
        mixes = is_feeding or step.name not in SIDE_BY_SIDE_CALLS
        if step.kind is Kind.MERGE and is_inside and mixes:
            raise fail("model", "a chain without skip connections or branches that meet", step.name)
        if step.kind is Kind.ACTIVATION and is_feeding and not target.matches(step):
            raise fail("model", f"free of activations other than {target.name}", _described(step))
    if not any(step.kind is Kind.WEIGHTED for step in steps):
        names = ", ".join(kind.__name__ for kind in WEIGHTED)
        raise fail("model", f"a network with at least one of {names}", _kinds(steps))
    if not isinstance(target.activation, Linear) and not any(map(target.matches, steps)):
        raise fail("model", f"a network with {target.name} between its layers", _kinds(steps))


def _inside(steps: Sequence[Step]) -> list[bool]:
    """Tell of each step whether a layer or activation came before it."""
    inside: list[bool] = []
    for step in steps:
        active = any(inside[k] or steps[k].kind in _ACTIVE for k in step.sources)
        inside.append(active)
    return inside


_ACTIVE = (Kind.WEIGHTED, Kind.ACTIVATION)


def _doubts(step: Step, before: _Signal, is_feeding: bool) -> list[str]:
    """Say what changes signals in a way that is not accounted for."""
    if before.place not in ("preactivation", "activation") or not is_feeding:
        return []
    doubts = {
        Kind.PERTURBING: "changes second moments, which is not accounted for",
        Kind.UNKNOWN: "is unknown, and taken to keep second moments",
    }
    return [f"{_described(step)} {doubts[step.kind]}."] if step.kind in doubts else []


def refuse_parameters(model: nn.Module) -> None:
    """Refuse parameters that have no shape or no memory yet.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Raises
    ------
    ValueError
        If a parameter is lazy or on the meta device.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise fail("model", "free of lazy modules that have not run yet", name)
        if parameter.is_meta:
            raise fail("model", "on a device that holds numbers", f"{name} on meta")


def _refuse_strangers(model: nn.Module, plans: Sequence[LayerPlan]) -> None:
    """Refuse parameters that no layer of the plan owns, and layers that compute their weights."""
    owned = set()
    for plan in plans:
        if parametrize.is_parametrized(plan.module) or "weight" not in plan.module._parameters:
            raise fail("model", "free of parametrized weights", plan.name or "the model")
        owned |= {id(parameter) for parameter in plan.module.parameters(recurse=False)}
        if fan_in(plan.module) == 0 or not _parameter(plan.module, "weight").is_floating_point():
            raise fail("model", "of layers with real weights and inputs", plan.name)
    places = ", ".join(kind.__name__ for kind in WEIGHTED)
    for name, parameter in model.named_parameters():
        if id(parameter) not in owned:
            owner = type(model.get_submodule(name.rpartition(".")[0])).__name__
            condition = f"a network with every parameter in a {places} that its forward calls"
            raise fail("model", condition, f"{name} of {owner}")


def _refuse_conflicts(plans: Sequence[LayerPlan]) -> None:
    """Refuse weights that are used in two places with different needs."""
    wanted: dict[int, tuple[float, str]] = {}
    for plan in plans:
        for key, value in (("weight", plan.weight_variance), ("bias", plan.bias_variance)):
            parameter = plan.module._parameters.get(key)
            if parameter is None:
                continue
            entry = value / fan_in(plan.module) if key == "weight" else value
            before, name = wanted.setdefault(id(parameter), (entry, plan.name))
            if not math.isclose(entry, before, rel_tol=1e-9):
                used = f"{name}.{key} as {plan.name}.{key}, variances {before:.6g} and {entry:.6g}"
                raise fail("model", "free of shared weights of different variances", used)


def draw(
    plans: Sequence[LayerPlan], law: str, generator: torch.Generator | None
) -> list[tuple[nn.Parameter, Tensor]]:
    """Values of all parameters, each once.

    Parameters
    ----------
    plans : sequence of LayerPlan
        What is wanted.
    law : str
        Key of ``LAWS`` for the weights; biases are Gaussian.
    generator : torch.Generator or None
        Source of the numbers.

    Returns
    -------
    list of tuple
        Parameters with their values, in the type and on the device of the parameter.
    """
    values: dict[int, tuple[nn.Parameter, Tensor]] = {}
    for plan in plans:
        weight = _parameter(plan.module, "weight")
        if id(weight) not in values:
            std = math.sqrt(plan.weight_variance / fan_in(plan.module))
            values[id(weight)] = (weight, _sample(weight, law, std, generator))
        bias = plan.module._parameters.get("bias")
        if bias is not None and id(bias) not in values:
            std = math.sqrt(plan.bias_variance)
            zero = torch.zeros_like(bias)
            drawn = _sample(bias, "gaussian", std, generator) if std else zero
            values[id(bias)] = (bias, drawn)
    return list(values.values())


Shape = tuple[int, ...]


def _sample(like: Tensor, law: str, std: float, generator: torch.Generator | None) -> Tensor:
    """Independent numbers of mean zero, drawn where the generator lives."""
    options: dict[str, Any] = {
        "generator": generator,
        "dtype": torch.float64 if like.dtype == torch.float64 else torch.float32,
        "device": "cpu" if generator is None else generator.device,
    }
    return (std * LAWS[law](tuple(like.shape), options)).to(like)


def _gaussian(shape: Shape, options: dict[str, Any]) -> Tensor:
    sample: Tensor = torch.randn(shape, **options)
    return sample


def _uniform(shape: Shape, options: dict[str, Any]) -> Tensor:
    sample: Tensor = math.sqrt(3) * (2 * torch.rand(shape, **options) - 1)
    return sample


def _binary(shape: Shape, options: dict[str, Any]) -> Tensor:
    sample: Tensor = 2 * torch.randint(0, 2, shape, **options) - 1
    return sample


def _ternary(shape: Shape, options: dict[str, Any]) -> Tensor:
    pair: Tensor = torch.randint(0, 2, (2, *shape), **options)
    return math.sqrt(2) * (pair[0] - pair[1])


LAWS: dict[str, Callable[[Shape, dict[str, Any]], Tensor]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "binary": _binary,
    "ternary": _ternary,
}
"""Laws of variance one by their names."""


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    """Parameter of a layer that has it."""
    value = module._parameters[name]
    if value is None:
        raise KeyError(name)
    return value


def _module(step: Step) -> nn.Module:
    """Return the module of a step that is one."""
    if step.module is None:
        raise TypeError(step.name)
    return step.module


def _described(step: Step) -> str:
    """Kind and place of a step for messages."""
    if step.module is None:
        return f"{step.name}() in the forward"
    return f"{type(step.module).__name__} at '{step.name}'"


def _kinds(steps: Sequence[Step]) -> list[str]:
    """Kinds of all modules for messages."""
    return sorted({type(step.module).__name__ for step in steps if step.module is not None})
