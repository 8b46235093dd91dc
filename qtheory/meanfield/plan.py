"""Whether a network of given depth can carry signals through given levels, and how to start it."""

import math
import warnings
from dataclasses import dataclass

from qtheory._checks import check_integer, check_positive
from qtheory.errors import AssumptionWarning
from qtheory.meanfield.asymptotics import levels_for_depth
from qtheory.meanfield.backward import balanced_slope
from qtheory.meanfield.optimum import OptimalSpacing, optimal_spacing
from qtheory.meanfield.staircases import MAX_LEVELS, UniformStaircase

__all__ = ["Plan", "plan"]

WINDOW = 1.0
"""Half width of the straight-through box: the range of the levels."""

EASY_MULTIPLE, HARD_MULTIPLE = 4.0, 9.0
"""Depth scales between which published experiments stop training, depending on the steps taken."""

DEAD_ZONE_SPACINGS = (2.5, 8.0)
"""At the first an odd staircase holds more than its variance, at the second next to nothing."""


@dataclass(frozen=True)
class Plan:
    r"""What mean-field theory says of a plain network with uniform activations from -1 to 1.

    Parameters
    ----------
    levels : int
        Number of levels :math:`N` of every activation.
    depth : int
        Wanted number of layers.
    multiple : float
        Depth scales that a trainable network is taken to be deep.
    chi : float
        Slope of the correlation map at the best initialization.
    depth_scale : float
        Layers over which the correlation of two inputs falls by a factor e.
    trainable_depth : float
        ``multiple * depth_scale``, in layers.
    margin : float
        ``trainable_depth / depth``; one or more is feasible.
    signal_left : float
        ``chi**depth``: factor by which a small correlation shrinks from input to output.
    weight_variance : float
        Variance of a weight times the fan-in; the biases are zero.
    variance : float
        Pre-activation variance to start from, which these weights then hold.
    spacing : float
        Threshold step over pre-activation standard deviation.
    threshold_step, level_step : float
        Distance of neighboring thresholds and levels for levels from -1 to 1; equal.
    straight_through_slope : float
        Height of the straight-through derivative that keeps the size of gradients.
    straight_through_window : float
        Half width of the box where that derivative is not zero.
    smallest_variance : float
        Pre-activations weaker than this are rounded to zero layer by layer; zero for even numbers
        of levels.
    levels_needed : int
        Fewest levels that are feasible at this depth and multiple.

    Notes
    -----
    Book: sec-ch06-plan.
    """

    levels: int
    depth: int
    multiple: float
    chi: float
    depth_scale: float
    trainable_depth: float
    margin: float
    signal_left: float
    weight_variance: float
    variance: float
    spacing: float
    threshold_step: float
    level_step: float
    straight_through_slope: float
    straight_through_window: float
    smallest_variance: float
    levels_needed: int

    @property
    def feasible(self) -> bool:
        """Whether the depth is within the trainable depth."""
        return self.margin >= 1

    @property
    def bits_needed(self) -> int:
        """Bits of a code for the levels needed."""
        return (self.levels_needed - 1).bit_length()

    @property
    def is_uncertain(self) -> bool:
        """Whether the answer changes between four and nine depth scales."""
        return EASY_MULTIPLE < self.depth / self.depth_scale <= HARD_MULTIPLE

    def __str__(self) -> str:
        """Report in sentences, one line each."""
        verdict = "feasible" if self.feasible else "not feasible"
        lines = [
            f"{self.depth} layers with {self.levels} levels: {verdict}.",
            f"  depth scale        {self.depth_scale:.4g} layers (chi = {self.chi:.6g})",
            f"  trainable depth    {self.trainable_depth:.4g} layers"
            f" ({self.multiple:g} depth scales), margin {self.margin:.3g}",
            f"  signal left        {self.signal_left:.2g} of a small correlation",
            f"  levels needed      {self.levels_needed} ({self.bits_needed} bits)",
            f"  weight variance    {self.weight_variance:.6g} / fan_in, biases zero",
            f"  pre-activations    start at variance {self.variance:.5g}"
            f" (spacing {self.spacing:.5g} std)",
            f"  levels             -1 to 1 in steps of {self.level_step:.5g},"
            " thresholds at the midpoints",
            f"  backward           slope {self.straight_through_slope:.5g}"
            f" where |u| < {self.straight_through_window:g}",
            f"  certainty          {self._certainty()}",
        ]
        if self.smallest_variance:
            lines.append(
                "  dead zone          pre-activations of variance below"
                f" {self.smallest_variance:.3g} die out"
            )
        return "\n".join(lines)

    def _certainty(self) -> str:
        """Say how far the rule of thumb can be trusted at this depth."""
        scales = self.depth / self.depth_scale
        if self.is_uncertain:
            return f"low: {scales:.2g} depth scales, and training stops between 4 and 9"
        side = "below 4" if scales <= EASY_MULTIPLE else "above 9"
        return f"high for signals: {scales:.2g} depth scales, {side}"


