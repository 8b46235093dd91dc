"""What a model does between its input and its output, as far as it can be read off."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from torch import fx, nn

from qtheory.nn.activation import QuantizedActivation

__all__ = ["SIDE_BY_SIDE_CALLS", "WEIGHTED", "Kind", "Step", "model_steps", "module_kind"]

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPARENT = (nn.Flatten, nn.Unflatten, nn.Identity)
PERTURBING = tuple(
    getattr(nn, name)
    for name in dir(nn)
    if "Pool" in name or "Dropout" in name or "Pad" in name or name == "Upsample"
)
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
    nn.RMSNorm,
)
ACTIVATION_CALLS = frozenset(
    {
        *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "tanh", "tanh_", "erf"),
        *("hardtanh", "hardtanh_", "sigmoid", "sigmoid_", "gelu", "elu", "elu_", "selu", "selu_"),
        *("celu", "silu", "mish", "softplus", "softsign", "hardswish", "hardsigmoid", "sign"),
        *("clamp", "clamp_", "clip", "softmax", "log_softmax", "softmin", "logsigmoid", "prelu"),
        *("rrelu", "tanhshrink"),
    }
)
NORM_CALLS = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize"}
)
LIKE_CALLS = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})
TRANSPARENT_CALLS = frozenset(
    {
        *("flatten", "unflatten", "reshape", "view", "permute", "transpose", "squeeze"),
        *("unsqueeze", "contiguous", "to", "float", "double", "half", "bfloat16", "type"),
        *("detach", "clone", "movedim", "swapaxes", "ravel", "t", "mT", "getitem"),
        *LIKE_CALLS,
    }
)
PERTURBING_CALLS = frozenset({"pad", "interpolate", "mean", "sum", "amax"})
SIDE_BY_SIDE_CALLS = frozenset(
    {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"}
)
SHAPE_CALLS = frozenset({"size", "dim", "numel", "getattr", "len", "ndimension"})


class Kind(Enum):
    """What a step does to the signals."""

    INPUT = "input"
    WEIGHTED = "weighted"
    ACTIVATION = "activation"
    NORM = "normalization"
    MERGE = "merge"
    PERTURBING = "perturbing"
    UNKNOWN = "unknown"
    TRANSPARENT = "transparent"


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of a forward pass.

    Parameters
    ----------
    name : str
        Dotted name of the module, or what the forward calls.
    kind : Kind
        What it does to the signals.
    module : torch.nn.Module or None
        The module, if it is one.
    sources : tuple of int
        Positions of the steps whose outputs it takes.
    """

    name: str
    kind: Kind
    module: nn.Module | None
    sources: tuple[int, ...]


def module_kind(module: nn.Module) -> Kind:
    """Tell what a module without traced insides does to the signals.

    Parameters
    ----------
    module : torch.nn.Module
        Any module.

    Returns
    -------
    Kind
        ``UNKNOWN`` for what is not in one of the lists.
    """
    kinds: tuple[tuple[tuple[type, ...], Kind], ...] = (
        (WEIGHTED, Kind.WEIGHTED),
        (NORMS, Kind.NORM),
        (PERTURBING, Kind.PERTURBING),
        (TRANSPARENT, Kind.TRANSPARENT),
        ((QuantizedActivation,), Kind.ACTIVATION),
    )
    for types, kind in kinds:
        if isinstance(module, types):
            return kind
    is_torch = type(module).__module__ == "torch.nn.modules.activation"
    return Kind.ACTIVATION if is_torch and not list(module.parameters()) else Kind.UNKNOWN


def model_steps(model: nn.Module) -> tuple[tuple[Step, ...], str]:
    """Operations of a model's forward pass, in their order.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. Its forward is traced with symbols; nothing is computed.

    Returns
    -------
    steps : tuple of Step
        The first stands for the input. A model that cannot be traced is taken to call its modules
        one after the other in the order of registration.
    failure : str
        Why the model could not be traced, or empty.
    """
    if module_kind(model) is not Kind.UNKNOWN:
        return (_INPUT, Step("", module_kind(model), model, (0,))), ""
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # the forward is the user's: it may raise anything
        failure = (
            f"The forward of {type(model).__name__} could not be traced ({type(error).__name__}): "
            "its modules are taken in the order of registration, one after the other."
        )
        return tuple(_registered_steps(model)), failure
    return tuple(_traced_steps(model, graph)), ""


_INPUT = Step("input", Kind.INPUT, None, ())


class _Tracer(fx.Tracer):
    """Symbolic tracer that does not look into modules whose role is known."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell which modules stay whole."""
        known = module_kind(m) is not Kind.UNKNOWN
        return known or super().is_leaf_module(m, module_qualified_name)


def _registered_steps(model: nn.Module) -> Iterator[Step]:
    """Modules without children as a chain."""
    yield _INPUT
    position = 0
    for name, module in model.named_modules():
        if not list(module.children()):
            yield Step(name, module_kind(module), module, (position,))
            position += 1


def _traced_steps(model: nn.Module, graph: fx.Graph) -> Iterator[Step]:
    """Yield the steps of a traced graph; what only handles shapes is left out."""
    positions: dict[fx.Node, int] = {}
    count = 0
    for node in graph.nodes:
        sources = _sources(node, positions)
        if node.op not in ("placeholder", "call_module", "call_function", "call_method"):
            continue
        name = _call_name(node)
        if node.op != "placeholder" and (not sources or name in SHAPE_CALLS):
            continue
        yield _traced_step(model, node, name, sources)
        positions[node] = count
        count += 1


def _sources(node: fx.Node, positions: dict[fx.Node, int]) -> tuple[int, ...]:
    """Positions of what a node takes its numbers from; of what only lends its shape, none."""
    takes = node.all_input_nodes
    if node.op == "call_method" and _call_name(node) in LIKE_CALLS:
        takes = takes[:1]
    return tuple(sorted({positions[taken] for taken in takes if taken in positions}))


def _traced_step(model: nn.Module, node: fx.Node, name: str, sources: tuple[int, ...]) -> Step:
    """Step of one node."""
    if node.op == "placeholder":
        return Step(name, Kind.INPUT, None, ())
    if len(sources) > 1:
        return Step(name, Kind.MERGE, None, sources)
    if node.op == "call_module":
        module = model.get_submodule(name)
        return Step(name, module_kind(module), module, sources)
    return Step(name, _call_kind(name), None, sources)


def _call_kind(name: str) -> Kind:
    """Role of a function or method by its name."""
    if name in ACTIVATION_CALLS:
        return Kind.ACTIVATION
    if name in NORM_CALLS:
        return Kind.NORM
    if "pool" in name or "dropout" in name or name in PERTURBING_CALLS:
        return Kind.PERTURBING
    return Kind.TRANSPARENT if name in TRANSPARENT_CALLS else Kind.UNKNOWN


def _call_name(node: fx.Node) -> str:
    """Name of what a node calls."""
    target = node.target
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))
