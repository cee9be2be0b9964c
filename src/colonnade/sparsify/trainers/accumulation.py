"""How the Trainer of transformers weighs the batches that it accumulates for one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

ITEMS = "num_items_in_batch"
"""What the Trainer passes to models whose loss it does not divide: the items of a whole step."""


@dataclass(frozen=True)
class Accumulation:
    """Batches of an epoch, how many of them make a step, and processes that share it."""

    num_batches: int
    per_step: int
    processes: int = 1

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; the last one may have fewer batches."""
        return -(-self.num_batches // self.per_step)

    def parts(self, step: int) -> int:
        """Batches, over all processes, whose losses are summed in the step.

        >>> [Accumulation(num_batches=5, per_step=2).parts(step) for step in range(4)]
        [2, 2, 1, 2]
        """
        done = step % self.num_steps * self.per_step
        return min(self.per_step, self.num_batches - done) * self.processes


def divides_by_items(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether the model's loss is its share of a whole step's, as the Trainer takes for granted.

    Some models take the number of items and do not look at it; their loss is the batch's mean.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        items = inputs[ITEMS]
        return _loss(model, inputs, items) != _loss(model, inputs, 2 * items)
    finally:
        for module, mode in modes:
            module.training = mode


def _loss(model: nn.Module, inputs: Mapping[str, Any], items: Any) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        return float(model(**{**inputs, ITEMS: items})["loss"])
