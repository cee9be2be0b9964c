"""`import colonnade` stays light: no heavy package loads before it is used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "PIL",
    "matplotlib",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "rich",
    "tokenizers",
    "torch",
    "typer",
)


def test_no_heavy_package_loads() -> None:
    code = f"import sys, colonnade; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
