"""colonnade.QAttention: attention on 8-bit integers, border by border as a quantized graph has it.

    score  = steps(float(sum of (q - q_zero) * (k - k_zero)) * (q_scale * k_scale))
    weight = softmax(score), through a border (weight_scale, weight_zero) and back if there is one
    y      = float(sum of (p - p_zero) * (v - v_zero)) * (p_scale * v_scale), p the quantized weight;
             quantized when y_scale is there

q, k, v: uint8 or int8 [..., heads * depth] as Attention has them; mask: float32 or absent. Attributes:
num_heads, kv_num_heads, batch; for q, k, v, weight (optional), probability and y (optional) a scale and
a zero point; steps (requantize, multiply, add_mask) with step_values and step_zeros; zero_nan_rows;
is_signed: y is int8. Zero points of int8 count from 128: bytes are used as uint8, 128 more.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from colonnade.ir import Node
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow
from colonnade.reference.quantize import saturate

SHIFT = np.uint8(128)


def _qattention(
    node: Node, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None
) -> Outputs:
    heads, kv_heads = (cast(int, node.attrs[name]) for name in ("num_heads", "kv_num_heads"))
    queries = _heads(node, q, "q", heads)
    keys, values = (_heads(node, x, name, kv_heads) for x, name in ((k, "k"), (v, "v")))
    keys, values = (np.repeat(x, heads // kv_heads, axis=1) for x in (keys, values))
    scores = _stepped(node, _product(node, queries, keys.swapaxes(2, 3), "q", "k"), mask)
    weights = _softmax(node, scores)
    if "weight_scale" in node.attrs:
        weights = _dequantize(node, "weight", _quantize(node, "weight", weights))
    integers = _quantize(node, "probability", weights).astype(np.float64)
    centred = integers - _zero(node, "probability")
    y = _product(node, centred, values, "probability", "v")
    if "y_scale" in node.attrs:
        y = _quantize(node, "y", y)
        y = (y ^ SHIFT).view(np.int8) if node.attrs["is_signed"] else y
    batch, _, positions, depth = y.shape
    joined = y.transpose(0, 2, 1, 3).reshape(batch * positions, heads * depth)
    return (joined.reshape(*q.shape[:-1], heads * depth),)


def _heads(node: Node, x: np.ndarray, name: str, heads: int) -> np.ndarray:
    """[batch, heads, positions, depth] of x - zero, in float64."""
    unsigned = x.view(np.uint8) ^ SHIFT if x.dtype == np.int8 else x
    centred = unsigned.astype(np.float64) - _zero(node, name)
    batch, depth = cast(int, node.attrs["batch"]), x.shape[-1] // heads
    positions = math.prod(x.shape[:-1]) // batch
    return np.asarray(centred.reshape(batch, positions, heads, depth).transpose(0, 2, 1, 3))


def _product(node: Node, a: np.ndarray, b: np.ndarray, a_name: str, b_name: str) -> np.ndarray:
    return np.asarray(narrow(a @ b, np.float32) * (_scale(node, a_name) * _scale(node, b_name)))


def _stepped(node: Node, scores: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    kinds = cast("tuple[str, ...]", node.attrs["steps"])
    values = cast("tuple[float, ...]", node.attrs["step_values"])
    zeros = cast("tuple[int, ...]", node.attrs["step_zeros"])
    for kind, value, zero in zip(kinds, values, zeros, strict=True):
        if kind == "requantize":
            scores = _to_real(_to_bytes(scores, np.float32(value), zero), np.float32(value), zero)
        elif kind == "multiply":
            scores = scores * np.float32(value)
        elif mask is not None:
            scores = scores + mask
    return scores


def _softmax(node: Node, scores: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        wide = scores.astype(np.float64)
        grown = np.exp(wide - wide.max(axis=-1, keepdims=True))
        weights = narrow(grown / grown.sum(axis=-1, keepdims=True), np.float32)
    return np.where(np.isnan(weights), 0, weights) if node.attrs["zero_nan_rows"] else weights


def _quantize(node: Node, name: str, x: np.ndarray) -> np.ndarray:
    return _to_bytes(x, _scale(node, name), _zero(node, name))


def _dequantize(node: Node, name: str, x: np.ndarray) -> np.ndarray:
    return _to_real(x, _scale(node, name), _zero(node, name))


def _to_bytes(x: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
    return np.asarray(saturate(np.rint(x / scale).astype(np.float64) + zero, np.dtype(np.uint8)))


def _to_real(x: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
    return np.asarray((x.astype(np.float32) - np.float32(zero)) * scale)


def _scale(node: Node, name: str) -> np.float32:
    return np.float32(cast(float, node.attrs[f"{name}_scale"]))


def _zero(node: Node, name: str) -> int:
    return cast(int, node.attrs[f"{name}_zero"])


OPS: Operations = {("colonnade", "QAttention"): _qattention}
