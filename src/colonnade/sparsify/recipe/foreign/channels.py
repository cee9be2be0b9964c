"""Whole filters and channels, and taking them out of the model."""

from __future__ import annotations

from typing import Any

from colonnade.sparsify.recipe.document import Entry
from colonnade.sparsify.recipe.foreign.fields import Fields, plain_value
from colonnade.sparsify.recipe.foreign.parameters import (
    NOT_NEEDED,
    Converted,
    positive,
    times_of,
)
from colonnade.sparsify.recipe.foreign.pruning import gradual

_FOUND = "which channels belong together is found in the model"
_WHOLE: tuple[Any, ...] = ("__ALL_PRUNABLE__", "__ALL__", ["__ALL_PRUNABLE__"], ["__ALL__"])


def structured(fields: Fields) -> Converted:
    """StructuredPruning: of whole channels that are then taken out, or of filters or channels that
    stay as zeros."""
    if _is_thinned(fields):
        return [("channel_pruning", _channels(fields))]
    if fields.take("param_groups"):
        fields.note(
            "param_groups",
            "each layer chooses its own here; `channel_pruning` prunes together what belongs "
            "together, and takes it out",
        )
    return [("gradual_magnitude", gradual(fields, pattern="filter"))]


def thinning(fields: Fields) -> Converted:
    """LayerThinning: a part of channel_pruning."""
    if not _is_thinned(fields):
        fields.note(
            "",
            "is left out: only `channel_pruning` takes channels out, and it comes of one "
            "StructuredPruningModifier of all layers",
        )
        return []
    fields.ignore(["param_group_dependency_map", "structure_type", "strict"], _FOUND)
    fields.ignore(["start_epoch", "update_epochs"], "channels are taken out at the end of the run")
    fields.ignore(["end_epoch"], NOT_NEEDED)
    return []


def _channels(fields: Fields) -> dict[str, Any]:
    fields.ignore(["param_groups", "mask_type"], _FOUND)
    fields.take("params")
    fields.expect("init_sparsity", 0.0)
    fields.expect("leave_enabled", True)
    fields.ignore(["log_types"], NOT_NEEDED)
    schedule = fields.take("inter_func")
    return {
        "sparsity": fields.take("final_sparsity"),
        **times_of(fields),
        "update_every": positive(fields.take("update_frequency")),
        "schedule": None if schedule == "cubic" else schedule,
    }


def _is_thinned(fields: Fields) -> bool:
    """Whether a recipe prunes channels of the whole model, once, and takes them out."""
    names = [name for name, _ in fields.recipe]
    pruned = [entry for name, entry in fields.recipe if name == "StructuredPruningModifier"]
    return len(pruned) == 1 and "LayerThinningModifier" in names and _is_whole(pruned[0])


def _is_whole(entry: Entry) -> bool:
    params = entry.value.get("params") if isinstance(entry.value, dict) else None
    return params is None or plain_value(params) in _WHOLE
