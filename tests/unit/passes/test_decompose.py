"""Operators written as simpler ones: the reference computes the same before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from colonnade.ir import AttrValue, DType, Graph, Node, TensorType
from colonnade.passes.decompose import decompose
from colonnade.passes.runner import run_passes
from colonnade.reference import run_graph
from tolerance import tolerance

Shape = tuple[int, ...]


def make_graph(
    op: str,
    shapes: Sequence[Shape],
    outputs: Sequence[Shape],
    version: int = 21,
    dtype: DType = DType.FLOAT32,
    **attrs: AttrValue,
) -> Graph:
    inputs = tuple(f"x{i}" for i in range(len(shapes)))
    made = tuple(f"y{i}" for i in range(len(outputs)))
    types = {
        name: TensorType(dtype, shape)
        for name, shape in zip((*inputs, *made), (*shapes, *outputs), strict=True)
    }
    node = Node(op, inputs, made, attrs, "n", "", version)
    return Graph("g", inputs, made, (node,), types, {}, {"": version})


CASES = {
    "gemm": make_graph(
        "Gemm", [(3, 4), (5, 3), (5,)], [(4, 5)], alpha=0.5, beta=2.0, transA=1, transB=1
    ),
    "gemm without C": make_graph("Gemm", [(2, 3), (3, 4)], [(2, 4)], alpha=3.0),
    "gemm with nothing to scale": make_graph("Gemm", [(2, 3), (3, 4)], [(2, 4)]),
    "gemm with beta 0": make_graph("Gemm", [(2, 3), (3, 4), (1, 4)], [(2, 4)], beta=0.0),
    "hardmax": make_graph("Hardmax", [(3, 4, 5)], [(3, 4, 5)], axis=1),
    "hardmax of opset 11": make_graph("Hardmax", [(3, 4, 5)], [(3, 4, 5)], version=11, axis=1),
    "l1 normalization": make_graph("LpNormalization", [(3, 4)], [(3, 4)], axis=0, p=1),
    "l2 normalization": make_graph("LpNormalization", [(3, 4)], [(3, 4)]),
    "lp pool": make_graph(
        "LpPool", [(1, 2, 7, 8)], [(1, 2, 4, 4)], kernel_shape=(3, 2), strides=(2, 2),
        pads=(1, 0, 1, 0), p=3,
    ),
    "l2 pool": make_graph("LpPool", [(1, 2, 7, 8)], [(1, 2, 6, 7)], kernel_shape=(2, 2)),
    "global lp pool": make_graph("GlobalLpPool", [(2, 3, 4, 5)], [(2, 3, 1, 1)]),
    "lrn": make_graph("LRN", [(2, 7, 3, 4)], [(2, 7, 3, 4)], size=4, alpha=0.3, bias=2.0),
    "batch norm": make_graph("BatchNormalization", [(2, 3, 4), *[(3,)] * 4], [(2, 3, 4)]),
    "batch norm in training": make_graph(
        "BatchNormalization", [(2, 3, 4, 2), *[(3,)] * 4], [(2, 3, 4, 2), (3,), (3,)],
        training_mode=1, momentum=0.8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_same_values(name: str) -> None:
    graph = CASES[name]
    changed = run_passes(graph, [decompose]).graph
    assert graph.nodes[0].op not in [node.op for node in changed]
    rng = np.random.default_rng(3)
    # Positive, so that variances are what they may be.
    feeds = {
        value: rng.uniform(0.5, 2.0, graph.types[value].shape or ()).astype(np.float32)  # type: ignore[arg-type]
        for value in graph.inputs
    }
    want, got = run_graph(graph, feeds), run_graph(changed, feeds)
    assert list(got) == list(want)
    for output in graph.outputs:
        top = max(1.0, float(np.abs(want[output]).max()))
        bound = tolerance(32, top, 1.0)
        np.testing.assert_allclose(got[output], want[output], rtol=0, atol=bound)


def test_a_line_of_zeros_stays_zero() -> None:
    graph = run_passes(CASES["l2 normalization"], [decompose]).graph
    x = np.array([[3, 4, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    made = run_graph(graph, {"x0": x})["y0"]
    np.testing.assert_array_equal(made[1:], x[1:])


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(make_graph("Gemm", [(2, 3), (3, 4)], [(2, 4)], dtype=DType.FLOAT64), id="f64"),
        pytest.param(
            make_graph("LpPool", [(1, 1, 5)], [(1, 1, 3)], kernel_shape=(2,), ceil_mode=1),
            id="windows that leave the padding",
        ),
        pytest.param(make_graph("Relu", [(2,)], [(2,)]), id="has a kernel"),
    ],
)
def test_left_alone(graph: Graph) -> None:
    assert run_passes(graph, [decompose]).graph.nodes == graph.nodes
