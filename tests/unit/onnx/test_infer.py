"""infer_node: types from onnx, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colonnade.errors import ModelError
from colonnade.ir import DType, Node, Shape, TensorType
from colonnade.onnx.infer import infer_node

FLOAT = DType.FLOAT32


def infer(
    op: str,
    *shapes: Shape | None,
    values: dict[str, np.ndarray] | None = None,
    domain: str = "",
    version: int = 17,
    outputs: int = 1,
    dtype: DType = FLOAT,
    **attrs: Any,
) -> list[TensorType | None]:
    """Types of the outputs of a node on float inputs a, b, ..., then constants."""
    names = [chr(ord("a") + i) for i in range(len(shapes))]
    types = {name: TensorType(dtype, shape) for name, shape in zip(names, shapes, strict=True)}
    for name, value in (values or {}).items():
        types[name] = TensorType(DType.from_numpy(value.dtype), value.shape)
    made = tuple(f"y{i}" for i in range(outputs))
    node = Node(op, (*names, *(values or {})), made, attrs, "n", domain, version)
    found = infer_node(node, types, values or {}, version)
    return [found.get(name) for name in made]


def test_static() -> None:
    assert infer("MatMul", (2, 3), (3, 4)) == [TensorType(FLOAT, (2, 4))]
    assert infer("Conv", (1, 3, 8, 8), (6, 3, 3, 3), strides=(2, 2)) == [
        TensorType(FLOAT, (1, 6, 3, 3))
    ]
    assert infer("Split", (6, 2), outputs=3, axis=0) == [TensorType(FLOAT, (2, 2))] * 3
    assert infer("Equal", (2, 1), (1, 3)) == [TensorType(DType.BOOL, (2, 3))]


def test_values_of_constants() -> None:
    shape = {"s": np.array([3, -1])}
    assert infer("Reshape", (2, 6), values=shape) == [TensorType(FLOAT, (3, 4))]
    limits = {"s": np.array([1]), "e": np.array([9]), "x": np.array([0]), "t": np.array([2])}
    assert infer("Slice", (8, 2), values=limits) == [TensorType(FLOAT, (4, 2))]
    assert infer("Expand", (1, 2), values={"s": np.array([5, 1])}) == [TensorType(FLOAT, (5, 2))]


def test_symbols_stay() -> None:
    assert infer("Relu", ("batch", 3)) == [TensorType(FLOAT, ("batch", 3))]
    assert infer("Relu", None) == [TensorType(FLOAT, None)]


def test_unknown_is_no_error() -> None:
    assert infer("BiasGelu", (2, 3), (3,), domain="com.microsoft") == [None]
    assert infer("Anything", (2, 3), domain="my.own") == [None]
    assert infer("SimplifiedLayerNormalization", (2, 3), (3,)) == [None]
    assert infer("Add", (2,), (2,), dtype=DType.OTHER) == [TensorType(DType.OTHER, None)]


def test_other_opsets() -> None:
    assert infer("Squeeze", (2, 1), axes=(1,), version=11) == [TensorType(FLOAT, (2,))]
    assert infer("Squeeze", (2, 1), values={"s": np.array([1])}, version=13) == [
        TensorType(FLOAT, (2,))
    ]


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "words"),
    [
        ("MatMul", ((2, 3), (4, 5)), {}, "ncompatible dimensions"),
        ("Add", ((2, 3), (4, 5)), {}, "ncompatible dimensions"),
        ("Conv", ((1, 3, 2, 2), (6, 3, 3, 3)), {}, "kernel larger than input"),
        ("Concat", ((1 << 40,), (1 << 40,)), {"axis": 0}, "budget 16 GiB"),
        ("Einsum", ((2, 2),), {"equation": "(((("}, "not an equation"),
        ("LayerNormalization", ((2, 2), (2,)), {"axis": 1 << 31}, "out of range"),
    ],
)
def test_refused(op: str, shapes: tuple[Shape, ...], attrs: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        infer(op, *shapes, **attrs)
    assert caught.value.node == "n"
    assert caught.value.op is not None
    assert op in caught.value.op


def test_rules_see_bound_shapes() -> None:
    with pytest.raises(ModelError, match="cannot reshape"):
        infer("Reshape", (2, 6), values={"s": np.array([5, -1])})
    with pytest.raises(ModelError, match="more than the 3"):
        infer("TopK", (3,), values={"k": np.array([4])}, outputs=2)


def test_types_that_do_not_fit_are_refused_only_when_certain() -> None:
    node = Node("Add", ("a", "b"), ("y",), {}, "n", "", 17)
    types = {"a": TensorType(FLOAT, (2,)), "b": TensorType(DType.OTHER, None)}
    assert infer_node(node, types, {}, 17).get("y") in (None, TensorType(FLOAT, None))
