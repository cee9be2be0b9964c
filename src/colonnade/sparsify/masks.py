"""The masks of a run: which weights are held at zero.

The optimizer may do what it likes: gradients of masked weights are zeroed before its step, and the
weights after it, so neither weight decay nor momentum moves them. `state_dict` of the model has no
extra keys: the zeros in the weights say it all, and `ConstantPruning` takes masks from them. The
exact masks (a weight that is zero by chance is not masked) are in the state of the session.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from colonnade.errors import CheckpointError
from colonnade.sparsify.layers import unwrap


class Masks:
    """Boolean masks by the parameter's name; True stays. Parameters without a mask are free."""

    def __init__(self, model: nn.Module) -> None:
        inner = unwrap(model)
        self._parameters: dict[str, nn.Parameter] = dict(inner.named_parameters())
        self._masks: dict[str, Tensor] = {}
        # Weights loaded in mid-run are masked as well.
        self._handle = inner.register_load_state_dict_post_hook(_OnLoad(self))

    def close(self) -> None:
        """Let go of the model; the zeros stay."""
        self._handle.remove()

    def __contains__(self, name: str) -> bool:
        return name in self._masks

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def hold(self, name: str, mask: Tensor) -> None:
        """From now on, weights where `mask` is False are zero."""
        parameter = self._parameters[name]
        if mask.shape != parameter.shape:
            raise AssertionError(f"{name}: a mask {list(mask.shape)} for {list(parameter.shape)}")
        self._masks[name] = mask.to(device=parameter.device, dtype=torch.bool).contiguous()
        self._apply(name)

    def release(self, name: str) -> None:
        """The weights may move again; they start from zero."""
        self._masks.pop(name, None)

    def apply(self) -> None:
        """Zero the masked weights."""
        for name in self._masks:
            self._apply(name)

    def mask_gradients(self) -> None:
        """Zero the gradients of the masked weights."""
        for name, mask in self._masks.items():
            gradient = self._parameters[name].grad
            if gradient is not None:
                gradient.masked_fill_(~mask, 0.0)

    def sparsity(self, name: str) -> float:
        """The share of a parameter that is masked."""
        mask = self._masks.get(name)
        return 0.0 if mask is None else 1 - int(mask.sum()) / mask.numel()

    def total_sparsity(self) -> float:
        """The share of masked weights in all parameters that have a mask."""
        total = sum(mask.numel() for mask in self._masks.values())
        kept = sum(int(mask.sum()) for mask in self._masks.values())
        return 1 - kept / total if total else 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """The masks by name."""
        return dict(self._masks)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold exactly these masks."""
        for name, mask in state.items():
            found = self._parameters.get(name)
            if found is None or found.shape != mask.shape:
                shape = "none" if found is None else str(list(found.shape))
                raise CheckpointError(
                    f"the checkpoint is of another model: {name} has a mask {list(mask.shape)}, "
                    f"the model's parameter is {shape}"
                )
        self._masks.clear()
        for name, mask in state.items():
            self.hold(name, mask)

    def _apply(self, name: str) -> None:
        with torch.no_grad():
            # Not a product: NaN times zero is NaN.
            self._parameters[name].masked_fill_(~self._masks[name], 0.0)


class _OnLoad:
    """Masks the weights that are loaded; a copy of the model, or a saved one, has none."""

    def __init__(self, masks: Masks | None = None) -> None:
        self._masks = None if masks is None else weakref.ref(masks)

    def __call__(self, *_: object) -> None:
        masks = None if self._masks is None else self._masks()
        if masks is not None:
            masks.apply()

    def __reduce__(self) -> tuple[type[_OnLoad], tuple[()]]:
        return _OnLoad, ()
