"""The encoded plan: the native side refuses what is damaged, and runs what it accepts safely."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest

import colonnade
from colonnade import _core
from colonnade.engine.program import NativeParts, NativeStep
from colonnade.planner.plan import (
    Buffer,
    Call,
    ParallelFor,
    Plan,
    Seq,
    Space,
    Split,
    encode_params,
    encode_plan,
)
from unit.engine.models import image_model, text_inputs, text_model
from unit.planner.forced_stripes import forced_stripes
from unit.planner.test_stripe_plans import pools

TIMEOUT_S = 240
IMAGE = {"x": np.ones((2, 3, 13, 11), np.float32)}
COPY = Call("copy", (0, 1), (64,), "copy it")


def copy_plan(call: Call = COPY, arena_bytes: int = 64, split: Split = Split.UNITS) -> Plan:
    """Copies 64 bytes from the input to the output."""
    buffers = (
        Buffer(Space.INPUT, 64), Buffer(Space.OUTPUT, 64), Buffer(Space.ARENA, 64),
        Buffer(Space.CONSTANT, 64),
    )  # fmt: skip
    body = Seq((ParallelFor((call,), split),))
    return Plan(buffers, (np.zeros(16, np.float32),), 1, 1, arena_bytes, body, "portable")


def load(plan: Plan) -> _core.Executor:
    words = encode_plan(plan)
    return _core.Executor(_core.Runtime(1), words, list(plan.constants), plan.isa)


def test_parameters_are_words() -> None:
    words = encode_params((3, True, (4, (5, 6)), 1.0, ()))
    assert words == [3, 1, 2, 4, 2, 5, 6, 0x3FF0000000000000, 0]


def test_a_plan_runs() -> None:
    x = np.arange(16, dtype=np.float32)
    out = np.empty_like(x)
    assert load(copy_plan()).run([x], [out])[0] == 0
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (copy_plan(Call("no_such_kernel", (0, 1), (64,), "a")), "no_such_kernel"),
        (copy_plan(Call("copy", (0, 9), (64,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, -2), (64,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, -1), (64,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0,), (64,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, 1), (65,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, 1), (-1,), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, 1), (), "a")), "call 'a'"),
        (copy_plan(Call("copy", (0, 3), (64,), "a")), "call 'a': operand 1 is written"),
        (copy_plan(Call("copy", (3, 0), (64,), "a")), "call 'a': operand 1 is written"),
        (copy_plan(arena_bytes=63), "outside the arena"),
        (copy_plan(arena_bytes=-64), "arena size"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan: Plan, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(plan)


def test_constants_must_be_those_of_the_plan() -> None:
    words = encode_plan(copy_plan())
    runtime = _core.Runtime(1)
    with pytest.raises(ValueError, match="number of constants differs"):
        _core.Executor(runtime, words, [], "portable")
    with pytest.raises(ValueError, match="larger than its constant"):
        _core.Executor(runtime, words, [np.zeros(15, np.float32)], "portable")


def test_arrays_of_a_run_are_checked() -> None:
    executor = load(copy_plan())
    x = np.zeros(16, np.float32)
    with pytest.raises(ValueError, match="wrong number of inputs"):
        executor.run([], [x.copy()])
    with pytest.raises(ValueError, match="an input is smaller"):
        executor.run([x[:15]], [x.copy()])
    with pytest.raises(ValueError, match="an output is smaller"):
        executor.run([x], [np.zeros(15, np.float32)])


FUZZ = """
import json, resource, sys
import numpy as np
from colonnade import _core

LIMIT_BYTES = 6 << 30
resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
parts = np.load(sys.argv[1], allow_pickle=False)
words, isa = parts["words"], str(parts["isa"])
constants = [parts[f"constant{i}"] for i in range(int(parts["num_constants"]))]
inputs = [parts[f"input{i}"] for i in range(int(parts["num_inputs"]))]
outputs = [parts[f"output{i}"] for i in range(int(parts["num_outputs"]))]
runtime = _core.Runtime(1)
wrong, refused, ran = [], 0, 0

def attempt(changed, where):
    global refused, ran
    try:
        executor = _core.Executor(runtime, changed, constants, isa)
    except ValueError as error:
        refused += 1
        if not str(error):
            wrong.append(f"{where}: no message")
        return
    except Exception as error:
        wrong.append(f"{where}: {type(error).__name__} {error}")
        return
    try:
        executor.run([x.copy() for x in inputs], [x.copy() for x in outputs])
        ran += 1
    except (ValueError, MemoryError):
        refused += 1

for length in range(len(words)):
    attempt(words[:length], f"first {length} words")
EXTREMES = [0, 1, -1, 2, 255, 2**31, 2**40, 2**62, 2**63 - 1, 2**63 - 64, -2**63]
for at, word in enumerate(words.tolist()):
    for value in [*EXTREMES, word + 1, word - 1, word ^ (1 << 33), 2 * word]:
        if value != word and -2**63 <= value < 2**63:
            changed = words.copy()
            changed[at] = value
            attempt(changed, f"word {at} ({word}) = {value}")
print(json.dumps({"wrong": wrong, "refused": refused, "ran": ran}))
"""


def _native_parts(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], striped: bool
) -> NativeParts:
    with forced_stripes(2, 2) if striped else nullcontext():
        engine = colonnade.compile(model, threads=1)
        loaded = engine.prepare({name: array.shape for name, array in feeds.items()})
    (step,) = loaded.steps
    assert isinstance(step, NativeStep)
    return step.parts


@pytest.mark.parametrize(
    ("model", "feeds", "striped"),
    [
        pytest.param(image_model(), IMAGE, False, id="image"),
        pytest.param(text_model(), text_inputs(), False, id="text"),
        pytest.param(image_model(), IMAGE, True, id="striped image"),
        pytest.param(pools(2, 21), {"x": np.ones((2, 3, 21, 21), np.float32)}, True, id="pools"),
    ],
)
def test_any_damaged_word_is_refused_or_harmless(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], striped: bool, tmp_path: Path
) -> None:
    parts = _native_parts(model, feeds, striped)
    arrays = {
        "words": parts.words,
        "isa": np.array(parts.isa),
        "num_constants": np.array(len(parts.constants)),
        "num_inputs": np.array(len(parts.inputs)),
        "num_outputs": np.array(len(parts.outputs)),
        **{f"constant{i}": array for i, array in enumerate(parts.constants)},
        **{f"input{i}": feeds[name] for i, name in enumerate(parts.inputs)},
        **{f"output{i}": np.zeros(*type_) for i, type_ in enumerate(parts.output_types)},
    }
    np.savez(tmp_path / "parts.npz", **arrays)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "parts.npz")],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert not found["wrong"], found["wrong"][:20]
    assert found["refused"] > len(parts.words)
