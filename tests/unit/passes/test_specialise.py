"""Specialisation: binding, folding, shape arithmetic, budgets; with a tiny evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from colonnade.errors import ModelError
from colonnade.ir import DType, Graph, Node, Shape, Subgraph, TensorType, verify_graph
from colonnade.passes.specialise import specialise

Arrays = Sequence[np.ndarray | None]
Types = Mapping[str, TensorType]


def _gather(data: np.ndarray, idx: np.ndarray) -> np.ndarray:
    if (idx >= len(data)).any():
        raise ValueError("index out of range")
    return np.asarray(data[idx])


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda a, b: a + b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b,
    "Gather": _gather,
    "Concat": lambda *parts: np.concatenate(parts),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "Transpose": lambda x: x.T,
    "ConstantOfShape": lambda shape: np.zeros(shape, np.float32),
    "Fresh": lambda x: (x + 1).reshape(-1),
    "RandomNormal": lambda: np.zeros(2, np.float32),
    "MatMul": lambda a, b: a @ b,
    "DequantizeLinear": lambda x, scale: x * scale,
}


def evaluate(node: Node, inputs: Arrays, max_bytes: int) -> tuple[np.ndarray, ...]:
    if node.op not in FUNCTIONS:
        raise NotImplementedError(node.op)
    if node.op == "ConstantOfShape":
        assert inputs[0] is not None
        if int(np.prod(inputs[0])) * 4 > max_bytes:
            raise MemoryError
    return (np.asarray(FUNCTIONS[node.op](*inputs)),)


def infer(node: Node, types: Types, values: Mapping[str, np.ndarray], opset: int) -> Types:
    """Outputs have their first input's type; a Reshape needs its shape."""
    del opset
    if node.op in ("NonZero", "Reshape", "Expand"):
        dims = values.get(node.inputs[-1]) if node.op != "NonZero" else None
        rank_known: Shape | None = (2, None) if node.op == "NonZero" else None
        shape = tuple(int(d) for d in dims) if dims is not None else rank_known
        return {node.outputs[0]: TensorType(DType.FLOAT32, shape)}
    if node.op in ("If", "RandomNormal"):
        return {}
    return {out: types[node.inputs[0]] for out in node.outputs if out}


def make_graph(
    nodes: Sequence[Node], inputs: Mapping[str, Shape], outputs: Sequence[str], **constants: object
) -> Graph:
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        for name, value in constants.items()
    }
    types = {name: TensorType(DType.FLOAT32, shape) for name, shape in inputs.items()}
    return Graph("g", tuple(inputs), tuple(outputs), tuple(nodes), types, arrays)


def run(graph: Graph, shapes: Mapping[str, tuple[int, ...]], **options: int) -> Graph:
    result = specialise(graph, shapes, infer, evaluate, **options)
    verify_graph(result)
    return result


def test_shapes_bind_symbols_of_all_inputs() -> None:
    nodes = [Node("Add", ("x", "y"), ("z",))]
    graph = make_graph(nodes, {"x": ("n", 3), "y": ("n", "k")}, ["z"])
    result = run(graph, {"x": (5, 3)})
    assert result.shape("x") == (5, 3)
    assert result.shape("y") == (5, "k")
    assert result.shape("z") == (5, 3)


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 3, 1)])
def test_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    graph = make_graph([Node("Relu", ("x",), ("z",))], {"x": ("n", 3)}, ["z"])
    with pytest.raises(ValueError, match=r"'x'.*does not fit"):
        run(graph, {"x": shape})


def test_constant_nodes_fold_and_dead_constants_go() -> None:
    nodes = [Node("Add", ("a", "b"), ("c",)), Node("Mul", ("x", "c"), ("z",))]
    ones = np.ones(3, np.float32)
    graph = make_graph(nodes, {"x": (3,)}, ["z"], a=ones, b=ones)
    result = run(graph, {"x": (3,)})
    assert [node.op for node in result] == ["Mul"]
    assert set(result.constants) == {"c"}
    np.testing.assert_array_equal(result.constants["c"], 2 * ones)
    assert result.types["c"] == TensorType(DType.FLOAT32, (3,))


def test_big_constants_are_not_copied() -> None:
    weights = np.ones((64, 32), np.float32)
    nodes = [Node("Transpose", ("w",), ("wt",)), Node("MatMul", ("x", "wt"), ("z",))]
    result = run(make_graph(nodes, {"x": (1, 32)}, ["z"], w=weights), {}, max_fold_bytes=16)
    assert result.nodes[0].op == "MatMul"
    assert np.shares_memory(result.constants["wt"], weights)


def test_shape_arithmetic_folds_through_to_a_static_reshape() -> None:
    nodes = [
        Node("Shape", ("x",), ("s",)),
        Node("Gather", ("s", "first"), ("n",)),
        Node("Unsqueeze", ("n", "axes"), ("n1",)),
        Node("Concat", ("n1", "rest"), ("dims",)),
        Node("Reshape", ("x", "dims"), ("z",)),
    ]
    graph = make_graph(nodes, {"x": ("n", 6)}, ["z"], first=0, axes=[0], rest=[2, 3])
    result = run(graph, {"x": (4, 6)})
    assert [node.op for node in result] == ["Reshape"]
    assert result.shape("z") == (4, 2, 3)
    assert result.constants[result.nodes[0].inputs[1]].tolist() == [4, 2, 3]


