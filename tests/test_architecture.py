"""Who may import whom, read from the source: the layers of the library and its limits of size."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

GROUND = {"errors", "_checks"}
THEORY = {"meanfield", "initialization", "training", "ptq", "accumulators"}
OBJECTS = GROUND | {"numerics", "quantizers"}
# Subpackage or module of qtheory -> what it may import besides itself.
MAY_IMPORT = {
    "": GROUND,
    "errors": set(),
    "_checks": {"errors"},
    "numerics": GROUND,
    "quantizers": GROUND | {"numerics"},
    **dict.fromkeys(THEORY, OBJECTS),
    "sweeps": OBJECTS | THEORY,
    "datasets": OBJECTS,
    "nn": OBJECTS | THEORY,
    "_svg": set(),
    "plotting": OBJECTS | {"_svg"},
    "figures": OBJECTS | {"_svg", "plotting", "datasets"},
    "check": OBJECTS | THEORY | {"datasets"},
}
# Third party -> the modules that may import it, as patterns of the name below qtheory.
THIRD_PARTY = {
    "numpy": r".*",
    "scipy": r".*",
    "torch": r"nn(\..*)?",
    "numba": r"(.*\.)?_kernels",
    "matplotlib": r"plotting|figures",
    "cycler": r"plotting",
    "ipywidgets": r"plotting|figures",
    "IPython": r"plotting|figures",
    "sklearn": r"datasets",
    "array_api_compat": r"ptq(\..*)?",
    "joblib": r"sweeps",
    "tqdm": r"sweeps",
}
# What a simulation may take from the package beside it: the objects, never the theory.
SIMULATED_OBJECTS = {
    "quantizers": {
        "rounding",
        "scalar",
        "affine",
        "sources",
        "formats",
        "float_rounding",
        "blocks",
        "fixed_point",
        "_kernels",
    },
}
MAX_BODY_LINES = 40
MAX_ARGUMENTS = 8
# One compiled pass over memory is one long function with every constant as an argument.
UNLIMITED = re.compile(r".*\._kernels")


def read_library():
    """Return the source of each module of the library by its dotted name."""
    paths = sorted((ROOT / "qtheory").rglob("*.py"))
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths}


def module_name(path):
    """Return a dotted name, where a package ends in ``__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported_names(module, source):
    """Return the absolute dotted name of everything that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


def layer(dotted):
    """Return the subpackage or module of qtheory that a dotted name belongs to."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else ""


def layer_faults(sources):
    """Return each import within the library that goes up or sideways."""
    return [
        f"{module} imports {name}"
        for module, source in sources.items()
        for name in sorted(imported_names(module, source))
        if name.split(".")[0] == "qtheory"
        and layer(name) not in MAY_IMPORT[layer(module)] | {layer(module), ""}
    ]


def unknown_layers(sources):
    """Return the modules that no layer has been given to."""
    return [name for name in sources if layer(name) == "" and name != "qtheory.__init__"]


def third_party_faults(sources):
    """Return each import from outside that its module has no right to."""
    outside = [
        (module, name.split(".")[0])
        for module, source in sources.items()
        for name in sorted(imported_names(module, source))
        if name.split(".")[0] not in sys.stdlib_module_names | {"qtheory"}
    ]
    return [
        f"{module} imports {package}"
        for module, package in outside
        if not re.fullmatch(THIRD_PARTY.get(package, r"(?!)"), module.removeprefix("qtheory."))
    ]


def simulation_faults(sources):
    """Return each import by which a simulation leans on the theory that it is to check."""
    faults = []
    for module, source in sources.items():
        package, _, last = module.rpartition(".")
        if last != "simulate":
            continue
        allowed = SIMULATED_OBJECTS.get(package.removeprefix("qtheory."), set())
        faults += [
            f"{module} imports {name}"
            for name in sorted(imported_names(module, source))
            if name.startswith(f"{package}.")
            and name.removeprefix(f"{package}.").split(".")[0] not in allowed
        ]
    return faults


