"""Convolutions in the column layout: features are channels, columns are pixels of all images."""

from __future__ import annotations

from typing import cast

import numpy as np

from colonnade import _core
from colonnade.ir import DType, Node, Program
from colonnade.planner.choice import (
    Absent,
    Choice,
    Const,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    Striped,
    View,
)
from colonnade.planner.lower.epilogue import lower_epilogue
from colonnade.planner.reach import Reach
from colonnade.planner.split import choose_blocks, choose_packing_blocks, choose_stripes

CHANNELS = Layout(1)
PACKED_ROWS = 1024
"""Rows that a convolution packs at a time: native/kernels/conv/blocks.h."""

# batch, channels, in_h, in_w, out_channels, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w,
# dilation_h, dilation_w, pad_top, pad_left, group: native/kernels/conv/conv.h ConvShape.
ConvShape = tuple[int, ...]


def lower_conv(node: Node, view: View) -> Choice | str:
    """Conv and ConvTranspose with constant float32 weights, one or two spatial axes."""
    x, w = node.inputs[0], node.inputs[1]
    if view.dtype(x) is not DType.FLOAT32:
        return f"element type {view.dtype(x).value}"
    weights = view.constant(w)
    if weights is None:
        return "weights are not constant"
    if weights.ndim not in (3, 4):
        return f"{weights.ndim - 2} spatial axes"
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if bias and view.constant(bias) is None:
        return "bias is not constant"
    transposed = node.op == "ConvTranspose"
    shape = conv_shape(node, view, transposed)
    if isinstance(shape, str):
        return shape
    return _choose(node, view, shape, weights, bias, transposed)


def conv_shape(node: Node, view: View, transposed: bool) -> ConvShape | str:
    """The geometry, with a missing height of 1 for one spatial axis."""
    x_shape, y_shape = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    w_shape = view.shape(node.inputs[1])
    spatial = len(x_shape) - 2
    if 0 in x_shape or 0 in y_shape:
        return "no elements"
    group = int(cast(int, node.attrs.get("group", 1)))
    kernel = w_shape[2:]
    strides = cast(tuple[int, ...], node.attrs.get("strides", (1,) * spatial))
    dilations = cast(tuple[int, ...], node.attrs.get("dilations", (1,) * spatial))
    pads = _begin_pads(node, x_shape[2:], y_shape[2:], kernel, strides, dilations, transposed)
    if any(pad < 0 for pad in pads):
        return "negative padding"
    if transposed:
        channels, out_channels = w_shape[0], w_shape[1] * group
    else:
        channels, out_channels = w_shape[1] * group, w_shape[0]
    if channels != x_shape[1] or out_channels != y_shape[1]:
        return f"weights {list(w_shape)} do not fit input {list(x_shape)}"
    one, zero = (1,) * (2 - spatial), (0,) * (2 - spatial)
    return (
        x_shape[0], channels, *one, *x_shape[2:], out_channels, *one, *y_shape[2:],
        *one, *kernel, *one, *strides, *one, *dilations, *zero, *pads, group,
    )  # fmt: skip


