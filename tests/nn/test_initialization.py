"""Initialization of PyTorch models: what is set, what is refused, and what comes of it."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
from helpers import assert_mc_close
from numpy.testing import assert_array_equal

from qtheory.errors import AssumptionWarning
from qtheory.meanfield import optimal_spacing, uniform_staircase
from qtheory.meanfield.noise import stochastic_staircase
from qtheory.meanfield.smooth import Erf, HardTanh, LeakyReLU, Linear, ReLU, Tanh
from qtheory.numerics import Estimate
from qtheory.quantizers import FP4_E2M1, uniform_midrise

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from qtheory.nn import QuantizedActivation, initialize_  # noqa: E402

WIDTH = 512


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def dense(depth, *, width=WIDTH, num_in=64, num_out=10, activation=lambda: QuantizedActivation(4)):
    """Fully connected network of a number of hidden layers."""
    sizes = [num_in] + [width] * depth
    hidden = [
        part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), activation())
    ]
    return nn.Sequential(*hidden, nn.Linear(width, num_out))


def convolutional(depth, *, channels=64, mode="circular"):
    """Convolutional network on images of eight by eight."""
    counts = [3] + [channels] * depth
    hidden = [
        part
        for a, b in itertools.pairwise(counts)
        for part in (
            nn.Conv2d(a, b, 3, padding=1, padding_mode=mode),
            QuantizedActivation(4),
        )
    ]
    return nn.Sequential(*hidden, nn.Flatten(), nn.Linear(64 * channels, 10))


def inputs(*shape, seed):
    """Random inputs, each of second moment one."""
    x = torch.randn(*shape, generator=seeded(seed))
    return x / x.square().flatten(1).mean(1).sqrt().reshape(-1, *[1] * (x.ndim - 1))


def signals(model, x):
    """Second moments of pre-activations and squared norms of their gradients, by hand."""
    layers = [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]
    outputs, h = [], x.clone().requires_grad_(True)
    for module in model:
        h = module(h)
        outputs += [h] if module in layers else []
    cotangent = torch.randn(h.shape, generator=seeded(99))
    gradients = torch.autograd.grad(h, outputs, cotangent)
    second = [float(u.detach().double().square().mean()) for u in outputs]
    power = [float(g.double().square().sum()) for g in gradients]
    return np.array(second[:-1]), np.array(power[:-1])


def gains(prepare, make, x, num_networks):
    """Gain of forward and backward power over all hidden layers, one number a network.

    The power over several layers has mean gain one; its logarithm does not.
    """
    forward, backward = [], []
    for seed in range(num_networks):
        torch.manual_seed(seed)
        model = make()
        prepare(model, seed)
        second, power = signals(model, x)
        forward.append(second / optimal_spacing(4).variance)
        backward.append(power[:-1] / power[1:])
    return np.array(forward), np.array(backward)


def ours(model, seed):
    initialize_(model, 4, generator=seeded(seed))


def theirs(model, seed):
    """Leave what the constructor drew."""


# --- Unit -------------------------------------------------------------------------------------


def test_what_is_set():
    model = dense(3)
    report = initialize_(model, 16, generator=seeded(0))
    best = optimal_spacing(16)
    assert [layer.role for layer in report.layers] == ["first", "hidden", "hidden", "readout"]
    assert [layer.fan_in for layer in report.layers] == [64, 512, 512, 512]
    variances = [layer.weight_variance for layer in report.layers]
    expected = [best.variance, best.weight_variance, best.weight_variance, 1 / best.second_moment]
    assert variances == pytest.approx(expected, rel=1e-9, abs=0)
    assert report.chi == pytest.approx(best.chi, rel=1e-9, abs=0)
    assert report.depth_scale == pytest.approx(best.depth_scale, rel=1e-6, abs=0)
    assert report.trainable_depth == 6 * report.depth_scale
    assert all(not layer.bias.any() for layer in model if isinstance(layer, nn.Linear))
    assert [phi.name for phi in report.activations] == ["1", "3", "5"]
    for module in (model[1], model[3], model[5]):
        assert_array_equal(module.levels.numpy(), uniform_staircase(16).levels)
        assert module.slope.item() == pytest.approx(1.000199, abs=5e-7)


@pytest.mark.parametrize("law", ["gaussian", "uniform", "binary", "ternary"])
def test_laws_of_the_weights(law):
    model = dense(2)
    initialize_(model, 4, generator=seeded(1), weights=law)
    weight = model[2].weight.detach().double()
    target = optimal_spacing(4).weight_variance / WIDTH
    # Half a percent wide: the mean of 262144 squares of any of these laws is better by far.
    assert float(weight.square().mean()) == pytest.approx(target, rel=0.02, abs=0)
    assert abs(Estimate.from_samples(weight.numpy()).z_score(0.0)) < 5
    counts = {"binary": 2, "ternary": 3}
    assert len(weight.unique()) == counts.get(law, len(weight.unique()))


def test_moments_of_input_and_output():
    model = dense(1, width=2048, num_in=1024, num_out=1024)
    options = {"input_second_moment": 9.0, "output_second_moment": 0.25}
    initialize_(model, 4, generator=seeded(2), **options)
    x = 3 * torch.randn(64, 1024, generator=seeded(3))
    u, y = model[0](x), model(x)
    q = optimal_spacing(4).variance
    assert_mc_close(q, Estimate.from_samples(u.square().mean(0).detach().numpy()))
    assert_mc_close(0.25, Estimate.from_samples(y.square().mean(0).detach().numpy()))


def test_biases_of_a_staircase_and_of_a_smooth_activation():
    model = dense(2)
    report = initialize_(model, 4, generator=seeded(4), bias_variance=0.1)
    assert_mc_close(
        0.1, Estimate.from_samples(model[2].bias.detach().square().numpy()), rel_resolution=0.4
    )
    assert not model[4].bias.any()
    # First layer: what the biases add is not asked of the weights.
    assert report.layers[0].weight_variance == pytest.approx(
        report.variance - 0.1, rel=1e-12, abs=0
    )
    kept = report.layers[1].weight_variance * report.second_moment + 0.1
    assert kept == pytest.approx(report.variance, rel=1e-12, abs=0)
    assert report.chi < optimal_spacing(4).chi
    with pytest.raises(ValueError, match=r"`bias_variance` must be below the pre-activation var"):
        initialize_(model, 4, bias_variance=0.5)


@pytest.mark.parametrize(
    ("smooth", "module", "bias_variance", "weight_variance"),
    [
        pytest.param(Tanh(), nn.Tanh, 0.05, 1.76095464, id="tanh"),
        pytest.param(ReLU(), nn.ReLU, 0.0, 2.0, id="relu"),
        pytest.param(LeakyReLU(0.01), nn.LeakyReLU, 0.0, 2 / (1 + 1e-4), id="leaky-relu"),
        pytest.param(HardTanh(), nn.Hardtanh, 0.0, 1.0, id="hard-tanh"),
        pytest.param(Linear(), nn.Identity, 0.0, 1.0, id="linear"),
    ],
)
@pytest.mark.filterwarnings("ignore:Without biases")
def test_smooth_activations_become_critical(smooth, module, bias_variance, weight_variance):
    model = dense(3, activation=module)
    report = initialize_(model, smooth, generator=seeded(5), bias_variance=bias_variance)
    assert report.layers[1].weight_variance == pytest.approx(weight_variance, rel=1e-7, abs=0)
    assert report.chi == 1.0
    assert report.depth_scale == math.inf
    assert report.activations == ()
    expected = "hidden layers: 3, at the critical point: the depth scale sets no limit"
    assert str(report).splitlines()[1] == expected


class Functional(nn.Module):
    """A network whose activations are function calls."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        return torch.softmax(self.second(self.call(self.first(x))), dim=-1)


