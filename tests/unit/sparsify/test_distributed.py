"""Two processes train one pruned network, killed and resumed as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.save import CheckpointOptions

BATCHES = 4


def train(rank: int, folder: str, stop_at: int) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous-{stop_at}", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    torch.manual_seed(rank)
    model = DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    data = TensorDataset(torch.randn(32, 6, generator=torch.Generator().manual_seed(1)))
    sampler: DistributedSampler[object] = DistributedSampler(data, shuffle=True)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    recipe = Recipe.of(GradualMagnitude(final_sparsity=0.75, end=2.0), epochs=4.0)
    run = Path(folder) / ("whole" if stop_at < 0 else "broken")
    options = CheckpointOptions(folder=run, every=3)
    s = sparsify(model, optimizer, recipe, BATCHES, checkpoints=options)
    for _ in s.epochs():
        for (x,) in s.batches(loader):
            s.step(torch.tanh(model(x)).square().sum())
            if s.run.step == stop_at and stop_at < 10:
                s.close()
                dist.destroy_process_group()
                return
    s.finalize()
    s.close()
    torch.save(inner.state_dict(), f"{folder}/{run.name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    for stop_at in (-1, 8, 99):
        mp.spawn(train, args=(str(tmp_path), stop_at), nprocs=2)
    states = {
        name: torch.load(tmp_path / f"{name}.pt")
        for name in ("whole-0", "whole-1", "broken-0", "broken-1")
    }
    first = states.pop("whole-0")
    assert (first["0.weight"] == 0).sum() == 72
    for state in states.values():
        for name, value in first.items():
            assert torch.equal(value, state[name]), name
