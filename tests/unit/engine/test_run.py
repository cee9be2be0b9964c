"""Answers do not depend on threads, callers or how often; nothing is allocated once warm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

import colonnade
from colonnade.engine.engine import PROGRAMS_MAX
from colonnade.engine.program import NativeStep
from tolerance import tolerance
from unit.engine.models import image_model, make_model, mixed_model, text_inputs, text_model

IMAGE = {"x": np.random.default_rng(1).standard_normal((2, 3, 13, 11)).astype(np.float32)}
MODELS = [
    pytest.param(image_model(), IMAGE, id="image"),
    pytest.param(text_model(), text_inputs(), id="text"),
    pytest.param(mixed_model(), {"x": IMAGE["x"][0, 0, :4, :4]}, id="mixed"),
]
LONGEST_SUM = 20 * 9 * 2 + 20 + 13 * 11
"""Products that one number of the models is a sum of."""
WARM_RUNS = 50
PACKED_BYTES = 32 * 32 * 4
"""The smallest weights of a product in `text_model`."""

Feeds = dict[str, np.ndarray]


@pytest.mark.parametrize(("model", "feeds"), MODELS)
def test_the_same_bits_for_any_number_of_threads(model: onnx.ModelProto, feeds: Feeds) -> None:
    one = colonnade.compile(model, threads=1).run(feeds)
    for threads in (2, 4):
        engine = colonnade.compile(model, threads=threads)
        assert engine.threads == threads
        _assert_same_bits(engine.run(feeds), one)


@pytest.mark.parametrize(("model", "feeds"), MODELS)
def test_callers_in_several_threads(model: onnx.ModelProto, feeds: Feeds) -> None:
    engine = colonnade.compile(model, threads=2)
    expected = engine.run(feeds)
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: engine.run(feeds), range(40)):
            _assert_same_bits(made, expected)


def test_callers_with_different_shapes() -> None:
    engine = colonnade.compile(text_model(), threads=2)
    cases = [text_inputs(batch, length) for batch in (1, 2) for length in (3, 8)]
    expected = [colonnade.compile(text_model(), threads=1).run(feeds) for feeds in cases]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: engine.run(cases[i % 4]), range(24)))
    for i, answer in enumerate(made):
        _assert_same_bits(answer, expected[i % 4])


@pytest.mark.parametrize(("model", "feeds"), MODELS)
def test_nothing_is_allocated_once_warm(model: onnx.ModelProto, feeds: Feeds) -> None:
    engine = colonnade.compile(model, threads=2)
    for _ in range(3):
        engine.run(feeds)
    warm = engine.explain().num_allocations
    assert warm > 0
    for _ in range(WARM_RUNS):
        engine.run(feeds)
    assert engine.explain().num_allocations == warm


@pytest.mark.parametrize(("model", "feeds"), MODELS)
def test_native_agrees_with_the_reference(model: onnx.ModelProto, feeds: Feeds) -> None:
    expected = colonnade.compile(model, runtime="reference").run(feeds)
    for name, made in colonnade.compile(model, threads=2).run(feeds).items():
        largest = float(np.abs(expected[name]).max())
        bound = tolerance(LONGEST_SUM, max(largest, 1.0), 1.0)
        assert float(np.abs(made - expected[name]).max()) <= bound


def test_two_engines_share_a_runtime() -> None:
    runtime = colonnade.Runtime(2)
    engines = [colonnade.compile(image_model(), runtime=runtime) for _ in range(2)]
    expected = engines[0].run(IMAGE)
    with ThreadPoolExecutor(2) as pool:
        for made in pool.map(lambda i: engines[i % 2].run(IMAGE), range(20)):
            _assert_same_bits(made, expected)


def test_shapes_unused_for_longest_are_forgotten_and_come_back() -> None:
    engine = colonnade.compile(
        make_model("g (float[N] x) => (float[N] y) { y = Tanh(x) }"), threads=1
    )
    for size in range(1, PROGRAMS_MAX + 4):
        x = np.full(size, 0.5, np.float32)
        np.testing.assert_array_equal(engine.run([x])["y"], engine.run([x])["y"])
    assert engine.run([np.zeros(1, np.float32)])["y"].tolist() == [0.0]


def test_shapes_share_packed_weights() -> None:
    engine = colonnade.compile(text_model(), threads=1)
    used = []
    for length in (3, 4):
        feeds = text_inputs(1, length)
        (step,) = engine.prepare({name: array.shape for name, array in feeds.items()}).steps
        assert isinstance(step, NativeStep)
        used.append({id(array) for array in step.parts.constants if array.nbytes >= PACKED_BYTES})
    assert used[0] == used[1]
    assert len(used[0]) >= 3


def test_shapes_given_at_compile_time_are_planned_at_once() -> None:
    engine = colonnade.compile(
        text_model(), threads=1, shapes={"ids": (1, 4), "mask": (1, 1, 1, 4)}
    )
    assert engine.explain().shapes == {"ids": (1, 4), "mask": (1, 1, 1, 4)}


def _assert_same_bits(made: Feeds, expected: Feeds) -> None:
    assert made.keys() == expected.keys()
    for name, array in made.items():
        assert array.tobytes() == expected[name].tobytes()
