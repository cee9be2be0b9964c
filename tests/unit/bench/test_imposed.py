"""Zeros in a model file: which weights get them, and what is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.bench.imposed import (
    MIN_WEIGHTS,
    Imposed,
    Imposition,
    impose_on_file,
    imposed_model,
    node_sparsity,
)
from colonnade.errors import InputError
from colonnade.onnx.weights import WeightedModel

CHANNELS = 16


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stem, depthwise, pointwise, a small and a large linear layer."""
    rng = np.random.default_rng(3)
    shapes = {
        "stem": (CHANNELS, 8, 3, 3),
        "depthwise": (CHANNELS, 1, 3, 3),
        "spatial": (CHANNELS, CHANNELS, 3, 3),
        "squeeze": (CHANNELS, 8),
        "classify": (8, 130),
    }
    convs = [
        helper.make_node("Conv", ["x", "stem"], ["a"], name="stem_conv", pads=[1] * 4),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], group=CHANNELS, pads=[1] * 4),
        helper.make_node("Conv", ["b", "spatial"], ["c"], name="spatial_conv", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "squeeze"], ["f"]),
        helper.make_node("MatMul", ["f", "classify"], ["y"], name="classify_matmul"),
    ]
    graph = helper.make_graph(
        convs,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 130])],
        [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    path = tmp_path_factory.mktemp("imposed") / "network.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def impose(network: Path, tmp_path: Path, imposition: Imposition) -> tuple[Imposed, Path]:
    target = tmp_path / "sparse.onnx"
    return impose_on_file(network, target, imposition), target


def test_which_weights_stay_dense(network: Path, tmp_path: Path) -> None:
    found, target = impose(network, tmp_path, Imposition(0.9))
    assert {weight.name: weight.reason for weight in found.weights} == {
        "stem": "first convolution",
        "depthwise": "depthwise",
        "spatial": "",
        "squeeze": f"fewer than {MIN_WEIGHTS} elements",
        "classify": "",
    }
    before = {w.name: w.matrix for w in WeightedModel(network).product_weights()}
    for weight in WeightedModel(target).product_weights():
        kept = weight.matrix != 0
        np.testing.assert_array_equal(weight.matrix[kept], before[weight.name][kept])
        assert not np.signbit(weight.matrix[~kept]).any()


def test_weights_and_nodes_stay_dense_by_name(network: Path, tmp_path: Path) -> None:
    found, _ = impose(network, tmp_path, Imposition(0.9, dense=("spatial*conv",)))
    assert [weight.name for weight in found.masked] == ["classify"]
    found, _ = impose(network, tmp_path, Imposition(0.9, dense=("classify",)))
    assert [weight.name for weight in found.masked] == ["spatial"]


def test_report(network: Path, tmp_path: Path) -> None:
    found, target = impose(network, tmp_path, Imposition(0.5, "2:4"))
    document = found.to_dict()
    assert (document["sparsity"], document["structure"]) == (0.5, "2:4")
    assert document["num_elements"] == 8 * 130 + CHANNELS * CHANNELS * 9
    assert document["num_zeros"] == document["num_elements"] // 2
    assert document["dense"]["depthwise"] == "depthwise"
    assert "50.0% of 2 weights (2:4); 3 stay dense" in str(found)
    shares = node_sparsity(target)
    assert shares == {"stem_conv": 0, "b": 0, "spatial_conv": 0.5, "f": 0, "classify_matmul": 0.5}


def test_level_zero_changes_nothing(network: Path, tmp_path: Path) -> None:
    _, target = impose(network, tmp_path, Imposition(0.0))
    x = {"x": np.ones((1, 8, 6, 6), np.float32)}
    np.testing.assert_array_equal(
        colonnade.compile(target).run(x)["y"], colonnade.compile(network).run(x)["y"]
    )


def test_the_copy_keeps_the_name_and_goes(network: Path) -> None:
    with imposed_model(network, Imposition(0.8, "1x4")) as found:
        assert found.path.name == network.name
        assert found.path.is_file()
    assert not found.path.parent.exists()


def test_levels_are_checked_before_any_work() -> None:
    with pytest.raises(InputError, match="2:4 has sparsity"):
        Imposition(0.9, "2:4")
