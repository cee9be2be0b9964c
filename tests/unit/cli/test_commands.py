"""Every command on a small real model: text, JSON, files and exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import colonnade
from colonnade.cli.exits import ExitCode
from colonnade.cli.main import app
from colonnade.errors import CapabilityError, RunError
from tiny_model import FEATURES, OUTPUTS

QUICK = ["-t", "0.05", "-w", "0"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def invoke_json(*arguments: object) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def saved_plan(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "tiny.colonnade"
    assert invoke("compile", tiny_model, "-o", path, "-b", 2, "-b", 5).exit_code == 0
    return path


def test_run_describes_the_outputs(tiny_model: Path) -> None:
    document = invoke_json("run", tiny_model, "-b", 3, "--top", 2)
    (output,) = document["outputs"]
    assert (output["name"], output["dtype"], output["shape"]) == ("y", "float32", [3, OUTPUTS])
    assert output["min"] <= output["mean"] <= output["max"]
    assert len(output["first"]) == 5
    assert [len(row) for row in output["top"]] == [2, 2, 2]
    text = invoke("run", tiny_model, "-b", 3).stdout
    assert "3x5" in text
    assert "one run:" in text


def test_run_reads_and_writes_arrays(tiny_model: Path, tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)
    np.save(tmp_path / "x.npy", x)
    written = tmp_path / "out.npz"
    result = invoke("run", tiny_model, "--input", tmp_path / "x.npy", "-o", written)
    assert result.exit_code == 0, result.output
    with np.load(written) as archive:
        made = archive["y"]
    np.testing.assert_array_equal(made, colonnade.compile(tiny_model).run({"x": x})["y"])


def test_compile_saves_plans_that_load(saved_plan: Path) -> None:
    engine = colonnade.load(saved_plan)
    for batch in (2, 5):
        x = np.ones((batch, FEATURES), np.float32)
        assert engine.run({"x": x})["y"].shape == (batch, OUTPUTS)


def test_compile_reports(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.colonnade"
    document = invoke_json("compile", tiny_model, "--shape", f"x=7x{FEATURES}", "-o", path)
    assert document["shapes"] == [{"x": [7, FEATURES]}]
    assert document["bytes"] == path.stat().st_size
    assert document["num_native"] > 0


def test_a_saved_plan_runs_with_its_own_shapes(saved_plan: Path) -> None:
    assert invoke_json("run", saved_plan)["outputs"][0]["shape"] == [5, OUTPUTS]
    assert invoke_json("run", saved_plan, "-b", 2)["outputs"][0]["shape"] == [2, OUTPUTS]
    assert invoke("run", saved_plan, "-b", 3).exit_code == ExitCode.USAGE
    assert invoke("compile", saved_plan).exit_code == ExitCode.USAGE


def test_explain_lists_every_node(tiny_model: Path) -> None:
    document = invoke_json("explain", tiny_model, "-b", 4)
    assert document["shapes"] == {"x": [4, FEATURES]}
    assert document["num_native"] == len(document["nodes"])
    for node in document["nodes"]:
        assert {"name", "op", "runtime", "kernel", "why", "layout", "bytes", "advisories"} <= set(
            node
        )
    text = invoke("explain", tiny_model, "--passes").stdout
    assert "planned for x 1x12" in text
    assert all(node["kernel"] in text for node in document["nodes"])
    assert "changes" in text


def test_explain_writes_a_page(tiny_model: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    result = invoke("explain", tiny_model, "--html", page)
    assert result.exit_code == 0
    assert f"page written to {page}" in result.stderr
    assert "tiny.onnx" in page.read_text()


def test_benchmark_alone(tiny_model: Path) -> None:
    document = invoke_json("benchmark", tiny_model, *QUICK, "-b", 2)
    (row,) = document["results"]
    assert (row["engine"], row["batch_size"], row["max_abs_error"]) == ("colonnade", 2, None)
    assert document["scenario"] == "singlestream"


def test_benchmark_compares_and_writes_files(tiny_model: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "trace")}
    result = invoke(
        "benchmark", tiny_model, "--compare", "onnxruntime", *QUICK, "-ncores", 1, "--memory",
        "-x", paths["json"], "--csv", paths["csv"], "--trace", paths["trace"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "colonnade / onnxruntime:" in result.stdout
    assert "Latency Median (ms/batch):" in result.stdout
    document = json.loads(paths["json"].read_text())
    assert [row["engine"] for row in document["results"]] == ["colonnade", "onnxruntime"]
    assert document["num_cores"] == 1
    assert document["results"][0]["memory"]["peak_run_bytes"] > 0
    with paths["csv"].open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert any(e["ph"] == "X" for e in json.loads(paths["trace"].read_text())["traceEvents"])


def test_benchmark_draws(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert invoke("benchmark", tiny_model, *QUICK, "--plot", tmp_path / "p.png").exit_code == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_takes_the_old_spellings(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    result = invoke(
        "benchmark", tiny_model, "--time", 0.05, "--warmup_time", 0, "--batch_size", 2,
        "-shapes", f"[2,{FEATURES}]", "--num_cores", 1, "-s", "async", "-nstreams", 2,
        "-pin", "none", "-e", "onnxruntime", "--export_path", path, "-q",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(path.read_text())
    assert (document["scenario"], document["num_streams"]) == ("multistream", 2)
    assert document["engine"] == "onnxruntime"
    assert document["input_shapes"] == f"[2,{FEATURES}]"


@pytest.mark.parametrize(
    ("options", "scenario", "streams"),
    [
        (["--scheduler", "multi_stream", "--streams", 2], "multistream", [1, 1]),
        (["-s", "async"], "multistream", [1, 1]),
        (["-s", "async", "--streams", 5], "multistream", [1, 1]),
        (["-s", "async", "-nstreams", 1], "multistream", [2]),
        (["--scheduler", "elastic"], "elastic", [2]),
        (["-s", "async", "--scheduler", "single_stream"], "multistream", [2]),
        (["--scheduler", "single_stream", "--streams", 3], "singlestream", [2]),
    ],
)
def test_benchmark_runs_several_requests_at_once(
    tiny_model: Path, options: list[object], scenario: str, streams: list[int]
) -> None:
    document = invoke_json("benchmark", tiny_model, *QUICK, "-ncores", 2, *options)
    (row,) = document["results"]
    assert document["scenario"] == scenario
    plan = row["plan"]
    scheduler = options[options.index("--scheduler") + 1] if "--scheduler" in options else None
    assert plan["scheduler"] == (scheduler or "multi_stream")
    if plan["scheduler"] == "elastic":
        assert sum(plan["streams"]) == sum(streams)  # one for each cache domain
    else:
        assert plan["streams"] == streams
    assert row["throughput_per_s"] > 0


def test_benchmark_says_when_answers_disagree(tiny_model: Path) -> None:
    result = invoke(
        "benchmark", tiny_model, "--compare", "onnxruntime", *QUICK, "--tolerance", "0", "--json"
    )
    document = json.loads(result.stdout)
    error = document["results"][0]["max_abs_error"]
    assert document["agreed"] is (error == 0)
    assert result.exit_code == (0 if error == 0 else ExitCode.DISAGREEMENT)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "{dir}/none.onnx"], ExitCode.USAGE, "no such file"),
        (["run", "{dir}"], ExitCode.USAGE, "not a file"),
        (["run", "{dir}/broken.onnx"], ExitCode.MODEL_REFUSED, "broken.onnx: not an ONNX"),
        (["explain", "{dir}/broken.onnx"], ExitCode.MODEL_REFUSED, "modelerror"),
        (["compile", "{dir}/broken.onnx"], ExitCode.MODEL_REFUSED, "modelerror"),
        (["benchmark", "{dir}/broken.onnx", *QUICK], ExitCode.MODEL_REFUSED, "modelerror"),
        (["run", "{dir}/broken.colonnade"], ExitCode.MODEL_REFUSED, "planerror"),
        (["run", "{model}", "--shape", "x=1x3"], ExitCode.USAGE, "does not fit"),
        (["run", "{model}", "--shape", "z=1x3"], ExitCode.USAGE, "no input or dimension"),
        (["run", "{model}", "--input", "{dir}/none.npz"], ExitCode.USAGE, "no such file"),
        (["run", "{model}", "-o", "out.txt"], ExitCode.USAGE, "npz"),
        (["run", "{model}", "-o", "{dir}/a/b.npz"], ExitCode.USAGE, "no such folder"),
        (["compile", "{model}", "-o", "{dir}/a/b"], ExitCode.USAGE, "no such folder"),
        (["explain", "{model}", "--html", "{dir}/a/b"], ExitCode.USAGE, "no such folder"),
        (["benchmark", "{model}", "-x", "{dir}/a/b"], ExitCode.USAGE, "no such folder"),
        (["benchmark", "{model}", "--compare", "tensorflow"], ExitCode.USAGE, "unknown engine"),
        (["benchmark", "{model}", "-s", "fast"], ExitCode.USAGE, "sync"),
        (["benchmark", "{model}", "-e", "onnxruntime", "--trace", "t"], ExitCode.USAGE, "trace"),
        (["explain"], ExitCode.USAGE, "Missing argument"),
    ],
)
def test_errors_are_one_text_and_a_code(
    arguments: list[str], code: ExitCode, message: str, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x0anothing")
    (tmp_path / "broken.colonnade").write_bytes(b"COLONNAD" + b"\x01" * 100)
    result = invoke(*(text.format(dir=tmp_path, model=tiny_model) for text in arguments))
    assert result.exit_code == code, result.output
    assert any(part.lower() in result.stderr.lower() for part in message.split("|"))
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("index 9 is out of range"), ExitCode.RUN_FAILED),
        (CapabilityError("no AVX2"), ExitCode.CAPABILITY),
        (MemoryError(), ExitCode.RUN_FAILED),
        (ZeroDivisionError("oops"), ExitCode.RUN_FAILED),
    ],
)
def test_exit_codes_of_errors_inside(
    error: Exception, code: ExitCode, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("colonnade.cli.explain.open_engine", fail)
    result = invoke("explain", tiny_model)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert "Traceback" in invoke("explain", tiny_model, "--debug").stderr
    document = json.loads(invoke("explain", tiny_model, "--json").stdout)
    assert document["error"]["exit_code"] == code


def test_a_wrong_knob_is_a_usage_error(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_MAX_ISA", "sse2")
    result = invoke("doctor")
    assert result.exit_code == ExitCode.USAGE
    assert "COLONNADE_MAX_ISA='sse2'" in result.stderr


def test_a_missing_peer_is_a_capability_error(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    result = invoke("benchmark", tiny_model, "--compare", "deepsparse", *QUICK)
    assert result.exit_code == ExitCode.CAPABILITY
    assert "COLONNADE_PEER_DEEPSPARSE_PYTHON" in result.stderr
    result = invoke("benchmark", tiny_model, "--compare", "deepsparse", "--skip-failed", *QUICK)
    assert result.exit_code == 0, result.output


def test_help_and_version_are_plain() -> None:
    assert invoke("--version").stdout.strip() == colonnade.__version__
    for command in ([], ["run"], ["benchmark"], ["explain"], ["compile"], ["doctor"]):
        text = invoke(*command, "--help").stdout
        assert "Usage:" in text
        assert "│" not in text
    assert "Exit codes: 0 done" in invoke("--help").stdout
