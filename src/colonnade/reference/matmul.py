"""Matrix products and what is written in terms of them, accumulated in float64."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import float_attr, int_attr, str_attr
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """numpy's matmul in the widest type of the operands' kind."""
    if a.ndim == 0 or b.ndim == 0:
        raise EvaluationError("an operand of a matrix product is a scalar")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if b.ndim > 1 else ()
    shape = reserve((*batch, *rows, *columns), np.float64)
    reserve_work(int(np.prod(shape)) * a.shape[-1])
    return np.asarray(np.matmul(wide(a), wide(b)))


def _matmul(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
    del node
    return (narrow(matmul(a, b), a.dtype),)


def _gemm(node: Node, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> Outputs:
    if a.ndim != 2 or b.ndim != 2:
        raise EvaluationError(f"operands of rank {a.ndim} and {b.ndim}, expected 2 and 2")
    left = a.T if int_attr(node, "transA", 0) else a
    right = b.T if int_attr(node, "transB", 0) else b
    result = matmul(left, right) * float_attr(node, "alpha", 1.0)
    if c is not None:
        result = result + np.broadcast_to(wide(c), result.shape) * float_attr(node, "beta", 1.0)
    return (narrow(result, a.dtype),)


def _einsum(node: Node, *inputs: np.ndarray) -> Outputs:
    equation = str_attr(node, "equation").replace(" ", "")
    sizes = _letter_sizes(equation.split("->")[0].split(","), inputs)
    reserve_work(int(np.prod([float(size) for size in sizes.values()])))
    result = np.einsum(equation, *(wide(x) for x in inputs))
    return (narrow(result, inputs[0].dtype),)


def _letter_sizes(terms: list[str], inputs: tuple[np.ndarray, ...]) -> dict[str, int]:
    """The extent of each letter; the axes of an ellipsis count from the back."""
    if len(terms) != len(inputs):
        raise EvaluationError(f"the equation has {len(terms)} operands, the node {len(inputs)}")
    sizes: dict[str, int] = {}
    for term, x in zip(terms, inputs, strict=True):
        head, dots, tail = term.partition("...")
        inner = [f"...{i}" for i in range(x.ndim - len(head) - len(tail), 0, -1)] if dots else []
        for letter, size in zip([*head, *inner, *tail], x.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 0))
    return sizes


def _det(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (narrow(np.linalg.det(wide(x)), x.dtype),)


OPS: Operations = {
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Einsum"): _einsum,
    ("", "Det"): _det,
}
