"""The N:M modifier in a session: phases, resuming, and plain sparse weights at the end."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, Session, sparsify
from colonnade.sparsify.modifiers.nm_flow import NMFlow
from colonnade.sparsify.nm.flow import FLOWS
from colonnade.sparsify.nm.mask import is_nm
from colonnade.sparsify.nm.pattern import NMPattern

STEPS = 4
TARGET = NMPattern(1, 4)


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def make_session(model: nn.Module, **changes: Any) -> Session:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    given: dict[str, Any] = {"pattern": "1:4", "end": 4.0, "dense": 0.5, "fine_tune": 0.5}
    recipe = Recipe.of(NMFlow(**(given | changes)), epochs=5.0)
    return sparsify(model, optimizer, recipe, STEPS)


def loss_of(model: nn.Module, step: int) -> Tensor:
    inputs = torch.randn(8, 8, generator=torch.Generator().manual_seed(step))
    return nn.functional.cross_entropy(model(inputs), torch.arange(8) % 4)


def train(session: Session, model: nn.Module, steps: range) -> None:
    for step in steps:
        session.step(loss_of(model, step))


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_ends_in_the_pattern(flow: str) -> None:
    model = make_model()
    with make_session(model, flow=flow) as session:
        train(session, model, range(16))
        train(session, model, range(16, 20))
        assert set(session.masks) == {"0.weight", "2.weight"}
    for layer in (model[0], model[2]):
        assert is_nm(layer.weight, TARGET)
        assert (layer.weight != 0).sum() == layer.weight.numel() // 4
    assert list(model.state_dict()) == list(make_model().state_dict())


def test_nothing_is_pruned_in_the_dense_phase() -> None:
    model = make_model()
    session = make_session(model, flow="sr-ste")
    train(session, model, range(1))
    assert (model[0].weight != 0).all()
    train(session, model, range(1, 2))
    assert is_nm(model[0].weight, TARGET)


@pytest.mark.parametrize("flow", FLOWS)
def test_flows_are_straight_through_unless_told_otherwise(flow: str) -> None:
    default = NMFlow(pattern="1:4", flow=flow).overridden()
    assert default.grad == ("masked" if flow == "dense-to-sparse" else "ste")
    assert NMFlow(pattern="1:4", flow=flow, grad="masked").overridden().grad == "masked"


@pytest.mark.parametrize("flow", ["mdgf-exponential", "dense-to-sparse", "sdgf-mdgf"])
@pytest.mark.parametrize("cut", [1, 7, 17])
def test_a_resumed_run_is_the_same_to_the_bit(flow: str, cut: int) -> None:
    whole, first, second = make_model(), make_model(), make_model()
    with make_session(whole, flow=flow) as session:
        train(session, whole, range(20))
    session = make_session(first, flow=flow)
    train(session, first, range(cut))
    resumed = make_session(second, flow=flow)
    resumed.run.optimizer.load_state_dict(copy.deepcopy(session.run.optimizer.state_dict()))
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(resumed, second, range(cut, 20))
    resumed.finalize()
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_that_stops_early_is_cut_and_says_so() -> None:
    model = make_model()
    with make_session(model) as session:
        train(session, model, range(6))
    assert is_nm(model[0].weight, TARGET)
    assert any("stopped early, at 1:4 with a leak of" in note for note in session.run.notes)


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"pattern": "4:2"}, "pattern"),
        ({"pattern": "2x4"}, "pattern"),
        ({"dense": 3.0, "fine_tune": 1.0}, "dense"),
        ({"decay": -1.0}, "decay"),
        ({"targets": ("nowhere",)}, "targets"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_session(make_model(), **changes)
    assert caught.value.parameter == parameter
