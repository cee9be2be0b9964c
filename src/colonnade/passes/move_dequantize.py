"""DequantizeLinear moves behind operators that only move data.

So a product, or the next QuantizeLinear, sees integers. Exact: every element is dequantized as
before, only later; MaxPool takes the same elements, because DequantizeLinear is monotonic. Quantized
weights are transposed as integers, and embedding tables stay in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import AttrValue, Graph, Node, Patch, TensorType, is_static
from colonnade.passes.quantization import Quantized, find_dequantized, is_quantize

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_PAD_VALUE = 2
_MOVES = (
    *RESHAPES, "Transpose", "Slice", "Split", "Gather", "Expand", "Tile", "DepthToSpace",
    "SpaceToDepth",
)  # fmt: skip
_PRODUCTS = ("MatMul", "Gemm", "Conv")


def move_dequantize(graph: Graph) -> Iterator[Patch]:
    """Moves whose data is dequantized, in front of a product or a QuantizeLinear."""
    for node in graph.nodes:
        if node.domain or not all(is_static(graph.shape(out)) for out in node.outputs):
            continue
        if node.op == "Concat":
            source = _common_source(graph, node)
            inputs = (
                tuple(graph.producer[value].inputs[0] for value in node.inputs) if source else ()
            )
        elif _is_move(graph, node):
            source = find_dequantized(graph, node.inputs[0])
            inputs = _moved_inputs(node, source) if source else ()
        else:
            continue
        patch = _moved(graph, node, source, inputs) if source else None
        if patch is not None:
            yield patch


def _moved(graph: Graph, node: Node, source: Quantized, inputs: tuple[str, ...]) -> Patch | None:
    axis = _moved_axis(graph, node, source)
    if axis == "lost" or not _pays(graph, node, source):
        return None
    attrs: Mapping[str, AttrValue] = {} if axis is None else {"axis": cast(int, axis)}
    dtype = graph.dtype(source.value)
    names = {out: f"{out}/integers" for out in node.outputs if out}
    types = {name: TensorType(dtype, graph.shape(out)) for out, name in names.items()}
    parameters = (source.scale, source.zero) if source.zero else (source.scale,)
    added = [
        Node("DequantizeLinear", (name, *parameters), (out,), attrs, f"{out}/dequantize", "", 21)
        for out, name in names.items()
    ]
    folded = _folded(graph, node, source)
    if folded is not None:
        constants = {names[node.outputs[0]]: folded}
        return Patch(remove=(node,), add=tuple(added), types=types, constants=constants)
    outputs = tuple(names.get(out, "") for out in node.outputs)
    moved = replace(node, inputs=inputs, outputs=outputs)
    return Patch(remove=(node,), add=(moved, *added), types=types)


def _is_move(graph: Graph, node: Node) -> bool:
    return (
        node.op in _MOVES
        or _is_nearest(node)
        or _is_max_pool(graph, node)
        or _is_zero_pad(graph, node)
    )


def _is_nearest(node: Node) -> bool:
    """Resize that takes elements of the input, and of nowhere else."""
    mode = node.attrs.get("mode", "nearest")
    transform = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    return node.op == "Resize" and mode == "nearest" and transform != "tf_crop_and_resize"


def _is_max_pool(graph: Graph, node: Node) -> bool:
    """MaxPool that may read integers (opset 12) of a positive scale, and gives no indices."""
    if node.op != "MaxPool" or node.version < 12 or any(node.outputs[1:]):
        return False
    source = find_dequantized(graph, node.inputs[0])
    scale = graph.constants.get(source.scale) if source is not None else None
    return scale is not None and bool((scale > 0).all() and np.isfinite(scale).all())


def _is_zero_pad(graph: Graph, node: Node) -> bool:
    """Pad with zeros that may read integers (opset 11): they become the zero point."""
    if node.op != "Pad" or node.version < 11 or node.attrs.get("mode", "constant") != "constant":
        return False
    source = find_dequantized(graph, node.inputs[0])
    if source is None or (source.zero and source.zero not in graph.constants):
        return False
    value = node.inputs[_PAD_VALUE] if len(node.inputs) > _PAD_VALUE else ""
    return not value or (value in graph.constants and not graph.constants[value].any())


def _moved_inputs(node: Node, source: Quantized) -> tuple[str, ...]:
    """The node's inputs on integers; padding is filled with the zero point."""
    if node.op == "Pad":
        return (source.value, node.inputs[1], source.zero, *node.inputs[_PAD_VALUE + 1 :])
    return (source.value, *node.inputs[1:])


def _common_source(graph: Graph, concat: Node) -> Quantized | None:
    """The first source, when all have its type and equal constant parameters, per tensor."""
    sources = [find_dequantized(graph, value) for value in concat.inputs]
    first = sources[0]
    if first is None or first.axis is not None:
        return None
    same = all(source is not None and _is_alike(graph, first, source) for source in sources)
    return first if same else None


def _is_alike(graph: Graph, a: Quantized, b: Quantized) -> bool:
    if b.axis is not None or graph.dtype(a.value) is not graph.dtype(b.value):
        return False
    return all(
        x == y or _equal_constants(graph, x, y) for x, y in ((a.scale, b.scale), (a.zero, b.zero))
    )


def _equal_constants(graph: Graph, a: str, b: str) -> bool:
    x, y = graph.constants.get(a), graph.constants.get(b)
    return x is not None and y is not None and np.array_equal(x.reshape(-1), y.reshape(-1))


def _moved_axis(graph: Graph, node: Node, source: Quantized) -> int | str | None:
    """The axis of the scales behind the move; "lost" when scales and elements part."""
    if source.axis is None:
        return None
    if node.op != "Transpose":
        return "lost"
    rank = len(graph.shape(source.value) or ())
    perm = cast(tuple[int, ...], node.attrs.get("perm", tuple(reversed(range(rank)))))
    return perm.index(source.axis)


def _pays(graph: Graph, node: Node, source: Quantized) -> bool:
    if source.value in graph.constants and node.op in (*RESHAPES, "Transpose", "Gather"):
        return True
    return any(_feeds_integers(graph, out) for out in node.outputs if out)


def _feeds_integers(graph: Graph, value: str) -> bool:
    """True when a product or a QuantizeLinear reads the value, or a moved copy of it."""
    for reader in graph.consumers.get(value, ()):
        if reader.domain:
            continue
        if reader.op in _PRODUCTS or is_quantize(reader):
            return True
        is_move = reader.op in (*_MOVES, "Concat", "MaxPool", "Pad", "Resize")
        if is_move and any(_feeds_integers(graph, out) for out in reader.outputs if out):
            return True
    return False


def _folded(graph: Graph, node: Node, source: Quantized) -> np.ndarray | None:
    """The moved constant, for moves that keep the number of elements."""
    array = graph.constants.get(source.value)
    if array is None:
        return None
    if node.op == "Transpose":
        perm = node.attrs.get("perm")
        return np.ascontiguousarray(array.transpose(cast("tuple[int, ...] | None", perm)))
    if node.op in RESHAPES:
        return array.reshape(cast(tuple[int, ...], graph.shape(node.outputs[0])))
    return None
