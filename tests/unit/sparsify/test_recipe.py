"""Recipes: what is read, and what is refused with a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colonnade.errors import RecipeError
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.recipe import Recipe, Stage, load_recipe, read_recipe
from colonnade.sparsify.registry import MODIFIERS, modifier_class, modifier_name
from colonnade.sparsify.typed import field_hints

STAGED = """\
version: 1
variables:
  total: 10
  prune: $(total * 0.6)
  target: 0.9
stages:
  - name: prune
    epochs: $(prune)
    modifiers:
      - gradual_magnitude:
          targets: ["re:encoder.*", Conv2d]
          final_sparsity: $(target)
          end: $(prune - 1)
          update_every: 0.5
  - name: tune
    epochs: $(total - prune)
    modifiers:
      - constant_pruning
      - learning_rate: {init: 1e-3, schedule: cosine}
"""


def test_stages_and_variables() -> None:
    recipe = read_recipe(STAGED)
    first, second = recipe.stages
    assert (first.name, first.epochs, second.epochs) == ("prune", 6.0, 4.0)
    prune = first.modifiers[0]
    assert isinstance(prune, GradualMagnitude)
    assert (prune.targets, prune.final_sparsity, prune.end) == (("re:encoder.*", "Conv2d"), 0.9, 5)


def test_given_variables_replace_those_of_the_recipe() -> None:
    recipe = read_recipe(STAGED, {"total": 20})
    assert [stage.epochs for stage in recipe.stages] == [12.0, 8.0]


def test_timeline_places_stages_after_each_other() -> None:
    prune, constant, rate = read_recipe(STAGED).timeline(steps_per_epoch=100)
    assert (prune.start, prune.end) == (0, 5)
    assert isinstance(prune, GradualMagnitude)
    assert prune.update_every == 0.5
    assert (constant.start, constant.end, rate.start) == (6, None, 6)


def test_open_end_in_an_early_stage_is_the_end_of_the_stage() -> None:
    early = Stage(modifiers=(ConstantPruning(),), epochs=2.0)
    recipe = Recipe(stages=(early, Stage(modifiers=(ConstantPruning(),))))
    assert [modifier.end for modifier in recipe.timeline(10)] == [2.0, None]


def test_open_end_in_the_last_stage_is_its_end_where_a_modifier_needs_one() -> None:
    text = """\
epochs: 4
modifiers:
  - gradual_magnitude: {final_sparsity: 0.5}
  - acdc: {sparsity: 0.5, start: 1}
  - rigl: {sparsity: 0.5, update_every: 1}
  - channel_pruning: {sparsity: 0.5}
  - constant_pruning
  - one_shot_magnitude: {sparsity: 0.5}
"""
    ends = {modifier_name(one): one.end for one in read_recipe(text).timeline(10)}
    # What is held stays held: masks that end with the run would not be there when it is saved.
    assert ends == {
        "gradual_magnitude": 4.0,
        "acdc": 4.0,
        "rigl": 4.0,
        "channel_pruning": 4.0,
        "constant_pruning": None,
        "one_shot_magnitude": None,
    }
    (steps,) = read_recipe(
        "unit: steps\nepochs: 40\nmodifiers: [{gradual_magnitude: {final_sparsity: 0.5}}]"
    ).timeline(10)
    assert steps.end == 4.0


def test_the_same_stage_may_come_twice() -> None:
    stage = Stage(modifiers=(ConstantPruning(),), epochs=2.0)
    ends = [modifier.end for modifier in Recipe(stages=(stage, stage)).timeline(10)]
    assert ends == [2.0, None]


BEYOND = """\
stages:
  - name: prune
    epochs: 2
    modifiers:
      - constant_pruning
      - gradual_magnitude:
          final_sparsity: 0.9
          {key}: {value}
  - name: tune
    epochs: 3
    modifiers:
      - quantization: {{start: 2, freeze_observers: {freeze}}}
