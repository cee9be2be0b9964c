"""Recipes of other tools: what they become, and that nothing goes silently."""

from __future__ import annotations

import pytest

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.modifiers.acdc import ACDC
from colonnade.sparsify.modifiers.activation_sparsity import ActivationSparsity
from colonnade.sparsify.modifiers.channel_pruning import ChannelPruning
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.learning_rate import LearningRate
from colonnade.sparsify.modifiers.mfac import MFACPruning
from colonnade.sparsify.modifiers.movement import MovementPruning
from colonnade.sparsify.modifiers.obs import OBSPruning
from colonnade.sparsify.modifiers.powerpropagation import Powerpropagation
from colonnade.sparsify.modifiers.rigl import RigL
from colonnade.sparsify.modifiers.set_learning_rate import SetLearningRate
from colonnade.sparsify.modifiers.set_weight_decay import SetWeightDecay
from colonnade.sparsify.modifiers.top_kast import TopKAST
from colonnade.sparsify.modifiers.trainable import Trainable
from colonnade.sparsify.recipe.convert import Conversion, convert_recipe

TAGGED = """\
---
# comments stay out
version: 1.1.0
num_epochs: 10
pruning_end: eval(num_epochs * 0.5)
lr: 0.01
name: resnet

training_modifiers:
  - !EpochRangeModifier
    start_epoch: 0.0
    end_epoch: eval(num_epochs)
  - !LearningRateFunctionModifier
    start_epoch: 0
    end_epoch: eval(math.floor(num_epochs))
    lr_func: cosine
    init_lr: eval(lr)
    final_lr: 1e-4
  - !SetWeightDecayModifier
    weight_decay: 0.0
    start_epoch: 1

pruning_modifiers:
  - !GMPruningModifier
    params: ["re:layers.*.weight", __ALL_PRUNABLE__]
    init_sparsity: 0.05
    final_sparsity: 0.85
    start_epoch: 1.0
    end_epoch: eval(pruning_end)
    update_frequency: 0.5
    inter_func: linear
    mask_type: [4, 1]
    global_sparsity: True
    leave_enabled: True
    phased: True
    flavour: sweet
  - !LayerPruningModifier
    layers: [a]
---
# A model card
with text: that is not YAML
"""


def notes_of(conversion: Conversion) -> list[str]:
    return [str(note) for note in conversion.notes]


def test_tagged_dialect_in_front_matter() -> None:
    conversion = convert_recipe(TAGGED)
    assert conversion.recipe is not None
    (stage,) = conversion.recipe.stages
    assert stage.epochs == 10
    rate, decay, prune = stage.modifiers
    assert rate == LearningRate(init=0.01, final=1e-4, schedule="cosine", start=0, end=10)
    assert decay == SetWeightDecay(value=0.0, start=1)
    assert prune == GradualMagnitude(
        targets=("re:layers.*.weight", "prunable"),
        init_sparsity=0.05,
        final_sparsity=0.85,
        start=1.0,
        end=5.0,
        update_every=0.5,
        schedule="linear",
        pattern="4x1",
        scope="global",
    )
    assert "pruning_end: $(num_epochs * 0.5)" in conversion.text
    assert notes_of(conversion) == [
        "line 3: version: is left out: it describes the file",
        "line 7: name: is no number, and left out: 'resnet'",
        "line 35: GMPruningModifier.phased: True has no counterpart",
        "line 36: GMPruningModifier.flavour: has no counterpart (its value: 'sweet')",
        "line 37: LayerPruningModifier: has no counterpart; the modifier is left out",
        "line 38: LayerPruningModifier.layers: has no counterpart (its value: ['a'])",
    ]


