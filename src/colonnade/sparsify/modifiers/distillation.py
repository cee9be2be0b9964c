"""Learn from a teacher: its outputs, and its hidden states."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from torch import Tensor, nn

    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class Distillation(Modifier):
    """Mix into the loss how far outputs, and hidden states of `layers`, are from a teacher's.

    The loss becomes hardness * KL + (1 - hardness) * loss, both at `temperature`, plus
    `hidden_gain` times the mean relative squared error over `layers` (SquareHead). The teacher is
    that of the session ("given"), or a frozen copy of the model as the session found it ("self").
    The loop passes `outputs` and `batch` to the session.
    """

    teacher: Literal["given", "self"] = "self"
    hardness: float = 0.5
    temperature: float = 2.0
    layers: tuple[str, ...] = ()
    """Modules whose outputs are compared; the teacher has them under the same names."""
    hidden_gain: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.hardness <= 1:
            raise RecipeError(f"expected 0 to 1, got {self.hardness:g}", parameter="hardness")
        if self.temperature <= 0:
            raise RecipeError(
                f"expected more than 0, got {self.temperature:g}", parameter="temperature"
            )

    def initialize(self, run: Run) -> Action:
        """Take the teacher, and find the layers in both."""
        from colonnade.sparsify.modules import find_modules

        if self.teacher == "given" and run.teacher is None:
            raise RecipeError(
                "expected a teacher, got none: pass teacher= to the session, or use 'self'",
                parameter="teacher",
            )
        teacher = copy.deepcopy(run.model) if self.teacher == "self" else run.teacher
        assert teacher is not None
        teacher.eval()
        names = tuple(find_modules(run.model, self.layers, "layers")) if self.layers else ()
        known = dict(teacher.named_modules())
        for name in names:
            if name not in known:
                raise RecipeError(f"the teacher has no module {name!r}", parameter="layers")
        return _Distill(self, teacher, names, run)


class _Distill(Action):
    def __init__(
        self, modifier: Distillation, teacher: nn.Module, names: tuple[str, ...], run: Run
    ) -> None:
        self._modifier = modifier
        self._teacher = teacher
        self._names = names
        self._is_hooked = False
        self._hidden: dict[str, Tensor] = {}
        self._taught: dict[str, Tensor] = {}
        self._handles = [
            teacher.get_submodule(name).register_forward_hook(_keeper(self._taught, name))
            for name in names
        ]
        del run

    def before_step(self, run: Run) -> None:
        # Here, not before: a modifier may have replaced modules since.
        if self._is_hooked:
            return
        self._is_hooked = True
        self._handles += [
            run.model.get_submodule(name).register_forward_hook(_keeper(self._hidden, name))
            for name in self._names
        ]

    def loss(self, run: Run, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        from colonnade.sparsify.distill import call_teacher, logits_of, mix, output_loss

        modifier = self._modifier
        if not _is_active(modifier, run):
            return loss
        if outputs is None or batch is None:
            raise RecipeError(
                "needs what the model returned: call step(loss, outputs, batch)",
                modifier="distillation",
            )
        taught = logits_of(call_teacher(self._teacher, batch))
        distilled = output_loss(logits_of(outputs), taught, modifier.temperature)
        return mix(loss, distilled, modifier.hardness) + self._hidden_loss(loss)

    def finalize(self, run: Run) -> None:
        del run
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Any]:
        if self._modifier.teacher == "given":
            return {}
        return {"teacher": self._teacher.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "teacher" in state:
            self._teacher.load_state_dict(state["teacher"])

    def _hidden_loss(self, loss: Tensor) -> Tensor:
        from colonnade.sparsify.distill import square_head_loss

        total = loss.new_zeros(())
        for name in self._names:
            total = total + square_head_loss(self._hidden[name], self._taught[name])
        return self._modifier.hidden_gain * total / max(1, len(self._names))


def _is_active(modifier: Modifier, run: Run) -> bool:
    end = modifier.end
    return run.step >= run.step_of(modifier.start) and (
        end is None or run.step < max(run.step_of(end), 1)
    )


def _keeper(seen: dict[str, Tensor], name: str) -> Any:
    def keep(module: nn.Module, inputs: Any, made: Any) -> None:
        del module, inputs
        seen[name] = made[0] if isinstance(made, tuple) else made

    return keep
