"""Laws of gradient noise against 30-digit integrals and against draws."""

import math

import mpmath
import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.numerics import Estimate
from qtheory.training import (
    DiscreteNoise,
    GaussianNoise,
    NoNoise,
    RademacherNoise,
    StudentTNoise,
)

SKEW = DiscreteNoise([-1.0, 3.0], [0.75, 0.25])
LAWS = {
    "gaussian": GaussianNoise(1.7),
    "student3": StudentTNoise(3.0, 2.0),
    "student1.5": StudentTNoise(1.5, 0.5),
    "rademacher": RademacherNoise(2.0),
    "skew": SKEW,
    "none": NoNoise(),
}
FINITE = {name: law for name, law in LAWS.items() if math.isfinite(law.std)}


@pytest.fixture(params=LAWS.values(), ids=LAWS)
def law(request):
    return request.param


# --- Unit -------------------------------------------------------------------------------------


def test_numbers_give_floats_and_arrays_their_shape(law):
    assert isinstance(law.excess(0.3), float)
    assert law.excess(np.zeros((2, 3))).shape == (2, 3)
    assert law.cdf(np.zeros((0,))).shape == (0,)


def test_rademacher_by_hand():
    noise = RademacherNoise(2.0)
    assert noise.cdf([-2.5, -2.0, 0.0, 2.0]).tolist() == [0.0, 0.5, 0.5, 1.0]
    assert noise.excess([-3.0, 0.0, 1.0, 5.0]).tolist() == [3.0, 1.0, 0.5, 0.0]
    assert noise.tail_square([-3.0, 1.0, 5.0]).tolist() == [13.0, 0.5, 0.0]
    assert (noise.std, noise.bound, noise.mean_abs(1.0)) == (2.0, 2.0, 2.0)


def test_one_sided_noise_by_hand():
    assert (SKEW.bound, SKEW.std) == (3.0, math.sqrt(3.0))
    assert (SKEW.excess(1.0), SKEW.shortfall(1.0)) == (0.5, 1.5)
    assert (SKEW.positive_part(-1.0), SKEW.negative_part(-1.0)) == (0.5, 1.5)
    assert SKEW.tail_square(0.0) == 2.25
    assert SKEW.cdf([-1.5, -1.0, 2.9, 3.0]).tolist() == [0.0, 0.75, 0.75, 1.0]


def test_blocks_do_not_show(monkeypatch):
    law, x = RademacherNoise().averaged(20), np.linspace(-2, 2, 60).reshape(4, 15)
    whole = law.excess(x), law.cdf(x), law.tail_square(x)
    monkeypatch.setattr("qtheory.training.noise.BLOCK_ENTRIES", 2**7)
    for one, other in zip(whole, (law.excess(x), law.cdf(x), law.tail_square(x)), strict=True):
        assert_allclose(one, other, rtol=1e-15)


def test_absent_noise_by_hand():
    noise = NoNoise()
    assert (noise.std, noise.bound, noise.negative_part(-0.25)) == (0.0, 0.0, 0.25)
    assert (noise.tail_square(-2.0), noise.tail_square(1.0)) == (4.0, 0.0)
    assert GaussianNoise().std == RademacherNoise().std == StudentTNoise(3.0).scale == 1.0


def test_values_are_protected():
    with pytest.raises(ValueError, match="read-only"):
        SKEW.values[0] = 0.0


@pytest.mark.parametrize(
    ("law", "batch_size", "std"),
    [(GaussianNoise(3.0), 9, 1.0), (RademacherNoise(2.0), 16, 0.5), (SKEW, 3, 1.0)],
)
def test_deviation_of_a_batch(law, batch_size, std):
    assert law.averaged(batch_size).std == pytest.approx(std, rel=1e-13, abs=0)


def test_batch_of_two_by_hand():
    pair = SKEW.averaged(2)
    assert pair.values.tolist() == [-1.0, 1.0, 3.0]
    assert_allclose(pair.probabilities, [9 / 16, 6 / 16, 1 / 16], rtol=1e-15)
    assert RademacherNoise().averaged(2).values.tolist() == [-1.0, 0.0, 1.0]
    assert SKEW.averaged(1) is SKEW


def test_large_batch_is_nearly_normal():
    many = RademacherNoise(30.0).averaged(900)
    assert many.mean_abs(0.0) == pytest.approx(GaussianNoise(1.0).mean_abs(0.0), rel=1e-3, abs=0)


@pytest.mark.parametrize("batch_size", [2, 3, 7, 50, 901])
def test_batches_of_signs_are_binomial(batch_size):
    many, heads = RademacherNoise().averaged(batch_size), np.arange(batch_size + 1)
    chances = np.array([math.comb(batch_size, int(h)) / 2**batch_size for h in heads])
    assert_allclose(many.values, (2 * heads - batch_size) / batch_size, rtol=1e-15, atol=0)
    assert_allclose(many.probabilities, chances, rtol=1e-12, atol=0)


