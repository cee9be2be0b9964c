"""read_graph(): the model as a Graph that is ready to be quantized."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from colonnade.errors import ModelError
from colonnade.ir import Graph, Patch, verify_graph
from colonnade.passes.fold_batch_norm import fold_batch_norm
from colonnade.passes.fuse_pad import fuse_pad
from colonnade.passes.runner import run_passes
from colonnade.passes.specialise import specialise

if TYPE_CHECKING:
    import onnx

    ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto

MIN_OPSET = 13
"""The first whose QuantizeLinear and DequantizeLinear have an axis."""

_QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger",
    "MatMulNBits", "QGemm", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
    "QAttention",
})  # fmt: skip


def read_graph(model: ModelSource) -> Graph:
    """The float32 graph, shapes symbolic; constants, batch normalisation and padding are folded.

    Raises ModelError for a model that cannot be imported or is quantized already.
    """
    from colonnade.onnx.contrib_types import infer_any_node
    from colonnade.onnx.importer import import_model
    from colonnade.reference import evaluate

    graph = import_model(model, oldest_opset=MIN_OPSET)
    verify_graph(graph)
    _verify_not_quantized(graph)
    clean = specialise(graph, {}, infer_any_node, evaluate)
    return run_passes(clean, (fuse_pad, _fold_batch_norm_of_known_rank)).graph


def _verify_not_quantized(graph: Graph) -> None:
    found = [n for n in graph.nodes if n.op in _QUANTIZED_OPS or n.op.startswith("QLinear")]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ModelError(
            f"the model is quantized already{more}: expected a float32 model; quantize the one "
            "that this was made from, or run this file as it is",
            node=found[0].name,
            op=found[0].op,
        )


def _fold_batch_norm_of_known_rank(graph: Graph) -> Iterator[Patch]:
    """A normalisation that becomes Mul and Add needs to know how many axes follow the channels."""
    for patch in fold_batch_norm(graph):
        if all(graph.shape(node.outputs[0]) is not None for node in patch.remove):
            yield patch
