"""Products of 8-bit integers and their borders, on every instruction set, bit for bit.

Expected values come from exact integer sums and the float32 operations that the contract names
(native/kernels/qmatmul/qmatmul.h).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from colonnade import _core
from colonnade.ir import Instruction, Program
from colonnade.planner.lower.program import encode_program
from kernels.conv_case import Case
from kernels.harness import (
    AVAILABLE,
    columns_of,
    each_isa,
    empty_panels,
    from_panels,
    lanes_of,
    run_call,
    to_panels,
)

NO_EPILOGUE = ((), ())
F32 = np.float32
WEIGHTS = 1
"""Position of the packed weights among the operands."""


def to_bytes(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """A features x columns matrix of uint8 as byte panels; what nobody may read is 0xa5."""
    features, columns = matrix.shape
    groups, panels = -(-features // 4), -(-columns // lanes)
    padded = np.full((groups * 4, panels * lanes), 0xA5, np.uint8)
    padded[:features, :columns] = matrix
    shaped = padded.reshape(groups, 4, panels, lanes).transpose(2, 0, 3, 1)
    return unaligned_bytes(shaped.shape, shaped)


def unaligned_bytes(shape: tuple[int, ...], values: np.ndarray | None = None) -> np.ndarray:
    """Bytes that start four after a cache line, as panels may."""
    room = np.full(math.prod(shape) + 128, 0x5A, np.uint8)
    first = -room.ctypes.data % 64 + 4
    made = room[first : first + math.prod(shape)].reshape(shape)
    if values is not None:
        made[:] = values
    return made


def from_bytes(panels: np.ndarray, features: int, columns: int) -> np.ndarray:
    """The features x columns matrix in byte panels."""
    count, groups, lanes, four = panels.shape
    flat = panels.transpose(1, 3, 0, 2).reshape(groups * four, count * lanes)
    return flat[:features, :columns]


@dataclass(frozen=True)
class Scales:
    """What turns sums into outputs."""

    w_scale: np.ndarray
    bias: np.ndarray | None
    x_scale: np.ndarray
    x_zero: np.ndarray
    y_scale: np.ndarray | None
    y_zero: np.ndarray | None

    def finish(self, sums: np.ndarray, lo: float = -math.inf, hi: float = math.inf) -> np.ndarray:
        """float32 values of exact sums [m, columns] of (x - x_zero) * w."""
        factor = (F32(self.x_scale[0]) * self.w_scale).astype(F32)
        values = sums.astype(F32) * factor[:, None]
        if self.bias is not None:
            values = values + self.bias[:, None]
        return np.clip(values, F32(lo), F32(hi))

    def quantize(self, values: np.ndarray) -> np.ndarray:
        assert self.y_scale is not None and self.y_zero is not None
        return quantize(values, self.y_scale[0], self.y_zero[0])


def quantize(values: np.ndarray, scale: np.float32, zero: np.uint8) -> np.ndarray:
    z = F32(zero)
    steps = values * (F32(1) / F32(scale))
    steps = np.where(np.isnan(steps), -z, steps)
    inside = np.minimum(np.maximum(steps, -z), F32(255) - z)
    return (np.rint(inside) + z).astype(np.uint8)


def make_scales(
    rng: np.random.Generator, m: int, zero: int, *, bias: bool, to_bytes: bool
) -> Scales:
    return Scales(
        rng.uniform(0.001, 0.02, m).astype(F32),
        rng.uniform(-2, 2, m).astype(F32) if bias else None,
        np.array([0.037], F32), np.array([zero], np.uint8),
        np.array([0.11], F32) if to_bytes else None,
        np.array([131], np.uint8) if to_bytes else None,
    )  # fmt: skip


def extreme(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Random integers of a type, many of them at its ends."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    ends = rng.choice(np.array([info.min, info.max]), shape)
    return np.where(rng.random(shape) < 0.3, ends, values).astype(dtype)


@dataclass(frozen=True)
class Row:
    """A row of native/kernels/qmatmul/kernels.inc."""

    number: int
    name: str
    isa: str
    lanes: int


ROWS = [Row(number, *row) for number, row in enumerate(_core.byte_matmul_rows())]
each_row = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.isa in AVAILABLE], ids=lambda row: str(row.name)
)


def pack(row: Row, w: np.ndarray) -> np.ndarray:
    return _core.pack_byte_matmul(row.number, w, *w.shape)


def run_product(
    kernel: str,
    row: Row,
    x: np.ndarray,
    packed: np.ndarray,
    sums_of_w: np.ndarray,
    s: Scales,
    head: tuple[int, ...],
    out: tuple[int, int],
    *,
    ends: tuple[object, ...] = (-math.inf, math.inf, *NO_EPILOGUE),
    extras: tuple[np.ndarray, ...] = (),
    threads: int = 1,
) -> np.ndarray:
    """The output as a features x columns matrix."""
    m, columns = out
    lanes = row.lanes
    if s.y_scale is None:
        y = empty_panels(m, columns, lanes)
    else:
        y = unaligned_bytes((-(-columns // lanes), -(-m // 4), lanes, 4))
    inputs = [
        to_bytes(x, lanes), packed, s.w_scale, sums_of_w, s.bias, s.x_scale, s.x_zero, s.y_scale,
        s.y_zero, *extras,
    ]  # fmt: skip
    order = (*range(9), len(inputs), *range(9, len(inputs)))
    status = run_call(
        kernel,
        inputs,
        [y],
        (row.number, *head, *ends),
        row.isa,
        order=order,
        threads=threads,
        constants=(WEIGHTS,),
    )
    assert status[0] == 0
    if s.y_scale is None:
        return from_panels(y, columns)
    padding = from_bytes(y, -(-m // 4) * 4, columns)[m:]
    assert not padding.any()
    return from_bytes(y, m, columns)


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("zero", [0, 128, 255])
@pytest.mark.parametrize(
    ("m", "k"),
    [(1, 1), (3, 2), (4, 4), (5, 5), (18, 127), (33, 128), (8, 129), (16, 60), (49, 61), (70, 201)],
)
def test_products(row: Row, m: int, k: int, zero: int, is_bytes: bool) -> None:
    rng = np.random.default_rng(m * k + zero)
    lanes = row.lanes
    w = extreme(rng, (m, k), np.int8)
    s = make_scales(rng, m, zero, bias=m % 2 == 1, to_bytes=is_bytes)
    for columns in (1, lanes // 4, lanes // 4 + 1, lanes // 2 + 1, lanes - 1, lanes, 2 * lanes + 3):
        x = extreme(rng, (k, columns), np.uint8)
        sums = w.astype(np.int64) @ (x.astype(np.int64) - zero)
        blocks = min(2, -(-m // 4))
        got = run_product(
            "qmatmul_columns", row, x, pack(row, w),
            w.sum(axis=1, dtype=np.int32), s, (m, k, columns, blocks), (m, columns), threads=2,
        )  # fmt: skip
        expected = s.finish(sums)
        np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
def test_product_of_the_greatest_depth(row: Row, is_bytes: bool) -> None:
    k, m = 1 << 15, 2
    w = np.array([[-128], [127]], np.int8).repeat(k, axis=1)
    x = np.full((k, 3), 255, np.uint8)
    s = make_scales(np.random.default_rng(0), m, 0, bias=False, to_bytes=is_bytes)
    got = run_product(
        "qmatmul_columns", row, x, pack(row, w), w.sum(axis=1, dtype=np.int32),
        s, (m, k, 3, 1), (m, 3),
    )  # fmt: skip
    expected = s.finish(w.astype(np.int64) @ x.astype(np.int64))
    np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("m", [7, 70])
def test_epilogues(row: Row, m: int, is_bytes: bool) -> None:
    rng = np.random.default_rng(m)
    k, columns = 24, row.lanes + 5
    w, x = extreme(rng, (m, k), np.int8), extreme(rng, (k, columns), np.uint8)
    s = make_scales(rng, m, 7, bias=True, to_bytes=is_bytes)
    residual = rng.uniform(-1, 1, (m, columns)).astype(F32)
    program = Program(
        2, (Instruction("add", (0, 1)), Instruction("mul", (2, 2)), Instruction("relu", (3,)))
    )
    got = run_product(
        "qmatmul_columns", row, x, pack(row, w), w.sum(axis=1, dtype=np.int32),
        s, (m, k, columns, 1), (m, columns),
        ends=(-1.5, 1.5, (0,), encode_program(program)),
        extras=(to_panels(residual, row.lanes),),
    )  # fmt: skip
    values = s.finish(w.astype(np.int64) @ (x.astype(np.int64) - 7), -1.5, 1.5)
    total = values + residual
    expected = np.maximum(total * total, F32(0))
    np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


def conv_sums(case: Case, x: np.ndarray, w: np.ndarray, zero: int) -> np.ndarray:
    """[outs, columns] of (x - zero) * w, exactly."""
    top, left, bottom, right = case.pads
    centred = np.pad(x.astype(np.int64) - zero, ((0, 0), (0, 0), (top, bottom), (left, right)))
    out_h, out_w = case.out_size
    result = np.zeros((case.batch, case.outs, out_h, out_w), np.int64)
    own, each = case.channels // case.group, case.outs // case.group
    for i in range(case.kernel[0]):
        for j in range(case.kernel[1]):
            rows = slice(i * case.dilation[0], None, case.stride[0])
            cols = slice(j * case.dilation[1], None, case.stride[1])
            seen = centred[:, :, rows, cols][:, :, :out_h, :out_w]
            for g in range(case.group):
                part = seen[:, g * own : (g + 1) * own]
                taps = w[g * each : (g + 1) * each, :, i, j].astype(np.int64)
                result[:, g * each : (g + 1) * each] += np.einsum("nchw,oc->nohw", part, taps)
    return columns_of(result)


CONVS = [
    Case(1, 1, (1, 1), 1, (1, 1)),
    Case(1, 3, (7, 7), 5, (3, 3), pads=(1, 1, 1, 1)),
    Case(1, 3, (23, 37), 7, (7, 7), stride=(2, 2), pads=(3, 3, 3, 3)),
    Case(2, 10, (9, 14), 13, (3, 3), pads=(0, 1, 2, 0)),
    Case(1, 40, (16, 16), 6, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
    Case(2, 8, (10, 11), 16, (3, 2), group=2, pads=(1, 0, 1, 1)),
    Case(1, 5, (1, 90), 8, (1, 3), pads=(0, 1, 0, 1)),
    Case(4, 12, (7, 7), 6, (1, 1), stride=(2, 2)),
    Case(1, 6, (13, 14), 4, (3, 3), dilation=(2, 3), pads=(2, 3, 2, 3)),
    Case(2, 300, (5, 5), 14, (3, 3), pads=(1, 1, 1, 1)),
]
DEPTHWISE = [
    Case(1, 3, (7, 7), 3, (3, 3), pads=(1, 1, 1, 1), group=3),
    Case(2, 5, (14, 14), 5, (5, 5), pads=(2, 2, 2, 2), group=5),
    Case(1, 9, (33, 33), 9, (3, 3), stride=(2, 2), pads=(0, 0, 1, 1), group=9),
    Case(3, 2, (9, 33), 2, (3, 3), dilation=(2, 2), pads=(2, 2, 2, 2), group=2),
    Case(1, 4, (1, 130), 4, (1, 7), pads=(0, 3, 0, 3), group=4),
    Case(1, 6, (37, 41), 6, (3, 3), pads=(1, 1, 1, 1), group=6),
    Case(1, 2, (3, 1100), 2, (3, 3), stride=(1, 2), pads=(1, 1, 1, 1), group=2),
    Case(1, 2, (2, 2300), 2, (1, 3), dilation=(1, 40), pads=(0, 40, 0, 40), group=2),
    Case(5, 7, (6, 5), 7, (2, 4), stride=(3, 3), pads=(1, 2, 0, 1), group=7),
    Case(1, 1, (64, 40), 1, (5, 1), stride=(2, 1), pads=(2, 0, 2, 0), group=1),
]


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize(
    ("kernel", "number"),
    [
        *(("qconv", number) for number in range(len(CONVS))),
        *(("qdepthwise", number) for number in range(len(DEPTHWISE))),
    ],
)
def test_convolutions(row: Row, kernel: str, number: int, is_bytes: bool) -> None:
    case = (CONVS if kernel == "qconv" else DEPTHWISE)[number]
    rng = np.random.default_rng(number)
    w = extreme(rng, (case.outs, case.channels // case.group, *case.kernel), np.int8)
    x = extreme(rng, (case.batch, case.channels, *case.size), np.uint8)
    columns = case.batch * math.prod(case.out_size)
    shape = case.shape()
    packed = _core.pack_byte_conv(row.number, w, list(shape), kernel == "qdepthwise")
    for zero, blocks in ((0, 1), (77, min(2, -(-case.outs // 4))), (255, 1)):
        s = make_scales(rng, case.outs, zero, bias=True, to_bytes=is_bytes)
        got = run_product(
            kernel, row, columns_of(x), packed,
            w.reshape(case.outs, -1).sum(axis=1, dtype=np.int32), s, (*shape, blocks),
            (case.outs, columns), threads=2,
        )  # fmt: skip
        expected = s.finish(conv_sums(case, x, w, zero))
        np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


def pruned(rng: np.random.Generator, w: np.ndarray, density: float) -> np.ndarray:
    """[m, channels, ...] with most fours of channels zero, and some single zeros."""
    fours = -(-w.shape[1] // 4)
    kept = np.repeat(rng.random((w.shape[0], fours, *w.shape[2:])) < density, 4, axis=1)
    kept = kept[:, : w.shape[1]] & (rng.random(w.shape) < 0.8)
    return np.where(kept, w, np.int8(0))


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("m", "k", "k_block"), [(1, 1, 1), (66, 130, 16), (130, 700, 128)])
def test_sparse_products(
    row: Row, m: int, k: int, k_block: int, density: float, is_bytes: bool
) -> None:
    rng = np.random.default_rng(m + k)
    lanes = row.lanes
    w = pruned(rng, extreme(rng, (m, k), np.int8), density)
    w[: m // 2] = w[:1]  # Equal columns.
    s = make_scales(rng, m, 77, bias=True, to_bytes=is_bytes)
    packed = _core.pack_byte_sparse(row.number, w, m, k, [], k_block)
    for columns in (1, lanes, 2 * lanes + 3):
        x = extreme(rng, (k, columns), np.uint8)
        sums = w.astype(np.int64) @ (x.astype(np.int64) - 77)
        got = run_product(
            "qsparse_columns", row, x, packed, w.sum(axis=1, dtype=np.int32), s,
            (m, k, columns, k_block, min(2, -(-m // 64))), (m, columns), threads=2,
        )  # fmt: skip
        expected = s.finish(sums)
        np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


@each_row
@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("number", range(len(CONVS)))
def test_sparse_convolutions(row: Row, number: int, is_bytes: bool) -> None:
    case = CONVS[number]
    rng = np.random.default_rng(number)
    w = extreme(rng, (case.outs, case.channels // case.group, *case.kernel), np.int8)
    w = pruned(rng, w, 0.3)
    x = extreme(rng, (case.batch, case.channels, *case.size), np.uint8)
    columns = case.batch * math.prod(case.out_size)
    shape, depth = case.shape(), w[0].size
    s = make_scales(rng, case.outs, 200, bias=False, to_bytes=is_bytes)
    for k_block in (2, 200):
        packed = _core.pack_byte_sparse(row.number, w, case.outs, depth, list(shape), k_block)
        got = run_product(
            "qsparse_conv", row, columns_of(x), packed,
            w.reshape(case.outs, -1).sum(axis=1, dtype=np.int32), s, (*shape, k_block, 1),
            (case.outs, columns), threads=2,
        )  # fmt: skip
        expected = s.finish(conv_sums(case, x, w, 200))
        np.testing.assert_array_equal(got, s.quantize(expected) if is_bytes else expected)


@each_isa
@pytest.mark.parametrize(("features", "spare"), [(1, 0), (4, 1), (7, 3), (13, -1)])
def test_borders(isa: str, features: int, spare: int) -> None:
    rng = np.random.default_rng(features)
    lanes = lanes_of(isa)
    columns = 2 * lanes + spare
    values = rng.normal(0, 3, (features, columns)).astype(F32)
    values.flat[:4] = [np.nan, np.inf, -np.inf, F32(0.05) * F32(2.5)][: values.size]
    scale, zero = np.array([0.05], F32), np.array([100], np.uint8)
    y = unaligned_bytes((-(-columns // lanes), -(-features // 4), lanes, 4))
    params = (features, columns)
    inputs = [to_panels(values, lanes), scale, zero]
    assert run_call("quantize_columns", inputs, [y], params, isa)[0] == 0
    bytes_ = quantize(values, scale[0], zero[0])
    np.testing.assert_array_equal(from_bytes(y, features, columns), bytes_)
    back = empty_panels(features, columns, lanes)
    assert run_call("dequantize_columns", [y, scale, zero], [back], params, isa)[0] == 0
    expected = (bytes_.astype(F32) - F32(100)) * scale[0]
    np.testing.assert_array_equal(from_panels(back, columns), expected)


@each_isa
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize(
    ("outer", "features", "inner"), [(1, 1, 1), (3, 5, 7), (2, 8, 70), (90, 6, 1)]
)
def test_rows_and_back(isa: str, outer: int, features: int, inner: int, is_signed: bool) -> None:
    rng = np.random.default_rng(outer)
    lanes = lanes_of(isa)
    rows = rng.integers(0, 256, (outer, features, inner)).astype(np.uint8)
    columns = outer * inner
    y = unaligned_bytes((-(-columns // lanes), -(-features // 4), lanes, 4))
    params = (outer, features, inner, int(is_signed))
    assert run_call("rows_to_bytes", [rows], [y], params, isa)[0] == 0
    flip = np.uint8(128 if is_signed else 0)
    np.testing.assert_array_equal(from_bytes(y, features, columns), columns_of(rows) ^ flip)
    back = np.zeros_like(rows)
    assert run_call("bytes_to_rows", [y], [back], params, isa)[0] == 0
    np.testing.assert_array_equal(back, rows)
