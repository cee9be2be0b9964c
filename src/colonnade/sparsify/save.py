"""What a checkpoint of a session holds, and how a session goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colonnade.errors import CheckpointError, RecipeError
from colonnade.sparsify import ranks
from colonnade.sparsify.checkpoint.files import Files
from colonnade.sparsify.checkpoint.folder import CheckpointFolder

if TYPE_CHECKING:
    from colonnade.sparsify.session import Session

DIVERGED = "diverged.safetensors"


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Where and how often a run is saved; one that finds a checkpoint there goes on from it."""

    folder: Path | str
    every: int
    """Optimizer steps between two checkpoints."""
    files: Files | None = None
    """The operations on the disk, for tests."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise RecipeError(f"checkpoints every {self.every} steps; expected 1 or more")


class Saver:
    """Saves a session every so many steps; made with one, it resumes it if there is a checkpoint.

    Of several processes, all load and the first one writes.
    """

    def __init__(self, session: Session, options: CheckpointOptions) -> None:
        self._session = session
        self._every = options.every
        self._folder: CheckpointFolder | None = None
        if ranks.rank() == 0:
            self._folder = CheckpointFolder(options.folder, options.files)
        try:
            loaded = ranks.broadcast(None if self._folder is None else self._folder.load())
            if loaded is not None:
                restore(session, loaded[1])
        except BaseException:
            self.close()
            raise

    def after_step(self) -> None:
        """Save if it is time, or if the run is complete."""
        run = self._session.run
        if run.step % self._every == 0 or run.step == run.num_steps:
            state = capture(self._session)
            if self._folder is not None:
                self._folder.save(run.step, state)

    def save_diverged(self) -> str:
        """Keep the state of a run that is stopped, to look at; the checkpoints stay.

        All processes call it: each knows a part of the state.
        """
        state = capture(self._session)
        if self._folder is None:
            return ""
        path = self._folder.save_aside(DIVERGED, state)
        return f"; its state is in {path}, the checkpoints stay as they were"

    def close(self) -> None:
        """Let other runs write to the folder."""
        if self._folder is not None:
            self._folder.close()


def capture(session: Session) -> dict[str, Any]:
    """Everything that decides the future of the run."""
    run = session.run
    is_epoch_over = run.step % run.steps_per_epoch == 0
    return {
        "session": session.state_dict(),
        "model": dict(run.model.state_dict()),
        "optimizer": run.optimizer.state_dict(),
        "scaler": None if session.scaler is None else session.scaler.state_dict(),
        "data": ranks.gather(session.data.state_dict(is_epoch_over=is_epoch_over)),
        "is_training": run.model.training,
    }


def restore(session: Session, state: dict[str, Any]) -> None:
    """Bring the session, its model and its optimizer to a captured state."""
    run = session.run
    if len(state["data"]) != ranks.world_size():
        raise CheckpointError(
            f"the run was saved by {len(state['data'])} processes, this one has {ranks.world_size()}"
        )
    session.load_state_dict(state["session"])
    try:
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint is of another model: {error}") from None
    if session.scaler is not None and state["scaler"] is not None:
        session.scaler.load_state_dict(state["scaler"])
    run.model.train(state["is_training"])
    # Last: loading may draw random numbers.
    session.data.load_state_dict(state["data"][ranks.rank()])
