"""One rule for all that prune in patterns: groups lie along the inputs of one tap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Modifier, Recipe, Session, sparsify
from colonnade.sparsify.fitting import why_not
from colonnade.sparsify.layers import list_layers
from colonnade.sparsify.modifiers.acdc import ACDC
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.nm_flow import NMFlow
from colonnade.sparsify.oneshot.modifiers import OneShotMagnitude
from colonnade.sparsify.pattern import parse_pattern


class Conv1D(nn.Module):
    """That of GPT-2: inputs x outputs."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def make_model(channels: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4, bias=False)
    )


def start(model: nn.Sequential, modifier: Modifier, inputs: tuple[int, ...]) -> Session:
    def losses() -> Iterator[Tensor]:
        while True:
            yield model(torch.randn(inputs)).square().sum()

    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    return sparsify(model, optimizer, Recipe.of(modifier, epochs=2.0), 1, sample_losses=losses)


def prune(
    model: nn.Sequential, modifier: Modifier, inputs: tuple[int, ...] = (2, 6, 4, 4)
) -> list[str]:
    with start(model, modifier, inputs) as session:
        for _ in range(2):
            session.step(model(torch.randn(inputs)).square().sum())
    return session.run.notes


MODIFIERS: list[tuple[Callable[..., Modifier], dict[str, Any]]] = [
    (GradualMagnitude, {"pattern": "2:4"}),
    (GradualMagnitude, {"pattern": "1x4", "final_sparsity": 0.5}),
    (ACDC, {"pattern": "2:4", "sparsity": 0.5, "scope": "layer", "phase": 1.0}),
    (NMFlow, {"pattern": "2:4"}),
    (OneShotMagnitude, {"pattern": "2:4", "num_batches": 1, "end": None}),
]


@pytest.mark.parametrize(("kind", "options"), MODIFIERS)
@pytest.mark.parametrize("target", ["prunable", "Conv2d", "re:0"])
def test_a_layer_that_cannot_have_the_pattern_is_left_dense(
    kind: Callable[..., Modifier], options: dict[str, Any], target: str
) -> None:
    model = make_model()
    notes = prune(model, kind(targets=(target, "3"), **({"end": 1.0} | options)))
    assert (model[0].weight != 0).all()
    assert float((model[3].weight == 0).float().mean()) == 0.5
    assert notes == [
        f"0.weight: left dense, {options['pattern']} would straddle taps: 6 inputs are no multiple "
        "of 4"
    ]


@pytest.mark.parametrize(("kind", "options"), MODIFIERS)
@pytest.mark.parametrize("target", ["0", "0.weight"])
def test_a_layer_that_is_named_itself_is_an_error(
    kind: Callable[..., Modifier], options: dict[str, Any], target: str
) -> None:
    with pytest.raises(
        RecipeError, match=r"targets: layer 0\.weight cannot be pruned: .* straddle"
    ):
        start(
            make_model(), kind(targets=("Linear", target), **({"end": 1.0} | options)), (2, 6, 4, 4)
        )


@pytest.mark.parametrize(("kind", "options"), MODIFIERS)
def test_nothing_left_is_an_error(kind: Callable[..., Modifier], options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"no layer is left that can be pruned: 0\.weight: .* 6"):
        start(make_model(), kind(targets=("Conv2d",), **({"end": 1.0} | options)), (2, 6, 4, 4))


def test_a_sparsity_by_target_follows_the_rule() -> None:
    model = make_model()
    shares = {"Conv2d": 0.75, "3": 0.5}
    modifier = GradualMagnitude(pattern="1x4", final_sparsity=shares, end=1.0)
    assert len(prune(model, modifier)) == 1
    assert float((model[3].weight == 0).float().mean()) == 0.5
    named = GradualMagnitude(pattern="1x4", final_sparsity={"0": 0.75, "3": 0.5}, end=1.0)
    with pytest.raises(RecipeError, match=r"layer 0\.weight cannot be pruned"):
        start(make_model(), named, (2, 6, 4, 4))


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "convolution": (lambda: nn.Conv2d(8, 8, 3), (2, 8, 4, 4)),
    "grouped": (lambda: nn.Conv2d(16, 8, 3, groups=2), (2, 16, 4, 4)),
    "GPT-2": (lambda: Conv1D(8, 16), (2, 16)),
    "transposed": (lambda: nn.ConvTranspose1d(16, 8, 3), (2, 16, 4)),
    "ragged": (lambda: nn.Linear(10, 8), (2, 10)),
}


