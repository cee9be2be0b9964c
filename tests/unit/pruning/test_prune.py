"""prune(): small networks with known answers, real files, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

import colonnade
from colonnade.errors import InputError, ModelError
from colonnade.pruning import prune, prune_many
from colonnade.pruning.compare import OutputSums
from colonnade.sparsity import METHODS, Method

Feeds = dict[str, np.ndarray]

CONV = """
(float[N,8,9,9] x) => (float[N,5] y) {
  c1 = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1, b1)  r1 = Relu(c1)
  d = Conv <group = 16, pads = [1,1,1,1]> (r1, wd)
  n = BatchNormalization(d, ng, nb, nm, nv)
  c2 = Conv <group = 2, auto_pad = "SAME_UPPER", dilations = [1,1]> (n, w2)
  m = BatchNormalization(c2, mg, mb, mm, mv)  r2 = Relu(m)
  g = GlobalAveragePool(r2)
  f = Flatten(g)
  y = Gemm <transB = 1> (f, w3, b3)
}"""
CONV_SHAPES = {
    "w1": (16, 8, 3, 3), "b1": (16,), "wd": (16, 1, 3, 3), "ng": (16,), "nb": (16,), "nm": (16,),
    "nv": (16,), "w2": (16, 8, 2, 2), "mg": (16,), "mb": (16,), "mm": (16,), "mv": (16,),
    "w3": (5, 16), "b3": (5,),
}  # fmt: skip

LINEAR = """
(float[N,S,16] x) => (float[N,S,16] y) {
  f0 = MatMul(x, wf)  f1 = Add(f0, bf)  f2 = Relu(f1)
  t = Transpose <perm = [1,0]> (wt)
  g0 = MatMul(f2, t)
  q = MatMul(f2, g0t)
  y = Add(g0, q)
}"""
LINEAR_SHAPES = {"wf": (16, 32), "bf": (32,), "wt": (16, 32), "g0t": (32, 16)}


def make_model(
    text: str, shapes: dict[str, tuple[int, ...]], others: dict[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g {text}')
    for name, array in (others or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    rng = np.random.default_rng(7)
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        if name in ("nv", "mv", "ng", "mg"):
            array = np.abs(array) + np.float32(0.5)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for at, node in enumerate(model.graph.node):
        node.name = f"n{at}_{node.output[0]}"
    onnx.checker.check_model(model)
    return model


def feeds(shape: tuple[int, ...], count: int, seed: int = 0) -> list[Feeds]:
    """Correlated inputs whose mean is not 0, as layers see them."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((shape[1], shape[1])).astype(np.float32)
    found = []
    for _ in range(count):
        x = rng.standard_normal(shape).astype(np.float32)
        found.append({"x": np.moveaxis(np.moveaxis(x, 1, -1) @ mix, -1, 1) + np.float32(1)})
    return found


@pytest.fixture(scope="module")
def conv() -> onnx.ModelProto:
    return make_model(CONV, CONV_SHAPES)


@pytest.fixture(scope="module")
def linear() -> onnx.ModelProto:
    return make_model(LINEAR, LINEAR_SHAPES)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


CONV_FEEDS = feeds((4, 8, 9, 9), 6)
LINEAR_FEEDS = feeds((2, 7, 16), 6)


@pytest.mark.parametrize("method", METHODS)
def test_convolutions_get_their_zeros(conv: onnx.ModelProto, method: Method) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.5, method=method)
    report = made.report
    assert report.sparsity == pytest.approx(0.5, abs=0.02)
    assert {layer.name for layer in report.layers if not layer.why} == {"n0_c1", "n4_c2", "n9_y"}
    (dense,) = (layer for layer in report.layers if layer.why)
    assert (dense.name, dense.why) == ("n2_d", "depthwise: 9 weights in each output")
    assert (report.outputs[0].name, report.compared) == ("y", 6)
    onnx.checker.check_model(made.proto, full_check=True)


def test_the_order_of_methods(conv: onnx.ModelProto) -> None:
    """On data that calibration has not seen."""
    unseen = feeds((4, 8, 9, 9), 4, seed=1)
    errors = {
        method: prune(conv, CONV_FEEDS, sparsity=0.6, method=method, validation=unseen)
        .report.outputs[0].mse
        for method in METHODS
    }  # fmt: skip
    assert errors["obc"] < errors["sparsegpt"] < errors["magnitude"]


