"""Bivariate normal probabilities."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special, stats

from qtheory.numerics import bivariate_normal_cdf

limits = st.floats(-8, 8)
correlations = st.floats(-1, 1)


def exact_cdf(x, y, c):
    """Bivariate normal probability as a one-dimensional integral in 30 digits."""
    with mpmath.workdps(30):
        x, y, c = mpmath.mpf(x), mpmath.mpf(y), mpmath.mpf(c)
        root = mpmath.sqrt(1 - c * c)
        ends = [-mpmath.mpf(12), x]
        inner = [z for z in (y / c - 8 * root, y / c, y / c + 8 * root) if -12 < z < x] if c else []
        points = sorted({*ends, *inner, *[z for z in (-6, -3, 0, 3) if z < x]})
        return float(
            mpmath.quad(lambda z: mpmath.npdf(z) * mpmath.ncdf((y - c * z) / root), points)
        )


# --- Unit -------------------------------------------------------------------------------------


def test_values_by_hand():
    assert float(bivariate_normal_cdf(0, 0, 0.5)) == pytest.approx(1 / 3, rel=1e-15, abs=0)
    assert float(bivariate_normal_cdf(0, 0, 0)) == pytest.approx(1 / 4, rel=1e-15, abs=0)
    assert float(bivariate_normal_cdf(1, 1, 1)) == pytest.approx(special.ndtr(1), rel=1e-15, abs=0)
    assert float(bivariate_normal_cdf(1, -1, -1)) == 0.0
    assert float(bivariate_normal_cdf(1, 0, -1)) == pytest.approx(
        special.ndtr(1) - 0.5, rel=1e-15, abs=0
    )


@pytest.mark.parametrize("c", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_infinite_limits(c):
    assert float(bivariate_normal_cdf(np.inf, 0.3, c)) == special.ndtr(0.3)
    assert float(bivariate_normal_cdf(0.3, np.inf, c)) == special.ndtr(0.3)
    assert float(bivariate_normal_cdf(np.inf, np.inf, c)) == 1.0
    assert float(bivariate_normal_cdf(-np.inf, 0.3, c)) == 0.0
    assert float(bivariate_normal_cdf(np.inf, -np.inf, c)) == 0.0


def test_opposite_variables_cannot_both_be_small():
    assert float(bivariate_normal_cdf(0.3, -0.7, -1)) == 0.0


def test_single_precision_is_widened():
    x, y = np.float32([0.3, -1.2]), np.float32([0.1, 2.5])
    p = bivariate_normal_cdf(x, y, np.float32(0.25))
    assert p.dtype == np.float64
    assert_allclose(p, bivariate_normal_cdf(x.astype(float), y.astype(float), 0.25), rtol=1e-15)


def test_limits_next_to_zero_raise_no_warning():
    p = bivariate_normal_cdf([1e-310, -1e-310], [1.0, 1e308], 0.5)
    assert_allclose(p, bivariate_normal_cdf([0.0, 0.0], [1.0, 1e308], 0.5), rtol=1e-15)


def test_no_probability_is_negative_or_above_one():
    x = np.linspace(-9, 9, 73)
    p = bivariate_normal_cdf(x[:, None], x, np.array([-0.99, -0.6, 0.6, 0.99])[:, None, None])
    assert p.min() == 0.0
    assert p.max() <= 1.0


def test_shapes_broadcast():
    assert bivariate_normal_cdf(np.zeros((3, 1)), np.zeros(4), 0.5).shape == (3, 4)
    assert bivariate_normal_cdf([], [], 0.5).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 1.5), r"`correlation` must be in \[-1, 1\], got 1.5"),
        ((0, 0, math.nan), r"`correlation` must be in \[-1, 1\], got nan"),
        ((math.nan, 0, 0.5), "`x` must be free of NaN, got 'NaN'"),
        ((0, math.nan, 0.5), "`y` must be free of NaN, got 'NaN'"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        bivariate_normal_cdf(*arguments)


# --- Property ---------------------------------------------------------------------------------


@given(limits, limits, correlations)
def test_symmetric_in_its_limits(x, y, c):
    assert_allclose(
        bivariate_normal_cdf(x, y, c), bivariate_normal_cdf(y, x, c), rtol=0, atol=3e-16
    )


@given(limits, limits, correlations)
def test_the_four_quadrants_sum_to_one(x, y, c):
    quadrants = [(x, y, c), (-x, y, -c), (x, -y, -c), (-x, -y, c)]
    total = sum(float(bivariate_normal_cdf(*quadrant)) for quadrant in quadrants)
    assert_allclose(total, 1.0, rtol=0, atol=1e-15)


@given(limits, limits, correlations)
def test_frechet_bounds(x, y, c):
    p, a, b = float(bivariate_normal_cdf(x, y, c)), special.ndtr(x), special.ndtr(y)
    assert max(a + b - 1, 0) - 3e-16 <= p <= min(a, b) + 3e-16


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("c", [-0.999999, -0.9, -0.3, 1e-9, 0.5, 0.95, 0.9999, 1 - 1e-9])
@pytest.mark.parametrize("limit", [(0.0, 0.7), (1.3, 1.3), (-2.0, 0.4), (0.5, 0.500001), (3.0, -1)])
def test_against_high_precision(limit, c):
    assert_allclose(
        float(bivariate_normal_cdf(*limit, c)), exact_cdf(*limit, c), rtol=0, atol=4e-16
    )


def test_against_another_library():
    normal = stats.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]])
    assert_allclose(
        bivariate_normal_cdf(0.3, -0.8, 0.6), normal.cdf([0.3, -0.8]), rtol=0, atol=1e-8
    )


def test_control_a_wrong_correlation_is_noticed():
    wrong = float(bivariate_normal_cdf(0.5, 0.7, 0.3 + 1e-12))
    assert abs(wrong - exact_cdf(0.5, 0.7, 0.3)) > 1e-14
