"""export_model: what ONNX Runtime is given says the same as what was imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from onnx import helper as h

from colonnade.errors import ModelError
from colonnade.ir import DType, Graph, Node, TensorType
from colonnade.onnx import exporter
from colonnade.onnx.exporter import export_model, save_model
from colonnade.onnx.importer import import_model

W = np.arange(6, dtype=np.float32).reshape(3, 2)
X = np.array([[1, -2, 3]], np.float32)


def make_model() -> ModelProto:
    """y = If(c, x @ w + s, LeakyRelu(x @ w)): a capture, a body, attributes of several kinds."""
    bodies = {
        "then_branch": h.make_graph(
            [h.make_node("Add", ["p", "s"], ["t"])],
            "t",
            [],
            [h.make_tensor_value_info("t", 1, [1, 2])],
        ),
        "else_branch": h.make_graph(
            [h.make_node("LeakyRelu", ["p"], ["e"], alpha=0.5)],
            "e",
            [],
            [h.make_tensor_value_info("e", 1, [1, 2])],
        ),
    }
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["p"], name="product"),
        h.make_node("If", ["c"], ["y"], name="if", **bodies),
    ]
    tensors = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(W[0], "s")]
    inputs = [h.make_tensor_value_info("x", 1, ["n", 3]), h.make_tensor_value_info("c", 9, [])]
    outputs = [h.make_tensor_value_info("y", 1, ["n", 2])]
    graph = h.make_graph(nodes, "g", inputs, outputs, tensors)
    return h.make_model(graph, ir_version=10, opset_imports=[h.make_opsetid("", 18)])


def run(model: bytes | str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("condition", [True, False])
def test_round_trip(condition: bool) -> None:
    model = make_model()
    content = export_model(import_model(model))
    feeds = {"x": X, "c": np.array(condition)}
    for made, want in zip(run(content, feeds), run(model.SerializeToString(), feeds), strict=True):
        np.testing.assert_array_equal(made, want)
    exported = ModelProto.FromString(content)
    onnx.checker.check_model(exported)
    assert exported.ir_version == 10
    assert [(entry.domain, entry.version) for entry in exported.opset_import] == [("", 18)]
    again = import_model(exported)
    assert again.nodes == import_model(model).nodes


def test_a_part_of_a_graph() -> None:
    graph = import_model(make_model())
    part = graph.with_changes(
        nodes=graph.nodes[1:],
        inputs=("p", "c"),
        types={**graph.types, "p": TensorType(DType.FLOAT32, (1, 2))},
    )
    content = export_model(part)
    assert {tensor.name for tensor in ModelProto.FromString(content).graph.initializer} == {"s"}
    (made,) = run(content, {"p": X @ W, "c": np.array(True)})
    np.testing.assert_array_equal(made, X @ W + W[0])


def test_large_models_keep_their_weights_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weight = np.random.default_rng(2).standard_normal((3, 2000)).astype(np.float32)
    model = make_model()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    bias = numpy_helper.from_array(weight[0], "s")
    model.graph.initializer[1].CopyFrom(bias)
    graph = import_model(model)
    monkeypatch.setattr(exporter, "MAX_MESSAGE_BYTES", 100)
    with pytest.raises(ModelError, match="at most 2 GiB"):
        export_model(graph)
    path = tmp_path / "m.onnx"
    save_model(graph, path)
    assert path.stat().st_size < 4096
    feeds = {"x": X, "c": np.array(True)}
    (made,) = run(str(path), feeds)
    np.testing.assert_array_equal(made, run(model.SerializeToString(), feeds)[0])
    np.testing.assert_array_equal(import_model(path).constants["w"], weight)


def test_small_models_are_one_file(tmp_path: Path) -> None:
    save_model(import_model(make_model()), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def graph_of(node: Node, types: dict[str, TensorType], **constants: np.ndarray) -> Graph:
    inputs = tuple(name for name in node.inputs if name and name not in constants)
    return Graph("g", inputs, node.outputs, (node,), types, constants, {"": 18})


def test_attributes() -> None:
    attrs: dict[str, Any] = {
        "starts": (), "floats": (0.5, 1.0), "text": "a", "raw": b"\xff", "texts": ("a", "b"),
        "tensor": W, "number": 3, "real": 2.0, "empty": (),
    }  # fmt: skip
    node = Node("Thing", ("x",), ("y",), attrs, "n", "my.own", 2)
    content = export_model(graph_of(node, {"x": TensorType(DType.FLOAT32, (2,))}))
    model = ModelProto.FromString(content)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18, "my.own": 2}
    made = {a.name: h.get_attribute_value(a) for a in model.graph.node[0].attribute}
    np.testing.assert_array_equal(numpy_helper.to_array(made.pop("tensor")), W)
    assert made == {
        "starts": [], "floats": [0.5, 1.0], "text": b"a", "raw": b"\xff", "texts": [b"a", b"b"],
        "number": 3, "real": 2.0, "empty": [],
    }  # fmt: skip


def test_types_that_only_the_model_knows() -> None:
    """A sequence as input, and the element type of an optional as attribute."""
    value = onnx.ValueInfoProto(name="s")
    value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    optional = h.make_node("Optional", [], ["o"], type=value.type)
    nodes = [h.make_node("SequenceLength", ["s"], ["y"]), optional]
    graph = h.make_graph(nodes, "g", [value], [h.make_tensor_value_info("y", 7, [])])
    model = h.make_model(graph, ir_version=10, opset_imports=[h.make_opsetid("", 18)])
    exported = ModelProto.FromString(export_model(import_model(model)))
    assert exported.graph.input[0].type == value.type
    assert exported.graph.node[1].attribute[0].tp == value.type


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.float64, object])
def test_constants_of_every_kind(dtype: Any) -> None:
    array = np.array(["a", "b"], object) if dtype is object else np.array([1, 2], dtype)
    node = Node("Identity", ("w",), ("y",), {}, "n", "", 18)
    types = {"w": TensorType(DType.from_numpy(array.dtype), (2,))}
    content = export_model(graph_of(node, types, w=array))
    (tensor,) = ModelProto.FromString(content).graph.initializer
    np.testing.assert_array_equal(import_model(content).constants["w"], array)
    assert tensor.name == "w"


def test_bits_stored_as_another_type() -> None:
    node = Node("Identity", ("w",), ("y",), {}, "n", "", 18)
    types = {"w": TensorType(DType.BFLOAT16, (2,))}
    content = export_model(graph_of(node, types, w=np.array([0x3F80, 0x4000], np.uint16)))
    (tensor,) = ModelProto.FromString(content).graph.initializer
    assert tensor.data_type == TensorProto.BFLOAT16
    assert numpy_helper.to_array(tensor).astype(np.float32).tolist() == [1.0, 2.0]


def test_what_has_no_onnx_form() -> None:
    fused = Node("Linear", ("x",), ("y",), {}, "n", "colonnade")
    with pytest.raises(ValueError, match="no ONNX form"):
        export_model(graph_of(fused, {"x": TensorType(DType.FLOAT32, (2,))}))
    node = Node("Relu", ("x",), ("y",), {}, "n", "", 18)
    with pytest.raises(ModelError, match="element type is not known"):
        export_model(graph_of(node, {"x": TensorType(DType.OTHER, None)}))