def test_everything_else_stays_bit_for_bit(conv: onnx.ModelProto, tmp_path: Path) -> None:
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save(conv, path)
    made = prune(path, CONV_FEEDS, sparsity=0.5, correct=False, layers=["n0_c1"])
    made.save(out)
    loaded = onnx.load(out)
    before, after = weights_of(conv), weights_of(loaded)
    changed = {name for name, array in before.items() if (array != after[name]).any()}
    assert changed == {"w1"}
    entries = {e.key: json.loads(e.value) for e in loaded.metadata_props}
    assert entries == {
        "colonnade.sparsity": {"w1": {"sparsity": 0.5, "structure": "unstructured"}},
        "colonnade.pruning": {
            "method": "obc", "pattern": "unstructured", "allocation": "uniform", "sparsity": 0.5
        },
    }  # fmt: skip
    del loaded.metadata_props[:]
    for model in (loaded, expected := onnx.load(path)):
        for tensor in model.graph.initializer:
            if tensor.name == "w1":
                tensor.raw_data = b""
    assert loaded == expected
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_metadata_is_what_an_export_writes(linear: onnx.ModelProto) -> None:
    """By tensor: what was there of others stays, and each has its own entry where IR knows them."""
    model = onnx.ModelProto.FromString(linear.SerializeToString())
    model.ir_version = 10
    other = {"sparsity": 0.75, "structure": "1:4"}
    model.metadata_props.add(
        key="colonnade.sparsity",
        value=json.dumps({"g0t": other, "wf": other, "method": "obc", "weights": {"wf": 0.5}}),
    )
    for tensor in model.graph.initializer:
        tensor.doc_string = "words"
        tensor.metadata_props.add(key="theirs", value="stays")
    made = prune(model, LINEAR_FEEDS, pattern="2:4", layers=["n0_f0", "n4_g0"])
    own = {"sparsity": 0.5, "structure": "2:4"}
    stated = {e.key: json.loads(e.value) for e in made.proto.metadata_props}["colonnade.sparsity"]
    assert stated == {"g0t": other, "wf": own, "wt": own}
    for tensor in made.proto.graph.initializer:
        assert tensor.doc_string == "words"
        entries = {e.key: e.value for e in tensor.metadata_props}
        assert entries.pop("theirs") == "stays"
        assert [json.loads(e) for e in entries.values()] == [own] * (tensor.name in ("wf", "wt"))
    again = prune(made.proto, LINEAR_FEEDS, pattern="1:4", layers=["n0_f0"])
    tensors = {tensor.name: tensor for tensor in again.proto.graph.initializer}
    assert json.loads(tensors["wf"].metadata_props[1].value) == other
    assert len(tensors["wf"].metadata_props) == 2


def test_both_engines_run_the_file(conv: onnx.ModelProto) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.7).to_bytes()
    x = CONV_FEEDS[0]
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, x)
    (answer,) = colonnade.compile(made).run(x).values()
    assert np.allclose(expected, answer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pattern", ["2:4", "1x4", "4x1", "1:8"])
def test_patterns_run_along_input_channels(conv: onnx.ModelProto, pattern: str) -> None:
    sparsity = None if ":" in pattern else 0.5
    made = prune(conv, CONV_FEEDS, sparsity=sparsity, pattern=pattern, layers=["n0_c1"])
    kept = weights_of(made.proto)["w1"].transpose(0, 2, 3, 1).reshape(16, 72) != 0
    if pattern == "2:4":
        assert (kept.reshape(-1, 4).sum(1) <= 2).all()
    elif pattern == "1:8":
        assert (kept.reshape(-1, 8).sum(1) <= 1).all()
    elif pattern == "1x4":
        assert set(kept.reshape(-1, 4).sum(1)) == {0, 4}
    else:
        assert set(kept.reshape(4, 4, 72).sum(1).ravel()) == {0, 4}


def test_linear_layers_in_every_form(linear: onnx.ModelProto) -> None:
    """MatMul, with a bias behind it and through a Transpose: groups run along the inputs."""
    made = prune(linear, LINEAR_FEEDS, pattern="2:4")
    assert made.report.num_pruned == 3
    kept = {name: array != 0 for name, array in weights_of(made.proto).items()}
    for name, by_output in (("wf", kept["wf"].T), ("wt", kept["wt"]), ("g0t", kept["g0t"].T)):
        assert (by_output.reshape(-1, 4).sum(1) <= 2).all(), name


def test_means_stay_where_biases_take_them_up(conv: onnx.ModelProto) -> None:
    """Over the calibration data, the mean of each channel stays that of the dense layer."""

    def means(model: onnx.ModelProto) -> np.ndarray:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info("c1"))
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found = [session.run(["c1"], x)[0].mean((0, 2, 3)) for x in CONV_FEEDS]
        return np.asarray(np.mean(found, axis=0))

    def prune_first(correct: bool) -> onnx.ModelProto:
        return prune(
            conv, CONV_FEEDS, sparsity=0.8, method="magnitude", layers=["n0_c1"], correct=correct
        ).proto

    drift = np.abs(means(prune_first(True)) - means(conv)).max()
    assert drift < 1e-3
    assert np.abs(means(prune_first(False)) - means(conv)).max() > 0.1


