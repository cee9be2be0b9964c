"""Products of two 8-bit activations on every instruction set, bit for bit.

Expected values come from exact integer sums and the float32 operations that the contract names
(native/kernels/pair_product/pair_product.h). Only exponentials are rounded in a way of their own: a
query whose weights lie so near to a tie that they may round differently is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from kernels.harness import AVAILABLE, each_isa, empty_panels, from_panels, lanes_of, run_call
from kernels.test_attention_kernels import head_columns
from kernels.test_byte_kernels import extreme, from_bytes, quantize, to_bytes, unaligned_bytes
from tolerance import tolerance

F32 = np.float32
TYPES = {np.uint8: 0, np.int8: 128}
REQUANTIZE, MULTIPLY, ADD_MASK = range(3)


def scalar(value: float, dtype: type) -> np.ndarray:
    return np.array([value], dtype)


def run_matmul(
    isa: str, a: np.ndarray, b: np.ndarray, zeros: tuple[int, int], y: np.ndarray, threads: int = 1
) -> np.ndarray:
    """y filled: bytes with scale 90 and a zero point of 3, or float32."""
    m, n, k = a.shape[-2], b.shape[-1], a.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def offsets(x: np.ndarray) -> tuple[int, ...]:
        items = np.arange(x[..., 0, 0].size).reshape(x.shape[:-2]) * x.shape[-2] * x.shape[-1]
        return tuple(int(item) for item in np.broadcast_to(items, batch).ravel())

    is_bytes = y.dtype != F32
    inputs = [
        a, b, scalar(0.37, F32), scalar(zeros[0], a.dtype.type), scalar(1.25, F32),
        scalar(zeros[1], b.dtype.type), scalar(90, F32) if is_bytes else None,
        scalar(3, y.dtype.type) if is_bytes else None,
    ]  # fmt: skip
    signs = tuple(x.dtype == np.int8 for x in (a, b, y))
    params = (m, n, k, *signs, offsets(a), offsets(b))
    assert run_call("qmatmul_rows", inputs, [y], params, isa, threads=threads)[0] == 0
    return y


def expected_matmul(
    a: np.ndarray, b: np.ndarray, zeros: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    sums = (a.astype(np.int64) - zeros[0]) @ (b.astype(np.int64) - zeros[1])
    values = sums.astype(F32) * (F32(0.37) * F32(1.25))
    if dtype == F32:
        return np.asarray(values)
    shift = TYPES[dtype.type]
    steps = quantize(values, F32(90), np.uint8(3 + shift)).astype(np.int64)
    return np.asarray((steps - shift).astype(dtype))


@each_isa
@pytest.mark.parametrize("y_type", [np.uint8, np.int8, F32])
@pytest.mark.parametrize("b_type", [np.uint8, np.int8])
@pytest.mark.parametrize("a_type", [np.uint8, np.int8])
@pytest.mark.parametrize(("m", "k"), [(1, 1), (3, 2), (5, 7), (66, 64), (4, 129)])
def test_matmul(isa: str, m: int, k: int, a_type: type, b_type: type, y_type: type) -> None:
    rng = np.random.default_rng(m * k)
    lanes = lanes_of(isa)
    ends = (np.iinfo(a_type).max, np.iinfo(b_type).min)
    for n, zeros in ((1, (0, 0)), (lanes - 1, ends), (2 * lanes + 3, ends[::-1])):
        if zeros == ends[::-1] and a_type != b_type:
            zeros = (1, 1)
        a, b = extreme(rng, (2, 1, m, k), a_type), extreme(rng, (3, k, n), b_type)
        y = np.zeros((2, 3, m, n), y_type)
        got = run_matmul(isa, a, b, zeros, y, threads=2)
        np.testing.assert_array_equal(got, expected_matmul(a, b, zeros, y.dtype))


@each_isa
def test_matmul_of_the_greatest_depth(isa: str) -> None:
    k = 1 << 15
    a = np.full((2, k), 255, np.uint8)
    b = np.full((k, 2), 255, np.uint8)
    a[1], b[:, 1] = 0, 127
    for zeros in ((0, 0), (255, 0)):
        got = run_matmul(isa, a, b, zeros, np.zeros((2, 2), F32))
        np.testing.assert_array_equal(got, expected_matmul(a, b, zeros, np.dtype(F32)))


Border = tuple[bool, float, int]
NO_BORDER: Border = (False, 1.0, 0)


@dataclass(frozen=True)
class Form:
    """The borders of an attention, as some producer puts them."""

    steps: tuple[tuple[int, float, int], ...]
    weight: Border
    probability: Border
    output: Border
    q_zero: int
    k_zero: int
    v_zero: int
    mask: str = ""
    zero_nan_rows: bool = False


FORMS = {
    "plain": Form(
        ((MULTIPLY, 0.125, 0),), NO_BORDER, (True, 1 / 255, 0), NO_BORDER, 128, 128, 128
    ),
    "every_border": Form(
        ((REQUANTIZE, 0.25, 130), (MULTIPLY, 0.5, 0), (REQUANTIZE, 0.125, 120), (ADD_MASK, 0, 0),
         (REQUANTIZE, 0.1, 140)),
        (True, 1 / 255, 0), (True, 1 / 128, 7), (True, 0.03, 100), 3, 255, 0, "full",
    ),
    "mask_of_keys": Form(
        ((REQUANTIZE, 0.25, 128), (ADD_MASK, 0, 0)), NO_BORDER, (True, 0.004, 0),
        (True, 0.02, 128), 115, 136, 117, "keys", True,
    ),
}  # fmt: skip
SCORE_SCALE, VALUE_SCALE = F32(0.0003), F32(0.0125)
CASES = [
    # batch, heads, kv_heads, queries, keys, depth, value_depth
    (1, 1, 1, 1, 1, 4, 4),
    (1, 2, 2, 64, 64, 16, 16),
    (2, 3, 3, 17, 33, 8, 4),
    (2, 4, 2, 65, 63, 8, 8),
    (3, 2, 1, 70, 130, 12, 20),
    (1, 2, 1, 5, 300, 64, 64),
]


def shifted(x: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """Quantized and dequantized, as the contract says."""
    steps = quantize(x, F32(scale), np.uint8(zero)).astype(np.int32) - zero
    return np.asarray(steps.astype(F32) * F32(scale))


def expected_scores(
    form: Form, q: np.ndarray, k: np.ndarray, mask: np.ndarray | None
) -> np.ndarray:
    sums = (q.astype(np.int64) - form.q_zero) @ (k.astype(np.int64) - form.k_zero).transpose(
        0, 1, 3, 2
    )
    scores = sums.astype(F32) * SCORE_SCALE
    for kind, value, zero in form.steps:
        if kind == REQUANTIZE:
            scores = shifted(scores, value, zero)
        elif kind == MULTIPLY:
            scores = scores * F32(value)
        elif mask is not None:
            scores = scores + mask
    return np.asarray(scores)


def expected_weights(form: Form, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantized weights, and which queries have none near a tie."""
    with np.errstate(invalid="ignore"):
        grown = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
        weights = grown / grown.sum(axis=-1, keepdims=True)
    if form.zero_nan_rows:
        weights = np.nan_to_num(weights, nan=0.0)
    error = tolerance(12 + scores.shape[-1], 1, 1)
    is_sure = np.ones(scores.shape[:-1], bool)
    for is_there, scale, zero in (form.weight, form.probability):
        if not is_there:
            continue
        ends = [quantize((weights * side).astype(F32), F32(scale), np.uint8(zero))
                for side in (1 - error, 1 + error)]  # fmt: skip
        is_sure &= (ends[0] == ends[1]).all(axis=-1)
        quantized = quantize(weights.astype(F32), F32(scale), np.uint8(zero)).astype(np.int64)
        weights = (quantized - zero).astype(F32) * F32(scale)
    return quantized - form.probability[2], is_sure


