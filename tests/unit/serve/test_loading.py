"""A model is warmed up with sizes that it takes, whether or not somebody named them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from colonnade.engine.runtime import Runtime
from colonnade.errors import ModelError
from colonnade.serve.config import ModelConfig
from colonnade.serve.loading import load_model

WIDTH, WORDS = 8, 20


def write_text_model(path: Path, positions: int, tokens: str | None = "tokens") -> Path:
    """Embeddings of words and of positions; a text of more tokens than positions is an error."""
    rng = np.random.default_rng(0)
    shared = {
        "one": np.array(1, np.int64),
        "axis": np.array([0], np.int64),
        "positions": rng.standard_normal((positions, WIDTH)).astype(np.float32),
        "words": rng.standard_normal((WORDS, WIDTH)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "axis"], ["end"]),
        helper.make_node("Slice", ["positions", "axis", "end", "axis"], ["taken"]),
        helper.make_node("Gather", ["words", "ids"], ["looked_up"]),
        helper.make_node("Add", ["looked_up", "taken"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", tokens])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", tokens, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in shared.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(threads=1)


@pytest.mark.parametrize("tokens", ["tokens", None])
def test_positions_that_end_early_need_no_configuration(
    tmp_path: Path, runtime: Runtime, tokens: str | None
) -> None:
    path = write_text_model(tmp_path / "text.onnx", 50, tokens)
    loaded = load_model(ModelConfig(name="text", path=path, save_plan=False), path, runtime)
    assert {key for key, _ in loaded.planned} == {((32,),)}
    loaded.engine.close()


def test_sizes_that_are_named_are_taken_as_they_are(tmp_path: Path, runtime: Runtime) -> None:
    path = write_text_model(tmp_path / "text.onnx", 50)
    config = ModelConfig(name="text", path=path, save_plan=False, warm_up={"tokens": [5, 40]})
    loaded = load_model(config, path, runtime)
    assert {key for key, _ in loaded.planned} == {((5,),), ((40,),)}
    loaded.engine.close()
    too_long = config.model_copy(update={"warm_up": {"tokens": [60]}})
    with pytest.raises(ModelError, match="Incompatible"):
        load_model(too_long, path, runtime)


def test_a_model_that_takes_no_size_says_why(tmp_path: Path, runtime: Runtime) -> None:
    path = write_text_model(tmp_path / "text.onnx", 50)
    model = onnx.load(path)
    wrong = numpy_helper.from_array(np.zeros((3, WIDTH + 1), np.float32), "positions")
    kept = [one for one in model.graph.initializer if one.name != "positions"]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, wrong])
    onnx.save(model, path)
    config = ModelConfig(name="text", path=path, save_plan=False)
    with pytest.raises(ModelError, match="Incompatible"):
        load_model(config, path, runtime)
