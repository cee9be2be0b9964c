"""The networks of benchmarks/models/published.py: real geometry, and both engines agree on them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import colonnade
from colonnade.bench.agreement import compare_outputs
from models.published import NETWORKS

SIZES = {
    "resnet18_v2": (20, 11_687_854),
    "resnet50_v2": (53, 25_549_486),
    "mobilenet_v1": (27, 4_231_976),
    "mobilenet_v2": (52, 3_504_872),
    "squeezenet1_0": (26, 1_248_424),
    "inception_v3": (94, 23_834_568),
}
"""Convolutions, and parameters as they are published: without statistics of normalisations.

Those of ResNet v2 follow from v1's: the same convolutions, and normalisations of their inputs.
"""
SIDES = {"inception_v3": 75}
"""The smallest image that leaves a pixel; others take 64."""


@pytest.mark.parametrize("name", SIZES)
def test_geometry(name: str, tmp_path: Path) -> None:
    graph = _write(name, tmp_path).graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert (len(convolutions), _num_parameters(graph)) == SIZES[name]
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 3, _side(name), _side(name),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["resnet18_v2", "mobilenet_v1", "mobilenet_v2", "squeezenet1_0"])
def test_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    _check_agreement(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50_v2", "resnet101_v2", "resnet152_v2", "inception_v3"])
def test_deep_ones_agree_with_onnxruntime(name: str, tmp_path: Path) -> None:
    _check_agreement(name, tmp_path)


def _check_agreement(name: str, folder: Path) -> None:
    model = _write(name, folder)
    x = np.random.default_rng(0).standard_normal((2, 3, _side(name), _side(name)))
    feeds = {"input": x.astype(np.float32)}
    engine = colonnade.compile(model, threads=1, fallback="forbid")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = {"logits": session.run(None, feeds)[0]}
    assert np.std(expected["logits"]) > 0.1  # neither vanished nor the same for all classes
    assert np.std(expected["logits"]) < 10.0
    assert compare_outputs(engine.run(feeds), expected).is_close


def _write(name: str, folder: Path) -> onnx.ModelProto:
    path = folder / f"{name}.onnx"
    NETWORKS[name].write(path, _side(name))
    return onnx.load(path)


def _side(name: str) -> int:
    return SIDES.get(name, 64)


def _num_parameters(graph: onnx.GraphProto) -> int:
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.dims}
    statistics = {
        name
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for name in node.input[3:]
    }
    return sum(size for name, size in sizes.items() if name not in statistics)
