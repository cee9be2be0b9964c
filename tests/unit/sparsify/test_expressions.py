"""Arithmetic in recipes: what it knows, and that nothing else is let in."""

from __future__ import annotations

import pytest

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.expressions import evaluate, names_in


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-(a - 1) ** 2", -4),
        ("7 // 2 + 7 % 2", 4),
        ("min(a, 2, 5) + max(1, b)", 2.5 - 0.5 + 1),
        ("round(b * 10) + int(2.9) + ceil(0.1) + floor(0.9)", 8),
        ("sqrt(9) + abs(-1) + log(e) + exp(0)", 6),
    ],
)
def test_values(text: str, value: float) -> None:
    assert evaluate(text, {"a": 3, "b": 0.5}) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "is not allowed"),
        ("a.real", "'a.real' is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("[1][0]", "is not allowed"),
        ("'a' * 10", "is not allowed"),
        ("True", "is not allowed"),
        ("a if a else 1", "is not allowed"),
        ("max(*a)", "is not allowed"),
        ("round(number=1)", "is not allowed"),
        ("9 ** 9 ** 9", "an exponent of 387420489"),
        ("10 ** 999", "not a finite number"),
        ("(-1) ** 0.5", "not a finite number"),
        ("1e400", "not a finite number"),
        ("1 / 0", "division by zero"),
        ("sqrt(-1)", "math domain error|expected a nonnegative input"),
        ("", "is not an arithmetic expression"),
        ("1 +", "is not an arithmetic expression"),
        ("c + 1", "unknown variable 'c'; known: a"),
        ("aa", "did you mean a?"),
        ("1" * 1001, "an expression of 1001 characters"),
        ("(" * 400 + "1" + ")" * 400, "expression|nested"),
        ("x(" * 300, "is not an arithmetic"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        evaluate(text, {"a": 3})


def test_names() -> None:
    assert names_in("max(a, pi) * b1 + 2") == {"a", "b1"}
    assert names_in("1 +") == set()
