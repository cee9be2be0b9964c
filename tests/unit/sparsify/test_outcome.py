"""What a recipe leaves, from its text alone."""

from __future__ import annotations

import pytest

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe import read_recipe
from colonnade.sparsify.recipe.outcome import Zeros, final_zeros


def zeros(*modifiers: str) -> Zeros:
    text = "modifiers:\n" + "".join(f"  - {one}\n" for one in modifiers)
    return final_zeros(read_recipe(text).timeline(10))


@pytest.mark.parametrize(
    ("modifier", "expected"),
    [
        ("gradual_magnitude: {final_sparsity: 0.9, end: 2}", (0.9, "unstructured")),
        ("gradual_magnitude: {end: 2, pattern: '2:8'}", (0.75, "2:8")),
        ("acdc: {sparsity: 0.8, end: 4, pattern: 4x1}", (0.8, "4x1")),
        ("rigl: {sparsity: 0.7, end: 4, update_every: 1}", (0.7, "unstructured")),
        (
            "top_kast: {forward_sparsity: 0.6, backward_sparsity: 0.5, end: 4}",
            (0.6, "unstructured"),
        ),
        ("nm_flow: {pattern: '1:16', end: 4}", (1 - 1 / 16, "1:16")),
    ],
)
def test_shares(modifier: str, expected: tuple[float, str]) -> None:
    found = zeros(modifier)
    assert (found.sparsity, found.pattern) == pytest.approx(expected)
    assert found.modifier == modifier.partition(":")[0]


def test_the_last_one_counts() -> None:
    first = "gradual_magnitude: {final_sparsity: 0.5, end: 1}"
    second = "gradual_magnitude: {final_sparsity: 0.8, start: 1, end: 2}"
    assert zeros(first, second, "learning_rate: {init: 0.1, end: 2}").sparsity == 0.8


def test_what_it_cannot_say() -> None:
    with pytest.raises(RecipeError, match="no modifier"):
        zeros("learning_rate: {init: 0.1, end: 2}")
    with pytest.raises(RecipeError, match="shares of their own"):
        zeros("gradual_magnitude: {final_sparsity: {one: 0.5}, end: 1}")
