"""Messages of the protocol into requests, and answers into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from colonnade.serve.grpc.messages import messages
from colonnade.serve.protocol import (
    DATATYPES,
    InferRequest,
    InferResponse,
    ParameterValue,
    SequenceStep,
    datatype_of,
)
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.regions import REGION, Regions, place_of
from colonnade.serve.wire import count_elements, decode_raw, encode_raw, unknown_datatype

MICROSECONDS_MAX = 1 << 53

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode_request(
    message: Any, now: float, deadline: float | None, regions: Regions
) -> InferRequest:
    """A ModelInferRequest; `deadline` is the call's own. Raises Refusal."""
    request = InferRequest(
        message.model_name,
        _decode_inputs(message, regions),
        version=message.model_version,
        id=message.id,
        outputs=tuple([output.name for output in message.outputs]),
        deadline=deadline,
    )
    if message.parameters:
        _apply_parameters(request, _parameters(message.parameters), now)
    return request


def _decode_inputs(message: Any, regions: Regions) -> dict[str, np.ndarray]:
    raw = list(message.raw_input_contents)
    arrays: dict[str, np.ndarray] = {}
    num_raw = 0
    for tensor in message.inputs:
        name, shape = tensor.name, list(tensor.shape)
        if name in arrays:
            raise Refusal(Kind.INVALID, f"input {name!r} is there twice")
        if REGION in tensor.parameters:
            data = regions.read(*place_of(name, _parameters(tensor.parameters)))
            arrays[name] = decode_raw(name, tensor.datatype, shape, data)
        elif raw:
            if num_raw == len(raw):
                raise Refusal(Kind.INVALID, f"input {name!r} has no raw_input_contents")
            arrays[name] = decode_raw(name, tensor.datatype, shape, raw[num_raw])
            num_raw += 1
        else:
            arrays[name] = _decode_contents(tensor, shape)
    if num_raw != len(raw):
        raise Refusal(
            Kind.INVALID, f"{len(raw)} raw_input_contents for {num_raw} inputs that use them"
        )
    return arrays


def _decode_contents(tensor: Any, shape: Sequence[int]) -> np.ndarray:
    datatype = tensor.datatype
    field = _CONTENTS.get(datatype)
    if field is None:
        if datatype in ("FP16", "BF16"):
            raise Refusal(Kind.INVALID, f"input {tensor.name!r}: {datatype} is sent as raw bytes")
        raise unknown_datatype(tensor.name, datatype)
    values = getattr(tensor.contents, field)
    if len(values) != count_elements(tensor.name, shape):
        raise Refusal(
            Kind.INVALID,
            f"input {tensor.name!r}: {len(values)} values in {field} for shape {list(shape)}",
        )
    try:
        if datatype == "BYTES":
            array = np.empty(len(values), object)
            array[:] = list(values)
        else:
            array = np.array(values, DATATYPES[datatype])
    except OverflowError as error:
        raise Refusal(Kind.INVALID, f"input {tensor.name!r}: {error}") from None
    return array.reshape(shape)


def _parameters(entries: Any) -> dict[str, ParameterValue]:
    found: dict[str, ParameterValue] = {}
    for name, value in entries.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise Refusal(Kind.INVALID, f"parameter {name!r} has no value")
        found[name] = getattr(value, kind)
    return found


def _apply_parameters(
    request: InferRequest, parameters: Mapping[str, ParameterValue], now: float
) -> None:
    request.parameters = parameters
    request.priority = _whole(parameters, "priority")
    timeout_us = _whole(parameters, "timeout")
    if timeout_us > 0:
        own = now + min(timeout_us, MICROSECONDS_MAX) / 1e6
        request.deadline = own if request.deadline is None else min(own, request.deadline)
    sequence_id = parameters.get("sequence_id", 0)
    if sequence_id not in (0, "", False):
        request.sequence = SequenceStep(
            sequence_id if isinstance(sequence_id, int) else str(sequence_id),
            is_start=parameters.get("sequence_start") is True,
            is_end=parameters.get("sequence_end") is True,
        )


def _whole(parameters: Mapping[str, ParameterValue], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refusal(Kind.INVALID, f"parameter {name!r} is a whole number, not negative")
    return value


def encode_response(response: InferResponse, asked: Any, regions: Regions) -> Any:
    """A ModelInferResponse with raw contents; outputs that `asked` puts in shared memory go there."""
    made = messages()["ModelInferResponse"](
        model_name=response.model, model_version=response.version, id=response.id
    )
    places = {
        o.name: place_of(o.name, _parameters(o.parameters))
        for o in asked.outputs
        if REGION in o.parameters
    }
    for name, array in response.outputs.items():
        tensor = made.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        data = encode_raw(array)
        if name in places:
            region, offset, size = places[name]
            regions.write(region, offset, size, data)
            tensor.parameters[REGION].string_param = region
            tensor.parameters["shared_memory_offset"].int64_param = offset
            tensor.parameters["shared_memory_byte_size"].int64_param = len(data)
        else:
            made.raw_output_contents.append(bytes(data))
    for name, value in response.parameters.items():
        _set_parameter(made.parameters[name], value)
    return made


def _set_parameter(entry: Any, value: ParameterValue) -> None:
    if isinstance(value, bool):
        entry.bool_param = value
    elif isinstance(value, int):
        entry.int64_param = value
    elif isinstance(value, float):
        entry.double_param = value
    else:
        entry.string_param = value
