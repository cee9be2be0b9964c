"""Index tables of one axis, written as runs: what the kernel `grid_gather` reads."""

from __future__ import annotations

import numpy as np

FILL = -1
"""Table entry of a position that takes the fill value."""


def encode_runs(table: np.ndarray) -> tuple[int, ...]:
    """(first, step, count) of each run of equal steps; FILL positions make runs of their own.

    >>> encode_runs(np.array([-1, -1, 0, 1, 2, 3, 3]))
    (-1, 0, 2, 0, 1, 4, 3, 0, 1)
    """
    runs: list[int] = []
    fills = np.flatnonzero(np.diff(table == FILL)) + 1
    for piece in np.split(table.astype(np.int64), fills):
        if piece.size and piece[0] == FILL:
            runs += [FILL, 0, int(piece.size)]
        else:
            _encode_piece(piece, runs)
    return tuple(runs)


def _encode_piece(piece: np.ndarray, runs: list[int]) -> None:
    steps = np.diff(piece)
    # Where the step differs from the one before; a run that holds the position ends there.
    changes = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), int(steps.size)]
    begin = 0
    for change in changes:
        if change > begin:
            runs += [int(piece[begin]), int(steps[begin]), change - begin + 1]
            begin = change + 1
    if begin < piece.size:
        runs += [int(piece[begin]), 0, 1]