"""


@pytest.mark.parametrize(
    ("key", "value", "freeze", "message"),
    [
        (
            "end", 4, 3,
            "recipe:8: gradual_magnitude.end: expected at most 2, as stage 'prune' is 2 epochs "
            "long and times count from its start; got 4",
        ),
        ("start", 2.5, 3, "recipe:8: gradual_magnitude.start: expected at most 2, as stage"),
        (
            "end", 2, 3.5,
            "recipe:12: quantization.freeze_observers: expected at most 3, as stage 'tune' is 3",
        ),
    ],
)  # fmt: skip
def test_nothing_is_due_after_the_end_of_its_stage(
    key: str, value: float, freeze: float, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(BEYOND.format(key=key, value=value, freeze=freeze))
    assert message in str(caught.value)


def test_moments_may_be_the_end_of_the_stage() -> None:
    recipe = read_recipe(BEYOND.format(key="end", value=2, freeze=3))
    assert recipe.length == 5.0
    read_recipe(
        "epochs: $(0.1 + 0.2)\nmodifiers: [{constant_pruning: {end: 0.3}}, {gradual_magnitude: "
        "{final_sparsity: 0.5, start: $(0.3 + 1e-15)}}]"
    )


def test_times_beyond_a_recipe_in_python_or_in_steps() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.of(GradualMagnitude(final_sparsity=0.9, end=8.0), epochs=2.0)
    assert str(caught.value).startswith(
        "gradual_magnitude.end: expected at most 2, as the stage is 2 epochs long and times count "
        "from its start; got 8"
    )
    with pytest.raises(RecipeError, match=r"recipe:3: .*\.end: .* the stage is 20 steps long"):
        read_recipe("unit: steps\nepochs: 20\nmodifiers: [{constant_pruning: {end: 21}}]")


def test_an_open_stage_is_over_with_its_last_moment() -> None:
    recipe = read_recipe("modifiers: [{quantization: {start: 1, freeze_observers: 3}}]")
    assert recipe.length == 3.0


def test_what_does_not_fit_before_an_open_end() -> None:
    flow = "{nm_flow: {pattern: '2:4', dense: 2, fine_tune: 1}}"
    with pytest.raises(
        RecipeError, match=r"recipe:2: nm_flow\.dense: .*as the modifier acts \(3\)"
    ):
        read_recipe(f"epochs: 3\nmodifiers: [{flow}]")
    read_recipe(f"modifiers: [{flow}]")


def test_times_may_count_steps() -> None:
    recipe = read_recipe(
        "unit: steps\nmodifiers: [{gradual_magnitude: {final_sparsity: 0.5, start: 10, end: 30}}]"
    )
    (prune,) = recipe.timeline(steps_per_epoch=20)
    assert (prune.start, prune.end) == (0.5, 1.5)
    assert recipe.num_steps(20) == 30


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(STAGED)
    assert load_recipe(path) == read_recipe(STAGED)
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot read it: No such file"):
        load_recipe(tmp_path / "none.yaml")


def gradual(parameters: str) -> str:
    return f"modifiers:\n  - gradual_magnitude:\n      end: 4\n{parameters}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe: the recipe is empty"),
        ("modifiers: [", "not YAML"),
        ("modifiers: []", "recipe:1: the recipe has no modifiers"),
        ("modifers: []", "recipe:1: unknown key 'modifers'; did you mean modifiers?"),
        ("version: 2\nmodifiers: []", "recipe:1: version: this colonnade reads version 1, got 2"),
        ("modifiers:\n  - a\n  - b", "recipe:2: unknown modifier 'a'; known: acdc"),
        (
            "modifiers:\n- constant_pruning\n- gradual_magnitud: {}",
            "recipe:3: unknown modifier 'gradual_magnitud'; did you mean gradual_magnitude?",
        ),
        (
            gradual("      final_sparsty: 0.5"),
            "recipe:4: gradual_magnitude.final_sparsty: unknown parameter; "
            "did you mean final_sparsity?",
        ),
        (
            gradual("      final_sparsity: high"),
            "recipe:4: gradual_magnitude.final_sparsity: expected a number or a mapping or null, "
            "got 'high'",
        ),
        (
            gradual("      final_sparsity: 1.0"),
            "recipe:4: gradual_magnitude.final_sparsity: expected a share from 0 up to but "
            "without 1, got 1",
        ),
        (gradual("      final_sparsity: .nan"), "expected a number or a mapping"),
        (gradual(""), "gradual_magnitude.final_sparsity: is needed"),
        (
            gradual("      final_sparsity: 0.5\n      schedule: cubik"),
            "recipe:5: gradual_magnitude.schedule: expected one of linear, cubic",
        ),
        (
            gradual("      final_sparsity: 0.5\n      targets:\n      - a\n      - 3"),
            "recipe:7: gradual_magnitude.targets: expected a text, got 3",
        ),
        (
            gradual("      pattern: 4:2"),
            "recipe:4: gradual_magnitude.pattern: pattern '4:2': N:M needs 1 <= N < M",
        ),
        (
            gradual("      pattern: 1:4\n      final_sparsity: 0.5"),
            "recipe:5: gradual_magnitude.final_sparsity: 1:4 is a sparsity of 0.75, got 0.5",
        ),
        (gradual("      pattern: 1:4\n      scope: global"), "N:M fixes the sparsity"),
        (gradual("      final_sparsity: 0.5\n      start: 5"), "end: expected 5 (start) or more"),
        (gradual("      final_sparsity: 0.5\n      end: 5"), "recipe:5: 'end' comes twice"),
        ("modifiers:\n- set_learning_rate: {}", "recipe:2: set_learning_rate.value: is needed"),
        (
            "modifiers:\n- set_learning_rate: {value: yes}",
            "set_learning_rate.value: expected a number, got 'yes'",
        ),
        (
            "modifiers:\n- !!python/object:os.system {}",
            "recipe:2: a recipe makes no Python objects",
        ),
        ("modifiers:\n- !GMPruningModifier {}", "`colonnade recipe convert`"),
        (
            "stages:\n- modifiers: [constant_pruning]\n- modifiers: [constant_pruning]",
            "only the last stage may do without its number of epochs",
        ),
        (
            "stages:\n- {modifiers: [constant_pruning],\n   epochs: 0}",
            "recipe:3: a stage of 0 epochs",
        ),
        ("epochs: .nan\nmodifiers: []", "recipe:1: epochs: expected a number or null, got nan"),
        ("epochs: .inf\nmodifiers: []", "recipe:1: epochs: expected a number or null, got inf"),
        ("epochs: [1]\nmodifiers: []", "recipe:1: epochs: expected a number or null, got [1]"),
        ("modifiers: []\nunit: [a]", "recipe:2: unit: expected a text, got ['a']"),
        (
            "modifiers:\n- constant_pruning: [a]",
            "recipe:2: constant_pruning: expected parameters, got ['a']",
        ),
        (
            "stages: [{name: a, epochs: 1, modifiers: [constant_pruning]},"
            " {name: b, modifiers: []}]",
            "recipe:1: stage 'b': a stage without modifiers needs its number of epochs",
        ),
        ("variables: {a: $(b), b: $(a)}\nmodifiers: []", "recipe:1: 'a' needs itself"),
        ("modifiers:\n- set_learning_rate: {value: $(lr)}", "recipe:2: unknown variable 'lr'"),
        ("variables: {a: x}\nmodifiers: []", "variable 'a': expected a number"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n" * 1, "unknown key 'a'"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert message in str(caught.value)


def test_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 20)]
    with pytest.raises(RecipeError, match="too many or too deeply nested"):
        read_recipe("\n".join(lines))


def test_unknown_given_variable() -> None:
    with pytest.raises(RecipeError, match="unknown variable 'x'; the recipe has: total"):
        read_recipe(STAGED, {"x": 1})


@pytest.mark.parametrize("name", MODIFIERS)
def test_registry_names_every_modifier(name: str) -> None:
    cls = modifier_class(name)
    assert cls.__doc__
    assert MODIFIERS[name].endswith(f":{cls.__name__}")
    # Names that only type checkers know would leave its fields unchecked.
    assert not [hint for hint in field_hints(cls).values() if isinstance(hint, str)]


def test_modifier_name() -> None:
    assert modifier_name(ConstantPruning()) == "constant_pruning"


def test_recipes_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from colonnade.sparsify.registry import MODIFIERS, modifier_class\n"
        "from colonnade.sparsify.recipe import read_recipe\n"
        "[modifier_class(name) for name in MODIFIERS]\n"
        "read_recipe('modifiers: [constant_pruning]')\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
