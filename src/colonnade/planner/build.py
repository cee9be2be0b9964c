"""Build a Program from a Graph with static shapes: native Plans and fallback regions in turn.

Start reading at `build_program`: decide every node, split the graph into regions, plan each native
one.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import DType, Graph, Node, is_static, num_elements
from colonnade.ir.graph import captures
from colonnade.planner.choice import ROWS, Alias, Const, Temp
from colonnade.planner.islands import ISLAND_REASON, find_islands
from colonnade.planner.memory import Lifetime, peak_live_bytes, place_buffers
from colonnade.planner.plan import (
    Buffer,
    Call,
    ParallelFor,
    Plan,
    Seq,
    Space,
    Split,
    Statement,
    Stripe,
)
from colonnade.planner.select import (
    Decision,
    GraphView,
    NodeRecord,
    PackConstant,
    Selection,
    Selector,
    Storage,
    StripeRecord,
    Target,
    decide,
)
from colonnade.planner.stripe_selection import find_stripes, stripe_record
from colonnade.planner.stripes import Group


@dataclass(frozen=True)
class NativeRegion:
    """A plan, with the values it reads and makes in the order of its inputs and outputs."""

    plan: Plan
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    peak_bytes: int
    stripes: tuple[StripeRecord, ...] = ()


@dataclass(frozen=True)
class FallbackRegion:
    """Nodes for ONNX Runtime, with the values they read and make."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CustomRegion:
    """One node of a user's operator, run by the function that came with it."""

    node: Node
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Region = NativeRegion | FallbackRegion | CustomRegion


class Kind(enum.Enum):
    """Who runs a node; the value is what `explain` says."""

    NATIVE = "native"
    FALLBACK = "onnxruntime"
    CUSTOM = "custom"


@dataclass(frozen=True)
class Program:
    """Regions in order, and what `explain` says of every node."""

    graph: Graph
    regions: tuple[Region, ...]
    records: tuple[NodeRecord, ...]
    stripes: tuple[StripeRecord, ...] = ()


def build_program(
    graph: Graph,
    target: Target,
    pack: PackConstant,
    custom_ops: frozenset[tuple[str, str]] = frozenset(),
) -> Program:
    """Plan a specialised graph for a target. `custom_ops`: (domain, op) of the user's operators."""
    regions: list[Region] = []
    records: list[NodeRecord] = []
    kinds = {id(node): _kind(node, graph, target, custom_ops) for node in graph.nodes}
    islands = find_islands(graph, {key: kind is Kind.FALLBACK for key, kind in kinds.items()})
    kinds |= {key: Kind.FALLBACK for key in islands if kinds[key] is Kind.NATIVE}
    for nodes, kind in split_regions(graph, kinds):
        inputs, outputs = _border(graph, nodes)
        if kind is Kind.NATIVE:
            region, made = _build_native(graph, nodes, inputs, outputs, target, pack)
            regions.append(region)
            records += made
        elif kind is Kind.FALLBACK:
            regions.append(FallbackRegion(tuple(nodes), inputs, outputs))
            records += [_outside_record(graph, node, target, kind) for node in nodes]
        else:
            regions.append(CustomRegion(nodes[0], inputs, outputs))
            records.append(_outside_record(graph, nodes[0], target, kind))
    native = [region for region in regions if isinstance(region, NativeRegion)]
    stripes = tuple(record for region in native for record in region.stripes)
    return Program(graph, tuple(regions), tuple(records), stripes)


def _kind(node: Node, graph: Graph, target: Target, custom_ops: frozenset[tuple[str, str]]) -> Kind:
    """A first decision, without knowing layouts."""
    if (node.domain, node.op) in custom_ops:
        return Kind.CUSTOM
    decision = _decide(node, GraphView(graph, target, {}))
    return Kind.FALLBACK if isinstance(decision, str) else Kind.NATIVE


def _decide(node: Node, view: GraphView) -> Decision:
    if _is_empty(node, view):
        return Alias(node.outputs[0], node.outputs[0], ROWS, ROWS, "no elements")
    return decide(node, view)


