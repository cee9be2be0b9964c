"""A real model file for tests with real workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(autouse=True)
def own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines run in the interpreter of the tests, whatever the developer has set."""
    for name in ("ONNXRUNTIME", "OPENVINO", "DEEPSPARSE", "COLONNADE"):
        monkeypatch.delenv(f"COLONNADE_PEER_{name}_PYTHON", raising=False)
