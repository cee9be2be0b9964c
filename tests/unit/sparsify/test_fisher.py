"""The Fisher of a layer: against the whole matrix in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Modifier, Recipe, sparsify
from colonnade.sparsify.fisher import (
    BlockFisher,
    costs_by_gradients,
    in_blocks,
    removal_costs,
    repair,
    repair_by_gradients,
)
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.mfac import MFACPruning
from colonnade.sparsify.modifiers.obs import OBSPruning

ROWS, COLUMNS, SIZE, SAMPLES, DAMPING = 2, 6, 4, 9, 0.05


def problem(seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(ROWS, COLUMNS, generator=generator)
    return weights, [torch.randn(ROWS, COLUMNS, generator=generator) for _ in range(SAMPLES)]


def blocks() -> Iterator[tuple[int, slice]]:
    for row in range(ROWS):
        yield row, slice(0, 4)
        yield row, slice(4, 6)


def whole_fisher(gradients: list[Tensor], row: int, part: slice) -> Tensor:
    g = torch.stack([gradient[row, part] for gradient in gradients]).double()
    return DAMPING * torch.eye(g.shape[1], dtype=torch.float64) + g.T @ g / len(gradients)


def inverse_of(weights: Tensor, gradients: list[Tensor]) -> Tensor:
    fisher = BlockFisher(weights, SIZE, DAMPING, len(gradients))
    for gradient in gradients:
        fisher.add(gradient)
    return fisher.inverse


def best_without(weights: Tensor, fisher: Tensor, gone: Tensor) -> Tensor:
    """Minimise d^T F d where the weights `gone` become zero."""
    w, stays = weights.double(), ~gone
    moved = w.clone()
    moved[gone] = 0
    if stays.any() and gone.any():
        pull = fisher[stays][:, gone] @ w[gone]
        moved[stays] += torch.linalg.solve(fisher[stays][:, stays], pull)
    return moved


def test_costs_are_those_of_removing_one_weight_alone() -> None:
    weights, gradients = problem()
    costs = removal_costs(weights, inverse_of(weights, gradients), width=1)
    again = costs_by_gradients(weights, in_blocks(gradients, SIZE), DAMPING)
    for row, part in blocks():
        fisher = whole_fisher(gradients, row, part)
        for i in range(fisher.shape[0]):
            gone = torch.arange(fisher.shape[0]) == i
            step = best_without(weights[row, part], fisher, gone) - weights[row, part].double()
            expected = float(step @ fisher @ step / 2)
            assert float(costs[row, part][i]) == pytest.approx(expected, rel=1e-4)
            assert float(again[row, part][i]) == pytest.approx(expected, rel=1e-3)


def test_a_pair_costs_what_removing_both_does() -> None:
    weights, gradients = problem()
    costs = removal_costs(weights, inverse_of(weights, gradients), width=2)
    fisher = whole_fisher(gradients, 1, slice(0, 4))
    gone = torch.tensor([False, False, True, True])
    step = best_without(weights[1, :4], fisher, gone) - weights[1, :4].double()
    expected = float(step @ fisher @ step / 2)
    assert float(costs[1, 2:4].sum()) == pytest.approx(expected, rel=1e-4)
    assert costs[1, 2] == costs[1, 3]


def test_the_weights_that_stay_make_up_for_all_that_go() -> None:
    weights, gradients = problem()
    mask = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]).bool()
    repaired = repair(weights, mask, inverse_of(weights, gradients))
    again = repair_by_gradients(weights, mask, in_blocks(gradients, SIZE), DAMPING)
    assert bool((repaired[~mask] == 0).all())
    for row, part in blocks():
        fisher = whole_fisher(gradients, row, part)
        expected = best_without(weights[row, part], fisher, ~mask[row, part])
        torch.testing.assert_close(repaired[row, part].double(), expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(again[row, part].double(), expected, rtol=1e-3, atol=1e-4)


def trained() -> tuple[nn.Linear, Tensor, Tensor]:
    """A linear layer at the minimum of its loss, with inputs that say much of one another."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(400, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    y = x @ torch.randn(8, 3, generator=generator) + torch.randn(400, 3, generator=generator) / 10
    layer = nn.Linear(8, 3, bias=False)
    layer.weight.data = torch.linalg.lstsq(x, y).solution.T.contiguous()
    return layer, x, y


def loss_after(modifier: Modifier, num_steps: int) -> float:
    layer, x, y = trained()
    optimizer = torch.optim.SGD(layer.parameters(), 0.0)

    def losses() -> Iterator[Tensor]:
        for i in range(len(x)):
            yield (layer(x[i : i + 1]) - y[i : i + 1]).square().sum()

    recipe = Recipe.of(modifier, epochs=1.0)
    with sparsify(layer, optimizer, recipe, num_steps, sample_losses=losses) as s:
        for i in range(num_steps):
            s.step((layer(x[i : i + 1]) - y[i : i + 1]).square().sum())
    assert int((layer.weight == 0).sum()) == 12
    return float((layer(x) - y).detach().square().mean())


def test_both_lose_less_than_magnitude_on_a_trained_layer() -> None:
    asked: dict[str, Any] = {"init_sparsity": 0.0, "final_sparsity": 0.5, "start": 0.9, "end": 1.0}
    by_magnitude = loss_after(GradualMagnitude(**asked), 64)
    by_obs = loss_after(OBSPruning(**asked, num_grads=400, fisher_block=8, damping=1e-4), 64)
    by_mfac = loss_after(MFACPruning(**asked, num_grads=64, damping=1e-2), 64)
    assert by_obs < by_magnitude / 2
    assert by_mfac < by_magnitude


def test_obs_needs_a_source_of_gradients_that_lasts() -> None:
    layer, _, _ = trained()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    recipe = Recipe.of(OBSPruning(final_sparsity=0.5, end=1.0, num_grads=3), epochs=1.0)
    with pytest.raises(RecipeError, match="sample_losses"):
        sparsify(layer, optimizer, recipe, 2)

    def one_loss() -> Iterator[Tensor]:
        yield layer.weight.square().sum()

    with (
        pytest.raises(RecipeError, match="ended before 3"),
        sparsify(layer, optimizer, recipe, 2, sample_losses=one_loss) as s,
    ):
        s.step(layer.weight.square().sum())
