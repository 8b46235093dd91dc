"""The report on a model's signals: what it measures, what it holds against it, what it leaves."""

import contextlib
import copy
import json
import math
import re

import numpy as np
import pytest
from helpers import assert_mc_close

from qtheory.errors import AssumptionWarning
from qtheory.meanfield import (
    correlation_map,
    optimal_spacing,
    straight_through_gain,
    uniform_staircase,
    variance_map,
)
from qtheory.numerics import Estimate

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from qtheory.nn import (  # noqa: E402
    CorrelationDecay,
    PropagationReport,
    QuantizedActivation,
    initialize_,
    propagation_report,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pair_of_angles(correlation, num_in, seed):
    """Two inputs of second moment one and a given correlation."""
    basis = torch.linalg.qr(torch.randn(num_in, 2, generator=seeded(seed))).Q.T
    second = correlation * basis[0] + math.sqrt(1 - correlation**2) * basis[1]
    return math.sqrt(num_in) * torch.stack([basis[0], second])


def dense(depth, *, width=512, num_in=64, num_levels=4, activation=None):
    make = activation or (lambda: QuantizedActivation(num_levels))
    parts = [nn.Linear(num_in, width), make()]
    for _ in range(depth - 1):
        parts += [nn.Linear(width, width), make()]
    return nn.Sequential(*parts, nn.Linear(width, 10))


def initialized(depth, seed, **options):
    model = dense(depth, **options)
    initialize_(model, options.get("num_levels", 4), generator=seeded(seed))
    return model


def batch(num_inputs=16, num_in=64, seed=100):
    x = torch.randn(num_inputs, num_in, generator=seeded(seed))
    return x / x.square().mean(1, keepdim=True).sqrt()


def report_of(model, x, seed=7):
    return propagation_report(model, x, generator=seeded(seed))


def hooks_of(model):
    return [len(module._forward_hooks) for module in model.modules()]


# --- Unit -------------------------------------------------------------------------------------


def test_numbers_of_a_tiny_linear_network_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 1.0]))
        model[1].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.0]]))
    first, last = report_of(model, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).layers
    # Pre-activations (1, 1) and (0, 3).
    assert first.second_moment.mean == pytest.approx(11 / 4)
    assert first.correlation.mean == pytest.approx(1 / math.sqrt(2))
    assert (first.weight_variance, first.bias_variance) == (2 * 5 / 4, 1 / 2)
    assert (first.num_units, first.kind, first.name) == (2, "Linear", "0")
    cotangent = torch.randn(2, 2, generator=seeded(7))
    gain = 9 * cotangent[:, 0].square().sum() / cotangent.square().sum()
    assert first.gain.mean == pytest.approx(float(gain), rel=1e-6, abs=0)
    assert last.second_moment.mean == pytest.approx(9 / 4)
    assert (last.gain, last.bias_variance) == (None, 0.0)
    # No activation in between: nothing to expect.
    assert first.comparisons() == last.comparisons() == {}


def test_the_theory_takes_one_step_from_what_is_measured():
    model = initialized(2, seed=1)
    with torch.no_grad():
        model[2].bias.fill_(0.3)
    x = pair_of_angles(0.6, 64, seed=2)
    first, second, _ = report_of(model, x).layers
    weights = 512 * float(model[2].weight.detach().double().square().mean())
    options = {"weight_variance": weights, "bias_variance": np.float32(0.3).astype(float) ** 2}
    phi = uniform_staircase(4)
    u = model[0](x).detach().double()
    variances = u.square().mean(1).numpy()
    expected = variance_map(phi, variances, **options).mean()
    assert second.expected_second_moment == pytest.approx(expected, rel=1e-9, abs=0)
    c = float(nn.functional.cosine_similarity(u[0], u[1], dim=0))
    expected = correlation_map(phi, c, variance=variances.mean(), **options)
    assert second.expected_correlation == pytest.approx(expected, rel=1e-6, abs=0)
    gains = straight_through_gain(
        variances, weight_variance=weights, slope=model[1].slope.item(), window=1.0
    )
    assert gains.min() <= first.expected_gain <= gains.max()