def test_tagged_stages_are_one_timeline() -> None:
    conversion = convert_recipe(
        "prune_stage:\n"
        "  n: 3\n"
        "  pruning_modifiers:\n"
        "    - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(n)}\n"
        "    - !GMPruningModifier {params: __ALL__, final_sparsity: {0.8: [a.weight],"
        " 0.9: b.weight}, init_sparsity: __FROM_PARAM__, start_epoch: 0, end_epoch: 2,"
        " mask_type: block4}\n"
        "tune_stage:\n"
        "  modifiers:\n"
        "    - !ConstantPruningModifier {params: __ALL__, start_epoch: 3, end_epoch: -1}\n"
        "    - !EpochRangeModifier {start_epoch: 3, end_epoch: 8}\n"
    )
    assert conversion.recipe is not None
    (stage,) = conversion.recipe.stages
    prune, constant = stage.modifiers
    assert stage.epochs == 8
    assert isinstance(prune, GradualMagnitude)
    assert prune.final_sparsity == {"a.weight": 0.8, "b.weight": 0.9}
    assert (prune.init_sparsity, prune.pattern) == (0.0, "1x4")
    assert constant == ConstantPruning(start=3)
    assert any("prune, tune are one timeline" in note for note in notes_of(conversion))
    assert any(
        "sparsity of the weights at the start is not read" in note for note in notes_of(conversion)
    )


def test_session_dialect_with_stages() -> None:
    conversion = convert_recipe(
        "pruning_stage:\n"
        "  run_type: train\n"
        "  pruning_modifiers:\n"
        "    MagnitudePruningModifier:\n"
        "      init_sparsity: 0.0\n"
        "      final_sparsity: 0.5\n"
        "      targets: ['re:.*q_proj$', Linear]\n"
        "      ignore: [lm_head]\n"
        "      mask_structure: 2:4\n"
        "      start: 0\n"
        "      end: 2\n"
        "      update: 0.25\n"
        "      update_scheduler: polynomial_decay\n"
        "      scheduler_args: {exponent: 2, base: 3}\n"
        "      index: 0\n"
        "transfer_stage:\n"
        "  run_type: train\n"
        "  m_modifiers:\n"
        "    ConstantPruningModifier: {targets: __ALL_PRUNABLE__, start: 0}\n"
    )
    assert conversion.recipe is not None
    first, second = conversion.recipe.stages
    assert (first.name, first.epochs, second.name) == ("pruning", 2, "transfer")
    assert first.modifiers == (
        GradualMagnitude(
            targets=(r"re:.*q_proj\.weight$", "Linear"),
            ignore=("lm_head",),
            init_sparsity=0.0,
            final_sparsity=0.5,
            end=2.0,
            update_every=0.25,
            schedule="polynomial",
            exponent=2.0,
            pattern="2:4",
        ),
    )
    assert notes_of(conversion) == [
        "line 14: MagnitudePruningModifier.scheduler_args: base: 3 has no counterpart",
        "line 15: MagnitudePruningModifier.index: has no counterpart (its value: 0)",
    ]


def test_learning_rate_classes_and_trainable() -> None:
    conversion = convert_recipe(
        "lr: 0.1\n"
        "modifiers:\n"
        "- !LearningRateModifier {lr_class: MultiStepLR, lr_kwargs: {milestones: [2, 4],"
        " gamma: 0.5}, init_lr: eval(lr), start_epoch: 0, end_epoch: 6}\n"
        "- !LearningRateModifier {lr_class: StepLR, lr_kwargs: {step_size: 3, gamma: 0.2, x: 1},"
        " init_lr: 1.0, start_epoch: 0, end_epoch: 9}\n"
        "- !LearningRateModifier {lr_class: CosineAnnealingLR, init_lr: 1.0}\n"
        "- !SetLearningRateModifier {learning_rate: 0.3, start_epoch: 5, param_groups: [0]}\n"
        "- !TrainableParamsModifier {params: __ALL__, trainable: False, start_epoch: 1}\n"
        "- !GlobalMagnitudePruningModifier {params: __ALL__, final_sparsity: 0.5, start_epoch: 0,"
        " end_epoch: 1, mask_type: filter}\n"
    )
    assert conversion.recipe is not None
    modifiers = conversion.recipe.stages[0].modifiers
    assert modifiers[:3] == (
        SetLearningRate(value=0.1, start=0),
        SetLearningRate(value=0.1 * 0.5, start=2),
        SetLearningRate(value=0.1 * 0.5**2, start=4),
    )
    assert modifiers[3] == LearningRate(init=1.0, schedule="step", cycle=3, gamma=0.2, end=9)
    assert modifiers[4] == SetLearningRate(value=0.3, start=5)
    assert modifiers[5] == Trainable(value=False, start=1)
    assert modifiers[6] == GradualMagnitude(
        final_sparsity=0.5, end=1, scope="global", pattern="filter"
    )
    assert notes_of(conversion) == [
        "line 4: LearningRateModifier.lr_kwargs: x: 1 has no counterpart",
        "line 5: LearningRateModifier.lr_class: 'CosineAnnealingLR' has no counterpart; the "
        "modifier is left out",
        "line 5: LearningRateModifier.init_lr: has no counterpart (its value: 1.0)",
        "line 6: SetLearningRateModifier.param_groups: [0] has no counterpart",
    ]


