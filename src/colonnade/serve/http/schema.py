"""The JSON of the Open Inference Protocol, as types: what is read, written and put in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

ParameterValue = bool | int | float | str
Parameters = dict[str, Any]
Count = Annotated[int, msgspec.Meta(ge=0)]


class InputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of a request: `data` in JSON, or `binary_data_size` bytes after it."""

    name: str
    shape: list[int]
    datatype: str
    # Not a plain default: a JSON Schema cannot show it.
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    parameters: Parameters = {}


class RequestedOutput(msgspec.Struct, omit_defaults=True):
    """An output that the client wants."""

    name: str
    parameters: Parameters = {}


class InferBody(msgspec.Struct, omit_defaults=True):
    """POST v2/models/{model}/infer."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[RequestedOutput] = []


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of a response."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: Any = None


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """The response to it."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""
    parameters: Parameters = {}


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """Every response that is no success."""

    error: str
    request_id: str = ""


class TensorMetadata(msgspec.Struct):
    """An input or output of a model; -1 is a free size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """GET v2/models/{model}."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(msgspec.Struct):
    """GET v2."""

    name: str
    version: str
    extensions: list[str]


class Health(msgspec.Struct):
    """GET v2/health/live, v2/health/ready."""

    live: bool | msgspec.UnsetType = msgspec.UNSET
    ready: bool | msgspec.UnsetType = msgspec.UNSET


class ModelReady(msgspec.Struct):
    """GET v2/models/{model}/ready."""

    name: str
    ready: bool
