"""write_qdq(): the graph with QuantizeLinear and DequantizeLinear where a Placement wants them.

Only readers that run on 8 bits read the dequantized value; all others read the float32 one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from colonnade.ir import DType, Graph, Node, TensorType, verify_graph
from colonnade.passes.remove_dead_nodes import remove_dead_nodes
from colonnade.quantization.place import Placement, data_inputs
from colonnade.quantization.policy import Weights, find_rule, opset_of
from colonnade.quantization.ranges import Scale
from colonnade.quantization.weights import quantize_weights


def write_qdq(
    graph: Graph, placement: Placement, scales: Mapping[str, Scale], *, per_channel: bool
) -> Graph:
    """`scales` by value, of every value of the placement."""
    writer = _Writer(graph, placement, scales, per_channel)
    writer.write()
    made = remove_dead_nodes(writer.result())
    verify_graph(made)
    return made


class _Writer:
    """The new graph while it is made."""

    def __init__(
        self, graph: Graph, placement: Placement, scales: Mapping[str, Scale], per_channel: bool
    ) -> None:
        self._graph = graph
        self._placement = placement
        self._scales = scales
        self._per_channel = per_channel
        self._values = frozenset(placement.values)
        self._opset = opset_of(graph)
        self._dequantized: dict[str, str] = {}
        self._nodes: list[Node] = []
        self._types = dict(graph.types)
        self._constants = dict(graph.constants)

    def write(self) -> None:
        """Every node in order; borders behind the values that get some."""
        for value in self._graph.inputs:
            self._add_borders(value)
        for node in self._graph.nodes:
            is_reader = node.outputs[0] in self._placement.readers
            self._nodes.append(self._on_integers(node) if is_reader else node)
            for out in node.outputs:
                self._add_borders(out)

    def result(self) -> Graph:
        return self._graph.with_changes(
            nodes=tuple(self._nodes), types=self._types, constants=self._constants
        )

    def _add_borders(self, value: str) -> None:
        if value not in self._values:
            return
        found = self._scales[self._placement.group[value]]
        shape = self._graph.shape(value)
        scale = self._constant(f"{value}/scale", np.array(found.scale, np.float32))
        zero = self._constant(f"{value}/zero_point", np.array(found.zero, np.uint8))
        integers = self._declare(f"{value}/quantized", TensorType(DType.UINT8, shape))
        real = self._declare(f"{value}/dequantized", TensorType(DType.FLOAT32, shape))
        self._dequantized[value] = real
        self._add("QuantizeLinear", (value, scale, zero), integers)
        self._add("DequantizeLinear", (integers, scale, zero), real)

    def _on_integers(self, node: Node) -> Node:
        """The node, reading dequantized values and weights."""
        rule = find_rule(node)
        assert rule is not None
        data = set(data_inputs(node, rule))
        inputs = tuple(self._dequantized[v] if v in data else v for v in node.inputs)
        weights = self._placement.products.get(node.outputs[0])
        if weights is not None:
            inputs = (inputs[0], *self._weights(node, weights))
        return replace(node, inputs=inputs)

    def _weights(self, node: Node, weights: Weights) -> tuple[str, ...]:
        array = self._graph.constants[weights.value]
        features = array.shape[weights.axis]
        bias = self._graph.constants.get(weights.bias)
        if bias is not None:
            bias = np.broadcast_to(bias.reshape(-1), (features,))
        x = self._scales[self._placement.group[node.inputs[0]]]
        made = quantize_weights(
            array, weights.axis, bias, float(x.scale), per_channel=self._per_channel
        )
        prefix = node.outputs[0]
        values = [self._dequantize(f"{prefix}/weight", made.weights, made.scale, weights.axis)]
        if made.bias is not None:
            values.append(self._dequantize(f"{prefix}/bias", made.bias, made.bias_scale, 0))
        return tuple(values)

    def _dequantize(self, name: str, array: np.ndarray, scale: np.ndarray, axis: int) -> str:
        zero = np.zeros(scale.shape, array.dtype)
        inputs = (
            self._constant(f"{name}/quantized", array),
            self._constant(f"{name}/scale", scale),
            self._constant(f"{name}/zero_point", zero),
        )
        real = self._declare(name, TensorType(DType.FLOAT32, array.shape))
        self._add("DequantizeLinear", inputs, real, axis if scale.ndim else None)
        return real

    def _add(self, op: str, inputs: tuple[str, ...], out: str, axis: int | None = None) -> None:
        attrs = {} if axis is None else {"axis": axis}
        self._nodes.append(Node(op, inputs, (out,), attrs, f"{out}/{op}", "", self._opset))

    def _constant(self, name: str, array: np.ndarray) -> str:
        name = self._declare(name, TensorType(DType.from_numpy(array.dtype), array.shape))
        self._constants[name] = array
        return name

    def _declare(self, name: str, known: TensorType) -> str:
        """A new value of this type; its name is made longer where the model has it already."""
        while name in self._types:
            name += "_"
        self._types[name] = known
        return name
