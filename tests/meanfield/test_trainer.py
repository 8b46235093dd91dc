"""The trainer differentiates what it says, trains each seed alone, and records what diverges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qtheory.meanfield.trainer import (
    Architecture,
    Descent,
    Initialization,
    LabeledData,
    Network,
    TrainingActivation,
    default_initialization,
    initialize,
    loss_and_gradients,
    predict,
    straight_through,
    straight_through_staircase,
    train,
)

EPS = float(np.finfo(np.float32).eps)
TANH = TrainingActivation(np.tanh, lambda u: 1 - np.tanh(u) ** 2)


def generators(*seeds):
    """Return one generator a seed."""
    return [np.random.default_rng(seed) for seed in seeds]


def clusters(num_examples=96, num_classes=3, num_inputs=8, *, seed=0, scale=0.3):
    """Return examples around one center a class, easy to learn."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((num_classes, num_inputs))
    labels = rng.integers(num_classes, size=2 * num_examples)
    inputs = centers[labels] + scale * rng.standard_normal((2 * num_examples, num_inputs))
    n = num_examples
    return LabeledData(inputs[:n], labels[:n], inputs[n:], labels[n:])


def small_network(activation=TANH, *, seeds=(1, 2), depth=3, width=6, **options):
    """Return networks with biases that are not zero."""
    rng = np.random.default_rng(5)
    return initialize(
        Architecture(8, 3, width, depth, **options),
        activation,
        Initialization(1.5, bias_variance=0.1),
        inputs=rng.standard_normal((20, 8)),
        rngs=generators(*seeds),
    )


