"""Striped plans give the same bits as plans of single calls, whatever the sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import colonnade
from colonnade import _core
from colonnade.planner.build import NativeRegion
from colonnade.planner.plan import Buffer, Plan, Space, Stripe, encode_plan
from unit.engine.models import make_model, weights
from unit.planner.forced_stripes import forced_stripes


def conv_chain(batch: int, size: int) -> onnx.ModelProto:
    """3x3, a strided 5x5 with uneven pads, and 1x1."""
    return make_model(
        f"chain (float[{batch},3,{size},{size + 4}] x) => (float[{batch},9,H,W] y) {{"
        "a = Conv <pads = [1,1,1,1]> (x, w1, b1)  r = Relu(a)"
        "b = Conv <pads = [2,1,1,2], strides = [2,2]> (r, w2)  s = Relu(b)"
        "c = Conv <pads = [1,1,1,1], dilations = [1,1]> (s, w3)"
        "y = Conv (c, w4, b4) }",
        w1=weights(20, 3, 3, 3), b1=weights(20), w2=weights(17, 20, 5, 5) / 20,
        w3=weights(12, 17, 3, 3) / 8, w4=weights(9, 12, 1, 1), b4=weights(9),
    )  # fmt: skip


def bottleneck(batch: int, size: int) -> onnx.ModelProto:
    """A residual block with a projection, then one with an identity shortcut."""
    return make_model(
        f"skip (float[{batch},8,{size},{size}] x) => (float[{batch},24,H,W] y) {{"
        "a = Conv (x, w1)  ar = Relu(a)"
        "b = Conv <pads = [1,1,1,1], strides = [2,2]> (ar, w2)  br = Relu(b)"
        "c = Conv (br, w3)  d = Conv <strides = [2,2]> (x, wd)  e = Add(c, d)  f = Relu(e)"
        "g = Conv (f, w4)  gr = Relu(g)  h = Conv <pads = [1,1,1,1]> (gr, w5)  hr = Relu(h)"
        "i = Conv (hr, w3)  j = Add(i, f)  y = Relu(j) }",
        w1=weights(10, 8, 1, 1), w2=weights(10, 10, 3, 3) / 9, w3=weights(24, 10, 1, 1) / 3,
        wd=weights(24, 8, 1, 1) / 3, w4=weights(10, 24, 1, 1) / 5, w5=weights(10, 10, 3, 3) / 9,
    )  # fmt: skip


def depthwise_chain(batch: int, size: int) -> onnx.ModelProto:
    """Inverted residuals: stride 2 with even and uneven pads, 5x5, and a multiplier of 2."""
    return make_model(
        f"dw (float[{batch},3,{size},{size}] x) => (float[{batch},8,H,W] y) {{"
        "a = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1)  b = Clip(a, zero, six)"
        "c = Conv <pads = [1,1,1,1], group = 12> (b, w2)  d = Clip(c, zero, six)"
        "e = Conv (d, w3)  f = Conv (e, w4)  g = Clip(f, zero, six)"
        "h = Conv <pads = [2,2,2,2], strides = [2,2], group = 20> (g, w5)  hc = HardSwish(h)"
        "i = Conv (hc, w6)  j = Conv <pads = [1,1,1,1], group = 8> (i, w7)  k = Add(i, j)"
        "l = Conv <pads = [0,0,2,2], group = 8> (k, w8)"
        "y = Conv (l, w9) }",
        w1=weights(12, 3, 3, 3) / 3, w2=weights(12, 1, 3, 3) / 3, w3=weights(6, 12, 1, 1) / 3,
        w4=weights(20, 6, 1, 1) / 2, w5=weights(20, 1, 5, 5) / 5, w6=weights(8, 20, 1, 1) / 4,
        w7=weights(8, 1, 3, 3) / 3, w8=weights(16, 1, 3, 3) / 3, w9=weights(8, 16, 1, 1) / 4,
        zero=np.float32(0), six=np.float32(6),
    )  # fmt: skip


def pools(batch: int, size: int) -> onnx.ModelProto:
    """A stem: convolution, max pool, average pool, and a pool that ends it."""
    return make_model(
        f"pool (float[{batch},3,{size},{size}] x) => (float[{batch},7,H,W] y) {{"
        "a = Conv <pads = [3,3,3,3], strides = [2,2]> (x, w1)  r = Relu(a)"
        "m = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (r)"
        "v = AveragePool <kernel_shape = [2,3], pads = [1,1,0,1]> (m)"
        "u = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (v)"
        "y = MaxPool <kernel_shape = [2,2]> (u) }",
        w1=weights(7, 3, 7, 7) / 7,
    )  # fmt: skip


def feed_forward(batch: int, size: int) -> onnx.ModelProto:
    """What lies between two attentions: projection, norms with residuals, FFN, next projection."""
    return make_model(
        f"ffn (float[{batch},{size},32] x, float[{batch},{size},32] r)"
        f" => (float[{batch},{size},48] y, float[{batch},{size},32] z) {{"
        "p = MatMul(x, wp)  pb = Add(p, bp)  s = Add(pb, r)  n = LayerNormalization(s, g1, c1)"
        "u = MatMul(n, wu)  ub = Add(u, bu)  a = Gelu(ub)  d = MatMul(a, wd)  t = Add(d, n)"
        "z = LayerNormalization(t, g2, c2)  q = MatMul(z, wq)  o = Softmax(q)  y = Tanh(o) }",
        opset=20, wp=weights(32, 32) / 6, bp=weights(32), g1=weights(32), c1=weights(32),
        wu=weights(32, 80) / 6, bu=weights(80), wd=weights(80, 32) / 9, g2=weights(32),
        c2=weights(32), wq=weights(32, 48) / 6,
    )  # fmt: skip


def bytes_between(batch: int, size: int) -> onnx.ModelProto:
    """8 bits: a product, pools, a table, a concatenation, a sum, a bias; borders after each."""

    def border(value: str) -> str:
        return (
            f"{value}q = QuantizeLinear({value}, s, z)  {value}d = DequantizeLinear({value}q, s, z)"
        )

    return make_model(
        f"bytes (float[{batch},6,{size},{size}] x) => (float[{batch},24,H,W] fd) {{"
        f"{border('x')}  w = DequantizeLinear(wq, ws)  a = Conv <pads = [1,1,1,1]> (xd, w)"
        f"{border('a')}  m = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (ad)"
        f"{border('m')}  t = Sigmoid(md) {border('t')}"
        f"v = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (md) {border('v')}"
        f"e = Add(vd, td) {border('e')}  c = Concat <axis = 1> (ed, td) {border('c')}"
        f"b = Mul(cd, by_channel) {border('b')}  f = MaxPool <kernel_shape = [2,2]> (bd) {border('f')} }}",
        wq=np.random.default_rng(5).integers(-50, 50, (12, 6, 3, 3)).astype(np.int8),
        ws=np.float32(0.01), s=np.float32(0.03), z=np.uint8(110),
        by_channel=weights(24, 1, 1),
    )  # fmt: skip


MODELS = {
    "conv chain": (conv_chain, 23),
    "bottleneck": (bottleneck, 19),
    "depthwise": (depthwise_chain, 37),
    "depthwise, aligned": (depthwise_chain, 64),
    "pools": (pools, 45),
    "feed forward": (feed_forward, 75),
    "bytes": (bytes_between, 45),
}
SIZES = [(1, 3), (2, 2), (3, 4), (50, 1), (1, 1000)]
"""(panels of a stripe, segments)."""


def feeds_of(engine: colonnade.Engine) -> list[np.ndarray]:
    random = np.random.default_rng(11)
    shapes = [tuple(int(d) for d in info.shape or ()) for info in engine.inputs]
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def striped_plan(engine: colonnade.Engine) -> Plan:
    """The plan of the engine's only region."""
    shapes = {info.name: tuple(info.shape or ()) for info in engine.inputs}
    (region,) = engine.prepare(shapes).program.regions  # type: ignore[arg-type]  # static
    assert isinstance(region, NativeRegion)
    return region.plan


