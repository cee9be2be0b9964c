"""The short form of `./dev accuracy` on the real images: everything is run, less is trained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from accuracy import fashion, nm, resnet
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
