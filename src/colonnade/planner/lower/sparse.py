"""Sparse products and convolutions: when they replace the dense kernel, and how they are packed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade import _core
from colonnade.planner.choice import Const, View
from colonnade.planner.cost import choose_k_block, prefers_sparse
from colonnade.planner.lower.product import ProductKernel
from colonnade.planner.split import SPARSE_ROW_BLOCK, choose_blocks

ConvShape = tuple[int, ...]


def find_sparsity(weights: np.ndarray) -> float:
    """Share of the elements that are zero."""
    return 1.0 - np.count_nonzero(weights) / max(weights.size, 1)


def try_sparse_columns(
    name: str, make: Callable[[], np.ndarray], m: int, k: int, columns: int, view: View,
    sparsity: float,
) -> ProductKernel | None:  # fmt: skip
    """W[m, k] * X[k, columns] by its nonzeros; None where the dense kernel is the better choice.

    `make` returns the [m, k] weights.
    """
    if not prefers_sparse(sparsity):
        return None
    row, kernel_name, k_block_max = _core.choose_sparse(view.isa, False)
    k_block = choose_k_block(k, 1.0 - sparsity, k_block_max)
    panels = -(-columns // view.panel)
    blocks = choose_blocks(panels, -(-m // SPARSE_ROW_BLOCK), view.threads, tiles_min=1)
    packed = Const(
        (name, "sparse", row, k_block),
        lambda: _core.pack_sparse(row, make(), 1, m, k, k_block),
    )
    head = (row, m, k, columns, k_block, blocks)
    why = f"{kernel_name}, {sparsity:.0%} zeros, {k} to {m} features"
    return ProductKernel("sparse_columns", head, packed, why, blocks)


def try_sparse_conv(
    name: str, weights: np.ndarray, shape: ConvShape, view: View, sparsity: float
) -> ProductKernel | None:
    """A convolution by its nonzeros; `weights` in ONNX order, `shape` as in conv.h."""
    batch, channels, _, _, out_channels, out_h, out_w, kernel_h, kernel_w = shape[:9]
    group, taps = shape[-1], kernel_h * kernel_w
    row, kernel_name, k_block_max = _core.choose_sparse(view.isa, True)
    if not prefers_sparse(sparsity) or taps > k_block_max:
        return None
    per_group = channels // group
    block_channels = choose_k_block(per_group, 1.0 - sparsity, k_block_max // taps, rows_each=taps)
    panels = -(-batch * out_h * out_w // view.panel)
    tiles = group * -(-(out_channels // group) // SPARSE_ROW_BLOCK)
    blocks = choose_blocks(panels, tiles, view.threads, tiles_min=1)
    packed = Const(
        (name, "sparse_conv", row, block_channels),
        lambda: _core.pack_sparse(
            row, order_by_blocks(weights, block_channels), group, out_channels // group,
            per_group * taps, block_channels * taps,
        ),
    )  # fmt: skip
    why = f"{kernel_name}, {sparsity:.0%} zeros, {kernel_h}x{kernel_w}"
    return ProductKernel("sparse_conv", (row, *shape, block_channels, blocks), packed, why, blocks)


def order_by_blocks(weights: np.ndarray, block_channels: int) -> np.ndarray:
    """[O, C, *kernel] to [O, blocks of channels x taps x channels]: the order of packed columns."""
    out_channels, channels = weights.shape[:2]
    flat = weights.reshape(out_channels, channels, -1)
    blocks = [
        flat[:, first : first + block_channels].transpose(0, 2, 1).reshape(out_channels, -1)
        for first in range(0, channels, block_channels)
    ]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float32)
