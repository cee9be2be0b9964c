"""The activation-sparsity regulariser: its measures, and that it makes zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.modifiers.activation_sparsity import ActivationSparsity, measure


def test_measures_of_known_values() -> None:
    values = torch.tensor([3.0, -1.0, 0.0, 0.0])
    assert float(measure(values, "l1")) == 1.0
    assert float(measure(values, "hoyer")) == pytest.approx(16 / 10 / 4)
    assert float(measure(torch.ones(8), "hoyer")) == 1.0
    assert float(measure(torch.zeros(8), "hoyer")) == 0.0


def density_after(alpha: float) -> float:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs = torch.randn(64, 6)
    target = inputs[:, :2]
    recipe = Recipe.of(ActivationSparsity(alpha=alpha), epochs=1.0)
    with sparsify(model, optimizer, recipe, 200) as session:
        for _ in range(200):
            session.step((model(inputs) - target).square().mean())
    assert not model[1]._forward_hooks
    return float((model[1](model[0](inputs)) > 0).float().mean())


def test_it_makes_zeros() -> None:
    assert density_after(0.5) < 0.85 * density_after(0.0)


def test_unknown_layers_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.GELU())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(ActivationSparsity(), epochs=1.0)
    with pytest.raises(RecipeError, match="no module of the model matches 'ReLU'"):
        sparsify(model, optimizer, recipe, 2)
