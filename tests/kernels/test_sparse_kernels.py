"""The adapters of the sparse kernels through plans, on every instruction set, against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade import _core
from colonnade.ir import FLOAT_EXACT_MAX, Instruction, Node, Program
from colonnade.planner.lower.program import encode_program
from colonnade.planner.lower.sparse import order_by_blocks
from colonnade.reference import evaluate
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
WEIGHTS = 1
"""Position of the packed weights among the operands."""


def sparse(rng: np.random.Generator, *shape: int, density: float = 0.2) -> np.ndarray:
    """Uniform weights, most of them zero."""
    weights = rng.uniform(-1, 1, shape) * (rng.random(shape) < density)
    return weights.astype(np.float32)


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-1, 1, shape).astype(np.float32)


@each_isa
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("m", "k", "k_block"), [(1, 1, 1), (66, 40, 16), (130, 300, 128)])
def test_columns(isa: str, threads: int, m: int, k: int, k_block: int) -> None:
    rng = np.random.default_rng(m + k)
    lanes = lanes_of(isa)
    row = _core.choose_sparse(isa, False)[0]
    for columns in (1, lanes, 3 * lanes + 1):
        w, x, bias = sparse(rng, m, k), random(rng, k, columns), random(rng, m)
        residual = random(rng, m, columns)
        packed = _core.pack_sparse(row, w, 1, m, k, k_block)
        y = empty_panels(m, columns, lanes)
        blocks = min(2, -(-m // 64))
        status = run_call(
            "sparse_columns",
            [to_panels(x, lanes), packed, bias, to_panels(residual, lanes)],
            [y],
            (row, m, k, columns, k_block, blocks, -0.5, math.inf, *NO_EPILOGUE),
            isa,
            threads=threads,
            constants=(WEIGHTS,),
        )
        assert status[0] == 0
        exact = np.maximum(w.astype(np.float64) @ x + bias[:, None] + residual, -0.5)
        assert np.abs(from_panels(y, columns) - exact).max() <= tolerance(k + 2, 1, 1)


@each_isa
def test_integers_stay_integers(isa: str) -> None:
    """Short rows are filled up by zeros: a weight that was halved would lose a half near 2^24."""
    lanes, m, k = lanes_of(isa), 8, FLOAT_EXACT_MAX // (127 * 255)
    row, _, k_block_max = _core.choose_sparse(isa, False)
    w = np.full((m, k), 127, np.float32)
    for i in range(m):
        w[i, k - 7 * i :] = 0
    x = np.full((k, lanes), 255, np.float32)
    packed = _core.pack_sparse(row, w, 1, m, k, min(k, k_block_max), is_integer=True)
    y = empty_panels(m, lanes, lanes)
    params = (row, m, k, lanes, min(k, k_block_max), 1, -math.inf, math.inf, *NO_EPILOGUE)
    operands = [to_panels(x, lanes), packed, None, None]
    assert run_call("sparse_columns", operands, [y], params, isa, constants=(WEIGHTS,))[0] == 0
    np.testing.assert_array_equal(from_panels(y, lanes), w.astype(np.int64) @ x.astype(np.int64))


@each_isa
def test_columns_program_epilogue(isa: str) -> None:
    rng = np.random.default_rng(0)
    lanes, m, k, columns = lanes_of(isa), 150, 60, 70
    w, x, scale = sparse(rng, m, k), random(rng, k, columns), random(rng, m)
    other = random(rng, m, columns)
    row = _core.choose_sparse(isa, False)[0]
    packed = _core.pack_sparse(row, w, 1, m, k, 32)
    program = Program(
        3, (Instruction("mul", (0, 1)), Instruction("tanh", (3,)), Instruction("add", (4, 2)))
    )
    y = empty_panels(m, columns, lanes)
    params = (
        row, m, k, columns, 32, 1, -math.inf, math.inf, (1, 0), encode_program(program)
    )  # fmt: skip
    status = run_call(
        "sparse_columns",
        [to_panels(x, lanes), packed, None, None, scale, to_panels(other, lanes)],
        [y],
        params,
        isa,
        order=[0, 1, 2, 3, 6, 4, 5],
        constants=(WEIGHTS,),
    )
    assert status[0] == 0
    exact = np.tanh((w.astype(np.float64) @ x) * scale[:, None]) + other
    assert np.abs(from_panels(y, columns) - exact).max() <= tolerance(k + 4, 1, 1)


@each_isa
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("channels", "outs", "size", "kernel", "stride", "group"),
    [(6, 70, 9, 3, 1, 1), (6, 130, 17, 3, 2, 2), (20, 5, 8, 1, 2, 1), (4, 8, 12, 5, 1, 4)],
)
def test_conv(
    isa: str, threads: int, channels: int, outs: int, size: int, kernel: int, stride: int,
    group: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(channels + outs)
    lanes, pad, batch = lanes_of(isa), kernel // 2, 2
    out = (size + 2 * pad - kernel) // stride + 1
    w = sparse(rng, outs, channels // group, kernel, kernel)
    x = random(rng, batch, channels, size, size)
    shape = (
        batch, channels, size, size, outs, out, out, kernel, kernel, stride, stride, 1, 1, pad,
        pad, group,
    )  # fmt: skip
    row = _core.choose_sparse(isa, True)[0]
    block = min(2, channels // group)
    depth, taps = channels // group * kernel * kernel, kernel * kernel
    packed = _core.pack_sparse(
        row, order_by_blocks(w, block), group, outs // group, depth, block * taps
    )
    y = empty_panels(outs, batch * out * out, lanes)
    status = run_call(
        "sparse_conv",
        [to_panels(columns_of(x), lanes), packed, None, None],
        [y],
        (row, *shape, block, 1, -math.inf, math.inf, *NO_EPILOGUE),
        isa,
        threads=threads,
        constants=(WEIGHTS,),
    )
    assert status[0] == 0
    exact = _convolve(x, w, stride, pad, group)
    found = from_panels(y, batch * out * out)
    assert np.abs(found - columns_of(exact)).max() <= tolerance(depth, 1, 1)


def _convolve(x: np.ndarray, w: np.ndarray, stride: int, pad: int, group: int) -> np.ndarray:
    attrs = {"strides": (stride, stride), "pads": (pad,) * 4, "group": group}
    node = Node("Conv", ("x", "w"), ("y",), attrs, version=17)
    (y,) = evaluate(node, [x.astype(np.float64), w.astype(np.float64)])
    return np.asarray(y)


@each_isa
def test_weights_that_are_no_constant_are_refused(isa: str) -> None:
    lanes = lanes_of(isa)
    row = _core.choose_sparse(isa, False)[0]
    packed = _core.pack_sparse(row, np.ones((2, 2), np.float32), 1, 2, 2, 2)
    inputs = [to_panels(np.ones((2, 3), np.float32), lanes), packed, None, None]
    params = (row, 2, 2, 3, 2, 1, -math.inf, math.inf, *NO_EPILOGUE)
    with pytest.raises(ValueError, match="w is not a constant"):
        run_call("sparse_columns", inputs, [empty_panels(2, 3, lanes)], params, isa)
