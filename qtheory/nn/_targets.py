"""What the layers of a model are set to, for a staircase or a smooth activation."""

import math
from dataclasses import dataclass

from torch import nn

from qtheory.meanfield import (
    Activation,
    Erf,
    HardTanh,
    LeakyReLU,
    Linear,
    ReLU,
    Tanh,
    critical_point,
)
from qtheory.nn._staircases import (
    StaircaseLike,
    StaircaseSettings,
    listed_staircase,
    settings,
    theory_staircase,
)
from qtheory.nn._structure import Kind, Step
from qtheory.nn.activation import QuantizedActivation

__all__ = ["ActivationLike", "SmoothLike", "Target", "make_target", "smooth_theory"]

SmoothLike = Tanh | Erf | LeakyReLU | HardTanh | Linear
ActivationLike = StaircaseLike | QuantizedActivation | SmoothLike


@dataclass(frozen=True, eq=False)
class Target:
    """An activation with the point at which a network of it is to work.

    Parameters
    ----------
    name : str
        What modules of it are called.
    activation : Activation
        Object of the mean-field theory.
    variance, weight_variance : float
        Pre-activation variance, and the weight variance times fan-in that keeps it.
    settings : StaircaseSettings or None
        What the modules of a quantized activation are set to.
    doubts : tuple of str
        What to warn of.
    """

    name: str
    activation: Activation
    variance: float
    weight_variance: float
    settings: StaircaseSettings | None
    doubts: tuple[str, ...] = ()

    @property
    def second_moment(self) -> float:
        """Mean square of the activation at that point."""
        return float(self.activation.second_moment(self.variance))

    def matches(self, step: Step) -> bool:
        """Tell whether a step applies this activation.

        Parameters
        ----------
        step : Step
            A step of a model.

        Returns
        -------
        bool
            For a smooth activation its parameters must agree too.
        """
        if step.module is None:
            calls = {"Tanh": ("tanh", "tanh_"), "Erf": ("erf",), "ReLU": ("relu", "relu_")}
            return step.kind is Kind.ACTIVATION and step.name in calls.get(self.name, ())
        if self.settings is not None:
            return isinstance(step.module, QuantizedActivation)
        return smooth_theory(step.module) == self.activation


def make_target(activation: ActivationLike, bias_variance: float) -> Target:
    """Working point of an activation for given biases.

    Parameters
    ----------
    activation : staircase or quantizer or smooth activation
        As for `initialize_`.
    bias_variance : float
        Variance of the biases, zero or above.

    Returns
    -------
    Target
        Best scale of a staircase, critical point of a smooth activation.

    Raises
    ------
    ValueError
        If the activation is none of these or cannot have such biases.
    """
    if isinstance(activation, SmoothLike):
        return _smooth_target(activation, bias_variance)
    if isinstance(activation, QuantizedActivation):
        levels, thresholds = activation.listed()
        window, variance = activation.window.item(), activation.variance.item()
        values = settings(
            levels, thresholds, window=window, variance=variance, bias_variance=bias_variance
        )
    else:
        levels, thresholds = listed_staircase("activation", activation)
        values = settings(levels, thresholds, bias_variance=bias_variance)
    theory = theory_staircase(values.levels, values.thresholds)
    return Target("QuantizedActivation", theory, values.variance, values.weight_variance, values)


def smooth_theory(module: nn.Module) -> SmoothLike | None:
    """Object of the mean-field theory for a smooth activation module.

    Parameters
    ----------
    module : torch.nn.Module
        Any module.

    Returns
    -------
    Activation or None
        ``None`` for what the theory has no object for.
    """
    if isinstance(module, nn.Tanh):
        return Tanh()
    if isinstance(module, nn.ReLU):
        return ReLU()
    if isinstance(module, nn.LeakyReLU):
        return LeakyReLU(module.negative_slope)
    if isinstance(module, nn.Hardtanh) and module.min_val == -module.max_val:
        return HardTanh(module.max_val)
    return Linear() if isinstance(module, nn.Identity) else None


def _smooth_target(activation: SmoothLike, bias_variance: float) -> Target:
    """Critical point of a smooth activation."""
    point = critical_point(activation, bias_variance)
    variance, weight_variance = float(point.variance), float(point.weight_variance)
    name = type(activation).__name__
    doubts: tuple[str, ...] = ()
    if variance == 0:
        # Rectifiers keep any variance; others keep none but zero.
        variance = 1.0
        kept = weight_variance * float(activation.second_moment(1.0))
        if not math.isclose(kept, 1.0, rel_tol=1e-9):
            doubts = (
                f"Without biases {name} is critical only at variance zero: signals and gradients "
                "shrink slowly. Give `bias_variance` above zero for a fixed point.",
            )
    return Target(name, activation, variance, weight_variance, None, doubts)
