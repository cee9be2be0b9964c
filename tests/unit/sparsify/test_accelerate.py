"""A plain loop whose model, optimizer and loader went through accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.save import CheckpointOptions

accelerate = pytest.importorskip("accelerate")

RECIPE = Recipe.of(GradualMagnitude(final_sparsity=0.75, end=1.0), epochs=2.0)


class StopHereError(Exception):
    """Ends a run in the midst."""


def train(folder: Path, *, prepared: bool, stop_at: int = -1) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    optimizer: Any = torch.optim.AdamW(model.parameters(), 0.01)
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(32, 8, generator=generator))
    loader: Any = DataLoader(data, batch_size=8, shuffle=True)
    inner = model
    if prepared:
        accelerator = accelerate.Accelerator(cpu=True)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    options = CheckpointOptions(folder=folder, every=1)
    with sparsify(model, optimizer, RECIPE, len(loader), checkpoints=options) as s:
        for _ in s.epochs():
            for (x,) in s.batches(loader):
                s.step(model(x).square().mean())
                if s.run.step == stop_at:
                    raise StopHereError
    return {name: value.clone() for name, value in inner.state_dict().items()}


def test_prepared_or_not_the_result_is_the_same(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", prepared=False)
    prepared = train(tmp_path / "prepared", prepared=True)
    assert (plain["0.weight"] == 0).float().mean() == 0.75
    for name, value in plain.items():
        assert torch.equal(value, prepared[name]), name


def test_a_prepared_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", prepared=True)
    with pytest.raises(StopHereError):
        train(tmp_path / "broken", prepared=True, stop_at=3)
    resumed = train(tmp_path / "broken", prepared=True)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
