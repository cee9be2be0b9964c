"""Operators that move items: views, transposes, slices, concatenation, padding, tiling, casts.

A view costs nothing; in column panels it stays a view as long as the columns keep their order
(planner/columns.py). Everything else here is one copy in row-major order, but for concatenation
and splitting along the feature axis, which work on panels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    BYTE_GROUP,
    BYTES,
    ROWS,
    Absent,
    Alias,
    Choice,
    Const,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    Striped,
    View,
    panel_features,
)
from colonnade.planner.columns import transposed_feature_axis
from colonnade.planner.element import ELEMENT_CODE, MOVABLE_BYTES
from colonnade.planner.index_table import FILL
from colonnade.planner.lower.attributes import (
    axis_of,
    constant_integers,
    integer,
    integers,
    operand,
    real,
    text,
)
from colonnade.planner.lower.moves import (
    NO_ELEMENTS,
    alias_reshaped,
    copy_constant,
    count_panels,
    fill_constant,
    gather_grid,
    strided_copy,
)
from colonnade.planner.lower.resize import lower_grid_sample, lower_resize, lower_upsample
from colonnade.planner.strides import Walk, row_major, space_params


def lower_view(node: Node, view: View) -> Choice | Alias | str:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity: the same bytes under another shape.

    The output shape is static, so that a computed shape operand does not matter.
    """
    return alias_reshaped(view, node.inputs[0], node.outputs[0])


def lower_dropout(node: Node, view: View) -> Choice | Alias | str:
    """Inference only: the data pass through, and the mask, where it is wanted, is all true."""
    value, output = node.inputs[0], node.outputs[0]
    training = operand(node, 2)
    if training:
        flag = view.constant(training)
        if flag is None or bool(flag.any()):
            return "Dropout in training mode"
    if node.version < 7 and not integer(node, "is_test", 0):
        return "Dropout in training mode"
    mask = node.outputs[1] if len(node.outputs) > 1 else ""
    if not mask:
        return alias_reshaped(view, value, output)
    filled = fill_constant(view, np.ones(1, view.dtype(mask).numpy), mask)
    copied = strided_copy(
        view, value, output, view.shape(output), Walk(row_major(view.shape(output))), "with mask"
    )
    if isinstance(filled, str) or isinstance(copied, str):
        return NO_ELEMENTS
    return replace(copied, before=(filled,))


def lower_transpose(node: Node, view: View) -> Choice | Alias | str:
    """A view where the order of the items stays, else a strided copy."""
    value, output = node.inputs[0], node.outputs[0]
    shape = view.shape(value)
    perm = integers(node, "perm") or tuple(reversed(range(len(shape))))
    layout = view.layout(value)
    if layout.feature_axis is not None and 0 not in shape:
        axis = transposed_feature_axis(shape, layout.feature_axis, perm)
        if axis is not None:
            return Alias(value, output, layout, Layout(axis), "columns keep their order")
    moved = [axis for axis in perm if shape[axis] != 1]
    if moved == sorted(moved) and 0 not in shape:
        return Alias(value, output, ROWS, ROWS, "only axes of size 1 move")
    strides = row_major(shape)
    walk = Walk(tuple(strides[axis] for axis in perm))
    return strided_copy(view, value, output, view.shape(output), walk, f"transpose {list(perm)}")


def lower_expand(node: Node, view: View) -> Choice | Alias | str:
    """Broadcast to a larger shape."""
    value, output = node.inputs[0], node.outputs[0]
    shape, to = view.shape(value), view.shape(output)
    if shape == to or math.prod(shape) == math.prod(to):
        return alias_reshaped(view, value, output)
    padded = (1,) * (len(to) - len(shape)) + shape
    strides = row_major(padded)
    walk = Walk(tuple(0 if padded[i] == 1 else strides[i] for i in range(len(to))))
    return strided_copy(view, value, output, to, walk, "broadcast")


