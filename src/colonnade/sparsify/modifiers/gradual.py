"""Pruning step by step, whatever decides which weights go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share
from colonnade.sparsify.pattern import NM, Pattern, parse_pattern
from colonnade.sparsify.schedules import SCHEDULES, interpolate, multi_step, polynomial

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


class Scorer:
    """What a weight is worth. Matrices are as those of `Layer.matrix`; all hooks have defaults but
    `scores`."""

    def observe(self, run: Run) -> None:
        """The gradients of a step are there, those of masked weights too."""

    def prepare(self, run: Run) -> None:
        """The masks of all layers are about to be made again."""

    def scores(self, layer: Layer) -> Tensor:
        """A matrix: the lowest go first."""
        raise NotImplementedError

    def before_mask(self, layer: Layer, mask: Tensor) -> None:
        """This mask (a matrix) is about to hold: those that stay may make up for those that go."""

    def state_dict(self) -> dict[str, Any]:
        """As that of an action."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


@dataclass(frozen=True, kw_only=True)
class GradualPruning(Modifier):
    """Raise the sparsity from `init_sparsity` at `start` to `final_sparsity` at `end`.

    What is not worth keeping is for the modifiers that extend this one to say (`make_scorer`).

    Layers that cannot have the pattern are left dense, with a note; those that are named themselves
    are refused. Between updates the masks stay. With `scope` "global" the weights of all layers
    compete, with "layer" each layer gets the sparsity. With N:M the final sparsity is 1 - N/M and
    may be left out. `final_sparsity` may be a mapping of targets to sparsities; then `targets` is
    not used.
    """

    needs_end: ClassVar[bool] = True
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    init_sparsity: float = 0.05
    final_sparsity: float | Mapping[str, float] | None = None
    update_every: Duration | None = None
    """None: in every step."""
    schedule: Literal["linear", "cubic", "inverse_cubic", "polynomial", "multi_step"] = "cubic"
    exponent: float = 3.0
    """Of the polynomial schedule."""
    milestones: tuple[float, ...] = ()
    """Of the multi-step schedule: shares of the time between start and end, ascending."""
    pattern: str = "unstructured"
    scope: Literal["layer", "global"] = "layer"
    hold: bool = True
    """Keep the masks after `end`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.init_sparsity, "init_sparsity")
        for share in self._finals().values():
            check_share(share, "final_sparsity")
        if self.update_every is not None and self.update_every <= 0:
            raise RecipeError(
                f"expected more than 0, got {self.update_every:g}", parameter="update_every"
            )
        if self.exponent <= 0:
            raise RecipeError(f"expected more than 0, got {self.exponent:g}", parameter="exponent")
        self._check_milestones()
        self._check_pattern()

    def sparsity(self, progress: float, final: float) -> float:
        """The sparsity when the share `progress` of the time between start and end has passed."""
        if self.schedule == "polynomial":
            share = polynomial(progress, self.exponent)
        elif self.schedule == "multi_step":
            share = multi_step(progress, self.milestones)
        else:
            share = SCHEDULES[self.schedule](progress)
        return interpolate(min(self.init_sparsity, final), final, share)

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.fitting import keep_fitting
        from colonnade.sparsify.layers import find_layers

        if self.end is None:
            raise RecipeError("is needed: when the final sparsity is reached", parameter="end")
        finals: dict[str, float] = {}
        found: dict[str, Layer] = {}
        for target, share in self._finals().items():
            for layer in find_layers(run.model, (target,) if target else self.targets, self.ignore):
                found[layer.name], finals[layer.name] = layer, share
        pattern = parse_pattern(self.pattern)
        layers = keep_fitting(
            found.values(),
            self.final_sparsity if isinstance(self.final_sparsity, Mapping) else self.targets,
            lambda layer: self.why_not(layer, pattern),
            run.note,
        )
        finals = {layer.name: finals[layer.name] for layer in layers}
        run.claim(self, finals, "zeros")
        return _Prune(self, self.make_scorer(run, layers, pattern), pattern, layers, finals)

    def why_not(self, layer: Layer, pattern: Pattern) -> str:
        """Why a layer cannot be pruned in this way, or ""."""
        from colonnade.sparsify.fitting import why_not

        return why_not(layer, pattern)

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """How the weights of these layers are compared in this run."""
        raise NotImplementedError

    def _finals(self) -> Mapping[str, float]:
        if isinstance(self.final_sparsity, Mapping):
            return self.final_sparsity
        return {"": self._nm_sparsity() if self.final_sparsity is None else self.final_sparsity}

    def _nm_sparsity(self) -> float:
        pattern = parse_pattern(self.pattern)
        if not isinstance(pattern, NM):
            raise RecipeError("is needed", parameter="final_sparsity")
        return 1 - pattern.n / pattern.m

    def _check_milestones(self) -> None:
        if self.schedule != "multi_step":
            return
        ascending = sorted(set(self.milestones))
        if not ascending or list(self.milestones) != ascending or not 0 <= ascending[0] <= 1:
            raise RecipeError(
                "the multi_step schedule needs ascending shares from 0 to 1", parameter="milestones"
            )
        if ascending[-1] > 1:
            raise RecipeError(f"expected 1 or less, got {ascending[-1]:g}", parameter="milestones")

    def _check_pattern(self) -> None:
        if not isinstance(parse_pattern(self.pattern), NM):
            return
        if self.scope == "global":
            raise RecipeError("N:M fixes the sparsity of every layer", parameter="scope")
        for share in self._finals().values():
            if abs(share - self._nm_sparsity()) > 0.005:
                raise RecipeError(
                    f"{self.pattern} is a sparsity of {self._nm_sparsity():g}, got {share:g}",
                    parameter="final_sparsity",
                )


class _Prune(Action):
    def __init__(
        self,
        modifier: GradualPruning,
        scorer: Scorer,
        pattern: Pattern,
        layers: list[Layer],
        finals: Mapping[str, float],
    ) -> None:
        self._modifier = modifier
        self._scorer = scorer
        self._pattern = pattern
        self._layers = layers
        self._finals = finals

    def before_step(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        if not first <= run.step <= last:
            return
        every = self._modifier.update_every
        period = 1 if every is None else max(1, run.step_of(every))
        if run.step == last or (run.step - first) % period == 0:
            self._update(run, (run.step - first) / (last - first) if last > first else 1.0)
        if run.step == last and not self._modifier.hold:
            for layer in self._layers:
                run.masks.release(layer.name)

    def before_optimizer(self, run: Run) -> None:
        assert self._modifier.end is not None
        if run.step < run.step_of(self._modifier.end):
            self._scorer.observe(run)

    def state_dict(self) -> dict[str, Any]:
        return self._scorer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._scorer.load_state_dict(state)

    def _update(self, run: Run, progress: float) -> None:
        self._scorer.prepare(run)
        shares = {
            name: self._modifier.sparsity(progress, final) for name, final in self._finals.items()
        }
        update = self._update_globally if self._modifier.scope == "global" else self._update_each
        update(run, shares)

    def _update_each(self, run: Run, shares: Mapping[str, float]) -> None:
        from colonnade.sparsify.groups import make_mask

        for layer in self._layers:
            scores = self._scorer.scores(layer)
            mask = make_mask(scores, shares[layer.name], self._pattern, layer.taps)
            self._hold(run, layer, mask)

    def _update_globally(self, run: Run, shares: Mapping[str, float]) -> None:
        from colonnade.sparsify.groups import make_global_masks, make_groups

        groups = [
            make_groups(self._scorer.scores(layer), self._pattern, layer.taps)
            for layer in self._layers
        ]
        weights = [layer.weight.numel() for layer in self._layers]
        dropped = sum(
            n * shares[layer.name] for n, layer in zip(weights, self._layers, strict=True)
        )
        masks = make_global_masks(groups, dropped / sum(weights))
        for layer, mask in zip(self._layers, masks, strict=True):
            self._hold(run, layer, mask)
            if not bool(mask.any()):
                run.note(f"step {run.step}: every weight of {layer.name} is pruned")

    def _hold(self, run: Run, layer: Layer, mask: Tensor) -> None:
        self._scorer.before_mask(layer, mask)
        run.masks.hold(layer.name, layer.in_shape(mask))
