"""The wire scanner against protobuf itself."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from onnx import helper as h

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.source import BytesSource
from colonnade.onnx.wire import TENSOR_FLOATS, TENSOR_RAW, fields, measure_nesting, split_model

LARGE = 5000
"""Elements of a float tensor that is left out of the structure."""


def make_model(num_small: int = 300) -> ModelProto:
    """Many small constants around three large ones: raw, typed, and in a Constant node."""
    generator = np.random.default_rng(5)
    large = generator.standard_normal(LARGE).astype(np.float32)
    tensors = [numpy_helper.from_array(np.arange(i % 9), f"s{i}") for i in range(num_small)]
    tensors.insert(7, numpy_helper.from_array(large, "raw"))
    tensors.append(h.make_tensor("typed", 1, [LARGE], large))
    nodes = [
        h.make_node("Relu", ["x"], ["a"], doc_string="d" * 30_000),
        h.make_node("Constant", [], ["c"], value=numpy_helper.from_array(large)),
    ]
    graph = h.make_graph(nodes, "g", [], [], tensors)
    model = h.make_model(graph, ir_version=9, opset_imports=[h.make_opsetid("", 17)])
    model.metadata_props.add(key="k", value="v" * 300)
    return model


def without_payloads(model: ModelProto) -> ModelProto:
    stripped = ModelProto()
    stripped.CopyFrom(model)
    for tensor in (*stripped.graph.initializer, stripped.graph.node[1].attribute[0].t):
        if tensor.dims[:] == [LARGE]:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return stripped


def test_the_structure_is_the_model_without_its_large_tensors() -> None:
    model = make_model()
    content = model.SerializeToString()
    split = split_model(BytesSource(content), Budget())
    assert ModelProto.FromString(split.structure) == without_payloads(model)
    assert len(split.structure) < len(content) - 3 * 4 * LARGE
    assert sorted(split.initializers) == [7, 301]
    assert sorted(split.constants) == [1]
    want = numpy_helper.to_array(model.graph.initializer[7]).tobytes()
    (raw,), (typed,), (constant,) = *split.initializers.values(), *split.constants.values()
    assert [raw.number, typed.number, constant.number] == [TENSOR_RAW, TENSOR_FLOATS, TENSOR_RAW]
    for payload in (raw, typed, constant):
        assert content[payload.offset : payload.offset + payload.length] == want


@pytest.mark.parametrize("window_bytes", [1, 20, 21, 64, 1000])
def test_windows_do_not_change_what_is_read(window_bytes: int) -> None:
    content = make_model(40).SerializeToString()
    source = BytesSource(content)
    whole = list(fields(source, 0, len(content), len(content)))
    assert list(fields(source, 0, len(content), max(window_bytes, 20))) == whole
    graph = next(part for part in whole if part.number == 7)
    inner = list(fields(source, graph.content, graph.end, len(content)))
    assert list(fields(source, graph.content, graph.end, max(window_bytes, 20))) == inner
    assert inner[-1].end == graph.end


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a",  # no length
        b"\x0a\x05ab",  # shorter than it says
        b"\x0b",  # a group
        b"\x02\x00",  # field number 0
        b"\x08" + b"\xff" * 11,  # a varint without end
        b"\x09\x00",  # half a fixed64
    ],
)
def test_broken_fields(content: bytes) -> None:
    with pytest.raises(ModelError, match="byte 0"):
        list(fields(BytesSource(content), 0, len(content)))


def test_every_truncation_is_found() -> None:
    content = make_model(3).SerializeToString()
    last = max(part.start for part in fields(BytesSource(content), 0, len(content)))
    for size in (*range(1, last, 997), last - 1, last + 1, len(content) - 1):
        try:
            split = split_model(BytesSource(content[:size]), Budget())
        except ModelError:
            continue
        # Cut between two fields: what is left is a message of its own.
        ModelProto.FromString(split.structure)


def nested(depth: int) -> bytes:
    graph = h.make_graph([h.make_node("Relu", ["x"], ["y"])], "b", [], [])
    for _ in range(depth):
        graph = h.make_graph([h.make_node("If", ["c"], ["y"], then_branch=graph)], "b", [], [])
    return bytes(h.make_model(graph).SerializeToString())


def test_nesting_is_measured() -> None:
    flat = measure_nesting(nested(0), Budget())
    assert measure_nesting(nested(5), Budget()) == flat + 3 * 5
    assert measure_nesting(nested(5), Budget(max_nesting=5)) == flat + 3 * 5
    with pytest.raises(ModelError, match="nesting > 4"):
        measure_nesting(nested(5), Budget(max_nesting=4))
