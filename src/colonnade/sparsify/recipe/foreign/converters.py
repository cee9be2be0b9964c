"""Which converter is for which foreign modifier; a new one adds its line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from colonnade.sparsify.recipe.foreign import (
    channels,
    distillation,
    oneshot,
    pruning,
    quantization,
    training,
)
from colonnade.sparsify.recipe.foreign.fields import Fields
from colonnade.sparsify.recipe.foreign.parameters import Converted

Converter = Callable[[Fields], Converted]

CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "ACDCPruningModifier": pruning.acdc,
        "ASRegModifier": training.activation_sparsity,
        "ConstantPruningModifier": pruning.constant_pruning,
        "DistillationModifier": distillation.distillation,
        "GMPruningModifier": pruning.gradual_magnitude,
        "GPTQModifier": oneshot.gptq,
        "GlobalMagnitudePruningModifier": pruning.global_magnitude,
        "LearningRateFunctionModifier": training.learning_rate_function,
        "LearningRateModifier": training.learning_rate,
        "LayerThinningModifier": channels.thinning,
        "LegacyQuantizationModifier": quantization.quantization,
        "MFACPruningModifier": pruning.mfac,
        "MagnitudePruningModifier": pruning.gradual_magnitude,
        "MovementPruningModifier": pruning.movement,
        "OBSPruningModifier": pruning.obs,
        "OutputDistillationModifier": distillation.output,
        "PerLayerDistillationModifier": distillation.per_layer,
        "PowerpropagationModifier": pruning.powerpropagation,
        "QuantizationModifier": quantization.quantization,
        "RigLPruningModifier": pruning.rigl,
        "SetLearningRateModifier": training.set_learning_rate,
        "SetWeightDecayModifier": training.set_weight_decay,
        "SparseGPTModifier": oneshot.sparsegpt,
        "StructuredPruningModifier": channels.structured,
        "TopKASTPruningModifier": pruning.top_kast,
        "TrainableParamsModifier": training.trainable,
        "WandaModifier": oneshot.wanda,
        "WandaPruningModifier": oneshot.wanda,
    }
)

HINTS: Mapping[str, str] = MappingProxyType(
    {
        "LogarithmicEqualizationModifier": "`colonnade quantize --smooth` is the nearest",
        "SmoothQuantModifier": "`colonnade quantize --smooth` does it, outside of a recipe",
    }
)
"""Where to go with a modifier that has no counterpart in a recipe."""
