"""The largest direction of Adam: a bound for all gradients, and the gradients that reach it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtheory.quantizers import sign

torch = pytest.importorskip("torch")
from qtheory.nn import DeterministicRounding  # noqa: E402

BETAS = (0.9, 0.999)


def bound(count, betas=BETAS):
    """Return the bound B_t of the direction after so many gradients."""
    first, second = betas
    ratio = first**2 / second
    squares = (1 - second**count) / (1 - second) * (1 - ratio**count) / (1 - ratio)
    return (1 - first) / (1 - first**count) * math.sqrt(squares)


def directions(gradients, betas=BETAS):
    """Return the moves of torch's Adam at rate one, without its epsilon."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=betas, eps=0.0)
    moves = []
    for gradient in gradients:
        with torch.no_grad():
            weight.zero_()
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        moves.append(-weight.item())
    return np.array(moves)


def growing(count, betas=BETAS):
    """Return gradients that grow by the ratio of the two rates in every step."""
    return (betas[1] / betas[0]) ** np.arange(1.0, count + 1)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("betas", [BETAS, (0.9, 0.99), (0.5, 0.9)])
def test_growing_gradients_reach_the_bound(betas):
    expected = [bound(t, betas) for t in range(1, 201)]
    assert directions(growing(200, betas), betas) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.theory_vs_sim
def test_the_remembered_bound_fails():
    # Negative control: (1 - beta_1) / sqrt(1 - beta_2) is what one gradient after zeros gives.
    remembered = 0.1 / math.sqrt(0.001)
    moves = directions(growing(400))
    assert (moves[299:] > 1.1 * remembered).all()
    assert max(bound(t) for t in range(1, 101)) < remembered
    # What it is of: one gradient after very many that are nearly zero.
    late = directions([*np.full(12_000, 1e-12), 1.0])[-1]
    assert late == pytest.approx(remembered, rel=1e-4, abs=0)


@pytest.mark.theory_vs_sim
def test_slower_and_faster_growth_stays_below():
    # Negative control of what reaches the bound: other ratios do not, by a percent or more.
    expected = np.array([bound(t) for t in range(1, 101)])
    for ratio in (1.0, 1.05, 1.2):
        moves = directions(ratio ** np.arange(100.0))
        assert (moves <= expected * (1 + 1e-12)).all()
        assert moves[-1] < 0.99 * expected[-1]


@pytest.mark.property
@given(st.floats(0.01, 1e3), st.lists(st.floats(-1e3, 1e3), max_size=25))
def test_no_gradients_exceed_the_bound(first, others):
    moves = directions([first, *others])
    bounds = np.array([bound(t) for t in range(1, len(moves) + 1)])
    assert (np.abs(moves) <= bounds * (1 + 1e-9)).all()


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(("factor", "changes"), [(0.999, 0), (1.001, 1)])
def test_a_rate_below_the_inverse_bound_changes_no_weight(factor, changes):
    rate = factor / max(bound(t) for t in range(1, 61))
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    base = torch.optim.Adam([weight], lr=rate, betas=BETAS, eps=0.0)
    optimizer = DeterministicRounding(base, sign())
    for gradient in growing(60):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    assert optimizer.counts()[0].num_changes == changes
