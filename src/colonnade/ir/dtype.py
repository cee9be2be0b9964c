"""Element types of tensors, named as ONNX names them."""

from __future__ import annotations

import enum

import numpy as np


class DType(enum.Enum):
    """Element type; the value is the ONNX TensorProto name in lower case."""

    FLOAT32 = "float"
    UINT8 = "uint8"
    INT8 = "int8"
    UINT16 = "uint16"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    STRING = "string"
    BOOL = "bool"
    FLOAT16 = "float16"
    FLOAT64 = "double"
    UINT32 = "uint32"
    UINT64 = "uint64"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    BFLOAT16 = "bfloat16"
    OTHER = "other"
    """Types without a numpy equivalent (sub-byte, float8) and non-tensor values: fallback only."""

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype; raises KeyError for BFLOAT16 and OTHER, which numpy lacks."""
        return _TO_NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element; 0 for strings and OTHER."""
        if self in (DType.STRING, DType.OTHER):
            return 0
        return 2 if self is DType.BFLOAT16 else self.numpy.itemsize

    @staticmethod
    def from_numpy(dtype: np.dtype[np.generic]) -> DType:
        """The DType of a numpy dtype; OTHER where there is none."""
        if dtype.kind in "OUS":
            return DType.STRING
        return _FROM_NUMPY.get(dtype.newbyteorder("="), DType.OTHER)


_TO_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT8: np.dtype(np.int8),
    DType.UINT16: np.dtype(np.uint16),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.STRING: np.dtype(object),
    DType.BOOL: np.dtype(np.bool_),
    DType.FLOAT16: np.dtype(np.float16),
    DType.FLOAT64: np.dtype(np.float64),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.COMPLEX64: np.dtype(np.complex64),
    DType.COMPLEX128: np.dtype(np.complex128),
}
_FROM_NUMPY = {value: key for key, value in _TO_NUMPY.items()}
