"""Optimizers that round: one rounding an update, by the exact law, resumed bit for bit."""

import copy
import dataclasses
import io
import math
import pickle

import numpy as np
import pytest
from helpers import assert_mc_close
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from qtheory import training
from qtheory.datasets import digits_split
from qtheory.numerics import Estimate
from qtheory.quantizers import (
    BFLOAT16,
    FLOAT16,
    FP4_E2M1,
    FP8_E4M3,
    FP8_E4M3FNUZ,
    FP8_E5M2,
    MXFP4,
    AffineQuantizer,
    FixedPointFormat,
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
    float_format,
    infinite_grid,
    round_to_fixed,
    round_to_format,
    sign,
    ternary,
    uniform_midrise,
    uniform_midtread,
)

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from qtheory.nn import (  # noqa: E402
    BinaryConnect,
    DeterministicRounding,
    StochasticRounding,
    UpdateCounts,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
QUANTIZERS = [
    pytest.param(sign(0.3), id="sign"),
    pytest.param(uniform_midrise(2, step_size=2.0), id="two-levels"),
    pytest.param(ternary(0.7, threshold=0.2), id="ternary"),
    pytest.param(ScalarQuantizer([-1.0, 0.3, 2.0]), id="scalar"),
    pytest.param(uniform_midrise(8, step_size=0.37), id="midrise"),
    *(
        pytest.param(uniform_midtread(8, step_size=0.1, round_mode=mode), id=mode.name.lower())
        for mode in RoundMode
        if mode is not RoundMode.STOCHASTIC
    ),
    pytest.param(UniformQuantizer(0.1, offset=1 / 3, code_min=-3, code_max=9), id="offset"),
    pytest.param(UniformQuantizer(0.1, code_min=0, code_max=1), id="zero-and-step"),
    pytest.param(infinite_grid(0.25, offset=0.1), id="infinite"),
    pytest.param(AffineQuantizer(0.5, 1, code_min=0, code_max=3), id="per-tensor"),
    pytest.param(AffineQuantizer([0.5, 0.2], code_min=-4, code_max=3, axis=0), id="per-channel"),
    pytest.param(
        AffineQuantizer(
            np.linspace(0.1, 1.0, 2 * 401).reshape(2, 401),
            np.arange(802).reshape(2, 401) % 4,
            code_min=0,
            code_max=3,
            axis=1,
            group_size=5,
        ),
        id="per-group",
    ),
]
FORMATS = [
    *(
        pytest.param(fmt, id=fmt.name)
        for fmt in (FP4_E2M1, FP8_E4M3, FP8_E4M3FNUZ, FP8_E5M2, float_format(3, 0), BFLOAT16)
    ),
    pytest.param(float_format(3, 2).replace(has_subnormals=False), id="no-subnormals"),
]
GRID = uniform_midtread(33, step_size=2.0**-4)

RULES = {
    "sr": lambda base, q=GRID: StochasticRounding(base, q, generator=seeded(5)),
    "r": lambda base, q=GRID: DeterministicRounding(base, q),
    "bc": lambda base, q=GRID: BinaryConnect(base, q, clip=1.0),
    "bc-stochastic": lambda base, q=GRID: BinaryConnect(
        base, q, forward="stochastic", generator=seeded(5)
    ),
}
BASES = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, amsgrad=True),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
each_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def parameter(values, dtype=None):
    return nn.Parameter(torch.as_tensor(values).to(dtype, copy=True))


def sgd(weights, **options):
    return torch.optim.SGD([weights], **{"lr": 1.0, **options})


def step_with(optimizer, weights, gradient):
    """One step with a given gradient."""
    weights.grad = torch.as_tensor(gradient).to(weights.dtype).expand_as(weights).clone()
    optimizer.step()


def probes(dtype):
    """Numbers on and around ties, and the special ones, shape (2, 2002)."""
    near = torch.cat([torch.arange(-80, 81) * 0.05 + k * 2.0**-p for p in (9, 30) for k in (-1, 1)])
    wide = torch.linspace(-30, 30, 2 * 2002 - near.numel() - 7, dtype=torch.float64)
    special = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e30, -449.0])
    return torch.cat([near.double(), wide, special.double()]).reshape(2, -1).to(dtype)


def to_exact_numpy(tensor):
    return tensor.detach().to(torch.float64).numpy()


def to_nearest(quantizer):
    """Return a quantizer with the same levels that leaves each where it is, rounding errors too."""
    is_uniform = isinstance(quantizer, UniformQuantizer)
    changes = {"round_mode": RoundMode.TIES_TO_EVEN} if is_uniform else {}
    return dataclasses.replace(quantizer, **changes)


def small_model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(dtype)


def small_batch(dtype=torch.float32):
    x = torch.randn(32, 8, generator=seeded(1)).to(dtype)
    return x, torch.randint(0, 3, (32,), generator=seeded(2))


