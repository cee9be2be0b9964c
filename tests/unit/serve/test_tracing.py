"""Spans of requests, kept in memory by OpenTelemetry's own exporter."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.tracing import Tracing
from running_server import running
from tiny_model import write_tiny_model

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider, time.monotonic)


def spans(exporter: InMemorySpanExporter) -> dict[str, Any]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_the_parts_are_children_and_the_caller_is_the_parent(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    trace = tracing.start("infer", "minilm", PARENT)
    now = time.monotonic()
    trace.add("queue", now, now + 0.25)
    trace.add("compute", now + 0.25, now + 1.0, {"colonnade.batch_rows": 8})
    trace.end(200)
    found = spans(exporter)
    infer, queue, compute = found["infer"], found["queue"], found["compute"]
    assert f"{infer.parent.trace_id:032x}-{infer.parent.span_id:016x}" == PARENT[3:-3]
    assert queue.parent.span_id == compute.parent.span_id == infer.context.span_id
    assert infer.attributes["colonnade.model"] == "minilm"
    assert compute.attributes["colonnade.batch_rows"] == 8
    assert queue.end_time - queue.start_time == pytest.approx(0.25e9, abs=1000)
    assert abs(queue.start_time - infer.start_time) < 60e9  # both since the epoch


def test_the_answer_names_our_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    trace = tracing.start("infer", "minilm", PARENT)
    header = trace.traceparent
    trace.end(200)
    context = spans(exporter)["infer"].context
    assert header == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    assert header.split("-")[1] == PARENT.split("-")[1]


@pytest.mark.parametrize(
    "header", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_without_a_valid_parent_a_trace_begins(
    tracing: Tracing, exporter: InMemorySpanExporter, header: str | None
) -> None:
    tracing.start("infer", "minilm", header).end(200)
    assert spans(exporter)["infer"].parent is None


@pytest.mark.parametrize(("status", "code"), [(429, StatusCode.UNSET), (503, StatusCode.ERROR)])
def test_only_faults_of_the_server_are_errors(
    tracing: Tracing, exporter: InMemorySpanExporter, status: int, code: StatusCode
) -> None:
    tracing.start("infer", "minilm", None).end(status)
    found = spans(exporter)["infer"]
    assert found.status.status_code is code
    assert found.attributes["http.response.status_code"] == status


def post(url: str, values: list[float]) -> Any:
    """The headers of an answer to a caller with a trace of its own."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 12], "data": values}
    body = json.dumps({"inputs": [tensor]}).encode()
    request = urllib.request.Request(url, body, {"traceparent": PARENT})
    with urllib.request.urlopen(request) as answer:
        return answer.headers


def test_a_server_traces_queue_batch_and_compute(
    tracing: Tracing, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    config = ServerConfig(models=[ModelConfig(name="tiny", path=path, save_plan=False)])
    with running(config) as found:
        tracing = Tracing(tracing._provider, found.loop.time)
        found.server.repository.tracing = tracing
        url = f"http://{found.http}/v2/models/tiny/infer"
        headers = post(url, [0.5] * 12)
        made = spans(exporter)
        exporter.clear()
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, [0.5] * 11)
        refused.value.close()
    infer = made["infer"]
    assert f"{infer.parent.span_id:016x}" == PARENT.split("-")[2]
    assert headers["traceparent"].split("-")[2] == f"{infer.context.span_id:016x}"
    for name in ("queue", "batch", "compute"):
        assert made[name].parent.span_id == infer.context.span_id
    assert made["queue"].end_time == made["batch"].start_time
    assert made["batch"].start_time <= made["compute"].start_time
    assert made["compute"].end_time <= made["batch"].end_time
    assert made["compute"].attributes["colonnade.batch_rows"] == 1
