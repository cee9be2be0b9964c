"""Put fake quantization into a model, and find which batch-norm follows which convolution."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.modules import find_modules
from colonnade.sparsify.quantize.layers import FAKES, FakeConv2d, FakeLinear, PassedNorm

QUANTIZABLE = "quantizable"
"""The target that stands for all Linear and Conv2d modules."""


def find_quantizable(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = ()
) -> dict[str, nn.Module]:
    """The modules that `targets` name, without those that `ignore` names."""
    found: dict[str, nn.Module] = {}
    for target in targets:
        if target == QUANTIZABLE:
            found |= {name: m for name, m in model.named_modules() if name and _is_layer(m)}
        else:
            found |= find_modules(model, (target,))
    for name in find_modules(model, ignore, "ignore") if ignore else ():
        found.pop(name, None)
    if not any(_is_plain(module) for module in found.values()):
        raise RecipeError("no Linear or Conv2d layer is left to quantize", parameter="targets")
    return found


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did."""

    done: tuple[str, ...]
    left: Mapping[str, str]
    """Layers that stay in float, and why."""
    not_folded: tuple[str, ...]
    """Convolutions that share their weight: a batch-norm behind one of them stays."""

    def notes(self) -> list[str]:
        """What the user should know."""
        notes = []
        if self.left:
            named = ", ".join(f"{name} ({why})" for name, why in sorted(self.left.items()))
            notes.append(f"not quantized, for they are no plain Linear or Conv2d: {named}")
        if self.not_folded:
            named = ", ".join(self.not_folded)
            notes.append(f"batch-norms not folded, for the weights before them are shared: {named}")
        return notes


def prepare(model: nn.Module, modules: Mapping[str, nn.Module]) -> Prepared:
    """Replace these Linear and Conv2d modules in place, under every name that they have."""
    norms = norms_behind(model)
    holders = _holders(model)
    chosen = {id(module) for module in modules.values()}
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    done, left, not_folded = [], {}, []
    for name, module in modules.items():
        if isinstance(module, FAKES):
            continue
        why = _why_not(module, holders, chosen)
        if why:
            left[name] = why
            continue
        fake: nn.Module
        if isinstance(module, nn.Linear):
            fake = FakeLinear(module)
        else:
            assert isinstance(module, nn.Conv2d)
            norm = norms.get(name)
            if norm is not None and len(holders[id(module.weight)]) > 1:
                not_folded.append(name)
                norm = None
            fake = FakeConv2d(module, _passed(model, norm))
        for each in names[id(module)]:
            _set(model, each, fake)
        done.append(name)
    return Prepared(tuple(done), left, tuple(not_folded))


def _holders(model: nn.Module) -> dict[int, list[tuple[str, nn.Module]]]:
    """By parameter, the modules that have it."""
    found: dict[int, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            found.setdefault(id(parameter), []).append((name, module))
    return found


def _why_not(
    module: nn.Module, holders: Mapping[int, list[tuple[str, nn.Module]]], chosen: Container[int]
) -> str:
    """Why a module stays in float; nothing if it does not."""
    if type(module) not in (nn.Linear, nn.Conv2d):
        return type(module).__name__
    weight = module._parameters.get("weight")
    if weight is None:
        return f"{type(module).__name__} with a computed weight"
    others = [name for name, holder in holders[id(weight)] if id(holder) not in chosen]
    return f"weight of {', '.join(others)}" if others else ""


def norms_behind(model: nn.Module) -> dict[str, str]:
    """For convolutions whose one reader is a batch-norm: the names of both.

    Empty when the model's control flow depends on data: nothing is folded then.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # noqa: BLE001 - tracing runs the user's code, which may raise anything
        return {}
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [str(node.target) for node in calls]
    found = {}
    for node in calls:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        conv, norm = str(source.target), str(node.target)
        pair = (type(model.get_submodule(conv)), type(model.get_submodule(norm)))
        once = len(source.users) == 1 and targets.count(conv) == targets.count(norm) == 1
        if pair == (nn.Conv2d, nn.BatchNorm2d) and once:
            found[conv] = norm
    return found


def _is_plain(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, nn.Conv2d) or isinstance(module, FAKES)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def _passed(model: nn.Module, name: str | None) -> PassedNorm | None:
    if name is None:
        return None
    plain = model.get_submodule(name)
    assert isinstance(plain, nn.BatchNorm2d)
    if not plain.track_running_stats:
        return None
    passed = PassedNorm(plain)
    _set(model, name, passed)
    return passed


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
