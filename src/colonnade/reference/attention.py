"""Attention in its forms, in float64: scaled dot product, rotary positions, linear recurrence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import float_attr, has_attr, int_attr, str_attr
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.failure import EvaluationError
from colonnade.reference.norm import softmax
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, bias: np.ndarray | None
) -> np.ndarray:
    """softmax(scale q k^T + bias) v, each [batch, heads, positions, depth]; k and v are shared."""
    scores = scaled_scores(q, k, scale)
    weights = softmax(scores if bias is None else scores + bias)
    return np.asarray(np.matmul(weights, _grouped(v, q.shape[1])))


def scaled_scores(q: np.ndarray, k: np.ndarray, scale: float) -> np.ndarray:
    """scale q k^T, [batch, heads, queries, keys]."""
    if q.ndim != 4 or k.ndim != 4 or q.shape[-1] != k.shape[-1]:
        raise EvaluationError(f"queries {list(q.shape)}, keys {list(k.shape)}")
    shape = reserve((*q.shape[:3], k.shape[2]), np.float64)
    reserve_work(math.prod(shape) * q.shape[3])
    return np.asarray(scale * np.matmul(q, np.swapaxes(_grouped(k, q.shape[1]), 2, 3)))


def _grouped(x: np.ndarray, heads: int) -> np.ndarray:
    """Each key or value head repeated for the query heads that share it."""
    if x.shape[1] == 0 or heads % x.shape[1]:
        raise EvaluationError(f"{heads} query heads on {x.shape[1]} key heads")
    return np.repeat(x, heads // x.shape[1], axis=1)


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """[batch, positions, heads * depth] as [batch, heads, positions, depth]."""
    if x.ndim != 3 or heads < 1 or x.shape[2] % heads:
        raise EvaluationError(f"{heads} heads in {list(x.shape)}")
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads).swapaxes(1, 2)


def join_heads(x: np.ndarray) -> np.ndarray:
    """The inverse of `split_heads`."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


@dataclass(frozen=True)
class Visibility:
    """Which keys each query sees, besides the mask operand."""

    is_causal: bool
    left: int
    right: int
    offset: np.ndarray
    """Position of the first query, one for each batch item or one for all."""
    valid_keys: np.ndarray | None

    def bias(self, queries: int, keys: int) -> np.ndarray:
        """0 where seen, -inf elsewhere; [batch or 1, 1, queries, keys]."""
        position = self.offset.reshape(-1, 1, 1, 1) + np.arange(queries)[:, None]
        key = np.arange(keys)[None, :]
        is_seen = np.ones(np.broadcast_shapes(position.shape, key.shape), np.bool_)
        if self.is_causal:
            is_seen &= key <= position
        if self.left >= 0:
            is_seen &= key >= position - self.left
        if self.right >= 0:
            is_seen &= key <= position + self.right
        if self.valid_keys is not None:
            is_seen = is_seen & (key < self.valid_keys.reshape(-1, 1, 1, 1))
        return np.where(is_seen, 0.0, -np.inf)


def _attention(
    node: Node,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    past_key: np.ndarray | None = None,
    past_value: np.ndarray | None = None,
    valid_keys: np.ndarray | None = None,
) -> Outputs:
    dtype, is_packed = q.dtype, q.ndim == 3
    if is_packed:
        q, k, v = (
            split_heads(x, int_attr(node, name))
            for x, name in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads"))
        )
    if past_key is not None and past_value is not None:
        k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
    queries, keys = q.shape[2], k.shape[2]
    offset = np.array(0 if past_key is None else past_key.shape[2])
    if valid_keys is not None:
        offset = valid_keys - queries
    seen = Visibility(
        bool(int_attr(node, "is_causal", 0)),
        int_attr(node, "left_window_size", -1),
        int_attr(node, "right_window_size", -1),
        offset,
        valid_keys,
    )
    bias = seen.bias(queries, keys)
    if mask is not None:
        bias = bias + _additive(mask, keys)
    scale = float_attr(node, "scale", 1 / math.sqrt(q.shape[3]) if q.shape[3] else 1.0)
    stages = _stages(node, scaled_scores(wide(q), wide(k), scale), bias)
    result = np.matmul(stages[3], _grouped(wide(v), q.shape[1]))
    shown = stages[int_attr(node, "qk_matmul_output_mode", 0)]
    y = narrow(join_heads(result) if is_packed else result, dtype)
    return y, k, v, narrow(shown, dtype)


