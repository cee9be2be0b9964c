"""Choose a kernel and a layout for every node, and put in the layout conversions.

The result is a flat list of Selected calls on storages; `build.py` places them in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from colonnade import _core
from colonnade.ir import DType, Graph, Node, is_static, num_elements
from colonnade.planner.choice import (
    BYTES,
    ROWS,
    Absent,
    Alias,
    Choice,
    Const,
    In,
    Layout,
    Out,
    Striped,
    Temp,
    Trial,
    WeightFacts,
    panel_features,
)
from colonnade.planner.lower import LOWERINGS
from colonnade.planner.plan import Param


@dataclass(frozen=True)
class Target:
    """The machine that a plan is made for."""

    isa: str
    panel: int
    threads: int
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    stripes: bool = True
    """False keeps every call a step of its own."""
    tuner: Tuner | None = None
    """Measures products; None leaves the choice to the cost model."""
    strict_nan: bool = False
    """A weight that is zero multiplies too: no sparse kernels."""


class Tuner(Protocol):
    """Times products on this machine."""

    def time(self, key: str, trials: Callable[[], Sequence[Trial]]) -> Sequence[float] | None:
        """As View.time."""


@dataclass(frozen=True)
class GraphView:
    """The View that lowerings see (see choice.View)."""

    graph: Graph
    target: Target
    layouts: dict[str, Layout]

    @property
    def panel(self) -> int:
        """Lanes of a panel."""
        return self.target.panel

    @property
    def isa(self) -> str:
        """Instruction set of the target."""
        return self.target.isa

    @property
    def threads(self) -> int:
        """Threads of the runtime."""
        return self.target.threads

    @property
    def strict_nan(self) -> bool:
        """True when a weight that is zero must multiply."""
        return self.target.strict_nan

    def layout(self, value: str) -> Layout:
        """The layout in which a value was made."""
        return self.layouts.get(value, ROWS)

    def shape(self, value: str) -> tuple[int, ...]:
        """Static shape of a value."""
        shape = self.graph.shape(value)
        assert is_static(shape), f"{value} has no static shape"
        return shape

    def dtype(self, value: str) -> DType:
        """Element type of a value."""
        return self.graph.dtype(value)

    def constant(self, value: str) -> np.ndarray | None:
        """The value's array when it is a constant."""
        return self.graph.constants.get(value)

    def time(self, key: str, trials: Callable[[], Sequence[Trial]]) -> Sequence[float] | None:
        """Seconds of each trial, where the target has a tuner."""
        return self.target.tuner.time(key, trials) if self.target.tuner is not None else None


Decision = Choice | Alias | str


def decide(node: Node, view: GraphView) -> Decision:
    """The first lowering that takes the node, or the reasons why none does."""
    lowerings = LOWERINGS.get((node.domain, node.op), ())
    if not lowerings:
        return f"no native kernel for {node.op}"
    if reason := _unplannable(node, view):
        return reason
    reasons: list[str] = []
    for lowering in lowerings:
        decision = lowering(node, view)
        if not isinstance(decision, str):
            return decision
        reasons.append(decision)
    return "; ".join(dict.fromkeys(reasons))


def _unplannable(node: Node, view: GraphView) -> str:
    for value in (*node.inputs, *node.outputs):
        if value and not is_static(view.graph.shape(value)):
            return f"the shape of {value!r} is only known at run time"
    for value in (*node.inputs, *node.outputs):
        if value and view.dtype(value) in (DType.STRING, DType.OTHER, DType.BFLOAT16):
            return f"{value!r} has element type {view.dtype(value).value}"
    return ""


PackConstant = Callable[[Const], np.ndarray]
"""Returns the packed array of a Const, the same object for the same key."""


@dataclass
class Storage:
    """Bytes that one or more values share."""

    nbytes: int
    origin: str = "arena"
    """arena, input or constant."""
    value: str = ""
    """The graph input or constant that it holds, when origin says so."""
    panels: int = 0
    """Column panels; 0 in rows."""


@dataclass(frozen=True)
class Selected:
    """A kernel call: operands are numbers into Selection.storages; Const and Temp stay."""

    choice: Choice
    operands: tuple[int | Const | Temp | None, ...]
    writes: frozenset[int]
    label: str
    op: str


@dataclass
class NodeRecord:
    """What `explain` says of a node."""

    name: str
    op: str
    runtime: str
    kernel: str
    why: str
    layout: str
    nbytes: int
    flops: int = 0
    advisories: tuple[str, ...] = ()
    weights: WeightFacts | None = None


@dataclass(frozen=True)
class StripeRecord:
    """What `explain` says of a Stripe."""

    calls: tuple[str, ...]
    panels: int
    stripe_panels: int
    segments: int
    window_bytes: int
    """Per thread."""
    saved_bytes: int
    """That would go beyond L2 otherwise."""
    recomputed: float
    """Share of the work that is done twice, at the borders of segments."""


@dataclass
class Selection:
    """Calls in order, and where every value is."""

    storages: list[Storage] = field(default_factory=list)
    calls: list[Selected] = field(default_factory=list)
    places: dict[tuple[str, Layout], int] = field(default_factory=dict)
    records: list[NodeRecord] = field(default_factory=list)


