"""Evaluate a node, or a whole graph, with numpy: the oracle, and a slow runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from colonnade.errors import InputError, RunError
from colonnade.ir import DType, Graph, Node, Subgraph, is_static
from colonnade.reference import (
    attention,
    cast,
    conv,
    elementwise,
    fused,
    generate,
    index,
    logic,
    loss,
    matmul,
    norm,
    pool,
    quantize,
    quantized_attention,
    quantized_products,
    quantized_recurrent,
    reduce,
    resize,
    rnn,
    shape,
    signal,
    text,
    training,
)
from colonnade.reference.budget import DEFAULT_BYTES, budget
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.operation import Operation

_FAMILIES = (
    attention, cast, conv, elementwise, fused, generate, index, logic, loss, matmul, norm, pool,
    quantize, quantized_attention, quantized_products, quantized_recurrent, reduce, resize, rnn,
    shape, signal, text, training,
)  # fmt: skip

OPS: dict[tuple[str, str], Operation] = {
    key: function for family in _FAMILIES for key, function in family.OPS.items()
}

RUN_BYTES = 4 << 30
"""The largest array that `run_graph` makes."""


def has_reference(node: Node) -> bool:
    """True when `evaluate` knows the node's operation."""
    has_body = any(isinstance(value, Subgraph) for value in node.attrs.values())
    return (node.domain, node.op) in OPS and not has_body


def evaluate(
    node: Node, inputs: Sequence[np.ndarray | None], max_bytes: int = DEFAULT_BYTES
) -> tuple[np.ndarray, ...]:
    """The node's outputs, one for each that it names; an absent input is None.

    No array larger than `max_bytes` is made. An output may share memory with an input. Raises
    UnsupportedNodeError (a NotImplementedError), OverBudgetError (a MemoryError), or
    EvaluationError (a ValueError) when the inputs do not fit the node.
    """
    if not has_reference(node):
        raise UnsupportedNodeError(f"no reference for {node.domain or 'onnx'}.{node.op}")
    for array in inputs:
        if array is not None and DType.from_numpy(array.dtype) is DType.OTHER:
            raise UnsupportedNodeError(f"element type {array.dtype}")
    try:
        with budget(max_bytes), np.errstate(all="ignore"):
            outputs = OPS[node.domain, node.op](node, *inputs)
    except (EvaluationError, NotImplementedError, MemoryError):
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise EvaluationError(_reason(inputs, error)) from error
    if len(outputs) < len(node.outputs):
        raise EvaluationError(f"{len(node.outputs)} outputs are named, {len(outputs)} are made")
    return tuple(np.asarray(out) for out in outputs[: len(node.outputs)])


def _reason(inputs: Sequence[np.ndarray | None], error: Exception) -> str:
    seen = ", ".join("-" if x is None else f"{x.dtype}{list(x.shape)}" for x in inputs)
    return f"inputs ({seen}) do not fit: {error}"


def run_graph(
    graph: Graph, inputs: Mapping[str, np.ndarray], max_bytes: int = RUN_BYTES
) -> dict[str, np.ndarray]:
    """Run the graph node by node; intermediate values are dropped after their last reader."""
    missing = [name for name in graph.inputs if name not in inputs]
    if missing:
        raise InputError(f"missing input {', '.join(map(repr, missing))}")
    values: dict[str, np.ndarray] = {**graph.constants, **inputs}
    last_reader = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    for i, node in enumerate(graph.nodes):
        for name, array in zip(node.outputs, _run_node(node, values, max_bytes), strict=True):
            if name:
                values[name] = _declared(graph, node, name, array)
        for value in set(node.inputs):
            if last_reader[value] == i and value not in graph.outputs:
                values.pop(value, None)
    return {name: values[name] for name in graph.outputs}


def _run_node(
    node: Node, values: Mapping[str, np.ndarray], max_bytes: int
) -> tuple[np.ndarray, ...]:
    operands = [values[value] if value else None for value in node.inputs]
    try:
        return evaluate(node, operands, max_bytes)
    except (NotImplementedError, MemoryError, ValueError) as error:
        raise RunError(f"{node}: {error}") from error


def _declared(graph: Graph, node: Node, name: str, array: np.ndarray) -> np.ndarray:
    """Fused attention knows features and columns; the graph says how columns are shaped."""
    declared = graph.shape(name)
    is_fused = node.domain == "colonnade" and node.op in ("Attention", "QAttention")
    if not is_fused or not is_static(declared):
        return array
    return array.reshape(declared)
