"""Layer and RMS normalisation over the last axis, however it is written."""

from __future__ import annotations

from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node
from colonnade.passes.pattern import Match, Pattern, RewriteRule, op, var

X, SCALE, BIAS = var("x"), var("scale", constant=True), var("bias", constant=True)
EPSILON, TWO = var("epsilon", constant=True), var("two", constant=True)


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
                normal: tuple[Pattern, ...] = (
                    op("Div", centred, root),
                    op("Mul", centred, op("Reciprocal", root)),
                )
                forms += [op("Add", op("Mul", n, SCALE), BIAS) for n in normal]
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
            normal = (op("Div", X, root), op("Mul", X, op("Reciprocal", root)))
            forms += [op("Mul", n, SCALE) for n in normal]
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
    if epsilon.size != 1 or any(not _is_per_feature(match, name, shape[-1]) for name in inputs):
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


def _is_per_feature(match: Match, name: str, features: object) -> bool:
    array = match.constant(name)
    return array.size == features and array.shape[-1] == features


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


def _adopt(kind: str, default_epsilon: float) -> RewriteRule:
    """ONNX's own LayerNormalization or RMSNormalization over the last axis."""

    def replacement(match: Match) -> Node | None:
        if not _is_last_axis_norm(match):
            return None
        root = match.root
        if any(v not in match.graph.constants for v in root.inputs[1:] if v):
            return None
        attrs = {"epsilon": cast(float, root.attrs.get("epsilon", default_epsilon))}
        return Node(kind, root.inputs, root.outputs[:1], attrs, root.name, "colonnade", 1)

    onnx_op = "LayerNormalization" if kind == "LayerNorm" else "RMSNormalization"
    patterns = (
        op(onnx_op, X, var("scale")),
        op(onnx_op, X, var("scale"), var("bias")),
    )
    return RewriteRule(f"adopt_{kind.lower()}", patterns, replacement)


adopt_layer_norm = _adopt("LayerNorm", 1e-5)
adopt_rms_norm = _adopt("RMSNorm", 1e-5)
