"""prune(): a trained ONNX model and calibration data to a sparse one, layer by layer."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from colonnade.errors import InputError, ModelError
from colonnade.ir import Graph
from colonnade.pruning.compare import compare_outputs
from colonnade.pruning.layers import Layer, find_layers, name_nodes, weights_of
from colonnade.pruning.report import LayerRecord, Report
from colonnade.pruning.statistics import Statistics, collect
from colonnade.quantization.calibrate import Progress
from colonnade.quantization.data.open import Reading, open_source
from colonnade.quantization.data.source import Source, blank_inputs, checked_source
from colonnade.sparsity.allocation import ALLOCATIONS, Allocation, LayerSize
from colonnade.sparsity.masks import Scope, check_sparsity, count_units
from colonnade.sparsity.patterns import NM, Pattern, implied_sparsity, parse_pattern, why_not
from colonnade.sparsity.share_out import NEEDS_STATISTICS, Weighed, share_out
from colonnade.sparsity.solvers.damping import error_of
from colonnade.sparsity.solvers.solve import METHODS, NEEDS, Method, Tuning, solve_many
from colonnade.sparsity.structure import DENSE, SPARSITY_KEY, describe_zeros

if TYPE_CHECKING:
    import onnx

    from colonnade.onnx.constants import Source as ModelSource

PRUNING_KEY = "colonnade.pruning"
"""Entry of the file's metadata: JSON of how it was pruned; what is sparse has SPARSITY_KEY."""
HESSIAN_BYTES = 1 << 30
"""Of statistics that are held at once; more layers take more passes over the data."""
DAMPING = 0.1
"""More than SparseGPT's 0.01: data is scarce, and solvers fit what they see too well."""
DEFAULT_READING = Reading()


@dataclass(frozen=True)
class PrunedModel:
    """The sparse model, and what became of its layers."""

    proto: onnx.ModelProto
    report: Report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file, at once or not at all; above 2 GiB, its constants go to a file
        `<path>.<hash>.data` beside it."""
        from colonnade.onnx.saving import save_proto

        save_proto(self.proto, path)

    def to_bytes(self) -> bytes:
        """The ONNX file in memory. Raises ModelError above 2 GiB."""
        from colonnade.onnx.exporter import MAX_MESSAGE_BYTES

        made = bytes(self.proto.SerializeToString())
        if len(made) > MAX_MESSAGE_BYTES:
            raise ModelError(f"the model takes {len(made)} bytes, one message 2 GiB: save() it")
        return made


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
    shares: Mapping[str, float] | None = None,
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
    `shares`: the sparsity of each layer by name, in the place of `sparsity`, `allocation` and
    `layers`; all others stay dense.
    `depthwise`: prune depthwise convolutions, too; they are few weights and cost much accuracy.
    `sequential`: calibrate each layer on what the already pruned ones before it make; slower.
    `correct`: let biases take up the change of the mean that a layer's pruning makes.
    `damping`: share of a Hessian's mean diagonal that is added to it.
    `validation`: data, as `calibration`, to compare outputs on; the calibration data by default.
    `reading`: how images and text become arrays.

    Raises ModelError for a model that cannot be read, InputError for options or data that do not
    fit.
    """
    shape = parse_pattern(pattern)
    if shares is not None:
        _check_shares(shares, shape, sparsity)
        layers, sparsity = tuple(shares), max(shares.values())
    wanted = _check_options(sparsity, shape, method, allocation, damping)
    options = _Options(method, shape, allocation, damping, correct)
    progress("reading the model", None)
    job = _read(
        model, calibration, validation, options, reading, samples_max, threads,
        (layers, exclude, depthwise),
    )  # fmt: skip
    progress("calibrating", None)
    run = _Run(job, shares or _shares(job, wanted))
    for part in _in_order(job.chosen) if sequential else _in_memory(job.chosen):
        statistics = _collect(job, run.graph, part)
        for layer in part:
            progress(f"pruning {layer.name}", len(run.errors) / len(job.chosen))
            found = statistics.get(layer.name)
            run.take(layer, found, _solve(job, layer, found, (run.shares[layer.name],))[0])
        run.update()
    progress("comparing", None)
    return run.result()


