"""Sparse products and convolutions: what there is to choose from, and how weights are packed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from colonnade import _core
from colonnade.planner.choice import Const, View
from colonnade.planner.cost import (
    DENSE_BIAS,
    FEW_COLUMNS,
    NONZERO_COST,
    SPARSITY_EXPECTED,
    SPARSITY_EXPECTED_FEW,
    SPARSITY_TRIED,
    choose_k_block,
)
from colonnade.planner.lower.product import (
    Layer,
    Matrix,
    ProductKernel,
    Variant,
    bucket,
    choose_product,
    float_trial,
)
from colonnade.planner.reach import Reach
from colonnade.planner.split import SPARSE_ROW_BLOCK, choose_blocks, choose_packing_blocks

ConvShape = tuple[int, ...]

TRIAL_PANELS = 8
"""Panels in a measurement: about a millisecond of a common layer."""
K_BLOCK_SCALES = (1.0, 1.5)
"""Depth blocks to measure, over the cost model's."""


def find_sparsity(weights: np.ndarray) -> float:
    """Share of the elements that are zero."""
    return 1.0 - np.count_nonzero(weights) / max(weights.size, 1)


def choose_columns_product(
    name: str,
    dense: Variant,
    make: Callable[[], np.ndarray],
    sizes: tuple[int, int, int],
    sparsity: float,
    view: View,
    *,
    is_exact: bool = False,
    gain_min: float = DENSE_BIAS,
) -> ProductKernel:
    """W[m, k] * X[k, columns], `sizes` being (m, k, columns); `make` returns the [m, k] weights.

    `is_exact`: they are integers, and so is X. `gain_min`: as Layer.
    """
    m, k, columns = sizes
    sparse: dict[int, Variant] = {}
    if sparsity >= SPARSITY_TRIED and not view.strict_nan:
        for scale in K_BLOCK_SCALES:
            k_block_max = _core.choose_sparse(view.isa, False)[2]
            k_block = choose_k_block(k, 1.0 - sparsity, k_block_max, scale=scale)
            sparse[k_block] = Variant(
                f"sparse-k{k_block}",
                partial(_columns_kernel, name, make, m, k, k_block, 1.0 - sparsity, is_exact, view),
            )
    trial = min(columns, TRIAL_PANELS * view.panel)
    layer = Layer(
        f"product m{m} k{k} n{trial} s{bucket(sparsity)}",
        columns, trial, partial(float_trial, trial, Matrix(k, 1), Matrix(m, 1), view),
        f"{sparsity:.0%} zeros", gain_min,
    )  # fmt: skip
    least = SPARSITY_EXPECTED if columns >= FEW_COLUMNS else SPARSITY_EXPECTED_FEW
    return choose_product(layer, dense, tuple(sparse.values()), sparsity >= least, view)


