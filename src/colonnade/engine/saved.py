"""Saved plans: `.colonnade` files, memory-mapped, versioned, checksummed, without pickle.

Layout: 8 bytes of magic, the header's length and CRC-32 (two little-endian 64-bit words), the
header (JSON), then sections, each aligned to 64 bytes. The header lists every section with offset, size,
element type, shape and CRC-32. A file is for one colonnade version, CPU model and instruction set.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from colonnade.engine.fallback import FallbackNames, FallbackStep
from colonnade.engine.program import LoadedProgram, NativeParts, NativeStep, Step
from colonnade.errors import PlanError
from colonnade.ir import DType, Graph, TensorType
from colonnade.planner.build import Program
from colonnade.planner.choice import WeightFacts
from colonnade.planner.explain import PassRecord
from colonnade.planner.select import NodeRecord, StripeRecord

MAGIC = b"COLONNAD"
FORMAT = 2
ALIGNMENT = 64
HEADER_BYTES_MAX = 1 << 30
_PREFIX = struct.Struct("<8sQQ")


class _Sections:
    """Arrays to be written; the same array is written once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}

    def add(self, array: np.ndarray) -> int:
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self._numbers[id(array)]


def save_plan(
    path: str | os.PathLike[str],
    graph: Graph,
    programs: Sequence[LoadedProgram],
    identity: Mapping[str, str],
    fallback_model: Callable[[LoadedProgram, int], bytes],
) -> None:
    """Write programs to a file, atomically. `identity` is what a loading machine must match."""
    sections = _Sections()
    header: dict[str, Any] = {
        "format": FORMAT,
        "identity": dict(identity),
        "model": graph.name,
        "inputs": [_value_to_json(graph, name) for name in graph.inputs],
        "outputs": [_value_to_json(graph, name) for name in graph.outputs],
        "programs": [_program_to_json(p, sections, fallback_model) for p in programs],
    }
    _write(Path(path), header, sections.arrays)


def _value_to_json(graph: Graph, name: str) -> dict[str, Any]:
    shape = graph.shape(name)
    return {
        "name": name,
        "dtype": graph.dtype(name).value,
        "shape": None if shape is None else list(shape),
    }


def _program_to_json(
    loaded: LoadedProgram,
    sections: _Sections,
    fallback_model: Callable[[LoadedProgram, int], bytes],
) -> dict[str, Any]:
    graph = loaded.program.graph
    constants = {n: sections.add(graph.constants[n]) for n in graph.outputs if n in graph.constants}
    steps: list[dict[str, Any]] = []
    for number, step in enumerate(loaded.steps):
        if isinstance(step, NativeStep):
            steps.append(_native_to_json(step.parts, sections))
        elif isinstance(step, FallbackStep):
            model = np.frombuffer(fallback_model(loaded, number), np.uint8)
            steps.append({"model": sections.add(model), **asdict(step.names)})
        else:
            raise PlanError("a program with custom operators or in numpy cannot be saved")
    return {
        "shapes": {name: list(shape) for name, shape in loaded.shapes.items()},
        "constants": constants,
        "steps": steps,
        "records": [asdict(record) for record in loaded.program.records],
        "stripes": [asdict(record) for record in loaded.program.stripes],
        "passes": [asdict(record) for record in loaded.passes],
    }


def _native_to_json(parts: NativeParts, sections: _Sections) -> dict[str, Any]:
    return {
        "words": sections.add(parts.words),
        "constants": [sections.add(array) for array in parts.constants],
        "isa": parts.isa,
        "labels": [list(pair) for pair in parts.labels],
        "inputs": list(parts.inputs),
        "outputs": list(parts.outputs),
        "output_types": [[list(shape), dtype.str] for shape, dtype in parts.output_types],
    }


