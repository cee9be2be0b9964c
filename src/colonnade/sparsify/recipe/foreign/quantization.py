"""Quantization-aware training, and quantization of a trained model."""

from __future__ import annotations

from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import NOT_NEEDED, Converted, positive, start_of
from colonnade.sparsify.recipe.foreign.schemes import WeightGroup, weight_groups_of

_FUSING = "a batch-norm behind a convolution is found without it"
_CALIBRATION = (
    "ranges are learned while training; without any, `colonnade quantize` calibrates on samples"
)
_WHEN = ("start_epoch", "start", "disable_quantization_observer_epoch", "disable_observer_epoch")
"""What a modifier says that is for training."""
_FREEZING = (
    "is not given, so there batch-norms are never frozen; here they are from `start` on: "
    "`freeze_batch_norm` sets another moment"
)


def quantization(fields: Fields) -> Converted:
    """Quantization and LegacyQuantization, of both dialects."""
    fields.ignore(["model_fuse_fn_name", "model_fuse_fn_kwargs", "exclude_batchnorm"], _FUSING)
    fields.ignore(["num_calibration_steps", "post_oneshot_calibration"], _CALIBRATION)
    fields.ignore(["strict", "log_types", "index"], NOT_NEEDED)
    for name in ("activation_bits", "weight_bits"):
        fields.expect(name, 8)
    for name in ("reduce_range", "tensorrt", "quantize_embeddings"):
        fields.expect(name, False)
    for name in ("quantize_linear_activations", "quantize_conv_activations"):
        fields.expect(name, True)
    overrides = fields.take("scheme_overrides")
    for name in overrides or {}:
        fields.note("scheme_overrides", f"{name}: no counterpart; all layers are quantized alike")
    submodules, ignored = fields.take("submodules"), fields.take("ignore", default=[])
    common = {
        "ignore": [*_names(ignored), *_names(fields.take("exclude_module_types"))] or None,
        "start": start_of(fields),
        "end": positive(fields.take("end_epoch", "end")),
        "freeze_observers": positive(
            fields.take("disable_quantization_observer_epoch", "disable_observer_epoch")
        ),
        "freeze_batch_norm": positive(fields.take("freeze_bn_stats_epoch")),
    }
    if common["freeze_batch_norm"] is None and any(name in fields for name in _WHEN):
        fields.note("freeze_bn_stats_epoch", _FREEZING)
    named = _names(submodules) or _names(fields.take("targets"))
    groups = [group for group in weight_groups_of(fields) if _is_eight(fields, group)]
    targets = _targets(groups, named)
    return [("quantization", {"targets": targets, **common})] if groups else []


def _is_eight(fields: Fields, group: WeightGroup) -> bool:
    if (group.bits, group.activation_bits) == (8, 8):
        return True
    activations = "float" if group.activation_bits is None else f"{group.activation_bits} bits"
    where = "scheme" if "scheme" in fields else "config_groups"
    fields.note(
        where,
        f"weights of {group.bits} bits and activations in {activations} have no counterpart in "
        "training; `gptq` rounds weights alone",
    )
    return False


def _targets(groups: list[WeightGroup], named: list[str]) -> list[str] | None:
    """One modifier for all groups, as all are alike; None is everything that can be."""
    if all(group.targets is None for group in groups):
        return named or None
    return list(dict.fromkeys(name for group in groups for name in group.targets or ()))


def _names(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(name) for name in (value if isinstance(value, list) else [value])]