def train(model, optimizer, num_steps):
    x, y = small_batch(next(model.parameters()).dtype)
    for _ in range(num_steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- Unit: rounding is that of NumPy -----------------------------------------------------------


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nearest_levels_are_those_of_the_quantizer_bit_for_bit(quantizer, dtype):
    weights = parameter(probes(dtype))
    expected = torch.from_numpy(np.asarray(quantizer(to_exact_numpy(weights)))).to(dtype)
    DeterministicRounding(sgd(weights), quantizer)
    assert_array_equal(to_exact_numpy(weights), to_exact_numpy(expected))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_values_of_a_format_are_those_of_numpy_bit_for_bit(fmt, dtype):
    weights = parameter(probes(dtype))
    expected = round_to_format(to_exact_numpy(weights), fmt)
    DeterministicRounding(sgd(weights), fmt)
    actual = to_exact_numpy(weights)
    assert_array_equal(actual, expected)
    is_number = ~np.isnan(expected)
    assert_array_equal(np.signbit(actual[is_number]), np.signbit(expected[is_number]))


def test_fixed_point_is_that_of_numpy():
    fmt = FixedPointFormat(integer_bits=2, fraction_bits=3)
    weights = parameter(probes(torch.float64)[:, :-7])
    expected = round_to_fixed(to_exact_numpy(weights), fmt)
    DeterministicRounding(sgd(weights), fmt)
    assert_array_equal(to_exact_numpy(weights), expected)


@pytest.mark.parametrize(
    "quantizer",
    [
        *QUANTIZERS,
        *(
            pytest.param(fmt.saturating(), id=fmt.name)
            for fmt in (FP4_E2M1, FP8_E4M3, FP8_E5M2, BFLOAT16, float_format(3, 0))
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_stochastic_rounding_goes_to_a_neighbor_and_never_leaves_a_level(quantizer, dtype):
    weights = parameter(torch.nan_to_num(probes(dtype), 0.0, 0.0, 0.0))
    start = weights.detach().clone()
    optimizer = BinaryConnect(sgd(weights), quantizer, forward="stochastic", generator=seeded(1))
    outputs = []
    for _ in range(3):
        step_with(optimizer, weights, 0.0)
        outputs.append(weights.detach().clone())
    nearest = parameter(start)
    resting = StochasticRounding(sgd(nearest), quantizer, generator=seeded(2))
    levels = nearest.detach().clone()
    for _ in range(3):
        step_with(resting, nearest, 0.0)
    assert torch.equal(nearest, levels)
    # A neighbor rounds to itself, and none of the levels lies between it and the number.
    for output in outputs:
        again = parameter(output)
        DeterministicRounding(sgd(again), to_nearest(quantizer))
        assert torch.equal(again, output)
        is_up = output > start
        assert not (is_up & (levels > start) & (levels < output)).any()
        assert not (~is_up & (levels < start) & (levels > output)).any()


# --- Unit: deterministic rounding -------------------------------------------------------------


def test_updates_of_less_than_half_a_step_are_lost_exactly():
    weights = parameter([-1.0, 0.0, 3.0])
    optimizer = DeterministicRounding(sgd(weights), infinite_grid(1.0))
    for _ in range(100):
        step_with(optimizer, weights, [0.49, -0.499, 0.5 - 2**-20])
    assert weights.tolist() == [-1.0, 0.0, 3.0]
    assert optimizer.counts() == [UpdateCounts(3, 100, 0, 0, 0)]
    step_with(optimizer, weights, [0.51, -0.501, 0.5 + 2**-20])
    assert weights.tolist() == [-2.0, 1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_whole_update_is_rounded_once(dtype):
    # Below one the values of bfloat16 are 2**-8 apart; decay and gradient each make 0.3 of that.
    part = 0.3 * 2**-8
    weights = parameter([1.0, 1.0], dtype)
    optimizer = DeterministicRounding(sgd(weights, weight_decay=part), BFLOAT16)
    step_with(optimizer, weights, [part, 0.0])
    assert weights.tolist() == [1 - 2**-8, 1.0]
    decoupled = parameter([1.0], dtype)
    base = torch.optim.AdamW([decoupled], lr=part, weight_decay=1.0)
    step_with(DeterministicRounding(base, BFLOAT16), decoupled, 1.0)
    assert decoupled.item() == 1 - 2**-8


def test_rounded_twice_the_same_update_is_lost():
    weights = parameter([1.0], torch.bfloat16)
    weights.grad = torch.ones_like(weights)
    part = 0.3 * 2**-8
    torch.optim.AdamW([weights], lr=part, weight_decay=1.0).step()
    assert weights.item() == 1.0


# --- Unit: what is touched --------------------------------------------------------------------


def test_groups_have_quantizers_of_their_own():
    first, second, third = (parameter([0.3, 0.8]) for _ in range(3))
    groups = [
        {"params": [first]},
        {"params": [second], "quantizer": sign(0.5)},
        {"params": [third], "quantizer": None},
    ]
    base = torch.optim.SGD(groups, lr=1.0)
    optimizer = DeterministicRounding(base, infinite_grid(1.0))
    assert optimizer.param_groups is base.param_groups
    assert [w.tolist() for w in (first, second)] == [[0.0, 1.0], [0.5, 0.5]]
    for weights in (first, second, third):
        weights.grad = torch.tensor([1.0, 0.25])
    optimizer.step()
    assert [w.tolist() for w in (first, second)] == [[-1.0, 1.0], [-0.5, 0.5]]
    assert torch.equal(third, torch.tensor([0.3, 0.8]) - torch.tensor([1.0, 0.25]))
    fourth = parameter([0.7])
    optimizer.add_param_group({"params": iter([fourth]), "lr": 0.5})
    assert fourth.item() == 1.0
    step_with(optimizer, fourth, 4.0)
    assert fourth.item() == -1.0
    assert [counts.num_weights for counts in optimizer.counts()] == [2, 2, 1]


def test_a_quantizer_may_change_between_updates():
    weights = parameter([0.3, 0.8])
    optimizer = BinaryConnect(sgd(weights), infinite_grid(1.0), clip=0.7)
    optimizer.param_groups[0]["quantizer"] = infinite_grid(0.25)
    step_with(optimizer, weights, 0.0)
    assert weights.tolist() == [0.25, 0.75]
    assert optimizer.latent(weights).tolist() == torch.tensor([0.3, 0.7]).tolist()
    optimizer.param_groups[0].update(quantizer=None, clip=None)
    step_with(optimizer, weights, 1.0)
    assert weights.tolist() == [-0.75, -0.25]
    optimizer.param_groups[0]["quantizer"] = "binary"
    with pytest.raises(ValueError, match="`quantizer` must be UniformQuantizer or"):
        step_with(optimizer, weights, 1.0)


class SharedAndFrozen(nn.Module):
    """An autoencoder of tied weights behind a frozen layer, with an unused one."""

    def __init__(self):
        super().__init__()
        generator = seeded(3)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.encoder, self.decoder, self.unused = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.decoder.weight = self.encoder.weight
        self.gain = nn.Parameter(torch.ones(()))
        for weights in (self.frozen.weight, self.encoder.weight, self.unused.weight):
            nn.init.normal_(weights, std=0.4, generator=generator)

    def forward(self, x):
        return self.gain * self.decoder(torch.tanh(self.encoder(self.frozen(x))))


@each_rule
def test_shared_weights_stay_shared_and_frozen_ones_are_not_touched(rule):
    model = SharedAndFrozen()
    frozen, unused = model.frozen.weight.clone(), GRID(model.unused.weight.detach().numpy())
    x = torch.randn(16, 8, generator=seeded(4))
    optimizer = rule(torch.optim.SGD(model.parameters(), lr=0.2, weight_decay=0.5))
    before = model.unused.weight.clone()
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) - x).square().mean().backward()
        optimizer.step()
    assert model.decoder.weight is model.encoder.weight
    shared = model.encoder.weight.detach().numpy()
    assert_array_equal(shared, GRID(shared))
    assert torch.equal(model.frozen.weight, frozen)
    assert torch.equal(model.unused.weight, before)
    assert (np.abs(before.detach().numpy() - unused) <= 2.0**-4).all()
    # The gain, the tied weights once, and those that got no gradient.
    updates = [(c.num_weights, c.num_updates) for c in optimizer.counts()]
    assert updates == [(1, 5), (64, 5), (64, 0)]


def test_weights_that_thaw_later_are_rounded_once_at_their_first_update():
    weights = parameter([0.3, 0.6, 1.4]).requires_grad_(False)
    optimizer = DeterministicRounding(sgd(weights), infinite_grid(1.0))
    optimizer.step()
    assert torch.equal(weights.detach(), torch.tensor([0.3, 0.6, 1.4]))
    assert optimizer.counts() == []
    weights.requires_grad_(True)
    step_with(optimizer, weights, [-0.3, 0.2, 0.0])
    assert weights.tolist() == [1.0, 0.0, 1.0]
    assert optimizer.counts() == [UpdateCounts(3, 1, 2, 0, 2)]


def test_schedulers_clipping_and_closures_work_as_on_the_wrapped_one():
    weights = parameter([8.0, 8.0])
    optimizer = DeterministicRounding(sgd(weights, lr=4.0), infinite_grid(1.0))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    assert optimizer.base_optimizer.param_groups[0]["lr"] == 4.0

    def closure():
        optimizer.zero_grad()
        loss = (weights * torch.tensor([3.0, 4.0])).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weights], 1.25)
        return loss

    assert optimizer.step(closure).item() == 56.0
    assert weights.tolist() == [5.0, 4.0]
    scheduler.step()
    assert optimizer.step(closure).item() == 31.0
    assert weights.tolist() == [4.0, 2.0]  # 5 - 1.5 is a tie and goes to the even number


def test_a_gradient_scaler_unscales_before_and_skips_what_overflows():
    weights = parameter([1.0, 2.0])
    optimizer = BinaryConnect(sgd(weights), infinite_grid(1.0))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor in (1.0, math.inf):
        optimizer.zero_grad()
        scaler.scale((weights * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert weights.tolist() == [0.0, 1.0]
    assert optimizer.counts()[0].num_updates == 1


def test_hooks_of_both_optimizers_are_called():
    weights, calls = parameter([1.0]), []
    optimizer = DeterministicRounding(sgd(weights), infinite_grid(1.0))
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.base_optimizer.register_step_post_hook(lambda *_: calls.append("wrapped"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    step_with(optimizer, weights, 1.0)
    assert calls == ["before", "wrapped", "after"]


def test_the_memory_of_the_weights_stays_and_no_global_randomness_is_used():
    weights = parameter(torch.zeros(3, 3))
    pointer, view = weights.data_ptr(), weights.detach().view(-1)
    before = torch.get_rng_state()
    optimizer = StochasticRounding(sgd(weights), infinite_grid(1.0), generator=seeded(0))
    step_with(optimizer, weights, 1.0)
    assert weights.data_ptr() == pointer
    assert view.tolist() == [-1.0] * 9
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_between_forward_and_backward_is_noticed():
    weights = parameter([1.0, 2.0])
    optimizer = DeterministicRounding(sgd(weights), infinite_grid(1.0))
    loss = weights.square().sum()
    step_with(optimizer, weights, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# --- Unit: counters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "num_changes"),
    [
        pytest.param(rule, 4 + (1 + 3 if name == "bc" else 4 + 4), id=name)
        for name, rule in RULES.items()
    ],
)
def test_counters_tell_changes_from_reversals(rule, num_changes):
    weights = parameter(torch.zeros(4))
    optimizer = rule(sgd(weights), infinite_grid(1.0))
    for gradient in ([1, 1, 0, 2], [-1, 1, 0, 0], [0, 0, 0, -1], [-1, 1, 0, 2], [1, 1, 0, 1]):
        step_with(optimizer, weights, torch.tensor(gradient, dtype=torch.float32))
    # Paths: 0 -1 0 0 1 0 | 0 -1 -2 -2 -3 -4 | 0 | 0 -2 -2 -1 -3 -4, and with latent weights that
    # are clipped to one: as before | 0 -1 -1 -1 -1 -1 | 0 | 0 -1 -1 0 -1 -1.
    (counts,) = optimizer.counts()
    assert counts == UpdateCounts(4, 5, num_changes, 2 + 0 + 0 + 2, 2)
    assert counts.moved_fraction == counts.num_moved / 4
    assert counts.change_rate == counts.num_changes / 20
    assert counts.reversal_rate == counts.num_reversals / 20


def test_counters_count_over_blocks_as_over_one():
    start = torch.randn(3, 2**15, generator=seeded(8))
    totals = []
    # The transposed weights are not contiguous in memory and are rounded in one piece.
    for is_turned in (False, True):
        weights = nn.Parameter(start.clone().T if is_turned else start.clone())
        gradients = torch.randn(3, *start.shape, generator=seeded(9))
        gradients = gradients.transpose(1, 2) if is_turned else gradients
        optimizer = DeterministicRounding(sgd(weights), infinite_grid(1.0))
        for gradient in gradients:
            step_with(optimizer, weights, gradient)
        totals.append(optimizer.counts())
    assert totals[0] == totals[1]
    assert totals[0][0].num_reversals > 1000


# --- Unit: latent weights ---------------------------------------------------------------------


def test_the_model_can_hold_latent_or_nearest_weights_for_a_while():
    weights = parameter([0.25, -0.75, 0.1], torch.bfloat16)
    optimizer = BinaryConnect(
        sgd(weights), infinite_grid(1.0), forward="stochastic", generator=seeded(3)
    )
    drawn = weights.tolist()
    with optimizer.latent_weights():
        assert weights.tolist() == torch.tensor([0.25, -0.75, 0.1]).bfloat16().tolist()
        with pytest.raises(RuntimeError, match="`step` must be called outside"):
            optimizer.step()
    with optimizer.nearest_weights():
        assert weights.tolist() == [0.0, -1.0, 0.0]
    assert weights.tolist() == drawn
    assert optimizer.latent(weights).dtype == torch.float32
    step_with(optimizer, weights, 0.0)


def test_weights_loaded_behind_its_back_are_refused_until_adopted():
    model, other = small_model(), small_model()
    nn.init.normal_(other[0].weight, generator=seeded(1))
    optimizer = BinaryConnect(torch.optim.SGD(model.parameters(), lr=0.1), GRID)
    model.load_state_dict(model.state_dict())
    train(model, optimizer, 1)
    model.load_state_dict(other.state_dict())
    with pytest.raises(RuntimeError, match=r"Weights of shape \(16, 8\) are not those of the last"):
        train(model, optimizer, 1)
    optimizer.adopt_weights()
    assert torch.equal(optimizer.latent(model[0].weight), other[0].weight)
    assert optimizer.counts()[0].num_updates == 0
    train(model, optimizer, 1)


# --- Unit: refusals ---------------------------------------------------------------------------


def test_what_cannot_be_wrapped_is_refused():
    weights = parameter([1.0])
    with pytest.raises(ValueError, match="`base_optimizer` must be Optimizer, got"):
        DeterministicRounding([weights], GRID)
    with pytest.raises(ValueError, match="must be one that evaluates the loss once a step"):
        DeterministicRounding(torch.optim.LBFGS([weights]), GRID)
    with pytest.raises(ValueError, match="must be one that does not round yet"):
        DeterministicRounding(DeterministicRounding(sgd(weights), GRID), GRID)
    with pytest.raises(ValueError, match="without `differentiable`, as rounding is not"):
        DeterministicRounding(sgd(weights, differentiable=True), GRID)
    for dtype in (torch.complex64, torch.float8_e4m3fn):
        with pytest.raises(ValueError, match="`parameters` must be of a real floating-point type"):
            DeterministicRounding(sgd(nn.Parameter(torch.zeros(1, dtype=dtype))), GRID)


def test_quantizers_that_do_not_fit_are_refused_before_anything_changes():
    weights = parameter([0.3, 0.4])
    random = uniform_midtread(4, step_size=1.0, round_mode=RoundMode.STOCHASTIC)
    cases = [
        (0.5, "`quantizer` must be UniformQuantizer or ScalarQuantizer or AffineQuantizer"),
        (MXFP4, "`quantizer` must be UniformQuantizer"),
        (ScalarQuantizer([1.0]), "`quantizer` must be of at least two levels"),
        (random, "`quantizer` must be of deterministic rounding here"),
        (AffineQuantizer([1.0] * 3, code_min=0, code_max=1, axis=0), "must be one for weights of"),
        (AffineQuantizer([1.0] * 2, code_min=0, code_max=1, axis=1), "with 1 axes"),
        (UniformQuantizer(1.0, offset=2.0**30, code_min=0, code_max=5), "levels differ in torch"),
    ]
    for quantizer, message in cases:
        with pytest.raises(ValueError, match=message):
            DeterministicRounding(sgd(weights), quantizer)
        base = torch.optim.SGD([{"params": [weights], "quantizer": quantizer}], lr=1.0)
        with pytest.raises(ValueError, match=message):
            DeterministicRounding(base, None)
    with pytest.raises(ValueError, match=r"levels differ in torch\.bfloat16"):
        DeterministicRounding(sgd(parameter([0.3], torch.bfloat16)), ScalarQuantizer([1, 1.001]))
    with pytest.raises(ValueError, match=r"exact in torch\.bfloat16"):
        DeterministicRounding(sgd(parameter([0.3], torch.bfloat16)), FLOAT16)
    assert torch.equal(weights.detach(), torch.tensor([0.3, 0.4]))
    StochasticRounding(sgd(weights), random, generator=seeded(0))


def test_generators_and_options_that_do_not_fit_are_refused():
    weights = parameter([0.3])
    with pytest.raises(ValueError, match="`generator` must be Generator, got None"):
        StochasticRounding(sgd(weights), GRID, generator=None)
    with pytest.raises(ValueError, match="`generator` must be Generator, got 3"):
        BinaryConnect(sgd(weights), GRID, forward="stochastic", generator=3)
    with pytest.raises(ValueError, match="`generator` must be left out for nearest rounding"):
        BinaryConnect(sgd(weights), GRID, generator=seeded(0))
    with pytest.raises(ValueError, match="`forward` must be one of 'nearest', 'stochastic', got"):
        BinaryConnect(sgd(weights), GRID, forward="random")
    with pytest.raises(ValueError, match=r"`clip` must be finite and above zero, got 0\.0"):
        BinaryConnect(sgd(weights), GRID, clip=0.0)
    base = torch.optim.SGD([{"params": [weights], "clip": -1}], lr=1.0)
    with pytest.raises(ValueError, match="`clip` must be finite and above zero, got -1"):
        BinaryConnect(base, GRID)
    assert base.param_groups[0]["params"] == [weights]
    assert weights.item() == torch.tensor(0.3)
    meta = nn.Parameter(torch.zeros(1, device="meta"))
    with pytest.raises(ValueError, match="`generator` must be on the device of the parameters, m"):
        StochasticRounding(sgd(meta), GRID, generator=seeded(0))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_weights_listed_twice_are_refused():
    weights = parameter([0.3])
    base = torch.optim.SGD([weights, weights], lr=1.0)
    with pytest.raises(ValueError, match="`parameters` must be listed once each, got 2"):
        BinaryConnect(base, GRID)


def test_a_model_that_is_converted_or_moved_afterwards_is_refused():
    model = small_model()
    optimizer = BinaryConnect(torch.optim.SGD(model.parameters(), lr=0.1), GRID)
    model.to(torch.bfloat16)
    with pytest.raises(
        RuntimeError, match=r"in torch\.float32 on cpu when .*, now they are in torch\.bfloat16 on"
    ):
        train(model, optimizer, 1)


def test_sparse_gradients_are_refused_and_nothing_is_changed():
    table = nn.Embedding(4, 2, sparse=True)
    other = parameter([1.0])
    optimizer = DeterministicRounding(torch.optim.SGD([other, table.weight], lr=1.0), GRID)
    before = table.weight.clone()
    table(torch.tensor([1])).sum().backward()
    other.grad = torch.ones(1)
    with pytest.raises(ValueError, match="`parameters` must be of dense gradients, since every"):
        optimizer.step()
    assert torch.equal(table.weight, before)
    assert other.item() == 1.0


def test_the_state_of_another_rule_or_grid_is_refused():
    weights = parameter([1.0])
    state = DeterministicRounding(sgd(weights), GRID).state_dict()
    with pytest.raises(ValueError, match="must be one of BinaryConnect, nearest, got 'Determ"):
        BinaryConnect(sgd(weights), GRID).load_state_dict(state)
    state_of_latent = BinaryConnect(sgd(weights), GRID).state_dict()
    with pytest.raises(ValueError, match="of BinaryConnect, stochastic, got 'BinaryConnect, near"):
        RULES["bc-stochastic"](sgd(weights)).load_state_dict(state_of_latent)
    with pytest.raises(
        ValueError, match="`state_dict` must be one of DeterministicRounding, got N"
    ):
        DeterministicRounding(sgd(weights), GRID).load_state_dict(sgd(weights).state_dict())
    with pytest.raises(ValueError, match="`state_dict` must be one with the quantizers"):
        DeterministicRounding(sgd(weights), sign()).load_state_dict(state)


# --- Property ---------------------------------------------------------------------------------

numbers = st.floats(-50, 50, width=32)


@pytest.mark.property
@given(
    step=st.floats(1e-2, 10),
    offset=st.floats(-3, 3),
    start=st.lists(numbers, min_size=1, max_size=9),
    update=numbers,
    seed=st.integers(0, 2**31),
)
def test_weights_end_on_a_level_less_than_a_step_from_the_update(step, offset, start, update, seed):
    grid = UniformQuantizer(step, offset=offset, code_min=-2000, code_max=2000)
    bounds = []
    for optimizer_of, part in [
        (lambda base: DeterministicRounding(base, grid), 0.5),
        (lambda base: StochasticRounding(base, grid, generator=seeded(seed)), 1.0),
    ]:
        weights = parameter(start, torch.float64)
        optimizer = optimizer_of(sgd(weights))
        assert_array_equal(weights.detach().numpy(), grid(start))
        goal = np.clip(weights.detach().numpy() - update, *grid.levels[[0, -1]])
        step_with(optimizer, weights, update)
        output = weights.detach().numpy()
        assert_array_equal(output, grid(output))
        bounds.append(np.abs(output - goal).max() <= part * step * (1 + 1e-9))
    assert bounds == [True, True]


@pytest.mark.property
@given(
    gradients=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6),
    clip=st.sampled_from([None, 0.5, 2.0]),
)
def test_the_weights_are_always_the_rounding_of_the_latent_ones(gradients, clip):
    weights = parameter([0.1, -2.0, 1.0])
    optimizer = BinaryConnect(sgd(weights, lr=0.1, momentum=0.5), GRID, clip=clip)
    for gradient in gradients:
        step_with(optimizer, weights, gradient)
        latent = optimizer.latent(weights)
        assert_array_equal(weights.detach().numpy(), GRID(latent.numpy()))
        assert latent.abs().max() <= (math.inf if clip is None else clip)


# --- Theory: the law of one step, and the same rules elsewhere ---------------------------------

NUM_WEIGHTS = 200_000


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("grid", "dtype", "gap"),
    [
        pytest.param(infinite_grid(0.25), torch.float32, 0.25, id="infinite"),
        pytest.param(infinite_grid(0.1), torch.float32, 0.1, id="not-dyadic"),
        pytest.param(uniform_midrise(2, step_size=0.5), torch.float32, 0.5, id="two-levels"),
        pytest.param(ScalarQuantizer([-0.25, 0.25, 5.0]), torch.float64, 0.5, id="listed"),
        pytest.param(
            AffineQuantizer([0.5], 1, code_min=-5, code_max=6, axis=0),
            torch.float32,
            0.5,
            id="affine",
        ),
        pytest.param(float_format(4, 2), torch.bfloat16, 2.0**-5, id="format-below-a-power"),
    ],
)
@pytest.mark.parametrize("fraction", [0.03, 0.25, 0.9])
def test_a_weight_moves_with_the_probability_of_its_update(grid, dtype, gap, fraction):
    weights = parameter(torch.full((1, NUM_WEIGHTS), 0.26), dtype)
    optimizer = StochasticRounding(sgd(weights), grid, generator=seeded(11))
    start = weights.detach().double()[0, 0].item()
    gradient = torch.tensor(fraction * gap).to(dtype).item()
    step_with(optimizer, weights, gradient)
    moved = weights.detach().double().numpy()
    update = Estimate.from_samples(moved.ravel() - start)
    assert_mc_close(-gradient, update, rel_resolution=0.1)
    probability = gradient / gap
    rate = optimizer.counts()[0].change_rate
    error = math.sqrt(probability * (1 - probability) / NUM_WEIGHTS)
    assert_mc_close(probability, Estimate(rate, error, NUM_WEIGHTS), rel_resolution=0.1)
    # Negative control: rounding whose mean is a tenth off would be seen.
    with pytest.raises(AssertionError):
        assert_mc_close(-1.1 * gradient, update, rel_resolution=0.1)


@pytest.mark.theory_vs_sim
def test_an_update_of_many_steps_has_the_second_moment_of_theory():
    weights = parameter(torch.zeros(NUM_WEIGHTS), torch.float64)
    optimizer = StochasticRounding(sgd(weights, lr=0.1), infinite_grid(0.25), generator=seeded(2))
    step_with(optimizer, weights, 6.25)
    moves = weights.detach().numpy()
    # u = 2.5 steps: the mean is kept, and q (1 - q) steps squared are added to its square.
    assert set(moves.tolist()) == {-0.5, -0.75}
    assert_mc_close(-0.625, Estimate.from_samples(moves))
    assert_mc_close(0.25**2 * (2.5**2 + 0.25), Estimate.from_samples(moves**2))
    theory = training.one_step_moments(
        6.25, training.NoNoise(), learning_rate=0.1, grid_step=0.25, rule="sr"
    )
    assert_mc_close(float(theory.second_moment), Estimate.from_samples(moves**2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_updates_a_grid_that_is_not_dyadic_keeps_its_weights(dtype):
    start = 0.1 * torch.arange(-5000, 5000)
    weights = parameter(start, dtype)
    optimizer = StochasticRounding(sgd(weights), infinite_grid(0.1), generator=seeded(3))
    for _ in range(200):
        step_with(optimizer, weights, 0.0)
    assert optimizer.counts() == [UpdateCounts(10_000, 200, 0, 0, 0)]


@pytest.mark.theory_vs_sim
def test_in_bfloat16_small_updates_stall_unless_rounded_at_random():
    num_steps, update = 200, 2.0**-12  # a sixteenth of the spacing below one
    optimizers, outputs = {}, {}
    for name, wrap in {
        "torch": lambda base: base,
        "nearest": lambda base: DeterministicRounding(base, BFLOAT16),
        "random": lambda base: StochasticRounding(base, BFLOAT16, generator=seeded(4)),
        "latent": lambda base: BinaryConnect(base, BFLOAT16),
    }.items():
        outputs[name] = parameter(torch.ones(20_000), torch.bfloat16)
        optimizers[name] = wrap(sgd(outputs[name], lr=update))
        for _ in range(num_steps):
            step_with(optimizers[name], outputs[name], 1.0)
    exact = 1 - num_steps * update
    assert (outputs["torch"] == 1).all()
    assert (outputs["nearest"] == 1).all()
    samples = 1 - outputs["random"].detach().double().numpy()
    assert_mc_close(1 - exact, Estimate.from_samples(samples), rel_resolution=0.03)
    assert (outputs["latent"] == torch.tensor(exact).bfloat16()).all()


@pytest.mark.parametrize(
    "grid",
    [infinite_grid(0.25), uniform_midtread(9, step_size=0.25), uniform_midrise(2, step_size=2.0)],
    ids=["infinite", "nine-levels", "two-levels"],
)
@pytest.mark.parametrize(
    ("rule_of", "wrap"),
    [
        pytest.param(training.DeterministicRounding, DeterministicRounding, id="nearest"),
        pytest.param(training.BinaryConnect, BinaryConnect, id="latent"),
    ],
)
def test_deterministic_rules_for_arrays_and_for_models_agree_bit_for_bit(grid, rule_of, wrap):
    rule, rng = rule_of(grid), np.random.default_rng(0)
    # Numbers of few bits, on which float32 makes no errors, a little off the ties.
    start = grid(rng.integers(-9, 9, 50) / 4 + 1 / 64).astype(np.float32)
    weights = parameter(start)
    optimizer = wrap(sgd(weights, lr=0.5), grid)
    latent = rule.start(start)
    for gradient in (rng.integers(-99, 99, (20, 50)) / 16 + 1 / 512).astype(np.float32):
        assert_array_equal(weights.detach().numpy(), rule.weights(latent))
        latent = rule.update(latent, gradient, 0.5)
        step_with(optimizer, weights, gradient)
    assert_array_equal(weights.detach().numpy(), rule.weights(latent))
    assert optimizer.counts()[0].num_changes > 50


# --- Theory: the loop by hand -------------------------------------------------------------------


def train_by_hand(model, base_of, weights_of, *, num_steps, clip=math.inf):
    """BinaryConnect as one would write it: a second model of latent weights, and two copies."""
    latents = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    base, (x, y) = base_of(latents), small_batch()
    quantized = [weights_of(latent.detach()) for latent in latents]
    for _ in range(num_steps):
        with torch.no_grad():
            for p, values in zip(model.parameters(), quantized, strict=True):
                p.copy_(values)
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        for p, latent in zip(model.parameters(), latents, strict=True):
            latent.grad = p.grad.clone()
        base.step()
        for latent in latents:
            latent.data.clamp_(-clip, clip)
        quantized = [weights_of(latent.detach()) for latent in latents]
    return latents, quantized


@each_base
@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_loop_by_hand_is_the_same_bit_for_bit(base, clip):
    model = small_model()
    latents, quantized = train_by_hand(
        model,
        base,
        lambda latent: torch.from_numpy(GRID(latent.numpy())),
        num_steps=30,
        clip=clip or math.inf,
    )
    ours = small_model()
    optimizer = BinaryConnect(base(ours.parameters()), GRID, clip=clip)
    train(ours, optimizer, 30)
    assert same(ours.parameters(), quantized)
    assert same(map(optimizer.latent, ours.parameters()), latents)


def test_the_stochastic_loop_by_hand_is_the_same_bit_for_bit():
    generator = seeded(5)

    def weights_of(latent):
        position = latent.double() / GRID.step_size
        random = torch.rand(latent.shape, dtype=torch.float64, generator=generator)
        codes = position.floor() + (random < position - position.floor())
        return (codes.clamp(-16, 16) * GRID.step_size).float()

    model, ours = small_model(), small_model()
    latents, quantized = train_by_hand(model, BASES["adam"], weights_of, num_steps=30)
    train(ours, RULES["bc-stochastic"](BASES["adam"](ours.parameters())), 30)
    assert same(ours.parameters(), quantized)
    assert not same(ours.parameters(), latents)


# --- Resuming -----------------------------------------------------------------------------------


@each_rule
@each_base
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_resumed_training_is_bit_identical(rule, base, dtype):
    model = small_model(dtype)
    optimizer = rule(base(model.parameters()))
    train(model, optimizer, 7)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    copies = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    train(model, optimizer, 7)
    saved = torch.load(file, weights_only=True)
    resumed = small_model(dtype)
    again = rule(base(resumed.parameters()))
    train(resumed, again, 2)
    resumed.load_state_dict(saved["model"])
    again.load_state_dict(saved["optimizer"])
    for other, other_optimizer in [*copies, (resumed, again)]:
        train(other, other_optimizer, 7)
        assert same(other.parameters(), model.parameters())
        assert other_optimizer.counts() == optimizer.counts()
    assert again.param_groups is again.base_optimizer.param_groups
    assert again.param_groups[0]["quantizer"] is GRID


NAMES = ["Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop"]


@pytest.mark.parametrize("name", NAMES)
def test_any_optimizer_of_torch_is_wrapped_and_resumed(name):
    def make(values):
        weights = parameter(values, torch.bfloat16)
        return weights, BinaryConnect(getattr(torch.optim, name)([weights], lr=0.1), GRID)

    start = torch.linspace(-1, 1, 36).bfloat16().reshape(6, 6)
    weights, optimizer = make(start)
    for _ in range(3):
        step_with(optimizer, weights, weights.detach())
    again, resumed = make(weights.detach())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step_with(optimizer, weights, weights.detach())
        step_with(resumed, again, again.detach())
    assert not torch.equal(optimizer.latent(weights), start.float())
    assert torch.equal(weights, again)
    assert torch.equal(optimizer.latent(weights), resumed.latent(again))


def test_resumed_without_the_generator_it_is_not():
    runs = []
    for keeps_generator in (True, False):
        model = small_model()
        optimizer = RULES["sr"](BASES["adam"](model.parameters()))
        train(model, optimizer, 7)
        state = optimizer.state_dict()
        train(model, optimizer, 1)
        state["generator"] = state["generator"] if keeps_generator else seeded(6).get_state()
        optimizer.load_state_dict(state)
        train(model, optimizer, 1)
        runs.append([p.detach().clone() for p in model.parameters()])
    assert not same(*runs)


def test_hooks_of_loading_are_called():
    weights, calls = parameter([1.0]), []
    optimizer = DeterministicRounding(sgd(weights), GRID)
    optimizer.register_load_state_dict_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("after"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["before", "after"]


def test_an_optimizer_that_has_made_steps_can_be_wrapped():
    model = small_model(torch.bfloat16)
    base = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, base, 3)
    optimizer = StochasticRounding(base, BFLOAT16, generator=seeded(1))
    train(model, optimizer, 3)
    state = base.state[model[0].weight]
    assert state["exp_avg"].dtype == torch.float32
    assert state["step"] == 6


def test_resumed_without_the_model_it_is_refused():
    model, other = small_model(), small_model()
    optimizer = RULES["bc"](BASES["adam"](model.parameters()))
    train(model, optimizer, 7)
    again = RULES["bc"](BASES["adam"](other.parameters()))
    again.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="are not those of the last update"):
        train(other, again, 1)


# --- Networks -----------------------------------------------------------------------------------


def convolutional_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def accuracy_after(model, optimizer, *, num_steps):
    """Accuracy on held-out digits."""
    pytest.importorskip("sklearn")
    train_x, train_y, test_x, test_y = map(torch.from_numpy, digits_split())
    generator = seeded(7)
    for _ in range(num_steps):
        chosen = torch.randint(0, len(train_x), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(train_x[chosen].float()), train_y[chosen]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return float((model(test_x.float()).argmax(1) == test_y).float().mean())


def binary_groups(model):
    """Binary convolutions, all else in floating point."""
    weights = [module.weight for module in model if isinstance(module, nn.Conv2d)]
    rest = [p for p in model.parameters() if all(p is not w for w in weights)]
    return [{"params": weights}, {"params": rest, "quantizer": None}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda base: BinaryConnect(base, sign(), clip=1.0), id="bc"),
        pytest.param(lambda base: StochasticRounding(base, sign(), generator=seeded(1)), id="sr"),
    ],
)
def test_a_binary_convolutional_net_learns_digits(wrap):
    model = convolutional_net()
    optimizer = wrap(torch.optim.Adam(binary_groups(model), lr=0.01))
    assert accuracy_after(model, optimizer, num_steps=120) > 0.9
    assert set(model[5].weight.flatten().tolist()) == {-1.0, 1.0}
    counts = optimizer.counts()
    assert [c.num_weights for c in counts] == [144, 4608]
    assert counts[1].moved_fraction > 0.01


def test_binary_weights_rounded_to_nearest_never_move():
    model = convolutional_net()
    optimizer = DeterministicRounding(torch.optim.Adam(binary_groups(model), lr=0.01), sign())
    accuracy_after(model, optimizer, num_steps=10)
    assert [c.num_changes for c in optimizer.counts()] == [0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "quantizer",
    [sign(0.3), ternary(), uniform_midtread(8, step_size=0.1), BFLOAT16, FP8_E4M3.saturating()],
)
@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=str)
def test_a_gpu_rounds_to_the_same_levels_and_resumes(quantizer, dtype):
    outputs = []
    for device in ("cpu", "cuda"):
        weights = nn.Parameter(torch.nan_to_num(probes(dtype)).to(device))
        DeterministicRounding(sgd(weights), quantizer)
        outputs.append(to_exact_numpy(weights.cpu()))
    assert_array_equal(*outputs)
    weights = nn.Parameter(torch.zeros(2, 50, dtype=dtype, device="cuda"))
    generator = torch.Generator("cuda").manual_seed(0)
    optimizer = StochasticRounding(sgd(weights, lr=0.1), quantizer, generator=generator)
    step_with(optimizer, weights, 1.0)
    kept, state = weights.detach().clone(), copy.deepcopy(optimizer.state_dict())
    step_with(optimizer, weights, 1.0)
    expected = weights.detach().clone()
    with torch.no_grad():
        weights.copy_(kept)
    optimizer.load_state_dict(state)
    step_with(optimizer, weights, 1.0)
    assert torch.equal(weights, expected)
