"""analyze(): what each layer of a model costs, and what its zeros would gain and lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from colonnade.engine.runtime import Runtime
from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.onnx.constants import constant_names, load_proto
from colonnade.onnx.importer import import_model
from colonnade.pruning.layers import Layer, find_layers
from colonnade.pruning.prune import DEFAULT_READING, prune_many
from colonnade.quantization.calibrate import Progress
from colonnade.quantization.data.open import Reading, open_source
from colonnade.quantization.data.source import Arrays, Source, checked_source
from colonnade.search.content import hash_content
from colonnade.search.cost_table import CostTable, measure_costs
from colonnade.search.levels import levels_of
from colonnade.search.sensitivity import Constants, measure_sensitivity, probes_of
from colonnade.sparsity.patterns import Pattern, parse_pattern, why_not
from colonnade.sparsity.solvers.solve import Method


@dataclass(frozen=True)
class LayerCost:
    """One layer at every level of the analysis."""

    name: str
    op: str
    shape: tuple[int, ...]
    ms: tuple[float, ...]
    errors: tuple[float, ...]
    """Relative squared error of the model's outputs with this layer alone at the level; estimated
    at levels that are no probes of the analysis."""


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found."""

    model: str
    """Name of the file."""
    content: str
    """See `hash_content`."""
    pattern: str
    method: Method
    levels: tuple[float, ...]
    probes: tuple[float, ...]
    """Levels whose errors were measured."""
    layers: tuple[LayerCost, ...]
    dense_ms: float
    rest_ms: float
    """Of what cannot be pruned."""
    least_ms: float
    """With every layer at its cheapest level."""
    threads: int
    inputs: Mapping[str, tuple[int, ...]]
    """Shapes that were timed."""

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Analysis:
        """The inverse of `to_dict`, also by way of JSON."""
        layers = tuple(
            LayerCost(x["name"], x["op"], tuple(x["shape"]), tuple(x["ms"]), tuple(x["errors"]))
            for x in found["layers"]
        )
        inputs = {name: tuple(shape) for name, shape in found["inputs"].items()}
        facts = {name: tuple(found[name]) for name in ("levels", "probes")}
        return cls(**{**found, **facts, "layers": layers, "inputs": inputs})

    def check(self, subject: Subject) -> None:
        """Raise InputError unless the subject is what was analyzed."""
        name = subject.path.name
        if self.content != subject.content:
            raise InputError(
                f"the analysis is of {self.model}, and {name} has other nodes or weights"
            )
        ours = (str(subject.pattern), subject.method, subject.runtime.threads,
                subject.timed_shapes)  # fmt: skip
        known = (self.pattern, self.method, self.threads, dict(self.inputs))
        words = ("pattern", "method", "threads", "inputs")
        for word, left, right in zip(words, known, ours, strict=True):
            if left != right:
                raise InputError(f"the analysis is of {word} {left}, and this is {right}")
        self._check_layers(subject.names)

    def _check_layers(self, names: Sequence[str]) -> None:
        """What is excluded may differ."""
        known = [layer.name for layer in self.layers]
        for these, others in ((known, names), (names, known)):
            more = [name for name in these if name not in others]
            if more:
                rest = f" and {len(more) - 1} more" if len(more) > 1 else ""
                where = "the analysis is of" if these is known else "this is of"
                raise InputError(
                    f"{where} layers {more[0]!r}{rest}, which the other lacks; exclude the same"
                )

    @property
    def costs(self) -> CostTable:
        """What layers cost."""
        rows = {layer.name: layer.ms for layer in self.layers}
        return CostTable(self.pattern, self.levels, rows, self.dense_ms)

    @property
    def errors(self) -> dict[str, tuple[float, ...]]:
        """What their zeros lose."""
        return {layer.name: layer.errors for layer in self.layers}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """A model that is searched: its graph, layers and data."""

    path: Path
    graph: Graph
    layers: tuple[Layer, ...]
    source: Source
    pattern: Pattern
    method: Method
    runtime: Runtime
    timed: Arrays
    """The sample that is timed."""

    @property
    def timed_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the inputs."""
        return {name: array.shape for name, array in self.timed.items()}

    @property
    def content(self) -> str:
        """See `hash_content`."""
        return hash_content(self.graph)

    @property
    def names(self) -> list[str]:
        """Of the layers."""
        return [layer.name for layer in self.layers]


def open_subject(
    model: str | Path,
    calibration: object,
    *,
    pattern: str = "unstructured",
    method: Method = "sparsegpt",
    exclude: Sequence[str] = (),
    reading: Reading = DEFAULT_READING,
    samples_max: int | None = None,
    threads: int | None = None,
    batch: int | None = None,
) -> Subject:
    """Read the model and find the layers that can have the pattern.

    What is timed is the first sample: a text padded to the full length of `reading`, and repeated
    to `batch` rows where one is given.
    """
    shape = parse_pattern(pattern)
    graph = import_model(model)
    found, refused = find_layers(graph, constant_names(load_proto(model)))
    _check_names(exclude, [*(layer.name for layer in found), *refused])
    layers = tuple(
        layer
        for layer in found
        if not layer.is_depthwise
        and not any(fnmatchcase(layer.name, name) for name in exclude)
        and not why_not(shape, layer.rows, layer.inputs, layer.taps)
    )
    source = checked_source(open_source(calibration, graph, reading), graph, samples_max)
    whole = open_source(calibration, graph, replace(reading, is_full=True))
    timed = _with_batch(next(iter(checked_source(whole, graph, 1)())).arrays, batch)
    return Subject(Path(model), graph, layers, source, shape, method, Runtime(threads or 0), timed)


def _check_names(exclude: Sequence[str], names: Sequence[str]) -> None:
    """Raise InputError for one that matches nothing, as `prune` does."""
    for pattern in exclude:
        if not any(fnmatchcase(name, pattern) for name in names):
            more = " and more" if len(names) > 8 else ""
            raise InputError(f"exclude {pattern!r}: no layer has this name; {names[:8]}{more}")


def _with_batch(arrays: Arrays, batch: int | None) -> Arrays:
    """Its rows again and again, along the first axis."""
    if batch is None:
        return arrays
    if any(array.ndim == 0 for array in arrays.values()):
        raise InputError(f"batch size {batch}: an input of the model has no axes")
    return {
        name: np.ascontiguousarray(np.take(array, np.arange(batch) % len(array), axis=0))
        for name, array in arrays.items()
    }


def analyze(subject: Subject, progress: Progress = lambda _, __: None) -> Analysis:
    """Measure costs and sensitivities."""
    if not subject.layers:
        raise InputError(f"{subject.path.name}: no layer can have pattern {subject.pattern}")
    table = costs_of(subject, progress)
    errors = errors_of(subject, progress)
    rows = tuple(
        LayerCost(x.name, x.op, x.shape, table.layers[x.name], errors[x.name])
        for x in subject.layers
    )
    return Analysis(
        model=subject.path.name, content=subject.content, pattern=table.pattern,
        method=subject.method, levels=table.levels, probes=probes_of(table.levels), layers=rows,
        dense_ms=table.dense_ms, rest_ms=table.rest_ms, least_ms=table.least_ms,
        threads=subject.runtime.threads, inputs=subject.timed_shapes,
    )  # fmt: skip


def costs_of(subject: Subject, progress: Progress) -> CostTable:
    """See `measure_costs`."""
    return measure_costs(
        subject.graph, subject.layers, subject.pattern, subject.timed, subject.runtime, progress
    )


def errors_of(subject: Subject, progress: Progress) -> dict[str, tuple[float, ...]]:
    """See `measure_sensitivity`."""

    def prune_at(probes: Sequence[float]) -> list[Constants]:
        progress("pruning all layers", None)
        made = prune_many(
            subject.path, list_samples(subject.source), probes, pattern=str(subject.pattern),
            method=subject.method, layers=subject.names, threads=subject.runtime.threads,
        )  # fmt: skip
        return [import_model(one.proto).constants for one in made]

    return measure_sensitivity(
        subject.graph, subject.layers, prune_at, subject.source, levels_of(subject.pattern),
        subject.runtime.threads, progress,
    )  # fmt: skip


def list_samples(source: Source) -> list[Arrays]:
    """As calibration data is given to `prune`."""
    return [sample.arrays for sample in source()]
