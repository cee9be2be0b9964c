"""oneshot(): a trained torch model and calibration batches to a sparse one, in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from colonnade.errors import InputError, RecipeError
from colonnade.sparsify.fitting import is_named, keep_fitting, why_not
from colonnade.sparsify.layers import Layer, find_layers, unwrap
from colonnade.sparsify.oneshot.batch_norm import measure_norms, reestimate_batch_norm
from colonnade.sparsify.oneshot.checks import why_not_allocated
from colonnade.sparsify.oneshot.inputs import Forward, Watch, collect, num_parts
from colonnade.sparsify.oneshot.solve_layer import (
    LayerResult,
    Solver,
    dense_matrices,
    solve_layer,
)
from colonnade.sparsity import METHODS, Block, Method, Pattern, parse_pattern
from colonnade.sparsity.allocation import Allocation, LayerSize
from colonnade.sparsity.masks import check_sparsity
from colonnade.sparsity.patterns import implied_sparsity
from colonnade.sparsity.share_out import NEEDS_STATISTICS, Weighed, share_out
from colonnade.sparsity.solvers.damping import DAMPING
from colonnade.sparsity.solvers.solve import NEEDS

Forwards = Callable[[], Iterable[Forward]]
"""Starts the calibration data again each time that it is called."""
UNSEEN = "no product with its weights that can be calibrated was seen in the forward passes"


def oneshot(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: Method = "obc",
    allocation: Allocation = "uniform",
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
    Options that are not named here are those of `colonnade.pruning.prune`. `batch_norm`:
    re-estimate running statistics afterwards. `bits`: round what stays to so many bits, in the same
    sweep (GPTQ where nothing is pruned). A layer whose products are not seen stays dense, and its
    result says so, unless it is named itself.

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
            yield functools.partial(run, inner, batch)

    shape = parse_pattern(pattern)
    if method not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(METHODS)}")
    wanted = find_sparsity(sparsity, shape)
    if why := why_not_allocated(allocation, shape, wanted):
        raise InputError(f"allocation={allocation!r}: {why}")
    layers = choose_layers(inner, targets, ignore, shape, depthwise=depthwise)
    solver = Solver(method, shape, damping, bits, correct)
    plan = Plan(solver, wanted, allocation, sequential, batch_norm)
    return [result for result, _ in prune_layers(inner, layers, forwards, plan, targets)]


@dataclass(frozen=True)
class Plan:
    """How a model is pruned."""

    solver: Solver
    sparsity: float
    allocation: Allocation = "uniform"
    sequential: bool = False
    batch_norm: bool = True

    @property
    def is_calibrated(self) -> bool:
        """Whether it cannot be done without what layers read."""
        return NEEDS[self.solver.method] != "nothing" or self.allocation in NEEDS_STATISTICS


def prune_layers(
    model: nn.Module,
    layers: Sequence[Layer],
    forwards: Forwards | None,
    plan: Plan,
    targets: Sequence[str],
) -> list[tuple[LayerResult, Tensor | None]]:
    """Results and masks in the order in which layers run; those that were left dense come last and
    have no mask.

    With `plan.sequential`, each layer is calibrated on what the pruned ones before it make.
    `forwards` may be None where nothing is calibrated.
    """
    dense, watch = {}, Watch(())
    if forwards is not None:
        dense = measure_norms(model, forwards()) if plan.batch_norm else {}
        watch = collect(model, layers, forwards())
    left = _left_dense(layers, watch, targets) if plan.is_calibrated else []
    names = {result.name for result in left}
    ready = [layer for layer in layers if layer.name not in names]
    shares = _share_out(ready, watch, plan)
    made: list[tuple[LayerResult, Tensor | None]] = []
    for number, part in enumerate(_parts(ready, watch)):
        seen = watch
        if number > 0 and plan.sequential and forwards is not None:
            seen = collect(model, part, forwards())
        for layer in part:
            sums = seen.sums.pop(layer.name, None)
            made.append(solve_layer(layer, sums, plan.solver, shares[layer.name]))
    if dense and forwards is not None:
        reestimate_batch_norm(model, forwards, dense)
    return made + [(result, None) for result in left]


def _left_dense(layers: Sequence[Layer], watch: Watch, targets: Sequence[str]) -> list[LayerResult]:
    """The layers that cannot be calibrated; an error where one is named, or where these are all."""
    seen = keep_fitting(layers, targets, lambda layer: "" if layer.name in watch.sums else UNSEEN)
    names = {layer.name for layer in seen}
    return [
        LayerResult(layer.name, float((layer.weight == 0).double().mean()), None, UNSEEN)
        for layer in layers
        if layer.name not in names
    ]


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
        rows, parts = layer.matrix().shape[0], num_parts(layer)
        if isinstance(pattern, Block) and parts > 1 and rows // parts % pattern.rows:
            return f"{pattern} would straddle its {parts} parts of {rows // parts} outputs"
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


def _share_out(layers: Sequence[Layer], watch: Watch, plan: Plan) -> dict[str, float]:
    if plan.allocation == "uniform" or plan.sparsity == 0:
        return dict.fromkeys((layer.name for layer in layers), plan.sparsity)
    weighed = {}
    for layer in layers:
        matrices, found = dense_matrices(layer), watch.sums.get(layer.name)
        kernel = tuple(layer.weight.shape[2:])
        size = LayerSize(layer.matrix().shape[0], matrices.shape[2] // layer.taps, kernel)
        products = None if found is None else found.products.numpy()
        weighed[layer.name] = Weighed(size, matrices, products, layer.taps)
    return share_out(plan.allocation, plan.sparsity, plan.solver.pattern, weighed)


def _parts(layers: Sequence[Layer], watch: Watch) -> list[list[Layer]]:
    """Layers that read the same, in the order of their first call; at last those not seen."""
    order = {name: at for at, name in enumerate(watch.sources)}
    parts: dict[int | None, list[Layer]] = {}
    for layer in sorted(layers, key=lambda layer: order.get(layer.name, len(order))):
        parts.setdefault(watch.sources.get(layer.name), []).append(layer)
    return list(parts.values())