TEXTS = """\
num_epochs: 30
init_lr: 0.0001
mask_type: [1, 4]
shape: eval(mask_type)
lr_func: cosine
is_global: False
params: ["re:.*conv.*weight"]
nothing: null
flavour: sweet
modifiers:
  - !EpochRangeModifier {end_epoch: eval(num_epochs)}
  - !LearningRateFunctionModifier {start_epoch: 0, end_epoch: eval(num_epochs),
      lr_func: eval(lr_func), init_lr: eval(init_lr), final_lr: 0.0}
  - !GMPruningModifier {final_sparsity: 0.8, start_epoch: 0.0, end_epoch: eval(num_epochs * 0.5),
      params: eval(params), mask_type: eval( shape ), global_sparsity: eval(is_global),
      inter_func: eval(nothing)}
"""


def test_variables_may_be_texts_and_lists() -> None:
    conversion = convert_recipe(TEXTS)
    assert conversion.recipe is not None
    assert conversion.recipe.stages[0].modifiers == (
        LearningRate(init=0.0001, schedule="cosine", end=30),
        GradualMagnitude(targets=("re:.*conv.*weight",), final_sparsity=0.8, end=15, pattern="1x4"),
    )
    assert "variables:\n  num_epochs: 30\n  init_lr: 0.0001\nepochs" in conversion.text
    assert notes_of(conversion) == ["line 9: flavour: is no number, and left out: 'sweet'"]


def test_variables_that_name_each_other() -> None:
    text = "a: eval(b)\nb: eval(a)\nc: [x]\nmodifiers:\n- !ConstantPruningModifier {{params: {}}}"
    with pytest.raises(RecipeError, match="'a' needs itself"):
        convert_recipe(text.format("eval(c)"))
    lists = f"c: [{', '.join(['x'] * 300)}]\nmodifiers:\n" + "".join(
        "- !ConstantPruningModifier {params: eval(c)}\n" for _ in range(300)
    )
    with pytest.raises(RecipeError, match="its variables make too many values"):
        convert_recipe(lists)


@pytest.mark.parametrize(
    ("modifiers", "epochs", "notes"),
    [
        (
            "- !EpochRangeModifier {end_epoch: eval(n)}\n"
            "- !ConstantPruningModifier {params: __ALL__, end_epoch: eval(n + 2)}\n"
            "- !SetWeightDecayModifier {weight_decay: 0.0, start_epoch: 3}",
            12.0,
            ["line 1: epochs: modifiers go on after 10 epochs, which makes it $(max(n, n + 2)) "
             "epochs"],
        ),
        (
            "- !EpochRangeModifier {end_epoch: 6}\n"
            "- !LearningRateModifier {lr_class: MultiStepLR, lr_kwargs: {milestones: [2, 8]},"
            " init_lr: 0.1, start_epoch: 0, end_epoch: 6}",
            6.0,
            ["line 4: set_learning_rate: would start at 8, after the end (6): it is left out"],
        ),
        (
            "- !EpochRangeModifier {end_epoch: 6}\n"
            "- !QuantizationModifier {start_epoch: 4, disable_quantization_observer_epoch: 7,"
            " freeze_bn_stats_epoch: 5}",
            6.0,
            ["line 4: quantization.freeze_observers: 7 is after the end, and 6 here"],
        ),
    ],
)  # fmt: skip
def test_training_lasts_as_long_as_its_modifiers(
    modifiers: str, epochs: float, notes: list[str]
) -> None:
    conversion = convert_recipe(f"n: 10\nmodifiers:\n{modifiers}\n")
    assert conversion.recipe is not None
    assert conversion.recipe.length == epochs
    assert notes_of(conversion) == notes


