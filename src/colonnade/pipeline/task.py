"""What a task is to the rest of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Work


@dataclass(frozen=True)
class Prepared:
    """A task bound to a model: the first stage, which carries the last one, and the
    batching."""

    prepare: Callable[[object], Work[Any]]
    batching: Batching
    stream: Callable[[], Any] | None = None
    """A new object for an input that is still going on, where the task has such a form."""


@dataclass(frozen=True)
class Task:
    """A row of the table of tasks."""

    name: str
    aliases: tuple[str, ...]
    options: type[Any]
    """A frozen dataclass with defaults."""
    build: Callable[[Model, Any, tuple[int, ...]], Prepared]
    """From a model, options and batch sizes."""
