"""What is done to bytes beside products, on every instruction set, bit for bit.

Expected values come from exact integer sums and the float32 operations that the contract names
(native/kernels/bytes/bytes.h).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.harness import columns_of, each_isa, lanes_of, run_call
from kernels.test_byte_kernels import extreme, from_bytes, quantize, to_bytes, unaligned_bytes
from kernels.test_pool_kernels import CASES

F32 = np.float32
Scale = tuple[np.ndarray, np.ndarray]
WINDOWS = [
    *CASES,
    (2, 7, (14, 33), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 4, (16, 17), (16, 16), (1, 1), (1, 1), (0, 0, 0, 0)),
    (1, 9, (5, 130), (1, 3), (1, 2), (1, 1), (0, 1, 0, 1)),
]


def scale_of(scale: float, zero: int) -> Scale:
    return np.array([scale], F32), np.array([zero], np.uint8)


def byte_panels(features: int, columns: int, isa: str) -> np.ndarray:
    lanes = lanes_of(isa)
    return unaligned_bytes((-(-columns // lanes), -(-features // 4), lanes, 4))


def real(x: np.ndarray, scale: Scale) -> np.ndarray:
    return (x.astype(F32) - F32(scale[1][0])) * scale[0][0]


@each_isa
@pytest.mark.parametrize("is_product", [False, True])
@pytest.mark.parametrize(("features", "inner"), [(1, 0), (4, 0), (6, 0), (5, 1), (7, 9), (8, 70)])
def test_two_tensors(isa: str, features: int, inner: int, is_product: bool) -> None:
    rng = np.random.default_rng(features)
    lanes = lanes_of(isa)
    columns = 3 * inner if inner else lanes + 3
    a = extreme(rng, (features, columns), np.uint8)
    b = extreme(rng, (features, 3 if inner else columns), np.uint8)
    scales = [scale_of(0.02, 3), scale_of(0.05, 128), scale_of(0.07, 120)]
    y = byte_panels(features, columns, isa)
    inputs = [to_bytes(a, lanes), *scales[0], to_bytes(b, lanes), *scales[1], *scales[2]]
    params = (features, columns, inner, int(is_product), 0.0, 4.0)
    assert run_call("bytes_binary", inputs, [y], params, isa, threads=2)[0] == 0
    left, right = real(a, scales[0]), real(np.repeat(b, inner or 1, axis=1), scales[1])
    both = left * right if is_product else left + right
    expected = quantize(np.clip(both, F32(0), F32(4)), scales[2][0][0], scales[2][1][0])
    np.testing.assert_array_equal(from_bytes(y, features, columns), expected)


@each_isa
@pytest.mark.parametrize("is_product", [False, True])
@pytest.mark.parametrize("features", [1, 4, 7])
def test_a_value_a_feature(isa: str, features: int, is_product: bool) -> None:
    rng = np.random.default_rng(features)
    lanes = lanes_of(isa)
    columns = 2 * lanes + 3
    a = extreme(rng, (features, columns), np.uint8)
    b = rng.normal(0, 1, features).astype(F32)
    a_scale, y_scale = scale_of(0.02, 3), scale_of(0.07, 120)
    y = byte_panels(features, columns, isa)
    inputs = [to_bytes(a, lanes), *a_scale, b, None, None, *y_scale]
    params = (features, columns, 0, int(is_product), -1.0, 4.0)
    assert run_call("bytes_binary", inputs, [y], params, isa, threads=2)[0] == 0
    left, right = real(a, a_scale), b[:, None]
    both = left * right if is_product else left + right
    expected = quantize(np.clip(both, F32(-1), F32(4)), y_scale[0][0], y_scale[1][0])
    np.testing.assert_array_equal(from_bytes(y, features, columns), expected)


@each_isa
@pytest.mark.parametrize("count", [1, 31, 256, 5000, 1 << 16])
def test_tables(isa: str, count: int) -> None:
    rng = np.random.default_rng(count)
    table = rng.integers(0, 256, 256).astype(np.uint8)
    x = np.resize(rng.permutation(256), count).astype(np.uint8)
    y = np.zeros_like(x)
    assert run_call("bytes_table", [x, table], [y], (count,), isa, threads=2)[0] == 0
    np.testing.assert_array_equal(y, table[x])


@each_isa
@pytest.mark.parametrize(("features", "spare"), [(1, 0), (4, 1), (7, 3), (13, -1)])
def test_tables_in_columns(isa: str, features: int, spare: int) -> None:
    rng = np.random.default_rng(features)
    lanes = lanes_of(isa)
    columns = 20 * lanes + spare
    table = rng.integers(1, 256, 256).astype(np.uint8)
    x = np.resize(rng.permutation(256), features * columns).astype(np.uint8)
    x = x.reshape(features, columns)
    y = byte_panels(features, columns, isa)
    status = run_call(
        "bytes_table_columns", [to_bytes(x, lanes), table], [y], (features, columns), isa, threads=2
    )
    assert status[0] == 0
    np.testing.assert_array_equal(from_bytes(y, features, columns), table[x])
    assert not from_bytes(y, -(-features // 4) * 4, columns)[features:].any()


def window_taps(
    x: np.ndarray, case: tuple[object, ...], fill: int
) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """x at every position of the window, padded with `fill`."""
    _, _, _, kernel, stride, dilation, pads = case
    widths = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(x.astype(np.int64), widths, constant_values=fill)
    size = tuple(
        (padded.shape[2 + a] - (kernel[a] - 1) * dilation[a] - 1) // stride[a] + 1 for a in (0, 1)
    )
    taps = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = padded[:, :, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]]
            taps.append(rows[:, :, : size[0], : size[1]])
    return taps, size


@each_isa
@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", ["max", "mean", "mean_padded"])
@pytest.mark.parametrize("by_panels", [False, True])
def test_windows(isa: str, case: tuple[object, ...], kind: str, by_panels: bool) -> None:
    batch, channels, size, kernel, stride, dilation, pads = case
    rng = np.random.default_rng(channels)
    lanes = lanes_of(isa)
    x = extreme(rng, (batch, channels, *size), np.uint8)
    x_scale, y_scale = scale_of(0.03, 77), scale_of(0.02, 100)
    taps, out = window_taps(x, case, 0 if kind == "max" else 77)
    if kind == "max":
        expected = np.max(taps, axis=0)
    else:
        inside, _ = window_taps(np.ones_like(x), case, int(kind == "mean_padded"))
        sums = np.sum([tap - 77 for tap in taps], axis=0).astype(F32)
        factor = x_scale[0][0] / np.sum(inside, axis=0).astype(F32)
        expected = quantize(sums * factor, y_scale[0][0], y_scale[1][0])
    columns = batch * math.prod(out)
    y = byte_panels(channels, columns, isa)
    params = (
        int(kind != "max"), int(kind == "mean_padded"), batch, channels, *size, *out, *kernel,
        *stride, *dilation, *pads, by_panels,
    )  # fmt: skip
    scales = [None] * 4 if kind == "max" else [*x_scale, *y_scale]
    inputs = [to_bytes(columns_of(x), lanes), *scales]
    assert run_call("bytes_pool", inputs, [y], params, isa, threads=2)[0] == 0
    np.testing.assert_array_equal(from_bytes(y, channels, columns), columns_of(expected))


@each_isa
@pytest.mark.parametrize("inner", [1, 15, 49, 64, 5000])
@pytest.mark.parametrize(("batch", "features"), [(1, 1), (3, 6), (20, 4)])
def test_means(isa: str, batch: int, features: int, inner: int) -> None:
    rng = np.random.default_rng(inner)
    lanes = lanes_of(isa)
    x = extreme(rng, (batch, features, inner), np.uint8)
    x_scale, y_scale = scale_of(0.03, 200), scale_of(0.001, 100)
    y = byte_panels(features, batch, isa)
    inputs = [to_bytes(columns_of(x), lanes), *x_scale, *y_scale]
    status = run_call("bytes_mean", inputs, [y], (batch, features, inner), isa, threads=2)
    assert status[0] == 0
    sums = (x.astype(np.int64) - 200).sum(axis=2).astype(F32)
    expected = quantize(sums * (x_scale[0][0] / F32(inner)), y_scale[0][0], y_scale[1][0])
    np.testing.assert_array_equal(from_bytes(y, features, batch), expected.T)
