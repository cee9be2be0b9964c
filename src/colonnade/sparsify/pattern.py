"""The patterns of `colonnade.sparsity`, as recipes name them. Loads without torch."""

from __future__ import annotations

from colonnade.errors import InputError, RecipeError
from colonnade.sparsity import patterns
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector

__all__ = ["NM", "Block", "Pattern", "Unstructured", "Vector", "parse_pattern"]


def parse_pattern(text: str) -> Pattern:
    """The pattern that a recipe names; refused with a RecipeError.

    >>> parse_pattern("2:4"), parse_pattern("4x1")
    (NM(n=2, m=4), Block(rows=4, cols=1))
    """
    try:
        return patterns.parse_pattern(text)
    except InputError as error:
        raise RecipeError(error.reason, parameter="pattern") from None