def _is_empty(node: Node, view: GraphView) -> bool:
    """True when there is nothing to compute, from values that a plan can hold."""
    if any(view.dtype(value).itemsize == 0 for value in (*node.inputs, *node.outputs) if value):
        return False
    shapes = [view.graph.shape(out) for out in node.outputs if out]
    return bool(shapes) and all(is_static(s) and num_elements(s) == 0 for s in shapes)


def split_regions(graph: Graph, kinds: Mapping[int, Kind]) -> list[tuple[list[Node], Kind]]:
    """Maximal regions of nodes of one kind (by node id), in an order that runs.

    Takes every ready native node, then every ready fallback node, then one custom node, and so on.
    """
    missing = {id(node): 0 for node in graph.nodes}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for value in {*node.inputs, *captures(node)}:
            if value in graph.producer:
                missing[id(node)] += 1
                readers.setdefault(value, []).append(node)
    ready: dict[Kind, deque[Node]] = {kind: deque() for kind in Kind}
    for node in graph.nodes:
        if missing[id(node)] == 0:
            ready[kinds[id(node)]].append(node)
    regions: list[tuple[list[Node], Kind]] = []
    while any(ready.values()):
        for kind in Kind:
            region: list[Node] = []
            while ready[kind] and not (kind is Kind.CUSTOM and region):
                node = ready[kind].popleft()
                region.append(node)
                for reader in _made_ready(node, missing, readers):
                    ready[kinds[id(reader)]].append(reader)
            if region:
                regions.append((region, kind))
    return regions


def _made_ready(
    node: Node, missing: dict[int, int], readers: Mapping[str, list[Node]]
) -> Iterator[Node]:
    for value in filter(None, node.outputs):
        for reader in readers.get(value, ()):
            missing[id(reader)] -= 1
            if missing[id(reader)] == 0:
                yield reader


