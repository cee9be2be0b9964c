"""SmoothQuant: the same function with an activation that is easier to quantize."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colonnade.errors import InputError, ModelError
from colonnade.sparsify.quantize.calibrate import quantize
from colonnade.sparsify.quantize.smooth import factors, smooth


class Block(nn.Module):
    """Two readers of one norm; `is_post` adds the norm's output to the sum as well."""

    def __init__(self, *, is_post: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(16)
        self.query, self.key = nn.Linear(16, 16), nn.Linear(16, 16)
        self.is_post = is_post
        with torch.no_grad():
            self.norm.weight[3] = 60.0

    def forward(self, values: Tensor) -> Tensor:
        normed = self.norm(values)
        made = self.query(normed) * 0.1 + self.key(normed)
        return made + normed if self.is_post else made


def inputs() -> Tensor:
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(1))


def test_factors_of_known_spreads() -> None:
    found = factors(torch.tensor([16.0, 1.0, 0.0]), torch.tensor([4.0, 1.0, 2.0]), 0.5)
    assert found.tolist() == [2.0, 1.0, 1.0]


def test_the_function_stays_and_eight_bits_lose_less() -> None:
    model = Block()
    expected = model(inputs())
    plain = quantize(copy.deepcopy(model), [inputs()], method="min_max").eval()
    done = smooth(model, [inputs()])
    assert list(done) == ["norm"]
    assert float(done["norm"][3]) == done["norm"].max()
    assert torch.allclose(model(inputs()), expected, atol=1e-3)
    smoothed = quantize(model, [inputs()], method="min_max").eval()
    lost = [(net(inputs()) - expected).square().mean() for net in (plain, smoothed)]
    assert lost[1] < lost[0] / 2


def test_a_norm_with_another_reader_is_left_alone() -> None:
    model = Block(is_post=True)
    before = copy.deepcopy(model.state_dict())
    assert smooth(model, [inputs()]) == {}
    with pytest.raises(ModelError, match="smoothing norm changes what the model computes"):
        smooth(model, [inputs()], mappings=[("norm", ("query", "key"))])
    assert all(torch.equal(now, before[name]) for name, now in model.state_dict().items())


def test_no_data_is_refused() -> None:
    with pytest.raises(InputError, match="got no batch"):
        smooth(Block(), [])


class LlamaRMSNorm(nn.Module):
    """As in transformers: a weight, no bias, and no class of torch's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, values: Tensor) -> Tensor:
        return self.weight * values * values.square().mean(-1, keepdim=True).add(1e-6).rsqrt()


class GemmaRMSNorm(LlamaRMSNorm):
    """One is added to the weight: dividing it is not dividing the output."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values) + values * values.square().mean(-1, keepdim=True).rsqrt()


@pytest.mark.parametrize("norm", [nn.RMSNorm, LlamaRMSNorm])
def test_norms_without_a_bias_are_smoothed(norm: type[nn.Module]) -> None:
    model = Block()
    model.norm = norm(16)
    with torch.no_grad():
        model.norm.weight[3] = 60.0
    expected = model(inputs())
    assert list(smooth(model, [inputs()])) == ["norm"]
    assert float(model.norm.weight[3].detach()) < 60
    assert torch.allclose(model(inputs()), expected, atol=1e-3)


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    model = Block()
    model.norm = GemmaRMSNorm(16)
    assert smooth(model, [inputs()]) == {}


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_strengths_are_shares(strength: float) -> None:
    with pytest.raises(InputError, match=r"strength=.*; it lies between 0 and 1"):
        smooth(Block(), [inputs()], strength=strength)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (("nrm", ("query",)), "the model has no module 'nrm'; near: norm"),
        (("norm", ("query", "kei")), "the model has no module 'kei'; near: key"),
        (("query", ("key",)), "query is a Linear: expected a layer norm or an RMS norm"),
        (("norm", ("norm",)), "norm is a LayerNorm: expected a linear layer"),
        (("norm", ()), "norm has no readers"),
        (("norm", ("narrow",)), "narrow reads 8 features, norm makes 16"),
    ],
)
def test_mappings_that_do_not_fit_are_refused(
    mapping: tuple[str, tuple[str, ...]], message: str
) -> None:
    model = Block()
    model.narrow = nn.Linear(8, 8)
    with pytest.raises(ModelError, match=message):
        smooth(model, [inputs()], mappings=[mapping])


def test_data_that_is_not_finite_is_refused() -> None:
    model, spoilt = Block(), inputs()
    spoilt[0, 0] = float("nan")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="batch 1: the output of norm is not finite"):
        smooth(model, [inputs(), spoilt])
    assert all(torch.equal(now, before[name]) for name, now in model.state_dict().items())


def test_a_loader_will_do_and_an_iterator_not() -> None:
    loader = DataLoader(inputs(), batch_size=8, shuffle=True)
    assert list(smooth(Block(), loader)) == ["norm"]
    with pytest.raises(InputError, match="an iterator can be read once"):
        smooth(Block(), iter([inputs()]))


class Named(Block):
    def forward(self, values: Tensor) -> dict[str, Tensor]:
        return {"unused": values, "made": super().forward(values)}


def test_all_that_a_model_returns_is_compared() -> None:
    assert list(smooth(Named(), [inputs()])) == ["norm"]
    assert smooth(Named(is_post=True), [inputs()]) == {}


def test_a_weight_that_two_readers_have_is_scaled_once() -> None:
    model = Block()
    model.key.weight = model.query.weight
    expected = model(inputs())
    assert list(smooth(model, [inputs()])) == ["norm"]
    assert torch.allclose(model(inputs()), expected, atol=1e-3)
