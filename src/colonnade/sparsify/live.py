"""The progress of a run at a terminal: one line that stays, with the state of the run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from colonnade.sparsify.session import Session


class LiveView:
    """A progress bar with epoch, loss, metrics and sparsity; `close` leaves the last state."""

    def __init__(self, session: Session, file: TextIO | None = None) -> None:
        self._session = session
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=rich.console.Console(file=sys.stderr if file is None else file),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(
            "sparsify", total=session.run.num_steps, completed=session.run.step
        )
        self._progress.start()

    def update(self) -> None:
        """The state of now."""
        self._progress.update(
            self._task, completed=self._session.run.step, description=summarize(self._session)
        )

    def close(self) -> None:
        """Let go of the terminal."""
        self.update()
        self._progress.stop()


def summarize(session: Session) -> str:
    """One line: epoch, the newest value of each series."""
    parts = [f"epoch {session.run.epoch:.2f}"]
    for name in session.history.series:
        value = session.history.last(name)
        if value is not None:
            parts.append(f"{name} {value:.1%}" if name == "sparsity" else f"{name} {value:.4g}")
    return "  ".join(parts)
