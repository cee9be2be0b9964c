"""Products of two 8-bit activations: QMatMul (reference/quantized_products.py)."""

from __future__ import annotations

import math

import numpy as np

from colonnade.ir import DType, Node
from colonnade.planner.choice import Absent, Choice, In, Lowering, Operand, Out, View
from colonnade.planner.lower.matmul import batch_offsets
from colonnade.planner.plan import Param

DEPTH_MAX = 1 << 15
"""Terms of a sum of products of two centred bytes that fit int32."""


def lower_qmatmul(node: Node, view: View) -> Choice | str:
    """QMatMul, row-major; scales and zero points are constant or made by the run."""
    a, b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero = (*node.inputs, "", "")[:8]
    y = node.outputs[0]
    a_shape, b_shape = view.shape(a), view.shape(b)
    if len(a_shape) < 2 or len(b_shape) < 2:
        return "an operand of fewer than two axes"
    if 0 in a_shape or 0 in b_shape:
        return "no elements"
    m, k, n = a_shape[-2], a_shape[-1], b_shape[-1]
    if k > DEPTH_MAX:
        return f"sums of {k} terms"
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    signs = tuple(view.dtype(value) is DType.INT8 for value in (a, b, y))
    params: tuple[Param, ...] = (
        m,
        n,
        k,
        *signs,
        batch_offsets(a_shape, batch),
        batch_offsets(b_shape, batch),
    )
    scalars = (a_scale, a_zero, b_scale, b_zero, y_scale, y_zero)
    operands: tuple[Operand, ...] = (
        In(a),
        In(b),
        *(_scalar(value) for value in scalars),
        Out(y),
    )
    flops = 2 * math.prod(batch) * m * n * k
    return Choice("qmatmul_rows", operands, params, "two activations of 8 bits", flops=flops)


def _scalar(value: str) -> Operand:
    return In(value) if value else Absent()


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "QMatMul"): lower_qmatmul}
