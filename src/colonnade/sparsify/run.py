"""What the actions of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from colonnade.errors import RecipeError
from colonnade.sparsify.masks import Masks
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.registry import modifier_name

Claimed = Literal["zeros", "values"]
"""What a modifier decides about a weight: where it is zero, or what the optimizer moves for it."""


@dataclass(frozen=True)
class Claim:
    """A modifier's hold on a weight, in epochs of the run."""

    modifier: str
    start: float
    end: float


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

    _claims: dict[tuple[str, Claimed], list[Claim]] = field(default_factory=dict)

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

    def claim(
        self, modifier: Modifier, weights: Iterable[str], *what: Claimed, at_once: bool = False
    ) -> None:
        """Say that a modifier decides about these weights, from its start to its end or, `at_once`,
        at its start only; refused where another one does at the same time.

        Masks that are held afterwards are no claim: the next modifier takes over.
        """
        last = self.num_steps / self.steps_per_epoch if modifier.end is None else modifier.end
        claim = Claim(modifier_name(modifier), modifier.start, modifier.start if at_once else last)
        for weight in weights:
            for kind in what:
                others = self._claims.setdefault((weight, kind), [])
                for other in others:
                    if claim.start < other.end and other.start < claim.end:
                        raise RecipeError(_two_at_once(weight, claim, other), parameter="targets")
                others.append(claim)


def _two_at_once(weight: str, claim: Claim, other: Claim) -> str:
    return (
        f"{weight} is {other.modifier}'s from {other.start:g} to {other.end:g} (epochs); {claim.modifier} "
        f"from {claim.start:g} to {claim.end:g} would undo what it does: give each its own layers, or "
        "its own time"
    )