def test_huge_batches_keep_the_values_around_the_middle():
    many = RademacherNoise().averaged(10**7)
    assert many.values.size < 40 * 10**3.5
    assert many.std == pytest.approx(10**-3.5, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(0.0), "`std` must be finite and above zero"),
        (lambda: RademacherNoise(math.nan), "`scale` must be finite and above zero"),
        (lambda: StudentTNoise(1.0), "`df` must be above one for the mean to exist, got 1"),
        (lambda: StudentTNoise(3.0, -1.0), "`scale` must be finite and above zero"),
        (lambda: DiscreteNoise([]), "`values` must be an array with at least one element"),
        (lambda: DiscreteNoise([1.0, 2.0]), "`values` must be of mean zero"),
        (lambda: DiscreteNoise([[0.0]]), "`values` must be one-dimensional"),
        (lambda: DiscreteNoise([0.0, math.inf]), "`values` must be one-dimensional and finite"),
        (lambda: DiscreteNoise([-1.0, 1.0], [0.5, 0.6]), "`probabilities` must be above zero"),
        (lambda: DiscreteNoise([-1.0, 1.0], [1.0]), r"`probabilities` must be of the shape"),
        (lambda: RademacherNoise().averaged(10**9), "`batch_size` must be small enough for a law"),
        (lambda: GaussianNoise().averaged(0), "`batch_size` must be an integer of at least 1"),
        (lambda: StudentTNoise(3.0).averaged(2), "`batch_size` must be 1 for StudentTNoise"),
        (lambda: GaussianNoise().sample(3, rng=0), "`rng` must be a numpy.random.Generator"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Property ---------------------------------------------------------------------------------


@given(st.sampled_from(list(LAWS.values())), st.floats(-20, 20))
def test_excess_less_shortfall_is_the_distance(law, x):
    assert law.excess(x) - law.shortfall(x) == pytest.approx(-x, rel=0, abs=1e-13 * (1 + abs(x)))
    assert law.mean_abs(x) == pytest.approx(
        law.positive_part(x) + law.negative_part(x), rel=1e-14, abs=0
    )


@given(st.sampled_from(list(LAWS.values())), st.floats(-20, 20), st.floats(0, 5))
def test_excess_falls_no_faster_than_its_argument_rises(law, x, gap):
    fall = law.excess(x) - law.excess(x + gap)
    assert -1e-13 <= fall <= gap + 1e-13


# --- Theory against reference -----------------------------------------------------------------


@pytest.mark.parametrize("x", [-9.0, -1.0, 0.0, 3.0, 3.1, 4.2, 20.0, 50.0])
def test_normal_tails_in_many_digits(x):
    law = LAWS["gaussian"]
    with mpmath.workdps(60):  # the terms of these differences agree in many digits
        z = mpmath.mpf(x) / mpmath.mpf(law.std)
        mass, pdf = mpmath.ncdf(-z), mpmath.npdf(z)
        first = law.std * (pdf - z * mass)
        second = law.std**2 * ((1 + z * z) * mass - z * pdf)
    # A tail at z changes by z^2 times the relative change of z.
    accuracy = 3e-15 * (1 + x * x / law.std**2)
    assert law.excess(x) == pytest.approx(float(first), rel=accuracy, abs=0)
    assert law.shortfall(-x) == pytest.approx(float(first), rel=accuracy, abs=0)
    assert law.tail_square(x) == pytest.approx(float(second), rel=accuracy, abs=0)


@pytest.mark.parametrize("x", [-9.0, -1.0, 0.0, 1.0, 20.0])
def test_tails_of_students_t_against_integrals(x):
    law = LAWS["student3"]
    with mpmath.workdps(30):
        nu, scale = mpmath.mpf(law.df), mpmath.mpf(law.scale)
        front = mpmath.gamma((nu + 1) / 2) / mpmath.gamma(nu / 2) / mpmath.sqrt(nu * mpmath.pi)
        ends = [x, x + 1, x + 10, x + 100, mpmath.inf]
        first, second = (
            mpmath.quad(
                lambda t, n=n: front / scale * (t - x) ** n * (1 + (t / scale) ** 2 / nu) ** -2,
                ends,
            )
            for n in (1, 2)
        )
    assert law.excess(x) == pytest.approx(float(first), rel=1e-13, abs=0)
    assert law.tail_square(x) == pytest.approx(float(second), rel=1e-12, abs=0)


def test_heavy_tail_in_closed_form():
    # Two degrees of freedom: E(T - x)_+ = (sqrt(2 + x^2) - x) / 2.
    x = np.array([-3.0, 0.0, 2.0, 100.0])
    expected = 1 / (np.sqrt(2 + x * x) + x)
    assert_allclose(StudentTNoise(2.0).excess(x), expected, rtol=2e-12)
    assert StudentTNoise(2.0).tail_square(0.0) == math.inf
    assert StudentTNoise(2.0).std == math.inf


def test_integral_sees_a_wrong_law():
    assert GaussianNoise(1.7).excess(1.0) != pytest.approx(
        StudentTNoise(30.0, 1.7).excess(1.0), rel=1e-3, abs=0
    )


@pytest.mark.parametrize("name", sorted(set(FINITE) - {"none"}))
def test_draws_follow_the_law(name):
    law, rng = FINITE[name], np.random.default_rng(3)
    draws = law.sample(200_000, rng=rng)
    assert_mc_close(law.excess(0.4), Estimate.from_samples(np.maximum(draws - 0.4, 0)))
    assert_mc_close(law.shortfall(0.4), Estimate.from_samples(np.maximum(0.4 - draws, 0)))
    assert_mc_close(law.cdf(0.4), Estimate.from_samples(draws <= 0.4))
    assert_mc_close(law.mean_abs(0.7), Estimate.from_samples(np.abs(draws + 0.7)))
    if name != "student3":  # the square has no variance there
        assert_mc_close(law.mean_square(0.7), Estimate.from_samples((draws + 0.7) ** 2))


def test_batches_follow_the_law_of_their_mean():
    draws = SKEW.sample((100_000, 5), rng=np.random.default_rng(4)).mean(axis=1)
    law = SKEW.averaged(5)
    assert_mc_close(law.mean_abs(0.3), Estimate.from_samples(np.abs(draws + 0.3)))
    assert law.mean_abs(0.3) != pytest.approx(SKEW.averaged(6).mean_abs(0.3), rel=0.02, abs=0)
