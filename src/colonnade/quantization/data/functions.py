"""Samples from a function of the user's: `package.module:function` or `path/file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from colonnade.errors import InputError


def load_function(text: str, what: str) -> Callable[..., Any]:
    """The function that `text` names; `what` says in errors what it is for.

    The user's code runs here. Raises InputError when there is no such module or function.
    """
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise InputError(f"{what} {text!r}: expected module:function or path/file.py:function")
    module = _load_file(Path(where), text, what) if where.endswith(".py") else _import(where, what)
    found = getattr(module, name, None)
    if not callable(found):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise InputError(f"{what} {text!r}: {where} has no function {name!r}; it has {names[:8]}")
    return found  # type: ignore[no-any-return]  # callable() does not narrow


def _load_file(path: Path, text: str, what: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{what} {text!r}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{what}: module {name!r} cannot be imported: {error}") from error
