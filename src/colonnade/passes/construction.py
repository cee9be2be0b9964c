"""Construction: the nodes, types and constants that take one node's place.

Methods append a node and return its value; what is made of constants only is computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, TensorType, is_static

OPSET = 21
"""Opset of the nodes that are made."""

NO_ATTRS: Mapping[str, AttrValue] = MappingProxyType({})

_FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Sqrt": np.sqrt,
}  # fmt: skip


class Construction:
    """Collects what replaces `node`. Every value that it reads must have a static shape.

    `label` keeps names apart when two passes replace the maker of one value, one after the other.
    """

    def __init__(self, graph: Graph, node: Node, label: str = "") -> None:
        self._graph = graph
        self._node = node
        self._nodes: list[Node] = []
        self._types: dict[str, TensorType] = {}
        self._constants: dict[str, np.ndarray] = {}
        first = next(out for out in node.outputs if out)
        self._prefix = f"{first}/{label}" if label else first

    def patch(self, also: tuple[Node, ...] = ()) -> Patch:
        """Everything made so far in place of the node, and of other nodes that go with it."""
        return Patch(
            remove=(*also, self._node), add=tuple(self._nodes), types=self._types,
            constants=self._constants,
        )  # fmt: skip

    def shape(self, value: str) -> tuple[int, ...]:
        """Static shape of a value."""
        known = self._types.get(value) or self._graph.types[value]
        assert is_static(known.shape)
        return known.shape

    def dtype(self, value: str) -> DType:
        """Element type of a value."""
        return (self._types.get(value) or self._graph.types[value]).dtype

    def array(self, value: str) -> np.ndarray | None:
        """The value when it is constant."""
        made = self._constants.get(value)
        return self._graph.constants.get(value) if made is None else made

    def constant(self, array: np.ndarray) -> str:
        """A new constant."""
        name = f"{self._prefix}/constant_{len(self._constants)}"
        self._constants[name] = array
        self._types[name] = TensorType(DType.from_numpy(array.dtype), array.shape)
        return name

    def declare(self, value: str, dtype: DType, shape: Sequence[int | str | None]) -> None:
        """The type of a value that an added node makes."""
        self._types[value] = TensorType(dtype, tuple(shape))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def call(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        attrs: Mapping[str, AttrValue] = NO_ATTRS,
        *,
        output: str = "",
        dtype: DType = DType.FLOAT32,
        version: int = OPSET,
    ) -> str:
        """A node of the standard domain; `output` names the value that leaves the construction."""
        made = output or f"{self._prefix}/{op}_{len(self._nodes)}"
        self._types[made] = TensorType(dtype, tuple(shape))
        self._nodes.append(Node(op, tuple(inputs), (made,), attrs, made, "", version))
        return made

    def copy(self, node: Node, inputs: Sequence[str], shape: Sequence[int]) -> str:
        """The node on other inputs; its only output has this shape and the type that it had."""
        made = f"{self._prefix}/{node.op}_{len(self._nodes)}"
        self._types[made] = TensorType(self._graph.dtype(node.outputs[0]), tuple(shape))
        self._nodes.append(replace(node, inputs=tuple(inputs), outputs=(made,), name=made))
        return made

    def add(self, node: Node) -> None:
        """A node that is made already."""
        self._nodes.append(node)

    def arithmetic(self, op: str, *inputs: str, output: str = "") -> str:
        """An element-wise float32 operation with numpy broadcasting."""
        arrays = [self.array(value) for value in inputs]
        known = [array for array in arrays if array is not None]
        if op in _FOLDED and len(known) == len(arrays) and not output:
            return self.constant(_FOLDED[op](*known).astype(np.float32))
        shape = np.broadcast_shapes(*(self.shape(value) for value in inputs))
        return self.call(op, inputs, shape, output=output)

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """Permuted axes."""
        array = self.array(value)
        if array is not None:
            return self.constant(np.ascontiguousarray(array.transpose(perm)))
        shape = self.shape(value)
        return self.call("Transpose", (value,), [shape[a] for a in perm], {"perm": tuple(perm)})

    def reshape(self, value: str, shape: Sequence[int], *, output: str = "") -> str:
        """Another shape."""
        array = self.array(value)
        if array is not None and not output:
            return self.constant(array.reshape(shape))
        target = self.constant(np.array(shape, np.int64))
        dtype = self.dtype(value)
        return self.call("Reshape", (value, target), shape, output=output, dtype=dtype)

    def slice(self, value: str, axis: int, begin: int, end: int) -> str:
        """A range of one axis."""
        array = self.array(value)
        if array is not None:
            kept = array.take(range(begin, end), axis)
            return self.constant(np.ascontiguousarray(kept))
        limits = [self.constant(np.array([number], np.int64)) for number in (begin, end, axis)]
        shape = list(self.shape(value))
        shape[axis] = end - begin
        return self.call("Slice", (value, *limits), shape)

    def reduce(self, op: str, value: str, axes: Sequence[int]) -> str:
        """A reduction that keeps the axes."""
        shape = [1 if i in axes else dim for i, dim in enumerate(self.shape(value))]
        numbers = self.constant(np.array(axes, np.int64))
        return self.call(op, (value, numbers), shape, {"keepdims": 1})


def is_static_float32(graph: Graph, node: Node) -> bool:
    """True when every operand is float32 with a known shape that is not empty."""
    values = [value for value in (*node.inputs, *node.outputs) if value]
    return bool(node.inputs) and all(
        graph.dtype(v) is DType.FLOAT32 and is_static(s := graph.shape(v)) and 0 not in s
        for v in values
    )
