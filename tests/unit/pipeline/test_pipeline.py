"""Names of tasks, batches, custom functions, graphs, and voice activity without a model."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade.errors import InputError
from colonnade.pipeline.catalogue import TASKS, find_task, task_names
from colonnade.pipeline.graph import GraphPipeline, Step, ordered
from colonnade.pipeline.results import Speech
from colonnade.pipeline.stages import Batching, make_batches, run_rows
from colonnade.pipeline.tasks import voice_activity
from tiny_model import FEATURES, OUTPUTS, write_tiny_model


def test_names() -> None:
    assert find_task("NER").name == "token-classification"
    assert find_task("token_classification").name == "token-classification"
    assert len(set(task_names())) == len(task_names()) >= len(TASKS)
    for name, meant in (("text-clasification", "text-classification"), ("embedings", "embeddings")):
        with pytest.raises(InputError, match=f"did you mean '{meant}'"):
            colonnade.pipeline(name, "model.onnx")
    with pytest.raises(InputError, match="unknown task 7"):
        find_task(7)


def test_batches_share_shapes() -> None:
    rows = [{"x": np.arange(n, dtype=np.float32)} for n in (3, 9, 2, 4, 8, 1)]
    batching = Batching(sizes=(1, 2, 4), lengths=(4, 16), padding={"x": -1})
    batches = make_batches(rows, batching)
    assert [(batch.feeds["x"].shape, batch.rows) for batch in batches] == [
        ((4, 4), (0, 2, 3, 5)),
        ((2, 16), (1, 4)),
    ]
    np.testing.assert_array_equal(batches[0].feeds["x"][3], [0, -1, -1, -1])
    runs = run_rows(lambda feeds: {"sum": (feeds["x"] + 1).sum(1)}, rows, batching)
    assert [row["sum"] for row in runs] == [6, 45, 3, 10, 36, 1]


def test_a_batch_is_filled_up() -> None:
    rows = [{"x": np.full(2, i, np.float32)} for i in range(7)]
    sizes = [len(b.feeds["x"]) for b in make_batches(rows, Batching(sizes=(1, 4)))]
    assert sizes == [4, 4]


def test_a_row_above_every_length() -> None:
    with pytest.raises(InputError, match="size 5 is above the largest"):
        make_batches([{"x": np.zeros(5)}], Batching(lengths=(2, 4)))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.onnx")


def test_custom(tiny: Path) -> None:
    double = colonnade.pipeline(
        "custom", tiny, threads=1, batch_size=4,
        process_inputs=lambda number: np.full(FEATURES, number, np.float32),
        process_outputs=lambda outputs: float(outputs["y"].sum()),
    )  # fmt: skip
    with colonnade.compile(tiny, threads=1) as engine:
        for number, found in zip(range(6), double(list(range(6))), strict=True):
            expected = engine.run([np.full((1, FEATURES), number, np.float32)])["y"].sum()
            assert found == pytest.approx(float(expected), rel=1e-5)


def test_custom_without_functions(tiny: Path) -> None:
    plain = colonnade.pipeline("custom", tiny, threads=1)
    assert plain({"x": np.ones(FEATURES, np.float32)})["y"].shape == (OUTPUTS,)
    for item, message in (("no", "got str"), ({"z": np.ones(2)}, r"inputs \['z'\]")):
        with pytest.raises(InputError, match=message):
            plain(item)
    with pytest.raises(InputError, match="process_inputs=3"):
        colonnade.pipeline("custom", tiny, process_inputs=3)


def test_a_model_with_a_fixed_batch(tmp_path: Path) -> None:
    fixed = write_tiny_model(tmp_path / "fixed.onnx", batch=3)
    run = colonnade.pipeline("custom", fixed, threads=1)
    rows = [np.full(FEATURES, i, np.float32) for i in range(4)]
    free = colonnade.pipeline("custom", write_tiny_model(tmp_path / "free.onnx"), threads=1)
    for ours, theirs in zip(run(rows), free(rows), strict=True):
        np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-5)


def test_threads_share_a_pipeline(tiny: Path) -> None:
    run = colonnade.pipeline("custom", tiny, threads=1, process_outputs=lambda o: o["y"].tolist())
    rows = [np.full(FEATURES, i, np.float32) for i in range(8)]
    expected = run(rows)
    found: list[Any] = [None] * 8

    def one(i: int) -> None:
        found[i] = run(rows[i])

    workers = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


class Plus:
    """A stage without a model."""

    def __init__(self, number: int) -> None:
        self.number = number

    def batch(self, items: Any) -> list[Any]:
        return [item + self.number for item in items]


def test_graphs_run_in_order() -> None:
    steps = [
        Step("all", ("each",), function=sum),
        Step("each", ("list",), Plus(1), each=True),
        Step("list", ("input",), function=lambda n: list(range(n))),
    ]
    graph = GraphPipeline("sums", ordered(steps, "sums"), ("all",))
    assert graph([2, 3]) == [3, 6]
    assert graph.run(3, {"each": Plus(10)}) == 33
    both = GraphPipeline("sums", ordered(steps, "sums"), ("all", "list"))
    assert both(2) == {"all": 3, "list": [0, 1]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": "b", "b": "a"}, "wait for each other"),
        ({"a": "imput"}, "takes from 'imput'; did you mean 'input'"),
        ({"input": "input"}, "called 'input'"),
    ],
)
def test_bad_graphs(inputs: dict[str, str], message: str) -> None:
    steps = [Step(name, (source,), function=len) for name, source in inputs.items()]
    with pytest.raises(InputError, match=message):
        ordered(steps, "graph")


def test_each_takes_a_list() -> None:
    graph = GraphPipeline("g", (Step("a", ("input",), Plus(1), each=True),), ("a",))
    with pytest.raises(InputError, match="takes each of a list, got int"):
        graph(7)


def test_speech_from_probabilities() -> None:
    options = voice_activity.Options(pad_s=0.0, min_silence_s=0.1, min_speech_s=0.1)
    frame_s = voice_activity.FRAME / voice_activity.RATE_HZ
    shares = np.zeros(100)
    shares[10:20] = 0.9
    shares[15] = 0.4  # not low enough to end it
    shares[22:30] = 0.8  # two frames later: the same stretch
    shares[60:62] = 0.9  # too short
    shares[90:] = 0.9  # to the end
    found = voice_activity.find_speech(shares, 100 * frame_s, options)
    assert found == [Speech(10 * frame_s, 30 * frame_s), Speech(90 * frame_s, 100 * frame_s)]
    wide = voice_activity.find_speech(shares, 100 * frame_s, voice_activity.Options(pad_s=9.0))
    assert wide[0].start_s == 0
    assert wide[0].end_s == wide[1].start_s
    assert wide[1].end_s == 100 * frame_s


def test_frames_overlap() -> None:
    samples = np.arange(1300, dtype=np.float32)
    frames = voice_activity.cut_frames(samples, np.full(64, -1, np.float32))
    assert frames.shape == (3, 576)
    np.testing.assert_array_equal(frames[0, :64], -1)
    np.testing.assert_array_equal(frames[1, :64], samples[448:512])
    np.testing.assert_array_equal(frames[2, 64:], [*samples[1024:], *[0] * 236])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a.wav", "a float array, got str"),
        (np.zeros(4, np.int16), r"got int16 \[4\]"),
        (np.zeros(0, np.float32), "0 samples"),
        (np.array([0.0, np.nan]), "not finite"),
    ],
)
def test_bad_samples(item: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        voice_activity.check_samples(item)


def test_models_that_do_not_fit_the_task(tiny: Path) -> None:
    with pytest.raises(InputError, match="silero-vad's sequence model"):
        colonnade.pipeline("vad", tiny)
    with pytest.raises(InputError, match="takes two models"):
        colonnade.pipeline("ocr", tiny)
    with pytest.raises(InputError, match="takes one model, got 2"):
        colonnade.pipeline("custom", (tiny, tiny))
    with pytest.raises(InputError, match="expected a path, a folder or an Engine, got int"):
        colonnade.pipeline("custom", 7)
    with pytest.raises(InputError, match="takes whole inputs"):
        colonnade.pipeline("custom", tiny).stream()
