"""Rules for every operator: axes, and lists of dimensions, that no tensor could have.

onnx's own shape inference trusts both: an axis outside the rank reads outside its arrays, and a
list as long as 2^40 becomes a shape of that rank.
"""

from __future__ import annotations

import re

from colonnade.onnx.node_view import NodeView
from colonnade.onnx.tensors import MAX_RANK

_AXIS_NAMES = ("axis", "axes", "batch_dims", "batch_axis", "time_axis", "axis_w", "softmax_axis")

_FREE_AXIS = frozenset(("ConcatFromSequence", "DequantizeLinear", "OneHot", "QuantizeLinear"))
"""Operators whose axis is not one of their first input's, or is not read for a scalar scale."""
_OUTPUT_AXIS = frozenset(("Unsqueeze",))

_LIST_INPUTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "MaxUnpool": (2,),
    "Pad": (1, 3),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Inputs that hold one or two numbers for every dimension of a tensor."""

_MIN_RANKS = {
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "Concat", "Gather", "LpNormalization", "Slice", "Split", "TopK"), 1
    ),
    **dict.fromkeys(("AveragePool", "LpPool", "LRN", "MaxPool", "MaxUnpool"), 3),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), 3),
    **dict.fromkeys(("GridSample", "InstanceNormalization"), 3),
}
"""Dimensions that the first input has at least."""

_EINSUM = re.compile(r"[A-Za-z ]*(\.\.\.)?[A-Za-z ]*")
_MAX_EQUATION = 1000


def check_any(view: NodeView) -> None:
    """The rules that hold for every operator of the ONNX domain."""
    _check_axes(view)
    if view.int_attribute("keepdims", 1) not in (0, 1):
        raise view.error("expected 0 or 1", "keepdims")
    data, least = view.shape(0), _MIN_RANKS.get(view.op, 0)
    if data is not None and len(data) < least:
        raise view.error(f"an input of {len(data)} dimensions, expected at least {least}")
    indices = _LIST_INPUTS.get(view.op, (1,) if view.op.startswith("Reduce") else ())
    for index in indices:
        shape = view.shape(index)
        if shape and shape[0] is not None and shape[0] > 2 * MAX_RANK:
            raise view.error(
                f"input {index} holds {shape[0]} numbers, for at most {MAX_RANK} dimensions"
            )


def check_einsum(view: NodeView) -> None:
    """Einsum: an equation that can be read, with a term for every input."""
    equation = view.text_attribute("equation", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    readable = all(_EINSUM.fullmatch(term) for term in (*terms, right)) and (arrow or not right)
    if not readable or len(equation) > _MAX_EQUATION:
        raise view.error(f"{equation[:60]!r} is not an equation", "equation")
    if len(terms) != len(view.node.input):
        raise view.error(
            f"{equation[:60]!r} has {len(terms)} terms for {len(view.node.input)} inputs",
            "equation",
        )


def _check_axes(view: NodeView) -> None:
    for name in _AXIS_NAMES:
        found = view.attributes.get(name)
        if found is None:
            continue
        low, high = _axis_range(view, name)
        for axis in (found.i, *found.ints):
            if not low <= axis <= high:
                raise view.error(f"{axis} is out of range, expected {low} to {high}", name)


def _axis_range(view: NodeView, name: str) -> tuple[int, int]:
    """What an axis may be: inside the first input's rank, where that is known."""
    data = view.shape(0)
    if data is None or view.op in _FREE_AXIS or name == "axis_w":
        rank = MAX_RANK
    else:
        rank = max(len(data), 1)
        if view.op in _OUTPUT_AXIS:
            axes = view.ints_attribute("axes") or view.int_constant(1) or ()
            rank += len(axes)
    high = rank if view.op == "Flatten" else rank - 1
    return (0 if name == "batch_dims" else -rank), high
