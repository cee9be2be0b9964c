"""LayerNorm(x + residual): the sum is taken inside the normalisation.

Only where the sum has no other reader; otherwise the sum is an epilogue of what makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from colonnade.ir import Graph, Node, Patch

_KINDS = ("LayerNorm", "RMSNorm")


def fuse_skip_norm(graph: Graph) -> Iterator[Patch]:
    """Fold `Add` of two same-shaped activations into the norm that reads it."""
    for node in graph.nodes:
        if node.domain != "colonnade" or node.op not in _KINDS:
            continue
        add = graph.producer.get(node.inputs[0])
        if add is None or not _is_plain_sum(graph, add):
            continue
        scale, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""
        inputs = (add.inputs[0], scale, bias, add.inputs[1])
        yield Patch(remove=(add, node), add=(replace(node, inputs=inputs),))


def _is_plain_sum(graph: Graph, add: Node) -> bool:
    if add.op != "Add" or add.domain or graph.sole_consumer(add.outputs[0]) is None:
        return False
    shapes = {graph.shape(value) for value in (*add.inputs, add.outputs[0])}
    if len(shapes) > 1 or any(value in graph.constants for value in add.inputs):
        return False
    # A sum that a product makes belongs in that product's epilogue.
    makers = [graph.producer.get(value) for value in add.inputs]
    return not any(
        maker is not None
        and (maker.domain, maker.op) in {("colonnade", "Linear"), ("colonnade", "Conv")}
        and graph.sole_consumer(maker.outputs[0]) is add
        for maker in makers
    )
