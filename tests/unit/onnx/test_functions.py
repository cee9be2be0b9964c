"""Operators replaced by their ONNX definition: same values, and only where that helps."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import AttrValue, DType, Graph, Node, TensorType
from colonnade.onnx.functions import expand_function
from colonnade.onnx.infer import infer_node
from colonnade.passes.specialise import specialise
from colonnade.reference import evaluate, run_graph

FLOAT = DType.FLOAT32


def make_graph(
    op: str,
    inputs: dict[str, TensorType],
    num_outputs: int = 1,
    *,
    version: int,
    **attrs: AttrValue,
) -> Graph:
    outputs = tuple(f"y{i}" for i in range(num_outputs))
    node = Node(op, tuple(inputs), outputs, attrs, "node", "", version)
    return Graph("g", tuple(inputs), outputs, (node,), inputs, {}, {"": version})


def expanded(graph: Graph) -> Graph:
    shapes = {name: graph.types[name].shape for name in graph.inputs}
    return specialise(graph, shapes, infer_node, evaluate, expand_function)  # type: ignore[arg-type]


CASES = {
    "layer norm over two axes": make_graph(
        "LayerNormalization",
        {
            "x": TensorType(FLOAT, (2, 3, 4)),
            "scale": TensorType(FLOAT, (3, 4)),
            "bias": TensorType(FLOAT, (3, 4)),
        },
        3,
        version=17,
        axis=1,
    ),
    "shrink before its function's opset": make_graph(
        "Shrink", {"x": TensorType(FLOAT, (5,))}, version=9, lambd=0.25, bias=0.5
    ),
    "shrink with defaults": make_graph("Shrink", {"x": TensorType(FLOAT, (5,))}, version=21),
    "attention": make_graph(
        "Attention",
        {name: TensorType(FLOAT, (1, 2, 3, 4)) for name in ("q", "k", "v")},
        version=23,
        is_causal=1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_expansion_computes_the_same(name: str) -> None:
    graph = CASES[name]
    simple = expanded(graph)
    assert graph.nodes[0].op not in [node.op for node in simple]
    rng = np.random.default_rng(7)
    arrays = [
        rng.standard_normal([int(d) for d in graph.types[v].shape or ()]).astype(np.float32)  # type: ignore[arg-type]
        for v in graph.inputs
    ]
    feeds = dict(zip(graph.inputs, arrays, strict=True))
    want, got = run_graph(graph, feeds), run_graph(simple, feeds)
    scale = max(float(np.abs(array).max()) for array in arrays)
    tolerance = 24 * np.finfo(np.float32).eps * max(scale, 1.0) ** 2
    for output in graph.outputs:
        np.testing.assert_allclose(got[output], want[output], rtol=0, atol=tolerance)


def test_two_uses_do_not_share_names() -> None:
    x = TensorType(FLOAT, (4,))
    first = Node("Shrink", ("x",), ("a",), {}, "first", "", 9)
    second = Node("Shrink", ("a",), ("b",), {}, "second", "", 9)
    graph = Graph("g", ("x",), ("b",), (first, second), {"x": x}, {}, {"": 9})
    simple = expanded(graph)
    made = [out for node in simple for out in node.outputs]
    assert len(made) == len(set(made)) > 4


@pytest.mark.parametrize(
    ("op", "dtype", "axis", "constant"),
    [
        pytest.param("LayerNormalization", FLOAT, -1, True, id="adopted by a pass"),
        pytest.param("LayerNormalization", DType.FLOAT16, 0, False, id="half precision"),
        pytest.param("Relu", FLOAT, -1, False, id="has a kernel"),
    ],
)
def test_kept_whole(op: str, dtype: DType, axis: int, constant: bool) -> None:
    inputs = ("x", "scale") if op == "LayerNormalization" else ("x",)
    types = {"x": TensorType(dtype, (2, 4)), "scale": TensorType(dtype, (4,))}
    node = Node(op, inputs, ("y",), {"axis": axis} if len(inputs) > 1 else {}, "n", "", 17)
    assert expand_function(node, types, {"scale"} if constant else ()) == ()


def test_norm_with_computed_scale_is_expanded() -> None:
    types = {"x": TensorType(FLOAT, (2, 4)), "scale": TensorType(FLOAT, (4,))}
    node = Node("LayerNormalization", ("x", "scale"), ("y",), {"axis": -1}, "n", "", 17)
    assert expand_function(node, types, {"scale"}) == ()
    assert expand_function(node, types, ()) != ()