def functions(sources):
    """Return every function of the library with its module."""
    return [
        (module, node)
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def body_length(function):
    """Return the number of lines of a function below its docstring."""
    body = function.body[bool(ast.get_docstring(function)) :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def arguments(function):
    """Return the names of a function's arguments without ``self`` and ``cls``."""
    spec = function.args
    names = [arg.arg for arg in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]]
    return [name for name in names if name not in {"self", "cls"}]


def size_faults(sources):
    """Return each function that is too long or takes too many arguments."""
    return [
        f"{module}.{node.name}: {body_length(node)} lines, {len(arguments(node))} arguments"
        for module, node in functions(sources)
        if (body_length(node) > MAX_BODY_LINES or len(arguments(node)) > MAX_ARGUMENTS)
        and not UNLIMITED.fullmatch(module)
    ]


def print_faults(sources):
    """Return each module that prints or asserts."""
    return [
        module
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print")
    ]


def value_faults(sources):
    """Return each dataclass that can be changed, or that compares its arrays."""
    return [
        f"{module}.{node.name}"
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass")
        and ("frozen=True" not in decorator or (holds_arrays(node) and "eq=False" not in decorator))
    ]


def holds_arrays(node):
    """Whether a field of a class is annotated as an array."""
    fields = [
        ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)
    ]
    return any("Array" in annotation for annotation in fields)


# A tolerance that is given, and the one beside it whose default is wider than a reader would think.
WIDENED = {"approx": ("rel", "abs"), "assert_allclose": ("atol", "rtol")}


def tolerance_faults(sources):
    """Return each comparison with one tolerance stated and the other left at its default."""
    return [
        f"{name}:{node.lineno}"
        for name, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for given, other in [WIDENED.get(ast.unparse(node.func).rpartition(".")[2], ("", ""))]
        for keywords in [{keyword.arg for keyword in node.keywords}]
        if given in keywords and other not in keywords
    ]


LIBRARY = read_library()
TESTS = {
    module_name(path): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")
}


# --- The library ----------------------------------------------------------------------------


def test_every_module_has_a_layer():
    assert unknown_layers(LIBRARY) == []


def test_imports_within_the_library_go_down():
    assert layer_faults(LIBRARY) == []


def test_third_party_packages_stay_where_they_belong():
    assert third_party_faults(LIBRARY) == []


def test_simulations_do_not_import_the_theory_beside_them():
    assert simulation_faults(LIBRARY) == []


def test_functions_are_small():
    assert size_faults(LIBRARY) == []


def test_the_library_neither_prints_nor_asserts():
    assert print_faults(LIBRARY) == []


def test_values_are_frozen_and_arrays_are_not_compared():
    assert value_faults(LIBRARY) == []


def test_relative_tolerances_of_the_tests_are_not_widened():
    assert tolerance_faults(TESTS) == []


@pytest.mark.parametrize(
    "module", ["qtheory", "qtheory.quantizers", "qtheory.meanfield", "qtheory.training"]
)
def test_importing_the_library_loads_numpy_and_scipy_at_most(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numba", "matplotlib", "ipywidgets", "IPython", "sklearn", "joblib"}
    assert heavy & set(done.stdout.split()) == set()


def test_the_library_works_without_optional_packages():
    # None in sys.modules makes an import fail as if the package were not installed.
    code = (
        "import sys\n"
        "for name in ('torch', 'numba', 'matplotlib', 'ipywidgets', 'sklearn', 'ml_dtypes'):\n"
        "    sys.modules[name] = None\n"
        "import qtheory.quantizers, qtheory.meanfield, qtheory.training\n"
        "import qtheory.numerics, qtheory.check\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_in_the_library_imports_its_users():
    users = {"book", "tests", "benchmarks", "assignments", "tools"}
    imported = {
        name.split(".")[0]
        for module, source in LIBRARY.items()
        for name in imported_names(module, source)
    }
    assert imported & users == set()


# --- Negative controls: each rule catches a made-up offender ----------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("qtheory.numerics.roots", "import qtheory.quantizers", id="up"),
        pytest.param("qtheory.meanfield.maps", "from qtheory.ptq import gpfq", id="sideways"),
        pytest.param("qtheory.quantizers.scalar", "from .. import plotting", id="relative"),
        pytest.param("qtheory.quantizers.scalar", "from ..nn import layers", id="relative-from"),
        pytest.param("qtheory.datasets", "def f():\n    import qtheory.nn", id="inside-a-function"),
        pytest.param("qtheory.__init__", "from qtheory import plotting", id="root"),
    ],
)
def test_an_import_against_the_layers_is_caught(module, source):
    assert len(layer_faults({module: source})) == 1