def lower_tile(node: Node, view: View) -> Choice | Alias | str:
    """Repeat along axes; the repeats follow from the shapes."""
    value, output = node.inputs[0], node.outputs[0]
    shape, to = view.shape(value), view.shape(output)
    if node.version < 6:
        return "Tile before opset 6"
    if math.prod(to) == 0:
        return NO_ELEMENTS
    if shape == to:
        return alias_reshaped(view, value, output)
    strides = row_major(shape)
    dims: list[int] = []
    steps: list[int] = []
    for dim, new_dim, stride in zip(shape, to, strides, strict=True):
        dims += [new_dim // dim, dim]
        steps += [0, stride]
    return strided_copy(view, value, output, dims, Walk(tuple(steps)), "tile")


def lower_slice(node: Node, view: View) -> Choice | Alias | str:
    """Any constant starts, ends and steps; steps may be negative."""
    value, output = node.inputs[0], node.outputs[0]
    shape = view.shape(value)
    ranges = _slice_ranges(node, view, shape)
    if isinstance(ranges, str):
        return ranges
    dims = tuple(len(r) for r in ranges)
    if 0 in dims:
        return NO_ELEMENTS
    if dims == shape and all(r.step > 0 for r in ranges):
        return alias_reshaped(view, value, output)
    in_columns = _slice_features(view, value, output, ranges)
    if in_columns is not None:
        return in_columns
    strides = row_major(shape)
    walk = Walk(
        tuple(s * r.step for s, r in zip(strides, ranges, strict=True)),
        sum(s * r.start for s, r in zip(strides, ranges, strict=True)),
    )
    return strided_copy(view, value, output, dims, walk, "slice")


def _slice_ranges(node: Node, view: View, shape: tuple[int, ...]) -> list[range] | str:
    """The indices that are kept of each axis."""
    if node.version < 10:
        starts, ends = integers(node, "starts"), integers(node, "ends")
        axes, steps = integers(node, "axes"), None
    else:
        given: list[tuple[int, ...] | None] = []
        for number in range(1, 5):
            values = constant_integers(node, number, view)
            if isinstance(values, str):
                return values
            given.append(values)
        starts, ends, axes, steps = given
    if starts is None or ends is None:
        return "Slice without starts and ends"
    kept = [range(dim) for dim in shape]
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[i] if axes is not None else i
        step = steps[i] if steps is not None else 1
        kept[axis] = range(shape[axis])[slice(start, end, step)]
    return kept


def _slice_features(view: View, value: str, output: str, ranges: Sequence[range]) -> Choice | None:
    """A band of features of a value in columns: rows of whole panels."""
    layout, shape = view.layout(value), view.shape(value)
    axis = layout.feature_axis
    if axis is None or ranges[axis].step != 1:
        return None
    first, count = _rows_of(view, value, ranges[axis], shape[axis])
    if count == 0:
        return None
    others = [(r, dim) for i, (r, dim) in enumerate(zip(ranges, shape, strict=True)) if i != axis]
    if any(len(r) != dim or r.step < 0 for r, dim in others):
        return None
    panels = count_panels(shape, axis, view.panel)
    whole = panel_features(shape[axis], view.dtype(value)) // _row_features(view.dtype(value))
    space = space_params(
        (panels, count * view.panel), [Walk((whole * view.panel, 1), first * view.panel)]
    )
    assert space is not None
    operands = (In(value, layout), Out(output, layout))
    return Choice("strided_copy", operands, (4, *space), "slice of features")


def _row_features(dtype: DType) -> int:
    """Features in a row of a panel: one, or a group of bytes."""
    return BYTE_GROUP if dtype in BYTES else 1


def _rows_of(view: View, value: str, band: range, features: int) -> tuple[int, int]:
    """First row and number of rows of a band of features in panels; none where it splits groups."""
    dtype = view.dtype(value)
    group = _row_features(dtype)
    is_whole = band.start % group == 0 and (band.stop % group == 0 or band.stop == features)
    if not is_whole or (dtype is not DType.FLOAT32 and dtype not in BYTES):
        return 0, 0
    return band.start // group, -(-len(band) // group)


def lower_concat(node: Node, view: View) -> Choice | Alias | str:
    """Along the feature axis of values in columns: on panels. Else on rows."""
    inputs = tuple(v for v in node.inputs if v and math.prod(view.shape(v)) > 0)
    output = node.outputs[0]
    shape = view.shape(output)
    if not inputs or math.prod(shape) == 0:
        return NO_ELEMENTS
    if len(inputs) == 1:
        return alias_reshaped(view, inputs[0], output)
    axis = axis_of(node, 1, len(shape))
    layout = Layout(axis)
    in_columns = sum(math.prod(view.shape(v)) for v in inputs if view.layout(v) == layout)
    shapes, dtype = [view.shape(v) for v in inputs], view.dtype(output)
    if 2 * in_columns >= math.prod(shape) and _are_whole_rows(shapes, axis, dtype):
        operands: tuple[Operand, ...] = (*(In(v, layout) for v in inputs), Out(output, layout))
        return _on_panels(view, "concat", operands, (shapes, axis, dtype))
    itemsize = view.dtype(output).itemsize
    outer = math.prod(shape[:axis])
    parts = tuple(math.prod(view.shape(v)[axis:]) * itemsize for v in inputs)
    return Choice("concat", (*(In(v) for v in inputs), Out(output)), (outer, parts), f"axis {axis}")


def _are_whole_rows(shapes: Sequence[tuple[int, ...]], axis: int, dtype: DType) -> bool:
    """True when every part but the last fills its rows of panels: bytes, in groups of four."""
    return all(shape[axis] % _row_features(dtype) == 0 for shape in shapes[:-1])


def _on_panels(
    view: View,
    kernel: str,
    operands: tuple[Operand, ...],
    parts: tuple[Sequence[tuple[int, ...]], int, DType],
) -> Choice:
    """Concatenation or splitting of rows of panels; `parts`: their shapes, axis and type."""
    shapes, axis, dtype = parts
    bytes_ = tuple(
        panel_features(shape[axis], dtype) * view.panel * dtype.itemsize for shape in shapes
    )
    panels = count_panels(shapes[0], axis, view.panel)
    params = (panels, bytes_)
    return Choice(
        kernel, operands, params, "features on panels", owns_columns=True, panels=panels,
        striped=Striped(params),
    )  # fmt: skip


def lower_split(node: Node, view: View) -> Choice | Alias | str:
    """The sizes follow from the output shapes."""
    value = node.inputs[0]
    if not all(node.outputs):
        return "an output of Split is absent"
    shape = view.shape(value)
    if math.prod(shape) == 0:
        return NO_ELEMENTS
    if len(node.outputs) == 1:
        return alias_reshaped(view, value, node.outputs[0])
    axis = axis_of(node, 0, len(shape))
    shapes = [view.shape(output) for output in node.outputs]
    if sum(s[axis] for s in shapes) != shape[axis]:
        return "the parts do not add up to the whole"
    layout, dtype = Layout(axis), view.dtype(value)
    if view.layout(value) == layout and _are_whole_rows(shapes, axis, dtype):
        operands: tuple[Operand, ...] = (In(value, layout), *(Out(o, layout) for o in node.outputs))
        return _on_panels(view, "split", operands, (shapes, axis, dtype))
    itemsize = view.dtype(value).itemsize
    parts = tuple(math.prod(s[axis:]) * itemsize for s in shapes)
    operands = (In(value), *(Out(output) for output in node.outputs))
    return Choice("split", operands, (math.prod(shape[:axis]), parts), f"axis {axis}")


def lower_pad(node: Node, view: View) -> Choice | Alias | str:
    """Constant, edge, reflect and wrap; negative pads crop."""
    value, output = node.inputs[0], node.outputs[0]
    shape = view.shape(value)
    pads = _pads(node, view, len(shape))
    if isinstance(pads, str):
        return pads
    mode = text(node, "mode", "constant")
    tables = [_pad_table(dim, pads[i], pads[i + len(shape)], mode) for i, dim in enumerate(shape)]
    return gather_grid(view, value, output, tables, _pad_value(node, view), f"{mode} padding")


def _pads(node: Node, view: View, rank: int) -> tuple[int, ...] | str:
    """Begins of every axis, then ends."""
    if node.version < 11:
        return integers(node, "pads") or integers(node, "paddings") or (0,) * (2 * rank)
    pads, axes = constant_integers(node, 1, view), constant_integers(node, 3, view)
    for given in (pads, axes):
        if isinstance(given, str):
            return given
    assert isinstance(pads, tuple)
    if not isinstance(axes, tuple):
        return pads
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis % rank], full[axis % rank + rank] = pads[i], pads[i + len(axes)]
    return tuple(full)


