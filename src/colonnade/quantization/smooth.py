"""SmoothQuant: outliers of activations move into the weights that multiply them.

A product x W is (x / s) (s W) for any s of the input features. With s between the range of a
feature and that of its weights, both quantize well. 1 / s goes into the normalisation that makes x
where only products read it, and is a Mul in front of the products elsewhere. Zeros of W stay zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import DType, Graph, Node, TensorType
from colonnade.passes.remove_dead_nodes import remove_dead_nodes
from colonnade.quantization.calibrate import compile_with_outputs, run_samples
from colonnade.quantization.data.source import Source
from colonnade.quantization.place import Placement
from colonnade.quantization.policy import opset_of

FACTOR_MAX = 1e5
"""Of s, and of 1 / s: keeps weights of features that hardly ever move in float32's range."""
_NORMS = ("LayerNormalization", "RMSNormalization")


@dataclass(frozen=True)
class _Group:
    """Products that read one value, whose last axis is their input features."""

    value: str
    products: tuple[Node, ...]
    is_alone: bool
    """Nobody else reads the value."""


def smooth(
    graph: Graph, placement: Placement, source: Source, alpha: float, threads: int | None
) -> Graph:
    """`alpha`: 0 leaves activations alone, 1 gives them all one range."""
    groups = list(_find_groups(graph, placement))
    if not groups:
        return graph
    peaks = _find_peaks(graph, [group.value for group in groups], source, threads)
    for group in groups:
        graph = _apply(graph, group, _factors(graph, group, peaks[group.value], alpha))
    return remove_dead_nodes(graph)


def _find_groups(graph: Graph, placement: Placement) -> Iterator[_Group]:
    for value, readers in graph.consumers.items():
        products = tuple(
            node for node in readers
            if node.outputs[0] in placement.products and node.op in ("MatMul", "Gemm")
            and node.inputs[0] == value
        )  # fmt: skip
        is_alone = len(products) == len(readers) and value not in graph.outputs
        if products and value not in graph.inputs and (is_alone or _find_norm(graph, value)):
            yield _Group(value, products, is_alone)


def _find_norm(graph: Graph, value: str) -> tuple[Node, ...]:
    """The nodes that scale and shift the last axis to make the value: one norm, or Mul and Add."""
    node = graph.producer.get(value)
    if node is None or node.domain:
        return ()
    if node.op in _NORMS:
        is_last = node.attrs.get("axis", -1) in (-1, len(graph.shape(value) or ()) - 1)
        known = all(name in graph.constants for name in node.inputs[1:] if name)
        return (node,) if is_last and known else ()
    if node.op != "Add" or _features_constant(graph, node) is None:
        return ()
    scaled = next(name for name in node.inputs if name not in graph.constants)
    scaling = graph.producer.get(scaled)
    if scaling is None or scaling.op != "Mul" or graph.sole_consumer(scaled) is not node:
        return ()
    return (node, scaling) if _features_constant(graph, scaling) is not None else ()


def _features_constant(graph: Graph, node: Node) -> int | None:
    """Number of the input that is a constant along the last axis only."""
    places = [i for i, name in enumerate(node.inputs) if name in graph.constants]
    if len(places) != 1:
        return None
    array = graph.constants[node.inputs[places[0]]]
    return places[0] if array.ndim and array.size == array.shape[-1] > 1 else None


def _find_peaks(
    graph: Graph, values: Sequence[str], source: Source, threads: int | None
) -> dict[str, np.ndarray]:
    """The largest magnitude of each feature."""
    peaks: dict[str, np.ndarray] = {}
    with compile_with_outputs(graph, values, threads) as engine:
        for _, arrays in run_samples(engine, values, source):
            for value, array in arrays.items():
                found = np.abs(array.reshape(-1, array.shape[-1])).max(axis=0, initial=0.0)
                peaks[value] = np.maximum(peaks.get(value, 0.0), found)
    return peaks


def _factors(graph: Graph, group: _Group, peaks: np.ndarray, alpha: float) -> np.ndarray:
    """s by input feature, float32; 1 for a feature that is always 0 or that no weight reads."""
    rows = [np.abs(_by_input_feature(graph, node)).max(axis=1) for node in group.products]
    weights = np.maximum.reduce(rows).astype(np.float64)
    used = (peaks > 0) & (weights > 0) & np.isfinite(peaks)
    factors = np.ones_like(weights)
    factors[used] = peaks[used].astype(np.float64) ** alpha / weights[used] ** (1 - alpha)
    return np.asarray(np.clip(factors, 1 / FACTOR_MAX, FACTOR_MAX), np.float32)


def _is_transposed(node: Node) -> bool:
    return bool(node.op == "Gemm" and node.attrs.get("transB", 0))


def _by_input_feature(graph: Graph, node: Node) -> np.ndarray:
    weights = graph.constants[node.inputs[1]]
    return np.asarray(weights.T if _is_transposed(node) else weights)


def _apply(graph: Graph, group: _Group, factors: np.ndarray) -> Graph:
    edit = _Edit(graph)
    norm = _find_norm(graph, group.value) if group.is_alone else ()
    read = group.value if norm else f"{group.value}/smoothed"
    for node in norm:
        edit.change(node, _scaled_inputs(graph, edit, node, group.value, 1 / factors))
    if not norm:
        inverse = edit.constant(f"{group.value}/smoothing", 1 / factors)
        edit.insert(Node("Mul", (group.value, inverse), (read,), {}, read, "", opset_of(graph)))
        edit.types[read] = graph.types[group.value]
    for node in group.products:
        along = factors if _is_transposed(node) else factors[:, None]
        name = edit.constant(f"{node.outputs[0]}/smoothed", graph.constants[node.inputs[1]] * along)
        edit.change(node, (read, name, *node.inputs[2:]))
    return edit.result()


def _scaled_inputs(
    graph: Graph, edit: _Edit, node: Node, value: str, inverse: np.ndarray
) -> tuple[str, ...]:
    """The inputs of a normalisation, or of the Mul or Add that ends one, with scaled constants."""
    return tuple(
        edit.constant(f"{value}/{node.op}_{i}", graph.constants[name] * inverse)
        if name in graph.constants
        else name
        for i, name in enumerate(node.inputs)
    )


class _Edit:
    """Changed nodes and new constants of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._changed: dict[str, Node] = {}
        self._inserted: Node | None = None
        self._constants: dict[str, np.ndarray] = {}
        self.types: dict[str, TensorType] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = np.ascontiguousarray(array, np.float32)
        self.types[name] = TensorType(DType.FLOAT32, array.shape)
        return name

    def change(self, node: Node, inputs: tuple[str, ...]) -> None:
        self._changed[node.outputs[0]] = replace(node, inputs=inputs)

    def insert(self, node: Node) -> None:
        """In front of the first changed node."""
        self._inserted = node

    def result(self) -> Graph:
        nodes: list[Node] = []
        for node in self._graph.nodes:
            changed = self._changed.get(node.outputs[0])
            if changed is not None and self._inserted is not None:
                nodes.append(self._inserted)
                self._inserted = None
            nodes.append(changed or node)
        return self._graph.with_changes(
            nodes=tuple(nodes),
            types={**self._graph.types, **self.types},
            constants={**self._graph.constants, **self._constants},
        )
