"""Element-wise operators and reductions of any numeric type, on rows.

float32 arithmetic usually never gets here: the passes turn it into element-wise programs first.
Comparisons, logic and reductions of float32 do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    Absent,
    Alias,
    Choice,
    Const,
    In,
    Lowering,
    Operand,
    Out,
    View,
)
from colonnade.planner.element import ELEMENT_CODE, INTEGERS, NUMERIC
from colonnade.planner.lower.attributes import (
    constant_integers,
    integer,
    integers,
    operand,
    real,
    text,
)
from colonnade.planner.lower.moves import NO_ELEMENTS, alias_reshaped, count_panels
from colonnade.planner.plan import Param
from colonnade.planner.strides import MAX_RANK, Walk, broadcast, fuse_axes, row_major, space_params

# Codes of native/kernels/integer/map.h and reduce.h.
_BINARY = {
    "Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Equal": 8, "Less": 9, "LessOrEqual": 10,
    "Greater": 9, "GreaterOrEqual": 10, "And": 11, "Or": 12, "Xor": 13, "BitwiseAnd": 11,
    "BitwiseOr": 12, "BitwiseXor": 13, "Pow": 16,
}  # fmt: skip
_SWAPPED = ("Greater", "GreaterOrEqual")
_LOGIC = ("And", "Or", "Xor")
_BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
_MOD, _FMOD, _SHIFT_LEFT, _SHIFT_RIGHT = 4, 5, 14, 15
_VARIADIC = {"Sum": 0, "Mean": 0, "Min": 6, "Max": 7}
_UNARY = {"Neg": 0, "Abs": 1, "Sign": 2, "Not": 3, "BitwiseNot": 4, "IsNaN": 5}
_IS_INF, _IS_POSITIVE_INF, _IS_NEGATIVE_INF = 6, 7, 8
_REDUCE = {
    "ReduceSum": 0, "ReduceProd": 1, "ReduceMin": 2, "ReduceMax": 3, "ReduceMean": 4,
    "ReduceL1": 5, "ReduceL2": 6, "ReduceSumSquare": 7, "ReduceLogSum": 8, "ReduceLogSumExp": 9,
}  # fmt: skip
# Codes of ReduceKind in native/kernels/reduce/reduce.h.
_REDUCE_FLOAT = {
    "ReduceSum": 0, "ReduceMean": 1, "ReduceMax": 2, "ReduceMin": 3, "ReduceProd": 4,
    "ReduceL1": 5, "ReduceL2": 6, "ReduceSumSquare": 7, "ReduceLogSum": 8, "ReduceLogSumExp": 9,
}  # fmt: skip
_IDENTITY_OF_ONE = ("ReduceSum", "ReduceProd", "ReduceMin", "ReduceMax", "ReduceMean")
_POW_BASES = frozenset({DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64})
_REDUCIBLE = _POW_BASES | {DType.UINT32, DType.UINT64}
_POW_EXPONENTS = _REDUCIBLE
_WITH_EXTREMES = _REDUCIBLE | {DType.INT8, DType.UINT8, DType.BOOL}


def lower_binary(node: Node, view: View) -> Choice | str:
    """Arithmetic, comparison, logic and bits of two operands with numpy broadcasting."""
    if reason := _refuse_binary(node, view):
        return reason
    return _binary(view, _BINARY[node.op], node)


def _refuse_binary(node: Node, view: View) -> str:
    dtype = view.dtype(node.inputs[0])
    if node.version < 7 and ("axis" in node.attrs or "broadcast" in node.attrs):
        return "broadcasting of opset 6 and before"
    if node.op in _LOGIC:
        allowed = dtype is DType.BOOL
    elif node.op in _BITWISE:
        allowed = dtype in INTEGERS
    elif node.op == "Equal":
        allowed = dtype in NUMERIC or dtype is DType.BOOL
    elif node.op == "Pow":
        exponent = view.dtype(node.inputs[1])
        if exponent not in _POW_EXPONENTS:
            return f"exponent of type {exponent.value}"
        allowed = dtype in _POW_BASES
    else:
        allowed = dtype in NUMERIC
    return "" if allowed else f"element type {dtype.value}"


def _binary(view: View, code: int, node: Node) -> Choice | str:
    a, b = node.inputs
    if node.op in _SWAPPED:
        a, b = b, a
    output = node.outputs[0]
    shape = view.shape(output)
    if math.prod(shape) == 0:
        return NO_ELEMENTS
    walks = [Walk(broadcast(view.shape(value), shape)) for value in (a, b)]
    space = space_params(shape, walks)
    if space is None:
        return f"more than {MAX_RANK} axes that cannot be joined"
    params = (code, ELEMENT_CODE[view.dtype(a)], ELEMENT_CODE[view.dtype(b)], *space)
    return Choice("map_binary", (In(a), In(b), Out(output)), params, view.dtype(a).value)


def lower_mod(node: Node, view: View) -> Choice | str:
    """Sign of the divisor, or of the dividend with fmod."""
    dtype = view.dtype(node.inputs[0])
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    return _binary(view, _FMOD if integer(node, "fmod", 0) else _MOD, node)


def lower_bit_shift(node: Node, view: View) -> Choice | str:
    """Right shifts of signed integers keep the sign."""
    dtype = view.dtype(node.inputs[0])
    if dtype not in INTEGERS:
        return f"element type {dtype.value}"
    is_left = text(node, "direction", "LEFT") == "LEFT"
    return _binary(view, _SHIFT_LEFT if is_left else _SHIFT_RIGHT, node)


def lower_variadic(node: Node, view: View) -> Choice | Alias | str:
    """Sum, Mean, Min, Max of any number of operands with numpy broadcasting."""
    output = node.outputs[0]
    dtype, shape = view.dtype(output), view.shape(output)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    if math.prod(shape) == 0:
        return NO_ELEMENTS
    if len(node.inputs) == 1:
        return alias_reshaped(view, node.inputs[0], output)
    walks = [Walk(broadcast(view.shape(value), shape)) for value in node.inputs]
    space = space_params(shape, walks)
    if space is None:
        return f"more than {MAX_RANK} axes that cannot be joined"
    params = (_VARIADIC[node.op], ELEMENT_CODE[dtype], int(node.op == "Mean"), *space)
    operands: tuple[Operand, ...] = (*(In(value) for value in node.inputs), Out(output))
    return Choice("map_variadic", operands, params, f"{len(node.inputs)} operands")


def lower_unary(node: Node, view: View) -> Choice | str:
    """Neg, Abs, Sign, Not, BitwiseNot, IsNaN."""
    dtype = view.dtype(node.inputs[0])
    if node.op == "Not":
        allowed = dtype is DType.BOOL
    elif node.op == "BitwiseNot":
        allowed = dtype in INTEGERS
    elif node.op == "IsNaN":
        allowed = dtype in (DType.FLOAT32, DType.FLOAT64)
    else:
        allowed = dtype in NUMERIC
    if not allowed:
        return f"element type {dtype.value}"
    return _unary(node, view, _UNARY[node.op])


def _unary(node: Node, view: View, code: int) -> Choice | str:
    value, output = node.inputs[0], node.outputs[0]
    elements = math.prod(view.shape(value))
    if elements == 0:
        return NO_ELEMENTS
    params = (code, ELEMENT_CODE[view.dtype(value)], elements)
    return Choice("map_unary", (In(value), Out(output)), params, view.dtype(value).value)


def lower_is_inf(node: Node, view: View) -> Choice | str:
    """Either sign, or one of them."""
    dtype = view.dtype(node.inputs[0])
    if dtype not in (DType.FLOAT32, DType.FLOAT64):
        return f"element type {dtype.value}"
    positive = integer(node, "detect_positive", 1)
    negative = integer(node, "detect_negative", 1)
    if not positive and not negative:
        return "detects nothing"
    code = _IS_INF if positive and negative else _IS_POSITIVE_INF if positive else _IS_NEGATIVE_INF
    return _unary(node, view, code)


def lower_clip(node: Node, view: View) -> Choice | str:
    """Bounds are attributes, constants or computed scalars."""
    value, output = node.inputs[0], node.outputs[0]
    dtype = view.dtype(value)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    elements = math.prod(view.shape(value))
    if elements == 0:
        return NO_ELEMENTS
    operands = (In(value), _bound(node, view, 1), _bound(node, view, 2), Out(output))
    return Choice("clip", operands, (ELEMENT_CODE[dtype], elements), dtype.value)


def _bound(node: Node, view: View, number: int) -> Operand:
    name = ("min", "max")[number - 1]
    if name in node.attrs:
        bound, dtype = real(node, name, 0.0), view.dtype(node.inputs[0]).numpy
        key = ("scalar", bound, dtype.str)
        return Const(key, lambda: np.array([bound]).astype(dtype))
    value = operand(node, number)
    return In(value) if value else Absent()


def lower_relu(node: Node, view: View) -> Choice | str:
    """Relu of integers and doubles: a lower bound of zero."""
    value = node.inputs[0]
    dtype = view.dtype(value)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    elements = math.prod(view.shape(value))
    if elements == 0:
        return NO_ELEMENTS
    zero = Const(("scalar", 0.0, dtype.numpy.str), lambda: np.zeros(1, dtype.numpy))
    operands = (In(value), zero, Absent(), Out(node.outputs[0]))
    return Choice("clip", operands, (ELEMENT_CODE[dtype], elements), dtype.value)


def lower_reduce(node: Node, view: View) -> Choice | Alias | str:
    """Any axes; computed axes do where the output shape tells them."""
    value, output = node.inputs[0], node.outputs[0]
    dtype, shape = view.dtype(value), view.shape(value)
    allowed = _WITH_EXTREMES if node.op in ("ReduceMin", "ReduceMax") else _REDUCIBLE
    if dtype not in allowed:
        return f"element type {dtype.value}"
    if math.prod(view.shape(output)) == 0:
        return NO_ELEMENTS
    axes = _reduced_axes(node, view)
    if isinstance(axes, str):
        return axes
    if all(shape[axis] == 1 for axis in axes) and node.op in _IDENTITY_OF_ONE:
        return alias_reshaped(view, value, output)
    why = f"axes {list(axes)}"
    if dtype is DType.FLOAT32 and 0 not in shape:
        vectorised = _reduce_float(node, view, axes, why)
        if vectorised is not None:
            return vectorised
    params = reduce_params(shape, axes)
    if params is None:
        return f"more than {MAX_RANK} axes that cannot be joined"
    code = (_REDUCE[node.op], ELEMENT_CODE[dtype])
    return Choice("reduce_axes", (In(value), Out(output)), (*code, *params), why)


def _reduce_float(node: Node, view: View, axes: Sequence[int], why: str) -> Choice | None:
    """One axis, or neighbours that make one: the float32 kernel, over features in columns too."""
    value, output = node.inputs[0], node.outputs[0]
    shape, layout = view.shape(value), view.layout(value)
    wide = [axis for axis in axes if shape[axis] != 1] or list(axes[:1])
    if not wide or any(shape[i] != 1 for i in range(wide[0], wide[-1]) if i not in axes):
        return None
    kind = _REDUCE_FLOAT[node.op]
    if layout.feature_axis is not None and wide == [layout.feature_axis]:
        if len(view.shape(output)) != len(shape):
            return None
        panels = count_panels(shape, wide[0], view.panel)
        params = (panels, shape[wide[0]], view.panel, kind)
        return Choice(
            "reduce", (In(value, layout), Out(output, layout)), params, f"{why}, over features"
        )
    n = math.prod(shape[wide[0] : wide[-1] + 1])
    params = (math.prod(shape[: wide[0]]), n, math.prod(shape[wide[-1] + 1 :]), kind)
    return Choice("reduce", (In(value), Out(output)), params, why)


def _reduced_axes(node: Node, view: View) -> tuple[int, ...] | str:
    """The axes from the front, in order."""
    shape, to = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    rank = len(shape)
    given = integers(node, "axes")
    if given is None:
        constant = constant_integers(node, 1, view)
        if isinstance(constant, str):
            return _axes_of_shapes(shape, to, constant)
        given = constant
    if not given:
        return () if integer(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in given}))


def _axes_of_shapes(
    shape: tuple[int, ...], to: tuple[int, ...], reason: str
) -> tuple[int, ...] | str:
    """The axes that turn one shape into the other, where only one set does."""
    if len(shape) != len(to):
        return tuple(range(len(shape))) if not to else reason
    return tuple(i for i, (dim, new) in enumerate(zip(shape, to, strict=True)) if dim != new)


def reduce_params(shape: Sequence[int], axes: Sequence[int]) -> tuple[Param, ...] | None:
    """inner, kept dims and strides, reduced dims and strides; None with too many axes.

    >>> reduce_params((2, 3, 4), (1,))
    (4, (2,), (12,), (3,), (4,))
    """
    strides = row_major(shape)
    kept = [i for i in range(len(shape)) if i not in axes and shape[i] != 1]
    inner = 1
    if kept and all(shape[i] == 1 for i in range(kept[-1] + 1, len(shape))):
        inner = shape[kept.pop()]
        while kept and strides[kept[-1]] == inner:
            inner *= shape[kept.pop()]
    kept_dims, (kept_walk,) = _fuse(shape, strides, kept)
    reduced_dims, (reduced_walk,) = _fuse(shape, strides, axes)
    if len(kept_dims) > MAX_RANK or len(reduced_dims) > MAX_RANK:
        return None
    return inner, kept_dims, kept_walk.strides, reduced_dims, reduced_walk.strides


def _fuse(
    shape: Sequence[int], strides: Sequence[int], axes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[Walk, ...]]:
    return fuse_axes([shape[i] for i in axes], [Walk(tuple(strides[i] for i in axes))])


LOWERINGS: dict[tuple[str, str], Lowering] = {
    **{("", op): lower_binary for op in _BINARY},
    **{("", op): lower_variadic for op in _VARIADIC},
    **{("", op): lower_unary for op in _UNARY},
    **{("", op): lower_reduce for op in _REDUCE},
    ("", "Mod"): lower_mod,
    ("", "BitShift"): lower_bit_shift,
    ("", "IsInf"): lower_is_inf,
    ("", "Clip"): lower_clip,
    ("", "Relu"): lower_relu,
}
