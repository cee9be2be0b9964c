"""Several models in one request: steps whose inputs are what other steps made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from colonnade.errors import InputError
from colonnade.pipeline.crops import crop
from colonnade.pipeline.images import read_image
from colonnade.pipeline.options import near_match
from colonnade.pipeline.results import Text, TextBox, TextLine

INPUT = "input"
"""The name of what the request brings."""


class Stage(Protocol):
    """What a step of a model needs: a task on a model."""

    def batch(self, items: Sequence[Any]) -> list[Any]:
        """The results of items, in their order."""


@dataclass(frozen=True)
class Step:
    """One step: a task or a function, and the names of the steps whose results it takes."""

    name: str
    inputs: tuple[str, ...]
    stage: Stage | None = None
    """A task on a model. Its one input is a list of items when `each`."""
    function: Callable[..., Any] | None = None
    each: bool = False


@dataclass(frozen=True)
class GraphPipeline:
    """Steps in an order in which they can run. Threads may call it at the same time."""

    task: str
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    """Steps whose results are the answer; several give a dict."""
    read: Callable[[Any], Any] = field(default=lambda item: item, repr=False)
    """Applied to the item first, so that it is read only once."""

    def __call__(self, item: Any) -> Any:
        """The result of an item; of a list, the list of results."""
        return self.batch(item) if isinstance(item, list) else self.run(item)

    def batch(self, items: Sequence[Any]) -> list[Any]:
        """The results of items, in their order, one after the other."""
        return [self.run(item) for item in items]

    def run(self, item: Any, stages: Mapping[str, Stage] | None = None) -> Any:
        """All steps on one item; `stages` replaces those of the named steps."""
        values: dict[str, Any] = {INPUT: self.read(item)}
        for step in self.steps:
            stage = (stages or {}).get(step.name, step.stage)
            given = [values[name] for name in step.inputs]
            values[step.name] = _run_step(step, stage, given)
        made = {name: values[name] for name in self.outputs}
        return made[self.outputs[0]] if len(made) == 1 else made


def ordered(steps: Sequence[Step], where: str) -> tuple[Step, ...]:
    """The steps, each after those that it takes from; InputError where that cannot be."""
    known = {INPUT, *(step.name for step in steps)}
    if len(known) != len(steps) + 1:
        raise InputError(f"{where}: two steps of one name, or one that is called {INPUT!r}")
    for step in steps:
        for name in step.inputs:
            if name not in known:
                raise InputError(
                    f"{where}: step {step.name!r} takes from {name!r}; "
                    f"{near_match(name, sorted(known))}"
                )
    done, waiting, made = {INPUT}, list(steps), []
    while waiting:
        ready = [step for step in waiting if done.issuperset(step.inputs)]
        if not ready:
            raise InputError(
                f"{where}: steps {[step.name for step in waiting]} wait for each other"
            )
        made += ready
        done.update(step.name for step in ready)
        waiting = [step for step in waiting if step.name not in done]
    return tuple(made)


def ocr_graph(detect: Stage, recognise: Stage) -> GraphPipeline:
    """Detect lines, cut them out, read them."""
    steps = (
        Step("boxes", (INPUT,), detect),
        Step("crops", (INPUT, "boxes"), function=crop),
        Step("texts", ("crops",), recognise, each=True),
        Step("lines", ("boxes", "texts"), function=text_lines),
    )
    return GraphPipeline("ocr", ordered(steps, "ocr"), ("lines",), read_image)


def text_lines(boxes: Sequence[TextBox], texts: Sequence[Text]) -> list[TextLine]:
    """Where lines are and what they read, together; lines without text are left out."""
    return [
        TextLine(text.text, text.score, box.corners)
        for box, text in zip(boxes, texts, strict=True)
        if text.text
    ]


def pairs(first: Sequence[Any], second: Sequence[Any]) -> list[dict[str, Any]]:
    """Two lists, item by item."""
    if len(first) != len(second):
        raise InputError(f"pairs: {len(first)} and {len(second)} items")
    return [{"first": a, "second": b} for a, b in zip(first, second, strict=True)]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "crop": crop,
    "text_lines": text_lines,
    "pairs": pairs,
}
"""Steps without a model, by the name that a configuration calls them."""


def _run_step(step: Step, stage: Stage | None, given: Sequence[Any]) -> Any:
    if step.function is not None:
        return step.function(*given)
    assert stage is not None
    if not step.each:
        return stage.batch([given[0]])[0]
    if not isinstance(given[0], list):
        raise InputError(f"step {step.name!r}: takes each of a list, got {type(given[0]).__name__}")
    return stage.batch(given[0])