def test_smooth_activations_have_a_theory_and_others_are_measured_only():
    x = batch()
    tanh = report_of(dense(3, activation=nn.Tanh), x).layers[1]
    assert set(tanh.comparisons()) == {"second moment", "correlation", "gradient gain"}
    assert tanh.expected_gain < tanh.weight_variance < 0.34
    for other in (nn.GELU, nn.Sigmoid, nn.SELU):
        layers = report_of(dense(3, activation=other), x).layers
        assert [layer.comparisons() for layer in layers] == [{}] * 4
        assert all(math.isfinite(layer.correlation.mean) for layer in layers)


def test_anything_else_between_two_layers_ends_the_theory():
    x = batch()
    for extra in (nn.Dropout(0.5), nn.BatchNorm1d(512), nn.LayerNorm(512), nn.Softplus()):
        model = initialized(2, seed=3)
        model.insert(2, extra)
        assert report_of(model, x).layers[1].comparisons().keys() == {"gradient gain"}
        assert report_of(model, x).layers[0].comparisons() == {}


def test_modules_called_twice_are_layers_twice():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(64, 256), nn.Linear(256, 256)
            self.phi, self.last = QuantizedActivation(4), nn.Linear(256, 3)

        def forward(self, x):
            x = self.phi(self.first(x))
            for _ in range(3):
                x = self.phi(self.again(x))
            return self.last(x)

    model = Loop()
    initialize_(model, 4, generator=seeded(4))
    layers = report_of(model, batch()).layers
    assert [layer.name for layer in layers] == ["first", "again", "again", "again", "last"]
    assert all(layer.comparisons() for layer in layers)


def test_what_overwrites_its_input_does_not_change_the_report():
    x = batch()
    torch.manual_seed(0)
    model = dense(2, activation=nn.ReLU)
    other = copy.deepcopy(model)
    other[1].inplace = other[3].inplace = True
    assert str(report_of(model, x)) == str(report_of(other, x))


def test_sequences_and_images_have_places():
    model = nn.Sequential(nn.Linear(6, 32), QuantizedActivation(4), nn.Linear(32, 5))
    report = report_of(model, torch.randn(3, 7, 6, generator=seeded(5)))
    assert [layer.num_units for layer in report.layers] == [32, 5]
    model = nn.Sequential(nn.Conv2d(1, 9, 3), QuantizedActivation(4), nn.Conv2d(9, 4, 3))
    report = report_of(model, torch.randn(3, 1, 8, 8, generator=seeded(5)))
    assert [layer.num_units for layer in report.layers] == [9, 4]
    assert report.layers[0].second_moment.num_samples == 9


def test_lower_precision_models():
    model = initialized(3, seed=6)
    exact = report_of(model, batch()).layers[2]
    rounded = report_of(model.bfloat16(), batch().bfloat16()).layers[2]
    assert rounded.second_moment.mean == pytest.approx(exact.second_moment.mean, rel=0.1, abs=0)


def test_one_output_unit_has_an_unknown_error():
    model = nn.Sequential(nn.Linear(64, 64), QuantizedActivation(4), nn.Linear(64, 1))
    last = report_of(model, batch()).layers[1]
    assert last.second_moment.std_error == math.inf


# --- What is left behind -------------------------------------------------------------------------


class Fragile(nn.Module):
    """A network with every kind of state, that may raise in the middle."""

    def __init__(self, breaks):
        super().__init__()
        self.first, self.norm = nn.Linear(64, 32), nn.BatchNorm1d(32)
        self.dropout, self.last = nn.Dropout(0.5), nn.Linear(32, 3)
        self.breaks = breaks

    def forward(self, x):
        x = self.dropout(self.norm(self.first(x)))
        self.eval()
        if self.breaks:
            raise ArithmeticError("on purpose")
        return self.last(x)


