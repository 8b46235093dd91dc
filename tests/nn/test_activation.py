"""Quantized activations in PyTorch: forward as NumPy does it, backward as the line says."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from qtheory.meanfield import (
    Staircase,
    UniformStaircase,
    optimal_spacing,
    uniform_staircase,
    unsigned_staircase,
)
from qtheory.meanfield.backward import straight_through_gain
from qtheory.meanfield.scale import optimal_unsigned, staircase_from_format
from qtheory.quantizers import (
    FP4_E2M1,
    FP8_E4M3,
    AffineQuantizer,
    RoundMode,
    ScalarQuantizer,
    UniformQuantizer,
    format_quantizer,
    infinite_grid,
    sign,
    ternary,
    uniform_midrise,
    uniform_midtread,
)

torch = pytest.importorskip("torch")
from qtheory.nn import QuantizedActivation  # noqa: E402

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
QUANTIZERS = [
    pytest.param(uniform_staircase(2), id="sign"),
    pytest.param(uniform_staircase(5), id="five-levels"),
    pytest.param(uniform_staircase(16), id="sixteen-levels"),
    pytest.param(UniformStaircase(7, 0.3, -0.2, threshold_center=0.1), id="falling"),
    pytest.param(Staircase([0.5, -1.0, -1.0, 2.0], [-0.7, 0.1, 0.2]), id="up-and-down"),
    pytest.param(unsigned_staircase(4), id="unsigned"),
    pytest.param(ScalarQuantizer([-1.0, 0.3, 2.0]), id="scalar"),
    pytest.param(ternary(0.7, threshold=0.2), id="ternary"),
    pytest.param(sign(0.3), id="one-bit"),
    pytest.param(uniform_midrise(8, step_size=0.37), id="midrise"),
    *(
        pytest.param(uniform_midtread(8, step_size=0.1, round_mode=mode), id=mode.name.lower())
        for mode in RoundMode
        if mode is not RoundMode.STOCHASTIC
    ),
    pytest.param(UniformQuantizer(0.1, offset=1 / 3, code_min=-3, code_max=9), id="offset"),
    pytest.param(AffineQuantizer(0.5, 1, code_min=0, code_max=3), id="affine"),
    pytest.param(staircase_from_format(FP4_E2M1), id="fp4"),
]


def probes(quantizer, dtype):
    """Numbers of a type on and around every threshold, in all cells, and the special ones."""
    thresholds = QuantizedActivation(quantizer, slope=1.0, variance=1.0).thresholds
    near = torch.cat([thresholds + k * 2.0**-p for p in (9, 12, 25, 54) for k in range(-3, 4)])
    wide = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    special = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0], dtype=torch.float64)
    return torch.cat([near, wide, special]).to(dtype)


def to_exact_numpy(tensor):
    """Float64 array of the same numbers."""
    return tensor.detach().to(torch.float64).numpy()


# --- Unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_forward_is_that_of_numpy_bit_for_bit(quantizer, dtype):
    u = probes(quantizer, dtype)
    output = QuantizedActivation(quantizer, slope=1.0, variance=1.0)(u)
    expected = torch.from_numpy(np.asarray(quantizer(to_exact_numpy(u)))).to(dtype)
    assert output.dtype == dtype
    assert_array_equal(to_exact_numpy(output), to_exact_numpy(expected))


def test_float32_is_that_of_numpy_in_float32():
    u = probes(uniform_midrise(8, step_size=0.37), torch.float32)
    output = QuantizedActivation(uniform_midrise(8, step_size=0.37))(u).numpy()
    expected = uniform_midrise(8, step_size=0.37)(u.numpy())
    assert output.dtype == expected.dtype == np.float32
    assert_array_equal(output, expected)


def test_a_tie_goes_where_the_quantizer_sends_it():
    ties = torch.tensor([-0.5, 0.5, 1.5], dtype=torch.float64)
    up = QuantizedActivation(ScalarQuantizer([-1.0, 0.0, 1.0, 2.0]))
    even = QuantizedActivation(UniformQuantizer(1.0, code_min=-1, code_max=2))
    assert up(ties).tolist() == [0.0, 1.0, 2.0]
    assert even(ties).tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_backward_is_slope_inside_the_window(dtype):
    module = QuantizedActivation(4, slope=1.25, window=0.7)
    u = torch.tensor([-3.0, -0.7, -0.69, 0.0, 0.69, 0.7, 0.71, math.nan], dtype=dtype)
    u.requires_grad_(True)
    gradient = torch.arange(1.0, 9.0, dtype=dtype)
    module(u).backward(gradient)
    inside = np.abs(to_exact_numpy(u)) < 0.7
    assert_array_equal(to_exact_numpy(u.grad), np.arange(1.0, 9.0) * 1.25 * inside)
    assert u.grad.dtype == dtype


def test_window_may_be_infinite():
    u = torch.tensor([1e30, -2.0], requires_grad=True)
    QuantizedActivation(4, slope=0.5, window=math.inf)(u).sum().backward()
    assert u.grad.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("num_levels", [3, 4, 16, 256])
def test_a_number_of_levels_is_the_optimum_of_the_theory(num_levels):
    best, module = optimal_spacing(num_levels), QuantizedActivation(num_levels)
    assert module.num_levels == num_levels
    assert module.variance.item() == pytest.approx(best.variance, rel=1e-8, abs=0)
    assert module.weight_variance == pytest.approx(best.weight_variance, rel=1e-8, abs=0)
    assert module.window.item() == pytest.approx(1.0, rel=1e-14, abs=0)
    gain = straight_through_gain(
        best.variance, weight_variance=best.weight_variance, slope=module.slope.item()
    )
    assert gain == pytest.approx(1.0, rel=1e-8, abs=0)


def test_slopes_of_the_notes():
    assert QuantizedActivation(3).slope.item() == pytest.approx(1.019561, abs=5e-7)
    assert QuantizedActivation(4).slope.item() == pytest.approx(1.009469, abs=5e-7)
    assert QuantizedActivation(16).slope.item() == pytest.approx(1.000199, abs=5e-7)


def test_one_bit_has_any_scale():
    module = QuantizedActivation(2)
    assert module.weight_variance == 1.0
    assert module.slope.item() == pytest.approx(math.erf(math.sqrt(0.5)) ** -0.5, rel=1e-14, abs=0)


def test_unsigned_levels_have_their_own_optimum():
    module, best = QuantizedActivation(unsigned_staircase(4)), optimal_unsigned(4)
    spacing = 1 / math.sqrt(module.variance.item())
    assert spacing == pytest.approx(best.spacing, rel=1e-12, abs=0)


def test_a_variance_sets_the_slope():
    module = QuantizedActivation(4, variance=1.0)
    gain = module.weight_variance * module.slope.item() ** 2 * math.erf(math.sqrt(0.5))
    assert gain == pytest.approx(1.0, rel=1e-14, abs=0)


def test_windows_by_default():
    assert QuantizedActivation(sign(0.3)).window.item() == 0.3
    window = QuantizedActivation(uniform_midrise(4, step_size=0.5)).window.item()
    assert window == pytest.approx(0.75, rel=1e-14, abs=0)
    # Asymmetric: thresholds -0.35, ..., 0.25 of step 0.1.
    window = QuantizedActivation(uniform_midtread(8, step_size=0.1)).window.item()
    assert window == pytest.approx(0.4, rel=1e-14, abs=0)


def test_formats_are_staircases_of_their_values():
    assert_array_equal(
        QuantizedActivation(FP4_E2M1).levels.numpy(), format_quantizer(FP4_E2M1).levels
    )
    assert QuantizedActivation(FP8_E4M3).num_levels == format_quantizer(FP8_E4M3).num_levels


def test_the_object_of_the_theory_comes_back():
    assert isinstance(QuantizedActivation(16).activation, UniformStaircase)
    other = QuantizedActivation(ScalarQuantizer([-1.0, 0.3, 2.0])).activation
    assert isinstance(other, Staircase)
    assert_array_equal(other.levels, [-1.0, 0.3, 2.0])


def test_buffers_stay_float64_and_are_saved():
    module = QuantizedActivation(7, window=0.9)
    names = ["levels", "thresholds", "slope", "window", "variance"]
    assert list(module.state_dict()) == names
    for changed in (module.half(), module.to(torch.bfloat16), module.float(), module.double()):
        assert {buffer.dtype for buffer in changed.buffers()} == {torch.float64}
        assert_array_equal(changed.levels.numpy(), QuantizedActivation(7).levels.numpy())
    assert list(module.parameters()) == []


def test_state_is_carried_over():
    source, target = QuantizedActivation(8, slope=1.5, window=2.0), QuantizedActivation(8)
    target.load_state_dict(source.state_dict())
    assert (target.slope.item(), target.window.item()) == (1.5, 2.0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        QuantizedActivation(4).load_state_dict(source.state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_apart(copied):
    module = QuantizedActivation(5)
    other = copied(module)
    u = torch.linspace(-2, 2, 101)
    assert_array_equal(other(u).numpy(), module(u).numpy())
    other.levels.zero_()
    assert module.levels.abs().sum() > 0


def test_representation():
    text = "QuantizedActivation(num_levels=4, levels from -1 to 1, slope=1.5, window=2)"
    assert repr(QuantizedActivation(4, slope=1.5, window=2.0)) == text


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3, 4)])
def test_shapes(shape):
    u = torch.zeros(shape, requires_grad=True)
    output = QuantizedActivation(3)(u)
    output.sum().backward()
    assert output.shape == u.grad.shape == u.shape


def test_strides_do_not_matter():
    u = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    module = QuantizedActivation(4)
    assert_array_equal(module(u.T).numpy(), module(u).numpy().T)
    assert_array_equal(module(u[::2, 1::3]).numpy(), module(u).numpy()[::2, 1::3])


def test_messages():
    with pytest.raises(ValueError, match="`activation` must be a number of levels from 2 to 65536"):
        QuantizedActivation(1)
    with pytest.raises(ValueError, match="`activation` must be a number of levels from 2 to 65536"):
        QuantizedActivation("relu")
    with pytest.raises(ValueError, match="`activation` must be of at most 65536 levels"):
        QuantizedActivation(UniformStaircase(2**40, 1.0))
    with pytest.raises(ValueError, match="`activation` must be of at least two levels, got 1"):
        QuantizedActivation(ScalarQuantizer([1.0]))
    with pytest.raises(ValueError, match="`quantizer` must be one with a single scale"):
        QuantizedActivation(AffineQuantizer([0.5, 1.0], 0, code_min=0, code_max=3, axis=0))
    with pytest.raises(ValueError, match="`activation` must be of finitely many levels"):
        QuantizedActivation(infinite_grid(1.0))
    with pytest.raises(ValueError, match="deterministic rounding"):
        QuantizedActivation(uniform_midtread(4, step_size=1.0, round_mode=RoundMode.STOCHASTIC))
    with pytest.raises(ValueError, match="`activation` must be of at least one level that is not"):
        QuantizedActivation(Staircase([0.0, 0.0], [0.0]))
    with pytest.raises(ValueError, match="`slope` must be finite and above zero, got 0"):
        QuantizedActivation(4, slope=0)
    with pytest.raises(ValueError, match=r"`window` must be finite and above zero, got -1\.0"):
        QuantizedActivation(4, window=-1.0)
    with pytest.raises(ValueError, match="`variance` must be finite and above zero, got nan"):
        QuantizedActivation(4, variance=math.nan)
    with pytest.raises(ValueError, match="`variance` must be so large that not all outputs are"):
        QuantizedActivation(3, variance=1e-6)
    with pytest.raises(ValueError, match=r"`u` must be of a floating-point type, got torch\.int64"):
        QuantizedActivation(4)(torch.arange(3))
    with pytest.raises(ValueError, match="`u` must be of a floating-point type"):
        QuantizedActivation(4).surrogate(torch.arange(3))


# --- Property ---------------------------------------------------------------------------------


@pytest.mark.property
@given(
    num_levels=st.integers(2, 40),
    numbers=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20),
)
def test_output_is_a_level_and_never_falls(num_levels, numbers):
    module = QuantizedActivation(num_levels, slope=1.0, variance=1.0)
    u = torch.tensor(sorted(numbers))
    output = module(u)
    assert set(output.tolist()) <= set(module.levels.float().tolist())
    assert (output.diff() >= 0).all()


@pytest.mark.property
@given(
    step=st.floats(1e-3, 1e3),
    offset=st.floats(-10, 10),
    numbers=st.lists(st.integers(-12, 12), min_size=1, max_size=9),
)
def test_half_steps_of_any_grid_go_where_numpy_sends_them(step, offset, numbers):
    quantizer = UniformQuantizer(step, offset=offset, code_min=-2, code_max=3)
    module = QuantizedActivation(quantizer, slope=1.0, variance=offset**2 + step**2)
    x = offset + 0.5 * step * np.array(numbers, dtype=np.float64)
    assert_array_equal(module(torch.from_numpy(x)).numpy(), quantizer(x))


# --- Differentiation ---------------------------------------------------------------------------


def interior(module, num_samples=40):
    """Numbers away from the ends of the window, where the line bends."""
    u = torch.linspace(-2, 2, num_samples, dtype=torch.float64)
    return u[(u.abs() - module.window).abs() > 1e-3].requires_grad_(True)


def test_the_surrogate_passes_gradcheck_to_second_order():
    module = QuantizedActivation(4, slope=1.3, window=0.8)
    assert torch.autograd.gradcheck(module.surrogate, (interior(module),))
    assert torch.autograd.gradgradcheck(module.surrogate, (interior(module),))


def test_the_module_has_the_derivative_of_the_surrogate():
    module = QuantizedActivation(4, slope=1.3, window=0.8)
    u = interior(module)
    gradients = [torch.autograd.grad(f(u).sum(), u)[0] for f in (module, module.surrogate)]
    assert_array_equal(*(gradient.numpy() for gradient in gradients))


def test_gradcheck_of_the_module_fails_as_it_should():
    module = QuantizedActivation(4)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(module, (interior(module),))


def test_second_derivative_is_linear_in_the_gradient_and_zero_in_the_input():
    module = QuantizedActivation(4, slope=1.5, window=0.8)
    u = torch.tensor([-1.0, 0.1, 0.5], requires_grad=True)
    v = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (first,) = torch.autograd.grad(module(u), u, v, create_graph=True)
    by_v, by_u = torch.autograd.grad(first.sum(), (v, u), allow_unused=True, materialize_grads=True)
    assert by_v.tolist() == [0.0, 1.5, 1.5]
    assert by_u.tolist() == [0.0, 0.0, 0.0]


# PyTorch's own compiler and forward mode still use what PyTorch has deprecated.
of_torch_itself = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@of_torch_itself
def test_transforms_of_torch_func():
    module = QuantizedActivation(4, slope=1.5, window=0.8)
    u = torch.tensor([[-1.0, 0.1, 0.5], [0.3, 2.0, -0.2]])
    inside = 1.5 * (u.abs() < 0.8)
    assert torch.equal(torch.func.vmap(module)(u), module(u))
    per_sample = torch.func.vmap(torch.func.grad(lambda row: module(row).sum()))(u)
    assert torch.equal(per_sample, inside)
    assert torch.equal(torch.func.jacrev(module)(u[0]), torch.diag(inside[0]))
    assert torch.equal(torch.func.jacfwd(module)(u[0]), torch.diag(inside[0]))
    value, tangent = torch.func.jvp(module, (u,), (torch.ones_like(u),))
    assert torch.equal(value, module(u))
    assert torch.equal(tangent, inside)


@pytest.mark.filterwarnings("ignore:.*non-contiguous")
def test_an_ensemble_of_staircases_runs_as_one():
    modules = [QuantizedActivation(4, slope=1.0), QuantizedActivation(4, slope=2.0)]
    modules[1].levels *= 2
    parameters, buffers = torch.func.stack_module_state(modules)
    u = torch.linspace(-1, 1, 7)

    def call(buffers):
        return torch.func.functional_call(modules[0], (parameters, buffers), (u,))

    stacked = torch.func.vmap(call)(buffers)
    assert torch.equal(stacked, torch.stack([module(u) for module in modules]))


@of_torch_itself
def test_the_compiler_takes_it_in_one_piece():
    module = QuantizedActivation(4, slope=1.5)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    u, v = (torch.linspace(-2, 2, 41, requires_grad=True) for _ in range(2))
    compiled(u).sum().backward()
    module(v).sum().backward()
    assert torch.equal(compiled(u), module(v))
    assert torch.equal(u.grad, v.grad)


def test_autocast_keeps_to_the_levels_of_the_lower_type():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), QuantizedActivation(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)))
    assert output.dtype == torch.bfloat16
    assert set(output.flatten().tolist()) <= set(model[1].levels.bfloat16().tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_gpu_does_the_same(quantizer, dtype):
    module = QuantizedActivation(quantizer, slope=1.5, variance=1.0)
    u = probes(quantizer, dtype)
    outputs = []
    for device in ("cpu", "cuda"):
        v = u.to(device).requires_grad_(True)
        output = module.to(device)(v)
        output.backward(torch.ones_like(v))
        outputs.append((to_exact_numpy(output.cpu()), to_exact_numpy(v.grad.cpu())))
    assert_array_equal(outputs[0][0], outputs[1][0])
    assert_array_equal(outputs[0][1], outputs[1][1])
