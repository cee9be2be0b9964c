"""search(): per-layer sparsity for a speed that was asked for, and the pruned model with it.

Costs of layers do not simply add up (a sparse layer leaves other data in the caches than a dense
one), so what was chosen is measured end to end, and the budget is corrected by the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.onnx.importer import import_model
from colonnade.pruning.prune import PrunedModel, prune
from colonnade.quantization.calibrate import Progress
from colonnade.search.allocate import allocate, cheapest
from colonnade.search.analyze import Analysis, Subject, analyze, list_samples
from colonnade.search.cost_table import CostTable
from colonnade.search.levels import with_zeros
from colonnade.search.timing import SECONDS, Turns, compile_on, time_in_turns

TOLERANCE = 0.1
"""Share by which the measured speed may miss the one that was asked for."""
CLOSE = 0.03
"""A choice this close needs no other round."""
ROUNDS = 5

Errors = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Target:
    """One of them: how many times as fast as dense, milliseconds, or the share of zeros."""

    speedup: float | None = None
    latency_ms: float | None = None
    sparsity: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.speedup, self.latency_ms, self.sparsity) if x is not None]
        if len(given) != 1:
            raise InputError("give one target: a speed-up, a latency or a sparsity")
        if self.speedup is not None and not 1.0 < self.speedup < math.inf:
            raise InputError(
                f"target speed-up {self.speedup:g}: expected more than 1 and finite, as 2.5"
            )
        if self.latency_ms is not None and not 0 < self.latency_ms < math.inf:
            raise InputError(
                f"target latency {self.latency_ms:g} ms: expected more than 0 and finite"
            )
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise InputError(f"target sparsity {self.sparsity:g}: expected a share, as 0.8")

    def speedup_of(self, dense_ms: float) -> float | None:
        """As a speed-up over the dense model. Raises InputError for a latency that it has."""
        if self.latency_ms is None:
            return self.speedup
        if self.latency_ms >= dense_ms:
            raise InputError(
                f"target latency {self.latency_ms:g} ms: the model already takes {dense_ms:.2f} ms"
            )
        return dense_ms / self.latency_ms


@dataclass(frozen=True)
class Round:
    """One choice and what it gave."""

    budget_ms: float
    predicted: float
    """Speed-up by the cost table."""
    measured: float
    sparsity: float
    """Of the layers together."""


@dataclass(frozen=True)
class Found:
    """What the search chose and measured."""

    pruned: PrunedModel
    shares: Mapping[str, float]
    asked: float | None
    """Speed-up; None where a sparsity was asked for."""
    measured: float
    dense_ms: float
    sparse_ms: float
    rounds: tuple[Round, ...]
    why: str
    """Why the target is missed; "" where it is met."""

    @property
    def is_met(self) -> bool:
        """Whether the measured speed is the one that was asked for, within TOLERANCE."""
        return not self.why

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "asked_speedup": self.asked,
            "measured_speedup": self.measured,
            "dense_ms": self.dense_ms,
            "sparse_ms": self.sparse_ms,
            "is_met": self.is_met,
            "why": self.why,
            "shares": dict(self.shares),
            "rounds": [asdict(one) for one in self.rounds],
        }


def search(
    subject: Subject,
    target: Target,
    analysis: Analysis | None = None,
    progress: Progress = lambda _, __: None,
) -> Found:
    """Choose, measure, correct, prune, and measure again. `analysis`: of the same subject, where
    there is one already. Raises InputError where there is nothing to prune, or `analysis` is of
    something else."""
    if analysis is not None:
        analysis.check(subject)
    known = analysis or analyze(subject, progress)
    table, errors = known.costs, known.errors
    if target.sparsity is not None:
        shares = _choose_by_weights(subject, table, errors, target.sparsity)
        return _finish(subject, shares, None, (), progress)
    asked = target.speedup_of(table.dense_ms)
    assert asked is not None
    rounds = list(_rounds(subject, table, errors, asked, progress))
    best = min(rounds, key=lambda one: abs(one[0].measured / asked - 1))
    return _finish(subject, best[1], asked, tuple(one for one, _ in rounds), progress)


def _rounds(
    subject: Subject, table: CostTable, errors: Errors, asked: float, progress: Progress
) -> Iterator[tuple[Round, dict[str, float]]]:
    """Choices, each with a budget corrected by what the one before it missed. One without any zeros
    is none: a first one raises InputError."""
    budget_ms, seen = table.dense_ms / asked - table.rest_ms, set()
    for number in range(ROUNDS):
        shares = choose(table, errors, budget_ms)
        if not any(shares.values()):
            if number == 0:
                raise InputError(_why_nothing(table, asked))
            return
        key = tuple(shares.values())
        if key in seen:
            return
        seen.add(key)
        progress("measuring a choice", number / ROUNDS)
        sparse = with_zeros(subject.graph, subject.layers, shares, subject.pattern)
        measured = measure_gain(subject, sparse).gain()
        cost_ms = sum(table.layers[n][table.levels.index(s)] for n, s in shares.items())
        predicted = table.dense_ms / (table.rest_ms + cost_ms)
        yield Round(budget_ms, predicted, measured, _share_of_zeros(subject, shares)), shares
        if abs(measured / asked - 1) < CLOSE:
            return
        budget_ms += table.dense_ms / asked - table.dense_ms / measured


def _why_nothing(table: CostTable, asked: float) -> str:
    if table.least_ms >= table.dense_ms:
        return f"no layer is faster with {table.pattern} zeros: no target can be met"
    return f"target speed-up {asked:g}: no layer needs zeros for it; ask for more"


def choose(table: CostTable, errors: Errors, budget_ms: float) -> dict[str, float]:
    """The level of each layer for a budget; the cheapest where the budget is below that."""
    names = list(table.layers)
    costs = [table.layers[name] for name in names]
    if budget_ms <= sum(min(row) for row in costs):
        levels = cheapest(costs)
    else:
        levels = allocate([errors[name] for name in names], costs, budget_ms)
    return {name: table.levels[level] for name, level in zip(names, levels, strict=True)}


def _choose_by_weights(
    subject: Subject, table: CostTable, errors: Errors, sparsity: float
) -> dict[str, float]:
    """As `choose`, where the cost of a layer is the weights that it keeps."""
    sizes = [layer.size for layer in subject.layers]
    costs = [[round(size * (1 - level)) for level in table.levels] for size in sizes]
    highest = max(table.levels)
    if sparsity > highest:
        raise InputError(f"target sparsity {sparsity:g}: this search goes up to {highest:g}")
    # Costs are whole weights, so at the highest level they may round to more than the budget.
    budget = max(sum(sizes) * (1 - sparsity), sum(min(row) for row in costs))
    levels = allocate([errors[name] for name in subject.names], costs, budget)
    return {n: table.levels[k] for n, k in zip(subject.names, levels, strict=True)}


def _finish(
    subject: Subject,
    shares: Mapping[str, float],
    asked: float | None,
    rounds: tuple[Round, ...],
    progress: Progress,
) -> Found:
    """Prune with repair, and measure what comes out."""
    wanted = {name: share for name, share in shares.items() if share > 0}
    made = prune(
        subject.path, list_samples(subject.source), shares=wanted, pattern=str(subject.pattern),
        method=subject.method, threads=subject.runtime.threads, progress=progress,
    )  # fmt: skip
    progress("measuring the result", None)
    turns = measure_gain(subject, import_model(made.proto), SECONDS * 2)
    why = _why_missed(subject, asked, turns.gain(), rounds)
    dense_ms, sparse_ms = turns.ms
    return Found(made, wanted, asked, turns.gain(), dense_ms, sparse_ms, rounds, why)


def measure_gain(subject: Subject, sparse: Graph, seconds: float = SECONDS) -> Turns:
    """The dense model and a sparse one in turns, end to end."""
    runtime = subject.runtime
    with compile_on(runtime, subject.graph) as left, compile_on(runtime, sparse) as right:
        return time_in_turns((left, right), subject.timed, seconds)


def _why_missed(
    subject: Subject, asked: float | None, measured: float, rounds: Sequence[Round]
) -> str:
    if asked is None or abs(measured / asked - 1) <= TOLERANCE:
        return ""
    fastest = max(one.measured for one in rounds)
    if fastest < asked * (1 - TOLERANCE):
        return (
            f"asked for {asked:.2f} times, at most {fastest:.2f} times was measured with layers at "
            "their cheapest: the rest of the model takes its time whatever is pruned"
        )
    return (
        f"asked for {asked:.2f} times, measured {measured:.2f} times; {len(rounds)} choices came "
        f"no closer: the machine is busy, or {subject.pattern} has too few levels"
    )


def _share_of_zeros(subject: Subject, shares: Mapping[str, float]) -> float:
    size = sum(layer.size for layer in subject.layers)
    return sum(layer.size * shares[layer.name] for layer in subject.layers) / size
