"""A recipe in the Trainer of transformers.

trainer = Trainer(model, args, train_dataset=data, callbacks=[SparsifyCallback("recipe.yaml")])
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from colonnade.errors import CheckpointError, RecipeError
from colonnade.sparsify.checkpoint.files import Files, write_atomically
from colonnade.sparsify.checkpoint.state_file import decode_state, encode_state
from colonnade.sparsify.layers import unwrap
from colonnade.sparsify.recipe import Recipe
from colonnade.sparsify.session import Session, sparsify
from colonnade.sparsify.trainers.accumulation import ITEMS, Accumulation, divides_by_items

STATE_NAME = "colonnade.safetensors"


class SparsifyCallback(TrainerCallback):
    """Applies a recipe; learning rates of the recipe win over the Trainer's own schedule.

    The state goes into the Trainer's checkpoints, and comes back with `resume_from_checkpoint`.
    Modifiers that change the loss get it from the model's outputs, as the Trainer does by default;
    with a loss function of your own, call `callback.session.modify_loss` in it. What they add is
    the mean over the batches of a step, and so is then the model's own loss.

    The Trainer does not say when a training breaks off: `close`, leaving `with callback:`, or the
    next training of the callback or of the model lets go of the model.
    """

    def __init__(self, recipe: Recipe | Path | str, *, teacher: nn.Module | None = None) -> None:
        self._recipe = recipe
        self._teacher = teacher
        self._session: Session | None = None
        self._handle: Any = None
        self._plain: frozenset[str] = frozenset()
        self._accumulation = Accumulation(1, 1)
        self._is_share: bool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model, as after a training that broke off; the session stays readable."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._session is not None:
            self._session.close()

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
        model = unwrap(kwargs["model"])
        self.close()
        _close_broken_off(model)
        self._accumulation = Accumulation(
            len(kwargs["train_dataloader"]),
            args.gradient_accumulation_steps,
            args.world_size if args.average_tokens_across_devices else 1,
        )
        self._is_share = None
        self._plain = frozenset(model.state_dict())
        self._session = sparsify(
            model,
            kwargs["optimizer"],
            self._recipe,
            self._accumulation.num_steps,
            teacher=self._teacher,
        )
        self._handle = model.register_forward_hook(self._on_outputs, with_kwargs=True)
        if state.global_step:
            try:
                self._resume(_resumed_folder() / STATE_NAME)
            except BaseException:
                self.close()
                raise

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Before the first forward of a step."""
        del args, state, control
        self.session.begin_step()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Gradients are there."""
        del args, state, control
        # In half precision, accelerate's optimizer has the scaler.
        self.session.before_optimizer(getattr(kwargs.get("optimizer"), "scaler", None))

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
            saved = {**self.session.state_dict(), "model": self._beyond_plain()}
            write_atomically(folder / STATE_NAME, encode_state(saved), Files())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the model as it shall be exported."""
        del args, state, control
        self.session.finalize()
        self.close()

    def _beyond_plain(self) -> dict[str, Tensor]:
        """The part of the model's state that it has from the recipe: the Trainer loads a checkpoint
        before the structure is back, and drops this part."""
        state = self.session.run.model.state_dict()
        return {name: value for name, value in state.items() if name not in self._plain}

    def _resume(self, path: Path) -> None:
        saved = _read_state(path)
        model = self.session.run.model
        # What the Trainer has loaded: bringing the structure back may change weights.
        loaded = {name: value.clone() for name, value in model.state_dict().items()}
        self.session.load_state_dict(saved)
        model.load_state_dict({**loaded, **saved.get("model", {})}, strict=False)

    def _on_outputs(self, model: nn.Module, _: Any, inputs: dict[str, Any], outputs: Any) -> Any:
        if not model.training:
            return None
        session = self.session
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if not session.changes_loss:
            if loss is not None:
                session.check_loss(loss)
            return None
        if loss is None:
            raise RecipeError(
                "the recipe changes the loss, but the outputs of the model have none; call "
                "session.modify_loss where the loss is computed"
            )
        outputs["loss"] = self._modify(model, loss, outputs, inputs)
        return outputs

    def _modify(
        self, model: nn.Module, loss: Tensor, outputs: Any, inputs: dict[str, Any]
    ) -> Tensor:
        session = self.session
        parts = self._accumulation.parts(session.run.step) if ITEMS in inputs else 1
        if parts > 1 and self._is_share is None:
            self._is_share = divides_by_items(model, inputs)
        mean = loss * parts if parts > 1 and self._is_share else loss
        batch = {name: value for name, value in inputs.items() if name != ITEMS}
        changed = session.modify_loss(mean, outputs, batch)
        session.check_loss(changed)
        # The Trainer divides only the losses of models that are not told the number of items.
        return changed / parts if parts > 1 else changed


def _close_broken_off(model: nn.Module) -> None:
    """Let callbacks go whose training of the model broke off: they would act in this one, too."""
    for hook in list(model._forward_hooks.values()):
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, SparsifyCallback):
            owner.close()


def _resumed_folder() -> Path:
    """The folder that the Trainer resumes from, which it tells no callback: it is known to the
    functions that are running."""
    frame = inspect.currentframe()
    while frame is not None:
        folder = frame.f_locals.get("resume_from_checkpoint")
        if isinstance(folder, str | Path):
            return Path(folder)
        frame = frame.f_back
    raise CheckpointError("the folder that the Trainer resumes from is not known: call its train()")


def _read_state(path: Path) -> Any:
    try:
        return decode_state(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read it: {error.strerror}; was it saved without the recipe?"
        ) from None
