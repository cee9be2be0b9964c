"""Pull activations to zero, so that kernels find more of them to skip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from torch import Tensor, nn

    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class ActivationSparsity(Modifier):
    """Add `alpha` times a measure of the outputs of `layers` to the loss, the mean over layers.

    "l1" is the mean magnitude; "hoyer" is the squared sum of magnitudes over the sum of squares,
    divided by the number of values: 1 where all are equal, 1/n where one is left.
    """

    layers: tuple[str, ...] = ("ReLU",)
    alpha: float = 1e-4
    function: Literal["l1", "hoyer"] = "l1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0:
            raise RecipeError(f"expected 0 or more, got {self.alpha:g}", parameter="alpha")

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.modules import find_modules

        modules = find_modules(run.model, self.layers, "layers").values()
        return _Regularise(self, list(modules), run)


class _Regularise(Action):
    def __init__(self, modifier: ActivationSparsity, modules: list[nn.Module], run: Run) -> None:
        self._modifier = modifier
        self._run = run
        self._seen: list[Tensor] = []
        self._handles = [module.register_forward_hook(self._keep) for module in modules]

    def loss(self, run: Run, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        del outputs, batch
        modifier, seen = self._modifier, self._seen
        measured = [measure(values, modifier.function) for values in seen]
        seen.clear()
        is_over = modifier.end is not None and run.step >= run.step_of(modifier.end)
        if not measured or is_over or run.step < run.step_of(modifier.start):
            return loss
        return loss + modifier.alpha * sum(measured) / len(measured)

    def finalize(self, run: Run) -> None:
        del run
        self.close()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._seen.clear()

    def _keep(self, module: nn.Module, inputs: Any, made: Tensor) -> None:
        del inputs
        # Evaluations in between and sampled forwards are not a part of the loss.
        if module.training and made.requires_grad and not self._run.is_sampling:
            self._seen.append(made)


def measure(values: Tensor, function: Literal["l1", "hoyer"]) -> Tensor:
    """What "l1" or "hoyer" says about an activation."""
    magnitudes = values.abs()
    if function == "l1":
        return magnitudes.mean()
    squares = magnitudes.square().sum().clamp(min=1e-30)
    return magnitudes.sum().square() / squares / values.numel()