def prune_many(
    model: ModelSource,
    calibration: object,
    sparsities: Sequence[float],
    *,
    pattern: str = "unstructured",
    method: Method = "obc",
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    depthwise: bool = False,
    correct: bool = True,
    damping: float = DAMPING,
    validation: object = None,
    reading: Reading = DEFAULT_READING,
    samples_max: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda _, __: None,
) -> list[PrunedModel]:
    """`prune` to each sparsity, alike in all layers; calibrated once.

    With "obc" it takes hardly longer than the highest sparsity alone.
    """
    shape = parse_pattern(pattern)
    for sparsity in sparsities:
        _check_options(sparsity, shape, method, "uniform", damping)
    options = _Options(method, shape, "uniform", damping, correct)
    job = _read(
        model, calibration, validation, options, reading, samples_max, threads,
        (layers, exclude, depthwise),
    )  # fmt: skip
    progress("calibrating", None)
    runs = [_Run(job, {layer.name: s for layer in job.chosen}) for s in sparsities]
    for part in _in_memory(job.chosen):
        statistics = _collect(job, job.graph, part)
        for layer in part:
            progress(f"pruning {layer.name}", len(runs[0].errors) / len(job.chosen))
            found = statistics.get(layer.name)
            solved = _solve(job, layer, found, sparsities)
            for run, made in zip(runs, solved, strict=True):
                run.take(layer, found, made)
    for run in runs:
        run.update()
    progress("comparing", None)
    return [run.result() for run in runs]


def check_options(
    sparsity: float | None, pattern: str, method: str, allocation: str, damping: float
) -> None:
    """Raise InputError for what `prune` refuses before it reads the model."""
    _check_options(sparsity, parse_pattern(pattern), method, allocation, damping)


@dataclass(frozen=True)
class _Options:
    """How layers are solved."""

    method: Method
    pattern: Pattern
    allocation: Allocation
    damping: float
    corrects: bool


@dataclass(frozen=True)
class _Job:
    """What all of a pruning knows: the dense model, its layers and the data."""

    graph: Graph
    proto: onnx.ModelProto
    found: Sequence[Layer]
    chosen: Sequence[Layer]
    refused: Mapping[str, str]
    """Reasons by node name."""
    options: _Options
    source: Source
    validation: Source
    threads: int | None

    def matrices(self, layer: Layer) -> np.ndarray:
        """The dense weights, [groups, rows, cols]."""
        return layer.to_matrices(self.graph.constants[layer.weights])


def _read(
    model: ModelSource,
    calibration: object,
    validation: object,
    options: _Options,
    reading: Reading,
    samples_max: int | None,
    threads: int | None,
    choice: tuple[Sequence[str], Sequence[str], bool],
) -> _Job:
    from colonnade.onnx.constants import constant_names, load_proto
    from colonnade.onnx.importer import import_model

    graph = import_model(model)
    proto = load_proto(model)
    found, refused = find_layers(graph, constant_names(proto))
    _check_finite(graph, found)
    chosen, refused = _choose(found, refused, *choice, options.pattern)
    source = checked_source(open_source(calibration, graph, reading), graph, samples_max)
    compared_on = source
    if validation is not None:
        compared_on = checked_source(open_source(validation, graph, reading), graph, None)
    return _Job(graph, proto, found, chosen, refused, options, source, compared_on, threads)


def _check_finite(graph: Graph, layers: Sequence[Layer]) -> None:
    """Raise ModelError for a constant of a layer with values that no solver can weigh."""
    for layer in layers:
        for name in (layer.weights, *([layer.bias.name] if layer.bias else [])):
            is_finite = np.isfinite(graph.constants[name])
            if not is_finite.all():
                raise ModelError(
                    f"tensor {name!r} of layer {layer.name!r} holds {int((~is_finite).sum())} "
                    "values that are NaN or infinite, so nothing can be pruned by them; repair the "
                    "model"
                )


