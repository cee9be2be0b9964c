"""Our fused operations against the ONNX operations that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import AttrValue, DType, Graph, Instruction, Node, Program, TensorType
from colonnade.ir.program import ARITY
from colonnade.reference import EvaluationError, evaluate, run_graph
from colonnade.reference.fused import run_program
from tolerance import tolerance

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def onnx(op: str, *inputs: np.ndarray | None, **attrs: AttrValue) -> np.ndarray:
    return run(op, "", inputs, attrs)[0]


def fused(op: str, *inputs: np.ndarray | None, **attrs: AttrValue) -> np.ndarray:
    return run(op, "colonnade", inputs, attrs)[0]


def run(
    op: str,
    domain: str,
    inputs: tuple[np.ndarray | None, ...],
    attrs: dict[str, AttrValue],
    outputs: tuple[str, ...] = ("out",),
) -> tuple[np.ndarray, ...]:
    names = tuple(f"i{i}" for i in range(len(inputs)))
    return evaluate(Node(op, names, outputs, attrs, "", domain, 21), inputs)


def check_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Both are computed in float64: they differ by roundings of the results."""
    assert actual.dtype == expected.dtype
    bound = tolerance(2, float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


RELU_OF_SUM = Program(2).then("add", 1).then("relu")


def test_conv_with_residual_and_relu() -> None:
    x, w, bias, residual = floats(2, 4, 7, 6), floats(6, 2, 3, 3), floats(6), floats(2, 6, 4, 3)
    attrs: dict[str, AttrValue] = {"group": 2, "strides": (2, 2), "pads": (1, 1, 1, 1)}
    expected = onnx("Relu", onnx("Add", onnx("Conv", x, w, bias, **attrs), residual))
    check_close(fused("Conv", x, w, bias, residual, **attrs, epilogue=RELU_OF_SUM), expected)


def test_conv_without_bias() -> None:
    x, w = floats(1, 2, 5), floats(3, 2, 3)
    check_close(fused("Conv", x, w, epilogue=Program(1)), onnx("Conv", x, w))
    check_close(fused("Conv", x, w, None, epilogue=Program(1)), onnx("Conv", x, w))


def test_conv_transpose() -> None:
    x, w, bias = floats(1, 4, 5, 5), floats(4, 3, 2, 2), floats(3)
    expected = onnx("Tanh", onnx("ConvTranspose", x, w, bias, strides=(2, 2)))
    epilogue = Program(1).then("tanh")
    check_close(fused("ConvTranspose", x, w, bias, strides=(2, 2), epilogue=epilogue), expected)


def test_linear() -> None:
    x, w, bias, scale = floats(2, 3, 4), floats(4, 5), floats(5), floats(5)
    expected = onnx("Mul", onnx("Add", onnx("MatMul", x, w), bias), scale)
    check_close(fused("Linear", x, w, bias, scale, epilogue=Program(2).then("mul", 1)), expected)
    check_close(fused("Linear", x, w, epilogue=Program(1)), onnx("MatMul", x, w))


def test_layer_norm_with_residual_returns_the_sum_too() -> None:
    x, residual, scale, bias = floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8)
    total = onnx("Add", x, residual)
    expected = onnx("LayerNormalization", total, scale, bias, axis=-1, epsilon=1e-6)
    attrs: dict[str, AttrValue] = {"epsilon": 1e-6}
    made = run("LayerNorm", "colonnade", (x, scale, bias, residual), attrs, ("y", "sum"))
    check_close(made[0], expected)
    np.testing.assert_array_equal(made[1], total)


def test_rms_norm() -> None:
    x, scale = floats(2, 3, 8), floats(8)
    expected = onnx("RMSNormalization", x, scale, axis=-1, epsilon=1e-6)
    check_close(fused("RMSNorm", x, scale, epsilon=1e-6), expected)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention(causal: int, kv_heads: int) -> None:
    q, k, v = floats(2, 5, 4 * 8), floats(2, 5, kv_heads * 8), floats(2, 5, kv_heads * 6)
    mask = floats(2, 1, 5, 5)
    attrs: dict[str, AttrValue] = {"kv_num_heads": kv_heads, "scale": 0.3}
    expected = onnx("Attention", q, k, v, mask, q_num_heads=4, is_causal=causal, **attrs)
    check_close(fused("Attention", q, k, v, mask, num_heads=4, causal=causal, **attrs), expected)


def test_attention_of_flat_columns_takes_the_declared_shape() -> None:
    q, k, v = floats(6, 8), floats(6, 8), floats(6, 8)
    attrs: dict[str, AttrValue] = {"num_heads": 2, "kv_num_heads": 2, "scale": 0.5, "batch": 2}
    node = Node("Attention", ("q", "k", "v"), ("y",), attrs, "", "colonnade", 1)
    types = {"y": TensorType(DType.FLOAT32, (2, 3, 8))}
    graph = Graph("g", ("q", "k", "v"), ("y",), (node,), types, {})
    result = run_graph(graph, {"q": q, "k": k, "v": v})["y"]
    shaped = [x.reshape(2, 3, 8) for x in (q, k, v)]
    expected = onnx("Attention", *shaped, q_num_heads=2, kv_num_heads=2, scale=0.5)
    check_close(result, expected)


def test_attention_row_that_sees_nothing() -> None:
    q, k, v = floats(1, 2, 4), floats(1, 3, 4), floats(1, 3, 4)
    mask = np.zeros((1, 1, 2, 3), np.float32)
    mask[0, 0, 1] = -np.inf
    attrs: dict[str, AttrValue] = {"num_heads": 1, "kv_num_heads": 1, "scale": 1.0}
    plain = fused("Attention", q, k, v, mask, **attrs)
    assert np.isfinite(plain[0, 0]).all()
    assert np.isnan(plain[0, 1]).all()
    assert not fused("Attention", q, k, v, mask, **attrs, zero_nan_rows=1)[0, 1].any()


def test_elementwise_broadcasts() -> None:
    a, b = floats(2, 1, 3), floats(4, 1)
    result = fused("Elementwise", a, b, program=Program(2).then("mul", 1))
    np.testing.assert_array_equal(result, a * b)


def test_program_without_instructions_still_broadcasts() -> None:
    a, b = floats(1, 3), floats(2, 1)
    np.testing.assert_array_equal(run_program(Program(2), [a, b]), np.broadcast_to(a, (2, 3)))


IMMEDIATES = {
    "leaky_relu": (0.1,),
    "elu": (0.7,),
    "celu": (0.7,),
    "thresholded_relu": (0.5,),
    "hardsigmoid": (0.2, 0.5),
    "selu": (1.67, 1.05),
    "clip": (-0.5, 0.5),
}


@pytest.mark.parametrize("opcode", ARITY)
def test_every_opcode_has_a_meaning(opcode: str) -> None:
    operands = [np.abs(floats(5)) + np.float32(1) for _ in range(ARITY[opcode])]
    args = tuple(range(ARITY[opcode]))
    program = Program(len(args), (Instruction(opcode, args, IMMEDIATES.get(opcode, ())),))
    result = run_program(program, operands)
    assert result.dtype == np.float32
    assert result.shape == (5,)


def test_program_rounds_after_every_instruction() -> None:
    program = Program(2).then("add", 1).then("sub", 1)
    result = run_program(program, [np.float32([1]), np.float32([1e8])])
    assert result.tolist() == [0]


def test_wrong_number_of_operands() -> None:
    with pytest.raises(EvaluationError, match="1 operands for 2 inputs"):
        fused("Elementwise", floats(2), program=Program(2).then("add", 1))