def plan(*, levels: int, depth: int, multiple: float = 6.0) -> Plan:
    """Say whether a quantized network is trainable, and how to initialize it.

    Parameters
    ----------
    levels : int
        Number of levels of every activation, from 2 to 2**64, equally spaced from -1 to 1.
    depth : int
        Number of layers, at least 1.
    multiple : float
        Depth scales that a trainable network is taken to be deep, above zero. Six is a rule of
        thumb; between four and nine the answer depends on data, optimizer and patience.

    Returns
    -------
    Plan
        Feasibility, margin and the initialization; ``print`` it for a report.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Warns
    -----
    AssumptionWarning
        If the number of levels is odd: zero is then a level, and signals that are too weak at the
        input die out, whatever the weights.

    Notes
    -----
    Book: sec-ch06-plan.

    Assumptions: a plain feed-forward network, far wider than deep, with zero-mean weights, zero
    biases, no normalization and no skip connections, at initialization.

    Examples
    --------
    >>> answer = plan(levels=16, depth=100)
    >>> print(answer.feasible, round(answer.margin, 2), answer.levels_needed)
    True 5.17 7
    """
    num_levels = check_integer("levels", levels, minimum=2, maximum=MAX_LEVELS)
    layers = check_integer("depth", depth, minimum=1)
    factor = check_positive("multiple", multiple)
    best = optimal_spacing(num_levels)
    smallest = _smallest_variance(best)
    if smallest > 0:
        warnings.warn(
            f"With {num_levels} levels zero is a level: pre-activations of variance below"
            f" {smallest:.3g} die out. Scale the inputs, or take an even number of levels.",
            AssumptionWarning,
            stacklevel=2,
        )
    return _assemble(best, layers, factor, smallest)


def _assemble(best: OptimalSpacing, depth: int, multiple: float, smallest: float) -> Plan:
    """Collect the numbers."""
    num_levels, chi = int(best.num_levels), best.chi
    step = 2.0 / (num_levels - 1)
    return Plan(
        levels=num_levels,
        depth=depth,
        multiple=multiple,
        chi=chi,
        depth_scale=best.depth_scale,
        trainable_depth=multiple * best.depth_scale,
        margin=multiple * best.depth_scale / depth,
        signal_left=math.exp(-depth / best.depth_scale),
        weight_variance=best.weight_variance,
        variance=best.variance,
        spacing=best.spacing,
        threshold_step=step,
        level_step=step,
        straight_through_slope=balanced_slope(
            best.variance, weight_variance=best.weight_variance, window=WINDOW
        ),
        straight_through_window=WINDOW,
        smallest_variance=smallest,
        levels_needed=levels_for_depth(depth, multiple=multiple),
    )


def _smallest_variance(best: OptimalSpacing) -> float:
    """Return the unstable variance between a dead network and a live one; zero if none.

    There the weights hold the variance as they do at the optimum, but the spacing is so large that
    only the dead zone and a few steps matter: more than a hundred levels act like a hundred.
    """
    num_levels = int(best.num_levels)
    if num_levels % 2 == 0:
        return 0.0

    def excess(spacing: float) -> float:
        moment = UniformStaircase(min(num_levels, 101), spacing).second_moment(1.0)
        return float(best.weight_variance * moment - 1.0)

    from scipy import optimize  # loading it takes as long as the rest of the package

    spacing = optimize.brentq(excess, *DEAD_ZONE_SPACINGS, xtol=1e-300, rtol=1e-14)
    return float((2.0 / ((num_levels - 1) * spacing)) ** 2)
