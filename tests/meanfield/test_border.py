"""Borders are found where accuracies cross, and a wrong law is told from a right one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from qtheory.meanfield.border import accuracy_after, border_depth, fit_border

DEPTHS = [4, 8, 16, 32]

# --- Unit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        pytest.param([0.9, 0.9, 0.1, 0.1], 8 * math.sqrt(2), id="halfway-in-logarithms"),
        pytest.param([1.0, 0.75, 0.25, 0.1], 8 * math.sqrt(2), id="halfway-between"),
        pytest.param([0.9, 0.5, 0.1, 0.1], 8.0, id="at-the-threshold"),
        pytest.param([0.9, 0.9, 0.9, 0.6], math.inf, id="never"),
        pytest.param([0.4, 0.9, 0.9, 0.6], 0.0, id="at-once"),
        pytest.param([0.9, 0.9, math.nan, 0.9], 8 * 2 ** (4 / 9), id="diverged-is-zero"),
        pytest.param([0.9, 0.1, 0.9, 0.1], 4 * math.sqrt(2), id="first-crossing"),
    ],
)
def test_border_of_one_network(accuracies, expected):
    assert border_depth(DEPTHS, accuracies) == pytest.approx(expected, rel=1e-12, abs=0)


def test_borders_of_several_seeds_at_once():
    accuracies = np.array([[0.9, 0.4], [0.9, 0.1], [0.1, 0.1], [0.1, 0.1]])
    assert_allclose(border_depth(DEPTHS, accuracies), [8 * math.sqrt(2), 0.0], rtol=1e-12)


def test_a_perfect_law_leaves_nothing():
    fit = fit_border([2.0, 5.0, 9.0], 6 * np.array([[2.0, 2.0], [5.0, 5.0], [9.0, 9.0]]))
    assert fit.multiple == pytest.approx(6, rel=1e-12, abs=0)
    assert fit.exponent.mean == pytest.approx(1, rel=1e-12, abs=0)
    assert (fit.misfit, fit.noise) == pytest.approx((0, 0), abs=1e-14)


def test_a_wrong_law_leaves_a_misfit_above_the_noise():
    # Borders of a square law, ten percent apart from seed to seed, held against a line.
    scales = np.array([1.0, 2.0, 4.0])
    borders = scales[:, None] ** 2 * np.array([0.95, 1.05])
    wrong, right = fit_border(scales, borders), fit_border(scales**2, borders)
    assert wrong.exponent.mean == pytest.approx(2, rel=1e-12, abs=0)
    assert wrong.misfit > 10 * wrong.noise
    assert right.misfit < right.noise
    # By hand: logarithms of 1, 2, 4 have standard deviation ln 2.
    assert wrong.misfit == pytest.approx(math.log(2), rel=1e-12, abs=0)
    assert wrong.noise == pytest.approx(math.log(1.05 / 0.95) / 2, rel=1e-12, abs=0)


def test_a_constant_law_has_no_exponent():
    assert fit_border([3.0, 3.0, 3.0], [[1, 2], [2, 3], [4, 5]]).exponent.mean == 0


def test_accuracy_between_checkpoints():
    accuracies = [[[0.1, 0.3], [0.2, 0.2]], [[0.5, 0.9], [0.0, 1.0]]]
    found = accuracy_after([20, 5], [10, 40], accuracies)
    assert_allclose(found, [[0.2, 0.2], [0.5, 0.0]], rtol=0, atol=1e-12)
    assert np.isnan(accuracy_after([20], [10, 40], [[0.1, np.nan]])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [2, 1], [[0, 0]]), r"`checkpoints` must be increasing from above zero"),
        (([1], [0, 1], [[0, 0]]), r"`checkpoints` must be increasing from above zero"),
        (([0], [1, 2], [[0, 0]]), r"`num_steps` must be a row of numbers above zero"),
        (([1], [1, 2], [0, 0]), r"`accuracies` must be of shape \(1, ..., 2\), got \(2,\)"),
        (([1], [1, 2], [[0, 0, 0]]), r"`accuracies` must be of shape \(1, ..., 2\), got \(1, 3\)"),
    ],
)
def test_bad_checkpoints_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        accuracy_after(*arguments)


@pytest.mark.parametrize(
    ("depths", "accuracies", "message"),
    [
        ([4, 4], [1, 0], r"`depths` must be at least two, increasing from above zero"),
        ([0, 4], [1, 0], r"`depths` must be at least two, increasing from above zero"),
        ([4], [1], r"`depths` must be at least two, increasing from above zero"),
        ([4, 8], [1, 0, 0], r"`accuracies` must be of shape \(2, ...\), got \(3,\)"),
    ],
)
def test_bad_grids_are_refused(depths, accuracies, message):
    with pytest.raises(ValueError, match=message):
        border_depth(depths, accuracies)


@pytest.mark.parametrize(
    ("predicted", "borders", "message"),
    [
        (
            [1, 2],
            [[1, 1], [2, 2]],
            r"`predicted` must be of shape \(num_columns,\), at least three",
        ),
        ([1, 2, 3], [[1], [2], [3]], r"`borders` must be of shape \(3, num_seeds\), at least two"),
        ([1, 2, 0], [[1, 1], [2, 2], [3, 3]], r"`predicted` must be finite and above zero"),
        ([1, 2, 3], [[1, 1], [2, 2], [3, math.inf]], r"`borders` must be finite and above zero"),
    ],
)
def test_bad_borders_are_refused(predicted, borders, message):
    with pytest.raises(ValueError, match=message):
        fit_border(predicted, borders)


# --- Property -----------------------------------------------------------------------------------


@pytest.mark.property
@given(factor=st.floats(0.1, 10), power=st.floats(-2, 2))
def test_border_scales_with_the_depths_and_the_fit_finds_a_power(factor, power):
    accuracies = [0.95, 0.7, 0.3, 0.1]
    one = border_depth(DEPTHS, accuracies)
    assert_allclose(border_depth(np.multiply(factor, DEPTHS), accuracies), factor * one, rtol=1e-12)
    scales = np.array([2.0, 3.0, 7.0])
    borders = factor * scales[:, None] ** power * np.array([1.0, 1.1])
    assert_allclose(fit_border(scales, borders).exponent.mean, power, rtol=0, atol=1e-12)
