"""Channels that go together: a layer's outputs, and everything that is added to or read from them.

torch-pruning traces the model and finds the groups (Fang et al. 2023, arXiv 2301.12900).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and named arguments of the model's forward."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one size that live or die together."""

    size: int
    makers: tuple[nn.Module, ...]
    """Layers whose outputs they are: their weights say what a channel is worth."""
    norms: tuple[nn.Module, ...]
    remove: Callable[[Sequence[int]], None]
    """Takes these channels out of every layer that makes or reads them; once."""

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
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(
                model, example_inputs=positional if positional else dict(named), verbose=False
            )
    finally:
        model.train(was_training)
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

    return ChannelGroup(size, tuple(dict.fromkeys(makers)), tuple(dict.fromkeys(norms)), remove)


def thin(model: nn.Module, inputs: Inputs) -> int:
    """Take out every channel whose parameters are all zero; the function of the model stays, as
    long as zeros stay zeros between layers (ReLU, sums, pooling). Each group keeps one at least.
    Returns how many channels went. Parameters are new objects afterwards: make a new optimizer."""
    removed = 0
    for position in range(len(find_channel_groups(model, inputs))):
        # A removal changes the graph: it is traced again.
        group = find_channel_groups(model, inputs)[position]
        dead = group.dead()[: group.size - 1]
        if dead:
            group.remove(dead)
            removed += len(dead)
    return removed
