"""Weights of products as matrices: which they are, how they lie, and what is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from colonnade.errors import ModelError
from colonnade.onnx.weights import Form, ProductWeight, WeightedModel

Arrays = dict[str, np.ndarray]
node = helper.make_node


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    weights: Arrays,
    shape: Sequence[int] = (2, 6),
    outputs: Sequence[str] = ("y",),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def matrix(rows: int, columns: int) -> np.ndarray:
    return np.arange(1, rows * columns + 1, dtype=np.float32).reshape(rows, columns)


def only(path: Path) -> ProductWeight:
    (weight,) = WeightedModel(path).product_weights()
    return weight


W = matrix(5, 6)
"""Five output features, six input features."""

LINEAR: dict[str, tuple[list[NodeProto], np.ndarray]] = {
    "matmul": ([node("MatMul", ["x", "w"], ["y"])], W.T),
    "gemm": ([node("Gemm", ["x", "w"], ["y"])], W.T),
    "gemm transB": ([node("Gemm", ["x", "w"], ["y"], transB=1)], W),
    "behind Transpose": (
        [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"])],
        W,
    ),
    "behind Identity and Transpose": (
        [
            node("Identity", ["w"], ["i"]),
            node("Transpose", ["i"], ["t"]),
            node("Gemm", ["x", "t"], ["y"], transB=1),
        ],
        W.T,
    ),
    "first operand": ([node("Transpose", ["x"], ["c"]), node("MatMul", ["w", "c"], ["y"])], W),
    "Constant": (
        [
            node("Constant", [], ["w"], value=numpy_helper.from_array(W.T.copy())),
            node("MatMul", ["x", "w"], ["y"]),
        ],
        np.empty(0, np.float32),
    ),
}


@pytest.mark.parametrize("case", LINEAR)
def test_linear_weights_have_a_row_for_each_output_feature(case: str, tmp_path: Path) -> None:
    nodes, array = LINEAR[case]
    weights = {"w": array} if array.size else {}
    path = write(tmp_path / "m.onnx", nodes, weights)
    found = only(path)
    np.testing.assert_array_equal(found.matrix, W)
    assert (found.name, found.nodes, found.group_channels) == ("w", ("y",), None)


@pytest.mark.parametrize("case", LINEAR)
def test_what_is_replaced_is_saved(case: str, tmp_path: Path) -> None:
    nodes, array = LINEAR[case]
    path = write(tmp_path / "m.onnx", nodes, {"w": array} if array.size else {})
    model = WeightedModel(path)
    (weight,) = model.product_weights()
    weight.replace(-weight.matrix)
    model.save(tmp_path / "n.onnx")
    np.testing.assert_array_equal(only(tmp_path / "n.onnx").matrix, -W)
    np.testing.assert_array_equal(only(path).matrix, W)


def test_convolutions_have_taps_outside_and_channels_inside(tmp_path: Path) -> None:
    array = matrix(4, 2 * 3 * 3).reshape(4, 2, 3, 3)
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="first", group=3),
        node("Conv", ["a", "v"], ["y"], name="second", group=4),
    ]
    weights = {"w": matrix(4, 18).reshape(4, 2, 3, 3), "v": matrix(4, 1).reshape(4, 1, 1, 1)}
    weights["w"] = np.concatenate([array, array[:2]])
    weights["v"] = matrix(6, 1).reshape(6, 1, 1, 1)
    nodes[1].attribute[0].i = 6
    path = write(tmp_path / "m.onnx", nodes, weights, (1, 6, 5, 5))
    model = WeightedModel(path)
    first, second = model.product_weights()
    assert (first.form, first.group_channels, first.is_first_conv) == (Form.CONV, 2, True)
    assert (second.nodes, second.group_channels, second.is_first_conv) == (("second",), 1, False)
    np.testing.assert_array_equal(first.matrix[0, :4], [1, 10, 2, 11])
    first.replace(first.matrix)
    model.save(tmp_path / "n.onnx")
    (again, _) = WeightedModel(tmp_path / "n.onnx").product_weights()
    np.testing.assert_array_equal(numpy_helper.to_array(again.tensor), weights["w"])


def test_half_precision_stays_so(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("MatMul", ["h", "w"], ["m"]),
        node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    found = only(write(tmp_path / "m.onnx", nodes, {"w": W.T.astype(np.float16)}))
    found.replace(found.matrix)
    assert found.tensor.data_type == TensorProto.FLOAT16
    np.testing.assert_array_equal(found.matrix, W)


def branches() -> NodeProto:
    value = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    body = helper.make_graph([node("Identity", ["w"], ["o"])], "body", [], [value])
    return node("If", ["yes"], ["other"], then_branch=body, else_branch=body)


NOT_ALONE: dict[str, tuple[list[NodeProto], Sequence[str]]] = {
    "another operator": ([node("Relu", ["w"], ["r"])], ("y",)),
    "an embedding": ([node("Gather", ["w", "index"], ["r"])], ("y",)),
    "another orientation": ([node("Gemm", ["x", "w"], ["r"], transB=1)], ("y",)),
    "a body": ([branches()], ("y",)),
    "an output": ([], ("y", "w")),
    "a product of constants": ([node("MatMul", ["w", "w"], ["r"])], ("y",)),
}


@pytest.mark.parametrize("case", NOT_ALONE)
def test_a_weight_with_other_readers_is_left_out(case: str, tmp_path: Path) -> None:
    others, outputs = NOT_ALONE[case]
    weights: Arrays = {"w": matrix(6, 6), "index": np.array([1], np.int64), "yes": np.array(True)}
    nodes = [node("MatMul", ["x", "w"], ["y"]), *others]
    path = write(tmp_path / "m.onnx", nodes, weights, outputs=outputs)
    assert WeightedModel(path).product_weights() == []


def test_products_may_share_a_weight(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="one"),
        node("MatMul", ["a", "w"], ["y"], name="two"),
    ]
    assert only(write(tmp_path / "m.onnx", nodes, {"w": matrix(6, 6)})).nodes == ("one", "two")


def test_external_data_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {"w": W.T})
    external = tmp_path / "e.onnx"
    onnx.save(
        onnx.load(path), external, save_as_external_data=True, location="e.data", size_threshold=0
    )
    np.testing.assert_array_equal(only(external).matrix, W)


def test_a_model_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x0anothing")
    with pytest.raises(ModelError):
        WeightedModel(tmp_path / "broken.onnx")


def dequantized(zero: int) -> list[NodeProto]:
    return [
        node("DequantizeLinear", ["q", "scale", f"zero{zero}"], ["w"], axis=0),
        node("Transpose", ["w"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["y"]),
    ]


def write_quantized(path: Path, zero: int) -> Path:
    arrays: Arrays = {
        "q": W.astype(np.int8), "scale": np.ones(len(W), np.float32),
        f"zero{zero}": np.full(len(W), zero, np.int8),
    }  # fmt: skip
    return write(path, dequantized(zero), arrays)


def test_int8_behind_dequantize_linear_is_a_weight(tmp_path: Path) -> None:
    path = write_quantized(tmp_path / "m.onnx", 0)
    model = WeightedModel(path)
    (weight,) = model.product_weights()
    assert (weight.name, weight.form) == ("q", Form.ROWS)
    assert weight.matrix.dtype == np.int8
    np.testing.assert_array_equal(weight.matrix, W)
    weight.replace(np.where(W > 9, W, 0))
    model.save(path)
    np.testing.assert_array_equal(only(path).matrix, np.where(W > 9, W, 0))


def test_int8_whose_zero_is_not_at_0_is_left_alone(tmp_path: Path) -> None:
    assert not WeightedModel(write_quantized(tmp_path / "m.onnx", 3)).product_weights()
