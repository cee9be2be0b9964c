"""Depthwise kernels stored whole aligned vectors: panels at other addresses crashed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade import _core
from kernels.harness import (
    LINE_FLOATS,
    each_isa,
    empty_panels,
    from_panels,
    lanes_of,
    run_call,
    to_panels,
)

CHANNELS, SIZE = 2, 14


@each_isa
@pytest.mark.parametrize("past_line", [0, 1, 4, 8, LINE_FLOATS - 1])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_writes_panels_at_any_address(isa: str, past_line: int, kernel: int) -> None:
    lanes, columns, pad = lanes_of(isa), SIZE * SIZE, kernel // 2
    x = np.random.default_rng(6).uniform(-1, 1, (CHANNELS, columns)).astype(np.float32)
    identity = np.zeros((CHANNELS, kernel, kernel), np.float32)
    identity[:, pad, pad] = 1
    image = (CHANNELS, SIZE, SIZE)
    shape = (1, *image, *image, kernel, kernel, 1, 1, 1, 1, pad, pad, CHANNELS)
    row, _, _ = _core.choose_depthwise(isa, list(shape))
    y = empty_panels(CHANNELS, columns, lanes, past_line)
    status = run_call(
        "depthwise",
        [to_panels(x, lanes), identity, None, None],
        [y],
        (row, *shape, 1, 1000, -math.inf, math.inf, (), ()),
        isa,
    )
    assert status[0] == 0
    assert np.array_equal(from_panels(y, columns), x)
