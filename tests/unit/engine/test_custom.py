"""Operators and rewrite rules of the user's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
from colonnade import rewrite as rw
from colonnade.errors import CapabilityError, ModelError, PlanError, RunError
from unit.engine.models import make_model

X = np.array([[1, -2, 3], [4, 5, -6]], np.float32)
SOURCE = """
#include <stdint.h>
int Twice(int num_inputs, const void* const* inputs, const int64_t* const* input_shapes,
          const int* input_ranks, int num_outputs, void* const* outputs,
          const int64_t* const* output_shapes, const int* output_ranks) {
  if (num_inputs != 2 || num_outputs != 1 || input_ranks[0] != 2 || output_ranks[0] != 2) return 1;
  if (input_ranks[1] != 0) return 2;
  const float* x = inputs[0];
  float* y = outputs[0];
  const int64_t size = input_shapes[0][0] * output_shapes[0][1];
  for (int64_t i = 0; i < size; ++i) y[i] = *(const float*)inputs[1] * x[i];
  return x[0] == 99.0f ? 42 : 0;
}
"""


def model(nodes: str = "t = test.Twice(r, two)") -> onnx.ModelProto:
    return make_model(
        f"g (float[N,3] x) => (float[N,3] y) {{ r = Relu(x)  {nodes}  y = Neg(t) }}",
        two=np.array(2, np.float32),
    )


def twice(
    function: Callable[..., Any] = lambda inputs, _: [inputs[0] * inputs[1]],
    types: Callable[..., Any] = lambda types, _: types[:1],
    library: str | None = None,
) -> rw.CustomOp:
    return rw.CustomOp("test", "Twice", types, function, library)


def run(op: rw.CustomOp, x: np.ndarray = X) -> np.ndarray:
    return colonnade.compile(model(), threads=1, custom_ops=[op]).run([x])["y"]


def test_function_between_native_nodes() -> None:
    engine = colonnade.compile(model(), threads=1, custom_ops=[twice()])
    np.testing.assert_array_equal(engine.run([X])["y"], -2 * np.maximum(X, 0))
    runtimes = [node.runtime for node in engine.explain().nodes]
    assert runtimes == ["native", "custom", "native"]


def test_every_shape_asks_for_types() -> None:
    seen: list[Any] = []

    def types(inputs: Sequence[rw.TensorType], _: object) -> Sequence[rw.TensorType]:
        seen.append(inputs[0].shape)
        return inputs[:1]

    engine = colonnade.compile(model(), threads=1, custom_ops=[twice(types=types)])
    for rows in (1, 2):
        engine.run([X[:rows]])
    assert seen == [(1, 3), (2, 3)]


def test_attributes_reach_the_function() -> None:
    attributed = model("t = test.Twice <factor = 5> (r, two)")
    op = twice(lambda inputs, attrs: [inputs[0] * np.float32(attrs["factor"])])
    made = colonnade.compile(attributed, threads=1, custom_ops=[op]).run([X])["y"]
    np.testing.assert_array_equal(made, -5 * np.maximum(X, 0))


def test_columns_first_results_are_put_in_order() -> None:
    op = twice(lambda inputs, _: [np.asfortranarray(inputs[0] * inputs[1])])
    np.testing.assert_array_equal(run(op), -2 * np.maximum(X, 0))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *_: 1 / 0, "its function failed: division by zero"),
        (lambda inputs, _: [inputs[0].astype(np.float64)], r"'t' is float64\[2, 3\], expected"),
        (lambda inputs, _: [inputs[0][:1]], r"'t' is float32\[1, 3\], expected float\[2,3\]"),
        (lambda inputs, _: [inputs[0], inputs[0]], "2 arrays for 1 outputs"),
        (lambda *_: [], "0 arrays for 1 outputs"),
    ],
)
def test_a_function_that_breaks_its_word(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(RunError, match=r"node 'Twice_1'.*" + words):
        run(twice(function))


def test_a_type_rule_with_too_few_types() -> None:
    with pytest.raises(ModelError, match="its shape rule gave 0 types for 1 outputs"):
        run(twice(types=lambda *_: []))


def test_without_the_operator_the_model_is_refused() -> None:
    with pytest.raises(ModelError, match="Twice"):
        colonnade.compile(model(), threads=1)


def test_it_cannot_be_saved(tmp_path: Path) -> None:
    engine = colonnade.compile(model(), threads=1, custom_ops=[twice()])
    engine.run([X])
    with pytest.raises(PlanError, match="custom operators"):
        engine.save(tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("library")
    (folder / "twice.c").write_text(SOURCE)
    made = str(folder / "twice.so")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", str(folder / "twice.c"), "-o", made], check=True
    )
    return made


def _must_not_run(*_: object) -> Sequence[np.ndarray]:
    raise AssertionError("the function ran in place of the library")


def test_compiled_library(library: str) -> None:
    op = twice(_must_not_run, library=library)
    np.testing.assert_array_equal(run(op), -2 * np.maximum(X, 0))
    np.testing.assert_array_equal(run(op, X[:1]), -2 * np.maximum(X[:1], 0))


def test_the_librarys_error_number_is_reported(library: str) -> None:
    op = twice(_must_not_run, library=library)
    with pytest.raises(RunError, match=r"node 'Twice_1'.*its library returned 42"):
        run(op, np.full((1, 3), 99, np.float32))


def test_a_library_that_is_not_there(library: str) -> None:
    with pytest.raises(CapabilityError, match=r"test\.Twice: .*missing\.so"):
        run(twice(_must_not_run, library="missing.so"))
    other = replace(twice(_must_not_run, library=library), name="Thrice")
    renamed = model("t = test.Thrice(r, two)")
    with pytest.raises(CapabilityError, match=r"test\.Thrice: .*Thrice"):
        colonnade.compile(renamed, threads=1, custom_ops=[other]).run([X])


def _fuse_double(match: rw.Match) -> rw.Node:
    program = rw.Program(1, (rw.Instruction("add", (0, 0)),))
    return rw.Node(
        "Elementwise", (match.values["x"],), match.root.outputs, {"program": program}, "doubled",
        "colonnade", 1,
    )  # fmt: skip


DOUBLE = rw.RewriteRule("fuse_double", (rw.op("Add", rw.var("x"), rw.var("x")),), _fuse_double)


@pytest.mark.parametrize(("text", "changes"), [("Add(x, x)", 1), ("Add(x, z)", 0)])
def test_rewrite_rule(text: str, changes: int) -> None:
    graph = make_model(f"g (float[N] x, float[N] z) => (float[N] y) {{ y = {text} }}")
    engine = colonnade.compile(graph, threads=1, rules=[DOUBLE])
    x = np.array([1, 2], np.float32)
    assert engine.run([x, x])["y"].tolist() == [2, 4]
    record = engine.explain().passes[0]
    assert (record.name, record.changes) == ("fuse_double", changes)
    assert ("doubled" in [node.name for node in engine.explain().nodes]) is bool(changes)


def test_a_rule_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_DISABLE_PASSES", "fuse_double")
    graph = make_model("g (float[2] x) => (float[2] y) { y = Add(x, x) }")
    engine = colonnade.compile(graph, threads=1, rules=[DOUBLE])
    assert "fuse_double" not in [record.name for record in engine.explain().passes]


def test_a_rule_is_not_applied_to_values_of_unknown_shape() -> None:
    graph = make_model(
        "g (float[2,3] x) => (float y) { n = NonZero(x)  c = Cast <to = 1> (n)  y = Add(c, c) }"
    )
    engine = colonnade.compile(graph, threads=1, rules=[DOUBLE])
    assert engine.run([X])["y"].tolist() == [[0, 0, 0, 2, 2, 2], [0, 2, 4, 0, 2, 4]]
    assert engine.explain().passes[0].changes == 0
