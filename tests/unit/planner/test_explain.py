"""explain(): every node with its kernel and reason, as text and as plain data."""

from __future__ import annotations

import json

import colonnade
from unit.engine.models import image_model, mixed_model
from unit.planner.forced_stripes import forced_stripes


def test_text() -> None:
    explanation = colonnade.compile(mixed_model(), threads=1).explain()
    text = str(explanation)
    first = text.splitlines()[0]
    assert first.startswith(f"model mixed: {explanation.num_native} native nodes, ")
    assert f"{explanation.num_fallback} in ONNX Runtime" in first
    assert "1 threads" in first
    for node in explanation.nodes:
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {node.name} ")]
        assert node.op in line
        assert node.kernel in line
        assert node.why in line


def test_plain_data() -> None:
    explanation = colonnade.compile(image_model(), threads=1).explain()
    data = json.loads(json.dumps(explanation.to_dict()))
    assert data["model"] == "image"
    assert data["shapes"] == {"x": [2, 3, 13, 11]}
    assert data["num_fallback"] == 0
    assert data["num_native"] == len(data["nodes"])
    assert data["constant_bytes"] > 0
    assert data["arena_bytes"] == explanation.arena_bytes > 0
    assert all(node["bytes"] >= 0 and node["kernel"] and node["why"] for node in data["nodes"])
    changes = {record["name"]: record["changes"] for record in data["passes"]}
    assert changes["fuse_epilogue"] == 2
    assert changes["fuse_attention"] == 0


def test_a_fused_residual_is_named() -> None:
    nodes = colonnade.compile(image_model(), threads=1).explain().nodes
    (conv,) = [node for node in nodes if "add(" in node.why]
    assert "relu" in conv.why
    assert conv.layout == "columns(axis 1)"
    assert conv.flops == 2 * 2 * 20 * 20 * 9 * 13 * 11


def test_stripes_are_listed() -> None:
    with forced_stripes(2, 2):
        explanation = colonnade.compile(image_model(), threads=1).explain()
    (stripe,) = explanation.stripes
    assert (stripe.stripe_panels, stripe.segments) == (2, 2)
    assert len(stripe.calls) == 3  # the layout conversion and both convolutions
    assert stripe.window_bytes > 0
    (line,) = [line for line in str(explanation).splitlines() if line.startswith("stripe 0: ")]
    assert f"3 calls, {stripe.calls[0]} to {stripe.calls[-1]}" in line
    (found,) = json.loads(json.dumps(explanation.to_dict()))["stripes"]
    assert found["calls"] == list(stripe.calls)
    assert set(found) == {
        "calls", "panels", "stripe_panels", "segments", "window_bytes", "saved_bytes", "recomputed",
    }  # fmt: skip
