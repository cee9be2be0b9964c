"""Write the files that are generated from the code: docs/operators.md and src/colonnade/_core.pyi.

write_docs.py            write them
write_docs.py --check    only compare; 1 if one of them is stale
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from nanobind.stubgen import StubGen
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import colonnade
from colonnade import _core

ROOT = Path(__file__).resolve().parent.parent
MAX_REASONS = 3
MAX_OPSET = 26

HEADER = """\
# Native operators

Written by `./dev docs`: the single-node cases of the ONNX backend test suite (onnx {version}),
compiled with `fallback="forbid"`. The suite feeds everything at run time, weights and shapes too;
trained models keep them as constants. So each case is counted twice: as it is, and with every input
but the first as a constant.

{constant} of {total} cases are native with constants, {given} as they are. The others run in ONNX
Runtime for the reasons given; `engine.explain()` says the same for each node of your model.

| operator | cases | native | with constants | the others, because |
|---|---|---|---|---|
"""


@dataclass
class Coverage:
    """How many cases of an operator run natively, and why the others do not."""

    total: int = 0
    given: int = 0
    constant: int = 0
    reasons: list[str] = field(default_factory=list)


class RefusedError(Exception):
    """The model is not one that could run at all."""


def main(arguments: list[str]) -> int:
    stale = 0
    for path, generate in GENERATED.items():
        text = generate()
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)}: {'stale' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            path.write_text(text)
    return 1 if stale and "--check" in arguments else 0


def core_stub() -> str:
    """Types of the native module, from the module itself."""
    stub = StubGen(_core)
    stub.put(_core)
    source: str = stub.get()
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", "_core.pyi", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return formatted.stdout


def operator_table() -> str:
    """The table of native operators; the same on every machine."""
    os.environ["COLONNADE_MAX_ISA"] = "portable"
    coverage: dict[str, Coverage] = {}
    for model, arrays in single_node_cases():
        entry = coverage.setdefault(model.graph.node[0].op_type, Coverage())
        with contextlib.suppress(RefusedError):
            count_case(entry, model, arrays)
    coverage = {op: entry for op, entry in coverage.items() if entry.total}
    rows = (_row(op, entry) for op, entry in sorted(coverage.items()))
    return _header(list(coverage.values())) + "".join(rows)


def single_node_cases() -> Iterator[tuple[onnx.ModelProto, Sequence[object]]]:
    """Models and inputs of the ONNX node cases that hold one node of the standard domain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        model = case.model
        if model is None or len(model.graph.node) != 1 or model.graph.node[0].domain:
            continue
        for opset in model.opset_import:
            opset.version = min(opset.version, MAX_OPSET)
        yield model, case.data_sets[0][0] if case.data_sets else ()


def count_case(entry: Coverage, model: onnx.ModelProto, arrays: Sequence[object]) -> None:
    """Add one case; raises RefusedError for one that cannot run at all."""
    given = reason_for_fallback(model)
    reason = given and reason_for_fallback(with_constants(model, arrays))
    entry.total += 1
    entry.given += given is None
    entry.constant += reason is None
    if reason is not None and reason not in entry.reasons:
        entry.reasons.append(reason)


def with_constants(model: onnx.ModelProto, arrays: Sequence[object]) -> onnx.ModelProto:
    """The model with every tensor input but the first as an initializer."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value, array in zip(model.graph.input[1:], arrays[1:], strict=False):
        if isinstance(array, np.ndarray | np.generic) and value.type.HasField("tensor_type"):
            made.graph.input.remove(value)
            tensor = numpy_helper.from_array(np.asarray(array), value.name)
            made.graph.initializer.append(tensor)
    return made


def reason_for_fallback(model: onnx.ModelProto) -> str | None:
    """Why a model does not run natively; None when it does."""
    try:
        colonnade.compile(model, threads=1, fallback="forbid")
    except colonnade.ModelError as error:
        _, found, reason = error.reason.partition(" takes it: ")
        if not found:
            raise RefusedError from error
        return reason
    return None


def _header(entries: Sequence[Coverage]) -> str:
    return HEADER.format(
        version=onnx.__version__,
        total=sum(entry.total for entry in entries),
        given=sum(entry.given for entry in entries),
        constant=sum(entry.constant for entry in entries),
    )


def _row(op: str, entry: Coverage) -> str:
    reasons = "; ".join(entry.reasons[:MAX_REASONS]).replace("|", "\\|")
    more = "; ..." if len(entry.reasons) > MAX_REASONS else ""
    return f"| {op} | {entry.total} | {entry.given} | {entry.constant} | {reasons}{more} |\n"


GENERATED: dict[Path, Callable[[], str]] = {
    ROOT / "docs" / "operators.md": operator_table,
    ROOT / "src" / "colonnade" / "_core.pyi": core_stub,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
