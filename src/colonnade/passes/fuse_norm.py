"""Layer and RMS normalisation over the last axis, however it is written."""

from __future__ import annotations

from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Shape
from colonnade.passes.pattern import Match, Pattern, RewriteRule, const, op, var

X, SCALE, BIAS = var("x"), var("scale", constant=True), var("bias", constant=True)
EPSILON, TWO = var("epsilon", constant=True), var("two", constant=True)


def _over_root(value: Pattern, root: Pattern) -> tuple[Pattern, ...]:
    """value / root, in the ways that exporters write it."""
    return (
        op("Div", value, root),
        op("Mul", value, op("Reciprocal", root)),
        op("Mul", value, op("Div", const(1.0), root)),
    )


def _layer_norm_forms() -> tuple[Pattern, ...]:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias."""
    forms: list[Pattern] = []
    for mean in (op("ReduceMean", X, name="mean"), op("ReduceMean", X, var("axes"), name="mean")):
        centred = op("Sub", X, mean)
        for square in (op("Pow", centred, TWO), op("Mul", centred, centred)):
            for variance in (
                op("ReduceMean", square, name="variance"),
                op("ReduceMean", square, var("axes2"), name="variance"),
            ):
                root = op("Sqrt", op("Add", variance, EPSILON))
                forms += [
                    op("Add", op("Mul", normal, SCALE), BIAS)
                    for normal in _over_root(centred, root)
                ]
    return tuple(forms)


def _rms_norm_forms() -> tuple[Pattern, ...]:
    """x / sqrt(mean(x^2) + epsilon) * scale."""
    forms: list[Pattern] = []
    for square in (op("Pow", X, TWO), op("Mul", X, X)):
        for mean in (
            op("ReduceMean", square, name="variance"),
            op("ReduceMean", square, var("axes2"), name="variance"),
        ):
            root = op("Sqrt", op("Add", mean, EPSILON))
            forms += [op("Mul", normal, SCALE) for normal in _over_root(X, root)]
    return tuple(forms)


def _build(match: Match, kind: str, inputs: tuple[str, ...]) -> Node | None:
    graph = match.graph
    shape = graph.shape(match.values["x"])
    if shape is None or match.type_of("x").dtype is not DType.FLOAT32:
        return None
    reductions = [match.named[name] for name in ("mean", "variance") if name in match.named]
    if not all(_is_over_last_axis(graph, node, len(shape)) for node in reductions):
        return None
    if "two" in match.values and not _is_two(match.constant("two")):
        return None
    epsilon = match.constant("epsilon")
    if epsilon.size != 1 or any(not _is_per_feature(match, name, shape) for name in inputs):
        return None
    values = tuple(match.values[name] for name in inputs)
    attrs = {"epsilon": float(epsilon.reshape(-1)[0])}
    return Node(
        kind, (match.values["x"], *values), match.root.outputs, attrs, match.root.name,
        "colonnade", 1,
    )  # fmt: skip


def _is_over_last_axis(graph: Graph, node: Node, rank: int) -> bool:
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        constant = graph.constants.get(node.inputs[1])
        axes = None if constant is None else tuple(int(a) for a in constant.reshape(-1))
    if not isinstance(axes, tuple) or not node.attrs.get("keepdims", 1):
        return False
    return axes in ((-1,), (rank - 1,))


def _is_two(array: np.ndarray) -> bool:
    return array.size == 1 and float(array.reshape(-1)[0]) == 2.0


def _is_per_feature(match: Match, name: str, shape: Shape) -> bool:
    """A constant with one value a feature, which adds no axis to the result."""
    array = match.graph.constants.get(match.values[name])
    if array is None or array.ndim > len(shape):
        return False
    return array.size == shape[-1] and array.shape[-1:] == shape[-1:]


fuse_layer_norm = RewriteRule(
    "fuse_layer_norm", _layer_norm_forms(), lambda m: _build(m, "LayerNorm", ("scale", "bias"))
)
fuse_rms_norm = RewriteRule(
    "fuse_rms_norm", _rms_norm_forms(), lambda m: _build(m, "RMSNorm", ("scale",))
)


def _is_last_axis_norm(match: Match) -> bool:
    shape = match.graph.shape(match.root.inputs[0])
    axis = cast(int, match.root.attrs.get("axis", -1))
    extra = [out for out in match.root.outputs[1:] if out]
    if shape is None or extra or match.type_of("x").dtype is not DType.FLOAT32:
        return False
    return axis in (-1, len(shape) - 1)


def _adopt(name: str, onnx_op: str, kind: str) -> RewriteRule:
    """ONNX's own LayerNormalization or RMSNormalization over the last axis."""

    def replacement(match: Match) -> Node | None:
        if not _is_last_axis_norm(match):
            return None
        root, shape = match.root, match.graph.shape(match.values["x"])
        names = [name for name in ("scale", "bias") if name in match.values]
        if shape is None or any(not _is_per_feature(match, name, shape) for name in names):
            return None
        attrs = {"epsilon": cast(float, root.attrs.get("epsilon", 1e-5))}
        return Node(kind, root.inputs, root.outputs[:1], attrs, root.name, "colonnade", 1)

    patterns = (
        op(onnx_op, X, var("scale")),
        op(onnx_op, X, var("scale"), var("bias")),
    )
    return RewriteRule(name, patterns, replacement)


adopt_layer_norm = _adopt("adopt_layer_norm", "LayerNormalization", "LayerNorm")
adopt_rms_norm = _adopt("adopt_rms_norm", "RMSNormalization", "RMSNorm")
