"""A function that returns a torch module and a sample becomes an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from typer.testing import CliRunner

import colonnade
from colonnade.cli.main import app
from colonnade.errors import InputError
from colonnade.onnx.importer import import_model
from colonnade.search.content import hash_content
from colonnade.search.function import export_function

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(16, 32), nn.Linear(32, 4)
    def forward(self, x, scale):
        return self.two(torch.relu(self.one(x))) * scale

class ByBatch(Net):
    def forward(self, x, scale):
        if x.shape[0] > 1:
            return super().forward(x, scale) + 1
        return super().forward(x, scale)

def pair():
    return Net(), (torch.ones(1, 16), torch.ones(1, 1))
def named():
    return Net(), {"scale": torch.ones(3, 1), "x": torch.ones(3, 16)}
def other_axes():
    return Net(), (torch.ones(2, 16), torch.ones(()))
def by_batch():
    return ByBatch(), (torch.ones(1, 16), torch.ones(1, 1))
def module_alone():
    return Net()
def two_tensors():
    return torch.ones(2, 16), torch.ones(2, 1)
def too_many():
    return Net(), (torch.ones(2, 16),) * 3
def raises():
    raise ValueError("boom")
def raises_inside():
    class Net(nn.Module):
        def forward(self, x):
            return x @ x
    return Net(), (torch.ones(2, 3),)
def no_tensor():
    return Net(), (torch.ones(2, 16), 1.0)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize("name", ["pair", "named"])
def test_the_batch_is_free(source: Path, tmp_path: Path, name: str) -> None:
    path = export_function(f"{source}:{name}", tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    with colonnade.compile(path) as engine:
        (answer,) = engine.run({"x": x, "scale": np.full((5, 1), 2, np.float32)}).values()
        (half,) = engine.run({"x": x, "scale": np.ones((5, 1), np.float32)}).values()
    assert answer.shape == (5, 4)
    np.testing.assert_allclose(answer, 2 * half, rtol=1e-6)


@pytest.mark.parametrize(("name", "rows"), [("other_axes", 2), ("by_batch", 1)])
def test_shapes_stay_where_they_have_to(source: Path, tmp_path: Path, name: str, rows: int) -> None:
    path = export_function(f"{source}:{name}", tmp_path / "net.onnx")
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [rows, 16]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module_alone", r"returned Net; expected \(module, sample\)"),
        ("two_tensors", "expected a torch module, got Tensor"),
        ("too_many", r"3 inputs in the sample; forward\(\) takes \['x', 'scale'\]"),
        ("no_tensor", "input 'scale' of the sample is float"),
        ("raises", "nets.py:raises': the function raised ValueError: boom"),
        ("raises_inside", "nets.py:raises_inside': the module raised RuntimeError: mat1 and mat2"),
        ("missing", "has no function 'missing'; it has .*'pair'"),
    ],
)
def test_another_result_is_an_error(source: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_function(f"{source}:{name}", tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_module_that_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0")
    with pytest.raises(InputError, match=r"broken\.py:net': loading it raised ZeroDivisionError"):
        export_function(f"{path}:net", tmp_path / "net.onnx")


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Calibration data of `pair`."""
    folder = tmp_path / "samples"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        x = rng.standard_normal((8, 16)).astype(np.float32)
        np.savez(folder / f"{number}.npz", x=x, scale=np.ones((8, 1), np.float32))
    return folder


def test_the_command_prunes_what_the_function_makes(
    source: Path, archives: Path, tmp_path: Path
) -> None:
    arguments = ["sparsify", "oneshot", f"{source}:pair", "--calibration", str(archives)]
    output = tmp_path / "sparse.onnx"
    result = CliRunner().invoke(app, [*arguments, "--sparsity", "0.5", "-o", str(output)])
    assert result.exit_code == 0, result.output
    weights = [onnx.numpy_helper.to_array(one) for one in onnx.load(output).graph.initializer]
    shares = [float((one == 0).mean()) for one in weights if one.ndim == 2]
    assert shares == [0.5, 0.5]


def test_no_file_of_the_user_is_replaced(source: Path, archives: Path, tmp_path: Path) -> None:
    own, dense = tmp_path / "pair.onnx", tmp_path / "dense.onnx"
    own.write_text("mine")
    common = ["sparsify", "oneshot", f"{source}:pair", "--calibration", str(archives)]
    common += ["--sparsity", "0.5", "--method", "magnitude"]
    invoke = CliRunner().invoke
    result = invoke(app, [*common, "--dense-output", str(dense)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "pair-sparse.onnx").is_file()
    assert onnx.load(dense).graph.initializer
    for option in ("--dense-output", "--output"):
        result = invoke(app, [*common, "--dense-output", str(own), option, str(own)])
        assert result.exit_code == 2, result.output
    result = invoke(app, [*common, "--exclude", "nope"])
    assert result.exit_code == 2, result.output
    assert own.read_text() == "mine"


def test_analyze_leaves_no_file(
    source: Path, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "cache"))
    before = {path.name for path in tmp_path.iterdir()}
    arguments = ["sparsify", "analyze", f"{source}:pair", "--calibration", str(archives)]
    result = CliRunner().invoke(app, [*arguments, "--method", "magnitude", "--pattern", "2:4"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} - before <= {"cache", "__pycache__"}


def test_two_exports_have_the_same_content(source: Path, tmp_path: Path) -> None:
    """An analysis of one is good for the other."""
    made = [export_function(f"{source}:pair", tmp_path / f"{name}.onnx") for name in "ab"]
    first, second = (hash_content(import_model(path)) for path in made)
    assert first == second
