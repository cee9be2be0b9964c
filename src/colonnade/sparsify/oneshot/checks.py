"""Parameters of one-shot pruning that no model could have."""

from __future__ import annotations

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.modifier import check_share
from colonnade.sparsity import Pattern, parse_pattern
from colonnade.sparsity.allocation import ALLOCATIONS, SPARSITY_MAX
from colonnade.sparsity.patterns import implied_sparsity


def check_parameters(
    sparsity: float | None,
    pattern: str,
    allocation: str,
    num_batches: int,
    damping: float,
    bits: int | None,
) -> None:
    """Refuse what a recipe cannot ask for, with the parameter at fault."""
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
    why = why_not_allocated(allocation, shape, sparsity)
    if why:
        raise RecipeError(why, parameter="allocation")
    if num_batches < 1:
        raise RecipeError(f"expected 1 or more, got {num_batches}", parameter="num_batches")
    if not damping > 0:
        raise RecipeError(f"expected more than 0, got {damping:g}", parameter="damping")
    if bits is not None and not 2 <= bits <= 8:
        raise RecipeError(f"expected 2 to 8, got {bits}", parameter="bits")


def why_not_allocated(allocation: str, pattern: Pattern, sparsity: float | None) -> str:
    """Why layers cannot share the sparsity by this rule, or ""."""
    if allocation not in ALLOCATIONS:
        return f"it is one of {', '.join(ALLOCATIONS)}, got {allocation!r}"
    if allocation == "uniform":
        return ""
    implied = implied_sparsity(pattern)
    if implied is not None:
        return f"{allocation!r} does not go with {pattern}: all layers have {implied:g}"
    if sparsity is not None and sparsity > SPARSITY_MAX:
        return f"{allocation!r} shares out a sparsity of at most {SPARSITY_MAX}, got {sparsity:g}"
    return ""
