"""Every convolution row against float64: strides, dilation, padding, groups, batch, odd sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade import _core
from kernels.conv_case import Case
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

NO_EPILOGUE = ((), ())


CASES = [
    Case(1, 1, (1, 1), 1, (1, 1)),
    Case(1, 3, (7, 7), 5, (3, 3), pads=(1, 1, 1, 1)),
    Case(2, 4, (9, 5), 13, (3, 3), pads=(0, 1, 2, 0)),
    Case(1, 8, (16, 16), 6, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
    Case(1, 3, (23, 37), 7, (7, 7), stride=(2, 2), pads=(3, 3, 3, 3)),
    Case(3, 2, (8, 70), 3, (1, 5), stride=(1, 3), pads=(0, 2, 0, 2)),
    Case(1, 4, (13, 14), 4, (3, 3), dilation=(2, 3), pads=(2, 3, 2, 3)),
    Case(2, 6, (10, 11), 9, (3, 2), group=3, pads=(1, 0, 1, 1)),
    Case(1, 5, (1, 90), 8, (1, 3), pads=(0, 1, 0, 1)),
    Case(2, 300, (5, 5), 14, (3, 3), pads=(1, 1, 1, 1)),
    Case(4, 12, (7, 7), 6, (1, 1), stride=(2, 2)),
    Case(1, 2, (4, 4), 2, (6, 6), pads=(4, 4, 4, 4)),
    Case(2, 3, (33, 130), 6, (5, 5), stride=(2, 2), dilation=(1, 2), pads=(4, 6, 4, 2)),
    Case(1, 8, (3, 150), 2, (1, 33), stride=(1, 2), pads=(0, 16, 0, 16)),
    Case(1, 2, (3, 150), 2, (1, 34), stride=(1, 2), pads=(0, 16, 0, 17)),
    Case(1, 9, (12, 40), 4, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
    Case(2, 3, (9, 6), 4, (3, 3), stride=(1, 2), pads=(1, 6, 1, 6)),
    Case(1, 4, (12, 12), 4, (5, 5), dilation=(3, 3), pads=(6, 6, 6, 6)),
]
DEPTHWISE = [
    Case(1, 3, (7, 7), 3, (3, 3), pads=(1, 1, 1, 1), group=3),
    Case(2, 5, (14, 14), 5, (5, 5), pads=(2, 2, 2, 2), group=5),
    Case(2, 3, (15, 17), 6, (3, 3), stride=(2, 2), pads=(0, 0, 1, 1), group=3),
    Case(1, 4, (56, 56), 4, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1), group=4),
    Case(3, 2, (9, 33), 2, (3, 3), dilation=(2, 2), pads=(2, 2, 2, 2), group=2),
    Case(1, 2, (20, 20), 2, (5, 5), stride=(3, 3), pads=(2, 2, 2, 2), group=2),
    Case(1, 3, (1, 130), 3, (1, 3), pads=(0, 1, 0, 1), group=3),
]


def exact_conv(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Plain sums in float64."""
    out_h, out_w = case.out_size
    top, left, bottom, right = case.pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    y = np.zeros((case.batch, case.outs, out_h, out_w))
    channels, outs = case.channels // case.group, case.outs // case.group
    for i in range(case.kernel[0]):
        for j in range(case.kernel[1]):
            h, v = i * case.dilation[0], j * case.dilation[1]
            seen = padded[
                :, :, h : h + (out_h - 1) * case.stride[0] + 1 : case.stride[0],
                v : v + (out_w - 1) * case.stride[1] + 1 : case.stride[1],
            ]  # fmt: skip
            for g in range(case.group):
                part = seen[:, g * channels : (g + 1) * channels]
                weights = w[g * outs : (g + 1) * outs, :, i, j].astype(np.float64)
                y[:, g * outs : (g + 1) * outs] += np.einsum("nchw,oc->nohw", part, weights)
    return y


