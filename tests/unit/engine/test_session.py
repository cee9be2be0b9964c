"""Sessions: states go from call to call, with the bits of states passed by hand."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.errors import InputError, RunError

FEATURES, HIDDEN, STEPS = 5, 6, 3
STATES = {"h0": "h1", "c0": "c1"}


def _info(
    name: str, shape: tuple[int | str, ...], dtype: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    arrays = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "states", inputs, outputs, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _lstm(**attrs: object) -> onnx.ModelProto:
    batch = "batch"
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1, 4 * HIDDEN, FEATURES)).astype(np.float32)
    r = rng.standard_normal((1, 4 * HIDDEN, HIDDEN)).astype(np.float32)
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "", "", "h0", "c0"], ["y", "h1", "c1"], hidden_size=HIDDEN, **attrs
    )
    state = (1, batch, HIDDEN)
    return _model(
        [node],
        [_info("x", ("steps", batch, FEATURES)), _info("h0", state), _info("c0", state)],
        [_info("y", ("steps", 1, batch, HIDDEN)), _info("h1", state), _info("c1", state)],
        {"w": w, "r": r},
    )


def _compile(model: onnx.ModelProto, **options: object) -> colonnade.Engine:
    return colonnade.compile(model, threads=2, tune="off", **options)


def _inputs(count: int, batch: int = 2, steps: int = STEPS) -> list[np.ndarray]:
    rng = np.random.default_rng(batch)
    return [rng.standard_normal((steps, batch, FEATURES)).astype(np.float32) for _ in range(count)]


def _by_hand(
    engine: colonnade.Engine, xs: list[np.ndarray], first: Mapping[str, np.ndarray] | None = None
) -> list[bytes]:
    """y of each call, states passed by the caller."""
    zeros = np.zeros((1, xs[0].shape[1], HIDDEN), np.float32)
    states = dict(first) if first else {"h0": zeros, "c0": zeros}
    made = []
    for x in xs:
        out = engine.run({"x": x, **states})
        states = {"h0": out["h1"], "c0": out["c1"]}
        made.append(out["y"].tobytes())
    return made


def test_same_bits_as_by_hand() -> None:
    engine, xs = _compile(_lstm()), _inputs(5)
    session = engine.session(STATES)
    assert session.inputs == ("x",)
    outputs = [session.run({"x": x}) for x in xs]
    assert all(list(out) == ["y"] for out in outputs)
    assert [out["y"].tobytes() for out in outputs] == _by_hand(engine, xs)


def test_by_fallback() -> None:
    """Another runtime makes the states; they are handed on all the same."""
    engine, xs = _compile(_lstm(activations=["Sigmoid", "Tanh", "Relu"])), _inputs(4)
    session = engine.session(STATES)
    assert [session.run([x])["y"].tobytes() for x in xs] == _by_hand(engine, xs)
    assert engine.explain().nodes[0].runtime != "native"


def test_initial_states_and_reset() -> None:
    engine, xs = _compile(_lstm()), _inputs(3)
    rng = np.random.default_rng(9)
    first = {name: rng.standard_normal((1, 2, HIDDEN)).astype(np.float32) for name in STATES}
    kept = {name: array.copy() for name, array in first.items()}
    session = engine.session(STATES, first)
    want = _by_hand(engine, xs, first)
    assert [session.run([x])["y"].tobytes() for x in xs] == want
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)
    session.reset()
    assert [session.run([x])["y"].tobytes() for x in xs] == _by_hand(engine, xs)
    session.reset(first)
    assert [session.run([x])["y"].tobytes() for x in xs] == want


def test_states_change_places_and_are_not_copied() -> None:
    engine = _compile(_lstm())
    session = engine.session(STATES)
    seen = []
    for x in _inputs(8):
        session.run([x])
        seen.append(session._now["h0"].ctypes.data)
    assert len(set(seen)) == 2
    assert seen[::2] == seen[:1] * 4 and seen[1::2] == seen[1:2] * 4


def test_nothing_more_is_allocated() -> None:
    engine, xs = _compile(_lstm()), _inputs(6)
    session = engine.session(STATES)
    session.run([xs[0]])
    before = engine.explain().num_allocations
    for x in xs[1:]:
        session.run([x])
    assert engine.explain().num_allocations == before


def test_sessions_are_apart() -> None:
    engine, xs, others = _compile(_lstm()), _inputs(4), _inputs(4, batch=3)
    first, second = engine.session(STATES), engine.session(STATES)
    made = [
        (first.run([x])["y"].tobytes(), second.run([other])["y"].tobytes())
        for x, other in zip(xs, others, strict=True)
    ]
    assert [a for a, _ in made] == _by_hand(engine, xs)
    assert [b for _, b in made] == _by_hand(engine, others)


def test_sessions_in_threads() -> None:
    engine, xs = _compile(_lstm(), scheduler="multi_stream"), _inputs(20)
    want = _by_hand(engine, xs)
    made: dict[int, list[bytes]] = {}

    def talk(number: int) -> None:
        session = engine.session(STATES)
        made[number] = [session.run([x])["y"].tobytes() for x in xs]

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(made.values()) == [want] * 4


def test_other_lengths_keep_the_states() -> None:
    engine = _compile(_lstm())
    xs = [*_inputs(2), *_inputs(1, steps=1), *_inputs(2)]
    session = engine.session(STATES)
    assert [session.run([x])["y"].tobytes() for x in xs] == _by_hand(engine, xs)


def test_another_batch_needs_a_reset() -> None:
    session = _compile(_lstm()).session(STATES)
    session.run(_inputs(1))
    with pytest.raises(InputError, match=r"axis 1 \(batch\) has size 2, but 3"):
        session.run(_inputs(1, batch=3))
    session.reset()
    assert session.run(_inputs(1, batch=3))["y"].shape == (STEPS, 1, 3, HIDDEN)


def test_states_can_be_read() -> None:
    engine, xs = _compile(_lstm()), _inputs(3)
    session = engine.session(STATES)
    assert session.states == {}
    out = session.run([xs[0]], outputs=["y", "h1"])
    kept = out["h1"].tobytes()
    read = session.states["h0"]
    assert read.tobytes() == kept
    read[:] = 7
    for x in xs[1:]:
        session.run([x])
    assert out["h1"].tobytes() == kept
    with pytest.raises(RunError, match="no output named 'z'"):
        session.run([xs[0]], outputs=["z"])


def test_a_failed_call_leaves_the_states() -> None:
    """state1 = state + table[index]"""
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["row"]),
        helper.make_node("Add", ["state", "row"], ["state1"]),
        helper.make_node("Relu", ["state1"], ["y"]),
    ]
    model = _model(
        nodes,
        [_info("index", (1,), TensorProto.INT64), _info("state", (1, 2))],
        [_info("y", (1, 2)), _info("state1", (1, 2))],
        {"table": np.arange(6, dtype=np.float32).reshape(3, 2)},
    )
    session = _compile(model).session({"state": "state1"})
    session.run([np.array([1])])
    with pytest.raises(RunError):
        session.run([np.array([9])])
    np.testing.assert_array_equal(session.run([np.array([2])])["y"], [[2 + 4, 3 + 5]])


def test_an_input_may_be_its_own_next_state() -> None:
    nodes = [
        helper.make_node("Identity", ["state"], ["state1"]),
        helper.make_node("Add", ["x", "state"], ["y"]),
    ]
    model = _model(
        nodes, [_info("x", (2,)), _info("state", (2,))], [_info("y", (2,)), _info("state1", (2,))]
    )
    first = np.array([1, 2], np.float32)
    session = _compile(model).session({"state": "state1"}, {"state": first})
    for _ in range(3):
        np.testing.assert_array_equal(session.run([first])["y"], [2, 4])


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ({}, "a session needs states"),
        ({"h": "h1"}, r"no input named 'h'; there are \['x', 'h0', 'c0'\]"),
        ({"h0": "h"}, r"no output named 'h'; there are \['y', 'h1', 'c1'\]"),
        ({"h0": "h1", "c0": "h1"}, "an output feeds one input"),
    ],
)
def test_unknown_states(states: dict[str, str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        _compile(_lstm()).session(states)


def test_states_that_do_not_fit() -> None:
    nodes = [
        helper.make_node("Cast", ["a"], ["a1"], to=TensorProto.INT64),
        helper.make_node("Concat", ["b", "b"], ["b1"], axis=0),
        helper.make_node("Concat", ["s", "s"], ["s1"], axis=0),
    ]
    model = _model(
        nodes,
        [_info("a", (2,)), _info("b", (2,)), _info("s", ("n",))],
        [_info("a1", (2,), TensorProto.INT64), _info("b1", (4,)), _info("s1", ("m",))],
    )
    engine = _compile(model)
    with pytest.raises(InputError, match="element type float, but int64 comes back from 'a1'"):
        engine.session({"a": "a1"})
    with pytest.raises(InputError, match=r"shape \[2\], but \[4\] comes back from 'b1'"):
        engine.session({"b": "b1"})
    session = engine.session({"s": "s1"})
    x = np.zeros(2, np.float32)
    with pytest.raises(InputError, match=r"state 's': its shape .* does not follow"):
        session.run([x, x])
    session.reset({"s": x})
    with pytest.raises(InputError, match=r"shape \[2\], but \[4\] comes back from 's1'"):
        session.run([x, x])
    with pytest.raises(InputError, match=r"unknown states \['t'\]; the states are \['s'\]"):
        session.reset({"t": x})
    with pytest.raises(InputError, match="element type float64, expected float32"):
        session.reset({"s": np.zeros(2)})


def test_wrong_inputs_are_named() -> None:
    session = _compile(_lstm()).session(STATES)
    with pytest.raises(InputError, match=r"unknown inputs \['h0'\], .* inputs are \['x'\]"):
        session.run({"x": _inputs(1)[0], "h0": np.zeros((1, 2, HIDDEN), np.float32)})


def test_a_closed_engine_runs_no_session() -> None:
    engine = _compile(_lstm())
    session = engine.session(STATES)
    engine.close()
    with pytest.raises(RunError, match="closed"):
        session.run(_inputs(1))


def test_engine_and_session_go_away() -> None:
    engine = _compile(_lstm())
    session = engine.session(STATES)
    session.run(_inputs(1))
    gone = weakref.ref(engine)
    del engine, session
    gc.collect()
    assert gone() is None
