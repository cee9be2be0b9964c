"""N:M weights as a parametrization of linear and convolutional layers, for loops without a session.

The model's state then has a dense `parametrizations.weight.original` and the step of the schedule;
copies and the optimizer keep working. `detach_nm` leaves plain sparse weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from colonnade.errors import ModelError
from colonnade.sparsify.layers import list_layers
from colonnade.sparsify.nm.flow import FlowAt, FlowSchedule
from colonnade.sparsify.nm.functional import flow_weight
from colonnade.sparsify.nm.mask import nm_mask
from colonnade.sparsify.nm.masters import verify_exportable


class NMWeight(nn.Module):
    """From the dense weight to that of the forward pass at the current step."""

    def __init__(self, weight: Tensor, schedule: FlowSchedule, turned: bool = False) -> None:
        super().__init__()
        self.schedule = schedule
        self._turned = turned
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        # A mask of ones until it is chosen.
        self.register_buffer("frozen", torch.ones_like(weight, dtype=torch.bool))

    def set_step(self, step: int, weight: Tensor) -> None:
        """Go to a step of the schedule; a frozen mask is chosen at the first sparse one."""
        self.step.fill_(step)
        now = self._at(step)
        if self.schedule.flow.freeze and not now.is_dense and bool(self.frozen.all()):
            self.frozen.copy_(nm_mask(weight, now.pattern))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that counts."""
        schedule = self.schedule
        mask = self.frozen if schedule.flow.freeze else None
        return flow_weight(weight, schedule.flow, self._at(int(self.step)), mask)

    def _at(self, step: int) -> FlowAt:
        now = self.schedule.at(step)
        return now.turned() if self._turned else now


def attach_nm(modules: Sequence[nn.Module], schedule: FlowSchedule) -> None:
    """Train the weights of these layers under a schedule; call `set_step` before each step."""
    for module in modules:
        if parametrize.is_parametrized(module, "weight"):
            raise ModelError(f"the weight of {module} has a parametrization already")
        [turned] = [layer.rows_axis for layer in list_layers(module) if layer.name == "weight"]
        weight = NMWeight(module.weight, schedule, bool(turned))
        parametrize.register_parametrization(module, "weight", weight)
    set_step(modules, 0)


def set_step(modules: Sequence[nn.Module], step: int) -> None:
    """Go to a step of the schedule."""
    with torch.no_grad():
        for module in modules:
            weights = module.parametrizations.weight
            weights[0].set_step(step, weights.original)


def detach_nm(modules: Sequence[nn.Module]) -> None:
    """Leave plain N:M weights; refused while the leak is open or the pattern not the target."""
    for module in modules:
        nm = module.parametrizations.weight[0]
        verify_exportable(nm.schedule.at(int(nm.step)), nm.schedule)
    for module in modules:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