def exact_transpose(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The adjoint of `case`: x has its output's shape, the result its input's."""
    top, left, bottom, right = case.pads
    h, v = case.size
    y = np.zeros((case.batch, case.channels, h + top + bottom, v + left + right))
    outs, channels = case.outs // case.group, case.channels // case.group
    out_h, out_w = case.out_size
    for i in range(case.kernel[0]):
        for j in range(case.kernel[1]):
            r, c = i * case.dilation[0], j * case.dilation[1]
            for g in range(case.group):
                part = x[:, g * outs : (g + 1) * outs].astype(np.float64)
                weights = w[g * outs : (g + 1) * outs, :, i, j].astype(np.float64)
                y[
                    :, g * channels : (g + 1) * channels,
                    r : r + (out_h - 1) * case.stride[0] + 1 : case.stride[0],
                    c : c + (out_w - 1) * case.stride[1] + 1 : case.stride[1],
                ] += np.einsum("nohw,oc->nchw", part, weights)  # fmt: skip
    return y[:, :, top : top + h, left : left + v]


def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-1, 1, shape).astype(np.float32)


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("blocks", [1, 2])
def test_conv(isa: str, case: Case, blocks: int) -> None:
    rng = np.random.default_rng(3)
    lanes = lanes_of(isa)
    x = uniform(rng, case.batch, case.channels, *case.size)
    w = uniform(rng, case.outs, case.channels // case.group, *case.kernel)
    bias = uniform(rng, case.outs)
    shape = case.shape()
    row, _, tile = _core.choose_conv(isa, list(shape), False)
    tiles = case.group * -(-(case.outs // case.group) // tile)
    if blocks > tiles:
        pytest.skip("fewer row tiles than blocks")
    out_columns = case.batch * math.prod(case.out_size)
    y = empty_panels(case.outs, out_columns, lanes)
    packed = _core.pack_conv(row, w, list(shape), False)
    status = run_call(
        "conv",
        [to_panels(columns_of(x), lanes), packed, bias, None],
        [y],
        (row, *shape, blocks, -0.25, math.inf, *NO_EPILOGUE),
        isa,
        threads=2,
    )
    assert status[0] == 0
    exact = np.maximum(exact_conv(case, x, w) + bias[None, :, None, None], -0.25)
    depth = w[0].size + 1
    assert np.abs(from_panels(y, out_columns) - columns_of(exact)).max() <= tolerance(depth, 1, 1)


@each_isa
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
@pytest.mark.parametrize("stripe", [1, 1000])
def test_depthwise(isa: str, case: Case, stripe: int) -> None:
    rng = np.random.default_rng(4)
    lanes = lanes_of(isa)
    x = uniform(rng, case.batch, case.channels, *case.size)
    w = uniform(rng, case.outs, 1, *case.kernel)
    bias = uniform(rng, case.outs)
    shape = case.shape()
    row, _, _ = _core.choose_depthwise(isa, list(shape))
    out_columns = case.batch * math.prod(case.out_size)
    y = empty_panels(case.outs, out_columns, lanes)
    status = run_call(
        "depthwise",
        [to_panels(columns_of(x), lanes), np.ascontiguousarray(w), bias, None],
        [y],
        (row, *shape, 2, stripe, -math.inf, 0.5, *NO_EPILOGUE),
        isa,
        threads=2,
    )
    assert status[0] == 0
    exact = np.minimum(exact_conv(case, x, w) + bias[None, :, None, None], 0.5)
    depth = math.prod(case.kernel) + 1
    assert np.abs(from_panels(y, out_columns) - columns_of(exact)).max() <= tolerance(depth, 1, 1)


@each_isa
@pytest.mark.parametrize("case", [c for c in CASES if c.size != (4, 4)], ids=str)
def test_conv_transpose(isa: str, case: Case) -> None:
    rng = np.random.default_rng(5)
    lanes = lanes_of(isa)
    x = uniform(rng, case.batch, case.outs, *case.out_size)
    w = uniform(rng, case.outs, case.channels // case.group, *case.kernel)
    shape = case.shape(transposed=True)
    row, _, _ = _core.choose_conv(isa, list(shape), True)
    columns = case.batch * math.prod(case.size)
    y = empty_panels(case.channels, columns, lanes)
    status = run_call(
        "conv_transpose",
        [to_panels(columns_of(x), lanes), _core.pack_conv(row, w, list(shape), True), None, None],
        [y],
        (row, *shape, 1, -math.inf, math.inf, *NO_EPILOGUE),
        isa,
        threads=2,
    )
    assert status[0] == 0
    depth = case.outs * math.prod(case.kernel)
    exact = columns_of(exact_transpose(case, x, w))
    assert np.abs(from_panels(y, columns) - exact).max() <= tolerance(depth, 1, 1)


@each_isa
@pytest.mark.parametrize(
    ("kernel", "changes", "message"),
    [
        ("conv", {"stride_w": 1 << 31, "out_w": 9}, "reaches too far"),
        ("conv", {"dilation_h": 1 << 31, "kernel_h": 9}, "reaches too far"),
        ("conv_transpose", {"stride_h": 1 << 31, "in_h": 9}, "reaches too far"),
        ("depthwise", {"stride_w": 1 << 31, "out_w": 9}, "reaches too far"),
        ("depthwise", {"dilation_h": 1 << 31, "kernel_h": 9}, "reaches too far"),
        ("depthwise", {"pad_top": 1 << 31, "pad_left": 1 << 31}, "is too large"),
        ("depthwise", {"dilation_h": 1 << 29, "dilation_w": 1 << 29}, "is too large"),
    ],
    ids=str,
)
def test_shapes_that_overflow_are_refused(
    isa: str, kernel: str, changes: dict[str, int], message: str
) -> None:
    names = (
        "batch", "channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "kernel_h",
        "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left",
        "group",
    )  # fmt: skip
    sizes = dict.fromkeys(names, 3) | {"stride_h": 1, "stride_w": 1} | changes
    array = np.zeros(1 << 14, np.float32)
    ends = (-math.inf, math.inf, *NO_EPILOGUE)
    blocks = (1, 1) if kernel == "depthwise" else (1,)
    params = (_row(kernel, isa), *(sizes[name] for name in names), *blocks, *ends)
    with pytest.raises(ValueError, match=message):
        run_call(kernel, [array, array, None, None], [array.copy()], params, isa)


def _row(kernel: str, isa: str) -> int:
    if kernel == "depthwise":
        return int(_core.choose_depthwise(isa, list(DEPTHWISE[0].shape()))[0])
    return int(_core.choose_conv(isa, list(CASES[1].shape()), kernel == "conv_transpose")[0])
