"""How recipes name layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from colonnade.errors import RecipeError
from colonnade.sparsify.layers import find_layers, find_parameters


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 4))
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight
        self.empty = nn.Linear(1, 3)
        self.empty.weight = nn.Parameter(torch.zeros(3, 0))


def names(*targets: str, ignore: tuple[str, ...] = ()) -> list[str]:
    return [layer.name for layer in find_layers(Small(), targets, ignore)]


def test_targets() -> None:
    assert names("prunable") == ["body.0.weight", "body.2.weight"]
    assert names("Linear") == ["body.2.weight"]
    assert names("body.2") == ["body.2.weight"]
    assert names("body.2.weight", "Conv2d") == ["body.0.weight", "body.2.weight"]
    assert names("re:body") == ["body.0.weight", "body.2.weight"]
    assert names("prunable", ignore=("Conv2d",)) == ["body.2.weight"]


def test_a_tied_weight_counts_once_under_its_first_name() -> None:
    assert names("embed") == ["embed.weight"]


@pytest.mark.parametrize(
    ("targets", "ignore", "message"),
    [
        (("body.3",), (), "no layer of the model matches 'body.3'; near: body.2"),
        (("Liner",), (), "near: Linear"),
        (("re:nothing",), (), "no layer of the model matches 're:nothing'"),
        (("re:(",), (), "is not a regular expression"),
        (("prunable",), ("Conv3d",), "near: Conv2d"),
        (("Conv2d",), ("Conv2d",), "ignore leaves none"),
        (("empty",), (), "no layer of the model matches 'empty'"),
        (("body.1",), (), "no layer of the model matches 'body.1'"),
    ],
)
def test_a_target_that_names_nothing(
    targets: tuple[str, ...], ignore: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        find_layers(Small(), targets, ignore)
    assert message in str(caught.value)


def test_parameters_of_any_shape() -> None:
    found = [name for name, _ in find_parameters(Small(), ("BatchNorm2d", "re:body.2.bias"))]
    assert found == ["body.1.weight", "body.1.bias", "body.2.bias"]
    assert len(find_parameters(Small(), ("all",))) == 9
    with pytest.raises(RecipeError, match="no parameter matches 'x'"):
        find_parameters(Small(), ("x",))


def test_compiled_models_keep_their_names() -> None:
    model = torch.compile(Small(), backend="eager")
    assert [layer.name for layer in find_layers(model, ("Conv2d",))] == ["body.0.weight"]
