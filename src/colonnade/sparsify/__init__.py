"""From a trained PyTorch model to a sparse, quantized one that kept its accuracy.

The names below load on first use: reading and checking a recipe needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colonnade.sparsify.modifier import Action, Modifier
    from colonnade.sparsify.recipe import Recipe, Stage, load_recipe, read_recipe
    from colonnade.sparsify.session import Session, sparsify

_PLACES = {
    "Action": "modifier",
    "Modifier": "modifier",
    "Recipe": "recipe",
    "Session": "session",
    "Stage": "recipe",
    "load_recipe": "recipe",
    "read_recipe": "recipe",
    "sparsify": "session",
}

__all__ = [
    "Action",
    "Modifier",
    "Recipe",
    "Session",
    "Stage",
    "load_recipe",
    "read_recipe",
    "sparsify",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
