"""Sources: densities, quantiles, tail moments, characteristic functions."""

import math

import numpy as np
import pytest
from helpers import assert_mc_close, exact_cell_moment, exact_density
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from strategies import sources

from qtheory.numerics import Estimate
from qtheory.quantizers import Gaussian, Laplace, StudentT, Uniform

ALL = [
    Gaussian(),
    Laplace(),
    Uniform(),
    StudentT(df=2.5),
    StudentT(df=5.0),
    StudentT(df=40.0),
    Gaussian(1.5, 0.3),
    Laplace(-2.0, 4.0),
    Uniform(0.7, 2.0),
    StudentT(3.0, 0.5, df=7.0),
]
NAMES = [str(source) for source in ALL]
every_source = pytest.mark.parametrize("source", ALL, ids=NAMES)


def scipy_partner(source):
    """Return the same law as a distribution of scipy."""
    mean, std = source.mean, source.std
    makers = {
        "Gaussian": lambda: stats.norm(mean, std),
        "Laplace": lambda: stats.laplace(mean, std / math.sqrt(2)),
        "Uniform": lambda: stats.uniform(mean - math.sqrt(3) * std, 2 * math.sqrt(3) * std),
        "StudentT": lambda: stats.t(source.df, mean, std * math.sqrt((source.df - 2) / source.df)),
    }
    return makers[type(source).__name__]()


# --- Unit -------------------------------------------------------------------------------------


def test_uniform_on_an_interval():
    source = Uniform.on(-1.0, 3.0)
    assert source.mean == 1.0
    assert source.var == pytest.approx(16 / 12, rel=1e-15, abs=0)
    assert_array_equal(source.pdf([-1.1, 1.0, 3.1]), [0.0, 0.25, 0.0])