def test_activations_in_the_forward_are_seen():
    assert initialize_(Functional(torch.relu), ReLU()).layers[1].weight_variance == 2.0
    report = initialize_(Functional(torch.erf), Erf(), bias_variance=0.05)
    assert report.layers[0].weight_variance == pytest.approx(0.51717684 - 0.05, abs=1e-7)
    with pytest.raises(ValueError, match=r"other than Tanh, got 'relu\(\) in the forward'"):
        initialize_(Functional(torch.relu), Tanh(), bias_variance=0.05)


def test_fan_in_of_convolutions():
    model = nn.Sequential(
        nn.Conv1d(4, 8, 5, groups=2),
        QuantizedActivation(4),
        nn.Unflatten(1, (2, 4)),
        nn.Conv2d(2, 6, (3, 2)),
        QuantizedActivation(4),
        nn.Unflatten(1, (2, 3)),
        nn.Conv3d(2, 4, (2, 2, 1), bias=False),
    )
    report = initialize_(model, 4)
    assert [layer.fan_in for layer in report.layers] == [10, 12, 8]
    assert [layer.kind for layer in report.layers] == ["Conv1d", "Conv2d", "Conv3d"]


def test_zero_padding_is_noted():
    notes = {
        mode: initialize_(convolutional(2, channels=2, mode=mode), 4).layers[0].note
        for mode in ("zeros", "circular")
    }
    assert notes == {"zeros": "zero padding: borders sum fewer inputs", "circular": ""}


