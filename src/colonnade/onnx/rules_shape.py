"""Rules for operators that move, cut and resize: constant parameters that make sense."""

from __future__ import annotations

import math

import numpy as np

from colonnade.onnx.node_view import NodeView, at_least


def check_reshape(view: NodeView) -> None:
    """Reshape: at most one -1, no other negative, the same number of elements."""
    shape = view.ints_attribute("shape") if view.version < 5 else view.int_constant(1)
    if shape is None and view.shape(1) == (0,):
        shape = ()  # of unknown values, of which there are none
    if shape is None:
        return
    dims = list(shape)
    if dims.count(-1) > 1:
        raise view.error(f"target shape {dims} has more than one -1")
    if any(dim < -1 for dim in dims):
        raise view.error(f"target shape {dims} has a negative dimension other than -1")
    allows_zero = view.int_attribute("allowzero", 0) == 1
    if allows_zero and 0 in dims and -1 in dims:
        raise view.error(f"target shape {dims} has both 0 and -1", "allowzero")
    data = view.shape(0)
    if data is None:
        return
    if not allows_zero:
        if any(dim == 0 and i >= len(data) for i, dim in enumerate(dims)):
            raise view.error(f"target shape {dims} copies a dimension that {list(data)} lacks")
        dims = [data[i] if dim == 0 else dim for i, dim in enumerate(dims)]  # type: ignore[misc]
    if None in data or None in dims:
        return
    have, fixed = math.prod(at_least(data)), math.prod(dim for dim in dims if dim != -1)
    fits = have == fixed if -1 not in dims else (fixed != 0 and have % fixed == 0)
    if not fits:
        raise view.error(f"cannot reshape {list(data)} ({have} elements) to {dims}")


def check_slice(view: NodeView) -> None:
    """Slice: no step of 0, lists of one length."""
    if view.version < 10:
        given = [view.ints_attribute(name) for name in ("starts", "ends", "axes")]
        lengths = {len(values) for values in given if values is not None}
    else:
        lists = [view.int_constant(index) for index in (1, 2, 3, 4)]
        lengths = {len(values) for values in lists if values is not None}
        if 0 in (lists[3] or ()):
            raise view.error("step 0; a step must not be 0")
    if len(lengths) > 1:
        raise view.error(f"starts, ends, axes and steps of different lengths {sorted(lengths)}")
    data = view.shape(0)
    if data is None or not lengths:
        return
    axes = view.ints_attribute("axes") if view.version < 10 else view.int_constant(3)
    if max(lengths) > len(data) or any(not -len(data) <= a < len(data) for a in axes or ()):
        raise view.error(f"axes {list(axes or ())[:16]} for an input of {len(data)} dimensions")


def check_depth_to_space(view: NodeView) -> None:
    """DepthToSpace and SpaceToDepth: a block that divides what it must."""
    size = view.int_attribute("blocksize", 0)
    if not 1 <= size < 1 << 16:
        raise view.error(f"{size} is out of range, expected 1 to 65535", "blocksize")
    data = view.shape(0)
    if data is None:
        return
    if len(data) != 4:
        raise view.error(f"input of {len(data)} dimensions, expected 4")
    is_depth = view.op == "DepthToSpace"
    divided = ((data[1], size * size),) if is_depth else ((data[2], size), (data[3], size))
    for dim, divisor in divided:
        if dim is not None and dim % divisor:
            raise view.error(f"{divisor} does not divide dimension {dim}", "blocksize")


def check_split(view: NodeView) -> None:
    """Split: parts that are not negative, as many as outputs."""
    sizes = view.ints_attribute("split") if view.version < 13 else view.int_constant(1)
    if view.has("num_outputs") and view.int_attribute("num_outputs", 1) != len(view.node.output):
        raise view.error(f"differs from the {len(view.node.output)} outputs", "num_outputs")
    if sizes is None:
        return
    if any(size < 0 for size in sizes):
        raise view.error(f"negative part in {list(sizes)[:16]}", "split")
    if len(sizes) != len(view.node.output):
        raise view.error(f"{len(sizes)} parts for {len(view.node.output)} outputs", "split")


def check_transpose(view: NodeView) -> None:
    """Transpose: a permutation of the right length."""
    perm = view.ints_attribute("perm")
    if perm is None:
        return
    if sorted(perm) != list(range(len(perm))):
        raise view.error(f"{list(perm)[:16]} is not a permutation", "perm")
    data = view.shape(0)
    if data is not None and len(data) != len(perm):
        raise view.error(f"{len(perm)} entries for input of {len(data)} dimensions", "perm")


def check_resize(view: NodeView) -> None:
    """Resize and Upsample: positive finite scales, an output within the budget."""
    data = view.shape(0)
    scales = _resize_scales(view)
    if scales is not None and scales.size:
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise view.error(f"scales {scales.tolist()[:16]} must be positive and finite")
        base = at_least(data) if data is not None and len(data) == len(scales) else None
        dims = base or [1] * len(scales)
        # Exact integers: a float product could overflow to infinity.
        grown = [int(dim * float(scale)) for dim, scale in zip(dims, scales, strict=True)]
        view.check_size([max(dim, 1) for dim in grown], view.itemsize(0))
    sizes = view.int_constant(3) if view.version >= 11 else None
    if sizes is not None:
        if any(size < 0 for size in sizes):
            raise view.error(f"negative size in {sizes[:16]}")
        view.check_size(sizes, view.itemsize(0))


def check_pad(view: NodeView) -> None:
    """Pad: an output that is neither negative nor above the budget."""
    pads = view.ints_attribute("pads") if view.version < 11 else view.int_constant(1)
    if pads is None:
        return
    if len(pads) % 2:
        raise view.error(f"{len(pads)} pads; every axis needs a begin and an end")
    half = len(pads) // 2
    data = view.shape(0)
    if data is None or len(data) != half:
        added = [max(1, 1 + pads[i] + pads[i + half]) for i in range(half)]
        view.check_size(added, view.itemsize(0))
        return
    dims = [dim + pads[i] + pads[i + half] for i, dim in enumerate(at_least(data))]
    for before, after in zip(data, dims, strict=True):
        if before is not None and after < 0:
            raise view.error(f"pads {list(pads)[:16]} cut more than {list(data)} has")
    view.check_size([max(dim, 1) for dim in dims], view.itemsize(0))


def _resize_scales(view: NodeView) -> np.ndarray | None:
    if view.op == "Upsample" and view.version < 9:
        found = view.attributes.get("scales")
        return np.array(found.floats, np.float32) if found is not None else None
    index = 1 if view.op == "Upsample" or view.version < 11 else 2
    scales = view.constant(index)
    return scales.reshape(-1) if scales is not None and scales.dtype.kind == "f" else None
