"""What commands print: rich at a terminal, plain text elsewhere, one JSON document on request."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
import rich.box
import rich.console
import rich.markup
import rich.table

SLOW_S = 1.0
"""A stage that takes longer is worth a line."""

ProgressCall = Callable[[str, float | None], None]


@dataclass
class Console:
    """The way out of a command. Results go to standard output, all else to standard error."""

    is_json: bool = False
    is_quiet: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    now: Callable[[], float] = time.monotonic

    def document(self, data: Mapping[str, Any]) -> None:
        """The command's result as JSON, with --json; nothing otherwise."""
        if self.is_json:
            print(json.dumps(plain_data(data), indent=2, allow_nan=False), file=self.out)

    def line(self, text: str = "") -> None:
        """A line of the result, for people."""
        if not self.is_json:
            print(text, file=self.out)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        numeric: Sequence[str] = (),
        *,
        wraps: bool = False,
    ) -> None:
        """A table of the result; the columns in `numeric` are set to the right.

        At a terminal too narrow for it, its cells wrap with `wraps`, else its lines do.
        """
        if self.is_json:
            return
        lines = plain_table(columns, rows, numeric)
        screen = rich.console.Console(file=self.out)
        width = max(len(text) for text in lines) + len(columns)
        if self.out.isatty() and (wraps or width <= screen.width):
            screen.print(_rich_table(columns, rows, numeric))
            return
        for text in lines:
            print(text, file=self.out)

    def note(self, text: str) -> None:
        """Something to know beside the result."""
        if not self.is_quiet:
            print(f"note: {text}", file=self.err)

    def error(self, text: str) -> None:
        """A text on standard error."""
        print(text, file=self.err)

    def fail(self, text: str, kind: str, code: int) -> None:
        """The command's one error; a document as well with --json."""
        self.error(f"error: {text}")
        self.document({"error": {"kind": kind, "message": text, "exit_code": code}})

    @contextlib.contextmanager
    def progress(self) -> Iterator[ProgressCall]:
        """A function that is told the stage and the share done (None: not known)."""
        if self.is_quiet:
            yield _no_progress
        elif self.err.isatty():
            with _live_progress(self.err) as report:
                yield report
        else:
            log = _StageLog(self)
            yield log
            log.finish()


class _StageLog:
    """Progress in plain text: a line when a stage is over that took more than SLOW_S."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage: str | None = None
        self._since = 0.0

    def __call__(self, stage: str, _: float | None) -> None:
        if stage != self._stage:
            self.finish()
            self._stage, self._since = stage, self._console.now()

    def finish(self) -> None:
        """The stage is over."""
        if self._stage is None:
            return
        seconds = self._console.now() - self._since
        if seconds > SLOW_S:
            self._console.error(f"{self._stage}: {seconds:.1f} s")
        self._stage = None


def _no_progress(_: str, __: float | None) -> None:
    pass


@contextlib.contextmanager
def _live_progress(err: TextIO) -> Iterator[ProgressCall]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=rich.console.Console(file=err),
        transient=True,
    )
    with shown:
        task = shown.add_task("starting", total=None)

        def report(stage: str, share: float | None) -> None:
            total = None if share is None else 1.0
            shown.update(
                task, description=rich.markup.escape(stage), total=total, completed=share or 0.0
            )

        yield report


def _rich_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str]
) -> rich.table.Table:
    table = rich.table.Table(header_style="bold", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = column in numeric
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*(rich.markup.escape(cell) for cell in row))
    return table


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()
) -> list[str]:
    """Columns padded with spaces, nothing cut; the last column is as long as it is."""
    widths = [
        max(len(name), *(len(row[i]) for row in rows)) if rows else len(name)
        for i, name in enumerate(columns)
    ]
    lines = []
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def plain_data(value: Any) -> Any:
    """Data that JSON can hold: numpy numbers become Python's, NaN and infinities become text."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_data(item) for item in value]
    if isinstance(value, np.generic):
        return plain_data(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def mib(nbytes: float) -> str:
    """Bytes as mebibytes with two digits.

    >>> mib(3 * 2**20)
    '3.00'
    """
    return f"{nbytes / 2**20:.2f}"
