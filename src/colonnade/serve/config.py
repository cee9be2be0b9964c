"""What a server is told: models and limits, as YAML with a JSON Schema.

Paths are relative to the file they stand in. Requests cannot change anything here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from colonnade.errors import InputError
from colonnade.pipeline.source import model_file
from colonnade.serve.deepsparse import is_deepsparse, read_deepsparse

logger = logging.getLogger("colonnade.serve")

MODEL_SUFFIXES = (".onnx", ".colonnade")
PositiveInt = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Padding(_Strict):
    """Sizes that a symbolic dimension is padded to, so that few plans serve all lengths."""

    buckets: Annotated[list[PositiveInt], Field(min_length=1)]
    values: dict[str, float] = Field(
        default={}, description="What each input is padded with; 0 where nothing is said."
    )


class ModelConfig(_Strict):
    """One model."""

    name: Name
    path: Path = Field(
        description="An ONNX file, a saved plan, or a folder of versions: 1/model.onnx, 2/..."
    )
    max_batch_size: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto",
        description="Rows of the largest batch; 0 runs each request alone. auto: 8 where the first "
        "axis of every input and output is a free batch axis and rows do not influence each other.",
    )
    batch_sizes: list[PositiveInt] | None = Field(
        default=None,
        description="Batch sizes to plan for; powers of two up to max_batch_size by default.",
    )
    preferred_batch_sizes: list[PositiveInt] = Field(
        default=[], description="Batches of these sizes start without waiting for more."
    )
    max_delay_ms: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=0.0, description="How long a request may wait for others to join its batch."
    )
    queue_depth_max: PositiveInt = Field(
        default=128, description="Requests that may wait; one more gets 429."
    )
    queue_max_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="How long a request may be expected to wait, by what batches take; one that "
        "would wait longer gets 429 at once. By default max_delay_ms and 1.25 batches.",
    )
    timeout_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Deadline of a request that names none; then it gets 504."
    )
    priority_levels: Annotated[int, Field(ge=1, le=100)] = 10
    default_priority: PositiveInt = Field(default=5, description="1 is the most urgent.")
    instances: PositiveInt = Field(
        default=1, description="Batches that run at once, each on its own group of threads."
    )
    padding: dict[str, Padding] = Field(
        default={}, description="By the name of a symbolic dimension, e.g. sequence."
    )
    warm_up: dict[str, list[PositiveInt]] = Field(
        default={},
        description="Sizes of symbolic dimensions to plan for before the model is ready; the "
        "padding buckets by default.",
    )
    states: dict[str, str] = Field(
        default={},
        description="Recurrent states, input to output; the model then answers sequences.",
    )
    sequence_idle_s: Annotated[float, Field(gt=0)] = 60.0
    sequences_max: PositiveInt = 1024
    cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Memory for answers to inputs seen before; 0 is off."
    )
    versions: Literal["latest", "all"] | list[PositiveInt] = "latest"
    fallback: Literal["allow", "forbid"] = "allow"
    save_plan: bool = Field(
        default=True, description="Keep the plan in a file beside the model for the next start."
    )

    @model_validator(mode="after")
    def _verify(self) -> ModelConfig:
        if self.default_priority > self.priority_levels:
            raise ValueError(
                f"default_priority {self.default_priority} is above priority_levels "
                f"{self.priority_levels}"
            )
        if self.states and self.max_batch_size not in ("auto", 0):
            raise ValueError(
                "a model with states answers one sequence at a time: max_batch_size: 0"
            )
        return self


class Limits(_Strict):
    """What one client may take. All of them hold while a request is read."""

    body_bytes: PositiveInt = 64 << 20
    header_bytes: PositiveInt = 64 << 10
    headers: PositiveInt = 128
    chunks: PositiveInt = 65_536
    header_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    body_timeout_s: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="Longest pause and grace while a body is slower than the rate."
    )
    body_bytes_per_s: PositiveInt = 1024
    write_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    keep_alive_s: Annotated[float, Field(gt=0)] = 75.0
    connections: PositiveInt = 1024
    json_depth: PositiveInt = 64
    tensors: PositiveInt = 256


class ServerConfig(_Strict):
    """A server and its models."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    grpc_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        default=None, description="Port of the gRPC service; none by default."
    )
    models: list[ModelConfig] = []
    tasks: list[dict[str, Any]] = Field(
        default=[],
        description="Tasks on these models: name, and task, model, folder, options; or steps and "
        "output of a graph (docs/guide/tasks.md).",
    )
    deepsparse_paths: dict[str, str] = Field(
        default={}, description="Tasks by their paths, from a DeepSparse server file."
    )
    default_model: str | None = Field(
        default=None,
        description="The model or task that /invocations is for; the only task, or the only model, "
        "by default.",
    )
    model_folder: Path | None = Field(
        default=None, description="A folder of models: NAME.onnx, or NAME/1/model.onnx."
    )
    poll_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Look for changed model files this often; never by default."
    )
    model_control: bool = Field(
        default=False, description="Whether clients may load and unload models."
    )
    threads: PositiveInt | None = None
    api_keys_file: Path | None = Field(
        default=None, description="One key a line. Then every route but liveness needs a key."
    )
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    drain_s: Annotated[float, Field(gt=0)] = 30.0
    log: Literal["text", "json", "off"] = "text"
    log_requests: bool = False
    trace: bool = Field(
        default=False,
        description="Send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra trace.",
    )
    shared_memory: bool = Field(
        default=True, description="Whether clients on this machine may pass tensors in /dev/shm."
    )
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _verify(self) -> ServerConfig:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models with the same name: {', '.join(twice)}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self


