"""Modules of a model by name, class or pattern."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from torch import nn

from colonnade.errors import RecipeError


def find_modules(
    model: nn.Module, targets: Sequence[str], parameter: str = "targets"
) -> dict[str, nn.Module]:
    """Each target is a name, a class ("ReLU"), or "re:" and an expression; it must match one."""
    modules = {name: module for name, module in model.named_modules() if name}
    found: set[str] = set()
    for target in targets:
        names = {name for name, module in modules.items() if _matches(target, name, module)}
        if not names:
            known = [*modules, *sorted({type(module).__name__ for module in modules.values()})]
            near = difflib.get_close_matches(target.removeprefix("re:"), known, n=3, cutoff=0.5)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise RecipeError(
                f"no module of the model matches {target!r}{hint}", parameter=parameter
            )
        found |= names
    return {name: module for name, module in modules.items() if name in found}


def _matches(target: str, name: str, module: nn.Module) -> bool:
    if not target.startswith("re:"):
        return target == name or target in {cls.__name__ for cls in type(module).__mro__}
    try:
        return re.match(target[3:], name) is not None
    except re.error as error:
        raise RecipeError(f"{target!r} is not a regular expression: {error}") from None
