"""What a run has seen: losses, metrics and sparsity over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

POINTS_MAX = 2048


@dataclass
class Series:
    """Values over steps; when there are too many points, neighbours are averaged."""

    points: list[tuple[float, float]] = field(default_factory=list)
    stride: int = 1
    _sums: tuple[float, float, int] = (0.0, 0.0, 0)

    def add(self, step: float, value: float) -> None:
        """A new value; steps ascend."""
        steps, values, num = self._sums
        steps, values, num = steps + step, values + value, num + 1
        if num < self.stride:
            self._sums = (steps, values, num)
            return
        self._sums = (0.0, 0.0, 0)
        self.points.append((steps / num, values / num))
        if len(self.points) >= POINTS_MAX:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairs]
            self.stride *= 2

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"points": list(self.points), "stride": self.stride, "sums": self._sums}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Series:
        """The series with this state."""
        points = [(float(step), float(value)) for step, value in state["points"]]
        return cls(points, state["stride"], tuple(state["sums"]))


@dataclass
class History:
    """The series of a run by name; "loss" and "sparsity" are always there."""

    series: dict[str, Series] = field(default_factory=dict)

    def add(self, name: str, step: int, value: float) -> None:
        """A new value of one series."""
        self.series.setdefault(name, Series()).add(step, value)

    def last(self, name: str) -> float | None:
        """The newest value."""
        series = self.series.get(name)
        return series.points[-1][1] if series is not None and series.points else None

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: series.state_dict() for name, series in self.series.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.series = {name: Series.of(saved) for name, saved in state.items()}
