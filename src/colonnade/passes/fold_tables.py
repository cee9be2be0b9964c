"""Fold what passes have written as nodes on constants: the tables of tabulate_elementwise."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Graph
from colonnade.passes.remove_dead_nodes import remove_dead_nodes
from colonnade.passes.specialise import EvaluateFn

ELEMENTS_MAX = 256
"""Of an operand: tables of bytes, scales, zero points."""


def fold_tables(graph: Graph, evaluate: EvaluateFn, max_bytes: int = 1 << 20) -> Graph:
    """The graph without nodes whose operands are small constants; what nobody knows stays."""
    constants = dict(graph.constants)
    kept = []
    for node in graph.nodes:
        arrays = [constants.get(value) for value in node.inputs if value]
        small = [array for array in arrays if array is not None and array.size <= ELEMENTS_MAX]
        if (
            not arrays
            or len(small) < len(arrays)
            or any(out in graph.outputs for out in node.outputs)
        ):
            kept.append(node)
            continue
        try:
            made = evaluate(node, [constants.get(value) for value in node.inputs], max_bytes)
        except (NotImplementedError, MemoryError, ValueError):  # what the reference refuses
            kept.append(node)
            continue
        folded = zip(node.outputs, made, strict=True)
        constants |= {out: np.ascontiguousarray(array) for out, array in folded if out}
    changed = graph.with_changes(nodes=tuple(kept), types=graph.types, constants=constants)
    return remove_dead_nodes(changed)
