"""One-shot pruning of torch models: what layers read, known answers, recipes, bad input."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.layers import find_layers
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.oneshot.batch_norm import measure_norms, reestimate_batch_norm
from colonnade.sparsify.oneshot.inputs import collect
from colonnade.sparsify.oneshot.modifiers import GPTQ, OBC, OneShotMagnitude, SparseGPT, Wanda
from colonnade.sparsify.oneshot.prune import oneshot
from colonnade.sparsity import METHODS, Method


class SamePadding(nn.Conv2d):
    """Pads on its own, as TensorFlow's models do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.norm(self.depthwise(x)))
        x = F.relu(self.norm2(self.second(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def make_net() -> Net:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net(batches(40, 3)[0])  # sensible running statistics
        for _ in range(30):
            net(batches(16, 2)[0])
    return net.eval()


def batches(size: int, seed: int, count: int = 1) -> list[Tensor]:
    """Correlated inputs whose mean is not 0."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(8, 8, generator=torch.Generator().manual_seed(9))
    return [
        torch.einsum("bchw,cd->bdhw", torch.randn(size, 8, 9, 9, generator=generator), mix) + 1
        for _ in range(count)
    ]


CALIBRATION = batches(8, 0, 6)
UNSEEN = torch.cat(batches(8, 1, 4))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 5, bias=False), (4, 7, 6)),
        (nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=False), (2, 6, 9, 8)),
        (nn.Conv2d(6, 4, (3, 2), dilation=2, groups=2, bias=False), (2, 6, 9, 8)),
        (nn.Conv2d(6, 6, (5, 3), padding="same", groups=6, bias=False), (2, 6, 9, 8)),
        (SamePadding(6, 5, 2, stride=2, bias=False), (2, 6, 9, 8)),
        (nn.Conv1d(6, 5, 3, stride=2, padding=2, dilation=2, bias=False), (2, 6, 11)),
        (nn.Conv1d(6, 4, 3, padding="same", groups=2, bias=False), (2, 6, 11)),
    ],
)
def test_the_sums_explain_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """w H w^T of a row is the square of the output that it makes."""
    model = nn.Sequential(layer)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    (found,) = find_layers(model, ["prunable"])
    sums = collect(model, [found], [lambda: model(x)]).sums[found.name]
    matrix = found.matrix().double().reshape(len(sums.products), -1, found.matrix().shape[1])
    energies = torch.einsum("gij,gjk,gik->gi", matrix, sums.products, matrix).reshape(-1)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    out = model(x).detach().double().movedim(axis, 0).flatten(1)
    torch.testing.assert_close(energies, out.square().sum(1), rtol=1e-5, atol=1e-5)
    means = torch.einsum("gij,gj->gi", matrix, sums.means).reshape(-1)
    torch.testing.assert_close(means, out.mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
def test_methods_in_order(pattern: str) -> None:
    net = make_net()
    errors = {}
    for method in METHODS:
        made = copy.deepcopy(net)
        results = oneshot(
            made, CALIBRATION, method=method, pattern=pattern,
            sparsity=None if ":" in pattern else 0.5, ignore=["head"],
        )  # fmt: skip
        assert [r.name for r in results] == ["first.weight", "second.weight"]
        assert all(math.isclose(r.sparsity, 0.5) for r in results)
        with torch.no_grad():
            errors[method] = float((made(UNSEEN) - net(UNSEEN)).square().mean())
    assert errors["obc"] < errors["magnitude"]


def test_the_same_as_in_numpy() -> None:
    """Weights of groups lie where they should."""
    net = make_net()
    oneshot(net, CALIBRATION, pattern="2:4", method="obc", targets=["first"])
    kept = net.first.weight.permute(0, 2, 3, 1).reshape(-1, 4) != 0
    assert (kept.sum(1) == 2).all()


def test_a_bias_and_a_normalisation_take_up_the_mean() -> None:
    x = torch.cat(CALIBRATION)
    for target in ("first", "second"):
        net, dense = make_net(), make_net()
        oneshot(
            net, CALIBRATION, sparsity=0.8, method="magnitude", targets=[target], batch_norm=False
        )
        seen: dict[str, Tensor] = {}
        for name, model in (("net", net), ("dense", dense)):
            watched = model.first if target == "first" else model.norm2
            handle = watched.register_forward_hook(
                lambda _, __, out, name=name, seen=seen: seen.update({name: out.mean((0, 2, 3))})
            )
            model(x)
            handle.remove()
        torch.testing.assert_close(seen["net"], seen["dense"], rtol=1e-3, atol=1e-3)


def test_normalisation_follows_the_variance() -> None:
    dense, net = make_net(), make_net()
    runs = [lambda x=x: net(x) for x in CALIBRATION]  # type: ignore[misc]
    before = measure_norms(net, runs)
    assert torch.equal(net.norm.running_var, dense.norm.running_var)  # type: ignore[arg-type]
    with torch.no_grad():
        net.depthwise.weight.mul_(0.5)
    without = float((net(UNSEEN) - dense(UNSEEN)).detach().square().mean())
    reestimate_batch_norm(net, lambda: runs, before)
    assert net.norm.running_var is not None
    assert dense.norm.running_var is not None
    torch.testing.assert_close(net.norm.running_var, dense.norm.running_var / 4)
    after = float((net(UNSEEN) - dense(UNSEEN)).detach().square().mean())
    assert after < without / 10
    reestimate_batch_norm(net, lambda: runs)
    now = measure_norms(net, runs)["norm"]
    torch.testing.assert_close(net.norm.running_var, now.variance)


def test_sequential_sees_what_pruned_layers_make() -> None:
    plain, sequential = make_net(), make_net()
    oneshot(plain, CALIBRATION, sparsity=0.6)
    oneshot(sequential, CALIBRATION, sparsity=0.6, sequential=True)
    assert torch.equal(plain.first.weight, sequential.first.weight)
    assert not torch.equal(plain.second.weight, sequential.second.weight)


def test_the_model_is_left_in_its_mode() -> None:
    net = make_net().train()
    net.norm.eval()
    oneshot(net, [(x,) for x in CALIBRATION], sparsity=0.5, method="wanda", allocation="erk")
    assert net.training
    assert not net.norm.training
    assert net.norm2.momentum == 0.1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (OneShotMagnitude, {}),
        (Wanda, {}),
        (SparseGPT, {"sequential": True}),
        (OBC, {"pattern": "1x4"}),
        (SparseGPT, {"sparsity": None, "pattern": "2:4", "bits": 8}),
    ],
)
def test_recipes_prune_and_hold(kind: Any, options: dict[str, Any]) -> None:
    net = make_net()
    modifier = kind(**{"sparsity": 0.5, "start": 1.0, "num_batches": 4, **options})
    sparsity = train(net, modifier)
    assert sparsity[:2] == [0.0, 0.0]
    assert all(0.49 < share < 0.52 for share in sparsity[2:])
    assert 0.49 < float((net.second.weight == 0).float().mean()) < 0.52


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gptq_in_a_recipe_keeps_zeros(bits: int) -> None:
    """Inputs are correlated: what one weight loses, its neighbours would take up."""
    net = make_net()
    is_gone = torch.rand(net.first.weight.shape, generator=torch.Generator().manual_seed(5)) < 0.7
    with torch.no_grad():
        net.first.weight[is_gone] = 0
        net.second.weight[:, ::2] = 0
    train(net, GPTQ(bits=bits, num_batches=2, start=1.0))
    assert not net.first.weight[is_gone].any()
    assert not net.second.weight[:, ::2].any()
    assert net.second.weight[0].unique().numel() < 2**bits


@pytest.mark.parametrize("method", METHODS)
def test_rounding_keeps_a_pattern(method: Method) -> None:
    net = make_net()
    oneshot(net, CALIBRATION, pattern="2:4", method="sparsegpt", targets=["first", "second"])
    zeros = [layer.weight == 0 for layer in (net.first, net.second)]
    oneshot(net, CALIBRATION, sparsity=0.0, method=method, bits=4, targets=["first", "second"])
    for layer, was_zero in zip((net.first, net.second), zeros, strict=True):
        assert not layer.weight[was_zero].any()


def test_gptq_after_pruning_in_one_recipe_keeps_the_pattern() -> None:
    net = make_net()
    shares = train(
        net,
        SparseGPT(pattern="2:4", num_batches=2, targets=("first", "second")),
        GPTQ(bits=4, num_batches=2, start=1.0, targets=("first", "second")),
    )
    assert shares == [0.5] * 4
    for layer in (net.first, net.second):
        matrix = layer.weight.permute(0, 2, 3, 1).reshape(-1, 4)
        assert ((matrix != 0).sum(1) <= 2).all()


def train(net: Net, *modifiers: Modifier) -> list[float]:
    """Two epochs of two steps; sparsity of a layer in each step."""
    optimizer = torch.optim.SGD(net.parameters(), 0.0)

    def losses() -> Iterator[Tensor]:
        return (net(x).sum() for x in CALIBRATION)

    seen = []
    recipe = Recipe.of(*modifiers, epochs=2.0)
    with sparsify(net, optimizer, recipe, 2, sample_losses=losses) as s:
        while not s.is_complete:
            s.begin_step()
            seen.append(s.masks.sparsity("second.weight"))
            s.step(net(CALIBRATION[0]).sum())
    return seen


BAD: list[tuple[dict[str, Any], str]] = [
    ({"sparsity": 1.0}, "sparsity=1.0"),
    ({"sparsity": float("nan")}, "sparsity=nan"),
    ({}, "needs a sparsity"),
    ({"pattern": "2:4", "sparsity": 0.7}, "has 0.5"),
    ({"pattern": "3:5", "targets": ["first"]}, "would straddle taps"),
    ({"pattern": "1:64"}, "no layer is left"),
    ({"sparsity": 0.5, "targets": ["decoder"]}, "no layer of the model matches"),
    ({"sparsity": 0.5, "method": "luck"}, "method='luck'"),
    ({"sparsity": 0.5, "allocation": "luck"}, "allocation='luck'"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, RecipeError), match=message):
        oneshot(make_net(), CALIBRATION, **options)


def test_bad_data() -> None:
    with pytest.raises(RecipeError, match="no batches"):
        oneshot(make_net(), [], sparsity=0.5)
    with pytest.raises(RecipeError, match="read once"):
        oneshot(make_net(), iter(CALIBRATION), sparsity=0.5)
    with pytest.raises(RecipeError, match="not finite"):
        oneshot(make_net(), [CALIBRATION[0] * float("nan")], sparsity=0.5, batch_norm=False)


def test_a_layer_that_does_not_run_is_an_error() -> None:
    net = make_net()
    net.extra = nn.Linear(4, 4)
    with pytest.raises(RecipeError, match=r"extra.weight: no product"):
        oneshot(net, CALIBRATION, sparsity=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.5, "pattern": "4:2"}, "N < M"),
        ({"sparsity": 1.0}, "share"),
        ({}, "is needed"),
        ({"sparsity": 0.5, "num_batches": 0}, "1 or more"),
        ({"sparsity": 0.5, "bits": 1}, "2 to 8"),
    ],
)
def test_bad_parameters_of_recipes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        OBC(**options)


def test_recipes_need_losses() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    recipe = Recipe.of(Wanda(sparsity=0.5), epochs=1.0)
    with pytest.raises(RecipeError, match="sample_losses"):
        sparsify(net, optimizer, recipe, 2)
    with (
        pytest.raises(RecipeError, match="ended before 17 losses"),
        sparsify(net, optimizer, Recipe.of(Wanda(sparsity=0.5, num_batches=99), epochs=1.0), 2,
                 sample_losses=lambda: (net(CALIBRATION[0]).sum() for _ in range(16))) as s,
    ):  # fmt: skip
        s.begin_step()


def test_methods_are_those_of_modifiers() -> None:
    found: set[Method] = {kind.method for kind in (OneShotMagnitude, Wanda, SparseGPT, OBC)}
    assert found == set(METHODS)
