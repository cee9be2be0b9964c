"""Which rule judges which operator of the ONNX domain; the rules are in rules_*.py."""

from __future__ import annotations

import math
from collections.abc import Callable

from colonnade.onnx import (
    rules_algebra,
    rules_any,
    rules_index,
    rules_quantize,
    rules_sequence,
    rules_shape,
    rules_size,
    rules_window,
)
from colonnade.onnx.node_view import MAX_SIZE_ATTRIBUTE, NodeView
from colonnade.onnx.tensors import is_known_type

Rule = Callable[[NodeView], None]


def check_lrn(view: NodeView) -> None:
    """LRN: a size."""
    if not 1 <= view.int_attribute("size", 1) <= MAX_SIZE_ATTRIBUTE:
        raise view.error("expected at least 1", "size")


def check_norm_order(view: NodeView) -> None:
    """LpNormalization, GlobalLpPool: the order of a norm."""
    if view.int_attribute("p", 2) < 1:
        raise view.error("expected at least 1", "p")


def check_lp_pool(view: NodeView) -> None:
    """LpPool: the window, and the order of the norm."""
    check_norm_order(view)
    rules_window.check_pool(view)


def check_equal_shapes(view: NodeView) -> None:
    """Sum, Mean, Min, Max: before opset 8 they did not broadcast."""
    shapes = [view.shape(i) for i in range(len(view.node.input))]
    known = {shape for shape in shapes if shape is not None and None not in shape}
    if view.version < 8 and len(known) > 1:
        raise view.error(f"inputs of different shapes {sorted(map(str, known))}")


def check_clip(view: NodeView) -> None:
    """Clip: bounds of one number each."""
    for index in (1, 2):
        shape = view.shape(index)
        if shape is not None and any(dim not in (None, 1) for dim in shape):
            raise view.error(f"input {index} has shape {list(shape)}, expected a scalar")


def check_group_norm(view: NodeView) -> None:
    """GroupNormalization: groups that divide the channels."""
    groups, data = view.int_attribute("num_groups", 1), view.shape(0)
    if not 1 <= groups <= MAX_SIZE_ATTRIBUTE:
        raise view.error(f"{groups}, expected at least 1", "num_groups")
    if data is not None and len(data) > 1 and data[1] is not None and data[1] % groups:
        raise view.error(f"{groups} does not divide {data[1]} channels", "num_groups")


def check_cast(view: NodeView) -> None:
    """Operators with an element type as attribute: one that there is."""
    for name in ("to", "dtype"):
        if view.has(name) and not is_known_type(view.int_attribute(name, 1)):
            raise view.error(f"unknown element type {view.int_attribute(name, 0)}", name)


def check_random(view: NodeView) -> None:
    """Random numbers: element type, shape, and a distribution that there is."""
    check_cast(view)
    rules_size.check_shape_attribute(view)
    scale = view.float_attribute("scale", 1.0)
    if not 0 < scale < math.inf:
        raise view.error(f"{scale}, expected a positive number", "scale")
    low, high = view.float_attribute("low", 0.0), view.float_attribute("high", 1.0)
    if not -math.inf < low <= high < math.inf:
        raise view.error(f"from {low} to {high}", "high")


def check_quantized_conv(view: NodeView) -> None:
    """QLinearConv: both a convolution and a quantization."""
    rules_window.check_conv(view)
    rules_quantize.check_quantize(view)


def check_integer_conv(view: NodeView) -> None:
    """ConvInteger: a convolution, and zero points of its filters."""
    rules_window.check_conv(view)
    rules_quantize.check_conv_integer(view)


def check_rules(view: NodeView) -> None:
    """Raise ModelError for a node of the ONNX domain that no tensor could make valid."""
    rules_any.check_any(view)
    rule = _RULES.get(view.op)
    if rule is not None:
        rule(view)


_RULES: dict[str, Rule] = {
    "Einsum": rules_any.check_einsum,
    **dict.fromkeys(("Conv", "DeformConv"), rules_window.check_conv),
    "ConvInteger": check_integer_conv,
    "QLinearConv": check_quantized_conv,
    "ConvTranspose": rules_window.check_conv_transpose,
    **dict.fromkeys(("AveragePool", "MaxPool"), rules_window.check_pool),
    "LpPool": check_lp_pool,
    **dict.fromkeys(("GlobalLpPool", "LpNormalization"), check_norm_order),
    **dict.fromkeys(("Sum", "Mean", "Min", "Max"), check_equal_shapes),
    "MaxUnpool": rules_window.check_unpool,
    **dict.fromkeys(("RoiAlign", "MaxRoiPool"), rules_window.check_roi),
    "Col2Im": rules_window.check_col2im,
    "Reshape": rules_shape.check_reshape,
    "Slice": rules_shape.check_slice,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), rules_shape.check_depth_to_space),
    "Split": rules_shape.check_split,
    "Transpose": rules_shape.check_transpose,
    **dict.fromkeys(("Resize", "Upsample"), rules_shape.check_resize),
    "Pad": rules_shape.check_pad,
    "ConstantOfShape": rules_size.check_constant_of_shape,
    "Expand": rules_size.check_expand,
    "Tile": rules_size.check_tile,
    "Range": rules_size.check_range,
    "OneHot": rules_size.check_one_hot,
    "TopK": rules_size.check_top_k,
    **dict.fromkeys(
        ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"), check_random
    ),
    **dict.fromkeys(("Cast", "EyeLike", "Bernoulli"), check_cast),
    "GatherElements": rules_index.check_gather_elements,
    "GatherND": rules_index.check_gather_nd,
    "ScatterElements": rules_index.check_scatter_elements,
    "Scatter": rules_index.check_scatter_elements,
    "ScatterND": rules_index.check_scatter_nd,
    **dict.fromkeys(
        ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), rules_index.check_loss
    ),
    "TfIdfVectorizer": rules_index.check_tf_idf,
    **dict.fromkeys(("AffineGrid", "CenterCropPad"), rules_size.check_shape_input),
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), rules_size.check_length),
    "MelWeightMatrix": rules_size.check_mel_weights,
    "DFT": rules_size.check_dft,
    "Multinomial": rules_size.check_samples,
    "Loop": rules_size.check_loop,
    **dict.fromkeys(("QuantizeLinear", "QLinearMatMul"), rules_quantize.check_quantize),
    "DequantizeLinear": rules_quantize.check_dequantize,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), rules_sequence.check_recurrent),
    "Gemm": rules_algebra.check_gemm,
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), rules_algebra.check_channels),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), rules_algebra.check_layer_norm),
    **dict.fromkeys(("CumSum", "CumProd"), rules_sequence.check_cum_sum),
    "ReverseSequence": rules_sequence.check_reverse_sequence,
    "PRelu": rules_sequence.check_prelu,
    "LRN": check_lrn,
    "Clip": check_clip,
    "GroupNormalization": check_group_norm,
}
