"""Requests on the streams of an engine: the same bits, no more threads than there are, no leftovers."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
from colonnade import rewrite as rw
from colonnade.engine.program import NativeStep
from colonnade.engine.scheduler import Stream
from colonnade.errors import InputError, OverloadedError, RunError
from unit.engine.models import (
    image_model,
    make_model,
    mixed_model,
    text_inputs,
    text_model,
    weights,
)

TIMEOUT_S = 120
IMAGE = {"x": np.random.default_rng(1).standard_normal((2, 3, 13, 11)).astype(np.float32)}
SHAPES = [text_inputs(batch, length) for batch in (1, 2) for length in (3, 8, 17)]
SCHEDULERS = [
    pytest.param({"scheduler": "single_stream"}, id="single"),
    pytest.param({"scheduler": "multi_stream"}, id="multi"),
    pytest.param({"scheduler": "multi_stream", "streams": 2}, id="multi-2"),
    pytest.param({"scheduler": "multi_stream", "streams": 3}, id="multi-3"),
    pytest.param({"scheduler": "elastic"}, id="elastic"),
    pytest.param({"scheduler": "elastic", "streams": 2}, id="elastic-2"),
]
THREADS = 4
CALLERS = 8
ROUNDS_MAX = 200

Feeds = dict[str, np.ndarray]


def sparse_model() -> onnx.ModelProto:
    """A layer whose zeros pay by far."""
    w = weights(300, 130).copy()
    w[np.random.default_rng(2).random(w.shape) < 0.9] = 0
    return make_model("g (float[40,300] x) => (float[40,130] y) { y = MatMul(x, w) }", w=w)


MODELS = [
    pytest.param(image_model(), IMAGE, id="image"),
    pytest.param(text_model(), text_inputs(), id="text"),
    pytest.param(mixed_model(), {"x": IMAGE["x"][0, 0, :4, :4]}, id="mixed"),
    pytest.param(sparse_model(), {"x": weights(40, 300)}, id="sparse"),
]


@pytest.mark.parametrize("options", SCHEDULERS)
@pytest.mark.parametrize(("model", "feeds"), MODELS)
def test_the_same_bits_on_any_streams(
    model: onnx.ModelProto, feeds: Feeds, options: dict[str, Any]
) -> None:
    # tune="off": which kernel is faster at this number of threads is measured otherwise.
    expected = colonnade.compile(model, threads=1, tune="off").run(feeds)
    with colonnade.compile(model, threads=THREADS, tune="off", **options) as engine:
        futures = [engine.submit(feeds) for _ in range(12)]
        for made in [engine.run(feeds), *(f.result(TIMEOUT_S) for f in futures)]:
            _assert_same_bits(made, expected)


@pytest.mark.parametrize("options", SCHEDULERS)
def test_many_threads_and_mixed_shapes(options: dict[str, Any]) -> None:
    """Callers of `run` and `submit` at once; the pool counts the threads that it sees at work."""
    runtime = colonnade.Runtime(THREADS)
    one = colonnade.compile(text_model(), threads=1)
    expected = [one.run(feeds) for feeds in SHAPES]
    engine = colonnade.compile(text_model(), runtime=runtime, **options)

    def call(caller: int) -> None:
        for round_ in range(12):
            case = (caller * 5 + round_) % len(SHAPES)
            future = engine.submit(SHAPES[case])
            _assert_same_bits(engine.run(SHAPES[case - 1]), expected[case - 1])
            _assert_same_bits(future.result(TIMEOUT_S), expected[case])

    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(call, caller) for caller in range(CALLERS)]:
            done.result(TIMEOUT_S)
    assert 0 < runtime.peak_threads_running <= THREADS


def test_engines_that_share_a_runtime_share_its_threads() -> None:
    runtime = colonnade.Runtime(2)
    engines = [
        colonnade.compile(image_model(), runtime=runtime, **options)
        for options in ({}, {"scheduler": "multi_stream"}, {"scheduler": "elastic"})
    ]
    expected = engines[0].run(IMAGE)
    futures = [engines[i % 3].submit(IMAGE) for i in range(60)]
    for future in futures:
        _assert_same_bits(future.result(TIMEOUT_S), expected)
    assert runtime.peak_threads_running <= 2


def test_all_streams_work_at_once() -> None:
    """So the GIL is not held by those that work."""
    runtime = colonnade.Runtime(2)
    feeds = {"x": np.zeros((512, 512), np.float32)}
    model = make_model(
        "g (float[512,512] x) => (float[512,512] y) { y = MatMul(x, w) }", w=weights(512, 512)
    )
    engine = colonnade.compile(model, runtime=runtime, scheduler="multi_stream", tune="off")
    for _ in range(ROUNDS_MAX):
        wait([engine.submit(feeds) for _ in range(8)], TIMEOUT_S)
        if runtime.peak_threads_running == 2:
            break
    assert runtime.peak_threads_running == 2


@pytest.mark.parametrize("options", SCHEDULERS)
def test_nothing_is_allocated_once_every_stream_is_warm(options: dict[str, Any]) -> None:
    engine = colonnade.compile(image_model(), threads=THREADS, **options)
    (program,) = engine._programs.values()
    streams = engine._queue.streams
    for stream in streams.streams:
        parts = [Stream(thread, 1) for thread in stream.threads] if streams.is_split else []
        for part in (*parts, stream):
            program.run(IMAGE, part)
            program.run(IMAGE, part)
    warm = engine.explain().num_allocations
    starts = THREADS if streams.is_split else len(streams.streams)
    assert (
        starts <= warm <= starts + len(streams.streams)
    )  # a whole domain's arena replaces a part's
    wait([engine.submit(IMAGE) for _ in range(60)], TIMEOUT_S)
    if streams.is_split:  # parts of other widths may grow an arena once
        assert engine.explain().num_allocations <= 2 * warm
    else:
        assert engine.explain().num_allocations == warm


def test_plans_are_made_for_the_threads_of_a_stream() -> None:
    """And the weights are packed once, however many streams there are."""
    pairs = colonnade.compile(image_model(), threads=4, scheduler="multi_stream", streams=2)
    alone = colonnade.compile(image_model(), threads=2)
    whole = colonnade.compile(image_model(), threads=4)
    assert _words(pairs).tolist() == _words(alone).tolist()
    assert _words(pairs).tolist() != _words(whole).tolist()
    assert pairs.explain().constant_bytes == whole.explain().constant_bytes


def test_explain_says_how_requests_run() -> None:
    engine = colonnade.compile(image_model(), threads=3, scheduler="multi_stream", streams=2)
    assert (engine.scheduler, engine.streams, engine.threads) == ("multi_stream", (2, 1), 3)
    found = engine.explain()
    assert "multi_stream, 2 streams" in str(found)
    document = found.to_dict()
    assert (document["scheduler"], document["streams"]) == ("multi_stream", [2, 1])
    assert document["threads"] == 3


def test_one_stream_is_the_default() -> None:
    engine = colonnade.compile(image_model(), threads=3)
    assert (engine.scheduler, engine.streams) == ("single_stream", (3,))
    with pytest.raises(InputError, match="multi_stream has 1 to 3 streams on 3 threads"):
        colonnade.compile(image_model(), threads=3, scheduler="multi_stream", streams=4)


@pytest.mark.parametrize("options", SCHEDULERS)
def test_a_saved_plan_runs_on_any_streams(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "mixed.colonnade"
    feeds = {"x": IMAGE["x"][0, 0, :4, :4]}
    engine = colonnade.compile(mixed_model(), threads=2)
    expected = engine.run(feeds)
    engine.save(path)
    loaded = colonnade.load(path, threads=THREADS, **options)
    assert loaded.scheduler == options["scheduler"]
    for future in [loaded.submit(feeds) for _ in range(10)]:
        _assert_same_bits(future.result(TIMEOUT_S), expected)


def test_submit_picks_outputs_by_name() -> None:
    engine = colonnade.compile(image_model(), threads=1)
    assert list(engine.submit(IMAGE, ["y"]).result(TIMEOUT_S)) == ["y"]
    with pytest.raises(RunError, match="no output named 'z'"):
        engine.submit(IMAGE, ["z"]).result(TIMEOUT_S)


def test_a_failure_reaches_its_future_only() -> None:
    engine = colonnade.compile(text_model(), threads=2, scheduler="multi_stream")
    good, bad = text_inputs(), text_inputs()
    bad["ids"] = bad["ids"] + 50
    expected = engine.run(good)
    futures = [engine.submit(bad if i % 3 == 1 else good) for i in range(12)]
    misfit = engine.submit({"ids": good["ids"]})
    for i, future in enumerate(futures):
        if i % 3 == 1:
            assert "out of range" in str(future.exception(TIMEOUT_S))
        else:
            _assert_same_bits(future.result(TIMEOUT_S), expected)
    assert isinstance(misfit.exception(TIMEOUT_S), InputError)


def test_new_shapes_are_planned_beside_the_streams() -> None:
    engine = colonnade.compile(text_model(), threads=1)
    futures = [engine.submit(feeds) for feeds in SHAPES]
    assert wait(futures, TIMEOUT_S).not_done == set()
    for feeds, future in zip(SHAPES, futures, strict=True):
        _assert_same_bits(future.result(), engine.run(feeds))


def test_known_shapes_do_not_wait_for_the_planning_of_others() -> None:
    is_planning, may_plan = threading.Event(), threading.Event()

    def types(types: Sequence[Any], _: object) -> Sequence[Any]:
        if types[0].shape == (3,):
            is_planning.set()
            assert may_plan.wait(TIMEOUT_S)
        return types[:1]

    op = rw.CustomOp("test", "Pass", types, lambda inputs, _: [inputs[0]])
    model = make_model("g (float[N] x) => (float[N] y) { a = Relu(x)  y = test.Pass(a) }")
    engine = colonnade.compile(model, threads=1, custom_ops=[op], shapes={"x": (2,)})
    slow = engine.submit([np.ones(3, np.float32)])
    assert is_planning.wait(TIMEOUT_S)
    assert engine.submit(X).result(TIMEOUT_S)["y"].tolist() == [1, 1]
    assert engine.run(X)["y"].tolist() == [1, 1]
    assert not slow.done()
    may_plan.set()
    assert slow.result(TIMEOUT_S)["y"].tolist() == [1, 1, 1]


class Gate:
    """An engine whose runs wait for a signal."""

    def __init__(self, **options: Any) -> None:
        self.may_end = threading.Event()
        self.has_started = threading.Semaphore(0)
        self.engine: colonnade.Engine | None = make_custom(self._answer, **options)

    def _answer(self, inputs: Sequence[np.ndarray], _: object) -> list[np.ndarray]:
        self.has_started.release()
        assert self.may_end.wait(TIMEOUT_S)
        return [inputs[0]]

    def occupy(self) -> Any:
        """A request that runs."""
        assert self.engine is not None
        future = self.engine.submit([np.ones(2, np.float32)])
        assert self.has_started.acquire(timeout=TIMEOUT_S)
        return future


def make_custom(function: Callable[..., Any], **options: Any) -> colonnade.Engine:
    op = rw.CustomOp("test", "Pass", lambda types, _: types[:1], function)
    model = make_model("g (float[2] x) => (float[2] y) { a = Relu(x)  y = test.Pass(a) }")
    return colonnade.compile(model, custom_ops=[op], **options)


X = [np.ones(2, np.float32)]


def test_a_full_queue_refuses() -> None:
    gate = Gate(threads=1, queue_depth_max=1)
    assert gate.engine is not None
    futures = [gate.occupy(), gate.engine.submit(X)]
    with pytest.raises(OverloadedError, match="queue_depth_max"):
        gate.engine.submit(X)
    gate.may_end.set()
    assert wait(futures, TIMEOUT_S).not_done == set()
    assert gate.engine.submit(X).result(TIMEOUT_S)["y"].tolist() == [1, 1]


def test_the_gil_is_free_while_a_caller_waits() -> None:
    """Otherwise nobody could let the first one end."""
    gate = Gate(threads=1)
    assert gate.engine is not None
    first = gate.occupy()
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(gate.engine.run, X)
        assert not caller.done()
        gate.may_end.set()
        assert caller.result(TIMEOUT_S)["y"].tolist() == [1, 1]
    assert first.result(TIMEOUT_S)["y"].tolist() == [1, 1]


def test_a_closed_engine_cancels_what_waits() -> None:
    gate = Gate(threads=1)
    assert gate.engine is not None
    with gate.engine:
        first, second = gate.occupy(), gate.engine.submit(X)
    with pytest.raises(CancelledError):
        second.result(TIMEOUT_S)
    with pytest.raises(RunError, match="the engine is closed"):
        gate.engine.run(X)
    with pytest.raises(RunError, match="the engine is closed"):
        gate.engine.submit([X[0], X[0]])
    gate.may_end.set()
    assert first.result(TIMEOUT_S)["y"].tolist() == [1, 1]


def test_an_engine_that_goes_away_cancels_what_waits() -> None:
    gate = Gate(threads=1)
    assert gate.engine is not None
    first, others = gate.occupy(), [gate.engine.submit(X) for _ in range(5)]
    gate.engine = None
    gc.collect()
    gate.may_end.set()
    assert first.result(TIMEOUT_S)["y"].tolist() == [1, 1]
    assert wait(others, TIMEOUT_S).not_done == set()
    assert all(future.cancelled() for future in others)


def test_an_operator_may_run_another_engine_on_the_same_runtime() -> None:
    runtime = colonnade.Runtime(2)
    inner = colonnade.compile(
        make_model("h (float[2] x) => (float[2] y) { y = Neg(x) }"), runtime=runtime
    )
    outer = make_custom(lambda inputs, _: [inner.run([inputs[0]])["y"]], runtime=runtime)
    assert outer.run(X)["y"].tolist() == [-1, -1]
    assert outer.submit(X).result(TIMEOUT_S)["y"].tolist() == [-1, -1]


EXIT = """
import atexit, sys
import numpy as np
import colonnade

engine = colonnade.compile(sys.argv[1], threads=2, scheduler=sys.argv[2])
x = [np.ones((2, 3, 13, 11), np.float32)]
futures = [engine.submit(x) for _ in range(200)]
atexit.register(lambda: print(all(f.done() for f in futures), futures[0].result()["y"].shape))
"""


@pytest.mark.parametrize("scheduler", ["single_stream", "multi_stream", "elastic"])
def test_python_ends_with_requests_in_the_queue(tmp_path: Path, scheduler: str) -> None:
    path = tmp_path / "image.onnx"
    path.write_bytes(image_model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", EXIT, str(path), scheduler],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "True (2, 7)", done.stderr
    assert done.stderr == ""


def _words(engine: colonnade.Engine) -> np.ndarray:
    (program,) = engine._programs.values()
    (step,) = program.steps
    assert isinstance(step, NativeStep)
    return step.parts.words


def _assert_same_bits(made: Feeds, expected: Feeds) -> None:
    assert made.keys() == expected.keys()
    for name, array in made.items():
        assert array.tobytes() == expected[name].tobytes()