CONTEXTS = {False: contextlib.nullcontext(), True: pytest.raises(ArithmeticError)}


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
def test_everything_is_as_it_was(breaks):
    model = Fragile(breaks)
    model.first.weight.grad = torch.ones(32, 64)
    state, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    hooks, random = hooks_of(model), torch.get_rng_state()
    x = batch()
    before = x.clone()
    with CONTEXTS[breaks]:
        propagation_report(model, x)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    assert hooks_of(model) == hooks
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model.first.weight.grad, torch.ones(32, 64))
    assert model.last.weight.grad is None
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_the_mode_of_the_caller_does_not_matter():
    model, x = initialized(2, seed=8), batch()
    expected = str(report_of(model, x))
    with torch.no_grad():
        assert str(report_of(model, x)) == expected
    with torch.inference_mode():
        assert str(report_of(model, x.clone())) == expected
        assert torch.is_inference_mode_enabled()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert str(report_of(model, x)) == expected


def test_the_same_generator_gives_the_same_report():
    model, x = initialized(2, seed=9), batch()
    assert str(report_of(model, x)) == str(report_of(model, x))
    assert str(report_of(model, x, seed=1)) != str(report_of(model, x, seed=2))


# --- Where the theory does not apply --------------------------------------------------------------


class Forward(nn.Module):
    """Three layers of one width with two activations, wired by a function."""

    def __init__(self, wiring):
        super().__init__()
        body = initialized(2, seed=25, width=64)
        self.a, self.p, self.b, self.q, self.c = body[0], body[1], body[2], body[3], body[4]
        self.wiring = wiring

    def forward(self, x):
        return self.wiring(self, x)


BRANCH = "a skip connection or branch ends before it"
BETWEEN = "between it and the layer before"
WIRED = [
    pytest.param(lambda m, x: m.c(m.q(m.b(m.p(m.a(x))))), (), id="chain"),
    pytest.param(
        lambda m, x: m.c(m.q(x + m.b(m.p(m.a(x))))),
        (f"No theory for layer 2 (c): {BRANCH} (add).",),
        id="skip-from-the-input",
    ),
    pytest.param(
        lambda m, x: (lambda u: m.c(m.q(u + m.b(m.p(u)))))(m.a(x)),
        (
            "No theory for the gain of layer 0 (a): a branch starts behind it.",
            f"No theory for layer 2 (c): {BRANCH} (add).",
        ),
        id="residual-block",
    ),
    pytest.param(
        lambda m, x: m.c(torch.cat([m.p(m.a(x))[:, :32], m.q(m.b(x))[:, :32]], 1)),
        (
            "No theory for layer 1 (b): it takes the input of the model.",
            f"No theory for layer 2 (c): {BRANCH} (cat).",
        ),
        id="parallel",
    ),
    pytest.param(
        lambda m, x: (lambda h: m.b(h) + m.b(m.q(m.b(h))))(m.p(m.a(x))),
        (
            "No theory for the gain of layer 0 (a): a branch starts behind it.",
            "No theory for layer 2 (b): it follows a, not the layer before.",
        ),
        id="order",
    ),
    pytest.param(
        lambda m, x: m.c(torch.relu(m.b(m.p(m.a(x))))),
        (f"No theory for layer 2 (c): relu() {BETWEEN}.",),
        id="function",
    ),
    pytest.param(
        lambda m, x: m.c(m.q(m.b(m.p(m.a(x)).roll(1, 1) * 2))),
        (f"No theory for layer 1 (b): roll(), mul() {BETWEEN}.",),
        id="functions",
    ),
    pytest.param(
        lambda m, x: m.c(m.q(m.b(m.p(m.a(x))))[:, torch.arange(64)]),
        (f"No theory for layer 2 (c): getitem() {BETWEEN}.",),
        id="part",
    ),
    pytest.param(
        lambda m, x: m.c(m.b(m.q(m.p(m.a(x))))),
        (
            f"No theory for layer 1 (b): more than one activation {BETWEEN}.",
            f"No theory for layer 2 (c): no activation {BETWEEN}.",
        ),
        id="count",
    ),
    pytest.param(
        lambda m, x: m.c(m.q(m.b(m.p(m.a(x if x.sum() > 0 else -x))))),
        ("The forward could not be traced: the theory assumes a plain chain of its modules.",),
        id="not-traced",
    ),
]