def test_value_that_depends_on_shapes_has_a_name_of_its_own() -> None:
    nodes = [
        Node("Shape", ("x",), ("s",)),
        Node("Add", ("s", "one"), ("t",)),
        Node("Reshape", ("x", "t"), ("z",)),
    ]
    graph = make_graph(nodes, {"x": ("n",)}, ["z"], one=[1])
    names = [run(graph, {"x": (n,)}).nodes[0].inputs[1] for n in (3, 4, 3)]
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("t@") for name in names)


def test_shape_dependent_graph_output_keeps_its_name() -> None:
    nodes = [Node("Shape", ("x",), ("s",)), Node("Add", ("s", "one"), ("t",))]
    graph = make_graph(nodes, {"x": ("n",)}, ["s", "t"], one=[1])
    result = run(graph, {"x": (3,)})
    assert result.nodes == ()
    assert result.constants["s"].tolist() == [3]
    assert result.constants["t"].tolist() == [4]


def test_shape_slice_and_size() -> None:
    nodes = [
        Node("Shape", ("x",), ("s",), {"start": -2, "end": 7}),
        Node("Size", ("x",), ("n",)),
    ]
    result = run(make_graph(nodes, {"x": ("a", "b", "c")}, ["s", "n"]), {"x": (2, 3, 4)})
    assert result.constants["s"].tolist() == [3, 4]
    assert result.constants["n"].tolist() == 24


def test_partly_known_shape_reaches_reshape() -> None:
    nodes = [
        Node("NonZero", ("x",), ("nz",)),
        Node("Shape", ("nz",), ("s",)),
        Node("Mul", ("s", "two"), ("t",)),
        Node("Concat", ("t", "tail"), ("dims",)),
        Node("Reshape", ("nz", "dims"), ("z",)),
    ]
    graph = make_graph(nodes, {"x": (3, 3)}, ["z"], two=[2, 2], tail=[7, -1])
    result = run(graph, {})
    assert result.shape("z") == (4, None, 7, None)
    assert len(result.nodes) == 5


def test_partly_known_shape_reaches_expand_and_constant_of_shape() -> None:
    nodes = [
        Node("NonZero", ("x",), ("nz",)),
        Node("Shape", ("nz",), ("s",)),
        Node("Expand", ("x", "s"), ("e",)),
        Node("ConstantOfShape", ("s",), ("c",)),
    ]
    graph = make_graph(nodes, {"x": (1, 5)}, ["e", "c"])
    result = run(graph, {})
    assert result.shape("e") == (2, 5)
    assert result.shape("c") == (2, None)


def test_unknown_element_makes_its_result_unknown() -> None:
    nodes = [
        Node("NonZero", ("x",), ("nz",)),
        Node("Shape", ("nz",), ("s",)),
        Node("Gather", ("s", "last"), ("k",)),
        Node("Concat", ("k", "tail"), ("dims",)),
        Node("Reshape", ("nz", "dims"), ("z",)),
    ]
    result = run(make_graph(nodes, {"x": (3, 3)}, ["z"], last=[1], tail=[2]), {})
    assert result.shape("z") == (None, 2)


def test_identity_and_dropout_disappear() -> None:
    nodes = [
        Node("Identity", ("x",), ("a",)),
        Node("Dropout", ("a",), ("b", "mask"), version=13),
        Node("Relu", ("b",), ("z",)),
    ]
    result = run(make_graph(nodes, {"x": (2,)}, ["z"]), {})
    assert [(node.op, node.inputs) for node in result] == [("Relu", ("x",))]


@pytest.mark.parametrize(
    ("node", "outputs"),
    [
        (Node("Identity", ("x",), ("z",)), ["z"]),
        (Node("Dropout", ("x",), ("a", "z"), version=13), ["z"]),
        (Node("Dropout", ("x", "r", "yes"), ("z",), version=13), ["z"]),
        (Node("Dropout", ("x",), ("z",), version=6), ["z"]),
    ],
)
def test_identity_that_does_something_stays(node: Node, outputs: list[str]) -> None:
    yes = np.array(True)
    result = run(make_graph([node], {"x": (2,)}, outputs, r=np.float32([1]), yes=yes), {})
    assert [kept.op for kept in result] == [node.op]


def test_captured_value_keeps_its_name() -> None:
    nodes = [
        Node("Identity", ("x",), ("a",)),
        Node("Shape", ("x",), ("s",)),
        Node("If", ("c",), ("z",), {"then_branch": Subgraph(b"", ("a", "s"))}),
    ]
    result = run(make_graph(nodes, {"x": (2,), "c": ()}, ["z"]), {})
    assert [node.op for node in result] == ["Identity", "If"]
    assert result.constants["s"].tolist() == [2]


