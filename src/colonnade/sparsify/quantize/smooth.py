"""SmoothQuant: move the spread of activations into the weights behind a layer norm or RMS norm.

Channel j of the norm's output is divided by s_j and column j of the weights behind it multiplied:
s_j = max|x_j|^strength / max|w_j|^(1 - strength). The model computes the same; uint8 loses less.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from colonnade.errors import InputError, ModelError
from colonnade.sparsify.quantize.calibrate import call, check_batches, evaluating

TINY = 1e-5
TOLERANCE = 1e-3
NORMS = ("LayerNorm", "RMSNorm")
"""How the classes of norms end: model libraries have their own."""


def smooth(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    strength: float = 0.5,
    mappings: Sequence[tuple[str, Sequence[str]]] | None = None,
) -> dict[str, Tensor]:
    """Smooth in place; the factors s by the norm's name.

    `batches`: a list or a loader, read several times. `strength`: 0 leaves activations alone, 1
    gives their channels one range. A mapping is a norm and the linear layers that read it; they
    must be its only readers, and are found by running the first batch when `mappings` is None. A
    pair where that is not so (the output also goes into a sum) is refused if it is given, left
    alone if it was found; either way it is as it was, to the bit.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"strength={strength}; it lies between 0 and 1")
    check_batches(batches)
    first = next(iter(batches), None)
    if first is None:
        raise InputError("smoothing needs data, got no batch")
    pairs = find_readers(model, first) if mappings is None else list(mappings)
    modules = dict(model.named_modules())
    for pair in pairs:
        _check(modules, *pair)
    done: dict[str, Tensor] = {}
    for name, readers in pairs:
        norm = modules[name]
        # Once, even if several readers have it.
        weights = list(dict.fromkeys(modules[r].get_parameter("weight") for r in readers))
        scales = factors(_spread(model, batches, norm, name), _columns(weights), strength)
        if _try_scale(model, first, norm, weights, scales):
            done[name] = scales
        elif mappings is not None:
            raise ModelError(
                f"smoothing {name} changes what the model computes: something besides "
                f"{', '.join(readers)} reads it"
            )
    return done


def find_readers(model: nn.Module, batch: Any) -> list[tuple[str, list[str]]]:
    """Norms and the linear layers whose input is their very output."""
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if _is_norm(module):
                stack.callback(_keep(module, name, outputs, is_output=True).remove)
            elif _is_linear(module):
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


def _check(modules: Mapping[str, nn.Module], norm: str, readers: Sequence[str]) -> None:
    """Refuse a mapping that does not fit the model."""
    for name in (norm, *readers):
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=3, cutoff=0.5)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise ModelError(f"mappings: the model has no module {name!r}{hint}")
    if not _is_norm(modules[norm]):
        kind = type(modules[norm]).__name__
        raise ModelError(f"mappings: {norm} is a {kind}: expected a layer norm or an RMS norm")
    if not readers:
        raise ModelError(f"mappings: {norm} has no readers")
    for name in readers:
        if not _is_linear(modules[name]):
            kind = type(modules[name]).__name__
            raise ModelError(f"mappings: {name} is a {kind}: expected a linear layer")
        columns, channels = modules[name].weight.shape[1], modules[norm].weight.shape[-1]
        if columns != channels:
            raise ModelError(f"mappings: {name} reads {columns} features, {norm} makes {channels}")


def _is_norm(module: nn.Module) -> bool:
    is_named = any(cls.__name__.endswith(NORMS) for cls in type(module).__mro__)
    return is_named and module._parameters.get("weight") is not None


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and "weight" in module._parameters


def _columns(weights: Sequence[nn.Parameter]) -> Tensor:
    return torch.stack([weight.detach().abs().amax(0) for weight in weights]).amax(0)


def _try_scale(
    model: nn.Module,
    batch: Any,
    norm: nn.Module,
    weights: Sequence[nn.Parameter],
    scales: Tensor,
) -> bool:
    """Scale if the model computes the same; otherwise everything is as before."""
    divided = [p for p in (norm.weight, getattr(norm, "bias", None)) if p is not None]
    saved = [(parameter, parameter.detach().clone()) for parameter in (*divided, *weights)]
    before = _outputs(model, batch)
    with torch.no_grad():
        for parameter in divided:
            parameter.div_(scales)
        for weight in weights:
            weight.mul_(scales)
        if _is_same(before, _outputs(model, batch)):
            return True
        for parameter, value in saved:
            parameter.copy_(value)
    return False


def _is_same(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return all(
        bool(((new - old).abs() <= TOLERANCE * old.abs().max()).all())
        for old, new in zip(before, after, strict=True)
        if old.numel()
    )


def _spread(model: nn.Module, batches: Iterable[Any], norm: nn.Module, name: str) -> Tensor:
    """The greatest magnitude of each channel of a norm's output."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: Any, made: Tensor) -> None:
        del inputs
        if not bool(made.isfinite().all()):
            raise InputError(
                f"calibration batch {len(seen)}: the output of {name} is not finite; leave the "
                "batch out"
            )
        seen.append(made.abs().reshape(-1, made.shape[-1]).amax(0))

    handle = norm.register_forward_hook(keep)
    try:
        with evaluating(model):
            for batch in batches:
                call(model, batch)
    finally:
        handle.remove()
    if not seen:
        raise InputError(f"no calibration batch reaches {name}: leave it out of the mappings")
    return torch.stack(seen).amax(0)


def _outputs(model: nn.Module, batch: Any) -> list[Tensor]:
    """What the model returns: its logits where it names them, else all tensors."""
    with evaluating(model):
        made = call(model, batch)
    found = [t for t in _tensors(getattr(made, "logits", made)) if t.is_floating_point()]
    if not found:
        raise ModelError("the model returns no tensor by which to see that it computes the same")
    return found


def _tensors(made: Any) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Mapping):
        for value in made.values():
            yield from _tensors(value)
    elif isinstance(made, list | tuple):
        for value in made:
            yield from _tensors(value)


def _keep(module: nn.Module, name: str, seen: dict[str, Tensor], *, is_output: bool) -> Any:
    if is_output:
        return module.register_forward_hook(lambda _m, _i, made: seen.__setitem__(name, made))
    return module.register_forward_pre_hook(
        lambda _m, inputs: seen.__setitem__(name, inputs[0]) if inputs else None
    )
