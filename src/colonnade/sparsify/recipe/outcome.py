"""What a recipe leaves a model with, as far as the recipe alone says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.registry import modifier_name
from colonnade.sparsity.patterns import implied_sparsity, parse_pattern

SHARES = ("final_sparsity", "sparsity", "forward_sparsity")
"""What modifiers call the share of zeros at their end."""


@dataclass(frozen=True)
class Zeros:
    """The share of zeros in every layer that is pruned, and where they may lie."""

    sparsity: float
    pattern: str
    modifier: str
    """That says so."""


def final_zeros(timeline: Iterable[Modifier]) -> Zeros:
    """Of the modifier that prunes last. Raises RecipeError where none does, or where layers are to
    get shares of their own."""
    found = None
    for modifier in timeline:
        pattern = str(getattr(modifier, "pattern", "unstructured"))
        parameters = {field.name for field in dataclasses.fields(modifier)}
        shares = [getattr(modifier, name) for name in SHARES if name in parameters]
        share = next((one for one in shares if one is not None), None)
        if share is None and hasattr(modifier, "pattern"):
            share = implied_sparsity(parse_pattern(pattern))
        name = modifier_name(modifier)
        if isinstance(share, Mapping):
            raise RecipeError("layers have shares of their own", modifier=name)
        if share is not None:
            found = Zeros(float(share), pattern, name)
    if found is None:
        raise RecipeError("no modifier of it makes zeros")
    return found
