"""save_proto(): models above the size of one message, with that size made small."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from colonnade.errors import ModelError
from colonnade.onnx import saving
from colonnade.onnx.importer import import_model
from colonnade.onnx.saving import save_proto


def make_model(seed: int) -> onnx.ModelProto:
    """Two constants of 16 KiB, one of them as floats, and a small one."""
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, 64, 64)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("MatMul", ["a", "second"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(first, "first"),
        helper.make_tensor("second", TensorProto.FLOAT, [64, 64], second.ravel().tolist()),
        numpy_helper.from_array(np.ones(64, np.float32), "bias"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 64]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors, "words")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="key", value="value")
    return model


@pytest.fixture
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is above the limit."""
    monkeypatch.setattr(saving, "MAX_MESSAGE_BYTES", 1000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbers(source: onnx.ModelProto | Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in import_model(source).constants.items()}


@pytest.mark.usefixtures("small_messages")
def test_constants_lie_beside_a_large_model(tmp_path: Path) -> None:
    model = make_model(0)
    before = model.SerializeToString()
    save_proto(model, tmp_path / "m.onnx")
    assert model.SerializeToString() == before
    file, data = names(tmp_path)
    assert file == "m.onnx"
    assert data.startswith("m.onnx.")
    assert data.endswith(".data")
    assert numbers(tmp_path / "m.onnx") == numbers(model)
    loaded = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx")
    for found in (loaded, model):
        del found.graph.initializer[:]
    assert loaded == model


@pytest.mark.usefixtures("small_messages")
def test_saving_again_and_elsewhere(tmp_path: Path) -> None:
    model, target = make_model(0), tmp_path / "m.onnx"
    save_proto(model, target)
    first = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    save_proto(model, target)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == first
    (tmp_path / "other").mkdir()
    save_proto(model, tmp_path / "other" / "n.onnx")
    assert numbers(tmp_path / "other" / "n.onnx") == numbers(model)
    (tmp_path / "m.onnx.notes.data").touch()
    save_proto(make_model(1), target)
    assert numbers(target) == numbers(make_model(1))
    assert len(names(tmp_path)) == 4  # the old data is gone


@pytest.mark.usefixtures("small_messages")
@pytest.mark.parametrize("step", [0, 1])
def test_a_failure_leaves_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    target = tmp_path / "m.onnx"
    save_proto(make_model(0), target)
    old = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    count = 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > step:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.fdatasync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="cannot be written: No space left"):
        save_proto(make_model(1), target)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == old


@pytest.mark.usefixtures("small_messages")
def test_a_target_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        save_proto(make_model(0), tmp_path / "m.onnx")
    assert names(tmp_path) == ["m.onnx"]


def test_a_small_model_takes_the_place_of_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(saving, "MAX_MESSAGE_BYTES", 1000)
        save_proto(make_model(0), target)
    save_proto(make_model(0), target)
    assert names(tmp_path) == ["m.onnx"]
    assert numbers(target) == numbers(make_model(0))
