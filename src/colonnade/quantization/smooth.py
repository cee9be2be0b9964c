"""SmoothQuant: outliers of activations move into the weights that multiply them.

A product x W is (x / s) (s W) for any s of the input features. With s between the range of a
feature and that of its weights, both quantize well. 1 / s goes into the normalisation that makes x
where only products read it, and is a Mul in front of the products elsewhere. Zeros of W stay zero.
Weights may have outliers of their own, which would move the other way: a value is left alone where
the noise of the products, estimated from the steps of both operands, would not shrink.
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
from colonnade.quantization.ranges import LEVELS
from colonnade.quantization.weights import WEIGHT_MAX

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
    features = _observe(graph, [group.value for group in groups], source, threads)
    for group in groups:
        weights = [_by_input_feature(graph, node) for node in group.products]
        found = features[group.value]
        factors = _factors(weights, found, alpha)
        if _noise(weights, found, factors) < _noise(weights, found, np.ones_like(factors)):
            graph = _apply(graph, group, factors)
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


@dataclass
class _Features:
    """What was seen of each feature of a value."""

    low: np.ndarray
    high: np.ndarray
    square: np.ndarray
    """Sum of squares."""
    count: int = 0

    def add(self, array: np.ndarray) -> None:
        rows = array.reshape(-1, array.shape[-1])
        self.low = np.minimum(self.low, rows.min(axis=0, initial=0.0))
        self.high = np.maximum(self.high, rows.max(axis=0, initial=0.0))
        self.square = self.square + np.sum(rows.astype(np.float64) ** 2, axis=0)
        self.count += rows.shape[0]


def _observe(
    graph: Graph, values: Sequence[str], source: Source, threads: int | None
) -> dict[str, _Features]:
    """Ranges and squares of each feature."""
    features: dict[str, _Features] = {}
    with compile_with_outputs(graph, values, threads) as engine:
        for _, arrays in run_samples(engine, values, source):
            for value, array in arrays.items():
                zeros = np.zeros(array.shape[-1])
                features.setdefault(value, _Features(zeros, zeros, zeros)).add(array)
    return features


def _factors(weights: Sequence[np.ndarray], found: _Features, alpha: float) -> np.ndarray:
    """s by input feature, float32; 1 for a feature that is always 0 or that no weight reads."""
    peaks = np.maximum(-found.low, found.high).astype(np.float64)
    rows = np.maximum.reduce([np.abs(w).max(axis=1) for w in weights]).astype(np.float64)
    used = (peaks > 0) & (rows > 0) & np.isfinite(peaks)
    factors = np.ones_like(rows)
    factors[used] = peaks[used] ** alpha / rows[used] ** (1 - alpha)
    return np.asarray(np.clip(factors, 1 / FACTOR_MAX, FACTOR_MAX), np.float32)


def _noise(weights: Sequence[np.ndarray], found: _Features, factors: np.ndarray) -> float:
    """Squared error of all products for one row of x, when each operand errs by a step at most.

    x / s has one step, s W one for each output; an operand's error is multiplied by the other one.
    """
    x_step = ((found.high / factors).max() - (found.low / factors).min()) / LEVELS
    x_square = float(np.sum(found.square / factors.astype(np.float64) ** 2)) / max(found.count, 1)
    total = 0.0
    for array in weights:
        scaled = array.astype(np.float64) * factors[:, None]
        w_steps = np.abs(scaled).max(axis=0) / WEIGHT_MAX
        total += float(x_step**2 * np.sum(scaled**2) + x_square * np.sum(w_steps**2))
    return total


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
