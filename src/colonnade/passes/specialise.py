"""Bind a graph to concrete input shapes: fold what is then constant, type everything else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from colonnade.errors import ModelError
from colonnade.ir import DType, Graph, Node, Shape, Subgraph, TensorType, captures
from colonnade.passes.quantized_constants import EIGHT_BITS, keeps_integers
from colonnade.passes.remove_dead_nodes import remove_dead_nodes
from colonnade.passes.shape_values import MAX_ELEMENTS, PartialValue, propagate, refine_shape

InferFn = Callable[
    [Node, Mapping[str, TensorType], Mapping[str, np.ndarray], int], Mapping[str, TensorType]
]
"""(node, types of its inputs, values of small constant inputs, opset) -> types of its outputs."""

EvaluateFn = Callable[[Node, Sequence[np.ndarray | None], int], tuple[np.ndarray, ...]]
"""(node, inputs, byte budget) -> outputs. Raises NotImplementedError for an unknown operation,
MemoryError above the budget, ValueError for inputs that the operation refuses."""

MAX_FOLD_BYTES = 64 << 20
MAX_HEAVY_BYTES = 1 << 20
"""Operands of a folded operation of more than linear cost."""
MAX_VALUE_ELEMENTS = 1024
"""Constants up to this size are shown to shape inference."""

ExpandFn = Callable[[Node, Mapping[str, TensorType], Mapping[str, np.ndarray]], Sequence[Node]]
"""(node, types of values, constants) -> simpler nodes that make the same outputs; none
when the node is to stay."""

RANDOM = frozenset({
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
    "Bernoulli",
})  # fmt: skip
HEAVY = frozenset({
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "MatMul", "MatMulInteger",
    "QLinearMatMul", "Gemm", "Einsum", "RNN", "GRU", "LSTM", "Attention", "LinearAttention",
    "Det", "AveragePool", "MaxPool", "LpPool", "DFT", "STFT", "NonMaxSuppression", "RoiAlign",
    "MaxRoiPool", "GridSample", "TfIdfVectorizer", "LRN", "Resize", "Upsample", "Col2Im",
})  # fmt: skip


def specialise(
    graph: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    infer: InferFn,
    evaluate: EvaluateFn,
    expand: ExpandFn | None = None,
    *,
    max_fold_bytes: int = MAX_FOLD_BYTES,
) -> Graph:
    """The graph for these input shapes: static shapes wherever they can be derived.

    Nodes whose inputs are constants are folded (but for the DequantizeLinear of 8-bit weights, which
    the passes are to see), Identity and inference-time Dropout removed, dead
    nodes and constants dropped. A folded value that depends on `shapes` is named
    `<value>@<digest>`, so that a name stands for the same bytes at every shape. Raises
    ModelError for a node that refuses its constant inputs, ValueError for shapes that do not fit.
    """
    specialiser = _Specialiser(graph, shapes, infer, evaluate, expand, max_fold_bytes)
    for node in graph.nodes:
        specialiser.visit(node)
    return remove_dead_nodes(specialiser.result())


class _Specialiser:
    """The state of one walk over the graph."""

    def __init__(
        self,
        graph: Graph,
        shapes: Mapping[str, tuple[int, ...]],
        infer: InferFn,
        evaluate: EvaluateFn,
        expand: ExpandFn | None,
        max_fold_bytes: int,
    ) -> None:
        self._graph = graph
        self._infer = infer
        self._evaluate = evaluate
        self._expand = expand
        self._max_fold_bytes = max_fold_bytes
        self._total_budget = 4 * max_fold_bytes + sum(a.nbytes for a in graph.constants.values())
        self._symbols, input_types = _bind(graph, shapes)
        self._values: dict[str, np.ndarray] = dict(graph.constants)
        self._types: dict[str, TensorType] = {
            name: graph.types.get(name) or TensorType(DType.from_numpy(a.dtype), a.shape)
            for name, a in graph.constants.items()
        } | input_types
        self._partial: dict[str, PartialValue] = {}
        self._by_shape: set[str] = set()  # folded values that depend on the input shapes
        self._alias: dict[str, str] = {}
        self._fixed_names = set(graph.outputs).union(*(captures(n) for n in graph.nodes))
        self._nodes: list[Node] = []

    def result(self) -> Graph:
        """The graph of what was visited."""
        return self._graph.with_changes(
            nodes=tuple(self._nodes), types=self._types, constants=self._values
        )

    def visit(self, node: Node) -> None:
        """Drop, fold, expand or keep the next node."""
        node = self._with_aliases(node)
        if self._drop_identity(node) or self._fold_shape(node) or self._fold(node):
            return
        parts = self._expand(node, self._types, self._values) if self._expand else ()
        if parts:
            for part in parts:
                self.visit(part)
            return
        self._nodes.append(node)
        self._type_outputs(node)
        self._propagate(node)

    def _with_aliases(self, node: Node) -> Node:
        if not any(value in self._alias for value in node.inputs):
            return node
        return replace(node, inputs=tuple(self._alias.get(v, v) for v in node.inputs))

    def _drop_identity(self, node: Node) -> bool:
        if not _is_identity(node, self._values, self._graph):
            return False
        source, output = node.inputs[0], node.outputs[0]
        if source in self._values:
            self._bind_constant(output, self._values[source], source in self._by_shape)
            return True
        if output in self._fixed_names:
            return False
        self._alias[output] = source
        return True

    def _fold_shape(self, node: Node) -> bool:
        """Shape and Size need the type of their input only."""
        if node.domain or node.op not in ("Shape", "Size"):
            return False
        known = self._types.get(node.inputs[0])
        if known is None or known.shape is None:
            return False
        value = _shape_value(node, known.shape)
        if not value.is_full:
            self._partial[node.outputs[0]] = value
            return False
        self._bind_constant(node.outputs[0], value.array, depends_on_shape=True)
        return True

    def _fold(self, node: Node) -> bool:
        present = [value for value in node.inputs if value]
        if any(value not in self._values for value in present) or not self._may_fold(node, present):
            return False
        inputs = [self._values[value] if value else None for value in node.inputs]
        try:
            outputs = self._run(node, inputs)
        except (NotImplementedError, MemoryError):
            return False
        owners = {id(_owner(array)) for array in inputs if array is not None}
        grown = sum(array.nbytes for array in outputs if id(_owner(array)) not in owners)
        if grown > self._total_budget:
            return False
        self._total_budget -= grown
        depends = any(value in self._by_shape for value in present)
        for name, array in zip(node.outputs, outputs, strict=False):
            if name:
                self._bind_constant(name, array, depends)
        return True

    def _may_fold(self, node: Node, present: Sequence[str]) -> bool:
        if node.op in RANDOM or any(isinstance(a, Subgraph) for a in node.attrs.values()):
            return False
        # A type that numpy lacks (bfloat16, 4 bits) is stored as another: not for arithmetic.
        if any(self._types[v].dtype != DType.from_numpy(self._values[v].dtype) for v in present):
            return False
        if keeps_integers(self._graph, node) and self._types[node.inputs[0]].dtype in EIGHT_BITS:
            return False
        size = sum(self._values[value].nbytes for value in present)
        return node.op not in HEAVY or size <= MAX_HEAVY_BYTES

    def _run(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Evaluate within the budget; what does not grow the graph is always within it."""
        budget = max(self._max_fold_bytes, sum(a.nbytes for a in inputs if a is not None))
        try:
            return self._evaluate(node, inputs, budget)
        except ValueError as error:
            raise ModelError(str(error), node=node.name, op=node.op) from error

    def _bind_constant(self, name: str, array: np.ndarray, depends_on_shape: bool) -> None:
        known = TensorType(DType.from_numpy(array.dtype), array.shape)
        if not depends_on_shape or name in self._fixed_names:
            self._values[name], self._types[name] = array, known
        if not depends_on_shape:
            return
        alias = f"{name}@{_digest(array)}"
        self._alias[name] = alias
        self._values[alias], self._types[alias] = array, known
        self._by_shape.add(alias)

    def _type_outputs(self, node: Node) -> None:
        present = [value for value in node.inputs if value]
        input_types = {v: self._types[v] for v in present if v in self._types}
        small = {
            v: self._values[v]
            for v in present
            if v in self._values and self._values[v].size <= MAX_VALUE_ELEMENTS
        }
        inferred = self._infer(node, input_types, small, node.version)
        for out in node.outputs:
            if out:
                self._types[out] = self._merge(out, inferred.get(out))
        refined = refine_shape(node, self._types, self._partial)
        first = self._types.get(node.outputs[0])
        if refined is not None and first is not None:
            self._types[node.outputs[0]] = replace(first, shape=_meet(first.shape, refined))

    def _merge(self, name: str, inferred: TensorType | None) -> TensorType:
        """The inferred type; the declared one where inference knows nothing."""
        declared = self._graph.types.get(name) or TensorType(DType.OTHER, None)
        if inferred is None:
            return TensorType(declared.dtype, self._with_symbols(declared.shape))
        dtype = declared.dtype if inferred.dtype is DType.OTHER else inferred.dtype
        shape = declared.shape if inferred.shape is None else inferred.shape
        return TensorType(dtype, self._with_symbols(shape))

    def _with_symbols(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        return tuple(self._symbols.get(d, d) if isinstance(d, str) else d for d in shape)

    def _propagate(self, node: Node) -> None:
        """Shape arithmetic on values of which some elements are known."""
        present = [value for value in node.inputs if value]
        if node.domain or not any(value in self._partial for value in present):
            return
        inputs = [self._partial_value(value) if value else None for value in node.inputs]
        if any(value and not known for value, known in zip(node.inputs, inputs, strict=True)):
            return
        try:
            value = propagate(node, inputs, self._run)
        except (NotImplementedError, MemoryError):
            return
        if value is not None:
            self._partial[node.outputs[0]] = value

    def _partial_value(self, name: str) -> PartialValue | None:
        array = self._values.get(name)
        if array is None:
            return self._partial.get(name)
        is_small = array.size <= MAX_ELEMENTS and array.dtype.kind in "iuf"
        return PartialValue.full(array) if is_small else None


def _bind(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, int], dict[str, TensorType]]:
    """Numbers of the symbols, and the types of the graph inputs."""
    symbols: dict[str, int] = {}
    types: dict[str, TensorType] = {}
    for name in graph.inputs:
        declared = graph.types.get(name) or TensorType(DType.OTHER, None)
        given = shapes.get(name)
        if given is None:
            types[name] = declared
            continue
        types[name] = TensorType(declared.dtype, tuple(int(dim) for dim in given))
        if declared.shape is None:
            continue
        if not _fits(declared.shape, given):
            raise ValueError(f"input {name!r}: shape {given} does not fit {declared}")
        for dim, size in zip(declared.shape, given, strict=True):
            if isinstance(dim, str):
                symbols.setdefault(dim, int(size))
    for name in graph.inputs:
        shape = types[name].shape
        if shape is not None:
            bound = tuple(symbols.get(d, d) if isinstance(d, str) else d for d in shape)
            types[name] = replace(types[name], shape=bound)
    return symbols, types


