"""Rules for products and normalizations: operands whose sizes agree."""

from __future__ import annotations

from colonnade.onnx.node_view import KnownShape, NodeView


def check_gemm(view: NodeView) -> None:
    """Gemm: two matrices with one inner size, and a C that fits their product."""
    a, b = view.shape(0), view.shape(1)
    for index, shape in ((0, a), (1, b)):
        if shape is not None and len(shape) != 2:
            raise view.error(f"input {index} has {len(shape)} dimensions, expected 2")
    if a is None or b is None:
        return
    rows, inner = a[::-1] if view.int_attribute("transA", 0) else a
    inner_b, columns = b[::-1] if view.int_attribute("transB", 0) else b
    if None not in (inner, inner_b) and inner != inner_b:
        raise view.error(f"inner sizes {inner} and {inner_b} differ")
    _check_fits(view, 2, (rows, columns))


def check_channels(view: NodeView) -> None:
    """BatchNormalization, InstanceNormalization: one number for every channel."""
    if view.int_attribute("spatial", 1) == 0:
        return  # before opset 9: one number for every element
    data = view.shape(0)
    channels = data[1] if data is not None and len(data) > 1 else None
    for index in range(1, len(view.node.input)):
        shape = view.shape(index)
        if shape is None:
            continue
        if len(shape) != 1:
            raise view.error(f"input {index} has {len(shape)} dimensions, expected 1")
        if None not in (shape[0], channels) and shape[0] != channels:
            raise view.error(f"input {index} has {shape[0]} numbers for {channels} channels")


def check_layer_norm(view: NodeView) -> None:
    """LayerNormalization, RMSNormalization: a scale and bias that fit the normalized axes."""
    data = view.shape(0)
    if data is None:
        return
    if not data:
        raise view.error("a scalar has no axis")
    normalized = data[view.int_attribute("axis", -1) % len(data) :]
    for index in (1, 2):
        _check_fits(view, index, normalized)


def check_bias(view: NodeView, index: int, features: int) -> None:
    """The bias of a convolution: one number for every feature."""
    shape = view.shape(index)
    if shape is not None and (len(shape) != 1 or shape[0] not in (None, features)):
        raise view.error(f"bias of shape {list(shape)} for {features} features")


def _check_fits(view: NodeView, index: int, wanted: KnownShape) -> None:
    """The input must broadcast to `wanted` without widening it."""
    given = view.shape(index)
    if given is None:
        return
    pairs = zip(reversed(given), reversed(wanted), strict=False)
    widens = any(a not in (None, 1) and b is not None and a != b for a, b in pairs)
    if len(given) > len(wanted) or widens:
        text = [dim if dim is not None else "?" for dim in wanted]
        raise view.error(f"input {index} has shape {list(given)}, which does not fit {text}")
