"""ONNX's own backend suite: node cases and shipped models, with and without fallback.

With fallback, everything that ONNX Runtime passes must pass. Without it a case may be refused, but
what runs must be right, and most cases on plain element types must run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

WORKER = Path(__file__).with_name("onnx_cases.py")
PROCESSES = 2
CHUNK_TIMEOUT_S = 200
MODEL_KINDS = ("simple", "pytorch-converted", "pytorch-operator", "real")
NATIVE_SHARE_MIN = 0.60

Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def node_outcomes() -> list[Outcome]:
    return run_kind("node")


@pytest.fixture(scope="module")
def model_outcomes() -> list[Outcome]:
    return [outcome for kind in MODEL_KINDS for outcome in run_kind(kind)]


def run_kind(kind: str) -> list[Outcome]:
    """Outcomes of every case, from several processes; a crash is the outcome of its case only."""
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(lambda first: list(_run_chunk(kind, first)), range(PROCESSES))
        return [outcome for part in parts for outcome in part]


def _run_chunk(kind: str, first: int) -> Iterator[Outcome]:
    while True:
        started = None
        command = [sys.executable, "-W", "ignore", str(WORKER), kind, str(first), str(PROCESSES)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHUNK_TIMEOUT_S)
        for line in done.stdout.splitlines():
            record = json.loads(line)
            if "starts" in record:
                started = record
            else:
                started = None
                yield record
        if done.returncode == 0:
            return
        assert started is not None, f"the worker failed between cases: {done.stderr[-2000:]}"
        crash = f"failed: exit status {done.returncode}"
        yield {"name": started["name"], "plain": True, "native": crash, "allowed": crash}
        first = started["starts"] + PROCESSES


def print_table(outcomes: list[Outcome], title: str) -> None:
    """Counts of each verdict without and with fallback."""
    print(f"\n{title}: {len(outcomes)} cases")
    for column in ("native", "allowed"):
        counts = Counter(outcome[column].split(":")[0] for outcome in outcomes)
        print(f"  {column:8}", ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common()))


def describe(outcomes: list[Outcome], column: str) -> str:
    return "\n".join(f"{outcome['name']}: {outcome[column]}" for outcome in outcomes)


def is_bad(verdict: str) -> bool:
    """True for a wrong answer or an error other than a refusal."""
    return verdict.startswith(("wrong", "failed"))


def must_pass(outcome: Outcome) -> bool:
    """True when ONNX Runtime passes; it is asked only where the engine does not."""
    return bool(outcome.get("onnxruntime", "passed") == "passed")


@pytest.mark.timeout(400)
def test_nodes_that_onnxruntime_passes_pass_with_fallback(node_outcomes: list[Outcome]) -> None:
    print_table(node_outcomes, "node")
    bad = [o for o in node_outcomes if o["allowed"] != "passed" and must_pass(o)]
    assert not bad, describe(bad, "allowed")


@pytest.mark.timeout(400)
def test_native_nodes_are_right(node_outcomes: list[Outcome]) -> None:
    bad = [o for o in node_outcomes if is_bad(o["native"]) and must_pass(o)]
    assert not bad, describe(bad, "native")


@pytest.mark.timeout(400)
def test_most_nodes_on_plain_types_are_native(node_outcomes: list[Outcome]) -> None:
    plain = [o for o in node_outcomes if o["plain"]]
    print_table(plain, "node cases on float32, int32, int64 and bool")
    passed = sum(o["native"] == "passed" for o in plain)
    print(f"  native share {passed / len(plain):.3f}")
    assert len(plain) > 1000
    assert passed / len(plain) >= NATIVE_SHARE_MIN


@pytest.mark.timeout(400)
def test_shipped_models(model_outcomes: list[Outcome]) -> None:
    print_table(model_outcomes, "models")
    bad = [o for o in model_outcomes if o["allowed"] != "passed" and must_pass(o)]
    bad += [o for o in model_outcomes if is_bad(o["native"]) and must_pass(o)]
    assert not bad, describe(bad, "allowed") + describe(bad, "native")
