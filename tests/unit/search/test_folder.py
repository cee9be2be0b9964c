"""A Hugging Face folder becomes an ONNX file for any batch and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import colonnade
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
