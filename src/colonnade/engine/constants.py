"""Packed constants: made once per key, shared by every plan and shape of an engine."""

from __future__ import annotations

import numpy as np

from colonnade.planner.choice import Const


class ConstantStore:
    """Arrays by key; the same key gives the same array."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[object, ...], np.ndarray] = {}

    def pack(self, constant: Const) -> np.ndarray:
        """The constant's array, made on first use."""
        if constant.key not in self._arrays:
            self._arrays[constant.key] = np.ascontiguousarray(constant.make())
        return self._arrays[constant.key]

    def peek(self, constant: Const) -> np.ndarray:
        """The array if it is there, else one made for the caller alone."""
        known = self._arrays.get(constant.key)
        return known if known is not None else np.ascontiguousarray(constant.make())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays.values())
