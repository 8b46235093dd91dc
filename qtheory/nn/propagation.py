"""A report on the signals and gradients of a user's own model, layer by layer."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtheory._checks import check_instance, fail
from qtheory.nn._expectations import StepTheory, step_theory
from qtheory.nn._links import Link, find_links
from qtheory.nn._measure import Call, record
from qtheory.nn._planning import refuse_parameters
from qtheory.nn._statistics import LayerSignals, layer_signals
from qtheory.nn._structure import Kind
from qtheory.numerics import Estimate

__all__ = ["CorrelationDecay", "LayerPropagation", "PropagationReport", "propagation_report"]

FloatArray = NDArray[np.float64]

LINEAR_CORRELATION = 0.5
"""Root mean square correlation below which the decay is taken as exponential."""
NUM_SIGMAS = 5.0
IMBALANCE = 0.1
MISFIT = 0.05
MIN_UNITS = 30
"""Fewer units do not tell their own standard error well."""
JUMP = 10.0
"""Factor from layer to layer that is remarked on whatever the model."""
MIN_JUMP_UNITS = 8
"""Fewer units make such a factor by chance."""
MAX_SHOWN = 8


@dataclass(frozen=True)
class LayerPropagation:
    """What one call of a layer with weights does to signals and gradients.

    Measured numbers are estimates whose standard error counts the fluctuations of finitely many
    units in both layers of a step. Expected ones follow from the numbers measured in the layer
    before, the weights as they are and the activation; ``None`` where the theory does not apply.

    Parameters
    ----------
    name : str
        Dotted name of the module in the model.
    kind : str
        Class of the module.
    num_units : int
        Output features or channels.
    weight_variance, bias_variance : float
        Mean square of the weights times the fan-in, and of the biases.
    second_moment : Estimate
        Mean square of the pre-activations.
    expected_second_moment : float or None
        The same by the theory.
    correlation : Estimate
        Mean correlation of the pre-activations of two inputs.
    expected_correlation : float or None
        The same by the theory.
    decay : Estimate or None
        Factor by which correlations, less their limit, have shrunk since the layer before.
    expected_decay : float or None
        The same by the theory.
    gain : Estimate or None
        Gradient power here over that in the next layer; ``None`` for the last layer.
    expected_gain : float or None
        The same by the theory.
    is_hidden : bool
        Whether another layer or an activation follows.
    obstacle : str
        Why the theory does not lead from the layer before to this one, or empty.
    is_branched : bool
        Whether signals enter or leave between the layer before and this one.
    """

    name: str
    kind: str
    num_units: int
    weight_variance: float
    bias_variance: float
    second_moment: Estimate
    expected_second_moment: float | None
    correlation: Estimate
    expected_correlation: float | None
    decay: Estimate | None
    expected_decay: float | None
    gain: Estimate | None
    expected_gain: float | None
    is_hidden: bool
    obstacle: str = ""
    is_branched: bool = False

    def comparisons(self) -> dict[str, tuple[Estimate, float]]:
        """Return each measured number that has an expected one, with it, by its name."""
        both = {
            "second moment": (self.second_moment, self.expected_second_moment),
            "correlation": (self.correlation, self.expected_correlation),
            "gradient gain": (self.gain, self.expected_gain),
        }
        return {
            name: (measured, expected)
            for name, (measured, expected) in both.items()
            if measured is not None and expected is not None
        }


@dataclass(frozen=True)
class CorrelationDecay:
    """How fast correlations of inputs approach their limit, over a range of layers.

    Parameters
    ----------
    factor : Estimate
        Factor per layer.
    expected_factor : float or None
        The same by the theory.
    first_layer, last_layer : int
        Range of layers, both ends counted from 0.
    is_exponential : bool
        Whether correlations are small in that range, so that the factor is that of any depth.
    """

    factor: Estimate
    expected_factor: float | None
    first_layer: int
    last_layer: int
    is_exponential: bool

    @property
    def depth_scale(self) -> float:
        """Layers in which correlations shrink by a factor e."""
        return _depth_scale(self.factor.mean)

    @property
    def expected_depth_scale(self) -> float | None:
        """The same by the theory."""
        return None if self.expected_factor is None else _depth_scale(self.expected_factor)


@dataclass(frozen=True)
class PropagationReport:
    """What a model does to signals and gradients, held against the theory.

    Parameters
    ----------
    layers : tuple of LayerPropagation
        One entry for each call of a layer with weights, in their order.
    decay : CorrelationDecay or None
        Decay of correlations; ``None`` for fewer than two layers.
    doubt : str
        What the theory assumes of a model whose forward could not be traced, or empty.
    """

    layers: tuple[LayerPropagation, ...]
    decay: CorrelationDecay | None
    doubt: str = ""

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Which layers the theory says nothing of, and why."""
        lines = [self.doubt] if self.doubt else []
        for number, (before, layer) in enumerate(itertools.pairwise(self.layers), start=1):
            if layer.obstacle:
                lines.append(f"No theory for {_place(number, layer)}: {layer.obstacle}.")
            elif layer.is_branched:
                place = _place(number - 1, before)
                lines.append(f"No theory for the gain of {place}: a branch starts behind it.")
        return tuple(lines)

    @property
    def findings(self) -> tuple[str, ...]:
        """Where to look: what vanishes, is out of balance or off the theory, worst first."""
        layers: list[LayerPropagation | None] = [None, *self.layers, None]
        ranked = [
            entry
            for number, layer in enumerate(self.layers)
            for entry in _findings(number, layer, layers[number], layers[number + 2])
        ]
        return tuple(text for _, text in sorted(ranked, key=lambda entry: -entry[0]))

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain lists and dictionaries, estimates as mean and error."""
        lines = {"obstacles": list(self.obstacles), "findings": list(self.findings)}
        return {**asdict(self), **lines}

    def __str__(self) -> str:
        """Draw a table of the layers, with the findings below."""
        title = f"{'':>5} {'layer':<18} {'weights':>8}"
        title += f" {'second moment':>17} {'correlation':>17} {'gradient gain':>17}"
        lines = [title, *(_row(k, layer) for k, layer in enumerate(self.layers))]
        lines.append(
            "In parentheses: the theory, from the layer before and the weights as they are."
        )
        if self.decay is not None:
            lines.append(_decay_line(self.decay))
        lines += _shown(self.obstacles, "layers without theory")
        nothing = "Nothing else to remark." if self.obstacles else "Nothing to remark."
        lines += _shown(self.findings, "findings") or [nothing]
        return "\n".join(lines)


def propagation_report(
    model: nn.Module, batch: Tensor, *, generator: torch.Generator | None = None
) -> PropagationReport:
    r"""Measure how signals and gradients travel through a model, and compare with the theory.

    One forward pass of the batch and one backward pass of a random gradient at the output, in the
    mode of training or evaluation that the model is in. The model, its buffers, its gradients and
    the global random state are afterwards as they were.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that takes one tensor and returns one. Every call of a ``Linear``, ``Conv1d``,
        ``Conv2d`` or ``Conv3d`` is a layer; modules may be called several times.
    batch : Tensor
        At least two inputs along the first axis, of a floating-point type. Correlations are
        measured between the first 32.
    generator : torch.Generator, optional
        Source of the random gradient; by default the global one, which is restored.

    Returns
    -------
    PropagationReport
        Numbers for each layer, the decay of correlations, and where to look. ``print`` shows a
        table.

    Raises
    ------
    ValueError
        If the model has no such layer, is lazy, returns no tensor or drops the first axis, or if
        the batch is not floating-point, has fewer than two inputs, or has NaN or infinities.

    See Also
    --------
    qtheory.nn.initialize_ : Sets a model as the theory advises.

    Notes
    -----
    Book: sec-ch07-torch.

    With pre-activations :math:`u^l` and gradients :math:`\delta^l` by them, a layer has the second
    moment :math:`\overline{(u^l)^2}`, for two inputs the correlation :math:`c^l = u_1 \cdot u_2 /
    (|u_1| |u_2|)`, and the gain :math:`|\delta^l|^2 / |\delta^{l+1}|^2`, which does not depend on
    widths. The theory takes one step from the numbers measured in the layer before: variance map,
    correlation map, and :math:`\sigma_w^2 s^2 P(|u| < \tau)` for the gain. It applies where exactly
    one `QuantizedActivation`, ``Tanh``, ``ReLU``, ``LeakyReLU`` or symmetric ``Hardtanh`` module
    lies between two layers, and no branch starts (for the gain) or ends there; elsewhere numbers
    are only measured, and a line says why. What lies between is read off the forward, traced with
    symbols; where it cannot be traced, its modules are taken as a chain, and the report says so.

    The decay per layer is the slope of the correlations over those of the layer before, through
    their limit; where no theory gives the limit, through the mean of all pairs. It is unbiased also
    where correlations have sunk to the noise of a finite width. Layers are pooled in which the root
    mean square correlation is below one half, or else the second half of all layers.

    A finding is a layer without signal, a gradient gain between hidden layers of a chain that
    differs from one by more than 10 %, or a number that differs from the theory by more than 5 % in
    a layer of at least 30 units, both by more than five standard errors. In layers of at least
    eight units it is also a second moment or a gain that differs by more than a factor ten from the
    theory or, where that does not apply, from the layer before.

    Assumptions: for the theory, independent weights of mean zero.

    Accuracy: standard errors count units as independent draws, twice; they do not see that all
    inputs pass the same weights more than once.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from qtheory.nn import QuantizedActivation, initialize_, propagation_report
    >>> model = nn.Sequential(
    ...     nn.Linear(64, 512), QuantizedActivation(4), nn.Linear(512, 512), QuantizedActivation(4),
    ...     nn.Linear(512, 10),
    ... )
    >>> _ = initialize_(model, 4, generator=torch.Generator().manual_seed(0))
    >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    >>> report = propagation_report(model, batch, generator=torch.Generator().manual_seed(2))
    >>> len(report.layers), report.findings
    (3, ())
    """
    check_instance("model", model, nn.Module)
    check_instance("batch", batch, Tensor)
    if not batch.is_floating_point() or batch.ndim < 2 or len(batch) < 2:
        shape = f"{batch.dtype} of shape {tuple(batch.shape)}"
        raise fail("batch", "a floating-point tensor of at least two inputs", shape)
    if count := int((~batch.isfinite()).sum()):
        raise fail("batch", "free of NaN and infinities", f"{count} of {batch.numel()} numbers")
    if generator is not None:
        check_instance("generator", generator, torch.Generator)
    refuse_parameters(model)
    calls = record(model, batch, generator)
    positions = [k for k, call in enumerate(calls) if call.output is not None]
    if not positions:
        raise fail("model", "a network that calls a Linear or convolution", type(model).__name__)
    links, doubt = find_links(model, batch, calls)
    steps = list(_measured_steps([calls[k] for k in positions], links))
    ends_activated = any(call.kind is Kind.ACTIVATION for call in calls[positions[-1] + 1 :])
    moves = [_Move(), *itertools.starmap(_move, itertools.pairwise(steps))]
    layers = tuple(_layers(steps, moves, ends_activated))
    return PropagationReport(layers, _pooled_decay(moves), doubt)


@dataclass(frozen=True, eq=False)
class _Step:
    """A layer with the theory of the step that leads to it, if there is one."""

    call: Call
    link: Link
    signals: LayerSignals
    weight_variance: float
    bias_variance: float
    theory: StepTheory | None


def _measured_steps(calls: Sequence[Call], links: Sequence[Link]) -> Iterator[_Step]:
    """Yield the layers with their signals."""
    for call, link in zip(calls, links, strict=True):
        weights, biases = _measured_variances(call.module)
        theory = None
        if link.activation is not None and math.isfinite(weights) and weights > 0:
            theory = step_theory(link.activation, weight_variance=weights, bias_variance=biases)
        yield _Step(call, link, layer_signals(call), weights, biases, theory)


def _measured_variances(module: nn.Module) -> tuple[float, float]:
    """Mean square of the weights times the fan-in, and of the biases."""
    layer = cast(nn.Linear, module)  # or a convolution, which has the same two
    weight, bias = layer.weight, cast(Tensor | None, layer.bias)
    with torch.no_grad():
        square = weight.detach().double().square().mean().item() * math.prod(weight.shape[1:])
        return square, 0.0 if bias is None else bias.detach().double().square().mean().item()


def _layers(
    steps: Sequence[_Step], moves: Sequence["_Move"], ends_activated: bool
) -> Iterator[LayerPropagation]:
    """Yield the entries of the report."""
    for step, move, after in zip(steps, moves, [*steps[1:], None], strict=True):
        yield LayerPropagation(
            name=step.call.name,
            kind=type(step.call.module).__name__,
            num_units=step.signals.directions.shape[1],
            weight_variance=step.weight_variance,
            bias_variance=step.bias_variance,
            second_moment=step.signals.second_moment,
            expected_second_moment=move.second_moment,
            correlation=step.signals.mean_correlation(),
            expected_correlation=None if move.pairs is None else float(move.pairs.mean()),
            decay=move.decay,
            expected_decay=move.expected_decay,
            gain=_gain(step, after),
            expected_gain=_expected_gain(step, after),
            is_hidden=after is not None or ends_activated,
            obstacle=step.link.obstacle,
            is_branched=step.link.is_branched,
        )


def _is_alive(step: _Step) -> bool:
    """Whether all pre-activations are finite and no input has become zero."""
    variances = step.signals.variances
    return bool(np.isfinite(variances).all() and (variances > 0).all())


def _gain(step: _Step, after: _Step | None) -> Estimate | None:
    """Gradient power of a layer over that of the next."""
    if after is None or step.signals.power is None or after.signals.power is None:
        return None
    power, unit = step.signals.power, after.signals.power.mean
    if unit == 0:
        return None
    return Estimate(power.mean / unit, power.std_error / unit, power.num_samples)


def _expected_gain(step: _Step, after: _Step | None) -> float | None:
    """Gain of gradients by the theory."""
    if after is None or after.theory is None or after.signals.powers is None:
        return None
    if after.link.is_branched:
        return None
    powers = after.signals.powers
    if not (_is_alive(step) and np.isfinite(powers).all() and powers.sum() > 0):
        return None
    return after.theory.gain(step.signals.variances, powers)


@dataclass(frozen=True, eq=False)
class _Move:
    """What happens to signals from one layer to the next, by the theory and as measured."""

    second_moment: float | None = None
    pairs: FloatArray | None = None
    decay: Estimate | None = None
    expected_decay: float | None = None
    power: float = 0.0
    root_mean_square: float = math.inf


def _move(before: _Step, step: _Step) -> _Move:
    """Step of the theory from the layer before, and the decay of correlations."""
    second_moment = pairs = None
    center, limit = float(before.signals.pairs.mean()), 0.0
    if not _is_alive(before):
        return _Move()
    if step.theory is not None:
        second_moment = step.theory.second_moment(before.signals.variances)
        if second_moment > 0:
            variance = before.signals.second_moment.mean
            pairs = step.theory.correlations(before.signals.pairs, variance)
            center = limit = step.theory.limit(variance)
    matrix = before.signals.correlations - center
    np.fill_diagonal(matrix, 0.0)
    power = float((matrix**2).sum())
    if power == 0 or not _is_alive(step):
        return _Move(second_moment, pairs)
    total = step.signals.weighted_sum(matrix / power)
    mean = total.mean - limit * float(matrix.sum()) / power
    expected = None
    if pairs is not None:
        expected = 2 * float((before.signals.pairs - center) @ (pairs - limit)) / power
    return _Move(
        second_moment,
        pairs,
        Estimate(mean, total.std_error, total.num_samples),
        expected,
        power,
        math.sqrt(power / (2 * before.signals.pairs.size)),
    )


def _pooled_decay(moves: Sequence[_Move]) -> CorrelationDecay | None:
    """Decay over the layers of small correlations, or else over the second half."""
    known = [number for number, move in enumerate(moves) if move.decay is not None]
    small = [number for number in known if moves[number].root_mean_square < LINEAR_CORRELATION]
    chosen = small or known[len(known) // 2 :]
    decays = [move.decay for move in (moves[k] for k in chosen) if move.decay is not None]
    if not decays:
        return None
    powers = np.array([moves[number].power for number in chosen])
    shares = powers / powers.sum()
    errors = shares * [decay.std_error for decay in decays]
    theory = [moves[k].expected_decay for k in chosen]
    known_theory = [value for value in theory if value is not None]
    return CorrelationDecay(
        factor=Estimate(
            float(shares @ [decay.mean for decay in decays]),
            float(np.sqrt((errors**2).sum())),
            min(decay.num_samples for decay in decays),
        ),
        expected_factor=float(shares @ known_theory) if len(known_theory) == len(theory) else None,
        first_layer=chosen[0],
        last_layer=chosen[-1],
        is_exponential=bool(small),
    )


def _depth_scale(factor: float) -> float:
    """Layers for a factor e: zero if nothing is left, infinite if nothing is lost."""
    if factor >= 1:
        return math.inf
    return -1 / math.log(factor) if factor > 0 else 0.0


def _place(number: int, layer: LayerPropagation) -> str:
    """Return number and name of a layer."""
    return f"layer {number} ({layer.name or 'the model'})"


Ranked = tuple[float, str]


def _findings(
    number: int,
    layer: LayerPropagation,
    before: LayerPropagation | None,
    after: LayerPropagation | None,
) -> Iterator[Ranked]:
    """Yield what is remarkable of a layer between its neighbors, with a rank."""
    place = _place(number, layer)
    second = layer.second_moment.mean
    if not (math.isfinite(second) and second > 0):
        yield math.inf, f"{place}: the second moment of the pre-activations is {second:g}"
        return
    if layer.gain is not None and not math.isfinite(layer.gain.mean):
        yield math.inf, f"{place}: the gradients are too large for their type, or not numbers"
    else:
        leads_on = after is not None and after.is_hidden and not after.is_branched
        yield from _balance(place, layer) if leads_on else _gain_jump(place, layer)
    if before is not None:
        yield from _signal_jump(place, layer, before)
    for name, (measured, expected) in layer.comparisons().items():
        z = measured.z_score(expected) if measured.num_samples >= MIN_UNITS else 0.0
        if abs(measured.mean - expected) > MISFIT * abs(expected) and abs(z) > NUM_SIGMAS:
            text = f"{place}: {name} {measured.mean:.3g}, theory {expected:.3g} (z = {z:.1f})"
            yield min(abs(z), 1e6), text


def _balance(place: str, layer: LayerPropagation) -> Iterator[Ranked]:
    """Yield a gain between hidden layers of a chain that is out of balance."""
    if layer.gain is None:
        return
    gain = layer.gain.mean
    size = abs(math.log(gain)) if gain > 0 else math.inf
    if size > math.log1p(IMBALANCE) and abs(layer.gain.z_score(1.0)) > NUM_SIGMAS:
        text = f"{place}: gradient gain {gain:.2f}, expected 1.00 in a balanced model"
        if layer.expected_gain is not None:
            text += f", {layer.expected_gain:.2f} with these weights and slopes"
        yield 1e6 + min(size, 1e6), text


def _gain_jump(place: str, layer: LayerPropagation) -> Iterator[Ranked]:
    """Yield a gain far from the theory or, without it, from one, where balance is no aim."""
    if layer.gain is None:
        return
    text = f"{place}: gradient gain"
    if layer.expected_gain:
        yield from _jump(text, layer.gain, layer.expected_gain, "the theory")
    else:
        yield from _jump(text, layer.gain, 1.0, "that of equal gradients")


def _signal_jump(place: str, layer: LayerPropagation, before: LayerPropagation) -> Iterator[Ranked]:
    """Yield a second moment far from the theory or, without it, from the layer before."""
    text = f"{place}: second moment"
    if not layer.expected_second_moment:
        yield from _jump(text, layer.second_moment, before.second_moment.mean, "the layer before")
    elif layer.second_moment.num_samples < MIN_UNITS:  # with more, any misfit is found
        yield from _jump(text, layer.second_moment, layer.expected_second_moment, "the theory")


def _jump(text: str, measured: Estimate, expected: float, source: str) -> Iterator[Ranked]:
    """Yield what differs by more than a factor ten from what is expected."""
    if measured.num_samples < MIN_JUMP_UNITS or not 0 < expected < math.inf:
        return
    ratio = measured.mean / expected
    size = abs(math.log(ratio)) if ratio > 0 else math.inf
    if size > math.log(JUMP):
        side = "above" if ratio > 1 else "below"
        factor = max(ratio, 1 / ratio) if ratio > 0 else math.inf
        text += f" {measured.mean:.3g}, a factor {factor:.3g} {side} {source} ({expected:.3g})"
        yield 1e6 + min(size, 1e6), text


def _shown(lines: Sequence[str], what: str) -> list[str]:
    """Return the first lines, and how many are left out."""
    count = len(lines) - MAX_SHOWN
    return [*lines[:MAX_SHOWN], *([f"... and {count} more {what}."] if count > 0 else [])]


def _row(number: int, layer: LayerPropagation) -> str:
    """Line of the table for a layer."""
    cells = [
        _cell(layer.second_moment, layer.expected_second_moment),
        _cell(layer.correlation, layer.expected_correlation),
        _cell(layer.gain, layer.expected_gain),
    ]
    name = layer.name or "(model)"
    return f"{number:>5} {name:<18} {layer.weight_variance:>8.4g} {' '.join(cells)}"


def _cell(measured: Estimate | None, expected: float | None) -> str:
    """Measured number with the expected one in parentheses."""
    text = "" if measured is None else f"{measured.mean:.4g}"
    return f"{text:>8} {'' if expected is None else f'({expected:.4g})':<9}"


def _decay_line(decay: CorrelationDecay) -> str:
    """Line of the table for the decay of correlations."""
    text = f"Correlations: factor {decay.factor.mean:.4g} +- {decay.factor.std_error:.1g} per layer"
    if decay.expected_factor is not None:
        text += f" (theory {decay.expected_factor:.4g})"
    text += f" in layers {decay.first_layer} to {decay.last_layer}"
    scale, limit = decay.depth_scale, decay.expected_depth_scale
    text += ", no decay" if math.isinf(scale) else f", depth scale {scale:.4g}"
    if limit is not None:
        text += " (theory: no decay)" if math.isinf(limit) else f" (theory {limit:.4g})"
    return text + ("." if decay.is_exponential else "; correlations there are large.")
