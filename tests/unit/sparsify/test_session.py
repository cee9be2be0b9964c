"""Sessions: masks hold through everything an optimizer does, and hooks come in order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError, RunError
from colonnade.sparsify import Action, Modifier, Recipe, Session, sparsify
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.mfac import MFACPruning
from colonnade.sparsify.modifiers.movement import MovementPruning
from colonnade.sparsify.modifiers.nm_flow import NMFlow
from colonnade.sparsify.modifiers.rigl import RigL
from colonnade.sparsify.modifiers.top_kast import TopKAST
from colonnade.sparsify.save import CheckpointOptions
from colonnade.sparsify.session import StepOptions

STEPS = 4


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def batches(num: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 6, generator=generator) for _ in range(num)]


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    return torch.tanh(model(x)).sum()


def prune(**changes: Any) -> GradualMagnitude:
    parameters: dict[str, Any] = {"init_sparsity": 0.5, "final_sparsity": 0.5, "end": 1.0}
    return GradualMagnitude(**(parameters | changes))


def zeros(model: nn.Module, name: str = "0.weight") -> Tensor:
    return model.get_parameter(name).detach() == 0


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masks_hold_under_momentum_and_weight_decay(name: str) -> None:
    model = make_model()
    optimizer = OPTIMIZERS[name](model.parameters())
    # Without a mask for a while, so that the optimizer has a momentum for all weights.
    recipe = Recipe.of(prune(start=1.0, end=2.0), epochs=4.0)
    with sparsify(model, optimizer, recipe, STEPS) as s:
        for step, x in enumerate(batches(16)):
            s.step(loss_of(model, x))
            if step >= STEPS:
                assert zeros(model).sum() == 24
                assert torch.equal(zeros(model), ~s.masks["0.weight"])
    assert zeros(model, "2.weight").sum() == 8


def test_masked_weights_have_no_momentum() -> None:
    model = make_model()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    with sparsify(model, optimizer, Recipe.of(prune(end=0.0), epochs=1.0), STEPS) as s:
        for x in batches(STEPS):
            s.step(loss_of(model, x))
        momentum = optimizer.state[model[0].weight]["momentum_buffer"]
        assert (momentum[~s.masks["0.weight"]] == 0).all()
        assert (momentum[s.masks["0.weight"]] != 0).any()


def test_without_masks_a_session_changes_nothing() -> None:
    models = [make_model(), make_model()]
    optimizers = [OPTIMIZERS["adamw"](model.parameters()) for model in models]
    with sparsify(models[0], optimizers[0], Recipe.of(Modifierless(), epochs=1.0), STEPS) as s:
        for x in batches(STEPS):
            s.step(models[0](x).square().sum())
            models[1](x).square().sum().backward()
            optimizers[1].step()
            optimizers[1].zero_grad()
    assert torch.equal(models[0][0].weight, models[1][0].weight)


@dataclass(frozen=True, kw_only=True)
class Modifierless(Modifier):
    """Does nothing."""

    def initialize(self, _: Any) -> Action:
        return Action()


@dataclass(frozen=True, kw_only=True)
class Recorder(Modifier):
    """Writes down the hooks."""

    calls: list[str]

    def initialize(self, _: Any) -> Action:
        return _Recording(self.calls)


class _Recording(Action):
    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    def before_step(self, run: Any) -> None:
        self._calls.append(f"step {run.step} at {run.epoch:g}")

    def loss(self, _: Any, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        self._calls.append(f"loss {outputs} {batch}")
        return loss * 2

    def before_optimizer(self, run: Any) -> None:
        assert not torch.is_grad_enabled()
        gradient = run.model[0].weight.grad
        self._calls.append(f"gradient {bool(gradient.abs().sum() > 0)}")

    def after_optimizer(self, _: Any) -> None:
        self._calls.append("moved")

    def finalize(self, _: Any) -> None:
        self._calls.append("end")


def test_hooks_come_in_order() -> None:
    model, calls = make_model(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(Recorder(calls=calls), epochs=1.0)
    with sparsify(model, optimizer, recipe, 2, options=StepOptions(accumulate=2)) as s:
        for i, x in enumerate(batches(2)):
            s.step(model(x).sum(), outputs="o", batch=i)
        model.eval()
        model(x)
        assert calls[-1] == "moved"  # an evaluation begins no step
        model.train()
        model(x)
        assert calls[-1] == "step 1 at 0.5"
    assert calls == [
        "step 0 at 0",
        "loss o 0",
        "loss o 1",
        "gradient True",
        "moved",
        "step 1 at 0.5",
        "end",
    ]
    assert s.run.notes == ["the recipe has 2 steps, the run stopped after 1"]


def test_accumulation_is_the_mean_of_the_batches() -> None:
    models = [make_model(), make_model()]
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in models]
    x = torch.cat(batches(2))
    recipe = Recipe.of(prune(end=0.5), epochs=1.0)
    with sparsify(models[0], optimizers[0], recipe, 2) as s:
        s.step(models[0](x).square().mean())
    with sparsify(models[1], optimizers[1], recipe, 2, options=StepOptions(accumulate=2)) as s:
        for part in x.chunk(2):
            s.step(models[1](part).square().mean())
        assert s.run.step == 1
    torch.testing.assert_close(models[0][0].weight, models[1][0].weight)


def test_amp_with_a_scaler() -> None:
    model = make_model()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    options = StepOptions(scaler=scaler, clip_norm=1.0)
    recipe = Recipe.of(prune(end=0.5), epochs=2.0)
    before = model[0].weight.detach().clone()
    with sparsify(model, optimizer, recipe, STEPS, options=options) as s:
        for x in batches(8):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(x).float().square().sum()
            s.step(loss)
    assert zeros(model).sum() == 24
    kept = ~zeros(model)
    assert (model[0].weight.detach() - before)[kept].abs().max() > 0
    assert torch.isfinite(model[0].weight).all()


def test_clip_norm() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    recipe = Recipe.of(Modifierless(), epochs=1.0)
    with sparsify(model, optimizer, recipe, 1, options=StepOptions(clip_norm=0.25)) as s:
        s.step(model(batches(1)[0]).square().sum() * 100)
    moved = [a.detach() - b for a, b in zip(model.parameters(), before, strict=True)]
    norm = torch.cat([delta.flatten() for delta in moved]).norm()
    torch.testing.assert_close(norm, torch.tensor(0.25), rtol=1e-4, atol=1e-6)


def test_weights_loaded_in_mid_run_are_masked() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dense = copy.deepcopy(model.state_dict())
    with sparsify(model, optimizer, Recipe.of(prune(end=0.5), epochs=1.0), STEPS) as s:
        s.step(model(batches(1)[0]).sum())
        assert model.state_dict().keys() == dense.keys()
        model.load_state_dict(dense)
        assert zeros(model).sum() == 24
    model.load_state_dict(dense)
    assert zeros(model).sum() == 0  # the session is over


def test_state_dict_round_trip_keeps_masks_by_their_zeros() -> None:
    model = make_model()
    with sparsify(model, torch.optim.SGD(model.parameters(), 0.1), Recipe.of(prune()), STEPS) as s:
        for x in batches(STEPS):
            s.step(loss_of(model, x))
    other = make_model(seed=7)
    other.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(other.parameters(), 0.1)
    with sparsify(other, optimizer, Recipe.of(ConstantPruning(), epochs=2.0), STEPS) as s:
        for x in batches(8, seed=3):
            s.step(other(x).square().sum())
    assert torch.equal(zeros(other), zeros(model))
    assert not torch.equal(other[0].weight, model[0].weight)


def test_session_state_goes_on_with_the_same_bits() -> None:
    recipe = Recipe.of(prune(init_sparsity=0.1, final_sparsity=0.8, end=3.0), epochs=4.0)
    whole, first = make_model(), make_model()
    data = batches(16)
    train(whole, recipe, data)

    optimizer = OPTIMIZERS["momentum"](first.parameters())
    s = sparsify(first, optimizer, recipe, STEPS)
    for x in data[:7]:
        s.step(loss_of(first, x))
    saved = copy.deepcopy((s.state_dict(), first.state_dict(), optimizer.state_dict()))
    s.close()

    second = make_model(seed=9)
    optimizer = OPTIMIZERS["momentum"](second.parameters())
    with sparsify(second, optimizer, recipe, STEPS) as s:
        s.load_state_dict(saved[0])
        second.load_state_dict(saved[1])
        optimizer.load_state_dict(saved[2])
        for x in data[7:]:
            s.step(loss_of(second, x))
    assert torch.equal(second[0].weight, whole[0].weight)
    assert torch.equal(second[2].weight, whole[2].weight)


def train(model: nn.Module, recipe: Recipe, data: list[Tensor]) -> Session:
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    with sparsify(model, optimizer, recipe, STEPS) as s:
        for x in data:
            s.step(loss_of(model, x))
    return s


def test_state_of_another_recipe_is_refused() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    s = sparsify(model, optimizer, Recipe.of(prune()), STEPS)
    other = sparsify(model, optimizer, Recipe.of(ConstantPruning(), epochs=1.0), STEPS)
    with pytest.raises(RecipeError, match="the saved run has the modifiers constant_pruning"):
        s.load_state_dict(other.state_dict())
    s.close()
    other.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_moves_no_weight(value: float) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    s = sparsify(model, optimizer, Recipe.of(prune()), STEPS)
    s.step(model(batches(1)[0]).sum())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RunError, match=rf"the loss is -?{value} in step 1 \(epoch 0.25\)"):
        s.step(model(batches(1)[0]).sum() * value)
    assert torch.equal(model.state_dict()["0.weight"], before["0.weight"])
    s.close()


def test_what_does_not_fit_the_model_is_refused_before_training() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(
        RecipeError, match=r"gradual_magnitude\.targets: no layer of the model matches"
    ):
        sparsify(model, optimizer, Recipe.of(prune(targets=("conv",))), STEPS)
    with pytest.raises(RecipeError, match="expected 1 or more, got 0; is the data empty"):
        sparsify(model, optimizer, Recipe.of(prune()), 0)


def test_compiled_model() -> None:
    model = make_model()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with sparsify(compiled, optimizer, Recipe.of(prune(end=0.5), epochs=1.0), STEPS) as s:
        for x in batches(STEPS):
            s.step(compiled(x).square().sum())
    assert zeros(model).sum() == 24


def steep(model: nn.Module) -> Tensor:
    """Zero, with gradients that are infinite once they are scaled."""
    return torch.stack([((p - p.detach()) * 1e38).sum() for p in model.parameters()]).sum()


def overflow(recipe: Recipe, at: int) -> tuple[nn.Sequential, Session]:
    """The model after eight steps, the gradients of one of which are infinite, and its session."""
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with sparsify(model, optimizer, recipe, STEPS, options=StepOptions(scaler=scaler)) as s:
        for step, x in enumerate(batches(8)):
            loss = loss_of(model, x)
            s.step(loss if step != at else loss + steep(model))
    return model, s


@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.parametrize(
    "modifier",
    [
        MovementPruning(final_sparsity=0.75, end=2.0),
        MFACPruning(final_sparsity=0.75, end=2.0, fisher_block=8),
        RigL(sparsity=0.75, update_every=0.25, end=2.0, allocation="uniform"),
        TopKAST(forward_sparsity=0.75, backward_sparsity=0.5, end=2.0),
        NMFlow(pattern="1:4", targets=("2",), end=2.0),
    ],
    ids=lambda modifier: type(modifier).__name__,
)
def test_a_step_that_overflows_leaves_no_trace(modifier: Modifier, at: int) -> None:
    model, s = overflow(Recipe.of(modifier, epochs=2.0), at)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
    pruned = (2,) if isinstance(modifier, NMFlow) else (0, 2)
    for layer in pruned:
        assert s.masks.sparsity(f"{layer}.weight") == 0.75


def test_a_gradient_that_is_not_finite_stops_the_run_before_a_weight_moves(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    options = CheckpointOptions(folder=tmp_path, every=1)
    recipe = Recipe.of(prune(), epochs=1.0)
    s = sparsify(model, optimizer, recipe, STEPS, checkpoints=options)
    data = batches(STEPS)
    s.step(loss_of(model, data[0]))
    kept = copy.deepcopy(model.state_dict())
    # Finite, with a slope that is not: the root of zero.
    loss = loss_of(model, data[1]) + (model[2].bias * 0).sum().sqrt()
    with pytest.raises(RunError, match=r"gradient of 2\.bias is not finite in step 1 .*diverged"):
        s.step(loss)
    s.close()
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    resumed = sparsify(make_model(), optimizer, recipe, STEPS, checkpoints=options)
    assert resumed.run.step == 1
    resumed.close()


def test_a_step_without_a_forward_that_was_seen_may_not_change_weights() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    s = sparsify(model, optimizer, Recipe.of(prune(), epochs=1.0), STEPS)
    model.eval()
    with pytest.raises(RunError, match="no forward of the model in training mode was seen"):
        s.step(loss_of(model, batches(1)[0]))
    s.close()


def test_begin_step_does_for_a_forward_that_is_not_seen() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with sparsify(model, optimizer, Recipe.of(prune(), epochs=1.0), STEPS) as s:
        model.eval()
        for x in batches(STEPS):
            s.begin_step()
            s.step(loss_of(model, x))
    assert zeros(model).sum() == 24


def test_a_model_in_a_session_is_saved_and_copied_without_it(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    s = sparsify(model, optimizer, Recipe.of(prune(), epochs=1.0), STEPS)
    s.step(loss_of(model, batches(1)[0]))
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    for other in (loaded, copy.deepcopy(model)):
        step = s.run.step
        other.train()
        loss_of(other, batches(1)[0]).backward()
        assert s.run.step == step
        assert not s._has_begun
        with torch.no_grad():
            other[0].weight.fill_(1.0)
        other.load_state_dict(other.state_dict())
        assert not zeros(other).any()
    assert zeros(model).sum() == 24
    s.close()


def test_a_run_goes_on_with_as_many_steps_in_an_epoch(tmp_path: Path) -> None:
    options = CheckpointOptions(folder=tmp_path, every=1)
    recipe = Recipe.of(prune(), epochs=2.0)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    s = sparsify(model, optimizer, recipe, STEPS, checkpoints=options)
    s.step(loss_of(model, batches(1)[0]))
    s.close()
    with pytest.raises(RecipeError, match="has 4 steps in an epoch, this one 8"):
        sparsify(make_model(), optimizer, recipe, 8, checkpoints=options)
