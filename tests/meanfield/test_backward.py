"""Gradients with a straight-through box: gains, balance, the kernel."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from qtheory.meanfield import sign, uniform_staircase
from qtheory.meanfield.backward import (
    balanced_slope,
    straight_through_gain,
    surrogate_kernel,
    two_input_gain,
)

# Optimal spacing and slope of the correlation map, to all digits printed, for 3 to 64 levels.
OPTIMUM = {
    3: (1.22400636192, 0.8098259607521),
    4: (0.995686685944, 0.8811539496159),
    16: (0.335200612200, 0.9884571155686),
    64: (0.104063009442, 0.9989599545912),
}
# Probability of the box, gain at slope one and balanced slope at the optimum, six digits.
AT_OPTIMUM = [
    pytest.param(3, 0.779050, 0.961997, 1.019561, id="3"),
    pytest.param(4, 0.864702, 0.981329, 1.009469, id="4"),
    pytest.param(16, 0.988063, 0.999601, 1.000199, id="16"),
    pytest.param(64, 0.998954, 0.999995, 1.000003, id="64"),
]


def optimum(num_levels):
    """Return variance and weight variance of the tied staircase at its optimum."""
    spacing, chi = OPTIMUM[num_levels]
    return (2 / (num_levels - 1) / spacing) ** 2, 1 / chi


def exact_box(limit, correlation):
    """Probability that both variables stay within the limit, by mpmath from the density."""
    mp = mpmath.mp
    with mp.workdps(30):
        h, c = mp.mpf(limit), mp.mpf(correlation)
        s = mp.sqrt(1 - c**2)
        inner = lambda z: mp.npdf(z) * (mp.ncdf((h - c * z) / s) - mp.ncdf((-h - c * z) / s))  # noqa: E731
        return float(mp.quad(inner, mp.linspace(-h, h, 9)))


# --- Unit ---------------------------------------------------------------------------------------


def test_limits_of_the_gain():
    assert straight_through_gain(0.0, weight_variance=1.5, slope=2.0) == 6.0
    assert straight_through_gain(1.0, weight_variance=1.5, window=np.inf) == 1.5
    assert two_input_gain(0.3, 0.0, weight_variance=1.5, slope=2.0) == 6.0
    assert two_input_gain(0.3, 1.0, weight_variance=1.5, window=np.inf) == 1.5


def test_shapes():
    assert isinstance(straight_through_gain(1, weight_variance=1), float)
    assert isinstance(balanced_slope(1, weight_variance=1), float)
    assert isinstance(two_input_gain(0, 1, weight_variance=1), float)
    assert straight_through_gain([[1.0, 2.0]], weight_variance=1).shape == (1, 2)
    assert balanced_slope([[1.0, 2.0]], weight_variance=1).shape == (1, 2)
    assert two_input_gain([0.0, 0.1, 0.2], [[1.0], [2.0]], weight_variance=1).shape == (2, 3)


def test_the_kernel_is_frozen():
    kernel = surrogate_kernel(
        sign(), num_layers=2, correlation=0.5, variance=1.0, weight_variance=1.0
    )
    with pytest.raises(ValueError, match="read-only"):
        kernel.diagonal[0] = 1.0


def test_the_kernel_by_hand():
    kernel = surrogate_kernel(
        sign(), num_layers=1, correlation=0.5, variance=1.0, weight_variance=1.0, bias_variance=0.5
    )
    # The balanced slope makes the gain at the start one; the sign has second moment one.
    assert_allclose(kernel.diagonal, [1.0, 1.5 + 1.0], rtol=1e-14)
    shared = exact_box(1.0, 0.5) / 0.6826894921370859  # within one standard deviation
    assert_allclose(kernel.off_diagonal, [0.5, (1 / 3 + 0.5) + 0.5 * shared], rtol=1e-14)
    assert_allclose(kernel.ratio, kernel.off_diagonal / kernel.diagonal, rtol=0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: straight_through_gain(-1.0, weight_variance=1), "`variance` must be finite and"),
        (lambda: straight_through_gain(np.nan, weight_variance=1), "`variance` must be finite"),
        (lambda: straight_through_gain(1.0, weight_variance=0), "`weight_variance` must be fin"),
        (lambda: straight_through_gain(1.0, weight_variance=1, window=0), "`window` must be fini"),
        (lambda: straight_through_gain(1.0, weight_variance=1, slope=0), "`slope` must be finite"),
        (lambda: balanced_slope([1, -2], weight_variance=1), "got -2.0"),
        (lambda: two_input_gain(1.1, 1.0, weight_variance=1), r"`correlation` must be in \[-1, 1"),
        (lambda: two_input_gain(np.nan, 1.0, weight_variance=1), "`correlation` must be in"),
        (lambda: two_input_gain(0.1, 1.0, weight_variance=1, window=-1), "`window` must be"),
        (
            lambda: surrogate_kernel(
                sign(), num_layers=-1, correlation=0.5, variance=1, weight_variance=1
            ),
            "`num_layers` must be an integer of at least 0",
        ),
        (
            lambda: surrogate_kernel(
                np.sign, num_layers=1, correlation=0.5, variance=1, weight_variance=1
            ),
            "`activation` must be Activation",
        ),
    ],
)
def test_messages(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# --- Property -----------------------------------------------------------------------------------

variances = st.floats(1e-3, 1e3)
weight_variances = st.floats(0.1, 10.0)
windows = st.floats(0.05, 50.0)


@pytest.mark.property
@given(variances, weight_variances, windows)
def test_the_balanced_slope_balances(variance, weight_variance, window):
    slope = balanced_slope(variance, weight_variance=weight_variance, window=window)
    gain = straight_through_gain(
        variance, weight_variance=weight_variance, window=window, slope=slope
    )
    assert gain == pytest.approx(1.0, rel=1e-14, abs=0)


@pytest.mark.property
@given(variances, windows)
def test_two_equal_or_opposite_inputs_are_one(variance, window):
    one = straight_through_gain(variance, weight_variance=1.0, window=window)
    same, opposite = two_input_gain([1.0, -1.0], variance, weight_variance=1.0, window=window)
    assert same == pytest.approx(one, rel=0, abs=1e-15)
    assert opposite == pytest.approx(one, rel=0, abs=1e-15)


@pytest.mark.property
@given(variances, windows, st.floats(-1, 1))
def test_two_inputs_share_more_than_by_chance(variance, window, correlation):
    one = straight_through_gain(variance, weight_variance=1.0, window=window)
    two = two_input_gain(correlation, variance, weight_variance=1.0, window=window)
    assert one**2 - 1e-15 <= two <= one + 1e-15  # Sidak's inequality from below


# --- Against references -------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.999, -0.5, 0.0, 0.3, 0.9, 0.999999])
@pytest.mark.parametrize("limit", [0.05, 0.7, 1.49353, 6.0])
def test_two_input_gain_against_mpmath(limit, correlation):
    gain = two_input_gain(correlation, limit**-2, weight_variance=1.0)
    assert gain == pytest.approx(exact_box(limit, correlation), rel=0, abs=1e-15)


def test_two_input_gain_against_scipy():
    probability = stats.multivariate_normal(cov=[[2.0, 0.8], [0.8, 2.0]]).cdf(
        [1.3, 1.3], lower_limit=[-1.3, -1.3]
    )
    gain = two_input_gain(0.4, 2.0, weight_variance=1.7, window=1.3, slope=0.6)
    assert gain == pytest.approx(1.7 * 0.36 * probability, rel=1e-6, abs=0)  # scipy's accuracy


@pytest.mark.parametrize(("num_levels", "probability", "gain", "slope"), AT_OPTIMUM)
def test_the_forward_optimum_is_almost_balanced(num_levels, probability, gain, slope):
    variance, weight_variance = optimum(num_levels)
    # Half a unit of the last digit printed.
    assert straight_through_gain(variance, weight_variance=1.0) == pytest.approx(
        probability, rel=0, abs=5e-7
    )
    assert straight_through_gain(variance, weight_variance=weight_variance) == pytest.approx(
        gain, rel=0, abs=5e-7
    )
    assert balanced_slope(variance, weight_variance=weight_variance) == pytest.approx(
        slope, rel=0, abs=5e-7
    )


@pytest.mark.parametrize(("correlation", "value"), [(0.5, 0.76706234), (0.9, 0.81853140)])
def test_two_input_gain_of_four_levels(correlation, value):
    gain = two_input_gain(correlation, optimum(4)[0], weight_variance=1.0)
    assert gain == pytest.approx(value, rel=0, abs=5e-9)


def test_the_kernel_forgets_on_the_scale_of_the_signal():
    variance, weight_variance = optimum(4)
    kernel = surrogate_kernel(
        uniform_staircase(4),
        num_layers=48,
        correlation=0.9,
        variance=variance,
        weight_variance=weight_variance,
    )
    # After one, three and six depth scales of 7.9037.
    assert_allclose(
        kernel.correlations[[8, 24, 48]], [0.371004, 0.050057, 0.002404], rtol=0, atol=5e-7
    )
    assert_allclose(kernel.ratio[[8, 24, 48]], [0.377075, 0.042257, 0.001615], rtol=0, atol=5e-7)
    # Balanced gradients: each layer adds its own variance once.
    assert_allclose(kernel.diagonal, variance * np.arange(1, 50), rtol=1e-9)
