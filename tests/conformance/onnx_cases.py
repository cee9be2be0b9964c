"""Runs ONNX backend cases in this process; test_onnx_backend.py starts it on chunks of them.

    python onnx_cases.py KIND FIRST STEP        cases FIRST, FIRST + STEP, ...

For each case a line of JSON is written before it runs (so that the reader knows which case a crash
belongs to) and a line with the outcome after.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test import loader

PLAIN_TYPES = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)
"""Element types of the cases that the share of native ones is counted on."""


@dataclass(frozen=True)
class Case:
    """A model with inputs and expected outputs."""

    name: str
    model: onnx.ModelProto
    data_sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float

    @property
    def is_plain(self) -> bool:
        """True when every input and output is a tensor of float32, int32, int64 or bool."""
        values = (*self.model.graph.input, *self.model.graph.output)
        return all(
            v.type.HasField("tensor_type") and v.type.tensor_type.elem_type in PLAIN_TYPES
            for v in values
        )


def load_cases(kind: str) -> list[Case]:
    """All cases of a kind: node, simple, pytorch-converted, pytorch-operator or real."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [_load(case) for case in loader.load_model_tests(kind=kind)]


def _load(case: Any) -> Case:
    if case.model is not None and case.data_sets is not None:
        sets = [(_arrays(inputs), _arrays(outputs)) for inputs, outputs in case.data_sets]
        return Case(case.name, case.model, sets, case.rtol, case.atol)
    if case.model_dir is None:
        return _load_light(case)
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = [
        (_read_all(data, "input", model.graph.input), _read_all(data, "output", model.graph.output))
        for data in sorted(folder.glob("test_data_set_*"))
    ]
    return Case(case.name, model, sets, case.rtol, case.atol)


def _arrays(values: Sequence[Any]) -> list[Any]:
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in values]


def _load_light(case: Any) -> Case:
    """A shipped architecture with made-up weights: seeded inputs, expected outputs beside it."""
    path = Path(onnx.__file__).parent.parent / case.url
    model = onnx.load(path)
    output = numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb")))
    weights = {tensor.name for tensor in model.graph.initializer}
    (given,) = (value for value in model.graph.input if value.name not in weights)
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim]
    size = int(np.prod(shape))
    made = (np.arange(size).reshape(shape) / size).astype(np.float32)
    return Case(case.name, model, [([made], [output])], case.rtol, case.atol)


def _read_all(folder: Path, prefix: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    files = sorted(folder.glob(f"{prefix}_*.pb"), key=lambda p: int(p.stem.rsplit("_", 1)[1]))
    return [_read(path, value.type) for path, value in zip(files, values, strict=False)]


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    raw = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(raw))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(raw))
    return numpy_helper.to_array(onnx.TensorProto.FromString(raw))


def matches(case: Case, expected: Sequence[Any], got: Sequence[Any]) -> str:
    """Empty when the outputs agree within the case's tolerance, else what differs."""
    if len(expected) != len(got):
        return f"{len(got)} outputs instead of {len(expected)}"
    for number, (want, have) in enumerate(zip(expected, got, strict=True)):
        if difference := _difference(case, want, have):
            return f"output {number}: {difference}"
    return ""


def _difference(case: Case, want: Any, have: Any) -> str:
    if isinstance(want, list):
        pairs = zip(want, have, strict=True) if len(want) == len(have) else [(want, None)]
        return next((d for w, h in pairs if (d := _difference(case, w, h))), "")
    if want is None or have is None:
        return "" if want is have else "one is absent"
    want, have = np.asarray(want), np.asarray(have)
    if want.dtype != have.dtype and want.dtype.kind not in "OUS":
        return f"type {have.dtype} instead of {want.dtype}"
    if want.shape != have.shape:
        return f"shape {have.shape} instead of {want.shape}"
    if want.dtype.kind in "OUS":
        return "" if want.tolist() == have.tolist() else "strings differ"
    if want.dtype.kind not in "biufc":
        want, have = want.astype(np.float32), have.astype(np.float32)
    if np.allclose(have, want, rtol=case.rtol, atol=case.atol, equal_nan=True):
        return ""
    with np.errstate(all="ignore"):
        worst = np.nanmax(np.abs(have.astype(np.float64) - want.astype(np.float64)))
    return f"largest difference {worst:g}"


Runner = Callable[[dict[str, Any]], Sequence[Any]]


def outcome(case: Case) -> dict[str, Any]:
    """What ONNX Runtime, the engine without fallback and the engine with it make of a case."""
    result: dict[str, Any] = {"name": case.name, "plain": case.is_plain}
    result["native"] = _try(case, lambda: _colonnade(case.model, "forbid"))
    # A program without fallback is the same program when fallback is allowed.
    if result["native"] == "passed":
        result["allowed"] = "passed"
    else:
        result["allowed"] = _try(case, lambda: _colonnade(case.model, "allow"))
    if result["allowed"] != "passed":
        result["onnxruntime"] = _try(case, lambda: _onnxruntime(case.model))
    return result


def _try(case: Case, make: Callable[[], Runner]) -> str:
    """passed, refused: WHY, wrong: WHAT, or failed: ERROR."""
    from colonnade.errors import ModelError

    try:
        run = make()
        weights = {tensor.name for tensor in case.model.graph.initializer}
        names = [v.name for v in case.model.graph.input if v.name not in weights]
        for inputs, expected in case.data_sets:
            got = run(dict(zip(names, inputs, strict=False)))
            if difference := matches(case, expected, got):
                return f"wrong: {difference}"
    except ModelError as error:
        return f"refused: {error}"
    except Exception as error:  # noqa: BLE001 - any other error is an outcome to report
        return f"failed: {type(error).__name__}: {error}"
    return "passed"


def _colonnade(model: onnx.ModelProto, fallback: Any) -> Runner:
    import colonnade

    engine = colonnade.compile(model, threads=1, fallback=fallback)
    return lambda inputs: list(engine.run(inputs).values())


def _onnxruntime(model: onnx.ModelProto) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run(None, inputs)


def chunk(cases: Sequence[Case], first: int, step: int) -> Iterator[tuple[int, Case]]:
    """Every `step`-th case from `first` on, with its number."""
    return ((i, cases[i]) for i in range(first, len(cases), step))


def main() -> None:
    kind, first, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for number, case in chunk(load_cases(kind), first, step):
        print(json.dumps({"starts": number, "name": case.name}), flush=True)
        print(json.dumps(outcome(case)), flush=True)


if __name__ == "__main__":
    main()
