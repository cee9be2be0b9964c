"""A torch module that a function of the user's makes, as an ONNX file. Loads torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colonnade.errors import ColonnadeError, InputError
from colonnade.quantization.data.functions import load_function
from colonnade.search.folder import run_file
from colonnade.sparsify.export.module import export_module


def export_function(text: str, target: Path) -> Path:
    """Write the module as ONNX, checked with the engine against torch.

    `text`: package.module:function or path/file.py:function. The function takes nothing and returns
    the trained module and a sample of its inputs. Raises InputError for a function that raises or
    returns something else, and what `export_module` raises.
    """
    with _named(text, "loading it"):
        function = load_function(text, "model")
    with _named(text, "the function"):
        made = function()
    if not isinstance(made, tuple) or len(made) != 2:
        raise InputError(
            f"model {text!r} returned {type(made).__name__}; expected (module, sample): a torch "
            "module and the inputs of one call"
        )
    module, sample = made
    with _named(text, "the module"):
        export_module(module, sample, target, runner=run_file)
    return target


@contextmanager
def _named(text: str, what: str) -> Iterator[None]:
    """An error of the user's code is one of the input, and says whose it is."""
    try:
        yield
    except (ColonnadeError, MemoryError):
        raise
    except Exception as error:  # the user's code may raise anything
        lines = str(error).splitlines() or [""]
        raise InputError(
            f"model {text!r}: {what} raised {type(error).__name__}: {lines[0]}"
        ) from error
