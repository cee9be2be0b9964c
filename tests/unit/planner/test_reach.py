"""Reach: the planner and the native core agree, and both agree with every window one by one."""

from __future__ import annotations

from dataclasses import astuple

from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade import _core
from colonnade.planner.reach import Reach, end_read, first_read


@st.composite
def reaches(draw: st.DrawFn) -> Reach:
    in_h, in_w, out_w = (draw(st.integers(1, 12)) for _ in range(3))
    span = draw(st.integers(1, 7))
    pad = draw(st.integers(0, span - 1))
    stride = draw(st.integers(1, 4))
    out_h = (max(in_h + 2 * pad, span) - span) // stride + 1
    batch = draw(st.integers(1, 3))
    lanes = draw(st.sampled_from([1, 4, 16, 64]))
    return Reach(lanes, batch * out_h * out_w, in_h, in_w, out_h, out_w, stride, span, pad)


@settings(deadline=None, max_examples=200)
@given(reaches(), st.data())
def test_both_sides_find_the_rows_of_every_window(reach: Reach, data: st.DataObject) -> None:
    panels = -(-reach.out_columns // reach.lanes)
    panel = data.draw(st.integers(0, panels - 1))
    end = data.draw(st.integers(panel + 1, panels))
    first, last = first_read(reach, panel), end_read(reach, end)
    assert _core.read_panels(list(astuple(reach)), panel, end) == (first, last)
    columns = range(panel * reach.lanes, min(end * reach.lanes, reach.out_columns))
    read = {
        column // reach.lanes
        for l in columns
        for row in _rows(reach, l)
        for column in range(row * reach.in_w, (row + 1) * reach.in_w)
    }
    assert first < last
    assert not read or (min(read), max(read) + 1) == (first, last) or _has_empty(reach, columns)
    assert all(first <= p < last for p in read)


def _rows(reach: Reach, column: int) -> list[int]:
    """Input rows, over all images, of the window of one output column."""
    n, oh = divmod(column // reach.out_w, reach.out_h)
    top = oh * reach.stride_h - reach.pad_top
    inside = range(max(top, 0), min(top + reach.span_h, reach.in_h))
    return [n * reach.in_h + row for row in inside]


def _has_empty(reach: Reach, columns: range) -> bool:
    return any(not _rows(reach, column) for column in columns)


def test_the_same_panels() -> None:
    assert (first_read(None, 7), end_read(None, 9)) == (7, 9)
    assert _core.read_panels([0] * 9, 7, 9) == (7, 9)
