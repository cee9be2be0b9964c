"""Train to N:M sparsity by restricting, step by step, what flows to and from pruned weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier
from colonnade.sparsify.nm.flow import FLOWS, Flow, FlowSchedule, Phases
from colonnade.sparsify.nm.pattern import NMPattern, parse_nm
from colonnade.sparsify.pattern import NM

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.nm.masters import MasterWeights
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class NMFlow(Modifier):
    """From `start` to `end` dense, sparse and fine-tuning steps; then the masks are held.

    `flow` names the recipe: `dense-to-sparse` chooses its mask after the dense steps, `ste` and
    `sr-ste` use a binary mask throughout, `mdgf-*` fade the mask, `sdgf-*` tighten the pattern,
    `sdgf-mdgf` does both. `c`, `grad` and `decay` override what the recipe says. Groups run along
    the inputs ("row") or the outputs ("col") of a layer; layers that cannot have them are left
    dense, with a note.
    """

    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    pattern: str
    flow: Literal[
        "dense-to-sparse",
        "ste",
        "sr-ste",
        "mdgf-linear",
        "mdgf-exponential",
        "sdgf-stepwise",
        "sdgf-geometric",
        "sdgf-densify",
        "sdgf-mdgf",
    ] = "mdgf-exponential"
    axis: Literal["row", "col"] = "row"
    dense: Duration = 0.0
    """How long nothing is pruned, from `start` on."""
    fine_tune: Duration = 0.0
    """How long the binary mask of the target is trained, up to `end`."""
    c: float | None = None
    """The speed of a leak per step; None: so that it is at 0.01 (or 0) when fine-tuning starts."""
    grad: Literal["masked", "ste"] | None = None
    """What reaches pruned weights: as the forward pass counts them, or all; None: the recipe's."""
    decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.target()
        for name in ("dense", "fine_tune", "c", "decay"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise RecipeError(f"expected 0 or more, got {value:g}", parameter=name)
        if self.end is not None and self.dense + self.fine_tune >= self.end - self.start:
            raise RecipeError(
                f"with fine_tune, as long as the modifier acts ({self.end - self.start:g}): no "
                "time is left for the sparse phase",
                parameter="dense",
            )

    def target(self) -> NMPattern:
        """The pattern at the end."""
        try:
            return parse_nm(self.pattern, self.axis)
        except ValueError as error:
            raise RecipeError(str(error), parameter="pattern") from None

    def overridden(self) -> Flow:
        """The recipe with what is set here."""
        changes = {name: getattr(self, name) for name in ("c", "grad", "decay")}
        given = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(FLOWS[self.flow], **given)

    def schedule(self, run: Run) -> FlowSchedule:
        """The recipe in steps of a run, counted from `start`."""
        end = run.num_steps if self.end is None else run.step_of(self.end)
        try:
            phases = Phases(
                end - run.step_of(self.start), run.step_of(self.dense), run.step_of(self.fine_tune)
            )
        except ValueError as error:
            raise RecipeError(str(error), parameter="end") from None
        return FlowSchedule(self.overridden(), self.target(), phases)

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.fitting import keep_fitting, why_not
        from colonnade.sparsify.layers import find_layers

        target = self.target()
        pattern = NM(target.n, target.m)
        along: Literal["inputs", "outputs"] = "inputs" if self.axis == "row" else "outputs"
        layers = keep_fitting(
            find_layers(run.model, self.targets, self.ignore),
            self.targets,
            lambda layer: why_not(layer, pattern, along),
            run.note,
        )
        run.claim(self, [layer.name for layer in layers], "zeros", "values")
        return _Flow(layers, self.schedule(run), self, run)


class _Flow(Action):
    def __init__(
        self,
        layers: list[Layer],
        schedule: FlowSchedule,
        modifier: NMFlow,
        run: Run,
    ) -> None:
        self._layers = layers
        self._schedule = schedule
        self._start = run.step_of(modifier.start)
        self._masters: MasterWeights | None = None

    def before_step(self, run: Run) -> None:
        step = run.step - self._start
        if step == 0 and self._masters is None:
            self._masters = self._make_masters()
        if self._masters is None:
            return
        if step >= self._schedule.phases.total:
            self._hold(run)
        else:
            self._masters.show(step)

    def before_optimizer(self, run: Run) -> None:
        del run
        if self._masters is not None:
            self._masters.restore()

    def after_optimizer(self, run: Run) -> None:
        del run
        if self._masters is not None:
            self._masters.keep()

    def finalize(self, run: Run) -> None:
        if self._masters is None:
            return
        step = run.step - self._start
        if step < self._schedule.phases.total:
            now = self._schedule.at(step)
            run.note(
                f"N:M training stopped early, at {now.pattern} with a leak of {now.leak:.3g}: the "
                f"weights were cut to {self._schedule.target}"
            )
        self._hold(run)

    def state_dict(self) -> dict[str, Any]:
        return {"masters": None if self._masters is None else self._masters.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._masters = None
        if state["masters"] is not None:
            self._masters = self._make_masters()
            self._masters.load_state_dict(state["masters"])

    def _make_masters(self) -> MasterWeights:
        from colonnade.sparsify.nm.masters import MasterWeights

        weights = {layer.name: layer.weight for layer in self._layers}
        turned = [layer.name for layer in self._layers if layer.rows_axis]
        return MasterWeights(weights, self._schedule, turned)

    def _hold(self, run: Run) -> None:
        assert self._masters is not None
        for name, mask in self._masters.finalize().items():
            run.masks.hold(name, mask)
        self._masters = None
