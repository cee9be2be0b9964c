"""Two processes train one pruned network, killed and resumed as well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from colonnade.errors import RunError
from colonnade.sparsify import Modifier, Recipe, sparsify
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.obs import OBSPruning
from colonnade.sparsify.modifiers.quantization import Quantization
from colonnade.sparsify.modifiers.trainable import Trainable
from colonnade.sparsify.oneshot.modifiers import SparseGPT, Wanda
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


MODIFIERS: dict[str, Modifier] = {
    "obs": OBSPruning(final_sparsity=0.5, end=1.0, num_grads=4),
    "wanda": Wanda(sparsity=0.5, num_batches=2),
    "sparsegpt": SparseGPT(sparsity=0.5, num_batches=2),
    "quantization": Quantization(),
    "frozen": Trainable(targets=("0.weight",), value=False),
}


def join(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)


def train_on_own_data(rank: int, modifier: Modifier, *, fails: bool = False) -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    model = DistributedDataParallel(inner)
    data = torch.randn(BATCHES, 8, 8, generator=torch.Generator().manual_seed(1 + rank))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def losses() -> Iterator[Tensor]:
        for x in data:
            yield inner(x).square().sum()

    recipe = Recipe.of(modifier, epochs=1.0)
    with sparsify(model, optimizer, recipe, BATCHES, sample_losses=losses) as s:
        for number, x in enumerate(data):
            loss = model(x).square().sum()
            s.step(loss * float("nan") if fails and rank == 1 and number == 2 else loss)
    return inner


def train_all(rank: int, folder: str) -> None:
    join(rank, folder)
    states = {
        name: train_on_own_data(rank, modifier).state_dict() for name, modifier in MODIFIERS.items()
    }
    message = ""
    try:
        train_on_own_data(rank, GradualMagnitude(final_sparsity=0.5, end=1.0), fails=True)
    except RunError as error:
        message = error.reason
    torch.save((states, message), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_processes_with_their_own_data_keep_one_model(tmp_path: Path) -> None:
    mp.spawn(train_all, args=(str(tmp_path),), nprocs=2)
    (first, said_first), (second, said_second) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in range(2)
    )
    for name, state in first.items():
        for key, value in state.items():
            assert torch.equal(value, second[name][key]), f"{name}: {key}"
    for name in ("obs", "wanda", "sparsegpt"):
        assert (first[name]["0.weight"] == 0).float().mean() == 0.5
    torch.manual_seed(0)
    assert torch.equal(first["frozen"]["0.weight"], nn.Linear(8, 16).weight)
    assert "the loss is nan in step 2" in said_second
    assert "not finite in another process" in said_first
