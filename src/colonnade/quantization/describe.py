"""make_report(): what became of every layer, and how far the outputs moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from colonnade.engine.inputs import shapes_of
from colonnade.ir import Graph, Node
from colonnade.quantization.calibrate import compile_graph
from colonnade.quantization.data.source import Source
from colonnade.quantization.deviation import Deviation, compare_graphs
from colonnade.quantization.place import Placement
from colonnade.quantization.policy import find_rule, passes_range
from colonnade.quantization.report import LayerRecord, OutputRecord, Report, Speed
from colonnade.quantization.search import Found

SAMPLES_MAX = 32
"""Samples on which the report compares."""


def make_report(
    exact: Graph,
    quantized: Graph,
    placement: Placement,
    source: Source,
    method: str,
    found: Found,
    speed: Speed | None,
    threads: int | None,
) -> Report:
    """Run both graphs with every layer's output and compare them."""
    layers = [node for node in exact.nodes if _is_layer(node, placement)]
    values = [node.outputs[0] for node in layers]
    deviations = compare_graphs(exact, quantized, values, source, threads, SAMPLES_MAX)
    kernels = _find_kernels(quantized, source, threads)
    records = tuple(
        _layer(exact, quantized, placement, node, deviations, found, kernels) for node in layers
    )
    outputs = tuple(_output(name, deviations[name]) for name in exact.outputs)
    return Report(
        exact.name, method, sum(1 for _ in source()), records, outputs, _nbytes(exact),
        _nbytes(quantized), speed, found.lines,
    )  # fmt: skip


def _is_layer(node: Node, placement: Placement) -> bool:
    out, rule = node.outputs[0], find_rule(node)
    is_sum = rule is not None and rule.kind == "sum" and out in placement.readers
    return out in placement.products or out in placement.refused or is_sum


def _layer(
    exact: Graph,
    quantized: Graph,
    placement: Placement,
    node: Node,
    deviations: Mapping[str, Deviation],
    found: Found,
    kernels: Mapping[str, str],
) -> LayerRecord:
    out = node.outputs[0]
    why = placement.refused.get(out, "")
    precision: Literal["8-bit", "float32"] = "float32" if why else "8-bit"
    weights = exact.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    zeros = float(np.mean(weights == 0)) if weights is not None and weights.size else 0.0
    compared = deviations.get(out)
    return LayerRecord(
        node.name, node.op, precision, why, kernels.get(node.name, ""),
        compared.sqnr_db if compared is not None else None, found.sensitivity_db.get(out),
        _constant_bytes(exact, node), _constant_bytes(quantized, quantized.producer[out]), zeros,
    )  # fmt: skip


def _output(name: str, found: Deviation) -> OutputRecord:
    return OutputRecord(name, found.sqnr_db, found.max_error, found.peak)


def _constant_bytes(graph: Graph, node: Node) -> int:
    """Bytes of the constants that a node reads, directly or dequantized."""
    total = 0
    for value in node.inputs:
        maker = graph.producer.get(value)
        is_weights = maker is not None and maker.op == "DequantizeLinear"
        names = maker.inputs if maker is not None and is_weights else (value,)
        if names[0] in graph.constants:
            total += sum(graph.constants[name].nbytes for name in names if name in graph.constants)
    return total


def _find_kernels(graph: Graph, source: Source, threads: int | None) -> dict[str, str]:
    """The kernel of each node, by name, for the shapes of the first sample."""
    with compile_graph(graph, threads) as engine:
        plan = engine.explain(shapes_of(next(iter(source())).arrays))
    kernels = {node.name: node.kernel for node in plan.nodes}
    for node in graph.nodes:  # a sum of integers goes by the name of its QuantizeLinear
        border = _border_behind(graph, node) if node.op == "Add" else None
        if border is not None and border.name in kernels:
            kernels.setdefault(node.name, kernels[border.name])
    return kernels


def _border_behind(graph: Graph, node: Node) -> Node | None:
    """The QuantizeLinear behind a sum and its activation."""
    value = node.outputs[0]
    while (reader := graph.sole_consumer(value)) is not None:
        if reader.op == "QuantizeLinear":
            return reader
        if not passes_range(graph, reader):
            return None
        value = reader.outputs[0]
    return None


def _nbytes(graph: Graph) -> int:
    return sum(array.nbytes for array in graph.constants.values())
