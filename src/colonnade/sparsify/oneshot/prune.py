"""oneshot(): a trained torch model and calibration batches to a sparse one, in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.fitting import is_named, keep_fitting, why_not
from colonnade.sparsify.layers import Layer, find_layers, unwrap
from colonnade.sparsify.oneshot.batch_norm import measure_norms, reestimate_batch_norm
from colonnade.sparsify.oneshot.inputs import Forward, Watch, collect
from colonnade.sparsify.oneshot.solve_layer import LayerResult, Solver, solve_layer
from colonnade.sparsity import METHODS, Method, Pattern, parse_pattern
from colonnade.sparsity.allocation import LayerSize, allocate_erk
from colonnade.sparsity.masks import check_sparsity
from colonnade.sparsity.patterns import implied_sparsity
from colonnade.sparsity.solvers.damping import DAMPING

Forwards = Callable[[], Iterable[Forward]]
"""Starts the calibration data again each time that it is called."""


def oneshot(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: Method = "obc",
    allocation: str = "uniform",
    targets: Sequence[str] = ("prunable",),
    ignore: Sequence[str] = (),
    depthwise: bool = False,
    sequential: bool = False,
    correct: bool = True,
    batch_norm: bool = True,
    bits: int | None = None,
    damping: float = DAMPING,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> list[LayerResult]:
    """Prune a model's linear layers and convolutions in place, without training.

    `batches`: a list or a loader, run through several times; a dict is passed as keyword arguments,
    a list or tuple as positional ones, unless `forward` says otherwise.
    `allocation`: "uniform", or "erk". Options that are not named here are those of
    `colonnade.pruning.prune`. `batch_norm`: re-estimate running statistics afterwards. `bits`:
    round what stays to so many bits, in the same sweep (GPTQ where nothing is pruned).

    Raises RecipeError for targets that name nothing, InputError for a sparsity that is none.
    """
    inner = unwrap(model)
    if iter(batches) is batches:
        raise RecipeError(
            "batches: an iterator can be read once, and calibration takes several passes; give a "
            "list or a loader"
        )
    run = forward or call_model

    def forwards() -> Iterator[Forward]:
        for batch in batches:
            yield functools.partial(run, model, batch)

    shape = parse_pattern(pattern)
    if method not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(METHODS)}")
    wanted = find_sparsity(sparsity, shape)
    layers = choose_layers(inner, targets, ignore, shape, depthwise=depthwise)
    shares = _share_out(layers, allocation, wanted)
    dense = measure_norms(inner, forwards()) if batch_norm else {}
    solver = Solver(method, shape, damping, bits, correct)
    results = [r for r, _ in solve_layers(inner, layers, forwards, solver, shares, sequential)]
    if dense:
        reestimate_batch_norm(inner, forwards, dense)
    return results


def solve_layers(
    model: nn.Module,
    layers: Sequence[Layer],
    forwards: Forwards,
    solver: Solver,
    shares: Mapping[str, float],
    sequential: bool,
) -> Iterator[tuple[LayerResult, Tensor]]:
    """Results and masks in the order in which layers run; with `sequential`, each one is calibrated
    on what the pruned ones before it make."""
    by_name = {layer.name: layer for layer in layers}
    watch = collect(model, layers, forwards())
    for number, names in enumerate(_parts(watch)):
        part = [by_name[name] for name in names]
        seen = watch
        if sequential and number > 0:
            seen = collect(model, part, forwards())
        for layer in part:
            yield solve_layer(layer, seen.sums.pop(layer.name), solver, shares[layer.name])


def find_sparsity(sparsity: float | None, pattern: Pattern) -> float:
    """The sparsity of the pruned layers; N:M brings its own."""
    implied = implied_sparsity(pattern)
    if implied is None and sparsity is None:
        raise InputError(f"pattern {pattern} needs a sparsity, as 0.7")
    if implied is not None and sparsity not in (None, implied):
        raise InputError(f"sparsity={sparsity}: pattern {pattern} has {implied:g}; leave it out")
    found = implied if implied is not None else sparsity
    assert found is not None
    check_sparsity(found)
    return found


def choose_layers(
    model: nn.Module,
    targets: Sequence[str],
    ignore: Sequence[str],
    pattern: Pattern,
    *,
    depthwise: bool,
    note: Callable[[str], None] | None = None,
) -> list[Layer]:
    """Layers that can have the pattern, as `keep_fitting`. Depthwise ones stay dense unless they
    are asked for, by `depthwise` or by name.
    """

    def why(layer: Layer) -> str:
        if not depthwise and _is_depthwise(layer) and not is_named(layer, targets):
            return "depthwise: few weights"
        return why_not(layer, pattern)

    return keep_fitting(find_layers(model, targets, ignore), targets, why, note)


def _is_depthwise(layer: Layer) -> bool:
    groups = int(getattr(layer.module, "groups", 1))
    return groups > 1 and layer.weight.shape[1 - layer.rows_axis] == 1


def call_model(model: nn.Module, batch: Any) -> object:
    """The model on one batch."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, list | tuple):
        return model(*batch)
    return model(batch)


def _share_out(layers: Sequence[Layer], allocation: str, sparsity: float) -> dict[str, float]:
    if allocation == "uniform":
        return {layer.name: sparsity for layer in layers}
    if allocation != "erk":
        raise InputError(f"allocation={allocation!r}; it is one of uniform, erk")
    sizes = {}
    for layer in layers:
        rows, cols = layer.matrix().shape
        sizes[layer.name] = LayerSize(rows, cols // layer.taps, tuple(layer.weight.shape[2:]))
    return allocate_erk(sizes, sparsity)


def _parts(watch: Watch) -> list[list[str]]:
    """Layers that read the same, in the order of their first call."""
    parts: dict[int, list[str]] = {}
    for name, source in watch.sources.items():
        parts.setdefault(source, []).append(name)
    return list(parts.values())