def test_a_module_or_a_format_says_which_staircase():
    model = dense(2)
    initialize_(model, QuantizedActivation(8, window=2.0, slope=3.0), generator=seeded(6))
    module = model[1]
    assert (module.num_levels, module.window.item()) == (8, 2.0)
    gain = module.weight_variance * module.slope.item() ** 2
    gain *= math.erf(2.0 / math.sqrt(2 * module.variance.item()))
    assert gain == pytest.approx(1.0, rel=1e-12, abs=0)
    assert initialize_(model, FP4_E2M1).depth_scale == pytest.approx(78.3328, abs=1e-3)
    assert initialize_(model, uniform_midrise(4, step_size=0.5)).chi == pytest.approx(0.88115395)


def test_a_module_is_copied_to_the_last_bit():
    source = QuantizedActivation(uniform_midrise(10, step_size=0.1))
    model = dense(1)
    initialize_(model, source)
    assert torch.equal(model[1].levels, source.levels)
    assert torch.equal(model[1].thresholds, source.thresholds)
    assert model[1].levels.data_ptr() != source.levels.data_ptr()


def test_seeds_repeat_and_the_global_generator_is_the_default():
    models = [dense(2) for _ in range(4)]
    initialize_(models[0], 4, generator=seeded(7))
    initialize_(models[1], 4, generator=seeded(7))
    torch.manual_seed(7)
    initialize_(models[2], 4)
    torch.manual_seed(7)
    initialize_(models[3], 4)
    assert torch.equal(models[0][2].weight, models[1][2].weight)
    assert torch.equal(models[2][2].weight, models[3][2].weight)


def test_lower_types_get_the_same_weights_rounded():
    models = [dense(2), dense(2).to(torch.bfloat16)]
    for model in models:
        initialize_(model, 4, generator=seeded(8))
    assert models[1][2].weight.dtype == torch.bfloat16
    assert torch.equal(models[0][2].weight.bfloat16(), models[1][2].weight)


def test_weights_out_of_line_and_shared_ones():
    model = dense(3)
    model[2].weight = nn.Parameter(torch.empty(WIDTH, WIDTH).T)
    model[4].weight = model[2].weight
    initialize_(model, 4, generator=seeded(9))
    expected = optimal_spacing(4).weight_variance / WIDTH
    assert model[4].weight is model[2].weight
    squares = model[2].weight.detach().double().square().numpy()
    assert_mc_close(expected, Estimate.from_samples(squares))


def test_report_reads_and_converts():
    report = initialize_(dense(1), 4)
    lines = str(report).splitlines()
    assert lines[0].startswith("QuantizedActivation, gaussian weights: pre-activation variance")
    assert lines[1] == "hidden layers: 1, trainable to about 47.42"
    assert lines[-1].endswith("4 levels, slope 1.00947, window 1")
    data = json.loads(json.dumps(report.to_dict()))
    assert data["layers"][1]["role"] == "readout"
    assert (data["trainable_depth"], data["num_hidden"]) == (report.trainable_depth, 1)


# --- Refusals ----------------------------------------------------------------------------------


class Wired(nn.Module):
    """Two layers with an activation, wired by a function."""

    def __init__(self, wiring):
        super().__init__()
        self.a, self.q, self.b = nn.Linear(4, 4), QuantizedActivation(4), nn.Linear(4, 4)
        self.wiring = wiring

    def forward(self, x):
        return self.wiring(self, x)


def chain(*modules):
    return nn.Sequential(*modules)


def has_numbers(state):
    """Tell by its name whether a tensor of a state has numbers."""
    lazy = nn.parameter.UninitializedTensorMixin
    return lambda name: not isinstance(state[name], lazy) and not state[name].is_meta


