"""What the actions of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

from colonnade.sparsify.masks import Masks


@dataclass
class Run:
    """One run: the model, its masks, and where on the timeline it is."""

    model: nn.Module
    """Without wrappers: names of layers are those of the user's own module."""
    optimizer: Optimizer
    steps_per_epoch: int
    """Optimizer steps, not batches."""
    num_steps: int
    """Steps of the whole run."""
    masks: Masks
    teacher: nn.Module | None = None
    sample_losses: Callable[[], Iterator[Tensor]] | None = None
    """Losses of fresh batches, with their graphs, for modifiers that sample gradients."""
    is_sampling: bool = False
    """Whether forwards are those of `sample_losses`, and no part of a training step."""
    step: int = 0
    """Optimizer steps that are complete."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, in the report and the log."""

    @property
    def epoch(self) -> float:
        """Epochs that are complete; a fraction in the midst of one."""
        return self.step / self.steps_per_epoch

    def step_of(self, epoch: float) -> int:
        """The step that is nearest to a moment of the timeline."""
        return round(epoch * self.steps_per_epoch)

    def note(self, text: str) -> None:
        """Keep a remark for the report."""
        self.notes.append(text)
