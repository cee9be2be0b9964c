"""Prune whole channels, and take them out of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share
from colonnade.sparsify.schedules import SCHEDULES, interpolate

if TYPE_CHECKING:
    from torch import nn

    from colonnade.sparsify.channels import ChannelGroup, Inputs
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class ChannelPruning(Modifier):
    """The channels with the smallest weights go, `sparsity` of every group, step by step from
    `start` to `end`: with their biases, their normalisation, and whatever is added to them.

    With `thin` they are taken out of the model at the end of the run: its layers get smaller, its
    parameters are new objects. Needs torch-pruning.
    """

    needs_end: ClassVar[bool] = True
    sparsity: float
    update_every: Duration | None = None
    schedule: Literal["linear", "cubic", "inverse_cubic"] = "cubic"
    thin: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.sparsity, "sparsity")

    def initialize(self, run: Run) -> Action:
        """Waits for the first inputs: they show how the layers hang together."""
        if self.end is None:
            raise RecipeError("is needed: when the sparsity is reached", parameter="end")
        return _Prune(self, run)


class _Prune(Action):
    def __init__(self, modifier: ChannelPruning, run: Run) -> None:
        self._modifier = modifier
        self._inputs: Inputs | None = None
        self._groups: list[ChannelGroup] | None = None
        self._names = {id(p): name for name, p in run.model.named_parameters()}
        self._handle = run.model.register_forward_pre_hook(self._on_forward, with_kwargs=True)

    def before_step(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        every = self._modifier.update_every
        period = 1 if every is None else max(1, run.step_of(every))
        if not first <= run.step <= last:
            return
        if run.step == last or (run.step - first) % period == 0:
            self._update(run, (run.step - first) / (last - first) if last > first else 1.0)

    def finalize(self, run: Run) -> None:
        self._handle.remove()
        if not self._modifier.thin or self._inputs is None:
            return
        from colonnade.sparsify.channels import thin

        run.masks.apply()
        for name in list(run.masks):
            run.masks.release(name)
        run.note(f"{thin(run.model, self._inputs)} channels taken out of the model")

    def _update(self, run: Run, progress: float) -> None:
        from colonnade.sparsify.groups import keep_best

        share = interpolate(
            0.0, self._modifier.sparsity, SCHEDULES[self._modifier.schedule](progress)
        )
        for group in self._find_groups(run):
            kept = max(1, group.size - round(share * group.size))
            keep = keep_best(group.scores(), kept)
            for parameter in group.parameters():
                rows = keep.reshape(-1, *[1] * (parameter.ndim - 1))
                run.masks.hold(self._names[id(parameter)], rows.expand(parameter.shape))

    def _find_groups(self, run: Run) -> list[ChannelGroup]:
        from colonnade.sparsify.channels import find_channel_groups

        if self._groups is None:
            if self._inputs is None:
                raise RecipeError("the model has not run yet: its inputs show which channels belong "
                                  "together")  # fmt: skip
            self._groups = find_channel_groups(run.model, self._inputs)
            if not self._groups:
                raise RecipeError("no layer of the model has channels that can go")
            found = [self._names[id(one)] for group in self._groups for one in group.parameters()]
            run.claim(self._modifier, found, "zeros")
        return self._groups

    def _on_forward(self, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._inputs is None:
            self._inputs = (positional, named)
