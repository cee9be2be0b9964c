"""Which layers go back to float32 so that a target holds: the most sensitive ones first.

A layer's sensitivity is the error at the model's outputs when it alone is in 8 bits. With the
layers in that order, the least number that must go back for an accuracy, or the greatest that may
go back at a speed, is found by bisection.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.quantization.calibrate import Progress, compile_graph
from colonnade.quantization.data.source import Source
from colonnade.quantization.deviation import Deviation, compare_engines
from colonnade.quantization.draft import Draft
from colonnade.quantization.speed import measure_speed

SAMPLES_MAX = 8
"""Samples on which a choice of layers is judged."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
Metric = Callable[[Run], float]
"""Gets a function from input arrays to outputs; returns how good they are, more is better."""


@dataclass(frozen=True)
class Target:
    """What the quantized model must keep; None for what does not matter."""

    max_error: float | None = None
    """Largest absolute difference at any output."""
    min_sqnr_db: float | None = None
    """Signal to quantization noise ratio of every output."""
    metric: Metric | None = None
    max_drop: float = 0.0
    """By which the metric may be lower than in float32."""
    speedup: float | None = None
    """Times as fast as float32; layers go back to float32 only while it holds."""

    @property
    def limits_accuracy(self) -> bool:
        """True when something must be kept besides the speed."""
        return not (self.max_error is None and self.min_sqnr_db is None and self.metric is None)

    @property
    def is_empty(self) -> bool:
        """True when nothing is asked for."""
        return not self.limits_accuracy and self.speedup is None


@dataclass(frozen=True)
class Found:
    """Layers to leave in float32 and why, sensitivities, words on each target."""

    left_out: Mapping[str, str]
    sensitivity_db: Mapping[str, float]
    lines: tuple[str, ...]


class Search:
    """Judges choices of layers against a target."""

    def __init__(
        self,
        exact: Graph,
        draft: Draft,
        source: Source,
        target: Target,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self._exact = exact
        self._draft = draft
        self._samples = list(itertools.islice(source(), SAMPLES_MAX))
        self._target = target
        self._threads = threads
        self._progress = progress
        self._reference = compile_graph(exact, threads)
        self._baseline = self._measure_metric(exact)

    def run(self, left_out: Mapping[str, str], *, rank: bool) -> Found:
        """`left_out`: layers that stay float32 anyway; `rank`: sensitivities are wanted even if the
        target holds without them."""
        layers = tuple(self._draft.place(left_out).products)
        accurate = not self._target.limits_accuracy or self._is_accurate(left_out)
        for_speed = self._target.speedup is not None and not self._target.limits_accuracy
        search = not accurate or for_speed
        sensitivity = self._rank(layers, left_out) if rank or search else {}
        order = sorted(sensitivity, key=lambda layer: sensitivity[layer])
        count = self._choose_count(order, left_out, accurate=accurate) if search else 0
        chosen = {**left_out, **_reasons(order[:count], sensitivity)}
        return Found(chosen, sensitivity, tuple(self._describe(chosen)))

    def _choose_count(
        self, order: Sequence[str], left_out: Mapping[str, str], *, accurate: bool
    ) -> int:
        def without(count: int) -> dict[str, str]:
            self._progress(f"trying {count} of {len(order)} layers in float32", None)
            return {**left_out, **dict.fromkeys(order[:count], "search")}

        if not accurate:
            return _find_first(len(order), lambda count: self._is_accurate(without(count)))
        first_slow = _find_first(len(order) + 1, lambda count: not self._is_fast(without(count)))
        return max(first_slow - 1, 0)

    def _rank(self, layers: Sequence[str], left_out: Mapping[str, str]) -> dict[str, float]:
        """The worst output's ratio for each layer alone in 8 bits."""
        found = {}
        for number, layer in enumerate(layers):
            self._progress("sensitivity by layer", number / len(layers))
            others = {other: "search" for other in layers if other != layer}
            graph = self._draft.write(self._draft.place({**left_out, **others}))
            found[layer] = _worst_db(self._compare(graph))
        return found

    def _is_accurate(self, left_out: Mapping[str, str]) -> bool:
        graph = self._draft.write(self._draft.place(left_out))
        return all(holds for holds, _ in self._check_accuracy(graph))

    def _check_accuracy(self, graph: Graph) -> list[tuple[bool, str]]:
        """Whether each accuracy that was asked for holds, in words."""
        target, checks = self._target, []
        if target.max_error is not None or target.min_sqnr_db is not None:
            found = self._compare(graph)
            error = max((d.max_error for d in found.values()), default=0.0)
            if target.max_error is not None:
                text = f"largest error {error:.4g}, at most {target.max_error:.4g} wanted"
                checks.append((error <= target.max_error, text))
            if target.min_sqnr_db is not None:
                worst = _worst_db(found)
                text = f"SQNR {worst:.2f} dB, at least {target.min_sqnr_db:.2f} wanted"
                checks.append((worst >= target.min_sqnr_db, text))
        if self._baseline is not None:
            metric = self._measure_metric(graph) or 0.0
            text = (
                f"metric {metric:.6g}, {self._baseline:.6g} in float32, "
                f"a drop of at most {target.max_drop:.4g} wanted"
            )
            checks.append((self._baseline - metric <= target.max_drop, text))
        return checks

    def _compare(self, graph: Graph) -> dict[str, Deviation]:
        with compile_graph(graph, self._threads) as engine:
            return compare_engines(
                self._reference, engine, graph.outputs, lambda: iter(self._samples)
            )

    def _measure_metric(self, graph: Graph) -> float | None:
        if self._target.metric is None:
            return None
        with compile_graph(graph, self._threads) as engine:
            found = self._target.metric(engine.run)
        if not isinstance(found, int | float | np.number) or not np.isfinite(found):
            raise InputError(f"the metric returned {found!r}; expected a finite number")
        return float(found)

    def _is_fast(self, left_out: Mapping[str, str]) -> bool:
        wanted = self._target.speedup
        return wanted is None or self._speedup(left_out) >= wanted

    def _speedup(self, left_out: Mapping[str, str]) -> float:
        graph = self._draft.write(self._draft.place(left_out))
        arrays = self._samples[0].arrays
        return measure_speed(self._exact, graph, arrays, self._threads).ratio

    def _describe(self, left_out: Mapping[str, str]) -> list[str]:
        if self._target.is_empty:
            return []
        checks = self._check_accuracy(self._draft.write(self._draft.place(left_out)))
        if self._target.speedup is not None:
            ratio = self._speedup(left_out)
            text = f"{ratio:.2f} times as fast, {self._target.speedup:.2f} wanted"
            checks.append((ratio >= self._target.speedup, text))
        return [f"{text}: {'holds' if holds else 'DOES NOT HOLD'}" for holds, text in checks]


def _find_first(count: int, holds: Callable[[int], bool]) -> int:
    """The first number below `count` that holds, if all after it do; else `count`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _worst_db(found: Mapping[str, Deviation]) -> float:
    return min((deviation.sqnr_db for deviation in found.values()), default=np.inf)


def _reasons(layers: Sequence[str], sensitivity: Mapping[str, float]) -> dict[str, str]:
    return {
        layer: f"left out for the target: {sensitivity[layer]:.1f} dB when it alone is in 8 bits"
        for layer in layers
    }
