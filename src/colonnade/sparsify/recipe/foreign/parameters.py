"""Parameters that foreign modifiers have in common."""

from __future__ import annotations

from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields

Converted = list[tuple[str, dict[str, Any]]]
"""Modifiers of ours, by name, with their parameters."""

NOT_NEEDED = "it does not change the result"


def targets_of(fields: Fields) -> dict[str, Any]:
    """Which layers, and which not."""
    targets = fields.take("params", "targets", default="__ALL_PRUNABLE__")
    ignore = fields.take("ignore")
    names = targets if isinstance(targets, list) else [targets]
    parameters: dict[str, Any] = {"targets": [target_of(name) for name in names]}
    if ignore:
        left = ignore if isinstance(ignore, list) else [ignore]
        parameters["ignore"] = [target_of(name) for name in left]
    return parameters


def target_of(name: Any) -> str:
    """A name or pattern of layers."""
    if name in ("__ALL__", "__ALL_PRUNABLE__", "ALL_PRUNABLE"):
        return "prunable"
    text = str(name)
    # Patterns of modules end where ours of parameters go on.
    if text.startswith("re:") and text.endswith("$") and not text.endswith("weight$"):
        return text[:-1] + r"\.weight$"
    return text


def times_of(fields: Fields) -> dict[str, Any]:
    """From when to when."""
    return {"start": start_of(fields), "end": positive(fields.take("end_epoch", "end"))}


def start_of(fields: Fields) -> Any:
    """From when on."""
    return positive(fields.take("start_epoch", "start"))


def positive(value: Any) -> Any:
    """None for -1, which stands for nothing in other tools."""
    return None if isinstance(value, int | float) and value < 0 else value
