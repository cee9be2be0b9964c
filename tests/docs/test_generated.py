"""docs/operators.md and _core.pyi say what the code does now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITE_DOCS = Path(__file__).parents[2] / "tools" / "write_docs.py"


def test_generated_files_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, str(WRITE_DOCS), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"run ./dev docs\n{run.stdout}{run.stderr}"