@pytest.mark.parametrize(("wiring", "obstacles"), WIRED)
def test_the_report_says_where_it_has_no_theory_and_why(wiring, obstacles):
    report = report_of(Forward(wiring), batch())
    assert report.obstacles == obstacles
    assert all(line in str(report) for line in obstacles)
    without = [bool(layer.obstacle) for layer in report.layers[1:]]
    assert [layer.expected_second_moment is None for layer in report.layers[1:]] == without
    ends = [layer.is_branched or bool(layer.obstacle) for layer in report.layers[1:]]
    assert [layer.expected_gain is None for layer in report.layers[:-1]] == ends


def test_modules_without_theory_are_named():
    model, x = initialized(2, seed=26), batch()
    model.insert(2, nn.BatchNorm1d(512))
    expected = (f"No theory for layer 1 (3): BatchNorm1d {BETWEEN}.",)
    assert report_of(model, x).obstacles == expected
    model[2] = nn.Dropout(0.5)
    assert report_of(model, x).obstacles == (f"No theory for layer 1 (3): Dropout {BETWEEN}.",)
    assert report_of(model.eval(), x).obstacles == ()
    assert str(report_of(model, x)).endswith("Nothing to remark.")


def test_gains_of_residual_blocks_are_not_held_against_balance():
    blocks = [Block(seed) for seed in range(3)]
    model = nn.Sequential(nn.Linear(64, 256), *blocks, nn.Linear(256, 10))
    model[0].load_state_dict(initialized(1, seed=27, width=256)[0].state_dict())
    report = report_of(model, batch())
    # The gradient of the layer before each block is that of the block and that of the way around.
    assert report.layers[0].gain.mean > 1.5
    assert report.findings == ()
    assert "No theory for the gain of layer 0 (0): a branch starts behind it." in report.obstacles
    assert str(report).endswith("Nothing else to remark.")


class Block(nn.Module):
    """A residual block of two layers."""

    def __init__(self, seed):
        super().__init__()
        self.body = initialized(2, seed=seed, width=256)

    def forward(self, x):
        return x + self.body[2](self.body[1](x))


