"""N:M masks: against plain loops, with ties, odd widths and convolutions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.sparsify.nm.mask import is_nm, nm_mask, pack_nm
from colonnade.sparsify.nm.pattern import NMPattern, parse_nm, remaining_macs, stored_ratio
from unit.sparsify.nm import reference

SHAPES = [(3, 16), (5, 13), (4, 3), (1, 1), (6, 10, 3), (4, 9, 3, 3)]


@settings(max_examples=40)
@given(
    shape=st.sampled_from(SHAPES),
    n=st.integers(1, 9),
    more=st.integers(0, 9),
    axis=st.sampled_from(["row", "col"]),
    seed=st.integers(0, 99),
)
def test_mask_is_that_of_the_loops(shape: tuple, n: int, more: int, axis: str, seed: int) -> None:
    pattern = NMPattern(n, n + more, axis)
    # Few distinct values: most groups have ties.
    weight = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)
    found = nm_mask(torch.from_numpy(weight), pattern)
    assert np.array_equal(found.numpy(), reference.mask(weight, pattern))


@settings(max_examples=15)
@given(m=st.integers(2, 16), seed=st.integers(0, 99))
def test_patterns_nest(m: int, seed: int) -> None:
    weight = torch.from_numpy(np.random.default_rng(seed).integers(-3, 4, (4, 32)))
    masks = [nm_mask(weight, NMPattern(n, m)) for n in range(1, m + 1)]
    for fewer, more in itertools.pairwise(masks):
        assert not (fewer & ~more).any()


def test_ties_go_to_the_first() -> None:
    mask = nm_mask(torch.tensor([[1.0, -1.0, 1.0, -1.0]]), NMPattern(2, 4))
    assert mask.tolist() == [[True, True, False, False]]


def test_a_short_last_group_counts_as_padded() -> None:
    weight = torch.arange(1.0, 7.0).reshape(1, 6)
    assert nm_mask(weight, NMPattern(2, 4)).tolist() == [[False, False, True, True, True, True]]
    assert is_nm(weight * nm_mask(weight, NMPattern(2, 4)), NMPattern(2, 4))


def test_groups_of_a_convolution_run_along_its_channels() -> None:
    weight = torch.zeros(1, 4, 1, 2)
    weight[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight[0, :, 0, 1] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    mask = nm_mask(weight, NMPattern(1, 4))
    assert mask[0, :, 0, 0].tolist() == [False, False, False, True]
    assert mask[0, :, 0, 1].tolist() == [True, False, False, False]


def test_columns_are_rows_of_the_transpose() -> None:
    weight = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    across = nm_mask(weight, NMPattern(1, 4, "col"))
    assert torch.equal(across, nm_mask(weight.T, NMPattern(1, 4)).T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.5, -2.0, 1.0, 0.25]], dtype=dtype)
    assert nm_mask(weight, NMPattern(2, 4)).tolist() == [[False, True, True, False]]


def test_packed_weights_are_the_weights() -> None:
    pattern = NMPattern(2, 4)
    weight = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    weight[0, :4] = torch.tensor([0.0, 0.0, 5.0, 0.0])
    weight *= nm_mask(weight, pattern)
    values, positions = pack_nm(weight, pattern)
    assert values.shape == positions.shape == (3, 3, 2)
    back = torch.zeros(3, 3, 4).scatter(-1, positions, values).reshape(3, 12)
    assert torch.equal(back[:, :10], weight)
    with pytest.raises(ValueError, match="the weight is not 2:4"):
        pack_nm(torch.ones(1, 4), pattern)


@pytest.mark.parametrize("text", ["4:2", "0:4", "2x4", "1:-8", ""])
def test_patterns_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="N:M"):
        parse_nm(text)


def test_a_vector_has_no_groups() -> None:
    with pytest.raises(ValueError, match="two axes"):
        nm_mask(torch.ones(4), NMPattern(1, 4))


@pytest.mark.parametrize(
    ("text", "bits", "ratio"),
    [
        ("2:4", 16, 0.5625),
        ("1:4", 16, 0.28125),
        ("2:8", 16, 0.296875),
        ("1:8", 16, 0.1484375),
        ("1:16", 16, 0.078125),
        ("1:32", 16, 0.041015625),
        ("2:4", 8, 0.625),
        ("1:4", 8, 0.3125),
        ("1:8", 8, 0.171875),
    ],
)
def test_stored_size(text: str, bits: int, ratio: float) -> None:
    assert stored_ratio(parse_nm(text), bits) == ratio


def test_multiply_adds_of_vit_base() -> None:
    width, tokens, blocks = 768, 197, 12
    feed_forward = blocks * tokens * 8 * width**2
    attention = blocks * tokens * (4 * width**2 + 2 * tokens * width)
    total = feed_forward + attention + 196 * width * width + 1000 * width
    giga = [
        round(remaining_macs(total, feed_forward, parse_nm(text)) / 1e9, 3)
        for text in ("1:1", "2:4", "1:4", "1:8", "1:16", "1:32")
    ]
    assert giga == [17.564, 11.986, 9.198, 7.803, 7.106, 6.758]
    assert round(feed_forward / 1e9, 3) == 11.155
