"""Every pooling row against numpy: windows, strides, padding, ceil, NaN; whole samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.harness import (
    columns_of,
    each_isa,
    empty_panels,
    from_panels,
    lanes_of,
    run_call,
    to_panels,
)
from tolerance import tolerance

CASES = [
    # batch, channels, in, kernel, stride, dilation, pads
    (1, 1, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 3, (7, 9), (2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
    (1, 5, (16, 70), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (3, 2, (8, 8), (3, 2), (1, 3), (1, 1), (0, 1, 2, 0)),
    (1, 2, (12, 12), (3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
]


def exact_pool(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[int, ...],
    kind: str,
) -> np.ndarray:
    fill = -np.inf if kind == "max" else 0.0
    width = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(x.astype(np.float64), width, constant_values=fill)
    inside = np.pad(np.ones_like(x, dtype=np.float64), width)
    size = [
        (padded.shape[2 + a] - (kernel[a] - 1) * dilation[a] - 1) // stride[a] + 1 for a in (0, 1)
    ]
    taps, counts = [], []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            at = (
                slice(None), slice(None),
                slice(i * dilation[0], i * dilation[0] + (size[0] - 1) * stride[0] + 1, stride[0]),
                slice(j * dilation[1], j * dilation[1] + (size[1] - 1) * stride[1] + 1, stride[1]),
            )  # fmt: skip
            taps.append(padded[at])
            counts.append(inside[at])
    if kind == "max":
        return np.max(taps, axis=0)
    return np.sum(taps, axis=0) / (np.sum(counts, axis=0) if kind == "mean" else len(taps))


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", ["max", "mean", "mean_padded"])
@pytest.mark.parametrize("by_panels", [False, True])
def test_window(isa: str, case: tuple[object, ...], kind: str, by_panels: bool) -> None:
    batch, channels, size, kernel, stride, dilation, pads = case
    rng = np.random.default_rng(2)
    lanes = lanes_of(isa)
    x = rng.uniform(-1, 1, (batch, channels, *size)).astype(np.float32)
    exact = exact_pool(x, kernel, stride, dilation, pads, kind)
    columns = batch * math.prod(exact.shape[2:])
    y = empty_panels(channels, columns, lanes)
    params = (
        int(kind != "max"), kind == "mean_padded", batch, channels, *size, *exact.shape[2:],
        *kernel, *stride, *dilation, *pads, by_panels,
    )  # fmt: skip
    status = run_call("pool_window", [to_panels(columns_of(x), lanes)], [y], params, isa, threads=2)
    assert status[0] == 0
    error = np.abs(from_panels(y, columns) - columns_of(exact)).max()
    assert error <= (0 if kind == "max" else tolerance(math.prod(kernel), 1, 1))


@each_isa
def test_max_window_passes_nan_on(isa: str) -> None:
    lanes = lanes_of(isa)
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    y = empty_panels(1, 4, lanes)
    params = (0, False, 1, 1, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, False)
    run_call("pool_window", [to_panels(columns_of(x), lanes)], [y], params, isa)
    np.testing.assert_array_equal(from_panels(y, 4)[0], [np.nan, 7, 13, 15])


@each_isa
@pytest.mark.parametrize("inner", [1, 15, 49, 64, 200])
@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
def test_global(isa: str, inner: int, kind: str) -> None:
    rng = np.random.default_rng(inner)
    lanes = lanes_of(isa)
    x = rng.uniform(-1, 1, (3, 5, inner)).astype(np.float32)
    y = np.full((3, 5), np.nan, np.float32)
    params = (["max", "mean", "sum"].index(kind), 3, 5, inner)
    status = run_call("pool_global", [to_panels(columns_of(x), lanes)], [y], params, isa, threads=2)
    assert status[0] == 0
    exact = getattr(x.astype(np.float64), kind)(axis=2)
    assert np.abs(y - exact).max() <= (0 if kind == "max" else tolerance(inner, 1, 1))
