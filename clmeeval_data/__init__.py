"""CLMEEval: the CNLE and CSNE model-editing benchmarks, their builders, and the evaluation of editing methods.

The names below load on first use, so that importing the package costs next to nothing and loads no torch.
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

if not (Path(__file__).parent / "builders").is_dir():  # a checkout: the sub-packages stand beside this folder
    __path__.append(str(Path(__file__).parent.parent))

_EXPORTS = {
    "CNLE": "records",
    "CSNE": "records",
    "CnleRecord": "records",
    "CsneRecord": "records",
    "check_dataset": "validate",
    "load_cnle": "hub",
    "load_csne": "hub",
}

__all__ = ["CNLE", "CSNE", "CnleRecord", "CsneRecord", "__version__", "check_dataset", "load_cnle", "load_csne"]


def __getattr__(name: str) -> object:
    """Load one of the public names when it is first asked for."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