def _pad_table(dim: int, begin: int, end: int, mode: str) -> np.ndarray:
    """The input index of each output position of one axis."""
    table = np.arange(dim)[max(-begin, 0) : dim - max(-end, 0)]
    widths = (max(begin, 0), max(end, 0))
    if mode == "constant" or table.size == 0:
        return np.pad(table, widths, constant_values=FILL)
    if mode == "edge":
        return np.pad(table, widths, mode="edge")
    if mode == "reflect":
        return np.pad(table, widths, mode="reflect")
    return np.pad(table, widths, mode="wrap")


def _pad_value(node: Node, view: View) -> Operand:
    if node.version >= 11:
        value = operand(node, 2)
        return In(value) if value else Absent()
    number, dtype = real(node, "value", 0.0), view.dtype(node.inputs[0]).numpy
    if number == 0.0:
        return Absent()
    return Const(("pad value", number, dtype.str), lambda: np.array([number]).astype(dtype))


def lower_center_crop_pad(node: Node, view: View) -> Choice | Alias | str:
    """Crop or zero-pad axes to the output's size, centred."""
    value, output = node.inputs[0], node.outputs[0]
    tables = []
    for dim, new_dim in zip(view.shape(value), view.shape(output), strict=True):
        before = abs(new_dim - dim) // 2
        after = abs(new_dim - dim) - before
        sign = 1 if new_dim >= dim else -1
        tables.append(_pad_table(dim, sign * before, sign * after, "constant"))
    return gather_grid(view, value, output, tables, Absent(), "crop or pad to the centre")


