"""What initialization decides: a deep network of few levels learns, or it does not."""

import itertools
import subprocess
import sys

import pytest

from qtheory.datasets import digits_split

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from torch import nn  # noqa: E402

from qtheory.nn import QuantizedActivation, initialize_  # noqa: E402

DEPTH, WIDTH, NUM_LEVELS = 30, 128, 4


def deep_network():
    sizes = [64] + [WIDTH] * DEPTH
    parts = [
        part
        for num_in, num_out in itertools.pairwise(sizes)
        for part in (nn.Linear(num_in, num_out), QuantizedActivation(NUM_LEVELS))
    ]
    return nn.Sequential(*parts, nn.Linear(WIDTH, 10))


def accuracy_after(model, *, num_steps=200):
    """Accuracy on held-out digits after steps of stochastic gradient descent."""
    train_x, train_y, test_x, test_y = map(torch.from_numpy, digits_split())
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.5)
    for _ in range(num_steps):
        chosen = torch.randint(0, len(train_x), (32,), generator=generator)
        loss = nn.functional.cross_entropy(model(train_x[chosen].float()), train_y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(test_x.float()).argmax(1) == test_y).float().mean())


@pytest.mark.slow
@pytest.mark.theory_vs_sim
def test_thirty_layers_of_four_levels_learn_from_the_right_start_only():
    torch.manual_seed(0)
    ours, theirs = deep_network(), deep_network()
    report = initialize_(ours, NUM_LEVELS, generator=torch.Generator().manual_seed(0))
    assert report.num_hidden < report.trainable_depth
    # Seen over three seeds: 0.87 to 0.92 and 0.09 to 0.10; chance is one in ten.
    assert accuracy_after(ours) > 0.8
    assert accuracy_after(theirs) < 0.2


def test_nothing_but_this_package_loads_torch():
    code = "import sys, qtheory, qtheory.meanfield, qtheory.sweeps; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_torch_a_sentence_says_what_is_missing():
    code = "import sys; sys.modules['torch'] = None; import qtheory.nn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError: qtheory.nn needs PyTorch")
