"""Parameters of one-shot modifiers."""

from __future__ import annotations

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.modifier import check_share
from colonnade.sparsity import parse_pattern
from colonnade.sparsity.patterns import implied_sparsity


def check_parameters(
    sparsity: float | None, pattern: str, num_batches: int, damping: float, bits: int | None
) -> None:
    """Refuse what no model could have, with the parameter at fault."""
    try:
        shape = parse_pattern(pattern)
    except InputError as error:
        raise RecipeError(error.reason, parameter="pattern") from None
    implied = implied_sparsity(shape)
    if implied is None and sparsity is None:
        raise RecipeError(f"is needed with pattern {pattern}", parameter="sparsity")
    if sparsity is not None:
        check_share(sparsity, "sparsity")
        if implied is not None and sparsity != implied:
            raise RecipeError(f"{pattern} has {implied:g}; leave it out", parameter="sparsity")
    if num_batches < 1:
        raise RecipeError(f"expected 1 or more, got {num_batches}", parameter="num_batches")
    if not damping > 0:
        raise RecipeError(f"expected more than 0, got {damping:g}", parameter="damping")
    if bits is not None and not 2 <= bits <= 8:
        raise RecipeError(f"expected 2 to 8, got {bits}", parameter="bits")