def read_config(path: Path) -> ServerConfig:
    """A server from one argument: a YAML file, a model file, or a folder of models."""
    if path.is_dir():
        return ServerConfig(model_folder=path)
    if path.suffix in MODEL_SUFFIXES:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        return ServerConfig(models=[ModelConfig(name=_safe_name(path.stem), path=path)])
    return parse_config(_read_yaml(path), path)


def parse_config(data: Any, source: Path) -> ServerConfig:
    """Check what a YAML file holds; raises InputError with every fault and where it is."""
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a mapping with `models:`, got {type(data).__name__}")
    if is_deepsparse(data):
        data = _of_deepsparse(data, source)
    try:
        config = ServerConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: {_faults(error)}") from None
    return _resolve(config, source.parent)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {error}") from None


def _of_deepsparse(data: dict[str, Any], source: Path) -> dict[str, Any]:
    found = read_deepsparse(data, source)
    for notice in found.notices:
        logger.warning("%s: %s", source, notice)
    models = [
        {
            "name": endpoint.task.model,
            "path": model_file(endpoint.path).resolve(),
            "max_batch_size": endpoint.batch_size if endpoint.batch_size > 1 else "auto",
        }
        for endpoint in found.endpoints
    ]
    tasks = [
        {
            "name": endpoint.task.name,
            "task": endpoint.task.task,
            "model": endpoint.task.model,
            "options": dict(endpoint.task.options),
        }
        for endpoint in found.endpoints
    ]
    return {
        "models": models,
        "tasks": tasks,
        "deepsparse_paths": found.by_path,
        "threads": found.threads,
    }


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'server'}: {fault['msg']}"
        + (f" (got {fault['input']!r})" if not isinstance(fault["input"], dict) else "")
        for fault in error.errors()
    )


def _resolve(config: ServerConfig, folder: Path) -> ServerConfig:
    models = [m.model_copy(update={"path": folder / m.path}) for m in config.models]
    changes: dict[str, Any] = {"models": models}
    for key in ("model_folder", "api_keys_file", "tls_certificate", "tls_key"):
        value = getattr(config, key)
        if value is not None:
            changes[key] = folder / value
    return config.model_copy(update=changes)


def _safe_name(stem: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in stem)
    return (kept.lstrip(".-") or "model")[:128]
