"""One-shot pruning as modifiers of a recipe: at `start`, at once, then the masks are held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier
from colonnade.sparsify.oneshot.checks import check_parameters
from colonnade.sparsity import Method, parse_pattern
from colonnade.sparsity.allocation import Allocation
from colonnade.sparsity.solvers.damping import DAMPING

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.oneshot.inputs import Forward
    from colonnade.sparsify.oneshot.prune import Forwards, Plan
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class OneShot(Modifier):
    """What the methods share. Calibration runs `num_batches` of the session's `sample_losses`.

    `allocation`: how layers share the sparsity: uniform, erk, owl, global or sensitivity.
    `batch_norm`: re-estimate running statistics afterwards. `end`: the masks are let go; None holds
    them for good.
    """

    method: ClassVar[Method] = "magnitude"
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    sparsity: float | None = None
    pattern: str = "unstructured"
    allocation: Allocation = "uniform"
    num_batches: int = 16
    sequential: bool = False
    damping: float = DAMPING
    bits: int | None = None
    depthwise: bool = False
    batch_norm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parameters(
            self.sparsity, self.pattern, self.allocation, self.num_batches, self.damping, self.bits
        )

    def initialize(self, run: Run) -> Action:
        """Find the layers; refused without the data that it needs."""
        from colonnade.sparsify.oneshot.prune import Plan, choose_layers, find_sparsity
        from colonnade.sparsify.oneshot.solve_layer import Solver

        shape = parse_pattern(self.pattern)
        plan = Plan(
            Solver(self.method, shape, self.damping, self.bits),
            find_sparsity(self.sparsity, shape), self.allocation, self.sequential, self.batch_norm,
        )  # fmt: skip
        if run.sample_losses is None and plan.is_calibrated:
            raise RecipeError("it is calibrated: give the session `sample_losses`")
        layers = choose_layers(
            run.model,
            self.targets,
            self.ignore,
            shape,
            depthwise=self.depthwise,
            note=run.note,
        )
        run.claim(self, [layer.name for layer in layers], "zeros", at_once=True)
        return _OneShot(self, plan, layers)


@dataclass(frozen=True, kw_only=True)
class OneShotMagnitude(OneShot):
    """The smallest weights go. Data is used if there is any: biases then take up the mean."""

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
    def __init__(self, modifier: OneShot, plan: Plan, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._plan = plan
        self._layers = layers

    def before_step(self, run: Run) -> None:
        asked = self._modifier
        if run.step == run.step_of(asked.start):
            self._prune(run)
        if asked.end is not None and run.step == run.step_of(asked.end):
            for layer in self._layers:
                run.masks.release(layer.name)

    def _prune(self, run: Run) -> None:
        from colonnade.sparsify.oneshot.prune import prune_layers

        forwards = None if run.sample_losses is None else _passes(run, self._modifier.num_batches)
        for result, mask in prune_layers(
            run.model, self._layers, forwards, self._plan, self._modifier.targets
        ):
            if mask is None:
                run.note(f"{result.name}: left dense, {result.why}")
            else:
                run.masks.hold(result.name, mask)


def _passes(run: Run, count: int) -> Forwards:
    """Each sees the same batches, if they are drawn by the global generators."""
    from colonnade.sparsify.checkpoint.randomness import capture_randomness, restore_randomness

    state = capture_randomness()

    def start() -> Iterator[Forward]:
        restore_randomness(state)
        return _forwards(run, count)

    return start


def _forwards(run: Run, count: int) -> Iterator[Forward]:
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
