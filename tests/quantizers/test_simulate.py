"""Simulations: batches merge to the estimate of all samples, and counts to entropy."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qtheory.numerics import Estimate
from qtheory.quantizers import Gaussian, Uniform, simulate, uniform_midrise, uniform_midtread

QUANTIZER = uniform_midtread(5, step_size=1.1)
SOURCE = Gaussian(0.4, 1.3)


@pytest.fixture(params=[2, 63, 64, 65, 300], ids=lambda n: f"{n}-samples")
def drawn(request, monkeypatch):
    """Return samples as batches of 64 draw them, and their errors."""
    monkeypatch.setattr(simulate, "BATCH", 64)
    rng = np.random.default_rng(51)
    sizes = [64] * (request.param // 64) + [request.param % 64]
    samples = np.concatenate([SOURCE.sample(size, rng=rng) for size in sizes])
    return samples, QUANTIZER(samples) - samples


def assert_same_estimate(estimate, samples):
    """Fail unless a merged estimate is that of all samples, up to rounding of the sums."""
    expected = Estimate.from_samples(samples)
    assert estimate.num_samples == samples.size
    assert estimate.mean == pytest.approx(expected.mean, rel=1e-13, abs=0)
    assert estimate.std_error == pytest.approx(expected.std_error, rel=1e-13, abs=0)


# --- Unit -------------------------------------------------------------------------------------


def test_batches_of_distortion_merge_to_one_estimate(drawn):
    samples, errors = drawn
    estimate = simulate.distortion(
        QUANTIZER, SOURCE, num_samples=samples.size, rng=np.random.default_rng(51)
    )
    assert_same_estimate(estimate, errors**2)


def test_batches_of_covariance_merge_to_one_estimate(drawn):
    samples, errors = drawn
    estimate = simulate.input_error_covariance(
        QUANTIZER, SOURCE, num_samples=samples.size, rng=np.random.default_rng(51)
    )
    assert_same_estimate(estimate, (samples - SOURCE.mean) * errors)


def test_a_batch_is_no_larger_than_stated(monkeypatch):
    monkeypatch.setattr(simulate, "BATCH", 64)
    sizes = []

    class Recorder:
        """Source that notes how much is asked for."""

        mean = 0.0

        def sample(self, size, *, rng):
            sizes.append(size)
            return rng.random(size)

    simulate.distortion(np.rint, Recorder(), num_samples=150, rng=np.random.default_rng(52))
    assert sizes == [64, 64, 22]


def test_entropy_counts_levels():
    samples = Uniform.on(-1.0, 1.0).sample(1000, rng=np.random.default_rng(53))
    up = int((samples >= 0).sum())
    estimate = simulate.entropy_bits(
        uniform_midrise(2, step_size=1.0),
        Uniform.on(-1.0, 1.0),
        num_samples=1000,
        rng=np.random.default_rng(53),
    )
    p = up / 1000
    expected = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert estimate.mean == pytest.approx(expected, rel=1e-13, abs=0)
    assert estimate.num_samples == 1000


def test_running_sum_rounds_after_each_addition():
    seen = []

    def rounder(total):
        """Truncate, and note what came in."""
        seen.append(total.copy())
        return np.floor(total)

    sums = simulate.running_sum([1.5, 1.75, 0.5], rounder, num_runs=2)
    assert_array_equal(seen, [[1.5, 1.5], [2.75, 2.75], [2.5, 2.5]])
    assert_array_equal(sums, [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    "function", [simulate.distortion, simulate.input_error_covariance, simulate.entropy_bits]
)
def test_messages(function):
    with pytest.raises(ValueError, match="`num_samples` must be an integer of at least 2, got 1"):
        function(QUANTIZER, SOURCE, num_samples=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"`rng` must be a numpy\.random\.Generator, got 7"):
        function(QUANTIZER, SOURCE, num_samples=9, rng=7)


# Negative control: the comparison sees a standard error that forgets how batches differ.


def test_a_merge_without_the_spread_between_batches_is_seen():
    samples = np.concatenate([np.full(64, 1.0), np.full(64, 2.0)])
    within = Estimate(float(samples.mean()), 0.0, 128)
    with pytest.raises(AssertionError):
        assert_same_estimate(within, samples)
