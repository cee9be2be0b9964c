"""What `run` refuses, how it says so, and that the engine works afterwards."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade.errors import InputError, RunError
from unit.engine.models import make_model, text_inputs, text_model

GOOD = text_inputs()
IDS, MASK = GOOD["ids"], GOOD["mask"]


@pytest.fixture(scope="module")
def engine() -> colonnade.Engine:
    return colonnade.compile(text_model(), threads=1)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"ids": IDS}, ["missing inputs", "'mask'"]),
        ({**GOOD, "extra": IDS}, ["unknown inputs", "'extra'"]),
        ({"Ids": IDS, "mask": MASK}, ["'Ids'", "'ids'"]),
        ([IDS], ["1 arrays for 2 inputs"]),
        (IDS, ["dict of arrays by name", "ndarray"]),
        ("ids", ["dict of arrays by name", "str"]),
        ({"ids": IDS.tolist(), "mask": MASK}, ["'ids'", "expected a numpy array", "list"]),
        ({"ids": None, "mask": MASK}, ["'ids'", "expected a numpy array"]),
        ({"ids": IDS.astype(np.int32), "mask": MASK}, ["'ids'", "int32", "int64"]),
        ({"ids": IDS, "mask": MASK.astype(np.float64)}, ["'mask'", "float64", "float"]),
        ({"ids": IDS, "mask": MASK.astype(object)}, ["'mask'", "object"]),
        ({"ids": IDS[0], "mask": MASK}, ["'ids'", "1 axes", "expected 2"]),
        ({"ids": IDS, "mask": MASK[0]}, ["'mask'", "3 axes", "expected 4"]),
        ({"ids": IDS, "mask": np.zeros((2, 2, 1, 9), np.float32)}, ["'mask'", "axis 1", "size 2"]),
        ({"ids": IDS, "mask": MASK[..., 1:]}, ["'mask'", "axis 3 (S)", "size 8", "9 in 'ids'"]),
        ({"ids": IDS, "mask": MASK[:1]}, ["'mask'", "axis 0 (B)", "size 1", "2 in 'ids'"]),
    ],
)
def test_what_does_not_fit_is_refused(
    engine: colonnade.Engine, inputs: Any, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        engine.run(inputs)
    for word in words:
        assert word in str(caught.value)
    assert np.isfinite(engine.run(GOOD)["y"]).all()


@pytest.mark.parametrize("shape", [(0, 9), (2, 0)])
def test_empty_dimensions(engine: colonnade.Engine, shape: tuple[int, int]) -> None:
    batch, length = shape
    feeds = {
        "ids": np.zeros(shape, np.int64),
        "mask": np.zeros((batch, 1, 1, length), np.float32),
    }
    assert engine.run(feeds)["y"].shape == (batch, length, 32)
    assert np.isfinite(engine.run(GOOD)["y"]).all()


def test_sizes_that_no_memory_holds_are_refused(engine: colonnade.Engine) -> None:
    size = 1 << 22
    ids = np.broadcast_to(np.zeros((), np.int64), (size, size))
    mask = np.broadcast_to(np.zeros((), np.float32), (size, 1, 1, size))
    with pytest.raises(RunError, match="not enough memory"):
        engine.run({"ids": ids, "mask": mask})
    assert np.isfinite(engine.run(GOOD)["y"]).all()


def test_values_above_the_budget_are_refused() -> None:
    model = make_model("g (float[N] x) => (float y) { c = Unsqueeze(x, one)  y = Sub(x, c) }",
                       one=np.array([1], np.int64))  # fmt: skip
    engine = colonnade.compile(model, threads=1)
    with pytest.raises(colonnade.ModelError, match="budget"):
        engine.run([np.zeros(1 << 22, np.float32)])
    assert engine.run([np.zeros(2, np.float32)])["y"].shape == (2, 2)


def test_an_index_out_of_range_names_the_node(engine: colonnade.Engine) -> None:
    bad = IDS.copy()
    bad[1, 2] = 50
    with pytest.raises(RunError, match=r"node 'Gather_0'.*index 50 at position 11"):
        engine.run({"ids": bad, "mask": MASK})
    np.testing.assert_array_equal(engine.run(GOOD)["y"], engine.run(GOOD)["y"])


def test_unknown_output(engine: colonnade.Engine) -> None:
    with pytest.raises(RunError, match="no output named 'z'; the outputs are"):
        engine.run(GOOD, outputs=["z"])
    assert list(engine.run(GOOD, outputs=["y"])) == ["y"]


def test_inputs_by_position(engine: colonnade.Engine) -> None:
    np.testing.assert_array_equal(engine.run([IDS, MASK])["y"], engine.run(GOOD)["y"])


def _misaligned(array: np.ndarray) -> np.ndarray:
    raw = bytearray(array.nbytes + 1)
    made = np.frombuffer(raw, np.uint8, array.nbytes, offset=1).view(array.dtype)
    made = made.reshape(array.shape)
    made[...] = array
    return made


def _read_only(array: np.ndarray) -> np.ndarray:
    made = array.copy()
    made.flags.writeable = False
    return made


def _every_other(array: np.ndarray) -> np.ndarray:
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(_read_only, id="read-only"),
        pytest.param(lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1], id="negative"),
        pytest.param(_every_other, id="strided"),
        pytest.param(_misaligned, id="misaligned"),
        pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
    ],
)
def test_any_memory_layout_gives_the_same_answer(given: Any) -> None:
    model = make_model(
        "g (float[5,37] x) => (float[5,37] y, float[37,5] z) {"
        "t = Tanh(x)  y = Mul(t, x)  z = Transpose(x) }"
    )
    engine = colonnade.compile(model, threads=1)
    x = np.random.default_rng(2).standard_normal((5, 37)).astype(np.float32)
    odd = given(x)
    before = odd.tobytes()
    made = engine.run([odd])
    for name, expected in engine.run([x]).items():
        np.testing.assert_array_equal(made[name], expected)
    assert odd.tobytes() == before


def test_outputs_are_the_callers_own() -> None:
    model = make_model(
        "g (float[2] x) => (float[2] y, float[2] z, float[2] c) {"
        "y = Identity(x)  z = Relu(x)  c = Identity(w) }",
        w=np.ones(2, np.float32),
    )
    engine = colonnade.compile(model, threads=1)
    x = np.array([1, 2], np.float32)
    first = engine.run([x])
    kept = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array[...] = -7
    assert x.tolist() == [1, 2]
    for name, array in engine.run([x]).items():
        np.testing.assert_array_equal(array, kept[name])


def test_an_input_that_is_itself_an_output_is_copied() -> None:
    model = make_model("g (float[2] x) => (float[2] x, float[2] y) { y = Relu(x) }")
    engine = colonnade.compile(model, threads=1)
    x = np.array([1, 2], np.float32)
    made = engine.run([x])["x"]
    made[...] = -7
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fallback": "error"}, "fallback='error'; it is one of 'allow', 'forbid'"),
        ({"tune": "on"}, "tune='on'; it is one of 'off', 'fast', 'full'"),
        ({"runtime": "numpy"}, "runtime='numpy'; it is one of 'native', 'reference'"),
    ],
)
def test_an_unknown_word_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        colonnade.compile("unread.onnx", **options)
