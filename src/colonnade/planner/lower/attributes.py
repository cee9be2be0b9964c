"""Typed reading of a node's attributes and inputs, as lowerings need them."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.planner.choice import View


def operand(node: Node, number: int) -> str:
    """The name of an input; empty when it is absent."""
    return node.inputs[number] if number < len(node.inputs) else ""


def integer(node: Node, name: str, default: int) -> int:
    """An integer attribute."""
    value = node.attrs.get(name, default)
    assert isinstance(value, int), f"{node}: attribute {name} is not an integer"
    return value


def real(node: Node, name: str, default: float) -> float:
    """A float attribute."""
    value = node.attrs.get(name, default)
    assert isinstance(value, int | float), f"{node}: attribute {name} is not a number"
    return float(value)


def text(node: Node, name: str, default: str) -> str:
    """A string attribute."""
    value = node.attrs.get(name, default)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    assert isinstance(value, str), f"{node}: attribute {name} is not a string"
    return value


def integers(node: Node, name: str) -> tuple[int, ...] | None:
    """A list of integers; None when it is absent."""
    value = node.attrs.get(name)
    return None if value is None else tuple(int(v) for v in np.atleast_1d(np.asarray(value)))


def reals(node: Node, name: str) -> tuple[float, ...] | None:
    """A list of floats; None when it is absent."""
    value = node.attrs.get(name)
    return None if value is None else tuple(float(v) for v in np.atleast_1d(np.asarray(value)))


def constant_integers(node: Node, number: int, view: View) -> tuple[int, ...] | str | None:
    """The values of an input that must be constant.

    None when it is absent, the reason as a string when it is computed.
    """
    value = operand(node, number)
    if not value:
        return None
    array = view.constant(value)
    if array is None:
        return f"input {number} ({value!r}) is not constant"
    return tuple(int(v) for v in array.reshape(-1))


def constant_reals(node: Node, number: int, view: View) -> tuple[float, ...] | str | None:
    """As constant_integers, for floats."""
    value = operand(node, number)
    if not value:
        return None
    array = view.constant(value)
    if array is None:
        return f"input {number} ({value!r}) is not constant"
    return tuple(float(v) for v in array.reshape(-1))


def axis_of(node: Node, default: int, rank: int) -> int:
    """The attribute `axis`, counted from the front."""
    axis = integer(node, "axis", default)
    return axis + rank if axis < 0 else axis
