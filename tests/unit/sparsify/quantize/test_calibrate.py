"""Ranges from histograms, and post-training quantization of small networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.quantize.calibrate import Method, quantize
from colonnade.sparsify.quantize.layers import FakeConv2d, FakeLinear, bake
from colonnade.sparsify.quantize.prepare import norms_behind, prepare
from colonnade.sparsify.quantize.ranges import METHODS, Histogram, percentile


def histogram(values: torch.Tensor) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    found = Histogram(low, high)
    found.add(values)
    return found


def gaussian_with_outlier() -> torch.Tensor:
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    values[0] = 100.0
    return values


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_an_outlier_is_cut_off(method: str) -> None:
    found = histogram(gaussian_with_outlier())
    low, high = METHODS[method](found)
    assert 2 < high < 50
    assert low < 0


def test_least_error_cuts_a_laplace_tail_where_theory_says() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.empty(400_000).exponential_(generator=generator)
    values[::2] *= -1
    low, high = METHODS["mse"](histogram(values))
    # Banner et al., 2018: 9.89 is the best for 8 bits.
    assert high == pytest.approx(9.89, rel=0.1)
    assert low == pytest.approx(-high, abs=0.5)


def test_everything_seen_is_covered_by_min_max() -> None:
    assert METHODS["min_max"](histogram(gaussian_with_outlier()))[1] == 100.0


@pytest.mark.parametrize("method", METHODS)
def test_even_values_are_covered_whole(method: str) -> None:
    low, high = METHODS[method](histogram(torch.linspace(-1, 3, 40_000)))
    assert low == pytest.approx(-1, abs=0.05)
    assert high == pytest.approx(3, abs=0.05)


def test_percentile_of_known_counts() -> None:
    counts = torch.zeros(100)
    counts[10:90] = 1.0
    low, high = percentile(Histogram(-1.0, 1.0, counts), 50.0)
    assert low == pytest.approx(-0.4, abs=0.021)
    assert high == pytest.approx(0.4, abs=0.021)


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(images))).mean((2, 3)))


def test_zeros_are_counted_apart() -> None:
    found = histogram(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0]))
    assert (found.zeros, float(found.counts.sum())) == (3, 2.0)
    assert percentile(found, 60.0) == pytest.approx((0.0, 1.0), abs=0.01)
    assert float(found.counts.sum()) == 2.0


def test_entropy_keeps_a_range_that_holds_something() -> None:
    values = 0.5 + 0.1 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    low, high = METHODS["entropy"](histogram(values))
    assert low == 0
    assert high > 0.55


def trained_net() -> tuple[ConvNet, torch.Tensor]:
    torch.manual_seed(0)
    net, images = ConvNet(), torch.randn(64, 1, 8, 8) * 2 + 1
    for _ in range(20):
        net(images)
    with torch.no_grad():
        net.norm.weight.uniform_(0.5, 2)
        net.conv.weight[0].zero_()
    return net.eval(), images


@pytest.mark.parametrize("method", METHODS)
def test_a_quantized_network_is_close_to_the_real_one(method: str) -> None:
    net, images = trained_net()
    expected = net(images)
    quantize(net, [images], method=method)
    assert isinstance(net.conv, FakeConv2d)
    assert isinstance(net.head, FakeLinear)
    error = net(images) - expected
    assert 0 < error.norm() < 0.03 * expected.norm()
    # Entropy may clip the greatest of the few values that there are.
    if method != "entropy":
        assert error.abs().max() < 0.05 * expected.abs().max()


def test_baking_changes_no_result_and_keeps_zeros() -> None:
    net, images = trained_net()
    quantize(net, [images])
    expected = net(images)
    bake(net)
    assert isinstance(net.norm, nn.Identity)
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert (net.conv.weight[0] == 0).all()


def relu_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("method", METHODS)
def test_zeros_of_a_relu_do_not_narrow_the_range(method: Method) -> None:
    net, values = relu_net(), torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    expected = net(values)
    noise = quantize(net, [values], method=method)(values) - expected
    assert expected.square().mean() > 10**3 * noise.square().mean()


def test_batch_norms_are_found_behind_their_convolutions() -> None:
    assert norms_behind(ConvNet()) == {"conv": "norm"}
    shared = nn.BatchNorm2d(4)
    twice = nn.Sequential(nn.Conv2d(4, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    assert norms_behind(twice) == {}


def test_no_data_is_refused() -> None:
    with pytest.raises(InputError, match="got no batch"):
        quantize(trained_net()[0], [])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_data_that_is_not_finite_is_refused(bad: float) -> None:
    net, images = trained_net()
    spoilt = images.clone()
    spoilt[0, 0, 0, 0] = bad
    with pytest.raises(InputError, match="calibration batch 1: what conv reads is not finite"):
        quantize(net, [images, spoilt])


def test_data_that_can_be_read_once_is_refused() -> None:
    net, images = trained_net()
    with pytest.raises(InputError, match="an iterator can be read once"):
        quantize(net, iter([images]))
    assert type(net.head) is nn.Linear


def test_options_that_mean_nothing_are_refused() -> None:
    net, images = trained_net()
    with pytest.raises(InputError, match="method='median'; it is one of 'min_max', 'percentile'"):
        quantize(net, [images], method="median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"percentile=0.99; it lies above 50"):
        quantize(net, [images], percentile=0.99)


def test_min_max_has_its_other_name_as_well() -> None:
    (first, images), (second, _) = trained_net(), trained_net()
    quantize(first, [images], method="minmax")
    quantize(second, [images], method="min_max")
    assert torch.equal(first(images), second(images))


def test_percentile_is_what_is_kept() -> None:
    net = nn.Sequential(nn.Linear(1, 1)).eval()
    quantize(net, [torch.arange(1.0, 1001.0)[:, None]], method="percentile", percentile=90.0)
    assert float(net[0].input_fake_quant.high) == pytest.approx(950.0, abs=2.0)


def test_modules_are_left_in_the_mode_they_were_in() -> None:
    net, images = trained_net()
    net.train()
    net.norm.eval()
    quantize(net, [images])
    assert net.training
    assert not net.norm.training


def test_a_target_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="no module of the model matches 'hed'; near: head"):
        quantize(trained_net()[0], [], targets=("hed",))


def test_a_layer_that_no_batch_reaches_is_named() -> None:
    net, images = trained_net()
    net.spare = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"no calibration batch reaches spare"):
        quantize(net, [images])


class Twice(nn.Module):
    """One layer under two names, and used under both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = self.second = nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(values)))


