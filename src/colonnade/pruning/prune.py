"""prune(): a trained ONNX model and calibration data to a sparse one, layer by layer."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.pruning.compare import compare_outputs
from colonnade.pruning.layers import Layer, find_layers
from colonnade.pruning.report import LayerRecord, Report
from colonnade.pruning.share_out import NEEDS_STATISTICS, share_out
from colonnade.pruning.statistics import Statistics, collect
from colonnade.quantization.calibrate import Progress
from colonnade.quantization.data.open import Reading, open_source
from colonnade.quantization.data.source import Source, checked_source
from colonnade.sparsity.allocation import ALLOCATIONS, Allocation
from colonnade.sparsity.masks import check_sparsity
from colonnade.sparsity.patterns import Pattern, implied_sparsity, parse_pattern, why_not
from colonnade.sparsity.solvers.damping import DAMPING, error_of
from colonnade.sparsity.solvers.solve import METHODS, NEEDS, Method, Tuning, solve

if TYPE_CHECKING:
    import onnx

    from colonnade.onnx.constants import Source as ModelSource

METADATA_KEY = "colonnade.sparsity"
"""Entry of the file's metadata: JSON of what was pruned and how."""
HESSIAN_BYTES = 1 << 30
"""Of statistics that are held at once; more layers take more passes over the data."""
DEFAULT_READING = Reading()


