"""Learning rates over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_positive

if TYPE_CHECKING:
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class LearningRate(Modifier):
    """Move the learning rate of all parameter groups from `init` to `final` between start and end.

    linear and cosine reach `final` at `end`; cyclic_linear starts again every `cycle`. exponential
    and step multiply by `gamma` every `cycle` (exponential smoothly), and do not use `final`. For
    the time of `warmup` the rate rises from zero to `init` first. After `end` the last rate stays,
    unless another modifier that starts later sets one.
    """

    init: float
    final: float = 0.0
    schedule: Literal["linear", "cosine", "cyclic_linear", "exponential", "step"] = "linear"
    cycle: Duration = 1.0
    gamma: float = 0.1
    warmup: Duration = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("init", "final", "warmup"):
            if getattr(self, name) < 0:
                raise RecipeError(
                    f"expected 0 or more, got {getattr(self, name):g}", parameter=name
                )
        check_positive(self, "cycle", "gamma")
        length = math.inf if self.end is None else self.end - self.start
        if self.warmup > length + 1e-9:  # sums of fractions are not exact
            raise RecipeError(
                f"expected at most {length:g}, the time from start to end, got {self.warmup:g}: the "
                "rate would never be init",
                parameter="warmup",
            )

    def initialize(self, run: Run) -> Action:
        """The rates of this run."""
        del run
        return _Rates(self)

    def rate(self, epoch: float, end: float) -> float:
        """The learning rate at a moment between start and `end`."""
        since, length = epoch - self.start, end - self.start
        if since < self.warmup:
            return self.init * since / self.warmup
        since, length = since - self.warmup, length - self.warmup
        match self.schedule:
            case "exponential":
                return float(self.init * self.gamma ** (since / self.cycle))
            case "step":
                return float(self.init * self.gamma ** math.floor(since / self.cycle + 1e-9))
            case "cyclic_linear":
                share = since % self.cycle / self.cycle
            case "cosine":
                share = (1 - math.cos(math.pi * min(1.0, since / length))) / 2 if length > 0 else 1
            case _:
                share = min(1.0, since / length) if length > 0 else 1.0
        return self.init + (self.final - self.init) * share


class _Rates(Action):
    def __init__(self, modifier: LearningRate) -> None:
        self._modifier = modifier

    def before_step(self, run: Run) -> None:
        start, end = self._modifier.start, self._modifier.end
        end = run.num_steps / run.steps_per_epoch if end is None else end
        if run.step < run.step_of(start):
            return
        rate = self._modifier.rate(min(run.epoch, end), end)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
