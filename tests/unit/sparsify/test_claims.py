"""Two modifiers that would decide about one weight at the same time are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Modifier, Recipe, Session, sparsify
from colonnade.sparsify.modifiers.acdc import ACDC
from colonnade.sparsify.modifiers.channel_pruning import ChannelPruning
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.nm_flow import NMFlow
from colonnade.sparsify.modifiers.powerpropagation import Powerpropagation
from colonnade.sparsify.modifiers.quantization import Quantization
from colonnade.sparsify.modifiers.rigl import RigL
from colonnade.sparsify.modifiers.top_kast import TopKAST
from colonnade.sparsify.oneshot.modifiers import SparseGPT


def start(*modifiers: Modifier) -> Session:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(*modifiers, epochs=4.0)
    return sparsify(model, optimizer, recipe, 1, sample_losses=lambda: iter(()))


def gradual(**changes: Any) -> GradualMagnitude:
    return GradualMagnitude(**({"final_sparsity": 0.5, "end": 2.0} | changes))


TOP_KAST = TopKAST(forward_sparsity=0.5, backward_sparsity=0.25, end=4.0)


@pytest.mark.parametrize(
    "two",
    [
        (gradual(), gradual(final_sparsity=0.75)),
        (gradual(end=3.0), gradual(start=2.0, end=4.0)),
        (gradual(), RigL(sparsity=0.5, update_every=1.0, end=4.0)),
        (gradual(), ACDC(sparsity=0.5, phase=1.0, end=4.0)),
        (gradual(), NMFlow(pattern="2:4", end=4.0)),
        (gradual(), ConstantPruning()),
        (gradual(), SparseGPT(start=1.0, sparsity=0.5)),
        (NMFlow(pattern="2:4", end=4.0), TOP_KAST),
        (Powerpropagation(), NMFlow(pattern="2:4", end=4.0)),
        (TOP_KAST, Powerpropagation()),
    ],
    ids=lambda two: "+".join(type(one).__name__ for one in two),
)
def test_two_at_once_are_refused(two: tuple[Modifier, Modifier]) -> None:
    with pytest.raises(RecipeError, match=r"0\.weight is .*'s from .* give each its own layers"):
        start(*two)


@pytest.mark.parametrize(
    "these",
    [
        (gradual(targets=("0",)), gradual(targets=("2",), final_sparsity=0.75)),
        (gradual(end=2.0), gradual(start=2.0, end=4.0, init_sparsity=0.5, final_sparsity=0.75)),
        (gradual(), ConstantPruning(start=2.0)),
        (SparseGPT(sparsity=0.5), ConstantPruning()),
        (Powerpropagation(), gradual()),
        (gradual(), Quantization(start=1.0)),
    ],
    ids=lambda these: "+".join(type(one).__name__ for one in these),
)
def test_others_go_together(these: tuple[Modifier, ...]) -> None:
    start(*these).close()


def test_channels_claim_what_they_find_when_they_find_it() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(gradual(), ChannelPruning(sparsity=0.5, end=2.0), epochs=4.0)
    s = sparsify(model, optimizer, recipe, 1)
    with pytest.raises(RecipeError, match=r"0\.weight is gradual_magnitude's"):
        model(torch.ones(1, 8))
    s.close()
