"""A task of your own: two functions around the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work
from colonnade.pipeline.task import Prepared


@dataclass(frozen=True)
class Options:
    """What happens before and after the engine."""

    process_inputs: Callable[[Any], Any] | None = None
    """From an item to what the model's inputs get, without the batch axis: a dict of arrays by
    name, or an array for a model with one input. None: the item is that already."""
    process_outputs: Callable[[Any], Any] | None = None
    """From the outputs by name, without the batch axis, to the result. None: they are it."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """Whatever `process_inputs` takes."""

    def finish(rows: Sequence[Row]) -> Any:
        outputs = dict(rows[0])
        return outputs if options.process_outputs is None else options.process_outputs(outputs)

    def prepare(item: object) -> Work[Any]:
        made = item if options.process_inputs is None else options.process_inputs(item)
        return Work([_row(model, made)], finish)

    return Prepared(prepare, Batching(sizes))


def _row(model: Model, made: object) -> Row:
    if isinstance(made, np.ndarray) and len(model.inputs) == 1:
        return {model.inputs[0]: made}
    if not isinstance(made, Mapping) or not all(isinstance(v, np.ndarray) for v in made.values()):
        raise InputError(
            f"process_inputs: expected arrays by name for {list(model.inputs)}, got "
            f"{type(made).__name__}"
        )
    if sorted(made) != sorted(model.inputs):
        raise InputError(f"process_inputs: inputs {list(made)}, expected {list(model.inputs)}")
    return {name: made[name] for name in model.inputs}
