"""Convolutions in the column layout: features are channels, columns are pixels of all images."""

from __future__ import annotations

from functools import partial
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
    View,
)
from colonnade.planner.lower.constants import flat_floats, float_operand
from colonnade.planner.lower.epilogue import lower_epilogue
from colonnade.planner.lower.product import ProductKernel, Variant, find_facts
from colonnade.planner.lower.sparse import (
    choose_columns_product,
    choose_conv_product,
    conv_reach,
    find_sparsity,
)
from colonnade.planner.split import choose_blocks, choose_packing_blocks, choose_stripes

CHANNELS = Layout(1)
PACKED_ROWS = 1024
"""Rows that a convolution packs at a time: native/kernels/conv/blocks.h."""
PANEL_KERNELS = ("matmul_columns", "sparse_columns")
"""Adapters that read just the panels that they write."""

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
    is_depthwise = not transposed and shape[-1] == shape[1] > 1
    if is_depthwise and not isinstance(epilogue.residual, Absent):
        return "depthwise with a residual"
    batch, _, _, _, _, out_h, out_w = shape[:7]
    product = (
        _choose_depthwise(node, view, shape, weights)
        if is_depthwise
        else _choose_product(node, view, shape, weights, transposed)
    )
    operands: tuple[Operand, ...] = (
        In(node.inputs[0], CHANNELS),
        product.packed,
        float_operand(bias, view),
        epilogue.residual,
        Out(node.outputs[0], CHANNELS),
        *epilogue.extras,
    )
    ends = (epilogue.lo, epilogue.hi, *epilogue.params)
    why = product.why + (f", then {epilogue.what}" if epilogue.what else "")
    return Choice(
        product.kernel, operands, (*product.head, *ends), why,
        owns_columns=product.kernel in PANEL_KERNELS and product.blocks == 1,
        panels=-(-batch * out_h * out_w // view.panel),
        flops=2 * batch * out_h * out_w * weights.size,
        advisories=product.advisories,
        weights=lambda: find_facts(product, weights.reshape(weights.shape[0], -1)),
        striped=product.striped(ends), work_share=product.work_share,
    )  # fmt: skip


def _choose_product(
    node: Node, view: View, shape: ConvShape, weights: np.ndarray, transposed: bool
) -> ProductKernel:
    name, is_exact = node.inputs[1], bool(node.attrs.get("exact", 0))
    if transposed:
        return _dense_conv(name, view, shape, weights, True, shape[0], view.threads)
    if not is_pointwise(shape):
        dense = Variant("dense", partial(_dense_conv, name, view, shape, weights, False))
        return choose_conv_product(name, dense, weights, shape, view, is_exact=is_exact)
    batch, channels, _, _, out_channels, out_h, out_w = shape[:7]
    rows = weights.reshape(out_channels, channels)
    sizes = (out_channels, channels, batch * out_h * out_w)
    dense = Variant("dense", partial(_dense_pointwise, name, view, rows))
    return choose_columns_product(
        name, dense, lambda: rows, sizes, find_sparsity(rows), view, is_exact=is_exact
    )


def _dense_pointwise(
    name: str, view: View, weights: np.ndarray, columns: int, threads: int
) -> ProductKernel:
    m, k = weights.shape
    row, kernel, tile = _core.choose_matmul(view.isa, m, k, columns)
    blocks = choose_blocks(-(-columns // view.panel), -(-m // tile), threads)
    packed = Const((name, "matmul", row), lambda: _core.pack_matmul(row, weights, m, k, False))
    sizes = (row, m, k, columns)
    why = f"{kernel}, 1x1"
    return ProductKernel(
        "matmul_columns", (*sizes, blocks), packed, why, blocks, striped_head=(*sizes, 1)
    )


def _dense_conv(
    name: str,
    view: View,
    shape: ConvShape,
    weights: np.ndarray,
    transposed: bool,
    batch: int,
    threads: int,
) -> ProductKernel:
    sized = (batch, *shape[1:])
    out_channels, out_h, out_w, kernel_h, kernel_w = shape[4:9]
    row, kernel, tile = _core.choose_conv(view.isa, list(sized), transposed)
    group = shape[-1]
    tiles = group * -(-(out_channels // group) // tile)
    adapter = "conv_transpose" if transposed else "conv"
    blocks = choose_packing_blocks(batch * out_h * out_w, view.panel, tiles, threads)
    packed = Const(
        (name, adapter, row), lambda: _core.pack_conv(row, weights, list(sized), transposed)
    )
    why = f"{kernel}, {kernel_h}x{kernel_w}"
    head = (row, *sized)
    if transposed:
        return ProductKernel(adapter, (*head, blocks), packed, why, blocks)
    depth = shape[1] // group * kernel_h * kernel_w
    return ProductKernel(
        adapter, (*head, blocks), packed, why, blocks, (*head, 1), conv_reach(sized, view.panel),
        4 * min(depth, PACKED_ROWS) * view.panel,
    )  # fmt: skip


def _choose_depthwise(
    node: Node, view: View, shape: ConvShape, weights: np.ndarray
) -> ProductKernel:
    batch, channels, _, _, _, out_h, out_w, kernel_h, kernel_w = shape[:9]
    row, kernel, _ = _core.choose_depthwise(view.isa, list(shape))
    panels = -(-batch * out_h * out_w // view.panel)
    stripe, blocks = choose_stripes(panels, channels, view.threads)
    packed = flat_floats(node.inputs[1], weights)
    why = f"{kernel}, {kernel_h}x{kernel_w}"
    head = (row, *shape)
    return ProductKernel(
        "depthwise", (*head, blocks, stripe), packed, why, blocks, (*head, 1, 1),
        conv_reach(shape, view.panel),
    )  # fmt: skip


def is_pointwise(shape: ConvShape) -> bool:
    """A plain product: its columns are its input's columns."""
    _, _, in_h, in_w, _, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w = shape[:11]
    return (
        (kernel_h, kernel_w, stride_h, stride_w) == (1, 1, 1, 1)
        and shape[13:] == (0, 0, 1)
        and (in_h, in_w) == (out_h, out_w)
    )


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "Conv"): lower_conv,
    ("", "ConvTranspose"): lower_conv,
    ("colonnade", "Conv"): lower_conv,
    ("colonnade", "ConvTranspose"): lower_conv,
}
