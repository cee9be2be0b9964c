"""Modifiers whose masks or weights move during the run: movement, AC/DC, RigL, Top-KAST, powers."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Modifier, Recipe, Session, sparsify
from colonnade.sparsify.modifiers.acdc import ACDC
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.mfac import MFACPruning
from colonnade.sparsify.modifiers.movement import MovementPruning
from colonnade.sparsify.modifiers.nm_flow import NMFlow
from colonnade.sparsify.modifiers.obs import OBSPruning
from colonnade.sparsify.modifiers.powerpropagation import Powerpropagation
from colonnade.sparsify.modifiers.rigl import RigL, erdos_renyi
from colonnade.sparsify.modifiers.top_kast import TopKAST


def make_layer(weights: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights), bias=False)
    layer.weight.data = torch.tensor(weights)
    return layer


def session(model: nn.Module, *modifiers: Modifier, epochs: float, **options: Any) -> Session:
    optimizer = torch.optim.SGD(model.parameters(), **({"lr": 0.1} | options))
    return sparsify(model, optimizer, Recipe.of(*modifiers, epochs=epochs), 1)


def slope(model: nn.Linear, gradient: list[list[float]]) -> Tensor:
    """A loss with exactly this gradient."""
    return (model(torch.eye(model.in_features)).T * torch.tensor(gradient)).sum()


def test_movement_prunes_what_shrinks_though_it_is_large() -> None:
    layer = make_layer([[4.0, 1.0, -3.0, 0.5]])
    modifier = MovementPruning(start=2.0, end=3.0, init_sparsity=0.5, final_sparsity=0.5)
    with session(layer, modifier, epochs=3.0) as s:
        for _ in range(3):
            # The first and third weight move towards zero, the others away from it.
            s.step(slope(layer, [[1.0, -1.0, -1.0, -1.0]]))
    assert (layer.weight != 0).tolist() == [[False, True, False, True]]


def test_movement_keeps_the_values_of_pruned_weights_and_brings_them_back() -> None:
    layer = make_layer([[1.0, 2.0, 3.0, 4.0]])
    modifier = MovementPruning(end=5.0, init_sparsity=0.5, final_sparsity=0.5)
    with session(layer, modifier, epochs=5.0, lr=0.0) as s:
        seen = []
        for gradient in ([-5.0, -5.0, 1.0, 1.0], [9.0, 9.0, -9.0, -9.0], [0.0] * 4, [0.0] * 4):
            s.step(slope(layer, [gradient]))
            seen.append(layer.weight.detach()[0].tolist())
        [[_, state]] = s.state_dict()["actions"]
    # Magnitudes; then the scores 5, 10, -3, -4; then -4, -8, 24, 32.
    assert seen[0] == [0.0, 0.0, 3.0, 4.0]
    assert seen[1] == [1.0, 2.0, 0.0, 0.0]
    assert seen[2:] == [[0.0, 0.0, 3.0, 4.0]] * 2
    assert state["sums"]["weight"].tolist() == [[-4.0, -8.0, 24.0, 32.0]]
    assert state["values"]["weight"].tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_acdc_alternates_and_ends_compressed() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(10, 10)
    zeros = []
    modifier = ACDC(sparsity=0.8, phase=2.0, end=9.0)
    with session(layer, modifier, epochs=10.0, momentum=0.9) as s:
        for _ in range(10):
            s.step(layer(torch.randn(4, 10)).square().sum())
            zeros.append(int((layer.weight == 0).sum()))
    assert zeros == [0, 0, 80, 80, 0, 0, 80, 80, 80, 80]


def test_acdc_clears_the_momentum_of_weights_that_come_back() -> None:
    layer = make_layer([[1.0, 0.1]])
    with session(layer, ACDC(sparsity=0.5, phase=1.0, end=4.0), epochs=4.0, momentum=0.5) as s:
        s.step(slope(layer, [[0.0, 1.0]]))
        s.step(slope(layer, [[0.0, 0.0]]))
        assert float(layer.weight.detach()[0, 1]) == 0.0
        s.step(slope(layer, [[0.0, 0.0]]))
        assert float(layer.weight.detach()[0, 1]) == 0.0, "an old momentum moved it"
        s.step(slope(layer, [[0.0, 0.0]]))


def test_rigl_moves_to_the_largest_gradients_and_keeps_the_count() -> None:
    layer = make_layer([[4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    modifier = RigL(sparsity=0.5, update_every=1.0, end=10.0, fraction=0.3, allocation="uniform")
    with session(layer, modifier, epochs=10.0) as s:
        s.step(slope(layer, [[0.0] * 8]))
        before = layer.weight.detach().clone()
        # 29% of 4 weights: one of them moves.
        s.step(slope(layer, [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 1.0]]))
        assert s.masks["weight"].tolist() == [[True] * 3 + [False] * 3 + [True, False]]
        assert torch.equal(layer.weight[0, :3], before[0, :3]), "an update of masks moves no weight"
        assert float(layer.weight.detach()[0, 6]) == 0.0
        s.step(slope(layer, [[0.0] * 6 + [5.0, 0.0]]))
        for _ in range(7):
            s.step(slope(layer, [[0.0] * 6 + [5.0, 0.0]]))
    assert int(s.masks["weight"].sum()) == 4


def test_rigl_moves_within_the_groups_of_nm() -> None:
    layer = make_layer([[4.0, 3.0, 2.0, 1.0, 0.5, 8.0, 7.0, 6.0]])
    modifier = RigL(
        sparsity=0.5, update_every=1.0, end=10.0, fraction=0.5, allocation="uniform", pattern="2:4"
    )
    with session(layer, modifier, epochs=10.0) as s:
        s.step(slope(layer, [[0.0] * 8]))
        first, second = [True, True, False, False], [False, True, True, False]
        assert s.masks["weight"].tolist() == [first + second]
        # Half of 4: 3.0 and 4.0 are the smallest, and the largest gradient of their group is taken.
        s.step(slope(layer, [[0.0, 0.0, 1.0, 2.0, 9.0, 0.0, 0.0, 9.0]]))
        assert s.masks["weight"].tolist() == [[False, False, True, True, *second]]
        for step in range(8):
            s.step(slope(layer, torch.randn(1, 8, generator=seeded(step)).tolist()))
            assert s.masks["weight"].reshape(-1, 4).sum(1).tolist() == [2, 2]


def test_rigl_keeps_what_it_cannot_move_within_a_group() -> None:
    layer = make_layer([[4.0, 3.0, 2.0, 1.0]])
    modifier = RigL(
        sparsity=0.25, update_every=1.0, end=9.0, fraction=1.0, allocation="uniform", pattern="3:4"
    )
    with session(layer, modifier, epochs=9.0) as s:
        for _ in range(2):
            s.step(slope(layer, [[0.0, 0.0, 0.0, 1.0]]))
    assert s.masks["weight"].tolist() == [[True, True, False, True]]


@pytest.mark.parametrize(("pattern", "allocation"), [("1x4", "erk"), ("4x1", "uniform")])
def test_rigl_moves_whole_blocks(pattern: str, allocation: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 4))
    modifier = RigL(sparsity=0.5, update_every=1.0, end=6.0, pattern=pattern, allocation=allocation)
    masks, counts = [], []
    with session(model, modifier, epochs=6.0) as s:
        for _ in range(6):
            s.step(model(torch.randn(2, 8, 4, 4)).square().sum())
            masks.append(s.masks["0.weight"])
            counts.append([int(s.masks[name].sum()) for name in s.masks])
    assert not torch.equal(masks[0], masks[-1])
    assert all(count == counts[0] for count in counts)
    assert sum(counts[0]) == pytest.approx(352, abs=4)
    for mask in masks:
        blocks = mask.movedim(0 if pattern == "4x1" else 1, -1).reshape(-1, 4).sum(1)
        assert set(blocks.tolist()) == {0, 4}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_erdos_renyi_shares_out_everything_and_fills_small_layers_first() -> None:
    sizes, shares = [100, 1000, 5000], [0.2, 0.06, 0.03]
    for total in (100, 600, 3000, 6100):
        kept = erdos_renyi(sizes, shares, total)
        assert abs(sum(kept) - total) <= len(sizes)
        assert all(0 <= n <= size for n, size in zip(kept, sizes, strict=True))
        densities = [n / size for n, size in zip(kept, sizes, strict=True)]
        assert all(a >= b for a, b in itertools.pairwise(densities))


def test_top_kast_uses_the_largest_and_lets_the_next_ones_grow() -> None:
    layer = make_layer([[4.0, 3.0, 2.9, 0.1]])
    modifier = TopKAST(forward_sparsity=0.5, backward_sparsity=0.25, decay=0.0)
    with session(layer, modifier, epochs=3.0, weight_decay=0.5) as s:
        s.begin_step()
        assert layer.weight.detach().tolist() == [[4.0, 3.0, 0.0, 0.0]]
        # The third is not used yet, but it moves; the last one does not.
        s.step(slope(layer, [[4.0, 3.0, -9.0, -9.0]]))
        used = layer.weight.detach()[0]
        assert (used != 0).tolist() == [True, False, True, False]
        assert float(used[2]) == pytest.approx(2.9 + 0.9 - 0.1 * 0.5 * 2.9)
        for _ in range(2):
            s.step(slope(layer, [[0.0] * 4]))
    assert s.masks["weight"].tolist() == [[True, False, True, False]]


def test_top_kast_pulls_those_that_wait_harder() -> None:
    layer = make_layer([[4.0, 2.0]])
    modifier = TopKAST(forward_sparsity=0.5, backward_sparsity=0.0, decay=0.1)
    with session(layer, modifier, epochs=2.0, lr=1.0) as s:
        s.step(slope(layer, [[0.0, 0.0]]))
        [saved] = [state for name, state in s.state_dict()["actions"] if name == "top_kast"]
        assert saved["all"]["weight"].tolist() == [[pytest.approx(3.6), pytest.approx(1.6)]]
        s.step(slope(layer, [[0.0, 0.0]]))


def test_powers_keep_the_function_and_move_large_weights_faster() -> None:
    layer = make_layer([[4.0, -1.0, 0.25]])
    with session(layer, Powerpropagation(alpha=2.0, end=2.0), epochs=3.0, lr=0.01) as s:
        s.begin_step()
        assert layer.weight.detach().tolist() == [[4.0, -1.0, 0.25]]
        s.step(slope(layer, [[1.0, 1.0, 1.0]]))
        # v = 2, -1, 0.5 moves by 0.01 * 2 |v|.
        expected = [1.96**2, -(1.02**2), 0.49**2]
        assert layer.weight.detach().tolist()[0] == pytest.approx(expected, rel=1e-5)
        s.step(slope(layer, [[0.0, 0.0, 0.0]]))
        s.step(slope(layer, [[1.0, 1.0, 1.0]]))
    assert layer.weight.detach().tolist()[0] == pytest.approx([e - 0.01 for e in expected])


def test_powers_and_masks_together() -> None:
    layer = make_layer([[4.0, -1.0, 0.25, 2.0]])
    prune = GradualMagnitude(init_sparsity=0.5, final_sparsity=0.5, start=1.0, end=2.0)
    with session(layer, Powerpropagation(), prune, epochs=4.0, momentum=0.9) as s:
        for _ in range(4):
            s.step(slope(layer, [[0.1, 0.1, 0.1, 0.1]]))
    assert (layer.weight == 0).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ACDC(sparsity=1.0), "sparsity"),
        (lambda: ACDC(sparsity=0.5, pattern="2:4"), "scope"),
        (lambda: RigL(sparsity=0.5, update_every=0.0), "update_every"),
        (lambda: RigL(sparsity=0.5, update_every=1.0, fraction=0.0), "fraction"),
        (lambda: RigL(sparsity=0.5, update_every=1.0, pattern="2:4"), "allocation"),
        (
            lambda: RigL(sparsity=0.7, update_every=1.0, pattern="2:4", allocation="uniform"),
            "2:4 is a sparsity of 0.5, got 0.7",
        ),
        (lambda: TopKAST(forward_sparsity=0.5, backward_sparsity=0.6), "backward_sparsity"),
        (lambda: Powerpropagation(alpha=0.5), "alpha"),
    ],
)
def test_parameters_that_make_no_sense(make: Any, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        make()


@pytest.mark.parametrize(
    "modifier",
    [
        MovementPruning(end=6.0, final_sparsity=0.5, update_every=1.0),
        ACDC(sparsity=0.5, phase=2.0, end=8.0),
        RigL(sparsity=0.5, update_every=2.0, end=8.0),
        TopKAST(forward_sparsity=0.5, backward_sparsity=0.2),
        Powerpropagation(),
    ],
    ids=lambda modifier: type(modifier).__name__,
)
def test_a_resumed_run_ends_with_the_same_bits(modifier: Modifier) -> None:
    def run(interrupt: int | None) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
        batches = [torch.randn(5, 6) for _ in range(8)]
        s = session(model, modifier, epochs=8.0, momentum=0.9)
        for step, x in enumerate(batches):
            if step == interrupt:
                saved = (s.state_dict(), model.state_dict(), s.run.optimizer.state_dict())
                model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
                s = session(model, modifier, epochs=8.0, momentum=0.9)
                s.load_state_dict(saved[0])
                model.load_state_dict(saved[1])
                s.run.optimizer.load_state_dict(saved[2])
            s.step(model(x).square().sum())
        s.finalize()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(run(None), run(5))


def losses_of(model: nn.Module) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(2)
    while True:
        yield model(torch.randn(5, 8, generator=generator)).square().sum()


STEPPED: list[tuple[Modifier, int]] = [
    (MovementPruning(end=8.0, init_sparsity=0.5, final_sparsity=0.5), 32),
    (MFACPruning(end=8.0, init_sparsity=0.5, final_sparsity=0.5), 32),
    (OBSPruning(end=8.0, init_sparsity=0.5, final_sparsity=0.5, num_grads=4), 32),
    (ACDC(sparsity=0.5, phase=1.0, end=8.0, scope="layer"), 32),
    (RigL(sparsity=0.5, update_every=1.0, end=8.0, allocation="uniform"), 32),
    (NMFlow(pattern="2:4", flow="ste", end=8.0), 32),
]


@pytest.mark.parametrize(
    ("modifier", "kept"), STEPPED, ids=[type(modifier).__name__ for modifier, _ in STEPPED]
)
@pytest.mark.parametrize("skipped", [0, 3, 7])
def test_a_skipped_step_changes_no_score_and_no_count(
    modifier: Modifier, kept: int, skipped: int
) -> None:
    """A step that the gradient scaler gives up has no gradients at all."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    s = sparsify(
        model,
        optimizer,
        Recipe.of(modifier, epochs=8.0),
        1,
        sample_losses=lambda: losses_of(model),
    )
    losses = losses_of(model)
    for step in range(8):
        if step != skipped:
            s.step(next(losses))
        else:
            s.begin_step()
            optimizer.zero_grad()
            before = copy.deepcopy(state_of(s))
            s.before_optimizer()
            s.after_optimizer()
            torch.testing.assert_close(state_of(s), before, rtol=0, atol=0)
        for name, mask in s.masks.state_dict().items():
            assert int(mask.sum()) == (kept if name == "0.weight" else kept // 2), step
    s.finalize()
    assert int(s.masks["0.weight"].sum()) == kept
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def state_of(s: Session) -> list[Any]:
    [(_, state)] = s.state_dict()["actions"]
    return [s.masks.state_dict(), state, s.run.model.state_dict()]
