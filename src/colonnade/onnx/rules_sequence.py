"""Rules for operators that walk along an axis: recurrent networks, sums, reversals."""

from __future__ import annotations

from colonnade.onnx.node_view import MAX_SIZE_ATTRIBUTE, NodeView

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_RANKS = (3, 3, 3, 2, 1, 3, 3, 2)
"""Dimensions of X, W, R, B, sequence_lens, initial_h, initial_c, P."""


def check_recurrent(view: NodeView) -> None:
    """RNN, GRU, LSTM: known directions, weights of one hidden size."""
    direction = view.text_attribute("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise view.error(f"unknown value {direction[:40]!r}", "direction")
    if not 1 <= view.int_attribute("hidden_size", 1) <= MAX_SIZE_ATTRIBUTE:
        raise view.error("expected at least 1", "hidden_size")
    for index, rank in enumerate(_RANKS):
        shape = view.shape(index)
        if shape is not None and len(shape) != rank:
            raise view.error(f"input {index} has {len(shape)} dimensions, expected {rank}")
    weights, recurrence, data = view.shape(1), view.shape(2), view.shape(0)
    if recurrence is None or recurrence[2] is None:
        return
    hidden, directions = recurrence[2], 2 if direction == "bidirectional" else 1
    if view.has("hidden_size") and view.int_attribute("hidden_size", hidden) != hidden:
        raise view.error(f"the recurrence weights have {hidden}", "hidden_size")
    rows = _GATES[view.op] * hidden
    depth = data[2] if data is not None else None
    for index, wanted, given in (
        (1, (directions, rows, depth), weights),
        (2, (directions, rows, hidden), recurrence),
        (3, (directions, 2 * rows), view.shape(3)),
    ):
        pairs = zip(wanted, given or (), strict=False)
        if any(a is not None and b is not None and a != b for a, b in pairs):
            raise view.error(
                f"input {index} has shape {list(given or ())}, expected {list(wanted)}"
            )


def check_cum_sum(view: NodeView) -> None:
    """CumSum, CumProd: one axis, which the input has."""
    data, axis = view.shape(0), view.shape(1)
    if axis is not None and axis not in ((), (1,), (None,)):
        raise view.error(f"axis of shape {list(axis)}, expected a scalar")
    if data is None:
        return
    if not data:
        raise view.error("a scalar has no axis")
    for value in view.int_constant(1) or ():
        if not -len(data) <= value < len(data):
            raise view.error(f"axis {value} is outside an input of {len(data)} dimensions")


def check_reverse_sequence(view: NodeView) -> None:
    """ReverseSequence: two different axes of the first two, a length for every sequence."""
    batch, time = view.int_attribute("batch_axis", 1), view.int_attribute("time_axis", 0)
    if sorted((batch, time)) != [0, 1]:
        raise view.error(
            f"{batch}, with time_axis={time}; one must be 0, the other 1", "batch_axis"
        )
    data, lengths = view.shape(0), view.shape(1)
    if data is None or lengths is None:
        return
    if len(data) < 2 or len(lengths) != 1:
        raise view.error(f"data of {len(data)} dimensions, lengths of {len(lengths)}")
    if None not in (data[batch], lengths[0]) and data[batch] != lengths[0]:
        raise view.error(f"{lengths[0]} lengths for {data[batch]} sequences")


def check_prelu(view: NodeView) -> None:
    """PRelu: a slope that does not widen the input."""
    data, slope = view.shape(0), view.shape(1)
    if data is None or slope is None:
        return
    pairs = zip(reversed(slope), reversed(data), strict=False)
    widens = any(a not in (None, 1) and b is not None and a != b for a, b in pairs)
    if len(slope) > len(data) or widens:
        raise view.error(f"slope of shape {list(slope)} for an input of shape {list(data)}")
