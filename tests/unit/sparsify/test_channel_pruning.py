"""Channels go together, and a thinned model computes what the masked one did."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.channels import Thinned, find_channel_groups, thin
from colonnade.sparsify.modifiers.channel_pruning import ChannelPruning
from colonnade.sparsify.recipe import read_recipe
from colonnade.sparsify.save import CheckpointOptions


class Residual(nn.Module):
    """Two convolutions whose outputs are added, one more, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 6, 1)
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        z = torch.relu(self.second_norm(self.second(y)) + y)
        z = torch.relu(self.third(z)).mean((2, 3))
        return torch.as_tensor(self.classifier(z))


@dataclass
class Batch:
    """Inputs that are not only tensors and plain values."""

    x: Tensor


class Named(nn.Module):
    """Takes such inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, batch: Batch) -> Tensor:
        return torch.as_tensor(self.last(torch.relu(self.first(batch.x))))


def make_model() -> Residual:
    torch.manual_seed(0)
    return Residual()


def test_groups_hold_what_is_added_together_and_spare_the_outputs() -> None:
    model = make_model()
    groups = find_channel_groups(model, ((torch.randn(1, 3, 8, 8),), {}))
    by_size = {group.size: group for group in groups}
    assert sorted(by_size) == [6, 8]
    assert set(by_size[8].makers) == {model.first, model.second}
    assert set(by_size[8].norms) == {model.first_norm, model.second_norm}
    assert by_size[6].makers == (model.third,)
    assert model.training


def test_a_thinned_model_computes_what_the_masked_one_did() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    recipe = Recipe.of(ChannelPruning(sparsity=0.5, end=4.0, thin=False), epochs=6.0)
    with sparsify(model, optimizer, recipe, 1) as s:
        for _ in range(6):
            s.step(model(torch.randn(4, 3, 8, 8)).square().sum())
    thinned = copy.deepcopy(model)
    x = torch.randn(2, 3, 8, 8)
    assert thin(thinned, ((x,), {})) == Thinned(removed=4 + 3, constant=0)
    assert thinned.second.weight.shape == (4, 4, 3, 3)
    assert thinned.third.weight.shape == (3, 4, 1, 1)
    assert thinned.classifier.weight.shape == (5, 3)
    torch.testing.assert_close(thinned.eval()(x), model.eval()(x))


def test_the_run_ends_with_a_smaller_model() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    recipe = Recipe.of(ChannelPruning(sparsity=0.25, end=1.0), epochs=2.0)
    with sparsify(model, optimizer, recipe, 2) as s:
        for _ in range(4):
            s.step(model(torch.randn(4, 3, 8, 8)).square().sum())
    assert model.first.weight.shape == (6, 3, 3, 3)
    assert "channels taken out" in s.run.notes[-1]


ACTIVATIONS = {"relu": nn.ReLU(), "sigmoid": nn.Sigmoid(), "softplus": nn.Softplus()}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("is_pooled", [True, False])
def test_thinning_keeps_the_function_behind_any_activation(name: str, is_pooled: bool) -> None:
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d(1) if is_pooled else nn.Identity()
    inner = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), ACTIVATIONS[name])
    model = nn.Sequential(*inner, pool, nn.Flatten(), nn.Linear(8 if is_pooled else 128, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    recipe = Recipe.of(ChannelPruning(sparsity=0.5, end=1.0), epochs=1.0)
    x = torch.randn(2, 3, 6, 6)
    with sparsify(model, optimizer, recipe, 2) as s:
        for _ in range(2):
            s.step(model(x).square().sum())
        s.begin_step()
        masked = model(x)
    torch.testing.assert_close(model(x), masked)
    if name == "relu":
        assert s.run.notes == ["8 channels taken out of the model"]
    else:
        # A removed channel's constant would be missing in what the classifier adds up.
        assert s.run.notes[0] == "4 channels taken out of the model"
        assert "4 channels of zeros were left" in s.run.notes[1]


def run_to_the_end(recipe: str, folder: Path, *, is_killed: bool) -> Residual:
    torch.manual_seed(1)
    data = [torch.randn(4, 3, 8, 8) for _ in range(4)]
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    checkpoints = CheckpointOptions(folder=folder, every=3)
    session = sparsify(model, optimizer, read_recipe(recipe), 4, checkpoints=checkpoints)
    for _ in session.epochs():
        for x in session.batches(data):
            session.step(model(x).square().sum())
    if not is_killed:
        session.finalize()
    session.close()
    return model


@pytest.mark.parametrize("end", [1, 2])
def test_a_run_killed_before_it_was_finalized_ends_the_same(tmp_path: Path, end: int) -> None:
    recipe = f"epochs: 2\nmodifiers: [{{channel_pruning: {{sparsity: 0.5, end: {end}}}}}]"
    whole = run_to_the_end(recipe, tmp_path / "whole", is_killed=False)
    run_to_the_end(recipe, tmp_path / "killed", is_killed=True)
    resumed = run_to_the_end(recipe, tmp_path / "killed", is_killed=False)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert found["third.weight"].shape == (3, 4, 1, 1)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_step_may_begin_before_the_model_is_called() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    recipe = Recipe.of(ChannelPruning(sparsity=0.5, end=1.0), epochs=2.0)
    session = sparsify(model, optimizer, recipe, 1)
    session.begin_step()
    with pytest.raises(RecipeError, match="the model was not called in this step"):
        session.before_optimizer()
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    session.before_optimizer()
    session.after_optimizer()
    session.close()


def test_inputs_that_no_checkpoint_holds_are_asked_for_again() -> None:
    recipe = Recipe.of(ChannelPruning(sparsity=0.5, end=1.0), epochs=1.0)
    model = Named()
    session = sparsify(model, torch.optim.SGD(model.parameters(), 0.05), recipe, 1)
    session.step(model(Batch(torch.randn(4, 6))).square().sum())
    state = session.state_dict()
    session.close()
    again = sparsify(model, torch.optim.SGD(model.parameters(), 0.05), recipe, 1)
    again.load_state_dict(state)
    with pytest.raises(RecipeError, match="call it once"):
        again.finalize()
    model(Batch(torch.randn(4, 6)))
    again.finalize()
    again.close()
    assert model.last.weight.shape == (3, 4)


def test_at_least_one_channel_stays() -> None:
    model = make_model()
    for group in find_channel_groups(model, ((torch.randn(1, 3, 8, 8),), {})):
        for parameter in group.parameters():
            parameter.data.zero_()
    thin(model, ((torch.randn(1, 3, 8, 8),), {}))
    assert model.third.weight.shape == (1, 1, 1, 1)


def test_a_model_without_channels_is_refused() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(ChannelPruning(sparsity=0.5, end=1.0), epochs=1.0)
    with (
        pytest.raises(RecipeError, match="no layer"),
        sparsify(model, optimizer, recipe, 2) as s,
    ):
        s.step(model(torch.randn(3, 4)).sum())