def test_an_import_along_the_layers_is_accepted():
    sources = {
        "qtheory.quantizers.__init__": "from qtheory.quantizers.scalar import sign",
        "qtheory.meanfield.maps": "from qtheory.quantizers import UniformQuantizer",
        "qtheory.nn.linear": "from qtheory import errors",
    }
    assert layer_faults(sources) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("qtheory.meanfield.maps", "import torch.nn", id="torch"),
        pytest.param("qtheory.quantizers.scalar", "from numba import njit", id="numba"),
        pytest.param("qtheory.quantizers.scalar", "import matplotlib.pyplot", id="matplotlib"),
        pytest.param("qtheory.sweeps", "import ipywidgets", id="ipywidgets"),
        pytest.param("qtheory.numerics.roots", "import pandas", id="not-a-dependency"),
    ],
)
def test_a_package_out_of_place_is_caught(module, source):
    assert len(third_party_faults({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("qtheory.nn.linear", "import torch", id="torch"),
        pytest.param("qtheory.quantizers._kernels", "import numba", id="numba"),
        pytest.param("qtheory.plotting", "import matplotlib.pyplot as plt", id="matplotlib"),
    ],
)
def test_a_package_in_its_place_is_accepted(module, source):
    assert third_party_faults({module: source}) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param(
            "qtheory.quantizers.simulate",
            "from qtheory.quantizers.distortion import distortion",
            id="theory",
        ),
        pytest.param(
            "qtheory.quantizers.simulate", "from qtheory.quantizers import distortion", id="root"
        ),
        pytest.param("qtheory.meanfield.simulate", "from . import maps", id="relative"),
    ],
)
def test_a_simulation_that_leans_on_its_theory_is_caught(module, source):
    assert len(simulation_faults({module: source})) == 1


def test_a_simulation_of_objects_is_accepted():
    sources = {
        "qtheory.quantizers.simulate": "from qtheory.quantizers.scalar import ScalarQuantizer",
        "qtheory.meanfield.simulate": "from qtheory.quantizers import ScalarQuantizer",
    }
    assert simulation_faults(sources) == []


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def f():\n" + "    x = 1\n" * 41, id="long"),
        pytest.param("def f(a, b, c, d, *, e, f, g, h, i): ...", id="wide"),
    ],
)
def test_a_function_out_of_size_is_caught(source):
    assert len(size_faults({"qtheory.numerics.roots": source})) == 1


def test_a_docstring_does_not_count_as_length():
    source = 'def f():\n    """' + "Text.\n" * 60 + '"""\n    return 1\n'
    assert size_faults({"qtheory.numerics.roots": source}) == []


@pytest.mark.parametrize("source", ["print('x')", "assert True"])
def test_printing_and_asserting_is_caught(source):
    assert print_faults({"qtheory.check": source}) == ["qtheory.check"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("@dataclass\nclass A:\n    x: float", id="bare"),
        pytest.param("@dataclass(eq=False)\nclass A:\n    x: float", id="not-frozen"),
        pytest.param("@dataclass(frozen=True)\nclass A:\n    x: FloatArray", id="arrays"),
        pytest.param("@dataclass(frozen=True, eq=True)\nclass A:\n    x: NDArray[int]", id="equal"),
    ],
)
def test_a_value_that_is_none_is_caught(source):
    assert value_faults({"qtheory.quantizers.scalar": source}) == ["qtheory.quantizers.scalar.A"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("@dataclass(frozen=True)\nclass A:\n    x: float", id="numbers"),
        pytest.param("@dataclass(frozen=True, eq=False)\nclass A:\n    x: FloatArray", id="arrays"),
        pytest.param("class A:\n    x: FloatArray", id="another-class"),
    ],
)
def test_a_frozen_value_is_accepted(source):
    assert value_faults({"qtheory.quantizers.scalar": source}) == []


@pytest.mark.parametrize(
    ("alone", "both"),
    [
        ("pytest.approx(a, rel=1e-6)", "pytest.approx(a, rel=1e-6, abs=0)"),
        ("assert_allclose(a, b, atol=1e-6)", "np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)"),
    ],
)
def test_one_tolerance_alone_is_caught(alone, both):
    assert tolerance_faults({"tests.test_x": f"{alone}\n{both}"}) == ["tests.test_x:1"]


def test_a_module_without_a_layer_is_caught():
    assert unknown_layers({"qtheory.extras": "", "qtheory.__init__": ""}) == ["qtheory.extras"]
