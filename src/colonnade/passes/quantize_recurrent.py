"""Write a recurrent layer with 8-bit weights and an 8-bit hidden state, as ONNX has it.

W and R become DequantizeLinear of int8 constants, a scale a row of a gate; the attribute
`colonnade.state` (metadata in a file: ONNX Runtime does not look at it) says how the hidden state is
quantized. X may go through QuantizeLinear and DequantizeLinear: its range is known to whoever
calibrates. `split_quantized_recurrent` reads this form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch
from colonnade.passes.construction import OPSET, Construction
from colonnade.passes.split_quantized_recurrent import STATE
from colonnade.passes.split_recurrent import GATES

INT8_MAX = 127


@dataclass(frozen=True)
class ByteScale:
    """uint8 as (value - zero) * scale."""

    scale: float
    zero: int


UNIT = ByteScale(1 / 127, 128)
"""For a state within [-1, 1]: that of LSTM and GRU, and of an RNN with tanh."""


def quantize_recurrent(
    graph: Graph, node: Node, x: ByteScale | None = None, state: ByteScale = UNIT
) -> Patch:
    """LSTM, GRU or RNN with constant float32 weights, in 8 bits. x: None leaves the input alone.

    Raises ValueError for another operator or weights that are no float32 constants. The graph needs
    opset 13 for scales by row.
    """
    _verify(graph, node)
    made = Construction(graph, node, "quantized")
    w, r = (_add_weights(made, graph.constants[value]) for value in node.inputs[1:3])
    first = node.inputs[0]
    if x is not None:
        first = _add_borders(made, graph, first, x, next(out for out in node.outputs if out))
    attrs = {**node.attrs, STATE: f"uint8 {np.float32(state.scale)} {state.zero}"}
    made.add(replace(node, inputs=(first, w, r, *node.inputs[3:]), attrs=attrs))
    return made.patch()


def _verify(graph: Graph, node: Node) -> None:
    if node.domain or node.op not in GATES:
        raise ValueError(f"{node} is no LSTM, GRU or RNN")
    for value in node.inputs[1:3]:
        if value not in graph.constants or graph.dtype(value) is not DType.FLOAT32:
            raise ValueError(f"{node}: weights {value!r} are no float32 constant")


def _add_weights(made: Construction, array: np.ndarray) -> str:
    """[directions, rows, k] with a scale a row, that of both directions."""
    top = np.abs(array).max(axis=(0, 2))
    scale = (np.where(top > 0, top, 1) / INT8_MAX).astype(np.float32)
    integers = np.rint(array / scale[:, None]).clip(-INT8_MAX, INT8_MAX).astype(np.int8)
    inputs = (made.constant(integers), made.constant(scale))
    return made.call("DequantizeLinear", inputs, array.shape, {"axis": 1})


def _add_borders(made: Construction, graph: Graph, x: str, how: ByteScale, prefix: str) -> str:
    borders = (made.number(how.scale), made.constant(np.array(how.zero, np.uint8)))
    shape = graph.shape(x) or ()
    integers, real = f"{prefix}/x_integers", f"{prefix}/x"
    made.declare(integers, DType.UINT8, shape)
    made.declare(real, DType.FLOAT32, shape)
    made.add(Node("QuantizeLinear", (x, *borders), (integers,), {}, integers, "", OPSET))
    made.add(Node("DequantizeLinear", (integers, *borders), (real,), {}, real, "", OPSET))
    return real
