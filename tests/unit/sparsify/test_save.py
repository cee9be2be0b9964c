"""Sessions with checkpoints: diverging losses, full disks, empty data, other recipes and models."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from colonnade.errors import CheckpointError, RecipeError, RunError
from colonnade.sparsify import Recipe, Session, sparsify
from colonnade.sparsify.checkpoint.files import Files
from colonnade.sparsify.checkpoint.state_file import decode_state
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.save import CheckpointOptions

STEPS = 4
DATA = [torch.ones(2, 6) * i for i in range(1, STEPS + 1)]


def begin(
    folder: Path, *, files: Files | None = None, size: int = 3, final: float = 0.5
) -> Session:
    torch.manual_seed(0)
    model = nn.Linear(6, size)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    recipe = Recipe.of(GradualMagnitude(final_sparsity=final, end=1.0), epochs=3.0)
    checkpoints = CheckpointOptions(folder=folder, every=2, files=files)
    return sparsify(model, optimizer, recipe, STEPS, checkpoints=checkpoints)


def run(s: Session, *, scales: dict[int, float] | None = None) -> None:
    with s:
        for _ in s.epochs():
            for x in s.batches(DATA):
                scale = (scales or {}).get(s.run.step, 1.0)
                s.step(torch.tanh(s.run.model(x)).sum() * scale)


def weights(s: Session) -> torch.Tensor:
    weight: torch.Tensor = s.run.model.weight.detach().clone()
    return weight


def test_a_diverging_run_keeps_its_checkpoints_and_its_state(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole")
    run(whole)
    folder = tmp_path / "run"
    with pytest.raises(RunError) as caught:
        run(begin(folder), scales={5: float("nan")})
    assert "the loss is nan in step 5 (epoch 1.25)" in str(caught.value)
    assert str(folder / "diverged.safetensors") in str(caught.value)
    state = decode_state((folder / "diverged.safetensors").read_bytes())
    assert state["session"]["step"] == 5
    assert state["session"]["notes"] == []
    assert torch.isfinite(state["model"]["weight"]).all()
    # Once the cause is gone the run goes on from step 4, to the same bits.
    again = begin(folder)
    assert again.run.step == 4
    run(again)
    assert torch.equal(weights(again), weights(whole))


class FullDisk(Files):
    """Has room for so many bytes."""

    def __init__(self, nbytes: int) -> None:
        self._left = nbytes

    def write(self, fd: int, data: memoryview) -> int:
        if self._left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, data[: self._left])
        self._left -= written
        return written


def test_a_full_disk(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole")
    run(whole)
    size = next((tmp_path / "whole").glob("step-*")).stat().st_size
    folder = tmp_path / "run"
    with pytest.raises(CheckpointError) as caught:
        run(begin(folder, files=FullDisk(size * 5 // 2)))
    assert "No space left on device" in str(caught.value)
    assert "the checkpoint of step 4 is intact" in str(caught.value)
    assert not list(folder.glob("*.tmp"))
    again = begin(folder)
    assert again.run.step == 4
    run(again)
    assert torch.equal(weights(again), weights(whole))


def test_a_complete_run_has_nothing_left(tmp_path: Path) -> None:
    first = begin(tmp_path)
    run(first)
    again = begin(tmp_path)
    assert again.is_complete
    assert list(again.epochs()) == []
    run(again)
    assert torch.equal(weights(again), weights(first))
    assert len(again.history.series["loss"].points) == 12


def test_no_data(tmp_path: Path) -> None:
    s = begin(tmp_path)
    with pytest.raises(RunError, match="the loader has no batches: is the data empty"):
        next(s.batches([]))
    epochs = s.epochs()
    assert next(epochs) == 0
    with pytest.raises(RunError, match="an epoch went by without a step"):
        next(epochs)
    s.close()


def test_another_model_or_recipe_is_refused(tmp_path: Path) -> None:
    run(begin(tmp_path))
    with pytest.raises(CheckpointError, match=r"of another model: weight has a mask \[3, 6\]"):
        begin(tmp_path, size=4)
    with pytest.raises(RecipeError, match=r"final_sparsity=0\.5.*final_sparsity=0\.6.*the same"):
        begin(tmp_path, final=0.6)
    run(begin(tmp_path))  # the refused ones let go of the folder


def test_loaders_shorter_and_longer_than_an_epoch(tmp_path: Path) -> None:
    for num, name in ((3, "short"), (9, "long")):
        s = begin(tmp_path / name)
        seen = []
        with s:
            for epoch in s.epochs():
                for x in s.batches(list(range(num))):
                    seen.append((epoch, x))
                    s.step(s.run.model(torch.ones(1, 6)).sum())
        expected = [i % 3 for i in range(4)] if num == 3 else list(range(4))
        assert seen == [(epoch, x) for epoch in range(3) for x in expected]


def test_the_interval_is_checked() -> None:
    with pytest.raises(RecipeError, match="every 0 steps"):
        CheckpointOptions(folder="x", every=0)