def test_filters_and_channels() -> None:
    conversion = convert_recipe(
        "modifiers:\n"
        "- !StructuredPruningModifier {param_groups: [[a.weight, b.weight]], params: [a.weight],"
        " final_sparsity: 0.5, init_sparsity: 0.1, start_epoch: 0, end_epoch: 4}\n"
        "- !StructuredPruningModifier {mask_type: channel, final_sparsity: 0.5, end_epoch: 4}\n"
        "- !LayerThinningModifier {structure_type: filter, start_epoch: 4}\n"
    )
    assert conversion.recipe is not None
    assert conversion.recipe.stages[0].modifiers == (
        GradualMagnitude(
            targets=("a.weight",), init_sparsity=0.1, final_sparsity=0.5, end=4, pattern="filter"
        ),
        GradualMagnitude(final_sparsity=0.5, end=4, pattern="channel"),
    )
    assert [note.where for note in conversion.notes] == [
        "StructuredPruningModifier.param_groups",
        "LayerThinningModifier",
        "LayerThinningModifier.structure_type",
        "LayerThinningModifier.start_epoch",
    ]


def test_channels_that_are_taken_out() -> None:
    conversion = convert_recipe(
        "modifiers:\n"
        "- !StructuredPruningModifier {param_groups: [[a.weight, b.weight]], init_sparsity: 0.05,"
        " params: __ALL_PRUNABLE__, mask_type: filter, final_sparsity: 0.5, start_epoch: 1,"
        " end_epoch: 4, update_frequency: 0.5, inter_func: linear, leave_enabled: True}\n"
        "- !LayerThinningModifier {structure_type: filter, start_epoch: 4, strict: True}\n"
    )
    assert conversion.recipe is not None
    assert conversion.recipe.stages[0].modifiers == (
        ChannelPruning(sparsity=0.5, start=1, end=4, update_every=0.5, schedule="linear"),
    )
    assert [note.where for note in conversion.notes] == [
        "StructuredPruningModifier.param_groups",
        "StructuredPruningModifier.mask_type",
        "StructuredPruningModifier.init_sparsity",
        "LayerThinningModifier.structure_type",
        "LayerThinningModifier.strict",
        "LayerThinningModifier.start_epoch",
    ]


@pytest.mark.parametrize(
    ("text", "expected", "wheres"),
    [
        (
            "layers: [a, b], alpha: 0.01, reg_func: hs, reg_tens: out, layer_normalized: True,"
            " start_epoch: 1, end_epoch: 3",
            ActivationSparsity(layers=("a", "b"), alpha=0.01, function="hoyer", start=1, end=3),
            ["alpha"],
        ),
        (
            "layers: __ALL__, alpha: 0.5, end_epoch: -1",
            ActivationSparsity(alpha=0.5),
            ["alpha", "layer_normalized", "layers", "reg_tens"],
        ),
        (
            "layers: [a, b], alpha: [0.25, 0.75], reg_tens: out, layer_normalized: True",
            ActivationSparsity(layers=("a", "b"), alpha=0.5),
            ["alpha", "alpha"],
        ),
        ("layers: [a], alpha: 0.1, reg_func: l2", None, ["alpha", "layers", "reg_func"]),
    ],
)
def test_activation_sparsity(text: str, expected: Modifier | None, wheres: list[str]) -> None:
    conversion = convert_recipe(f"modifiers:\n- !ASRegModifier {{{text}}}\n")
    made = () if conversion.recipe is None else conversion.recipe.stages[0].modifiers
    assert made == (() if expected is None else (expected,))
    assert sorted(note.where.partition(".")[2] for note in conversion.notes) == wheres


