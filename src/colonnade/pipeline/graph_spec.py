"""Graphs of models as data: what a YAML file says about steps, and a graph made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colonnade.engine.runtime import Runtime
from colonnade.errors import CapabilityError, InputError
from colonnade.pipeline.graph import FUNCTIONS, INPUT, GraphPipeline, Stage, Step, ordered
from colonnade.pipeline.images import read_image
from colonnade.pipeline.options import near_match, read_options

IMAGE_TASKS = ("image-classification", "object-detection", "text-detection", "text-recognition")


@dataclass(frozen=True)
class StepSpec:
    """A step: a task on a model or a function, and what it takes."""

    takes: tuple[str, ...]
    """Names of steps, or "input"."""
    is_each: bool = False
    task: str = ""
    model: str = ""
    function: str = ""
    folder: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Written:
    """A step as it is written; `from` is a word of Python and is read apart."""

    each: str = ""
    task: str = ""
    model: str = ""
    function: str = ""
    folder: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


def read_steps(given: Mapping[str, object], where: str) -> dict[str, StepSpec]:
    """Steps by name; raises InputError."""
    return {str(name): _read_step(step, f"{where}, step {name!r}") for name, step in given.items()}


def graph_of(
    name: str,
    steps: Mapping[str, StepSpec],
    outputs: tuple[str, ...],
    stages: Mapping[str, Stage],
) -> GraphPipeline:
    """The graph; `stages` are the tasks on models, by the names of their steps."""
    if not steps:
        raise InputError(f"{name}: no steps")
    chosen = outputs or (list(steps)[-1],)
    for output in chosen:
        if output not in steps:
            raise InputError(f"{name}: output {output!r}; {near_match(output, list(steps))}")
    made = [
        Step(
            step, spec.takes, stages.get(step), FUNCTIONS[spec.function] if spec.function else None,
            spec.is_each,
        )
        for step, spec in steps.items()
    ]  # fmt: skip
    is_image = any(s.takes[0] == INPUT and s.task in IMAGE_TASKS for s in steps.values())
    graph = GraphPipeline(name, ordered(made, name), chosen)
    return GraphPipeline(name, graph.steps, chosen, read_image) if is_image else graph


def read_graph(path: Path, threads: int | None = None) -> GraphPipeline:
    """A graph of a YAML file (docs/guide/tasks.md); its models share one runtime.

    Raises InputError, and what `colonnade.pipeline` raises.
    """
    try:
        import yaml
    except ImportError:
        raise CapabilityError("a graph file needs PyYAML: pip install pyyaml") from None
    from colonnade.pipeline.pipeline import pipeline

    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not a readable YAML file: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("steps"), dict):
        raise InputError(f"{path}: expected `steps:` with a step for each name")
    steps = read_steps(found["steps"], str(path))
    runtime = Runtime(threads or 0)
    stages = {
        name: pipeline(
            spec.task, path.parent / spec.model, runtime=runtime, folder=spec.folder,
            **spec.options,  # type: ignore[arg-type]
        )
        for name, spec in steps.items()
        if spec.task
    }  # fmt: skip
    output = found.get("output", ())
    outputs = (output,) if isinstance(output, str) else tuple(output)
    return graph_of(path.stem, steps, outputs, stages)


def _read_step(given: object, where: str) -> StepSpec:
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: expected keys and values, got {type(given).__name__}")
    written = read_options(_Written, {k: v for k, v in given.items() if k != "from"}, where)
    source = given.get("from", written.each)
    takes = (source,) if isinstance(source, str) else tuple(source)
    if not takes or not all(isinstance(name, str) and name for name in takes):
        raise InputError(f"{where}: expected `from:` or `each:` with the names of other steps")
    if bool(written.task) == bool(written.function):
        raise InputError(f"{where}: expected `task:` and `model:`, or `function:`")
    if written.function and written.function not in FUNCTIONS:
        raise InputError(
            f"{where}: unknown function {written.function!r}; "
            f"{near_match(written.function, list(FUNCTIONS))}"
        )
    if written.task and (not written.model or len(takes) != 1):
        raise InputError(f"{where}: a task needs `model:`, and takes from one step")
    return StepSpec(
        takes, bool(written.each), written.task, written.model, written.function, written.folder,
        written.options,
    )  # fmt: skip
