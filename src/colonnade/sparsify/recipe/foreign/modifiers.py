"""What each foreign modifier is here: a function from its parameters to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields

Converted = list[tuple[str, dict[str, Any]]]
"""Modifiers of ours, by name, with their parameters."""

Converter = Callable[[Fields], Converted]

_NOT_NEEDED = "it does not change the result"
_WHOLE_EPOCHS = "rates follow every step here"


def gradual_magnitude(fields: Fields, scope: str = "layer") -> Converted:
    """GMPruning and its relatives, of both dialects."""
    final = fields.take("final_sparsity")
    is_global = fields.take("global_sparsity", "apply_globally", default=scope == "global")
    parameters: dict[str, Any] = {
        **_targets(fields),
        "init_sparsity": _init_sparsity(fields),
        "final_sparsity": _by_layer(final) if isinstance(final, dict) else final,
        **_times(fields),
        "update_every": _positive(fields.take("update_frequency", "update")),
        **_schedule(fields),
        "pattern": _pattern(fields, fields.take("mask_type", "mask_structure")),
        "scope": "global" if is_global is True else None,
        "hold": False if fields.take("leave_enabled", default=True) is False else None,
    }
    fields.expect("phased", False)
    fields.expect("score_type", "magnitude", "MAGNITUDE")
    fields.ignore(["log_types", "global_sparsity_update"], _NOT_NEEDED)
    return [("gradual_magnitude", parameters)]


def global_magnitude(fields: Fields) -> Converted:
    """GlobalMagnitudePruning."""
    return gradual_magnitude(fields, "global")


def constant_pruning(fields: Fields) -> Converted:
    """ConstantPruning, of both dialects."""
    fields.ignore(["update_frequency", "update", "log_types"], _NOT_NEEDED)
    return [("constant_pruning", {**_targets(fields), **_times(fields)})]


def set_learning_rate(fields: Fields) -> Converted:
    """SetLearningRate."""
    fields.expect("param_groups", None)
    fields.ignore(["constant_logging", "log_types", "end_epoch"], _NOT_NEEDED)
    return [("set_learning_rate", {"value": fields.take("learning_rate"), "start": _start(fields)})]


def learning_rate_function(fields: Fields) -> Converted:
    """LearningRateFunction."""
    fields.expect("param_groups", None)
    fields.ignore(["update_frequency", "log_types", "constant_logging"], _WHOLE_EPOCHS)
    parameters = {
        "init": fields.take("init_lr"),
        "final": fields.take("final_lr"),
        "schedule": fields.take("lr_func", default="linear"),
        "cycle": fields.take("cycle_epochs"),
        **_times(fields),
    }
    return [("learning_rate", parameters)]


def learning_rate(fields: Fields) -> Converted:
    """LearningRate with a class of torch."""
    fields.ignore(["update_frequency", "log_types", "constant_logging"], _WHOLE_EPOCHS)
    kind = fields.take("lr_class")
    if kind not in ("MultiStepLR", "ExponentialLR", "StepLR"):
        fields.note("lr_class", f"{kind!r} has no counterpart; the modifier is left out")
        return []
    extra = fields.take("lr_kwargs", default={})
    init, times, gamma = fields.take("init_lr"), _times(fields), extra.pop("gamma", 0.1)
    if kind == "MultiStepLR":
        converted = _milestones(init, gamma, extra.pop("milestones", []), times)
    else:
        schedule = "step" if kind == "StepLR" else "exponential"
        cycle = extra.pop("step_size", 1)
        rate = {"init": init, "schedule": schedule, "gamma": gamma, "cycle": cycle, **times}
        converted = [("learning_rate", rate)]
    for name, value in extra.items():
        fields.note("lr_kwargs", f"{name}: {value!r} has no counterpart")
    return converted


def set_weight_decay(fields: Fields) -> Converted:
    """SetWeightDecay."""
    fields.expect("param_groups", None)
    fields.ignore(["constant_logging", "log_types", "end_epoch"], _NOT_NEEDED)
    return [("set_weight_decay", {"value": fields.take("weight_decay"), "start": _start(fields)})]


def trainable(fields: Fields) -> Converted:
    """TrainableParams."""
    targets = fields.take("params", "layers", "targets", default="__ALL__")
    fields.ignore(["params_strict", "layers_strict"], "a target that names nothing is an error")
    names = [
        "all" if name == "__ALL__" else name
        for name in (targets if isinstance(targets, list) else [targets])
    ]
    value = fields.take("trainable", default=True)
    return [("trainable", {"targets": names, "value": value, **_times(fields)})]


CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "GMPruningModifier": gradual_magnitude,
        "MagnitudePruningModifier": gradual_magnitude,
        "GlobalMagnitudePruningModifier": global_magnitude,
        "ConstantPruningModifier": constant_pruning,
        "SetLearningRateModifier": set_learning_rate,
        "LearningRateModifier": learning_rate,
        "LearningRateFunctionModifier": learning_rate_function,
        "SetWeightDecayModifier": set_weight_decay,
        "TrainableParamsModifier": trainable,
    }
)
"""By the names of the other tools; a converter adds its line here."""

SPARSIFY_COMMAND = "this is one-shot: `colonnade sparsify oneshot` does it, outside of a recipe"

HINTS: Mapping[str, str] = MappingProxyType(
    {
        "SparseGPTModifier": SPARSIFY_COMMAND,
        "WandaPruningModifier": SPARSIFY_COMMAND,
        "GPTQModifier": "this is one-shot: `colonnade quantize` calibrates without training",
        "SmoothQuantModifier": "`colonnade quantize --smooth` does it, outside of a recipe",
        "LogarithmicEqualizationModifier": "`colonnade quantize --smooth` is the nearest",
    }
)
"""Where to go with a modifier that has no counterpart in a recipe."""


def _targets(fields: Fields) -> dict[str, Any]:
    targets = fields.take("params", "targets", default="__ALL_PRUNABLE__")
    ignore = fields.take("ignore")
    names = targets if isinstance(targets, list) else [targets]
    parameters: dict[str, Any] = {"targets": [_target(name) for name in names]}
    if ignore:
        left = ignore if isinstance(ignore, list) else [ignore]
        parameters["ignore"] = [_target(name) for name in left]
    return parameters


def _target(name: Any) -> str:
    if name in ("__ALL__", "__ALL_PRUNABLE__", "ALL_PRUNABLE"):
        return "prunable"
    text = str(name)
    # Patterns of modules end where ours of parameters go on.
    if text.startswith("re:") and text.endswith("$") and not text.endswith("weight$"):
        return text[:-1] + r"\.weight$"
    return text


def _init_sparsity(fields: Fields) -> Any:
    value = fields.take("init_sparsity")
    if isinstance(value, str) and "FROM_PARAM" in value:
        fields.note("init_sparsity", "the sparsity of the weights at the start is not read: 0")
        return 0.0
    return value


def _by_layer(final: Mapping[str, Any]) -> dict[str, float]:
    return {
        _target(name): float(share)
        for share, names in final.items()
        for name in (names if isinstance(names, list) else [names])
    }


def _times(fields: Fields) -> dict[str, Any]:
    return {"start": _start(fields), "end": _positive(fields.take("end_epoch", "end"))}


def _start(fields: Fields) -> Any:
    return _positive(fields.take("start_epoch", "start"))


def _positive(value: Any) -> Any:
    return None if isinstance(value, int | float) and value < 0 else value


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


def _milestones(init: Any, gamma: Any, milestones: list[Any], times: dict[str, Any]) -> Converted:
    converted: Converted = [("set_learning_rate", {"value": init, "start": times["start"]})]
    for i, epoch in enumerate(milestones, start=1):
        value = f"$({_bare(init)} * {_bare(gamma)} ** {i})"
        converted.append(("set_learning_rate", {"value": value, "start": epoch}))
    return converted


def _bare(value: Any) -> str:
    text = str(value)
    return f"({text[2:-1]})" if text.startswith("$(") else text
