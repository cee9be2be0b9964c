"""Put fake quantization into a model, and find which batch-norm follows which convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import fx, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.modules import find_modules
from colonnade.sparsify.quantize.layers import (
    FAKES,
    FakeConv2d,
    FakeLinear,
    PassedNorm,
    replace,
)

QUANTIZABLE = "quantizable"
"""The target that stands for all Linear and Conv2d modules."""


def find_quantizable(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = ()
) -> dict[str, nn.Module]:
    """The modules that `targets` name, without those that `ignore` names.

    With those that stay in float for what they are; at least one does not.
    """
    found: dict[str, nn.Module] = {}
    for target in targets:
        if target == QUANTIZABLE:
            found |= {name: m for name, m in model.named_modules() if name and _is_product(m)}
        else:
            found |= find_modules(model, (target,))
    for name in find_modules(model, ignore, "ignore") if ignore else ():
        found.pop(name, None)
    if not any(_is_plain(module) for module in found.values()):
        raise RecipeError("no Linear or Conv2d layer is left to quantize", parameter="targets")
    return found


def prepare(
    model: nn.Module, modules: Mapping[str, nn.Module], note: Callable[[str], None]
) -> list[str]:
    """Replace these Linear and Conv2d modules, in place; the names of those that were replaced.

    `note` is told what is not done. A weight that a layer in float has as well stays as it is, and
    nothing is folded into a weight that two convolutions have: either would change the other one.
    """
    chosen = {name: m for name, m in modules.items() if _is_plain(m)}
    others = {
        name: f"{name} ({_kind(m)})" for name, m in modules.items() if not isinstance(m, FAKES)
    }
    _note(
        note,
        "not quantized, for they are no plain Linear or Conv2d: ",
        [text for name, text in others.items() if name not in chosen],
    )
    owners = _owners(model)
    tied = _tied_to_float(chosen, owners)
    _note(
        note,
        "not quantized, for their weights are those of layers in float too: ",
        [f"{name} (weight of {', '.join(names)})" for name, names in tied.items()],
    )
    done = {name: module for name, module in chosen.items() if name not in tied}
    norms = norms_behind(model)
    shared = [name for name, module in done.items() if name in norms and _is_shared(module, owners)]
    _note(note, "batch-norms are not folded into convolutions that share parameters: ", shared)
    for name, module in done.items():
        norm = None if name in shared else norms.get(name)
        replace(model, module, _fake(model, module, norm))
    return list(done)


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
    """Whether its class is one that can be replaced, and its weight its own."""
    return type(module) in (nn.Linear, nn.Conv2d) and set(module._parameters) == {"weight", "bias"}


def _is_product(module: nn.Module) -> bool:
    """Whether it multiplies with weights, whatever becomes of it."""
    if isinstance(module, FAKES):
        return False
    products = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)
    return isinstance(module, products) or type(module).__name__ == "Conv1D"


def _kind(module: nn.Module) -> str:
    is_computed = type(module) in (nn.Linear, nn.Conv2d)
    return f"{type(module).__name__}{' with a computed weight' if is_computed else ''}"


def _note(note: Callable[[str], None], text: str, names: Sequence[str]) -> None:
    if names:
        note(text + ", ".join(names))


def _owners(model: nn.Module) -> dict[nn.Parameter, dict[str, nn.Module]]:
    """For every parameter the modules that have it, by their names."""
    owners: dict[nn.Parameter, dict[str, nn.Module]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, {})[name] = module
    return owners


def _tied_to_float(
    chosen: Mapping[str, nn.Module], owners: Mapping[nn.Parameter, Mapping[str, nn.Module]]
) -> dict[str, list[str]]:
    """Layers whose weight is also that of modules which are not quantized: the names of these."""
    quantized = {*chosen.values()}
    found = {
        name: [
            other
            for other, owner in owners[module.get_parameter("weight")].items()
            if owner not in quantized and not isinstance(owner, FAKES)
        ]
        for name, module in chosen.items()
    }
    return {name: others for name, others in found.items() if others}


def _is_shared(module: nn.Module, owners: Mapping[nn.Parameter, Mapping[str, nn.Module]]) -> bool:
    return any(len(owners[parameter]) > 1 for parameter in module.parameters())


def _fake(model: nn.Module, module: nn.Module, norm: str | None) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return FakeConv2d(module, _passed(model, norm))
    assert isinstance(module, nn.Linear)
    return FakeLinear(module)


def _passed(model: nn.Module, name: str | None) -> PassedNorm | None:
    if name is None:
        return None
    plain = model.get_submodule(name)
    assert isinstance(plain, nn.BatchNorm2d)
    if not plain.track_running_stats:
        return None
    passed = PassedNorm(plain)
    replace(model, plain, passed)
    return passed