def stripes_of(plan: Plan) -> list[Stripe]:
    return [statement for statement in plan.body.body if isinstance(statement, Stripe)]


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize(("make", "size"), MODELS.values(), ids=MODELS)
def test_stripes_give_the_same_bits(
    make: object, size: int, batch: int, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
    model = make(batch, size)  # type: ignore[operator]
    monkeypatch.setenv("COLONNADE_STRIPES", "off")
    plain = colonnade.compile(model, threads=2, fallback="forbid")
    feeds = feeds_of(plain)
    expected = plain.run(feeds)
    assert not stripes_of(striped_plan(plain))
    monkeypatch.delenv("COLONNADE_STRIPES")
    for stripe_panels, segments in SIZES:
        for threads in (1, 3):
            with forced_stripes(stripe_panels, segments):
                engine = colonnade.compile(model, threads=threads, fallback="forbid")
            assert stripes_of(striped_plan(engine))
            for _ in range(2):  # windows of the second run hold what the first one left
                for name, array in engine.run(feeds).items():
                    np.testing.assert_array_equal(array, expected[name])


def test_long_chains_are_one_group() -> None:
    """Shortcuts, pools, norms and layout conversions do not cut a group."""
    lengths = {}
    for name, (make, size) in MODELS.items():
        with forced_stripes(2, 2):
            engine = colonnade.compile(make(3, size), threads=1, fallback="forbid")
        lengths[name] = [len(stripe.body) for stripe in stripes_of(striped_plan(engine))]
    assert lengths == {
        "conv chain": [6],
        "bottleneck": [9],
        "depthwise": [12],
        "depthwise, aligned": [12],
        "pools": [7],
        "feed forward": [12],
        "bytes": [11],
    }


def test_windows_take_no_arena() -> None:
    plain = colonnade.compile(conv_chain(3, 23), threads=1)
    with forced_stripes(1, 2):
        striped = colonnade.compile(conv_chain(3, 23), threads=1)
    assert striped.explain().arena_bytes == 0 < plain.explain().arena_bytes
    assert striped.explain().scratch_bytes > plain.explain().scratch_bytes


def test_a_striped_plan_is_saved(tmp_path: Path) -> None:
    with forced_stripes(2, 2):
        engine = colonnade.compile(bottleneck(2, 19), threads=2)
    feeds = feeds_of(engine)
    expected = engine.run(feeds)["y"]
    engine.save(tmp_path / "striped.colonnade")
    loaded = colonnade.load(tmp_path / "striped.colonnade", threads=2)
    np.testing.assert_array_equal(loaded.run(feeds)["y"], expected)
    assert loaded.explain().to_dict()["stripes"] == engine.explain().to_dict()["stripes"] != []
    assert {event["name"] for event in loaded.trace(feeds)} == {
        event["name"] for event in engine.trace(feeds)
    }


def test_a_trace_has_every_call_of_a_stripe() -> None:
    with forced_stripes(2, 3):
        engine = colonnade.compile(conv_chain(2, 23), threads=1)
    (stripe,) = stripes_of(striped_plan(engine))
    names = [event["name"] for event in engine.trace(feeds_of(engine))]
    assert set(names) == {call.label for call in stripe.body}
    assert len(names) > len(stripe.body)


def load(plan: Plan, constants: tuple[np.ndarray, ...]) -> None:
    _core.Executor(_core.Runtime(1), encode_plan(plan), list(constants), plan.isa)


def damaged(plan: Plan, **changes: int) -> Plan:
    """The plan with fields of its only stripe changed, or of its first window."""
    (stripe,) = stripes_of(plan)
    window = next(i for i, b in enumerate(plan.buffers) if b.space is Space.WINDOW)
    of_buffer = {name: v for name, v in changes.items() if name in Buffer.__dataclass_fields__}
    of_stripe = {name: v for name, v in changes.items() if name not in of_buffer}
    buffers = list(plan.buffers)
    buffers[window] = replace(buffers[window], **of_buffer)  # type: ignore[arg-type]  # ints
    body = tuple(
        replace(statement, **of_stripe) if statement is stripe else statement  # type: ignore[arg-type]
        for statement in plan.body.body
    )
    return replace(plan, buffers=tuple(buffers), body=replace(plan.body, body=body))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": 1}, "window too small"),
        ({"index": 0}, "no such window"),
        ({"index": 1 << 60}, "window too large"),
        ({"offset": 32}, "no such window"),
        ({"offset": 64}, "shares the bytes of a window in use"),
        ({"nbytes": 64}, "too small"),
        ({"panels": 5}, "its panels differ from the stripe's"),
        ({"panels": -1}, "out of range"),
        ({"stripe_panels": 0}, "out of range"),
        ({"stripe_panels": 9}, "window too small"),
        ({"segments": 0}, "out of range"),
        ({"segments": 1 << 40}, "out of range"),
    ],
)
def test_a_damaged_stripe_is_refused(changes: dict[str, int], words: str) -> None:
    with forced_stripes(1, 2):
        engine = colonnade.compile(conv_chain(3, 23), threads=1, keep_weights=True)
    shapes = {info.name: tuple(info.shape or ()) for info in engine.inputs}
    loaded = engine.prepare(shapes)  # type: ignore[arg-type]  # static
    plan = striped_plan(engine)
    constants = tuple(loaded.steps[0].parts.constants)  # type: ignore[attr-defined]  # native
    full = replace(plan, constants=constants)
    load(full, constants)
    with pytest.raises(ValueError, match=words):
        load(damaged(full, **changes), constants)


def test_a_reader_of_rows_in_front_of_their_maker_is_refused() -> None:
    with forced_stripes(1, 2):
        engine = colonnade.compile(conv_chain(3, 23), threads=1, keep_weights=True)
    plan = striped_plan(engine)
    (stripe,) = stripes_of(plan)
    shapes = {info.name: tuple(info.shape or ()) for info in engine.inputs}
    loaded = engine.prepare(shapes)  # type: ignore[arg-type]  # static
    constants = tuple(loaded.steps[0].parts.constants)  # type: ignore[attr-defined]  # native
    turned = replace(stripe, body=stripe.body[::-1])
    body = replace(plan.body, body=(turned,))
    with pytest.raises(ValueError, match="reads a window that no call before it fills"):
        load(replace(plan, constants=constants, body=body), constants)
