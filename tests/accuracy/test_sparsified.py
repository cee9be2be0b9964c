"""The short form of `./dev accuracy` on the real images: everything is run, less is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accuracy import fashion, minilm, nm, resnet
from accuracy.results import Results
from accuracy.texts import TASKS
from colonnade.sparsify.layers import find_layers
from models.packages import PackageUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.models]

CHANCE = 0.1


@pytest.fixture(scope="module")
def images() -> tuple[fashion.Split, fashion.Split]:
    try:
        return fashion.load()
    except PackageUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("recipe", ["sr-ste", "mdgf-exponential (ste)", "sdgf-stepwise"])
def test_recipes_learn(
    recipe: str,
    images: tuple[fashion.Split, fashion.Split],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = nm.Training(images=6000, epochs=4, batch=64, learning_rate=2e-3)
    monkeypatch.setitem(nm.TRAININGS, "mlp", short)
    entry = nm.run_case(nm.Case("mlp", recipe, "1:8", 0), *images)
    assert entry["accuracy"] > 0.75


def test_a_sparse_int8_network_predicts_the_same_in_the_engine(
    images: tuple[fashion.Split, fashion.Split],
) -> None:
    train, test = images
    budget = resnet.Budget(images=12_800, dense=1, prune=2, quantize=1)
    found = resnet.run_seed(0, train, test.first(2000), budget)
    assert found["sparsity"] == pytest.approx(resnet.SPARSITY, abs=1e-3)
    assert found["int8_sparsity"] >= found["sparsity"]
    assert found["sparse"] > CHANCE * 4
    assert found["sparse_same_predictions"] == 2000
    # One activation that is rounded the other way may turn a close call.
    assert found["int8_same_predictions"] >= 1998
    assert found["int8_onnx_bytes"] < found["sparse_onnx_bytes"]


def test_a_text_classifier_is_pruned_in_blocks_and_still_sorts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "cache_dir", lambda: tmp_path)
    monkeypatch.setitem(TASKS, "bbc", replace(TASKS["bbc"], train=512, test=200))
    budget = minilm.Budget(
        dense=2, stages=((0.6, 1, 0.75),), patterns=("unstructured", "4x1"), one_shot=(0.5,)
    )
    results = Results(tmp_path / "minilm.json")
    try:
        minilm.run_task("bbc", 0, results, budget)
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    found = results.entries
    cases = ["dense/0", "sparsegpt/0.5", "unstructured/0.6", "4x1/0.6"]
    assert list(found) == [f"bbc/0/{case}" for case in cases]
    for entry in found.values():
        assert entry["sparsity"] == pytest.approx(entry["asked"], abs=2e-3)
        assert entry["accuracy"] > 3 * 0.2
    model = minilm.make_classifier(5)
    model.load_state_dict(torch.load(minilm.weights_path("bbc", 0, "4x1-0.6"), weights_only=True))
    for layer in find_layers(model, minilm.ENCODER):
        blocks = layer.weight.detach().unflatten(0, (-1, 4)) == 0
        assert bool((blocks.any(1) == blocks.all(1)).all())
    before = dict(found)
    minilm.run_task("bbc", 0, results, budget)
    assert results.entries == before
