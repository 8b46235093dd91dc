"""Checks of answers to the exercises of the book; each tells what is wrong and gives a hint."""

from qtheory.check.base import Verdict, compare
from qtheory.check.depth import (
    best_weight_std,
    depth_per_doubling,
    extrapolated_depth,
    levels_for_layers,
    noisy_rounding_limit,
    three_level_spacing,
)
from qtheory.check.formats import (
    crossover_int6_e3m2,
    first_missing_integer_e5m2,
    largest_e3m4,
    mxfp4_scale_and_peak,
    terms_before_overflow_e5m2,
)
from qtheory.check.quantizers import (
    best_clip_for_std,
    bits_for_sqnr,
    coarse_pixel_error,
    entropy_coding_gain,
    failed_assumption,
    one_bit_laplace,
    output_variance,
)
from qtheory.check.rounding import (
    additions_for_one_percent,
    bfloat16_sum_limit,
    dither_cost_db,
    random_bits_needed,
    truncated_sum_limit,
)
from qtheory.check.signals import (
    correlation_after_relu,
    critical_erf_weight_variance,
    critical_leaky_weight_variance,
    failed_wide_assumption,
    gradient_norm_growth,
    layers_until_forgotten,
)
from qtheory.check.staircases import (
    failed_staircase_assumption,
    same_input_twice,
    silent_weight_variance,
    step_function_depth,
    strong_bias_depth,
    ternary_slope,
)
from qtheory.check.training_grid import (
    border_in_depth_scales,
    default_trainable_depth,
    depth_of_a_diagonal_kernel,
    rate_of_equal_learning_time,
    what_limits,
)

__all__ = [
    "Verdict",
    "additions_for_one_percent",
    "best_clip_for_std",
    "best_weight_std",
    "bfloat16_sum_limit",
    "bits_for_sqnr",
    "border_in_depth_scales",
    "coarse_pixel_error",
    "compare",
    "correlation_after_relu",
    "critical_erf_weight_variance",
    "critical_leaky_weight_variance",
    "crossover_int6_e3m2",
    "default_trainable_depth",
    "depth_of_a_diagonal_kernel",
    "depth_per_doubling",
    "dither_cost_db",
    "entropy_coding_gain",
    "extrapolated_depth",
    "failed_assumption",
    "failed_staircase_assumption",
    "failed_wide_assumption",
    "first_missing_integer_e5m2",
    "gradient_norm_growth",
    "largest_e3m4",
    "layers_until_forgotten",
    "levels_for_layers",
    "mxfp4_scale_and_peak",
    "noisy_rounding_limit",
    "one_bit_laplace",
    "output_variance",
    "random_bits_needed",
    "rate_of_equal_learning_time",
    "same_input_twice",
    "silent_weight_variance",
    "step_function_depth",
    "strong_bias_depth",
    "terms_before_overflow_e5m2",
    "ternary_slope",
    "three_level_spacing",
    "truncated_sum_limit",
    "what_limits",
]
