"""Ranges from histograms, and post-training quantization of small networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.quantize.calibrate import quantize
from colonnade.sparsify.quantize.layers import FakeConv2d, FakeLinear, bake
from colonnade.sparsify.quantize.prepare import norms_behind
from colonnade.sparsify.quantize.ranges import BINS, METHODS, Histogram, percentile


def histogram(values: torch.Tensor) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Histogram(torch.histc(values, BINS, low, high), low, high)


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
    low, high = percentile(Histogram(counts, -1.0, 1.0), 0.5)
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
    found = net(images)
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_baking_changes_no_result_and_keeps_zeros() -> None:
    net, images = trained_net()
    quantize(net, [images])
    expected = net(images)
    bake(net)
    assert isinstance(net.norm, nn.Identity)
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert (net.conv.weight[0] == 0).all()


def test_batch_norms_are_found_behind_their_convolutions() -> None:
    assert norms_behind(ConvNet()) == {"conv": "norm"}
    shared = nn.BatchNorm2d(4)
    twice = nn.Sequential(nn.Conv2d(4, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    assert norms_behind(twice) == {}


def test_no_data_is_refused() -> None:
    with pytest.raises(InputError, match="got no batch"):
        quantize(trained_net()[0], [])


def test_a_target_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="no module of the model matches 'hed'; near: head"):
        quantize(trained_net()[0], [], targets=("hed",))


def test_a_layer_that_no_batch_reaches_is_named() -> None:
    net, images = trained_net()
    net.spare = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"no calibration batch reaches spare"):
        quantize(net, [images])
