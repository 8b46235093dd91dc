"""Estimates of simulations and quadrature rules."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qtheory.numerics import (
    Estimate,
    composite_legendre,
    gauss_jacobi,
    gauss_laguerre,
    gauss_legendre,
)

# --- Unit -------------------------------------------------------------------------------------


def test_estimate_from_samples_by_hand():
    estimate = Estimate.from_samples([[1.0, 3.0], [1.0, 3.0]])
    assert estimate.mean == 2.0
    assert estimate.num_samples == 4
    assert estimate.std_error == pytest.approx(math.sqrt(4 / 3) / 2, rel=1e-15, abs=0)


def test_z_score_counts_standard_errors():
    assert Estimate(2.0, 0.5, 10).z_score(1.0) == 2.0
    assert Estimate(2.0, 0.5, 10).z_score(3.0) == -2.0


def test_z_score_without_spread():
    exact = Estimate(2.0, 0.0, 10)
    assert exact.z_score(2.0) == 0.0
    assert exact.z_score(1.0) == math.inf
    assert exact.z_score(3.0) == -math.inf


def test_equal_samples_have_no_spread():
    estimate = Estimate.from_samples(np.full(20_000, -0.05))
    assert (estimate.mean, estimate.std_error, estimate.z_score(-0.05)) == (-0.05, 0.0, 0.0)


def test_two_samples_are_enough_and_one_is_refused():
    assert Estimate.from_samples([1.0, 3.0]) == Estimate(2.0, 1.0, 2)
    with pytest.raises(ValueError, match="`samples` must be at least two numbers, got 1"):
        Estimate.from_samples([1.0])


@pytest.mark.parametrize("num_nodes", [1, 5, 40, 120])
def test_legendre_is_exact_to_its_degree(num_nodes):
    nodes, weights = gauss_legendre(num_nodes)
    degree = 2 * num_nodes - 2
    # A node known to 1e-14 gives its power to 1e-14 times the degree.
    assert_allclose(weights @ nodes**degree, 2 / (degree + 1), rtol=1e-14 * (degree + 1))


def test_panels_keep_the_digits_of_a_steep_exponential():
    nodes, weights = composite_legendre(24, (-1.0, -2 / 3, 0.0, 1.0))
    assert_allclose(weights @ np.exp(-20 * (nodes + 1)), -math.expm1(-40) / 20, rtol=2e-15)


@pytest.mark.parametrize("breaks", [(-1.0,), (0.0, 1.0), (-1.0, 0.5, 0.5, 1.0), (-1.0, 0.5)])
def test_bad_panels_are_refused(breaks):
    with pytest.raises(ValueError, match=r"`breaks` must be increasing from -1 to 1"):
        composite_legendre(4, breaks)


@pytest.mark.parametrize("power", [-0.5, 0.0, 2.3, 9.7])
def test_jacobi_integrates_the_weight_times_a_polynomial(power):
    nodes, weights = gauss_jacobi(80, power)
    expected = [1 / (power + 1), 1 / (power + 4)]
    # scipy gives the nodes next to the singular end to about 1e-12.
    assert_allclose([weights.sum(), weights @ (1 - nodes) ** 3], expected, rtol=1e-12)


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match=r"`power` must be above minus one, got -1\.0"):
        gauss_jacobi(4, -1.0)


def test_legendre_fails_above_its_degree():
    nodes, weights = gauss_legendre(2)
    assert abs(weights @ nodes**4 - 2 / 5) > 0.1


@pytest.mark.parametrize("num_nodes", [1, 4, 8])
def test_laguerre_is_exact_to_its_degree(num_nodes):
    nodes, weights = gauss_laguerre(num_nodes)
    degree = 2 * num_nodes - 1
    assert_allclose(weights @ nodes**degree, math.factorial(degree), rtol=1e-11)


def test_rules_are_shared_and_read_only():
    nodes, _ = gauss_legendre(7)
    assert gauss_legendre(7)[0] is nodes
    with pytest.raises(ValueError, match="read-only"):
        nodes[0] = 0.0


@pytest.mark.parametrize("rule", [gauss_legendre, gauss_laguerre])
@pytest.mark.parametrize("bad", [0, -1, 2.5, True])
def test_bad_numbers_of_nodes_are_refused(rule, bad):
    with pytest.raises(ValueError, match="`num_nodes` must be an integer"):
        rule(bad)


def test_laguerre_rules_end_at_a_hundred_nodes():
    assert gauss_laguerre(100)[0].shape == (100,)
    with pytest.raises(ValueError, match="`num_nodes` must be an integer of at most 100, got 101"):
        gauss_laguerre(101)


def test_samples_of_estimates_are_flattened_copies():
    samples = np.arange(6.0).reshape(2, 3)
    Estimate.from_samples(samples)
    assert_allclose(samples, np.arange(6.0).reshape(2, 3), rtol=0)


def test_impossible_estimates_are_refused():
    with pytest.raises(ValueError, match=r"`std_error` must be not below zero, got -1\.0"):
        Estimate(0.0, -1.0, 10)
    with pytest.raises(ValueError, match="`num_samples` must be an integer of at least 2, got 1"):
        Estimate(0.0, 1.0, 1)
