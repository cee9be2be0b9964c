"""What stays in 8 bits beside products, native alone, within a step of ONNX Runtime.

Each graph is a small block of a network family between QuantizeLinear and DequantizeLinear; int8 and
uint8, channels that fill groups of four and that do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import colonnade
from conformance.test_quantized_producers import onnxruntime_outputs

BATCH, SIZE = 2, 13


@dataclass(frozen=True)
class Block:
    """A graph from q (integers) and d (what they stand for) to r, and a kernel that it must use."""

    text: str
    kernels: frozenset[str]
    steps: int = 1
    """Of the output: zero where integers only move."""


def border(value: str, made: str, scale: str = "s", zero: str = "z") -> str:
    return (
        f"{made}_q = QuantizeLinear({value}, {scale}, {zero})"
        f"  {made} = DequantizeLinear({made}_q, {scale}, {zero})"
    )


WINDOW = "<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>"
BLOCKS = {
    "max_pool": Block(f"m = MaxPool {WINDOW} (d) {border('m', 'r')}", frozenset({"bytes_pool"}), 0),
    "average_pool": Block(
        f"m = AveragePool {WINDOW} (d) {border('m', 'r', 's2', 'z2')}", frozenset({"bytes_pool"})
    ),
    "average_pool_with_padding": Block(
        "m = AveragePool <kernel_shape = [3,2], pads = [1,0,1,1], count_include_pad = 1> (d)"
        f" {border('m', 'r', 's2', 'z2')}",
        frozenset({"bytes_pool"}),
    ),
    "average_pool_with_ceil": Block(
        "m = AveragePool <kernel_shape = [3,3], strides = [3,2], ceil_mode = 1> (d)"
        f" {border('m', 'r', 's2', 'z2')}",
        frozenset({"bytes_pool"}),
    ),
    "global_pool": Block(
        f"m = GlobalAveragePool(d) {border('m', 'r', 's2', 'z2')}", frozenset({"bytes_mean"})
    ),
    "mean_without_axes": Block(
        f"m = ReduceMean <axes = [2,3], keepdims = 0> (d) {border('m', 'r', 's2', 'z2')}",
        frozenset({"bytes_mean"}),
    ),
    "hardswish": Block(
        f"m = HardSwish(d) {border('m', 'r', 's2', 'z2')}", frozenset({"bytes_table_columns"})
    ),
    "silu": Block(
        f"g = Sigmoid(d) {border('g', 'h', 's1', 'low')} m = Mul(d, h) {border('m', 'r', 's2', 'z2')}",
        frozenset({"bytes_table_columns"}),
    ),
    "squeeze_and_excite": Block(
        f"g = GlobalAveragePool(d) {border('g', 'h', 's2', 'z2')} i = HardSigmoid(h)"
        f" {border('i', 'k', 's1', 'low')} m = Mul(d, k) {border('m', 'r', 's2', 'z2')}",
        frozenset({"bytes_mean", "bytes_table_columns", "bytes_binary"}),
    ),
    "bias": Block(f"m = Add(d, bias) {border('m', 'r', 's2', 'z2')}", frozenset({"bytes_binary"})),
    "residual": Block(
        f"m = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (d) {border('m', 'k')}"
        " n = Add(k, d) o = Relu(n)"
        f" {border('o', 'r', 's2', 'z2')}",
        frozenset({"bytes_pool", "bytes_binary"}),
    ),
    "concat_of_other_scales": Block(
        f"g = Tanh(d) {border('g', 'h', 's1', 'z2')} c = Concat <axis = 1> (d, h, d)"
        f" {border('c', 'r', 's2', 'z2')}",
        frozenset({"concat", "bytes_table_columns"}),
    ),
    "split": Block(
        f"a, b = Split <axis = 1> (d, parts) c = Concat <axis = 1> (b, a) {border('c', 'r')}",
        frozenset({"split", "concat"}), 0,
    ),
    "slice": Block(
        f"c = Slice(d, four, eight, one) {border('c', 'r')}", frozenset({"strided_copy"}), 0
    ),
    "nearest": Block(
        f'c = Resize <mode = "nearest"> (d, , twice) {border("c", "r")}',
        frozenset({"grid_gather"}), 0,
    ),
    "padding": Block(f"c = Pad(d, pads) {border('c', 'r')}", frozenset({"grid_gather"}), 0),
}  # fmt: skip


def build(block: Block, channels: int, is_signed: bool) -> onnx.ModelProto:
    kind, convs = ("int8", 127) if is_signed else ("uint8", 255)
    text = f"""<ir_version: 9, opset_import: ["" : 17]> block
      ({kind}[{BATCH},{channels},{SIZE},{SIZE}] x) => ({kind} r_q) {{
      one_by_one = DequantizeLinear(w, ws)  dx = DequantizeLinear(x, s, z)
      v = Conv(dx, one_by_one)  {border("v", "d")}  {block.text}
    }}"""
    model = parser.parse_model(text)
    dtype = np.int8 if is_signed else np.uint8
    rng = np.random.default_rng(channels)
    shift = 128 if is_signed else 0
    first = channels // 2 // 4 * 4 or 1
    constants = {
        "w": rng.integers(-63, 64, (channels, channels, 1, 1)).astype(np.int8),
        "ws": np.float32(0.4 / convs), "s": np.float32(0.05), "z": dtype(120 - shift),
        "s1": np.float32(1 / 255), "s2": np.float32(0.037), "z2": dtype(100 - shift),
        "low": dtype(-shift), "bias": rng.normal(0, 1, (channels, 1, 1)).astype(np.float32),
        "parts": np.array([first, channels - first]),
        "four": np.array([4]), "eight": np.array([8]), "one": np.array([1]),
        "twice": np.array([1, 1, 2, 2], np.float32), "pads": np.array([0, 0, 1, 0, 0, 0, 2, 3]),
    }  # fmt: skip
    for name, value in constants.items():
        if name in text:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("channels", [8, 10, 32])
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name: str, channels: int, is_signed: bool) -> None:
    block = BLOCKS[name]
    model = build(block, channels, is_signed)
    rng = np.random.default_rng(3)
    low, high = (-128, 128) if is_signed else (0, 256)
    dtype = np.int8 if is_signed else np.uint8
    feeds = {"x": rng.integers(low, high, (BATCH, channels, SIZE, SIZE)).astype(dtype)}
    engine = colonnade.compile(model, fallback="forbid", tune="off")
    got = engine.run(feeds)["r_q"].astype(int)
    nodes = engine.explain().nodes
    assert block.kernels <= {node.kernel for node in nodes}
    assert not {"DequantizeLinear", "QuantizeLinear", "Elementwise"} & {node.op for node in nodes}
    (wanted,) = onnxruntime_outputs(model, feeds)
    assert np.abs(got - wanted.astype(int)).max() <= block.steps
