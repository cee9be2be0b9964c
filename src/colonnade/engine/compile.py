"""compile() and load(): the ways to an Engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from colonnade.engine.custom import CustomOp
from colonnade.engine.dispatch import QUEUE_DEPTH_MAX, RequestQueue
from colonnade.engine.engine import Engine, Shapes
from colonnade.engine.loader import Fallback, Loader, make_target, plan_identity
from colonnade.engine.program import LoadedProgram
from colonnade.engine.runtime import Runtime
from colonnade.engine.saved import load_plan
from colonnade.engine.scheduler import Scheduler, cut_streams
from colonnade.engine.source import GraphSource
from colonnade.engine.tuner import TuneMode
from colonnade.errors import InputError, PlanError
from colonnade.ir import Graph
from colonnade.passes.runner import Pass

if TYPE_CHECKING:
    import onnx


def compile(  # the public name, as in torch.compile
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    threads: int | None = None,
    scheduler: Scheduler = "single_stream",
    streams: int | None = None,
    queue_depth_max: int = QUEUE_DEPTH_MAX,
    fallback: Fallback = "allow",
    runtime: Any = "native",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    rules: Sequence[Pass] = (),
    custom_ops: Sequence[CustomOp] = (),
    keep_weights: bool = False,
    tune: TuneMode = "fast",
    strict_nan: bool = False,
) -> Engine:
    """Compile an ONNX model for this CPU.

    `threads`: of a new runtime; the physical cores granted to this process by default.
    `scheduler`: "single_stream" gives all threads to one request after another, "multi_stream" one
    of `streams` groups of threads to each (a thread to each by default), "elastic" those of a cache
    domain, or an even share of them when requests queue up (docs/guide/scheduling.md).
    `queue_depth_max`: requests of `Engine.submit` that may wait.
    `runtime`: a `Runtime` to share with other engines, instead of `threads`; or "reference" to run
    everything in numpy, slowly.
    `fallback`: "forbid" refuses a model with nodes that only ONNX Runtime could run.
    `shapes`: input shapes to plan for at once; otherwise a model with symbolic dimensions is
    planned at its first run.
    `rules`: rewrite rules of your own, run before ours (docs/guide/extending.md).
    `custom_ops`: operators of your own.
    `keep_weights`: keep the unpacked weights of a model file in memory. Without, they are read
    again when a new set of input shapes is planned.
    `tune`: "fast" measures dense and sparse kernels of each kind of layer with zeros, and 8-bit
    layers against float32 where it may be faster, for 20 ms and remembers it on disk; "full" takes
    200 ms; "off" trusts the cost model.
    `strict_nan`: run layers with zero weights dense, so that 0 * NaN and 0 * inf are NaN as in IEEE
    arithmetic; otherwise a weight that is zero does not multiply in a sparse kernel. Raises
    ModelError, InputError, CapabilityError.

    >>> engine = colonnade.compile("model.onnx", threads=2)  # doctest: +SKIP
    """
    _check_word("fallback", fallback, get_args(Fallback))
    _check_word("tune", tune, get_args(TuneMode))
    if isinstance(runtime, str):
        _check_word("runtime", runtime, ("native", "reference"))
    from colonnade.onnx.importer import import_model  # onnx loads here, not at `import colonnade`

    domains = frozenset(op.domain for op in custom_ops)
    source = GraphSource(
        lambda: import_model(model, custom_domains=domains), model, keep_weights=keep_weights
    )
    graph = source.signature
    is_reference = isinstance(runtime, str) and runtime == "reference"
    pool: Runtime = Runtime(threads or 0) if isinstance(runtime, str) else runtime
    cut = cut_streams(scheduler, streams, pool.threads_by_domain)
    loader = Loader(
        source, pool, cut, fallback, tuple(rules), tuple(custom_ops), is_reference, tune,
        strict_nan,
    )  # fmt: skip
    engine = Engine(
        graph, loader.target, loader.load, lambda: loader.constants.nbytes, loader.save,
        RequestQueue(pool.dispatcher, cut, queue_depth_max),
    )  # fmt: skip
    if shapes is not None:
        engine.prepare(shapes)
    elif _is_static(graph):
        engine.prepare({name: _static_shape(graph, name) for name in graph.inputs})
    return engine


def _check_word(name: str, given: object, known: Sequence[str]) -> None:
    if given not in known:
        raise InputError(f"{name}={given!r}; it is one of {', '.join(map(repr, known))}")


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    scheduler: Scheduler = "single_stream",
    streams: int | None = None,
    queue_depth_max: int = QUEUE_DEPTH_MAX,
    runtime: Runtime | None = None,
) -> Engine:
    """Load a plan that `Engine.save` or `colonnade compile` wrote; its weights are memory-mapped.

    The engine runs the saved input shapes only, on any number of threads; `scheduler`, `streams` and
    `queue_depth_max` as in `compile`. Raises PlanError when the file is damaged or was made for
    another CPU or version.
    """
    runtime = runtime or Runtime(threads or 0)
    cut = cut_streams(scheduler, streams, runtime.threads_by_domain)
    target = make_target(runtime, cut)
    graph, programs, constant_bytes = load_plan(
        path, plan_identity(target), runtime, cut.thread_counts
    )
    saved = [dict(program.shapes) for program in programs]

    def refuse(shapes: Shapes) -> LoadedProgram:
        raise InputError(f"input shapes {dict(shapes)} are not among those saved: {saved}")

    def refuse_save(_: object, __: object) -> None:
        raise PlanError("a loaded plan cannot be saved again; copy its file")

    queue = RequestQueue(runtime.dispatcher, cut, queue_depth_max)
    return Engine(graph, target, refuse, lambda: constant_bytes, refuse_save, queue, programs)


def _is_static(graph: Graph) -> bool:
    shapes = [graph.shape(name) for name in graph.inputs]
    return all(s is not None and all(isinstance(d, int) for d in s) for s in shapes)


def _static_shape(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(int(dim) for dim in graph.shape(name) or ())  # type: ignore[arg-type]
