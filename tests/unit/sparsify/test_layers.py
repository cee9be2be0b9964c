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


class HeadFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lm_head = nn.Linear(4, 8, bias=False)
        self.body = nn.Linear(4, 4)
        self.embed = nn.Embedding(8, 4)
        self.embed.weight = self.lm_head.weight


def names(*targets: str, ignore: tuple[str, ...] = (), model: nn.Module | None = None) -> list[str]:
    return [layer.name for layer in find_layers(model or Small(), targets, ignore)]


def test_targets() -> None:
    assert names("prunable") == ["body.0.weight", "body.2.weight"]
    assert names("Linear") == ["embed.weight", "body.2.weight"]
    assert names("body.2") == ["body.2.weight"]
    assert names("body.2.weight", "Conv2d") == ["body.0.weight", "body.2.weight"]
    assert names("re:body") == ["body.0.weight", "body.2.weight"]
    assert names("prunable", ignore=("Conv2d",)) == ["body.2.weight"]


@pytest.mark.parametrize(
    "target", ["embed", "embed.weight", "Embedding", "head", "head.weight", "re:.*head", "re:head"]
)
def test_a_tied_weight_counts_once_and_has_all_its_names(target: str) -> None:
    if target != "Embedding":
        assert names(target) == ["embed.weight"]
    assert names("Linear", ignore=(target,)) == ["body.2.weight"]
    assert names("prunable", ignore=(target,)) == ["body.0.weight", "body.2.weight"]


def test_an_embedding_that_is_a_head_as_well_is_pruned_by_name_only() -> None:
    assert names("prunable", "lm_head", model=HeadFirst()) == ["lm_head.weight", "body.weight"]
    assert names("prunable", model=HeadFirst()) == ["body.weight"]


def test_a_module_under_two_names() -> None:
    model = nn.Module()
    model.first = model.second = nn.Linear(2, 2)
    model.third = nn.Linear(2, 2)
    for target in ("first", "second", "second.weight", "re:second"):
        assert names(target, model=model) == ["first.weight"]
        assert names("prunable", ignore=(target,), model=model) == ["third.weight"]


def test_a_tied_parameter_has_all_its_names() -> None:
    for target in ("embed", "head", "head.weight", "re:head"):
        assert [name for name, _ in find_parameters(Small(), (target,))] == ["embed.weight"]


@pytest.mark.parametrize(
    ("targets", "ignore", "message"),
    [
        (("heat",), (), "near: head"),
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
