"""Quantization-aware training in a session: phases, sparsity, resuming, and what is left."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError, RunError
from colonnade.sparsify import Modifier, Recipe, Session, sparsify
from colonnade.sparsify.modifiers.activation_sparsity import ActivationSparsity
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.quantization import Quantization
from colonnade.sparsify.quantize.fake import weight_scales
from colonnade.sparsify.quantize.layers import FakeLinear

STEPS = 4


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    with torch.no_grad():
        model[0].weight[:, 0] = 0.0
        model[4].weight[:, ::3] = 0.0
    return model


def make_session(model: nn.Module, **changes: Any) -> Session:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    qat = Quantization(**({"start": 1.0} | changes))
    recipe = Recipe.of(ConstantPruning(), qat, epochs=4.0)
    return sparsify(model, optimizer, recipe, STEPS)


def loss_of(model: nn.Module, step: int) -> Tensor:
    images = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(step))
    return nn.functional.cross_entropy(model(images), torch.arange(8) % 4)


def train(session: Session, model: nn.Module, steps: range) -> None:
    for step in steps:
        session.step(loss_of(model, step))


def test_weights_end_on_their_grid_and_zeros_survive() -> None:
    model = make_model()
    with make_session(model) as session:
        train(session, model, range(16))
    for layer in (model[0], model[4]):
        scales = weight_scales(layer.weight).reshape(-1, *[1] * (layer.weight.ndim - 1))
        integers = layer.weight.detach() / scales
        assert torch.allclose(integers, integers.round(), atol=1e-4)
    assert (model[0].weight[:, 0] == 0).all()
    assert (model[4].weight[:, ::3] == 0).all()
    assert isinstance(model[1], nn.Identity)


def test_phases() -> None:
    model = make_model()
    session = make_session(model, freeze_observers=2.0, freeze_batch_norm=3.0)
    train(session, model, range(4))
    assert type(model[0]) is nn.Conv2d
    train(session, model, range(4, 8))
    moving = model[0].input_fake_quant.high.clone()
    train(session, model, range(8, 12))
    assert torch.equal(model[0].input_fake_quant.high, moving)
    mean = model[1].running_mean.clone()
    assert not model[1].is_folded
    train(session, model, range(12, 16))
    assert model[1].is_folded
    assert torch.equal(model[1].running_mean, mean)


def test_the_model_computes_the_same_after_baking() -> None:
    model = make_model()
    session = make_session(model)
    train(session, model, range(16))
    model.eval()
    images = torch.randn(8, 2, 4, 4)
    expected = model(images)
    session.finalize()
    assert torch.allclose(model(images), expected, atol=1e-5)


@pytest.mark.parametrize("cut", [2, 6, 14])
def test_a_resumed_run_is_the_same_to_the_bit(cut: int) -> None:
    whole, first, second = make_model(), make_model(), make_model()
    phases = {"freeze_observers": 2.0, "freeze_batch_norm": 3.0}
    with make_session(whole, **phases) as session:
        train(session, whole, range(16))
    session = make_session(first, **phases)
    train(session, first, range(cut))
    resumed = make_session(second, **phases)
    resumed.run.optimizer.load_state_dict(copy.deepcopy(session.run.optimizer.state_dict()))
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(resumed, second, range(cut, 16))
    resumed.finalize()
    mine, theirs = second.state_dict(), whole.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_ranges_are_in_the_state_of_the_session() -> None:
    # Trainers load the model's own state before there is anything to hold ranges.
    first, second = make_model(), make_model()
    session, resumed = (make_session(model, freeze_observers=2.0) for model in (first, second))
    train(session, first, range(10))
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    assert bool(second[4].input_fake_quant.is_ranged)
    assert torch.equal(second[4].input_fake_quant.high, first[4].input_fake_quant.high)


def test_a_freeze_before_the_start_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"freeze_observers: expected 1 \(start\) or more"):
        Quantization(start=1.0, freeze_observers=0.5)


def test_ranges_that_are_frozen_before_anything_is_seen_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"freeze_observers: expected more than 1 \(start\)"):
        Quantization(start=1.0, freeze_observers=1.0)
    with pytest.raises(RecipeError, match=r"freeze_observers: .* the same step as start"):
        make_session(make_model(), freeze_observers=1.1)


def test_a_start_behind_the_last_step_is_refused() -> None:
    with pytest.raises(RecipeError, match="start: the run ends at 4: nothing would be trained"):
        make_session(make_model(), start=4.0)


def test_a_complete_run_without_any_range_is_refused() -> None:
    model = make_model().eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    session = sparsify(model, optimizer, Recipe.of(Quantization(), epochs=1.0), STEPS)
    train(session, model, range(STEPS))
    with pytest.raises(RunError, match=r"no activation range of 0, 4 was seen.* training mode"):
        session.finalize()


def test_a_layer_that_was_never_reached_is_noted() -> None:
    model = make_model()
    model.add_module("spare", nn.Identity())
    model.spare.inner = nn.Linear(2, 2)
    with make_session(model) as session:
        train(session, model, range(16))
    assert "no activation range of spare.inner was seen" in "; ".join(session.run.notes)


def test_a_run_that_stopped_early_is_noted() -> None:
    model = make_model()
    session = make_session(model, start=0.0)
    session.begin_step()
    session.finalize()
    assert "no activation range of 0, 4 was seen" in "; ".join(session.run.notes)


def test_notes_are_not_repeated_by_a_resumed_run() -> None:
    first, second = (nn.Sequential(make_model(), nn.Conv1d(1, 1, 1)) for _ in range(2))
    session, resumed = (make_session(model, start=0.0) for model in (first, second))
    session.begin_step()
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    assert isinstance(second[0][4], FakeLinear)
    for notes in (session.run.notes, resumed.run.notes):
        assert notes == ["not quantized, for they are no plain Linear or Conv2d: 1 (Conv1d)"]


@pytest.mark.parametrize(
    "other",
    [Distillation(layers=("4",), hardness=0.0), ActivationSparsity(layers=("4",), alpha=0.1)],
)
def test_hooks_of_other_modifiers_stay_on_replaced_layers(other: Modifier) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    qat = Quantization(start=1.0)
    session = sparsify(model, optimizer, Recipe.of(other, qat, epochs=2.0), STEPS)
    for step in range(8):
        images = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        outputs = model(images)
        plain = nn.functional.cross_entropy(outputs, torch.arange(8) % 4)
        loss = session.modify_loss(plain, outputs, images)
        # Student and teacher are the same at first.
        assert step == 0 or loss > plain
        loss.backward()
        session.before_optimizer()
        optimizer.step()
        session.after_optimizer()
        optimizer.zero_grad()
    assert isinstance(model[4], FakeLinear)
    session.finalize()
    assert not model[4]._forward_hooks


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(RecipeError, match="no module of the model matches 'Conv3d'"):
        make_session(make_model(), targets=("Conv3d",))
