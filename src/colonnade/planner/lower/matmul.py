"""Matrix products: constant weights in columns or rows, and products of two activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade import _core
from colonnade.ir import DType, Node, Program
from colonnade.planner.choice import (
    ROWS,
    Choice,
    Const,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    View,
)
from colonnade.planner.cost import DENSE_BIAS, FEW_COLUMNS, ROWS_BIAS
from colonnade.planner.lower.constants import float_operand
from colonnade.planner.lower.epilogue import NO_EPILOGUE, lower_epilogue
from colonnade.planner.lower.product import NO_CLAMP, ProductKernel, Variant, find_facts
from colonnade.planner.lower.program import lower_program
from colonnade.planner.lower.sparse import choose_columns_product, find_sparsity
from colonnade.planner.split import UNITS_PER_THREAD, choose_blocks


@dataclass(frozen=True)
class _Weights:
    """A constant [M, K] matrix, or [K, M] when `transposed`, times `alpha`."""

    name: str
    array: np.ndarray
    transposed: bool
    alpha: float = 1.0
    is_exact: bool = False
    """They are integers, and so are the activations."""

    @property
    def m(self) -> int:
        return int(self.array.shape[1 if self.transposed else 0])

    @property
    def k(self) -> int:
        return int(self.array.shape[0 if self.transposed else 1])

    def scaled(self) -> np.ndarray:
        array = self.array if self.alpha == 1.0 else self.array * np.float32(self.alpha)
        return np.ascontiguousarray(array, dtype=np.float32)

    def as_rows(self) -> np.ndarray:
        """[M, K], scaled."""
        return np.ascontiguousarray(self.scaled().T if self.transposed else self.scaled())


def lower_matmul(node: Node, view: View) -> Choice | str:
    """MatMul and colonnade.Linear."""
    x, w = node.inputs[0], node.inputs[1]
    if view.dtype(x) is not DType.FLOAT32:
        return f"element type {view.dtype(x).value}"
    if 0 in view.shape(x) or 0 in view.shape(w):
        return "no elements"
    array = view.constant(w)
    if array is not None and array.ndim == 2 and len(view.shape(x)) >= 2:
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        weights = _Weights(w, array, True, is_exact=bool(node.attrs.get("exact", 0)))
        return _lower_linear(node, view, x, weights, bias, node.inputs[3:])
    if node.domain:
        return "weights are not constant"
    return _lower_general(node, view)


def lower_gemm(node: Node, view: View) -> Choice | str:
    """Gemm with constant B and a constant or absent C; others as a general product."""
    a, b = node.inputs[0], node.inputs[1]
    if view.dtype(a) is not DType.FLOAT32:
        return f"element type {view.dtype(a).value}"
    if 0 in view.shape(a) or 0 in view.shape(b):
        return "no elements"
    alpha, beta = float(cast(float, node.attrs.get("alpha", 1.0))), node.attrs.get("beta", 1.0)
    c = node.inputs[2] if len(node.inputs) > 2 else ""
    array, bias = view.constant(b), view.constant(c) if c else None
    if array is None or node.attrs.get("transA", 0) or (c and bias is None):
        return "Gemm with activations as weights, transposed or with a computed C"
    weights = _Weights(b, array, not node.attrs.get("transB", 0), alpha)
    if not c or beta == 0.0:
        return _lower_linear(node, view, a, weights, "", ())
    assert bias is not None
    if bias.shape not in ((weights.m,), (1, weights.m)) or beta != 1.0:
        return f"C of shape {list(bias.shape)} with beta {beta!r}"
    return _lower_linear(node, view, a, weights, c, ())


def _lower_linear(
    node: Node, view: View, x: str, w: _Weights, bias: str, extras: tuple[str, ...]
) -> Choice | str:
    if bias and view.constant(bias) is None:
        return "bias is not constant"
    shape, y = view.shape(x), node.outputs[0]
    columns = math.prod(shape[:-1])
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    flops = 2 * columns * w.m * w.k
    product = _choose_product(w, columns, view, in_rows=_is_read_in_rows(y, view))
    if product.in_rows:
        return _on_rows(node, view, x, w, bias, product, program, extras, flops)
    layout = Layout(len(shape) - 1)
    epilogue = (
        lower_epilogue(program, extras, view.shape(y), layout, view)
        if program.instructions
        else NO_EPILOGUE
    )
    if isinstance(epilogue, str):
        return epilogue
    panels = -(-columns // view.panel)
    operands: tuple[Operand, ...] = (
        In(x, layout), product.packed, float_operand(bias, view), epilogue.residual, Out(y, layout),
        *epilogue.extras,
    )  # fmt: skip
    ends = (epilogue.lo, epilogue.hi, *epilogue.params)
    why = product.why + (f", then {epilogue.what}" if epilogue.what else "")
    return Choice(
        product.kernel, operands, (*product.head, *ends), why, owns_columns=product.blocks == 1,
        panels=panels, flops=flops, advisories=product.advisories,
        weights=lambda: find_facts(product, w.as_rows()), striped=product.striped(ends), work_share=product.work_share,
    )  # fmt: skip


def _is_read_in_rows(y: str, view: View) -> bool:
    """Whether the only reader is a recurrent layer, which broadcasts columns itself."""
    reader = view.graph.sole_consumer(y)
    return reader is not None and (reader.domain, reader.op) == ("colonnade", "Recurrent")


def _choose_product(w: _Weights, columns: int, view: View, *, in_rows: bool) -> ProductKernel:
    def make_dense(columns: int, threads: int) -> ProductKernel:
        if columns < FEW_COLUMNS or in_rows:
            return _dense_rows(w, columns, threads, view)
        row, kernel, tile = _core.choose_matmul(view.isa, w.m, w.k, columns)
        blocks = choose_blocks(-(-columns // view.panel), -(-w.m // tile), threads)
        key = (w.name, "matmul", row, w.transposed, w.alpha)
        packed = Const(key, lambda: _core.pack_matmul(row, w.scaled(), w.m, w.k, w.transposed))
        why = f"{kernel}, {w.k} to {w.m} features"
        sizes = (row, w.m, w.k, columns)
        return ProductKernel(
            "matmul_columns", (*sizes, blocks), packed, why, blocks, striped_head=(*sizes, 1)
        )

    name = f"{w.name}, {w.transposed}, {w.alpha}"
    sizes = (w.m, w.k, columns)
    dense = Variant("dense", make_dense)
    return choose_columns_product(
        name, dense, w.as_rows, sizes, find_sparsity(w.array), view, is_exact=w.is_exact,
        gain_min=ROWS_BIAS if in_rows else DENSE_BIAS,
    )  # fmt: skip


def _dense_rows(w: _Weights, columns: int, threads: int, view: View) -> ProductKernel:
    row, kernel, lanes = _core.choose_rows_matmul(view.isa, columns, w.m, w.k)
    key = (w.name, "rows", row, w.transposed, w.alpha)
    packed = Const(key, lambda: _core.pack_rows(row, w.scaled(), w.m, w.k, w.transposed))
    blocks = min(UNITS_PER_THREAD * threads, -(-w.m // lanes))
    reason = "few columns" if columns < FEW_COLUMNS else "for a layer that reads rows"
    why = f"{kernel}, {w.k} to {w.m} features, {reason}"
    head = (row, columns, w.m, w.k, blocks)
    return ProductKernel("matmul_rows", head, packed, why, blocks, in_rows=True)


def _on_rows(
    node: Node,
    view: View,
    x: str,
    w: _Weights,
    bias: str,
    kernel: ProductKernel,
    program: Program,
    extras: tuple[str, ...],
    flops: int,
) -> Choice | str:
    y = node.outputs[0]
    product = Choice(
        kernel.kernel, (In(x), kernel.packed, float_operand(bias, view), Out(y)),
        (*kernel.head, *NO_CLAMP), kernel.why, flops=flops, advisories=kernel.advisories,
        weights=lambda: find_facts(kernel, w.as_rows()),
    )  # fmt: skip
    if not program.instructions:
        return product
    rest = lower_program(program, (y, *extras), y, ROWS, view)
    if isinstance(rest, str):
        return rest
    return Choice(
        rest.kernel, rest.operands, rest.params, f"{product.why}, then {program}",
        flops=flops, before=(product,), in_place=rest.in_place, advisories=kernel.advisories,
        weights=product.weights,
    )  # fmt: skip


def _lower_general(node: Node, view: View) -> Choice | str:
    a_shape, b_shape = view.shape(node.inputs[0]), view.shape(node.inputs[1])
    if not a_shape or not b_shape:
        return "a scalar operand"
    a_full = a_shape if len(a_shape) > 1 else (1, *a_shape)
    b_full = b_shape if len(b_shape) > 1 else (*b_shape, 1)
    m, k, n = a_full[-2], a_full[-1], b_full[-1]
    batch = np.broadcast_shapes(a_full[:-2], b_full[:-2])
    row, name, _ = _core.choose_general_matmul(view.isa, m, n, k)
    params = (
        row, m, n, k, 1.0, k, 1, n, 1,
        batch_offsets(a_full, batch), batch_offsets(b_full, batch),
    )  # fmt: skip
    operands = (In(node.inputs[0]), In(node.inputs[1]), Out(node.outputs[0]))
    flops = 2 * math.prod(batch) * m * n * k
    return Choice("matmul_general", operands, params, f"{name}, two activations", flops=flops)


def batch_offsets(full: tuple[int, ...], batch: tuple[int, ...]) -> tuple[int, ...]:
    """Offset in elements of each broadcast batch item's matrix."""
    size = full[-2] * full[-1]
    own = full[:-2]
    numbers = np.arange(math.prod(own), dtype=np.int64).reshape(own) * size
    return tuple(int(offset) for offset in np.broadcast_to(numbers, batch).ravel())


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "MatMul"): lower_matmul,
    ("", "Gemm"): lower_gemm,
    ("colonnade", "Linear"): lower_matmul,
}
