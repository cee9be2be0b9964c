"""Nodes that only ONNX Runtime runs: listed, refused on demand, never silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade.engine.fallback import FallbackStep
from colonnade.engine.scheduler import Stream
from colonnade.errors import CapabilityError, ModelError
from unit.engine.models import image_model, make_model, mixed_model


def test_fallback_is_listed() -> None:
    explanation = colonnade.compile(mixed_model(), threads=1).explain()
    fallen = [node.op for node in explanation.nodes if node.runtime == "onnxruntime"]
    assert "Einsum" in fallen
    assert explanation.num_fallback == len(fallen)
    assert explanation.num_native > 0


def test_forbidden_fallback_names_the_node() -> None:
    with pytest.raises(ModelError, match=r'node .*\(Einsum\): fallback="forbid"') as caught:
        colonnade.compile(mixed_model(), threads=1, fallback="forbid")
    assert caught.value.op == "Einsum"


def test_forbidden_fallback_takes_a_native_model() -> None:
    engine = colonnade.compile(image_model(), threads=1, fallback="forbid")
    assert engine.explain().num_fallback == 0


def test_without_onnxruntime_the_operators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(CapabilityError, match=r"operators .*'Einsum'.*pip install"):
        colonnade.compile(mixed_model(), threads=1)
    assert colonnade.compile(image_model(), threads=1).explain().num_fallback == 0


@pytest.mark.parametrize(
    "nodes",
    [
        "y = MatMul(c, w)",
        "l = LayerNormalization(c, s)  y = Sigmoid(l)",
        "g = Sigmoid(c)  y = Mul(c, g)",
        "p = MatMul(c, w)  b = Add(p, r)  y = Relu(b)",
    ],
)
def test_values_whose_shape_the_run_decides(nodes: str) -> None:
    """What cannot be planned keeps its ONNX form: ONNX Runtime knows no fused operation."""
    model = make_model(
        "g (float[2,3] x) => (float y) { n = NonZero(x)  t = Transpose <perm = [1,0]> (n)"
        f"c = Cast <to = 1> (t)  {nodes} }}",
        w=np.ones((2, 4), np.float32), s=np.ones(2, np.float32), r=np.ones(4, np.float32),
    )  # fmt: skip
    ort = pytest.importorskip("onnxruntime")
    x = np.array([[0, 1, 2], [3, 0, 4]], np.float32)
    made = colonnade.compile(model, threads=1).run([x])["y"]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    expected = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(("threads", "expected"), [(4, 4), (3, 2), (2, 2), (1, 1)])
def test_a_session_with_no_more_threads_than_the_stream(threads: int, expected: int) -> None:
    engine = colonnade.compile(mixed_model(), threads=1)
    (program,) = engine._programs.values()
    step = next(step for step in program.steps if isinstance(step, FallbackStep))
    used: list[int] = []
    (session,) = step._sessions.values()
    for count in (1, 2, 4):
        step._sessions[count] = _Counted(session, count, used)
    program.run({"x": np.ones((4, 4), np.float32)}, Stream(0, 1))
    used.clear()
    step.run({name: np.ones((4, 4), np.float32) for name in step.names.inputs}, Stream(0, threads))
    assert used == [expected]


class _Counted:
    """A session that notes its number of threads."""

    def __init__(self, session: Any, count: int, used: list[int]) -> None:
        self._session, self._count, self._used = session, count, used

    def run(self, *arguments: Any) -> Any:
        """As the session does."""
        self._used.append(self._count)
        return self._session.run(*arguments)
