"""SmoothQuant: the same function with an activation that is easier to quantize."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

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
    expected = model(inputs())
    assert smooth(model, [inputs()]) == {}
    assert torch.allclose(model(inputs()), expected, atol=1e-4)
    with pytest.raises(ModelError, match="smoothing norm changes what the model computes"):
        smooth(model, [inputs()], mappings=[("norm", ("query", "key"))])


def test_no_data_is_refused() -> None:
    with pytest.raises(InputError, match="got no batch"):
        smooth(Block(), [])
