"""Losses of distillation: what a student's outputs and hidden states cost against a teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError


def output_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL of the softened distributions over the last axis, times temperature^2; batch mean."""
    log_student = nn.functional.log_softmax(student / temperature, dim=-1)
    log_teacher = nn.functional.log_softmax(teacher / temperature, dim=-1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(-1)
    return divergence.mean() * temperature**2


def square_head_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error, relative to the mean square of the teacher's."""
    tiny = torch.finfo(teacher.dtype).tiny
    return nn.functional.mse_loss(student, teacher) / teacher.square().mean().clamp(min=tiny)


def mix(loss: Tensor, distilled: Tensor, hardness: float) -> Tensor:
    """`hardness` of the distilled loss and the rest of the task's own."""
    return hardness * distilled + (1 - hardness) * loss


def logits_of(outputs: Any) -> Tensor:
    """The tensor that a model returned, or `logits` of its output, or the first of a tuple.

    A scalar is refused: it is a loss.
    """
    found = outputs
    if hasattr(outputs, "logits"):
        found = outputs.logits
    elif isinstance(outputs, Mapping):
        found = outputs.get("logits")
    elif isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    if isinstance(found, Tensor) and found.ndim > 0:
        return found
    raise RecipeError(
        f"expected logits, got {_describe(outputs)}: pass what the model returned (a tensor, an "
        "output with `logits`, or a tuple that begins with them)",
        modifier="distillation",
    )


def hidden_of(made: Any) -> Tensor | None:
    """The hidden states that a layer made: a tensor, `last_hidden_state`, or the first tensor."""
    if isinstance(made, Tensor):
        return made
    named = getattr(made, "last_hidden_state", None)
    if isinstance(named, Tensor):
        return named
    parts = made.values() if isinstance(made, Mapping) else made
    if not isinstance(made, Mapping | tuple | list):
        return None
    return next((part for part in parts if isinstance(part, Tensor)), None)


def _describe(outputs: Any) -> str:
    if isinstance(outputs, Tensor):
        return "a scalar, which is a loss"
    if isinstance(outputs, Mapping):
        return f"a {type(outputs).__name__} of {', '.join(map(str, outputs)) or 'nothing'}"
    return f"a {type(outputs).__name__}"


LABELS = ("labels", "label")


def call_teacher(teacher: nn.Module, batch: Any) -> Any:
    """The teacher's outputs on the inputs of a batch, without gradients.

    A mapping is passed as keywords without its labels, the first of a tuple as the input.
    """
    with torch.no_grad():
        if isinstance(batch, Tensor):
            return teacher(batch)
        if isinstance(batch, Mapping):
            return teacher(**{key: value for key, value in batch.items() if key not in LABELS})
        return teacher(batch[0])
