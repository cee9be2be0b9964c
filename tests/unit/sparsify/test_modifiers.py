"""The modifiers of pruning, learning rates and freezing on small networks with known answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Modifier, Recipe, sparsify
from colonnade.sparsify.modifier import Duration, Moment
from colonnade.sparsify.modifiers.activation_sparsity import ActivationSparsity
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.learning_rate import LearningRate
from colonnade.sparsify.modifiers.obs import OBSPruning
from colonnade.sparsify.modifiers.rigl import RigL
from colonnade.sparsify.modifiers.set_learning_rate import SetLearningRate
from colonnade.sparsify.modifiers.set_weight_decay import SetWeightDecay
from colonnade.sparsify.modifiers.trainable import Trainable
from colonnade.sparsify.session import StepOptions

STEPS = 4


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 4))


def observe(model: nn.Module, epochs: float, *modifiers: Modifier, look: Any) -> list[Any]:
    """What `look(session)` sees in every step, after the step began."""
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    seen = []
    with sparsify(model, optimizer, Recipe.of(*modifiers, epochs=epochs), STEPS) as s:
        while not s.is_complete:
            s.begin_step()
            seen.append(look(s))
            s.step(model(torch.ones(1, 4)).sum())
    return seen


def sparsity(name: str = "0.weight") -> Any:
    return lambda s: round(s.masks.sparsity(name), 6)


@pytest.mark.parametrize(
    ("schedule", "extra", "expected"),
    [
        ("linear", {}, [0.0, 0.2, 0.4, 0.6, 0.8]),
        ("cubic", {}, [0.0, 0.45, 0.7, 0.8, 0.8]),
        ("inverse_cubic", {}, [0.0, 0.05, 0.15, 0.3, 0.8]),
        ("polynomial", {"exponent": 1.0}, [0.0, 0.2, 0.4, 0.6, 0.8]),
        ("multi_step", {"milestones": (0.5, 1.0)}, [0.0, 0.0, 0.4, 0.4, 0.8]),
    ],
)
def test_schedules(schedule: Any, extra: dict[str, Any], expected: list[float]) -> None:
    prune = GradualMagnitude(
        targets=("0",), init_sparsity=0.0, final_sparsity=0.8, end=1.0, schedule=schedule, **extra
    )
    # Of 20 weights; then one more epoch.
    seen = observe(make_model(), 2.0, prune, look=sparsity())
    assert seen == [*expected, 0.8, 0.8, 0.8]


def test_updates_are_apart_but_the_last_is_in_time() -> None:
    prune = GradualMagnitude(
        init_sparsity=0.2,
        final_sparsity=0.8,
        schedule="linear",
        start=0.5,
        end=2.25,
        update_every=0.75,
        targets=("0",),
    )
    seen = observe(make_model(), 3.0, prune, look=sparsity())
    # Steps 2, 5, 8 and 9 = end.
    assert seen == [0, 0, 0.2, 0.2, 0.2, 0.45, 0.45, 0.45, 0.7, 0.8, 0.8, 0.8]


def test_the_smallest_weights_go() -> None:
    model = make_model()
    smallest = model[0].weight.detach().abs().flatten().argsort()[:10]
    prune = GradualMagnitude(targets=("0",), init_sparsity=0.5, final_sparsity=0.5, end=0.5)
    observe(model, 1.0, prune, look=sparsity())
    assert set((model[0].weight.flatten() == 0).nonzero().flatten().tolist()) == set(
        smallest.tolist()
    )


def test_global_scope_and_sparsity_by_layer() -> None:
    model = make_model()
    with torch.no_grad():
        model[0].weight.mul_(1e4)
    prune = GradualMagnitude(init_sparsity=0.5, final_sparsity=0.5, end=0.5, scope="global")
    observe(model, 1.0, prune, look=sparsity())
    assert (model[0].weight == 0).sum() == 0
    assert (model[1].weight == 0).sum() == 20  # all of it: the report says so

    model = make_model()
    finals = {"0": 0.25, "re:1": 0.75}
    observe(model, 1.0, GradualMagnitude(final_sparsity=finals, end=0.5), look=sparsity())
    assert ((model[0].weight == 0).sum(), (model[1].weight == 0).sum()) == (5, 15)


def test_a_layer_without_weights_is_noted() -> None:
    model = make_model()
    with torch.no_grad():
        model[1].weight.mul_(1e-3)
    prune = GradualMagnitude(init_sparsity=0.5, final_sparsity=0.5, end=0.0, scope="global")
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with sparsify(model, optimizer, Recipe.of(prune, epochs=1.0), 1) as s:
        s.step(model(torch.ones(1, 4)).sum())
    assert s.run.notes == ["step 0: every weight of 1.weight is pruned"]


def test_nm_reaches_its_pattern() -> None:
    model = make_model()
    prune = GradualMagnitude(targets=("0",), pattern="1:4", end=0.75, init_sparsity=0.0)
    seen = observe(model, 1.0, prune, look=sparsity())
    assert seen == [0.0, 0.5, 0.75, 0.75]
    assert ((model[0].weight != 0).sum(1) == 1).all()


def test_masks_may_be_let_go() -> None:
    prune = GradualMagnitude(targets=("0",), final_sparsity=0.5, end=0.5, hold=False)
    seen = observe(make_model(), 1.0, prune, look=sparsity())
    assert seen == [0.05, 0.45, 0.0, 0.0]


def test_constant_pruning_from_start_to_end() -> None:
    model = make_model()
    with torch.no_grad():
        model[0].weight[0] = 0
    seen = observe(model, 1.0, ConstantPruning(start=0.25, end=0.75), look=sparsity())
    assert seen == [0.0, 0.2, 0.2, 0.0]


def rates(*modifiers: Modifier, epochs: float = 2.0) -> list[float]:
    return observe(
        make_model(),
        epochs,
        *modifiers,
        look=lambda s: round(s.run.optimizer.param_groups[0]["lr"], 6),
    )


def test_learning_rates() -> None:
    assert rates(LearningRate(init=0.8)) == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates(LearningRate(init=0.8, schedule="cosine"))[::2] == [0.8, 0.682843, 0.4, 0.117157]
    assert rates(LearningRate(init=0.8, schedule="cyclic_linear")) == [0.8, 0.6, 0.4, 0.2] * 2
    assert rates(LearningRate(init=1.0, schedule="step", gamma=0.5)) == [1.0] * 4 + [0.5] * 4
    halves = LearningRate(init=1.0, schedule="exponential", gamma=0.25, cycle=1.0)
    assert rates(halves)[::2] == [1.0, 0.5, 0.25, 0.125]
    warm = LearningRate(init=1.0, final=0.5, warmup=1.0)
    assert rates(warm) == [0.0, 0.25, 0.5, 0.75, 1.0, 0.875, 0.75, 0.625]
    late = LearningRate(init=1.0, start=0.5, end=1.0)
    assert rates(late) == [0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert rates(SetLearningRate(value=0.3, start=1.0)) == [0.0] * 4 + [0.3] * 4


def test_a_warmup_has_to_fit() -> None:
    for late in (LearningRate(init=1.0, start=1.0, warmup=1.5), LearningRate(init=1.0, warmup=2.5)):
        with pytest.raises(RecipeError, match=r"learning_rate\.warmup: expected at most"):
            Recipe.of(late, epochs=2.0)
    with pytest.raises(RecipeError, match="warmup: expected at most 2, the time from start to end"):
        LearningRate(init=1.0, end=2.0, warmup=5.0)
    # As long as the time: the rate only rises.
    rising = LearningRate(init=1.0, final=1.0, start=0.5, end=1.5, warmup=1.0)
    assert rates(rising) == [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert LearningRate(init=1.0, warmup=5.0).warmup == 5.0  # its end is not known yet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate: expected a whole number, 1 or more, got 0"),
        ({"accumulate": 1.5}, "accumulate: expected a whole number, 1 or more, got 1.5"),
        ({"clip_norm": -1.0}, "clip_norm: expected more than 0"),
        ({"clip_norm": math.nan}, "clip_norm: expected more than 0"),
    ],
)
def test_options_of_a_step(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        StepOptions(**options)


def test_weight_decay() -> None:
    seen = observe(
        make_model(),
        1.0,
        SetWeightDecay(value=0.1, start=0.5),
        look=lambda s: s.run.optimizer.param_groups[0]["weight_decay"],
    )
    assert seen == [0, 0, 0.1, 0.1]


def test_trainable() -> None:
    model = make_model()
    seen = observe(
        model,
        1.0,
        Trainable(targets=("1",), value=False, start=0.25, end=0.75),
        look=lambda s: s.run.model[1].bias.requires_grad,
    )
    assert seen == [True, False, False, True]
    assert model[1].bias.requires_grad


def test_frozen_parameters_do_not_move() -> None:
    model = make_model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    recipe = Recipe.of(Trainable(targets=("0",), value=False), epochs=1.0)
    with sparsify(model, optimizer, recipe, STEPS) as s:
        for _ in range(STEPS):
            s.step(model(torch.ones(1, 4)).sum())
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)]
    assert moved == [False, True, True]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"final_sparsity": 0.5, "schedule": "multi_step"}, "milestones: the multi_step schedule"),
        (
            {"final_sparsity": 0.5, "schedule": "multi_step", "milestones": (0.5, 1.5)},
            "milestones: expected 1 or less",
        ),
        ({"final_sparsity": 0.5, "update_every": 0.0}, "update_every: expected more than 0"),
        ({"final_sparsity": 0.5, "exponent": 0.0}, "exponent: expected more than 0"),
        ({"final_sparsity": -0.1}, "final_sparsity: expected a share"),
        ({"final_sparsity": 0.5, "init_sparsity": 1.0}, "init_sparsity: expected a share"),
        ({"final_sparsity": 0.5, "start": -1.0}, "start: expected 0 or more"),
    ],
)
def test_refused_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        GradualMagnitude(**({"end": 1.0} | parameters))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GradualMagnitude(final_sparsity=0.5, scope="globl"),  # type: ignore[arg-type]
            "scope: expected one of layer, global, got 'globl'; did you mean global?",
        ),
        (
            lambda: LearningRate(init=0.1, schedule="cosin"),  # type: ignore[arg-type]
            "step, got 'cosin'; did you mean cosine?",
        ),
        (
            lambda: RigL(sparsity=0.5, update_every=1.0, allocation="unifrm"),  # type: ignore[arg-type]
            "allocation: expected one of uniform, erk, got 'unifrm'; did you mean uniform?",
        ),
        (
            lambda: ActivationSparsity(function="L1"),  # type: ignore[arg-type]
            "function: expected one of l1, hoyer, got 'L1'; did you mean l1?",
        ),
        (
            lambda: GradualMagnitude(final_sparsity="0.5"),  # type: ignore[arg-type]
            "final_sparsity: expected a number or a mapping or null, got '0.5'",
        ),
        (
            lambda: Distillation(temperature=float("nan")),
            "temperature: expected a number, got nan",
        ),
        (lambda: LearningRate(init=math.inf), "init: expected a number, got inf"),
        (lambda: LearningRate(init=10**400), "init: expected a number, got 1000"),
        (
            lambda: OBSPruning(final_sparsity=0.5, num_grads=2.5),  # type: ignore[arg-type]
            "num_grads: expected a whole number, got 2.5",
        ),
        (lambda: ConstantPruning(targets=("a", 3)), "targets: expected a text, got 3"),  # type: ignore[arg-type]
        (lambda: Trainable(value=1), "value: expected true or false, got 1"),  # type: ignore[arg-type]
        (lambda: ConstantPruning(start=True), "start: expected a number, got True"),
        (lambda: ConstantPruning(end="2"), "end: expected a number or null, got '2'"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_types_are_checked_in_python_too(make: Callable[[], Modifier], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert message in str(caught.value)


def test_types_are_those_of_a_recipe() -> None:
    prune = GradualMagnitude(
        targets="prunable", final_sparsity=np.float32(0.5), milestones=[0.5, 1], end=4  # type: ignore[arg-type]
    )  # fmt: skip
    assert prune.targets == ("prunable",)
    assert prune == GradualMagnitude(final_sparsity=0.5, milestones=(0.5, 1.0), end=4.0)
    assert [type(value) for value in (prune.final_sparsity, prune.end)] == [float, float]
    assert ConstantPruning(targets=["a", "b"]).targets == ("a", "b")  # type: ignore[arg-type]


def test_modifiers_of_users_may_have_any_fields() -> None:
    class Hidden:
        pass

    @dataclass(frozen=True, kw_only=True)
    class Own(Modifier):
        seen: list[str]
        hidden: Hidden
        late: Moment | None = None
        long: Duration = 1.0

    seen, hidden = ["a"], Hidden()
    own = Own(seen=seen, hidden=hidden, start=1, late=2.0).placed(10.0, 0.5, None)
    assert isinstance(own, Own)
    assert own.seen is seen
    assert own.hidden is hidden
    assert (own.start, own.late, own.long) == (10.5, 11.0, 0.5)


def test_moments_of_users_without_postponed_annotations() -> None:
    made = make_dataclass(
        "Made", [("late", Moment | None, None)], bases=(Modifier,), frozen=True, kw_only=True
    )
    assert made(late=2.0).placed(10.0, 1.0, None).late == 12.0


def test_gradual_acts_to_the_end_of_the_last_stage() -> None:
    model = make_model()
    prune = GradualMagnitude(
        targets=("0",), init_sparsity=0.0, final_sparsity=0.8, schedule="linear"
    )
    seen = observe(model, 1.0, prune, look=sparsity())
    assert seen == [0.0, 0.2, 0.4, 0.6]
    assert (model[0].weight == 0).sum() == 16


def test_gradual_needs_an_end_or_the_length_of_its_stage() -> None:
    model: nn.Module = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(GradualMagnitude(final_sparsity=0.5))
    with pytest.raises(RecipeError, match=r"gradual_magnitude\.end: is needed"):
        sparsify(model, optimizer, recipe, STEPS)


def test_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    prune = GradualMagnitude(targets=("Conv2d",), pattern="1x4", final_sparsity=0.5, end=0.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with sparsify(model, optimizer, Recipe.of(prune, epochs=1.0), 1) as s:
        s.step(model(torch.rand(1, 8, 4, 4)).sum())
    weight: Tensor = model[0].weight
    blocks = weight.permute(0, 2, 3, 1).reshape(-1, 4)
    assert ((blocks == 0).sum(1) % 4 == 0).all()
    assert (weight == 0).sum() == 144
