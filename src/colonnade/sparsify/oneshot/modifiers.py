"""One-shot pruning as modifiers of a recipe: at `start`, at once, then the masks are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier
from colonnade.sparsify.oneshot.checks import check_parameters
from colonnade.sparsity import Method, parse_pattern
from colonnade.sparsity.solvers.damping import DAMPING

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class OneShot(Modifier):
    """What the methods share. Calibration runs `num_batches` of the session's `sample_losses`.

    `end`: the masks are let go; None holds them for good.
    """

    method: ClassVar[Method] = "magnitude"
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    sparsity: float | None = None
    pattern: str = "unstructured"
    num_batches: int = 16
    sequential: bool = False
    damping: float = DAMPING
    bits: int | None = None
    depthwise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parameters(self.sparsity, self.pattern, self.num_batches, self.damping, self.bits)

    def initialize(self, run: Run) -> Action:
        """Find the layers; refused without calibration data."""
        from colonnade.sparsify.oneshot.prune import choose_layers

        if run.sample_losses is None:
            raise RecipeError("it is calibrated: give the session `sample_losses`")
        shape = parse_pattern(self.pattern)
        layers = choose_layers(
            run.model,
            self.targets,
            self.ignore,
            shape,
            depthwise=self.depthwise,
            note=run.note,
        )
        run.claim(self, [layer.name for layer in layers], "zeros", at_once=True)
        return _OneShot(self, layers)


@dataclass(frozen=True, kw_only=True)
class OneShotMagnitude(OneShot):
    """The smallest weights go."""

    method: ClassVar[Method] = "magnitude"


@dataclass(frozen=True, kw_only=True)
class Wanda(OneShot):
    """The weights go that are smallest times the norm of their input."""

    method: ClassVar[Method] = "wanda"


@dataclass(frozen=True, kw_only=True)
class SparseGPT(OneShot):
    """Column by column; what a column loses, those to its right make good."""

    method: ClassVar[Method] = "sparsegpt"


@dataclass(frozen=True, kw_only=True)
class OBC(OneShot):
    """Weight by weight in each row, the cheapest first; the others make good."""

    method: ClassVar[Method] = "obc"


@dataclass(frozen=True, kw_only=True)
class GPTQ(OneShot):
    """Round weights to `bits`; what a column loses, those to its right make good. Zeros stay."""

    method: ClassVar[Method] = "sparsegpt"
    sparsity: float | None = 0.0
    bits: int | None = 8


class _OneShot(Action):
    def __init__(self, modifier: OneShot, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._layers = layers

    def before_step(self, run: Run) -> None:
        asked = self._modifier
        if run.step == run.step_of(asked.start):
            self._prune(run)
        if asked.end is not None and run.step == run.step_of(asked.end):
            for layer in self._layers:
                run.masks.release(layer.name)

    def _prune(self, run: Run) -> None:
        from colonnade.sparsify.oneshot.prune import find_sparsity, solve_layers
        from colonnade.sparsify.oneshot.solve_layer import Solver

        asked = self._modifier
        pattern = parse_pattern(asked.pattern)
        solver = Solver(asked.method, pattern, asked.damping, asked.bits)
        shares = dict.fromkeys(
            (layer.name for layer in self._layers), find_sparsity(asked.sparsity, pattern)
        )
        for result, mask in solve_layers(
            run.model, self._layers, lambda: _forwards(run, asked.num_batches), solver, shares,
            asked.sequential,
        ):  # fmt: skip
            run.masks.hold(result.name, mask)


def _forwards(run: Run, count: int) -> Iterator[Callable[[], object]]:
    assert run.sample_losses is not None
    losses = run.sample_losses()
    is_over = False

    def forward() -> None:
        nonlocal is_over
        is_over = next(losses, None) is None

    for number in range(count):
        yield forward
        if is_over:
            raise RecipeError(
                f"sample_losses ended before {number + 1} losses; lower num_batches or give more",
                parameter="num_batches",
            )
