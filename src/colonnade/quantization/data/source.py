"""Samples for calibration: arrays by input name, each with words for where it comes from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from colonnade.engine.inputs import check_inputs
from colonnade.errors import InputError
from colonnade.ir import Graph

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """Inputs of one run; `label` says where they are from."""

    label: str
    arrays: Arrays


Source = Callable[[], Iterator[Sample]]
"""Reads the samples from the start, each time that it is called; nothing is kept in between."""


def checked_source(source: Source, graph: Graph, samples_max: int | None) -> Source:
    """The first `samples_max` samples, refused with an InputError unless they fit the model.

    Keys that are no inputs are ignored: files may hold labels beside them.
    """

    def read() -> Iterator[Sample]:
        count = 0
        for sample in itertools.islice(source(), samples_max):
            count += 1
            yield Sample(sample.label, _check(graph, sample))
        if count == 0:
            raise InputError(
                "the calibration data holds no samples; give at least one, better some hundred"
            )

    return read


def blank_inputs(samples: Iterable[Sample]) -> tuple[str, ...]:
    """The float inputs (all, where none is float) if they are 0 throughout: data that says nothing.

    Where only some are, as first states of a recurrent layer, there are none.
    """
    names: dict[str, None] = {}
    for sample in samples:
        floats = {name: a for name, a in sample.arrays.items() if a.dtype.kind == "f"}
        read = floats or sample.arrays
        if any(array.any() for array in read.values()):
            return ()
        names.update(dict.fromkeys(read))
    return tuple(names)


def source_of(data: object, name: str = "calibration") -> Source:
    """A source from Python data: a list of dicts of arrays, or a function that yields them.

    Raises InputError for what can be read only once: calibration takes several passes.
    """
    if callable(data):
        make: Callable[[], Any] = data
        return lambda: _labelled(make(), name)
    if isinstance(data, Iterator) or not isinstance(data, Iterable):
        kind = type(data).__name__
        raise InputError(
            f"{name}: a {kind} cannot be read twice, and calibration takes several passes; "
            "give a list of dicts of arrays, or a function that returns an iterator of them"
        )
    return lambda: _labelled(data, name)


def _labelled(items: object, name: str) -> Iterator[Sample]:
    if not isinstance(items, Iterable):
        raise InputError(
            f"{name}: expected an iterable of dicts of arrays, got {type(items).__name__}"
        )
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InputError(
                f"{name}, sample {number}: expected a dict of arrays by input name, got "
                f"{type(item).__name__}"
            )
        yield Sample(f"{name}, sample {number}", item)


def _check(graph: Graph, sample: Sample) -> dict[str, np.ndarray]:
    known = {name: array for name, array in sample.arrays.items() if name in graph.inputs}
    missing = [name for name in graph.inputs if name not in known]
    if missing:
        raise InputError(
            f"{sample.label}: no array for input {missing[0]!r}; it holds {sorted(sample.arrays)}, "
            f"the model's inputs are {list(graph.inputs)}"
        )
    try:
        arrays = check_inputs(graph, known)
    except InputError as error:
        raise InputError(f"{sample.label}: {error.reason}") from None
    for name, array in arrays.items():
        if array.ndim and not len(array):
            raise InputError(
                f"{sample.label}: input {name!r} has no rows, shape {list(array.shape)}; nothing "
                "can be learned from empty calibration data: leave the sample out"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int(array.size - np.isfinite(array).sum())
            raise InputError(
                f"{sample.label}: input {name!r} holds {count} values that are NaN or infinite; "
                "calibration data must be finite: leave the sample out or repair it"
            )
    return arrays
