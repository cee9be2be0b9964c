"""Output types of com.microsoft.DynamicQuantizeLSTM: those of LSTM, its weights transposed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.errors import ModelError
from colonnade.ir import DType, Node, Shape, TensorType
from colonnade.onnx.contrib_quantized import check_scale

Types = Mapping[str, TensorType]
_X, _W, _R, _B, _P, _W_SCALE, _R_SCALE = 0, 1, 2, 3, 7, 8, 10
_NUM_INPUTS = 12


def infer_dynamic_lstm(node: Node, types: Types, values: Mapping[str, np.ndarray]) -> Types:
    """Y, Y_h and Y_c; nothing while the shapes of X and R are not known.

    Raises ModelError for weights that do not belong together and for a bad constant scale.
    """
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    for number in (_W_SCALE, _R_SCALE):
        check_scale(node, values.get(inputs[number]))
    shapes = [known.shape if (known := types.get(value)) else None for value in inputs]
    x, r = shapes[_X], shapes[_R]
    if x is None or r is None or len(x) != 3 or len(r) != 3:
        return {}
    _check_weights(node, shapes)
    directions, hidden = r[0], r[1]
    steps, batch = x[:2]
    state = (directions, batch, hidden)
    made = {0: (steps, *state), 1: state, 2: state}
    return {
        out: TensorType(DType.FLOAT32, made[i]) for i, out in enumerate(node.outputs[:3]) if out
    }


def _check_weights(node: Node, shapes: list[Shape | None]) -> None:
    r, x = shapes[_R], shapes[_X]
    assert r is not None and x is not None
    directions, hidden = r[:2]
    if not isinstance(hidden, int) or not isinstance(directions, int):
        return
    wanted: dict[int, tuple[object, ...]] = {
        _W: (directions, x[2], 4 * hidden), _R: (directions, hidden, 4 * hidden),
        _B: (directions, 8 * hidden), _P: (directions, 3 * hidden),
    }  # fmt: skip
    for number, shape in wanted.items():
        given = shapes[number]
        if given is None:
            continue
        pairs = zip(given, shape, strict=False)
        differs = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
        if len(given) != len(shape) or differs:
            raise ModelError(
                f"input {number} has shape {list(given)}; {hidden} hidden units and an input of "
                f"shape {list(x)} ask for {list(shape)}", node=node.name, op=node.op,
            )  # fmt: skip
