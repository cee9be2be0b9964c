"""Rules for quantization: constant scales and zero points that can be divided by."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from colonnade.onnx.node_view import NodeView
from colonnade.onnx.tensors import type_name

_SCALE_INPUTS = {
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6),
}
_QUANTIZED_TYPES = frozenset(
    name
    for name in TensorProto.DataType.keys()  # noqa: SIM118  # an enum wrapper, not a dict
    if name.startswith(("INT", "UINT", "FLOAT8", "FLOAT4"))
    and name not in ("INT64", "UINT64", "UINT32")
)


def check_quantize(view: NodeView) -> None:
    """QuantizeLinear and the integer products: scales, and the zero point of the output."""
    for index in _SCALE_INPUTS[view.op]:
        _check_scale(view, index)
    output = _SCALE_INPUTS[view.op][-1]
    _check_zero_point(view, output, output + 1)
    if view.op == "QuantizeLinear":
        _check_axis(view)
    if view.op == "QLinearConv":
        _check_filters(view, 3, (4, 5))


def check_conv_integer(view: NodeView) -> None:
    """ConvInteger: a zero point for all filters, or one for each."""
    _check_filters(view, 1, (3,))


def check_dequantize(view: NodeView) -> None:
    """DequantizeLinear: a zero point of the input's type and the scale's shape."""
    _check_scale(view, 1)
    _check_zero_point(view, 1, 2)
    _check_axis(view)
    data, zero_point = view.known(0), view.known(2)
    types = [known.elem_type for known in (data, zero_point) if known and known.elem_type]
    if len(set(types)) > 1:
        raise view.error(
            f"zero point of type {type_name(types[1])}, input of {type_name(types[0])}"
        )


def _check_axis(view: NodeView) -> None:
    """One scale, or one for each index of the axis. With one, any axis will do."""
    data, scale = view.shape(0), view.shape(1)
    if data is None or scale is None or None in scale or all(dim == 1 for dim in scale):
        return
    if len(scale) != 1:
        if view.int_attribute("block_size", 0) == 0:
            raise view.error(f"scale of shape {list(scale)}, expected a scalar or one axis")
        return
    axis = view.int_attribute("axis", 1)
    if not -len(data) <= axis < len(data):
        raise view.error(f"{axis}, for an input of {len(data)} axes", "axis")
    if data[axis] not in (None, scale[0]):
        raise view.error(f"{scale[0]} scales for axis {axis} of an input {list(data)}")


def _check_filters(view: NodeView, weights_index: int, indices: tuple[int, ...]) -> None:
    """Parameters of a convolution's weights: one for all filters, or one for each."""
    weights = view.shape(weights_index)
    for index in indices:
        shape = view.shape(index)
        if not weights or shape is None or None in shape or all(dim == 1 for dim in shape):
            continue
        if len(shape) != 1 or weights[0] not in (None, shape[0]):
            raise view.error(
                f"input {index} of shape {list(shape)}, expected a scalar or one value for each "
                f"of {weights[0]} filters"
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