def lower_depth_to_space(node: Node, view: View) -> Choice | Alias | str:
    """Blocks of channels to pixels, as one strided copy."""
    value = node.inputs[0]
    shape, block = view.shape(value), integer(node, "blocksize", 1)
    if len(shape) != 4:
        return f"rank {len(shape)}"
    n, c, h, w = shape
    depth = c // (block * block)
    if text(node, "mode", "DCR") == "DCR":
        split, order = (n, block, block, depth, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3)
    return _shuffle(node, view, split, order, "depth to space")


def lower_space_to_depth(node: Node, view: View) -> Choice | Alias | str:
    """Pixels to blocks of channels, as one strided copy."""
    shape, block = view.shape(node.inputs[0]), integer(node, "blocksize", 1)
    if len(shape) != 4:
        return f"rank {len(shape)}"
    n, c, h, w = shape
    split = (n, c, h // block, block, w // block, block)
    is_crd = text(node, "mode", "DCR") == "CRD"
    order = (0, 1, 3, 5, 2, 4) if is_crd else (0, 3, 5, 1, 2, 4)
    return _shuffle(node, view, split, order, "space to depth")


def _shuffle(
    node: Node, view: View, split: tuple[int, ...], order: tuple[int, ...], why: str
) -> Choice | str:
    """Reshape to `split`, transpose to `order`, reshape to the output."""
    strides = row_major(split)
    walk = Walk(tuple(strides[axis] for axis in order))
    dims = tuple(split[axis] for axis in order)
    return strided_copy(view, node.inputs[0], node.outputs[0], dims, walk, why)


def lower_cast(node: Node, view: View) -> Choice | Alias | str:
    """Between all numeric types and bool. To the same type: a view."""
    value, output = node.inputs[0], node.outputs[0]
    source, target = view.dtype(value), view.dtype(output)
    if source is target:
        return alias_reshaped(view, value, output)
    if source not in ELEMENT_CODE or target not in ELEMENT_CODE:
        return f"from {source.value} to {target.value}"
    elements = math.prod(view.shape(value))
    if elements == 0:
        return NO_ELEMENTS
    params = (ELEMENT_CODE[source], ELEMENT_CODE[target], elements)
    return Choice("cast", (In(value), Out(output)), params, f"{source.value} to {target.value}")


def lower_bit_cast(node: Node, view: View) -> Choice | Alias | str:
    """The same bytes under another type of the same size."""
    if view.dtype(node.inputs[0]).itemsize != view.dtype(node.outputs[0]).itemsize:
        return "between item sizes"
    if math.prod(view.shape(node.outputs[0])) == 0:
        return NO_ELEMENTS
    return Alias(node.inputs[0], node.outputs[0], ROWS, ROWS)


def lower_reverse_sequence(node: Node, view: View) -> Choice | str:
    """Lengths are read at run time."""
    value, lengths = node.inputs[0], node.inputs[1]
    shape, itemsize = view.shape(value), view.dtype(value).itemsize
    time = integer(node, "time_axis", 0)
    if {time, integer(node, "batch_axis", 1)} != {0, 1} or itemsize not in MOVABLE_BYTES:
        return "axes other than 0 and 1"
    if math.prod(shape) == 0:
        return NO_ELEMENTS
    params = (shape[0], shape[1], math.prod(shape[2:]) * itemsize, time)
    operands = (In(value), In(lengths), Out(node.outputs[0]))
    return Choice("reverse_sequence", operands, params, f"time axis {time}")


def lower_trilu(node: Node, view: View) -> Choice | str:
    """Upper or lower triangle; k may be computed."""
    value, k = node.inputs[0], operand(node, 1)
    shape, itemsize = view.shape(value), view.dtype(value).itemsize
    if itemsize not in MOVABLE_BYTES:
        return f"element type {view.dtype(value).value}"
    if math.prod(shape) == 0:
        return NO_ELEMENTS
    is_upper = integer(node, "upper", 1)
    params = (itemsize, math.prod(shape[:-2]), shape[-2], shape[-1], is_upper, 0)
    operands = (In(value), In(k) if k else Absent(), Out(node.outputs[0]))
    return Choice("trilu", operands, params, "upper" if is_upper else "lower")


def lower_eye_like(node: Node, view: View) -> Choice | str:
    """A constant: only the input's shape matters."""
    output = node.outputs[0]
    shape, dtype = view.shape(output), view.dtype(output)
    if dtype not in ELEMENT_CODE or len(shape) != 2:
        return f"element type {dtype.value}"
    k = integer(node, "k", 0)
    made = Const(("eye", shape, k, dtype.value), lambda: np.eye(shape[0], shape[1], k, dtype.numpy))
    return copy_constant(view, made, output, "constant")


def lower_constant_of_shape(node: Node, view: View) -> Choice | str:
    """A computed shape operand does not matter once the output shape is static."""
    given = node.attrs.get("value")
    item = np.zeros(1, np.float32) if given is None else np.asarray(given).reshape(-1)[:1]
    return fill_constant(view, item, node.outputs[0])


_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")

LOWERINGS: dict[tuple[str, str], Lowering] = {
    **{("", op): lower_view for op in _VIEWS},
    ("", "Dropout"): lower_dropout,
    ("", "Transpose"): lower_transpose,
    ("", "Expand"): lower_expand,
    ("", "Tile"): lower_tile,
    ("", "Slice"): lower_slice,
    ("", "Concat"): lower_concat,
    ("", "Split"): lower_split,
    ("", "Pad"): lower_pad,
    ("", "CenterCropPad"): lower_center_crop_pad,
    ("", "DepthToSpace"): lower_depth_to_space,
    ("", "SpaceToDepth"): lower_space_to_depth,
    ("", "Cast"): lower_cast,
    ("", "CastLike"): lower_cast,
    ("", "BitCast"): lower_bit_cast,
    ("", "ReverseSequence"): lower_reverse_sequence,
    ("", "Trilu"): lower_trilu,
    ("", "EyeLike"): lower_eye_like,
    ("", "ConstantOfShape"): lower_constant_of_shape,
    ("", "Resize"): lower_resize,
    ("", "Upsample"): lower_upsample,
    ("", "GridSample"): lower_grid_sample,
}
