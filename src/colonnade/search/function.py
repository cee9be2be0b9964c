"""A torch module that a function of the user's makes, as an ONNX file. Loads torch."""

from __future__ import annotations

from pathlib import Path

from colonnade.errors import InputError
from colonnade.quantization.data.functions import load_function
from colonnade.search.folder import run_file
from colonnade.sparsify.export.module import export_module


def export_function(text: str, target: Path) -> Path:
    """Write the module as ONNX, checked with the engine against torch.

    `text`: package.module:function or path/file.py:function. The function takes nothing and returns
    the trained module and a sample of its inputs. Raises InputError for a function that returns
    something else, and what `export_module` raises.
    """
    made = load_function(text, "model")()
    if not isinstance(made, tuple) or len(made) != 2:
        raise InputError(
            f"model {text!r} returned {type(made).__name__}; expected (module, sample): a torch "
            "module and the inputs of one call"
        )
    module, sample = made
    export_module(module, sample, target, runner=run_file)
    return target
