"""Types and errors of ONNX Runtime's operators on 8 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from colonnade.errors import ModelError
from colonnade.ir import AttrValue, DType, Node, TensorType
from colonnade.onnx.contrib_types import infer_any_node

U8, FLOAT = DType.UINT8, DType.FLOAT32
SCALE, ZERO = TensorType(FLOAT, ()), TensorType(U8, ())
IMAGE = TensorType(U8, (2, 3, 8, 8))


def infer(
    op: str, inputs: tuple[TensorType | None, ...], attrs: Mapping[str, AttrValue] | None = None
) -> TensorType | None:
    names = tuple("" if known is None else f"i{i}" for i, known in enumerate(inputs))
    node = Node(op, names, ("y",), attrs or {}, "n", "com.microsoft", 1)
    types = {name: known for name, known in zip(names, inputs, strict=True) if known}
    return infer_any_node(node, types, {}, 1).get("y")


ONE = (IMAGE, SCALE, ZERO, SCALE, ZERO)
WIDE = TensorType(U8, (3, 1, 8))


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "shape"),
    [
        ("QLinearAdd", (IMAGE, SCALE, ZERO, WIDE, SCALE, ZERO, SCALE, ZERO), {}, (2, 3, 8, 8)),
        ("QLinearSigmoid", ONE, {}, (2, 3, 8, 8)),
        ("QLinearGlobalAveragePool", ONE, {"channels_last": 0}, (2, 3, 1, 1)),
        ("QLinearAveragePool", ONE, {"kernel_shape": (2, 2), "strides": (2, 2)}, (2, 3, 4, 4)),
        ("QLinearReduceMean", ONE, {"axes": (2,), "keepdims": 0}, (2, 3, 8)),
        ("QLinearConcat", (SCALE, ZERO, *ONE[:3], *ONE[:3]), {"axis": 1}, (2, 6, 8, 8)),
    ],
)
def test_shape_is_that_of_the_float_operator(
    op: str,
    inputs: tuple[TensorType, ...],
    attrs: dict[str, AttrValue],
    shape: tuple[int, ...],
) -> None:
    assert infer(op, inputs, attrs) == TensorType(U8, shape)


def test_products() -> None:
    a, b = TensorType(U8, (3, 8)), TensorType(DType.INT8, (5, 8))
    quantized = (a, SCALE, ZERO, b, SCALE, ZERO, None, SCALE, ZERO)
    assert infer("QGemm", quantized, {"transB": 1}) == TensorType(U8, (3, 5))
    assert infer("QGemm", quantized[:6], {"transB": 1}) == TensorType(FLOAT, (3, 5))
    left = TensorType(FLOAT, (2, 3, 32))
    packed = TensorType(U8, (5, 2, 8))
    attrs: dict[str, AttrValue] = {"K": 32, "N": 5, "bits": 4, "block_size": 16}
    assert infer("MatMulNBits", (left, packed, SCALE), attrs) == TensorType(FLOAT, (2, 3, 5))


def test_what_is_not_known_stays_unknown() -> None:
    assert infer("QLinearGlobalAveragePool", ONE, {"channels_last": 1}) is None
    assert infer("QLinearSigmoid", (*ONE[:4], None)) is None


@pytest.mark.parametrize("scale", [0.0, -0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("number", [1, 4, 6])
def test_scale_must_be_positive(scale: float, number: int) -> None:
    names = tuple(f"i{i}" for i in range(8))
    node = Node("QLinearAdd", names, ("y",), {}, "n", "com.microsoft", 1)
    types = dict.fromkeys((names[0], names[3]), IMAGE)
    values = {names[number]: np.array(scale, np.float32)}
    with pytest.raises(ModelError, match=r"node 'n' \(QLinearAdd\): scale .* positive"):
        infer_any_node(node, types, values, 1)
