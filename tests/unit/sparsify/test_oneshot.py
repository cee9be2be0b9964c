"""One-shot pruning of torch models: what layers read, known answers, recipes, bad input."""

from __future__ import annotations

import copy
import functools
import math
import weakref
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
from colonnade.sparsify.recipe import read_recipe
from colonnade.sparsity import METHODS, Method, parse_pattern
from colonnade.sparsity.allocation import Allocation, LayerSize
from colonnade.sparsity.share_out import Weighed, share_out


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
        (nn.Conv1d(6, 4, 3, bias=False), (6, 11)),
        (
            nn.Conv3d(4, 6, (3, 2, 1), stride=(1, 2, 1), padding=1, groups=2, bias=False),
            (2, 4, 5, 6, 7),
        ),
        (nn.ConvTranspose1d(4, 6, 3, bias=False), (2, 4, 5)),
        (
            nn.ConvTranspose2d(
                4,
                6,
                (3, 2),
                stride=(3, 2),
                padding=(2, 0),
                output_padding=(1, 1),
                dilation=(2, 1),
                bias=False,
            ),
            (2, 4, 5, 6),
        ),
        (nn.ConvTranspose3d(3, 2, 2, stride=2, padding=1, bias=False), (2, 3, 3, 4, 5)),
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
    axis = -1 if isinstance(layer, nn.Linear) else len(shape) - found.weight.ndim + 1
    out = model(x).detach().double().movedim(axis, 0).flatten(1)
    torch.testing.assert_close(energies, out.square().sum(1), rtol=1e-5, atol=1e-5)
    means = torch.einsum("gij,gj->gi", matrix, sums.means).reshape(-1)
    torch.testing.assert_close(means, out.mean(1), rtol=1e-4, atol=1e-5)


