"""Dense master weights behind the N:M weights that a model shows.

Between steps the parameters of the model hold what the forward pass uses, so that an evaluation, a
copy or a saved state sees the sparse weights; the optimizer moves the masters. The structure of the
model and the names in its state stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from colonnade.errors import ModelError
from colonnade.sparsify.nm.flow import Flow, FlowAt, FlowSchedule
from colonnade.sparsify.nm.functional import factor, flow_gradient
from colonnade.sparsify.nm.mask import is_nm, nm_mask


class MasterWeights:
    """The masters of some parameters under one schedule.

    A parameter has its outputs first, or its inputs if it is one of `turned`. Around each step of
    the optimizer: `show(step)`, forward and backward, `restore`, the optimizer, `keep`; at the end
    `finalize`.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        schedule: FlowSchedule,
        turned: Collection[str] = (),
    ) -> None:
        self.schedule = schedule
        self.flow: Flow = schedule.flow
        self._parameters = dict(parameters)
        self._turned = frozenset(turned)
        self._masters = {name: weight.detach().clone() for name, weight in parameters.items()}
        self._frozen: dict[str, Tensor] = {}
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}
        self._now: FlowAt | None = None
        self._step: int | None = None

    @property
    def now(self) -> FlowAt | None:
        """What flows since the last `show`."""
        return self._now

    def show(self, step: int) -> None:
        """The model gets the weights of a step."""
        if step != self._step:
            self._show(self.schedule.at(step))
            self._step = step

    def restore(self) -> None:
        """The optimizer gets the masters, and gradients as the recipe lets them flow."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                self._restore(name, parameter)

    def keep(self) -> None:
        """Take the masters that the optimizer has moved, and show them as of the next step."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                self._masters[name].copy_(parameter)
                if name in self._frozen:
                    self._masters[name].masked_fill_(~self._frozen[name], 0.0)
        if self._step is not None:
            self.show(self._step + 1)

    def finalize(self) -> dict[str, Tensor]:
        """Leave exact N:M weights in the model and return their masks; the leak ends here."""
        self._show(self.schedule.final)
        self._step = None
        return self.export_masks()

    def export_masks(self) -> dict[str, Tensor]:
        """The masks of the target, refused while anything but its weights counts."""
        verify_exportable(self._now, self.schedule)
        for name, parameter in self._parameters.items():
            target = self.schedule.target
            if not is_nm(parameter, target.turned() if name in self._turned else target):
                raise ModelError(
                    f"{name} is not {target}: its weights were changed after the "
                    "last step; call finalize"
                )
        return {name: self._shown[name][0] for name in self._parameters}

    def state_dict(self) -> dict[str, Any]:
        """Masters and frozen masks."""
        return {"masters": dict(self._masters), "frozen": dict(self._frozen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; the weights are shown by the next step."""
        for name, master in state["masters"].items():
            self._masters[name].copy_(master)
        self._frozen = dict(state["frozen"])
        self._shown, self._now, self._step = {}, None, None

    def _show(self, now: FlowAt) -> None:
        self._now = now
        self._shown = {}
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                turned = now.turned() if name in self._turned else now
                self._show_one(name, parameter, turned)

    def _show_one(self, name: str, parameter: nn.Parameter, now: FlowAt) -> None:
        master = self._masters[name]
        if now.is_dense:
            parameter.copy_(master)
            return
        mask = self._mask(name, master, now)
        factors = factor(master, mask, now)
        self._shown[name] = (mask, factors)
        parameter.copy_(master * factors)

    def _restore(self, name: str, parameter: nn.Parameter) -> None:
        master = self._masters[name]
        parameter.copy_(master)
        if parameter.grad is None or name not in self._shown:
            return
        mask, factors = self._shown[name]
        parameter.grad.copy_(flow_gradient(parameter.grad, master, mask, factors, self.flow))

    def _mask(self, name: str, master: Tensor, now: FlowAt) -> Tensor:
        if not self.flow.freeze:
            return nm_mask(master, now.pattern)
        if name not in self._frozen:
            self._frozen[name] = nm_mask(master, now.pattern)
            master.masked_fill_(~self._frozen[name], 0.0)
        return self._frozen[name]


def verify_exportable(now: FlowAt | None, schedule: FlowSchedule) -> None:
    """Refuse weights that are not yet the binary mask of the target."""
    if now is None or now.leak > 0 or now.pattern != schedule.target:
        state = "no step was taken" if now is None else f"pattern {now.pattern}, leak {now.leak:g}"
        raise ModelError(
            f"expected N:M weights of {schedule.target} without a leak, got {state}: train to the "
            "end of the sparse phase or call finalize"
        )
