"""Part 1: levels, rounding, scalar quantizers, number formats, their distortion and design."""

from qtheory.quantizers.rounding import RoundMode, round_to_integer

__all__ = ["RoundMode", "round_to_integer"]
