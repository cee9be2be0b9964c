"""quantize_recurrent: integers and scales of W and R, the state's metadata, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colonnade.ir import AttrValue, DType, Graph, Node, TensorType, verify_graph
from colonnade.ir.patch import apply_patch
from colonnade.passes.quantize_recurrent import UNIT, ByteScale, quantize_recurrent
from colonnade.passes.split_recurrent import GATES, STATE

STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5


def make_graph(op: str = "LSTM", directions: int = 2, zeros: float = 0.4) -> Graph:
    """A layer whose rows differ in size; one row of both directions is 0."""
    rng = np.random.default_rng(7)
    rows = GATES[op] * HIDDEN
    arrays = {}
    for name, depth in (("w", FEATURES), ("r", HIDDEN)):
        array = (
            rng.standard_normal((directions, rows, depth)) * np.geomspace(1e-3, 10, rows)[:, None]
        )
        array[rng.random(array.shape) < zeros] = 0
        array[:, 1] = 0
        arrays[name] = array.astype(np.float32)
    types = {"x": TensorType(DType.FLOAT32, (STEPS, BATCH, FEATURES))}
    types |= {name: TensorType(DType.FLOAT32, array.shape) for name, array in arrays.items()}
    types["y"] = TensorType(DType.FLOAT32, (STEPS, directions, BATCH, HIDDEN))
    attrs: dict[str, AttrValue] = {
        "hidden_size": HIDDEN, "direction": "bidirectional" if directions == 2 else "forward",
    }  # fmt: skip
    node = Node(op, ("x", "w", "r"), ("y",), attrs, "n", "", 22)
    return Graph("g", ("x",), ("y",), (node,), types, arrays, {"": 22})


def quantized(graph: Graph, x: ByteScale | None = None, *, per_row: bool = True) -> Graph:
    made = apply_patch(graph, quantize_recurrent(graph, graph.nodes[0], x, per_row=per_row))
    verify_graph(made)
    return made


def weights_of(graph: Graph, number: int) -> tuple[np.ndarray, np.ndarray, Node]:
    """Integers, scale and DequantizeLinear of W (1) or R (2)."""
    maker = graph.producer[graph.nodes[-1].inputs[number]]
    assert maker.op == "DequantizeLinear"
    return graph.constants[maker.inputs[0]], graph.constants[maker.inputs[1]], maker


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("op", GATES)
def test_a_scale_a_row(op: str, directions: int) -> None:
    graph = make_graph(op, directions)
    made = quantized(graph)
    for number, name in ((1, "w"), (2, "r")):
        integers, scale, maker = weights_of(made, number)
        array = graph.constants[name]
        assert (integers.dtype, integers.shape) == (np.int8, array.shape)
        assert (scale.dtype, scale.shape) == (np.float32, (array.shape[1],))
        assert maker.attrs == {"axis": 1}
        peaks = np.abs(array).max(axis=(0, 2))
        np.testing.assert_allclose(scale[peaks > 0], peaks[peaks > 0] / 127, rtol=1e-6)
        error = np.abs(integers * scale[:, None].astype(np.float64) - array)
        assert (error <= 0.5 * scale[:, None] * (1 + 1e-5)).all()
        assert (np.abs(integers.astype(int)).max(axis=(0, 2))[peaks > 0] == 127).all()


def test_one_scale_for_all() -> None:
    graph = make_graph()
    made = quantized(graph, per_row=False)
    for number, name in ((1, "w"), (2, "r")):
        integers, scale, maker = weights_of(made, number)
        assert scale.shape == ()
        assert maker.attrs == {}
        error = np.abs(integers * scale.astype(np.float64) - graph.constants[name])
        assert error.max() <= 0.5 * scale * (1 + 1e-5)


@pytest.mark.parametrize("per_row", [True, False])
def test_zeros_stay_zero(per_row: bool) -> None:
    graph = make_graph()
    made = quantized(graph, per_row=per_row)
    for number, name in ((1, "w"), (2, "r")):
        integers, scale, maker = weights_of(made, number)
        assert len(maker.inputs) == 2  # no zero point: it is 0
        zeros = graph.constants[name] == 0
        assert zeros.mean() > 0.3
        assert (integers[zeros] == 0).all()
        assert (scale > 0).all()


def test_tiny_rows_keep_a_scale_that_divides() -> None:
    graph = make_graph()
    tiny = {name: np.full_like(a, 1e-44) for name, a in graph.constants.items()}
    made = quantized(graph.with_changes(constants=tiny))
    integers, scale, _ = weights_of(made, 1)
    assert (scale >= np.finfo(np.float32).tiny).all()
    assert not integers.any()


def test_the_state_is_metadata() -> None:
    graph = make_graph()
    node = quantized(graph).nodes[-1]
    kind, scale, zero = str(node.attrs[STATE]).split()
    assert (kind, np.float32(scale), int(zero)) == ("uint8", np.float32(UNIT.scale), UNIT.zero)
    assert {name: a for name, a in node.attrs.items() if name != STATE} == graph.nodes[0].attrs
    assert (node.name, node.outputs) == ("n", ("y",))


def test_x_goes_through_its_borders() -> None:
    made = quantized(make_graph(), ByteScale(0.25, 7))
    back = made.producer[made.nodes[-1].inputs[0]]
    there = made.producer[back.inputs[0]]
    assert (there.op, there.inputs[0], back.op) == ("QuantizeLinear", "x", "DequantizeLinear")
    assert there.inputs[1:] == back.inputs[1:]
    scale, zero = (made.constants[value] for value in there.inputs[1:])
    assert (scale, zero, zero.dtype) == (0.25, 7, np.uint8)
    assert made.types[there.outputs[0]] == TensorType(DType.UINT8, (STEPS, BATCH, FEATURES))


def test_another_operator_is_refused() -> None:
    graph = make_graph()
    with pytest.raises(ValueError, match="is no LSTM, GRU or RNN"):
        quantize_recurrent(graph, replace(graph.nodes[0], op="Gemm"))
    with pytest.raises(ValueError, match="is no LSTM, GRU or RNN"):
        quantize_recurrent(graph, replace(graph.nodes[0], domain="other"))


@pytest.mark.parametrize("name", ["w", "r"])
def test_weights_that_are_given_are_refused(name: str) -> None:
    graph = make_graph()
    kept = {key: array for key, array in graph.constants.items() if key != name}
    given = graph.with_changes(constants=kept, inputs=("x", name))
    with pytest.raises(ValueError, match=f"weights '{name}' are no float32 constant"):
        quantize_recurrent(given, given.nodes[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    graph = make_graph()
    r = graph.constants["r"].copy()
    r[0, 0, 0] = bad
    changed = graph.with_changes(constants={**graph.constants, "r": r})
    with pytest.raises(ValueError, match="weights 'r' are empty or not finite"):
        quantize_recurrent(changed, changed.nodes[0])
