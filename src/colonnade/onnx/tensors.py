"""TensorProto to numpy: every size is checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, numpy_helper

from colonnade.errors import ModelError
from colonnade.ir import DType
from colonnade.onnx.budget import Budget
from colonnade.onnx.external import ExternalFolder, Location, parse_location
from colonnade.onnx.source import Source
from colonnade.onnx.wire import TENSOR_DOUBLES, TENSOR_FLOATS, TENSOR_RAW, Payload

MAX_DIM = (1 << 63) - 1
MAX_RANK = 32

_VALUE_FIELDS = (
    "raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data",
    "uint64_data",
)  # fmt: skip
_EXTERNAL = TensorProto.EXTERNAL
_STRING = TensorProto.STRING

_FIELD_OF_TYPE: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
"""The typed field of each element type; the others, and the small ones, are in int32_data."""
_PAYLOAD_NAMES = {
    TENSOR_RAW: "raw_data", TENSOR_FLOATS: "float_data", TENSOR_DOUBLES: "double_data",
}  # fmt: skip

_DTYPES: dict[int, DType] = {
    TensorProto.DataType.Value(name): DType(name.lower())
    for name in TensorProto.DataType.keys()  # noqa: SIM118  # an enum wrapper, not a dict
    if name.lower() in {dtype.value for dtype in DType}
}
_KNOWN_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}


def dtype_of(elem_type: int) -> DType:
    """The DType of an ONNX element type; OTHER where numpy has none."""
    return _DTYPES.get(elem_type, DType.OTHER)


def elem_type_of(dtype: DType) -> int:
    """The ONNX element type of a DType; 0 for OTHER."""
    return 0 if dtype is DType.OTHER else TensorProto.DataType.Value(dtype.value.upper())


def is_known_type(elem_type: int) -> bool:
    """True for an element type that this version of ONNX defines."""
    return elem_type in _KNOWN_TYPES


def numpy_of(elem_type: int) -> np.dtype[np.generic]:
    """The numpy type that holds the elements; from ml_dtypes where numpy has none."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


