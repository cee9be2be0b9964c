"""benchmarks/quantized.py: which engine runs which file, and the choice of the best form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models
import quantized
from candidates import Measured


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "build", lambda name: Path(name))
    monkeypatch.setattr(quantized, "quantize", lambda name, form: Path(f"{name}-{form}"))


def test_dense_engines_run_the_dense_model_of_a_sparse_one() -> None:
    made = quantized.make_candidates("resnet50_s95", ["onnxruntime", "deepsparse"])
    assert {candidate.label: str(candidate.model) for candidate in made} == {
        "float32: float32": "resnet50_s95",
        "colonnade: qdq": "resnet50_s95-qdq",
        "onnxruntime dense: qdq": "resnet50-qdq",
        "onnxruntime dense: qoperator": "resnet50-qoperator",
        "deepsparse: qdq": "resnet50_s95-qdq",
        "deepsparse: qoperator": "resnet50_s95-qoperator",
        "deepsparse: integer": "resnet50_s95-integer",
        "onnxruntime dense float32: float32": "resnet50",
        "deepsparse float32: float32": "resnet50_s95",
    }


def test_all_engines_run_a_dense_model() -> None:
    made = quantized.make_candidates("resnet50", ["onnxruntime"])
    assert {str(candidate.model) for candidate in made} == {
        "resnet50", "resnet50-qdq", "resnet50-qoperator",
    }  # fmt: skip


def test_the_fastest_form_is_an_engines_best() -> None:
    times = {"a: qdq": 3.0, "a: qoperator": 2.0, "b: qdq": 1.0, "a dense: qdq": 4.0}
    found = {label: Measured(ms, (np.zeros(1),)) for label, ms in times.items()}
    best = quantized.best_forms(found)
    assert best == {"a": "a: qoperator", "b": "b: qdq", "a dense": "a dense: qdq"}
