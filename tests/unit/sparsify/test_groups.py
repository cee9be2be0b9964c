"""Masks of every pattern, against answers that are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colonnade.errors import RecipeError
from colonnade.sparsify.groups import (
    from_matrix,
    keep_best,
    keep_nm,
    make_global_masks,
    make_groups,
    make_mask,
    to_matrix,
)
from colonnade.sparsify.pattern import NM, Block, Unstructured, Vector, parse_pattern


def mask_of(
    rows: list[list[float]], sparsity: float, pattern: str, taps: int = 1
) -> list[list[int]]:
    mask = make_mask(torch.tensor(rows), sparsity, parse_pattern(pattern), taps)
    return [[int(value) for value in row] for row in mask]


def test_unstructured() -> None:
    assert mask_of([[4.0, 1.0], [3.0, 2.0]], 0.5, "unstructured") == [[1, 0], [1, 0]]


def test_of_equal_scores_the_first_stay() -> None:
    assert mask_of([[1.0, 1.0, 1.0, 1.0]], 0.5, "unstructured") == [[1, 1, 0, 0]]
    assert mask_of([[1.0, 2.0, 2.0, 2.0]], 0.5, "2:4") == [[0, 1, 1, 0]]
    assert mask_of([[0.0, 0.0, 0.0, 0.0]], 0.5, "2:4") == [[1, 1, 0, 0]]


def test_nm() -> None:
    assert mask_of([[1.0, 4.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]], 0.5, "2:4") == [
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_nm_on_the_way_keeps_more() -> None:
    assert mask_of([[1.0, 4.0, 3.0, 2.0]], 0.25, "2:4") == [[0, 1, 1, 1]]


def test_nm_that_does_not_divide_the_columns() -> None:
    # Groups end with the row; the last one, of 2, keeps at most n as well.
    assert mask_of([[1, 2, 3, 4, 5, 6.0], [6, 5, 4, 3, 2, 1.0]], 0.75, "1:4") == [
        [0, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 1, 0],
    ]


def test_blocks_at_the_edge_score_their_mean() -> None:
    # Of the columns 0-1, 2-3 and 4 alone, the last has the highest mean, the first the lowest.
    assert mask_of([[1, 1, 2, 2, 3.0]], 1 / 3, "1x2") == [[0, 0, 1, 1, 1]]
    assert mask_of([[1.0], [1.0], [5.0]], 0.5, "2x1") == [[0], [0], [1]]


def test_filter_and_channel() -> None:
    rows = [[1.0, 8.0, 1.0], [1.0, 9.0, 1.0]]
    assert mask_of(rows, 0.5, "filter") == [[0, 0, 0], [1, 1, 1]]
    assert mask_of(rows, 2 / 3, "channel") == [[0, 1, 0], [0, 1, 0]]


def test_channel_of_a_convolution_takes_all_taps() -> None:
    weight = torch.ones(2, 3, 2, 2)
    weight[:, 1] = 0.1
    mask = make_mask(to_matrix(weight), 1 / 3, Vector("channel"), taps=4)
    kept = from_matrix(mask, weight)
    assert kept.shape == weight.shape
    assert not kept[:, 1].any()
    assert kept[:, 0].all()
    assert kept[:, 2].all()


def test_matrix_runs_along_input_channels() -> None:
    weight = torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)
    matrix = to_matrix(weight)
    assert matrix[0, :3].tolist() == weight[0, :, 0, 0].tolist()
    assert torch.equal(from_matrix(matrix, weight), weight)


def test_matrix_of_a_transposed_convolution() -> None:
    weight = torch.rand(3, 2, 2, 2)
    matrix = to_matrix(weight, rows_axis=1)
    assert matrix.shape == (2, 12)
    assert torch.equal(from_matrix(matrix, weight, rows_axis=1), weight)


def test_a_vector_is_no_matrix() -> None:
    with pytest.raises(RecipeError, match=r"2 axes or more, got \[3\]"):
        to_matrix(torch.ones(3))


def test_global_masks_let_layers_compete() -> None:
    strong, weak = torch.full((2, 4), 5.0), torch.full((2, 4), 1.0)
    strong[0, 0] = 0.1
    groups = [make_groups(scores, Unstructured()) for scores in (strong, weak)]
    first, second = make_global_masks(groups, 0.5)
    assert first.sum() == 7
    assert second.sum() == 1
    assert bool(second[0, 0])


def test_global_masks_weigh_groups_by_size() -> None:
    # Rows of 4 and of 1 weights: 6 of 10 weights go, not 60% of the rows.
    groups = [
        make_groups(torch.tensor([[1.0] * 4, [9.0] * 4]), Vector("filter")),
        make_groups(torch.tensor([[2.0], [3.0]]), Vector("filter")),
    ]
    first, second = make_global_masks(groups, 0.6)
    assert first.sum(1).tolist() == [0, 4]
    assert second.tolist() == [[False], [False]]


@given(
    st.integers(1, 9),
    st.integers(1, 23),
    st.floats(0, 0.99),
    st.sampled_from(["unstructured", "1x4", "4x1", "2x3", "filter", "channel"]),
)
def test_share_of_groups(rows: int, columns: int, sparsity: float, pattern: str) -> None:
    scores = torch.rand(rows, columns, generator=torch.Generator().manual_seed(rows))
    parsed = parse_pattern(pattern)
    mask = make_mask(scores, sparsity, parsed)
    whole = make_groups(scores, parsed).expand(
        torch.ones(10000, dtype=torch.bool)[: count(scores, parsed)]
    )
    assert bool(whole.all())
    assert mask.shape == scores.shape
    kept = make_groups(mask.float(), parsed).scores
    assert set(kept.tolist()) <= {0.0, 1.0}
    assert int(kept.sum()) == kept.numel() - round(sparsity * kept.numel())


def count(scores: torch.Tensor, pattern: Unstructured | NM | Block | Vector) -> int:
    return int(make_groups(scores, pattern).scores.numel())


@given(st.integers(1, 5), st.integers(1, 20), st.integers(2, 9), st.data())
def test_nm_masks_nest(rows: int, columns: int, m: int, data: st.DataObject) -> None:
    scores = torch.tensor(
        data.draw(
            st.lists(
                st.sampled_from([0.0, 1.0, 2.0]), min_size=rows * columns, max_size=rows * columns
            )
        )
    ).reshape(rows, columns)
    n = data.draw(st.integers(1, m - 1))
    small, large = keep_nm(scores, n, m), keep_nm(scores, n + 1, m)
    assert not (small & ~large).any()
    for start in range(0, columns, m):
        width = min(m, columns - start)
        assert (small[:, start : start + m].sum(1) == min(n, width)).all()


def test_keep_best_at_the_ends() -> None:
    scores = torch.tensor([1.0, 2.0])
    assert keep_best(scores, 0).tolist() == [False, False]
    assert keep_best(scores, 2).tolist() == [True, True]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("unstructured", Unstructured()), ("1:8", NM(1, 8)), ("1x4", Block(1, 4))],
)
def test_patterns(text: str, pattern: object) -> None:
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize("text", ["", "2:2", "0:4", "4:2", "0x4", "4x", "block", "1:4:8", "-1:4"])
def test_refused_patterns(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_pattern(text)
