"""Calibration data and models that cannot be used: one clear error each, or documented behaviour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import colonnade
from unit.quantization import nets

SHAPE = (2, 4, 8, 8)


def residual() -> onnx.ModelProto:
    return nets.make_model(nets.RESIDUAL, nets.RESIDUAL_SHAPES)


def refused(calibration: object, model: onnx.ModelProto | None = None) -> str:
    with pytest.raises(colonnade.InputError) as caught:
        colonnade.quantize(model or residual(), calibration, threads=1)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_empty_data() -> None:
    assert "holds no samples" in refused([])
    assert "holds no samples" in refused(lambda: iter(()))
    assert "input 'x' has no rows" in refused([{"x": np.zeros((0, 4, 8, 8), np.float32)}])


def test_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    assert "neither .npz files nor images" in refused(tmp_path)
    assert "no such file or folder" in refused(tmp_path / "nothing")


def test_a_missing_input() -> None:
    text = refused([{"image": np.zeros(SHAPE, np.float32)}])
    assert "sample 0: no array for input 'x'" in text
    assert "it holds ['image']" in text


def test_a_wrong_type() -> None:
    text = refused([{"x": np.zeros(SHAPE)}])
    assert "sample 0: input 'x': element type float64, expected float32" in text


def test_a_wrong_shape() -> None:
    text = refused([*nets.samples(SHAPE, 1), {"x": np.zeros((2, 3, 8, 8), np.float32)}])
    assert "sample 1: input 'x': axis 1 has size 3, expected 4" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(value: float) -> None:
    (feeds,) = nets.samples(SHAPE, 1)
    feeds["x"][0, 1, 2, 3] = value
    assert "sample 0: input 'x' holds 1 values that are NaN or infinite" in refused([feeds])


def test_a_value_inside_that_is_not_finite() -> None:
    model = nets.make_model(
        "(float[N,4] x) => (float[N,3] y) { l = Log(x)  y = MatMul(l, w1) }", {"w1": (4, 3)}
    )
    text = refused([{"x": np.zeros((2, 4), np.float32)}], model)
    assert "sample 0: value 'l' of the model is not finite" in text


def test_what_can_be_read_only_once() -> None:
    assert "cannot be read twice" in refused(iter(nets.samples(SHAPE)))
    assert "a int cannot be read twice" in refused(3)


def test_what_is_no_sample() -> None:
    assert "sample 0: expected a dict of arrays by input name, got ndarray" in refused(
        [np.zeros(SHAPE, np.float32)]
    )


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "one.npz").write_bytes(b"PK\x03\x04 not really")
    assert "one.npz: not an archive of arrays" in refused(tmp_path)


def test_a_model_that_is_quantized_already() -> None:
    made = colonnade.quantize(residual(), nets.samples(SHAPE), threads=1)
    with pytest.raises(colonnade.ModelError, match="quantized already") as caught:
        colonnade.quantize(made.to_bytes(), nets.samples(SHAPE))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "median"}, "it is one of 'minmax'"),
        ({"percentile": 40.0}, "it lies above 50"),
        ({"smooth_alpha": 2.0}, "between 0 and 1"),
        ({"ops": ["Einsum"]}, "'Einsum' cannot be quantized"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, object], text: str) -> None:
    with pytest.raises(colonnade.InputError, match=text):
        colonnade.quantize(residual(), nets.samples(SHAPE), **options)


def check_it_runs(made: colonnade.Quantized, feeds: nets.Feeds) -> nets.Feeds:
    scales = [
        made.graph.constants[node.inputs[1]]
        for node in made.graph.nodes
        if node.op in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert all((scale > 0).all() and np.isfinite(scale).all() for scale in scales)
    model = onnx.load_from_string(made.to_bytes())
    nets.run_peer(model, feeds, as_written=False)
    return colonnade.compile(model, threads=1, tune="off").run(feeds)


def test_constant_zero_activations() -> None:
    feeds = {"x": np.zeros(SHAPE, np.float32)}
    made = colonnade.quantize(residual(), [feeds], threads=1)
    found = check_it_runs(made, feeds)
    wanted = colonnade.compile(residual(), threads=1).run(feeds)
    assert np.isfinite(found["y"]).all()
    assert found["y"].shape == wanted["y"].shape


def test_one_sample_of_one_value() -> None:
    feeds = {"x": np.full(SHAPE, 3.0, np.float32)}
    check_it_runs(colonnade.quantize(residual(), [feeds], threads=1), feeds)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e30, 3e38])
def test_tiny_and_huge_ranges(size: float, method: str) -> None:
    model = nets.make_model(
        "(float[N,4] x) => (float[N,3] y) { y = MatMul(x, w1) }", {"w1": (4, 3)}
    )
    feeds = {"x": (np.linspace(-1, 1, 8) * size).astype(np.float32).reshape(2, 4)}
    check_it_runs(colonnade.quantize(model, [feeds], method=method, threads=1), feeds)


def test_scales_that_float32_cannot_multiply_leave_the_layer_alone() -> None:
    model = nets.make_model(
        "(float[N,4] x) => (float[N,3] y) { y = MatMul(x, w1) }", {"w1": (4, 3)}
    )
    weights = np.full((4, 3), 1e30, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w1"))
    feeds = {"x": np.array([[1e30, -1e30, 0, 0]], np.float32)}
    made = colonnade.quantize(model, [feeds], threads=1)
    assert [layer.why for layer in made.report.layers] == [
        "the scale of its products is beyond float32"
    ]
