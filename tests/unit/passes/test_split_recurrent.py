"""Recurrent layers split into one product and one loop: same values, constants folded."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import AttrValue, DType, Graph, Node, TensorType, verify_graph
from colonnade.passes.runner import run_passes
from colonnade.passes.split_recurrent import GATES, split_recurrent
from colonnade.reference import run_graph
from tolerance import tolerance

STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5


def make_graph(op: str, *, constant: bool, directions: int = 1, **attrs: AttrValue) -> Graph:
    rng = np.random.default_rng(1)
    rows = GATES[op] * HIDDEN
    is_batch_first = attrs.get("layout", 0)
    x = (BATCH, STEPS, FEATURES) if is_batch_first else (STEPS, BATCH, FEATURES)
    arrays = {
        "w": rng.standard_normal((directions, rows, FEATURES)).astype(np.float32),
        "r": (rng.uniform(-1, 1, (directions, rows, HIDDEN)) / HIDDEN).astype(np.float32),
        "b": rng.standard_normal((directions, 2 * rows)).astype(np.float32),
    }
    types = {"x": TensorType(DType.FLOAT32, x)}
    types |= {name: TensorType(DType.FLOAT32, array.shape) for name, array in arrays.items()}
    y = (STEPS, directions, BATCH, HIDDEN)
    types["y"] = TensorType(DType.FLOAT32, (y[2], y[0], y[1], y[3]) if is_batch_first else y)
    node = Node(op, ("x", "w", "r", "b"), ("y",), {"hidden_size": HIDDEN, **attrs}, "n", "", 22)
    inputs = ("x",) if constant else ("x", "w", "r", "b")
    graph = Graph("g", inputs, ("y",), (node,), types, arrays if constant else {}, {"": 22})
    verify_graph(graph)
    return graph


def split(graph: Graph) -> Graph:
    return run_passes(graph, [split_recurrent]).graph


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("op", GATES)
def test_same_values(op: str, behind: int, layout: int, constant: bool) -> None:
    attrs = {"linear_before_reset": behind} if op == "GRU" else {}
    graph = make_graph(
        op, constant=constant, directions=2, direction="bidirectional", layout=layout, **attrs
    )
    changed = split(graph)
    assert changed.nodes[-1].op == "Recurrent"
    given = make_graph(op, constant=True, directions=2, layout=layout).constants
    shape = graph.shape("x") or ()
    feeds = {"x": np.random.default_rng(2).standard_normal(shape).astype(np.float32)}  # type: ignore[arg-type]
    feeds |= {} if constant else dict(given)
    want, got = run_graph(graph, feeds)["y"], run_graph(changed, feeds)["y"]
    top = max(float(np.abs(array).max()) for array in (*feeds.values(), *given.values()))
    bound = STEPS * tolerance(FEATURES + HIDDEN + 2, top, top)
    np.testing.assert_allclose(got, want, rtol=0, atol=bound)


@pytest.mark.parametrize("attrs", [{"clip": 0.2}, {"input_forget": 1}], ids=str)
def test_options_are_kept(attrs: dict[str, AttrValue]) -> None:
    graph = make_graph("LSTM", constant=True, **attrs)
    changed = split(graph)
    assert changed.nodes[-1].op == "Recurrent"
    feeds = {"x": np.ones((STEPS, BATCH, FEATURES), np.float32)}
    want, got = run_graph(graph, feeds)["y"], run_graph(changed, feeds)["y"]
    top = max(float(np.abs(array).max()) for array in graph.constants.values())
    bound = STEPS * tolerance(FEATURES + HIDDEN + 2, top, top)
    np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def test_constants_leave_three_nodes() -> None:
    changed = split(make_graph("LSTM", constant=True))
    assert [node.op for node in changed] == ["MatMul", "Add", "Recurrent"]


@pytest.mark.parametrize(
    "attrs",
    [
        {"activations": ("Sigmoid", "Relu", "Tanh")},
        {"activations": ("HardSigmoid", "Tanh", "Tanh")},
    ],
    ids=str,
)
def test_unusual_layers_stay(attrs: dict[str, AttrValue]) -> None:
    graph = make_graph("LSTM", constant=True, **attrs)
    assert [node.op for node in split(graph)] == ["LSTM"]


def test_half_precision_stays() -> None:
    graph = make_graph("GRU", constant=True)
    half = TensorType(DType.FLOAT16, graph.types["x"].shape)
    graph = graph.with_changes(types={**graph.types, "x": half})
    assert [node.op for node in split(graph)] == ["GRU"]
