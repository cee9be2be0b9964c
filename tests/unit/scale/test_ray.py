"""Scoring and serving on a Ray cluster of two nodes, which are two raylets on this machine."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colonnade
from text_model import LENGTH, WORDS, write_text_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

TEXTS = 10_000
BATCH = 64
STORE_BYTES = 100 * 2**20
NODE = {"num_cpus": 3, "object_store_memory": STORE_BYTES}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.second = cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    engine = colonnade.compile(write_text_model(tmp_path / "text.onnx"), threads=1)
    engine.prepare({"ids": (BATCH, LENGTH)})
    engine.save(tmp_path / "text.colonnade")
    return tmp_path / "text.colonnade"


def texts() -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(f"word{n}" for n in row) for row in rng.integers(0, 900, (TEXTS, LENGTH))]


def make_prepare(gate: Path | None = None) -> Callable[[Any], Mapping[str, np.ndarray]]:
    """Texts to numbers. Behind a gate, the second half waits until that file is there."""
    length, words = LENGTH, WORDS

    def prepare(batch: Any) -> Mapping[str, np.ndarray]:
        while gate is not None and batch["id"].max() >= TEXTS // 2 and not gate.exists():
            time.sleep(0.01)
        numbers = [[zlib.crc32(w.encode()) % words for w in t.split()] for t in batch["text"]]
        return {"ids": np.array(numbers, np.int64).reshape(-1, length)}

    return prepare


def make_finish() -> Callable[[Any, Any], Mapping[str, np.ndarray]]:
    def finish(inputs: Any, outputs: Any) -> Mapping[str, np.ndarray]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {**outputs, "node": np.full(len(outputs["scores"]), node)}

    return finish


def expected_scores(plan: Path, given: list[str]) -> np.ndarray:
    """By one engine, batch after batch."""
    from colonnade.scale.ray_data import pad_rows

    prepare = make_prepare()
    parts = []
    with colonnade.load(plan, threads=1) as engine:
        for start in range(0, len(given), BATCH):
            part = np.array(given[start : start + BATCH], object)
            ids = prepare({"text": part, "id": np.arange(len(part))})["ids"]
            parts.append(engine.run({"ids": pad_rows(ids, BATCH)})["scores"][: len(part)])
    return np.concatenate(parts)


def dataset(given: list[str]) -> Any:
    import ray.data

    rows = [{"id": number, "text": text} for number, text in enumerate(given)]
    return ray.data.from_items(rows, override_num_blocks=40)


def scored(cluster: Any, plan: Path, given: list[str], gate: Path | None = None) -> Any:
    from colonnade.scale.ray_data import score
    from colonnade.scale.shared_model import share

    return score(
        dataset(given), share(plan), batch_size=BATCH, engines=2, prepare=make_prepare(gate),
        finish=make_finish(),
    )  # fmt: skip


def test_two_nodes_score_like_one_engine(cluster: Any, plan: Path) -> None:
    given = texts()
    rows = sorted(scored(cluster, plan, given).take_all(), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(TEXTS))
    found = np.stack([row["scores"] for row in rows])
    np.testing.assert_array_equal(found, expected_scores(plan, given))
    assert len({row["node"] for row in rows}) == 2


def test_a_lost_node_loses_no_result(cluster: Any, plan: Path, tmp_path: Path) -> None:
    given, gate = texts(), tmp_path / "gate"
    rows: list[Any] = []
    for row in scored(cluster, plan, given, gate).iter_rows():
        rows.append(row)
        if len(rows) == 1000:
            cluster.remove_node(cluster.second, allow_graceful=False)
            gate.touch()
    rows.sort(key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(TEXTS))
    found = np.stack([row["scores"] for row in rows])
    np.testing.assert_array_equal(found, expected_scores(plan, given))


def test_replicas_answer_like_one_engine(cluster: Any, plan: Path) -> None:
    from ray import serve

    from colonnade.scale.ray_serve import deployment
    from colonnade.scale.shared_model import share

    ids = np.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) % WORDS
    handle = serve.run(deployment(share(plan), replicas=2), route_prefix=None)
    try:
        answers = [handle.infer.remote({"ids": ids}) for _ in range(20)]
        with colonnade.load(plan, threads=1) as engine:
            expected = engine.run({"ids": ids})["scores"]
        for answer in answers:
            np.testing.assert_array_equal(answer.result()["scores"], expected)
    finally:
        serve.shutdown()