def _write(path: Path, header: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Temporary file beside the target, fsync, rename."""
    header["sections"] = _place_sections(arrays)
    raw = json.dumps(header).encode()
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    file = temporary.open("xb")  # not mkstemp: the plan gets the mode that other files get
    try:
        with file:
            file.write(_PREFIX.pack(MAGIC, len(raw), zlib.crc32(raw)))
            file.write(raw)
            base = _aligned(file.tell())
            for section, array in zip(header["sections"], arrays, strict=True):
                file.seek(base + section["offset"])
                file.write(np.ascontiguousarray(array).data.cast("B") if array.nbytes else b"")
            file.truncate(base + _end_of(header["sections"]))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def _place_sections(arrays: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    sections, offset = [], 0
    for array in arrays:
        flat = np.ascontiguousarray(array)
        sections.append(
            {
                "offset": offset,
                "dtype": flat.dtype.str,
                "shape": list(flat.shape),
                "nbytes": flat.nbytes,
                "crc32": zlib.crc32(flat.data.cast("B")) if flat.nbytes else 0,
            }
        )
        offset = _aligned(offset + flat.nbytes)
    return sections


def _aligned(offset: int) -> int:
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _end_of(sections: Sequence[Mapping[str, Any]]) -> int:
    return max((section["offset"] + section["nbytes"] for section in sections), default=0)


def load_plan(
    path: str | os.PathLike[str],
    identity: Mapping[str, str],
    runtime: Any,
    thread_counts: Sequence[int],
) -> tuple[Graph, list[LoadedProgram], int]:
    """Map a file and load its programs: (inputs and outputs, programs, constant bytes).

    Raises PlanError when the file is damaged, or made for another CPU or version.
    """
    try:
        header, data, base = _read(Path(path))
        _check_identity(path, header["identity"], identity)
        arrays = [_section(data, base, s, path) for s in header["sections"]]
        graph = _graph_from_json(header)
        programs = [
            _program_from_json(p, graph, arrays, runtime, thread_counts) for p in header["programs"]
        ]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"{path}: the saved plan is damaged: {error}; compile it again") from error
    numbers = {n for p in header["programs"] for s in p["steps"] for n in s.get("constants", ())}
    return graph, programs, sum(header["sections"][n]["nbytes"] for n in numbers)


def _read(path: Path) -> tuple[dict[str, Any], mmap.mmap, int]:
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: cannot be read as a saved plan: {error}") from error
    if len(data) < _PREFIX.size or data[:8] != MAGIC:
        raise PlanError(f"{path}: not a saved plan (wrong magic bytes)")
    _, length, crc = _PREFIX.unpack(data[: _PREFIX.size])
    if length > min(HEADER_BYTES_MAX, len(data) - _PREFIX.size):
        raise PlanError(f"{path}: the saved plan is truncated; compile it again")
    raw = data[_PREFIX.size : _PREFIX.size + length]
    if zlib.crc32(raw) != crc:
        raise PlanError(f"{path}: the saved plan is damaged (header checksum); compile it again")
    header: dict[str, Any] = json.loads(raw)
    return header, data, _aligned(_PREFIX.size + length)


def _check_identity(
    path: str | os.PathLike[str], made: Mapping[str, str], here: Mapping[str, str]
) -> None:
    for key, value in here.items():
        if made.get(key) != value:
            raise PlanError(
                f"{path}: made for {key} {made.get(key)!r}, this is {value!r}; compile it again "
                "from the model"
            )


def _section(
    data: mmap.mmap, base: int, section: Mapping[str, Any], path: str | os.PathLike[str]
) -> np.ndarray:
    begin, nbytes = base + section["offset"], section["nbytes"]
    if section["offset"] < 0 or nbytes < 0 or begin + nbytes > len(data):
        raise PlanError(f"{path}: the saved plan is truncated; compile it again")
    view = memoryview(data)[begin : begin + nbytes]
    if nbytes and zlib.crc32(view) != section["crc32"]:
        raise PlanError(f"{path}: the saved plan is damaged (checksum); compile it again")
    dtype = np.dtype(section["dtype"])
    if dtype.hasobject:
        raise PlanError(f"{path}: the saved plan holds Python objects")
    return np.frombuffer(view, dtype).reshape(section["shape"])


def _graph_from_json(header: Mapping[str, Any]) -> Graph:
    values = [*header["inputs"], *header["outputs"]]
    types = {
        v["name"]: TensorType(DType(v["dtype"]), None if v["shape"] is None else tuple(v["shape"]))
        for v in values
    }
    names = [tuple(v["name"] for v in header[key]) for key in ("inputs", "outputs")]
    return Graph(header["model"], names[0], names[1], (), types, {})


def _program_from_json(
    saved: Mapping[str, Any],
    graph: Graph,
    arrays: Sequence[np.ndarray],
    runtime: Any,
    thread_counts: Sequence[int],
) -> LoadedProgram:
    steps: list[Step] = []
    for step in saved["steps"]:
        if "words" in step:
            steps.append(NativeStep(_native_from_json(step, arrays), runtime))
        else:
            names = FallbackNames(
                step["inputs"], step["outputs"], [(n[0], n[1]) for n in step["nodes"]]
            )
            steps.append(FallbackStep(arrays[step["model"]].tobytes(), names, thread_counts))
    constants = {name: arrays[number] for name, number in saved["constants"].items()}
    records = tuple(_load_record(record) for record in saved["records"])
    stripes = tuple(
        StripeRecord(**{**record, "calls": tuple(record["calls"])}) for record in saved["stripes"]
    )
    program = Program(graph.with_changes(constants=constants), (), records, stripes)
    shapes = {name: tuple(shape) for name, shape in saved["shapes"].items()}
    return LoadedProgram(program, steps, [PassRecord(**p) for p in saved["passes"]], shapes)


def _native_from_json(step: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> NativeParts:
    return NativeParts(
        arrays[step["words"]],
        [arrays[number] for number in step["constants"]],
        step["isa"],
        [(pair[0], pair[1]) for pair in step["labels"]],
        step["inputs"],
        step["outputs"],
        [(tuple(shape), np.dtype(dtype)) for shape, dtype in step["output_types"]],
    )


def _load_record(saved: dict[str, Any]) -> NodeRecord:
    weights = saved["weights"]
    facts = WeightFacts(**weights) if weights is not None else None
    return NodeRecord(**{**saved, "advisories": tuple(saved["advisories"]), "weights": facts})
