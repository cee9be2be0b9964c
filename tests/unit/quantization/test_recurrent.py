"""LSTM, GRU and RNN in `colonnade quantize`: 8-bit kernels, ONNX Runtime's answers, reasons.

ONNX Runtime runs the file with a float32 state, ours is off by half a step of 8 bits. `lstm_error`
follows the largest effect of that through all steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import colonnade
from colonnade.cli.main import app
from colonnade.quantization import Target
from unit.quantization import nets

pytest.importorskip("onnxruntime")

STEPS, FEATURES, HIDDEN = 6, 12, 24
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATE_STEP = 1 / 127
ROUNDING = 1e-5
"""Of float32, for sums of 12 to 48 products around 1."""
SLACK = 1.1
"""Products of errors, and gates of weights that are not quantized, 1% off."""
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", FEATURES])
SHAPES = {"y": ["T", 1, "N", HIDDEN], "last": [1, "N", HIDDEN], "z2": ["T", "N", 2 * HIDDEN]}
Arrays = dict[str, np.ndarray]


def layer_arrays(op: str, number: int, directions: int, features: int) -> Arrays:
    """W, R and B whose rows are small enough for errors to die out."""
    rng = np.random.default_rng(number)
    rows = GATES[op] * HIDDEN
    shapes = {"W": (rows, features), "R": (rows, HIDDEN), "B": (2 * rows,)}
    top = {"W": features**-0.5, "R": 0.5 / HIDDEN, "B": 0.2}
    return {
        f"{name}{number}": rng.uniform(-1, 1, (directions, *shape)).astype(np.float32)
        * np.float32(top[name])
        for name, shape in shapes.items()
    }


def make_model(nodes: list[onnx.NodeProto], arrays: Arrays, outputs: list[str]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "recurrent", [X],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPES[name]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def single(
    op: str, outputs: tuple[str, ...] = ("y",), state: float | None = None, **attrs: object
) -> onnx.ModelProto:
    """One layer; `state` is an initial state of one value."""
    arrays = layer_arrays(op, 1, 1, FEATURES)
    inputs = ["x", "W1", "R1", "B1"]
    if state is not None:
        arrays["h"] = np.full((1, 3, HIDDEN), state, np.float32)
        inputs += ["", "h"]
    node = helper.make_node(op, inputs, outputs, name="layer", hidden_size=HIDDEN, **attrs)
    return make_model([node], arrays, [name for name in outputs if name])


def stacked() -> onnx.ModelProto:
    """Two bidirectional layers, joined as exporters join them."""
    arrays = layer_arrays("LSTM", 1, 2, FEATURES) | layer_arrays("LSTM", 2, 2, 2 * HIDDEN)
    arrays["shape"] = np.array([0, 0, -1], np.int64)
    nodes = []
    for number, x in ((1, "x"), (2, "z1")):
        weights = [f"{name}{number}" for name in "WRB"]
        y, moved, joined = f"y{number}", f"t{number}", f"z{number}"
        nodes += [
            helper.make_node(
                "LSTM", [x, *weights], [y], name=f"layer{number}", hidden_size=HIDDEN,
                direction="bidirectional",
            ),
            helper.make_node("Transpose", [y], [moved], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [moved, "shape"], [joined]),
        ]  # fmt: skip
    return make_model(nodes, arrays, ["z2"])


def samples(count: int = 4, seed: int = 5) -> list[nets.Feeds]:
    return nets.samples((STEPS, 3, FEATURES), count, seed)


def lstm_error(x: np.ndarray, x_error: np.ndarray, arrays: Arrays, number: int) -> np.ndarray:
    """The most that Y may be off, [steps, directions, batch, hidden]."""
    w, r, b = (arrays[f"{name}{number}"].astype(np.float64) for name in "WRB")
    errors = [
        _direction_error(x[::turn], x_error[::turn], w[i], r[i], b[i])[::turn]
        for i, turn in zip(range(len(w)), (1, -1), strict=False)
    ]
    return SLACK * np.stack(errors, axis=1)


def _direction_error(
    x: np.ndarray, x_error: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Beside each value, how far it may be off: sigmoids have slopes up to 1/4, tanh up to 1."""
    bias = b.reshape(2, -1).sum(axis=0)
    h = c = h_error = c_error = np.zeros((x.shape[1], HIDDEN))
    errors = []
    for step, at in enumerate(x):
        gates = np.split(at @ w.T + h @ r.T + bias, 4, axis=1)
        state_error = h_error + STATE_STEP / 2 * bool(step)
        moved = x_error[step] @ np.abs(w).T + state_error @ np.abs(r).T + ROUNDING
        i_off, o_off, f_off, g_off = np.split(moved, 4, axis=1)
        i, o, f = (1 / (1 + np.exp(-gate)) for gate in gates[:3])
        g = np.tanh(gates[3])
        c_error = f * c_error + np.abs(c) * f_off / 4 + np.abs(g) * i_off / 4 + i * g_off
        c = f * c + i * g
        h_error = np.abs(np.tanh(c)) * o_off / 4 + o * c_error
        h = o * np.tanh(c)
        errors.append(h_error)
    return np.stack(errors)


