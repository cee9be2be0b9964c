"""The guide's examples run: the Python blocks of a page, in order, as one program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import colonnade

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