def test_a_function_of_rates_without_counterpart() -> None:
    conversion = convert_recipe(
        "modifiers:\n- !LearningRateFunctionModifier {lr_func: cyclic, init_lr: 0.1}\n"
    )
    assert conversion.recipe is None
    assert notes_of(conversion)[0] == (
        "line 2: LearningRateFunctionModifier.lr_func: 'cyclic' has no counterpart; the modifier "
        "is left out"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "!OBSPruningModifier {params: __ALL__, final_sparsity: 0.9, end_epoch: 3, num_grads: 64,"
            " damp: 1e-6, fisher_block_size: 4, mask_type: block4, update_frequency: 1}",
            OBSPruning(
                final_sparsity=0.9,
                end=3,
                num_grads=64,
                damping=1e-6,
                fisher_block=4,
                pattern="1x4",
                update_every=1,
                scope="global",
            ),
        ),
        (
            "!MFACPruningModifier {params: __ALL__, final_sparsity: 0.9, end_epoch: 3, damp: 0.1}",
            MFACPruning(final_sparsity=0.9, end=3, damping=0.1),
        ),
        (
            "!MovementPruningModifier {params: [a], final_sparsity: 0.9, end_epoch: 3}",
            MovementPruning(targets=("a",), final_sparsity=0.9, end=3),
        ),
        (
            "!ACDCPruningModifier {params: __ALL__, compression_sparsity: 0.9, start_epoch: 0,"
            " end_epoch: 30, update_frequency: 3, momentum_buffer_reset: False}",
            ACDC(sparsity=0.9, end=30, phase=3, reset_momentum=False),
        ),
        (
            "!RigLPruningModifier {params: __ALL__, final_sparsity: 0.9, start_epoch: 0,"
            " end_epoch: 30, update_frequency: 0.5, init_update_fraction: 0.2,"
            " sparsity_strategy: uniform}",
            RigL(sparsity=0.9, end=30, update_every=0.5, fraction=0.2, allocation="uniform"),
        ),
        (
            "!TopKASTPruningModifier {params: __ALL__, forward_sparsity: 0.9,"
            " backward_sparsity: 0.5, start_epoch: 0, end_epoch: 30, active_weight_decay: 0.1}",
            TopKAST(forward_sparsity=0.9, backward_sparsity=0.5, end=30, decay=0.1),
        ),
        (
            "!PowerpropagationModifier {params: __ALL__, alpha: 3.0, start_epoch: 0, end_epoch: 9}",
            Powerpropagation(alpha=3.0, end=9),
        ),
    ],
)
def test_other_pruning(text: str, expected: Modifier) -> None:
    conversion = convert_recipe(f"modifiers:\n- {text}\n")
    assert conversion.recipe is not None
    assert conversion.recipe.stages[0].modifiers == (expected,)
    assert conversion.notes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "recipe:1: no modifiers and no stages"),
        ("- a", "recipe:1: expected a mapping"),
        ("modifiers:\n- 3", "recipe"),
        (
            "modifiers: [!GMPruningModifier {final_sparsity: 2.0, end_epoch: 1}]",
            "gradual_magnitude.final_sparsity: what it converts to is not a recipe",
        ),
        ("modifiers: [!!python/object:a.b {}]", "makes no Python objects"),
        (
            "modifiers: [!GMPruningModifier {final_sparsity: 'eval(__import__(1))', end_epoch: 1}]",
            "is not allowed in an expression",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        convert_recipe(text)
    assert message in str(caught.value)
