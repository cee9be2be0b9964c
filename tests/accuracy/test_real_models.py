"""Real models on real inputs: our answers against ONNX Runtime's, on every ISA of this machine.

Both are measured against a float64 evaluation of the same file (see tests/tolerance.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import colonnade
import models
from colonnade import _core, knobs
from tolerance import max_error, model_tolerance

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(900)]

RUNNER = Path(__file__).with_name("run_cases.py")
RUN_TIMEOUT_S = 600

Case = tuple[int, int | None]
"""Batch, and the model's other free size (None: its default)."""

CASES: dict[str, tuple[Case, ...]] = {
    "resnet50": ((1, None), (2, None)),
    "efficientnet_lite0": ((1, None), (3, None)),
    "efficientnet_lite0_direct": ((1, None), (3, None)),
    "minilm_l6": ((1, 128), (3, 37)),
    "minilm_l6_eager": ((1, 128), (3, 37)),
    "minilm_l6_dynamo": ((1, 128), (3, 37)),
    "bert_base": ((1, 64), (2, 19)),
    "bert_base_eager": ((1, 64), (2, 19)),
    "bert_base_dynamo": ((1, 64), (2, 19)),
    "silero_vad": ((1, 64), (1, 9)),
    "rapidocr_det": ((1, 320), (2, 224)),
    "rapidocr_rec": ((1, 320), (3, 200)),
    "rapidocr_cls": ((1, 192), (3, 160)),
    "crnn_english_g2": ((1, 320), (3, 200)),
    "basic_pitch": ((1, None), (2, None)),
}


def isas() -> list[str]:
    """From portable up to the best of this machine."""
    return list(knobs.ISAS[: knobs.ISAS.index(_core.best_isa("")) + 1])


@cache
def build(name: str) -> Path:
    """The model's file; skips, naming the package or library, when it cannot be had."""
    try:
        return Path(models.build(name))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))


@cache
def feeds(name: str, case: Case) -> dict[str, np.ndarray]:
    """Inputs of one case; skips as `build` does."""
    try:
        return dict(models.inputs(name, *case))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))


@cache
def exact(name: str, case: Case) -> list[np.ndarray]:
    """The float64 answer."""
    pytest.importorskip("torch", reason="torch computes some operators in float64")
    from float64 import exact_outputs  # only here: torch takes seconds to import

    return exact_outputs(build(name), feeds(name, case))


@cache
def peer(name: str, case: Case) -> list[np.ndarray]:
    """ONNX Runtime's answer."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is the peer")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(build(name), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds(name, case)))


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory):
    """Our answers: a function of model and ISA; one process runs all cases of a model."""

    @cache
    def run(name: str, isa: str) -> dict[Case, list[np.ndarray]]:
        folder = tmp_path_factory.mktemp(f"{name}-{isa}")
        for index, case in enumerate(CASES[name]):
            np.savez(folder / f"{index}.in.npz", **feeds(name, case))
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(build(name)), str(folder)],
            env={**os.environ, "COLONNADE_MAX_ISA": isa},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout.splitlines()[-1])["isa"] == isa
        return {
            case: list(np.load(folder / f"{index}.out.npz").values())
            for index, case in enumerate(CASES[name])
        }

    return run


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases]
)
def test_answers_agree(ours, name: str, case: Case, isa: str) -> None:
    build(name)
    answers = ours(name, isa)[case]
    wanted = exact(name, case)
    assert len(answers) == len(wanted)
    for index, (answer, truth, other) in enumerate(
        zip(answers, wanted, peer(name, case), strict=True)
    ):
        assert answer.shape == other.shape
        assert answer.dtype == other.dtype
        bound = model_tolerance(truth, other)
        error = max_error(truth, answer)
        assert error <= bound, (
            f"output {index} errs by {error:.3g}, ONNX Runtime by {max_error(truth, other):.3g}, "
            f"bound {bound:.3g}"
        )


def test_state_is_carried_from_call_to_call() -> None:
    """silero_vad in two calls, the second with the states of the first, answers as in one."""
    name, case, cut = "silero_vad", (1, 64), 23
    whole = feeds(name, case)
    engine = colonnade.compile(build(name), threads=2)
    first = engine.run({**whole, "input": whole["input"][:cut]})
    second = engine.run({"input": whole["input"][cut:], "h": first["hn"], "c": first["cn"]})
    speech = np.concatenate([first["speech_probs"], second["speech_probs"]])
    answers = (speech, second["hn"], second["cn"])
    for answer, truth, other in zip(answers, exact(name, case), peer(name, case), strict=True):
        assert max_error(truth, answer) <= model_tolerance(truth, other)


def test_every_model_has_cases() -> None:
    assert set(CASES) == set(models.names())
