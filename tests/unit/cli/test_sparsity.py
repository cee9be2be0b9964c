"""Options that impose zeros: what they run, print and write, and what contradicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from colonnade.bench.imposed import Imposition
from colonnade.bench.sweep import LEVELS
from colonnade.bench.sweep_report import SWEEP_FIELDS
from colonnade.cli.exits import ExitCode
from colonnade.cli.main import app
from colonnade.cli.sparsity import SparsityOptions, SweepRequest, read_request
from colonnade.errors import InputError
from tiny_model import write_tiny_model

QUICK = ["-t", "0.02", "-w", "0", "-ncores", "1"]


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(
        tmp_path_factory.mktemp("models") / "wide.onnx", features=64, outputs=32
    )


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["benchmark", *(str(argument) for argument in arguments)])


def invoke_json(*arguments: object) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def options(
    level: float | None = None,
    structure: str | None = None,
    dense: tuple[str, ...] = (),
    is_sweep: bool = False,
    sweep_levels: str | None = None,
) -> SparsityOptions:
    return SparsityOptions(level, structure, dense, is_sweep, sweep_levels)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (options(), None),
        (options(0.9), Imposition(0.9)),
        (options(0.9, "1x4", ("head*",)), Imposition(0.9, "1x4", ("head*",))),
        (options(structure="1:4"), Imposition(0.75, "1:4")),
        (options(is_sweep=True), SweepRequest(LEVELS, "unstructured", ())),
        (options(structure="4x1", sweep_levels="0,.5"), SweepRequest((0.0, 0.5), "4x1", ())),
    ],
)
def test_what_is_asked_for(given: SparsityOptions, expected: object, wide_model: Path) -> None:
    assert read_request(given, wide_model) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (options(1.0), r"not in \[0, 1\)"),
        (options(0.9, "8x8"), "unknown structure '8x8'"),
        (options(structure="8x8"), "unknown structure '8x8'"),
        (options(0.9, "2:4"), r"sparsity 0\.5, not 0\.9: ask for 0\.5"),
        (options(structure="1x4"), "add --impose-sparsity 0.9"),
        (options(dense=("a",)), "--keep-dense needs"),
        (options(0.9, is_sweep=True), "give one of them"),
        (options(structure="2:4", is_sweep=True), "use --impose-sparsity 0.5"),
        (options(sweep_levels="0;1"), "'0;1' is no number"),
        (options(sweep_levels="0,1"), r"not in \[0, 1\)"),
    ],
)
def test_contradictions(given: SparsityOptions, message: str, wide_model: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_request(given, wide_model)


def test_every_engine_gets_the_masked_model(wide_model: Path) -> None:
    arguments = ["--impose-sparsity", 0.9, "--structure", "4x1", "--compare", "onnxruntime"]
    document = invoke_json(wide_model, *arguments, *QUICK)
    assert document["agreed"]
    assert [row["engine"] for row in document["results"]] == ["colonnade", "onnxruntime"]
    assert document["orig_model_path"] == str(wide_model)
    assert document["model_path"] != str(wide_model)
    imposed = document["imposed"]
    assert (imposed["sparsity"], imposed["structure"], imposed["num_weights"]) == (0.9, "4x1", 1)
    assert imposed["num_zeros"] == round(64 * 32 / 4 * 0.9) * 4
    text = invoke(wide_model, *arguments, *QUICK)
    assert "zeros imposed: 90.0% of 1 weights (4x1)" in text.stderr
    assert f"Original Model Path: {wide_model}" in text.stdout


def test_weights_are_kept_dense_by_name(wide_model: Path) -> None:
    document = invoke_json(wide_model, "--impose-sparsity", 0.9, "--keep-dense", "prod*", *QUICK)
    assert document["imposed"]["dense"] == {"w": "asked for"}


def test_per_layer(wide_model: Path) -> None:
    document = invoke_json(wide_model, "--impose-sparsity", 0.5, "--per-layer", *QUICK)
    sparsities = [layer["sparsity"] for layer in document["layers"]]
    assert [s for s in sparsities if s is not None] == [0.5]
    assert sum(layer["share"] for layer in document["layers"]) == pytest.approx(1.0)
    text = invoke(wide_model, "--per-layer", *QUICK).stdout
    header = next(line for line in text.splitlines() if line.startswith("node"))
    assert header.split() == ["node", "kernel", "zeros", "ms", "share"]
    assert "0.0%" in text


def test_per_layer_of_a_saved_plan_knows_no_zeros(wide_model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "w.colonnade"
    assert CliRunner().invoke(app, ["compile", str(wide_model), "-o", str(plan)]).exit_code == 0
    document = invoke_json(plan, "--per-layer", *QUICK)
    assert document["layers"]
    assert all(layer["sparsity"] is None for layer in document["layers"])
    result = invoke(plan, "--impose-sparsity", 0.9, *QUICK)
    assert result.exit_code == ExitCode.USAGE
    assert "give the ONNX file" in result.stderr.replace("\n", " ")


def test_sweep(wide_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = {name: tmp_path / f"sweep.{name}" for name in ("json", "csv", "png")}
    result = invoke(
        wide_model, "--sparsity-sweep", "--sweep-levels", "0.5,0.9", "--compare", "onnxruntime",
        *QUICK, "-x", paths["json"], "--csv", paths["csv"], "--plot", paths["png"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["sparsity", "median", "ms", "items/s"]
    assert [line.split()[0] for line in lines[1:4]] == ["0%", "50%", "90%"]
    assert sum(line.startswith("break-even: colonnade is") for line in lines) == 2
    assert not any(character in result.stdout for character in "│─\x1b")
    document = json.loads(paths["json"].read_text())
    assert [row["level"] for row in document["results"]] == [0, 0, 0.5, 0.5, 0.9, 0.9]
    with paths["csv"].open() as file:
        assert tuple(next(csv.reader(file))) == SWEEP_FIELDS
    assert paths["png"].read_bytes().startswith(b"\x89PNG")


def test_sweep_as_json(wide_model: Path) -> None:
    document = invoke_json(wide_model, "--sweep-levels", "0.9", *QUICK)
    assert [row["level"] for row in document["results"]] == [0, 0.9]
    assert set(document["break_even"]) == {"dense"}


def test_sweep_says_when_answers_disagree(wide_model: Path) -> None:
    result = invoke(
        wide_model, "--sweep-levels", "0.9", "--compare", "onnxruntime", "--tolerance", "0",
        *QUICK, "--json",
    )  # fmt: skip
    document = json.loads(result.stdout)
    is_exact = all(row["max_abs_error"] == 0 for row in document["results"])
    assert document["agreed"] is is_exact
    assert result.exit_code == (0 if is_exact else ExitCode.DISAGREEMENT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sparsity-sweep", "--trace", "t"], "--trace is for one model"),
        (["--sparsity-sweep", "--per-layer"], "--per-layer is for one model"),
        (["--sparsity-sweep", "--memory"], "--memory is for one model"),
        (["-e", "onnxruntime", "--per-layer"], "--per-layer: only colonnade"),
        (["--impose-sparsity", "1"], "is not in [0, 1)"),
    ],
)
def test_refused(arguments: list[str], message: str, wide_model: Path) -> None:
    result = invoke(wide_model, *arguments, *QUICK)
    assert result.exit_code == ExitCode.USAGE, result.output
    assert message in result.stderr
    assert result.stdout == ""