@dataclass(frozen=True)
class PrunedModel:
    """The sparse model, and what became of its layers."""

    proto: onnx.ModelProto
    report: Report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file, at once or not at all."""
        from colonnade.onnx.constants import save_proto

        save_proto(self.proto, path)

    def to_bytes(self) -> bytes:
        """The ONNX file in memory."""
        return bytes(self.proto.SerializeToString())


@dataclass(frozen=True)
class _Options:
    """How layers are solved."""

    method: Method
    pattern: Pattern
    tuning_damping: float
    corrects: bool


def prune(
    model: ModelSource,
    calibration: object,
    *,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: Method = "obc",
    allocation: Allocation = "uniform",
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    depthwise: bool = False,
    sequential: bool = False,
    correct: bool = True,
    damping: float = DAMPING,
    validation: object = None,
    reading: Reading = DEFAULT_READING,
    samples_max: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda _, __: None,
) -> PrunedModel:
    """Prune the weights of an ONNX model's convolutions and linear layers without training.

    Everything else in the file stays bit for bit.

    `calibration`: a folder of .npz files (keys are input names) or of images, a text file,
    "module:function", a list of dicts of arrays, or a function that yields them.
    `sparsity`: share of the weights of the pruned layers that become 0; "N:M" brings its own.
    `pattern`: "unstructured", "2:4", blocks of outputs x inputs as "1x4", "channel" or "filter".
    `method`: "magnitude", "wanda", "sparsegpt" or "obc" (docs/guide/one-shot.md).
    `allocation`: how layers share the sparsity: "uniform", "erk", "owl", "global", "sensitivity".
    `layers`: names of nodes to prune, * and ? as in a shell; all that can be by default. One that
    is named and cannot be pruned is an error.
    `exclude`: names of nodes to leave dense.
    `depthwise`: prune depthwise convolutions, too; they are few weights and cost much accuracy.
    `sequential`: calibrate each layer on what the already pruned ones before it make; slower.
    `correct`: let biases take up the change of the mean that a layer's pruning makes.
    `damping`: share of a Hessian's mean diagonal that is added to it.
    `validation`: data, as `calibration`, to compare outputs on; the calibration data by default.
    `reading`: how images and text become arrays.

    Raises ModelError for a model that cannot be read, InputError for options or data that do not
    fit.
    """
    from colonnade.onnx.constants import constant_names, load_proto, replace_constants
    from colonnade.onnx.importer import import_model

    shape = parse_pattern(pattern)
    wanted = _check_options(sparsity, shape, method, allocation, damping)
    progress("reading the model", None)
    graph = import_model(model)
    proto = load_proto(model)
    found, refused = find_layers(graph, constant_names(proto))
    chosen, refused = _choose(found, refused, layers, exclude, depthwise, shape)
    source = checked_source(open_source(calibration, graph, reading), graph, samples_max)
    compared_on = source
    if validation is not None:
        compared_on = checked_source(open_source(validation, graph, reading), graph, None)
    options = _Options(method, shape, damping, correct)
    run = _Run(graph, chosen, options, source, threads, progress)
    run.prune(allocation, wanted, sequential)
    progress("comparing", None)
    outputs, compared = compare_outputs(graph, run.graph, compared_on, threads)
    records = _records(graph, run, found, refused)
    report = Report(
        graph.name, method, str(shape), allocation, sum(1 for _ in source()), compared, records,
        outputs, sum(layer.size for layer in chosen), run.zeros,
        sum(layer.size for layer in found),
    )  # fmt: skip
    replace_constants(proto, run.changed, {METADATA_KEY: _metadata(report, chosen, run)})
    return PrunedModel(proto, report)


class _Run:
    """The graph while its layers are pruned one after the other."""

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        options: _Options,
        source: Source,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self.graph = graph
        self.changed: dict[str, np.ndarray] = {}
        self.errors: dict[str, float | None] = {}
        self.sparsity: dict[str, float] = {}
        self.zeros = 0
        self._dense = graph
        self._layers = layers
        self._options = options
        self._source = source
        self._threads = threads
        self._progress = progress

    def prune(self, allocation: Allocation, sparsity: float, sequential: bool) -> None:
        """All layers, in passes over the data."""
        self._progress("calibrating", None)
        shares = self._share_out(allocation, sparsity)
        for part in _in_order(self._layers) if sequential else _in_memory(self._layers):
            statistics = self._collect(part)
            for layer in part:
                done = len(self.errors) / len(self._layers)
                self._progress(f"pruning {layer.name}", done)
                self._prune_layer(layer, shares[layer.name], statistics.get(layer.name))
            self.graph = self._dense.with_changes(
                constants={**self._dense.constants, **self.changed}
            )

    def _share_out(self, allocation: Allocation, sparsity: float) -> dict[str, float]:
        matrices = {layer.name: (layer, self._matrices(layer)) for layer in self._layers}
        statistics: dict[str, Statistics] = {}
        if allocation in NEEDS_STATISTICS:
            statistics = collect(self._dense, self._layers, self._source, self._threads)
        return share_out(allocation, sparsity, self._options.pattern, matrices, statistics)

    def _collect(self, layers: Sequence[Layer]) -> Mapping[str, Statistics]:
        if NEEDS[self._options.method] == "nothing" and not self._options.corrects:
            return {}
        return collect(self.graph, layers, self._source, self._threads)

    def _matrices(self, layer: Layer) -> np.ndarray:
        return layer.to_matrices(self._dense.constants[layer.weights])

    def _prune_layer(self, layer: Layer, sparsity: float, found: Statistics | None) -> None:
        """Solve each group, put the weights back, and let the bias take up the mean."""
        options = self._options
        dense = self._matrices(layer)
        corrects = options.corrects and layer.bias is not None and found is not None
        hessians: Any = [None] * layer.groups
        if found is not None:
            hessians = found.centred() if corrects else found.products
        tuning = Tuning(damping=options.tuning_damping, taps=layer.taps)
        solved = [
            solve(options.method, weights, hessian, options.pattern, sparsity, tuning)
            for weights, hessian in zip(dense, hessians, strict=True)
        ]
        weights = np.stack([made.weights for made in solved]).astype(np.float32)
        self.changed[layer.weights] = layer.from_matrices(weights)
        self._record(layer, dense, weights, hessians if found is not None else None)
        if corrects:
            assert layer.bias is not None
            assert found is not None
            change = weights.astype(np.float64) - dense
            shift = -(change @ found.means[:, :, None]).reshape(-1)
            bias = self._dense.constants[layer.bias.name]
            self.changed[layer.bias.name] = (bias + layer.bias.sign * shift).astype(np.float32)

    def _record(
        self, layer: Layer, dense: np.ndarray, weights: np.ndarray, hessians: np.ndarray | None
    ) -> None:
        zeros = int(np.sum(weights == 0))
        self.zeros += zeros
        self.sparsity[layer.name] = zeros / layer.size
        self.errors[layer.name] = None
        if hessians is not None:
            groups = list(zip(dense, weights, hessians, strict=True))
            error = sum(error_of(w.astype(np.float64) - d, h) for d, w, h in groups)
            energy = sum(error_of(d, h) for d, _, h in groups)
            self.errors[layer.name] = error / energy if energy > 0 else 0.0


def _check_options(
    sparsity: float | None, pattern: Pattern, method: str, allocation: str, damping: float
) -> float:
    """The sparsity of the pruned layers."""
    if method not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(METHODS)}")
    if allocation not in ALLOCATIONS:
        raise InputError(f"allocation={allocation!r}; it is one of {', '.join(ALLOCATIONS)}")
    if not 0.0 < damping < 10.0:
        raise InputError(f"damping={damping}: expected a share above 0, as {DAMPING}")
    implied = implied_sparsity(pattern)
    if implied is None:
        if sparsity is None:
            raise InputError(f"pattern {pattern} needs a sparsity, as 0.7")
        check_sparsity(sparsity)
        return sparsity
    if sparsity is not None and sparsity != implied:
        raise InputError(f"sparsity={sparsity}: pattern {pattern} has {implied:g}; leave it out")
    if allocation != "uniform":
        raise InputError(f"allocation={allocation!r}: with {pattern} all layers have {implied:g}")
    return implied


def _choose(
    found: Sequence[Layer],
    refused: Mapping[str, str],
    names: Sequence[str],
    exclude: Sequence[str],
    depthwise: bool,
    pattern: Pattern,
) -> tuple[list[Layer], dict[str, str]]:
    """The layers to prune, and the reasons for all others; an error where a named one cannot be."""
    known = [*(layer.name for layer in found), *refused]
    named, excluded = _matching(names, known, "layers"), _matching(exclude, known, "exclude")
    reasons = dict(refused)
    for layer in found:
        if layer.name in excluded:
            reasons[layer.name] = "excluded by name"
        elif names and layer.name not in named:
            reasons[layer.name] = "not among the layers to prune"
        elif layer.is_depthwise and not depthwise and layer.name not in named:
            reasons[layer.name] = f"depthwise: {layer.taps} weights in each output"
        elif why := why_not(pattern, layer.rows, layer.inputs, layer.taps):
            reasons[layer.name] = why
    for name in names:  # a pattern with a star may match others besides
        if name in reasons and name not in excluded:
            raise InputError(f"layer {name!r} cannot be pruned: {reasons[name]}")
    chosen = [layer for layer in found if layer.name not in reasons]
    if not chosen:
        why = "; ".join(sorted({f"{reason}" for reason in reasons.values()})[:4])
        raise InputError(f"no layer is left to prune: {why or 'the model has none'}")
    return chosen, reasons


def _matching(patterns: Sequence[str], names: Sequence[str], option: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = set(fnmatch.filter(names, pattern)) | ({pattern} & set(names))
        if not matched:
            more = " and more" if len(names) > 8 else ""
            raise InputError(f"{option} {pattern!r}: no layer has this name; {names[:8]}{more}")
        found |= matched
    return found


def _in_order(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Layers that read the same, in the order of the model."""
    parts: dict[tuple[str, ...], list[Layer]] = {}
    for layer in layers:
        parts.setdefault(layer.values, []).append(layer)
    yield from parts.values()


