"""compile(): import, specialise, optimise, plan, load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from colonnade import _core, knobs
from colonnade.engine.constants import ConstantStore
from colonnade.engine.engine import Engine, Shapes
from colonnade.engine.fallback import FallbackStep, region_graph
from colonnade.engine.program import LoadedProgram, NativeStep, Step
from colonnade.errors import ModelError
from colonnade.ir import Graph, verify_graph
from colonnade.passes.pipeline import PASSES
from colonnade.passes.runner import run_passes
from colonnade.passes.specialise import specialise
from colonnade.planner.build import FallbackRegion, Program, build_program
from colonnade.planner.explain import PassRecord
from colonnade.planner.select import Target

if TYPE_CHECKING:
    import onnx

Fallback = Literal["allow", "forbid"]


def compile(  # the public name, as in torch.compile
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    threads: int | None = None,
    fallback: Fallback = "allow",
    runtime: Any = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Engine:
    """Compile an ONNX model for this CPU.

    `threads`: of a new runtime; the physical cores granted to this process by default.
    `runtime`: a `Runtime` to share with other engines, instead of `threads`.
    `fallback`: "forbid" refuses a model with nodes that only ONNX Runtime could run.
    `shapes`: input shapes to plan for at once; otherwise a model with symbolic dimensions is
    planned at its first run. Raises ModelError, CapabilityError.

    >>> engine = colonnade.compile("model.onnx", threads=2)  # doctest: +SKIP
    """
    from colonnade.onnx.importer import import_model  # onnx loads here, not at `import colonnade`

    graph = import_model(model)
    verify_graph(graph)
    loader = _Loader(graph, runtime or _core.Runtime(threads or knobs.threads() or 0), fallback)
    engine = Engine(graph, loader.target, loader.load, lambda: loader.constants.nbytes)
    if shapes is not None:
        engine.prepare(shapes)
    elif _is_static(graph):
        engine.prepare({name: _static_shape(graph, name) for name in graph.inputs})
    return engine


def _is_static(graph: Graph) -> bool:
    shapes = [graph.shape(name) for name in graph.inputs]
    return all(s is not None and all(isinstance(d, int) for d in s) for s in shapes)


def _static_shape(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(int(dim) for dim in graph.shape(name) or ())  # type: ignore[arg-type]


class _Loader:
    """Makes the program for given input shapes; packed constants are shared between them."""

    def __init__(self, graph: Graph, runtime: Any, fallback: Fallback) -> None:
        self.constants = ConstantStore()
        self.target = make_target(runtime)
        self._graph = graph
        self._runtime = runtime
        self._fallback = fallback

    def load(self, shapes: Shapes) -> LoadedProgram:
        """Specialise, optimise, plan, load."""
        graph, passes = optimise(self._graph, shapes)
        program = build_program(graph, self.target, self.constants.pack)
        if self._fallback == "forbid":
            refuse_fallback(program)
        steps = [self._load_region(program, region) for region in program.regions]
        return LoadedProgram(program, steps, passes, dict(shapes))

    def _load_region(self, program: Program, region: Any) -> Step:
        if not isinstance(region, FallbackRegion):
            return NativeStep(region, program.graph, self._runtime)
        from colonnade.onnx.exporter import export_model

        model = export_model(region_graph(program.graph, region))
        return FallbackStep(model, region, self.target.threads)


def make_target(runtime: Any) -> Target:
    """The machine to plan for: the runtime's caches and threads, the best allowed ISA."""
    isa = _core.best_isa(knobs.max_isa() or "")
    return Target(
        isa, _core.panel_lanes(isa), runtime.threads, runtime.l1d_bytes, runtime.l2_bytes
    )


def optimise(graph: Graph, shapes: Shapes) -> tuple[Graph, list[PassRecord]]:
    """The graph for these input shapes, after every pass, and what each pass did."""
    from colonnade.onnx.infer import infer_node
    from colonnade.reference import evaluate

    special = specialise(graph, shapes, infer_node, evaluate)
    report = run_passes(
        special, PASSES, disabled=knobs.disabled_passes(), dump_dir=knobs.dump_passes()
    )
    records = [PassRecord(r.name, r.num_changes, r.ms) for r in report.records]
    return report.graph, records


def refuse_fallback(program: Program) -> None:
    """Raise ModelError when a node would run by fallback."""
    fallen = [record for record in program.records if record.runtime != "native"]
    if fallen:
        first = fallen[0]
        more = f" (and {len(fallen) - 1} more nodes)" if len(fallen) > 1 else ""
        raise ModelError(
            f'fallback="forbid", and no native kernel takes it{more}: {first.why}',
            node=first.name,
            op=first.op,
        )


