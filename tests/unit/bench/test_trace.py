"""The trace file's format."""

from __future__ import annotations

import json

from colonnade.bench.trace import to_trace_events

EVENTS = [
    {"name": "conv_1", "kernel": "conv", "thread": 0, "start_us": 0.0, "dur_us": 12.5},
    {"name": "conv_1", "kernel": "conv", "thread": 1, "start_us": 0.5, "dur_us": 11.0},
    {"name": "", "kernel": "copy", "thread": 0, "start_us": 13.0, "dur_us": 1.0},
]


def test_complete_events_and_names() -> None:
    trace = json.loads(json.dumps(to_trace_events(EVENTS, "m.onnx")))
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(e["name"], e["tid"], e["ts"], e["dur"]) for e in complete] == [
        ("conv_1", 0, 0.0, 12.5),
        ("conv_1", 1, 0.5, 11.0),
        ("copy", 0, 13.0, 1.0),
    ]
    assert all({"pid", "tid", "name", "cat", "ts", "dur"} <= set(event) for event in complete)
    named = {
        event["tid"]: event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert named == {0: "thread 0", 1: "thread 1"}


def test_no_events() -> None:
    assert [e["ph"] for e in to_trace_events([], "m.onnx")["traceEvents"]] == ["M"]