class TensorReader:
    """Checks and reads the tensors of one model."""

    def __init__(self, source: Source, folder: ExternalFolder, budget: Budget) -> None:
        self._source = source
        self._folder = folder
        self._budget = budget

    def check(self, tensor: TensorProto, what: str, payload: Payload | None = None) -> None:
        """Raise ModelError unless the values are there, once, and as many as the shape says."""
        if not is_known_type(tensor.data_type):
            raise ModelError(f"{what}: unknown element type {tensor.data_type}")
        num_elements = check_dims(tensor.dims, what)
        num_bytes = _num_bytes(tensor.data_type, num_elements)
        if num_bytes > self._budget.max_tensor_bytes:
            raise over_budget(f"{what}: shape {list(tensor.dims)}", num_bytes, self._budget)
        if tensor.HasField("segment"):
            raise ModelError(f"{what}: segmented tensors are not supported")
        if tensor.data_location == _EXTERNAL:
            self._check_external(tensor, what, num_bytes)
            return
        _check_values(tensor, what, num_elements, num_bytes, payload)

    def _check_external(self, tensor: TensorProto, what: str, num_bytes: int) -> None:
        if tensor.data_type == _STRING:
            raise ModelError(f"{what}: strings cannot be external data")
        if any(_length(tensor, name) for name in _VALUE_FIELDS):
            raise ModelError(f"{what}: two value fields, external data and one in the model")
        self._folder.check(what, self._location(tensor, what), num_bytes)

    def _location(self, tensor: TensorProto, what: str) -> Location:
        return parse_location(what, tensor.external_data)

    def read(self, tensor: TensorProto, payload: Payload | None = None) -> np.ndarray:
        """The tensor, which `check` has passed, as a contiguous array; do not write into it."""
        shape, elem_type = tuple(tensor.dims), tensor.data_type
        if elem_type == _STRING:
            return _strings(tensor.string_data).reshape(shape)
        num_bytes = _num_bytes(elem_type, math.prod(shape))
        stored = self._stored_bytes(tensor, payload, num_bytes)
        dtype = numpy_of(elem_type)
        if stored is None:
            return numpy_helper.to_array(tensor)
        if dtype.itemsize * 8 > _bits(elem_type):
            packed = TensorProto(data_type=elem_type, dims=shape, raw_data=stored.tobytes())
            return numpy_helper.to_array(packed)
        # A byte that is neither 0 nor 1 is not a bool to numpy.
        flat = stored != 0 if dtype == np.bool_ else stored.view(dtype)
        made = flat.reshape(shape)
        made.flags.writeable = False
        return made

    def _stored_bytes(
        self, tensor: TensorProto, payload: Payload | None, num_bytes: int
    ) -> np.ndarray | None:
        """The little-endian bytes of the values; None when they stand in a typed field."""
        if payload is not None:
            return self._source.array(payload.offset, payload.length, 16)
        if tensor.data_location == _EXTERNAL:
            return self._folder.read(self._location(tensor, tensor.name), num_bytes)
        if tensor.HasField("raw_data"):
            return np.frombuffer(tensor.raw_data, np.uint8)
        return None

    def check_sparse(self, sparse: SparseTensorProto, what: str) -> None:
        """Raise ModelError unless the indices are sorted, unique and inside the shape."""
        values, indices = sparse.values, sparse.indices
        self.check(values, f"{what}: values")
        self.check(indices, f"{what}: indices")
        num_elements = check_dims(sparse.dims, what)
        if len(values.dims) != 1:
            raise ModelError(f"{what}: values have {len(values.dims)} dimensions, expected 1")
        if indices.data_type != TensorProto.INT64:
            raise ModelError(f"{what}: indices must be int64")
        nnz = values.dims[0]
        if list(indices.dims) not in ([nnz], [nnz, len(sparse.dims)]):
            raise ModelError(
                f"{what}: {nnz} values, but indices of shape {list(indices.dims)}; expected "
                f"[{nnz}] or [{nnz}, {len(sparse.dims)}]"
            )
        _check_flat_indices(self._flat_indices(sparse), num_elements, what)
        num_bytes = _num_bytes(values.data_type, num_elements)
        stored = nnz * (8 * len(indices.dims) + 8)
        allowed = max(self._budget.max_const_fold_bytes, _MAX_SPARSE_GROWTH * stored)
        if num_bytes > min(allowed, self._budget.max_tensor_bytes):
            raise ModelError(
                f"{what}: dense it needs {format_bytes(num_bytes)}, budget {format_bytes(allowed)}"
            )

    def read_sparse(self, sparse: SparseTensorProto) -> np.ndarray:
        """The sparse tensor, which `check_sparse` has passed, made dense."""
        values = self.read(sparse.values)
        dense = np.zeros(math.prod(sparse.dims), values.dtype)
        dense[self._flat_indices(sparse)] = values
        return dense.reshape(tuple(sparse.dims))

    def _flat_indices(self, sparse: SparseTensorProto) -> np.ndarray:
        """Indices into the flattened tensor; -1 for one outside the shape."""
        indices = self.read(sparse.indices)
        if indices.ndim == 1:
            return indices
        dims = np.array(sparse.dims, np.int64)
        inside = ((indices >= 0) & (indices < dims)).all(axis=1)
        strides = np.array([math.prod(sparse.dims[i + 1 :]) for i in range(len(dims))], np.int64)
        return np.where(inside, (indices * strides).sum(axis=1), -1)


def to_tensor(array: np.ndarray, name: str = "") -> TensorProto:
    """The array as a TensorProto; strings that were no text become the same bytes again."""
    if array.dtype.kind not in "OSU":
        return numpy_helper.from_array(array, name)
    made = TensorProto(name=name, data_type=_STRING, dims=array.shape)
    for value in array.reshape(-1):
        is_text = isinstance(value, str)
        made.string_data.append(value.encode("utf-8", "surrogateescape") if is_text else value)
    return made


_MAX_SPARSE_GROWTH = 256
"""Dense bytes for one stored byte, above the constant-folding budget."""


