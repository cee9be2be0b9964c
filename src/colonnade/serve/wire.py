"""Raw tensor bytes of the binary extension and of gRPC: little-endian, row by row.

BYTES is a 4-byte length before each element. BF16 becomes FP32 on the way in: the values are the
same. Every size is checked before anything is allocated for it.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence

import numpy as np

from colonnade.serve.protocol import DATATYPES
from colonnade.serve.refusal import Kind, Refusal

RANK_MAX = 32
ELEMENTS_MAX = 1 << 40

_IS_LITTLE = sys.byteorder == "little"
_LENGTH = struct.Struct("<I")


def count_elements(name: str, shape: Sequence[int]) -> int:
    """The product of a shape; refuses negative sizes and products beyond any memory."""
    if len(shape) > RANK_MAX:
        raise Refusal(Kind.INVALID, f"tensor {name!r}: {len(shape)} axes; at most {RANK_MAX}")
    for size in shape:
        if size < 0:
            raise Refusal(Kind.INVALID, f"tensor {name!r}: shape {list(shape)} has a negative size")
    count = math.prod(shape)
    if count > ELEMENTS_MAX or max(shape, default=0) > ELEMENTS_MAX:
        raise Refusal(Kind.INVALID, f"tensor {name!r}: shape {list(shape)} is too large")
    return count


def decode_raw(
    name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview
) -> np.ndarray:
    """An array over the bytes (not a copy, except for BYTES and BF16); raises Refusal."""
    count = count_elements(name, shape)
    if datatype == "BYTES":
        return _decode_bytes(name, count, raw).reshape(shape)
    is_bf16 = datatype == "BF16"
    dtype = np.dtype("<u2") if is_bf16 else DATATYPES.get(datatype)
    if dtype is None:
        raise unknown_datatype(name, datatype)
    if len(raw) != count * dtype.itemsize:
        raise Refusal(
            Kind.INVALID,
            f"tensor {name!r}: {len(raw)} bytes of data, expected {count * dtype.itemsize} for "
            f"{datatype} {list(shape)}",
        )
    array = np.frombuffer(raw, dtype)
    if is_bf16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.reshape(shape)


def unknown_datatype(name: str, datatype: str) -> Refusal:
    """The refusal of a datatype that the protocol does not have."""
    known = ", ".join((*DATATYPES, "BF16"))
    return Refusal(Kind.INVALID, f"tensor {name!r}: datatype {datatype!r}; known are {known}")


def _decode_bytes(name: str, count: int, raw: bytes | memoryview) -> np.ndarray:
    if len(raw) < count * _LENGTH.size:
        raise Refusal(
            Kind.INVALID, f"tensor {name!r}: {len(raw)} bytes of data cannot hold {count} elements"
        )
    array = np.empty(count, object)
    offset = 0
    for index in range(count):
        begin = offset + _LENGTH.size
        if begin > len(raw):
            raise Refusal(Kind.INVALID, f"tensor {name!r}: data ends in element {index}")
        offset = begin + _LENGTH.unpack_from(raw, offset)[0]
        if offset > len(raw):
            raise Refusal(Kind.INVALID, f"tensor {name!r}: data ends in element {index}")
        array[index] = bytes(raw[begin:offset])
    if offset != len(raw):
        raise Refusal(
            Kind.INVALID, f"tensor {name!r}: {len(raw) - offset} bytes after the last element"
        )
    return array


def encode_raw(array: np.ndarray) -> bytes | memoryview:
    """The bytes of an array: of its own memory where they are there in order."""
    if array.dtype.kind in "OSU":
        return _encode_bytes(array)
    if array.dtype.byteorder in "=|" and _IS_LITTLE:
        return array.tobytes()
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data if little.size else b""


def _encode_bytes(array: np.ndarray) -> bytes:
    parts: list[bytes] = []
    for item in array.reshape(-1):
        raw = item if isinstance(item, bytes) else str(item).encode()
        parts += (_LENGTH.pack(len(raw)), raw)
    return b"".join(parts)