REFUSED = [
    pytest.param(lambda: nn.Sequential(), r"at least one of Linear, .*, got \[\]", id="empty"),
    pytest.param(lambda: QuantizedActivation(4), "at least one of Linear", id="no-layer"),
    pytest.param(lambda: nn.Linear(3, 3), "QuantizedActivation between its layers", id="bare"),
    pytest.param(
        lambda: chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        r"activations other than QuantizedActivation, got \"ReLU at '1'\"",
        id="another-activation",
    ),
    pytest.param(
        lambda: chain(nn.Linear(3, 4), nn.BatchNorm1d(4), QuantizedActivation(4)),
        r"free of normalization layers, got \"BatchNorm1d at '1'\"",
        id="batch-norm",
    ),
    pytest.param(
        lambda: chain(nn.Linear(3, 4), QuantizedActivation(4), nn.LayerNorm(4)),
        r"free of normalization layers, got \"LayerNorm at '2'\"",
        id="layer-norm",
    ),
    pytest.param(
        lambda: chain(nn.Linear(3, 4), QuantizedActivation(4), QuantizedActivation(4)),
        r"two activations in a row, got \"QuantizedActivation at '2'\"",
        id="two-in-a-row",
    ),
    pytest.param(
        lambda: chain(nn.LazyLinear(4), QuantizedActivation(4), nn.Linear(4, 2)),
        r"free of lazy modules that have not run yet, got '0\.weight'",
        id="lazy",
    ),
    pytest.param(
        lambda: chain(nn.Linear(3, 4, device="meta"), QuantizedActivation(4)),
        r"on a device that holds numbers, got '0\.weight on meta'",
        id="meta",
    ),
    pytest.param(
        lambda: chain(nn.Linear(3, 4), QuantizedActivation(4), nn.PReLU(), nn.Linear(4, 2)),
        r"every parameter in a Linear, .* that its forward calls, got '2\.weight of PReLU'",
        id="other-parameters",
    ),
    pytest.param(
        lambda: chain(
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), QuantizedActivation(4)
        ),
        "free of parametrized weights, got '0'",
        id="parametrized",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.a(x) + m.q(m.a(x)))),
        "a chain without skip connections or branches that meet, got 'add'",
        id="skip",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: x + m.b(m.q(m.a(x)))),
        "a chain without skip connections or branches that meet, got 'add'",
        id="skip-behind-the-last-layer",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(m.a(x))).mul_(x)),
        "a chain without skip connections or branches that meet, got 'mul_'",
        id="gate-behind-the-last-layer",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.a(x) - m.b(m.q(m.a(x)))),
        "a chain without skip connections or branches that meet, got 'sub'",
        id="branch-behind-the-last-layer",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(torch.relu(m.q(m.a(x))))),
        r"got 'relu\(\) in the forward'",
        id="function",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(nn.functional.layer_norm(m.a(x), (4,))))),
        r"free of normalization layers, got 'layer_norm\(\) in the forward'",
        id="norm-function",
    ),
    pytest.param(
        lambda: chain(nn.Linear(4, 4, dtype=torch.complex64), QuantizedActivation(4)),
        "of layers with real weights and inputs, got '0'",
        id="complex",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(m.b(m.q(m.a(x)))))),
        "free of shared weights of different variances, got 'b.weight as b.weight",
        id="reused-as-readout",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.q(m.a(x))),
        r"every parameter .*, got 'b\.weight of Linear'",
        id="not-called",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_models_that_are_refused_stay_as_they_are(make, message):
    model = make()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        initialize_(model, 8)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(
        torch.equal(after[name], before[name]) for name in filter(has_numbers(before), after)
    )


@pytest.mark.parametrize(
    "wiring",
    [
        pytest.param(lambda m, x: torch.cat([x, m.b(m.q(m.a(x)))], 1), id="side-by-side"),
        pytest.param(lambda m, x: m.b(m.q(m.a(x))).view_as(x), id="shape-of-the-input"),
        pytest.param(lambda m, x: m.b(m.q(m.a(x + x.flip(0)))), id="inputs-added"),
    ],
)
def test_what_mixes_no_layers_is_no_skip_connection(wiring):
    report = initialize_(Wired(wiring), 4)
    assert [layer.role for layer in report.layers] == ["first", "readout"]


def test_arguments_are_checked():
    model = dense(1)
    with pytest.raises(ValueError, match="`model` must be Module, got 4"):
        initialize_(4, 4)
    with pytest.raises(ValueError, match="`weights` must be one of 'gaussian'"):
        initialize_(model, 4, weights="normal")
    with pytest.raises(ValueError, match="`input_second_moment` must be finite and above zero"):
        initialize_(model, 4, input_second_moment=0)
    with pytest.raises(ValueError, match="`output_second_moment` must be finite and above zero"):
        initialize_(model, 4, output_second_moment=-1)
    with pytest.raises(ValueError, match="`bias_variance` must be finite and not below zero"):
        initialize_(model, 4, bias_variance=-1)
    with pytest.raises(ValueError, match="`generator` must be Generator, got 3"):
        initialize_(model, 4, generator=3)
    with pytest.raises(ValueError, match="`activation` must be a number of levels"):
        initialize_(model, stochastic_staircase(4))
    with pytest.raises(ValueError, match="activations other than ReLU"):
        initialize_(model, ReLU())


