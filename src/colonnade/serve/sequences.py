"""Sequences: requests of one client that share the states of a recurrent model.

Each sequence has a session of the engine; its states stay there. Steps of one sequence run in the
order in which they came, those of different sequences side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from colonnade.engine.engine import Engine
from colonnade.engine.session import Session
from colonnade.serve.config import ModelConfig
from colonnade.serve.protocol import SequenceStep
from colonnade.serve.refusal import Kind, Refusal

Key = int | str


@dataclass(slots=True)
class _Sequence:
    session: Session
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    last_s: float = 0.0
    waiting: int = 0


class Sequences:
    """The open sequences of one version of a model. Used by one event loop."""

    def __init__(self, engine: Engine, config: ModelConfig) -> None:
        self._engine = engine
        self._config = config
        self._open: dict[Key, _Sequence] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def run(
        self, step: SequenceStep | None, inputs: Mapping[str, np.ndarray], executor: Executor
    ) -> dict[str, np.ndarray]:
        """One step; raises Refusal, or what the engine raises."""
        if step is None:
            raise Refusal(Kind.INVALID, "the model has states: a request needs a sequence_id")
        loop = asyncio.get_running_loop()
        sequence = self._find(step, loop.time())
        sequence.waiting += 1
        try:
            async with sequence.turn:
                made = await loop.run_in_executor(executor, sequence.session.run, inputs)
        finally:
            sequence.waiting -= 1
            sequence.last_s = loop.time()
        if step.is_end and self._open.get(step.sequence_id) is sequence:
            del self._open[step.sequence_id]
        return made

    def _find(self, step: SequenceStep, now: float) -> _Sequence:
        if step.is_start:
            self._drop_idle(now)
            if len(self._open) >= self._config.sequences_max:
                raise Refusal(Kind.OVERLOADED, f"{len(self._open)} sequences are open", 1.0)
            self._open[step.sequence_id] = _Sequence(self._engine.session(self._config.states))
        found = self._open.get(step.sequence_id)
        if found is None:
            raise Refusal(
                Kind.INVALID,
                f"sequence {step.sequence_id!r} is not open: its first request has sequence_start; "
                f"an idle one is closed after {self._config.sequence_idle_s:g} s",
            )
        found.last_s = now
        return found

    def _drop_idle(self, now: float) -> None:
        oldest = now - self._config.sequence_idle_s
        for key, sequence in list(self._open.items()):
            if sequence.waiting == 0 and sequence.last_s < oldest:
                del self._open[key]
