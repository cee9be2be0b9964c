"""Trains a small network again and again, killed at random points; prints how the runs ended.

A program of its own, so that it can fork safely: torch is loaded once and runs one thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.checkpoint.files import Files
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.learning_rate import LearningRate
from colonnade.sparsify.save import CheckpointOptions

EPOCHS = 3
BATCHES = 8


class Countdown:
    """Kills this process at the n-th event."""

    def __init__(self, num_left: int) -> None:
        self.num_left = num_left

    def event(self) -> None:
        self.num_left -= 1
        if self.num_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingFiles(Files):
    """Every operation on the disk is an event, before and after."""

    def __init__(self, countdown: Countdown) -> None:
        self._countdown = countdown

    def write(self, fd: int, data: memoryview) -> int:
        self._countdown.event()
        return super().write(fd, data[: max(1, len(data) // 2)])

    def sync(self, fd: int) -> None:
        self._countdown.event()
        super().sync(fd)
        self._countdown.event()

    def replace(self, source: Path, target: Path) -> None:
        self._countdown.event()
        super().replace(source, target)
        self._countdown.event()

    def remove(self, path: Path) -> None:
        self._countdown.event()
        super().remove(path)
        self._countdown.event()


def train(folder: Path, countdown: Countdown) -> tuple[int, str]:
    """Train to the end; the step from which it went on, and a digest of all weights."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    data = TensorDataset(torch.randn(BATCHES * 4, 6), torch.randint(0, 3, (BATCHES * 4,)))
    loader = DataLoader(data, batch_size=4, shuffle=True)
    recipe = Recipe.of(
        GradualMagnitude(init_sparsity=0.1, final_sparsity=0.8, end=2.5, scope="global"),
        LearningRate(init=0.01, schedule="cosine"),
        epochs=float(EPOCHS),
    )
    checkpoints = CheckpointOptions(folder=folder, every=3, files=CountingFiles(countdown))
    with sparsify(model, optimizer, recipe, BATCHES, checkpoints=checkpoints) as s:
        first = s.run.step
        for _ in s.epochs():
            for x, y in s.batches(loader):
                noise = random.random() + np.random.rand()  # noqa: NPY002
                s.step(nn.functional.cross_entropy(model(x + 0.1 * noise), y))
                countdown.event()
            torch.rand(7)  # as an evaluation would
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return first, digest.hexdigest()


def forked(folder: Path, num_events: int) -> tuple[int, str] | None:
    """Train in a process of its own, which dies at an event; None if it did."""
    result = folder.with_suffix(".json")
    pid = os.fork()
    if pid == 0:
        outcome = train(folder, Countdown(num_events))
        result.write_text(json.dumps(outcome))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert status == 0, status
    first, digest = json.loads(result.read_text())
    return first, digest


def main(folder: Path, num_kills: int, seed: int) -> None:
    """Print the kills, how often a run went on from a checkpoint, and both digests as JSON."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    counter = Countdown(0)
    _, whole = train(folder / "whole", counter)
    num_events = -counter.num_left
    kills, resumed, digests = 0, 0, []
    while kills < num_kills:
        run = folder / f"run-{len(digests)}"
        # Several kills in one run, until it comes through.
        while (outcome := forked(run, rng.randrange(1, num_events))) is None:
            kills += 1
        resumed += outcome[0] > 0
        digests.append(outcome[1])
    print(json.dumps({"kills": kills, "resumed": resumed, "whole": whole, "digests": digests}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
