"""The standard normal density."""

import math

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from qtheory.numerics import normal_density

# --- Unit -------------------------------------------------------------------------------------


def test_special_arguments():
    values = normal_density([math.inf, -math.inf, 1e200, math.nan])
    assert values[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(values[3])


def test_shapes_are_kept():
    assert normal_density(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert normal_density(0.0).shape == ()
    assert normal_density(np.float32(1)).dtype == np.float64


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("z", [0.0, 1e-9, 0.3, -1.7, 6.0, -20.0, 37.0])
def test_against_high_precision(z):
    expected = float(mpmath.npdf(mpmath.mpf(z)))
    assert_allclose(normal_density(z), expected, rtol=2e-16 * max(1.0, z * z))


def test_control_a_missing_half_is_noticed():
    assert abs(math.exp(-1.0) / math.sqrt(2 * math.pi) - float(normal_density(1.0))) > 0.09
