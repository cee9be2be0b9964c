"""Import of the libraries that only some builders need, with an error that says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType


class LibraryMissingError(ImportError):
    """A builder needs a library that is not installed; tests skip on it."""


def require(module: str, reason: str) -> ModuleType:
    """The module, or LibraryMissingError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = {"PIL": "pillow"}.get(module.partition(".")[0], module.partition(".")[0])
        raise LibraryMissingError(
            f"{reason} needs {module!r}, which is not installed: pip install {package}"
        ) from error
