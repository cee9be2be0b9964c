"""Which panels of an operand a call reads for a range of its output panels.

The other side of `native/exec/reach.h`; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reach:
    """Rows of an image that a window over it reads.

    Columns are l = (n * h + row) * w + column on both sides; only whole rows are told apart.
    """

    lanes: int
    out_columns: int
    in_h: int
    in_w: int
    out_h: int
    out_w: int
    stride_h: int
    span_h: int
    """(kernel_h - 1) * dilation_h + 1"""
    pad_top: int

    def _input_row(self, column: int, down: int, low: int) -> int:
        """The row, over all images, `down` rows below the window's top, inside its image."""
        row = column // self.out_w
        top = row % self.out_h * self.stride_h - self.pad_top + down
        return row // self.out_h * self.in_h + min(max(top, low), self.in_h - 1 + low)


def first_read(reach: Reach | None, panel: int) -> int:
    """The first panel that output panels from `panel` on read; None reads the same panels.

    >>> first_read(None, 3)
    3
    >>> same_3x3 = Reach(64, 2 * 56 * 56, 56, 56, 56, 56, 1, 3, 1)
    >>> first_read(same_3x3, 3), end_read(same_3x3, 4)
    (1, 6)
    """
    if reach is None:
        return panel
    column = min(panel * reach.lanes, reach.out_columns - 1)
    return reach._input_row(column, 0, 0) * reach.in_w // reach.lanes


def end_read(reach: Reach | None, end: int) -> int:
    """One past the last panel that output panels before `end` read."""
    if reach is None:
        return end
    column = min(max(end * reach.lanes, 1), reach.out_columns) - 1
    return (reach._input_row(column, reach.span_h, 1) * reach.in_w - 1) // reach.lanes + 1
