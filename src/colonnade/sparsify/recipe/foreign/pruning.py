"""Pruning during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import (
    NOT_NEEDED,
    Converted,
    positive,
    target_of,
    targets_of,
    times_of,
)


def gradual_magnitude(fields: Fields) -> Converted:
    """GMPruning and MagnitudePruning, of both dialects."""
    return [("gradual_magnitude", gradual(fields))]


def global_magnitude(fields: Fields) -> Converted:
    """GlobalMagnitudePruning."""
    return [("gradual_magnitude", gradual(fields, is_global=True))]


def movement(fields: Fields) -> Converted:
    """MovementPruning."""
    return [("movement", gradual(fields))]


def obs(fields: Fields) -> Converted:
    """OBSPruning (oBERT)."""
    fields.expect("num_recomputations", 1)
    fields.ignore(["grad_sampler_kwargs"], "the session's sample_losses gives the gradients")
    return [("obs", gradual(fields, is_global=True) | _fisher(fields))]


def mfac(fields: Fields) -> Converted:
    """MFACPruning."""
    fields.ignore(
        ["grads_device", "num_pages", "available_devices", "use_gradient_buffering"],
        "gradients are held where the weights are",
    )
    return [("mfac", gradual(fields) | _fisher(fields))]


def acdc(fields: Fields) -> Converted:
    """ACDCPruning."""
    fields.ignore(["leave_enabled", "log_types", "init_sparsity", "inter_func"], NOT_NEEDED)
    is_global = fields.take("global_sparsity", default=True)
    parameters = {
        **targets_of(fields),
        "sparsity": fields.take("compression_sparsity", "final_sparsity"),
        **times_of(fields),
        "phase": positive(fields.take("update_frequency")),
        "pattern": _pattern(fields, fields.take("mask_type")),
        "scope": None if is_global else "layer",
        "reset_momentum": fields.take("momentum_buffer_reset"),
    }
    return [("acdc", parameters)]


def rigl(fields: Fields) -> Converted:
    """RigLPruning."""
    fields.ignore(["leave_enabled", "log_types", "init_sparsity", "inter_func"], NOT_NEEDED)
    fields.ignore(["num_grads"], "the gradient of the step decides")
    fields.expect("mask_type", "unstructured")
    fields.expect("global_sparsity", False, True)
    strategy = fields.take("sparsity_strategy", default="erdos_renyi_kernel")
    if strategy not in ("erdos_renyi_kernel", "uniform"):
        fields.note("sparsity_strategy", f"{strategy!r} has no counterpart; erk is taken")
    parameters = {
        **targets_of(fields),
        "sparsity": fields.take("final_sparsity"),
        **times_of(fields),
        "update_every": positive(fields.take("update_frequency")),
        "fraction": fields.take("init_update_fraction"),
        "allocation": "uniform" if strategy == "uniform" else None,
    }
    return [("rigl", parameters)]


def top_kast(fields: Fields) -> Converted:
    """TopKASTPruning."""
    fields.ignore(
        ["leave_enabled", "log_types", "init_sparsity", "final_sparsity", "inter_func"], NOT_NEEDED
    )
    fields.ignore(["update_frequency"], "masks follow every step here")
    fields.expect("mask_type", "unstructured")
    fields.expect("global_sparsity", False)
    parameters = {
        **targets_of(fields),
        "forward_sparsity": fields.take("forward_sparsity"),
        "backward_sparsity": fields.take("backward_sparsity"),
        "decay": fields.take("active_weight_decay"),
        **times_of(fields),
    }
    return [("top_kast", parameters)]


def powerpropagation(fields: Fields) -> Converted:
    """Powerpropagation."""
    fields.ignore(["log_types", "update_frequency"], NOT_NEEDED)
    fields.expect("strict", True, False)
    parameters = {**targets_of(fields), "alpha": fields.take("alpha"), **times_of(fields)}
    return [("powerpropagation", parameters)]


def _fisher(fields: Fields) -> dict[str, Any]:
    return {
        "num_grads": fields.take("num_grads"),
        "damping": fields.take("damp"),
        "fisher_block": fields.take("fisher_block_size"),
    }


def gradual(
    fields: Fields, *, is_global: bool = False, pattern: str = "unstructured"
) -> dict[str, Any]:
    """What all gradual pruning has in common; `is_global` and `pattern` where nothing is said."""
    final = fields.take("final_sparsity")
    is_global = fields.take("global_sparsity", "apply_globally", default=is_global)
    parameters: dict[str, Any] = {
        **targets_of(fields),
        "init_sparsity": _init_sparsity(fields),
        "final_sparsity": _by_layer(final) if isinstance(final, dict) else final,
        **times_of(fields),
        "update_every": positive(fields.take("update_frequency", "update")),
        **_schedule(fields),
        "pattern": _pattern(fields, fields.take("mask_type", "mask_structure", default=pattern)),
        "scope": "global" if is_global is True else None,
        "hold": False if fields.take("leave_enabled", default=True) is False else None,
    }
    fields.expect("phased", False)
    fields.expect("score_type", "magnitude", "MAGNITUDE")
    fields.ignore(["log_types", "global_sparsity_update"], NOT_NEEDED)
    return parameters


def constant_pruning(fields: Fields) -> Converted:
    """ConstantPruning, of both dialects."""
    fields.ignore(["update_frequency", "update", "log_types"], NOT_NEEDED)
    return [("constant_pruning", {**targets_of(fields), **times_of(fields)})]


def _init_sparsity(fields: Fields) -> Any:
    value = fields.take("init_sparsity")
    if isinstance(value, str) and "FROM_PARAM" in value:
        fields.note("init_sparsity", "the sparsity of the weights at the start is not read: 0")
        return 0.0
    return value


def _by_layer(final: Mapping[str, Any]) -> dict[str, float]:
    return {
        target_of(name): float(share)
        for share, names in final.items()
        for name in (names if isinstance(names, list) else [names])
    }


def _schedule(fields: Fields) -> dict[str, Any]:
    name = fields.take("inter_func", "update_scheduler")
    extra = fields.take("scheduler_args", default={})
    if name == "polynomial_decay":
        name = "polynomial"
    parameters = {"schedule": None if name == "cubic" else name}
    exponent = extra.pop("exponent", None)
    if exponent is not None:
        parameters["exponent"] = exponent
    for key, value in extra.items():
        fields.note("scheduler_args", f"{key}: {value!r} has no counterpart")
    return parameters


def _pattern(fields: Fields, mask: Any) -> str | None:
    if mask in (None, "unstructured", "0:0"):
        return None
    if isinstance(mask, list) and len(mask) == 2:
        return f"{mask[0]}x{mask[1]}"
    if mask in ("block", "block4"):
        return "1x4"
    if isinstance(mask, str) and mask.startswith("block_"):
        return mask.removeprefix("block_").replace(",", "x")
    if mask == "tensorrt":
        return "2:4"
    if not isinstance(mask, str):
        fields.note("mask_type", f"{mask!r} has no counterpart")
        return None
    return mask
