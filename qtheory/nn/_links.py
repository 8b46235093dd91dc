"""How the layers of a model hang together: where the theory of a chain applies, or why not."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from qtheory.nn._expectations import has_theory
from qtheory.nn._measure import Call, restored
from qtheory.nn._structure import Kind, Step, model_steps

__all__ = ["UNTRACED", "Link", "find_links"]

UNTRACED = "The forward could not be traced: the theory assumes a plain chain of its modules."


@dataclass(frozen=True, eq=False)
class Link:
    """What lies between a layer and the layer before.

    Parameters
    ----------
    activation : torch.nn.Module or None
        The only thing that acts on signals there, if the theory knows it.
    obstacle : str
        Why the theory does not apply, or empty.
    is_branched : bool
        Whether signals enter or leave on the way.
    """

    activation: nn.Module | None = None
    obstacle: str = ""
    is_branched: bool = False


def find_links(
    model: nn.Module, batch: Tensor, calls: Sequence[Call]
) -> tuple[tuple[Link, ...], str]:
    """Find what lies in front of each layer with weights.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its forward is traced with symbols, and what that changes is restored.
    batch : Tensor
        An input of it.
    calls : sequence of Call
        What was recorded of a forward pass.

    Returns
    -------
    links : tuple of Link
        One entry for each recorded layer. That of the first is empty.
    doubt : str
        What is assumed if the forward could not be traced, or empty.
    """
    steps, failure = _trace(model, batch)
    called = [id(call.module) for call in calls if call.output is not None]
    traced = [id(step.module) for step in steps if step.kind is Kind.WEIGHTED]
    if failure or called != traced:
        return tuple(_links(_chain(calls))), UNTRACED
    return tuple(_links(steps)), ""


def _trace(model: nn.Module, batch: Tensor) -> tuple[tuple[Step, ...], str]:
    """Trace the steps of the model; attributes that its forward sets are restored."""
    before = [(module, dict(vars(module))) for module in model.modules()]
    with restored(model, batch):
        try:
            return model_steps(model)
        finally:
            for module, attributes in before:
                for name in vars(module).keys() - attributes.keys():
                    del vars(module)[name]
                vars(module).update(attributes)


def _chain(calls: Sequence[Call]) -> tuple[Step, ...]:
    """Take recorded calls to follow one another."""
    steps = [Step("input", Kind.INPUT, None, ())]
    for position, call in enumerate(calls):
        is_lost = call.kind is Kind.WEIGHTED and call.output is None
        kind = Kind.UNKNOWN if is_lost else call.kind
        steps.append(Step(call.name, kind, call.module, (position,)))
    return tuple(steps)


def _links(steps: Sequence[Step]) -> Iterator[Link]:
    """Yield the links of all layers."""
    uses = Counter(source for step in steps for source in step.sources)
    layers = [k for k, step in enumerate(steps) if step.kind is Kind.WEIGHTED]
    yield Link()
    for before, layer in pairwise(layers):
        path = _path(steps, layer)
        origin = path[-1]
        if origin != before:
            yield Link(None, _foreign(steps[origin]), True)
            continue
        activation, obstacle = _acting([steps[k] for k in reversed(path[:-1])])
        yield Link(activation, obstacle, any(uses[k] > 1 for k in path))


def _path(steps: Sequence[Step], layer: int) -> list[int]:
    """Walk from a layer backward to the first that is a layer, an input or no single branch."""
    path = [steps[layer].sources[0]]
    while steps[path[-1]].kind not in (Kind.WEIGHTED, Kind.INPUT, Kind.MERGE):
        path.append(steps[path[-1]].sources[0])
    return path


def _foreign(origin: Step) -> str:
    """Say what a layer takes its numbers from, if not from the layer before."""
    if origin.kind is Kind.MERGE:
        return f"a skip connection or branch ends before it ({origin.name})"
    if origin.kind is Kind.INPUT:
        return "it takes the input of the model"
    return f"it follows {origin.name}, not the layer before"


def _acting(between: Sequence[Step]) -> tuple[nn.Module | None, str]:
    """Return the one activation with a theory, or say why there is none."""
    acting = [step for step in between if not _keeps_signals(step)]
    strangers = [_kind(step) for step in acting if not has_theory(step.module)]
    if strangers:
        return None, f"{', '.join(dict.fromkeys(strangers))} between it and the layer before"
    if len(acting) != 1:
        count = "more than one" if acting else "no"
        return None, f"{count} activation between it and the layer before"
    return acting[0].module, ""


def _keeps_signals(step: Step) -> bool:
    """Whether a step hands on all numbers as they are."""
    if step.kind is Kind.TRANSPARENT:
        return step.module is not None or step.name != "getitem"  # which takes a part
    is_dropout = isinstance(step.module, nn.modules.dropout._DropoutNd)
    return is_dropout and step.module is not None and not step.module.training


def _kind(step: Step) -> str:
    """Class of a module, or name of a function."""
    return f"{step.name}()" if step.module is None else type(step.module).__name__
