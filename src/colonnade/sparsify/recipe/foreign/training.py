"""Learning rates, weight decay and freezing."""

from __future__ import annotations

from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import (
    NOT_NEEDED,
    Converted,
    start_of,
    times_of,
)

_WHOLE_EPOCHS = "rates follow every step here"


def set_learning_rate(fields: Fields) -> Converted:
    """SetLearningRate."""
    fields.expect("param_groups", None)
    fields.ignore(["constant_logging", "log_types", "end_epoch"], NOT_NEEDED)
    return [
        ("set_learning_rate", {"value": fields.take("learning_rate"), "start": start_of(fields)})
    ]


def learning_rate_function(fields: Fields) -> Converted:
    """LearningRateFunction."""
    fields.expect("param_groups", None)
    fields.ignore(["update_frequency", "log_types", "constant_logging"], _WHOLE_EPOCHS)
    schedule = fields.take("lr_func", default="linear")
    if schedule not in ("linear", "cosine", "cyclic_linear"):
        fields.note("lr_func", f"{schedule!r} has no counterpart; the modifier is left out")
        return []
    parameters = {
        "init": fields.take("init_lr"),
        "final": fields.take("final_lr"),
        "schedule": schedule,
        "cycle": fields.take("cycle_epochs"),
        **times_of(fields),
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
    init, times, gamma = fields.take("init_lr"), times_of(fields), extra.pop("gamma", 0.1)
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
    fields.ignore(["constant_logging", "log_types", "end_epoch"], NOT_NEEDED)
    return [("set_weight_decay", {"value": fields.take("weight_decay"), "start": start_of(fields)})]


def trainable(fields: Fields) -> Converted:
    """TrainableParams."""
    targets = fields.take("params", "layers", "targets", default="__ALL__")
    fields.ignore(["params_strict", "layers_strict"], "a target that names nothing is an error")
    names = [
        "all" if name == "__ALL__" else name
        for name in (targets if isinstance(targets, list) else [targets])
    ]
    value = fields.take("trainable", default=True)
    return [("trainable", {"targets": names, "value": value, **times_of(fields)})]


def activation_sparsity(fields: Fields) -> Converted:
    """ASReg."""
    function = fields.take("reg_func", default="l1")
    if function not in ("l1", "hs"):
        fields.note("reg_func", f"{function!r} has no counterpart; the modifier is left out")
        return []
    if fields.take("reg_tens", default="inp") != "out":
        fields.note("reg_tens", "the outputs of the layers are measured here, not their inputs")
    if fields.take("layer_normalized", default=False) is not True:
        fields.note("layer_normalized", "the mean of the layers counts here, not their sum")
    layers = fields.take("layers")
    if layers == "__ALL__":
        fields.note("layers", "'__ALL__' has no counterpart; ReLU is taken")
        layers = None
    parameters = {
        "layers": layers,
        "alpha": _alpha(fields),
        "function": "hoyer" if function == "hs" else None,
        **times_of(fields),
    }
    return [("activation_sparsity", parameters)]


def _alpha(fields: Fields) -> Any:
    alpha = fields.take("alpha")
    if isinstance(alpha, list) and alpha and all(isinstance(one, int | float) for one in alpha):
        alpha = sum(alpha) / len(alpha)
        fields.note("alpha", f"one for each layer has no counterpart; {alpha:g} for all")
    fields.note(
        "alpha",
        "is of a mean over values here, of a sum over those of a sample there: multiply it by "
        "their number",
    )
    return alpha


def _milestones(init: Any, gamma: Any, milestones: list[Any], times: dict[str, Any]) -> Converted:
    converted: Converted = [("set_learning_rate", {"value": init, "start": times["start"]})]
    for i, epoch in enumerate(milestones, start=1):
        value = f"$({_bare(init)} * {_bare(gamma)} ** {i})"
        converted.append(("set_learning_rate", {"value": value, "start": epoch}))
    return converted


def _bare(value: Any) -> str:
    text = str(value)
    return f"({text[2:-1]})" if text.startswith("$(") else text
