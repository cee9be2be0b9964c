"""A Hugging Face folder becomes an ONNX file for any batch and length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto
from typer.testing import CliRunner

import colonnade
from colonnade.cli.main import app
from colonnade.cli.sparsify_files import opened_model
from colonnade.errors import InputError, ModelError
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


def write_bert(folder: Path, positions: int = 32, **options: object) -> Path:
    """Small, of random weights."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=positions, **options,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_halves_become_float32(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    transformers.BertModel.from_pretrained(folder).half().save_pretrained(folder)
    model = onnx.load(export_folder(folder, tmp_path / "bert.onnx"))
    kinds = {one.data_type for one in model.graph.initializer}
    assert TensorProto.FLOAT in kinds
    assert TensorProto.FLOAT16 not in kinds


@pytest.mark.slow
def test_a_text_is_no_longer_than_the_model_bears(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert", positions=12)
    with opened_model(folder, None, None) as found:
        assert found.length_max == 12
    with opened_model(folder, None, 8) as found:
        assert found.length_max == 8
        assert found.path.is_file()
    assert not found.path.exists()
    with (
        pytest.raises(InputError, match="--sequence-length 13: the model has 12 positions"),
        opened_model(folder, None, 13),
    ):
        pass


def test_other_folders_are_refused(tmp_path: Path) -> None:
    for stated, name in (
        ({"architectures": ["T5ForConditionalGeneration"], "vocab_size": 30}, "T5ForCond"),
        ({"architectures": ["GPT2LMHeadModel"], "vocab_size": 30}, "GPT2LMHeadModel"),
        ({"architectures": ["T5Model"], "vocab_size": 3, "is_encoder_decoder": True}, "T5Model"),
        ({"architectures": ["ViTForImageClassification"]}, "ViTForImageClassification"),
        ({}, "no text model"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(stated))
        with pytest.raises(ModelError, match=f"is {name}.*; expected the folder of a text encoder"):
            export_folder(tmp_path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
def test_what_transformers_says_is_one_line(tmp_path: Path) -> None:
    model = transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=8)
    )
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match="; expected the folder of a text encoder as BERT"
    ) as found:
        export_folder(tmp_path, tmp_path / "m.onnx")
    assert "\n" not in str(found.value)
    (tmp_path / "config.json").write_text('{"model_type": "none of these", "vocab_size": 30}')
    with pytest.raises(ModelError, match="; expected the folder of a text encoder as BERT"):
        export_folder(tmp_path, tmp_path / "m.onnx")


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
