"""Learn from a teacher: its outputs, and its hidden states."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

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
        if not 0 < self.temperature < math.inf:
            raise RecipeError(
                f"expected more than 0, got {self.temperature:g}", parameter="temperature"
            )
        if not 0 <= self.hidden_gain < math.inf:
            raise RecipeError(
                f"expected 0 or more, got {self.hidden_gain:g}", parameter="hidden_gain"
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
        if any(module is run.model for module in teacher.modules()):
            raise RecipeError(
                "the given teacher is the model that is trained, or contains it: give another, or "
                "use 'self' for a frozen copy",
                parameter="teacher",
            )
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
        self._hidden: dict[str, Any] = {}
        self._taught: dict[str, Any] = {}
        self._hooked: dict[str, nn.Module] = {}
        self._handles: dict[str, RemovableHandle] = {}
        self._teacher_handles = [
            teacher.get_submodule(name).register_forward_hook(_keeper(self._taught, name))
            for name in names
        ]
        del run

    def before_forward(self, run: Run) -> None:
        # In every step: a modifier may have replaced modules since.
        for name in self._names:
            module = run.model.get_submodule(name)
            if module is self._hooked.get(name):
                continue
            if name in self._handles:
                self._handles[name].remove()
            self._hooked[name] = module
            self._handles[name] = module.register_forward_hook(self._keeper(name))

    def loss(self, run: Run, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        from colonnade.sparsify.distill import call_teacher, logits_of, mix, output_loss

        modifier = self._modifier
        if not _is_active(modifier, run):
            return loss
        if outputs is None or batch is None:
            raise RecipeError(
                "needs what the model returned: call step(loss, outputs, batch); in Lightning, "
                "call self(x) once in training_step, or let it "
                'return {"loss": loss, "logits": logits}',
                modifier="distillation",
            )
        taught = logits_of(call_teacher(self._teacher, batch))
        distilled = output_loss(logits_of(outputs), taught, modifier.temperature)
        return mix(loss, distilled, modifier.hardness) + self._hidden_loss(loss)

    def finalize(self, run: Run) -> None:
        del run
        self.close()

    def close(self) -> None:
        for handle in (*self._teacher_handles, *self._handles.values()):
            handle.remove()
        self._hidden.clear()
        self._taught.clear()

    def state_dict(self) -> dict[str, Any]:
        if self._modifier.teacher == "given":
            return {}
        return {"teacher": self._teacher.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "teacher" in state:
            self._teacher.load_state_dict(state["teacher"])

    def _keeper(self, name: str) -> Any:
        from torch import is_grad_enabled

        keep = _keeper(self._hidden, name)

        def keep_trained(module: nn.Module, inputs: Any, made: Any) -> None:
            # An evaluation between a forward and its step is not a part of it.
            if is_grad_enabled():
                keep(module, inputs, made)

        return keep_trained

    def _hidden_loss(self, loss: Tensor) -> Tensor:
        from colonnade.sparsify.distill import square_head_loss

        total = loss.new_zeros(())
        for name in self._names:
            student = _taken(self._hidden, name, "model")
            total = total + square_head_loss(student, _taken(self._taught, name, "teacher"))
        return self._modifier.hidden_gain * total / max(1, len(self._names))


def _is_active(modifier: Modifier, run: Run) -> bool:
    end = modifier.end
    return run.step >= run.step_of(modifier.start) and (
        end is None or run.step < max(run.step_of(end), 1)
    )


def _keeper(seen: dict[str, Any], name: str) -> Any:
    def keep(module: nn.Module, inputs: Any, made: Any) -> None:
        del module, inputs
        seen[name] = made

    return keep


def _taken(seen: dict[str, Any], name: str, whose: str) -> Tensor:
    """The hidden states of a layer in this batch; they are let go."""
    from colonnade.sparsify.distill import hidden_of

    if name not in seen:
        raise RecipeError(
            f"the {whose} did not run {name!r} for this batch", modifier="distillation",
            parameter="layers",
        )  # fmt: skip
    made = seen.pop(name)
    hidden = hidden_of(made)
    if hidden is None:
        raise RecipeError(
            f"expected a tensor, or an output with one, from {name!r} of the {whose}, got a "
            f"{type(made).__name__}: name a layer that returns its hidden states",
            modifier="distillation",
            parameter="layers",
        )
    return hidden
