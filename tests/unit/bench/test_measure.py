"""The suite runner of benchmarks/: results are kept case by case, pictures drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import measure
import models
from tiny_model import FEATURES

SUITE = """
peers = []
threads = 1
seconds = 0.05
warm_up_s = 0.0
[[cases]]
model = "tiny"
batch = [1, 3]
[[cases]]
model = "absent"
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def build(name: str) -> Path:
        if name == "absent":
            raise models.LibraryMissingError("absent needs what is not here")
        return tiny_model

    def inputs(_: str, batch: int, __: int | None) -> dict[str, np.ndarray]:
        return {"x": np.ones((batch, FEATURES), np.float32)}

    (tmp_path / "small.toml").write_text(SUITE)
    monkeypatch.setattr(measure, "HERE", tmp_path)
    monkeypatch.setattr(models, "build", build)
    monkeypatch.setattr(models, "inputs", inputs)
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    folders = ["--results", str(folder), "--images", str(folder / "img")]
    return measure.main(["small", *folders, *arguments])


def test_a_case_that_fails_leaves_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--smoke") == 1
    found = json.loads((folder / "small.json").read_text())
    assert list(found["cases"]) == ["tiny, batch 1", "tiny, batch 3"]
    assert [(row["engine"], row["batch_size"]) for row in found["results"]] == [
        ("colonnade", 1),
        ("onnxruntime", 1),
        ("colonnade", 3),
        ("onnxruntime", 3),
    ]
    assert "absent, batch 1: absent needs what is not here" in capsys.readouterr().err
    assert not (folder / "img").exists()


def test_one_case_replaces_its_own_result_only(folder: Path) -> None:
    assert run(folder, "--case", "tiny", "--smoke") == 0
    before = json.loads((folder / "small.json").read_text())["cases"]
    pytest.importorskip("matplotlib")
    assert run(folder, "--case", "batch 3") == 0
    after = json.loads((folder / "small.json").read_text())["cases"]
    assert after["tiny, batch 1"] == before["tiny, batch 1"]
    assert after["tiny, batch 3"] != before["tiny, batch 3"]
    assert (folder / "img" / "small.png").exists()