def _shares(job: _Job, sparsity: float) -> dict[str, float]:
    """The sparsity of each layer."""
    statistics: dict[str, Statistics] = {}
    if job.options.allocation in NEEDS_STATISTICS:
        statistics = collect(job.graph, job.chosen, job.source, job.threads)
    weighed = {}
    for layer in job.chosen:
        found = statistics.get(layer.name)
        kernel = layer.shape[2:] if layer.op == "Conv" else ()
        weighed[layer.name] = Weighed(
            LayerSize(layer.groups * layer.rows, layer.inputs, kernel), job.matrices(layer),
            None if found is None else found.products, layer.taps,
        )  # fmt: skip
    return share_out(job.options.allocation, sparsity, job.options.pattern, weighed)


def _collect(job: _Job, graph: Graph, layers: Sequence[Layer]) -> Mapping[str, Statistics]:
    if NEEDS[job.options.method] == "nothing" and not job.options.corrects:
        return {}
    return collect(graph, layers, job.source, job.threads)


def _solve(
    job: _Job, layer: Layer, found: Statistics | None, sparsities: Sequence[float]
) -> list[np.ndarray]:
    """The new weights for each sparsity, [groups, rows, cols] in float32."""
    options = job.options
    tuning = Tuning(damping=options.damping, taps=layer.taps)
    by_group = [
        solve_many(options.method, weights, hessian, options.pattern, sparsities, tuning)
        for weights, hessian in zip(job.matrices(layer), _hessians(job, layer, found), strict=True)
    ]
    return [
        np.stack([made.weights for made in groups]).astype(np.float32)
        for groups in zip(*by_group, strict=True)
    ]


def _corrects(job: _Job, layer: Layer) -> bool:
    return job.options.corrects and layer.bias is not None


def _hessians(job: _Job, layer: Layer, found: Statistics | None) -> Sequence[np.ndarray | None]:
    """One for each group; around the mean where a bias takes up what happens to the mean."""
    if found is None:
        return [None] * layer.groups
    return list(found.centred() if _corrects(job, layer) else found.products)


