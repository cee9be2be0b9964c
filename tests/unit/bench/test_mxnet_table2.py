"""benchmarks/mxnet_table2.py: the naive build fuses nothing; the row of a small network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import colonnade
import models
import mxnet_table2
from models.published import NETWORKS

SIDE = 64


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ResNet-18 v2 for small images, in place of the real one."""
    path = tmp_path / "resnet18_v2.onnx"
    NETWORKS["resnet18_v2"].write(path, SIDE)
    monkeypatch.setattr(models, "build", lambda _: path)
    monkeypatch.setattr(models, "inputs", lambda _, batch: {"input": images(batch)})
    return path


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)


def test_the_naive_build_fuses_nothing(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = kernels(network)
    for name, value in mxnet_table2.NAIVE.items():
        monkeypatch.setenv(name, value)
    naive = kernels(network)
    assert naive.count("conv") == fused.count("conv") == 20
    assert {"clip", "map_binary"} <= set(naive)  # relu, sums and normalisation on their own
    assert len(naive) > 2 * len(fused)


def kernels(path: Path) -> list[str]:
    engine = colonnade.compile(
        path, threads=1, fallback="forbid", shapes={"input": (1, 3, SIDE, SIDE)}
    )
    return [node["kernel"] for node in engine.explain().to_dict()["nodes"]]


def test_a_row_and_its_page(network: Path, tmp_path: Path) -> None:
    options = ["--models", "resnet18_v2", "--precisions", "float32", "--batches", "2"]
    options += ["--threads", "1", "--seconds", "0", "--naive-runs", "1", "--naive-batch-max", "2"]
    folders = ["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]
    assert mxnet_table2.main([*options, *folders]) == 0
    [row] = json.loads((tmp_path / "results" / "mxnet_table2.json").read_text())["rows"]
    assert row["agrees"]
    assert set(row["median_ms"]) == {"colonnade", "naive", "onnxruntime"}
    assert row["speed_up"]["naive"] == row["median_ms"]["naive"] / row["median_ms"]["colonnade"]
    page = (tmp_path / "docs" / "mxnet_tables.md").read_text()
    assert f"| ResNet-18 v2 | float32 | 2 | {row['median_ms']['colonnade']:.1f} |" in page
    assert (tmp_path / "docs" / "img" / "mxnet_table2.png").exists()
