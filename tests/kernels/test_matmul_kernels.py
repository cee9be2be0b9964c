"""Every matmul row against float64, at tile and panel edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade import _core
from colonnade.ir import Instruction, Program
from colonnade.planner.lower.program import encode_program
from kernels.harness import each_isa, empty_panels, from_panels, lanes_of, run_call, to_panels
from tolerance import tolerance

NO_EPILOGUE = ((), ())


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-1, 1, shape).astype(np.float32)


@each_isa
@pytest.mark.parametrize("m", [1, 2, 5, 6, 7, 12, 13])
@pytest.mark.parametrize("k", [1, 3, 17, 600])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_columns_at_tile_edges(isa: str, m: int, k: int, extra: int) -> None:
    rng = np.random.default_rng(m * 1000 + k)
    lanes = lanes_of(isa)
    for columns in sorted({1, 17, lanes + extra, 2 * lanes + extra}):
        w, x, bias = random(rng, m, k), random(rng, k, columns), random(rng, m)
        residual = random(rng, m, columns)
        row, _, tile = _core.choose_matmul(isa, m, k, columns)
        packed = _core.pack_matmul(row, w, m, k, False)
        blocks = min(2, -(-m // tile))
        y = empty_panels(m, columns, lanes)
        status = run_call(
            "matmul_columns",
            [to_panels(x, lanes), packed, bias, to_panels(residual, lanes)],
            [y],
            (row, m, k, columns, blocks, -0.5, math.inf, *NO_EPILOGUE),
            isa,
            threads=2,
        )
        assert status[0] == 0
        exact = w.astype(np.float64) @ x + bias[:, None] + residual
        error = np.abs(from_panels(y, columns) - np.maximum(exact, -0.5)).max()
        assert error <= tolerance(k + 2, 1, 1)


@each_isa
def test_columns_program_epilogue(isa: str) -> None:
    rng = np.random.default_rng(0)
    lanes, m, k, columns = lanes_of(isa), 53, 20, 70
    w, x, scale = random(rng, m, k), random(rng, k, columns), random(rng, m)
    other = random(rng, m, columns)
    row, _, _ = _core.choose_matmul(isa, m, k, columns)
    packed = _core.pack_matmul(row, np.ascontiguousarray(w.T), m, k, True)
    program = Program(
        3, (Instruction("mul", (0, 1)), Instruction("tanh", (3,)), Instruction("add", (4, 2)))
    )
    y = empty_panels(m, columns, lanes)
    params = (row, m, k, columns, 1, -math.inf, math.inf, (1, 0), encode_program(program))
    status = run_call(
        "matmul_columns",
        [to_panels(x, lanes), packed, None, None, scale, to_panels(other, lanes)],
        [y],
        params,
        isa,
        order=[0, 1, 2, 3, 6, 4, 5],
    )
    assert status[0] == 0
    exact = np.tanh((w.astype(np.float64) @ x) * scale[:, None]) + other
    assert np.abs(from_panels(y, columns) - exact).max() <= tolerance(k + 4, 1, 1)


@each_isa
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 15])
@pytest.mark.parametrize("m", [1, 15, 16, 63, 64, 65, 130])
def test_rows_at_tile_edges(isa: str, rows: int, m: int) -> None:
    rng = np.random.default_rng(rows * 1000 + m)
    k = 33
    w, x, bias = random(rng, m, k), random(rng, rows, k), random(rng, m)
    row, _, lanes = _core.choose_rows_matmul(isa, rows, m, k)
    packed = _core.pack_rows(row, w, m, k, False)
    y = np.full((rows, m), np.nan, np.float32)
    blocks = min(2, -(-m // lanes))
    status = run_call(
        "matmul_rows", [x, packed, bias], [y], (row, rows, m, k, blocks, 0.0, 1.0), isa, threads=2
    )
    assert status[0] == 0
    exact = np.clip(x.astype(np.float64) @ w.T + bias, 0, 1)
    assert np.abs(y - exact).max() <= tolerance(k + 1, 1, 1)


@each_isa
@pytest.mark.parametrize("m", [1, 5, 6, 7, 100])
@pytest.mark.parametrize("n", [1, 15, 64, 65])
@pytest.mark.parametrize("k", [1, 40, 520])
def test_general_at_tile_edges(isa: str, m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(m * 10000 + n * 100 + k)
    a, b = random(rng, 2, m, k), random(rng, 2, n, k)
    row, _, _ = _core.choose_general_matmul(isa, m, n, k)
    c = np.full((2, m, n), np.nan, np.float32)
    params = (row, m, n, k, 0.5, k, 1, 1, k, (0, m * k), (0, n * k))
    assert run_call("matmul_general", [a, b], [c], params, isa, threads=2)[0] == 0
    exact = 0.5 * (a.astype(np.float64) @ b.transpose(0, 2, 1))
    assert np.abs(c - exact).max() <= tolerance(k + 1, 1, 1)


@each_isa
def test_a_zero_weight_times_nan_is_nan_in_a_dense_product(isa: str) -> None:
    lanes = lanes_of(isa)
    x = np.array([[np.nan], [1.0]], np.float32)
    w = np.array([[0.0, 2.0]], np.float32)
    row, _, _ = _core.choose_matmul(isa, 1, 2, 1)
    y = empty_panels(1, 1, lanes)
    params = (row, 1, 2, 1, 1, 0.0, math.inf, *NO_EPILOGUE)
    packed = _core.pack_matmul(row, w, 1, 2, False)
    run_call("matmul_columns", [to_panels(x, lanes), packed, None, None], [y], params, isa)
    assert np.isnan(from_panels(y, 1)).all()