def _columns_kernel(
    name: str,
    make: Callable[[], np.ndarray],
    m: int,
    k: int,
    k_block: int,
    density: float,
    is_exact: bool,
    view: View,
    columns: int,
    threads: int,
) -> ProductKernel:
    row, kernel, _ = _core.choose_sparse(view.isa, False)
    panels = -(-columns // view.panel)
    blocks = choose_blocks(panels, -(-m // SPARSE_ROW_BLOCK), threads, tiles_min=1)
    packed = Const(
        (name, "sparse", row, k_block),
        lambda: _core.pack_sparse(row, make(), 1, m, k, k_block, is_exact),
    )
    head = (row, m, k, columns, k_block)
    why = f"{kernel}, {k} to {m} features"
    return ProductKernel(
        "sparse_columns", (*head, blocks), packed, why, blocks, striped_head=(*head, 1),
        work_share=NONZERO_COST * density,
    )  # fmt: skip


def choose_conv_product(
    name: str,
    dense: Variant,
    weights: np.ndarray,
    shape: ConvShape,
    view: View,
    *,
    is_exact: bool = False,
) -> ProductKernel:
    """A convolution; `weights` in ONNX order, `shape` as in conv.h; `is_exact` as above."""
    batch, channels, in_h, in_w, out_channels, out_h, out_w, kernel_h, kernel_w = shape[:9]
    taps, per_group = kernel_h * kernel_w, channels // shape[-1]
    sparsity = find_sparsity(weights)
    k_block_max = _core.choose_sparse(view.isa, True)[2]
    sparse: dict[int, Variant] = {}
    if sparsity >= SPARSITY_TRIED and taps <= k_block_max and not view.strict_nan:
        for scale in K_BLOCK_SCALES:
            block = choose_k_block(per_group, 1 - sparsity, k_block_max // taps, taps, scale)
            sparse[block] = Variant(
                f"sparse-c{block}",
                partial(_conv_kernel, name, weights, shape, block, 1.0 - sparsity, is_exact, view),
            )
    pixels = out_h * out_w
    trial = min(batch, max(1, TRIAL_PANELS * view.panel // pixels))
    x = Matrix(channels, in_h * in_w)
    layer = Layer(
        f"conv {'x'.join(map(str, shape[1:]))} n{trial} s{bucket(sparsity)}",
        batch, trial, partial(float_trial, trial, x, Matrix(out_channels, pixels), view),
        f"{sparsity:.0%} zeros",
    )  # fmt: skip
    is_expected = sparsity >= SPARSITY_EXPECTED
    return choose_product(layer, dense, tuple(sparse.values()), is_expected, view)


def _conv_kernel(
    name: str,
    weights: np.ndarray,
    shape: ConvShape,
    block_channels: int,
    density: float,
    is_exact: bool,
    view: View,
    batch: int,
    threads: int,
) -> ProductKernel:
    _, channels, _, _, out_channels, out_h, out_w, kernel_h, kernel_w = shape[:9]
    group, taps = shape[-1], kernel_h * kernel_w
    row, kernel, _ = _core.choose_sparse(view.isa, True)
    tiles = group * -(-(out_channels // group) // SPARSE_ROW_BLOCK)
    blocks = choose_packing_blocks(batch * out_h * out_w, view.panel, tiles, threads)
    depth = channels // group * taps
    packed = Const(
        (name, "sparse_conv", row, block_channels),
        lambda: _core.pack_sparse(
            row, order_by_blocks(weights, block_channels), group, out_channels // group, depth,
            block_channels * taps, is_exact,
        ),
    )  # fmt: skip
    sized = (batch, *shape[1:])
    head = (row, *sized, block_channels)
    why = f"{kernel}, {kernel_h}x{kernel_w}"
    return ProductKernel(
        "sparse_conv", (*head, blocks), packed, why, blocks, (*head, 1),
        conv_reach(sized, view.panel), 4 * block_channels * taps * view.panel,
        work_share=NONZERO_COST * density,
    )  # fmt: skip


def conv_reach(shape: ConvShape, lanes: int) -> Reach:
    """Which panels of its input a convolution reads."""
    batch, _, in_h, in_w, _, out_h, out_w = shape[:7]
    kernel_h, stride_h, dilation_h, pad_top = shape[7], shape[9], shape[11], shape[13]
    span = (kernel_h - 1) * dilation_h + 1
    return Reach(lanes, batch * out_h * out_w, in_h, in_w, out_h, out_w, stride_h, span, pad_top)


def order_by_blocks(weights: np.ndarray, block_channels: int) -> np.ndarray:
    """[O, C, *kernel] to [O, blocks of channels x taps x channels]: the order of packed columns."""
    out_channels, channels = weights.shape[:2]
    flat = weights.reshape(out_channels, channels, -1)
    blocks = [
        flat[:, first : first + block_channels].transpose(0, 2, 1).reshape(out_channels, -1)
        for first in range(0, channels, block_channels)
    ]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float32)
