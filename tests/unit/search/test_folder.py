"""A Hugging Face folder becomes an ONNX file for any batch and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

import colonnade
from colonnade.cli.main import app
from colonnade.search.folder import choose_task, export_folder


@pytest.mark.slow
def test_export_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, num_labels=3,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    path = export_folder(tmp_path / "bert", tmp_path / "bert.onnx")
    tokens = np.random.default_rng(0).integers(0, 30, (3, 9))
    feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    (answer,) = colonnade.compile(path).run(feed).values()
    expected = model(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits
    np.testing.assert_allclose(answer, expected.detach().numpy(), atol=1e-5)


def test_tasks() -> None:
    assert choose_task({}) == "AutoModel"
    assert choose_task({"architectures": ["BertModel"]}) == "AutoModel"
    assert choose_task({"architectures": ["XForMaskedLM"]}) == "AutoModelForMaskedLM"


@pytest.mark.slow
def test_the_command_prunes_a_folder(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    samples = tmp_path / "samples"
    samples.mkdir()
    tokens = np.random.default_rng(0).integers(0, 30, (4, 9))
    np.savez(samples / "0.npz", input_ids=tokens, attention_mask=np.ones_like(tokens))
    arguments = ["sparsify", "oneshot", str(tmp_path / "bert"), "--calibration", str(samples)]
    result = CliRunner().invoke(app, [*arguments, "--sparsity", "0.5", "--method", "magnitude"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "bert-sparse.onnx").is_file()
