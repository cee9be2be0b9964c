"""Put fake quantization into a model, and find which batch-norm follows which convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
            found |= {name: m for name, m in model.named_modules() if name and _is_plain(m)}
        else:
            found |= find_modules(model, (target,))
    for name in find_modules(model, ignore, "ignore") if ignore else ():
        found.pop(name, None)
    if not found:
        raise RecipeError("no Linear or Conv2d layer is left to quantize", parameter="targets")
    return found


def prepare(model: nn.Module, modules: Mapping[str, nn.Module]) -> list[str]:
    """Replace these Linear and Conv2d modules, in place; the names of those that were replaced."""
    norms = norms_behind(model)
    done = []
    for name, module in modules.items():
        if isinstance(module, FAKES):
            continue
        if type(module) is nn.Linear:
            _set(model, name, FakeLinear(module))
        elif type(module) is nn.Conv2d:
            _set(model, name, FakeConv2d(module, _passed(model, norms.get(name))))
        else:
            continue
        done.append(name)
    return done


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
    return type(module) in (nn.Linear, nn.Conv2d)


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
