"""Quantized tiny models: the same integers as ONNX Runtime, 8-bit kernels, zeros, reasons."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

import colonnade
from colonnade.quantization import Quantized
from unit.quantization import nets

pytest.importorskip("onnxruntime")


@cache
def quantized(name: str, per_channel: bool = True) -> Quantized:
    text, shapes, shape = nets.CASES[name]
    model = nets.make_model(text, shapes)
    return colonnade.quantize(model, nets.samples(shape), per_channel=per_channel, threads=2)


def model_of(name: str, per_channel: bool = True) -> onnx.ModelProto:
    model = onnx.load_from_string(quantized(name, per_channel).to_bytes())
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", nets.CASES)
def test_integers_are_those_of_onnx_runtime(name: str, per_channel: bool) -> None:
    model = nets.with_values(model_of(name, per_channel), "QuantizeLinear")
    feeds = nets.samples(nets.CASES[name][2], 1, seed=9)[0]
    wanted = nets.run_peer(model, feeds, as_written=True)
    found = colonnade.compile(model, threads=2, tune="off").run(feeds)
    integers = [value for value, array in wanted.items() if array.dtype == np.uint8]
    assert integers
    for value in integers:
        difference = found[value].astype(int) - wanted[value].astype(int)
        # Sums of integers are exact: only a tie, or what a step before it moved, may differ by one.
        assert np.abs(difference).max() <= 1, value


@pytest.mark.parametrize("name", nets.CASES)
def test_onnx_runtime_optimises_and_runs_it(name: str) -> None:
    feeds = nets.samples(nets.CASES[name][2], 1, seed=9)[0]
    model = model_of(name)
    wanted = nets.run_peer(model, feeds, as_written=True)
    found = nets.run_peer(model, feeds, as_written=False)
    for value, array in wanted.items():
        assert found[value].shape == array.shape
        assert np.isfinite(found[value]).all()


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("residual", {"qconv", "qmatmul_columns", "bytes_binary"}),
        ("branches", {"qconv", "qmatmul_columns"}),
        ("text", {"qmatmul_columns"}),
    ],
)
def test_every_product_runs_in_8_bits(name: str, kernels: set[str]) -> None:
    engine = colonnade.compile(quantized(name).to_bytes(), fallback="forbid", tune="off")
    engine.run(nets.samples(nets.CASES[name][2], 1)[0])
    found = {node.kernel for node in engine.explain().nodes}
    assert kernels <= found
    assert not {"conv", "matmul_columns", "depthwise", "sparse_columns"} & found
    assert all(
        layer.precision == "8-bit" for layer in quantized(name).report.layers if layer.bytes_before
    )


@pytest.mark.parametrize("name", nets.CASES)
def test_zeros_of_weights_stay_zero(name: str) -> None:
    text, shapes, _ = nets.CASES[name]
    original = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in nets.make_model(text, shapes).graph.initializer
    }
    made = quantized(name).graph
    checked = 0
    for node in made.nodes:
        if node.op not in ("Conv", "MatMul", "Gemm"):
            continue
        integers, _, zero = made.producer[node.inputs[1]].inputs
        array = made.constants[integers]
        assert array.dtype == np.int8
        assert not made.constants[zero].any()
        same = [w for w in original.values() if w.shape == array.shape]
        assert any((array[w == 0] == 0).all() and (w == 0).any() for w in same)
        checked += 1
    assert checked


def test_the_report_names_kernels() -> None:
    kernels = {layer.op: layer.kernel for layer in quantized("residual").report.layers}
    assert kernels == {"Conv": "qmatmul_columns", "Add": "bytes_binary", "Gemm": "qmatmul_columns"}


def test_layers_in_float32_say_why() -> None:
    report = quantized("others").report
    reasons = {layer.op: layer.why for layer in report.layers if layer.precision == "float32"}
    assert "transposed" in reasons["ConvTranspose"]
    assert {layer.op for layer in report.layers if layer.precision == "8-bit"} == {"Conv"}


def test_what_nobody_wants_as_integers_stays_float32() -> None:
    made = quantized("text").graph
    quantized_values = {n.inputs[0] for n in made.nodes if n.op == "QuantizeLinear"}
    assert quantized_values == {"n", "f2"}  # not the products' outputs, nor the residual sum


def test_shared_operators_share_their_scale() -> None:
    made = quantized("branches").graph
    borders = {n.inputs[0]: n for n in made.nodes if n.op == "QuantizeLinear"}
    scales = {v: float(made.constants[borders[v].inputs[1]]) for v in ("c1", "c2", "z")}
    assert len(set(scales.values())) == 1
    made = quantized("residual").graph
    borders = {n.inputs[0]: n for n in made.nodes if n.op == "QuantizeLinear"}
    pairs = [("r1", "p1"), ("r3", "g"), ("g", "f")]
    for left, right in pairs:
        a, b = (made.constants[borders[value].inputs[1]] for value in (left, right))
        assert a == b, (left, right)


def test_activations_fold_into_ranges() -> None:
    made = quantized("residual").graph
    borders = {n.inputs[0]: n for n in made.nodes if n.op == "QuantizeLinear"}
    assert {"r1", "r2", "r3"} <= set(borders)
    assert not {"c1", "c2", "a"} & set(borders)
    for value in ("r1", "r2", "r3"):
        assert made.constants[borders[value].inputs[2]] == 0


def test_biases_are_int32_at_the_products_scale() -> None:
    made = quantized("residual").graph
    (gemm,) = [n for n in made.nodes if n.op == "Gemm"]
    x, w, b = (made.producer[value] for value in gemm.inputs)
    assert made.constants[b.inputs[0]].dtype == np.int32
    expected = made.constants[x.inputs[1]] * made.constants[w.inputs[1]]
    np.testing.assert_array_equal(made.constants[b.inputs[1]], expected)


def sqnr(wanted: np.ndarray, found: np.ndarray) -> float:
    error = wanted.astype(np.float64) - found
    return float(10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / np.sum(error**2)))


@pytest.mark.parametrize("name", ["residual", "text"])
def test_onnx_runtimes_own_quantization_is_not_better(name: str) -> None:
    from onnxruntime.quantization import QuantType

    import quantized_models

    text, shapes, shape = nets.CASES[name]
    model, data = nets.make_model(text, shapes), nets.samples(shape)
    peer = quantized_models.quantize_static(
        model, lambda i: data[i], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        per_channel=True,
    )  # fmt: skip
    wanted = [nets.run_peer(model, feeds, as_written=True)["y"] for feeds in data]
    theirs = [nets.run_peer(peer, feeds, as_written=True)["y"] for feeds in data]
    ours = [nets.run_peer(model_of(name), feeds, as_written=True)["y"] for feeds in data]
    # Both round as often or less; the noise of one rounding more or less is 3 dB at most.
    assert sqnr(np.stack(wanted), np.stack(ours)) >= sqnr(np.stack(wanted), np.stack(theirs)) - 3.0


def test_old_opsets_are_upgraded() -> None:
    text = nets.RESIDUAL
    model = nets.make_model(text, nets.RESIDUAL_SHAPES, opset=11)
    made = colonnade.quantize(model, nets.samples((2, 4, 8, 8)), threads=2)
    assert made.graph.opsets[""] == 13
    found = onnx.load_from_string(made.to_bytes())
    onnx.checker.check_model(found, full_check=True)
    nets.run_peer(found, nets.samples((2, 4, 8, 8), 1)[0], as_written=False)


def test_names_of_the_model_are_not_taken_twice() -> None:
    text = nets.TEXT.replace("f2 =", "n_quantized =").replace("(f2,", "(n_quantized,")
    model = nets.make_model(text, nets.TEXT_SHAPES)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == "n_quantized":
                    names[i] = "n/quantized"
    made = colonnade.quantize(model, nets.samples((2, 7, 16)), threads=2)
    assert "n/quantized_" in made.graph.types


def test_excluded_layers_and_operators_stay_float32() -> None:
    text, shapes, shape = nets.CASES["residual"]
    model = nets.make_model(text, shapes)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
    made = colonnade.quantize(
        model, nets.samples(shape), exclude=["conv_0"], ops=["Conv", "Add"], threads=2
    )
    why = {layer.name: layer.why for layer in made.report.layers}
    assert why["conv_0"] == "excluded by name"
    assert [reason for name, reason in why.items() if name.startswith("gemm")] == [
        "its operator is not among those to quantize"
    ]
    with pytest.raises(colonnade.InputError, match="no node has this name"):
        colonnade.quantize(model, nets.samples(shape), exclude=["nothing*"])
