"""Regions, places in memory and outputs: what the planner makes of whole graphs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import colonnade
from colonnade import rewrite as rw
from colonnade.ir import DType, Graph, Node, TensorType
from colonnade.planner.build import (
    CustomRegion,
    FallbackRegion,
    Kind,
    NativeRegion,
    Region,
    split_regions,
)
from colonnade.planner.plan import Space
from tolerance import tolerance
from unit.engine.models import make_model, weights

FLOAT = TensorType(DType.FLOAT32, (2,))
LARGEST = 64
"""The largest number in the tests' answers."""


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, dict[int, Kind]]:
    values = ["x"]
    nodes = []
    for i in range(draw(st.integers(1, 14))):
        inputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
        nodes.append(Node("Op", tuple(inputs), (f"v{i}",), name=str(i)))
        values.append(f"v{i}")
    kinds = {id(node): draw(st.sampled_from(list(Kind))) for node in nodes}
    types = dict.fromkeys(values, FLOAT)
    return Graph("g", ("x",), (values[-1],), tuple(nodes), types, {}), kinds


@settings(deadline=None, max_examples=300)
@given(graphs())
def test_regions_run_in_order_and_take_all_they_can(case: tuple[Graph, dict[int, Kind]]) -> None:
    graph, kinds = case
    regions = split_regions(graph, kinds)
    order = [node for nodes, _ in regions for node in nodes]
    assert sorted(map(id, order)) == sorted(map(id, graph.nodes))
    place = {id(node): i for i, node in enumerate(order)}
    for node in order:
        makers = [graph.producer[v] for v in node.inputs if v in graph.producer]
        assert all(place[id(maker)] < place[id(node)] for maker in makers)
    for nodes, kind in regions:
        assert {kinds[id(node)] for node in nodes} == {kind}
        assert len(nodes) == 1 or kind is not Kind.CUSTOM
    for (_, kind), (_, next_kind) in pairwise(regions):
        assert kind is not next_kind or kind is Kind.CUSTOM
    for i, (_, kind) in enumerate(regions):
        late = {id(node) for nodes, _ in regions[i + 1 :] for node in nodes}
        for node in graph.nodes:
            makers = [graph.producer[v] for v in node.inputs if v in graph.producer]
            is_ready = id(node) in late and not any(id(maker) in late for maker in makers)
            assert kind is Kind.CUSTOM or not is_ready or kinds[id(node)] is not kind


def regions_of(text: str, **constants: np.ndarray) -> tuple[Region, ...]:
    model = make_model(text, **constants)
    op = rw.CustomOp("test", "Same", lambda types, _: types, lambda arrays, _: arrays)
    engine = colonnade.compile(model, threads=1, custom_ops=[op])
    shapes = {info.name: tuple(info.shape or ()) for info in engine.inputs}
    return engine.prepare(shapes).program.regions  # type: ignore[arg-type]  # static in these tests


def test_native_fallback_and_custom_alternate() -> None:
    regions = regions_of(
        "g (float[4,4] x) => (float[4,4] y) { a = Relu(x)  b = Neg(a)"
        'd = Einsum <equation = "ij->ji"> (b)  e = Einsum <equation = "ij->ji"> (d)'
        "f = Exp(x)  c = test.Same(e)  h = test.Same(f)  s = Add(c, h)  y = Tanh(s) }"
    )
    kinds = [type(region) for region in regions]
    assert kinds == [NativeRegion, FallbackRegion, CustomRegion, CustomRegion, NativeRegion]
    fallback = regions[1]
    assert isinstance(fallback, FallbackRegion)
    assert [node.op for node in fallback.nodes] == ["Einsum", "Einsum"]
    assert (len(fallback.inputs), len(fallback.outputs)) == (1, 1)