def _fits(declared: Shape, given: tuple[int, ...]) -> bool:
    return len(declared) == len(given) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(declared, given, strict=True)
    )


def _is_identity(node: Node, values: Mapping[str, np.ndarray], graph: Graph) -> bool:
    """True for Identity, and for Dropout that does nothing and whose mask nobody reads."""
    if node.domain or not node.inputs or not node.outputs[0]:
        return False
    if node.op == "Identity":
        return True
    if node.op != "Dropout":
        return False
    mask = node.outputs[1] if len(node.outputs) > 1 else ""
    if mask and (mask in graph.consumers or mask in graph.outputs):
        return False
    if node.version < 7:
        return bool(node.attrs.get("is_test", 0))
    training = node.inputs[2] if len(node.inputs) > 2 else ""
    return not training or (training in values and not values[training].any())


def _shape_value(node: Node, shape: Shape) -> PartialValue:
    dims = PartialValue.of_shape(shape)
    if node.op == "Size":
        total = np.array(np.prod(dims.array, dtype=np.int64))
        return PartialValue(total, np.array(dims.is_full))
    start, end = node.attrs.get("start", 0), node.attrs.get("end", len(shape))
    if not isinstance(start, int) or not isinstance(end, int):
        raise ModelError("start and end must be integers", node=node.name, op=node.op)
    return PartialValue(dims.array[start:end], dims.known[start:end])


def _meet(inferred: Shape | None, refined: Shape) -> Shape:
    """Numbers of either; inference wins."""
    if inferred is None or len(inferred) != len(refined):
        return refined if inferred is None else inferred
    pairs = zip(inferred, refined, strict=True)
    return tuple(a if isinstance(a, int) or b is None else b for a, b in pairs)


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _digest(array: np.ndarray) -> str:
    header = f"{array.dtype.str}{array.shape}".encode()
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return hashlib.blake2b(header + content, digest_size=8).hexdigest()
