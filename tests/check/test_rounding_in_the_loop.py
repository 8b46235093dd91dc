"""Checks of the exercises on rounding in the loop: right answers pass, usual mistakes get hints."""

import math

from answers import AnswerTests

from qtheory import check
from qtheory.check import rounding_in_the_loop as module


class TestRoundingInTheLoop(AnswerTests):
    numeric = (
        (check.frozen_radius, 0.3125),
        (check.mean_square_move, 0.19375),
        (check.sixteen_weight_floor, 1.0),
        (check.threshold_excess, 0.005),
        (check.averaged_share, 0.25),
        (check.extra_bits, 3.0),
    )
    wrong = (
        (check.frozen_radius, 0.625, "half a grid step is enough"),
        (check.frozen_radius, 0.0625, "this is the smallest step that moves"),
        (check.frozen_radius, 0.0125, "solve for the distance"),
        (check.mean_square_move, 0.180625, "the squared step without rounding"),
        (check.mean_square_move, 0.10625, "this one is longer"),
        (check.mean_square_move, 0.013125, "this is the variance of rounding"),
        (check.mean_square_move, 0.286875, "this is the upper bound"),
        (check.mean_square_move, math.sqrt(0.19375), "this is the root of it"),
        (check.sixteen_weight_floor, 0.0625, "this is one weight"),
        (check.sixteen_weight_floor, 2.0, "this is the mean squared distance"),
        (check.sixteen_weight_floor, 2.0 * math.sqrt(1.125), "this is the bound"),
        (check.sixteen_weight_floor, 0.25, "grows with the number of weights"),
        (check.sixteen_weight_floor, 0.0, "unbiased rounding has a floor"),
        (check.threshold_excess, 0.0, "to nearest is biased"),
        (check.threshold_excess, 0.125, "the largest excess over all minimizers"),
        (check.threshold_excess, 0.08, "at the nearest grid point"),
        (check.threshold_excess, 0.12, "the excess of the deployed weight"),
        (check.threshold_excess, 0.01, "half the curvature"),
        (check.averaged_share, 1 / 3, "the average forgets as well"),
        (check.averaged_share, 1.0, "the floor of the iterates"),
        (check.averaged_share, 0.0, "too small for the average"),
        (check.averaged_share, 0.75, "what the average removes"),
        (check.averaged_share, 0.5, "the share of the distance"),
        (check.extra_bits, 6.0, "the root of the dimension"),
        (check.extra_bits, 8.0, "the factor of the levels"),
        (check.extra_bits, 0.0, "adds up over the weights"),
        (check.extra_bits, 3 * math.log(2), "bits are binary"),
    )


def test_other_parameters_have_other_answers():
    assert module.frozen_radius(1.25, curvature=0.5)
    assert module.mean_square_move(0.0425, gradient=1.7)
    assert module.sixteen_weight_floor(0.5, grid_step=0.125)
    assert module.threshold_excess(0.045, minimizer=0.1)
    assert module.averaged_share(0.5, ratio=1.0)
    assert module.extra_bits(1.0, factor=4)
