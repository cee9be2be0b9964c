"""import_model: what of a model reaches the Graph, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx import helper as h

from colonnade.errors import ModelError
from colonnade.ir import DType, Subgraph, TensorType, verify_graph
from colonnade.onnx.budget import Budget
from colonnade.onnx.importer import import_model
from colonnade.onnx.types import OpaqueType

OPSET = 21
LARGE = (1 << 15) + 5
"""Elements of a float tensor that is left in the file while the structure is parsed."""


def _value(name: str, *shape: int | str | None, elem: int = TensorProto.FLOAT) -> Any:
    return h.make_tensor_value_info(name, elem, shape)


def _model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Any] = (),
    outputs: Sequence[str] = ("y",),
    tensors: Sequence[TensorProto] = (),
    opset: int = OPSET,
    **more: Any,
) -> ModelProto:
    graph = h.make_graph(list(nodes), "g", list(inputs), [], list(tensors))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    more.setdefault("opset_imports", [h.make_opsetid("", opset)])
    return h.make_model(graph, ir_version=10, **more)


def _node(op: str, *names: str, **attributes: Any) -> NodeProto:
    """A node whose last name is its output."""
    return h.make_node(op, names[:-1], names[-1:], name=f"{op}_of_{names[-1]}", **attributes)


def _tensor(array: np.ndarray, name: str) -> TensorProto:
    return numpy_helper.from_array(array, name)


W = np.array([1, 2], np.float32)


def test_initializers_that_are_inputs_are_constants() -> None:
    model = _model(
        [_node("Add", "x", "w", "y")], [_value("x", 2), _value("w", 2)], tensors=[_tensor(W, "w")]
    )
    graph = import_model(model)
    assert graph.inputs == ("x",)
    np.testing.assert_array_equal(graph.constants["w"], W)


def test_unread_initializers_are_not_kept() -> None:
    model = _model([_node("Relu", "x", "y")], [_value("x", 2)], tensors=[_tensor(W, "w")])
    assert not import_model(model).constants


@pytest.mark.parametrize(
    ("attributes", "want", "dtype"),
    [
        ({"value": numpy_helper.from_array(W)}, W, DType.FLOAT32),
        ({"value_int": 3}, np.array(3), DType.INT64),
        ({"value_ints": [3, 4]}, np.array([3, 4]), DType.INT64),
        ({"value_float": 0.5}, np.array(0.5, np.float32), DType.FLOAT32),
        ({"value_floats": [0.5]}, np.array([0.5], np.float32), DType.FLOAT32),
        ({"value_string": "a"}, np.array("a", object), DType.STRING),
        ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object), DType.STRING),
    ],
)
def test_constant_nodes_are_lifted(
    attributes: dict[str, Any], want: np.ndarray, dtype: DType
) -> None:
    graph = import_model(_model([h.make_node("Constant", [], ["y"], **attributes)]))
    assert not graph.nodes
    assert graph.types["y"] == TensorType(dtype, want.shape)
    assert graph.constants["y"].dtype == want.dtype
    np.testing.assert_array_equal(graph.constants["y"], want)


def test_sparse_constants_are_made_dense() -> None:
    sparse = onnx.SparseTensorProto(dims=[2, 3])
    sparse.values.CopyFrom(_tensor(np.array([5, 7], np.float32), ""))
    sparse.indices.CopyFrom(_tensor(np.array([[0, 2], [1, 0]]), ""))
    node = h.make_node("Constant", [], ["y"], sparse_value=sparse)
    graph = import_model(_model([node]))
    np.testing.assert_array_equal(graph.constants["y"], [[0, 0, 5], [7, 0, 0]])


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1, -2], [3, 4]], dtype)
        for dtype in (
            np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64,
            np.complex64, np.complex128, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn,
            ml_dtypes.int4,
        )
    ]
    + [np.array([[1, 2], [3, 4]], dtype) for dtype in (np.uint8, np.uint16, np.uint32, np.uint64)]
    + [np.array([[True], [False]]), np.array(["a", "ß"], object)]
    + [np.array([1, 2, 3], ml_dtypes.uint4)],
    ids=lambda array: array.dtype.name,
)  # fmt: skip
@pytest.mark.parametrize("raw", [False, True])
def test_element_types(array: np.ndarray, raw: bool) -> None:
    tensor = _tensor(array, "w")
    if not raw and array.dtype != object:
        values = array.astype(np.float64) if array.dtype.kind not in "iubfc" else array
        tensor = h.make_tensor("w", tensor.data_type, array.shape, values.reshape(-1))
    graph = import_model(_model([_node("Identity", "w", "y")], tensors=[tensor]))
    assert graph.constants["w"].dtype == array.dtype
    np.testing.assert_array_equal(graph.constants["w"], array)
    known = {"bfloat16": DType.BFLOAT16}.get(array.dtype.name, DType.from_numpy(array.dtype))
    assert graph.types["w"] == TensorType(known, array.shape)


def test_bytes_of_a_bool_are_0_or_1() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.BOOL, dims=[3], raw_data=b"\0\1\7")
    graph = import_model(_model([_node("Identity", "w", "y")], tensors=[tensor]))
    assert graph.constants["w"].view(np.uint8).tolist() == [0, 1, 1]


def _large_model(kind: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Large constants of every kind, with names of odd lengths so that none lies aligned."""
    generator = np.random.default_rng(3)
    arrays = {f"w{'x' * i}": generator.standard_normal(LARGE).astype(np.float32) for i in range(4)}
    arrays["d"] = generator.standard_normal(LARGE)
    nodes, tensors = [], []
    for name, array in arrays.items():
        tensor = _tensor(array, name)
        if kind == "typed":
            tensor = h.make_tensor(name, tensor.data_type, array.shape, array)
        if kind == "constant":
            nodes.append(h.make_node("Constant", [], [name], value=tensor))
        else:
            tensors.append(tensor)
        nodes.append(_node("Identity", name, f"y_{name}"))
    return _model(nodes, outputs=[f"y_{name}" for name in arrays], tensors=tensors), arrays


