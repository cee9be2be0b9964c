"""Run passes over a graph: switch, repeat, timer, clean-up, verify, dump."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.errors import KnobError
from colonnade.ir import Graph, Patch, apply_patches, format_graph, is_static, verify_graph
from colonnade.passes.remove_dead_nodes import remove_dead_nodes

Pass = Callable[[Graph], Iterable[Patch]]
"""Finds edits in a graph. Its `__name__` is the name of its off switch."""

MAX_SWEEPS = 64
"""Sweeps of one pass; a pass that folds a chain pairwise needs log2 of the chain's length."""


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What one pass did."""

    name: str
    num_changes: int
    ms: float
    converged: bool = True
    """False when the pass still found patches after MAX_SWEEPS."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """What `explain` says of nodes, by their names."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """The graph after all passes, and a record for each pass that ran."""

    graph: Graph
    records: tuple[PassRecord, ...]


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    disabled: frozenset[str] = frozenset(),
    dump_dir: Path | None = None,
) -> PassReport:
    """Run the passes in order, each until it finds nothing more.

    `disabled` names passes to leave out. With `dump_dir`, the graph before the first pass and
    after each one is printed to `<number>_<pass>.txt` there. Raises KnobError for a name in
    `disabled` that no pass has.
    """
    _check_names(passes, disabled)
    _dump(graph, dump_dir, 0, "input")
    records: list[PassRecord] = []
    for number, one_pass in enumerate(passes, start=1):
        if one_pass.__name__ in disabled:
            continue
        graph, record = _run_pass(graph, one_pass)
        records.append(record)
        _dump(graph, dump_dir, number, record.name)
    return PassReport(graph, tuple(records))


def _check_names(passes: Sequence[Pass], disabled: frozenset[str]) -> None:
    known = [one_pass.__name__ for one_pass in passes]
    unknown = sorted(disabled.difference(known))
    if unknown:
        raise KnobError(
            f"unknown pass to disable: {', '.join(unknown)}; passes are {', '.join(sorted(known))}"
        )


def _run_pass(graph: Graph, one_pass: Pass) -> tuple[Graph, PassRecord]:
    start = time.perf_counter()
    num_changes = 0
    converged = False
    reasons: dict[str, str] = {}
    for _ in range(MAX_SWEEPS):
        graph, applied = apply_patches(graph, _plannable(graph, one_pass(graph), reasons))
        if not applied:
            converged = True
            break
        num_changes += applied
        graph = remove_dead_nodes(graph)
    if num_changes:
        verify_graph(graph)
    ms = (time.perf_counter() - start) * 1e3
    return graph, PassRecord(one_pass.__name__, num_changes, ms, converged, reasons)


def _plannable(graph: Graph, patches: Iterable[Patch], reasons: dict[str, str]) -> Iterator[Patch]:
    """Without those that fuse values of unknown shape: only ONNX nodes can run by fallback.

    Adds the patches' reasons: what one sweep cannot apply, another one will.
    """
    for patch in patches:
        types = {**graph.types, **patch.types}
        fused = [node for node in patch.add if node.domain == "colonnade"]
        values = {value for node in fused for value in (*node.inputs, *node.outputs) if value}
        if all(value in types and is_static(types[value].shape) for value in values):
            reasons.update(patch.reasons)
            yield patch


def _dump(graph: Graph, dump_dir: Path | None, number: int, name: str) -> None:
    if dump_dir is None:
        return
    dump_dir.mkdir(parents=True, exist_ok=True)
    (dump_dir / f"{number:02d}_{name}.txt").write_text(format_graph(graph))