WARNED = [
    pytest.param(
        lambda: chain(nn.Linear(3, 4), QuantizedActivation(4), nn.Dropout(), nn.Linear(4, 2)),
        "Dropout at '2' changes second moments",
        id="dropout",
    ),
    pytest.param(
        lambda: chain(
            nn.Conv2d(1, 4, 3), QuantizedActivation(4), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3)
        ),
        "AvgPool2d at '2' changes second moments",
        id="pooling",
    ),
    pytest.param(
        lambda: chain(QuantizedActivation(4), nn.Linear(3, 4), QuantizedActivation(4)),
        "QuantizedActivation at '0' acts on the input, taken to be Gaussian",
        id="quantized-input",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(m.a(x)).mean(dim=0))),
        r"mean\(\) in the forward changes second moments",
        id="mean",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(m.a(x)) * 2)),
        r"mul\(\) in the forward is unknown, and taken to keep second moments",
        id="unknown",
    ),
    pytest.param(
        lambda: Wired(lambda m, x: m.b(m.q(m.a(x if x.sum() > 0 else -x)))),
        "The forward of Wired could not be traced",
        id="not-traced",
    ),
]


@pytest.mark.parametrize(("make", "message"), WARNED)
def test_doubts_are_warned_of_before_anything_is_written(make, message):
    model = make()
    with pytest.warns(AssumptionWarning, match=message):
        initialize_(model, 4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(AssumptionWarning, match=message):  # the suite makes warnings errors
        initialize_(model, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tanh_without_biases_is_warned_of():
    with pytest.warns(AssumptionWarning, match="Without biases Tanh is critical only at variance"):
        initialize_(dense(2, activation=nn.Tanh), Tanh())


def test_an_error_while_writing_undoes_everything():
    model = dense(2)
    # One row shown as many: reading works, writing does not.
    model[4].weight = nn.Parameter(torch.zeros(1, WIDTH).expand(10, WIDTH))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        initialize_(model, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- Theory against simulation -----------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("law", ["gaussian", "binary"])
def test_dense_networks_keep_signals_and_gradients(law):
    x = inputs(8, 64, seed=10)
    forward, backward = gains(
        lambda m, seed: initialize_(m, 4, generator=seeded(seed), weights=law),
        lambda: dense(8),
        x,
        num_networks=16,
    )
    assert_mc_close(1.0, Estimate.from_samples(forward.mean(axis=1)), rel_resolution=0.04)
    assert_mc_close(1.0, Estimate.from_samples(backward.mean(axis=1)), rel_resolution=0.03)


@pytest.mark.theory_vs_sim
def test_convolutions_keep_signals_and_gradients():
    x = inputs(4, 3, 8, 8, seed=11)
    forward, backward = gains(ours, lambda: convolutional(6), x, num_networks=12)
    assert_mc_close(1.0, Estimate.from_samples(forward.mean(axis=1)), rel_resolution=0.1)
    assert_mc_close(1.0, Estimate.from_samples(backward.mean(axis=1)), rel_resolution=0.05)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize(
    ("make", "x"),
    [
        pytest.param(lambda: dense(8), inputs(8, 64, seed=10), id="dense"),
        pytest.param(lambda: convolutional(6), inputs(4, 3, 8, 8, seed=11), id="convolutional"),
    ],
)
def test_the_default_of_the_framework_fails_the_same_tests(make, x):
    for gain in gains(theirs, make, x, num_networks=6):
        with pytest.raises(AssertionError, match="z = "):
            assert_mc_close(1.0, Estimate.from_samples(gain.mean(axis=1)), rel_resolution=0.1)


@pytest.mark.theory_vs_sim
def test_zero_padding_loses_signals_and_gradients_at_the_borders():
    x = inputs(4, 3, 8, 8, seed=13)
    forward, backward = gains(ours, lambda: convolutional(10, mode="zeros"), x, num_networks=8)
    # As measured once, and as the docstring says: 0.68 and 0.93 within two hundredths.
    assert forward[:, 7:].mean() == pytest.approx(0.68, abs=0.02)
    assert backward.mean() == pytest.approx(0.93, abs=0.02)


@pytest.mark.theory_vs_sim
def test_reflected_borders_lose_nothing():
    x = inputs(4, 3, 8, 8, seed=13)
    forward, backward = gains(ours, lambda: convolutional(6, mode="reflect"), x, num_networks=12)
    assert_mc_close(1.0, Estimate.from_samples(forward.mean(axis=1)))
    assert_mc_close(1.0, Estimate.from_samples(backward.mean(axis=1)))