def test_the_trace_leaves_no_trace():
    class Noting(nn.Linear):
        def forward(self, x):
            self.seen, self.count = x, getattr(self, "count", 0) + 1
            return super().forward(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Noting(64, 32)

        def forward(self, x):
            self.last = self.inner(x)
            return self.last

    model = Outer()
    report_of(model, batch())
    assert isinstance(model.last, torch.Tensor)
    assert isinstance(model.inner.seen, torch.Tensor)
    assert model.inner.count == 1


def test_long_lists_of_obstacles_are_cut():
    lines = str(report_of(dense(12, activation=nn.GELU), batch())).splitlines()
    assert "... and 4 more layers without theory." in lines


# --- Findings ------------------------------------------------------------------------------------


def test_a_good_model_is_not_remarked_on():
    report = report_of(initialized(6, seed=10), batch())
    assert report.findings == ()
    assert str(report).endswith("Nothing to remark.")


def test_a_bad_layer_is_found():
    model = initialized(8, seed=11)
    with torch.no_grad():
        model[8].weight.mul_(math.sqrt(0.62))
    report = report_of(model, batch())
    text = "layer 3 (6): gradient gain 0.6"
    assert report.findings[0].startswith(text)
    assert "expected 1.00 in a balanced model, 0.6" in report.findings[0]
    assert report.findings[0] in str(report)


def test_a_wrong_slope_is_found_in_its_layer():
    model = initialized(6, seed=12)
    model[5].slope.fill_(2.0)
    assert report_of(model, batch()).findings[0].startswith("layer 2 (4): gradient gain 3.8")


def test_what_the_forward_does_not_say_is_found():
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(0.5 * x)

    model = initialized(3, seed=13)
    scaled = Scaled(512, 512)
    scaled.load_state_dict(model[2].state_dict())
    model[2] = scaled
    findings = report_of(model, batch()).findings
    assert any(text.startswith("layer 1 (2): second moment 0.1") for text in findings)


def pooled():
    """Convolutional network whose readout sees means over the image."""
    parts = [nn.Conv2d(1, 32, 3, padding=1), QuantizedActivation(4)]
    parts += [nn.Conv2d(32, 32, 3, padding=1), QuantizedActivation(4)]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    with pytest.warns(AssumptionWarning, match="AdaptiveAvgPool2d at '4' changes second moments"):
        initialize_(model, 4, generator=seeded(30))
    return model


def test_jumps_are_found():
    x = torch.randn(8, 1, 8, 8, generator=seeded(31))
    report = report_of(pooled(), x)
    signal = r"layer 2 \(6\): second moment 0.0\S+, a factor \d\d\S* below the layer before \(0\."
    gain = r"layer 1 \(2\): gradient gain 0.0\S+, a factor \d\d\S* below that of equal gradients"
    assert any(re.match(signal, text) for text in report.findings)
    assert any(re.match(gain, text) for text in report.findings)
    assert report.obstacles == (f"No theory for layer 2 (6): AdaptiveAvgPool2d {BETWEEN}.",)
    assert report.obstacles[0] in str(report)


def test_a_jump_of_few_units_is_held_against_the_theory_if_there_is_one():
    model = initialized(2, seed=32)
    with torch.no_grad():
        model[4].weight.mul_(0.01)
    # Ten outputs of the size that such weights make; nothing that the theory does not know.
    assert report_of(model, batch()).findings == ()


def test_silence_is_found():
    model = initialized(3, seed=14, num_levels=3)
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    report = report_of(model, batch())
    assert report.findings[0] == "layer 1 (2): the second moment of the pre-activations is 0"
    assert report.layers[2].expected_correlation is None
    assert math.isnan(report.layers[2].correlation.mean)
    assert "nan" in str(report)


def test_gradients_that_end_are_left_out():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 3)

        def forward(self, x):
            return self.b(self.a(x).detach())

    assert report_of(Cut(), batch()).layers[0].gain is None
    dead = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 3), nn.Threshold(1e9, 0.0))
    assert report_of(dead, batch()).layers[0].gain is None


def test_nothing_is_lost_where_weights_only_turn():
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    for layer in model:
        nn.init.eye_(layer.weight)
    decay = report_of(model, batch()).decay
    # Correlations stay to the last digit, or to the one before.
    assert decay.factor.mean == pytest.approx(1.0, rel=1e-12, abs=0)
    assert decay.depth_scale > 1e9
    assert (decay.expected_factor, decay.expected_depth_scale) == (None, None)


def test_no_decay_has_no_depth_scale():
    decay = CorrelationDecay(Estimate(1.2, 0.1, 50), 1.0, 1, 2, is_exponential=True)
    line = "Correlations: factor 1.2 +- 0.1 per layer (theory 1) in layers 1 to 2, no decay"
    assert f"{line} (theory: no decay)." in str(PropagationReport((), decay))


def test_gradients_that_overflow_are_found():
    model = initialized(4, seed=17)
    for number in (1, 3, 5):
        model[number].slope.fill_(1e20)
    report = report_of(model, batch())
    assert "the gradients are too large for their type, or not numbers" in report.findings[0]
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    report = report_of(model, batch())
    assert "layer 1 (2): the second moment of the pre-activations is nan" in report.findings
    assert "nan" in str(report)


def test_long_lists_are_cut():
    text = str(report_of(dense(12), batch()))
    assert "more findings." in text.splitlines()[-1]


def test_the_report_converts():
    data = json.loads(json.dumps(report_of(initialized(2, seed=15), batch()).to_dict()))
    assert data["layers"][1]["name"] == "2"
    assert set(data["layers"][1]["gain"]) == {"mean", "std_error", "num_samples"}
    assert data["decay"]["first_layer"] == 1
    assert data["findings"] == []


def test_one_layer_has_no_decay():
    report = report_of(nn.Linear(64, 64), batch())
    assert report.decay is None
    assert report.layers[0].name == ""
    assert "(model)" in str(report)


