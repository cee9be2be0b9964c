"""Products of 8-bit integers in columns: QLinear, QConv (reference/quantized_products.py).

Activations are bytes in groups of four features (choice.Layout), weights packed int8. Scales and
zero points are operands, constant or made by the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade import _core
from colonnade.ir import DType, Node, Program
from colonnade.planner.choice import (
    BYTE_GROUP,
    BYTES,
    SIGNED_SHIFT,
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
    WeightFacts,
)
from colonnade.planner.lower.conv import conv_shape, is_pointwise
from colonnade.planner.lower.epilogue import NO_EPILOGUE, lower_epilogue
from colonnade.planner.lower.product import ProductKernel
from colonnade.planner.lower.sparse import conv_reach
from colonnade.planner.split import (
    SPARSE_ROW_BLOCK,
    choose_blocks,
    choose_packing_blocks,
    choose_stripes,
)
from colonnade.planner.structure import find_structure

DEPTH_MAX = 1 << 15
"""Terms of a sum of uint8 x int8 that fit int32, with room for the zero point."""
DENSITY_MAX = 0.6
"""Share of fours of weights below which leaving out the others pays: a step of the sparse kernel takes
1.3 times as long as one of the dense kernel, and every row of a block is finished apart."""
L1_FOURS = 128
"""Rows of an AVX-512 panel (256 bytes each) that fill L1: the length of a depth block."""
AVX512_LANES = 64
DENSITY_LOW = 0.15
"""Density below which adding up depth blocks costs more than reading X from L2."""
FIXED_INPUTS = 9
"""x, w, x_scale, x_zero, w_scale, w_zero, bias, y_scale, y_zero; the epilogue's come behind."""
CHANNELS = Layout(1)
PANEL_KERNELS = ("qmatmul_columns", "qsparse_columns")
"""Adapters that read just the panels that they write."""


@dataclass(frozen=True)
class _Product:
    """A node's operands: names, and the weights as [m, k]."""

    node: Node
    inputs: tuple[str, ...]
    weights: np.ndarray
    layout: Layout

    @property
    def m(self) -> int:
        return int(self.weights.shape[0])


def lower_qlinear(node: Node, view: View) -> Choice | str:
    """QLinear: any leading axes, features last."""
    product = _read(node, view, Layout(len(view.shape(node.inputs[0])) - 1))
    if isinstance(product, str):
        return product
    columns = math.prod(view.shape(node.inputs[0])[:-1])
    kernel = _columns_kernel(product, view, columns)
    return _finish(product, view, kernel, columns)


