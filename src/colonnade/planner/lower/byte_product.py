"""Products and convolutions of 8 bits: what there is to choose from, and how weights are packed.

All kernels give the same bytes. A sparse one leaves out fours of weights along the depth that are
all zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from colonnade import _core
from colonnade.planner.choice import BYTE_GROUP, Const, Trial, View, WeightFacts, byte_groups
from colonnade.planner.cost import (
    BYTE_BLOCK_SCALES,
    FOUR_COST,
    FOURS_EXPECTED,
    FOURS_TRIED,
    choose_byte_block,
)
from colonnade.planner.lower.conv import ConvShape
from colonnade.planner.lower.product import Layer, ProductKernel, Variant, bucket, choose_product
from colonnade.planner.lower.sparse import TRIAL_PANELS, conv_reach, find_sparsity
from colonnade.planner.split import (
    SPARSE_ROW_BLOCK,
    choose_blocks,
    choose_packing_blocks,
    choose_stripes,
)
from colonnade.planner.structure import find_structure


@dataclass(frozen=True)
class ByteProduct:
    """W[m, k] in 8 bits, times columns or the taps of a convolution."""

    name: str
    weights: np.ndarray
    """int8 [m, k]; of a convolution k is channels of a group x taps."""
    shape: ConvShape
    """As in conv.h; empty for a plain product."""
    columns: int
    """Of the output."""
    make_trial: Callable[[ByteProduct, ProductKernel], Trial]
    """A kernel of this product alone."""

    @property
    def taps(self) -> int:
        """Weights of a channel."""
        return self.shape[7] * self.shape[8] if self.shape else 1

    @property
    def group(self) -> int:
        """Groups of a convolution, each of which is a product."""
        return self.shape[-1] if self.shape else 1

    @property
    def fours(self) -> float:
        """Share of the fours along the depth that hold a weight which is not zero."""
        return find_fours(self.weights.reshape(len(self.weights), -1, self.taps))

    @property
    def depth(self) -> int:
        """Fours along the depth of a row."""
        return byte_groups(self.weights.shape[1] // self.taps) * self.taps

    @property
    def units(self) -> int:
        """Images of a convolution; columns of a product."""
        return self.shape[0] if self.shape else self.columns

    def resized(self, units: int) -> ByteProduct:
        """The same on `units` images or columns."""
        columns = self.columns // self.units * units
        shape = (units, *self.shape[1:]) if self.shape else ()
        return replace(self, shape=shape, columns=columns)


def find_fours(weights: np.ndarray) -> float:
    """Share of the fours along axis 1 of [m, channels, taps] that are not all zero."""
    spare = -weights.shape[1] % BYTE_GROUP
    padded = np.pad(weights != 0, ((0, 0), (0, spare), (0, 0)))
    fours = padded.reshape(weights.shape[0], -1, BYTE_GROUP, weights.shape[2]).any(axis=2)
    return float(np.count_nonzero(fours) / fours.size)


def choose_byte_product(product: ByteProduct, view: View) -> ProductKernel:
    """The fastest of the dense kernel and of sparse ones; depthwise there is one."""
    if is_depthwise(product.shape):
        return _depthwise_kernel(product, view)
    fours = product.fours
    sparse: dict[int, Variant] = {}
    if fours <= FOURS_TRIED:
        depth_max = _core.choose_sparse(view.isa, False)[2]
        for scale in BYTE_BLOCK_SCALES:
            block = min(choose_byte_block(fours, view.panel, scale), depth_max, product.depth)
            make = partial(_sparse_kernel, product, view, block, fours)
            sparse[block] = Variant(f"sparse-k{block}", make)
    dense = Variant("dense", partial(_dense_kernel, product, view))
    layer = _layer(product, fours, view)
    return choose_product(layer, dense, tuple(sparse.values()), fours < FOURS_EXPECTED, view)


def find_byte_facts(product: ByteProduct, kernel: ProductKernel) -> WeightFacts:
    """What `explain` says of the weights."""
    sparsity = find_sparsity(product.weights)
    structure = find_structure(product.weights) if sparsity > 0.5 else "dense"
    fours = product.fours if not is_depthwise(product.shape) else None
    return WeightFacts(sparsity, structure, 4 * product.weights.size, kernel.gain, fours)


def is_depthwise(shape: ConvShape) -> bool:
    """A group for each channel, with one output."""
    return bool(shape) and shape[-1] == shape[1] == shape[4] > 1


def _layer(product: ByteProduct, fours: float, view: View) -> Layer:
    m, k = product.weights.shape
    lanes = TRIAL_PANELS * view.panel
    trial = min(product.units, max(1, lanes * product.units // product.columns))
    sizes = "x".join(map(str, product.shape[1:])) if product.shape else f"m{m} k{k}"
    zero = 1.0 - fours
    return Layer(
        f"8-bit {'conv' if product.shape else 'product'} {sizes} n{trial} f{bucket(zero)}",
        product.units, trial, partial(product.make_trial, product.resized(trial)),
        f"{zero:.0%} of fours are zero",
    )  # fmt: skip


def _sparse_kernel(
    product: ByteProduct, view: View, block: int, fours: float, units: int, threads: int
) -> ProductKernel:
    """`block`: fours of a depth block."""
    p = product.resized(units)
    m, k = p.weights.shape
    row, name, _ = _core.choose_byte_matmul(view.isa)
    tiles = p.group * -(-(m // p.group) // SPARSE_ROW_BLOCK)
    packed = Const(
        (p.name, "byte fours", row, block),
        lambda: _core.pack_byte_sparse(row, p.weights, m, k, list(p.shape), block),
    )
    what = f"{name}, {_what(p)}"
    if not p.shape:
        blocks = choose_blocks(-(-p.columns // view.panel), tiles, threads)
        sizes = (row, m, k, p.columns, block)
        return ProductKernel(
            "qsparse_columns", (*sizes, blocks), packed, what, blocks, (*sizes, 1),
            work_share=FOUR_COST * fours,
        )  # fmt: skip
    blocks = choose_packing_blocks(p.columns, view.panel, tiles, threads)
    head = (row, *p.shape, block)
    return ProductKernel(
        "qsparse_conv", (*head, blocks), packed, what, blocks, (*head, 1),
        conv_reach(p.shape, view.panel), p.depth * BYTE_GROUP * view.panel,
        work_share=FOUR_COST * fours,
    )  # fmt: skip


def _dense_kernel(product: ByteProduct, view: View, units: int, threads: int) -> ProductKernel:
    p = product.resized(units)
    m, k = p.weights.shape
    row, name, tile = _core.choose_byte_matmul(view.isa)
    tiles = p.group * -(-(m // p.group) // tile)
    what = f"{name}, {_what(p)}"
    if not p.shape:
        blocks = choose_blocks(-(-p.columns // view.panel), tiles, threads)
        packed = Const((p.name, "bytes", row), lambda: _core.pack_byte_matmul(row, p.weights, m, k))
        sizes = (row, m, k, p.columns)
        return ProductKernel("qmatmul_columns", (*sizes, blocks), packed, what, blocks, (*sizes, 1))
    blocks = choose_packing_blocks(p.columns, view.panel, tiles, threads)
    packed = _pack_taps(p, row, "byte taps")
    head = (row, *p.shape)
    return ProductKernel(
        "qconv", (*head, blocks), packed, what, blocks, (*head, 1),
        conv_reach(p.shape, view.panel), k * view.panel,
    )  # fmt: skip


def _depthwise_kernel(product: ByteProduct, view: View) -> ProductKernel:
    row, name, _ = _core.choose_byte_matmul(view.isa)
    panels = -(-product.columns // view.panel)
    _, blocks = choose_stripes(panels, byte_groups(product.shape[1]), view.threads)
    head = (row, *product.shape)
    return ProductKernel(
        "qdepthwise", (*head, blocks), _pack_taps(product, row, "byte channels", is_by_channel=True),
        f"{name}, {_what(product)}", blocks, (*head, 1), conv_reach(product.shape, view.panel),
    )  # fmt: skip


def _pack_taps(
    product: ByteProduct, row: int, packing: str, *, is_by_channel: bool = False
) -> Const:
    weights, shape = product.weights, list(product.shape)
    return Const(
        (product.name, packing, row),
        lambda: _core.pack_byte_conv(row, weights, shape, is_by_channel),
    )


def _what(product: ByteProduct) -> str:
    m, k = product.weights.shape
    shape = product.shape
    return f"{shape[7]}x{shape[8]}" if shape else f"{k} to {m} features"
