"""Named inputs for hypothesis: sources and quantizers of physical size."""

import numpy as np
from hypothesis import strategies as st

from qtheory.quantizers import (
    Gaussian,
    Laplace,
    ScalarQuantizer,
    StudentT,
    Uniform,
    uniform_midrise,
    uniform_midtread,
)

means = st.floats(-100.0, 100.0)
scales = st.floats(1e-3, 1e3)
step_sizes = st.floats(1e-3, 1e3)
inputs = st.floats(-1e6, 1e6)


@st.composite
def sources(draw):
    """Draw one of the four sources with any mean and standard deviation."""
    mean, std = draw(means), draw(scales)
    df = draw(st.floats(2.5, 60.0))
    kinds = [Gaussian(mean, std), Laplace(mean, std), Uniform(mean, std)]
    return draw(st.sampled_from([*kinds, StudentT(mean, std, df=df)]))


@st.composite
def uniform_quantizers(draw):
    """Draw a finite uniform quantizer, mid-tread or mid-rise."""
    step = draw(step_sizes)
    half = draw(st.integers(1, 40))
    make = draw(st.sampled_from([uniform_midrise, uniform_midtread]))
    return make(2 * half, step_size=step)


@st.composite
def scalar_quantizers(draw):
    """Draw levels with gaps between a thousandth and a thousand."""
    gaps = draw(st.lists(st.floats(1e-3, 1e3), min_size=0, max_size=12))
    first = draw(st.floats(-1e3, 1e3))
    return ScalarQuantizer(first + np.concatenate([[0.0], np.cumsum(gaps)]))
