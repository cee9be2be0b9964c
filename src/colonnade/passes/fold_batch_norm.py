"""Batch normalisation at inference is a scale and a shift per channel.

Behind a convolution it goes into the weights; elsewhere it becomes Mul and Add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, TensorType

_CONVS = ("Conv", "ConvTranspose")


def fold_batch_norm(graph: Graph) -> Iterator[Patch]:
    """One patch for each BatchNormalization with constant statistics, float32."""
    for node in graph.nodes:
        if node.op != "BatchNormalization" or node.domain or not _is_inference(graph, node):
            continue
        scale, shift = _scale_and_shift(graph, node)
        conv = graph.producer.get(node.inputs[0])
        if conv is not None and _can_fold(graph, conv):
            yield _fold_into_conv(graph, conv, node, scale, shift)
        else:
            yield _as_mul_add(graph, node, scale, shift)


def _is_inference(graph: Graph, node: Node) -> bool:
    if graph.dtype(node.inputs[0]) is not DType.FLOAT32 or node.attrs.get("training_mode", 0):
        return False
    if any(out for out in node.outputs[1:]) or node.attrs.get("spatial", 1) == 0:
        return False
    return all(value in graph.constants for value in node.inputs[1:5])


def _scale_and_shift(graph: Graph, node: Node) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = (
        graph.constants[value].astype(np.float64) for value in node.inputs[1:5]
    )
    scale = gamma / np.sqrt(variance + cast(float, node.attrs.get("epsilon", 1e-5)))
    return scale, beta - mean * scale


def _can_fold(graph: Graph, conv: Node) -> bool:
    if conv.op not in _CONVS or conv.domain or graph.sole_consumer(conv.outputs[0]) is None:
        return False
    if conv.op == "ConvTranspose" and conv.attrs.get("group", 1) != 1:
        return False
    return all(value in graph.constants for value in conv.inputs[1:] if value)


def _fold_into_conv(
    graph: Graph, conv: Node, norm: Node, scale: np.ndarray, shift: np.ndarray
) -> Patch:
    weights = graph.constants[conv.inputs[1]]
    axis = 1 if conv.op == "ConvTranspose" else 0
    along = [1] * weights.ndim
    along[axis] = -1
    bias = graph.constants[conv.inputs[2]] if len(conv.inputs) > 2 and conv.inputs[2] else 0.0
    made = {
        f"{norm.outputs[0]}/weights": (weights * scale.reshape(along)).astype(np.float32),
        f"{norm.outputs[0]}/bias": (np.asarray(bias) * scale + shift).astype(np.float32),
    }
    folded = replace(conv, inputs=(conv.inputs[0], *made), outputs=norm.outputs[:1])
    return Patch(remove=(conv, norm), add=(folded,), constants=made, types=_types(made))


def _as_mul_add(graph: Graph, norm: Node, scale: np.ndarray, shift: np.ndarray) -> Patch:
    rank = len(graph.types[norm.inputs[0]].shape or (0, 0))
    along = (-1,) + (1,) * (rank - 2)
    out = norm.outputs[0]
    made = {
        f"{out}/scale": scale.astype(np.float32).reshape(along),
        f"{out}/shift": shift.astype(np.float32).reshape(along),
    }
    scaled = f"{out}/scaled"
    names = tuple(made)
    return Patch(
        remove=(norm,),
        add=(
            Node("Mul", (norm.inputs[0], names[0]), (scaled,), {}, f"{norm.name}/mul", "", 14),
            Node("Add", (scaled, names[1]), (out,), {}, norm.name, "", 14),
        ),
        constants=made,
        types={**_types(made), scaled: graph.types[out]},
    )


def _types(constants: dict[str, np.ndarray]) -> dict[str, TensorType]:
    return {name: TensorType(DType.FLOAT32, array.shape) for name, array in constants.items()}
