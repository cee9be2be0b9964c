"""The numpy reference against ONNX Runtime, where the ONNX suite has no case.

The suite shows operators in their newest form; models come in older ones, with attributes where
there are inputs now, and with combinations of padding, strides and modes that it does not try.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import helper

from colonnade.ir import AttrValue, Node
from colonnade.reference import evaluate
from tolerance import tolerance

onnxruntime = pytest.importorskip("onnxruntime")

SUM_TERMS = 256
"""The longest sum of products among the cases."""

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One node: its inputs (None where absent), attributes, number of outputs."""

    op: str
    opset: int
    inputs: tuple[np.ndarray | None, ...]
    attrs: dict[str, AttrValue]
    num_outputs: int = 1

    def __str__(self) -> str:
        attrs = ",".join(f"{name}={value}" for name, value in self.attrs.items())
        shapes = ["-" if x is None else str(list(x.shape)) for x in self.inputs]
        return f"{self.op}-{self.opset}({'x'.join(shapes)};{attrs})".replace(" ", "")


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def real(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def bytes_of(*shape: int) -> np.ndarray:
    return np.clip(np.abs(floats(*shape)) * 60, 0, 255).astype(np.uint8)


X = floats(2, 3, 4, 5)
WHOLE = np.round(X * 10).astype(np.int32)
DIVISORS = np.where(WHOLE == 0, 3, WHOLE[::-1] % 7 - 9).astype(np.int32)


def shape_cases() -> Iterator[Case]:
    yield Case("Squeeze", 7, (floats(1, 3, 1),), {"axes": (0,)})
    yield Case("Squeeze", 13, (floats(1, 3, 1),), {})
    yield Case("Unsqueeze", 7, (X,), {"axes": (0, 3)})
    yield Case("Unsqueeze", 13, (X, ints(-1, 0)), {})
    yield Case("Reshape", 7, (X, ints(0, -1, 5)), {})
    yield Case("Flatten", 9, (X,), {"axis": 2})
    yield Case("Flatten", 11, (X,), {"axis": -1})
    yield Case("Split", 11, (X,), {"axis": 3, "split": (2, 3)}, 2)
    yield Case("Split", 7, (X,), {"axis": 2}, 2)
    yield Case("Split", 13, (X, ints(1, 4)), {"axis": -1}, 2)
    yield Case("Split", 18, (floats(7, 2),), {"num_outputs": 3}, 3)
    yield Case("Slice", 7, (X,), {"starts": (1, -3), "ends": (100, -1), "axes": (2, 3)})
    yield Case("Slice", 9, (X,), {"starts": (1,), "ends": (2,)})
    yield Case("Slice", 13, (X, ints(-1, 3), ints(-100, 0), ints(3, 2), ints(-2, -1)), {})
    yield Case("Slice", 11, (X, ints(10), ints(-10), ints(1), ints(-1)), {})
    yield Case("Slice", 11, (X, ints(-100), ints(3), ints(1), ints(2)), {})
    yield Case("Slice", 11, (floats(3), ints(5), ints(-5), ints(0), ints(-1)), {})
    widths = (0, 0, 1, 2, 0, 0, 3, 1)
    yield Case("Pad", 7, (X,), {"pads": widths, "value": 2.0, "mode": "constant"})
    yield Case("Pad", 10, (X,), {"pads": widths, "mode": "reflect"})
    yield Case("Pad", 10, (X,), {"pads": (0, 0, 1, 2, 0, 0, -1, 1), "mode": "edge"})
    yield Case("Pad", 13, (X, ints(0, 0, 1, -2, 0, 0, 3, 1), scalar(1.5)), {})
    yield Case("Pad", 18, (X, ints(1, 2, 3, 1), None, ints(2, -1)), {})
    yield Case("Pad", 19, (X, ints(0, 0, 2, 7, 0, 0, 3, 3)), {"mode": "wrap"})
    yield Case("Dropout", 7, (X,), {}, 2)
    yield Case("Dropout", 10, (X,), {}, 2)
    yield Case("Dropout", 12, (X,), {}, 2)
    yield Case("DepthToSpace", 11, (floats(2, 8, 3, 4),), {"blocksize": 2, "mode": "CRD"})
    yield Case("SpaceToDepth", 13, (floats(2, 3, 4, 6),), {"blocksize": 2})
    yield Case("Expand", 13, (floats(3, 1), ints(2, 1, 4)), {})
    yield Case("Trilu", 14, (floats(4, 5), ints(1)), {"upper": 0})
    yield Case("ReverseSequence", 10, (floats(4, 3, 2), ints(1, 4, 2)), {})


def arithmetic_cases() -> Iterator[Case]:
    yield Case("Clip", 7, (X,), {"min": -0.5, "max": 0.5})
    yield Case("Clip", 10, (X,), {"max": 0.5})
    yield Case("Clip", 11, (X, scalar(0), None), {})
    yield Case("Clip", 13, (X, scalar(1), scalar(-1)), {})
    yield Case("Div", 14, (WHOLE, DIVISORS), {})
    yield Case("Mod", 13, (WHOLE, DIVISORS), {})
    yield Case("Mod", 13, (WHOLE, DIVISORS), {"fmod": 1})
    yield Case("Mod", 13, (X, floats(4, 5)), {"fmod": 1})
    yield Case("Pow", 13, (WHOLE, np.abs(DIVISORS) % 4), {})
    yield Case("Pow", 13, (np.abs(X), floats(5)), {})
    yield Case("Pow", 13, (X, np.abs(DIVISORS) % 3), {})
    yield Case("PRelu", 9, (X, floats(3, 1, 1)), {})
    yield Case("Max", 13, (floats(3, 1), floats(4), floats(1)), {})
    yield Case("Mean", 13, (floats(3, 1), floats(4)), {})
    yield Case("Gelu", 20, (X * 4,), {})
    yield Case("Gelu", 20, (X * 4,), {"approximate": "tanh"})
    yield Case("Celu", 12, (X,), {"alpha": 0.7})
    yield Case("Elu", 7, (X * 4,), {"alpha": 0.3})
    yield Case("Softplus", 7, (X * 90,), {})
    yield Case("Shrink", 9, (X,), {"lambd": 0.3, "bias": 0.1})
    yield Case("Range", 11, (scalar(1), scalar(4), scalar(0.3)), {})
    yield Case("Gemm", 7, (floats(3, 4), floats(4, 5), floats(5)), {"alpha": 0.5, "beta": 2.0})
    yield Case("Gemm", 11, (floats(4, 3), floats(5, 4)), {"transA": 1, "transB": 1})
    yield Case("Gemm", 9, (floats(3, 4), floats(4, 5), floats(3, 1)), {})
    for a, b in (((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,))):
        yield Case("MatMul", 9, (floats(*a), floats(*b)), {})
    yield Case("Einsum", 12, (floats(2, 3, 4), floats(4, 5)), {"equation": "...j,jk->...k"})
    yield Case("DFT", 17, (floats(2, 10, 1),), {"onesided": 1})
    yield Case("DFT", 17, (floats(2, 10, 2),), {"inverse": 1})


def norm_cases() -> Iterator[Case]:
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        yield Case(op, 7, (X,), {})
        for axis in (0, 2, -1):
            yield Case(op, 11, (X,), {"axis": axis})
            yield Case(op, 13, (X,), {"axis": axis})
    statistics = (floats(3), floats(3), floats(3), np.abs(floats(3)))
    for opset in (7, 9, 15):
        yield Case("BatchNormalization", opset, (X, *statistics), {"epsilon": 0.1})
    grouped = floats(2, 6, 4)
    yield Case("GroupNormalization", 18, (grouped, floats(3), floats(3)), {"num_groups": 3})
    yield Case("GroupNormalization", 21, (grouped, floats(6), floats(6)), {"num_groups": 3})
    yield Case("InstanceNormalization", 7, (X, floats(3), floats(3)), {})
    yield Case("LayerNormalization", 17, (X, floats(4, 5)), {"axis": 2})
    yield Case("LpNormalization", 7, (X,), {"axis": 1, "p": 1})
    yield Case("LRN", 13, (X,), {"size": 3})


def reduce_cases() -> Iterator[Case]:
    names = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare")
    for op in (f"Reduce{name}" for name in names):
        yield Case(op, 7, (X,), {"axes": (1, 3), "keepdims": 0})
        yield Case(op, 11, (X,), {"axes": (-1,)})
        yield Case(op, 11, (X,), {})
        newest = 13 if op == "ReduceSum" else 18
        yield Case(op, newest, (X, ints(1, 2)), {"keepdims": 0})
        yield Case(op, newest, (X,), {"noop_with_empty_axes": 1})
    yield Case("ReduceMean", 13, (WHOLE,), {"axes": (1,)})
    yield Case("ReduceMax", 13, (WHOLE,), {"axes": (1,)})
    yield Case("ReduceSum", 13, (WHOLE.astype(np.int64), ints(0)), {})
    yield Case("CumSum", 14, (X, np.array(2)), {"exclusive": 1, "reverse": 1})
    yield Case("ArgMax", 12, (np.round(X),), {"axis": 2, "select_last_index": 1})
    yield Case("ArgMin", 11, (np.round(X),), {"axis": -1, "keepdims": 0})


def window_cases() -> Iterator[Case]:
    image, kernel = floats(2, 4, 9, 11), {"kernel_shape": (3, 2)}
    paddings: tuple[dict[str, AttrValue], ...] = (
        {},
        {"pads": (1, 0, 1, 1)},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
    )
    for strides in ((1, 1), (2, 3)):
        for padding in paddings:
            attrs: dict[str, AttrValue] = {**kernel, "strides": strides, **padding}
            weights = floats(6, 2, 3, 2)
            yield Case("Conv", 11, (image, weights, floats(6)), {**attrs, "group": 2})
            yield Case("MaxPool", 12, (image,), attrs, 2)
            yield Case("MaxPool", 12, (image,), {**attrs, "ceil_mode": 1})
            yield Case("LpPool", 11, (image,), attrs)
            for counted in (0, 1):
                pool: dict[str, AttrValue] = {**attrs, "count_include_pad": counted}
                yield Case("AveragePool", 11, (image,), pool)
                yield Case("AveragePool", 19, (image,), {**pool, "ceil_mode": 1})
    dilated: dict[str, AttrValue] = {"dilations": (2, 1), "pads": (1, 1, 1, 1)}
    yield Case("Conv", 11, (image, floats(5, 4, 3, 2)), dilated)
    yield Case("MaxPool", 12, (image,), {**kernel, **dilated}, 2)
    yield Case("MaxPool", 12, (image,), {**kernel, "strides": (2, 2), "storage_order": 1}, 2)
    yield Case("Conv", 11, (floats(2, 4, 9), floats(4, 1, 3)), {"group": 4, "pads": (1, 1)})
    yield Case("Conv", 11, (floats(1, 2, 5, 6, 7), floats(3, 2, 2, 3, 2)), {"strides": (1, 2, 1)})
    line: dict[str, AttrValue] = {"kernel_shape": (3,), "dilations": (2,), "pads": (1, 1)}
    yield Case("AveragePool", 19, (floats(1, 2, 10),), line)
    yield Case("GlobalLpPool", 7, (X,), {"p": 3})
    transposed: tuple[dict[str, AttrValue], ...] = (
        {},
        {"pads": (1, 0, 1, 1)},
        {"output_padding": (1, 1), "strides": (2, 2)},
        {"auto_pad": "SAME_UPPER", "strides": (2, 2)},
        {"output_shape": (10, 12), "strides": (2, 2)},
        {"output_shape": (10, 12), "strides": (2, 2), "auto_pad": "SAME_UPPER"},
        {"dilations": (2, 1), "strides": (3, 2), "group": 2},
    )
    for attrs in transposed:
        channels = 3 * (2 if "group" in attrs else 1)
        inputs = (floats(2, 4, 5, 6), floats(4, 3, 3, 2), floats(channels))
        yield Case("ConvTranspose", 11, inputs, attrs)
    boxes = np.sort(np.abs(floats(4, 2, 2)) * 3, axis=1).reshape(4, 4)
    regions = (floats(2, 3, 8, 8), boxes, ints(0, 1, 1, 0))
    for mode in ("avg", "max"):
        size: dict[str, AttrValue] = {"output_height": 3, "output_width": 2, "mode": mode}
        yield Case("RoiAlign", 10, regions, {**size, "sampling_ratio": 2, "spatial_scale": 0.7})
        yield Case("RoiAlign", 16, regions, size)


def resize_cases() -> Iterator[Case]:
    scales = {"mode": "nearest", "scales": (1.0, 1.0, 2.0, 3.0)}
    yield Case("Upsample", 7, (X,), scales)
    yield Case("Upsample", 9, (X, real(1, 1, 2, 1.5)), {"mode": "nearest"})
    yield Case("Upsample", 9, (X, real(1, 1, 2, 2)), {"mode": "linear"})
    for factors in ((1, 1, 2.5, 0.6), (1, 1, 0.5, 0.6)):
        for mode in ("nearest", "linear"):
            yield Case("Resize", 10, (X, real(*factors)), {"mode": mode})
    for mode in ("nearest", "linear", "cubic"):
        for transform in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
            for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
                attrs: dict[str, AttrValue] = {
                    "mode": mode,
                    "coordinate_transformation_mode": transform,
                    "nearest_mode": rounding,
                }
                if mode == "nearest" or rounding == "floor":
                    yield Case("Resize", 13, (X, None, real(1, 1, 1.7, 0.63)), attrs)
                    yield Case("Resize", 13, (X, None, None, ints(2, 3, 9, 3)), attrs)
    some_axes: dict[str, AttrValue] = {"axes": (2, 3)}
    for mode in ("linear", "cubic"):
        attrs = {"mode": mode, "antialias": 1, **some_axes}
        yield Case("Resize", 18, (X, None, real(1.7, 0.63)), attrs)
        yield Case("Resize", 18, (X, None, real(0.7, 0.43)), attrs)
    for policy in ("not_larger", "not_smaller"):
        attrs = {"mode": "linear", "keep_aspect_ratio_policy": policy, **some_axes}
        yield Case("Resize", 18, (X, None, None, ints(7, 7)), attrs)
    yield Case(
        "Resize", 13, (X, None, real(1, 1, 0.8, 0.8)), {"mode": "cubic", "exclude_outside": 1}
    )
    crop: dict[str, AttrValue] = {
        "mode": "linear",
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.0,
    }
    region = real(0, 0, 0.4, 0.6, 1, 1, 0.6, 1.2)
    yield Case("Resize", 13, (X, region, None, ints(2, 3, 3, 3)), crop)
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                attrs = {"mode": mode, "padding_mode": padding, "align_corners": corners}
                yield Case("GridSample", 16, (X, floats(2, 6, 7, 2)), attrs)


def rnn_cases() -> Iterator[Case]:
    hidden, features = 4, 3
    for direction in ("forward", "reverse", "bidirectional"):
        count = 2 if direction == "bidirectional" else 1
        base: dict[str, AttrValue] = {"direction": direction, "hidden_size": hidden}
        for op, gates, states in (("RNN", 1, 1), ("GRU", 3, 1), ("LSTM", 4, 2)):
            weights = (
                floats(5, 2, features),
                floats(count, gates * hidden, features),
                floats(count, gates * hidden, hidden),
                floats(count, 2 * gates * hidden),
            )
            starts = [floats(count, 2, hidden) for _ in range(states)]
            peepholes = [floats(count, 3 * hidden)] if op == "LSTM" else []
            ragged = (*weights, np.array([5, 3], np.int32), *starts, *peepholes)
            yield Case(op, 7, ragged, base, 1 + states)
            yield Case(op, 14, weights, {**base, "clip": 0.4}, 1 + states)
            extra = {"GRU": "linear_before_reset", "LSTM": "input_forget"}.get(op)
            if extra:
                yield Case(op, 7, ragged, {**base, extra: 1}, 1 + states)


def index_cases() -> Iterator[Case]:
    yield Case("TopK", 7, (X,), {"k": 2, "axis": 1}, 2)
    yield Case("TopK", 10, (X, ints(2)), {}, 2)
    yield Case("TopK", 11, (np.round(X), ints(3)), {"largest": 0}, 2)
    yield Case("TopK", 11, (np.round(X), ints(3)), {"axis": 2}, 2)
    yield Case("Gather", 13, (X, ints(-1, 2, 0)), {"axis": 1})
    places = RNG.integers(-4, 4, (2, 3, 2, 5))
    yield Case("GatherElements", 13, (X, places), {"axis": 2})
    yield Case("GatherND", 13, (X, RNG.integers(0, 2, (2, 3, 2))), {"batch_dims": 2})
    yield Case("GatherND", 12, (X, ints(1, 2).reshape(2, 1)), {"batch_dims": 1})
    row = ints(1, 0).reshape(1, 2)
    yield Case("Scatter", 9, (floats(3, 4), row, floats(1, 2)), {})
    yield Case("ScatterElements", 16, (floats(3, 4), row, floats(1, 2)), {"reduction": "add"})
    yield Case("ScatterND", 16, (floats(3, 4), row.T, floats(2, 4)), {"reduction": "mul"})
    yield Case("OneHot", 11, (ints(0, -1, 5, 2), ints(3), real(-1, 7)), {"axis": 0})
    yield Case("OneHot", 11, (ints(0, -1, 5, 2).reshape(2, 2), ints(3), real(-1, 7)), {"axis": 1})
    yield Case("Unique", 11, (np.round(floats(9) * 2),), {"sorted": 0}, 4)
    yield Case("Unique", 11, (np.round(floats(6, 2)),), {"axis": 0}, 4)
    yield Case("Compress", 11, (X, np.array([True, False, True])), {"axis": 1})
    boxes, scores = np.abs(floats(2, 20, 4)), np.abs(floats(2, 3, 20))
    yield Case("NonMaxSuppression", 11, (boxes, scores, ints(5), real(0.3), real(0.2)), {})
    centred: dict[str, AttrValue] = {"center_point_box": 1}
    yield Case("NonMaxSuppression", 11, (boxes, scores, ints(5), real(0.3)), centred)


def quantize_cases() -> Iterator[Case]:
    zeros = np.array([1, 2, -3], np.int8)
    yield Case("QuantizeLinear", 13, (X * 20, scalar(0.13), np.array(120, np.uint8)), {})
    yield Case("QuantizeLinear", 13, (X * 20, real(0.13, 0.2, 0.4), zeros), {})
    quantized = (X * 20).astype(np.int8)
    yield Case("DequantizeLinear", 13, (quantized, real(0.13, 0.2, 0.4), zeros), {})
    yield Case("DequantizeLinear", 13, (WHOLE, scalar(0.1)), {})
    yield Case("DynamicQuantizeLinear", 11, (X,), {}, 3)
    a, b = bytes_of(2, 3, 4), bytes_of(4, 5)
    yield Case("MatMulInteger", 10, (a, b, np.uint8(3)[None], bytes_of(5)), {})
    image, filters = bytes_of(1, 2, 5, 5), bytes_of(3, 2, 3, 3)
    padded: dict[str, AttrValue] = {"pads": (1, 1, 1, 1)}
    yield Case("ConvInteger", 10, (image, filters, np.array(9, np.uint8)), padded)
    left = (bytes_of(3, 4), scalar(0.1), np.array(3, np.uint8))
    right = (b, scalar(0.2), np.array(9, np.uint8))
    made = (scalar(2.9), np.array(30, np.uint8))
    yield Case("QLinearMatMul", 10, (*left, *right, *made), {})
    per_filter = (filters, real(0.2, 0.1, 0.3), np.array([9, 9, 9], np.uint8))
    bias = np.array([1, 20, 300], np.int32)
    yield Case("QLinearConv", 10, (image, *left[1:], *per_filter, *made, bias), padded)


CASES = [
    *shape_cases(),
    *arithmetic_cases(),
    *norm_cases(),
    *reduce_cases(),
    *window_cases(),
    *resize_cases(),
    *rnn_cases(),
    *index_cases(),
    *quantize_cases(),
]


def run_peer(case: Case, names: tuple[str, ...], outputs: tuple[str, ...]) -> list[np.ndarray]:
    node = helper.make_node(case.op, names, outputs, **case.attrs)
    feeds = {name: x for name, x in zip(names, case.inputs, strict=True) if x is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in feeds.items()
    ]
    graph = helper.make_graph(
        [node], case.op, inputs, [onnx.ValueInfoProto(name=name) for name in outputs]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    names = tuple(f"i{i}" if x is not None else "" for i, x in enumerate(case.inputs))
    outputs = tuple(f"o{i}" for i in range(case.num_outputs))
    expected = run_peer(case, names, outputs)
    node = Node(case.op, names, outputs, case.attrs, version=case.opset)
    for mine, theirs in zip(evaluate(node, case.inputs), expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        bound = 0.0
        if theirs.dtype.kind == "f":
            bound = tolerance(SUM_TERMS, float(np.abs(theirs).max(initial=0)), 1.0)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound)
