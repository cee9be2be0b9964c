"""Rules for convolutions and pools: windows that can be laid over their input."""

from __future__ import annotations

from colonnade.onnx.node_view import MAX_SIZE_ATTRIBUTE, KnownShape, NodeView
from colonnade.onnx.rules_algebra import check_bias

_WEIGHT_INPUT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "DeformConv": 1}
_BIAS_INPUT = {"Conv": 2, "QLinearConv": 8, "DeformConv": 3}


def check_conv(view: NodeView) -> None:
    """Convolutions: window, groups and channels."""
    index = _WEIGHT_INPUT[view.op]
    weight = view.shape(index)
    _check_window(view, weight)
    group = _check_group(view)
    if weight is None or None in weight:
        return
    features, depth = int(weight[0] or 0), int(weight[1] or 0)
    if features % group:
        raise view.error(f"group={group} does not divide the {features} features", "group")
    if view.op in _BIAS_INPUT:
        check_bias(view, _BIAS_INPUT[view.op], features)
    data = view.shape(0)
    if data is None:
        return
    _check_rank(view, data, weight)
    if data[1] is not None and data[1] != depth * group:
        raise view.error(
            f"the input has {data[1]} channels, weights of shape {list(weight)} with group={group} "
            f"need {depth * group}",
            "group",
        )
    if view.op != "DeformConv":
        _check_output(view, data, features, [int(dim or 0) for dim in weight[2:]])


def check_conv_transpose(view: NodeView) -> None:
    """Transposed convolutions: window, groups and channels."""
    weight = view.shape(1)
    _check_window(view, weight)
    group = _check_group(view)
    _check_range(view, "output_padding", 0)
    _check_range(view, "output_shape", 0)
    data = view.shape(0)
    if weight is None or weight[0] is None:
        return
    if weight[0] % group:
        raise view.error(f"group={group} does not divide the {weight[0]} channels", "group")
    if weight[1] is not None:
        check_bias(view, 2, weight[1] * group)
    if data is not None:
        _check_rank(view, data, weight)
        if data[1] is not None and data[1] != weight[0]:
            raise view.error(f"the input has {data[1]} channels, the weights need {weight[0]}")
    output_shape = view.ints_attribute("output_shape") or ()
    view.check_size(output_shape, view.itemsize(0))


def check_pool(view: NodeView) -> None:
    """Pools: the window, and that padding does not fill one."""
    _check_window(view, None)
    kernel = view.ints_attribute("kernel_shape")
    if not kernel:
        return
    pads = view.ints_attribute("pads")
    for i, pad in enumerate(pads or ()):
        if pad >= kernel[i % len(kernel)]:
            raise view.error(f"pads {list(pads or ())} reach past kernel {list(kernel)}", "pads")
    data = view.shape(0)
    if data is None:
        return
    if len(data) != len(kernel) + 2:
        raise view.error(f"kernel {list(kernel)} does not fit input of {len(data)} dimensions")
    if view.int_attribute("ceil_mode", 0) == 0:
        _check_output(view, data, data[1] or 1, list(kernel))


def check_unpool(view: NodeView) -> None:
    """MaxUnpool: the window; the output's size where that is constant."""
    _check_window(view, None)
    view.check_size(view.int_constant(2) or (), view.itemsize(0))


def check_roi(view: NodeView) -> None:
    """RoiAlign and MaxRoiPool: the size of a region's output."""
    pooled = view.ints_attribute("pooled_shape")
    if pooled is None:
        pooled = (view.int_attribute("output_height", 1), view.int_attribute("output_width", 1))
    if any(not 1 <= size <= MAX_SIZE_ATTRIBUTE for size in pooled):
        raise view.error(f"output of {list(pooled)}, expected sizes of at least 1")
    view.check_size(pooled, view.itemsize(0))
    if view.int_attribute("sampling_ratio", 0) not in range(1 << 16):
        raise view.error("expected 0 to 65535", "sampling_ratio")


def check_col2im(view: NodeView) -> None:
    """Col2Im: the window, and the image's size."""
    for name in ("strides", "dilations"):
        _check_range(view, name, 1)
    _check_range(view, "pads", 0)
    for index in (1, 2):
        if any(size < 1 for size in view.int_constant(index) or ()):
            raise view.error(f"input {index} must hold sizes of at least 1")
    view.check_size(view.int_constant(1) or (), view.itemsize(0))


def _check_window(view: NodeView, weight: KnownShape | None) -> None:
    """Attributes in range, of one length, and equal to the weights' shape."""
    for name, low in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 0)):
        _check_range(view, name, low)
    auto_pad = view.text_attribute("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise view.error(f"unknown value {auto_pad[:40]!r}", "auto_pad")
    kernel = view.ints_attribute("kernel_shape")
    if weight is not None:
        if len(weight) < 3:
            raise view.error(f"weights of {len(weight)} dimensions, expected at least 3")
        if kernel is not None and any(
            dim is not None and dim != k for dim, k in zip(weight[2:], kernel, strict=False)
        ):
            raise view.error(f"{list(kernel)}, but weights of shape {list(weight)}", "kernel_shape")
    rank = len(weight) - 2 if weight is not None else len(kernel) if kernel is not None else None
    if rank is None:
        return
    for name, count in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 2)):
        values = view.ints_attribute(name)
        if values is not None and len(values) != count * rank:
            raise view.error(f"{len(values)} values, expected {count * rank}", name)


def _check_range(view: NodeView, name: str, low: int) -> None:
    for value in view.ints_attribute(name) or ():
        if not low <= value <= MAX_SIZE_ATTRIBUTE:
            raise view.error(f"{value} is out of range, expected {low} to 2^31 - 1", name)


def _check_group(view: NodeView) -> int:
    for name in ("group", "offset_group"):
        value = view.int_attribute(name, 1)
        if not 1 <= value <= MAX_SIZE_ATTRIBUTE:
            raise view.error(f"{value} is out of range, expected 1 to 2^31 - 1", name)
    return view.int_attribute("group", 1)


def _check_rank(view: NodeView, data: KnownShape, weight: KnownShape) -> None:
    if len(data) != len(weight):
        raise view.error(
            f"input of {len(data)} dimensions, weights of {len(weight)}; expected the same number"
        )


def _check_output(view: NodeView, data: KnownShape, features: int, kernel: list[int]) -> None:
    """The kernel must fit into the padded input, and the output into the budget."""
    rank = len(kernel)
    strides = view.ints_attribute("strides") or (1,) * rank
    dilations = view.ints_attribute("dilations") or (1,) * rank
    auto_pad = view.text_attribute("auto_pad", "NOTSET")
    is_same = auto_pad.startswith("SAME")
    pads = view.ints_attribute("pads") if auto_pad == "NOTSET" else None
    pads = pads or (0,) * (2 * rank)
    sizes = []
    for i in range(rank):
        extent = (kernel[i] - 1) * dilations[i] + 1
        size = data[i + 2]
        if size is None or size == 0 or is_same:
            sizes.append(-(-(size or 1) // strides[i]) if is_same else 1)
            continue
        room = size + pads[i] + pads[i + rank] - extent
        if room < 0:
            raise view.error(
                f"kernel larger than input: it spans {extent}, the padded input has "
                f"{size + pads[i] + pads[i + rank]} in spatial dimension {i}",
                "kernel_shape",
            )
        sizes.append(room // strides[i] + 1)
    batch = 1 if data[0] is None else data[0]
    view.check_size((batch, features, *sizes), view.itemsize(0))
