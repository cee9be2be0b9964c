"""Every pass on a graph that it must change and on near misses that it must not.

`pytest tests/golden --update-golden` rewrites the stored texts; read the difference before you
commit it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colonnade.ir import Graph, format_graph, verify_graph
from colonnade.passes.pipeline import PASSES
from colonnade.passes.runner import run_passes
from colonnade.reference import run_graph
from golden import (
    activations,
    attention,
    contrib,
    decomposition,
    elementwise,
    norms,
    products,
    quantized_attention,
    quantized_bytes,
    quantized_moves,
    quantized_operators,
    quantized_products,
    quantized_recurrent,
    recurrent,
    widened,
)
from golden.builder import Case, build_graph, build_model, make_feeds
from tolerance import tolerance

ROOT = Path(__file__).parent
CASES: tuple[Case, ...] = (
    *activations.CASES,
    *attention.CASES,
    *contrib.CASES,
    *decomposition.CASES,
    *elementwise.CASES,
    *norms.CASES,
    *products.CASES,
    *quantized_attention.CASES,
    *quantized_bytes.CASES,
    *quantized_moves.CASES,
    *quantized_operators.CASES,
    *quantized_products.CASES,
    *quantized_recurrent.CASES,
    *recurrent.CASES,
    *widened.CASES,
)
ROUNDINGS = 64
"""The longest sum of the cases; a fused form rounds it in another order."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_pass_makes_the_stored_graph(case: Case, request: pytest.FixtureRequest) -> None:
    before = _prepared(case)
    report = run_passes(before, [case.one_pass])
    changes = report.records[0].num_changes
    assert (changes > 0) is case.fuses, format_graph(report.graph)
    assert report.records[0].converged
    path = ROOT / f"{case.key}.txt"
    text = format_graph(report.graph)
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if case.fuses], ids=lambda case: case.key)
def test_pass_keeps_the_answers(case: Case) -> None:
    before = _prepared(case)
    after = run_passes(before, [case.one_pass]).graph
    verify_graph(after)
    feeds = make_feeds(case, before)
    expected = _answers(case, before, feeds)
    for name, actual in run_graph(after, feeds).items():
        scale = float(np.nanmax(np.abs(expected[name]), initial=1.0))
        bound = tolerance(ROUNDINGS, scale, 1.0)
        np.testing.assert_allclose(actual, expected[name], rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("one_pass", PASSES, ids=lambda p: p.__name__)
def test_every_pass_has_a_positive_and_a_negative_case(one_pass: object) -> None:
    assert {case.fuses for case in CASES if case.one_pass is one_pass} == {True, False}


def test_every_stored_text_belongs_to_a_case() -> None:
    stored = {str(p.relative_to(ROOT).with_suffix("")) for p in ROOT.glob("*/*.txt")}
    assert stored == {case.key for case in CASES}


def _prepared(case: Case) -> Graph:
    return run_passes(build_graph(case), case.after).graph


def _answers(case: Case, graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if case.has_reference:
        return run_graph(graph, feeds)
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(
        build_model(case).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True))