def run_attention(
    form: Form, case: tuple[int, ...], arrays: tuple[np.ndarray, ...], mask: np.ndarray | None,
    isa: str, threads: int = 2,
) -> np.ndarray:  # fmt: skip
    """Heads as in the case, features x columns."""
    batch, heads, kv_heads, queries, keys, depth, value_depth = case
    lanes, columns = lanes_of(isa), batch * queries
    features = heads * value_depth
    y = (
        unaligned_bytes((-(-columns // lanes), features // 4, lanes, 4))
        if form.output[0]
        else empty_panels(features, columns, lanes)
    )
    strides = (0, 0, 0, 0)
    if mask is not None:
        strides = (keys, 0, 0, 1) if form.mask == "keys" else (0, queries * keys, keys, 1)
    flat = tuple(number for step in form.steps for number in step)
    params = (
        *case, form.q_zero, form.k_zero, form.v_zero, float(SCORE_SCALE), len(form.steps),
        *(float(n) if i % 3 == 1 else n for i, n in enumerate(flat)), form.zero_nan_rows,
        *form.weight, *form.probability, float(VALUE_SCALE), *form.output, *strides,
    )  # fmt: skip
    panels = [to_bytes(head_columns(array), lanes) for array in arrays]
    status = run_call("qattention", [*panels, mask], [y], params, isa, threads=threads)
    assert status[0] == 0
    if form.output[0]:
        return from_bytes(y, features, columns)
    return from_panels(y, columns)


def make_mask(rng: np.random.Generator, form: Form, case: tuple[int, ...]) -> np.ndarray | None:
    batch, heads, _, queries, keys = case[:5]
    if not form.mask:
        return None
    shape = (batch, 1, 1, keys) if form.mask == "keys" else (1, heads, queries, keys)
    mask = rng.choice(np.array([0, -1, -np.inf], F32), shape)
    if form.zero_nan_rows:
        mask[-1] = -np.inf
    return mask


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_attention(isa: str, case: tuple[int, ...], form: str) -> None:
    check_attention(isa, case, FORMS[form])


def check_attention(isa: str, case: tuple[int, ...], form: Form) -> None:
    batch, heads, kv_heads, queries, keys, depth, value_depth = case
    rng = np.random.default_rng(sum(case))
    q = extreme(rng, (batch, heads, queries, depth), np.uint8)
    k = extreme(rng, (batch, kv_heads, keys, depth), np.uint8)
    v = extreme(rng, (batch, kv_heads, keys, value_depth), np.uint8)
    mask = make_mask(rng, form, case)
    group = heads // kv_heads
    scores = expected_scores(form, q, np.repeat(k, group, axis=1), mask)
    weights, is_sure = expected_weights(form, scores)
    wide = np.repeat(v, group, axis=1).astype(np.int64) - form.v_zero
    values = head_columns((weights @ wide).astype(F32) * VALUE_SCALE)
    got = run_attention(form, case, (q, k, v), mask, isa)
    expected = quantize(values, F32(form.output[1]), np.uint8(form.output[2]))
    columns = head_columns(np.broadcast_to(is_sure[..., None], (*is_sure.shape, value_depth)))
    assert columns.mean() > 0.5 or scores.size == 1
    np.testing.assert_array_equal(got[columns], (expected if form.output[0] else values)[columns])


@pytest.mark.parametrize("form", FORMS)
def test_every_instruction_set_makes_the_same_bytes(form: str) -> None:
    case = (2, 4, 2, 37, 150, 32, 32)
    batch, heads, kv_heads, queries, keys, depth, value_depth = case
    rng = np.random.default_rng(5)
    q = extreme(rng, (batch, heads, queries, depth), np.uint8)
    k = extreme(rng, (batch, kv_heads, keys, depth), np.uint8)
    v = extreme(rng, (batch, kv_heads, keys, value_depth), np.uint8)
    mask = make_mask(rng, FORMS[form], case)
    made = [
        run_attention(FORMS[form], case, (q, k, v), mask, isa, threads)
        for isa in AVAILABLE
        for threads in (1, 2, 3)
    ]
    for other in made[1:]:
        np.testing.assert_array_equal(other, made[0])
