"""One-shot, quantization and distillation of other tools: what recipes of theirs become."""

from __future__ import annotations

import pytest

from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.quantization import Quantization
from colonnade.sparsify.oneshot.modifiers import GPTQ, SparseGPT, Wanda
from colonnade.sparsify.recipe import read_recipe
from colonnade.sparsify.recipe.convert import Conversion, convert_recipe

LLM_COMPRESSOR = """\
sparsity_stage:
  run_type: oneshot
  sparsity_modifiers:
    SparseGPTModifier:
      sparsity: 0.5
      mask_structure: "2:4"
      targets: [Linear]
      ignore: ["re:.*lm_head"]
      sequential_update: true
      dampening_frac: 0.05
      offload_hessians: true
quantization_stage:
  run_type: oneshot
  quantization_modifiers:
    SmoothQuantModifier:
      smoothing_strength: 0.8
    GPTQModifier:
      ignore: ["lm_head"]
      config_groups:
        group_0:
          targets: ["Linear"]
          weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 128}
"""
OBCQ = """\
oneshot_stage:
  obcq_modifiers:
    QuantizationModifier:
      ignore: [LlamaRotaryEmbedding, "re:.*act_fn"]
      post_oneshot_calibration: true
      scheme_overrides:
        Embedding: {input_activations: null, weights: {num_bits: 8, symmetric: false}}
    SparseGPTModifier:
      sparsity: [0.4, 0.6]
      block_size: 64
      percdamp: 0.01
      prunen: 0
      prunem: 0
      quantize: true
      targets: ["re:model.layers.\\\\d+$"]
"""
QAT = """\
num_epochs: 10
qat_start: eval(num_epochs * 0.8)
training_modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: eval(num_epochs)}
constant_modifiers:
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
distillation_modifiers:
  - !DistillationModifier
    hardness: 1.0
    temperature: 5.5
    distill_output_keys: [logits]
quantization_modifiers:
  - !QuantizationModifier
    start_epoch: eval(qat_start)
    disable_quantization_observer_epoch: eval(qat_start + 1)
    freeze_bn_stats_epoch: eval(qat_start + 0.5)
    submodules: [bert.encoder, classifier]
    exclude_module_types: [LayerNorm]
    model_fuse_fn_name: no_fuse
    activation_bits: 4
"""


def notes_of(conversion: Conversion) -> list[str]:
    return [str(note) for note in conversion.notes]


def modifiers_of(conversion: Conversion) -> tuple[Modifier, ...]:
    """Of all stages; what was written must be what is read."""
    assert conversion.recipe is not None
    assert read_recipe(conversion.text) == conversion.recipe
    return tuple(each for stage in conversion.recipe.stages for each in stage.modifiers)


def test_oneshot_stages_of_llm_compressor() -> None:
    conversion = convert_recipe(LLM_COMPRESSOR)
    assert modifiers_of(conversion) == (
        SparseGPT(
            targets=("Linear",), ignore=("re:.*lm_head",), pattern="2:4", sequential=True,
            damping=0.05,
        ),
        GPTQ(targets=("Linear",), ignore=("lm_head",), bits=4),
    )  # fmt: skip
    notes = notes_of(conversion)
    assert len(notes) == 6
    assert notes[0].startswith("line 2: sparsity.run_type: oneshot takes no time")
    assert "line 11: SparseGPTModifier.offload_hessians: is left out: it saves memory" in notes[1]
    assert "quantization.run_type" in notes[2]
    assert "colonnade quantize --smooth" in notes[3]
    assert "SmoothQuantModifier.smoothing_strength: has no counterpart" in notes[4]
    assert "config_groups.group_0: one scale for an output here, asked for group of 128" in notes[5]


def test_obcq() -> None:
    conversion = convert_recipe(OBCQ)
    assert modifiers_of(conversion) == (
        Quantization(ignore=("LlamaRotaryEmbedding", "re:.*act_fn")),
        SparseGPT(targets=(r"re:model.layers.\d+\.",), sparsity=0.5, damping=0.01),
    )
    wheres = [note.where for note in conversion.notes]
    assert wheres == [
        "QuantizationModifier.post_oneshot_calibration",
        "QuantizationModifier.scheme_overrides",
        "SparseGPTModifier.sparsity",
        "SparseGPTModifier.block_size",
        "SparseGPTModifier.quantize",
    ]


def test_training_with_quantization_and_distillation() -> None:
    conversion = convert_recipe(QAT)
    assert modifiers_of(conversion) == (
        ConstantPruning(start=0),
        Distillation(teacher="given", hardness=1.0, temperature=5.5),
        Quantization(
            targets=("bert.encoder", "classifier"), ignore=("LayerNorm",), start=8.0,
            freeze_observers=9.0, freeze_batch_norm=8.5,
        ),
    )  # fmt: skip
    assert [note.where for note in conversion.notes] == [
        "DistillationModifier.distill_output_keys",
        "QuantizationModifier.model_fuse_fn_name",
        "QuantizationModifier.activation_bits",
    ]


