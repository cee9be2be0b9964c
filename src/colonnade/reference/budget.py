"""The memory that one evaluation may take; asked before an allocation that inputs do not bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from numpy.typing import DTypeLike

from colonnade.reference.failure import EvaluationError, OverBudgetError

DEFAULT_BYTES = 64 << 20

_max_bytes: ContextVar[int] = ContextVar("max_bytes", default=DEFAULT_BYTES)


@contextmanager
def budget(max_bytes: int) -> Iterator[None]:
    """Limit each array that is made inside."""
    token = _max_bytes.set(max_bytes)
    try:
        yield
    finally:
        _max_bytes.reset(token)


def reserve(shape: Iterable[int], dtype: DTypeLike = np.float32) -> tuple[int, ...]:
    """The shape as plain integers, once it is sure that an array of it may be made."""
    dims = tuple(int(dim) for dim in shape)
    if any(dim < 0 for dim in dims):
        raise EvaluationError(f"negative dimension in {list(dims)}")
    nbytes = math.prod(dims) * np.dtype(dtype).itemsize
    if nbytes > _max_bytes.get():
        raise OverBudgetError(f"{list(dims)} takes {nbytes} bytes, {_max_bytes.get()} are allowed")
    return dims


def reserve_broadcast(*arrays: np.ndarray) -> tuple[int, ...]:
    """The broadcast shape of the arrays, once it is sure that an array of it may be made."""
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    return reserve(shape, arrays[0].dtype)


def reserve_work(steps: int) -> None:
    """Refuse a computation of more scalar steps than 256 for each allowed byte."""
    if steps > 256 * _max_bytes.get():
        raise OverBudgetError(f"{steps} steps are too many")
