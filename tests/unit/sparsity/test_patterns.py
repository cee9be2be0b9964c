"""Patterns and masks: what a text means, what is kept."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from colonnade.errors import InputError
from colonnade.sparsity import NM, Block, Unstructured, Vector, make_mask, parse_pattern
from colonnade.sparsity.patterns import why_not


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("unstructured", Unstructured()),
        ("2:4", NM(2, 4)),
        ("1 : 16", NM(1, 16)),
        ("4x1", Block(4, 1)),
        ("channel", Vector("channel")),
    ],
)
def test_a_text_names_a_pattern(text: str, pattern: object) -> None:
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize("text", ["", "4:2", "4:4", "0:4", "0x4", "2;4", "nm", "9999999x1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        parse_pattern(text)


def test_of_equal_costs_the_first_stay() -> None:
    costs = np.ones((2, 4))
    assert make_mask(costs, Unstructured(), 0.5).tolist() == [[True] * 4, [False] * 4]
    assert make_mask(costs, Unstructured(), 0.5, scope="row")[:, :2].all()
    assert make_mask(costs, NM(1, 2), 0.5)[0].tolist() == [True, False, True, False]


def test_the_last_group_of_a_row_may_be_shorter() -> None:
    costs = np.array([[5.0, 4, 3, 2, 1, 0]])
    assert make_mask(costs, NM(1, 4), 0.75)[0].tolist() == [True, False, False, False, True, False]


def test_blocks_go_as_one() -> None:
    costs = np.array([[1.0, 9, 3, 3], [1, 1, 3, 3]])
    tall = make_mask(costs, Block(2, 1), 0.5)
    assert tall.tolist() == [[False, True, True, False]] * 2
    wide = make_mask(costs, Block(1, 2), 0.5)
    assert wide.tolist() == [[True, True, True, True], [False, False, False, False]]
    edges = make_mask(np.array([[0.0, 0, 5], [0, 0, 5], [1, 1, 9]]), Block(2, 2), 0.5)
    assert edges.tolist() == [[False, False, True]] * 2 + [[False, False, True]]


def test_vectors_are_rows_or_all_taps_of_an_input() -> None:
    costs = np.array([[1.0, 5, 1, 5], [2, 6, 2, 6]])
    assert make_mask(costs, Vector("filter"), 0.5).tolist() == [[False] * 4, [True] * 4]
    kept = make_mask(costs, Vector("channel"), 0.5, taps=2)
    assert kept.tolist() == [[False, True, False, True]] * 2


@pytest.mark.parametrize(
    ("pattern", "scope"),
    [
        (Unstructured(), "matrix"),
        (Unstructured(), "row"),
        (Block(2, 1), "matrix"),
        (Vector("filter"), "matrix"),
        (Vector("channel"), "matrix"),
    ],
)
def test_the_costliest_unit_always_stays(
    pattern: Unstructured | Block | Vector, scope: Literal["matrix", "row"]
) -> None:
    costs = np.arange(6.0).reshape(2, 3)
    kept = make_mask(costs, pattern, 0.99, scope=scope)
    assert kept[1, 2]
    assert kept.sum() < 6


@pytest.mark.parametrize("sparsity", [1.0, 1.5, -0.1, float("nan")])
def test_a_sparsity_is_a_share_below_1(sparsity: float) -> None:
    with pytest.raises(InputError, match="sparsity"):
        make_mask(np.ones((2, 2)), Unstructured(), sparsity)


@pytest.mark.parametrize(
    ("pattern", "shape", "why"),
    [
        (NM(2, 4), (8, 3, 1), "needs 4 inputs"),
        (NM(2, 4), (8, 6, 9), "straddle"),
        (NM(2, 4), (8, 6, 1), ""),
        (Block(16, 1), (8, 6, 1), "needs 16 outputs"),
        (Unstructured(), (1, 1, 1), ""),
    ],
)
def test_where_a_pattern_does_not_fit(
    pattern: NM | Block | Unstructured, shape: tuple[int, int, int], why: str
) -> None:
    assert why in why_not(pattern, *shape)
    assert bool(why) == bool(why_not(pattern, *shape))