def run_both(made: bytes, feeds: nets.Feeds) -> tuple[nets.Feeds, nets.Feeds, set[str]]:
    """Ours and ONNX Runtime's answers, and our kernels."""
    engine = colonnade.compile(made, threads=2, tune="off", fallback="forbid")
    ours = engine.run(feeds)
    kernels = {node.kernel for node in engine.explain().nodes}
    theirs = nets.run_peer(onnx.load_from_string(made), feeds, as_written=True)
    return ours, theirs, kernels


def test_the_command_writes_an_lstm_that_both_engines_run(tmp_path: Path) -> None:
    onnx.save(single("LSTM"), tmp_path / "model.onnx")
    (tmp_path / "data").mkdir()
    for number, feeds in enumerate(samples()):
        np.savez(tmp_path / "data" / f"{number}.npz", **feeds)
    out = tmp_path / "out.onnx"
    data = str(tmp_path / "data")
    arguments = ["quantize", str(tmp_path / "model.onnx"), "--calibration", data, "-o", str(out)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    feeds = samples(1, seed=9)[0]
    ours, theirs, kernels = run_both(out.read_bytes(), feeds)
    assert {"qrecurrent", "qmatmul_columns"} <= kernels
    assert not {"recurrent", "matmul_columns"} & kernels
    arrays = layer_arrays("LSTM", 1, 1, FEATURES)
    bound = lstm_error(feeds["x"], np.zeros_like(feeds["x"]), arrays, 1)
    difference = np.abs(ours["y"] - theirs["y"])
    assert difference.max() > ROUNDING
    assert (difference <= bound).all()


def test_stacked_bidirectional_layers_stay_in_bytes() -> None:
    model = stacked()
    made = colonnade.quantize(model, samples(), threads=2)
    assert [(layer.precision, layer.kernel) for layer in made.report.layers] == [
        ("8-bit", "qrecurrent")
    ] * 2
    feeds = samples(1, seed=9)[0]
    ours, theirs, kernels = run_both(made.to_bytes(), feeds)
    assert not {"recurrent", "matmul_columns"} & kernels
    arrays = layer_arrays("LSTM", 1, 2, FEATURES) | layer_arrays("LSTM", 2, 2, 2 * HIDDEN)
    borders = {n.inputs[0]: n for n in made.graph.nodes if n.op == "QuantizeLinear"}
    step = float(made.graph.constants[borders["z1"].inputs[1]])
    first = lstm_error(feeds["x"], np.zeros_like(feeds["x"]), arrays, 1)
    # A value that is off by e is, once rounded, off by e and a step at most.
    between = nets.run_peer(nets.with_values(model, "Reshape"), feeds, as_written=True)["z1"]
    bound = joined(lstm_error(between, joined(first) + step, arrays, 2))
    difference = np.abs(ours["z2"] - theirs["z2"])
    assert difference.max() > ROUNDING
    assert (difference <= bound).all()


def joined(y: np.ndarray) -> np.ndarray:
    """Both directions side by side, as the model does it."""
    return y.transpose(0, 2, 1, 3).reshape(*y.shape[::2], -1)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("op", GATES)
def test_every_operator_runs_in_8_bits(op: str, per_channel: bool) -> None:
    made = colonnade.quantize(single(op), samples(), per_channel=per_channel, threads=2)
    (layer,) = made.report.layers
    assert (layer.op, layer.precision, layer.kernel) == (op, "8-bit", "qrecurrent")
    assert layer.bytes_after < 0.4 * layer.bytes_before
    _, _, kernels = run_both(made.to_bytes(), samples(1)[0])
    assert "qrecurrent" in kernels
    weights = made.graph.producer[made.graph.producer["y"].inputs[2]]
    assert made.graph.constants[weights.inputs[1]].ndim == int(per_channel)


def test_x_has_the_calibrated_range() -> None:
    ranges = {}
    for method in ("minmax", "percentile"):
        made = colonnade.quantize(
            single("LSTM"),
            samples(),
            method=method,
            percentile=90,
            threads=2,
        )
        (border,) = [node for node in made.graph.nodes if node.op == "QuantizeLinear"]
        ranges[method] = 255 * float(made.graph.constants[border.inputs[1]])
    seen = np.concatenate([feeds["x"].ravel() for feeds in samples()])
    assert ranges["minmax"] == pytest.approx(float(np.ptp(seen)), rel=1e-5)
    assert ranges["percentile"] < 0.8 * ranges["minmax"]


def test_layers_whose_first_output_has_no_name() -> None:
    made = colonnade.quantize(single("GRU", ("", "last")), samples(), sensitivity=True, threads=2)
    (layer,) = made.report.layers
    assert (layer.precision, layer.kernel) == ("8-bit", "qrecurrent")
    assert layer.sensitivity_db == pytest.approx(layer.sqnr_db)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (single("RNN", activations=["Relu"]), "do not keep the state in"),
        (single("LSTM", state=1.5), "initial state lies outside"),
        (single("GRU", activations=["Sigmoid", "Softsign"]), "do not keep the state in"),
    ],
)
def test_layers_in_float32_say_why(model: onnx.ModelProto, why: str) -> None:
    (layer,) = colonnade.quantize(model, samples(), threads=2).report.layers
    assert layer.precision == "float32"
    assert why in layer.why


