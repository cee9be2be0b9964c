"""colonnade quantize: files, reports, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

import colonnade
from colonnade.cli.exits import ExitCode
from colonnade.cli.main import app
from tiny_model import FEATURES


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["quantize", *map(str, arguments)])


def test_a_model_becomes_8_bit(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = invoke(tiny_model, "--calibration", samples, "-o", out)
    assert result.exit_code == 0, result.output
    assert "1 of 1 layers in 8 bits; minmax over 3 samples" in result.stdout
    engine = colonnade.compile(out, fallback="forbid")
    engine.run(dict(x=np.zeros((2, FEATURES), np.float32)))
    assert "qmatmul_columns" in {node.kernel for node in engine.explain().nodes}


def test_the_default_file_is_beside_the_model(samples: Path, tmp_path: Path) -> None:
    from tiny_model import write_tiny_model

    model = write_tiny_model(tmp_path / "net.onnx")
    assert invoke(model, "--calibration", samples).exit_code == 0
    assert (tmp_path / "net-int8.onnx").exists()


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_reports(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    options = [tiny_model, "--calibration", samples, "-o", tmp_path / "out.onnx"]
    found = document(
        invoke(*options, "--json", "--measure", "--sensitivity", "--report", tmp_path / "r.json",
               "--method", "mse", "--smooth", "--min-sqnr", "10")
    )  # fmt: skip
    (layer,) = found["layers"]
    assert (layer["name"], layer["precision"], layer["kernel"]) == (
        "product", "8-bit", "qmatmul_columns",
    )  # fmt: skip
    assert layer["bytes_after"] < layer["bytes_before"]
    assert layer["sensitivity_db"] > 10
    assert found["speed"]["ratio"] > 0
    assert found["targets"][0].endswith("holds")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["layers"] == found["layers"]
    for suffix, text in ((".html", "<td class=name>product</td>"), (".md", "| product | MatMul |")):
        path = tmp_path / f"r{suffix}"
        assert invoke(*options, "--report", path).exit_code == 0
        content = path.read_text()
        assert text in content
        assert "http" not in content  # nothing from anywhere else


def test_a_metric_and_a_function(tiny_model: Path, tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "import numpy as np\n"
        "def samples():\n"
        f"    yield {{'x': np.ones((2, {FEATURES}), np.float32)}}\n"
        "def metric(run):\n"
        "    return float(run(next(samples()))['y'].sum())\n"
    )
    result = invoke(
        tiny_model, "--calibration", f"{code}:samples", "-o", tmp_path / "o.onnx",
        "--metric", f"{code}:metric", "--max-drop", 1000,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "drop of at most 1000 wanted: holds" in result.stdout


def refused(code: ExitCode, *arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    error = result.stderr.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    return error


def test_refusals(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    data = ["--calibration", samples]
    assert "no such file" in refused(ExitCode.USAGE, tmp_path / "none.onnx", *data)
    assert "no such folder" in refused(
        ExitCode.USAGE, tiny_model, *data, "-o", tmp_path / "none" / "o.onnx"
    )
    assert "would replace" in refused(ExitCode.USAGE, tiny_model, *data, "-o", tiny_model)
    assert "a report is one of" in refused(
        ExitCode.USAGE, tiny_model, *data, "-o", tmp_path / "o.onnx", "--report", "r.pdf"
    )
    assert "expected KEY=VALUE" in refused(
        ExitCode.USAGE, tiny_model, *data, "-o", tmp_path / "o.onnx", "--image", "big"
    )
    assert "expected module:function" in refused(
        ExitCode.USAGE, tiny_model, *data, "-o", tmp_path / "o.onnx", "--metric", "mine"
    )
    out = tmp_path / "o.onnx"
    assert invoke(tiny_model, *data, "-o", out).exit_code == 0
    assert "quantized already" in refused(
        ExitCode.MODEL_REFUSED, out, *data, "-o", tmp_path / "p.onnx"
    )


def test_bad_samples_name_the_file(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    np.savez(samples / "9.npz", x=np.full((4, FEATURES), np.nan, np.float32))
    error = refused(ExitCode.USAGE, tiny_model, "--calibration", samples, "-o", tmp_path / "o.onnx")
    assert "9.npz: input 'x' holds 48 values that are NaN or infinite" in error
    assert not (tmp_path / "o.onnx").exists()
