"""Every modifier by the name that recipes use; a modifier adds its line here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier

_PACKAGE = "colonnade.sparsify"

MODIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "acdc": "modifiers.acdc:ACDC",
        "activation_sparsity": "modifiers.activation_sparsity:ActivationSparsity",
        "channel_pruning": "modifiers.channel_pruning:ChannelPruning",
        "constant_pruning": "modifiers.constant_pruning:ConstantPruning",
        "distillation": "modifiers.distillation:Distillation",
        "gptq": "oneshot.modifiers:GPTQ",
        "gradual_magnitude": "modifiers.gradual_magnitude:GradualMagnitude",
        "learning_rate": "modifiers.learning_rate:LearningRate",
        "mfac": "modifiers.mfac:MFACPruning",
        "movement": "modifiers.movement:MovementPruning",
        "nm_flow": "modifiers.nm_flow:NMFlow",
        "obc": "oneshot.modifiers:OBC",
        "obs": "modifiers.obs:OBSPruning",
        "one_shot_magnitude": "oneshot.modifiers:OneShotMagnitude",
        "powerpropagation": "modifiers.powerpropagation:Powerpropagation",
        "quantization": "modifiers.quantization:Quantization",
        "rigl": "modifiers.rigl:RigL",
        "set_learning_rate": "modifiers.set_learning_rate:SetLearningRate",
        "set_weight_decay": "modifiers.set_weight_decay:SetWeightDecay",
        "sparsegpt": "oneshot.modifiers:SparseGPT",
        "top_kast": "modifiers.top_kast:TopKAST",
        "trainable": "modifiers.trainable:Trainable",
        "wanda": "oneshot.modifiers:Wanda",
    }
)
"""Name to module and class, below colonnade.sparsify. These modules load without torch."""


def modifier_class(name: str) -> type[Modifier]:
    """The class of a modifier; an unknown name is refused with the nearest known one."""
    if name not in MODIFIERS:
        near = difflib.get_close_matches(name, MODIFIERS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(MODIFIERS))}"
        raise RecipeError(f"unknown modifier {name!r}; {hint}")
    module, _, cls = MODIFIERS[name].partition(":")
    found: type[Modifier] = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), cls)
    return found


def modifier_name(modifier: Modifier) -> str:
    """The name of a modifier in recipes; its class if it is the user's own."""
    cls = type(modifier)
    place = f"{cls.__module__.removeprefix(_PACKAGE + '.')}:{cls.__name__}"
    return next((name for name, known in MODIFIERS.items() if known == place), cls.__name__)