def test_declared_type_is_used_where_inference_knows_nothing() -> None:
    node = Node("If", ("c",), ("z",), {"then_branch": Subgraph(b"", ())})
    graph = make_graph([node], {"x": ("n",), "c": ()}, ["z"])
    declared = TensorType(DType.INT64, ("n", 3, "m"))
    graph = graph.with_changes(types={**graph.types, "z": declared})
    assert run(graph, {"x": (4,)}).types["z"] == TensorType(DType.INT64, (4, 3, "m"))


def test_random_nodes_and_unknown_operations_stay() -> None:
    nodes = [
        Node("RandomNormal", (), ("r",)),
        Node("Mystery", ("w",), ("m",)),
        Node("Add", ("r", "m"), ("z",)),
    ]
    graph = make_graph(nodes, {}, ["z"], w=np.ones(2, np.float32))
    types = {"r": TensorType(DType.FLOAT32, (2,)), "m": TensorType(DType.FLOAT32, (2,))}
    result = run(graph.with_changes(types=types), {})
    assert [node.op for node in result] == ["RandomNormal", "Mystery", "Add"]


def test_fold_above_the_budget_stays_a_node() -> None:
    node = Node("ConstantOfShape", ("s",), ("z",))
    graph = make_graph([node], {}, ["z"], s=[1 << 20, 1 << 20])
    assert [kept.op for kept in run(graph, {})] == ["ConstantOfShape"]


def test_total_of_folds_is_bounded() -> None:
    """Many folds, each within the budget, do not add up to more than a few budgets."""
    count = 40
    nodes = [Node("ConstantOfShape", ("s",), (f"z{i}",)) for i in range(count)]
    graph = make_graph(nodes, {}, [f"z{i}" for i in range(count)], s=[256])
    result = run(graph, {}, max_fold_bytes=1024)
    assert len(result.nodes) > count - 6


def test_views_of_new_memory_count_too() -> None:
    """The sum is a fresh array, and the fold a view of it."""
    count = 40
    nodes = [Node("Fresh", (f"z{i}",), (f"z{i + 1}",)) for i in range(count)]
    graph = make_graph(nodes, {}, [f"z{count}"], z0=np.zeros(256, np.float32))
    assert len(run(graph, {}, max_fold_bytes=1024).nodes) > count - 8


def test_heavy_operation_on_big_constants_stays() -> None:
    big = np.ones((512, 512), np.float32)
    graph = make_graph([Node("MatMul", ("a", "a"), ("z",))], {}, ["z"], a=big)
    assert [node.op for node in run(graph, {})] == ["MatMul"]
    small = make_graph([Node("MatMul", ("a", "a"), ("z",))], {}, ["z"], a=big[:2, :2])
    assert run(small, {}).nodes == ()


def test_node_that_refuses_its_constants_is_a_model_error() -> None:
    node = Node("Gather", ("w", "idx"), ("z",), name="lookup")
    graph = make_graph([node], {}, ["z"], w=[1, 2], idx=[5])
    with pytest.raises(ModelError, match=r"lookup.*index out of range"):
        run(graph, {})


def test_constant_stored_as_another_type_is_not_computed_with() -> None:
    """bfloat16 bits in a uint16 array."""
    graph = make_graph([Node("Add", ("a", "a"), ("z",))], {}, ["z"], a=np.zeros(2, np.uint16))
    graph = graph.with_changes(types={"a": TensorType(DType.BFLOAT16, (2,))})
    assert [node.op for node in run(graph, {})] == ["Add"]


@pytest.mark.parametrize(
    ("reader", "inputs", "stays"),
    [
        ("MatMul", ("x", "real"), True),
        ("Conv", ("x", "real"), True),
        ("Gather", ("real", "x"), True),
        ("Gather", ("x", "real"), False),
        ("Gemm", ("x", "x", "real"), False),
        ("Add", ("x", "real"), False),
    ],
)
@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_dequantized_weights_of_8_bits_stay(
    reader: str, inputs: tuple[str, ...], stays: bool, dtype: type[np.generic]
) -> None:
    border = Node("DequantizeLinear", ("w", "scale"), ("real",))
    graph = make_graph(
        [border, Node(reader, inputs, ("y",))], {"x": (4, 4)}, ["y"],
        w=np.ones((4, 4), dtype), scale=np.array(0.5, np.float32),
    )  # fmt: skip
    made = specialise(graph, {"x": (4, 4)}, infer, evaluate)
    assert (border.op in {node.op for node in made.nodes}) is (stays and dtype is np.int8)


def test_dequantized_weights_stay_through_moves() -> None:
    nodes = [
        Node("DequantizeLinear", ("w", "scale"), ("real",)),
        Node("Transpose", ("real",), ("turned",)),
        Node("MatMul", ("x", "turned"), ("y",)),
    ]
    graph = make_graph(
        nodes, {"x": (4, 4)}, ["y"], w=np.ones((4, 4), np.uint8), scale=np.array(0.5, np.float32)
    )
    made = specialise(graph, {"x": (4, 4)}, infer, evaluate)
    assert [node.op for node in made.nodes] == ["DequantizeLinear", "Transpose", "MatMul"]