CASES: dict[str, tuple[str, Mapping[str, np.ndarray]]] = {
    "an input is an output": ("y = Identity(x)", {}),
    "an input is two outputs": ("y = Identity(x)  z = Identity(x)", {}),
    "a constant is an output": ("y = Relu(x)  z = Identity(w)", {"w": weights(3)}),
    "two outputs share bytes": ("r = Relu(x)  y = Identity(r)  z = Flatten(r)", {}),
    "a moved input is an output": ("y = Flatten(x)  z = Relu(x)", {}),
    "an output is read later": ("y = Softmax(x)  z = Softmax(y)", {}),
    "a value is read after its reader": ("a = Softmax(x)  b = Tanh(a)  c = Softmax(b)"
                                         "y = Add(a, c)  z = Sub(b, c)", {}),
    "an alias is read later": ("a = Softmax(x)  f = Flatten(a)  t = Neg(f)  s = Softmax(t)"
                               "y = Add(s, f)  z = Exp(a)", {}),
    "a value twice": ("a = Softmax(x)  y = Mul(a, a)  b = Transpose(a)  z = MatMul(a, b)", {}),
    "columns and rows": ("m = MatMul(x, w)  a = Relu(m)  y = Softmax <axis = 0> (a)"
                         "z = Transpose(a)", {"w": weights(24, 20)}),
    "no nodes left": ("y = Identity(w)  z = Identity(w)", {"w": weights(3)}),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("rows", [1, 18, 70])
def test_places_do_not_disturb_each_other(
    nodes: str, constants: Mapping[str, np.ndarray], rows: int
) -> None:
    outputs = [name for name in "yz" if f"{name} = " in nodes]
    declared = ", ".join(f"float {name}" for name in outputs)
    model = make_model(f"g (float[{rows},24] x) => ({declared}) {{ {nodes} }}", **constants)
    x = np.random.default_rng(3).standard_normal((rows, 24)).astype(np.float32)
    before = x.copy()
    expected = colonnade.compile(model, runtime="reference").run([x])
    engine = colonnade.compile(model, threads=2, fallback="forbid")
    bound = tolerance(LARGEST, LARGEST, 1.0)
    for _ in range(2):
        made = engine.run([x])
        assert list(made) == outputs
        for name, array in made.items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=bound)
            array[...] = np.nan
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu(x)",
        "y = Concat <axis = 0> (x, w)",
        "y = Transpose(x)",
        "y = ReduceSum <keepdims = 1> (x, first)",
        "m = MatMul(x, v)  y = Add(m, b)",
        "t = Transpose(x)  y = MatMul(t, x)",
        "y = Softmax(x)",
        "y = LayerNormalization(x, b3)",
        "s = Sigmoid(x)  y = Mul(s, x)",
        "y = Flatten(x)",
    ],
)
def test_no_elements(nodes: str) -> None:
    model = make_model(
        f"g (float[0,3] x) => (float y) {{ {nodes} }}",
        w=weights(2, 3), v=weights(3, 5), b=weights(5), b3=weights(3),
        first=np.array([0], np.int64),
    )  # fmt: skip
    x = np.zeros((0, 3), np.float32)
    expected = colonnade.compile(model, runtime="reference").run([x])["y"]
    made = colonnade.compile(model, threads=1).run([x])["y"]
    assert made.shape == expected.shape
    np.testing.assert_array_equal(made, expected)


def _chain(count: int) -> tuple[str, int]:
    steps = [f"v{i + 1} = LayerNormalization(v{i}, scale)" for i in range(count)]
    text = f"g (float[64,32] v0) => (float[64,32] v{count}) {{ {' '.join(steps)} }}"
    return text, 64 * 32 * 4


@pytest.mark.parametrize("count", [2, 9])
def test_a_chain_works_in_place(count: int) -> None:
    text, nbytes = _chain(count)
    (region,) = regions_of(text, scale=weights(32))
    assert isinstance(region, NativeRegion)
    assert region.plan.arena_bytes == region.peak_bytes == nbytes


def test_a_value_that_is_read_again_is_kept() -> None:
    (region,) = regions_of(
        "g (float[64,32] x) => (float[64,32] y) { a = LayerNormalization(x, scale)"
        "b = LayerNormalization(a, scale)  c = LayerNormalization(b, scale)"
        "s = Softmax(c)  y = Add(a, s) }",
        scale=weights(32),
    )
    assert isinstance(region, NativeRegion)
    assert region.plan.arena_bytes >= 2 * 64 * 32 * 4


def test_buffers_of_a_plan() -> None:
    (region,) = regions_of(
        "g (float[70,24] x) => (float[70,20] y) { m = MatMul(x, w)  y = Relu(m) }",
        w=weights(24, 20),
    )
    assert isinstance(region, NativeRegion)
    plan = region.plan
    assert (plan.num_inputs, plan.num_outputs) == (1, 1)
    spaces = [buffer.space for buffer in plan.buffers]
    assert spaces.count(Space.INPUT) == spaces.count(Space.OUTPUT) == 1
    assert all(
        buffer.offset + buffer.nbytes <= plan.arena_bytes
        for buffer in plan.buffers
        if buffer.space is Space.ARENA
    )
