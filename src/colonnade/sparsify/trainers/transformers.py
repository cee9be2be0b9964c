"""A recipe in the Trainer of transformers.

trainer = Trainer(model, args, train_dataset=data, callbacks=[SparsifyCallback("recipe.yaml")])
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from colonnade.errors import CheckpointError, RecipeError
from colonnade.sparsify.checkpoint.files import Files, write_atomically
from colonnade.sparsify.checkpoint.state_file import decode_state, encode_state
from colonnade.sparsify.recipe import Recipe
from colonnade.sparsify.session import Session, sparsify

STATE_NAME = "colonnade.safetensors"


class SparsifyCallback(TrainerCallback):
    """Applies a recipe; learning rates of the recipe win over the Trainer's own schedule.

    The state goes into the Trainer's checkpoints, and comes back with `resume_from_checkpoint`.
    Modifiers that change the loss get it from the model's outputs, as the Trainer does by default;
    with a loss function of your own, call `callback.session.modify_loss` in it.
    """

    def __init__(self, recipe: Recipe | Path | str, *, teacher: nn.Module | None = None) -> None:
        self._recipe = recipe
        self._teacher = teacher
        self._session: Session | None = None
        self._handle: Any = None

    @property
    def session(self) -> Session:
        """The session; there is one from the beginning of the training on."""
        if self._session is None:
            raise RecipeError("the Trainer has not begun to train")
        return self._session

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin, or go on from the Trainer's checkpoint."""
        del control
        num_batches = len(kwargs["train_dataloader"])
        self._session = sparsify(
            kwargs["model"],
            kwargs["optimizer"],
            self._recipe,
            math.ceil(num_batches / args.gradient_accumulation_steps),
            teacher=self._teacher,
        )
        self._handle = self._session.run.model.register_forward_hook(
            self._on_outputs, with_kwargs=True
        )
        if state.global_step:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self._session.load_state_dict(_read_state(folder / STATE_NAME))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Before the first forward of a step."""
        del args, state, control
        self.session.begin_step()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Gradients are there."""
        del args, state, control
        self.session.before_optimizer()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Weights have moved."""
        del args, state, control
        self.session.after_optimizer()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Metrics go into the report."""
        del args, state, control
        if self._session is not None:
            metrics = kwargs.get("metrics") or {}
            self._session.log(**{k: v for k, v in metrics.items() if isinstance(v, int | float)})

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Put the state beside the Trainer's."""
        del control
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            data = encode_state(self.session.state_dict())
            write_atomically(folder / STATE_NAME, data, Files())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the model as it shall be exported."""
        del args, state, control
        self.session.finalize()
        self._handle.remove()
        self.session.close()

    def _on_outputs(self, model: nn.Module, _: Any, inputs: dict[str, Any], outputs: Any) -> Any:
        if not model.training:
            return None
        session = self.session
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if loss is None:
            if session.changes_loss:
                raise RecipeError(
                    "the recipe changes the loss, but the outputs of the model have none; call "
                    "session.modify_loss where the loss is computed"
                )
            return None
        outputs["loss"] = session.modify_loss(loss, outputs, inputs)
        session.check_loss(outputs["loss"])
        return outputs


def _read_state(path: Path) -> Any:
    try:
        return decode_state(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read it: {error.strerror}; was it saved without the recipe?"
        ) from None