def test_a_normalisation_takes_up_the_mean(conv: onnx.ModelProto) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.8, layers=["n4_c2"])
    changed = [
        name for name, array in weights_of(conv).items()
        if (array != weights_of(made.proto)[name]).any()
    ]  # fmt: skip
    assert changed == ["w2", "mm"]


def test_depthwise_layers_when_they_are_named(conv: onnx.ModelProto) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.5, layers=["n2_d"])
    kept = (weights_of(made.proto)["wd"] != 0).sum((1, 2, 3))
    assert set(kept) == {5}  # round(0.5 * 9) of 9 go
    assert prune(conv, CONV_FEEDS, sparsity=0.5, depthwise=True).report.num_pruned == 4


@pytest.mark.parametrize("allocation", ["erk", "owl", "global", "sensitivity"])
def test_allocations_meet_the_target(conv: onnx.ModelProto, allocation: str) -> None:
    made = prune(
        conv, CONV_FEEDS, sparsity=0.6, method="wanda",
        allocation=allocation,  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.report.sparsity == pytest.approx(0.6, abs=0.02)


def test_sequential_sees_what_pruned_layers_make(conv: onnx.ModelProto) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.6, sequential=True)
    plain = prune(conv, CONV_FEEDS, sparsity=0.6)
    assert made.report.sparsity == plain.report.sparsity
    assert (weights_of(made.proto)["w1"] == weights_of(plain.proto)["w1"]).all()
    assert (weights_of(made.proto)["w2"] != weights_of(plain.proto)["w2"]).any()


def test_several_sparsities_from_one_calibration(linear: onnx.ModelProto) -> None:
    low, high = prune_many(linear, LINEAR_FEEDS, (0.25, 0.5), method="wanda")
    for made, sparsity in ((low, 0.25), (high, 0.5)):
        alone = prune(linear, LINEAR_FEEDS, sparsity=sparsity, method="wanda")
        assert made.to_bytes() == alone.to_bytes()


def test_shared_weights_are_pruned_once() -> None:
    text = """
    (float[N,16] x) => (float[N,16] y) {
      a = MatMul(x, w)  r = Relu(a)
      y = MatMul(r, w)
    }"""
    model = make_model(text, {"w": (16, 16)})
    made = prune(model, [{"x": np.eye(16, dtype=np.float32)}], sparsity=0.5)
    assert made.report.num_pruned == 1
    assert (weights_of(made.proto)["w"] == 0).mean() == 0.5


def test_what_cannot_be_pruned_says_why() -> None:
    text = """
    (float[N,4] x, int64[M] i) => (float[N,4] y, float[M,4] e) {
      a = MatMul(x, w)
      e = Gather(w, i)
      s = Add(u, u)
      y = MatMul(a, s)
    }"""
    model = make_model(text, {"w": (4, 4), "u": (4, 4)})
    data = [{"x": np.ones((2, 4), np.float32), "i": np.zeros(1, np.int64)}]
    with pytest.raises(InputError, match=r"no layer is left .*Gather\) reads its weights"):
        prune(model, data, sparsity=0.5)