def _in_memory(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """As many layers at once as their statistics allow."""
    part: list[Layer] = []
    nbytes = 0
    for layer in layers:
        size = 8 * layer.groups * layer.cols**2
        if part and nbytes + size > HESSIAN_BYTES:
            yield part
            part, nbytes = [], 0
        part.append(layer)
        nbytes += size
    yield part


def _records(
    graph: Graph, run: _Run, found: Sequence[Layer], refused: Mapping[str, str]
) -> tuple[LayerRecord, ...]:
    layers = {layer.name: layer for layer in found}
    records = []
    for node in graph.nodes:
        layer = layers.get(node.name)
        if layer is not None and node.name in run.sparsity:
            records.append(
                LayerRecord(node.name, node.op, layer.shape, run.sparsity[node.name],
                            run.errors[node.name], "")
            )  # fmt: skip
        elif node.name in refused:
            weights = graph.constants.get(layer.weights if layer else node.inputs[1])
            zeros = float(np.mean(weights == 0)) if weights is not None and weights.size else 0.0
            shape = weights.shape if weights is not None else ()
            records.append(LayerRecord(node.name, node.op, shape, zeros, None, refused[node.name]))
    return tuple(records)


def _metadata(report: Report, layers: Sequence[Layer], run: _Run) -> str:
    return json.dumps({
        "method": report.method,
        "pattern": report.pattern,
        "sparsity": round(report.sparsity, 6),
        "weights": {layer.weights: round(run.sparsity[layer.name], 6) for layer in layers},
    })  # fmt: skip
