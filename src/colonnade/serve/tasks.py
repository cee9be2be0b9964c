"""Tasks and graphs of tasks on the models of a server: batches go through the models' queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from colonnade.engine.engine import Engine
from colonnade.errors import InputError
from colonnade.pipeline.catalogue import find_task
from colonnade.pipeline.graph import INPUT, GraphPipeline, Step
from colonnade.pipeline.graph_spec import StepSpec, graph_of, read_steps
from colonnade.pipeline.images import read_image
from colonnade.pipeline.options import near_match, read_options
from colonnade.pipeline.source import Compiling, Model, open_model
from colonnade.pipeline.stages import Batch, Row, make_batches, pick_answer
from colonnade.pipeline.task import Prepared
from colonnade.serve.task_json import check_count, kind_of

IN_FLIGHT = 8
"""Batches of one request that wait in a queue at once."""


class UnknownTaskError(LookupError):
    """A request names a task that the server does not have."""


@dataclass(frozen=True)
class ServedEngine:
    """A model of the server. `rows_max`: of one batch; 0 where requests run alone."""

    engine: Engine
    rows_max: int


class Models(Protocol):
    """The models of the server, by name."""

    def find(self, name: str) -> ServedEngine:
        """The version that answers now; raises what the client should hear."""

    async def submit(self, name: str, feeds: Row) -> Mapping[str, np.ndarray]:
        """Run a batch when its turn comes; cancelling drops it."""


@dataclass(frozen=True)
class TaskSpec:
    """A task of the configuration: on a model, or on steps that name their own."""

    name: str
    task: str = ""
    model: str = ""
    folder: str | None = None
    """Tokenizer and configuration, where they are not beside the model."""
    options: Mapping[str, object] = field(default_factory=dict)
    steps: Mapping[str, object] = field(default_factory=dict)
    """By name: {task, model, from}, {task, model, each} or {function, from}."""
    output: str | tuple[str, ...] = ()
    """The step, or steps, whose results are the answer; the last one by default."""


@dataclass(frozen=True)
class _Bound:
    """A task on the version of a model that was there when it was bound."""

    engine: Engine
    model: Model
    prepared: Prepared


class TaskService:
    """Answers items of named tasks. Used by one event loop; pre- and post-processing run beside."""

    def __init__(
        self, specs: Sequence[TaskSpec], models: Models, folder_of: Callable[[str], Path | None]
    ) -> None:
        """`folder_of`: where a model's tokenizer and configuration are, by the model's name."""
        self._models = models
        self._folder_of = folder_of
        self._threads = ThreadPoolExecutor(2, "tasks")
        self._bound: dict[str, _Bound] = {}
        self._specs: dict[str, TaskSpec] = {}
        self._graphs: dict[str, GraphPipeline] = {}
        self._steps: dict[str, Mapping[str, StepSpec]] = {}
        for spec in specs:
            self._add(spec)

    @property
    def specs(self) -> Mapping[str, TaskSpec]:
        """The tasks by name."""
        return self._specs

    def kind(self, name: str) -> str:
        """What the items of a task are: text, pair, image, audio or json."""
        spec = self.spec(name)
        if not spec.steps:
            return kind_of(find_task(spec.task).name)
        first = next((s for s in self._steps[name].values() if s.takes == (INPUT,)), None)
        return kind_of(find_task(first.task).name) if first and first.task else "json"

    def models_of(self, name: str) -> tuple[str, ...]:
        """The models that a task runs, each once."""
        spec = self.spec(name)
        if not spec.steps:
            return (spec.model,)
        return tuple(dict.fromkeys(s.model for s in self._steps[name].values() if s.model))

    def spec(self, name: str) -> TaskSpec:
        """The task of a name; raises UnknownTaskError."""
        if name not in self._specs:
            raise UnknownTaskError(f"unknown task {name!r}; {near_match(name, list(self._specs))}")
        return self._specs[name]

    async def answer(self, name: str, items: Sequence[Any]) -> list[Any]:
        """The results of items, in their order. Raises InputError, and what the models raise."""
        check_count(len(items))
        spec = self.spec(name)
        if spec.steps:
            return [await self._run_graph(name, item) for item in items]
        return await self._run_task(name, spec.task, spec.model, items)

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False)

    def _add(self, spec: TaskSpec) -> None:
        where = f"task {spec.name!r}"
        if spec.name in self._specs:
            raise InputError(f"two tasks are called {spec.name!r}")
        if bool(spec.task) == bool(spec.steps):
            raise InputError(f"{where}: expected `task` and `model`, or `steps`")
        if spec.steps:
            steps = read_steps(spec.steps, where)
            outputs = (spec.output,) if isinstance(spec.output, str) else spec.output
            self._graphs[spec.name] = graph_of(spec.name, steps, outputs, {})
            self._steps[spec.name] = steps
        else:
            read_options(find_task(spec.task).options, spec.options, where)
            if not spec.model:
                raise InputError(f"{where}: no `model`")
        self._specs[spec.name] = spec

    async def _run_task(self, key: str, task: str, model: str, items: Sequence[Any]) -> list[Any]:
        bound = await self._bind(key, task, model)
        works = await self._aside(lambda: [bound.prepared.prepare(item) for item in items])
        rows = [row for work in works for row in work.rows]
        answers = await self._run_rows(bound, model, rows)
        ends = np.cumsum([len(work.rows) for work in works]).tolist()
        parts = [answers[end - len(work.rows) : end] for work, end in zip(works, ends, strict=True)]
        made: list[Any] = await self._aside(
            lambda: [work.finish(part) for work, part in zip(works, parts, strict=True)]
        )
        return made

    async def _run_rows(self, bound: _Bound, model: str, rows: Sequence[Row]) -> list[Row]:
        """The answers to rows; their batches wait for those of other requests in the queue."""
        served = self._models.find(model)
        fixed = bound.model.fixed(0)
        sizes = (fixed,) if fixed else tuple(range(1, max(served.rows_max, 1) + 1))
        batching = replace(bound.prepared.batching, sizes=sizes)
        answers: list[Row] = [{}] * len(rows)
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def run(batch: Batch) -> None:
            async with gate:
                made = await self._models.submit(model, batch.feeds)
            for place, row in enumerate(batch.rows):
                answers[row] = pick_answer(made, place, batching)

        async with asyncio.TaskGroup() as group:
            for batch in make_batches(rows, batching):
                group.create_task(run(batch))
        return answers

    async def _run_graph(self, name: str, item: Any) -> Any:
        graph, steps = self._graphs[name], self._steps[name]
        first = await self._aside(partial(read_image, item)) if self.kind(name) == "image" else item
        values: dict[str, Any] = {INPUT: first}
        for step in graph.steps:
            given = [values[source] for source in step.inputs]
            values[step.name] = await self._run_step(name, steps[step.name], step, given)
        made = {output: values[output] for output in graph.outputs}
        return made[graph.outputs[0]] if len(made) == 1 else made

    async def _run_step(self, name: str, spec: StepSpec, step: Step, given: list[Any]) -> Any:
        if step.function is not None:
            return await self._aside(partial(step.function, *given))
        items = given[0] if step.each else given
        if not isinstance(items, list):
            raise InputError(f"step {step.name!r} takes each of a list")
        if not items:
            return []
        made = await self._run_task(f"{name}/{step.name}", spec.task, spec.model, items)
        return made if step.each else made[0]

    async def _bind(self, key: str, task: str, model: str) -> _Bound:
        """The task on the model's version of now; built again when that changed."""
        served = self._models.find(model)
        bound = self._bound.get(key)
        if bound is None or bound.engine is not served.engine:
            bound = await self._aside(partial(self._build, key, task, model, served))
            self._bound[key] = bound
        return bound

    def _build(self, key: str, task: str, model: str, served: ServedEngine) -> _Bound:
        spec = self._specs[key.partition("/")[0]]
        step = self._steps[spec.name][key.partition("/")[2]] if spec.steps else None
        given = step.folder if step else spec.folder
        folder = Path(given) if given else self._folder_of(model)
        row = find_task(task)
        options = read_options(row.options, step.options if step else spec.options, key)
        opened = open_model(served.engine, folder, Compiling())
        return _Bound(served.engine, opened, row.build(opened, options, (1,)))

    async def _aside(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def read_task_specs(given: object, where: str) -> list[TaskSpec]:
    """The `tasks:` list of a configuration; raises InputError."""
    if not isinstance(given, list):
        raise InputError(f"{where}: tasks: expected a list, got {type(given).__name__}")
    specs = []
    for place, entry in enumerate(given):
        if not isinstance(entry, dict) or "name" not in entry:
            raise InputError(f"{where}: tasks[{place}]: expected keys and values with a name")
        specs.append(read_options(TaskSpec, entry, f"{where}: tasks[{place}]"))
    return specs
