"""What the weights of a product decide: the kernel, apart from its operands and its epilogue.

`choose_product` picks one of several variants of a layer: by measurement where the view can
measure, by the cost model otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from colonnade.planner.choice import (
    Absent,
    Const,
    Fed,
    Made,
    Striped,
    Trial,
    View,
    WeightFacts,
    make_trial,
)
from colonnade.planner.cost import DENSE_BIAS, SPARSITY_TRIED
from colonnade.planner.plan import Param
from colonnade.planner.reach import Reach
from colonnade.planner.structure import find_structure


@dataclass(frozen=True)
class ProductKernel:
    """The part of a Choice that depends on the weights."""

    kernel: str
    """Name of the adapter."""
    head: tuple[Param, ...]
    """Its parameters up to the epilogue's."""
    packed: Const
    why: str
    blocks: int
    """Row blocks per panel: 1 keeps threads on their own columns."""
    striped_head: tuple[Param, ...] | None = None
    """The head for a Stripe, one row block per panel; None: it cannot be in one."""
    reach: Reach | None = None
    """As Striped.reach."""
    scratch_bytes: int = 0
    """As Striped.scratch_bytes."""
    gain: float | None = None
    """Measured: time of the dense kernel over this one's."""
    work_share: float = 1.0
    """As Choice.work_share."""
    advisories: tuple[str, ...] = ()
    in_rows: bool = False
    """Operands x, weights, bias, y in rows, and no epilogue but the clamp."""

    def striped(self, ends: tuple[Param, ...]) -> Striped | None:
        """How it runs in a Stripe; `ends`: the epilogue's parameters."""
        if self.striped_head is None:
            return None
        return Striped((*self.striped_head, *ends), self.reach, self.scratch_bytes)


@dataclass(frozen=True)
class Variant:
    """A way to run a layer, for any number of columns (or images, for a convolution)."""

    name: str
    make: Callable[[int, int], ProductKernel]
    """For a size and a number of threads."""


@dataclass(frozen=True)
class Matrix:
    """Features, and columns for each unit of size: 1, or the pixels of an image."""

    features: int
    columns: int


@dataclass(frozen=True)
class Layer:
    """What a layer's variants have in common."""

    key: str
    """Says what was measured: kind, sizes and sparsity, not the layer's name."""
    size: int
    """Columns, or images."""
    trial_size: int
    """Columns or images of a measurement: enough to be representative, few enough to be short."""
    make_trial: Callable[[ProductKernel], Trial]
    """Of a kernel made for `trial_size` and one thread."""
    zeros: str
    """What there is to leave out, in words."""
    gain_min: float = DENSE_BIAS
    """What a sparse kernel must gain."""


NO_CLAMP: tuple[Param, ...] = (-math.inf, math.inf)


def choose_product(
    layer: Layer, dense: Variant, sparse: Sequence[Variant], is_expected: bool, view: View
) -> ProductKernel:
    """The fastest of the variants on one thread; dense wins ties.

    Kernels round differently: measured on any number of threads, answers would depend on it.

    `sparse` in order of preference, the first one being the cost model's choice. `is_expected`: the
    model expects it to win.
    """
    if not sparse:
        return dense.make(layer.size, view.threads)
    variants = (dense, *sparse)
    seconds = view.time(
        f"{layer.key} {'|'.join(v.name for v in variants)}",
        lambda: [layer.make_trial(v.make(layer.trial_size, 1)) for v in variants],
    )
    if seconds is None:
        return (sparse[0] if is_expected else dense).make(layer.size, view.threads)
    best = min(range(1, len(variants)), key=lambda i: seconds[i])
    gain = seconds[0] / seconds[best]
    if gain > layer.gain_min:
        return replace(variants[best].make(layer.size, view.threads), gain=gain)
    advisory = f"ran dense: {layer.zeros}, the sparse kernel would run at {gain:.2f}x"
    return replace(dense.make(layer.size, view.threads), advisories=(advisory,))


def find_facts(product: ProductKernel, weights: np.ndarray) -> WeightFacts:
    """What `explain` says of W[M, K]."""
    sparsity = 1.0 - np.count_nonzero(weights) / max(weights.size, 1)
    structure = find_structure(weights) if sparsity >= SPARSITY_TRIED else "dense"
    return WeightFacts(sparsity, structure, 4 * weights.size, product.gain)


def float_trial(size: int, x: Matrix, y: Matrix, view: View, product: ProductKernel) -> Trial:
    """A float32 product alone, without bias and epilogue, on `size` columns or images."""
    if product.in_rows:
        floats = [matrix.features * matrix.columns * size for matrix in (x, y)]
        absent: tuple[Absent, ...] = (Absent(),)
        ends: tuple[Param, ...] = NO_CLAMP
    else:
        floats = [panel_lanes(matrix.features, matrix.columns * size, view) for matrix in (x, y)]
        absent = (Absent(), Absent())
        ends = (*NO_CLAMP, (), ())
    made = Made(4 * floats[1])
    operands: tuple[Fed | Made | Const | Absent, ...] = (
        Fed(4 * floats[0]), product.packed, *absent, made,
    )  # fmt: skip
    return make_trial(product.kernel, operands, (*product.head, *ends))


def bucket(share: float) -> str:
    """A share of zeros in steps of 2.5 %: layers within one step have one measurement."""
    return f"{round(share * 40) / 40:.3f}"


def panel_lanes(rows: int, columns: int, view: View) -> int:
    """Lanes of whole panels."""
    return rows * -(-columns // view.panel) * view.panel
