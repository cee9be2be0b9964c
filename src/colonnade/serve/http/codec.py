"""Bytes of an infer request into an InferRequest, and an InferResponse into bytes.

JSON alone, or the binary extension: JSON of a length that a header gives, then the raw bytes of the
tensors that have `binary_data_size`, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from colonnade.serve.http.schema import InferAnswer, InferBody, InputTensor, OutputTensor
from colonnade.serve.protocol import (
    DATATYPES,
    InferRequest,
    InferResponse,
    SequenceStep,
    datatype_of,
)
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.regions import REGION, NoRegions, Regions, place_of
from colonnade.serve.wire import count_elements, decode_raw, encode_raw, unknown_datatype

_BODY = msgspec.json.Decoder(InferBody)
_LISTS: dict[str, msgspec.json.Decoder[Any]] = {
    "b": msgspec.json.Decoder(list[bool]),
    "i": msgspec.json.Decoder(list[int]),
    "u": msgspec.json.Decoder(list[int]),
    "f": msgspec.json.Decoder(list[float]),
    "O": msgspec.json.Decoder(list[str]),
}
_ENCODER = msgspec.json.Encoder()
NO_REGIONS = NoRegions()
RESERVED = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout")
MICROSECONDS_MAX = 1 << 53


@dataclass(frozen=True, slots=True)
class OutputForms:
    """Which outputs are raw bytes (by name, and those without a word), and which go to shared
    memory: (region, offset, bytes)."""

    binary: Mapping[str, bool]
    binary_default: bool
    places: Mapping[str, tuple[str, int, int]]


def decode_infer(
    body: bytes,
    json_length: int | None,
    now: float,
    tensors_max: int,
    regions: Regions = NO_REGIONS,
) -> tuple[InferRequest, OutputForms]:
    """The request, without its model, and how its outputs are wanted. Raises Refusal."""
    split_at = len(body) if json_length is None else json_length
    if not 0 <= split_at <= len(body):
        raise Refusal(Kind.INVALID, f"header length {split_at}, but the body has {len(body)} bytes")
    parsed = parse_json(_BODY, body[:split_at] if split_at < len(body) else body)
    if len(parsed.inputs) + len(parsed.outputs) > tensors_max:
        raise Refusal(Kind.TOO_LARGE, f"more than {tensors_max} tensors in one request")
    inputs = _decode_inputs(parsed.inputs, memoryview(body)[split_at:], regions)
    parameters = parsed.parameters
    request = InferRequest("", inputs, id=parsed.id)
    request.outputs = tuple([output.name for output in parsed.outputs])
    binary_default = parameters.get("binary_data_output", False) is True
    if parameters:
        apply_parameters(request, parameters, now)
    binary = {o.name: bool(o.parameters.get("binary_data", binary_default)) for o in parsed.outputs}
    places = {
        o.name: place_of(o.name, o.parameters) for o in parsed.outputs if REGION in o.parameters
    }
    return request, OutputForms(binary, binary_default, places)


def parse_json(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    """Typed JSON; raises Refusal."""
    try:
        return decoder.decode(text)
    except RecursionError:
        raise Refusal(Kind.INVALID, "the JSON is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Kind.INVALID, f"the JSON does not fit: {error}") from None


def apply_parameters(request: InferRequest, parameters: Mapping[str, Any], now: float) -> None:
    """Priority, deadline and sequence, as Triton's clients send them."""
    request.parameters = parameters
    request.priority = _integer(parameters, "priority", 0)
    timeout_us = _integer(parameters, "timeout", 0)
    if timeout_us > 0:
        request.deadline = now + min(timeout_us, MICROSECONDS_MAX) / 1e6
    sequence_id = parameters.get("sequence_id", 0)
    if isinstance(sequence_id, bool) or not isinstance(sequence_id, int | str):
        raise Refusal(Kind.INVALID, "parameter 'sequence_id' is a number or a text")
    if sequence_id not in (0, ""):
        request.sequence = SequenceStep(
            sequence_id,
            is_start=parameters.get("sequence_start", False) is True,
            is_end=parameters.get("sequence_end", False) is True,
        )


