"""SmoothQuant: move the spread of activations into the weights behind a layer norm.

Channel j of the norm's output is divided by s_j and column j of the weights behind it multiplied:
s_j = max|x_j|^strength / max|w_j|^(1 - strength). The model computes the same; uint8 loses less.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from colonnade.errors import InputError, ModelError
from colonnade.sparsify.quantize.calibrate import call

TINY = 1e-5
TOLERANCE = 1e-3


def smooth(
    model: nn.Module,
    batches: Sequence[Any],
    *,
    strength: float = 0.5,
    mappings: Sequence[tuple[str, Sequence[str]]] | None = None,
) -> dict[str, Tensor]:
    """Smooth in place; the factors s by the norm's name.

    A mapping is a norm and the linear layers that read it; they must be its only readers, and are
    found by running the first batch when `mappings` is None. A pair where that is not so (the
    output also goes into a sum) is refused if it is given, left alone if it was found.
    """
    if not batches:
        raise InputError("smoothing needs data, got no batch")
    pairs = find_readers(model, batches[0]) if mappings is None else list(mappings)
    done: dict[str, Tensor] = {}
    for norm_name, readers in pairs:
        norm = model.get_submodule(norm_name)
        linears = [model.get_submodule(name) for name in readers]
        if _smooth_one(model, batches, norm, linears, strength, done, norm_name):
            continue
        if mappings is not None:
            raise ModelError(
                f"smoothing {norm_name} changes what the model computes: something besides "
                f"{', '.join(readers)} reads it"
            )
    return done


def find_readers(model: nn.Module, batch: Any) -> list[tuple[str, list[str]]]:
    """Layer norms and the linear layers whose input is their very output."""
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.LayerNorm) and module.elementwise_affine:
                stack.callback(_keep(module, name, outputs, is_output=True).remove)
            elif isinstance(module, nn.Linear):
                stack.callback(_keep(module, name, inputs, is_output=False).remove)
        _outputs(model, batch)
    pairs = [
        (norm, [name for name, seen in inputs.items() if seen is made])
        for norm, made in outputs.items()
    ]
    return [(norm, readers) for norm, readers in pairs if readers]


def factors(spread: Tensor, columns: Tensor, strength: float) -> Tensor:
    """s from the greatest magnitudes of the activation's and the weights' channels."""
    found = spread.clamp(min=TINY) ** strength / columns.clamp(min=TINY) ** (1 - strength)
    # A channel that is always zero, or that no weight reads, has nothing to move.
    return torch.where((spread > 0) & (columns > 0), found.clamp(min=TINY), 1.0)


def _smooth_one(
    model: nn.Module,
    batches: Sequence[Any],
    norm: nn.Module,
    linears: Sequence[nn.Module],
    strength: float,
    done: dict[str, Tensor],
    name: str,
) -> bool:
    weights = [linear.weight for linear in linears]
    columns = torch.stack([weight.detach().abs().amax(0) for weight in weights]).amax(0)
    scales = factors(_spread(model, batches, norm), columns, strength)
    before = _outputs(model, batches[0])
    _scale(norm, weights, scales)
    after = _outputs(model, batches[0])
    limit = TOLERANCE * float(before.abs().max())
    if bool(((after - before).abs() > limit).any()):
        _scale(norm, weights, 1 / scales)
        return False
    done[name] = scales
    return True


def _scale(norm: nn.Module, weights: Sequence[nn.Parameter], scales: Tensor) -> None:
    with torch.no_grad():
        norm.weight.div_(scales)
        if norm.bias is not None:
            norm.bias.div_(scales)
        for weight in weights:
            weight.mul_(scales)


def _spread(model: nn.Module, batches: Sequence[Any], norm: nn.Module) -> Tensor:
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(
        lambda _module, _inputs, made: seen.append(made.abs().flatten(0, -2).amax(0))
    )
    for batch in batches:
        _outputs(model, batch)
    handle.remove()
    return torch.stack(seen).amax(0)


def _outputs(model: nn.Module, batch: Any) -> Tensor:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        made = call(model, batch)
    model.train(was_training)
    made = made if isinstance(made, Tensor) else getattr(made, "logits", made)
    found: Tensor = made if isinstance(made, Tensor) else made[0]
    return found


def _keep(module: nn.Module, name: str, seen: dict[str, Tensor], *, is_output: bool) -> Any:
    if is_output:
        return module.register_forward_hook(lambda _m, _i, made: seen.__setitem__(name, made))
    return module.register_forward_pre_hook(lambda _m, inputs: seen.__setitem__(name, inputs[0]))
