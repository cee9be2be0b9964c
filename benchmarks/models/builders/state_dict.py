"""Reads a state dict saved by an older torch, without torch: nothing in the file is executed.

The file is four pickles (magic number, version, system, the dict, whose tensors name their
storages), a fifth with the storage keys, and then each storage: its length and its elements.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
LENGTH_BYTES = 8
DTYPES = {"FloatStorage": np.dtype(np.float32), "LongStorage": np.dtype(np.int64)}


@dataclass(frozen=True)
class _View:
    """A tensor whose storage comes later in the file."""

    key: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements; the convolutions of some files are stored transposed."""


def read_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """The tensors by name; ValueError for another file, UnpicklingError for other content."""
    file = io.BytesIO(data)
    if (_load(file), _load(file)) != (MAGIC, VERSION):
        raise ValueError("not a state dict in torch's stream format")
    _load(file)
    views: dict[str, _View] = _load(file)
    dtypes = {view.key: view.dtype for view in views.values()}
    storages = {key: _storage(file, dtypes[key]) for key in _load(file)}
    return {name: _array(storages[view.key], view) for name, view in views.items()}


class _Reader(pickle.Unpickler):
    """An unpickler that knows dicts and tensors and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a state dict")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _, dtype, key, *_ = pid
        return key, dtype


def _load(file: io.BytesIO) -> Any:
    return _Reader(file).load()


def _view(
    storage: tuple[str, np.dtype[Any]],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_: object,
) -> _View:
    return _View(*storage, offset, shape, strides)


def _storage(file: io.BytesIO, dtype: np.dtype[Any]) -> np.ndarray:
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    return np.frombuffer(file.read(length * dtype.itemsize), dtype)


def _array(storage: np.ndarray, view: _View) -> np.ndarray:
    last = view.offset + sum(
        (size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True)
    )
    if min(view.offset, *view.strides, 0) < 0 or last >= storage.size:
        raise ValueError(f"a tensor of shape {view.shape} leaves its storage of {storage.size}")
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(
        storage[view.offset :], view.shape, strides, writeable=False
    )
