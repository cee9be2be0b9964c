"""Prune whole channels, and take them out of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share
from colonnade.sparsify.schedules import SCHEDULES, interpolate

if TYPE_CHECKING:
    import torch
    from torch import nn

    from colonnade.sparsify.channels import ChannelGroup, Inputs
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class ChannelPruning(Modifier):
    """The channels with the smallest weights go, `sparsity` of every group, step by step from
    `start` to `end`: with their biases, their normalisation, and whatever is added to them.

    With `thin` they are taken out of the model at the end of the run: its layers get smaller, its
    parameters are new objects. Needs torch-pruning.
    """

    needs_end: ClassVar[bool] = True
    sparsity: float
    update_every: Duration | None = None
    schedule: Literal["linear", "cubic", "inverse_cubic"] = "cubic"
    thin: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.sparsity, "sparsity")

    def initialize(self, run: Run) -> Action:
        """Waits for the first inputs: they show how the layers hang together."""
        if self.end is None:
            raise RecipeError("is needed: when the sparsity is reached", parameter="end")
        return _Prune(self, run)


class _Prune(Action):
    def __init__(self, modifier: ChannelPruning, run: Run) -> None:
        self._modifier = modifier
        self._inputs: Inputs | None = None
        self._groups: list[ChannelGroup] | None = None
        self._run = run
        self._due: float | None = None
        """The progress of an update that waits for the first inputs."""
        self._names = {id(p): name for name, p in run.model.named_parameters()}
        self._handle = run.model.register_forward_pre_hook(self._on_forward, with_kwargs=True)

    def before_step(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        every = self._modifier.update_every
        period = 1 if every is None else max(1, run.step_of(every))
        if not first <= run.step <= last:
            return
        if run.step == last or (run.step - first) % period == 0:
            self._due = (run.step - first) / (last - first) if last > first else 1.0
            if self._inputs is not None:
                self._update(run)

    def before_optimizer(self, run: Run) -> None:
        del run
        if self._due is not None:
            raise RecipeError(
                "the model was not called in this step: its inputs show which channels belong "
                "together; call the model itself, not only modules of it"
            )

    def finalize(self, run: Run) -> None:
        if self._due is not None:
            raise RecipeError(
                "the model was not called since the run was resumed, and the last channels are not "
                "pruned: call it once, in training mode or not, before the session ends"
            )
        self.close()
        if self._modifier.thin and self._inputs is None:
            run.note("no channel was taken out of the model: it was not called")
        elif self._modifier.thin:
            self._thin(run)

    def close(self) -> None:
        self._handle.remove()

    def state_dict(self) -> dict[str, Any]:
        # A run that goes on when it is complete calls the model no more, but thins it.
        return {"inputs": self._inputs if _is_plain(self._inputs) else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = next(self._run.model.parameters()).device
        self._inputs = _moved(state.get("inputs"), device)

    def _thin(self, run: Run) -> None:
        from colonnade.sparsify.channels import thin

        assert self._inputs is not None
        run.masks.apply()
        for name in list(run.masks):
            run.masks.release(name)
        thinned = thin(run.model, self._inputs)
        run.note(f"{thinned.removed} channels taken out of the model")
        if thinned.constant:
            run.note(
                f"{thinned.constant} channels of zeros were left in the model: what reads them "
                "gets a constant that is not zero (as from a Sigmoid)"
            )

    def _update(self, run: Run) -> None:
        from colonnade.sparsify.groups import keep_best

        assert self._due is not None
        share = interpolate(
            0.0, self._modifier.sparsity, SCHEDULES[self._modifier.schedule](self._due)
        )
        self._due = None
        for group in self._find_groups(run):
            kept = max(1, group.size - round(share * group.size))
            keep = keep_best(group.scores(), kept)
            for parameter in group.parameters():
                rows = keep.reshape(-1, *[1] * (parameter.ndim - 1))
                run.masks.hold(self._names[id(parameter)], rows.expand(parameter.shape))

    def _find_groups(self, run: Run) -> list[ChannelGroup]:
        from colonnade.sparsify.channels import find_channel_groups

        if self._groups is None:
            assert self._inputs is not None
            self._groups = find_channel_groups(run.model, self._inputs)
            if not self._groups:
                raise RecipeError("no layer of the model has channels that can go")
            found = [self._names[id(one)] for group in self._groups for one in group.parameters()]
            run.claim(self._modifier, found, "zeros")
        return self._groups

    def _on_forward(self, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        from torch import no_grad

        if self._inputs is not None:
            return
        self._inputs = (positional, named)
        if self._due is not None:
            with no_grad():
                self._update(self._run)


def _is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold it."""
    from torch import Tensor

    if type(value) in (tuple, list):
        return all(_is_plain(item) for item in value)
    if type(value) is dict:
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, bool | int | float | str | Tensor)


def _moved(value: Any, device: torch.device) -> Any:
    from torch import Tensor

    if isinstance(value, tuple | list):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
