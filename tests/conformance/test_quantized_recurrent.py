"""8-bit recurrent layers: files of quantize_dynamic, and those of our own static form.

ONNX Runtime is compared on weights of seven bits (`reduce_range`): on a CPU without VNNI its product
of bytes saturates, which is no semantics of the file.

The bound: a state that lies within its rounding of a tie may become the next integer in one of two
engines. That moves every gate of the next step by |scale R|, for each unit that does so; the
functions are no steeper than 1 and h is in [-1, 1], so that the answers stay within one step of
the state's own 8 bits, 2 / 255, times the largest |R| and the number of units that did: here all
ties of a run together are allowed one unit a step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.ir.patch import apply_patch
from colonnade.onnx.exporter import export_model
from colonnade.onnx.importer import import_model
from colonnade.passes.quantize_recurrent import ByteScale, quantize_recurrent
from colonnade.passes.split_quantized_recurrent import STATE
from kernels.harness import AVAILABLE

ort = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")

STEPS, FEATURES = 6, 12
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
Feeds = dict[str, np.ndarray]


def float_model(
    op: str = "LSTM", hidden: int = 24, directions: int = 1, inputs: str = "Lhcp", **attrs: int
) -> onnx.ModelProto:
    """A layer with inputs X and, of `inputs`, lengths, both states, and peepholes."""
    rng = np.random.default_rng(hidden)
    rows = GATES[op] * hidden

    def draw(*shape: int) -> np.ndarray:
        return (rng.uniform(-1, 1, shape) * hidden**-0.5).astype(np.float32)

    arrays = {
        "W": draw(directions, rows, FEATURES), "R": draw(directions, rows, hidden),
        "B": draw(directions, 2 * rows), "P": draw(directions, 3 * hidden),
    }  # fmt: skip
    is_lstm = op == "LSTM"
    state = [directions, "batch", hidden]
    declared = [("X", TensorProto.FLOAT, ["steps", "batch", FEATURES])]
    declared += [("L", TensorProto.INT32, ["batch"])] if "L" in inputs else []
    declared += [(n, TensorProto.FLOAT, state) for n in ("h", "c") if n in inputs]
    names = ["X", "W", "R", "B", *(name if name in inputs else "" for name in "Lhc")]
    names = [*names, "P" if "p" in inputs else ""] if is_lstm else names[:6]
    outputs = ["Y", "Y_h", "Y_c"] if is_lstm else ["Y", "Y_h"]
    direction = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, names, outputs, hidden_size=hidden, direction=direction, **attrs)
    graph = helper.make_graph(
        [node], "layer", [helper.make_tensor_value_info(*value) for value in declared],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in arrays.items() if name in names],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def make_feeds(model: onnx.ModelProto, batch: int) -> Feeds:
    rng = np.random.default_rng(batch)
    attrs = {a.name: a for a in model.graph.node[-1].attribute}
    directions = 2 if attrs["direction"].s == b"bidirectional" else 1
    hidden = attrs["hidden_size"].i
    given = {
        "X": rng.standard_normal((STEPS, batch, FEATURES)).astype(np.float32),
        "L": np.maximum(rng.permutation(batch) % (STEPS + 1), 1).astype(np.int32),
        "h": rng.uniform(-1, 1, (directions, batch, hidden)).astype(np.float32),
        "c": rng.uniform(-1, 1, (directions, batch, hidden)).astype(np.float32),
    }
    given["L"][0] = STEPS  # ONNX Runtime leaves out the steps behind the longest sequence
    return {value.name: given[value.name] for value in model.graph.input}


def quantize_dynamic(model: onnx.ModelProto, folder: Path, *, per_channel: bool) -> onnx.ModelProto:
    onnx.save(model, folder / "float.onnx")
    quantization.quantize_dynamic(
        folder / "float.onnx", folder / "int8.onnx", per_channel=per_channel, reduce_range=True
    )
    return onnx.load(folder / "int8.onnx")


def run_ours(model: onnx.ModelProto, feeds: Feeds, threads: int = 2) -> list[np.ndarray]:
    engine = colonnade.compile(model, threads=threads, fallback="forbid")
    return list(engine.run(feeds).values())


def run_onnxruntime(model: onnx.ModelProto, feeds: Feeds) -> list[np.ndarray]:
    """In one thread: more of them measure the states of their own items."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def one_step(model: onnx.ModelProto, top: float = 1.0) -> float:
    """What a step of the state's 8 bits changes in a gate, once for each time step."""
    r = next(a for a in model.graph.initializer if a.name == "R")
    return STEPS * float(np.abs(numpy_helper.to_array(r)).max()) * 2 * top / 255


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("inputs", ["", "h", "hcp", "Lhcp"])
@pytest.mark.parametrize(("batch", "directions", "hidden"), [(1, 1, 24), (3, 2, 33), (9, 1, 64)])
def test_dynamic_agrees_with_onnxruntime(
    batch: int, directions: int, hidden: int, inputs: str, per_channel: bool, tmp_path: Path
) -> None:
    source = float_model(hidden=hidden, directions=directions, inputs=inputs)
    model = quantize_dynamic(source, tmp_path, per_channel=per_channel)
    assert model.graph.node[-1].op_type == "DynamicQuantizeLSTM"
    feeds = make_feeds(model, batch)
    bound = one_step(source)
    for ours, theirs in zip(run_ours(model, feeds), run_onnxruntime(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def quantize_static(model: onnx.ModelProto, x: ByteScale | None) -> onnx.ModelProto:
    graph = import_model(model)
    patch = quantize_recurrent(graph, graph.nodes[0], x)
    return onnx.load_model_from_string(export_model(apply_patch(graph, patch)))


FORMS = [
    ("LSTM", 1, {}), ("LSTM", 2, {}), ("LSTM", 1, {"input_forget": 1}), ("GRU", 1, {}),
    ("GRU", 2, {"linear_before_reset": 1}), ("RNN", 1, {}),
]  # fmt: skip


@pytest.mark.parametrize("x", [None, ByteScale(8 / 255, 128)], ids=["float", "uint8"])
@pytest.mark.parametrize(("op", "directions", "attrs"), FORMS, ids=str)
def test_static_is_near_the_layer_that_onnxruntime_runs(
    op: str, directions: int, attrs: dict[str, int], x: ByteScale | None
) -> None:
    """ONNX Runtime does not look at the metadata: its state is float32.

    Quantized, the state is off by half a step in every unit: sums of `hidden` independent errors
    grow with its root, and four of their standard deviations are allowed.
    """
    inputs = "Lhc" if op == "LSTM" else "Lh"
    source = float_model(op, hidden=32, directions=directions, inputs=inputs, **attrs)
    model = quantize_static(source, x)
    assert any(entry.key == STATE for entry in model.graph.node[-1].metadata_props)
    feeds = make_feeds(model, 5)
    bound = 4 * np.sqrt(32 / 12) * one_step(source)
    ours, theirs = run_ours(model, feeds), run_onnxruntime(model, feeds)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=bound)


def test_without_the_metadata_the_state_stays_float() -> None:
    source = float_model(inputs="")
    model = quantize_static(source, None)
    with_state = run_ours(model, make_feeds(model, 2))[0]
    del model.graph.node[-1].metadata_props[:]
    feeds = make_feeds(model, 2)
    ours, theirs = run_ours(model, feeds)[0], run_onnxruntime(model, feeds)[0]
    rounding = float(np.finfo(np.float32).eps) * 4 * STEPS * 24
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding)
    assert np.abs(with_state - ours).max() > rounding


@pytest.mark.parametrize("is_dynamic", [True, False])
def test_every_instruction_set_gives_the_same_bits(
    is_dynamic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = float_model(hidden=70, directions=2)
    model = (
        quantize_dynamic(source, tmp_path, per_channel=True)
        if is_dynamic
        else quantize_static(source, ByteScale(8 / 255, 128))
    )
    feeds = make_feeds(model, 9)
    expected = run_ours(model, feeds, threads=1)
    for isa in AVAILABLE:
        monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
        for threads in (1, 2):
            for made, want in zip(run_ours(model, feeds, threads), expected, strict=True):
                np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("text", ["int8 0.1 0", "uint8 0 3", "uint8 0.1 256", "uint8 x 1", ""])
def test_wrong_metadata_is_an_error(text: str) -> None:
    model = quantize_static(float_model(inputs=""), None)
    model.graph.node[-1].metadata_props[0].value = text
    with pytest.raises(colonnade.ModelError, match='expected "uint8 <scale> <zero point>"'):
        run_ours(model, make_feeds(model, 1))
