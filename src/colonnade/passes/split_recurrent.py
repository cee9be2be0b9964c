"""Recurrent layers: the input's share of all steps is one product, the rest one loop.

LSTM, GRU and RNN become MatMul + Add over every step at once, and colonnade.Recurrent
(gates, r, hidden_bias?, peepholes?, lengths?, h0?, c0?): gates [.., directions * G * hidden] as
the layout of the input has it, r [directions, hidden, G * hidden].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, TensorType, is_static

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
_OPSET = 18
FLOAT = DType.FLOAT32


def split_recurrent(graph: Graph) -> Iterator[Patch]:
    """float32, static shapes, the usual activations, no clipping."""
    for node in graph.nodes:
        if not node.domain and node.op in GATES and _is_usual(graph, node):
            yield _Split(graph, node).patch()


def _is_usual(graph: Graph, node: Node) -> bool:
    inputs = (*node.inputs, *("",) * (8 - len(node.inputs)))
    floats = [v for i, v in enumerate((*inputs, *node.outputs)) if v and i != _LENGTHS]
    if any(graph.dtype(v) is not FLOAT or not is_static(graph.shape(v)) for v in floats):
        return False
    if any(0 in (graph.shape(v) or ()) for v in inputs[:3]):
        return False
    if node.attrs.get("clip") or node.attrs.get("input_forget", 0):
        return False
    return _activation(node) is not None


_X, _W, _R, _B, _LENGTHS, _H0, _C0, _P = range(8)


def _activation(node: Node) -> str | None:
    """tanh, or relu for an RNN; None for functions that no kernel has."""
    given = node.attrs.get("activations")
    names = [str(name).lower() for name in given] if isinstance(given, tuple) else []
    if node.op == "RNN":
        found = set(names or ["tanh"])
        return found.pop() if len(found) == 1 and found <= {"tanh", "relu"} else None
    defaults = _DEFAULTS[node.op]
    cut = [tuple(names[i : i + len(defaults)]) for i in range(0, len(names), len(defaults))]
    return "tanh" if all(part == defaults for part in cut) else None


@dataclass
class _Split:
    """Builds the nodes; what is made of constants is a constant."""

    graph: Graph
    node: Node
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def patch(self) -> Patch:
        gates = self._gates()
        node = self.node
        inputs = (*node.inputs, *("",) * (8 - len(node.inputs)))
        r = self._transpose(inputs[_R], (0, 2, 1), "r")
        operands = [
            gates, r, self._hidden_bias(), inputs[_P], inputs[_LENGTHS], inputs[_H0], inputs[_C0],
        ]  # fmt: skip
        while not operands[-1]:
            operands.pop()
        attrs: dict[str, AttrValue] = {
            "kind": node.op,
            "activation": _activation(node) or "",
            "direction": node.attrs.get("direction", "forward"),
            "layout": node.attrs.get("layout", 0),
            "linear_before_reset": node.attrs.get("linear_before_reset", 0),
        }
        self.nodes.append(
            Node("Recurrent", tuple(operands), node.outputs, attrs, node.name, "colonnade", 1)
        )
        return Patch(
            remove=(node,), add=tuple(self.nodes), types=self.types, constants=self.constants
        )

    @property
    def _is_reset_behind(self) -> bool:
        return self.node.op == "GRU" and bool(self.node.attrs.get("linear_before_reset", 0))

    def _gates(self) -> str:
        """x W^T + bias for every step and direction."""
        x, w = self.node.inputs[_X], self.node.inputs[_W]
        directions, rows, features = self._shape(w)
        weights = self._transpose(w, (2, 0, 1), "w")
        weights = self._reshape(weights, (features, directions * rows), "weights")
        product = self._add_node(
            "MatMul", (x, weights), (*self._shape(x)[:-1], directions * rows), "product"
        )
        bias = self._bias()
        return self._sum(product, bias, "gates") if bias else product

    def _bias(self) -> str:
        """Wb + Rb, one value a gate; Rb of the last gate stays apart when the reset is behind."""
        half = self._half(0)
        if not half:
            return ""
        other = self._half(1)
        directions, rows = self._shape(half)
        if self._is_reset_behind:
            hidden = rows // GATES["GRU"]
            other = self._product(other, np.repeat([1, 1, 0], hidden).astype(np.float32), "masked")
        return self._reshape(self._sum(half, other, "both"), (directions * rows,), "bias")

    def _half(self, number: int) -> str:
        """Wb (0) or Rb (1) of every direction."""
        b = self.node.inputs[_B] if len(self.node.inputs) > _B else ""
        if not b:
            return ""
        half = self._shape(b)[1] // 2
        return self._slice(b, number * half, (number + 1) * half, f"bias{number}")

    def _hidden_bias(self) -> str:
        half = self._half(1) if self._is_reset_behind else ""
        if not half:
            return ""
        rows = self._shape(half)[1]
        return self._slice(half, rows // 3 * 2, rows, "hidden_bias")

    def _shape(self, value: str) -> tuple[int, ...]:
        known = self.types.get(value) or self.graph.types[value]
        assert is_static(known.shape)
        return known.shape

    def _array(self, value: str) -> np.ndarray | None:
        array = self.constants.get(value)
        return self.graph.constants.get(value) if array is None else array

    def _name(self, what: str) -> str:
        return f"{next(out for out in self.node.outputs if out)}/{what}"

    def _constant(self, array: np.ndarray, what: str) -> str:
        name = self._name(what)
        self.constants[name] = array
        self.types[name] = TensorType(DType.from_numpy(array.dtype), array.shape)
        return name

    def _add_node(
        self,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        what: str,
        attrs: dict[str, AttrValue] | None = None,
    ) -> str:
        name = self._name(what)
        if name in self.types:
            return name  # Made before: the halves of the bias are read twice.
        self.types[name] = TensorType(FLOAT, shape)
        self.nodes.append(Node(op, inputs, (name,), attrs or {}, name, "", _OPSET))
        return name

    def _transpose(self, value: str, perm: tuple[int, ...], what: str) -> str:
        array = self._array(value)
        if array is not None:
            return self._constant(np.ascontiguousarray(array.transpose(perm)), what)
        shape = self._shape(value)
        made = tuple(shape[axis] for axis in perm)
        return self._add_node("Transpose", (value,), made, what, {"perm": perm})

    def _reshape(self, value: str, shape: tuple[int, ...], what: str) -> str:
        array = self._array(value)
        if array is not None:
            return self._constant(array.reshape(shape), what)
        target = self._constant(np.array(shape, np.int64), f"{what}_shape")
        return self._add_node("Reshape", (value, target), shape, what)

    def _slice(self, value: str, begin: int, end: int, what: str) -> str:
        """Of the second axis of two."""
        array = self._array(value)
        if array is not None:
            return self._constant(np.ascontiguousarray(array[:, begin:end]), what)
        numbers = [
            self._constant(np.array([number], np.int64), f"{what}_{name}")
            for name, number in (("begin", begin), ("end", end), ("axis", 1))
        ]
        shape = (self._shape(value)[0], end - begin)
        return self._add_node("Slice", (value, *numbers), shape, what)

    def _sum(self, a: str, b: str, what: str) -> str:
        left, right = self._array(a), self._array(b)
        if left is not None and right is not None:
            return self._constant(left + right, what)
        return self._add_node("Add", (a, b), self._shape(a), what)

    def _product(self, a: str, factor: np.ndarray, what: str) -> str:
        array = self._array(a)
        if array is not None:
            return self._constant(array * factor, what)
        return self._add_node(
            "Mul", (a, self._constant(factor, f"{what}_factor")), self._shape(a), what
        )
