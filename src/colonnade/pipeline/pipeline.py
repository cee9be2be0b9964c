"""pipeline(): a task on a model, from the input as users have it to the result as they want it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colonnade.engine.engine import Engine
from colonnade.engine.runtime import Runtime
from colonnade.engine.scheduler import Scheduler
from colonnade.errors import InputError
from colonnade.pipeline.catalogue import OCR, find_task, plain_name
from colonnade.pipeline.graph import GraphPipeline, ocr_graph
from colonnade.pipeline.options import read_options
from colonnade.pipeline.source import Compiling, Model, ModelSource, open_model
from colonnade.pipeline.stages import Row, Run, run_rows
from colonnade.pipeline.task import Prepared, Task

BATCH_SIZE = 8


@dataclass(frozen=True)
class Pipeline:
    """A task bound to a model. Threads may call it at the same time."""

    task: str
    model: Model = field(repr=False)
    prepared: Prepared = field(repr=False)

    @property
    def engine(self) -> Engine:
        """What runs the model."""
        return self.model.engine

    def __call__(self, item: Any) -> Any:
        """The result of an item; of a list, the list of results."""
        return self.batch(item) if isinstance(item, list) else self.batch([item])[0]

    def batch(self, items: Sequence[Any]) -> list[Any]:
        """The results of items, in their order; rows of all of them share batches."""
        return self.batch_on(self.engine.run, items)

    def batch_on(self, run: Run, items: Sequence[Any]) -> list[Any]:
        """As `batch`, with another way to run the engine."""
        works = [self.prepared.prepare(item) for item in items]
        rows = [row for work in works for row in work.rows]
        answers = run_rows(run, rows, self.prepared.batching)
        return [work.finish(part) for work, part in _parts(works, answers)]

    def stream(self) -> Any:
        """The task on an input that is still going on: one such object for each input.

        Raises InputError where the task has no such form.
        """
        if self.prepared.stream is None:
            raise InputError(f"{self.task} takes whole inputs; voice-activity has streams")
        return self.prepared.stream()


def pipeline(
    task: str,
    model: ModelSource | Sequence[ModelSource],
    *,
    folder: str | os.PathLike[str] | None = None,
    batch_size: int = BATCH_SIZE,
    threads: int | None = None,
    scheduler: Scheduler = "single_stream",
    streams: int | None = None,
    runtime: Runtime | None = None,
    **options: object,
) -> Pipeline | GraphPipeline:
    """A task on a model; `pipeline("ner", "folder")("...")` gives the result (docs/guide/tasks.md).

    `task`: text-classification, token-classification, zero-shot-classification,
    question-answering, embeddings, image-classification, object-detection, text-detection,
    text-recognition, ocr, voice-activity, custom; other names for them are known.
    `model`: an ONNX file or plan, a folder with model.onnx, tokenizer.json and config.json, or an
    Engine; for "ocr" two of them, the detector and the recogniser.
    `folder`: where tokenizer and configuration are, when not beside the model.
    `batch_size`: rows that run together at most. `options`: the task's own.
    `threads`, `scheduler`, `streams`, `runtime`: as in `colonnade.compile`. Raises InputError,
    ModelError, CapabilityError.

    >>> classify = pipeline("sentiment-analysis", "model.onnx", top_k=2)  # doctest: +SKIP
    """
    compiling = Compiling(threads, scheduler, streams, runtime)
    sizes = _sizes(batch_size)
    if isinstance(task, str) and plain_name(task) == OCR:
        return _ocr(model, compiling, sizes, options)
    if isinstance(model, list | tuple):
        raise InputError(f"task {task!r} takes one model, got {len(model)}")
    where = None if folder is None else Path(folder)
    return make_pipeline(find_task(task), model, where, compiling, sizes, options)  # type: ignore[arg-type]


def make_pipeline(
    task: Task,
    model: ModelSource,
    folder: Path | None,
    compiling: Compiling,
    sizes: tuple[int, ...],
    options: dict[str, object],
) -> Pipeline:
    """A task of the table on one model."""
    chosen = read_options(task.options, options, task.name)
    opened = open_model(model, folder, compiling)
    fixed = opened.fixed(0)
    allowed = sizes if fixed is None else (fixed,)
    return Pipeline(task.name, opened, task.build(opened, chosen, allowed))


def _ocr(
    models: object, compiling: Compiling, sizes: tuple[int, ...], options: dict[str, object]
) -> GraphPipeline:
    if not isinstance(models, list | tuple) or len(models) != 2:
        raise InputError("task 'ocr' takes two models: (detector, recogniser)")
    if compiling.runtime is None:  # Both models on the same threads.
        compiling = Compiling(
            None, compiling.scheduler, compiling.streams, Runtime(compiling.threads or 0)
        )
    detection = {k: v for k, v in options.items() if k not in ("characters", "widths")}
    recognition = {k: v for k, v in options.items() if k in ("characters", "widths")}
    detect, recognise = (
        make_pipeline(find_task(name), model, None, compiling, sizes, chosen)
        for name, model, chosen in (
            ("text-detection", models[0], detection),
            ("text-recognition", models[1], recognition),
        )
    )
    return ocr_graph(detect, recognise)


def _sizes(batch_size: int) -> tuple[int, ...]:
    """Powers of two up to the batch size, and itself."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r}; expected a number above 0")
    powers = [1 << i for i in range(batch_size.bit_length()) if 1 << i < batch_size]
    return (*powers, batch_size)


def _parts(works: Sequence[Any], answers: Sequence[Row]) -> list[tuple[Any, Sequence[Row]]]:
    """Each item's answers."""
    parts, start = [], 0
    for work in works:
        parts.append((work, answers[start : start + len(work.rows)]))
        start += len(work.rows)
    return parts
