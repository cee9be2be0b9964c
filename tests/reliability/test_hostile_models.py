"""Every model of the corpus, and every truncation and bit flip of a small one, ends well.

Well means: one ModelError that names the place and the reason, or a right answer. Never a crash,
a hang, another exception, or memory beyond the file's size and 64 MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reliability import hostile_models as corpus

MAX_GROWTH_BYTES = 64 << 20


class Server:
    """A `model_server.py` process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("model_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, action: str, path: Path, **more: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"action": action, "path": str(path), **more}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def _folder(tmp_path: Path) -> Path:
    """The model's folder; it has a parent that the model must not reach."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_corpus(case: Any, server: Server, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    case.build(folder)
    path, feeds = folder / corpus.MODEL, tmp_path / "feeds.npz"
    np.savez(feeds, **case.feeds)
    action = "import" if case.expect == "imports" else "compile"
    has_run = case.expect in ("runs", "fails")
    answer = server.ask(action, path, feeds=str(feeds) if has_run else None)
    message = answer.get("message", "")
    if case.expect == "refused":
        assert answer["outcome"] == "ModelError", answer
        for word in case.words:
            assert word in message
        if case.node is not None:
            assert answer["node"] == case.node
        assert len(message) < 1000
    elif case.expect == "fails":
        assert answer["outcome"] in ("RunError", "ModelError", "InputError"), answer
        for word in case.words:
            assert word in message
    else:
        assert answer["outcome"] == "ok", answer
        if case.want:
            _assert_equal(feeds, case.want)
    size = path.stat().st_size if path.is_file() else 0
    assert answer["grown_bytes"] <= size + MAX_GROWTH_BYTES


def _assert_equal(feeds: Path, want: dict[str, np.ndarray]) -> None:
    with np.load(f"{feeds}.out.npz") as made:
        assert sorted(made.files) == sorted(want)
        for name, array in want.items():
            assert made[name].shape == array.shape
            np.testing.assert_array_equal(made[name], array)


def test_the_corpus_is_large_enough() -> None:
    refused = [case for case in corpus.CASES if case.expect != "runs"]
    assert len(refused) >= 56
    assert len(corpus.CASES) - len(refused) >= 10
    assert len({case.name for case in corpus.CASES}) == len(corpus.CASES)


BATCH = 100
"""Mutants of one process."""


@pytest.mark.parametrize("name", corpus.SMALL_MODELS)
@pytest.mark.parametrize("action", ["truncate", "flip"])
def test_sampled_mutants(action: str, name: str, server: Server, tmp_path: Path) -> None:
    _mutate(action, name, server, tmp_path, step=3 if action == "truncate" else 29)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", corpus.SMALL_MODELS)
@pytest.mark.parametrize("action", ["truncate", "flip"])
def test_all_mutants(action: str, name: str, server: Server, tmp_path: Path) -> None:
    _mutate(action, name, server, tmp_path, step=1)


def _mutate(action: str, name: str, server: Server, tmp_path: Path, step: int) -> None:
    path = tmp_path / corpus.MODEL
    corpus.SMALL_MODELS[name](tmp_path)
    size = path.stat().st_size * (1 if action == "truncate" else 8)
    positions = list(range(0, size, step))
    for start in range(0, len(positions), BATCH):
        batch = positions[start : start + BATCH]
        answer = server.ask(action, path, positions=batch)
        assert answer["outcome"] == "ok", (batch[0], answer)


@pytest.mark.parametrize(("action", "count"), [("infer", 1500), ("nodes", 60)])
@pytest.mark.parametrize("seed", [1, 2])
def test_sampled_random_nodes(action: str, count: int, seed: int, server: Server) -> None:
    answer = server.ask(action, Path(), seed=seed, count=count)
    assert answer["outcome"] == "ok", answer


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("action", ["infer", "nodes"])
def test_many_random_nodes(action: str, server: Server) -> None:
    for seed in range(1000, 1100):
        answer = server.ask(action, Path(), seed=seed, count=100)
        assert answer["outcome"] == "ok", (seed, answer)
