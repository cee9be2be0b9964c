"""What plans for many threads look like: python benchmarks/scaling.py. Nothing is timed.

For each model and number of threads: barriers (steps), how evenly the work is dealt, and the bytes
that go beyond L2. Writes docs/scaling.md. The balance is the work of all threads over the busiest
one's times their number, when every step's items are dealt in whole pieces; work counts multiply-adds,
nonzeros of sparse layers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import colonnade
import models
from colonnade.planner.build import NativeRegion
from colonnade.planner.plan import Call, ParallelFor, Seq, Statement, Stripe
from colonnade.planner.select import NodeRecord

OUT = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
THREADS = (1, 2, 4, 8, 16, 32, 64)
CASES = (("resnet50_s95", 1), ("resnet50_s95", 16), ("bert_base_s90", 1), ("bert_base_s90", 16))
NONZERO_COST = 1.5
SMALL_WORK = 1.0
"""Of a call without multiply-adds, so that it counts as a step."""


@dataclass(frozen=True)
class Row:
    """One plan."""

    model: str
    batch: int
    threads: int
    steps: int
    stripes: int
    balance: float
    arena_bytes: int
    saved_bytes: int
    """That stripes keep from going beyond L2."""


def main() -> None:
    """Plan everything and write the page."""
    rows = [_analyse(model, batch, threads) for model, batch in CASES for threads in THREADS]
    OUT.write_text(_page(rows))
    print(OUT.read_text())


def _analyse(name: str, batch: int, threads: int) -> Row:
    engine = colonnade.compile(str(models.build(name)), threads=threads, tune="off")
    shapes = {
        info.name: tuple(
            dim if isinstance(dim, int) else (batch if axis == 0 else 128)
            for axis, dim in enumerate(info.shape or ())
        )
        for info in engine.inputs
    }
    loaded = engine.prepare(shapes)
    records = {record.name: record for record in loaded.program.records}
    steps: list[Statement] = []
    items: list[int] = []
    for region, executor in zip(loaded.program.regions, loaded.executors, strict=True):
        assert isinstance(region, NativeRegion)
        steps += _leaves(region.plan.body)
        items += executor.step_items
    work = [sum(_work(call, records) for call in step.body) for step in steps]  # type: ignore[misc, arg-type]
    busiest = sum(w * -(-n // threads) / n for w, n in zip(work, items, strict=True) if n)
    return Row(
        name, batch, threads, len(steps), sum(isinstance(step, Stripe) for step in steps),
        sum(work) / threads / busiest, engine.explain(shapes).arena_bytes,
        sum(record.saved_bytes for record in loaded.program.stripes),
    )  # fmt: skip


def _leaves(statement: Statement) -> Iterator[ParallelFor | Stripe]:
    if isinstance(statement, Seq):
        for child in statement.body:
            yield from _leaves(child)
    else:
        yield statement


def _work(call: Call, records: dict[str, NodeRecord]) -> float:
    record = records.get(call.label)
    if record is None:
        return SMALL_WORK
    density = 1.0
    if call.kernel.startswith("sparse") and record.weights is not None:
        density = NONZERO_COST * (1 - record.weights.sparsity)
    return SMALL_WORK + record.flops * density


def _page(rows: list[Row]) -> str:
    lines = [
        "# Plans for many threads",
        "",
        "Written by `python benchmarks/scaling.py`; nothing here was timed. *Steps* end in a barrier,",
        "*balance* is the share of the threads' time that has work when items are dealt in whole pieces.",
        "",
        "| model | batch | threads | steps | of them stripes | balance | arena, MiB | saved by stripes, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.batch} | {row.threads} | {row.steps} | {row.stripes} "
        f"| {row.balance:.2f} | {row.arena_bytes / 2**20:.1f} | {row.saved_bytes / 2**20:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
