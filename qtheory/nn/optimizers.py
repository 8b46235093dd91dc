"""Optimizers whose weights are quantized: any optimizer of PyTorch, wrapped."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from qtheory._checks import check_choice, check_instance, check_positive, fail
from qtheory.nn._tensor_grids import (
    TensorGrid,
    WeightQuantizer,
    check_quantizer,
    describe,
    tensor_grid,
)

__all__ = ["BinaryConnect", "DeterministicRounding", "StochasticRounding", "UpdateCounts"]

Group = dict[str, Any]
LOW_PRECISION = (torch.bfloat16, torch.float16)
BLOCK_SIZE = 2**15
"""Elements rounded at a time, so that all temporaries stay in the cache."""
TAKEN_TYPES = (*LOW_PRECISION, torch.float32, torch.float64)


@dataclass(frozen=True)
class UpdateCounts:
    """How often the quantized weights of one parameter have changed.

    Parameters
    ----------
    num_weights : int
        Number of weights.
    num_updates : int
        Updates with a gradient so far.
    num_changes : int
        Changes of a quantized weight, added up over weights and updates.
    num_reversals : int
        Changes in the direction opposite to the last change of the same weight.
    num_moved : int
        Weights that now differ from the first quantized ones.
    """

    num_weights: int
    num_updates: int
    num_changes: int
    num_reversals: int
    num_moved: int

    @property
    def moved_fraction(self) -> float:
        """Fraction of the weights that now differ from the first quantized ones."""
        return self.num_moved / max(self.num_weights, 1)

    @property
    def change_rate(self) -> float:
        """Changes per weight and update."""
        return self.num_changes / max(self.num_weights * self.num_updates, 1)

    @property
    def reversal_rate(self) -> float:
        """Reversals of direction per weight and update."""
        return self.num_reversals / max(self.num_weights * self.num_updates, 1)


class _RoundedOptimizer(Optimizer, ABC):
    """What the wrappers share: one step of the wrapped optimizer in full precision, then rounding.

    Parameters
    ----------
    base_optimizer : torch.optim.Optimizer
        Optimizer to wrap.
    quantizer : quantizer or number format or None
        For groups without a ``quantizer`` of their own.
    generator : torch.Generator or None
        Source of randomness, ``None`` where rounding is deterministic.
    """

    base_optimizer: Optimizer
    generator: torch.Generator | None

    def __init__(
        self,
        base_optimizer: Optimizer,
        quantizer: WeightQuantizer | None,
        generator: torch.Generator | None,
    ) -> None:
        _check_base(base_optimizer)
        self.base_optimizer = base_optimizer
        self.generator = generator
        self._quantizer = quantizer
        self._grids: dict[Tensor, tuple[object, TensorGrid]] = {}
        groups = base_optimizer.param_groups
        for group in groups:
            self._check_group(group)
        # Takes the groups from the wrapped optimizer and hands them back one by one.
        super().__init__(groups, base_optimizer.defaults)

    @property
    def param_groups(self) -> list[Group]:
        """Groups of the wrapped optimizer, the same objects."""
        return self.base_optimizer.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[Group]) -> None:
        self.base_optimizer.param_groups = groups

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to the wrapped optimizer and quantize its weights.

        Parameters
        ----------
        param_group : dict
            Parameters and options; ``quantizer`` (``None`` for no rounding) goes before that of the
            constructor.
        """
        given = param_group["params"]
        if not isinstance(given, Tensor | set):  # an iterator can be read once only
            param_group["params"] = list(given)
        self._check_group(param_group)
        self.base_optimizer.add_param_group(param_group)
        param_group.setdefault("quantizer", self._quantizer)
        for parameter in param_group["params"]:
            if param_group["quantizer"] is not None and parameter.requires_grad:
                self._start(parameter, param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update once: a step of the wrapped optimizer in full precision, then one rounding.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients; called once, at the quantized weights.

        Returns
        -------
        object
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        updated = self._updated()
        parameters = [parameter for parameter, _ in updated]
        with torch.no_grad():
            working = [
                self._working(*item) if item[0] in self.state else self._start(*item)
                for item in updated
            ]
        with _in_place_of(parameters, working):
            self.base_optimizer.step()
        with torch.no_grad():
            for (parameter, group), values in zip(updated, working, strict=True):
                self._finish(parameter, group, values)
        return loss

    def counts(self) -> list[UpdateCounts]:
        """Count changes and oscillations, for each parameter that has been quantized.

        Returns
        -------
        list of UpdateCounts
            In the order of the parameters in the groups.
        """
        return [
            UpdateCounts(
                parameter.numel(),
                state["num_updates"],
                int(state["num_changes"]),
                int(state["num_reversals"]),
                int((parameter.detach() != state["first"]).sum()),
            )
            for parameter, state in self._quantized()
        ]

    def state_dict(self) -> dict[str, Any]:
        """State of this optimizer, of the wrapped one and of the generator, in plain objects.

        Returns
        -------
        dict
            What ``load_state_dict`` takes, and ``torch.save`` with ``torch.load``.
        """
        packed = super().state_dict()
        base = self.base_optimizer.state_dict()
        for group in (*packed["param_groups"], *base["param_groups"]):
            group["quantizer"] = describe(group["quantizer"])
        generator = None if self.generator is None else self.generator.get_state()
        return {**packed, "base": base, "generator": generator, "rule": self._rule}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the state was saved, bit for bit, once the model's state is loaded too.

        Parameters
        ----------
        state_dict : dict
            From ``state_dict`` of an optimizer of the same kind, with the same quantizers.

        Raises
        ------
        ValueError
            If rule, groups or quantizers are others.
        """
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = pre_hook(self, state_dict) or state_dict
        self._check_state(state_dict)
        self._load_base(state_dict["base"])
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.state.clear()
        for index, state in state_dict["state"].items():
            self.state[parameters[index]] = {
                key: _copied(value, parameters[index].device) for key, value in state.items()
            }
        if self.generator is not None:
            self.generator.set_state(state_dict["generator"].cpu())
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    @property
    def _rule(self) -> str:
        """Name of the rule in a state that is saved."""
        return type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        names = ("defaults", "state", "base_optimizer", "generator", "_quantizer")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._grids = {}
        super().__setstate__(state)

    @abstractmethod
    def _working(self, parameter: Tensor, group: Group) -> Tensor:
        """Tensor of at least float32 that the wrapped optimizer updates in place."""

    @abstractmethod
    def _round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        """Quantized weights of updated values."""

    def _first_round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        """Quantized weights to start from: the nearest ones."""
        return grid.nearest(values)

    def _start(self, parameter: Tensor, group: Group) -> Tensor:
        """Quantize a parameter for the first time and return what it was."""
        values = _widened(parameter)
        with torch.no_grad():
            parameter.copy_(self._first_round(self._grid(parameter, group), values))
        base_state = self.base_optimizer.state.get(parameter, {})
        for key, value in base_state.items():  # of steps that were taken before it was wrapped
            if isinstance(value, Tensor) and value.dtype in LOW_PRECISION:
                base_state[key] = value.to(values.dtype)
        weights = parameter.detach()
        zero = torch.zeros((), dtype=torch.int64, device=weights.device)
        self.state[parameter] = {
            "first": weights.clone(),
            "direction": torch.zeros_like(weights, dtype=torch.int8),
            "num_updates": 0,
            "num_changes": zero,
            "num_reversals": zero.clone(),
        }
        return values

    def _finish(self, parameter: Tensor, group: Group, values: Tensor) -> None:
        """Round updated values, once, and count what has changed."""
        grid, state = self._grid(parameter, group), self.state[parameter]
        state["num_updates"] += 1
        tensors = parameter.detach(), values, state["direction"]
        for weights, updated, direction in _blocks(tensors, grid):
            rounded = self._round(grid, updated)
            # Of -1, 0 and 1, whose sums and squares say what comparisons would, in less time.
            change = torch.sign(rounded - weights).to(torch.int8)
            is_change = change * change
            turn = change * direction
            state["num_changes"] += is_change.sum()
            state["num_reversals"] += (torch.count_nonzero(turn) - turn.sum()) // 2
            direction.sub_(direction * is_change).add_(change)
            weights.copy_(rounded)

    def _updated(self) -> list[tuple[Tensor, Group]]:
        """Parameters that are to be rounded after this step, with their groups."""
        updated = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.layout != torch.strided and group["quantizer"] is not None:
                    raise fail(
                        "parameters",
                        "of dense gradients, since every weight is rounded at every update",
                        parameter.grad.layout,
                    )
                if group["quantizer"] is not None:
                    self._check_place(parameter)
                    updated.append((parameter, group))
        return updated

    def _check_place(self, parameter: Tensor) -> None:
        """Refuse a parameter that has another type or device than at the start."""
        first = self.state[parameter]["first"] if parameter in self.state else parameter
        if (first.dtype, first.device) != (parameter.dtype, parameter.device):
            raise RuntimeError(
                f"Weights were in {first.dtype} on {first.device} when their optimizer was made, "
                f"now they are in {parameter.dtype} on {parameter.device}: convert the model first."
            )

    def _quantized(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Parameters that have been rounded, in order, with their states."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in self.state:
                    yield parameter, self.state[parameter]

    def _grid(self, parameter: Tensor, group: Group) -> TensorGrid:
        """Levels of a parameter, kept until its quantizer or device changes."""
        quantizer = group["quantizer"]
        known = self._grids.get(parameter)
        if known is None or known[0] is not quantizer:
            check_quantizer("quantizer", quantizer, random=self.generator is not None)
            known = quantizer, tensor_grid(quantizer, parameter)
            self._grids[parameter] = known
        return known[1]

    def _check_group(self, group: Group) -> None:
        """Refuse parameters and quantizers that do not fit before anything is changed."""
        quantizer = group.get("quantizer", self._quantizer)
        check_quantizer("quantizer", quantizer, random=self.generator is not None)
        if quantizer is None:
            return
        given = group["params"]
        items = [given] if isinstance(given, Tensor) else list(given)
        parameters = [item[1] if isinstance(item, tuple) else item for item in items]
        if len(set(parameters)) < len(parameters):
            raise fail("parameters", "listed once each", len(parameters))
        for parameter in parameters:
            if parameter.dtype not in TAKEN_TYPES:
                raise fail("parameters", "of a real floating-point type", parameter.dtype)
            if self.generator is not None and self.generator.device.type != parameter.device.type:
                device = f"on the device of the parameters, {parameter.device}"
                raise fail("generator", device, self.generator.device)
            tensor_grid(quantizer, parameter)

    def _load_base(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the wrapped optimizer, in the types in which it takes its steps."""
        groups = self.param_groups
        rounded = [p for group in groups if group["quantizer"] is not None for p in group["params"]]
        with _in_place_of(rounded, [_widened(p) for p in rounded]):
            self.base_optimizer.load_state_dict(state_dict)
        for new, old in zip(self.param_groups, groups, strict=True):
            new["quantizer"] = old["quantizer"]

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        """Refuse the state of another rule or of other quantizers."""
        if state_dict.get("rule") != self._rule:
            raise fail("state_dict", f"one of {self._rule}", state_dict.get("rule"))
        ours = [describe(group["quantizer"]) for group in self.param_groups]
        theirs = [group["quantizer"] for group in state_dict["param_groups"]]
        if ours != theirs:
            raise fail("state_dict", f"one with the quantizers {ours}", theirs)


class StochasticRounding(_RoundedOptimizer):
    r"""Weights that are always quantized: after each update they are rounded at random.

    The wrapped optimizer makes its whole update in floating point, weight decay and momentum
    included, and the result is rounded once, up or down so that its mean is kept. No copy of the
    weights stays behind.

    Parameters
    ----------
    base_optimizer : torch.optim.Optimizer
        Optimizer to wrap, with its groups and options. The wrapper takes its place: in the training
        loop, for schedulers, gradient scalers and ``zero_grad``.
    quantizer : UniformQuantizer, ScalarQuantizer, AffineQuantizer, number format or None
        Levels of the weights. The entry ``quantizer`` of a parameter group goes before it; ``None``
        leaves a group in floating point. Its own round mode only matters for the start.
    generator : torch.Generator
        Source of randomness, on the device of the parameters. A state that is loaded sets it.

    Raises
    ------
    ValueError
        If the wrapped optimizer, a quantizer or a parameter is of a kind that cannot be rounded, if
        the type of a parameter cannot tell the levels apart, or later if a gradient is sparse.

    See Also
    --------
    qtheory.training.StochasticRounding : The same rule for arrays.

    Notes
    -----
    Book: ch08-rules.

    .. math:: w \leftarrow Q_s\bigl(w + u(w, g)\bigr), \qquad
              \mathbb E\, Q_s(x) = x \text{ inside the range of the levels}

    where :math:`u` is the update of the wrapped optimizer. From a level, with an update of at most
    one step :math:`\Delta`, a weight moves by a step with probability :math:`|u|/\Delta`.

    At construction, weights that require gradients go to their nearest levels. A weight without a
    gradient is neither updated nor rounded again, nor counted. `UpdateCounts` says how often
    weights changed, and how often they turned back.

    A step needs memory for a copy of the weights in float32 at least, until it ends.

    Accuracy: levels are those that the type of the parameter holds, and probabilities are exact to
    2**-53 for the updated weight, which float32 holds to 24 bits: an update below 6e-8 of a weight
    of size one is lost before the rounding. Parameters in bfloat16 and float16 are updated in
    float32, as are the states of the wrapped optimizer, and rounded once to levels of their type;
    with the quantizer ``BFLOAT16`` that is training in bfloat16.

    Limits: with steps much smaller than the update it is the wrapped optimizer. Weights that are
    loaded into the model later are taken as they are, on the grid or off it, until the next step
    rounds them.

    References
    ----------
    Cf. [Li2017]_.

    Examples
    --------
    An update by a quarter of the step moves one weight in four:

    >>> import torch
    >>> from qtheory.nn import StochasticRounding
    >>> from qtheory.quantizers import infinite_grid
    >>> weights = torch.nn.Parameter(torch.zeros(10_000))
    >>> generator = torch.Generator().manual_seed(0)
    >>> base = torch.optim.SGD([weights], lr=0.25)
    >>> optimizer = StochasticRounding(base, infinite_grid(1.0), generator=generator)
    >>> weights.sum().backward()
    >>> optimizer.step()
    >>> sorted(set(weights.tolist()))
    [-1.0, 0.0]
    >>> round(optimizer.counts()[0].change_rate, 2)
    0.25
    """

    generator: torch.Generator

    def __init__(
        self,
        base_optimizer: Optimizer,
        quantizer: WeightQuantizer | None,
        *,
        generator: torch.Generator,
    ) -> None:
        check_instance("generator", generator, torch.Generator)
        super().__init__(base_optimizer, quantizer, generator)

    def _working(self, parameter: Tensor, group: Group) -> Tensor:
        return _widened(parameter)

    def _round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        return grid.stochastic(values, self.generator)


class DeterministicRounding(_RoundedOptimizer):
    r"""Weights that are always quantized: after each update they go to the nearest level.

    Parameters
    ----------
    base_optimizer : torch.optim.Optimizer
        Optimizer to wrap, as for `StochasticRounding`.
    quantizer : UniformQuantizer, ScalarQuantizer, AffineQuantizer, number format or None
        Levels of the weights, and their round mode. The entry ``quantizer`` of a parameter group
        goes before it; ``None`` leaves a group in floating point.

    Raises
    ------
    ValueError
        As for `StochasticRounding`, and if a quantizer rounds at random.

    See Also
    --------
    qtheory.training.DeterministicRounding : The same rule for arrays.

    Notes
    -----
    Book: ch08-rules.

    .. math:: w \leftarrow Q\bigl(w + u(w, g)\bigr)

    Limits: an update of less than half a step is lost, however often it comes: the weight is
    frozen.

    Accuracy: that of `StochasticRounding`; the rounding is bit for bit that of the quantizer.

    Examples
    --------
    >>> import torch
    >>> from qtheory.nn import DeterministicRounding
    >>> from qtheory.quantizers import infinite_grid
    >>> weights = torch.nn.Parameter(torch.zeros(3))
    >>> base = torch.optim.SGD([weights], lr=0.49)
    >>> optimizer = DeterministicRounding(base, infinite_grid(1.0))
    >>> (weights * torch.tensor([1.0, 2.0, -2.0])).sum().backward()
    >>> optimizer.step()
    >>> weights.tolist()
    [-0.0, -1.0, 1.0]
    """

    def __init__(self, base_optimizer: Optimizer, quantizer: WeightQuantizer | None) -> None:
        super().__init__(base_optimizer, quantizer, None)

    def _working(self, parameter: Tensor, group: Group) -> Tensor:
        return _widened(parameter)

    def _round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        return grid.nearest(values)


class BinaryConnect(_RoundedOptimizer):
    r"""Quantized weights in the model, latent weights in the optimizer.

    The gradient at the quantized weights updates latent weights in floating point, and the model
    gets their rounding. Called so for its first levels -1 and 1; here any levels will do.

    Parameters
    ----------
    base_optimizer : torch.optim.Optimizer
        Optimizer to wrap, as for `StochasticRounding`; it updates the latent weights.
    quantizer : UniformQuantizer, ScalarQuantizer, AffineQuantizer, number format or None
        Levels of the weights, and their round mode. The entry ``quantizer`` of a parameter group
        goes before it; ``None`` leaves a group in floating point.
    forward : {"nearest", "stochastic"}
        How latent weights are rounded for the model, once an update. Nearest rounding is that of
        the quantizer.
    clip : float, optional
        Magnitude to which latent weights are clipped after each update. The entry ``clip`` of a
        parameter group goes before it.
    generator : torch.Generator, optional
        Source of randomness of stochastic rounding, on the device of the parameters; needed for
        that and refused otherwise. A state that is loaded sets it.

    Raises
    ------
    ValueError
        As for `StochasticRounding`, and if ``forward``, ``clip`` and ``generator`` do not fit.
    RuntimeError
        In ``step``, if the model does not hold the weights of the last update, as far as PyTorch
        counts their changes.

    See Also
    --------
    qtheory.training.BinaryConnect : The same rule for arrays.

    Notes
    -----
    Book: ch08-rules.

    .. math:: w \leftarrow \operatorname{clip}\bigl(w + u(w, g(Q(w)))\bigr)

    At construction the weights of the model become the latent ones, and the model gets their
    rounding. Weights that are loaded into the model later are refused at the next step, until
    `adopt_weights` or ``load_state_dict`` gives them latent weights. What is saved of the model are
    the quantized weights: that is what is to be deployed.

    Limits: latent weights that are not clipped may drift far from the levels, from where they take
    long to return. Changes through ``parameter.data`` are not seen by PyTorch, so they are not
    refused; the next step overwrites them.

    References
    ----------
    Cf. [Courbariaux2015]_, [Li2017]_.

    Examples
    --------
    Two updates that rounding would lose add up in the latent weights:

    >>> import torch
    >>> from qtheory.nn import BinaryConnect
    >>> from qtheory.quantizers import sign
    >>> weights = torch.nn.Parameter(torch.tensor([0.5, -0.3]))
    >>> optimizer = BinaryConnect(torch.optim.SGD([weights], lr=0.3), sign(), clip=1.0)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     weights.sum().backward()
    ...     optimizer.step()
    >>> weights.tolist()
    [-1.0, -1.0]
    >>> with optimizer.latent_weights():
    ...     print(weights.detach())
    tensor([-0.1000, -0.9000])
    """

    def __init__(
        self,
        base_optimizer: Optimizer,
        quantizer: WeightQuantizer | None,
        *,
        forward: Literal["nearest", "stochastic"] = "nearest",
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_choice("forward", forward, ("nearest", "stochastic"))
        if forward == "stochastic":
            check_instance("generator", generator, torch.Generator)
        elif generator is not None:
            raise fail("generator", "left out for nearest rounding", generator)
        self.forward = forward
        self._clip = None if clip is None else check_positive("clip", clip)
        self._is_holding = False
        self._versions: dict[Tensor, int] = {}
        super().__init__(base_optimizer, quantizer, generator)

    @property
    def _rule(self) -> str:
        return f"{super()._rule}, {self.forward}"

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to the wrapped optimizer and quantize its weights.

        Parameters
        ----------
        param_group : dict
            Parameters and options; ``quantizer`` (``None`` for no rounding) and ``clip`` (``None``
            for no clipping) go before those of the constructor.
        """
        param_group.setdefault("clip", self._clip)
        super().add_param_group(param_group)

    def latent(self, parameter: Tensor) -> Tensor:
        """Latent weights of a parameter, in float32 at least."""
        latent: Tensor = self.state[parameter]["latent"]
        return latent

    @contextmanager
    def latent_weights(self) -> Iterator[None]:
        """Let the model hold its latent weights for the time of a ``with`` block."""
        with self._holding([state["latent"] for _, state in self._quantized()]):
            yield

    @contextmanager
    def nearest_weights(self) -> Iterator[None]:
        """Let the model hold the nearest levels of its latent weights for a ``with`` block."""
        groups = {p: group for group in self.param_groups for p in group["params"]}
        grids = [self._grid(p, groups[p]) for p, _ in self._quantized()]
        latents = [state["latent"] for _, state in self._quantized()]
        with self._holding([grid.nearest(x) for grid, x in zip(grids, latents, strict=True)]):
            yield

    def adopt_weights(self) -> None:
        """Take what the model holds now as latent weights, round it, and start to count again.

        For weights that were loaded into the model, or changed by hand, after construction.
        """
        groups = {p: group for group in self.param_groups for p in group["params"]}
        for parameter in list(self.state):
            if groups[parameter]["quantizer"] is not None:
                self._start(parameter, groups[parameter])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update latent weights by gradients at the quantized ones, then round for the model.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients; called once, at the quantized weights.

        Returns
        -------
        object
            What the closure returned.

        Raises
        ------
        RuntimeError
            If the model does not hold its quantized weights.
        """
        if self._is_holding:
            raise RuntimeError("`step` must be called outside of a block of other weights.")
        return super().step(closure)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the state was saved, bit for bit, once the model's state is loaded too.

        Parameters
        ----------
        state_dict : dict
            From ``state_dict`` of an optimizer of the same kind, with the same quantizers.

        Raises
        ------
        ValueError
            If rule, groups or quantizers are others.
        """
        super().load_state_dict(state_dict)
        self._versions.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "forward": self.forward, "_clip": self._clip}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._is_holding, self._versions = False, {}
        super().__setstate__(state)

    def _working(self, parameter: Tensor, group: Group) -> Tensor:
        latent = self.latent(parameter)
        if self._versions.get(parameter) != parameter._version:
            if not self._grid(parameter, group).is_rounding(latent, parameter.detach()):
                raise RuntimeError(
                    f"Weights of shape {tuple(parameter.shape)} are not those of the last update: "
                    "call `adopt_weights` to go on from them, or load the state of both."
                )
            self._versions[parameter] = parameter._version
        return latent

    def _round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        if self.generator is None:
            return grid.nearest(values)
        return grid.stochastic(values, self.generator)

    def _first_round(self, grid: TensorGrid, values: Tensor) -> Tensor:
        return self._round(grid, values)

    def _start(self, parameter: Tensor, group: Group) -> Tensor:
        values = super()._start(parameter, group)
        self.state[parameter]["latent"] = values
        self._versions[parameter] = parameter._version
        return values

    def _finish(self, parameter: Tensor, group: Group, values: Tensor) -> None:
        clip = group["clip"]
        if clip is not None:
            values.clamp_(-clip, clip)
        super()._finish(parameter, group, values)
        self._versions[parameter] = parameter._version

    def _check_group(self, group: Group) -> None:
        super()._check_group(group)
        if group.get("clip") is not None:
            check_positive("clip", group["clip"])

    @contextmanager
    def _holding(self, values: list[Tensor]) -> Iterator[None]:
        """Copy values into the quantized parameters, and the weights back at the end."""
        parameters = [parameter for parameter, _ in self._quantized()]
        weights = [parameter.detach().clone() for parameter in parameters]
        self._is_holding = True
        try:
            _copy_all(parameters, values)
            yield
        finally:
            _copy_all(parameters, weights)
            self._is_holding = False
            self._versions.update((parameter, parameter._version) for parameter in parameters)


@contextmanager
def _in_place_of(parameters: list[Tensor], working: list[Tensor]) -> Iterator[None]:
    """Let parameters, with their gradients, be other tensors for the time of a block.

    What was there comes back untouched, so that views of its memory stay valid.
    """
    kept = [(parameter, parameter.data, parameter.grad) for parameter in parameters]
    try:
        for (parameter, data, grad), values in zip(kept, working, strict=True):
            if values.dtype != data.dtype:  # a gradient must have the type of its parameter
                parameter.grad = None
            parameter.data = values
            if parameter.grad is None and grad is not None:
                parameter.grad = grad.to(values.dtype)
        yield
    finally:
        for parameter, data, grad in kept:
            if data.dtype != parameter.dtype:
                parameter.grad = None
            parameter.data = data
            parameter.grad = grad


def _blocks(tensors: tuple[Tensor, ...], grid: TensorGrid) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into parts that stay in the cache; on other devices do not."""
    first = tensors[0]
    is_cut = first.device.type == "cpu" and first.numel() > BLOCK_SIZE and grid.is_same_everywhere
    if not (is_cut and all(tensor.is_contiguous() for tensor in tensors)):
        return iter([tensors])
    flat = (torch.split(tensor.view(-1), BLOCK_SIZE) for tensor in tensors)
    return zip(*flat, strict=True)


@torch.no_grad()
def _copy_all(parameters: list[Tensor], values: list[Tensor]) -> None:
    """Write values into parameters, in the types of these."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _widened(parameter: Tensor) -> Tensor:
    """Copy of a parameter in float32 at least."""
    dtype = torch.float32 if parameter.dtype in LOW_PRECISION else parameter.dtype
    return parameter.detach().to(dtype, copy=True)


def _copied(value: object, device: torch.device) -> object:
    """Copy of a tensor on a device; anything else as it is."""
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else value


def _check_base(base_optimizer: Optimizer) -> None:
    """Refuse what cannot be wrapped, with the reason."""
    check_instance("base_optimizer", base_optimizer, Optimizer)
    if isinstance(base_optimizer, torch.optim.LBFGS):
        reason = "one that evaluates the loss once a step, at the quantized weights"
        raise fail("base_optimizer", reason, type(base_optimizer).__name__)
    if isinstance(base_optimizer, _RoundedOptimizer):
        raise fail("base_optimizer", "one that does not round yet", type(base_optimizer).__name__)
    if any(group.get("differentiable") for group in base_optimizer.param_groups):
        raise fail("base_optimizer", "without `differentiable`, as rounding is not", True)
