"""The two bitmask formats of compressed-tensors: which entries are kept, and their values.

Bits go along a row, the least significant first, and every row starts a byte.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from colonnade.errors import ModelError

BITMASK_PARTS = ("shape", "compressed", "bitmask", "row_offsets")
BITMASK_24_PARTS = ("shape", "compressed", "bitmask")
_WEIGHTS = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)


def pack_bitmask(matrix: Tensor) -> dict[str, Tensor]:
    """sparse-bitmask: the values that are not zero, row by row."""
    kept = matrix != 0
    counts = kept.sum(-1)
    return {
        "shape": torch.tensor(matrix.shape),
        "compressed": _select(matrix, kept),
        "bitmask": _pack(kept),
        "row_offsets": torch.cumsum(counts, 0) - counts,
    }


def unpack_bitmask(parts: Mapping[str, Tensor], name: str) -> Tensor:
    """The matrix again. Raises ModelError where the parts do not fit each other."""
    rows, columns = _shape(parts, name)
    kept = _unpack(parts["bitmask"], rows, columns, name)
    counts = kept.sum(-1)
    if not torch.equal(parts["row_offsets"].to(torch.int64), torch.cumsum(counts, 0) - counts):
        raise ModelError(f"{name}: row_offsets disagree with the bitmask")
    return _place(parts["compressed"], kept, name)


def pack_bitmask_24(matrix: Tensor, name: str) -> dict[str, Tensor]:
    """sparse-24-bitmask: two of every four along a row, zeros among them where fewer are left.

    Raises ModelError for a matrix with more than two in some four: nothing is dropped.
    """
    rows, columns = matrix.shape
    if columns % 4:
        raise ModelError(f"{name}: 2:4 needs a multiple of 4 columns, not {columns}")
    nonzero = (matrix != 0).reshape(-1, 4)
    if int(nonzero.sum(1).max()) > 2:
        raise ModelError(f"{name}: it is not 2:4: some four along a row keep more than two")
    order = torch.argsort((~nonzero).to(torch.uint8), dim=1, stable=True)[:, :2]
    kept = torch.zeros_like(nonzero).scatter_(1, order, True).reshape(rows, columns)
    return {
        "shape": torch.tensor(matrix.shape).reshape(-1, 1),
        "compressed": _select(matrix, kept).reshape(rows, columns // 2),
        "bitmask": _pack(kept),
    }


def unpack_bitmask_24(parts: Mapping[str, Tensor], name: str) -> Tensor:
    """The matrix again. Raises ModelError where the parts do not fit each other."""
    rows, columns = _shape(parts, name)
    return _place(
        parts["compressed"].flatten(), _unpack(parts["bitmask"], rows, columns, name), name
    )


def _shape(parts: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    shape = [int(size) for size in parts["shape"].flatten()]
    if len(shape) != 2 or min(shape) < 0:
        raise ModelError(f"{name}: shape {shape}, expected rows and columns")
    return shape[0], shape[1]


def _bytes_view(values: Tensor) -> Tensor:
    """Types of 8 bits as integers: torch cannot index float8."""
    return values.view(torch.int8) if values.dtype.itemsize == 1 else values


def _select(matrix: Tensor, kept: Tensor) -> Tensor:
    return _bytes_view(matrix)[kept].view(matrix.dtype)


def _place(values: Tensor, kept: Tensor, name: str) -> Tensor:
    if values.numel() != int(kept.sum()):
        raise ModelError(
            f"{name}: {values.numel()} values for {int(kept.sum())} bits of the bitmask"
        )
    matrix = torch.zeros(kept.shape, dtype=values.dtype)
    _bytes_view(matrix)[kept] = _bytes_view(values)
    return matrix


def _pack(kept: Tensor) -> Tensor:
    rows, columns = kept.shape
    padded = torch.zeros((rows, -(-columns // 8) * 8), dtype=torch.uint8)
    padded[:, :columns] = kept
    return (padded.reshape(rows, -1, 8) * _WEIGHTS).sum(-1, dtype=torch.uint8)


def _unpack(packed: Tensor, rows: int, columns: int, name: str) -> Tensor:
    expected = (rows, -(-columns // 8))
    if tuple(packed.shape) != expected or packed.dtype != torch.uint8:
        raise ModelError(
            f"{name}: bitmask of {packed.dtype} {tuple(packed.shape)}, expected uint8 {expected}"
        )
    bits = (packed[..., None] & _WEIGHTS) != 0
    return bits.reshape(rows, -1)[:, :columns]
