"""Optimiser steps, and the small feature operations of ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import float_attr, str_attr
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow, wide

_DOMAIN = "ai.onnx.preview.training"

Update = Callable[[Node, float, int, list[np.ndarray]], tuple[np.ndarray, ...]]
"""(node, rate, step number, [tensor, gradient, *states]) -> new tensor and states."""


def _optimiser(update: Update, num_states: int) -> Operation:
    """Inputs come grouped: all tensors, all gradients, all first states, ..."""

    def evaluate(node: Node, rate: np.ndarray, step: np.ndarray, *inputs: np.ndarray) -> Outputs:
        count = len(inputs) // (2 + num_states)
        results = []
        for i in range(count):
            own = [wide(x) for x in inputs[i::count]]
            moved = update(node, float(rate.item()), int(step.item()), own)
            results.append([narrow(x, inputs[i].dtype) for x in moved])
        return tuple(x for group in zip(*results, strict=True) for x in group)

    return evaluate


def _regularised(node: Node, own: list[np.ndarray]) -> np.ndarray:
    return own[1] + float_attr(node, "norm_coefficient", 0.0) * own[0]


def _adagrad(node: Node, rate: float, step: int, own: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    rate = rate / (1 + step * float_attr(node, "decay_factor", 0.0))
    gradient = _regularised(node, own)
    squares = own[2] + gradient * gradient
    root = np.sqrt(squares) + float_attr(node, "epsilon", 0.0)
    return own[0] - rate * gradient / root, squares


def _adam(node: Node, rate: float, step: int, own: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    alpha, beta = float_attr(node, "alpha", 0.9), float_attr(node, "beta", 0.999)
    gradient = _regularised(node, own)
    mean = alpha * own[2] + (1 - alpha) * gradient
    squares = beta * own[3] + (1 - beta) * gradient * gradient
    if step > 0:
        rate = rate * np.sqrt(1 - beta**step) / (1 - alpha**step)
    moved = own[0] - rate * mean / (np.sqrt(squares) + float_attr(node, "epsilon", 0.0))
    return moved * (1 - float_attr(node, "norm_coefficient_post", 0.0)), mean, squares


def _momentum(node: Node, rate: float, step: int, own: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    gradient = _regularised(node, own)
    alpha = float_attr(node, "alpha")
    beta = float_attr(node, "beta") if step > 0 else 1.0
    velocity = alpha * own[2] + beta * gradient
    is_nesterov = str_attr(node, "mode") == "nesterov"
    return own[0] - rate * (gradient + alpha * velocity if is_nesterov else velocity), velocity


def _binarizer(node: Node, x: np.ndarray) -> Outputs:
    return ((x > float_attr(node, "threshold", 0.0)).astype(x.dtype),)


OPS: Operations = {
    (_DOMAIN, "Adagrad"): _optimiser(_adagrad, 1),
    (_DOMAIN, "Adam"): _optimiser(_adam, 2),
    (_DOMAIN, "Momentum"): _optimiser(_momentum, 1),
    ("ai.onnx.ml", "Binarizer"): _binarizer,
}
