"""The weights of a model that a recipe can prune, and how it names them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.groups import from_matrix, to_matrix

PRUNABLE = "prunable"
"""The target that stands for the weights of all linear and convolutional layers."""


class Holder(NamedTuple):
    """A module that holds a parameter, and the parameter's name there."""

    name: str
    module: nn.Module

    @property
    def module_name(self) -> str:
        """Of the module in the model; "" is the model itself."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Layer:
    """One weight: its name in `named_parameters()`, its module, and where its outputs lie."""

    name: str
    weight: nn.Parameter
    module: nn.Module
    rows_axis: int = 0
    others: tuple[Holder, ...] = ()
    """Where else a tied weight is held."""

    @property
    def holders(self) -> tuple[Holder, ...]:
        """All of them; a recipe may name the weight by any."""
        return Holder(self.name, self.module), *self.others

    @property
    def names(self) -> frozenset[str]:
        """Of the weight and of the modules that hold it."""
        return frozenset(name for held in self.holders for name in (held.name, held.module_name))

    @property
    def taps(self) -> int:
        """Weights between one input channel and one output: kh * kw of a convolution."""
        return int(self.weight[0, 0].numel())

    def matrix(self, values: Tensor | None = None) -> Tensor:
        """The weight (or `values` of its shape) as a matrix of outputs x inputs."""
        return to_matrix(self.weight.detach() if values is None else values, self.rows_axis)

    def in_shape(self, matrix: Tensor) -> Tensor:
        """A matrix in the shape of the weight."""
        return from_matrix(matrix, self.weight, self.rows_axis)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside of the wrappers of DistributedDataParallel and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.parallel.DistributedDataParallel | nn.DataParallel
        ):
            inner = model.module
        if inner is None:
            return model
        model = inner


def list_layers(model: nn.Module) -> list[Layer]:
    """Every weight with two axes or more, in the order of the model; a tied one counts once."""
    return list(_iterate_layers(unwrap(model)))


def find_layers(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = ()
) -> list[Layer]:
    """The layers that `targets` name, without those that `ignore` names, in the order of the model.

    A target is "prunable", the name of a parameter or module, a class of modules ("Linear"), or
    "re:" and a regular expression that matches the beginning of a parameter's name. "prunable" and
    regular expressions take linear and convolutional layers only, names and classes any weight with
    two axes. Each must name something, or the recipe does not fit the model. A tied weight goes by
    all of its names, and is "prunable" if every module that holds it is: not the head of a language
    model that is its embedding as well.
    """
    layers = list_layers(model)
    chosen: set[str] = set()
    for target in targets:
        names = {layer.name for layer in layers if _is_named(layer, target)}
        if not names:
            raise RecipeError(_no_layer(target, layers), parameter="targets")
        chosen |= names
    for target in ignore:
        names = {layer.name for layer in layers if _is_named(layer, target)}
        if not names:
            raise RecipeError(_no_layer(target, layers), parameter="ignore")
        chosen -= names
    found = [layer for layer in layers if layer.name in chosen]
    if not found:
        raise RecipeError("ignore leaves none of the targets", parameter="ignore")
    return found


def find_parameters(model: nn.Module, targets: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """Parameters of any shape: "all", names of parameters or modules, classes, "re:" patterns."""
    inner = unwrap(model)
    holders = _find_holders(inner)
    found: dict[str, nn.Parameter] = {}
    parameters = list(inner.named_parameters())
    for target in targets:
        matches = {
            name: parameter
            for name, parameter in parameters
            if target == "all" or any(_matches(target, held) for held in holders[id(parameter)])
        }
        if not matches:
            near = _near(target, [held.name for each in holders.values() for held in each])
            raise RecipeError(f"no parameter matches {target!r}{near}", parameter="targets")
        found |= matches
    return list(found.items())


def _iterate_layers(model: nn.Module) -> Iterator[Layer]:
    holders = _find_holders(model)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or parameter.numel() == 0:
            continue
        first, *others = holders[id(parameter)]
        yield Layer(name, parameter, first.module, _rows_axis(first.module), tuple(others))


def _find_holders(model: nn.Module) -> dict[int, list[Holder]]:
    """By identity of the parameter, in the order of `named_parameters()`; modules that have several
    names come once for each."""
    found: dict[int, list[Holder]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            held = Holder(f"{prefix}.{name}".lstrip("."), module)
            found.setdefault(id(parameter), []).append(held)
    return found


def _rows_axis(module: nn.Module) -> int:
    # The Conv1D of GPT-2 is a linear layer that holds its weight as inputs x outputs.
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return int(isinstance(module, transposed) or type(module).__name__ == "Conv1D")


def _is_prunable(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.MultiheadAttention)
        or type(module).__name__ == "Conv1D"
    )


def _is_named(layer: Layer, target: str) -> bool:
    if target == PRUNABLE:
        return all(_is_prunable(held.module) for held in layer.holders)
    holders = layer.holders
    if target.startswith("re:"):
        holders = tuple(held for held in holders if _is_prunable(held.module))
    return any(_matches(target, held) for held in holders)


def _matches(target: str, held: Holder) -> bool:
    if target.startswith("re:"):
        return _compile(target[3:]).match(held.name) is not None
    return target in (held.name, held.module_name) or target in {
        cls.__name__ for cls in type(held.module).__mro__ if cls is not nn.Module
    }


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RecipeError(
            f"{pattern!r} is not a regular expression: {error}", parameter="targets"
        ) from None


def _no_layer(target: str, layers: Sequence[Layer]) -> str:
    holders = [held for layer in layers for held in layer.holders]
    names = [name for held in holders for name in (held.name, held.module_name)]
    names += sorted({type(held.module).__name__ for held in holders})
    return f"no layer of the model matches {target!r}{_near(target, names)}"


def _near(target: str, names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    near = difflib.get_close_matches(target.removeprefix("re:"), unique, n=3, cutoff=0.5)
    return f"; near: {', '.join(near)}" if near else ""
