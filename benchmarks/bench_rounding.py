"""Speed of rounding to floating-point formats, as a share of the speed of copying the array."""

import importlib.util

import numpy as np
from run import Ratio, interleave

from qtheory.quantizers.float_rounding import round_to_format
from qtheory.quantizers.formats import BFLOAT16, FP4_E2M1, FP8_E4M3
from qtheory.quantizers.rounding import RoundMode

NUM_ELEMENTS = 2**24  # 64 MB of float32
NUM_ROUNDS = 9
NUMPY_TARGET, NUMBA_TARGET = 0.05, 0.25


def ratios() -> list[Ratio]:
    """Measure each backend and format on one array, interleaved with copies of it."""
    rng = np.random.default_rng(1)
    x = 30 * rng.standard_normal(NUM_ELEMENTS, dtype=np.float32)
    out = np.empty_like(x)

    def rounding(fmt, backend, mode=RoundMode.TIES_TO_EVEN):
        return lambda: round_to_format(x, fmt, round_mode=mode, backend=backend, out=out)

    cases = {("numpy", fmt.name): rounding(fmt, "numpy") for fmt in (FP8_E4M3, FP4_E2M1, BFLOAT16)}
    if importlib.util.find_spec("numba"):
        cases |= {
            ("numba", fmt.name): rounding(fmt, "numba") for fmt in (FP8_E4M3, FP4_E2M1, BFLOAT16)
        }
        cases["numba", "FP8_E4M3 toward zero"] = rounding(FP8_E4M3, "numba", RoundMode.TOWARD_ZERO)
    seconds = interleave(
        {"copy": lambda: np.copyto(out, x)} | {str(key): run for key, run in cases.items()},
        num_rounds=NUM_ROUNDS,
    )
    targets = {"numpy": NUMPY_TARGET, "numba": NUMBA_TARGET}
    return [
        Ratio(
            name=f"round float32 to {name}, {backend}",
            against="copy of the array",
            value=seconds["copy"] / seconds[str((backend, name))],
            target=targets[backend],
        )
        for backend, name in cases
    ]