@pytest.mark.parametrize("kind", ["raw", "typed", "constant"])
@pytest.mark.parametrize("way", ["path", "bytes", "view", "proto"])
def test_large_tensors_are_plain_aligned_arrays(kind: str, way: str, tmp_path: Path) -> None:
    model, arrays = _large_model(kind)
    content = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    source: Any = {
        "path": tmp_path / "m.onnx", "bytes": content, "view": memoryview(b" " + content)[1:],
        "proto": model,
    }[way]  # fmt: skip
    graph = import_model(source)
    for name, array in arrays.items():
        made = graph.constants[name]
        assert made.flags.c_contiguous
        assert made.flags.aligned
        assert made.dtype == array.dtype
        np.testing.assert_array_equal(made, array)


def test_arrays_of_a_path_do_not_keep_the_file(tmp_path: Path) -> None:
    model, arrays = _large_model("raw")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    graph = import_model(str(path))
    path.write_bytes(b"")
    np.testing.assert_array_equal(graph.constants["w"], arrays["w"])


def test_dimensions() -> None:
    inputs = [_value("x", "batch", None, 3, "?", -1), onnx.ValueInfoProto(name="z")]
    inputs[1].type.tensor_type.elem_type = TensorProto.INT64
    graph = import_model(_model([_node("Relu", "x", "y")], inputs))
    assert graph.types["x"] == TensorType(DType.FLOAT32, ("batch", None, 3, None, None))
    assert graph.types["z"] == TensorType(DType.INT64, None)


def test_absent_inputs_and_dead_outputs_are_kept() -> None:
    node = h.make_node("Dropout", ["x", "", "t"], ["y", ""])
    graph = import_model(_model([node], [_value("x", 2), _value("t", elem=TensorProto.BOOL)]))
    assert graph.nodes[0].inputs == ("x", "", "t")
    assert graph.nodes[0].outputs == ("y", "")
    assert graph.nodes[0].name == "Dropout_0"
    verify_graph(graph)


