"""Losses of distillation: what a student's outputs and hidden states cost against a teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
    """The tensor that a model returned, or `logits` of its output, or its first part."""
    if isinstance(outputs, Tensor):
        return outputs
    if hasattr(outputs, "logits"):
        found: Tensor = outputs.logits
        return found
    first = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
    if not isinstance(first, Tensor):
        raise TypeError(f"no logits in the model's output, which is a {type(outputs).__name__}")
    return first


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
