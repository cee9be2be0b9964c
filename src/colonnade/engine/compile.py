"""compile(): import, specialise, optimise, plan, load."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from colonnade import _core, knobs
from colonnade.engine.constants import ConstantStore
from colonnade.engine.custom import CustomOp, CustomStep, infer_with
from colonnade.engine.engine import Engine, Shapes
from colonnade.engine.fallback import FallbackStep, fallback_names
from colonnade.engine.program import LoadedProgram, NativeStep, Step, native_parts
from colonnade.engine.reference import ReferenceStep
from colonnade.engine.saved import load_plan, save_plan
from colonnade.errors import InputError, ModelError, PlanError
from colonnade.ir import Graph, verify_graph
from colonnade.passes.pipeline import PASSES
from colonnade.passes.runner import Pass, run_passes
from colonnade.passes.specialise import specialise
from colonnade.planner.build import (
    CustomRegion,
    FallbackRegion,
    NativeRegion,
    Program,
    Region,
    build_program,
)
from colonnade.planner.explain import PassRecord
from colonnade.planner.select import Target

if TYPE_CHECKING:
    import onnx

try:
    _VERSION = version("colonnade")
except PackageNotFoundError:  # run from the source tree
    _VERSION = "0.1.0"

Fallback = Literal["allow", "forbid"]


def compile(  # the public name, as in torch.compile
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    threads: int | None = None,
    fallback: Fallback = "allow",
    runtime: Any = "native",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    rules: Sequence[Pass] = (),
    custom_ops: Sequence[CustomOp] = (),
) -> Engine:
    """Compile an ONNX model for this CPU.

    `threads`: of a new runtime; the physical cores granted to this process by default.
    `runtime`: a `Runtime` to share with other engines, instead of `threads`; or "reference" to run
    everything in numpy, slowly.
    `fallback`: "forbid" refuses a model with nodes that only ONNX Runtime could run.
    `shapes`: input shapes to plan for at once; otherwise a model with symbolic dimensions is
    planned at its first run.
    `rules`: rewrite rules of your own, run before ours (docs/guide/extending.md).
    `custom_ops`: operators of your own. Raises ModelError, CapabilityError.

    >>> engine = colonnade.compile("model.onnx", threads=2)  # doctest: +SKIP
    """
    from colonnade.onnx.importer import import_model  # onnx loads here, not at `import colonnade`

    graph = import_model(model, custom_domains=frozenset(op.domain for op in custom_ops))
    verify_graph(graph)
    is_reference = isinstance(runtime, str) and runtime == "reference"
    pool = _core.Runtime(threads or knobs.threads() or 0) if isinstance(runtime, str) else runtime
    loader = _Loader(graph, pool, fallback, tuple(rules), tuple(custom_ops), is_reference)
    engine = Engine(
        graph, loader.target, loader.load, lambda: loader.constants.nbytes, loader.save
    )
    if shapes is not None:
        engine.prepare(shapes)
    elif _is_static(graph):
        engine.prepare({name: _static_shape(graph, name) for name in graph.inputs})
    return engine


def load(
    path: str | os.PathLike[str], *, threads: int | None = None, runtime: Any = None
) -> Engine:
    """Load a plan that `Engine.save` or `colonnade compile` wrote; its weights are memory-mapped.

    The engine runs the saved input shapes only. Raises PlanError when the file is damaged or was
    made for another CPU or version.
    """
    runtime = runtime or _core.Runtime(threads or knobs.threads() or 0)
    target = make_target(runtime)
    graph, programs, constant_bytes = load_plan(
        path, plan_identity(target), runtime, target.threads
    )
    saved = [dict(program.shapes) for program in programs]

    def refuse(shapes: Shapes) -> LoadedProgram:
        raise InputError(f"input shapes {dict(shapes)} are not among those saved: {saved}")

    def refuse_save(_: object, __: object) -> None:
        raise PlanError("a loaded plan cannot be saved again; copy its file")

    return Engine(graph, target, refuse, lambda: constant_bytes, refuse_save, programs)


def plan_identity(target: Target) -> dict[str, str]:
    """What a saved plan and the machine that loads it must agree on."""
    return {"colonnade": _VERSION, "CPU": cpu_model(), "instruction set": target.isa}


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _is_static(graph: Graph) -> bool:
    shapes = [graph.shape(name) for name in graph.inputs]
    return all(s is not None and all(isinstance(d, int) for d in s) for s in shapes)


def _static_shape(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(int(dim) for dim in graph.shape(name) or ())  # type: ignore[arg-type]


class _Loader:
    """Makes the program for given input shapes; packed constants are shared between them."""

    def __init__(
        self,
        graph: Graph,
        runtime: Any,
        fallback: Fallback,
        rules: tuple[Pass, ...],
        custom_ops: tuple[CustomOp, ...],
        is_reference: bool,
    ) -> None:
        self.constants = ConstantStore()
        self.target = make_target(runtime)
        self._graph = graph
        self._runtime = runtime
        self._fallback = fallback
        self._rules = rules
        self._custom_ops = {(op.domain, op.name): op for op in custom_ops}
        self._is_reference = is_reference

    def load(self, shapes: Shapes) -> LoadedProgram:
        """Specialise, optimise, plan, load."""
        graph, passes = optimise(self._graph, shapes, self._rules, self._custom_ops)
        if self._is_reference:
            return LoadedProgram(Program(graph, (), ()), [ReferenceStep(graph)], passes, shapes)
        program = build_program(
            graph, self.target, self.constants.pack, frozenset(self._custom_ops)
        )
        if self._fallback == "forbid":
            refuse_fallback(program)
        steps = [self._load_region(program, region) for region in program.regions]
        return LoadedProgram(program, steps, passes, dict(shapes))

    def save(self, path: str | os.PathLike[str], programs: list[LoadedProgram]) -> None:
        """Write the programs to a `.colonnade` file."""
        save_plan(path, self._graph, programs, plan_identity(self.target), _fallback_model)

    def _load_region(self, program: Program, region: Region) -> Step:
        if isinstance(region, NativeRegion):
            return NativeStep(native_parts(region, program.graph), self._runtime)
        if isinstance(region, CustomRegion):
            key = (region.node.domain, region.node.op)
            return CustomStep(region.node, self._custom_ops[key], program.graph)
        model = export_region(program.graph, region)
        return FallbackStep(model, fallback_names(region), self.target.threads)


def _fallback_model(loaded: LoadedProgram, number: int) -> bytes:
    region = loaded.program.regions[number]
    assert isinstance(region, FallbackRegion)
    return export_region(loaded.program.graph, region)


def export_region(graph: Graph, region: FallbackRegion) -> bytes:
    """The region as an ONNX model of its own."""
    from colonnade.onnx.exporter import export_model

    return export_model(
        graph.with_changes(nodes=region.nodes, inputs=region.inputs, outputs=region.outputs)
    )


def make_target(runtime: Any) -> Target:
    """The machine to plan for: the runtime's caches and threads, the best allowed ISA."""
    isa = _core.best_isa(knobs.max_isa() or "")
    return Target(
        isa, _core.panel_lanes(isa), runtime.threads, runtime.l1d_bytes, runtime.l2_bytes
    )


def optimise(
    graph: Graph,
    shapes: Shapes,
    rules: Sequence[Pass] = (),
    custom_ops: Mapping[tuple[str, str], CustomOp] = MappingProxyType({}),
) -> tuple[Graph, list[PassRecord]]:
    """The graph for these input shapes, after every pass, and what each pass did."""
    from colonnade.onnx.infer import infer_node
    from colonnade.reference import evaluate

    special = specialise(graph, shapes, infer_with(custom_ops, infer_node), evaluate)
    report = run_passes(
        special,
        (*rules, *PASSES),
        disabled=knobs.disabled_passes(),
        dump_dir=knobs.dump_passes(),
    )
    records = [PassRecord(r.name, r.num_changes, r.ms) for r in report.records]
    return report.graph, records


def refuse_fallback(program: Program) -> None:
    """Raise ModelError when a node would run by fallback."""
    fallen = [record for record in program.records if record.runtime == "onnxruntime"]
    if fallen:
        first = fallen[0]
        more = f" (and {len(fallen) - 1} more nodes)" if len(fallen) > 1 else ""
        raise ModelError(
            f'fallback="forbid", and no native kernel takes it{more}: {first.why}',
            node=first.name,
            op=first.op,
        )