def attend(num_keys: int) -> tuple[nn.MultiheadAttention, list[Tensor]]:
    """Attention of 5 queries over so many keys; its own queries with 0."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    query = torch.randn(3, 5, 8) + 1
    keys = torch.randn(3, num_keys, 8) if num_keys else query
    return attention, [query, keys, keys]


@pytest.mark.parametrize("num_keys", [0, 4])
def test_attention_is_three_products_and_one(num_keys: int) -> None:
    attention, inputs = attend(num_keys)
    with torch.no_grad():
        expected = attention(*inputs)[0]
    seen: list[Tensor] = []
    layers = find_layers(attention, ["prunable"])
    watch = collect(attention, layers, [lambda: seen.append(attention(*inputs)[0])])
    torch.testing.assert_close(seen[0], expected)
    assert list(watch.sums) == ["in_proj_weight", "out_proj.weight"]
    for sums, x in zip(watch.sums["in_proj_weight"].products, inputs, strict=True):
        flat = x.reshape(-1, 8)
        torch.testing.assert_close(sums, (flat.T @ flat).double(), rtol=1e-5, atol=1e-4)
    out = watch.sums["out_proj.weight"]
    made = out.means[0].float() @ attention.out_proj.weight.T + attention.out_proj.bias
    torch.testing.assert_close(made, expected.mean((0, 1)))


def test_attention_with_keys_of_other_widths() -> None:
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4).eval()
    batch = [torch.randn(5, 3, 8), torch.randn(4, 3, 6), torch.randn(4, 3, 4)]
    results = oneshot(attention, [batch], sparsity=0.5)
    assert {r.name: r.sparsity for r in results} == {
        "q_proj_weight": 0.5, "k_proj_weight": 0.5, "v_proj_weight": 0.5, "out_proj.weight": 0.5
    }  # fmt: skip


def test_biases_of_attention_take_up_the_mean() -> None:
    dense, inputs = attend(0)
    made = copy.deepcopy(dense)
    oneshot(made, [inputs], sparsity=0.6, method="magnitude", targets=["in_proj_weight"])
    x = inputs[0].mean((0, 1))
    means = [m.in_proj_weight @ x + m.in_proj_bias for m in (made, dense)]
    torch.testing.assert_close(means[0], means[1])


def test_transformers_and_what_makes_images_larger() -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    decoder = nn.Sequential(nn.ConvTranspose2d(8, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3))
    video = nn.Sequential(nn.Conv3d(4, 8, 2), nn.Flatten(), nn.Linear(8, 4))
    for model, x in (
        (encoder, torch.randn(4, 5, 8)),
        (decoder, torch.randn(4, 8, 3, 3)),
        (video, torch.randn(4, 4, 2, 2, 2)),
    ):
        results = oneshot(model, [x], sparsity=0.5)
        assert len(results) == sum(p.ndim > 1 for p in model.parameters())
        for result in results:
            assert result.sparsity == 0.5
            assert result.error is not None
            assert result.why == ""


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


def train(net: Net, *modifiers: Modifier, has_losses: bool = True) -> list[float]:
    """Two epochs of two steps; sparsity of a layer in each step."""
    return run_of(net, *modifiers, has_losses=has_losses)[0]


def run_of(
    net: Net, *modifiers: Modifier, has_losses: bool = True
) -> tuple[list[float], list[str]]:
    """Sparsity of a layer in each step, and the notes of the run."""
    optimizer = torch.optim.SGD(net.parameters(), 0.0)

    def losses() -> Iterator[Tensor]:
        return (net(x).sum() for x in CALIBRATION * 3)

    seen = []
    recipe = Recipe.of(*modifiers, epochs=2.0)
    with sparsify(net, optimizer, recipe, 2, sample_losses=losses if has_losses else None) as s:
        while not s.is_complete:
            s.begin_step()
            seen.append(s.masks.sparsity("second.weight"))
            s.step(net(CALIBRATION[0]).sum())
    return seen, s.run.notes


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
    ({"pattern": "2:4", "allocation": "erk"}, "all layers have 0.5"),
    ({"sparsity": 0.995, "allocation": "owl"}, "at most 0.99"),
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


def with_extra() -> Net:
    """A layer that does not run, and one that cannot be calibrated."""
    net = make_net()
    net.extra = nn.Linear(4, 4)
    net.grouped = nn.ConvTranspose2d(4, 4, 1, groups=2)
    return net


def test_a_layer_that_does_not_run_stays_dense_unless_it_is_named() -> None:
    for target in ("prunable", "Linear", "re:.*"):
        net = with_extra()
        results = oneshot(net, CALIBRATION, sparsity=0.5, targets=["head", target])
        assert [r.sparsity for r in results if not r.why][-1] == 0.5
        left = {r.name: r for r in results if r.why}
        assert "extra.weight" in left
        assert left["extra.weight"].sparsity == 0.0
        assert left["extra.weight"].error is None
        assert "no product with its weights" in left["extra.weight"].why
        assert net.extra.weight.all()  # type: ignore[operator, union-attr]
    with pytest.raises(RecipeError, match=r"extra.weight cannot be pruned: no product"):
        oneshot(with_extra(), CALIBRATION, sparsity=0.5, targets=["extra", "prunable"])
    with pytest.raises(RecipeError, match=r"no layer is left.*no product"):
        oneshot(with_extra(), CALIBRATION, sparsity=0.5, targets=["ConvTranspose2d"])


def test_a_recipe_notes_layers_that_do_not_run() -> None:
    _, notes = run_of(with_extra(), Wanda(sparsity=0.5, num_batches=2))
    assert any("extra.weight: left dense, no product" in note for note in notes)


def test_magnitude_needs_no_product() -> None:
    net = with_extra()
    results = oneshot(net, CALIBRATION, sparsity=0.5, method="magnitude")
    assert {r.name: r.sparsity for r in results}["extra.weight"] == 0.5


def test_a_head_that_is_an_embedding() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 16)
            self.body = nn.Linear(16, 16)
            self.lm_head = nn.Linear(16, 20, bias=False)
            self.lm_head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.lm_head(torch.relu(self.body(self.embed(tokens))))  # type: ignore[no-any-return]

    tokens = torch.arange(20)
    for options, names in (
        ({}, ["body.weight"]),
        ({"targets": ["Linear"], "ignore": ["lm_head"]}, ["body.weight"]),
        ({"targets": ["lm_head"]}, ["embed.weight"]),
    ):
        assert [r.name for r in oneshot(Tied(), [tokens], sparsity=0.5, **options)] == names  # type: ignore[arg-type]


def test_nothing_is_kept_of_a_forward_that_is_over() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.BatchNorm1d(4))
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def forward(number: int) -> None:
        nonlocal most
        x = torch.full((2, 4), float(number))
        for layer in model:
            x = layer(x)
            alive.add(x)
        most = max(most, len(alive))

    runs = [functools.partial(forward, number) for number in range(5)]
    collect(model, find_layers(model, ["prunable"]), runs)
    assert most == 1


@pytest.mark.parametrize("sizes", [[1] * 40, [8, 8, 8, 1]])
def test_normalisation_with_batches_of_one(sizes: list[int]) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    for _ in range(50):
        dense(torch.randn(64, 8) + 1)
    dense.eval()
    data = [torch.randn(size, 8, generator=torch.Generator().manual_seed(at)) + 1
            for at, size in enumerate(sizes)]  # fmt: skip
    made = copy.deepcopy(dense)
    oneshot(made, data, sparsity=0.5, method="magnitude", targets=["0"])
    x = torch.cat(data)
    before, after = (m[1].running_mean - m[0](x).mean(0) for m in (dense, made))
    torch.testing.assert_close(after, before, atol=0.1, rtol=0)
    assert not torch.equal(made[1].running_var, dense[1].running_var)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"1: .*a single value.*batch_norm"):
        oneshot(made, data[-1:], sparsity=0.5, targets=["0"])


ALLOCATIONS_TO_TRY = ["erk", "owl", "global", "sensitivity"]


@pytest.mark.parametrize("allocation", ALLOCATIONS_TO_TRY)
def test_layers_share_the_sparsity(allocation: Allocation) -> None:
    net = make_net()
    results = oneshot(net, CALIBRATION, sparsity=0.6, method="magnitude", allocation=allocation)
    shares = {r.name: r.sparsity for r in results}
    assert len(set(shares.values())) > 1
    zeros = sum(int((layer.weight == 0).sum()) for layer in (net.first, net.second, net.head))
    total = sum(layer.weight.numel() for layer in (net.first, net.second, net.head))
    assert zeros / total == pytest.approx(0.6, abs=0.01)


def test_the_same_shares_as_for_files() -> None:
    """On matrices and products, in numpy."""
    net = make_net()
    results = oneshot(
        net, CALIBRATION, sparsity=0.6, method="magnitude", allocation="global",
        targets=["first", "head"], batch_norm=False,
    )  # fmt: skip
    net = make_net()
    layers = find_layers(net, ["first", "head"])
    watch = collect(net, layers, [functools.partial(net, x) for x in CALIBRATION])
    weighed = {
        layer.name: Weighed(
            LayerSize(layer.matrix().shape[0], layer.weight.shape[1], layer.weight.shape[2:]),
            layer.matrix()[None].double().numpy(), watch.sums[layer.name].products.numpy(),
        )
        for layer in layers
    }  # fmt: skip
    expected = share_out("global", 0.6, parse_pattern("unstructured"), weighed)
    assert {r.name: r.sparsity for r in results} == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("allocation", ALLOCATIONS_TO_TRY)
def test_layers_of_a_recipe_share_the_sparsity(allocation: Allocation) -> None:
    for kind in (OneShotMagnitude, Wanda, SparseGPT, OBC):
        net, expected = make_net(), make_net()
        train(net, kind(sparsity=0.6, num_batches=6, allocation=allocation))
        oneshot(expected, CALIBRATION, sparsity=0.6, method=kind.method, allocation=allocation)
        for made, wanted in zip(net.parameters(), expected.parameters(), strict=True):
            assert torch.equal(made == 0, wanted == 0)
    recipe = read_recipe(
        f"epochs: 1\nmodifiers: [{{wanda: {{sparsity: 0.6, allocation: {allocation}}}}}]"
    )
    assert recipe.stages[0].modifiers == (Wanda(sparsity=0.6, allocation=allocation),)


def test_a_recipe_re_estimates_normalisation() -> None:
    plain, follows, dense = make_net(), make_net(), make_net()
    train(plain, OneShotMagnitude(sparsity=0.7, num_batches=6, batch_norm=False))
    train(follows, OneShotMagnitude(sparsity=0.7, num_batches=6))
    assert torch.equal(plain.norm.running_var, dense.norm.running_var)  # type: ignore[arg-type]
    assert not torch.equal(follows.norm.running_var, dense.norm.running_var)  # type: ignore[arg-type]
    expected = make_net()
    oneshot(expected, CALIBRATION, sparsity=0.7, method="magnitude")
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(follows.state_dict()[name], value)


def test_passes_of_a_recipe_see_the_same_data() -> None:
    """Also where `sample_losses` draws it at random."""
    seen: list[float] = []
    net = make_net()

    def losses() -> Iterator[Tensor]:
        while True:
            x = CALIBRATION[int(torch.randint(6, ()))] + torch.rand(())
            seen.append(float(x.sum()))
            yield net(x).sum()

    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    recipe = Recipe.of(Wanda(sparsity=0.5, num_batches=3), epochs=1.0)
    with sparsify(net, optimizer, recipe, 1, sample_losses=losses) as s:
        s.begin_step()
    assert len(seen) == 9
    assert seen[:3] == seen[3:6] == seen[6:]


def test_magnitude_in_a_recipe_needs_no_data() -> None:
    net, dense = make_net(), make_net()
    for allocation in ("uniform", "erk"):
        net = make_net()
        train(net, OneShotMagnitude(sparsity=0.5, allocation=allocation), has_losses=False)
        zeros = [layer.weight == 0 for layer in (net.first, net.second, net.head)]
        assert sum(int(z.sum()) for z in zeros) / sum(z.numel() for z in zeros) == pytest.approx(
            0.5, abs=0.01
        )
        assert torch.equal(net.first.bias, dense.first.bias)  # type: ignore[arg-type]
    for kind in (
        OneShotMagnitude(sparsity=0.5, allocation="owl"),
        Wanda(sparsity=0.5), SparseGPT(sparsity=0.5), OBC(sparsity=0.5), GPTQ(),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match="sample_losses"):
            train(make_net(), kind, has_losses=False)


@pytest.mark.parametrize("pattern", ["1x4", "2:4", "channel", "filter"])
def test_magnitude_without_data_makes_every_pattern(pattern: str) -> None:
    net, with_data = make_net(), make_net()
    asked = OneShotMagnitude(sparsity=None if ":" in pattern else 0.5, pattern=pattern)
    train(net, asked, has_losses=False)
    train(with_data, asked)
    assert torch.equal(net.first.weight, with_data.first.weight)
    assert (net.first.weight == 0).float().mean() == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.5, "pattern": "4:2"}, "N < M"),
        ({"sparsity": 1.0}, "share"),
        ({}, "is needed"),
        ({"sparsity": 0.5, "num_batches": 0}, "1 or more"),
        ({"sparsity": 0.5, "bits": 1}, "2 to 8"),
        ({"sparsity": 0.5, "allocation": "luck"}, "uniform"),
        ({"pattern": "2:4", "allocation": "owl"}, "allocation: .*all layers have 0.5"),
        ({"sparsity": 0.995, "allocation": "global"}, "allocation: .*at most 0.99"),
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
