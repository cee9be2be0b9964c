"""Every attention row against float64: head and key edges, masks, causal, grouped queries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.harness import each_isa, empty_panels, from_panels, lanes_of, run_call, to_panels
from tolerance import tolerance


def exact_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, mask: np.ndarray | None
) -> np.ndarray:
    """q [b, h, sq, d], k and v [b, g, sk, d] in float64."""
    group = q.shape[1] // k.shape[1]
    wide_k = np.repeat(k, group, axis=1).astype(np.float64)
    wide_v = np.repeat(v, group, axis=1).astype(np.float64)
    scores = scale * q.astype(np.float64) @ wide_k.transpose(0, 1, 3, 2)
    if mask is not None:
        scores = scores + mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ wide_v


def head_columns(heads: np.ndarray) -> np.ndarray:
    """[b, h, s, d] as (h * d) x (b * s)."""
    b, h, s, d = heads.shape
    return heads.transpose(1, 3, 0, 2).reshape(h * d, b * s)


CASES = [
    # batch, heads, kv_heads, queries, keys, depth, value_depth
    (1, 1, 1, 1, 1, 1, 1),
    (1, 2, 2, 64, 64, 16, 16),
    (2, 3, 3, 17, 33, 7, 5),
    (2, 4, 2, 65, 63, 8, 8),
    (1, 6, 2, 5, 300, 12, 12),
    (3, 2, 1, 70, 130, 9, 20),
    (2, 1, 1, 13, 255, 64, 64),
    (2, 1, 1, 33, 256, 32, 33),
    (2, 2, 1, 49, 257, 3, 1),
    (1, 1, 1, 130, 131, 70, 13),
]


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("mask_kind", ["none", "keys", "full", "queries", "causal"])
def test_attention(isa: str, case: tuple[int, ...], mask_kind: str) -> None:
    batch, heads, kv_heads, queries, keys, depth, value_depth = case
    if mask_kind == "causal" and queries > keys:
        pytest.skip("a causal square needs as many keys")
    rng = np.random.default_rng(1)
    lanes, scale = lanes_of(isa), 1 / math.sqrt(depth)

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32)

    q = uniform(batch, heads, queries, depth)
    k = uniform(batch, kv_heads, keys, depth)
    v = uniform(batch, kv_heads, keys, value_depth)
    mask, strides = None, (0, 0, 0, 0)
    if mask_kind == "keys":
        mask, strides = uniform(batch, 1, 1, keys), (keys, 0, 0, 1)
    elif mask_kind == "full":
        mask, strides = uniform(1, heads, queries, keys), (0, queries * keys, keys, 1)
    if mask_kind == "queries":
        mask, strides = uniform(1, 1, queries, 1), (0, 0, 1, 0)
    seen = mask
    if mask_kind == "causal":
        seen = np.where(np.tri(queries, keys, dtype=bool), 0.0, -np.inf)
    y = empty_panels(heads * value_depth, batch * queries, lanes)
    bands = (heads * depth, 0, kv_heads * depth, 0, kv_heads * value_depth, 0)
    params = (
        batch, heads, kv_heads, queries, keys, depth, value_depth, scale, mask_kind == "causal", 0,
        False, *bands, heads * value_depth, 0, *strides,
    )  # fmt: skip
    panels = [to_panels(head_columns(array), lanes) for array in (q, k, v)]
    status = run_call("attention", [*panels, mask], [y], params, isa, threads=2)
    assert status[0] == 0
    exact = head_columns(exact_attention(q, k, v, scale, seen))
    # The scores err like a product of depth terms; exp passes that on relatively, and the weighted
    # mean of values in [-1, 1] adds a product of `keys` terms that sum to 1.
    bound = tolerance(depth + 4, 1, 1) + tolerance(8 + int(math.log2(keys + 1)), 1, 1)
    assert np.abs(from_panels(y, batch * queries) - exact).max() <= bound


@each_isa
def test_a_query_without_keys(isa: str) -> None:
    lanes = lanes_of(isa)
    ones = to_panels(np.ones((4, 3), np.float32), lanes)
    mask = np.full((1, 1, 3, 3), -np.inf, np.float32)
    mask[0, 0, 1:] = 0
    for zero_nan_rows in (False, True):
        y = empty_panels(4, 3, lanes)
        params = (
            1, 1, 1, 3, 3, 4, 4, 1.0, False, 0, zero_nan_rows, 4, 0, 4, 0, 4, 0, 4, 0, 0, 0, 3, 1,
        )  # fmt: skip
        run_call("attention", [ones, ones, ones, mask], [y], params, isa)
        first, *others = from_panels(y, 3).T
        assert (first == 0).all() if zero_nan_rows else np.isnan(first).all()
        assert all((other == 1).all() for other in others)


@each_isa
def test_nan_and_hidden_keys_stay_with_their_queries(isa: str) -> None:
    lanes, queries, keys, depth = lanes_of(isa), 70, 300, 5
    rng = np.random.default_rng(2)
    q, k, v = (rng.uniform(-1, 1, (depth, n)).astype(np.float32) for n in (queries, keys, keys))
    mask = rng.choice(np.array([0, -np.inf], np.float32), (1, 1, queries, keys))
    mask[..., 7, :] = -np.inf
    mask[..., 7, 299] = 0  # The first blocks of keys have nothing for this query.
    mask[..., 9, 280] = np.nan
    y = empty_panels(depth, queries, lanes)
    params = (
        1, 1, 1, queries, keys, depth, depth, 1.0, False, 0, False,
        *(depth, 0) * 4, 0, 0, keys, 1,
    )  # fmt: skip
    run_call("attention", [*(to_panels(x, lanes) for x in (q, k, v)), mask], [y], params, isa)
    exact = exact_attention(q.T[None, None], k.T[None, None], v.T[None, None], 1.0, mask)
    got = from_panels(y, queries).T
    assert np.isnan(got[9]).all()
    others = np.arange(queries) != 9
    bound = tolerance(depth + 4, 1, 1) + tolerance(8 + int(math.log2(keys + 1)), 1, 1)
    assert np.abs(got - exact[0, 0])[others].max() <= bound
