"""evaluate() and run_graph(): dispatch, failures by kind, budgets."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.errors import InputError, RunError
from colonnade.ir import AttrValue, DType, Graph, Node, Subgraph, TensorType
from colonnade.reference import (
    EvaluationError,
    OverBudgetError,
    UnsupportedNodeError,
    evaluate,
    has_reference,
    run_graph,
)


def run(op: str, *inputs: np.ndarray | None, version: int = 21, **attrs: AttrValue) -> np.ndarray:
    names = tuple(f"i{i}" for i in range(len(inputs)))
    return evaluate(Node(op, names, ("out",), attrs, version=version), inputs)[0]


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_has_reference_knows_domain_and_bodies() -> None:
    assert has_reference(Node("Relu", ("x",), ("y",)))
    assert not has_reference(Node("Relu", ("x",), ("y",), domain="com.example"))
    body = {"body": Subgraph(b"", ())}
    assert not has_reference(Node("Relu", ("x",), ("y",), body))


def test_unknown_operation_and_type_are_unsupported() -> None:
    with pytest.raises(UnsupportedNodeError, match=r"no reference for onnx\.Mystery"):
        run("Mystery", floats(2))
    with pytest.raises(UnsupportedNodeError, match="datetime64"):
        run("Relu", np.zeros(2, "M8[s]"))


def test_failures_are_builtin_kinds_too() -> None:
    assert issubclass(UnsupportedNodeError, NotImplementedError)
    assert issubclass(OverBudgetError, MemoryError)
    assert issubclass(EvaluationError, ValueError)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        ("Gather", (floats(3), ints(3)), {}, "outside an axis of 3"),
        ("GatherElements", (floats(3), ints(-4)), {}, "outside an axis of 3"),
        ("GatherND", (floats(3, 2), ints(0, 2)), {}, "outside an axis of 2"),
        ("ScatterND", (floats(3), ints(5)[:, None], floats(1)), {}, "outside an axis of 3"),
        ("Transpose", (floats(2, 3),), {"perm": (0, 0)}, "do not fit"),
        ("Reshape", (floats(2, 3), ints(4, -1)), {}, "do not fit"),
        ("Reshape", (floats(2, 3), ints(-2, 3)), {}, "is not a shape"),
        ("MatMul", (floats(2, 3), floats(2, 3)), {}, "do not fit"),
        ("Add", (floats(2), floats(3)), {}, "do not fit"),
        ("Softmax", (floats(2, 3),), {"axis": 2}, "axis 2 is outside rank 2"),
        ("Softmax", (floats(2, 3),), {"axis": "last"}, "'axis' must be an integer"),
        ("Conv", (floats(1, 4, 5), floats(6, 3, 3)), {"group": 2}, "group=2"),
        ("Conv", (floats(1, 4, 5), floats(6, 4, 3)), {"strides": (0,)}, "strides"),
        ("Conv", (floats(1, 4, 5), floats(6, 4, 3)), {"pads": (1,)}, "pads"),
        ("Split", (floats(5), ints(2, 2)), {}, "parts"),
        ("Split", (floats(6),), {"num_outputs": 1 << 40}, "1 are named"),
        ("TopK", (floats(3), ints(4)), {}, "k=4"),
        ("Slice", (floats(3), ints(0), ints(1), ints(0), ints(0)), {}, "step 0"),
        ("Range", (ints(0)[0], ints(5)[0], ints(0)[0]), {}, "delta is 0"),
        ("Relu", (), {}, "do not fit"),
    ],
)
def test_inputs_that_do_not_fit(
    op: str, inputs: tuple[np.ndarray, ...], attrs: dict[str, AttrValue], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        run(op, *inputs, **attrs)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("ConstantOfShape", (ints(1 << 40),), {}),
        ("ConstantOfShape", (ints(1 << 40, 1 << 40),), {}),
        ("Expand", (floats(1), ints(1 << 40)), {}),
        ("Tile", (floats(1), ints(1 << 40)), {}),
        ("Pad", (floats(1), ints(0, 1 << 40)), {}),
        ("Range", (ints(0)[0], ints(1 << 40)[0], ints(1)[0]), {}),
        ("OneHot", (ints(0), ints(1 << 40), floats(2)), {}),
        ("Resize", (floats(1, 1), None, np.float32([1e10, 1])), {"mode": "nearest"}),
        ("Add", (floats(1 << 16, 1), floats(1, 1 << 16)), {}),
        ("MatMul", (floats(1 << 16, 1), floats(1, 1 << 16)), {}),
        ("Conv", (floats(1, 1, 8), floats(1, 1, 1)), {"pads": (1 << 40, 0)}),
        ("AveragePool", (floats(1, 1, 8),), {"kernel_shape": (1 << 38,), "pads": (1 << 39, 0)}),
        ("HannWindow", (ints(1 << 40)[0],), {}),
        ("EyeLike", (np.broadcast_to(floats(1, 1), (1 << 16, 1 << 16)),), {}),
        ("Gather", (floats(1, 1 << 16), np.zeros(1 << 16, np.int64)), {}),
    ],
)
def test_size_bombs_stop_before_they_allocate(
    op: str, inputs: tuple[np.ndarray, ...], attrs: dict[str, AttrValue]
) -> None:
    with pytest.raises(OverBudgetError):
        run(op, *inputs, **attrs)


def test_budget_is_per_call() -> None:
    node = Node("ConstantOfShape", ("s",), ("y",), version=21)
    assert evaluate(node, [ints(256)], max_bytes=1024)[0].nbytes == 1024
    with pytest.raises(OverBudgetError):
        evaluate(node, [ints(257)], max_bytes=1024)


def test_outputs_are_those_named() -> None:
    node = Node("TopK", ("x", "k"), ("values",), version=21)
    assert len(evaluate(node, [floats(4), ints(2)])) == 1
    three = Node("Relu", ("x",), ("a", "b"), version=21)
    with pytest.raises(EvaluationError, match="2 outputs are named, 1 are made"):
        evaluate(three, [floats(2)])


def test_division_of_integers_truncates() -> None:
    a, b = np.int32([7, -7, 7, -7, 6]), np.int32([2, 2, -2, -2, 3])
    assert run("Div", a, b).tolist() == [3, -3, -3, 3, 2]


def test_sums_are_accumulated_in_float64() -> None:
    """1e8 + 1 - 1e8 is 0 in float32."""
    x = np.float32([[1e8, 1, -1e8]])
    assert run("ReduceSum", x, ints(1)).item() == 1
    assert run("MatMul", x, np.ones((3, 1), np.float32)).item() == 1


def test_nan_passes_through_maximum_and_clip() -> None:
    x = np.float32([np.nan, -1, 2])
    np.testing.assert_array_equal(run("Relu", x), np.float32([np.nan, 0, 2]))
    clipped = run("Clip", x, np.float32(0), np.float32(1))
    np.testing.assert_array_equal(clipped, np.float32([np.nan, 0, 1]))


@pytest.mark.parametrize("op", ["ReduceMean", "GlobalAveragePool"])
def test_mean_of_nothing_is_nan(op: str) -> None:
    assert np.isnan(run(op, floats(1, 2, 0))).all()


def make_graph() -> Graph:
    nodes = (
        Node("Add", ("x", "w"), ("a",), name="add", version=21),
        Node("TopK", ("a", "k"), ("values", ""), name="top", version=21),
        Node("Neg", ("values",), ("y",), name="neg", version=21),
    )
    types = {"x": TensorType(DType.FLOAT32, ("n",))}
    constants = {"w": np.float32(1), "k": ints(2)}
    return Graph("g", ("x",), ("y", "a"), nodes, types, constants)


def test_run_graph_returns_the_outputs() -> None:
    result = run_graph(make_graph(), {"x": np.float32([3, 1, 2])})
    assert list(result) == ["y", "a"]
    assert result["y"].tolist() == [-4, -3]
    assert result["a"].tolist() == [4, 2, 3]


def test_run_graph_names_the_node_that_fails() -> None:
    with pytest.raises(RunError, match=r"'top' \(TopK.*k=2"):
        run_graph(make_graph(), {"x": np.float32([3])})


def test_run_graph_wants_every_input() -> None:
    with pytest.raises(InputError, match="missing input 'x'"):
        run_graph(make_graph(), {})