def test_only_the_t_law_is_not_log_concave():
    assert [s.is_log_concave for s in ALL[:4]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(math.nan), "`mean` must be finite, got nan"),
        (lambda: Gaussian(0.0, 0.0), "`std` must be finite and above zero, got 0.0"),
        (lambda: Laplace(std=-1.0), "`std` must be finite and above zero, got -1.0"),
        (lambda: Gaussian(std=1e-200), "`std` must be from 1e-140 to 1e\\+140, to be squared"),
        (lambda: StudentT(df=2.0), "`df` must be above two for the variance to exist, got 2.0"),
        (lambda: StudentT(df=math.inf), "`df` must be finite and above zero, got inf"),
        (lambda: Uniform.on(1.0, 1.0), "`high` must be above `low` 1.0, got 1.0"),
        (lambda: Uniform.on(-math.inf, 1.0), "`low` must be finite, got -inf"),
        (lambda: Gaussian().quantile(1.5), "`p` must be between 0 and 1, got 1.5"),
        (lambda: Gaussian().quantile(math.nan), "`p` must be between 0 and 1, got nan"),
        (lambda: Gaussian().sample(3, rng=0), "`rng` must be a numpy.random.Generator, got 0"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_source
def test_ends_of_the_quantiles(source):
    end = source.mean + source.std * source.support_std
    assert_allclose(source.quantile([0.0, 1.0]), [2 * source.mean - end, end], rtol=1e-15)


@every_source
def test_sample_is_reproducible_and_has_its_shape(source):
    first = source.sample((3, 2), rng=np.random.default_rng(5))
    assert first.shape == (3, 2)
    assert_array_equal(first, source.sample((3, 2), rng=np.random.default_rng(5)))


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(source=sources(), p=st.floats(1e-6, 1 - 1e-6))
def test_quantile_inverts_cdf(source, p):
    # Rounding x by one unit in the last place of the mean moves p by density times that.
    slack = 1e-12 + 4e-16 * abs(source.mean) / source.std
    assert abs(float(source.cdf(source.quantile(p))) - p) <= slack


@pytest.mark.property
@given(source=sources(), z=st.floats(0.0, 50.0))
def test_cdf_is_symmetric(source, z):
    low = source.cdf(source.mean - z * source.std)
    high = source.cdf(source.mean + z * source.std)
    assert abs(float(low + high) - 1) <= 1e-12


# --- Reference --------------------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@every_source
def test_density_and_probabilities_agree_with_scipy(source):
    partner = scipy_partner(source)
    x = source.mean + source.std * np.array([-9.0, -2.1, -0.3, 0.0, 0.8, 1.7, 5.0])
    assert_allclose(source.pdf(x), partner.pdf(x), rtol=1e-12)
    assert_allclose(source.cdf(x), partner.cdf(x), rtol=1e-12)
    assert_allclose(source.quantile([0.01, 0.3, 0.9]), partner.ppf([0.01, 0.3, 0.9]), rtol=1e-12)
    assert source.var == pytest.approx(partner.var(), rel=1e-12, abs=0)
    nats = source.differential_entropy_bits * math.log(2)
    # scipy computes some of these entropies by quadrature.
    assert nats == pytest.approx(float(partner.entropy()), rel=1e-8, abs=1e-8)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("z", [0.0, 0.4, 1.6, 6.0])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_tail_moments_agree_with_40_digits(source, z, order):
    standard = type(source)(**(source.__dict__ | {"mean": 0.0, "std": 1.0}))
    expected = exact_cell_moment(standard, z, math.inf, 0.0, order)
    moment = source.tail_moments(np.array([z]))[order]
    assert_allclose(moment, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("z", [0.3, 1.7, 8.0])
def test_tail_rule_integrates_like_the_closed_form(source, z):
    z = np.array([min(z, 0.9 * source.support_std)])
    distance, weights = source.tail_nodes(z)
    by_rule = [float((weights * (z + distance) ** k).sum()) for k in range(3)]
    assert_allclose(by_rule, np.ravel(source.tail_moments(z)), rtol=1e-12)


@pytest.mark.theory_vs_sim
@every_source
@pytest.mark.parametrize("t", [0.3, 1.0, 4.0])
def test_characteristic_function_is_the_cosine_transform(source, t):
    density = exact_density(source)
    end = min(source.support_std, 60.0)
    value, slope = source.characteristic_function(np.array([t]))

    def transform(kernel):
        """Integrate twice the kernel times the density over the right half."""
        inner = integrate.quad(lambda z: float(density(z)) * kernel(z), 0, end, limit=400)[0]
        return 2 * inner

    # Beyond 60 standard deviations the t law of 2.5 degrees of freedom keeps 1e-5 of its mass.
    atol = 2e-5 if getattr(source, "df", 9.0) < 5 else 1e-8
    assert value == pytest.approx(transform(lambda z: math.cos(t * z)), abs=atol)
    step = 1e-5
    near = source.characteristic_function(np.array([t - step, t + step]))[0]
    # Central difference: error of second order in the step, rounding of 1e-16 over the step.
    assert slope == pytest.approx((near[1] - near[0]) / (2 * step), abs=1e-8)


@pytest.mark.theory_vs_sim
@every_source
def test_cube_root_norm_is_the_cubed_integral(source):
    density = exact_density(source)
    end = source.support_std

    def root(z):
        """Cube root of the density."""
        return float(density(z)) ** (1 / 3)

    half = integrate.quad(root, 0, min(end, 1.0))[0]
    half += integrate.quad(root, 1.0, end, limit=400)[0] if end > 1.0 else 0.0
    # The cube root of a t density of 2.5 degrees of freedom decays slowly: quadrature of scipy
    # is the weaker side of this comparison.
    rtol = 1e-4 if getattr(source, "df", 9.0) < 5 else 1e-7
    assert source.cube_root_norm == pytest.approx((2 * half) ** 3 * source.var, rel=rtol, abs=0)


@pytest.mark.theory_vs_sim
@every_source
def test_companding_quantile_has_the_cube_root_density(source):
    p = np.array([0.2, 0.4, 0.7])
    step = 1e-5
    spacing = (source.companding_quantile(p + step) - source.companding_quantile(p - step)) / (
        2 * step
    )
    density = source.pdf(source.companding_quantile(p)) ** (1 / 3)
    # The density of the quantile is one over its slope; central difference, error step**2.
    assert_allclose(spacing * density, np.full(3, (source.cube_root_norm) ** (1 / 3)), rtol=1e-6)


@pytest.mark.theory_vs_sim
@every_source
def test_samples_have_the_stated_mean_magnitude(source):
    drawn = source.sample(400_000, rng=np.random.default_rng(6))
    expected = 2 * source.std * float(source.tail_moments(np.array([0.0]))[1][0])
    assert_mc_close(expected, Estimate.from_samples(np.abs(drawn - source.mean)))


@pytest.mark.theory_vs_sim
def test_the_sampling_check_notices_variance_for_standard_deviation():
    drawn = Gaussian(std=2.0).sample(400_000, rng=np.random.default_rng(6))
    wrong = 4.0 * math.sqrt(2 / math.pi)
    with pytest.raises(AssertionError, match="z = "):
        assert_mc_close(wrong, Estimate.from_samples(np.abs(drawn)))
