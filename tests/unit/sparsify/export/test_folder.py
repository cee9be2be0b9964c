"""Hugging Face folders in and out, and their quantization_config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn.utils import prune

from colonnade.errors import ModelError
from colonnade.sparsify.export import load_folder, load_folder_weights, save_folder
from colonnade.sparsify.export.formats import read_format, write_format


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT as transformers saves it, with a tokenizer beside it."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\n")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"stale")
    return folder


def pruned(source: Path) -> torch.nn.Module:
    """Half of each linear layer, two of four."""
    model = load_folder(source)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            mask = torch.tensor([0.0, 1, 1, 0]).repeat(module.weight.numel() // 4)
            prune.custom_from_mask(module, "weight", mask.reshape(module.weight.shape))
    return model


@pytest.mark.parametrize("weights", ["dense", "sparse-bitmask", "sparse-24-bitmask"])
def test_round_trip(source: Path, tmp_path: Path, weights: Any) -> None:
    model = pruned(source)
    save_folder(model, tmp_path / "out", source=source, weights=weights)
    back = load_folder(tmp_path / "out")
    tokens = torch.tensor([[1, 2, 3]])
    expected = model(tokens).last_hidden_state
    assert torch.equal(back(tokens).last_hidden_state, expected)
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\n"
    assert (tmp_path / "out" / "1_Pooling" / "config.json").is_file()
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


def test_a_dense_folder_is_one_of_transformers(source: Path, tmp_path: Path) -> None:
    model = pruned(source)
    save_folder(model, tmp_path, source=source)
    own = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(own(tokens).last_hidden_state, model(tokens).last_hidden_state)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())


def test_the_config_names_the_format(source: Path, tmp_path: Path) -> None:
    save_folder(pruned(source), tmp_path, source=source, weights="sparse-24-bitmask")
    stated = json.loads((tmp_path / "config.json").read_text())
    assert stated["model_type"] == "bert"
    sparsity = stated["quantization_config"]["sparsity_config"]
    assert sparsity["format"] == "sparse-24-bitmask"
    assert sparsity["sparsity_structure"] == "2:4"
    assert 0.3 < sparsity["global_sparsity"] < 0.5
    assert stated["quantization_config"]["quant_method"] == "compressed-tensors"


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("sparse-24-bitmask", "sparse-24-bitmask: no matrix is 2:4, so none would be packed"),
        ("sparse-foo", "unknown format 'sparse-foo'; those that are: dense, sparse-bitmask"),
    ],
)
def test_formats_that_cannot_be_written(
    source: Path, tmp_path: Path, weights: Any, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        save_folder(load_folder(source), tmp_path / "out", source=source, weights=weights)
    assert not (tmp_path / "out").exists()


def test_the_state_dict_alone(source: Path, tmp_path: Path) -> None:
    state = load_folder_weights(source)
    save_folder(state, tmp_path, source=source, weights="sparse-bitmask")
    back = load_folder_weights(tmp_path)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"sparsity_config": {"format": "os.system"}}, "unknown format 'os.system'"),
        ({"format": "pack-quantized"}, "format 'pack-quantized' is not read"),
        ({"sparsity_config": {"format": "marlin-24"}}, "format 'marlin-24' is not read"),
        ({"quant_method": "gptq"}, "quant_method 'gptq'"),
    ],
)
def test_the_list_of_formats_is_closed(stated: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        read_format({"quantization_config": stated})


def test_a_format_of_dense_is_read_and_never_written() -> None:
    stated = {"quantization_config": {"sparsity_config": {"format": "dense"}}, "a": 1}
    assert read_format(stated) == "dense"
    assert write_format(stated, "dense", 0.9) == {"a": 1}


def test_a_folder_whose_names_are_not_the_modules(tmp_path: Path) -> None:
    """transformers renames weights when it saves and loads; a folder of ours goes both ways."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=16,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    image = torch.randn(1, 3, 16, 16)
    task = "AutoModelForImageClassification"
    own = load_folder(tmp_path / "theirs", task)
    assert not own.training
    save_folder(own, tmp_path / "ours", source=tmp_path / "theirs")
    for folder in ("theirs", "ours"):
        assert torch.equal(load_folder(tmp_path / folder, task)(image).logits, model(image).logits)


def test_a_dense_folder_may_name_a_format(source: Path, tmp_path: Path) -> None:
    """Its readers need no compressed-tensors for it."""
    save_folder(load_folder(source), tmp_path, source=source)
    stated = json.loads((tmp_path / "config.json").read_text())
    sparsity = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "dense"}}
    (tmp_path / "config.json").write_text(json.dumps({**stated, "quantization_config": sparsity}))
    tokens = torch.tensor([[1, 2, 3]])
    expected = load_folder(source)(tokens).last_hidden_state
    assert torch.equal(load_folder(tmp_path)(tokens).last_hidden_state, expected)


def test_the_type_of_the_weights_stays(source: Path, tmp_path: Path) -> None:
    save_folder(load_folder(source).half(), tmp_path)
    assert load_folder(tmp_path).dtype == torch.float16


def test_weights_that_are_pickled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        load_folder(tmp_path)
    torch.save(load_folder_weights(source), tmp_path / "pytorch_model.bin")
    for load in (load_folder, load_folder_weights):
        with pytest.raises(
            ModelError, match=r"only pytorch_model\.bin, a pickle.* save it as safetensors"
        ):
            load(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "nothing"}, "transformers cannot load it: .*nothing"),
        ({"model_type": None}, r"config\.json: no model_type"),
        ({"hidden_size": 8}, "transformers cannot load it: "),
    ],
)
def test_a_folder_that_transformers_cannot_load(
    source: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    save_folder(load_folder_weights(source), tmp_path, source=source)
    stated = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stated, **change}))
    with pytest.raises(ModelError, match=reason):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({"weight_map": {"a": "../other.safetensors"}}, "a shard lies outside of the folder"),
        ({"weights": {}}, "not a readable index"),
        ([], "not a readable index"),
    ],
)
def test_shards_that_cannot_be(source: Path, tmp_path: Path, index: Any, reason: str) -> None:
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for load in (load_folder, load_folder_weights):
        with pytest.raises(ModelError, match=reason):
            load(tmp_path)


def test_shards(source: Path, tmp_path: Path) -> None:
    load_folder(source).save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    tokens = torch.tensor([[1, 2, 3]])
    expected = load_folder(source)(tokens).last_hidden_state
    assert torch.equal(load_folder(tmp_path)(tokens).last_hidden_state, expected)
    assert load_folder_weights(tmp_path).keys() == load_folder_weights(source).keys()
    zeros = {name: torch.zeros_like(t) for name, t in load_folder_weights(source).items()}
    save_folder(zeros, tmp_path, source=tmp_path)
    assert not any(tensor.any() for tensor in load_folder_weights(tmp_path).values())


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: not a readable config"):
        load_folder(tmp_path)


def test_weights_of_another_model(source: Path, tmp_path: Path) -> None:
    state = load_folder_weights(source)
    state.pop("encoder.layer.0.output.dense.weight")
    save_folder(state, tmp_path, source=source)
    with pytest.raises(
        ModelError, match=r"no weights for encoder\.layer\.0\.output\.dense\.weight"
    ):
        load_folder(tmp_path)
