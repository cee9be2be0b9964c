"""Loader: specialise, optimise, plan and load a graph for given input shapes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from colonnade import _core, knobs
from colonnade.engine.constants import ConstantStore
from colonnade.engine.custom import CustomOp, CustomStep, infer_with
from colonnade.engine.engine import Shapes
from colonnade.engine.fallback import FallbackStep, fallback_names
from colonnade.engine.program import LoadedProgram, NativeStep, Step, native_parts
from colonnade.engine.reference import ReferenceStep
from colonnade.engine.runtime import Runtime
from colonnade.engine.saved import save_plan
from colonnade.engine.scheduler import Streams
from colonnade.engine.source import GraphSource
from colonnade.engine.tuner import TuneMode, Tuner, find_cache_path
from colonnade.errors import ModelError
from colonnade.ir import Graph
from colonnade.passes.fold_tables import fold_tables
from colonnade.passes.pipeline import PASSES
from colonnade.passes.runner import Pass, run_passes
from colonnade.passes.specialise import specialise
from colonnade.passes.widen_products import keep_8_bits, make_widen_products
from colonnade.planner.build import (
    CustomRegion,
    FallbackRegion,
    NativeRegion,
    Program,
    Region,
    build_program,
)
from colonnade.planner.explain import PassRecord
from colonnade.planner.float32 import tell_float32
from colonnade.planner.precision import prefer_float32
from colonnade.planner.select import Target

try:
    _VERSION = version("colonnade")
except PackageNotFoundError:  # run from the source tree
    _VERSION = "0.1.0"

Fallback = Literal["allow", "forbid"]


class Loader:
    """Makes the program for given input shapes; packed constants are shared between them."""

    def __init__(
        self,
        source: GraphSource,
        runtime: Runtime,
        streams: Streams,
        fallback: Fallback,
        rules: tuple[Pass, ...],
        custom_ops: tuple[CustomOp, ...],
        is_reference: bool,
        tune: TuneMode,
        strict_nan: bool,
    ) -> None:
        self.constants = ConstantStore()
        self.target = replace(make_target(runtime, streams), strict_nan=strict_nan)
        self._tuner = self._make_tuner(runtime, streams, tune) if tune != "off" else None
        self._source = source
        self._runtime = runtime
        self._streams = streams
        self._fallback = fallback
        self._rules = rules
        self._custom_ops = {(op.domain, op.name): op for op in custom_ops}
        self._is_reference = is_reference

    def load(self, shapes: Shapes) -> LoadedProgram:
        """Specialise, optimise, plan, load."""
        target = replace(self.target, tuner=self._tuner)
        graph, passes = optimise(
            self._source.graph(), shapes, self._rules, self._custom_ops,
            None if self._is_reference else target,
        )  # fmt: skip
        if self._is_reference:
            return LoadedProgram(Program(graph, (), ()), [ReferenceStep(graph)], passes, shapes)
        program = build_program(graph, target, self.constants.pack, frozenset(self._custom_ops))
        program = tell_float32(program, {k: v for p in passes for k, v in p.reasons.items()})
        if self._tuner is not None:
            self._tuner.save()
        if self._fallback == "forbid":
            refuse_fallback(program)
        steps = [self._load_region(program, region) for region in program.regions]
        if not any(isinstance(region, FallbackRegion) for region in program.regions):
            program = without_weights(program)
        self._source.release()
        _core.trim_memory()
        return LoadedProgram(program, steps, passes, dict(shapes))

    def save(self, path: str | os.PathLike[str], programs: list[LoadedProgram]) -> None:
        """Write the programs to a `.colonnade` file."""
        save_plan(
            path, self._source.signature, programs, plan_identity(self.target), _fallback_model
        )

    def _make_tuner(self, runtime: Runtime, streams: Streams, mode: TuneMode) -> Tuner:
        target = self.target
        path = find_cache_path(knobs.cache_dir(), cpu_model(), target.isa)
        return Tuner(runtime, streams, target.isa, mode, path, self.constants.peek)

    def _load_region(self, program: Program, region: Region) -> Step:
        if isinstance(region, NativeRegion):
            return NativeStep(native_parts(region, program.graph), self._runtime)
        if isinstance(region, CustomRegion):
            key = (region.node.domain, region.node.op)
            return CustomStep(region.node, self._custom_ops[key], program.graph)
        model = export_region(program.graph, region)
        return FallbackStep(model, fallback_names(region), self._streams.thread_counts)


def without_weights(program: Program) -> Program:
    """The program without the constants that its plans hold in packed form."""
    graph = program.graph
    kept = {name: graph.constants[name] for name in graph.outputs if name in graph.constants}
    regions = tuple(
        replace(region, plan=replace(region.plan, constants=()))
        if isinstance(region, NativeRegion)
        else region
        for region in program.regions
    )
    return replace(program, graph=graph.with_changes(constants=kept), regions=regions)


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


def make_target(runtime: Runtime, streams: Streams) -> Target:
    """The machine to plan for: the runtime's caches, a stream's threads, the best allowed ISA."""
    isa = _core.best_isa(knobs.max_isa() or "")
    return Target(
        isa, _core.panel_lanes(isa), streams.threads, runtime.l1d_bytes, runtime.l2_bytes,
        runtime.l3_bytes, stripes=knobs.stripes() == "auto",
    )  # fmt: skip


def optimise(
    graph: Graph,
    shapes: Shapes,
    rules: Sequence[Pass] = (),
    custom_ops: Mapping[tuple[str, str], CustomOp] = MappingProxyType({}),
    target: Target | None = None,
) -> tuple[Graph, list[PassRecord]]:
    """The graph for these input shapes, after every pass, and what each pass did.

    `target`: the machine that knows which 8-bit products are faster in float32.
    """
    from colonnade.onnx.contrib_types import infer_any_node
    from colonnade.onnx.expand import expand_node
    from colonnade.reference import evaluate

    infer = infer_with(custom_ops, infer_any_node)
    special = specialise(graph, shapes, infer, evaluate, expand_node)
    prefers_float32 = keep_8_bits if target is None else partial(prefer_float32, target=target)
    report = run_passes(
        special,
        (*rules, *PASSES, make_widen_products(prefers_float32)),
        disabled=knobs.disabled_passes(),
        dump_dir=knobs.dump_passes(),
    )
    records = [PassRecord(r.name, r.num_changes, r.ms, r.reasons) for r in report.records]
    return fold_tables(report.graph, evaluate), records


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
