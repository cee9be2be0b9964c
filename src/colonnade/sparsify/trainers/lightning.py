"""A recipe in the Trainer of PyTorch Lightning.

trainer = pl.Trainer(callbacks=[SparsifyCallback("recipe.yaml")])
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe import Recipe
from colonnade.sparsify.session import Session, sparsify


class SparsifyCallback(pl.Callback):
    """Applies a recipe; learning rates of the recipe win over the module's own schedulers.

    For modules with one optimizer that Lightning steps itself. The state goes into Lightning's
    checkpoints, and comes back with `fit(..., ckpt_path=...)`.
    """

    def __init__(self, recipe: Recipe | Path | str, *, teacher: nn.Module | None = None) -> None:
        self._recipe = recipe
        self._teacher = teacher
        self._session: Session | None = None
        self._saved: dict[str, Any] | None = None

    @property
    def session(self) -> Session:
        """The session; there is one from the beginning of the training on."""
        if self._session is None:
            raise RecipeError("the Trainer has not begun to train")
        return self._session

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
        if self._saved is not None:
            self._session.load_state_dict(self._saved)
        inner = pl_module.training_step

        def training_step(batch: Any, *rest: Any, **names: Any) -> Any:
            return self._with_loss(inner(batch, *rest, **names), batch)

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
        """Gradients are there."""
        del trainer, pl_module, optimizer
        self.session.before_optimizer()

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
        if self._session is not None:
            self._let_go(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves."""
        return {} if self._session is None else self._session.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the training starts."""
        self._saved = state_dict

    def _let_go(self, module: pl.LightningModule) -> None:
        # The class's own method shows again.
        vars(module).pop("training_step", None)
        self.session.close()

    def _with_loss(self, outputs: Any, batch: Any) -> Any:
        if outputs is None:
            return None
        is_plain = isinstance(outputs, Tensor)
        loss = self.session.modify_loss(outputs if is_plain else outputs["loss"], outputs, batch)
        self.session.check_loss(loss)
        return loss if is_plain else {**outputs, "loss": loss}