def check_dims(dims: Sequence[int], what: str) -> int:
    """The number of elements; raises ModelError for a negative or overflowing shape."""
    if len(dims) > MAX_RANK:
        raise ModelError(f"{what}: {len(dims)} dimensions, at most {MAX_RANK} are supported")
    total = 1
    for dim in dims:
        if dim < 0:
            raise ModelError(f"{what}: negative dimension {dim} in shape {list(dims)}")
        total *= max(dim, 1)
    if total > MAX_DIM:
        raise ModelError(f"{what}: shape {list(dims)} overflows 64 bits")
    return 0 if 0 in dims else total


def over_budget(what: str, num_bytes: int, budget: Budget) -> ModelError:
    """The error for a tensor above the budget."""
    return ModelError(
        f"{what} needs {format_bytes(num_bytes)}, budget {format_bytes(budget.max_tensor_bytes)}"
    )


def format_bytes(num_bytes: int) -> str:
    """A size for people: the largest unit that leaves at least 1."""
    size = float(min(num_bytes, 1 << 100))
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:g} {unit}" if size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"


def _check_values(
    tensor: TensorProto, what: str, num_elements: int, num_bytes: int, payload: Payload | None
) -> None:
    given = [name for name in _VALUE_FIELDS if _length(tensor, name)]
    if tensor.HasField("raw_data") and not tensor.raw_data:
        given.append("raw_data")  # readers go by its presence
    if payload is not None:
        given.append(_PAYLOAD_NAMES[payload.number])
    if len(given) > 1:
        raise ModelError(f"{what}: two value fields, {given[0]} and {given[1]}; keep one")
    name = given[0] if given else "raw_data"
    field = _FIELD_OF_TYPE.get(tensor.data_type, "int32_data")
    if name not in ("raw_data", field) or (name == "raw_data" and tensor.data_type == _STRING):
        if num_elements or given:
            raise ModelError(f"{what}: {name} cannot hold {type_name(tensor.data_type)}")
        return
    if name == "raw_data" or payload is not None:
        have = payload.length if payload is not None else len(tensor.raw_data)
        unit, need = "bytes", num_bytes
    else:
        have, unit = _length(tensor, name), "values"
        need = _num_values(tensor.data_type, num_elements)
    if have != need:
        raise ModelError(
            f"{what}: shape {list(tensor.dims)} of {type_name(tensor.data_type)} needs "
            f"{need} {unit}, {name} has {have}"
        )


def _length(tensor: TensorProto, name: str) -> int:
    return len(getattr(tensor, name))


def type_name(elem_type: int) -> str:
    """As ONNX writes it in tensor(...)."""
    return str(TensorProto.DataType.Name(elem_type)).lower()


def _bits(elem_type: int) -> int:
    """Bits of one stored element."""
    name = TensorProto.DataType.Name(elem_type)
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return 4
    if name in ("INT2", "UINT2"):
        return 2
    return numpy_of(elem_type).itemsize * 8


def _num_bytes(elem_type: int, num_elements: int) -> int:
    """Bytes of the packed values; 0 for strings, which raw bytes cannot hold."""
    if elem_type == _STRING:
        return 0
    return -(-num_elements * _bits(elem_type) // 8)


def _num_values(elem_type: int, num_elements: int) -> int:
    """Entries of the typed field."""
    if elem_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return 2 * num_elements
    if elem_type != _STRING and _bits(elem_type) < 8:
        return _num_bytes(elem_type, num_elements)
    return num_elements


def _strings(values: Sequence[bytes]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = [value.decode("utf-8", "surrogateescape") for value in values]
    return made


def _check_flat_indices(flat: np.ndarray, num_elements: int, what: str) -> None:
    if flat.size == 0:
        return
    outside = (flat < 0) | (flat >= num_elements)
    if outside.any():
        at = int(outside.argmax())
        raise ModelError(f"{what}: index {at} lies outside the shape")
    steps = np.diff(flat)
    if (steps <= 0).any():
        at = int((steps <= 0).argmax()) + 1
        kind = "a duplicate" if steps[at - 1] == 0 else "not sorted"
        raise ModelError(f"{what}: index {at} is {kind}")
