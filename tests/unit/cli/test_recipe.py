"""The recipe command: check and convert, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colonnade.cli.main import app
from colonnade.search.cost_table import CostTable

RECIPE = """\
variables: {epochs: 8}
modifiers:
  - gradual_magnitude: {final_sparsity: 0.9, end: $(epochs / 2)}
  - learning_rate: {init: 1e-3, end: $(epochs)}
"""
FOREIGN = """\
modifiers:
  - !GMPruningModifier {params: __ALL__, final_sparsity: 0.9, start_epoch: 0, end_epoch: 4, x: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["recipe", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_check(recipe: Path) -> None:
    code, out, _ = invoke("check", recipe)
    assert code == 0
    assert "gradual_magnitude      0    4  final_sparsity=0.9" in out
    assert "2 modifiers, 8 epochs" in out


def test_check_with_variables_as_json(recipe: Path) -> None:
    code, out, _ = invoke("check", recipe, "--set", "epochs=10+2", "--json")
    document = json.loads(out)
    assert (code, document["epochs"]) == (0, 12)
    assert document["modifiers"][0]["end"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "epoch=1"], "unknown variable 'epoch'; the recipe has: epochs"),
        (["--set", "epochs"], "--set epochs: expected NAME=VALUE"),
    ],
)
def test_check_refuses(recipe: Path, arguments: list[str], message: str) -> None:
    code, _, err = invoke("check", recipe, *arguments)
    assert code == 2
    assert message in err


def test_check_says_the_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("modifiers:\n  - gradual_magnitude:\n      final_sparsity: 2\n")
    code, _, err = invoke("check", path)
    assert code == 2
    assert f"error: {path}:3: gradual_magnitude.final_sparsity: expected a share" in err


def test_convert(tmp_path: Path) -> None:
    path, output = tmp_path / "foreign.yaml", tmp_path / "ours.yaml"
    path.write_text(FOREIGN)
    code, out, err = invoke("convert", path, "-o", output)
    assert (code, out) == (0, "")
    assert f"{path}: line 2: GMPruningModifier.x: has no counterpart (its value: 1)" in err
    assert invoke("check", output)[0] == 0
    assert invoke("convert", path)[1] == output.read_text()
    assert json.loads(invoke("convert", path, "--json")[1])["recipe"] == output.read_text()
    code, _, err = invoke("convert", path, "--strict")
    assert code == 2
    assert "not everything of it has a counterpart here" in err


def test_a_conversion_does_not_replace_what_it_is_made_of(tmp_path: Path) -> None:
    path = tmp_path / "foreign.yaml"
    path.write_text(FOREIGN)
    for target, reason in ((path, "would replace"), (tmp_path / "none" / "x", "no such folder")):
        code, _, err = invoke("convert", path, "-o", target)
        assert code == 2
        assert reason in err
    assert path.read_text() == FOREIGN


def test_no_torch_is_loaded(recipe: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom colonnade.cli.main import app\n"
        "print(CliRunner().invoke(app, ['recipe', 'check', sys.argv[1]]).exit_code,"
        " 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["0", "False"]


def test_speed_is_read_off_the_cost_table_of_the_dense_model(
    tiny_model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import colonnade.search.speed as speed_module

    table = CostTable("1x4", (0.0, 0.8), {"dense": (9.0, 1.0)}, 10.0)
    monkeypatch.setattr(speed_module, "costs_of", lambda _, __: table)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "modifiers:\n  - gradual_magnitude: {final_sparsity: 0.4, end: 1, pattern: 1x4}\n"
    )
    code, out, error = invoke("speed", path, tiny_model, "--calibration", samples)
    assert code == 0, error
    assert (
        "expected: 1.67 times the dense model (10.00 ms dense, 6.00 ms sparse) with 40% 1x4" in out
    )
    code, out, _ = invoke("speed", path, tiny_model, "--calibration", samples, "--json")
    assert json.loads(out)["sparse_ms"] == 6.0
    code, _, error = invoke(
        "speed", path, tiny_model, "--calibration", samples, "--image", "sizes=8"
    )
    assert (code, "unknown key 'sizes'" in error) == (2, True)
    path.write_text("modifiers:\n  - learning_rate: {init: 1e-3, end: 1}\n")
    code, _, error = invoke("speed", path, tiny_model, "--calibration", samples)
    assert (code, "no modifier of it makes zeros" in error) == (2, True)
