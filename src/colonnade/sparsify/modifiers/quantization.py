"""Quantization-aware training to int8 weights and uint8 activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colonnade.errors import RecipeError, RunError
from colonnade.sparsify.modifier import Action, Modifier, Moment

if TYPE_CHECKING:
    from colonnade.sparsify.quantize.layers import FakeConv2d, FakeLinear
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class Quantization(Modifier):
    """From `start` on, train with what 8 bits hold; the model is left with its int8 weights.

    Weights are symmetric by output channel, activations asymmetric by tensor; zeros stay zeros.
    From `freeze_observers` the ranges of activations stay, from `freeze_batch_norm` the statistics
    of batch-norms: each is then folded into the convolution before it.
    """

    targets: tuple[str, ...] = ("quantizable",)
    ignore: tuple[str, ...] = ()
    freeze_observers: Moment | None = None
    """None: never."""
    freeze_batch_norm: Moment | None = None
    """None: at `start`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("freeze_observers", "freeze_batch_norm"):
            value = getattr(self, name)
            if value is not None and value < self.start:
                raise RecipeError(
                    f"expected {self.start:g} (start) or more, got {value:g}", parameter=name
                )
        if self.freeze_observers == self.start:
            raise RecipeError(
                f"expected more than {self.start:g} (start), got {self.start:g}: ranges are what "
                "is seen in between",
                parameter="freeze_observers",
            )

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.quantize.prepare import find_quantizable

        self._check_steps(run)
        chosen = find_quantizable(run.model, self.targets, self.ignore)
        return _Quantize(self, tuple(chosen), run)

    def _check_steps(self, run: Run) -> None:
        first = run.step_of(self.start)
        if first >= run.num_steps:
            raise RecipeError(
                f"the run ends at {run.num_steps / run.steps_per_epoch:g}: nothing would be "
                "trained with what 8 bits hold",
                parameter="start",
            )
        stop = self.freeze_observers
        if stop is not None and run.step_of(stop) <= first:
            raise RecipeError(
                f"{stop:g} is the same step as start ({self.start:g}): no range would be seen",
                parameter="freeze_observers",
            )


class _Quantize(Action):
    def __init__(self, modifier: Quantization, names: tuple[str, ...], run: Run) -> None:
        self._modifier = modifier
        self._names = names
        self._run = run
        self._is_prepared = False

    def before_step(self, run: Run) -> None:
        if run.step < run.step_of(self._modifier.start):
            return
        if not self._is_prepared:
            self._prepare(run, run.note)
        self._set_phase(run)

    def finalize(self, run: Run) -> None:
        from colonnade.sparsify.quantize.layers import bake

        if self._is_prepared:
            self._set_phase(run)
            self._check_ranges(run)
            bake(run.model)

    def _check_ranges(self, run: Run) -> None:
        """Without a range an input stays in float: never without a word."""
        is_ranged = {name: layer.input_fake_quant.enabled for name, layer in self._fakes()}
        unseen = [name for name, is_seen in is_ranged.items() if not is_seen]
        if not unseen:
            return
        text = f"no activation range of {', '.join(unseen)} was seen"
        if len(unseen) == len(is_ranged) and run.step >= run.num_steps:
            raise RunError(
                f"quantization: {text}: no forward pass in training mode took place between "
                "start and freeze_observers; call model.train() before training"
            )
        run.note(f"{text}: what these layers read stays in float")

    def state_dict(self) -> dict[str, Any]:
        # The ranges are in the model's state, too, which trainers load before they have a place.
        ranges = {name: layer.input_fake_quant.state_dict() for name, layer in self._fakes()}
        return {"is_prepared": self._is_prepared, "ranges": ranges}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["is_prepared"] and not self._is_prepared:
            # The notes are in the saved run already.
            self._prepare(self._run, lambda _: None)
            self._set_phase(self._run)
        saved = state.get("ranges", {})
        for name, layer in self._fakes():
            if name in saved:
                layer.input_fake_quant.load_state_dict(saved[name])

    def _fakes(self) -> list[tuple[str, FakeLinear | FakeConv2d]]:
        from colonnade.sparsify.quantize.layers import FAKES

        layers = [(name, self._run.model.get_submodule(name)) for name in self._names]
        return [(name, layer) for name, layer in layers if isinstance(layer, FAKES)]

    def _prepare(self, run: Run, note: Callable[[str], None]) -> None:
        from colonnade.sparsify.quantize.prepare import prepare

        modules = {name: run.model.get_submodule(name) for name in self._names}
        prepare(run.model, modules, note)
        self._is_prepared = True

    def _set_phase(self, run: Run) -> None:
        from colonnade.sparsify.quantize.fake import FakeActivation
        from colonnade.sparsify.quantize.layers import PassedNorm

        modifier = self._modifier
        frozen = modifier.freeze_batch_norm
        is_folded = frozen is None or run.step >= run.step_of(frozen)
        stop = modifier.freeze_observers
        is_observing = stop is None or run.step < run.step_of(stop)
        for module in run.model.modules():
            if isinstance(module, PassedNorm):
                module.is_folded = is_folded
            elif isinstance(module, FakeActivation):
                module.is_observing = is_observing
