"""Fourier transforms; complex numbers are pairs in the last axis."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import axis_of, int_attr, scalar_int
from colonnade.reference.budget import reserve
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow


def _to_complex(x: np.ndarray) -> np.ndarray:
    if x.shape[-1] not in (1, 2):
        raise EvaluationError(f"last axis of {x.shape[-1]}, expected 1 (real) or 2 (complex)")
    values = x.astype(np.float64)
    return values[..., 0] + 1j * values[..., 1] if x.shape[-1] == 2 else values[..., 0]


def _to_pairs(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], axis=-1)


def _dft(
    node: Node,
    x: np.ndarray,
    length: np.ndarray | None = None,
    axis_operand: np.ndarray | None = None,
) -> Outputs:
    if node.version < 20:
        axis = int_attr(node, "axis", 1)
    else:
        axis = -2 if axis_operand is None else scalar_int(axis_operand)
    axis = axis_of(axis, x.ndim)
    if axis == x.ndim - 1:
        raise EvaluationError("the transform runs along the complex pairs")
    values = _to_complex(x)
    is_inverse, is_onesided = (bool(int_attr(node, name, 0)) for name in ("inverse", "onesided"))
    count = None if length is None else scalar_int(length)
    reserve((*x.shape[:axis], count or x.shape[axis], *x.shape[axis + 1 :]), np.complex128)
    if is_inverse and is_onesided:
        return (narrow(np.fft.irfft(values, count, axis)[..., None], x.dtype),)
    if is_inverse:
        return (narrow(_to_pairs(np.fft.ifft(values, count, axis)), x.dtype),)
    result = np.fft.fft(values, count, axis)
    if is_onesided:
        result = result.take(range(result.shape[axis] // 2 + 1), axis)
    return (narrow(_to_pairs(result), x.dtype),)


def _stft(
    node: Node,
    x: np.ndarray,
    frame_step: np.ndarray,
    window: np.ndarray | None = None,
    frame_length: np.ndarray | None = None,
) -> Outputs:
    step = scalar_int(frame_step)
    if frame_length is not None:
        length = scalar_int(frame_length)
    else:
        length = x.shape[1] if window is None else window.shape[0]
    if step < 1 or not 1 <= length <= x.shape[1]:
        raise EvaluationError(f"frames of {length} each {step} of a signal of {x.shape[1]}")
    values = _to_complex(x)
    starts = np.arange((x.shape[1] - length) // step + 1) * step
    reserve((x.shape[0], len(starts), length), np.complex128)
    frames = values[:, starts[:, None] + np.arange(length)]
    if window is not None:
        frames = frames * window
    result = np.fft.fft(frames)
    if int_attr(node, "onesided", 1):
        result = result[..., : length // 2 + 1]
    return (narrow(_to_pairs(result), x.dtype),)


OPS: Operations = {
    ("", "DFT"): _dft,
    ("", "STFT"): _stft,
}