@pytest.mark.parametrize("net", NETS)
def test_gradual_and_flow_choose_the_same_along_the_inputs(net: str) -> None:
    make, inputs = NETS[net]
    torch.manual_seed(0)
    weight = make().weight.detach()
    found = []
    for modifier in (
        GradualMagnitude(targets=("0",), pattern="2:4", start=0.0, end=0.0),
        NMFlow(targets=("0",), pattern="2:4", flow="ste", end=1.0),
    ):
        model = nn.Sequential(make())
        model[0].weight.data.copy_(weight)
        with start(model, modifier, inputs) as session:
            session.begin_step()
        found.append(session.masks["0.weight"])
    assert torch.equal(found[0], found[1])
    inputs_last = found[0].movedim(0 if net in ("GPT-2", "transposed") else 1, -1)
    for group in inputs_last.split(4, -1):
        assert (group.sum(-1) == 2).all()


def test_groups_along_the_outputs() -> None:
    made = [nn.Conv2d(3, 8, 3), Conv1D(8, 3), nn.ConvTranspose1d(3, 8, 1)]
    for layer, inputs in zip(made, [(2, 3, 4, 4), (2, 3), (2, 3, 4)], strict=True):
        model = nn.Sequential(layer)
        notes = prune(model, NMFlow(pattern="1:4", axis="col", end=1.0), inputs)
        assert not notes
        outputs_last = layer.weight.detach().movedim(0 if inputs[2:] == (4, 4) else 1, -1)
        for group in outputs_last.split(4, -1):
            assert ((group != 0).sum(-1) == 1).all()
    with pytest.raises(RecipeError, match="6 outputs are no multiple of 4"):
        start(
            nn.Sequential(nn.Conv2d(4, 6, 3)),
            NMFlow(pattern="1:4", axis="col", targets=("0",)),
            (2, 4, 4, 4),
        )


@pytest.mark.parametrize(
    ("layer", "pattern", "why"),
    [
        (nn.Conv2d(8, 8, 3), "2:4", ""),
        (nn.Conv2d(6, 8, 3), "2:4", "would straddle taps: 6 inputs are no multiple of 4"),
        (nn.Conv2d(6, 8, 1), "2:4", ""),
        (nn.Linear(3, 8), "2:4", "needs 4 inputs, the layer has 3"),
        (nn.Linear(8, 3), "4x1", "needs 4 outputs, the layer has 3"),
        (nn.Conv2d(8, 8, 3, groups=4), "2:4", "needs 4 inputs, the layer has 2"),
        (nn.Conv2d(8, 8, 3, groups=8), "unstructured", ""),
        (nn.Conv2d(8, 12, 1, groups=2), "4x1", "straddle groups: 6 outputs are no multiple of 4"),
        (nn.Conv2d(8, 16, 1, groups=2), "4x4", ""),
        (nn.ConvTranspose2d(12, 8, 1, groups=2), "2:4", "6 inputs are no multiple of 4"),
        (nn.ConvTranspose2d(8, 6, 3), "2:4", ""),
        (nn.ConvTranspose2d(8, 6, 3), "8x1", "needs 8 outputs, the layer has 6"),
        (nn.ConvTranspose2d(8, 8, 3, groups=4), "4x1", "needs 4 outputs, the layer has 2"),
    ],
)
def test_why_a_layer_cannot_have_a_pattern(layer: nn.Module, pattern: str, why: str) -> None:
    found = why_not(list_layers(layer)[0], parse_pattern(pattern))
    assert why in found
    assert bool(why) == bool(found)
