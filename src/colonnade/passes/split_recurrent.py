"""Recurrent layers: the input's share of all steps is one product, the rest one loop.

LSTM, GRU and RNN become MatMul + Add over every step at once, and colonnade.Recurrent
(gates, r, hidden_bias?, peepholes?, lengths?, h0?, c0?): gates [.., directions * G * hidden] as
the layout of the input has it, r [directions, hidden, G * hidden].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}


def split_recurrent(graph: Graph) -> Iterator[Patch]:
    """float32, static shapes, the usual activations."""
    for node in graph.nodes:
        if not node.domain and node.op in GATES and _is_usual(graph, node):
            yield RecurrentSplit(graph, node).patch()


def _is_usual(graph: Graph, node: Node) -> bool:
    inputs = (*node.inputs, *("",) * (8 - len(node.inputs)))
    floats = [v for i, v in enumerate((*inputs, *node.outputs)) if v and i != _LENGTHS]
    if any(graph.dtype(v) is not DType.FLOAT32 or not is_static(graph.shape(v)) for v in floats):
        return False
    if any(0 in (graph.shape(v) or ()) for v in inputs[:3]):
        return False
    return usual_activation(node) is not None


_X, _W, _R, _B, _LENGTHS, _H0, _C0, _P = range(8)


def usual_activation(node: Node) -> str | None:
    """tanh, or relu for an RNN; None for functions that no kernel has."""
    given = node.attrs.get("activations")
    names = [str(name).lower() for name in given] if isinstance(given, tuple) else []
    if node.op == "RNN":
        found = set(names or ["tanh"])
        return found.pop() if len(found) == 1 and found <= {"tanh", "relu"} else None
    defaults = _DEFAULTS[node.op]
    cut = [tuple(names[i : i + len(defaults)]) for i in range(0, len(names), len(defaults))]
    return "tanh" if all(part == defaults for part in cut) else None


class RecurrentSplit:
    """Builds the product and the loop of one layer: `node`, in place of `source` if given."""

    def __init__(self, graph: Graph, node: Node, source: Node | None = None) -> None:
        self._node = node
        self.made = Construction(graph, source or node)
        self._inputs = (*node.inputs, *("",) * (8 - len(node.inputs)))
        self._halves = self._bias_halves()

    def patch(self) -> Patch:
        """With float32 weights."""
        r = self.made.transpose(self._inputs[_R], (0, 2, 1))
        return self.loop("Recurrent", (self._gates(), r))

    def loop(self, op: str, operands: Sequence[str], extra: Sequence[str] = ()) -> Patch:
        """`op` on gates and weights, what else the layer has, and `extra` inputs behind it."""
        inputs = [
            *operands, self._hidden_bias(), self._inputs[_P],
            *self._inputs[_LENGTHS:_P], *extra,
        ]  # fmt: skip
        while not inputs[-1]:
            inputs.pop()
        node = self._node
        self.made.add(
            Node(op, tuple(inputs), node.outputs, self._attrs(), node.name, "colonnade", 1)
        )
        return self.made.patch()

    def _attrs(self) -> dict[str, AttrValue]:
        node = self._node
        attrs: dict[str, AttrValue] = {
            "kind": node.op,
            "activation": usual_activation(node) or "",
            "direction": node.attrs.get("direction", "forward"),
            "layout": node.attrs.get("layout", 0),
            "linear_before_reset": node.attrs.get("linear_before_reset", 0),
        }
        for name in ("clip", "input_forget"):
            if value := node.attrs.get(name):
                attrs[name] = value
        return attrs

    @property
    def _is_reset_behind(self) -> bool:
        return self._node.op == "GRU" and bool(self._node.attrs.get("linear_before_reset", 0))

    def _gates(self) -> str:
        """x W^T + bias for every step and direction."""
        made, x, w = self.made, self._inputs[_X], self._inputs[_W]
        directions, rows, features = made.shape(w)
        weights = made.reshape(made.transpose(w, (2, 0, 1)), (features, directions * rows))
        product = made.call("MatMul", (x, weights), (*made.shape(x)[:-1], directions * rows))
        bias = self.bias()
        return made.arithmetic("Add", product, bias) if bias else product

    def bias(self) -> str:
        """What is added to the product, [directions * G * hidden]; empty for none."""
        return self._bias(*self._halves) if self._halves is not None else ""

    def _bias_halves(self) -> tuple[str, str] | None:
        """Wb and Rb of every direction."""
        b = self._inputs[_B]
        if not b:
            return None
        half = self.made.shape(b)[1] // 2
        return self.made.slice(b, 1, 0, half), self.made.slice(b, 1, half, 2 * half)

    def _bias(self, wb: str, rb: str) -> str:
        """Wb + Rb, one value a gate; Rb of the last gate stays apart when the reset is behind."""
        made = self.made
        directions, rows = made.shape(wb)
        if self._is_reset_behind:
            kept = np.repeat([1, 1, 0], rows // GATES["GRU"]).astype(np.float32)
            rb = made.arithmetic("Mul", rb, made.constant(kept))
        return made.reshape(made.arithmetic("Add", wb, rb), (directions * rows,))

    def _hidden_bias(self) -> str:
        if self._halves is None or not self._is_reset_behind:
            return ""
        rb = self._halves[1]
        rows = self.made.shape(rb)[1]
        return self.made.slice(rb, 1, rows // 3 * 2, rows)
