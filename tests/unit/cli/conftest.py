"""A real model file for tests with real workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiny_model import FEATURES, write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Calibration data of the tiny model."""
    folder = tmp_path / "samples"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        x = rng.standard_normal((4, FEATURES)).astype(np.float32)
        # Files hold more than a model reads, as those of a data set do.
        np.savez(folder / f"{number}.npz", x=x, label=number)
    return folder


@pytest.fixture(autouse=True)
def own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines run in the interpreter of the tests, whatever the developer has set."""
    for name in ("ONNXRUNTIME", "OPENVINO", "DEEPSPARSE", "COLONNADE"):
        monkeypatch.delenv(f"COLONNADE_PEER_{name}_PYTHON", raising=False)
