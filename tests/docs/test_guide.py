"""The guide's examples run: the Python blocks of a page, in order, as one program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from typer.testing import CliRunner

import colonnade
from colonnade.cli.main import app
from colonnade.pipeline.graph_spec import graph_of, read_steps
from colonnade.quantization.data.images import ImageSpec, read_spec
from colonnade.sparsify import read_recipe
from tiny_model import write_tiny_model

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language, in order."""
    text = (GUIDE / page).read_text()
    return [code for found, code in BLOCK.findall(text) if found == language]


def test_extending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("extending.md", "c")
    Path("swirl.c").write_text(source)
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "swirl.c", "-o", "swirl.so"],
        check=True,
    )
    examples = blocks("extending.md", "python")
    assert examples
    names: dict[str, object] = {}
    for number, code in enumerate(examples):
        exec(compile(code, f"extending.md, block {number}", "exec"), names)


def test_quantizing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_model(Path("model.onnx"), features=16)
    names: dict[str, object] = {}
    examples = blocks("quantizing.md", "python")
    assert len(examples) == 2
    for number, code in enumerate(examples):
        exec(compile(code, f"quantizing.md, block {number}", "exec"), names)
    Path("samples").mkdir()
    for number, sample in enumerate(names["samples"][:2]):
        np.savez(Path("samples") / f"{number}.npz", **sample)
    (commands,) = blocks("quantizing.md", "console")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert program == "colonnade"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert "qmatmul_columns" in result.stdout


def test_one_shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_model(Path("model.onnx"), features=16)
    names: dict[str, object] = {}
    (example,) = blocks("one-shot.md", "python")
    exec(compile(example, "one-shot.md", "exec"), names)
    Path("samples").mkdir()
    for number, sample in enumerate(names["samples"][:2]):
        np.savez(Path("samples") / f"{number}.npz", **sample)
    (commands,) = blocks("one-shot.md", "console")
    for line in commands.splitlines():
        result = CliRunner().invoke(app, shlex.split(line.removeprefix("$ "))[1:])
        assert result.exit_code == 0, result.output
    kept = onnx.numpy_helper.to_array(onnx.load("sparse.onnx").graph.initializer[0]) != 0
    assert set(kept.T.reshape(-1, 4).sum(1)) == {0, 4}


def test_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers makes the model")
    from tiny_encoder import write_encoder

    monkeypatch.chdir(tmp_path)
    Path("sentiment").mkdir()
    write_encoder(Path("sentiment"), "text", ("negative", "positive"))
    write_tiny_model(Path("model.onnx"))
    names: dict[str, object] = {}
    examples = blocks("tasks.md", "python")
    assert len(examples) == 2
    for number, code in enumerate(examples):
        exec(compile(code, f"tasks.md, block {number}", "exec"), names)


def test_the_graph_of_tasks() -> None:
    (text,) = blocks("tasks.md", "yaml")
    found = yaml.safe_load(text)
    graph = graph_of("guide", read_steps(found["steps"], "guide"), (found["output"],), {})
    assert [step.name for step in graph.steps] == ["boxes", "crops", "texts", "lines"]


def test_the_image_specification_shows_the_defaults(tmp_path: Path) -> None:
    (text,) = blocks("quantizing.md", "yaml")
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert read_spec(path, {}) == ImageSpec()


def test_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model that adds up what it hears."""
    monkeypatch.chdir(tmp_path)
    names = ("input", "h", "c"), ("speech_probs", "hn", "cn")
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in half]
        for half in names
    ]
    nodes = [
        helper.make_node("Add", ["input", "h"], ["hn"]),
        helper.make_node("Add", ["hn", "c"], ["cn"]),
        helper.make_node("Relu", ["cn"], ["speech_probs"]),
    ]
    graph = helper.make_graph(nodes, "sums", *infos)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), "vad.onnx")
    (example,) = blocks("sessions.md", "python")
    windows = [np.ones(1, np.float32)] * 4
    known: dict[str, Any] = {"colonnade": colonnade, "windows": windows}
    exec(compile(example, "sessions.md", "exec"), known)
    assert known["speech"] == 1 + 2 + 3 + 4
    assert known["session"].states == {}


def test_training_sparse() -> None:
    recipes = [read_recipe(text) for text in blocks("training-sparse.md", "yaml")]
    assert len(recipes) == 3
    examples = blocks("training-sparse.md", "python")
    assert len(examples) == 2
    for number, code in enumerate(examples):
        exec(compile(code, f"training-sparse.md, block {number}", "exec"), {})


def test_sparsifying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's recipe, commands and loop; the layer that the recipe leaves out stays dense."""
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (recipe,) = blocks("sparsifying.md", "yaml")
    Path("recipe.yaml").write_text(recipe)
    Path("theirs.yaml").write_text("modifiers: [!ConstantPruningModifier {params: __ALL__}]")
    write_tiny_model(tmp_path / "dense.onnx", features=16, outputs=32)
    Path("samples").mkdir()
    np.savez("samples/0.npz", x=np.ones((8, 16), np.float32))
    for commands in blocks("sparsifying.md", "console"):
        program, *arguments = shlex.split(commands.removeprefix("$ "))
        assert program == "colonnade"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    for number, code in enumerate(blocks("sparsifying.md", "python")):
        exec(compile(code, f"sparsifying.md, block {number}", "exec"), names)
        if "report.html" in code:
            zeros = [
                (layer.name, layer.num_zeros) for layer in names["build_report"](names["s"]).layers
            ]
            assert zeros == [("0.weight", round(0.8 * 512)), ("2.weight", 0)]
    assert Path("report.html").exists()
    assert Path("report.json").exists()
