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
from colonnade.sparsify.modifiers.activation_sparsity import ActivationSparsity
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.mfac import MFACPruning
from colonnade.sparsify.modifiers.obs import OBSPruning
from colonnade.sparsify.modifiers.trainable import Trainable

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
    return fisher.inverse()


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


def ranks_agree(found: Tensor, expected: Tensor) -> bool:
    ranks = torch.stack([values.argsort().argsort().double() for values in (found, expected)])
    return float(torch.corrcoef(ranks)[0, 1]) > 0.99


def exact_fisher(gradients: Tensor, damping: float) -> Tensor:
    g = gradients.double()
    return damping * torch.eye(g.shape[1], dtype=torch.float64) + g.T @ g / len(g)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("size", [8, 32, 100])
@pytest.mark.parametrize("rank", [4, 1000])
def test_gradients_of_any_scale(scale: float, size: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(size)
    weights = torch.randn(1, size, generator=generator)
    spread = torch.randn(1024, min(rank, size), generator=generator)
    gradients = spread @ torch.randn(min(rank, size), size, generator=generator) * scale
    mask = torch.arange(size)[None] % 2 == 0

    fisher = BlockFisher(weights, size, 1e-7, len(gradients))
    for gradient in gradients:
        fisher.add(gradient[None])
    whole = exact_fisher(gradients, 1e-7)
    expected = weights[0].double().square() / (2 * torch.linalg.inv(whole).diagonal())
    costs = removal_costs(weights, fisher.inverse(), width=1)[0]
    assert ranks_agree(costs, expected)
    torch.testing.assert_close(costs.double(), expected, rtol=1e-2, atol=0)
    repaired = repair(weights, mask, fisher.inverse())[0].double()
    best = best_without(weights[0], whole, ~mask[0])
    torch.testing.assert_close(repaired, best, rtol=1e-2, atol=1e-3)

    last = gradients[:64]
    whole = exact_fisher(last, 1e-5)
    expected = weights[0].double().square() / (2 * torch.linalg.inv(whole).diagonal())
    costs = costs_by_gradients(weights, last[None], 1e-5)[0]
    assert ranks_agree(costs, expected)
    torch.testing.assert_close(costs.double(), expected, rtol=1e-2, atol=0)
    repaired = repair_by_gradients(weights, mask, last[None], 1e-5)[0].double()
    best = best_without(weights[0], whole, ~mask[0])
    torch.testing.assert_close(repaired, best, rtol=1e-2, atol=1e-3)


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def losses_of(model: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        yield model(torch.randn(4, 6, generator=generator).to(dtype)).square().mean()


def train(model: nn.Sequential, *modifiers: Modifier, steps: int = 4) -> list[str]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    dtype = model[0].weight.dtype
    with sparsify(
        model,
        optimizer,
        Recipe.of(*modifiers, epochs=1.0),
        steps,
        sample_losses=lambda: losses_of(model, dtype),
    ) as s:
        losses = losses_of(model, dtype)
        for _ in range(steps):
            s.step(next(losses))
    return s.run.notes


OBS = OBSPruning(init_sparsity=0.5, final_sparsity=0.5, end=0.5, num_grads=8)
MFAC = MFACPruning(init_sparsity=0.5, final_sparsity=0.5, end=0.5)


@pytest.mark.parametrize("modifier", [OBS, MFAC], ids=["obs", "mfac"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_keep_their_type(modifier: Modifier, dtype: torch.dtype) -> None:
    model = make_net().to(dtype)
    train(model, modifier)
    assert model[0].weight.dtype == dtype
    assert model[0].weight.isfinite().all()
    assert (model[0].weight == 0).sum() == 24


def test_a_frozen_layer_is_left_out_by_obs() -> None:
    model = make_net()
    model[0].weight.requires_grad_(False)
    notes = train(model, OBS)
    assert (model[0].weight != 0).all()
    assert (model[3].weight == 0).sum() == 8
    assert notes == ["0.weight: left dense, it is frozen and has no gradients"]
    named = OBSPruning(targets=("0",), final_sparsity=0.5, end=0.5, num_grads=8)
    with pytest.raises(RecipeError, match=r"layer 0\.weight cannot be pruned: it is frozen"):
        train(model, named)


def test_a_layer_that_is_frozen_in_mid_run_goes_by_magnitude() -> None:
    model = make_net()
    smallest = model[0].weight.detach().abs().flatten().argsort()[:24]
    train(model, Trainable(targets=("0",), value=False), OBS)
    gone = (model[0].weight == 0).flatten().nonzero().flatten()
    assert set(gone.tolist()) == set(smallest.tolist())


def test_samples_leave_nothing_behind_in_the_model() -> None:
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    norm = model[1]
    seen = []

    def losses() -> Iterator[Tensor]:
        for loss in losses_of(model):
            seen.append(norm.training)
            yield loss

    recipe = Recipe.of(OBS, epochs=1.0)
    session = sparsify(model, optimizer, recipe, 4, sample_losses=losses)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    session.begin_step()
    assert seen == [True] * 8
    assert (model[0].weight == 0).sum() == 24
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])


def test_samples_are_not_a_part_of_the_activations_of_a_step() -> None:
    plain, both = make_net(), make_net()
    regularise = ActivationSparsity(alpha=0.5)
    train(plain, regularise, steps=1)
    none = OBSPruning(init_sparsity=0.0, final_sparsity=0.0, end=0.5, num_grads=8)
    train(both, none, regularise, steps=1)
    assert torch.equal(plain[0].weight, both[0].weight)
    train(make_net(), regularise, OBS)
    train(make_net(), OBS, regularise)


def test_a_sample_that_is_not_finite_does_not_count() -> None:
    def with_samples(*factors: float) -> tuple[Tensor, list[str]]:
        model = make_net()

        def losses() -> Iterator[Tensor]:
            for factor, loss in zip(factors, losses_of(model), strict=False):
                yield loss * factor

        modifier = OBSPruning(final_sparsity=0.5, start=0.5, end=0.5, num_grads=len(factors))
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        with sparsify(
            model, optimizer, Recipe.of(modifier, epochs=1.0), 1, sample_losses=losses
        ) as s:
            s.step(next(losses_of(model)))
        return model[0].weight.detach(), s.run.notes

    good, notes = with_samples(1.0, 0.0, 1.0)
    assert not notes
    found, notes = with_samples(1.0, float("nan"), 1.0)
    assert torch.equal(found, good)
    assert notes == ["step 0: 1 of 3 sampled gradients were not finite and count as zero"]