def test_an_initial_state_within_bounds_is_quantized() -> None:
    (layer,) = colonnade.quantize(single("LSTM", state=1.0), samples(), threads=2).report.layers
    assert layer.precision == "8-bit"


def test_layers_are_left_out_by_name_by_operator_and_for_a_target() -> None:
    named = colonnade.quantize(stacked(), samples(), exclude=["layer1"], threads=2)
    assert [layer.precision for layer in named.report.layers] == ["float32", "8-bit"]
    others = colonnade.quantize(stacked(), samples(), ops=["Conv"], threads=2)
    assert others.report.num_quantized == 0
    strict = colonnade.quantize(stacked(), samples(), target=Target(max_error=1e-7), threads=2)
    assert strict.report.num_quantized == 0
    assert all("left out for the target" in layer.why for layer in strict.report.layers)


@pytest.mark.parametrize("has_metadata", [True, False])
def test_metadata_on_float32_weights_is_told(has_metadata: bool) -> None:
    model = single("LSTM")
    if has_metadata:
        entry = model.graph.node[0].metadata_props.add()
        entry.key, entry.value = "colonnade.state", "uint8 0.0078125 128"
    engine = colonnade.compile(model, threads=2, tune="off")
    engine.run(samples(1)[0])
    told = [text for node in engine.explain().nodes for text in node.advisories]
    assert [text for text in told if "'colonnade.state' is ignored" in text] == told
    assert len(told) == int(has_metadata)
