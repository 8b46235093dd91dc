"""Rates: probabilities, entropy, bounds of information theory."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close, exact_cell_moment
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from strategies import scalar_quantizers, sources

from qtheory.quantizers import (
    Gaussian,
    Laplace,
    ScalarQuantizer,
    StudentT,
    Uniform,
    design_lloyd_max,
    entropy_bits,
    entropy_coded_distortion_approx,
    gaussian_distortion_rate,
    gaussian_rate_distortion,
    level_probabilities,
    shannon_lower_bound,
    sign,
    simulate,
    uniform_midrise,
)

# --- Unit -------------------------------------------------------------------------------------


def test_entropy_by_hand():
    assert entropy_bits(sign(), Laplace()) == pytest.approx(1.0, rel=1e-14, abs=0)
    assert entropy_bits(ScalarQuantizer([0.0]), Gaussian()) == 0.0
    eight = uniform_midrise(8, step_size=0.25)
    assert entropy_bits(eight, Uniform.on(-1.0, 1.0)) == pytest.approx(3.0, rel=1e-14, abs=0)


def test_levels_without_probability_count_nothing():
    wide = uniform_midrise(8, step_size=1.0)
    assert entropy_bits(wide, Uniform.on(-1.0, 1.0)) == pytest.approx(1.0, rel=1e-14, abs=0)


def test_gaussian_bounds_by_hand():
    assert gaussian_distortion_rate(2.0, var=4.0) == 0.25
    assert gaussian_rate_distortion(0.25, var=4.0) == 2.0
    assert gaussian_rate_distortion(5.0, var=4.0) == 0.0
    assert shannon_lower_bound(1.0, Gaussian(std=2.0)) == pytest.approx(1.0, rel=1e-14, abs=0)
    # A uniform grid on a uniform source: the approximation is exact.
    assert entropy_coded_distortion_approx(3.0, Uniform()) == pytest.approx(
        1 / 64, rel=1e-14, abs=0
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_distortion_rate(-1.0), "`rate_bits` must be finite and not below zero"),
        (lambda: gaussian_distortion_rate(1.0, var=0.0), "`var` must be finite and above zero"),
        (lambda: gaussian_rate_distortion(0.0), "`distortion` must be finite and above zero"),
        (lambda: gaussian_rate_distortion(1.0, var=-1.0), "`var` must be finite and above zero"),
        (lambda: shannon_lower_bound(math.nan, Gaussian()), "`rate_bits` must be finite"),
        (lambda: entropy_coded_distortion_approx(-0.1, Laplace()), "`rate_bits` must be finite"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(quantizer=scalar_quantizers(), source=sources())
def test_probabilities_add_up_and_entropy_is_bounded(quantizer, source):
    probabilities = level_probabilities(quantizer, source)
    assert (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1.0, rel=1e-12, abs=0)
    entropy = entropy_bits(quantizer, source)
    assert 0 <= entropy <= math.log2(quantizer.num_levels) * (1 + 1e-12) + 1e-12


@pytest.mark.property
@given(rate=st.floats(0.0, 30.0), var=st.floats(1e-3, 1e3))
def test_the_two_gaussian_functions_are_inverse(rate, var):
    distortion = gaussian_distortion_rate(rate, var)
    assert gaussian_rate_distortion(distortion, var) == pytest.approx(rate, abs=1e-12)


@pytest.mark.property
@given(source=sources(), num_levels=st.integers(2, 24))
def test_no_scalar_quantizer_beats_the_shannon_bound(source, num_levels):
    result = design_lloyd_max(num_levels, source)
    rate = entropy_bits(result.quantizer, source)
    assert result.distortion >= shannon_lower_bound(rate, source) * (1 - 1e-12)


# --- Theory against reference and simulation ---------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(0.2), Laplace(), Uniform(), StudentT(df=4.0)])
def test_probabilities_agree_with_40_digits(source):
    quantizer = ScalarQuantizer([-6.0, -1.0, -0.999, 0.3, 9.0])
    edges = [-math.inf, *quantizer.thresholds, math.inf]
    expected = [exact_cell_moment(source, edges[i], edges[i + 1], 0.0, 0) for i in range(5)]
    assert_allclose(level_probabilities(quantizer, source), expected, rtol=1e-12, atol=1e-300)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(), Laplace(), StudentT(df=5.0)])
def test_entropy_agrees_with_simulation(source):
    quantizer = uniform_midrise(16, step_size=0.5)
    estimate = simulate.entropy_bits(
        quantizer, source, num_samples=400_000, rng=np.random.default_rng(21)
    )
    exact = entropy_bits(quantizer, source)
    assert_mc_close(exact, estimate, rel_resolution=0.01)
    with pytest.raises(AssertionError, match="z = "):  # nats for bits
        assert_mc_close(exact * math.log(2), estimate, rel_resolution=0.02)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("source", [Gaussian(std=2.0), Laplace(), StudentT(df=5.0)])
def test_entropy_of_a_fine_grid_is_differential_entropy_minus_log_step(source):
    step = source.std / 64
    fine = uniform_midrise(2**16, step_size=step)
    expected = source.differential_entropy_bits - math.log2(step)
    # The next term is the Fisher information times the squared step over 24 log 2: 2e-5 here. The
    # t law keeps 1e-8 of its mass beyond the grid.
    assert entropy_bits(fine, source) == pytest.approx(expected, abs=5e-5)
