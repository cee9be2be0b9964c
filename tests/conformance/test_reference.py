"""The numpy reference against every node case of the ONNX backend test suite.

`reference_gaps.txt` lists the cases that it does not pass, under the reason why. A listed case
that passes fails the test: the list only gets shorter.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, numpy_helper

from colonnade.errors import RunError
from colonnade.ir import AttrValue, Graph, Node, Subgraph
from colonnade.reference import run_graph
from tolerance import tolerance

GAPS_FILE = Path(__file__).with_name("reference_gaps.txt")


def load_cases() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


def load_gaps() -> dict[str, str]:
    """Reason by case name; a reason is a comment line above its cases."""
    gaps: dict[str, str] = {}
    reason = ""
    for line in GAPS_FILE.read_text().splitlines():
        if line.startswith("#"):
            reason = line.removeprefix("#").strip()
        elif line.strip():
            gaps[line.strip()] = reason
    return gaps


CASES = load_cases()
GAPS = load_gaps()


def to_graph(model: onnx.ModelProto) -> Graph:
    """The model's graph as it stands, without shape inference."""
    proto = model.graph
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    nodes = tuple(
        Node(
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {attr.name: to_attr(attr) for attr in node.attribute},
            node.name or f"{node.op_type}_{i}",
            node.domain,
            opsets.get(node.domain, 1),
        )
        for i, node in enumerate(proto.node)
    )
    constants = {init.name: numpy_helper.to_array(init) for init in proto.initializer}
    inputs = tuple(value.name for value in proto.input if value.name not in constants)
    outputs = tuple(value.name for value in proto.output)
    return Graph(proto.name, inputs, outputs, nodes, {}, constants, opsets)


def to_attr(attr: AttributeProto) -> AttrValue:
    if attr.type == AttributeProto.GRAPH:
        return Subgraph(attr.g.SerializeToString(), ())
    if attr.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(attr.t)
    value = onnx.helper.get_attribute_value(attr)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return tuple(item.decode() if isinstance(item, bytes) else item for item in value)
    assert isinstance(value, int | float), f"attribute {attr.name} of type {attr.type}"
    return value


def run_case(case: Any) -> None:
    graph = to_graph(case.model)
    for inputs, outputs in case.data_sets:
        arrays = {name: to_array(x) for name, x in zip(graph.inputs, inputs, strict=True)}
        results = run_graph(graph, arrays)
        for name, expected in zip(graph.outputs, outputs, strict=True):
            check_equal(results[name], to_array(expected), case.rtol, case.atol)


def to_array(value: Any) -> np.ndarray:
    is_proto = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if is_proto else np.asarray(value)


def check_equal(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    assert actual.shape == expected.shape
    if expected.dtype.kind in "OUS":
        assert actual.tolist() == expected.tolist()
        return
    assert actual.dtype == expected.dtype
    if expected.dtype.kind == "f" and expected.size:
        # Both sides are rounded; sums that cancel keep the rounding of their largest terms.
        largest = np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0)
        atol = max(atol, tolerance(3, float(largest), 1.0, expected.dtype))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", [name for name in CASES if name not in GAPS])
def test_node_case(name: str) -> None:
    run_case(CASES[name])


@pytest.mark.parametrize("name", GAPS)
def test_gap_is_still_one(name: str) -> None:
    assert GAPS[name], "a gap needs a reason"
    try:
        run_case(CASES[name])
    except (RunError, AssertionError, ValueError):
        return
    pytest.fail(f"{name} passes now: remove it from {GAPS_FILE.name}")
