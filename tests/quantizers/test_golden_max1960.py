"""Golden: numbers of the tables of Max (1960), at the digits reprinted by others."""

import csv
from functools import cache
from pathlib import Path

import pytest

from qtheory.quantizers import (
    Gaussian,
    ScalarQuantizer,
    design_lloyd_max,
    design_uniform,
    distortion,
)

TABLE = Path(__file__).resolve().parent.parent / "golden" / "max1960.csv"
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
SOURCE = Gaussian()

# Where the print is not the rounded optimum. All three lie below it, where no quantizer can be.
DEVIATIONS = {
    ("I", "8", "distortion"): "cut off after five decimals instead of rounded",
    ("I", "16", "distortion"): "0.04 % too small",
    ("I", "32", "distortion"): "0.2 % too small",
}


@cache
def designed(table, num_levels):
    """Return the best quantizer with any levels (table I) or with equal steps (table II)."""
    if table == "I":
        return design_lloyd_max(num_levels, SOURCE).quantizer
    return design_uniform(num_levels, SOURCE)


def measured(row):
    """Return what the library gives for a row."""
    quantizer = designed(row["table"], int(row["num_levels"]))
    compute = {
        "distortion": lambda: distortion(quantizer, SOURCE),
        "step": lambda: quantizer.step_size,
    }
    return float(compute[row["quantity"]]())


def rounds_to(value, printed):
    """Whether a value is within half a unit of the last digit printed."""
    decimals = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10.0**-decimals


def key(row):
    return row["table"], row["num_levels"], row["quantity"]


def params(rows):
    return [pytest.param(row, id="-".join(key(row))) for row in rows]


@pytest.mark.golden
@pytest.mark.parametrize("row", params(row for row in ROWS if key(row) not in DEVIATIONS))
def test_library_gives_the_printed_digits(row):
    assert rounds_to(measured(row), row["printed"])


@pytest.mark.golden
@pytest.mark.parametrize("row", params(row for row in ROWS if key(row) in DEVIATIONS))
def test_print_deviates_where_the_list_says_and_is_below_the_optimum(row):
    value = measured(row)
    assert not rounds_to(value, row["printed"])
    # The optimum of a log-concave source is global, so nothing can be smaller.
    assert float(row["printed"]) < value


def test_every_listed_deviation_is_in_the_table():
    assert set(DEVIATIONS) <= {key(row) for row in ROWS}


def test_no_row_is_lost():
    assert len(ROWS) == len({key(row) for row in ROWS}) == 11


# Negative control: the comparison sees a quantizer that is almost the best.


@pytest.mark.golden
def test_a_slightly_wrong_quantizer_does_not_give_the_printed_digits():
    best = designed("I", 4)
    stretched = ScalarQuantizer(1.02 * best.levels)
    assert not rounds_to(distortion(stretched, SOURCE), "0.1175")


@pytest.mark.golden
def test_uniform_step_of_another_number_of_levels_is_seen():
    assert not rounds_to(designed("II", 7).step_size, "0.5860")


def test_half_a_unit_of_the_last_digit_is_the_limit():
    assert [rounds_to(v, "1.50") for v in (1.4951, 1.5049, 1.494)] == [True, True, False]