def lower_qconv(node: Node, view: View) -> Choice | str:
    """QConv, one or two spatial axes: as a product when 1x1, by channel when depthwise."""
    product = _read(node, view, CHANNELS)
    if isinstance(product, str):
        return product
    shape = conv_shape(node, view, False)
    if isinstance(shape, str):
        return shape
    batch, channels, _, _, outs, out_h, out_w = shape[:7]
    group, columns = shape[-1], batch * out_h * out_w
    if is_pointwise(shape):
        kernel = _columns_kernel(product, view, columns)
    elif group == channels == outs and group > 1:
        kernel = _depthwise_kernel(product, view, shape)
    elif group == 1 or (channels // group % 4 == 0 and outs // group % 4 == 0):
        kernel = _conv_kernel(product, view, shape)
    else:
        return f"groups of {channels // group} channels"
    return _finish(product, view, kernel, columns)


def _read(node: Node, view: View, layout: Layout) -> _Product | str:
    inputs = (*node.inputs, *("",) * (FIXED_INPUTS - len(node.inputs)))
    x, w, _, x_zero, w_scale, w_zero, bias, _, y_zero = inputs[:FIXED_INPUTS]
    if 0 in view.shape(x) or 0 in view.shape(node.outputs[0]):
        return "no elements"
    weights, zeros = view.constant(w), view.constant(w_zero)
    if weights is None or zeros is None or view.constant(w_scale) is None or zeros.any():
        return "weights that are not constant, or with a zero point"
    if bias and view.constant(bias) is None:
        return "bias is not constant"
    for value, zero in ((x, x_zero), (node.outputs[0], y_zero)):
        if zero and view.dtype(value) is DType.INT8 and view.constant(zero) is None:
            return "a zero point of int8 that the run makes"
    rows = weights.reshape(weights.shape[0], -1)
    if rows.shape[1] > DEPTH_MAX:
        return f"sums of {rows.shape[1]} terms"
    return _Product(node, inputs, rows, layout)


def _fours_density(weights: np.ndarray) -> float:
    """Share of the fours along axis 1 that hold a weight which is not zero."""
    spare = -weights.shape[1] % BYTE_GROUP
    padded = np.pad(weights != 0, ((0, 0), (0, spare), (0, 0)))
    fours = padded.reshape(weights.shape[0], -1, BYTE_GROUP, weights.shape[2]).any(axis=2)
    return float(np.count_nonzero(fours) / fours.size)


def _sparse_kernel(
    product: _Product, view: View, shape: tuple[int, ...], columns: int, density: float
) -> ProductKernel:
    """Fours of weights that are all zero are left out. `shape`: empty for a product."""
    m, k = product.weights.shape
    weights, group = product.weights, shape[-1] if shape else 1
    row, name, _ = _core.choose_byte_matmul(view.isa)
    taps = shape[7] * shape[8] if shape else 1
    depth = -(-(k // taps) // BYTE_GROUP) * taps
    fours = L1_FOURS if density > DENSITY_LOW else 2 * L1_FOURS
    k_block = min(
        depth, fours * AVX512_LANES // view.panel, _core.choose_sparse(view.isa, False)[2]
    )
    tiles = group * -(-(m // group) // SPARSE_ROW_BLOCK)
    blocks = (
        choose_packing_blocks(columns, view.panel, tiles, view.threads)
        if shape
        else choose_blocks(-(-columns // view.panel), tiles, view.threads)
    )
    packed = Const(
        (product.inputs[1], "byte fours", row, k_block),
        lambda: _core.pack_byte_sparse(row, weights, m, k, list(shape), k_block),
    )
    head = (row, *shape) if shape else (row, m, k, columns)
    what = f"{shape[7]}x{shape[8]}" if shape else f"{k} to {m} features"
    return ProductKernel(
        "qsparse_conv" if shape else "qsparse_columns", (*head, k_block, blocks), packed,
        f"{name}, {what}, {density:.0%} of fours", blocks, (*head, k_block, 1),
        conv_reach(shape, view.panel) if shape else None,
        depth * BYTE_GROUP * view.panel if shape else 0, work_share=1.3 * density,
    )  # fmt: skip


def _columns_kernel(product: _Product, view: View, columns: int) -> ProductKernel:
    m, k = product.weights.shape
    density = _fours_density(product.weights[:, :, None])
    if density < DENSITY_MAX:
        return _sparse_kernel(product, view, (), columns, density)
    row, name, tile = _core.choose_byte_matmul(view.isa)
    blocks = choose_blocks(-(-columns // view.panel), -(-m // tile), view.threads)
    weights = product.weights
    packed = Const(
        (product.inputs[1], "bytes", row), lambda: _core.pack_byte_matmul(row, weights, m, k)
    )
    sizes = (row, m, k, columns)
    why = f"{name}, {k} to {m} features"
    return ProductKernel(
        "qmatmul_columns", (*sizes, blocks), packed, why, blocks, striped_head=(*sizes, 1)
    )


def _conv_kernel(product: _Product, view: View, shape: tuple[int, ...]) -> ProductKernel:
    batch, _, _, _, outs, out_h, out_w, kernel_h, kernel_w = shape[:9]
    density = _fours_density(product.weights.reshape(outs, -1, kernel_h * kernel_w))
    if density < DENSITY_MAX:
        return _sparse_kernel(product, view, shape, batch * out_h * out_w, density)
    row, name, tile = _core.choose_byte_matmul(view.isa)
    group = shape[-1]
    tiles = group * -(-(outs // group) // tile)
    blocks = choose_packing_blocks(batch * out_h * out_w, view.panel, tiles, view.threads)
    weights = product.weights
    packed = Const(
        (product.inputs[1], "byte taps", row),
        lambda: _core.pack_byte_conv(row, weights, list(shape), False),
    )
    head = (row, *shape)
    return ProductKernel(
        "qconv", (*head, blocks), packed, f"{name}, {kernel_h}x{kernel_w}", blocks, (*head, 1),
        conv_reach(shape, view.panel), weights.shape[1] * view.panel,
    )  # fmt: skip


def _depthwise_kernel(product: _Product, view: View, shape: tuple[int, ...]) -> ProductKernel:
    batch, channels, _, _, _, out_h, out_w, kernel_h, kernel_w = shape[:9]
    row, name, _ = _core.choose_byte_matmul(view.isa)
    panels = -(-batch * out_h * out_w // view.panel)
    _, blocks = choose_stripes(panels, -(-channels // 4), view.threads)
    weights = product.weights
    packed = Const(
        (product.inputs[1], "byte channels"),
        lambda: _core.pack_byte_conv(row, weights, list(shape), True),
    )
    head = (row, *shape)
    return ProductKernel(
        "qdepthwise", (*head, blocks), packed, f"{name}, {kernel_h}x{kernel_w}", blocks,
        (*head, 1), conv_reach(shape, view.panel),
    )  # fmt: skip


def _finish(product: _Product, view: View, kernel: ProductKernel, columns: int) -> Choice | str:
    node, layout, y = product.node, product.layout, product.node.outputs[0]
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    extras = product.inputs[FIXED_INPUTS:]
    epilogue = (
        lower_epilogue(program, extras, view.shape(y), layout, view, takes_residual=False)
        if program.instructions
        else NO_EPILOGUE
    )
    if isinstance(epilogue, str):
        return epilogue
    x, w, x_scale, x_zero, w_scale, _, bias, y_scale, y_zero = product.inputs[:FIXED_INPUTS]
    operands: tuple[Operand, ...] = (
        In(x, layout), kernel.packed, _row_scales(product, w_scale, view), _row_sums(product, w),
        _floats(bias, view), _floats(x_scale, view), zero_operand(x_zero, view),
        _floats(y_scale, view), zero_operand(y_zero, view), Out(y, layout), *epilogue.extras,
    )  # fmt: skip
    ends = (epilogue.lo, epilogue.hi, *epilogue.params)
    why = kernel.why + (f", then {epilogue.what}" if epilogue.what else "")
    return Choice(
        kernel.kernel, operands, (*kernel.head, *ends), why,
        owns_columns=kernel.kernel in PANEL_KERNELS and kernel.blocks == 1,
        panels=-(-columns // view.panel), flops=2 * columns * product.weights.size,
        weights=lambda: _facts(product.weights), striped=kernel.striped(ends),
        work_share=kernel.work_share,
    )  # fmt: skip


def _facts(weights: np.ndarray) -> WeightFacts:
    sparsity = 1.0 - np.count_nonzero(weights) / max(weights.size, 1)
    structure = find_structure(weights) if sparsity > 0.5 else "dense"
    return WeightFacts(sparsity, structure, weights.size, None)


def _row_scales(product: _Product, w_scale: str, view: View) -> Const:
    scales = view.constant(w_scale)
    assert scales is not None
    m = product.m
    return Const(
        (w_scale, "rows", m),
        lambda: np.ascontiguousarray(np.broadcast_to(scales.reshape(-1), m), np.float32),
    )


def _row_sums(product: _Product, w: str) -> Const:
    weights = product.weights
    return Const((w, "row sums"), lambda: weights.sum(axis=1, dtype=np.int32))


def _floats(value: str, view: View) -> Operand:
    if not value:
        return Absent()
    array = view.constant(value)
    if array is None:
        return In(value)
    flat = array
    return Const((value, "flat"), lambda: np.ascontiguousarray(flat.reshape(-1), dtype=np.float32))


def zero_operand(value: str, view: View) -> Operand:
    """A zero point as columns hold it: of int8, 128 more."""
    if not value:
        return Absent()
    array = view.constant(value)
    if array is None:
        return In(value)
    shift = SIGNED_SHIFT if array.dtype == np.int8 else 0
    zero = array
    return Const(
        (value, "zero"), lambda: (zero.reshape(-1).astype(np.int16) + shift).astype(np.uint8)
    )


def lower_qadd(node: Node, view: View) -> Choice | str:
    """QAdd, in the columns of either operand."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    shape = view.shape(node.outputs[0])
    if not shape or 0 in shape:
        return "no axes or no elements"
    for value, zero in ((a, a_zero), (b, b_zero), (node.outputs[0], y_zero)):
        if view.dtype(value) is DType.INT8 and view.constant(zero) is None:
            return "a zero point of int8 that the run makes"
    layouts = [view.layout(value) for value in (a, b) if view.layout(value).is_columns]
    layout = layouts[0] if layouts else Layout(1 if len(shape) > 2 else len(shape) - 1)
    assert layout.feature_axis is not None
    features = shape[layout.feature_axis]
    columns = math.prod(shape) // features
    ends = tuple(float(cast(float, node.attrs[name])) for name in ("lo", "hi"))
    operands: tuple[Operand, ...] = (
        In(a, layout), _floats(a_scale, view), zero_operand(a_zero, view),
        In(b, layout), _floats(b_scale, view), zero_operand(b_zero, view),
        _floats(y_scale, view), zero_operand(y_zero, view), Out(node.outputs[0], layout),
    )  # fmt: skip
    params = (features, columns, *ends)
    return Choice(
        "bytes_sum", operands, params, "two tensors of 8 bits", owns_columns=True,
        panels=-(-columns // view.panel), flops=math.prod(shape), striped=Striped(params),
    )  # fmt: skip


def lower_quantize_columns(node: Node, view: View) -> Choice | str:
    """QuantizeLinear of what is in columns, with one scale."""
    x, y = node.inputs[0], node.outputs[0]
    reason = _refuse_columns(node, view, x, y)
    return reason or _border(node, view, "quantize_columns", view.layout(x))


def lower_dequantize_columns(node: Node, view: View) -> Choice | str:
    """DequantizeLinear of what is in columns, with one scale."""
    x, y = node.inputs[0], node.outputs[0]
    reason = _refuse_columns(node, view, y, x)
    return reason or _border(node, view, "dequantize_columns", view.layout(x))


def _refuse_columns(node: Node, view: View, real: str, integers: str) -> str:
    if not view.layout(node.inputs[0]).is_columns:
        return "not in columns"
    if view.dtype(real) is not DType.FLOAT32 or view.dtype(integers) not in BYTES:
        return f"{view.dtype(integers).value} in columns"
    if math.prod(view.shape(node.inputs[1])) != 1:
        return "a scale for each feature"
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    if view.dtype(integers) is DType.INT8 and zero and view.constant(zero) is None:
        return "a zero point of int8 that the run makes"
    return ""


def _border(node: Node, view: View, kernel: str, layout: Layout) -> Choice:
    x, y = node.inputs[0], node.outputs[0]
    shape, axis = view.shape(x), layout.feature_axis
    assert axis is not None
    columns = math.prod(shape) // shape[axis]
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    integers = y if kernel == "quantize_columns" else x
    zero_point: Operand = zero_operand(zero, view) if zero else _default_zero(view.dtype(integers))
    params = (shape[axis], columns)
    return Choice(
        kernel, (In(x, layout), _floats(node.inputs[1], view), zero_point, Out(y, layout)), params,
        "per tensor", owns_columns=True, panels=-(-columns // view.panel),
        striped=Striped(params),
    )  # fmt: skip


def _default_zero(dtype: DType) -> Const:
    zero = SIGNED_SHIFT if dtype is DType.INT8 else 0
    return Const(("zero point", zero), lambda: np.array([zero], np.uint8))


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("colonnade", "QLinear"): lower_qlinear,
    ("colonnade", "QConv"): lower_qconv,
    ("colonnade", "QAdd"): lower_qadd,
    ("", "QuantizeLinear"): lower_quantize_columns,
    ("", "DequantizeLinear"): lower_dequantize_columns,
}
