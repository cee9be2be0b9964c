"""quantize(): a float32 model and calibration data to a model in 8 bits."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.errors import InputError
from colonnade.ir import Graph, Node
from colonnade.quantization.calibrate import Progress, find_ranges
from colonnade.quantization.data.open import Reading, open_source
from colonnade.quantization.data.source import checked_source
from colonnade.quantization.describe import make_report
from colonnade.quantization.draft import Draft
from colonnade.quantization.methods import METHODS, Method
from colonnade.quantization.place import place
from colonnade.quantization.policy import RULES, find_rule
from colonnade.quantization.prepare import read_graph
from colonnade.quantization.report import Report
from colonnade.quantization.search import Found, Search, Target
from colonnade.quantization.smooth import smooth
from colonnade.quantization.speed import measure_speed

if TYPE_CHECKING:
    from colonnade.quantization.prepare import ModelSource

QUANTIZED_OPS = tuple(op for op, rule in RULES.items() if rule.kind in ("product", "sum"))
PERCENTILE = 99.99
NO_TARGET = Target()
DEFAULT_READING = Reading()


@dataclass(frozen=True)
class Quantized:
    """A model in QDQ form, for this engine and ONNX Runtime, and what became of its layers."""

    graph: Graph
    report: Report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file."""
        from colonnade.onnx.exporter import save_model

        save_model(self.graph, path)

    def to_bytes(self) -> bytes:
        """The ONNX file in memory."""
        from colonnade.onnx.exporter import export_model

        return export_model(self.graph)


def quantize(
    model: ModelSource,
    calibration: object,
    *,
    method: Method = "minmax",
    percentile: float = PERCENTILE,
    per_channel: bool = True,
    smooth_alpha: float | None = None,
    ops: Sequence[str] = QUANTIZED_OPS,
    exclude: Sequence[str] = (),
    target: Target = NO_TARGET,
    sensitivity: bool = False,
    measure: bool = False,
    reading: Reading = DEFAULT_READING,
    samples_max: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda _, __: None,
) -> Quantized:
    """Quantize a float32 ONNX model to uint8 activations and int8 weights.

    `calibration`: a folder of .npz files (keys are input names) or of images, a text file,
    "module:function", a list of dicts of arrays, or a function that yields them (called once for
    each pass over the data).
    `method`: "minmax", "percentile", "entropy" or "mse" (docs/guide/quantizing.md).
    `percentile`: share of the elements that the method of this name keeps, in percent.
    `per_channel`: a scale for each output feature of the weights, instead of one.
    `smooth_alpha`: how far outliers move from activations into weights first, 0 to 1; None for not.
    `ops`: operators to quantize, of those that can be.
    `exclude`: names of nodes to leave in float32; * and ? as in a shell.
    `target`: layers go back to float32, the most sensitive first, until it holds.
    `sensitivity`: measure every layer alone in 8 bits, even if no target needs it.
    `measure`: time the quantized model beside the float32 one.
    `reading`: how images and text become arrays.
    `samples_max`: samples to use at most.
    `threads`: of the engine that calibrates and measures.
    `progress`: is told the stage, and the share done where it is known.

    Raises ModelError for a model that cannot be read or is quantized already, InputError for
    calibration data that does not fit, CapabilityError where a library is missing.

    >>> made = colonnade.quantize("model.onnx", "samples/", method="mse")  # doctest: +SKIP
    >>> made.save("model-int8.onnx")  # doctest: +SKIP
    """
    _check_options(method, percentile, smooth_alpha, ops)
    progress("reading the model", None)
    exact = read_graph(model)
    source = checked_source(open_source(calibration, exact, reading), exact, samples_max)
    is_excluded = exclusion(exact, ops, exclude)
    graph = exact
    if smooth_alpha is not None:
        progress("smoothing", None)
        graph = smooth(graph, place(graph, is_excluded), source, smooth_alpha, threads)
    progress("calibrating", None)
    values = place(graph, is_excluded).values
    ranges = find_ranges(graph, values, source, method, percentile, threads)
    draft = Draft(graph, ranges, is_excluded, per_channel)
    found = Found(draft.out_of_range(), {}, ())
    if sensitivity or not target.is_empty:
        search = Search(exact, draft, source, target, threads, progress)
        found = search.run(found.left_out, rank=sensitivity)
    placement = draft.place(found.left_out)
    made = draft.write(placement)
    progress("comparing", None)
    first = next(iter(source())).arrays
    speed = measure_speed(exact, made, first, threads) if measure else None
    report = make_report(exact, made, placement, source, method, found, speed, threads)
    return Quantized(made, report)


def exclusion(graph: Graph, ops: Sequence[str], exclude: Sequence[str]) -> Callable[[Node], str]:
    """The user's reasons for float32; raises InputError for a name that no node has."""
    excluded: set[str] = set()
    for pattern in exclude:
        found = {node.name for node in graph.nodes if fnmatch.fnmatchcase(node.name, pattern)}
        if not found:
            names = [node.name for node in graph.nodes if node.op in QUANTIZED_OPS]
            raise InputError(
                f"exclude {pattern!r}: no node has this name; layers are {names[:8]}"
                f"{' and more' if len(names) > 8 else ''}"
            )
        excluded |= found

    def reason(node: Node) -> str:
        rule = find_rule(node)
        if rule is not None and rule.kind in ("product", "sum") and node.op not in ops:
            return "its operator is not among those to quantize"
        return "excluded by name" if node.name in excluded else ""

    return reason


def _check_options(
    method: str, percentile: float, smooth_alpha: float | None, ops: Sequence[str]
) -> None:
    if method not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(map(repr, METHODS))}")
    if not 50.0 < percentile <= 100.0:
        raise InputError(f"percentile={percentile}; it lies above 50, and is at most 100")
    if smooth_alpha is not None and not 0.0 <= smooth_alpha <= 1.0:
        raise InputError(f"smooth_alpha={smooth_alpha}; it lies between 0 and 1")
    unknown = [op for op in ops if op not in QUANTIZED_OPS]
    if unknown:
        raise InputError(f"ops: {unknown[0]!r} cannot be quantized; {list(QUANTIZED_OPS)} can")
