"""Rules for operators that make something large of little: size bombs with constant parameters.

A dimension that is not known counts as 1, so that a bound holds for every non-empty input. What
becomes known later is checked again when a graph is bound to input shapes (infer.py).
"""

from __future__ import annotations

import math

import numpy as np
from onnx import GraphProto

from colonnade.onnx.node_view import NodeView, at_least
from colonnade.onnx.tensors import numpy_of

_FLOAT_BYTES = 4


def check_constant_of_shape(view: NodeView) -> None:
    """ConstantOfShape."""
    value = view.attributes.get("value")
    itemsize = _FLOAT_BYTES
    if value is not None:
        if math.prod(value.t.dims) != 1:
            raise view.error(f"{math.prod(value.t.dims)} elements, expected 1", "value")
        itemsize = numpy_of(value.t.data_type).itemsize
    _check_dims(view, view.int_constant(0), itemsize)


def check_expand(view: NodeView) -> None:
    """Expand: the input broadcast with a shape."""
    target = view.int_constant(1)
    if target is None:
        return
    data = at_least(view.shape(0) or ())
    rank = max(len(data), len(target))
    pairs = zip([1] * (rank - len(data)) + data, [1] * (rank - len(target)) + target, strict=True)
    _check_dims(view, [b if a == 1 else a if b == 1 else max(a, b) for a, b in pairs])
    _check_dims(view, target)


def check_tile(view: NodeView) -> None:
    """Tile: the input repeated."""
    repeats = view.int_constant(1)
    if repeats is None or view.version < 6:
        return
    data = view.shape(0)
    if data is not None and len(data) != len(repeats):
        raise view.error(f"{len(repeats)} repeats for input of {len(data)} dimensions")
    dims = at_least(data) if data is not None else [1] * len(repeats)
    _check_dims(view, repeats)
    _check_dims(view, [dim * repeat for dim, repeat in zip(dims, repeats, strict=True)])


def check_range(view: NodeView) -> None:
    """Range: a step that is not 0, a number of elements within the budget."""
    parts = [view.constant(index) for index in range(3)]
    if any(part is not None and part.size != 1 for part in parts):
        raise view.error("start, limit and delta must be scalars")
    start, limit, delta = (None if part is None else part.reshape(-1)[0].item() for part in parts)
    if delta is not None and (delta == 0 or not np.isfinite(delta)):
        raise view.error(f"delta {delta}; it must be finite and not 0")
    if start is None or limit is None or delta is None:
        return
    if not (np.isfinite(start) and np.isfinite(limit)):
        raise view.error(f"from {start} to {limit}; both must be finite")
    # Integers exactly: a 64-bit difference does not fit a float.
    is_int = isinstance(start, int) and isinstance(limit, int) and isinstance(delta, int)
    count = -(-(limit - start) // delta) if is_int else (limit - start) / delta
    if not np.isfinite(float(count)):
        raise view.error(f"from {start} to {limit} by {delta} has no finite length")
    view.check_size((max(int(count), 0),), view.itemsize(0))


def check_one_hot(view: NodeView) -> None:
    """OneHot: a positive depth."""
    depth = view.constant(1)
    if depth is None:
        return
    value = depth.reshape(-1)[0].item() if depth.size == 1 else None
    if value is None or not np.isfinite(value) or value < 1:
        raise view.error(f"depth {depth.tolist()!r:.60}, expected one positive number")
    view.check_size((*at_least(view.shape(0) or ()), int(value)), view.itemsize(2))


def check_top_k(view: NodeView) -> None:
    """TopK: k within the axis."""
    count = [view.int_attribute("k", 1)] if view.version < 10 else view.int_constant(1)
    if count is None:
        return
    if len(count) != 1 or count[0] < 0:
        raise view.error(f"k={count[:4]}, expected one number of at least 0")
    data, axis = view.shape(0), view.int_attribute("axis", -1)
    if data is not None and -len(data) <= axis < len(data):
        size = data[axis]
        if size is not None and count[0] > size:
            raise view.error(f"k={count[0]} is more than the {size} elements of axis {axis}")
    view.check_size(count, view.itemsize(0))


def check_shape_attribute(view: NodeView) -> None:
    """RandomNormal, RandomUniform: the shape that they are given."""
    _check_dims(view, view.ints_attribute("shape"), _FLOAT_BYTES)


def check_shape_input(view: NodeView) -> None:
    """AffineGrid, CenterCropPad: an output shape as second input."""
    _check_dims(view, view.int_constant(1))


def check_length(view: NodeView) -> None:
    """Window functions: their length."""
    _check_dims(view, view.int_constant(0), _FLOAT_BYTES)


def check_mel_weights(view: NodeView) -> None:
    """MelWeightMatrix: bins and transform length."""
    bins, length = view.int_constant(0), view.int_constant(1)
    _check_dims(view, bins, _FLOAT_BYTES)
    _check_dims(view, length, _FLOAT_BYTES)
    if bins and length:
        view.check_size((bins[0], length[0] // 2 + 1), _FLOAT_BYTES)


def check_dft(view: NodeView) -> None:
    """DFT: the length that the signal is padded to."""
    _check_dims(view, view.int_constant(1), _FLOAT_BYTES)


def check_samples(view: NodeView) -> None:
    """Multinomial: the number of samples."""
    _check_dims(view, [view.int_attribute("sample_size", 1)], _FLOAT_BYTES)


def check_loop(view: NodeView) -> None:
    """Loop: a constant trip count that nothing can cut short must be within the budget."""
    trips = view.int_constant(0)
    if not trips or trips[0] <= view.budget.max_loop_iterations:
        return
    start = view.constant(1) if view.has_input(1) else np.ones(1, np.bool_)
    body = next((a.g for a in view.node.attribute if a.name == "body"), None)
    if start is None or not start.all() or body is None or not _never_stops(view, body):
        return
    raise view.error(
        f"{trips[0]} iterations that nothing ends earlier, budget "
        f"{view.budget.max_loop_iterations} (max_loop_iterations)"
    )


def _never_stops(view: NodeView, body: GraphProto) -> bool:
    """True when the body's condition is its own input, or a constant that is true."""
    if len(body.input) < 2 or not body.output:
        return False
    makers = {name: node for node in body.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    for _ in range(len(body.node) + 1):
        if name == body.input[1].name:
            return True
        maker = makers.get(name)
        if maker is None or not (maker.op_type == "Identity" and maker.input):
            break
        name = maker.input[0]
    tensor = tensors.get(name)
    if maker is not None and maker.op_type == "Constant":
        tensor = next((a.t for a in maker.attribute if a.name == "value"), None)
    reader = view.values.reader
    return tensor is not None and reader is not None and bool(reader.read(tensor).all())


def _check_dims(
    view: NodeView, dims: list[int] | tuple[int, ...] | None, itemsize: int | None = None
) -> None:
    if dims is None:
        return
    if any(dim < 0 for dim in dims):
        raise view.error(f"negative size in {list(dims)[:16]}")
    view.check_size(dims, view.itemsize(0) if itemsize is None else itemsize)
