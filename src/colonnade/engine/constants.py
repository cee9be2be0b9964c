"""Packed constants: made once per key, shared by every plan and shape of an engine.

Engines of one process that hold equal arrays share them too.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np

from colonnade.planner.choice import Const

SHARED_BYTES_MIN = 4096
"""Arrays below this are not worth looking up."""
_SAMPLES = 1024

_Fingerprint = tuple[str, tuple[int, ...], int]


@dataclass
class SharedArrays:
    """Arrays that somebody in this process still holds, by content."""

    _known: dict[_Fingerprint, list[weakref.ref[np.ndarray]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def share(self, array: np.ndarray) -> np.ndarray:
        """An equal array that is already held, or this one; read-only from now on."""
        if array.nbytes < SHARED_BYTES_MIN:
            return array
        array.flags.writeable = False
        mark = _fingerprint(array)
        with self._lock:
            alive = [ref for ref in self._known.get(mark, ()) if ref() is not None]
            for ref in alive:
                other = ref()
                # By bytes: NaN equals itself, and zeros of two signs differ.
                if other is not None and np.array_equal(_raw(other), _raw(array)):
                    return other
            self._known[mark] = [*alive, weakref.ref(array)]
        return array


def _raw(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _fingerprint(array: np.ndarray) -> _Fingerprint:
    raw = _raw(array)
    sample = raw[:: max(1, raw.size // _SAMPLES)]
    return array.dtype.str, array.shape, hash(sample.tobytes())


PROCESS_ARRAYS = SharedArrays()
"""A cache, not state: what it holds only saves memory, and goes when the last engine goes."""


class ConstantStore:
    """Arrays by key; the same key gives the same array."""

    def __init__(self, shared: SharedArrays = PROCESS_ARRAYS) -> None:
        self._arrays: dict[tuple[object, ...], np.ndarray] = {}
        self._shared = shared

    def pack(self, constant: Const) -> np.ndarray:
        """The constant's array, made on first use."""
        if constant.key not in self._arrays:
            made = np.ascontiguousarray(constant.make())
            self._arrays[constant.key] = self._shared.share(made)
        return self._arrays[constant.key]

    def peek(self, constant: Const) -> np.ndarray:
        """The array if it is there, else one made for the caller alone."""
        known = self._arrays.get(constant.key)
        return known if known is not None else np.ascontiguousarray(constant.make())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays.values())
