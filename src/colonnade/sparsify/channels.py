"""Channels that go together: a layer's outputs, and everything that is added to or read from them.

torch-pruning traces the model and finds the groups (Fang et al. 2023, arXiv 2301.12900).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and named arguments of the model's forward."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Reading:
    """A layer that reads channels of a group: where in its inputs, and which channel it is there
    (None: torch-pruning has lost it)."""

    reader: nn.Module
    places: tuple[int, ...]
    channels: tuple[int | None, ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one size that live or die together."""

    size: int
    makers: tuple[nn.Module, ...]
    """Layers whose outputs they are: their weights say what a channel is worth."""
    norms: tuple[nn.Module, ...]
    remove: Callable[[Sequence[int]], None]
    """Takes these channels out of every layer that makes or reads them; once."""
    read: Callable[[Sequence[int]], list[Reading]]
    """Where these channels are read."""

    def scores(self) -> Tensor:
        """The norm of each channel's weights, over all makers."""
        squares = sum(maker.weight.detach().square().flatten(1).sum(1) for maker in self.makers)
        assert isinstance(squares, Tensor)
        return squares.sqrt()

    def parameters(self) -> list[nn.Parameter]:
        """Everything that makes a channel: zero at an index, the channel is zero everywhere."""
        found = [*self.makers, *self.norms]
        return [
            parameter
            for module in found
            for parameter in (module.weight, module.bias)
            if isinstance(parameter, nn.Parameter)
        ]

    def dead(self) -> list[int]:
        """Channels whose every parameter is zero."""
        alive = torch.zeros(self.size, dtype=torch.bool)
        for parameter in self.parameters():
            alive |= (parameter.detach().reshape(self.size, -1) != 0).any(1).cpu()
        return [int(i) for i in (~alive).nonzero().flatten()]


def find_channel_groups(model: nn.Module, inputs: Inputs) -> list[ChannelGroup]:
    """The groups whose channels can go: not those of the model's outputs, nor those that a reshape
    or concatenation mixes with others, nor those of grouped convolutions."""
    import torch_pruning

    positional, named = inputs
    with _evaluating(model), torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, example_inputs=positional if positional else dict(named), verbose=False
        )
    roots = [nn.modules.conv._ConvNd, nn.Linear]
    found = (_read_group(graph, group) for group in graph.get_all_groups(root_module_types=roots))
    return [group for group in found if group is not None]


def _read_group(graph: Any, group: Any) -> ChannelGroup | None:
    root = group[0].dep.target.module
    size = len(group[0].idxs)
    makers: list[nn.Module] = []
    norms: list[nn.Module] = []
    is_read = False
    for dependency, indices in group:
        module, handler = dependency.target.module, dependency.handler.__name__
        is_read |= handler == "prune_in_channels"
        if handler != "prune_out_channels" or not list(module.parameters()):
            continue
        if list(indices) != list(range(size)):
            return None
        if isinstance(module, _NORMS):
            norms.append(module)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if getattr(module, "groups", 1) != 1:
                return None
            makers.append(module)
        else:
            return None
    if not is_read:
        return None

    def remove(channels: Sequence[int]) -> None:
        graph.get_pruning_group(root, group[0].dep.handler, idxs=list(channels)).prune()

    def read(channels: Sequence[int]) -> list[Reading]:
        found = graph.get_pruning_group(root, group[0].dep.handler, idxs=list(channels))
        return [
            Reading(item.dep.target.module, tuple(item.idxs), tuple(item.root_idxs))
            for item in found.items
            if item.dep.handler.__name__ == "prune_in_channels"
            and list(item.dep.target.module.parameters())
        ]

    return ChannelGroup(
        size, tuple(dict.fromkeys(makers)), tuple(dict.fromkeys(norms)), remove, read
    )


@dataclass(frozen=True)
class Thinned:
    """What `thin` did."""

    removed: int
    """Channels that are gone."""
    constant: int
    """Channels of zeros that stay, for what reads them gets something else than zeros."""


def thin(model: nn.Module, inputs: Inputs) -> Thinned:
    """Take out every channel whose parameters are all zero; the function of the model stays.

    A channel stays if zeros become something else on the way to its readers, as in a Sigmoid; that
    nothing on the way depends on the number of channels (as their mean does) is not checked. Each
    group keeps one at least. Parameters are new objects afterwards: make a new optimizer.
    """
    removed = constant = 0
    for position in range(len(find_channel_groups(model, inputs))):
        # A removal changes the graph: it is traced again.
        group = find_channel_groups(model, inputs)[position]
        dead = group.dead()
        silent = _silent(model, inputs, group, dead) if dead else []
        constant += len(dead) - len(silent)
        if removable := silent[: group.size - 1]:
            group.remove(removable)
            removed += len(removable)
    return Thinned(removed, constant)


def _silent(
    model: nn.Module, inputs: Inputs, group: ChannelGroup, channels: Sequence[int]
) -> list[int]:
    """Those of the channels of which all readers get zeros."""
    readings = group.read(channels)
    heard = _heard(model, inputs, {reading.reader for reading in readings})
    loud: set[int | None] = set()
    for reading in readings:
        found = heard.get(reading.reader)
        if found is None:
            return []
        is_loud = found[list(reading.places)].tolist()
        loud |= {channel for channel, is_it in zip(reading.channels, is_loud, strict=True) if is_it}
    return [] if None in loud else [channel for channel in channels if channel not in loud]


def _heard(model: nn.Module, inputs: Inputs, readers: set[nn.Module]) -> dict[nn.Module, Tensor]:
    """Where in the inputs of these layers anything but zeros comes in."""
    heard: dict[nn.Module, Tensor] = {}

    def listen(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not given:  # by its name: not known, so the channels stay
            return
        values = given[0].movedim(_channel_axis(module), 0).flatten(1)
        found = (values != 0).any(1)
        heard[module] = found | heard[module] if module in heard else found

    handles = [module.register_forward_pre_hook(listen) for module in readers]
    positional, named = inputs
    try:
        with _evaluating(model), torch.no_grad():
            model(*positional, **named)
    finally:
        for handle in handles:
            handle.remove()
    return heard


def _channel_axis(module: nn.Module) -> int:
    """The axis of a layer's inputs along which its channels lie, counted from the end."""
    return -module.weight.ndim + 1 if isinstance(module, nn.modules.conv._ConvNd) else -1


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
