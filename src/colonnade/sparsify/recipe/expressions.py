"""Arithmetic in recipes: numbers, names of variables, + - * / // % **, and a few functions.

The text is parsed with Python's grammar and walked; nothing of it is ever executed as Python.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

from colonnade.errors import RecipeError

Number = int | float

LENGTH_MAX = 1000
EXPONENT_MAX = 1000
MAGNITUDE_MAX = 1e300

_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: operator.pow,
    }
)

FUNCTIONS: Mapping[str, Callable[..., Number]] = MappingProxyType(
    {
        "abs": abs,
        "ceil": math.ceil,
        "exp": math.exp,
        "float": float,
        "floor": math.floor,
        "int": int,
        "log": math.log,
        "max": max,
        "min": min,
        "round": round,
        "sqrt": math.sqrt,
    }
)

CONSTANTS: Mapping[str, Number] = MappingProxyType({"pi": math.pi, "e": math.e})


def evaluate(text: str, variables: Mapping[str, Number]) -> Number:
    """The value of an arithmetic expression.

    >>> evaluate("max(2, epochs * 0.5)", {"epochs": 10})
    5.0
    """
    if len(text) > LENGTH_MAX:
        raise RecipeError(f"an expression of {len(text)} characters; at most {LENGTH_MAX}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
        value = _value(body, variables)
    except RecipeError:
        raise
    except SyntaxError:
        raise RecipeError(f"{text!r} is not an arithmetic expression") from None
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RecipeError(f"{text!r}: {error}") from None
    return _bounded(value, text)


def names_in(text: str) -> set[str]:
    """The variables that an expression uses (none if it is no expression)."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    known = FUNCTIONS.keys() | CONSTANTS.keys()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - known


def _value(node: ast.expr, variables: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return value  # type: ignore[return-value]  # the guard says so
        case ast.Name(id=name):
            return _lookup(name, variables)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, variables)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, variables)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combine(op, _value(left, variables), _value(right, variables))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(argument, variables) for argument in args))
    raise RecipeError(
        f"{ast.unparse(node)!r} is not allowed in an expression; it may use numbers, variables, "
        f"+ - * / // % ** and {', '.join(FUNCTIONS)}"
    )


def _combine(op: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(op, ast.Pow) and abs(right) > EXPONENT_MAX:
        raise RecipeError(f"an exponent of {right}; at most {EXPONENT_MAX}")
    return _bounded(_BINARY[type(op)](left, right), "a part of the expression")


def _bounded(value: Number, text: str) -> Number:
    if isinstance(value, complex) or not abs(value) < MAGNITUDE_MAX:
        raise RecipeError(f"{text!r} is not a finite number of moderate size")
    return value


def _lookup(name: str, variables: Mapping[str, Number]) -> Number:
    if name in variables:
        return variables[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    near = difflib.get_close_matches(name, variables, n=1, cutoff=0.5)
    known = f"did you mean {near[0]}?" if near else f"known: {', '.join(variables) or 'none'}"
    raise RecipeError(f"unknown variable {name!r}; {known}")