class Selector:
    """Selects kernels for the nodes of one native region, in order."""

    def __init__(self, graph: Graph, target: Target, layouts: dict[str, Layout]) -> None:
        self.view = GraphView(graph, target, layouts)
        self.selection = Selection()

    def add(self, node: Node, decision: Choice | Alias) -> None:
        """Append the node's calls."""
        label = node.name or node.outputs[0]
        if isinstance(decision, Alias):
            self._add_alias(decision)
        else:
            for choice in (*decision.before, decision):
                self._add_choice(choice, label, node.op)
        self.selection.records.append(self._record(node, decision))

    def add_empty(self, node: Node) -> None:
        """A node whose outputs have no elements needs no call."""
        for out in filter(None, node.outputs):
            self._place(out, ROWS)
        self.selection.records.append(
            NodeRecord(node.name, node.op, "native", "none", "no elements", str(ROWS), 0)
        )

    def give(self, value: str, layout: Layout) -> None:
        """A value that is there already, in a layout."""
        self._place(value, layout)

    def require(self, value: str, layout: Layout = ROWS) -> int:
        """The storage that holds the value in the layout; converts when needed."""
        places = self.selection.places
        if (value, layout) in places:
            return places[(value, layout)]
        source = next((known for name, known in places if name == value), None)
        if source is None:
            origin = "constant" if value in self.view.graph.constants else "input"
            places[(value, ROWS)] = self._new(self._nbytes(value, ROWS), origin, value)
            source = ROWS
        if source == layout:
            return places[(value, layout)]
        if source.is_columns and layout.is_columns:
            self.require(value, ROWS)
            source = ROWS
        self._convert(value, source, layout)
        return places[(value, layout)]

    def _add_alias(self, alias: Alias) -> None:
        storage = self.require(alias.value, alias.value_layout)
        self.selection.places[(alias.output, alias.output_layout)] = storage
        self.view.layouts[alias.output] = alias.output_layout

    def _add_choice(self, choice: Choice, label: str, op: str) -> None:
        assert _writes_as_marked(choice), f"{choice.kernel}: its mark in native/exec/ops is wrong"
        operands: list[int | Const | Temp | None] = []
        writes: set[int] = set()
        for operand in choice.operands:
            if isinstance(operand, In):
                operands.append(self.require(operand.value, operand.layout))
            elif isinstance(operand, Out):
                storage = self._place(operand.value, operand.layout)
                writes.add(storage)
                operands.append(storage)
            else:
                operands.append(None if isinstance(operand, Absent) else operand)
        self.selection.calls.append(Selected(choice, tuple(operands), frozenset(writes), label, op))

    def _convert(self, value: str, source: Layout, target: Layout) -> None:
        choice = conversion(value, self.view.shape(value), self.view.dtype(value), source, target)
        operands = (self.require(value, source), self._place(value, target, is_copy=True))
        self.selection.calls.append(
            Selected(choice, operands, frozenset(operands[1:]), f"{value} to {target}", "layout")
        )

    def _place(self, value: str, layout: Layout, *, is_copy: bool = False) -> int:
        storage = self._new(self._nbytes(value, layout))
        if layout.feature_axis is not None:
            self.selection.storages[storage].panels = self._panels(value, layout.feature_axis)
        self.selection.places[(value, layout)] = storage
        if not is_copy:
            self.view.layouts[value] = layout
        return storage

    def _new(self, nbytes: int, origin: str = "arena", value: str = "") -> int:
        self.selection.storages.append(Storage(nbytes, origin, value))
        return len(self.selection.storages) - 1

    def _nbytes(self, value: str, layout: Layout) -> int:
        shape = self.view.shape(value)
        itemsize = self.view.dtype(value).itemsize
        if layout.feature_axis is None:
            return num_elements(shape) * itemsize
        features = panel_features(shape[layout.feature_axis], self.view.dtype(value))
        return panel_columns(shape, layout.feature_axis, self.view.panel) * features * itemsize

    def _panels(self, value: str, feature_axis: int) -> int:
        shape = self.view.shape(value)
        return -(-math.prod(shape) // max(shape[feature_axis], 1) // self.view.panel)

    def _record(self, node: Node, decision: Choice | Alias) -> NodeRecord:
        out = node.outputs[0]
        layout = self.view.layout(out)
        if isinstance(decision, Alias):
            return NodeRecord(node.name, node.op, "native", "alias", decision.why, str(layout), 0)
        weights = decision.weights() if decision.weights is not None else None
        why = decision.why + (f"; {weights}" if weights is not None and weights.is_told else "")
        return NodeRecord(
            node.name, node.op, "native", decision.kernel, why, str(layout),
            sum(self._nbytes(o, self.view.layout(o)) for o in node.outputs if o),
            decision.flops, decision.advisories, weights,
        )  # fmt: skip


def panel_columns(shape: Sequence[int], feature_axis: int, panel: int) -> int:
    """Columns of a tensor in panels, the last panel whole."""
    columns = math.prod(shape) // max(shape[feature_axis], 1)
    return -(-columns // panel) * panel


def conversion(
    value: str, shape: tuple[int, ...], dtype: DType, source: Layout, target: Layout
) -> Choice:
    """The call that moves a value from rows to columns or back."""
    columns = target if target.is_columns else source
    axis = columns.feature_axis
    assert axis is not None
    space = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    operands = (In(value, source), Out(value, target))
    if dtype in BYTES:
        kernel = "rows_to_bytes" if target.is_columns else "bytes_to_rows"
        params: tuple[Param, ...] = (*space, int(dtype is DType.INT8))
    else:
        kernel = "rows_to_columns" if target.is_columns else "columns_to_rows"
        params = space
    return Choice(kernel, operands, params, owns_columns=True, striped=Striped(params))


def _writes_as_marked(choice: Choice) -> bool:
    """Whether the kernel is known to write what the choice gives it to write, and nothing else: the
    executor goes by the mark when it refuses plans that would write constants or inputs."""
    marked = _core.written_operands(choice.kernel, len(choice.operands))
    return all(
        isinstance(operand, Absent) or isinstance(operand, Out | Temp) == (number in marked)
        for number, operand in enumerate(choice.operands)
    )
