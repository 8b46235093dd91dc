"""A sentence in place of a traceback where PyTorch is not installed."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ImportError(
        "qtheory.nn needs PyTorch, which is not installed: pip install qtheory[torch]."
    )
