"""DeepSparse's server configuration, read as far as it goes, with a notice for what does not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from colonnade.errors import InputError
from colonnade.pipeline.catalogue import find_task
from colonnade.serve.tasks import TaskSpec

TOP_READ = ("num_cores", "endpoints")
ENDPOINT_READ = ("name", "route", "task", "model", "batch_size", "bucketing", "kwargs")
WHY = {
    "num_workers": "requests are batched, not given to workers",
    "integration": "all protocols are served at once",
    "engine_thread_pinning": "threads are always pinned to cores",
    "pytorch_num_threads": "PyTorch is not used",
    "loggers": "metrics are at /metrics",
    "system_logging": "metrics are at /metrics",
    "data_logging": "requests are not kept",
    "logging_config": "metrics are at /metrics",
    "middlewares": "code of others does not run in the server",
}
OPTION_NAMES = {
    "sequence_length": "sequence_length",
    "version_2_with_negative": "version_2_with_negative",
    "extraction_strategy": "pooling",
    "multi_class": "multi_label",
}
POOLING = {"reduce_mean": "mean", "reduce_max": "max", "cls_token": "cls", "per_token": "per_token"}
LABELLED = ("text-classification", "zero-shot-classification", "image-classification")
STUBS = ("zoo:", "hf:", "http://", "https://")


@dataclass(frozen=True)
class Endpoint:
    """A model file and the task on it."""

    task: TaskSpec
    path: Path
    batch_size: int
    route: str
    """As DeepSparse's clients call it: /v2/models/{route}/infer."""


@dataclass(frozen=True)
class DeepSparseConfig:
    """What was read, and a sentence for each field that is not supported."""

    endpoints: tuple[Endpoint, ...]
    threads: int | None
    notices: tuple[str, ...]

    @property
    def by_path(self) -> dict[str, str]:
        """The names of tasks, by what stands between /v2/models/ and /infer."""
        return {key: e.task.name for e in self.endpoints for key in (e.task.name, e.route)}


def is_deepsparse(given: object) -> bool:
    """Whether a configuration file is one of DeepSparse's."""
    return isinstance(given, Mapping) and "endpoints" in given


def read_deepsparse(given: Mapping[str, Any], source: Path) -> DeepSparseConfig:
    """Read a parsed YAML file; raises InputError for what cannot be served at all."""
    notices = [_notice(key, "") for key in given if key not in TOP_READ]
    entries = given.get("endpoints")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{source}: endpoints: expected a list with an endpoint or more")
    endpoints = [_endpoint(entry, place, source, notices) for place, entry in enumerate(entries)]
    names = [endpoint.task.name for endpoint in endpoints]
    if len(set(names)) < len(names):
        raise InputError(f"{source}: endpoints with the same name: {sorted(names)}")
    cores = given.get("num_cores")
    if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int) or cores < 1):
        raise InputError(f"{source}: num_cores={cores!r}; expected a number above 0")
    return DeepSparseConfig(tuple(endpoints), cores, tuple(notices))


def _endpoint(entry: object, place: int, source: Path, notices: list[str]) -> Endpoint:
    where = f"{source}: endpoints[{place}]"
    if not isinstance(entry, Mapping) or not {"task", "model"} <= set(entry):
        raise InputError(f"{where}: expected `task` and `model`")
    model = str(entry["model"])
    if model.startswith(STUBS):
        raise InputError(f"{where}: model {model!r}: models are not downloaded; give a path")
    row = find_task(entry["task"])
    name = str(entry.get("name") or f"{row.name}-{place}")
    notices += [_notice(key, name) for key in entry if key not in ENDPOINT_READ]
    options = _options(entry, [field.name for field in fields(row.options)], name, notices)
    size = entry.get("batch_size", 1)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"{where}: batch_size={size!r}; expected a number above 0")
    route = str(entry.get("route") or name).strip("/")
    spec = TaskSpec(_safe(name), row.name, _safe(name), options=options)
    return Endpoint(spec, source.parent / model, size, route)


def _options(
    entry: Mapping[str, Any], known: list[str], name: str, notices: list[str]
) -> dict[str, object]:
    given: dict[str, object] = dict(entry.get("kwargs") or {})
    buckets = entry.get("bucketing") or {}
    if "sequence_lengths" in buckets:
        given["sequence_length"] = buckets["sequence_lengths"]
    if "image_sizes" in buckets:
        notices.append(f"{name}: bucketing.image_sizes is not supported: the model's size is used")
    options: dict[str, object] = {}
    for key, value in given.items():
        ours = OPTION_NAMES.get(key, key)
        if ours not in known:
            notices.append(f"{name}: kwargs.{key} is not supported")
        else:
            options[ours] = POOLING.get(str(value), value) if ours == "pooling" else value
    return options


def _notice(key: str, name: str) -> str:
    reason = WHY.get(key, "it is not known")
    return f"{name + ': ' if name else ''}{key} is not supported: {reason}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", name).lstrip(".-") or "model"


def items_of_body(task: str, body: Mapping[str, Any]) -> list[Any]:
    """The items of a body as DeepSparse's clients send it to a task; raises InputError.

    Images travel as files there, not in JSON.
    """
    keys = {
        "text-classification": "sequences",
        "zero-shot-classification": "sequences",
        "token-classification": "inputs",
        "embeddings": "inputs",
    }
    if task == "question-answering":
        return [{key: body.get(key) for key in ("question", "context")}]
    if task not in keys:
        raise InputError(f"task {task} takes files: send them to /infer/from_files")
    given = body.get(keys[task])
    if given is None:
        raise InputError(f"expected the key {keys[task]!r}, got {sorted(body)[:16]}")
    items = given if isinstance(given, list) else [given]
    if task != "zero-shot-classification" or "labels" not in body:
        return items
    return [{"text": item, "labels": body["labels"]} for item in items]


def body_of_results(task: str, results: list[Any]) -> dict[str, Any]:
    """The results as DeepSparse's clients expect them."""
    if task == "question-answering":
        best = results[0][0]
        return {"score": best.score, "answer": best.answer, "start": best.start, "end": best.end}
    if task == "token-classification":
        return {"predictions": [[_token(entity) for entity in found] for found in results]}
    if task == "embeddings":
        return {"embeddings": [result.vector.tolist() for result in results]}
    if task not in LABELLED:
        return {"results": results}
    labels = [[label.label for label in found] for found in results]
    scores = [[label.score for label in found] for found in results]
    if task == "text-classification" and all(len(found) == 1 for found in results):
        labels, scores = [row[0] for row in labels], [row[0] for row in scores]
    return {"labels": labels, "scores": scores}


def _token(entity: Any) -> dict[str, Any]:
    return {
        "entity": entity.label, "score": entity.score, "word": entity.text,
        "start": entity.start, "end": entity.end, "is_grouped": False,
    }  # fmt: skip
