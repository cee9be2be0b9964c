"""Learning from a teacher, which other tools always get from outside of the recipe."""

from __future__ import annotations

from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import NOT_NEEDED, Converted, times_of

_LOOP = "the loop passes outputs and batch to `step`"
_GAIN = 1.5


def distillation(fields: Fields) -> Converted:
    """Distillation: of the outputs."""
    fields.ignore(["update_frequency", "log_types"], NOT_NEEDED)
    fields.ignore(["distill_output_keys", "teacher_input_keys"], _LOOP)
    parameters = {
        "teacher": "given",
        "hardness": fields.take("hardness"),
        "temperature": fields.take("temperature"),
        **times_of(fields),
    }
    return [("distillation", parameters)]


def per_layer(fields: Fields) -> Converted:
    """PerLayerDistillation: of hidden states."""
    fields.ignore(["update_frequency", "log_types"], NOT_NEEDED)
    fields.expect("normalize", True)
    fields.expect("project_features", False)
    layers = fields.take("student_layer_names")
    if fields.take("teacher_layer_names", default=layers) != layers:
        fields.note("teacher_layer_names", "the teacher's layers have the student's names here")
    return [_hidden(layers, fields.take("gain", default=_GAIN), fields)]


def output(fields: Fields) -> Converted:
    """OutputDistillation, by what it compares."""
    fields.ignore(["update", "index", "group", "fsdp_module"], NOT_NEEDED)
    kind = fields.take("comparison", default="kl_divergence")
    scales = fields.take("orig_scale", default=1.0), fields.take("distill_scale", default=1.0)
    fields.expect("projection", None)
    targets = fields.take("targets")
    if kind == "square_head":
        fields.ignore(["transforms"], "states are compared as they are")
        return _square_head(fields, targets, scales)
    if kind != "kl_divergence":
        fields.note("comparison", f"{kind!r} has no counterpart; the modifier is left out")
        return []
    fields.expect("transforms", "softmax", ["softmax"], "log_softmax", ["log_softmax"])
    if targets:
        fields.note("targets", "the outputs of the model are compared")
    total = _total(scales)
    hardness = scales[1] / total if total else None
    if total not in (None, 1.0):
        fields.note("orig_scale", f"the two scales sum to {total:g} and become shares of 1")
    if total is None:
        fields.note("orig_scale", "scales that are no positive numbers have no counterpart")
    parameters = {"teacher": "given", "hardness": hardness, "temperature": 1.0}
    return [("distillation", parameters | times_of(fields))]


def _square_head(fields: Fields, targets: Any, scales: tuple[Any, Any]) -> Converted:
    if scales[0] != 1.0:
        fields.note("orig_scale", f"{scales[0]!r} has no counterpart; the loss counts as 1")
    return [_hidden(_same_names(fields, targets), scales[1], fields)]


def _same_names(fields: Fields, targets: Any) -> list[str]:
    """Of pairs (student, teacher) the student's."""
    names = targets if isinstance(targets, list) else [targets]
    found = []
    for name in names:
        pair = name if isinstance(name, list) else [name]
        if len(set(map(str, pair))) > 1:
            fields.note("targets", f"{pair[-1]!r}: the teacher's layers have the student's names")
        found.append(str(pair[0]))
    return found


def _hidden(layers: Any, gain: Any, fields: Fields) -> tuple[str, dict[str, Any]]:
    names = layers if isinstance(layers, list) else [layers]
    parameters = {"teacher": "given", "hardness": 0.0, "layers": names, "hidden_gain": gain}
    return "distillation", parameters | times_of(fields)


def _total(scales: tuple[Any, Any]) -> float | None:
    if all(isinstance(scale, int | float) for scale in scales) and sum(scales) > 0:
        return float(sum(scales))
    return None
