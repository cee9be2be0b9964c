"""Which dequantized constants specialisation leaves alone: weights of 8 bits that stay so.

Folded at once, they would be float32 weights like any others before a pass could see the integers.
"""

from __future__ import annotations

from colonnade.ir import DType, Graph, Node

EIGHT_BITS = (DType.UINT8, DType.INT8)
_MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose")
_PRODUCTS = ("MatMul", "Gemm", "Conv")
_RECURRENT = ("LSTM", "GRU", "RNN")


def keeps_integers(graph: Graph, node: Node) -> bool:
    """True for a DequantizeLinear that makes weights: of a product, a recurrent layer, a Gather."""
    if node.domain or node.op != "DequantizeLinear":
        return False
    return _feeds_weights(graph, node.outputs[0])


def _feeds_weights(graph: Graph, value: str) -> bool:
    for reader in graph.consumers.get(value, ()):
        if reader.domain:
            continue
        if reader.op in _PRODUCTS and value in reader.inputs[:2]:
            return True
        if reader.op in _RECURRENT and value in reader.inputs[1:3]:
            return True
        if reader.op == "Gather" and reader.inputs[0] == value:
            return True
        if reader.op in _MOVES and _feeds_weights(graph, reader.outputs[0]):
            return True
    return False
