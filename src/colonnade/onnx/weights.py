"""The weights of an ONNX file's products and convolutions as matrices, to be read and replaced.

The model keeps its nodes, names and opset: other engines can read what is saved.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from colonnade.onnx.exporter import MAX_MESSAGE_BYTES
from colonnade.onnx.importer import import_model
from colonnade.onnx.validate import normal_domain

_NUMBERS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8)
"""Element types of weights. int8 ones are dequantized, with zero points that are all 0: then a
number that is 0 is a weight that is 0."""


class Form(enum.Enum):
    """How a tensor holds W[M, K], with a row for each output feature."""

    ROWS = "[M, K]"
    COLUMNS = "[K, M]"
    CONV = "[M, C, taps]"

    @property
    def transposed(self) -> Form:
        """The form of the transposed matrix; a convolution has none."""
        return {Form.ROWS: Form.COLUMNS, Form.COLUMNS: Form.ROWS}[self]


@dataclass(frozen=True)
class ProductWeight:
    """A constant that MatMul, Gemm or Conv multiplies by, and nothing else reads."""

    name: str
    nodes: tuple[str, ...]
    """Who reads it; a node without a name is called by its output."""
    op: str
    form: Form
    group_channels: int | None
    """Input channels of a group, for Conv."""
    is_first_conv: bool
    tensor: TensorProto

    @property
    def matrix(self) -> np.ndarray:
        """W[M, K]. Columns of a convolution go tap by tap, so a tap's channels are neighbours."""
        array = numpy_helper.to_array(self.tensor)
        if self.form is Form.CONV:
            return np.moveaxis(array, 1, -1).reshape(array.shape[0], -1)
        return array if self.form is Form.ROWS else array.T

    def replace(self, matrix: np.ndarray) -> None:
        """Put another W[M, K] in its place."""
        dims = tuple(self.tensor.dims)
        if self.form is Form.CONV:
            array = np.moveaxis(matrix.reshape(dims[0], *dims[2:], dims[1]), -1, 1)
        else:
            array = matrix if self.form is Form.ROWS else matrix.T
        name, dtype = self.tensor.name, numpy_helper.to_array(self.tensor).dtype
        made = numpy_helper.from_array(np.ascontiguousarray(array, dtype), name)
        self.tensor.CopyFrom(made)


class WeightedModel:
    """An ONNX file in memory. Raises ModelError for one that `colonnade.compile` would refuse."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import_model(path)  # validates the file, in bounded time and memory
        self._model = onnx.load(path)

    def product_weights(self) -> list[ProductWeight]:
        """In the order of the nodes; their tensors are the model's own."""
        return _find_weights(self._model.graph)

    def save(self, path: Path) -> None:
        """Write the model; weights above 2 GiB go to `<path>.data` beside it."""
        graph = self._model.graph
        size = sum(len(tensor.raw_data) for tensor in graph.initializer)
        if size <= MAX_MESSAGE_BYTES:
            onnx.save(self._model, path)
            return
        onnx.save(
            self._model, path, save_as_external_data=True, location=path.name + ".data"
        )  # pragma: no cover  # two gibibytes


@dataclass(frozen=True)
class _Use:
    """A node that reads a tensor; `form` is None where it is no product's weight."""

    node: str
    op: str
    form: Form | None
    group_channels: int | None = None
    is_first_conv: bool = False


def _find_weights(graph: GraphProto) -> list[ProductWeight]:
    tensors = dict(_tensors(graph))
    links = _links(graph, tensors)
    found = []
    for name, uses in _uses(graph, tensors, links).items():
        first = uses[0]
        if first.form is None or any(use.form is not first.form for use in uses):
            continue
        found.append(
            ProductWeight(
                name,
                tuple(dict.fromkeys(use.node for use in uses)),
                first.op,
                first.form,
                first.group_channels,
                any(use.is_first_conv for use in uses),
                tensors[name],
            )
        )
    return found


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Constants that may be weights: initializers and Constant nodes."""
    for tensor in graph.initializer:
        if tensor.data_type in _NUMBERS:
            yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and not normal_domain(node.domain):
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type in _NUMBERS:
                    yield node.output[0], attribute.t


def _links(graph: GraphProto, tensors: dict[str, TensorProto]) -> dict[str, tuple[str, bool]]:
    """What exporters put between a weight and its product: by value, the tensor's name and
    whether it is transposed on the way."""
    links = {name: (name, False) for name in tensors}
    for node in graph.node:
        if _is_link(node) and node.input[0] in links:
            name, is_transposed = links[node.input[0]]
            if node.op_type == "DequantizeLinear":
                if _has_zero_at_zero(node, tensors):
                    links[node.output[0]] = (name, is_transposed)
            elif node.op_type == "Identity":
                links[node.output[0]] = (name, is_transposed)
            elif len(tensors[name].dims) == 2 and _ints(node, "perm", [1, 0]) == [1, 0]:
                links[node.output[0]] = (name, not is_transposed)
    return links


def _is_link(node: NodeProto) -> bool:
    is_known = node.op_type in ("Identity", "Transpose", "DequantizeLinear")
    return is_known and not normal_domain(node.domain)


def _has_zero_at_zero(node: NodeProto, tensors: dict[str, TensorProto]) -> bool:
    """Whether a DequantizeLinear of int8 gives 0 for 0."""
    if len(node.input) < 3 or not node.input[2]:
        return True
    zero = tensors.get(node.input[2])
    return zero is not None and not numpy_helper.to_array(zero).any()


def _uses(
    graph: GraphProto, tensors: dict[str, TensorProto], links: dict[str, tuple[str, bool]]
) -> dict[str, list[_Use]]:
    uses: dict[str, list[_Use]] = {}
    first_conv = next((node for node in graph.node if node.op_type == "Conv"), None)
    for node in graph.node:
        label = node.name or next(iter(node.output), "")
        if _is_link(node) and node.output[0] in links:
            continue  # Scales and zero points on the way are nobody's weights.
        for position, value in enumerate(node.input):
            if value in links:
                name, is_transposed = links[value]
                form = _form(node, position, links, len(tensors[name].dims))
                if form is not None and is_transposed:
                    form = form.transposed
                channels = int(tensors[name].dims[1]) if form is Form.CONV else None
                use = _Use(label, node.op_type, form, channels, node is first_conv)
                uses.setdefault(name, []).append(use)
        for value in _captured(node):
            if value in links:
                uses.setdefault(links[value][0], []).append(_Use(label, node.op_type, None))
    for output in graph.output:
        if output.name in links:
            uses.setdefault(links[output.name][0], []).append(_Use("", "", None))
    return uses


def _form(
    node: NodeProto, position: int, links: dict[str, tuple[str, bool]], rank: int
) -> Form | None:
    """How the node's operand at `position` is read, before any transposition on the way."""
    if normal_domain(node.domain):
        return None
    if node.op_type == "Conv" and position == 1 and rank >= 3:
        return Form.CONV
    if node.op_type not in ("MatMul", "Gemm") or rank != 2 or position > 1:
        return None
    if node.input[1 - position] in links:  # a product of two constants
        return None
    form = Form.COLUMNS if position == 1 else Form.ROWS
    flag = "transB" if position == 1 else "transA"
    return form.transposed if _int(node, flag) else form


def _int(node: NodeProto, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def _ints(node: NodeProto, name: str, default: Sequence[int]) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), list(default))


def _captured(node: NodeProto) -> Iterator[str]:
    """Names that the bodies of a node read."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                yield from inner.input
                yield from _captured(inner)
            yield from (output.name for output in body.output)