def test_messages():
    model, x = initialized(1, seed=16), batch()
    with pytest.raises(ValueError, match="`model` must be Module, got 3"):
        propagation_report(3, x)
    with pytest.raises(ValueError, match="`batch` must be Tensor"):
        propagation_report(model, x.numpy())
    with pytest.raises(ValueError, match="`batch` must be a floating-point tensor of at least two"):
        propagation_report(model, x[:1])
    with pytest.raises(ValueError, match=r"floating-point tensor .*, got 'torch.int64 of shape"):
        propagation_report(model, x.long())
    bad = x.clone()
    bad[0, :2] = torch.tensor([math.nan, -math.inf])
    with pytest.raises(ValueError, match=r"`batch` must be free of NaN and inf.*'2 of 1024 num"):
        propagation_report(model, bad)
    with pytest.raises(ValueError, match="`generator` must be Generator, got 3"):
        propagation_report(model, x, generator=3)
    with pytest.raises(ValueError, match="a network that calls a Linear or convolution"):
        propagation_report(nn.Tanh(), x)
    with pytest.raises(ValueError, match="free of lazy modules that have not run yet"):
        propagation_report(nn.LazyLinear(3), x)

    class Tuple(nn.Linear):
        def forward(self, x):
            return (super().forward(x),)

    with pytest.raises(ValueError, match="`model` must be one that returns a tensor, got 'tuple'"):
        propagation_report(Tuple(64, 3), x)
    with pytest.raises(ValueError, match=r"keep the first axis of `batch`, got \"\(1024, 3\) at"):
        propagation_report(
            nn.Sequential(nn.Flatten(0, 1), nn.Unflatten(0, (-1, 1)), nn.Linear(1, 3)), x
        )


# --- Theory against simulation -----------------------------------------------------------------


def correlations_along(num_levels, correlation, depth, num_networks):
    """Correlation of two inputs in each layer, networks by layers."""
    x = pair_of_angles(correlation, 64, seed=20)
    return np.array(
        [
            [layer.correlation.mean for layer in report_of(model, x).layers[:-1]]
            for model in (
                initialized(depth, seed=seed, num_levels=num_levels) for seed in range(num_networks)
            )
        ]
    )


@pytest.mark.theory_vs_sim
def test_correlations_decay_as_the_theory_says():
    phi, best = uniform_staircase(4), optimal_spacing(4)
    path = correlations_along(4, 0.9, depth=4, num_networks=24)
    expected = [0.9]
    for _ in range(3):
        expected.append(correlation_map(phi, expected[-1], variance=best.variance))
    for theory, samples in zip(expected, path.T, strict=True):
        assert_mc_close(theory, Estimate.from_samples(samples), rel_resolution=0.1)
    wrong = 0.9 * best.chi**3  # the slope at zero in place of the map
    with pytest.raises(AssertionError, match="z = "):
        assert_mc_close(wrong, Estimate.from_samples(path[:, 3]), rel_resolution=0.1)


@pytest.mark.theory_vs_sim
def test_depth_scale_of_one_network():
    x = pair_of_angles(0.5, 64, seed=21)[[0, 1] * 8] + 0.6 * batch(16, seed=22)
    model = initialized(10, seed=23, width=1024)
    decay = report_of(model, x).decay
    assert decay.is_exponential
    assert abs(decay.factor.z_score(decay.expected_factor)) < 5
    assert decay.factor.std_error < 0.05
    # The limit of small correlations; these are up to one half.
    assert decay.expected_depth_scale == pytest.approx(7.9037, abs=1.6)


@pytest.mark.theory_vs_sim
def test_z_scores_are_those_of_a_true_theory():
    reports = [report_of(initialized(6, seed=s), batch(seed=s + 50)) for s in range(8)]
    z = np.array(
        [
            measured.z_score(expected)
            for report in reports
            for layer in report.layers[1:-1]
            for measured, expected in layer.comparisons().values()
        ]
    )
    # The variance is counted twice on purpose: the scatter stays below one, but not far below.
    assert np.abs(z).max() < 5
    assert 0.4 < z.std() < 1.1
