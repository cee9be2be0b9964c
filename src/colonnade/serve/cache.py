"""Answers to inputs seen before, up to a number of bytes; the one unused for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

Answer = dict[str, np.ndarray]


def cache_key(inputs: Mapping[str, np.ndarray]) -> bytes:
    """A digest of names, element types, shapes and bytes."""
    digest = blake2b(digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        if array.dtype.kind == "O":
            for item in array.reshape(-1):
                raw = item if isinstance(item, bytes) else str(item).encode()
                digest.update(len(raw).to_bytes(8, "little") + raw)
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


class ResponseCache:
    """Of one version of a model. Answers that it returns must not be changed."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self.bytes = 0

    def get(self, key: bytes) -> Answer | None:
        """The answer, if it is there."""
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer, if it fits at all."""
        size = _size(answer)
        if size > self._bytes_max or key in self._answers:
            return
        self._answers[key] = answer
        self.bytes += size
        while self.bytes > self._bytes_max:
            _, gone = self._answers.popitem(last=False)
            self.bytes -= _size(gone)


def _size(answer: Answer) -> int:
    return sum(array.nbytes for array in answer.values()) + 256
