"""What a lowering says about one node: which kernel, on which operands, in which layout.

A lowering is `lower_<family>(node, view) -> Choice | str`; a string is the reason why no native
kernel takes the node. It never allocates: `build.py` turns choices into buffers and calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from colonnade.ir import DType, Graph, Node
from colonnade.planner.plan import Call, Param
from colonnade.planner.reach import Reach


@dataclass(frozen=True, slots=True)
class Layout:
    """ROWS (`feature_axis` None) is the plain row-major tensor. Otherwise column panels.

    A tensor with shape d0..dn and feature axis f is a features x columns matrix: F = d_f and the
    columns are the other axes, flattened in order (L of them). Element (f, l) lies at
    ((l // NB) * F + f) * NB + l % NB, NB = View.panel. Buffers hold whole panels:
    ceil(L / NB) * F * NB elements; lanes past L hold arbitrary values.

    Bytes (uint8, int8) come in groups of four features, which share a lane of 32 bits: element
    (f, l) lies at (((l // NB) * ceil(F / 4) + f // 4) * NB + l % NB) * 4 + f % 4. There int8 is
    held as uint8, 128 more, so that kernels know one type.
    """

    feature_axis: int | None = None

    @property
    def is_columns(self) -> bool:
        """True for the panel layout."""
        return self.feature_axis is not None

    def __str__(self) -> str:
        return "rows" if self.feature_axis is None else f"columns(axis {self.feature_axis})"


ROWS = Layout()
BYTES = frozenset({DType.UINT8, DType.INT8})
"""Element types that columns hold in groups of BYTE_GROUP features."""
BYTE_GROUP = 4
SIGNED_SHIFT = 128
"""What int8 has been added in columns."""


def byte_groups(features: int) -> int:
    """Groups, the last one filled up."""
    return -(-features // BYTE_GROUP)


def panel_features(features: int, dtype: DType) -> int:
    """Features that a panel has room for: bytes come in groups."""
    return byte_groups(features) * BYTE_GROUP if dtype in BYTES else features


@dataclass(frozen=True, slots=True)
class In:
    """Operand: a value read in a layout (a conversion is inserted where it differs)."""

    value: str
    layout: Layout = ROWS


@dataclass(frozen=True, slots=True)
class Out:
    """Operand: a value made in a layout."""

    value: str
    layout: Layout = ROWS


@dataclass(frozen=True, slots=True)
class Const:
    """Operand: a constant made at compile time. `key` shares it between plans and shapes.

    By convention the key of packed weights is (value name, packing name, parameters...).
    """

    key: tuple[object, ...]
    make: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class Absent:
    """Operand: an optional one that is not there."""


@dataclass(frozen=True, slots=True)
class Temp:
    """Operand: a scratch buffer shared by all threads, live during this call only."""

    nbytes: int


Operand = In | Out | Const | Absent | Temp


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """The weights of a layer and what became of them."""

    sparsity: float
    """Share of zeros."""
    structure: str
    """dense, unstructured, 4x1 blocks, 1x4 blocks, 1:4, 2:4"""
    dense_bytes: int
    gain: float | None
    """Measured speed over the dense kernel; None where it was not measured."""
    fours: float | None = None
    """Share of fours along the depth that are not all zero, of 8-bit weights."""

    @property
    def is_told(self) -> bool:
        """Whether there is something to say: zeros, or the fours of 8-bit weights."""
        return self.sparsity > 0 or self.fours is not None

    def __str__(self) -> str:
        fours = "" if self.fours is None else f", {self.fours:.0%} of fours"
        gain = "" if self.gain is None else f", measured {self.gain:.1f}x dense"
        return f"{self.sparsity:.0%} zeros, {self.structure}{fours}{gain}"


@dataclass(frozen=True, slots=True)
class Striped:
    """How a call runs in a Stripe, one unit or more for each panel of its output.

    Operands in columns are read and written panel by panel, operands in rows as a whole.
    """

    params: tuple[Param, ...]
    reach: Reach | None = None
    """Which panels of the first operand are read; the same ones when None."""
    scratch_bytes: int = 0
    """What a thread keeps in cache beside panels and weights."""


@dataclass(frozen=True)
class Choice:
    """A native kernel for a node."""

    kernel: str
    """Name of the adapter in native/exec/ops."""
    operands: tuple[Operand, ...]
    params: tuple[Param, ...]
    why: str = ""
    owns_columns: bool = False
    """Reads and writes only the panels it is given (units = whole panels)."""
    panels: int = 0
    """Number of panels when `owns_columns`."""
    flops: int = 0
    """Of the operator, zeros included."""
    work_share: float = 1.0
    """What a sparse kernel takes of the time of a dense one, about."""
    advisories: tuple[str, ...] = ()
    in_place: tuple[int, int] | None = None
    """(input operand, output operand): the output may take over the input's buffer."""
    weights: Callable[[], WeightFacts] | None = None
    """What was found in the layer's weights, for `explain`."""
    before: tuple[Choice, ...] = ()
    """Calls to run first (they may make extra values through Out)."""
    striped: Striped | None = None
    """None: the call cannot be in a Stripe."""


@dataclass(frozen=True)
class Alias:
    """No kernel: `output` is the same bytes as `value`, both in the given layouts."""

    value: str
    output: str
    value_layout: Layout
    output_layout: Layout
    why: str = "same bytes"


@dataclass(frozen=True, slots=True)
class Fed:
    """Operand of a trial: numbers to read, of so many bytes. As float32 they are all 1."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Made:
    """Operand of a trial: what it writes."""

    nbytes: int


@dataclass(frozen=True)
class Trial:
    """Calls to be timed alone, one after the other, on one thread."""

    operands: tuple[Fed | Made | Const, ...]
    calls: tuple[Call, ...]
    """Their operands are numbers in `operands`, -1 where one is absent."""


def make_trial(
    kernel: str, operands: Sequence[Fed | Made | Const | Absent], params: tuple[Param, ...]
) -> Trial:
    """A trial of one call."""
    given = tuple(operand for operand in operands if not isinstance(operand, Absent))
    numbers = iter(range(len(given)))
    places = tuple(-1 if isinstance(o, Absent) else next(numbers) for o in operands)
    return Trial(given, (Call(kernel, places, params, "trial"),))


class View(Protocol):
    """What a lowering may look at."""

    def time(self, key: str, trials: Callable[[], Sequence[Trial]]) -> Sequence[float] | None:
        """Seconds of each trial, or None where nothing is measured. `key` names the measurement:
        the same key on the same machine is measured once."""

    @property
    def graph(self) -> Graph:
        """The graph, with static shapes on every natively planned value."""

    @property
    def panel(self) -> int:
        """Lanes of a panel (NB) on this instruction set."""

    @property
    def isa(self) -> str:
        """portable, avx2, avx512, avx512_vnni or amx."""

    @property
    def threads(self) -> int:
        """Threads of the runtime."""

    @property
    def strict_nan(self) -> bool:
        """True when a weight that is zero must multiply: no sparse kernels."""

    def layout(self, value: str) -> Layout:
        """The layout in which a value was made (ROWS for inputs and constants)."""

    def shape(self, value: str) -> tuple[int, ...]:
        """Static shape of a value."""

    def dtype(self, value: str) -> DType:
        """Element type of a value."""

    def constant(self, value: str) -> np.ndarray | None:
        """The value's array when it is a compile-time constant."""


Lowering = Callable[[Node, View], "Choice | Alias | str"]