def test_attributes() -> None:
    node = _node("Conv", "x", "k", "y", pads=[1, 1], auto_pad="NOTSET", group=1)
    custom = h.make_node(
        "Thing",
        ["y"],
        ["z"],
        domain="my.own",
        f=0.5,
        fs=[1.0, 2.0],
        ss=["a", "b"],
        t=_tensor(W, ""),
    )
    kernel = _tensor(np.ones((1, 1, 3), np.float32), "k")
    imports = [h.make_opsetid("", 18), h.make_opsetid("my.own", 4)]
    model = _model([node, custom], [_value("x", 1, 1, 5)], ["z"], [kernel], opset_imports=imports)
    first, second = import_model(model, custom_domains={"my.own"}).nodes
    assert dict(first.attrs) == {"pads": (1, 1), "auto_pad": "NOTSET", "group": 1}
    assert (first.domain, first.version) == ("", 18)
    assert (second.domain, second.version) == ("my.own", 4)
    assert second.attrs["f"] == 0.5
    assert second.attrs["fs"] == (1.0, 2.0)
    assert second.attrs["ss"] == ("a", "b")
    np.testing.assert_array_equal(second.attrs["t"], W)  # type: ignore[arg-type]


def test_metadata_and_opsets() -> None:
    model = _model([_node("Relu", "x", "y")], [_value("x", 2)])
    model.opset_import.add(domain="ai.onnx", version=OPSET)
    model.metadata_props.add(key="author", value="nobody")
    graph = import_model(model)
    assert graph.metadata == {"author": "nobody"}
    assert graph.opsets == {"": OPSET}


def _branch(reads: Sequence[str], makes: str) -> onnx.GraphProto:
    nodes = [
        h.make_node("Add", [*reads], [f"{makes}_"]),
        h.make_node("Neg", [f"{makes}_"], [makes]),
    ]
    return h.make_graph(nodes, "b", [], [_value(makes, 2)])


def test_bodies_stay_whole_and_say_what_they_capture() -> None:
    node = h.make_node(
        "If",
        ["c"],
        ["y"],
        then_branch=_branch(("x", "w"), "t"),
        else_branch=_branch(("z", "x"), "e"),
    )
    inputs = [_value("x", 2), _value("z", 2), _value("c", elem=TensorProto.BOOL)]
    graph = import_model(_model([node], inputs, tensors=[_tensor(W, "w")]))
    body = graph.nodes[0].attrs["then_branch"]
    assert isinstance(body, Subgraph)
    assert sorted(body.captures) == ["w", "x", "z"]
    assert onnx.GraphProto.FromString(body.proto).node[1].op_type == "Neg"
    assert "w" in graph.constants
    assert graph.types["y"] == TensorType(DType.FLOAT32, (2,))
    verify_graph(graph)


def test_external_data_of_a_body_is_put_into_it(tmp_path: Path) -> None:
    branch = _branch(("x", "k"), "t")
    weight = branch.initializer.add(name="k", data_type=1, dims=[2], data_location=1)
    weight.external_data.add(key="location", value="k.bin")
    (tmp_path / "k.bin").write_bytes(W.tobytes())
    node = h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=_branch(("x", "x"), "e"))
    model = _model([node], [_value("x", 2), _value("c", elem=TensorProto.BOOL)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    body = import_model(tmp_path / "m.onnx").nodes[0].attrs["then_branch"]
    assert isinstance(body, Subgraph)
    tensor = onnx.GraphProto.FromString(body.proto).initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), W)