def batch(num_seeds=2, num_examples=5):
    """Return inputs and labels of one batch for each network."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((num_seeds, num_examples, 8)).astype(np.float32)
    return x, rng.integers(3, size=(num_seeds, num_examples))


def exact_losses(weights, biases, x, y, *, quantized_logits=False):
    """Return the mean cross entropies of tanh networks in float64, written out."""
    losses = []
    for seed in range(len(x)):
        h = np.asarray(x[seed], dtype=np.float64)
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = np.tanh(h @ w[seed] + b[seed])
        scores = h @ weights[-1][seed] + biases[-1][seed]
        scores = np.tanh(scores) if quantized_logits else scores
        shifted = scores - scores.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        losses.append(-np.mean(log_p[np.arange(len(y[seed])), y[seed]]))
    return np.array(losses)


def as_doubles(parameters):
    """Return parameters in float64."""
    return [np.asarray(p, dtype=np.float64) for p in parameters]


# --- Unit ---------------------------------------------------------------------------------------


def test_sizes_of_a_network():
    assert Architecture(64, 10, 128, 2).sizes == (64, 128, 128, 10)
    network = small_network(depth=2)
    assert [w.shape for w in network.weights] == [(2, 8, 6), (2, 6, 6), (2, 6, 3)]
    assert [b.shape for b in network.biases] == [(2, 1, 6), (2, 1, 6), (2, 1, 3)]
    assert {a.dtype for a in (*network.weights, *network.biases)} == {np.dtype(np.float32)}
    assert network.num_seeds == 2


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5, 16, 255])
def test_staircase_is_the_one_of_the_theory(num_levels):
    from qtheory.meanfield import uniform_staircase

    theory = uniform_staircase(num_levels)
    # Off the thresholds, where float32 and float64 may disagree on the side.
    step = 2 / (num_levels - 1)
    positions = np.linspace(-0.7 * num_levels, 0.7 * num_levels, 4003)
    distance = np.abs(positions - num_levels / 2 - np.round(positions - num_levels / 2))
    u = (positions[distance > 1e-3] * step).astype(np.float32)
    ours = straight_through_staircase(num_levels).function(u)
    assert_allclose(ours, theory(u.astype(np.float64)), atol=4 * EPS, rtol=0)


def test_staircase_leaves_its_argument():
    u = np.array([0.3, -2.0], dtype=np.float32)
    kept = u.copy()
    straight_through_staircase(4).function(u)
    assert_array_equal(u, kept)


def test_straight_through_is_a_slope_within_a_window():
    activation = straight_through(np.sign, slope=0.5, window=2.0)
    u = np.array([-3.0, -1.9, 0.0, 2.0, 7.0], dtype=np.float32)
    assert_array_equal(activation.derivative(u), np.array([0, 0.5, 0.5, 0, 0], dtype=np.float32))
    assert activation.function(u).dtype == np.float32
    endless = straight_through(np.sign, window=math.inf)
    assert_array_equal(endless.derivative(u), np.ones(5, dtype=np.float32))


def test_first_layer_starts_at_the_variance_asked_for():
    rng = np.random.default_rng(0)
    inputs = 3 + rng.standard_normal((500, 64))
    network = initialize(
        Architecture(64, 10, 2000, 1),
        TANH,
        Initialization(1.0, first_variance=0.25),
        inputs=inputs,
        rngs=generators(0),
    )
    u = inputs.astype(np.float32) @ network.weights[0][0]
    # The mean over 64 * 2000 weights has a relative standard error of about sqrt(2 / 2000).
    assert np.mean(u**2) == pytest.approx(0.25, rel=5 * math.sqrt(2 / 2000), abs=0)


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_weights_have_the_variance_asked_for(law):
    network = initialize(
        Architecture(50, 10, 300, 2),
        TANH,
        Initialization(1.7, bias_variance=0.2, fan_in_bias_variance=3.0, law=law),
        inputs=np.ones((1, 50)),
        rngs=generators(*range(30)),
    )
    for weight in network.weights:
        scaled = weight.var() * weight.shape[1]
        assert scaled == pytest.approx(1.7, rel=5 * math.sqrt(2 / weight.size), abs=0)
    hidden = network.biases[1]
    expected = 0.2 + 3.0 / 300
    assert hidden.var() == pytest.approx(expected, rel=5 * math.sqrt(2 / hidden.size), abs=0)


def test_default_initialization_is_that_of_the_frameworks():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Linear(400, 300)
    law = default_initialization()
    assert law.law == "uniform"
    assert layer.weight.var().item() * 400 == pytest.approx(law.weight_variance, rel=0.02, abs=0)
    assert layer.bias.var().item() * 400 == pytest.approx(law.fan_in_bias_variance, rel=0.25, abs=0)
    assert layer.weight.abs().max().item() <= math.sqrt(3 * law.weight_variance / 400)


def test_prediction_by_hand():
    network = Network(
        Architecture(1, 2, 1, 1),
        straight_through_staircase(2),
        (np.array([[[2.0]]], dtype=np.float32), np.array([[[1.0, -3.0]]], dtype=np.float32)),
        (np.array([[[-1.0]]], dtype=np.float32), np.array([[[0.5, 0.0]]], dtype=np.float32)),
    )
    # 2 * 1 - 1 = 1, its sign is 1, so the scores are 1.5 and -3; 2 * 0 - 1 gives -1.
    assert_allclose(predict(network, [[1.0], [0.0]]), [[[1.5, -3.0], [-0.5, 3.0]]])


def test_quantized_logits_are_levels():
    network = small_network(straight_through_staircase(4), quantized_logits=True)
    scores = predict(network, batch()[0][0])
    assert set(np.round(3 * np.unique(scores), 5)) <= {-3.0, -1.0, 1.0, 3.0}


def test_loss_of_equal_scores_is_the_logarithm_of_the_classes():
    network = small_network()
    flat = Network(
        network.architecture,
        network.activation,
        (*network.weights[:-1], np.zeros_like(network.weights[-1])),
        (*network.biases[:-1], np.zeros_like(network.biases[-1])),
    )
    losses, _, _ = loss_and_gradients(flat, *batch())
    assert_allclose(losses, math.log(3), rtol=4 * EPS)


def test_training_leaves_the_network_it_began_with():
    network, data = small_network(), clusters()
    before = [w.copy() for w in network.weights]
    train(network, data, Descent(0.1), checkpoints=[3], rngs=generators(1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(before, network.weights, strict=True))


def test_checkpoints_are_those_of_shorter_runs():
    data = clusters()
    runs = [
        train(small_network(), data, Descent(0.1), checkpoints=steps, rngs=generators(1, 2))
        for steps in ([5, 10], [5])
    ]
    assert runs[0].checkpoints == (5, 10)
    assert_array_equal(runs[0].train_accuracy[:, 0], runs[1].train_accuracy[:, 0])
    assert_array_equal(runs[0].losses[:, :5], runs[1].losses)


def test_every_epoch_visits_each_example_once():
    data = clusters(num_examples=12)
    seen = []

    def spy(u):
        seen.append(u)
        return np.tanh(u)

    identity = Network(
        Architecture(8, 3, 8, 1),
        TrainingActivation(spy, lambda u: np.zeros_like(u)),
        (np.eye(8, dtype=np.float32)[None], np.zeros((1, 8, 3), dtype=np.float32)),
        (np.zeros((1, 1, 8), dtype=np.float32), np.zeros((1, 1, 3), dtype=np.float32)),
    )
    train(identity, data, Descent(1e-6, batch_size=4), checkpoints=[3], rngs=generators(0))
    # Three batches of the epoch in shuffled order, each before its step.
    rows = np.concatenate([u[0] for u in seen if u.shape[1] == 4 and u.shape[2] == 8][:3])
    assert_allclose(np.sort(rows, axis=0), np.sort(data.train_inputs, axis=0), rtol=0, atol=1e-5)


def test_a_network_that_diverges_is_recorded_and_the_others_go_on():
    network = small_network()
    poisoned = [w.copy() for w in network.weights]
    poisoned[1][0, 0, 0] = np.inf
    broken = Network(network.architecture, network.activation, tuple(poisoned), network.biases)
    data = clusters()
    alone = train(
        small_network(seeds=(2,)), data, Descent(0.1), checkpoints=[4, 8], rngs=generators(2)
    )
    linear = TrainingActivation(lambda u: u, np.ones_like)
    result = train(broken, data, Descent(0.1), checkpoints=[4, 8], rngs=generators(1, 2))
    exploding = train(
        small_network(linear), data, Descent(1e6), checkpoints=[4, 40], rngs=generators(1, 2)
    )
    assert_array_equal(result.losses[1], alone.losses[0])
    assert_array_equal(result.train_accuracy[1], alone.train_accuracy[0])
    assert (exploding.diverged_at >= 1).all()
    assert np.isnan(exploding.losses[:, -1]).all()
    assert np.isfinite(exploding.losses[:, 0]).all()
    assert np.isnan(exploding.test_accuracy[:, -1]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Architecture(0, 2, 3, 4), r"`num_inputs` must be an integer of at least 1"),
        (lambda: Architecture(1, 1, 3, 4), r"`num_classes` must be an integer of at least 2"),
        (lambda: Architecture(1, 2, 3, 0), r"`depth` must be an integer of at least 1"),
        (lambda: Initialization(-1.0), r"`weight_variance` must be finite and above zero"),
        (lambda: Initialization(1.0, bias_variance=-1), r"`bias_variance` must be finite and not"),
        (lambda: Initialization(1.0, first_variance=0.0), r"`first_variance` must be finite and"),
        (lambda: Initialization(1.0, law="cauchy"), r"`law` must be one of 'normal', 'uniform'"),
        (lambda: Descent(0.0), r"`learning_rate` must be finite and above zero"),
        (lambda: Descent(0.1, momentum=1.0), r"`momentum` must be below one, got 1.0"),
        (lambda: Descent(0.1, batch_size=0), r"`batch_size` must be an integer of at least 1"),
        (lambda: straight_through_staircase(1), r"`num_levels` must be an integer of at least 2"),
        (lambda: straight_through(np.sign, slope=0.0), r"`slope` must be finite and above zero"),
        (lambda: straight_through(np.sign, window=-1.0), r"`window` must be finite and above"),
        (lambda: LabeledData([[math.nan]], [0], [[1.0]], [0]), r"`train_inputs` must be finite"),
        (lambda: LabeledData([[1.0]], [0, 1], [[1.0]], [0]), r"`train_labels` must be of shape"),
        (lambda: LabeledData([[1.0]], [0.5], [[1.0]], [0]), r"`train_labels` must be a row of int"),
        (lambda: LabeledData([[1.0]], [-1], [[1.0]], [0]), r"`train_labels` must be not below"),
        (lambda: LabeledData([[1.0]], [0], [[1.0, 2.0]], [0]), r"`test_inputs` must be of 1 col"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoints": []}, r"`checkpoints` must be increasing and not empty"),
        ({"checkpoints": [5, 5]}, r"`checkpoints` must be increasing and not empty"),
        ({"checkpoints": [0]}, r"`checkpoints` must be an integer of at least 1"),
        ({"rngs": generators(1)}, r"`rngs` must be 2 generators, one a network, got 1"),
        ({"rngs": []}, r"`rngs` must be at least one generator"),
        ({"rngs": [0, 1]}, r"`rngs` must be a numpy.random.Generator"),
        ({"rngs": np.random.default_rng(0)}, r"`rngs` must be a sequence of generators"),
        ({"data": clusters(num_inputs=7)}, r"`data` must be inputs with 8 columns"),
        ({"data": clusters(num_classes=9)}, r"`data` must be labels below 3"),
        ({"descent": Descent(0.1, batch_size=97)}, r"`descent` must be a batch of at most 96"),
    ],
)
def test_training_refuses_what_does_not_fit(changes, message):
    arguments = {
        "network": small_network(),
        "data": clusters(),
        "descent": Descent(0.1),
        "checkpoints": [1],
        "rngs": generators(1, 2),
    }
    with pytest.raises(ValueError, match=message):
        train(**(arguments | changes))


def test_inputs_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"`inputs` must be of shape \(num_examples, 8\)"):
        predict(small_network(), np.ones((2, 7)))
    with pytest.raises(ValueError, match=r"`inputs` must be of shape \(num_examples, 8\)"):
        initialize(
            Architecture(8, 3, 4, 1),
            TANH,
            Initialization(1.0),
            inputs=np.ones(8),
            rngs=generators(0),
        )


def test_data_is_copied_and_read_only():
    inputs = np.ones((2, 3))
    data = LabeledData(inputs, [0, 1], inputs, [0, 1])
    inputs[:] = 0
    assert data.train_inputs.min() == 1
    with pytest.raises(ValueError, match="read-only"):
        data.train_labels[0] = 1


# --- Property -----------------------------------------------------------------------------------


@pytest.mark.property
@given(seeds=st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True))
def test_a_network_does_not_depend_on_those_trained_beside_it(seeds):
    data, descent = clusters(), Descent(0.1, batch_size=8)
    together = train(
        small_network(seeds=seeds), data, descent, checkpoints=[6], rngs=generators(*seeds)
    )
    alone = train(
        small_network(seeds=seeds[-1:]), data, descent, checkpoints=[6], rngs=generators(seeds[-1])
    )
    assert_array_equal(together.losses[-1], alone.losses[0])
    assert_array_equal(together.network.weights[1][-1], alone.network.weights[1][0])


@pytest.mark.property
@given(shift=st.floats(-50, 50))
def test_loss_does_not_change_when_all_scores_move(shift):
    network = small_network()
    moved = Network(
        network.architecture,
        network.activation,
        network.weights,
        (*network.biases[:-1], network.biases[-1] + np.float32(shift)),
    )
    losses = [loss_and_gradients(net, *batch())[0] for net in (network, moved)]
    # Scores of size up to 50 are rounded to float32.
    assert_allclose(losses[0], losses[1], atol=200 * EPS, rtol=0)


# --- Theory versus reference --------------------------------------------------------------------


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("quantized_logits", [False, True])
def test_gradient_is_that_of_finite_differences(quantized_logits):
    network = small_network(quantized_logits=quantized_logits)
    x, y = batch()
    losses, weight_gradients, bias_gradients = loss_and_gradients(network, x, y)
    parameters = [as_doubles(network.weights), as_doubles(network.biases)]
    options = {"quantized_logits": quantized_logits}
    assert_allclose(losses, exact_losses(*parameters, x, y, **options), rtol=20 * EPS)
    step = 1e-5
    for part, gradients in enumerate((weight_gradients, bias_gradients)):
        for layer, gradient in enumerate(gradients):
            numerical = np.zeros(gradient.shape)
            for place in np.ndindex(gradient.shape[1:]):
                at = (slice(None), *place)
                original = parameters[part][layer][at].copy()
                parameters[part][layer][at] = original + step
                above = exact_losses(*parameters, x, y, **options)
                parameters[part][layer][at] = original - step
                numerical[at] = (above - exact_losses(*parameters, x, y, **options)) / (2 * step)
                parameters[part][layer][at] = original
            # Central differences in float64 are good to 1e-9 here, the gradient to float32.
            assert_allclose(gradient, numerical, atol=50 * EPS * np.abs(numerical).max(), rtol=0)


@pytest.mark.theory_vs_sim
@pytest.mark.parametrize("quantized_logits", [False, True])
def test_surrogate_gradient_is_that_of_torch(quantized_logits):
    torch = pytest.importorskip("torch")
    slope, window = 1.1, 0.8

    class Surrogate(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return 2 * torch.clamp(torch.floor(1.5 * u + 2), 0, 3) / 3 - 1

        @staticmethod
        def backward(ctx, gradient):
            (u,) = ctx.saved_tensors
            return gradient * slope * (u.abs() < window)

    network = small_network(
        straight_through_staircase(4, slope=slope, window=window),
        quantized_logits=quantized_logits,
        width=32,
    )
    x, y = batch(num_examples=40)
    losses, weight_gradients, bias_gradients = loss_and_gradients(network, x, y)
    for seed in range(2):
        weights = [torch.tensor(w[seed].copy(), requires_grad=True) for w in network.weights]
        biases = [torch.tensor(b[seed].copy(), requires_grad=True) for b in network.biases]
        h = torch.tensor(x[seed])
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = Surrogate.apply(h @ w + b)
        scores = h @ weights[-1] + biases[-1]
        scores = Surrogate.apply(scores) if quantized_logits else scores
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(y[seed]))
        loss.backward()
        assert losses[seed] == pytest.approx(loss.item(), rel=20 * EPS, abs=0)
        for ours, theirs in zip(
            (*weight_gradients, *bias_gradients), (*weights, *biases), strict=True
        ):
            scale = theirs.grad.abs().max().item()
            assert_allclose(ours[seed], theirs.grad.numpy(), atol=50 * EPS * scale, rtol=0)


@pytest.mark.theory_vs_sim
def test_steps_are_those_of_torch():
    torch = pytest.importorskip("torch")
    data = clusters(num_examples=8)
    network = small_network(seeds=(1,), depth=2)
    descent = Descent(0.3, momentum=0.6, batch_size=8)
    result = train(network, data, descent, checkpoints=[5], rngs=generators(1))
    weights = [torch.tensor(w[0].copy(), requires_grad=True) for w in network.weights]
    biases = [torch.tensor(b[0].copy(), requires_grad=True) for b in network.biases]
    optimizer = torch.optim.SGD([*weights, *biases], lr=0.3, momentum=0.6)
    for _ in range(5):  # a batch is the whole training set, so that the order does not matter
        optimizer.zero_grad()
        h = torch.tensor(data.train_inputs.copy())
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = torch.tanh(h @ w + b)
        loss = torch.nn.functional.cross_entropy(
            h @ weights[-1] + biases[-1], torch.tensor(data.train_labels.copy())
        )
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(result.network.weights, weights, strict=True):
        assert_allclose(ours[0], theirs.detach().numpy(), atol=100 * EPS, rtol=0)


@pytest.mark.theory_vs_sim
def test_training_learns_what_can_be_learned():
    data = clusters(num_examples=300)
    staircase = straight_through_staircase(16)
    law = Initialization(1.0117, first_variance=0.158)
    seeds = (1, 2, 3)
    network = initialize(
        Architecture(8, 3, 64, 4), staircase, law, inputs=data.train_inputs, rngs=generators(*seeds)
    )
    result = train(network, data, Descent(0.02), checkpoints=[200], rngs=generators(*seeds))
    assert result.test_accuracy.min() > 0.95
    assert (result.diverged_at == -1).all()
    # Labels that have nothing to do with the inputs cannot be predicted.
    rng = np.random.default_rng(8)
    shuffled = LabeledData(
        data.train_inputs,
        rng.permutation(data.train_labels),
        data.test_inputs,
        rng.permutation(data.test_labels),
    )
    noise = train(network, shuffled, Descent(0.02), checkpoints=[200], rngs=generators(*seeds))
    assert noise.test_accuracy.max() < 0.5
