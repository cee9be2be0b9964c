"""An If with a known condition becomes the branch that runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from colonnade.ir import Graph
from colonnade.onnx.expand import expand_node
from colonnade.onnx.importer import import_model
from colonnade.onnx.infer import infer_node
from colonnade.passes.specialise import specialise
from colonnade.reference import evaluate, run_graph

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


def value(
    name: str, elem_type: int = FLOAT, shape: tuple[int, ...] | None = (3,)
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    weight = helper.make_tensor("weight", FLOAT, (3,), [1.0, 2.0, 3.0])
    return helper.make_graph(nodes, name, [], [value(output)], [weight])


def nested(op: str) -> onnx.GraphProto:
    """A body that captures a value of the branch around it."""
    return helper.make_graph([helper.make_node(op, ["scaled"], [op])], op, [], [value(op)])


def make_model(condition: bool | None) -> onnx.ModelProto:
    """y = condition ? weight * (inner ? x : -x) : x - weight; the inner condition is an input."""
    nested_then = nested("Identity")
    nested_else = nested("Neg")
    then_nodes = [
        helper.make_node("Mul", ["x", "weight"], ["scaled"]),
        helper.make_node(
            "If", ["inner"], ["out"], then_branch=nested_then, else_branch=nested_else
        ),
    ]
    else_nodes = [helper.make_node("Sub", ["x", "weight"], ["out"])]
    choose = helper.make_node(
        "If",
        ["condition"],
        ["y"],
        then_branch=branch("then", then_nodes, "out"),
        else_branch=branch("else", else_nodes, "out"),
    )
    inputs = [value("x"), value("inner", BOOL, ())]
    initializers = []
    if condition is None:
        inputs.append(value("condition", BOOL, ()))
    else:
        initializers.append(helper.make_tensor("condition", BOOL, (), [condition]))
    graph = helper.make_graph([choose], "g", inputs, [value("y")], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def specialised(model: onnx.ModelProto) -> Graph:
    graph = import_model(model)
    shapes = {name: (3,) if name == "x" else () for name in graph.inputs}
    return specialise(graph, shapes, infer_node, evaluate, expand_node)


def test_else_branch() -> None:
    graph = specialised(make_model(False))
    assert [node.op for node in graph] == ["Sub"]
    x = np.array([5, 5, 5], np.float32)
    made = run_graph(graph, {"x": x, "inner": np.array(True)})
    np.testing.assert_array_equal(made["y"], [4, 3, 2])


def test_then_branch_keeps_a_nested_if_with_renamed_captures() -> None:
    graph = specialised(make_model(True))
    ops = [node.op for node in graph]
    assert ops[:2] == ["Mul", "If"]
    nested = graph.nodes[1]
    body = nested.attrs["then_branch"]
    assert body.captures == nested_inputs(graph)  # type: ignore[union-attr]


def nested_inputs(graph: Graph) -> tuple[str, ...]:
    """What the nested bodies read: the product's new name."""
    return (graph.nodes[0].outputs[0],)


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_engine_gives_the_same(condition: bool, inner: bool) -> None:
    pytest.importorskip("onnxruntime")
    import colonnade

    x = np.array([1, -2, 4], np.float32)
    weight = np.array([1, 2, 3], np.float32)
    want = weight * x * (1 if inner else -1) if condition else x - weight
    feeds = {"x": x, "inner": np.array(inner)}
    fixed = colonnade.compile(make_model(condition), threads=1).run(feeds)["y"]
    free = colonnade.compile(make_model(None), threads=1).run(
        {**feeds, "condition": np.array(condition)}
    )["y"]
    np.testing.assert_array_equal(fixed, want)
    np.testing.assert_array_equal(free, want)


def test_unknown_condition_stays() -> None:
    assert [node.op for node in specialised(make_model(None))] == ["If"]
