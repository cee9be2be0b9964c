"""safetensors in the formats of compressed-tensors: bytes as that package wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from colonnade.errors import ExportError, ModelError
from colonnade.sparsify.export import load_weights, save_weights
from colonnade.sparsify.export.bitmask import pack_bitmask, pack_bitmask_24, unpack_bitmask
from colonnade.sparsify.export.weights import compress, decompress

GOLDEN = Path(__file__).parent / "golden"
"""Written by compressed-tensors 0.14.0.1 from `sample()`, one file for each format."""
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8]


def sample() -> dict[str, Tensor]:
    """A 2:4 matrix with ten columns of bits and a half, one four of zeros, and a bias."""
    rows = [
        [0, 1.5, 0, -2, 0, 0, 0, 3, 4, 5, 0, 0],
        [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, -0.5, 8],
        [7, 0, 6, 0, 0, 0.25, 0.5, 0, 1, 0, 0, 0],
    ]
    return {"layer.weight": torch.tensor(rows), "layer.bias": torch.tensor([1.0, 2, 3])}


@pytest.mark.parametrize("name", ["sparse-bitmask", "sparse-24-bitmask"])
def test_reads_what_compressed_tensors_wrote(name: str) -> None:
    found = load_weights(GOLDEN / f"{name}.safetensors", name)
    assert {n: t.tolist() for n, t in found.items()} == {n: t.tolist() for n, t in sample().items()}


@pytest.mark.parametrize("name", ["sparse-bitmask", "sparse-24-bitmask"])
def test_writes_the_same_tensors(name: str) -> None:
    expected = load_file(GOLDEN / f"{name}.safetensors")
    found = compress(sample(), name)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        if name == "sparse-bitmask" or key == "layer.shape":
            assert torch.equal(found[key], tensor), key  # which zeros 2:4 stores is free
        else:
            assert found[key].shape == tensor.shape, key


def test_bits_by_hand() -> None:
    parts = pack_bitmask(sample()["layer.weight"])
    assert parts["bitmask"].tolist() == [
        [0b10001010, 0b0011],
        [0b00110000, 0b1100],
        [0b01100101, 1],
    ]
    assert parts["row_offsets"].tolist() == [0, 5, 9]
    assert parts["shape"].tolist() == [3, 12]
    pairs = pack_bitmask_24(sample()["layer.weight"], "w")
    assert pairs["shape"].tolist() == [[3], [12]]
    assert pairs["compressed"].shape == (3, 6)
    assert pairs["bitmask"][1].tolist() == [0b00110011, 0b1100]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["dense", "sparse-bitmask", "sparse-24-bitmask"])
def test_round_trip_on_disk(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    state = {
        "layer.weight": sample()["layer.weight"].to(dtype),
        "conv.weight": torch.randn(2, 3, 3, 3),
        "dense.weight": torch.ones(4, 4),
        "odd.weight": torch.eye(7, 9),
    }
    save_weights(state, tmp_path / "w.safetensors", name)
    found = load_weights(tmp_path / "w.safetensors", name)
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key].float(), tensor.float()), key


def test_sparse_files_are_smaller(tmp_path: Path) -> None:
    weight = torch.randn(64, 64) * (torch.rand(64, 64) < 0.1)
    for name in ("dense", "sparse-bitmask"):
        save_weights({"a.weight": weight}, tmp_path / name, name)
    assert (tmp_path / "sparse-bitmask").stat().st_size < (tmp_path / "dense").stat().st_size / 3


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("compressed", torch.ones(3), "3 values for 14 bits"),
        ("bitmask", torch.zeros(3, 3, dtype=torch.uint8), "expected uint8 \\(3, 2\\)"),
        ("shape", torch.tensor([3, 12, 1]), "expected rows and columns"),
        ("row_offsets", torch.tensor([0, 1, 2]), "row_offsets disagree"),
    ],
)
def test_damaged_parts(part: str, value: Tensor, reason: str) -> None:
    parts = pack_bitmask(sample()["layer.weight"]) | {part: value}
    with pytest.raises(ModelError, match=reason):
        unpack_bitmask(parts, "layer.weight")


def test_a_part_is_missing() -> None:
    stored = compress(sample(), "sparse-bitmask")
    del stored["layer.row_offsets"]
    with pytest.raises(ModelError, match=r"layer\.weight: no row_offsets beside its bitmask"):
        decompress(stored, "sparse-bitmask")


def test_what_is_not_two_of_four() -> None:
    with pytest.raises(ModelError, match="some four along a row keep more than two"):
        pack_bitmask_24(torch.ones(2, 4), "w")
    with pytest.raises(ModelError, match="multiple of 4 columns, not 6"):
        pack_bitmask_24(torch.ones(2, 6), "w")


def test_not_a_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_weights(tmp_path / "w.safetensors")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"old": torch.ones(1)}, tmp_path / "w.safetensors")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("colonnade.sparsify.export.weights.save_file", full)
    with pytest.raises(ExportError, match="No space left on device"):
        save_weights(sample(), tmp_path / "w.safetensors")
    assert list(load_file(tmp_path / "w.safetensors")) == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_format_that_nobody_knows(tmp_path: Path) -> None:
    save_weights(sample(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="unknown format 'sparse-foo'; those that are: dense"):
        load_weights(tmp_path / "w.safetensors", "sparse-foo")
    with pytest.raises(ModelError, match="unknown format 'sparse-foo'; those that are: dense"):
        save_weights(sample(), tmp_path / "w.safetensors", "sparse-foo")
