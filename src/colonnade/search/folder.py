"""A Hugging Face folder as an ONNX file, checked with the engine against torch. Loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from colonnade.engine.compile import compile as compile_model
from colonnade.sparsify.export.folder import load_folder, make_text_sample, read_config
from colonnade.sparsify.export.onnx import export_onnx

TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM")


def export_folder(folder: Path, target: Path) -> Path:
    """Write the encoder of a text model, of the class that its config names. Raises ModelError for
    a folder that is none, ExportError where the file's answers are not torch's."""
    config = read_config(folder)
    model = load_folder(folder, choose_task(config))
    sample = make_text_sample(config)
    axes = {0: "batch", 1: "sequence"}
    export_onnx(model, sample, target, runner=run_file, dynamic=dict.fromkeys(sample, axes))
    return target


def choose_task(config: Mapping[str, object]) -> str:
    """The Auto class of transformers for the class that a config names.

    >>> choose_task({"architectures": ["BertForSequenceClassification"]})
    'AutoModelForSequenceClassification'
    """
    names = config.get("architectures") or [""]
    first = str(names[0]) if isinstance(names, list) else ""
    found = next((task for task in TASKS if first.endswith(f"For{task}")), None)
    return f"AutoModelFor{found}" if found else "AutoModel"


def run_file(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The engine's answers."""
    with compile_model(path, tune="off") as engine:
        return engine.run(dict(feed))
