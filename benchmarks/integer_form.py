"""A QDQ graph as chains of integer products, the form in which SparseML exports for DeepSparse.

    Conv, Gemm, MatMul between DequantizeLinear  ->  ConvInteger or MatMulInteger
                                                     Add (int32 bias), Cast (float32), Mul (scales)

Weights become uint8 with zero point 128, so a pruned weight is the byte 128. Products whose
operands are not all 8-bit stay as they are. The numbers are those of the QDQ graph: only the order
of float32 roundings differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHIFT = 128
PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Operand:
    """An 8-bit operand: the name of its integers; scale and zero point as arrays."""

    integers: str
    scale: np.ndarray
    zero: np.ndarray
    constant: np.ndarray | None
    """Its integers where they are weights."""


def to_integer_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model; its initializers stay embedded."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rewriter = _Rewriter(made.graph)
    nodes = [new for node in made.graph.node for new in rewriter.rewrite(node)]
    tensors = [*made.graph.initializer, *rewriter.tensors]
    live = list(_live(nodes, {output.name for output in made.graph.output}))
    read = {name for node in live for name in node.input}
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(live)
    made.graph.initializer.extend(tensor for tensor in tensors if tensor.name in read)
    return made


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.tensors: list[onnx.TensorProto] = []
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._dequantized = {
            node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"
        }

    def rewrite(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """The chain instead of a product of 8-bit operands; any other node itself."""
        if node.op_type not in PRODUCTS or not _is_plain(node):
            return [node]
        a, b = (self._operand(name) for name in node.input[:2])
        bias = self._bias(node)
        if a is None or b is None or a.constant is not None or a.scale.size != 1 or bias is None:
            return [node]
        if b.constant is None and (node.op_type != "MatMul" or b.scale.size != 1):
            return [node]
        return self._chain(node, a, b, bias)

    def _chain(
        self, node: onnx.NodeProto, a: Operand, b: Operand, bias: np.ndarray
    ) -> list[onnx.NodeProto]:
        name, is_conv = node.output[0], node.op_type == "Conv"
        along = (1, -1, 1, 1) if is_conv else (-1,)
        zero = self._add(f"{name}.a_zero", a.zero.reshape(()))
        inputs = [a.integers, *self._second(node, b, name)]
        inputs.insert(2, zero)
        kept = node.attribute if is_conv else ()
        product = helper.make_node(
            "ConvInteger" if is_conv else "MatMulInteger", inputs, [f"{name}.sum"]
        )
        product.attribute.extend(kept)
        chain, last = [product], f"{name}.sum"
        if bias.size:
            added = [last, self._add(f"{name}.bias", bias.reshape(along))]
            chain.append(helper.make_node("Add", added, [f"{name}.biased"]))
            last = f"{name}.biased"
        chain.append(helper.make_node("Cast", [last], [f"{name}.cast"], to=TensorProto.FLOAT))
        scale = (a.scale.reshape(()) * b.scale).astype(np.float32)
        scale = scale.reshape(along) if scale.size > 1 else scale.reshape(())
        factors = [f"{name}.cast", self._add(f"{name}.scale", scale)]
        return [*chain, helper.make_node("Mul", factors, [name])]

    def _second(self, node: onnx.NodeProto, b: Operand, name: str) -> tuple[str, str]:
        """Names of the second operand's integers, uint8 where they are weights, and zero point."""
        if b.constant is None:
            return b.integers, self._add(f"{name}.b_zero", b.zero.reshape(()))
        weights = b.constant
        if node.op_type == "Gemm" and _attribute(node, "transB", 0):
            weights = weights.T
        shift = SHIFT if weights.dtype == np.int8 else 0
        zero = int(b.zero.flat[0]) + shift
        shifted = np.ascontiguousarray((weights.astype(np.int16) + shift).astype(np.uint8))
        zero_name = self._add(f"{name}.b_zero", np.array(zero, np.uint8))
        return self._add(f"{name}.weights", shifted), zero_name

    def _operand(self, name: str) -> Operand | None:
        """What DequantizeLinear reads, where all its zero points are the same 8-bit number."""
        node = self._dequantized.get(name)
        if node is None or len(node.input) < 3 or node.input[1] not in self._constants:
            return None
        scale, zero = (self._array(part) for part in node.input[1:3])
        if zero.dtype.itemsize != 1 or np.any(zero != zero.flat[0]):
            return None
        zero = zero.reshape(-1)[:1]
        constant = self._array(node.input[0]) if node.input[0] in self._constants else None
        return Operand(node.input[0], scale, zero, constant)

    def _bias(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The int32 bias, empty without one; None for one that is not int32."""
        if len(node.input) < 3 or not node.input[2]:
            return np.empty(0, np.int32)
        source = self._dequantized.get(node.input[2])
        if source is None or source.input[0] not in self._constants:
            return None
        bias = self._array(source.input[0])
        return bias if bias.dtype == np.int32 else None

    def _array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self._constants[name])

    def _add(self, name: str, array: np.ndarray) -> str:
        self.tensors.append(numpy_helper.from_array(array, name))
        return name


def _is_plain(node: onnx.NodeProto) -> bool:
    """No Gemm that scales or transposes its first operand."""
    if node.op_type != "Gemm":
        return True
    scales = [_attribute(node, name, 1.0) for name in ("alpha", "beta")]
    return scales == [1.0, 1.0] and not _attribute(node, "transA", 0)


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    found: Mapping[str, float] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return found.get(name, default)


def _live(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> Iterator[onnx.NodeProto]:
    """In order, those whose results are read."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return reversed(kept)
