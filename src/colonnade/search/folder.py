"""A Hugging Face folder as an ONNX file, checked with the engine against torch. Loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from colonnade.engine.compile import compile as compile_model
from colonnade.errors import ModelError
from colonnade.sparsify.export.folder import load_folder, make_text_sample, read_config
from colonnade.sparsify.export.onnx import export_onnx

TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM")
SUPPORTED = (
    "expected the folder of a text encoder as BERT, without a head or with one of "
    f"{', '.join(TASKS)}; of others, give a module:function"
)
SAMPLE_TOKENS = 16


def export_folder(folder: Path, target: Path) -> Path:
    """Write the encoder of a text model in float32, of the class that its config names. Raises
    ModelError for a folder that is none."""
    config = read_config(folder)
    _check_kind(folder, config)
    try:
        model = load_folder(folder, choose_task(config)).float()
        tokens = min(SAMPLE_TOKENS, count_positions(folder) or SAMPLE_TOKENS)
        sample = make_text_sample(config, tokens=tokens)
        axes = {0: "batch", 1: "sequence"}
        export_onnx(model, sample, target, runner=run_file, dynamic=dict.fromkeys(sample, axes))
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # a model of transformers may raise anything
        if isinstance(error.__cause__, OSError):  # the file, not the model
            raise
        lines = str(getattr(error, "reason", error)).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{folder}: {lines[0][:200]}; {SUPPORTED}") from error
    return target


def count_positions(folder: Path) -> int | None:
    """The longest text that the model takes, where its config says so."""
    found = read_config(folder).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else None


def choose_task(config: Mapping[str, object]) -> str:
    """The Auto class of transformers for the class that a config names.

    >>> choose_task({"architectures": ["BertForSequenceClassification"]})
    'AutoModelForSequenceClassification'
    """
    first = _architecture(config)
    found = next((task for task in TASKS if first.endswith(f"For{task}")), None)
    return f"AutoModelFor{found}" if found else "AutoModel"


def run_file(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The engine's answers."""
    with compile_model(path, tune="off") as engine:
        return engine.run(dict(feed))


def _architecture(config: Mapping[str, object]) -> str:
    names = config.get("architectures") or [""]
    return str(names[0]) if isinstance(names, list) else ""


def _check_kind(folder: Path, config: Mapping[str, object]) -> None:
    """Raise ModelError for what is known to be no text encoder."""
    name = _architecture(config)
    is_other = name.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration"))
    if is_other or config.get("is_encoder_decoder") or "vocab_size" not in config:
        raise ModelError(f"{folder}: is {name or 'no text model'}; {SUPPORTED}")
