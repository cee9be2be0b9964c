"""A model file into a `LoadedModel`: open, find the batch axis, plan, warm up, verify.

Everything here is slow and runs beside the event loop. A model that gets through has run every
batch size that it will be asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np

import colonnade
from colonnade.engine.engine import Shapes, TensorInfo
from colonnade.engine.runtime import Runtime
from colonnade.engine.scheduler import Scheduler
from colonnade.errors import CapabilityError, ColonnadeError, InputError, ModelError
from colonnade.serve.assembly import Key, Signature
from colonnade.serve.batcher import BatchPolicy
from colonnade.serve.config import ModelConfig
from colonnade.serve.plans import load_plan, plan_path, save_plan

AUTO_BATCH_MAX = 8
EXAMPLE_DIMS = (128, 64, 32, 16, 8, 4, 2, 1)
"""Sizes for a free dimension of which the configuration says nothing; the first one that the model
takes: positions of a text may end below 128."""
TIMED_RUNS = 3
PLAN_SUFFIX = ".colonnade"


class Runner(Protocol):
    """What serving needs of an engine."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs in order."""

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs in order."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""

    def prepare(self, shapes: Shapes) -> object:
        """Plan for these shapes."""

    def close(self) -> None:
        """Take no more runs."""


@dataclass(frozen=True)
class Example:
    """A shape of inputs to run before the first request: sizes of named dimensions, and of others."""

    sizes: Mapping[str, int]
    other: int


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer."""

    config: ModelConfig
    engine: colonnade.Engine
    signature: Signature
    policy: BatchPolicy
    run_s: Mapping[int, float]
    """How long a warm batch of each size took."""
    planned: frozenset[tuple[Key, int]]
    """Shapes and batch sizes that have run."""
    notes: tuple[str, ...]
    facts: Mapping[str, float]
    """Numbers of the plan, for metrics."""


def load_model(config: ModelConfig, path: Path, runtime: Runtime) -> LoadedModel:
    """Raises what `colonnade.compile` and `colonnade.load` raise."""
    engine = open_engine(config, path, runtime)
    notes: list[str] = []
    sizes = choose_batch_sizes(config, engine.inputs, engine.outputs, notes)
    examples = choose_examples(engine, config)
    if sizes and config.max_batch_size == "auto":
        sizes = _verify_independent(engine, examples[0], sizes, notes)
    signature = _signature(config, engine, is_batched=bool(sizes))
    policy = BatchPolicy(
        sizes=sizes or (1,),
        preferred=tuple(config.preferred_batch_sizes),
        delay_s=config.max_delay_ms / 1e3,
        queue_depth_max=config.queue_depth_max,
        queue_max_s=None if config.queue_max_ms is None else config.queue_max_ms / 1e3,
    )
    had_plan = config.save_plan and path.suffix != PLAN_SUFFIX and plan_path(path).is_file()
    run_s, planned = warm_up(engine, examples, signature, policy.sizes)
    if config.save_plan and path.suffix != PLAN_SUFFIX and not had_plan:
        save_plan(path, engine)
    facts = _plan_facts(engine)
    return LoadedModel(config, engine, signature, policy, run_s, planned, tuple(notes), facts)


def _plan_facts(engine: colonnade.Engine) -> dict[str, float]:
    plan = engine.explain()
    return {
        "constant_bytes": plan.constant_bytes,
        "arena_bytes": plan.arena_bytes,
        "nodes": len(plan.nodes),
        "threads": plan.threads,
    }


def open_engine(config: ModelConfig, path: Path, runtime: Runtime) -> colonnade.Engine:
    """Compile a model, or load a saved plan."""
    if config.instances > runtime.threads:
        raise InputError(
            f"instances: {config.instances} of model {config.name!r} on {runtime.threads} threads; "
            "each instance needs a thread"
        )
    scheduler: Scheduler = "single_stream" if config.instances == 1 else "multi_stream"
    streams = None if config.instances == 1 else config.instances

    def load(plan: Path) -> colonnade.Engine:
        return colonnade.load(plan, runtime=runtime, scheduler=scheduler, streams=streams)

    if path.suffix == PLAN_SUFFIX:
        return load(path)
    saved = load_plan(path, load) if config.save_plan else None
    return saved or colonnade.compile(
        path, runtime=runtime, scheduler=scheduler, streams=streams, fallback=config.fallback
    )


def choose_batch_sizes(
    config: ModelConfig,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    notes: list[str],
) -> tuple[int, ...]:
    """The batch sizes to plan for; empty when requests run alone."""
    if config.max_batch_size == 0 or config.states:
        return ()
    reason = _why_unbatched(inputs, outputs)
    if reason:
        if config.max_batch_size != "auto":
            raise ModelError(f"max_batch_size: {config.max_batch_size}, but {reason}")
        notes.append(f"requests run one by one: {reason}")
        return ()
    most = AUTO_BATCH_MAX if config.max_batch_size == "auto" else config.max_batch_size
    if config.batch_sizes:
        return tuple(sorted({*config.batch_sizes, *config.preferred_batch_sizes}))
    powers = {1 << power for power in range(most.bit_length()) if 1 << power <= most}
    return tuple(sorted(powers | {most} | set(config.preferred_batch_sizes)))


def _why_unbatched(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> str:
    symbols = set()
    for info in (*inputs, *outputs):
        if not info.shape:
            return f"{info.name!r} has no known axes"
        if isinstance(info.shape[0], int):
            return f"the first axis of {info.name!r} is {info.shape[0]}, not a free batch axis"
        symbols.add(info.shape[0])
    known = {info.shape[0] for info in inputs if info.shape}
    if len(known) != 1:
        return f"the first axes of the inputs are different dimensions: {sorted(map(str, known))}"
    return (
        ""
        if symbols == known or all(_is_unnamed(s) for s in symbols - known)
        else (f"the first axes of the outputs are {sorted(map(str, symbols - known))}")
    )


def _is_unnamed(symbol: object) -> bool:
    """A dimension that the exporter did not name says nothing against a batch."""
    return not isinstance(symbol, str) or symbol.startswith(("unk__", "?"))


def _signature(config: ModelConfig, engine: Runner, *, is_batched: bool) -> Signature:
    symbols = {dim for info in engine.inputs for dim in info.shape or () if isinstance(dim, str)}
    unknown = sorted(set(config.padding) - symbols)
    if unknown:
        raise InputError(
            f"padding of {unknown}: the model's symbolic dimensions are {sorted(symbols)}"
        )
    values = {name: v for pad in config.padding.values() for name, v in pad.values.items()}
    buckets = {name: tuple(sorted(pad.buckets)) for name, pad in config.padding.items()}
    states = config.states
    inputs = tuple(info for info in engine.inputs if info.name not in states)
    outputs = tuple(info for info in engine.outputs if info.name not in states.values())
    if len(engine.inputs) - len(inputs) != len(states):
        known = [info.name for info in engine.inputs]
        raise InputError(f"states {sorted(states)}: the model's inputs are {known}")
    return Signature(inputs, outputs, is_batched, buckets or None, values or None)


def choose_examples(engine: Runner, config: ModelConfig) -> list[Example]:
    """Every combination of sizes of the free dimensions that the model is to be ready for,
    smallest first. Raises what the engine says of the first size where it takes none."""
    symbols = _free_symbols(engine.inputs)
    told: dict[str, Sequence[int]] = {}
    for symbol in symbols:
        padding = config.padding.get(symbol)
        chosen = config.warm_up.get(symbol) or (padding.buckets if padding else None)
        if chosen:
            told[symbol] = sorted(chosen)
    if len(told) == len(symbols) and not _has_unnamed(engine.inputs):
        return _combine(symbols, told, EXAMPLE_DIMS[0])
    failure: ColonnadeError | None = None
    for other in EXAMPLE_DIMS:
        found = _combine(symbols, told, other)
        try:
            shapes = {info.name: _shape(info, found[0], 1) for info in engine.inputs}
            engine.prepare(shapes)
        except ColonnadeError as error:
            failure = failure or error
        else:
            return found
    assert failure is not None
    raise failure


def _combine(
    symbols: Sequence[str], told: Mapping[str, Sequence[int]], other: int
) -> list[Example]:
    choices = [told.get(symbol, (other,)) for symbol in symbols]
    return [Example(dict(zip(symbols, sizes, strict=True)), other) for sizes in product(*choices)]


def _verify_independent(
    engine: Runner, example: Example, sizes: tuple[int, ...], notes: list[str]
) -> tuple[int, ...]:
    """Run two different rows together and alone: where the answers differ, rows stay alone."""
    arrays = _make_arrays(engine.inputs, example, 2)
    together = engine.run(arrays)
    alone = engine.run({name: array[1:] for name, array in arrays.items()})
    for name, array in alone.items():
        if together[name].shape[0] != 2 or not _agree(together[name][1:], array):
            notes.append(f"requests run one by one: rows of output {name!r} depend on each other")
            return ()
    return sizes


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return True  # ranks and labels of random data may flip at the last bit
    scale = float(np.max(np.abs(other), initial=0.0)) or 1.0
    return bool(np.allclose(one, other, rtol=1e-2, atol=1e-2 * scale, equal_nan=True))


def warm_up(
    engine: Runner, examples: Sequence[Example], signature: Signature, sizes: Sequence[int]
) -> tuple[dict[int, float], frozenset[tuple[Key, int]]]:
    """Plan and run every batch size with every size of the symbolic dimensions. Returns the times
    of the largest, by batch size, and what has run."""
    took: dict[int, float] = {}
    planned = set()
    first = 1 if signature.is_batched else 0
    for example in examples:
        for size in sizes:
            arrays = _make_arrays(engine.inputs, example, size)
            made = engine.run(arrays)
            took[size] = min(_time_run(engine, arrays) for _ in range(TIMED_RUNS))
            _verify_outputs(signature, made, size)
            key = tuple([arrays[info.name].shape[first:] for info in signature.inputs])
            planned.add((key, size))
    return took, frozenset(planned)


def _time_run(engine: Runner, arrays: Mapping[str, np.ndarray]) -> float:
    start = time.perf_counter()
    engine.run(arrays)
    return time.perf_counter() - start


def _verify_outputs(signature: Signature, made: Mapping[str, np.ndarray], size: int) -> None:
    for name, array in made.items():
        if signature.is_batched and (array.ndim == 0 or array.shape[0] != size):
            raise ModelError(
                f"output {name!r} has shape {list(array.shape)} for a batch of {size}; set "
                "max_batch_size: 0"
            )


def _free_symbols(inputs: Sequence[TensorInfo]) -> list[str]:
    named = [dim for info in inputs for dim in (info.shape or ())[1:] if isinstance(dim, str)]
    return list(dict.fromkeys(named))


def _has_unnamed(inputs: Sequence[TensorInfo]) -> bool:
    return any(dim is None for info in inputs for dim in (info.shape or ())[1:])


def _make_arrays(
    inputs: Sequence[TensorInfo], example: Example, batch: int
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {info.name: _random(rng, info.dtype, _shape(info, example, batch)) for info in inputs}


def _shape(info: TensorInfo, example: Example, batch: int) -> tuple[int, ...]:
    if info.shape is None:
        raise CapabilityError(f"input {info.name!r} has no known rank; it cannot be served")
    return tuple(
        dim
        if isinstance(dim, int)
        else example.sizes.get(dim or "", batch if axis == 0 else example.other)
        for axis, dim in enumerate(info.shape)
    )


def _random(
    rng: np.random.Generator, dtype: np.dtype[np.generic], shape: Sequence[int]
) -> np.ndarray:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind == "O":
        return np.full(shape, "", object)
    return rng.integers(0, 2, shape).astype(dtype)