def test_a_layer_is_replaced_under_every_name() -> None:
    net = Twice().eval()
    quantize(net, [torch.randn(4, 8)])
    assert isinstance(net.first, FakeLinear)
    assert net.second is net.first


class TiedConvs(nn.Module):
    """Two convolutions with one weight, and a batch-norm of its own behind each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2.weight = self.conv1.weight
        self.norm1.running_var.uniform_(0.1, 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(images)))))


def test_nothing_is_folded_into_a_shared_weight() -> None:
    net, images = TiedConvs().eval(), torch.randn(4, 4, 6, 6)
    with pytest.warns(UserWarning, match="not folded.*conv1, conv2"):
        quantize(net, [images])
    expected = net(images)
    bake(net)
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert isinstance(net.norm1, nn.BatchNorm2d)


class TiedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.middle = nn.Embedding(10, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.embedding(tokens)))


def test_a_head_that_is_tied_to_the_embedding_stays_as_it_is() -> None:
    net = TiedHead().eval()
    before = net.embedding.weight.detach().clone()
    with pytest.warns(UserWarning, match=r"not quantized.*head \(weight of embedding\)"):
        quantize(net, [torch.arange(10)])
    bake(net)
    assert isinstance(net.middle, FakeLinear)
    assert net.head.weight is net.embedding.weight
    assert torch.equal(net.embedding.weight, before)


def test_layers_that_are_tied_to_each_other_are_quantized() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    net[2].weight = net[0].weight
    quantize(net, [torch.randn(4, 8)])
    assert isinstance(net[0], FakeLinear)
    assert isinstance(net[2], FakeLinear)


def test_layers_that_stay_in_float_are_named() -> None:
    net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    nn.utils.parametrizations.weight_norm(net[1])
    prune.identity(net[2], "weight")
    left = r"0 \(Conv1d\), 1 \(ParametrizedLinear\), 2 \(Linear with a computed weight\)"
    with pytest.warns(UserWarning, match=f"not quantized.*: {left}"):
        quantize(net.eval(), [torch.randn(4, 1, 8)])
    assert isinstance(net[3], FakeLinear)


def test_hooks_stay_on_a_layer_that_is_replaced() -> None:
    net, images = trained_net()
    seen: list[str] = []
    handles = [
        net.conv.register_forward_hook(lambda *_: seen.append("conv")),
        net.norm.register_forward_pre_hook(lambda *_: seen.append("norm")),
        net.head.register_forward_hook(lambda _, __, ___: seen.append("head"), prepend=True),
        net.head.register_forward_pre_hook(
            lambda _, __, named: seen.append(f"before head {named}"), with_kwargs=True
        ),
    ]
    quantize(net, [images])
    bake(net)
    seen.clear()
    net(images)
    assert seen == ["conv", "norm", "before head {}", "head"]
    for handle in handles:
        handle.remove()
    net(images)
    assert len(seen) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_other_floats(dtype: torch.dtype) -> None:
    net, images = trained_net()
    net, images = net.to(dtype), images.to(dtype)
    expected = net(images)
    quantize(net, [images])
    found = net(images)
    assert found.dtype == dtype
    assert (found - expected).norm() < 0.03 * expected.norm()
    bake(net)
    assert torch.allclose(net(images), found, atol=0.02)
    assert {parameter.dtype for parameter in net.parameters()} == {dtype}


def test_ranges_are_where_the_layer_is() -> None:
    net = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Conv2d(1, 1, 1, device="meta"))
    assert prepare(net, dict(net.named_children()), lambda _: None) == ["0", "1"]
    assert {buffer.device.type for buffer in net.buffers()} == {"meta"}
