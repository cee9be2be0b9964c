"""Raw tensor bytes: there and back, and every length that lies."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.utils as triton

from colonnade.serve.protocol import DATATYPES
from colonnade.serve.refusal import Refusal
from colonnade.serve.wire import count_elements, decode_raw, encode_raw

NUMBERS = [name for name in DATATYPES if name != "BYTES"]


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_there_and_back(datatype: str) -> None:
    array = np.arange(6).astype(DATATYPES[datatype]).reshape(2, 3)
    found = decode_raw("x", datatype, [2, 3], bytes(encode_raw(array)))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_transposed_arrays_are_written_in_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    np.testing.assert_array_equal(decode_raw("x", "INT32", [3, 2], bytes(encode_raw(array))), array)


def test_bytes_as_a_client_writes_them() -> None:
    array = np.array([[b"one", b""], [b"\xff\x00", b"four"]], object)
    raw = triton.serialize_byte_tensor(array).item()
    np.testing.assert_array_equal(decode_raw("x", "BYTES", [2, 2], raw), array)
    assert bytes(encode_raw(array)) == raw


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    array = np.array([1.0, -2.5, 0.0, np.inf], np.float32)
    raw = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = decode_raw("x", "BF16", [4], raw)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP32", [2], b"\0" * 7),
        ("FP32", [2], b"\0" * 12),
        ("FP33", [2], b"\0" * 8),
        ("FP32", [-1], b""),
        ("FP32", [1 << 32, 1 << 32], b""),
        ("FP32", [1] * 33, b"\0" * 4),
        ("BYTES", [1], b"\x05\0\0\0abc"),
        ("BYTES", [1], b"\x01\0\0\0abc"),
        ("BYTES", [2], b"\x04\0\0\0abcd"),
        ("BYTES", [1 << 30], b"\0" * 8),
        ("BYTES", [1], b"\xff\xff\xff\xff"),
    ],
)
def test_what_does_not_fit_is_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    with pytest.raises(Refusal):
        decode_raw("x", datatype, shape, raw)


def test_a_size_of_zero_hides_no_other() -> None:
    with pytest.raises(Refusal):
        count_elements("x", [0, 1 << 62])
