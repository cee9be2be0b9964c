"""fork(): before first use the child works, after it the child is told so at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unit.engine.models import image_model

TIMEOUT_S = 120
SCRIPT = """
import os, sys
import numpy as np
import colonnade

engine = colonnade.compile(sys.argv[1], threads=2)
x = [np.ones((2, 3, 13, 11), np.float32)]
if sys.argv[2] == "after":
    engine.run(x)
child = os.fork()
if child == 0:
    try:
        engine.run(x)
    except RuntimeError as error:
        os.write(1, f"refused: {error}".encode())
        os._exit(0)
    os.write(1, b"ran")
    os._exit(0)
_, status = os.waitpid(child, 0)
engine.run(x)
os.write(1, f" status {status}".encode())
"""


STREAMS_SCRIPT = """
import os, sys
import numpy as np
import colonnade

engine = colonnade.compile(sys.argv[1], threads=2, scheduler="multi_stream")
x = [np.ones((2, 3, 13, 11), np.float32)]
expected = engine.run(x)["y"]
futures = [engine.submit(x) for _ in range(300)]
child = os.fork()
if child == 0:
    same = [np.array_equal(engine.submit(x).result()["y"], expected) for _ in range(20)]
    same.append(np.array_equal(engine.run(x)["y"], expected))
    os._exit(0 if all(same) else 1)
_, status = os.waitpid(child, 0)
print(status, len([future.result() for future in futures]))
"""
"""Streams of one thread have no workers, so nothing is lost in the child but the queue."""


@pytest.mark.parametrize(
    ("when", "expected"),
    [("before", "ran status 0"), ("after", "refused: ")],
)
def test_fork(tmp_path: Path, when: str, expected: str) -> None:
    path = tmp_path / "image.onnx"
    path.write_bytes(image_model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), when],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(expected), done.stdout + done.stderr
    assert done.stdout.endswith(" status 0")


def test_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "image.onnx"
    path.write_bytes(image_model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), "after"],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert "create it in the child" in done.stdout


def test_a_child_starts_with_an_empty_queue(tmp_path: Path) -> None:
    path = tmp_path / "image.onnx"
    path.write_bytes(image_model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STREAMS_SCRIPT, str(path)],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "300"], done.stdout + done.stderr