def _scaled(opset: int) -> onnx.FunctionProto:
    """y = LeakyRelu(x), alpha given by the caller."""
    node = h.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.add(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    return h.make_function(
        "f", "Scaled", ["a"], ["b"], [node], [h.make_opsetid("", opset)], attributes=["slope"]
    )


@pytest.mark.parametrize("opset", [OPSET, 16])
def test_functions_are_inlined(opset: int) -> None:
    calls = [
        h.make_node("Scaled", ["x"], ["t"], domain="f", slope=0.5),
        h.make_node("Scaled", ["t"], ["y"], domain="f", slope=0.25),
    ]
    imports = [h.make_opsetid("", OPSET), h.make_opsetid("f", 1)]
    model = _model(calls, [_value("x", 2)], functions=[_scaled(opset)], opset_imports=imports)
    graph = import_model(model)
    assert [(node.op, node.attrs["alpha"]) for node in graph.nodes] == [
        ("LeakyRelu", 0.5),
        ("LeakyRelu", 0.25),
    ]
    verify_graph(graph)


def test_opsets_before_7_are_converted() -> None:
    node = _node("Add", "x", "w", "y", broadcast=1, axis=0)
    graph = import_model(_model([node], [_value("x", 2, 3)], tensors=[_tensor(W, "w")], opset=6))
    assert graph.opsets[""] == 7
    assert all("broadcast" not in node.attrs for node in graph.nodes)
    verify_graph(graph)


def test_nodes_are_sorted() -> None:
    model = _model([_node("Relu", "a", "y"), _node("Neg", "x", "a")], [_value("x", 2)])
    graph = import_model(model)
    assert [node.op for node in graph.nodes] == ["Neg", "Relu"]


def test_types_without_an_equal_are_kept_for_export() -> None:
    value = onnx.ValueInfoProto(name="s")
    value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    graph = import_model(_model([_node("SequenceLength", "s", "y")], [value]))
    known = graph.types["s"]
    assert isinstance(known, OpaqueType)
    assert onnx.TypeProto.FromString(known.proto) == value.type
    assert known.dtype is DType.OTHER


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_nodes=1), "nodes"),
        (Budget(max_model_bytes=100), "budget is 100"),
        (Budget(max_structure_bytes=60), "without its weights"),
        (Budget(max_tensor_bytes=4), "budget 4 bytes"),
        (Budget(max_name_bytes=4), "characters"),
    ],
)
def test_budget(budget: Budget, words: str) -> None:
    nodes = [_node("Add", "x", "w", "longer"), _node("Relu", "longer", "y")]
    model = _model(nodes, [_value("x", 2)], tensors=[_tensor(W, "w")])
    import_model(model)
    with pytest.raises(ModelError, match=words):
        import_model(model, budget=budget)


def test_custom_domains_must_be_registered() -> None:
    imports = [h.make_opsetid("", OPSET), h.make_opsetid("my.own", 1)]
    node = h.make_node("Thing", ["x"], ["y"], name="n", domain="my.own")
    model = _model([node], [_value("x", 2)], opset_imports=imports)
    with pytest.raises(ModelError, match=r"unknown domain 'my\.own'"):
        import_model(model)
    assert import_model(model, custom_domains=["my.own"]).nodes[0].op == "Thing"


def test_sources_that_are_none() -> None:
    with pytest.raises(ModelError, match="no model"):
        import_model(3)  # type: ignore[arg-type]


def test_a_message_built_too_deep_is_refused_before_it_is_serialised() -> None:
    model = _model([_node("Relu", "x", "y")], [_value("x", 2)])
    nodes = model.graph.node
    for _ in range(3000):
        attribute = nodes.add(op_type="If").attribute.add(name="then_branch", type=5)
        nodes = attribute.g.node
    with pytest.raises(ModelError, match="deep"):
        import_model(model)


LIGHT_NODES = {
    "bvlc_alexnet": 24,
    "densenet121": 910,
    "inception_v1": 144,
    "resnet50": 176,
    "squeezenet": 66,
    "vgg19": 46,
}
"""Nodes that are left when constants are lifted."""


@pytest.mark.parametrize("name", LIGHT_NODES)
def test_shipped_models(name: str) -> None:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    graph = import_model(folder / f"light_{name}.onnx")
    verify_graph(graph)
    kinds = [node.op for node in graph.nodes if node.op != "ConstantOfShape"]
    assert len(kinds) == LIGHT_NODES[name]
    assert len(graph.inputs) == 1