def _border(graph: Graph, nodes: Sequence[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Values that a region reads from outside, and makes for outside."""
    made = {out for node in nodes for out in node.outputs if out}
    inside = {id(node) for node in nodes}
    inputs = {
        value: None
        for node in nodes
        for value in (*node.inputs, *captures(node))
        if value and value not in made and value not in graph.constants
    }
    outputs = {
        out: None
        for node in nodes
        for out in node.outputs
        if out
        and (
            out in graph.outputs
            or any(id(reader) not in inside for reader in graph.consumers.get(out, ()))
        )
    }
    return tuple(inputs), tuple(outputs)


def _outside_record(graph: Graph, node: Node, target: Target, kind: Kind) -> NodeRecord:
    is_custom = kind is Kind.CUSTOM
    reason = "custom operator" if is_custom else decide(node, GraphView(graph, target, {}))
    if not isinstance(reason, str):
        reason = ISLAND_REASON
    nbytes = 0
    for out in filter(None, node.outputs):
        shape = graph.shape(out)
        if is_static(shape) and graph.dtype(out) is not DType.OTHER:
            nbytes += num_elements(shape) * max(graph.dtype(out).itemsize, 1)
    kernel = "custom" if is_custom else "fallback"
    return NodeRecord(node.name, node.op, kind.value, kernel, reason, "rows", nbytes)


def _build_native(
    graph: Graph,
    nodes: Sequence[Node],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    target: Target,
    pack: PackConstant,
) -> tuple[NativeRegion, list[NodeRecord]]:
    selector = Selector(graph, target, {})
    for node in nodes:
        decision = _decide(node, selector.view)
        if isinstance(decision, Alias) and decision.value == decision.output:
            selector.add_empty(node)
        else:
            assert not isinstance(decision, str), f"{node}: {decision}"
            selector.add(node, decision)
    storages = [selector.require(value) for value in outputs]
    selection = selector.selection
    groups = find_stripes(selection, storages, target, pack)
    _merge_in_place(selection, storages, groups)
    plan, peak = _place(graph, selection, inputs, outputs, storages, groups, target, pack)
    records = tuple(stripe_record(group, selection) for group in groups)
    return NativeRegion(plan, inputs, outputs, peak, records), selection.records


def _merge_in_place(selection: Selection, outputs: Sequence[int], groups: Sequence[Group]) -> None:
    """Let an output take over the buffer of an input that dies in the same call.

    Not inside a stripe: another segment may still read the input's panels.
    """
    striped = {i for group in groups for i in range(group.first, group.last)}
    last_use: dict[int, int] = {}
    for i, call in enumerate(selection.calls):
        for operand in call.operands:
            if isinstance(operand, int):
                last_use[operand] = i
    kept = set(outputs)
    merged: dict[int, int] = {}
    for i, call in enumerate(selection.calls):
        operands = tuple(merged.get(o, o) if isinstance(o, int) else o for o in call.operands)
        selection.calls[i] = call = replace(
            call, operands=operands, writes=frozenset(merged.get(o, o) for o in call.writes)
        )
        if call.choice.in_place is None or i in striped:
            continue
        source, target = (operands[k] for k in call.choice.in_place)
        if not isinstance(source, int) or not isinstance(target, int) or target in kept:
            continue
        is_free = last_use.get(source) == i and source not in kept
        same = selection.storages[source].nbytes == selection.storages[target].nbytes
        if is_free and same and selection.storages[source].origin == "arena":
            merged[target] = source
            last_use[source] = last_use.get(target, i)
            operands = tuple(source if o == target else o for o in operands)
            selection.calls[i] = replace(call, operands=operands, writes=frozenset({source}))


def _place(
    graph: Graph,
    selection: Selection,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    output_storages: Sequence[int],
    groups: Sequence[Group],
    target: Target,
    pack: PackConstant,
) -> tuple[Plan, int]:
    builder = _PlanBuilder(graph, selection, inputs, groups, pack)
    builder.assign_outputs(output_storages)
    builder.assign_windows()
    builder.place_arena()
    steps = builder.steps()
    copies = tuple(ParallelFor((call,), Split.UNITS) for call in builder.copies())
    plan = Plan(
        tuple(builder.buffers), tuple(builder.constants), len(inputs), len(outputs),
        builder.arena_bytes, Seq((*steps, *copies)), target.isa,
    )  # fmt: skip
    return plan, builder.peak_bytes


class _PlanBuilder:
    """Turns storages into buffers: inputs, outputs, constants and places in the arena."""

    def __init__(
        self,
        graph: Graph,
        selection: Selection,
        inputs: tuple[str, ...],
        groups: Sequence[Group],
        pack: PackConstant,
    ) -> None:
        self.buffers: list[Buffer] = []
        self.constants: list[np.ndarray] = []
        self.arena_bytes = 0
        self.peak_bytes = 0
        self._graph = graph
        self._selection = selection
        self._inputs = {value: i for i, value in enumerate(inputs)}
        self._groups = {group.first: group for group in groups}
        self._pack = pack
        self._buffer_of: dict[int, int] = {}
        self._temp_buffer: dict[int, int] = {}
        self._constant_numbers: dict[int, int] = {}
        self._copies: list[tuple[int, int]] = []

    def assign_outputs(self, storages: Sequence[int]) -> None:
        """A storage is written straight into an output; a second output of it is copied."""
        for number, storage in enumerate(storages):
            held = self._selection.storages[storage]
            buffer = self._add(Buffer(Space.OUTPUT, held.nbytes, index=number))
            if held.origin == "arena" and storage not in self._buffer_of:
                self._buffer_of[storage] = buffer
            else:
                self._copies.append((storage, buffer))

    def assign_windows(self) -> None:
        """Storages that live in a stripe's windows take no place in the arena."""
        for group in self._groups.values():
            for window in group.windows:
                nbytes = self._selection.storages[window.storage].nbytes
                self._buffer_of[window.storage] = self._add(
                    Buffer(Space.WINDOW, nbytes, window.offset, window.capacity)
                )

    def steps(self) -> tuple[Statement, ...]:
        """A statement for every call that is on its own, and for every group."""
        steps: list[Statement] = []
        number = 0
        while number < len(self._selection.calls):
            group = self._groups.get(number)
            if group is None:
                steps.append(ParallelFor((self._call(number),), Split.UNITS))
                number += 1
                continue
            calls = tuple(self._call(i, striped=True) for i in range(group.first, group.last))
            steps.append(Stripe(calls, group.panels, group.stripe_panels, group.segments))
            number = group.last
        return tuple(steps)

    def _step_numbers(self) -> list[int]:
        """Per call; the calls of a stripe are one step."""
        steps = list(range(len(self._selection.calls)))
        for group in self._groups.values():
            for i in range(group.first, group.last):
                steps[i] = group.first
        return steps

    def place_arena(self) -> None:
        """Lifetimes in steps; temporaries live in one call."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        lives: list[Lifetime] = []
        owners: list[tuple[str, int]] = []
        for i, (step, call) in enumerate(
            zip(self._step_numbers(), self._selection.calls, strict=True)
        ):
            for operand in call.operands:
                if isinstance(operand, int):
                    first.setdefault(operand, step)
                    last[operand] = step
                elif isinstance(operand, Temp):
                    lives.append(Lifetime(operand.nbytes, i, i))
                    owners.append(("temp", i))
        for storage, begin in first.items():
            if storage in self._buffer_of or self._selection.storages[storage].origin != "arena":
                continue
            lives.append(Lifetime(self._selection.storages[storage].nbytes, begin, last[storage]))
            owners.append(("storage", storage))
        offsets, self.arena_bytes = place_buffers(lives)
        self.peak_bytes = peak_live_bytes(lives)
        for (kind, number), life, offset in zip(owners, lives, offsets, strict=True):
            buffer = self._add(Buffer(Space.ARENA, life.nbytes, offset=offset))
            (self._temp_buffer if kind == "temp" else self._buffer_of)[number] = buffer

    def _call(self, number: int, *, striped: bool = False) -> Call:
        selected = self._selection.calls[number]
        choice = selected.choice
        params = choice.striped.params if striped and choice.striped else choice.params
        operands = tuple(self._operand(number, operand) for operand in selected.operands)
        return Call(choice.kernel, operands, params, selected.label)

    def copies(self) -> list[Call]:
        """Calls that fill outputs which share another one's storage, or are inputs themselves."""
        calls = []
        for storage, buffer in self._copies:
            nbytes = self._selection.storages[storage].nbytes
            if nbytes:
                source = self._storage_buffer(storage)
                calls.append(Call("copy", (source, buffer), (nbytes,), "output"))
        return calls

    def _operand(self, number: int, operand: int | Const | Temp | None) -> int:
        if operand is None:
            return -1
        if isinstance(operand, Temp):
            return self._temp_buffer[number]
        if isinstance(operand, Const):
            return self._constant(self._pack(operand))
        return self._storage_buffer(operand)

    def _storage_buffer(self, storage: int) -> int:
        if storage not in self._buffer_of:
            held = self._selection.storages[storage]
            self._buffer_of[storage] = self._outside(held)
        return self._buffer_of[storage]

    def _outside(self, held: Storage) -> int:
        if held.origin == "constant":
            value = held.value
            array = self._graph.constants[value]
            make = Const((value, "rows"), lambda: np.ascontiguousarray(array))
            return self._constant(self._pack(make))
        if held.origin == "input":
            return self._add(Buffer(Space.INPUT, held.nbytes, index=self._inputs[held.value]))
        return self._add(Buffer(Space.ARENA, 0))

    def _constant(self, array: np.ndarray) -> int:
        if id(array) not in self._constant_numbers:
            self.constants.append(array)
            buffer = Buffer(Space.CONSTANT, array.nbytes, index=len(self.constants) - 1)
            self._constant_numbers[id(array)] = self._add(buffer)
        return self._constant_numbers[id(array)]

    def _add(self, buffer: Buffer) -> int:
        self.buffers.append(buffer)
        return len(self.buffers) - 1


__all__ = [
    "CustomRegion",
    "FallbackRegion",
    "Kind",
    "NativeRegion",
    "PackConstant",
    "Program",
    "Region",
    "build_program",
    "split_regions",
]