def _begin_pads(
    node: Node,
    in_size: tuple[int, ...],
    out_size: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    transposed: bool,
) -> tuple[int, ...]:
    """Padding before each axis; `auto_pad` and `output_shape` resolved from the output's size."""
    auto = str(node.attrs.get("auto_pad", "NOTSET"))
    explicit = cast(tuple[int, ...], node.attrs.get("pads", (0,) * (2 * len(kernel))))
    if auto == "VALID":
        return (0,) * len(kernel)
    if auto == "NOTSET" and not (transposed and "output_shape" in node.attrs):
        return explicit[: len(kernel)]
    begin = []
    extra = cast(tuple[int, ...], node.attrs.get("output_padding", (0,) * len(kernel)))
    for axis, size in enumerate(in_size):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        if transposed:
            total = (size - 1) * strides[axis] + extra[axis] + span - out_size[axis]
        else:
            total = (out_size[axis] - 1) * strides[axis] + span - size
        total = max(total, 0)
        # ConvTranspose splits the other way round (ONNX: SAME_UPPER puts the odd one first there).
        upper = auto == "SAME_UPPER"
        small_first = upper != transposed
        begin.append(total // 2 if small_first else total - total // 2)
    return tuple(begin)


def _choose(
    node: Node, view: View, shape: ConvShape, weights: np.ndarray, bias: str, transposed: bool
) -> Choice | str:
    y_shape = view.shape(node.outputs[0])
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    epilogue = lower_epilogue(program, node.inputs[3:], y_shape, CHANNELS, view)
    if isinstance(epilogue, str):
        return epilogue
    batch, channels, _, _, out_channels, out_h, out_w, kernel_h, kernel_w = shape[:9]
    panels = -(-batch * out_h * out_w // view.panel)
    flops = 2 * batch * out_h * out_w * weights.size
    is_depthwise = not transposed and shape[-1] == channels > 1
    residual: Operand = epilogue.residual
    ends = (epilogue.lo, epilogue.hi, *epilogue.params)
    head: tuple[object, ...]
    kernel: str
    packed: Operand
    striped: Striped | None = None
    if is_depthwise:
        if not isinstance(residual, Absent):
            return "depthwise with a residual"
        row, name, _ = _core.choose_depthwise(view.isa, list(shape))
        stripe, blocks = choose_stripes(panels, channels, view.threads)
        kernel, head = "depthwise", (row, *shape, blocks, stripe)
        striped = Striped((row, *shape, 1, 1, *ends), _reach(shape, view.panel))
        packed = _flat(node.inputs[1], weights)
    elif not transposed and _is_pointwise(shape):
        row, name, tile = _core.choose_matmul(view.isa, out_channels, channels, panels * view.panel)
        blocks = choose_blocks(panels, -(-out_channels // tile), view.threads)
        kernel = "matmul_columns"
        sizes = (row, out_channels, channels, batch * out_h * out_w)
        head, striped = (*sizes, blocks), Striped((*sizes, 1, *ends))
        key = (node.inputs[1], "matmul", row)
        packed = Const(key, lambda: _core.pack_matmul(row, weights, out_channels, channels, False))
    else:
        row, name, tile = _core.choose_conv(view.isa, list(shape), transposed)
        group = shape[-1]
        tiles = group * -(-(out_channels // group) // tile)
        kernel = "conv_transpose" if transposed else "conv"
        blocks = choose_packing_blocks(batch * out_h * out_w, view.panel, tiles, view.threads)
        head = (row, *shape, blocks)
        if not transposed:
            rows = min(channels // group * kernel_h * kernel_w, PACKED_ROWS)
            striped = Striped(
                (row, *shape, 1, *ends), _reach(shape, view.panel), 4 * rows * view.panel
            )
        packed = Const(
            (node.inputs[1], kernel, row),
            lambda: _core.pack_conv(row, weights, list(shape), transposed),
        )
    operands: tuple[Operand, ...] = (
        In(node.inputs[0], CHANNELS),
        packed,
        _flat(bias, view.constant(bias)) if bias else Absent(),
        residual,
        Out(node.outputs[0], CHANNELS),
        *epilogue.extras,
    )
    why = f"{name}, {kernel_h}x{kernel_w}" + (f", then {epilogue.what}" if epilogue.what else "")
    return Choice(
        kernel, operands, (*head, *ends), why,  # type: ignore[arg-type]  # ints and tuples
        owns_columns=kernel == "matmul_columns" and blocks == 1, panels=panels, flops=flops,
        striped=striped,
    )  # fmt: skip


def _reach(shape: ConvShape, lanes: int) -> Reach:
    batch, _, in_h, in_w, _, out_h, out_w, kernel_h, _, stride_h, _, dilation_h, _, pad_top = shape[
        :14
    ]
    span = (kernel_h - 1) * dilation_h + 1
    return Reach(lanes, batch * out_h * out_w, in_h, in_w, out_h, out_w, stride_h, span, pad_top)


def _is_pointwise(shape: ConvShape) -> bool:
    _, _, in_h, in_w, _, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w = shape[:11]
    return (
        (kernel_h, kernel_w, stride_h, stride_w) == (1, 1, 1, 1)
        and shape[13:] == (0, 0, 1)
        and (in_h, in_w) == (out_h, out_w)
    )


def _flat(value: str, array: np.ndarray | None) -> Const:
    assert array is not None
    flat = array
    return Const((value, "flat"), lambda: np.ascontiguousarray(flat.reshape(-1), dtype=np.float32))


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "Conv"): lower_conv,
    ("", "ConvTranspose"): lower_conv,
    ("colonnade", "Conv"): lower_conv,
    ("colonnade", "ConvTranspose"): lower_conv,
}
