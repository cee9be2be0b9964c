"""The table of nodes: units summed over threads, medians over traces."""

from __future__ import annotations

from typing import Any

import pytest

from colonnade.bench.layers import layer_rows, tabulate_layers


def event(name: str, thread: int, start_us: float, dur_us: float) -> dict[str, Any]:
    kernel = "matmul_columns" if name == "fc" else "copy"
    return {
        "name": name,
        "kernel": kernel,
        "thread": thread,
        "start_us": start_us,
        "dur_us": dur_us,
    }


def trace(fc_us: float) -> list[dict[str, Any]]:
    return [event("fc", 1, 5.0, fc_us), event("in", 0, 0.0, 1000.0), event("fc", 0, 4.0, 1000.0)]


def test_units_are_summed_over_threads_and_traces_give_a_median() -> None:
    copy, fc = tabulate_layers([trace(1000.0), trace(9000.0), trace(2000.0)], {"fc": 0.9}, 2)
    assert (copy.name, copy.kernel, copy.sparsity, copy.ms) == ("in", "copy", None, 0.5)
    assert (fc.name, fc.kernel, fc.sparsity, fc.ms) == ("fc", "matmul_columns", 0.9, 1.5)
    assert (copy.share, fc.share) == (0.25, 0.75)
    assert layer_rows([copy, fc]) == [
        ("in", "copy", "", "0.5000", "25.0%"),
        ("fc", "matmul_columns", "90.0%", "1.5000", "75.0%"),
    ]


def test_a_node_of_several_calls_is_one_row() -> None:
    events = [{**event("fc", 0, 2.0, 500.0), "kernel": "elementwise"}, event("fc", 0, 1.0, 500.0)]
    (found,) = tabulate_layers([events], {"fc": 0.5}, 1)
    assert (found.kernel, found.ms, found.share) == ("matmul_columns + elementwise", 1.0, 1.0)


def test_a_node_that_one_trace_lacks_counts_as_no_time() -> None:
    found = tabulate_layers([trace(1.0), [], []], {}, 1)
    assert [layer.ms for layer in found] == [0.0, 0.0]
    assert sum(layer.share for layer in found) == pytest.approx(0.0)


def test_no_traces() -> None:
    assert tabulate_layers([], {}, 1) == ()
