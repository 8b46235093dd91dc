"""Speed of the mean-field theory against double sums over thresholds, and against the machine.

The double sum is plain NumPy: one array for all pairs of thresholds, made of vectors by
broadcasting. Its scan over 2000 spacings and all numbers of levels from 3 to 1024 would take hours,
so it is timed at a few numbers of levels and a few spacings; the spacings cost the same, and
between the timed numbers of levels the logarithm of the time is a straight line in the logarithm of
the number, with a slope near two where the arrays are large. Below the smallest timed number of
levels its time is taken for all, above the largest there are none.
"""

import math

import numpy as np
from run import Ratio, interleave
from scipy import special

from qtheory.meanfield import UniformStaircase, optimal_spacing, optimal_spacings
from qtheory.meanfield.simulate import RandomNetwork, propagation

LEVELS = np.arange(3, 1025)
NUM_SPACINGS = 2000
TIMED_LEVELS = (3, 16, 64, 256, 512, 1024)
TIMED_SPACINGS = 4
CORRELATIONS = np.linspace(0.0, 0.95, 64)
WIDTH = 4000
NUM_ROUNDS = 15

Seconds = dict[str, float]


def ratios() -> list[Ratio]:
    """Measure the table of optima, slopes at many correlations and a simulated network."""
    return [*table_ratios(), *slope_ratios(), *simulation_ratios()]


def table_ratios() -> list[Ratio]:
    """Measure all optima up to 1024 levels."""
    floats = LEVELS.astype(np.float64)
    scans = {
        str(n): lambda n=n: [double_sum_slope(n, d) for d in np.linspace(0.01, 2, TIMED_SPACINGS)]
        for n in TIMED_LEVELS
    }
    seconds = interleave(
        {
            "table": lambda: optimal_spacings(LEVELS),
            "tails": lambda: special.ndtr(-floats / 1024),
            **scans,
        },
        num_rounds=NUM_ROUNDS,
    )
    name = "optimal spacings of 3 to 1024 levels"
    return [
        Ratio(name, "scan by double sums", scan_seconds(seconds) / seconds["table"], 1000),
        Ratio(name, "one normal tail each", seconds["tails"] / seconds["table"], 0.0005),
    ]


def scan_seconds(seconds: Seconds) -> float:
    """Extrapolate the time of the whole scan from the timed numbers of levels."""
    timed = [seconds[str(n)] / TIMED_SPACINGS for n in TIMED_LEVELS]
    per_spacing = np.exp(np.interp(np.log(LEVELS), np.log(TIMED_LEVELS), np.log(timed)))
    return float(NUM_SPACINGS * per_spacing.sum())


def double_sum_slope(num_levels: int, spacing: float) -> float:
    """Slope of the correlation map at correlation zero, as a ratio of sums over all pairs."""
    t = spacing * (np.arange(1, num_levels) - num_levels / 2)
    below, above = special.ndtr(t), special.ndtr(-t)
    products = np.minimum(below[:, None], below) * np.minimum(above[:, None], above)
    densities = np.exp(-0.5 * (t[:, None] ** 2 + t**2))
    return float(densities.sum() / products.sum()) / (2 * math.pi)


def slope_ratios() -> list[Ratio]:
    """Measure the slope of the cross moment of 1024 levels at many correlations."""
    num_levels, spacing = 1024, optimal_spacing(1024).spacing
    staircase = UniformStaircase(num_levels, spacing)
    exponents = -np.linspace(0.0, 40.0, 2 * num_levels * CORRELATIONS.size)
    seconds = interleave(
        {
            "slopes": lambda: staircase.cross_moment_slope(CORRELATIONS, 1.0),
            "slope": lambda: staircase.cross_moment_slope(0.5, 1.0),
            "double sum": lambda: pair_density_sum(num_levels, spacing, 0.5),
            "exponentials": lambda: np.exp(exponents),
        },
        num_rounds=NUM_ROUNDS,
    )
    per_slope = seconds["slopes"] / CORRELATIONS.size
    return [
        Ratio(
            "a slope of 1024 levels, of 64", "double sum", seconds["double sum"] / per_slope, 500
        ),
        Ratio(
            "a slope of 1024 levels, alone",
            "double sum",
            seconds["double sum"] / seconds["slope"],
            100,
        ),
        Ratio(
            "64 slopes of 1024 levels",
            "their exponentials",
            seconds["exponentials"] / seconds["slopes"],
            0.1,
        ),
    ]


def pair_density_sum(num_levels: int, spacing: float, correlation: float) -> float:
    """Sum of the bivariate normal density over all pairs of thresholds."""
    t = spacing * (np.arange(1, num_levels) - num_levels / 2)
    rest = 1 - correlation**2
    form = t[:, None] ** 2 + t**2 - 2 * correlation * t[:, None] * t
    return float(np.exp(-form / (2 * rest)).sum()) / (2 * math.pi * math.sqrt(rest))


def simulation_ratios() -> list[Ratio]:
    """Measure a layer of a wide network against drawing its weights."""
    network = RandomNetwork(np.sign, WIDTH, 1, 1.0)
    block = np.empty((64, WIDTH), dtype=np.float32)

    def draw():
        rng = np.random.default_rng(1)
        for _ in range(2 * WIDTH // 64):
            rng.standard_normal(out=block, dtype=np.float32)

    def simulate():
        rng = np.random.default_rng(1)
        propagation(network, variance=1.0, correlation=0.5, num_networks=2, rng=rng)

    seconds = interleave({"draw": draw, "simulate": simulate}, num_rounds=3)
    name = f"a layer of {WIDTH} neurons, simulated"
    return [Ratio(name, "drawing its weights", seconds["draw"] / seconds["simulate"], 0.6)]
