"""Master weights and the parametrization: the same training, and what survives it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from colonnade.errors import ModelError
from colonnade.sparsify.nm.attach import attach_nm, detach_nm, set_step
from colonnade.sparsify.nm.flow import FLOWS, FlowSchedule, Phases
from colonnade.sparsify.nm.mask import is_nm, nm_mask
from colonnade.sparsify.nm.masters import MasterWeights
from colonnade.sparsify.nm.pattern import NMPattern

TARGET = NMPattern(1, 4)
PHASES = Phases(12, dense=3, fine_tune=2)


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)
    )


def make_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, 4, 4, 4, generator=generator)
    return inputs, torch.randint(0, 3, (16,), generator=generator)


def make_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def backward(net: nn.Module, step: int) -> None:
    inputs, target = make_batch(step)
    net.zero_grad()
    nn.functional.cross_entropy(net(inputs), target).backward()


def weights_of(net: nn.Sequential) -> dict[str, nn.Parameter]:
    return {"0.weight": net[0].weight, "3.weight": net[3].weight}


def train_masters(net: nn.Sequential, name: str, steps: range | None = None) -> MasterWeights:
    masters = MasterWeights(weights_of(net), FlowSchedule(FLOWS[name], TARGET, PHASES))
    optimizer = make_optimizer(net)
    for step in steps or range(PHASES.total):
        masters.show(step)
        backward(net, step)
        masters.restore()
        optimizer.step()
        masters.keep()
    return masters


def train_attached(net: nn.Sequential, name: str) -> list[nn.Module]:
    layers = [net[0], net[3]]
    optimizer = make_optimizer(net)
    attach_nm(layers, FlowSchedule(FLOWS[name], TARGET, PHASES))
    for step in range(PHASES.total):
        set_step(layers, step)
        backward(net, step)
        optimizer.step()
    set_step(layers, PHASES.total)
    return layers


@pytest.mark.parametrize("name", [name for name in FLOWS if name != "dense-to-sparse"])
def test_masters_and_parametrization_train_alike(name: str) -> None:
    one, other = make_net(), make_net()
    train_masters(one, name).finalize()
    detach_nm(train_attached(other, name))
    theirs = other.state_dict()
    assert set(theirs) == set(one.state_dict())
    for key, mine in one.state_dict().items():
        assert torch.equal(mine, theirs[key])
    for weight in weights_of(one).values():
        assert is_nm(weight, TARGET)
        assert (weight != 0).sum() == weight.numel() // 4


@pytest.mark.parametrize("name", ["ste", "sdgf-mdgf", "dense-to-sparse"])
def test_a_weight_with_its_inputs_first_has_its_groups_along_them(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose1d(8, 6, 3)
    schedule = FlowSchedule(FLOWS[name], TARGET, PHASES)
    attach_nm([layer], schedule)
    for step in range(PHASES.total + 1):
        set_step([layer], step)
    detach_nm([layer])
    assert ((layer.weight != 0).reshape(2, 4, 6, 3).sum(1) == 1).all()


def test_frozen_masks_stay_and_hold_their_weights_at_zero() -> None:
    net = make_net()
    masters = train_masters(net, "dense-to-sparse", range(4))
    first = {name: weight.detach() != 0 for name, weight in weights_of(net).items()}
    optimizer = make_optimizer(net)
    for step in range(4, PHASES.total):
        masters.show(step)
        backward(net, step)
        masters.restore()
        optimizer.step()
        masters.keep()
    masters.finalize()
    for name, weight in weights_of(net).items():
        assert torch.equal(weight != 0, first[name])


def test_between_steps_the_model_shows_what_it_computes_with() -> None:
    net = make_net()
    masters = train_masters(net, "mdgf-linear", range(3, 9))
    assert masters.now is not None
    leak = masters.now.leak
    assert 0 < leak < 1
    name = "3.weight"
    master = masters.state_dict()["masters"][name]
    kept = nm_mask(master, TARGET)
    assert torch.equal(net[3].weight, master * (kept + (1 - kept.float()) * leak))


@pytest.mark.parametrize(
    ("name", "steps", "state"),
    [
        ("mdgf-exponential", range(8), "pattern 1:4, leak 0.0"),
        ("sdgf-stepwise", range(5), "pattern 2:4, leak 0"),
        ("sr-ste", range(2), "pattern 1:4, leak 1"),
    ],
)
def test_export_is_refused_before_the_end(name: str, steps: range, state: str) -> None:
    net = make_net()
    masters = train_masters(net, name, steps)
    with pytest.raises(ModelError, match=state):
        masters.export_masks()
    masters.finalize()
    assert all(is_nm(weight, TARGET) for weight in weights_of(net).values())


def test_export_is_refused_when_weights_were_changed() -> None:
    net = make_net()
    masters = train_masters(net, "sr-ste")
    masters.export_masks()
    with torch.no_grad():
        net[3].weight.fill_(1.0)
    with pytest.raises(ModelError, match=r"3\.weight is not 1:4"):
        masters.export_masks()


def test_masters_go_on_from_their_state() -> None:
    whole, parts = make_net(), make_net()
    train_masters(whole, "mdgf-exponential", range(8))
    masters = train_masters(parts, "mdgf-exponential", range(4))
    saved, weights = copy.deepcopy(masters.state_dict()), copy.deepcopy(parts.state_dict())
    again = make_net()
    resumed = MasterWeights(weights_of(again), masters.schedule)
    resumed.load_state_dict(saved)
    again.load_state_dict(weights)
    resumed.show(4)
    masters.show(4)
    for mine, theirs in zip(weights_of(again).values(), weights_of(parts).values(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_parametrized_model_can_be_saved_and_copied() -> None:
    net = make_net()
    layers = train_attached(net, "mdgf-linear")
    set_step(layers, 7)
    twin = copy.deepcopy(net)
    other = make_net()
    attach_nm([other[0], other[3]], FlowSchedule(FLOWS["mdgf-linear"], TARGET, PHASES))
    other.load_state_dict(net.state_dict())
    inputs, _ = make_batch(0)
    assert torch.equal(net(inputs), twin(inputs))
    assert torch.equal(net(inputs), other(inputs))
    with pytest.raises(ModelError, match="leak"):
        detach_nm(layers)


def test_one_parametrization_at_a_time() -> None:
    net = make_net()
    schedule = FlowSchedule(FLOWS["ste"], TARGET, PHASES)
    attach_nm([net[0]], schedule)
    with pytest.raises(ModelError, match="parametrization already"):
        attach_nm([net[0]], schedule)
