"""One session: a recipe at work on a model, for a plain training loop and for trainers."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from colonnade.errors import RecipeError, RunError
from colonnade.sparsify import ranks
from colonnade.sparsify.data import DataPosition
from colonnade.sparsify.history import History
from colonnade.sparsify.layers import unwrap
from colonnade.sparsify.live import LiveView
from colonnade.sparsify.masks import Masks
from colonnade.sparsify.modifier import Action, Modifier
from colonnade.sparsify.recipe import Recipe, load_recipe
from colonnade.sparsify.registry import modifier_name
from colonnade.sparsify.run import Run
from colonnade.sparsify.save import CheckpointOptions, Saver

Batch = TypeVar("Batch")

SPARSITIES_PER_EPOCH = 16
"""How often the sparsity of all masks is counted for the report."""


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """How a batch becomes a step of the optimizer."""

    accumulate: int = 1
    """Batches whose gradients are averaged in one step."""
    scaler: Any = None
    """A torch.amp.GradScaler; the loss is then computed under autocast by the caller."""
    clip_norm: float | None = None
    """The largest norm of all gradients together."""

    def __post_init__(self) -> None:
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise RecipeError(
                f"expected a whole number, 1 or more, got {self.accumulate!r}",
                parameter="accumulate",
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise RecipeError(
                f"expected more than 0 (None does not clip), got {self.clip_norm!r}",
                parameter="clip_norm",
            )


PLAIN = StepOptions()


def sparsify(
    model: nn.Module,
    optimizer: Optimizer,
    recipe: Recipe | Path | str,
    steps_per_epoch: int,
    *,
    options: StepOptions = PLAIN,
    checkpoints: CheckpointOptions | None = None,
    teacher: nn.Module | None = None,
    sample_losses: Callable[[], Iterator[Tensor]] | None = None,
    progress: bool = False,
) -> Session:
    """A session in which `recipe` (an object, or the path of a file) is applied to `model`.

    with sparsify(model, optimizer, "recipe.yaml", len(loader)) as s:
        for epoch in s.epochs():
            for batch, target in s.batches(loader):
                s.step(loss_function(model(batch), target))

    `steps_per_epoch` counts steps of the optimizer. `step` does the backward and the step. With
    `checkpoints` an interrupted run goes on where it was, with the same bits; `batches` then knows
    which ones are left. `progress` shows a bar on standard error.
    """
    if steps_per_epoch < 1:
        raise RecipeError(
            f"steps_per_epoch: expected 1 or more, got {steps_per_epoch}; is the data empty?"
        )
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    inner = unwrap(model)
    run = Run(
        model=inner,
        optimizer=optimizer,
        steps_per_epoch=steps_per_epoch,
        num_steps=recipe.num_steps(steps_per_epoch),
        masks=Masks(inner),
        teacher=teacher,
        sample_losses=sample_losses,
    )
    modifiers = recipe.timeline(steps_per_epoch)
    session = Session(run, modifiers, options, checkpoints)
    if progress:
        session.show()
    return session


class Session:
    """Applies modifiers step by step; made by `sparsify`.

    A plain loop calls `step`. A trainer that steps itself calls `begin_step` before the first
    forward of a step, `modify_loss` for each batch, and `before_optimizer` and `after_optimizer`
    around its step.
    """

    def __init__(
        self,
        run: Run,
        modifiers: tuple[Modifier, ...],
        options: StepOptions = PLAIN,
        checkpoints: CheckpointOptions | None = None,
    ) -> None:
        self.run = run
        self._options = options
        self._data = DataPosition()
        self._view: LiveView | None = None
        self.history = History()
        self._names = [modifier_name(modifier) for modifier in modifiers]
        self.plan = [str(modifier) for modifier in modifiers]
        self._has_begun = False
        self._num_batches = 0
        self._losses: list[float] = []
        self._actions = [
            _initialize(modifier, name, run)
            for modifier, name in zip(modifiers, self._names, strict=True)
        ]
        # The step begins with the first forward in training mode: an evaluation between two steps
        # sees the model as the last step left it.
        self._handle = run.model.register_forward_pre_hook(_OnForward(self))
        self._saver: Saver | None = None
        if checkpoints is not None:
            self._saver = Saver(self, checkpoints)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finalize()
        finally:
            self.close()

    @property
    def masks(self) -> Masks:
        """Which weights are held at zero."""
        return self.run.masks

    @property
    def is_complete(self) -> bool:
        """Whether the recipe has run to its end."""
        return self.run.step >= self.run.num_steps

    def step(self, loss: Tensor, outputs: Any = None, batch: Any = None) -> None:
        """Backward of one batch's loss and, when `accumulate` batches are in, the optimizer's step.

        Modifiers that look at what the model returned (distillation) need `outputs` and `batch`.
        Gradients are zeroed afterwards. A loss or a gradient that is not finite stops the run
        before any weight moves; with a scaler, a step whose gradients are not is skipped.
        """
        options, run = self._options, self.run
        self._begin_late()
        loss = self.modify_loss(loss, outputs, batch) / options.accumulate
        self.check_loss(loss)
        (loss if options.scaler is None else options.scaler.scale(loss)).backward()
        self._num_batches += 1
        if self._num_batches < options.accumulate:
            return
        if options.scaler is not None:
            options.scaler.unscale_(run.optimizer)
        self.before_optimizer()
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(run.model.parameters(), options.clip_norm)
        if options.scaler is None:
            run.optimizer.step()
        else:
            options.scaler.step(run.optimizer)
            options.scaler.update()
        self.after_optimizer()
        run.optimizer.zero_grad()
        if self._saver is not None:
            self._saver.after_step()

    def epochs(self) -> Iterator[int]:
        """The epochs that are left, by their number from 0; the first may have begun already."""
        while not self.is_complete:
            step = self.run.step
            yield step // self.run.steps_per_epoch
            if self.run.step == step:
                raise RunError("an epoch went by without a step: is the data empty?")

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of `loader` that are left of this epoch.

        An epoch is over after `steps_per_epoch` steps, whatever the length of the loader. A resumed
        epoch starts after the batches that were taken, in the same order.
        """
        run = self.run
        epoch = run.step // run.steps_per_epoch
        end = min((epoch + 1) * run.steps_per_epoch, run.num_steps)
        return self._data.passes(loader, lambda: run.step >= end, epoch)

    def begin_step(self) -> None:
        """Masks, rates and phases of the step; nothing if it has begun already."""
        if self._has_begun:
            return
        self._has_begun = True
        with torch.no_grad():
            for action in self._actions:
                action.before_step(self.run)
            for action in self._actions:
                action.before_forward(self.run)

    def modify_loss(self, loss: Tensor, outputs: Any = None, batch: Any = None) -> Tensor:
        """The loss of a batch with what the modifiers add to it."""
        for action in self._actions:
            loss = action.loss(self.run, loss, outputs, batch)
        return loss

    def before_optimizer(self, scaler: Any = None) -> None:
        """All gradients of the step are there, and unscaled.

        `scaler`: that of a trainer, which skips a step whose gradients are not finite.
        """
        self.begin_step()
        self._check_gradients(scaler or self.scaler)
        with torch.no_grad():
            for action in self._actions:
                action.before_optimizer(self.run)
        self.masks.mask_gradients()

    def after_optimizer(self) -> None:
        """The optimizer has moved the weights: the step is over."""
        with torch.no_grad():
            for action in self._actions:
                action.after_optimizer(self.run)
        self.masks.apply()
        self.run.step += 1
        self._num_batches = 0
        self._has_begun = False
        self._record()

    def finalize(self) -> None:
        """Leave the model as the recipe wants it to be exported."""
        if not self.is_complete:
            self.run.note(
                f"the recipe has {self.run.num_steps} steps, the run stopped after {self.run.step}"
            )
        else:
            # What is due at the very end of the timeline, as the last pruning step.
            self.begin_step()
        with torch.no_grad():
            for action in self._actions:
                action.finalize(self.run)
        self.masks.apply()

    def log(self, **metrics: float) -> None:
        """Keep metrics of now, as `s.log(accuracy=0.93)`, for the progress line and the report."""
        for name, value in metrics.items():
            self.history.add(name, self.run.step, float(value))
        if self._view is not None:
            self._view.update()

    def show(self) -> None:
        """Show a progress bar on standard error until the session is closed."""
        self._view = LiveView(self)

    def close(self) -> None:
        """Let go of the model."""
        if self._view is not None:
            self._view.close()
            self._view = None
        self._handle.remove()
        for action in self._actions:
            action.close()
        self.masks.close()
        if self._saver is not None:
            self._saver.close()

    def state_dict(self) -> dict[str, Any]:
        """Masks, position and the modifiers' states; taken between two steps."""
        actions = zip(self._names, self._actions, strict=True)
        return {
            "step": self.run.step,
            "masks": self.masks.state_dict(),
            "actions": [[name, action.state_dict()] for name, action in actions],
            "notes": list(self.run.notes),
            "plan": list(self.plan),
            "steps_per_epoch": self.run.steps_per_epoch,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; load the model's own state afterwards."""
        names = [name for name, _ in state["actions"]]
        if names != self._names:
            raise RecipeError(
                f"the saved run has the modifiers {', '.join(names)}; this one has "
                f"{', '.join(self._names)}: resume with the same recipe"
            )
        for before, now in zip(state["plan"], self.plan, strict=True):
            if before != now:
                raise RecipeError(
                    f"the saved run has {before}, this one {now}; resume with the same"
                )
        saved_steps = state.get("steps_per_epoch", self.run.steps_per_epoch)
        if saved_steps != self.run.steps_per_epoch:
            raise RecipeError(
                f"the saved run has {saved_steps} steps in an epoch, this one "
                f"{self.run.steps_per_epoch}; resume with the same data, batch size and "
                "accumulation"
            )
        self.run.step = state["step"]
        self.run.notes = list(state["notes"])
        self.history.load_state_dict(state["history"])
        for action, (_, saved) in zip(self._actions, state["actions"], strict=True):
            action.load_state_dict(saved)
        self.masks.load_state_dict(state["masks"])

    @property
    def changes_loss(self) -> bool:
        """Whether a modifier adds something to the loss."""
        return any(type(action).loss is not Action.loss for action in self._actions)

    @property
    def data(self) -> DataPosition:
        """Where in its data the run is."""
        return self._data

    @property
    def scaler(self) -> Any:
        """The gradient scaler of mixed precision, if there is one."""
        return self._options.scaler

    def _record(self) -> None:
        run = self.run
        if self._losses:
            self.history.add("loss", run.step, sum(self._losses) / len(self._losses))
            self._losses.clear()
        if run.step % max(1, run.steps_per_epoch // SPARSITIES_PER_EPOCH) == 0:
            self.history.add("sparsity", run.step, self.masks.total_sparsity())
        if self._view is not None:
            self._view.update()

    def check_loss(self, loss: Tensor) -> None:
        """Keep the loss of a batch for the report; one that is not finite, in any process, stops
        the run in all of them."""
        value = float(loss.detach()) * self._options.accumulate
        self._losses.append(value)
        if ranks.any_rank(flag=not math.isfinite(value), device=loss.device):
            elsewhere = " here; it is not finite in another process" if math.isfinite(value) else ""
            self._stop(f"the loss is {value}{elsewhere}")

    def _begin_late(self) -> None:
        """Begin a step whose forward was not seen; it must not change what that has used."""
        if self._has_begun:
            return
        weights = list(self.run.model.parameters())
        before = [weight._version for weight in weights]
        self.begin_step()
        if before != [weight._version for weight in weights]:
            raise RunError(
                f"step {self.run.step}: modifiers change weights before the forward, and no "
                "forward of the model in training mode was seen; call it as model(...), or call "
                "begin_step before you use its weights"
            )

    def _check_gradients(self, scaler: Any) -> None:
        parameters = dict(self.run.model.named_parameters())
        gradients = {
            name: _values(one.grad) for name, one in parameters.items() if one.grad is not None
        }
        # One answer for all of them: to ask each would wait for the device each time.
        if _is_finite(gradients.values()):
            return
        wrong = [name for name, values in gradients.items() if not _is_finite([values])]
        if scaler is None:
            more = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
            self._stop(f"the gradient of {wrong[0]}{more} is not finite")
        # The scaler has seen it and moves nothing: no modifier shall learn from this step.
        for parameter in parameters.values():
            parameter.grad = None

    def _stop(self, reason: str) -> NoReturn:
        where = f"step {self.run.step} (epoch {self.run.epoch:.3g})"
        saved = "" if self._saver is None else self._saver.save_diverged()
        self.run.note(f"{where}: {reason}; the run was stopped")
        raise RunError(
            f"{reason} in {where}; no weight was moved by it{saved}. Lower the learning rate, or "
            "clip gradients"
        )


class _OnForward:
    """Begins a step of the session with a forward of the model in training mode.

    A copy of the model, or a saved one, is in no session: its hook does nothing.
    """

    def __init__(self, session: Session | None = None) -> None:
        self._session = None if session is None else weakref.ref(session)

    def __call__(self, module: nn.Module, _: Any) -> None:
        session = None if self._session is None else self._session()
        if session is not None and module.training:
            _begin_step(session)

    def __reduce__(self) -> tuple[type[_OnForward], tuple[()]]:
        return _OnForward, ()


@torch.compiler.disable
def _begin_step(session: Session) -> None:
    session.begin_step()


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _is_finite(tensors: Iterable[Tensor]) -> bool:
    # The greatest magnitude is not finite if any element is; a NaN wins.
    full = [tensor for tensor in tensors if tensor.numel()]
    return math.isfinite(float(nn.utils.get_total_norm(full, math.inf)))


def _initialize(modifier: Modifier, name: str, run: Run) -> Action:
    try:
        return modifier.initialize(run)
    except RecipeError as error:
        raise RecipeError(
            error.reason,
            source=error.source,
            line=error.line,
            modifier=name,
            parameter=error.parameter,
        ) from None
