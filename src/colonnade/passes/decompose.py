"""Operators without a kernel of their own, written as simpler ones that have one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, Patch
from colonnade.passes.construction import Construction, is_static_float32


def decompose(graph: Graph) -> Iterator[Patch]:
    """float32 nodes with static shapes."""
    for node in graph.nodes:
        rewrite = _REWRITES.get(node.op)
        if node.domain or rewrite is None or not is_static_float32(graph, node):
            continue
        made = Construction(graph, node)
        if rewrite(made, node):
            yield made.patch()


def _real(node: Node, name: str, default: float) -> float:
    return float(cast(float, node.attrs.get(name, default)))


def _integer(node: Node, name: str, default: int) -> int:
    return cast(int, node.attrs.get(name, default))


def _gemm(made: Construction, node: Node) -> bool:
    """alpha A B + beta C, for what no pass has made a Linear."""
    a, b, c = (*node.inputs, "")[:3]
    a = made.transpose(a, (1, 0)) if _integer(node, "transA", 0) else a
    b = made.transpose(b, (1, 0)) if _integer(node, "transB", 0) else b
    alpha, beta = _real(node, "alpha", 1.0), _real(node, "beta", 1.0)
    shape, output = made.shape(node.outputs[0]), node.outputs[0]
    has_c = bool(c) and beta != 0.0
    is_last = alpha == 1.0 and not has_c
    product = made.call("MatMul", (a, b), shape, output=output if is_last else "")
    if alpha != 1.0:
        factor = made.number(alpha)
        product = made.arithmetic("Mul", product, factor, output="" if has_c else output)
    if has_c:
        c = c if beta == 1.0 else made.arithmetic("Mul", c, made.number(beta))
        made.arithmetic("Add", product, c, output=output)
    return True


def _hardmax(made: Construction, node: Node) -> bool:
    """1 at the first greatest element. Before opset 13 all axes from `axis` on are one."""
    x, output = node.inputs[0], node.outputs[0]
    shape = made.shape(x)
    is_new = node.version >= 13
    axis = _integer(node, "axis", -1 if is_new else 1) % max(len(shape), 1)
    flat = shape if is_new else (math.prod(shape[:axis]), math.prod(shape[axis:]))
    axis = axis if is_new else 1
    value = x if flat == shape else made.reshape(x, flat)
    where = (*flat[:axis], *flat[axis + 1 :])
    first = made.call("ArgMax", (value,), where, {"axis": axis, "keepdims": 0}, dtype=DType.INT64)
    depth = made.constant(np.array(flat[axis], np.int64))
    levels = made.constant(np.array([0, 1], np.float32))
    last = output if flat == shape else ""
    hot = made.call("OneHot", (first, depth, levels), flat, {"axis": axis}, output=last)
    if not last:
        made.reshape(hot, shape, output=output)
    return True


def _lp_normalization(made: Construction, node: Node) -> bool:
    """x / |x|_p; a line of zeros stays one."""
    x = node.inputs[0]
    axis = _integer(node, "axis", -1) % len(made.shape(x))
    norm = made.reduce(f"ReduceL{_integer(node, 'p', 2)}", x, (axis,))
    shape = made.shape(norm)
    is_zero = made.call("Equal", (norm, made.number(0.0)), shape, dtype=DType.BOOL)
    divisor = made.call("Where", (is_zero, made.number(1.0), norm), shape)
    made.arithmetic("Div", x, divisor, output=node.outputs[0])
    return True


def _lp_pool(made: Construction, node: Node) -> bool:
    """The p-th root of a sum: an average times the window."""
    kernel = cast(tuple[int, ...], node.attrs["kernel_shape"])
    if _integer(node, "ceil_mode", 0):
        return False  # A window that leaves the padding has fewer elements.
    x, p = node.inputs[0], _integer(node, "p", 2)
    powers = _power(made, made.arithmetic("Abs", x), p)
    window = {
        name: node.attrs[name]
        for name in ("auto_pad", "kernel_shape", "strides", "pads", "dilations")
        if name in node.attrs
    }
    shape = made.shape(node.outputs[0])
    average = made.call("AveragePool", (powers,), shape, {**window, "count_include_pad": 1})
    total = made.arithmetic("Mul", average, made.number(math.prod(kernel)))
    _root(made, total, p, node.outputs[0])
    return True


def _global_lp_pool(made: Construction, node: Node) -> bool:
    """The p-norm of each channel."""
    x, p = node.inputs[0], _integer(node, "p", 2)
    axes = tuple(range(2, len(made.shape(x))))
    total = made.reduce("ReduceSum", _power(made, made.arithmetic("Abs", x), p), axes)
    _root(made, total, p, node.outputs[0])
    return True


def _power(made: Construction, value: str, p: int) -> str:
    if p == 2:
        return made.arithmetic("Mul", value, value)
    return value if p == 1 else made.arithmetic("Pow", value, made.number(p))


def _root(made: Construction, value: str, p: int, output: str) -> None:
    if p == 2:
        made.arithmetic("Sqrt", value, output=output)
    else:
        made.arithmetic("Pow", value, made.number(1.0 / p), output=output)


def _lrn(made: Construction, node: Node) -> bool:
    """x / (bias + alpha * mean square over neighbouring channels)^beta."""
    x, size = node.inputs[0], cast(int, node.attrs["size"])
    shape = made.shape(x)
    image = (shape[0], 1, shape[1], math.prod(shape[2:]))
    squares = made.reshape(made.arithmetic("Mul", x, x), image)
    before = (size - 1) // 2
    window: dict[str, AttrValue] = {
        "kernel_shape": (size, 1),
        "pads": (before, 0, size - 1 - before, 0),
        "count_include_pad": 1,
    }
    mean = made.call("AveragePool", (squares,), image, window)
    scaled = made.arithmetic(
        "Mul", made.reshape(mean, shape), made.number(_real(node, "alpha", 1e-4))
    )
    shifted = made.arithmetic("Add", scaled, made.number(_real(node, "bias", 1.0)))
    divisor = made.arithmetic("Pow", shifted, made.number(_real(node, "beta", 0.75)))
    made.arithmetic("Div", x, divisor, output=node.outputs[0])
    return True


def _batch_normalization(made: Construction, node: Node) -> bool:
    """With statistics that are computed, or those of the batch in training mode."""
    x, scale, bias, mean, variance = node.inputs
    epsilon = made.number(_real(node, "epsilon", 1e-5))
    shape = made.shape(x)
    channels = (shape[1], *(1,) * (len(shape) - 2)) if len(shape) > 1 else (1,)
    if _integer(node, "training_mode", 0):
        axes = tuple(i for i in range(len(shape)) if i != 1)
        own_mean = made.reduce("ReduceMean", x, axes)
        centred = made.arithmetic("Sub", x, own_mean)
        own_variance = made.reduce("ReduceMean", made.arithmetic("Mul", centred, centred), axes)
        _running(made, node, 1, mean, own_mean)
        _running(made, node, 2, variance, own_variance)
        mean, variance = own_mean, own_variance
    elif any(node.outputs[1:]):
        return False
    mean, variance, scale, bias = (
        made.reshape(value, channels) for value in (mean, variance, scale, bias)
    )
    root = made.arithmetic("Sqrt", made.arithmetic("Add", variance, epsilon))
    factor = made.arithmetic("Div", scale, root)
    shift = made.arithmetic("Sub", bias, made.arithmetic("Mul", mean, factor))
    made.arithmetic("Add", made.arithmetic("Mul", x, factor), shift, output=node.outputs[0])
    return True


def _running(made: Construction, node: Node, number: int, old: str, new: str) -> None:
    """The running statistic moves towards that of the batch."""
    output = node.outputs[number] if number < len(node.outputs) else ""
    if not output:
        return
    momentum = _real(node, "momentum", 0.9)
    kept = made.arithmetic("Mul", old, made.number(momentum))
    flat = made.reshape(new, made.shape(old))
    moved = made.arithmetic("Mul", flat, made.number(1.0 - momentum))
    made.arithmetic("Add", kept, moved, output=output)


_REWRITES: dict[str, Callable[[Construction, Node], bool]] = {
    "BatchNormalization": _batch_normalization,
    "Gemm": _gemm,
    "GlobalLpPool": _global_lp_pool,
    "Hardmax": _hardmax,
    "LRN": _lrn,
    "LpNormalization": _lp_normalization,
    "LpPool": _lp_pool,
}