class _Run:
    """The weights while they are pruned, layer by layer."""

    def __init__(self, job: _Job, shares: Mapping[str, float]) -> None:
        self.graph = job.graph
        self.shares = shares
        self.errors: dict[str, float | None] = {}
        self._job = job
        self._changed: dict[str, np.ndarray] = {}
        self._zeros: dict[str, int] = {}

    def take(self, layer: Layer, found: Statistics | None, weights: np.ndarray) -> None:
        """Put a layer's new weights in place, and let the bias take up the mean."""
        job = self._job
        dense = job.matrices(layer)
        change = weights.astype(np.float64) - dense
        self._changed[layer.weights] = layer.from_matrices(weights)
        self._zeros[layer.name] = int(np.sum(weights == 0))
        self.errors[layer.name] = None
        if found is None:
            return
        hessians = [h for h in _hessians(job, layer, found) if h is not None]
        error = sum(error_of(c, h) for c, h in zip(change, hessians, strict=True))
        energy = sum(error_of(d, h) for d, h in zip(dense, hessians, strict=True))
        self.errors[layer.name] = error / energy if energy > 0 else 0.0
        if layer.bias is not None and job.options.corrects:
            shift = layer.bias.sign * (change @ found.means[:, :, None]).reshape(-1)
            bias = job.graph.constants[layer.bias.name]
            self._changed[layer.bias.name] = (bias - shift).astype(np.float32)

    def update(self) -> None:
        """The graph, with what was taken."""
        dense = self._job.graph
        self.graph = dense.with_changes(constants={**dense.constants, **self._changed})

    def result(self) -> PrunedModel:
        """Compare with the dense model, and write."""
        from colonnade.onnx.constants import load_proto, metadata_of, replace_constants

        job = self._job
        outputs, compared = compare_outputs(job.graph, self.graph, job.validation, job.threads)
        report = Report(
            job.graph.name, job.options.method, str(job.options.pattern), job.options.allocation,
            sum(1 for _ in job.source()), compared, self._records(), outputs,
            sum(layer.size for layer in job.chosen), sum(self._zeros.values()),
            sum(layer.size for layer in job.found), tuple(self._remarks()),
        )  # fmt: skip
        proto = load_proto(job.proto)
        by_tensor = self._describe_zeros()
        stated = {**_stated_zeros(metadata_of(proto, SPARSITY_KEY)), **by_tensor}
        how = {key: getattr(report, key) for key in ("method", "pattern", "allocation")}
        replace_constants(
            proto,
            self._changed,
            {
                SPARSITY_KEY: json.dumps(stated),
                PRUNING_KEY: json.dumps({**how, "sparsity": round(report.sparsity, 6)}),
            },
            {name: {SPARSITY_KEY: json.dumps(found)} for name, found in by_tensor.items()},
        )
        return PrunedModel(proto, report)

    def _records(self) -> tuple[LayerRecord, ...]:
        job = self._job
        layers = {layer.name: layer for layer in job.found}
        records = []
        for name, node in zip(name_nodes(job.graph), job.graph.nodes, strict=True):
            layer = layers.get(name)
            if layer is not None and name in self._zeros:
                share = self._zeros[name] / layer.size
                records.append(
                    LayerRecord(name, node.op, layer.shape, share, self.errors[name], "")
                )
            elif name in job.refused:
                weights = job.graph.constants.get(weights_of(job.graph, node))
                shape = () if weights is None else weights.shape
                zeros = 0.0 if weights is None else float(np.mean(weights == 0))
                why = job.refused[name]
                records.append(LayerRecord(name, node.op, shape, zeros, None, why))
        return tuple(records)

    def _remarks(self) -> Iterator[str]:
        """Data that says nothing, layers that are too small to get the share asked for."""
        options = self._job.options
        if names := blank_inputs(self._job.source()):
            yield (
                f"input {', '.join(map(repr, names))} is 0 in all of the calibration data, which "
                "says nothing of what layers read in use: give samples as they are met there"
            )
        scope: Scope = "row" if options.method == "wanda" else "matrix"
        for layer in self._job.chosen:
            units = count_units(
                options.pattern, layer.rows, layer.cols, scope=scope, taps=layer.taps
            )
            share = self.shares[layer.name]
            if isinstance(options.pattern, NM) or round(share * units) < units:
                continue
            yield (
                f"{layer.name}: one of its {units} units of pattern {options.pattern} stays, so it "
                f"has {self._zeros[layer.name] / layer.size:.1%} zeros, not {share:.1%}"
            )

    def _describe_zeros(self) -> dict[str, dict[str, object]]:
        """Of the pruned layers, by the names of their weights."""
        matrices = {
            layer.weights: layer.to_matrices(self._changed[layer.weights])
            for layer in self._job.chosen
        }
        found = {n: describe_zeros(m.reshape(-1, m.shape[-1])) for n, m in matrices.items()}
        return {name: asdict(zeros) for name, zeros in found.items() if zeros.structure != DENSE}


def _stated_zeros(text: str) -> dict[str, object]:
    """What a file says already of its sparse tensors."""
    try:
        stated = json.loads(text or "{}")
    except ValueError:
        return {}
    entries = stated.items() if isinstance(stated, dict) else ()
    return {n: found for n, found in entries if isinstance(found, dict) and "structure" in found}


def _check_shares(shares: Mapping[str, float], pattern: Pattern, sparsity: float | None) -> None:
    """Raise InputError unless each share is one that the pattern can have."""
    if not shares or sparsity is not None:
        raise InputError("shares: name at least one layer, and leave sparsity out")
    implied = implied_sparsity(pattern)
    for name, share in shares.items():
        check_sparsity(share)
        if implied is not None and share != implied:
            raise InputError(f"shares: {name!r} has {share}, but {pattern} is {implied:g}")


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
