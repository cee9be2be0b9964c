"""Which converter is for which foreign modifier; a new one adds its line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from colonnade.sparsify.recipe.foreign import pruning, training
from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import Converted

Converter = Callable[[Fields], Converted]

CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "ACDCPruningModifier": pruning.acdc,
        "ConstantPruningModifier": pruning.constant_pruning,
        "GMPruningModifier": pruning.gradual_magnitude,
        "GlobalMagnitudePruningModifier": pruning.global_magnitude,
        "LearningRateFunctionModifier": training.learning_rate_function,
        "LearningRateModifier": training.learning_rate,
        "MFACPruningModifier": pruning.mfac,
        "MagnitudePruningModifier": pruning.gradual_magnitude,
        "MovementPruningModifier": pruning.movement,
        "OBSPruningModifier": pruning.obs,
        "PowerpropagationModifier": pruning.powerpropagation,
        "RigLPruningModifier": pruning.rigl,
        "SetLearningRateModifier": training.set_learning_rate,
        "SetWeightDecayModifier": training.set_weight_decay,
        "TopKASTPruningModifier": pruning.top_kast,
        "TrainableParamsModifier": training.trainable,
    }
)

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
