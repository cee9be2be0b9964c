"""Moves of values in column panels between convolutions: views, concatenation, splits, slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from tolerance import tolerance

CHANNELS, SIZE = 8, 9
KERNELS = {"rows_to_columns", "columns_to_rows"}


def make_model(nodes: Sequence[onnx.NodeProto], extra: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Convolutions c0 and c1 of the input, then `nodes` that end in y."""
    rng = np.random.default_rng(1)
    weights = {
        name: rng.standard_normal((CHANNELS, 3, 1, 1)).astype(np.float32) for name in ("w0", "w1")
    }
    first = [helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"], name=f"conv{i}") for i in range(2)]
    graph = helper.make_graph(
        [*first, *nodes],
        "moves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, SIZE, SIZE])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in (weights | extra).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def pointwise(source: str, channels: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """A last convolution, so that columns are wanted behind the moves as well."""
    weights = np.random.default_rng(2).standard_normal((4, channels, 1, 1)).astype(np.float32)
    return [helper.make_node("Conv", [source, "wy"], ["y"], name="last")], {"wy": weights}


def count_conversions(model: onnx.ModelProto) -> int:
    """Compare with the reference; returns how many layout conversions one run makes."""
    x = np.random.default_rng(3).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    engine = colonnade.compile(model, threads=1, fallback="forbid")
    got = engine.run({"x": x})["y"]
    want = colonnade.compile(model, runtime="reference").run({"x": x})["y"]
    top = float(np.abs(want).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance(3 * 4 * CHANNELS, top, 1.0))
    return sum(event["kernel"] in KERNELS for event in engine.trace({"x": x}))


def test_concat_of_features_stays_in_columns() -> None:
    last, extra = pointwise("joined", 2 * CHANNELS)
    nodes = [helper.make_node("Concat", ["c0", "c1"], ["joined"], axis=1, name="concat"), *last]
    assert count_conversions(make_model(nodes, extra)) == 2  # The input in, the output out.


def test_split_of_features_stays_in_columns() -> None:
    last, extra = pointwise("b", 5)
    extra["sizes"] = np.array([3, 5], np.int64)
    nodes = [helper.make_node("Split", ["c0", "sizes"], ["a", "b"], axis=1, name="split"), *last]
    assert count_conversions(make_model(nodes, extra)) == 2


def test_slice_of_features_stays_in_columns() -> None:
    last, extra = pointwise("part", 4)
    extra |= {"from": np.array([2]), "to": np.array([6]), "axes": np.array([1])}
    nodes = [helper.make_node("Slice", ["c0", "from", "to", "axes"], ["part"], name="s"), *last]
    assert count_conversions(make_model(nodes, extra)) == 2


def test_reshape_of_columns_is_a_view() -> None:
    extra = {"flat": np.array([2, CHANNELS, SIZE * SIZE]), "image": np.array([2, CHANNELS, 3, 27])}
    last, weights = pointwise("again", CHANNELS)
    nodes = [
        helper.make_node("Reshape", ["c0", "flat"], ["columns"], name="r0"),
        helper.make_node("Reshape", ["columns", "image"], ["again"], name="r1"),
        *last,
    ]
    assert count_conversions(make_model(nodes, extra | weights)) == 2


def test_transpose_to_channels_last_is_a_view() -> None:
    """Then a product over channels, as vision transformers have it."""
    extra = {"wy": np.random.default_rng(4).standard_normal((CHANNELS, 5)).astype(np.float32)}
    nodes = [
        helper.make_node("Transpose", ["c0"], ["t"], perm=[0, 2, 3, 1], name="t"),
        helper.make_node("MatMul", ["t", "wy"], ["y"], name="product"),
    ]
    assert count_conversions(make_model(nodes, extra)) == 2


@pytest.mark.parametrize("op", ["Concat", "Transpose", "Reshape"])
def test_moves_of_columns_go_through_rows(op: str) -> None:
    """Not a view: the columns themselves are moved."""
    extra = {"shape": np.array([2, CHANNELS // 2, 2 * SIZE, SIZE])}
    node = {
        "Concat": helper.make_node("Concat", ["c0", "c1"], ["y"], axis=3, name="n"),
        "Transpose": helper.make_node("Transpose", ["c0"], ["y"], perm=[0, 1, 3, 2], name="n"),
        "Reshape": helper.make_node("Reshape", ["c0", "shape"], ["y"], name="n"),
    }[op]
    assert count_conversions(make_model([node], extra)) >= 2
