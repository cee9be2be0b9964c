"""colonnade sparsify analyze, and oneshot with a target: no time is asserted on or waited for."""

from __future__ import annotations

import errno
import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from colonnade.cli.exits import ExitCode
from colonnade.cli.main import app
from colonnade.cli.sparsify_analysis import render_analysis
from colonnade.ir import Graph
from colonnade.search import Analysis, LayerCost, Subject, open_subject
from colonnade.search import target as target_module
from colonnade.search.cost_table import CostTable
from colonnade.search.levels import levels_of
from colonnade.search.sensitivity import probes_of
from colonnade.search.timing import Turns
from colonnade.sparsity.patterns import parse_pattern
from tiny_model import write_tiny_model

analyze_module = importlib.import_module(
    "colonnade.search.analyze"
)  # a function has that name, too
DENSE_MS = 4.0
LAYER_MS = 3.0


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sparsify", *map(str, arguments)])


@pytest.fixture(autouse=True)
def made_up_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer takes as long as weights are left of it, end to end as well."""

    def measure(subject: Subject, sparse: Graph, seconds: float = 0.0) -> Turns:
        (layer,) = subject.layers
        kept = float((sparse.constants[layer.weights] != 0).mean())
        return Turns((DENSE_MS, DENSE_MS - LAYER_MS + LAYER_MS * kept), 1)

    def costs(subject: Subject, _: object) -> CostTable:
        levels = levels_of(subject.pattern)
        rows = {name: tuple(LAYER_MS * (1 - level) for level in levels) for name in subject.names}
        return CostTable(str(subject.pattern), levels, rows, DENSE_MS)

    monkeypatch.setattr(target_module, "measure_gain", measure)
    monkeypatch.setattr(analyze_module, "costs_of", costs)


def analysis_of(model: Path, samples: Path, pattern: str = "unstructured") -> Analysis:
    """Made up: errors rise with the zeros."""
    subject = open_subject(model, str(samples), pattern=pattern, threads=1)
    levels = levels_of(parse_pattern(pattern))
    (layer,) = subject.layers
    cost = LayerCost(
        layer.name, layer.op, layer.shape, tuple(LAYER_MS * (1 - x) for x in levels), levels
    )
    return Analysis(
        model=model.name, content=subject.content, pattern=pattern, method=subject.method,
        levels=levels, probes=probes_of(levels), layers=(cost,), dense_ms=DENSE_MS,
        rest_ms=DENSE_MS - LAYER_MS, least_ms=DENSE_MS - LAYER_MS * levels[-1], threads=1,
        inputs=subject.timed_shapes,
    )  # fmt: skip


@pytest.fixture
def analysis(tiny_model: Path, samples: Path, tmp_path: Path) -> Path:
    """As `analyze --report` writes it."""
    path = tmp_path / "analysis.json"
    path.write_text(render_analysis(path, analysis_of(tiny_model, samples)))
    return path


Oneshot = Callable[..., Result]


@pytest.fixture
def oneshot(tiny_model: Path, samples: Path, tmp_path: Path, analysis: Path) -> Oneshot:
    """With the analysis, to out.onnx."""
    always = [tiny_model, "--calibration", samples, "--threads", 1, "-o", tmp_path / "out.onnx"]
    return lambda *options: invoke("oneshot", *always, "--analysis", analysis, *options)


def test_a_speed_that_was_asked_for(oneshot: Oneshot, tmp_path: Path) -> None:
    result = oneshot("--target-speedup", "1.6", "--report", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    assert "1 of 1 layers pruned by sparsegpt" in result.stdout
    assert "speed: 1.60 times the dense model, asked for 1.60 (4.00 ms dense" in result.stdout
    found = json.loads((tmp_path / "report.json").read_text())["search"]
    assert (found["is_met"], found["shares"]) == (True, {"product": 0.5})


def test_milliseconds_that_were_asked_for(oneshot: Oneshot) -> None:
    result = oneshot("--target-latency-ms", "2.5", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["search"]["asked_speedup"] == 1.6


def test_measured_sensitivity_shares_a_sparsity_out(oneshot: Oneshot) -> None:
    result = oneshot("--allocation", "measured", "--sparsity", "0.95", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["search"]["shares"] == {"product": 0.95}


def test_a_pattern_brings_its_own_sparsity(
    tiny_model: Path, samples: Path, tmp_path: Path, analysis: Path
) -> None:
    analysis.write_text(render_analysis(analysis, analysis_of(tiny_model, samples, "2:4")))
    result = invoke(
        "oneshot", tiny_model, "--calibration", samples, "--allocation", "measured", "--pattern",
        "2:4", "--analysis", analysis, "--threads", 1, "-o", tmp_path / "out.onnx", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["search"]["shares"] == {"product": 0.5}


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_missed_target_has_its_own_exit_code(
    oneshot: Oneshot, tmp_path: Path, option: str
) -> None:
    result = oneshot("--target-speedup", "9", option)
    assert result.exit_code == ExitCode.TARGET_MISSED
    assert "the target is missed: asked for 9.00 times, at most 3.4" in result.stderr
    assert (tmp_path / "out.onnx").is_file()
    if option == "--json":
        assert json.loads(result.stdout)["search"]["is_met"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target-speedup", "inf"], "target speed-up inf: expected more than 1"),
        (["--target-latency-ms", "nan"], "target latency nan ms: expected more than 0"),
        (["--target-latency-ms", "10"], "10 ms: the model already takes 4.00 ms"),
        (["--target-speedup", "2", "--sparsity", "0.5"], "give one target"),
        (["--target-speedup", "2", "--allocation", "erk"], "--allocation erk: not with"),
        (["--target-speedup", "2", "--sequential"], "--sequential: not with"),
        (["--target-speedup", "2", "--exclude", "typo"], "exclude 'typo': no layer has"),
        (["--target-speedup", "2", "--pattern", "2:3:4"], "pattern '2:3:4': expected"),
        (["--target-speedup", "2", "--method", "wanda"], "is of method sparsegpt, and this is"),
        (["--target-speedup", "2", "--pattern", "1x4"], "is of pattern unstructured, and this"),
        (["--allocation", "measured"], "--allocation measured: needs --sparsity, as 0.7"),
        (["--sparsity", "0.5"], "--analysis: only with"),
    ],
)
def test_what_does_not_fit_a_search(
    oneshot: Oneshot, tmp_path: Path, options: list[str], message: str
) -> None:
    result = oneshot(*options)
    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_batch_is_timed_in_a_search_only(tiny_model: Path, samples: Path) -> None:
    result = invoke("oneshot", tiny_model, "--calibration", samples, "--sparsity", ".5", "-b", "8")
    assert result.exit_code == ExitCode.USAGE
    assert "--batch-size: only with" in result.stderr


def test_an_analysis_of_another_model_is_refused(
    tmp_path: Path, samples: Path, analysis: Path
) -> None:
    other = write_tiny_model(tmp_path / "tiny.onnx", bias=0.5)
    result = invoke(
        "oneshot", other, "--calibration", samples, "--target-speedup", 2, "--analysis", analysis
    )
    assert result.exit_code == ExitCode.USAGE
    assert "the analysis is of tiny.onnx, and tiny.onnx has other nodes or weights" in result.stderr


def test_an_analysis_is_used_with_the_method_it_was_made_with(
    oneshot: Oneshot, analysis: Path, tiny_model: Path, samples: Path
) -> None:
    made = replace(analysis_of(tiny_model, samples), method="magnitude")
    analysis.write_text(render_analysis(analysis, made))
    result = oneshot("--target-speedup", "1.6")
    assert result.exit_code == 0, result.output
    assert "pruned by magnitude" in result.stdout


def test_analyze(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    before = set(tiny_model.parent.iterdir())
    options = [tiny_model, "--calibration", samples, "--threads", 1, "--method", "magnitude"]
    result = invoke("analyze", *options, "--report", tmp_path / "found.html")
    assert result.exit_code == 0, result.output
    head, row = result.stdout.splitlines()[:2]
    assert head.split("  ")[0] == "layer"
    for level in ("50%", "90%"):
        assert f"error at {level}" in head
        assert f"estimated error at {level}" not in head
    for level in ("80%", "95%"):
        assert f"estimated error at {level}" in head
    assert row.split()[:4] == ["product", "12x5", "3.000", "75.0%"]
    assert "tiny.onnx: 4.00 ms dense on 1 threads" in result.stdout
    assert "at 50%, 90% zeros; at others it is estimated from these" in result.stdout
    page = (tmp_path / "found.html").read_text()
    assert "<th>estimated error at 80%</th>" in page
    assert "at 50%, 90% zeros; at others it is estimated from these" in page
    assert set(tiny_model.parent.iterdir()) == before


def test_analyze_as_json(tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    options = [tiny_model, "--calibration", samples, "--threads", 1, "--method", "magnitude"]
    result = invoke("analyze", *options, "--report", path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert json.loads(path.read_text()) == found
    assert (found["method"], found["probes"]) == ("magnitude", [0.5, 0.9])
    again = invoke(
        "oneshot", tiny_model, "--calibration", samples, "--threads", 1, "--analysis", path,
        "--target-speedup", "1.6", "-o", tmp_path / "out.onnx",
    )  # fmt: skip
    assert again.exit_code == 0, again.output


def test_analyze_takes_images(tiny_model: Path, samples: Path) -> None:
    options = [tiny_model, "--calibration", samples, "--image", "sizes=8"]
    result = invoke("analyze", *options)
    assert result.exit_code == ExitCode.USAGE
    assert "unknown key 'sizes'" in result.stderr


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_full_disk_loses_no_result(
    tiny_model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("colonnade.sparsify.checkpoint.files.Files.write", fail)
    path = tmp_path / "found.json"
    path.write_text("old")
    options = [tiny_model, "--calibration", samples, "--method", "magnitude", "--report", path]
    result = invoke("analyze", *options, option)
    assert result.exit_code == ExitCode.RUN_FAILED
    assert f"error: {path}: cannot be written: No space left on device" in result.stderr
    assert "product" in result.stdout
    if option == "--json":
        assert json.loads(result.stdout)["model"] == "tiny.onnx"
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()].count("found.json.tmp") == 0


@pytest.mark.parametrize("command", ["oneshot", "analyze"])
def test_bad_places_are_noticed_first(
    tiny_model: Path, samples: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "dd.json").mkdir()
    common = [command, tiny_model, "--calibration", samples]
    common += ["--sparsity", ".5", "-o", tmp_path / "o.json"] if command == "oneshot" else []
    for place, message in (
        (tmp_path / "dd.json", "a folder; expected the name of a file"),
        (tmp_path / "none" / "r.json", "no such folder"),
        ("/proc/r.json", "cannot be written"),
    ):
        result = invoke(*common, "--report", place)
        assert result.exit_code == ExitCode.USAGE
        assert f"{place}: {message}" in result.stderr
    assert not (tmp_path / "o.json").exists()
