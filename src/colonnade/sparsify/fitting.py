"""Which of the layers that a recipe names can be pruned as it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from colonnade.errors import RecipeError
from colonnade.sparsity import patterns

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer
    from colonnade.sparsity.patterns import Pattern


def keep_fitting(
    layers: Iterable[Layer],
    targets: Iterable[str],
    why_not: Callable[[Layer], str],
    note: Callable[[str], None] | None = None,
) -> list[Layer]:
    """The layers for which `why_not` has no reason; the others are left dense, with a note.

    A layer that cannot be pruned though a target is its own name is an error, as is none at all
    that can.
    """
    named, chosen = frozenset(targets), []
    left: dict[str, list[str]] = {}
    for layer in layers:
        why = why_not(layer)
        if why and is_named(layer, named):
            raise RecipeError(f"layer {layer.name} cannot be pruned: {why}", parameter="targets")
        if why:
            left.setdefault(why, []).append(layer.name)
        else:
            chosen.append(layer)
    if not chosen:
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in left.items())
        raise RecipeError(f"no layer is left that can be pruned: {reasons}", parameter="targets")
    for why, names in left.items():
        if note is not None:
            note(f"{', '.join(names)}: left dense, {why}")
    return chosen


def is_named(layer: Layer, targets: Iterable[str]) -> bool:
    """Whether a target is exactly a name of the parameter or of its module."""
    return not layer.names.isdisjoint(targets)


def why_not(layer: Layer, pattern: Pattern, along: Literal["inputs", "outputs"] = "inputs") -> str:
    """Why a layer cannot have the pattern, or "".

    Groups and blocks lie within one tap, and within a group of a grouped convolution.
    """
    axis = layer.rows_axis if along == "inputs" else 1 - layer.rows_axis
    rows, inputs, segments = layer.weight.shape[axis], layer.weight.shape[1 - axis], layer.taps
    # The groups of a convolution lie along the first axis of its weight.
    groups = int(getattr(layer.module, "groups", 1))
    if axis == 0:
        rows //= groups
    else:
        inputs //= groups
        segments *= groups
    why = patterns.why_not(pattern, rows, inputs, segments)
    is_grouped = axis == 0 and groups > 1
    if not why and is_grouped and isinstance(pattern, patterns.Block) and rows % pattern.rows:
        why = f"{pattern} would straddle groups: {rows} outputs are no multiple of {pattern.rows}"
    return why if along == "inputs" else why.replace("inputs", "outputs")
