"""How far two float answers may lie apart; every comparison takes its bound from here."""

from __future__ import annotations

import numpy as np

ROUNDINGS_PER_PRODUCT = 3
"""Product, sum, and one to spare for a different order or a fused epilogue."""

PEER_SLACK = 4
"""Another order of summation moves the error of a whole model by less than this factor."""

PEER_FLOOR_ROUNDINGS = 16
"""What any float32 model may lose against its largest output, however lucky the peer was."""

OUTER_ABS, OUTER_REL = 1e-5, 1e-4
"""ONNX Runtime's own published bounds for float32."""


def tolerance(
    k: int,
    max_a: float,
    max_b: float,
    dtype: np.typing.DTypeLike = np.float32,
) -> float:
    """Largest error of a sum of `k` products a * b, computed in `dtype`.

    A float sum of products in any order errs by at most k u sum|a b| to first order; in practice
    by about u sum|a b|. The bound is a small multiple of u sum|a b| with sum|a b| <=
    k max|a| max|b|. An element-wise operation is k = 1.
    """
    return float(ROUNDINGS_PER_PRODUCT * unit_roundoff(dtype) * k * max_a * max_b)


def model_tolerance(exact: np.ndarray, peer: np.ndarray) -> float:
    """Largest error of one output of a whole model.

    `exact` is a float64 evaluation of the model, `peer` is what another engine answers in
    float32. How much rounding a model amplifies is a property of the model and its input, and the
    peer's error shows it: the bound is a small multiple of that error, at most the peer's own
    published bounds at the scale of the output. A peer outside its bounds is refused, because
    such an input says nothing about the engine under test.
    """
    scale = float(np.max(np.abs(exact), initial=0.0))
    outer = OUTER_ABS + OUTER_REL * scale
    peer_error = max_error(exact, peer)
    if not peer_error <= outer:
        raise ValueError(f"the peer errs by {peer_error:.3g}, above its own bound {outer:.3g}")
    floor = PEER_FLOOR_ROUNDINGS * unit_roundoff(np.float32) * scale
    return min(max(PEER_SLACK * peer_error, floor), outer)


def max_error(exact: np.ndarray, answer: np.ndarray) -> float:
    """Largest absolute difference; NaN when one of the two holds a NaN."""
    return float(np.max(np.abs(exact - answer), initial=0.0))


def unit_roundoff(dtype: np.typing.DTypeLike) -> float:
    """Half the distance from 1 to the next number."""
    return float(np.finfo(np.dtype(dtype)).eps) / 2
