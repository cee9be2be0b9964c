"""Check the arrays given to `run` against the model's inputs, and make example ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from colonnade.errors import InputError
from colonnade.ir import Dim, DType, Graph

EXAMPLE_BATCH = 1
EXAMPLE_DIM = 128
"""Sizes of symbolic dimensions in example inputs: the first axis, and any other."""


def check_inputs(
    graph: Graph,
    inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    names: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The inputs by name as C-contiguous native-endian arrays; raises InputError.

    `names`: those that are expected; all of the model's by default.
    """
    expected = graph.inputs if names is None else names
    named = _by_name(expected, inputs)
    symbols: dict[str, tuple[int, str]] = {}
    return {name: check_array(graph, name, named[name], symbols) for name in expected}


def shapes_of(inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs that are arrays: sequences and absent values have none."""
    return {name: v.shape for name, v in inputs.items() if isinstance(v, np.ndarray)}


def resolve_shape(
    graph: Graph, name: str, inputs: Mapping[str, np.ndarray]
) -> tuple[int, ...] | None:
    """The shape of an input, its symbols as in the other inputs; None when they do not say."""
    sizes: dict[Dim, int] = {}
    for other, array in inputs.items():
        sizes.update(zip(graph.shape(other) or (), array.shape, strict=False))
    shape = graph.shape(name)
    if shape is None:
        return None
    known = [dim if isinstance(dim, int) else sizes.get(dim) for dim in shape]
    return None if None in known else tuple(dim for dim in known if dim is not None)


def _by_name(
    expected: Sequence[str], inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]
) -> Mapping[str, np.ndarray]:
    if isinstance(inputs, Mapping):
        unknown = [name for name in inputs if name not in expected]
        missing = [name for name in expected if name not in inputs]
        if unknown or missing:
            raise InputError(
                f"unknown inputs {unknown}, missing inputs {missing}; "
                f"the model's inputs are {list(expected)}"
            )
        return inputs
    given: object = inputs
    if isinstance(given, np.ndarray | str | bytes) or not isinstance(given, Sequence):
        raise InputError(
            f"inputs are a dict of arrays by name or a list in input order, got "
            f"{type(inputs).__name__}"
        )
    if len(inputs) != len(expected):
        raise InputError(f"{len(inputs)} arrays for {len(expected)} inputs {list(expected)}")
    return dict(zip(expected, inputs, strict=True))


def check_array(
    graph: Graph, name: str, given: object, symbols: dict[str, tuple[int, str]]
) -> np.ndarray:
    """One input as check_inputs returns it; `symbols` collects sizes of dimensions, and where."""
    if graph.dtype(name) is DType.OTHER and (given is None or isinstance(given, list)):
        return cast(np.ndarray, given)  # A sequence or an optional value, for a fallback region.
    array = given if isinstance(given, np.ndarray | np.generic) else None
    if array is None:
        raise InputError(f"input {name!r}: expected a numpy array, got {type(given).__name__}")
    array = np.asarray(array)
    expected = graph.dtype(name)
    if DType.from_numpy(array.dtype) is not expected:
        raise InputError(
            f"input {name!r}: element type {array.dtype}, expected {expected.numpy}; "
            "convert it with astype()"
        )
    _check_shape(graph, name, array.shape, symbols)
    if expected is DType.STRING:
        return array
    return np.ascontiguousarray(array, dtype=expected.numpy).reshape(array.shape)


def _check_shape(
    graph: Graph, name: str, got: tuple[int, ...], symbols: dict[str, tuple[int, str]]
) -> None:
    shape = graph.shape(name)
    if shape is None:
        return
    if len(got) != len(shape):
        raise InputError(
            f"input {name!r}: {len(got)} axes {list(got)}, expected {len(shape)}: {list(shape)}"
        )
    for axis, (dim, size) in enumerate(zip(shape, got, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise InputError(f"input {name!r}: axis {axis} has size {size}, expected {dim}")
        if isinstance(dim, str):
            known, where = symbols.setdefault(dim, (size, name))
            if known != size:
                raise InputError(
                    f"input {name!r}: axis {axis} ({dim}) has size {size}, but {known} in {where!r}"
                )


def example_inputs(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, small non-negative integers, true booleans."""
    rng = np.random.default_rng(seed)
    made = {}
    for name in graph.inputs:
        declared = graph.shape(name) or ()
        shape = shapes.get(name) or tuple(_example_dim(d, i) for i, d in enumerate(declared))
        made[name] = _random_array(rng, graph.dtype(name), shape)
    return made


def _example_dim(dim: Dim, axis: int) -> int:
    if isinstance(dim, int):
        return dim
    return EXAMPLE_BATCH if axis == 0 else EXAMPLE_DIM


def _random_array(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    if dtype in (DType.FLOAT32, DType.FLOAT64, DType.FLOAT16):
        return rng.standard_normal(shape).astype(dtype.numpy)
    if dtype is DType.BOOL:
        return np.ones(shape, np.bool_)
    if dtype is DType.STRING:
        return np.full(shape, "", dtype=object)
    return rng.integers(0, 2, shape).astype(dtype.numpy)