BAD = [
    ({"sparsity": 1.0}, "sparsity=1.0"),
    ({"sparsity": float("nan")}, "sparsity=nan"),
    ({"sparsity": -0.5}, "sparsity=-0.5"),
    ({}, "needs a sparsity"),
    ({"pattern": "4:2"}, "1 <= N < M"),
    ({"pattern": "2:4", "sparsity": 0.7}, "has 0.5"),
    ({"pattern": "2:4", "allocation": "erk"}, "all layers have 0.5"),
    ({"pattern": "3:5", "layers": ["n0_c1"]}, "would straddle taps"),
    ({"pattern": "1:64"}, "no layer is left"),
    ({"pattern": "banana", "sparsity": 0.5}, "expected unstructured"),
    ({"method": "luck", "sparsity": 0.5}, "method='luck'"),
    ({"allocation": "luck", "sparsity": 0.5}, "allocation='luck'"),
    ({"damping": 0.0, "sparsity": 0.5}, "damping=0.0"),
    ({"layers": ["decoder*"], "sparsity": 0.5}, "no layer has this name"),
    ({"exclude": ["decoder"], "sparsity": 0.5}, "no layer has this name"),
    ({"exclude": ["*"], "sparsity": 0.5}, "no layer is left"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(conv: onnx.ModelProto, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(conv, CONV_FEEDS, **options)  # type: ignore[arg-type]


def test_bad_calibration_data(conv: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        prune(conv, [], sparsity=0.5)
    with pytest.raises(InputError, match=r"holds neither .npz files nor images"):
        prune(conv, tmp_path, sparsity=0.5)
    with pytest.raises(InputError, match="NaN or infinite"):
        prune(conv, [{"x": np.full((1, 8, 9, 9), np.nan, np.float32)}], sparsity=0.5)
    with pytest.raises(InputError, match="sample 1: input 'x' has no rows"):
        prune(conv, [*CONV_FEEDS[:1], {"x": np.zeros((0, 8, 9, 9), np.float32)}], sparsity=0.5)
    with pytest.raises(InputError, match="is not finite on this sample"):
        prune(conv, [{"x": np.full((1, 8, 9, 9), 3e38, np.float32)}], sparsity=0.5)


def test_a_file_that_cannot_be_written(conv: onnx.ModelProto, tmp_path: Path) -> None:
    made = prune(conv, CONV_FEEDS, sparsity=0.5, method="magnitude")
    with pytest.raises(ModelError, match="cannot be written"):
        made.save(tmp_path / "none" / "out.onnx")
    out = tmp_path / "out.onnx"
    out.mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        made.save(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_nan_is_no_agreement() -> None:
    exact, answer = np.array([[1.0, 2.0], [1.0, np.nan]]), np.array([[1.0, 3.0], [1.0, np.nan]])
    compared = OutputSums()
    compared.add(exact, answer)
    assert compared.record("y").agreement == 0.5
    compared.add(exact[:1], np.array([[np.nan, np.nan]]))
    assert compared.record("y").agreement == pytest.approx(1 / 3)
    assert compared.record("y").sqnr_db == -np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w2", "b1", "mm"])
def test_a_model_of_broken_weights(conv: onnx.ModelProto, name: str, value: float) -> None:
    model = onnx.ModelProto.FromString(conv.SerializeToString())
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[1] = value
    tensor.CopyFrom(numpy_helper.from_array(array, name))

    def unread() -> list[Feeds]:
        raise AssertionError("the data was read")

    with pytest.raises(ModelError, match=f"'{name}' .* holds 1 values that are NaN or infinite"):
        prune(model, unread, sparsity=0.5, method="magnitude")


TINY = {
    ("filter", 0.95, "magnitude"): 9 / 10,
    ("filter", 0.95, "obc"): 9 / 10,
    ("channel", 0.9, "sparsegpt"): 2 / 3,
    ("channel", 0.9, "obc"): 2 / 3,
    ("unstructured", 0.99, "magnitude"): 29 / 30,
    ("unstructured", 0.99, "obc"): 29 / 30,
    ("unstructured", 0.9, "wanda"): 2 / 3,
    ("10x1", 0.9, "obc"): 2 / 3,
}


@pytest.mark.parametrize(("pattern", "sparsity", "method"), TINY)
def test_one_unit_of_a_layer_stays(pattern: str, sparsity: float, method: Method) -> None:
    model = make_model("(float[N,3] x) => (float[N,10] y) { y = MatMul(x, w) }", {"w": (3, 10)})
    data = feeds((4, 3), 2)
    made = prune(model, data, sparsity=sparsity, pattern=pattern, method=method)
    share = TINY[pattern, sparsity, method]
    assert made.report.sparsity == pytest.approx(share)
    (remark,) = made.report.remarks
    assert f"{share:.1%} zeros, not {sparsity:.1%}" in remark
    assert prune(model, data, sparsity=0.3, method="magnitude").report.remarks == ()


def test_data_of_nothing_but_zeros_is_remarked(conv: onnx.ModelProto) -> None:
    zeros = {"x": np.zeros((1, 8, 9, 9), np.float32)}
    made = prune(conv, [zeros, zeros], sparsity=0.5, method="magnitude")
    (remark,) = made.report.remarks
    assert "input 'x' is 0 in all of the calibration data" in remark
    made = prune(conv, [zeros, CONV_FEEDS[0]], sparsity=0.5, method="magnitude")
    assert made.report.remarks == ()


BIAS = """
(float[N,16] x) => (float[N,8] y) {
  b = Constant <value_floats = [1.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0]> ()
  a = MatMul(x, w)
  y = Add(a, b)
}"""


def test_a_bias_that_is_no_tensor_of_the_file_stays() -> None:
    model = make_model(BIAS, {"w": (16, 8)})
    made = prune(model, feeds((4, 16), 3), sparsity=0.5)
    assert made.report.num_pruned == 1
    assert made.proto.graph.node == model.graph.node


def test_nodes_of_one_name() -> None:
    text = """
    (float[N,16] x) => (float[N,8] y, float[N,8] z) {
      a = MatMul(x, w1)  r = Relu(a)  y = MatMul(r, w2)  z = MatMul(x, w3)
    }"""
    model = make_model(text, {"w1": (16, 32), "w2": (32, 8), "w3": (16, 8)})
    data = feeds((4, 16), 3)
    unique = prune(model, data, sparsity=0.5, sequential=True)
    for node, name in zip(model.graph.node, ("fc", "relu", "fc", "fc#2"), strict=True):
        node.name = name
    made = prune(model, data, sparsity=0.5, sequential=True)
    assert [layer.name for layer in made.report.layers] == ["fc", "fc#3", "fc#2"]
    assert weights_of(made.proto).keys() == weights_of(unique.proto).keys()
    for name, array in weights_of(unique.proto).items():
        assert (weights_of(made.proto)[name] == array).all()
    one = prune(model, data, sparsity=0.5, layers=["fc#3"])
    assert {layer.name for layer in one.report.layers if not layer.why} == {"fc#3"}


UNKNOWN = """
(float[16,16] x, int64 trip, bool go) => (float[16,16] y) {
  a = MatMul(x, w)
  l = MatMul(u, a)
  e = Einsum <equation = "ij,jk->ik"> (l, v)
  d = DequantizeLinear(q, s)
  m = MatMul(e, d)
  y = Loop(trip, go, m) <body = b (int64 i, bool c, float[16,16] t) => (bool k, float[16,16] o) {
    k = Identity(c)
    o = MatMul(t, w4)
  }>
}"""


def test_layers_that_pruning_does_not_know_are_listed() -> None:
    shape = (16, 16)
    integers: Feeds = {"q": np.eye(16, dtype=np.int8), "s": np.array(0.1, np.float32)}
    model = make_model(UNKNOWN, dict.fromkeys(("w", "u", "v", "w4"), shape), integers)
    sample = {"x": np.eye(16, dtype=np.float32), "trip": np.array(1), "go": np.array(True)}
    made = prune(model, [sample], sparsity=0.5, method="magnitude")
    found = {layer.name: (layer.shape, layer.why) for layer in made.report.layers}
    assert found == {
        "n0_a": (shape, ""),
        "n1_l": (shape, "its weights are on the left"),
        "n2_e": (shape, "one-shot pruning does not know Einsum"),
        "n4_m": (shape, "its weights are int8 already: prune before you quantize"),
        "n5_y": (shape, "its body reads w4; bodies of Loop are not pruned"),
    }
