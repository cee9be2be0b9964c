"""Rules for quantization: constant scales and zero points that can be divided by."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from colonnade.onnx.node_view import NodeView
from colonnade.onnx.tensors import type_name

_OUTPUT_SCALE_INPUT = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6}
_QUANTIZED_TYPES = frozenset(
    name
    for name in TensorProto.DataType.keys()  # noqa: SIM118  # an enum wrapper, not a dict
    if name.startswith(("INT", "UINT", "FLOAT8", "FLOAT4"))
    and name not in ("INT64", "UINT64", "UINT32")
)


def check_quantize(view: NodeView) -> None:
    """QuantizeLinear and the integer products: what they divide by, and its zero point."""
    index = _OUTPUT_SCALE_INPUT[view.op]
    _check_scale(view, index)
    _check_zero_point(view, index, index + 1)


def check_dequantize(view: NodeView) -> None:
    """DequantizeLinear: a zero point of the input's type and the scale's shape."""
    _check_zero_point(view, 1, 2)
    data, zero_point = view.known(0), view.known(2)
    types = [known.elem_type for known in (data, zero_point) if known and known.elem_type]
    if len(set(types)) > 1:
        raise view.error(
            f"zero point of type {type_name(types[1])}, input of {type_name(types[0])}"
        )


def _check_scale(view: NodeView, index: int) -> None:
    scale = view.constant(index)
    if scale is None or scale.dtype.kind != "f" or scale.dtype.name.startswith("float8"):
        return
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        value = scale[bad].reshape(-1)[0]
        raise view.error(f"scale {value}; it must be positive and finite")


def _check_zero_point(view: NodeView, scale_index: int, index: int) -> None:
    zero_point, scale = view.known(index), view.known(scale_index)
    if zero_point is None:
        return
    name = type_name(zero_point.elem_type)
    if zero_point.elem_type and name.upper() not in _QUANTIZED_TYPES:
        raise view.error(f"zero point of type {name}, which is not a quantized type")
    wanted = view.int_attribute("output_dtype", 0)
    if wanted and zero_point.elem_type and wanted != zero_point.elem_type:
        raise view.error(f"differs from the zero point's type {name}", "output_dtype")
    if zero_point.shape is None or scale is None or scale.shape is None:
        return
    if None in zero_point.shape or None in scale.shape:
        return
    shapes = [shape if shape != (1,) else () for shape in (zero_point.shape, scale.shape)]
    if shapes[0] != shapes[1]:
        raise view.error(
            f"zero point of shape {list(zero_point.shape)}, scale of shape {list(scale.shape)}"
        )
