"""Requests into one batch of arrays, and its outputs back into answers: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.engine.engine import TensorInfo
from colonnade.serve.protocol import datatype_of
from colonnade.serve.refusal import Kind, Refusal

Key = tuple[tuple[int, ...], ...]
"""The shapes of the inputs in order; without their first axis where that is the batch."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, as a request sees them."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    is_batched: bool = False
    """Whether the first axis of every tensor is the batch."""
    buckets: Mapping[str, tuple[int, ...]] | None = None
    """By symbolic dimension: the sizes it is padded to."""
    padding: Mapping[str, float] | None = None
    """By input: what it is padded with."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request's arrays, checked. `sizes`: of the padded symbols, before padding."""

    arrays: tuple[np.ndarray, ...]
    key: Key
    rows: int
    sizes: Mapping[str, int]


def prepare(signature: Signature, inputs: Mapping[str, np.ndarray], rows_max: int) -> Prepared:
    """Check a request against the model: names, element types, shapes. Raises Refusal."""
    infos = signature.inputs
    if len(inputs) != len(infos) or any(info.name not in inputs for info in infos):
        raise _wrong_names(signature, inputs)
    symbols: dict[str, int] = {}
    arrays = tuple(_check(info, inputs[info.name], symbols) for info in infos)
    if not signature.is_batched:
        rows = 1
    else:
        rows = arrays[0].shape[0]
        _verify_rows(infos, arrays, rows, rows_max)
    sizes: Mapping[str, int] = _NO_SIZES
    if signature.buckets:
        sizes = {s: symbols[s] for s in signature.buckets if s in symbols}
        arrays = _pad_all(signature, arrays, sizes)
    first = 1 if signature.is_batched else 0
    return Prepared(arrays, tuple([a.shape[first:] for a in arrays]), rows, sizes)


_NO_SIZES: Mapping[str, int] = {}


def _wrong_names(signature: Signature, inputs: Mapping[str, np.ndarray]) -> Refusal:
    expected = [info.name for info in signature.inputs]
    unknown = [name for name in inputs if name not in expected]
    missing = [name for name in expected if name not in inputs]
    return Refusal(
        Kind.INVALID,
        f"unknown inputs {unknown}, missing inputs {missing}; the model's inputs are {expected}",
    )


def _check(info: TensorInfo, array: np.ndarray, symbols: dict[str, int]) -> np.ndarray:
    if array.dtype != info.dtype:
        raise Refusal(
            Kind.INVALID,
            f"input {info.name!r}: datatype {datatype_of(array.dtype)}, expected "
            f"{datatype_of(info.dtype)}",
        )
    if info.shape is None:
        return array
    if len(array.shape) != len(info.shape):
        raise _wrong_shape(info, array)
    for dim, size in zip(info.shape, array.shape, strict=True):
        if dim is None or dim == size:
            continue
        if isinstance(dim, int) or symbols.setdefault(dim, size) != size:
            raise _wrong_shape(info, array)
    return _as_text(array) if array.dtype.kind == "O" else array


def _wrong_shape(info: TensorInfo, array: np.ndarray) -> Refusal:
    expected = list(info.shape or ())
    return Refusal(
        Kind.INVALID,
        f"input {info.name!r}: shape {list(array.shape)}, expected {expected}; the same name is "
        "the same size in all inputs",
    )


def _as_text(array: np.ndarray) -> np.ndarray:
    """BYTES arrive as bytes; models compute on text."""
    try:
        texts = [i.decode() if isinstance(i, bytes) else str(i) for i in array.reshape(-1)]
    except UnicodeDecodeError:
        raise Refusal(Kind.INVALID, "a BYTES tensor of this model has to be UTF-8 text") from None
    made = np.empty(len(texts), object)
    made[:] = texts
    return made.reshape(array.shape)


def _verify_rows(
    infos: Sequence[TensorInfo], arrays: Sequence[np.ndarray], rows: int, rows_max: int
) -> None:
    for info, array in zip(infos, arrays, strict=True):
        if array.shape[0] != rows:
            raise Refusal(
                Kind.INVALID, f"input {info.name!r}: {array.shape[0]} rows, but {rows} in others"
            )
    if not 1 <= rows <= rows_max:
        raise Refusal(
            Kind.INVALID,
            f"batch of {rows} rows; this model takes 1 to {rows_max} (max_batch_size) in a request",
        )


def bucket_for(size: int, buckets: Sequence[int], symbol: str) -> int:
    """The smallest bucket that holds `size`; raises Refusal when none does.

    >>> bucket_for(20, (16, 32, 64), "sequence")
    32
    """
    for bucket in buckets:
        if size <= bucket:
            return bucket
    raise Refusal(Kind.INVALID, f"{symbol} of {size}; the longest that is served is {buckets[-1]}")


def _pad_all(
    signature: Signature, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]
) -> tuple[np.ndarray, ...]:
    buckets = signature.buckets or {}
    targets = {symbol: bucket_for(n, buckets[symbol], symbol) for symbol, n in sizes.items()}
    values = signature.padding or {}
    return tuple(
        _pad(array, info, targets, values.get(info.name, 0.0))
        for info, array in zip(signature.inputs, arrays, strict=True)
    )


def _pad(
    array: np.ndarray, info: TensorInfo, targets: Mapping[str, int], value: float
) -> np.ndarray:
    shape = tuple(
        targets.get(dim, size) if isinstance(dim, str) else size
        for dim, size in zip(info.shape or (), array.shape, strict=True)
    )
    if shape == array.shape:
        return array
    padded = np.full(shape, "" if array.dtype.kind == "O" else value, array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def join(
    signature: Signature, requests: Sequence[Prepared], rows: int, size: int
) -> dict[str, np.ndarray]:
    """The arrays of a batch of `size`; the rows beyond those asked for repeat the last one."""
    if len(requests) == 1 and rows == size:
        return {i.name: a for i, a in zip(signature.inputs, requests[0].arrays, strict=True)}
    joined = {}
    for position, info in enumerate(signature.inputs):
        parts = [request.arrays[position] for request in requests]
        if rows < size:
            parts.append(np.repeat(parts[-1][-1:], size - rows, axis=0))
        joined[info.name] = np.concatenate(parts)
    return joined


def split(
    signature: Signature, requests: Sequence[Prepared], made: Mapping[str, np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """The outputs of each request: its rows, without padding."""
    answers: list[dict[str, np.ndarray]] = []
    first = 0
    for request in requests:
        last = first + request.rows
        answer = {}
        for info in signature.outputs:
            array = made[info.name]
            if signature.is_batched:
                array = array[first:last]
            answer[info.name] = _trim(array, info, request.sizes) if request.sizes else array
        answers.append(answer)
        first = last
    return answers


def _trim(array: np.ndarray, info: TensorInfo, sizes: Mapping[str, int]) -> np.ndarray:
    if info.shape is None:
        return array
    cut = tuple(
        slice(sizes[dim]) if isinstance(dim, str) and dim in sizes else slice(None)
        for dim in info.shape
    )
    return array[cut]
