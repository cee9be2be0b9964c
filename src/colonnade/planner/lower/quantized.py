"""Products of 8-bit integers in columns: QLinear, QConv (reference/quantized_products.py).

Activations are bytes in groups of four features (choice.Layout), weights packed int8. Scales and
zero points are operands, constant or made by the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from colonnade.ir import BYTE_DEPTH_MAX, Node, Program
from colonnade.planner.choice import (
    BYTE_GROUP,
    BYTES,
    Absent,
    Choice,
    Const,
    Fed,
    In,
    Layout,
    Lowering,
    Made,
    Operand,
    Out,
    Temp,
    Trial,
    View,
    byte_groups,
    make_trial,
)
from colonnade.planner.lower.byte_product import (
    ByteProduct,
    choose_byte_product,
    find_byte_facts,
    is_depthwise,
)
from colonnade.planner.lower.constants import float_operand
from colonnade.planner.lower.conv import conv_shape, is_pointwise
from colonnade.planner.lower.epilogue import NO_EPILOGUE, lower_epilogue
from colonnade.planner.lower.product import NO_CLAMP, ProductKernel, panel_lanes
from colonnade.planner.lower.scales import RUN_ZERO, has_run_zero, zero_operand

FIXED_INPUTS = 9
"""x, w, x_scale, x_zero, w_scale, w_zero, bias, y_scale, y_zero; the epilogue's come behind."""
CHANNELS = Layout(1)
SCALAR_BYTES = 4
"""What a scale or zero point takes at most."""
PANEL_KERNELS = ("qmatmul_columns", "qsparse_columns")
"""Adapters that read just the panels that they write."""


@dataclass(frozen=True)
class _Operands:
    """A node's inputs by name, "" where one is absent, and the weights as [m, k]."""

    inputs: tuple[str, ...]
    weights: np.ndarray
    layout: Layout


def lower_qlinear(node: Node, view: View) -> Choice | str:
    """QLinear: any leading axes, features last."""
    operands = _read(node, view, Layout(len(view.shape(node.inputs[0])) - 1))
    if isinstance(operands, str):
        return operands
    return _lower_product(node, view, operands, (), math.prod(view.shape(node.inputs[0])[:-1]))


def lower_qconv(node: Node, view: View) -> Choice | str:
    """QConv, one or two spatial axes: as a product when 1x1, by channel when depthwise."""
    operands = _read(node, view, CHANNELS)
    if isinstance(operands, str):
        return operands
    shape = conv_shape(node, view, False)
    if isinstance(shape, str):
        return shape
    batch, channels, _, _, outs, out_h, out_w = shape[:7]
    group, columns = shape[-1], batch * out_h * out_w
    if is_pointwise(shape):
        return _lower_product(node, view, operands, (), columns)
    has_fours = channels // group % BYTE_GROUP == 0 and outs // group % BYTE_GROUP == 0
    if group > 1 and not is_depthwise(shape) and not has_fours:
        return f"groups of {channels // group} channels"
    return _lower_product(node, view, operands, shape, columns)


def _read(node: Node, view: View, layout: Layout) -> _Operands | str:
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
        if has_run_zero(value, zero, view):
            return RUN_ZERO
    rows = weights.reshape(weights.shape[0], -1)
    if rows.shape[1] > BYTE_DEPTH_MAX:
        return f"sums of {rows.shape[1]} terms"
    return _Operands(inputs, rows, layout)


def _lower_product(
    node: Node, view: View, given: _Operands, shape: tuple[int, ...], columns: int
) -> Choice | str:
    y = node.outputs[0]
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    extras = given.inputs[FIXED_INPUTS:]
    epilogue = (
        lower_epilogue(program, extras, view.shape(y), given.layout, view, takes_residual=False)
        if program.instructions
        else NO_EPILOGUE
    )
    if isinstance(epilogue, str):
        return epilogue
    trial = partial(_make_trial, given, y, view)
    product = ByteProduct(given.inputs[1], given.weights, shape, columns, trial)
    kernel = choose_byte_product(product, view)
    operands = (*_fixed_operands(given, kernel, y, view), *epilogue.extras)
    ends = (epilogue.lo, epilogue.hi, *epilogue.params)
    why = kernel.why + (f", then {epilogue.what}" if epilogue.what else "")
    return Choice(
        kernel.kernel, operands, (*kernel.head, *ends), why,
        owns_columns=kernel.kernel in PANEL_KERNELS and kernel.blocks == 1,
        panels=-(-columns // view.panel), flops=2 * columns * given.weights.size,
        advisories=kernel.advisories, weights=lambda: find_byte_facts(product, kernel),
        striped=kernel.striped(ends), work_share=kernel.work_share,
    )  # fmt: skip


def _fixed_operands(
    given: _Operands, kernel: ProductKernel, y: str, view: View
) -> tuple[Operand, ...]:
    """In the order of native/exec/ops/quantized.cc, without the epilogue's."""
    x, w, x_scale, x_zero, w_scale, _, bias, y_scale, y_zero = given.inputs[:FIXED_INPUTS]
    weights = given.weights
    return (
        In(x, given.layout), kernel.packed, _row_scales(w_scale, len(weights), view),
        Const((w, "row sums"), lambda: weights.sum(axis=1, dtype=np.int32)),
        float_operand(bias, view), float_operand(x_scale, view), zero_operand(x_zero, view),
        float_operand(y_scale, view), zero_operand(y_zero, view), Out(y, given.layout),
    )  # fmt: skip


def _make_trial(
    given: _Operands, y: str, view: View, product: ByteProduct, kernel: ProductKernel
) -> Trial:
    """The product without its epilogue, on activations and scales that mean nothing."""
    m, k = product.weights.shape
    in_rows, in_columns = byte_groups(k), product.columns
    if product.shape:
        batch, channels, in_h, in_w = product.shape[:4]
        in_rows, in_columns = byte_groups(channels), batch * in_h * in_w
    out_rows = byte_groups(m) if view.dtype(y) in BYTES else m
    sizes = {
        given.inputs[0]: 4 * panel_lanes(in_rows, in_columns, view),
        y: 4 * panel_lanes(out_rows, product.columns, view),
    }

    def stand_in(operand: Operand) -> Fed | Made | Const | Absent:
        if isinstance(operand, In):
            return Fed(sizes.get(operand.value, SCALAR_BYTES))
        if isinstance(operand, Out):
            return Made(sizes[operand.value])
        assert not isinstance(operand, Temp)
        return operand

    operands = tuple(map(stand_in, _fixed_operands(given, kernel, y, view)))
    return make_trial(kernel.kernel, operands, (*kernel.head, *NO_CLAMP, (), ()))


def _row_scales(w_scale: str, rows: int, view: View) -> Const:
    scales = view.constant(w_scale)
    assert scales is not None
    return Const(
        (w_scale, "rows", rows),
        lambda: np.ascontiguousarray(np.broadcast_to(scales.reshape(-1), rows), np.float32),
    )


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("colonnade", "QLinear"): lower_qlinear,
    ("colonnade", "QConv"): lower_qconv,
}
