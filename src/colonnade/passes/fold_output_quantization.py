"""QuantizeLinear behind a product of 8-bit integers becomes the product's own output.

The product then makes 8 bits at once: it saturates and rounds as QuantizeLinear does. So it does behind
an epilogue, when it has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from colonnade.ir import DType, Graph, Node, Patch
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import (
    Quantized,
    add_operand,
    is_product,
    is_quantize,
    output_of,
    read_parameters,
)


def fold_output_quantization(graph: Graph) -> Iterator[Patch]:
    """QuantizeLinear per tensor to 8 bits, where nobody else reads the product."""
    for node in graph.nodes:
        product = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if product is None or not is_product(product) or output_of(product) is not None:
            continue
        if graph.sole_consumer(product.outputs[0]) is not node:
            continue
        target = read_parameters(graph, node.outputs[0], node)
        if target is None or target.axis is not None:
            continue
        yield _patch(graph, product, node, target, graph.dtype(target.value))


def _patch(graph: Graph, product: Node, node: Node, target: Quantized, dtype: DType) -> Patch:
    made = Construction(graph, node, "output")
    y = add_operand(made, target, dtype)
    kept = product.inputs[:6] if product.op == "QMatMul" else (*product.inputs, "")[:7]
    inputs = (*kept, *y, *product.inputs[len(kept) + 2 :])
    made.add(replace(product, inputs=inputs, outputs=node.outputs[:1]))
    return made.patch(also=(product,))
