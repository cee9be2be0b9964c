"""A tuner that measures nothing: it names the winner of every choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from colonnade.engine.tuner import Tuner
from colonnade.planner.choice import Trial

SLOW_S, FAST_S = 2.0, 1.0


def force_choices(monkeypatch: pytest.MonkeyPatch, wanted: str) -> list[str]:
    """From now on the variants win whose name begins with `wanted`, of several the last one.

    Returns the keys that are asked for, as they come.
    """
    asked: list[str] = []

    def answer(_: Tuner, key: str, __: Callable[[], Sequence[Trial]]) -> list[float]:
        asked.append(key)
        names = key.rsplit(" ", 1)[-1].split("|")
        winners = [i for i, name in enumerate(names) if name.startswith(wanted)]
        return [FAST_S if i in winners[-1:] else SLOW_S for i in range(len(names))]

    monkeypatch.setattr(Tuner, "time", answer)
    return asked