def test_oneshot_before_and_after_training() -> None:
    train = (
        "train_stage:\n  run_type: train\n  m_modifiers:\n"
        "    MagnitudePruningModifier: {final_sparsity: 0.5, start: 0, end: 2}\n"
    )
    oneshot = (
        "{}_stage:\n  run_type: oneshot\n  m_modifiers:\n    WandaModifier: {{sparsity: 0.3}}\n"
    )
    conversion = convert_recipe(oneshot.format("a") + train + oneshot.format("b"))
    wanda = Wanda(sparsity=0.3)
    prune = GradualMagnitude(final_sparsity=0.5, end=2)
    assert modifiers_of(conversion) == (wanda, prune, wanda)
    assert conversion.recipe is not None
    assert [(stage.name, stage.epochs) for stage in conversion.recipe.stages] == [
        ("train", 2),
        ("b", 1.0),
    ]
    assert notes_of(conversion)[1:] == [
        "line 10: b.run_type: oneshot takes no time: its modifiers act at the start of the stage "
        "that follows, calibrated on the session's sample_losses; without training, use `colonnade "
        "sparsify oneshot`",
        "line 10: b: does not say how long it trains: `epochs: 1.0` is a guess, set your own",
    ]


def test_a_stage_that_does_not_say_how_long_it_trains() -> None:
    stage = "{}_stage:\n  run_type: train\n  m_modifiers:\n    ConstantPruningModifier: {{}}\n"
    conversion = convert_recipe(stage.format("a") + stage.format("b"))
    assert conversion.recipe is not None
    assert [one.epochs for one in conversion.recipe.stages] == [1.0, None]
    assert notes_of(conversion) == [
        "line 2: a: does not say how long it trains: `epochs: 1.0` is a guess, set your own"
    ]


def test_batch_norms_that_were_never_frozen() -> None:
    conversion = convert_recipe(
        "modifiers:\n- !EpochRangeModifier {end_epoch: 4}\n- !QuantizationModifier {start_epoch: 2}"
    )
    assert modifiers_of(conversion) == (Quantization(start=2),)
    assert notes_of(conversion) == [
        "line 3: QuantizationModifier.freeze_bn_stats_epoch: is not given, so there batch-norms "
        "are never frozen; here they are from `start` on: `freeze_batch_norm` sets another moment"
    ]


@pytest.mark.parametrize(
    ("text", "expected", "wheres"),
    [
        (
            "WandaPruningModifier: {sparsity: 0.6, sparsity_profile: owl, owl_m: 5}",
            Wanda(sparsity=0.6, allocation="owl"),
            [],
        ),
        (
            "SparseGPTModifier: {sparsity: 0.6, sparsity_profile: OWL, owl_m: 7, owl_lmbda: 0.08}",
            SparseGPT(sparsity=0.6, allocation="owl"),
            ["owl_m"],
        ),
        (
            "SparseGPTModifier: {sparsity: 0.5, mask_structure: '2:4', sparsity_profile: owl}",
            SparseGPT(pattern="2:4"),
            ["sparsity_profile"],
        ),
        (
            "WandaPruningModifier: {sparsity: 0.6, sparsity_profile: other}",
            Wanda(sparsity=0.6),
            ["sparsity_profile"],
        ),
        (
            "SparseGPTModifier: {sparsity: 0.9, mask_structure: '1:4', flavour: sweet}",
            SparseGPT(pattern="1:4"),
            ["flavour", "sparsity"],
        ),
        ("GPTQModifier: {scheme: W8A8, num_calibration_steps: 4}", GPTQ(num_batches=4), ["scheme"]),
        ("GPTQModifier: {scheme: W4A16_ASYM}", GPTQ(bits=4), ["scheme", "scheme"]),
        ("QuantizationModifier: {scheme: {W8A8: [Linear]}}", Quantization(targets=("Linear",)), []),
        (
            "OutputDistillationModifier: {targets: [[a, a]], comparison: square_head,"
            " distill_scale: 2.0, start: 0, end: 3}",
            Distillation(teacher="given", hardness=0.0, layers=("a",), hidden_gain=2.0, end=3),
            [],
        ),
        (
            "OutputDistillationModifier: {comparison: kl_divergence, orig_scale: 0.25,"
            " distill_scale: 0.75, transforms: [softmax]}",
            Distillation(teacher="given", hardness=0.75, temperature=1.0),
            [],
        ),
        (
            "PerLayerDistillationModifier: {student_layer_names: [a, b],"
            " teacher_layer_names: [a, c], project_features: true}",
            Distillation(teacher="given", hardness=0.0, layers=("a", "b"), hidden_gain=1.5),
            ["project_features", "teacher_layer_names"],
        ),
    ],
)  # fmt: skip
def test_each(text: str, expected: Modifier, wheres: list[str]) -> None:
    conversion = convert_recipe(f"m_modifiers:\n  {text}\n")
    assert modifiers_of(conversion) == (expected,)
    assert sorted(note.where.partition(".")[2] for note in conversion.notes) == wheres


@pytest.mark.parametrize(
    "text",
    [
        "GPTQModifier: {scheme: FP8_DYNAMIC}",
        "QuantizationModifier: {scheme: W4A16}",
        "QuantizationModifier: {config_groups: {g: {weights: {num_bits: 8, type: float}}}}",
        "OutputDistillationModifier: {comparison: cosine}",
    ],
)
def test_without_counterpart(text: str) -> None:
    conversion = convert_recipe(f"m_modifiers:\n  {text}\n")
    assert conversion.recipe is None
    assert any("has no counterpart" in str(note) or "have no" in str(note)
               for note in conversion.notes)  # fmt: skip
