"""The guide's examples run: the Python blocks of a page, in order, as one program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
