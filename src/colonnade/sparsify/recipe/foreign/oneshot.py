"""Pruning and rounding without training: SparseGPT (OBCQ), Wanda and GPTQ."""

from __future__ import annotations

import re
from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import (
    NOT_NEEDED,
    Converted,
    start_of,
    targets_of,
)
from colonnade.sparsify.recipe.foreign.schemes import WeightGroup, weight_groups_of
from colonnade.sparsity.allocation import OWL_OUTLIER, OWL_SPREAD

_MEMORY = "it saves memory and does not change the result"
_BLOCK = re.compile(r"\\d[*+]\$$")
"""The end of a pattern that names whole blocks, as `re:model.layers.\\d+$`."""


def sparsegpt(fields: Fields) -> Converted:
    """SparseGPT, of both dialects."""
    parameters = _pruning(fields) | {"damping": fields.take("dampening_frac", "percdamp")}
    fields.expect("block_size", 128)
    if fields.take("quantize", default=False):
        fields.note("quantize", "weights are not rounded in the same sweep: add `bits`")
    return [("sparsegpt", parameters)]


def wanda(fields: Fields) -> Converted:
    """WandaPruning."""
    return [("wanda", _pruning(fields))]


def gptq(fields: Fields) -> Converted:
    """GPTQ: one modifier for each group of layers."""
    common = {
        "start": start_of(fields),
        "damping": fields.take("dampening_frac", "percdamp"),
        **_calibration(fields),
    }
    fields.expect("block_size", 128)
    fields.expect("actorder", None, "static")
    groups = weight_groups_of(fields)
    given = targets_of(fields)
    if any(group.activation_bits is not None for group in groups):
        where = "scheme" if "scheme" in fields else "config_groups"
        fields.note(where, "activations stay in floating point; add `quantization` for them")
    return [("gptq", _group_targets(group, given) | {"bits": group.bits} | common)
            for group in groups]  # fmt: skip


def _group_targets(group: WeightGroup, given: dict[str, Any]) -> dict[str, Any]:
    return given if group.targets is None else given | {"targets": list(group.targets)}


def _pruning(fields: Fields) -> dict[str, Any]:
    pattern = _pattern(fields)
    sparsity = _one_sparsity(fields)
    if pattern is not None:
        kept, group = (int(part) for part in pattern.split(":"))
        if isinstance(sparsity, int | float) and sparsity != 1 - kept / group:
            fields.note("sparsity", f"{sparsity:g} is left out: {pattern} has its own")
        sparsity = None
    allocation = _allocation(fields, pattern)
    fields.expect("preserve_sparsity_mask", False)
    parameters = targets_of(fields)
    parameters["targets"] = [_below(target) for target in parameters["targets"]]
    return {
        **parameters,
        "sparsity": sparsity,
        "pattern": pattern,
        "allocation": allocation,
        "start": start_of(fields),
        **_calibration(fields),
    }


def _calibration(fields: Fields) -> dict[str, Any]:
    fields.ignore(["offload_hessians", "compress"], _MEMORY)
    fields.ignore(["layer_prefix", "target_ids"], NOT_NEEDED)
    fields.ignore(["sequential_targets"], "layers are found by what they read")
    return {
        "sequential": fields.take("sequential_update"),
        "num_batches": fields.take("num_calibration_steps"),
    }


def _one_sparsity(fields: Fields) -> Any:
    value = fields.take("sparsity")
    if isinstance(value, list) and value:
        value = round(sum(float(share) for share in value) / len(value), 6)
        fields.note("sparsity", f"a share for each block has no counterpart; {value:g} for all")
    return value


def _allocation(fields: Fields, pattern: str | None) -> str | None:
    profile = fields.take("sparsity_profile", default=None)
    fields.expect("owl_m", OWL_OUTLIER)
    fields.expect("owl_lmbda", OWL_SPREAD)
    if profile is None:
        return None
    if str(profile).lower() != "owl":
        fields.note("sparsity_profile", f"{profile!r} has no counterpart; layers share alike")
        return None
    if pattern is not None:
        fields.note("sparsity_profile", f"is left out: all layers have the share of {pattern}")
        return None
    return "owl"


def _pattern(fields: Fields) -> str | None:
    kept, group = fields.take("prunen", default=0), fields.take("prunem", default=0)
    structure = str(fields.take("mask_structure", default=f"{kept}:{group}"))
    if structure in ("0:0", "unstructured"):
        return None
    if re.fullmatch(r"[1-9]\d*:[1-9]\d*", structure):
        return structure
    fields.note("mask_structure", f"{structure!r} has no counterpart; unstructured is taken")
    return None


def _below(target: str) -> str:
    """A pattern of blocks means the layers inside of them."""
    block = target.removesuffix(r"\.weight$") + "$"
    return block[:-1] + r"\." if _BLOCK.search(block) else target
