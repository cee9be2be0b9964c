"""Says in `explain` why parts of a quantized model run in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from colonnade.ir import Node
from colonnade.planner.build import Program
from colonnade.planner.lower import attention, conv, elementwise, matmul, norm, pool, rnn, softmax

BYTE_OPERATORS = ("QLinear", "QConv", "QAdd")
FAMILIES = (attention, conv, elementwise, matmul, norm, pool, rnn, softmax)
"""Those that compute in float32; others move values, or compare and count."""
WEIGHTED = ("Linear", "Conv", "ConvTranspose", "MatMul", "Gemm")


def tell_float32(program: Program, reasons: Mapping[str, str]) -> Program:
    """The program with reasons in its records, where its graph was quantized.

    `reasons`: why passes wrote products in float32, by the products' names.
    """
    nodes = program.graph.nodes
    if not reasons and not any(node.op in BYTE_OPERATORS for node in nodes):
        return program
    told = {node.name: _reason(node, reasons) for node in nodes if node.name and _computes(node)}
    records = tuple(
        replace(record, why=f"{record.why}; in float32: {told[record.name]}")
        if record.runtime == "native" and record.name in told
        else record
        for record in program.records
    )
    return replace(program, records=records)


def _computes(node: Node) -> bool:
    return any((node.domain, node.op) in family.LOWERINGS for family in FAMILIES)


def _reason(node: Node, reasons: Mapping[str, str]) -> str:
    if node.name in reasons:
        return reasons[node.name]
    return "not quantized in the model" if node.op in WEIGHTED else f"no 8-bit kernel for {node.op}"
