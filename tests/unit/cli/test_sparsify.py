"""colonnade sparsify oneshot: files, reports, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from colonnade.cli.exits import ExitCode
from colonnade.cli.main import app


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sparsify", "oneshot", *map(str, arguments)])


def zeros(path: Path) -> float:
    weights = max(onnx.load(path).graph.initializer, key=lambda tensor: len(tensor.dims))
    return float((numpy_helper.to_array(weights) == 0).mean())


def test_a_model_becomes_sparse(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    result = invoke(
        tiny_model, "--calibration", samples, "--sparsity", "0.5", "--pattern", "1x4",
        "--method", "obc", "-o", out, "--report", report, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sparsity"] == pytest.approx(0.5, abs=0.1)
    assert zeros(out) == found["layers"][0]["sparsity"]
    assert json.loads(report.read_text())["layers"] == found["layers"]


def test_the_report_names_every_layer(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    options = [tiny_model, "--calibration", samples, "--method", "sparsegpt", "-o", out]
    result = invoke(*options, "--sparsity", "0.5")
    assert result.exit_code == 0, result.output
    assert "1 of 1 layers pruned by sparsegpt, unstructured, uniform; 3 samples" in result.stdout
    assert "product  MatMul" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsity", "1"], "sparsity=1.0"),
        (["--sparsity", "nan"], "sparsity=nan"),
        (["--pattern", "2:5000"], "no layer is left"),
        (["--sparsity", "0.5", "--layer", "decoder.*"], "no layer has this name"),
        (["--sparsity", "0.5", "--report", "r.txt"], "a report is .json"),
        ([], "needs a sparsity"),
    ],
)
def test_bad_options_write_nothing(
    tiny_model: Path, samples: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    out = tmp_path / "out.onnx"
    result = invoke(tiny_model, "--calibration", samples, "-o", out, *options)
    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr
    assert not out.exists()


def test_the_dense_model_is_not_replaced(tiny_model: Path, samples: Path) -> None:
    result = invoke(tiny_model, "--calibration", samples, "--sparsity", "0.5", "-o", tiny_model)
    assert result.exit_code == ExitCode.USAGE
    assert "would replace" in result.stderr


@pytest.mark.parametrize("place", ["", "/dev/full", "/proc/o.onnx"])
def test_a_place_that_cannot_be_written_is_noticed_first(
    tiny_model: Path, samples: Path, tmp_path: Path, place: str
) -> None:
    out = place or str(tmp_path)
    result = invoke(tiny_model, "--calibration", samples, "--sparsity", "0.5", "-o", out)
    assert result.exit_code == ExitCode.USAGE
    assert f"error: {out}: " in result.stderr


def test_no_file_is_written_twice(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    same, spec = tmp_path / "same.json", tmp_path / "spec.json"
    spec.write_text("size: 8")
    common = [tiny_model, "--calibration", samples, "--sparsity", "0.5", "--image-spec", spec]
    for out, report in ((same, same), (spec, same), (same, spec)):
        result = invoke(*common, "-o", out, "--report", report)
        assert result.exit_code == ExitCode.USAGE
        assert "the same file as" in result.stderr
        assert not same.exists()


def test_a_dense_export_is_none_of_a_file(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    options = [tiny_model, "--calibration", samples, "--sparsity", "0.5"]
    result = invoke(*options, "--dense-output", tmp_path / "d.onnx")
    assert result.exit_code == ExitCode.USAGE
    assert "--dense-output: the model is a file already" in result.stderr
