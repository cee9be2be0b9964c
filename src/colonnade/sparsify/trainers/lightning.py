"""A recipe in the Trainer of PyTorch Lightning.

trainer = pl.Trainer(callbacks=[SparsifyCallback("recipe.yaml")])
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from colonnade.errors import CheckpointError, RecipeError
from colonnade.sparsify.recipe import Recipe
from colonnade.sparsify.session import Session, sparsify


class SparsifyCallback(pl.Callback):
    """Applies a recipe; learning rates of the recipe win over the module's own schedulers.

    For modules with one optimizer that Lightning steps itself. The state goes into Lightning's
    checkpoints, and comes back with `fit(..., ckpt_path=...)`. Modifiers that look at what the
    model returned get "logits" or "outputs" of a dict that `training_step` returns; without these,
    what the module itself returned in it, called once as `self(x)`.
    """

    def __init__(self, recipe: Recipe | Path | str, *, teacher: nn.Module | None = None) -> None:
        self._recipe = recipe
        self._teacher = teacher
        self._session: Session | None = None
        self._saved: dict[str, Any] | None = None
        self._module_state: Mapping[str, Tensor] | None = None
        self._strict_loading: bool | None = None
        self._made: list[Any] = []
        self._handle: Any = None

    @property
    def session(self) -> Session:
        """The session; there is one from the beginning of the training on."""
        if self._session is None:
            raise RecipeError("the Trainer has not begun to train")
        return self._session

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before Lightning loads a checkpoint, whose module may have a structure that only the
        recipe brings back: what is strict about it waits until then."""
        del trainer
        if stage == "fit":
            self._saved = self._module_state = None
            self._strict_loading = pl_module.strict_loading
            pl_module.strict_loading = False

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the module's own state until its structure is back."""
        del trainer, pl_module
        if self._strict_loading is not None:  # not in front of a test
            self._module_state = checkpoint["state_dict"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, or go on from Lightning's checkpoint."""
        if len(trainer.optimizers) != 1:
            raise RecipeError(f"expected one optimizer, the module has {len(trainer.optimizers)}")
        num_batches = trainer.num_training_batches
        if not math.isfinite(num_batches):
            raise RecipeError("the length of an epoch is not known; set limit_train_batches")
        self._session = sparsify(
            pl_module,
            trainer.optimizers[0],
            self._recipe,
            math.ceil(num_batches / trainer.accumulate_grad_batches),
            teacher=self._teacher,
        )
        try:
            self._check_loss_is_seen(pl_module)
            self._resume(pl_module)
            self._restore_strictness(pl_module)
        except BaseException:
            self._let_go(pl_module)
            raise
        self._handle = pl_module.register_forward_hook(self._keep_outputs)
        inner = pl_module.training_step

        def training_step(batch: Any, *rest: Any, **names: Any) -> Any:
            self._made.clear()
            changed = self._with_loss(inner(batch, *rest, **names), batch)
            self._made.clear()
            return changed

        pl_module.training_step = training_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before the first forward of a step."""
        del trainer, pl_module, batch, batch_idx
        self.session.begin_step()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        """Gradients are there, unscaled."""
        del pl_module, optimizer
        self.session.before_optimizer(getattr(trainer.precision_plugin, "scaler", None))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Weights have moved, if this batch was the last of a step."""
        del pl_module, outputs, batch, batch_idx
        if trainer.global_step > self.session.run.step:
            self.session.after_optimizer()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Metrics go into the report."""
        del pl_module
        if self._session is not None:
            self._session.log(**{k: float(v) for k, v in trainer.callback_metrics.items()})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the model as it shall be exported."""
        del trainer
        self.session.finalize()
        self._let_go(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let go of the model."""
        del trainer, exception
        self._let_go(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves."""
        return {} if self._session is None else self._session.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the training starts."""
        self._saved = state_dict

    def _check_loss_is_seen(self, module: pl.LightningModule) -> None:
        if self.session.changes_loss and not module.automatic_optimization:
            raise RecipeError(
                "the recipe changes the loss, which a module that optimizes by itself does not "
                "show: use Lightning's automatic optimization"
            )

    def _resume(self, module: pl.LightningModule) -> None:
        if self._module_state is None:
            return
        if self._saved is None:
            raise CheckpointError("the checkpoint has no state of a recipe; was it saved without "
                                  "the recipe?")  # fmt: skip
        self.session.load_state_dict(self._saved)
        try:
            module.load_state_dict(self._module_state, strict=bool(self._strict_loading))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"the checkpoint is of another module: {reason}") from None
        self._saved = self._module_state = None

    def _restore_strictness(self, module: pl.LightningModule) -> None:
        if self._strict_loading is not None:
            module.strict_loading = self._strict_loading
            self._strict_loading = None

    def _let_go(self, module: pl.LightningModule) -> None:
        # The class's own method shows again.
        vars(module).pop("training_step", None)
        self._restore_strictness(module)
        if self._handle is not None:
            self._handle.remove()
        self._made.clear()
        if self._session is not None:
            self._session.close()

    def _keep_outputs(self, module: nn.Module, inputs: Any, made: Any) -> None:
        del inputs
        if module.training:
            self._made.append(made)

    def _with_loss(self, returned: Any, batch: Any) -> Any:
        if returned is None:
            return None
        is_plain = isinstance(returned, Tensor)
        if not is_plain and "loss" not in returned:
            return returned  # Lightning says what is wrong with it.
        outputs = self._outputs(None if is_plain else returned)
        loss = self.session.modify_loss(returned if is_plain else returned["loss"], outputs, batch)
        self.session.check_loss(loss)
        return loss if is_plain else {**returned, "loss": loss}

    def _outputs(self, returned: Mapping[str, Any] | None) -> Any:
        """What the model returned for the batch, or None if that is not clear."""
        if returned is not None and "logits" in returned:
            return returned
        if returned is not None and "outputs" in returned:
            return returned["outputs"]
        return self._made[0] if len(self._made) == 1 else None
