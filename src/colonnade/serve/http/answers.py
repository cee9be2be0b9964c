"""JSON of the routes around inference, as types: what the OpenAPI document is made of."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from colonnade.serve.http.schema import Count


class Nothing(msgspec.Struct):
    """An empty object: it is done."""


class ConfiguredTensor(msgspec.Struct):
    """An input or output of a model's configuration, without its batch axis."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfiguration(msgspec.Struct):
    """GET v2/models/{model}/config."""

    name: str
    platform: str
    backend: str
    max_batch_size: Count
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    dynamic_batching: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    sequence_batching: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Duration(msgspec.Struct):
    """How often, and nanoseconds in all."""

    count: Count
    ns: Count


class BatchStatistics(msgspec.Struct):
    """Runs of one batch size."""

    batch_size: Count
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct):
    """One version of a model since it was loaded."""

    name: str
    version: str
    last_inference: Count
    inference_count: Count
    execution_count: Count
    inference_stats: dict[str, Duration]
    batch_stats: list[BatchStatistics]


class Statistics(msgspec.Struct):
    """GET v2/models/stats."""

    model_stats: list[ModelStatistics]


class IndexedModel(msgspec.Struct):
    """A version in POST v2/repository/index."""

    name: str
    version: str
    state: str
    reason: str


class RegisterBody(msgspec.Struct):
    """POST v2/systemsharedmemory/region/{name}/register."""

    key: str
    byte_size: int
    offset: int = 0


class SharedRegion(msgspec.Struct):
    """A region of shared memory that a client registered."""

    name: str
    key: str
    offset: Count
    byte_size: Count


class TaskBody(msgspec.Struct):
    """POST v1/tasks/{name}: an item, or a list of them."""

    inputs: Any


class TaskAnswer(msgspec.Struct):
    """The results, in the order of the items."""

    task: str
    results: list[Any]


class TaskDescription(msgspec.Struct):
    """A task: what its items are, and the steps of a graph."""

    name: str
    task: str
    takes: Literal["text", "pair", "image", "audio", "json"]
    steps: list[str]


class TaskList(msgspec.Struct):
    """GET v1/tasks."""

    tasks: list[TaskDescription]


class EmbeddingRequest(msgspec.Struct, omit_defaults=True):
    """POST v1/embeddings, as OpenAI has it."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] | None = None


class EmbeddingVector(msgspec.Struct):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class Usage(msgspec.Struct):
    """Tokens."""

    prompt_tokens: Count
    total_tokens: Count


class EmbeddingAnswer(msgspec.Struct):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingVector]
    model: str
    usage: Usage


class ListedModel(msgspec.Struct):
    """A task, as clients of OpenAI list models."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(msgspec.Struct):
    """GET v1/models."""

    object: Literal["list"]
    data: list[ListedModel]


class OpenAiError(msgspec.Struct):
    """The error itself."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorBody(msgspec.Struct):
    """An error of the request itself, as clients of OpenAI read it."""

    error: OpenAiError


class Page(msgspec.Struct):
    """GET ui/data: what the page shows."""

    version: str
    ready: bool
    models: list[dict[str, Any]]