def _integer(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refusal(Kind.INVALID, f"parameter {name!r} is a whole number, not negative")
    return value


def _decode_inputs(
    tensors: list[InputTensor], binary: memoryview, regions: Regions
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    offset = 0
    for tensor in tensors:
        if tensor.name in arrays:
            raise Refusal(Kind.INVALID, f"input {tensor.name!r} is there twice")
        if tensor.parameters and REGION in tensor.parameters:
            data = regions.read(*place_of(tensor.name, tensor.parameters))
            arrays[tensor.name] = decode_raw(tensor.name, tensor.datatype, tensor.shape, data)
            continue
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            arrays[tensor.name] = _decode_data(tensor)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise Refusal(Kind.INVALID, f"input {tensor.name!r}: binary_data_size is {size!r}")
        if offset + size > len(binary):
            raise Refusal(
                Kind.INVALID,
                f"input {tensor.name!r}: {size} bytes, but {len(binary) - offset} are left in the "
                "body",
            )
        raw = binary[offset : offset + size]
        arrays[tensor.name] = decode_raw(tensor.name, tensor.datatype, tensor.shape, raw)
        offset += size
    if offset != len(binary):
        raise Refusal(Kind.INVALID, f"{len(binary) - offset} bytes after the last binary tensor")
    return arrays


def _decode_data(tensor: InputTensor) -> np.ndarray:
    """`data` as a flat list, the usual case, or nested as the shape is."""
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        if tensor.datatype == "BF16":
            raise Refusal(Kind.INVALID, f"input {tensor.name!r}: BF16 travels as binary data only")
        raise unknown_datatype(tensor.name, tensor.datatype)
    count = count_elements(tensor.name, tensor.shape)
    if not tensor.data:
        raise Refusal(Kind.INVALID, f"input {tensor.name!r} has no data")
    values = _flat_values(tensor, dtype)
    if len(values) != count:
        raise Refusal(
            Kind.INVALID,
            f"input {tensor.name!r}: {len(values)} values for shape {tensor.shape}",
        )
    return _to_array(tensor, values, dtype).reshape(tensor.shape)


def _flat_values(tensor: InputTensor, dtype: np.dtype[np.generic]) -> list[Any]:
    decoder = _LISTS[dtype.kind]
    try:
        values: list[Any] = decoder.decode(tensor.data)
        return values
    except (msgspec.ValidationError, RecursionError):
        pass  # nested, or wrong: the same decoder judges the leaves
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Kind.INVALID, f"input {tensor.name!r}: {error}") from None
    try:
        nested = msgspec.json.decode(tensor.data)
        return list(msgspec.convert(_flatten(nested, len(tensor.shape)), decoder.type))
    except RecursionError:
        raise Refusal(Kind.INVALID, "the JSON is nested too deeply") from None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Refusal(
            Kind.INVALID, f"input {tensor.name!r}: data is not {tensor.datatype}: {error}"
        ) from None


def _flatten(nested: Any, rank: int) -> list[Any]:
    level = nested if isinstance(nested, list) else [nested]
    for _ in range(rank - 1):
        if not all(isinstance(item, list) for item in level):
            break
        level = [leaf for item in level for leaf in item]
    return level


def _to_array(tensor: InputTensor, values: list[Any], dtype: np.dtype[np.generic]) -> np.ndarray:
    try:
        if dtype.kind == "O":
            array = np.empty(len(values), object)
            array[:] = [text.encode() for text in values]
            return array
        return np.array(values, dtype)
    except (OverflowError, UnicodeEncodeError) as error:
        raise Refusal(
            Kind.INVALID, f"input {tensor.name!r}: a value does not fit {tensor.datatype}: {error}"
        ) from None


def encode_answer(
    response: InferResponse, forms: OutputForms, regions: Regions = NO_REGIONS
) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON when raw bytes follow."""
    outputs: list[OutputTensor] = []
    raw: list[bytes | memoryview] = []
    for name, array in response.outputs.items():
        tensor = OutputTensor(name, datatype_of(array.dtype), list(array.shape))
        if name in forms.places:
            region, offset, size = forms.places[name]
            data = encode_raw(array)
            regions.write(region, offset, size, data)
            tensor.parameters = {
                REGION: region,
                "shared_memory_offset": offset,
                "shared_memory_byte_size": len(data),
            }
        elif forms.binary.get(name, forms.binary_default):
            data = encode_raw(array)
            tensor.parameters = {"binary_data_size": len(data)}
            raw.append(data)
        else:
            tensor.data = _json_values(array)
        outputs.append(tensor)
    answer = InferAnswer(response.model, response.version, outputs, response.id)
    text = _ENCODER.encode(answer)
    return (b"".join((text, *raw)), len(text)) if raw else (text, None)


def _json_values(array: np.ndarray) -> list[Any]:
    """Values in order; NaN and infinities become null, which JSON has instead."""
    flat = array.reshape(-1)
    if array.dtype.kind in "OSU":
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in flat]
    return flat.tolist()
