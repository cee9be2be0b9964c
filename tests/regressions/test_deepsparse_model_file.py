"""DeepSparse writes the input shapes into its file: that must never be the user's model."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from colonnade.bench.worker import DeepSparse
from tiny_model import FEATURES, write_tiny_model


class RewritingEngine:
    """Does to its file what DeepSparse 1.8 does, and reads what lies beside it."""

    output_names = ("y",)

    def __init__(self, model: str, **_: object) -> None:
        assert len(onnx.load(model).graph.initializer) == 2  # with the weights kept in a file
        Path(model).write_bytes(b"rewritten")


@pytest.fixture
def engine_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(Engine=RewritingEngine, __version__="1.8.0")
    monkeypatch.setitem(sys.modules, "deepsparse", library)


def prepare(model: Path) -> None:
    DeepSparse(str(model), threads=1, streams=1).prepare({"x": [2, FEATURES]})


@pytest.mark.usefixtures("engine_library")
def test_the_model_file_stays_as_it_is(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    before = model.read_bytes()
    prepare(model)
    assert model.read_bytes() == before


@pytest.mark.usefixtures("engine_library")
def test_weights_in_a_file_are_found(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    (tmp_path / "weights").mkdir()
    proto = onnx.load(model)
    onnx.save(proto, model, save_as_external_data=True, location="weights/w.bin", size_threshold=0)
    prepare(model)


@pytest.mark.usefixtures("engine_library")
def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    proto = onnx.load(model)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../w.bin")
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="outside the model's folder"):
        prepare(model)
