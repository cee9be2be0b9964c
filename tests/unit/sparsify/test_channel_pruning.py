"""Channels go together, and a thinned model computes what the masked one did."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.channels import find_channel_groups, thin
from colonnade.sparsify.modifiers.channel_pruning import ChannelPruning


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
    assert thin(thinned, ((x,), {})) == 4 + 3
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
