"""What the cases of quantized graphs share: parameters, weights, borders.

Scales are powers of two, so that float32 arithmetic is exact and answers must be equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colonnade.passes.runner import Pass
from golden.builder import Case, Constants


def int8(*shape: int) -> np.ndarray:
    """Random numbers, the same for the same shape."""
    return np.random.default_rng([29, *shape]).integers(-128, 128, shape).astype(np.int8)


def uint8(*shape: int) -> np.ndarray:
    """Random numbers, the same for the same shape."""
    return np.random.default_rng([31, *shape]).integers(0, 256, shape).astype(np.uint8)


def powers(count: int) -> np.ndarray:
    """Scales."""
    return np.float32(2) ** -np.arange(4, 4 + count, dtype=np.float32)


PARAMETERS: Constants = {
    "xs": 0.125, "xz": np.uint8(120), "sz": np.int8(-3), "ys": 0.5, "yz": np.uint8(100),
    "ws": 0.0625, "wz": np.int8(0), "half": np.uint8(128), "ws5": powers(5), "ws6": powers(6),
    "low": np.uint8(0), "two": 2.0,
}  # fmt: skip
X = "q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)"
IMAGE = "(float[2,4,7,6] x) => (float y)"
ROWS = "(float[2,3,8] x) => (float y)"
MATRIX = "(float[3,8] x) => (float y)"
PRODUCT = f"{X} w = DequantizeLinear(wq, ws)  p = MatMul(d, w)"
TURN = "Transpose <perm = [0,2,1]>"
MS = "com.microsoft."


def case(
    one_pass: Pass,
    name: str,
    text: str,
    *,
    fuses: bool = True,
    after: Sequence[Pass] = (),
    has_reference: bool = True,
    opset: int = 21,
    feeds: dict[str, np.ndarray] | None = None,
    **constants: np.ndarray | float,
) -> Case:
    """A case with the parameters above and `constants`."""
    given = {
        key: value if isinstance(value, float) else np.asarray(value)
        for key, value in {**PARAMETERS, **constants}.items()
    }
    return Case(one_pass, name, text, given, fuses, after, opset, feeds or {}, has_reference)