def _stages(node: Node, scores: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Raw scores, after the soft cap, with the mask, and the weights; a blind query gets zeros."""
    cap = float_attr(node, "softcap", 0.0)
    capped = cap * np.tanh(scores / cap) if cap > 0 else scores
    masked = capped + bias
    is_blind = np.max(bias, axis=-1, keepdims=True, initial=-np.inf) == -np.inf
    weights = np.where(is_blind, 0.0, softmax(np.where(is_blind, 0.0, masked)))
    return [scores, capped, masked, weights]


def _additive(mask: np.ndarray, keys: int) -> np.ndarray:
    """The mask as numbers to add; keys past its end are not seen."""
    added = np.where(mask, 0.0, -np.inf) if mask.dtype == np.bool_ else wide(mask)
    missing = keys - mask.shape[-1]
    if missing > 0:
        widths = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
        added = np.pad(added, widths, constant_values=-np.inf)
    return added


def _rotary_embedding(
    node: Node,
    x: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    positions: np.ndarray | None = None,
) -> Outputs:
    """Rotate pairs of features by an angle that depends on the position."""
    is_packed = x.ndim == 3
    heads = split_heads(x, int_attr(node, "num_heads")) if is_packed else x
    width = int_attr(node, "rotary_embedding_dim", 0) or heads.shape[-1]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = (wide(angle)[:, None] for angle in (cos, sin))
    if cos.shape[-1] * 2 != width:
        raise EvaluationError(f"{cos.shape[-1]} angles for {width} rotated features")
    turned, rest = wide(heads[..., :width]), wide(heads[..., width:])
    if int_attr(node, "interleaved", 0):
        a, b = turned[..., 0::2], turned[..., 1::2]
    else:
        a, b = turned[..., : width // 2], turned[..., width // 2 :]
    real, imaginary = cos * a - sin * b, sin * a + cos * b
    if int_attr(node, "interleaved", 0):
        turned = np.stack([real, imaginary], axis=-1).reshape(turned.shape)
    else:
        turned = np.concatenate([real, imaginary], axis=-1)
    result = np.concatenate([turned, rest], axis=-1)
    return (narrow(join_heads(result) if is_packed else result, x.dtype),)


def _linear_attention(
    node: Node,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    past: np.ndarray | None = None,
    decay: np.ndarray | None = None,
    beta: np.ndarray | None = None,
) -> Outputs:
    """A matrix state that every position decays, corrects and reads."""
    rule = str_attr(node, "update_rule", "gated_delta")
    is_gated, is_delta = rule.startswith("gated"), rule.endswith("delta")
    if rule not in ("linear", "gated", "delta", "gated_delta"):
        raise EvaluationError(f"update_rule {rule!r} is unknown")
    if (is_gated and decay is None) or (is_delta and beta is None):
        raise EvaluationError(f"update_rule {rule!r} needs decay and beta as inputs")
    kv_heads, heads = int_attr(node, "kv_num_heads"), int_attr(node, "q_num_heads")
    queries, keys, values = (
        split_heads(wide(x), n) for x, n in ((q, heads), (k, kv_heads), (v, kv_heads))
    )
    scale = float_attr(node, "scale", 0.0) if has_attr(node, "scale") else 0.0
    scale = scale or 1 / math.sqrt(queries.shape[-1])
    state = np.zeros((q.shape[0], kv_heads, keys.shape[-1], values.shape[-1]))
    state = state if past is None else wide(past)
    gates = None if decay is None else np.exp(split_heads(wide(decay), kv_heads))
    rates = None if beta is None else wide(beta).swapaxes(1, 2)[..., None]
    reads = []
    for t in range(q.shape[1]):
        if is_gated and gates is not None:
            state = state * gates[:, :, t, :, None]
        key, added = keys[:, :, t, :, None], values[:, :, t, None, :]
        if is_delta and rates is not None:
            added = (added - np.sum(state * key, axis=2, keepdims=True)) * rates[:, :, t, None]
        state = state + key * added
        read = np.matmul(queries[:, :, t, None, :], _grouped(state, heads))
        reads.append(scale * read[:, :, 0])
    result = np.stack(reads, axis=2)
    state_type = q.dtype if past is None else past.dtype
    return narrow(join_heads(result), q.dtype), narrow(state, state_type)


OPS: Operations = {
    ("", "Attention"): _attention,
    ("", "RotaryEmbedding"): _rotary_embedding,
    ("", "LinearAttention"): _linear_attention,
}
