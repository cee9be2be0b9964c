"""Compressed and decompressed training in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share
from colonnade.sparsify.pattern import NM, Pattern, parse_pattern

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class ACDC(Modifier):
    """Phases of `phase` epochs in turns: dense, then with the largest weights only (Peste et al.
    2021, arXiv 2106.12379). The first is dense, the last one compressed, to the end of the stage.

    A compressed phase starts with new masks by magnitude; a dense one sets pruned weights free, at
    zero, with their momentum cleared.
    """

    needs_end: ClassVar[bool] = True
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    sparsity: float
    phase: Duration = 5.0
    pattern: str = "unstructured"
    scope: Literal["layer", "global"] = "global"
    reset_momentum: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.sparsity, "sparsity")
        if self.phase <= 0:
            raise RecipeError(f"expected more than 0, got {self.phase:g}", parameter="phase")
        if isinstance(parse_pattern(self.pattern), NM) and self.scope == "global":
            raise RecipeError("N:M fixes the sparsity of every layer", parameter="scope")

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.fitting import keep_fitting, why_not
        from colonnade.sparsify.layers import find_layers

        if self.end is None:
            raise RecipeError(
                "is needed: when the last phase begins at the latest", parameter="end"
            )
        found = find_layers(run.model, self.targets, self.ignore)
        pattern = parse_pattern(self.pattern)
        layers = keep_fitting(found, self.targets, lambda layer: why_not(layer, pattern), run.note)
        run.claim(self, [layer.name for layer in layers], "zeros")
        return _Phases(self, pattern, layers)

    def is_compressed(self, phase: int, num_phases: int) -> bool:
        """Whether phase `phase` of `num_phases` is; the last one always is."""
        return phase % 2 == 1 or phase >= num_phases - 1


class _Phases(Action):
    def __init__(self, modifier: ACDC, pattern: Pattern, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._pattern = pattern
        self._layers = layers

    def before_step(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        length = max(1, run.step_of(self._modifier.phase))
        if not first <= run.step <= last or (run.step - first) % length:
            return
        num_phases = -(-(last - first) // length)
        phase = (run.step - first) // length
        if phase >= num_phases:
            return
        if self._modifier.is_compressed(phase, num_phases):
            self._compress(run)
        else:
            self._decompress(run)

    def _compress(self, run: Run) -> None:
        from colonnade.sparsify.groups import magnitude_masks

        masks = magnitude_masks(
            self._layers, self._modifier.sparsity, self._pattern, self._modifier.scope
        )
        for layer, mask in zip(self._layers, masks, strict=True):
            run.masks.hold(layer.name, layer.in_shape(mask))

    def _decompress(self, run: Run) -> None:
        for layer in self._layers:
            if layer.name not in run.masks:
                continue
            if self._modifier.reset_momentum:
                _clear_state(run, layer, ~run.masks[layer.name])
            run.masks.release(layer.name)


def _clear_state(run: Run, layer: Layer, where: Tensor) -> None:
    for value in run.optimizer.state.get(layer.weight, {}).values():
        if getattr(value, "shape", None) == where.shape:
            value.masked_fill_(where, 0.0)
