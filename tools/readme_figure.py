"""Draw the figure of the README: error against clipping limit, theory and simulation.

``python tools/readme_figure.py`` writes ``book/_static/readme.png``.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from qtheory.plotting import (
    plot_approximation,
    plot_estimate,
    plot_sweep,
    single,
    sweep_colors,
    use_style,
)
from qtheory.quantizers import Gaussian, design_uniform, distortion, simulate, uniform_midrise

PICTURE = Path(__file__).resolve().parent.parent / "book" / "_static" / "readme.png"
SOURCE = Gaussian()
BIT_WIDTHS = (2, 3, 4, 5, 6)
NUM_SAMPLES = 200_000
SEED = 1


def draw() -> Figure:
    """Return the figure: a curve for each bit width, simulations on it, the best limits dotted."""
    use_style()
    rng = np.random.default_rng(SEED)
    limits, places = np.linspace(0.5, 5.0, 91), np.linspace(1.0, 5.0, 9)
    figure, ax = single(
        x_label="clipping limit / standard deviation", y_label="distortion / variance"
    )
    curves = [
        [distortion(uniform_midrise(bit_width=b, clip_max=c), SOURCE) for c in limits]
        for b in BIT_WIDTHS
    ]
    plot_sweep(ax, limits, np.array(curves), labels=[f"{b} bits" for b in BIT_WIDTHS])
    for bits, color in zip(BIT_WIDTHS, sweep_colors(len(BIT_WIDTHS)), strict=True):
        estimates = [
            simulate.distortion(
                uniform_midrise(bit_width=bits, clip_max=limit),
                SOURCE,
                num_samples=NUM_SAMPLES,
                rng=rng,
            )
            for limit in places
        ]
        plot_estimate(ax, places, estimates, color=color)
    best = [design_uniform(2**bits, SOURCE) for bits in BIT_WIDTHS]
    best_limits = [float(quantizer.levels[-1]) for quantizer in best]
    plot_approximation(
        ax, best_limits, [distortion(quantizer, SOURCE) for quantizer in best], label="best limit"
    )
    ax.set_yscale("log")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def main(path: Path = PICTURE) -> int:
    """Write the picture and return the exit status."""
    with mpl.rc_context():
        draw().savefig(path, facecolor="white", dpi=110, metadata={"Software": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
